"""A response, as callers see it: status, headers, and the body as it arrives.

Strategy: `Incoming` reads the connection. `RESTResponse` decodes the content coding, bounds the
bytes that it keeps, and raises the errors of this package. `_Urllib3Response` is urllib3's response
over the same bytes, for code that uses the API of urllib3.

By default a request has ``Accept-Encoding: identity``, but some servers encode the body all the
same (RFC 9110, section 8.4). Callers may also send another ``Accept-Encoding``. A body may have
only one coding, because each further coding would multiply the size to which a few bytes can
expand.

Invariant: an encoded body that is truncated is an error.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Generator
from typing import TypeAlias

from urllib3 import BaseHTTPResponse, HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import DecodeError

from acp_client_v0_1._errors import short
from acp_client_v0_1._http.attempt import PIECE
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.coding import CODINGS, Decoder
from acp_client_v0_1._http.errors import LOWER_ERRORS, public_error
from acp_client_v0_1._http.incoming import Incoming
from acp_client_v0_1._http.retry import failure_of_status
from acp_client_v0_1.exceptions import ApiException, ResponseDecodeError, ResponseTooLarge

RawResponse: TypeAlias = BaseHTTPResponse
"""urllib3's response."""

_MOST_OF_AN_ERROR = 1_048_576  # bytes

# An error quotes this much of an unexpected response to a request for a stream. The response may
# have no end, and the timeouts of streams are long.
_MOST_QUOTED = 65_536  # bytes
_QUOTED_WITHIN = 3.0  # seconds


class _Urllib3Response(HTTPResponse):
    """urllib3's response, over a body that may be unread."""

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
        if amt == 0:
            return
        while piece := self.read1(amt, bool(decode_content)):
            yield piece

    def release_conn(self) -> None:
        """Close the connection. If the body is complete, the connection stays in its pool."""
        self.incoming.close()

    def shutdown(self) -> None:
        self.incoming.abort()


