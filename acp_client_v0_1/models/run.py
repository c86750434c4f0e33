# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model Run."""

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_status import RunStatus


class Run(schema.Model):
    """A run of an agent.

    Attributes:
        creation: What the run was created from.
        run_id: The ID of the run.
        agent_id: The ID of the agent.
        thread_id: The ID of the run's thread, if it has one.
        created_at: When the run was created.
        updated_at: When the run last changed.
        status: The status of the run.
    """

    creation: RunCreate
    run_id: schema.Identifier
    agent_id: schema.Identifier
    thread_id: schema.Identifier | None = None
    created_at: schema.Timestamp
    updated_at: schema.Timestamp
    status: RunStatus
