"""A limit for what runs at the same time: threads that connect, quick calls to an origin.

Strategy: each slot joins a queue, and may be used once fewer than ``most`` are ahead. The queue
holds weak references only: a `Slot` is in use while its one owner references it. If an interrupt
orphans a slot, at any step, the slot is free once its owner is gone, without being given back.
`Slots.leave` only frees it sooner. An interrupt is an exception that a signal handler raises, such
as KeyboardInterrupt.

When a slot leaves, the one that is now at ``most - 1`` becomes usable, and `leave` wakes its owner.
An interrupt may prevent that, and an orphaned slot never calls `leave`. So waiting threads also
sweep: one of them in each interval looks through the first ``most`` slots. No sweep looks further,
so what a thread costs does not grow with the queue.

Invariants: there is no lock that an interrupt could leave held: each step is one call into C, which
other threads see done or not done. First come, first served. A slot that may be used stays usable:
those ahead of it only become fewer.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import weakref
from typing import TypeVar

from acp_client_v0_1._deadline import Deadline

_POLL_INTERVAL = 0.2  # seconds

T = TypeVar("T")


def got(source: queue.SimpleQueue[T], seconds: float | None) -> T:
    """Return the next item of a queue, or raise `queue.Empty` after some seconds."""
    # On CPython 3.10 a wait of less than a millisecond may have no end.
    return source.get(timeout=None if seconds is None else max(0.001, seconds))


class Slot:
    """A permit, taken while its owner references it."""

    __slots__ = ("__weakref__", "wake")

    def __init__(self) -> None:
        # The owner waits for this until it may go on. It is there before others see the slot, so
        # that none misses it.
        self.wake: queue.SimpleQueue[None] | None = queue.SimpleQueue()


class Slots:
    """At most ``most`` slots in use at once."""

    def __init__(self, most: int) -> None:
        self.most: int = most
        self._line: list[weakref.ref[Slot]] = []
        # Until this time of the monotonic clock, no further thread sweeps.
        self._next_sweep = 0.0

    def enter(self, slot: Slot) -> bool:
        """Queue a new slot, which only the caller references. Return False if it has to `wait`."""
        self._line.append(weakref.ref(slot))
        if len(self._line) > self.most:
            return False
        slot.wake = None
        return True

    def wait(self, slot: Slot, deadline: Deadline) -> bool:
        """Wait until a queued slot may be used. Return False if the deadline passed."""
        wake = slot.wake
        while wake is not None and (waiting := len(self._line) - self.most) > 0:
            if waiting == 1 or time.monotonic() >= self._next_sweep:
                self._sweep()
            remaining = deadline.remaining()
            if not remaining:
                return False
            with contextlib.suppress(queue.Empty):
                got(wake, min(remaining, _POLL_INTERVAL))
                break
        slot.wake = None
        return True

    def leave(self, ref: weakref.ref[Slot]) -> None:
        """Free a slot, if it is queued, and wake the next ones.

        It takes a weak reference: if an interrupt strikes here, a traceback may keep this frame,
        and with it a slot.
        """
        try:  # noqa: SIM105 - `suppress` takes three calls, at each call of the client
            self._line.remove(ref)
        except ValueError:
            pass
        if len(self._line) >= self.most:
            # If others left at the same moment, more than the last of these slots has become
            # usable.
            for ref in reversed(self._line[: self.most]):
                if not _woken(ref):
                    break

    def _sweep(self) -> None:
        """Drop orphaned slots that count as used, and wake all that may go on."""
        self._next_sweep = time.monotonic() + _POLL_INTERVAL
        while orphaned := [ref for ref in self._line[: self.most] if ref() is None]:
            for ref in orphaned:
                self.leave(ref)
        for ref in self._line[: self.most]:
            _woken(ref)


def _woken(ref: weakref.ref[Slot]) -> bool:
    """Wake a slot's owner, if it waits."""
    slot = ref()
    wake = None if slot is None else slot.wake
    if wake is not None:
        wake.put(None)
    return wake is not None


class Flag(threading.Event):
    """An event without a lock, set once and never cleared.

    An interrupt can leave the lock of a `threading.Event` held. Then the next ``set`` hangs, for
    example in the ``close`` that follows the interrupt.
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
                    got(wake, timeout)
        finally:
            self._waiting.remove(wake)
        return self._is_set
