"""From the bytes of an answer to Python values, or to the error that says what is wrong with it.

Strategy: pydantic-core reads the bytes themselves, through one adapter per type. Whatever does not
fit raises an ``ApiException`` that keeps the raw body.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

import acp_client_v0_1 as acp
from acp_client_v0_1.exceptions import (
    ApiException,
    ResponseDecodeError,
    ResponseValidationError,
)
from acp_client_v0_1.operation import Operation

__all__ = ["check_event_stream", "decode", "status_error", "validate"]

# How much of an endless answer that is no event stream is kept for the error, in bytes.
_BODY_LIMIT = 1024 * 1024


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
        raise ResponseValidationError(
            status=response.status,
            reason=_explanation(response, error),
            body=_text(content, response),
            data=_data(content),
            headers=response.headers,
            method=response.method,
            url=response.url,
        ) from error


def status_error(response: acp.rest.RESTResponse) -> ApiException:
    """Return the error for an answer whose status is not 2xx, its content read."""
    content = _beginning(response) if response.data is None else response.data
    body = _text(content, response)
    return ApiException.from_response(http_resp=response, body=body, data=_data(content))


def check_event_stream(response: acp.rest.RESTResponse) -> None:
    """Refuse a 200 answer that is no event stream (HTML Living Standard, section 9.2.2).

    Raises:
        ResponseDecodeError: the media type is another one, or there is content without any.
    """
    media_type = (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    if media_type == "text/event-stream":
        return
    content = _beginning(response)
    if not content and not media_type:
        return  # nothing was said, and of nothing: a stream without events
    raise ResponseDecodeError(
        status=response.status,
        reason=f"expected text/event-stream, got {media_type or 'no content type'}",
        body=_text(content, response),
        data=_data(content),
        headers=response.headers,
        method=response.method,
        url=response.url,
    )


def _beginning(response: acp.rest.RESTResponse) -> bytes:
    """Read an unexpected answer, up to a limit, and give its connection back."""
    pieces: list[bytes] = []
    size = 0
    try:
        while size < _BODY_LIMIT and (piece := response.read_available()):
            pieces.append(piece)
            size += len(piece)
    finally:
        response.close()
    return b"".join(pieces)


def _explanation(response: acp.rest.RESTResponse, error: ValidationError) -> str:
    faults = [
        f"{'.'.join(map(str, fault['loc'])) or 'content'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False)[:3]
    ]
    media_type = response.headers.get("Content-Type") or "no content type"
    return f"the answer ({media_type}) does not fit the contract: {'; '.join(faults)}"


def _text(content: bytes, response: acp.rest.RESTResponse) -> str:
    charset = (response.headers.get("Content-Type") or "").lower().partition("charset=")[2]
    try:
        return content.decode(charset.partition(";")[0].strip(' "') or "utf-8", "replace")
    except (LookupError, ValueError):  # a charset that Python does not know, or cannot use here
        return content.decode("utf-8", "replace")


def _data(content: bytes) -> Any:
    """Return the content as JSON, as text where it is none, and None where there is nothing."""
    if not content:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content.decode("utf-8", "replace")
