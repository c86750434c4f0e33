"""The scripts in examples/ run as a reader would run them: as processes, against a local server."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import pytest

from acp_client_v0_1 import ApiClient, Configuration, Run, RunCreate, RunsApi
from acp_client_v0_1.testing import (
    APPROVAL_AGENT_ID,
    BUILTIN_AGENTS,
    COUNTER_AGENT_ID,
    ECHO_AGENT_ID,
    SLOW_AGENT_ID,
    AgentDefinition,
    AgentError,
    Fault,
    Interrupt,
    LocalServer,
    RecordedRequest,
)

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = sorted(
    path.name for path in (ROOT / "examples").glob("*.py") if not path.name.startswith("_")
)
NEEDS_TQDM = ["batch_runs.py", "wait_with_progress.py"]
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
QUICKSTART = rf"""server: http://127\.0\.0\.1:\d+

agent: counter 1\.0\.0
       .+
run {UUID} is pending
  event 1: \{{'count': 1, 'of': 3\}}
  event 2: \{{'count': 2, 'of': 3\}}
  event 3: \{{'count': 3, 'of': 3\}}
result: \{{'count': 3, 'of': 3\}}

agent: approval 1\.0\.0
       .+
question: May I deploy\?
answer: approved
result: \{{'action': 'deploy', 'approved': True, 'reason': ''\}}

found 2 runs
  deleted {UUID}, which was success
  deleted {UUID}, which was success
found 0 runs afterwards
"""


def environment(**added: str) -> dict[str, str]:
    """A script finds the package of this checkout, installed or not."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **added}


def command(script: str, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "examples" / script), *arguments]


