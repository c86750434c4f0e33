"""What somebody reads who has the client, but not what its local server needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
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


def importing(*modules: str, without: str) -> list[list[str]]:
    """The class, `name` and message of the error that each import ends in."""
    ended = subprocess.run(
        [sys.executable, "-c", BLOCKED, without, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return [line.split("|") for line in ended.stdout.splitlines()]


@pytest.mark.parametrize(
    ("package", "ways"),
    [
        ("starlette", ["", ".server", ".pytest_plugin", ".responses_bridge", ".faults"]),
        ("uvicorn", [""]),
        ("sse_starlette", [""]),
    ],
)
def test_each_way_into_the_server_says_what_to_install(package: str, ways: list[str]) -> None:
    found = importing(*(f"acp_client_v0_1.testing{way}" for way in ways), without=package)
    for (kind, name, message), way in zip(found, ways, strict=True):
        assert (kind, name.partition(".")[0]) == ("ModuleNotFoundError", package), way
        assert message == (
            f"acp_client_v0_1.testing needs {package}, which is not installed: "
            "pip install 'acp-client-v0-1[testing]'"
        ), way


def test_the_shell_command_says_so(tmp_path: Path) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'uvicorn'\", name='uvicorn')"
    (tmp_path / "uvicorn.py").write_text(missing)
    ended = subprocess.run(
        [sys.executable, "-m", "acp_client_v0_1.testing"],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.endswith("pip install 'acp-client-v0-1[testing]'\n")


def test_the_bridge_says_what_it_needs_itself() -> None:
    words = (
        "acp_client_v0_1.testing.responses_bridge needs requests, which comes with responses: "
        "pip install responses"
    )
    (found,) = importing("acp_client_v0_1.testing.responses_bridge", without="requests")
    assert found == ["ModuleNotFoundError", "requests", words]


def test_a_module_that_this_package_lacks_is_another_matter() -> None:
    ((kind, name, message),) = importing(
        "acp_client_v0_1.testing", without="acp_client_v0_1.testing._server.runner"
    )
    assert (kind, name) == ("ModuleNotFoundError", "acp_client_v0_1.testing._server.runner")
    assert "pip install" not in message
