# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunCreate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.streaming_mode import StreamingMode

__all__ = ["RunCreate"]


class RunCreate(schema.Model):
    """What a new run is made from."""

    agent_id: schema.Identifier = schema.required("The ID of the agent to run.")
    """The ID of the agent to run."""
    thread_id: schema.Identifier | None = schema.optional("The ID of the thread to run on.")
    """The ID of the thread to run on."""
    input: schema.JsonObject | None = schema.optional(
        "The input of the agent, in the agent's own schema."
    )
    """The input of the agent, in the agent's own schema."""
    metadata: schema.JsonObject | None = schema.optional("Keys and values to find the run by.")
    """Keys and values to find the run by."""
    config: schema.JsonObject | None = schema.optional(
        "The configuration of the agent, in the agent's own schema."
    )
    """The configuration of the agent, in the agent's own schema."""
    webhook: schema.StrictStr | None = schema.optional(
        "The URL that receives each change of the run's status."
    )
    """The URL that receives each change of the run's status."""
    streaming: StreamingMode | None = schema.optional(
        "The streaming mode, for agents that support it."
    )
    """The streaming mode, for agents that support it."""

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
        ) -> None: ...
