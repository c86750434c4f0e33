"""The pytest fixtures `acp_server`, `acp_client` and `repeatable_tokens`, for a suite to opt into.

`pytest_plugins = ["acp_client_v0_1.testing.pytest_plugin"]` in the top-level conftest.py (pytest
allows it in no other) enables them, as does `-p` with that name on the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.testing import tokens
from acp_client_v0_1.testing.server import LocalServer

__all__ = ["acp_client", "acp_server", "repeatable_tokens"]


def pytest_configure(config: pytest.Config) -> None:
    words = "acp_server(**settings): arguments of LocalServer for the fixture acp_server"
    config.addinivalue_line("markers", words)


@pytest.fixture
def acp_server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """A local ACP 0.1 server, fresh for the test.

    ``@pytest.mark.acp_server(quirks=Quirks(…))`` has arguments for it.
    """
    node = cast("pytest.Item", request.node)  # pyright: ignore[reportUnknownMemberType]
    marker = node.get_closest_marker("acp_server")
    with LocalServer(**(marker.kwargs if marker else {})) as server:
        yield server


@pytest.fixture
def acp_client(acp_server: LocalServer) -> Iterator[ApiClient]:
    """An ApiClient of the test's local server, with default settings, open during the test."""
    with ApiClient(Configuration(host=acp_server.url)) as client:
        yield client


@pytest.fixture
def repeatable_tokens() -> Iterator[None]:
    """Client tokens of runs and batches are the same each time the test runs."""
    with tokens.repeatable_tokens():
        yield
