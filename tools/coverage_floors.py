"""Runs the suite under coverage.py, and holds each room to its floor: `make coverage`.

    python tools/coverage_floors.py --numprocesses=auto      the arguments are pytest's

A room's figure is that of coverage.py with branches: the statements and branches that some test
reached, of all. If a figure has risen for good, raise its floor here. If one fell, a rule has lost
its test, or came without one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from environments import PACKAGE, ROOT

# In percent, a little below what was measured: which of two threads comes first decides about a
# branch here and there, and so does the version of Python.
FLOORS = {
    "__init__.py": 100,
    "__main__.py": 82,
    "_arguments.py": 98,
    "_deadline.py": 98,
    "_decoding.py": 98,
    "_dropin": 96,
    "_errors.py": 98,
    "_http": 97,
    "_lazy.py": 98,
    "_operation.py": 95,
    "_schema": 98,
    "_transport_errors.py": 98,
    "_variants.py": 98,
    "_version.py": 100,
    "api": 100,
    "api_client.py": 98,
    "api_response.py": 98,
    "batch": 97,
    "cli": 97,
    "configuration": 99,
    "doctor.py": 97,
    "exceptions.py": 97,
    "handles": 98,
    "models": 100,
    "rest.py": 98,
    "streaming": 98,
    "telemetry.py": 98,
    "testing": 98,
    "waiting.py": 98,
}

_FOLDER = ROOT / "build" / "coverage"


def room_of(file: str) -> str:
    """The folder or module of the package that has a file: the rooms of CONTRIBUTING.md."""
    return Path(file).relative_to(PACKAGE).parts[0]


def figures(report: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """By room, in percent: statements, branches, and both together, which the floor is about."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for file, measured in report["files"].items():
        sums[room_of(file)].update(measured["summary"])
    return {
        room: (
            _percent(sum_["covered_lines"], sum_["num_statements"]),
            _percent(sum_["covered_branches"], sum_["num_branches"]),
            _percent(
                sum_["covered_lines"] + sum_["covered_branches"],
                sum_["num_statements"] + sum_["num_branches"],
            ),
        )
        for room, sum_ in sums.items()
    }


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0


def below(found: dict[str, tuple[float, float, float]]) -> list[str]:
    """A line for each room that is below its floor, or has none."""
    fallen = [
        f"{room}: {found[room][2]:.1f} %, and its floor is {floor} %"
        for room, floor in FLOORS.items()
        if room in found and found[room][2] < floor
    ]
    wanted = [f"{room}: no floor in FLOORS" for room in sorted(found.keys() - FLOORS.keys())]
    gone = [f"{room}: a floor, and no file" for room in sorted(FLOORS.keys() - found.keys())]
    return fallen + wanted + gone


def main(arguments: Sequence[str]) -> int:
    """Run the suite, print the table, and fail if a test failed or a room fell."""
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    coverage = [sys.executable, "-m", "coverage"]
    # CPython 3.12 and newer have a tracer that is quicker, and measures no branches before 3.14.
    environ = {**os.environ, "COVERAGE_CORE": "ctrace"}
    tested = subprocess.run(
        [*coverage, "run", "-m", "pytest", *arguments], cwd=ROOT, env=environ, check=False
    )
    subprocess.run([*coverage, "combine", "--quiet"], cwd=ROOT, check=True)
    path = _FOLDER / "report.json"
    subprocess.run([*coverage, "json", "--quiet", "-o", str(path)], cwd=ROOT, check=True)
    found = figures(json.loads(path.read_text("utf-8")))
    print(f"\n{'room':20}{'statements':>11}{'branches':>10}{'both':>8}{'floor':>7}")
    for room, (lines, branches, both) in sorted(found.items()):
        print(f"{room:20}{lines:10.1f}%{branches:9.1f}%{both:7.1f}%{FLOORS.get(room, 0):6}%")
    fallen = below(found)
    for line in fallen:
        print(f"make coverage: {line}", file=sys.stderr)
    return tested.returncode or bool(fallen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
