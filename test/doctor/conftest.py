"""Short seconds for examinations that wait until their time is over."""

from __future__ import annotations

import pytest

from acp_client_v0_1.doctor import _exam


@pytest.fixture
def short_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor's limits and pauses are a fifth of the others."""
    monkeypatch.setattr(_exam, "SECOND", 0.2)
