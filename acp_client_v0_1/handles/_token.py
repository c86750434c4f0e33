"""The portable form of a run: a line of text from which another process attaches to it.

A token is ``acprun1.``, a JSON object in base64url, ``.``, and the CRC-32 of that JSON in hex. The
1 is the version. The checksum finds a token that was truncated or mistyped. The checksum does not
prevent forgery, and need not: a token holds no secret, and a client never connects to the server
that a token names. The client only compares that server with its own.

A client token is something else: a mark in the metadata of a run. If the response to a create is
lost, the run is found by this mark.

Invariants: no I/O. Unknown fields are ignored. A token of another version is an error that names
the version. `decode_token` reads what `RunToken.encode` writes, unless the run id begins as a token
does, or the client token has a lone surrogate.
"""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from acp_client_v0_1._arguments import TOKEN_BEGINNING
from acp_client_v0_1._operation import identifier
from acp_client_v0_1.handles.errors import TokenError

if TYPE_CHECKING:
    from acp_client_v0_1.api_client import ApiClient
    from acp_client_v0_1.models.run_create import RunCreate

CLIENT_TOKEN_KEY = "acp-client-token"
"""The key of the run's metadata that holds the client token."""

# `testing.repeatable_tokens` makes the 32 hex digits of a client token from what it is ``about``.
digits_of: Callable[[object], str] | None = None

_VERSION = 1
# The length of a base64 text without padding is never one more than a multiple of four.
_BASE64 = r"(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?={0,2}"
_TOKEN_FORM = re.compile(rf"acprun([0-9]{{1,9}})\.({_BASE64})\.([0-9a-f]{{8}})")


@dataclass(frozen=True, slots=True)
class RunToken:
    """The fields of a token. A field that the token does not have is an empty text."""

    # The origin and the base path of the server.
    server: str
    # The run's id, or "" if only the client token of the run is known.
    run: str = ""
    agent: str = ""
    thread: str = ""
    client_token: str = ""
    # The id of the last event that was handed out.
    last_event_id: str = ""
    # The trace context of the run's last span (W3C Trace Context).
    traceparent: str = ""
    # When the run was created, in seconds since the epoch. Only the token of a run that was created
    # less than two seconds before has this.
    created: str = ""

    def encode(self) -> str:
        """Return the text of the token."""
        values = {name: value for name in self.__slots__ if (value := getattr(self, name))}
        content = json.dumps(values, separators=(",", ":")).encode()
        text = base64.urlsafe_b64encode(content).decode("ascii").rstrip("=")
        return f"acprun{_VERSION}.{text}.{zlib.crc32(content):08x}"


# The forms of the fields that are sent in a body or a header, or read as a number. Any text fits
# the other fields.
_ANY = re.compile(".*", re.DOTALL)
_FIELD_FORMS = {
    "client_token": re.compile(r"[^\ud800-\udfff]*"),
    "last_event_id": re.compile(r"[^\0\r\n\ud800-\udfff]*"),
    "created": re.compile(r"([0-9]{1,12}(\.[0-9]{1,9})?)?"),
}


def decode_token(text: object) -> RunToken:
    """Read a token, or raise `TokenError`."""
    if not isinstance(text, str):
        hint = ": call run.token()" if callable(text) else ""
        raise TokenError(f"a token must be a str, not {type(text).__name__}{hint}")
    text = text.strip()
    beginning = TOKEN_BEGINNING.match(text)
    if beginning is None:
        raise TokenError("this is not the token of a run: it must begin with acprun1.")
    if int(beginning[1]) != _VERSION:
        raise TokenError(
            f"the token is of version {int(beginning[1])}, and this package reads version "
            f"{_VERSION}: upgrade acp-client-v0-1, or use the run's id",
            hint="attach by RunHandle(run_id)",
        )
    form = _TOKEN_FORM.fullmatch(text)
    # The decoder accepts superfluous padding, so it is always added.
    content = b"" if form is None else base64.urlsafe_b64decode(form[2] + "==")
    if form is None or f"{zlib.crc32(content):08x}" != form[3]:
        raise TokenError("the token is damaged: it was cut short or changed; copy all of it")
    try:
        known: Any = json.loads(content)
        token = RunToken(**{name: known.get(name, "") for name in RunToken.__slots__})
        for name in RunToken.__slots__:
            value: object = getattr(token, name)
            if not (isinstance(value, str) and _FIELD_FORMS.get(name, _ANY).fullmatch(value)):
                raise ValueError(f"its {name} must not be {value!r:.30}")
        identifier("run", token.run or "unknown")
    except (AttributeError, RecursionError, ValueError) as error:
        raise TokenError(f"the token cannot be used: {error}") from error
    if not token.server or not (token.run or token.client_token):
        raise TokenError("the token cannot be used: it has no server, or no run id that fits")
    return token


def token_of_create(client: ApiClient, agent_id: str, client_token: str) -> str:
    """Return the token of a create whose run is not known, or "" without a client token."""
    known = RunToken(server_of(client), agent=agent_id, client_token=client_token)
    return known.encode() if client_token else ""


def new_client_token(about: object = None) -> str:
    """Return a client token that no other run has: the hex digits of a random UUID.

    The UUID is of version 4 (RFC 9562, section 5.4). `uuid.uuid4` is not used, because it
    would make a create one per cent slower. ``about`` is the create that the token is for.
    """
    digits = os.urandom(16).hex() if digits_of is None else digits_of(about)
    return f"{digits[:12]}4{digits[13:16]}a{digits[17:]}"


def client_token_of(creation: RunCreate) -> str:
    """Return the client token of a create, or ""."""
    token = (creation.metadata or {}).get(CLIENT_TOKEN_KEY)
    return token if isinstance(token, str) else ""


def server_of(client: ApiClient) -> str:
    """Return the origin and base path of a client's server, in the form that a token has."""
    from acp_client_v0_1._http.urls import parse_target

    return parse_target(client.configuration.host).url.rstrip("/")
