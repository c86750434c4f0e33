"""Runs of one agent on one thread, whose state its server keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from acp_client_v0_1._arguments import OneThread, check_arguments
from acp_client_v0_1._errors import short
from acp_client_v0_1.api.threads_api import ThreadsApi
from acp_client_v0_1.exceptions import ApiException, ApiValueError
from acp_client_v0_1.handles.run import RunHandle
from acp_client_v0_1.models.run_status import RunStatus

if TYPE_CHECKING:
    from acp_client_v0_1.api_client import ApiClient
    from acp_client_v0_1.handles._options import RunOptions
    from acp_client_v0_1.handles._schemas import JsonObject
    from acp_client_v0_1.handles.interrupts import PendingInterrupt
    from acp_client_v0_1.models.run import Run
    from acp_client_v0_1.models.run_output import RunOutput

__all__ = ["Conversation"]


class Conversation:
    """Runs on one thread, from `AgentHandle.conversation`.

    A thread takes one run at a time: wait for a run, or `run`, before the next. While a run of the
    thread is pending, the server refuses another with 409, a `ConflictException`. A call that
    begins in another thread of this process during one is refused with `ApiValueError`, and nothing
    is sent.

    Attributes:
        thread_id: The thread, once the first run has made it.
    """

    def __init__(
        self, start: Callable[..., RunHandle], api_client: ApiClient, thread_id: str | None
    ) -> None:
        self.thread_id: str | None = thread_id
        self._start = start
        self._threads = ThreadsApi(api_client)
        self._one_run = OneThread(
            "a conversation has one run at a time, and another thread has begun one: wait for it, "
            "or use a conversation for each"
        )

    def start(
        self,
        input: JsonObject | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[RunOptions],
    ) -> RunHandle:
        """Start a run on the thread, as `AgentHandle.start` does.

        Args:
            input: The agent's input, in its own schema.
            timeout: Seconds for the whole call. By default the client's own timeouts hold.
            options: ``config``, ``metadata``, ``webhook`` and ``streaming``, as of
                `AgentHandle.start`.

        Raises:
            ApiException: The run was not started, see `AgentHandle.start`; or it was, on no thread,
                because the agent or its server has none. The error names the run.
            ConflictException: Another run of the thread is pending.
            ApiValueError: Another thread of this process is starting a run, or in `run`.
        """
        with self._one_run:
            handle = self._start(input, thread_id=self.thread_id, timeout=timeout, **options)
            if self.thread_id is None:
                self.thread_id = handle.thread_id
        if self.thread_id is None:
            raise ApiException(
                reason=f"run {short(handle.run_id)} was started, and its server gave it no thread: "
                "the agent has none (AgentHandle.descriptor().specs.capabilities.threads); use "
                f"RunHandle({short(handle.run_id)!r}) for its result"
            )
        return handle

    def run(
        self,
        input: JsonObject | None = None,
        *,
        timeout: float | None = None,
        on_interrupt: Callable[[PendingInterrupt], Mapping[str, Any] | None] | None = None,
        **options: Unpack[RunOptions],
    ) -> dict[str, Any]:
        """Run the agent on the thread, and return the result.

        Args:
            input: The agent's input, in its own schema.
            timeout: Seconds to wait for each output of the run. By default there is no limit.
            on_interrupt: Called with each question; returns the answer, or None to stop.
            options: As of `start`.

        Raises:
            ApiException: As `start` and `RunHandle.result`.
            ApiValueError: Another thread of this process is starting a run, or in this method.
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
            ApiException: It cannot be read.
            ApiValueError: There was no run, and so there is no thread yet.
        """
        return self._threads.get_thread_state(self._existing_thread())

    def history(self) -> list[tuple[Run, RunOutput | None]]:
        """Return the runs of the thread with their outputs, oldest first.

        One request for the runs, and one for the output of each that is not pending; the output is
        None for a run that is.

        Raises:
            ApiException: They cannot be read.
            ApiValueError: There was no run, and so there is no thread yet.
        """
        client = self._threads.api_client
        return [
            (run, None)
            if run.status == RunStatus.PENDING
            else (run, RunHandle.of(run, client).output(0))
            for run in self._threads.get_thread_history(self._existing_thread())
        ]

    def _existing_thread(self) -> str:
        if self.thread_id is None:
            raise ApiValueError("the conversation has no thread yet: its first run makes it")
        return self.thread_id

    def __repr__(self) -> str:
        return f"<Conversation on thread {short(self.thread_id or 'of the first run')}>"
