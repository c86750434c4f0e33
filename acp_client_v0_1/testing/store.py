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
from acp_client_v0_1.testing.search import fits

__all__ = ["Store"]

T = TypeVar("T")


class Store:
    """Agents, threads and runs by id, in the order in which they came.

    Args:
        agents: The agents to begin with.

    Attributes:
        lock: Guards all that is here, and the records themselves; re-entrant.
        runs: The runs by id.
        threads: The threads by id.
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
        """Return an agent.

        Args:
            agent_id: Its id.

        Raises:
            Refusal: 404 if there is none with this id.
        """
        with self.lock:
            return _found(self._agents, agent_id, "agent")

    def run(self, run_id: str) -> RunRecord:
        """Return a run.

        Args:
            run_id: Its id.

        Raises:
            Refusal: 404 if there is none with this id.
        """
        with self.lock:
            return _found(self.runs, run_id, "run")

    def thread(self, thread_id: str) -> ThreadRecord:
        """Return a thread.

        Args:
            thread_id: Its id.

        Raises:
            Refusal: 404 if there is none with this id.
        """
        with self.lock:
            return _found(self.threads, thread_id, "thread")

    def find_agents(self, wanted: JsonObject) -> list[JsonObject]:
        """Return the agents with exactly the wanted name and version.

        Args:
            wanted: A valid AgentSearchRequest, as it was received.
        """
        return [
            agent.to_wire()
            for agent in self.agents()
            if fits(wanted, name=agent.name, version=agent.version)
        ]

    def find_runs(self, wanted: JsonObject) -> list[JsonObject]:
        """Return the runs that every filter lets through.

        Args:
            wanted: A valid RunSearchRequest, as it was received.
        """
        with self.lock:
            return [
                run.to_wire()
                for run in self.runs.values()
                if fits(
                    wanted,
                    agent_id=run.agent.agent_id,
                    status=run.status,
                    metadata=run.creation.get("metadata"),
                )
            ]

    def find_threads(self, wanted: JsonObject) -> list[JsonObject]:
        """Return the threads that every filter lets through.

        Args:
            wanted: A valid ThreadSearchRequest, as it was received.
        """
        with self.lock:
            return [
                thread.to_wire()
                for thread in self.threads.values()
                if fits(wanted, agent_id=thread.agent_id, metadata=thread.metadata)
            ]

    def watch(self, run: RunRecord, watcher: Callable[[], None]) -> None:
        """Have a callback called at every change of a run.

        Args:
            run: The run.
            watcher: Called under the lock, from any thread; it must not block.
        """
        with self.lock:
            run.watchers.add(watcher)

    def unwatch(self, run: RunRecord, watcher: Callable[[], None]) -> None:
        """Have a callback called no more.

        Args:
            run: The run.
            watcher: What `watch` was given.
        """
        with self.lock:
            run.watchers.discard(watcher)

    def forget_run(self, run: RunRecord) -> None:
        """Take a run out of everything that holds it.

        Args:
            run: The run.
        """
        with self.lock:
            run.deleted = True
            self.runs.pop(run.run_id, None)
            if run.thread is not None:
                run.thread.runs.remove(run)


def _found(records: dict[str, T], identifier: str, kind: str) -> T:
    if identifier not in records:
        raise Refusal(404, f"no {kind} has the id {identifier!r}")
    return records[identifier]
