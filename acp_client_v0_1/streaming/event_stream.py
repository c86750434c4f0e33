"""A response whose body is a stream of events: an iterator over what its bytes say.

Strategy: read what has arrived, feed the parser, hand the events out one by one, and read again
only when all of them are gone. Nothing is ever waited for while an event is there to be had.

Invariants:
  - The connection is given back on every way out: at the end of the body, by `close`, by leaving
    the ``with``, after an error, and when the stream is forgotten.
  - An iteration ends without an error only if HTTP says that the body is complete, or after
    `close`.
  - `last_event_id` belongs to what has been handed out, not to what has been read ahead.
  - One thread iterates; `close` may come from any, and from a signal's handler in that thread.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from operator import length_hint
from types import TracebackType
from typing import Any, Protocol, TypeVar

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

    def read_available(self, *, wait: float | None = None) -> bytes:
        """Return what has arrived, ``b""`` only at the end of a complete body.

        Args:
            wait: seconds to wait for a first byte, None for no limit.

        Raises:
            NothingYet: nothing has arrived within that time.
        """
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
        ApiValueError: the stream was over, or closed, before the iteration began. An iteration
            under way ends without an error when the stream does, or is closed.

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
        "_finalizer",
        "_give_up_at",
        "_id_before",
        "_in_read",
        "_iterating",
        "_looked",
        "_parser",
        "_pid",
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
        self._response = response
        # Not `__del__`: of a reference cycle, the socket may be finalized before the stream is.
        # What stands here stays alive until it was called; an exiting process closes its sockets.
        self._finalizer = weakref.finalize(self, response.close)
        self._finalizer.atexit = False
        self._decode = decode
        self._parser = SSEParser(max_event_bytes)
        self._reading = threading.RLock()  # re-entrant, for a signal's handler that closes
        self._in_read = False  # while the response is being read, under the lock
        self._pid = os.getpid()
        self._id_before = ""  # the last event id before the batch
        self._start_batch([])
        self._closed = False
        self._iterating = False  # a typed iteration has begun, and has not been told the end
        self._give_up_at: float | None = None  # monotonic seconds, during `_next_within`
        self._looked = False  # in it, something was read already

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
        """Whether the stream is over: exhausted, failed or closed."""
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
                batch, handed_out = self._position()
                # None of them is left if another thread has closed the stream meanwhile.
                for event in batch[handed_out - 1 : handed_out]:
                    raise self._undecodable(event, handed_out - 1, error) from error
            if not self._iterating:
                self._check_open()
                self._iterating = True
            if not self._advance():
                self._iterating = False
                raise StopIteration

    def _next_within(self, seconds: float) -> T:
        """Give the next event like ``next()``, but wait at most ``seconds`` for it.

        Comments do not make the wait longer.

        Raises:
            NothingYet: no event came in time. The stream is alive, and the next call goes on where
                this one stopped.
            StopIteration: the stream has ended.
        """
        self._give_up_at = time.monotonic() + seconds
        self._looked = False
        try:
            return next(self)
        finally:
            self._give_up_at = None

    def _check_open(self) -> None:
        if self._closed:
            raise ApiValueError(
                "the stream is over or closed, and its events come out of it once only; "
                "get_run_stream opens another, with Last-Event-ID to go on after an event"
            )

    def raw_events(self) -> Iterator[ServerSentEvent]:
        """Iterate over the events undecoded, whatever their names.

        Both iterations take from the same stream: an event comes out of one of them, once.

        Yields:
            The events that are left.

        Raises:
            StreamInterrupted: the connection ended before the body did.
            ApiTimeoutError: the call's time is over, or the server was silent for too long.
            EventTooLarge: an event exceeds the limit.
            ApiValueError: the stream is over or closed.
        """
        self._check_open()
        return self._raw_events()

    def _raw_events(self) -> Iterator[ServerSentEvent]:
        while True:
            # Looked at anew for each event: whoever else iterates may have begun a new batch.
            for event in self._batch[1]:
                yield event
                break
            else:
                if not self._advance():
                    return

    def close(self) -> None:
        """End the stream and free its connection; a blocked ``next()`` elsewhere ends at once."""
        if self._closed:
            return
        self._closed = True
        self._end_batch(self.last_event_id)
        if os.getpid() != self._pid:
            self._let_go()
        elif self._reading.acquire(blocking=False):
            try:
                self._let_go()
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

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<EventStream {state}, status {self.status}, last id {self.last_event_id!r}>"

    def _start_batch(self, events: list[ServerSentEvent]) -> None:
        # The events that came together and what is left of them, in one, so that another thread
        # sees both of the same batch; and what is left, decoded on demand: one iterator under
        # both, so that its position says how many are handed out.
        left = iter(events)
        self._values = map(self._decode, left)
        self._batch = (events, left)

    def _end_batch(self, last_event_id: str) -> None:
        self._id_before = last_event_id
        self._batch[0].clear()  # which ends the iterators as well, wherever they are in use

    def _position(self) -> tuple[list[ServerSentEvent], int]:
        # The batch, and how many of it are handed out.
        events, left = self._batch
        return events, len(events) - length_hint(left)

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
                if events:
                    self._start_batch(events)
                    if not self.closed:
                        return True
                    events.clear()  # `close` came first, and has not seen them
        except NothingYet:
            raise
        except EventTooLarge as error:
            self._iterating = False
            self._release()
            raise EventTooLarge(limit=error.limit, **self._answer()) from error
        except BaseException:
            self._iterating = False
            self._release()
            raise
        self._release()
        return False

    def _read(self) -> bytes:
        # b"" at the end of the body, and after `close`.
        try:
            with self._alone():
                self._in_read = True
                try:
                    if self._closed:
                        return b""
                    wait = self._wait_left()
                    return self._response.read_available(wait=wait)
                finally:
                    self._in_read = False
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

    def _wait_left(self) -> float | None:
        # Reads at least once, but does not go on for as long as comments come.
        if self._give_up_at is None:
            return None
        left = self._give_up_at - time.monotonic()
        if left <= 0 and self._looked:
            raise NothingYet
        self._looked = True
        return max(0.0, left)

    def _release(self) -> None:
        # In the thread that iterates, which is the only one that may close while it reads.
        self._closed = True
        with self._alone():  # `close` in another thread may be at it
            self._let_go()

    def _let_go(self) -> None:
        if self._in_read and os.getpid() == self._pid:
            # A signal's handler has interrupted the read of this very thread, which cannot be
            # closed under itself: it ends when it goes on, and closes.
            self._response.abort()
        else:
            self._response.close()
            self._finalizer.detach()

    def _alone(self) -> contextlib.AbstractContextManager[object]:
        # A fork may have copied the lock while a thread held it that only the parent has; in the
        # child, the response refuses to be read.
        return self._reading if os.getpid() == self._pid else contextlib.nullcontext()

    def _undecodable(
        self, event: ServerSentEvent, index: int, error: ValueError
    ) -> StreamDecodeError:
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
