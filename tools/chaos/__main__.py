"""`python -m chaos 0:1000 [--mutant NAME]`: plays the seeds, several at a time."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict

from acp_client_v0_1.testing import Fault, Quirks
from chaos.client import MUTANTS, patch
from chaos.play import FORK, Verdict, play
from chaos.schedule import Step, schedule_of


def main() -> int:
    """Play the seeds of the command line; return 1 if one does not hold."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("seeds", help="one seed, or the first and the end: 0:1000")
    parser.add_argument("--mutant", choices=MUTANTS, default="", help="make a mistake, to be found")
    parser.add_argument("--workers", type=int, default=4 * (os.cpu_count() or 1))
    options = parser.parse_args()
    first, colon, end = options.seeds.partition(":")
    seeds = range(int(first), int(end) if colon else int(first) + 1)
    if not patch(options.mutant):
        parser.error("chaos.client names a place that is not there any more: see its tables")
    FORK.set_forkserver_preload(["chaos.play"])
    FORK.Process().start()  # so that no life has to wait for that
    began, verdicts = time.monotonic(), list[Verdict]()
    # Threads, as a server needs little and a client is a process of its own.
    with ThreadPoolExecutor(options.workers) as pool:
        plays = {pool.submit(play, one, options.mutant): one for one in seeds}
        for played in as_completed(plays):
            error = played.exception()
            if error is None:
                verdict = played.result()
            else:
                verdict = Verdict(schedule_of(plays[played]), [f"the checker failed: {error!r}"])
            verdicts.append(verdict)
            if verdict.faults:
                print(*_lines(verdict), sep="\n", flush=True)
    failed = sum(bool(verdict.faults) for verdict in verdicts)
    seconds = time.monotonic() - began
    print(f"{len(seeds)} seeds in {seconds:.0f} s: {len(seeds) - failed} hold, {failed} do not")
    return min(failed, 1)


def _lines(verdict: Verdict) -> Iterator[str]:
    """The schedule, without what is empty in it, what does not hold, and the client's stderr."""
    plan = verdict.schedule
    yield f"seed {plan.seed}: {plan.kind} {plan.command}, {plan.options}, kills at {plan.kill_at}"
    yield from (f"  {one}" for one in plan.inputs)
    parts: list[Quirks | Fault | Step] = [plan.quirks, *plan.faults, *plan.steps]
    for one in parts:
        yield f"  { ({name: value for name, value in asdict(one).items() if value}) }"
    yield from (f"  ! {fault}" for fault in verdict.faults)
    yield from (f"  | {line}" for line in verdict.stderr.splitlines()[-40:])


if __name__ == "__main__":
    sys.exit(main())
