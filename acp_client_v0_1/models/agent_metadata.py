# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentMetadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.agent_ref import AgentRef

__all__ = ["AgentMetadata"]


class AgentMetadata(schema.Model):
    """What an agent is called and does."""

    ref: AgentRef = schema.required("The name and version of the agent.")
    """The name and version of the agent."""
    description: schema.StrictStr = schema.required("What the agent does.")
    """What the agent does."""

    if TYPE_CHECKING:

        def __init__(self, *, ref: AgentRef, description: str) -> None: ...
