"""A pytest plugin: it runs the tests of a list, and writes how each of them ended.

In the processes of pytest-xdist that coverage.py measures, each test is a context of its own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from coverage import Coverage

_ended: dict[str, tuple[float, bool]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of the list."""
    if "MUTANTS_TESTS" in os.environ:
        wanted = set(Path(os.environ["MUTANTS_TESTS"]).read_text("utf-8").splitlines())
        items[:] = [item for item in items if item.nodeid in wanted]


def pytest_runtest_logstart(nodeid: str) -> None:
    """Name the context of what runs, also after a test that has a trace function of its own."""
    measuring = Coverage.current()
    if measuring is not None:
        if sys.gettrace() is None:
            measuring.stop()
            measuring.start()
        measuring.switch_context(nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the time of a test, and whether each part of it passed."""
    seconds, passed = _ended.get(report.nodeid, (0.0, True))
    _ended[report.nodeid] = seconds + report.duration, passed and not report.failed


def pytest_unconfigure() -> None:
    """Write down how the tests ended."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        Path(os.environ["MUTANTS_ENDED"]).write_text(json.dumps(_ended), "utf-8")
