"""Lets the `responses` library answer this client, whose transport it does not know.

`responses` takes the place of `requests.adapters.HTTPAdapter.send`; this client talks to urllib3's
connections directly. Inside `responses_bridge()` the client asks that adapter instead of a server,
with the request as it would have gone over the wire. The answer comes back as bytes through a
socket pair, so that all above it is the real transport: framing, retries, redirects, decompression,
time limits. Which mock is active, what it matches and what it records is left to `responses`.

Needs `responses`, which the extra `testing` does not bring.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from unittest import mock

import requests
from requests.adapters import HTTPAdapter

from acp_client_v0_1 import rest
from acp_client_v0_1._http import exchange as exchange_module
from acp_client_v0_1._http.connection import BoundedConnection
from acp_client_v0_1._http.failure import failure_of
from acp_client_v0_1._http.head import AnswerHead
from acp_client_v0_1._http.request import Call

__all__ = ["responses_bridge"]

# The answer's length is known here, and one connection carries one answer.
_FRAMING = frozenset(("content-length", "transfer-encoding", "connection"))

# How `responses` words it that nothing was declared for a request; it has no class for that.
_UNMATCHED = "Connection refused by Responses"


@contextlib.contextmanager
def responses_bridge() -> Iterator[None]:
    """Have the active `responses` mock answer all clients of this process.

    Without an active mock, requests go to their servers as usual. A request that no declared
    response matches raises the `requests.ConnectionError` of `responses`; an exception declared as
    a response's body looks to the client like a failure of its connection.
    """
    with mock.patch.object(rest, "exchange", _exchange):
        yield


def _exchange(
    connection: BoundedConnection, call: Call, proxy_headers: dict[str, str]
) -> AnswerHead:
    """Stand in for the exchange with a server, with the same rules for who closes what."""
    if HTTPAdapter.send.__module__ == HTTPAdapter.__module__:
        return exchange_module.exchange(connection, call, proxy_headers)
    answer = _ask_responses(call)
    connection.close()
    connection.sock, peer = socket.socketpair()
    connection.reusable = False
    connection.clock.set(call.deadline, call.timeout)
    # A large answer does not fit into the pair at once.
    threading.Thread(target=_send, args=(peer, answer), name="responses", daemon=True).start()
    head = AnswerHead(connection.sock, connection.clock, call.method)
    head.read_head()
    return head


def _ask_responses(call: Call) -> bytes:
    """Return the bytes of the answer that was declared for a request."""
    request = requests.Request(call.method, call.target.url, dict(call.headers)).prepare()
    request.prepare_body(call.body, None)
    try:
        answer = HTTPAdapter(max_retries=0).send(request)
    except OSError as error:
        if str(error).startswith(_UNMATCHED):
            raise  # The test is wrong, not the connection.
        cause = TimeoutError(str(error)) if isinstance(error, requests.Timeout) else error
        failure = failure_of(cause, call, sent=not isinstance(error, requests.ConnectTimeout))
        raise failure from error
    raw = answer.raw
    body = raw.read(decode_content=False)
    lines = [f"HTTP/1.1 {raw.status} {raw.reason or ''}"]
    lines += [
        f"{name}: {text}" for name, text in raw.headers.items() if name.lower() not in _FRAMING
    ]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + bytes(body)


def _send(peer: socket.socket, answer: bytes) -> None:
    # A client that left before the end is no fault of the answer.
    with peer, contextlib.suppress(OSError):
        peer.sendall(answer)
