"""The loop that repeats the requests of agents and runs: it sends, asks the rules, pauses, probes.

`_rules` decides whether a request is sent again, and `_timing` has the pauses.

These loops repeat a request after a failure:

- `rest`: the attempts of one call;
- `Wait.perform`, here: every operation on agents and runs;
- `_create.find_created`: during an outage, a batch begins the search for a run again;
- `events.RunEvents`: the streams of one run, and the reading of each stream;
- `batch._parking`: the search for the runs of a batch that have ended;
- `batch._executors`: at the end, the search for runs that worker processes still create.

Other loops send the next request after a response: `batch._workers` and `batch._executors` send the
next long poll of a run, and `_answering` asks again if a run and its output disagree.

Strategy: a `Wait` is the budget of one caller. It has the deadline of the caller, and the event
``stop``. A client has one `Server`, which keeps what all requests have shown about the server. All
waits of the client read this object.

The pause that a ``Retry-After`` asks for is a hold. A failure or a 204 with a ``Retry-After``
begins a hold. But if a failure asks for a pause that ends before the present hold, no hold begins.
A hold delays all calls that are under way when the hold begins. A call that begins later sends its
first request at once, as any new call of an HTTP client does: the response shows whether the server
still asks for a pause. A batch counts as one call. So a hold also delays those runs of the batch
that start after the hold has begun.

Each call counts its own failures in a row. In a batch, the time for which failures are survived
usually counts from the beginning of the server's outage, and not from the first failure of the
call. If the server limits requests, a batch slows down (`Pace`).

Invariants: no pause lasts beyond the deadline. Each pause ends within a moment once ``stop`` is
set. `Wait.perform` sends nothing during a hold that began during its call. (`_create.server_works`
does not use `Wait.perform`, so it does not wait for the end of a hold.) All requests of a call
share its deadline. The request of a create, resume or delete may take only a part of the time until
the deadline. If the response is lost, the rest of the time is for finding out whether the request
was carried out.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from acp_client_v0_1._errors import package_logger, short
from acp_client_v0_1._http.attempt import Interruptible
from acp_client_v0_1._http.retry import RetryPolicy, Server, failure_of, poll_ran
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.exceptions import ApiException, ApiTimeoutError
from acp_client_v0_1.handles._rules import (
    CHANGES,
    DISPENSABLE,
    Facts,
    Operation,
    Pause,
    Probe,
    decide,
)
from acp_client_v0_1.handles._timing import timing

if TYPE_CHECKING:
    from acp_client_v0_1._http.observer import RunSpan

T = TypeVar("T")

LateError = Callable[["Wait", ApiException | None], BaseException]
"""Makes the error of a wait that is over, from the wait and its last failure, if it had any."""

_log = package_logger("acp_client_v0_1.handles")

AGAIN: Any = object()
"""What a probe returns if the request is to be sent again."""

_NOTHING: AbstractContextManager[object] = nullcontext()


class _NestedError(Exception):
    """The error of an inner `perform`. The outer `perform` raises it and does not send again."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _StopSet(Exception):
    """The caller's ``stop`` was set during a request."""


class RequestedRun(Protocol):
    """The run that a request is about: the part of a `RunCore` that this module uses."""

    run_id: str
    span: RunSpan | None

    def age(self) -> float:
        """Seconds since the run was created, or infinity if that is not known."""
        ...

    def gone(self, error: ApiException) -> ApiException:
        """The error of a run that the server does not know."""
        ...


