"""The commands: each is a few lines on top of agents, runs and batches.

The function of a command has the command's name. It gets the options, an `Output` and a client. It
returns an exit status, or None for 0. If it raises an error, `_outcomes` decides the exit status.
"""

from __future__ import annotations

import contextlib
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, BinaryIO, cast

import acp_client_v0_1 as acp
from acp_client_v0_1._arguments import imported
from acp_client_v0_1.cli._arguments import PROGRAM, WrongUsage, opened, parser
from acp_client_v0_1.cli._inputs import answerer, client_of, count_of, inputs_of, seconds_left
from acp_client_v0_1.cli._models import module_of
from acp_client_v0_1.cli._outcomes import document, to_copy
from acp_client_v0_1.cli._output import Output, notice, notice_unread, outline, text_of
from acp_client_v0_1.cli._results import Results
from acp_client_v0_1.cli._runs import at_once, each_run, followed, nothing_came, one_run, shown
from acp_client_v0_1.handles._match import is_on
from acp_client_v0_1.handles._token import decode_token

# The names of schemas that the contract calls otherwise.
_SCHEMAS = {"update": "custom_streaming_update"}
_OUTCOMES = (acp.RunFailed, acp.RunInterrupted, acp.RunGone, acp.RunWaitTimeout)
# The response to a ping may take this many seconds.
_PING = 10.0
# `AgentHandle.start` and `AgentHandle.map` have arguments with the names of these options, and with
# the names of the `RunOptions`.
_PASSED = "check client_token concurrency input journal ordered progress retry_failed reuse"


def perform(options: Namespace, output: Output) -> int | None:
    command: Callable[..., int | None] = globals()[options.command]
    if options.command in ("serve", "completion"):
        return command(options, output)
    with client_of(options) as client:
        return command(options, output, client)


def agents(options: Namespace, output: Output, client: acp.ApiClient) -> None:
    wanted = acp.AgentSearchRequest(name=options.name, version=options.version)
    columns = "metadata.ref.name metadata.ref.version agent_id metadata.description"
    found = acp.iter_agents(acp.AgentsApi(client), wanted)
    output.many(map(_record, found), "agent_id", columns)


def describe(options: Namespace, output: Output, client: acp.ApiClient) -> None:
    agent = acp.AgentHandle.get(options.agent, api_client=client)
    about = agent.descriptor().to_dict(mode="json")
    if options.schema:
        about = about["specs"].get(_SCHEMAS.get(options.schema, options.schema))
        if about is None:
            raise acp.ApiException(reason=f"{options.agent} declares no {options.schema}")
    text = outline(about).lstrip("\n") if output.is_text and not options.schema else about
    output.one(text, agent.agent_id)


def models(options: Namespace, output: Output, client: acp.ApiClient) -> None:
    descriptor = acp.AgentHandle.get(options.agent, api_client=client).descriptor()
    output.one(module_of(descriptor.metadata.ref.name, descriptor.specs).rstrip())


def start(options: Namespace, output: Output, client: acp.ApiClient) -> None:
    run = _start(options, client, seconds_left(options))
    about = {
        "run_id": run.run_id,
        "agent_id": run.agent_id,
        "thread_id": run.thread_id or None,
        "status": None if run.run is None else run.run.status.value,
        "token": run.token(),
    }
    with followed(run, options):
        output.one(run.token() if output.is_text else about, run.run_id)


def run(options: Namespace, output: Output, client: acp.ApiClient) -> None:
    answer, left = answerer(options), seconds_left(options)
    handle = _start(options, client, left)

    def print_event(event: acp.RunEvent) -> None:
        output.one(event.to_dict(), event.id)

    with followed(handle, options, cancel=options.cancel_on_exit):
        with shown(handle, options):
            result = handle.drive(
                answer or (lambda question: None),
                # The next command reads the ids of runs. It would take an event's id for a run's.
                on_event=print_event if options.streaming and options.format != "id" else None,
                timeout=left(),
            )
        output.one(result, handle.run_id)


