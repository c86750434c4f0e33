"""Filters and pages of the three searches.

Results come oldest first: what is created meanwhile is appended, so that a caller who pages with
`offset` meets no record twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

__all__ = ["has_metadata", "json_equal", "page"]

T = TypeVar("T")


def json_equal(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same; unlike Python's, 1 and true differ."""
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
    """Tell whether every wanted key is in the record's metadata with an equal value."""
    present = record or {}
    return all(key in present and json_equal(present[key], wanted[key]) for key in wanted)


def page(items: list[T], limit: int | None, offset: int | None) -> list[T]:
    """Return at most `limit` items (None: all), after the first `offset` of them (None: 0)."""
    rest = items[offset or 0 :]
    return rest if limit is None else rest[:limit]
