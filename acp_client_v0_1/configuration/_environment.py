"""Settings from environment variables.

One table maps each variable to an argument of ``Configuration`` and to the function that parses it.

Invariants: an empty variable counts as not set; an error names the variable and never shows the
value of one that holds a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from acp_client_v0_1._deadline import Timeout, checked_margin
from acp_client_v0_1._http.headers import TOKEN
from acp_client_v0_1._http.proxies import parse_proxy
from acp_client_v0_1._http.urls import checked_host
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

__all__ = ["settings"]

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


def settings(
    prefix: str, environment: Mapping[str, str], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Read the arguments of ``Configuration`` from an environment.

    Args:
        prefix: Prefix of the variables' names.
        environment: Name to value.
        overrides: Arguments whose variables are not read.

    Returns:
        The arguments that are set, and the overrides.

    Raises:
        ApiValueError: A value cannot be used.
    """
    found: dict[str, Any] = {}
    for suffix, (argument, parse) in _VARIABLES.items():
        text = environment.get(prefix + suffix, "").strip()
        if text and argument not in overrides:
            found[argument] = _parsed(parse, text, prefix + suffix)
    header = found.pop("api_key_header", "x-api-key")
    if "api_key" in found:
        found["api_key"] = {header: found["api_key"]}
    if "key_file" in found and "cert_file" not in {**found, **overrides}:
        raise ApiValueError(f"{prefix}KEY_FILE cannot be used without {prefix}CERT_FILE")
    return {**found, **overrides}


def _parsed(parse: Callable[[str], Any], text: str, variable: str) -> Any:
    try:
        return parse(text)
    except (ApiValueError, ApiTypeError, ValueError) as error:
        raise ApiValueError(f"{variable} cannot be used: {error}") from error


def _line(text: str) -> str:
    # A header with such a value would be refused too, but only when a request is made.
    if not text.isprintable():
        raise ValueError("it contains a control character or a line break")
    return text


def _credential(text: str) -> str:
    if any(ord(character) > 255 for character in _line(text)):
        raise ValueError("it contains characters that a header cannot hold (not ISO-8859-1)")
    return text


def _proxy(text: str) -> str:
    parse_proxy(_line(text), "it")
    return text


def _header_name(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise ValueError(f"{text!r} is not a valid header name")
    return text


def _timeout(text: str) -> float | tuple[float | None, float | None] | None:
    limits = [_seconds(part) for part in text.split(",")]
    if len(limits) > 2:
        raise ValueError(f"{text!r} is not a number of seconds, a pair connect,read, or none")
    value = limits[0] if len(limits) == 1 else (limits[0], limits[1])
    Timeout.of(value, "the timeout")
    return value


def _seconds(text: str) -> float | None:
    if text.strip().lower() == "none":
        return None
    # float() alone also takes "1_0" and the digits of other scripts.
    if not re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", text.strip()):
        raise ValueError(f"{text.strip()!r} is not a number of seconds")
    return float(text)


def _margin(text: str) -> float:
    seconds = _seconds(text)
    if seconds is None:
        raise ValueError(f"{text!r} is not a number of seconds")
    return checked_margin(seconds, "it")


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _at_least_1(text: str) -> int:
    if (number := _count(text)) < 1:
        raise ValueError(f"it must be at least 1, not {number}")
    return number


def _most(text: str) -> int | None:
    return None if text.lower() == "none" else _at_least_1(text)


def _total(text: str) -> float | None:
    value = _seconds(text)
    Timeout.of(value, "the timeout")
    return value


def _retries(text: str) -> int:
    return False if text.lower() in _FALSE else _count(text)


def _flag(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() in _TRUE


_VARIABLES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "HOST": ("host", checked_host),
    "API_KEY": ("api_key", _credential),
    "API_KEY_HEADER": ("api_key_header", _header_name),
    "TOKEN": ("access_token", _credential),
    "ACCESS_TOKEN": ("access_token", _credential),
    "USERNAME": ("username", _line),
    "PASSWORD": ("password", _line),
    "TIMEOUT": ("timeout", _timeout),
    "STREAM_TIMEOUT": ("stream_timeout", _timeout),
    "TOTAL_TIMEOUT": ("total_timeout", _total),
    "BLOCK_MARGIN": ("block_margin", _margin),
    "RETRIES": ("retries", _retries),
    "CA_CERT": ("ssl_ca_cert", _line),
    "SSL_CA_CERT": ("ssl_ca_cert", _line),
    "CERT_FILE": ("cert_file", _line),
    "KEY_FILE": ("key_file", _line),
    "VERIFY_SSL": ("verify_ssl", _flag),
    "TLS_SERVER_NAME": ("tls_server_name", _line),
    "CONNECTION_POOL_MAXSIZE": ("connection_pool_maxsize", _at_least_1),
    "MAX_EVENT_BYTES": ("max_event_bytes", _at_least_1),
    "MAX_RESPONSE_BYTES": ("max_response_bytes", _most),
    "PROXY": ("proxy", _proxy),
    "NO_PROXY": ("no_proxy", _line),
    "DEBUG": ("debug", _flag),
}
