"""Checks of the values that users of the local server pass: their types, and that JSON has them.

The annotations decide: `check_fields` checks a dataclass, and `check_given` the arguments of a
function, so that the error comes from the line that gives the value, and names it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from pydantic_core import from_json, to_json

from acp_client_v0_1._operation import Operation
from acp_client_v0_1._schema.free_json import not_json
from acp_client_v0_1.api import agents_api, runs_api, threads_api

# Each operation of the contract by its name: its method, and its path with "*" for an id.
OPERATIONS: dict[str, tuple[str, str]] = {
    name.strip("_").lower(): (operation.method, re.sub(r"\{\w+\}", "*", operation.path))
    for module in (runs_api, agents_api, threads_api)
    for name, operation in vars(module).items()
    if isinstance(operation, Operation)
}
JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
# The state of a thread holds the inputs of its runs, which may be as deep as a client sends them.
_LEVELS = 250
_COLLECTIONS = (Collection, Iterable, Mapping, Sequence)


def check_type(what: str, value: object, *kinds: type) -> None:
    """Raise a TypeError unless a value has one of the types. True is not an int here."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = ["None" if kind is type(None) else kind.__name__ for kind in (*kinds, type(value))]
        raise TypeError(f"{what} must be of type {' or '.join(names[:-1])}, not {names[-1]}")


_hints: Callable[[object], dict[str, Any]] = cache(get_type_hints)


def check_fields(record: object) -> None:
    """Check the fields of a dataclass by their annotations."""
    kind = type(record)
    check_given(kind, {name: getattr(record, name) for name in _hints(kind)})


def check_given(where: object, given: Mapping[str, object]) -> None:
    """Check arguments by the annotations of their function or class."""
    for name, hint in _hints(where).items():
        if name in given:
            _check(f"{name}:", given[name], hint)


def _check(what: str, value: object, hint: Any) -> None:
    """Check a value by an annotation: types, choices of a Literal, members of a collection."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    choices = [text for each in kinds if get_origin(each) is Literal for text in get_args(each)]
    if choices:
        if value not in choices and (value is not None or type(None) not in kinds):
            raise ValueError(f"{what} must be one of {', '.join(choices)}, not {value!r}")
        return
    if hint in (object, Any):
        return
    numbers = (int,) if float in kinds else ()  # an int is a float, too (PEP 484)
    check_type(what, value, *numbers, *(get_origin(each) or each for each in kinds))
    members = [get_args(each) for each in kinds if get_origin(each) in _COLLECTIONS]
    if not members:
        return
    if isinstance(value, Mapping):
        for name, member in cast("Mapping[object, object]", value).items():
            check_type(f"{what} a name", name, str)
            _check(f"{what} {name}:", member, members[0][-1])
    elif isinstance(value, str):
        raise TypeError(f"{what} must be a list of {members[0][0].__name__}, not a str")
    elif isinstance(value, Collection):
        for member in cast("Collection[object]", value):
            _check(f"{what} each", member, members[0][0])


def json_object(value: object, what: str) -> dict[str, Any]:
    """Return a JSON object as the wire would carry it, independent of the original."""
    check_type(what, value, dict)
    if fault := not_json(value, thorough=True, levels=_LEVELS):
        raise TypeError(f"{what}{fault}")
    try:
        copy: dict[str, Any] = from_json(to_json(value))
    except ValueError as error:
        raise TypeError(f"{what} is not a JSON object: {error}") from error
    return copy


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return a host's IP address, or None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    address = address_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)
