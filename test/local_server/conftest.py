"""A fresh server, and a caller that knows nothing of the client: urllib3 and JSON."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import urllib3
from support.examples import event_fields

from acp_client_v0_1.testing import LocalServer


@dataclass(frozen=True)
class Response:
    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON as the standard has it: without NaN."""
        return json.loads(self.body, parse_constant={}.__getitem__)


class Caller:
    """Sends single requests to a server, never twice, and follows nothing."""

    def __init__(self, server: LocalServer) -> None:
        self.server, self.url = server, server.url
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


class Stepwise:
    """An agent that sends one numbered event each time it is told to."""

    def __init__(self) -> None:
        self.step = threading.Semaphore(0)

    def __call__(self, input: Any, config: Any, context: Any) -> Generator[Any, None, Any]:
        for number in range(1, 7):
            if not self.step.acquire(timeout=10):
                raise TimeoutError
            yield {"n": number}
        return {}

    def emit(self, number: int = 1) -> None:
        self.step.release(number)


@pytest.fixture
def stepwise() -> Stepwise:
    return Stepwise()


@pytest.fixture
def serve() -> Iterator[Callable[..., Caller]]:
    """Start a server with some options, which ends with the test; gives a caller of it."""
    with contextlib.ExitStack() as stack:

        def start(*agents: Any, **options: Any) -> Caller:
            caller = Caller(stack.enter_context(LocalServer(*agents, **options)))
            stack.callback(caller.pool.clear)
            return caller

        yield start


@pytest.fixture
def call(serve: Callable[..., Caller]) -> Caller:
    return serve()


@pytest.fixture
def server(call: Caller) -> LocalServer:
    return call.server
