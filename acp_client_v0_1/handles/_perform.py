"""The loop that repeats a request: it sends, asks the rules, pauses and probes.

`_rules` decides whether a request is repeated, and `_timing` has the pauses. These loops repeat a
request after a failure. Others go on after a response: `batch._workers` and `batch._executors` send
the next long poll of a run, and `_answering` asks again if a run and its output disagree.

- `rest`: the attempts of one call;
- `Wait.perform`, here: every operation on agents and runs (`_create` starts its search again while
  the server cannot be reached);
- `events.RunEvents`: the streams of one run, and the reading of each;
- `batch._parking`: the search for the runs of a batch that have ended;
- `batch._executors`: at the end, the search for runs that worker processes still create.

Strategy: a `Wait` is the budget of one caller: its deadline, and what can stop it. The client has
one `Server`, which keeps what all requests have shown about the server, and which all waits read. A
``Retry-After`` holds all calls that had begun when it came. The failures of a call count for this
call alone, and those of a batch for all its runs. A batch slows down at a server that limits
requests (`Pace`).

Invariants: no pause passes the deadline; each pause ends within a moment once ``stop`` is set; no
call sends a request before a ``Retry-After`` that came during the call is over. All requests of a
call share its deadline, and a change leaves some of the time to find out what became of it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from acp_client_v0_1._errors import package_logger, short
from acp_client_v0_1._http.attempt import Interruptible
from acp_client_v0_1._http.retry import RetryPolicy, Server, failure_of, was_held
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

LateError = Callable[["Wait", ApiException | None], BaseException]
"""Makes the error of a wait that is over, from the wait and the failure that ended it, if any."""

_log = package_logger("acp_client_v0_1.handles")

AGAIN: Any = object()
"""What a probe returns if the request was not carried out, and is to be sent again."""

_NOTHING: AbstractContextManager[object] = nullcontext()


class _Settled(Exception):
    """The error of a `perform` inside another one, which raises it and repeats nothing."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def settled(work: Callable[[], T]) -> T:
    """Call what sends a request by `perform` inside the ``send`` of another; an error ends both."""
    try:
        return work()
    except ApiException as error:
        raise _Settled(error) from error


class _StopSet(Exception):
    """The caller's ``stop`` was set during a request."""


class RequestedRun(Protocol):
    """The run that a request is about: the part of a `RunCore` that this module uses."""

    run_id: str
    span: RunSpan | None

    def age(self) -> float:
        """Seconds since its create, or infinity."""
        ...

    def gone(self, error: ApiException) -> ApiException:
        """The error of a run that the server does not know."""
        ...


class Pace:
    """How fast the requests of a batch follow each other, at a server that limits them.

    A 429 or 503 doubles the time between two requests. Several at the same pace count once. Each
    request that succeeds shortens it.
    """

    # Two requests are this many seconds apart.
    interval: float = 0.0
    _next_turn = _slowed_at = -math.inf
    # A request was served since the pace was slowed last.
    _served = True

    def __init__(self) -> None:
        # The batch begins now.
        self.began: float = timing().now()

    def slow(self, now: float, *, certain: bool) -> None:
        """Double the time between two requests.

        A 429 is ``certain`` to be a limit. A 503 is one only if the server serves other requests;
        otherwise it is away.
        """
        first, longest = timing().pace
        # Requests that were sent at the old pace fail together, so they count once.
        old = now - self._slowed_at < timing().backoff[0]
        if not old and (certain or self._served):
            self._slowed_at, self._served = now, False
            self.interval = min(max(first, 2 * self.interval), longest)

    def hold(self, until: float) -> None:
        """Begin the turns again at the end of a ``Retry-After``."""
        self._next_turn = until

    def turn(self, now: float) -> float:
        """Return the time at which the next request may begin."""
        turn = max(now, self._next_turn)
        self._next_turn = turn + self.interval
        return turn

    def recover(self) -> None:
        """Note a response, which shortens the time between two requests."""
        self._served = True
        interval = self.interval * timing().recovery
        self.interval = interval if interval > timing().pace[0] / 4 else 0.0


