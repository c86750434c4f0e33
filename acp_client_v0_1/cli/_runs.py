"""The runs of a command: how RUN names them, and how several are handled.

Invariant: the id of a run, which a server chose, is never read as a file or an option.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import acp_client_v0_1 as acp
from acp_client_v0_1._arguments import TOKEN_BEGINNING
from acp_client_v0_1._text import HARMLESS_ID, one_line
from acp_client_v0_1.cli._arguments import WrongUsage, checked_id, content_of
from acp_client_v0_1.cli._outcomes import EXPECTED, document, status_of, to_copy
from acp_client_v0_1.cli._output import TERMINAL, Output, notice

T = TypeVar("T")
R = TypeVar("R")
Act = Callable[[acp.RunHandle], dict[str, Any]]

# The line that shows a wait appears after this many seconds, and changes at this interval.
_TICK = 1.0
# A command has at most this many threads, and as many requests at once.
_AT_ONCE = 64


def nothing_came(options: Namespace, source: str) -> None:
    """Say that stdin or a file is empty, or raise `WrongUsage` if the command needs an input."""
    words = f"there was no input in {source}: did the step before it fail?"
    if vars(options).get("require_input", True):
        raise WrongUsage(words)
    notice(words)


def _runs(options: Namespace, client: acp.ApiClient) -> Iterator[acp.RunHandle]:
    """Read RUN arguments.

    On stdin, a name that begins with @ is no file: a server may have chosen the ids there.
    """
    for argument in vars(options).get("runs") or [options.run]:
        # Bytes that are not UTF-8 become characters that no id may have.
        text = content_of(argument).decode("utf-8-sig", "surrogateescape")
        if argument != "-" and not argument.startswith("@"):
            yield _run(text, client)
            continue
        names = [line.strip(" \t\r") for line in text.split("\n")]
        if argument == "-" and not any(names):
            nothing_came(options, "stdin")
        # The file may be another one: `delete` must not take its words for ids, and no error may
        # quote it.
        others = [name for name in names if name and not _is_name(name)]
        if argument != "-" and (others or not any(names)):
            where = f"line {names.index(others[0]) + 1 if others else 1} of {argument[1:]}"
            raise WrongUsage(f"{where} has no id or token of a run; nothing was sent")
        yield from (_run(name, client) for name in names if name)


def _is_name(text: str) -> bool:
    return bool(HARMLESS_ID.fullmatch(text) or TOKEN_BEGINNING.match(text))


def _run(text: str, client: acp.ApiClient) -> acp.RunHandle:
    if text.startswith(('{"', "[")):
        raise WrongUsage("an id or a token is needed for RUN, not JSON: print it by --format id")
    if TOKEN_BEGINNING.match(checked_id(text)):
        return acp.RunHandle.from_token(text, client)
    return acp.RunHandle(text, client)


def one_run(options: Namespace, client: acp.ApiClient) -> acp.RunHandle:
    """Read the RUN argument of a command that takes one run."""
    handles = list(_runs(options, client))
    if len(handles) != 1:
        raise WrongUsage(f"{options.run[1:] or 'stdin'} must name one run, not {len(handles)}")
    return handles[0]


def each_run(options: Namespace, output: Output, client: acp.ApiClient, act: Act) -> int:
    """Call ``act`` for up to 64 runs at a time, print what it returns, and return an exit status.

    If there are several runs, the error of a run is printed as its outcome, `wait` prints the run's
    name and status beside its result, and the exit status is the largest of all runs.
    """
    statuses = [0]

    def outcome(run: acp.RunHandle) -> dict[str, Any]:
        try:
            value, about = act(run), {"run_id": run.run_id, "status": "success"}
            return about | {"result": value} if options.command == "wait" else value
        except EXPECTED as error:
            statuses.append(status_of(error))
            return document(error) | {"run_id": run.run_id}

    handles = list(_runs(options, client))
    if len(handles) == 1 and options.runs != ["-"]:
        output.one(act(handles[0]), handles[0].run_id)
    else:
        # A terminal has room for one question at a time.
        outcomes = map(outcome, handles) if vars(options).get("ask") else at_once(outcome, handles)
        output.many(outcomes)
    return max(statuses)


def at_once(act: Callable[[T], R], values: Sequence[T]) -> Iterator[R]:
    """Call a function for many values at once, and yield the results in order.

    The threads are daemons, so that Ctrl-C does not wait for them. A ``ThreadPoolExecutor`` would
    wait, and the ``ThreadPool`` of multiprocessing needs semaphores of the system, for which it
    starts another process on some platforms.
    """
    outcomes = deque(Future[R]() for _ in values)
    # Each thread takes one of these and ends.
    ends = [None] * _AT_ONCE
    tasks = deque([*zip(outcomes, values, strict=True), *ends])

    def work() -> None:
        for outcome, value in iter(tasks.popleft, None):
            try:
                outcome.set_result(act(value))
            except BaseException as error:  # noqa: BLE001 - raised where the outcome is read
                outcome.set_exception(error)

    for _ in range(min(_AT_ONCE, len(values))):
        threading.Thread(target=work, daemon=True).start()
    try:
        while outcomes:
            yield outcomes.popleft().result()
    finally:
        tasks.extendleft(ends)


@contextlib.contextmanager
def followed(run: acp.RunHandle, options: Namespace, *, cancel: bool = False) -> Generator[None]:
    """If an exception ends the block, tell how to pick up the run, or cancel it with ``cancel``.

    Nothing is done if the run has failed or is gone. Nothing is told if a later line does so.
    """
    try:
        yield
    except (acp.RunFailed, acp.RunGone):
        # The run is over, so nobody can pick it up.
        raise
    except BaseException as error:
        way = to_copy("wait", run, options)
        if not cancel:
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(f"the run may continue on the server: {way}") from None
            # The error of a request or of stdout is not about the run, so this notice names it. A
            # BrokenPipeError is left out, because nobody reads the rest then.
            lost = type(error) is OSError
            unnamed = isinstance(error, acp.ApiException) and status_of(error) in (1, 10)
            if lost or (unnamed and options.command == "run"):
                notice(f"the run was started: {way}")
            raise
        try:
            cancelled = run.cancel()
        except (acp.ApiException, KeyboardInterrupt) as failure:
            why = str(failure) or "stopped by a signal"
            notice(f"the run was not cancelled: {why}; {to_copy('cancel', run, options)}")
            raise error from None
        if not cancelled:
            notice(f"the run had finished, and is kept: {way}")
        else:
            vars(error)["cancelled"] = run.run_id
            if not isinstance(error, acp.OpenApiException):
                notice(f"run {run.run_id} was cancelled")
        raise


@contextlib.contextmanager
def shown(run: acp.RunHandle, options: Namespace) -> Generator[None]:
    """Show a line on a terminal while a run is waited for: its status, and the seconds.

    The line appears after a second, so that a quick command does not load tqdm.
    """
    # There is no line in these cases. If there are several runs, each has a thread of its own, and
    # the line has room for one run only. With --debug, log records would mix with the line. With
    # --stream, events would mix with the line if the reader of stdout writes to the terminal.
    is_main = threading.current_thread() is threading.main_thread()
    is_quiet = is_main and not options.debug and not vars(options).get("streaming")
    if not is_quiet or not sys.stderr.isatty():
        yield
        return
    ended, began = threading.Event(), time.monotonic()

    def line() -> str:
        status = "pending" if run.status is None else run.status.value
        # The server chose the status and the id, and must not write lines of its own.
        return one_line(f"{status}, {time.monotonic() - began:.0f} s, run {run.run_id}")

    def show() -> None:
        if ended.wait(_TICK):
            return
        with contextlib.suppress(ImportError):
            # Without the extra `cli` there is no tqdm, and no line.
            with TERMINAL:
                from tqdm import tqdm

                # Older versions of tqdm cut only a line with a bar to the terminal's width.
                bar = tqdm(desc=line(), bar_format="{desc}{bar}", leave=False, file=sys.stderr)
            with bar:
                while not ended.wait(_TICK):
                    bar.set_description_str(line())

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
