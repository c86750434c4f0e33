"""Every pause, window and bound of agents, runs and batches, in one value, and the clock.

`timing` gives the value in use. A test replaces it by one whose times are short, and a simulation
by one with a clock of its own. No other module of these rooms has a number of seconds.
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

    # One request
    # A request may take so long if the server has nothing to wait for.
    quick: float = 10.0
    # A resume or a DELETE may take so long.
    change: float = 60.0
    # No request is begun with less time left, or with less than a quarter of the timeout.
    last: float = 1.0
    # Reading the run beside an open stream may take so long.
    answered_probe: float = 5.0

    # Failures
    outage: float = LONGEST_OUTAGE
    backoff: tuple[float, float] = (0.25, 4.0)
    # A pause at a rate limit is logged as a warning only if it is longer, and so is an outage that
    # soon follows another.
    quiet: float = 5.0
    # Another short outage is logged only after so long.
    warnings: float = 60.0
    # After so many refusals in a row, polls replace a stream, and a search is taken as not
    # supported.
    refusals: int = 5

    # A run that a read replica may not know yet
    # For so long after its create, a 404 may come from a replica.
    young: float = 2.0
    young_pause: float = 0.1

    # The pace of a batch at a server that limits requests: the seconds between two of them
    # The first 429 or 503 sets the shortest time, and each further one doubles it.
    pace: tuple[float, float] = (0.05, 0.5)
    # Each response multiplies the time by this factor.
    recovery: float = 0.97

    # Long polls
    window: int = 30
    # During a request, `stop` is checked so often.
    tick: float = 0.5
    # A poll takes at least so long beyond its window.
    round_trip: float = 0.1
    # The pauses after polls that ended before their windows.
    early: tuple[float, float] = (0.2, 2.0)
    # After n cuts, a window grows again after this number to the power of n full windows.
    full_windows: int = 4

    # The search for the run of a lost create
    search: float = 10.0
    search_backoff: tuple[float, float] = (0.1, 1.0)

    # Answers
    # If the run has not changed for so long, an answer without a response did not arrive.
    unchanged: float = 5.0
    # The pause between two readings of a run that is about to change.
    probe: float = 0.25
    # A question whose time has no fraction is answered only when it is this old.
    whole_second: float = 1.0
    # The pause between two checks whether somebody has answered an interrupt.
    human: float = 1.0

    # Streams
    # After so long without an event, the run is checked.
    silence: float = 15.0
    # The least silence before that, for a caller that has taken longer between two events.
    least_silence: float = 0.5
    # A silent stream stays open for so much longer than the wait for an event.
    beyond: float = 0.2
    # The pauses between streams that bring nothing new.
    empty: tuple[float, float] = (0.1, 4.0)

    # The description of an agent is kept for so long.
    kept: float = 300.0

    # Batches
    # A server whose runs take less time needs few threads.
    instant: float = 0.004
    # How often to check whether tasks wait because workers hold requests.
    busy: float = 0.005
    # The same, if no task waited at the last check.
    idle: float = 0.02
    # The window of a long poll while other runs wait for their turn.
    short_window: int = 2
    # The shortest and the longest pause between two searches.
    searches: tuple[float, float] = (0.2, 10.0)
    # After a search was wrong about a run, its results about this run are ignored for so long.
    doubt: float = 2.0
    # At the end, deleting one run may take so long.
    cancel: float = 10.0
    # If an exception ends a call, cancelling its run may take so long.
    exit: float = 5.0
    # At the end, requests under way, creates above all, may take so long.
    grace: float = 1.5
    # At the end, threads that do not end are left behind after so long.
    threads: float = 2.5
    # The pause between two checks of these threads.
    step: float = 0.05

    # The clocks: one for durations, one that other processes have, too, and the pauses.
    now: Callable[[], float] = time.monotonic
    calendar: Callable[[], float] = time.time
    sleep: Callable[[float, threading.Event | None], bool] = _sleep


_in_use = Timing()


def timing() -> Timing:
    """Return the value in use."""
    return _in_use
