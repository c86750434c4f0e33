# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunCreate."""

from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.streaming_mode import StreamingMode


class RunCreate(schema.Model):
    """What a new run is made from.

    Attributes:
        agent_id: The ID of the agent to run.
        thread_id: The ID of the thread to run on.
        input: The input of the agent, in the agent's own schema.
        metadata: Keys and values to find the run by.
        config: The configuration of the agent, in the agent's own schema.
        webhook: The URL that receives each change of the run's status.
        streaming: The streaming mode, for agents that support it.
    """

    agent_id: schema.Identifier
    thread_id: schema.Identifier | None = None
    input: schema.JsonObject | None = None
    metadata: schema.JsonObject | None = None
    config: schema.JsonObject | None = None
    webhook: schema.StrictStr | None = None
    streaming: StreamingMode | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            agent_id: str | UUID,
            thread_id: str | UUID | None = None,
            input: dict[str, Any] | None = None,
            metadata: dict[str, Any] | None = None,
            config: dict[str, Any] | None = None,
            webhook: str | None = None,
            streaming: StreamingMode | Literal["result", "custom"] | None = None,
            additional_properties: dict[str, Any] | None = None,
        ) -> None: ...
