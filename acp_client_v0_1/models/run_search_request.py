# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model RunSearchRequest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from acp_client_v0_1 import _schema as schema
from acp_client_v0_1.models.run_status import RunStatus

__all__ = ["RunSearchRequest"]


class RunSearchRequest(schema.Model):
    """Which runs to search for."""

    agent_id: schema.Identifier | None = schema.optional("Only runs of this agent.")
    """Only runs of this agent."""
    status: RunStatus | None = schema.optional("Only runs in this status.")
    """Only runs in this status."""
    metadata: schema.JsonObject | None = schema.optional(
        "Only runs that have all of these keys and values."
    )
    """Only runs that have all of these keys and values."""
    limit: schema.StrictInt | None = schema.optional(
        "The largest number of entries to return.", 10, ge=1, le=1000
    )
    """The largest number of entries to return."""
    offset: schema.StrictInt | None = schema.optional("How many matching entries to skip.", 0, ge=0)
    """How many matching entries to skip."""

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
        ) -> None: ...
