"""What a server chose, ids and results, is data for the command: no option, no file, no escape.

The servers here send ids and texts that no honest server would.
"""

import io
import json
import math
import os
import re
import signal
import time
from urllib.parse import quote

import pytest
from support.commands import SECONDS, Output, acp, begun, in_shell
from support.serving import a_run, run_json
from support.socket_server import Request, SocketServer, response, serve_each

from acp_client_v0_1 import ApiClient, Configuration, RunHandle, StreamGap

HOSTILE = [
    "--answer-command=touch executed",
    '"--answer-command=touch${IFS}executed"',
    "'--answer-command=touch${IFS}executed'",
    "\\--answer-command=touch${IFS}executed",
    "",
    "r1\n",
    "r1;touch",
    "r\u0661",
    "_r1",
    "@secret",
    "two words",
    "\x1b]0;title\x07",
    "\u202eabc",
    "a " * 5000,
]


def server_of(ids: list[str], result: str = '{"n":1}') -> SocketServer:
    """A server that lists runs with these ids, and has a result for each."""

    def respond(request: Request) -> bytes:
        if request.path == "/runs/search":
            offset = json.loads(request.body).get("offset", 0)
            return response(json.dumps([a_run(run_id=each) for each in ids[offset:]]).encode())
        content = f'{{"type":"result","run_id":"","status":"success","result":{result}}}'
        return response(content.encode())

    return SocketServer(handler=serve_each(respond))


def test_an_id_that_a_command_could_misread_is_not_printed(inside):
    with server_of(["r1", *HOSTILE, "r2"]) as server:
        done = inside(server, "search", "--format", "id")
        assert (done.returncode, done.stdout) == (1, "r1\nr2\n")
        assert len(done.stderr.splitlines()) == len(HOSTILE) and done.stderr.isascii()
        assert "'@secret' is not printed" in done.stderr and "\x1b" not in done.stderr
        assert f"the id {ascii('a ' * 50)[:100]} is not printed" in done.stderr


@pytest.mark.slow
def test_a_pipeline_reads_ids_from_stdin_and_expands_none(tmp_path):
    (tmp_path / "secret").write_text("[default]\nkey = hidden\n", "utf-8")
    ids = ["r1", "@secret", "--answer-command=touch executed", "--", "r2-acprun1.x"]
    with server_of([]) as server:
        done = acp(server.url, "wait", "-", stdin="\r\n ".join(ids), cwd=tmp_path)
        paths = sorted(request.path for request in server.requests)
    assert done.returncode == 0, done.stderr
    assert [outcome["run_id"] for outcome in json.loads(done.stdout)] == ids
    assert all(re.fullmatch(r"/runs/[^/]+/output", path.partition("?")[0]) for path in paths)
    assert any("/runs/%40secret/" in path for path in paths) and "hidden" not in str(paths)
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "run_id"),
    [("RunInterrupted", "a b")]
    + [("RunWaitTimeout", each) for each in ("r1", "x;touch${IFS}executed", "--ask", "@x", "'")],
)
def test_the_next_command_can_be_pasted_whatever_the_id_of_the_run(inside, folder, run_id, asked):
    """A shell finds nothing in it but the run, at the host that was given."""

    def respond(request: Request) -> bytes:
        if request.path.partition("?")[0].endswith("/output"):
            if asked == "RunInterrupted":
                interrupt = {"type": "interrupt", "interrupt": {"interrupt_type": "ask"}}
                return response(json.dumps(interrupt).encode())
            return response(b"", 204)
        return run_json("interrupted", run_id=run_id)

    with SocketServer(handler=serve_each(respond)) as server:
        token = RunHandle(run_id, ApiClient(Configuration(server.url))).token()
        done = inside("", "wait", token, "--host", server.url, "--timeout", "0")
        assert done.returncode == (4 if asked == "RunInterrupted" else 3), done.stderr
        *_, line = done.stderr.splitlines()
        words = line.removeprefix("next: ")
        assert words.startswith("acp-client wait ") and f"--host {server.url} " in words
        assert len(line) < 160 if run_id == "r1" else "acprun1." in words
        sent = len(server.requests)
        in_shell("", words.replace("acp-client", "acp", 1) + " --timeout 0")
        target = f"/runs/{quote(run_id, safe='')}"
        assert server.requests[sent:]
        assert all(each.path.startswith(target) for each in server.requests[sent:])
    assert list(folder.iterdir()) == []


