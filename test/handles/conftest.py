"""A local server for each test, a client of it, and the counts of what reached it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.parts import earlier_creates
from support.serving import Clock, Replies, Serve
from support.socket_server import SocketServer, serve_each
from support.timing import SetTiming

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration, RunHandle, RunsApi
from acp_client_v0_1.testing import LocalServer, Quirks


@pytest.fixture(autouse=True)
def no_earlier_creates() -> None:
    """A server of an earlier test may have had the same port, and a run with the same token."""
    earlier_creates.clear()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@pytest.fixture
def client(server: LocalServer) -> Iterator[ApiClient]:
    with ApiClient(Configuration(host=server.url)) as client:
        yield client


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(*what: Any, base: str = "", **settings: Any) -> tuple[Any, ApiClient]:
            server: Any = what[0]
            if isinstance(server, Quirks):
                server = LocalServer(quirks=server)
            elif callable(server):
                server = SocketServer(handler=serve_each(server))
            elif not isinstance(server, LocalServer):
                server = SocketServer(*what)
            stack.enter_context(server)
            configuration = Configuration(host=server.url + base, **settings)
            return server, stack.enter_context(ApiClient(configuration))

        yield start


@pytest.fixture
def replying(serve: Serve) -> Any:
    """Start a server with some `Replies`, and give these and the run "r" there."""

    def start(*otherwise: Any, **replies: Any) -> tuple[Replies, RunHandle]:
        server = Replies(*otherwise, **replies)
        return server, RunHandle("r", serve(server)[1])

    return start


@pytest.fixture
def clock(set_timing: SetTiming) -> Clock:
    """A clock for agents and runs, from the beginning of the test."""
    return Clock(set_timing)


@pytest.fixture
def runs(client: ApiClient) -> RunsApi:
    return RunsApi(client)


def agent_of(agent_id: str) -> Any:
    """A fixture of one of the agents that every local server has."""

    @pytest.fixture
    def agent(client: ApiClient) -> AgentHandle:
        return AgentHandle(agent_id, client)

    return agent


counter = agent_of("22222222-2222-4222-8222-222222222222")
approval = agent_of("33333333-3333-4333-8333-333333333333")
failing = agent_of("44444444-4444-4444-8444-444444444444")
slow = agent_of("55555555-5555-4555-8555-555555555555")


class Counts:
    """What reached a server."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server

    def of(self, method: str, ending: str = "") -> int:
        """Requests with a method, whose path has this ending."""
        requests = [each for each in self.server.requests if each.method == method]
        return sum(each.path.endswith(ending) for each in requests)

    @property
    def creates(self) -> int:
        return self.of("POST", "/runs")

    @property
    def resumes(self) -> list[Any]:
        """The bodies of the resumes that arrived."""
        return [
            json.loads(request.body)
            for request in self.server.requests
            if request.method == "POST" and request.path.startswith("/runs/")
            if not request.path.endswith("/search")
        ]


@pytest.fixture
def counts(server: LocalServer) -> Counts:
    return Counts(server)
