# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunResult."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.run_status import RunStatus

__all__ = ["RunResult"]


class RunResult(schema.Model):
    """The result of a run, final or, in a stream, so far."""

    type: Literal["result"] = schema.Field(
        default="result", description="Tells a result from the other outputs."
    )
    """Tells a result from the other outputs."""
    run_id: Annotated[str, schema.IDENTIFIER] = schema.Field(description="The ID of the run.")
    """The ID of the run."""
    status: RunStatus = schema.Field(description="The status of the run.")
    """The status of the run."""
    result: Annotated[dict[str, Any], schema.JSON_OBJECT] = schema.Field(
        description="The result, in the agent's own schema."
    )
    """The result, in the agent's own schema."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            type: Literal["result"] = "result",
            run_id: str | UUID,
            status: RunStatus | Literal["pending", "error", "success", "timeout", "interrupted"],
            result: dict[str, Any],
        ) -> None:
            """The result of a run, final or, in a stream, so far."""
