"""The settings of all runs of a batch (`Plan`), and one input: its `Task` and its `BatchItem`."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, cast

from urllib3 import HTTPHeaderDict

from acp_client_v0_1._errors import REQUEST_IDS
from acp_client_v0_1._names import hinted
from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._answering import Questions
from acp_client_v0_1.handles._core import RunCore
from acp_client_v0_1.handles._marks import CLIENT_TOKEN_KEY, Mark
from acp_client_v0_1.handles._polls import Polls
from acp_client_v0_1.handles._records import json_line, outcome_of
from acp_client_v0_1.handles._token import RunToken
from acp_client_v0_1.handles._typed import JsonType, Out
from acp_client_v0_1.handles.errors import ResultMismatch
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models.agent import Agent

BATCH_KEY = "acp-batch"
"""The key in the metadata of a run. Its value is the mark of the batch."""

_KEPT_HEADERS = frozenset(("content-type", "retry-after", *REQUEST_IDS))

OnInterrupt = Callable[[PendingInterrupt], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings that all runs of a batch share, also in worker processes."""

    agent_id: str
    # A random id of this call of `AgentHandle.map`. Two calls with the same journal have different
    # ids.
    call_id: str
    # The agent's description, if the handle has read it already.
    agent: Agent | None
    # The origin and base path of the server.
    server: str
    # The mark in the metadata of all runs.
    batch_mark: str
    # Each create has these options. The metadata of the create also has the mark of the batch and
    # the client token of the task.
    options: Mapping[str, Any]
    # How many seconds each output of a run may take. None means no limit.
    timeout: float | None
    on_interrupt: OnInterrupt | None
    # If True, each input is checked against the agent's schema.
    check: bool
    # What to do if it is unclear whether a run was started: "raise" or "start".
    unclear: str
    # An earlier call may have written the journal. This is the age of its last line, in seconds,
    # when this call opened the journal. Infinity if there was no earlier call.
    written_ago: float = math.inf
    # `reached` of the caller's transport. Also True if the journal shows that the server has
    # responded to an earlier call.
    server_reached: bool = False
    # A run of an earlier call whose output was fetched, or "", and its mark.
    served: str = ""
    served_mark: Mark | None = None
    # Whether the batch has one open run at a time.
    one_at_a_time: bool = False


@dataclass(slots=True, eq=False)
class Task:
    """One input, its run, and its outcome."""

    # Inputs are counted from 0.
    index: int
    # The name by which the user knows the input.
    key: str
    # A `JsonCopy` of the input, or None. If the input cannot be sent, the input itself.
    input: Any
    # The client token of the create.
    client_token: str
    # The digest of the input, if the batch has a journal.
    digest: str = ""
    # If True, an earlier call may have created the run.
    started_before: bool = False
    # When an earlier call was about to post the create, in seconds since the epoch. Minus infinity
    # if the journal does not say so.
    posted_at: float = -math.inf
    run_id: str = ""
    # The outcome, or None while the task has not ended.
    outcome: dict[str, Any] | Exception | None = None
    # How many runs were made for the task beyond the first run.
    duplicates: int = 0
    # If not "", the item has failed in an earlier call, and the input is to be run again: "look" if
    # the run has failed, and "output" if its output could not be fetched.
    retry: Literal["", "look", "output"] = ""
    # If True, the outcome is final although the run may have a result: its output always fails.
    final: bool = False
    # If True, the outcome is an error that all tasks would get.
    ends_batch: bool = False
    # The run of another task whose output the server has served, or "". A worker process compares
    # failures with it.
    served: str = ""

    # Only the process that drives the task uses the fields below. A pickle leaves out the core, the
    # polls and the questions, because they reference a client.
    core: RunCore | None = None
    polls: Polls | None = None
    # Answers the questions of the run, and counts its answers.
    questions: Questions | None = None
    # The time at which the task was last parked, or 0.
    parked_at: float = 0.0
    # If a search before this time does not list the run as pending, the search is not believed.
    doubt_until: float = 0.0

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        # No credential leaves its process. A core references a client, which has credentials. The
        # error of a callback may reference a client, too. The headers of a response may have
        # credentials, such as a ``Set-Cookie``.
        state = {name: getattr(self, name) for name in self.__slots__}
        if isinstance(error := self.outcome, Exception):
            if isinstance(error, ApiException) and (headers := error.headers):
                state["outcome"] = error = copy(error)
                error.headers = HTTPHeaderDict(kept_headers(headers))
            try:
                _check_pickles(error)
            except Exception as why:  # noqa: BLE001 - pickling runs the code of any class
                words = f"{type(error).__name__}: {error} (it cannot leave its process: {why})"
                state["outcome"] = ApiException(reason=words)
        return None, {**state, "core": None, "polls": None, "questions": None}

    @property
    def mark(self) -> Mark:
        """The mark of the create."""
        return Mark(CLIENT_TOKEN_KEY, self.client_token)

    def item(self, kind: JsonType | None, token: RunToken) -> BatchItem[Any]:
        """Return what the caller gets of a task that has ended.

        A result is of the type ``kind``. The ``token`` lacks the run.
        """
        given, outcome, raw = self.input, cast("dict[str, Any] | Exception", self.outcome), None
        if isinstance(given, dict):
            given = dict(cast("dict[str, Any]", given))
        if kind is not None and not isinstance(outcome, Exception):
            raw = outcome
            about = {"run": self.run_id, "client_token": self.client_token}
            try:
                outcome = kind.received(raw, self.run_id, lambda: replace(token, **about).encode())
            except ResultMismatch as error:
                outcome = error
        return BatchItem(self.index, self.key, self.run_id, given, outcome, raw)

    def start_over(self) -> None:
        """Forget the run, and change the client token. The next create makes another run."""
        self.client_token = next_client_token(self.client_token)
        self.run_id, self.core, self.started_before = "", None, False


