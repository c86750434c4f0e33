"""What a run asks, and answers that reach the question they are meant for.

ACP 0.1 gives an interrupt no id. The run's ``updated_at`` and the question itself tell two
questions apart, so both are compared before an answer is sent. A window of one round trip remains,
in which another process may answer.

Strategy: `answer_run` sends an answer once. If its response is lost, it looks at the run. If the
run is no longer interrupted, or its ``updated_at`` moved, the answer arrived and is never sent
again. If nothing changes for five seconds, it did not arrive and is sent once more.

Invariant: no answer is sent to a run that is known to have moved on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTypeError,
    ConflictException,
    NotFoundException,
    ResponseDecodeError,
    RunWaitTimeout,
)
from acp_client_v0_1.handles._link import FINAL, RunLink
from acp_client_v0_1.handles._patience import Patience, is_passing, is_unsent
from acp_client_v0_1.handles._schemas import json_object
from acp_client_v0_1.handles._starting import without_retries
from acp_client_v0_1.handles._tracing import in_run
from acp_client_v0_1.handles.errors import ResumeAmbiguous, RunGone, StaleInterrupt
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models.run_error import RunError
from acp_client_v0_1.models.run_interrupt import RunInterrupt
from acp_client_v0_1.models.run_result import RunResult
from acp_client_v0_1.models.run_status import RunStatus

if TYPE_CHECKING:
    from acp_client_v0_1.models.run_output import RunOutput

__all__ = ["answer_run", "checked_on_interrupt", "outcome_of", "question_of"]

_UNCHANGED = 5.0  # seconds after which an answer without a response counts as lost
_LOOK_EVERY = 0.25  # seconds between two looks at a run that is about to move on
_RESUME = 60.0  # seconds that one resume may take
_WHOLE_SECOND = 1.0  # seconds; the least age of a question whose time has no fraction


def checked_on_interrupt(on_interrupt: object, *, optional: bool = True) -> None:
    """Refuse what cannot be called, before anything is sent; None is fine if it is optional."""
    if not callable(on_interrupt) and not (optional and on_interrupt is None):
        raise ApiTypeError(
            "on_interrupt must be a function that takes the question and gives the answer, "
            f"not {type(on_interrupt).__name__}"
        )


def outcome_of(
    link: RunLink, output: RunOutput | None, patience: Patience
) -> dict[str, Any] | PendingInterrupt | None:
    """Return the result or the question of an output; None if the question was answered by now.

    No output stands for an interrupt that was seen elsewhere. A failed run raises its `RunFailed`.
    """
    kind = None if output is None else output.actual_instance
    if isinstance(kind, RunResult):
        return kind.result
    if isinstance(kind, RunError):
        raise link.failure_of(kind, patience)
    question = question_of(link, patience)
    if question is None:
        # If one of the two is out of date, as from a cache, asking again at once is a hot loop.
        patience.pause(_LOOK_EVERY)
    return question


def question_of(link: RunLink, patience: Patience) -> PendingInterrupt | None:
    """Return the open question of a run, None if there is none.

    The run is read before its output. If another process answers in between, the next question gets
    the older time, so that an answer to it is refused as stale: it is never used for the wrong one.
    """
    run = link.look(patience)
    if run.status in FINAL:
        return None

    def ask(limit: float) -> RunOutput | None:
        # With a second to block, since some servers block without end if they are given none.
        block = 1 if limit > 1.5 else None
        return link.ask(
            lambda: link.runs.get_run_output(link.run_id, block, _request_timeout=limit)
        )

    output = link.until_response(ask, patience)
    kind = None if output is None else output.actual_instance
    if not isinstance(kind, RunInterrupt):
        return None
    payload = dict(kind.interrupt)
    return PendingInterrupt(
        str(payload.pop("interrupt_type", "")),
        payload,
        link.run_id,
        run.updated_at,
        link.seen_at(run),
        link.descriptor,
        partial(answer_run, link),
    )


def answer_run(
    link: RunLink,
    body: Mapping[str, Any],
    to: PendingInterrupt | None,
    patience: Patience | None = None,
) -> None:
    """Answer the question of a run as `RunHandle.resume` describes it."""
    answer = json_object("body", body)
    patience = patience or Patience(None)
    while True:
        question = question_of(link, patience)
        if question is None:
            raise _stale(link)
        if to is not None and question != to:
            raise _stale(link, asks=question)
        # A server that writes whole seconds could give the next question the time of this one.
        seen = to.seen_at if to is not None and to.seen_at else question.seen_at
        young_for = seen + _WHOLE_SECOND - time.monotonic()
        if question.updated_at.microsecond or young_for <= 0:
            break
        link.pause(young_for, patience, "it was not answered")
        to = question  # to be compared again: another process may answer it during the pause
    _send(link, answer, question, patience)
    link.answered = question


def _send(
    link: RunLink, body: dict[str, Any], question: PendingInterrupt, patience: Patience
) -> None:
    once = without_retries(link.runs)
    pace = Patience(None)  # of the resumes alone: a look that works must not shorten a pause
    lost = 0
    while True:
        try:
            with in_run(link):
                run = once.resume_run(link.run_id, body, _request_timeout=patience.limit(_RESUME))
            link.note(run)
            return
        except NotFoundException as error:
            raise link.gone() from error
        except ApiException as error:
            failure = error
        if isinstance(failure, ConflictException) or is_unsent(failure):
            if not _moved_after_refusal(link, question, failure, patience, pace):
                continue
            if lost:
                return  # by the answer whose response was lost
            raise _stale(link) from failure
        if not is_passing(failure) and not isinstance(failure, ResponseDecodeError):
            raise failure
        lost += 1
        try:
            if _arrived(link, question, patience):
                return
            if lost == 1:
                continue
        except RunGone:
            raise
        except ApiException:
            pass  # nobody can tell, and the failure says more
        raise ResumeAmbiguous(
            run_id=link.run_id, token=link.token(), times=lost, why=str(failure)
        ) from failure


def _moved_after_refusal(
    link: RunLink,
    question: PendingInterrupt,
    failure: ApiException,
    patience: Patience,
    pace: Patience,
) -> bool:
    """Pause after the server has refused an answer; return whether the run has moved on."""
    try:
        if isinstance(failure, ConflictException) and _has_moved(link, question, patience):
            return True
        # After a 409, its thread is busy with another run, which ends.
        patience.pause(pace.pause_after(failure))
        if not patience.over:
            return _has_moved(link, question, patience)
    except RunWaitTimeout:
        pass  # the failure says more
    raise link.late(patience, "it could not be answered", failure) from failure


def _has_moved(link: RunLink, question: PendingInterrupt, patience: Patience) -> bool:
    """Return whether a run has moved on since it asked."""
    run = link.look(patience)
    return run.status != RunStatus.INTERRUPTED or run.updated_at != question.updated_at


def _arrived(link: RunLink, question: PendingInterrupt, patience: Patience) -> bool:
    """Look at a run for some seconds; return whether an answer without a response arrived."""
    since: float | None = None  # the first successful look
    while not _has_moved(link, question, patience):
        now = time.monotonic()
        since = now if since is None else since
        if now - since >= _UNCHANGED:
            return False
        link.pause(_LOOK_EVERY, patience, "it may have been answered")
    return True


def _stale(link: RunLink, asks: PendingInterrupt | None = None) -> StaleInterrupt:
    run, now = link.run, "it asks something else by now"
    if asks is not None:
        now += f" ({asks.type!r})"
    elif run is not None and run.status != RunStatus.INTERRUPTED:
        now = f"it is {run.status.value}, and asks nothing"
    return StaleInterrupt(run_id=link.run_id, token=link.token(), now=now)
