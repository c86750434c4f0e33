"""A connection to an origin: urllib3 connects, and this package sends and receives.

Strategy: urllib3's ``connect`` takes the steps of connecting: TCP, the tunnel, TLS. This module
overrides the methods of urllib3 that could wait too long. `Connection.open` sets one deadline for
all steps, from name resolution to the end of the last handshake. After connecting, this module
writes the requests to the socket, and `incoming` reads the responses. Both keep to the limits of
the attempt.

These methods of urllib3 and http.client are overridden:

``connect``            makes EOF without a close_notify an error; warns if the certificate is not
                       checked, because urllib3 warns only in its pools, which are not used
``_new_conn``          connects within the deadline, name resolution included: by `dial`, or through
                       a SOCKS proxy by PySocks
``_tunnel``            reads the proxy's response within the deadline (http.client has no deadline);
                       uses ``_tunnel_host``, ``_tunnel_port`` and ``_tunnel_headers``
``_connect_tls_proxy`` limits each read and write of the outer TLS connection (`OuterSocket`)
``is_connected``       is False if there are unread bytes that TLS has decrypted

Invariants: no wait goes beyond the attempt's limits. An attempt is marked as sent before its first
byte may leave. A request that must not be sent twice uses no connection that was idle for long.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import time
from typing import Any, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import InsecureRequestWarning, ProxyError

from acp_client_v0_1._deadline import Deadline
from acp_client_v0_1._http.attempt import PIECE, Attempt
from acp_client_v0_1._http.dial import dial, in_time
from acp_client_v0_1._http.errors import LOWER_ERRORS
from acp_client_v0_1._http.headers import merge_headers
from acp_client_v0_1._http.outgoing import request_head
from acp_client_v0_1._http.parse import final_head
from acp_client_v0_1._http.proxies import Proxy
from acp_client_v0_1._http.tls import OuterSocket, connection_broke, decrypted
from acp_client_v0_1._text import warn_caller
from acp_client_v0_1.exceptions import ApiValueError

# A tool such as vcrpy has put another class in the place of urllib3's. Connections that derive from
# it would not work, even after the tool has put urllib3's class back.
PATCHED = (
    "urllib3 is patched, as by a cassette of vcrpy, which does not see the connections that this "
    "client makes: pass ApiClient(…, transport=acp_client_v0_1.transport.Urllib3Transport())"
)
if HTTPConnection.__module__ != "urllib3.connection":
    raise ApiValueError(PATCHED)

# Some servers close a connection that has been idle for only a few seconds. If a request is on its
# way at that moment, the request fails, and nobody knows whether the server carried it out. So a
# request that changes something uses no connection that was idle for more than this many seconds.
_STALE = 2.0

# A web server that is not a proxy responds to CONNECT with one of these statuses and a page.
_STATUSES_OF_WEB_SERVERS = (200, 400, 404, 405, 501)


class Connection(HTTPConnection):
    """A connection to an origin, through the proxy ``via`` if there is one."""

    def __init__(self, host: str, port: int, *, via: Proxy | None = None, **arguments: Any) -> None:
        super().__init__(host, port, **arguments)
        self._address = (host, port)
        self.via = via
        # The attempt that uses the connection. None while the connection is idle.
        self._attempt: Any = None
        self._idle_since: float

    def mark_idle(self) -> None:
        """Note that the connection is idle from now on."""
        self._attempt = None
        self._idle_since = time.monotonic()

    def is_usable(self, avoid_idle: bool) -> bool:
        """Return whether the connection can carry another request.

        With ``avoid_idle``, return False if the connection was idle for more than 2 seconds.
        """
        stale = avoid_idle and time.monotonic() - self._idle_since > _STALE
        return not stale and self.is_connected

    def open(self, attempt: Attempt) -> None:
        """Begin to work for an attempt. Connect, unless the connection has a socket already.

        Raises urllib3's `ProxyError` if the proxy cannot be reached.
        """
        self._attempt = attempt
        if self.sock is not None:
            return
        attempt.until, attempt.silence = attempt.deadline.earlier(attempt.timeout.connect), None
        try:
            self.connect()
        except LOWER_ERRORS as error:
            if self.proxy is not None and not self.has_connected_to_proxy:
                raise ProxyError("cannot connect to the proxy", error) from error
            raise
        finally:
            attempt.until, attempt.silence = attempt.deadline, attempt.timeout.read
        attempt.newly_connected = True

    def send_request(self, head: bytes, body: bytes | None) -> None:
        """Send a request within the attempt's limits."""
        attempt = self._attempt
        view = memoryview(head if body is None else head + body)
        try:
            # The read timeout limits silence, and not the whole body: a large body on a slow
            # connection may take longer. So each piece has the whole read timeout.
            for start in range(0, len(view), PIECE):
                attempt.limit(self.sock)
                attempt.sent = True
                piece = view[start : start + PIECE]
                sent = _written(self.sock, piece)
                if sent < len(piece):
                    self.sock.sendall(piece[sent:])
        except OSError as error:
            # The server may have responded before it closed the connection. So the response is read
            # in any case. If there is no response, the read fails.
            if not connection_broke(error):
                raise

    def limit(self, sock: socket.socket) -> None:
        """Bound the next wait for a socket, or raise `TimeoutError` if no time remains."""
        self._attempt.limit(sock)

    def _new_conn(self) -> socket.socket:
        deadline: Deadline = self._attempt.until
        if self.via is not None and self.via.is_socks:
            sock = _socks_socket(self.via, self._address, self.socket_options or (), deadline)
        else:
            sock = dial(*self._address, deadline, self.socket_options or ())
        # `limit` may raise. Then the attempt closes this connection. That closes the socket only if
        # `self.sock` was set before.
        self.sock = sock
        # If a TLS handshake follows, its waits have this limit.
        self.limit(sock)
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock

    def _tunnel(self) -> None:
        tunnel = cast(Any, self)
        host, port = tunnel._tunnel_host, tunnel._tunnel_port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        # From Python 3.12 on, http.client adds a Host header to the tunnel's headers, and writes an
        # IPv6 address there without brackets. So the header is replaced.
        headers = merge_headers(tunnel._tunnel_headers, {"Host": address})
        self.sock.sendall(request_head("CONNECT", address, address, headers, None))
        head, page = final_head(lambda: self._attempt.receive(self.sock))
        # The client speaks first in TLS. So if a tunnel was opened, no bytes follow the head. If
        # bytes follow, they are a web page, whatever the status.
        if page or head.status >= 300:
            doubt = "; is it a proxy?" if head.status in _STATUSES_OF_WEB_SERVERS else ""
            raise OSError(f"Tunnel connection failed: {head.status} {head.reason}".rstrip() + doubt)
        # The TLS handshake follows. Its waits have this limit.
        self.limit(self.sock)


