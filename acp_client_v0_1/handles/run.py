"""A run to hold: wait for it, follow it, answer it, cancel it, pass it to another process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import Self

from acp_client_v0_1._operation import identifier
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError
from acp_client_v0_1.handles._answering import answer_run, checked_on_interrupt, outcome_of
from acp_client_v0_1.handles._link import FINAL, RunLink
from acp_client_v0_1.handles._patience import Patience, checked_seconds
from acp_client_v0_1.handles._starting import (
    checked_client_token,
    find_by_token,
    look_for,
    server_of,
)
from acp_client_v0_1.handles._token import decode_token, is_token
from acp_client_v0_1.handles._tracing import awaited, in_run
from acp_client_v0_1.handles.errors import InterruptLimit, StaleInterrupt, TokenError
from acp_client_v0_1.handles.events import RunEvent, RunEvents
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models.run_interrupt import RunInterrupt
from acp_client_v0_1.models.run_result import RunResult
from acp_client_v0_1.models.run_status import RunStatus

if TYPE_CHECKING:
    from uuid import UUID

    from acp_client_v0_1.api_client import ApiClient
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
        ApiTypeError: ``run_id`` is not a str or UUID, or ``api_client`` not an ApiClient.
        ApiValueError: ``run_id`` is empty, a token, or not a segment of a path.
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
        """Ids of newer runs with the same client token, from creates that others repeated."""
        return self._duplicates

    # Attaching

    @classmethod
    def of(cls, run: Run, api_client: ApiClient | None = None) -> Self:
        """Return the handle of a run that was read already, as by `iter_runs`; no I/O.

        Args:
            run: The run.
            api_client: What sends its requests; the default client if None.
        """
        handle = cls(run.run_id, api_client)
        handle._link.note(run)
        return handle

    @classmethod
    def from_token(cls, token: str, api_client: ApiClient | None = None) -> Self:
        """Return the handle of the run of a token, which `token` or an error's ``token`` gave.

        There is no I/O, except for the token of a `RunStartAmbiguous`, whose run is searched for
        up to 10 seconds. The handle's `events` go on after the last event of the token.

        Args:
            token: The text.
            api_client: A client of the token's server; the default client if None.

        Raises:
            TokenError: The text is not a token, is damaged, of a newer version or of another
                server; nothing was sent.
            RunStartAmbiguous: The token has no run id, and there is still no run with its client
                token.
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
            link = handle._link
            link.known, link.last_event_id = known, known.last_event_id
            link.traceparent = known.traceparent
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
        """Search once for the run with a client token; return its handle, None if there is none.

        Of several runs it is the oldest, and `duplicates` names the others.

        Args:
            client_token: What `AgentHandle.start` was given, or the one of a `RunStartAmbiguous`.
            agent_id: The agent, which makes the search quicker if the server does not search by
                metadata.
            api_client: What searches; the default client if None.

        Raises:
            ApiException: The search failed.
            ApiTypeError: ``client_token`` is not a str.
            ApiValueError: ``client_token`` is empty.
        """
        if not checked_client_token(client_token):
            raise ApiValueError("client_token must not be empty")
        runs = RunsApi(api_client)
        found = find_by_token(runs, client_token, agent_id)
        return cls._of_all(found, runs) if found else None

    def token(self) -> str:
        """Return the portable token of the run, which `from_token` takes in any process.

        It is a line of text without any secret. It has the server, run, agent, thread and client
        token, the id of the last event that `events` gave, and the span if the client is
        instrumented.
        """
        return self._link.token()

    @classmethod
    def _of_all(cls, made: list[Run], runs: RunsApi) -> Self:
        """Return the handle of the first of the runs that have one client token, oldest first."""
        handle = object.__new__(cls)
        handle._link = RunLink(runs, made[0].run_id)
        handle._link.note(made[0])
        if len(made) > 1:
            handle._duplicates = tuple(run.run_id for run in made[1:])
        return handle

    # Looking

    def refresh(self) -> Run:
        """Ask the server for the run once, and return it; it is `run` from now on.

        Raises:
            RunGone: The server does not know it.
            ApiException: The call failed.
        """
        return self._link.refresh()

    def done(self) -> bool:
        """Return whether the run has ended, by one `refresh`; an interrupted run has not.

        Raises:
            RunGone: The server does not know it.
            ApiException: The call failed.
        """
        return self.refresh().status in FINAL

    def descriptor(self) -> AgentACPDescriptor:
        """Return the descriptor of the run's agent, which is kept for 300 seconds.

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
        """Wait for an output as `wait_for_run_output` does: return a result, interrupt or error.

        Args:
            timeout: Seconds to wait at most; 0 looks once; None waits as long as it takes, but not
                for more than five minutes of failures alone.
            on_pending: Called with the seconds elapsed and the run's status after each request
                that brought no output; what it raises ends the wait.
            stop: Ends the wait when set, within about a second.

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
        """Wait for the run's result and return it, in the agent's own schema.

        Args:
            timeout: Seconds to wait at most; 0 looks once; None waits as long as it takes.
            on_pending: Called as by `output`.
            stop: Ends the wait when set, within about a second.

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
            question = outcome_of(link, output, Patience.of(remaining, stop))
            if isinstance(question, PendingInterrupt):
                raise link.interrupted(question)
            # The question was answered by now.

    def events(
        self,
        *,
        on_gap: Literal["raise", "mark"] = "raise",
        through_interrupts: bool = False,
        timeout: float | None = None,
        after: str | None = None,
    ) -> RunEvents:
        """Return an iterator over the run's `RunEvent`, which is a context manager as well.

        It goes on over connections that break and servers that restart. Each call returns another
        iterator.

        Args:
            on_gap: "raise" a `StreamGap` where updates are lost, after which ``next()`` goes on, or
                "mark" the next event with it, as ``event.gap``.
            through_interrupts: Wait until another caller answers an interrupt, and go on;
                otherwise it ends the iteration.
            timeout: Seconds to wait for each event, never for an answer to an interrupt; 0 takes
                what has arrived; None waits as long as it takes.
            after: The id of the event to begin after; "" for the beginning; None for the
                beginning, or for the last event of the token that the handle was made from.

        Raises:
            ApiTypeError: ``timeout`` is not a number, or ``after`` not a str.
            ApiValueError: ``timeout`` is below 0, or ``on_gap`` is neither "raise" nor "mark".
        """
        if on_gap not in ("raise", "mark"):
            raise ApiValueError(f'on_gap must be "raise" or "mark", not {on_gap!r}')
        if after is not None and not isinstance(after, str):
            raise ApiTypeError(f"after must be a str or None, not {type(after).__name__}")
        return RunEvents(
            self._link,
            raise_gaps=on_gap == "raise",
            through_interrupts=through_interrupts,
            timeout=checked_seconds(timeout),
            after=self._link.known.last_event_id if after is None else after,
        )

    # Answering

    def interrupts(self, timeout: float | None = None) -> Iterator[PendingInterrupt]:
        """Return an iterator over the run's questions; answer each before the next.

        It ends with the run, also if that failed: `result` says how. Its ``next()`` raises the
        first three errors.

        Args:
            timeout: Seconds to wait for each output, never for your answer; None for as long as it
                takes.

        Raises:
            RunInterrupted: The last question was not answered.
            RunGone: The server does not know the run.
            RunWaitTimeout: There was no output in time; the run goes on.
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
                output = link.output(timeout)
            if not isinstance(output.actual_instance, RunInterrupt):
                return
            question = outcome_of(link, output, Patience.of(timeout))
            if not isinstance(question, PendingInterrupt):
                continue  # it was answered by now
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
        """Answer each question of the run by a callback, and return the run's result.

        Args:
            on_interrupt: Called with each question; returns the answer, a JSON object, or None to
                stop. What it raises ends the call; the run stays interrupted.
            on_event: Called with each event of the run's stream, gaps marked.
            timeout: Seconds to wait for each output, or event, of the server; never for the
                callback. None for as long as it takes.
            max_interrupts: The most questions to answer.

        Raises:
            RunFailed: The run ended in error; `RunTimedOut` if in timeout.
            RunInterrupted: ``on_interrupt`` returned None.
            InterruptLimit: The run asked more than ``max_interrupts`` questions.
            ResumeAmbiguous: Two responses to an answer were lost, and the run has not moved.
            RunGone: The server does not know the run.
            RunWaitTimeout: There was no output in time; the run goes on.
            ApiTypeError: ``on_interrupt`` cannot be called.
            ApiException: The server refused.
        """
        checked_on_interrupt(on_interrupt, optional=False)
        link, answered = self._link, 0
        with self.events(on_gap="mark", timeout=timeout) as events:
            while True:
                if on_event is not None:
                    for event in events._stretch():  # pyright: ignore[reportPrivateUsage]
                        on_event(event)
                asks = events.ended_by == RunStatus.INTERRUPTED.value
                output = None if asks else link.output(timeout)
                outcome = outcome_of(link, output, Patience.of(timeout))
                if outcome is None:
                    continue  # the question was answered by now
                if not isinstance(outcome, PendingInterrupt):
                    return outcome
                if answered >= max_interrupts:
                    raise InterruptLimit(
                        run_id=self.run_id, token=self.token(), limit=max_interrupts
                    )
                body = on_interrupt(outcome)
                if body is None:
                    raise link.interrupted(outcome, ", and on_interrupt gave None")
                with suppress(StaleInterrupt):  # another caller was quicker: ask again
                    self.resume(body, to=outcome, timeout=timeout)
                    answered += 1

    def resume(
        self,
        body: Mapping[str, Any],
        *,
        to: PendingInterrupt | None = None,
        timeout: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Answer the run's question.

        The question is compared before the answer is sent. ACP 0.1 leaves a window of one round
        trip, in which another process may answer first.

        Args:
            body: The answer, a JSON object in the agent's schema for the question.
            to: The question to answer; None for the one that is open now.
            timeout: Seconds to wait for the server; None for as long as it takes, but not for more
                than five minutes of failures alone.
            stop: Ends the waiting when set.

        Raises:
            StaleInterrupt: The question is not open any more; the answer was not used.
            ResumeAmbiguous: Two responses were lost, and the run has not moved.
            RunGone: The server does not know the run.
            RunWaitTimeout: The time is over, and the answer was not used.
            ApiException: The server refused the answer.
            ApiTypeError: ``body`` is not a mapping.
        """
        answer_run(self._link, body, to, Patience.of(checked_seconds(timeout), stop))

    # Ending

    def cancel(self) -> bool:
        """End the run, by deleting it; return False if it had ended before, and so was kept.

        ACP 0.1 has no other means. A run that ends in the round trip between the look and the
        DELETE loses its output.

        Raises:
            RunGone: The server does not know the run.
            ApiException: The server refused, or could not be reached for five minutes.
        """
        return self._link.cancel(Patience(None))

    def delete(self) -> None:
        """Delete the run, whatever its status; it may be gone already.

        Raises:
            ApiException: The server refused, or could not be reached for five minutes.
        """
        self._link.delete(Patience(None))

    def __repr__(self) -> str:
        link = self._link
        status = "not asked yet" if link.run is None else link.run.status.value
        agent = f" of agent {link.agent_id}" if link.agent_id else ""
        return f"<RunHandle {link.run_id}{agent}: {status}>"
