"""Short pauses for all examinations, and short seconds for those that wait until time is over."""

from __future__ import annotations

import pytest

from acp_client_v0_1 import ApiClient, Configuration
from acp_client_v0_1.doctor import examine
from acp_client_v0_1.testing import COUNTER_AGENT_ID, LocalServer


@pytest.fixture(scope="session", autouse=True)
def an_examination_before_all() -> None:
    """The first stream of a process imports much, so that it would seem late."""
    with LocalServer() as server, ApiClient(Configuration(host=server.url)) as client:
        examine(client, COUNTER_AGENT_ID, {"interval": 0})


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor's pauses are a fifth of the others."""
    monkeypatch.setattr("acp_client_v0_1.doctor._exam.PAUSES", (0.1, 0.2))


@pytest.fixture
def short_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor's limits are a fifth of the others."""
    monkeypatch.setattr("acp_client_v0_1.doctor._exam.SECOND", 0.2)
