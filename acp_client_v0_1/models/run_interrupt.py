# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunInterrupt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from acp_client_v0_1 import _schema as schema

__all__ = ["RunInterrupt"]


class RunInterrupt(schema.Model):
    """A question of the agent, which waits for resume_run to answer it."""

    type: Literal["interrupt"] = schema.optional(
        "Tells an interrupt from the other outputs.", "interrupt"
    )
    """Tells an interrupt from the other outputs."""
    interrupt: schema.JsonObject = schema.required(
        "What the agent asks. The key `interrupt_type` names the type of interrupt."
    )
    """What the agent asks. The key `interrupt_type` names the type of interrupt."""

    if TYPE_CHECKING:

        def __init__(
            self, *, type: Literal["interrupt"] = "interrupt", interrupt: dict[str, Any]
        ) -> None: ...
