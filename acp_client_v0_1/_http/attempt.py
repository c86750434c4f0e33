"""One attempt of a call: what bounds its waits, and which thread makes it.

Strategy: urllib3's pool lends a connection inside one call of ``urlopen``, in one thread. So the
connection learns from that thread which attempt it serves (`attempting`, `current_attempt`), and
the answer keeps it.

Invariant: a socket never gets a timeout of 0, which would mean "do not wait": where nothing
remains, that is a `TimeoutError`.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from typing import Any

from acp_client_v0_1._deadline import Deadline, Timeout

__all__ = ["Attempt", "attempting", "current_attempt", "set_limit"]


class Attempt:
    """One attempt of a call: what bounds its waits, and how far it came.

    Attributes:
        deadline: The call's.
        timeout: The call's limits for single waits.
        fresh: It must not use a connection that has been idle for long.
        connected: A new connection was made for it.
        sent: Some of the request may have reached the server.
        wanted: The queue that it is about to take a place from.
        places: The queue that it has taken a place in a pool from, None while it has none.
        connection: The connection that it was lent.
        credential: What the connection adds to the query, unseen by the logs of urllib3.
    """

    __slots__ = (
        "connected",
        "connection",
        "credential",
        "deadline",
        "fresh",
        "places",
        "sent",
        "timeout",
        "wanted",
    )

    def __init__(
        self, deadline: Deadline, timeout: Timeout, fresh: bool = False, credential: str = ""
    ) -> None:
        self.deadline = deadline
        self.timeout = timeout
        self.fresh = fresh
        self.credential = credential
        self.sent = False
        self.connected = False
        self.wanted: queue.Queue[Any] | None = None
        self.places: queue.Queue[Any] | None = None
        self.connection: Any = None

    def limit(self, sock: socket.socket) -> None:
        """Set how long the next wait for a socket may take.

        Raises:
            TimeoutError: Nothing remains.
        """
        set_limit(sock, self.deadline.bound(self.timeout.read))


def set_limit(sock: socket.socket, seconds: float | None) -> None:
    """Set a socket's timeout, in seconds; None for no limit.

    Raises:
        TimeoutError: Nothing remains.
    """
    if seconds is not None and seconds <= 0:
        raise TimeoutError("the deadline has passed")
    if seconds != sock.gettimeout():  # setting it is a system call
        sock.settimeout(seconds)


class _Thread(threading.local):
    attempt = Attempt(Deadline(None), Timeout())


_thread = _Thread()


class attempting:
    """Lets the connections that this thread uses obey the limits of an attempt, in a ``with``.

    An exception, of whatever kind and wherever it struck, gives the place in the pool back.
    """

    __slots__ = ("_attempt", "_before")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __enter__(self) -> None:
        self._before, _thread.attempt = _thread.attempt, self._attempt

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _thread.attempt = self._before
        attempt = self._attempt
        connection, attempt.connection = attempt.connection, None
        if kind is not None and attempt.places is not None:
            if connection is not None:
                connection.close()
            with contextlib.suppress(queue.Full):
                attempt.places.put(None, block=False)
        attempt.places = None


def current_attempt() -> Attempt:
    """Give the attempt that this thread is making."""
    return _thread.attempt
