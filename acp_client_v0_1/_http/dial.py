"""From a name and a port to a connected socket, in time.

Strategy: the time limit holds for the whole of it, for looking up the name and for all addresses
together, where the standard library would bound each address alone and the look-up not at all.

Invariants: nothing is waited for beyond its deadline; what cannot be given one (a look-up, the
greeting of a SOCKS proxy) is left behind in a daemon thread, of which there are never more than a
few dozen: while so many do not return, others wait for one that does; a socket that does not
connect is closed.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from acp_client_v0_1._deadline import Deadline
from acp_client_v0_1._http.attempt import set_limit

__all__ = ["dial", "in_time"]

T = TypeVar("T")
SocketOptions = Iterable[tuple[int, int, int | bytes]]
_Address = tuple[Any, ...]  # what socket.connect takes

_MOST_THREADS = 64


class _Threads:
    """The places for threads that may be left behind."""

    def __init__(self) -> None:
        self.free = threading.Semaphore(_MOST_THREADS)


_threads = _Threads()

if hasattr(os, "register_at_fork"):
    # A forked process has none of these threads.
    os.register_at_fork(after_in_child=_threads.__init__)  # type: ignore[misc]


def dial(host: str, port: int, deadline: Deadline, options: SocketOptions) -> socket.socket:
    """Connect to the first address of a host that answers.

    Args:
        host: A name or an address.
        port: The port.
        deadline: When to give up.
        options: Socket options, set before connecting.

    Returns:
        The connected socket; its timeout is what remained.

    Raises:
        TimeoutError: The deadline passed.
        OSError: No address could be connected to; the error of the last one.
    """
    addresses = _look_up(host, port, deadline)
    failure: OSError | None = None
    for number, (family, address) in enumerate(addresses):
        # An address that does not answer must leave some of the time to the ones after it.
        share = None if deadline.at is None else deadline.remaining() / (len(addresses) - number)
        try:
            return _connect(family, address, deadline, share, options)
        except OSError as error:
            failure = error
    raise failure or OSError(f"{host} has no address")


def in_time(work: Callable[[], T], deadline: Deadline, discard: Callable[[T], object]) -> T:
    """Do what cannot be given a time limit, nor be interrupted, in a thread that can be left.

    Args:
        work: What to do.
        deadline: When to leave it behind.
        discard: Called with a result that comes too late, or to a thread that was interrupted.

    Returns:
        What ``work`` returns.

    Raises:
        TimeoutError: The deadline passed.
        BaseException: What ``work`` raises.
    """
    if deadline.at is None:
        return work()
    free = _threads.free
    if not free.acquire(timeout=deadline.remaining()):
        raise TimeoutError(f"{_MOST_THREADS} look-ups or connections are under way")
    outcome: Future[T] = Future()
    _start(lambda: _run(work, outcome, discard), free)
    try:
        wait((outcome,), deadline.bound())
    except BaseException:
        if not outcome.cancel():
            outcome.add_done_callback(lambda done: done.exception() or discard(done.result()))
        raise
    if outcome.cancel():
        raise TimeoutError("timed out")
    return outcome.result()


def _start(work: Callable[[], None], free: threading.Semaphore) -> None:
    """Start a thread that gives its place back at its end."""

    def run() -> None:
        try:
            work()
        finally:
            free.release()

    try:
        threading.Thread(target=run, name="acp_client_v0_1 connects", daemon=True).start()
    except RuntimeError as error:  # where an interrupt strikes, the thread may have started
        free.release()
        raise OSError(str(error)) from error


def _run(work: Callable[[], T], outcome: Future[T], discard: Callable[[T], object]) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - raised in the thread that asked
        if outcome.set_running_or_notify_cancel():
            outcome.set_exception(error)
        return
    if outcome.set_running_or_notify_cancel():
        outcome.set_result(result)
    else:
        discard(result)


def _connect(
    family: int,
    address: _Address,
    deadline: Deadline,
    share: float | None,
    options: SocketOptions,
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            sock.setsockopt(*option)
        set_limit(sock, share)
        sock.connect(address)
        set_limit(sock, deadline.bound())
    except BaseException:
        sock.close()
        raise
    return sock


def _look_up(host: str, port: int, deadline: Deadline) -> Sequence[tuple[int, _Address]]:
    if _is_address(host):
        return _addresses(host, port)
    return in_time(lambda: _addresses(host, port), deadline, lambda _: None)


def _addresses(host: str, port: int) -> Sequence[tuple[int, _Address]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # of an empty label, or one that is too long
        raise socket.gaierror(socket.EAI_NONAME, "not a valid host name") from error
    return [(family, address) for family, _, _, _, address in found]


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
