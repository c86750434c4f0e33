# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentRef."""

from acp_client_v0_1 import _schema as schema


class AgentRef(schema.Model):
    """The name and version of an agent.

    Attributes:
        name: The name of the agent.
        version: The version of the agent, a semantic version.
        url: The URL of the agent's record.
    """

    name: schema.StrictStr
    version: schema.StrictStr
    url: schema.StrictStr | None = None