@hinted
@dataclass(frozen=True, slots=True)
class BatchItem(Generic[Out]):
    """One input's outcome.

    Attributes:
        index: The index of the input, from 0.
        key: The name that ``key`` returned for the input, or the index as text.
        run_id: The id of the run, or "" if no run is known.
        input: The input as it was drawn: a copy, and a dict if you gave a model or a dataclass. If
            the input could not be sent, the input itself.
        outcome: The result, or the error that took its place.
        raw: With a type for results, the result as JSON, as the journal has it. Otherwise None.
    """

    index: int
    key: str
    run_id: str
    input: Any
    outcome: Out | Exception
    raw: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether there is a result."""
        return not isinstance(self.outcome, Exception)

    @property
    def error(self) -> Exception | None:
        """The error that took the result's place. None if there is a result."""
        return self.outcome if isinstance(self.outcome, Exception) else None

    def result(self) -> Out:
        """Return the result.

        Returns:
            The result, in the agent's own schema or of the type of `AgentHandle.typed`.

        Raises:
            ApiException: The run has no result, or none in time: for example `RunFailed`,
                `RunInterrupted`, `RunGone`, `RunWaitTimeout`, `RunStartAmbiguous`, or the error of
                a create that the server refused. Or the result does not fit (`ResultMismatch`).
            ApiTypeError, ApiValueError: The input could not be sent; `SchemaMismatch` if it does
                not match the agent's schema.
            Exception: ``on_interrupt`` or the executor raised it, or ``connect`` raised an OSError.
        """
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def to_dict(self) -> dict[str, Any]:
        """Return the item as the command prints it, without its input.

        It has ``index``, ``key``, ``run_id``, ``status``, and the ``result`` or what took its
        place, as docs/reference/command-output.md describes it. A result is as the agent gave it,
        also if it does not fit the type of `AgentHandle.typed`.
        """
        about = {"index": self.index, "key": self.key, "run_id": self.run_id}
        if isinstance(self.outcome, Exception) and self.raw is None:
            return about | outcome_of(self.outcome) | {"run_id": self.run_id}
        return about | {
            "status": "success",
            "result": self.outcome if self.raw is None else self.raw,
        }

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON. Raise ``ValueError`` if it has NaN or infinity."""
        return json_line(self.to_dict())


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an error that go into the journal, or to another process.

    The other headers are dropped, because they may have credentials.
    """
    return {name: headers[name] for name in headers if name.lower() in _KEPT_HEADERS}


def next_client_token(client_token: str) -> str:
    """Derive the client token of the next try from ``client_token``.

    The same argument always gives the same result. So if a worker repeats a try, the repeated try
    has the same client token.
    """
    return hashlib.sha256(client_token.encode()).hexdigest()[:32]


class _CredentialFreePickler(pickle.Pickler):
    """Refuses to pickle objects that have credentials."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, (ApiClient, Configuration)):
            raise pickle.PicklingError("it holds a client")
        return NotImplemented


def _check_pickles(error: Exception) -> None:
    """Raise an error if an error cannot be pickled, or if its pickle cannot be read."""
    _CredentialFreePickler(io.BytesIO()).dump((error.args, vars(error)))
    try:
        text = pickle.dumps(error)
    except Exception:  # noqa: BLE001 - pickling runs the code of any class
        # A class that `pickle` refuses may still reach the caller: some executors use cloudpickle,
        # which pickles more classes.
        return
    # An error whose class takes other arguments than `Exception` got fails here. In the caller's
    # process, it would break the whole pool.
    pickle.loads(text)
