"""The command line: a table of arguments, a table of commands, and the parser made of both.

The module imports nothing slower than argparse and json, so that ``--help`` is quick.

Invariants: JSON is read and checked here, so that a mistake in it is a usage error that names the
argument. Only the argument ``-`` reads stdin. Only JSON and RUN arguments may be @FILE. No option
takes a credential.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from typing import Any, BinaryIO, ClassVar, NoReturn, cast

from acp_client_v0_1._contract import STATUSES
from acp_client_v0_1._version import __version__

PROGRAM = "acp-client"

_IN_QUOTES = '; write JSON in quotes, as \'{"key": "value"}\', or pass @FILE'
_STRAIGHT = "; its quotes are typographic, as a word processor writes them: use \" and '"

# How a text begins that was given for the name of a file, and what to do instead.
_NO_FILES = {
    "@": "; write it with one @ less",
    "acprun": "; it is a token: write it without @",
    **dict.fromkeys("{[", "; it is JSON, not the name of a file: run takes it, without @"),
}

_ABOUT = """\
Run the agents of an ACP 0.1 server: start a run, wait for its result or stream it,
answer its questions, pick it up from another shell, run a whole file of inputs.

The server and the credentials come from the environment: ACP_HOST, ACP_API_KEY,
ACP_TOKEN and the other ACP_* variables."""

_NOTES = """\
AGENT is an id or a name; RUN is an id, a token (as `start` prints it), @FILE for a
file of ids and tokens, one a line, or - for such lines on stdin.
JSON is text, @FILE, or - for stdin.

