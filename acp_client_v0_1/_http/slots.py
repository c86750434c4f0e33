"""A limit on what runs at the same time: threads that connect, or the quick calls of a pool.

Strategy: a thread makes a `Slot` and puts it at the end of a line (`Slots.enter`). The slot is

* usable if fewer than ``most`` slots are ahead of it in the line,
* waiting if ``most`` or more slots are ahead of it,
* orphaned if the last reference to it is gone, but the line still has its weak reference.

The line is a list of weak references. Usually the owner removes its slot from the line
(`Slots.leave`). Then the next slot moves to index ``most - 1`` and becomes usable, and `leave`
wakes its owner.

An interrupt is an exception that a signal handler raises, such as KeyboardInterrupt. It may strike
at any step, and has one of two effects:

* Before `leave`: the slot stays in the line, and is orphaned as soon as no traceback refers to it.
* In `leave`: nobody wakes the next owner.

So a waiting thread looks again at intervals: it removes the orphaned slots among the first ``most``
slots, and finds out whether its own slot is usable. It reads only the first ``most`` slots, so the
cost does not grow with the line.

Invariants: there is no lock that an interrupt could leave held. Each step is one call into C, so
other threads see the state before the step or after it. Slots become usable in the order of the
line. A usable slot stays usable, because the slots ahead of it only become fewer.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from typing import Generic, TypeVar

from acp_client_v0_1._deadline import Deadline

# A thread that waits for another one looks again after this many seconds.
_POLL_INTERVAL = 0.2

T = TypeVar("T")


class Inbox(Generic[T]):
    """A queue of which one thread takes the items. Every timed wait for another thread is `get`.

    This is not a `queue.SimpleQueue`. On CPython 3.10 to 3.12, a timed ``get`` of that queue waits
    for ever if a signal arrives at the moment at which its time runs out. ``acquire`` of a lock has
    no such fault. The lock is a signal here, and guards nothing: if it is released, an item may
    have arrived. If an interrupt ends `put` before the signal, `get` finds the item at its next
    look. So an interrupt may leave the lock in any state.
    """

    __slots__ = ("_arrived", "_items")

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._arrived = threading.Lock()
        self._arrived.acquire()

    def put(self, item: T) -> None:
        self._items.append(item)
        # The RuntimeError of a lock that is released already: an item before this one released it.
        with contextlib.suppress(RuntimeError):
            self._arrived.release()

    def get(self, seconds: float | None = None) -> T | None:
        """Return the next item. Return None if none comes within ``seconds``."""
        deadline = Deadline.after(seconds)
        while not self._items:
            limit = min(deadline.remaining(), _POLL_INTERVAL)
            if not self._arrived.acquire(timeout=limit) and deadline.expired:
                return None
        return self._items.popleft()


class Slot:
    """A place in the line.

    The owner keeps the place until `Slots.leave`, or until the last reference to this object is
    gone.
    """

    __slots__ = ("__weakref__", "thread", "wake")

    def __init__(self) -> None:
        # The thread that entered the line with this slot.
        self.thread: int = threading.get_ident()
        # An item in this queue wakes the owner. None means that the owner does not wait.
        self.wake: Inbox[bool] | None = None


class Slots:
    """A line of slots, of which only the first ``most`` are usable."""

    def __init__(self, most: int) -> None:
        self.most: int = most
        self._line: list[weakref.ref[Slot]] = []

    def enter(self, slot: Slot) -> bool:
        """Put a new slot at the end of the line. The caller has the only reference to the slot.

        Return True if the slot is usable at once, and False if the caller has to `wait`.
        """
        self._line.append(weakref.ref(slot))
        return len(self._line) <= self.most

    def is_nested(self, slot: Slot) -> bool:
        """Return whether the thread of a slot has another slot in the line.

        A callback or a signal handler may make a call in the middle of a call of its thread. If the
        inner call waited for a slot, it might wait for the outer call, which waits for it.
        """
        others = [ref() for ref in list(self._line)]
        return any(it is not None and it is not slot and it.thread == slot.thread for it in others)

    def wait(self, slot: Slot, deadline: Deadline) -> bool:
        """Wait until a slot of the line is usable. Return False if the deadline passes before."""
        # The queue exists before the place is read. So a thread that makes the slot usable later
        # finds the queue.
        wake = slot.wake = Inbox()
        ref = weakref.ref(slot)
        while len(self._line) > self.most and ref not in self._line[: self.most]:
            for orphaned in [each for each in self._line[: self.most] if each() is None]:
                self.leave(orphaned)
            remaining = deadline.remaining()
            if not remaining:
                return False
            wake.get(min(remaining, _POLL_INTERVAL))
        slot.wake = None
        return True

    def leave(self, ref: weakref.ref[Slot]) -> None:
        """Remove a slot from the line, if it is there, and wake the owners of usable slots.

        The argument is a weak reference for the case that an interrupt strikes here. The traceback
        may then keep this frame alive, and a strong reference in the frame would keep the slot in
        the line.
        """
        try:  # noqa: SIM105 - `suppress` would add three calls to each call of the client
            self._line.remove(ref)
        except ValueError:
            pass
        if len(self._line) >= self.most:
            # Usually one slot has just become usable: the last of the usable ones. If several slots
            # leave at the same moment, more slots become usable, and their owners are woken, too.
            for ref in reversed(self._line[: self.most]):
                wake = getattr(ref(), "wake", None)
                if wake is None:
                    break
                wake.put(True)


class Flag(threading.Event):
    """An event without a lock. It is set once and never cleared.

    An interrupt can leave the lock of a `threading.Event` held. Then the next ``set`` hangs, for
    example in the ``close`` that follows the interrupt.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[Inbox[bool]] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        for wake in list(self._waiting):
            wake.put(True)

    def wait(self, timeout: float | None = None) -> bool:
        wake: Inbox[bool] = Inbox()
        self._waiting.append(wake)
        try:
            if not self._is_set:
                wake.get(timeout)
        finally:
            self._waiting.remove(wake)
        return self._is_set
