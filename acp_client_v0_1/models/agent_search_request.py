# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentSearchRequest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acp_client_v0_1 import _schema as schema

__all__ = ["AgentSearchRequest"]


class AgentSearchRequest(schema.Model):
    """Which agents to search for."""

    name: schema.StrictStr | None = schema.optional("Only agents of this name.")
    """Only agents of this name."""
    version: schema.StrictStr | None = schema.optional("Only agents of this version.")
    """Only agents of this version."""
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
            name: str | None = None,
            version: str | None = None,
            limit: int | None = 10,
            offset: int | None = 0,
        ) -> None: ...