class Pace:
    """The time between two requests of a batch, if the server limits requests.

    A 429 or 503 doubles the time between two requests. Several 429s or 503s that come close
    together count once. Each request that succeeds shortens the time between two requests.
    """

    # The seconds between two requests. 0 means that requests need not wait for each other.
    interval: float = 0.0
    # The time at which the next turn begins at the earliest.
    next_turn: float = -math.inf
    _slowed_at = -math.inf
    # Whether a request has succeeded since the pace was slowed last.
    _served = True

    def __init__(self) -> None:
        # When the batch began.
        self.began: float = timing().now()

    def slow(self, now: float, *, certain: bool) -> None:
        """Double the time between two requests.

        ``certain`` says that the failure is a 429, which is always a rate limit. A 503 is taken for
        a rate limit only if the server serves other requests. Otherwise the server is down.
        """
        first, longest = timing().pace
        # Requests that were sent at the old pace fail together. Only the first of them counts.
        at_old_pace = now - self._slowed_at < timing().backoff[0]
        if not at_old_pace and (certain or self._served):
            self._slowed_at, self._served = now, False
            self.interval = min(max(first, 2 * self.interval), longest)

    def turn(self, now: float) -> float:
        """Reserve the next turn, and return the time at which the turn begins."""
        turn = max(now, self.next_turn)
        self.next_turn = turn + self.interval
        return turn

    def recover(self) -> None:
        """Note a success, which shortens the time between two requests."""
        self._served = True
        interval = self.interval * timing().recovery
        self.interval = interval if interval > timing().pace[0] / 4 else 0.0


class Contact(NamedTuple):
    """How the waits of a handle, an agent or a batch reach their server."""

    # These operations do not retry by themselves.
    runs: RunsApi
    server: Server
    # How many times the client would retry a single call that could not be sent.
    retries: float
    # Only a batch has a pace.
    pace: Pace | None = None
    # A long poll may take this many seconds beyond its window.
    margin: float = 10.0

    @classmethod
    def of(cls, runs: RunsApi, pace: Pace | None = None) -> Contact:
        """Return the contact for the client of ``runs``. A test's stand-in may have no client."""
        client = getattr(runs, "api_client", None)
        rest = getattr(client, "rest_client", None)
        if client is None or rest is None:
            return cls(runs, Server(reached=True), 0, pace)
        policy: RetryPolicy = client.retries or rest.policy
        once = RunsApi(client.with_options(retries=0))
        retries, margin = min(policy.total, policy.connect), client.configuration.block_margin
        return cls(once, rest.server, retries, pace, margin)

    def ends_batch(self, error: ApiException) -> bool:
        """Tell whether all runs of a batch would get this error. Outside a batch, return False."""
        server, failure, clock = self.server, failure_of(error), timing()
        if self.pace is None or failure.kind == "denied":
            return self.pace is not None
        if not failure.is_outage:
            return False
        now = clock.now()
        # A poll that was sent before an outage may succeed during the outage, and each success
        # resets `server.since`. So the outage may have begun before `server.since`. Therefore half
        # of `clock.outage` is enough.
        down = server.since is not None and now - server.since >= clock.outage / 2
        return down or not server.reached or server.hold_ends - now > clock.outage


