"""A bound on what runs at once: threads that connect, quick calls to an origin.

Strategy: each slot joins a line, and may be used once fewer than ``most`` are ahead. The line holds
weak references only: a `Slot` is in use for as long as its one owner keeps it. So a slot that an
interrupt orphaned, at any step, is free as soon as its owner is gone; nothing has to be given back
for the count to be right. `Slots.leave` only frees it sooner.

Invariants: there is no lock that an interrupt could leave held: each step is one call into C that
other threads see done or not done. First come, first served. A wait polls as well, so that a
wake-up which an interrupt swallowed costs a moment and not the whole wait.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref

from acp_client_v0_1._deadline import Deadline

__all__ = ["Flag", "Slot", "Slots"]

_LOOK_AGAIN = 0.2  # seconds


class Slot:
    """The right to do something, in use while its owner holds it."""

    __slots__ = ("__weakref__", "wake")

    def __init__(self) -> None:
        self.wake: queue.SimpleQueue[None] | None = None  # while its owner waits


class Slots:
    """At most ``most`` slots in use at once."""

    __slots__ = ("_line", "most")

    def __init__(self, most: int) -> None:
        self.most: int = most
        self._line: list[weakref.ref[Slot]] = []

    def join(self, slot: Slot) -> bool:
        """Get in line with a new slot, which the caller alone keeps; False if it has to `wait`."""
        self._line.append(weakref.ref(slot))
        return len(self._line) <= self.most

    def wait(self, slot: Slot, deadline: Deadline) -> bool:
        """Wait until a slot that has joined may be used; False if the deadline passed."""
        ref = weakref.ref(slot)
        slot.wake = queue.SimpleQueue()
        while not self._is_due(ref):
            remaining = deadline.remaining()
            if not remaining:
                return False
            with contextlib.suppress(queue.Empty):
                slot.wake.get(timeout=max(0.001, min(remaining, _LOOK_AGAIN)))
        slot.wake = None
        return True

    def leave(self, ref: weakref.ref[Slot]) -> None:
        """Free a slot, if it has joined, and wake the next ones.

        The owner no longer holds it: so it is free even if an interrupt strikes here and a
        traceback keeps this frame.
        """
        with contextlib.suppress(ValueError):
            self._line.remove(ref)
        if len(self._line) >= self.most:
            for ref in self._line[: self.most]:
                waiting = ref()
                wake = None if waiting is None else waiting.wake
                if wake is not None:
                    wake.put(None)

    def _is_due(self, ref: weakref.ref[Slot]) -> bool:
        ahead = 0
        for other in list(self._line):
            if other is ref:
                break
            if other() is not None:
                ahead += 1
            else:  # orphaned
                with contextlib.suppress(ValueError):
                    self._line.remove(other)
        return ahead < self.most


class Flag(threading.Event):
    """An event without a lock, set once and never cleared.

    An interrupt can leave the lock of a `threading.Event` held, and then the next to set it hangs,
    such as the ``close`` of what was interrupted.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[queue.SimpleQueue[None]] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        for wake in list(self._waiting):
            wake.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waiting.append(wake)
        try:
            if not self._is_set:
                with contextlib.suppress(queue.Empty):
                    # At least a millisecond: on CPython 3.10 a shorter wait may have no end.
                    wake.get(timeout=None if timeout is None else max(0.001, timeout))
        finally:
            self._waiting.remove(wake)
        return self._is_set
