# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model Agent."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.agent_metadata import AgentMetadata

__all__ = ["Agent"]


class Agent(schema.Model):
    """An agent that the server can run."""

    agent_id: schema.String
    """The ID of the agent."""
    metadata: AgentMetadata
    """What the agent is called and does."""
