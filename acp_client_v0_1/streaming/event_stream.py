"""A response whose body is a stream of events: an iterator over what its bytes say.

Strategy: read what has arrived, feed the parser, hand the events out one by one, and read again
only when all of them are gone. Nothing is ever waited for while an event is there to be had.

Invariants:
  - The connection is given back on every way out: at the end of the body, by `close`, by leaving
    the ``with``, after an error, and when the stream is forgotten.
  - An iteration ends without an error only if HTTP says that the body is complete, or after
    `close`.
  - `last_event_id` belongs to what has been handed out, not to what has been read ahead.
  - One thread iterates; `close` may come from any.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from operator import length_hint
from types import TracebackType
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError
from typing_extensions import Self

from acp_client_v0_1.exceptions import (
    ApiTimeoutError,
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
        """The URL that answered."""
        raise NotImplementedError

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        raise NotImplementedError

    def read_available(self) -> bytes:
        """Return what has arrived, ``b""`` only at the end of a complete body."""
        raise NotImplementedError

    def abort(self) -> None:
        """Wake a blocked `read_available`; called from any thread."""

    def close(self) -> None:
        """Give the connection back."""


class EventStream(Iterator[T]):
    """The events of a response, decoded, as they arrive; an iterator and a context manager.

    Iterating raises:
        StreamDecodeError: an event cannot be decoded. The next ``next()`` goes on after it.
        StreamInterrupted: the connection ended before the body did.
        ApiTimeoutError: the call's time is over, or the server was silent for too long.
        EventTooLarge: an event exceeds the limit.

    Args:
        response: the response, its body unread.
        decode: turns an event into a value, or into ``None`` where iteration is to skip it;
            raises ``ValueError`` for an event that is not as it should be.
        max_event_bytes: the most bytes that one event may have.
    """

    __slots__ = (
        "__weakref__",
        "_batch",
        "_closed",
        "_decode",
        "_events",
        "_id_before",
        "_parser",
        "_reading",
        "_response",
        "_values",
    )

    def __init__(
        self,
        response: StreamedResponse,
        decode: Callable[[ServerSentEvent], T | None],
        *,
        max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES,
    ) -> None:
        self._closed = True  # until there is something to close
        self._response = response
        self._decode = decode
        self._parser = SSEParser(max_event_bytes)
        self._reading = threading.RLock()  # re-entrant, for a signal handler that closes
        self._id_before = ""  # the last event id before the batch
        self._start_batch([])
        self._closed = False

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
        handed_out = self._handed_out()
        return self._batch[handed_out - 1].id if handed_out else self._id_before

    @property
    def closed(self) -> bool:
        """Whether the stream is over: exhausted, failed or closed."""
        return self._closed

    def __next__(self) -> T:
        while True:
            try:
                for value in self._values:
                    if value is not None:
                        return value
            except ValueError as error:
                # None of them is left if another thread has closed the stream meanwhile.
                for event in self._batch[self._handed_out() - 1 :][:1]:
                    raise self._undecodable(event, error) from error
            if not self._advance():
                raise StopIteration

    def raw_events(self) -> Iterator[ServerSentEvent]:
        """Iterate over the events undecoded, whatever their names.

        Both iterations take from the same stream: an event comes out of one of them, once.

        Yields:
            The events that are left.

        Raises:
            StreamInterrupted: the connection ended before the body did.
            ApiTimeoutError: the call's time is over, or the server was silent for too long.
            EventTooLarge: an event exceeds the limit.
        """
        while True:
            yield from self._events
            if not self._advance():
                return

    def close(self) -> None:
        """End the stream and free its connection; a blocked ``next()`` elsewhere ends at once."""
        if self._closed:
            return
        self._closed = True
        self._end_batch(self.last_event_id)
        if self._reading.acquire(blocking=False):
            try:
                self._response.close()
            finally:
                self._reading.release()
        else:
            self._response.abort()  # the thread that reads wakes up, and closes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<EventStream {state}, status {self.status}, last id {self.last_event_id!r}>"

    def _start_batch(self, batch: list[ServerSentEvent]) -> None:
        # The events that came together, what is left of them, and the same decoded on demand:
        # one iterator under both, so that its position says how many are handed out.
        self._batch = batch
        self._events = iter(batch)
        self._values = map(self._decode, self._events)

    def _end_batch(self, last_event_id: str) -> None:
        self._id_before = last_event_id
        self._batch.clear()  # which ends the iterators as well, wherever they are in use

    def _handed_out(self) -> int:
        return len(self._batch) - length_hint(self._events)

    def _advance(self) -> bool:
        # Gets the next events; False at the end.
        try:
            while not self._closed:
                self._end_batch(self._parser.last_event_id)
                # An event that is too large may have come behind good ones: then nothing is read.
                data = b"" if self._parser.too_large else self._read()
                if not data and not self._parser.too_large:
                    break
                events = self._parser.feed(data)
                if events and not self._closed:
                    self._start_batch(events)
                    return True
        except EventTooLarge as error:
            self._release()
            raise EventTooLarge(limit=error.limit, **self._answer()) from error
        except BaseException:
            self._release()
            raise
        self._release()
        return False

    def _read(self) -> bytes:
        # b"" at the end of the body, and after `close`.
        try:
            with self._reading:
                return b"" if self._closed else self._response.read_available()
        except ApiTimeoutError:
            if self._closed:
                return b""
            raise
        except (TransportException, ResponseDecodeError) as error:
            if self._closed:
                return b""
            raise StreamInterrupted(
                last_event_id=self._id_before,
                reason=error.reason or str(error),
                **self._answer(),
            ) from error

    def _release(self) -> None:
        # In the thread that iterates, which is the only one that may close while it reads.
        self._closed = True
        with self._reading:  # `close` in another thread may be at it
            self._response.close()

    def _undecodable(self, event: ServerSentEvent, error: ValueError) -> StreamDecodeError:
        index = self._handed_out() - 1
        return StreamDecodeError(
            event_id=event.id,
            event_name=event.event,
            offset=self._parser.event_offset(index),
            excerpt=event.data[:_EXCERPT_CHARACTERS],
            reason=_explanation(error),
            body=event.data,
            **self._answer(),
        )

    def _answer(self) -> dict[str, Any]:
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
