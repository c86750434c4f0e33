"""The portable form of a run: a line of text from which another process attaches to it.

A token is ``acprun1.``, a JSON object in base64url, ``.``, and the CRC-32 of that JSON in hex. The
1 is the version. The checksum finds a token that was truncated or mistyped. The checksum does not
prevent forgery, and need not: a token holds no secret, and a client never connects to the server
that a token names. The client only compares that server with its own.

A client token is something else: a text in the metadata of a run, see `_marks`.

Invariants: no I/O. Unknown fields are ignored. A token of another version is an error that names
the version. `decode_token` reads what `RunToken.encode` writes, unless the run id begins as a token
does, or the client token has a lone surrogate.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from acp_client_v0_1._arguments import TOKEN_BEGINNING
from acp_client_v0_1._operation import identifier
from acp_client_v0_1.handles._marks import CLIENT_TOKEN_KEY, CREATE_KEY, Mark, by_key
from acp_client_v0_1.handles.errors import TokenError

if TYPE_CHECKING:
    from acp_client_v0_1.api_client import ApiClient

_VERSION = 1
# The length of a base64 text without padding is never one more than a multiple of four.
_BASE64 = r"(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?={0,2}"
_TOKEN_FORM = re.compile(rf"acprun([0-9]{{1,9}})\.({_BASE64})\.([0-9a-f]{{8}})")


@dataclass(frozen=True, slots=True)
class RunToken:
    """The fields of a token. A field that the token does not have is an empty text."""

    # The origin and the base path of the server.
    server: str
    # The run's id, or "" if only the mark of the run is known.
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
    # The mark of the create, if it stands beside a caller's client token.
    create_mark: str = ""

    @property
    def mark(self) -> Mark | None:
        """The mark of the run's create. An older client has sent the client token alone."""
        if self.create_mark:
            return Mark(CREATE_KEY, self.create_mark, self.client_token)
        return Mark(CLIENT_TOKEN_KEY, self.client_token) if self.client_token else None

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
    "create_mark": re.compile(r"([0-9a-f]{32}-[0-9a-f]{32})?"),
}


def decode_token(text: object) -> RunToken:
    """Read a token, or raise `TokenError`."""
    if not isinstance(text, str):
        hint = ": call run.token()" if callable(text) else ""
        raise TokenError(f"a token must be a str, not {type(text).__name__}{hint}")
    text = text.strip()
    beginning = TOKEN_BEGINNING.match(text)
    if beginning is None:
        why = "this is not the token of a run: it must begin with acprun1."
        raise TokenError(why, hint="for the id of a run, use RunHandle(run_id, client)")
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


def token_of_create(client: ApiClient, agent_id: str, *marks: Mark) -> str:
    """Return the token of a create whose run is not known, or "" without a client token."""
    known = by_key(*marks)
    client_token, own = known.get(CLIENT_TOKEN_KEY, ""), known.get(CREATE_KEY, "")
    server = server_of(client)
    token = RunToken(server, agent=agent_id, client_token=client_token, create_mark=own)
    return token.encode() if client_token else ""


def server_of(client: ApiClient) -> str:
    """Return the origin and base path of a client's server, in the form that a token has."""
    from acp_client_v0_1._http.urls import parse_target

    return parse_target(client.configuration.host).url.rstrip("/")
