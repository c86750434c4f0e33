"""Checks of the values that users of the local server pass: their types, and that JSON has them.

pydantic writes NaN and the infinities as bare words, which are not JSON (RFC 8259, 6). It reads a
number that is too large for a float as infinity, and would then write that.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from pydantic_core import from_json, to_json


def check_type(what: str, value: object, *kinds: type) -> None:
    """Raise a TypeError unless a value has one of the types. True is not an int here."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = ["None" if kind is type(None) else kind.__name__ for kind in kinds]
        raise TypeError(f"{what} must be of type {' or '.join(names)}, not {type(value).__name__}")


_hints: dict[type, dict[str, Any]] = {}  # of each dataclass, read once


def check_fields(record: object) -> None:
    """Check the fields of a dataclass by their annotations: types, and the choices of a Literal."""
    kind = type(record)
    if kind not in _hints:
        _hints[kind] = get_type_hints(kind)
    for name, hint in _hints[kind].items():
        value = getattr(record, name)
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        choices = [text for each in kinds if get_origin(each) is Literal for text in get_args(each)]
        if choices:
            if value not in choices and (value is not None or type(None) not in kinds):
                raise ValueError(f"{name}: must be one of {', '.join(choices)}, not {value!r}")
        elif hint is not object:
            numbers = (int,) if float in kinds else ()  # an int is a float, too (PEP 484)
            check_type(f"{name}:", value, *numbers, *(get_origin(each) or each for each in kinds))


def json_object(value: object, what: str) -> dict[str, Any]:
    """Return a JSON object as the wire would carry it, independent of the original."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"{what} must be a dict, not {type(value).__name__}")
    try:
        copy: dict[str, Any] = from_json(to_json(value))
    except ValueError as error:
        raise TypeError(f"{what} is not a JSON object: {error}") from error
    if fault := number_fault(copy):
        raise TypeError(f"{what} is not a JSON object: {fault}")
    return copy


def number_fault(value: object) -> str | None:
    """Name the number of a value that JSON cannot carry, as in "total.mean is nan"."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {value}"
    parts: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        parts = cast("dict[object, object]", value).items()
    elif isinstance(value, list):
        parts = enumerate(cast("list[object]", value))
    for key, part in parts:
        if fault := number_fault(part):
            return f"{key} {fault}" if fault.startswith("is ") else f"{key}.{fault}"
    return None


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return a host's IP address, or None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    address = address_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)
