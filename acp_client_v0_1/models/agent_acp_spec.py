# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentACPSpec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.agent_acp_spec_interrupts_inner import AgentACPSpecInterruptsInner
from acp_client_v0_1.models.agent_capabilities import AgentCapabilities

__all__ = ["AgentACPSpec"]


class AgentACPSpec(schema.Model):
    """What an agent can do, and the JSON Schemas of what it takes and gives."""

    capabilities: AgentCapabilities = schema.required(
        "Which parts of the protocol the agent supports."
    )
    """Which parts of the protocol the agent supports."""
    input: schema.JsonObject = schema.required("The JSON Schema of the agent's input.")
    """The JSON Schema of the agent's input."""
    output: schema.JsonObject = schema.required("The JSON Schema of the agent's output.")
    """The JSON Schema of the agent's output."""
    config: schema.JsonObject = schema.required("The JSON Schema of the agent's configuration.")
    """The JSON Schema of the agent's configuration."""
    custom_streaming_update: schema.JsonObject | None = schema.optional(
        "The JSON Schema of the agent's updates in streaming mode `custom`."
    )
    """The JSON Schema of the agent's updates in streaming mode `custom`."""
    thread_state: schema.JsonObject | None = schema.optional(
        "The JSON Schema of the state of the agent's threads."
    )
    """The JSON Schema of the state of the agent's threads."""
    interrupts: Annotated[list[AgentACPSpecInterruptsInner], schema.UP_TO_FIRST_FAULT] | None = (
        schema.optional("The types of interrupt that the agent can raise.")
    )
    """The types of interrupt that the agent can raise."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            capabilities: AgentCapabilities,
            input: dict[str, Any],
            output: dict[str, Any],
            config: dict[str, Any],
            custom_streaming_update: dict[str, Any] | None = None,
            thread_state: dict[str, Any] | None = None,
            interrupts: list[AgentACPSpecInterruptsInner] | None = None,
        ) -> None: ...