def run(
    script: str, *arguments: str, stdin: str = "", **added: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(script, *arguments),
        env=environment(**added),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


@contextlib.contextmanager
def started(
    script: str,
    *arguments: str,
    stdout: int = subprocess.PIPE,
    stderr: IO[str] | int = subprocess.PIPE,
    **added: str,
) -> Iterator[subprocess.Popen[str]]:
    """A script that runs meanwhile; it is killed if the test fails before it has ended."""
    with subprocess.Popen(
        command(script, *arguments),
        env=environment(**added),
        stdout=stdout,
        stderr=stderr,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def quickstart(*arguments: str, **added: str) -> subprocess.CompletedProcess[str]:
    return run("quickstart.py", *arguments, **added)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@pytest.fixture
def runs(server: LocalServer) -> Iterator[RunsApi]:
    """What a second user of the same server sees and does."""
    with ApiClient(Configuration(host=server.url)) as client:
        yield RunsApi(client)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# All of them


def test_each_explains_itself_and_needs_no_server_for_it() -> None:
    assert len(EXAMPLES) == 7
    with contextlib.ExitStack() as stack:
        # All at once, since what takes time is to start Python.
        asked = [
            stack.enter_context(started(script, "--help", ACP_HOST="http://127.0.0.1:9"))
            for script in EXAMPLES
        ]
        answers = [process.communicate(timeout=60) for process in asked]
    for script, process, (printed, complaints) in zip(EXAMPLES, asked, answers, strict=True):
        assert (process.returncode, complaints) == (0, "")
        assert printed.startswith(f"usage: {script}") and "ACP_HOST" in printed
        source = (ROOT / "examples" / script).read_text("utf-8")
        assert f" python examples/{script}" in source.split('"""')[1]


@pytest.mark.parametrize("script", NEEDS_TQDM)
def test_those_with_a_bar_say_what_is_missing(script: str, tmp_path: Path) -> None:
    (tmp_path / "tqdm.py").write_text("raise ImportError('no tqdm here')\n")
    ended = run(script, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.endswith("which is missing: pip install tqdm\n")
    assert ended.stderr.count("\n") == 1


def test_without_the_local_server_they_say_what_to_do(tmp_path: Path) -> None:
    missing = "raise ModuleNotFoundError('no uvicorn here', name='uvicorn')\n"
    (tmp_path / "uvicorn.py").write_text(missing)
    ended = run("stream_to_terminal.py", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert ended.returncode == 1
    assert ended.stderr == (
        "ACP_HOST is not set, and there is no local server: acp_client_v0_1.testing needs uvicorn, "
        "which is not installed: pip install 'acp-client-v0-1[testing]'\n"
    )


@pytest.mark.parametrize("given", ["{", "[1]"])
def test_an_input_that_is_no_object_is_refused(given: str) -> None:
    ended = run("stream_to_terminal.py", "--input", given)
    assert ended.returncode == 2
    assert "argument --input: " in ended.stderr and "JSON" in ended.stderr


# quickstart.py


def test_the_quickstart_does_the_main_job_on_a_server_of_its_own() -> None:
    ended = quickstart()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(QUICKSTART, ended.stdout), ended.stdout


def test_it_uses_the_server_that_the_environment_names() -> None:
    with LocalServer() as server:
        ended = quickstart("--count", "1", "--action", "wait", ACP_HOST=server.url)
        paths = [request.path for request in server.requests]
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"server: {server.url}\n")
    assert "event 1: {'count': 1, 'of': 1}" in ended.stdout
    assert "question: May I wait?" in ended.stdout
    assert paths[0] == "/agents/search" and any(path.endswith("/stream") for path in paths)


def test_it_prints_events_when_they_come() -> None:
    read = threading.Event()

    def counter(input: Any, config: Any, context: Any) -> Generator[dict[str, Any], None, None]:
        """Counts to two, the second time only when the first was read."""
        yield {"count": 1}
        if not read.wait(20):
            raise AgentError(1, "nobody has read the first event")
        yield {"count": 2}

    agents = [AgentDefinition(function=counter), *BUILTIN_AGENTS[2:]]
    with LocalServer(agents) as server, started("quickstart.py", ACP_HOST=server.url) as process:
        assert process.stdout is not None
        events = (line for line in process.stdout if line.startswith("  event"))
        assert next(events) == "  event 1: {'count': 1}\n"
        read.set()
        assert next(events) == "  event 2: {'count': 2}\n"
        _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, "")


def test_it_names_the_agents_that_there_are() -> None:
    ended = quickstart("--agent", "nobody")
    assert ended.returncode == 1
    assert ended.stderr == (
        "no agent is called 'nobody'; the server has: echo, counter, approval, failing, slow\n"
    )


@pytest.mark.parametrize("host", ["http://127.0.0.1:9", "not a url"])
def test_a_server_that_is_not_there_is_one_line(host: str) -> None:
    ended = quickstart(ACP_HOST=host, ACP_RETRIES="0")
    assert ended.returncode == 1
    assert ended.stderr.startswith("failed: ") and ended.stderr.count("\n") == 1


# stream_to_terminal.py


def test_stream_prints_each_update_and_the_output() -> None:
    ended = run("stream_to_terminal.py", "--input", '{"count": 2}')
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == (
        '{"count": 1, "of": 2}\n{"count": 2, "of": 2}\nresult: {\'count\': 2, \'of\': 2}\n'
    )


def test_stream_goes_on_after_a_connection_that_breaks(server: LocalServer) -> None:
    server.faults.add(Fault(path="/runs/*/stream", cut="close", after_events=2))
    counting = '{"count": 4, "interval": 0.01}'
    ended = run("stream_to_terminal.py", "--input", counting, ACP_HOST=server.url)
    assert ended.returncode == 0
    assert re.findall(r'"count": (\d)', ended.stdout) == ["1", "2", "3", "4"]
    assert ended.stderr.startswith("connecting again: ") and ended.stderr.count("\n") == 1
    streams = [request for request in server.requests if request.path.endswith("/stream")]
    assert [request.headers.get("last-event-id") for request in streams] == [None, "2"]


def test_stream_gives_up_when_told_to(server: LocalServer) -> None:
    server.faults.add(Fault(path="/runs/*/stream", cut="close", after_events=2))
    ended = run("stream_to_terminal.py", "--reconnects", "0", ACP_HOST=server.url)
    assert ended.returncode == 1
    assert ended.stderr.startswith("failed: ") and ended.stderr.count("\n") == 1


def test_stream_replaces_results_on_a_terminal() -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    arguments = ("--mode", "result", "--input", '{"count": 2, "interval": 0.01}')
    process = subprocess.Popen(
        command("stream_to_terminal.py", *arguments), env=environment(), stdout=theirs
    )
    os.close(theirs)
    printed = all_from(ours)
    assert process.wait(60) == 0
    first, second = '\r\x1b[2K{"count": 1, "of": 2}', '\r\x1b[2K{"count": 2, "of": 2}'
    assert printed.startswith(first + second)
    assert printed.endswith("\r\nresult: {'count': 2, 'of': 2}\r\n")


def all_from(terminal: int) -> str:
    """What is written to a terminal until its other end closes, which Linux reports as an error."""
    printed = b""
    try:
        while select.select([terminal], [], [], 60)[0] and (piece := os.read(terminal, 4096)):
            printed += piece
    except OSError:
        pass
    finally:
        os.close(terminal)
    return printed.decode()


def test_stream_tells_a_failed_run_from_one_that_asks(server: LocalServer) -> None:
    there = {"ACP_HOST": server.url}
    failed = run("stream_to_terminal.py", "--agent", "failing", "--mode", "result", **there)
    assert (failed.returncode, failed.stdout) == (1, "error 1: this agent always fails\n")
    asking = run("stream_to_terminal.py", "--agent", "approval", **there)
    assert (asking.returncode, asking.stdout) == (3, "question: May I go on?\n")


# wait_with_progress.py


def test_wait_shows_the_time_that_passes() -> None:
    ended = run("wait_with_progress.py", "--input", '{"seconds": 2.5}', "--timeout", "20")
    assert ended.returncode == 0
    assert re.fullmatch(rf"run {UUID}\nresult: \{{'slept': 2.5\}}\n", ended.stdout)
    assert "waiting 0 s |" in ended.stderr
    assert re.search(r"pending [12] s \|.+\| at most 20 s", ended.stderr)


def test_wait_can_be_taken_up_again(server: LocalServer, runs: RunsApi) -> None:
    release = threading.Event()

    def patient(input: Any, config: Any, context: Any) -> dict[str, Any]:
        return {"released": release.wait(60)}

    waiting = runs.create_run(RunCreate(agent_id=server.register(patient)))
    at_once = ("--run", waiting.run_id, "--timeout", "0.2")
    too_short = run("wait_with_progress.py", *at_once, ACP_HOST=server.url)
    assert (too_short.returncode, too_short.stdout) == (3, f"run {waiting.run_id}\n")
    assert f"wait on with --run {waiting.run_id}\n" in too_short.stderr
    release.set()
    again = run("wait_with_progress.py", "--run", waiting.run_id, ACP_HOST=server.url)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "result: {'released': True}")


def test_ctrl_c_ends_the_wait_and_not_the_run(server: LocalServer, runs: RunsApi) -> None:
    waiting = runs.create_run(RunCreate(agent_id=SLOW_AGENT_ID, input={"seconds": 60}))
    with started("wait_with_progress.py", "--run", waiting.run_id, ACP_HOST=server.url) as process:
        # It asks only once the bar is drawn, and then it waits for the answer.
        until(lambda: any(request.path.endswith("/output") for request in server.requests))
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == 130 and complaints.endswith("stopped\n")
    assert "Traceback" not in complaints
    assert runs.get_run(waiting.run_id).status == "pending"


# answer_interrupts.py


def test_answers_come_from_the_keyboard(server: LocalServer) -> None:
    typed = "perhaps\nno\nnot on a Friday\n"
    ended = run("answer_interrupts.py", stdin=typed, ACP_HOST=server.url)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == (
        "question: May I deploy?\n"
        "  approved, boolean:   that does not fit: please answer yes or no\n"
        "  approved, boolean:   reason, string (may be empty): "
        "result: {'action': 'deploy', 'approved': False, 'reason': 'not on a Friday'}\n"
    )
    (sent,) = [
        json.loads(request.body)
        for request in server.requests
        if request.method == "POST" and re.fullmatch(rf"/runs/{UUID}", request.path)
    ]
    assert sent == {"approved": False, "reason": "not on a Friday"}


def test_an_undescribed_question_takes_any_object(server: LocalServer) -> None:
    def curious(
        input: Any, config: Any, context: Any
    ) -> Generator[Interrupt, dict[str, Any], dict[str, Any]]:
        first = yield Interrupt("name")
        second = yield Interrupt("colour", {"question": "And the colour?"})
        return {**first, **second}

    server.register(curious)
    typed = '{"name": "Ada"}\nred\n{"colour": "red"}\n'
    ended = run("answer_interrupts.py", "--agent", "curious", stdin=typed, ACP_HOST=server.url)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "question: {'interrupt_type': 'name'}\n  answer, a JSON object: " in ended.stdout
    assert "that does not fit: not JSON" in ended.stdout
    assert ended.stdout.endswith("result: {'name': 'Ada', 'colour': 'red'}\n")


def test_a_question_without_answer_can_be_answered_later(
    server: LocalServer, runs: RunsApi
) -> None:
    asking = runs.create_run(RunCreate(agent_id=APPROVAL_AGENT_ID, input={"action": "wait"}))
    script = ("answer_interrupts.py", "--run", asking.run_id)
    silent = run(*script, ACP_HOST=server.url)
    assert silent.returncode == 3
    assert silent.stderr == f"\nno answer: run {asking.run_id} stays as it is\n"
    assert runs.get_run(asking.run_id).status == "interrupted"
    answered = run(*script, stdin="y\n\n", ACP_HOST=server.url)
    assert answered.returncode == 0 and "'approved': True" in answered.stdout


# export_runs.py


def test_export_writes_every_run_of_the_agent(
    server: LocalServer, runs: RunsApi, tmp_path: Path
) -> None:
    wanted = [
        runs.create_run(RunCreate(agent_id=ECHO_AGENT_ID, input={"text": f"Grüße\u2028{number}"}))
        for number in range(7)
    ]
    runs.create_run(RunCreate(agent_id=COUNTER_AGENT_ID, input={"count": 1}))
    until(lambda: all(runs.get_run(one.run_id).status == "success" for one in wanted))
    server.clear_requests()
    file = tmp_path / "runs.jsonl"
    options = ("echo", "--status", "success", "--page-size", "3", "--output", str(file))
    ended = run("export_runs.py", *options, ACP_HOST=server.url)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "7 runs of echo\n")
    exported = [Run.from_json(line) for line in file.read_bytes().splitlines()]
    assert [one.run_id for one in exported] == [one.run_id for one in wanted]
    assert [one.creation for one in exported] == [one.creation for one in wanted]
    pages = [json.loads(one.body) for one in server.requests if one.path == "/runs/search"]
    assert [page["offset"] for page in pages] == [0, 3, 6, 7]
    assert {page["status"] for page in pages} == {"success"}
    assert list(tmp_path.iterdir()) == [file]


