"""Whether to follow a redirect, and with what (RFC 9110, section 15.4).

Strategy: redirects are followed here, one at a time, under the call's deadline, because the rules
for what may come along are ours: method and body never change, and another origin gets no
credentials.

Invariants: a POST is never turned into a GET. 307 and 308 are followed with method and body; 301,
302 and 303, for which the standard lets a client change the method, are followed only by GET and
HEAD, and are handed to the caller otherwise.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin

from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.urls import parse_target
from acp_client_v0_1.exceptions import ProtocolException

__all__ = ["MAX_REDIRECTS", "redirected"]

MAX_REDIRECTS = 10

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def redirected(call: Call, status: int, location: str | None, hops: int) -> Call | None:
    """Decide where an answer leads.

    Args:
        call: The request that was answered.
        status: The answer's status.
        location: Its ``Location``.
        hops: How many redirects were followed before.

    Returns:
        The request to send next, None where the answer is to be taken as it is.

    Raises:
        ProtocolException: The redirect must not be followed: from https to http, to something
            that is no http(s) URL, or one too many.
    """
    if location is None or status not in (301, 302, 303, 307, 308):
        return None
    if status not in (307, 308) and call.method not in ("GET", "HEAD"):
        return None
    if hops >= MAX_REDIRECTS:
        raise _refused(call, status, f"more than {MAX_REDIRECTS} redirects")
    try:
        url = urljoin(call.target.url, _ascii(location.strip()))
        target = parse_target(url, "the redirect's target")
    except ValueError as error:  # of both; it is an ApiValueError that says why
        raise _refused(call, status, f"a redirect that cannot be followed: {error}") from error
    if call.target.origin.scheme == "https" and target.origin.scheme == "http":
        raise _refused(call, status, f"a redirect from https to {target.origin} is not followed")
    return call.moved(target)


def _ascii(location: str) -> str:
    """Encode what a server should have encoded, byte by byte as it was sent."""
    return _NOT_ASCII.sub(lambda found: quote(found[0].encode("latin-1", "replace")), location)


def _refused(call: Call, status: int, reason: str) -> ProtocolException:
    failure = ProtocolException(status, reason, method=call.method, url=call.target.url)
    failure.sent = True
    return failure
