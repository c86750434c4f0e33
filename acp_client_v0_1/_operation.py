"""The declaration of an operation, and the checks of its arguments.

The generated modules in ``api`` hold the declarations. ``ApiClient`` turns one of them and the
arguments of a call into a request. Strategy: a declaration is immutable and has everything that
distinguishes its operation, so that a generated method is a signature and a call. The declared type
of a parameter decides how its argument is checked, in the path, the query and the body alike.

Invariant: a bad argument raises ``ApiTypeError`` or ``ApiValueError`` that names the parameter,
before anything is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar, cast
from urllib.parse import quote, unquote
from uuid import UUID

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from acp_client_v0_1._arguments import refuse_token, wrong_type
from acp_client_v0_1._schema import Conversions, any_null
from acp_client_v0_1._schema.free_json import is_plain, not_json, parts_of, unset_nulls
from acp_client_v0_1._text import one_line
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

_SLASH = re.compile(r"[/\\]")
# The unreserved characters (RFC 3986, section 2.3) but for the dot, which a token of a run has, and
# which a URL parser may remove. A segment of these is sent as it is.
_UNRESERVED = re.compile(r"[A-Za-z0-9_~-]+")

# pydantic-core writes NaN, the infinities and many Python objects as text. In some keys, it writes
# U+FFFD for a lone surrogate. `not_json` refuses all of these.
_ODD = (b"NaN", b"Infinity", b"\xef\xbf\xbd")

# Servers can read no larger integer.
_LARGEST = 2**63 - 1

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation, which is not in its path."""

    # The name is the same in Python and on the wire.
    name: str
    # This is ``int`` for a parameter of the query. Any other is the body: ``dict`` for a free JSON
    # object, and for a model a function that returns the type, so that it loads on first use.
    type: type[Any] | Callable[[], Any]
    required: bool = True
    minimum: int | None = None
    # If True, the value is the poll window, in seconds.
    block_window: bool = False


class BoundArguments(NamedTuple):
    """The arguments of one call, checked and encoded for the request."""

    # The target is the path and the query, relative to the host.
    target: str
    body: bytes | None
    # The server may hold a long poll for this many seconds.
    block_window: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Operation(Generic[T_co]):
    """One operation of the contract, whose method returns ``T_co``."""

    method: str
    # The path is below the host, and has ``{name}`` for each path parameter, whose value is an id.
    # These parameters are the first in the method's signature.
    path: str
    # The function returns the type of a 200 response.
    returns: Callable[[], type[T_co]]
    # The other parameters are in the order of the method's signature.
    parameters: tuple[Parameter, ...] = ()
    # This is the media type of the response. The body of a request is always JSON.
    accept: str = "application/json"
    # A safe operation changes nothing, so it may be retried.
    safe: bool = False
    # If True, a 200 response is a stream of server-sent events.
    streaming: bool = False
    # If True, the method returns None for a 204. If False, a 204 is a fault.
    empty_on_204: bool = False

    def bind(self, arguments: Sequence[Any], safe_chars: str = "") -> BoundArguments:
        """Check and encode the arguments of a call, one for each parameter."""
        target = self.path
        query: list[str] = []
        body: bytes | None = None
        window: int | None = None
        names = _names_in(target)
        for name, value in zip(names, arguments, strict=False):
            target = target.replace("{" + name + "}", path_segment(name, value, safe_chars))
        for parameter, value in zip(self.parameters, arguments[len(names) :], strict=True):
            if value is None and not parameter.required:
                continue
            if parameter.type is int:
                query.append(f"{parameter.name}={_integer(parameter, value)}")
                if parameter.block_window:
                    window = value
            else:
                body = content_of(parameter, value)
        return BoundArguments(f"{target}?{'&'.join(query)}" if query else target, body, window)


@cache
def _names_in(path: str) -> list[str]:
    return re.findall(r"{(\w+)}", path)


def path_segment(name: str, value: object, safe_chars: str) -> str:
    """Encode an id, a str or a UUID, as a path segment (RFC 3986, section 3.3).

    Refuse a value that changes the path.
    """
    if not isinstance(value, str):
        if isinstance(value, UUID):
            return str(value)
        raise wrong_type(name, "a str", value)
    if _UNRESERVED.fullmatch(value):
        return value
    if not value:
        raise ApiValueError(f"{name} must not be empty")
    refuse_token(name, value)
    try:
        segment = quote(value, safe=safe_chars)
    except UnicodeEncodeError as error:
        raise ApiValueError(f"{name} must be valid Unicode: {error}") from error
    # A URL parser removes the segment "." from a path, and also ".." with the segment before it. A
    # proxy may decode the path first, and some proxies take a backslash for a slash.
    if not {".", ".."}.isdisjoint(_SLASH.split(unquote(segment))):
        raise ApiValueError(f'{name} must not be or contain the path segment "." or ".."')
    return segment


