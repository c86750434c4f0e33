"""The loop that repeats the requests of agents and runs: it sends, asks the rules, pauses, probes.

`_rules` decides whether a request is sent again, and `_timing` has the pauses.

These loops repeat a request after a failure:

- `rest`: the attempts of one call;
- `Wait.perform`, here: each action on agents and runs;
- `events.RunEvents`: the streams of one run, and the reading of each stream;
- `batch._parking`: the search for the runs of a batch that have ended;
- `batch._executors`: at the end, the search for runs that worker processes still create.

Other loops send the next request after a response: `batch._workers` and `batch._executors` send the
next long poll of a run, and `_answering` asks again if a run and its output disagree.

Strategy: a `Wait` is the budget of one caller: its deadline, the event ``stop``, and its failures
in a row. A client has one `Health`, which keeps what all requests have shown about the server. A
call, or a batch, has one `Turns`.

Invariants: no pause lasts beyond the deadline. Each pause ends within a moment once ``stop`` is
set. No request of a call is sent before the end of a ``Retry-After`` that the call, or its batch,
got. All requests of a call share its deadline. The request of a create, resume or delete may take
only a part of the time until the deadline. If the response is lost, the rest of the time is for
finding out whether the request was carried out.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn, TypeVar

from urllib3 import HTTPHeaderDict

from acp_client_v0_1._errors import is_by_function
from acp_client_v0_1._http.attempt import Interruptible
from acp_client_v0_1._http.retry import failure_of, limit_of, policy_of, retry_after
from acp_client_v0_1._text import package_logger, short
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.exceptions import ApiException, ApiTimeoutError
from acp_client_v0_1.handles import _rules
from acp_client_v0_1.handles._health import Action, Health, Turns
from acp_client_v0_1.handles._known import KnownRun
from acp_client_v0_1.handles._rules import CHANGES, Caller, Decided, Pause
from acp_client_v0_1.handles._timing import timing

T = TypeVar("T")

LateError = Callable[["Wait"], BaseException]
"""Makes the error of a wait that is over."""

_log = package_logger("acp_client_v0_1.handles")

_NOTHING: AbstractContextManager[object] = nullcontext()
_AT_ONCE = Pause(0.0)


class _StopSet(Exception):
    """The caller's ``stop`` was set during a request."""


class Contact(NamedTuple):
    """How the waits of a handle, an agent or a batch reach their server."""

    # These operations do not retry by themselves. If there is no output yet, they return the
    # headers of the 204 instead of None.
    runs: RunsApi
    # The transport, which knows whether its address was ever reached (`reached`).
    rest: Any
    health: Health
    # How many times the client would retry a single call that could not be sent.
    retries: float = 0
    # A long poll may take this many seconds beyond its window.
    margin: float = 10.0
    # The turns that the calls of a batch share. Any other call has its own.
    turns: Turns | None = None

    @classmethod
    def of(cls, runs: RunsApi, turns: Turns | None = None) -> Contact:
        """Return the contact for the client of ``runs``. A test's stand-in may have no client."""
        client = getattr(runs, "api_client", None)
        rest = getattr(client, "rest_client", None)
        if client is None or rest is None:
            return cls(runs, SimpleNamespace(reached=True), Health(), turns=turns)
        policy = rest.policy if client.retries is None else policy_of(client.retries)
        once = RunsApi(client.with_options(retries=0))
        once.api_client.on_empty = HTTPHeaderDict
        health = rest.learnt.get("health") or rest.learnt.setdefault("health", Health())
        retries = min(limit_of(policy.total), limit_of(policy.connect))
        return cls(once, rest, health, retries, client.configuration.block_margin, turns)


def no_probe(error: ApiException) -> NoReturn:
    raise Decided(error)


