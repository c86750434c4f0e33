"""What the benchmarks share: CPU time, best of several, and a table of ratios with their budgets.

Strategy: only ratios count, and both sides of a ratio are measured in the same run, in turns, so
that a slow moment of the machine meets both. The collector is off while the clock runs, as in
`timeit`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["Table", "best_cpu_seconds"]

Job = Callable[[], object]


def best_cpu_seconds(jobs: Mapping[str, Job], rounds: int = 5) -> dict[str, float]:
    """Measure jobs in turns.

    Args:
        jobs: what to run, by name.
        rounds: how often each one runs.

    Returns:
        For each name the CPU seconds of this process in its best round.
    """
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(rounds):
        for name, job in jobs.items():
            gc.collect()
            gc.disable()
            start = time.process_time()
            try:
                job()
            finally:
                used = time.process_time() - start
                gc.enable()
            best[name] = min(best[name], used)
    return best


@dataclass
class Table:
    """Collects figures and says which budgets hold."""

    title: str
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    missed: int = 0

    def figure(self, what: str, value: str) -> None:
        """Add a figure without a budget."""
        self.rows.append((what, value, "", ""))

    def at_least(self, what: str, ratio: float, budget: float) -> None:
        """Add a ratio that must not be smaller than its budget."""
        self._judge(what, ratio, f">= {budget:g}", ratio >= budget)

    def at_most(self, what: str, ratio: float, budget: float) -> None:
        """Add a ratio that must not be larger than its budget."""
        self._judge(what, ratio, f"<= {budget:g}", ratio <= budget)

    def _judge(self, what: str, ratio: float, budget: str, holds: bool) -> None:
        self.missed += not holds
        self.rows.append((what, f"{ratio:.2f}", budget, "pass" if holds else "MISS"))

    def show(self) -> None:
        """Print the table."""
        print(self.title)
        width = max(len(row[0]) for row in self.rows)
        for what, value, budget, verdict in self.rows:
            print(f"  {what:<{width}}  {value:>12}  {budget:>8}  {verdict}".rstrip())
        print()
