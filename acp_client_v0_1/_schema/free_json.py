"""The check of a free JSON object: JSON (RFC 8259), and a few values with one obvious text.

pydantic-core writes almost anything: bytes as text, a set as a list, a Decimal as text, the key 1
as "1". The agent would then read something else than its caller passed, so this is refused. So is
what is nested deeper than the echo of the server can be read.

Strategy: a flat loop over the containers, which is fast, looks for anything but plain JSON. If
there is any, a second walk decides whether it may pass, and finds its place.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel, RootModel
from pydantic_core import from_json

# These values have one obvious text (RFC 3339, RFC 9562). An enum stands for its value.
_WRITTEN = (str, int, float, type(None), date, time, UUID)
_ADVICE: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((bytes, bytearray, memoryview), "decode it to a str"),
    ((set, frozenset), "pass a list"),
    (Decimal, "pass a float or a str"),
)
_OTHERS = "pass a dict, a list, a str or a number"
# pydantic-core reads JSON of 200 levels, in each version since 2.12. A server echoes a value inside
# three more: the list of a search, the run, and its creation.
_DEEPEST = 197
_LONE = re.compile("[\ud800-\udfff]")


class JsonCopy(dict[str, Any]):
    """A JSON object as it is read from its text, and the text. Nobody changes either of them."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        # The brackets stand for the three levels of a server's echo. Reading raises a ValueError if
        # the text is nested too deep, or has an integer of too many digits.
        dict[str, Any].__init__(self, from_json(b"[[[%b]]]" % text)[0][0][0])
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return JsonCopy, (self.text,)


# The value of a type listed here is plain JSON, without a look inside.
_PLAIN = frozenset({str, int, float, bool, type(None), JsonCopy})


def parts_of(value: object) -> tuple[dict[str, bytes], dict[str, object]]:
    """Return the texts of the `JsonCopy`s in a model's fields, and the other parts by their places.

    A mapping is such a part itself. A text or a number is no part.
    """
    if not isinstance(value, BaseModel):
        return {}, {"": value}
    texts: dict[str, bytes] = {}
    others: dict[str, object] = {}
    for name, part in {**vars(value), **(value.__pydantic_extra__ or {})}.items():
        if type(part) is JsonCopy:
            texts[name] = part.text
        elif type(part) not in _PLAIN:
            others[f".{name}"] = part
    return texts, others


def unset_nulls(value: Any) -> Any:
    """Return pydantic's ``exclude`` for the fields that are None and that nobody has set.

    Of a model, a field that was set to None is not among them. A dataclass does not show what was
    set, so each field that is None by default is.
    """
    members: Mapping[Any, Any] = {}
    nulls: dict[Any, Any] = {}
    if isinstance(value, BaseModel):
        if isinstance(value, RootModel):
            # Its root stands in its place.
            return unset_nulls(cast("Any", value).root)
        members, given = vars(value), value.model_fields_set
        nulls = {name: True for name in members if members[name] is None and name not in given}
        members = {**members, **value.model_extra} if value.model_extra else members
    elif is_dataclass(value) and not isinstance(value, type):
        members = {field.name: getattr(value, field.name) for field in fields(value)}
        unset = (field.name for field in fields(value) if field.default is None)
        nulls = {name: True for name in unset if members[name] is None}
    elif isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
    elif isinstance(value, (list, tuple)):
        members = dict(enumerate(cast("list[Any]", value)))
    for name, part in members.items():
        if type(part) not in _PLAIN and (inner := unset_nulls(part)):
            nulls[name] = inner
    return nulls or None


def not_json(value: object, levels: int = _DEEPEST) -> str | None:
    """Describe the first thing that JSON cannot hold, if there is any, and its place.

    The text continues the value's name. In a model, the mappings in its fields are searched. A
    value of more than so many ``levels`` cannot be read back.
    """
    return _fault(value, "", levels + isinstance(value, BaseModel))


def is_plain(value: Any) -> bool:
    """Tell whether a value holds only plain JSON.

    This does not look for floats that are not finite, nor for lone surrogates.
    """
    if type(value) in _PLAIN or isinstance(value, Enum):
        return True
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        containers, level = level, []
        for container in containers:
            kind: object = type(container)  # pyright: ignore[reportUnknownVariableType]
            if kind is dict:
                for key, item in container.items():
                    if type(key) is not str:
                        return False
                    if type(item) not in _PLAIN:
                        level.append(item)
            elif kind is list:
                level += [item for item in container if type(item) not in _PLAIN]
            else:
                return False
        if not level:
            return True
    return False


def _fault(value: object, place: str, levels: int) -> str | None:
    """Describe the first fault in a value of so many levels at most, if there is one."""
    value = value.value if isinstance(value, Enum) else value
    inside: Iterable[tuple[str, object]]
    if isinstance(value, BaseModel):
        inside = parts_of(value)[1].items()
    elif isinstance(value, dict) or (not place and isinstance(value, Mapping)):
        # A body may be any mapping. Inside of it, pydantic-core writes nothing but a dict.
        members = cast("Mapping[object, object]", value)
        if fault := _fault_of_keys(members, place):
            return fault
        inside = ((f"[{key!r}]", item) for key, item in members.items())
    elif isinstance(value, (list, tuple)):
        items = enumerate(cast("list[object]", value))
        inside = ((f"[{index}]", item) for index, item in items)
    else:
        return _fault_of_scalar(value, place)
    if not levels:
        return f"{place.partition('[')[0]} is nested deeper than {_DEEPEST} levels, or holds itself"
    faults = (_fault(item, place + step, levels - 1) for step, item in inside)
    return next((fault for fault in faults if fault), None)


def _fault_of_keys(keys: Iterable[object], place: str) -> str | None:
    for key in keys:
        if not isinstance(key, str):
            return f"{place}: keys must be str, got {type(key).__name__} {key!r:.60}"
        if _LONE.search(key):
            return f"{place}: the key {key!r:.60} is not valid Unicode"
    return None


def _fault_of_scalar(value: object, place: str) -> str | None:
    if isinstance(value, float) and not isfinite(value):
        return f"{place}: {value} is not a JSON number{'; pass None' * (value != value)}"
    if isinstance(value, str) and _LONE.search(value):
        return f"{place}: {value!r:.60} is not valid Unicode"
    # pandas.NaT is a datetime that does not equal itself.
    if isinstance(value, _WRITTEN) and value == value:
        return None
    advice = next((words for kind, words in _ADVICE if isinstance(value, kind)), _OTHERS)
    if isinstance(value, _WRITTEN):
        advice = "pass None"
    if hasattr(value, "item"):
        advice = "pass its .item(), or .tolist() of an array"
    # A type of another package is named with it: numpy.bool is no bool.
    package = f"{type(value).__module__.partition('.')[0]}."
    named = "" if package[:-1] in sys.stdlib_module_names else package
    return f"{place}: {named}{type(value).__name__} is not JSON; {advice}"
