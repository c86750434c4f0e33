"""Checks of the values that are assigned to settings.

One table maps a setting to its check, which runs on each assignment. So the error comes from the
line that sets the value and not from a library far below. `checked_host` checks the host.

Invariants: an error names the setting, and does not show a value that may be a secret. A text that
a function returns for a credential passes the same checks as one that is assigned.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from acp_client_v0_1._arguments import CREDENTIAL, check_arguments, wrong_type
from acp_client_v0_1._deadline import Timeout
from acp_client_v0_1._http.headers import TOKEN, plain_text
from acp_client_v0_1._http.proxies import parse_proxy
from acp_client_v0_1.exceptions import ApiAttributeError, ApiTypeError, ApiValueError

# Headers that carry a key usually have these names, which are no keys themselves.
_KEY_HEADERS = frozenset(("x-api-key", "api-key", "apikey", "x-auth-token", "authorization"))


def checked(setting: str, value: Any) -> Any:
    """Return the value to store for a setting, or raise `ApiTypeError` or `ApiValueError`."""
    check = _CHECKS.get(setting)
    return value if check is None else check(setting, value)


class NoSettings:
    """Refuses settings as attributes of a client or a handle, where nothing would read them."""

    # Attributes that are checked as the arguments of the same names are.
    _checked: tuple[str, ...] = ()

    if not TYPE_CHECKING:
        # A type checker that sees `__setattr__` would take any name for an attribute.

        def __setattr__(self, name: str, value: Any) -> None:
            kind = type(self)
            # A subclass of the user's may have such attributes of its own.
            if name in _SETTINGS and kind.__module__.startswith("acp_client_v0_1."):
                use = "with_options(…) of the client, or its Configuration"
                raise ApiAttributeError(f"{kind.__name__} has no setting {name!r}; use {use}")
            if name in self._checked:
                check_arguments(name, **{name: value})
            super().__setattr__(name, value)


def copied(value: object, name: str) -> dict[Any, Any]:
    """Copy a mapping as a dict, which is empty for None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        hint = '; write api_key={"x-api-key": "…"}' if name == "api_key" else ""
        raise wrong_type(name, f"a dict{hint}", value)
    return dict(cast("Mapping[str, Any]", value))


def _keys(name: str, value: Any) -> Any:
    """Check a mapping of header names to credentials. A dict is kept, so that it can be changed."""
    entries = copied(value, name)
    for header, key in entries.items():
        if not isinstance(header, str):
            raise ApiTypeError(f"{name} must map str to str, not {type(header).__name__}")
        # The header is not quoted: if the two are swapped, it is the secret.
        if str(key).lower() in _KEY_HEADERS or not TOKEN.fullmatch(header):
            words = f"{name} must map a header to its key, " + '{"x-api-key": "…"}'
            raise ApiValueError(f"{words}: a name and its value seem to be swapped")
        expected, fits = CREDENTIAL if name == "api_key" else ("a str", str.__instancecheck__)
        if not fits(key):
            raise wrong_type(f"{name}[{header!r}]", expected, key)
        if isinstance(key, str):
            _check_key(f"{name}[{header!r}]", key, header)
    if len({header.lower() for header in entries}) < len(entries):
        raise ApiValueError(f"{name} has a header twice, as HTTP ignores its case")
    return cast("dict[str, str]", value) if isinstance(value, dict) else entries


def _check_key(name: str, key: str, header: str) -> None:
    if key.lower().startswith(tuple(f"{each}:" for each in (header.lower(), *_KEY_HEADERS))):
        raise ApiValueError(f"{name} must be the key alone, without its header")


def _headers(name: str, value: Any) -> dict[str, str]:
    return {k: plain_text(v, f"{name}[{k!r}]") for k, v in copied(value, name).items()}


def _bearer_token(name: str, value: Any) -> Any:
    if isinstance(_ruled(name, value), str):
        _check_token(name, value)
    return value


def _check_token(name: str, token: str) -> None:
    _check_line(name, token)
    if token.isspace():
        raise ApiValueError(f"{name} has nothing but white space")
    if token.lower().startswith("bearer "):
        raise ApiValueError(f'{name} must be the token alone, without "Bearer ", which is added')


