"""The command through real processes: what stdout, stderr and the exit status say.

Each command runs against a local server, whose agents go each way that a run can go.
"""

import errno
import io
import json
import os
import re
import shlex
import signal
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from support.commands import (
    KEY,
    Output,
    acp,
    begun,
    data,
    ended,
    environment,
    first_line,
    in_shell,
    lines,
    started,
)
from support.forks import run_in_fork
from support.socket_server import SocketServer, response

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    ApiException,
    Configuration,
    RunEvent,
    RunHandle,
    RunResult,
    StreamGap,
    doctor,
)
from acp_client_v0_1.testing import LocalServer, Quirks

pytestmark = pytest.mark.slow

ECHO = {"message": "Hello"}


# Agents and runs


def test_input_from_a_file_and_from_stdin_which_is_left_alone_without_a_dash(server, tmp_path):
    (tmp_path / "input.json").write_text(json.dumps(ECHO), "utf-8")
    script = "acp run echo @input.json && acp agents > /dev/null && acp run echo - && cat"
    done = in_shell(server, script, json.dumps(ECHO), cwd=tmp_path)
    assert lines(done) == [ECHO, ECHO]
    done = in_shell(server, "acp run echo - <&-")
    assert done.returncode == 2 and "cannot read stdin: Bad file descriptor\n" in done.stderr


def test_start_prints_a_token_that_another_process_waits_with(server, inside, folder):
    token = acp(server, "start", "slow", '{"seconds": 0.5}').stdout.strip()
    assert token.startswith("acprun1.")
    assert data(inside(server, "wait", token)) == {"slept": 0.5}
    assert data(inside(server, "show", token))["status"] == "success"
    for before in ("", "\ufeff"):
        (folder / "run.token").write_text(f"{before}{token}\n", "utf-8")
        assert data(inside(server, "wait", "@run.token")) == {"slept": 0.5}


# Where stderr goes


@pytest.mark.parametrize(
    "stderr", ["2>&-", "2>/dev/full", "2>&3"], ids=["closed", "full", "unread"]
)
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("run echo '{\"n\": 1}' --debug", 0, '{"n":1}'),
        ("batch echo - --progress", 0, '"result":{"n":2}'),
        ("batch failing -", 5, '"errcode"'),
        ("run approval {} --cancel-on-exit", 4, "cancelled"),
        ("run approval {} --answer-command 'exit 1'", 4, '"interrupt"'),
        ("run echo --api-key x", 2, ""),
    ],
)
def test_what_stderr_cannot_take_changes_neither_output_nor_status(
    server, stderr, arguments, status, words
):
    if "full" in stderr and not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    reader, unread = os.pipe()
    os.close(reader)
    script = f"exec 3>&{unread} {unread}>&-; acp {arguments} {stderr} 3>&-"
    done = in_shell(server, script, '{"n": 2}', pass_fds=(unread,))
    os.close(unread)
    assert (done.returncode, words in done.stdout) == (status, True), done.stdout
    assert all(map(json.loads, done.stdout.splitlines()))


def test_no_file_takes_the_number_of_a_closed_stderr(server, tmp_path):
    words = shlex.quote('echo spoilt >&2; echo "{\\"approved\\": true}"')
    files = "--results out --journal journal"
    script = f"acp batch approval - {files} --answer-command {words} 2>&-"
    assert in_shell(server, script, "{}\n", cwd=tmp_path).returncode == 0
    for name in ("out", "journal"):
        assert "spoilt" not in (tmp_path / name).read_text("utf-8")


# Streaming


def test_stream_prints_events_as_they_come(server, inside):
    token = started(server, "counter", {"count": 3, "interval": 0}, streaming="custom")
    done = inside(server, "stream", token)
    events = lines(done)
    assert done.stderr == ""
    assert [event["update"]["count"] for event in events if "update" in event] == [1, 2, 3]
    rest = lines(inside(server, "stream", token, "--from", events[0]["id"]))
    assert rest == events[1:]
    client = ApiClient(Configuration(host=server.url, api_key={"x-api-key": KEY}))
    with client, RunHandle.from_token(token, client).events() as found:
        assert "".join(f"{event.to_json()}\n" for event in found) == done.stdout
    gap = StreamGap(run_id="r", token="t", kind="lost", missing=2, last_event_id="1")
    event = RunEvent("4", RunResult(type="result", run_id="r", status="success", result={}), gap)
    assert event.to_dict() == {"id": "4", "result": {}, "gap": {"kind": "lost", "missing": 2}}


def test_a_reader_that_goes_away_is_quiet(server):
    token = started(server, "counter", {"count": 200, "interval": 0.1}, streaming="custom")
    done = in_shell(server, f"acp stream {token} | head -n 1; echo ${{PIPESTATUS[0]}}")
    first, status = done.stdout.splitlines()
    assert json.loads(first)["update"]["count"] == 1
    assert (status, done.stderr) == ("141", "")
    reader, unread = os.pipe()
    os.close(reader)
    each = "for words in --help --version 'completion bash'; do new_acp $words; echo $? >&2; done"
    done = in_shell("", f"unset PYTHONUNBUFFERED; {each}", stdout=unread)
    os.close(unread)
    assert done.stderr == "141\n" * 3


