"""The commands: each a few lines on top of agents, runs and batches.

A command gets the options and an `Output`; it returns an exit status other than 0 only where
something is amiss that raised no error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO, cast

from acp_client_v0_1 import (
    AgentHandle,
    AgentsApi,
    AgentSearchRequest,
    ApiClient,
    ApiException,
    ApiValueError,
    Configuration,
    OpenApiException,
    PendingInterrupt,
    RunEvent,
    RunHandle,
    RunsApi,
    RunSearchRequest,
    iter_agents,
    iter_runs,
)
from acp_client_v0_1.cli._arguments import PROGRAM, parser
from acp_client_v0_1.cli._outcomes import document, status_of
from acp_client_v0_1.cli._output import Output, notice

if TYPE_CHECKING:
    from acp_client_v0_1 import BatchItem

__all__ = [
    "agents",
    "batch",
    "cancel",
    "completion",
    "delete",
    "describe",
    "resume",
    "run",
    "search",
    "serve",
    "show",
    "start",
    "stream",
    "wait",
]


def agents(options: argparse.Namespace, output: Output) -> None:
    """List agents."""
    with _client(options) as client:
        wanted = AgentSearchRequest(name=options.name, version=options.version)
        found = iter_agents(AgentsApi(client), wanted)
        output.many((agent.to_dict(mode="json"), agent.agent_id) for agent in found)


def describe(options: argparse.Namespace, output: Output) -> None:
    """Print an agent's descriptor."""
    with _client(options) as client:
        agent = _agent(options.agent, client)
        output.one(agent.descriptor().to_dict(mode="json"), agent.agent_id)


def start(options: argparse.Namespace, output: Output) -> None:
    """Start a run and print its token."""
    with _client(options) as client:
        run = _start(options, client)
        output.one(run.token() if output.is_text else _started(run), run.run_id)


def run(options: argparse.Namespace, output: Output) -> None:
    """Start a run, follow it, and print its result."""
    with _client(options) as client:
        handle = _start(options, client)
        with _followed(handle, cancel=options.cancel_on_exit):
            result = handle.drive(
                _answerer(options),
                on_event=_writer(output) if options.stream else None,
                timeout=options.timeout,
            )
            output.one(result, handle.run_id)


def wait(options: argparse.Namespace, output: Output) -> int:
    """Wait for runs and print their results; the status is the largest of theirs."""
    with _client(options) as client:
        handles = [_run(text, client) for text in options.run]
        if len(handles) == 1:
            with _followed(handles[0]):
                output.one(_result(handles[0], options), handles[0].run_id)
            return 0
        statuses = [0]
        output.many(_outcomes(handles, options, statuses))
        return max(statuses)


def stream(options: argparse.Namespace, output: Output) -> None:
    """Print the events of a run as they come."""
    with _client(options) as client:
        handle = _run(options.run, client)
        after = {} if options.after is None else {"after": options.after}
        with (
            _followed(handle),
            handle.events(on_gap=options.on_gap, timeout=options.timeout, **after) as events,
        ):
            output.many((_event(event), event.id) for event in events)
            if events.complete is None:
                notice("the stream was broken, and whether events are missing cannot be known")


def show(options: argparse.Namespace, output: Output) -> None:
    """Print a run."""
    with _client(options) as client:
        output.one(_run(options.run, client).refresh().to_dict(mode="json"))


def resume(options: argparse.Namespace, output: Output) -> None:
    """Answer a run's question."""
    with _client(options) as client:
        handle = _run(options.run, client)
        handle.resume(options.body)
        output.one({"run_id": handle.run_id, "resumed": True}, handle.run_id)


def cancel(options: argparse.Namespace, output: Output) -> None:
    """End a run that is not final."""
    with _client(options) as client:
        handle = _run(options.run, client)
        output.one({"run_id": handle.run_id, "cancelled": handle.cancel()}, handle.run_id)


