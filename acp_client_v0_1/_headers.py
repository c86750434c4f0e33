"""The headers of a request: merged without regard to case, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

__all__ = ["checked_headers", "merge_headers", "request_auth_headers"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_FORBIDDEN = re.compile(r"[\r\n\0]")  # RFC 9110, section 5.5


def merge_headers(*sources: Mapping[str, str] | None) -> dict[str, str]:
    """Merge headers; of two with the same name, in any case, the later one stays."""
    merged: dict[str, tuple[str, str]] = {}
    for source in sources:
        if source:
            for name, value in source.items():
                merged[str(name).lower()] = name, value
    return dict(merged.values())


def checked_headers(headers: Mapping[Any, Any]) -> dict[str, str]:
    """Copy headers, refusing what http.client would only refuse halfway, never showing a value.

    Raises:
        ApiTypeError: a name or value is no str.
        ApiValueError: a name or value cannot be part of a request.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ApiValueError(f"{name!r} is not the name of a header")
        if not isinstance(value, str):
            raise ApiTypeError(f"header {name!r} must be a str, not {type(value).__name__}")
        if value.isascii() and value.isprintable():
            continue
        if _FORBIDDEN.search(value):
            raise ApiValueError(f"header {name!r} must not contain CR, LF or NUL")
        if not _is_latin(value):
            raise ApiValueError(f"header {name!r} must be encodable as ISO-8859-1")
    return dict(headers)


def request_auth_headers(auth: Mapping[str, Any]) -> dict[str, str]:
    """Return the header that ``_request_auth`` asks for.

    Args:
        auth: ``{"in": "header" | "cookie", "key": name, "value": value}``, in the form of
            openapi-generator's clients. The value of a cookie is the whole header.

    Raises:
        ApiValueError: the mapping lacks a key, or asks for another place.
    """
    try:
        place, value = auth["in"], auth["value"]
        name = "Cookie" if place == "cookie" else auth["key"]
    except KeyError as error:
        raise ApiValueError(f"_request_auth lacks the key {error}") from error
    if place not in ("header", "cookie"):
        raise ApiValueError(f"_request_auth['in'] must be 'header' or 'cookie', not {place!r}")
    return {name: value}


def _is_latin(value: str) -> bool:
    return all(ord(character) < 256 for character in value)
