"""Processes that tests start by the dozen: forks of one that has loaded the package already.

A new interpreter needs a quarter of a second of a core before the first line of the command. Here
an interpreter loads the package once and forks for each script or module, with arguments, input,
folder and variables of its own; what it prints goes to files. What such a process loads, a signal
that it gets and a terminal that it is on are for tests with interpreters of their own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["printed_by", "run_in_fork"]

# Each starts one process at a time; threads of a test that start two at once use two.
_idle: dict[tuple[str, ...], list[subprocess.Popen[bytes]]] = {}


def printed_by(script: str) -> str:
    """What a script prints in a new interpreter, which has loaded nothing yet and must succeed."""
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_in_fork(
    script: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: str | None = None,
    cwd: Path | None = None,
    options: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run ``python OPTIONS SCRIPT...``, where the script is a path, or ``-m`` and a module."""
    # Only a new interpreter reads where its modules are and, for `make mutants`, whose test it is.
    if env.get("PYTHONPATH") != os.environ.get("PYTHONPATH") or "COVERAGE_PROCESS_START" in env:
        return subprocess.run(
            [sys.executable, *options, *script], env=env, input=stdin or "", cwd=cwd,
            capture_output=True, encoding="utf-8", timeout=60, check=False,
        )  # fmt: skip
    idle = _idle.setdefault(options, [])
    try:
        server = idle.pop()
    except IndexError:
        server = subprocess.Popen(
            [sys.executable, *options, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        atexit.register(_end, server)
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        files = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        order = [[str(part) for part in script], dict(env), str(cwd or Path.cwd()), stdin, files]
        try:
            server.stdin.write(json.dumps(order).encode() + b"\n")
            server.stdin.flush()
            status = int(server.stdout.readline())
        except BaseException:  # what it does from now on belongs to no test
            server.kill()
            raise
        idle.append(server)
        out, err = (Path(file).read_text("utf-8") for file in files)
    return subprocess.CompletedProcess(list(script), status, out, err)


def _end(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        server.communicate(timeout=10)


def _serve() -> list[str]:
    """Fork for each order; returns in the forks, with the script to run."""
    rest = b""
    while True:
        while b"\n" not in rest:
            if not (more := os.read(0, 65536)):
                os._exit(0)
            rest += more
        order, _, rest = rest.partition(b"\n")
        if child := os.fork():
            os.write(1, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            continue
        script, variables, folder, stdin, files = json.loads(order)
        os.dup2(_pipe_with(stdin.encode()) if stdin else os.open(os.devnull, os.O_RDONLY), 0)
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        return list(script)


def _pipe_with(content: bytes) -> int:
    """Return the end to read of a pipe that holds what a person or a program typed."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    if os.write(writer, content) < len(content):
        raise ValueError("stdin: too large for a pipe; write a file")
    os.close(writer)
    return reader


if __name__ == "__main__":
    import gc
    import runpy

    sys.path.pop(0)  # the folder of this file
    import acp_client_v0_1
    import acp_client_v0_1.cli
    import acp_client_v0_1.testing

    for name in acp_client_v0_1.__all__:
        getattr(acp_client_v0_1, name)
    gc.freeze()
    script = _serve()
    if script[0] == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv = script[1:]
        runpy.run_module(script[1], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(script[0]))
        sys.argv = script
        runpy.run_path(script[0], run_name="__main__")
