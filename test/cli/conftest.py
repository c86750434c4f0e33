"""A local server that wants a key, a folder of the test's own, and the command in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import KEY, inside

from acp_client_v0_1.testing import LocalServer

__all__ = ["inside"]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(api_key={"x-api-key": KEY}) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
