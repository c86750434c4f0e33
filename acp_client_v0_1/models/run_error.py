# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunError."""

from typing import Literal

from acp_client_v0_1 import _schema as schema


class RunError(schema.Model):
    """The failure of a run.

    Attributes:
        type: Tells an error from the other outputs.
        run_id: The ID of the run.
        errcode: The code of the error, the agent's own.
        description: What went wrong.
    """

    type: Literal["error"] = "error"
    run_id: schema.Identifier
    errcode: schema.StrictInt
    description: schema.StrictStr
