"""`python -m mutants ROOM`: draws mistakes in a room of the package; which does no test find?

    make mutants ROOM=handles N=40 SEED=1     40 mistakes in handles/, always the same ones
    make mutants ROOM=api+api_client          40 in api/ and api_client.py together

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
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import cache_from_source
from pathlib import Path

from environments import PACKAGE, ROOT, copy_checkout

from mutants.operators import Mutant, mutants_of
from mutants.reach import Reach, pytest

# These tests run first, alone. Most mutants are found by them.
_FIRST_SECONDS = 5.0
# Until pytest runs the first test, and that any test may take, on a busy machine.
_START_SECONDS, _TEST_SECONDS, _TIMES_SLOWER = 40.0, 10.0, 5
# What the tests of a mutant may take together, and the per cent of mutants that must be found.
_LONGEST_SECONDS, _LEAST = 120.0, 95


def main() -> int:
    """Draw and judge; return 1 if too few mutants of the room were found."""
    parser = argparse.ArgumentParser(prog="mutants", description=(__doc__ or "").partition(":")[2])
    parser.add_argument("room", help="a module or package; join several by +")
    parser.add_argument("-n", type=int, default=40, help="how many mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    parser.add_argument("--only", default="", help="of the drawn ones, only those at PATH:LINE")
    options = parser.parse_args()
    drawn = _draw(options.room, options.n, options.seed)
    chosen = [one for one in drawn if f"{one.path}:{one.line}".endswith(options.only)]
    with (
        tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        judge = _Judge(Reach(), Path(folder), options.jobs)
        found = sum(pool.map(judge.finds, chosen))
    share = 100 * found / max(len(chosen), 1)
    print(f"{options.room}: {found} of {len(chosen)} found, {share:.1f} % (seed {options.seed})")
    return int(share < _LEAST)


def _draw(room: str, number: int, seed: int) -> list[Mutant]:
    tops = [ROOT / PACKAGE / name for name in room.split("+")]
    mutants = [
        mutant
        for top in tops
        for file in (sorted(top.rglob("*.py")) if top.is_dir() else [top.with_suffix(".py")])
        for mutant in mutants_of(str(file.relative_to(ROOT)), file.read_bytes())
    ]
    lines = [list(line) for _, line in itertools.groupby(mutants, key=lambda m: (m.path, m.line))]
    chance = random.Random(seed)
    return [chance.choice(line) for line in chance.sample(lines, min(number, len(lines)))]


class _Judge:
    """Runs the tests of mutants, each in a copy of the checkout that no other uses meanwhile."""

    def __init__(self, reach: Reach, folder: Path, copies: int) -> None:
        self._reach = reach
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
        last = max(first, bisect.bisect(ends, _LONGEST_SECONDS))
        for part in (tests[:first], tests[first:last]):
            if part and (failed := self._failed(copy, list(part))):
                return f"found by {failed}"
        return f"SURVIVED {min(last, len(tests))} of the {len(tests)} tests that may reach it"

    def _failed(self, copy: Path, tests: list[str]) -> str:
        while failed := self._run(copy, tests):
            if failed not in tests or self._run(copy, [failed]):
                break
            # It fails at times, which is no verdict.
            tests.remove(failed)
        return failed

    def _run(self, copy: Path, tests: Sequence[str]) -> str:
        """The test that failed first, or what else went wrong; empty if they pass."""
        wanted, ended = copy.parent / "wanted", copy.parent / "ended.json"
        # One file after the other, as they share servers.
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        wanted.write_text("\n".join(tests), "utf-8")
        ended.unlink(missing_ok=True)
        seconds = [self._reach.seconds[test] for test in tests]
        options = ("--exitfirst", f"--timeout={_TEST_SECONDS + _TIMES_SLOWER * max(seconds)}")
        running = pytest(copy, *options, *files, ended=ended, MUTANTS_TESTS=str(wanted))
        try:
            status = running.wait(_START_SECONDS + _TEST_SECONDS + _TIMES_SLOWER * sum(seconds))
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
    # Bytecode of another version may have the same time and size.
    Path(cache_from_source(str(file))).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
