"""What a host may look like: an http(s) URL with an optional base path, and nothing hidden in it.

Strategy: one strict parser for the configured host, for each request's URL and for the targets of
redirects, so that "the same origin" (RFC 6454, section 4) means the same everywhere.

Invariants: a `Target` has a lower-case scheme and host, an explicit port and a path that starts
with a slash; user information, control characters and backslashes never get through.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

__all__ = ["Origin", "Target", "checked_host", "parse_target", "split_url"]

_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"([^/?#]*//[^/?#]*)([^#]*)")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what credentials belong to."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The ``Host`` header's value: without the scheme's default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: an origin, and the path with its query."""

    origin: Origin
    path: str

    @property
    def url(self) -> str:
        """The target as an absolute URL."""
        return f"{self.origin}{self.path}"


def checked_host(host: object) -> str:
    """Check a configured host.

    Args:
        host: An http(s) URL; a base path is fine, a trailing slash is dropped.

    Returns:
        The host without a trailing slash.

    Raises:
        ApiTypeError: It is no string.
        ApiValueError: It is no such URL.
    """
    if not isinstance(host, str):
        raise ApiTypeError(f"host must be a string, not {type(host).__name__}")
    if "?" in host or "#" in host:
        raise ApiValueError("host must be a URL without query and fragment")
    parse_target(host, "host")
    return host.rstrip("/")


def parse_target(url: str, name: str = "url") -> Target:
    """Split an absolute URL into its origin and path; a fragment is dropped.

    Args:
        url: The URL.
        name: What to call it in errors, which never repeat its user information.

    Returns:
        Where it leads.

    Raises:
        ApiValueError: It is no absolute http(s) URL, or has user information.
    """
    if _FORBIDDEN.search(url):
        raise ApiValueError(f"{name} contains a space, a backslash or a control character")
    split = _AUTHORITY.match(url)
    base, path = split.groups() if split else (url, "")
    return Target(_parse_origin(base, name), path if path.startswith("/") else f"/{path}")


def split_url(url: str, name: str) -> tuple[SplitResult, int | None]:
    """Split a URL into its parts, and its port into a number.

    Args:
        url: The URL.
        name: What to call it in the error, which shows no part of it.

    Returns:
        The parts, and the port if it names one.

    Raises:
        ApiValueError: It cannot be split.
    """
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:  # which may quote a part of a password
        raise ApiValueError(f"{name} is not a URL that can be used") from None


@functools.lru_cache(maxsize=256)
def _parse_origin(base: str, name: str) -> Origin:
    parts, port = split_url(base, name)
    host = parts.hostname
    if "@" in base:
        raise ApiValueError(
            f"{name} must not contain user information; set username and password instead"
        )
    if parts.scheme not in _PORTS or not host:
        raise ApiValueError(f"{name} must be a URL like http://host or https://host, not {base!r}")
    if port is None:
        port = _PORTS[parts.scheme]
    elif port == 0:  # urllib3 would take it for the default
        raise ApiValueError(f"{name} must not name port 0")
    return Origin(parts.scheme, _ascii_host(host, name), port)


def _ascii_host(host: str, name: str) -> str:
    try:
        ascii_host = host.encode("idna").decode("ascii")  # refuses labels that DNS cannot have
        return host if host.isascii() else ascii_host
    except UnicodeError as error:
        raise ApiValueError(f"{name} has a host name that is not valid: {host!r}") from error
