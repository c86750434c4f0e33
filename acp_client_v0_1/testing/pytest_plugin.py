"""The pytest fixtures `acp_server` and `acp_client`, which a test suite opts into.

`pytest_plugins = ["acp_client_v0_1.testing.pytest_plugin"]` in the top-level conftest.py (pytest
allows it in no other) enables them, as does `-p` with that name on the command line.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.testing.server import LocalServer

__all__ = ["acp_client", "acp_server"]


@pytest.fixture
def acp_server() -> Iterator[LocalServer]:
    """A local ACP 0.1 server, fresh for the test."""
    with LocalServer() as server:
        yield server


@pytest.fixture
def acp_client(acp_server: LocalServer) -> Iterator[ApiClient]:
    """An ApiClient of the test's local server, with default settings, open during the test."""
    with ApiClient(Configuration(host=acp_server.url)) as client:
        yield client
