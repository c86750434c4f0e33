"""The check of a free JSON object: JSON (RFC 8259), and a few values with one obvious text.

pydantic-core writes almost anything: bytes as text, a set as a list, a Decimal as text, the key 1
as "1". The agent would then read something else than its caller passed, so this is refused.

Strategy: a flat loop over the containers, which is fast, looks for anything but plain JSON. If
there is any, a second walk decides whether it may pass, and finds its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel

_SCALARS = frozenset({str, int, float, bool, type(None)})
# Values with one obvious text (RFC 3339, RFC 9562). An enum stands for its value.
_WRITTEN = (str, int, float, type(None), date, time, UUID, Enum)
_ADVICE: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((bytes, bytearray, memoryview), "decode it to a str"),
    ((set, frozenset), "pass a list"),
    (Decimal, "pass a float or a str"),
)
_OTHERS = "pass a dict, a list, a str or a number"


def not_json(value: object, numbers: bool = False) -> str | None:
    """Describe the first thing that JSON cannot hold, if there is any, and its place.

    The text continues the value's name. In a model, the mappings in its fields are searched.
    ``numbers`` also finds floats that are not finite.
    """
    if not numbers and all(_is_plain(part) for _, part in _parts(value)):
        return None
    return _fault(value, "")


def _parts(value: object) -> Iterable[tuple[str, object]]:
    """Return the free objects of a model's fields, or the mapping itself, with their places."""
    if not isinstance(value, BaseModel):
        return (("", value),)
    fields = {**value.__dict__, **(value.__pydantic_extra__ or {})}
    return ((f".{name}", part) for name, part in fields.items() if type(part) not in _SCALARS)


def _is_plain(value: Any) -> bool:
    if isinstance(value, Enum):
        return True
    containers: list[Any] = [value]
    for container in containers:  # which grows meanwhile
        kind: object = type(container)  # pyright: ignore[reportUnknownVariableType]
        if kind is dict:
            for key, item in container.items():
                if type(key) is not str:
                    return False
                if type(item) not in _SCALARS:
                    containers.append(item)
        elif kind is list:
            containers += [item for item in container if type(item) not in _SCALARS]
        else:
            return False
    return True


def _fault(value: object, place: str) -> str | None:
    """Describe the first fault in a value and its members, if there is one."""
    inside: Iterable[tuple[str, object]] = ()
    if isinstance(value, BaseModel):
        inside = _parts(value)
    elif isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value)
        for key in members:
            if not isinstance(key, str):
                return f"{place}: keys must be str, got {type(key).__name__} {key!r:.60}"
        inside = ((f"[{key!r}]", item) for key, item in members.items())
    elif isinstance(value, (list, tuple)):
        items = enumerate(cast("list[object]", value))
        inside = ((f"[{index}]", item) for index, item in items)
    elif isinstance(value, float) and not isfinite(value):
        return f"{place}: {value} is not a JSON number"
    elif not isinstance(value, _WRITTEN):
        advice = next((words for kind, words in _ADVICE if isinstance(value, kind)), _OTHERS)
        return f"{place}: {type(value).__name__} is not JSON; {advice}"
    return next((fault for step, item in inside if (fault := _fault(item, place + step))), None)