exit status:
  0 success               1 the server refused       2 wrong usage
  3 not finished in time  4 a question is open       5 the run failed
  6 the run timed out     7 the run is gone          8 unclear whether the run was started
  9 events are missing    10 not now: try later      11 something differs (doctor)
  130 Ctrl-C (but serve then ends with 0)"""


class WrongUsage(ValueError):
    """An argument cannot be used."""


def opened(path: str | int) -> BinaryIO:
    """Open a file, or stdin for 0."""
    try:
        return open(path, "rb", closefd=path != 0)
    except (OSError, ValueError) as error:
        # A NUL in the name raises ValueError.
        reason = getattr(error, "strerror", None) or str(error)
        name = "stdin" if path == 0 else str(path)
        hint = next((words for begin, words in _NO_FILES.items() if name.startswith(begin)), "")
        raise WrongUsage(f"cannot read {name:.100}: {reason}{hint}") from error


def content_of(argument: str) -> bytes:
    """Return the content of @FILE or - (stdin), or the text of any other argument."""
    if argument != "-" and not argument.startswith("@"):
        return argument.encode("utf-8", "surrogateescape")
    if argument == "@":
        raise WrongUsage("the name of a file is needed after @: is a variable not set?")
    with opened(0 if argument == "-" else argument[1:]) as file:
        return file.read()


def checked_id(text: str) -> str:
    """Return an id or a name.

    Refuse control characters, which a terminal would obey, and others that are not visible. Refuse
    "", which is what a shell makes of an unset variable: without its condition, a search finds all.
    """
    if text and text.isprintable():
        return text
    why = "is empty, or has control or invisible characters, or bytes that are not UTF-8"
    raise WrongUsage(f"the id or name {text!a:.60} {why}; nothing was sent")


def parsed_object(text: str | bytes) -> dict[str, Any]:
    """Read a JSON object (RFC 8259), or raise ValueError."""
    if not text or text.isspace():
        raise ValueError("empty, and a JSON object is needed")
    try:
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    except RecursionError as error:
        raise ValueError("JSON that is nested too deep to read") from error
    except ValueError as error:
        # "line 1" is left out: the text is often one line of a file, and the caller names its
        # number.
        why = re.sub(r": line 1 (column \d+) \(char \d+\)$", r" at \1", str(error))
        raise ValueError(f"not JSON: {why}") from error
    if not isinstance(value, dict):
        raise ValueError(f"not a JSON object: {json.dumps(value)[:60]}")
    return cast("dict[str, Any]", value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(value := dict(members)) < len(members):
        names = [name for name, _ in members]
        raise ValueError(f"an object has the key {Counter(names).most_common(1)[0][0]!r:.60} twice")
    return value


def _object(argument: str) -> dict[str, Any]:
    content = content_of(argument)
    try:
        return parsed_object(content)
    except ValueError as error:
        place = f"{argument[1:] or 'stdin'} is " if argument == "-" or argument[:1] == "@" else ""
        hint = ""
        if not place and "not JSON:" in str(error):
            # A shell without quotes around the text has taken its quotes away.
            is_bare = not re.match(r"\s*\{\s*[\"'}]", argument)
            hint = _STRAIGHT if re.search("[\u2018-\u201e]", argument) else _IN_QUOTES * is_bare
            if os.path.isfile(argument):
                hint = f"; it is a file: write {shlex.quote(f'@{argument}')}"
        raise ValueError(f"{place}{error}{hint}") from error


def _number(
    kind: Callable[[str], float], least: float, most: float, what: str, argument: str
) -> float:
    """Read a number from ``least`` to ``most``. ``what`` describes such a number in an error."""
    try:
        number = kind(argument)
    except ValueError:
        # No range has NaN, so the check below refuses the text.
        number = math.nan
    if not least <= number <= most:
        raise ValueError(f"{what} is needed, not {argument}")
    return number


def _value(metavar: str, help: str, **more: Any) -> dict[str, Any]:
    return {"metavar": metavar, "help": help, **more}


def _choice(help: str, choices: str, **more: Any) -> dict[str, Any]:
    return {"choices": choices.split(), "help": help, **more}


def _flag(help: str) -> dict[str, Any]:
    return {"action": "store_true", "help": help}


_RUN = "id, token, @FILE of ids or tokens, or - for stdin"
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "agent": _value("AGENT", "id or name"),
    "run": _value("RUN", _RUN),
    "runs": _value("RUN", _RUN, nargs="+"),
    "thread": _value("THREAD", "id of the thread"),
    "input": _value("INPUT", "a JSON object, @FILE or -", nargs="?"),
    "body": _value("BODY", "the answer: a JSON object, @FILE or -"),
    "file": _value(
        "FILE", "inputs as JSON Lines, or CSV (its values are text) in NAME.csv; - for stdin"
    ),
    "shell": _choice("the shell", "bash zsh fish"),
    "--name": _value("NAME", "only agents of this name"),
    "--version": _value("VERSION", "only this version"),
    "--schema": _choice(
        "print only this schema", "input output config update thread_state interrupts"
    ),
    "--stream": _choice("stream it; `run` prints its events", "custom result", dest="streaming"),
    "--timeout": _value("SECONDS", "to start the run and wait, in all"),
    "wait --timeout": _value("SECONDS", "to wait, in all; 0 checks each run once"),
    "stream --timeout": _value("SECONDS", "to wait for one event"),
    "batch --timeout": _value("SECONDS", "to wait for each run"),
    "--cancel-on-exit": _flag("cancel what runs, and lose its result, on Ctrl-C or a failure"),
    "--ask": _flag("answer questions here, with a line of JSON each"),
    "--answer-command": _value("CMD", "answer by a shell command: question in, JSON out"),
    "--from": _value("ID", "continue after the event with this id", dest="after"),
    "--on-gap": _choice(
        "at a gap, end with status 9, or print it (%(default)s)", "raise mark", default="raise"
    ),
    "--agent": _value("AGENT", "only this agent"),
    # What an argument is for one command alone stands below the command's name.
    "doctor --agent": _value("AGENT", "run it: up to five runs, deleted in the end"),
    "--status": _choice("only in this status", " ".join(STATUSES)),
    "--limit": _value("N", "the most to list"),
    "--config": _value("JSON", "the agent's settings"),
    "--metadata": _value("JSON", "metadata to find it by"),
    "--check": _flag("check the input by the agent's schema (needs jsonschema-rs)"),
    "--thread": _value("ID", "the thread to run on"),
    "--client-token": _value("TEXT", "a mark of this run, for --reuse"),
    "--reuse": _flag("use the run with this client token if there is one"),
    "--concurrency": _value("N", "runs at once (%(default)s)", default="8"),
    "--ordered": _flag("print in the order of the inputs"),
    "--key": _value("FIELD", "the member of each input that names its item"),
    "--journal": _value("FILE", "record what is done, and continue from there"),
    "--retry-failed": _flag("run what failed in the journal again"),
    "--require-input": _flag("end with status 2 if stdin or FILE is empty"),
    "--results": _value("FILE", "append results to this file instead of printing them"),
    "--progress": _flag("a bar on stderr (needs tqdm)"),
    "--bind": _value("ADDRESS", "address to listen at (%(default)s)", default="127.0.0.1"),
    "--port": _value("N", "port; 0 takes a free one (%(default)s)", default="8000"),
    "--api-key-env": _value("NAME", "require the API key of this environment variable"),
    "--host": _value("URL", "the server, instead of ACP_HOST"),
    "--format": _choice(
        "form of stdout (%(default)s); json is indented on a terminal", "json jsonl text id"
    ),
    "--input": _value("JSON", "the agent's input: some seconds of work tell most"),
    "--deep": _flag("try long polls of a minute, which takes up to five minutes"),
    "--debug": _flag("log requests, show tracebacks"),
}
_READERS: dict[Callable[[str], Any], str] = {
    checked_id: "agent thread",
    _object: "input body config metadata",
    partial(_number, int, 1, 10**9, "a whole number above 0"): "limit concurrency",
    partial(_number, float, 0, sys.float_info.max, "a number of seconds, 0 or more,"): "timeout",
    partial(_number, int, 0, 65535, "a number from 0 to 65535"): "port",
}

# The heading of each group of commands in the help, by the group's first command.
_GROUPS = {
    "agents": "agents",
    "run": "start a run",
    "wait": "a run that exists",
    "search": "runs and threads",
    "batch": "many runs",
    "ping": "server and shell",
}
# What each command does, and an example. `_commands` has a function of the same name.
_COMMANDS: dict[str, tuple[str, str]] = {
    "agents": ("list agents", "--name counter"),
    "describe": ("show what an agent takes and returns", "counter --schema input"),
    "models": ("print pydantic models of an agent (needs datamodel-code-generator)", "counter"),
    "run": ("start a run, wait, and print its result", "counter '{\"count\": 3}' --stream custom"),
    "start": ("start a run and print its token", "counter '{\"count\": 3}' > run.token"),
    "wait": ("wait for runs and print their results", "@run.token --timeout 60"),
    "stream": ("print the events of a run as they come", "@run.token"),
    "show": ("show runs and their status", "@run.token"),
    "resume": ("answer the question of an interrupted run", "@run.token '{\"approved\": true}'"),
    "cancel": ("end runs that are not final, which deletes them", "@run.token"),
    "delete": ("delete runs and their results", "@run.token"),
    "search": ("list all matching runs", "--status interrupted"),
    "threads": ("list all matching threads", "--agent echo"),
    "history": ("print the runs of a thread with their outputs", "THREAD --format jsonl"),
    "batch": ("run an agent on each line of a file", "counter inputs.jsonl --journal a.journal"),
    "ping": ("send the server one quick request", "--host http://127.0.0.1:8000"),
    "doctor": ("show what the server can do", "--agent counter --input '{\"interval\": 1}'"),
    "serve": ("run a local ACP server with agents to try", "--port 8000"),
    "completion": ("print a completion script for a shell (needs shtab)", "bash > acp.bash"),
}
# These options may also stand before the command.
_ANYWHERE = ("--host", "--debug")
_COMMON = "--host --format --debug"
_CREATING = "--config --metadata --check"
_ONE = f"agent input --stream {_CREATING} --thread --client-token --reuse {_COMMON}"
_TAKES = {
    "agents": f"--name --version {_COMMON}",
    "describe": f"agent --schema {_COMMON}",
    "models": "agent --host --debug",
    "run": f"--timeout --ask --answer-command --cancel-on-exit {_ONE}",
    "start": _ONE,
    "wait": f"runs --timeout --ask --answer-command --require-input {_COMMON}",
    "stream": f"run --from --on-gap --timeout {_COMMON}",
    **dict.fromkeys(("show", "cancel", "delete"), f"runs --require-input {_COMMON}"),
    "resume": f"run body {_COMMON}",
    "search": f"--agent --status --metadata --limit {_COMMON}",
    "threads": f"--agent --metadata --limit {_COMMON}",
    "history": f"thread {_COMMON}",
    "batch": (
        "agent file --concurrency --ordered --key --timeout --answer-command --journal "
        f"--retry-failed --cancel-on-exit --results --progress --require-input {_CREATING} "
        f"{_COMMON}"
    ),
    "ping": _COMMON,
    "doctor": f"--agent --input --config --deep {_COMMON}",
    "serve": "--bind --port --api-key-env --debug",
    "completion": "shell --debug",
}
# What a shell completes an argument with: files, or the names of agents. The names come from a
# server, and bash evaluates the words that it completes from.
_FILES = {
    "bash": "_shtab_compgen_files",
    "zsh": "_files",
    "fish": "(__fish_complete_path (commandline -ct))",
    "tcsh": "f",
}
_NAMES = (
    f"{PROGRAM} agents --format text 2>/dev/null </dev/null | "
    "sed -n '1d; s/^\\([A-Za-z0-9][A-Za-z0-9._:+/-]*\\)  .*/\\1/p'"
)
_AGENTS: dict[str, Any] = {
    "bash": "_acp_client_agents",
    "zsh": "_acp_client_agents",
    "fish": f"({_NAMES})",
    "tcsh": "",
    "preamble": {
        "bash": f'_acp_client_agents() {{ compgen -W "$({_NAMES})" -- "$1"; }}',
        "zsh": f'_acp_client_agents() {{ compadd -- ${{(f)"$({_NAMES})"}}; }}',
    },
}
_COMPLETED = {
    **dict.fromkeys(("file", "--journal", "--results"), _FILES),
    **dict.fromkeys(("agent", "--agent"), _AGENTS),
}
# In a variable ACP_* that is a flag, these words mean true.
_TRUE = ("1", "true", "yes", "on")
# The default formats. A command that is not listed here prints JSON by default.
_FORMATS = {
    "models": "text",
    "start": "text",
    "doctor": "text",
    "stream": "jsonl",
    "batch": "jsonl",
}


class _Parser(argparse.ArgumentParser):
    """A parser whose help has the commands in groups, and whose errors say what was meant."""

    # The words of the whole command line.
    words: ClassVar[Sequence[str]] = ()

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse does not flush. At exit, it would be too late to handle the error of a flush.
        print(message, end="", file=file or sys.stderr, flush=True)

    def format_help(self) -> str:
        text = super().format_help()
        for first, heading in _GROUPS.items():
            # Since CPython 3.14, the help may have an escape sequence before a command.
            text = re.sub(rf"\n(?=    \S*{first}\b)", f"\n  {heading}:\n", text, count=1)
        return text

    def error(self, message: str) -> NoReturn:
        top = ["--help", *_COMMANDS, *_ANYWHERE, "--version"]
        commands = [self.prog.rpartition(" ")[2], *self.words]
        takes = _TAKES[next((one for one in commands if one in _TAKES), "ping")].split()
        options = [one for one in takes if one[0] == "-"]
        known = top if self.prog == PROGRAM else ["--help", *options]
        # The help lists the commands. CPython 3.15 adds a suggestion of its own.
        message = re.sub(r"((?:COMMAND|shell): .*?['\"]),? (maybe|\(choose) .*", r"\1", message)
        for word in takewhile("--".__ne__, self.words):
            name, is_option = word.partition("=")[0], word.startswith("-") and word != "-"
            if name in known or not (is_option or message.endswith(f"invalid choice: {word!r}")):
                continue
            if hint := _meant(name, known, takes):
                # The message may be about another word, and a value may be a credential.
                super().error((f"unrecognized arguments: {name}" if is_option else message) + hint)
        super().error(f"{message:.200}")


def _meant(name: str, known: list[str], takes: list[str]) -> str:
    """Return the end of an error about a word that is unknown here.

    ``takes`` has the arguments of the command. They are not known before the command.
    """
    # Only a mistake pays for these imports.
    from acp_client_v0_1._names import closest
    from acp_client_v0_1.configuration._environment import VARIABLES

    ours: dict[str, str] = {}
    if name[0] == "-":
        if "--host" in takes:
            ours |= {each.lower(): f"set ACP_{each}" for each in VARIABLES}
            ours["verify_ssl"] += "=false"
        for one in takes:
            where = f"write {one} after the command"
            ours[_bare(one)] = where if one[0] == "-" else f"write {one.upper()} without {name}"
    if "--format" in takes:
        ours["json"] = "leave it out: --format says how the output is written"
    # No command is the server, or the host.
    alike = [one for one in known if one not in _ANYWHERE or name[0] == "-"]
    ours |= {_bare(one): f"did you mean {one!r}?" for one in alike}
    bare, cutoff = _bare(name), 0.7 if name[0] == "-" else 0.66
    # What looks like an option that begins with --no is the opposite of it.
    exact = bare in ours or bare.startswith("no_")
    meant = bare if exact else closest(bare, ours, cutoff, advice=False).partition("=")[0]
    return f"; {ours[meant]}" if meant in ours else ""


def _bare(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line, or end the process with status 2."""
    _Parser.words = sys.argv[1:] if arguments is None else arguments
    options, unknown = parser().parse_known_args(arguments)
    takes = _TAKES[options.command].split()
    if all(word == "-" or word[:1] != "-" for word in unknown):
        # argparse gives an argument that may be left out, or is repeated, nothing that stands after
        # an option.
        if "runs" in takes:
            options.runs, unknown = options.runs + unknown, []
        elif unknown and "input" in takes and options.input is None:
            options.input = unknown.pop(0)
    if unknown:
        # The command's own parser reports this, because its usage lists the options that exist.
        # The value of an option may be a credential.
        named = [word.partition("=")[0] for word in unknown if word[:1] == "-"] or unknown
        option = "--name" if "--name" in takes else "--agent"
        is_agent = option in takes and named is unknown
        hint = f"; if that is an agent, write {option} {unknown[0]:.60}" * is_agent
        hint = _IN_QUOTES if re.fullmatch(r"[^{].*\}", unknown[-1]) else hint
        hint = "; write --host and the URL" if "://" in named[0] else hint
        options.parser.error(f"unrecognized arguments: {' '.join(named):.100}{hint}")
    if list(vars(options).values()).count("-") > 1:
        options.parser.error("only one argument can be -, which stands for stdin")
    # A word that is neither true nor false counts as false here. `Configuration` refuses it later.
    options.debug = options.debug or os.environ.get("ACP_DEBUG", "").strip().lower() in _TRUE
    # The texts are read after argparse, so that an unknown option is named first. Otherwise
    # `run echo --api-key KEY` would complain about INPUT.
    readers = {name: read for read, names in _READERS.items() for name in names.split()}
    for name, text in list(vars(options).items()):
        try:
            # A shell makes "" of a variable that is not set. Only an event may be after "".
            if text == "" and name != "after":
                raise ValueError("it is empty: is a variable not set?")
            if isinstance(text, str) and name in readers:
                setattr(options, name, readers[name](text))
        except (OSError, ValueError) as error:
            shown = name.upper() if name in takes else f"--{name.replace('_', '-')}"
            options.parser.error(f"argument {shown}: {error}")
    return options


def parser() -> argparse.ArgumentParser:
    """Build the parser, with a parser for each command."""
    # A part of the name of an option may be meant for another: --answer for --answer-command.
    how: Any = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    top = _Parser(PROGRAM, None, _ABOUT, _NOTES, **how)
    top.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    for option in _ANYWHERE:
        top.add_argument(option, **_ARGUMENTS[option])
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name, (what, example) in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=what,
            description=f"{what[0].upper()}{what[1:]}.",
            epilog=f"example:\n  {PROGRAM} {name} {example}",
            **how,
        )
        for argument in _TAKES[name].split():
            # A default would replace what was given before the command.
            more: dict[str, Any] = {"default": argparse.SUPPRESS} if argument in _ANYWHERE else {}
            declared = _ARGUMENTS.get(f"{name} {argument}", _ARGUMENTS[argument])
            added: Any = command.add_argument(argument, **declared, **more)
            if argument in _COMPLETED:
                added.complete = _COMPLETED[argument]
        command.set_defaults(command=name, parser=command, format=_FORMATS.get(name, "json"))
    return top
