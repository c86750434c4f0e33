# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunResult."""

from typing import Literal

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.run_status import RunStatus


class RunResult(schema.Model):
    """The result of a run, final or, in a stream, so far.

    Attributes:
        type: Tells a result from the other outputs.
        run_id: The ID of the run.
        status: The status of the run.
        result: The result, in the agent's own schema.
    """

    type: Literal["result"] = "result"
    run_id: schema.Identifier
    status: RunStatus
    result: schema.JsonObject
