"""The events of a run, followed over connections that break and servers that restart.

Strategy: a loop around `EventReader`. Each new connection asks the server for the events after the
last event that was handed out. `Continuity` compares the first event of the connection with earlier
events, to find out whether the server did as asked. A run that cannot be streamed is polled. The
end of a stream does not end the iteration. The iteration ends when the status of the run shows that
the run has ended, or is interrupted and nobody is expected to answer.

Invariants: as far as the ids and the content of the updates show it, no update is handed out twice,
and no update is left out without a gap. A replayed result may be handed out again. If nothing shows
whether updates are missing, `complete` is None: for example after polling, or if Ctrl-C struck
while an update was handed out. Between two calls of ``next()`` at most one connection is open.
`close`, or the end of the iteration, closes this connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

from typing_extensions import Self

from acp_client_v0_1._arguments import OneThread
from acp_client_v0_1._contract import FINAL
from acp_client_v0_1._deadline import NothingYet
from acp_client_v0_1._http.retry import backoff, failure_of
from acp_client_v0_1._http.slots import Flag
from acp_client_v0_1._text import package_logger, short
from acp_client_v0_1.exceptions import ApiException, ApiValueError, EventTooLarge
from acp_client_v0_1.handles._event import EventDecoder, RunEvent
from acp_client_v0_1.handles._known import Gone
from acp_client_v0_1.handles._polls import Polls
from acp_client_v0_1.handles._rules import BESIDE, Decided, is_unserved
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles.errors import StreamGap
from acp_client_v0_1.models import Run, RunError, RunResult, RunStatus, StreamingMode

if TYPE_CHECKING:
    from acp_client_v0_1.handles._core import RunCore
    from acp_client_v0_1.streaming import EventStream
    from acp_client_v0_1.streaming._reader import EventReader

__all__ = ["RunEvent", "RunEvents"]

_log = package_logger("acp_client_v0_1.handles")


class RunEvents(Iterator[RunEvent], AbstractContextManager["RunEvents"]):
    """The events of a run, from `RunHandle.events`: an iterator and a context manager.

    In mode ``custom`` each event of the stream is an update. In mode ``result`` each event is a
    result that replaces the result before it. A run that does not stream has one event, its result.
    A run in mode ``custom`` has its result as the last event if the client has polled the run
    instead of streaming it, or if no update came. Such an event has the ``update`` None.

    The iteration ends when the run ends. It also ends when the run is interrupted, unless the
    iterator was made with ``through_interrupts``.

    Iterating raises:
        StreamGap: updates were lost, or may be, see its ``kind``; the next ``next()`` continues.
        StreamDecodeError: an event cannot be decoded; the next ``next()`` continues. A gap before
            this event is not raised, and is only in `gaps`.
        RunGone: the server does not know the run.
        RunWaitTimeout: no event came in time; the next ``next()`` waits again.
        EventTooLarge: an event exceeds ``Configuration.max_event_bytes``; the iteration is over.
        ApiException: the server refused.
        ApiValueError: a ``for`` begins although the iteration is over or closed, or another Python
            thread is in ``next()``.

    Attributes:
        last_event_id: The id of the last event that was handed out, or "".
        ended_by: The status of the run that ended the iteration, or "gone". Before that, None.
        gaps: The gaps so far, including gaps that were only marked.
    """

    def __init__(
        self,
        core: RunCore,
        *,
        # True: raise each gap, unless its kind is "unknown". False: only mark the event after the
        # gap.
        raise_gaps: bool,
        # False: an interrupt ends the iteration. True: wait until another caller answers. A
        # function: call the function, which answers, and returns whether there was a question.
        through_interrupts: bool | Callable[[], bool],
        timeout: float | None,
        # The id of the event to begin after. By default, this is the last event of the token that
        # the handle was made from, if any.
        after: str | None = None,
    ) -> None:
        after = core.given_token.last_event_id if after is None else after
        self.last_event_id: str = after
        self.ended_by: str | None = None
        self._core = core
        self._through_interrupts = through_interrupts
        self._timeout = timeout
        self._decoder = EventDecoder(core, raise_gaps=raise_gaps, after=after)
        self.gaps: list[StreamGap] = self._decoder.gaps
        self._closing = Flag()
        # The reader of the last stream, which may be closed. None before the first stream.
        self._reader: EventReader | None = None
        # The events that have arrived and were not handed out yet. None stands for an event that is
        # dropped, such as a replay.
        self._values: Iterator[RunEvent | None] = iter(())
        self._over = False
        self._one_reader = OneThread(
            "this iteration is read by another thread: RunHandle.events() begins another iteration"
        )
        self._polling = False
        # How many streams have ended in a row. A stream that brings something new starts the count
        # again: when this stream ends, the count is 1.
        self._endings = 0
        # How many events had been delivered when the last stream ended.
        self._delivered = 0
        # How many events had been delivered at the last interrupt, and when the run had changed.
        self._last_interrupt: tuple[int, datetime | None] | None = None
        # When the run is read next, unless an event comes before. A new stream sets this.
        self._next_check: float
        self._wait = core.wait(timeout, self._closing, what="has no event")

    @property
    def complete(self) -> bool | None:
        """Whether every event was handed out. None if that is not known.

        This is False after a gap of kind "lost" or "cursor-ignored". Otherwise it is None until the
        iteration ends, and stays None in these cases: the ids do not show whether events are
        missing; the run is in mode ``custom`` and no update came; or Ctrl-C struck while an event
        was handed out.

        Blind spot: a server may end a stream early but cleanly. If the run has ended by then, this
        is True although events are missing.
        """
        memory = self._decoder.memory
        if memory.complete is False:
            return False
        if self.ended_by in (None, "gone") or (self._has_updates and memory.judging):
            # Either the iteration has not ended with a status of the run, or the last connection
            # has not reached the last update that was handed out.
            return None
        return memory.complete

    @property
    def _has_updates(self) -> bool:
        """Whether the events of the run are updates.

        The last event shows this. Before the first event, the create of the run shows it.
        """
        core, custom = self._core, self._decoder.custom
        creation = core.creation or (None if core.run is None else core.run.creation)
        expected = creation is not None and creation.streaming == StreamingMode.CUSTOM
        return expected if custom is None else custom

    def __iter__(self) -> Self:
        if self._over or self._closing.is_set():
            raise ApiValueError("these events are over or closed: RunHandle.events() begins again")
        return self

    def __next__(self) -> RunEvent:
        waited = False
        while True:
            try:
                # Most calls hand out an event that has arrived already, so this has few steps.
                for event in self._values:
                    if event is not None:
                        event_id = event.id
                        if event_id:
                            self.last_event_id = self._core.last_event_id = event_id
                        if waited:
                            self._next_check = timing().now() + timing().silence
                        return event
            except (KeyboardInterrupt, ApiException, ValueError) as error:
                self._raise_unless_replay(error)
                continue
            if self._over or self._closing.is_set():
                raise StopIteration
            with self._one_reader:
                self._core.named(self._advance, waited)
            waited = True

    def _raise_unless_replay(self, error: BaseException) -> None:
        """Raise the error that came instead of an event, unless the event is a replay."""
        decoder = self._decoder
        if isinstance(error, StreamGap):
            # The next `next()` hands out the event after the gap.
            self._values = chain((decoder.after_gap,), self._values)
        elif isinstance(error, ValueError):
            undecodable = None if self._reader is None else self._reader.undecodable(error)
            if undecodable is None or not decoder.note_undecodable(undecodable):
                return
            self._core.name_in(undecodable)
            raise undecodable from error
        else:
            # The event that was decoded at this moment may be lost, or is of another run.
            decoder.memory.doubt()
        self._core.name_in(error)
        raise error

    def _advance(self, waited: bool) -> None:
        """Call `_receive`, and act on an error that ends the iteration or the wait."""
        try:
            self._receive(waited)
        except Decided as decided:
            if isinstance(decided, Gone):
                self._end("gone")
            # `close` in another thread also ends the wait, which is no error.
            elif self._closing.is_set() and isinstance(decided.error, TimeoutError):
                return
            raise

    def _receive(self, waited: bool) -> None:
        """Wait until events arrive, a stream ends, or it is time to check the run.

        ``waited`` says that the current ``next()`` has called this function before. In the first
        call of a ``next()``, the timeout begins.
        """
        if not waited:
            self._wait.rearm()
        # The reader is closed at the end of its stream, after an error, and if Ctrl-C struck in an
        # earlier `next()`.
        while self._reader is None or self._reader.closed:
            self._connect()
            if self._over or self._closing.is_set():
                return
        late = waited if self._timeout == 0 else self._wait.remaining() <= 0
        if late:
            raise self._wait.late_error()
        try:
            self._await_events(self._reader)
        except NothingYet:
            if timing().now() >= self._next_check:
                self._check_run(self._reader)

    def _await_events(self, reader: EventReader) -> None:
        """Read until events arrive, the stream ends, or it is time to check the run."""
        # If the caller is slow, it may be time to check the run while events are still unread. The
        # run may have ended, but its events must be handed out first. So the client reads the
        # stream for at least a moment, and only then the run.
        clock = timing()
        remaining = self._wait.remaining() if self._timeout != 0 else 0.0
        silence = min(clock.least_silence, remaining / 2)
        seconds = min(max(silence, self._next_check - clock.now()), remaining)
        try:
            arrived = reader.advance(seconds)
        except EventTooLarge:
            self._over = True
            raise
        except ApiException as error:
            self._handle_break(error)
            return
        if arrived:
            self._values = map(self._decoder.decode, reader.left)
        else:
            self._decide(stream_ended=True)

    def close(self) -> None:
        """End the iteration. A ``next()`` that waits in another thread ends, too."""
        self._closing.set()
        self._drop_stream()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a RunEvents cannot be pickled: pickle the RunHandle")

    def __repr__(self) -> str:
        ended = "" if self.ended_by is None else f", ended by {self.ended_by}"
        run_id, last_id = short(self._core.run_id), short(self.last_event_id)
        return f"<RunEvents of {run_id}, last id {last_id!r}{ended}>"

    # Connections

    def _connect(self) -> None:
        """Open a stream, or poll."""
        self._core.open_span()
        if self._polling:
            self._poll()
            return
        health = self._wait.contact.health
        refused: list[ApiException] = []
        stream: EventStream[Any] | None = None
        if "stream" not in health.lacks:
            stream = self._wait.perform("stream", self._open, self._core, probe=refused.append)
        # A 204 has no body, so its connection is free already.
        if stream is None or stream.status == 204:
            self._wait.obey({} if stream is None else stream.headers)
            for error in refused:
                if failure_of(error).kind == "unreadable":
                    # The server has a stream, and its next response will probably be the same.
                    self._begin_polling(error)
            # If the run is gone, this raises `Gone`.
            self._decide(stream_ended=False)
            # A 405 or 501 shows that the server has no streams. A 404 shows this only if the run
            # continues, because the stream of a run that has ended may be gone. If the run
            # continues, `_decide` has just set `_polling`.
            if any(e.status != 404 or self._polling for e in refused if is_unserved(e)):
                health.lacks.add("stream")
            elif any(failure_of(e).kind == "lost" for e in refused):
                health.fails.add("stream")
            return
        self._decoder.memory.reconnect()
        self._next_check = timing().now() + timing().silence
        self._reader = stream.reader
        # If `close` in another thread came before `_reader` was set, it could not close the stream.
        if self._closing.is_set():
            stream.close()

    def _open(self, limit: float) -> EventStream[Any] | None:
        core, limits = self._core, None
        if self._timeout is not None:
            # The read timeout of the stream is a little longer than the wait for an event. So the
            # stream is still open when the wait ends, and the next `next()` uses it again.
            silence = self._wait.limit(self._timeout or timing().quick)
            limits = limit, silence + min(timing().beyond, silence / 10)
        last_id = self._decoder.memory.last_id
        headers = {"Last-Event-ID": last_id} if last_id else None
        return self._wait.contact.runs.get_run_stream(
            core.run_id, _request_timeout=limits, _headers=headers
        )

    def _handle_break(self, error: ApiException) -> None:
        """Continue after a stream that broke off.

        Usually the next step is a new stream. But a server may replay all events on each stream,
        and then break off the stream. So after several streams in a row without anything new, the
        run is read. If the last event was a result, the run is read at once, because a new result
        may look like a replayed result.
        """
        self._note_end()
        self._wait.error = error
        # A stream that broke off because it was silent has lasted long enough to need no pause.
        if not isinstance(error, TimeoutError):
            self._wait.pause(backoff(self._endings - 1, *timing().stream_backoff))
        if self._decoder.custom is not False and self._endings <= timing().refusals:
            return
        status = self._core.read(self._wait).status
        if status in FINAL:
            # Without updates, the result replaces all that was missed.
            self._begin_polling(error if self._has_updates else None)
        elif status == RunStatus.INTERRUPTED:
            self._handle_interrupt()

    def _note_end(self) -> None:
        """Count a stream that has ended. If it brought something new, the count is 1 again."""
        self._decoder.memory.reconnect(cut=True)
        delivered = self._decoder.memory.delivered
        self._endings = 1 if delivered > self._delivered else self._endings + 1
        self._delivered = delivered

    # The run

    def _decide(self, *, stream_ended: bool) -> None:
        """Read the run to decide how to continue.

        ``stream_ended`` says that a stream has ended cleanly. If False, there was no stream.
        """
        if self._closing.is_set() or self._apply_status(self._core.read(self._wait)):
            return
        if not stream_ended:
            self._begin_polling()
            return
        self._note_end()
        if self._endings > timing().refusals:
            self._begin_polling(f"it has ended {self._endings} times without an event")
        else:
            # A server may end each stream after one event. So there is a pause before the next
            # stream.
            self._wait.pause(backoff(self._endings - 1, *timing().stream_backoff))

    def _check_run(self, reader: EventReader) -> None:
        """Read the run beside the open stream, and act on its status."""
        clock, core = timing(), self._core
        self._next_check = clock.now() + clock.silence
        beside = self._wait.part(clock.beside_stream)
        beside.caller = BESIDE
        try:
            run = core.read(beside)
        except Decided as decided:
            # Only a `Gone` and a failure of the kind "denied" are raised. After a "denied", the
            # stream stays open for the next `next()`.
            if isinstance(decided, Gone) or failure_of(decided.error).kind == "denied":
                raise
            # The stream still works, so other failures are ignored.
            return
        if run.status != RunStatus.PENDING:
            # The last events may have arrived while the run was read. They are handed out first.
            self._next_check = clock.now()
            with suppress(NothingYet):
                self._await_events(reader)
                return
        self._apply_status(run)

    def _apply_status(self, run: Run) -> bool:
        """Act on the status of the run. Return whether the run has ended or is interrupted."""
        if run.status in FINAL:
            self._finish(run.status)
        elif run.status == RunStatus.INTERRUPTED:
            self._handle_interrupt()
        else:
            return False
        return True

    def _handle_interrupt(self) -> None:
        """Act on an interrupt, as ``through_interrupts`` says."""
        core, through = self._core, self._through_interrupts
        if not through:
            self._end(RunStatus.INTERRUPTED.value)
            return
        self._drop_stream()
        waited = False
        if callable(through):
            waited = through()
        else:
            # A human may take any time to answer, so the wait for the answer has no timeout.
            wait = core.wait(stop=self._closing)
            # The run and its output may disagree about the interrupt. Without a pause, this would
            # be a hot loop.
            wait.sleep(timing().probe)
            while core.read(wait).status == RunStatus.INTERRUPTED:
                waited = True
                wait.pause(timing().human)
        # If the run is interrupted again without a new event or change, and nobody was waited for,
        # they disagree. Then the timeout continues.
        changed = None if core.run is None else core.run.updated_at
        interrupt = self._decoder.memory.delivered, changed
        if waited or interrupt != self._last_interrupt:
            self._wait.rearm()
        elif self._wait.remaining() <= 0:
            raise self._wait.late_error()
        self._last_interrupt = interrupt

    def _begin_polling(self, why: object = None) -> None:
        """Poll from now on. ``why`` is given if the server has a stream, and it is of no use."""
        if why is not None and not self._polling:
            run_id = short(self._core.run_id)
            _log.warning("run %s is polled, because its stream is of no use: %s", run_id, why)
        self._polling = True
        # Updates may be missing now, unless the run has none.
        if self._has_updates:
            self._decoder.memory.doubt()

    def _poll(self) -> None:
        """Wait for an output, and act on it.

        A result is handed out, unless it was handed out before, and ends the iteration. An error
        ends the iteration, too. An interrupt is handled as ``through_interrupts`` says.
        """
        core = self._core
        output = Polls(core, self._wait).output().actual_instance
        if isinstance(output, RunResult):
            last = self._decoder.result
            if last is None or last.result != output.result:
                self._values = iter((RunEvent("", output),))
            self._end(RunStatus.SUCCESS.value)
        elif isinstance(output, RunError):
            self._end(core.failed(output, self._wait).status_name)
        else:
            self._handle_interrupt()

    def _finish(self, status: RunStatus) -> None:
        """End the iteration of a run that has ended.

        If the result may not have been handed out yet, it is read and handed out first.
        """
        self._drop_stream()
        memory = self._decoder.memory
        # The result of a run that does not stream has no id, so it is after no id.
        run = self._core.run
        alone = run is not None and run.creation.streaming is None
        nothing = not memory.delivered and (alone or not self.last_event_id)
        # After a cut, the run may have a newer result than the last one that came.
        stale = self._decoder.custom is False and memory.cut
        if (nothing or stale) and status == RunStatus.SUCCESS:
            self._poll()
        # An earlier connection may have had a result from before a question.
        elif status == RunStatus.SUCCESS and not memory.no_result_yet:
            self._core.keep_streamed(self._decoder.result)
        self._end(status.value)

    def _end(self, how: str) -> None:
        """End the iteration. ``how`` becomes `ended_by`."""
        self._drop_stream()
        self._over = True
        self.ended_by = how
        if how != RunStatus.INTERRUPTED.value:
            self._core.end_span(how)

    def _drop_stream(self) -> None:
        if self._reader is not None:
            self._reader.close()
