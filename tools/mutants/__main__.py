"""`python -m mutants ROOM ...`: draws mistakes in rooms of the package; which does no test find?

    make mutants ROOM=handles N=40 SEED=1     40 mistakes in handles/, always the same ones
    make mutants ROOM='cli api+api_client'    40 in cli/, and 40 in api/ and api_client.py together

A mutant is one edit of one line, applied in a copy of the checkout. The tests that reach the line
run there, likeliest first, until one fails or time is up: a mutant that hangs is found.
A line is drawn first and then one of its mutants, so that no crowded line counts for more.
"""

from __future__ import annotations

import argparse
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

_FIRST_SECONDS = 5.0  # of tests, in a single process: most mutants are found by these
_QUICK_SECONDS = 0.3  # a test that takes longer may depend on time, and has to fail twice
_START_SECONDS = 40.0  # until pytest runs the first test, on a busy machine
_TEST_SECONDS = 10.0  # that any test may take
_TIMES_SLOWER = 5  # than alone, on a busy machine
_stamps = itertools.count(1_000_000_000)  # no two versions of a file have one time


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
            file.write_bytes(mutant.apply(source))
            _set_time(file)
            found, verdict = self._verdict(copy, self._reach.tests_of(mutant))
        finally:
            file.write_bytes(source)
            _set_time(file)
            self._copies.put(copy)
        took = f"{time.monotonic() - began:.0f} s"
        print(
            f"{mutant.path}:{mutant.line}  {mutant.shown(source)}\n    {verdict}, {took}",
            flush=True,
        )
        return found

    def _verdict(self, copy: Path, tests: Sequence[str]) -> tuple[bool, str]:
        if not tests:
            return False, "SURVIVED: no test reaches it"
        ran, seconds, doubtful = 0, 0.0, set[str]()
        while ran < len(tests) and seconds < self._longest:
            end, stage = ran, 0.0
            most = _FIRST_SECONDS if ran == 0 else self._longest - seconds
            while end < len(tests) and (stage < most or end == ran):
                stage += self._reach.seconds[tests[end]]
                end += 1
            part = [test for test in tests[ran:end] if test not in doubtful]
            failed = self._run(copy, part, stage, processes=1 if ran == 0 else 2)
            again = failed in part and self._reach.seconds[failed] > _QUICK_SECONDS
            if again and self._run(copy, [failed], self._reach.seconds[failed]) == "":
                doubtful.add(failed)  # it fails at times: no verdict
                continue
            if failed:
                return True, f"found by {failed}"
            ran, seconds = end, seconds + stage
        return False, f"SURVIVED {ran} of the {len(tests)} tests that reach it"

    def _run(self, copy: Path, tests: Sequence[str], seconds: float, processes: int = 1) -> str:
        """The test that failed first, or what else went wrong; empty if they pass."""
        wanted, ended = copy.parent / "wanted", copy.parent / "ended.json"
        # One file after the other, as they share servers.
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        limits = {
            test: _TEST_SECONDS + _TIMES_SLOWER * self._reach.seconds[test]
            for test in sorted(tests, key=lambda test: files.index(test.partition("::")[0]))
        }
        wanted.write_text(json.dumps(limits), "utf-8")
        ended.unlink(missing_ok=True)
        spread = [f"--numprocesses={processes}", "--dist=loadfile"] if processes > 1 else []
        arguments = ["--exitfirst", *spread, *files]
        running = pytest(copy, *arguments, ended=ended, more={"MUTANTS_TESTS": str(wanted)})
        try:
            status = running.wait(_START_SECONDS + _TIMES_SLOWER * seconds)
        except subprocess.TimeoutExpired:
            return "the time limit"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        if status == 0:
            return ""
        outcome = json.loads(ended.read_text("utf-8")) if ended.exists() else {}
        failed = (test for test, (_, passed) in outcome.items() if not passed)
        return next(failed, f"pytest, which ends with the status {status}")


def _set_time(file: Path) -> None:
    """Give a file a time of its own, so that no bytecode of another version is taken for it."""
    stamp = next(_stamps)
    os.utime(file, (stamp, stamp))


if __name__ == "__main__":
    sys.exit(main())
