"""What a request must have before anything else looks at it: a host, a bounded body, the keys.

A page in a browser can have its own name resolve to 127.0.0.1 and so reach a server on this machine
(DNS rebinding); its requests carry that name in `Host`, and are refused. What is refused here is
neither recorded nor kept. Only the keys are checked later, after the faults and before the routes,
as a gateway of the real server would.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import Collection, Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from acp_client_v0_1._http.headers import TOKEN
from acp_client_v0_1.testing._server.validation import JsonResponse, Refusal

__all__ = ["BODY", "LAG", "Gate", "base_path_of", "check_keys", "required_headers"]

# Where the scope of a request that was let in has its body.
BODY = "acp_client_v0_1.body"

# Where it has the seconds that the replica is behind which responds.
LAG = "acp_client_v0_1.lag"

_LARGEST_BODY = 64 * 1024 * 1024  # bytes
_LINGER_SECONDS = 2.0

# Characters that stand for themselves in a path (RFC 3986, 2.3), so that it has one spelling.
_BASE_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::[0-9]*)?")


def base_path_of(text: str) -> str:
    """Return a base path in the form that routes take; a ValueError says what is wrong with it."""
    path = text.removesuffix("/")
    if not _BASE_PATH.fullmatch(path) or not {".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(f'base_path must be a path such as "/acp/v0", not {text!r}')
    return path


def required_headers(api_key: Mapping[str, str] | tuple[str, str] | None) -> dict[str, str]:
    """Return the headers that each request must have; a ValueError says what is wrong with one."""
    if api_key is None:
        return {}
    try:
        headers = dict(api_key) if isinstance(api_key, Mapping) else dict([api_key])
    except ValueError as error:
        raise ValueError("api_key must be a header's name and value, or a mapping") from error
    for name, value in headers.items():
        if not TOKEN.fullmatch(name):
            raise ValueError(f"api_key: {name!r} is not a header name")
        if not (value.isascii() and value.isprintable() and value.strip() == value != ""):
            raise ValueError(f"api_key: the value of {name} cannot be that of a header")
    return headers


def check_keys(given: Headers, required: Mapping[str, str]) -> None:
    for name, value in required.items():
        if name not in given:
            raise Refusal(401, f"the header {name} is missing")
        if given.getlist(name) != [value]:
            raise Refusal(401, f"the header {name} has a wrong value")


class Gate:
    """ASGI middleware that reads each request whole, or refuses it by its host or its size."""

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str]) -> None:
        self._app = app
        self._allowed = {name.lower() for name in allowed_hosts}
        for name in self._allowed:
            if not _NAME.fullmatch(name) and not _is_address(name):
                raise ValueError(f"allowed_hosts: {name!r} is not a host name without port")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = Headers(scope=scope)
            self._check_host(headers.get("host", ""), scope)
            body = await _read(headers.get("content-length", ""), receive)
        except Refusal as refusal:
            await _turn_away(refusal, scope, receive, send)
            return
        if body is not None:
            scope[BODY] = body
            await self._app(scope, receive, send)

    def _check_host(self, text: str, scope: Scope) -> None:
        name = _host_name(text)
        server: tuple[str, int] = scope["server"]
        if name == server[0] or name in self._allowed:
            return
        if name == "localhost" or name.endswith(".localhost"):
            return
        if _is_address(name) and ipaddress.ip_address(name).is_loopback:
            return
        raise Refusal(421, f"Host: {text!r} is not this server; see allowed_hosts of LocalServer")


def _host_name(text: str) -> str:
    """Return what a `Host` header names, without port and brackets; "" for nothing."""
    parts = _HOST.fullmatch(text)
    return parts[1].strip("[]").removesuffix(".").lower() if parts else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _read(declared: str, receive: Receive) -> bytes | None:
    """Return a request's body, or None if the client left before its end."""
    # h11 takes no length of more than 20 digits.
    body = bytearray()
    more = True
    while more:
        if len(body) > _LARGEST_BODY or (declared and int(declared) > _LARGEST_BODY):
            raise Refusal(413, f"the body is larger than {_LARGEST_BODY} bytes")
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


async def _turn_away(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a request of which a part may be on its way, and close the connection.

    Closed with bytes unread, a connection is reset, which could cost the client the response.
    """
    response = JsonResponse(refusal.message, refusal.status, {"Connection": "close"})
    head, body = response.raw_headers, bytes(response.body)
    await send({"type": "http.response.start", "status": refusal.status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_drain(receive), _LINGER_SECONDS)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    more = True
    while more:
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)
