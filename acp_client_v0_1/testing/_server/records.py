"""Runs and threads as the server keeps them, and how they look on the wire.

Only the engine changes records, under the store's lock. `to_wire` returns a new object, which may
be used without the lock.
"""

from __future__ import annotations

import copy
import math
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from acp_client_v0_1.testing._values import json_object
from acp_client_v0_1.testing.agents import AgentDefinition, JsonObject
from acp_client_v0_1.testing.context import AgentContext, ThreadState
from acp_client_v0_1.testing.quirks import Quirks

__all__ = ["RunRecord", "ThreadRecord"]


def _now(form: str) -> str:
    """Return the time in a form of `Quirks.updated_at`."""
    if form == "year 1":  # what Go writes for a time that was never set
        return "0001-01-01T00:00:00Z"
    timespec = "seconds" if form == "seconds" else "microseconds"
    offset = "" if form == "naive" else "Z"
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec=timespec) + offset


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass(slots=True, eq=False)
class ThreadRecord:
    """A thread: its agent, its state, and its runs, oldest first."""

    agent_id: str
    metadata: JsonObject | None
    thread_id: str = field(default_factory=_new_id)
    state: ThreadState = field(default_factory=ThreadState)
    runs: list[RunRecord] = field(default_factory=lambda: list[RunRecord]())

    def to_wire(self) -> JsonObject:
        wire: JsonObject = {"thread_id": self.thread_id, "agent_id": self.agent_id}
        return wire if self.metadata is None else {**wire, "metadata": self.metadata}

    @property
    def pending(self) -> bool:
        """Whether one of its runs is pending; then no other may start."""
        return any(run.status == "pending" for run in self.runs)


@dataclass(slots=True, eq=False)
class RunRecord:
    """A run: its creation, its status, its output and its events."""

    creation: JsonObject  # the RunCreate, as it was received
    agent: AgentDefinition
    thread: ThreadRecord | None
    quirks: Quirks
    run_id: str = field(default_factory=_new_id)
    status: str = "pending"
    created_at: str = field(init=False)
    updated_at: str = field(init=False)
    output: JsonObject | None = None  # None while it is pending
    final_state: JsonObject | None = None  # of the thread, if the run ended in success
    events: list[JsonObject] = field(default_factory=list[JsonObject])
    streamed: bool = False  # whether a stream of it was opened
    # Set once the present stretch of work is over: what the agent says after that is dropped.
    over: threading.Event = field(default_factory=threading.Event)
    attempts: int = 0  # how often the agent was called from its beginning
    deleted: bool = False
    deleted_at: float = math.inf  # seconds of `time.monotonic()`
    # When each status began, with its updated_at and output, for replicas that lag.
    past: list[tuple[float, str, str, JsonObject | None]] = field(init=False)
    own_thread_id: str = field(default_factory=_new_id)
    cancelled: threading.Event = field(default_factory=threading.Event)
    suspended: Generator[Any, Any, Any] | None = None  # the agent, while its question is open
    # Called at every change, under the store's lock.
    watchers: set[Callable[[], None]] = field(default_factory=set[Callable[[], None]])

    def __post_init__(self) -> None:
        self.past = []
        self.become("pending", None)
        self.created_at = self.updated_at

    @property
    def working(self) -> bool:
        """Whether its agent's work still counts; to be read under the store's lock."""
        return self.status == "pending" and not self.deleted

    @property
    def streaming(self) -> str | None:
        mode: str | None = self.creation.get("streaming")
        return mode

    def to_wire(self) -> JsonObject:
        wire: JsonObject = {
            "creation": self._echo(),
            "run_id": self.run_id,
            "agent_id": self.agent.agent_id,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "status": self.status,
        }
        if self.quirks.own_thread_ids:
            wire["thread_id"] = self.own_thread_id
        elif self.thread is not None:
            wire["thread_id"] = self.thread.thread_id
        return wire

    def _echo(self) -> JsonObject:
        if self.quirks.echo == "none":
            return {"agent_id": str(uuid.UUID(int=0))}
        left_out = ("streaming", "metadata", "webhook") if self.quirks.echo == "part" else ()
        return {name: value for name, value in self.creation.items() if name not in left_out}

    def at(self, when: float) -> RunRecord | None:
        """Return the run as it was at a time of `time.monotonic()`, if it was there."""
        then = [state for state in self.past if state[0] <= when]
        if not then or self.deleted_at <= when:
            return None
        record = copy.copy(self)
        _, record.status, record.updated_at, record.output = then[-1]
        return record

    def context(self, lock: AbstractContextManager[bool]) -> AgentContext:
        return AgentContext(
            run_id=self.run_id,
            thread_id=self.thread.thread_id if self.thread else None,
            streaming=self.streaming,
            metadata=json_object(self.creation.get("metadata"), "the metadata"),
            state=self.thread.state if self.thread else ThreadState(),
            lock=lock,
            working=lambda: self.working,
            cancelled=self.cancelled,
        )

    def become(self, status: str, output: JsonObject | None) -> None:
        self.status = status
        self.output = output
        self.updated_at = _now(self.quirks.updated_at)
        self.past.append((time.monotonic(), status, self.updated_at, output))
