"""Measure, print, and write what was measured: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import peers
from .measure import Work, cpu_seconds, elsewhere, run
from .peak import growth_mib
from .report import Machine, Outcome, as_json, as_markdown, as_text, budget_rows
from .works import WORKS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"


def main() -> int:
    """Do what the command line says; 1 if a budget is missed."""
    options = parse_arguments()
    if options.peak:
        print(peak_here(*options.peak))
        return 0
    start = time.monotonic()
    outcomes = [measure(WORKS[name], options) for name in options.works or WORKS]
    machine = Machine.here(peers.versions(), peers.missing, time.monotonic() - start)
    for name, reason in machine.absent.items():
        print(f"absent: {name}: {reason}")
    write(outcomes, machine, options.output)
    if options.publish:
        publish(options.output)
    missed = [row for row in budget_rows(outcomes) if row[-1] == "MISSED"]
    for row in missed:
        print("missed:", *row[:3])
    print(f"{len(outcomes)} works in {machine.seconds:.0f} s; {len(missed)} budgets missed")
    return 1 if missed else 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of: {', '.join(WORKS)}")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "benchmarks")
    parser.add_argument("--publish", action="store_true", help="write the figures into docs/ too")
    parser.add_argument("--no-peaks", action="store_true", help="measure no peaks of memory")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.works) - set(WORKS):
        parser.error(f"there is no work named {', '.join(sorted(unknown))}")
    if options.publish and options.works:
        parser.error("only the figures of all works are published")
    return options


def measure(work: Work, options: argparse.Namespace) -> Outcome:
    """Measure one work and print it."""
    samples = run(work, work.rounds)
    peaks: dict[str, float] = {}
    if work.sample is cpu_seconds and not options.no_peaks:
        # By how many MiB one round lets the peak of a fresh process grow.
        peaks = {name: elsewhere("benchmarks", "--peak", work.name, name) for name in samples}
    outcome = Outcome(work, samples, peaks)
    print(as_text(outcome), flush=True)
    return outcome


def peak_here(work: str, name: str) -> float:
    """Run one contestant once in this process."""
    with WORKS[work].make() as jobs:
        return growth_mib(jobs[name])


def write(outcomes: Sequence[Outcome], machine: Machine, folder: Path) -> None:
    """Write the figures as JSON and as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.json").write_text(as_json(outcomes, machine), "utf-8")
    (folder / "benchmarks.md").write_text(as_markdown(outcomes, machine), "utf-8")
    print(f"written to {folder}")


def publish(folder: Path) -> None:
    """Put the figures into the documentation."""
    page = PAGE.read_text("utf-8")
    head, _, rest = page.partition(BEGIN)
    tail = rest.partition(END)[2]
    figures = (folder / "benchmarks.md").read_text("utf-8")
    PAGE.write_text(f"{head}{BEGIN}\n{figures}\n{END}{tail}", "utf-8")
    figures = (folder / "benchmarks.json").read_text("utf-8")
    PAGE.with_suffix(".json").write_text(figures, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
