# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunOutputStream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.stream_event_payload import StreamEventPayload

__all__ = ["RunOutputStream"]


class RunOutputStream(schema.Model):
    """One server-sent event of a run's stream."""

    id: schema.StrictStr = schema.required("The ID of the event.")
    """The ID of the event."""
    event: Literal["agent_event"] = schema.optional("The name of the event.", "agent_event")
    """The name of the event."""
    data: StreamEventPayload = schema.required("What the event carries.")
    """What the event carries."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            id: str,
            event: Literal["agent_event"] = "agent_event",
            data: StreamEventPayload,
        ) -> None: ...
