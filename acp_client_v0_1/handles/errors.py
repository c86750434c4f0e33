"""What can go wrong with an agent, a run or a batch, beyond the failure of a single call.

::

    ApiException
    ├── RunFailed               the run ended in status error
    │   └── RunTimedOut         the run ended in status timeout: its server stopped it
    ├── RunInterrupted          the run asks a question, and the caller has no answer
    ├── ResultMismatch          the result of the run does not fit the type that the caller gave
    ├── RunGone                 the run was deleted, or its server forgot it
    ├── RunStartAmbiguous       a create may have made a run or not, and no run was found
    ├── ResumeAmbiguous         an answer may have arrived or not, and the run does not show which
    ├── StaleInterrupt          the question is not open any more
    ├── InterruptLimit          the run asked more questions than `max_interrupts`
    ├── StreamGap               updates were lost, or may be, between two connections
    ├── SearchDrift             the records of a search moved between two pages
    └── AgentLookupError        no agent has the name, or several have it (also LookupError)
    ApiValueError
    ├── TokenError              the text is not a token, or is a token of another server
    ├── SchemaMismatch          input or config does not fit the agent's schema
    └── JournalError            a batch cannot use the file of its journal
        ├── JournalLocked       another batch has the journal open
        ├── JournalDamaged      a line of the journal is damaged
        └── JournalMismatch     the journal is of another agent, server, config or input

Invariants: an error about a run has the `run_id` and the portable `token` of the run, neither of
which is a secret. So has each other `ApiException` that ends a call of a run. If there is something
to do next, the message of the error says what. All errors can be pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from acp_client_v0_1._text import one_line, short
from acp_client_v0_1.exceptions import ApiException, ApiValueError

if TYPE_CHECKING:
    from acp_client_v0_1.handles.interrupts import PendingInterrupt

__all__ = [
    "AgentLookupError",
    "InterruptLimit",
    "JournalDamaged",
    "JournalError",
    "JournalLocked",
    "JournalMismatch",
    "ResultMismatch",
    "ResumeAmbiguous",
    "RunFailed",
    "RunGone",
    "RunInterrupted",
    "RunStartAmbiguous",
    "RunTimedOut",
    "SchemaMismatch",
    "SearchDrift",
    "StaleInterrupt",
    "StreamGap",
    "TokenError",
]

GapKind = Literal["lost", "cursor-ignored", "unknown"]

# The message of a `RunStartAmbiguous` has at most this many characters of its ``why``.
LONGEST_WHY = 124


class _RunProblem(ApiException):
    """The base of the errors about a run.

    Args:
        reason: What happened.
        run_id: The run.
        token: The token for `RunHandle.from_token`.
        hint: What to do next.
    """

    def __init__(self, reason: str, *, run_id: str, token: str, hint: str = "") -> None:
        super().__init__(reason=reason)
        self.hint = hint
        self.run_id: str = run_id  # pyright: ignore[reportIncompatibleVariableOverride]
        self.token: str = token  # pyright: ignore[reportIncompatibleVariableOverride]


class RunFailed(_RunProblem):
    """The run ended in status ``error``; there will be no result.

    Attributes:
        errcode: The agent's own code.
        description: What the agent says went wrong.
        run_id: The run.
        token: The token for `RunHandle.from_token`.

    Args:
        run_id: The run.
        token: The token for `RunHandle.from_token`.
        errcode: The agent's own code.
        description: What the agent says went wrong.
        sure: Whether a read showed a final status. If not, the status is ``error`` or ``timeout``.
    """

    # The status of a run that ends a wait by an error of this class; see `_records`.
    status_name = "error"

    def __init__(
        self, *, run_id: str, token: str, errcode: int, description: str, sure: bool = True
    ) -> None:
        status = self.status_name if sure else "error or timeout"
        reason = f"run {short(run_id)} ended in {status} (errcode {errcode}): {description}"
        super().__init__(reason, run_id=run_id, token=token)
        self.errcode = errcode
        self.description = description


class RunTimedOut(RunFailed):
    """The run ended in status ``timeout``: its server gave it no more time.

    This is not a ``TimeoutError``, because waiting again would not help: start a new run.
    """

    status_name = "timeout"


class ResultMismatch(_RunProblem):
    """The run has succeeded, and its result does not fit the type that the caller gave.

    The handle, or the journal of the batch, keeps the result, so nothing is asked for again.

    Args:
        run_id: The run.
        token: The token for `RunHandle.from_token`.
        kind: The name of the type.
        result: The result as JSON.
        faults: For each fault, a path such as ``result.count``, and a message.

    Attributes:
        result: The result as JSON, in the agent's own schema.
        faults: For each fault, a path such as ``result.count``, and a message.
        run_id: The run.
        token: The token for `RunHandle.from_token`.
    """

    status_name = "success"

    def __init__(
        self,
        *,
        run_id: str,
        token: str,
        kind: str,
        result: dict[str, Any],
        faults: Sequence[tuple[str, str]],
    ) -> None:
        self.result = result
        self.faults: tuple[tuple[str, str], ...] = tuple(faults)
        words = f"the result of run {short(run_id)} does not fit {short(kind)}: "
        super().__init__(words + _shown(self.faults), run_id=run_id, token=token)


class RunInterrupted(_RunProblem):
    """The run asks a question, and waits for the answer.

    After ``error.interrupt.answer(body)`` the run continues, and
    ``RunHandle.from_token(error.token, client).result()`` waits for its result.

    Attributes:
        interrupt: The question, a `PendingInterrupt`. After pickling it has no connection to its
            run, so use `RunHandle.from_token` and `resume`.
        run_id: The run.
        token: The token for `RunHandle.from_token`.

    Args:
        run_id: The run.
        token: The token for `RunHandle.from_token`.
        interrupt: The question, which ``error.interrupt.answer(body)`` answers. After pickling, the
            question has no connection to its run, so use `RunHandle.from_token` and `resume`.
        hint: Words that the message adds.
    """

    status_name = "interrupted"

    def __init__(
        self, *, run_id: str, token: str, interrupt: PendingInterrupt, hint: str = ""
    ) -> None:
        reason = f"run {short(run_id)} is interrupted by {short(interrupt.type)!r}{hint}"
        advice = (
            "answer it by error.interrupt.answer(body) or RunHandle.drive; "
            "AgentHandle.run(on_interrupt=) answers while it waits"
        )
        super().__init__(reason, run_id=run_id, token=token, hint=advice)
        self.interrupt = interrupt


class RunGone(_RunProblem):
    """The server does not know the run: it was deleted or forgotten, or it is another server's.

    Args:
        server: The origin and the base path of the server.
        served: Whether the server is known to serve runs under this path.
        taken: Whether the server has given the run's id to another run. That run is left alone.
    """

    status_name = "gone"

    def __init__(
        self, *, run_id: str, token: str, server: str, served: bool = True, taken: bool = False
    ) -> None:
        what = (
            f"gone: the server at {server} does not know it (deleted, forgotten, or of another "
            "server); start a new run, or check host"
            if served
            else f"not there: it was deleted or forgotten, or {server} does not serve this path "
            "(check the base path of host)"
        )
        if taken:
            what = (
                f"gone: the server at {server} has forgotten it, and given its id to another run, "
                "which is left alone; start a new run"
            )
        super().__init__(f"run {short(run_id)} is {what}", run_id=run_id, token=token)


class RunStartAmbiguous(ApiException):
    """A create may or may not have made a run, and no run with its client token was found.

    The response to the create was lost, could not be read, or had a status such as 502. A run may
    still appear.

    Args:
        client_token: The client token for `RunHandle.find`, or "" if the create had none.
        token: The token for `RunHandle.from_token`, which searches again, or "" if the create had
            no client token.
        why: What happened to the create and to the search.
        searched: Whether the search worked and found no run.
    """

    def __init__(self, *, client_token: str, token: str, why: str, searched: bool = False) -> None:
        why = one_line(why, LONGEST_WHY)
        super().__init__(reason=f"the run may have been started or not: {why}")
        self.hint = (
            "search by RunHandle.from_token(error.token, client) before you start another"
            if client_token
            else 'it was created with client_token="", so it cannot be searched for'
        )
        self.token: str = token  # pyright: ignore[reportIncompatibleVariableOverride]
        self.client_token = client_token
        self.searched = searched


class ResumeAmbiguous(_RunProblem):
    """An answer may or may not have arrived, and the run does not show which.

    The response to the answer was lost, could not be read, or had a status such as 502.

    Args:
        times: How many responses to the answer were lost or unreadable. 1: after the lost response,
            the run could not be read to find out more, or the time was over. 2: after the first
            lost response, the run still asked the same question. So the answer was sent again, and
            its response was lost, too.
        why: What happened when the answer was sent last.
    """

    def __init__(self, *, run_id: str, token: str, times: int, why: str) -> None:
        often = "once" if times == 1 else "twice"
        reason = (
            f"run {short(run_id)} may or may not have got the answer, which was sent {often}: "
            f"{one_line(why, 56)}"
        )
        hint = "call RunHandle.refresh() later, and answer again if it is still interrupted"
        super().__init__(reason, run_id=run_id, token=token, hint=hint)


class StaleInterrupt(_RunProblem):
    """The question is not open any more; the answer was not used.

    A second answer to the same question gets this error, too, even if the run has not continued
    yet.

    Args:
        now: What the run does instead.
    """

    def __init__(self, *, run_id: str, token: str, now: str) -> None:
        reason = f"the answer to run {short(run_id)} was not used: {now}"
        super().__init__(reason, run_id=run_id, token=token, hint="see RunHandle.interrupts()")


class InterruptLimit(_RunProblem):
    """A run asked more questions than `max_interrupts` of `RunHandle.drive`; it stays interrupted.

    Args:
        limit: How many answers the callback gave. An answer counts even if it was not sent, because
            its question was not open any more.
    """

    status_name = "interrupted"

    def __init__(self, *, run_id: str, token: str, limit: int) -> None:
        reason = f"run {short(run_id)} asks again after {limit} answers"
        hint = "continue by RunHandle.drive with a larger max_interrupts, or cancel() it"
        super().__init__(reason, run_id=run_id, token=token, hint=hint)
        self.limit = limit


class StreamGap(_RunProblem):
    """Updates of a run's stream are missing, or may be; the next ``next()`` continues.

    Args:
        kind: "lost": the ids show that updates are lost; "cursor-ignored": the server sent new
            updates under old ids, so updates may be lost; "unknown": the ids do not show whether
            updates are lost.
        missing: How many updates are lost, or None if the ids do not show it.
        last_event_id: The id of the last event before the gap, or "".
    """

    def __init__(
        self, *, run_id: str, token: str, kind: GapKind, missing: int | None, last_event_id: str
    ) -> None:
        what = {
            "lost": f"{missing} updates are lost",
            "cursor-ignored": "updates may be lost, as the server restarted its event ids",
            "unknown": "whether updates are lost cannot be known from the event ids",
        }[kind]
        reason = (
            f"the stream of run {short(run_id)} was broken after event {short(last_event_id)!r}: "
            f"{what}"
        )
        hint = 'iterate on, or pass on_gap="mark" to get event.gap instead'
        super().__init__(reason, run_id=run_id, token=token, hint=hint)
        self.kind = kind
        self.missing = missing
        self.last_event_id = last_event_id


class SearchDrift(ApiException):
    """The records of a search moved between two pages, so that some may be left out.

    Args:
        offset: The offset of the page that showed the change.
        why: What that page showed.
    """

    def __init__(self, *, offset: int, why: str) -> None:
        reason = f"the search changed while it was read, at offset {offset}: {why}; search again"
        super().__init__(reason=reason)
        self.hint = 'or pass on_drift="continue" to take what there is'
        self.offset = offset


class AgentLookupError(ApiException, LookupError):
    """No agent has that name and version, or several have.

    Args:
        name: The name that was searched for.
        candidates: The agents that the server has, or those with the name, each as
            "name version (agent id)".
        reason: What happened.
        hint: What to do next.
    """

    def __init__(
        self, *, name: str, candidates: Sequence[str], reason: str, hint: str = ""
    ) -> None:
        super().__init__(reason=reason)
        self.hint: str = one_line(hint, 120)
        self.name = name
        self.candidates: tuple[str, ...] = tuple(candidates)


class TokenError(ApiValueError):
    """The text is not the token of a run, is damaged, or is of another version or server.

    Nothing was sent.
    """


class SchemaMismatch(ApiValueError):
    """Input or config does not fit the schema of the agent's descriptor; nothing was sent.

    Args:
        what: "input" or "config".
        faults: For each fault, a path such as ``input.count``, and a message.

    Attributes:
        paths: The paths of the faults.
    """

    def __init__(self, what: str, faults: Sequence[tuple[str, str]]) -> None:
        self.faults: tuple[tuple[str, str], ...] = tuple(faults)
        super().__init__(f"{what} does not fit the agent's schema: {_shown(self.faults)}")
        self.paths: tuple[str, ...] = tuple(path for path, _ in self.faults)


def _shown(faults: Sequence[tuple[str, str]]) -> str:
    """Return the first five faults as words for a message, and the number of the others."""
    shown = "; ".join(f"{short(path)}: {words}" for path, words in faults[:5])
    return one_line(shown, 180) + (f" (and {len(faults) - 5} more)" if len(faults) > 5 else "")


class JournalError(ApiValueError):
    """A batch cannot use the file of its journal."""


class JournalLocked(JournalError):
    """Another batch, in this process or another, has the journal open.

    A batch of this process that was not read to its end has it open until ``close()``.
    """


class JournalDamaged(JournalError):
    """A line of a journal is damaged; nothing was changed.

    A crash may tear the last line. Such a line is not taken for damage.

    Args:
        msg: What is wrong.
        line: The number of the line, from 1.
    """

    def __init__(self, msg: str, *, line: int) -> None:
        super().__init__(msg)
        self.line = line


class JournalMismatch(JournalError):
    """A journal belongs to another agent, server, config or input than the call.

    Args:
        msg: What does not fit.
        index: The index of the input that differs, from 0, or None if something else differs.
    """

    def __init__(self, msg: str, *, index: int | None = None) -> None:
        super().__init__(msg)
        self.index = index
