"""uvicorn in a thread: stops at once, and gives the faults access to the bytes of a connection.

uvicorn's own shutdown waits for responses to end, which a long poll or an open stream may take
minutes to do. Here stopping first cuts every connection, as the end of a server process does.

uvicorn responds through a transport of asyncio. `WireTransport` wraps that transport, so that a
response can break off at any byte, headers included, and a connection can be closed or reset
without uvicorn's knowledge, as by a real fault. `_WireProtocol` installs it, and passes it to the
application as `scope["state"]["wire"]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

_SETTINGS: dict[str, Any] = {
    "ws": "none",
    "loop": "asyncio",
    "lifespan": "off",
    "log_config": None,
    "log_level": logging.ERROR,
    "access_log": False,
    "proxy_headers": False,
    "timeout_keep_alive": 60,
}
_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_GRACE_SECONDS = 1.0


class WireTransport:
    """A transport that can break off after a number of bytes, and sets ``lost`` when it ends."""

    def __init__(self, transport: asyncio.Transport) -> None:
        connection: socket.socket = transport.get_extra_info("socket")
        # asyncio does this only for sockets that were made with the protocol's number. Without
        # it, the body of a response waits 40 ms for the client to acknowledge the headers.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lost: asyncio.Event = asyncio.Event()
        self._transport = transport
        self._unsent = bytearray()
        self._left: int | None = None
        self._on_limit: Callable[[], None] | None = None

    def limit(self, left: int | None, on_limit: Callable[[], None] | None) -> None:
        """Send `left` more bytes, call back, and drop the rest. None ends the limit."""
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
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent += data

    def _flush(self) -> None:
        if self._unsent:
            unsent, self._unsent = self._unsent, bytearray()
            self._transport.write(unsent)

    def reset(self) -> None:
        """Close with a TCP reset, which loses bytes that the kernel has not sent."""
        self._flush()
        connection: socket.socket | None = self._transport.get_extra_info("socket")
        if connection is not None:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()

    def close(self) -> None:
        """Close after sending what was written."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        # uvicorn uses other methods of asyncio.Transport, too.
        return getattr(self._transport, name)


class _Meter(ServerState):
    """uvicorn's shared state, and a count of the connections ever accepted."""

    accepted = 0


class _WireProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a WireTransport between it and the socket."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        wire = WireTransport(transport)
        self.app_state: dict[str, Any] = {**self.app_state, "wire": wire}
        cast("_Meter", self.server_state).accepted += 1
        super().connection_made(cast("asyncio.Transport", wire))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.app_state["wire"].lost.set()


class Runner(uvicorn.Server):
    """One listening socket, served from a thread of its own until `end`."""

    def __init__(self, app: ASGIApp, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        config = uvicorn.Config(app, http=_WireProtocol, **_SETTINGS)
        config.load()
        config.ssl = tls
        super().__init__(config)
        self.server_state = self.meter = _Meter()
        self._ready = threading.Event()
        # The thread sets the loop before it is ready.
        self._loop: asyncio.AbstractEventLoop
        self._woken = asyncio.Event()
        self._thread = threading.Thread(
            target=self._thread_main, args=(listener,), name="local ACP server", daemon=True
        )
        self._thread.start()
        if not self._ready.wait(_START_SECONDS) or not self.started:
            raise RuntimeError("the local server did not start")

    def end(self) -> None:
        """Cut all connections, stop listening, and end the thread."""
        self.should_exit = True
        # The loop may have ended on its own meanwhile.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._woken.set)
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            raise RuntimeError("the local server did not stop")

    def _thread_main(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self.serve(sockets=[listener]))
        finally:
            listener.close()
            self._ready.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._ready.set()

    async def main_loop(self) -> None:
        tick = 0
        while not await self.on_tick(tick):
            # uvicorn counts tenths of a second.
            tick += 10
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._woken.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # asyncio leaks a connection that it has just accepted if the server closes before the loop
        # has made some more steps, after which uvicorn knows the connection. So stop accepting,
        # and let the loop run before the server closes.
        for listener in (listener for server in self.servers for listener in server.sockets):
            with contextlib.suppress(NotImplementedError):
                # The loop of Windows has no readers.
                asyncio.get_running_loop().remove_reader(listener.fileno())
            _shut(listener)
        for _ in range(5):
            await asyncio.sleep(0)
            for connection in list(self.meter.connections):
                _shut(connection.transport.get_extra_info("socket"))
                connection.transport.abort()
        for server in self.servers:
            server.close()
        if self.meter.tasks:
            # Each response learns that its client has gone. One that ignores it is cancelled by
            # `asyncio.run` in the end.
            await asyncio.wait(self.meter.tasks, timeout=_GRACE_SECONDS)
        for server in self.servers:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(server.wait_closed(), _GRACE_SECONDS)


def _shut(connection: socket.socket | None) -> None:
    """Shut a socket down. After a close alone, the copy in a forked process would stay open.

    The transport of a connection has no socket if TLS has ended it already.
    """
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
