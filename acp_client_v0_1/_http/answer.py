"""An answer as http.client reads it, with every wait bounded by the deadline of its call.

Strategy: a socket's own timeout bounds one ``recv`` only, so a server that sends a byte now and
then would never time out. Therefore all reading, of status line, headers, chunk sizes and body
alike, goes through a raw stream that sets the timeout anew before each ``recv``.

Invariants: no wait goes beyond the attempt's limits; the end of the input is an error unless it is
what ends the body (http.client takes it for the end of the headers, or of a chunk's size), which
with TLS has to be announced (RFC 9112, section 9.8); memory
is taken for bytes that have come, not for those that a length promises; a connection is not used
again after 408 or 5xx, since servers close it then, whether they say so or not.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import re
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, cast

from urllib3.util.wait import wait_for_read

from acp_client_v0_1._http.attempt import Attempt
from acp_client_v0_1._http.framing import BadFraming, content_length, read_size, skip_trailer
from acp_client_v0_1._http.head import read_head
from acp_client_v0_1._http.nested import innermost

if TYPE_CHECKING:
    from acp_client_v0_1._http.connection import BoundedConnection

__all__ = ["Answer", "Closed"]

_BUFFER = 65_536  # bytes
_AT_ONCE = 1_048_576  # bytes that are asked for before any of them is there
_CHUNK_SIZE = re.compile(rb"\r\n([0-9A-Fa-f]{1,8})\r\n")
_MOST_INFORMATIONAL = 20
_CODING = "transfer-encoding"
_NOTHING_YET = "before any byte of the answer"
_LAST_CHUNK = b"\n0\r\n"  # The empty line after it may be missing (RFC 9112, section 8).


class Closed(ConnectionError):
    """The peer closed the connection where an answer, or more of it, was due."""


class _Source(io.RawIOBase):
    """The bytes of a connection for one answer; each ``recv`` gets its own time limit.

    Attributes:
        aborted: Another thread has ended it.
        sealed: Nothing more is to be taken from the connection.
        where: What is being read, for the error if the input ends there; "" where it may end.
        where_cut: The same for an end of TLS that was not announced, asked where ``where`` is "".
        chunked: What is being read is a body in chunks.
    """

    def __init__(self, sock: socket.socket, attempt: Attempt) -> None:
        self._sock = sock
        self._attempt = attempt
        self._open = sock.makefile("rb", buffering=0)  # keeps the socket open for the body
        self._lock = threading.RLock()  # re-entrant, for a signal handler that closes
        self._pid = os.getpid()
        self._tail = b""
        self.aborted = False
        self.sealed = False
        self.where = _NOTHING_YET
        self.where_cut = ""
        self.chunked = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.sealed:
            return 0
        self._attempt.limit(self._sock)
        try:
            count = self._sock.recv_into(buffer)
        except OSError as error:
            if self.aborted:  # which TLS may take for anything
                raise Closed("the answer was aborted") from error
            if not isinstance(error, ssl.SSLEOFError):
                raise
            self.where = self.where or self.where_cut
            count = 0
        if count:
            # The last bytes of the input, which tell whether it ended with the last chunk.
            tail = bytes(buffer[max(0, count - 4) : count])
            self._tail = tail if count >= 4 else (self._tail + tail)[-4:]
            if self.where is _NOTHING_YET:
                self.where = "in the middle of the head"
        elif self.aborted:
            raise Closed("the answer was aborted")
        elif self.where and not (self.chunked and self._tail == _LAST_CHUNK):
            raise Closed(f"the server closed the connection {self.where}")
        return count

    def close(self) -> None:
        # A fork may have copied the lock while a thread held it that only the parent has.
        own = self._lock if os.getpid() == self._pid else contextlib.nullcontext()
        # Before the connection goes back to its pool, so that an abort cannot hit the next call.
        with own:
            super().close()
        self._open.close()

    def abort(self) -> None:
        if os.getpid() != self._pid:
            return  # it is the parent's
        with self._lock:
            if self.closed:
                return  # there is nothing left to end
            self.aborted = True
            with contextlib.suppress(OSError, TypeError):
                # ssl's own method would disturb a reader.
                socket.socket.shutdown(innermost(self._sock), socket.SHUT_RDWR)

    def hasten(self, seconds: float) -> None:
        self._attempt.deadline = self._attempt.deadline.earlier(seconds)

    def ready(self, seconds: float) -> bool:
        """Wait until bytes, or their end, can be read; False if none came within that time."""
        held: int = getattr(self._sock, "pending", int)()  # by TLS
        return bool(held) or wait_for_read(innermost(self._sock), seconds)

    def leave(self) -> None:
        """Close the socket in a forked process, where a lock may look held for ever."""
        self._open.close()
        self._sock.close()


class _Reader(io.BufferedReader):
    """The file that http.client reads an answer from."""

    def __init__(self, source: _Source, connection: BoundedConnection) -> None:
        super().__init__(source, _BUFFER)
        self._source = source
        self._connection = connection

    def close(self) -> None:
        if not self.closed:
            # What was taken from the connection beyond the answer belongs to no request.
            self._source.sealed = True
            self._connection.spoilt = bool(self.peek(1))
        super().close()


class _FileMaker:
    """Stands for the socket in http.client's response, which only asks it for a file."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    def makefile(self, mode: str) -> io.BufferedReader:
        return self._reader


