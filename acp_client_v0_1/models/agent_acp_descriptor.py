# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentACPDescriptor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.agent_acp_spec import AgentACPSpec
from acp_client_v0_1.models.agent_metadata import AgentMetadata

__all__ = ["AgentACPDescriptor"]


class AgentACPDescriptor(schema.Model):
    """All that a program has to know to use an agent."""

    metadata: AgentMetadata = schema.required("What the agent is called and does.")
    """What the agent is called and does."""
    specs: AgentACPSpec = schema.required("What the agent can do, and its schemas.")
    """What the agent can do, and its schemas."""

    if TYPE_CHECKING:

        def __init__(self, *, metadata: AgentMetadata, specs: AgentACPSpec) -> None: ...
