"""The command ``acp-client`` in an interpreter of its own, in a fork, or in this process."""

import contextlib
import fcntl
import json
import logging
import os
import pty
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration
from acp_client_v0_1.cli import main

# The parts of the command that have tests of their own.
from acp_client_v0_1.cli._inputs import count_of as count_of
from acp_client_v0_1.cli._inputs import seconds_left as seconds_left
from acp_client_v0_1.cli._output import Output as Output
from acp_client_v0_1.cli._output import outline as outline
from acp_client_v0_1.cli._results import Results as Results
from acp_client_v0_1.cli._runs import shown as waiting_line  # noqa: F401
from acp_client_v0_1.testing import LocalServer
from support.forks import forked, run_in_fork

MODULE = ["-m", "acp_client_v0_1"]
COMMAND = [sys.executable, *MODULE]  # in an interpreter of its own
KEY = "a-secret-key"
SECONDS = 60  # for each process, on a machine that is busy


def environment(server: LocalServer | str) -> dict[str, str]:
    """The variables of a process that shall talk to a server, or to its URL."""
    host = server if isinstance(server, str) else server.url
    return {**os.environ, "ACP_HOST": host, "ACP_API_KEY": KEY}


def acp(
    server: LocalServer | str,
    *arguments: str,
    stdin: str | None = None,
    cwd: Path | None = None,
    more: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, for a server or its URL."""
    done = run_in_fork(
        [*MODULE, *arguments], env={**environment(server), **(more or {})}, stdin=stdin, cwd=cwd
    )
    assert "Traceback" not in done.stderr
    assert KEY not in done.stdout + done.stderr
    return done


@dataclass
class Inside:
    """Runs the command in this process, which takes a hundredth of the time of another."""

    capture: pytest.CaptureFixture[str]

    def __call__(
        self, server: Any, *arguments: str, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        handlers = {number: signal.getsignal(number) for number in numbers}
        package = logging.getLogger("acp_client_v0_1")
        hooks = sys.excepthook, warnings.showwarning, list(package.handlers)
        stderr = sys.stderr
        self.capture.readouterr()
        try:
            with patch.dict(os.environ, {**environment(server), "ACP_RETRIES": "0", **settings}):
                status = main(list(arguments))
        except SystemExit as error:
            status = int(str(error.code))
        finally:
            sys.excepthook, warnings.showwarning, package.handlers[:] = hooks
            sys.stderr = stderr
            for number, handler in handlers.items():
                signal.signal(number, handler)
        shown = self.capture.readouterr()
        assert KEY not in shown.out + shown.err
        return subprocess.CompletedProcess(arguments, status, shown.out, shown.err)


def begun(
    server: LocalServer | str,
    *arguments: str,
    stdin: str | None = None,
    cwd: Path | None = None,
    new: bool = False,
) -> subprocess.Popen[str]:
    """Begin the command in a fork, or in a new interpreter, and give it all of its input."""
    process = subprocess.Popen(
        [*(COMMAND if new else [*forked(), *MODULE]), *arguments],
        env=environment(server), cwd=cwd, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(stdin or "")
    process.stdin.close()
    process.stdin = None
    return process


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr and process.stderr.read()
    return line


def ended(
    process: subprocess.Popen[str], number: int = signal.SIGINT
) -> subprocess.CompletedProcess[str]:
    """Send a process a signal, by default that of Ctrl-C, and wait for its end."""
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    assert "Traceback" not in err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def in_shell(
    server: LocalServer | str, script: str, stdin: str | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a script of bash: in it, `acp` is the command, and `new_acp` in a new interpreter."""
    commands = {"acp": [*forked(), *MODULE], "new_acp": COMMAND}
    functions = [f'{name}() {{ {shlex.join(words)} "$@"; }}\n' for name, words in commands.items()]
    return subprocess.run(
        ["bash", "-c", "".join(functions) + script],
        env=environment(server), text=True, check=False, timeout=SECONDS, input=stdin or "",
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
    )  # fmt: skip


@pytest.fixture(name="inside")
def inside(capfd: pytest.CaptureFixture[str]) -> Inside:
    return Inside(capfd)


def on_terminal(
    server: LocalServer,
    *arguments: str,
    stdin: bytes | None = None,
    columns: int = 80,
    more: Mapping[str, str] | None = None,
) -> tuple[str, int]:
    """Run the command with both outputs on a terminal, and return what that got, and the status.

    With ``stdin``, a person at the terminal types it two seconds after the word "answer".
    """
    variables = {**environment(server), "TERM": "xterm"}
    for name in ("COLUMNS", "NO_COLOR"):
        variables.pop(name, None)
    variables |= more or {}
    return shown_on_terminal([*forked(), *MODULE, *arguments], variables, stdin, columns)


def shown_on_terminal(
    command: list[str], variables: Mapping[str, str], stdin: bytes | None = None, columns: int = 80
) -> tuple[str, int]:
    """Run a program as `on_terminal` runs the command."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command, env=variables, stdout=follower, stderr=follower,
        stdin=subprocess.DEVNULL if stdin is None else follower,
    )  # fmt: skip
    os.close(follower)
    written = b""
    with contextlib.suppress(OSError):  # at the end, on Linux
        while more := os.read(leader, 100_000):
            written += more
            if stdin and b"answer" in written:
                time.sleep(2)
                os.write(leader, stdin)
                stdin = None
    os.close(leader)
    return written.decode("utf-8").replace("\r\n", "\n"), process.wait(SECONDS)


def rows_of(shown: str) -> list[str]:
    """Return what the rows of a terminal show: what was written after the last return."""
    return [row.rpartition("\r")[2] for row in shown.split("\n")]


def data(done: subprocess.CompletedProcess[str], status: int = 0) -> Any:
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def lines(done: subprocess.CompletedProcess[str], status: int = 0) -> list[Any]:
    assert done.returncode == status, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def started(server: LocalServer, agent: str, input: dict[str, Any], **options: Any) -> str:
    """Start a run in this process, and return its token."""
    with ApiClient(Configuration(server.url, api_key={"x-api-key": KEY})) as client:
        return AgentHandle.find(agent, api_client=client).start(input, **options).token()
