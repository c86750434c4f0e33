# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model StreamingModes."""

from acp_client_v0_1 import _schema as schema


class StreamingModes(schema.Model):
    """The streaming modes that an agent supports.

    Attributes:
        result: Whether the agent streams whole results.
        custom: Whether the agent streams updates in its own schema.
    """

    result: schema.StrictBool | None = None
    custom: schema.StrictBool | None = None