def delete(options: argparse.Namespace, output: Output) -> None:
    """Make the server forget a run."""
    with _client(options) as client:
        handle = _run(options.run, client)
        handle.delete()
        output.one({"run_id": handle.run_id, "deleted": True}, handle.run_id)


def search(options: argparse.Namespace, output: Output) -> None:
    """List the runs that match."""
    with _client(options) as client:
        agent_id = _agent(options.agent, client).agent_id if options.agent else None
        wanted = RunSearchRequest(
            agent_id=agent_id, status=options.status, metadata=options.metadata
        )
        found = islice(iter_runs(RunsApi(client), wanted), options.limit)
        output.many((each.to_dict(mode="json"), each.run_id) for each in found)


def batch(options: argparse.Namespace, output: Output) -> int:
    """Run an agent on each line of a file; the status is 5 if an item failed."""
    with _client(options) as client, contextlib.ExitStack() as files:
        agent = _agent(options.agent, client)
        if options.results:
            results = files.enter_context(open(options.results, "a", encoding="utf-8"))
            output = Output(options.format, results)
        lines = sys.stdin if options.file == "-" else files.enter_context(_opened(options.file))
        items = files.enter_context(
            agent.map(
                _inputs(lines, options.file),
                concurrency=options.concurrency,
                ordered=options.ordered,
                journal=options.journal,
                retry_failed=options.retry_failed,
                timeout=options.timeout,
                progress=options.progress or None,
                **_creation(options),
            )
        )
        output.many((_item(item), item.run_id) for item in items)
        failed = items.counts.failed
    if failed:
        notice(f"{failed} of {items.counts.done + failed} items failed")
    return 5 if failed else 0


def serve(options: argparse.Namespace, output: Output) -> int:
    """Run the local server until Ctrl-C."""
    from acp_client_v0_1.testing.__main__ import main as serve_until_signal

    return serve_until_signal(["--host", options.bind, "--port", str(options.port)])


def completion(options: argparse.Namespace, output: Output) -> None:
    """Print what completes the command in a shell."""
    try:
        import shtab
    except ImportError as error:
        raise ApiValueError("completion needs shtab: pip install 'acp-client-v0-1[cli]'") from error
    sys.stdout.write(shtab.complete(parser(), shell=options.shell))


# What the commands share


@contextlib.contextmanager
def _client(options: argparse.Namespace) -> Generator[ApiClient, None, None]:
    chosen = {} if options.host is None else {"host": options.host}
    with ApiClient(Configuration.from_env(**chosen)) as client:
        yield client


def _agent(text: str, client: ApiClient) -> AgentHandle:
    return AgentHandle.get(text, api_client=client)


def _run(text: str, client: ApiClient) -> RunHandle:
    if text.startswith("acprun"):
        return RunHandle.from_token(text, client)
    return RunHandle(text, client)


def _start(options: argparse.Namespace, client: ApiClient) -> RunHandle:
    return _agent(options.agent, client).start(
        options.input,
        streaming=options.stream,
        thread_id=options.thread,
        client_token=options.client_token,
        reuse=options.reuse,
        **_creation(options),
    )


def _creation(options: argparse.Namespace) -> dict[str, Any]:
    return {"config": options.config, "metadata": options.metadata, "check": options.check}


def _started(run: RunHandle) -> dict[str, Any]:
    status = None if run.run is None else run.run.status.value
    return {
        "run_id": run.run_id,
        "agent_id": run.agent_id,
        "thread_id": run.thread_id or None,
        "status": status,
        "token": run.token(),
    }


@contextlib.contextmanager
def _followed(run: RunHandle, *, cancel: bool = False) -> Generator[None, None, None]:
    """Say where a run can be picked up if Ctrl-C ends the command; or cancel it, if asked to."""
    try:
        yield
    except BaseException as error:
        if cancel:
            ended = run.cancel()
            notice(f"run {run.run_id} was {'cancelled' if ended else 'finished already'}")
        elif isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"the run goes on: {PROGRAM} wait {run.token()}") from None
        raise


