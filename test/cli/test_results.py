"""The file of `batch --results`, after a batch that was stopped, killed or repeated."""

import json
import os
import signal
import stat
import subprocess
import time
import tracemalloc
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import COMMAND, KEY, SECONDS, Inside, Results, environment

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration
from acp_client_v0_1.testing import SLOW_AGENT_ID, LocalServer

pytestmark = pytest.mark.usefixtures("folder")


def write(name: str, *inputs: dict[str, Any]) -> None:
    Path(name).write_text("".join(json.dumps(each) + "\n" for each in inputs), "utf-8")


def read(name: str = "out") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text("utf-8").splitlines()]


BATCH = ("--journal", "journal", "--results", "out")


@pytest.fixture
def batch(server: LocalServer, inside: Inside) -> Callable[..., int]:
    """Runs an agent on the inputs, and gives the exit status."""
    return lambda agent, *more: inside(server, "batch", agent, "in", *more).returncode


@pytest.mark.slow
def test_a_batch_that_is_killed_again_and_again_writes_each_result_once(server, batch):
    write("in", *({"n": n} for n in range(300)))
    command = [*COMMAND, "batch", "echo", "in", "--concurrency", "4", *BATCH]
    for kill in range(3):
        process = subprocess.Popen(command, env=environment(server.url))
        while not Path("out").exists() or Path("out").stat().st_size < 3000 * (kill + 1):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(SECONDS)
        with open("out", "ab") as file:  # as if the kill had come during a write
            file.write(b'{"index":7,"key":"7","ru')
    assert batch("echo", *BATCH) == 0
    assert sorted(item["index"] for item in read()) == list(range(300))
    assert all(item["result"] == {"n": item["index"]} for item in read())
    before = Path("out").read_bytes()
    assert batch("echo", *BATCH) == 0
    assert Path("out").read_bytes() == before


def test_without_a_journal_all_outcomes_are_appended_again(batch):
    write("in", {"n": 1})
    for _ in range(2):
        assert batch("echo", "--results", "out") == 0
    assert [item["result"]["n"] for item in read()] == [1, 1]


def test_a_file_with_anything_but_results_is_refused_and_left_alone(inside):
    write("in", {"n": 1})
    for content, *more in (
        ('{"x":1}',),
        ('{"index":0,"key"',),
        ("a,b\n1,2", "--journal", "journal"),
        ('{"index":0}\n1,2', "--journal", "journal"),
        ("apple pie\npear", "--journal", "journal", "--format", "id"),
    ):
        Path("out").write_text(content, "utf-8")
        # To send anything would end with 10.
        done = inside("http://127.0.0.1:9", "batch", "echo", "in", "--results", "out", *more)
        assert done.returncode == 2 and "out has other lines than results" in done.stderr
        assert Path("out").read_text("utf-8") == content


@pytest.mark.parametrize(("torn", "form"), [('{"ind', "jsonl"), ("r-1\nr-", "id")])
def test_a_record_that_a_kill_has_torn_is_cut_off(batch, torn, form):
    write("in", {"n": 1})
    Path("out").write_text(torn, "utf-8")
    assert batch("echo", *BATCH, "--format", form) == 0
    *earlier, record = Path("out").read_text("utf-8").splitlines()
    assert earlier == torn.splitlines()[:-1] and len(record) > len(torn)


@pytest.mark.slow
def test_an_outcome_that_was_not_final_is_followed_by_the_final_one(batch):
    write("in", {"seconds": 4})
    for _ in range(2):
        assert batch(SLOW_AGENT_ID, *BATCH, "--timeout", "1") == 5
    assert [item["status"] for item in read()] == ["pending"]
    for _ in range(2):
        assert batch(SLOW_AGENT_ID, *BATCH) == 0
    assert [item["status"] for item in read()] == ["pending", "success"]


