"""The first checks of a request: its host, the size of its body, its keys.

A page in a browser can have its own name resolve to 127.0.0.1 and so reach a server on this machine
(DNS rebinding). Its requests have that name in `Host`, and are refused. A request that is refused
here is not recorded. The keys are checked later, after the faults and before the routes, as the
gateway of a real server would.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Collection, Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from acp_client_v0_1._http.urls import address_of, is_loopback
from acp_client_v0_1.testing._server.validation import BODY, JsonResponse, Refusal
from acp_client_v0_1.testing._values import check_header

# A body has at most this many bytes.
_LARGEST_BODY = 64 * 1024 * 1024
_LINGER_SECONDS = 2.0

# It has only characters that need no percent-encoding (RFC 3986, section 2.3), and so one spelling.
_BASE_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::[0-9]*)?")


def base_path_of(text: str) -> str:
    """Return a base path as routes take it, or raise ValueError if it is not plain."""
    path = text.removesuffix("/")
    if not _BASE_PATH.fullmatch(path) or not {".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(f'base_path must be a path such as "/acp/v0", not {text!r}')
    return path


def required_headers(api_key: Mapping[str, str] | tuple[str, str] | None) -> dict[str, str]:
    """Return the headers that each request must have, or raise ValueError."""
    headers = dict([api_key]) if isinstance(api_key, tuple) else dict(api_key or {})
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("api_key: a header is there twice, as HTTP ignores its case")
    for name, value in headers.items():
        check_header("api_key", name, value)
        if not value:
            raise ValueError(f"api_key: the value of {name} cannot be empty")
    return headers


def check_keys(given: Headers, required: Mapping[str, str]) -> None:
    for name, value in required.items():
        if name not in given:
            raise Refusal(401, f"the header {name} is missing")
        if given.getlist(name) != [value]:
            raise Refusal(401, f"the header {name} has a wrong value")


class Gate:
    """ASGI middleware that reads each request whole, or refuses it by its host or its size."""

    def __init__(self, app: ASGIApp, host: str, allowed_hosts: Collection[str]) -> None:
        self._app = app
        self._allowed = {name.lower() for name in (host, *allowed_hosts)}
        for name in self._allowed:
            if not _NAME.fullmatch(name) and address_of(name) is None:
                where = "host" if name == host.lower() else "allowed_hosts"
                raise ValueError(f"{where}: {name!r} is not a host name without port")

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
        parts = _HOST.fullmatch(text)
        name = parts[1].strip("[]").removesuffix(".").lower() if parts else ""
        known = name in self._allowed or name == scope["server"][0]
        if not (known or is_loopback(name) or name.endswith(".localhost")):
            raise Refusal(
                421, f"Host: {text!r} is not this server; see allowed_hosts of LocalServer"
            )


async def _read(declared: str, receive: Receive) -> bytes | None:
    """Return a request's body, or None if the client left before its end."""
    # h11 lets only digits pass, at most 20, so int() cannot fail below.
    body = bytearray()
    while True:
        if len(body) > _LARGEST_BODY or (declared and int(declared) > _LARGEST_BODY):
            raise Refusal(413, f"the body is larger than {_LARGEST_BODY} bytes")
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def _turn_away(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a request that may still be arriving, and close the connection.

    Closing with bytes unread resets the connection, and the client could lose the response. So
    the rest of the request is read first.
    """
    response = JsonResponse(refusal.message, refusal.status, {"Connection": "close"})
    head, body = response.raw_headers, bytes(response.body)
    await send({"type": "http.response.start", "status": refusal.status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_drain(receive), _LINGER_SECONDS)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    while (await receive()).get("more_body", False):
        pass
