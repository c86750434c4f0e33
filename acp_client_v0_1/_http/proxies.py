"""The proxy for an origin: its URL, its credentials and its headers.

Strategy: these settings and variables choose the proxy of an origin:

* ``Configuration.proxy`` overrides the proxies of the environment (``http_proxy``, ``https_proxy``,
  ``all_proxy``).
* ``Configuration.no_proxy`` lists hosts that use no proxy at all. If this setting is not None, the
  environment's ``no_proxy`` is ignored.
* The environment's ``no_proxy`` lists hosts that use no proxy of the environment. These hosts still
  use ``Configuration.proxy``, because that proxy is set for this client alone.

Invariants: the user information in a proxy's URL goes to this proxy only, as a header or in the
handshake of SOCKS. Neither errors nor their causes repeat the URL.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import unquote

from acp_client_v0_1._http.headers import basic_credentials
from acp_client_v0_1._http.urls import Origin, ascii_host, is_loopback, split_url
from acp_client_v0_1.exceptions import ApiValueError

_SOCKS = ("socks4", "socks4a", "socks5", "socks5h")
_PORTS = {"http": 80, "https": 443, **dict.fromkeys(_SOCKS, 1080)}

own_ports: set[int] = set()
"""The ports of the servers that `testing` runs in this process. No environment's proxy is for them.

``testing`` adds and removes them.
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. ``str`` and ``repr`` show neither its credentials nor its headers."""

    scheme: str
    host: str
    port: int
    # The setting or the variable that names the proxy, for errors.
    source: str
    headers: dict[str, str] = field(repr=False)
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    # The end of an error's text about this proxy.
    advice: str = ""

    def __str__(self) -> str:
        whose = "Configuration.proxy (ACP_PROXY)" if self.source == "proxy" else self.source
        return f"the proxy {self.url} of {whose}{self.advice}"

    @property
    def url(self) -> str:
        """The URL, without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_socks(self) -> bool:
        return self.scheme in _SOCKS


def parse_proxy(url: str, name: str, headers: Mapping[str, str] | None = None) -> Proxy:
    """Parse the URL of a proxy. Errors call the URL ``name``.

    The user information of the URL becomes a ``Proxy-Authorization`` header, unless ``headers``
    have such a header already.
    """
    parts, port = split_url(url, name)
    host = parts.hostname
    if parts.scheme not in _PORTS or not host:
        schemes = ", ".join(_PORTS)
        raise ApiValueError(f"{name} must be a URL like http://host:port; schemes are {schemes}")
    username = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    own = dict(headers or {})
    if username is not None and "proxy-authorization" not in {k.lower() for k in own}:
        own["Proxy-Authorization"] = basic_credentials(username, password or "", name)
    port = port or _PORTS[parts.scheme]
    host = ascii_host(host, name, quotable=False)
    return Proxy(parts.scheme, host, port, name, own, username, password)


def usable_proxy(configuration: Any, origin: Origin) -> Proxy | None:
    """Return the proxy for an origin, or None. Raise `ApiValueError` if a package is missing."""
    settings = configuration.proxy, configuration.no_proxy, configuration.proxy_headers
    proxy = proxy_for(origin, *settings)
    if proxy is not None and proxy.is_socks and find_spec("socks") is None:
        raise ApiValueError("a SOCKS proxy needs PySocks: pip install PySocks")
    return proxy


def proxy_for(
    origin: Origin, proxy: str | None, no_proxy: str | None, headers: Mapping[str, str]
) -> Proxy | None:
    """Return the proxy for an origin, or None if connections to the origin use no proxy.

    The arguments after ``origin`` are ``proxy``, ``no_proxy`` and ``proxy_headers`` of a
    `Configuration`.
    """
    if no_proxy is not None and _excludes(no_proxy, origin):
        return None
    url, name = _from_environment(origin, no_proxy is None) if proxy is None else (proxy, "proxy")
    if not url:
        return None
    setting = "no_proxy (ACP_NO_PROXY) to " if name == "proxy" else "no_proxy="
    advice = f"; set {setting}{origin.host}" if is_loopback(origin.host) else ""
    return replace(parse_proxy(url, name, headers), advice=advice)


def _from_environment(origin: Origin, with_exceptions: bool) -> tuple[str, str]:
    """Return the URL of a proxy, and the variable that names it. Both are "" if there is no proxy.

    If ``with_exceptions`` is true, the hosts in the environment's ``no_proxy`` use no proxy.
    """
    # urllib.request takes long to import, so it is not imported before the first connection.
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    name = origin.scheme if proxies.get(origin.scheme) else "all"
    url = proxies.get(name, "")
    if not url or (origin.port in own_ports and is_loopback(origin.host)):
        return "", ""
    # On macOS and Windows, proxy_bypass() also reads the exceptions in the system's settings.
    if with_exceptions and (_excludes(proxies.get("no", ""), origin) or proxy_bypass(origin.host)):
        return "", ""
    # The name is shown as it is written. If there are two, the one in lower case counts. On macOS
    # and Windows, there may be no such variable.
    variable = f"{name}_proxy"
    names = (each for each in (variable, *os.environ) if each.lower() == variable)
    written = next((each for each in names if os.environ.get(each)), variable)
    return url if "://" in url else f"http://{url}", written


def _excludes(no_proxy: str, origin: Origin) -> bool:
    """Return whether ``no_proxy`` names the host, its domain, its network, or ``*``."""
    host = origin.host.lower().rstrip(".")
    for entry in no_proxy.lower().replace(" ", ",").split(","):
        # An IPv6 address without brackets may end in a group that looks like a port, as in
        # ``fe80::8000``. Such an entry cannot have a port.
        port = f":{origin.port}" if "]" in entry or entry.count(":") == 1 else ""
        name = entry.removesuffix(port).strip("[]").removeprefix("*.").strip(".")
        if name and (entry == "*" or f".{host}".endswith(f".{name}") or _in_network(host, name)):
            return True
    return False


def _in_network(host: str, network: str) -> bool:
    try:
        return "/" in network and ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        # The host is a name, or the entry is not a network.
        return False
