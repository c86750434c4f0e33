# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunResult."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.run_status import RunStatus

__all__ = ["RunResult"]


class RunResult(schema.Model):
    """The result of a run, final or, in a stream, so far."""

    type: Literal["result"] = schema.optional("Tells a result from the other outputs.", "result")
    """Tells a result from the other outputs."""
    run_id: schema.Identifier = schema.required("The ID of the run.")
    """The ID of the run."""
    status: RunStatus = schema.required("The status of the run.")
    """The status of the run."""
    result: schema.JsonObject = schema.required("The result, in the agent's own schema.")
    """The result, in the agent's own schema."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            type: Literal["result"] = "result",
            run_id: str | UUID,
            status: RunStatus | Literal["pending", "error", "success", "timeout", "interrupted"],
            result: dict[str, Any],
        ) -> None: ...