def test_an_event_id_that_a_shell_could_misread_is_not_in_the_next_command(inside, monkeypatch):
    def events(run: RunHandle, **_: object) -> None:
        lost = {"kind": "lost", "missing": 3, "last_event_id": "5;touch x"}
        raise StreamGap(run_id=run.run_id, token=run.token(), **lost)  # type: ignore[arg-type]

    monkeypatch.setattr(RunHandle, "events", events)
    done = inside("http://127.0.0.1:9", "stream", "r1-acprun1.x")
    assert done.stderr.endswith("\nnext: acp-client stream --on-gap mark r1-acprun1.x\n")


@pytest.mark.parametrize("form", ["json", "text"])
def test_escapes_are_escaped_without_a_terminal_too(inside, form):
    text = "\x1b[31mred\x7f\x9b1m\u202e\u2066 Stra\u00dfe \U0001f468\u200d\U0001f467"
    with server_of([], json.dumps({"text": text})) as server:
        shown = inside(server, "wait", "r1", "--format", form).stdout
    assert not {"\x1b", "\x7f", "\x9b", "\u202e", "\u2066"} & set(shown)
    assert "\\u001b[31mred\\u007f\\u009b1m\\u202e\\u2066 Stra\u00dfe" in shown
    assert "\U0001f468\u200d\U0001f467" in shown  # the joiner of an emoji stays


def test_a_result_that_is_no_json_is_not_printed_with_status_0(inside):
    for number in ("1e999", "-1e999", "NaN"):
        with server_of([], f'{{"n":{number}}}') as server:
            done = inside(server, "wait", "r1")
        assert done.returncode != 0 and done.stdout == ""
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "unbuffered", "results"),
    [
        (signal.SIGINT, "", []),
        (signal.SIGTERM, "1", []),
        (signal.SIGINT, "1", ["--results", "/dev/stdout"]),
        (signal.SIGTERM, "", ["--results", "/dev/stdout"]),
    ],
)
def test_a_signal_waits_until_a_record_is_written(server, folder, number, results, unbuffered):
    # Larger than the buffer of a pipe, so the command waits inside a record for its reader.
    inputs = "".join(json.dumps({"n": n, "text": "x" * 300_000}) + "\n" for n in range(3))
    (folder / "in.jsonl").write_text(inputs, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONUNBUFFERED", unbuffered)
        process = begun(server, "batch", "echo", "in.jsonl", *results, new=True)
    assert process.stdout is not None
    first = os.read(process.stdout.fileno(), 1).decode()
    process.send_signal(number)
    process.send_signal(number)  # as timeout(1) does
    time.sleep(0.5)
    assert process.poll() is None
    rest, err = process.communicate(timeout=SECONDS)
    assert rest.endswith("\n") and "Traceback" not in err
    (record,) = (first + rest).splitlines()
    assert len(json.loads(record)["result"]["text"]) == 300_000
    assert process.returncode == 128 + number and "stopped after 1 of" in err


@pytest.mark.slow
def test_a_signal_ends_a_command_whose_output_nobody_reads(server):
    process = begun(server, "run", "echo", "-", stdin=json.dumps({"text": "x" * 300_000}))
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 1)
    process.send_signal(signal.SIGTERM)  # once, as from timeout(1)
    assert process.wait(SECONDS) == 143
    assert process.communicate()[1].startswith("acp-client: ")


def test_an_array_is_closed_only_if_it_is_whole(inside):
    def first_page(request: Request) -> bytes:
        if json.loads(request.body).get("offset", 0):
            return response(b'"away"', 503)
        return response(json.dumps([a_run(run_id="r0"), a_run(run_id="r1")]).encode())

    with SocketServer(handler=serve_each(first_page)) as server:
        done = inside(server, "search")
    assert done.returncode == 10
    first, *others = done.stdout.splitlines()
    assert (first, len(others)) == ("[", 2)  # a line each, and none that closes the array
    assert json.loads(done.stdout + "]")[1]["run_id"] == "r1"
    for numbers, written in (([0, math.nan, 2], b'[\n{"x":0},\n{"x":2}\n'), ([math.inf], b"")):
        file = io.BytesIO()
        Output("json", file).many(({"x": number} for number in numbers), id="x")
        assert file.getvalue() == written
