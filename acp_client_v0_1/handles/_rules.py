"""The rules that decide whether a request is sent again, when, and whether an error ends a batch.

The rules begin with two questions. *Could the server have carried out the request?* The kind of the
failure says this. *Has this server been reached before?* If not, and its address cannot be reached,
the address is probably wrong, and the failure does not count as an outage.

Strategy: `failure_of` (`_http.retry`) reads what an error means. `decide` returns what to do about
the failure of an action. `Wait.perform` (`_wait`) calls these two, and does what `decide` returned.
`Window` chooses the length of the next long poll, for `_polls.Polls`.

Invariants: no I/O, no clock, no thread. Only the length of a backoff is random. A ``Retry-After``
is never shortened. If it would last beyond the deadline, or beyond the time for which failures are
survived, the decision is an error at once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, cast

from acp_client_v0_1._http.retry import Failure, backoff, failure_of
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._health import DISPENSABLE, Action, Health
from acp_client_v0_1.handles._timing import timing

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

CHANGES: frozenset[Action] = frozenset(("create", "resume", "delete"))
# The reads of one run. If one of them keeps failing, the reason may be the run or the server.
READS_OF_A_RUN: frozenset[Action] = frozenset(("look", "output", "stream"))


def is_unserved(error: ApiException) -> bool:
    """Tell whether an error may mean that the server lacks the operation.

    A 404 counts if its body does not say what was not found.
    """
    if error.status != 404:
        return failure_of(error).kind == "lacks"
    data = error.data
    words = cast("Mapping[str, Any]", data).get("detail") if isinstance(data, Mapping) else data
    if not isinstance(words, str):
        return True
    words = words.strip().lower().removeprefix("404 page ").rstrip(".")
    # Go's validators of OpenAPI requests respond with the last of these phrases.
    return words[:1] in ("", "<") or words in ("not found", "no matching operation was found")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who waits for a request. The parts of a call keep the caller of the call."""

    # Failures are survived for this many times `Timing.outage`. If it is 0, the first failure ends
    # the wait, without the client's own retries. If it is infinity, only the deadline ends it.
    outages: float = math.inf
    # True for a run of a batch, where an error may concern every run. A batch repeats a search,
    # since only a search that worked shows that there is no run.
    shared: bool = False
    # Whether the caller wants one request. It is sent again only if the server limits requests.
    once: bool = False

    @property
    def survives(self) -> float:
        """How many seconds of failures are survived."""
        return self.outages * timing().outage


WITH_TIMEOUT = Caller()
WITHOUT_TIMEOUT = Caller(outages=1)
IN_BATCH = Caller(outages=1, shared=True)
# A request beside another one, which gives way to any failure.
BESIDE = Caller(outages=0)
ONCE = Caller(outages=0, once=True)
# The request that shows whose failure it is, see `batch._blame`.
LAST_TRY = Caller(outages=1, shared=True, once=True)


class Known(NamedTuple):
    """What is known of a wait when one of its requests has failed. Times are seconds."""

    now: float
    # The last moment at which the wait begins a request.
    last: float = math.inf
    # The failures in a row before this failure, and the time of the first of them. If there are
    # none, this time is infinity.
    failures: int = 0
    since: float = math.inf
    # How many responses in a row before this one were JSON that does not fit the contract.
    misfits: int = 0
    # Whether there is a sign that the address is right. If there is none, a failure gets only as
    # many retries as the client itself makes.
    reached: bool = True
    retries: float = 3
    # Seconds since the run was created, or infinity if its time is not known.
    age: float = math.inf


class Pause(NamedTuple):
    """Send the request again after some seconds."""

    seconds: float
    # Whether the failure counts as part of an outage of the server.
    outage: bool = True


class Probe(NamedTuple):
    """The outcome is unknown: the caller looks before it sends the request again.

    The caller reads the run, searches for a run that may have been created, or polls.
    """


Whose = Literal["run", "all"] | Action
"""Whose failure an error is, for a batch.

- "run": The error is the outcome of one run.
- "all": All runs would get the error. It ends the batch.
- An action: It is unclear. The same request for another run shows whose failure it is.
"""


