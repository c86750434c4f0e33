"""Runs of one agent on one thread of ACP. The server keeps the state of the thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic

from typing_extensions import Unpack

from acp_client_v0_1._arguments import OneThread, check_arguments
from acp_client_v0_1._names import our_names
from acp_client_v0_1._text import short
from acp_client_v0_1.api.threads_api import ThreadsApi
from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.exceptions import ApiException, ApiTypeError, ApiValueError
from acp_client_v0_1.handles._match import is_on
from acp_client_v0_1.handles._options import RunOptions, showing
from acp_client_v0_1.handles._typed import In, Out
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.handles.run import RunHandle
from acp_client_v0_1.models import Run, RunOutput, RunStatus

__all__ = ["Conversation"]


@our_names
class Conversation(Generic[In, Out]):
    """Runs on one thread of ACP, from `AgentHandle.conversation`.

    A thread of ACP takes one run at a time. So use `run`, or wait for the result of the handle that
    `start` returns, before you begin the next run. While a run of the thread is pending, the server
    refuses another run with 409, a `ConflictException`. If another Python thread (`threading`) is
    in a call of the same conversation, `start` and `run` raise `ApiValueError`, and nothing is
    sent.

    Attributes:
        thread_id: The id of the thread of ACP. None until the first run has made the thread.
    """

    def __init__(
        self, start: Callable[..., RunHandle[Out]], api_client: ApiClient, thread_id: str | None
    ) -> None:
        self.thread_id: str | None = thread_id
        self._start = start
        self._threads = ThreadsApi(api_client)
        self._one_run = OneThread(
            "a conversation has one run at a time, and another Python thread is in a call of this "
            "conversation: wait for that call, or use a conversation for each thread"
        )

    @showing(RunOptions)
    def start(
        self,
        input: In | Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[RunOptions],
    ) -> RunHandle[Out]:
        """Start a run on the thread of ACP, as `AgentHandle.start` does.

        Args:
            input: The agent's input, in its own schema.
            timeout: Seconds for the whole call. By default there is no limit for the call: each
                create has the client's own timeouts. After a failure that made no run, such as a
                429, the create is sent again for up to five minutes.
            options: ``config``, ``metadata``, ``webhook`` and ``streaming``, as for
                `AgentHandle.start`.

        Raises:
            ApiException: The run was not started, see `AgentHandle.start`. Or the run was started
                on no thread, because the agent or its server has no threads; the error names the
                run.
            ConflictException: Another run of the thread is pending.
            ApiTypeError: The options have a ``thread_id``, which the conversation has.
            ApiValueError: Another Python thread is in `start` or `run`.
        """
        if "thread_id" in options:
            raise ApiTypeError("thread_id belongs in conversation(thread_id), which began this one")
        with self._one_run:
            handle = self._start(input, thread_id=self.thread_id, timeout=timeout, **options)
            self.thread_id = self.thread_id or handle.thread_id
        if self.thread_id is None:
            error = ApiException(
                reason=f"run {short(handle.run_id)} was started, and its server gave it no thread: "
                "the agent has none (AgentHandle.descriptor().specs.capabilities.threads); use "
                f"RunHandle({short(handle.run_id)!r}, client) for its result"
            )
            error.run_id, error.token = handle.run_id, handle.token()
            raise error
        return handle

    @showing(RunOptions)
    def run(
        self,
        input: In | Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        on_interrupt: Callable[[PendingInterrupt], Mapping[str, Any] | None] | None = None,
        **options: Unpack[RunOptions],
    ) -> Out:
        """Run the agent on the thread of ACP, and return the result.

        Args:
            input: The agent's input, in its own schema.
            timeout: Seconds for the start, and again for each output of the run. By default there
                is no limit. With 0, the start has no limit, and the output is asked for once, for
                at most 10 seconds.
            on_interrupt: Called with each question; returns the answer, or None to stop.
            options: ``config``, ``metadata``, ``webhook`` and ``streaming``, as for
                `AgentHandle.start`.

        Raises:
            ApiException: As for `start` and `RunHandle.result`.
            ApiValueError: Another Python thread is in `start` or `run`.
        """
        check_arguments(on_interrupt=on_interrupt, timeout=timeout)
        with self._one_run:
            handle = self.start(input, timeout=timeout or None, **options)
            if on_interrupt is not None:
                return handle.drive(on_interrupt, timeout=timeout)
            return handle.result(timeout)

    def state(self) -> dict[str, Any]:
        """Return the state of the thread, in the agent's own schema.

        Raises:
            ApiException: The state cannot be read.
            ApiValueError: There is no thread yet, because there was no run.
        """
        return self._threads.get_thread_state(self._existing_thread())

    def history(self) -> list[tuple[Run, RunOutput | None]]:
        """Return the runs of the thread with their outputs, oldest first.

        There is one request for the runs, and one for the output of each run that is not pending.
        The output of a pending run is None. Runs of other threads, if the server returns any, are
        left out.

        Raises:
            ApiException: The runs, or their outputs, cannot be read.
            ApiValueError: There is no thread yet, because there was no run.
        """
        client, thread_id = self._threads.api_client, self._existing_thread()
        return [
            (run, None)
            if run.status == RunStatus.PENDING
            else (run, RunHandle.of(run, client).output(0))
            for run in self._threads.get_thread_history(thread_id)
            if is_on(run, thread_id)
        ]

    def _existing_thread(self) -> str:
        if self.thread_id is None:
            raise ApiValueError("the conversation has no thread yet: its first run makes it")
        return self.thread_id

    def __repr__(self) -> str:
        return f"<Conversation on thread {short(self.thread_id or 'of the first run')}>"
