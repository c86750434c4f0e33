"""The undecoded events of a response whose body is an event stream.

Strategy: read the bytes that have arrived, and feed the parser. The events that it returns are one
batch. Hand them out one by one, and read again when all of them are handed out. `EventStream` and
the events of a run (`handles.events`) decode them.

Invariants:
  - The connection is released at the end of the body, by `close`, after an error, and when the
    reader is garbage.
  - The events end without an error only if HTTP says that the body is complete, or after `close`.
  - `last_event_id` belongs to the last event handed out, not to one that was only read ahead.
  - One thread reads. Any thread may call `close`, and so may a signal handler in the thread that
    reads.
  - There is no lock, because an interrupt could leave a lock held. `close` sets `closed`, then
    reads `_in_read`. The reader sets `_in_read`, then reads `closed`. So at least one of the two
    sees the other. If `close` sees a read under way, it only aborts the read, and the reader
    releases the connection. Otherwise `close` releases the connection.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from operator import length_hint
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from acp_client_v0_1 import exceptions
from acp_client_v0_1._deadline import Deadline, NothingYet
from acp_client_v0_1._operation import faults_of
from acp_client_v0_1.streaming.event import ServerSentEvent
from acp_client_v0_1.streaming.parser import SSEParser

if TYPE_CHECKING:
    from acp_client_v0_1._http.observer import StreamedResponse

_EXCERPT_CHARACTERS = 200


class EventReader:
    """Reads the events of a response as they arrive."""

    def __init__(self, response: StreamedResponse, max_event_bytes: int) -> None:
        self.response = response
        # This is a finalizer and not a `__del__`: in a reference cycle, the socket may be finalized
        # before `__del__` runs. What a finalizer refers to stays alive. At exit the system closes
        # the sockets.
        self._finalizer = weakref.finalize(self, response.close)
        self._finalizer.atexit = False
        self._parser = SSEParser(max_event_bytes)
        self._in_read = False
        self._pid = os.getpid()
        # The last event id before the first event of the batch is handed out.
        self._id_before = ""
        # The events and their iterator are in one tuple, so that another thread sees both of the
        # same batch. The iterator's position shows how many events are handed out.
        self._batch: tuple[list[ServerSentEvent], Iterator[ServerSentEvent]] = ([], iter(()))
        self.closed: bool = False

    @property
    def left(self) -> Iterator[ServerSentEvent]:
        """An iterator over the events of the batch that are not handed out.

        Taking an event from this iterator hands the event out. `advance` replaces the iterator.
        """
        return self._batch[1]

    @property
    def last_event_id(self) -> str:
        """The id of the last event that was handed out, or ``""``."""
        last = self.last_event
        return self._id_before if last is None else last.id

    @property
    def last_event(self) -> ServerSentEvent | None:
        """The last event that was handed out since the last `advance`, if there is one."""
        events, left = self._batch
        handed_out = len(events) - length_hint(left)
        # Another thread may just have emptied the batch. Then a slice is empty, but an index would
        # raise an error.
        latest = events[handed_out - 1 : handed_out] if handed_out else []
        return latest[0] if latest else None

    def advance(self, seconds: float | None = None) -> bool:
        """Read until there are events, and return True. Return False at the end of the stream.

        If no event arrives within ``seconds``, raise `NothingYet`, even if comments arrive. Then
        the stream stays open.
        """
        deadline, read = Deadline.after(seconds), False
        try:
            while not self.closed:
                self._end_batch(self._parser.last_event_id)
                # If an event that is too large followed the events of the last batch, feed() raises
                # now.
                data = b""
                if not self._parser.too_large:
                    if read and deadline.expired:
                        raise NothingYet
                    data = self._read(deadline.bound())
                    if not data:
                        break
                read = True
                events = self._parser.feed(data)
                if events:
                    self._batch = events, iter(events)
                    if not self.closed:
                        return True
                    events.clear()  # type: ignore[unreachable]  # `close` was called meanwhile
        except NothingYet:
            raise
        except BaseException as error:
            self._release()
            if isinstance(error, exceptions.EventTooLarge):
                raise exceptions.EventTooLarge(limit=error.limit, **self.fields()) from error
            raise
        self._release()
        return False

    def close(self) -> None:
        """End the stream, and a blocked `advance` of any thread, and release the connection."""
        if self.closed:
            return
        last_event_id = self.last_event_id
        self.closed = True
        self._end_batch(last_event_id)
        # In a forked process, `_in_read` may be True because of a read of the parent.
        if self._in_read and os.getpid() == self._pid:
            # This wakes the reader, which then releases the connection.
            self.response.abort()
        else:
            # A finalizer closes the response only once.
            self._finalizer()

    def undecodable(self, error: ValueError) -> exceptions.StreamDecodeError | None:
        """Return the error for the last event handed out, or None if the stream was closed."""
        event = self.last_event
        if event is None:
            return None
        return exceptions.StreamDecodeError(
            event_id=event.id,
            event_name=event.event,
            excerpt=event.data[:_EXCERPT_CHARACTERS],
            reason=faults_of(error, most=1) if isinstance(error, ValidationError) else str(error),
            body=event.data,
            **self.fields(),
        )

    def fields(self) -> dict[str, Any]:
        """Return the fields of the response, for an error of the stream."""
        names = ("status", "headers", "method", "url")
        return {name: getattr(self.response, name) for name in names}

    def _end_batch(self, last_event_id: str) -> None:
        self._id_before = last_event_id
        # An iterator over an empty list is at its end, in every thread.
        self._batch[0].clear()

    def _read(self, wait: float | None) -> bytes:
        # This returns b"" at the end of the body, and after `close`.
        try:
            self._in_read = True
            if self.closed:
                return b""
            return self.response.read_available(wait=wait)
        except (NothingYet, exceptions.TransportException, exceptions.ResponseDecodeError) as error:
            if self.closed:
                return b""
            if isinstance(error, (NothingYet, exceptions.ApiTimeoutError)):
                raise
            raise exceptions.StreamInterrupted(
                last_event_id=self._id_before, reason=error.reason or str(error), **self.fields()
            ) from error
        finally:
            self._in_read = False

    def _release(self) -> None:
        # The thread that reads calls this after its read, so that nobody else uses the connection.
        self.closed = True
        self._finalizer()