def wait(options: Namespace, output: Output, client: acp.ApiClient) -> int:
    """Wait for runs, print their results, and return the largest of their exit statuses."""
    # Once the time is over, each run that is left is checked once: it may have ended long ago.
    answer, left = answerer(options), seconds_left(options, least=0)

    def result_of(run: acp.RunHandle) -> dict[str, Any]:
        with followed(run, options), shown(run, options):
            # With --ask, a person may have answered the questions of another run before. This time
            # does not count: each run gets the whole --timeout.
            seconds = options.timeout if options.ask else left()
            if seconds == 0 or answer is None:
                return run.result(seconds)
            return run.drive(answer, timeout=seconds)

    return each_run(options, output, client, result_of)


def stream(options: Namespace, output: Output, client: acp.ApiClient) -> None:
    handle = one_run(options, client)
    how = {"on_gap": options.on_gap, "timeout": options.timeout, "after": options.after}
    with followed(handle, options), handle.events(**how) as events:
        output.many((event.to_dict() for event in events), "id")
        if events.ended_by != "success":
            handle.result(timeout=0)
        if events.complete is None:
            notice("events may be missing, if the agent sends more: the stream does not show it")


def show(options: Namespace, output: Output, client: acp.ApiClient) -> int:
    return each_run(options, output, client, lambda run: run.refresh().to_dict(mode="json"))


def resume(options: Namespace, output: Output, client: acp.ApiClient) -> None:
    handle = one_run(options, client)
    handle.resume(options.body)
    output.one({"run_id": handle.run_id, "resumed": True}, handle.run_id)


def cancel(options: Namespace, output: Output, client: acp.ApiClient) -> int:
    return each_run(
        options, output, client, lambda run: {"run_id": run.run_id, "cancelled": run.cancel()}
    )


def delete(options: Namespace, output: Output, client: acp.ApiClient) -> int:
    def deleted(run: acp.RunHandle) -> dict[str, Any]:
        run.delete()
        return {"run_id": run.run_id, "deleted": True}

    return each_run(options, output, client, deleted)


def search(options: Namespace, output: Output, client: acp.ApiClient) -> None:
    wanted = acp.RunSearchRequest(
        agent_id=_agent_id(options, client), status=options.status, metadata=options.metadata
    )
    found = islice(acp.iter_runs(acp.RunsApi(client), wanted), options.limit)
    output.many(map(_record, found), "run_id", "status run_id created_at agent_id")


def threads(options: Namespace, output: Output, client: acp.ApiClient) -> None:
    wanted = acp.ThreadSearchRequest(agent_id=_agent_id(options, client), metadata=options.metadata)
    found = islice(acp.iter_threads(acp.ThreadsApi(client), wanted), options.limit)
    output.many(map(_record, found), "thread_id", "thread_id agent_id metadata")


def history(options: Namespace, output: Output, client: acp.ApiClient) -> None:
    """Print the runs of a thread, the oldest first, each with its input and outcome."""

    def outcome(run: acp.Run) -> dict[str, Any]:
        about = {"run_id": run.run_id, "input": run.creation.input}
        try:
            result = acp.RunHandle.of(run, client).result(timeout=0)
            return about | {"status": "success", "result": result}
        except _OUTCOMES as error:
            return about | document(error)

    runs = acp.ThreadsApi(client).get_thread_history(options.thread)
    output.many(at_once(outcome, [run for run in runs if is_on(run, options.thread)]))


def ping(options: Namespace, output: Output, client: acp.ApiClient) -> None:
    """Send the server one quick request, and print how long the response took."""
    agents = acp.AgentsApi(client.with_options(retries=0))
    began = time.perf_counter()
    # Some servers require a name.
    agents.search_agents({"name": "ping", "limit": 1}, _request_timeout=_PING)
    milliseconds = round(1000 * (time.perf_counter() - began), 1)
    server = client.configuration.host
    output.one({"server": server, "milliseconds": milliseconds}, server)


def doctor(options: Namespace, output: Output, client: acp.ApiClient) -> int:
    """Examine the server, and return the status of the report."""
    from acp_client_v0_1.doctor import examine  # the other commands need not load it

    if options.agent:
        notice(f"{PROGRAM}: this starts runs of {options.agent}, and deletes them in the end")
    report = examine(client, options.agent, options.input, options.deep, options.config)
    output.one(str(report) if output.is_text else report.to_dict(), report.server)
    return report.status


