# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model ThreadSearchRequest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from acp_client_v0_1 import _schema as schema

__all__ = ["ThreadSearchRequest"]


class ThreadSearchRequest(schema.Model):
    """Which threads to search for."""

    agent_id: schema.Identifier | None = schema.optional("Only threads of this agent.")
    """Only threads of this agent."""
    metadata: schema.JsonObject | None = schema.optional(
        "Only threads that have all of these keys and values."
    )
    """Only threads that have all of these keys and values."""
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
            metadata: dict[str, Any] | None = None,
            limit: int | None = 10,
            offset: int | None = 0,
        ) -> None: ...
