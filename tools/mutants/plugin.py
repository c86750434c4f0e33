"""A pytest plugin: it runs the tests of a list in its order, and writes how each of them ended.

In the processes of pytest-xdist that coverage.py measures, each test is a context of its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

_WORKER = "PYTEST_XDIST_WORKER" in os.environ
_ended: dict[str, tuple[float, bool]] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the list, each with the seconds that it may take."""
    if "MUTANTS_TESTS" in os.environ:
        limits: dict[str, float] = json.loads(Path(os.environ["MUTANTS_TESTS"]).read_text("utf-8"))
        found = {item.nodeid: item for item in items if item.nodeid in limits}
        items[:] = [found[test] for test in limits if test in found]
        for item in items:
            own = item.get_closest_marker("timeout")
            method = {} if own is None else own.kwargs
            item.add_marker(pytest.mark.timeout(limits[item.nodeid], **method), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Name the context of what runs, also after a test that has a trace function of its own."""
    if not _WORKER or "COVERAGE_PROCESS_START" not in os.environ:
        return (yield)
    from coverage import Coverage

    running = Coverage.current()
    if running is not None:
        if sys.gettrace() is None:
            running.stop()
            running.start()
        running.switch_context(item.nodeid)
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the time of a test, and whether each part of it passed."""
    seconds, passed = _ended.get(report.nodeid, (0.0, True))
    _ended[report.nodeid] = seconds + report.duration, passed and not report.failed


def pytest_unconfigure() -> None:
    """Write down how the tests ended."""
    if not _WORKER:
        Path(os.environ["MUTANTS_ENDED"]).write_text(json.dumps(_ended), "utf-8")
