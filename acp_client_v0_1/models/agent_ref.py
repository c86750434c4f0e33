# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentRef."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from acp_client_v0_1 import _schema as schema

__all__ = ["AgentRef"]


class AgentRef(schema.Model):
    """The name and version of an agent."""

    name: Annotated[str, schema.STRICT] = schema.Field(description="The name of the agent.")
    """The name of the agent."""
    version: Annotated[str, schema.STRICT] = schema.Field(
        description="The version of the agent, a semantic version."
    )
    """The version of the agent, a semantic version."""
    url: Annotated[str, schema.STRICT] | None = schema.Field(
        default=None, description="The URL of the agent's record."
    )
    """The URL of the agent's record."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            name: str,
            version: str,
            url: str | None = None,
        ) -> None:
            """The name and version of an agent."""
