"""Parameters and type names in the forms that openapi-generator's clients use.

Parameters are a mapping of names to values, or pairs of both. A list among the values is written in
the collection format of its name (``csv``, ``ssv``, ``tsv``, ``pipes`` or ``multi``); without a
format it stays a list. Types have names such as ``"List[Run]"``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast
from urllib.parse import quote
from uuid import UUID

from acp_client_v0_1 import models
from acp_client_v0_1.exceptions import ApiValueError

__all__ = ["Parameters", "items_of", "resolve_type", "to_pairs", "to_query"]

Parameters = Mapping[str, Any] | Sequence[tuple[str, Any]]

_DELIMITERS = {"csv": ",", "ssv": " ", "tsv": "\t", "pipes": "|"}
_PLAIN_TYPES: dict[str, Any] = {
    "UUID": UUID,
    "bool": bool,
    "bytes": bytes,
    "date": date,
    "datetime": datetime,
    "decimal": Decimal,
    "float": float,
    "int": int,
    "long": int,
    "object": Any,
    "str": str,
}


def items_of(params: Parameters | None) -> Iterable[tuple[str, Any]]:
    """Return parameters as pairs, with their values unchanged."""
    if params is None:
        return ()
    return params.items() if isinstance(params, Mapping) else params


def to_pairs(params: Parameters | None, formats: Mapping[str, str] | None) -> list[tuple[str, Any]]:
    """Return parameters as pairs, with lists in their collection format."""
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
    """Return parameters as a query string, percent-encoded."""
    quoted: list[str] = []
    for name, value in items_of(params):
        form = (formats or {}).get(name)
        items = _listed(value)
        if form is None or items is None:
            parts = [quote(_text(value))]
        else:
            parts = [quote(_text(item)) for item in items]
            if form != "multi":  # delimiters are not percent-encoded
                parts = [_DELIMITERS.get(form, ",").join(parts)]
        quoted.extend(f"{quote(name)}={part}" for part in parts)
    return "&".join(quoted)


def _listed(value: Any) -> list[Any] | None:
    """Return the items of a list or tuple, None for any other value."""
    if isinstance(value, (list, tuple)):
        return list(cast("Iterable[Any]", value))
    return None


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(_lower(value))


def _lower(value: Any) -> Any:
    """Return a bool as JSON writes it, any other value unchanged."""
    return str(value).lower() if isinstance(value, bool) else value


def resolve_type(name: str | type[Any]) -> Any:
    """Return the type that a name stands for; a type stands for itself.

    Raises:
        ApiValueError: No model and no plain type has this name.
    """
    if not isinstance(name, str):
        return name
    if container := re.fullmatch(r"Optional\[(.+)\]", name):
        return resolve_type(container[1]) | None
    if container := re.fullmatch(r"[Ll]ist\[(.+)\]", name):
        return list[resolve_type(container[1])]  # type: ignore[misc]
    if container := re.fullmatch(r"[Dd]ict\[str, (.+)\]", name):
        return dict[str, resolve_type(container[1])]  # type: ignore[misc]
    if name in _PLAIN_TYPES:
        return _PLAIN_TYPES[name]
    if name in models.__all__:
        return getattr(models, name)
    raise ApiValueError(f"response_type: no model has the name {name!r}")
