"""How a command ends: for each error the exit status, the data on stdout, and the next step."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
import warnings
from argparse import Namespace
from typing import Any

from pydantic import ValidationError

import acp_client_v0_1 as acp
from acp_client_v0_1.cli._arguments import PROGRAM
from acp_client_v0_1.cli._inputs import client_of
from acp_client_v0_1.cli._output import HARMLESS_ID, TOKEN, Output, in_shell_words, notice

EXPECTED = (acp.OpenApiException, OSError, ValidationError)
"""The errors that a command may end with. Any other is a bug."""

# For each class of error, the exit status, the run's status as data, and the command to try next.
# The first class that fits decides; without an exit status, the status of the response does.
_ENDINGS: tuple[tuple[type[Exception], int | None, str | None, str], ...] = (
    (acp.RunWaitTimeout, 3, "pending", "wait"),
    (acp.RunInterrupted, 4, "interrupted", "wait --ask"),
    (acp.InterruptLimit, 4, "interrupted", "wait --ask"),
    (acp.RunTimedOut, 6, "timeout", ""),
    (acp.RunFailed, 5, "error", ""),
    (acp.RunGone, 7, "gone", ""),
    (acp.RunStartAmbiguous, 8, None, "show"),
    (acp.ResumeAmbiguous, None, None, "show"),
    (acp.StaleInterrupt, None, None, "show"),
    (acp.StreamGap, 9, None, "stream --on-gap mark"),
    (acp.ApiTypeError, 2, None, ""),
    (acp.ApiValueError, 2, None, ""),
    (ValidationError, 2, None, ""),
    (acp.NameResolutionException, 1, None, ""),  # trying later does not mend these three
    (acp.TLSException, 1, None, ""),
    (acp.ProtocolException, 1, None, ""),
    (acp.TransportException, 10, None, ""),
    (Exception, None, None, ""),
)


class Cancelled(acp.OpenApiException):
    """An error that ended a command, after which its run was cancelled."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


def status_of(error: Exception) -> int:
    if isinstance(error, Cancelled):
        return status_of(error.cause)
    status, _, _ = _ending(error)
    if status is not None:
        return status
    code = (error.status if isinstance(error, acp.ApiException) else None) or 0
    return 10 if code in (408, 429) or (code >= 500 and code != 501) else 1


def document(error: Exception) -> dict[str, Any]:
    """Return how a run ended without a result as data: ``run_id``, ``status``, and the details."""
    if isinstance(error, Cancelled):
        return document(error.cause) | {"status": "cancelled"}
    _, status, _ = _ending(error)
    known = {"run_id": getattr(error, "run_id", None) or None, "status": status}
    if isinstance(error, acp.RunFailed):
        return known | {"errcode": error.errcode, "description": error.description}
    if isinstance(error, acp.RunInterrupted):
        interrupt = {"type": error.interrupt.type, "payload": error.interrupt.payload}
        return known | {"interrupt": interrupt}
    if isinstance(error, acp.RunStartAmbiguous):
        return known | {"token": error.token}
    return known if status else known | {"error": _words(error)}


def report(error: Exception, output: Output, options: Namespace) -> int:
    """Print the run on stdout and the error on stderr, and return the exit status."""
    status = status_of(error)
    if isinstance(error, acp.RunStartAmbiguous):
        output.one(error.token if output.is_text else document(error), error.token)
    elif status in (3, 4, 5, 6, 7) or isinstance(error, Cancelled):
        known = document(error)
        output.one(known, known["run_id"])
    notice(f"{PROGRAM}: {_words(error)}")
    _, _, step = _ending(error)
    if step and getattr(error, "token", ""):
        if HARMLESS_ID.fullmatch(after := getattr(error, "last_event_id", "")):
            step += f" --from {after}"
        notice(f"next: {to_copy(step, error, options)}")
    return status


def to_copy(step: str, run: Any, options: Namespace) -> str:
    """Return a command about a run that a shell takes as it is; ``run`` is a handle or an error."""
    words = [PROGRAM, *step.split()]
    if step == "wait" and vars(options).get("ask"):
        words.append("--ask")
    if options.host is not None:
        words += ["--host", options.host]
    name = run.run_id
    if TOKEN.match(name) or not HARMLESS_ID.fullmatch(name):
        name = run.token() if isinstance(run, acp.RunHandle) else run.token
        with contextlib.suppress(acp.ApiValueError):  # for a run without an id
            name = acp.RunHandle(run.run_id, client_of(options)).token()  # shorter
    return shlex.join([*words, name])


def _ending(error: Exception) -> tuple[int | None, str | None, str]:
    return next(ending[1:] for ending in _ENDINGS if isinstance(error, ending[0]))


def _words(error: BaseException) -> str:
    """Describe an error without the advice for callers in Python."""
    run = f"run {getattr(error, 'run_id', '')}"
    cause = error.__cause__
    if isinstance(cause, acp.RunWaitTimeout):
        cause = cause.__cause__
    why = "" if cause is None else f": {_words(cause)}"
    if isinstance(error, Cancelled):
        return f"{_words(error.cause)}; the run was cancelled"
    if isinstance(error, acp.RunInterrupted):
        return f"{run} asks {error.interrupt.type!r}, and nobody answers"
    if isinstance(error, acp.InterruptLimit):
        return f"{run} asks again after {error.limit} answers"
    if isinstance(error, acp.RunWaitTimeout):
        after = f"has no output after {error.elapsed:.1f} s" if error.elapsed else "is not finished"
        return f"{run} {after}{why}"
    if isinstance(error, acp.RunStartAmbiguous):
        return f"unclear whether the run was started{why}"
    if isinstance(error, acp.ResumeAmbiguous):
        return f"unclear whether {run} got the answer{why}"
    if isinstance(error, acp.StreamGap):
        count = "events" if error.missing is None else f"{error.missing} events"
        return f"{count} of {run} are missing, or may be, after event {error.last_event_id!r}"
    if isinstance(error, acp.SearchDrift):
        return "the list changed while it was read: run the command again"
    if isinstance(error, acp.RunGone) and os.path.isfile(error.run_id):
        at = shlex.quote(f"@{error.run_id}")
        return f"{error}; {error.run_id} is a file: write {at} for the token in it"
    if isinstance(error, OSError) and error.filename:
        return f"cannot use {error.filename}: {error.strerror}"
    return in_shell_words(str(error))


def show_warnings(*, debug: bool) -> None:
    """Show the package's warnings on stderr, a line each, and with ``debug`` every request."""
    if debug:
        form = "%(name)s: %(message)s"
        logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format=form)
        return

    class Lines(logging.Handler):
        last = ""

        def emit(self, record: logging.LogRecord) -> None:
            if record.msg != self.last:  # all runs of a command have the same outage
                notice(f"{PROGRAM}: {in_shell_words(record.getMessage())}")
            self.last = record.msg

    def show(message: Warning | str, *rest: object, **more: object) -> None:
        notice(f"{PROGRAM}: {in_shell_words(str(message))}")

    logging.getLogger("acp_client_v0_1").addHandler(Lines(logging.WARNING))
    warnings.showwarning = show
