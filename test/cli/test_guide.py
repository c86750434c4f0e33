"""Every shell block of the guide runs as printed, and prints what the page says."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pages import CodeBlock, all_blocks
from support.commands import MODULE, data
from support.forks import forked

from acp_client_v0_1.testing import LocalServer

pytestmark = pytest.mark.guides

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "guides" / "command-line.md"


def stories() -> list[tuple[CodeBlock, str | None]]:
    """Each shell block with what it prints, where the page says so."""
    found: list[tuple[CodeBlock, str | None]] = []
    for block in all_blocks(PAGE):
        if block.language == "sh":
            found.append((block, None))
        elif block.instruction == "shell-prints":
            found[-1] = found[-1][0], block.source
    return found


Shell = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Runs a script in an empty folder, with the command on the path and a local server."""
    commands = {
        "acp-client": f'exec {shlex.join([*forked(), *MODULE])} "$@"',
        "mail": 'echo "$2" >> mails',
        "date": "echo 2026-01-02",
    }
    (tmp_path / "bin").mkdir()
    for name, line in commands.items():
        command = tmp_path / "bin" / name
        command.write_text(f"#!/bin/sh\n{line}\n", "utf-8")
        command.chmod(0o755)
    with LocalServer() as server:
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "ACP_HOST": server.url, "PATH": path}

        def run(script: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["bash", "-c", script], env=environment, cwd=tmp_path, timeout=120,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            )  # fmt: skip

        yield run


# On a busy machine, the twenty processes take minutes to start one after the other.
@pytest.mark.timeout(600)
def test_the_guide_runs_as_printed(shell):
    assert len(stories()) > 8
    for block, printed in stories():
        done = shell(block.source)
        place = f"{PAGE.name}:{block.line}"
        assert done.returncode == 0, f"{place}: {done.stderr}"
        if printed is not None:
            expected = re.escape(printed).replace("…", ".*?")
            assert re.fullmatch(expected, done.stdout), f"{place} printed\n{done.stdout}"


def test_a_nightly_job_whose_items_fail_sends_one_mail_a_night(shell, tmp_path):
    (nightly,) = (block.source for block, _ in stories() if "alert" in block.source)
    job = nightly.replace("batch echo", "batch failing")
    (tmp_path / "inputs.jsonl").write_text('{"errcode": 3}\n{"errcode": 4}\n', "utf-8")
    assert shell(f"mail() {{ return 75; }}\n{job}").returncode == 75  # it has not sent the mail
    for _ in range(2):
        assert shell(job).returncode == 0
    assert (tmp_path / "mails").read_text("utf-8") == "nightly batch: status 5\n"
    (results,) = (path for path in tmp_path.glob("*.jsonl") if path.name != "inputs.jsonl")
    assert len(results.read_text("utf-8").splitlines()) == 2


RECORDS = {
    "success": ("echo", {"n": 1}),
    "error": ("failing", {}),
    "timeout": ("failing", {"timeout": True}),
    "pending": ("slow", {"seconds": 30}),
    "interrupted": ("approval", {"action": "deploy"}),
    None: ("counter", {"count": "three"}),
}


def test_the_record_of_an_item_has_the_members_that_the_guide_names(server, inside, folder):
    rows = re.findall(r"^\| (.*`.*) \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    for status, (agent, input) in RECORDS.items():
        (named,) = (last for first, last in rows if f"`{json.dumps(status)}`" in first.split(", "))
        Path("inputs.jsonl").write_text(json.dumps(input), "utf-8")
        limit = "2" if status == "pending" else "60"
        done = inside(server, "batch", agent, "inputs.jsonl", "--timeout", limit)
        record = data(done, 0 if status == "success" else 5)
        assert list(record)[:4] == ["index", "key", "run_id", "status"]
        assert record["status"] == status
        assert set(list(record)[4:]) <= set(re.findall(r"`(\w+)`", named.partition(":")[0]))
