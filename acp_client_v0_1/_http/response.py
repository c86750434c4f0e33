"""A response, as callers see it: status, headers, and the body as it arrives.

Strategy: `Incoming` reads the connection. `RESTResponse` decodes the content coding, limits how
many bytes are kept, and raises the errors of this package. `_Urllib3Response` is urllib3's response
over the same bytes, for code that uses the API of urllib3.

By default a request has ``Accept-Encoding: identity``, but some servers encode the body all the
same (RFC 9110, section 8.4). Callers may also send another ``Accept-Encoding``. A body with two
codings or more is refused, because each coding multiplies the size to which a few bytes can expand.

Invariant: a truncated encoded body is never taken for a complete one. A read of such a body raises
an error, or `RESTResponse.fault` is set. This holds for the methods of `RESTResponse` only. Code
that reads through `RESTResponse.response` gets what urllib3 decodes: urllib3 accepts truncated
gzip, and it decodes several codings.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Generator
from typing import TypeAlias

from urllib3 import BaseHTTPResponse, HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import DecodeError

from acp_client_v0_1._http.attempt import PIECE
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.coding import Decoder, coding_of
from acp_client_v0_1._http.errors import LOWER_ERRORS, public_error
from acp_client_v0_1._http.incoming import Incoming
from acp_client_v0_1._http.retry import failure_of_status
from acp_client_v0_1._text import short
from acp_client_v0_1.exceptions import ApiException, ResponseDecodeError, ResponseTooLarge

RawResponse: TypeAlias = BaseHTTPResponse
"""urllib3's response."""

# If the status is 300 or above, at most this much of the body is kept.
_MOST_OF_AN_ERROR = 1_048_576  # bytes

# The limits of `read_beginning`. After a request for a stream, an unexpected body may have no end,
# and the timeouts are long.
_MOST_QUOTED = 65_536  # bytes
_QUOTED_WITHIN = 3.0  # seconds


class _Urllib3Response(HTTPResponse):
    """urllib3's response over an `Incoming`, or over a body that was read before."""

    incoming: Incoming

    def supports_chunked_reads(self) -> bool:
        return True

    def read_chunked(
        self, amt: int | None = None, decode_content: bool | None = None
    ) -> Generator[bytes, None, None]:
        """Yield the body as it arrives, up to ``amt`` bytes at a time.

        urllib3's `stream` calls this method for a chunked body. As in urllib3, ``decode_content``
        is off by default.
        """
        while piece := self.read1(amt, bool(decode_content)):
            yield piece

    def release_conn(self) -> None:
        """Close the connection if the body is incomplete. Otherwise leave it in its pool."""
        self.incoming.close()

    def shutdown(self) -> None:
        self.incoming.abort()


