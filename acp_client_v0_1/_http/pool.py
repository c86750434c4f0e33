"""The connections of a client: a pool for each origin, with TLS and proxies set up.

Strategy: each pool has ``connection_pool_maxsize`` slots. A call is quick if it is neither a stream
nor a long poll. Each quick call has a slot until its response is read. If no slot is free, the call
waits for a slot within its limits. There is one exception: a call that begins inside a quick call
of its own thread, in a callback or a signal handler, does not wait. Streams and long polls take no
slot, because they may last for hours, and a few of them would block all quick calls. All calls
leave their connections in the pool for later calls. There is one exception: a call that follows a
cross-origin redirect makes a pool of its own, and the connection is closed at the end of the call.

urllib3's own pools are not used. If an interrupt strikes inside the queue of such a pool, the lock
of the queue may stay held, and later calls of every thread hang.

Invariants: there is no lock. A slot is taken only while an attempt references it (see `slots`). A
connection is idle, or used by one attempt or response, or closed. If all calls are quick, at most
``connection_pool_maxsize`` sockets of a pool are open, and one more for each call inside a call. A
process never uses a connection of its parent. The client's certificate, ``tls_server_name`` and
``assert_hostname`` belong to the configured origin, and are not used after a cross-origin redirect.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections import deque
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from urllib3 import connection as lower
from urllib3.connection import HTTPConnection, ProxyConfig
from urllib3.exceptions import EmptyPoolError
from urllib3.util import Url

from acp_client_v0_1._http.attempt import Attempt
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.connection import PATCHED, Connection, SecureConnection
from acp_client_v0_1._http.dial import keepalive
from acp_client_v0_1._http.headers import checked_headers
from acp_client_v0_1._http.incoming import Incoming
from acp_client_v0_1._http.outgoing import path_of, request_head
from acp_client_v0_1._http.proxies import Proxy, usable_proxy
from acp_client_v0_1._http.slots import Slot, Slots
from acp_client_v0_1._http.tls import asserted, check_settings, tls_context, tls_options
from acp_client_v0_1._http.urls import Origin
from acp_client_v0_1.exceptions import ApiValueError

# Streams and long polls take no slot, but leave their connections in the pool. So a pool keeps this
# many idle connections even if it has fewer slots.
_MOST_IDLE = 64


class Pool:
    """The connections to one origin. Threads can share a pool."""

    def __init__(
        self, make: Callable[[], Connection], maxsize: int, proxy_headers: dict[str, str] | None
    ) -> None:
        self._make = make
        self.slots = Slots(maxsize)
        self.idle: deque[Connection] = deque()
        # An HTTP proxy forwards the requests to an http:// origin, and each of these requests has
        # these headers. None if the proxy opens a tunnel, or if there is no HTTP proxy.
        self.proxy_headers = proxy_headers
        # True after `close`.
        self.retired = False
        # True once a response of the origin was HTTP.
        self.speaks_http = False
        # The finalizer closes the idle connections of a client that is never closed.
        weakref.finalize(self, _close_all, self.idle)

    def take(self, attempt: Attempt, *, quick: bool) -> Connection:
        """Give an attempt a connection, and a slot if the call is quick."""
        if quick:
            slots, slot = attempt.slots, attempt.slot = self.slots, Slot()
            if not (slots.enter(slot) or slots.is_nested(slot)):
                limit = attempt.deadline.earlier(attempt.timeout.read)
                if not slots.wait(slot, limit):
                    raise EmptyPoolError(self, "no slot is free")  # type: ignore[arg-type]
        while True:
            try:
                attempt.connection = connection = self.idle.pop()
            except IndexError:
                attempt.connection = connection = self._make()
                return connection
            if connection.is_usable(attempt.avoid_idle):
                return connection
            connection.close()

    def put(self, connection: Connection) -> None:
        """Take a connection back for later calls. Close it if the pool is full or closed."""
        connection.mark_idle()
        if len(self.idle) >= max(self.slots.most, _MOST_IDLE):
            connection.close()
            return
        self.idle.append(connection)
        # `retired` is read after the connection was added. If it were read before, another thread
        # could close the pool between the two steps, and would miss the connection.
        if self.retired:
            _close_all(self.idle)

    def close(self) -> None:
        """Close the idle connections. From now on, `put` closes each connection that comes back."""
        self.retired = True
        _close_all(self.idle)


def _close_all(idle: deque[Connection]) -> None:
    with contextlib.suppress(IndexError):
        # The IndexError of the empty deque ends the loop. A check of the length before each `pop`
        # would not be enough: another thread may take the last connection after the check.
        while True:
            idle.pop().close()


class Pools:
    """The pools of a client, by origin, as its `Configuration` says."""

    def __init__(self, configuration: Any) -> None:
        check_settings(configuration)
        self._configuration = configuration
        self._maxsize = configuration.connection_pool_maxsize
        self._context = cache(partial(tls_context, configuration))
        # The id of a process, and the pools of that process.
        self._process: tuple[int, dict[Origin, Pool]] = os.getpid(), {}

    def send(self, call: Call, attempt: Attempt) -> Incoming:
        """Give the attempt a connection, send the request, and read the head of the response."""
        if lower.HTTPConnection is not HTTPConnection:
            raise ApiValueError(PATCHED)
        target, headers = call.target, call.headers
        if call.cross_origin:
            pool = self._new_pool(target.origin, cross_origin=True)
            # No other call uses this pool. The pool is closed at once, so that `put` closes the
            # connection at the end of the call.
            pool.close()
        else:
            pool = self.pool(target.origin)
        connection = pool.take(attempt, quick=not (call.stream or call.timeout.window))
        path = path_of(call)
        if pool.proxy_headers is not None:
            # The zone of an IPv6 address means nothing to a proxy, so it is left out here, too.
            path = f"{target.origin.scheme}://{target.origin.authority}{path}"
            headers = {**headers, **pool.proxy_headers}
        head = request_head(call.method, path, target.origin.authority, headers, call.body)
        connection.open(attempt)
        attempt.newly_connected &= not pool.speaks_http
        connection.send_request(head, call.body)
        incoming = Incoming(connection, attempt, call.method, pool.put)
        pool.speaks_http = True
        return incoming

    def pool(self, origin: Origin) -> Pool:
        """Return the pool of an origin."""
        pools = self._own()
        # If two threads each make a pool for the origin, both use the pool that is stored first.
        return pools.get(origin) or pools.setdefault(origin, self._new_pool(origin))

    def close(self) -> None:
        """Close the idle connections now, and every other connection at the end of its call."""
        pools = self._own()
        self._process = os.getpid(), {}
        for pool in list(pools.values()):
            pool.close()

    def _own(self) -> dict[Origin, Pool]:
        """Return the pools of this process. A forked process starts with no pools.

        The forked process closes its copies of the parent's idle sockets. That sends nothing, so
        the connections stay open for the parent.
        """
        pid, pools = self._process
        if pid != os.getpid():
            for pool in pools.values():
                _close_all(pool.idle)
            pools = {}
            self._process = os.getpid(), pools
        return pools

    def _new_pool(self, origin: Origin, *, cross_origin: bool = False) -> Pool:
        """Make the pool of an origin.

        If a cross-origin redirect led to the origin, ``cross_origin`` is true. Then the pool uses
        neither the client's certificate nor ``tls_server_name`` and ``assert_hostname``.
        """
        settings = self._configuration
        proxy = usable_proxy(settings, origin)
        arguments: dict[str, Any] = {
            "via": proxy,
            "socket_options": [
                *HTTPConnection.default_socket_options,  # pyright: ignore[reportGeneralTypeIssues]
                *keepalive(),
                *(settings.socket_options or ()),
            ],
        }
        if origin.scheme == "https":
            arguments |= tls_options(settings, self._context, cross_origin=cross_origin)
        if proxy is None or proxy.is_socks:
            kind = SecureConnection if origin.scheme == "https" else Connection
            return Pool(lambda: kind(origin.host, origin.port, **arguments), self._maxsize, None)
        return self._proxied_pool(origin, proxy, arguments)

    def _proxied_pool(self, origin: Origin, proxy: Proxy, arguments: dict[str, Any]) -> Pool:
        headers = checked_headers(proxy.headers)
        context = self._configuration.proxy_ssl_context
        if context is None and proxy.scheme == "https":
            context = self._context(with_identity=False)
        # urllib3 asks only whether there is a proxy. The address is that of the connection.
        arguments["proxy"] = Url(proxy.scheme)
        name = asserted(self._configuration.proxy_ssl_context)
        arguments["proxy_config"] = ProxyConfig(context, False, name, None)
        tunnel = origin.scheme == "https"
        if not tunnel and proxy.scheme == "https":
            arguments |= {"ssl_context": context, "assert_hostname": name}
        kind = SecureConnection if "ssl_context" in arguments else Connection

        def make() -> Connection:
            connection = kind(proxy.host, proxy.port, **arguments)
            if tunnel:
                connection.set_tunnel(origin.host, origin.port, headers, proxy.scheme)
            return connection

        return Pool(make, self._maxsize, None if tunnel else headers)
