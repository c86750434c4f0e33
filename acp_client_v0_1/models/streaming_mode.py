# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The enum StreamingMode."""

from acp_client_v0_1 import _schema as schema


class StreamingMode(schema.OpenEnum):
    """How the output of a run is streamed, as whole results or as updates of the agent's own."""

    RESULT = "result"
    CUSTOM = "custom"
