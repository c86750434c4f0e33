"""The rules that decide whether a request is sent again, and when.

The rules begin with two questions. *Could the server have carried out the request?* The kind of the
failure says this. *Has this server been reached before?* If not, and its address cannot be reached,
the address is probably wrong, and the failure does not count as an outage.

Strategy: `failure_of` (`_http.retry`) reads what an error means. `decide` returns what to do about
the failure of an operation. `Wait.perform` (`_perform`) calls these two, and does what `decide`
returned. `Window` chooses the length of the next long poll, for `_core.Polls`.

Invariants: no I/O, no clock, no thread. Only the length of a backoff is random. A ``Retry-After``
is never shortened. If it would last beyond the deadline, or beyond the time for which failures are
survived, the decision is an error at once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from acp_client_v0_1._http.retry import Failure, backoff, failure_of
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._timing import Timing

# "look" reads a run, and "describe" reads the descriptor of an agent.
Operation = Literal["create", "search", "describe", "look", "output", "stream", "resume", "delete"]

CHANGES: frozenset[Operation] = frozenset(("create", "resume", "delete"))
# The client can do without these operations, so a server may lack them. If one of them keeps
# failing, reading the run or its agent shows whether the whole server is down.
DISPENSABLE: frozenset[Operation] = frozenset(("stream", "search"))


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
class Facts:
    """What is known when a request has failed. All times come from one clock, in seconds."""

    now: float
    # The caller's deadline.
    ends: float = math.inf
    # After a pause, no request begins with less than these seconds left.
    least_left: float = 1.0
    # When the failures in a row began. For the first failure this equals ``now``. In a batch, this
    # may be the beginning of the server's outage instead, see `Wait.handle_failure`.
    since: float = 0.0
    # Failures are survived for this many seconds. Infinity: only the deadline ends the wait.
    longest: float = 300.0
    # How many failures of this wait came in a row before this failure.
    failures: int = 0
    # Whether the address is known to be a server's, see `Server.reached`.
    reached: bool = True
    # How many times the client itself retries a request that could not be sent.
    retries: float = 3
    # Whether this operation is known to fail while the server serves other operations.
    fails: bool = False
    # Whether a request of another operation has just shown that the whole server fails.
    probed: bool = False
    # Seconds since the run was created, or infinity if its time is not known.
    age: float = math.inf


class Pause(NamedTuple):
    """Send the request again after some seconds."""

    seconds: float
    # Whether the failure counts as part of an outage of the server.
    outage: bool = True


class Probe(NamedTuple):
    """Find out in another way what to do.

    The caller reads the run, searches for a run that may have been created, or polls.
    """


class Raise(NamedTuple):
    """Raise the error."""

    # "error": The error of the request is raised as it is.
    # "gone": The server does not know the run.
    # "late": The deadline comes before the next request could begin.
    # "over": The failures have lasted too long.
    why: Literal["error", "gone", "late", "over"] = "error"


Decision = Pause | Probe | Raise


def decide(operation: Operation, failure: Failure, facts: Facts, timing: Timing) -> Decision:
    """Decide what to do about the failure of an operation.

    The conditions are the rows of a table. The first condition that is true decides.
    """
    kind = failure.kind
    if kind == "denied":
        return Raise()
    if kind == "unsent" and not (facts.reached or failure.full_pool):
        # The address is probably wrong. So there are only as many retries as the client makes for a
        # single call, or fewer if the deadline comes first.
        decision = _pause(failure, facts, timing, outage=False)
        more = facts.failures < facts.retries and isinstance(decision, Pause)
        return decision if more else Raise()
    if kind in ("unsent", "limited"):
        return _pause(failure, facts, timing)
    if kind in ("lost", "unreadable", "oversized", "moved") and operation in CHANGES:
        return Probe()
    # If a stream is unreadable, the response is no event stream. Then the row below that has
    # `operation == "stream"` decides.
    if kind == "unreadable" and operation != "stream":
        # Usually an unreadable response counts as an outage. In two cases the request gets only as
        # many retries as a single call of the client:
        # - No server was ever reached. The address is probably wrong.
        # - A descriptor does not fit the contract. It will not change.
        few_retries = not facts.reached or operation == "describe"
        if few_retries and facts.failures >= facts.retries:
            return Raise()
        return _pause(failure, facts, timing, outage=facts.reached)
    if kind == "lost":
        fails_often = facts.fails or facts.failures + 1 >= timing.refusals
        # True if the reason for the failure is known: the whole server fails, or it asks for a
        # pause.
        explained = facts.probed or (operation == "search" and failure.retry_after)
        if fails_often and operation in DISPENSABLE and not explained:
            return Probe()
        return _pause(failure, facts, timing)
    # A 404 to a create, describe or search is not about a run: the agent or the path is missing.
    # The last row raises such a 404.
    if kind == "missing" and operation not in ("create", "describe", "search"):
        if facts.age < timing.young:
            return _pause(failure, facts, timing, outage=False)
        return Raise("gone") if operation == "look" else Probe()
    # A proxy may respond to "output" with a 405 or 501 while there is no output yet. Reading the
    # run shows whether there must be an output. A run that cannot be streamed is read as well.
    if operation == "stream" or (kind == "lacks" and operation == "output"):
        return Probe()
    # A resume gets a 409 if another caller's answer came first, or if the run's thread of ACP is
    # busy. Reading the run shows which it is.
    if failure.conflict and operation == "resume":
        return Probe()
    return Raise()


def _pause(failure: Failure, facts: Facts, timing: Timing, *, outage: bool = True) -> Decision:
    """Return a `Pause`, or a `Raise` if no request may follow.

    That is so if a ``Retry-After`` lasts too long, or the failures have lasted too long.
    """
    hold = failure.retry_after or 0.0
    # The next request must begin within these seconds.
    to_go = facts.ends - facts.least_left - facts.now
    # Failures are survived for this many more seconds.
    left = facts.since + facts.longest - facts.now
    # If the server asks for a longer pause, the error of the request is raised as it is. Its
    # message says how long the pause would be.
    if hold and hold > left:
        return Raise()
    if outage and left < 0:
        return Raise("over")
    if hold > to_go:
        return Raise("late")
    if failure.kind == "missing":
        seconds = timing.young_pause
    else:
        seconds = backoff(facts.failures, *timing.backoff) * (0.5 + random.random() / 2)
    if outage and seconds > left:
        return Raise("over")
    # A backoff is shortened so that one more request can begin before the deadline.
    return Pause(max(min(seconds, to_go), hold), outage)


class Window:
    """The window of the next long poll, in whole seconds.

    A poll is cut if a proxy or the server ends it with an error. A window is full if the server
    held the poll for that long.

    - After a cut, the next window is shorter than the poll that was cut, but at least 1 second.
    - After a full window, the next window is twice as long, if it is then still shorter than the
      poll that was cut. It never becomes longer than the first window.
    - A window that is as long as the poll that was cut, or longer, is tried only after several full
      windows since the last cut: four after one cut, 16 after two, and 64 after three.

    Example: a poll of 30 seconds is cut after 20, so the next window is 15. Once four windows of 15
    seconds were full, the next window is 30.

    The reason: a proxy with a time limit will cut a longer window again. But if the cut was an
    accident, such as a restart of the server, a longer window would work, and short windows only
    cost requests. Nothing distinguishes these two cases.
    """

    # How many seconds the last poll that was cut had lasted.
    _cut_at = math.inf
    # The number of cuts since a window of at least `_cut_at` was full.
    _cuts = 0
    # The number of full windows since the last cut.
    _full = 0

    def __init__(self, seconds: int) -> None:
        self.seconds = self._longest = seconds

    def note_cut(self, window: int, took: float) -> None:
        """Note that a poll with a window of ``window`` seconds was cut after ``took`` seconds."""
        self.seconds = max(1, int(0.75 * took) if took < window else window // 2)
        self._cut_at = min(took, window)
        self._cuts += 1
        self._full = 0

    def note_full(self, window: int, timing: Timing) -> None:
        """Note that the server held a poll for its whole window of ``window`` seconds."""
        self._full += 1
        if window >= self._cut_at:
            self._cut_at, self._cuts = math.inf, 0
        longer = min(2 * self.seconds, self._longest)
        # The exponent is bounded, since no wait has 4 ** 16 windows.
        if longer < self._cut_at or self._full >= timing.full_windows ** min(self._cuts, 16):
            self.seconds = longer


def fitted(window: int, limit: float, margin: float, timing: Timing) -> tuple[int, float]:
    """Fit a long poll into ``limit`` seconds. Return its window and its timeout, in seconds.

    The timeout is the window plus ``margin``, but at most ``limit``.
    """
    window = int(min(window, max(0.0, limit - timing.round_trip)))
    return window, min(limit, window + margin)


def was_full(window: float, took: float) -> bool:
    """Tell whether a poll that brought no output was held for its whole window."""
    # A server may end a poll a little before its window is over.
    return took >= 0.9 * window > 0
