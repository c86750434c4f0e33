"""The scripts in examples/ run as a reader would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acp_client_v0_1.testing import LocalServer

ROOT = Path(__file__).resolve().parent.parent
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


def quickstart(*arguments: str, **added: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples" / "quickstart.py"), *arguments]
    env = environment(**added)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


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
    command = [sys.executable, str(ROOT / "examples" / "quickstart.py"), "--count", "20"]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        times = [time.monotonic() for line in process.stdout if line.startswith("  event")]
    assert process.returncode == 0
    # Twenty events take about two seconds; all of them at the end would come at once.
    assert len(times) == 20 and times[-1] - times[0] > 1


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


def test_help() -> None:
    ended = quickstart("--help")
    assert ended.returncode == 0
    assert "ACP_HOST" in ended.stdout and "--asking-agent" in ended.stdout
