"""What sends the requests of a client: the interface, and a transport on urllib3's own pools.

By default a client has connections of its own, which tools that patch urllib3 or http.client do not
see. `Urllib3Transport` gives these tools something to see, and keeps fewer promises. The guide
"Doors" lists them.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from copy import copy
from functools import partial
from typing import Any, Protocol

from typing_extensions import Self
from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager, Timeout, connection

from acp_client_v0_1._arguments import check_arguments
from acp_client_v0_1._http.outgoing import OutgoingRequest
from acp_client_v0_1._http.proxies import usable_proxy
from acp_client_v0_1._http.tls import asserted, check_settings, tls_context, tls_options
from acp_client_v0_1._http.urls import Origin, parse_target
from acp_client_v0_1.configuration import Configuration

__all__ = ["OutgoingRequest", "Transport", "TransportResponse", "Urllib3Transport"]

# The lock of each process. A fork may leave the lock of the parent held.
_turns: dict[int, threading.Lock] = {}
_ONCE: Any = dict.fromkeys(("retries", "redirect", "preload_content", "decode_content"), False)


class TransportResponse(Protocol):
    """What `Transport.send` returns. A response of urllib3 has all of this.

    More of what such a response has is used if it is there: ``read1``, which returns what has
    arrived and holds no event back, ``reason``, ``version``, ``shutdown``, ``drain_conn`` and
    ``release_conn``.

    Attributes:
        status: The final status code.
        headers: The headers: a mapping, or another object whose ``items()`` are names and values.
    """

    status: int
    headers: Any

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes of the body, content-coded as they came. b"" ends the body.

        If the body is truncated, raise an `OSError`. Another thread than that of `Transport.send`
        calls this, but never two at once.
        """
        ...

    def close(self) -> None:
        """End the response. If it is not read to its end, close its connection."""


class Transport(Protocol):
    """Sends requests. Threads call it at the same time.

    It sends each request once, as it is, and follows no redirect: retries and redirects are the
    client's. An `OSError`, and an error of urllib3 or http.client, is a failure of the connection,
    after which nobody knows whether the request was carried out. Only with a
    `ConnectionRefusedError` or `socket.gaierror`, and with urllib3's errors of connecting, it was
    certainly not sent. Any other exception ends the call as it is.
    """

    def send(
        self, request: OutgoingRequest, *, connect: float | None, read: float | None
    ) -> TransportResponse:
        """Send a request, and return the response with its body unread.

        Args:
            request: The request.
            connect: Seconds to connect within. None means no limit.
            read: Seconds for which the server may be silent. None means no limit.
        """
        ...

    def close(self) -> None:
        """Close the idle connections. `send` may be called again afterwards."""


class Urllib3Transport:
    """Sends requests by urllib3's own pools and http.client, which other tools patch.

    Keys in queries are refused, because the log of urllib3 shows queries at DEBUG.

    Args:
        pool: The pools to use, which stay open. By default each client makes pools of its own, as
            its configuration says. With ``pool``, settings of connections are refused.

    Attributes:
        pool: The caller's pools, or None.

    Raises:
        ApiTypeError: ``pool`` is not a ``urllib3.PoolManager``.
    """

    logs_queries: bool = True
    """Whether keys in queries are refused."""

    # The configuration of the client that makes the pools.
    _settings: Configuration | None = None

    def __init__(self, pool: PoolManager | None = None) -> None:
        check_arguments(pool=pool)
        self.pool: PoolManager | None = pool
        # The id of a process, and the pools of that process.
        self._process: tuple[int, dict[Origin, PoolManager]] = os.getpid(), {}

    def __getstate__(self) -> dict[str, Any]:
        if self.pool is not None:
            raise TypeError("a Urllib3Transport with a pool of yours cannot be pickled")
        return {**vars(self), "_process": (0, {})}

    def bind(self, configuration: Configuration) -> Self:
        """Return a copy that makes pools as the configuration says. Each client has its own.

        Raises:
            ApiValueError: Settings do not go together.
        """
        check_settings(configuration)
        bound = copy(self)
        bound._settings = configuration
        return bound

    def send(
        self, request: OutgoingRequest, *, connect: float | None, read: float | None
    ) -> BaseHTTPResponse:
        """Send a request, and return urllib3's response with its body unread."""
        content: Any = {"body": request.body, "headers": request.headers, **_ONCE}
        timeout, urlopen = Timeout(connect=connect, read=read), self._pools_for(request).urlopen
        send = partial(urlopen, request.method, request.url, timeout=timeout, **content)
        if "vcr" in sys.modules:
            # vcrpy puts urllib3's classes back for a moment while it makes or uses a connection. A
            # connection that another thread makes in this moment goes past the cassette.
            with _turns.setdefault(os.getpid(), threading.Lock()):
                if connection.HTTPConnection.__module__ != connection.__name__:
                    return send()
        return send()

    def close(self) -> None:
        """Close the idle connections, but not those of a pool of the caller's."""
        for pools in list(self._process[1].values()):
            pools.clear()

    def _pools_for(self, request: OutgoingRequest) -> PoolManager:
        if self._process[0] != os.getpid():
            # A forked process uses no connection of its parent.
            self._process = os.getpid(), {}
            if self.pool is not None:
                self.pool.clear()
        if self.pool is not None:
            return self.pool
        made, origin = self._process[1], parse_target(request.url).origin
        if request.cross_origin:
            # A server may redirect to any number of origins, so these pools are not kept.
            return self._made(origin, True)
        return made.get(origin) or made.setdefault(origin, self._made(origin, False))

    def _made(self, origin: Origin, cross_origin: bool) -> PoolManager:
        settings = self._settings or Configuration()
        make_context = partial(tls_context, settings)
        sock: Any = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *(settings.socket_options or ())]
        options: dict[str, Any] = {
            "maxsize": settings.connection_pool_maxsize,
            "socket_options": sock,
        }
        if origin.scheme == "https":
            options |= tls_options(settings, make_context, cross_origin=cross_origin)
        proxy, context = usable_proxy(settings, origin), settings.proxy_ssl_context
        if proxy is None:
            return PoolManager(**options)
        if proxy.is_socks:
            from urllib3.contrib.socks import SOCKSProxyManager

            return SOCKSProxyManager(proxy.url, proxy.username, proxy.password, **options)
        options["proxy_assert_hostname"] = asserted(context)
        if context is None and proxy.scheme == "https":
            context = make_context(with_identity=False)
        options["proxy_ssl_context"] = context
        if (origin.scheme, proxy.scheme) == ("http", "https"):
            # Early versions of urllib3 take these for a proxy that forwards the requests.
            options |= {"ssl_context": context, "assert_hostname": options["proxy_assert_hostname"]}
        return ProxyManager(proxy.url, proxy_headers=proxy.headers, **options)
