"""Which tests reach which lines: one run of the suite under coverage.py, kept in .cache/mutants.

A change of the package needs a new run; after a change of tests, only their files run again. Tests
that fail in a copy of the checkout, or while they are measured, are left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from coverage import Coverage, CoverageData
from environments import PACKAGE, ROOT, clean_environ, copy_checkout

from mutants.operators import Mutant

_FOLDER = ROOT / ".cache" / "mutants"
_MEASURED = """
[run]
include = */acp_client_v0_1/*
data_file = {folder}/reached
parallel = true
core = ctrace
context = ${{PYTEST_CURRENT_TEST-}}
patch = _exit
disable_warnings = no-data-collected, module-not-measured, trace-changed
"""
# Where the tests of a room are, unless their folder has its name, or is test/client.
_TESTS = {"_http": "http", "rest": "http", "testing": "local_server"}
_PART_OF_A_TEST = re.compile(r" \((setup|call|teardown)\)$")


def pytest(copy: Path, *arguments: str, ended: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start pytest in a copy of the checkout, in a process group of its own."""
    path = os.pathsep.join((str(copy), str(copy / "tools")))
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "mutants.plugin", *arguments],
        cwd=copy,
        env={**clean_environ(), "PYTHONPATH": path, "MUTANTS_ENDED": str(ended), **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class Reach:
    """The tests that reach each line, likeliest first, and how many seconds each test takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = _up_to_date()
        self._data = CoverageData(str(_FOLDER / "reached"))
        self._data.read()

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests to run, likeliest first.

        After those that reach the line, these are all tests of its room: code may run at the
        import, in a thread of `_thread`, or in a test that traces it itself, which coverage.py
        does not see.
        """
        home = _home(mutant.path)
        reaching = self.seconds.keys() & self._reaching(mutant)
        others = {test for test in self.seconds if test.startswith(home)} - reaching
        # A quick test of the same room asks most about a line.
        return sorted(
            reaching | others,
            key=lambda test: (test in others, not test.startswith(home), self.seconds[test]),
        )

    def _reaching(self, mutant: Mutant) -> Iterator[str]:
        for file in self._data.measured_files():
            if file.endswith(f"/{mutant.path}"):
                for line, contexts in self._data.contexts_by_lineno(file).items():
                    if line in mutant.lines:
                        # A process that a test started has the name that pytest gave it in the
                        # environment.
                        yield from (_PART_OF_A_TEST.sub("", context) for context in contexts)


def _home(path: str) -> str:
    room = path.split("/")[1].removesuffix(".py")
    folder = _TESTS.get(room, room)
    return f"test/{folder if (ROOT / 'test' / folder).is_dir() else 'client'}/"


def _up_to_date() -> dict[str, float]:
    """Measure what has changed; return how long each test takes, in seconds."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    package = b"".join(path.read_bytes() for path in sorted((ROOT / PACKAGE).rglob("*.py")))
    files = {
        str(path.relative_to(ROOT)): hashlib.sha256(package + path.read_bytes()).hexdigest()
        for path in (ROOT / "test").rglob("test_*.py")
    }
    kept = _FOLDER / "state.json"
    old = json.loads(kept.read_text("utf-8")) if kept.exists() else {"files": {}, "tests": {}}
    changed = sorted(path for path in files if old["files"].get(path) != files[path])
    if len(changed) == len(files):
        (_FOLDER / "reached").unlink(missing_ok=True)
    # Of a file that is gone, pytest would end at once, as if it had found the mutant.
    same = files.keys() - set(changed)
    tests = {test: took for test, took in old["tests"].items() if test.partition("::")[0] in same}
    if changed:
        print(f"measuring which lines {len(changed)} files of tests reach", flush=True)
        tests |= _measure(changed)
        kept.write_text(json.dumps({"files": files, "tests": tests}), "utf-8")
    return tests


def _measure(files: Sequence[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        copy, ended = copy_checkout(folder / "copy"), folder / "ended.json"
        settings = folder / "coveragerc"
        settings.write_text(_MEASURED.format(folder=folder), "utf-8")
        # Measured, a test takes about twice as long.
        patient = ("--numprocesses=auto", "--dist=loadfile", "--timeout=300")
        pytest(copy, *patient, *files, ended=ended, COVERAGE_PROCESS_START=str(settings)).wait()
        outcome: dict[str, tuple[float, bool]] = json.loads(ended.read_text("utf-8"))
        reached = Coverage(str(_FOLDER / "reached"), config_file=False)
        reached.load()
        reached.combine([name])
        reached.save()
    unusable = [test for test, (_, passed) in outcome.items() if not passed]
    if unusable:
        print(f"left out, as they fail without a mutant: {', '.join(unusable)}", flush=True)
    return {test: seconds for test, (seconds, passed) in outcome.items() if passed}
