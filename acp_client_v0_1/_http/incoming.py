"""A response as a connection brings it: its head, and its body before the coding is undone.

Strategy: `Incoming` receives bytes and asks `parse` what they mean. A socket's own timeout bounds
one ``recv`` only, so a server that sends a byte now and then would never time out: the limit is set
anew before each ``recv``.

Invariants: no wait goes beyond the attempt's limits. EOF is an error unless the body is
close-delimited; over TLS it needs a close_notify then (RFC 9112, section 9.8). b"" means that the
body is complete by its framing, never that the response was closed. Memory is used for bytes that
have arrived, not for those that a length promises.
"""

from __future__ import annotations

import http.client
import io
import os
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from acp_client_v0_1._deadline import NothingYet
from acp_client_v0_1._http.attempt import Attempt
from acp_client_v0_1._http.parse import Head, HeadParser, framing_of
from acp_client_v0_1._http.tls import shut_down

if TYPE_CHECKING:
    from acp_client_v0_1._http.connection import Connection

__all__ = ["BodyFile", "Closed", "Incoming"]

_PIECE = 65_536  # bytes to receive at once
_MOST_INFORMATIONAL = 20
_SHORTEST_WAIT = 0.001  # seconds


class Closed(ConnectionError):
    """The connection was closed before a response, or before the end of its body."""


