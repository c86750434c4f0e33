"""One attempt of a call: its time limits, its connection and its slot, and how to interrupt it.

A call that waits for its response can only be woken through its socket. So a thread whose calls
others may interrupt enters an `Interruptible`, and each attempt of its calls registers there.

Invariants: a socket never gets a timeout of 0, which would mean "do not wait". However the attempt
ends, its slot is free afterwards; an error closes its connection as well.
"""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections.abc import Callable

from typing_extensions import Self
from urllib3.connection import HTTPConnection
from urllib3.util.wait import wait_for_read

from acp_client_v0_1._deadline import Deadline, Timeout
from acp_client_v0_1._http.slots import Slot, Slots
from acp_client_v0_1._http.tls import decrypted, shut_down


class _Thread(threading.local):
    calls: Interruptible | None = None


_this_thread = _Thread()


class Interruptible:
    """The calls of one thread, in a ``with`` of that thread.

    ``watch`` is called while a call waits for its response, first after ``first`` seconds. It
    returns the seconds until its next call. An exception from it ends the waiting call.
    """

    def __init__(self, watch: Callable[[], float] | None = None, first: float = 0.0) -> None:
        # An attempt that has ended has no connection, so it cannot be interrupted.
        self.attempt: Attempt | None = None
        self.watch = watch
        # The number of seconds until the next call of ``watch``.
        self.step = first

    def interrupt(self) -> None:
        """Make the current call fail, as if its server had closed the connection.

        A call that is still connecting continues, within its connect timeout. At the very end of a
        call, its connection may be idle already, or serve another call, which fails instead.
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
        # A stream that was opened here is read later, by calls that are none of these.
        self.watch = None


class Attempt:
    """One attempt of a call, in a ``with``: its limits, and how far it has come."""

    def __init__(self, deadline: Deadline, timeout: Timeout, avoid_idle: bool = False) -> None:
        self.deadline = deadline
        self.timeout = timeout
        # These two bound the next wait: a point in time, and the longest silence in seconds.
        self.until: Deadline = deadline
        self.silence: float | None = timeout.read
        # While a request is on its way, the server may close its connection, if that was idle for
        # long before. So a request that is not safe avoids such a connection.
        self.avoid_idle = avoid_idle
        # If a new connection was made, a failure may mean that the address is wrong.
        self.newly_connected = False
        # Once some of the request may have left, a failure without a response leaves open whether
        # it was carried out.
        self.sent = False
        self.connection: HTTPConnection | None = None
        # Streams and long polls take no slot.
        self.slot: Slot | None = None
        self.slots: Slots | None = None
        self._calls: Interruptible | None = None

    def receive(self, sock: socket.socket, size: int) -> bytes:
        """Receive bytes within the limits. b"" means EOF."""
        calls = self._calls
        if calls is not None and calls.watch is not None:
            set_limit(sock, self._watch(sock, calls, calls.watch))
        else:
            self.limit(sock)
        return sock.recv(size)

    def _watch(
        self, sock: socket.socket, calls: Interruptible, watch: Callable[[], float]
    ) -> float:
        """Wait for bytes, calling ``watch`` on time. Return the seconds left to receive them."""
        seconds = self.until.bound(self.silence)
        until = time.monotonic() + (1e6 if seconds is None else seconds)
        # Bytes that TLS, or TLS in TLS, has decrypted already do not show on the socket.
        while (left := until - time.monotonic()) > calls.step and not decrypted(sock):
            if wait_for_read(sock, calls.step):
                break
            calls.step = watch()
        return max(left, 0.001)

    def limit(self, sock: socket.socket) -> None:
        """Bound the next wait for a socket, or raise `TimeoutError` if no time remains."""
        set_limit(sock, self.until.bound(self.silence))

    def __enter__(self) -> Self:
        calls = self._calls = _this_thread.calls
        if calls is not None:
            calls.attempt = self
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # The frames of a traceback may keep this object alive, and must not keep its slot.
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
    # Setting a timeout takes a system call, and reading it does not.
    if seconds != sock.gettimeout():
        sock.settimeout(seconds)
