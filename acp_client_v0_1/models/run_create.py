# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunCreate."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.streaming_mode import StreamingMode

__all__ = ["RunCreate"]


class RunCreate(schema.Model):
    """What a new run is made from."""

    agent_id: schema.String
    """The ID of the agent to run."""
    thread_id: schema.String | None = None
    """The ID of the thread to run on."""
    input: schema.FreeObject | None = None
    """The input of the agent, in the agent's own schema."""
    metadata: schema.FreeObject | None = None
    """Keys and values to find the run by."""
    config: schema.FreeObject | None = None
    """The configuration of the agent, in the agent's own schema."""
    webhook: schema.String | None = None
    """The URL that receives each change of the run's status."""
    streaming: StreamingMode | None = None
    """The streaming mode, for agents that support it."""
