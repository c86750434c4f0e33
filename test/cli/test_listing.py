"""Threads, histories, tables, terminals, and statuses for cron."""

import io
import json
import re
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.batches import wait_for
from support.commands import (
    KEY,
    SECONDS,
    Output,
    acp,
    count_of,
    data,
    on_terminal,
    outline,
    rows_of,
    seconds_left,
    waiting_line,
)
from support.proxies import HttpProxy
from support.socket_server import STALL, SocketServer, response

from acp_client_v0_1 import AgentHandle, AgentsApi, ApiClient, Configuration, ThreadsApi
from acp_client_v0_1.testing import AgentDefinition, Fault, LocalServer
from acp_client_v0_1.testing.builtin import BUILTIN_AGENTS, ECHO_AGENT_ID


@pytest.fixture
def client(server: LocalServer) -> Iterator[ApiClient]:
    with ApiClient(Configuration(server.url, api_key={"x-api-key": KEY})) as made:
        yield made


# Threads and histories


def test_threads_are_listed_and_a_history_has_outcomes_of_each_kind(client, inside):
    host = client.configuration.host
    for name, inputs, wanted in (
        ("echo", [{"n": 1}, {"n": 2}], {"status": "success", "result": {"n": 2}}),
        ("failing", [{"errcode": 7}], {"status": "error", "errcode": 7}),
        ("failing", [{"timeout": True}], {"status": "timeout"}),
        ("approval", [{}], {"status": "interrupted"}),
        ("slow", [{"seconds": 60}], {"status": "pending"}),
    ):
        agent = AgentHandle.find(name, api_client=client)
        thread = ThreadsApi(client).create_thread({"agent_id": agent.agent_id}).thread_id
        for input in inputs:
            run = agent.start(input, thread_id=thread)
            if name != "slow":
                run.output(timeout=SECONDS)
        shown = data(inside(host, "history", thread))
        assert [each["input"] for each in shown] == inputs
        assert wanted.items() <= shown[-1].items()
        listed = data(inside(host, "threads", "--agent", name))
        assert thread in [each["thread_id"] for each in listed]
        run.delete()


# Statuses for cron


def test_a_quick_command_sends_one_request(inside):
    with SocketServer(response(b"[]")) as server:
        assert inside(server, "ping", ACP_RETRIES="3").returncode == 0
        (sent,) = server.requests
        assert json.loads(sent.body) == {"name": "ping", "limit": 1, "offset": 0}
    with SocketServer(response(b'"busy"', 503)) as server:
        assert inside(server, "ping", ACP_RETRIES="3").returncode == 10
        assert len(server.requests) == 1


def test_a_quick_request_has_a_limit_of_its_own(inside, monkeypatch):
    given, seconds = list[float](), iter((7.0, 7.0123456))

    def search(api: AgentsApi, wanted: object, *, _request_timeout: float) -> list[Any]:
        given.append(_request_timeout)
        return []

    monkeypatch.setattr(AgentsApi, "search_agents", search)
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    assert data(inside("http://127.0.0.1:9", "ping"))["milliseconds"] == 12.3
    assert given == [10]


def test_10_is_for_what_may_pass(inside):
    """Also if a proxy says so, and not for what is no response of a server at all."""
    for status, wanted in ((407, 1), (501, 1), (429, 10), (502, 10)):
        with HttpProxy(refuse=response(b"", status)) as proxy:
            done = inside("https://acp.invalid", "agents", ACP_PROXY=proxy.url)
        assert done.returncode == wanted and str(status) in done.stderr
    for sent in (response(b"<html>", content_type="text/html"), b"no http at all\r\n\r\n"):
        with SocketServer(sent) as server:
            assert inside(server, "agents").returncode == 1


# The time that --timeout gives


@pytest.mark.slow
def test_the_search_for_the_agent_takes_of_the_timeout(inside):
    with LocalServer(api_key={"x-api-key": KEY}) as server:
        server.faults.add(Fault(path="/agents/search", delay=2))
        assert inside(server, "run", "echo", "{}", "--timeout", "20").returncode == 0
        (poll,) = [each.query for each in server.requests if each.path.endswith("/output")]
    assert int(poll.partition("block_timeout=")[2]) <= 18


@pytest.mark.parametrize("command", [["run", "echo", "{}"], ["batch", "echo", "in"]])
def test_a_server_that_hangs_takes_no_more_than_the_timeout(inside, command, folder):
    (folder / "in").write_text("{}\n", "utf-8")
    with SocketServer([STALL]) as server:
        began = time.monotonic()
        done = inside(server, *command, "--timeout", "0.5")
        assert time.monotonic() - began < 10  # the default of a request is longer by far
    assert (done.returncode, done.stdout) == (10, "")


