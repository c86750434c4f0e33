"""The fault matrix: each kind of operation meets each fault on a real socket.

A row says what each kind gets with two retries, and how many requests have then reached the
server. The kinds: safe (``get_run``), creating (``create_run``), streaming (``get_run_stream``,
read to its end) and blocking (``get_run_output`` with a window). An outcome is an error's class, or
what the value has to be.
"""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from support.examples import RESULT, RUN
from support.socket_server import CLOSE, RESET, STALL, SocketServer, chunk, drip, head, response
from support.transport import Stopwatch
from urllib3.util import Retry

from acp_client_v0_1 import (
    ApiClient,
    ApiException,
    ApiTimeoutError,
    Configuration,
    ConnectionException,
    ProtocolException,
    ResponseDecodeError,
    ResponseValidationError,
    RunCreate,
    RunsApi,
    ServiceException,
    StreamDecodeError,
    StreamInterrupted,
    TooManyRequestsException,
)

TOTAL = 10.0  # seconds that a call may take
QUICK = Retry(2, backoff_factor=0.02)
KINDS = ("safe", "creating", "streaming", "blocking")

EVENT_STREAM = "text/event-stream"


def fields_of(kind: str) -> dict[str, Any]:
    return RUN if kind in ("safe", "creating") else RESULT


def responding(
    kind: str, text: str, coding: Any = None, status: int = 200, **headers: str
) -> bytes:
    """Wrap a JSON text as a response to the kind of call."""
    if kind == "streaming":
        text = f"id: 1\nevent: agent_event\ndata: {text}\n\n" if text else ""
        headers["content_type"] = EVENT_STREAM
    body = text.encode()
    return response(coding(body) if coding else body, status, **headers)


def changed(kind: str, **fields: Any) -> bytes:
    return responding(kind, json.dumps({**fields_of(kind), **fields}))


def without(kind: str, *names: str) -> bytes:
    return responding(
        kind, json.dumps({k: v for k, v in fields_of(kind).items() if k not in names})
    )


class Fault(NamedTuple):
    script: Any  # or a function of the kind
    outcome: Any
    requests: int
    creating_requests: int | None = None
    streaming: Any = None
    streaming_requests: int | None = None


def cut(*steps: Any) -> Fault:
    return Fault(steps, ConnectionException, 3, 1)


def status(code: int, requests: int = 3, creating: int = 1, **headers: str) -> Fault:
    kind = TooManyRequestsException if code == 429 else ServiceException
    expected = ApiException if code == 408 else kind
    return Fault(response(b'"no"', code, **headers), expected, requests, creating)


def truncated(beginning: bytes, **headers: str) -> Fault:
    steps = [head(content_type=EVENT_STREAM, **headers), beginning, CLOSE]
    return Fault(steps, ConnectionException, 3, 1, StreamInterrupted, 1)


def misfit(
    text: str,
    outcome: Any = ResponseValidationError,
    streaming: Any = StreamDecodeError,
    **headers: str,
) -> Fault:
    return Fault(lambda kind: responding(kind, text, **headers), outcome, 1, None, streaming)


PAGE = b"<html><title>Login</title></html>"
PAST = "Wed, 21 Oct 2015 07:28:00 GMT"
FUTURE = "Wed, 21 Oct 2065 07:28:00 GMT"

