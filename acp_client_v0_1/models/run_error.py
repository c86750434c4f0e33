# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunError."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from acp_client_v0_1 import _schema as schema

__all__ = ["RunError"]


class RunError(schema.Model):
    """The failure of a run."""

    type: Literal["error"] = schema.Field(
        default="error", description="Tells an error from the other outputs."
    )
    """Tells an error from the other outputs."""
    run_id: Annotated[str, schema.IDENTIFIER] = schema.Field(description="The ID of the run.")
    """The ID of the run."""
    errcode: Annotated[int, schema.STRICT] = schema.Field(
        description="The code of the error, the agent's own."
    )
    """The code of the error, the agent's own."""
    description: Annotated[str, schema.STRICT] = schema.Field(description="What went wrong.")
    """What went wrong."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            type: Literal["error"] = "error",
            run_id: str | UUID,
            errcode: int,
            description: str,
        ) -> None:
            """The failure of a run."""
