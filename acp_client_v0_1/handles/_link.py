"""The link to one run, which its handle, its questions and its events share.

Strategy: a link has the run's id, the operations that reach it, and the server's last word on it.
It sends the requests, survives failures that may pass, and makes the errors of the run.

Invariants: a link owns no thread and no socket. It is shared between threads without a lock, and
pickles like its client.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTimeoutError,
    NotFoundException,
    ResponseDecodeError,
    RunWaitTimeout,
)
from acp_client_v0_1.handles._patience import Patience, checked_seconds
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
_REPLICA_PAUSE = 0.1  # seconds after such a 404
_ONE_LOOK = 10.0  # seconds that the only request of timeout=0 may take
_WINDOW = 30  # seconds; the window of a long poll
_DELETE = 60.0  # seconds that one DELETE may take


class RunLink:
    """One run, and the operations that reach it."""

    # Most runs need none of these, and are made without them.
    known: RunToken = RunToken("")  # what a token has said of the run
    run: Run | None = None  # as the server last described it
    last_event_id: str = ""  # of the last event that was handed out
    span: RunSpan | None = None
    traceparent: str = ""  # of the run's last span, also of another process
    answered: PendingInterrupt | None = None  # the last question that was answered
    agent_descriptor: Kept[AgentACPDescriptor] | None = None
    _young_until: float = 0.0
    _seen: tuple[datetime, float] | None = None  # updated_at of a question, and when it was seen

    def __init__(self, runs: RunsApi, run_id: str) -> None:
        self.runs = runs
        self.run_id = run_id

    @property
    def agent_id(self) -> str:
        """The run's agent, "" as long as it is not known."""
        return self.known.agent if self.run is None else self.run.agent_id

    @property
    def thread_id(self) -> str:
        """The run's thread, "" if it has none or it is not known."""
        return self.known.thread if self.run is None else self.run.thread_id or ""

    @property
    def client_token(self) -> str:
        """The mark that the run was created with, "" if none or not known."""
        return self.known.client_token if self.run is None else client_token_of(self.run)

    def token(self) -> str:
        """Return the portable token of the run."""
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
        """Return the descriptor of the run's agent, which is kept for 300 seconds."""
        if self.agent_descriptor is None:
            agent_id = self.agent_id or self.refresh().agent_id
            self.agent_descriptor = kept_descriptor(self.runs.api_client, agent_id)
        return self.agent_descriptor.get()

    # Asking

    def refresh(self, limit: float | None = None) -> Run:
        """Ask for the run once, within ``limit`` seconds; None is for the client's own limits."""
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
        return self.until_response(self.refresh, patience)

    def until_response(self, request: Callable[[float], T], patience: Patience) -> T:
        """Send a quick request, which is given its limit in seconds, until there is a response."""
        while True:
            try:
                value = request(patience.limit())
            except ApiException as error:
                self.survive(error, patience, "no response")
            else:
                patience.succeeded()
                return value

    def survive(self, error: ApiException, patience: Patience, what: str) -> None:
        """Pause after a failure that may pass; raise what `Patience.survive` does, or `late`."""
        if not patience.survive(error):
            raise self.late(patience, what, error) from error

    def pause(self, seconds: float, patience: Patience, what: str) -> None:
        """Pause; raise the error of `late` once the time is over, or the wait was stopped."""
        patience.pause(seconds)
        if patience.over:
            raise self.late(patience, what)

    def await_replica(self, error: NotFoundException) -> None:
        """Pause after the 404 of a new run; raise `RunGone` for any other run."""
        if not self.young:
            raise self.gone() from error
        time.sleep(_REPLICA_PAUSE)

    @property
    def young(self) -> bool:
        """Whether the run was created so recently that a read replica may not know it."""
        return time.monotonic() < self._young_until

    def note_started(self, ago: float = 0.0) -> None:
        """Note that the run was created some seconds ago: a 404 may come from a read replica."""
        self._young_until = time.monotonic() - ago + _YOUNG

    def note(self, run: Run) -> Run:
        """Keep the run as the server described it, and return it."""
        self.run = run
        if run.status == RunStatus.INTERRUPTED and (
            self._seen is None or self._seen[0] != run.updated_at
        ):
            self._seen = run.updated_at, time.monotonic()
        return run

    def seen_at(self, run: Run) -> float:
        """Return when the question of a run was first seen, in seconds of `time.monotonic()`."""
        seen = self._seen
        return time.monotonic() if seen is None or seen[0] != run.updated_at else seen[1]

    def failure_of(self, output: RunError, patience: Patience) -> RunFailed:
        """Return the error of a failed run; one request tells ``error`` from ``timeout``."""
        try:
            status = self.refresh(patience.limit()).status
        except ApiException:
            status = RunStatus.ERROR  # it failed, whatever its status is called
        kind = RunTimedOut if status == RunStatus.TIMEOUT else RunFailed
        return kind(
            run_id=self.run_id,
            token=self.token(),
            errcode=output.errcode,
            description=output.description,
        )

    def interrupted(self, question: PendingInterrupt, hint: str = "") -> RunInterrupted:
        """Return the error of a question that stays without an answer."""
        return RunInterrupted(run_id=self.run_id, token=self.token(), interrupt=question, hint=hint)

    def gone(self) -> RunGone:
        """Return the error of a run that the server does not know."""
        return RunGone(run_id=self.run_id, token=self.token())

    def late(
        self, patience: Patience, what: str, error: ApiException | None = None
    ) -> RunWaitTimeout:
        """Return the error of a wait that is over; ``what`` says what did not happen."""
        elapsed = patience.elapsed
        why = "" if error is None else f": {error}"
        return self.too_late(elapsed, f"run {self.run_id}: {what} within {elapsed:.1f} s{why}")

    def too_late(self, elapsed: float, what: str) -> RunWaitTimeout:
        """Return the error of a wait that is over, in words of its own."""
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
        """Wait for an output, as `RunHandle.output` describes it."""
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
            Patience(None).survive(error)
            return None

    def _look_for_output(self) -> RunOutput:
        try:
            output = self.runs.get_run_output(self.run_id, _request_timeout=_ONE_LOOK)
        except ApiTimeoutError as error:  # some servers hold a poll without end if they are let
            raise RunWaitTimeout(run_id=self.run_id, elapsed=_ONE_LOOK) from error
        if output is None:
            raise RunWaitTimeout(run_id=self.run_id, elapsed=0.0)
        return output

    def cancel(self, patience: Patience) -> bool:
        """Delete the run if it has not ended; return whether that ended it."""
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
                        self.runs.delete_run(self.run_id, _request_timeout=patience.limit(_DELETE))
                    )
            except NotFoundException:
                return None
            except ApiException as error:
                if not error.ambiguous and not isinstance(error, ResponseDecodeError):
                    self.survive(error, patience, "it was not deleted")
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