def test_several_waits_share_the_timeout():
    left = seconds_left(Namespace(timeout=60.0))
    first, second = left(), left()
    assert first is not None and second is not None and 0 < second <= first <= 60
    assert seconds_left(Namespace(timeout=1e-9))() == 0.001  # 0 would check once
    assert seconds_left(Namespace(timeout=0.0))() == 0
    assert seconds_left(Namespace())() is None


# Terminals


def test_a_bar_and_the_outcomes_on_one_terminal_do_not_mix(server, tmp_path):
    inputs = tmp_path / "in"
    inputs.write_text('{"errcode": 4}\n' * 5, "utf-8")
    shown, status = on_terminal(server, "batch", "failing", str(inputs), "--progress")
    rows = rows_of(shown)
    assert status == 5
    assert len([json.loads(row) for row in rows if row.startswith("{")]) == 5
    assert "5 of 5 items failed" in rows and "5/5" in shown


@pytest.mark.slow
def test_a_bar_has_its_total_if_the_file_can_be_counted(server, inside, tmp_path):
    inputs = tmp_path / "in"
    content = '{"seconds": 0.3}\n\n' * 3
    inputs.write_text(content, "utf-8")
    one_by_one = ("--progress", "--concurrency", "1")
    done = inside(server, "batch", "slow", str(inputs), *one_by_one)
    assert "| 1/3 [" in done.stderr and "| 3/3 [" in done.stderr
    piped = acp(server, "batch", "slow", "-", *one_by_one, stdin=content)
    assert "1run [" in piped.stderr and "| 1/3 [" not in piped.stderr

    inputs.write_text('text\n"two\nlines"\nb\nc\n', "utf-8")
    with inputs.open("rb") as file:
        assert count_of(file, "in.csv") == 3
        assert file.readline() == b"text\n"  # it is at the beginning again


@pytest.mark.slow
def test_a_run_shows_on_a_terminal_that_it_waits_and_clears_that(server):
    run = ("run", "slow", '{"seconds": 3.2}', "--format", "jsonl")
    shown, status = on_terminal(server, *run, columns=40)
    assert status == 0 and re.search(
        r"\rpending, [1-3] s, run [-0-9a-f]{,22}\r", shown
    )  # it is cut
    assert rows_of(shown) == ['{"slept":3.2}', ""]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def writers() -> list[str]:
    """The threads that show that a run is waited for."""
    return [thread.name for thread in threading.enumerate() if thread.name.endswith("(show)")]


def test_only_one_run_that_is_not_quick_shows_on_a_terminal_that_it_waits(monkeypatch):
    run: Any = Namespace(status=None, run_id="r1")

    def begins(stderr: io.StringIO, **options: Any) -> bool:
        monkeypatch.setattr(sys, "stderr", stderr)
        with waiting_line(run, Namespace(**{"debug": False, **options})):
            return bool(writers())

    def seen(line: str) -> bool:
        return re.search(rf"\r{line} *\r", screen.getvalue()) is not None

    screen = Screen()
    assert begins(screen) and screen.getvalue() == ""  # it was quick
    assert not begins(io.StringIO())
    assert not begins(screen, debug=True)
    assert not begins(screen, streaming="custom")
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(begins, screen).result()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tqdm", None)
        with waiting_line(run, Namespace(debug=False)):
            wait_for(lambda: not writers())
    with waiting_line(run, Namespace(debug=False)):
        wait_for(lambda: seen(r"pending, \d+ s, run r1"))
        # What the server chose stays in the line.
        run.status, run.run_id = Namespace(value="interrupted"), "r2\nforged"
        wait_for(lambda: seen(r"interrupted, \d+ s, run r2 forged"))
    assert rows_of(screen.getvalue()) == [""]


@pytest.mark.slow
def test_a_person_is_asked_below_the_line_of_a_wait_and_not_disturbed(server):
    asked = ("run", "approval", "{}", "--ask", "--format", "jsonl")
    typed = '{"approved": true}\n'
    shown, status = on_terminal(server, *asked, stdin=typed.encode())
    before, _, after = shown.partition("answer (a JSON object in one line): ")
    assert status == 0 and after.startswith(typed), shown  # the terminal's echo of what was typed
    assert before.endswith("\n") and '"approved":true' in rows_of(shown)[-2]


