"""Which proxy leads to an origin, what its URL says, and what to tell it.

Strategy: an explicit proxy comes before those of the environment (``http_proxy``, ``https_proxy``,
``all_proxy``). ``Configuration.no_proxy`` holds for both, ``no_proxy`` of the environment for the
environment's own: who names a proxy in code wants it to be used.

Invariants: user information in the URL becomes a header for that proxy and appears nowhere else;
errors do not repeat the URL, not even those that they were raised from.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import unquote

from acp_client_v0_1._http.urls import Origin, split_url
from acp_client_v0_1.exceptions import ApiValueError

if TYPE_CHECKING:
    from acp_client_v0_1.configuration import Configuration

__all__ = ["Proxy", "parse_proxy", "proxy_for"]

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


def proxy_for(configuration: Configuration, origin: Origin) -> Proxy | None:
    """Find the proxy for an origin, None for a direct connection.

    Raises:
        ApiValueError: The proxy's URL cannot be used.
    """
    headers = configuration.proxy_headers or {}
    if configuration.no_proxy is not None and _excludes(configuration.no_proxy, origin):
        return None
    if configuration.proxy is not None:
        return parse_proxy(configuration.proxy, "proxy", headers) if configuration.proxy else None
    url = _from_environment(origin, configuration.no_proxy is None)
    return parse_proxy(url, f"{origin.scheme}_proxy", headers) if url else None


def _from_environment(origin: Origin, with_exceptions: bool) -> str | None:
    # Slow to import, and needed for the first connection only.
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    url = proxies.get(origin.scheme) or proxies.get("all")
    if not url:
        return None
    # The system may know exceptions beside the variable.
    if with_exceptions and (_excludes(proxies.get("no", ""), origin) or proxy_bypass(origin.host)):
        return None
    return url if "://" in url else f"http://{url}"


def _excludes(no_proxy: str, origin: Origin) -> bool:
    """Say whether a list of exceptions names a host: by name, domain, network, or ``*``."""
    host = origin.host.lower()
    for entry in no_proxy.lower().replace(" ", ",").split(","):
        name = entry.removesuffix(f":{origin.port}").strip("[]").removeprefix("*.").lstrip(".")
        if not name:
            continue
        if entry == "*" or host == name or host.endswith(f".{name}") or _in_network(host, name):
            return True
    return False


def _in_network(host: str, network: str) -> bool:
    if "/" not in network:
        return False
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False  # one of them is a name
