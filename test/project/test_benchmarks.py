"""The benchmarks run without any peer, judge by their budgets, and report the outcome.

How fast anything is, is no matter here: one round of each work shows that it runs.
"""

import json
import multiprocessing
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_importable")]

# Fewer events show as well that a work runs; module and name of each count.
COUNTS = (
    ("batches", "RUNS"),
    ("handles", "EVENTS"),
    ("parser", "SMALL_EVENTS"),
    ("parser", "MEDIUM_EVENTS"),
    ("streams", "EVENTS"),
    ("streams", "LOOPBACK_EVENTS"),
)

# One round of these takes long, or a process of its own that has to find the package.
LONG = ["import", "memory_small", "memory_large", "linear_size", "batch_slow", "batch_many"]
LONG += ["batch_million", "journal"]


@pytest.fixture
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@contextmanager
def nothing() -> Iterator[dict[str, Callable[[], object]]]:
    yield {}


def work_with(*budgets: Any) -> Any:
    from benchmarks.measure import Work

    return Work("w", "title; by hand: so", "µs", 1e6, 3, nothing, budgets)


def test_a_ratio_is_taken_round_by_round():
    from benchmarks.measure import OURS, Budget, Spread, over

    samples = {OURS: [1.0, 2.0, 9.0], "peer": [2.0, 4.0, 9.0]}
    assert over("peer", OURS)(samples) == [2.0, 2.0, 1.0]
    assert Spread.of([1.0]) == Spread(1.0, 1.0, 1.0)
    assert Spread.of([5.0, 1.0, 3.0]) == Spread(3.0, 2.0, 4.0)
    kept, missed, faster, absent = work_with(
        Budget("kept", over(OURS, "peer"), 0.5),
        Budget("missed", over(OURS, "peer"), 0.49),
        Budget("faster", over("peer", OURS), 2.1, at_least=True),
        Budget("absent", over("nobody", OURS), 2.0, at_least=True),
    ).judge(samples)
    assert (kept.holds, missed.holds, faster.holds) == (True, False, False)
    assert absent.holds and absent.figure is None


def test_what_is_told_of_the_figures():
    from benchmarks.measure import OURS, Budget, over
    from benchmarks.report import Machine, Outcome, as_json, as_markdown, as_text

    samples = {OURS: [1e-6, 1e-6, 2e-6], "peer": [3e-6, 3e-6, 3e-6]}
    work = work_with(Budget("beaten", over("peer", OURS), 4, at_least=True))
    outcome = Outcome(work, samples, {OURS: 0.25})
    machine = Machine.here({"urllib3": "2"}, {"openai": "not installed"}, 1.5)
    text, page = as_text(outcome), as_markdown([outcome], machine)
    for shown in (text, page):
        assert re.search(r"\| beaten +\| 3.00 \(2.25-3.00\) +\| >= 4.00 +\| MISSED +\|", shown)
    assert "Absent: openai (not installed)." in page
    told = json.loads(as_json([outcome], machine))["works"][0]
    assert told["samples"]["peer"] == [3.0, 3.0, 3.0] and told["budgets"][0]["kept"] is False


def test_each_work_runs_without_any_peer(monkeypatch):
    from benchmarks import peers
    from benchmarks.measure import OURS
    from benchmarks.works import WORKS

    for module, name in COUNTS:
        monkeypatch.setattr(f"benchmarks.works.{module}.{name}", 100)
    monkeypatch.setattr(peers, "find", lambda *names: None)
    monkeypatch.setattr(peers, "stock", lambda: None)
    # What is forked need not import pytest first, as a spawned server would.
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: fork)
    for work in WORKS.values():
        if work.name in LONG:
            continue
        with work.make() as jobs:
            assert OURS in jobs
            samples = {name: [work.sample(job)] for name, job in jobs.items()}
        assert all(value > 0 for values in samples.values() for value in values)
        assert len(work.judge(samples)) == len(work.budgets)


def test_the_page_holds_the_published_figures():
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    published = json.loads((ROOT / "docs" / "benchmarks.json").read_text("utf-8"))
    told = [row for work in published["works"] for row in work["budgets"]]
    for budget in told:
        assert re.search(rf"^\| {re.escape(budget['what'])} +\|", page, re.MULTILINE)
    missed = [budget["what"] for budget in told if budget["kept"] is False]
    assert len(re.findall(r"\| MISSED +\|", page)) == len(missed)
