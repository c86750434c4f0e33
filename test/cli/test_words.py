"""What the command says when something goes wrong: true, in its own words, in one line each."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import warnings
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import wait_for
from support.commands import (
    KEY,
    SECONDS,
    Inside,
    acp,
    begun,
    data,
    ended,
    first_line,
    in_shell,
    lines,
    started,
)
from support.examples import RESULT, RUN
from support.socket_server import Request, SocketServer, response, serve_each

from acp_client_v0_1 import (
    AgentHandle,
    ApiException,
    InterruptLimit,
    ResumeAmbiguous,
    RunFailed,
    RunHandle,
    RunStartAmbiguous,
    SearchDrift,
    ServiceException,
    StaleInterrupt,
)
from acp_client_v0_1.cli import _commands, _one_line, _outcomes, _output, _runs
from acp_client_v0_1.cli._arguments import _COMMANDS, parse, parser
from acp_client_v0_1.testing import ECHO_AGENT_ID, Fault, LocalServer, Quirks
from acp_client_v0_1.testing import __main__ as serving

PYTHON = re.compile(r"RunHandle|AgentHandle|ApiClient|Configuration\(|error\.|\w=[\"(]|version=")

CANCEL = "run --cancel-on-exit"
STOPPED = "acp-client: stopped by Ctrl-C"
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "reference" / "messages.md"


def twin(input: Any, config: Any, context: Any) -> Any:
    return input


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(api_key={"x-api-key": KEY}) as running:
        for version in ("1.0.0", "2.0.0"):
            running.register(twin, name="twin", version=version)
        yield running


@pytest.fixture
def token(server: LocalServer, inside: Inside) -> str:
    """The token of a run that asks something, which another process has started."""
    token = started(server, "approval", {"action": "deploy"})
    assert inside(server, "wait", token).returncode == 4
    return token


def started_run(server: LocalServer) -> str:
    """The id of the only run of a server."""
    (run,) = server.runs
    return str(run["run_id"])


def in_own_words(done: subprocess.CompletedProcess[str], status: int, words: str) -> None:
    # The first column of a table on the page of messages has words of the message.
    rows = [row.split(" | ")[0] for row in PAGE.read_text("utf-8").splitlines()]
    known = [part for row in rows if row[:3] == "| `" for part in re.findall(r"`([^`]+)`", row)]
    patterns = [".*".join(map(re.escape, each.split("…"))) for each in known]
    said = done.stderr.splitlines()
    assert any(re.search(pattern, said[0]) for pattern in patterns), done.stderr
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr
    assert not PYTHON.search(done.stderr), done.stderr
    assert all(line.startswith(("acp-client: ", "next: acp-client ")) for line in said)


# Cancelled on exit


def test_a_run_that_was_cancelled_is_not_advised_to_wait_for(
    server: LocalServer, inside: Inside
) -> None:
    ask = ("run", "slow", '{"seconds": 60}', "--timeout", "1.5", "--cancel-on-exit")
    done = inside(server, *ask)
    in_own_words(done, 3, "; the run was cancelled")
    assert data(done, 3)["status"] == "cancelled" and "next" not in done.stderr
    assert not [run for run in server.runs if run["status"] == "pending"]


def test_a_question_that_was_cancelled(server: LocalServer, inside: Inside) -> None:
    done = inside(server, "run", "approval", "{}", "--cancel-on-exit")
    in_own_words(done, 4, "nobody answers; the run was cancelled")
    known = data(done, 4)
    assert (known["status"], known["interrupt"]["type"]) == ("cancelled", "approval")
    assert "next" not in done.stderr


def test_a_run_that_could_not_be_cancelled(server: LocalServer, inside: Inside) -> None:
    server.faults.add(Fault(method="DELETE", status=403, body="not yours", times=None))
    ask = ("run", "slow", '{"seconds": 6}', "--timeout", "1.5", "--cancel-on-exit")
    done = inside(server, *ask)
    assert data(done, 3)["status"] == "pending"
    assert "the run was not cancelled: " in done.stderr and "not yours" in done.stderr
    assert "next: acp-client wait" in done.stderr and "was cancelled" not in done.stderr


def test_a_run_that_has_finished_is_kept(server: LocalServer, inside: Inside) -> None:
    server.faults.add(Fault(path="/runs/*/output", status=403, delay=0.5, times=None))
    done = inside(server, "run", "echo", "{}", "--cancel-on-exit")
    run = started_run(server)
    assert f"the run had finished, and is kept: acp-client wait {run}\n" in done.stderr
    assert done.returncode == 1 and "was cancelled" not in done.stderr


# The way on, in the command's own words


def test_the_way_on_is_a_command(server: LocalServer, inside: Inside, token: str) -> None:
    run = started_run(server)
    in_own_words(inside(server, "wait", token), 4, f"next: acp-client wait --ask {run}\n")
    answer = '{"approved": true}'
    assert inside(server, "resume", token, answer).returncode == 0
    assert inside(server, "wait", token).returncode == 0
    done = inside(server, "resume", token, answer)
    in_own_words(done, 1, f"next: acp-client show {run}\n")
    assert f"the answer to run {run} was not used: " in done.stderr
    in_own_words(inside(server, "run", "twin"), 1, "use an id")
    in_own_words(inside("", "agents"), 2, "no host was set: set ACP_HOST, or give --host URL")


def test_a_token_of_another_server_or_in_a_file(
    server: LocalServer, inside: Inside, token: str, folder: Path
) -> None:
    done = inside("http://127.0.0.1:9", "show", token)
    in_own_words(done, 2, "and host (ACP_HOST) is http://127.0.0.1:9\n")
    done = inside(server, "run", "nobody")
    assert "no agent is called 'nobody'" in done.stderr and not PYTHON.search(done.stderr)
    newer = token.replace("acprun1.", "acprun7.")
    in_own_words(inside(server, "show", newer), 2, "use the run's id")
    (folder / "run.token").write_text("acprun1.…", "utf-8")
    in_own_words(inside(server, "wait", "run.token"), 7, "write @run.token for the token in it")


def test_a_start_without_a_response(inside: Inside) -> None:
    with LocalServer(api_key={"x-api-key": KEY}) as server:
        server.faults.add(Fault(method="POST", path="/runs", cut="close"))
        server.faults.add(Fault(method="POST", path="/runs/search", status=403, times=None))
        done = inside(server, "start", "echo", "{}")
        assert done.stdout.startswith("acprun1.")
        server.faults.add(Fault(method="POST", path="/runs", cut="close"))
        known = data(inside(server, "start", "echo", "{}", "--format", "json"), 8)
    in_own_words(done, 8, "next: acp-client show acprun1.")
    assert "the run may have been started or not: POST /runs" in done.stderr
    assert known == {"run_id": None, "status": None, "token": known["token"]}
    assert known["token"].startswith("acprun1.")


def test_events_are_missing(inside: Inside) -> None:
    quirks = Quirks(event_ids="connection", replay=False)
    with LocalServer(api_key={"x-api-key": KEY}, quirks=quirks) as server:
        done = inside(
            server, "start", "counter", '{"count": 300, "interval": 0.1}', "--stream", "custom"
        )
        server.faults.add(Fault(path="/runs/*/stream", cut="close", after_events=2))
        done = inside(server, "stream", done.stdout.strip())
    in_own_words(done, 9, "next: acp-client stream --on-gap mark --from ")
    assert "broken after event " in done.stderr


def test_a_stream_that_was_broken_says_that_events_may_be_missing(inside: Inside) -> None:
    quirks = Quirks(event_ids="none")
    with LocalServer(api_key={"x-api-key": KEY}, quirks=quirks) as server:
        token = started(server, "counter", {"count": 3, "interval": 0.1}, streaming="custom")
        server.faults.add(Fault(path="/runs/*/stream", cut="close", after_events=1))
        done = inside(server, "stream", token)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].startswith("events may be missing, ")


def test_a_stream_ends_as_its_run_does(server: LocalServer, inside: Inside) -> None:
    for agent, status in (("approval", 4), ("failing", 5), ("echo", 0)):
        done = inside(server, "stream", started(server, agent, {}, streaming="custom"))
        assert done.returncode == status and "broken" not in done.stderr, done.stderr
        assert "on_interrupt" not in done.stderr


def test_an_answer_command_that_prints_no_json(server: LocalServer, inside: Inside) -> None:
    for command, words in (
        ("echo no", "what the answer command printed is not JSON"),
        ("echo [1]", "what the answer command printed is not a JSON object"),
        ("false", "the answer command ended with status 1"),
        ("true", "what the answer command printed is empty, and a JSON object is needed"),
    ):
        done = inside(server, "run", "approval", "{}", "--answer-command", command)
        assert data(done, 4)["run_id"] and words in done.stderr
        assert f"next: acp-client wait --ask {data(done, 4)['run_id']}\n" in done.stderr


def test_an_answer_command_gets_the_question_and_answers_it(
    server: LocalServer, inside: Inside, token: str, folder: Path
) -> None:
    answer = """grep -q '"action": "deploy"' && echo '{"approved": true}'"""
    for command in (["wait", token], ["run", "approval", '{"action": "deploy"}']):
        assert data(inside(server, *command, "--answer-command", answer))["approved"] is True
    # In a batch, nobody waits until others are answered.
    Path("in").write_text('{"action": "deploy"}\n' * 2, "utf-8")
    other = "touch $$.asked; until [ $(ls *.asked | wc -l) -gt 1 ]; do sleep 0.05; done"
    command = ["batch", "approval", "in", "--answer-command", f"{other}; {answer}"]
    assert [item["result"]["approved"] for item in lines(inside(server, *command))] == [True] * 2


def test_a_timeout_of_0_only_looks_and_asks_nobody(
    server: LocalServer, inside: Inside, token: str, folder: Path
) -> None:
    done = inside(server, "wait", token, "--timeout", "0", "--answer-command", "touch asked")
    assert data(done, 4)["status"] == "interrupted" and not (folder / "asked").exists()


def test_several_runs_have_an_outcome_each_although_nobody_can_answer(
    server: LocalServer, inside: Inside, token: str
) -> None:
    ran = inside(server, "start", "echo", "{}", "--format", "id").stdout.strip()
    done = inside(server, "wait", token, ran, token, "--ask", "--format", "json")
    assert [each["status"] for each in data(done, 4)] == ["interrupted", "success", "interrupted"]
    assert done.stderr.count("--ask needs a terminal\n") == 2
    answer = ("--answer-command", """echo '{"x": 1e999}'""")
    refused, other = data(inside(server, "wait", token, ran, *answer), 2)
    assert other["status"] == "success" and "inf is not a JSON number" in refused["error"]


@pytest.mark.parametrize("names", ["", "r1\nr2\n"])
def test_a_command_for_one_run_takes_one_from_stdin(names: str) -> None:
    done = acp("http://127.0.0.1:9", "stream", "-", stdin=names)
    said = f"acp-client: stdin must name one run, and names {names.count('r')}\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_a_run_is_named_if_the_server_refuses_to_give_its_output(
    server: LocalServer, inside: Inside
) -> None:
    """Otherwise nobody could pick it up, and the same command would start another."""
    server.faults.add(Fault(path="/runs/*/output", status=403, times=None))
    done = inside(server, "run", "slow", '{"seconds": 60}', "--timeout", "5")
    assert done.returncode == 1 and "403" in done.stderr
    assert f"the run was started: acp-client wait {started_run(server)}\n" in done.stderr


def test_a_pause_that_is_too_long_names_the_run(server: LocalServer, inside: Inside) -> None:
    server.faults.add(Fault(path="/runs/*/output", status=429, retry_after=60, times=None))
    done = inside(server, "run", "slow", '{"seconds": 60}', "--timeout", "5")
    assert "Retry-After: 60 s" in done.stderr
    in_own_words(done, 3, f"next: acp-client wait {started_run(server)}\n")


def test_the_way_on_has_what_was_given(server: LocalServer, inside: Inside) -> None:
    ask = ("run", "slow", '{"seconds": 60}', "--timeout", "1.5", "--ask", "--host", server.url)
    done = inside("", *ask)
    words = f"next: acp-client wait --ask --host {server.url} {started_run(server)}\n"
    in_own_words(done, 3, words)
    assert len(done.stderr.splitlines()[-1]) < 160


def test_an_error_of_a_run_has_no_advice_for_python() -> None:
    about = {"run_id": "r1", "token": "acprun1.e30.a3830348"}
    errors: tuple[tuple[ApiException, str], ...] = (
        (InterruptLimit(**about, limit=3), "run r1 asks again after 3 answers"),
        (
            ResumeAmbiguous(**about, times=2, why="no response"),
            "run r1 may or may not have got the answer, which was sent twice: no response",
        ),
        (SearchDrift(offset=3, why="fewer"), "at offset 3: fewer; search again"),
    )
    for error, words in errors:
        said = error.without("hint")
        assert str(error) == f"{said}; {error.hint}" and pickle.loads(pickle.dumps(error)).hint
        assert words in said and not PYTHON.search(said)
        assert not re.search(r"RunHandle|on_\w+=|client_token|iterate|cancel\(", said)


@pytest.mark.parametrize("journal", [[], ["--journal", "journal"]])
def test_ctrl_c_in_a_batch_has_the_words_of_a_shell(
    server: LocalServer, tmp_path: Path, journal: list[str]
) -> None:
    inputs = '{"seconds": 0}\n{"seconds": 60}\n'
    process = begun(server, "batch", "slow", "-", *journal, stdin=inputs, cwd=tmp_path)
    first_line(process)
    # The second run is in flight once its output is asked for.
    wait_for(lambda: len({each.path for each in server.requests if "/output" in each.path}) == 2)
    done = ended(process)
    err = done.stderr
    assert done.returncode == 130
    assert not PYTHON.search(err) and "map()" not in err and "call" not in err
    assert ("the same again continues" if journal else "with a journal, the same") in err


def test_data_on_stdin_that_is_not_read_is_one_line(server: LocalServer) -> None:
    said = "stdin was not read, as INPUT was not given: - stands for stdin\n"
    for command in ("run echo", "start echo --format id"):
        assert acp(server, *command.split(), stdin='{"n": 1}').stderr == said
        assert acp(server, *command.split(), stdin="").stderr == ""
    assert acp(server, "run", "echo", "{}", stdin='{"n": 1}').stderr == ""


@pytest.mark.parametrize("given", ["start", "run", CANCEL, f"{CANCEL} --client-token earlier"])
def test_ctrl_c_during_a_start_names_the_run_or_cancels_it(
    server: LocalServer, inside: Inside, given: str
) -> None:
    server.faults.add(Fault(method="POST", path="/runs", cut="stall", after_wire_bytes=0))
    process = begun(server, *given.split(), "slow", '{"seconds": 60}')
    wait_for(lambda: len(server.runs) == 1)
    run, done = started_run(server), ended(process)
    told, *others = done.stderr.splitlines()
    assert told.startswith("unclear whether the run was started: acp-client show acprun1.")
    assert others == ["the run was cancelled"] * (given == CANCEL) + [STOPPED]
    ending = f'{{"run_id":"{run}","status":"cancelled"}}\n' if given == CANCEL else ""
    assert (done.returncode, done.stdout, len(server.runs)) == (130, ending, given != CANCEL)
    if server.runs:
        assert data(inside(server, "show", told.split()[-1]))["run_id"] == run


@pytest.mark.parametrize("command", ["wait", "stream"])
def test_ctrl_c_says_that_the_run_continues(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunHandle, "result", interrupted)
    monkeypatch.setattr(RunHandle, "events", interrupted)
    done = inside("http://127.0.0.1:9", command, "r1")
    assert done.stderr == "acp-client: the run may continue on the server: acp-client wait r1\n"
    assert done.stdout == "" and done.returncode >= 128


def test_401_names_the_variables(server: LocalServer, inside: Inside) -> None:
    done = inside(server, "agents", ACP_API_KEY="")
    for name in ("ACP_API_KEY", "ACP_TOKEN", "ACP_USERNAME", "ACP_PASSWORD"):
        assert (done.returncode, f"({name})" in done.stderr) == (1, True), done.stderr


def test_acp_debug_is_the_option_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    for word, debug in (
        *(("true", True), (" 1", True), ("ON", True)),
        *(("false", False), ("0", False), ("", False)),
    ):
        monkeypatch.setenv("ACP_DEBUG", word)
        assert parse(["show", "nothing"]).debug is debug, word


def test_the_help_of_each_command_names_what_its_arguments_take() -> None:
    (commands,) = (each.choices for each in parser()._actions if isinstance(each.choices, dict))
    assert len(commands) > 10
    for name, command in commands.items():
        shown = command.format_help()
        assert f"example:\n  acp-client {name} " in shown
        # A text that several commands share is true of each.
        assert not re.search("all runs|the one to try|of the run,", shown)
        for action in command._actions[1:]:
            assert action.help and not action.help[:2].isupper(), action
            takes = action.metavar or "".join(action.choices or ()).upper()
            assert (action.nargs == 0) == (takes is None or takes == ""), action
            assert takes is None or isinstance(takes, tuple) or takes == takes.upper(), action


def test_what_an_argument_means() -> None:
    for arguments, name, value in (
        ("search --limit 1", "limit", 1),
        ("search --limit 1000000000", "limit", 10**9),
        ("batch a f", "concurrency", 8),
        ("batch a f --concurrency 1", "concurrency", 1),
        ("batch a f", "format", "jsonl"),
        ("stream r", "format", "jsonl"),
        ("start a", "format", "text"),
        ("agents", "format", "json"),
        ("stream r", "on_gap", "raise"),
        ("wait r --timeout 0", "timeout", 0.0),
        ("wait r --timeout 0.5", "timeout", 0.5),
        ("wait r", "timeout", None),
        ("serve", "port", 8000),
        ("serve --port 0", "port", 0),
        ("serve --port 65535", "port", 65535),
        ("run a", "cancel_on_exit", False),
        ("run a --ask", "ask", True),
        ("--debug agents", "debug", True),
        ("agents --debug", "debug", True),
        ("agents", "debug", False),
        ("--host h agents", "host", "h"),
        ("run a --timeout 5 {}", "input", {}),
        ("wait a --timeout 5 b -", "runs", ["a", "b", "-"]),
    ):
        assert getattr(parse(arguments.split()), name) == value, (arguments, name)


def test_a_signal_waits_until_a_record_is_written_and_no_longer() -> None:
    stop, later, done = _output.Stop(), _output.Stop(), []
    with pytest.raises(_output.Stopped), stop:
        stop(2, None)
        stop(15, None)  # at once, as from timeout(1): the two count as one
        done.append(1)
    assert done == [1] and stop.number == 2
    for handler in (stop, later):
        with handler:
            pass
    with pytest.raises(_output.Stopped):
        later(2, None)


def test_a_signal_that_is_ignored_stays_ignored(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As shells start what runs in the background, and as nohup does."""
    seen: list[object] = []
    monkeypatch.setattr(_commands, "agents", lambda *_: seen.extend(map(signal.getsignal, (2, 15))))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert inside("http://127.0.0.1:9", "agents").returncode == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIG_IGN, _output.STOP]