def batch(options: Namespace, output: Output, client: acp.ApiClient) -> int:
    """Run an agent on each line of a file.

    Return 5 if an item failed, or 1 if an item could not be printed, else 0.
    """
    field, wrong = options.key, list[WrongUsage]()
    if options.retry_failed and not options.journal:
        raise WrongUsage("--retry-failed needs --journal FILE")

    with contextlib.ExitStack() as files:
        lines = files.enter_context(opened(0 if options.file == "-" else options.file))
        results = files.enter_context(Results(options, lines)) if options.results else None
        seconds = options.timeout or None
        agent = acp.AgentHandle.get(options.agent, api_client=client, timeout=seconds)
        items = files.enter_context(
            agent.map(
                inputs_of(lines, options.file, field, wrong),
                total=count_of(lines, options.file) if options.progress else None,
                key=None if field is None else (lambda each: text_of(each[field])),
                timeout=options.timeout,
                on_interrupt=answerer(options),
                on_stop="cancel" if options.cancel_on_exit else "leave",
                **_passed(options),
            )
        )

        def printed() -> Iterable[dict[str, Any]]:
            yield from map(_item, items)
            # The error comes before the end of an array, so that the array stays open.
            if wrong:
                raise wrong[0]
            if not items.counts.drawn:
                nothing_came(options, "stdin" if options.file == "-" else options.file)

        outcomes = printed()
        if results is not None:
            output = Output(options.format, cast(BinaryIO, results))
            outcomes = results.after_journal(outcomes)
        output.many(outcomes)
        counts = items.counts
    if counts.failed:
        notice(f"{counts.failed} of {counts.drawn} items failed")
    return 5 if counts.failed else int(output.refused)


def serve(options: Namespace, output: Output) -> int:
    try:
        from acp_client_v0_1.testing.__main__ import serve as serve_until_signal
    except ImportError as error:
        raise WrongUsage(str(error)) from error
    try:
        return serve_until_signal(options.bind, options.port, options.api_key_env or "")
    except ValueError as error:
        raise WrongUsage(str(error).replace("host:", "--bind:", 1)) from error


def completion(options: Namespace, output: Output) -> None:
    shtab = imported("shtab", "completion", "cli")
    Output("text").one(shtab.complete(parser(), options.shell))


def _agent_id(options: Namespace, client: acp.ApiClient) -> str | None:
    return acp.AgentHandle.get(options.agent, api_client=client).agent_id if options.agent else None


def _start(options: Namespace, client: acp.ApiClient, left: Callable[[], Any]) -> acp.RunHandle:
    """Start a run.

    If a signal interrupts the create, tell how to find the run, or cancel it with --cancel-on-exit.
    Only a run that shows the mark of this create is cancelled.
    """
    agent = acp.AgentHandle.get(options.agent, api_client=client, timeout=left() or None)
    if options.input is None:
        notice_unread()
    try:
        return agent.start(thread_id=options.thread, timeout=left() or None, **_passed(options))
    except KeyboardInterrupt as interrupt:
        if token := vars(interrupt).get("token"):
            lost = Namespace(run_id="", token=token)
            notice(f"unclear whether the run was started: {to_copy('show', lost, options)}")
            if vars(options).get("cancel_on_exit"):
                mark = decode_token(token).mark
                with contextlib.suppress(acp.ApiException):
                    # The user has pressed Ctrl-C, so the search takes at most two seconds.
                    run = acp.RunHandle.from_token(token, client, timeout=2)
                    if mark and run.run and mark.shown_by(run.run) and run.cancel():
                        notice("the run was cancelled")
                        vars(interrupt)["cancelled"] = run.run_id
        raise


def _passed(options: Namespace) -> dict[str, Any]:
    names = {*_PASSED.split(), *acp.RunOptions.__optional_keys__}
    return {name: getattr(options, name) for name in names if name in options}


def _record(found: acp.Agent | acp.Run | acp.Thread) -> dict[str, Any]:
    return found.to_dict(mode="json")


def _item(item: acp.BatchItem) -> dict[str, Any]:
    about, error = item.to_dict(), item.error
    return about if error is None else about | document(error) | {"run_id": item.run_id}
