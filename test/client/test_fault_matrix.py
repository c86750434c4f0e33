"""The fault matrix: each kind of operation meets each fault on a real socket.

A row says which error each kind raises with two retries, and how many requests have then reached
the server. The kinds: safe (``get_run``), creating (``create_run``), streaming (``get_run_stream``,
read to its end) and blocking (``get_run_output`` with a window).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from support.socket_server import CLOSE, RESET, head, response
from support.transport import serving
from urllib3.util import Retry

from acp_client_v0_1 import (
    ApiException,
    ConnectionException,
    ProtocolException,
    RunCreate,
    RunsApi,
    ServiceException,
    StreamInterrupted,
    TooManyRequestsException,
)


class Fault(NamedTuple):
    script: Any
    error: type[ApiException]
    requests: int = 3
    creating_requests: int = 1
    streaming_error: type[ApiException] | None = None


def status(code: int, requests: int = 3, creating: int = 1, **headers: str) -> Fault:
    errors = {408: ApiException, 429: TooManyRequestsException}
    sent = response(b'"no"', code, **headers)
    return Fault(sent, errors.get(code, ServiceException), requests, creating)


def truncated(beginning: bytes, **headers: str) -> Fault:
    """A stream that has begun is not opened again: its reader has had a part of it."""
    steps = [head(content_type="text/event-stream", **headers), beginning, CLOSE]
    return Fault(steps, ConnectionException, streaming_error=StreamInterrupted)


PAST = "Wed, 21 Oct 2015 07:28:00 GMT"
FUTURE = "Wed, 21 Oct 2065 07:28:00 GMT"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
FAULTS = {
    "reset before the response": Fault([RESET], ConnectionException),
    "closed before the response": Fault([CLOSE], ConnectionException),
    "reset in the head": Fault([HEAD, 0.05, RESET], ConnectionException),
    "closed in the status line": Fault([HEAD[:11], CLOSE], ConnectionException),
    "closed in the head": Fault([HEAD, CLOSE], ConnectionException),
    "truncated body": truncated(b"some of it", content_length="100"),
    "truncated chunks": truncated(b"5\r\ndata:", transfer_encoding="chunked"),
    "garbage": Fault([b"\x00\x01\x02 garbage\r\n\r\n", CLOSE], ProtocolException, 1),
    **{f"{code}": status(code) for code in (408, 500, 502, 503, 504)},
    **{f"{code}, Retry-After": status(code, retry_after="0") for code in (408, 502, 503, 504)},
    "500, Retry-After as a date": status(500, retry_after=PAST),
    "429": status(429, 3, 3),
    "429, Retry-After in seconds": status(429, 3, 3, retry_after="0"),
    "429, Retry-After as a date": status(429, 3, 3, retry_after=PAST),
    "429, Retry-After too late in seconds": status(429, 1, 1, retry_after="60"),
    "429, Retry-After too late as a date": status(429, 1, 1, retry_after=FUTURE),
    "503, Retry-After too late in seconds": status(503, 1, 1, retry_after="60"),
    "503, Retry-After too late as a date": status(503, 1, 1, retry_after=FUTURE),
}


def call(kind: str, api: RunsApi) -> None:
    if kind == "safe":
        api.get_run("r1", _request_timeout=10)
    elif kind == "creating":
        api.create_run(RunCreate(agent_id="a1"), _request_timeout=10)
    elif kind == "blocking":
        api.get_run_output("r1", block_timeout=1, _request_timeout=10)
    else:
        with api.get_run_stream("r1", _request_timeout=10) as stream:
            list(stream)


@pytest.mark.parametrize("kind", ["safe", "creating", "streaming", "blocking"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_kind_of_call_meets_each_fault_as_its_row_says(fault: Fault, kind: str) -> None:
    expected, requests = fault.error, fault.requests
    if kind == "creating":
        requests = fault.creating_requests
    if kind == "streaming" and fault.streaming_error is not None:
        expected, requests = fault.streaming_error, 1
    quick = Retry(2, backoff_factor=0.02)
    with (
        serving(fault.script, retries=quick) as (server, client),
        pytest.raises(expected) as raised,
    ):
        call(kind, RunsApi(client))
    assert len(server.requests) == requests
    assert "\n" not in str(raised.value)
    if isinstance(raised.value, ConnectionException):
        said = "may have carried out" in str(raised.value)
        assert said is raised.value.ambiguous is (kind == "creating")