class Contact(NamedTuple):
    """How the waits of a handle, an agent or a batch reach their server."""

    # These operations send each request once.
    runs: RunsApi
    server: Server
    # How many times the client retries a single call that could not be sent.
    retries: float
    # A batch has a pace, and its waits fail together.
    pace: Pace | None = None
    # A long poll may take this many seconds beyond its window.
    margin: float = 10.0

    @classmethod
    def of(cls, runs: RunsApi, pace: Pace | None = None) -> Contact:
        """Return the contact of a client. A stand-in of a test may have no client."""
        client = getattr(runs, "api_client", None)
        rest = getattr(client, "rest_client", None)
        if client is None or rest is None:
            return cls(runs, Server(answered=True), 0, pace)
        policy: RetryPolicy = client.retries or rest.policy
        once = RunsApi(client.with_options(retries=0))
        retries, margin = min(policy.total, policy.connect), client.configuration.block_margin
        return cls(once, rest.server, retries, pace, margin)

    def ends_batch(self, error: ApiException) -> bool:
        """Tell whether all runs of a batch would get this error."""
        server, failure, clock = self.server, failure_of(error), timing()
        if self.pace is None or failure.kind == "denied":
            return self.pace is not None
        if not failure.is_outage:
            return False
        now = clock.now()
        # A poll that began before an outage may succeed during it, which makes the outage seem
        # younger than it is. So half of the time is enough.
        away = server.since is not None and now - server.since >= clock.outage / 2
        return away or not server.answered or server.hold_ends - now > clock.outage


