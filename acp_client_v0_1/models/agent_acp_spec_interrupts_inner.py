# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentACPSpecInterruptsInner."""

from acp_client_v0_1 import _schema as schema


class AgentACPSpecInterruptsInner(schema.Model):
    """A type of interrupt that an agent can raise.

    Attributes:
        interrupt_type: The name of the type.
        interrupt_payload: The JSON Schema of what the agent asks.
        resume_payload: The JSON Schema of the answer that a person gives, the body of resume_run.
    """

    interrupt_type: schema.StrictStr
    interrupt_payload: schema.JsonObject
    resume_payload: schema.JsonObject
