"""Every shell block of the guide runs as printed, and prints what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pages import CodeBlock, all_blocks

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
        "acp-client": f'exec {sys.executable} -m acp_client_v0_1 "$@"',
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
def test_the_guide_runs_as_printed(shell: Shell) -> None:
    assert len(stories()) > 8
    for block, printed in stories():
        done = shell(block.source)
        place = f"{PAGE.name}:{block.line}"
        assert done.returncode == 0, f"{place}: {done.stderr}"
        if printed is not None:
            expected = re.escape(printed).replace("…", ".*?")
            assert re.fullmatch(expected, done.stdout), f"{place} printed\n{done.stdout}"


def test_a_nightly_job_whose_items_fail_sends_one_mail_a_night(
    shell: Shell, tmp_path: Path
) -> None:
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


@pytest.mark.parametrize("status", RECORDS)
def test_the_record_of_an_item_has_the_members_that_the_guide_names(
    status: str | None, shell: Shell, tmp_path: Path
) -> None:
    agent, input = RECORDS[status]
    rows = re.findall(r"^\| (.*`.*) \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    (named,) = (after for first, after in rows if f"`{json.dumps(status)}`" in first.split(", "))
    (tmp_path / "inputs.jsonl").write_text(json.dumps(input), "utf-8")
    done = shell(f"acp-client batch {agent} inputs.jsonl --timeout {3 if agent == 'slow' else 60}")
    record = json.loads(done.stdout)
    assert list(record)[:4] == ["index", "key", "run_id", "status"] and record["status"] == status
    allowed = set(re.findall(r"`(\w+)`", named.partition(":")[0]))
    assert set(list(record)[4:]) <= allowed
    assert done.returncode == (0 if status == "success" else 5)
