"""A pool of urllib3 that may be closed while calls are under way.

Strategy: urllib3's own ``close`` takes the queue of places away, and whoever waits for a place
there waits for ever. This one keeps the queue, and has each place empty from then on.

Invariants: a pool that blocks has as many places as when it was made, whatever happens to the
calls, even an interrupt between any two of their steps.
"""

from __future__ import annotations

import contextlib
import queue
from typing import Any

from urllib3 import HTTPConnectionPool

from acp_client_v0_1._http.attempt import current_attempt

__all__ = ["RetiringPool"]


class _Places(queue.LifoQueue[Any]):
    """The places of a pool; the attempt that takes one knows of it from that moment."""

    def _get(self) -> Any:
        attempt = current_attempt()  # before, so that an interrupt finds no step in between
        place = super()._get()
        attempt.places = self
        return place

    def _put(self, item: Any) -> None:
        attempt = current_attempt()
        super()._put(item)
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
        connection = super()._get_conn(timeout)
        current_attempt().connection = connection
        return connection

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
