"""One input of a batch on its way to an outcome, and the settings that all its runs share."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.exceptions import ApiException

if TYPE_CHECKING:
    from acp_client_v0_1.handles._answering import Questions
    from acp_client_v0_1.handles._core import Polls, RunCore
    from acp_client_v0_1.handles.interrupts import PendingInterrupt
    from acp_client_v0_1.models.agent import Agent

BATCH_KEY = "acp-batch"
"""The key of the runs' metadata that holds the mark of their batch."""

OnInterrupt = Callable[["PendingInterrupt"], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings that all runs of a batch share, also in worker processes."""

    agent_id: str
    call: str  # differs between the batches of one journal
    agent: Agent | None  # as its server described it, if it was read
    server: str  # origin and base path
    batch: str  # the mark in the runs' metadata
    options: Mapping[str, Any]  # of each create, whose metadata has marks beside these
    timeout: float | None  # seconds to wait for each output
    on_interrupt: OnInterrupt | None
    check: bool  # each input against the agent's schema
    unclear: str  # "raise" or "start", if nobody can tell whether a run was started
    # Seconds since an earlier call wrote the journal, when this one began.
    written_ago: float = math.inf
    answered: bool = False  # the server has answered the caller's client, or an earlier call


@dataclass(slots=True, eq=False)
class Task:
    """One input, its run, and its outcome."""

    index: int  # of the input, from 0
    key: str  # its name for the user
    input: Any
    token: str  # the client token of its create
    digest: str = ""  # of the input, if there is a journal
    started_before: bool = False  # an earlier call may have created its run
    run_id: str = ""
    outcome: dict[str, Any] | Exception | None = None  # None until it has ended
    duplicates: int = 0  # runs that its creates made beyond the first
    retry: bool = False  # its run failed in an earlier call, and may have been tried again
    broken: bool = False  # the outcome is an error that all tasks would get

    # Only in the process that drives it
    core: RunCore | None = None
    polls: Polls | None = None  # for its output
    polling: bool = False  # in a long poll, which may be interrupted
    questions: Questions | None = None  # which count its answers
    parked_at: float = 0.0  # when it was last left without a thread
    doubt_until: float = 0.0  # no search is believed before that which says that it has ended

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        # No credential leaves its process: a run has a client, and so may the error of a callback.
        state = {name: getattr(self, name) for name in self.__slots__}
        if isinstance(error := self.outcome, Exception):
            try:
                # Not the class, which other picklers take along where this one cannot name it.
                _Border(io.BytesIO()).dump((error.args, vars(error)))
            except Exception as why:  # noqa: BLE001 - pickling runs the code of any class
                words = f"{type(error).__name__}: {error} (it cannot leave its process: {why})"
                state["outcome"] = ApiException(reason=words)
        return None, {**state, "core": None, "polls": None, "questions": None}

    def start_over(self) -> None:
        """Forget the run, so that the next create makes another one."""
        self.token = token_after(self.token)
        self.run_id, self.core, self.started_before = "", None, False


def token_after(token: str) -> str:
    """Return the client token of the next try, which is the same if that try is repeated."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]


class _Border(pickle.Pickler):
    """Refuses whatever has credentials."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, (ApiClient, Configuration)):
            raise pickle.PicklingError("it holds a client")
        return NotImplemented