FOR_LONG = ('{"count": 100, "interval": 0.3}', "--stream", "custom")


def test_ctrl_c_says_where_to_continue(server, inside):
    process = begun(server, "run", "counter", *FOR_LONG, "--format", "jsonl")
    assert json.loads(first_line(process))
    done = ended(process)
    assert all(lines(done, 130))
    token = done.stderr.strip().split()[-1]
    assert "the run may continue on the server: acp-client wait" in done.stderr
    assert data(inside(server, "cancel", token))["cancelled"] is True


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_cancels_if_asked_to(server, inside, name):
    marks = ("--metadata", '{"test": "cancelled"}')
    shape = ("--cancel-on-exit", "--format", "jsonl", *marks)
    process = begun(server, "run", "counter", *FOR_LONG, *shape)
    first_line(process)
    (found,) = data(inside(server, "search", *marks))
    done = ended(process, signal.Signals[name])
    assert done.returncode == 128 + signal.Signals[name] and "was cancelled" in done.stderr
    assert lines(done, done.returncode)[-1] == {"run_id": found["run_id"], "status": "cancelled"}
    assert data(inside(server, "search", *marks)) == []


AGAIN = """
import atexit, os, signal, time
def again():
    time.sleep(1.1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
atexit.register(again)
"""


@pytest.mark.parametrize(
    ("name", "again"), [("SIGTERM", 0), ("SIGINT", 0), ("SIGHUP", 0), ("SIGTERM", 1)]
)
def test_the_status_is_of_the_first_signal_even_while_source_text_runs(tmp_path, name, again):
    """A dataclass is made by exec, for whose KeyboardInterrupt Python ends by SIGINT at exit."""
    text = f"import os, signal, time; os.kill(os.getpid(), signal.{name}); time.sleep(60)"
    (tmp_path / "shtab.py").write_text(f"{AGAIN * again}exec({text!r})\n", "utf-8")
    done = acp("", "completion", "bash", more={"PYTHONPATH": str(tmp_path)})
    number = signal.Signals[name]
    said = "Ctrl-C" if name == "SIGINT" else name
    assert done.stderr == f"acp-client: stopped by {said}\n"
    assert done.returncode == 128 + number


# Searching


def test_search_pages_through_all_that_match(server, inside):
    marked = ("--metadata", '{"test": "search"}')
    for _ in range(3):
        started(server, "echo", {}, metadata={"test": "search"})
    assert len(data(inside(server, "search", *marked, "--agent", "echo"))) == 3
    assert len(lines(inside(server, "search", *marked, "--format", "jsonl", "--limit", "2"))) == 2
    assert data(inside(server, "search", *marked, "--status", "error")) == []


# Batches


def test_a_batch_prints_an_outcome_for_each_line(server, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"n": 1}\n\n{"n": 2}\n', "utf-8")
    named = ("in.jsonl", "--ordered", "--journal", "journal")
    done = acp(server, "batch", "echo", *named, cwd=tmp_path)
    found = [(item["index"], item["result"]) for item in lines(done)]
    assert found == [(0, {"n": 1}), (1, {"n": 2})]
    client = ApiClient(Configuration(host=server.url, api_key={"x-api-key": KEY}))
    again = AgentHandle.find("echo", client).map(
        [{"n": 1}, {"n": 2}], ordered=True, journal=tmp_path / "journal"
    )
    assert "".join(f"{item.to_json()}\n" for item in again) == done.stdout
    done = acp(server, "batch", "echo", "-", "--results", "out.jsonl", stdin='{"n": 3}\n',
               cwd=tmp_path)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads((tmp_path / "out.jsonl").read_text("utf-8"))["result"] == {"n": 3}


