"""Lets mocks of the `responses` library respond to this client.

`responses` replaces `requests.adapters.HTTPAdapter.send`, which this client does not use. Inside
`responses_bridge()`, a transport calls it, with the request as it would have gone over the wire.
All above stays real: retries, redirects, decompression, errors. Which mock is active, what it
matches and what it records, `responses` decides.

The extra `testing` does not install `responses`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Generator
from typing import Any
from unittest import mock

from urllib3 import BaseHTTPResponse, HTTPResponse
from urllib3.exceptions import ConnectTimeoutError

from acp_client_v0_1._http.attempt import Attempt
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.foreign import Foreign
from acp_client_v0_1._http.incoming import Incoming
from acp_client_v0_1._http.pool import Pools
from acp_client_v0_1.transport import OutgoingRequest

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
    """Have the active `responses` mock answer all clients of this process without a transport.

    Without an active mock, requests go to their servers as usual. An exception declared as a
    response's body looks to the client like a failure of its connection.

    Raises:
        AssertionError: No declared response matches a request; the call of the client raises it.
    """
    real, bridge = Pools.send, Foreign(_Responses())

    def send(pools: Pools, call: Call, attempt: Attempt) -> Incoming:
        mocked = HTTPAdapter.send.__module__ != HTTPAdapter.__module__
        return bridge.send(call, attempt) if mocked else real(pools, call, attempt)

    with mock.patch.object(Pools, "send", send):
        yield


class _Responses:
    """A transport that asks `responses`."""

    def send(
        self, request: OutgoingRequest, *, connect: float | None, read: float | None
    ) -> BaseHTTPResponse:
        prepared = requests.Request(request.method, request.url, dict(request.headers)).prepare()
        prepared.prepare_body(request.body, None)
        try:
            # The recorder of `responses` sends the request.
            response = HTTPAdapter().send(prepared, stream=True, timeout=(connect, read))
        except Exception as error:
            if str(error).startswith(_UNMATCHED):
                # The test is wrong, and not the connection.
                raise AssertionError(str(error)) from error
            if isinstance(error, requests.ConnectTimeout):
                raise ConnectTimeoutError(str(error)) from TimeoutError(str(error))
            if isinstance(error, requests.Timeout):
                raise TimeoutError(str(error)) from error
            # An exception of any class may be declared, and gets the request from responses. The
            # fault of a callback has none, and is the test's own.
            if hasattr(error, "request") and not isinstance(error, OSError):
                raise ConnectionError(str(error)) from error
            raise
        return _copied(response)

    def close(self) -> None:
        """Do nothing: there is no connection."""


def _copied(response: requests.Response) -> BaseHTTPResponse:
    """Return a copy of a response, so that a test can also read the one that was recorded."""
    status, headers = response.status_code, response.headers.copy()
    if getattr(response, "_content", False) is False:
        # Nobody has read the body, so it is still coded.
        body = response.raw.read(decode_content=False)
        response.raw = HTTPResponse(io.BytesIO(body), headers, status, preload_content=False)
    else:
        # The recorder or a ``response_callback`` has read the body, or replaced it.
        body = response.content
        for name in ("Content-Encoding", "Content-Length"):
            headers.pop(name, None)
    options: Any = {"preload_content": False, "decode_content": False}
    return HTTPResponse(io.BytesIO(body), headers, status, reason=response.reason, **options)
