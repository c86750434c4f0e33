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
    # Two batches that continue one journal differ in this.
    call_id: str
    # The handle may have read the agent's description already.
    agent: Agent | None
    # The server is named by its origin and base path.
    server: str
    # The metadata of all runs has this mark.
    batch: str
    # Each create has these options. Its metadata also has the marks of batch and task.
    options: Mapping[str, Any]
    # Each output may take this many seconds.
    timeout: float | None
    on_interrupt: OnInterrupt | None
    # If True, each input is checked against the agent's schema.
    check: bool
    # This is "raise" or "start": what to do if it is unclear whether a run was started.
    unclear: str
    # An earlier call wrote the journal this many seconds before this one began.
    written_ago: float = math.inf
    # This is True if the server has answered the caller's client, or an earlier call.
    server_reached: bool = False


@dataclass(slots=True, eq=False)
class Task:
    """One input, its run, and its outcome."""

    # Inputs are counted from 0.
    index: int
    # The user knows the input by this name.
    key: str
    input: Any
    # This is the client token of the create.
    token: str
    # Only a batch with a journal needs the digest of the input.
    digest: str = ""
    # If True, an earlier call may have created the run.
    started_before: bool = False
    run_id: str = ""
    # The outcome is None until the task has ended.
    outcome: dict[str, Any] | Exception | None = None
    # The creates of the task made this many runs beyond the first.
    duplicates: int = 0
    # The run failed in an earlier call, and its server may have tried it again since.
    retry: bool = False
    # If True, the outcome is an error that all tasks would get.
    ends_batch: bool = False

    # The other fields are for the process that drives the task, and stay there.
    core: RunCore | None = None
    polls: Polls | None = None
    # While this is True, a long poll is under way, which may be interrupted.
    polling: bool = False
    # This object counts the answers of the run.
    questions: Questions | None = None
    # At this time the task was last left without a thread.
    parked_at: float = 0.0
    # Until this time, a search that does not list the run as pending is not believed.
    doubt_until: float = 0.0

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        # No credential leaves its process: a run has a client, and so may the error of a callback.
        state = {name: getattr(self, name) for name in self.__slots__}
        if isinstance(error := self.outcome, Exception):
            try:
                # The class is left out, because other picklers take it along where this one cannot.
                _CredentialFreePickler(io.BytesIO()).dump((error.args, vars(error)))
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


class _CredentialFreePickler(pickle.Pickler):
    """Refuses whatever has credentials."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, (ApiClient, Configuration)):
            raise pickle.PicklingError("it holds a client")
        return NotImplemented
