"""Filters and pages of the three searches, each of which matches a record against a wanted body.

Results come oldest first: what is created meanwhile is appended, so that a caller who pages with
`offset` meets no record twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

__all__ = ["fits", "has_metadata", "json_equal", "page"]

T = TypeVar("T")


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


def fits(wanted: Mapping[str, Any], **record: Any) -> bool:
    """Tell whether a record has what the body of a search asks for.

    Args:
        wanted: The body; what it does not name, or has as null, does not count.
        **record: What the record has, by the names of the body.
    """
    return all(
        has_metadata(value, wanted.get(name) or {})
        if name == "metadata"
        else wanted.get(name) in (None, value)
        for name, value in record.items()
    )


def page(items: list[T], limit: int | None, offset: int | None) -> list[T]:
    """Return one page of a search.

    Args:
        items: All that was found.
        limit: How many items to give at most, None for all.
        offset: How many to leave out before them, None for none.
    """
    rest = items[offset or 0 :]
    return rest if limit is None else rest[:limit]
