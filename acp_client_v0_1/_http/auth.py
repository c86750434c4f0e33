"""The credentials of one call, ``_request_auth``, in the form of openapi-generator's clients.

Invariant: no error and no repr shows the value of a credential.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from acp_client_v0_1._http.headers import TOKEN, plain_text
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

__all__ = ["RequestAuth"]

_PLACES = ("header", "cookie", "query")

# Characters of a cookie's value that are not encoded; space, comma, semicolon and others are.
_SAFE_IN_COOKIE = "!#$%&'()*+-./:<=>?@[]^_`{|}~"


@dataclass(frozen=True, slots=True)
class RequestAuth:
    """A header, a cookie or a parameter of the query.

    Attributes:
        place: ``header``, ``cookie`` or ``query``.
        key: Its name.
        value: Its value.
    """

    place: str
    key: str
    value: str = field(repr=False)

    @classmethod
    def of(cls, auth: Mapping[str, Any]) -> RequestAuth:
        """Check the argument ``_request_auth``.

        Args:
            auth: ``{"in": "header" | "cookie" | "query", "key": name, "value": value}``.

        Raises:
            ApiTypeError: It is not a mapping, or its key or value is neither a str nor a number.
            ApiValueError: It lacks a key, or cannot be part of a request.
        """
        given: object = auth
        if not isinstance(given, Mapping):
            raise ApiTypeError(f"_request_auth must be a dict, not {type(given).__name__}")
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
        """The header to send; empty for a cookie or a parameter of the query."""
        return {self.key: self.value} if self.place == "header" else {}

    @property
    def query(self) -> str:
        """The parameter of the query to send, percent-encoded; "" for a header or a cookie.

        Raises:
            ApiValueError: It is not valid Unicode.
        """
        return f"{_quoted(self.key)}={_quoted(self.value)}" if self.place == "query" else ""

    def add_cookie(self, headers: dict[str, str]) -> None:
        """Add it to the cookies of a request, if it is a cookie.

        Args:
            headers: The request's headers, which are changed.

        Raises:
            ApiValueError: It is not valid Unicode.
        """
        if self.place != "cookie":
            return
        name = next((name for name in headers if name.lower() == "cookie"), "Cookie")
        others = headers.get(name)
        cookie = f"{self.key}={_quoted(self.value, _SAFE_IN_COOKIE)}"
        headers[name] = f"{others}; {cookie}" if others else cookie


def _quoted(text: str, safe: str = "/") -> str:
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError:  # which would repeat the value
        raise ApiValueError("_request_auth must be valid Unicode") from None
