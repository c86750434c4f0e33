# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunResult."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.run_status import RunStatus

__all__ = ["RunResult"]


class RunResult(schema.Model):
    """The result of a run, final or, in a stream, so far."""

    type: schema.Literal["result"] = "result"
    """Tells a result from the other outputs."""
    run_id: schema.String
    """The ID of the run."""
    status: RunStatus
    """The status of the run."""
    result: schema.FreeObject
    """The result, in the agent's own schema."""
