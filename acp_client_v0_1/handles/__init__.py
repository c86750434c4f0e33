"""Agents and runs as objects, written on top of the generated operations.

An `AgentHandle` is an agent to call, a `RunHandle` a run to hold. Neither owns a thread or a
socket. All their requests are operations of `RunsApi` and `AgentsApi`.

The names are in `acp_client_v0_1`, and load their modules when they are first used.
"""

from __future__ import annotations

__all__: list[str] = []
