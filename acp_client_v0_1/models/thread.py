# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model Thread."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema

__all__ = ["Thread"]


class Thread(schema.Model):
    """What the runs of one conversation share."""

    thread_id: schema.String
    """The ID of the thread."""
    agent_id: schema.String
    """The ID of the agent."""
    metadata: schema.FreeObject | None = None
    """Keys and values to find the thread by."""
