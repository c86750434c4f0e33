"""What all tests share: no proxy, signal or setting of the machine reaches them.

``test/`` is importable because this file is in it: ``from support.socket_server import ...``.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support.doors import use_urllib3
from support.timing import SetTiming, using

# A shell starts what it runs in the background with Ctrl-C ignored, and nohup starts it with SIGHUP
# ignored. That is inherited, also by the scripts that tests interrupt. A handler is not inherited.
for ignored in {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}:
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(
            ignored,
            signal.default_int_handler if ignored == signal.SIGINT else lambda number, frame: None,
        )


# `TRANSPORT=urllib3 .venv/bin/pytest test/client test/handles` runs them with Urllib3Transport. The
# guide of doors has the list of what fails then.
if os.environ.get("TRANSPORT") == "urllib3":
    use_urllib3()

# An example that takes long on a busy machine has not failed.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes `--numprocesses=auto` means: tests wait more than they compute."""
    # Each one more collects all tests again. The quick tests wait less, and what coverage.py
    # measures computes more.
    few = "COVERAGE_RUN" in os.environ or config.option.markexpr
    per_core = 3 if few else 6
    return min(per_core * (os.cpu_count() or 1), 24)


def pytest_collection_finish() -> None:
    """Leave the tests themselves out of each collection of garbage that a test asks for."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("ACP_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def package_logger() -> Iterator[logging.Logger]:
    """The package's logger. Whatever a test sets on it, the next test finds it as it was."""
    logger = logging.getLogger("acp_client_v0_1")
    level, handlers = logger.level, list(logger.handlers)
    yield logger
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A local server that the tests of a file share, unless their room has one of its own."""
    from acp_client_v0_1.testing import LocalServer

    with LocalServer() as running:
        yield running


@pytest.fixture
def set_timing() -> Iterator[SetTiming]:
    with ExitStack() as stack:

        def change(**changes: Any) -> None:
            stack.enter_context(using(**changes))

        yield change
