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

from acp_client_v0_1.batch._gate import Gate, Stopped
from acp_client_v0_1.batch._tasks import Agent, Plan, Recorder, Task
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
from acp_client_v0_1.handles.errors import InterruptLimit, RunStartAmbiguous, StaleInterrupt
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_result import RunResult

if TYPE_CHECKING:
    from acp_client_v0_1.models.run import Run
    from acp_client_v0_1.models.run_output import RunOutput

__all__ = ["LONG_POLL", "Carrier"]

LONG_POLL = 30
"""Seconds of a long poll that no other run waits for."""

_MARGIN = 10.0  # seconds that a quick response may take
_FIRST_PAUSE = 0.25  # seconds; doubles with each failure in a row
_LONGEST_PAUSE = 4.0
_PATIENCE = 300.0  # seconds of nothing but failures, for one run without a timeout
_MOST_ANSWERS = 1000  # to the questions of one run
_MOST_POSTS = 3  # of one run, each time after a search that worked and did not find it


class Carrier:
    """Carries the tasks of a batch to their outcomes; any number of threads may use it.

    Args:
        plan: What the runs share.
        agent: Their agent.
        recorder: Writes the journal.
        stop: Set when the batch ends.

    Attributes:
        runs: The operations, each request sent once.
        gate: What each request waits for.
    """

    def __init__(self, plan: Plan, agent: Agent, recorder: Recorder, stop: threading.Event) -> None:
        self._plan = plan
        self._agent = agent
        self._recorder = recorder
        self._stop = stop
        self.runs = without_retries(agent.runs)
        self.gate = Gate(stop)

    # Starting

    def start(self, task: Task, *, look_first: bool = False) -> bool:
        """Create or find the run of a task.

        Args:
            task: The task.
            look_first: Another process may have created the run.

        Returns:
            False if there is none, and the task has its outcome.

        Raises:
            Stopped: The batch has ended.
            OSError, JournalError: The journal could not be written.
        """
        try:
            if task.run_id:
                task.link = RunLink(self._agent.runs, task.run_id)
            else:
                self._create(task, look_first)
        except OpenApiException as error:
            return not self._end(task, error)
        task.wait_from_now(self._plan.timeout)
        return True

    def _create(self, task: Task, look_first: bool) -> None:
        plan = self._plan
        # First, as an input that is refused below is noted as failed.
        self._recorder.starting(task)
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
            raise ApiValueError(f"input {task.index} cannot be sent: {error}") from error
        with new_run(self._agent) as span:
            found = self._find(task) if task.started_before or look_first else []
            run, *more = found or self._post(creation)
        task.run_id, task.duplicates = run.run_id, len(more)
        task.link = RunLink(self._agent.runs, run.run_id)
        keep_span(task.link, span)
        task.link.note(run)
        task.link.note_started()
        self._recorder.started(task)

    def _post(self, creation: RunCreate) -> list[Run]:
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
                if is_passing(error) and patience.elapsed < _PATIENCE:
                    self.gate.heed(error)
                    patience.pause(patience.pause_after(error))
                elif is_passing(error) or task.started_before:
                    raise RunStartAmbiguous(
                        client_token=task.token, token="", why=f"an earlier call: {error}"
                    ) from error
                else:
                    return []  # the server does not search, and there is seldom one to find

    # Waiting

    def poll(self, task: Task, window: int, *, pauses: bool = True) -> bool:
        """Ask once for the output of a task that has a run.

        Args:
            task: The task.
            window: Seconds that the server may hold the request.
            pauses: Pause after a failure.

        Returns:
            True if the task has its outcome.

        Raises:
            Stopped: The batch has ended.
            OSError, JournalError: The journal could not be written.
        """
        link = _link(task)
        self.gate.wait()
        began = time.monotonic()
        if task.deadline < began + window:
            window = max(0, int(task.deadline - began))
        task.polling = True
        try:
            with in_run(link, waits=True):
                # The client's own limits fit a window, and change no setting of its sockets.
                limit = None if window else _MARGIN
                output = self.runs.get_run_output(task.run_id, window or None, limit)
        except ApiException as error:
            pause = self._pause_after(task, error)
            if pause is None:
                return True
        else:
            task.failures = 0
            if output is not None:
                return self._take(task, output)
            now = time.monotonic()
            if now >= task.deadline:
                return self._give_up(task, "there is no output")
            pause = 0.0
            if not window or now - began < 0.9 * window:
                task.early += 1
                pause = min(_LONGEST_PAUSE / 2, 0.05 * 2.0 ** min(task.early, 8))
        finally:
            task.polling = False
        if pause and pauses:
            self._stop.wait(min(pause, max(0.0, task.deadline - time.monotonic())))
        return False

    def _pause_after(self, task: Task, error: ApiException) -> float | None:
        """Give the seconds to pause after a failed poll; None if it is the outcome."""
        if self._stop.is_set():
            raise Stopped from error
        now = time.monotonic()
        missing = isinstance(error, NotFoundException)
        too_long = task.failures and now - task.failing_since > _PATIENCE
        if missing and not _link(task).young:
            self._end(task, _link(task).gone())
            return None
        if now >= task.deadline:
            self._give_up(task, f"the last request failed: {error}")
            return None
        if not missing and (too_long or not is_passing(error)):
            self._end(task, error)
            return None
        self.gate.heed(error)
        if not task.failures:
            task.failing_since = now
        task.failures += 1
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(task.failures, 8))

    def _give_up(self, task: Task, why: str) -> bool:
        return self._end(task, _link(task).too_late(self._plan.timeout or 0.0, why))

    def _take(self, task: Task, output: RunOutput) -> bool:
        """Take an output: it ends the task, unless it is a question that is answered."""
        if isinstance(output.actual_instance, RunResult):
            return self._end(task, output.actual_instance.result)
        try:
            outcome = outcome_of(_link(task), output, Patience(self._plan.timeout, self._stop))
            if isinstance(outcome, PendingInterrupt):
                task.polling = False  # an answer is not to be broken off
                return self._answer(task, outcome)
        except OpenApiException as error:
            return self._end(task, error)
        return outcome is not None and self._end(task, outcome)

    def _answer(self, task: Task, question: PendingInterrupt) -> bool:
        link, ask = _link(task), self._plan.on_interrupt
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
        task.wait_from_now(self._plan.timeout)
        return False

    def _end(self, task: Task, outcome: dict[str, Any] | Exception) -> bool:
        """Give a task its outcome; True."""
        task.outcome = outcome
        if task.link is not None:
            end_run(task.link, outcome)
        self._recorder.ended(task)
        return True


def _link(task: Task) -> RunLink:
    if task.link is None:
        raise RuntimeError(f"the task {task.index} has no run")
    return task.link
