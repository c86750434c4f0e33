"""From the bytes of an answer to Python values, or to the error that says what is wrong with it.

Strategy: pydantic-core reads the bytes themselves, through one adapter per type. Whatever does not
fit raises an ``ApiException`` that keeps the raw body.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

import acp_client_v0_1 as acp
from acp_client_v0_1._operation import Operation
from acp_client_v0_1.exceptions import (
    ApiException,
    ResponseDecodeError,
    ResponseValidationError,
)

__all__ = ["check_event_stream", "decode", "status_error", "text_of", "validate"]

# How much of an answer that is no event stream is waited for and kept, for the error. It may be
# endless, and the limits of a stream, which are not meant for it, would let it come for ever.
_BODY_LIMIT = 65_536  # bytes
_BODY_SECONDS = 3.0

_DEEPEST = 100  # levels of JSON in an error's data


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@cache
def _answer_of(operation: Operation[Any]) -> TypeAdapter[Any]:
    return _adapter(operation.returns())


def validate(content: bytes | str, kind: Any) -> Any:
    """Decode JSON text (RFC 8259) as a type.

    Raises:
        pydantic.ValidationError: it is no JSON, or does not fit the type.
    """
    return _adapter(kind).validate_json(content)


def decode(response: acp.rest.RESTResponse, operation: Operation[Any]) -> Any:
    """Decode the content of a successful answer of an operation.

    Raises:
        ResponseValidationError: the content is missing, no JSON, or does not fit the type.
    """
    content = response.data or b""
    try:
        return _answer_of(operation).validate_json(content)
    except ValidationError as error:
        body = text_of(content, response)
        raise ResponseValidationError(
            status=response.status,
            reason=_explanation(response, error),
            body=body,
            data=_data(content, body),
            headers=response.headers,
            method=response.method,
            url=response.url,
        ) from error


def status_error(response: acp.rest.RESTResponse) -> ApiException:
    """Return the error for an answer whose status is not 2xx, its content read."""
    content, failure = response.data, None
    if content is None:
        content, failure = _beginning(response)
    body = text_of(content, response)
    error = ApiException.from_response(http_resp=response, body=body, data=_data(content, body))
    error.__cause__ = failure
    return error


def check_event_stream(response: acp.rest.RESTResponse) -> None:
    """Refuse a 200 answer that is no event stream (HTML Living Standard, section 9.2.2).

    Raises:
        ResponseDecodeError: the media type is another one, there is content without any, or the
            content coding is not known.
    """
    media_type = (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    if media_type == "text/event-stream":
        response.check_coding()
        return
    content, failure = _beginning(response)
    if not content and not media_type and failure is None:
        return  # nothing was said, and of nothing: a stream without events
    body = text_of(content, response)
    raise ResponseDecodeError(
        status=response.status,
        reason=f"expected text/event-stream, got {media_type or 'no content type'}",
        body=body,
        data=_data(content, body),
        headers=response.headers,
        method=response.method,
        url=response.url,
    ) from failure


def _beginning(response: acp.rest.RESTResponse) -> tuple[bytes, ApiException | None]:
    """Read an unexpected answer, up to some limits, and give its connection back.

    Returns:
        What came, and what ended it too early, None where nothing did.
    """
    pieces: list[bytes] = []
    size = 0
    failure: ApiException | None = None
    response.hasten(_BODY_SECONDS)
    try:
        while size < _BODY_LIMIT and (piece := response.read_available()):
            pieces.append(piece)
            size += len(piece)
    except ApiException as error:
        failure = error  # which matters less than the answer itself
    finally:
        response.close()
    return b"".join(pieces), failure


def _explanation(response: acp.rest.RESTResponse, error: ValidationError) -> str:
    faults = [
        f"{'.'.join(map(str, fault['loc'])) or 'content'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False)[:3]
    ]
    media_type = response.headers.get("Content-Type") or "no content type"
    return f"the answer ({media_type}) does not fit the contract: {'; '.join(faults)}"


def text_of(content: bytes, response: acp.rest.RESTResponse) -> str:
    """Return the content of an answer as text, in the charset that its content type names."""
    charset = (response.headers.get("Content-Type") or "").lower().partition("charset=")[2]
    try:
        return content.decode(charset.partition(";")[0].strip(' "') or "utf-8", "replace")
    except (LookupError, ValueError):  # a charset that Python does not know, or cannot use here
        return content.decode("utf-8", "replace")


def _data(content: bytes, text: str) -> Any:
    """Return the content as JSON, as text where it is none, and None where there is nothing."""
    if not content:
        return None
    readings: tuple[str | bytes, ...] = (text, content)  # of bytes, json finds UTF-16 by itself
    for reading in readings:
        with contextlib.suppress(ValueError, RecursionError):
            data = json.loads(reading)
            return text if _is_deep(data) else data
    return text


def _is_deep(data: Any) -> bool:
    """Whether JSON is nested too deep for others, such as pickle, to walk through it."""
    level: list[Any] = [data]
    for _ in range(_DEEPEST):
        level = [item for one in level for item in _members(one)]
    return bool(level)


def _members(data: Any) -> Iterable[Any]:
    if isinstance(data, dict):
        return cast("dict[str, Any]", data).values()
    return cast("list[object]", data) if isinstance(data, list) else ()
