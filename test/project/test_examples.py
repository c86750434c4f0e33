"""The scripts in examples/ run as a reader would run them: copied out, alone, as processes."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.commands import shown_on_terminal
from support.forks import forked, run_in_fork
from support.transport import eventually

from acp_client_v0_1 import ApiClient, Configuration, Run, RunCreate, RunsApi
from acp_client_v0_1.testing import (
    APPROVAL_AGENT_ID,
    COUNTER_AGENT_ID,
    ECHO_AGENT_ID,
    SLOW_AGENT_ID,
    Fault,
    Interrupt,
    InterruptSpec,
    LocalServer,
)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
QUICKSTART = rf"""server: http://127\.0\.0\.1:\d+

agent: counter 1\.0\.0
       .+
run {UUID}
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
"""
# What each script is run with where it shall call this agent by its id.
BY_ID = {
    "answer_interrupts.py": ["--agent", APPROVAL_AGENT_ID],
    "batch_runs.py": ["--agent", COUNTER_AGENT_ID],
    "export_runs.py": [ECHO_AGENT_ID, "--sample", "1"],
    "quickstart.py": ["--agent", COUNTER_AGENT_ID, "--asking-agent", APPROVAL_AGENT_ID],
    "receive_webhooks.py": ["--agent", SLOW_AGENT_ID, "--input", '{"seconds": 0.1}'],
    "stream_to_terminal.py": ["--agent", COUNTER_AGENT_ID],
    "wait_with_progress.py": ["--agent", SLOW_AGENT_ID, "--input", '{"seconds": 0.1}'],
}
SLEEPER = ["receive_webhooks.py", "--agent", SLOW_AGENT_ID, "--input"]
SLEEPER += ['{{"seconds": 60}}', "--timeout", "0.2"]


@pytest.fixture(autouse=True, scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each script in a folder of its own, with nothing beside it."""
    folder = tmp_path_factory.mktemp("examples")
    for script in EXAMPLES:
        (folder / script[:-3]).mkdir()
        shutil.copy(ROOT / "examples" / script, folder / script[:-3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXAMPLES", str(folder))
        patch.delenv("ACP_HOST", raising=False)
        yield


def path_of(script: str) -> str:
    return str(Path(os.environ["EXAMPLES"], script[:-3], script))


def command(script: str, *arguments: str) -> list[str]:
    return [*forked(("-W", "error")), path_of(script), *arguments]


def run(
    script: str, *arguments: str, stdin: str = "", **added: str
) -> subprocess.CompletedProcess[str]:
    words = [path_of(script), *arguments]
    return run_in_fork(words, env={**os.environ, **added}, stdin=stdin, options=("-W", "error"))


def printed_by(script: str, *arguments: str, stdin: str = "", **added: str) -> str:
    """What a script prints that succeeds, and complains of nothing."""
    ended = run(script, *arguments, stdin=stdin, **added)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@contextlib.contextmanager
def started(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A script that runs meanwhile; it is killed if the test fails before it has ended."""
    with subprocess.Popen(
        command(script, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """The server that a script finds if it is given no other."""
    with LocalServer() as running:
        monkeypatch.setenv("ACP_HOST", running.url)
        yield running


@pytest.fixture
def runs(server: LocalServer) -> Iterator[RunsApi]:
    """What a second user of the same server sees and does."""
    with ApiClient(Configuration(host=server.url)) as client:
        yield RunsApi(client)


@pytest.fixture
def release(server: LocalServer) -> threading.Event:
    """What the agent `patient` waits for, before it returns its input."""
    released = threading.Event()

    def patient(input: Any, config: Any, context: Any) -> dict[str, Any]:
        released.wait(60)
        return dict(input)

    server.register(patient)
    return released


# All of them


def test_each_explains_itself_and_needs_nothing_for_it():
    code = """
import runpy, sys
sys.modules.update(dict.fromkeys(("tqdm", "uvicorn", "starlette")))
for path in sys.argv[1:]:
    sys.argv = [path, "--help"]
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        print(f"ended {end.code}")
"""
    paths = map(path_of, EXAMPLES)
    printed = subprocess.check_output(
        [sys.executable, "-W", "error", "-c", code, *paths], text=True
    )
    for script, helped in zip(EXAMPLES, printed.split("ended 0\n"), strict=False):
        assert helped.startswith(f"usage: {script}") and "ACP_HOST" in helped
        source = (ROOT / "examples" / script).read_text("utf-8")
        assert f" python examples/{script}" in source.split('"""')[1]


@pytest.mark.parametrize("script", EXAMPLES)
def test_each_takes_an_agent_by_its_id_without_a_search(script, server):
    server.faults.add(Fault(path="/agents/search", status=404, times=None))
    typed = '{"count": 1}\n' if script == "batch_runs.py" else "true\n\n"
    ended = run(script, *BY_ID[script], "--host", server.url, stdin=typed)
    assert ended.returncode == 0, ended.stderr


def test_without_the_local_server_they_say_what_to_do(tmp_path):
    missing = "raise ModuleNotFoundError('no uvicorn here', name='uvicorn')\n"
    (tmp_path / "uvicorn.py").write_text(missing)
    ended = run("stream_to_terminal.py", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert ended.returncode == 1
    assert "pip install 'acp-client-v0-1[testing]'" in ended.stderr


@pytest.mark.parametrize(
    ("words", "host", "said"),
    [
        (["quickstart.py"], "http://127.0.0.1:9", "failed: .*"),
        (["quickstart.py"], "not a url", "failed: .*"),
        (["stream_to_terminal.py", "--agent", "nobody"], "", ".*'nobody'.*counter.*"),
        (["receive_webhooks.py", "--port", "{port}"], "", "failed: .*"),
        (SLEEPER, "", "no webhook came"),
        (["batch_runs.py", "no such file"], "", "failed: .*'no such file'"),
        (["batch_runs.py", str(ROOT / "README.md")], "", "failed: line 1 is not JSON: .*"),
    ],
)
def test_a_failure_is_one_line(words, host, said, server):
    typed = [each.format(port=server.port) for each in words]
    ended = run(*typed, ACP_RETRIES="0", **({"ACP_HOST": host} if host else {}))
    assert ended.returncode == 1
    assert re.fullmatch(f"{said}\n", ended.stderr), ended.stderr


def test_a_run_of_the_local_server_is_not_said_to_continue(tmp_path):
    waiting = ("wait_with_progress.py", "--input", '{"seconds": 60}', "--timeout", "0.2")
    for words in (waiting, ("answer_interrupts.py",)):
        ended = run(*words)
        assert (ended.returncode, "--token" in ended.stderr) == (1, False)
        assert "the local server ends now, and the run with it\n" in ended.stderr
    refused = run("batch_runs.py", "--journal", str(tmp_path / "journal"))
    assert refused.returncode == 2 and "server that stays: --host or ACP_HOST" in refused.stderr


# quickstart.py


def test_the_quickstart_does_the_main_job_on_a_server_of_its_own():
    printed = printed_by("quickstart.py")
    assert re.fullmatch(QUICKSTART, printed), printed


def test_it_deletes_no_run_but_its_own(server, runs):
    other = runs.create_run(RunCreate(agent_id=ECHO_AGENT_ID))
    ended = run("quickstart.py", "--count", "1")
    assert ended.returncode == 0 and ended.stdout.startswith(f"server: {server.url}\n")
    assert [left.run_id for left in runs.search_runs({})] == [other.run_id]


# stream_to_terminal.py

# What clears a screen, turns a text, fakes a line, or asks a terminal to answer.
HOSTILE = "\x1b[2J\x9b5n\u202etxt\r\nresult: \x7f Grüße \U0001f600"
SHOWN = r"\u202etxt\r\nresult: \x7f Grüße \U0001f600".replace(r"\U0001f600", "\U0001f600")


def test_stream_prints_no_control_character_of_an_agent(server):
    def hostile(input: Any, config: Any, context: Any) -> Generator[Any, Any, dict[str, Any]]:
        yield {"text": HOSTILE}
        return {"text": HOSTILE, HOSTILE: 1}

    server.register(hostile)
    printed = printed_by("stream_to_terminal.py", "--agent", "hostile")
    assert len(printed.splitlines()) == 2 and printed.replace("\n", "").isprintable()
    assert SHOWN in printed


def test_stream_goes_on_after_a_connection_that_breaks(server):
    server.faults.add(Fault(path="/runs/*/stream", cut="close", after_events=2))
    counting = '{"count": 4, "interval": 0.01}'
    printed = printed_by("stream_to_terminal.py", "--input", counting)
    updates = "".join(f'{{"count": {n}, "of": 4}}\n' for n in range(1, 5))
    assert printed == updates + 'result: {"count": 4, "of": 4}\n'
    streams = [request for request in server.requests if request.path.endswith("/stream")]
    assert [request.headers.get("last-event-id") for request in streams] == [None, "2"]


def test_stream_replaces_results_on_a_terminal():
    arguments = ("--mode", "result", "--input", '{"count": 2, "interval": 0.01}')
    printed, status = shown_on_terminal(command("stream_to_terminal.py", *arguments), os.environ)
    assert status == 0
    first, second = '\r\x1b[2K{"count": 1, "of": 2}', '\r\x1b[2K{"count": 2, "of": 2}'
    assert printed.startswith(first + second)
    assert printed.endswith('\nresult: {"count": 2, "of": 2}\n')


def test_stream_says_how_a_run_ended_that_has_no_result(server):
    failed = run("stream_to_terminal.py", "--agent", "failing")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "this agent always fails" in failed.stderr
    asking = run("stream_to_terminal.py", "--agent", "approval")
    assert asking.returncode == 1 and "is interrupted by 'approval'" in asking.stderr


# wait_with_progress.py


def test_wait_shows_the_time_that_passes():
    ended = run("wait_with_progress.py", "--input", '{"seconds": 2.5}', "--timeout", "20")
    assert (ended.returncode, ended.stdout) == (0, 'result: {"slept": 2.5}\n')
    assert "waiting 0 s |" in ended.stderr
    assert re.search(r"pending [12] s \|.+\| at most 20 s", ended.stderr)


def test_wait_without_tqdm_only_says_what_to_install(server, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tqdm'] = None\n")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    ended = run("wait_with_progress.py", PYTHONPATH=path)
    assert (ended.returncode, ended.stderr) == (1, "the bar needs tqdm: pip install tqdm\n")
    assert server.requests == ()


def test_wait_goes_on_later_by_the_token(server, release):
    script = ("wait_with_progress.py", "--agent", "patient", "--input", '{"n": 1}')
    too_short = run(*script, "--timeout", "0.2")
    assert (too_short.returncode, too_short.stdout) == (1, "")
    (token,) = re.findall(r"--token (\S+)", too_short.stderr)
    release.set()
    again = run("wait_with_progress.py", "--token", token)
    assert (again.returncode, again.stdout) == (0, 'result: {"n": 1}\n')


def test_ctrl_c_ends_the_wait_and_not_the_run(server, runs):
    script = ("wait_with_progress.py", "--input", '{"seconds": 60}')
    with started(*script) as process:
        # It asks only once the bar is drawn, and then it waits for the response.
        assert eventually(lambda: server.requests and server.requests[-1].path.endswith("/output"))
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == 1 and "--token acprun1." in complaints
    assert "Traceback" not in complaints
    assert [left.status.value for left in runs.search_runs({})] == ["pending"]


# answer_interrupts.py


def test_answers_come_from_the_keyboard(server):
    typed = "perhaps\nfalse\nnot on a Friday\n"
    printed = printed_by("answer_interrupts.py", stdin=typed)
    assert printed.startswith("question: May I deploy?\n  approved, boolean:   that is not")
    assert printed.endswith(
        "  approved, boolean:   reason, string (may be empty): "
        'result: {"action": "deploy", "approved": false, "reason": "not on a Friday"}\n'
    )


def test_an_undescribed_question_takes_any_object(server):
    def curious(
        input: Any, config: Any, context: Any
    ) -> Generator[Interrupt, dict[str, Any], dict[str, Any]]:
        first = yield Interrupt("name")
        second = yield Interrupt("colour", {"question": "And the colour?"})
        return {**first, **second}

    server.register(curious)
    typed = '{"name": "Ada"}\nred\n{"colour": "red"}\n'
    script = ("answer_interrupts.py", "--agent", "curious")
    printed = printed_by(*script, stdin=typed)
    assert "  answer, a JSON object: question: And the colour?\n" in printed
    assert "that is not JSON" in printed
    assert printed.endswith('result: {"name": "Ada", "colour": "red"}\n')


def test_a_question_of_an_agent_cannot_change_the_terminal(server):
    def hostile(input: Any, config: Any, context: Any) -> Generator[Any, Any, dict[str, Any]]:
        answer = yield Interrupt("ask", {"question": HOSTILE})
        return {**answer, HOSTILE: HOSTILE}

    schema = {"properties": {HOSTILE: {"type": "string"}, "b": {"title": HOSTILE}}}
    asks = InterruptSpec("ask", resume_payload=schema)
    server.register(hostile, interrupts=[asks])
    typed = "yes\n1\n"
    script = ("answer_interrupts.py", "--agent", "hostile")
    printed = printed_by(*script, stdin=typed)
    assert printed.count("\n") == 2 and printed.replace("\n", "").isprintable()
    assert printed.count(SHOWN) > 3


def test_a_question_can_be_answered_later(server, runs):
    silent = run("answer_interrupts.py")
    assert silent.returncode == 1 and "Traceback" not in silent.stderr
    assert [left.status.value for left in runs.search_runs({})] == ["interrupted"]
    (token,) = re.findall(r"--token (\S+)", silent.stderr)
    script = ("answer_interrupts.py", "--token", token)
    answered = run(*script, stdin="true\n\n")
    assert answered.returncode == 0 and '"approved": true' in answered.stdout


# export_runs.py


def test_export_writes_every_run_of_the_agent(server, runs):
    wanted = [
        runs.create_run(RunCreate(agent_id=ECHO_AGENT_ID, input={"text": f"Grüße\u2028{number}"}))
        for number in range(7)
    ]
    runs.create_run(RunCreate(agent_id=COUNTER_AGENT_ID, input={"count": 1}))
    assert eventually(lambda: all(runs.get_run(one.run_id).status == "success" for one in wanted))
    printed = printed_by("export_runs.py", "echo", "--status", "success")
    exported = [Run.from_json(line) for line in printed.encode().split(b"\n") if line]
    found, made = ({one.run_id: one.creation for one in each} for each in (exported, wanted))
    assert found == made


# batch_runs.py


def test_batch_runs_many_inputs_at_a_time(tmp_path):
    inputs = tmp_path / "inputs.jsonl"
    inputs.write_text("".join(f'{{"count": 2, "interval": 0.2, "n": {n}}}\n' for n in range(20)))
    ended = run("batch_runs.py", str(inputs), "--concurrency", "20", "--progress")
    assert ended.returncode == 0 and "20/20" in ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert sorted(line["number"] for line in lines) == list(range(1, 21))
    assert all(line["result"] == {"count": 2, "of": 2} for line in lines)


def test_batch_goes_on_after_failures(server):
    typed = '{"count": 1}\n\n{"count": "many"}\n{"count": 2, "interval": 0}\n'
    ended = run("batch_runs.py", stdin=typed)
    assert (ended.returncode, ended.stderr) == (1, "inputs without a result: 1\n")
    lines = {line["number"]: line for line in map(json.loads, ended.stdout.splitlines())}
    assert lines[1]["result"] == {"count": 1, "of": 1}
    assert " 422 " in lines[2]["error"]
    assert lines[3]["result"] == {"count": 2, "of": 2}


def test_ctrl_c_ends_a_batch_and_the_same_command_goes_on(server, release, tmp_path):
    inputs, journal = tmp_path / "inputs.jsonl", tmp_path / "journal.jsonl"
    inputs.write_text("".join(f'{{"n": {n}}}\n' for n in range(5)))
    script = ("batch_runs.py", str(inputs), "--concurrency", "2", "--agent", "patient")
    script += ("--journal", str(journal))
    with started(*script) as process:
        assert eventually(lambda: len(server.runs) == 2)
        process.send_signal(signal.SIGINT)
        printed, complaints = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "") and "Traceback" not in complaints
    assert len(server.runs) == 2
    release.set()
    again = run(*script)
    assert again.returncode == 0, again.stderr
    results = [json.loads(line)["result"]["n"] for line in again.stdout.splitlines()]
    assert sorted(results) == [0, 1, 2, 3, 4] and len(server.runs) == 5


# receive_webhooks.py


def test_a_webhook_arrives_and_all_else_is_refused(server, runs):
    with started("receive_webhooks.py", "--agent", "approval") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        _, run_id, _, _, webhook = line.replace(",", "").split()
        assert process.stdout.readline() == f"by webhook: {run_id} is interrupted\n"
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == 1 and "is interrupted by 'approval'" in complaints
    assert runs.get_run(run_id).creation.webhook == webhook


def test_a_receiver_takes_runs_only(server):
    script = ("receive_webhooks.py", "--input", '{"seconds": 60}')
    with started(*script) as process:
        assert process.stdout is not None
        webhook = process.stdout.readline().split()[-1]
        assert posted(webhook, b"{}") == 400
        assert posted(webhook, b"not JSON") == 400
        assert posted(f"{webhook}x", b"{}") == 404
        for length in (str(1024 * 1024 + 1), "9" * 5001):
            assert posted(webhook, None, {"Content-Length": length}) == 413
        assert posted(webhook, None, {"Transfer-Encoding": "chunked"}) == 413


def posted(url: str, body: bytes | None, headers: dict[str, str] | None = None) -> int:
    """The status of a POST; with `headers`, only those are sent, and no body."""
    target = urlsplit(url)
    sending = http.client.HTTPConnection(str(target.hostname), target.port, timeout=30)
    with contextlib.closing(sending) as connection:
        connection.putrequest("POST", target.path)
        for name, value in (headers or {"Content-Length": str(len(body or b""))}).items():
            connection.putheader(name, value)
        connection.endheaders(body)
        return connection.getresponse().status
