"""What the contract says of one operation, and the checks of its arguments.

The generated modules in ``api`` hold one :class:`Operation` per operation; ``ApiClient`` turns it
and a call's arguments into a request. Strategy: a declaration is immutable and knows everything
that distinguishes its operation, so that a generated method is a signature and a call.

Invariant: whatever is wrong with an argument raises ``ApiTypeError`` or ``ApiValueError`` that
names the parameter, before anything is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NoReturn, TypeVar, cast
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from acp_client_v0_1._schema import Conversions
from acp_client_v0_1._schema.null_fields import any_null
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

__all__ = ["BoundArguments", "Operation", "Parameter", "path_segment"]

_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")  # RFC 3986, section 2.3

_LARGEST = 2**63 - 1  # what servers can read; not far above it, Python refuses to write

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation.

    Attributes:
        name: its name in Python and on the wire, which are the same in this protocol.
        place: where the request carries it.
        type: ``str``, ``int``, ``dict`` for a free JSON object, or a function that gives a model,
            so that the model loads when it is first used.
        required: whether None is refused.
        minimum: the smallest integer that the contract allows.
        block_window: whether it says for how many seconds the server may hold the request open.
    """

    name: str
    place: Literal["path", "query", "body"]
    type: type[Any] | Callable[[], type[BaseModel]]
    required: bool = True
    minimum: int | None = None
    block_window: bool = False


@dataclass(frozen=True, slots=True)
class BoundArguments:
    """The arguments of one call, checked and in the form in which the request carries them.

    Attributes:
        target: path and query, relative to the host.
        body: the request's content, None if it has none.
        block_window: for how many seconds the server may hold the request open, None if the call
            asks for no such thing.
    """

    target: str
    body: bytes | None
    block_window: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Operation(Generic[T_co]):
    """One operation of the contract; ``T_co`` is what its method returns.

    Attributes:
        name: the operationId, which is the method's name.
        method: the HTTP method.
        path: the path below the host, with ``{name}`` for each path parameter.
        parameters: in the order of the method's signature.
        returns: gives the type of a 200 answer; for a stream, the type of one event.
        accept: the media types of the answers.
        content_type: the media type of the request's content, None if it has none.
        safe: whether the operation changes nothing, so that it may be sent again.
        streaming: whether a 200 answer is a stream of server-sent events.
        empty_on_204: whether 204 is an answer (None) rather than a fault.
    """

    name: str
    method: str
    path: str
    parameters: tuple[Parameter, ...]
    returns: Callable[[], Any]
    accept: str
    content_type: str | None = None
    safe: bool = False
    streaming: bool = False
    empty_on_204: bool = False

    def bind(self, arguments: Sequence[Any], safe_chars: str = "") -> BoundArguments:
        """Check the arguments of a call and bring them into the form of the request.

        Args:
            arguments: one value per parameter, in the order of :attr:`parameters`.
            safe_chars: characters that a path segment may carry unescaped.

        Returns:
            The target, the content and the block window.

        Raises:
            ApiTypeError: an argument is missing or has a wrong type.
            ApiValueError: an argument has a value that the contract or a URL does not allow.
        """
        target = self.path
        query: dict[str, int] = {}
        body: bytes | None = None
        window: int | None = None
        for parameter, value in zip(self.parameters, arguments, strict=True):
            if value is None and not parameter.required:
                continue
            if parameter.place == "path":
                segment = path_segment(parameter.name, value, safe_chars)
                target = target.replace("{" + parameter.name + "}", segment)
            elif parameter.place == "query":
                query[parameter.name] = _integer(parameter, value)
                if parameter.block_window:
                    window = query[parameter.name]
            else:
                body = _content(parameter, value)
        return BoundArguments(f"{target}?{urlencode(query)}" if query else target, body, window)


def _wrong_type(name: str, expected: str, value: object) -> ApiTypeError:
    return ApiTypeError(f"{name} must be {expected}, not {type(value).__name__}")


def path_segment(name: str, value: object, safe_chars: str) -> str:
    """Encode one path segment (RFC 3986, section 3.3), refusing what would change the path.

    Args:
        name: the parameter's name, for the error.
        value: the segment.
        safe_chars: characters that stay unescaped.

    Returns:
        The segment, percent-encoded.

    Raises:
        ApiTypeError: the value is no str.
        ApiValueError: the value is empty, a dot segment, or no valid Unicode.
    """
    if not isinstance(value, str):
        raise _wrong_type(name, "a str", value)
    if not value:
        raise ApiValueError(f"{name} must not be empty")
    try:
        segment = value if _UNRESERVED.fullmatch(value) else quote(value, safe=safe_chars)
    except UnicodeEncodeError as error:
        raise ApiValueError(f"{name} must be valid Unicode: {error}") from error
    # A URL parser takes "." and ".." out of a path, together with the segment before it.
    if "." in segment and not {".", ".."}.isdisjoint(segment.split("/")):
        raise ApiValueError(f'{name} must not be or contain the path segment "." or ".."')
    return segment


def _integer(parameter: Parameter, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(parameter.name, "an int", value)
    if parameter.minimum is not None and value < parameter.minimum:
        raise ApiValueError(f"{parameter.name} must be at least {parameter.minimum}, not {value}")
    if value > _LARGEST:
        raise ApiValueError(f"{parameter.name} must be at most {_LARGEST}")
    return value


def _content(parameter: Parameter, value: object) -> bytes:
    """Encode a body as JSON: a model, or a mapping that fits the model; a mapping where free."""
    name, kind = parameter.name, parameter.type
    if not isinstance(kind, type):
        kind = kind()
    if kind is not dict and isinstance(value, Mapping):
        value = _constructed(name, kind, cast("Mapping[object, Any]", value))
    if not isinstance(value, (Mapping, BaseModel) if kind is dict else kind):
        expected = "a JSON object (dict)" if kind is dict else f"a {kind.__name__} or dict"
        raise _wrong_type(name, expected, value)
    try:
        content = _encoded(value)
        # pydantic-core writes NaN and the infinities, which are no JSON (RFC 8259, section 6).
        # The words may as well stand in a text, which only a reader can tell.
        if b"NaN" in content or b"Infinity" in content:
            json.loads(content, parse_constant=_refuse)
    except ValueError as error:
        raise ApiValueError(f"{name} cannot be written as JSON: {error}") from error
    return content


def _encoded(value: object) -> bytes:
    if isinstance(value, Conversions) and any_null(value):
        return value.to_json().encode()
    return to_json(value, by_alias=True, exclude_none=True)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _constructed(name: str, model: type[BaseModel], value: Mapping[Any, Any]) -> BaseModel:
    try:
        return model(**value)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join([name, *map(str, fault['loc'])])}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise ApiValueError(f"{faults} ({model.__name__})") from error
    except TypeError as error:  # a key that is no str
        raise ApiTypeError(f"{name} must have str keys: {error}") from error
