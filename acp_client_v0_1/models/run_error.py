# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunError."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema

__all__ = ["RunError"]


class RunError(schema.Model):
    """The failure of a run."""

    type: schema.Literal["error"] = "error"
    """Tells an error from the other outputs."""
    run_id: schema.String
    """The ID of the run."""
    errcode: schema.Integer
    """The code of the error, the agent's own."""
    description: schema.String
    """What went wrong."""
