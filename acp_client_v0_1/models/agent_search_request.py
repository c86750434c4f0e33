# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model AgentSearchRequest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from acp_client_v0_1 import _schema as schema

__all__ = ["AgentSearchRequest"]


class AgentSearchRequest(schema.Model):
    """Which agents to search for."""

    name: Annotated[str, schema.STRICT] | None = schema.Field(
        default=None, description="Only agents of this name."
    )
    """Only agents of this name."""
    version: Annotated[str, schema.STRICT] | None = schema.Field(
        default=None, description="Only agents of this version."
    )
    """Only agents of this version."""
    limit: Annotated[int, schema.STRICT] | None = schema.Field(
        default=10, ge=1, le=1000, description="The largest number of entries to return."
    )
    """The largest number of entries to return."""
    offset: Annotated[int, schema.STRICT] | None = schema.Field(
        default=0, ge=0, description="How many matching entries to skip."
    )
    """How many matching entries to skip."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            name: str | None = None,
            version: str | None = None,
            limit: int | None = 10,
            offset: int | None = 0,
        ) -> None:
            """Which agents to search for."""
