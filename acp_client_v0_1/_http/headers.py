"""The headers of a request: merged without regard to case, and checked before anything is sent.

Numbers and booleans are written as text. A value that has no obvious form in a header (None, bytes,
a list) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

__all__ = ["TOKEN", "checked_headers", "merge_headers", "plain_text"]

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_MOST_BITS = 1024  # of an integer; Python refuses to write much larger ones
_FORBIDDEN = re.compile(r"[\r\n\0]")  # RFC 9110, section 5.5


# They frame the message or belong to one connection (RFC 9110, 7.6.1; RFC 9112, 6).
_OF_THE_TRANSPORT = frozenset(
    (
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


def merge_headers(*sources: Mapping[str, str] | None) -> dict[str, str]:
    """Merge headers; the later one of two with the same name, in any case, is kept."""
    merged: dict[str, tuple[str, str]] = {}
    for source in sources:
        if source:
            for name, value in source.items():
                merged[str(name).lower()] = name, value
    return dict(merged.values())


def checked_headers(headers: Mapping[Any, Any]) -> dict[str, str]:
    """Copy and check headers; an error shows no value.

    Values are sent as ISO-8859-1. The value of ``Last-Event-ID`` becomes the UTF-8 of the id,
    decoded as ISO-8859-1, so that the bytes that came with the event are sent.

    Raises:
        ApiTypeError: A value is neither a str nor a number.
        ApiValueError: A name or value cannot be part of a request, or is the transport's own.
    """
    checked = dict(headers)
    for name, value in headers.items():
        if not isinstance(name, str) or not TOKEN.fullmatch(name):
            raise ApiValueError(f"{name!r} is not the name of a header")
        if name.lower() in _OF_THE_TRANSPORT:
            raise ApiValueError(f"header {name!r} cannot be set: it is the transport's own")
        if not isinstance(value, str):
            checked[name] = plain_text(value, f"header {name!r}")
            continue
        if value.isascii() and value.isprintable():
            continue
        if name.lower() == "last-event-id":
            checked[name] = value = _utf8(name, value)
        if _FORBIDDEN.search(value):
            raise ApiValueError(f"header {name!r} must not contain CR, LF or NUL")
        if not _is_latin(value):
            raise ApiValueError(f"header {name!r} must be encodable as ISO-8859-1")
    return checked


def plain_text(value: object, name: str) -> str:
    """Write a str, a number or a bool as text, a bool as JSON has it.

    Args:
        value: The value.
        name: Its name in an error, which does not show the value.

    Raises:
        ApiTypeError: It is something else.
        ApiValueError: It is an integer of hundreds of digits.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() <= _MOST_BITS:
        return str(int(value))  # of an enum, its number
    if isinstance(value, float):
        return str(float(value))
    if isinstance(value, int):
        raise ApiValueError(f"{name} must not be a number of more than {_MOST_BITS} bits")
    raise ApiTypeError(f"{name} must be a str, not {type(value).__name__}")


def _utf8(name: str, value: str) -> str:
    """Write an event id so that it is sent as UTF-8 (WHATWG HTML, 9.2.4), not as ISO-8859-1."""
    try:
        return value.encode().decode("latin-1")
    except UnicodeEncodeError:
        raise ApiValueError(f"header {name!r} must be valid Unicode") from None


def _is_latin(value: str) -> bool:
    return all(ord(character) < 256 for character in value)
