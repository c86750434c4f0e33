"""Waiting for the output of one run, by long polls, or by reading the run.

Strategy: a `Polls` chooses each request of one wait, and `Wait.perform` repeats it.
"""

from __future__ import annotations

import math
import sys

from acp_client_v0_1._http.retry import backoff, failure_of, poll_ran
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._core import RunCore
from acp_client_v0_1.handles._rules import Pause, Window, fitted, is_unserved, was_full
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._wait import Wait
from acp_client_v0_1.models import RunOutput, RunStatus


class Polls:
    """The requests of one wait for an output: long polls, or reading the run.

    After a poll without output, the next poll follows

    - at once, if the server held the poll for the full window;
    - after a backoff, if the server ended the poll early by a 204 (without the backoff, a server
      that ignores windows would be asked in a hot loop);
    - in any case after the ``Retry-After`` of the 204, if it has one;
    - with a shorter window, if a proxy or the server cut the poll by an error.

    If the server does not serve the output of a pending run, the run is read instead, until it is
    no longer pending.
    """

    # How many requests in a row have ended without an output before their window was over. Reading
    # a pending run counts as well.
    _early = 0

    def __init__(self, core: RunCore, wait: Wait, window: int | None = None) -> None:
        # A wait that asks once has the window 0, because some servers hold a request without a
        # window for ever.
        window = timing().window if window is None else window
        self._window = Window(0 if wait.caller.once else window)
        self._core, self.wait = core, wait
        # Whether the next request reads the run. Otherwise it asks for the output.
        self._reads_run = "output" in wait.contact.health.lacks
        # A wait that asks once uses the client's own retries.
        self._runs = core.runs if wait.caller.once else wait.contact.runs

    def output(self) -> RunOutput:
        """Wait for an output and return it.

        A wait that asks once raises `RunWaitTimeout` if there is no output yet. If the result has
        come before, nothing is sent.
        """
        core, wait = self._core, self.wait
        if core.kept is not None and (kept := core.kept_output()) is not None:
            # A server that gives each output once has given it to the stream, and sends no other.
            if not core.streamed or (newer := core.output_now(wait, lambda _: None)) is None:
                return kept
            core.keep_output(newer)
            return newer
        received = wait.perform("output", self.send, core, longest=math.inf, probe=self.probe)
        if received is None:
            raise wait.late_error()
        core.keep_output(received)
        return received

    def send(self, limit: float, most: int = sys.maxsize) -> RunOutput | Pause | None:
        """Send the next request. The window of a poll is at most ``most`` seconds.

        Return the output. If there is none yet, return a `Pause`, or None if the wait asks once.
        """
        core, wait = self._core, self.wait
        if self._reads_run:
            seconds = min(limit, timing().quick)
            run = core.note(self._runs.get_run(core.run_id, _request_timeout=seconds))
            if run.status == RunStatus.PENDING:
                return None if wait.caller.once else self._count_early()
            self._reads_run = False
            wait.take_turn()
            limit = wait.limit(limit)
        return self._poll(limit, min(self._window.seconds, most))

    def _poll(self, limit: float, window: int) -> RunOutput | Pause | None:
        clock, wait, core, total = timing(), self.wait, self._core, None
        began = clock.now()
        if limit < math.inf:
            # A wait that asks once gives its request all of its time.
            margin = limit if wait.caller.once else max(clock.round_trip, wait.contact.margin)
            window, total = fitted(window, limit, margin)
        if not core.polled:
            core.polled = {window: began}
        elif window and not self._window.is_cut:
            # The server may end polls early. Then a shorter window costs no more requests.
            least = 1 if self._early else window - int(0.4 * window)
            window = core.fresh_window(range(window, least - 1, -1), began)
        try:
            output = self._runs.get_run_output(
                core.run_id, block_timeout=window, _request_timeout=total
            )
        except ApiException as error:
            took = clock.now() - began
            if poll_ran(window, took) and failure_of(error).cut:
                self._window.shorten(window, took, clock.now())
            raise
        output = core.checked_output(output, wait)
        if output is not None or wait.caller.once:
            return output
        if not was_full(window, clock.now() - began):
            return self._count_early()
        self._early = 0
        self._window.lengthen(clock.now())
        return Pause(0.0)

    def _count_early(self) -> Pause:
        self._early += 1
        return Pause(backoff(self._early - 1, *timing().early))

    def probe(self, error: ApiException) -> RunOutput | Pause | None:
        """Find out how to go on after a refused request. This is a ``probe`` of `Wait.perform`.

        If there is an output, return it. If there is no output yet, return None if the wait asks
        once, and otherwise a `Pause`.
        """
        wait = self.wait
        output = self._core.output_after_refusal(error, wait)
        if output is not None or wait.caller.once:
            return output
        # Only a pending run is read instead of its output. A status that is not in the contract may
        # stay the same after the run has ended. Then only the output shows the end.
        self._reads_run = self._core.is_pending
        if self._reads_run and is_unserved(error):
            wait.contact.health.lacks.add("output")
        # The run and its output may disagree. Without a pause, this would be a hot loop.
        return Pause(timing().probe) if self._reads_run else self._count_early()
