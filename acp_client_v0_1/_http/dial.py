"""From a name and a port to a connected socket, in time.

Strategy: the time limit holds for the whole of it, for looking up the name and for all addresses
together, where the standard library would bound each address alone and the look-up not at all.

Invariants: nothing outlives its deadline, except a look-up that the system does not answer, which
is left behind in a daemon thread; a socket that does not connect is closed.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from acp_client_v0_1.deadline import Deadline

__all__ = ["dial"]

SocketOptions = Iterable[tuple[int, int, int | bytes]]
_Address = tuple[Any, ...]  # what socket.connect takes


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
        share = deadline.remaining() / (len(addresses) - number)
        try:
            return _connect(family, address, deadline.earlier(_finite(share)), options)
        except OSError as error:
            failure = error
    raise failure or OSError(f"{host} has no address")


def _finite(seconds: float) -> float | None:
    return None if seconds == float("inf") else seconds


def _connect(
    family: int, address: _Address, deadline: Deadline, options: SocketOptions
) -> socket.socket:
    if deadline.expired:
        raise TimeoutError("timed out")
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            sock.setsockopt(*option)
        sock.settimeout(deadline.bound())
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _look_up(host: str, port: int, deadline: Deadline) -> Sequence[tuple[int, _Address]]:
    if deadline.at is None or _is_address(host):
        return _addresses(host, port)
    outcome: list[Sequence[tuple[int, _Address]] | OSError | UnicodeError] = []

    def look_up() -> None:
        try:
            outcome.append(_addresses(host, port))
        except (OSError, UnicodeError) as error:
            outcome.append(error)

    # getaddrinfo cannot be given a time limit, nor be interrupted.
    thread = threading.Thread(target=look_up, name=f"look up {host}", daemon=True)
    thread.start()
    thread.join(deadline.bound())
    if not outcome:
        raise TimeoutError(f"looking up {host} timed out")
    if isinstance(outcome[0], (OSError, UnicodeError)):
        raise outcome[0]
    return outcome[0]


def _addresses(host: str, port: int) -> Sequence[tuple[int, _Address]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