class Incoming:
    """A response that a connection receives, after the request is sent.

    Args:
        connection: The connection.
        attempt: The limits of its waits.
        method: The request's method.
        done: Called with the connection if it can be used again after the body.
    """

    def __init__(
        self,
        connection: Connection,
        attempt: Attempt,
        method: str,
        done: Callable[[Connection], object],
    ) -> None:
        self._connection = connection
        self._sock: Any = connection.sock
        self._attempt = attempt
        self._done = done
        self._pid = os.getpid()
        self._quiet = 0.0  # seconds without a byte so far, where the caller waits in steps
        # How it ended, once it has. The first to write wins: a reader that finishes, `close`, or
        # `abort` in another thread, which then cannot hit the connection's next response.
        self._fate: dict[None, str] = {}
        self._received = b""  # not yet looked at
        self._no_notify = False  # TLS ended without a close_notify
        self.head: Head = self._read_head()
        self._framing, self._reusable = framing_of(self.head, method)
        if self._framing.complete:
            self._finish()

    def _read_head(self) -> Head:
        """Read the head, passing over informational responses (RFC 9110, section 15.2)."""
        for _ in range(_MOST_INFORMATIONAL):
            parser = HeadParser()
            head = parser.feed(self._received) if self._received else None
            while head is None:
                data = self._receive()
                if not data:
                    middle = "in the middle of the head" if parser.begun else "without a response"
                    raise Closed(f"the server closed the connection {middle}")
                head = parser.feed(data)
            self._received = parser.rest
            if head.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise http.client.UnknownProtocol("status 101, although no upgrade was requested")
            if head.status >= 200:
                return head
        raise http.client.HTTPException(f"{_MOST_INFORMATIONAL} responses, all informational")

    def read(self, wait: float | None = None) -> bytes:
        """Read what has arrived of the body, before its content coding is undone.

        Args:
            wait: Seconds after which to give up if nothing comes, None for the attempt's limits.

        Returns:
            Bytes; b"" once the body is complete.

        Raises:
            NothingYet: Nothing came within ``wait``.
            OSError: The connection failed, ended, was silent for too long, or was closed.
            HTTPException: The framing is broken.
        """
        try:
            return self._read(None if wait is None else time.monotonic() + wait)
        except NothingYet:
            raise
        except BaseException:
            self.close()
            raise

    def _read(self, until: float | None) -> bytes:
        framing = self._framing
        while True:
            if framing.complete:
                self._finish()
                return b""
            if self._fate:
                raise self._ended()
            received, self._received = self._received, b""
            content = framing.take(received)
            if content:
                if self._framing.complete:
                    self._finish()
                return content
            if not self._framing.complete:
                self._received = self._receive(until)
                if not self._received:
                    self._judge_eof()
                    return b""

    def _receive(self, until: float | None = None) -> bytes:
        """Receive bytes; b"" at EOF."""
        attempt = self._attempt
        if until is not None:
            attempt.patience = self._patience(until)
        try:
            attempt.limit(self._sock)
            data: bytes = self._sock.recv(_PIECE)
        except TimeoutError:
            if attempt.patience is not None:
                self._quiet += attempt.patience
                if not (attempt.deadline.expired or self._is_silent()):
                    raise NothingYet from None
            raise
        except (OSError, ValueError, AttributeError) as error:
            if self._fate:  # TLS raises anything if another thread closes it
                raise self._ended() from error
            if not isinstance(error, ssl.SSLEOFError):
                raise
            self._no_notify = True
            data = b""
        finally:
            attempt.patience = None
        if data:
            self._quiet = 0.0
        elif self._fate:
            raise self._ended()
        return data

    def _patience(self, until: float) -> float:
        wait = max(until - time.monotonic(), _SHORTEST_WAIT)
        limit = self._attempt.timeout.read
        return wait if limit is None else min(wait, max(limit - self._quiet, _SHORTEST_WAIT))

    def _is_silent(self) -> bool:
        limit = self._attempt.timeout.read
        return limit is not None and self._quiet >= limit

    def _ended(self) -> Closed:
        return Closed(f"the response was {self._fate.get(None)} before its end")

    def _judge_eof(self) -> None:
        if not self._framing.may_end():
            raise Closed("the server closed the connection in the middle of the body")
        # If it is an error, its status matters more.
        if self._no_notify and self.head.status < 300 and not self._framing.delimited:
            raise Closed("TLS ended without a close_notify, so that the body may be truncated")
        self._framing.complete = True
        self._reusable = False
        self._finish()

    def _finish(self) -> None:
        """Give the connection back, or close it."""
        if self.finished:
            return
        reusable = self._reusable and not (self._received or self._framing.rest)
        # Before the connection goes back, so that an abort cannot hit its next response.
        if self._fate.setdefault(None, "finished") == "finished" and reusable:
            self._attempt.connection = None
            self._done(self._connection)
        else:
            self._connection.close()

    @property
    def finished(self) -> bool:
        """True once the body is complete."""
        return self._fate.get(None) == "finished"

    @property
    def closed(self) -> bool:
        """True if it was closed before the body was complete."""
        return bool(self._fate) and not self.finished

    def abort(self) -> None:
        """Wake a read of another thread, which then fails; the connection is lost."""
        if os.getpid() == self._pid and self._fate.setdefault(None, "aborted") == "aborted":
            shut_down(self._sock)

    def close(self) -> None:
        """Close the connection, unless the body is complete.

        In a forked process this ends nothing for the parent, and sends nothing.
        """
        self.abort()
        if not self.finished:
            self._fate.setdefault(None, "closed")
            self._connection.close()

    def hasten(self, seconds: float) -> None:
        """Cap the time left for reading the body."""
        self._attempt.deadline = self._attempt.deadline.earlier(seconds)

    def check_deadline(self) -> None:
        """Raise `TimeoutError` if the call's time is over."""
        if self._attempt.deadline.expired:
            raise TimeoutError("the deadline has passed")

    def __del__(self) -> None:
        if getattr(self, "_framing", None) is not None and not self._fate:
            self._connection.close()


class BodyFile:
    """The body as a file, for urllib3's response; ``wait`` is an argument of `Incoming.read`."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._ready = io.BytesIO()
        self.wait: float | None = None

    def read1(self, size: int | None = None) -> bytes:
        """Read what has arrived; b"" at the end."""
        content = self._ready.read(size)
        if content or size == 0:
            return content
        content = self._incoming.read(self.wait)
        if size is None or len(content) <= size:
            return content
        self._ready = io.BytesIO(content)
        return self._ready.read(size)

    def read(self, size: int | None = None) -> bytes:
        """Read all of it, or exactly ``size`` bytes; fewer only at the end."""
        pieces: list[bytes] = []
        left = size
        while left is None or left > 0:
            piece = self.read1(left)
            if not piece:
                break
            pieces.append(piece)
            left = None if left is None else left - len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close the response."""
        self._incoming.close()

    @property
    def closed(self) -> bool:
        """True at the end of the body, and after `close`."""
        unread = len(self._ready.getbuffer()) - self._ready.tell()
        return self._incoming.closed or (self._incoming.finished and not unread)