FAULTS = {
    "reset before the response": cut(RESET),
    "closed before the response": cut(CLOSE),
    "reset in the head": cut(b"HTTP/1.1 200 OK\r\ncontent-le", 0.05, RESET),
    "closed in the status line": cut(b"HTTP/1.1 20", CLOSE),
    "closed in the head": cut(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n", CLOSE),
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
    "1 MB error body": Fault(response(b"x" * 1_000_000, 500), ServiceException, 3, 1),
    "HTML body": Fault(response(PAGE, content_type="text/html"), ResponseDecodeError, 1),
    "malformed JSON": misfit('{"run_id": '),
    "wrong type": misfit("[1, 2]"),
    "JSON null": misfit("null"),
    "empty 200": misfit("", streaming={}),
    "unknown enum": Fault(lambda kind: changed(kind, status="odd"), {"status": "odd"}, 1),
    "missing required field": Fault(
        lambda kind: without(kind, "status"), ResponseValidationError, 1, None, StreamDecodeError
    ),
    "extra fields": Fault(lambda kind: changed(kind, more={"a": 1}), {"more": {"a": 1}}, 1),
    "gzip": Fault(
        lambda kind: responding(
            kind, json.dumps(fields_of(kind)), gzip.compress, content_encoding="gzip"
        ),
        {"run_id": "r1"},
        1,
    ),
    "bad gzip": misfit("no", ResponseDecodeError, StreamInterrupted, content_encoding="gzip"),
}

SLOW = {
    "stall before the response": [STALL],
    "stall in the head": [b"HTTP/1.1 200 OK\r\n", STALL],
    "stall in the body": [head(content_length="9", content_type=EVENT_STREAM), b":", STALL],
    "slow drip of the head": drip(response(b"x" * 99), 0.1),
    "slow drip of the body": [
        head(content_length="99", content_type=EVENT_STREAM),
        *drip(b":" * 99, 0.1),
    ],
}


def call(kind: str, host: str, total: float = TOTAL) -> dict[str, Any]:
    """Do what the kind does, and give the fields that came."""
    with ApiClient(Configuration(host=host, retries=QUICK)) as client:
        api = RunsApi(client)
        if kind == "safe":
            return api.get_run("r1", _request_timeout=total).to_dict()
        if kind == "creating":
            return api.create_run(RunCreate(agent_id="a1"), _request_timeout=total).to_dict()
        if kind == "blocking":
            output = api.get_run_output("r1", block_timeout=1, _request_timeout=total)
            return {} if output is None else output.to_dict()
        with api.get_run_stream("r1", _request_timeout=total) as stream:
            events = [event.to_dict() for event in stream]
            return events[0]["data"] if events else {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_kind_of_call_meets_each_fault_as_its_row_says(fault: Fault, kind: str) -> None:
    expected, requests = fault.outcome, fault.requests
    if kind == "creating" and fault.creating_requests is not None:
        requests = fault.creating_requests
    if kind == "streaming" and fault.streaming is not None:
        expected = fault.streaming
    if kind == "streaming" and fault.streaming_requests is not None:
        requests = fault.streaming_requests
    script = fault.script(kind) if callable(fault.script) else fault.script
    with SocketServer(script) as server, Stopwatch() as clock:
        try:
            value = call(kind, server.url)
        except ApiException as error:
            check_error(error, expected, kind)
        else:
            assert isinstance(expected, dict), value
            assert {name: value[name] for name in expected} == expected
    assert len(server.requests) == requests
    assert clock.seconds < TOTAL


def check_error(error: ApiException, expected: Any, kind: str) -> None:
    assert isinstance(expected, type), error
    assert isinstance(error, expected), error
    assert "\n" not in str(error)
    if isinstance(error, (ConnectionException, ApiTimeoutError)):
        said = "may have carried out" in str(error)
        assert said is error.ambiguous is (kind == "creating")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_faults_that_take_time_end_in_time(kind: str) -> None:
    def meet(name: str) -> tuple[float, int, BaseException | None]:
        with SocketServer(SLOW[name]) as server, Stopwatch() as clock:
            try:
                call(kind, server.url, total=1.5)
            except ApiException as error:
                return clock.stop(), len(server.requests), error
            return clock.stop(), len(server.requests), None

    with ThreadPoolExecutor(len(SLOW)) as threads:
        for name, (seconds, requests, error) in zip(SLOW, threads.map(meet, SLOW), strict=True):
            assert isinstance(error, ApiTimeoutError), (name, error)
            assert isinstance(error, TimeoutError)
            check_error(error, ApiTimeoutError, kind)
            assert seconds < 5, name
            assert requests == 1, name


ODD_BODIES = {
    "endlessly nested": (b"[" * 100_000, "application/json"),
    "deeply nested words": (b'{"detail":' * 900 + b"1" + b"}" * 900, "application/json"),
    "deeply nested": (b'{"x":' * 900 + b"1" + b"}" * 900, "application/json"),
    "a place that is none": (b'{"detail":[{"msg":"m","loc":5}]}', "application/json"),
    "a charset that cannot replace": (b"\xffx", "text/plain; charset=idna"),
    "a charset that is none": (b"x", "text/plain; charset=undefined"),
    "a charset of bytes": (b"x", "text/plain; charset=hex"),
    "a charset with NUL": (b"x", "text/plain; charset=a\0b"),
}


@pytest.mark.parametrize("body, content_type", ODD_BODIES.values(), ids=ODD_BODIES)
@pytest.mark.parametrize("status", [200, 400])
def test_no_body_is_too_odd_for_an_error(status: int, body: bytes, content_type: str) -> None:
    with SocketServer(response(body, status, content_type=content_type)) as server:
        for kind in KINDS:
            with pytest.raises(ApiException) as failure:
                call(kind, server.url)
            assert failure.value.status == status
            assert "\n" not in str(failure.value)


def test_an_endless_error_body_of_a_stream_is_not_read_to_its_end() -> None:
    endless = [head(500, transfer_encoding="chunked"), *[chunk(b"x" * 65_536)] * 400, STALL]
    with SocketServer(endless) as server, pytest.raises(ServiceException) as failure:
        call("streaming", server.url)
    assert len(failure.value.body or "") < 2_000_000
