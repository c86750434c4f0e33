"""The rules by which a request is sent again, and when, as functions of values.

Two questions come first. *Could the request have been carried out?* The kind of the failure tells.
*Has this server answered us before?* If not, an address that cannot be reached is taken for a wrong
one, not for an outage.

Strategy: `failure_of` (`_http.retry`) reads what an error means. `decide` returns what to do about
it, for each operation. `Window` sizes the next long poll. `Wait.perform` (`_perform`) does both.

Invariants: no I/O, no clock, no thread. ``Retry-After`` is never shortened: a pause that would pass
the deadline, or the end of the outage, is an error at once.
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

Operation = Literal["create", "search", "describe", "look", "output", "stream", "resume", "delete"]

CHANGES: frozenset[Operation] = frozenset(("create", "resume", "delete"))
# There is another way if the server lacks one of these. A read of the run, or of the agent, tells
# whether the server is away.
DISPENSABLE: frozenset[Operation] = frozenset(("stream", "search"))


def is_unserved(error: ApiException) -> bool:
    """Tell whether the server may lack an operation: a 404 may not say what was not found."""
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
    """What is known when a request has failed. Times are seconds of one clock."""

    now: float
    # This is the caller's deadline.
    ends: float = math.inf
    # Do not start a request with less time left.
    last: float = 1.0
    # The failures in a row began at this time, the first one ``now``.
    since: float = 0.0
    # Failures are survived for this long. It is infinity if only the deadline ends them.
    longest: float = 300.0
    # This many failures of this wait came in a row before this one.
    failures: int = 0
    # The server has responded to this client before.
    answered: bool = True
    # How many times the client itself retries a request that could not be sent.
    retries: float = 3
    # This operation has failed before while the server served others.
    fails: bool = False
    # The server has just failed to serve another operation, too.
    probed: bool = False
    # The run was created this many seconds ago, if that is known.
    age: float = math.inf


class Pause(NamedTuple):
    """Ask again after some seconds."""

    seconds: float
    # The failure counts as one of the server.
    outage: bool = True


class Probe(NamedTuple):
    """Find out in another way: read the run, search for one that may have been created, or poll."""


class Raise(NamedTuple):
    """Raise the error."""

    # The error is raised as it is; or the run is gone, the deadline comes first, or the outage has
    # lasted too long.
    why: Literal["error", "gone", "late", "over"] = "error"


Decision = Pause | Probe | Raise


def decide(operation: Operation, failure: Failure, facts: Facts, timing: Timing) -> Decision:
    """Decide what to do about the failure of an operation. Each condition is a row of a table."""
    kind = failure.kind
    if kind == "denied":
        return Raise()
    if kind == "unsent" and not facts.answered:
        # It is a wrong address, so make the client's own retries, as far as there is time.
        decision = _pause(failure, facts, timing, outage=False)
        more = facts.failures < facts.retries and isinstance(decision, Pause)
        return decision if more else Raise()
    if kind in ("unsent", "limited"):
        return _pause(failure, facts, timing)
    if kind in ("lost", "unreadable", "oversized", "moved") and operation in CHANGES:
        return Probe()
    # A stream whose response is no event stream is left to the last rows.
    if kind == "unreadable" and operation != "stream":
        # The server will not correct a descriptor that does not fit the contract.
        final = not facts.answered or operation == "describe"
        if final and facts.failures >= facts.retries:
            return Raise()
        return _pause(failure, facts, timing, outage=facts.answered)
    if kind == "lost":
        refused = facts.fails or facts.failures + 1 >= timing.refusals
        tried = facts.probed or (operation == "search" and failure.retry_after)
        if refused and operation in DISPENSABLE and not tried:
            return Probe()
        return _pause(failure, facts, timing)
    # A 404 to a create, describe or search is not about a run: the agent or the path is missing, so
    # it is raised below.
    if kind == "missing" and operation not in ("create", "describe", "search"):
        if facts.age < timing.young:
            return _pause(failure, facts, timing, outage=False)
        return Raise("gone") if operation == "look" else Probe()
    # A proxy may respond like this while the output is not ready. Reading the run shows that.
    if operation == "stream" or (kind == "lacks" and operation == "output"):
        return Probe()
    # An answer gets a 409 if another caller was quicker, or if the run's thread is busy.
    if failure.conflict and operation == "resume":
        return Probe()
    return Raise()


def share(left: float, timing: Timing) -> float:
    """Return how many of the remaining seconds a create, resume or delete may take.

    The rest is for finding out what became of it, if its response is lost.
    """
    return max(left - timing.search, left / 2)


def _pause(failure: Failure, facts: Facts, timing: Timing, *, outage: bool = True) -> Decision:
    """Pause, unless the time ends first."""
    hold = failure.retry_after or 0.0
    # The last request must begin within this time.
    to_go = facts.ends - facts.last - facts.now
    left = facts.since + facts.longest - facts.now
    # A Retry-After is never shortened. The error says how long it is.
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
    # With a deadline, a last request begins at the end of the time.
    return Pause(max(min(seconds, to_go), hold), outage)


class Window:
    """The window of the next long poll, in whole seconds.

    A cut makes it shorter. After an accident such as a restart, short windows only cost requests;
    behind a proxy with a limit, longer windows are cut again. To tell the two apart, a longer
    window follows four full ones, and four times as many after each further cut.
    """

    # The last cut came after this many seconds.
    _cut_at = math.inf
    # This many cuts have come since a window of at least `_cut_at` was full.
    _cuts = 0
    # This many windows have been full since the last cut.
    _full = 0

    def __init__(self, seconds: int) -> None:
        self.seconds = self._longest = seconds

    def note_cut(self, window: int, took: float) -> None:
        """Note that a window of some seconds was cut after ``took`` seconds."""
        self.seconds = max(1, int(0.75 * took) if took < window else window // 2)
        self._cut_at = min(took, window)
        self._cuts += 1
        self._full = 0

    def note_full(self, window: int, timing: Timing) -> None:
        """Note that the server held a poll for a whole window of some seconds."""
        self._full += 1
        if window >= self._cut_at:
            self._cut_at, self._cuts = math.inf, 0
        longer = min(2 * self.seconds, self._longest)
        # The exponent is bounded, since no wait has 4 ** 16 windows.
        if longer < self._cut_at or self._full >= timing.full_windows ** min(self._cuts, 16):
            self.seconds = longer


def fitted(window: int, limit: float, margin: float, timing: Timing) -> tuple[int, float]:
    """Fit a long poll into ``limit`` seconds: return its window, and its timeout, never shorter."""
    window = int(min(window, max(0.0, limit - timing.round_trip)))
    return window, min(limit, window + margin)


def was_full(window: float, took: float) -> bool:
    """Tell whether the server held a poll without output for its whole window."""
    return took >= 0.9 * window > 0
