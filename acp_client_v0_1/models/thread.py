# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model Thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from acp_client_v0_1 import _schema as schema

__all__ = ["Thread"]


class Thread(schema.Model):
    """What the runs of one conversation share."""

    thread_id: Annotated[str, schema.IDENTIFIER] = schema.Field(description="The ID of the thread.")
    """The ID of the thread."""
    agent_id: Annotated[str, schema.IDENTIFIER] = schema.Field(description="The ID of the agent.")
    """The ID of the agent."""
    metadata: Annotated[dict[str, Any], schema.JSON_OBJECT] | None = schema.Field(
        default=None, description="Keys and values to find the thread by."
    )
    """Keys and values to find the thread by."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            thread_id: str | UUID,
            agent_id: str | UUID,
            metadata: dict[str, Any] | None = None,
        ) -> None:
            """What the runs of one conversation share."""
