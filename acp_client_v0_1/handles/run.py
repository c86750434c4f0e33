"""The handle of a run: wait for the run, follow, answer or cancel it, or pass it on."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from typing_extensions import Self

from acp_client_v0_1._arguments import UUID_FORM, check_arguments, refuse_token
from acp_client_v0_1._names import our_names
from acp_client_v0_1._operation import identifier
from acp_client_v0_1._text import short
from acp_client_v0_1.api import AgentsApi, RunsApi
from acp_client_v0_1.configuration._checks import NoSettings
from acp_client_v0_1.exceptions import ApiException, ApiValueError
from acp_client_v0_1.handles._answering import Interrupts, Questions, answer_run, result_of
from acp_client_v0_1.handles._core import OnPending, RunCore, handle_of, typed_result
from acp_client_v0_1.handles._create import Create
from acp_client_v0_1.handles._known import received_id
from acp_client_v0_1.handles._lookup import explain_id
from acp_client_v0_1.handles._marks import CLIENT_TOKEN_KEY, CREATE_KEY
from acp_client_v0_1.handles._polls import Polls
from acp_client_v0_1.handles._rules import BESIDE, settled
from acp_client_v0_1.handles._token import decode_token, server_of
from acp_client_v0_1.handles._typed import JsonType, Out
from acp_client_v0_1.handles._wait import Contact, Wait
from acp_client_v0_1.handles.errors import RunFailed, TokenError
from acp_client_v0_1.handles.events import RunEvent, RunEvents
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models import Run, RunCreate, RunError, RunOutput, RunStatus

if TYPE_CHECKING:
    from uuid import UUID

    from acp_client_v0_1.api_client import ApiClient
    from acp_client_v0_1.models.agent_acp_descriptor import AgentACPDescriptor

__all__ = ["RunHandle"]

O = TypeVar("O")  # noqa: E741 - the type that `RunHandle.typed` is given


@our_names
class RunHandle(NoSettings, Generic[Out]):
    """The handle of a run. Making a handle attaches to the run, without I/O.

    A handle keeps the result of its run once `result`, `output`, `drive` or the polling of `events`
    has received it. Then `result`, `output` and `done` send nothing, and need no server. Each call
    gives a copy of its own. If the result came only as the last event of a stream, the server is
    asked once, and the result counts if the server has no output. The handle needs the memory of
    the result's text, also when it is pickled. Only the result of a run that has succeeded is kept:
    a server may try a run again that has failed, and a question may get its answer from somebody
    else. `delete`, or a `refresh` that shows another end or a question, drops the result.

    A note of each exception that ends a call names the run, and an `ApiException` has the run's
    ``run_id`` and ``token``. Before Python 3.11, a warning in the log has the note of any other
    exception.

    Args:
        run_id: The run's id, a str or a `uuid.UUID`; `from_token` takes a token instead.
        api_client: Client to use; the shared default client if None.

    Raises:
        ApiTypeError: ``run_id`` is not a str or UUID, or ``api_client`` not an ApiClient.
        ApiValueError: ``run_id`` is empty, a token, or not a segment of a path.
    """

    _result_type: JsonType | None = None

    def __init__(self, run_id: str | UUID, api_client: ApiClient | None = None) -> None:
        # A shell adds a line feed to what it reads from a file or a command.
        run_id = run_id.strip() if isinstance(run_id, str) else run_id
        self._core = RunCore(RunsApi(api_client), identifier("run_id", run_id))

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._core.run_id

    @property
    def agent_id(self) -> str | None:
        """The id of the run's agent, once known."""
        return self._core.agent_id

    @property
    def thread_id(self) -> str | None:
        """The id of the run's thread, if it has one, once known."""
        return self._core.thread_id

    @property
    def client_token(self) -> str | None:
        """The client token that the run was created with, if it has one, once known."""
        return self._core.client_token

    @property
    def run(self) -> Run | None:
        """A copy of the run as last described, with the last known `status`; no I/O."""
        run = self._core.run
        return run and run.model_copy(deep=True)

    @property
    def status(self) -> RunStatus | None:
        """The run's last known status; no I/O."""
        return self._core.status

    @property
    def duplicates(self) -> tuple[str, ...]:
        """The ids of newer runs with the same client token, if there are any.

        If a create was posted twice, there may be two runs. Then the handle is of the older run,
        and `duplicates` has the id of the newer run.
        """
        return self._core.duplicates

    # Attaching

    @classmethod
    def of(cls, run: Run, api_client: ApiClient | None = None) -> Self:
        """Return the handle of a run that was read before, for example by `iter_runs`; no I/O.

        Args:
            run: The run.
            api_client: Client to use; the shared default client if None.

        Raises:
            ApiTypeError: ``run`` is not a Run; for an id, use ``RunHandle(run_id)``.
            ResponseValidationError: The server gave the run an id that cannot be a segment of a
                path.
        """
        check_arguments("run", run=run)
        handle = cls(received_id("run_id", run), api_client)
        handle._core.note(run.model_copy(deep=True))
        return handle

    @classmethod
    def from_token(
        cls, token: str, api_client: ApiClient | None = None, *, timeout: float | None = None
    ) -> Self:
        """Return the handle of the run that a portable token names.

        There is no I/O, with one exception: the token of a `RunStartAmbiguous` has no run id, so
        its run is searched for, for up to 10 seconds. The handle's `events` begin after the last
        event that the token names.

        Example:
            >>> token = counter.start({"count": 2}).token()
            >>> RunHandle.from_token(token, client).result(timeout=60)
            {'count': 2, 'of': 2}

        Args:
            token: The text that `token`, or the ``token`` of an error, gave.
            api_client: A client of the token's server; the default client if None.
            timeout: Seconds for the search, to make it shorter than 10 seconds. With 0, there is no
                search.

        Raises:
            TokenError: The text is not a token, is damaged, or is a token of another version or of
                another server; nothing was sent.
            RunStartAmbiguous: The token has no run id, and no run with its client token was found,
                or the search failed.
            UnauthorizedException, ForbiddenException: The token has no run id, and the server
                denied the search.
            NotFoundException: The token has no run id, and the server does not know its agent. So
                no run was made.
            ApiTypeError: ``timeout`` is not a number.
            ApiValueError: ``timeout`` is below 0.
        """
        check_arguments(timeout=timeout)
        known = decode_token(token)
        runs = RunsApi(api_client)
        server = server_of(runs.api_client)
        if known.server != server:
            raise TokenError(
                f"the token is of a run at {short(known.server)}, and host (ACP_HOST) is {server}",
                hint="pass an ApiClient of the token's server",
            )
        if known.run:
            handle = cls(known.run, runs.api_client)
            handle._core.note_token(known)
            return handle
        contact = Contact.of(runs)
        marks = {CLIENT_TOKEN_KEY: known.client_token, CREATE_KEY: known.create_mark}
        marked = RunCreate(agent_id=known.agent, metadata=marks)
        found = settled(Create(marked, Wait(contact, timeout), since=-math.inf).search)
        core = RunCore.of_runs(runs, found, contact)
        core.note_token(known)
        return handle_of(cls, core)

    @classmethod
    def find(
        cls, client_token: str, api_client: ApiClient | None = None, *, agent_id: str | None = None
    ) -> Self | None:
        """Search once for the run with a client token, and return its handle, or None.

        If there is no run, and ``agent_id`` is no UUID, the agent is read as well: its name would
        find no run, and look as if there was none.

        If several runs have the client token, the handle is of the oldest, and its `duplicates`
        names the others.

        Args:
            client_token: The client token that `AgentHandle.start` was given, or that an error has.
            api_client: Client to use; the shared default client if None.
            agent_id: The agent's id. Only runs of this agent are found. If the server does not
                search by metadata, the search is quicker with the id.

        Raises:
            NotFoundException: The server has no agent with this ``agent_id``.
            ApiException: The search failed.
            ApiTypeError: ``client_token`` or ``agent_id`` is not a str.
            ApiValueError: ``client_token`` or ``agent_id`` is empty, or ``client_token`` is the
                token of a run.
        """
        check_arguments("client_token", client_token=client_token)
        refuse_token("client_token", client_token)
        agent_id = None if agent_id is None else identifier("agent_id", agent_id)
        runs = RunsApi(api_client)
        # These requests have the client's own retries.
        wait = Wait(Contact.of(runs)._replace(runs=runs), caller=BESIDE)
        marked = RunCreate(agent_id=agent_id or "", metadata={CLIENT_TOKEN_KEY: client_token})
        found = settled(Create(marked, wait).find)
        if not found and agent_id is not None and not UUID_FORM.fullmatch(agent_id):
            try:
                AgentsApi(runs.api_client).get_agent_by_id(agent_id)
            except ApiException as error:
                # No other failure shows whether the server has the agent.
                if explain_id(agent_id, error):
                    raise
        return handle_of(cls, RunCore.of_runs(runs, found)) if found else None

    def token(self) -> str:
        """Return the portable token of the run, which `from_token` takes in any process.

        The token is a line of text without any secret. It has the server, run, agent, thread and
        client token, and the id of the last event that `events` handed out. If the client is
        instrumented, the token has the trace context as well. In the first two seconds after the
        create, it also has the time of the create.
        """
        return self._core.token()

    @overload
    def typed(self, result: type[O]) -> RunHandle[O]: ...
    @overload
    def typed(self, result: None) -> RunHandle: ...
    @overload
    def typed(self, result: Any) -> RunHandle[Any]: ...
    def typed(self, result: Any) -> RunHandle[Any]:
        """Return a handle of the same run, whose `result` and `drive` give a value of a type.

        Example:
            >>> class Counted(pydantic.BaseModel):
            ...     count: int
            >>> counter.start({"count": 3}).typed(Counted).result(timeout=60)
            Counted(count=3)

        Args:
            result: The type of the result: what pydantic's ``TypeAdapter`` takes. None gives a
                handle without a type.

        Raises:
            ApiTypeError: ``result`` is no type that pydantic can validate by.
        """
        kind = None if result is None else JsonType("result", result)
        return handle_of(type(self), self._core, kind)

    # Reading

    def refresh(self) -> Run:
        """Ask the server for the run once. Return a copy of it, and keep it as `run`.

        Raises:
            RunGone: The server does not know the run.
            ApiException: The call failed.
        """
        return self._core.refresh().model_copy(deep=True)

    def done(self) -> bool:
        """Return whether the run has ended, by one `refresh` of at most 10 seconds.

        An interrupted run has not ended. If the handle has the result, nothing is sent. If the
        server gives the run no status, a failure that `result` has raised counts.

        Raises:
            RunGone: The server does not know the run.
            RunWaitTimeout: The server did not respond in time.
            ApiException: The call failed.
        """
        return self._core.done()

    def descriptor(self) -> AgentACPDescriptor:
        """Return a copy of the descriptor of the run's agent, which is kept for 300 seconds.

        Raises:
            RunGone: The server does not know the run.
            ApiException: The call failed.
        """
        return self._core.descriptor()

    def failure(self) -> RunFailed | None:
        """Return the error of the run if it has failed, or None.

        The run is read first, unless its last known status is final: ``success``, ``error`` or
        ``timeout``. If the status is ``error`` or ``timeout``, there are two more requests.

        This is a list of all runs of a client that have failed::

            handles = (RunHandle.of(run, client) for run in iter_runs(RunsApi(client)))
            failed = [handle for handle in handles if handle.failure()]

        Raises:
            RunGone: The server does not know the run.
            ApiException: The call failed.
        """
        core = self._core
        status = core.status if core.has_ended else core.refresh().status
        if status not in (RunStatus.ERROR, RunStatus.TIMEOUT):
            return None
        output = core.named(Polls(core, core.wait(0)).output).actual_instance
        return core.failed(output, core.wait(0)) if isinstance(output, RunError) else None

    # Waiting

    def output(
        self,
        timeout: float | None = None,
        *,
        on_pending: OnPending | None = None,
        every: float = 30,
        stop: threading.Event | None = None,
    ) -> RunOutput:
        """Wait for an output, and return it: a result, an interrupt or an error.

        A result that the handle has is returned at once.

        Args:
            timeout: Seconds to wait at most; 0 asks once. By default there is no limit, but the
                wait ends if all requests have failed for five minutes.
            on_pending: Called with the seconds elapsed and the run's status, after each request
                that brought no output, and every ``every`` seconds during a request or a pause.
                What it raises ends the wait. With a ``timeout`` of 0, it is called only if the
                request fails, or takes longer than ``every``.
            every: Seconds, at least 0.001. While a request still waits for a connection,
                ``on_pending`` is not called.
            stop: Ends the wait when set, within about a second. But if a request still waits for a
                connection, the wait ends once the request has a connection, or has failed.

        Raises:
            RunGone: The server does not know the run.
            RunWaitTimeout: There was no output in time, or ``stop`` was set. The run may still
                continue.
            ApiException: The server refused.
        """
        check_arguments("every", timeout=timeout, on_pending=on_pending, every=every, stop=stop)
        core = self._core
        wait = core.wait(timeout, stop, on_pending=on_pending, every=every)
        return core.in_span(Polls(core, wait).output)

    def result(
        self,
        timeout: float | None = None,
        *,
        on_pending: OnPending | None = None,
        every: float = 30,
        stop: threading.Event | None = None,
    ) -> Out:
        """Wait for the run's result and return it, in the agent's own schema.

        A result that the handle has is returned at once.

        Example:
            >>> run = counter.start({"count": 3})
            >>> run.result(timeout=60)
            {'count': 3, 'of': 3}

        Args:
            timeout: Seconds to wait at most; 0 asks once. By default there is no limit.
            on_pending: Called as `output` calls it.
            every: Seconds between two calls of ``on_pending``, as for `output`.
            stop: Ends the wait when set, as for `output`.

        Raises:
            RunFailed: The run ended in error; `RunTimedOut` if in timeout.
            RunInterrupted: The run asks something; the error has the question.
            RunGone: The server does not know the run.
            RunWaitTimeout: There was no output in time, or ``stop`` was set. The run may still
                continue.
            ResultMismatch: The result does not fit the type that `typed` was given.
            ApiException: The server refused.
        """
        check_arguments("every", timeout=timeout, on_pending=on_pending, every=every, stop=stop)
        core = self._core
        wait = core.wait(timeout, stop, on_pending=on_pending, every=every)
        result: Any = core.in_span(result_of, core, wait)
        kind = self._result_type
        typed: Out = result if kind is None else typed_result(core, result, kind)
        return typed

    def events(
        self,
        *,
        on_gap: Literal["raise", "mark"] = "raise",
        through_interrupts: bool = False,
        timeout: float | None = None,
        after: str | None = None,
    ) -> RunEvents:
        """Return a `RunEvents`: an iterator over the run's events, and a context manager.

        The iterator survives connections that break and servers that restart. Each call returns
        another iterator.

        Example:
            >>> for event in counter.start({"count": 2}, streaming="custom").events():
            ...     print(event.update)
            {'count': 1, 'of': 2}
            {'count': 2, 'of': 2}

        Args:
            on_gap: What to do where updates are lost, or may be. "raise" raises a `StreamGap`,
                unless its kind is "unknown", and the next ``next()`` continues. "mark" raises none.
                The event after a gap has the `StreamGap` as ``event.gap`` in any case. But if this
                event cannot be decoded, its `StreamDecodeError` is raised instead of the gap. Then
                only `RunEvents.gaps` and `RunEvents.complete` show the gap.
            through_interrupts: Wait until another caller answers an interrupt, and continue.
                Otherwise an interrupt ends the iteration.
            timeout: Seconds to wait for each event, never for an answer to an interrupt; 0 takes
                what has arrived. By default there is no limit.
            after: The id of the event to begin after; "" begins at the first event. By default,
                this is the last event of the token that the handle was made from, if any.

        Raises:
            ApiTypeError: ``timeout`` is not a number, or ``after`` not a str.
            ApiValueError: ``timeout`` is below 0, or ``on_gap`` is neither "raise" nor "mark".
        """
        check_arguments("on_gap", on_gap=on_gap, through_interrupts=through_interrupts)
        check_arguments(timeout=timeout, after=after)
        refuse_token("after", after or "")
        return RunEvents(
            self._core,
            raise_gaps=on_gap == "raise",
            through_interrupts=through_interrupts,
            timeout=timeout,
            after=after,
        )

    # Answering

    def interrupts(self, timeout: float | None = None) -> Iterator[PendingInterrupt]:
        """Return an iterator over the run's questions. Answer each before the next ``next()``.

        The iteration ends when the run ends. If the run has failed, `result` raises the error of
        the run. The ``next()`` of the iterator raises the first four errors below. This method
        raises the others.

        Args:
            timeout: Seconds to wait for each output, never for your answer. By default there is no
                limit.

        Raises:
            RunInterrupted: The last question was not answered here, and the run asks it again.
            RunGone: The server does not know the run.
            RunWaitTimeout: There was no output in time. The run may still continue.
            ApiException: The server refused.
            ApiTypeError: ``timeout`` is not a number.
            ApiValueError: ``timeout`` is below 0.
        """
        check_arguments(timeout=timeout)
        return Interrupts(self._core, timeout)

    def drive(
        self,
        on_interrupt: Callable[[PendingInterrupt], Mapping[str, Any] | None],
        *,
        on_event: Callable[[RunEvent], object] | None = None,
        timeout: float | None = None,
        max_interrupts: int = 1000,
    ) -> Out:
        """Answer each question of the run by a callback, and return the run's result.

        Example:
            >>> run = approval.start({"action": "deploy"})
            >>> run.drive(lambda question: {"approved": True}, timeout=60)["approved"]
            True

        Args:
            on_interrupt: Called with each question; returns the answer, a JSON object, or None to
                stop. If it calls ``question.answer`` by itself, None does not stop. What it raises
                ends the call; the run stays interrupted.
            on_event: Called with each event of the run's stream. An event after a gap has the gap
                as ``event.gap``. Each call of `drive` begins at the first event, or after the last
                event of the token that the handle was made from. So after an error, a second call
                repeats the earlier events. To continue after the last event instead, call `drive`
                of ``RunHandle.from_token(run.token(), client)``.
            timeout: Seconds to wait for each output or event, never for the callbacks. All answers
                to one question share it, if they come too late. By default there is no limit.
            max_interrupts: The most questions to answer.

        Raises:
            RunFailed: The run ended in error; `RunTimedOut` if in timeout.
            RunInterrupted: ``on_interrupt`` returned None.
            InterruptLimit: The run asked more than ``max_interrupts`` questions.
            ResumeAmbiguous: Responses were lost, so an answer may or may not have arrived.
            RunGone: The server does not know the run.
            RunWaitTimeout: There was no output in time. The run may still continue.
            ResultMismatch: The result does not fit the type that `typed` was given.
            ApiTypeError: A callback cannot be called with its one argument.
            ApiException: The server refused.
        """
        check_arguments("on_interrupt", on_interrupt=on_interrupt, on_event=on_event)
        check_arguments("max_interrupts", max_interrupts=max_interrupts, timeout=timeout)
        core = self._core
        questions = Questions(core, on_interrupt, timeout, most=max_interrupts)

        def drive() -> dict[str, Any]:
            if on_event is not None:
                answer = questions.answer_open
                with RunEvents(
                    core, raise_gaps=False, through_interrupts=answer, timeout=timeout
                ) as events:
                    for event in events:
                        on_event(event)
            return questions.result()

        typed: Out = typed_result(core, core.in_span(drive), self._result_type)
        return typed

    def resume(
        self,
        body: Mapping[str, Any],
        *,
        to: PendingInterrupt | None = None,
        timeout: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Answer the run's question.

        Before the answer is sent, the open question is read and compared with ``to``. ACP 0.1 does
        not prevent another process from answering between this comparison and the arrival of the
        answer.

        Args:
            body: The answer, a JSON object in the agent's schema for the question.
            to: The question to answer. By default this is the question that is open now.
            timeout: Seconds to wait for the server. By default there is no limit, but the wait ends
                if all requests have failed for five minutes.
            stop: Ends the waiting when set.

        Raises:
            StaleInterrupt: The question is not open any more, or was answered already; the answer
                was not used.
            RunInterrupted: The question was answered more than 300 seconds ago, and is still open.
                The next call sends an answer.
            ResumeAmbiguous: Responses were lost, so the answer may or may not have arrived.
            RunGone: The server does not know the run.
            RunWaitTimeout: The time is over: the answer was not used. Or ``stop`` was set: the
                answer may have been used.
            ApiException: The server refused the answer.
            ApiTypeError: ``body`` is not a mapping, or ``to`` not a `PendingInterrupt`.
            ApiValueError: ``to`` is a question of another run.
        """
        check_arguments(to=to, timeout=timeout, stop=stop)
        if to is not None and to.run_id != self.run_id:
            here = short(self.run_id)
            raise ApiValueError(f"to is a question of run {short(to.run_id)}, not of run {here}")
        wait = self._core.wait(timeout, stop, what="was not answered")
        self._core.named(answer_run, self._core, body, to, wait)

    # Ending

    def cancel(self) -> bool:
        """End the run by deleting it. Return False if the run has ended already.

        ACP 0.1 has no other way to end a run. A run that has ended is kept: the status is read by a
        GET before the DELETE. If the run ends between these two requests, it is deleted, and its
        output is lost.

        Raises:
            RunGone: The server does not know the run.
            ApiException: The server refused, or could not be reached for five minutes. If this
                client has never reached the server, the error comes after a few retries.
        """
        return self._core.named(self._core.cancel, self._core.wait(what="was not deleted"))

    def delete(self) -> None:
        """Delete the run, whatever its status.

        If this handle has seen the run before, a 404 shows that the run is gone already. Then this
        method returns without an error.

        Raises:
            RunGone: The server does not know the run, and this handle has never seen it.
            ApiException: The server refused, or could not be reached for five minutes. If this
                client has never reached the server, the error comes after a few retries.
        """
        self._core.named(self._core.delete, self._core.wait(what="was not deleted"))

    def __repr__(self) -> str:
        status = "not read yet" if self.status is None else self.status.value
        name = self._core.agent_name or self.agent_id
        agent = f" of agent {short(name)}" if name else ""
        return f"<RunHandle {short(self.run_id)}{agent}: {short(status)}>"
