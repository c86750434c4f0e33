"""Real threads in virtual time: they take turns, and the clock jumps when all of them wait.

Strategy: one thread runs at a time, until it waits. A wait has a moment at which it ends, and may
have a condition that ends it sooner. The next thread is drawn from those whose wait is over. If
there is none, the clock jumps to the first moment at which a wait ends. So a seed always gives the
same order, and no wait takes real time.

`taking_turns` replaces four things for the thread that enters it and for the threads that come of
it: `Inbox.get` of the package, and `threading.Thread.start`, `threading.Thread.join` and
`queue.SimpleQueue` of the standard library. All of them must wait by these or by
`VirtualThreads.wait` alone, and hold no lock meanwhile.
"""

from __future__ import annotations

import math
import queue
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.parts import Inbox

GET, QUEUE = Inbox.get, queue.SimpleQueue
START, JOIN = threading.Thread.start, threading.Thread.join


def never() -> bool:
    return False


class Turn:
    """The wait of one thread."""

    __slots__ = ("go", "ready", "until")

    def __init__(self, until: float, ready: Callable[[], bool] = never) -> None:
        self.until, self.ready = until, ready
        self.go = threading.Lock()  # released when the thread may go on
        self.go.acquire()


class VirtualThreads:
    """The threads of one simulation, and their clock."""

    def __init__(self, rng: random.Random, now: float = 1000.0) -> None:
        self.now = now
        self.interrupt_at = math.inf  # by Ctrl-C, of the thread that has entered `taking_turns`
        self._rng = rng
        self._waiting: list[Turn] = []
        self._here: set[threading.Thread] = set()  # that have not ended
        self._main = threading.main_thread()
        self._main_turn: Turn | None = None
        self._ended: list[threading.Thread] = []  # their last lines may still run
        self._stuck = False

    def wait(self, until: float, ready: Callable[[], bool] = never) -> bool:
        """Let the others run until a moment or a condition. Return whether the condition holds."""
        main = threading.current_thread() is self._main
        mine = Turn(min(until, self.interrupt_at) if main else until, ready)
        self._waiting.append(mine)
        self._main_turn = mine if main else self._main_turn
        drawn = self._draw()
        if drawn is not mine:
            drawn.go.release()
            mine.go.acquire()
            while self._ended:
                JOIN(self._ended.pop())
        if main and self._stuck:
            raise AssertionError("all threads wait for ever")
        if main and self.now >= self.interrupt_at:
            self.interrupt_at = math.inf
            raise KeyboardInterrupt
        return ready()

    def _draw(self) -> Turn:
        """Take a turn that is due out of those that wait."""
        waiting = self._waiting
        while not (due := [one for one in waiting if one.until <= self.now or one.ready()]):
            first = min(one.until for one in waiting)
            if first == math.inf:
                self._stuck = True  # the main thread is told
                due = [one for one in waiting if one is self._main_turn]
                break
            self.now = first
        drawn = due[0] if len(due) == 1 else self._rng.choice(due)
        waiting.remove(drawn)
        return drawn

    def rest(self) -> None:
        """Let the other threads run until they have ended."""
        self.wait(math.inf, lambda: len(self._here) == 1)

    # What is replaced

    def _start(self, thread: threading.Thread) -> None:
        turn, run = Turn(self.now), thread.run

        def run_in_turn() -> None:
            turn.go.acquire()
            try:
                run()
            finally:
                self._here.discard(thread)
                self._ended.append(thread)
                self._draw().go.release()

        thread.run = run_in_turn  # type: ignore[method-assign]
        self._here.add(thread)
        self._waiting.append(turn)
        START(thread)

    def _join(self, thread: threading.Thread, timeout: float | None) -> None:
        until = math.inf if timeout is None else self.now + timeout
        if self.wait(until, lambda: thread not in self._here):
            JOIN(thread)

    def _get(self, inbox: Inbox[Any], seconds: float | None) -> Any:
        found: list[Any] = []

        def ready() -> bool:
            if not found and (item := GET(inbox, 0)) is not None:
                found.append(item)
            return bool(found)

        until = math.inf if seconds is None else self.now + seconds
        return found[0] if ready() or self.wait(until, ready) else None

    @contextmanager
    def taking_turns(self) -> Iterator[None]:
        self._main = threading.current_thread()
        self._here = {self._main}

        def start(thread: threading.Thread) -> None:
            virtual = threading.current_thread() in self._here
            return self._start(thread) if virtual else START(thread)

        def join(thread: threading.Thread, timeout: float | None = None) -> None:
            virtual = threading.current_thread() in self._here
            return self._join(thread, timeout) if virtual else JOIN(thread, timeout)

        def get(inbox: Inbox[Any], seconds: float | None = None) -> Any:
            virtual = threading.current_thread() in self._here
            return self._get(inbox, seconds) if virtual else GET(inbox, seconds)

        def make_queue() -> Any:
            virtual = threading.current_thread() in self._here
            return VirtualQueue(self) if virtual else QUEUE()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Inbox, "get", get)
            patch.setattr(threading.Thread, "start", start)
            patch.setattr(threading.Thread, "join", join)
            patch.setattr(queue, "SimpleQueue", make_queue)
            yield


class VirtualQueue:
    """A `queue.SimpleQueue` whose `get` waits in virtual time."""

    def __init__(self, threads: VirtualThreads) -> None:
        self._threads, self._items = threads, deque[Any]()

    def put(self, item: Any) -> None:
        self._items.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if block and not self._items:
            until = math.inf if timeout is None else self._threads.now + timeout
            self._threads.wait(until, lambda: bool(self._items))
        if not self._items:
            raise queue.Empty
        return self._items.popleft()

    def get_nowait(self) -> Any:
        return self.get(block=False)

    def empty(self) -> bool:
        return not self._items
