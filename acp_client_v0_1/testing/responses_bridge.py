"""Lets mocks of the `responses` library respond to this client.

`responses` replaces `requests.adapters.HTTPAdapter.send`, which this client does not use. Inside
`responses_bridge()`, the client's connection pools call it, with the request as it would have gone
over the wire. All above the pools stays real: retries, redirects, decompression, errors. Which mock
is active, what it matches and what it records, `responses` decides.

The extra `testing` does not install `responses`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import cast
from unittest import mock

from urllib3 import BaseHTTPResponse

from acp_client_v0_1._http.attempt import Attempt
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.incoming import End, Incoming
from acp_client_v0_1._http.parse import Head
from acp_client_v0_1._http.pool import Pools

try:
    import requests
    from requests.adapters import HTTPAdapter
except ModuleNotFoundError as _error:
    _install = "pip install responses"
    _error.msg = f"{__name__} needs {_error.name}, which comes with responses: {_install}"
    raise

__all__ = ["responses_bridge"]

# `responses` has no class for a request that nothing was declared for, but this message.
_UNMATCHED = "Connection refused by Responses"


@contextlib.contextmanager
def responses_bridge() -> Generator[None, None, None]:
    """Have the active `responses` mock answer all clients of this process.

    Without an active mock, requests go to their servers as usual. An exception declared as a
    response's body looks to the client like a failure of its connection.

    Raises:
        AssertionError: No declared response matches a request; the call of the client raises it.
    """
    real = Pools.send

    def send(pools: Pools, call: Call, attempt: Attempt) -> Incoming:
        mocked = HTTPAdapter.send.__module__ != HTTPAdapter.__module__
        return _ask_responses(call, attempt) if mocked else real(pools, call, attempt)

    with mock.patch.object(Pools, "send", send):
        yield


class _Declared(Incoming):
    """A declared response, in place of one from a connection."""

    def __init__(self, response: BaseHTTPResponse, attempt: Attempt) -> None:
        self._response = response
        self.attempt = attempt
        self._end = End()
        reason = response.reason or ""
        self.head = Head(response.version, response.status, reason, response.headers)

    def read1(self, size: int | None = None) -> bytes:
        return self._response.read(size or 65_536, decode_content=False)

    def abort(self) -> None:
        """Do nothing: nobody waits for a body that is there."""

    def close(self) -> None:
        self._end.be("closed")


def _ask_responses(call: Call, attempt: Attempt) -> Incoming:
    url = call.target.url
    if call.credential:
        url += ("&" if "?" in url else "?") + call.credential
    request = requests.Request(call.method, url, dict(call.headers)).prepare()
    request.prepare_body(call.body, None)
    try:
        response = HTTPAdapter().send(request, stream=True)
    except Exception as error:
        if str(error).startswith(_UNMATCHED):
            # The test is wrong, and not the connection.
            raise AssertionError(str(error)) from error
        attempt.sent = not isinstance(error, requests.ConnectTimeout)
        if isinstance(error, requests.Timeout):
            raise TimeoutError(str(error)) from error
        # An exception of any class may be declared, and gets the request from responses. The fault
        # of a callback has none, and is the test's own.
        if hasattr(error, "request") and not isinstance(error, OSError):
            raise ConnectionError(str(error)) from error
        raise
    attempt.sent = True
    return _Declared(cast(BaseHTTPResponse, response.raw), attempt)
