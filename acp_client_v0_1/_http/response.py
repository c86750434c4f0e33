"""An answer: its status and headers, and its body as it arrives.

Strategy: urllib3's response does the reading; here its errors become those of the tree, and what it
leaves open is decided: what the end of a closed answer means, and who may end a read.

Invariants: b"" means that HTTP says the body is complete, never that somebody closed the answer; in
a forked process nothing is read from, or done to, a connection of the parent.
"""

from __future__ import annotations

import os

from urllib3 import BaseHTTPResponse as RawResponse
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import DecodeError

from acp_client_v0_1._http.answer import Answer, BadFraming, Closed
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.failure import LOWER_ERRORS, failure_of
from acp_client_v0_1.exceptions import ResponseDecodeError, TransportException

__all__ = ["RESTResponse", "RawResponse"]

_PIECE = 65_536  # bytes that are asked for at once


class RESTResponse:
    """An answer.

    Attributes:
        status: The status code.
        reason: The reason phrase.
        headers: The headers; their names are not case-sensitive.
        method: The request's method.
        data: The decoded body, None while it is unread.
        response: The answer as urllib3 gives it.
    """

    __slots__ = (
        "_call",
        "_closed",
        "_complete",
        "_pid",
        "data",
        "headers",
        "method",
        "reason",
        "response",
        "status",
    )

    def __init__(self, call: Call, response: RawResponse) -> None:
        self.status: int = response.status
        self.reason: str = response.reason or ""
        self.headers: HTTPHeaderDict = response.headers
        self.method: str = call.method
        self.data: bytes | None = None
        self.response: RawResponse = response
        self._call = call
        self._complete = False
        self._closed = False
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"<RESTResponse {self.method} {self.status} {self.reason}>"

    @property
    def url(self) -> str:
        """The URL that answered, after redirects."""
        return self._call.target.url

    @property
    def ambiguous(self) -> bool:
        """True if the status leaves open whether a change was carried out."""
        return not self._call.safe and self.status in (408, 500, 502, 503, 504)

    def getheaders(self) -> HTTPHeaderDict:
        """Give all headers."""
        return self.headers

    def getheader(self, name: str, default: str | None = None) -> str | None:
        """Give the value of one header."""
        return self.headers.get(name, default)

    def read(self) -> bytes:
        """Read all of the body, or what is left of it; the result stays in ``data``.

        Raises:
            TransportException: The connection failed, or time ran out.
            ResponseDecodeError: The content coding is broken.
        """
        if self.data is None:
            self.data = self._read(None)
            self._complete = True
        return self.data

    def read_available(self) -> bytes:
        """Read what has arrived of the body; waits only where nothing has.

        Returns:
            Decoded bytes; b"" only once HTTP says that the body is complete.

        Raises:
            ConnectionException: The connection ended before the body did, or was aborted.
            ProtocolException: The body's framing is broken.
            ApiTimeoutError: The call's time is over, or the server was silent for too long.
            ResponseDecodeError: The content coding is broken.
        """
        if self._complete:
            return b""
        piece = self._read(_PIECE)
        self._complete = not piece
        return piece

    def abort(self) -> None:
        """End the body now, from any thread; a blocked ``read_available`` raises at once."""
        answer = self._answer
        if answer is not None:
            answer.abort()

    def close(self) -> None:
        """Close the connection, unless the body is complete and it is back in its pool."""
        self._closed = True
        self.abort()
        self.response.close()

    @property
    def _answer(self) -> Answer | None:
        answer = getattr(self.response, "_original_response", None)
        return answer if isinstance(answer, Answer) else None

    def _read(self, limit: int | None) -> bytes:
        try:
            if self._closed or self._pid != os.getpid():
                raise Closed("the answer was closed, or belongs to another process")
            self._check_coding()
            content = self.response.data if limit is None else self.response.read1(limit)
            if limit is None or not content:
                self._check_end()
            return content
        except DecodeError as error:
            self.close()
            raise self._decode_error(error) from error
        except LOWER_ERRORS as error:
            self.close()
            raise self._failure(error) from error
        except (AttributeError, ValueError) as error:
            # No file any more, or a closed one: another thread has just closed the answer.
            # Otherwise http.client has read a size that is none.
            early = self._ended_early()
            self.close()
            fault = Closed("the answer was closed") if early else BadFraming(str(error))
            raise self._failure(fault) from error
        except BaseException:
            self.close()
            raise

    def _check_coding(self) -> None:
        """Refuse a content coding that urllib3 would leave in place."""
        if "content-encoding" not in self.headers:
            return
        for name in self.headers["content-encoding"].lower().split(","):
            if name.strip() not in ("", "identity", *self.response.CONTENT_DECODERS):
                raise DecodeError("the coding is not known")

    def _check_end(self) -> None:
        """Refuse an end that is none: of an answer that was closed, or of half a coded body."""
        if self._ended_early():
            raise Closed("the answer was closed in the middle of the body")
        # urllib3 does not tell whether zlib has seen the end; only its decoder knows.
        decoder = getattr(getattr(self.response, "_decoder", None), "_obj", None)
        if self.response.tell() and not getattr(decoder, "eof", True):
            raise DecodeError("it ends too early")

    def _ended_early(self) -> bool:
        answer = self._answer
        return self._closed or (answer is not None and answer.aborted)

    def _failure(self, error: BaseException) -> TransportException:
        failure = failure_of(error, self._call, sent=True)
        failure.status, failure.headers = self.status, self.headers
        return failure

    def _decode_error(self, error: DecodeError) -> ResponseDecodeError:
        coding = self.headers.get("content-encoding", "")
        reason = f"the content, coded as {coding[:40]!r}, cannot be decoded: {error.args[-1]}"
        return ResponseDecodeError(
            self.status, reason, headers=self.headers, method=self.method, url=self.url
        )