class Raise(NamedTuple):
    """Raise the error."""

    # "error": The error of the request is raised as it is.
    # "gone": The server does not know the run.
    # "late": The deadline comes before the next request could begin.
    # "over": The failures have lasted too long.
    why: Literal["error", "gone", "late", "over"] = "error"
    whose: Whose = "run"


Decision = Pause | Probe | Raise


class Decided(Exception):
    """An error that is to end a call, with the decision about it. No loop judges it again.

    It stays inside this layer: `settled` and `KnownRun.named` raise the error itself.
    """

    def __init__(self, error: ApiException, whose: Whose = "run") -> None:
        super().__init__(error, whose)
        self.error = error
        self.whose: Whose = whose


def undecided(error: Decided | E) -> ApiException | E:
    """Return the error that a caller gets for an error of this layer."""
    return error.error if isinstance(error, Decided) else error


def settled(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function, and return what it returns. Raise the error of a `Decided` itself."""
    try:
        return work(*args, **kwargs)
    except Decided as decided:
        ended = [decided.error]
    # Raised here, the error does not have the `Decided` as its context. A variable that kept the
    # error would make a cycle of references, by the frame in its traceback.
    raise ended.pop()


def decide(
    action: Action, failure: Failure, health: Health, caller: Caller, known: Known
) -> Decision:
    """Decide what to do about the failure of an action.

    The conditions are the rows of a table. The first condition that is true decides.
    """
    kind = failure.kind
    if kind == "denied":
        return Raise(whose="all")
    if kind in ("lost", "unreadable", "misfit", "oversized", "moved") and action in CHANGES:
        return Probe()
    again = caller.outages > 0 and not caller.once and known.misfits + 1 < timing().misfits
    if kind == "misfit" and again:
        return _pause(action, failure, caller, known, outage=False)
    # A server that has never responded, and ends each connection, may want a client certificate.
    refuses = failure.ended and not known.reached
    if kind in ("unsent", "limited") or refuses or (kind == "unreadable" and action != "stream"):
        return _after_no_response(action, failure, caller, known)
    if kind == "lost":
        return _after_loss(action, failure, health, caller, known)
    # A 404 to a create, describe or search is not about a run: the agent or the path is missing.
    if kind == "missing" and action not in ("create", "describe", "search"):
        return _after_missing(action, failure, caller, known)
    return _after_refusal(action, failure)


def _after_no_response(action: Action, failure: Failure, caller: Caller, known: Known) -> Decision:
    """Decide after a request that was not sent, a limit, or a response that cannot be read."""
    # As long as nothing shows that the address is right, such a failure is taken for a sign of a
    # wrong address. Then the request is retried as often as a single call, and not for an outage.
    limited = failure.kind == "limited" or failure.full_pool
    wrong_address = not (known.reached or limited)
    few_retries = wrong_address or (action == "describe" and failure.kind == "unreadable")
    decision = _pause(action, failure, caller, known, outage=not wrong_address)
    if wrong_address and not isinstance(decision, Pause):
        return Raise(whose="all")
    # A descriptor that does not fit the contract will not change.
    if few_retries and known.failures >= known.retries:
        return Raise(whose="all" if wrong_address else "run")
    return decision


def _after_loss(
    action: Action, failure: Failure, health: Health, caller: Caller, known: Known
) -> Decision:
    fails_often = action in health.fails or known.failures + 1 >= timing().refusals
    # If the server asks for a pause, this is why a search fails.
    asks = action == "search" and failure.retry_after
    if fails_often and action in DISPENSABLE and not asks:
        return Probe()
    return _pause(action, failure, caller, known)


def _after_missing(action: Action, failure: Failure, caller: Caller, known: Known) -> Decision:
    if known.age < timing().young:
        return _pause(action, failure, caller, known, outage=False)
    return Raise("gone") if action == "look" else Probe()


def _after_refusal(action: Action, failure: Failure) -> Decision:
    lacks = failure.kind == "lacks"
    # A proxy may respond to "output" with a 405 or 501 while there is no output yet. Reading the
    # run shows whether there must be an output. A run that cannot be streamed is read as well.
    if action == "stream" or (lacks and action == "output"):
        return Probe()
    # A resume gets a 409 if another caller's answer came first, or if the run's thread of ACP is
    # busy. Reading the run shows which it is.
    if failure.conflict and action == "resume":
        return Probe()
    # The agent does not exist, or the server does not create runs, or does not show them.
    all_runs = lacks or (failure.kind == "missing" and action == "create")
    return Raise(whose="all" if all_runs and action in ("create", "look") else "run")


def _pause(
    action: Action, failure: Failure, caller: Caller, known: Known, *, outage: bool = True
) -> Decision:
    """Return a `Pause`, or a `Raise` if no request may follow.

    That is so if a ``Retry-After`` lasts too long, or the failures have lasted too long.
    """
    asked = failure.retry_after or 0.0
    # The next request must begin within these seconds.
    to_go = known.last - known.now
    # Failures are survived for this many more seconds.
    left = min(known.since, known.now) + caller.survives - known.now
    # If the server asks for a longer pause, the error of the request is raised as it is. Its
    # message says how long the pause would be.
    if asked and asked > left:
        return Raise(whose="all")
    # A server that is away, or that limits requests, is so for all runs.
    of_a_run = action in READS_OF_A_RUN and failure.kind in ("lost", "unreadable") and not asked
    over = Raise("over", action if of_a_run else "all")
    if outage and left < 0:
        return over
    if asked > to_go:
        return Raise("late")
    seconds = backoff(known.failures, *timing().backoff) * (0.5 + random.random() / 2)
    once = caller.once and not (asked or failure.limits)
    if outage and (once or seconds > left):
        return over
    # A backoff is shortened so that one more request can begin before the deadline.
    return Pause(max(min(seconds, to_go), asked), outage)


class Window:
    """The window of the next long poll, in whole seconds.

    A poll is cut if a proxy or the server ends it with an error. A window is full if the server
    held the poll for that long.

    - After a cut, the next window is shorter than the poll that was cut, but at least 1 second.
    - After a full window, the next window is twice as long, unless it would reach three quarters
      of the longest window of the last row of cuts. A full window ends a row.
    - Ten minutes after the last cut, a window of the first length is tried again.

    Example: a poll of 30 seconds is cut after 7, so the next window is 5, and then 10. If this one
    is cut, too, the windows are 5 seconds for ten minutes. If it is full, the next one is 20.

    The reason: a proxy with a time limit will cut a longer window again. But if the cut was an
    accident, such as a restart of the server, a longer window would work, and short windows only
    cost requests. Nothing distinguishes these two cases.
    """

    # The longest window of the last cuts in a row, and the time of the last cut.
    _longest_cut = 0
    _cut_at = -math.inf
    # Whether a window was full since the last cut.
    _was_full = True

    def __init__(self, seconds: int) -> None:
        self.seconds = self._longest = seconds

    @property
    def is_cut(self) -> bool:
        """Whether windows are shorter than the first one because polls were cut."""
        return self.seconds < self._longest

    def shorten(self, window: int, took: float, now: float) -> None:
        """Shorten the window after a poll with a window of ``window`` was cut after ``took``."""
        self.seconds = max(1, int(0.75 * took) if took < window else window // 2)
        self._longest_cut = window if self._was_full else max(window, self._longest_cut)
        self._cut_at, self._was_full = now, False

    def lengthen(self, now: float) -> None:
        """Lengthen the window, if that may work, after the server held a poll for all of it."""
        self._was_full = True
        if now - self._cut_at >= timing().cut_memory:
            self.seconds = self._longest
        elif 2 * self.seconds < 0.75 * self._longest_cut:
            self.seconds *= 2


def fitted(window: int, limit: float, margin: float) -> tuple[int, float]:
    """Fit a long poll into ``limit`` seconds. Return its window and its timeout, in seconds.

    The timeout is the window plus ``margin``, but at most ``limit``.
    """
    window = int(min(window, max(0.0, limit - timing().round_trip)))
    return window, min(limit, window + margin)


def was_full(window: float, took: float) -> bool:
    """Tell whether a poll that brought no output was held for its whole window."""
    # A server may end a poll a little before its window is over.
    return took >= 0.9 * window > 0
