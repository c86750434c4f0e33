"""Parameters and type names, as openapi-generator's clients have them.

Parameters are a mapping of names to values, or pairs of both. A list among the values is written in
the collection format of its name (``csv``, ``ssv``, ``tsv``, ``pipes`` or ``multi``); without a
format it stays a list. Types have names such as ``"List[Run]"``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast
from urllib.parse import quote
from uuid import UUID

from acp_client_v0_1 import models
from acp_client_v0_1.exceptions import ApiValueError

Parameters = Mapping[str, Any] | Sequence[tuple[str, Any]]

_DELIMITERS = {"csv": ",", "ssv": " ", "tsv": "\t", "pipes": "|"}
_PLAIN_TYPES: dict[str, Any] = {
    **{kind.__name__: kind for kind in (UUID, bool, bytes, date, datetime, float, int, str)},
    "decimal": Decimal,
    "long": int,
    "object": Any,
}


def items_of(params: Parameters | None) -> Iterable[tuple[str, Any]]:
    if params is None:
        return ()
    return params.items() if isinstance(params, Mapping) else params


def to_pairs(params: Parameters | None, formats: Mapping[str, str] | None) -> list[tuple[str, Any]]:
    """Return parameters as pairs, with lists in their collection format."""
    return [
        (name, _lower(values[0]) if delimiter is None else delimiter.join(map(_as_text, values)))
        for name, values, delimiter in _grouped(params, formats)
    ]


def to_query(params: Parameters | None, formats: Mapping[str, str] | None) -> str:
    """Return parameters as a query string, percent-encoded, but for the delimiters of lists."""
    return "&".join(
        f"{quote(name)}={(delimiter or '').join(quote(_as_text(value)) for value in values)}"
        for name, values, delimiter in _grouped(params, formats)
    )


def _grouped(
    params: Parameters | None, formats: Mapping[str, str] | None
) -> Iterator[tuple[str, Sequence[Any], str | None]]:
    """Yield each name with its values, and with the delimiter between them if they are a list."""
    for name, value in items_of(params):
        form = (formats or {}).get(name)
        if form is None or not isinstance(value, (list, tuple)):
            yield name, (value,), None
        elif form == "multi":
            yield from ((name, (item,), None) for item in cast("Sequence[Any]", value))
        else:
            yield name, cast("Sequence[Any]", value), _DELIMITERS.get(form, ",")


def _as_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(_lower(value))


def _lower(value: Any) -> Any:
    """Return a bool as JSON writes it, any other value unchanged."""
    return str(value).lower() if isinstance(value, bool) else value


def resolve_type(name: str | type[Any]) -> Any:
    """Return the type that has this name, or raise `ApiValueError`. A type stands for itself."""
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
