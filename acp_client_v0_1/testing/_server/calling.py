"""Calls agents: how a generator is stepped, and what an exception makes of a run.

Nothing here changes a run; engine.py does that with what comes back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import cast

from acp_client_v0_1.testing._server.records import RunRecord
from acp_client_v0_1.testing._server.validation import with_whole_numbers
from acp_client_v0_1.testing._values import json_object
from acp_client_v0_1.testing.agents import AgentError, JsonObject
from acp_client_v0_1.testing.context import AgentContext, RunCancelled

__all__ = ["Failure", "Yielded", "advance", "call", "close_generator", "failure_of", "timed_out"]

# `errcode` of a RunError whose agent gave none.
_EXCEPTION_ERRCODE = 1
_TIMEOUT_ERRCODE = 2


@dataclass(frozen=True, slots=True)
class Yielded:
    """What a generator yielded, and the generator, which waits to go on."""

    generator: Generator[object, object, object]
    value: object


def call(run: RunRecord, context: AgentContext) -> object:
    # Copies: what the agent does to them must not change the run's creation.
    given = json_object(run.creation.get("input"), "the input")
    config = json_object(run.creation.get("config"), "the config")
    value = run.agent.function(
        with_whole_numbers(given, run.agent.input),
        with_whole_numbers(config, run.agent.config),
        context,
    )
    if isinstance(value, Generator):
        return advance(cast("Generator[object, object, object]", value), None)
    return value


def advance(generator: Generator[object, object, object], answer: JsonObject | None) -> object:
    try:
        return Yielded(generator, generator.send(answer))
    except StopIteration as stop:
        return stop.value


def close_generator(generator: Generator[object, object, object]) -> None:
    """Let a generator that will not be resumed clean up."""
    with contextlib.suppress(RunCancelled):
        generator.close()


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a run without a result; ``status`` is its RunStatus, the rest its RunError."""

    status: str
    errcode: int
    description: str


def timed_out(description: str) -> Failure:
    return Failure("timeout", _TIMEOUT_ERRCODE, description)


def failure_of(error: BaseException) -> Failure:
    """Return what an agent's exception makes of its run; `sys.exit()` is one as well.

    It has to become words that JSON can carry: a run whose failure cannot be sent would stay
    pending without end.
    """
    if isinstance(error, RunCancelled):
        return Failure("error", _EXCEPTION_ERRCODE, "the run was cancelled")
    if isinstance(error, AgentError):
        return _failure_of_agent_error(error)
    if isinstance(error, TimeoutError):
        return timed_out(_text(error) or "timed out")
    return Failure("error", _EXCEPTION_ERRCODE, f"{type(error).__name__}: {_text(error)}")


def _failure_of_agent_error(error: AgentError) -> Failure:
    try:
        # A subclass may have skipped the constructor's checks, or changed what they saw.
        sound = AgentError(error.errcode, error.description)
    except (AttributeError, TypeError, ValueError) as fault:
        return failure_of(fault)
    return Failure("error", sound.errcode, sound.description)


def _text(error: BaseException) -> str:
    """Return an exception's text; what UTF-8 has no bytes for is escaped."""
    try:
        text = str(error)
    except Exception as fault:  # noqa: BLE001 - it is the agent's own code that fails here
        text = f"(its text raises {type(fault).__name__})"
    return text.encode("utf-8", "backslashreplace").decode()
