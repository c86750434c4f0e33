"""The durations of agents, runs and batches, and the clocks, in one `Timing`.

`timing` returns the `Timing` in use. A test replaces it by a `Timing` with short durations, and a
simulation replaces it by a `Timing` with clocks of its own. The other modules of `handles` and
`batch` take nearly all their durations from here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from acp_client_v0_1._http.retry import LONGEST_OUTAGE


def _sleep(seconds: float, stop: threading.Event | None) -> bool:
    """Sleep for some seconds, or until ``stop`` is set. Return whether ``stop`` is set."""
    if stop is not None:
        return stop.wait(seconds)
    time.sleep(seconds)
    return False


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations in seconds, numbers of tries, and clocks.

    Where no comment says otherwise, a pair of durations is a backoff: the first pause, which
    doubles, and the longest pause.
    """

    # Requests

    # Reading a run, an agent or an output that is there, and a search, take at most this long.
    # `RunHandle.refresh` has the client's own timeouts, and so has a stream without a timeout.
    quick: float = 10.0
    # A resume or a DELETE takes at most this long.
    change: float = 60.0
    # After a pause, a request begins only with at least this much time left. If a quarter of the
    # timeout is less than this, a quarter of the timeout is enough.
    least_left: float = 1.0
    # While a stream is open, reading its run takes at most this long.
    beside_stream: float = 5.0

    # Failures

    # Failures are survived for this long. Outside a batch, a wait with a timeout survives them
    # until its deadline instead.
    outage: float = LONGEST_OUTAGE
    # The pauses after failures.
    backoff: tuple[float, float] = (0.25, 4.0)
    # An outage is logged at its first failure. But it must last for this long first
    # - if another outage was logged in the last `warnings` seconds, or
    # - if it is a rate limit (429).
    quiet: float = 5.0
    warnings: float = 60.0
    # After this many failures in a row, a run is polled instead of streamed. If searches fail as
    # often, the client finds out whether the server supports them.
    refusals: int = 5

    # A response that is JSON, and does not fit the contract, is asked for this many times in all.
    misfits: int = 3

    # Read replicas

    # For this long after a create, a 404 may come from a replica that does not have the run yet.
    young: float = 2.0

    # The pace of a batch at a server that limits requests

    # The first 429 or 503 puts the smaller of these times between two requests. Each further 429 or
    # 503 doubles the time between two requests, up to the larger value.
    pace: tuple[float, float] = (0.05, 0.5)
    # Each success multiplies the time between two requests by this factor.
    recovery: float = 0.97

    # Long polls

    # The server is asked to hold a poll for this long.
    window: int = 30
    # While a request waits for its response, `stop` is checked at this interval.
    tick: float = 0.5
    # The window of a poll is at least this much shorter than the time left for the poll. If less
    # time is left, the window is 0.
    round_trip: float = 0.1
    # A cache may keep the response to each URL for this long. So each poll has another window.
    cached: float = 300.0
    # The pauses after polls that ended without output before their windows were over.
    early: tuple[float, float] = (0.2, 2.0)
    # For this long after a cut, windows stay shorter than the poll that was cut, see
    # `_rules.Window`.
    cut_memory: float = 600.0

    # The search for the run of a lost create

    # The search takes at most this long, and its first request at most this long. So a request that
    # hangs leaves time for another one.
    search: float = 10.0
    first_search: float = 3.0
    # The pauses after searches that find nothing.
    search_backoff: tuple[float, float] = (0.1, 1.0)
    # The server's clock may be slow by this much. A run that was created earlier than this before
    # a create was posted was not made by this create.
    slow_clock: float = 60.0

    # Answers

    # If the response to an answer was lost and the run does not change for this long, the answer is
    # taken not to have arrived.
    unchanged: float = 5.0
    # A run that may change at any moment is read again after this pause.
    probe: float = 0.25
    # If a question's `updated_at` has no fraction of a second, the question is answered no earlier
    # than this long after it was first seen.
    whole_second: float = 1.0
    # While another caller is expected to answer a question, the run is read at this interval.
    human: float = 1.0

    # Streams

    # After this long without an event, the run is read.
    silence: float = 15.0
    # A caller may take longer than `silence` to ask for the next event. Even then, the client first
    # waits up to this long for an event, and only then reads the run.
    least_silence: float = 0.5
    # The read timeout of a stream is longer than the caller's timeout by at most this much.
    beyond: float = 0.2
    # The pauses between two streams. A stream that brings something new resets the backoff.
    stream_backoff: tuple[float, float] = (0.1, 4.0)

    # Agents

    # The description of an agent is kept for this long.
    kept: float = 300.0

    # Batches

    # While other runs wait for their turn, a long poll has this window. Once the batch has given up
    # searches, the window is 1.
    short_window: int = 2
    # The shortest and the longest pause between two searches. A search that takes long is followed
    # by a longer pause.
    parked_searches: tuple[float, float] = (0.2, 10.0)
    # If a search shows that a run has ended, and a poll of the run gets no output, searches are not
    # believed about this run for this long.
    doubt: float = 2.0

    # The end of a batch or a call

    # Deleting one run takes at most this long.
    cancel: float = 10.0
    # If an exception ends `AgentHandle.run`, cancelling its run takes at most this long.
    exit: float = 5.0
    # At the end of a batch, polls are interrupted at once, and other requests after this long. So a
    # create under way can still get its response.
    grace: float = 1.5
    # At the end of a batch, threads that have not ended are left behind after this long.
    threads: float = 2.5
    # While the batch waits for these threads, it checks them at this interval.
    step: float = 0.05

    # Clocks

    # This clock measures durations.
    now: Callable[[], float] = time.monotonic
    # This clock is the same in all processes: seconds since the epoch.
    calendar: Callable[[], float] = time.time
    # This sleeps for some seconds, or until the event is set, and returns whether it is set.
    sleep: Callable[[float, threading.Event | None], bool] = _sleep


_in_use = Timing()


def timing() -> Timing:
    """Return the `Timing` in use."""
    return _in_use
