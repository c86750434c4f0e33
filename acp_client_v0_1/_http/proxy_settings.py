"""What the URL of a proxy says: where it is, and what to tell it.

Invariants: user information in the URL becomes a header for that proxy and appears nowhere else;
errors do not repeat the URL, not even those that they were raised from.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from acp_client_v0_1._http.urls import split_url
from acp_client_v0_1.exceptions import ApiValueError

__all__ = ["Proxy", "parse_proxy"]

_PORTS = {
    "http": 80,
    "https": 443,
    "socks4": 1080,
    "socks4a": 1080,
    "socks5": 1080,
    "socks5h": 1080,
}


@dataclass(frozen=True, slots=True, eq=False)
class Proxy:
    """A proxy, with what only it may know."""

    scheme: str
    host: str
    port: int
    headers: dict[str, str] = field(repr=False)
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)

    @property
    def url(self) -> str:
        """Where it is, without user information."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_socks(self) -> bool:
        """True for a SOCKS proxy, False for an HTTP proxy."""
        return self.scheme.startswith("socks")


def parse_proxy(url: str, name: str, headers: Mapping[str, str] | None = None) -> Proxy:
    """Read the URL of a proxy.

    Args:
        url: The URL.
        name: What to call the URL in the error, which does not repeat it.
        headers: What to tell the proxy besides.

    Returns:
        The proxy.

    Raises:
        ApiValueError: It cannot be used.
    """
    parts, port = split_url(url, name)
    host = parts.hostname
    if parts.scheme not in _PORTS or not host:
        schemes = ", ".join(_PORTS)
        raise ApiValueError(f"{name} must be a URL like http://host:port; schemes are {schemes}")
    username = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    told = dict(headers or {})
    if username is not None and "proxy-authorization" not in {k.lower() for k in told}:
        pair = f"{username}:{password or ''}".encode()
        told["Proxy-Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
    return Proxy(parts.scheme, host, port or _PORTS[parts.scheme], told, username, password)
