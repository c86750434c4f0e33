"""Waiting for the output of a run, for as long as it takes or as long as one likes.

Strategy: a loop of blocking calls under one deadline. Each asks the server to hold the request for
a window that fits into what remains. What ends such a call without an output decides about the
next: a full window is followed by another at once; an early 204 by a pause that grows, so that a
server which ignores the window is not asked in a hot loop; a failure that may pass by a pause, and
by a smaller window where the server, or a proxy before it, has cut the one before.

Invariants: the end is an output, an error that waiting cannot mend, or `RunWaitTimeout`, at the
deadline plus scheduling noise; all state is in one object per wait, so that threads do not meet.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from acp_client_v0_1.deadline import Deadline, Timeout
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTimeoutError,
    ApiTypeError,
    ApiValueError,
    ConnectionException,
    NameResolutionException,
    ProtocolException,
    ProxyException,
    RunWaitTimeout,
)

if TYPE_CHECKING:
    from acp_client_v0_1.api.runs_api import RunsApi
    from acp_client_v0_1.models.run_output import RunOutput
    from acp_client_v0_1.models.run_status import RunStatus

__all__ = ["wait_for_run_output"]

_log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5  # seconds; doubles with each early end in a row
_LONGEST_PAUSE = 2.0  # seconds
_MARGIN = 10.0  # seconds that a call may take beyond its window
_PATIENCE = 300.0  # seconds of nothing but failures, where no timeout says when to stop
_STATUS_EVERY = 5.0  # seconds between two looks at the run's status, for the callback
_STOP_WINDOW = 1  # seconds; the longest window where an event may ask to stop
_TRANSIENT = (
    ApiTimeoutError,
    ConnectionException,
    NameResolutionException,
    ProtocolException,
    ProxyException,
)


def wait_for_run_output(
    runs_api: RunsApi,
    run_id: str,
    *,
    timeout: float | None = None,
    block_timeout: int = 30,
    on_pending: Callable[[float, RunStatus], object] | None = None,
    stop: threading.Event | None = None,
) -> RunOutput:
    """Wait until a run has an output: a result, an interrupt or an error.

    Failures that may pass (a connection that breaks, 408, 429, 5xx) are survived.

    Args:
        runs_api: What asks the server.
        run_id: The run.
        timeout: Seconds to wait at most, None for no limit. Without a limit, five minutes of
            nothing but failures end the wait with the last of them.
        block_timeout: Seconds for which the server is asked to hold each request.
        on_pending: Called with the seconds elapsed and the run's status, after each request that
            brought no output; the status is looked up every few seconds.
        stop: Ends the wait when set, within about a second; later, but within 11 seconds, where
            the server does not answer.

    Returns:
        The output.

    Raises:
        RunWaitTimeout: There was no output in time, or ``stop`` was set.
        ApiException: The server refused, for example with 404, or see ``timeout``.
        ApiValueError: ``timeout`` or ``block_timeout`` is not above 0.
        ApiTypeError: One of them is no number.
    """
    if isinstance(block_timeout, bool) or not isinstance(block_timeout, int):
        raise ApiTypeError(f"block_timeout must be an int, not {type(block_timeout).__name__}")
    if block_timeout < 1:
        raise ApiValueError(f"block_timeout must be at least 1, not {block_timeout}")
    if timeout is not None and not isinstance(timeout, (int, float)):
        raise ApiTypeError(f"timeout must be a number or None, not {type(timeout).__name__}")
    total = Timeout.of(timeout, "timeout").total
    return _Wait(runs_api, run_id, Deadline.after(total), block_timeout, on_pending, stop).run()


class _Wait:
    """One wait and what it has learned so far."""

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
        self._window = window if stop is None else min(window, _STOP_WINDOW)
        self._on_pending = on_pending
        self._stop = stop
        self._started = time.monotonic()
        self._early_ends = 0  # in a row
        self._last_success = self._started
        self._status: RunStatus | None = None
        self._status_seen = self._started - _STATUS_EVERY

    def run(self) -> RunOutput:
        failure: ApiException | None = None
        while True:
            self._check_end(failure)
            asked = time.monotonic()
            window, limit = self._next_limits()
            try:
                output = self._ask(window, limit)
            except ApiException as error:
                self._survive(error, window, time.monotonic() - asked)
                failure = error
                continue
            if output is not None:
                return output
            failure = None
            self._last_success = time.monotonic()
            self._report()
            self._pause_if_early(window, self._last_success - asked)

    def _check_end(self, failure: ApiException | None) -> None:
        stopped = self._stop is not None and self._stop.is_set()
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
        """Give the next window in whole seconds, 0 for no time to block, and the call's limit."""
        # Of one look at the clock, so that the limit is never shorter than the window; and a
        # limit of 0 would be refused as a mistake.
        remaining = max(0.001, self._deadline.remaining())
        # What is asked for must be less than what remains, if only by the time of a round trip.
        window = int(min(self._window, max(0.0, remaining - 0.1)))
        return window, min(remaining, window + _MARGIN)

    def _ask(self, window: int, limit: float) -> RunOutput | None:
        return self._api.get_run_output(
            self._run_id, block_timeout=window or None, _request_timeout=limit
        )

    def _survive(self, error: ApiException, window: int, took: float) -> None:
        """Adapt to a failure that may pass; raise any other."""
        if not _may_pass(error):
            raise error
        if self._deadline.at is None and time.monotonic() - self._last_success > _PATIENCE:
            raise error
        _log.info("run %s: %s", self._run_id, error)
        if took >= 1 and _is_cut(error):
            self._window = max(1, int(0.75 * took) if took < window else window // 2)
        self._pause()

    def _pause_if_early(self, window: int, took: float) -> None:
        if window and took >= 0.9 * window:
            self._early_ends = 0
        else:
            self._pause()

    def _pause(self) -> None:
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._early_ends, 8))
        self._early_ends += 1
        self._deadline.sleep(pause, self._stop)

    def _report(self) -> None:
        if self._on_pending is None:
            return
        if time.monotonic() - self._status_seen >= _STATUS_EVERY:
            self._look_up_status()
        if self._status is not None:
            self._on_pending(time.monotonic() - self._started, self._status)

    def _look_up_status(self) -> None:
        try:
            limit = self._deadline.bound(_MARGIN)
            if not limit:
                return  # the wait is over
            self._status = self._api.get_run(self._run_id, _request_timeout=limit).status
        except ApiException as error:
            if not _may_pass(error):
                raise
            _log.info("run %s: its status is not known: %s", self._run_id, error)
        self._status_seen = time.monotonic()


def _may_pass(error: ApiException) -> bool:
    if isinstance(error, _TRANSIENT):
        return True
    return error.status is not None and (error.status in (408, 429) or error.status >= 500)


def _is_cut(error: ApiException) -> bool:
    """Say whether the held request may have been ended from outside."""
    return isinstance(error, (ConnectionException, ApiTimeoutError)) or error.status in (
        408,
        502,
        504,
    )
