"""Short seconds for examinations that wait until their time is over."""

from __future__ import annotations

import pytest


@pytest.fixture
def short_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor's limits and pauses are a fifth of the others."""
    monkeypatch.setattr("acp_client_v0_1.doctor._exam.SECOND", 0.2)
