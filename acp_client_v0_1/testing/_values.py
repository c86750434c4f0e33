"""Checks of the values that users of the local server pass: their types, and that JSON has them.

The annotations decide, as pydantic reads them strictly. `check_given` checks where a
value is given, so that the error comes from that line and names the value.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from typing import Annotated, Any, TypeAlias, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import from_json, to_json, to_jsonable_python

from acp_client_v0_1._http.headers import TOKEN
from acp_client_v0_1._operation import Operation
from acp_client_v0_1._schema.free_json import not_json
from acp_client_v0_1.api import agents_api, runs_api, threads_api

# Each operation of the contract has a method, and a path with "*" for an id.
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
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_PART_OF_A_UNION = re.compile(r"constrained-|\w+\[")
# pydantic's errors about a value of the right type begin with these words.
_RULES_OF_VALUES = ("literal", "finite", "greater", "less")

Seconds: TypeAlias = Annotated[float, Field(ge=0, le=threading.TIMEOUT_MAX)]


def check_type(what: str, value: object, *kinds: type) -> None:
    """Raise a TypeError unless a value has one of the types. True is not an int here."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = ["None" if kind is type(None) else kind.__name__ for kind in (*kinds, type(value))]
        raise TypeError(f"{what} must be of type {' or '.join(names[:-1])}, not {names[-1]}")


@cache
def _model_of(where: Callable[..., object]) -> type[BaseModel]:
    """Return a model that checks values by the annotations of a function or class."""
    hints = get_type_hints(where, include_extras=True)
    fields: dict[str, Any] = {name: (hint, ...) for name, hint in hints.items() if name != "return"}
    return create_model("Given", __config__=_STRICT, **fields)


def check_given(where: Callable[..., object], given: object) -> None:
    """Check the arguments of a function, or an instance of a dataclass, by the annotations."""
    try:
        _model_of(where).model_validate(given, from_attributes=True)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        kind = ValueError if fault["type"].startswith(_RULES_OF_VALUES) else TypeError
        # pydantic counts the parts of a union as steps, such as "dict[str,str]".
        steps = [str(step) for step in fault["loc"] if not _PART_OF_A_UNION.match(str(step))]
        # pydantic's own error quotes the values, and one may be a key, so it is not chained.
        raise kind(f"{'.'.join(steps)}: {fault['msg']}") from None


def check_header(what: str, name: str, value: str) -> None:
    """Raise a ValueError unless HTTP carries a header as it is. The value may be a secret."""
    if not TOKEN.fullmatch(name):
        raise ValueError(f"{what}: {name!r} is not a header name")
    if not _FIELD_VALUE.fullmatch(value) or value.strip() != value:
        raise ValueError(f"{what}: {name} cannot have this value in HTTP")


def json_copy(value: object, what: str) -> dict[str, Any]:
    """Return a JSON object as the wire would carry it, independent of the original."""
    if isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        value = to_jsonable_python(value, by_alias=True)
    check_type(what, value, dict)
    if fault := not_json(value, levels=_LEVELS):
        raise TypeError(f"{what}{fault}")
    try:
        copy: dict[str, Any] = from_json(to_json(value))
    except ValueError as error:
        raise TypeError(f"{what} is not a JSON object: {error}") from error
    return copy
