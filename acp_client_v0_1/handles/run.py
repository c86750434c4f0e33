"""A run to hold: wait for it, follow it, answer it, cancel it, hand it to another process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import Self

from acp_client_v0_1._operation import identifier
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError
from acp_client_v0_1.handles._answering import (
    answer_run,
    checked_on_interrupt,
    outcome_of,
    question_of,
)
from acp_client_v0_1.handles._link import FINAL, RunLink
from acp_client_v0_1.handles._patience import Patience, checked_seconds
from acp_client_v0_1.handles._starting import (
    checked_client_token,
    find_by_token,
    look_for,
    server_of,
)
from acp_client_v0_1.handles._token import decode_token, is_token
from acp_client_v0_1.handles._tracing import awaited, in_run, keep_span
from acp_client_v0_1.handles.errors import (
    InterruptLimit,
    StaleInterrupt,
    TokenError,
)
from acp_client_v0_1.handles.events import RunEvent, RunEvents
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models.run_interrupt import RunInterrupt
from acp_client_v0_1.models.run_result import RunResult
from acp_client_v0_1.models.run_status import RunStatus

if TYPE_CHECKING:
    from uuid import UUID

    from acp_client_v0_1._http.observer import RunSpan
    from acp_client_v0_1.api_client import ApiClient
    from acp_client_v0_1.handles._schemas import Kept
    from acp_client_v0_1.models.agent_acp_descriptor import AgentACPDescriptor
    from acp_client_v0_1.models.run import Run
    from acp_client_v0_1.models.run_output import RunOutput

__all__ = ["RunHandle"]

OnPending = Callable[[float, RunStatus], object]


class RunHandle:
    """A run to hold. Making a handle attaches to the run, without I/O.

    Args:
        run_id: The run's id, a str or a `uuid.UUID`; `from_token` takes a token instead.
        api_client: What sends its requests; the default client if None.

    Raises:
        ApiTypeError: ``run_id`` is no str or UUID, or ``api_client`` not an ApiClient.
        ApiValueError: ``run_id`` is empty, a token, or no segment of a path.
    """

    _duplicates: tuple[str, ...] = ()

    def __init__(self, run_id: str | UUID, api_client: ApiClient | None = None) -> None:
        run_id = identifier("run_id", run_id)
        if is_token(run_id):
            raise ApiValueError("run_id is a token, not an id: use RunHandle.from_token(token)")
        self._link = RunLink(RunsApi(api_client), run_id)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._link.run_id

    @property
    def agent_id(self) -> str:
        """The id of the run's agent; "" if it is not known yet."""
        return self._link.agent_id

    @property
    def thread_id(self) -> str:
        """The id of the run's thread; "" if it has none, or it is not known yet."""
        return self._link.thread_id

    @property
    def client_token(self) -> str:
        """The mark that the run was created with; "" if it has none, or it is not known yet."""
        return self._link.client_token

    @property
    def run(self) -> Run | None:
        """What the server last said of the run, without asking; None if nothing yet."""
        return self._link.run

    @property
    def duplicates(self) -> tuple[str, ...]:
        """Ids of other runs with the same client token, made by somebody who repeated the create.

        The handle is of the oldest.
        """
        return self._duplicates

    # Attaching

    @classmethod
    def of(cls, run: Run, api_client: ApiClient | None = None) -> Self:
        """Attach to a run that is known already, as from `iter_runs`; no I/O.

        Args:
            run: The run.
            api_client: What sends its requests; the default client if None.

        Returns:
            The handle.
        """
        handle = cls(run.run_id, api_client)
        handle._link.note(run)
        return handle

    @classmethod
    def from_token(cls, token: str, api_client: ApiClient | None = None) -> Self:
        """Attach to the run of a token, as from `token` or an error's ``token``.

        No I/O, except for the token of a `RunStartAmbiguous`: its run is looked for, for up to 10
        seconds.

        Args:
            token: The text.
            api_client: A client of the token's server; the default client if None.

        Returns:
            The handle. Its `events` go on after the last event of the token.

        Raises:
            TokenError: It is no token, damaged, of a newer version, or of another server; nothing
                was sent.
            RunStartAmbiguous: There is no run id in it, and still no run with its client token.
        """
        known = decode_token(token)
        runs = RunsApi(api_client)
        server = server_of(runs.api_client)
        if known.server != server:
            raise TokenError(
                f"the token is of a run at {known.server}, and the client is of {server}: pass an "
                "ApiClient of the token's server"
            )
        if known.run:
            handle = cls(known.run, runs.api_client)
            handle._link = RunLink(runs, known.run, known)
            return handle
        return cls._of_all(look_for(runs, known), runs)

    @classmethod
    def find(
        cls,
        client_token: str,
        *,
        agent_id: str | None = None,
        api_client: ApiClient | None = None,
    ) -> Self | None:
        """Look for the run that was created with a client token; one search.

        Args:
            client_token: What `AgentHandle.start` was given, or the one of a `RunStartAmbiguous`.
            agent_id: The agent, which makes it quicker at servers that do not search by metadata.
            api_client: What searches; the default client if None.

        Returns:
            The handle of the oldest such run, its `duplicates` being the others; None if there is
            no such run.

        Raises:
            ApiException: The search failed.
            ApiTypeError: ``client_token`` is no str.
            ApiValueError: ``client_token`` is empty.
        """
        if not checked_client_token(client_token):
            raise ApiValueError("client_token must not be empty")
        runs = RunsApi(api_client)
        found = find_by_token(runs, client_token, agent_id)
        return cls._of_all(found, runs) if found else None

    def token(self) -> str:
        """Give the portable token of the run: a line of text that holds no secret.

        It says which server, run, agent, thread and client token, and which event of `events` was
        the last to be handed out; of an instrumented client, also the run's span. `from_token`
        takes it, in any process.
        """
        return self._link.token()

    @classmethod
    def _of_all(
        cls,
        made: list[Run],
        runs: RunsApi,
        *,
        started: bool = False,
        span: RunSpan | None = None,
        descriptor: Kept[AgentACPDescriptor] | None = None,
    ) -> Self:
        """Make a handle of the runs that one create has made, oldest first.

        Args:
            made: The runs.
            runs: The operations that reach them.
            started: They were created just now.
            span: The span of the first.
            descriptor: That of their agent, to be shared.
        """
        handle = object.__new__(cls)
        handle._link = link = RunLink(runs, made[0].run_id)
        link.note(made[0])
        link.agent_descriptor = descriptor
        if len(made) > 1:
            handle._duplicates = tuple(run.run_id for run in made[1:])
        if span is not None:
            keep_span(link, span)
        if started:
            link.note_started()
        return handle

    # Looking

    def refresh(self) -> Run:
        """Ask the server for the run, once.

        Returns:
            The run, which is `run` from now on.

        Raises:
            RunGone: The server does not know it.
            ApiException: The call failed.
        """
        return self._link.refresh()

    def done(self) -> bool:
        """Tell whether the run has ended, by one `refresh`; an interrupted one has not.

        Raises:
            RunGone: The server does not know it.
            ApiException: The call failed.
        """
        return self.refresh().status in FINAL

    def descriptor(self) -> AgentACPDescriptor:
        """Give the descriptor of the run's agent, which is kept for 300 seconds.

        Raises:
            RunGone: The server does not know the run.
            ApiException: The call failed.
        """
        return self._link.descriptor()

    # Waiting

    @awaited
    def output(
        self,
        timeout: float | None = None,
        *,
        on_pending: OnPending | None = None,
        stop: threading.Event | None = None,
    ) -> RunOutput:
        """Wait until the run has an output, as `wait_for_run_output` does.

        Args:
            timeout: Seconds to wait at most; 0 looks once; None waits as long as it takes, and
                five minutes of nothing but failures end it.
            on_pending: Called with the seconds elapsed and the run's status after each request
                that brought no output; what it raises ends the wait.
            stop: Ends the wait when set, within about a second.

        Returns:
            The output: a result, an interrupt or an error.

        Raises:
            RunGone: The server does not know the run.
            RunWaitTimeout: There was no output in time, or ``stop`` was set; the run goes on.
            ApiException: The server refused.
        """
        return self._link.output(timeout, on_pending, stop)

    @awaited
    def result(
        self,
        timeout: float | None = None,
        *,
        on_pending: OnPending | None = None,
        stop: threading.Event | None = None,
    ) -> dict[str, Any]:
        """Wait for the run's result.

        Args:
            timeout: Seconds to wait at most; 0 looks once; None waits as long as it takes.
            on_pending: Called with the seconds elapsed and the run's status after each request
                that brought no output.
            stop: Ends the wait when set, within about a second.

        Returns:
            The result, in the agent's own schema.

        Raises:
            RunFailed: The run ended in error; `RunTimedOut` if in timeout.
            RunInterrupted: The run asks something; the error has the question.
            RunGone: The server does not know the run.
            RunWaitTimeout: There was no output in time, or ``stop`` was set; the run goes on.
            ApiException: The server refused.
        """
        link, remaining = self._link, timeout
        began = time.monotonic() if timeout else 0.0
        while True:
            output = link.output(remaining, on_pending, stop)
            outcome = output.actual_instance
            if isinstance(outcome, RunResult):
                return outcome.result
            if timeout:
                remaining = max(0.001, timeout - (time.monotonic() - began))
            question = outcome_of(link, output, Patience.of(remaining))
            if isinstance(question, PendingInterrupt):
                raise link.interrupted(question)
            # Somebody has answered it meanwhile.

    def events(
        self,
        *,
        on_gap: Literal["raise", "mark"] = "raise",
        through_interrupts: bool = False,
        timeout: float | None = None,
        after: str | None = None,
    ) -> RunEvents:
        """Follow the run, over connections that break and servers that restart.

        Args:
            on_gap: "raise": a `StreamGap` where updates are lost, and the next ``next()`` goes on;
                "mark": the event after it has it as ``event.gap``.
            through_interrupts: Go on when somebody answers; else an interrupt ends the iteration.
            timeout: Seconds to wait for each event, None for as long as it takes.
            after: The id of the event to begin after; "" for the beginning; None for the
                beginning, or for where the token that the handle was made from stopped.

        Returns:
            An iterator and context manager over `RunEvent`. Each call gives an iteration of its
            own.

        Raises:
            ApiTypeError: ``timeout`` is not a number, or ``after`` not a str.
            ApiValueError: ``timeout`` is below 0, or there is no such ``on_gap``.
        """
        if on_gap not in ("raise", "mark"):
            raise ApiValueError(f'on_gap must be "raise" or "mark", not {on_gap!r}')
        if after is not None and not isinstance(after, str):
            raise ApiTypeError(f"after must be a str or None, not {type(after).__name__}")
        if after is None:
            known = self._link.known
            after = "" if known is None else known.last_event_id
        return RunEvents(
            self._link,
            raise_gaps=on_gap == "raise",
            through_interrupts=through_interrupts,
            timeout=checked_seconds(timeout),
            after=after,
        )

    # Answering

    def interrupts(self, timeout: float | None = None) -> Iterator[PendingInterrupt]:
        """Iterate over the questions of the run until it has ended; answer each before the next.

        Args:
            timeout: Seconds to wait for each output, never for your answer; None for as long as it
                takes.

        Returns:
            An iterator over the questions. A run that failed ends it, too: `result` says so.

        Raises:
            RunInterrupted: By ``next()``: the question before was not answered.
            RunGone: By ``next()``: the server does not know the run.
            RunWaitTimeout: By ``next()``: there was no output in time; the run goes on.
            ApiTypeError: ``timeout`` is not a number.
            ApiValueError: ``timeout`` is below 0.
        """
        checked_seconds(timeout)
        return self._interrupts(timeout)

    def _interrupts(self, timeout: float | None) -> Iterator[PendingInterrupt]:
        link = self._link
        last: PendingInterrupt | None = None
        while True:
            with in_run(link, waits=True):
                output = link.output(timeout).actual_instance
            if not isinstance(output, RunInterrupt):
                return
            question = question_of(link, Patience.of(timeout))
            if question is None:
                continue  # somebody has answered it meanwhile
            if question == last and link.answered != last:
                raise link.interrupted(question, " and was not answered before the next question")
            last = question
            yield question

    @awaited
    def drive(
        self,
        on_interrupt: Callable[[PendingInterrupt], Mapping[str, Any] | None],
        *,
        on_event: Callable[[RunEvent], object] | None = None,
        timeout: float | None = None,
        max_interrupts: int = 1000,
    ) -> dict[str, Any]:
        """Answer each question of the run by a callback, until the run has its result.

        Args:
            on_interrupt: Called with each question; gives the answer, a JSON object, or None to
                stop. What it raises ends the call; the run stays interrupted.
            on_event: Called with each event of the run's stream, gaps marked.
            timeout: Seconds to wait for each output, or event, of the server; never for the
                callback. None for as long as it takes.
            max_interrupts: The most questions to answer.

        Returns:
            The result, in the agent's own schema.

        Raises:
            RunFailed: The run ended in error; `RunTimedOut` if in timeout.
            RunInterrupted: ``on_interrupt`` gave None.
            InterruptLimit: The run asked once more.
            ResumeAmbiguous: Two responses to an answer were lost, and the run has not moved.
            RunGone: The server does not know the run.
            RunWaitTimeout: There was no output in time; the run goes on.
            ApiTypeError: ``on_interrupt`` cannot be called.
            ApiException: The server refused.
        """
        checked_seconds(timeout)
        checked_on_interrupt(on_interrupt, optional=False)
        link, answered = self._link, 0
        outcome: dict[str, Any] | PendingInterrupt | None
        with self.events(on_gap="mark", timeout=timeout) as events:
            while True:
                if on_event is not None:
                    for event in events._stretch():  # pyright: ignore[reportPrivateUsage]
                        on_event(event)
                if events.ended_by == RunStatus.INTERRUPTED.value:
                    outcome = question_of(link, Patience.of(timeout))
                else:
                    outcome = outcome_of(link, link.output(timeout), Patience.of(timeout))
                if outcome is None:
                    continue  # somebody has answered the question meanwhile
                if not isinstance(outcome, PendingInterrupt):
                    return outcome
                if answered >= max_interrupts:
                    raise InterruptLimit(
                        run_id=self.run_id, token=self.token(), limit=max_interrupts
                    )
                answered += self._answer(outcome, on_interrupt(outcome), timeout)

    def _answer(
        self, question: PendingInterrupt, body: Mapping[str, Any] | None, timeout: float | None
    ) -> bool:
        """Answer a question of `drive`; False if somebody was quicker, and it has to ask anew."""
        if body is None:
            raise self._link.interrupted(question, ", and on_interrupt gave None")
        try:
            self.resume(body, to=question, timeout=timeout)
        except StaleInterrupt:
            return False
        return True

    def resume(
        self,
        body: Mapping[str, Any],
        *,
        to: PendingInterrupt | None = None,
        timeout: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Answer the run's question.

        The question is compared before the answer is sent; ACP 0.1 leaves a window of one round
        trip in between, in which another process may answer first.

        Args:
            body: The answer, a JSON object in the agent's schema for the question.
            to: The question that it is for; None for the one that is open now.
            timeout: Seconds to wait for the server; None for five minutes of failures.
            stop: Ends the waiting when set.

        Raises:
            StaleInterrupt: The run does not ask this any more; the answer was not used.
            ResumeAmbiguous: Two responses were lost, and the run has not moved.
            RunGone: The server does not know the run.
            RunWaitTimeout: The time is over, and the answer was not used.
            ApiException: The server refused the answer.
            ApiTypeError: ``body`` is not a mapping.
        """
        answer_run(self._link, body, to, Patience.of(checked_seconds(timeout), stop))

    # Ending

    def cancel(self) -> bool:
        """End the run if it has not ended yet, by the only means of ACP 0.1, which deletes it.

        A run that ends in the round trip between the look and the DELETE loses its output.

        Returns:
            True if the run was ended; False if it had ended before.

        Raises:
            RunGone: The server does not know the run.
            ApiException: The server refused, or could not be reached for five minutes.
        """
        return self._link.cancel(Patience(None))

    def delete(self) -> None:
        """Make the server forget the run, whatever its status; one that is gone is fine.

        Raises:
            ApiException: The server refused, or could not be reached for five minutes.
        """
        self._link.delete(Patience(None))

    def __repr__(self) -> str:
        link = self._link
        status = "not asked yet" if link.run is None else link.run.status.value
        agent = f" of agent {link.agent_id}" if link.agent_id else ""
        return f"<RunHandle {link.run_id}{agent}: {status}>"
