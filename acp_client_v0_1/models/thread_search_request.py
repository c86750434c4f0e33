# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model ThreadSearchRequest."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema

__all__ = ["ThreadSearchRequest"]


class ThreadSearchRequest(schema.Model):
    """Which threads to search for."""

    agent_id: schema.String | None = None
    """Only threads of this agent."""
    metadata: schema.FreeObject | None = None
    """Only threads that have all of these keys and values."""
    limit: schema.Integer | None = schema.Field(default=10, ge=1, le=1000)
    """The largest number of entries to return."""
    offset: schema.Integer | None = schema.Field(default=0, ge=0)
    """How many matching entries to skip."""
