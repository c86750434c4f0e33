"""The programs of docs/guides/recipes.md run as printed, with the packages that they are for.

No `test_` in the name of this file: `make test` does not collect it, and `make recipes` runs it in
an environment of its own.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from pages import CodeBlock, all_blocks
from test_documentation import RECIPES, as_script

from acp_client_v0_1.testing import LocalServer

# The first part is the introduction.
LANGGRAPH, LANGCHAIN, FASTAPI, NOTEBOOK, VCR, SENTRY, AWS = range(2, 9)


def blocks(part: int, language: str = "python") -> list[CodeBlock]:
    return [each for each in all_blocks(RECIPES) if (each.part, each.language) == (part, language)]


def promised(part: int) -> str:
    return "".join(block.source for block in blocks(part, "text"))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """A server, an empty home to work in, and the programs of this environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("MYPY_CACHE_DIR", str(Path(sys.prefix) / "mypy_cache"))
    with LocalServer() as running:
        monkeypatch.setenv("ACP_HOST", running.url)
        yield running


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_langgraph(server: LocalServer) -> None:
    Path("graph.py").write_text(as_script(blocks(LANGGRAPH)), "utf-8")
    assert run("python", "-W", "error", "graph.py") == promised(LANGGRAPH)
    assert run("mypy", "--strict", "graph.py")


def test_langchain(server: LocalServer) -> None:
    Path("tool.py").write_text(as_script(blocks(LANGCHAIN)), "utf-8")
    assert run("python", "-W", "error", "tool.py") == promised(LANGCHAIN)
    assert run("mypy", "--strict", "tool.py")


def curl(command: str, port: int) -> str:
    """Do what a line of curl does, since not every machine has it."""
    _, url, *options = shlex.split(command)
    option = dict(zip(options[::2], options[1::2], strict=True))
    body = option.get("--json", "").encode() or None
    request = urllib.request.Request(
        f"http://{url.replace(':8001', f':{port}')}", body, {"Content-Type": "application/json"}
    )
    received = b""
    with (
        contextlib.suppress(TimeoutError),
        urllib.request.urlopen(request, timeout=float(option.get("--max-time", 30))) as response,
    ):
        while some := response.read1():
            received += some
    text = received.decode()
    return text + "\n" if text and not text.endswith("\n") else text


@pytest.fixture
def port(server: LocalServer) -> Iterator[int]:
    """Where a process of uvicorn serves the page's application."""
    Path("app.py").write_text(as_script(blocks(FASTAPI)), "utf-8")
    command = blocks(FASTAPI, "sh")[0].source.replace("8001", "0").split()
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        said = ""
        while (running := re.search(r"running on http://127.0.0.1:(\d+)", said)) is None:
            line = process.stderr.readline()
            assert line, said
            said += line
        yield int(running[1])
        process.terminate()
        said = process.communicate(timeout=30)[1]
    assert "Traceback" not in said, said


def test_fastapi(server: LocalServer, port: int) -> None:
    commands = [line for block in blocks(FASTAPI, "sh")[1:] for line in block.source.splitlines()]
    assert promised(FASTAPI) == "".join(curl(command, port) for command in commands)

    # The runs of those that went away are cancelled, by DELETE; the others have ended.
    left = sum("--max-time" in command for command in commands)
    deadline = time.monotonic() + 30
    while len(deleted(server)) < left and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(set(deleted(server))) == left == 2
    assert run("mypy", "--strict", "app.py")


def deleted(server: LocalServer) -> list[str]:
    return [request.path for request in server.requests if request.method == "DELETE"]


def of_page(part: int, name: str) -> None:
    """Run a program of the page, and check what it prints and its types."""
    Path(name).write_text(as_script(blocks(part)), "utf-8")
    assert run("python", "-W", "error", name) == promised(part)
    assert run("mypy", "--strict", "--ignore-missing-imports", name)


def test_vcr(server: LocalServer) -> None:
    of_page(VCR, "replay.py")
    # A second process replays, without a server.
    asked = len(server.requests)
    replayed = promised(VCR).splitlines()[1]
    assert run("python", "-W", "error", "replay.py").splitlines() == [replayed] * 2
    assert len(server.requests) == asked and "acp-client-token" in Path("counter.yaml").read_text()


def test_sentry(server: LocalServer) -> None:
    of_page(SENTRY, "traced.py")


def test_aws(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    of_page(AWS, "signed.py")
    for request in server.requests:
        assert request.headers["authorization"].startswith(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"
        )


# For what the cells do: the kernel warns of itself when it is started and shut down.
STRICT = """\
import warnings
warnings.filterwarnings("error", module=r"__main__|acp_client_v0_1")
"""


def test_notebook(server: LocalServer) -> None:
    cells = blocks(NOTEBOOK)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell.source) for cell in cells]
    )
    for made, cell in zip(notebook.cells, cells, strict=True):
        if cell.instruction == "raises KeyboardInterrupt":
            made.metadata["tags"] = ["raises-exception"]
    notebook.cells.insert(0, nbformat.v4.new_code_cell(STRICT))
    client = NotebookClient(notebook, timeout=60, kernel_name="python3")

    def interrupt_the_wait() -> None:
        """Interrupt the kernel as soon as it waits for the run of the agent `slow`."""
        while not any(b'"seconds"' in request.body for request in server.requests):
            time.sleep(0.05)
        while not server.requests[-1].path.endswith("/output"):
            time.sleep(0.05)
        os.kill(client.km.provisioner.pid, signal.SIGINT)

    def before(cell: Any, cell_index: int) -> None:
        if "tags" in cell.metadata:
            threading.Thread(target=interrupt_the_wait, daemon=True).start()

    client.on_cell_execute = before
    client.execute()

    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert [output.ename for output in outputs if "ename" in output] == ["KeyboardInterrupt"]
    shown = [output.data for output in outputs if "data" in output]
    widget = "application/vnd.jupyter.widget-view+json"
    plain = [data for data in shown if widget not in data]
    results = [data.get("text/markdown", data["text/plain"]) for data in plain]
    assert len(shown) - len(results) == 2
    assert promised(NOTEBOOK) == "".join(f"{result}\n" for result in results)
