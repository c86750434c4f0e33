"""One attempt of a call: what bounds its waits, and what it holds meanwhile.

Invariants: a socket never gets a timeout of 0, which would mean "do not wait": where nothing
remains, that is a `TimeoutError`. Whatever ends the attempt, its slot is free afterwards; an error
closes its connection as well.
"""

from __future__ import annotations

import socket
import threading
import weakref
from typing import TYPE_CHECKING

from acp_client_v0_1._deadline import Deadline, Timeout
from acp_client_v0_1._http.slots import Slot, Slots

if TYPE_CHECKING:
    from types import TracebackType

    from acp_client_v0_1._http.connection import Connection
    from acp_client_v0_1._http.interrupt import Interruptible

__all__ = ["Attempt", "set_limit", "watching"]


class _Watching(threading.local):
    calls: Interruptible | None = None


watching = _Watching()
"""Who wants to know of the attempts that a thread makes."""


class Attempt:
    """One attempt of a call, in a ``with``: its limits, and how far it came.

    Args:
        deadline: The call's.
        timeout: The call's limits for single waits.
        fresh: It must not use a connection that has been idle for long.

    Attributes:
        connected: A new connection was made for it.
        sent: Some of the request may have reached the server.
        patience: Seconds that the reader of the response waits for now, None for no limit.
        connection: The connection that it uses, None while it has none.
        slot: What makes it count among the quick calls, None if it does not.
        slots: Where its slot is from.
    """

    __slots__ = (
        "connected",
        "connection",
        "deadline",
        "fresh",
        "patience",
        "sent",
        "slot",
        "slots",
        "timeout",
    )

    def __init__(self, deadline: Deadline, timeout: Timeout, fresh: bool = False) -> None:
        self.deadline = deadline
        self.timeout = timeout
        self.fresh = fresh
        self.connected = False
        self.sent = False
        self.patience: float | None = None
        self.connection: Connection | None = None
        self.slot: Slot | None = None
        self.slots: Slots | None = None

    def limit(self, sock: socket.socket) -> None:
        """Set how long the next wait for a socket may take.

        Raises:
            TimeoutError: Nothing remains.
        """
        seconds = self.deadline.bound(self.timeout.read)
        if self.patience is not None and (seconds is None or seconds > self.patience):
            seconds = self.patience
        set_limit(sock, seconds)

    def __enter__(self) -> Attempt:
        if watching.calls is not None:
            watching.calls.attempt = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The frames of a traceback may keep this object, but shall not keep what it holds.
        try:
            if kind is not None and self.connection is not None:
                self.connection.close()
        finally:
            self.connection = None
            if self.slot is not None and self.slots is not None:
                place = weakref.ref(self.slot)
                self.slot = None
                self.slots.leave(place)


def set_limit(sock: socket.socket, seconds: float | None) -> None:
    """Set a socket's timeout, in seconds; None for no limit.

    Raises:
        TimeoutError: Nothing remains.
    """
    if seconds is not None and seconds <= 0:
        raise TimeoutError("the deadline has passed")
    if seconds != sock.gettimeout():  # setting it is a system call
        sock.settimeout(seconds)
