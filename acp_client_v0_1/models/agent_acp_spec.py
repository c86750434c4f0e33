# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentACPSpec."""

from typing import Annotated

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.agent_acp_spec_interrupts_inner import AgentACPSpecInterruptsInner
from acp_client_v0_1.models.agent_capabilities import AgentCapabilities


class AgentACPSpec(schema.Model):
    """What an agent can do, and the JSON Schemas of what it takes and gives.

    Attributes:
        capabilities: Which parts of the protocol the agent supports.
        input: The JSON Schema of the agent's input.
        output: The JSON Schema of the agent's output.
        config: The JSON Schema of the agent's configuration.
        custom_streaming_update: The JSON Schema of the agent's updates in streaming mode `custom`.
        thread_state: The JSON Schema of the state of the agent's threads.
        interrupts: The types of interrupt that the agent can raise.
    """

    capabilities: AgentCapabilities
    input: schema.JsonObject
    output: schema.JsonObject
    config: schema.JsonObject
    custom_streaming_update: schema.JsonObject | None = None
    thread_state: schema.JsonObject | None = None
    interrupts: Annotated[list[AgentACPSpecInterruptsInner], schema.UP_TO_FIRST_FAULT] | None = None
