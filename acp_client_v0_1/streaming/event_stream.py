"""An iterator over the events of a response whose body is an event stream.

Strategy: read the bytes that have arrived, feed the parser, hand out its events one by one, and
read again only when all of them are handed out.

Invariants:
  - The connection is released on every way out: at the end of the body, by `close`, by leaving the
    ``with``, after an error, and when the stream is garbage.
  - An iteration ends without an error only if HTTP says that the body is complete, or after
    `close`.
  - `last_event_id` is that of the last event handed out, not of one that was only read ahead.
  - One thread iterates; `close` may be called by any thread, and by a signal handler in that one.
  - There is no lock, which an interrupt could leave held. `close` sets `_closed`, then looks at
    `_in_read`; a reader sets `_in_read`, then looks at `_closed`. So at least one of the two sees
    the other: `close` only aborts a read under way, and the reader releases the connection.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from operator import length_hint
from typing import Any, Protocol, TypeVar, cast

from pydantic import ValidationError
from typing_extensions import Self

from acp_client_v0_1._deadline import NothingYet
from acp_client_v0_1.exceptions import (
    ApiTimeoutError,
    ApiValueError,
    EventTooLarge,
    ResponseDecodeError,
    StreamDecodeError,
    StreamInterrupted,
    TransportException,
)
from acp_client_v0_1.streaming.event import ServerSentEvent
from acp_client_v0_1.streaming.parser import DEFAULT_MAX_EVENT_BYTES, SSEParser

__all__ = ["EventStream", "StreamedResponse"]

T = TypeVar("T")
U = TypeVar("U")

_EXCERPT_CHARACTERS = 200


class StreamedResponse(Protocol):
    """What a stream needs of a response; `acp_client_v0_1.rest.RESTResponse` has it.

    Attributes:
        status: The HTTP status.
        method: The request's method.
    """

    status: int
    method: str

    @property
    def url(self) -> str:
        """The URL of the response, after redirects."""
        raise NotImplementedError

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        raise NotImplementedError

    def read_available(self, *, wait: float | None = None) -> bytes:
        """Return the bytes that have arrived, ``b""`` only at the end of a complete body.

        Args:
            wait: Seconds to wait for a first byte, None for no limit but the call's.

        Raises:
            NothingYet: Nothing has arrived within that time.
        """
        raise NotImplementedError

    def abort(self) -> None:
        """Wake a blocked `read_available`; called from any thread."""

    def close(self) -> None:
        """Release the connection."""


class EventStream(Iterator[T]):
    """The events of a response, decoded, as they arrive; an iterator and a context manager.

    Iterating raises:
        StreamDecodeError: An event cannot be decoded. The next ``next()`` goes on after it.
        StreamInterrupted: The connection ended before the body was complete.
        ApiTimeoutError: The call's deadline passed, or the server was silent for too long.
        EventTooLarge: An event exceeds the limit.
        ApiValueError: The stream was over or closed before the iteration began. An iteration
            under way ends without an error when the stream ends or is closed.

    Args:
        response: The response, its body unread.
        decode: Turns an event into a value, or into ``None`` to skip it; raises ``ValueError`` if
            it cannot be decoded.
        max_event_bytes: The most bytes that one event may have.
    """

    def __init__(
        self,
        response: StreamedResponse,
        decode: Callable[[ServerSentEvent], T | None],
        *,
        max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES,
    ) -> None:
        self._response = response
        # finalize(), not `__del__`: in a reference cycle the socket may be finalized first, but
        # what finalize() refers to stays alive. At exit the system closes the sockets.
        self._finalizer = weakref.finalize(self, response.close)
        self._finalizer.atexit = False
        self._decode = decode
        self._parser = SSEParser(max_event_bytes)
        self._in_read = False  # True while the response is being read
        self._pid = os.getpid()
        self._id_before = ""  # the last event id before the batch
        self._start_batch([])
        self._closed = False
        self._iterating = False  # a typed iteration is under way
        self._give_up_at: float | None = None  # monotonic seconds, within `_next_within`
        self._looked = False  # `_next_within` has read once

    @property
    def status(self) -> int:
        """The status code of the response."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response; their names are not case-sensitive."""
        return self._response.headers

    @property
    def last_event_id(self) -> str:
        """The id to resume from, ``""`` if there is none (WHATWG HTML, 9.2.4)."""
        batch, handed_out = self._position()
        # A slice, since another thread may just have emptied the batch.
        latest = batch[handed_out - 1 : handed_out]
        return latest[0].id if latest else self._id_before

    @property
    def closed(self) -> bool:
        """True if the stream is over: exhausted, failed or closed."""
        return self._closed

    def __iter__(self) -> Self:
        self._check_open()
        self._iterating = True
        return self

    def __next__(self) -> T:
        while True:
            try:
                for value in self._values:
                    if value is not None:
                        return value
            except ValueError as error:
                self._raise_undecodable(error)
            if not self._iterating:
                self._check_open()
                self._iterating = True
            if not self._advance():
                self._iterating = False
                raise StopIteration

    def _next_within(self, seconds: float) -> T:
        """Return the next event like ``next()``, or raise `NothingYet` if it is not there in time.

        Comments do not make the wait longer. After `NothingYet` the stream is still open.
        """
        self._give_up_at = time.monotonic() + seconds
        self._looked = False
        try:
            return next(self)
        finally:
            self._give_up_at = None

    def _decoded_by(self, decode: Callable[[ServerSentEvent], U | None]) -> EventStream[U]:
        """Return this stream, its events decoded by another function from now on."""
        stream = cast("EventStream[U]", self)
        stream._decode = decode
        return stream

    def _check_open(self) -> None:
        if self._closed:
            raise ApiValueError(
                "the stream is over or closed, and can be iterated only once; "
                "get_run_stream opens another, with Last-Event-ID to go on after an event"
            )

    def raw_events(self) -> Iterator[ServerSentEvent]:
        """Return an iterator over the undecoded events that are left, whatever their names.

        Both iterations take from the same stream: each event comes out of one of them.

        Raises:
            StreamInterrupted: The connection ended before the body was complete.
            ApiTimeoutError: The call's deadline passed, or the server was silent for too long.
            EventTooLarge: An event exceeds the limit.
            ApiValueError: The stream is over or closed.
        """
        self._check_open()
        return self._raw_events()

    def _raw_events(self) -> Iterator[ServerSentEvent]:
        while True:
            # Looked up for each event: the typed iteration may have begun a new batch.
            event = next(self._batch[1], None)
            if event is not None:
                yield event
            elif not self._advance():
                return

    def close(self) -> None:
        """End the stream and release its connection; a blocked ``next()`` of any thread ends."""
        if self._closed:
            return
        self._closed = True
        self._end_batch(self.last_event_id)
        # The parent of a forked process may have been in the middle of a read.
        if self._in_read and os.getpid() == self._pid:
            self._response.abort()  # wakes the reader, which closes
        else:
            self._finalizer()  # of several calls, the first one closes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<EventStream {state}, status {self.status}, last id {self.last_event_id!r}>"

    def _start_batch(self, events: list[ServerSentEvent]) -> None:
        # One tuple of the events and the iterator over them, so that another thread sees both of
        # the same batch. `_values` decodes from the same iterator, whose position thus says how
        # many events are handed out.
        left = iter(events)
        self._values = map(self._decode, left)
        self._batch = (events, left)

    def _end_batch(self, last_event_id: str) -> None:
        self._id_before = last_event_id
        self._batch[0].clear()  # ends the iterators of any thread as well

    def _position(self) -> tuple[list[ServerSentEvent], int]:
        # The batch, and how many of its events are handed out.
        events, left = self._batch
        return events, len(events) - length_hint(left)

    def _advance(self) -> bool:
        # Read until there are events; False at the end.
        try:
            while not self._closed:
                self._end_batch(self._parser.last_event_id)
                # If a too large event followed good ones, feed() raises now.
                data = b"" if self._parser.too_large else self._read()
                if not data and not self._parser.too_large:
                    break
                events = self._parser.feed(data)
                if events:
                    self._start_batch(events)
                    if not self.closed:
                        return True
                    events.clear()  # `close` was called before they were there
        except NothingYet:
            raise
        except BaseException as error:
            self._iterating = False
            self._release()
            if isinstance(error, EventTooLarge):
                raise EventTooLarge(limit=error.limit, **self._fields()) from error
            raise
        self._release()
        return False

    def _read(self) -> bytes:
        # b"" at the end of the body, and after `close`.
        try:
            self._in_read = True
            if self._closed:
                return b""
            return self._response.read_available(wait=self._wait_left())
        except (TransportException, ResponseDecodeError) as error:
            if self._closed:
                return b""
            if isinstance(error, ApiTimeoutError):
                raise
            raise StreamInterrupted(
                last_event_id=self._id_before,
                reason=error.reason or str(error),
                **self._fields(),
            ) from error
        finally:
            self._in_read = False

    def _wait_left(self) -> float | None:
        # Read at least once, but not again and again for comments.
        if self._give_up_at is None:
            return None
        left = self._give_up_at - time.monotonic()
        if left <= 0 and self._looked:
            raise NothingYet
        self._looked = True
        return max(0.0, left)

    def _release(self) -> None:
        # Called by the thread that iterates, after its read.
        self._closed = True
        self._finalizer()

    def _raise_undecodable(self, error: ValueError) -> None:
        batch, handed_out = self._position()
        # The slice is empty if another thread has just closed the stream.
        for event in batch[handed_out - 1 : handed_out]:
            raise StreamDecodeError(
                event_id=event.id,
                event_name=event.event,
                excerpt=event.data[:_EXCERPT_CHARACTERS],
                reason=_explanation(error),
                body=event.data,
                **self._fields(),
            ) from error

    def _fields(self) -> dict[str, Any]:
        response = self._response
        return {
            "status": response.status,
            "headers": response.headers,
            "method": response.method,
            "url": response.url,
        }


def _explanation(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    fault, *others = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(map(str, fault["loc"]))
    more = f" (and {len(others)} more)" if others else ""
    return f"{place}: {fault['msg']}{more}" if place else f"{fault['msg']}{more}"
