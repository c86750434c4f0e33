# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentACPSpec."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.agent_acp_spec_interrupts_inner import AgentACPSpecInterruptsInner
from acp_client_v0_1.models.agent_capabilities import AgentCapabilities

__all__ = ["AgentACPSpec"]


class AgentACPSpec(schema.Model):
    """What an agent can do, and the JSON Schemas of what it takes and gives."""

    capabilities: AgentCapabilities
    """Which parts of the protocol the agent supports."""
    input: schema.FreeObject
    """The JSON Schema of the agent's input."""
    output: schema.FreeObject
    """The JSON Schema of the agent's output."""
    config: schema.FreeObject
    """The JSON Schema of the agent's configuration."""
    custom_streaming_update: schema.FreeObject | None = None
    """The JSON Schema of the agent's updates in streaming mode `custom`."""
    thread_state: schema.FreeObject | None = None
    """The JSON Schema of the state of the agent's threads."""
    interrupts: list[AgentACPSpecInterruptsInner] | None = None
    """The types of interrupt that the agent can raise."""
