"""How a run fails: what an agent raises, as the status and the RunError that its caller meets.

Whatever an agent raises is an outcome, `sys.exit()` included, and has to become words that JSON
can carry: a run whose failure cannot be told would stay pending for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from acp_client_v0_1.testing.agents import AgentError
from acp_client_v0_1.testing.context import RunCancelled

__all__ = ["Failure", "failure_of", "timed_out"]

_EXCEPTION_ERRCODE = 1
_TIMEOUT_ERRCODE = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a run without a result.

    Args:
        status: Its RunStatus, "error" or "timeout".
        errcode: `errcode` of the RunError.
        description: `description` of the RunError.
    """

    status: str
    errcode: int
    description: str


def timed_out(description: str) -> Failure:
    """Return the failure of a run that took too long.

    Args:
        description: How long that was, or what took it.
    """
    return Failure("timeout", _TIMEOUT_ERRCODE, description)


def failure_of(error: BaseException) -> Failure:
    """Return what an agent's exception makes of its run.

    Args:
        error: What the agent raised.
    """
    if isinstance(error, RunCancelled):
        return Failure("error", _EXCEPTION_ERRCODE, "the run was cancelled")
    if isinstance(error, AgentError):
        return _of_agent_error(error)
    if isinstance(error, TimeoutError):
        return timed_out(_words(error) or "timed out")
    return Failure("error", _EXCEPTION_ERRCODE, f"{type(error).__name__}: {_words(error)}")


def _of_agent_error(error: AgentError) -> Failure:
    try:
        # A subclass may have passed the constructor's checks by, or changed what they saw.
        sound = AgentError(error.errcode, error.description)
    except (AttributeError, TypeError, ValueError) as fault:
        return failure_of(fault)
    return Failure("error", sound.errcode, sound.description)


def _words(error: BaseException) -> str:
    """Return an exception's text; what UTF-8 has no bytes for is escaped."""
    try:
        text = str(error)
    except Exception as fault:  # noqa: BLE001 - it is the agent's own code that fails here
        text = f"(its text raises {type(fault).__name__})"
    return text.encode("utf-8", "backslashreplace").decode()
