"""From a name and a port to a connected socket, in time.

Strategy: one deadline for name resolution and all addresses together. The standard library bounds
each address alone, and name resolution not at all.

Invariants: no wait goes beyond the deadline. Work that takes no timeout (name resolution, the
handshake with a SOCKS proxy) runs in a daemon thread, which is abandoned at the deadline. There are
at most 64 of these threads. Further work waits until one ends. A socket that does not connect is
closed.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import socket
import weakref
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from acp_client_v0_1._deadline import Deadline
from acp_client_v0_1._http.attempt import set_limit
from acp_client_v0_1._http.slots import Slot, Slots, got

T = TypeVar("T")
SocketOptions = Iterable[tuple[int, int, int | bytes]]
_Address = tuple[Any, ...]  # what socket.connect takes

_MOST_THREADS = 64
_thread_slots = Slots(_MOST_THREADS)

if hasattr(os, "register_at_fork"):
    # A forked process has none of its parent's threads.
    os.register_at_fork(after_in_child=lambda: _thread_slots.__init__(_MOST_THREADS))  # type: ignore[misc]


def dial(host: str, port: int, deadline: Deadline, options: SocketOptions) -> socket.socket:
    """Connect to the first address of a host that accepts, with these socket options."""
    addresses = _look_up(host, port, deadline)
    failure: OSError | None = None
    for number, (family, address) in enumerate(addresses):
        # An address that does not respond must leave time for the addresses after it.
        share = None if deadline.at is None else deadline.remaining() / (len(addresses) - number)
        try:
            return _connect(family, address, share, options)
        except OSError as error:
            failure = error
    raise failure or OSError(f"{host} has no address")


def in_time(work: Callable[[], T], deadline: Deadline, discard: Callable[[T], object]) -> T:
    """Run ``work``, which takes no timeout, in a thread that is abandoned at the deadline.

    ``discard`` gets a result that comes too late, or after an interrupt of the calling thread.
    """
    if deadline.at is None:
        return work()
    job = _Job(work, discard)
    try:
        if not (_thread_slots.enter(job.slots[0]) or _thread_slots.wait(job.slots[0], deadline)):
            raise TimeoutError(f"{_MOST_THREADS} name resolutions or connections are under way")
        try:
            # threading.Thread waits for a Condition. An interrupt can leave its lock held, and then
            # the thread never gets to its work, and never frees its slot.
            _thread.start_new_thread(job.run, ())
        except RuntimeError as error:
            # The process has too many threads.
            raise OSError(str(error)) from error
        try:
            outcome = got(job.outcomes, deadline.remaining())
        except Empty:
            raise TimeoutError("timed out") from None
    except BaseException:
        job.abandon()
        raise
    if not isinstance(outcome, BaseException):
        return outcome[0]
    try:
        raise outcome
    finally:
        # The error's traceback refers to this frame, which would make a reference cycle.
        del outcome


class _Job(Generic[T]):
    """Work for a thread that may be abandoned.

    Invariant: the outcome is taken from the queue once, by the caller or by `_drop`.
    """

    def __init__(self, work: Callable[[], T], discard: Callable[[T], object]) -> None:
        self._work = work
        self._discard = discard
        self._abandoned = False
        self.outcomes: SimpleQueue[tuple[T] | BaseException] = SimpleQueue()
        # The thread takes the slot when it begins. The caller takes it if it gives up before that.
        self.slots = [Slot()]

    def run(self) -> None:
        try:
            slot = self.slots.pop()
        except IndexError:
            return
        try:
            outcome: tuple[T] | BaseException = (self._work(),)
        except BaseException as error:  # noqa: BLE001 - raised in the calling thread
            outcome = error
        ref = weakref.ref(slot)
        del slot
        _thread_slots.leave(ref)
        self.outcomes.put(outcome)
        # The same cycle would be made here.
        del outcome
        if self._abandoned:
            self._drop()

    def abandon(self) -> None:
        self._abandoned = True
        self._drop()
        with contextlib.suppress(IndexError):
            ref = weakref.ref(self.slots.pop())
            _thread_slots.leave(ref)

    def _drop(self) -> None:
        with contextlib.suppress(Empty):
            outcome = self.outcomes.get_nowait()
            if not isinstance(outcome, BaseException):
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
    try:
        ip_address(host)
    except ValueError:
        # It is a name, and not an address.
        return in_time(lambda: _addresses(host, port), deadline, lambda _: None)
    return _addresses(host, port)


def _addresses(host: str, port: int) -> Sequence[tuple[int, _Address]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        # A label of the name is empty or too long.
        raise socket.gaierror(socket.EAI_NONAME, "not a valid host name") from error
    return [(family, address) for family, _, _, _, address in found]
