"""The opt-in pytest fixture `acp_server`.

A conftest.py asks for it with `pytest_plugins = ["acp_client_v0_1.testing.pytest_plugin"]`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from acp_client_v0_1.testing.server import LocalServer

__all__ = ["acp_server"]


@pytest.fixture
def acp_server() -> Iterator[LocalServer]:
    """A local ACP 0.1 server, fresh for the test."""
    with LocalServer() as server:
        yield server