def test_export_goes_to_standard_output() -> None:
    ended = run("export_runs.py", "echo", "--sample", "4")
    assert (ended.returncode, ended.stderr) == (0, "4 runs of echo\n")
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["creation"]["input"]["number"] for line in lines] == [0, 1, 2, 3]


def test_export_notices_a_server_that_does_not_page(server: LocalServer, tmp_path: Path) -> None:
    with ApiClient(Configuration(host=server.url)) as client:
        made = RunsApi(client).create_run(RunCreate(agent_id=ECHO_AGENT_ID))
        page = json.dumps([RunsApi(client).get_run(made.run_id).to_dict()], default=str).encode()
    server.faults.add(Fault(path="/runs/search", status=200, body=page, times=None))
    file = tmp_path / "runs.jsonl"
    ended = run("export_runs.py", "echo", "--output", str(file), ACP_HOST=server.url)
    assert (ended.returncode, file.exists()) == (1, False)
    assert ended.stderr == "the server gives the same page again: it does not heed `offset`\n"


def test_a_reader_that_goes_away_is_no_traceback(server: LocalServer) -> None:
    arguments = ("echo", "--sample", "1")
    reading, writing = os.pipe()
    os.close(reading)
    with started("export_runs.py", *arguments, stdout=writing, ACP_HOST=server.url) as process:
        os.close(writing)
        assert process.stderr is not None
        # Whether it gets to its last words depends on when what it prints is written.
        assert process.stderr.read() in ("", "1 runs of echo\n")
    assert process.returncode == 1


