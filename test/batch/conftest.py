"""A local server with an agent that does what its input says, and a handle of that agent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.batches import obedient

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration
from acp_client_v0_1.testing import LocalServer


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer([]) as running:
        running.register(obedient, name="obedient")
        yield running


@pytest.fixture
def agent(server: LocalServer) -> Iterator[AgentHandle]:
    with ApiClient(Configuration(host=server.url)) as client:
        yield AgentHandle(server.agents[0].agent_id, client)