class RESTResponse:
    """A response. Its body, of at most ``limit`` bytes, is read on demand.

    Attributes:
        status: The status code.
        reason: The reason phrase.
        headers: The headers. Their names are not case-sensitive.
        method: The request's method.
        data: The decoded body, or None while the body is unread.
        fault: The failure that truncated the body of an error or of an unexpected response, or
            None.
        attempts: How often the request was sent.
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
        # The loop of attempts sets both.
        self.attempts: int = 1
        self.elapsed: float = 0.0
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

    @property
    def redirected_to(self) -> str:
        """The origin that a cross-origin redirect led to. "" if there was no such redirect."""
        return str(self._call.target.origin) if self._call.cross_origin else ""

    @property
    def proxy(self) -> str:
        """The proxy that forwarded the request, and that may have sent the response itself.

        "" if the request went to the server, perhaps through a tunnel.
        """
        via = self._incoming.via
        return str(via) if via and not via.is_socks and self.url[:5] == "http:" else ""

    @property
    def response(self) -> RawResponse:
        """urllib3's response, which reads the same body."""
        # An earlier `read_available` may have set ``wait``. urllib3's response cannot cope with a
        # `NothingYet`.
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
        """True if the status leaves open whether a request that is not safe was carried out."""
        return not self._call.safe and failure_of_status(self.status).kind == "lost"

    def getheaders(self) -> HTTPHeaderDict:
        """Return all headers."""
        return self.headers

    def getheader(self, name: str, default: str | None = None) -> str | None:
        """Return the value of a header, or ``default``. The name may be in any case."""
        return self.headers.get(name, default)

    def check_coding(self) -> None:
        """If the content coding is not supported, close and raise `ResponseDecodeError`."""
        try:
            _coding_of(self.headers)
        except DecodeError as error:
            self.close()
            raise self._failure(error) from error

    def read(self) -> bytes:
        """Return the decoded body, and keep it in ``data``.

        If a part of the body was read before, only the rest is returned and kept. If the status is
        300 or above, at most 1 MiB is read. If such a body breaks off or cannot be decoded, the
        part before that is returned, because the status matters more than the body.

        Raises:
            TransportException: The connection failed, or time ran out.
            ResponseDecodeError: The content coding is broken.
            ResponseTooLarge: The body is larger than the limit.
        """
        if self.data is None:
            self.data = self._whole()
        return self.data

    def read_beginning(self) -> bytes:
        """Return the beginning of an unexpected body, for an error to quote, and close.

        About 64 KiB are read, for at most 3 seconds. If those seconds ran out, or the body broke
        off, `fault` has the error.
        """
        if self.data is None:
            attempt = self._incoming.attempt
            attempt.until = attempt.deadline.earlier(_QUOTED_WITHIN).earlier(attempt.timeout.read)
            self.data = self._gathered(_MOST_QUOTED, quoted=True)[:_MOST_QUOTED]
            self.close()
        return self.data

    def read_available(self, limit: int = PIECE, *, wait: float | None = None) -> bytes:
        """Return the bytes of the body that have arrived, decoded, and wait only if there are none.

        Args:
            limit: The most bytes to return.
            wait: Seconds to wait for the first byte. By default the read waits for as long as the
                timeouts of the call allow.

        Returns:
            Decoded bytes. b"" means that the body is complete.

        Raises:
            NothingYet: Nothing arrived within ``wait``. Reading can continue.
            ConnectionException: The connection ended before the body did, or was aborted.
            ProtocolException: The body's framing is broken.
            ApiTimeoutError: The call's deadline passed, or the server was silent for too long.
            ResponseDecodeError: The content coding is broken.
        """
        return self._read(limit, wait) if self.data is None else b""

    def abort(self) -> None:
        """End the body now, from any thread. A blocked ``read_available`` raises at once."""
        self._incoming.abort()

    def close(self) -> None:
        """Close the connection. If the body is complete, the connection stays in its pool."""
        self._incoming.close()

    def _whole(self) -> bytes:
        most = self._limit or sys.maxsize
        if self.status >= 300:
            most = min(most, _MOST_OF_AN_ERROR)
        body = self._gathered(most)
        if len(body) <= most:
            return body
        self.close()
        beginning = body[: min(most, _MOST_OF_AN_ERROR)]
        if self.status >= 300:
            return beginning
        text = beginning.decode("utf-8", "replace")
        raise ResponseTooLarge(limit=most, http_resp=self, body=text)

    def _gathered(self, most: int, *, quoted: bool = False) -> bytes:
        """Read the body until it ends or exceeds ``most`` bytes.

        If the body is only ``quoted``, a failure to read it, timeouts included, is kept in `fault`,
        and what was read is returned. If the status is 300 or above, the same holds for any failure
        but a timeout. All other failures are raised.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            while size <= most and (piece := self._read(PIECE, None)):
                pieces.append(piece)
                size += len(piece)
                if self._decoder is None and self._incoming.finished:
                    # The body is complete, so the read that would return b"" is saved.
                    break
        except ApiException as error:
            if not quoted and (self.status < 300 or isinstance(error, TimeoutError)):
                raise
            self.fault = error
        return b"".join(pieces)

    def _read(self, limit: int, wait: float | None) -> bytes:
        try:
            return self._piece(limit, wait)
        except LOWER_ERRORS as error:
            self.close()
            raise self._failure(error) from error

    def _piece(self, limit: int, wait: float | None) -> bytes:
        incoming = self._incoming
        incoming.wait = wait
        if self._decoder is None:
            coding = _coding_of(self.headers)
            if not coding:
                return incoming.read1(limit)
            self._decoder = Decoder(coding)
        received = b""
        while not (piece := self._decoder.decode(received, limit)):
            received = incoming.read1(limit)
            if not received:
                if self._decoder.unfinished:
                    raise DecodeError("it ends too early")
                return b""
        # A few bytes may decode to gigabytes without a wait for the socket. So the deadline is
        # checked here, too.
        if incoming.attempt.until.expired:
            raise TimeoutError("the deadline has passed")
        return piece

    def _failure(self, error: BaseException) -> ApiException:
        if isinstance(error, DecodeError):
            coding = self.headers.get("content-encoding", "")
            reason = f"the content, coded as {coding[:40]!r}, cannot be decoded: {error.args[-1]}"
            return ResponseDecodeError(reason=reason, http_resp=self)
        failure = public_error(error, self._call, sent=True, reading=True)
        failure.status, failure.headers = self.status, self.headers
        return failure


def _coding_of(headers: HTTPHeaderDict) -> str:
    """Return the content coding of a body, or "" if it has none.

    Raises `DecodeError` if the coding is not supported.
    """
    if "content-encoding" not in headers:
        return ""
    names = [name.strip() for name in headers["content-encoding"].lower().split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if len(names) > 1:
        raise DecodeError("more than one coding is not accepted")
    if names and names[0] not in CODINGS:
        raise DecodeError("the coding is not supported")
    return names[0] if names else ""
