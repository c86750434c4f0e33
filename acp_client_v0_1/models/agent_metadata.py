# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentMetadata."""

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.agent_ref import AgentRef


class AgentMetadata(schema.Model):
    """What an agent is called and does.

    Attributes:
        ref: The name and version of the agent.
        description: What the agent does.
    """

    ref: AgentRef
    description: schema.StrictStr
