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
    quick: float = 10.0  # the longest, if its response needs no waiting for
    change: float = 60.0  # the longest RESUME or DELETE
    # No request is begun with less time left, or with less than a quarter of the timeout.
    last: float = 1.0
    answered_probe: float = 5.0  # to read the run beside an open stream

    # Failures
    outage: float = LONGEST_OUTAGE
    backoff: tuple[float, float] = (0.25, 4.0)
    quiet: float = 5.0  # a longer pause because of a rate limit is a warning, and a longer outage
    warnings: float = 60.0  # between two warnings that an outage begins
    refusals: int = 5  # of a stream or a search, in a row, until there is another way

    # A run that a read replica may not know yet
    young: float = 2.0  # after its create
    young_pause: float = 0.1

    # The pace of a batch at a server that limits requests: the seconds between two of them
    pace: tuple[float, float] = (0.05, 0.5)  # after the first 429 or 503, which double it
    recovery: float = 0.97  # by which each response shortens it

    # Long polls
    window: int = 30
    tick: float = 0.5  # between two checks of `stop`
    round_trip: float = 0.1  # what a poll takes beyond its window, at the least
    early: tuple[float, float] = (0.2, 2.0)  # after a poll that ended before its window
    full_windows: int = 4  # before a window grows again: 4 ** cuts

    # The search for the run of a lost create
    search: float = 10.0
    search_backoff: tuple[float, float] = (0.1, 1.0)

    # Answers
    unchanged: float = 5.0  # an answer without a response counts as lost, if the run stays as it is
    probe: float = 0.25  # between two readings of a run that is about to move on
    whole_second: float = 1.0  # the least age of a question whose time has no fraction
    human: float = 1.0  # between two checks whether an interrupt was answered

    # Streams
    silence: float = 15.0  # without an event, until the run is checked
    least_silence: float = 0.5  # before that, if the reader of the events took its time
    beyond: float = 0.2  # for which a silent stream outlives the wait for an event
    empty: tuple[float, float] = (0.1, 4.0)  # between streams that bring nothing new

    kept: float = 300.0  # what a server says of an agent

    # Batches
    instant: float = 0.004  # a server whose runs take less needs few threads
    busy: float = 0.005  # between two checks whether tasks wait because workers hold requests
    idle: float = 0.02  # the same if no task waited
    short_window: int = 2  # of a long poll while other runs wait for their turn
    searches: tuple[float, float] = (0.2, 10.0)  # the shortest and longest between two of them
    doubt: float = 2.0  # for which searches about a run are ignored, after one was wrong about it
    cancel: float = 10.0  # to delete one run, at the end
    exit: float = 5.0  # to cancel the run of a call that an exception ends
    grace: float = 1.5  # at the end, for requests that are under way, creates above all
    threads: float = 2.5  # at the end, until threads that do not end are left behind
    step: float = 0.05  # between two checks of these threads

    # The clock
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float, threading.Event | None], bool] = _sleep


_in_use = Timing()


def timing() -> Timing:
    """Return the value in use."""
    return _in_use
