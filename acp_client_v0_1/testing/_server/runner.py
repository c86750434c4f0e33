"""uvicorn in a thread: starts at once, and stops at once, even while clients wait for responses.

uvicorn's own shutdown waits for responses to end, which a long poll or an open stream may take
minutes to do. Here stopping first cuts every connection, as the end of a server process does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from acp_client_v0_1.testing._server.wire import Meter, WireProtocol

__all__ = ["Runner"]

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


class Runner(uvicorn.Server):
    """One listening socket, served from a thread of its own until `end`."""

    def __init__(self, app: ASGIApp, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        config = uvicorn.Config(app, http=WireProtocol, **_SETTINGS)
        config.load()
        config.ssl = tls
        super().__init__(config)
        self.server_state = self.meter = Meter()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
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
        if self._loop is not None:
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
            tick += 10  # uvicorn counts tenths of a second
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._woken.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # asyncio leaks a connection that it has just accepted if the server closes before the loop
        # has made some more steps, after which uvicorn knows the connection. So stop accepting,
        # and let the loop run before the server closes.
        for listener in (listener for server in self.servers for listener in server.sockets):
            with contextlib.suppress(NotImplementedError):  # on Windows
                asyncio.get_running_loop().remove_reader(listener.fileno())
        for _ in range(5):
            await asyncio.sleep(0)
            for connection in list(self.meter.connections):
                connection.transport.abort()
        for server in self.servers:
            server.close()
        if self.meter.tasks:
            # Each response learns that its client has gone; one that ignores it is cancelled.
            _, deaf = await asyncio.wait(self.meter.tasks, timeout=_GRACE_SECONDS)
            for task in deaf:
                task.cancel()
        for server in self.servers:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(server.wait_closed(), _GRACE_SECONDS)
