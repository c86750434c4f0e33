"""One input of a batch on its way to an outcome, and what all inputs of a batch share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from acp_client_v0_1.exceptions import ApiException, OpenApiException
from acp_client_v0_1.handles._token import CLIENT_TOKEN_KEY, RunToken, encode_token
from acp_client_v0_1.handles.errors import RunFailed, RunGone

if TYPE_CHECKING:
    from acp_client_v0_1.batch._journal import Journal
    from acp_client_v0_1.handles._core import RunCore
    from acp_client_v0_1.handles._perform import Wait
    from acp_client_v0_1.handles.interrupts import PendingInterrupt
    from acp_client_v0_1.models.agent import Agent

__all__ = [
    "BATCH_KEY",
    "OnInterrupt",
    "Plan",
    "Task",
    "note_deleted",
    "note_end",
    "note_start",
    "token_after",
]

BATCH_KEY = "acp-batch"
"""The key of the runs' metadata that holds the mark of their batch."""

OnInterrupt = Callable[["PendingInterrupt"], Mapping[str, Any] | None]

# Statuses of a create that the same input would get again.
_REFUSALS = frozenset((400, 404, 409, 413, 415, 422))


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings that all runs of a batch share; travels to the worker processes."""

    agent_id: str
    call: str  # tells this batch from others of its journal
    agent: Agent | None  # as far as it is known
    server: str  # origin and base path
    batch: str  # the mark in the runs' metadata
    config: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None  # beside the marks
    timeout: float | None  # seconds to wait for each output
    on_interrupt: OnInterrupt | None
    check: bool  # each input against the agent's schema
    unclear: str  # "raise" or "start": what to do if nobody can tell whether a run was started
    written_at: float | None = None  # when an earlier call wrote the journal, since the epoch
    answered: bool = False  # the server has, in an earlier call

    def marks(self, token: str) -> dict[str, Any]:
        """Return the metadata of the run with this client token."""
        return {**(self.metadata or {}), BATCH_KEY: self.batch, CLIENT_TOKEN_KEY: token}

    def token_of(self, client_token: str) -> str:
        """Return the portable token of a run of which only the client token is known."""
        known = RunToken(self.server, agent=self.agent_id, client_token=client_token)
        return encode_token(known)


@dataclass(slots=True, eq=False)
class Task:
    """One input, and how far it has come."""

    index: int  # its place among the inputs, from 0
    key: str  # its name for the user
    input: Any
    token: str  # the client token of its create
    digest: str = ""  # tells its input from others; "" without a journal
    started_before: bool = False  # an earlier call may have created its run
    run_id: str = ""  # "" before there is a run
    outcome: dict[str, Any] | Exception | None = None  # None before the end
    duplicates: int = 0  # how many more runs its creates have made
    retry: bool = False  # it has failed by the journal, and is to be run again
    broken: bool = False  # its outcome is an error that all tasks would have
    core: RunCore | None = None  # of its run
    polling: bool = False  # a request for its output is under way, which may be broken off
    wait: Wait | None = None  # for its output
    answered: int = 0  # questions
    early: int = 0  # long polls that the server has ended before their time
    parked_at: float = 0.0  # when it was left without a thread
    doubt_until: float = 0.0  # until then, a search that says it has ended is not believed


def note_start(journal: Journal, task: Task) -> None:
    """Note in a journal that the run of a task is about to be created, unless it was before."""
    if not task.started_before:
        journal.starting(task.index, task.digest, task.token, task.key)


def token_after(token: str) -> str:
    """Return the client token of another try; the same one, should this try be made twice."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def note_deleted(journal: Journal | None, task: Task) -> None:
    """Note in a journal that the next call is to start a task anew, as its run was deleted."""
    if journal is not None:
        task.token, task.started_before = token_after(task.token), False
        note_start(journal, task)


def note_end(journal: Journal, task: Task) -> None:
    """Note in a journal the outcome of a task, if the next call could not do better.

    A run that still goes on, or that no request has reached, stays open in the journal.
    """
    if isinstance(task.outcome, dict):
        journal.done(task.index, task.run_id, task.outcome)
    elif isinstance(task.outcome, OpenApiException) and _is_final(task.outcome, task.run_id):
        journal.failed(task.index, task.run_id, task.outcome)


def _is_final(error: OpenApiException, run_id: str) -> bool:
    """Return whether the same input would fail again, or its run never gets a result."""
    if run_id:
        return isinstance(error, (RunFailed, RunGone))
    return not isinstance(error, ApiException) or error.status in _REFUSALS
