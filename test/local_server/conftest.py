"""A fresh server, and a caller that knows nothing of the client: urllib3 and JSON."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import urllib3
from support.examples import event_fields

from acp_client_v0_1.testing import LocalServer

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Response:
    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """Sends single requests, never twice, and follows nothing."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pool = urllib3.PoolManager(retries=False)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        fields: dict[str, Any] = {"headers": {n.replace("_", "-"): v for n, v in headers.items()}}
        if body is not None:
            fields["body"] = body if isinstance(body, bytes) else json.dumps(body)
            fields["headers"].setdefault("Content-Type", "application/json")
        response = self.pool.request(method, self.url + path, redirect=False, timeout=10, **fields)
        return Response(response.status, response.headers, response.data)

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        response = self(method, path, body)
        assert response.status == 200, (response.status, response.body)
        assert response.headers["content-type"] == "application/json"
        return response.json

    def run(self, agent_id: str, **creation: Any) -> str:
        run_id: str = self.ok("POST", "/runs", {"agent_id": agent_id, **creation})["run_id"]
        return run_id

    def output(self, run_id: str) -> Any:
        return self.ok("GET", f"/runs/{run_id}/output?block_timeout=5")

    def stream(self, run_id: str, **headers: str) -> Any:
        """Give the stream of a run, to be read bit by bit."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.url}/runs/{run_id}/stream"
        return self.pool.request("GET", url, preload_content=False, timeout=5, headers=sent)

    def events(self, run_id: str, **headers: str) -> list[dict[str, Any]]:
        response = self("GET", f"/runs/{run_id}/stream", **headers)
        assert response.status == 200
        return [event_fields(block) for block in response.body.decode().split("\r\n\r\n") if block]


@pytest.fixture
def shell_command() -> Callable[..., contextlib.AbstractContextManager[list[str]]]:
    return served_by_a_command


@contextlib.contextmanager
def served_by_a_command(*options: str) -> Iterator[list[str]]:
    """Run the server's command until the ``with`` ends it by Ctrl-C; gives the lines it prints."""
    command = [sys.executable, "-m", "acp_client_v0_1.testing", "--port", "0", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            yield list(takewhile(lambda line: line != "Ctrl-C ends it.\n", process.stdout))
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@pytest.fixture
def call(server: LocalServer) -> Iterator[Caller]:
    caller = Caller(server.url)
    yield caller
    caller.pool.clear()


@pytest.fixture
def caller_for() -> Iterator[Callable[[LocalServer], Caller]]:
    callers: list[Caller] = []

    def make(server: LocalServer) -> Caller:
        callers.append(Caller(server.url))
        return callers[-1]

    yield make
    for caller in callers:
        caller.pool.clear()
