# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentCapabilities."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.streaming_modes import StreamingModes

__all__ = ["AgentCapabilities"]


class AgentCapabilities(schema.Model):
    """Which parts of the protocol an agent supports."""

    threads: schema.Boolean | None = False
    """Whether the agent's runs can share a thread."""
    interrupts: schema.Boolean | None = False
    """Whether the agent's runs can be interrupted and resumed."""
    callbacks: schema.Boolean | None = False
    """Whether changes of status are sent to a webhook."""
    streaming: StreamingModes | None = None
    """The streaming modes that the agent supports."""
