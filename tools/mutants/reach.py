"""Which tests reach which lines: one run of the suite under coverage.py, kept in .cache/mutants.

A change of the package needs a new run; after a change of tests, only their files run again. Tests
that fail in a copy of the checkout, or while they are measured, are left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from coverage import CoverageData
from coverage.exceptions import DataError
from environments import PACKAGE, ROOT, clean_environ, copy_checkout

from mutants.operators import Mutant

_FOLDER = ROOT / ".cache" / "mutants"
_MEASURED = """
[run]
include = */acp_client_v0_1/*
data_file = {folder}/part
parallel = true
core = ctrace
context = ${{PYTEST_CURRENT_TEST-}}
patch = _exit
disable_warnings = no-data-collected, module-not-measured, trace-changed
"""
# Where most tests of a room are; those of any other are in test/client.
_TESTS = {
    "_http": "http", "rest.py": "http", "streaming": "streaming", "handles": "handles",
    "batch": "batch", "cli": "cli", "testing": "local_server", "telemetry.py": "telemetry",
    "doctor": "doctor",
}  # fmt: skip


_OPTIONS = ("--quiet", "-p", "mutants.plugin", "-p", "no:cacheprovider")


def pytest(copy: Path, *arguments: str, ended: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start pytest in a copy of the checkout, in a process group of its own."""
    path = os.pathsep.join((str(copy), str(copy / "tools")))
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *_OPTIONS, *arguments],
        cwd=copy,
        env={**clean_environ(), "PYTHONPATH": path, "MUTANTS_ENDED": str(ended), **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class Reach:
    """The lines that each test reaches, and the tests of a line, likeliest first."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = _up_to_date()
        self._hits: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self._sizes = Counter[str]()  # how many lines of the package a test reaches
        rows = sqlite3.connect(_FOLDER / "reached").execute(
            "SELECT path, context, numbits FROM line_bits"
            " JOIN file ON file.id = file_id JOIN context ON context.id = context_id"
        )
        for path, context, numbits in rows:
            # A process that a test started has the name that pytest gave it in the environment.
            test = re.sub(r" \((setup|call|teardown)\)$", "", context)
            if test in self.seconds:
                bits = int.from_bytes(numbits, "little")
                self._hits[PACKAGE + path.rpartition(PACKAGE)[2]].append((test, bits))
                self._sizes[test] += bits.bit_count()

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests to run, likeliest first.

        After those that reach the line, these are all tests of its room: code may run at the
        import, in a thread of `_thread`, or in a test that traces it itself, which coverage.py
        does not see.
        """
        mask = sum(1 << line for line in mutant.lines)
        reaching = {test for test, bits in self._hits.get(mutant.path, ()) if bits & mask}
        home = _home(mutant.path)
        others = {test for test in self.seconds if test.startswith(home)} - reaching
        return [*self._ranked(reaching, home), *self._ranked(others, home)]

    def _ranked(self, tests: set[str], home: str) -> list[str]:
        """Small quick tests of the same room first, and some cases of a test before its others."""

        def cost(test: str) -> float:
            price = self._sizes[test] * (self.seconds[test] + 0.02)
            return price if test.startswith(home) else 5 * price

        cases = Counter[str]()
        ranked: dict[str, float] = {}
        for test in sorted(tests, key=lambda test: (cost(test), test)):
            function = test.partition("[")[0]
            cases[function] += 1
            ranked[test] = cost(test) * (1 + cases[function] / 8)
        return sorted(ranked, key=lambda test: (ranked[test], test))


def _home(path: str) -> str:
    return f"test/{_TESTS.get(path.split('/')[1], 'client')}/"


def _digest(paths: Iterable[Path]) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(paths))).hexdigest()


def _up_to_date() -> dict[str, float]:
    """Measure what has changed; return how long each test takes, in seconds."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    kept = _FOLDER / "state.json"
    state: dict[str, Any] = {"package": "", "files": {}, "tests": {}}
    if kept.exists():
        state = json.loads(kept.read_text("utf-8"))
    package = _digest((ROOT / PACKAGE).rglob("*.py"))
    files = {
        str(path.relative_to(ROOT)): _digest([path]) for path in (ROOT / "test").rglob("test_*.py")
    }
    if state["package"] != package:
        (_FOLDER / "reached").unlink(missing_ok=True)
        state = {"package": package, "files": {}, "tests": {}}
    changed = sorted(path for path in files if state["files"].get(path) != files[path])
    if changed:
        what = "the suite" if len(changed) == len(files) else " ".join(changed)
        print(f"measuring which lines {what} reaches", flush=True)
        same = files.keys() - set(changed)  # also without the files that are gone
        old = {t: s for t, s in state["tests"].items() if t.partition("::")[0] in same}
        state = {"package": package, "files": files, "tests": {**old, **_measure(changed)}}
        kept.write_text(json.dumps(state), "utf-8")
    # A file that is gone would end pytest at once, as if it had found the mutant.
    seconds: dict[str, float] = state["tests"]
    return {test: took for test, took in seconds.items() if test.partition("::")[0] in files}


def _measure(files: Sequence[str]) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    try:
        copy, ended = copy_checkout(folder / "copy"), folder / "ended.json"
        settings = folder / "coveragerc"
        settings.write_text(_MEASURED.format(folder=folder), "utf-8")
        # Measured, a test takes about twice as long.
        patient = ("--numprocesses=auto", "--dist=loadfile", "--timeout=300")
        start = str(settings)
        pytest(copy, *patient, *files, ended=ended, COVERAGE_PROCESS_START=start).wait()
        outcome: dict[str, tuple[float, bool]] = json.loads(ended.read_text("utf-8"))
        data = CoverageData(str(_FOLDER / "reached"))
        data.read()
        for part in folder.glob("part.*"):
            one = CoverageData(str(part))
            with contextlib.suppress(DataError):  # of a process that was killed, or had no room
                one.read()
                data.update(one)
        data.write()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    unusable = [test for test, (_, passed) in outcome.items() if not passed]
    if unusable:
        print(f"left out, as they fail without a mutant: {', '.join(unusable)}", flush=True)
    return {test: seconds for test, (seconds, passed) in outcome.items() if passed}