def test_stderr_drops_what_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    for stream in (SimpleNamespace(write=refuse, flush=refuse), io.TextIOWrapper(io.BytesIO())):
        monkeypatch.setattr(sys, "stderr", stream)
        stderr = _output.Stderr()
        assert stderr.write("ab") == 2
        stderr.flush()
    assert stderr.buffer.getvalue() == b"ab"
    stream.close()
    assert stderr.write("ab") == 2


def test_an_error_that_nobody_expected_is_one_line(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks, before = list[object](), sys.excepthook

    def broken(*_: object) -> None:
        hooks.append(sys.excepthook)
        raise RuntimeError("a bug")

    monkeypatch.setattr(_commands, "agents", broken)
    for debug in ([], ["--debug"]):
        with pytest.raises(RuntimeError) as caught:
            inside("http://127.0.0.1:9", "agents", *debug)
    assert hooks == [_one_line, before]
    inside.capture.readouterr()
    _one_line(RuntimeError, caught.value, None)
    said = inside.capture.readouterr().err
    assert said == "acp-client: RuntimeError: a bug (--debug shows where)\n"


def test_a_word_that_is_no_option_is_followed_by_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments, words in (
        ("--hlep", "unrecognized arguments: --hlep; did you mean '--help'?"),
        ("rnu echo", "argument COMMAND: invalid choice: 'rnu'; did you mean 'run'?"),
        (f"{'x' * 300} echo", f"argument COMMAND: invalid choice: '{'x' * 165}"),
        ("--versoin", "unrecognized arguments: --versoin; did you mean '--version'?"),
        # It must not be taken for --client-token: that is sent in the metadata of a run.
        ("run echo {} --token=t", "unrecognized arguments: --token"),
        ("run echo --header=x --password y", "unrecognized arguments: --header --password"),
        ("run echo --input {}", "arguments: --input; write INPUT without --input"),
        ("run echo -d {}", "unrecognized arguments: -d; write INPUT without -d"),
        ("run --agent=echo {}", "unrecognized arguments: --agent; write AGENT without --agent"),
        ("run echo --imput {}", "unrecognized arguments: --imput"),
        ("completion pwsh", "invalid choice: 'pwsh'"),
        ("agents --zzz", "unrecognized arguments: --zzz"),
        ("serve --api-key k=x", ": --api-key; did you mean '--api-key-env'?"),
        ("batch a f --jurnal=x", "unrecognized arguments: --jurnal; did you mean '--journal'?"),
        ("search --limit status", "a whole number above 0 is needed, not status"),
        ("run --ask", "arguments are required: AGENT"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parse(arguments.split())
        said, command = capsys.readouterr().err, arguments.split()[0]
        assert said.endswith(f"{words}\n"), arguments
        # The usage lists the options that there are.
        assert "usage: acp-client " + (f"{command} " if command in _COMMANDS else "") in said
    with pytest.raises(SystemExit, match="2"):
        parse(["run", "echo", "--zzz", "x"])
    # CPython 3.14 takes the value of an unknown option for INPUT.
    said = capsys.readouterr().err
    assert ": --zzz" in said and "did you mean" not in said


FILES = {
    "bad": b'{}\n\n{"a":1\n',
    "nan": b'{"a": NaN}\n',
    "csv": b"{}\na,b\n",
    "latin.jsonl": b'{"name": "Zo\xeb"}\n',
    "utf16": '{"n": 1}\r\n{"n": 2}\r\n'.encode("utf-16"),
    "utf16be": '{"n": 1}\n{"n": 2}\n'.encode("utf-16-be"),
    "names": b"acprun1.\xff\n",
    "run.token": b"acprun1.x",
    "few.csv": b"a,b\n1,2\n3\n",
    "many.csv": b"a,b\n1,2,3\n",
    "same.csv": b"a,a\n1,2\n",
    "noname.csv": b"a,\n1,2\n",
    "twice": b'{"a": 1, "a": 2}\n',
    "quoted.csv": b'a,b\n"1"2,3\n',
    "latin.csv": b"a,b\n\xff,3\n",
    "comma": b'{"a": 1 "b", 2}\n',
    "in": b"{}\n",
    "empty": b"\n",
    "pretty": b'{\n  "a": 1\n}\n',
    "semi.csv": b"a;b\n1;2\n",
    "tabs.tsv": b"a\tb\n1\t2\n",
}
UNEVEN = "is not CSV: it does not have one value for each name"
NO_TIME = "argument --timeout: a number of seconds, 0 or more, is needed, not"
WRONG = [
    ("", "arguments are required: COMMAND"),
    ("wait", "arguments are required: RUN"),
    ("run echo {", "; write JSON in quotes, as"),
    ("run echo Hello", "write JSON in quotes"),
    ("run echo [1]", "argument INPUT: not a JSON object: [1]\n"),
    (f"run echo [{'1,' * 50}1]", f"INPUT: not a JSON object: [{'1, ' * 19}1,\n"),
    ("""run echo '{"a": NaN}'""", "NaN is not JSON\n"),
    ("""run echo '{"a" 1}'""", "argument INPUT: not JSON: Expecting ':' delimiter at column"),
    ("""run echo '{"a":""" + "[" * 100_000 + "'", "nested too deep"),
    ("""run echo '{"n": "\udcff"}'""", "argument INPUT: not UTF-8 text\n"),
    # What a shell makes of {"message": "x"} without quotes.
    ("run echo {message: x}", "unrecognized arguments: x}; write JSON in quotes"),
    ("""run echo '{"a":1}}'""", "argument INPUT: not JSON: Extra data at column 8\n"),
    ("resume - -", "only one argument can be -, which stands for stdin\n"),
    ("run echo -", "argument INPUT: stdin is empty, and a JSON object is needed\n"),
    ("run echo @csv", "INPUT: csv is not JSON: Extra data: line 2 column 1 (char 3)\n"),
    ("run echo \u2018{\u201cn\u201d:1}\u2019", "; its quotes are typographic, as"),
    ("run echo '{\u201cn\u201d:1}'", "; its quotes are typographic, as"),
    ("serve --bind 0.0.0.0:8000", "acp-client: --bind: '0.0.0.0:8000' is not a host name without"),
    ("run echo @", "cannot read @: No such file or directory"),
    ("run echo @nowhere.json", "cannot read nowhere.json: No such file or directory\n"),
    ("run echo @/proc/self/mem", "argument INPUT: "),  # on Linux, it can be opened, not read
    ("run echo @in\0put", "put: embedded null byte\n"),
    ("run echo {} --thread ''", "argument --thread: it is empty"),
    ("search --agent ''", "argument --agent: it is empty"),
    ("start echo {} --reuse", "reuse needs a client token"),
    ("run approval {} --ask --answer-command true", "exclude each other"),
    ("wait acprun1.damaged", "token"),
    ("wait acprun9.e30.00000000", "version 9"),
    ("wait ''", "the id or name '' is empty, or has"),
    ("""show '{"run_id": "r1"}'""", "not JSON: print it by --format id\n"),
    ("show @names", "or bytes that are not UTF-8; nothing was sent\n"),
    ("show run\udcff", "or bytes that are not UTF-8; nothing was sent\n"),
    ("show a\x1b[31m", "control or invisible"),
    ("history a\x07", "control or invisible"),
    ("run e\u202echo", "control or invisible"),
    ("wait 'a\nb'", "control or invisible"),
    *((f"wait r --timeout {given}", f"{NO_TIME} {given}") for given in ("-0.1", "nan", "inf")),
    ("search --limit 0", "argument --limit: a whole number above 0 is needed, not 0"),
    ("search --limit 1000000001", "argument --limit: a whole number above 0 is needed"),
    ("batch a f --concurrency x", "argument --concurrency: a whole number above 0 is needed"),
    ("serve --port 65536", "argument --port: a number from 0 to 65535 is needed, not 65536"),
    ("serve --port -1", "argument --port: a number from 0 to 65535 is needed, not -1"),
    ("serve --api-key-env=NOT_SET", "the variable NOT_SET is not set"),
    ("agents --status x", "unrecognized arguments: --status\n"),
    ("completion bash --format id", "unrecognized arguments: --format"),
    ("agents --host nonsense", "host"),
    ("""agents --host '"http://127.0.0.1:9"'""", "stands in quotation marks; remove them"),
    ("batch echo nowhere.jsonl", "acp-client: cannot read nowhere.jsonl: No such file or"),
    ("batch echo @in", "cannot read @in: No such file or directory; write its name without @"),
    ("batch echo latin.jsonl", "acp-client: line 1 of latin.jsonl is not UTF-8 text\n"),
    *(
        (f"batch echo {name}{more}", f"line 1 of {name} is not UTF-8 text: in PowerShell, write")
        for name in ("utf16", "utf16be")
        for more in ("", " --progress")
    ),
    ("batch echo bad", "line 3 of bad is not JSON: Expecting ',' delimiter at column 7"),
    ("batch echo nan", "line 1 of nan is not JSON: NaN is not JSON"),
    ("batch echo comma", "line 1 of comma is not JSON: Expecting ',' delimiter at column 9\n"),
    # Only a first line can be the header of CSV.
    ("batch echo csv", "line 2 of csv is not JSON: Expecting value at column 1\n"),
    ("batch echo few.csv", f"line 3 of few.csv {UNEVEN}"),
    ("batch echo many.csv", f"line 2 of many.csv {UNEVEN}"),
    (
        "batch echo same.csv",
        "line 1 of same.csv is not CSV: it has a name twice, or an empty one\n",
    ),
    ("batch echo noname.csv", "line 1 of noname.csv is not CSV: it has a name twice, or an empty"),
    ("batch echo twice", "line 1 of twice is not JSON: an object has the key 'a' twice\n"),
    (
        """run echo '{"o": {"a": 1, "a": 2}}'""",
        "INPUT: not JSON: an object has the key 'a' twice\n",
    ),
    ("batch echo in --results -", "--results names a file; without it, results are printed\n"),
    *(
        (f"batch echo in {option} ''", f"argument {option}: it is empty: is a variable not set?")
        for option in ("--results", "--journal", "--key", "--answer-command", "--host", "--config")
    ),
    (
        "start echo --client-token ''",
        "argument --client-token: it is empty: is a variable not set?",
    ),
    ("batch echo ''", "argument FILE: it is empty: is a variable not set?"),
    ("batch echo quoted.csv", "line 2 of quoted.csv is not CSV: ',' expected after '\"'"),
    ("batch echo latin.csv", "line 2 of latin.csv is not CSV: 'utf-8' codec can't decode byte"),
    ("batch echo pretty", "at column 2; write each object in one line, as jq -c . does\n"),
    ("batch echo semi.csv", "line 2 of semi.csv is not CSV: its values are not separated by"),
    ("batch echo tabs.tsv", "; CSV with commas is read from a file whose name ends with .csv\n"),
    ("batch echo in --key n", "line 1 of in has no member 'n' for --key"),
    ("batch echo in --results out --format json", "--results needs --format jsonl or id"),
    ("batch echo in --results out --format text", "--results needs --format jsonl"),
    ("batch echo in --results none/such", "none/such cannot be opened: No such file or"),
    ("batch echo in --timeout 0", "acp-client: the timeout must be above 0 seconds: a run"),
    ("batch echo in --retry-failed", "retry_failed is for the lines of a"),
]


def test_wrong_usage_ends_with_2_and_is_named_with_its_place(
    server: LocalServer, inside: Inside, folder: Path
) -> None:
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    for arguments, words in WRONG:
        done = inside(server, *shlex.split(arguments))
        # A batch has printed the results of the lines before the bad one.
        items = words.startswith(("line 3 of bad", "line 2 of csv", "line 3 of few"))
        assert (done.returncode, done.stdout.count("\n")) == (2, items), (arguments, done.stderr)
        assert words in done.stderr and "line 1 column" not in done.stderr, arguments
        assert not PYTHON.search(done.stderr) and "\x1b" not in done.stderr, arguments
    done = inside(server, "batch", "echo", "csv", "--format", "json")
    assert done.returncode == 2 and done.stdout.startswith("[") and "]" not in done.stdout
    assert {path.name for path in folder.iterdir()} == FILES.keys()
    empty = inside(server, "batch", "echo", "empty")
    assert (empty.returncode, empty.stderr) == (0, "there was no input in empty\n")
    os.fstat(0)  # no command has closed stdin
    quoted = inside("'http://127.0.0.1:9'", "agents")
    assert quoted.returncode == 2 and "stands in quotation marks; remove them" in quoted.stderr
    debug = inside(server, "agents", ACP_DEBUG="maybe")
    assert debug.returncode == 2 and "'maybe' is neither true nor false" in debug.stderr
    assert "ACP_DEBUG" in debug.stderr


ADVICE = (
    "|journal=|set host (ACP_HOST)|; iterate on|, or RunHandle('r', client)|answer it by error."
)
PRINTABLE = st.characters(blacklist_categories=("Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp", "Zs"))
WORDS = st.lists(st.text(PRINTABLE, max_size=9) | st.sampled_from(ADVICE.split("|")), max_size=3)


@given(WORDS.map(lambda words: " ".join(" ".join(words).split())))
def test_the_words_of_a_server_are_left_as_they_are(text: str) -> None:
    run = {"run_id": "r1", "token": "acprun1.e30.a3830348"}
    errors = (
        RunFailed(**run, errcode=1, description=text),
        StaleInterrupt(**run, now=text),
        RunStartAmbiguous(client_token="c", token=run["token"], why=text),
        ApiException(418, "No", data={"detail": f"said: {text}"}),
        ServiceException(502, text),
    )
    for error in errors:
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            output = _output.Output("text", io.BytesIO())
            _outcomes.report(error, output, Namespace(host=None, ask=False))
        assert error.without("hint") in stderr.getvalue(), error
        assert text in stderr.getvalue() or isinstance(error, ServiceException)
        assert error.hint not in stderr.getvalue().splitlines()[0] or not error.hint


def test_serve_passes_its_options_on(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[Any] = []
    monkeypatch.setattr(serving, "serve", lambda *given, **more: passed.append((given, more)))
    assert inside("", "serve", "--port=0", "--api-key-env=KEY").returncode == 0
    assert passed == [(("127.0.0.1", 0, "KEY"), {})]


# What is passed on


def test_each_option_reaches_its_call(
    server: LocalServer, inside: Inside, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "in").write_text("{}\n{}\n", "utf-8")
    given = dict[str, Any]()

    def note(agent: AgentHandle, inputs: object = None, **options: Any) -> None:
        given.clear()
        given.update(options)
        raise ApiException(reason="enough")

    for method in ("map", "start"):
        monkeypatch.setattr(AgentHandle, method, note)
    shared = """--config '{"c": 1}' --metadata '{"m": 2}' --check"""
    of_runs = {"config": {"c": 1}, "metadata": {"m": 2}, "check": True}
    of_batches = "--concurrency 3 --ordered --timeout 5 --journal j --retry-failed"
    calls: tuple[tuple[str, dict[str, Any]], ...] = (
        (
            f"batch echo in {of_batches} --cancel-on-exit --progress {shared}",
            {
                "concurrency": 3, "ordered": True, "timeout": 5.0, "journal": "j", "total": 2,
                "retry_failed": True, "on_stop": "cancel", "progress": True, "key": None,
                "on_interrupt": None, **of_runs,
            },
        ),
        ("batch echo in", {"on_stop": "leave", "progress": None, "total": None, "check": False}),
        (
            f"start echo {{}} --thread t --client-token c --reuse --stream custom {shared}",
            {
                "timeout": None, "input": {}, "thread_id": "t", "client_token": "c",
                "reuse": True, "streaming": "custom", **of_runs,
            },
        ),
        ("run echo {}", {"timeout": None, "reuse": False, "check": False}),
    )  # fmt: skip
    for command, expected in calls:
        assert inside(server, *shlex.split(command)).returncode == 1
        assert {name: given.get(name, ...) for name in expected} == expected, command
    inside(server, "run", "echo", "--timeout", "7")
    assert 0 < given["timeout"] <= 7.0
    # A field of a create is passed as soon as it is an option.
    assert _commands._passed(Namespace(webhook="w", other=1)) == {"webhook": "w"}


def test_what_is_searched_for_reaches_the_search(server: LocalServer, inside: Inside) -> None:
    of_echo = {"agent_id": ECHO_AGENT_ID, "metadata": {"m": 2}}
    for command, expected in (
        ("agents --name a --version 1", {"name": "a", "version": "1"}),
        (
            """search --agent echo --status error --metadata '{"m": 2}'""",
            {**of_echo, "status": "error"},
        ),
        ("""threads --agent echo --metadata '{"m": 2}'""", of_echo),
    ):
        assert inside(server, *shlex.split(command)).returncode == 0
        sent = json.loads(server.requests[-1].body)
        assert expected.items() <= sent.items(), command


# Several runs


def test_many_outcomes_come_at_once_and_keep_the_order_of_their_runs() -> None:
    together = threading.Barrier(64, timeout=SECONDS)

    def act(run: int) -> int:
        together.wait()
        time.sleep(0.001 * (run % 3))
        return run

    assert list(_runs.at_once(act, range(320))) == list(range(320))


def test_a_list_that_ends_early_begins_no_more_requests() -> None:
    begun: list[int] = []
    ended = threading.Event()

    def act(run: int) -> None:
        begun.append(run)
        if run > 0:
            ended.wait(SECONDS)

    outcomes = _runs.at_once(act, range(1000))
    next(outcomes)
    cast(Any, outcomes).close()
    ended.set()
    time.sleep(0.1)
    assert len(begun) <= 65  # one for each thread, and another for that of the first run


def test_an_error_in_a_thread_is_raised_where_its_outcome_is_read() -> None:
    outcomes = _runs.at_once([0, 1].__getitem__, [0, 1, 2])
    assert [next(outcomes), next(outcomes)] == [0, 1]
    with pytest.raises(IndexError):
        next(outcomes)


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_the_threads_that_wait_for_runs(server: LocalServer) -> None:
    run = started(server, "slow", {"seconds": 60})
    process = begun(server, "wait", "-", stdin=f"{run}\n" * 100)
    wait_for(lambda: any(each.path.endswith("/output") for each in server.requests))
    done = ended(process)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{STOPPED}\n")


def test_once_the_time_is_over_the_runs_that_are_left_are_checked(
    server: LocalServer, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_runs, "_AT_ONCE", 1)
    slow, ended = started(server, "slow", {"seconds": 60}), started(server, "echo", {})
    server.faults.add(Fault(path="/runs/*/output", delay=0.1, times=None))
    outcomes = data(inside(server, "wait", slow, ended, "--timeout", "0.3"), 3)
    assert [each["status"] for each in outcomes] == ["pending", "success"]


def test_several_runs_are_ended(server: LocalServer, inside: Inside) -> None:
    tokens = [started(server, "slow", {"seconds": 60}) for _ in range(2)]
    shown = data(inside(server, "show", *tokens))
    assert [run["status"] for run in shown] == ["pending", "pending"]
    done = inside(server, "cancel", *tokens, "nothing")
    assert [each.get("cancelled") for each in data(done, 7)] == [True, True, None]


# Warnings


def test_a_warning_is_one_line_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    _outcomes.show_warnings(debug=False)
    log = logging.getLogger("acp_client_v0_1.handles")
    for run in ("r1", "r2"):
        log.warning("%s: no response; asking again for 300 s", run)
    log.info("quiet")
    log.warning("the server is back")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("the schema\ncannot be used", stacklevel=1)
    assert capfd.readouterr().err.splitlines() == [
        "acp-client: r1: no response; asking again for 300 s",
        "acp-client: the server is back",
        "acp-client: the schema cannot be used",
    ]


# Where things stand, and how they are written


def test_the_host_may_stand_before_the_command(server: LocalServer, inside: Inside) -> None:
    nowhere = "http://127.0.0.1:9"
    assert data(inside(nowhere, "--host", server.url, "run", "echo", "{}")) == {}
    assert data(inside(nowhere, "run", "echo", "{}", "--host", server.url)) == {}
    assert inside(server, "--host", nowhere, "run", "echo", "{}").returncode == 10
    assert inside("", "--hos", server.url, "agents", "--name", "echo").returncode == 2


def test_a_batch_names_the_command_that_converts_its_file(
    server: LocalServer, inside: Inside, folder: Path
) -> None:
    for name, between in (("people.json", ",\n"), ("my line.jsonl", ", ")):
        content = between.join(['[{"name": "Zo\xeb"}', '{"name": "Ada"}]\n'])
        (folder / name).write_text(content, "utf-8")
        done = inside(server, "batch", "echo", name)
        assert (done.returncode, done.stdout) == (2, "") and f"line 1 of {name}" in done.stderr
        assert done.stderr.endswith(f"; to convert an array: jq -c '.[]' {shlex.quote(name)}\n")


def test_a_file_that_is_csv_by_its_name_is_taken_as_it_is(
    server: LocalServer, inside: Inside, folder: Path
) -> None:
    content = b'\xef\xbb\xbfname,age\r\nZo\xc3\xab,3\r\n\r\n"two\nlines",""\r\n'
    Path("people.CSV").write_bytes(content.replace(b"3", b"3" * 200_000))
    done = inside(server, "batch", "echo", "people.CSV", "--ordered", "--key", "name")
    items = lines(done)
    assert [item["key"] for item in items] == ["Zo\u00eb", "two\nlines"]
    assert items[1]["result"] == {"name": "two\nlines", "age": ""}
    assert done.stderr == ("people.CSV is CSV: an input for each row, with text for name, age\n")
    Path("people.txt").write_bytes(content)
    done = inside(server, "batch", "echo", "people.txt")
    assert done.returncode == 2 and "a file whose name ends with .csv\n" in done.stderr


def test_a_byte_order_mark_is_accepted(server: LocalServer, inside: Inside, folder: Path) -> None:
    (folder / "in.jsonl").write_bytes(b'\xef\xbb\xbf{"n": 1}\n{"n": 2}\n')
    items = lines(inside(server, "batch", "echo", "in.jsonl", "--ordered", "--key", "n"))
    assert [(item["key"], item["result"]["n"]) for item in items] == [("1", 1), ("2", 2)]
    (folder / "in.json").write_bytes(b'\xef\xbb\xbf{"n": 1}')
    assert data(inside(server, "run", "echo", "@in.json")) == {"n": 1}


@pytest.mark.slow
def test_json_is_utf_8_whatever_the_locale(server: LocalServer) -> None:
    text = '{"text": "Zo\u00eb \u2713"}'
    locale = "LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0"
    for command in ("run", "batch"):
        done = in_shell(server, f"{locale} acp {command} echo -", text)
        assert done.returncode == 0, done.stderr
        assert "Zo\u00eb \u2713" in done.stdout


def test_pending_is_printed_only_if_the_server_said_so(inside: Inside) -> None:
    """And a result that a server gives once is printed once, with the status 0."""
    run = {**RUN, "agent_id": ECHO_AGENT_ID, "creation": {"agent_id": ECHO_AGENT_ID}, "status": ""}
    outputs = [response(json.dumps(RESULT).encode())]

    def reply(request: Request) -> Any:
        if request.path.endswith("/stream"):
            return response(b"", 501)
        if "/output" not in request.path:
            return response(json.dumps(run).encode())
        return outputs.pop() if outputs else response(status=204, content_type="")

    with SocketServer(handler=serve_each(reply)) as server:
        create = ("run", ECHO_AGENT_ID, "{}", "--stream", "custom", "--format", "jsonl")
        shown = lines(inside(server.url, *create, "--timeout", "5"), 0)
        assert len(shown) == 2 and shown[0]["result"] == shown[1]
        (ending,) = lines(inside(server.url, *create, "--timeout", "0.5"), 3)
        assert ending["status"] is None and "has no event after" in ending["error"]
        ending = data(inside(server.url, "wait", "r1", "--timeout", "0"), 3)
        assert ending == {"run_id": "r1", "status": "pending"}
