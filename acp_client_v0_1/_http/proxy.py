"""Which proxy to use for an origin, and what to tell it.

Strategy: an explicit proxy comes before those of the environment (``http_proxy``, ``https_proxy``,
``all_proxy``). ``Configuration.no_proxy`` holds for both, ``no_proxy`` of the environment for the
environment's own: who names a proxy in code wants it to be used.

Invariants: user information in a proxy's URL becomes a header for that proxy and appears nowhere
else; errors do not repeat the URL.
"""

from __future__ import annotations

import base64
import socket
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from urllib3 import PoolManager
from urllib3.exceptions import NewConnectionError, ProxyError

from acp_client_v0_1._host import Origin
from acp_client_v0_1._http.attempt import set_limit
from acp_client_v0_1._http.connection import BoundedConnection, BoundedHTTPS
from acp_client_v0_1._http.dial import in_time
from acp_client_v0_1._http.pool import RetiringPool
from acp_client_v0_1.exceptions import ApiValueError

if TYPE_CHECKING:
    from acp_client_v0_1.configuration import Configuration

__all__ = ["Proxy", "check_proxy", "proxy_for", "socks_manager"]

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


def proxy_for(configuration: Configuration, origin: Origin) -> Proxy | None:
    """Find the proxy for an origin, None for a direct connection.

    Raises:
        ApiValueError: The proxy's URL cannot be used.
    """
    headers = configuration.proxy_headers or {}
    if configuration.no_proxy is not None and _excludes(configuration.no_proxy, origin):
        return None
    if configuration.proxy is not None:
        return _parse(configuration.proxy, headers, "proxy") if configuration.proxy else None
    url = _from_environment(origin, configuration.no_proxy is None)
    return _parse(url, headers, f"{origin.scheme}_proxy") if url else None


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


def check_proxy(url: str, name: str) -> None:
    """Refuse what is no URL of a proxy.

    Args:
        url: The URL.
        name: What to call it in the error, which does not repeat it.

    Raises:
        ApiValueError: It cannot be used.
    """
    _parse(url, {}, name)


def _parse(url: str, headers: dict[str, str], name: str) -> Proxy:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ApiValueError(f"{name} is not a URL that can be used") from error
    if parts.scheme not in _PORTS or not host:
        schemes = ", ".join(_PORTS)
        raise ApiValueError(f"{name} must be a URL like http://host:port; schemes are {schemes}")
    username = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    told = dict(headers)
    if username is not None and "proxy-authorization" not in {k.lower() for k in told}:
        pair = f"{username}:{password or ''}".encode()
        told["Proxy-Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
    return Proxy(parts.scheme, host, port or _PORTS[parts.scheme], told, username, password)


def socks_manager(proxy: Proxy) -> PoolManager:
    """Make urllib3's manager for a SOCKS proxy, with connections that keep the deadline.

    Raises:
        ApiValueError: PySocks is not installed.
    """
    if find_spec("socks") is None:
        raise ApiValueError("a SOCKS proxy needs PySocks: pip install PySocks")
    from urllib3.contrib import socks

    # `_new_conn` is where urllib3 lets SOCKS in; the rest is as for any other connection.
    class BoundedSOCKS(socks.SOCKSConnection, BoundedConnection):
        def _new_conn(  # pyright: ignore[reportIncompatibleMethodOverride]
            self,
        ) -> socket.socket:
            deadline = self.connecting_deadline()
            self.timeout = deadline.bound()  # PySocks takes it for each single wait
            try:
                sock: socket.socket = in_time(super()._new_conn, deadline, socket.socket.close)
            except NewConnectionError as error:
                raise ProxyError("the SOCKS proxy does not connect", error) from error
            set_limit(sock, deadline.bound())  # for the handshake of TLS
            return sock

    class BoundedSOCKSHTTPS(  # pyright: ignore[reportIncompatibleMethodOverride]
        BoundedSOCKS, socks.SOCKSHTTPSConnection, BoundedHTTPS
    ):
        pass

    class HTTPPool(RetiringPool, socks.SOCKSHTTPConnectionPool):
        ConnectionCls = BoundedSOCKS

    class HTTPSPool(RetiringPool, socks.SOCKSHTTPSConnectionPool):
        ConnectionCls = BoundedSOCKSHTTPS

    manager = socks.SOCKSProxyManager(proxy.url, proxy.username, proxy.password)
    classes: dict[str, Any] = {"http": HTTPPool, "https": HTTPSPool}
    manager.pool_classes_by_scheme = classes
    return manager
