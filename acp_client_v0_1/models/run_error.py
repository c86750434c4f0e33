# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunError."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from uuid import UUID

from acp_client_v0_1 import _schema as schema

__all__ = ["RunError"]


class RunError(schema.Model):
    """The failure of a run."""

    type: Literal["error"] = schema.optional("Tells an error from the other outputs.", "error")
    """Tells an error from the other outputs."""
    run_id: schema.Identifier = schema.required("The ID of the run.")
    """The ID of the run."""
    errcode: schema.StrictInt = schema.required("The code of the error, the agent's own.")
    """The code of the error, the agent's own."""
    description: schema.StrictStr = schema.required("What went wrong.")
    """What went wrong."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            type: Literal["error"] = "error",
            run_id: str | UUID,
            errcode: int,
            description: str,
        ) -> None: ...
