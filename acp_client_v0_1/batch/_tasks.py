"""One input of a batch on its way to an outcome, and what all inputs of a batch share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from acp_client_v0_1.batch._journal import Journal
from acp_client_v0_1.exceptions import ApiException, OpenApiException
from acp_client_v0_1.handles._starting import CLIENT_TOKEN_KEY
from acp_client_v0_1.handles._tracing import TracedAgent
from acp_client_v0_1.handles.errors import RunFailed, RunGone

if TYPE_CHECKING:
    from acp_client_v0_1.handles._link import RunLink
    from acp_client_v0_1.handles.interrupts import PendingInterrupt

__all__ = ["BATCH_KEY", "Agent", "OnInterrupt", "Plan", "Recorder", "Settings", "Task"]

BATCH_KEY = "acp-batch"
"""The key of the runs' metadata that holds the mark of their batch."""

OnInterrupt = Callable[["PendingInterrupt"], Mapping[str, Any] | None]

# Statuses of a create that the same input would get again.
_REFUSALS = frozenset((400, 404, 409, 413, 415, 422))


class Agent(TracedAgent, Protocol):
    """What a batch takes of an `AgentHandle`, whose module knows batches, and not the reverse."""

    def check(
        self, *, input: Mapping[str, Any] | None, config: Mapping[str, Any] | None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What all runs of a batch share.

    Attributes:
        agent_id: Their agent.
        server: Origin and base path of its server.
        batch: The mark in their metadata.
        config: Their config.
        metadata: The rest of their metadata.
        timeout: Seconds to wait for each output, None for no limit.
        on_interrupt: Answers their questions, None for nobody.
        check: Check each input against the agent's schema.
    """

    agent_id: str
    server: str
    batch: str
    config: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    timeout: float | None
    on_interrupt: OnInterrupt | None
    check: bool

    def marks(self, token: str) -> dict[str, Any]:
        """Give the metadata of the run with this client token."""
        return {**(self.metadata or {}), BATCH_KEY: self.batch, CLIENT_TOKEN_KEY: token}


@dataclass(frozen=True, slots=True)
class Settings:
    """How a batch is iterated over.

    Attributes:
        key: Gives the name of an input, None for its index.
        concurrency: How many runs may be under way.
        ordered: Give the items in the order of the inputs.
        retry_failed: Run those again that the journal says have failed.
        cancel: Delete the runs that are under way at an early end.
        total: How many inputs there are, None if that is not known.
    """

    key: Callable[[Any], str] | None
    concurrency: int
    ordered: bool
    retry_failed: bool
    cancel: bool
    total: int | None


@dataclass(slots=True, eq=False)
class Task:
    """One input, and how far it has come.

    Attributes:
        index: Its place among the inputs, from 0.
        key: Its name for the user.
        input: The input of the run.
        token: The client token of its create.
        digest: Tells its input from others; "" without a journal.
        started_before: An earlier call may have created its run.
        run_id: Its run, "" before there is one.
        outcome: The result, or the error that took its place; None before the end.
        duplicates: How many more runs its creates have made.
        refused: Its client could not be used, so nothing is known of its input.
        link: Reaches its run, once that is known.
        polling: A request for its output is under way, which may be broken off.
        deadline: When to give up waiting for the output (`time.monotonic()`).
        answered: How many of its questions were answered.
        failures: How many requests for its output have failed in a row.
        failing_since: When the first of them did.
        early: How many long polls the server has ended before their time.
        parked_at: When it was left without a thread.
        doubt_until: Until when a search that says it has ended is not believed.
    """

    index: int
    key: str
    input: Any
    token: str
    digest: str = ""
    started_before: bool = False
    run_id: str = ""
    outcome: dict[str, Any] | Exception | None = None
    duplicates: int = 0
    refused: bool = False
    link: RunLink | None = None
    polling: bool = False
    deadline: float = math.inf
    answered: int = 0
    failures: int = 0
    failing_since: float = 0.0
    early: int = 0
    parked_at: float = 0.0
    doubt_until: float = 0.0

    def wait_from_now(self, timeout: float | None) -> None:
        """Begin to wait for the next output."""
        self.deadline = math.inf if timeout is None else time.monotonic() + timeout
        self.failures = self.early = 0


class Recorder:
    """Writes the progress of the tasks into the journal, if there is one.

    Args:
        journal: The journal, None for none.
    """

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal

    def starting(self, task: Task) -> None:
        """Note that its run is about to be created, unless an earlier call has."""
        if self._journal is not None and not task.started_before:
            self._journal.starting(task.index, task.digest, task.token, task.key)

    def started(self, task: Task) -> None:
        """Note its run."""
        if self._journal is not None:
            self._journal.started(task.index, task.run_id)

    def ended(self, task: Task) -> None:
        """Note its outcome, if the next call could not do better.

        A run that still goes on, or that no request has reached, stays open in the journal.
        """
        if self._journal is None:
            return
        if isinstance(task.outcome, dict):
            self._journal.done(task.index, task.run_id, task.outcome)
        elif isinstance(task.outcome, OpenApiException) and _is_final(task.outcome, task.run_id):
            self._journal.failed(task.index, task.run_id, task.outcome)


def _is_final(error: OpenApiException, run_id: str) -> bool:
    """Say whether the same input would fail again, or its run never gets a result."""
    if run_id:
        return isinstance(error, (RunFailed, RunGone))
    return not isinstance(error, ApiException) or error.status in _REFUSALS
