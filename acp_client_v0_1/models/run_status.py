# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The enum RunStatus."""

from acp_client_v0_1 import _schema as schema


class RunStatus(schema.OpenEnum):
    """The status of a run."""

    PENDING = "pending"
    ERROR = "error"
    SUCCESS = "success"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