class Answer(http.client.HTTPResponse):
    """http.client's response, reading within the limits of an attempt."""

    def __init__(
        self,
        sock: socket.socket,
        attempt: Attempt,
        connection: BoundedConnection,
        method: str | None,
    ) -> None:
        self._source = _Source(sock, attempt)
        self._asked_for_head = method == "HEAD"
        maker = _FileMaker(_Reader(self._source, connection))
        super().__init__(cast(socket.socket, maker), method=method)

    def begin(self) -> None:
        """Read the head, passing over informational answers (RFC 9110, section 15.2).

        Raises:
            OSError: The connection failed, ended or was silent for too long.
            HTTPException: What came is not HTTP.
        """
        for _ in range(_MOST_INFORMATIONAL):
            head = read_head(self.fp)
            if head.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise http.client.UnknownProtocol("an answer 101 to no request for it")
            if head.status >= 200:
                break
        else:
            raise http.client.HTTPException(f"{_MOST_INFORMATIONAL} answers, all informational")
        self.version, self.reason = head.version, head.reason
        self.code = self.status = head.status
        self.headers = self.msg = head.headers
        self._decide_framing(head.fields)

    def _decide_framing(self, fields: dict[str, str]) -> None:
        """Set where the body ends (RFC 9112, section 6.3), for http.client's reader of bodies."""
        coding = fields.get(_CODING)
        if coding is not None and coding.lower() == "identity":
            coding = None  # of older HTTP/1.1 (RFC 2616, section 3.6), where it meant none
        length = fields.get("content-length")
        empty = self.status in (204, 304) or self._asked_for_head
        self.chunked = not empty and coding is not None and coding.lower() == "chunked"
        self.chunk_left = None
        self.length = content_length(length) if coding is None else None
        if empty:
            self.length = 0
        elif self.length is None and not self.chunked:
            if coding is not None or length is not None:
                name, value = ("content-length", length) if coding is None else (_CODING, coding)
                raise BadFraming(f"an answer with {name}: {(value or '')[:40]!r} cannot be read")
            self._source.where = ""
            if self.status < 300:  # Of an error, its status says the most.
                self._source.where_cut = "without the end of TLS, so that the body may go on"
            self.will_close = True
            return
        self._source.where = "in the middle of the body"
        self._source.chunked = self.chunked
        options = fields.get("connection", "").lower()
        says_close = "close" in options or (self.version == 10 and "keep-alive" not in options)
        # Who sends both, or chunks in HTTP/1.0, and whoever stands between, may not agree where
        # the body ends (RFC 9112, sections 6.1 and 6.3).
        doubtful = coding is not None and (length is not None or self.version == 10)
        self.will_close = says_close or doubtful or self.status >= 500 or self.status == 408

    def read1(self, n: int = -1) -> bytes:
        """Read what has arrived, of a chunked body in as many chunks as it has come."""
        content = super().read1(n)
        if content and self.chunked and self.chunk_left == 0:
            content += self._buffered_chunks(n - len(content))
        return content

    def _get_chunk_left(self) -> int | None:
        """Go to the data of a chunk; the method of http.client that all its reading goes through.

        Returns:
            Bytes that are left of the chunk, None at the end of the body.
        """
        if not self.chunk_left:
            # 0 is behind the data of a chunk, None before the first of them.
            if self.chunk_left is not None and (end := self._safe_read(2)) != b"\r\n":
                raise BadFraming(f"the data of a chunk does not end with its size, but in {end!r}")
            self.chunk_left = read_size(self.fp) or None
            if self.chunk_left is None:
                skip_trailer(self.fp)
                cast(Any, self)._close_conn()
        return self.chunk_left

    def _safe_read(self, amt: int) -> bytes:
        """Read so many bytes; the method of http.client for bytes that must come."""
        content = self.fp.read(min(amt, _AT_ONCE))
        if len(content) == amt:
            return content
        pieces, got = [content], len(content)
        while got < amt and pieces[-1]:
            pieces.append(self.fp.read(min(got, amt - got)))
            got += len(pieces[-1])
        content = b"".join(pieces)
        if got < amt:
            raise http.client.IncompleteRead(content, amt - got)
        return content

    def _buffered_chunks(self, room: int) -> bytes:
        """Take the chunks that are in the buffer as a whole, which http.client does one by one.

        Before and after, the next to be read is the line end behind a chunk's data.
        """
        self._source.sealed = True  # so that looking never waits
        waiting = self.fp.peek(1)
        self._source.sealed = False
        pieces: list[bytes] = []
        taken = 0
        while (size := _CHUNK_SIZE.match(waiting, taken)) is not None:
            start, length = size.end(), int(size[1], 16)
            if not 0 < length <= min(room, len(waiting) - start):
                break
            pieces.append(waiting[start : start + length])
            taken, room = start + length, room - length
        self.fp.read(taken)
        return b"".join(pieces)

    def abort(self) -> None:
        """Wake a read of another thread, which then fails; the connection is lost."""
        self._source.abort()

    def hasten(self, seconds: float) -> None:
        """Let what is left take no longer than so many seconds."""
        self._source.hasten(seconds)

    def ready(self, seconds: float) -> bool:
        """Wait until some of the body, or its end, can be read; False if nothing came in time."""
        if self.isclosed() or self.fp.closed:
            return True
        self._source.sealed = True  # so that looking never waits
        held = self.fp.peek(1)
        self._source.sealed = False
        if self.chunked and self.chunk_left == 0 and held in (b"\r", b"\r\n"):
            held = b""  # only the end of the chunk before
        return bool(held) or self._source.ready(seconds)

    def leave(self) -> None:
        """Let go of a parent's connection in a forked process; nothing is done to it."""
        self._source.leave()

    @property
    def aborted(self) -> bool:
        """True once `abort` has ended it."""
        return self._source.aborted
