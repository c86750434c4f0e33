"""What the server knows: agents, threads, and runs, and how they look on the wire.

One lock guards everything, and only the engine changes records. `to_wire` returns a new object,
which may be used without the lock. A run's watchers are callbacks that are called, under the lock,
whenever the run changes, gets an event or is deleted; they must not block.
"""

from __future__ import annotations

import copy
import json
import math
import re
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeAlias, TypeVar

from acp_client_v0_1.testing._server.echo import NO_ID, echo_of, stored
from acp_client_v0_1.testing._server.validation import Refusal
from acp_client_v0_1.testing._values import check_type, json_copy
from acp_client_v0_1.testing.agents import AgentDefinition, JsonObject
from acp_client_v0_1.testing.context import AgentContext, ThreadState
from acp_client_v0_1.testing.quirks import Quirks

T = TypeVar("T")

# This many deleted runs are remembered, for replicas that lag.
_DELETED = 100


def _now(form: str) -> str:
    """Return the time in a form of `Quirks.updated_at`."""
    if form == "year 1":
        # Go writes this for a time that was never set.
        return "0001-01-01T00:00:00Z"
    timespec = "seconds" if form == "seconds" else "microseconds"
    offset = "" if form == "naive" else "Z"
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec=timespec) + offset


def _never_ending(input: JsonObject, config: JsonObject, context: AgentContext) -> None:
    context.sleep(math.inf)


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
        """Whether one of its runs is pending, so that no other may start."""
        return any(run.status == "pending" for run in self.runs)


@dataclass(slots=True, eq=False)
class RunRecord:
    """A run: its creation, its status, its output and its events."""

    # The creation is the RunCreate as it was received, and then what is stored of it.
    creation: JsonObject
    agent: AgentDefinition
    thread: ThreadRecord | None
    quirks: Quirks
    run_id: str
    agent_id: str = field(init=False)
    metadata: JsonObject = field(init=False)
    streaming: str | None = field(init=False)
    status: str = "pending"
    updated_at: str = field(init=False)
    # A pending run has no output.
    output: JsonObject | None = None
    # Only a run that ended in success has the state of its thread.
    final_state: JsonObject | None = None
    events: list[JsonObject] = field(default_factory=list[JsonObject])
    # `Quirks.replay` asks whether a stream of the run was opened before.
    streamed: bool = False
    # `Quirks.output_once` asks whether the present output was fetched before.
    fetched: bool = False
    # This is set once the present stretch of work is over. Later results of the agent are dropped.
    over: threading.Event = field(default_factory=threading.Event)
    # The agent was called from its beginning this many times.
    times_called: int = 0
    deleted: bool = False
    # The time is that of `time.monotonic()`.
    deleted_at: float = math.inf
    # Each status is kept with its begin, its updated_at and its output, for replicas that lag. The
    # first one has the time of the run's creation.
    past: list[tuple[float, str, str, JsonObject | None]] = field(default_factory=list[Any])
    own_thread_id: str = field(default_factory=_new_id)
    cancelled: threading.Event = field(default_factory=threading.Event)
    # The agent rests here while its question is open.
    suspended: Generator[Any, Any, Any] | None = None
    watchers: set[Callable[[], object]] = field(default_factory=set[Callable[[], object]])

    def __post_init__(self) -> None:
        self.creation = stored(self.creation, self.quirks)
        # A search reads these by their names, as it does with agents and threads.
        self.agent_id = self.agent.agent_id
        self.metadata = self.creation.get("metadata", {})
        self.streaming = self.creation.get("streaming")
        self.become("pending", None)

    @property
    def working(self) -> bool:
        """Whether its agent's work still counts. Outside the store's lock, it may be outdated."""
        return self.status == "pending" and not self.deleted

    def to_wire(self) -> JsonObject:
        wire: JsonObject = {
            "creation": echo_of(self.creation, self.quirks),
            "run_id": self.run_id,
            "agent_id": self.agent_id,
            "created_at": self.past[0][2],
            "updated_at": self.updated_at,
            "status": "" if self.quirks.empty_status else self.status,
        }
        if self.quirks.own_thread_ids:
            wire["thread_id"] = self.own_thread_id
        elif self.thread is not None:
            wire["thread_id"] = self.thread.thread_id
        return wire

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
            metadata=json_copy(self.metadata, "the metadata"),
            _state=self.thread.state if self.thread else ThreadState(),
            _lock=lock,
            _working=lambda: self.working,
            _cancelled=self.cancelled,
        )

    def become(self, status: str, output: JsonObject | None) -> None:
        self.status = status
        self.output, self.fetched = output, False
        self.updated_at = _now(self.quirks.updated_at)
        self.past.append((time.monotonic(), status, self.updated_at, output))


Record: TypeAlias = AgentDefinition | ThreadRecord | RunRecord


