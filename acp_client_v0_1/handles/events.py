"""The events of a run, followed over connections that break and servers that restart.

Strategy: a loop around `EventStream`. However a connection ends, the next one asks for the events
after the last one, and `Continuity` judges by its first event whether it has them. A run that
cannot be streamed is polled. The run's status ends the iteration, never the end of a stream.

Invariants: an event is handed out once, or follows a gap that is marked or raised. Between two
calls of ``next()`` only the current connection is open; `close` or the end frees it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from typing_extensions import Self

from acp_client_v0_1._deadline import NothingYet
from acp_client_v0_1._http.slots import Flag
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTimeoutError,
    ApiValueError,
    EventTooLarge,
    ResponseDecodeError,
    RunWaitTimeout,
    StreamDecodeError,
)
from acp_client_v0_1.handles._event import Judge, RunEvent
from acp_client_v0_1.handles._link import FINAL
from acp_client_v0_1.handles._patience import Patience, backoff
from acp_client_v0_1.handles._starting import without_retries
from acp_client_v0_1.handles._tracing import end_run, in_run
from acp_client_v0_1.handles.errors import RunGone, StreamGap
from acp_client_v0_1.models.run_error import RunError
from acp_client_v0_1.models.run_result import RunResult
from acp_client_v0_1.models.run_status import RunStatus
from acp_client_v0_1.models.streaming_mode import StreamingMode

if TYPE_CHECKING:
    from acp_client_v0_1.handles._link import RunLink
    from acp_client_v0_1.streaming import EventStream

__all__ = ["RunEvent", "RunEvents"]

_LOOK_EVERY = 15.0  # seconds without an event until a look at the run
_SILENCE = 0.5  # seconds of it before a look, after a reader that took its time
_ONE_LOOK = 5.0  # seconds that such a look may take
_TRIES = 5  # streams in a row that are refused with 5xx, or empty, until the run is polled
_EMPTY_PAUSE = 0.1  # seconds; doubles with each empty stream
_LONGEST_PAUSE = 4.0  # seconds between two empty streams
_ANSWER_EVERY = 1.0  # seconds between two looks whether an interrupt was answered
_BEYOND = 0.2  # seconds for which a silent stream outlives the wait for an event
_CONNECT = 10.0  # seconds to connect, at most
_REFUSES = frozenset((401, 403))  # a poll would be refused as well
_NO_EVENT = "no event came"


class RunEvents(Iterator[RunEvent]):
    """The events of a run, from `RunHandle.events`: an iterator and a context manager.

    In mode ``custom`` each event is an update. In mode ``result`` each event is a result that
    replaces the last one. A run that does not stream has one event, its result. The iteration ends
    when the run ends or is interrupted.

    Iterating raises:
        StreamGap: updates were lost; the next ``next()`` goes on.
        StreamDecodeError: an event cannot be decoded; the next ``next()`` goes on.
        RunGone: the server does not know the run.
        RunWaitTimeout: no event came in time; the next ``next()`` waits again.
        EventTooLarge: an event exceeds ``Configuration.max_event_bytes``; the iteration is over.
        ApiException: the server refused.

    Args:
        link: The run.
        raise_gaps: Raise a gap, instead of marking the event after it.
        through_interrupts: Go on after an interrupt.
        timeout: Seconds to wait for each event, None for as long as it takes.
        after: The id of the event to begin after, "" for the beginning.

    Attributes:
        last_event_id: The id of the last event that was handed out, "" if none.
        ended_by: The status of the run that ended the iteration, or "gone"; None before its end.
    """

    def __init__(
        self,
        link: RunLink,
        *,
        raise_gaps: bool,
        through_interrupts: bool,
        timeout: float | None,
        after: str,
    ) -> None:
        self.last_event_id: str = after
        self.ended_by: str | None = None
        self._link = link
        self._through_interrupts = through_interrupts
        self._timeout = timeout
        self._judge = Judge(link, raise_gaps=raise_gaps, after=after)
        self._closing = Flag()
        self._stream: EventStream[RunEvent] | None = None
        self._over = False
        self._polling = False
        self._empty = 0  # streams without an event, in a row
        self._delivered = 0  # when the last stream ended
        self._refusals = 0  # 5xx to opening it, in a row
        self._next_look = 0.0  # when the run is asked for, unless an event comes before
        self._patience = Patience(None)  # of the current ``next()``

    @property
    def gaps(self) -> list[StreamGap]:
        """The gaps so far, those that were only marked included."""
        return self._judge.gaps

    @property
    def complete(self) -> bool | None:
        """Whether every event was handed out; None if the events' ids do not tell, or not yet.

        Blind spot: if a server ends a stream early but cleanly, and the run is over by then, this
        is True all the same.
        """
        judge, memory = self._judge, self._judge.memory
        if memory.complete is False:
            return False
        unsettled = judge.custom and memory.judging  # no event has come since the last cut
        return None if self.ended_by in (None, "gone") or unsettled else memory.complete

    def __next__(self) -> RunEvent:
        stream = self._stream
        if stream is not None and self._judge.held is None:
            # An event that has arrived is handed out at once; `_next` does everything else.
            try:
                for event in stream._values:  # pyright: ignore[reportPrivateUsage]
                    if event is not None:
                        event_id = event[0]
                        if event_id:
                            self.last_event_id = self._link.last_event_id = event_id
                        return event
            except ValueError as error:
                self._undecodable(stream, error)
        try:
            return self._next()
        except RunGone:
            self._end("gone")
            raise
        except RunWaitTimeout:
            if self._closing.is_set():  # `close` has ended the wait
                raise StopIteration from None
            raise

    def _undecodable(self, stream: EventStream[RunEvent], error: ValueError) -> None:
        """Raise the error of an event that cannot be decoded, unless it is a replay."""
        try:
            stream._raise_undecodable(error)  # pyright: ignore[reportPrivateUsage]
        except StreamDecodeError as undecodable:
            if self._judge.note_undecodable(undecodable):
                raise

    def _next(self) -> RunEvent:
        self._patience = Patience.of(self._timeout, self._closing)
        while True:
            if self._judge.held is not None:
                event, self._judge.held = self._judge.held, None
                return self._handed_out(event)
            if self._over or self._closing.is_set():
                raise StopIteration
            stream = self._stream
            try:
                if stream is None:
                    self._connect()
                    continue
                # Only silence is a reason to look: a slow reader may find the run over, and events
                # that are still to be read.
                remaining = self._patience.deadline.remaining() if self._timeout != 0 else 0.0
                silence = min(_SILENCE, remaining / 2)
                wait = min(max(silence, self._next_look - time.monotonic()), remaining)
                event = stream._next_within(wait)  # pyright: ignore[reportPrivateUsage]
            except StopIteration:
                self._stream = None
                self._decide(streams=True)
            except NothingYet:
                if time.monotonic() >= self._next_look:
                    self._look_aside()
                elif self._timeout == 0 or self._patience.deadline.expired:
                    raise self._link.late(self._patience, _NO_EVENT) from None
            except ApiValueError:
                if stream is None or not stream.closed:
                    raise
                self._stream = None  # by `close`, or by Ctrl-C in the last call
            except StreamGap:
                raise  # by `Judge.decode`; the stream goes on
            except EventTooLarge:
                self._over = True
                raise
            except StreamDecodeError as error:
                if self._judge.note_undecodable(error):
                    raise
            except ApiException as error:
                if stream is None:
                    raise
                self._stream = None
                self._broken(error)
            else:
                self._next_look = time.monotonic() + _LOOK_EVERY
                return self._handed_out(event)

    def close(self) -> None:
        """End the iteration, also for a ``next()`` that waits in another thread."""
        self._closing.set()
        stream = self._stream
        if stream is not None:
            stream.close()

    def _stretch(self) -> Self:
        """Return this iterator, ready to go on after the interrupt that ended it."""
        if self.ended_by == RunStatus.INTERRUPTED.value:
            self.ended_by = None
            self._over = False
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        ended = "" if self.ended_by is None else f", ended by {self.ended_by}"
        return f"<RunEvents of {self._link.run_id}, last id {self.last_event_id!r}{ended}>"

    # Events

    def _handed_out(self, event: RunEvent) -> RunEvent:
        if event.id:
            self.last_event_id = self._link.last_event_id = event.id
        return event

    # Connections

    def _connect(self) -> None:
        """Open a stream, or poll."""
        if self._polling:
            self._poll()
            return
        try:
            stream = self._open()
        except ApiException as error:
            self._refused(error)
            return
        self._refusals = 0
        if stream.status == 204:
            stream.close()
            self._decide(streams=False)
            return
        self._patience.succeeded()
        self._judge.memory.reconnect()
        self._next_look = time.monotonic() + _LOOK_EVERY
        self._stream = stream
        if self._closing.is_set():  # `close` has not seen it
            stream.close()

    def _open(self) -> EventStream[RunEvent]:
        limits = None
        if self._timeout is not None:
            # A little more than remains, so that a wait for an event leaves the stream open.
            limit = self._patience.limit
            limits = limit(_CONNECT), limit(self._timeout or _CONNECT) + _BEYOND
        headers = None
        if self._judge.memory.last_id:
            headers = {"Last-Event-ID": self._judge.memory.last_id}
        once = without_retries(self._link.runs)
        with in_run(self._link, waits=True):
            stream = once.get_run_stream(
                self._link.run_id, _request_timeout=limits, _headers=headers
            )
        return stream._decoded_by(self._judge.decode)  # pyright: ignore[reportPrivateUsage]

    def _refused(self, error: ApiException) -> None:
        """Decide how to go on after a stream was refused."""
        status = error.status
        if isinstance(error, ResponseDecodeError):
            self._decide(streams=False)
        elif status is None or status in (408, 429):
            self._link.survive(error, self._patience, _NO_EVENT)
        elif status >= 500 and self._refusals + 1 < _TRIES:
            self._refusals += 1
            self._link.survive(error, self._patience, _NO_EVENT)
        elif status == 404 and self._link.young:
            self._link.pause(_EMPTY_PAUSE, self._patience, _NO_EVENT)
        elif status in _REFUSES:
            raise error
        else:
            self._decide(streams=False)

    def _broken(self, error: ApiException) -> None:
        """Go on after a stream that broke.

        A server may break every stream off after it has replayed all events. So this looks at the
        run if nothing new came, or if new results look like replayed ones.
        """
        self._link.survive(error, self._patience, _NO_EVENT)
        self._count_stream()
        if not isinstance(error, ApiTimeoutError):  # a silent stream has taken its time
            self._pause_if_empty()
        if self._judge.custom is not False and self._empty <= _TRIES:
            return
        status = self._link.look(self._patience).status
        if status in FINAL:
            self._begin_polling()
        elif status == RunStatus.INTERRUPTED:
            self._interrupted()

    def _count_stream(self) -> None:
        """Count the streams in a row that brought nothing new."""
        self._empty = 1 if self._judge.memory.delivered > self._delivered else self._empty + 1
        self._delivered = self._judge.memory.delivered

    def _pause_if_empty(self) -> None:
        """Pause before the next stream, for longer after each that brought nothing new."""
        if self._empty > 1:
            pause = backoff(self._empty, _EMPTY_PAUSE, _LONGEST_PAUSE)
            self._link.pause(pause, self._patience, _NO_EVENT)

    # The run

    def _decide(self, *, streams: bool) -> None:
        """Look at the run to decide how to go on without a stream; ``streams`` if it had one."""
        if self._closing.is_set():
            return
        if self._heed(self._link.look(self._patience).status):
            return
        if streams:
            self._count_stream()
        if not streams or self._empty > _TRIES:
            self._begin_polling()
        else:
            self._pause_if_empty()

    def _look_aside(self) -> None:
        """Look whether the run is over, after a while without events."""
        try:
            status = self._link.refresh(self._patience.limit(_ONE_LOOK)).status
        except RunGone:
            raise
        except ApiException:
            status = RunStatus.PENDING  # the stream is alive, which is more than this says
        self._next_look = time.monotonic() + _LOOK_EVERY
        self._heed(status)

    def _heed(self, status: RunStatus) -> bool:
        """Do what the run's status asks for; return whether the run is no longer pending."""
        if status in FINAL:
            self._finish(status)
        elif status == RunStatus.INTERRUPTED:
            self._interrupted()
        else:
            return False
        return True

    def _interrupted(self) -> None:
        if not self._through_interrupts:
            self._end(RunStatus.INTERRUPTED.value)
            return
        self._drop_stream()
        # A human may take any time, so no timeout bounds this.
        while not self._closing.wait(_ANSWER_EVERY):
            if self._link.look(Patience(None, self._closing)).status != RunStatus.INTERRUPTED:
                break
        self._patience = Patience.of(self._timeout, self._closing)

    def _begin_polling(self) -> None:
        self._polling = True
        self._doubt()

    def _poll(self) -> None:
        # A timeout of 0 looks once; any other must not end as one.
        left = self._timeout and max(0.001, self._patience.deadline.remaining())
        with in_run(self._link, waits=True):
            output = self._link.output(left, stop=self._closing).actual_instance
        if isinstance(output, RunResult):
            self._judge.held = RunEvent("", output)
            self._end(RunStatus.SUCCESS.value)
        elif isinstance(output, RunError):
            self._end(self._link.failure_of(output, self._patience).status_name)
        else:
            self._interrupted()

    def _finish(self, status: RunStatus) -> None:
        """End the iteration with the run; if it had no event, its result is the only one."""
        self._drop_stream()
        nothing = not self._judge.memory.delivered and not self.last_event_id
        if nothing and status == RunStatus.SUCCESS:
            self._poll()
        if self._judge.memory.judging:
            self._doubt()
        self._end(status.value)

    def _doubt(self) -> None:
        """Note that updates may be missing, if the run has updates at all."""
        run = self._link.run
        if self._judge.custom or run is None or run.creation.streaming == StreamingMode.CUSTOM:
            self._judge.memory.doubt()

    def _end(self, how: str) -> None:
        self._drop_stream()
        self._over = True
        self.ended_by = how
        if how != RunStatus.INTERRUPTED.value:
            end_run(self._link, how)

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
