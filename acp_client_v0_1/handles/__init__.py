"""Agents and runs as objects, written on top of the generated operations.

An `AgentHandle` stands for an agent, and a `RunHandle` for a run. Neither owns a thread or a
socket. All their requests are operations of `RunsApi` and `AgentsApi`.

The public names can be imported from `acp_client_v0_1`. Their modules are loaded on first use.
"""

from __future__ import annotations

__all__: list[str] = []
