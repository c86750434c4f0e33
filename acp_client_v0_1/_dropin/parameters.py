"""Parameters as openapi-generator's clients take them, written as pairs or as a query.

Parameters are a mapping of names to values, or pairs of them. A value that is a list is written as
its name's collection format says; without one it stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote

__all__ = ["Parameters", "items_of", "to_pairs", "to_query"]

Parameters = Mapping[str, Any] | Sequence[tuple[str, Any]]

_DELIMITERS = {"csv": ",", "ssv": " ", "tsv": "\t", "pipes": "|"}


def items_of(params: Parameters | None) -> Iterable[tuple[str, Any]]:
    """Return parameters as pairs, their values as they are."""
    if params is None:
        return ()
    return params.items() if isinstance(params, Mapping) else params


def to_pairs(params: Parameters | None, formats: Mapping[str, str] | None) -> list[tuple[str, Any]]:
    """Return parameters as pairs of a form."""
    pairs: list[tuple[str, Any]] = []
    for name, value in items_of(params):
        form = (formats or {}).get(name)
        items = _listed(value)
        if form is None or items is None:
            pairs.append((name, _lower(value)))
        elif form == "multi":
            pairs.extend((name, _lower(item)) for item in items)
        else:
            pairs.append((name, _DELIMITERS.get(form, ",").join(map(_text, items))))
    return pairs


def to_query(params: Parameters | None, formats: Mapping[str, str] | None) -> str:
    """Return parameters as a query, percent-encoded."""
    quoted: list[str] = []
    for name, value in items_of(params):
        form = (formats or {}).get(name)
        items = _listed(value)
        if form is None or items is None:
            parts = [quote(_text(value))]
        else:
            parts = [quote(_text(item)) for item in items]
            if form != "multi":
                parts = [_DELIMITERS.get(form, ",").join(parts)]
        quoted.extend(f"{quote(name)}={part}" for part in parts)
    return "&".join(quoted)


def _listed(value: Any) -> list[Any] | None:
    """Return the items of a list or tuple, None for what is neither."""
    if isinstance(value, (list, tuple)):
        return list(cast("Iterable[Any]", value))
    return None


def _text(value: Any) -> str:
    """Return a value as a URL or a form has it."""
    return json.dumps(value) if isinstance(value, dict) else str(_lower(value))


def _lower(value: Any) -> Any:
    """Return a bool as JSON has it, and anything else as it is."""
    return str(value).lower() if isinstance(value, bool) else value
