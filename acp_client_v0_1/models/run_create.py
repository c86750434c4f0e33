# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunCreate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.streaming_mode import StreamingMode

__all__ = ["RunCreate"]


class RunCreate(schema.Model):
    """What a new run is made from."""

    agent_id: Annotated[str, schema.IDENTIFIER] = schema.Field(
        description="The ID of the agent to run."
    )
    """The ID of the agent to run."""
    thread_id: Annotated[str, schema.IDENTIFIER] | None = schema.Field(
        default=None, description="The ID of the thread to run on."
    )
    """The ID of the thread to run on."""
    input: Annotated[dict[str, Any], schema.JSON_OBJECT] | None = schema.Field(
        default=None, description="The input of the agent, in the agent's own schema."
    )
    """The input of the agent, in the agent's own schema."""
    metadata: Annotated[dict[str, Any], schema.JSON_OBJECT] | None = schema.Field(
        default=None, description="Keys and values to find the run by."
    )
    """Keys and values to find the run by."""
    config: Annotated[dict[str, Any], schema.JSON_OBJECT] | None = schema.Field(
        default=None, description="The configuration of the agent, in the agent's own schema."
    )
    """The configuration of the agent, in the agent's own schema."""
    webhook: Annotated[str, schema.STRICT] | None = schema.Field(
        default=None, description="The URL that receives each change of the run's status."
    )
    """The URL that receives each change of the run's status."""
    streaming: StreamingMode | None = schema.Field(
        default=None, description="The streaming mode, for agents that support it."
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
        ) -> None:
            """What a new run is made from."""
