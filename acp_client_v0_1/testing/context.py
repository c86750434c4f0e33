"""What an agent of the local server gets besides its input: its run, its thread, its clock.

A context lives as long as its run. Agents run in threads of their own, so everything here is safe
to use from any thread. Nothing can stop a Python thread from outside: a cancelled run ends when
its agent looks, which `sleep` and `check` do on their own.
"""

from __future__ import annotations

import threading
from typing import Any

from pydantic_core import from_json, to_json

__all__ = ["AgentContext", "RunCancelled", "ThreadState", "json_object"]


class RunCancelled(Exception):
    """Raised inside an agent whose run was deleted, timed out, or lost its server."""


def json_object(value: object, what: str) -> dict[str, Any]:
    """Return a JSON object as the wire would carry it, independent of the original.

    Args:
        value: A dict of whatever pydantic can write as JSON, or None for an empty object.
        what: What the value is, for the error.

    Returns:
        A deep copy that holds nothing but JSON types.

    Raises:
        TypeError: The value is no dict, or holds something that JSON cannot say.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"{what} must be a dict, not {type(value).__name__}")
    try:
        copy: dict[str, Any] = from_json(to_json(value))
    except ValueError as error:
        raise TypeError(f"{what} is no JSON object: {error}") from error
    return copy


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
            TypeError: The value is no JSON object.
        """
        self._value = json_object(value, "the thread state")


class AgentContext:
    """The third argument of an agent.

    Args:
        run_id: The run that the agent works for.
        thread_id: The thread of that run, None for a run without one.
        streaming: The mode the caller wants to stream in: "result", "custom" or None.
        metadata: `RunCreate.metadata`, empty if the caller gave none.
        state: The state of the thread; a run without thread has one of its own.
        cancelled: Set when the run is cancelled.
    """

    __slots__ = ("_cancelled", "_state", "metadata", "run_id", "streaming", "thread_id")

    def __init__(
        self,
        *,
        run_id: str,
        thread_id: str | None,
        streaming: str | None,
        metadata: dict[str, Any],
        state: ThreadState,
        cancelled: threading.Event,
    ) -> None:
        self.run_id: str = run_id
        self.thread_id: str | None = thread_id
        self.streaming: str | None = streaming
        self.metadata: dict[str, Any] = metadata
        self._state = state
        self._cancelled = cancelled

    @property
    def thread_state(self) -> dict[str, Any]:
        """The thread's state: reading gives a copy, assigning replaces it at once."""
        return self._state.get()

    @thread_state.setter
    def thread_state(self, value: dict[str, Any]) -> None:
        self._state.set(value)

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled, so that the agent's work is for nobody."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise RunCancelled if the run was cancelled, for loops that never sleep."""
        if self._cancelled.is_set():
            raise RunCancelled(self.run_id)

    def sleep(self, seconds: float) -> None:
        """Sleep, and wake at once when the run is cancelled.

        Args:
            seconds: How long to sleep.

        Raises:
            RunCancelled: The run was cancelled before the time was over.
        """
        if self._cancelled.wait(seconds):
            raise RunCancelled(self.run_id)
