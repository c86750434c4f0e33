"""What somebody reads who has the client, but not what its local server needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TESTING = "acp_client_v0_1.testing"
BLOCKED = """
import importlib, os, sys

for module in sys.argv[2:]:  # each in a fork, which has imported nothing of the package
    if os.fork() == 0:
        sys.modules[sys.argv[1]] = None  # as if it were not installed
        try:
            importlib.import_module(module)
        except ImportError as error:
            print(type(error).__name__, error.name, error, sep="|", flush=True)
        os._exit(0)
    os.wait()
"""
NEEDS = f"{TESTING} needs {{}}, which is not installed: pip install 'acp-client-v0-1[testing]'"


@pytest.mark.parametrize(
    ("missing", "ways", "words"),
    [
        ("starlette", ["", ".server", ".pytest_plugin", ".responses_bridge", ".faults"], NEEDS),
        ("uvicorn", [""], NEEDS),
        ("sse_starlette", [""], NEEDS),
        (
            "requests",
            [".responses_bridge"],
            f"{TESTING}.responses_bridge needs {{}}, which comes with responses: "
            "pip install responses",
        ),
        # What this package itself lacks is another matter.
        (f"{TESTING}._server.runner", [""], "import of {} halted; None in sys.modules"),
    ],
)
def test_each_way_into_the_server_says_what_to_install(
    missing: str, ways: list[str], words: str
) -> None:
    modules = [TESTING + way for way in ways]
    command = [sys.executable, "-c", BLOCKED, missing, *modules]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")
    for line, way in zip(ended.stdout.splitlines(), ways, strict=True):
        kind, name, message = line.split("|")
        known = name.startswith(missing)
        assert (kind, known, message) == ("ModuleNotFoundError", True, words.format(missing)), way
