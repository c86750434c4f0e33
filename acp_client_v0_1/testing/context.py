"""What an agent of the local server gets besides its input: its run, its thread, its clock.

A context lives as long as its run. Agents run in threads of their own, so everything here is safe
to use from any thread. Nothing can stop a Python thread from outside: a cancelled run ends when
its agent looks, which `sleep` and `check` do on their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from acp_client_v0_1.testing._values import json_object

__all__ = ["AgentContext", "RunCancelled", "ThreadState"]


class RunCancelled(Exception):
    """Raised inside an agent whose run was deleted, timed out, or lost its server.

    Raised by `sleep` and `check`, and by an assignment to `thread_state`.
    """


class ThreadState:
    """The state of one thread: a JSON object that is replaced, never changed in place."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value: dict[str, Any] = {}

    def get(self) -> dict[str, Any]:
        """Return a copy of the state."""
        return json_object(self._value, "the thread state")

    def set(self, value: dict[str, Any]) -> None:
        """Replace the state.

        Args:
            value: The new state, a JSON object.

        Raises:
            TypeError: The value is not a JSON object.
        """
        self._value = json_object(value, "the thread state")


class AgentContext:
    """The third argument of an agent.

    Args:
        run_id: The run that the agent works for.
        thread_id: The thread of that run; None if it has none.
        streaming: The mode the caller wants to stream in: "result", "custom" or None.
        metadata: `RunCreate.metadata`, empty if the caller gave none.
        state: The state of the thread; a run without thread has one of its own.
        lock: What guards the run and the state.
        working: Tells, under the lock, whether the agent's work still counts.
        cancelled: Set when the run is cancelled.
    """

    __slots__ = (
        *("metadata", "run_id", "streaming", "thread_id"),
        *("_cancelled", "_lock", "_state", "_working"),
    )

    def __init__(
        self,
        *,
        run_id: str,
        thread_id: str | None,
        streaming: str | None,
        metadata: dict[str, Any],
        state: ThreadState,
        lock: AbstractContextManager[bool],
        working: Callable[[], bool],
        cancelled: threading.Event,
    ) -> None:
        self.run_id: str = run_id
        self.thread_id: str | None = thread_id
        self.streaming: str | None = streaming
        self.metadata: dict[str, Any] = metadata
        self._state = state
        self._lock = lock
        self._working = working
        self._cancelled = cancelled

    @property
    def thread_state(self) -> dict[str, Any]:
        """The thread's state: reading gives a copy, assigning replaces it at once.

        Raises:
            RunCancelled: On assigning, when the run is not pending any more: the state may be
                another run's by then.
            TypeError: On assigning a value that is not a JSON object.
        """
        return self._state.get()

    @thread_state.setter
    def thread_state(self, value: dict[str, Any]) -> None:
        copy = json_object(value, "the thread state")
        with self._lock:
            if self.cancelled or not self._working():
                raise RunCancelled(self.run_id)
            self._state.set(copy)

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled, so that the agent's work is in vain."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Look whether the run was cancelled, in loops that never sleep.

        Raises:
            RunCancelled: It was.
        """
        if self._cancelled.is_set():
            raise RunCancelled(self.run_id)

    def sleep(self, seconds: float) -> None:
        """Sleep, and wake at once when the run is cancelled.

        Args:
            seconds: How long to sleep.

        Raises:
            RunCancelled: The run was cancelled before the time was over.
        """
        if self._cancelled.wait(min(seconds, threading.TIMEOUT_MAX)):
            raise RunCancelled(self.run_id)
