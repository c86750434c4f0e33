"""An answer: its status and headers, and its body as it arrives.

Strategy: urllib3's response does the reading; here its errors become those of the tree, and what it
leaves open is decided: what the end of a closed answer means, who may end a read, and how much of
a coded stream is held at once.

Invariants: b"" means that HTTP says the body is complete, never that somebody closed the answer; in
a forked process nothing is read from, or done to, a connection of the parent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from urllib3 import BaseHTTPResponse, HTTPHeaderDict
from urllib3.exceptions import DecodeError

from acp_client_v0_1._deadline import NothingYet
from acp_client_v0_1._http.answer import Answer, Closed
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.coding import bounded, codings_of, is_unfinished
from acp_client_v0_1._http.errors import LOWER_ERRORS, failure_of
from acp_client_v0_1._http.retry import is_ambiguous
from acp_client_v0_1.exceptions import ResponseDecodeError, TransportException

__all__ = ["RESTResponse", "RawResponse"]

RawResponse: TypeAlias = BaseHTTPResponse
"""urllib3's response."""

_PIECE = 65_536  # bytes that are asked for at once


class RESTResponse:
    """An answer.

    Args:
        call: The call that it answers.
        response: The answer as urllib3 gives it, unread.

    Attributes:
        status: The status code.
        reason: The reason phrase.
        headers: The headers; their names are not case-sensitive.
        method: The request's method.
        data: The decoded body, None while it is unread.
        attempts: How often the request was sent for it.
        elapsed: Seconds from the beginning of the call to the response.
        response: The answer as urllib3 gives it; reading from it goes past what is done here.
    """

    __slots__ = (
        "_call",
        "_closed",
        "_complete",
        "_give_up_at",
        "_heard",
        "_pid",
        "_read_piece",
        "attempts",
        "data",
        "elapsed",
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
        self.attempts = 1
        self.elapsed = 0.0
        self.response: RawResponse = response
        self._call = call
        self._complete = False
        self._closed = False
        self._pid = os.getpid()
        self._heard = time.monotonic()  # when something came last
        self._give_up_at: float | None = None  # of the read under way
        self._read_piece: Callable[[int], bytes] | None = None  # once some was read by pieces

    def __repr__(self) -> str:
        return f"<RESTResponse {self.method} {self.status} {self.reason}>"

    @property
    def url(self) -> str:
        """The URL that answered, after redirects."""
        return self._call.target.url

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
        """Refuse, and close, an answer whose content coding is not known.

        Raises:
            ResponseDecodeError: It is not.
        """
        try:
            self._codings()
        except DecodeError as error:
            self.close()
            raise self._decode_error(error) from error

    def read(self) -> bytes:
        """Read all of the body, or what is left of it; the result stays in ``data``.

        Returns:
            The decoded body.

        Raises:
            TransportException: The connection failed, or time ran out.
            ResponseDecodeError: The content coding is broken.
        """
        if self.data is None:
            self.data = self._read(None)
            self._complete = True
        return self.data

    def read_available(self, limit: int = _PIECE, *, wait: float | None = None) -> bytes:
        """Read what has arrived of the body; waits only where nothing has.

        Args:
            limit: The most bytes to give at once.
            wait: Seconds to wait for the first of them, None for the limits of the call alone.

        Returns:
            Decoded bytes; b"" only once HTTP says that the body is complete.

        Raises:
            ConnectionException: The connection ended before the body did, or was aborted.
            ProtocolException: The body's framing is broken.
            ApiTimeoutError: The call's time is over, or the server was silent for too long.
            ResponseDecodeError: The content coding is broken.
            NothingYet: Nothing came within ``wait``; the next call goes on.
        """
        if self._complete:
            return b""
        self._give_up_at = None if wait is None else time.monotonic() + wait
        piece = self._read(limit)
        self._complete = not piece
        return piece

    def _take(self, size: int, *, decode: bool) -> bytes:
        """Read by urllib3, which would close the connection if it were interrupted."""
        if self._give_up_at is not None:
            self._await(max(0.0, self._give_up_at - time.monotonic()))
        content = self.response.read1(size, decode_content=decode)
        self._heard = time.monotonic()
        return content

    def _await(self, wait: float) -> None:
        """Wait for bytes; a silence that takes several such waits is measured as one."""
        answer, read, deadline = self._answer, self._call.timeout.read, self._call.deadline
        if answer is None or self._closed or self._pid != os.getpid():
            return  # reading says what is wrong
        silence = time.monotonic() - self._heard
        most = deadline.bound(None if read is None else max(0.0, read - silence))
        if answer.ready(wait if most is None else min(wait, most)):
            return
        if most is None or wait < most:
            raise NothingYet
        raise TimeoutError("nothing came in time")

    def hasten(self, seconds: float) -> None:
        """Shorten the time for what is left of the body.

        Args:
            seconds: How long it may take from now on, if the call's own limit is not shorter.
        """
        answer = self._answer
        if answer is not None:
            answer.hasten(seconds)

    def abort(self) -> None:
        """End the body now, from any thread; a blocked ``read_available`` raises at once."""
        answer = self._answer
        if answer is not None:
            answer.abort()

    def close(self) -> None:
        """Close the connection, unless the body is complete and it is back in its pool."""
        self._closed = True
        answer = self._answer
        if answer is not None and self._pid != os.getpid():
            answer.leave()
            return
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
            content = self._whole() if limit is None else self._piece(limit)
            if limit is None or not content:
                self._check_end()
            return content
        except DecodeError as error:
            early = self._ended_early()
            self.close()
            if early:
                raise self._failure(Closed("the answer was closed")) from error
            raise self._decode_error(error) from error
        except LOWER_ERRORS as error:
            self.close()
            raise self._failure(error) from error
        except (AttributeError, ValueError) as error:
            # No file any more, or a closed one: another thread has just closed the answer.
            self.close()
            raise self._failure(Closed("the answer was closed")) from error
        except NothingYet:
            raise
        except BaseException:
            self.close()
            raise

    def _whole(self) -> bytes:
        """Read what is left of the body."""
        if self._read_piece is not None:
            return b"".join(iter(partial(self._read_piece, _PIECE), b""))
        self._codings()
        return self.response.data

    def _piece(self, size: int) -> bytes:
        """Read what has arrived, up to a size."""
        if self._read_piece is None:
            coded = partial(self._take, decode=False)
            # Codings that are not for zlib are left to urllib3 and the packages that it uses.
            whole = partial(self._take, decode=True)
            self._read_piece = bounded(self._codings(), coded) or whole
        return self._read_piece(size)

    def _codings(self) -> list[str]:
        """List the content codings; refuses those that urllib3 would leave in place."""
        if "content-encoding" not in self.headers:
            return []
        names = codings_of(self.headers["content-encoding"])
        for name in names:
            if name not in self.response.CONTENT_DECODERS:
                raise DecodeError("the coding is not known")
        return names

    def _check_end(self) -> None:
        """Refuse an end that is none: of an answer that was closed, or of half a coded body."""
        if self._ended_early():
            raise Closed("the answer was closed in the middle of the body")
        decoder = getattr(self.response, "_decoder", None)
        if decoder is not None and self.response.tell() and is_unfinished(decoder):
            raise DecodeError("it ends too early")

    def _ended_early(self) -> bool:
        answer = self._answer
        return self._closed or (answer is not None and answer.aborted)

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
