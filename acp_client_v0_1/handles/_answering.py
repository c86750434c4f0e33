"""The questions of a run, and answers that reach the question they are meant for.

ACP 0.1 gives an interrupt no id. The run's ``updated_at`` and the question itself tell two
questions apart, so both are compared before an answer is sent. A window of one round trip remains,
in which another process may answer.

Strategy: `answer_run` sends an answer once. If its response is lost, it reads the run. If the
run is no longer interrupted, or its ``updated_at`` moved, the answer arrived and is never sent
again. If nothing changes for five seconds, it did not arrive and is sent once more.

Invariants: no answer is sent to a run that is known to have moved on. A question that was answered
is not asked again while the run's ``updated_at`` stays the same. Read replicas that show a run as
it was before are out of scope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from acp_client_v0_1._http.retry import backoff
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiValueError,
    ConflictException,
    NotFoundException,
)
from acp_client_v0_1.handles._core import FINAL, RunCore, utc
from acp_client_v0_1.handles._perform import AGAIN, Wait, settled
from acp_client_v0_1.handles._schemas import dict_of
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles.errors import (
    InterruptLimit,
    ResumeAmbiguous,
    RunFailed,
    RunGone,
    StaleInterrupt,
)
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models.run_error import RunError
from acp_client_v0_1.models.run_interrupt import RunInterrupt
from acp_client_v0_1.models.run_output import RunOutput
from acp_client_v0_1.models.run_result import RunResult
from acp_client_v0_1.models.run_status import RunStatus

if TYPE_CHECKING:
    import threading

    from acp_client_v0_1.models.run import Run

Outcome = dict[str, Any] | PendingInterrupt


@dataclass(slots=True)
class Questions:
    """The questions of a run, answered by a callback: for `RunHandle.drive`, events and batches.

    Args:
        core: The run.
        on_interrupt: Gives the answer to a question, or None to stop; None if there is no callback.
        timeout: Seconds to send an answer. By default there is no limit.
        stop: Ends the sending when set.
        most: The most questions to answer.
        answers: How many were answered.
    """

    core: RunCore
    on_interrupt: Callable[[PendingInterrupt], Mapping[str, Any] | None] | None
    timeout: float | None
    stop: threading.Event | None = None
    most: int = 1000
    answers: int = 0

    def ask(self, question: PendingInterrupt) -> dict[str, Any]:
        """Return the callback's answer. If there is none, raise the error that says why."""
        core = self.core
        if self.on_interrupt is None:
            raise core.interrupted(question)
        if self.answers >= self.most:
            raise InterruptLimit(run_id=core.run_id, token=core.token(), limit=self.most)
        answer = self.on_interrupt(question)
        if answer is None:
            raise core.interrupted(question, ", and on_interrupt gave None")
        return dict_of("what on_interrupt returns", answer)

    def answer(self, question: PendingInterrupt, body: dict[str, Any]) -> None:
        """Send an answer. If another caller was quicker, this one is not used."""
        # A stale answer counts, too: a server may change the time of a question at each read.
        self.answers += 1
        wait = self.core.wait(self.timeout, self.stop, what="was not answered")
        with suppress(StaleInterrupt):
            answer_run(self.core, body, question, wait)

    def take(self, outcome: Outcome | None) -> dict[str, Any] | None:
        """Return a result, or None after the answer to a question."""
        if isinstance(outcome, PendingInterrupt):
            self.answer(outcome, self.ask(outcome))
            return None
        return outcome


def next_outcome(core: RunCore, wait: Wait) -> Outcome:
    """Wait for the run's result or its next question, or raise its `RunFailed`."""
    while True:
        outcome = outcome_of(core, core.output(wait), wait)
        if outcome is not None:
            return outcome
        if wait.once:
            # The question was answered meanwhile.
            raise core.late(0.0, f"run {core.run_id} has no output yet")


class Interrupts(Iterator[PendingInterrupt]):
    """The questions of a run, from `RunHandle.interrupts`, which can be iterated only once."""

    def __init__(self, core: RunCore, timeout: float | None) -> None:
        self._core = core
        self._timeout = timeout
        self._last: PendingInterrupt | None = None
        self._over = False

    def __iter__(self) -> Iterator[PendingInterrupt]:
        if self._over:
            raise ApiValueError("these interrupts are over: RunHandle.interrupts() begins again")
        return self

    def __next__(self) -> PendingInterrupt:
        core = self._core
        outcome: Outcome | None = None
        if not self._over:
            core.open_span()
            try:
                outcome = next_outcome(core, core.wait(self._timeout))
            except RunFailed:
                # `RunHandle.result` raises this error, and the questions just end.
                pass
            except KeyboardInterrupt as error:
                core.add_note(error)
                raise
        if not isinstance(outcome, PendingInterrupt):
            self._over = True
            raise StopIteration
        if outcome == self._last and core.answered != outcome:
            raise core.interrupted(outcome, " and was not answered before the next question")
        self._last = outcome
        return outcome


def result_of(core: RunCore, wait: Wait) -> dict[str, Any]:
    """Wait for the run's result, or raise `RunInterrupted` if it asks something."""
    outcome = next_outcome(core, wait)
    if isinstance(outcome, PendingInterrupt):
        raise core.interrupted(outcome)
    return outcome


