"""A pool of urllib3 that may be closed while calls are under way.

Strategy: urllib3's own ``close`` takes the queue of places away, and whoever waits for a place
there waits for ever. This one keeps the queue, and has each place empty from then on.

Invariants: a pool that blocks has as many places as when it was made, whatever happens to the
calls, even an interrupt between any two of their steps; a forked process never waits for a lock
of its parent's pool, which a thread may hold that only the parent has.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import weakref
from typing import Any

from urllib3 import HTTPConnectionPool

from acp_client_v0_1._http.attempt import current_attempt

__all__ = ["RetiringPool"]


_all_places: weakref.WeakSet[_Places] = weakref.WeakSet()


def _renew_locks() -> None:
    for places in list(_all_places):
        places.renew_locks()


if hasattr(os, "register_at_fork"):
    # A child uses no pool of its parent, but urllib3 empties all of them when the child ends.
    os.register_at_fork(after_in_child=_renew_locks)


class _Places(queue.LifoQueue[Any]):
    """The places of a pool; the attempt that takes one knows of it from that moment."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        _all_places.add(self)

    def renew_locks(self) -> None:
        """Forget who holds the lock; in a forked process, that may be a thread of the parent."""
        self.mutex = threading.Lock()
        self.not_empty = threading.Condition(self.mutex)
        self.not_full = threading.Condition(self.mutex)
        self.all_tasks_done = threading.Condition(self.mutex)

    def _get(self) -> Any:
        attempt = current_attempt()  # before, so that an interrupt finds no step in between
        place = super()._get()
        # Any line may have the garbage collected, and urllib3 then empties a pool that is garbage.
        if attempt.wanted is self:
            attempt.places = self
        return place

    def _put(self, item: Any) -> None:
        attempt = current_attempt()
        super()._put(item)
        if attempt.places is self:
            attempt.places = None


class RetiringPool(HTTPConnectionPool):
    """A pool that outlives its end, for the calls that still use it."""

    QueueCls = _Places
    retired = False

    def close(self) -> None:
        """Close the connections that no call uses, and each of the others when it comes back."""
        self.retired = True
        self._close_idle()

    def _get_conn(self, timeout: float | None = None) -> Any:
        attempt = current_attempt()
        attempt.wanted = self.pool
        try:
            attempt.connection = super()._get_conn(timeout)
        finally:
            attempt.wanted = None
        return attempt.connection

    def _put_conn(self, conn: Any) -> None:
        if conn is None and current_attempt().places is None:
            return  # urllib3 gives back what it never got: its wait for a place was interrupted
        if self.block or self.pool is None or not self.pool.full():
            super()._put_conn(conn)
        elif conn is not None:
            conn.close()  # more streams were open than there are places; that is no mistake
        if self.retired:
            self._close_idle()

    def _close_idle(self) -> None:
        places = self.pool
        taken: list[Any] = []
        if places is None:
            return
        while len(taken) < places.maxsize:
            try:
                taken.append(places.get(block=False))
            except queue.Empty:
                break
        for connection in taken:
            if connection is not None:
                connection.close()
            with contextlib.suppress(queue.Full):
                places.put(None, block=False)
