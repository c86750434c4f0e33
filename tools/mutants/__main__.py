"""`python -m mutants ROOM ...`: draws mistakes in rooms of the package; which does no test find?

    make mutants ROOM=handles N=40 SEED=1     40 mistakes in handles/, always the same ones
    make mutants ROOM='cli api+api_client'    40 in cli/, and 40 in api/ and api_client.py together

A mutant is one edit of one line, applied in a copy of the checkout. The tests that reach the line
run there, likeliest first, until one fails or time is up: a mutant that hangs is found.
A line is drawn first and then one of its mutants, so that no crowded line counts for more.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import itertools
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from environments import PACKAGE, ROOT, copy_checkout

from mutants.operators import Mutant, mutants_of
from mutants.reach import Reach, pytest

# These tests run first, alone. Most mutants are found by them.
_FIRST_SECONDS = 5.0
# A test that takes longer may depend on time, and has to fail twice.
_QUICK_SECONDS = 0.3
# Until pytest runs the first test, and that any test may take, on a busy machine.
_START_SECONDS, _TEST_SECONDS, _TIMES_SLOWER = 40.0, 10.0, 5
# No two versions of a file have one time, so that no bytecode of another version is taken for it.
_stamps = itertools.count(1_000_000_000)


def main() -> int:
    """Draw and judge; return 1 if too few mutants of a room were found."""
    parser = argparse.ArgumentParser(prog="mutants", description=(__doc__ or "").partition(":")[2])
    parser.add_argument("rooms", nargs="+", help="a module or package; join several by +")
    parser.add_argument("-n", type=int, default=40, help="how many mutants of each room")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    parser.add_argument("--least", type=float, default=95, help="per cent that must be found")
    parser.add_argument("--longest", type=float, default=120, help="seconds of tests of a mutant")
    parser.add_argument("--only", default="", help="of the drawn ones, only those at PATH:LINE")
    options = parser.parse_args()
    drawn = {room: _draw(room, options.n, options.seed) for room in options.rooms}
    reach, failed = Reach(), False
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    try:
        judge = _Judge(reach, folder, options.jobs, options.longest)
        for room, mutants in drawn.items():
            chosen = [one for one in mutants if f"{one.path}:{one.line}".endswith(options.only)]
            with ThreadPoolExecutor(options.jobs) as pool:
                found = sum(pool.map(judge.finds, chosen))
            share = 100 * found / max(len(chosen), 1)
            print(f"{room}: {found} of {len(chosen)} found, {share:.1f} % (seed {options.seed})")
            failed = failed or share < options.least
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


def _draw(room: str, number: int, seed: int) -> list[Mutant]:
    places = defaultdict[tuple[str, int], list[Mutant]](list)
    for name in room.split("+"):
        top = ROOT / PACKAGE / name
        files = sorted(top.rglob("*.py")) if top.is_dir() else [top.with_suffix(".py")]
        for file in files:
            if not file.is_file():
                raise SystemExit(f"{PACKAGE} has no module or package {name!r}")
            for mutant in mutants_of(str(file.relative_to(ROOT)), file.read_bytes()):
                places[mutant.path, mutant.line].append(mutant)
    chance = random.Random(seed)
    lines = chance.sample(sorted(places), min(number, len(places)))
    return [chance.choice(places[line]) for line in lines]


class _Judge:
    """Runs the tests of mutants, each in a copy of the checkout that no other uses meanwhile."""

    def __init__(self, reach: Reach, folder: Path, copies: int, longest: float) -> None:
        self._reach, self._longest = reach, longest
        self._copies = queue.SimpleQueue[Path]()
        for number in range(copies):
            self._copies.put(copy_checkout(folder / str(number) / "copy"))

    def finds(self, mutant: Mutant) -> bool:
        """Whether a test finds the mutant; prints the verdict."""
        copy, began = self._copies.get(), time.monotonic()
        file = copy / mutant.path
        source = file.read_bytes()
        try:
            _replace(file, mutant.apply(source))
            verdict = self._verdict(copy, self._reach.tests_of(mutant))
        finally:
            _replace(file, source)
            self._copies.put(copy)
        print(f"{mutant.path}:{mutant.line}  {mutant.shown(source)}")
        print(f"    {verdict}, {time.monotonic() - began:.0f} s", flush=True)
        return not verdict.startswith("SURVIVED")

    def _verdict(self, copy: Path, tests: Sequence[str]) -> str:
        ends = list(itertools.accumulate(self._reach.seconds[test] for test in tests))
        first = bisect.bisect(ends, _FIRST_SECONDS) + 1
        last = max(first, bisect.bisect(ends, self._longest))
        for part in (tests[:first], tests[first:last]):
            if part and (failed := self._failed(copy, list(part))):
                return f"found by {failed}"
        return f"SURVIVED {min(last, len(tests))} of the {len(tests)} tests that may reach it"

    def _failed(self, copy: Path, tests: list[str]) -> str:
        while failed := self._run(copy, tests):
            quick = failed not in tests or self._reach.seconds[failed] <= _QUICK_SECONDS
            if quick or self._run(copy, [failed]):
                break
            # It fails at times, which is no verdict.
            tests.remove(failed)
        return failed

    def _run(self, copy: Path, tests: Sequence[str]) -> str:
        """The test that failed first, or what else went wrong; empty if they pass."""
        wanted, ended = copy.parent / "wanted", copy.parent / "ended.json"
        # One file after the other, as they share servers.
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        seconds = _TEST_SECONDS + sum(self._reach.seconds[test] for test in tests)
        limits = {
            test: _TEST_SECONDS + _TIMES_SLOWER * self._reach.seconds[test]
            for test in sorted(tests, key=lambda test: files.index(test.partition("::")[0]))
        }
        wanted.write_text(json.dumps(limits), "utf-8")
        ended.unlink(missing_ok=True)
        running = pytest(copy, "--exitfirst", *files, ended=ended, MUTANTS_TESTS=str(wanted))
        try:
            status = running.wait(_START_SECONDS + _TIMES_SLOWER * seconds)
        except subprocess.TimeoutExpired:
            return "the time limit"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        outcome = json.loads(ended.read_text("utf-8")) if ended.exists() else {}
        failed = (test for test, (_, passed) in outcome.items() if not passed)
        return next(failed, f"the status {status} of pytest" if status else "")


def _replace(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    stamp = next(_stamps)
    os.utime(file, (stamp, stamp))


if __name__ == "__main__":
    sys.exit(main())
