"""One connection of the local server, with access to the bytes for the faults.

uvicorn responds through a transport of asyncio. `WireTransport` wraps that transport, so that a
response can break off at any byte, headers included, and a connection can be closed or reset
without uvicorn's knowledge, as by a real fault. `WireProtocol` installs it, and passes it to the
application as `scope["state"]["wire"]`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

__all__ = ["Meter", "WireProtocol", "WireTransport"]


class WireTransport(asyncio.Transport):
    """A transport that can break off after a number of bytes, and sets ``lost`` when it ends."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        connection = transport.get_extra_info("socket")
        if connection is not None:
            # asyncio does this only for sockets that were made with the protocol's number. Without
            # it, the body of a response waits 40 ms for the client to acknowledge the headers.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lost: asyncio.Event = asyncio.Event()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._left: int | None = None
        self._on_limit: Callable[[], None] | None = None

    def limit(self, left: int | None, on_limit: Callable[[], None] | None) -> None:
        """Send `left` more bytes, then call back, and drop the rest; None ends the limit."""
        self._left, self._on_limit = left, on_limit

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._left is None:
            self.write_raw(data)
        elif self._on_limit is not None and data:
            part = bytes(data)[: self._left]
            self._left -= len(part)
            self.write_raw(part)
            if self._left == 0:
                on_limit, self._on_limit = self._on_limit, None
                on_limit()

    def write_raw(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send bytes past the limit and past HTTP."""
        # uvicorn writes the head and the body of a response one after the other. Sending both in
        # one system call makes a small response much cheaper.
        if data and not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent += data

    def _flush(self) -> None:
        if self._unsent:
            unsent, self._unsent = self._unsent, bytearray()
            self._transport.write(unsent)

    def reset(self) -> None:
        """Close with a TCP reset; bytes that the kernel has not sent are lost."""
        self._flush()
        connection: socket.socket | None = self._transport.get_extra_info("socket")
        if connection is not None:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()

    # The rest of asyncio.Transport is forwarded.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        """Close after sending what was written."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()


class Meter(ServerState):
    """uvicorn's shared state, and a count of the connections ever accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted = 0


class WireProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a WireTransport between it and the socket."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        wire = WireTransport(transport)
        self.app_state: dict[str, Any] = {**self.app_state, "wire": wire}
        if isinstance(self.server_state, Meter):
            self.server_state.accepted += 1
        super().connection_made(wire)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if isinstance(self.transport, WireTransport):
            self.transport.lost.set()
