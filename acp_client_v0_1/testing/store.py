"""What the server knows: agents, threads, runs, and who waits for a run to change.

One lock guards everything. A watcher is a callback that is called, under the lock, whenever its
run changes, gets an event or goes away; it must not block. Since removing a watcher takes the same
lock, none is called after `unwatch` has returned.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TypeVar

from acp_client_v0_1.testing.agents import AgentDefinition, JsonObject
from acp_client_v0_1.testing.records import RunRecord, ThreadRecord
from acp_client_v0_1.testing.refusal import Refusal
from acp_client_v0_1.testing.search import has_metadata, page

__all__ = ["Store"]

T = TypeVar("T")


class Store:
    """Agents, threads and runs by id, in the order in which they came.

    Args:
        agents: The agents to begin with.
    """

    def __init__(self, agents: Iterable[AgentDefinition]) -> None:
        self.lock: AbstractContextManager[bool] = threading.RLock()
        self.runs: dict[str, RunRecord] = {}
        self.threads: dict[str, ThreadRecord] = {}
        self._agents: dict[str, AgentDefinition] = {}
        for definition in agents:
            self.register(definition)

    def register(self, definition: AgentDefinition) -> None:
        """Add an agent.

        Args:
            definition: The agent.

        Raises:
            ValueError: Another agent has its id.
        """
        with self.lock:
            if definition.agent_id in self._agents:
                raise ValueError(
                    f"an agent with the id {definition.agent_id} is already registered"
                )
            self._agents[definition.agent_id] = definition

    def agents(self) -> list[AgentDefinition]:
        """Return all agents."""
        with self.lock:
            return list(self._agents.values())

    def agent(self, agent_id: str) -> AgentDefinition:
        """Return an agent, or refuse with 404."""
        with self.lock:
            return _found(self._agents, agent_id, "agent")

    def run(self, run_id: str) -> RunRecord:
        """Return a run, or refuse with 404."""
        with self.lock:
            return _found(self.runs, run_id, "run")

    def thread(self, thread_id: str) -> ThreadRecord:
        """Return a thread, or refuse with 404."""
        with self.lock:
            return _found(self.threads, thread_id, "thread")

    def find_agents(
        self, *, name: str | None, version: str | None, limit: int | None, offset: int | None
    ) -> list[JsonObject]:
        """Return a page of the agents with exactly this name and version."""
        found = [
            agent.to_wire()
            for agent in self.agents()
            if name in (None, agent.name) and version in (None, agent.version)
        ]
        return page(found, limit, offset)

    def find_runs(
        self,
        *,
        agent_id: str | None,
        status: str | None,
        metadata: JsonObject | None,
        limit: int | None,
        offset: int | None,
    ) -> list[JsonObject]:
        """Return a page of the runs that every filter lets through."""
        with self.lock:
            found = [
                run.to_wire()
                for run in self.runs.values()
                if agent_id in (None, run.agent.agent_id)
                and status in (None, run.status)
                and has_metadata(run.creation.get("metadata"), metadata or {})
            ]
        return page(found, limit, offset)

    def find_threads(
        self,
        *,
        agent_id: str | None,
        metadata: JsonObject | None,
        limit: int | None,
        offset: int | None,
    ) -> list[JsonObject]:
        """Return a page of the threads that every filter lets through."""
        with self.lock:
            found = [
                thread.to_wire()
                for thread in self.threads.values()
                if agent_id in (None, thread.agent_id)
                and has_metadata(thread.metadata, metadata or {})
            ]
        return page(found, limit, offset)

    def watch(self, run: RunRecord, watcher: Callable[[], None]) -> None:
        """Have a callback called at every change of a run."""
        with self.lock:
            run.watchers.add(watcher)

    def unwatch(self, run: RunRecord, watcher: Callable[[], None]) -> None:
        """Have a callback called no more."""
        with self.lock:
            run.watchers.discard(watcher)

    def forget_run(self, run: RunRecord) -> None:
        """Take a run out of everything that holds it."""
        with self.lock:
            run.deleted = True
            self.runs.pop(run.run_id, None)
            if run.thread is not None:
                run.thread.runs.remove(run)


def _found(records: dict[str, T], identifier: str, kind: str) -> T:
    if identifier not in records:
        raise Refusal(404, f"no {kind} has the id {identifier!r}")
    return records[identifier]
