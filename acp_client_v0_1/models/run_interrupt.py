# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunInterrupt."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema

__all__ = ["RunInterrupt"]


class RunInterrupt(schema.Model):
    """A question of the agent, which waits for resume_run to answer it."""

    type: schema.Literal["interrupt"] = "interrupt"
    """Tells an interrupt from the other outputs."""
    interrupt: schema.FreeObject
    """What the agent asks. The key `interrupt_type` names the type of interrupt."""
