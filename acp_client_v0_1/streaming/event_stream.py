"""An iterator over the decoded events of a response. Its strategy is in `_reader`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import length_hint
from typing import TYPE_CHECKING, NoReturn, TypeVar

from typing_extensions import Self

from acp_client_v0_1._arguments import OneThread
from acp_client_v0_1._text import short
from acp_client_v0_1.exceptions import ApiValueError
from acp_client_v0_1.streaming._reader import EventReader
from acp_client_v0_1.streaming.event import ServerSentEvent
from acp_client_v0_1.streaming.parser import DEFAULT_MAX_EVENT_BYTES

if TYPE_CHECKING:
    from acp_client_v0_1._http.observer import StreamedResponse

__all__ = ["EventStream"]

T = TypeVar("T")


class EventStream(Iterator[T]):
    """An iterator and context manager over the decoded events of a response, as they arrive.

    Iterating raises:
        StreamDecodeError: An event cannot be decoded. The next ``next()`` continues after it.
        StreamInterrupted: The connection ended before the body was complete.
        ApiTimeoutError: The call's deadline passed, or the server was silent for too long.
        EventTooLarge: An event exceeds the limit.
        ApiValueError: A ``for`` begins although the stream is over or closed, or another thread is
            in ``next()``. An iteration under way ends without an error when the stream ends or is
            closed.

    Args:
        response: The response, its body unread.
        decode: Turns an event into a value, or into ``None`` to skip it; raises ``ValueError`` if
            it cannot be decoded.
        max_event_bytes: The most bytes that one event may have.

    Attributes:
        status: The status code of the response.
        headers: The headers of the response. Their names are not case-sensitive.
    """

    def __init__(
        self,
        response: StreamedResponse,
        decode: Callable[[ServerSentEvent], T | None],
        *,
        max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES,
    ) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self.reader: EventReader = EventReader(response, max_event_bytes)
        self._decode = decode
        self._values: Iterator[T | None] = iter(())
        self._one_reader = OneThread(
            "the stream is read by another thread: open one for each by get_run_stream"
        )

    @property
    def last_event_id(self) -> str:
        """The id to resume from, or ``""`` (WHATWG HTML, 9.2.4)."""
        return self.reader.last_event_id

    @property
    def closed(self) -> bool:
        """True if the stream is over: exhausted, failed or closed."""
        return self.reader.closed

    def __iter__(self) -> Self:
        self._check_open()
        return self

    def __next__(self) -> T:
        while True:
            try:
                for value in self._values:
                    if value is not None:
                        return value
            except ValueError as error:
                undecodable = self.reader.undecodable(error)
                if undecodable is not None:
                    raise undecodable from error
            # Another iteration may have read ahead, and its events come first.
            if not length_hint(self.reader.left):
                with self._one_reader:
                    if not self.reader.advance():
                        raise StopIteration
            self._values = map(self._decode, self.reader.left)

    def _check_open(self) -> None:
        if self.closed:
            raise ApiValueError(
                "the stream is over or closed, and can be iterated only once; "
                "get_run_stream opens another, with Last-Event-ID to continue after an event"
            )

    def raw_events(self) -> Iterator[ServerSentEvent]:
        """Return an iterator over the remaining events, undecoded, whatever their names.

        Both iterations take events from the same stream, so each event comes from one of them.

        Raises:
            StreamInterrupted: The connection ended before the body was complete.
            ApiTimeoutError: The call's deadline passed, or the server was silent for too long.
            EventTooLarge: An event exceeds the limit.
            ApiValueError: The stream is over or closed.
        """
        self._check_open()
        return self._raw_events()

    def _raw_events(self) -> Iterator[ServerSentEvent]:
        reader = self.reader
        while True:
            # `left` is read again for each event, because the typed iteration may have begun a new
            # batch.
            event = next(reader.left, None)
            if event is not None:
                yield event
                continue
            with self._one_reader:
                if not reader.advance():
                    return

    def close(self) -> None:
        """End the stream, and a blocked ``next()`` of any thread, and release the connection."""
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an EventStream cannot be pickled: pickle its run_id and last_event_id")

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<EventStream {state}, status {self.status}, last id {short(self.last_event_id)!r}>"
