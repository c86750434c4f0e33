"""The questions of a run, and how an answer reaches the question that it is meant for.

ACP 0.1 gives an interrupt no id. The run's ``updated_at`` and the question itself distinguish two
questions, so both are compared before an answer is sent. Another process may still answer between
this comparison and the arrival of the answer.

The payload of a question is the caller's to change. So a question is identified by a digest, which
is taken when the question is read.

Strategy: `answer_run` sends an answer once. If the response is lost, it reads the run. If the run
is no longer interrupted, or its ``updated_at`` has changed, the answer is taken to have arrived and
is never sent again. If nothing changes for five seconds, the answer is taken to be lost and is sent
once more.

Invariants: no answer is sent to a run that is known to have moved on. A question that was answered
is not asked again while the run's ``updated_at`` stays the same. If this time stays the same for
more than 300 seconds after the answer, the wait raises `RunInterrupted` with the question. Read
replicas that show an older state of a run are out of scope.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from acp_client_v0_1._contract import FINAL
from acp_client_v0_1.exceptions import ApiException, ApiValueError
from acp_client_v0_1.handles import errors
from acp_client_v0_1.handles._core import RunCore
from acp_client_v0_1.handles._known import Gone, utc
from acp_client_v0_1.handles._polls import Polls
from acp_client_v0_1.handles._rules import Decided, Pause, undecided
from acp_client_v0_1.handles._schemas import dict_of, json_digest
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._wait import Wait
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models import Run, RunError, RunInterrupt, RunOutput, RunResult, RunStatus

Outcome = dict[str, Any] | PendingInterrupt


@dataclass(slots=True)
class Questions:
    """Answers the questions of a run by a callback, for `RunHandle.drive` and batches.

    Args:
        core: The run.
        on_interrupt: Returns the answer to a question, or None to stop. If it has sent the answer
            by itself, None does not stop. Without a callback, each question is an error.
        timeout: Seconds that sending one answer may take. None means no limit.
        stop: Ends the sending when set.
        most: The most questions to answer.
        answers: How many answers there were, including answers that were not sent.
        stale: The question whose answer was stale, unless the next answer was not.
        spent: How many seconds the stale answers to this question took.
    """

    core: RunCore
    on_interrupt: Callable[[PendingInterrupt], Mapping[str, Any] | None] | None
    timeout: float | None
    stop: threading.Event | None = None
    most: int = 1000
    answers: int = 0
    stale: PendingInterrupt | None = None
    spent: float = 0.0

    def ask(self, question: PendingInterrupt) -> dict[str, Any] | None:
        """Return the callback's answer, or None if the callback has sent an answer by itself.

        If there is no answer, raise an error that says why.
        """
        core = self.core
        if self.on_interrupt is None:
            raise _interrupted(core, question)
        if self.answers >= self.most:
            raise errors.InterruptLimit(run_id=core.run_id, token=core.token(), limit=self.most)
        answer = self.on_interrupt(question)
        # The callback may call `question.answer` or `RunHandle.resume`. Both note the answer.
        if answer is None and core.answered != question:
            error = _interrupted(core, question)
            error.hint = f"on_interrupt gave None: {error.hint}"
            raise error
        return None if answer is None else dict_of("what on_interrupt returns", answer)

    def answer(self, question: PendingInterrupt, body: dict[str, Any] | None) -> None:
        """Send what `ask` returned, unless it is None, or the question is not open any more.

        If a server changes ``updated_at`` at each read, each answer is stale. So an answer counts
        even if it is not sent, and a stale answer is followed by a pause. All answers to one
        question share the timeout.
        """
        self.answers += 1
        wait = self.core.wait(self.timeout, self.stop, what="was not answered")
        spent = self.spent if _repeats(question, self.stale) else 0.0
        wait.began, wait.ends = wait.began - spent, wait.ends - spent
        try:
            if body is not None:
                answer_run(self.core, body, question, wait)
            self.stale = None
        except errors.StaleInterrupt:
            wait.pause(timing().human)
            self.stale, self.spent = question, wait.elapsed

    def answer_open(self) -> bool:
        """Answer the question of a run that is interrupted. Return whether there was a question."""
        outcome = outcome_of(self.core, None, self.core.wait(self.timeout))
        self.take(outcome)
        return outcome is not None

    def result(self) -> dict[str, Any]:
        """Answer the questions of the run until it has a result, and return the result."""
        while True:
            result = self.take(next_outcome(self.core, self.core.wait(self.timeout)))
            if result is not None:
                return result

    def take(self, outcome: Outcome | None) -> dict[str, Any] | None:
        """If the outcome is a question, answer it and return None. Otherwise return the outcome."""
        if isinstance(outcome, PendingInterrupt):
            self.answer(outcome, self.ask(outcome))
            return None
        return outcome


def next_outcome(core: RunCore, wait: Wait) -> Outcome:
    """Wait for the run's result or its next question, or raise its `RunFailed`."""
    while True:
        outcome = outcome_of(core, Polls(core, wait).output(), wait)
        if outcome is not None:
            return outcome
        if wait.caller.once:
            # The output was an interrupt, and its question has been answered since.
            raise wait.late_error()


