"""A run to hold: wait for it, follow it, answer it, cancel it, hand it to another process.

Strategy: a handle is the run's id, its client and what was last heard of it. Each method asks the
server with the operations of `RunsApi`, survives what may pass, and notes what it hears.

Invariants: a handle owns no thread and no socket, so it costs nothing at rest, is shared between
threads without a lock, and pickles like its client. No method waits beyond its timeout.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from typing_extensions import Self

from acp_client_v0_1._deadline import Deadline
from acp_client_v0_1._operation import path_segment
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTypeError,
    ApiValueError,
    NotFoundException,
    ResponseDecodeError,
    RunWaitTimeout,
)
from acp_client_v0_1.handles._patience import Patience, checked_seconds
from acp_client_v0_1.handles.errors import (
    InterruptLimit,
    RunFailed,
    RunGone,
    RunInterrupted,
    RunStartAmbiguous,
    RunTimedOut,
    StaleInterrupt,
    TokenError,
)
from acp_client_v0_1.handles.events import RunEvent, RunEvents
from acp_client_v0_1.handles.interrupts import PendingInterrupt, answer_run
from acp_client_v0_1.handles.schemas import Descriptor
from acp_client_v0_1.handles.starting import (
    client_token_of,
    find_by_token,
    server_of,
    wait_for_token,
)
from acp_client_v0_1.handles.token import RunToken, decode_token, encode_token
from acp_client_v0_1.models.run_error import RunError
from acp_client_v0_1.models.run_interrupt import RunInterrupt
from acp_client_v0_1.models.run_result import RunResult
from acp_client_v0_1.models.run_status import RunStatus
from acp_client_v0_1.waiting import wait_for_run_output

if TYPE_CHECKING:
    from acp_client_v0_1.api_client import ApiClient
    from acp_client_v0_1.models.agent_acp_descriptor import AgentACPDescriptor
    from acp_client_v0_1.models.run import Run
    from acp_client_v0_1.models.run_output import RunOutput

__all__ = ["FINAL", "RunHandle"]

T = TypeVar("T")

FINAL = frozenset((RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.TIMEOUT))
"""The statuses of a run that has ended; an interrupted one has not."""

_YOUNG = 2.0  # seconds after the create in which a 404 may come from a read replica
_REPLICA_PAUSE = 0.1  # seconds until such a one is asked again
_ONE_LOOK = 10.0  # seconds that the only request of timeout=0 may take

OnPending = Callable[[float, RunStatus], object]


class RunHandle:
    """A run to hold. Making a handle attaches to the run, without I/O.

    Args:
        run_id: The run.
        api_client: What sends its requests; the default client if None.

    Attributes:
        run_id: The run.
        agent_id: The run's agent, "" as long as it is not known.
        thread_id: The run's thread, "" if it has none or it is not known.
        client_token: The mark that the run was created with, "" if none or not known.
        run: What the server last said of the run; None if nothing yet.
        duplicates: Ids of other runs with the same client token, which somebody made by repeating
            the create; the handle is of the oldest.
        last_event_id: The id of the last event that one of its `events` has handed out, "" if none.
        runs: The operations that the handle uses.

    Raises:
        ApiTypeError: ``run_id`` is not a str, or ``api_client`` not an ApiClient.
        ApiValueError: ``run_id`` is empty, or no segment of a path.
    """

    def __init__(self, run_id: str, api_client: ApiClient | None = None) -> None:
        path_segment("run_id", run_id, "")
        self.run_id = run_id
        self.runs = RunsApi(api_client)
        self.agent_id = ""
        self.thread_id = ""
        self.client_token = ""
        self.run: Run | None = None
        self.duplicates: tuple[str, ...] = ()
        self.last_event_id = ""
        self._descriptor: Descriptor | None = None
        self._young_until = 0.0
        self._after = ""  # where the token stopped
        self._seen: tuple[object, float] | None = None  # updated_at, and when it was first seen

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
        handle.note(run)
        return handle

    @classmethod
    def of_runs(cls, runs: list[Run], api_client: ApiClient | None = None) -> Self:
        """Attach to the oldest of the runs that one create has made.

        Args:
            runs: The runs, oldest first, at least one.
            api_client: What sends the requests; the default client if None.

        Returns:
            The handle; the others are its `duplicates`.
        """
        handle = cls.of(runs[0], api_client)
        handle.duplicates = tuple(run.run_id for run in runs[1:])
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
            handle.agent_id, handle.thread_id = known.agent, known.thread
            handle.client_token = known.client_token
            handle.last_event_id = handle._after = known.last_event_id
            return handle
        try:
            found = wait_for_token(runs, known.client_token, known.agent or None)
        except ApiException as error:
            raise RunStartAmbiguous(
                client_token=known.client_token, token=token, why=f"the search failed: {error}"
            ) from error
        if not found:
            raise RunStartAmbiguous(
                client_token=known.client_token,
                token=token,
                why="no run with its client token is there yet",
                searched=True,
            )
        return cls.of_runs(found, runs.api_client)

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
            ApiValueError: ``client_token`` is empty.
        """
        if not client_token:
            raise ApiValueError("client_token must not be empty")
        runs = RunsApi(api_client)
        found = find_by_token(runs, client_token, agent_id)
        return cls.of_runs(found, runs.api_client) if found else None

    def token(self) -> str:
        """Give the portable token of the run: a line of text that holds no secret.

        It says which server, run, agent, thread and client token, and which event of `events` was
        the last to be handed out. `from_token` takes it, in any process.
        """
        return encode_token(
            RunToken(
                server=server_of(self.runs.api_client),
                run=self.run_id,
                agent=self.agent_id,
                thread=self.thread_id,
                client_token=self.client_token,
                last_event_id=self.last_event_id,
            )
        )

    # Looking

    def refresh(self) -> Run:
        """Ask the server for the run, once.

        Returns:
            The run, which is `run` from now on.

        Raises:
            RunGone: The server does not know it.
            ApiException: The call failed.
        """
        return self.note(self.ask(lambda: self.runs.get_run(self.run_id)))

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
        if self._descriptor is None:
            agent_id = self.agent_id or self.refresh().agent_id
            self._descriptor = Descriptor(self.runs.api_client, agent_id)
        return self._descriptor.get()

    # Waiting

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
        seconds = checked_seconds(timeout)
        deadline = Deadline.after(seconds)
        while True:
            try:
                if seconds == 0:
                    return self._look_for_output()
                remaining = None if seconds is None else max(0.001, deadline.remaining())
                return wait_for_run_output(
                    self.runs, self.run_id, timeout=remaining, on_pending=on_pending, stop=stop
                )
            except NotFoundException as error:
                self._await_replica(error)
            except RunWaitTimeout as error:
                raise self.too_late(error.elapsed, error.reason or "") from error

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
        patience = Patience(checked_seconds(timeout))
        remaining = timeout
        while True:
            output = self.output(remaining, on_pending=on_pending, stop=stop)
            kind = output.actual_instance
            if isinstance(kind, RunResult):
                return kind.result
            if isinstance(kind, RunError):
                raise self.failure_of(kind)
            question = self.question(Patience(None) if timeout == 0 else patience)
            if question is not None:
                raise self.interrupted(question)
            if timeout:  # somebody has answered it meanwhile
                remaining = patience.deadline.remaining()

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
        return RunEvents(
            self,
            raise_gaps=on_gap == "raise",
            through_interrupts=through_interrupts,
            timeout=checked_seconds(timeout),
            after=self._after if after is None else after,
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
        last: PendingInterrupt | None = None
        while isinstance(self.output(timeout).actual_instance, RunInterrupt):
            question = self.question(Patience(timeout or None))
            if question is None:
                continue  # somebody has answered it meanwhile
            if question == last:
                raise self.interrupted(question, " and was not answered before the next question")
            last = question
            yield question

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
            ApiException: The server refused.
        """
        checked_seconds(timeout)
        events = None if on_event is None else self.events(on_gap="mark", timeout=timeout)
        answered = 0
        try:
            while True:
                if events is not None and on_event is not None:
                    for event in events.next_stretch():
                        on_event(event)
                output = self.output(timeout)
                kind = output.actual_instance
                if isinstance(kind, RunResult):
                    return kind.result
                if isinstance(kind, RunError):
                    raise self.failure_of(kind)
                question = self.question(Patience(timeout or None))
                if question is None:
                    continue  # somebody has answered it meanwhile
                if answered >= max_interrupts:
                    raise InterruptLimit(
                        run_id=self.run_id, token=self.token(), limit=max_interrupts
                    )
                answer = on_interrupt(question)
                if answer is None:
                    raise self.interrupted(question, ", and on_interrupt gave None")
                try:
                    self.resume(answer, to=question, timeout=timeout)
                    answered += 1
                except StaleInterrupt:
                    pass  # somebody was quicker: wait for what comes, and ask anew
        finally:
            if events is not None:
                events.close()

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
        if not isinstance(body, Mapping):
            raise ApiTypeError(f"body must be a JSON object (dict), not {type(body).__name__}")
        answer_run(self, body, to, checked_seconds(timeout) or None, stop)

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
        return self.cancel_within(None)

    def cancel_within(self, timeout: float | None) -> bool:
        """Do the same as :meth:`cancel`, for some seconds at most.

        Args:
            timeout: Seconds, None for five minutes of failures.

        Returns:
            True if the run was ended; False if it had ended before.

        Raises:
            RunWaitTimeout: The time is over.
        """
        patience = Patience(timeout)
        if self.look(patience).status in FINAL:
            return False
        deleted = self._delete(patience)
        return deleted is None or deleted.status not in FINAL

    def delete(self) -> None:
        """Make the server forget the run, whatever its status; one that is gone is fine.

        Raises:
            ApiException: The server refused, or could not be reached for five minutes.
        """
        self._delete(Patience(None))

    def _delete(self, patience: Patience) -> Run | None:
        """Delete the run; gives what it was, None if the server does not say or know."""
        self._young_until = 0.0  # a 404 means what it says from now on
        lost = False
        while True:
            try:
                return self.note(self.runs.delete_run(self.run_id, patience.limit(60.0)))
            except NotFoundException:
                return None
            except ApiException as error:
                if not error.ambiguous and not isinstance(error, ResponseDecodeError):
                    if not patience.survive(error):
                        raise self.too_late(patience.elapsed, str(error)) from error
                    continue
                try:
                    self.look(patience)
                except RunGone:
                    return None
                if lost:
                    raise
                lost = True

    # What the other modules of this package use

    def note(self, run: Run) -> Run:
        """Keep what the server has said of the run.

        Args:
            run: What it said.

        Returns:
            The same.
        """
        self.run = run
        self.agent_id = run.agent_id
        self.thread_id = run.thread_id or ""
        self.client_token = client_token_of(run)
        if self._seen is None or self._seen[0] != run.updated_at:
            self._seen = run.updated_at, time.monotonic()
        return run

    @property
    def young(self) -> bool:
        """Whether the run was created so recently that a read replica may not know it."""
        return time.monotonic() < self._young_until

    def note_started(self) -> Self:
        """Note that the run was created just now, so that a 404 may come from a read replica."""
        self._young_until = time.monotonic() + _YOUNG
        return self

    def ask(self, request: Callable[[], T]) -> T:
        """Send a request; a 404 is `RunGone`, unless the run is new and a replica may not know it.

        Args:
            request: What sends it.

        Returns:
            What it gives.
        """
        while True:
            try:
                return request()
            except NotFoundException as error:
                self._await_replica(error)

    def look(self, patience: Patience) -> Run:
        """Ask for the run until there is a response.

        Args:
            patience: How long.

        Returns:
            The run.
        """
        return self.note(
            self._patiently(lambda limit: self.runs.get_run(self.run_id, limit), patience)
        )

    def question(self, patience: Patience) -> PendingInterrupt | None:
        """Ask what the run asks.

        The run is asked for before its output: if somebody answers in between, the question gets
        the older time, and its answer is refused as stale instead of given to the wrong question.

        Args:
            patience: How long.

        Returns:
            The question, None if there is none.
        """
        run = self.look(patience)
        if run.status in FINAL:
            return None
        output = self._patiently(self._ask_output, patience)
        kind = None if output is None else output.actual_instance
        if not isinstance(kind, RunInterrupt):
            return None
        payload = dict(kind.interrupt)
        words = payload.pop("interrupt_type", "")
        seen = self._seen
        return PendingInterrupt(
            words if isinstance(words, str) else str(words),
            payload,
            self.run_id,
            run.updated_at,
            time.monotonic() if seen is None or seen[0] != run.updated_at else seen[1],
            self,
        )

    def failure_of(self, output: RunError) -> RunFailed:
        """Make the error of a run that failed; one request tells error from timeout.

        Args:
            output: Its output.

        Returns:
            The error, to be raised by the caller.
        """
        try:
            status = self.refresh().status
        except ApiException:
            status = RunStatus.ERROR  # what counts is known all the same
        kind = RunTimedOut if status == RunStatus.TIMEOUT else RunFailed
        return kind(
            run_id=self.run_id,
            token=self.token(),
            errcode=output.errcode,
            description=output.description,
        )

    def interrupted(self, question: PendingInterrupt, hint: str = "") -> RunInterrupted:
        """Make the error of a question that nobody answers.

        Args:
            question: The question.
            hint: More to say of it.

        Returns:
            The error, to be raised by the caller.
        """
        return RunInterrupted(run_id=self.run_id, token=self.token(), interrupt=question, hint=hint)

    def gone(self) -> RunGone:
        """Make the error of a run that the server does not know.

        Returns:
            The error, to be raised by the caller.
        """
        return RunGone(run_id=self.run_id, token=self.token())

    def too_late(self, elapsed: float, what: str) -> RunWaitTimeout:
        """Make the error of a wait that is over.

        Args:
            elapsed: Seconds that it took.
            what: What was waited for, and what happened.

        Returns:
            The error, to be raised by the caller.
        """
        return RunWaitTimeout(
            run_id=self.run_id,
            elapsed=elapsed,
            token=self.token(),
            reason=f"{what}; the run goes on: wait again, or RunHandle.from_token(error.token)",
        )

    def _patiently(self, request: Callable[[float], T], patience: Patience) -> T:
        """Send a quick request, which gets its limit in seconds, until there is a response."""
        while True:
            try:
                value = self.ask(lambda: request(patience.limit()))
            except ApiException as error:
                if not patience.survive(error):
                    raise self.too_late(patience.elapsed, f"no response: {error}") from error
            else:
                patience.succeeded()
                return value

    def _ask_output(self, limit: float) -> RunOutput | None:
        # With a second to block, since some servers block without end if they are given none.
        return self.runs.get_run_output(self.run_id, 1 if limit > 1.5 else None, limit)

    def _look_for_output(self) -> RunOutput:
        output = self.runs.get_run_output(self.run_id, None, _ONE_LOOK)
        if output is None:
            raise RunWaitTimeout(run_id=self.run_id, elapsed=0.0)
        return output

    def _await_replica(self, error: NotFoundException) -> None:
        """Pause after the 404 of a new run, and raise that of any other."""
        if not self.young:
            raise self.gone() from error
        time.sleep(_REPLICA_PAUSE)

    def __getstate__(self) -> dict[str, Any]:
        # What is measured by this process's clock means nothing to another.
        return {**self.__dict__, "_young_until": 0.0, "_seen": None}

    def __repr__(self) -> str:
        status = "not asked yet" if self.run is None else self.run.status.value
        agent = f" of agent {self.agent_id}" if self.agent_id else ""
        return f"<RunHandle {self.run_id}{agent}: {status}>"
