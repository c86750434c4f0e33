"""How a command ends: the exit status of each error, what stdout gets, and what to do next."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from acp_client_v0_1 import (
    ApiTypeError,
    ApiValueError,
    OpenApiException,
    RunFailed,
    RunGone,
    RunInterrupted,
    RunStartAmbiguous,
    RunTimedOut,
    RunWaitTimeout,
    StreamGap,
)
from acp_client_v0_1.cli._arguments import PROGRAM
from acp_client_v0_1.cli._output import Output, notice

__all__ = ["EXPECTED", "document", "report", "status_of"]

EXPECTED = (OpenApiException, OSError, ValidationError)
"""The errors that a command may end with; any other is a bug."""

# The first class that fits decides.
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (RunWaitTimeout, 3),
    (RunInterrupted, 4),
    (RunTimedOut, 6),
    (RunFailed, 5),
    (RunGone, 7),
    (RunStartAmbiguous, 8),
    (StreamGap, 9),
    (ApiTypeError, 2),
    (ApiValueError, 2),
    (ValidationError, 2),
)


def status_of(error: Exception) -> int:
    """Give the exit status that an error stands for."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 1)


def document(error: Exception) -> dict[str, Any]:
    """Write how a run ended without a result, as data.

    Returns:
        ``run_id`` and ``status``, and what there is besides: the question, the errcode and the
        description, the token of a run that may exist, or the ``error`` in words.
    """
    known: dict[str, Any] = {"run_id": getattr(error, "run_id", None) or None}
    if isinstance(error, RunFailed):
        status = "timeout" if isinstance(error, RunTimedOut) else "error"
        known |= {"status": status, "errcode": error.errcode, "description": error.description}
    elif isinstance(error, RunInterrupted):
        interrupt = {"type": error.interrupt.type, "payload": error.interrupt.payload}
        known |= {"status": "interrupted", "interrupt": interrupt}
    elif isinstance(error, RunStartAmbiguous):
        known |= {"status": None, "token": error.token}
    elif isinstance(error, RunWaitTimeout):
        known |= {"status": "pending"}
    elif isinstance(error, RunGone):
        known |= {"status": "gone"}
    else:
        known |= {"status": None, "error": str(error)}
    return known


def report(error: Exception, output: Output) -> int:
    """Tell how a command failed: what is known of the run to stdout, the error to stderr.

    Returns:
        The exit status.
    """
    status = status_of(error)
    if isinstance(error, RunStartAmbiguous):
        output.one(error.token if output.is_text else document(error), error.token)
    elif status in (3, 4, 5, 6, 7):
        output.one(document(error), getattr(error, "run_id", None))
    notice(f"{PROGRAM}: {_words(error)}")
    token = getattr(error, "token", "")
    if token and status in (3, 4, 8, 9):
        notice(f"next: {_NEXT[status]} {token}")
    return status


_NEXT = {
    3: f"{PROGRAM} wait",
    4: f"{PROGRAM} wait --ask",
    8: f"{PROGRAM} show",
    9: f"{PROGRAM} stream --on-gap mark",
}


def _words(error: Exception) -> str:
    if isinstance(error, RunInterrupted):
        return f"run {error.run_id} asks {error.interrupt.type!r}, and nobody answers"
    if isinstance(error, RunWaitTimeout):
        return f"run {error.run_id} is not finished yet"
    if isinstance(error, OSError) and error.filename:
        return f"cannot use {error.filename}: {error.strerror}"
    return str(error)