# batch_runs.py


def test_batch_runs_many_inputs_at_a_time(tmp_path: Path) -> None:
    inputs, outputs = tmp_path / "inputs.jsonl", tmp_path / "outputs.jsonl"
    inputs.write_text("".join(f'{{"count": 2, "interval": 0.2, "n": {n}}}\n' for n in range(20)))
    ended = run("batch_runs.py", str(inputs), "--workers", "20", "--output", str(outputs))
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "20/20" in ended.stderr and ended.stderr.endswith("20 inputs, 0 without a result\n")
    lines = [json.loads(line) for line in outputs.read_text().splitlines()]
    assert sorted(line["line"] for line in lines) == list(range(1, 21))
    assert all(line["output"]["result"] == {"count": 2, "of": 2} for line in lines)


def test_batch_shares_connections_and_goes_on_after_failures(server: LocalServer) -> None:
    typed = '{"count": 1}\n\n{"count": "many"}\n{"count": 2, "interval": 0}\n'
    ended = run("batch_runs.py", "--workers", "2", stdin=typed, ACP_HOST=server.url)
    assert ended.returncode == 1
    assert ended.stderr.endswith("3 inputs, 1 without a result\n")
    lines = {line["line"]: line for line in map(json.loads, ended.stdout.splitlines())}
    assert set(lines) == {1, 3, 4}
    assert lines[1]["output"]["result"] == {"count": 1, "of": 1}
    assert " 422 " in lines[3]["failure"]
    assert lines[4]["output"]["result"] == {"count": 2, "of": 2}
    assert server.connections_accepted <= 2


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [('{"count": 1}\n{', "line 2 of the inputs: not JSON"), ("[1]\n", "line 1 of the inputs: ")],
)
def test_batch_begins_nothing_with_inputs_that_cannot_be_read(
    typed: str, complaint: str, server: LocalServer
) -> None:
    ended = run("batch_runs.py", stdin=typed, ACP_HOST=server.url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(complaint)
    assert server.requests == ()


def test_ctrl_c_ends_a_batch_and_begins_no_more(server: LocalServer, tmp_path: Path) -> None:
    inputs, errors = tmp_path / "inputs.jsonl", tmp_path / "errors.txt"
    inputs.write_text('{"seconds": 60}\n' * 5)
    arguments = (str(inputs), "--agent", "slow", "--workers", "2")
    with (
        errors.open("w") as file,
        started("batch_runs.py", *arguments, stderr=file, ACP_HOST=server.url) as process,
    ):
        until(lambda: "0/5" in errors.read_text() and len(outputs_asked_for(server)) == 2)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    complaints = errors.read_text()
    assert (process.returncode, printed) == (130, "")
    assert complaints.endswith("stopped\n") and "Traceback" not in complaints
    assert len(posts_to(server, "/runs")) == 2


def outputs_asked_for(server: LocalServer) -> set[str]:
    """The runs whose output somebody waits for."""
    return {one.path for one in server.requests if one.path.endswith("/output")}


def posts_to(server: LocalServer, path: str) -> list[RecordedRequest]:
    return [one for one in server.requests if (one.method, one.path) == ("POST", path)]


# receive_webhooks.py


def test_webhooks_arrive_and_everything_else_is_refused(server: LocalServer, runs: RunsApi) -> None:
    arguments = ("--agent", "approval", "--input", '{"action": "listen"}')
    with started("receive_webhooks.py", *arguments, ACP_HOST=server.url) as process:
        assert process.stdout is not None
        webhook = process.stdout.readline().removeprefix("listening at ").strip()
        created, asked = process.stdout.readline(), process.stdout.readline()
        run_id = created.split()[1]
        assert (created, asked) == (
            f"run {run_id} is pending\n",
            f"run {run_id} is interrupted, by webhook\n",
        )
        assert runs.get_run(run_id).creation.webhook == webhook
        assert posted(webhook, b"{}") == 400
        assert posted(webhook, b"not JSON") == 400
        assert posted(f"{webhook}x", b"{}") == 404
        for length in (str(1024 * 1024 + 1), "9" * 5001):
            assert posted(webhook, None, {"Content-Length": length}) == 413
        assert posted(webhook, None, {"Transfer-Encoding": "chunked"}) == 411
        runs.resume_run(run_id, {"approved": True})
        printed, complaints = process.communicate(timeout=60)
    assert process.returncode == 0
    assert printed == (
        f"run {run_id} is pending, by webhook\n"
        f"run {run_id} is success, by webhook\n"
        "result: {'action': 'listen', 'approved': True, 'reason': ''}\n"
    )
    # Each is written by a thread of its own, in any order.
    assert sorted(re.findall(r"with (\d+)", complaints)) == [
        "400",
        "400",
        "404",
        "411",
        "413",
        "413",
    ]
    assert {delivery.status for delivery in server.webhooks} == {200}


def posted(url: str, body: bytes | None, headers: dict[str, str] | None = None) -> int:
    """The status that a POST is answered with; with `headers`, only those are sent, and no body."""
    target = urlsplit(url)
    sending = http.client.HTTPConnection(str(target.hostname), target.port, timeout=30)
    with contextlib.closing(sending) as connection:
        connection.putrequest("POST", target.path)
        for name, value in (headers or {"Content-Length": str(len(body or b""))}).items():
            connection.putheader(name, value)
        connection.endheaders(body)
        return connection.getresponse().status


def test_webhooks_of_a_server_of_its_own() -> None:
    ended = run("receive_webhooks.py", "--input", '{"seconds": 0.1}')
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("is success, by webhook\nresult: {'slept': 0.1}\n")


def test_webhooks_that_do_not_come_are_not_waited_for_in_vain() -> None:
    ended = run("receive_webhooks.py", "--input", '{"seconds": 60}', "--timeout", "0.2")
    assert ended.returncode == 3
    assert re.fullmatch(rf"run {UUID} has not ended\n", ended.stderr)


def test_a_port_that_is_taken_is_one_line(server: LocalServer) -> None:
    ended = run("receive_webhooks.py", "--port", str(server.port))
    assert ended.returncode == 1
    assert ended.stderr.startswith("failed: ") and ended.stderr.count("\n") == 1
