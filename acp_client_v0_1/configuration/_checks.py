"""Checks of the values that are assigned to settings.

One table maps a setting to its check, which runs on each assignment. So the error comes from the
line that sets the value and not from a library far below. `checked_host` checks the host.

Invariant: an error names the setting, and does not show a value that may be a secret.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, cast

from acp_client_v0_1._deadline import Timeout, checked_margin, checked_total
from acp_client_v0_1._errors import did_you_mean
from acp_client_v0_1._http.headers import plain_text
from acp_client_v0_1._http.proxies import parse_proxy
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

P = ParamSpec("P")

_C_INT = 2**31  # the integers of a socket option are smaller


def checked(setting: str, value: Any, name: str = "") -> Any:
    """Return the value to store for a setting, or raise `ApiTypeError` or `ApiValueError`.

    The error calls the setting ``name``, if there is one.
    """
    check = _CHECKS.get(setting)
    return value if check is None else check(name or setting, value)


def only_known(init: Callable[P, None]) -> Callable[P, None]:
    """Make a constructor suggest the argument that an unknown keyword may have meant."""
    known = signature(init).parameters

    @wraps(init)
    def checked_init(*args: P.args, **kwargs: P.kwargs) -> None:
        for name in kwargs.keys() - known.keys():
            hint = did_you_mean(name, known)
            raise ApiTypeError(f"Configuration has no argument {name!r}{hint}")
        init(*args, **kwargs)

    return checked_init


def copied(value: object, name: str) -> dict[Any, Any]:
    """Copy a mapping as a dict, which is empty for None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ApiTypeError(f"{name} must be a dict, not {type(value).__name__}")
    return dict(cast("Mapping[str, Any]", value))


def instance_of(expected: str, *kinds: Any, or_none: bool = True) -> Callable[[str, Any], Any]:
    """Make a check that a value has one of these types, which errors call ``expected``."""

    def check(name: str, value: Any) -> Any:
        if isinstance(value, kinds) or (value is None and or_none):
            return value
        raise ApiTypeError(f"{name} must be {expected}, not {type(value).__name__}")

    return check


def _keys(name: str, value: Any) -> Any:
    """Check a mapping of header names to credentials. A dict is kept, so that it can be changed."""
    entries = copied(value, name)
    for header, key in entries.items():
        if not isinstance(header, str):
            raise ApiTypeError(f"{name} must map str to str, not {type(header).__name__}")
        if not isinstance(key, str):
            raise ApiTypeError(f"{name}[{header!r}] must be a str, not {type(key).__name__}")
    return cast("dict[str, str]", value) if isinstance(value, dict) else entries


def _headers(name: str, value: Any) -> dict[str, str]:
    return {k: plain_text(v, f"{name}[{k!r}]") for k, v in copied(value, name).items()}


def positive(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ApiTypeError(f"{name} must be an integer, not {type(value).__name__}")
    if value < 1:
        raise ApiValueError(f"{name} must be at least 1, not {value}")
    return value


def _bearer_token(name: str, value: Any) -> Any:
    token = _TEXT(name, value) or ""
    if not token.isprintable():
        raise ApiValueError(f"{name} contains a control character or a line break; strip() it")
    if token.lower().startswith("bearer "):
        raise ApiValueError(f'{name} must be the token alone, without "Bearer ", which is added')
    return value


def _socket_options(name: str, value: Any) -> Any:
    listed = isinstance(value, (list, tuple))
    options = cast("Sequence[object]", value) if listed else ()
    if value is not None and not (listed and all(map(_is_option, options))):
        raise ApiTypeError(f"{name} must be a list of (level, name, value), as sockets take them")
    return options if listed else None


def _is_option(option: object) -> bool:
    match option:
        case (int(level), int(number), int(value)) | (int(level), int(number), None, int(value)):
            return all(-_C_INT <= part < _C_INT for part in (level, number, value))
        case (int(level), int(number), bytes() | bytearray()):
            return all(-_C_INT <= part < _C_INT for part in (level, number))
        case _:
            return False


def _tls_context(name: str, value: Any) -> Any:
    if value is None:
        return None
    import ssl  # with the transport, not before it

    return instance_of("an ssl.SSLContext", ssl.SSLContext)(name, value)


def _proxy(name: str, value: Any) -> Any:
    if _TEXT(name, value):  # "" is for no proxy
        parse_proxy(value, name)
    return value


def _retries(name: str, value: Any) -> Any:
    if value is None or value is False:
        return value
    if isinstance(value, int) and value is not True:
        if value < 0:
            raise ApiValueError(f"{name} must be at least 0, not {value}")
        return value
    from urllib3.util import Retry  # with the transport, not before it

    if not isinstance(value, Retry):
        raise ApiTypeError(
            f"{name} must be an integer, False, a urllib3.Retry or None, not {value!r}"
        )
    return value


def _time(name: str, value: Any) -> Any:
    Timeout.of(value, name)
    return value


_TEXT = instance_of("a str", str)
_PATH = instance_of("the path of a file", str, bytes, os.PathLike)

_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "access_token": _bearer_token,
    "api_key": _keys,
    "api_key_prefix": _keys,
    "assert_hostname": instance_of("a str or False", str, bool),
    "block_margin": lambda name, value: checked_margin(value, name),
    "ca_cert_data": instance_of("a str (PEM) or bytes (DER)", str, bytes, bytearray),
    "cert_file": _PATH,
    "connection_pool_maxsize": positive,
    "key_file": _PATH,
    "max_event_bytes": positive,
    "max_response_bytes": lambda name, value: None if value is None else positive(name, value),
    "no_proxy": _TEXT,
    "password": _TEXT,
    "proxy": _proxy,
    "proxy_headers": _headers,
    "proxy_ssl_context": _tls_context,
    "refresh_api_key_hook": instance_of("a function", Callable),
    "retries": _retries,
    "safe_chars_for_path_param": instance_of("a str", str, or_none=False),
    "server_index": instance_of("an integer", int),
    "socket_options": _socket_options,
    "ssl_ca_cert": _PATH,
    "stream_timeout": _time,
    "timeout": _time,
    "tls_server_name": _TEXT,
    "total_timeout": lambda name, value: checked_total(value, name),
    "username": _TEXT,
    "verify_ssl": instance_of("True or False", int, or_none=False),
}
