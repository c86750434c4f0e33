"""One attempt of a call: its time limits, its connection and its slot, and how to interrupt it.

To interrupt a call that waits for its response, another thread has to shut down the call's socket.
The other thread finds the socket through an `Interruptible`. The thread that makes the calls enters
the `Interruptible`, and each attempt of this thread registers there.

Invariants: a socket never gets a timeout of 0, which would mean "do not wait". Every attempt frees
its slot when it ends. If an error ends the attempt, its connection is closed.
"""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from typing_extensions import Self

from acp_client_v0_1._deadline import Deadline, Timeout
from acp_client_v0_1._http.slots import Slot, Slots
from acp_client_v0_1._http.tls import connection_broke, shut_down

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection

PIECE = 65_536  # the most bytes to send, receive or read at once
# Seconds for a response that has arrived while ``watch`` ran beyond the time limit.
_GRACE = 0.1


class _Thread(threading.local):
    calls: Interruptible | None = None


_this_thread = _Thread()


class Interruptible:
    """The calls that one thread begins inside the ``with`` block of this object.

    Other threads can interrupt these calls. While an attempt receives its response, or the response
    of a proxy to CONNECT, the thread itself runs ``watch`` again and again, whether bytes arrive or
    not. ``watch`` runs for the first time ``first`` seconds after an attempt has begun. It returns
    the seconds until it runs again. If another attempt begins first, the seconds count from the
    beginning of that attempt. An exception from ``watch`` ends the attempt. Reads of a streamed
    response after the ``with`` block do not run ``watch``.
    """

    def __init__(self, watch: Callable[[], float] | None = None, first: float = 0.0) -> None:
        # The latest attempt. An attempt stays here after its end. But it has no connection then, so
        # `interrupt` does nothing.
        self.attempt: Attempt | None = None
        self.watch = watch
        # What ``watch`` has returned last, or ``first`` before the first ``watch``. The next
        # ``watch`` is due this many seconds after the last one, or after the beginning of the
        # attempt, whichever is later.
        self.step = first
        # The time of the next ``watch``. Each attempt begins it anew, if there is a ``watch``.
        self.due: Deadline

    def interrupt(self) -> None:
        """Make the latest attempt fail, as if its server had closed the connection.

        This does nothing before the attempt has a TCP connection. So a thread that must be sure
        calls `interrupt` again and again until the attempt has ended.

        If the attempt ends at the same moment, its connection may already serve another call. Then
        the other call fails instead.
        """
        # The thread of the calls may set the attempt to None meanwhile, so it is read once.
        connection = getattr(self.attempt, "connection", None)
        if connection is not None and connection.sock is not None:
            shut_down(connection.sock)

    def __enter__(self) -> Self:
        self._outer = _this_thread.calls
        _this_thread.calls = self
        return self

    def __exit__(self, *exc_info: object) -> None:
        _this_thread.calls = self._outer
        # A stream that was opened in the block may be read after the block. Such a read must not
        # call ``watch``.
        self.watch = None


class Attempt:
    """One attempt of a call, in a ``with`` block: its time limits, and how far it has come."""

    def __init__(self, deadline: Deadline, timeout: Timeout, avoid_idle: bool) -> None:
        self.deadline = deadline
        self.timeout = timeout
        # The next wait for the socket ends at `until`, or after `silence` seconds without a byte,
        # whichever comes first.
        self.until: Deadline = deadline
        self.silence: float | None = timeout.read
        # A server may close an idle connection at the moment at which a request arrives. So a
        # request that is not safe to repeat uses no connection that was idle for long.
        self.avoid_idle = avoid_idle
        # True if this attempt made a new connection, and neither this connection nor an earlier
        # response of the pool has brought HTTP. Then a failure may mean that the address is wrong.
        self.newly_connected = False
        # True once a part of the request may have left. If no response arrives after that, nobody
        # knows whether the server carried out the request.
        self.sent = False
        self.connection: HTTPConnection | None = None
        # Streams and long polls take no slot.
        self.slot: Slot | None = None
        self.slots: Slots | None = None
        # The `Interruptible` in which this attempt has registered.
        self._calls: Interruptible | None = None

    def receive(self, sock: socket.socket) -> bytes:
        """Receive bytes within the limits, and call ``watch`` whenever it is due. b"" means EOF."""
        calls = self._calls
        if calls is None or calls.watch is None:
            self.limit(sock)
            return sock.recv(PIECE)
        until = self.until
        limit = until.earlier(self.silence)
        try:
            while True:
                if calls.due.expired:
                    # A call that ``watch`` makes does not run ``watch``. So a callback of the user
                    # is not called inside itself, and `attempt` stays this one.
                    with Interruptible():
                        calls.step = calls.watch()
                    calls.due = Deadline.after(calls.step)
                    if limit.expired:
                        # A callback of the user may take long. The response may be there by now.
                        limit = until = Deadline.after(_GRACE)
                # It is not enough to wait until the socket is readable. A part of a TLS record, or
                # a session ticket of TLS 1.3, makes the socket readable. But the ``recv`` has no
                # data to return then, and blocks until more bytes arrive. So the ``recv`` itself
                # ends when ``watch`` is due. TLS keeps the part of a record for the next ``recv``.
                # The limit is set in `until`, and not only on the socket, because with TLS in TLS
                # the outer connection takes its limit from there (`OuterSocket`).
                self.until = min(limit, calls.due, key=Deadline.remaining)
                try:
                    self.limit(sock)
                    return sock.recv(PIECE)
                except TimeoutError as error:
                    # The next ``recv`` on a broken connection would return b"", as for EOF.
                    if limit.expired or connection_broke(error):
                        raise
        finally:
            self.until = until

    def limit(self, sock: socket.socket) -> None:
        """Bound the next wait for a socket, or raise `TimeoutError` if no time remains."""
        set_limit(sock, self.until.bound(self.silence))

    def __enter__(self) -> Self:
        calls = self._calls = _this_thread.calls
        if calls is not None:
            calls.attempt = self
            if calls.watch is not None:
                calls.due = Deadline.after(calls.step)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A traceback may keep this attempt alive for long. It must not keep the slot alive, because
        # the slot would stay taken. So the attempt drops its reference to the slot.
        try:
            if kind is not None and self.connection is not None:
                self.connection.close()
        finally:
            self.connection = None
            if self.slot is not None and self.slots is not None:
                ref = weakref.ref(self.slot)
                self.slot = None
                self.slots.leave(ref)


def set_limit(sock: socket.socket, seconds: float | None) -> None:
    """Set a socket's timeout, or raise `TimeoutError` if no time remains."""
    if seconds is not None and seconds <= 0:
        raise TimeoutError("the deadline has passed")
    # Setting a timeout takes a system call. Reading it takes none.
    if seconds != sock.gettimeout():
        sock.settimeout(seconds)
