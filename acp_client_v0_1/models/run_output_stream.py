# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunOutputStream."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.stream_event_payload import StreamEventPayload

__all__ = ["RunOutputStream"]


class RunOutputStream(schema.Model):
    """One server-sent event of a run's stream."""

    id: schema.String
    """The ID of the event."""
    event: schema.Literal["agent_event"] = "agent_event"
    """The name of the event."""
    data: StreamEventPayload
    """What the event carries."""
