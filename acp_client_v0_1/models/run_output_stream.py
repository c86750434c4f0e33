# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunOutputStream."""

from typing import Literal

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.stream_event_payload import StreamEventPayload


class RunOutputStream(schema.Model):
    """One server-sent event of a run's stream.

    Attributes:
        id: The ID of the event.
        event: The name of the event.
        data: What the event carries.
    """

    id: schema.StrictStr
    event: Literal["agent_event"] = "agent_event"
    data: StreamEventPayload