class Store:
    """Agents, threads and runs by id, in the order of their creation.

    ``lock``, which is re-entrant, guards the store and its records.
    """

    def __init__(self, agents: Iterable[AgentDefinition], quirks: Quirks) -> None:
        self.quirks: Quirks = quirks
        self.lock: AbstractContextManager[bool] = threading.RLock()
        self.runs: dict[str, RunRecord] = {}
        # This many runs were made since the store forgot its runs.
        self.made = 0
        self.threads: dict[str, ThreadRecord] = {}
        # A replica that lags still has the last ones.
        self._deleted: dict[str, RunRecord] = {}
        self.agents: dict[str, AgentDefinition] = {}
        for definition in agents:
            self.register(definition)

    def register(self, definition: AgentDefinition) -> None:
        check_type("agents: each", definition, AgentDefinition)
        with self.lock:
            agent_id = definition.agent_id
            if agent_id in self.agents:
                who = f"the agent {definition.name} {definition.version} ({agent_id})"
                raise ValueError(f"{who} is already registered; give another name or version")
            self.agents[agent_id] = definition

    def agent(self, agent_id: str, unknown: int = 404) -> AgentDefinition:
        with self.lock:
            if unknown == 200 and agent_id not in self.agents:
                return AgentDefinition(function=_never_ending, agent_id=agent_id)
            return _found(self.agents, agent_id, "agent", unknown)

    def new_run_id(self) -> str:
        """Return the id of the next run. Call this under the lock."""
        self.made += 1
        if self.quirks.one_run_id:
            return NO_ID
        counted = {"counted": f"run-{self.made}", "counted UUIDs": str(uuid.UUID(int=self.made))}
        return counted.get(self.quirks.run_ids) or _new_id()

    def run(self, run_id: str, lag: float = 0.0) -> RunRecord:
        """Return a run, or a copy of it as it was ``lag`` seconds ago."""
        return _found(self.runs_before(lag), run_id, "run")

    def runs_before(self, lag: float) -> dict[str, RunRecord]:
        """Return the runs, or copies of them as they were ``lag`` seconds ago."""
        with self.lock:
            if not lag:
                return self.runs
            when = time.monotonic() - lag
            known = {**self._deleted, **self.runs}
            return {run_id: then for run_id, run in known.items() if (then := run.at(when))}

    def thread(self, thread_id: str) -> ThreadRecord:
        with self.lock:
            return _found(self.threads, thread_id, "thread")

    def search(
        self, records: Mapping[str, Record], filters: JsonObject, limit: int, offset: int
    ) -> list[JsonObject]:
        """Return a page of the records that pass every filter."""
        how = self.quirks.search_metadata
        if filters.get("metadata") and how == "fails":
            raise Refusal(500, "the search by metadata failed")
        if how == "ignored":
            filters = {name: wanted for name, wanted in filters.items() if name != "metadata"}
        order = -1 if self.quirks.search_order == "newest" else 1
        with self.lock:
            some = list(records.values())[::order]
            found = [each for each in some if _passes(each, filters, how)]
            return [record.to_wire() for record in found[offset : offset + limit]]

    def forget_run(self, run: RunRecord) -> None:
        """Remove a run from the store and from its thread. Call this under the lock."""
        run.deleted, run.deleted_at = True, time.monotonic()
        self.runs.pop(run.run_id, None)
        self._deleted[run.run_id] = run
        while len(self._deleted) > _DELETED:
            del self._deleted[next(iter(self._deleted))]
        if run.thread is not None:
            run.thread.runs.remove(run)


def _found(records: dict[str, T], identifier: str, kind: str, status: int = 404) -> T:
    if identifier not in records:
        raise Refusal(status, f"no {kind} has the id {identifier!r}")
    return records[identifier]


def _passes(record: Record, filters: JsonObject, how: str) -> bool:
    """Return whether a record has every wanted attribute, and every wanted key of metadata."""
    for name, wanted in filters.items():
        present = getattr(record, name)
        if name != "metadata":
            if present != wanted:
                return False
        elif not _matches(present or {}, wanted, how):
            return False
    return True


def _matches(metadata: JsonObject, wanted: JsonObject, how: str) -> bool:
    """Compare metadata as `Quirks.search_metadata` has it."""
    if how == "words":
        words = _words([*metadata.values()])
        return all(words & _words(text) for text in wanted.values())
    found = {key: value for key, value in metadata.items() if key in wanted}
    # The texts are compared, because 1 and true are equal to Python.
    texts = [json.dumps(each, sort_keys=True, ensure_ascii=False) for each in (found, wanted)]
    return texts[0] == texts[1] or (how == "any case" and texts[0].lower() == texts[1].lower())


def _words(value: object) -> set[str]:
    return {*re.findall(r"\w+", json.dumps(value, ensure_ascii=False).lower())}
