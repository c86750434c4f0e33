"""What all tests share: no proxy or setting of the machine reaches them.

``test/`` is importable because this file is in it: ``from support.socket_server import ...``.
"""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("ACP_"):
            monkeypatch.delenv(name)