def _check_line(name: str, text: str) -> None:
    if not text.isprintable():
        raise ApiValueError(f"{name} contains a control character or a line break; strip() it")


def text_of(name: str, value: Any, header: str = "", *, ask: bool) -> Any:
    """Return the text of a credential, which a function may return. None and "" are not sent.

    ``header`` is the header of a key. If ``ask`` is false, no function is called.
    """
    if not callable(value):
        return value
    text, name = value() if ask else "", f"what {name}() returns"
    if not isinstance(text, str):
        raise wrong_type(name, "a str", text)
    if header:
        _check_line(name, text)
        _check_key(name, text, header)
    else:
        _check_token(name, text)
    return text


def _proxy(name: str, value: Any) -> Any:
    if _ruled(name, value):
        # An empty text means that no proxy is used.
        parse_proxy(value, name)
    return value


def _retries(name: str, value: Any) -> Any:
    if isinstance(value, int) and value is not True:
        if value < 0:
            raise ApiValueError(f"{name} must be at least 0, not {value}")
    elif value is not None:
        # This loads with the transport, and not with the settings.
        from urllib3.util import Retry

        if not isinstance(value, Retry):
            raise wrong_type(name, "an integer, False, a urllib3.Retry or None", value)
    return value


def _time(name: str, value: Any) -> Any:
    Timeout.of(value, name)
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


def _ruled(name: str, value: Any) -> Any:
    """Check a setting by its rule in the table of all arguments."""
    check_arguments(*_NEVER_NONE, **{name: value})
    return value


def _text(name: str, value: Any) -> str:
    """Check a text that may be empty, but not None."""
    if not isinstance(value, str):
        raise wrong_type(name, "a str", value)
    return value


def _server_name(name: str, value: Any) -> Any:
    # An IPv6 address has two colons or more. The text is not quoted, as it may have a password.
    if isinstance(_ruled(name, value), str) and re.search("[/@]|^[^:]*:[^:]*$", value):
        raise ApiValueError(f"{name} must be a host name alone, without scheme and port")
    return value


def _pem_file(name: str, value: Any) -> Any:
    if value is not None and "-----BEGIN" in os.fsdecode(_ruled(name, value)):
        # The text is not quoted, as it may be a key.
        inline = ", or the text as ca_cert_data" if name == "ssl_ca_cert" else ""
        raise ApiValueError(f"{name} must be the path of a file of certificates or a key{inline}")
    return value


def _log_file(name: str, value: Any) -> Any:
    if _ruled(name, value) and not os.path.isdir(folder := os.path.dirname(os.path.abspath(value))):
        raise ApiValueError(f"{name} cannot be opened: there is no folder {os.fsdecode(folder)}")
    return value


_FLAGS = ("client_side_validation", "debug", "ignore_operation_servers", "verify_ssl")
_NEVER_NONE = (*_FLAGS, "block_margin", "connection_pool_maxsize", "max_event_bytes")
_OF_ALL_ARGUMENTS = (
    *(*_NEVER_NONE, "auth", "ca_cert_data", "max_response_bytes"),
    *("no_proxy", "password", "proxy_ssl_context", "refresh_api_key_hook", "server_index"),
    *("socket_options", "ssl_context", "username"),
)

_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(_OF_ALL_ARGUMENTS, _ruled),
    **dict.fromkeys(("cert_file", "key_file", "ssl_ca_cert"), _pem_file),
    **dict.fromkeys(("logger_format", "safe_chars_for_path_param"), _text),
    **dict.fromkeys(("api_key", "api_key_prefix"), _keys),
    **dict.fromkeys(("stream_timeout", "timeout"), _time),
    **dict.fromkeys(("assert_hostname", "tls_server_name"), _server_name),
    "access_token": _bearer_token,
    "logger_file": _log_file,
    "proxy": _proxy,
    "proxy_headers": _headers,
    "retries": _retries,
    "total_timeout": lambda name, value: Timeout.of(_ruled(name, value), name).total,
}
_SETTINGS = {"base_url", "headers", "host", "max_retries", "retry", *_CHECKS}
