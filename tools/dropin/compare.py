"""Compares the public names of openapi-generator's own client (the stock client) with those here.

A difference has the name that it concerns, so that the reviewed list in `differences.yaml` can
list names. An entry of the list may be a pattern (`models.*.oneof_*`), and may allow only one
difference (`rest.A: is no IOBase`). Each entry must match a difference; otherwise the list is out
of date. A name that behaves differently is listed as an expression, whose results on the two
clients must differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

Surface = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Difference:
    """One name on which the two clients differ.

    Attributes:
        name: Its path inside the package.
        what: What differs for a caller of the stock client.
    """

    name: str
    what: str

    def matches(self, pattern: str) -> bool:
        """Whether an entry of the reviewed list allows this difference."""
        if ": " in pattern:
            return fnmatchcase(f"{self.name}: {self.what}", pattern)
        return fnmatchcase(self.name, pattern)


def differences(stock: Surface, ours: Surface) -> list[Difference]:
    """Compare each name of the stock client."""
    return [
        Difference(name, what)
        for name, entry in stock.items()
        for what in (_faults(entry, ours[name]) if name in ours else ["missing"])
    ]


def _faults(stock: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    if "parameters" in stock:
        if "parameters" in ours:
            yield from _parameter_faults(stock["parameters"], ours["parameters"])
        else:
            yield "cannot be called"
    for base in stock.get("bases", ()):
        if base not in ours.get("bases", ()):
            yield f"is no {base.rpartition('.')[2]}"
    for key in ("wire", "schema", "default", "value"):
        # A field that is required there may have a default here.
        if stock.get(key) is not None and key in ours and stock[key] != ours[key]:
            yield f"{key} is {ours[key]}, not {stock[key]}"


def _parameter_faults(stock: list[dict[str, Any]], ours: list[dict[str, Any]]) -> Iterator[str]:
    """Yield why a call that fits the stock signature would fail or mean something else here."""
    by_name = {parameter["name"]: parameter for parameter in ours}
    kinds = {parameter["kind"] for parameter in ours}
    for place, parameter in enumerate(stock):
        name, kind, default = parameter["name"], parameter["kind"], parameter["default"]
        if kind in ("VAR_POSITIONAL", "VAR_KEYWORD"):
            if kind not in kinds:
                yield f"does not take {name} ({kind})"
        elif name not in by_name:
            if "VAR_KEYWORD" not in kinds:
                yield f"does not take {name}"
        elif default is not None and by_name[name]["default"] != default:
            yield f"{name} defaults to {by_name[name]['default']}, not {default}"
        elif kind == "POSITIONAL_OR_KEYWORD" and ours[place : place + 1] != [by_name[name]]:
            yield f"{name} is not parameter {place}"
        elif by_name[name]["kind"] not in (kind, "POSITIONAL_OR_KEYWORD"):
            yield f"{name} is {by_name[name]['kind']}"
    known = {parameter["name"] for parameter in stock}
    for parameter in ours:
        needed = parameter["default"] is None and "VAR" not in parameter["kind"]
        if needed and parameter["name"] not in known:
            yield f"requires {parameter['name']} as well"


def reviewed(path: Path) -> dict[str, str]:
    """Read the reviewed list: pattern to reason."""
    return _entries(path, "names")


def reviewed_behaviour(path: Path) -> dict[str, str]:
    """Read the reviewed list: expression with different results to reason."""
    return _entries(path, "expressions")


def _entries(path: Path, key: str) -> dict[str, str]:
    groups = yaml.safe_load(path.read_text("utf-8"))
    return {entry: group["reason"] for group in groups for entry in group.get(key, ())}


def judge(found: list[Difference], entries: dict[str, str]) -> list[str]:
    """Return the differences that are not in the reviewed list, and the entries without one."""
    unlisted = [d for d in found if not any(d.matches(pattern) for pattern in entries)]
    unneeded = [pattern for pattern in entries if not any(d.matches(pattern) for d in found)]
    return [f"{d.name}: {d.what}" for d in unlisted] + [
        f"the reviewed list has {pattern}, which is no longer a difference" for pattern in unneeded
    ]


def judge_behaviour(expressions: Iterable[str], stock: list[str], ours: list[str]) -> list[str]:
    """Return the expressions of the reviewed list with the same result on both clients."""
    return [
        f"the reviewed list has {expression}, which is {there} on both clients"
        for expression, there, here in zip(expressions, stock, ours, strict=True)
        if there == here
    ]
