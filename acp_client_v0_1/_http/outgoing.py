"""A request as it goes out: its target, its headers, and the function that signs it.

Invariants: a signature comes last, so it covers every other header. A request is signed for the
configured origin only, and never after a cross-origin redirect. No repr shows the value of a header
or of a query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from urllib3 import HTTPHeaderDict

from acp_client_v0_1._errors import calling_function
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.headers import checked_headers, merge_headers, plain_text
from acp_client_v0_1._text import one_line
from acp_client_v0_1.exceptions import ApiTypeError

# This matches the characters that must be percent-encoded in a path or a query (RFC 3986, section
# 3.3). "%" is not among them, because the caller may have encoded some characters already. One at a
# time, as `re` finds a single character of a set in less than half of the time.
_NOT_IN_TARGET = re.compile(r"[^!$%&'()*+,\-./0-9:;=?@A-Z_a-z~]")
# A request with one of these methods and without a body has no Content-Length.
_BODILESS = ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT")
_LENGTH = "Content-Length"


def path_of(call: Call) -> str:
    """Return the path and the query of a request, percent-encoded, with its credential."""
    path = call.target.path
    if call.credential:
        path += ("&" if "?" in path else "?") + call.credential
    return _NOT_IN_TARGET.sub(lambda found: quote(found[0]), path)


def request_head(
    method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    """Write the head of a request (RFC 9112, sections 3 and 5).

    ``target`` is one of the following:

    * a path with its query, of `path_of`
    * for an HTTP proxy, an absolute URL with such a path
    * for CONNECT, a host and a port

    ``headers`` must have passed `checked_headers`. If they lack ``Host``, ``Accept-Encoding`` or
    ``Cache-Control``, the missing header is added.
    """
    names = set(map(str.lower, headers))
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in names:
        lines.append(f"Host: {host}")
    if "accept-encoding" not in names:
        lines.append("Accept-Encoding: identity")
    if "cache-control" not in names:
        # A cache in between would return the state that a run had some time ago.
        lines.append("Cache-Control: no-cache")
    if body is not None or method not in _BODILESS:
        lines.append(f"{_LENGTH}: {len(body or b'')}")
    # Not by an f-string: it would write the name of an enum's member, and not the value that was
    # checked.
    lines += map(": ".join, headers.items())
    return "\r\n".join((*lines, "", "")).encode("latin-1")


class RequestHeaders(HTTPHeaderDict):
    """Headers of a request. Their names ignore case, and the repr shows no value."""

    def __setitem__(self, name: str, value: str) -> None:
        name = plain_text(name, "the name of a header")
        super().__setitem__(name, plain_text(value, f"header {name!r}"))

    def __repr__(self) -> str:
        return one_line(dict.fromkeys(self, "***"))


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A request as it goes out: what ``Configuration.auth`` signs, and what a transport sends.

    Attributes:
        method: The HTTP method.
        url: The absolute URL, percent-encoded, with its query.
        headers: All headers, ``Host`` and ``Content-Length`` among them. Their names ignore case.
            ``Configuration.auth`` may change them, except for ``Content-Length``.
        body: The content, or None.
        cross_origin: True if a cross-origin redirect led to ``url``. Then the request has no
            credentials, and a transport should not use a client certificate.
    """

    method: str
    url: str = field(repr=False)
    headers: MutableMapping[str, str]
    body: bytes | None = field(repr=False)
    cross_origin: bool = False


def outgoing(call: Call) -> OutgoingRequest:
    """Return the request of a call, with the headers that the transport itself adds."""
    origin = call.target.origin
    own = {"Host": origin.authority, "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
    headers = RequestHeaders(merge_headers(own, call.headers))
    if call.body is not None or call.method not in _BODILESS:
        headers[_LENGTH] = str(len(call.body or b""))
    url = f"{origin}{path_of(call)}"
    return OutgoingRequest(call.method, url, headers, call.body, call.cross_origin)


def signed(call: Call, auth: Callable[[OutgoingRequest], object]) -> Call:
    """Return a copy of the call with the headers that ``auth`` sets.

    Whatever ``auth`` raises passes unchanged.
    """
    request = outgoing(call)
    length = request.headers.get(_LENGTH)
    with calling_function():
        returned = auth(request)
        if not (returned is None or returned is request):
            words = "auth must change request.headers and return None"
            raise ApiTypeError(f"{words}, and it returned {type(returned).__name__}")
        if request.headers.get(_LENGTH) == length:
            request.headers.pop(_LENGTH, None)
        return replace(call, headers=checked_headers(dict(request.headers)))
