"""The command ``acp-client``: agents and runs for shells, cron and CI.

`main` is the border to the shell: it turns each way a command can end into one exit status and,
except for success, one line on stderr that says what to do next.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from argparse import Namespace
from typing import TextIO, cast

from acp_client_v0_1.cli._arguments import PROGRAM, parse
from acp_client_v0_1.cli._output import STOP, Output, Stderr, drop_stdout, notice

__all__ = ["main"]

# A shell reports a process that SIGPIPE ended as 128 + SIGPIPE.
_READER_GONE = 141


def main(arguments: list[str] | None = None) -> int:
    """Carry out one command. Call this in the main thread, because it sets signal handlers.

    Args:
        arguments: The command line without the program's name; the process's own by default.

    Returns:
        The exit status, as ``acp-client --help`` lists it.

    Raises:
        SystemExit: The command line is wrong (status 2), or asks for help or the version.
    """
    sys.stderr = cast("TextIO", Stderr())
    # A terminal that is closed sends SIGHUP, which Windows does not have.
    for number in {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        if signal.getsignal(number) is not signal.SIG_IGN:
            # A signal stays ignored if nohup or `command &` has set that. Only `serve` ends by it
            # nevertheless, because it has handlers of its own.
            signal.signal(number, STOP)
    hook, sys.excepthook = sys.excepthook, _one_line
    try:
        options = parse(arguments)
        sys.excepthook = hook if options.debug else _one_line
        return _perform(options)
    except BrokenPipeError:
        # The reader of stdout has closed it, so nobody gets the rest.
        drop_stdout()
        return _READER_GONE
    except KeyboardInterrupt as interrupt:
        # From here on, a further signal ends the process with this status.
        STOP.ending = True
        name = {1: "SIGHUP", signal.SIGTERM: "SIGTERM"}.get(STOP.number, "Ctrl-C")
        notice(f"{PROGRAM}: {str(interrupt) or f'stopped by {name}'}")
        return 128 + STOP.number


def _perform(options: Namespace) -> int:
    # These modules load pydantic and urllib3. --help and a mistyped option must not wait for that.
    from acp_client_v0_1.cli import _commands, _outcomes

    _outcomes.show_warnings(debug=options.debug)
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
        notice(f"{PROGRAM}: stdout is closed, so nothing was done; >/dev/null drops the output")
        return 1
    output = Output(options.format)
    try:
        return _commands.perform(options, output) or int(output.refused)
    except BrokenPipeError:
        # Only stdout raises this. A broken connection to the server raises the error of a call.
        raise
    except _outcomes.EXPECTED as error:
        if options.debug:
            sys.excepthook(type(error), error, error.__traceback__)
        return _outcomes.report(error, output, options)
    except KeyboardInterrupt as interrupt:
        # A command that has cancelled its run sets this attribute. If the terminal was closed,
        # nobody reads the record.
        if run_id := vars(interrupt).get("cancelled"):
            with contextlib.suppress(OSError):
                output.one({"run_id": run_id, "status": "cancelled"}, run_id)
        raise


def _one_line(kind: type[BaseException], error: BaseException, *rest: object) -> None:
    notice(f"{PROGRAM}: {kind.__name__}: {error} (--debug shows where)")
