"""The requests of one run of a batch, from its create to its outcome.

Strategy: the thread that starts a run also waits for its output, so in the usual case a run is two
requests, and no other thread is woken in between. The requests are sent once; what may pass is
survived here: a lost response to a create by a search for the client token, a failed poll by the
next one.

Invariants: a run is created a second time only after a search that worked and did not find it; a
429, or any response with ``Retry-After``, stops all requests of the batch, not just its own; an
outcome is in the journal before anybody else sees it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from acp_client_v0_1._http.retry import RETRY_AFTER_MAX, backoff, retry_after
from acp_client_v0_1._operation import faults_of
from acp_client_v0_1.batch._tasks import Plan, Task, note_end, note_start
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiValueError,
    NotFoundException,
    OpenApiException,
)
from acp_client_v0_1.handles._answering import answer_run, outcome_of
from acp_client_v0_1.handles._link import RunLink
from acp_client_v0_1.handles._patience import Patience, is_passing
from acp_client_v0_1.handles._starting import create, find_by_token, without_retries
from acp_client_v0_1.handles._tracing import end_run, in_run, keep_span, new_run
from acp_client_v0_1.handles.errors import (
    InterruptLimit,
    RunGone,
    RunStartAmbiguous,
    StaleInterrupt,
)
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_result import RunResult

if TYPE_CHECKING:
    from acp_client_v0_1._http.observer import RunSpan
    from acp_client_v0_1.batch._journal import Journal
    from acp_client_v0_1.handles.agent import AgentHandle
    from acp_client_v0_1.models.run import Run
    from acp_client_v0_1.models.run_output import RunOutput

__all__ = ["LONG_POLL", "Carrier", "Gate", "Stopped", "cancel_run"]

LONG_POLL = 30
"""Seconds of a long poll that no other run waits for."""

_MARGIN = 10.0  # seconds that a quick response may take
_CANCEL = 10.0  # seconds to delete one run, at the end of a batch
_FIRST_PAUSE = 0.05  # seconds after a long poll that ended early; doubles with each
_LONGEST_PAUSE = 2.0
_MOST_ANSWERS = 1000  # to the questions of one run
_MOST_POSTS = 3  # of one run, each time after a search that worked and did not find it
_LIMITED = 0.25  # seconds to pause after a 429 that names none


class Stopped(Exception):
    """The batch has ended, and its tasks are left as they are."""


def cancel_run(link: RunLink) -> bool:
    """Delete a run unless it has ended; return whether it is gone."""
    try:
        if not link.cancel(Patience(_CANCEL)):
            link.look(Patience(_CANCEL))  # it may have ended just before it was deleted
            return False
    except RunGone:
        pass
    return True


class Gate:
    """Lets all requests of a batch wait where the server asks one of them to."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._opens_at = 0.0

    def wait(self) -> None:
        """Wait until it is open; `Stopped` if the batch has ended."""
        while (left := self._opens_at - time.monotonic()) > 0:
            if self._stop.wait(left):
                break
        if self._stop.is_set():
            raise Stopped

    def heed(self, error: ApiException) -> None:
        """Close it for as long as a response asks, if it does."""
        asked = retry_after(error.headers or {})
        if asked is not None or error.status == 429:
            self.close_for(_LIMITED if asked is None else asked)

    def close_for(self, seconds: float) -> None:
        """Close it for some seconds, or let it be closed for longer."""
        self._opens_at = max(self._opens_at, time.monotonic() + min(seconds, RETRY_AFTER_MAX))


