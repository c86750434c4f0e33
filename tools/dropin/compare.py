"""Compares the facts about the stock client, openapi-generator's own, with those about this one.

The reviewed list in `differences.yaml` has patterns of names (`models.*.oneof_*`), each perhaps
with one fact (`rest.A: derives from IOBase`), and expressions that give different results. Each
entry must match a difference. Otherwise the list is out of date.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

Surface = Mapping[str, Iterable[str]]
# A name, and the fact that does not fit. The fact is "missing" if the whole name is.
Difference = tuple[str, str]

# A fact about a parameter has the parameter's name like this.
_NAMED = re.compile("`(.+?)`")


def differences(stock: Surface, ours: Surface) -> Iterator[Difference]:
    """Yield how this client differs on each name of the stock client."""
    for name, facts in stock.items():
        faults = _faults(set(facts), set(ours[name])) if name in ours else {"missing"}
        yield from ((name, fault) for fault in sorted(faults))


def _faults(theirs: set[str], ours: set[str]) -> set[str]:
    lost = {fact for fact in theirs - ours if not fact.startswith("requires ")}
    if "takes any variadic keyword argument" in ours:
        named = set(_NAMED.findall(" ".join(ours)))
        lost = {fact for fact in lost if named.issuperset(_NAMED.findall(fact))}
    return lost | {fact for fact in ours - theirs if fact.startswith("requires ")}


def judge(found: Sequence[Difference], reviewed: Sequence[str]) -> list[str]:
    """Return the differences that are not in the reviewed list, and the entries without one."""
    unlisted = [one for one in found if not any(_matches(one, entry) for entry in reviewed)]
    unneeded = [entry for entry in reviewed if not any(_matches(one, entry) for one in found)]
    return [": ".join(one) for one in unlisted] + [
        f"the reviewed list has {entry}, which is no difference" for entry in unneeded
    ]


def _matches(difference: Difference, entry: str) -> bool:
    texts = difference[0], ": ".join(difference)
    return entry in texts or any(fnmatchcase(text, entry) for text in texts)
