"""The runs of a command: how RUN names them, and how several are handled.

Invariant: the id of a run, which a server chose, is never read as a file or an option.
"""

from __future__ import annotations

import contextlib
import re
import threading
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import acp_client_v0_1 as acp
from acp_client_v0_1.cli._arguments import PROGRAM, content_of
from acp_client_v0_1.cli._outcomes import EXPECTED, Cancelled, document, status_of
from acp_client_v0_1.cli._output import Output, notice

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 64  # the most threads, and requests at once
_TOKEN = re.compile(r"acprun[0-9]+\.")  # how the token of a run begins


def client_of(options: Namespace, **settings: Any) -> acp.ApiClient:
    """Make the client from the environment and --host."""
    if options.host is not None:
        settings["host"] = options.host
    return acp.ApiClient(acp.Configuration.from_env(**settings))


def _runs(arguments: Iterable[str], client: acp.ApiClient) -> Iterator[acp.RunHandle]:
    """Read RUN arguments. On stdin, @ is plain: a server may have chosen the ids there."""
    for argument in arguments:
        if argument == "-":
            lines = _text(argument).split("\n")
            yield from (_run(line.strip(" \t\r"), client) for line in lines if line.strip(" \t\r"))
        elif argument.startswith("@"):
            text = _text(argument).strip()
            if not _TOKEN.match(text):
                raise acp.ApiValueError(f"{argument[1:]} has no token of a run; nothing was sent")
            yield _run(text, client)
        else:
            yield _run(argument, client)


def _text(argument: str) -> str:
    try:
        return content_of(argument).decode("utf-8-sig")
    except ValueError as error:
        raise acp.ApiValueError(str(error)) from error


def _run(text: str, client: acp.ApiClient) -> acp.RunHandle:
    if not text.isprintable():
        raise acp.ApiValueError(f"the id {text!a} has control characters; nothing was sent")
    if _TOKEN.match(text):
        return acp.RunHandle.from_token(text, client)
    return acp.RunHandle(text, client)


def one_run(argument: str, client: acp.ApiClient) -> acp.RunHandle:
    """Read the RUN argument of a command that takes one run."""
    handles = list(_runs([argument], client))
    if len(handles) != 1:
        raise acp.ApiValueError(f"stdin must name one run, and names {len(handles)}")
    return handles[0]


def each_run(
    options: Namespace,
    output: Output,
    client: acp.ApiClient,
    act: Callable[[acp.RunHandle], dict[str, Any]],
    named: Callable[[acp.RunHandle, dict[str, Any]], dict[str, Any]] = lambda run, value: value,
) -> int:
    """Do something with all runs at once. If there are several, an error is an outcome, too."""
    statuses = [0]

    def outcome(run: acp.RunHandle) -> dict[str, Any]:
        try:
            return named(run, act(run))
        except acp.ApiException as error:
            statuses.append(status_of(error))
            return document(error) | {"run_id": run.run_id}

    handles = list(_runs(options.runs, client))
    if len(handles) == 1 and options.runs != ["-"]:
        output.one(act(handles[0]), handles[0].run_id)
    elif vars(options).get("ask"):  # a terminal has room for one question
        output.many(map(outcome, handles))
    else:
        output.many(at_once(outcome, handles))
    return max(statuses)


def at_once(act: Callable[[T], R], values: Sequence[T]) -> Iterator[R]:
    """Call a function for many values at once, and yield the results in order."""
    waiting = deque((Future[R](), value) for value in values)
    outcomes = deque(outcome for outcome, _ in waiting)

    def work() -> None:
        while True:
            try:
                outcome, value = waiting.popleft()
            except IndexError:
                return  # none is left
            try:
                outcome.set_result(act(value))
            except EXPECTED as error:
                outcome.set_exception(error)
            finally:
                outcome.cancel()  # after any other error, which the thread prints

    # Daemons, so that Ctrl-C does not wait for them.
    for _ in range(min(_AT_ONCE, len(values))):
        threading.Thread(target=work, daemon=True).start()
    try:
        while outcomes:
            yield outcomes.popleft().result()
    finally:
        waiting.clear()


@contextlib.contextmanager
def followed(run: acp.RunHandle, *, cancel: bool = False) -> Generator[None, None, None]:
    """Print how to pick the run up after Ctrl-C, or with ``cancel``, cancel it on any error."""
    try:
        yield
    except (acp.RunFailed, acp.RunGone):
        raise  # the run is over
    except BaseException as error:
        if not cancel:
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(
                    f"the run continues on the server: {PROGRAM} wait {run.token()}"
                ) from None
            raise
        try:
            cancelled = run.cancel()
        except (acp.ApiException, KeyboardInterrupt) as failure:
            why = str(failure) or "stopped by a signal"
            notice(f"the run was not cancelled: {why}; {PROGRAM} cancel {run.token()}")
            raise error from None
        if not cancelled:
            notice(f"the run had finished, and is kept: {PROGRAM} wait {run.token()}")
        elif isinstance(error, acp.OpenApiException):
            raise Cancelled(error) from error
        else:
            notice(f"run {run.run_id} was cancelled")
        raise
