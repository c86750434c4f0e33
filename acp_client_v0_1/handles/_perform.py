"""The loop that asks a server again: it sends, asks the rules, pauses and probes.

Whether a server is asked again is decided in `_rules`; the pauses are in `_timing`. These are all
the loops that repeat a request; others go on to the next question, run or task:

- `rest`: the attempts of one call;
- `Wait.perform`, here: every operation on agents and runs (`_create` starts its search again while
  the server cannot be reached);
- `events.RunEvents`: the streams of one run, and the reading of each;
- `batch._parking`: the search for the runs of a batch that have ended;
- `batch._executors`: at the end, the search for runs that worker processes still create.

Strategy: a `Wait` is the budget of one caller: its deadline, and what can stop it. A `Contact` is
what several waits know of their server: whether it fails, and for how long it wants no request. A
wait has a contact of its own; all waits of a batch share one. A batch slows down at a server that
limits requests: each 429 or 503 doubles the time between two requests, each response shortens it.

Invariants: no pause passes the deadline; each pause ends within a moment once ``stop`` is set; no
request of a contact is sent before a ``Retry-After`` is over. All requests of a call share its
deadline, and a change leaves some of the time to find out what became of it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from acp_client_v0_1._errors import package_logger, short
from acp_client_v0_1._http.attempt import Interruptible
from acp_client_v0_1._http.retry import KnownServer, RetryPolicy, failure_of, was_held
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._rules import (
    CHANGES,
    DISPENSABLE,
    Facts,
    Operation,
    Pause,
    Probe,
    decide,
    share,
)
from acp_client_v0_1.handles._timing import timing

if TYPE_CHECKING:
    from acp_client_v0_1._http.observer import RunSpan

T = TypeVar("T")

_log = package_logger("acp_client_v0_1.handles")

AGAIN: Any = object()
"""What a probe returns if the request was not carried out, and is to be sent again."""

_NOTHING: AbstractContextManager[object] = nullcontext()


class _Settled(Exception):
    """The error of a request that was sent inside another, and is not to be judged again."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def settled(work: Callable[[], T]) -> T:
    """Send a request inside another one, whose error is the error of both."""
    try:
        return work()
    except ApiException as error:
        raise _Settled(error) from error


class _StopSet(Exception):
    """The caller's ``stop`` was set during a request."""


class Asked(Protocol):
    """The run of a request: what is used here of a `RunCore`, which stands above this module."""

    run_id: str
    span: RunSpan | None

    def age(self) -> float:
        """Seconds since its create, or infinity."""
        ...

    def gone(self, error: ApiException) -> ApiException:
        """The error of a run that the server does not know."""
        ...


