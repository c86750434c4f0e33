"""What the server knows: agents, threads, and runs with the callbacks that watch them.

One lock guards everything. A watcher is a callback that is called, under the lock, whenever its
run changes, gets an event or is deleted; it must not block. Since removing a watcher takes the
same lock, no watcher is called after `unwatch` has returned.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any, TypeVar, cast

from acp_client_v0_1.testing._server.records import RunRecord, ThreadRecord
from acp_client_v0_1.testing._server.validation import Refusal
from acp_client_v0_1.testing.agents import AgentDefinition, JsonObject
from acp_client_v0_1.testing.quirks import Quirks

__all__ = ["Store", "json_equal"]

T = TypeVar("T")

_DELETED = 100  # runs that are remembered after their deletion


class Store:
    """Agents, threads and runs by id, in the order of their creation.

    ``lock``, which is re-entrant, guards the store and its records.
    """

    def __init__(self, agents: Iterable[AgentDefinition], quirks: Quirks) -> None:
        self.quirks: Quirks = quirks
        self.lock: AbstractContextManager[bool] = threading.RLock()
        self.runs: dict[str, RunRecord] = {}
        self.threads: dict[str, ThreadRecord] = {}
        self._deleted: dict[str, RunRecord] = {}  # the last ones, for replicas that lag
        self._agents: dict[str, AgentDefinition] = {}
        for definition in agents:
            self.register(definition)

    def register(self, definition: AgentDefinition) -> None:
        with self.lock:
            agent_id = definition.agent_id
            if agent_id in self._agents:
                raise ValueError(f"an agent with the id {agent_id} is already registered")
            self._agents[agent_id] = definition

    def agents(self) -> list[AgentDefinition]:
        with self.lock:
            return list(self._agents.values())

    def agent(self, agent_id: str, unknown: int = 404) -> AgentDefinition:
        with self.lock:
            return _found(self._agents, agent_id, "agent", unknown)

    def run(self, run_id: str, lag: float = 0.0) -> RunRecord:
        """Return a run, or a copy of it as it was ``lag`` seconds ago."""
        with self.lock:
            if not lag:
                return _found(self.runs, run_id, "run")
            run = self.runs.get(run_id) or self._deleted.get(run_id)
            then = run and run.at(time.monotonic() - lag)
            return _found({run_id: then} if then else {}, run_id, "run")

    def _runs(self, lag: float) -> Iterable[RunRecord]:
        if not lag:
            return self._in_order(self.runs)
        when = time.monotonic() - lag
        then = (run.at(when) for run in self._in_order({**self._deleted, **self.runs}))
        return [run for run in then if run is not None]

    def thread(self, thread_id: str) -> ThreadRecord:
        with self.lock:
            return _found(self.threads, thread_id, "thread")

    def find_agents(self, wanted: JsonObject, limit: int, offset: int) -> list[JsonObject]:
        """Return a page of the agents with exactly the wanted name and version."""
        name, version = wanted.get("name"), wanted.get("version")
        with self.lock:
            found = (
                agent
                for agent in self._in_order(self._agents)
                if name in (None, agent.name) and version in (None, agent.version)
            )
            return _page(found, limit, offset)

    def find_runs(
        self, wanted: JsonObject, limit: int, offset: int, lag: float = 0.0
    ) -> list[JsonObject]:
        """Return a page of the runs that pass every filter, as they were ``lag`` seconds ago."""
        agent_id, status = wanted.get("agent_id"), wanted.get("status")
        metadata = self._wanted_metadata(wanted)
        with self.lock:
            # The cheapest and strictest filter first, for there may be thousands of runs.
            found = (
                run
                for run in self._runs(lag)
                if (status is None or run.status == status)
                and (agent_id is None or run.agent.agent_id == agent_id)
                and _has_metadata(run.creation.get("metadata"), metadata)
            )
            return _page(found, limit, offset)

    def find_threads(self, wanted: JsonObject, limit: int, offset: int) -> list[JsonObject]:
        """Return a page of the threads that pass every filter."""
        agent_id, metadata = wanted.get("agent_id"), self._wanted_metadata(wanted)
        with self.lock:
            found = (
                thread
                for thread in self._in_order(self.threads)
                if agent_id in (None, thread.agent_id) and _has_metadata(thread.metadata, metadata)
            )
            return _page(found, limit, offset)

    def _wanted_metadata(self, wanted: JsonObject) -> JsonObject:
        """Return the metadata to filter by, as the server's quirk has it."""
        metadata: JsonObject = wanted.get("metadata") or {}
        if metadata and self.quirks.search_metadata == "fails":
            raise Refusal(500, "the search by metadata failed")
        return {} if self.quirks.search_metadata == "ignored" else metadata

    def _in_order(self, records: dict[str, T]) -> Iterable[T]:
        newest_first = self.quirks.search_order == "newest"
        return reversed(records.values()) if newest_first else records.values()

    def watch(self, run: RunRecord, watcher: Callable[[], None]) -> None:
        with self.lock:
            run.watchers.add(watcher)

    def unwatch(self, run: RunRecord, watcher: Callable[[], None]) -> None:
        with self.lock:
            run.watchers.discard(watcher)

    def forget_run(self, run: RunRecord) -> None:
        """Remove a run from the store and from its thread."""
        with self.lock:
            run.deleted, run.deleted_at = True, time.monotonic()
            self.runs.pop(run.run_id, None)
            self._deleted[run.run_id] = run
            while len(self._deleted) > _DELETED:
                del self._deleted[next(iter(self._deleted))]
            if run.thread is not None:
                run.thread.runs.remove(run)


def _page(
    found: Iterable[AgentDefinition | RunRecord | ThreadRecord], limit: int, offset: int
) -> list[JsonObject]:
    first = min(offset, sys.maxsize - limit)  # islice takes no larger one
    return [record.to_wire() for record in islice(found, first, first + limit)]


def _found(records: dict[str, T], identifier: str, kind: str, status: int = 404) -> T:
    if identifier not in records:
        raise Refusal(status, f"no {kind} has the id {identifier!r}")
    return records[identifier]


def json_equal(one: Any, other: Any) -> bool:
    """Compare two JSON values; unlike in Python, 1 and true differ."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        left, right = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return left.keys() == right.keys() and all(json_equal(left[k], right[k]) for k in left)
    if isinstance(one, list) and isinstance(other, list):
        items, others = cast("list[object]", one), cast("list[object]", other)
        return len(items) == len(others) and all(map(json_equal, items, others))
    return bool(one == other)


def _has_metadata(present: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    """Return whether every wanted key is there with an equal value, nested ones included."""
    present = present or {}
    return all(key in present and json_equal(present[key], wanted[key]) for key in wanted)
