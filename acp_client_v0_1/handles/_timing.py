"""Every pause, window and bound of agents, runs and batches, in one value, and the clock.

`timing` gives the value in use. A test replaces it by one whose times are short, and a simulation
by one with a clock of its own. The other modules of `handles` and `batch` take their durations from
here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from acp_client_v0_1._http.retry import LONGEST_OUTAGE


def _sleep(seconds: float, stop: threading.Event | None) -> bool:
    """Sleep, or until ``stop`` is set, and return whether it is."""
    if stop is not None:
        return stop.wait(seconds)
    time.sleep(seconds)
    return False


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations in seconds. A pair is the first backoff, which doubles, and the longest."""

    # Requests

    # A request takes at most this long if the server has nothing to wait for.
    quick: float = 10.0
    # A resume or a DELETE takes at most this long.
    change: float = 60.0
    # After a failure, no request begins with less time left than this, or than a quarter of the
    # timeout if that is shorter.
    last: float = 1.0
    # Reading the run beside an open stream takes at most this long.
    answered_probe: float = 5.0

    # Failures

    # A server may fail for this long, unless the caller has a deadline.
    outage: float = LONGEST_OUTAGE
    # These are the pauses between two attempts.
    backoff: tuple[float, float] = (0.25, 4.0)
    # A shorter pause at a rate limit is not worth a warning in the log. Neither is a shorter
    # outage, if there was a warning just before.
    quiet: float = 5.0
    # "Just before" means in this time.
    warnings: float = 60.0
    # After this many refusals in a row there is another way: polls instead of a stream, or no
    # search.
    refusals: int = 5

    # Runs that a read replica may not have yet

    # A 404 may come from such a replica for this long after the create.
    young: float = 2.0
    # The run is read again after this pause.
    young_pause: float = 0.1

    # The pace of a batch at a server that limits requests

    # The first 429 or 503 puts the first of these times between two requests. Each further one
    # doubles it, up to the second.
    pace: tuple[float, float] = (0.05, 0.5)
    # Each response multiplies that time by this factor.
    recovery: float = 0.97

    # Long polls

    # The server is asked to hold a poll for this long.
    window: int = 30
    # `stop` is checked after each such time during a request.
    tick: float = 0.5
    # The timeout of a poll is at least this much longer than its window, if there is time.
    round_trip: float = 0.1
    # These pauses follow polls that ended before their windows.
    early: tuple[float, float] = (0.2, 2.0)
    # A window grows again after 4 ** n full windows, if n polls were cut.
    full_windows: int = 4

    # The search for the run of a lost create

    # The search takes at most this long.
    search: float = 10.0
    # These pauses follow searches that find nothing.
    search_backoff: tuple[float, float] = (0.1, 1.0)

    # Answers

    # An answer without a response did not arrive if the run has not changed for this long.
    unchanged: float = 5.0
    # A run that is about to change is read again after this pause.
    probe: float = 0.25
    # A question whose time has no fraction of a second is answered once it is this old.
    whole_second: float = 1.0
    # A run whose question somebody else answers is read again after this pause.
    human: float = 1.0

    # Streams

    # The run is checked after this long without an event.
    silence: float = 15.0
    # If the caller took longer than that between two events, this much silence comes first.
    least_silence: float = 0.5
    # A silent stream stays open for this much longer than the wait for an event.
    beyond: float = 0.2
    # These pauses follow streams that bring nothing new.
    empty: tuple[float, float] = (0.1, 4.0)

    # Agents

    # The description of an agent is kept for this long.
    kept: float = 300.0

    # Batches

    # A long poll has this window while other runs wait for their turn.
    short_window: int = 2
    # The pause between two searches is at least the first and at most the second.
    searches: tuple[float, float] = (0.2, 10.0)
    # A search that was wrong about a run is not believed about this run for this long.
    doubt: float = 2.0

    # The end of a batch or a call

    # Deleting one run takes at most this long.
    cancel: float = 10.0
    # Cancelling the run of a call that an exception ends takes at most this long.
    exit: float = 5.0
    # Requests under way, creates above all, get this time.
    grace: float = 1.5
    # Threads that do not end are left behind after this time.
    threads: float = 2.5
    # This is the pause between two checks of these threads.
    step: float = 0.05

    # Clocks: the first measures durations, the second is the same in all processes.

    now: Callable[[], float] = time.monotonic
    calendar: Callable[[], float] = time.time
    sleep: Callable[[float, threading.Event | None], bool] = _sleep


_in_use = Timing()


def timing() -> Timing:
    """Return the value in use."""
    return _in_use
