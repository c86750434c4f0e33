# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentCapabilities."""

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.streaming_modes import StreamingModes


class AgentCapabilities(schema.Model):
    """Which parts of the protocol an agent supports.

    Attributes:
        threads: Whether the agent's runs can share a thread.
        interrupts: Whether the agent's runs can be interrupted and resumed.
        callbacks: Whether changes of status are sent to a webhook.
        streaming: The streaming modes that the agent supports.
    """

    threads: schema.StrictBool | None = False
    interrupts: schema.StrictBool | None = False
    callbacks: schema.StrictBool | None = False
    streaming: StreamingModes | None = None
