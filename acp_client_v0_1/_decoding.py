"""From the bytes of a response to Python values, or to an error that says what is wrong.

Strategy: pydantic-core reads the bytes themselves, through one adapter per type. In a list, it
stops at the first item that does not fit. So the error for a list with a million wrong items is as
small as the error for one.

Invariant: every fault of a response raises an ``ApiException`` that keeps the raw body.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, cast, get_args, get_origin

from pydantic import FailFast, TypeAdapter, ValidationError

import acp_client_v0_1 as acp
from acp_client_v0_1._operation import Operation, faults_of
from acp_client_v0_1._schema.surrogates import read_json
from acp_client_v0_1._text import SEARCHED, html_title, with_article
from acp_client_v0_1.exceptions import ApiException, ResponseDecodeError, ResponseValidationError

# At most this many characters of JSON become `ApiException.data`. JSON such as `[{},{},…]` takes
# 24 times its size once it is parsed.
_MOST_DATA = 1_048_576
_NEWER = "; it looks like ACP 0.2, and this client speaks 0.1"


@cache
def _validator(kind: Any) -> Callable[[bytes | str], Any]:
    bounded: Any = Annotated[kind, FailFast()] if get_origin(kind) is list else kind
    # The adapter's own method would be another call of Python for each response.
    return TypeAdapter[Any](bounded).validator.validate_json


def validate(content: bytes | str, kind: Any) -> Any:
    """Decode JSON text (RFC 8259) as a type, or raise `pydantic.ValidationError`."""
    return read_json(_validator(kind), content)


def decode(response: acp.rest.RESTResponse, operation: Operation[Any]) -> Any:
    content = response.data or b""
    try:
        return validate(content, operation.returns())
    except ValidationError as error:
        reason = _explanation(response, content, operation.returns(), error)
        raise _with_body(ResponseValidationError, response, content, reason) from error


def status_error(response: acp.rest.RESTResponse) -> ApiException:
    body, data = _hidden(response.read_beginning(), response)
    error = ApiException.from_response(http_resp=response, body=body, data=data)
    error.__cause__ = response.fault
    return error


def check_event_stream(response: acp.rest.RESTResponse) -> None:
    """Raise `ResponseDecodeError` unless a 200 response is an event stream (WHATWG HTML, 9.2.2)."""
    media_type = (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    if media_type == "text/event-stream":
        response.check_coding()
        return
    content = response.read_beginning()
    if not content and not media_type and response.fault is None:
        # A response with neither type nor content is a stream without events.
        return
    reason = f"expected text/event-stream, got {media_type or 'no content type'}"
    raise _with_body(ResponseDecodeError, response, content, reason) from response.fault


def _with_body(
    kind: type[ResponseDecodeError], response: acp.rest.RESTResponse, content: bytes, reason: str
) -> ResponseDecodeError:
    """Build the error for a response whose content is not what its status promises."""
    body, data = _hidden(content, response)
    return kind(reason=response.hidden(reason), http_resp=response, body=body, data=data)


def _explanation(
    response: acp.rest.RESTResponse, content: bytes, kind: Any, error: ValidationError
) -> str:
    named = _named(kind)
    expected = f"expected {named}"
    if not content.strip():
        held = f"holds {len(content)} bytes of white space" if content else "is empty (0 bytes)"
        return f"the response {held}, {expected} as JSON"
    media_type = response.headers.get("Content-Type") or "no content type"
    beginning = content[:SEARCHED].decode("utf-8", "replace").lstrip()
    if beginning[:1] == "<":
        titled = f' titled "{title}"' if (title := html_title(beginning)) else ""
        # The first question is left where the message is quoted in another one, and cut.
        whose = f"is the page{titled} of a proxy or a login?"
        if "xml" in f"{beginning[:5]}{media_type}".lower() and "<html" not in beginning.lower():
            return f"XML, not JSON, {expected}: is host the URL of another service?"
        return f"HTML, not JSON, {expected}: is the base path of host right? {whose}"
    faults = faults_of(error, most=1)
    if faults.startswith("Invalid JSON: recursion"):
        return f"the JSON is nested deeper than can be read, which is about 200 levels, {expected}"
    data = _data(content.decode("utf-8", "replace"))
    newer = _NEWER if _is_of_a_later_protocol(data) else ""
    told = "" if media_type == "application/json" else f" ({media_type})"
    return f"not {named} of ACP 0.1{told}: {faults}{newer}"


def _is_of_a_later_protocol(data: Any) -> bool:
    """Tell whether a response looks like ACP 0.2, which has "values" for results and states."""
    first: Any = next(iter(cast("list[object]", data)), None) if isinstance(data, list) else data
    return isinstance(first, dict) and ("values" in first or {"run", "output"} <= first.keys())


def _named(kind: Any) -> str:
    if get_origin(kind) is list:
        return f"a list of {get_args(kind)[0].__name__}"
    return with_article(kind.__name__) if get_origin(kind) is None else "a JSON object"


def _hidden(content: bytes, response: acp.rest.RESTResponse) -> tuple[str, Any]:
    """Return the text and the data of a response without the credentials that it echoes."""
    # Error texts are decoded as UTF-8, whatever charset is named. Nearly all of them are ASCII.
    body = response.hidden(content.decode("utf-8", "replace"))
    return body, _data(body)


def _data(text: str) -> Any:
    """Return the parsed JSON of an error's body.

    Return the text if the body is large, deep or not JSON, and None if the body is empty.
    """
    if not text:
        return None
    if len(text) > _MOST_DATA:
        return text
    with contextlib.suppress(ValueError, RecursionError):
        # This refuses JSON of more than about 200 levels, through which other code, such as pickle,
        # could not walk.
        return validate(text, Any)
    return text
