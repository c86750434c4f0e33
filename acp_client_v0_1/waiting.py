"""Waiting for the output of a run, with or without a deadline.

Strategy: a loop of long polls under one deadline. In a *long poll*, the server holds the request
until there is an output, but for no longer than its *window*. No window is longer than the time
that remains. After a poll without output, the next one follows

- at once, if the server held the poll for the full window;
- after a backoff, if the 204 was early: a server that ignores windows is not polled in a hot loop;
- after a backoff or ``Retry-After``, if the poll failed in a way that may pass;
- and with a shorter window, if a proxy or the server cut the poll (see `_Window`).

Invariants: a wait ends with an output, with an error that waiting cannot mend, or with
`RunWaitTimeout` at the deadline plus scheduling noise. Each wait keeps its state in its own object,
so threads share none.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from acp_client_v0_1._deadline import Deadline, checked_total
from acp_client_v0_1._http.retry import Outage, backoff, is_cut, retry_after, was_held
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.configuration._checks import positive
from acp_client_v0_1.exceptions import ApiException, ApiTypeError, RunWaitTimeout
from acp_client_v0_1.models.run_status import RunStatus

if TYPE_CHECKING:
    from acp_client_v0_1.api.runs_api import RunsApi
    from acp_client_v0_1.models.run_output import RunOutput

__all__ = ["wait_for_run_output"]

_log = logging.getLogger(__name__)

_FIRST_BACKOFF = 0.5  # seconds; doubles with each early end in a row
_LONGEST_BACKOFF = 2.0  # seconds, unless the server asks for more
_LOOK = 10.0  # seconds that a look-up of the run's status may take
_ROUND_TRIP = 0.1  # seconds; a poll may take at least this much longer than its window
_STOP_MARGIN = 10.0  # seconds; with `stop`, a poll may take at most this much longer
_STATUS_EVERY = 5.0  # seconds between two look-ups of the run's status, for the callback
_STOP_WINDOW = 1  # seconds; the longest window with `stop`
_FULL_WINDOWS = 4  # full windows before growing again: 4 ** cuts


def wait_for_run_output(
    runs_api: RunsApi,
    run_id: str,
    *,
    timeout: float | None = None,
    block_timeout: int = 30,
    on_pending: Callable[[float, RunStatus], object] | None = None,
    stop: threading.Event | None = None,
) -> RunOutput:
    """Wait until a run has an output, and return it: a result, an interrupt or an error.

    The wait goes on after failures that may pass (a broken connection, 408, 429, 5xx), with a
    backoff or after ``Retry-After``.

    Args:
        runs_api: The operations to call.
        run_id: The run.
        timeout: Seconds to wait at most, None for no limit. Without a limit, five minutes of
            failures alone end the wait with the last of them.
        block_timeout: Seconds for which the server may hold each request, a whole number.
        on_pending: Called with the seconds elapsed and the run's status after each request without
            output, failed or not. While requests succeed, the status is looked up every few
            seconds; else it is the last one known, at first ``pending``. An exception that this
            function raises ends the wait.
        stop: Ends the wait when set: within about a second, or within 11 seconds if the server
            does not respond.

    Raises:
        RunWaitTimeout: There was no output in time, or ``stop`` was set.
        ApiException: The server refused, for example with 404, or kept failing without ``timeout``.
        ApiValueError: ``timeout`` or ``block_timeout`` is not above 0.
        ApiTypeError: An argument has the wrong type.
    """
    if not hasattr(runs_api, "get_run_output"):  # a stand-in of a test has it
        raise ApiTypeError(
            f"runs_api must be a RunsApi, not {type(runs_api).__name__}; RunsApi(api_client) is one"
        )
    if stop is not None and not hasattr(stop, "is_set"):
        raise ApiTypeError(f"stop must be a threading.Event or None, not {type(stop).__name__}")
    positive("block_timeout", block_timeout)
    deadline = Deadline.after(checked_total(timeout, "timeout"))
    return _Wait(runs_api, run_id, deadline, block_timeout, on_pending, stop).run()


class _Window:
    """The window of the next long poll, at least 1 second.

    A cut makes it shorter. After an accident such as a restart, short windows only cost requests;
    behind a proxy with a limit, longer windows are cut again. To tell the two apart, a longer
    window follows four full ones, and four times as many after each further cut.
    """

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self._longest = seconds
        self._cut_at = math.inf  # seconds
        self._cuts = 0  # since a window of at least `_cut_at` was full
        self._full = 0  # full windows since the last cut

    def note_cut(self, asked: int, took: float) -> None:
        """Note that a window of ``asked`` seconds was cut after ``took`` seconds."""
        self.seconds = max(1, int(0.75 * took) if took < asked else asked // 2)
        self._cut_at = min(took, asked)
        self._cuts += 1
        self._full = 0

    def note_full(self, asked: int) -> None:
        """Note that the server held a poll for all of ``asked`` seconds."""
        self._full += 1
        if asked >= self._cut_at:
            self._cut_at, self._cuts = math.inf, 0
        longer = min(2 * self.seconds, self._longest)
        # The exponent is bounded: no wait has 4 ** 16 windows.
        if longer < self._cut_at or self._full >= _FULL_WINDOWS ** min(self._cuts, 16):
            self.seconds = longer


class _Wait:
    """One wait, and what it knows of the server and the run so far."""

    def __init__(
        self,
        runs_api: RunsApi,
        run_id: str,
        deadline: Deadline,
        window: int,
        on_pending: Callable[[float, RunStatus], object] | None,
        stop: threading.Event | None,
    ) -> None:
        self._api = runs_api
        self._run_id = run_id
        self._deadline = deadline
        self._window = _Window(window if stop is None else min(window, _STOP_WINDOW))
        self._on_pending = on_pending
        self._stop = stop
        self._started = time.monotonic()
        self._early_ends = 0  # in a row
        margin = max(_ROUND_TRIP, _margin_of(runs_api))
        self._margin = margin if stop is None else min(margin, _STOP_MARGIN)
        self._outage = Outage(deadline)
        self._status = RunStatus.PENDING  # or the one that was looked up last
        self._next_look = self._started

    def run(self) -> RunOutput:
        failure: ApiException | None = None
        while True:
            self._check_end(failure)
            failure = None
            asked = time.monotonic()
            window, limit = self._next_limits()
            try:
                output = self._api.get_run_output(
                    self._run_id, block_timeout=window or None, _request_timeout=limit
                )
            except ApiException as error:
                delay = self._survive(error, window, time.monotonic() - asked)
                failure = error
            else:
                if output is not None:
                    return output
                self._outage.end()
                delay = self._after_empty(window, time.monotonic() - asked)
            self._report(look_up=failure is None and not self._stopped)
            self._deadline.sleep(delay, self._stop)

    @property
    def _stopped(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _check_end(self, failure: ApiException | None) -> None:
        stopped = self._stopped
        if not stopped and not self._deadline.expired:
            return
        elapsed = time.monotonic() - self._started
        reason = f"run {self._run_id} has no output after {elapsed:.1f} s"
        if stopped:
            reason = f"waiting for run {self._run_id} was stopped after {elapsed:.1f} s"
        elif failure is not None:
            reason = f"{reason}; the last request failed: {failure}"
        raise RunWaitTimeout(run_id=self._run_id, elapsed=elapsed, reason=reason) from failure

    def _next_limits(self) -> tuple[int, float]:
        """Return the next window in whole seconds, 0 for no long poll, and the call's timeout."""
        # One reading of the clock for both, so that the timeout is never shorter than the window.
        # Above 0, because a timeout of 0 is refused as a mistake.
        remaining = max(0.001, self._deadline.remaining())
        window = int(min(self._window.seconds, max(0.0, remaining - _ROUND_TRIP)))
        return window, min(remaining, window + self._margin)

    def _survive(self, error: ApiException, window: int, took: float) -> float:
        """Return the delay after a failure that may pass; raise any other failure."""
        asked = self._outage.note(error)
        _log.info("run %s: %s", self._run_id, error)
        if was_held(window, took) and is_cut(error):
            self._window.note_cut(window, took)
        return max(self._backoff(), asked)

    def _after_empty(self, window: int, took: float) -> float:
        """Return the delay after a response without output: 0 after a full window."""
        if not window or took < 0.9 * window:
            return self._backoff()
        self._early_ends = 0
        self._window.note_full(window)
        return 0.0

    def _backoff(self) -> float:
        delay = backoff(self._early_ends, _FIRST_BACKOFF, _LONGEST_BACKOFF)
        self._early_ends += 1
        return delay

    def _report(self, *, look_up: bool) -> None:
        if self._on_pending is None:
            return
        if look_up and time.monotonic() >= self._next_look:
            self._look_up_status()
        self._on_pending(time.monotonic() - self._started, self._status)

    def _look_up_status(self) -> None:
        limit = self._deadline.bound(_LOOK)
        if not limit:
            return  # the wait is over
        delay = _STATUS_EVERY
        try:
            self._status = self._api.get_run(self._run_id, _request_timeout=limit).status
        except ApiException as error:
            # The next poll shows whether the wait has to end.
            _log.info("run %s: its status is not known: %s", self._run_id, error)
            delay = max(delay, retry_after(error.headers) or 0.0)
        self._next_look = time.monotonic() + delay


def _margin_of(runs_api: RunsApi) -> float:
    """Return the seconds that a poll may take beyond its window; a stand-in has no client."""
    client = getattr(runs_api, "api_client", None)
    configuration = getattr(client, "configuration", None)
    if not isinstance(configuration, Configuration):
        configuration = Configuration.get_default()
    return configuration.block_margin
