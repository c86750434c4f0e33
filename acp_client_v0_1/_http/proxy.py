"""Which proxy to use for an origin, and what to tell it.

Strategy: an explicit proxy comes before those of the environment (``http_proxy``, ``https_proxy``,
``all_proxy``). ``Configuration.no_proxy`` holds for both, ``no_proxy`` of the environment for the
environment's own: who names a proxy in code wants it to be used.
"""

from __future__ import annotations

import socket
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from urllib3 import PoolManager
from urllib3.exceptions import NewConnectionError, ProxyError

from acp_client_v0_1._http.attempt import set_limit
from acp_client_v0_1._http.connection import BoundedConnection, BoundedHTTPS
from acp_client_v0_1._http.dial import in_time
from acp_client_v0_1._http.pool import RetiringPool
from acp_client_v0_1._http.proxy_settings import Proxy, parse_proxy
from acp_client_v0_1._http.urls import Origin
from acp_client_v0_1.exceptions import ApiValueError

if TYPE_CHECKING:
    from acp_client_v0_1.configuration import Configuration

__all__ = ["proxy_for", "socks_manager"]


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
            try:
                set_limit(sock, deadline.bound())  # for the handshake of TLS
            except BaseException:
                sock.close()
                raise
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
