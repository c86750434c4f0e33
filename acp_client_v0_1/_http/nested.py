"""The connection to an https proxy, where TLS to the origin runs within it.

Strategy: urllib3 makes as many reads of this connection as it takes until the TLS within it has
something to give, under one time limit that starts anew with each read. So each gets a limit of
its own here.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

__all__ = ["OuterSocket", "innermost"]


class OuterSocket:
    """A TLS connection whose every wait is bounded; what `ssl.SSLSocket` has, this has.

    Args:
        sock: The connection.
        limit: Sets the time that its next wait may take.

    Attributes:
        socket: The connection.
    """

    def __init__(self, sock: ssl.SSLSocket, limit: Callable[[socket.socket], None]) -> None:
        self.socket = sock
        self._limit = limit

    def recv(self, size: int) -> bytes:
        """Receive what there is, in time."""
        self._limit(self.socket)
        return self.socket.recv(size)

    def sendall(self, data: bytes) -> None:
        """Send all of it, in time."""
        if data:
            self._limit(self.socket)
            self.socket.sendall(data)

    @property
    def _io_refs(self) -> int:
        # The files that keep the socket open; urllib3 counts them here.
        count: int = cast(Any, self.socket)._io_refs
        return count

    @_io_refs.setter
    def _io_refs(self, count: int) -> None:
        cast(Any, self.socket)._io_refs = count

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)


def innermost(sock: Any) -> Any:
    """Give the socket that the operating system knows, from within all layers of TLS."""
    while hasattr(sock, "socket"):
        sock = sock.socket
    return sock