class Wait:
    """The budget of one caller: how long it waits, and what stops it.

    Args:
        contact: How to reach the server.
        timeout: Seconds; by default there is no limit.
        stop: Ends the wait when set.
        survive: How many seconds of failures the wait survives. By default 300 in a batch or
            without a deadline; otherwise only the deadline ends it.
        late: Makes the error of a wait that is over. By default it is the failure that ended it.
    """

    # Most waits need none of these attributes, and are made without them.

    # The error of a wait that is over says this of the run.
    what: str = "has no output"
    # The caller asks for one request.
    once: bool = False
    # While a request is under way, `on_tick` is called and `stop` is checked.
    watched: bool = False
    # A search failed once while the server served another request.
    search_failed_alone: bool = False
    # This many failures have come in a row, since this time.
    _failures = 0
    _since: float | None = None
    # This is the last error of this wait that had a ``Retry-After``.
    _hold_error: ApiException | None = None
    _on_tick: Callable[[float], object] | None = None
    _every = _next_tick = math.inf

    def __init__(
        self,
        contact: Contact,
        timeout: float | None = None,
        *,
        stop: threading.Event | None = None,
        survive: float | None = None,
        late: LateError | None = None,
    ) -> None:
        self.contact = contact
        self.stop = stop
        self._survive = survive
        self._late = late
        self._timeout = math.inf if timeout is None else timeout
        self.began: float = timing().now()
        # This is the deadline, or infinity.
        self.ends: float = self.began + self._timeout
        # The call began at this time. A wait may be a part of a call, or of a batch.
        self.called: float = self.began if contact.pace is None else contact.pace.began

    def within(
        self, seconds: float, *, survive: float | None = None, late: LateError | None = None
    ) -> Wait:
        """Return the budget of a part of the call, which ends no later than the call does."""
        timeout = max(0.001, min(seconds, self.remaining()))
        late = late or self._late
        part = Wait(self.contact, timeout, stop=self.stop, survive=survive, late=late)
        part.called, part.watched = self.called, self.watched
        return part

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
        return timing().outage if self.contact.pace or self.ends == math.inf else math.inf

    @property
    def last(self) -> float:
        """Do not start a request with less than these seconds left."""
        return min(timing().last, self._timeout / 4)

    @property
    def held(self) -> float:
        """Seconds until a ``Retry-After`` that came during the call is over, or 0."""
        server = self.contact.server
        if server.hold_began < self.called:
            return 0.0
        return max(0.0, server.hold_ends - timing().now())

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
        error = error or (self.contact.server.hold_error if self.held else None)
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
        """Sleep for some seconds, or until ``stop`` is set."""
        clock = timing()
        until = clock.now() + seconds
        while (left := until - clock.now()) > 0:
            if clock.sleep(min(left, self._until_tick()), self.stop):
                return
            self._tick()

    def _tick(self, *, now: bool = False) -> None:
        """Call `on_tick` if it is due. With ``now``, after a request without a result, call it."""
        moment = timing().now()
        if self._on_tick is not None and (now or moment >= self._next_tick):
            self._next_tick = moment + self._every
            self._on_tick(moment - self.began)

    def _until_tick(self) -> float:
        """Seconds until `on_tick` is due, above 0."""
        return max(0.001, self._next_tick - timing().now())

    def _watching(self) -> AbstractContextManager[object]:
        return Interruptible(self._watch, timing().tick) if self.watched else _NOTHING

    def _watch(self) -> float:
        """Check `stop` and tick during a request, and return the seconds until the next time."""
        if self.stopped:
            raise _StopSet
        self._tick()
        return min(math.inf if self.stop is None else timing().tick, self._until_tick())

    # The loop

    def perform(
        self,
        operation: Operation,
        send: Callable[[float], T | Pause],
        run: RequestedRun | None = None,
        *,
        longest: float | None = None,
        probe: Callable[[ApiException], T] | None = None,
    ) -> T:
        """Send a request until there is a response, or an error that asking again cannot mend.

        ``send`` gets the seconds that the request may take, ``longest`` at most. It returns the
        value, or a `Pause` after which to ask again. If the rules say `Probe`, ``probe`` finds out
        in another way what to do: it returns the value, or `AGAIN`, or raises.
        """
        longest = timing().quick if longest is None else longest
        server, pace = self.contact.server, self.contact.pace
        error: ApiException | None = None
        while True:
            # Most requests have nothing to wait for, so this is found out without a call.
            stopped = self.stop is not None and self.stop.is_set()
            paced = pace is not None and pace.interval
            if stopped or paced or server.hold_began >= self.called:
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
                self._failures, self._since = 0, None
                if server.since is not None:
                    self._recovered(operation)
                if pace is not None and pace.interval:
                    pace.recover()
                if server.fails:
                    server.fails.discard(operation)
                if not isinstance(value, Pause):
                    return value
                self._tick(now=True)
                self.pause(value.seconds)
                error = None
                continue
            # Outside the `except`, so that an error of the callback is not chained to this one.
            self._tick(now=True)
            if self.stopped:
                raise self.late(error) from error
            if self.handle_failure(operation, error, run):
                continue
            if probe is None:
                raise error
            found = probe(error)
            if found is not AGAIN:
                return found

    def handle_failure(
        self,
        operation: Operation,
        error: ApiException,
        run: RequestedRun | None = None,
        *,
        probed: bool = False,
    ) -> bool:
        """Do what the rules say about a failure.

        Pause and return True, raise, or return False if the caller has to probe. A probe that found
        nothing out may call it again, with ``probed``.
        """
        clock, contact = timing(), self.contact
        server, pace = contact.server, contact.pace
        now = clock.now()
        failure = failure_of(error)
        if failure.kind == "lost":
            # The request was sent, so the server is there.
            server.answered = True
        longest = self.longest_outage
        since = now if self._since is None else self._since
        # Other threads change this, so it is read once.
        outage = server.since
        # Failures of a batch count from the beginning of the server's outage. If that began after
        # the first failure of this wait, another request was served in between, and only this one
        # may be failing: then it counts from its own first failure. A poll that began before the
        # outage may have succeeded during it, so this holds for half of the time only.
        if pace is not None and outage is not None:
            alone = outage > since and now - outage < longest / 2
            since = since if alone else max(outage, pace.began)
        facts = Facts(
            now=now,
            ends=self.ends,
            last=self.last,
            since=since,
            longest=longest,
            failures=self._failures,
            answered=server.answered,
            retries=contact.retries if self._survive is None else 0,
            fails=operation in server.fails,
            probed=probed,
            age=math.inf if run is None else run.age(),
        )
        decision = decide(operation, failure, facts, clock)
        # If the server held a poll for a while before the 503, a proxy may have found it too long.
        # That is no sign of a rate limit.
        poll_was_held = operation == "output" and was_held(clock.window, error.elapsed)
        if failure.limits and pace is not None and not poll_was_held:
            pace.slow(now, certain=failure.kind == "limited")
        if failure.retry_after and now + failure.retry_after > server.hold_ends:
            server.hold_ends, server.hold_began = now + failure.retry_after, now
            server.hold_error = self._hold_error = error
            if pace is not None:
                pace.hold(server.hold_ends)
        if isinstance(decision, Pause):
            if failure.kind != "missing":
                self._failures += 1
                self._since = since
            if decision.outage:
                # The outage of a batch does not end with one of its waits.
                until = since + longest if pace else min(self.ends, since + longest)
                server.note_failure(operation, now)
                short_limit = now + decision.seconds - since <= clock.quiet
                if not (failure.kind == "limited" and short_limit):
                    who = operation if run is None else f"run {short(run.run_id)}: {operation}"
                    _warn(server, f"{who}: {error}", now, until)
            self.pause(decision.seconds, error)
            return True
        if isinstance(decision, Probe):
            if operation in CHANGES and failure.kind == "lost":
                server.note_failure(operation, now)
            return False
        if decision.why == "gone" and run is not None:
            raise run.gone(error) from error
        if pace is None:
            # The caller gets the error of the outage, so a later call logs again that it waits.
            server.warned = False
        requests = max(0 if pace is None else server.failures, self._failures) + 1
        if decision.why in ("late", "over") and requests > 1:
            # The message says how often the server failed, and for how long.
            error.attempts, error.elapsed = requests, now - since
        if decision.why == "late":
            # A search that is begun again must not forget how long it has failed.
            self._failures, self._since = self._failures + 1, since
            raise self.late(error) from error
        raise error

    def _recovered(self, operation: Operation) -> None:
        """End an outage. Log its end if its begin was logged."""
        server = self.contact.server
        since, server.since = server.since, None
        failures, server.failures = server.failures, 0
        failed, server.operations = server.operations, frozenset()
        warned, server.warned = server.warned, False
        # If only streams fail, or only searches, there was no outage, so none is over.
        if warned and since is not None and (operation in failed or not failed <= DISPENSABLE):
            lasted = timing().now() - since
            _log.warning("the server answers again, after %d failures in %.1f s", failures, lasted)

    def _await_turn(self, error: ApiException | None) -> None:
        """Wait for ``Retry-After`` and for the pace, or raise if the wait is over before."""
        server, pace, has_turn = self.contact.server, self.contact.pace, False
        while not self.stopped:
            left = self.held
            if left <= 0:
                if has_turn or pace is None or not pace.interval:
                    break
                now = timing().now()
                # Near the deadline, it is better to send a request out of turn than not at all.
                self.sleep(min(pace.turn(now), self.ends - self.last) - now)
                has_turn = True
                continue
            limit, longest = server.hold_error, self.longest_outage
            # A Retry-After is never shortened, so one that lasts too long is an error at once.
            if left > min(self.remaining(), longest):
                all_runs = pace is not None and self._survive is None and left > longest
                if limit is not None and (all_runs or limit is self._hold_error):
                    raise limit
                # The message must not report the error of another call as one of this call.
                raise self.late(error) from error or limit
            self.sleep(left)
            # Otherwise all that were held would send their requests in the same moment.
            has_turn = False
        if self.stopped:
            raise self.late(error) from error


def _warn(server: Server, what: str, now: float, until: float) -> None:
    """Log the first failure of an outage.

    A single run that always fails, among others that work, would fill the log. So the next outage
    within a minute is logged only once it has lasted for some seconds.
    """
    young = server.since is None or now - server.since <= timing().quiet
    if not (server.warned or (young and now < server.warn_after)):
        server.warned, server.warn_after = True, now + timing().warnings
        _log.warning("%s; asking again for up to %.3g s", what, until - now)
