"""A clock for examinations that wait until their time is over."""

from __future__ import annotations

import time

import pytest

from acp_client_v0_1 import doctor

FASTER = 5


@pytest.fixture
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor's seconds are a fifth of the others, also those that its requests may take."""
    left = doctor._Exam.left

    def left_of_ours(exam: doctor._Exam, most: float = 10.0) -> float:
        return left(exam, most) / FASTER

    monkeypatch.setattr(doctor._Exam, "left", left_of_ours)
    monkeypatch.setattr(doctor, "monotonic", lambda: FASTER * time.monotonic())
    monkeypatch.setattr(doctor, "sleep", lambda seconds: time.sleep(seconds / FASTER))
