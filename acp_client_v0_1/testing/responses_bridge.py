"""Lets the `responses` library respond to this client, whose transport it does not know.

`responses` takes the place of `requests.adapters.HTTPAdapter.send`; this client sends by
`urllib3.HTTPConnectionPool.urlopen`. Inside `responses_bridge()` the one asks the other: with the
request as it would have gone over the wire, and gets a response that is urllib3's on both sides. So
all above it is the real transport: retries, redirects, decompression, errors. Which mock is active,
what it matches and what it records is left to `responses`.

Needs `responses`, which the extra `testing` does not bring.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from typing import Any
from unittest import mock

from urllib3 import BaseHTTPResponse, HTTPConnectionPool
from urllib3.exceptions import ConnectTimeoutError

from acp_client_v0_1._http.attempt import current_attempt
from acp_client_v0_1._http.connection import BoundedConnection

try:
    import requests
    from requests.adapters import HTTPAdapter
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"{__name__} needs {_error.name}, which comes with responses: pip install responses",
        name=_error.name,
        path=_error.path,
    ) from _error

__all__ = ["responses_bridge"]

_DEFAULT_PORTS = {"http": 80, "https": 443}

# How `responses` words it that nothing was declared for a request; it has no class for that.
_UNMATCHED = "Connection refused by Responses"


@contextlib.contextmanager
def responses_bridge() -> Generator[None, None, None]:
    """Have the active `responses` mock respond to all clients of this process.

    Without an active mock, requests go to their servers as usual. An exception declared as a
    response's body looks to the client like a failure of its connection.

    Raises:
        AssertionError: (by the call) no declared response matches a request.
    """
    real = HTTPConnectionPool.urlopen

    def urlopen(
        pool: HTTPConnectionPool,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> BaseHTTPResponse:
        mocked = HTTPAdapter.send.__module__ != HTTPAdapter.__module__
        if mocked and issubclass(pool.ConnectionCls, BoundedConnection):
            return _ask_responses(method, _absolute(pool, url), headers or {}, body)
        return real(pool, method, url, body, headers, **options)

    with mock.patch.object(HTTPConnectionPool, "urlopen", urlopen):
        yield


def _absolute(pool: HTTPConnectionPool, url: str) -> str:
    if not url.startswith("/"):
        return url  # for a proxy
    port = "" if pool.port in (None, _DEFAULT_PORTS[pool.scheme or ""]) else f":{pool.port}"
    return f"{pool.scheme}://{pool.host}{port}{url}"


def _ask_responses(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None
) -> BaseHTTPResponse:
    """Return the response that was declared for a request."""
    request = requests.Request(method, url, dict(headers)).prepare()
    request.prepare_body(body, None)
    attempt = current_attempt()
    try:
        response = HTTPAdapter(max_retries=0).send(request, stream=True)
    except requests.ConnectTimeout as error:
        raise ConnectTimeoutError(str(error)) from error
    except requests.Timeout as error:
        attempt.sent = True
        raise TimeoutError(str(error)) from error
    except OSError as error:
        if str(error).startswith(_UNMATCHED):
            raise AssertionError(str(error)) from error  # the test is wrong, not the connection
        attempt.sent = True
        raise
    attempt.sent = True
    declared: BaseHTTPResponse = response.raw
    return declared
