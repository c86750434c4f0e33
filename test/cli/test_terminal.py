"""What a terminal shows and completes: colours, files, and the names of agents."""

from __future__ import annotations

import logging
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from select import select

import pytest
from support.commands import KEY, environment, on_terminal, started

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration
from acp_client_v0_1.testing import LocalServer

RED, GREEN, END = "\x1b[31m", "\x1b[32m", "\x1b[0m"


@pytest.mark.parametrize("switch", ["", "NO_COLOR", "TERM"])
def test_a_terminal_shows_statuses_and_errors_in_colours(server, switch):
    started(server, "echo", {})
    wanted = {"": "", "NO_COLOR": "1", "TERM": "dumb"}[switch]
    more = {switch: wanted} if switch else {}
    shown, _ = on_terminal(server, "search", "--format", "text", more=more)
    coloured = f"{GREEN}success{END}" in shown
    assert coloured is (not switch) and "success" in shown and "STATUS" in shown
    failed, status = on_terminal(server, "run", "failing", "--format", "text", more=more)
    assert (f"{RED}acp-client:{END} " in failed) is (not switch) and status == 5
    assert (f"status: {RED}error{END}" in failed) is (not switch)


def test_no_other_output_has_colours(server, inside):
    started(server, "echo", {})
    for form in ("text", "json", "jsonl", "id"):
        done = inside(server, "search", "--format", form)
        assert "\x1b" not in done.stdout + done.stderr
    assert "\x1b" not in inside(server, "show", "nothing").stderr


class Unprintable(Exception):
    """What an agent raises."""


EVIL = ("$(touch x)", "`touch x`", "two words", "-n", "a;touch x", "é", "nice.one_2:3/4-5")
SAFE = ["approval", "counter", "echo", "failing", "nice.one_2:3/4-5", "slow"]
IN_BASH = """
source ./script
try() {
    COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE="$*"; COMPREPLY=()
    _shtab_acp_client acp-client "${COMP_WORDS[COMP_CWORD]}"; echo "${COMPREPLY[@]}"
}
try acp-client run ""; try acp-client run co; try acp-client search --agent e
try acp-client batch echo o; try acp-client batch echo in --journal ""
"""
IN_FISH = """
source ./script
for line in 'run ' 'run co' 'search --agent e' 'batch echo o' 'batch echo in --journal '
    echo (complete -C "acp-client $line" | cut -f 1)
end
"""


@pytest.fixture
def evil(folder, monkeypatch):
    """A folder with a file, and a server with agents whose names a shell must not evaluate."""
    with LocalServer(api_key={"x-api-key": KEY}) as server:
        for name in EVIL:
            server.register(lambda *given: {}, name=name)
        (folder / "bin").mkdir()
        command = folder / "bin" / "acp-client"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m acp_client_v0_1 "$@"\n')
        command.chmod(0o755)
        for name, value in environment(server).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
        monkeypatch.setenv("HOME", str(folder))
        (folder / "one.jsonl").touch()
        yield folder


def script_of(shell: str, inside) -> str:
    text: str = inside("", "completion", shell).stdout
    Path("script").write_text(text, "utf-8")
    return text


@pytest.mark.slow
@pytest.mark.parametrize(("shell", "commands"), [("bash", IN_BASH), ("fish", IN_FISH)])
def test_a_shell_completes_files_and_agents_and_evaluates_no_name(evil, inside, shell, commands):
    if shutil.which(shell) is None:
        # A machine need not have fish. What the script would run is still there.
        assert "sed -n" in script_of(shell, inside)
        return
    script_of(shell, inside)
    done = subprocess.run([shell, "-c", commands], capture_output=True, text=True, check=False)
    every, some, agent, file, journal = [sorted(line.split()) for line in done.stdout.splitlines()]
    assert (every, some, agent, file) == (SAFE, ["counter"], ["echo"], ["one.jsonl"]), done
    assert "one.jsonl" in journal and not (evil / "x").exists()


@pytest.mark.slow
def test_zsh_completes_files_and_agents_and_evaluates_no_name(evil, inside):
    text = script_of("zsh", inside)
    if shutil.which("zsh") is None:
        assert "compadd" in text
        return
    (evil / "functions").mkdir()
    (evil / "functions" / "_acp-client").write_text(text, "utf-8")
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "dumb"
        os.execvp("zsh", ["zsh", "-f", "-i"])

    def typed(keys: str, wanted: str) -> bool:
        os.write(terminal, keys.encode())
        seen, until = b"", time.monotonic() + 20
        while wanted.encode() not in seen and time.monotonic() < until:
            if select([terminal], [], [], 0.2)[0]:
                seen += os.read(terminal, 65536)
        return wanted.encode() in seen

    setup = "fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -D -u; echo re''ady\n"
    assert typed(setup, "ready")
    assert typed("acp-client run coun\t", "counter")
    assert typed("\x15acp-client run \t", "nice.one")
    assert typed("\x15acp-client batch echo on\t", "one.jsonl")
    os.close(terminal)
    os.waitpid(child, 0)
    assert not (evil / "x").exists()


def test_each_command_says_what_its_timeout_bounds(inside):
    words = {}
    for command in ("run", "wait", "stream", "batch"):
        shown = " ".join(inside("", command, "--help").stdout.split())
        (words[command],) = re.findall(r"--timeout SECONDS (to .*?) --", shown)
    assert len(set(words.values())) == 4
    assert "its values are text" in " ".join(inside("", "batch", "--help").stdout.split())


@pytest.mark.parametrize("arguments", [["acp_client_v0_1", "serve"], ["acp_client_v0_1.testing"]])
def test_a_server_without_its_extra_is_one_line_and_status_2(tmp_path, arguments):
    missing = "import sys\nsys.modules['uvicorn'] = sys.modules['sse_starlette'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(missing, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "acp-client-v0-1[testing]" in done.stderr


def test_the_log_has_the_traceback_of_an_agent_that_raises(caplog):
    def broken(*given: object) -> None:
        raise Unprintable("the \x1b[31mreason\ud800")

    with LocalServer([]) as server, ApiClient(Configuration(host=server.url)) as client:
        run = AgentHandle(server.register(broken, name="broken"), client).start()
        run.output(timeout=10)
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.name == "acp_client_v0_1.testing" and "broken" in record.getMessage()
    shown = logging.Formatter().format(record).splitlines()
    assert shown[1].startswith("Traceback")
    assert shown[-1].endswith("Unprintable: the \ufffd[31mreason\ufffd")
