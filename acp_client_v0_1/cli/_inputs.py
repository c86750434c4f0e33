"""What a command reads while it runs: the inputs of a batch, answers to questions."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import acp_client_v0_1 as acp
from acp_client_v0_1.cli._arguments import WrongUsage, json_object
from acp_client_v0_1.cli._output import notice


def client_of(options: Namespace) -> acp.ApiClient:
    """Make the client from the environment and --host."""
    settings = {} if options.host is None else {"host": options.host}
    configuration = acp.Configuration.from_env(**settings)
    if configuration.host_is_default:
        raise WrongUsage("no host was set: set ACP_HOST, or give --host URL")
    return acp.ApiClient(configuration)


def inputs_of(lines: Iterable[bytes], name: str, key: str | None) -> Iterator[dict[str, Any]]:
    """Read JSON Lines, each line when it is needed."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json_object(line.rstrip())
        except ValueError as error:
            hint = _conversion(line, name) if number == 1 else ""
            raise WrongUsage(f"line {number} of {name} is {error}{hint}") from error
        if key is not None and key not in value:
            raise WrongUsage(f"line {number} of {name} has no member {key!r} for --key")
        yield value


def _conversion(line: bytes, name: str) -> str:
    """Return a hint that converts a file which begins like CSV or a JSON array."""
    if line.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
        read = "json.load"
    elif b"," in line and not line.lstrip().startswith(b"{"):
        read = "csv.DictReader"
    else:
        return ""
    records = f"{read}(open(0, encoding='utf-8-sig'))"
    script = f"import csv, json; [print(json.dumps(each)) for each in {records}]"
    return f'; to convert it: python3 -c "{script}" < {shlex.quote(name)} > inputs.jsonl'


def answerer(options: Namespace) -> Callable[[acp.PendingInterrupt], dict[str, Any] | None] | None:
    """Choose who answers questions: the terminal, a command, or nobody."""
    if vars(options).get("ask"):
        if options.answer_command:
            raise WrongUsage("--ask and --answer-command exclude each other")
        return _ask
    command = options.answer_command
    return (lambda question: _answer_of(command, question)) if command else None


def _ask(question: acp.PendingInterrupt) -> dict[str, Any] | None:
    if not sys.stdin.isatty():
        notice("--ask needs a terminal")
        return None
    notice(f"{question.type}: {json.dumps(question.payload, ensure_ascii=False)}")
    while True:
        sys.stderr.write("answer (a JSON object in one line): ")
        sys.stderr.flush()
        line = sys.stdin.buffer.readline()
        if not line:
            return None  # Ctrl-D
        try:
            return json_object(line)
        except ValueError as error:
            notice(str(error))


def _answer_of(command: str, question: acp.PendingInterrupt) -> dict[str, Any] | None:
    """Ask a shell command for the answer, which is None if it fails or prints nothing."""
    asked = json.dumps({"type": question.type, "payload": question.payload}).encode()
    ran = subprocess.run(command, shell=True, input=asked, stdout=subprocess.PIPE)
    if ran.returncode:
        notice(f"the answer command ended with status {ran.returncode}")
    elif ran.stdout.strip():
        try:
            return json_object(ran.stdout)
        except ValueError as error:
            notice(f"what the answer command printed is {error}")
    return None
