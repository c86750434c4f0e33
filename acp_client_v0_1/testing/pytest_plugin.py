"""The opt-in pytest fixture `acp_server`.

The top-level conftest.py asks for it, `pytest_plugins = ["acp_client_v0_1.testing.pytest_plugin"]`,
since pytest allows `pytest_plugins` in no other; or the command line, with `-p` and that name.
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
