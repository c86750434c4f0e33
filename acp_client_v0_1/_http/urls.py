"""URLs: one strict parser for the configured host, each request, and the targets of redirects.

Invariants: a `Target` has a lower-case scheme and host, an explicit port and a path that starts
with a slash. So two origins are the same (RFC 6454, section 4) if they compare equal. A URL with
user information, a space, a control character or a backslash is refused.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

_PORTS = {"http": 80, "https": 443}
# A host that ends in one of these has the path of an operation.
_OPERATION = re.compile(r"/runs\Z|/(agents|runs|threads)/search\Z")
_BARE_IPV6 = re.compile(r"[0-9a-fA-F.:]*")
# This matches the host and the port of a URL, as far as their brackets go.
_HOST = re.compile(r"[^][]*|\[[^][]*\](:.*)?")
_NO = r"\x00-\x20\x7f\\"
_FORBIDDEN = re.compile(f"[{_NO}]")
# This matches a URL in two groups: the scheme with the authority, and the path with the query.
_URL = re.compile(f"([^/?#{_NO}]*//[^/?#{_NO}]*)([^#{_NO}]*)(?:#[^{_NO}]*)?")
# Python's codec implements IDNA 2003, and the package idna IDNA 2008 (RFC 5891), by which browsers
# go. For some names, each of the two finds another domain. IDNA 2003 replaces these characters, or
# leaves them out.
_DEVIATIONS = re.compile("[ßς\u200c\u200d]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port. Credentials belong to an origin."""

    scheme: str
    host: str
    port: int
    # The value of the ``Host`` header of each request: no default port, and no zone of an IPv6
    # address.
    authority: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "authority", self._authority(self.host.partition("%")[0]))

    def _authority(self, host: str) -> str:
        host = f"[{host}]" if ":" in host else host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        # In a URL, "%25" precedes the zone (RFC 6874, section 2).
        return f"{self.scheme}://{self._authority(self.host.replace('%', '%25'))}"


class Target(NamedTuple):
    """The target of a request: an origin, and the path with its query."""

    origin: Origin
    path: str

    @property
    def url(self) -> str:
        return f"{self.origin}{self.path}"


def checked_host(host: object) -> str:
    """Check a configured host, and return it without trailing slashes."""
    if not isinstance(host, str):
        raise ApiTypeError(f"host must be a str, not {type(host).__name__}")
    if host[:1] in ("'", '"'):
        raise ApiValueError("host stands in quotation marks; remove them")
    if "?" in host or "#" in host:
        raise ApiValueError("host must be a URL without query and fragment")
    parse_target(host, "host")
    host = host.rstrip("/")
    if host.count("://") > 1:
        raise ApiValueError("host is more than one URL: set one, as http://localhost:8000")
    if path := _OPERATION.search(host):
        raise ApiValueError(f"host ends in {path[0]}: leave that out, as the client adds it itself")
    return host


def parse_target(url: str, name: str = "url") -> Target:
    """Split an absolute URL into its origin and path. Errors call the URL ``name``."""
    split = _URL.fullmatch(url)
    if split is None and _FORBIDDEN.search(url):
        raise ApiValueError(f"{name} contains a space, a backslash or a control character")
    base, path = split.groups() if split else (url, "")
    # If a password contains a slash, the "@" after the user information is in the path. So errors
    # quote nothing of a URL that has an "@" anywhere.
    origin = _parse_origin(base, name, "@" not in url)
    return Target(origin, path if path.startswith("/") else f"/{path}")


def split_url(url: str, name: str, *, quotable: bool = False) -> tuple[SplitResult, int | None]:
    """Split a URL into its parts and its port, which is None if the URL has none.

    Errors call the URL ``name``. They quote a part of the URL only if ``quotable`` is true.
    """
    try:
        parts = urlsplit(url)
        if not _HOST.fullmatch(parts.netloc.rpartition("@")[2]):
            raise ValueError
    except ValueError:
        # The message of the ValueError may quote a part of a password, so the error is not chained.
        raise ApiValueError(f"{name} is not a URL: its host or [IPv6] address is wrong") from None
    bare = parts.netloc.rpartition("@")[2]
    # A colon too many is no address: "127.0.0.1:8000:".
    is_ipv6 = "::" in bare.partition(".")[0] or bare.count(":") > 4
    if is_ipv6 and _BARE_IPV6.fullmatch(bare):
        raise ApiValueError(f"{name}: an IPv6 address must be in brackets, as in http://[::1]:8000")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        # Port 0 is refused, because urllib3 would take it for the default port.
        wrong = f": {bare.rpartition(']')[2].partition(':')[2]!r:.80}" if quotable else ""
        raise ApiValueError(f"{name} has a port that is not a number from 1 to 65535{wrong}")
    return parts, port


@functools.lru_cache
def _parse_origin(base: str, name: str, quotable: bool) -> Origin:
    if "@" in base:
        hint = "; set username (ACP_USERNAME) and password (ACP_PASSWORD)" * (name == "host")
        raise ApiValueError(f"{name} must not contain user information{hint}")
    shown = f"{base!r:.80}" if quotable else "it"
    lacking = f"{name} must be a URL such as http://localhost:8000; {shown} lacks"
    if "://" not in base:
        raise ApiValueError(f"{lacking} http:// or https://")
    parts, port = split_url(base, name, quotable=quotable)
    if parts.scheme not in _PORTS:
        raise ApiValueError(f"{name} must begin with http:// or https://")
    if not parts.hostname:
        raise ApiValueError(f"{lacking} the host name")
    host = ascii_host(parts.hostname, name, quotable=quotable)
    return Origin(parts.scheme, host, port or _PORTS[parts.scheme])


def ascii_host(host: str, name: str, *, quotable: bool = True) -> str:
    """Return a host name in ASCII (IDNA), as DNS looks it up.

    Errors call its setting ``name``. They quote the host name only if ``quotable`` is true. In an
    IPv6 address, ``%`` or ``%25`` precedes the zone.
    """
    is_address = ":" in host
    try:
        if not host or _FORBIDDEN.search(host) or ("%" in host and not is_address):
            raise UnicodeError("empty, or with a space, a control character or a percent sign")
        if not host.isascii() and find_spec("idna"):
            host = import_module("idna").encode(host, uts46=True).decode("ascii")
        elif _DEVIATIONS.search(host):
            words = "has a host name with ß, ς or a joiner: write it as xn--…, or install idna"
            raise ApiValueError(f"{name} {words}")
        elif is_address:
            host = host.replace("%25", "%", 1)
        # The codec refuses labels that DNS cannot have, such as one of 64 characters.
        return host.encode("idna").decode("ascii")
    except UnicodeError as error:
        # The UnicodeError may hold the host name, so it is not always chained.
        shown, cause = (f": {host!r:.80}", error) if quotable else ("", None)
        raise ApiValueError(f"{name} has a host name that DNS cannot have{shown}") from cause


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return a host's IP address, or None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine under a name or an address that only it can use."""
    address = address_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)
