"""A response: its status and headers, and its body as it arrives.

Strategy: `Incoming` reads the socket and asks `parse` what the bytes mean. `RESTResponse` undoes
the content coding, bounds what is kept, and turns errors into those of the tree. `UnreadResponse`
is urllib3's response over the same bytes, for callers that want it.

A socket's own timeout bounds one ``recv`` only, so a server that sends a byte now and then would
never time out: the limit is set anew before each ``recv``.

Invariants: no wait goes beyond the attempt's limits. EOF is an error unless the body is
close-delimited; over TLS it needs a close_notify then (RFC 9112, section 9.8). b"" means that HTTP
says the body is complete, never that somebody closed the response. Memory is taken for bytes that
have come, not for those that a length promises. In a forked process nothing is read from a
connection of the parent.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import ssl
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeAlias

from urllib3 import BaseHTTPResponse, HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import DecodeError

from acp_client_v0_1._deadline import NothingYet
from acp_client_v0_1._http.attempt import Attempt
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.coding import DecodedBody, coding_of
from acp_client_v0_1._http.errors import LOWER_ERRORS, failure_of
from acp_client_v0_1._http.parse import Head, HeadParser, framing_of
from acp_client_v0_1._http.retry import is_ambiguous
from acp_client_v0_1._http.tls import innermost
from acp_client_v0_1.exceptions import ResponseDecodeError, ResponseTooLarge, TransportException

if TYPE_CHECKING:
    from acp_client_v0_1._http.connection import Connection

__all__ = ["Incoming", "RESTResponse", "RawResponse"]

RawResponse: TypeAlias = BaseHTTPResponse
"""urllib3's response."""

_PIECE = 65_536  # bytes that are asked for at once
_MOST_INFORMATIONAL = 20
_MOST_OF_AN_ERROR = 1_048_576  # bytes
_SHORTEST_WAIT = 0.001  # seconds


class Closed(ConnectionError):
    """The connection was closed where a response, or more of it, was due."""


class Incoming:
    """A response that a connection brings.

    Args:
        connection: The connection; the request is sent.
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
        self.head = self._read_head()
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
                raise http.client.UnknownProtocol("status 101, which nobody asked for")
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
        # Of an error, its status says the most.
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
        """True if it ended before the body did."""
        return bool(self._fate) and not self.finished

    def abort(self) -> None:
        """Wake a read of another thread, which then fails; the connection is lost."""
        if os.getpid() == self._pid and self._fate.setdefault(None, "aborted") == "aborted":
            with contextlib.suppress(OSError, TypeError):
                # ssl's own method would disturb a reader.
                socket.socket.shutdown(innermost(self._sock), socket.SHUT_RDWR)

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
    """The body as a file, which is what urllib3's response reads.

    Args:
        incoming: The response.

    Attributes:
        wait: How long the next read may wait for the first byte, in seconds.
    """

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
        """Read all of it, or up to a size; less only at the end."""
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
        """True once nothing more comes."""
        unread = len(self._ready.getbuffer()) - self._ready.tell()
        return self._incoming.closed or (self._incoming.finished and not unread)


class UnreadResponse(HTTPResponse):
    """urllib3's response, for callers that want the body unread."""

    def __init__(self, incoming: Incoming, method: str, url: str) -> None:
        head = incoming.head
        self._incoming = incoming
        super().__init__(
            BodyFile(incoming),  # type: ignore[arg-type]
            headers=head.headers,
            status=head.status,
            version=head.version,
            version_string=f"HTTP/{head.version // 10}.{head.version % 10}",
            reason=head.reason,
            preload_content=False,
            request_method=method,
            request_url=url,
        )

    def supports_chunked_reads(self) -> bool:
        """Whether `read_chunked` can be used."""
        return True

    def read_chunked(
        self, amt: int | None = None, decode_content: bool | None = None
    ) -> Generator[bytes, None, None]:
        """Read the body as it arrives; `stream` does so as well if it is chunked.

        Args:
            amt: Bytes that a piece may have, None for no limit.
            decode_content: Undo the content coding; None is False, as urllib3 has it here.

        Yields:
            What has arrived.
        """
        if amt == 0:
            return
        while piece := self.read1(amt, bool(decode_content)):
            yield piece

    def release_conn(self) -> None:
        """Close the connection, unless the body is complete and it is back in its pool."""
        self.close()

    def shutdown(self) -> None:
        """Wake a read of another thread, which then fails."""
        self._incoming.abort()