class Carrier:
    """Carries the tasks of a batch to their outcomes; any number of threads may use it.

    ``stop`` is set when the batch ends; what is under way then raises `Stopped`. A run that just
    gives its result takes few steps here, since between two requests other threads have the caches.
    """

    def __init__(
        self, plan: Plan, agent: AgentHandle, journal: Journal | None, stop: threading.Event
    ) -> None:
        self._plan = plan
        self._agent = agent
        self._journal = journal
        self._stop = stop
        self._traced = agent.runs.api_client.rest_client.observer is not None
        self.runs = without_retries(agent.runs)
        self.gate = Gate(stop)  # that each request passes

    def link(self, task: Task) -> RunLink:
        """Return the link to a task's run, which is made when it is needed."""
        if task.link is None:
            task.link = RunLink(self._agent.runs, task.run_id)
            if task.run is not None:
                task.link.note(task.run)
                task.link.note_started(ago=time.monotonic() - task.started_at)
        return task.link

    # Starting

    def start(self, task: Task, *, look_first: bool = False) -> bool:
        """Create the run of a task; return False if there is none, and the task has its outcome.

        With ``look_first``, the run is searched for first, as another process may have created it.
        Errors of the journal are raised.
        """
        if not task.run_id:
            try:
                self._create(task, look_first)
            except OpenApiException as error:
                return not self._end(task, error)
        if self._plan.timeout is not None:
            self._wait_from_now(task)
        return True

    def _create(self, task: Task, look_first: bool) -> None:
        plan = self._plan
        if self._journal is not None:
            # First, as an input that is refused below is noted as failed.
            note_start(self._journal, task)
        if plan.check:
            self._agent.check(input=task.input, config=plan.config)
        try:
            creation = RunCreate(
                agent_id=plan.agent_id,
                input=task.input,
                config=plan.config,  # type: ignore[arg-type]
                metadata=plan.marks(task.token),
            )
        except ValidationError as error:
            raise ApiValueError(f"input {task.index} cannot be sent: {faults_of(error)}") from error
        look_first = look_first or task.started_before
        span: RunSpan | None = None
        if not self._traced:
            found = self._find_or_post(task, creation, look_first)
        else:
            with new_run(self._agent) as span:
                found = self._find_or_post(task, creation, look_first)
        task.run, *more = found  # the oldest first
        task.run_id, task.started_at = task.run.run_id, time.monotonic()
        task.duplicates = len(more)
        if span is not None:
            keep_span(self.link(task), span)
        if self._journal is not None:
            self._journal.started(task.index, task.run_id)

    def _find_or_post(self, task: Task, creation: RunCreate, look_first: bool) -> list[Run]:
        if look_first and (found := self._find(task)):
            return found
        gate = self.gate
        posts = 0
        while True:
            posts += 1
            try:
                return create(
                    self.runs,
                    creation,
                    stop=self._stop,
                    wait_turn=gate.wait,
                    on_limited=gate.close_for,
                )
            except RunStartAmbiguous as error:
                # A search that works and finds nothing is what the next call would go by, too.
                if self._stop.is_set():
                    raise Stopped from error
                if not error.searched or posts == _MOST_POSTS:
                    raise
            except ApiException as error:
                if self._stop.is_set() and is_passing(error):
                    raise Stopped from error
                raise

    def _find(self, task: Task) -> list[Run]:
        """Search for the run that an earlier call, or another process, may have created."""
        patience = Patience(None, self._stop)
        while True:
            self.gate.wait()
            try:
                return find_by_token(self.runs, task.token, self._plan.agent_id, timeout=_MARGIN)
            except ApiException as error:
                if not is_passing(error) and not task.started_before:
                    return []  # the server does not search, and there is seldom one to find
                self.gate.heed(error)
                try:
                    patience.survive(error)
                except ApiException:
                    if error.status == 429:
                        continue
                    raise RunStartAmbiguous(
                        client_token=task.token, token="", why=f"an earlier call: {error}"
                    ) from error

    # Waiting

    def poll(self, task: Task, window: int) -> bool:
        """Ask once for the output of a task's run; return True if the task has its outcome.

        The server may hold the request for ``window`` seconds. A failure is survived by a pause.
        Errors of the journal are raised.
        """
        patience = task.patience
        self.gate.wait()
        if patience is not None:
            window = int(min(window, patience.deadline.remaining()))
        began = time.monotonic()
        task.polling = True
        try:
            if not self._traced:
                output = self._output(task, window)
            else:
                with in_run(self.link(task), waits=True):
                    output = self._output(task, window)
        except ApiException as error:
            return self._survive(task, error)
        finally:
            task.polling = False
        if output is not None:
            result = output.actual_instance
            if isinstance(result, RunResult):
                return self._end(task, result.result)
            return self._take(task, output)
        if patience is not None:
            if patience.deadline.expired:
                return self._end(
                    task, self.link(task).too_late(patience.elapsed, "there is no output")
                )
            patience.succeeded()
        if time.monotonic() - began < 0.9 * window or not window:
            task.early += 1
            pause = backoff(task.early, _FIRST_PAUSE, _LONGEST_PAUSE)
            self._patience(task).pause(pause)
        return False

    def _output(self, task: Task, window: int) -> RunOutput | None:
        # The client's own limits fit a window, and change no setting of its sockets.
        limit = None if window else _MARGIN
        return self.runs.get_run_output(task.run_id, window or None, limit)

    def _survive(self, task: Task, error: ApiException) -> bool:
        """Pause after a failed poll; return True if the failure is the outcome."""
        if self._stop.is_set():
            raise Stopped from error
        link, patience = self.link(task), self._patience(task)
        missing = isinstance(error, NotFoundException)
        if missing and not link.young:
            return self._end(task, link.gone())
        self.gate.heed(error)
        try:
            in_time = patience.survive(error, passing=missing)
        except ApiException:
            # No run fails by a 429, however long they go on.
            return error.status != 429 and self._end(task, error)
        if self._stop.is_set():
            raise Stopped from error
        why = f"the last request failed: {error}"
        return not in_time and self._end(task, link.too_late(patience.elapsed, why))

    def _patience(self, task: Task) -> Patience:
        """Return the patience with a task's output; most runs without a timeout need none."""
        if task.patience is None:
            task.patience = Patience(self._plan.timeout, self._stop)
        return task.patience

    def _wait_from_now(self, task: Task) -> None:
        """Begin to wait for a task's next output."""
        task.early = 0
        task.patience = None
        if self._plan.timeout is not None:
            self._patience(task)

    def _take(self, task: Task, output: RunOutput) -> bool:
        """Take an output: a result or an error ends the task, a question may be answered."""
        try:
            outcome = outcome_of(self.link(task), output, Patience(self._plan.timeout, self._stop))
            if isinstance(outcome, PendingInterrupt):
                return self._answer(task, outcome)
        except OpenApiException as error:
            if self._stop.is_set():
                raise Stopped from error  # it may be due to that, and the run be open
            return self._end(task, error)
        return outcome is not None and self._end(task, outcome)

    def _answer(self, task: Task, question: PendingInterrupt) -> bool:
        link, ask = self.link(task), self._plan.on_interrupt
        if ask is None:
            return self._end(task, link.interrupted(question))
        if task.answered >= _MOST_ANSWERS:
            raise InterruptLimit(run_id=task.run_id, token=link.token(), limit=_MOST_ANSWERS)
        try:
            answer = ask(question)
        except Exception as error:  # noqa: BLE001 - what the callback raises is the outcome
            return self._end(task, error)
        if answer is None:
            return self._end(task, link.interrupted(question, ", and on_interrupt gave None"))
        with contextlib.suppress(StaleInterrupt):  # somebody was quicker: ask anew
            answer_run(link, answer, question, Patience(self._plan.timeout, self._stop))
            task.answered += 1
        self._wait_from_now(task)
        return False

    def _end(self, task: Task, outcome: dict[str, Any] | Exception) -> bool:
        """Set the outcome of a task; return True."""
        task.outcome = outcome
        if self._traced and task.link is not None:
            end_run(task.link, outcome)
        if self._journal is not None:
            note_end(self._journal, task)
        return True
