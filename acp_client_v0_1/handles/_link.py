"""The link to one run: what the handle, its questions and its events share.

Strategy: a link is the run's id, the operations that reach it, and what was last heard of it. It
asks the server, survives what may pass, notes what it hears, and makes the errors of the run.

Invariants: a link owns no thread and no socket, so it costs nothing at rest, is shared between
threads without a lock, and pickles like its client.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from acp_client_v0_1.exceptions import (
    ApiException,
    NotFoundException,
    ResponseDecodeError,
    RunWaitTimeout,
)
from acp_client_v0_1.handles._patience import Patience, checked_seconds, is_passing
from acp_client_v0_1.handles._schemas import kept_descriptor
from acp_client_v0_1.handles._starting import client_token_of, server_of
from acp_client_v0_1.handles._token import RunToken, encode_token
from acp_client_v0_1.handles._tracing import end_run, in_run
from acp_client_v0_1.handles.errors import RunFailed, RunGone, RunInterrupted, RunTimedOut
from acp_client_v0_1.models.run_error import RunError
from acp_client_v0_1.models.run_status import RunStatus
from acp_client_v0_1.waiting import wait_for_run_output

if TYPE_CHECKING:
    from acp_client_v0_1._http.observer import RunSpan
    from acp_client_v0_1.api.runs_api import RunsApi
    from acp_client_v0_1.handles._schemas import Kept
    from acp_client_v0_1.handles.interrupts import PendingInterrupt
    from acp_client_v0_1.models.agent_acp_descriptor import AgentACPDescriptor
    from acp_client_v0_1.models.run import Run
    from acp_client_v0_1.models.run_output import RunOutput

__all__ = ["FINAL", "RunLink"]

T = TypeVar("T")

FINAL = frozenset((RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.TIMEOUT))
"""The statuses of a run that has ended; an interrupted one has not."""

_YOUNG = 2.0  # seconds after the create in which a 404 may come from a read replica
_ONE_LOOK = 10.0  # seconds that the only request of timeout=0 may take
_WINDOW = 30  # seconds of a long poll
_REPLICA_PAUSE = 0.1  # seconds until such a one is asked again


class RunLink:
    """One run, and the operations that reach it.

    Args:
        runs: The operations.
        run_id: The run.
        known: What a token has said of it.

    Attributes:
        runs: The operations.
        run_id: The run.
        known: What a token has said of it.
        run: What the server last said of it, None if nothing yet.
        last_event_id: The id of the last event that was handed out, "" if none.
        agent_descriptor: That of its agent, None as long as nobody asked for it.
        span: The run's span, None if it has none.
        traceparent: The last span of the run, also of another process, "" if none.
        answered: The question that was answered last, None if none was.
    """

    # Most runs need none of these, and are made without them.
    known: RunToken | None = None
    run: Run | None = None
    last_event_id: str = ""
    span: RunSpan | None = None
    traceparent: str = ""
    answered: PendingInterrupt | None = None
    agent_descriptor: Kept[AgentACPDescriptor] | None = None
    _young_until: float = 0.0
    _seen: tuple[datetime, float] | None = None  # updated_at of a question, and when it was seen

    def __init__(self, runs: RunsApi, run_id: str, known: RunToken | None = None) -> None:
        self.runs = runs
        self.run_id = run_id
        if known is not None:
            self.known = known
            self.last_event_id = known.last_event_id
            self.traceparent = known.traceparent

    @property
    def agent_id(self) -> str:
        """The run's agent, "" as long as it is not known."""
        if self.run is not None:
            return self.run.agent_id
        return "" if self.known is None else self.known.agent

    @property
    def thread_id(self) -> str:
        """The run's thread, "" if it has none or it is not known."""
        if self.run is not None:
            return self.run.thread_id or ""
        return "" if self.known is None else self.known.thread

    @property
    def client_token(self) -> str:
        """The mark that the run was created with, "" if none or not known."""
        if self.run is not None:
            return client_token_of(self.run)
        return "" if self.known is None else self.known.client_token

    def token(self) -> str:
        """Give the portable token of the run."""
        return encode_token(
            RunToken(
                server=server_of(self.runs.api_client),
                run=self.run_id,
                agent=self.agent_id,
                thread=self.thread_id,
                client_token=self.client_token,
                last_event_id=self.last_event_id,
                traceparent=self.traceparent,
            )
        )

    def descriptor(self) -> AgentACPDescriptor:
        """Give the descriptor of the run's agent, which is kept for 300 seconds."""
        if self.agent_descriptor is None:
            agent_id = self.agent_id or self.refresh().agent_id
            self.agent_descriptor = kept_descriptor(self.runs.api_client, agent_id)
        return self.agent_descriptor.get()

    # Asking

    def refresh(self, limit: float | None = None) -> Run:
        """Ask for the run, once, within ``limit`` seconds, None for the client's own limits."""
        return self.note(self.ask(lambda: self.runs.get_run(self.run_id, _request_timeout=limit)))

    def ask(self, request: Callable[[], T]) -> T:
        """Send a request; a 404 is `RunGone`, unless a replica may not know the new run yet."""
        while True:
            try:
                with in_run(self):
                    return request()
            except NotFoundException as error:
                self.await_replica(error)

    def look(self, patience: Patience) -> Run:
        """Ask for the run until there is a response."""
        return self.note(
            self.until_response(
                lambda limit: self.runs.get_run(self.run_id, _request_timeout=limit), patience
            )
        )

    def until_response(self, request: Callable[[float], T], patience: Patience) -> T:
        """Send a quick request, which gets its limit in seconds, until there is a response."""
        while True:
            try:
                value = self.ask(lambda: request(patience.limit()))
            except ApiException as error:
                if not patience.survive(error):
                    raise self.too_late(patience.elapsed, f"no response: {error}") from error
            else:
                patience.succeeded()
                return value

    def await_replica(self, error: NotFoundException) -> None:
        """Pause after the 404 of a new run; that of any other is `RunGone`."""
        if not self.young:
            raise self.gone() from error
        time.sleep(_REPLICA_PAUSE)

    @property
    def young(self) -> bool:
        """Whether the run was created so recently that a read replica may not know it."""
        return time.monotonic() < self._young_until

    def note_started(self) -> None:
        """Note that the run was created just now, so that a 404 may come from a read replica."""
        self._young_until = time.monotonic() + _YOUNG

    def note(self, run: Run) -> Run:
        """Keep what the server has said of the run, and give it."""
        self.run = run
        if run.status == RunStatus.INTERRUPTED and (
            self._seen is None or self._seen[0] != run.updated_at
        ):
            self._seen = run.updated_at, time.monotonic()
        return run

    def seen_at(self, run: Run) -> float:
        """Tell when the question of a run was first seen, in seconds of `time.monotonic()`."""
        seen = self._seen
        return time.monotonic() if seen is None or seen[0] != run.updated_at else seen[1]

    def failure_of(self, output: RunError, patience: Patience) -> RunFailed:
        """Make the error of a run that failed; one request tells error from timeout."""
        try:
            status = self.refresh(patience.limit()).status
        except ApiException:
            status = RunStatus.ERROR  # what counts is known all the same
        kind = RunTimedOut if status == RunStatus.TIMEOUT else RunFailed
        return kind(
            run_id=self.run_id,
            token=self.token(),
            errcode=output.errcode,
            description=output.description,
        )

    def interrupted(self, question: PendingInterrupt, hint: str = "") -> RunInterrupted:
        """Make the error of a question that nobody answers."""
        return RunInterrupted(run_id=self.run_id, token=self.token(), interrupt=question, hint=hint)

    def gone(self) -> RunGone:
        """Make the error of a run that the server does not know."""
        return RunGone(run_id=self.run_id, token=self.token())

    def too_late(self, elapsed: float, what: str) -> RunWaitTimeout:
        """Make the error of a wait that is over."""
        return RunWaitTimeout(
            run_id=self.run_id,
            elapsed=elapsed,
            token=self.token(),
            reason=f"{what}; the run goes on: wait again, or RunHandle.from_token(error.token)",
        )

    # Waiting and ending

    def output(
        self,
        timeout: float | None,
        on_pending: Callable[[float, RunStatus], object] | None = None,
        stop: threading.Event | None = None,
    ) -> RunOutput:
        """Wait for an output; see `RunHandle.output`."""
        seconds = checked_seconds(timeout)
        ends = None if seconds is None else time.monotonic() + seconds
        while True:
            try:
                if seconds == 0:
                    return self._look_for_output()
                if seconds is None and on_pending is None and stop is None:
                    output = self._first_poll()
                    if output is not None:
                        return output
                remaining = None if ends is None else max(0.001, ends - time.monotonic())
                return wait_for_run_output(
                    self.runs, self.run_id, timeout=remaining, on_pending=on_pending, stop=stop
                )
            except NotFoundException as error:
                self.await_replica(error)
            except RunWaitTimeout as error:
                raise self.too_late(error.elapsed, error.reason or "") from error

    def _first_poll(self) -> RunOutput | None:
        """Send the one long poll that most waits without a timeout need."""
        try:
            return self.runs.get_run_output(self.run_id, block_timeout=_WINDOW)
        except ApiException as error:
            if not is_passing(error):
                raise
            Patience(_WINDOW).survive(error)
            return None

    def _look_for_output(self) -> RunOutput:
        output = self.runs.get_run_output(self.run_id, _request_timeout=_ONE_LOOK)
        if output is None:
            raise RunWaitTimeout(run_id=self.run_id, elapsed=0.0)
        return output

    def cancel(self, patience: Patience) -> bool:
        """Delete the run if it has not ended, and tell whether it had not."""
        if self.look(patience).status in FINAL:
            return False
        deleted = self.delete(patience, keep_final=True)
        cancelled = deleted is None or deleted.status not in FINAL
        if cancelled:
            end_run(self, "cancelled")
        return cancelled

    def delete(self, patience: Patience, *, keep_final: bool = False) -> Run | None:
        """Delete the run and return what it was, None if the server does not say or know.

        With ``keep_final``, a DELETE without a response is not repeated once the run has ended.
        """
        self._young_until = 0.0  # a 404 means what it says from now on
        lost = False
        while True:
            try:
                with in_run(self):
                    return self.note(
                        self.runs.delete_run(self.run_id, _request_timeout=patience.limit(60.0))
                    )
            except NotFoundException:
                return None
            except ApiException as error:
                if not error.ambiguous and not isinstance(error, ResponseDecodeError):
                    if not patience.survive(error):
                        raise self.too_late(patience.elapsed, str(error)) from error
                    continue
                try:
                    run = self.look(patience)
                except RunGone:
                    return None
                if keep_final and run.status in FINAL:
                    return run
                if lost:
                    raise
                lost = True

    def __getstate__(self) -> dict[str, Any]:
        # What is measured by this process's clock means nothing to another.
        return {**self.__dict__, "_young_until": 0.0, "_seen": None, "span": None}