class RESTResponse:
    """A response.

    Args:
        call: The call that it is for.
        incoming: The response, its body unread.
        limit: The most bytes that `read` takes in, None for no limit.

    Attributes:
        status: The status code.
        reason: The reason phrase.
        headers: The headers; their names are not case-sensitive.
        method: The request's method.
        data: The decoded body, None while it is unread.
        attempts: How often the request was sent for it.
        elapsed: Seconds from the beginning of the call to the response.
    """

    __slots__ = (
        "_call",
        "_complete",
        "_decoded",
        "_file",
        "_incoming",
        "_limit",
        "_pid",
        "_raw",
        "attempts",
        "data",
        "elapsed",
        "headers",
        "method",
        "reason",
        "status",
    )

    def __init__(self, call: Call, incoming: Incoming, limit: int | None = None) -> None:
        head = incoming.head
        self.status: int = head.status
        self.reason: str = head.reason
        self.headers: HTTPHeaderDict = head.headers
        self.method: str = call.method
        self.data: bytes | None = None
        self.attempts = 1
        self.elapsed = 0.0
        self._call = call
        self._incoming = incoming
        self._limit = limit
        self._complete = False
        self._pid = os.getpid()
        self._decoded: DecodedBody | None = None  # once some was read of a coded body
        self._file: BodyFile | None = None  # the same
        self._raw: RawResponse | None = None

    def __repr__(self) -> str:
        return f"<RESTResponse {self.method} {self.status} {self.reason}>"

    @property
    def url(self) -> str:
        """The URL that answered, after redirects."""
        return self._call.target.url

    @property
    def response(self) -> RawResponse:
        """urllib3's response; what is read from it is not seen here."""
        if self._raw is None:
            if self.data is None:
                self._raw = UnreadResponse(self._incoming, self.method, self.url)
            else:
                self._raw = HTTPResponse(
                    io.BytesIO(self.data),
                    headers=self.headers,
                    status=self.status,
                    version=self._incoming.head.version,
                    reason=self.reason,
                    preload_content=False,
                    decode_content=False,
                    enforce_content_length=False,
                    request_method=self.method,
                    request_url=self.url,
                )
        return self._raw

    @property
    def ambiguous(self) -> bool:
        """True if the status leaves open whether a change was carried out."""
        return not self._call.safe and is_ambiguous(self.status)

    def getheaders(self) -> HTTPHeaderDict:
        """Give all headers."""
        return self.headers

    def getheader(self, name: str, default: str | None = None) -> str | None:
        """Give the value of one header.

        Args:
            name: Its name, in any case.
            default: What to give where it is missing.
        """
        return self.headers.get(name, default)

    def check_coding(self) -> None:
        """Refuse, and close, a response whose content coding is not supported.

        Raises:
            ResponseDecodeError: The ``Content-Encoding`` is not supported.
        """
        try:
            coding_of(self.headers)
        except DecodeError as error:
            self.close()
            raise self._decode_error(error) from error

    def read(self) -> bytes:
        """Read all of the body, or what is left of it; the result stays in ``data``.

        Of an error (status 300 and above), no more than 1 MiB is read.

        Returns:
            The decoded body.

        Raises:
            TransportException: The connection failed, or time ran out.
            ResponseDecodeError: The content coding is broken.
            ResponseTooLarge: The body is larger than the limit.
        """
        if self.data is None:
            self.data = self._whole()
            self._complete = True
        return self.data

    def read_available(self, limit: int = _PIECE, *, wait: float | None = None) -> bytes:
        """Read what has arrived of the body; waits only where nothing has.

        Args:
            limit: The most bytes to return, at least 65,536.
            wait: Seconds to wait for the first of them, None for as long as the call may last.

        Returns:
            Decoded bytes; b"" only once HTTP says that the body is complete.

        Raises:
            NothingYet: Nothing came within ``wait``; the response can be read on.
            ConnectionException: The connection ended before the body did, or was aborted.
            ProtocolException: The body's framing is broken.
            ApiTimeoutError: The call's time is over, or the server was silent for too long.
            ResponseDecodeError: The content coding is broken.
        """
        if self._complete:
            return b""
        piece = self._read(limit, wait)
        self._complete = not piece
        return piece

    def hasten(self, seconds: float) -> None:
        """Cap the time left for reading the body.

        Args:
            seconds: How long it may take from now on, if the call's own limit is not shorter.
        """
        self._incoming.hasten(seconds)

    def abort(self) -> None:
        """End the body now, from any thread; a blocked ``read_available`` raises at once."""
        self._incoming.abort()

    def close(self) -> None:
        """Close the connection, unless the body is complete and it is back in its pool."""
        self._incoming.close()

    def _whole(self) -> bytes:
        """Read what is left of the body."""
        most = self._limit
        if self.status >= 300:
            most = _MOST_OF_AN_ERROR if most is None else min(most, _MOST_OF_AN_ERROR)
        pieces: list[bytes] = []
        size = 0
        while piece := self._read(_PIECE, None):
            pieces.append(piece)
            size += len(piece)
            if most is not None and size > most:
                self.close()
                return self._cut(b"".join(pieces)[:most], most)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _cut(self, begin: bytes, most: int) -> bytes:
        if self.status >= 300:
            return begin
        raise ResponseTooLarge(
            limit=most,
            status=self.status,
            headers=self.headers,
            body=begin.decode("utf-8", "replace"),
            method=self.method,
            url=self.url,
        )

    def _read(self, limit: int, wait: float | None) -> bytes:
        try:
            if self._pid != os.getpid():
                raise Closed("the response belongs to another process")
            return self._piece(limit, wait)
        except NothingYet:
            raise
        except DecodeError as error:
            self.close()
            raise self._decode_error(error) from error
        except LOWER_ERRORS as error:
            self.close()
            raise self._failure(error) from error
        except BaseException:
            self.close()
            raise

    def _piece(self, limit: int, wait: float | None) -> bytes:
        if self._decoded is None:
            coding = "" if "content-encoding" not in self.headers else coding_of(self.headers)
            if not coding:
                return self._incoming.read(wait)
            self._file = BodyFile(self._incoming)
            self._decoded = DecodedBody(coding, self._file)
        if self._file is not None:
            self._file.wait = wait
        piece = self._decoded.read(limit)
        # A few bytes may stand for gigabytes, which come without a wait.
        self._incoming.check_deadline()
        return piece

    def _failure(self, error: BaseException) -> TransportException:
        failure = failure_of(error, self._call, sent=True, reading=True)
        failure.status, failure.headers = self.status, self.headers
        return failure

    def _decode_error(self, error: DecodeError) -> ResponseDecodeError:
        coding = self.headers.get("content-encoding", "")
        reason = f"the content, coded as {coding[:40]!r}, cannot be decoded: {error.args[-1]}"
        return ResponseDecodeError(
            self.status, reason, headers=self.headers, method=self.method, url=self.url
        )
