"""What is told of the figures: on the terminal, as JSON and as Markdown."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .measure import OURS, Samples, Spread, Verdict, Work, over

__all__ = ["Machine", "Outcome", "as_json", "as_markdown", "as_text"]

# Where the heading of a work ends: what it is compared with stands below it.
BUDGETS = ("figure", "median (quartiles)", "budget", "")
_HEADING_ENDS = r"; |, (?=beside |against |and |with )"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one work.

    Attributes:
        work: what was done.
        samples: what each contestant took, round by round.
        peaks: by how many MiB each contestant let the peak of a fresh process grow.
    """

    work: Work
    samples: Samples
    peaks: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def verdicts(self) -> list[Verdict]:
        """The outcome of the work's budgets."""
        return self.work.judge(self.samples)

    def told(self, name: str) -> Spread:
        """What a contestant took, in the work's unit."""
        return Spread.of([value * self.work.scale for value in self.samples[name]])

    def ratio(self, name: str) -> Spread | None:
        """What a contestant took over what this client took."""
        ratios = over(name, OURS)(self.samples)
        return Spread.of(ratios) if ratios and name != OURS else None


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and with what it was measured."""

    python: str
    system: str
    processor: str
    cores: int
    versions: Mapping[str, str]
    absent: Mapping[str, str]
    seconds: float

    @classmethod
    def here(
        cls, versions: Mapping[str, str], absent: Mapping[str, str], seconds: float
    ) -> Machine:
        """Describe this machine."""
        python = f"{platform.python_implementation()} {platform.python_version()}"
        system = f"{platform.system()} {platform.machine()}"
        return cls(
            python, system, _processor(), os.cpu_count() or 0, versions, dict(absent), seconds
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def number(value: float) -> str:
    """Three digits that count."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def spread(figure: Spread) -> str:
    """A median with its quartiles."""
    if figure.low == figure.high:
        return number(figure.median)
    return f"{number(figure.median)} ({number(figure.low)}-{number(figure.high)})"


def limit(verdict: Verdict) -> str:
    """A budget's limit in a few characters."""
    budget = verdict.budget
    sign = ">=" if budget.at_least else "<="
    return f"{sign} {number(budget.limit)} {budget.unit}".rstrip()


def verdict_of(verdict: Verdict) -> str:
    """How a budget ended."""
    if verdict.figure is None:
        return "not measured"
    return "kept" if verdict.holds else "MISSED"


def rows(outcome: Outcome) -> Iterator[list[str]]:
    """The table of one work: contestant, cost, ratio to this client, peak."""
    for name in outcome.samples:
        ratio = outcome.ratio(name)
        peak = outcome.peaks.get(name)
        yield [
            name,
            spread(outcome.told(name)),
            "" if ratio is None else spread(ratio),
            "" if peak is None else f"{peak:.1f}",
        ]


def budget_rows(outcomes: Sequence[Outcome]) -> Iterator[list[str]]:
    """The table of budgets: figure, measured, limit, verdict."""
    for outcome in outcomes:
        for verdict in outcome.verdicts:
            figure = "" if verdict.figure is None else spread(verdict.figure)
            unit = verdict.budget.unit
            measured = f"{figure} {unit}".strip()
            yield [verdict.budget.what, measured, limit(verdict), verdict_of(verdict)]


def as_text(outcome: Outcome) -> str:
    """One work: its title, its figures and its budgets."""
    parts = [outcome.work.title, _figures(outcome)]
    if outcome.work.budgets:
        parts.append(_table(BUDGETS, list(budget_rows([outcome]))))
    return "\n\n".join(parts) + "\n"


def _figures(outcome: Outcome) -> str:
    head = ["", outcome.work.unit, "times this client", "peak, MiB"]
    return _table(head, list(rows(outcome)))


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, whose columns are aligned on a terminal as well."""
    widths = [max(4, *map(len, column)) for column in zip(head, *body, strict=True)]
    marks = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (head, marks, *body)
    ]
    return "\n".join(f"| {line} |" for line in lines)


def as_markdown(outcomes: Sequence[Outcome], machine: Machine) -> str:
    """All tables, without the page around them."""
    parts = ["## Budgets", _table(BUDGETS, list(budget_rows(outcomes))), "## Figures"]
    for outcome in outcomes:
        heading, *more = re.split(_HEADING_ENDS, outcome.work.title, maxsplit=1)
        parts += [f"### {heading}", *(f"{words[0].upper()}{words[1:]}." for words in more)]
        parts.append(_figures(outcome))
    installed = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    absent = "; ".join(f"{name} ({reason})" for name, reason in machine.absent.items())
    parts += [
        "## Machine",
        f"{machine.python} on {machine.system}, {machine.cores} cores, {machine.processor}. "
        f"{installed}. The run took {machine.seconds:.0f} s."
        + (f" Absent: {absent}." if absent else ""),
    ]
    return "\n\n".join(parts) + "\n"


def as_json(outcomes: Sequence[Outcome], machine: Machine) -> str:
    """Everything, with the samples of each round."""
    works: list[dict[str, Any]] = [
        {
            "name": outcome.work.name,
            "title": outcome.work.title,
            "unit": outcome.work.unit,
            "samples": {
                name: [round(value * outcome.work.scale, 4) for value in values]
                for name, values in outcome.samples.items()
            },
            "peak_mib": {name: round(value, 2) for name, value in outcome.peaks.items()},
            "budgets": [
                {"what": row[0], "limit": row[2], "kept": verdict.figure and verdict.holds}
                for row, verdict in zip(budget_rows([outcome]), outcome.verdicts, strict=True)
            ],
        }
        for outcome in outcomes
    ]
    return json.dumps({"machine": asdict(machine), "works": works}, indent=1) + "\n"
