# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunSearchRequest."""

from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.run_status import RunStatus


class RunSearchRequest(schema.Model):
    """Which runs to search for.

    Attributes:
        agent_id: Only runs of this agent.
        status: Only runs in this status.
        metadata: Only runs that have all of these keys and values.
        limit: The largest number of entries to return.
        offset: How many matching entries to skip.
    """

    agent_id: schema.Identifier | None = None
    status: RunStatus | None = None
    metadata: schema.JsonObject | None = None
    limit: schema.StrictInt | None = schema.Field(default=10, ge=1, le=1000)
    offset: schema.StrictInt | None = schema.Field(default=0, ge=0)

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            agent_id: str | UUID | None = None,
            status: RunStatus
            | Literal["pending", "error", "success", "timeout", "interrupted"]
            | None = None,
            metadata: dict[str, Any] | None = None,
            limit: int | None = 10,
            offset: int | None = 0,
            additional_properties: dict[str, Any] | None = None,
        ) -> None: ...
