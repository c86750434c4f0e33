"""Agents and runs as objects, written on top of the generated operations.

An `AgentHandle` is an agent to call, a `RunHandle` a run to hold. Neither owns a thread or a
socket. All their requests are operations of `RunsApi` and `AgentsApi`.
"""

from __future__ import annotations

from acp_client_v0_1.handles.agent import AgentHandle
from acp_client_v0_1.handles.conversation import Conversation
from acp_client_v0_1.handles.errors import (
    AgentLookupError,
    InterruptLimit,
    ResumeAmbiguous,
    RunFailed,
    RunGone,
    RunInterrupted,
    RunStartAmbiguous,
    RunTimedOut,
    SchemaMismatch,
    SearchDrift,
    StaleInterrupt,
    StreamGap,
    TokenError,
)
from acp_client_v0_1.handles.events import RunEvent, RunEvents
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.handles.run import RunHandle
from acp_client_v0_1.handles.searching import iter_agents, iter_runs, iter_threads

__all__ = [
    "AgentHandle",
    "AgentLookupError",
    "Conversation",
    "InterruptLimit",
    "PendingInterrupt",
    "ResumeAmbiguous",
    "RunEvent",
    "RunEvents",
    "RunFailed",
    "RunGone",
    "RunHandle",
    "RunInterrupted",
    "RunStartAmbiguous",
    "RunTimedOut",
    "SchemaMismatch",
    "SearchDrift",
    "StaleInterrupt",
    "StreamGap",
    "TokenError",
    "iter_agents",
    "iter_runs",
    "iter_threads",
]
