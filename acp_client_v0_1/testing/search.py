"""Compares JSON values, and metadata with what a search wants of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

__all__ = ["has_metadata", "json_equal"]


def json_equal(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same; unlike Python's, 1 and true differ.

    Args:
        one: A value as JSON has it.
        other: Another one.
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        left, right = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return left.keys() == right.keys() and all(json_equal(left[k], right[k]) for k in left)
    if isinstance(one, list) and isinstance(other, list):
        items, others = cast("list[object]", one), cast("list[object]", other)
        return len(items) == len(others) and all(map(json_equal, items, others))
    return bool(one == other)


def has_metadata(record: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    """Tell whether every wanted key is in the record's metadata with an equal value.

    Args:
        record: The record's metadata, None if it has none.
        wanted: What it must hold; nested values are compared as a whole.
    """
    present = record or {}
    return all(key in present and json_equal(present[key], wanted[key]) for key in wanted)
