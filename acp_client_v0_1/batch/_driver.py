"""The requests of one run of a batch, from its create to its outcome.

Strategy: the thread that starts a run also waits for its output, so in the usual case a run is two
requests, and no other thread is woken in between. Each request goes through `Wait.perform`, and all
of a batch share one `Contact`: a ``Retry-After`` or an outage is the batch's, not a run's.

Invariants: a run is created a second time only after a search that worked and did not find it, or
if the caller has chosen so; an outcome is in the journal before anybody else sees it; what is wrong
with all runs is raised, and is no outcome.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from acp_client_v0_1._http.retry import backoff
from acp_client_v0_1._operation import faults_of
from acp_client_v0_1.batch._tasks import Plan, Task, note_end, note_start, token_after
from acp_client_v0_1.exceptions import ApiException, ApiValueError, OpenApiException
from acp_client_v0_1.handles._answering import answer_of, answer_run, outcome_of
from acp_client_v0_1.handles._core import RunCore, creating
from acp_client_v0_1.handles._create import create, find_by_token
from acp_client_v0_1.handles._perform import Contact, Wait
from acp_client_v0_1.handles._rules import failure_of
from acp_client_v0_1.handles._schemas import json_object
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles.errors import (
    InterruptLimit,
    RunGone,
    RunStartAmbiguous,
    StaleInterrupt,
)
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_result import RunResult
from acp_client_v0_1.models.run_status import RunStatus

if TYPE_CHECKING:
    from acp_client_v0_1._http.observer import RunSpan
    from acp_client_v0_1.batch._journal import Journal
    from acp_client_v0_1.handles.agent import AgentHandle
    from acp_client_v0_1.models.run import Run
    from acp_client_v0_1.models.run_output import RunOutput

__all__ = ["RunDriver", "Stopped", "cancel_run"]

_MOST_ANSWERS = 1000  # to the questions of one run
_MOST_POSTS = 3  # of one run, each time after a search that worked and did not find it
_UNRESOLVED = frozenset((RunStatus.PENDING, RunStatus.INTERRUPTED))


class Stopped(Exception):
    """The batch has ended, and its tasks are left as they are."""


def cancel_run(core: RunCore) -> bool:
    """Delete a run unless it has ended; return whether it is gone."""
    seconds = timing().cancel
    try:
        if not core.cancel(core.wait(seconds, what="was not deleted")):
            core.read(core.wait(seconds))  # it may have ended just before it was deleted
            return False
    except RunGone:
        pass
    return True


class RunDriver:
    """Drives the tasks of a batch to their outcomes; any number of threads may use it.

    ``stop`` is set when the batch ends; what is under way then raises `Stopped`. A run that just
    gives its result takes few steps here, since between two requests other threads have the caches.

    Attributes:
        runs: The operations, each request sent once.
        contact: What all requests of the batch know of the server.
    """

    def __init__(
        self, plan: Plan, agent: AgentHandle, journal: Journal | None, stop: threading.Event
    ) -> None:
        self._plan = plan
        self._agent = agent
        self._journal = journal
        self._stop = stop
        self.contact = Contact.of(agent.runs, shared=True)
        self.runs = self.contact.runs
        if plan.answered:
            self.contact.server.answered = True  # an earlier call, as a journal tells

    def core(self, task: Task) -> RunCore:
        """Return the core of a task's run, which is made when it is needed."""
        if task.core is None:
            task.core = RunCore(self._agent.runs, task.run_id, self.contact)
            if task.started_before:
                task.core.note_created(ago=self._age())
            task.core.open_span()
        return task.core

    def _age(self) -> float:
        """Return the least age in seconds of what an earlier call has started."""
        # No younger than the last line that it has written.
        return time.time() - (self._plan.written_at or 0.0)

    def wait(self, task: Task, timeout: float | None = None) -> Wait:
        """Return the budget for some requests of a task."""

        def late(elapsed: float, error: ApiException | None, stopped: bool) -> BaseException:
            if stopped:
                return Stopped()
            why = "" if error is None else f"; the last request failed: {error}"
            words = f"run {task.run_id} has no output after {elapsed:.1f} s{why}"
            return self.core(task).late(elapsed, words)

        return Wait(self.contact, timeout, stop=self._stop, late=late)

    # Starting

    def start(self, task: Task, *, look_first: bool = False) -> bool:
        """Create the run of a task; return False if there is none, and the task has its outcome.

        With ``look_first``, the run is searched for first, as another process may have created it.
        Errors of the journal, and what is wrong with all runs, are raised.
        """
        try:
            if task.retry:
                self._look_at_failed(task)
            if not task.run_id:
                self._create(task, look_first)
        except OpenApiException as error:
            return not self._failed(task, error)
        task.wait = self.wait(task, self._plan.timeout)
        return True

    def _look_at_failed(self, task: Task) -> None:
        """Keep a run that the journal has as failed if its server has tried again."""
        task.retry = False
        with contextlib.suppress(RunGone):
            status = self.core(task).read(self.wait(task)).status
            if status == RunStatus.SUCCESS or status in _UNRESOLVED:
                return
        task.run_id, task.core = "", None
        task.token, task.started_before = token_after(task.token), False

    def _create(self, task: Task, look_first: bool) -> None:
        plan = self._plan
        if self._journal is not None:
            # First, as an input that is refused below is noted as failed.
            note_start(self._journal, task)
        value = task.input
        if isinstance(value, BaseModel) or is_dataclass(value):
            value = json_object(f"input {task.index}", value)
        if plan.check:
            self._agent.check(input=value, config=plan.config)
        try:
            creation = RunCreate(
                agent_id=plan.agent_id,
                input=value,
                config=plan.config,  # type: ignore[arg-type]
                metadata=plan.marks(task.token),
            )
        except ValidationError as error:
            raise ApiValueError(f"input {task.index} cannot be sent: {faults_of(error)}") from error
        span: RunSpan | None
        made, span = creating(
            self._agent.runs,
            plan.agent_id,
            "",
            plan.agent,
            lambda: self._find_or_post(task, creation, look_first or task.started_before),
        )
        core = task.core = RunCore.of_runs(self._agent.runs, made, self.contact)
        core.note_created(creation)
        core.keep_span(span)
        task.run_id, task.duplicates = core.run_id, len(made) - 1
        if self._journal is not None:
            self._journal.started(task.index, task.run_id)

    def _find_or_post(self, task: Task, creation: RunCreate, look_first: bool) -> list[Run]:
        if look_first and (found := self._find(task)):
            return found
        posts = _MOST_POSTS
        while True:
            try:
                return create(creation, self.wait(task), posts=posts)
            except RunStartAmbiguous:
                if self._plan.unclear == "raise" or posts <= 1:
                    raise
                posts = 1  # a second run is what the caller has chosen

    def _find(self, task: Task) -> list[Run]:
        """Search for the run that an earlier call, or another process, may have created."""
        clock = timing()
        ends: float | None = None

        def search(limit: float) -> list[Run]:
            nonlocal ends
            ends = clock.now() + clock.search if ends is None else ends
            try:
                return find_by_token(self.runs, task.token, self._plan.agent_id, timeout=limit)
            except ApiException as error:
                # A server that fails at this for so long does not search; one that is away may.
                if failure_of(error).kind != "lost" or clock.now() < ends:
                    raise
                raise ApiException(reason=str(error)) from error  # which is not survived

        def ready(found: list[Run]) -> float | None:
            # The create of a process that was killed may still be on its way.
            young = task.started_before and self._age() < clock.young
            return None if found or not young else clock.young_pause

        try:
            return self.wait(task).perform("search", search, ready=ready)
        except ApiException as error:
            if self.contact.broken is not None:
                raise
            lacks = error.status is not None and failure_of(error).kind != "lost"
            if self._plan.unclear == "start" or (lacks and not task.started_before):
                return []  # a second one is accepted, or there is seldom one to find
            raise RunStartAmbiguous(
                client_token=task.token,
                token=self._plan.token_of(task.token),
                why=f"an earlier call may have started it, and the search for it failed: {error}",
            ) from error

    # Waiting

    def poll(self, task: Task, window: int) -> bool:
        """Ask once for the output of a task's run; return True if the task has its outcome.

        The server may hold the request for ``window`` seconds. A failure is survived by a pause.
        Errors of the journal, and what is wrong with all runs, are raised.
        """
        clock = timing()
        wait = task.wait
        if wait is None:
            wait = task.wait = self.wait(task, self._plan.timeout)
        core = self.core(task)
        if wait.ends < math.inf:
            window = int(min(window, wait.remaining()))
        began = clock.now()

        def send(limit: float) -> RunOutput | None:
            task.polling = True
            try:
                # The client's own limits fit a window, and change no setting of its sockets.
                own = window and limit == math.inf
                seconds = None if own else min(limit, window + clock.quick)
                return self.runs.get_run_output(task.run_id, window, seconds)
            finally:
                task.polling = False

        def probe(error: ApiException) -> None:
            try:
                core.check_served(error, wait)
            except ApiException as unserved:
                if unserved is error:
                    self.contact.broken = error  # the server has no output for any run
                raise

        try:
            output = wait.perform("output", send, core, longest=math.inf, probe=probe)
            if output is not None:
                result = output.actual_instance
                if isinstance(result, RunResult):
                    return self._end(task, result.result)
                return self._take(task, output)
            if wait.remaining() <= 0:
                raise wait.late()
            if clock.now() - began < 0.9 * window or not window:
                task.early += 1
                wait.pause(backoff(task.early, *clock.batch_early))
        except OpenApiException as error:
            return self._failed(task, error)
        return False

    def _take(self, task: Task, output: RunOutput) -> bool:
        """Take an output: a result or an error ends the task, a question may be answered."""
        outcome = outcome_of(self.core(task), output, self.wait(task, self._plan.timeout))
        if isinstance(outcome, PendingInterrupt):
            return self._answer(task, outcome)
        return outcome is not None and self._end(task, outcome)

    def _answer(self, task: Task, question: PendingInterrupt) -> bool:
        core, ask = self.core(task), self._plan.on_interrupt
        if ask is None:
            return self._end(task, core.interrupted(question))
        if task.answered >= _MOST_ANSWERS:
            raise InterruptLimit(run_id=task.run_id, token=core.token(), limit=_MOST_ANSWERS)
        try:
            answer = answer_of(ask, question)
        except Exception as error:  # noqa: BLE001 - what the callback raises is the outcome
            return self._end(task, error)
        if answer is None:
            return self._end(task, core.interrupted(question, ", and on_interrupt gave None"))
        with contextlib.suppress(StaleInterrupt):  # another caller was quicker: ask again
            answer_run(core, answer, question, self.wait(task, self._plan.timeout))
            task.answered += 1
        task.early, task.wait = 0, None
        return False

    def _failed(self, task: Task, error: OpenApiException) -> bool:
        """Take an error as the outcome of a task, unless it is not about that; return True."""
        if self.contact.broken is not None:
            raise self.contact.broken
        if self._stop.is_set():
            raise Stopped from error  # it may be due to that, and the run be open
        return self._end(task, error)

    def _end(self, task: Task, outcome: dict[str, Any] | Exception) -> bool:
        """Set the outcome of a task; return True."""
        task.outcome = outcome
        if task.core is not None:
            task.core.ended(outcome)
        if self._journal is not None:
            note_end(self._journal, task)
        return True
