"""What a command reads while it runs: settings, time, inputs of a batch, answers to questions."""

from __future__ import annotations

import codecs
import contextlib
import csv
import json
import shlex
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import acp_client_v0_1 as acp
from acp_client_v0_1.cli._arguments import WrongUsage, parsed_object
from acp_client_v0_1.cli._output import beside_bars, notice

# The first bytes of files that are not text, and what to do with each kind.
_POWERSHELL = ": in PowerShell, write the file with Out-File -Encoding utf8"
_BINARY = {
    **dict.fromkeys((b"\xff\xfe", b"\xfe\xff", b"{\0", b"\0{"), _POWERSHELL),
    b"\x1f\x8b": ": unpack it first, as gunzip -k does",
    b"PK\3\4": ": it is a ZIP archive or an Excel file: unpack it, or save it as CSV",
}


def client_of(options: Namespace) -> acp.ApiClient:
    """Make the client from the environment and --host."""
    settings = {} if options.host is None else {"host": options.host}
    configuration = acp.Configuration.from_env(**settings)
    if configuration.host_is_default:
        raise WrongUsage("no host was set: set ACP_HOST, or give --host URL")
    return acp.ApiClient(configuration)


def seconds_left(options: Namespace, least: float = 0.001) -> Callable[[], float | None]:
    """Return a function that gives what is left of --timeout for all requests of a command.

    The function never gives less than ``least``.
    """
    seconds, began = vars(options).get("timeout"), time.monotonic()
    # None means no limit, and 0 checks a run once. Both are returned as they are.
    return lambda: seconds and max(least, began + seconds - time.monotonic())


def count_of(file: BinaryIO, name: str) -> int | None:
    """Return the number of inputs of a file. None if the file can be read only once."""
    if not file.seekable():
        return None
    start = file.tell()
    count = sum(1 for _ in _records(file, name))
    file.seek(start)
    return count


def _records(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes | dict[str, Any]]]:
    """Yield the lines of a file that are not blank, each with its number.

    If the name of the file ends with .csv, yield its rows instead.
    """
    if not name.lower().endswith(".csv"):
        for number, line in enumerate(file, 1):
            # UTF-16 has such bytes. `json.loads` would read its first line, and no other.
            how = next((s for b, s in _BINARY.items() if number == 1 and line.startswith(b)), "")
            if how or b"\0" in line:
                raise WrongUsage(f"line {number} of {name} is not UTF-8 text{how}")
            if not line.isspace():
                yield number, line
        return
    # The default is 128 KiB. More would overflow the C long of Windows.
    csv.field_size_limit(2**31 - 1)
    rows = csv.reader(codecs.iterdecode(file, "utf-8-sig"), strict=True)
    try:
        names = next(rows, list[str]())
        if len({*names, ""}) <= len(names):
            raise csv.Error("it has a name twice, or an empty one")
        for row in filter(None, rows):
            if len(row) != len(names):
                raise csv.Error("it does not have one value for each name of the first line")
            if len(row) == 1 and not {";", "\t"}.isdisjoint(names[0]):
                raise csv.Error("its values are not separated by commas")
            yield rows.line_num, dict(zip(names, row, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        # `line_num` does not count a line that cannot be decoded.
        number = rows.line_num + isinstance(error, UnicodeDecodeError)
        raise WrongUsage(f"line {number} of {name} is not CSV: {error}") from error


def inputs_of(
    file: BinaryIO, name: str, key: str | None, wrong: list[WrongUsage]
) -> Iterator[dict[str, Any]]:
    """Yield the inputs of a file of JSON Lines or CSV. Each input is read when it is needed.

    A line that is not an input ends the inputs, and its error is put into ``wrong``. If the error
    were raised here, the outcomes of the lines before would be lost.
    """
    try:
        for index, (number, record) in enumerate(_records(file, name)):
            try:
                value = record if isinstance(record, dict) else parsed_object(record.rstrip())
            except ValueError as error:
                hint = _hint(record, name) if number == 1 and isinstance(record, bytes) else ""
                raise WrongUsage(f"line {number} of {name} is {error}{hint}") from error
            if value is record and index == 0:
                names = ", ".join(value)
                notice(f"{name} is CSV: an input for each row, with text for {names:.150}")
            if key is not None and key not in value:
                raise WrongUsage(f"line {number} of {name} has no member {key!r} for --key")
            yield value
    except WrongUsage as error:
        wrong.append(error)


def _hint(line: bytes, name: str) -> str:
    """Return advice for a first line as of CSV, of an array or of an object in several lines."""
    if line.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
        return f"; to convert an array: jq -c '.[]' {shlex.quote(name)}"
    if line.lstrip().startswith(b"{"):
        return "" if b"}" in line else "; write each object in one line, as jq -c . does"
    is_csv = not {*b",;\t"}.isdisjoint(line)
    return "; CSV with commas is read from a file whose name ends with .csv" if is_csv else ""


def answerer(options: Namespace) -> Callable[[acp.PendingInterrupt], dict[str, Any] | None] | None:
    """Choose who answers questions: the terminal, a command, or nobody."""
    if vars(options).get("ask"):
        if options.answer_command:
            raise WrongUsage("--ask and --answer-command exclude each other")
        return _ask
    command = options.answer_command
    return (lambda question: _answer_of(command, question)) if command else None


@beside_bars()
def _ask(question: acp.PendingInterrupt) -> dict[str, Any] | None:
    # Python sets stdin to None if it is closed.
    if sys.stdin is None or not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        notice("--ask needs a terminal")
        return None
    notice(f"{question.type}: {json.dumps(question.payload, ensure_ascii=False)}")
    while True:
        sys.stderr.write("answer (a JSON object in one line): ")
        sys.stderr.flush()
        line = sys.stdin.buffer.readline()
        if not line:
            # The person has pressed Ctrl-D.
            return None
        try:
            return parsed_object(line)
        except ValueError as error:
            notice(str(error))


def _answer_of(command: str, question: acp.PendingInterrupt) -> dict[str, Any] | None:
    """Return the answer that a shell command prints, or None if it fails or prints no answer."""
    asked = json.dumps({"type": question.type, "payload": question.payload}).encode()
    # If there are several runs, each has a thread of its own. Such a thread does not hold the lock
    # of the terminal while its command runs, because the other threads would wait for the lock.
    is_main = threading.current_thread() is threading.main_thread()
    with beside_bars() if is_main else contextlib.nullcontext():
        ran = subprocess.run(command, shell=True, input=asked, stdout=subprocess.PIPE)
    if ran.returncode:
        notice(f"the answer command ended with status {ran.returncode}")
    else:
        try:
            return parsed_object(ran.stdout)
        except ValueError as error:
            notice(f"what the answer command printed is {error}")
    return None
