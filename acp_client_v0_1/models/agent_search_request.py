# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentSearchRequest."""

from acp_client_v0_1 import _schema as schema


class AgentSearchRequest(schema.Model):
    """Which agents to search for.

    Attributes:
        name: Only agents of this name.
        version: Only agents of this version.
        limit: The largest number of entries to return.
        offset: How many matching entries to skip.
    """

    name: schema.StrictStr | None = None
    version: schema.StrictStr | None = None
    limit: schema.StrictInt | None = schema.Field(default=10, ge=1, le=1000)
    offset: schema.StrictInt | None = schema.Field(default=0, ge=0)
