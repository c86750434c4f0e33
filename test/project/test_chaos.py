"""The checker of random faults can be repeated, and finds a mistake; `make chaos` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MUTANTS = [
    ("no-last-event-id", "13", "has no Last-Event-ID"),
    ("late-outcome", "4", "was handed out in an earlier life, and is asked for again"),
    ("no-filter", "211", "update 1 was handed out after"),
]

pytestmark = [
    pytest.mark.load,
    pytest.mark.skipif(sys.platform == "win32", reason="it kills processes"),
]


def python(*arguments: str) -> tuple[int, str]:
    """Run Python where it finds the tools: its status, and what it says."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tools")}
    done = subprocess.run(
        [sys.executable, *arguments], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize(("mutant", "seed", "words"), MUTANTS)
def test_a_mistake_is_found(mutant: str, seed: str, words: str) -> None:
    for _ in range(5):  # which run ends first is chance
        status, said = python("-m", "chaos", seed, "--mutant", mutant)
        if status == 1:
            break
    assert status == 1
    assert f"seed {seed}: " in said and words in said
    assert said.endswith("0 hold, 1 do not\n")


def test_a_seed_is_always_the_same_schedule() -> None:
    code = "from chaos.schedule import schedule_of; print(*map(schedule_of, range(30)), sep='\\n')"
    (status, said), again = python("-c", code), python("-c", code)
    assert status == 0 and said and again == (status, said)
