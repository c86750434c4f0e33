"""The types of the fields of the generated models.

The arguments of a constructor are checked here. pydantic-core alone reads JSON, except for the
date-times that it refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Annotated, Any, TypeAlias, cast
from uuid import UUID

from pydantic import GetPydanticSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

# dateutil's time grows with the square of a number's length, so only so many characters are read.
_LONGEST_TIMESTAMP = 64

# Servers mean by "GMT+0100" one hour ahead. dateutil reads it as POSIX does, the other way round.
_PREFIXED_OFFSET = re.compile(r"(?:GMT|UTC)\s*(?=[+-]\d)")


def either(first: CoreSchema, second: CoreSchema, otherwise: str) -> CoreSchema:
    """Try one schema, then the other. If both fail, the only error says ``otherwise``."""
    return core_schema.union_schema(
        [first, second],
        mode="left_to_right",
        custom_error_type="unreadable",
        custom_error_message=otherwise,
    )


def _before(check: Callable[[Any], Any], regular: CoreSchema) -> CoreSchema:
    """Check the arguments of constructors, but leave JSON to pydantic-core."""
    checked = core_schema.no_info_before_validator_function(check, regular)
    return core_schema.json_or_python_schema(regular, checked)


def _identifier(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value


def _check_object(value: Any) -> Any:
    given: object = value
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        hint = ": is it JSON text? Then pass json.loads(…)" if isinstance(given, str) else ""
        about = {"kind": kind, "hint": hint}
        raise PydanticCustomError("dict_type", "Input should be a dict, not {kind}{hint}", about)
    for key in value:
        if not isinstance(key, str):
            hint = "; has a row of CSV more fields than its header?" if key is None else ""
            about = {"kind": type(key).__name__, "key": f"{key!r:.60}{hint}"}
            raise PydanticCustomError("string_type", "keys must be str, got {kind} {key}", about)
    return value


def _timestamp_schema(source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
    """Read a date-time in JSON with dateutil if pydantic refuses it."""
    regular = handler(source)
    odd = core_schema.no_info_after_validator_function(
        _read_timestamp, core_schema.str_schema(strict=True, max_length=_LONGEST_TIMESTAMP)
    )
    readings = either(regular, odd, "Input should be a complete date and time")
    return core_schema.json_or_python_schema(readings, regular)


def _read_timestamp(text: str) -> datetime:
    """Read a date-time that is not RFC 3339, unless it lacks a part of its date.

    dateutil takes missing parts from a default, so a text is complete only if two different
    defaults lead to the same result. Some texts make it raise undocumented errors, such as
    decimal.InvalidOperation.
    """
    # Only a server with odd timestamps makes this load.
    from dateutil import parser

    plain = _PREFIXED_OFFSET.sub("", text)
    try:
        first, second = (
            parser.parse(plain, default=datetime(year, month, day), tzinfos=_zone)
            for year, month, day in ((2000, 1, 1), (2004, 2, 2))
        )
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError):
        first, second = datetime.min, datetime.max
    if first != second:
        raise ValueError("an incomplete date")
    return first


def _zone(name: str | None, offset: int | None) -> tzinfo | None:
    """Return the zone of a timestamp, if it has one, but refuse an ambiguous name."""
    if offset is not None:
        return timezone(timedelta(seconds=offset))
    if name is not None:
        raise ValueError(f"unknown time zone {name!r}")
    return None


Identifier: TypeAlias = Annotated[
    str,
    GetPydanticSchema(
        lambda _, __: _before(_identifier, core_schema.str_schema(strict=True)),
        lambda _, __: {"type": "string", "minLength": 1},
    ),
]
"""An id. The contract says that it is not empty, which is not checked. Constructors also take a
uuid.UUID, and keep its text."""

JsonObject: TypeAlias = Annotated[
    dict[str, Any],
    GetPydanticSchema(lambda source, handler: _before(_check_object, handler(source))),
]
"""A dict with str keys: a JSON object whose properties the contract leaves to the agent."""

Timestamp: TypeAlias = Annotated[
    datetime,
    GetPydanticSchema(_timestamp_schema, lambda _, __: {"type": "string", "format": "date-time"}),
]
"""RFC 3339 by contract, and naive if it came without an offset. Other forms are tolerated."""

UP_TO_FIRST_FAULT = GetPydanticSchema(
    lambda source, handler: cast("CoreSchema", {**handler(source), "fail_fast": True})
)
"""A list, read until its first wrong item. pydantic's own FailFast cannot be hashed."""
