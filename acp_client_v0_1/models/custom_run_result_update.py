# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model CustomRunResultUpdate."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.run_status import RunStatus

__all__ = ["CustomRunResultUpdate"]


class CustomRunResultUpdate(schema.Model):
    """An update of a run's output in the agent's own schema."""

    type: schema.Literal["custom"] = "custom"
    """Tells an update from a result."""
    run_id: schema.String
    """The ID of the run."""
    status: RunStatus
    """The status of the run."""
    update: schema.FreeObject
    """The update, in the agent's own schema."""
