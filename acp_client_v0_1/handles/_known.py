"""What is known of one run: its record, its outcome, and the names by which errors show it.

Invariants: a known run owns no thread and no socket. It is shared between threads without a lock,
and can be pickled if its client can. A result implies that the run is in status success, and a
failure implies error or timeout. `_outcome` keeps this implied status. A later read that still
shows "pending" is taken to be older, so `status` returns `_outcome` and not "pending". Once a read
shows that the run has ended or is interrupted, `_outcome` is cleared, and the status of that read
counts.

A result is kept, because some servers give an output once. A failure is not kept: a server may try
a run in status error again. `kept` is cleared by anything that contradicts it: a read of another
final status or of an interrupt, an answer, or a DELETE.
"""

from __future__ import annotations

import marshal
import math
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from acp_client_v0_1._contract import FINAL, WITH_OUTPUT
from acp_client_v0_1._operation import identifier
from acp_client_v0_1._text import HARMLESS_ID, one_line, package_logger, short, with_article
from acp_client_v0_1.exceptions import ApiException, ApiValueError, ResponseValidationError
from acp_client_v0_1.handles._marks import CREATE_KEY, Habits, Mark, client_token_of, is_mask
from acp_client_v0_1.handles._match import is_of, may_repeat, other_values, same_id
from acp_client_v0_1.handles._rules import Decided, is_unserved, settled
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._token import RunToken, server_of
from acp_client_v0_1.handles.errors import RunGone
from acp_client_v0_1.models import Agent, Run, RunCreate, RunOutput, RunResult, RunStatus

if TYPE_CHECKING:
    from acp_client_v0_1._http.observer import RunSpan
    from acp_client_v0_1.api.runs_api import RunsApi
    from acp_client_v0_1.handles.interrupts import PendingInterrupt

P = ParamSpec("P")
T = TypeVar("T")

_log = package_logger("acp_client_v0_1.handles")


class Gone(Decided):
    """The error is a `RunGone`."""


def received_id(name: str, record: Run | Agent) -> str:
    """Return the id of a record that a server sent.

    Raises `ResponseValidationError` if the id cannot be a segment of a path.
    """
    try:
        return identifier(name, getattr(record, name))
    except ApiValueError as error:
        reason = f"not {with_article(type(record).__name__)} of ACP 0.1: {error}"
        raise ResponseValidationError(reason=reason, body=record.to_json()) from error


def utc(moment: datetime) -> datetime:
    """Return a server's time with an offset, so that it can be compared.

    A time without an offset is taken for UTC.
    """
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


