# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model CustomRunResultUpdate."""

from typing import Literal

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.run_status import RunStatus


class CustomRunResultUpdate(schema.Model):
    """An update of a run's output in the agent's own schema.

    Attributes:
        type: Tells an update from a result.
        run_id: The ID of the run.
        status: The status of the run.
        update: The update, in the agent's own schema.
    """

    type: Literal["custom"] = "custom"
    run_id: schema.Identifier
    status: RunStatus
    update: schema.JsonObject
