"""Checks of values that users of the local server give: their types, and what JSON can carry.

pydantic writes NaN and the infinities as bare words, which are not JSON (RFC 8259, 6), and reads a
number that is too large for a float as infinity, which it would then write.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

from pydantic_core import from_json, to_json

__all__ = ["check_type", "json_object", "number_fault"]


def check_type(what: str, value: object, *kinds: type | None) -> None:
    """Raise a TypeError for a value of none of the types; True and False are no numbers here."""
    types = tuple(type(None) if kind is None else kind for kind in kinds)
    if isinstance(value, bool) or not isinstance(value, types):
        wanted = " or ".join("None" if kind is None else kind.__name__ for kind in kinds)
        raise TypeError(f"{what} must be of type {wanted}, not {type(value).__name__}")


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
    fault = number_fault(copy)
    if fault is not None:
        raise TypeError(f"{what} is not a JSON object: {fault}")
    return copy


def number_fault(value: object) -> str | None:
    """Tell which number of a value JSON cannot carry: "total.mean is nan"."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {value}"
    parts: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        parts = cast("dict[object, object]", value).items()
    elif isinstance(value, list):
        parts = enumerate(cast("list[object]", value))
    for place, part in parts:
        fault = number_fault(part)
        if fault is not None:
            return f"{place} {fault}" if fault.startswith("is ") else f"{place}.{fault}"
    return None