def test_a_failure_that_is_tried_again_is_another_outcome(batch):
    write("in", {"errcode": 7})
    for more in ([], [], ["--retry-failed"], []):
        assert batch("failing", *BATCH, *more) == 5
    assert [item["errcode"] for item in read()] == [7, 7]
    assert len({item["run_id"] for item in read()}) == 2


def test_two_batches_may_share_a_file(batch):
    for name in ("a", "b"):
        write("in", {"name": name})
        assert batch("echo", "--journal", f"journal.{name}", "--results", "out") == 0
    assert [item["result"]["name"] for item in read()] == ["a", "b"]


@pytest.mark.filterwarnings("ignore:the inputs 0 and 1 have the same key")
def test_inputs_with_the_same_key_have_an_outcome_each_and_nobody_else_may_read_them(batch):
    write("in", {"id": ',"status":1'}, {"id": ',"status":1'})
    for _ in range(2):
        assert batch("echo", *BATCH, "--key", "id") == 0
        assert batch("echo", "--journal", "j", "--results", "ids", "--format", "id") == 0
    assert sorted(item["index"] for item in read()) == [0, 1]
    ids = Path("ids").read_text("utf-8").splitlines()
    assert len(ids) == len(set(ids)) == 2
    for name in ("out", "journal"):
        assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600


@pytest.mark.parametrize("other", ["journal", "in"])
@pytest.mark.parametrize("way", ["name", "symlink", "hard link", "relative"])
def test_results_in_the_journal_or_the_inputs_are_refused_before_anything_is_sent(
    inside, tmp_path, other, way
):
    write("in", {"n": 1})
    if other == "journal" and way != "name":
        Path(other).touch()
    name = f"../{tmp_path.name}/{other}" if way == "relative" else "out"
    if way == "symlink":
        Path("out").symlink_to(other)
    elif way == "hard link":
        os.link(other, "out")
    elif way == "name":
        name = other
    more = ("--journal", "journal", "--results", name)
    # To send anything would end with 10.
    done = inside("http://127.0.0.1:9", "batch", "echo", "in", *more)
    assert done.returncode == 2 and "are the same file" in done.stderr
    assert Path("in").read_text("utf-8") == '{"n": 1}\n'


def test_a_batch_whose_journal_is_in_use_leaves_the_file_alone(server, batch):
    write("in", {"seconds": 60})
    Path("out").write_text('{"index":0,"ke', "utf-8")
    with ApiClient(Configuration(server.url, api_key={"x-api-key": KEY})) as client:
        agent = AgentHandle.find("slow", client)
        with agent.map([{"seconds": 0}, {"seconds": 60}], journal="journal") as other:
            next(other)
            assert batch("slow", *BATCH) == 2
    assert Path("out").read_text("utf-8") == '{"index":0,"ke'


def test_a_file_of_many_lines_is_read_in_little_memory():
    line = '{{"index":{0},"key":"{0}","run_id":"r{0}","status":"success","result":{{}}}}\n'
    Path("out").write_text("".join(map(line.format, range(20_000))), "utf-8")
    options = Namespace(results="out", journal="journal", format="jsonl")
    with open(os.devnull, "rb") as inputs, Results(options, inputs) as results:
        tracemalloc.start()
        try:
            assert list(results.after_journal([{}])) == [{}]
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for n in (19_999, 20_000):
            results.write(line.format(n).encode())
    assert kept < 16 * 20_000
    assert len(Path("out").read_text("utf-8").splitlines()) == 20_001


def test_a_question_with_a_status_is_no_final_outcome():
    line = b'{"index":0,"status":"interrupted","interrupt":{"n":1,"status":"success","q":%d}}\n'
    Path("out").write_bytes(line % 1)
    options = Namespace(results="out", journal="journal", format="jsonl")
    with open(os.devnull, "rb") as inputs, Results(options, inputs) as results:
        assert list(results.after_journal([{}])) == [{}]
        for question in (1, 2):
            results.write(line % question)
    assert Path("out").read_bytes() == line % 1 + line % 2