class Contact:
    """What the waits that share it know of their server."""

    # Most calls meet no failure, and need none of these.
    has_failed: bool = False  # whether any request has failed
    not_before: float = -math.inf  # no request is sent before this time
    asking: ApiException | None = None  # the error whose ``Retry-After`` set that
    broken: ApiException | None = None  # the error that all requests would get
    since: float | None = None  # when the outage began
    requests: int = 0  # failed in this outage
    operations: frozenset[Operation] = frozenset()  # of these requests
    interval: float = 0.0  # seconds between two requests of a batch, if the server limits them
    _next_turn = _slowed_at = -math.inf
    _served = True  # a request, since the last time that the pace was slowed
    _warned = False  # of this outage
    _warn_after = -math.inf

    def __init__(
        self, runs: RunsApi, server: KnownServer, retries: float, *, shared: bool = False
    ) -> None:
        self.runs = runs  # sends each request once
        self.server = server
        self.retries = retries
        # As in a batch: its outages last no longer than 300 seconds, whatever the deadlines are.
        self.shared = shared

    @classmethod
    def of(cls, runs: RunsApi, *, shared: bool = False) -> Contact:
        """Return the contact of a client, which a stand-in of a test may lack."""
        client = getattr(runs, "api_client", None)
        rest = getattr(client, "rest_client", None)
        if client is None or rest is None:
            return cls(runs, KnownServer(answered=True), 0, shared=shared)
        policy: RetryPolicy = client.retries or rest.policy
        once = RunsApi(client.with_options(retries=0))
        return cls(once, rest.server, min(policy.total, policy.connect), shared=shared)

    def of_next_call(self) -> Contact:
        """Return the contact of another call, which is no retry of those that have failed."""
        if self.shared or not self.has_failed:
            return self
        return Contact(self.runs, self.server, self.retries)

    def failed(
        self,
        error: ApiException,
        now: float,
        pause: Pause,
        until: float,
        operation: Operation,
        who: str,
    ) -> None:
        """Note a failure that is survived, and log the first one of an outage."""
        since = self.note_failure(operation, now)
        limited = (
            failure_of(error).kind == "limited" and now + pause.seconds - since <= timing().quiet
        )
        # A single run that always fails, among others that work, would fill the log. An outage that
        # continues after one last response is logged even so.
        recent = self.shared and now < self._warn_after and now - since <= timing().quiet
        if not (self._warned or recent or limited):
            self._warned, self._warn_after = True, now + timing().warnings
            _log.warning("%s: %s; asking again for up to %.3g s", who, error, until - now)

    def slow(self, now: float, *, certain: bool) -> None:
        """Double the time between two requests, as the server limits them.

        Unless that is ``certain``, as by a 429, a server that serves no request at all is away.
        """
        first, longest = timing().pace
        # Requests that were sent at the old pace fail together, and count once.
        old = now - self._slowed_at < timing().backoff[0]
        if self.shared and not old and (certain or self._served):
            self._slowed_at, self._served = now, False
            self.interval = min(max(first, 2 * self.interval), longest)

    def hold(self, until: float, error: ApiException | None = None) -> None:
        """Note a ``Retry-After``: no request is sent before its end, when the turns begin anew."""
        self.not_before = self._next_turn = until
        self.asking = error

    def turn(self, now: float) -> float:
        """Return the time at which the next request of a batch may begin."""
        turn = max(now, self._next_turn)
        self._next_turn = turn + self.interval
        return turn

    def note_failure(self, operation: Operation, now: float) -> float:
        """Note a failure, and return when the outage began; the next response ends it."""
        self.since = since = now if self.since is None else self.since
        self.requests += 1
        self.operations |= frozenset((operation,))
        return since

    def recovered(self, operation: Operation) -> None:
        """Note a response: the outage is over, and the pace recovers."""
        if self.interval:
            self._served = True
            interval = self.interval * timing().recovery
            self.interval = interval if interval > timing().pace[0] / 4 else 0.0
        since, self.since = self.since, None
        requests, self.requests = self.requests, 0
        failed, self.operations = self.operations, frozenset()
        warned, self._warned = self._warned, False
        # If only streams fail, or only searches, there was no outage that could be over.
        if warned and since is not None and (operation in failed or not failed <= DISPENSABLE):
            lasted = timing().now() - since
            _log.warning("the server answers again, %.1f s after %d failures", lasted, requests)


