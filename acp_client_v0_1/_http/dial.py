"""From a name and a port to a connected socket, in time.

Strategy: name resolution and all addresses share one deadline. In the standard library, name
resolution has no timeout, and each address has the whole timeout again.

Some work has no timeout that bounds the whole of it: name resolution has none, and the handshake
with a SOCKS proxy has one for each single wait. This work runs in a daemon thread, which is
abandoned at the deadline. There are at most 64 of these threads, abandoned ones included. Further
work waits until a thread ends. Without a deadline, the work runs in the caller's thread.

Invariants: no caller waits beyond the deadline. A socket that does not connect is closed.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import socket
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from acp_client_v0_1._deadline import Deadline
from acp_client_v0_1._http.attempt import set_limit
from acp_client_v0_1._http.slots import Inbox, Slot, Slots
from acp_client_v0_1._http.urls import address_of

T = TypeVar("T")
SocketOptions = Iterable[tuple[int, int, int | bytes]]
_Address = tuple[Any, ...]  # what socket.connect takes

# After 45 seconds of silence, TCP asks the peer whether it is still there, and again every 15
# seconds. If three such probes get no response, the connection is broken. A NAT or a firewall may
# forget a connection that is silent for some minutes, and then lets nothing through. The probes
# keep the connection in its memory, or else show that it is gone. macOS has another name for the
# first time.
_KEEPALIVE = {
    "SO_KEEPALIVE": 1,
    **dict.fromkeys(("TCP_KEEPIDLE", "TCP_KEEPALIVE"), 45),
    "TCP_KEEPINTVL": 15,
    "TCP_KEEPCNT": 3,
}
_MOST_THREADS = 64
_thread_slots = Slots(_MOST_THREADS)

if hasattr(os, "register_at_fork"):
    # A forked process has none of its parent's threads, so all of its slots are free.
    os.register_at_fork(after_in_child=lambda: _thread_slots.__init__(_MOST_THREADS))  # type: ignore[misc]


def keepalive() -> SocketOptions:
    """Return the options of a socket for TCP keepalive, as far as this platform has them."""
    levels = {"SO": socket.SOL_SOCKET, "TCP": socket.IPPROTO_TCP}
    return [
        (levels[name.partition("_")[0]], getattr(socket, name), value)
        for name, value in _KEEPALIVE.items()
        if hasattr(socket, name)
    ]


def dial(host: str, port: int, deadline: Deadline, options: SocketOptions) -> socket.socket:
    """Return a socket with these options, connected to the first address that accepts."""
    addresses = _look_up(host, port, deadline)
    failure: OSError | None = None
    for number, (family, address) in enumerate(addresses):
        # The remaining time is divided equally among the remaining addresses, because an address
        # that does not respond must leave time for the others.
        share = None if deadline.at is None else deadline.remaining() / (len(addresses) - number)
        try:
            return _connect(family, address, share, options)
        except OSError as error:
            failure = error
    raise failure or OSError(f"{host} has no address")


def in_time(work: Callable[[], T], deadline: Deadline, discard: Callable[[T], object]) -> T:
    """Run ``work``, which no timeout bounds as a whole, and return its result.

    Raise `TimeoutError` at the deadline.

    Without a deadline, the work runs in the calling thread. Otherwise the work runs in a new
    thread. The calling thread abandons the new thread at the deadline, or when an interrupt (such
    as KeyboardInterrupt) ends the wait. If an abandoned thread still gets a result, ``discard`` is
    called with the result.
    """
    if deadline.at is None:
        return work()
    job = _Job(work, discard)
    try:
        if not (_thread_slots.enter(job.slots[0]) or _thread_slots.wait(job.slots[0], deadline)):
            raise TimeoutError(f"{_MOST_THREADS} name resolutions or connections are under way")
        try:
            # `threading.Thread` is not used, because its `start` waits for a Condition. If an
            # interrupt left the lock of the Condition held, the new thread would hang before its
            # work, and would never free its slot.
            _thread.start_new_thread(job.run, ())
        except RuntimeError as error:
            # The process has too many threads to start another one.
            raise OSError(str(error)) from error
        outcome = job.outcomes.get(deadline.remaining())
        if outcome is None:
            raise TimeoutError("timed out")
    except BaseException:
        job.abandon()
        raise
    if not isinstance(outcome, BaseException):
        return outcome[0]
    try:
        raise outcome
    finally:
        # The error's traceback refers to this frame. If this frame still referred to the error, the
        # two would form a reference cycle.
        del outcome


class _Job(Generic[T]):
    """Work for a thread that may be abandoned.

    Invariant: the outcome is taken from the queue at most once, by the caller or by `_drop`.
    """

    def __init__(self, work: Callable[[], T], discard: Callable[[T], object]) -> None:
        self._work = work
        self._discard = discard
        self._abandoned = False
        self.outcomes: Inbox[tuple[T] | BaseException] = Inbox()
        # The list has the slot until somebody takes it out. Usually this is the thread, when it
        # begins. If the caller gives up earlier, the caller takes the slot, and the thread does
        # nothing.
        self.slots = [Slot()]

    def run(self) -> None:
        """Do the work. The thread calls this."""
        try:
            slot = self.slots.pop()
        except IndexError:
            return
        try:
            outcome: tuple[T] | BaseException = (self._work(),)
        except BaseException as error:  # noqa: BLE001 - raised in the calling thread
            outcome = error
        _thread_slots.leave(weakref.ref(slot))
        self.outcomes.put(outcome)
        # Without this `del`, an error and this frame would form a reference cycle, as in `in_time`.
        del outcome
        if self._abandoned:
            self._drop()

    def abandon(self) -> None:
        """Give up waiting. The caller calls this."""
        self._abandoned = True
        # If the outcome is already in the queue, this `_drop` finds the outcome. If the outcome
        # comes later, the thread then finds that `_abandoned` is true, and calls `_drop` itself.
        self._drop()
        with contextlib.suppress(IndexError):
            ref = weakref.ref(self.slots.pop())
            _thread_slots.leave(ref)

    def _drop(self) -> None:
        """If the outcome is in the queue, take it out. If it is a result, discard the result."""
        # The IndexError: both threads have found the outcome, and the other one took it.
        with contextlib.suppress(IndexError):
            outcome = self.outcomes.get(0)
            if isinstance(outcome, tuple):
                self._discard(outcome[0])


def _connect(
    family: int, address: _Address, share: float | None, options: SocketOptions
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            sock.setsockopt(*option)
        set_limit(sock, share)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _look_up(host: str, port: int, deadline: Deadline) -> Sequence[tuple[int, _Address]]:
    if address_of(host) is None:
        return in_time(lambda: _addresses(host, port), deadline, lambda _: None)
    return _addresses(host, port)


def _addresses(host: str, port: int) -> Sequence[tuple[int, _Address]]:
    # `ascii_host` has refused what is no name, for which Python would raise a UnicodeError here.
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]
