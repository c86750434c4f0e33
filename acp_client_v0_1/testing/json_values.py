"""What JSON can say: Python's values go out, and numbers come in, only as JSON has them.

pydantic writes NaN and the infinities as bare words, which are no JSON (RFC 8259, 6), and reads a
number that is too large for a float as infinity, which it would then write.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

from pydantic_core import from_json, to_json

__all__ = ["json_object", "number_fault"]


def json_object(value: object, what: str) -> dict[str, Any]:
    """Return a JSON object as the wire would carry it, independent of the original.

    Args:
        value: A dict of whatever pydantic can write as JSON, or None for an empty object.
        what: What the value is, for the error.

    Returns:
        A deep copy that holds nothing but JSON types.

    Raises:
        TypeError: The value is no dict, or holds something that JSON cannot say, such as NaN.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"{what} must be a dict, not {type(value).__name__}")
    try:
        copy: dict[str, Any] = from_json(to_json(value))
    except ValueError as error:
        raise TypeError(f"{what} is no JSON object: {error}") from error
    fault = number_fault(copy)
    if fault is not None:
        raise TypeError(f"{what} is no JSON object: {fault}")
    return copy


def number_fault(value: object) -> str | None:
    """Tell which number of a value JSON has no word for: "total.mean is nan", None for none.

    Args:
        value: A value of JSON types.
    """
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