class Interrupts(Iterator[PendingInterrupt]):
    """An iterator over the questions of a run, from `RunHandle.interrupts`."""

    _last: PendingInterrupt | None = None
    _over = False

    def __init__(self, core: RunCore, timeout: float | None) -> None:
        self._core, self._timeout = core, timeout

    def __iter__(self) -> Iterator[PendingInterrupt]:
        if self._over:
            raise ApiValueError("these interrupts are over: RunHandle.interrupts() begins again")
        return self

    def __next__(self) -> PendingInterrupt:
        core = self._core
        outcome: Outcome | None = None
        if not self._over:
            core.open_span()
            # A failed run has no more questions. `RunHandle.result` raises this error.
            with suppress(errors.RunFailed):
                outcome = core.named(next_outcome, core, core.wait(self._timeout))
        if not isinstance(outcome, PendingInterrupt):
            self._over = True
            raise StopIteration
        # A server may change `updated_at` at each read, so another time is no sign of an answer.
        if _repeats(outcome, self._last) and core.answered != self._last:
            raise _interrupted(core, outcome, ", which is not answered yet")
        self._last = outcome
        return outcome


def _repeats(question: PendingInterrupt, last: PendingInterrupt | None) -> bool:
    """Return whether a question is the same as the last one, apart from its time."""
    return last is not None and replace(question, updated_at=last.updated_at) == last


def result_of(core: RunCore, wait: Wait) -> dict[str, Any]:
    """Wait for the run's result and return it, or raise `RunInterrupted` if the run asks."""
    outcome = next_outcome(core, wait)
    if isinstance(outcome, PendingInterrupt):
        raise _interrupted(core, outcome)
    return outcome


def outcome_of(core: RunCore, output: RunOutput | None, wait: Wait) -> Outcome | None:
    """Return the result of an output, or the open question of the run.

    Return None if the run has no open question any more. If the output is an error, raise
    `RunFailed`. ``output`` is None if the run is known to be interrupted.
    """
    kind = None if output is None else output.actual_instance
    if isinstance(kind, RunResult):
        return kind.result
    if isinstance(kind, RunError):
        raise core.failed(kind, wait)
    question = question_of(core, wait)
    if question is None:
        # The run and its output may disagree, for example because of a cache. Without a pause, the
        # caller would ask again in a hot loop.
        wait.pause(timing().probe)
    return question


def question_of(core: RunCore, wait: Wait, *, again: bool = False) -> PendingInterrupt | None:
    """Return the open question of a run, or None if there is none, or if it was answered already.

    The run is read before its output. If another process answers between these two requests, and
    the run asks a second question, the second question is returned with the ``updated_at`` of the
    first. Then `answer_run` finds another ``updated_at``, and refuses the answer as stale.

    If the run begins to ask between these two requests, its ``updated_at`` is older than the
    question, and would change without an answer. So both requests are sent again.
    """
    run = core.read(wait)
    if run.status in FINAL:
        return None
    output = core.output_now(wait, partial(core.output_after_refusal, wait=wait))
    kind = None if output is None else output.actual_instance
    if not isinstance(kind, RunInterrupt):
        return None
    if run.status == RunStatus.PENDING and not again:
        return question_of(core, wait, again=True)
    payload = dict(kind.interrupt)
    question = PendingInterrupt(
        str(payload.pop("interrupt_type", "")),
        payload,
        core.run_id,
        utc(run.updated_at),
        timing().now(),
        core.descriptor,
        lambda body, to: core.named(answer_run, core, body, to, core.wait(what="was not answered")),
        json_digest(kind.interrupt),
    )
    answered = core.answered
    if answered is None or question != answered:
        return question
    if not answered.seen_at:
        # The core was pickled after the answer, and the time of the answer was lost. So the time
        # since the answer counts from now.
        core.answered = question
    elif question.seen_at - answered.seen_at > timing().outage:
        # The answer had no effect, so the caller may answer again.
        core.answered = None
        raise _interrupted(core, question, ", though it was answered some minutes ago")
    return None