class Wait:
    """The budget of one caller: how long it waits, and what stops it.

    Args:
        contact: How to reach the server.
        timeout: Seconds; by default there is no limit.
        stop: Ends the wait when set.
        survive: How many seconds of failures the wait survives. By default this is 300 in a batch
            or without a timeout; otherwise failures alone do not end the wait.
        late: Makes the error of a wait that is over. By default, this error is the last failure,
            or else the error that began the hold under way, or else an ApiTimeoutError.
    """

    # These defaults are attributes of the class, because most waits never set most of them.

    # The message of the late error says "run … {what} after … s".
    what: str = "has no output"
    # Whether the caller wants one request, without waiting.
    once: bool = False
    # Whether `_on_tick` is called and `stop` is checked also while a request waits for its
    # response.
    watched: bool = False
    # Whether a search has failed once while the server served another request.
    search_failed_alone: bool = False
    # Whether the response to a create did not show whether a run was made.
    create_was_unclear: bool = False
    # Whether the server has responded to a request of this wait since the timeout began.
    heard: bool = False
    # The number of failures in a row, and the time from which they count.
    _failures = 0
    _since: float | None = None
    # The last error of this wait that began a hold.
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
        # The deadline, or infinity.
        self.ends: float = self.began + self._timeout
        # The beginning of the call, or of the batch, that this wait is a part of.
        self.called_at: float = self.began if contact.pace is None else contact.pace.began

    def within(
        self, seconds: float, *, survive: float | None = None, late: LateError | None = None
    ) -> Wait:
        """Return a `Wait` for a part of the call. The part ends no later than this `Wait`."""
        timeout = max(0.001, min(seconds, self.remaining()))
        part = Wait(self.contact, timeout, stop=self.stop, survive=survive, late=late or self._late)
        part.called_at, part.watched = self.called_at, self.watched
        return part

    def rearm(self) -> None:
        """Let the timeout begin again now. The count of failures in a row continues."""
        self.began, self.heard = timing().now(), False
        self.ends = self.began + self._timeout

    def ticking(self, on_tick: Callable[[float], object], every: float) -> None:
        """From now on, call ``on_tick`` at least every ``every`` seconds of the wait.

        ``on_tick`` gets the seconds elapsed.
        """
        self.watched = True
        self._on_tick = on_tick
        self._every = every
        self._next_tick = self.began + every

    # The time

    @property
    def elapsed(self) -> float:
        """Seconds since the wait began."""
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
        """How many seconds of failures are survived. Infinity: only the deadline ends the wait."""
        if self._survive is not None:
            return self._survive
        return timing().outage if self.contact.pace or self.ends == math.inf else math.inf

    @property
    def least_left(self) -> float:
        """After a pause, no request begins with less than these seconds left."""
        return min(timing().least_left, self._timeout / 4)

    @property
    def held(self) -> float:
        """How many seconds a hold that began during the call still lasts, or 0."""
        server = self.contact.server
        if server.hold_began < self.called_at:
            return 0.0
        return max(0.0, server.hold_ends - timing().now())

    def limit(self, longest: float, operation: Operation = "look") -> float:
        """Return how many seconds the next request may take, above 0 and at most ``longest``.

        A create, resume or delete may take only a part of the time until the deadline. If the
        response is lost, the rest of the time is for finding out whether the request was carried
        out.
        """
        left = self.ends - timing().now()
        if operation in CHANGES and left < math.inf:
            left = max(left - timing().search, left / 2, min(left, self.least_left))
        return max(0.001, min(longest, left))

    def late_error(self, error: ApiException | None = None) -> BaseException:
        """Return the error of a wait that is over. ``error`` is the last failure, if any.

        If the late error is new, its cause is the last failure, or else the error that began the
        hold under way.
        """
        cause = error or (self.contact.server.hold_error if self.held else None)
        if self._late is None and cause is not None:
            return cause
        words = f"out of time after {self.elapsed:.1f} s"
        late = self._late(self, error) if self._late else ApiTimeoutError(reason=words)
        late.__cause__ = cause
        return late

    def pause(self, seconds: float, error: ApiException | None = None) -> None:
        """Sleep for some seconds, or less, to leave time for one more request.

        If it is already too late for another request, sleep at most until the deadline. If the
        deadline has passed after the sleep, or ``stop`` is set, raise `late_error`.
        """
        to_go = self.ends - self.least_left - timing().now()
        self.sleep(min(seconds, to_go if to_go > 0 else self.remaining()))
        if self.over:
            raise self.late_error(error)

    def sleep(self, seconds: float) -> None:
        """Sleep for some seconds, or until ``stop`` is set."""
        clock = timing()
        until = clock.now() + seconds
        while (left := until - clock.now()) > 0:
            if clock.sleep(min(left, self._until_tick()), self.stop):
                return
            self._tick()

    def _tick(self, *, now: bool = False) -> None:
        """Call `_on_tick` if it is due. With ``now``, call it in any case."""
        moment = timing().now()
        if self._on_tick is not None and (now or moment >= self._next_tick):
            self._next_tick = moment + self._every
            self._on_tick(moment - self.began)

    def _until_tick(self) -> float:
        """Seconds until `_on_tick` is due, above 0."""
        return max(0.001, self._next_tick - timing().now())

    def _watching(self) -> AbstractContextManager[object]:
        first = min(timing().tick, self._until_tick())
        return Interruptible(self._watch, first) if self.watched else _NOTHING

    def _watch(self) -> float:
        """Check `stop` and tick. Return the seconds until the next call of this function.

        This is called at intervals while a request waits for its response.
        """
        if self.stopped:
            raise _StopSet
        self._tick()
        return min(math.inf if self.stop is None else timing().tick, self._until_tick())

    # The loop

    def nested(self, work: Callable[[], T]) -> T:
        """Call ``work``, an inner `perform`, from the ``send`` of an outer `perform`.

        If ``work`` raises an ApiException, the outer `perform` raises the same error. If ``send``
        called ``work`` directly, the outer `perform` would take the error for a failure of its own
        request, and might send that request again.

        A success of ``work`` does not end the outer operation's failures in a row. Otherwise an
        operation that always fails would be sent for ever, without a backoff, if ``work`` always
        succeeds.
        """
        failures, since = self._failures, self._since
        try:
            return work()
        except ApiException as error:
            # `error` gets this `_NestedError` as its context. So it must not be its cause, too:
            # tools that pickle the chain of an error would not end.
            raise _NestedError(error) from None
        finally:
            self._failures, self._since = failures, since

    def perform(
        self,
        operation: Operation,
        send: Callable[[float], T | Pause],
        run: RequestedRun | None = None,
        *,
        longest: float | None = None,
        probe: Callable[[ApiException], T] | None = None,
    ) -> T:
        """Send a request until it succeeds, or until the rules say to raise its error.

        - ``send`` gets the seconds that the request may take, at most ``longest``. If ``send``
          returns a `Pause`, it is called again after the pause. Any other value is returned.
        - ``probe`` gets the error if the rules say `Probe`. If ``probe`` returns `AGAIN`, the
          request is sent again. Any other value is returned. Without a ``probe``, the error is
          raised.
        """
        longest = timing().quick if longest is None else longest
        server, pace = self.contact.server, self.contact.pace
        error: ApiException | None = None
        while True:
            # Most requests need not wait for a turn. These conditions find that out faster than a
            # call of `_await_turn` would.
            stopped = self.stop is not None and self.stop.is_set()
            paced = pace is not None and pace.interval
            if stopped or paced or server.hold_began >= self.called_at:
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
            except _NestedError as inner:
                raise inner.error from inner.error.__cause__
            except _StopSet:
                raise self.late_error(error)  # noqa: B904 - it has its cause
            else:
                self._failures, self._since, self.heard = 0, None, True
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
            # `_on_tick` runs outside the `except`, so that its errors are not chained to `error`.
            self._tick(now=True)
            if self.stopped:
                raise self.late_error(error)
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
        """Do what the rules say about a failure: pause and return True, or raise.

        Return False if the caller has to probe. If the probe shows that the whole server fails, the
        caller may call this again for the same failure, with ``probed``.
        """
        clock, contact = timing(), self.contact
        server, pace = contact.server, contact.pace
        now = clock.now()
        failure = failure_of(error)
        if failure.kind == "lost":
            # A connection was made, so the address is a server's.
            server.reached = True
        longest = self.longest_outage
        since = now if self._since is None else self._since
        # Other threads change `server.since`, so it is read once.
        outage = server.since
        # From when do the failures count? Outside a batch, from the first failure of this wait. In
        # a batch, usually from the beginning of the server's outage, or of the batch if that is
        # later. There is one exception: this wait began to fail before the outage began. Each
        # success of any request ends an outage, so another request has succeeded meanwhile, and
        # perhaps only this request fails. Then the first failure of this wait counts. It is earlier
        # than the outage, so this wait gives up sooner.
        #
        # But that success may have been a poll that was sent before the server failed. So once the
        # outage has lasted half of `longest`, its beginning counts in any case.
        if pace is not None and outage is not None:
            alone = outage > since and now - outage < longest / 2
            since = since if alone else max(outage, pace.began)
        facts = Facts(
            now=now,
            ends=self.ends,
            least_left=self.least_left,
            since=since,
            longest=longest,
            failures=self._failures,
            reached=server.reached,
            retries=contact.retries if self._survive is None else 0,
            fails=operation in server.fails,
            probed=probed,
            age=math.inf if run is None else run.age(),
        )
        decision = decide(operation, failure, facts, clock)
        # A 503 to a poll that was held for a while may come from a proxy with a time limit. It is
        # no sign of a rate limit.
        poll_was_held = operation == "output" and poll_ran(clock.window, error.elapsed)
        if failure.limits and pace is not None and not poll_was_held:
            pace.slow(now, certain=failure.kind == "limited")
        if failure.retry_after and now + failure.retry_after > server.hold_ends:
            server.hold_ends, server.hold_began = now + failure.retry_after, now
            server.hold_error = self._hold_error = error
            if pace is not None:
                pace.next_turn = server.hold_ends
        if isinstance(decision, Pause):
            if failure.kind != "missing":
                self._failures += 1
                self._since = since
            if decision.outage and not failure.full_pool:
                # The request is sent again up to the time `until`. The warning says how many
                # seconds that is from now. In a batch, `until` may be after the deadline of this
                # wait, because the batch continues after that deadline.
                until = since + longest if pace else min(self.ends, since + longest)
                server.note_failure(operation, now)
                soon_over = now + decision.seconds - since <= clock.quiet
                if not (failure.kind == "limited" and soon_over):
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
            # The caller gets the error of this outage. So a later call during the same outage logs
            # a warning of its own.
            server.warned = False
        requests = 1 + (self._failures if pace is None else max(server.failures, self._failures))
        if decision.why in ("late", "over") and requests > 1:
            # The message of the error says how many requests failed, and for how long. In a batch,
            # these are the failed requests of all runs in this outage.
            error.attempts, error.elapsed = requests, now - since
        if decision.why == "late":
            # `find_created` may use this wait for another search. So this failure is counted here,
            # although no request follows.
            self._failures, self._since = self._failures + 1, since
            raise self.late_error(error)
        raise error

    def _recovered(self, operation: Operation) -> None:
        """Note that the server works again. If the outage was logged, log its end."""
        server = self.contact.server
        since, server.since = server.since, None
        failures, server.failures = server.failures, 0
        failed, server.operations = server.operations, frozenset()
        warned, server.warned = server.warned, False
        # If only streams and searches have failed, the success of another operation is not
        # logged as the end of an outage.
        if warned and since is not None and (operation in failed or not failed <= DISPENSABLE):
            lasted = timing().now() - since
            _log.warning("the server answers again, after %d failures in %.1f s", failures, lasted)

    def _await_turn(self, error: ApiException | None) -> None:
        """Wait until the hold is over, and for a turn of the pace.

        Raise an error if the wait ends before that, or if the hold lasts longer than failures are
        survived.
        """
        server, pace, has_turn = self.contact.server, self.contact.pace, False
        while not self.stopped:
            left = self.held
            if left <= 0:
                if has_turn or pace is None or not pace.interval:
                    break
                now = timing().now()
                # Near the deadline, it is better to send a request out of turn than not at all.
                self.sleep(min(pace.turn(now), self.ends - self.least_left) - now)
                has_turn = True
                continue
            hold_error, longest = server.hold_error, self.longest_outage
            # A hold is never shortened. If it is too long, an error is raised at once. This is the
            # error that began the hold, if this wait got that error, or if the hold is too long for
            # the whole batch.
            if left > min(self.remaining(), longest):
                all_runs = pace is not None and self._survive is None and left > longest
                if hold_error is not None and (all_runs or hold_error is self._hold_error):
                    raise hold_error
                # Otherwise the hold began with a 204, or with the error of another call. Then this
                # wait raises its late error. The cause of the late error is the last failure of
                # this wait, or else the error of the other call.
                raise self.late_error(error)
            self.sleep(left)
            # A turn that was taken before the hold does not count any more. Otherwise all waits
            # would send their requests at the moment at which the hold ends.
            has_turn = False
        if self.stopped:
            raise self.late_error(error)


def _warn(server: Server, what: str, now: float, until: float) -> None:
    """Log a failure, unless this outage has been logged before.

    If a single run always fails while others work, each of its failures begins an outage, and the
    warnings would fill the log. So for a minute after a warning, a new outage is logged only once
    it has lasted for more than five seconds.
    """
    young = server.since is None or now - server.since <= timing().quiet
    if not (server.warned or (young and now < server.warn_after)):
        server.warned, server.warn_after = True, now + timing().warnings
        _log.warning("%s; asking again for up to %.3g s", what, until - now)