def _result(run: RunHandle, options: argparse.Namespace) -> dict[str, Any]:
    if options.timeout == 0:
        return run.result(timeout=0)
    return run.drive(_answerer(options), timeout=options.timeout)


def _outcomes(
    runs: list[RunHandle], options: argparse.Namespace, statuses: list[int]
) -> Iterator[tuple[Any, str]]:
    """Wait for several runs in turn; an error is an outcome, and the next run is waited for."""
    for run in runs:
        with _followed(run):
            try:
                result = _result(run, options)
                outcome = {"run_id": run.run_id, "status": "success", "result": result}
            except ApiException as error:
                statuses.append(status_of(error))
                outcome = document(error) | {"run_id": run.run_id}
        yield outcome, run.run_id


def _writer(output: Output) -> Callable[[RunEvent], None]:
    return lambda event: output.one(_event(event), event.id)


def _event(event: RunEvent) -> dict[str, Any]:
    known: dict[str, Any] = {"id": event.id}
    if event.update is None:
        known["result"] = event.result
    else:
        known["update"] = event.update
    if event.gap is not None:
        known["gap"] = {"kind": event.gap.kind, "missing": event.gap.missing}
    return known


def _item(item: BatchItem) -> dict[str, Any]:
    known: dict[str, Any] = {"index": item.index, "key": item.key, "run_id": item.run_id}
    try:
        return known | {"status": "success", "result": item.result()}
    except OpenApiException as error:
        return known | {**document(error), "run_id": item.run_id}


def _opened(path: str) -> TextIO:
    try:
        return open(path, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ApiValueError(f"cannot read {path}: {error.strerror}") from error


def _inputs(lines: Iterable[str], name: str) -> Iterator[dict[str, Any]]:
    """Read JSON Lines, a line when it is needed."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not line.isascii() and any("\udc80" <= character <= "\udcff" for character in line):
            raise ApiValueError(f"line {number} of {name} is not UTF-8 text")
        try:
            value = json.loads(line)
        except ValueError as error:
            raise ApiValueError(f"line {number} of {name} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ApiValueError(f"line {number} of {name} must be a JSON object")
        yield cast("dict[str, Any]", value)


def _answerer(
    options: argparse.Namespace,
) -> Callable[[PendingInterrupt], dict[str, Any] | None]:
    """Choose who answers questions: the terminal, a command, or nobody."""
    if options.ask:
        return _ask
    if options.answer_command:
        return lambda question: _answer_of(options.answer_command, question)
    return lambda question: None


def _ask(question: PendingInterrupt) -> dict[str, Any] | None:
    if not sys.stdin.isatty():
        notice("--ask needs a terminal")
        return None
    notice(f"{question.type}: {json.dumps(question.payload, ensure_ascii=False)}")
    while True:
        sys.stderr.write("answer (a JSON object in one line): ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return None  # Ctrl-D
        try:
            answer = json.loads(line)
        except ValueError as error:
            notice(f"not JSON: {error}")
            continue
        if isinstance(answer, dict):
            return cast("dict[str, Any]", answer)
        notice("not a JSON object")


def _answer_of(command: str, question: PendingInterrupt) -> dict[str, Any] | None:
    """Ask a shell command for the answer; one that fails or prints nothing gives none."""
    asked = json.dumps({"type": question.type, "payload": question.payload})
    ran = subprocess.run(command, shell=True, input=asked, stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        notice(f"the answer command ended with status {ran.returncode}")
        return None
    if not ran.stdout.strip():
        return None
    try:
        answer = json.loads(ran.stdout)
    except ValueError as error:
        raise ApiValueError(f"the answer command printed no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise ApiValueError("the answer command must print a JSON object")
    return cast("dict[str, Any]", answer)