def test_a_full_disk_leaves_no_part_of_a_record(server, tmp_path):
    inputs = "".join(json.dumps({"n": n, "text": "x" * 600}) + "\n" for n in range(3))
    # A write beyond the limit is short, and the next one fails. So would one of coverage.py.
    script = "unset ${!COVERAGE_*}; ulimit -f 1; new_acp batch echo - --results out.jsonl"
    done = in_shell(server, script, inputs, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "acp-client: cannot use out.jsonl: File too large\n"
    (line,) = (tmp_path / "out.jsonl").read_text("utf-8").splitlines(keepends=True)
    assert line.endswith("\n") and len(json.loads(line)["result"]["text"]) == 600


@pytest.mark.parametrize(
    ("stdout", "words"),
    [
        (">&-", "stdout is closed, so nothing was done; >/dev/null drops the output"),
        (">/dev/full", "cannot use <stdout>: No space left on device"),
    ],
)
def test_a_stdout_that_takes_nothing_is_named(server, stdout, words):
    if stdout == ">/dev/full" and not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    before = len(server.runs)
    done = in_shell(server, f"acp start echo '{{}}' {stdout}")
    *said, last = done.stderr.splitlines()
    assert (done.returncode, last) == (1, f"acp-client: {words}")
    made = server.runs[before:]
    assert len(made) == (stdout == ">/dev/full")
    # Otherwise nobody would know of it: its token is lost.
    assert said == [f"the run was started: acp-client wait {run['run_id']}" for run in made]


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def test_json_is_indented_on_a_terminal():
    for form, file, written in (
        ("json", Terminal(), b'{\n  "a": [\n    "\xc3\xa4"\n  ]\n}\n'),
        ("json", io.BytesIO(), b'{"a":["\xc3\xa4"]}\n'),
        ("jsonl", Terminal(), b'{"a":["\xc3\xa4"]}\n'),
    ):
        Output(form, file).one({"a": ["\u00e4"]})
        assert file.getvalue() == written, (form, file)


class Full(io.FileIO):
    """A file on a disk that takes four more bytes."""

    def write(self, data: Any) -> int:
        super().write(data[:4])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_costs_another_process_no_record(tmp_path):
    path = tmp_path / "out.jsonl"
    with Full(path, "ab") as ours:
        out = Output("jsonl", cast(BinaryIO, ours))
        path.write_bytes(b'{"of": "another"}\n')
        with pytest.raises(OSError, match="No space left"):
            out.one({"n": 0})
    assert path.read_bytes() == b'{"of": "another"}\n'


# Usage


def test_completion(inside):
    for shell in ("bash", "zsh", "fish"):
        assert "cancel-on-exit" in inside("", "completion", shell).stdout


def test_completion_without_shtab(server, tmp_path):
    (tmp_path / "shtab.py").write_text("raise ImportError('not here')", "utf-8")
    done = acp(server, "completion", "bash", more={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2 and "acp-client-v0-1[cli]" in done.stderr


def test_serve_runs_a_server(tmp_path):
    process = begun("", "serve", "--port", "0")
    assert first_line(process).split()[-1].startswith("http://127.0.0.1:")
    assert ended(process).returncode == 0


@pytest.mark.parametrize("word", ["--debug", "true", " 1", "ON", "false", "0", ""])
def test_debug_shows_requests_and_tracebacks_without_credentials(server, word):
    before, option = (["--debug"], "") if word == "--debug" else ([], word)
    command, shown = ["-m", "acp_client_v0_1", "show", "nothing", *before], word not in "false0"
    done = run_in_fork(command, env={**environment(server.url), "ACP_DEBUG": option})
    assert done.returncode == 7
    assert ("Traceback" in done.stderr) is shown
    logged = re.search(r"(?m)^acp_client_v0_1\.\S+: .*GET /runs/nothing", done.stderr)
    assert bool(logged) is shown and KEY not in done.stderr


def test_a_sound_server_ends_with_0_and_text_or_json_with_its_version(server, inside):
    before, done = server.runs, inside(server, "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{server.url}: all works\n\n1. The way there\n  works ")
    assert "as ACP_API_KEY has it" in done.stdout
    report = data(inside(server, "doctor", "--format", "json"))
    assert (report["version"], report["server"], report["agent"]) == (1, server.url, None)
    assert {each["verdict"] for each in report["findings"]} == {"works", "not tried"}
    assert server.runs == before


def test_runs_are_announced_and_what_differs_ends_with_11(inside):
    with LocalServer(quirks=Quirks(pending_output="404")) as server:
        settings = json.dumps({"seconds": 1})
        done = inside(server, "doctor", "--agent", "slow", "--input", settings)
        assert done.returncode == 11
        assert done.stderr.startswith("acp-client: this starts runs of slow, and deletes them")
        assert 'output while pending: 404  [pending_output="404"]\n' in done.stdout
        assert server.runs == ()


def test_each_option_reaches_the_examination(server, inside, monkeypatch):
    given: list[object] = []

    def examine(client: object, *options: object) -> None:
        given.extend(options)
        raise ApiException(reason="enough")

    monkeypatch.setattr(doctor, "examine", examine)
    options = ["--agent", "a", "--input", '{"n": 1}', "--config", '{"k": 2}', "--deep"]
    assert inside(server, "doctor", *options).returncode == 1
    assert given == ["a", {"n": 1}, True, {"k": 2}]


def test_a_server_that_cannot_be_used_ends_with_1(inside):
    page = b"<html><title>\x1b]0;owned\x07 Sign in</title></html>"
    with SocketServer(response(page, content_type="text/html\x1b[2J")) as server:
        done = inside(server, "doctor")
    assert done.returncode == 1 and "this does not look like ACP 0.1" in done.stdout
    assert done.stdout.replace("\n", "").isprintable()
