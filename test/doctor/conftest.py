"""A clock for examinations that wait until their time is over."""

from __future__ import annotations

import time
from typing import Any

import pytest

from acp_client_v0_1 import doctor

FASTER = 5


@pytest.fixture
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor's seconds are a fifth of the others, also those that its requests may take."""
    left, ask = doctor._Exam.left, doctor._Exam.ask

    def left_of_ours(exam: doctor._Exam, most: float = 10.0) -> float:
        return left(exam, most) / FASTER

    def ask_for_less(exam: doctor._Exam, operation: str, *values: Any, **options: Any) -> Any:
        if operation == "get_run_output" and values[1:]:
            values = values[0], max(1, values[1] // FASTER)  # the seconds of a long poll
        return ask(exam, operation, *values, **options)

    monkeypatch.setattr(doctor._Exam, "left", left_of_ours)
    monkeypatch.setattr(doctor._Exam, "ask", ask_for_less)
    monkeypatch.setattr(doctor, "monotonic", lambda: FASTER * time.monotonic())
    monkeypatch.setattr(doctor, "sleep", lambda seconds: time.sleep(seconds / FASTER))
