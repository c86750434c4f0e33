"""urllib3's connections, with every wait bounded by the deadline of the call that uses them.

Strategy: the methods of urllib3's connection that wait (connecting, the tunnel, sending, reading)
first set the time limit of the attempt that the thread is making; see `attempt`. Connecting has
one limit from the look-up of the name to the end of the last handshake.

Invariants: no wait goes beyond the attempt's limits; an attempt is marked as sent before its first
byte may leave; what must be sent once only does not use a connection that was idle for long.
"""

from __future__ import annotations

import re
import socket
import ssl
import sys
import time
from typing import Any, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util import SKIP_HEADER

from acp_client_v0_1._deadline import Deadline, Timeout
from acp_client_v0_1._http.answer import Answer
from acp_client_v0_1._http.attempt import Attempt, current_attempt, set_limit
from acp_client_v0_1._http.dial import dial
from acp_client_v0_1._http.headers import TOKEN
from acp_client_v0_1._http.nested import OuterSocket
from acp_client_v0_1._http.raw import ChunkedResponse

__all__ = ["BoundedConnection", "BoundedHTTPS"]

# Servers close idle connections after as little as a few seconds, and a request that crosses
# that close is lost with its outcome unknown. What changes something does not take the risk.
_STALE = 2.0

# A header that nobody could take for anything else (RFC 9110, section 5).
_HEADER = re.compile(TOKEN.pattern + r": [\t\x20-\x7e\xa0-\xff]*")

_PIECE = 65_536  # bytes that are sent within one time limit


class BoundedConnection(HTTPConnection):
    """A connection that obeys the attempt of the thread which uses it.

    Attributes:
        spoilt: The last answer was followed by bytes that nobody asked for.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spoilt = False
        self._attempt = current_attempt()
        self._connecting: Deadline | None = None  # while it is
        self._idle_since = time.monotonic()
        self.response_class = self._answer  # type: ignore[assignment]

    @property
    def is_connected(self) -> bool:
        """Whether it can carry the attempt's request; the pool asks before it lends it."""
        stale = current_attempt().fresh and time.monotonic() - self._idle_since > _STALE
        return not (stale or self.spoilt) and super().is_connected

    def connect(self) -> None:
        """Connect, through the proxy's tunnel if there is one."""
        self._attempt = current_attempt()
        self._connecting = self._attempt.deadline.earlier(self._attempt.timeout.connect)
        try:
            super().connect()
        finally:
            self._connecting = None
        self._attempt.connected = True

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, connecting first if need be."""
        self._attempt = current_attempt()
        if self.is_closed:
            self._connect_first()
        self.limit(self.sock)
        self.timeout = self.sock.gettimeout()  # which urllib3 sets again
        self._attempt.sent = True
        super().request(*args, **kwargs)

    def putrequest(
        self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False
    ) -> None:
        """Write the request line; here a credential in the query joins the URL."""
        if credential := self._attempt.credential:
            url += ("&" if "?" in url else "?") + credential
        super().putrequest(method, url, skip_host, skip_accept_encoding)

    def putheader(self, header: Any, *values: Any) -> None:
        """Write a header; one of the usual form at once, any other as http.client does it."""
        value = values[0] if len(values) == 1 else None
        if isinstance(header, str) and isinstance(value, str) and value != SKIP_HEADER:
            line = f"{header}: {value}"
            if _HEADER.fullmatch(line):
                self._output(line.encode("latin-1"))  # type: ignore[attr-defined]
                return
        super().putheader(header, *values)

    def send(self, data: Any) -> None:
        """Send bytes within the attempt's limits."""
        if self.sock is None or not isinstance(data, bytes) or len(data) <= _PIECE:
            self._send_piece(data)
            return
        # The limit is for silence, which a slow way for a large body is not.
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            self._send_piece(view[start : start + _PIECE])

    def _send_piece(self, data: Any) -> None:
        if self.sock is not None:
            self.limit(self.sock)
        super().send(data)

    def limit(self, sock: socket.socket) -> None:
        """Set how long the next wait for a socket may take.

        Raises:
            TimeoutError: Nothing remains.
        """
        if self._connecting is None:
            self._attempt.limit(sock)
        else:
            set_limit(sock, self._connecting.bound())

    def _connect_first(self) -> None:
        """Connect; a reset is made known, which urllib3 ignores where it may be one of sending."""
        try:
            self.connect()
        except ConnectionError as error:
            raise NewConnectionError(self, str(error)) from error

    def _tunnel(self) -> None:
        """Ask the proxy for a tunnel; the method of http.client that urllib3 calls."""
        super()._tunnel()
        self.limit(self.sock)  # for the handshake of TLS

    def getresponse(self) -> Any:
        """Read an answer's head; gives urllib3's response."""
        self.timeout = self.sock.gettimeout()  # which urllib3 sets again
        response = super().getresponse()
        if response.chunked:
            response.__class__ = ChunkedResponse
        self._idle_since = time.monotonic()
        return response

    def connecting_deadline(self) -> Deadline:
        """Give the deadline of the connection that is being made."""
        return self._connecting or Deadline(None)

    def _answer(self, sock: socket.socket, method: str | None = None, **_: Any) -> Answer:
        # A proxy's answer to the wish for a tunnel is a part of connecting.
        connecting = self._connecting
        attempt = self._attempt if connecting is None else Attempt(connecting, Timeout())
        return Answer(sock, attempt, self, method)

    def _new_conn(self) -> socket.socket:
        """Connect a socket; the method of urllib3 that its SOCKS support replaces as well."""
        deadline = self.connecting_deadline()
        sock = dial(self._dns_host, self.port, deadline, self.socket_options or ())
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock


class BoundedHTTPS(BoundedConnection, HTTPSConnection):
    """The same over TLS."""

    @property
    def is_connected(self) -> bool:
        """Whether it can carry the attempt's request; the pool asks before it lends it."""
        # Bytes that TLS has decrypted already are not seen by a look at the socket.
        return not _decrypted(self.sock) and super().is_connected

    def connect(self) -> None:
        """Connect, and speak TLS; an end that TLS did not announce is an error from here on."""
        super().connect()
        # Python's default takes it for the end of the input, as whoever cuts the connection wants.
        cast(Any, self.sock).suppress_ragged_eofs = False

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> Any:
        """Speak TLS with the proxy itself; the method of urllib3 for that."""
        outer = cast(ssl.SSLSocket, cast(Any, super())._connect_tls_proxy(hostname, sock))
        return OuterSocket(outer, self.limit) if self.proxy_is_tunneling else outer


def _decrypted(sock: Any) -> int:
    """Count the bytes that TLS holds, those of TLS within TLS included."""
    held: int = getattr(sock, "pending", int)()
    incoming = getattr(sock, "incoming", None)
    if incoming is not None:
        held += incoming.pending + sock.sslobj.pending()
    return held