class Wait:
    """The budget of one caller: how long it waits, and what stops it.

    Args:
        contact: What is known of the server.
        timeout: Seconds; by default there is no limit.
        stop: Ends the wait when set.
        survive: Seconds of failures to survive without a deadline; by default an outage.
        late: Makes the error of a wait that is over, from the wait and the failure that ended it,
            if any. By default it is that failure.
    """

    # Most waits need none of these.
    what: str = "has no output"  # what did not happen, once it is over
    once: bool = False  # the caller wants one request
    watched: bool = False  # requests tick, and end soon after `stop` is set
    alone: bool = False  # the server served another request after one of these had failed
    _failures = 0  # in a row
    _since: float | None = None  # when these began
    _asking: ApiException | None = None  # the last error of this wait with a ``Retry-After``
    _on_tick: Callable[[float], object] | None = None
    _every = _next_tick = math.inf

    def __init__(
        self,
        contact: Contact,
        timeout: float | None = None,
        *,
        stop: threading.Event | None = None,
        survive: float | None = None,
        late: Callable[[Wait, ApiException | None], BaseException] | None = None,
    ) -> None:
        self.contact = contact
        self.stop = stop
        self._survive = survive
        self._late = late
        self._timeout = math.inf if timeout is None else timeout
        self.began: float = timing().now()
        self.ends: float = self.began + self._timeout  # the deadline, or infinity

    def rearm(self) -> None:
        """Begin the time again. Failures in a row still count."""
        self.began = timing().now()
        self.ends = self.began + self._timeout

    def ticking(self, on_tick: Callable[[float], object], every: float) -> None:
        """Call a function with the seconds elapsed, at least once in ``every`` seconds."""
        self.watched = True
        self._on_tick = on_tick
        self._every = every
        self._next_tick = self.began + every

    # The time

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return timing().now() - self.began

    def remaining(self) -> float:
        """Seconds until the deadline, from 0 to infinity."""
        return max(0.0, self.ends - timing().now())

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` is set."""
        return self.stop is not None and self.stop.is_set()

    @property
    def over(self) -> bool:
        """Whether the deadline has passed, or ``stop`` is set."""
        return self.stopped or timing().now() >= self.ends

    @property
    def longest_outage(self) -> float:
        """Seconds of failures that are survived, infinity if only the deadline ends them."""
        if self._survive is not None:
            return self._survive
        return timing().outage if self.contact.shared or self.ends == math.inf else math.inf

    @property
    def last(self) -> float:
        """Seconds before the deadline after which no request is begun."""
        return min(timing().last, self._timeout / 4)

    def limit(self, longest: float, operation: Operation = "look") -> float:
        """Seconds that the next request may take, above 0."""
        left = self.ends - timing().now()
        if operation in CHANGES and left < math.inf:
            left = max(share(left, timing()), min(left, self.last))
        return max(0.001, min(longest, left))

    def late(self, error: ApiException | None = None) -> BaseException:
        """Return the error of a wait that is over."""
        if self._late is not None:
            return self._late(self, error)
        error = error or self.contact.asking
        return error or TimeoutError(f"out of time after {self.elapsed:.1f} s")

    def pause(self, seconds: float, error: ApiException | None = None) -> None:
        """Sleep, but not beyond the deadline, which raises the error of `late`.

        The sleep ends in time for a last request.
        """
        to_go = self.ends - self.last - timing().now()
        self.sleep(min(seconds, to_go if to_go > 0 else self.remaining()))
        if self.over:
            raise self.late(error) from error

    def sleep(self, seconds: float) -> None:
        """Sleep, or until ``stop`` is set."""
        clock = timing()
        until = clock.now() + seconds
        while (left := until - clock.now()) > 0:
            if self._on_tick is not None:
                left = min(left, max(0.001, self._next_tick - clock.now()))
            if clock.sleep(left, self.stop):
                return
            self._tick()

    def _tick(self) -> None:
        now = timing().now()
        if self._on_tick is not None and now >= self._next_tick:
            self._next_tick = max(self._next_tick + self._every, now)
            self._on_tick(now - self.began)

    def _report(self) -> None:
        """Call the function that ticks now, after a request that brought nothing."""
        if self._on_tick is not None:
            now = timing().now()
            self._next_tick = now + self._every
            self._on_tick(now - self.began)

    def _watching(self) -> AbstractContextManager[object]:
        return Interruptible(self._watch, timing().tick) if self.watched else _NOTHING

    def _watch(self) -> float:
        """Do what is due during a request, and return the seconds until the next time."""
        if self.stopped:
            raise _StopSet
        self._tick()
        step = timing().tick if self.stop is not None else math.inf
        if self._on_tick is not None:
            step = min(step, max(0.001, self._next_tick - timing().now()))
        return step

    # The loop

    def perform(
        self,
        operation: Operation,
        send: Callable[[float], T | Pause],
        run: Asked | None = None,
        *,
        longest: float | None = None,
        probe: Callable[[ApiException], T] | None = None,
    ) -> T:
        """Send a request until there is a response, or an error that asking again cannot mend.

        ``send`` gets the seconds that the request may take, ``longest`` at most. It returns the
        value, or a `Pause` after which to ask again. If a request may have been carried out,
        ``probe`` finds out: it returns the value, or `AGAIN`, or raises.
        """
        longest = timing().quick if longest is None else longest
        error: ApiException | None = None
        while True:
            if self.stop is not None or self.contact.not_before > -math.inf:
                self._await_turn(error)
            try:
                span = None if run is None else run.span
                if span is None and not self.watched:
                    value = send(
                        longest if self.ends == math.inf else self.limit(longest, operation)
                    )
                else:
                    with _NOTHING if span is None else span.active(), self._watching():
                        value = send(self.limit(longest, operation))
            except ApiException as failure:
                error = failure
            except _Settled as nested:
                raise nested.error from nested.error.__cause__
            except _StopSet:
                raise self.late(error) from error
            else:
                contact = self.contact
                if contact.since is not None or self._since is not None or contact.interval:
                    self._recovered(operation)
                if contact.server.fails:
                    contact.server.fails.discard(operation)
                if not isinstance(value, Pause):
                    return value
                self._report()
                self.pause(value.seconds)
                error = None
                continue
            self._report()  # here, so that an error of the callback has no other one behind it
            if self.stopped:
                raise self.late(error) from error
            if self.survives(operation, error, run):
                continue
            if probe is None:
                raise error
            found = probe(error)
            if found is not AGAIN:
                return found

    def survives(
        self,
        operation: Operation,
        error: ApiException,
        run: Asked | None = None,
        *,
        probed: bool = False,
    ) -> bool:
        """Pause or raise, as the rules say of a failure, or return False for a probe.

        A probe may call it again, with ``probed``, if it found nothing out.
        """
        clock, contact = timing(), self.contact
        contact.has_failed = True
        now = clock.now()
        failure = failure_of(error)
        if failure.kind == "lost":
            contact.server.answered = True  # somebody is there: the request was sent
        longest = self.longest_outage
        since = now if self._since is None else self._since
        outage = contact.since  # once, as other threads change it
        # One request that fails among others that work is not an outage of the server. Polls that
        # began before an outage may still succeed in it, so that it seems younger than it is.
        alone = self._since is not None
        if outage is not None:
            alone = outage > since and now - outage < longest / 2
            since = since if alone else outage
        shared = self._survive is None and not alone
        facts = Facts(
            now=now,
            ends=self.ends,
            last=self.last,
            since=since,
            longest=longest,
            shared=shared,
            failures=self._failures,
            answered=contact.server.answered,
            retries=contact.retries if self._survive is None else 0,  # the client's own
            fails=operation in contact.server.fails,
            probed=probed,
            age=math.inf if run is None else run.age(),
        )
        decision = decide(operation, failure, facts, clock)
        # A poll that was held before its 503 was cut, so the server limits nothing.
        if failure.limits and not (operation == "output" and was_held(clock.window, error.elapsed)):
            contact.slow(now, certain=failure.kind == "limited")
        if failure.asked and now + failure.asked > contact.not_before:
            contact.hold(now + failure.asked, error)
            self._asking = error
        if isinstance(decision, Pause):
            if failure.kind != "missing":
                self._failures += 1
                self._since = since
            if decision.outage:
                # The outage of a batch does not end with one of its waits.
                until = since + longest if contact.shared else min(self.ends, since + longest)
                contact.failed(error, now, decision, until, operation, _who(operation, run))
            self.pause(decision.seconds, error)
            return True
        if isinstance(decision, Probe):
            if operation in CHANGES and failure.kind == "lost":
                contact.note_failure(operation, now)
            return False
        if decision.why == "gone" and run is not None:
            raise run.gone(error) from error
        asked = max(contact.requests, self._failures) + 1
        if decision.why in ("late", "over") and asked > 1:  # the message says how long it was
            error.attempts, error.elapsed = asked, now - since
        if decision.why == "late":
            # A search that is begun again must not forget how long it has failed.
            self._failures, self._since = self._failures + 1, since
            raise self.late(error) from error
        if decision.everywhere and self._survive is None:
            contact.broken = error
        raise error

    def _recovered(self, operation: Operation) -> None:
        self._failures, self._since = 0, None
        if self.contact.since is not None or self.contact.interval:
            self.contact.recovered(operation)

    def _await_turn(self, error: ApiException | None) -> None:
        """Wait for ``Retry-After`` and for the pace, or raise if the wait is over before."""
        contact, has_turn = self.contact, False
        while not self.stopped:
            now = timing().now()
            left = contact.not_before - now
            if left <= 0:
                if has_turn or not contact.interval:
                    break
                # Near its deadline, a request is sent out of turn rather than not at all.
                self.sleep(min(contact.turn(now), self.ends - self.last) - now)
                has_turn = True
                continue
            longest = self.longest_outage
            if left > min(self.remaining(), longest):
                asking = contact.asking  # never shortened
                if contact.shared and self._survive is None and left > longest:
                    contact.broken = asking
                if asking is not None and asking is self._asking:
                    raise asking
                # The error of another call must not be told as one of this call.
                raise self.late(error) from error or asking
            self.sleep(left)
            has_turn = False  # others would go in the same moment
        if self.stopped:
            raise self.late(error) from error


def _who(operation: Operation, run: Asked | None) -> str:
    return operation if run is None else f"run {short(run.run_id)}: {operation}"