def outcome_of(core: RunCore, output: RunOutput | None, wait: Wait) -> Outcome | None:
    """Return the result or the question of an output, or None if somebody has just answered.

    Without an output, the question is read from the run. A failed run raises its `RunFailed`.
    """
    kind = None if output is None else output.actual_instance
    if isinstance(kind, RunResult):
        return kind.result
    if isinstance(kind, RunError):
        raise core.failed(kind, wait)
    question = question_of(core, wait)
    if question is None:
        # The run and its output may disagree, as from a cache: pause, or we spin.
        wait.pause(timing().probe)
    return question


def question_of(core: RunCore, wait: Wait) -> PendingInterrupt | None:
    """Return the open question of a run, if it has one.

    The run is read before its output. If another process answers in between, the next question gets
    the older time. An answer to it is then refused as stale, and never reaches the wrong question.
    """
    run = core.read(wait)
    if run.status in FINAL:
        return None
    output = core.output_now(wait, partial(core.unserved_output, wait=wait))
    kind = None if output is None else output.actual_instance
    if not isinstance(kind, RunInterrupt):
        return None
    payload = dict(kind.interrupt)
    question = PendingInterrupt(
        str(payload.pop("interrupt_type", "")),
        payload,
        core.run_id,
        utc(run.updated_at),
        timing().now(),
        core.descriptor,
        partial(answer_run, core),
    )
    answered = core.answered
    if answered is None or question != answered:
        return question
    if not answered.seen_at:
        # Another process has answered it, at a time that this clock does not know.
        core.answered = question
    elif question.seen_at - answered.seen_at > timing().outage:
        # The answer had no effect, so the caller may answer again.
        core.answered = None
        raise core.interrupted(question, ", though it was answered some minutes ago")
    return None


def answer_run(
    core: RunCore,
    body: Mapping[str, Any],
    to: PendingInterrupt | None = None,
    wait: Wait | None = None,
) -> None:
    """Answer the question of a run, if ``to`` is None or still the open one.

    Without a wait, it survives five minutes of failures.
    """
    answer = dict_of("body", body)
    wait = core.wait(what="was not answered") if wait is None else wait
    seen_at = 0.0 if to is None else to.seen_at
    while True:
        question = question_of(core, wait)
        if question is None or (to is not None and question != to):
            raise _stale(core, question)
        # A server that writes whole seconds could give the next question the time of this one.
        seen_at = seen_at or question.seen_at
        young_for = seen_at + timing().whole_second - timing().now()
        if question.updated_at.microsecond or young_for <= 0:
            break
        wait.pause(young_for)
        # Compare again, because another process may answer it during the pause.
        to = question
    if not _send(core, answer, question, wait):
        raise _stale(core)
    core.answered = replace(question, seen_at=timing().now())


def _send(core: RunCore, body: dict[str, Any], question: PendingInterrupt, wait: Wait) -> bool:
    """Send an answer, once more if its response was lost. False if another caller was quicker."""
    runs = wait.contact.runs
    sent = lost = conflicts = 0

    def send(limit: float) -> bool:
        nonlocal sent
        # During a pause another process may have answered, and the run may ask something else.
        # Or the answer arrived whose response was lost.
        if sent and _differs(settled(lambda: core.read(wait)), question):
            return lost > 0
        sent += 1
        core.note(runs.resume_run(core.run_id, body, _request_timeout=limit))
        return True

    def probe(error: ApiException) -> Any:
        nonlocal lost, conflicts
        if isinstance(error, (ConflictException, NotFoundException)):
            # Our answer whose response was lost has moved the run, or another caller was quicker.
            if _differs(core.read(wait), question):
                return lost > 0
            if isinstance(error, NotFoundException):
                raise core.not_served(error) from error
            # The thread is busy with another run, which will end.
            wait.pause(backoff(conflicts, *timing().backoff), error)
            conflicts += 1
            return AGAIN
        lost += 1
        try:
            if _arrived(core, question, wait):
                return True
            if lost == 1:
                return AGAIN
        except RunGone:
            raise
        except ApiException:
            # This cannot be verified, so the original error is reported.
            pass
        raise ResumeAmbiguous(
            run_id=core.run_id, token=core.token(), times=lost, why=str(error)
        ) from error

    ours: bool = wait.perform("resume", send, core, longest=timing().change, probe=probe)
    return ours


def _differs(run: Run, question: PendingInterrupt) -> bool:
    """Return whether a run has moved on since it asked."""
    return run.status != RunStatus.INTERRUPTED or utc(run.updated_at) != question.updated_at


def _arrived(core: RunCore, question: PendingInterrupt, wait: Wait) -> bool:
    """Read a run for some seconds, and return whether the answer arrived without a response."""
    clock = timing()
    # The run was first read at this time.
    since: float | None = None

    def ready(run: Run) -> float | None:
        nonlocal since
        since = clock.now() if since is None else since
        over = clock.now() - since >= clock.unchanged
        return None if over or _differs(run, question) else clock.probe

    return _differs(core.read(wait, ready), question)


def _stale(core: RunCore, asks: PendingInterrupt | None = None) -> StaleInterrupt:
    now, status = "it asks something else now", core.status
    if asks is not None:
        now += f" ({asks.type!r})"
    elif status is not None and status != RunStatus.INTERRUPTED:
        now = f"it is {status.value}, and asks nothing"
    return StaleInterrupt(run_id=core.run_id, token=core.token(), now=now)
