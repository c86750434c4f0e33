# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model Agent."""

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.agent_metadata import AgentMetadata


class Agent(schema.Model):
    """An agent that the server can run.

    Attributes:
        agent_id: The ID of the agent.
        metadata: What the agent is called and does.
    """

    agent_id: schema.Identifier
    metadata: AgentMetadata
