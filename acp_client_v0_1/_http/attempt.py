"""One attempt of a call: its time limits, its connection and its slot, and how to interrupt it.

A call that waits for its response can only be woken through its socket. So a thread that makes
calls which other threads may interrupt enters an `Interruptible`. Each attempt that the thread
begins registers there.

Invariants: a socket never gets a timeout of 0, which would mean "do not wait". However the attempt
ends, its slot is free afterwards. If an error ends the attempt, its connection is closed.
"""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Callable

from typing_extensions import Self
from urllib3.connection import HTTPConnection
from urllib3.util.wait import wait_for_read

from acp_client_v0_1._deadline import Deadline, Timeout
from acp_client_v0_1._http.slots import Slot, Slots
from acp_client_v0_1._http.tls import decrypted, shut_down

PIECE = 65_536  # bytes to send, receive and read at once


class _Thread(threading.local):
    calls: Interruptible | None = None


_this_thread = _Thread()


class Interruptible:
    """The calls that one thread begins inside its ``with`` block.

    While a call waits for bytes, the thread calls ``watch``, at first after ``first`` seconds.
    ``watch`` returns the seconds until it is called again. An exception from ``watch`` ends the
    waiting call. Reads of a streamed response after the ``with`` block do not call ``watch``.
    """

    def __init__(self, watch: Callable[[], float] | None = None, first: float = 0.0) -> None:
        # The latest attempt. It is not reset when it ends: an ended attempt has no connection, so
        # there is nothing to interrupt.
        self.attempt: Attempt | None = None
        self.watch = watch
        # The number of seconds until ``watch`` is called next.
        self.step = first

    def interrupt(self) -> None:
        """Make the current call fail, as if its server had closed the connection.

        Until TCP has connected, the call continues, for its connect timeout at most. At the very
        end of a call, its connection may be idle already, or serve another call. Then that other
        call fails instead.
        """
        connection = None if self.attempt is None else self.attempt.connection
        if connection is not None and connection.sock is not None:
            shut_down(connection.sock)

    def __enter__(self) -> Self:
        self._outer = _this_thread.calls
        _this_thread.calls = self
        return self

    def __exit__(self, *exc_info: object) -> None:
        _this_thread.calls = self._outer
        # A stream that was opened in the block may be read after it. These reads must not call
        # ``watch``.
        self.watch = None


class Attempt:
    """One attempt of a call, in a ``with`` block: its time limits, and how far it has come."""

    def __init__(self, deadline: Deadline, timeout: Timeout, avoid_idle: bool) -> None:
        self.deadline = deadline
        self.timeout = timeout
        # The next wait for the socket ends at `until`, or after `silence` seconds without a byte.
        self.until: Deadline = deadline
        self.silence: float | None = timeout.read
        # A server may close an idle connection at the moment at which a request arrives. So a
        # request that is not safe to repeat uses no connection that was idle for long.
        self.avoid_idle = avoid_idle
        # True if this attempt made a new connection. Then a failure may mean that the address is
        # wrong.
        self.newly_connected = False
        # True once a part of the request may have left. Then a failure without a response leaves
        # open whether the request was carried out.
        self.sent = False
        self.connection: HTTPConnection | None = None
        # Streams and long polls take no slot.
        self.slot: Slot | None = None
        self.slots: Slots | None = None
        # The `Interruptible` in which this attempt has registered.
        self._calls: Interruptible | None = None

    def receive(self, sock: socket.socket) -> bytes:
        """Receive bytes within the limits. b"" means EOF."""
        calls = self._calls
        if calls is not None and calls.watch is not None:
            set_limit(sock, self._watch(sock, calls, calls.watch))
        else:
            self.limit(sock)
        return sock.recv(PIECE)

    def _watch(
        self, sock: socket.socket, calls: Interruptible, watch: Callable[[], float]
    ) -> float | None:
        """Wait until bytes are there, and call ``watch`` whenever it is due.

        Return the seconds that are left to receive the bytes. If they are fewer than the seconds
        until ``watch`` is due, this returns at once, and the caller does the rest of the wait.
        """
        limit = self.until.earlier(self.silence)
        # Bytes that TLS, or TLS in TLS, has already decrypted do not make the socket readable.
        while limit.remaining() > calls.step and not decrypted(sock):
            if wait_for_read(sock, calls.step):
                break
            calls.step = watch()
        return limit.bound()

    def limit(self, sock: socket.socket) -> None:
        """Bound the next wait for a socket, or raise `TimeoutError` if no time remains."""
        set_limit(sock, self.until.bound(self.silence))

    def __enter__(self) -> Self:
        calls = self._calls = _this_thread.calls
        if calls is not None:
            calls.attempt = self
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # The frames of a traceback may keep this object alive. They must not keep its slot alive.
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
