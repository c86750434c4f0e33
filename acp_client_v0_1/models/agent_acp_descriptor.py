# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentACPDescriptor."""

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.agent_acp_spec import AgentACPSpec
from acp_client_v0_1.models.agent_metadata import AgentMetadata


class AgentACPDescriptor(schema.Model):
    """All that a program has to know to use an agent.

    Attributes:
        metadata: What the agent is called and does.
        specs: What the agent can do, and its schemas.
    """

    metadata: AgentMetadata
    specs: AgentACPSpec