class RESTResponse:
    """A response. Its body is read on demand, and `read` accepts at most ``limit`` bytes.

    Attributes:
        status: The status code.
        reason: The reason phrase.
        headers: The headers. Their names are not case-sensitive.
        method: The request's method.
        data: The decoded body, or None while the body is unread.
        fault: The failure that ended the body early, if `read` or `read_beginning` returned the
            bytes before the failure and did not raise. Otherwise None.
        attempts: 1 plus the number of retries.
        elapsed: Seconds from the beginning of the call to the response.
    """

    def __init__(self, call: Call, incoming: Incoming, limit: int | None = None) -> None:
        head = incoming.head
        self.status: int = head.status
        self.reason: str = head.reason
        self.headers: HTTPHeaderDict = head.headers
        self.method: str = call.method
        self.data: bytes | None = None
        self.fault: ApiException | None = None
        # `RESTClientObject` sets both.
        self.attempts: int
        self.elapsed: float
        self._call = call
        self._incoming = incoming
        self._limit = limit
        # The decoder is made when the first bytes of an encoded body are read.
        self._decoder: Decoder | None = None
        self._raw: _Urllib3Response | None = None

    def __repr__(self) -> str:
        return f"<RESTResponse {self.method} {self.status} {short(self.reason)}>"

    @property
    def url(self) -> str:
        """The URL of the response, after redirects."""
        return self._call.target.url

    @property
    def credentials(self) -> str | None:
        """The names of the request's possible credentials. None after a cross-origin redirect."""
        return None if self._call.cross_origin else self._call.credentials

    def hidden(self, text: str) -> str:
        """Return a text of the server with ``***`` for each credential of the request."""
        return self._call.hidden(text)

    @property
    def redirected_to(self) -> str:
        """The origin that a cross-origin redirect led to. "" if there was no such redirect."""
        return str(self._call.target.origin) if self._call.cross_origin else ""

    @property
    def redirected(self) -> bool:
        """Whether a redirect led to another path."""
        return self._call.elsewhere

    @property
    def proxy(self) -> str:
        """The proxy that forwarded the request. The proxy itself may have sent the response.

        "" if there was no proxy, or if the proxy only passed the bytes on (a tunnel, or SOCKS).
        """
        via = self._incoming.via
        return str(via) if via and not via.is_socks and self.url[:5] == "http:" else ""

    @property
    def response(self) -> RawResponse:
        """urllib3's response, which reads the same body."""
        # An earlier `read_available` may have set ``wait``. Then a read could raise `NothingYet`,
        # which urllib3's response cannot handle.
        self._incoming.wait = None
        if self._raw is None:
            unread, version = self.data is None, self._incoming.head.version
            self._raw = _Urllib3Response(
                self._incoming if unread else io.BytesIO(self.data or b""),  # type: ignore[arg-type]
                headers=self.headers,
                status=self.status,
                version=version,
                version_string=f"HTTP/{version // 10}.{version % 10}",
                reason=self.reason,
                preload_content=False,
                decode_content=unread,
                enforce_content_length=unread,
                request_method=self.method,
                request_url=self.url,
            )
            self._raw.incoming = self._incoming
        return self._raw

    @property
    def ambiguous(self) -> bool:
        """True if the status leaves open whether an unsafe request was carried out."""
        return not self._call.safe and failure_of_status(self.status).kind == "lost"

    def getheaders(self) -> HTTPHeaderDict:
        """Return all headers."""
        return self.headers

    def getheader(self, name: str, default: str | None = None) -> str | None:
        """Return the value of a header, or ``default``. The name may be in any case."""
        return self.headers.get(name, default)

    def check_coding(self) -> None:
        """If the content coding is not supported, close the response and raise.

        A response without content needs no coding.

        Raises:
            ResponseDecodeError: The content coding is not supported.
        """
        try:
            if not self._incoming.finished:
                coding_of(self.headers.get("content-encoding", ""))
        except DecodeError as error:
            self.close()
            raise self._failure(error) from error

    def read(self) -> bytes:
        """Return the decoded body, and keep it in ``data``.

        If `read_available` has returned a part of the body before, only the rest is returned and
        kept.

        If the status is 300 or above, the status matters more than the body. In this case:

        * At most 1 MiB is returned.
        * If the body breaks off or cannot be decoded, the part before the fault is returned.

        Raises:
            ApiTimeoutError: Time ran out, whatever the status is.
            TransportException: The connection failed, and the status is below 300.
            ResponseDecodeError: The content coding is broken, and the status is below 300.
            ResponseTooLarge: The body is larger than the limit, and the status is below 300.
        """
        if self.data is None:
            most = self._limit or sys.maxsize
            if self.status >= 300:
                most = min(most, _MOST_OF_AN_ERROR)
            body = self._gathered(most)
            if len(body) > most:
                self.close()
                if self.status < 300:
                    text = body[: min(most, _MOST_OF_AN_ERROR)].decode("utf-8", "replace")
                    raise ResponseTooLarge(limit=most, http_resp=self, body=text)
            self.data = body[:most]
        return self.data

    def read_beginning(self) -> bytes:
        """Return the beginning of an unexpected body, for an error to quote. Close the response.

        This returns at most 64 KiB, and reads for at most 3 seconds. If a read fails or the time
        runs out, the bytes that have arrived are returned, and the error is in `fault`. If the 3
        seconds run out, this error still names the read timeout of the call.
        """
        if self.data is None:
            attempt = self._incoming.attempt
            attempt.until = attempt.deadline.earlier(_QUOTED_WITHIN).earlier(attempt.timeout.read)
            self.data = self._gathered(_MOST_QUOTED, quoted=True)[:_MOST_QUOTED]
            self.close()
        return self.data

    def read_available(self, limit: int = PIECE, *, wait: float | None = None) -> bytes:
        """Return the bytes of the body that have arrived, decoded. Wait only if there are none.

        Args:
            limit: The most bytes to return.
            wait: Seconds to wait for the first byte. By default, only the timeouts of the call
                limit the wait.

        Returns:
            Decoded bytes. b"" means that the body is complete.

        Raises:
            NothingYet: Nothing arrived within ``wait``. Reading can continue.
            ConnectionException: The connection ended before the body did, or `abort` was called.
            ProtocolException: The body's framing is broken.
            ApiTimeoutError: The call's deadline passed, or the server was silent for too long.
            ResponseDecodeError: The content coding is broken.
        """
        return self._read(limit, wait) if self.data is None else b""

    def abort(self) -> None:
        """End the body now, from any thread. A blocked ``read_available`` raises at once."""
        self._incoming.abort()

    def close(self) -> None:
        """Close the connection if the body is incomplete. Otherwise leave it in its pool."""
        self._incoming.close()

    def _gathered(self, most: int, *, quoted: bool = False) -> bytes:
        """Read the body until the body ends, or until more than ``most`` bytes were read.

        Some failures to read the body are not raised. They are kept in `fault`, and the bytes
        before the failure are returned:

        * any failure, if the body is only read to be ``quoted``
        * any failure but a timeout, if the status is 300 or above
        """
        pieces: list[bytes] = []
        size = 0
        try:
            while size <= most and (piece := self._read(PIECE, None)):
                pieces.append(piece)
                size += len(piece)
                if self._decoder is None and self._incoming.finished:
                    # The body is complete, so the next read would only return b"".
                    break
        except ApiException as error:
            if not quoted and (self.status < 300 or isinstance(error, TimeoutError)):
                raise
            self.fault = error
        return b"".join(pieces)

    def _read(self, limit: int, wait: float | None) -> bytes:
        incoming = self._incoming
        incoming.wait = wait
        try:
            received = b""
            if self._decoder is None:
                received = incoming.read1(limit)
                if not received or "content-encoding" not in self.headers:
                    return received
                coding = coding_of(self.headers["content-encoding"])
                if not coding:
                    return received
                self._decoder = Decoder(coding)
            while not (piece := self._decoder.decode(received, limit)):
                received = incoming.read1(limit)
                if not received:
                    if self._decoder.unfinished:
                        raise DecodeError("it ends too early")
                    return b""
            # A few bytes may decode to gigabytes, in many pieces, without a wait for the socket. So
            # each piece checks the deadline.
            if incoming.attempt.until.expired:
                raise TimeoutError("the deadline has passed")
        except LOWER_ERRORS as error:
            self.close()
            raise self._failure(error) from error
        return piece

    def _failure(self, error: BaseException) -> ApiException:
        if isinstance(error, DecodeError):
            coding = self.headers.get("content-encoding", "")
            reason = f"the content, coded as {coding[:40]!r}, cannot be decoded: {error.args[-1]}"
            return ResponseDecodeError(reason=reason, http_resp=self)
        failure = public_error(error, self._call, sent=True, reading=True)
        failure.status, failure.headers = self.status, self.headers
        return failure
