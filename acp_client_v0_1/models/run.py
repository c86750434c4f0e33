# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model Run."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_status import RunStatus

__all__ = ["Run"]


class Run(schema.Model):
    """A run of an agent."""

    creation: RunCreate
    """What the run was created from."""
    run_id: schema.String
    """The ID of the run."""
    agent_id: schema.String
    """The ID of the agent."""
    thread_id: schema.String | None = None
    """The ID of the run's thread, if it has one."""
    created_at: schema.DateTime
    """When the run was created."""
    updated_at: schema.DateTime
    """When the run last changed."""
    status: RunStatus
    """The status of the run."""