class SecureConnection(Connection, HTTPSConnection):
    @property
    def is_connected(self) -> bool:
        # Bytes that TLS has already decrypted do not make the socket readable, so urllib3 would not
        # see them.
        return not decrypted(self.sock) and super().is_connected

    def connect(self) -> None:
        super().connect()
        # By default, Python takes EOF without a close_notify for a clean end, so an attacker could
        # truncate a body. With False, Python raises SSLEOFError instead.
        cast(Any, self.sock).suppress_ragged_eofs = False
        if not (self.proxy_is_verified if self.proxy_is_forwarding else self.is_verified):
            # With a tunnel, the certificate is that of `_tunnel_host`, and `self.host` is the
            # proxy.
            host = cast(Any, self)._tunnel_host or self.host
            message = f"Unverified HTTPS request to {host!r}: its certificate is not checked"
            warn_caller(message, InsecureRequestWarning)

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> Any:
        # urllib3 2.6 would check the certificate of the proxy as `verify_ssl` says for the origin,
        # and not as the context of the proxy says.
        mode = self.cert_reqs
        self.cert_reqs = cast(Any, self.proxy_config).ssl_context.verify_mode
        outer = cast(ssl.SSLSocket, cast(Any, super())._connect_tls_proxy(hostname, sock))
        self.cert_reqs = mode
        return OuterSocket(outer, self.limit) if self.proxy_is_tunneling else outer


def _written(sock: socket.socket, data: memoryview) -> int:
    """Write as many bytes as the buffer of the socket takes, and return their number.

    Return 0 if the socket uses TLS, or if the system is not POSIX.

    The reason is speed. The buffer takes all of ``data`` nearly always, and this function needs one
    system call for that. `socket.sendall` needs two, because it polls the socket before it sends.
    Between the two system calls, a thread gives up the GIL, and may have to wait for the GIL.
    """
    if type(sock) is not socket.socket or os.name != "posix":
        return 0
    try:
        return os.write(sock.fileno(), data)
    except BlockingIOError:
        return 0


def _socks_socket(
    proxy: Proxy, address: tuple[str, int], options: Any, deadline: Deadline
) -> socket.socket:
    import socks  # type: ignore[import-untyped]  # PySocks is optional

    def connect() -> socket.socket:
        limit = deadline.bound()
        if limit == 0:
            # To PySocks, 0 means no limit.
            raise TimeoutError("the deadline has passed")
        sock: socket.socket = socks.create_connection(
            address,
            proxy_type=socks.SOCKS5 if proxy.scheme.startswith("socks5") else socks.SOCKS4,
            proxy_addr=proxy.host,
            proxy_port=proxy.port,
            proxy_rdns=proxy.scheme in ("socks5h", "socks4a"),
            proxy_username=proxy.username,
            proxy_password=proxy.password,
            # PySocks applies this timeout to each single wait. `in_time` bounds their sum.
            timeout=cast(Any, limit),
            socket_options=options,
        )
        return sock

    try:
        return in_time(connect, deadline, socket.socket.close)
    except socks.ProxyError as error:
        if isinstance(error.socket_err, TimeoutError):
            raise TimeoutError("the SOCKS proxy is silent") from error
        raise ProxyError("the SOCKS proxy does not connect", error) from error
