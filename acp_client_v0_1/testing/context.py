"""What an agent of the local server gets besides its input: its run, its thread, its clock.

A context lives as long as its run. Agents run in threads, so everything here is safe to use from
any thread. Nothing can stop a Python thread from outside: the agent of a cancelled run has to check
for that itself, which `sleep` and `check` do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from acp_client_v0_1.testing._values import check_type, json_copy

__all__ = ["AgentContext", "RunCancelled", "ThreadState"]


class RunCancelled(Exception):
    """Raised inside an agent whose run was deleted, timed out, or lost its server.

    `sleep`, `check` and an assignment to `thread_state` raise it.
    """


@dataclass(slots=True)
class ThreadState:
    """The state of one thread: a JSON object that is replaced, never changed in place."""

    value: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class AgentContext:
    """The third argument of an agent, which the server makes.

    Attributes:
        run_id: The run that the agent works for.
        thread_id: The run's thread, if it has one.
        streaming: The mode that the caller wants to stream in: "result", "custom" or None.
        metadata: `RunCreate.metadata`, empty if the caller gave none.
    """

    run_id: str
    thread_id: str | None
    streaming: str | None
    metadata: dict[str, Any]
    _state: ThreadState
    # The lock guards the run and the state.
    _lock: AbstractContextManager[bool]
    _working: Callable[[], bool]
    _cancelled: threading.Event

    @property
    def thread_state(self) -> dict[str, Any]:
        """The thread's state: reading gives a copy, assigning replaces it at once.

        Raises:
            RunCancelled: On assigning, if the run is no longer pending: the state may belong to
                another run already.
            TypeError: On assigning a value that is not a JSON object.
        """
        return json_copy(self._state.value, "the thread state")

    @thread_state.setter
    def thread_state(self, value: dict[str, Any]) -> None:
        copy = json_copy(value, "the thread state")
        with self._lock:
            if self.cancelled or not self._working():
                raise RunCancelled(self.run_id)
            self._state.value = copy

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled, so that nobody will get its result."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise RunCancelled if the run was cancelled. A loop that never sleeps needs it."""
        if self.cancelled:
            raise RunCancelled(self.run_id)

    def sleep(self, seconds: float) -> None:
        """Sleep for some seconds, or raise RunCancelled as soon as the run is cancelled."""
        check_type("seconds", seconds, int, float)
        if self._cancelled.wait(min(seconds, threading.TIMEOUT_MAX)):
            raise RunCancelled(self.run_id)
