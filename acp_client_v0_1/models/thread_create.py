# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The model ThreadCreate."""

from __future__ import annotations

from acp_client_v0_1 import _schema as schema

__all__ = ["ThreadCreate"]


class ThreadCreate(schema.Model):
    """What a new thread is made from."""

    agent_id: schema.String
    """The ID of the agent that the thread is for."""
    metadata: schema.FreeObject | None = None
    """Keys and values to find the thread by."""
