"""Which tests reach which lines: one run of the suite under coverage.py, kept in .cache/mutants.

A change of the package needs a new run; after a change of tests, only their files run again. Tests
that fail in a copy of the checkout are of no use here, and are left out; one that fails only while
it is measured counts.
"""

from __future__ import annotations

import ast
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
from collections.abc import Iterable, Sequence, Set
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
    "doctor.py": "doctor",
}  # fmt: skip


_OPTIONS = ("--quiet", "-p", "mutants.plugin", "-p", "no:cacheprovider")


def pytest(
    copy: Path, *arguments: str, ended: Path, more: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start pytest in a copy of the checkout, in a process group of its own."""
    path = os.pathsep.join((str(copy), str(copy / "tools")))
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *_OPTIONS, *arguments],
        cwd=copy,
        env={**clean_environ(), "PYTHONPATH": path, "MUTANTS_ENDED": str(ended), **(more or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class Reach:
    """The lines that each test reaches, and the tests of a line, likeliest first."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = _up_to_date()
        self._hits: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        self._sizes = Counter[str]()  # how many lines of the package a test reaches
        rows = sqlite3.connect(_FOLDER / "reached").execute(
            "SELECT path, context, numbits FROM line_bits"
            " JOIN file ON file.id = file_id JOIN context ON context.id = context_id"
        )
        for path, context, bits in rows:
            # A process that a test started has the name that pytest gave it in the environment.
            test = re.sub(r" \((setup|call|teardown)\)$", "", context)
            if test in self.seconds:
                self._hits[PACKAGE + path.rpartition(PACKAGE)[2]].append((test, bits))
                self._sizes[test] += int.from_bytes(bits, "little").bit_count()
        sources = (ROOT / PACKAGE).rglob("*.py")
        self._sources = {str(one.relative_to(ROOT)): one.read_text("utf-8") for one in sources}
        self._calls = {path: _lines_of_functions(text) for path, text in self._sources.items()}

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests to run, likeliest first."""
        if mutant.lines:
            # coverage.py sees no thread that `_thread` starts: the lines around tell about these.
            for margin in (0, 8, 32, 128):
                around = range(mutant.lines.start - margin, mutant.lines.stop + margin)
                around = range(max(around.start, 1), around.stop)
                tests = self._tests_at(mutant.path, self._calls[mutant.path].intersection(around))
                if tests:
                    return self._ranked(mutant.path, tests) + self._unseen(mutant.path, tests)
            return []
        # What a module or class defines matters where a function names it, to its module and room.
        word = re.compile(rf"\b{re.escape(mutant.name or PACKAGE)}\b")
        named = set[str]()
        for path, text in self._sources.items():
            lines = text.splitlines()
            named |= self._tests_at(
                path, [n for n in self._calls[path] if word.search(lines[n - 1])]
            )
        others = self._tests_at(mutant.path, self._calls[mutant.path])
        # A test may make a value of a class, none of whose own lines run then.
        others.update(test for test in self.seconds if test.startswith(_home(mutant.path)))
        return self._ranked(mutant.path, named, others - named)

    def _unseen(self, path: str, others: set[str]) -> list[str]:
        """The tests of the room that trace what they run themselves, which hides it from here."""
        files = (one for one in (ROOT / _home(path)).glob("*.py") if "settrace" in one.read_text())
        names = {str(file.relative_to(ROOT)) for file in files}
        return [
            one for one in self.seconds if one not in others and one.partition("::")[0] in names
        ]

    def _tests_at(self, path: str, lines: Iterable[int]) -> set[str]:
        mask = sum(1 << line for line in set(lines))
        hits = self._hits.get(path, ())
        return {test for test, bits in hits if int.from_bytes(bits, "little") & mask}

    def _ranked(self, path: str, tests: set[str], unlikely: Set[str] = frozenset()) -> list[str]:
        """Small quick tests of the same room first, and some cases of a test before its others."""
        home = _home(path)

        def cost(test: str) -> float:
            price = self._sizes[test] * (self.seconds[test] + 0.02)
            return price * (1 if home in test else 5) * (3 if test in unlikely else 1)

        cases = Counter[str]()
        ranked: dict[str, float] = {}
        for test in sorted(tests | unlikely, key=lambda test: (cost(test), test)):
            function = test.partition("[")[0]
            cases[function] += 1
            ranked[test] = cost(test) * (1 + cases[function] / 8)
        return sorted(ranked, key=lambda test: (ranked[test], test))


def _home(path: str) -> str:
    return f"test/{_TESTS.get(path.split('/')[1], 'client')}/"


def _lines_of_functions(text: str) -> set[int]:
    return {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for line in range(node.body[0].lineno, (node.end_lineno or 0) + 1)
    }


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
        measured = {"COVERAGE_PROCESS_START": str(settings)}
        pytest(copy, *patient, *files, ended=ended, more=measured).wait()
        outcome: dict[str, tuple[float, bool]] = json.loads(ended.read_text("utf-8"))
        failed = [test for test, (_, passed) in outcome.items() if not passed]
        if failed:
            (folder / "again").write_text(json.dumps(dict.fromkeys(failed, 300.0)), "utf-8")
            paths = sorted({test.partition("::")[0] for test in failed})
            again = {"MUTANTS_TESTS": str(folder / "again")}
            pytest(copy, *patient, *paths, ended=ended, more=again).wait()
            outcome |= json.loads(ended.read_text("utf-8"))
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