def identifier(name: str, value: object) -> str:
    """Return an id, a str or a UUID, as text. Refuse an id that cannot be a path segment."""
    path_segment(name, value, "")
    # A member of a caller's own enum would print as its name.
    return str(value) if isinstance(value, UUID) else str.__str__(cast("str", value))


def _integer(parameter: Parameter, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(parameter.name, "an int", value)
    if parameter.minimum is not None and value < parameter.minimum:
        raise ApiValueError(f"{parameter.name} must be at least {parameter.minimum}, not {value}")
    if value > _LARGEST:
        raise ApiValueError(f"{parameter.name} must be at most {_LARGEST}")
    return value


def content_of(parameter: Parameter, value: Any) -> bytes:
    """Encode a body as JSON. The value is a model, a mapping of its fields, or a free mapping."""
    name = parameter.name
    kind: Any = parameter.type if isinstance(parameter.type, type) else parameter.type()
    given: object = value
    if kind is not dict and not isinstance(value, kind) and isinstance(given, Mapping):
        value = constructed(name, kind, value)
    if not isinstance(value, (Mapping, BaseModel) if kind is dict else kind):
        expected = "a JSON object (dict)" if kind is dict else f"a dict or {kind.__name__}"
        raise wrong_type(name, expected, value)
    texts, others = parts_of(value)
    # Only the fields of this package's models have their names on the wire.
    known = {} if kind is dict else texts
    try:
        content = _encoded(value, known)
        plain = all(map(is_plain, others.values()))
        body = content if plain else _encoded(_with_dicts(value), known)
    except ValueError as error:
        why = not_json(value) or f" cannot be written as JSON: {error}"
        raise ApiValueError(_placed(name, why)) from error
    # pydantic-core goes first, because it refuses a structure that contains itself.
    if (not plain or any(map(content.__contains__, _ODD))) and (fault := not_json(value)):
        raise ApiValueError(_placed(name, fault))
    # A model that has a `JsonCopy` has an id, too.
    added = [b',"%b":%b' % (field.encode(), text) for field, text in known.items()]
    return b"%b%b}" % (body[:-1], b"".join(added)) if added else body


def _placed(name: str, fault: str) -> str:
    """Return a fault with its place: a field of the model in a body, or the body itself.

    A field such as ``input`` is named without the body. A caller of `AgentHandle.run` passes
    ``input``, and does not know the body's name, ``run_create``.
    """
    return fault[1:] if fault.startswith(".") else f"{name}{fault}"


def _with_dicts(value: Any) -> Any:
    """Copy a body, with dicts in place of the models that a caller has put into its free objects.

    `_encoded` leaves out the fields of a model that are None. In a caller's own model, a None that
    was set is a value that the agent may require.
    """
    if isinstance(value, Conversions):
        free = {name: _with_dicts(part) for name, part in value if isinstance(part, Mapping)}
        return cast("BaseModel", value).model_copy(update=free)
    if isinstance(value, BaseModel):
        return from_json(to_json(value, exclude=unset_nulls(value)))
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        return {key: _with_dicts(part) for key, part in members.items()}
    if isinstance(value, (list, tuple)):
        return [*map(_with_dicts, cast("list[object]", value))]
    return value


def _encoded(value: object, known: Mapping[str, bytes]) -> bytes:
    """Encode a body, without the fields whose texts are ``known``."""
    if isinstance(value, Conversions) and any_null(value):
        return to_json(value.to_dict())
    excluded = {*known} or None
    try:
        return to_json(value, exclude_none=True, exclude=excluded)
    except PydanticSerializationError:
        # A model is built on first use. Another thread may have built the validator of the model,
        # but not yet its serializer. If the model is complete, `model_rebuild` does nothing, and
        # the second `to_json` raises the same error.
        if isinstance(value, BaseModel):
            type(value).model_rebuild()
        return to_json(value, exclude_none=True, exclude=excluded)


def constructed(name: str, model: type[BaseModel], value: Mapping[Any, Any]) -> BaseModel:
    """Make a model from a mapping of its fields. An error names each field that does not fit."""
    for key in value:
        if not isinstance(key, str):
            raise ApiTypeError(f"{name} must have str keys, got {type(key).__name__} {key!r:.60}")
    try:
        return model(**value)
    except ValidationError as error:
        words = faults_of(error, name)
        kind = "" if model.__name__ in words else f" ({model.__name__})"
        raise ApiValueError(f"{words}{kind}") from error


def faults_of(error: ValidationError, *place: str, most: int | None = None) -> str:
    """Name the fields of a model that do not fit: all, or ``most`` and the number of the others.

    ``place`` is the path to the model.
    """
    faults = error.errors(include_url=False, include_input=False)
    paths = [".".join([*place, *map(str, fault["loc"])]) for fault in faults]
    shown = [
        ": ".join(filter(None, (path, f["msg"]))) for path, f in zip(paths, faults, strict=True)
    ]
    others = f" (and {len(shown) - most} more)" if most and len(shown) > most else ""
    # The limit leaves room for the rest of the message.
    return one_line("; ".join(shown[:most]), 200) + others
