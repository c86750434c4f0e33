"""What a request must have to reach the operations: the base path of the server, and its keys.

A server without a key answers everybody. The checks come after the faults and before the routes,
as those of a gateway do: a request without the key is recorded, and learns nothing but that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from acp_client_v0_1._http.headers import TOKEN
from acp_client_v0_1.testing._server.responses import Refusal

__all__ = ["KeyCheck", "base_path_of", "required_headers"]

# Characters that stand for themselves in a path (RFC 3986, 2.3), so that it has one spelling.
_BASE_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


def base_path_of(text: str) -> str:
    """Return a base path in the form that routes take.

    Args:
        text: A path such as "/acp/v0", with or without a slash at its end; "" and "/" for none.

    Raises:
        ValueError: It is no path of letters, digits, dots, hyphens, underscores and tildes.
    """
    path = text.removesuffix("/")
    if not _BASE_PATH.fullmatch(path) or not {".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(f'base_path must be a path such as "/acp/v0", not {text!r}')
    return path


def required_headers(api_key: Mapping[str, str] | tuple[str, str] | None) -> dict[str, str]:
    """Return the headers that each request must have, by name.

    Args:
        api_key: A header's name and its value, or a mapping of several; None for none.

    Raises:
        ValueError: It is neither; a name is no header's name; a value is empty, begins or ends with
            a space, or is not printable ASCII.
    """
    if api_key is None:
        return {}
    try:
        headers = dict(api_key) if isinstance(api_key, Mapping) else dict([api_key])
    except ValueError as error:
        raise ValueError("api_key must be a header's name and value, or a mapping") from error
    for name, value in headers.items():
        if not TOKEN.fullmatch(name):
            raise ValueError(f"api_key: {name!r} is no name of a header")
        if not (value.isascii() and value.isprintable() and value.strip() == value != ""):
            raise ValueError(f"api_key: the value of {name} cannot be that of a header")
    return headers


class KeyCheck:
    """ASGI middleware that refuses, with 401, requests without the right keys.

    Args:
        app: The application behind it.
        headers: Name and value of each header that a request must have.
    """

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or raise the Refusal that answers it."""
        given = Headers(scope=scope)
        for name, value in self._headers.items():
            if name not in given:
                raise Refusal(401, f"the header {name} is missing")
            if given.getlist(name) != [value]:
                raise Refusal(401, f"the header {name} has a wrong value")
        await self._app(scope, receive, send)
