"""How work is measured: in turns, as CPU time, with the spread of each ratio.

Strategy: a `Work` names its contestants, each a job that does the same. A round runs every job
once, in turns. A ratio is that of two samples of one round, which the same moment of the machine
met; its median over the rounds is the figure, the quartiles its spread.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

__all__ = [
    "BY_HAND",
    "OURS",
    "STOCK",
    "Budget",
    "Contestants",
    "Job",
    "Samples",
    "Spread",
    "Verdict",
    "Work",
    "cpu_seconds",
    "elsewhere",
    "fastest",
    "figures_of",
    "of",
    "over",
    "returned",
    "run",
]

OURS = "this client"
BY_HAND = "by hand"
STOCK = "stock client"

Job = Callable[[], object]
Contestants = dict[str, Job]
Samples = Mapping[str, Sequence[float]]
"""For each contestant a value per round, in order."""


def cpu_seconds(job: Job) -> float:
    """Run a job; the CPU seconds that this process, all its threads, spent on it.

    The collector is off meanwhile, as in `timeit`.
    """
    gc.collect()
    gc.disable()
    start = time.process_time()
    try:
        job()
        return time.process_time() - start
    finally:
        gc.enable()


def returned(job: Job) -> float:
    """Run a job that measures itself, such as one in a process of its own."""
    value = job()
    if not isinstance(value, float):
        raise TypeError(f"a job that measures itself returns a float, not {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values, with their quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Take it of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit that a figure has to keep.

    Attributes:
        what: the figure in words.
        figure: from the samples, the figure of each round; none where a contestant is absent.
        limit: the most it may be, or the least.
        at_least: whether the limit is the least.
        unit: of figure and limit, "" for ratios.
    """

    what: str
    figure: Callable[[Samples], Sequence[float]]
    limit: float
    at_least: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a budget: the figure, None where a contestant is absent."""

    budget: Budget
    figure: Spread | None

    @property
    def holds(self) -> bool:
        """Whether the median keeps the limit; what was not measured breaks none."""
        if self.figure is None:
            return True
        if self.budget.at_least:
            return self.figure.median >= self.budget.limit
        return self.figure.median <= self.budget.limit


@dataclass(frozen=True, slots=True)
class Work:
    """Work that several contestants do.

    Attributes:
        name: for the command line.
        title: for the reader: what is done, and how much a round is.
        unit: what one sample is told as, such as "µs per call".
        scale: what a sample is multiplied by for that.
        rounds: how often each contestant runs.
        make: sets everything up and gives the jobs, a context manager.
        budgets: what has to hold.
        sample: runs a job and measures it.
    """

    name: str
    title: str
    unit: str
    scale: float
    rounds: int
    make: Callable[[], AbstractContextManager[Contestants]]
    budgets: tuple[Budget, ...] = ()
    sample: Callable[[Job], float] = cpu_seconds

    def judge(self, samples: Samples) -> list[Verdict]:
        """Hold the samples against the budgets."""
        figures = [(budget, budget.figure(samples)) for budget in self.budgets]
        return [Verdict(budget, Spread.of(each) if each else None) for budget, each in figures]


def run(work: Work, rounds: int) -> Samples:
    """Measure all contestants in turns, after a round that does not count if there are several."""
    with work.make() as jobs:
        for job in jobs.values() if rounds > 1 else ():
            work.sample(job)
        samples: dict[str, list[float]] = {name: [] for name in jobs}
        for _ in range(rounds):
            for name, job in jobs.items():
                samples[name].append(work.sample(job))
    return samples


def elsewhere(module: str, *arguments: str) -> Any:
    """What a module prints as JSON in a fresh process."""
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    return json.loads(subprocess.check_output(command))


def figures_of(measure: Callable[[], dict[str, float]], names: Sequence[str]) -> Contestants:
    """Jobs of which the first measures, and each gives one of the figures."""
    known: dict[str, float] = {}

    def figure(name: str) -> float:
        if name == names[0]:
            known.update(measure())
        return known[name]

    return {name: partial(figure, name) for name in names}


def of(name: str) -> Callable[[Samples], list[float]]:
    """The samples of one contestant."""
    return lambda samples: list(samples[name])


def over(one: str, other: str) -> Callable[[Samples], list[float]]:
    """The ratio of two contestants' samples, round by round."""
    return lambda samples: [
        a / b for a, b in zip(samples.get(one, ()), samples.get(other, ()), strict=False)
    ]


def fastest(others: Sequence[str]) -> Callable[[Samples], list[float]]:
    """The ratio of the fastest of some contestants to this client, round by round."""

    def figure(samples: Samples) -> list[float]:
        present = [name for name in others if name in samples]
        if not present:
            return []
        best = min(present, key=lambda name: statistics.median(samples[name]))
        return over(best, OURS)(samples)

    return figure