class Keyboard(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_until_the_answer_is_an_object_or_there_is_none(
    server, inside, monkeypatch
):
    run = ("run", "approval", '{"action": "\u00e4"}', "--ask")
    asked = 'approval: {"question": "May I \u00e4?", "action": "\u00e4"}\n'
    for typed, status, refused in (
        (b'maybe\n[1]\n{"approved": true}\n', 0, ["not JSON", "not a JSON object", ""]),
        (b"", 4, [""]),
    ):
        monkeypatch.setattr(sys, "stdin", Keyboard(io.BytesIO(typed)))
        done = inside(server, *run)
        first, *others = done.stderr.split("answer (a JSON object in one line): ")
        assert (done.returncode, first) == (status, asked)
        assert len(others) == len(refused) and all(map(str.startswith, others, refused))
    monkeypatch.setattr(sys, "stdin", None)  # as Python does if it is closed
    assert inside(server, *run).returncode == 4


def test_an_agent_is_described_in_text(inside, server):
    shown = inside(server, "describe", "approval", "--format", "text").stdout
    assert shown.startswith("metadata:\n  ref:\n    name: approval\n    version: 1.0.0\n")
    assert "\n  interrupts:\n    1:\n      interrupt_type: approval\n" in shown
    assert '\n    required: ["approved"]\n' in shown and "{" not in shown.replace("{}", "")
    # No text makes members that are not there.
    forged = {"a": {"b\nc: d": "e\nf: g"}, "h": "i\nj: k"}
    assert outline(forged) == "\na:\n  b c: d: e\n      f: g\nh: i\n    j: k"


WIDE = "\u65e5\u672c\u8a9e e\u0301"  # takes 8 columns, with 6 characters


def described(name: str, description: str) -> AgentDefinition:
    return AgentDefinition(
        function=lambda input, config, context: input, name=name, version="1.0.0",
        description=description,
    )  # fmt: skip


def columns_of(text: str) -> int:
    return len(text) + sum(c in WIDE[:3] for c in text) - text.count("\u0301")


@pytest.mark.parametrize("columns", [40, 200])
def test_tables_are_aligned_and_cut_to_the_width(inside, columns):
    hostile = described("b", "two\nlines \x1b[31m and a tab\t.")
    agents = [*BUILTIN_AGENTS, described(WIDE, "Name " * 60), hostile]
    with LocalServer(api_key={"x-api-key": KEY}, agents=agents) as server:
        shown = inside(server, "agents", "--format", "text", COLUMNS=str(columns)).stdout
        whole = inside(server, "agents", "--format", "text", COLUMNS="").stdout
        width = {"COLUMNS": str(columns)}
        with ApiClient(Configuration(server.url, api_key={"x-api-key": KEY})) as client:
            thread = ThreadsApi(client).create_thread({"agent_id": ECHO_AGENT_ID}).thread_id
        assert inside(server, "start", "echo", "{}", "--thread", thread).returncode == 0
        runs = inside(server, "search", "--format", "text", **width).stdout
        threads = inside(server, "threads", "--format", "text", **width).stdout
    head, *rows = shown.splitlines()
    assert head.startswith("NAME ") and " VERSION  AGENT_ID " in head
    assert len(rows) == len(agents) and "\x1b" not in shown and "{" not in shown
    assert all(columns_of(row) <= columns for row in shown.splitlines())
    place = head.index("VERSION")
    for row in rows:
        assert "1.0.0" in row
        assert columns_of(row[: row.index("1.0.0")]) == place
    assert any(row.endswith("…") and columns_of(row) == columns for row in rows)
    assert "two lines \\u001b[31m and a tab ." in whole
    assert f"  {'Name ' * 40}…\n" in whole  # the most of one cell
    for table in (runs, threads):
        assert table.count("\n") == 2, table
        assert all(columns_of(row) <= columns and "{" not in row for row in table.splitlines())


def test_a_row_is_one_line_and_cut_only_if_it_is_too_wide(server, monkeypatch):
    members = {"a": 1, "b": "x"}
    for columns, value, cell in (
        *(("5", "12345", "12345"), ("4", "12345", "123…")),
        *(("", "12345", "12345"), ("", members, "a: 1, b: x")),
        *(("", "x" * 200, "x" * 200), ("", "x" * 201, "x" * 200 + "…")),
    ):
        monkeypatch.setenv("COLUMNS", columns)
        file = io.BytesIO()
        Output("text", file).many([{"id": value}], "id", "id")
        assert file.getvalue().decode() == f"ID\n{cell}\n"
    shown, status = on_terminal(server, "agents", "--format", "text", columns=40)
    assert status == 0 and max(map(len, shown.splitlines())) == 40
