"""A local server with an agent that does what its input says, and a handle of that agent."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest
from support.batches import obedient
from support.timing import SetTiming

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration
from acp_client_v0_1.testing import LocalServer, Quirks


@pytest.fixture(autouse=True)
def soon_old(set_timing: SetTiming) -> None:
    """A 404, or a journal without the run of a create, is waited out for less than two seconds."""
    set_timing(young=1.0)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """Its quirks may be a parameter of the test."""
    with LocalServer([], quirks=getattr(request, "param", Quirks())) as running:
        running.register(obedient, name="obedient")
        yield running


@pytest.fixture
def agent(server: LocalServer) -> Iterator[AgentHandle]:
    with ApiClient(Configuration(host=server.url)) as client:
        yield AgentHandle(server.agents[0].agent_id, client)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The journal of the test."""
    return tmp_path / "journal.jsonl"


@pytest.fixture
def in_environment(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of an executor find the server."""
    monkeypatch.setenv("ACP_HOST", server.url)


@pytest.fixture
def threads(in_environment: None) -> Iterator[Executor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture(params=["threads", "executor"])
def executor(request: pytest.FixtureRequest) -> Executor | None:
    """What `map` gets as its executor: nothing, for threads of the batch, or a pool."""
    if request.param == "threads":
        return None
    pool: Executor = request.getfixturevalue("threads")
    return pool
