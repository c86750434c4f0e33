"""A request on its way: where it goes, what it carries, and what may follow a redirect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote_plus, urlencode

from urllib3.filepost import encode_multipart_formdata

from acp_client_v0_1._deadline import Deadline, Timeout
from acp_client_v0_1._http.urls import Target
from acp_client_v0_1.exceptions import ApiValueError

__all__ = ["HARMLESS_HEADERS", "Call", "encode_body"]

# What another origin may see. Anything else may be a credential, whatever its name.
HARMLESS_HEADERS = frozenset(
    ("accept", "accept-encoding", "accept-language", "cache-control", "content-type", "user-agent")
)


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way, and what it may cost in time.

    Attributes:
        method: The method.
        target: Where it goes.
        headers: Its headers.
        body: Its body, None for none.
        safe: It may be sent again without changing anything.
        stream: Its answer's body is left to the caller.
        timeout: Limits for single waits.
        deadline: When all of it has to be done.
        foreign: The target is not an origin that was asked for, but one of a redirect.
        credential: A parameter of the query, percent-encoded, that only the origin which was asked
            for may see; kept apart from the target, which errors and logs show.
    """

    method: str
    target: Target
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    safe: bool
    stream: bool
    timeout: Timeout
    deadline: Deadline
    foreign: bool = False
    credential: str = field(default="", repr=False)

    def moved(self, target: Target) -> Call:
        """Give the same call for another place, without credentials if that is another origin."""
        if self.credential:
            target = _without(target, self.credential)
        if target.origin == self.target.origin:
            return replace(self, target=target)
        kept = {k: v for k, v in self.headers.items() if k.lower() in HARMLESS_HEADERS}
        return replace(self, target=target, headers=kept, foreign=True, credential="")


def _without(target: Target, credential: str) -> Target:
    """Leave out of a redirect's target what the server has repeated of the credential."""
    path, mark, query = target.path.partition("?")
    secret = unquote_plus(credential)
    kept = "&".join(part for part in query.split("&") if unquote_plus(part) != secret)
    return replace(target, path=path + mark + kept if kept else path)


def encode_body(
    headers: dict[str, str], body: Any, post_params: Sequence[tuple[str, Any]] | None
) -> bytes | None:
    """Encode what the caller wants to send, as the content type among the headers says.

    Args:
        headers: The request's headers; a content type is added where it is missing.
        body: Bytes or text to send as they are, or an object to send as JSON.
        post_params: Form fields, instead of a body.

    Returns:
        The body, None for none.

    Raises:
        ApiValueError: Both were given, or the object is no JSON.
    """
    if post_params:
        if body is not None:
            raise ApiValueError("body cannot be used together with post_params")
        return _encode_form(headers, post_params)
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    if "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = "application/json"
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ApiValueError(f"body cannot be sent as JSON: {error}") from error


def _encode_form(headers: dict[str, str], fields: Sequence[tuple[str, Any]]) -> bytes:
    kind = next((v for k, v in headers.items() if k.lower() == "content-type"), "")
    if not kind.lower().startswith("multipart/form-data"):
        return urlencode(fields).encode("ascii")
    body, content_type = encode_multipart_formdata(fields)
    for name in [name for name in headers if name.lower() == "content-type"]:
        del headers[name]
    headers["Content-Type"] = content_type  # with its boundary
    return body
