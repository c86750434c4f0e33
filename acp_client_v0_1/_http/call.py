"""One call: its target, its headers and body, and its redirects (RFC 9110, section 15.4).

Redirects that are followed:

* 307 and 308 with any method.
* 301, 302 and 303 with GET and HEAD only. With any other method, the caller gets the response with
  this status. The reason is that the standard lets a client turn a POST into a GET here, so the
  server may expect a GET at the target.

Invariants: a redirect never changes the method or the body. After a cross-origin redirect, the
request has no credentials.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, unquote_plus, urljoin

from urllib3 import HTTPHeaderDict

from acp_client_v0_1._deadline import Deadline, Timeout
from acp_client_v0_1._http.headers import Asking, utf8
from acp_client_v0_1._http.urls import Target, parse_target
from acp_client_v0_1.exceptions import ApiValueError, ProtocolException

_MOST_REDIRECTS = 10

# A shorter secret may occur in any text by chance. So a shorter secret is looked for together with
# the name of its parameter, as in ``key=abc``.
_SHORTEST_SECRET = 8

# A header with such a name has a credential, which an error does not quote from a server's text.
_SECRET_NAMES = re.compile("auth(?!or$)|cookie|(?<!idempotency-)key|secret|token", re.IGNORECASE)

# Servers send these characters in the target of a redirect: spaces, and bytes beyond ASCII.
_TO_ENCODE = re.compile(r"[^\x00-\x1f\x21-\x7f]+")

# After a cross-origin redirect, a request keeps only these headers. Any other header may be a
# credential, whatever its name.
HARMLESS_HEADERS = frozenset(
    ("accept", "accept-encoding", "accept-language", "cache-control", "content-type", "user-agent")
)
# A log shows the values of these headers.
SHOWN_HEADERS = HARMLESS_HEADERS.union(
    ("last-event-id", "request-id", "traceparent", "x-correlation-id", "x-request-id")
)


# Nothing changes an instance. The class is not frozen, because making a frozen instance takes three
# times as long, and each request makes one.
@dataclass(slots=True)
class Call:
    """One call: its request and its timeouts."""

    method: str
    target: Target
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    # A safe request changes nothing, so it can be sent again.
    safe: bool
    # If True, the body of the response is left unread for the caller.
    stream: bool
    # The timeout bounds single waits. The deadline bounds the whole call.
    timeout: Timeout
    deadline: Deadline
    # True if a cross-origin redirect led to the target. Then the call has no credentials.
    cross_origin: bool = False
    # A percent-encoded query parameter such as ``key=abc``, which only the configured origin gets.
    # The target does not contain this parameter, because errors and logs show the target.
    credential: str = field(default="", repr=False)
    # The path of the operation, with its parameters as {name}.
    route: str = ""
    # None if no function gives credentials. ``renewed`` is 1 if the call was sent again with other
    # credentials, after a 401.
    asking: Asking | None = None
    renewed: int = 0
    # The number of redirects that the call has followed, and whether one of them led to another
    # path. A slash at the end makes no other path.
    hops: int = 0
    elsewhere: bool = False

    @property
    def path(self) -> str:
        """The path for logs. It leaves out the query, which may hold a secret."""
        return self.target.path.partition("?")[0]

    @property
    def credentials(self) -> str:
        """The names of the headers and the query parameter that may be credentials."""
        names = [name for name in self.headers if name.lower() not in SHOWN_HEADERS]
        return ", ".join([*names, *filter(None, [self.credential.partition("=")[0]])])

    def hidden(self, text: str) -> str:
        """Return a text of a server with ``***`` for each credential that the server echoes.

        A proxy may write a page such as "Cannot GET /runs/r1?key=…". A secret of fewer than 8
        characters is not looked for, as it may be a part of any word.
        """
        values = [v for k, v in self.headers.items() if _SECRET_NAMES.search(k)]
        coded = self.credential.partition("=")[2]
        for value in (coded, unquote_plus(coded), *values):
            secret = value.rpartition(" ")[2]
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "***")
        return text

    def without_credential(self, headers: HTTPHeaderDict) -> HTTPHeaderDict:
        """Return the headers of a response without the credential, which the server may echo.

        Only for a call that has a credential.

        ``Location`` and ``Content-Location`` lose the parameter and the fragment. If another header
        contains the credential (``Link`` may), the whole value of this header becomes ``***``.
        """
        pair = unquote_plus(self.credential)
        value = pair.partition("=")[2]
        secret = value if len(value) >= _SHORTEST_SECRET else pair
        kept = HTTPHeaderDict()
        for name, value in headers.items():
            if name.lower() in ("location", "content-location"):
                value = _without_credential(value, pair, secret)
            elif _shows(value, secret):
                value = "***"
            kept.add(name, value)
        return kept

    def moved(self, target: Target) -> Call:
        """Return the same call for another target, without credentials if the origin differs."""
        path = target.path.partition("?")[0].rstrip("/")
        elsewhere = self.elsewhere or path != self.path.rstrip("/")
        call = replace(self, target=target, hops=self.hops + 1, elsewhere=elsewhere)
        if target.origin == self.target.origin:
            return call
        kept = {k: v for k, v in self.headers.items() if k.lower() in HARMLESS_HEADERS}
        return replace(call, headers=kept, cross_origin=True, credential="", asking=None)


def _without_credential(url: str, pair: str, secret: str) -> str:
    base, mark, query = url.partition("#")[0].partition("?")
    kept = "&".join(part for part in query.split("&") if unquote_plus(part) != pair)
    # If another parameter repeats the secret, the whole query goes.
    return base if not kept or _shows(kept, secret) else base + mark + kept


def _shows(text: str, secret: str) -> bool:
    """Return whether a text contains a secret, as it is or percent-encoded once or twice.

    A plus sign and a space count as equal, because a query may show a space as a plus sign.
    """
    once = unquote_plus(text)
    shown = (each.replace("+", " ") for each in (text, once, unquote_plus(once)))
    return any(secret.replace("+", " ") in each for each in shown)


def redirected(call: Call, status: int, locations: Collection[str]) -> Call | None:
    """Return the call that follows a redirect.

    Return None if the response is no redirect, or if its status is not followed with this method.
    Raise `ProtocolException` in four cases:

    * The call has followed 10 redirects already.
    * There are several targets.
    * The target is not valid.
    * The redirect leads from https to http.
    """
    followed = (301, 302, 303, 307, 308) if call.method in ("GET", "HEAD") else (307, 308)
    if not locations or status not in followed:
        return None
    if call.hops >= _MOST_REDIRECTS:
        raise _refused(call, status, f"more than {_MOST_REDIRECTS} redirects")
    if len(locations) > 1:
        raise _refused(call, status, "a redirect to several targets")
    try:
        (location,) = locations
        # A URL is ASCII without spaces. Other bytes that the server has sent are percent-encoded.
        location = _TO_ENCODE.sub(lambda found: quote(found[0].encode("latin-1")), location)
        if "\t" in location:
            # urljoin would leave it out.
            raise ApiValueError("its target contains a control character")
        url = urljoin(call.target.url, location)
        target = parse_target(url, "the redirect's target")
    except ValueError as error:
        # urljoin raises ValueError, and parse_target its subclass ApiValueError.
        raise _refused(call, status, f"a redirect that cannot be followed: {error}") from error
    if call.target.origin.scheme == "https" and target.origin.scheme == "http":
        raise _refused(call, status, f"a redirect from https to {target.origin} is not followed")
    return call.moved(target)


def _refused(call: Call, status: int, reason: str) -> ProtocolException:
    failure = ProtocolException(status, reason, method=call.method, url=call.target.url)
    failure.sent = True
    return failure


def encode_body(headers: dict[str, str], body: Any) -> bytes | None:
    """Encode a request's body. Bytes and text are sent as they are, any other object as JSON.

    JSON without a ``Content-Type`` gets one in ``headers``.
    """
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return utf8(body, "body")
    if "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = "application/json"
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ApiValueError(f"body cannot be sent as JSON: {error}") from error
