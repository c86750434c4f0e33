"""The method and headers of a request, and the credentials of a single call.

Invariant: no error and no repr shows the value of a header or credential.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import quote

from acp_client_v0_1._arguments import check_arguments, wrong_type
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
# Python refuses to write an integer of more than 4,300 digits (some 14,000 bits) as text. No header
# needs an integer of that size.
_MOST_BITS = 1024
_FORBIDDEN = re.compile(r"[\r\n\0]")  # RFC 9110, section 5.5
_SURROGATE = re.compile("[\ud800-\udfff]")  # UTF-8 cannot encode these
_PLACES = ("header", "cookie", "query")
# A cookie's value keeps these characters. Others are percent-encoded.
_SAFE_IN_COOKIE = "!#$%&'()*+-./:<=>?@[]^_`{|}~"
# Callers cannot set these headers, because these headers frame the message or belong to one
# connection (RFC 9110, section 7.6.1; RFC 9112, section 6).
_OF_THE_TRANSPORT = (
    *("connection", "content-length", "keep-alive", "proxy-connection"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
)


class CredentialSource(Protocol):
    """What a configuration tells of credentials that functions give."""

    def auth_headers(self, *, ask: bool = True) -> dict[str, str]:
        """Return the headers that carry the credentials."""
        ...

    def forget_credentials(self) -> None:
        """Let the functions forget what they keep."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How a call gets credentials that functions give. The call has them for one attempt."""

    source: CredentialSource
    # Merges the credentials with the other headers of the call.
    write: Callable[[Mapping[str, str]], Mapping[str, str]] = field(repr=False)
    # The credentials of the present attempt.
    given: Mapping[str, str] | None = field(default=None, repr=False)


def merge_headers(*sources: Mapping[str, str] | None) -> dict[str, str]:
    """Merge headers. If several have the same name (``Host`` and ``host``), keep only the last."""
    merged: dict[str, tuple[str, str]] = {}
    for source in sources:
        if source:
            for name, value in source.items():
                merged[str(name).lower()] = name, value
    return dict(merged.values())


def checked_headers(headers: Mapping[Any, Any]) -> dict[str, str]:
    """Check headers and return a copy. In the copy, numbers and booleans are text."""
    checked = dict(headers)
    for name, value in headers.items():
        _check_name(name)
        if not isinstance(value, str):
            checked[name] = plain_text(value, f"header {name!r}")
            continue
        if value.isascii() and value.isprintable():
            continue
        if name.lower() == "last-event-id":
            # The id of an event must be sent as UTF-8 (WHATWG HTML, section 9.2.4). But the
            # transport encodes all values as ISO-8859-1. So each byte of the UTF-8 becomes the
            # character that ISO-8859-1 encodes as this byte.
            checked[name] = value = utf8(value, f"header {name!r}").decode("latin-1")
        if _FORBIDDEN.search(value):
            raise ApiValueError(f"header {name!r} must not contain CR, LF or NUL")
        if any(ord(character) > 255 for character in value):
            raise ApiValueError(f"header {name!r} must be encodable as ISO-8859-1")
    return checked


# Requests repeat a few names. An error is not kept.
@lru_cache
def _check_name(name: object) -> None:
    if not isinstance(name, str) or not TOKEN.fullmatch(name):
        raise ApiValueError(f"{name!r} is not the name of a header")
    if name.lower() in _OF_THE_TRANSPORT:
        raise ApiValueError(f"header {name!r} cannot be set: it is the transport's own")


def check_method(method: object) -> None:
    """Raise an error unless a method can be written into the first line of a request."""
    if not isinstance(method, str):
        raise wrong_type("method", "a str", method)
    if not TOKEN.fullmatch(method):
        raise ApiValueError(f"method must be a token, such as GET, and not {method!r:.40}")


def utf8(text: str, name: str) -> bytes:
    """Encode text. An error shows ``name``, and not the text."""
    # `str.encode` would raise an error that holds the text, which may be a password.
    if _SURROGATE.search(text):
        raise ApiValueError(f"{name} must be valid Unicode")
    return text.encode()


def basic_credentials(username: str, password: str, name: str = "username and password") -> str:
    """Return the value of an ``Authorization`` header with these credentials (RFC 7617).

    Errors call the credentials ``name``.
    """
    if ":" in username:
        raise ApiValueError(f"{name}: a user name cannot have a colon, which begins the password")
    pair = utf8(f"{username}:{password}", name)
    return "Basic " + base64.b64encode(pair).decode("ascii")


def plain_text(value: object, name: str) -> str:
    """Return a str, a number or a bool as text. An error shows ``name``, and not the value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if value.bit_length() > _MOST_BITS:
            raise ApiValueError(f"{name} must not be a number of more than {_MOST_BITS} bits")
        # str() of an enum's member may be the name of the member. int() makes it a plain number.
        return str(int(value))
    if isinstance(value, float):
        return str(float(value))
    raise ApiTypeError(f"{name} must be a str, not {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class RequestAuth:
    """The credentials of one call, ``_request_auth``: a header, a cookie or a query parameter."""

    place: str
    key: str
    value: str = field(repr=False)

    @classmethod
    def of(cls, auth: Mapping[str, Any]) -> RequestAuth:
        """Parse ``{"in": "header" | "cookie" | "query", "key": name, "value": value}``."""
        check_arguments(_request_auth=auth)
        try:
            place, key, value = auth["in"], auth["key"], auth["value"]
        except KeyError as error:
            raise ApiValueError(f"_request_auth lacks the key {error}") from error
        if place not in _PLACES:
            raise ApiValueError(f"_request_auth['in'] must be one of {_PLACES}, not {place!r}")
        key = plain_text(key, "_request_auth['key']")
        if place == "cookie" and not TOKEN.fullmatch(key):  # RFC 6265, section 4.1.1
            raise ApiValueError(f"_request_auth: {key!r} is not the name of a cookie")
        return cls(place, key, plain_text(value, "_request_auth['value']"))

    @property
    def headers(self) -> dict[str, str]:
        """The header to send. Empty if the credentials are a cookie or in the query."""
        return {self.key: self.value} if self.place == "header" else {}

    @property
    def query(self) -> str:
        """The percent-encoded query parameter to send. Empty if the credentials are elsewhere."""
        return f"{_quoted(self.key)}={_quoted(self.value)}" if self.place == "query" else ""

    def add_cookie(self, headers: dict[str, str]) -> None:
        """Add the cookie to the headers of a request, if the credentials are a cookie."""
        if self.place != "cookie":
            return
        name = next((name for name in headers if name.lower() == "cookie"), "Cookie")
        others = headers.get(name)
        cookie = f"{self.key}={_quoted(self.value, _SAFE_IN_COOKIE)}"
        headers[name] = f"{others}; {cookie}" if others else cookie


def _quoted(text: str, safe: str = "/") -> str:
    return quote(utf8(text, "_request_auth"), safe=safe)
