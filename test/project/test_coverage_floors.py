"""`make coverage` holds each room to a floor, and names the one that is below it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coverage_floors
import pytest

import acp_client_v0_1

PACKAGE = Path(next(iter(acp_client_v0_1.__path__)))


def summary(lines: int, branches: int) -> dict[str, Any]:
    """What coverage.py reports of a file with ten statements and ten branches."""
    return {
        "summary": {
            "covered_lines": lines,
            "num_statements": 10,
            "covered_branches": branches,
            "num_branches": 10,
        }
    }


def test_each_room_has_a_floor() -> None:
    rooms = {
        path.name
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert coverage_floors.FLOORS.keys() == rooms


def test_a_room_that_falls_below_its_floor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage_floors, "FLOORS", {"cli": 80, "rest.py": 81, "gone.py": 1})
    found = coverage_floors.figures(
        {
            "files": {
                "acp_client_v0_1/cli/one.py": summary(10, 10),
                "acp_client_v0_1/cli/two.py": summary(8, 4),
                "acp_client_v0_1/rest.py": summary(10, 6),
                "acp_client_v0_1/new.py": summary(0, 0),
            }
        }
    )
    assert found["cli"] == (90.0, 70.0, 80.0)
    assert coverage_floors.below(found) == [
        "rest.py: 80.0 %, and its floor is 81 %",
        "new.py: no floor in FLOORS",
        "gone.py: a floor, and no file",
    ]
