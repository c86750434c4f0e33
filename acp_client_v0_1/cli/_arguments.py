"""The command line: one parser, and in it one for each command.

Only argparse and json are needed, so that ``--help`` is quick.

Invariants: JSON is read and checked here, so that a mistake in it is a usage error that names the
argument; stdin is read for ``-`` alone; no option takes a credential.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any, NoReturn, cast

from acp_client_v0_1._version import __version__

__all__ = ["PROGRAM", "parser"]

PROGRAM = "acp-client"

_ABOUT = """\
Run the agents of an ACP 0.1 server: start a run, wait for its result or stream it,
answer its questions, pick it up from another shell, run a whole file of inputs.

The server and the credentials come from the environment: ACP_HOST, ACP_API_KEY,
ACP_TOKEN and the other ACP_* variables."""

_NOTES = """\
AGENT is an id or a name; RUN is an id or a token (as `start` prints it).
JSON is text, @FILE, or - for stdin.

exit status:
  0 success               1 the call failed          2 wrong usage
  3 not finished in time  4 a question is open       5 the run failed
  6 the run timed out     7 the run is gone          8 unclear whether the run was started
  9 events are missing    130 Ctrl-C"""


def parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog=PROGRAM,
        description=_ABOUT,
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _agents(commands)
    _starting(commands)
    _on_runs(commands)
    _many(commands)
    _local(commands)
    return top


def _agents(commands: Any) -> None:
    agents = _command(commands, "agents", "list agents", "agents --name counter")
    agents.add_argument("--name", help="only agents of this name")
    agents.add_argument("--version", metavar="VERSION", help="only this version")
    describe = _command(
        commands, "describe", "show what an agent takes and gives", "describe counter"
    )
    _agent(describe)


def _starting(commands: Any) -> None:
    run = _command(
        commands,
        "run",
        "start a run, wait, and print its result",
        """run counter '{"count": 3}' --stream custom""",
    )
    _agent(run)
    _input(run)
    run.add_argument("--stream", choices=("custom", "result"), help="print events as they come")
    _answering(run)
    _timeout(run, "seconds to wait for each result, question or event")
    run.add_argument(
        "--cancel-on-exit",
        action="store_true",
        help="end the run (and lose its result) if this command is interrupted or fails",
    )
    _creating(run)
    start = _command(
        commands,
        "start",
        "start a run and print its token",
        """start counter '{"count": 3}' > run.token""",
        form="text",
    )
    _agent(start)
    _input(start)
    start.add_argument("--stream", choices=("custom", "result"), help="let the run be streamed")
    _creating(start)


def _on_runs(commands: Any) -> None:
    wait = _command(
        commands, "wait", "wait for runs and print their results", "wait @run.token --timeout 60"
    )
    wait.add_argument("run", metavar="RUN", nargs="+", type=_text, help="id, token, @FILE or -")
    _timeout(wait, "seconds to wait for each run; 0 looks once")
    _answering(wait)
    stream = _command(
        commands, "stream", "print the events of a run as they come", "stream RUN", form="jsonl"
    )
    _run(stream)
    stream.add_argument("--from", dest="after", metavar="ID", help="go on after this event's id")
    stream.add_argument(
        "--on-gap",
        choices=("raise", "mark"),
        default="raise",
        help="when events are missing: end with status 9, or print the gap and go on (%(default)s)",
    )
    _timeout(stream, "seconds to wait for each event")
    _run(_command(commands, "show", "show a run and its status", "show RUN"))
    resume = _command(
        commands,
        "resume",
        "answer the question of an interrupted run",
        """resume RUN '{"approved": true}'""",
    )
    _run(resume)
    resume.add_argument("body", metavar="BODY", type=_object, help="the answer, a JSON object")
    cancel = "end a run that is not final; ACP 0.1 does it by deleting the run"
    _run(_command(commands, "cancel", cancel, "cancel RUN"))
    _run(_command(commands, "delete", "delete a run and its result", "delete RUN"))


def _many(commands: Any) -> None:
    search = _command(
        commands, "search", "list every run that matches", "search --status interrupted"
    )
    search.add_argument("--agent", metavar="AGENT", help="only runs of this agent")
    search.add_argument(
        "--status", choices=("pending", "interrupted", "success", "error", "timeout")
    )
    search.add_argument(
        "--metadata", metavar="JSON", type=_object, help="only runs with these members"
    )
    search.add_argument("--limit", metavar="N", type=_count, help="the most runs to list")
    batch = _command(
        commands,
        "batch",
        "run an agent on each line of a file",
        "batch counter inputs.jsonl --journal counter.journal --concurrency 50",
        form="jsonl",
    )
    _agent(batch)
    batch.add_argument("file", metavar="FILE", help="inputs as JSON Lines, or - for stdin")
    batch.add_argument(
        "--concurrency", metavar="N", type=_count, default=8, help="runs at once (%(default)s)"
    )
    batch.add_argument("--ordered", action="store_true", help="print in the order of the inputs")
    batch.add_argument("--journal", metavar="FILE", help="remember what is done, and go on there")
    batch.add_argument(
        "--retry-failed", action="store_true", help="run what failed in the journal again"
    )
    batch.add_argument("--results", metavar="FILE", help="write results here instead of stdout")
    batch.add_argument("--progress", action="store_true", help="a bar on stderr (needs tqdm)")
    _timeout(batch, "seconds to wait for each run")
    _creating(batch, one=False)


def _local(commands: Any) -> None:
    serve = _command(
        commands, "serve", "run a local ACP server with agents to try", "serve --port 8000", form=""
    )
    serve.add_argument(
        "--bind", metavar="ADDRESS", default="127.0.0.1", help="address to listen at (%(default)s)"
    )
    serve.add_argument(
        "--port", metavar="N", type=int, default=8000, help="port, 0 for a free one (%(default)s)"
    )
    completion = _command(
        commands,
        "completion",
        "print what completes this command in a shell (needs shtab)",
        "completion bash > ~/.local/share/bash-completion/completions/acp-client",
        form="",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))


def _command(
    commands: Any, name: str, what: str, example: str, form: str = "json"
) -> argparse.ArgumentParser:
    """Add a command, with the options that all of its kind have.

    Args:
        commands: The subparsers.
        name: The command's name, also that of its function in `_commands`.
        what: What it does, for the list of commands and its own help.
        example: Arguments of an example.
        form: The output format if none is chosen, "" for a command that asks no server.
    """
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example:\n  {PROGRAM} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(command=name, format=form or "json")
    if form:
        made.add_argument("--host", metavar="URL", help="the server, instead of ACP_HOST")
        made.add_argument(
            "--format",
            choices=("json", "jsonl", "text", "id"),
            default=form,
            help="what stdout gets (%(default)s); json is indented on a terminal",
        )
    made.add_argument("--debug", action="store_true", help="log requests, show tracebacks")
    return made


def _agent(command: argparse.ArgumentParser) -> None:
    command.add_argument("agent", metavar="AGENT", help="id or name")


def _run(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", metavar="RUN", type=_text, help="id, token, @FILE or -")


def _input(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "input", metavar="INPUT", nargs="?", type=_object, help="a JSON object, @FILE or -"
    )


def _timeout(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--timeout", metavar="SECONDS", type=_seconds, help=what)


def _answering(command: argparse.ArgumentParser) -> None:
    way = command.add_mutually_exclusive_group()
    way.add_argument(
        "--ask", action="store_true", help="answer questions here, with a line of JSON each"
    )
    way.add_argument(
        "--answer-command",
        metavar="CMD",
        help="answer questions by a shell command: the question on its stdin, JSON on its stdout",
    )


def _creating(command: argparse.ArgumentParser, *, one: bool = True) -> None:
    """Add what is said of runs when they are created."""
    command.add_argument("--config", metavar="JSON", type=_object, help="the agent's settings")
    command.add_argument("--metadata", metavar="JSON", type=_object, help="to find the run by")
    command.add_argument(
        "--check", action="store_true", help="check the input by the agent's schema (jsonschema-rs)"
    )
    if one:
        command.add_argument("--thread", metavar="ID", help="the thread to run on")
        command.add_argument(
            "--client-token", metavar="TEXT", help="what marks this run, for --reuse"
        )
        command.add_argument(
            "--reuse",
            action="store_true",
            help="use the run with this client token if there is one",
        )


def _text(argument: str) -> str:
    """Read an argument that may be @FILE or - (stdin)."""
    if argument == "-":
        return sys.stdin.read().strip()
    if not argument.startswith("@"):
        return argument
    try:
        with open(argument[1:], encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise argparse.ArgumentTypeError(f"cannot read {argument[1:]}: {reason}") from None


def _object(argument: str) -> dict[str, Any]:
    """Read an argument that is a JSON object."""
    try:
        value = json.loads(_text(argument), parse_constant=_refuse)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f'not JSON: {error}; write it in quotes, as \'{{"key": "value"}}\', or pass @FILE'
        ) from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"a JSON object is needed, not {json.dumps(value)[:60]}")
    return cast("dict[str, Any]", value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _count(argument: str) -> int:
    if argument.isascii() and argument.isdigit() and 0 < len(argument) < 10 and int(argument):
        return int(argument)
    raise argparse.ArgumentTypeError(f"a whole number above 0 is needed, not {argument}")


def _seconds(argument: str) -> float:
    try:
        seconds = float(argument)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"a number of seconds is needed, not {argument}")
    return seconds