def answer_run(
    core: RunCore, body: Mapping[str, Any], to: PendingInterrupt | None, wait: Wait
) -> None:
    """Answer the open question of a run. Raise `StaleInterrupt` if ``to`` is another question."""
    answer = dict_of("body", body)
    seen_at = 0.0 if to is None else to.seen_at
    while True:
        question = question_of(core, wait)
        if question is None or (to is not None and question != to):
            raise _stale(core, question)
        # If `updated_at` has whole seconds, the next question may get the same time as this
        # question. So an answer is sent only after that second is over.
        seen_at = seen_at or question.seen_at
        young_for = seen_at + timing().whole_second - timing().now()
        if question.updated_at.microsecond or young_for <= 0:
            break
        wait.pause(young_for)
        # The question is compared again, because another process may answer during the pause.
        to = question
    if not _send(core, answer, question, wait):
        raise _stale(core)
    core.answered = replace(question, seen_at=timing().now())


def _send(core: RunCore, body: dict[str, Any], question: PendingInterrupt, wait: Wait) -> bool:
    """Send an answer. Return False if another caller's answer was first.

    If the response is lost and the answer did not arrive, send the answer once more.
    """
    # Whether the answer was sent before.
    sent = False
    # The errors of the answers whose responses were lost or unreadable.
    lost: list[ApiException] = []

    def send(limit: float) -> bool:
        nonlocal sent
        # Before the answer is sent again, the run is read. The run may ask something else now,
        # because another process has answered, or because our answer arrived and its response was
        # lost.
        if sent:
            if _has_moved_on(core.read(wait.part()), question):
                return bool(lost)
            # The look has used the turn of this request, and some of the time.
            wait.take_turn()
            limit = wait.limit(limit, "resume")
        sent = True
        core.note_changed(wait.contact.runs.resume_run(core.run_id, body, _request_timeout=limit))
        return True

    def probe(error: ApiException) -> bool | Pause:
        if error.status == 404:
            if not _has_moved_on(core.read(wait), question):
                raise core.not_served(error)
            return bool(lost)
        if error.status == 409:
            # If the run has not moved on, its thread of ACP is busy with another run, and is free
            # again when that other run ends. `send` finds out.
            return Pause(timing().human)
        lost.append(error)
        return _arrived(core, question, wait, lost) or Pause(0.0)

    try:
        arrived: bool = wait.perform("resume", send, core, longest=timing().change, probe=probe)
    except (ApiException, Decided) as failed:
        error = undecided(failed)
        # If the run is gone, or the server refuses the second answer, the error is raised as it is.
        # After any other error, such as the end of the wait or a run that cannot be read, nothing
        # shows whether the answer whose response was lost has arrived.
        refused = error.method == "POST" and error not in lost[-1:]
        if not lost or refused or isinstance(failed, Gone):
            raise
        raise errors.ResumeAmbiguous(
            run_id=core.run_id, token=core.token(), times=len(lost), why=str(lost[-1])
        ) from error
    return arrived


def _has_moved_on(run: Run, question: PendingInterrupt) -> bool:
    """Return whether a run has moved on since it asked a question."""
    return run.status != RunStatus.INTERRUPTED or utc(run.updated_at) != question.updated_at


def _arrived(core: RunCore, asked: PendingInterrupt, wait: Wait, lost: list[ApiException]) -> bool:
    """Find out whether an answer arrived although its response was lost.

    Read the run until it has moved on, and return True. If it has not moved on five seconds after
    the first read, return False after the first answer, and raise the last error of ``lost`` after
    the second one.
    """
    clock, run = timing(), core.read(wait)
    since = clock.now()
    while not (arrived := _has_moved_on(run, asked)) and clock.now() - since < clock.unchanged:
        wait.pause(clock.probe)
        run = core.read(wait)
    if not arrived and len(lost) > 1:
        raise lost[-1]
    return arrived


def _interrupted(core: RunCore, asks: PendingInterrupt, hint: str = "") -> ApiException:
    """Return the error of a question that is not answered. Its message contains ``hint``."""
    return errors.RunInterrupted(run_id=core.run_id, token=core.token(), interrupt=asks, hint=hint)


def _stale(core: RunCore, asks: PendingInterrupt | None = None) -> errors.StaleInterrupt:
    """Return the error of a stale answer. ``asks`` is the question that is open instead."""
    instead, run, answered = "it asks something else now", core.run, core.answered
    if asks is not None:
        instead += f" ({asks.type!r})"
    elif run is not None and run.status != RunStatus.INTERRUPTED:
        instead = f"it is {run.status.value}, and asks nothing"
    elif run is not None and answered is not None and not _has_moved_on(run, answered):
        instead = "it was answered already, and has not continued yet"
    return errors.StaleInterrupt(run_id=core.run_id, token=core.token(), now=instead)
