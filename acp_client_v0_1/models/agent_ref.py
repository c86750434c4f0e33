# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentRef."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acp_client_v0_1 import _schema as schema

__all__ = ["AgentRef"]


class AgentRef(schema.Model):
    """The name and version of an agent."""

    name: schema.StrictStr = schema.required("The name of the agent.")
    """The name of the agent."""
    version: schema.StrictStr = schema.required("The version of the agent, a semantic version.")
    """The version of the agent, a semantic version."""
    url: schema.StrictStr | None = schema.optional("The URL of the agent's record.")
    """The URL of the agent's record."""

    if TYPE_CHECKING:

        def __init__(self, *, name: str, version: str, url: str | None = None) -> None: ...
