"""urllib3's pools, two for each origin, with TLS and proxies set up.

Strategy: a quick call takes one of ``connection_pool_maxsize`` connections for as long as it lasts,
and waits for one within its deadline. Streams and long polls, which may last for hours, use a pool
of their own that makes nobody wait: a few of them must not keep quick calls from a connection.

Invariants: with quick calls alone, never more than ``connection_pool_maxsize`` sockets are open; a
process never uses a connection of its parent; the client's certificate, ``tls_server_name`` and
``assert_hostname`` belong to the configured origins and are not used for those of a redirect.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection

from acp_client_v0_1._http.connection import BoundedConnection, BoundedHTTPS
from acp_client_v0_1._http.pool import RetiringPool
from acp_client_v0_1._http.proxy import proxy_for, socks_manager
from acp_client_v0_1._http.proxy_settings import Proxy
from acp_client_v0_1._http.tls import check_identity, tls_context
from acp_client_v0_1._http.urls import Origin

if TYPE_CHECKING:
    from acp_client_v0_1.configuration import Configuration

__all__ = ["Pools", "Route"]


class _HTTPPool(RetiringPool):
    ConnectionCls = BoundedConnection  # pyright: ignore[reportAssignmentType]


class _HTTPSPool(RetiringPool, HTTPSConnectionPool):
    ConnectionCls = BoundedHTTPS  # pyright: ignore[reportAssignmentType]


@dataclass(frozen=True, slots=True)
class Route:
    """How to get to an origin.

    Attributes:
        pool: The connections that lead there.
        forwarding: A proxy passes the requests on, which then name the whole URL.
    """

    pool: HTTPConnectionPool
    forwarding: bool


class _Routes:
    """The ways that one process has made."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.known: dict[tuple[Origin, bool], Route] = {}


class Pools:
    """The pools of one client.

    Args:
        configuration: Sizes, TLS and proxies.

    Raises:
        ApiValueError: Two settings cannot be used together.
    """

    def __init__(self, configuration: Configuration) -> None:
        check_identity(configuration)
        self._configuration = configuration
        self._maxsize = configuration.connection_pool_maxsize
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._own = _Routes()
        self._of_parents: list[_Routes] = []

    def route(self, origin: Origin, *, unbounded: bool) -> Route:
        """Give the way to an origin.

        Args:
            origin: Where it leads.
            unbounded: For a stream or a long poll, which take connections of their own.

        Raises:
            ApiValueError: A setting of TLS or the proxy cannot be used.
        """
        known = self._known()
        route = known.get((origin, unbounded))
        if route is None:
            # Of two threads that both come first, one wins, and the other uses its pool.
            made = self.make(origin, unbounded=unbounded)
            route = known.setdefault((origin, unbounded), made)
        return route

    def make(self, origin: Origin, *, unbounded: bool, foreign: bool = False) -> Route:
        """Make a way to an origin that is not kept.

        Args:
            origin: Where it leads.
            unbounded: For a stream or a long poll, which take connections of their own.
            foreign: It is not an origin that was asked for, but one of a redirect.
        """
        proxy = proxy_for(self._configuration, origin)
        settings: dict[str, Any] = {
            "maxsize": self._maxsize,
            "block": not unbounded,
            "socket_options": [
                *HTTPConnection.default_socket_options,  # pyright: ignore[reportGeneralTypeIssues]
                *(self._configuration.socket_options or ()),
            ],
        }
        if origin.scheme == "https":
            settings.update(self._tls(foreign))
        elif proxy is not None and proxy.scheme == "https":
            # Before 2.8, urllib3 reads the proxy's TLS settings for tunnels only.
            settings["ssl_context"] = self._proxy_context(proxy)
        manager = self._manager(proxy)
        manager.pool_classes_by_scheme = manager.pool_classes_by_scheme | (
            {} if proxy is not None and proxy.is_socks else {"http": _HTTPPool, "https": _HTTPSPool}
        )
        pool = manager.connection_from_host(
            origin.host, origin.port, origin.scheme, pool_kwargs=settings
        )
        forwarding = proxy is not None and not proxy.is_socks and origin.scheme == "http"
        return Route(pool, forwarding)

    def close(self) -> None:
        """Close the connections that no call uses, and the others when they come back."""
        known = self._known()
        self._own = _Routes()
        for route in list(known.values()):
            route.pool.close()

    def _known(self) -> dict[tuple[Origin, bool], Route]:
        own = self._own
        if own.pid != os.getpid():
            own = self._leave(own)
        return own.known

    def _leave(self, parents: _Routes) -> _Routes:
        """Start anew in a forked process.

        The parent's pools are kept but never touched: a lock of theirs may be held for ever by a
        thread that exists in the parent only. Their sockets are closed here, which sends nothing
        and ends nothing for the parent. Of two threads that both come first, the later one wins.
        """
        self._of_parents.append(parents)
        self._own = own = _Routes()
        for route in parents.known.values():
            for connection in list(route.pool.pool.queue) if route.pool.pool else ():
                if connection is not None:
                    connection.close()
        return own

    def _manager(self, proxy: Proxy | None) -> PoolManager:
        if proxy is None:
            return PoolManager()
        if proxy.is_socks:
            return socks_manager(proxy)
        context = self._proxy_context(proxy)
        return ProxyManager(proxy.url, proxy_headers=proxy.headers, proxy_ssl_context=context)

    def _proxy_context(self, proxy: Proxy) -> ssl.SSLContext | None:
        context = self._configuration.proxy_ssl_context
        if context is None and proxy.scheme == "https":
            context = self._context(with_identity=False)
        return context

    def _tls(self, foreign: bool) -> dict[str, Any]:
        configuration = self._configuration
        settings: dict[str, Any] = {"ssl_context": self._context(with_identity=not foreign)}
        if not foreign and configuration.tls_server_name is not None:
            settings["server_hostname"] = configuration.tls_server_name
        asserted = configuration.assert_hostname
        if not foreign and configuration.verify_ssl and asserted not in (None, True):
            settings["assert_hostname"] = asserted
        return settings

    def _context(self, *, with_identity: bool) -> ssl.SSLContext:
        context = self._contexts.get(with_identity)
        if context is None:
            context = tls_context(self._configuration, with_identity=with_identity)
            self._contexts[with_identity] = context
        return context
