"""A response as it arrives on a connection: its head, and its body, still content-coded.

Strategy: `Incoming` receives bytes, and `parse` frames them. A socket's timeout bounds only one
``recv``, and a server may send one byte at a time for ever. So before each ``recv``, the socket's
timeout is set to the time that remains.

EOF ends a body in two cases only. In any other case, EOF is an error.

* The body is close-delimited. Over TLS, and with a status below 300, the EOF needs a close_notify
  (RFC 9112, section 9.8).
* The body is chunked, and only the empty line after the last chunk is missing.

Invariants: no wait goes beyond the attempt's limits. A read returns b"" only if the body is
complete by its framing, and never because the response was closed. Memory grows with the bytes that
have arrived, not with the length that a header promises. A forked process reads nothing from a
connection of its parent.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from acp_client_v0_1._deadline import NothingYet
from acp_client_v0_1._http.attempt import Attempt
from acp_client_v0_1._http.parse import Closed, Head, final_head, framing_of
from acp_client_v0_1._http.tls import connection_broke, lacks_close_notify, shut_down

if TYPE_CHECKING:
    from acp_client_v0_1._http.connection import Connection
    from acp_client_v0_1._http.proxies import Proxy

_SHORTEST_WAIT = 0.001  # seconds


class End:
    """How a response has ended. If several threads end it at once, only the first end counts."""

    how: str = ""

    def be(self, how: str) -> bool:
        """End the response in this way, unless it has ended. Return whether it has this end."""
        # `dict.setdefault` is atomic.
        return bool(vars(self).setdefault("how", how) == how)


class Incoming:
    """A response on a connection. urllib3's response reads it like a file.

    If another request can use the connection after the body, ``done`` is called with the
    connection.
    """

    # The next read waits this many seconds for bytes, and then raises `NothingYet`. If this is
    # None, only the limits of the attempt bound the read.
    wait: float | None = None

    def __init__(
        self,
        connection: Connection,
        attempt: Attempt,
        method: str,
        done: Callable[[Connection], object],
    ) -> None:
        self._connection = connection
        # `doctor` reads the address and the certificate of the server from the socket.
        self.sock: Any = connection.sock
        self.via: Proxy | None = connection.via
        self.attempt = attempt
        self._done = done
        self._pid = os.getpid()
        # Seconds of silence so far. With ``wait``, several reads in a row may get nothing. The sum
        # of their waits is limited by the read timeout.
        self._silent_for: float
        # How the response ended. The dict is empty before the end. After the end, it has one item:
        # its key is always None, and its value is one of these:
        # - "finished": the body is complete.
        # - "aborted": `abort` or `close` came before the end of the body.
        # - "closed": a forked process closed its copy of the response.
        # An `abort` after "finished" does nothing, because the connection may already carry the
        # next response.
        self._end = End()
        # True if TLS ended without a close_notify. Then an attacker may have truncated the body.
        self._no_notify = False
        # These bytes have arrived, but the framing has not taken them.
        self._received = b""
        self.head: Head
        self.head, self._received = final_head(self._receive_head)
        # `_receive_head` may have set a limit for the head. The body has the limit of the attempt.
        attempt.until = attempt.deadline
        # Content that the last read did not return, because its caller wanted fewer bytes.
        self._ready = b""
        self._framing, self._reusable = framing_of(self.head, method)
        if self._framing.complete:
            self._finish()

    def read1(self, size: int | None = None) -> bytes:
        """Return up to ``size`` bytes of the body, and wait only if no byte has arrived.

        b"" means that the body is complete.
        """
        if size == 0:
            return b""
        try:
            content = self._ready or self._read()
        except NothingYet:
            raise
        except BaseException:
            self.close()
            raise
        size = size or len(content)
        self._ready = content[size:]
        return content[:size]

    def read(self, size: int | None = None) -> bytes:
        """Return the next ``size`` bytes of the body, or fewer if the body ends before.

        Without ``size``, return the rest of the body.
        """
        pieces: list[bytes] = []
        while piece := self.read1(size):
            pieces.append(piece)
            size = None if size is None else size - len(piece)
        return b"".join(pieces)

    def _read(self) -> bytes:
        framing, content = self._framing, b""
        until = None if self.wait is None else time.monotonic() + self.wait
        while not (content or framing.complete):
            if self._pid != os.getpid():
                raise Closed("the response belongs to another process")
            if self._end.how:
                raise self._ended_early()
            received, self._received = self._received, b""
            # The last `take` may have returned content that came before a fault. Then this call
            # raises the fault. So `take` is called even with b"".
            content = framing.take(received)
            if not received:
                self._received = self._receive(until)
                if not self._received:
                    self._check_eof()
        if framing.complete:
            self._finish()
        return content

    def _receive(self, until: float | None = None) -> bytes:
        attempt = self.attempt
        longest = attempt.timeout.read or math.inf
        wait = None
        if until is not None:
            wait = min(until - time.monotonic(), longest - self._silent_for)
            attempt.silence = wait = max(wait, _SHORTEST_WAIT)
        try:
            data = attempt.receive(self.sock)
        except TimeoutError as error:
            if wait is not None and not connection_broke(error):
                self._silent_for += wait
                if not attempt.until.expired and self._silent_for < longest:
                    raise NothingYet from None
            raise
        except (OSError, ValueError, AttributeError) as error:
            # If another thread closes the socket during the `recv`, TLS may raise any of these
            # errors, even an AttributeError. In this case `_end` is set.
            if not (self._end.how or lacks_close_notify(error)):
                raise
            self._no_notify = True
            data = b""
        finally:
            attempt.silence = attempt.timeout.read
        if data:
            self._silent_for = 0.0
        elif self._end.how:
            raise self._ended_early()
        return data

    def _receive_head(self) -> bytes:
        attempt = self.attempt
        # Once the first bytes have arrived, even those of an informational response (1xx), the
        # final head must be complete within one read timeout. Otherwise a server could send heads
        # for days, a byte at a time. So a 102 (Processing) does not give the server more time than
        # that.
        if self._received:
            # `final_head` has refused the first four bytes, unless they are those of HTTP.
            is_first = attempt.until is attempt.deadline
            attempt.newly_connected &= is_first and len(self._received) < 4
            if is_first:
                attempt.until = attempt.deadline.earlier(attempt.timeout.read)
        self._received = self._receive()
        return self._received

    def _ended_early(self) -> Closed:
        return Closed(f"the response was {self._end.how} before its end")

    def _check_eof(self) -> None:
        if not self._framing.may_end():
            raise Closed("the server closed the connection in the middle of the body")
        # With a status of 300 or above, a missing close_notify is ignored: the caller needs the
        # status more than a complete body.
        if self._no_notify and self.head.status < 300 and not self._framing.ends_before_eof:
            raise Closed("TLS ended without a close_notify, so that the body may be truncated")
        self._framing.complete = True
        self._reusable = False

    def _finish(self) -> None:
        if self.finished:
            return
        reusable = self._reusable and not (self._received or self._framing.rest)
        # `_end` is set before the connection goes back to its pool. So an `abort` of this response
        # cannot hit the next response on the connection.
        if self._end.be("finished") and reusable:
            self.attempt.connection = None
            self._done(self._connection)
        else:
            self._connection.close()

    @property
    def finished(self) -> bool:
        return self._end.how == "finished"

    @property
    def closed(self) -> bool:
        """True after `close` or `abort`, and once the whole body was returned."""
        return bool(self._end.how) and not (self.finished and self._ready)

    def abort(self) -> None:
        """Shut the connection down, so that a blocked read of another thread fails.

        After the end of the response, or in a forked process, this does nothing.
        """
        if os.getpid() == self._pid and self._end.be("aborted"):
            shut_down(self.sock)

    def close(self) -> None:
        """Close the connection, unless the body is complete.

        A forked process closes only its copy of the socket. That sends nothing, so the parent can
        still read the response.
        """
        self.abort()
        if not self.finished:
            self._end.be("closed")
            self._connection.close()

    def __del__(self) -> None:
        if getattr(self, "_framing", None) is not None and not self._end.how:
            self._connection.close()
