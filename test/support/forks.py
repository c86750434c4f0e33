"""Processes that tests start by the dozen: forks of one that has loaded the package already.

A new interpreter needs a quarter of a second of a core before the first line of the command. Here
an interpreter loads the package once and forks for each script or module, with the arguments, the
variables, the folder and the standard files of a small process, `launch.py`, that ends as it does.
What a process loads, and what a new interpreter makes of its variables, its limits and a standard
file that is closed, are for tests with interpreters of their own.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

__all__ = ["forked", "printed_by", "run_in_fork"]


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
    # Only a new interpreter reads where its modules are.
    new = env.get("PYTHONPATH") != os.environ.get("PYTHONPATH")
    return subprocess.run(
        [*([sys.executable, *options] if new else forked(options)), *script], env=env, cwd=cwd,
        input=stdin or "", capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip


@cache
def forked(options: tuple[str, ...] = ()) -> list[str]:
    """What stands for ``python OPTIONS`` on the command line of a script or a module."""
    if "COVERAGE_PROCESS_START" in os.environ:  # only a new interpreter measures itself
        return [sys.executable, *options]
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [sys.executable, *options, __file__, f"{folder}/socket"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None and server.stdout is not None
    atexit.register(server.communicate)  # it ends with its stdin
    assert server.stdout.readline()
    launcher = Path(__file__).with_name("launch.py")
    return [sys.executable, "-I", "-S", str(launcher), f"{folder}/socket"]


def _serve(listener: socket.socket) -> socket.socket:
    """Fork for each process that connects; returns in the forks, with the connection."""
    while True:
        if 0 in select.select([listener, 0], [], [])[0]:
            os._exit(0)
        connection = listener.accept()[0]
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork() == 0:
            listener.close()
            return connection
        connection.close()


def _become(connection: socket.socket) -> list[str]:
    """Fork once more, and take on what the launcher has, in the fork; returns the script."""
    _, files, *_ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as order:
        folder, count, *words = order.read(int(order.readline())).split(b"\0")
    if child := os.fork():
        for file in files:
            os.close(file)
        connection.sendall(b"%d\n" % child)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(OSError):  # the launcher was killed
            connection.sendall(b"%d\n" % ended)
        os._exit(0)
    connection.recv(1)
    connection.close()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(files[number], number)
        os.close(files[number])
        old, line = getattr(sys, name), 1 if number == 2 or os.isatty(number) else -1
        now = open(  # noqa: SIM115
            number, old.mode, line, old.encoding, old.errors, closefd=False
        )
        now.buffer.raw.name = old.name
        setattr(sys, name, now)
    os.chdir(folder)
    os.environ.clear()
    for variable in words[int(count) :]:
        name, _, value = variable.partition(b"=")
        os.environb[name] = value
    return list(map(os.fsdecode, words[: int(count)]))


if __name__ == "__main__":
    import contextlib
    import gc
    import runpy
    import select
    import socket

    sys.path.pop(0)  # the folder of this file
    import acp_client_v0_1
    import acp_client_v0_1.cli
    import acp_client_v0_1.testing

    for name in acp_client_v0_1.__all__:
        getattr(acp_client_v0_1, name)
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen(64)
        print("ready", flush=True)
        connection = _serve(listener)
    script = _become(connection)
    if script[0] == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv = script[1:]
        runpy.run_module(script[1], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(script[0]))
        sys.argv = script
        runpy.run_path(script[0], run_name="__main__")