class Wait:
    """The budget of one caller: how long it waits, and what stops it.

    Args:
        contact: How to reach the server.
        timeout: Seconds; by default there is no limit.
        stop: Ends the wait when set.
        caller: By default this depends on the contact and on whether there is a timeout.
        late: Makes the error of a wait that is over. By default, this error is the last failure,
            or else the error that holds the call, or else an ApiTimeoutError.
    """

    # These defaults are attributes of the class, because most waits never set most of them.

    # The message of the late error says "run … {what} after … s".
    what: str = "has no output"
    # Whether the server has responded to a request of this wait since the timeout began.
    heard: bool = False
    # The failures in a row: their number, the time of the first one, and the error of the last one.
    _failures = 0
    _since = math.inf
    error: ApiException | None = None
    # How many of the last failures in a row were responses that do not fit the contract.
    _misfits = 0
    # A caller's function, which gets the seconds elapsed. It is called at least every ``_every``
    # seconds.
    _on_tick: Callable[[float], object] | None = None
    _every = _due = math.inf
    # Whether that function has lasted beyond the deadline.
    _overran = False

    def __init__(
        self,
        contact: Contact,
        timeout: float | None = None,
        *,
        stop: threading.Event | None = None,
        caller: Caller | None = None,
        late: LateError | None = None,
    ) -> None:
        if caller is None:
            alone = _rules.WITHOUT_TIMEOUT if timeout is None else _rules.WITH_TIMEOUT
            caller = alone if contact.turns is None else _rules.IN_BATCH
        self.contact = contact
        self.caller: Caller = caller
        # A call has its own turns, and its parts share them.
        self.turns: Turns = contact.turns or Turns()
        self.stop = stop
        # Whether ``stop`` is checked, and ``on_tick`` called, also during a request. A batch
        # interrupts the requests of its threads itself.
        self.watched: bool = stop is not None and contact.turns is None
        self.late: LateError | None = late
        self._timeout = math.inf if timeout is None else timeout
        self.began: float = timing().now()
        # The deadline, or infinity.
        self.ends: float = self.began + self._timeout

    def part(self, seconds: float = math.inf) -> Wait:
        """Return a `Wait` for a part of the call. The part ends no later than this `Wait`.

        Its ``elapsed`` counts from the beginning of the call, because errors of the part show it.
        """
        part = copy(self)
        part._timeout = max(0.001, min(seconds, self.remaining()))
        part.ends, part.heard = timing().now() + part._timeout, False
        part._on_tick, part._due = None, math.inf
        part.forget_failures()
        return part

    def rearm(self) -> None:
        """Let the timeout begin again now. The count of failures in a row continues."""
        self.began, self.heard, self._overran = timing().now(), False, False
        self.ends = self.began + self._timeout

    def forget_failures(self) -> None:
        """Let the count of failures in a row begin again: a request has worked meanwhile."""
        self._failures, self._since, self.error = 0, math.inf, None

    def watch(self, on_tick: Callable[[float], object], every: float) -> None:
        """Call ``on_tick`` from now on, also during a request.

        It gets the seconds elapsed, at least every ``every`` seconds of the wait.
        """
        self.watched, self._on_tick = True, on_tick
        self._every, self._due = every, self.began + every

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
    def least_left(self) -> float:
        """After a pause, no request begins with less than these seconds left."""
        return min(timing().least_left, self._timeout / 4)

    @property
    def held(self) -> float:
        """How many seconds a ``Retry-After`` still holds the call, or 0."""
        return max(0.0, self.turns.held_until - timing().now())

    def limit(self, longest: float, action: Action = "look") -> float:
        """Return how many seconds the next request may take, above 0 and at most ``longest``.

        A create, resume or delete may take only a part of the time until the deadline. If the
        response is lost, the rest of the time is for finding out whether the request was carried
        out. Raise `late_error` if there is hardly any time for a response.
        """
        left = self.ends - timing().now()
        if action in CHANGES and left < math.inf:
            if left < min(timing().round_trip, self.least_left / 2):
                raise self.late_error()
            left = max(left - timing().search, left / 2, min(left, self.least_left))
        return max(0.001, min(longest, left))

    def late_error(self) -> BaseException:
        """Return the error of a wait that is over.

        If ``late`` makes the error, its cause is the last failure, or else the error that holds the
        call.
        """
        cause = self.error or (self.turns.asked_by() if self.held else None)
        why = f"out of time after {self.elapsed:.1f} s"
        late: BaseException = cause or ApiTimeoutError(reason=why)
        if self.late is not None:
            late = self.late(self)
            late.__cause__ = cause
        return Decided(late) if isinstance(late, ApiException) else late

    def pause(self, seconds: float) -> None:
        """Sleep for some seconds, or less, to leave time for one more request.

        If it is already too late for another request, sleep at most until the deadline. If the
        deadline has passed after the sleep, or ``stop`` is set, raise `late_error`.
        """
        to_go = self.ends - self.least_left - timing().now()
        self.sleep(min(seconds, to_go if to_go > 0 else self.remaining()))
        if self.stopped or timing().now() >= self.ends:
            raise self.late_error()

    def sleep(self, seconds: float) -> None:
        """Sleep for some seconds, or until ``stop`` is set."""
        clock = timing()
        until = clock.now() + seconds
        while (left := until - clock.now()) > 0:
            if clock.sleep(min(left, self._until_tick()), self.stop):
                return
            self._tick()

    def take_turn(self) -> None:
        """Wait until the next request may begin.

        Raise an error if the wait ends before that, or if a ``Retry-After`` lasts for longer than
        failures are survived.
        """
        clock, turns = timing(), self.turns
        while not self.stopped:
            now, era = clock.now(), turns.era
            held, survives = turns.held_until - now, self.caller.survives
            if held > min(self.ends - now, survives):
                asked = turns.asked_by()
                # The error says what the server asked for. But a 204 is no error: outside of a
                # batch, a call that a 204 holds for too long is out of time.
                if held > survives > 0 and (self.caller.shared or asked.status != 204):
                    raise Decided(asked, "all")
                break
            # Near the deadline, it is better to send a request out of turn than not at all.
            turn = min(turns.next_turn(now), self.ends - self.least_left)
            self.sleep(max(turn - now, held))
            # If a hold or a slower pace has begun meanwhile, this takes another turn. Otherwise the
            # requests of all waits would be sent together when the hold ends.
            if turns.era == era and not self.stopped:
                return
        raise self.late_error()

    def obey(self, headers: Mapping[str, str]) -> None:
        """Begin no request before the end of the ``Retry-After`` of a 204, if it has one."""
        if seconds := retry_after(headers):
            reason = f"there is no output yet; Retry-After: {seconds:.0f} s"
            error = ApiException(204, reason, headers=headers)
            self.turns.hold(timing().now() + seconds, error)

    def _tick(self, *, now: bool = False) -> bool:
        """Call ``on_tick`` if it is due. With ``now``, call it in any case.

        Return whether it has lasted beyond the deadline.
        """
        moment = timing().now()
        if self._on_tick is not None and (now or moment >= self._due):
            self._due = moment + self._every
            try:
                self._on_tick(moment - self.began)
                if (after := timing().now()) > self.ends:
                    # One more request finds out whether there is an output by now.
                    self._overran, self._on_tick = True, None
                    self.ends = after + self.least_left
            except ApiException as error:
                # It is no failure of the request during which it was raised.
                raise Decided(error) from None
        return self._overran

    def _tick_after_request(self, is_last: bool) -> bool:
        """Call ``on_tick``. Return whether the request had no time left, which is no failure of it.

        ``is_last`` says that ``on_tick`` had lasted beyond the deadline before the request.
        """
        if is_last:
            raise self.late_error()
        overran = self._overran or self._tick(now=True)
        return overran and isinstance(self.error, ApiTimeoutError)

    def _until_tick(self) -> float:
        """Seconds until ``on_tick`` is due, above 0."""
        return max(0.001, self._due - timing().now())

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

    def perform(
        self,
        action: Action,
        send: Callable[[float], T | Pause],
        run: KnownRun | None = None,
        *,
        longest: float | None = None,
        probe: Callable[[ApiException], T | Pause] = no_probe,
    ) -> T:
        """Send a request until it succeeds, or until the rules say to raise its error.

        - ``send`` gets the seconds that the request may take, at most ``longest``. If ``send``
          returns a `Pause`, it is called again after the pause. Any other value is returned.
        - ``probe`` gets the error if the rules say `Probe`. If ``probe`` returns a `Pause`, the
          request is sent again after the pause. Any other value is returned. Without a ``probe``,
          the error is raised.
        """
        longest = timing().quick if longest is None else longest
        value: T | Pause = _AT_ONCE
        while True:
            is_last = self._overran
            try:
                value = self.send(action, send, longest, run)
                self._failures, self._since, self.heard, self.error = 0, math.inf, True, None
                if not isinstance(value, Pause):
                    return value
            except ApiException as failure:
                # A function of the user's has failed, so there was no request.
                if is_by_function(failure):
                    raise
                self.error = failure
            except _StopSet:
                raise self.late_error()  # noqa: B904 - it has its cause
            # `on_tick` runs outside the `except`, so its errors are not chained to the failure.
            if self._tick_after_request(is_last):
                self.error, value = None, _AT_ONCE
            if self.error is not None:
                if self.stopped:
                    raise self.late_error()
                value = self.judge(action, self.error, run, probe)
            if not isinstance(value, Pause):
                return value
            self.pause(value.seconds)

    def send(
        self,
        action: Action,
        send: Callable[[float], T],
        longest: float,
        run: KnownRun | None = None,
    ) -> T:
        """Send one request in its turn, and note what its outcome shows about the server."""
        turns, health = self.turns, self.contact.health
        if turns.era or (self.stop is not None and self.stop.is_set()):
            self.take_turn()
        era = turns.era
        try:
            span = None if run is None else run.span
            if span is None and not self.watched:
                value = send(longest if self.ends == math.inf else self.limit(longest, action))
            else:
                with _NOTHING if span is None else span.active(), self._watching():
                    value = send(self.limit(longest, action))
        except ApiException as failed:
            if not is_by_function(failed):
                turns.failed(failure_of(failed), failed, era, timing().now())
            raise
        if turns.interval:
            turns.succeeded()
        if health.outage is not None or health.fails:
            words = health.succeeded(action, timing().now())
            if words:
                _log.warning(words)
        return value

    def judge(
        self,
        action: Action,
        error: ApiException,
        run: KnownRun | None = None,
        probe: Callable[[ApiException], T | Pause] = no_probe,
    ) -> T | Pause:
        """Count a failure, and return what the rules say to do: a pause, or what ``probe`` returns.

        If the rules say to raise an error, raise it.
        """
        contact, failure, now = self.contact, failure_of(error), timing().now()
        if failure.kind == "lost" and not failure.ended:
            # A connection was made, so the address is a server's.
            contact.rest.reached = True
        if run is not None and failure.kind in ("lost", "unsent"):
            run.note_absence()
        since, misfits = min(self._since, now), self._misfits if self._failures else 0
        known = _rules.Known(
            now=now,
            last=self.ends - self.least_left,
            failures=self._failures,
            since=since,
            misfits=misfits,
            reached=contact.rest.reached,
            retries=contact.retries if self.caller.outages else 0,
            age=math.inf if run is None else run.age(),
        )
        decision = _rules.decide(action, failure, contact.health, self.caller, known)
        if isinstance(decision, _rules.Raise):
            raise self._final(decision, error, run, now - since)
        if isinstance(decision, _rules.Probe):
            return probe(error)
        self._failures, self._since = self._failures + 1, since
        self._misfits = misfits + 1 if failure.kind == "misfit" else 0
        outage = decision.outage and not failure.full_pool
        if outage and contact.health.failed(action, failure, now, now + decision.seconds):
            # In a batch, other runs go on after the deadline of this wait.
            ends = math.inf if self.caller.shared else self.ends
            seconds = min(ends, since + self.caller.survives) - now
            who = action if run is None else f"run {short(run.run_id)}: {action}"
            _log.warning("%s: %s; asking again for up to %.3g s", who, error, seconds)
        return decision

    def _final(
        self, decision: _rules.Raise, error: ApiException, run: KnownRun | None, lasted: float
    ) -> BaseException:
        """Return the error of a wait that gives up, ``lasted`` seconds after its first failure."""
        if not self.caller.shared:
            self.contact.health.forget_warning()
        if decision.why == "gone" and run is not None:
            return run.gone(error)
        if decision.why in ("late", "over") and self._failures:
            # The message of the error says how many requests failed, and for how long.
            error.attempts, error.elapsed = 1 + self._failures, lasted
        if decision.why == "late":
            return self.late_error()
        return Decided(error, decision.whose)
