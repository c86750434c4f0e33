# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model Thread."""

from acp_client_v0_1 import _schema as schema


class Thread(schema.Model):
    """What the runs of one conversation share.

    Attributes:
        thread_id: The ID of the thread.
        agent_id: The ID of the agent.
        metadata: Keys and values to find the thread by.
    """

    thread_id: schema.Identifier
    agent_id: schema.Identifier
    metadata: schema.JsonObject | None = None