class KnownRun:
    """What is known of one run, and how errors and spans name it."""

    runs: RunsApi
    run_id: str

    # These defaults are attributes of the class, because most runs never set most of them.

    # The token that the handle was made from, or an empty one.
    given_token: RunToken = RunToken("")
    # The create that this client sent. The server may not return its fields, so they are kept here.
    creation: RunCreate | None = None
    # The mark of the create, if it is known.
    mark: Mark | None = None
    # Whether the id is certainly of the run with this mark: the response to the create has named
    # the id, or the run has shown its mark. A run that only a search has found, or that only a
    # journal names, may be somebody else's. So it is deleted only if its caller asks for that.
    proven: bool = False
    # Whether the server may have forgotten the run, and given its id to another one.
    unsure: bool = False
    # What the client has seen of the marks of runs.
    habits: Habits | None = None
    # The id of the last event that was handed out.
    last_event_id: str = ""
    # The ids of newer runs with the same client token.
    duplicates: tuple[str, ...] = ()
    span: RunSpan | None = None
    # The trace context of the run's last span, which another process may have begun.
    traceparent: str = ""
    # The question that was answered last. A pickle keeps it.
    answered: PendingInterrupt | None = None
    agent_name: str = ""
    # The last note that `add_note` made.
    noted: str = ""
    _run: Run | None = None
    # The status that the last result or failure implies. It replaces the status of `_run`, until a
    # read shows that the run has ended or is interrupted. Then it is None, as before the first
    # result or failure.
    _outcome: RunStatus | None = None
    # The output with the run's result: its status, and its other fields in the format of `marshal`,
    # which is quicker than `pickle`. This is a copy, because what callers get is theirs to change.
    kept: tuple[RunStatus, bytes] | None = None
    # Whether the result came as the last event of a stream. Then the server is asked for the output
    # first, because it may have a newer one.
    streamed: bool = False
    # When the run was created, in seconds since the epoch, if that is known. After a DELETE this is
    # minus infinity.
    _born: float | None = None

    # The state of the run

    @property
    def run(self) -> Run | None:
        """The run as the server last described it, but with the status `_outcome` if it is set."""
        run, outcome = self._run, self._outcome
        if run is not None and outcome is not None and run.status != outcome:
            run = self._run = run.model_copy(update={"status": outcome})
        return run

    @property
    def status(self) -> RunStatus | None:
        """The run's last known status."""
        return self._outcome or (None if self._run is None else self._run.status)

    @property
    def seen(self) -> bool:
        """Whether the server is known to have had the run, so that a 404 says that it is gone."""
        return self._run is not None or self._born is not None

    @property
    def is_pending(self) -> bool:
        """Whether the run was pending when it was last read."""
        return self.status == RunStatus.PENDING

    @property
    def has_ended(self) -> bool:
        """Whether the run has a final status, as far as is known."""
        return self.status in FINAL

    @property
    def agent_id(self) -> str | None:
        """The id of the run's agent, once known."""
        return (self.given_token.agent if self._run is None else self._run.agent_id) or None

    @property
    def thread_id(self) -> str | None:
        """The id of the run's thread, if the run has one, once known."""
        return (self.given_token.thread if self._run is None else self._run.thread_id) or None

    @property
    def client_token(self) -> str | None:
        """The client token that the run was created with, if it has one, once known."""
        # The server may mask the client token, so what was sent comes first.
        sent = (self.creation and client_token_of(self.creation)) or self.given_token.client_token
        shown = sent or (self._run and client_token_of(self._run.creation))
        return shown if shown and not is_mask(shown) else None

    def token(self) -> str:
        """Return the portable token of the run."""
        age = self.age()
        created = f"{timing().calendar() - age:.1f}" if age < timing().young else ""
        return RunToken(
            server=server_of(self.runs.api_client),
            run=self.run_id,
            agent=self.agent_id or "",
            thread=self.thread_id or "",
            client_token=self.client_token or "",
            create_mark=self.mark.value if self.mark and self.mark.key == CREATE_KEY else "",
            last_event_id=self.last_event_id,
            traceparent=self.traceparent,
            created=created,
        ).encode()

    def note_token(self, token: RunToken) -> None:
        """Keep what a token says about the run."""
        self.given_token, self.mark = token, token.mark
        self.note_absence()
        self.last_event_id, self.traceparent = token.last_event_id, token.traceparent
        # Whoever made the token has used this server, so the address is taken to be right.
        self.runs.api_client.rest_client.reached = True
        if token.created:
            self.note_created(ago=timing().calendar() - float(token.created))

    def note(self, run: Run) -> Run:
        """Keep the run as the server described it, and return it.

        Raises `ResponseValidationError` if the record is of another run, and `Gone` if the server
        has given the id to a run with another mark.
        """
        # This comparison is only for speed.
        if run.run_id != self.run_id:
            self.check_id(run.run_id, "record", run)
        if self.mark is not None:
            self._check_mark(self.mark, run)
        self._run = run
        if run.status in WITH_OUTPUT and (run.status != RunStatus.SUCCESS or not self.kept):
            self._outcome = self.kept = None
        return run

    def note_changed(self, run: Run) -> Run | None:
        """Keep the record that a DELETE or an answer got, and return the run as it is known now.

        The server has carried out the change even if the record is of another run. Such a record is
        not kept. A result from before the change does not count any more.
        """
        self.kept = None
        with suppress(ResponseValidationError):
            self.note(run)
        return self._run

    def note_created(self, creation: RunCreate | None = None, *, ago: float = 0.0) -> None:
        """Note that the run was created ``ago`` seconds ago. A read replica may not have it yet."""
        self.creation = creation
        # This is calendar time, because a token or a pickle may take it to another process.
        self._born = timing().calendar() - max(0.0, ago)

    def note_absence(self) -> None:
        """Note that the server may have restarted since the run was made."""
        self.unsure = self.mark is not None and may_repeat(self.run_id)

    def note_deleted(self) -> None:
        """Note that the run was deleted. From now on, a 404 means that the run is gone.

        Before the DELETE, a 404 soon after the create could also come from a read replica that did
        not have the run yet.
        """
        self._born, self.kept = -math.inf, None

    def age(self) -> float:
        """Seconds since the create, or infinity if its time is not known."""
        # If the clock was set back, the difference is negative. Without abs() the run would count
        # as young until the clock catches up.
        return math.inf if self._born is None else abs(timing().calendar() - self._born)

    def keep_streamed(self, result: RunResult | None) -> None:
        """Keep the last event of the stream of a run in status success, if it is a result."""
        if result is not None and self.kept is None:
            self.keep_output(RunOutput(result.model_copy(update={"status": RunStatus.SUCCESS})))
            self.streamed = True

    def keep_output(self, output: RunOutput) -> None:
        """Keep an output that was received, if it has the run's result."""
        if isinstance(result := output.actual_instance, RunResult):
            self._outcome, self.streamed = RunStatus.SUCCESS, False
            fields = {**vars(result), **(result.__pydantic_extra__ or {}), "status": None}
            try:  # noqa: SIM105 - `suppress` would take longer than the copy of a short result
                # Every version of Python can read the version 2 of the format, also in a pickle.
                self.kept = result.status, marshal.dumps(fields, 2)
            except ValueError:
                # A test's stand-in may return a value that JSON does not have. It is not kept.
                pass

    def kept_output(self) -> RunOutput | None:
        """Return a copy of the output with the run's result, if it has come before."""
        # Another thread may clear the attribute, so it is read once.
        if (kept := self.kept) is None:
            return None
        fields: dict[str, Any] = {**marshal.loads(kept[1]), "status": kept[0]}
        return RunOutput(RunResult.model_construct(**fields))

    def _check_mark(self, mark: Mark, run: Run) -> None:
        """Raise `Gone` if a record of the run shows another mark."""
        asked, habits = self.creation, self.habits or Habits()
        agent_id = self.agent_id or run.agent_id if asked is None else asked.agent_id
        shown = habits.shows(mark, run, agent_id, "look")
        self.proven = self.proven or bool(shown)
        if shown is False and may_repeat(self.run_id):
            raise self.gone(taken=True)
        other, rewrites = "", ("rewrites", agent_id) in habits.facts
        if shown is None and self.unsure and asked is not None and not rewrites:
            other = other_values(run, asked)
        strange = shown is None and self.unsure and not is_of(run, agent_id)
        if shown is False or other or strange:
            raise self.not_ours(run)

    def not_ours(self, run: Run) -> ResponseValidationError:
        """Return the error of a run that may be somebody else's."""
        token = f"the client token {short(self.client_token)}" if self.client_token else "its mark"
        words = f"does not carry {token}: it may be somebody else's, and is left alone"
        reason = f"run {short(run.run_id)} {words}"
        return ResponseValidationError(reason=reason, body=run.to_json())

    def check_id(self, named: str, what: str, received: Any) -> None:
        """Raise `ResponseValidationError` if what was received names another run.

        A cache or a proxy may mix up runs. Some proxies do not know the ids of outputs.
        """
        if not same_id(self.run_id, named):
            reason = f"the server gave run {short(self.run_id)} the {what} of run {short(named)}"
            raise ResponseValidationError(reason=reason, body=received.to_json())

    # The errors of the run

    def _token_if_known(self) -> str:
        # A test may pass a stand-in for `runs` that has no client, and so no server.
        return self.token() if hasattr(self.runs, "api_client") else ""

    def gone(self, error: ApiException | None = None, *, taken: bool = False) -> Gone:
        """Return the error of a run for which the server responded with a 404.

        The message says that the run is gone. If the server may not serve the paths of runs at all,
        the message says that, too. ``taken`` says that another run has the id now.
        """
        served = self.seen or error is None or not is_unserved(error)
        server, token = server_of(self.runs.api_client), self.token()
        gone = RunGone(run_id=self.run_id, token=token, server=server, served=served, taken=taken)
        if error is not None and error.proxy:
            gone.reason = f"{gone.reason}; connections use {error.proxy}"
        gone.__cause__ = error
        return Gone(gone)

    def not_served(self, error: ApiException) -> Decided:
        """Change the reason of ``error``, and return the error to raise.

        The new reason is that the server has the run, and does not serve the path of the request.
        """
        error.reason = (
            f"the server at {server_of(self.runs.api_client)} has the run and does not serve this "
            "path: does it speak ACP 0.1, and is the base path of host right?"
        )
        return Decided(error, "all" if is_unserved(error) else "run")

    def named(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that is about the run, and return what it returns.

        An exception names the run. The error of a `Decided` is raised itself.
        """
        try:
            return settled(work, *args, **kwargs)
        except BaseException as error:
            self.name_in(error)
            raise

    def name_in(self, error: BaseException) -> None:
        """Name the run in a note of an exception that ends a call.

        An `ApiException` gets the id and the token of the run, too, unless it has an id already.
        """
        if isinstance(error, ApiException):
            if error.run_id is not None or error.token is not None:
                return
            error.run_id, error.token = self.run_id, self._token_if_known()
            if sys.version_info < (3, 11):
                # The note would become a warning in the log, and the attributes are enough.
                return
        status = "" if self.status is None else f" is {short(self.status)}"
        named, make = self.run_id, "RunHandle"
        if not HARMLESS_ID.fullmatch(named):
            named, make = self.token(), "RunHandle.from_token"
        asks = self.status == RunStatus.INTERRUPTED
        verb, then, flag = ("answer", ".interrupts()", "--ask ") if asks else ("wait for", "", "")
        note = one_line(
            f"run {short(self.run_id)}{status}: {verb} it with {make}({named!r}, client){then} or "
            f"`acp-client wait {flag}{named}`"
        )
        add_note(error, note)
        self.noted = note

    # Its span

    def open_span(self) -> None:
        """Begin a span for the run, if the client is instrumented and the run has no span."""
        observer = self.runs.api_client.rest_client.observer
        if observer is not None and self.span is None:
            span = observer.run(self.agent_id or "", self.thread_id or "", linked=self.traceparent)
            self.keep_span(span)

    def keep_span(self, span: RunSpan) -> None:
        """Use a span for the run from now on."""
        span.started(self.run_id)
        self.span, self.traceparent = span, span.traceparent

    def end_span(self, outcome: object) -> None:
        """End the span of the run, if there is a span, with the outcome of a wait.

        The outcome is a result, a `RunOutput`, an exception, one word such as "cancelled", or "" if
        there is none. A wait that asked once and got no output leaves the span open. If the span
        has ended and the run has not, the next wait begins a new span.
        """
        if self.span is not None and not self.span.end(outcome):
            self.span = None

    def in_span(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that waits for the run, and return what it returns.

        If the client is instrumented, the requests of the call belong to the span of the run. After
        the call, `end_span` gets what the function returned or raised. An exception names the run.
        """
        if self.runs.api_client.rest_client.observer is not None:
            self.open_span()
        if self.span is None:
            return self.named(work, *args, **kwargs)
        try:
            with self.span.active():
                outcome = self.named(work, *args, **kwargs)
        except BaseException as error:
            self.end_span(error)
            raise
        self.end_span(outcome)
        return outcome


def add_note(error: BaseException, note: str, instead_of: str = "") -> None:
    """Add a note to an exception, once. If the exception has the note ``instead_of``, replace it.

    Before Python 3.11 exceptions have no notes. There the note becomes a warning in the log.
    """
    if sys.version_info >= (3, 11):
        notes: list[str] = getattr(error, "__notes__", [])
        kept = [each for each in notes if each not in (note, instead_of)]
        # A frozen dataclass may be an exception, too.
        vars(error)["__notes__"] = [*kept, note]
    else:
        _log.warning("%s: %s", type(error).__name__, note)
