"""Settings from environment variables.

One table maps each argument of ``Configuration`` to the function that parses its text. Its variable
has the argument's name, and some have a second one. The value is then checked like any other.

Invariants: an empty variable counts as not set. An error names the variable, and shows no secret.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from acp_client_v0_1._http.headers import TOKEN
from acp_client_v0_1._http.urls import checked_host
from acp_client_v0_1.configuration._checks import checked
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

T = TypeVar("T")

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


def settings(prefix: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``Configuration``, with the overrides."""
    found: dict[str, Any] = {}
    for suffix, argument in VARIABLES.items():
        # A password may begin or end with a space, but a file that it comes from has a line end.
        around = "\r\n" if argument == "password" else None
        text = os.environ.get(prefix + suffix, "").strip(around)
        if text and argument not in overrides:
            header = found.get("api_key_header", "x-api-key")
            found[argument] = _parsed(argument, text, prefix + suffix, header)
    if prefix != "ACP_" and not found and "host" not in overrides:
        is_whole = prefix.endswith("_") or not prefix.isidentifier()
        hint = "" if is_whole else f", and a prefix ends in its underscore: {prefix}_"
        warnings.warn(f"no variable such as {prefix}HOST is set{hint}", stacklevel=3)
    if found.pop("api_key_header", None) and "api_key" not in {**found, **overrides}:
        raise ApiValueError(f"{prefix}API_KEY_HEADER cannot be used without {prefix}API_KEY")
    if "key_file" in found and "cert_file" not in {**found, **overrides}:
        raise ApiValueError(f"{prefix}KEY_FILE cannot be used without {prefix}CERT_FILE")
    return {**found, **overrides}


def _parsed(argument: str, text: str, variable: str, header: str) -> Any:
    if argument == "api_key" and text[:1] == "{":
        hint = f"set the key alone, and {variable}_HEADER to the name of its header"
        raise ApiValueError(f"{variable} cannot be used: it is JSON: {hint}")
    if text[:1] in ('"', "'") and text[:1] == text[-1:] and argument != "password":
        raise ApiValueError(f"{variable} cannot be used: it stands in quotation marks; remove them")
    try:
        value = _PARSERS[argument](text)
        return checked(argument, {header: value} if argument == "api_key" else value)
    except (ApiValueError, ApiTypeError, ValueError) as error:
        raise ApiValueError(f"{variable} cannot be used: {error}") from error


def _line(text: str) -> str:
    # Without this check, a header would be refused only when a request is sent.
    if not text.isprintable():
        raise ValueError("it contains a control character or a line break")
    return text


def _header_name(text: str) -> str:
    if not TOKEN.fullmatch(text):
        # The text is not quoted: if the two variables are swapped, it is the key.
        raise ValueError("it is not the name of a header")
    return text


def _number(kind: Callable[[str], T], text: str, form: str = "a number, as 3") -> T:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"it must be {form}, not {text!r:.40}") from None


def _limits(text: str) -> float | tuple[float | None, ...] | None:
    limits = tuple(_or_none(float, part) for part in text.split(","))
    return limits[0] if len(limits) == 1 else limits


def _or_none(kind: type[float], text: str) -> float | None:
    return None if text.strip().lower() == "none" else kind(text)


def _retries(text: str) -> int:
    return False if text.lower() in _FALSE else int(text)


def _flag(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() in _TRUE


_PARSERS: dict[str, Callable[[str], Any]] = {
    "host": checked_host,
    "api_key_header": _header_name,
    **dict.fromkeys(
        ("api_key", "access_token", "username", "password", "proxy", "no_proxy"), _line
    ),
    **dict.fromkeys(("tls_server_name", "ssl_ca_cert", "cert_file", "key_file"), _line),
    **dict.fromkeys(
        ("timeout", "stream_timeout"),
        partial(_number, _limits, form="seconds, as 30, 10,60 or none"),
    ),
    **dict.fromkeys(("total_timeout", "block_margin"), partial(_number, partial(_or_none, float))),
    **dict.fromkeys(("connection_pool_maxsize", "max_event_bytes"), partial(_number, int)),
    "max_response_bytes": partial(_number, partial(_or_none, int)),
    "retries": partial(_number, _retries),
    **dict.fromkeys(("verify_ssl", "debug"), _flag),
}
# Each variable stands for an argument. If both names of one are set, the name further down in this
# table counts. The header of the key is read before the key.
VARIABLES = {
    "TOKEN": "access_token",
    "CA_CERT": "ssl_ca_cert",
    **{argument.upper(): argument for argument in _PARSERS},
}
