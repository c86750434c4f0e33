"""What the calls of a client have learnt about its server, and the turns of a call or a batch.

Invariants: no I/O and no clock: each method gets the time. Nothing is logged here. The methods say
what the caller has to log. Threads may share all of it.
"""

from __future__ import annotations

import math
import threading
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Literal, NamedTuple

from acp_client_v0_1._http.retry import Failure
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._marks import Habits
from acp_client_v0_1.handles._timing import timing

# "look" reads a run, and "describe" reads an agent or its descriptor.
Action = Literal["create", "search", "describe", "look", "output", "stream", "resume", "delete"]

# The client can do without these actions, so a server may lack them. If one of them keeps failing,
# reading the run or its agent shows whether the whole server is down.
DISPENSABLE: frozenset[Action] = frozenset(("stream", "search"))


class Outage(NamedTuple):
    """A time in which all requests of a client have failed."""

    since: float
    failures: int = 0
    # Which actions have failed.
    actions: frozenset[Action] = frozenset()
    # Whether the outage has been logged.
    logged: bool = False


class Health:
    """What the calls of a client have learnt about its server. All calls of a client share it.

    The outage is for the log and for the progress of a batch. How long a call survives its own
    failures does not depend on it.
    """

    # The present outage, or None. Any thread may replace it, so each method reads it only once.
    outage: Outage | None = None
    # Before this time, a new outage must last for `Timing.quiet` seconds to be logged. Otherwise
    # one run that always fails would fill the log: while other runs work, each of its failures
    # begins an outage.
    _quiet_until = -math.inf

    def __init__(self) -> None:
        # What the server does not serve: actions, and the search by metadata.
        self.lacks: set[str] = set()
        # These actions have failed while others worked.
        self.fails: set[Action] = set()
        self.marks: Habits = Habits()

    def succeeded(self, action: Action, now: float) -> str:
        """Note a success. If it ends an outage that was logged, return what to log."""
        self.fails.discard(action)
        outage, self.outage = self.outage, None
        if outage is None or not outage.logged:
            return ""
        # Only streams or searches have failed, and another action has worked. This does not show
        # that they work again.
        if action not in outage.actions and outage.actions <= DISPENSABLE:
            return ""
        lasted = now - outage.since
        return f"the server answers again, after {outage.failures} failures in {lasted:.1f} s"

    def failed(self, action: Action, failure: Failure, now: float, again: float) -> bool:
        """Note a failure, which may be the first one of an outage. Return whether to log it.

        After the failure, a request is sent at the time ``again``. The first failure of an outage
        is logged. A limit is logged only if it lasts.
        """
        outage = self.outage or Outage(now)
        actions, quiet = outage.actions | {action}, timing().quiet
        self.outage = outage = outage._replace(failures=outage.failures + 1, actions=actions)
        brief = failure.kind == "limited" and again - outage.since <= quiet
        if outage.logged or brief or (now - outage.since <= quiet and now < self._quiet_until):
            return False
        self.outage = outage._replace(logged=True)
        self._quiet_until = now + timing().warnings
        return True

    def forget_warning(self) -> None:
        """Let the next failure be logged: the caller that was warned has got its error."""
        if (outage := self.outage) is not None:
            self.outage = outage._replace(logged=False)


class Turns:
    """When the next request of a call, or of a batch, may begin.

    A ``Retry-After`` holds the call that got it, or its batch. In a batch, a limit also doubles the
    time between two requests, and each other response shortens it. Requests that were sent at the
    old pace fail together, and count once.
    """

    # The seconds between two requests. 0 means that requests need not wait for each other.
    interval: float = 0.0
    # No request begins before this time, which the response with this error has asked for.
    held_until: float = -math.inf
    _held_by: ApiException | None = None
    # A hold and each slower pace begin an era. A turn of an earlier era counts no more.
    era: int = 0
    # Whether the turns are of a batch.
    paced: bool = False
    # The threads of a batch share their turns. Without the lock, one of two holds that begin at the
    # same moment could shorten the other.
    _lock: AbstractContextManager[object] = nullcontext()
    _next = -math.inf

    @classmethod
    def of_batch(cls) -> Turns:
        """Return the turns of a batch."""
        turns = cls()
        turns.paced, turns._lock = True, threading.Lock()
        return turns

    def next_turn(self, now: float) -> float:
        """Reserve the next turn, and return the time at which it begins."""
        with self._lock:
            turn = max(now, self._next, self.held_until)
            self._next = turn + self.interval
        return turn

    def hold(self, until: float, error: ApiException) -> None:
        """Let no request begin before a time, which the response with this error has asked for."""
        with self._lock:
            if until > self.held_until:
                self._held_by, self.held_until, self._next = error, until, until
                self.era += 1

    def asked_by(self) -> ApiException:
        """Return a copy of the error whose ``Retry-After`` holds the call, for each thread."""
        return copy(self._held_by or ApiException())

    def succeeded(self) -> None:
        """Shorten the time between two requests, after a response that is no limit."""
        interval = self.interval * timing().recovery
        self.interval = interval if interval > timing().pace[0] / 4 else 0.0

    def failed(self, failure: Failure, error: ApiException, era: int, now: float) -> None:
        """Obey a ``Retry-After``, and keep below a limit. The request was sent in ``era``."""
        if self.paced and failure.limits:
            with self._lock:
                if era == self.era:
                    first, longest = timing().pace
                    self.interval = min(max(first, 2 * self.interval), longest)
                    self._next = now + self.interval
                    self.era += 1
        elif error.status is not None and not failure.limits:
            self.succeeded()
        if failure.retry_after:
            self.hold(now + failure.retry_after, error)
