"""Sends requests by a transport of the user's, instead of the connections of `pool`.

Strategy: `Received` turns the response of a transport into bytes again: a head without a transfer
coding, and the body as it arrives. `Incoming` reads these bytes as it reads those of a socket. So a
response of a transport passes the same checks and limits as any other.

Another thread reads the body, one piece at a time. So the caller can stop to wait for a piece when
its time is over, and a stream can wait for the same piece again.

Invariants: a response is ended once, and never while a thread reads it. A forked process calls
nothing of a response of its parent.
"""

from __future__ import annotations

import _thread
import contextlib
import http.client
import os
import re
from contextvars import copy_context
from typing import Any

from acp_client_v0_1._http.attempt import PIECE, Attempt
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.errors import LOWER_ERRORS, is_unsent
from acp_client_v0_1._http.incoming import Incoming
from acp_client_v0_1._http.outgoing import outgoing
from acp_client_v0_1._http.parse import Closed
from acp_client_v0_1._http.slots import Inbox
from acp_client_v0_1._text import package_logger
from acp_client_v0_1.exceptions import ApiTypeError

_log = package_logger(__name__)
_LINE_END = re.compile("\r?\n")
_EXPECTED = "must return a response like urllib3's, with status, headers, read(n) and close()"


class Foreign:
    """Sends the attempts of a client by a transport."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def send(self, call: Call, attempt: Attempt) -> Incoming:
        """Have the transport send the request, and read the head of the response."""
        deadline, limits = attempt.deadline, attempt.timeout
        if deadline.expired:
            raise TimeoutError("the deadline has passed")
        connect, read = deadline.bound(limits.connect), deadline.bound(limits.read)
        # Only an error can show that nothing was sent.
        attempt.sent = True
        try:
            response = self._transport.send(outgoing(call), connect=connect, read=read)
        except LOWER_ERRORS as error:
            attempt.sent = not is_unsent(error)
            raise
        received: Any = Received(response, type(self._transport).__name__)
        attempt.connection = received
        return Incoming(received, attempt, call.method, lambda _: received.release())

    def close(self) -> None:
        """Have the transport close its idle connections."""
        self._transport.close()


class Received:
    """A response of a transport, for `Incoming` to read like a connection and its socket."""

    via = None
    proxy_is_forwarding = False

    def __init__(self, response: Any, sender: str) -> None:
        self.sock = self
        self._response: Any = response
        # The name of the transport, for errors.
        self._sender = sender
        self._pid = os.getpid()
        self._timeout: float | None = None
        self._read: Any = None
        # Each read of a thread puts its outcome here. `recv` has asked for one, and not got it.
        self._outcomes: Inbox[tuple[Any]] = Inbox()
        self._asked = False
        self._in_read = False
        self._closed = False
        # The list has the response until somebody ends it.
        self._unended = [response]

    def gettimeout(self) -> float | None:
        return self._timeout

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def recv(self, size: int) -> bytes:
        """Return the head, then the body as it arrives. b"" means that the body has ended."""
        if self._read is None:
            return self._head()
        if not self._asked:
            self._asked = self._in_read = True
            _thread.start_new_thread(copy_context().run, (self._fill,))
        outcome = self._outcomes.get(self._timeout)
        if outcome is None:
            raise TimeoutError("timed out")
        self._asked = False
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        if not isinstance(outcome[0], bytes):
            kind = type(outcome[0]).__name__
            raise ApiTypeError(f"a response of {self._sender} must read bytes, not {kind}")
        return outcome[0]

    def _head(self) -> bytes:
        response = self._response
        try:
            self._read = getattr(response, "read1", None) or response.read
            # The body comes without its transfer coding.
            fields = [
                f"{name}: {value}"
                for name, value in response.headers.items()
                if name.lower() != "transfer-encoding"
            ]
            status = int(response.status)
        except (AttributeError, TypeError, ValueError) as error:
            raise ApiTypeError(f"send() of {self._sender} {_EXPECTED}: {error}") from error
        if status < 200:
            raise http.client.HTTPException(f"{self._sender} returned {status}, which is not final")
        version = 0 if getattr(response, "version", None) == 10 else 1
        lines = f"HTTP/1.{version} {status} {getattr(response, 'reason', None) or ''}", *fields
        text = "\r\n".join(_LINE_END.sub(" ", line) for line in lines)
        return f"{text}\r\n\r\n".encode("latin-1", "replace")

    def _fill(self) -> None:
        try:
            # The size is the only argument, as vcrpy's ``read1`` takes no other.
            outcome = self._read(PIECE)
        except BaseException as error:  # noqa: BLE001 - raised by `recv`
            outcome = error
        self._in_read = False
        self._outcomes.put((outcome,))
        # Without this `del`, an error and this frame would form a reference cycle.
        del outcome
        # `close` sets `_closed`, then reads `_in_read`. So at least one of the two threads sees the
        # other, and ends the response.
        if self._closed:
            self._end("close")

    def wake(self) -> None:
        """Make a `recv` that waits fail at once, and the read of its thread if it can be done."""
        if self._asked:
            self._outcomes.put((Closed("the response was closed"),))
            # Responses of urllib3 can be shut down, unless the body has just ended.
            with contextlib.suppress(*LOWER_ERRORS, AttributeError, RuntimeError, ValueError):
                self._response.shutdown()

    def close(self) -> None:
        """End the response. If a thread reads it, that thread ends it after its read."""
        self._closed = True
        if not self._in_read:
            self._end("close")

    def release(self) -> None:
        """End the response, whose body is complete. Another request may use its connection."""
        self._end("drain_conn")

    def _end(self, how: str) -> None:
        if os.getpid() != self._pid or not self._unended:
            return
        try:
            response = self._unended.pop()
            # Responses of urllib3 have more methods than ``close``.
            getattr(response, how, response.close)()
            getattr(response, "release_conn", bool)()
            # It may refer to a pool, which closes its connections when it is garbage.
            self._response = self._read = None
        except Exception as error:  # noqa: BLE001 - nothing more is needed of the response
            _log.warning("a response of %s cannot be closed: %s", self._sender, repr(error))
