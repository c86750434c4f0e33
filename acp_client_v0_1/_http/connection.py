"""urllib3's connections, with every wait bounded by the deadline of the call that uses them.

Strategy: the methods of urllib3's connection that wait (connecting, the tunnel, sending, reading)
first set the time limit of the attempt that the thread is making; see `attempt`.

Invariants: no wait goes beyond the attempt's limits; an attempt is marked as sent before its first
byte may leave; what must be sent once only does not use a connection that was idle for long.
"""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

from acp_client_v0_1._http.answer import Answer
from acp_client_v0_1._http.attempt import current_attempt
from acp_client_v0_1._http.dial import dial
from acp_client_v0_1.deadline import Deadline

__all__ = ["BoundedConnection", "BoundedHTTPS"]

# Servers close idle connections after as little as a few seconds, and a request that crosses
# that close is lost with its outcome unknown. What changes something does not take the risk.
_STALE = 2.0

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
        self._idle_since = time.monotonic()
        self.response_class = self._answer  # type: ignore[assignment]

    @property
    def is_connected(self) -> bool:
        """Whether it can carry the attempt's request; the pool asks before it lends it."""
        stale = current_attempt().fresh and time.monotonic() - self._idle_since > _STALE
        # Bytes that TLS has decrypted already are not seen by a look at the socket.
        spoilt = self.spoilt or getattr(self.sock, "pending", int)()
        return not (stale or spoilt) and super().is_connected

    def connect(self) -> None:
        """Connect, through the proxy's tunnel if there is one."""
        self._attempt = current_attempt()
        super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, connecting first if need be."""
        self._attempt = current_attempt()
        if self.is_closed:
            self._connect_first()
        self._attempt.sent = True
        super().request(*args, **kwargs)

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
            self._attempt.limit(self.sock)
        super().send(data)

    def _connect_first(self) -> None:
        """Connect; a reset is made known, which urllib3 ignores where it may be one of sending."""
        try:
            self.connect()
        except ConnectionError as error:
            raise NewConnectionError(self, str(error)) from error

    def _tunnel(self) -> None:
        """Ask the proxy for a tunnel; the method of http.client that urllib3 calls."""
        super()._tunnel()
        self._attempt.limit_connecting(self.sock)  # for the handshake of TLS

    def getresponse(self) -> Any:
        """Read an answer's head; gives urllib3's response."""
        self.timeout = self.sock.gettimeout()  # which urllib3 sets again
        response = super().getresponse()
        self._idle_since = time.monotonic()
        return response

    def connecting_deadline(self) -> Deadline:
        """Give the deadline of a connection that is begun now."""
        return self._attempt.deadline.earlier(self._attempt.timeout.connect)

    def _answer(self, sock: socket.socket, method: str | None = None, **_: Any) -> Answer:
        return Answer(sock, self._attempt, self, method)

    def _new_conn(self) -> socket.socket:
        """Connect a socket; the method of urllib3 that its SOCKS support replaces as well."""
        deadline = self.connecting_deadline()
        sock = dial(self._dns_host, self.port, deadline, self.socket_options or ())
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock


class BoundedHTTPS(BoundedConnection, HTTPSConnection):
    """The same over TLS."""
