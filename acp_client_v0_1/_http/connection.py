"""urllib3's connections, with every wait bounded by the deadline of the call that uses them.

Strategy: a socket's own timeout bounds one ``recv`` only, so a server that sends a byte now and
then would never time out. Therefore all reading, of status line, headers, chunk sizes and body
alike, goes through a raw stream that sets the timeout anew before each ``recv``. urllib3's pool
lends a connection inside one call of ``urlopen``, in one thread: the attempt that is being made is
known by that thread (`attempting`), and stays with the answer that it gets.

Invariants: no wait goes beyond the attempt's limits; the end of the input is an error unless it is
what ends the body (http.client takes it for the end of the headers, or of a chunk's size); a
connection is not used again after 408 or 5xx,
since servers close it then, whether they say so or not.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import re
import socket
import sys
import threading
import time
from typing import Any, cast

from urllib3.connection import HTTPConnection, HTTPSConnection

from acp_client_v0_1._http.dial import dial
from acp_client_v0_1._http.head import read_head
from acp_client_v0_1.deadline import Deadline, Timeout

__all__ = [
    "Answer",
    "Attempt",
    "BadFraming",
    "BoundedConnection",
    "BoundedHTTPS",
    "Closed",
    "attempting",
    "current_attempt",
]

# Servers close idle connections after as little as a few seconds, and a request that crosses
# that close is lost with its outcome unknown. What changes something does not take the risk.
_STALE = 2.0

_BUFFER = 65_536  # bytes
_CHUNK_SIZE = re.compile(rb"\r\n([0-9A-Fa-f]{1,8})\r\n")
_MOST_INFORMATIONAL = 20
_CODING = "transfer-encoding"
_NOTHING_YET = "before any byte of the answer"
_LAST_CHUNK = b"\n0\r\n"  # The empty line after it may be missing (RFC 9112, section 8).


class Closed(ConnectionError):
    """The peer closed the connection where an answer, or more of it, was due."""


class Attempt:
    """One attempt of a call: what bounds its waits, and how far it came.

    Attributes:
        deadline: The call's.
        timeout: The call's limits for single waits.
        fresh: It must not use a connection that has been idle for long.
        sent: Some of the request may have reached the server.
    """

    __slots__ = ("deadline", "fresh", "sent", "timeout")

    def __init__(self, deadline: Deadline, timeout: Timeout, fresh: bool = False) -> None:
        self.deadline = deadline
        self.timeout = timeout
        self.fresh = fresh
        self.sent = False

    def limit(self, sock: socket.socket) -> None:
        """Set how long the next wait for a socket may take.

        Raises:
            TimeoutError: Nothing remains. (A socket's timeout of 0 would mean something else.)
        """
        seconds = self.deadline.bound(self.timeout.read)
        if seconds is not None and seconds <= 0:
            raise TimeoutError("the deadline has passed")
        if seconds != sock.gettimeout():  # setting it is a system call
            sock.settimeout(seconds)


class _Thread(threading.local):
    attempt = Attempt(Deadline(None), Timeout())


_thread = _Thread()


class attempting:
    """Lets the connections that this thread uses obey the limits of an attempt, in a ``with``."""

    __slots__ = ("_attempt", "_before")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __enter__(self) -> None:
        self._before, _thread.attempt = _thread.attempt, self._attempt

    def __exit__(self, *_: object) -> None:
        _thread.attempt = self._before


def current_attempt() -> Attempt:
    """Give the attempt that this thread is making."""
    return _thread.attempt


class BadFraming(http.client.HTTPException):
    """The head does not say in a valid way where the body ends."""


class _Source(io.RawIOBase):
    """The bytes of a connection for one answer; each ``recv`` gets its own time limit.

    Attributes:
        aborted: Another thread has ended it.
        sealed: Nothing more is to be taken from the connection.
        where: What is being read, for the error if the input ends there; "" where it may end.
    """

    def __init__(self, sock: socket.socket, attempt: Attempt) -> None:
        self._sock = sock
        self._attempt = attempt
        self._open = sock.makefile("rb", buffering=0)  # keeps the socket open for the body
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._tail = b""
        self.aborted = False
        self.sealed = False
        self.where = _NOTHING_YET

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.sealed:
            return 0
        self._attempt.limit(self._sock)
        count = self._sock.recv_into(buffer)
        if count:
            # The last bytes of the input, which tell whether it ended with the last chunk.
            tail = bytes(buffer[max(0, count - 4) : count])
            self._tail = tail if count >= 4 else (self._tail + tail)[-4:]
            if self.where is _NOTHING_YET:
                self.where = "in the middle of the head"
        elif self.aborted:
            raise Closed("the answer was aborted")
        elif self.where and self._tail != _LAST_CHUNK:
            raise Closed(f"the server closed the connection {self.where}")
        return count

    def close(self) -> None:
        # Before the connection goes back to its pool, so that an abort cannot hit the next call.
        with self._lock:
            super().close()
        self._open.close()

    def abort(self) -> None:
        with self._lock:
            if self.closed or os.getpid() != self._pid:
                return  # there is nothing left to end, or it is the parent's
            self.aborted = True
            # TLS within TLS is no socket itself; and ssl's own method would disturb a reader.
            sock: Any = getattr(self._sock, "socket", self._sock)
            with contextlib.suppress(OSError, TypeError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


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
        self._decide_framing()

    def _decide_framing(self) -> None:
        """Set where the body ends (RFC 9112, section 6.3), for http.client's reader of bodies."""
        coding = self.headers.get(_CODING)
        length = self.headers.get("content-length")
        self.chunked = coding is not None and coding.lower() == "chunked"
        self.chunk_left = None
        self.length = None if self.chunked else _content_length(length)
        if self.status in (204, 304) or self._asked_for_head:
            self.length = 0
        elif self.length is None and not self.chunked:
            if coding is not None or length is not None:
                name, value = ("content-length", length) if coding is None else (_CODING, coding)
                raise BadFraming(f"an answer with {name}: {(value or '')[:40]!r} cannot be read")
            self._source.where = ""
            self.will_close = True
            return
        self._source.where = "in the middle of the body"
        options = (self.headers.get("connection") or "").lower()
        says_close = "close" in options or (self.version == 10 and "keep-alive" not in options)
        self.will_close = says_close or self.status >= 500 or self.status == 408

    def read1(self, n: int = -1) -> bytes:
        """Read what has arrived, of a chunked body in as many chunks as it has come."""
        content = super().read1(n)
        if content and self.chunked and self.chunk_left == 0:
            content += self._buffered_chunks(n - len(content))
        return content

    def _buffered_chunks(self, room: int) -> bytes:
        """Take the chunks that are in the buffer as a whole, which http.client does one by one.

        Before and after, the next to be read is the line end behind a chunk's data.
        """
        self._source.sealed = True  # so that looking never waits
        waiting = self.fp.peek(1)
        self._source.sealed = False
        pieces, taken = [], 0
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

    @property
    def aborted(self) -> bool:
        """True once `abort` has ended it."""
        return self._source.aborted


def _content_length(text: str | None) -> int | None:
    """Read a content length; equal ones may come in a list (RFC 9110, section 8.6)."""
    values = {value.strip() for value in text.split(",")} if text is not None else set()
    value = values.pop() if len(values) == 1 else ""
    return int(value) if value.isascii() and value.isdigit() else None


class BoundedConnection(HTTPConnection):
    """A connection that obeys the attempt of the thread which uses it.

    Attributes:
        spoilt: The last answer was followed by bytes that nobody asked for.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spoilt = False
        self._attempt = _thread.attempt
        self._idle_since = time.monotonic()
        self.response_class = self._answer  # type: ignore[assignment]

    @property
    def is_connected(self) -> bool:
        """Whether it can carry the attempt's request; the pool asks before it lends it."""
        stale = _thread.attempt.fresh and time.monotonic() - self._idle_since > _STALE
        # Bytes that TLS has decrypted already are not seen by a look at the socket.
        spoilt = self.spoilt or getattr(self.sock, "pending", int)()
        return not (stale or spoilt) and super().is_connected

    def connect(self) -> None:
        """Connect, through the proxy's tunnel if there is one."""
        self._attempt = _thread.attempt
        super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, connecting first if need be."""
        self._attempt = _thread.attempt
        if self.is_closed:
            self.connect()
        self._attempt.sent = True
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        """Send bytes within the attempt's limits."""
        if self.sock is not None:
            self._attempt.limit(self.sock)
        super().send(data)

    def getresponse(self) -> Any:
        """Read an answer's head; gives urllib3's response."""
        self.timeout = self.sock.gettimeout()  # which urllib3 sets again
        response = super().getresponse()
        self._idle_since = time.monotonic()
        return response

    def time_to_connect(self) -> float | None:
        """Give the seconds that connecting may take; None for no limit."""
        return self._attempt.deadline.bound(self._attempt.timeout.connect)

    def _answer(self, sock: socket.socket, method: str | None = None, **_: Any) -> Answer:
        return Answer(sock, self._attempt, self, method)

    def _new_conn(self) -> socket.socket:
        """Connect a socket; the method of urllib3 that its SOCKS support replaces as well."""
        deadline = self._attempt.deadline.earlier(self._attempt.timeout.connect)
        sock = dial(self._dns_host, self.port, deadline, self.socket_options or ())
        sock.settimeout(deadline.bound())  # for the handshake of TLS
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock


class BoundedHTTPS(BoundedConnection, HTTPSConnection):
    """The same over TLS."""
