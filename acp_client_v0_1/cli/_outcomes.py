"""How a command ends: for each error the exit status, the data on stdout, and the next step."""

from __future__ import annotations

import logging
import os
import shlex
import warnings
from argparse import Namespace
from typing import Any, TypeAlias

from pydantic import ValidationError

import acp_client_v0_1 as acp
from acp_client_v0_1._arguments import TOKEN_BEGINNING
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1._text import HARMLESS_ID
from acp_client_v0_1.cli._arguments import PROGRAM, WrongUsage
from acp_client_v0_1.cli._output import Output, notice
from acp_client_v0_1.handles._records import outcome_of

# The errors that a command may end with. Any other is a bug.
EXPECTED = (acp.OpenApiException, OSError, ValidationError, WrongUsage)

# For each class of error: the exit status, and the command to try next.
# The first class that fits decides. If it has no exit status, `status_of` asks the retry rules of a
# single call whether trying later may help.
_Errors: TypeAlias = "type[Exception] | tuple[type[Exception], ...]"
_ENDINGS: tuple[tuple[_Errors, int | None, str], ...] = (
    (acp.RunWaitTimeout, 3, "wait"),
    ((acp.RunInterrupted, acp.InterruptLimit), 4, "wait --ask"),
    (acp.RunTimedOut, 6, ""),
    (acp.RunFailed, 5, ""),
    (acp.RunGone, 7, ""),
    (acp.RunStartAmbiguous, 8, "show"),
    ((acp.ResumeAmbiguous, acp.StaleInterrupt), None, "show"),
    (acp.StreamGap, 9, "stream --on-gap mark"),
    ((acp.ApiTypeError, acp.ApiValueError, ValidationError, WrongUsage), 2, ""),
    # Trying later does not mend these three.
    ((acp.NameResolutionException, acp.TLSException, acp.ProtocolException), 1, ""),
    (Exception, None, ""),
)


def status_of(error: Exception) -> int:
    may_pass = isinstance(error, acp.ApiException) and failure_of(error).passes
    return _ending(error)[0] or (10 if may_pass else 1)


def document(error: Exception) -> dict[str, Any]:
    """Return, as data, how a run ended without a result, in the words of a shell."""
    ending = outcome_of(error)
    return ending | {"error": _words(error)} if "error" in ending else ending


def report(error: Exception, output: Output, options: Namespace) -> int:
    """Print the run on stdout and the error on stderr, and return the exit status."""
    end, words = dict[str, Any](), ""
    if isinstance(error, acp.OpenApiException) and "cancelled" in vars(error):
        end, words = {"status": "cancelled"}, "; the run was cancelled"
    status = status_of(error)
    if isinstance(error, acp.RunStartAmbiguous):
        output.one(error.token if output.is_text else document(error), error.token)
    elif status in (3, 4, 5, 6, 7) or end:
        ending = document(error) | end
        output.one(ending, ending["run_id"])
    notice(f"{PROGRAM}: {_words(error)}{words}")
    _, step = _ending(error)
    if step and not end and getattr(error, "token", ""):
        if HARMLESS_ID.fullmatch(after := getattr(error, "last_event_id", "")):
            step += f" --from {after}"
        notice(f"next: {to_copy(step, error, options)}")
    return status


def to_copy(step: str, run: Any, options: Namespace) -> str:
    """Return a command line about a run, quoted for a shell. ``run`` is a handle or an error."""
    words = [PROGRAM, *step.split()]
    if step == "wait" and vars(options).get("ask"):
        words.append("--ask")
    if options.host is not None:
        words += ["--host", options.host]
    name = run.run_id or ""
    if TOKEN_BEGINNING.match(name) or not HARMLESS_ID.fullmatch(name):
        name = run.token() if isinstance(run, acp.RunHandle) else run.token
    return shlex.join([*words, name])


def _ending(error: Exception) -> tuple[int | None, str]:
    return next(ending[1:] for ending in _ENDINGS if isinstance(error, ending[0]))


def _words(error: Exception) -> str:
    """Describe an error without the advice for callers in Python."""
    if isinstance(error, acp.RunGone) and os.path.isfile(error.run_id):
        at = shlex.quote(f"@{error.run_id}")
        return f"{error}; {error.run_id} is a file: write {at} for the ids or tokens in it"
    if isinstance(error, OSError) and error.filename:
        return f"cannot use {error.filename}: {error.strerror}"
    words = error.without("hint") if isinstance(error, acp.OpenApiException) else str(error)
    return f"{words}, and nobody answers" if isinstance(error, acp.RunInterrupted) else words


def show_warnings(*, debug: bool) -> None:
    """Show each warning, and each log record of the package from WARNING on, as a line on stderr.

    With ``debug``, show all log records, also those of each request, and let Python show warnings.
    """
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
        return

    class Lines(logging.Handler):
        last = ""

        def emit(self, record: logging.LogRecord) -> None:
            if record.msg != self.last:
                # All runs of a command meet the same outage. It is reported once.
                notice(f"{PROGRAM}: {record.getMessage()}")
            self.last = record.msg

    def show(message: Warning | str, *rest: object, **more: object) -> None:
        notice(f"{PROGRAM}: {message}")

    logging.getLogger("acp_client_v0_1").addHandler(Lines(logging.WARNING))
    warnings.showwarning = show
