"""`ApiClient(transport=…)`: what a stranger's transport gets, and what stays the client's own.

The rule for every transport that does not do what it should: the call ends in time, with an error
that says what was wrong, and nothing is left open.
"""

from __future__ import annotations

import gzip
import http.client
import json
import logging
import pickle
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from support.examples import RESULT, RUN, UPDATE
from support.socket_server import CLOSE, Gate, SocketServer, chunk, head, response
from support.transport import Stopwatch, causes, eventually, free_port, in_child
from urllib3.exceptions import (
    ClosedPoolError,
    ConnectTimeoutError,
    EmptyPoolError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
)

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import ECHO_AGENT_ID, Fault, LocalServer
from acp_client_v0_1.transport import OutgoingRequest

FOUND = json.dumps(RUN).encode()
CREATE = {"agent_id": "a1"}
EVENT = b"id: %d\nevent: agent_event\ndata: " + json.dumps(UPDATE).encode() + b"\n\n"
SSE = {"Content-Type": "text/event-stream"}


class ByHand:
    """A transport on http.client: a new connection for each request."""

    def send(
        self, request: OutgoingRequest, *, connect: float | None, read: float | None
    ) -> http.client.HTTPResponse:
        url = urlsplit(request.url)
        connection = http.client.HTTPConnection(url.netloc, timeout=connect)
        connection.connect()
        connection.sock.settimeout(read)
        target = request.url.removeprefix(f"{url.scheme}://{url.netloc}")
        connection.request(request.method, target, request.body, dict(request.headers))
        response = connection.getresponse()
        if connection.sock is not None:
            # From here on, the socket is open for as long as the response.
            connection.sock.close()
        return response

    def close(self) -> None:
        pass


class Response:
    """A response of pieces. A piece that is an exception is raised, and a function is called."""

    def __init__(self, *pieces: Any, status: Any = 200, headers: Any = None, **more: Any) -> None:
        self.pieces = list(pieces)
        self.status = status
        self.headers = {} if headers is None else headers
        self.closed = 0
        vars(self).update(more)

    def read(self, size: int) -> Any:
        assert not self.closed
        piece = self.pieces.pop(0) if self.pieces else b""
        piece = piece() if callable(piece) else piece
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def close(self) -> None:
        self.closed += 1


class Lying:
    """A transport that returns what it is told, or raises it."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.sent: list[OutgoingRequest] = []
        self.limits: list[tuple[float | None, float | None]] = []
        self.closed = 0

    def send(self, request: OutgoingRequest, *, connect: float | None, read: float | None) -> Any:
        self.sent.append(request)
        self.limits.append((connect, read))
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome() if callable(outcome) and not hasattr(outcome, "read") else outcome

    def close(self) -> None:
        self.closed += 1


def runs_of(*outcomes: Any, **settings: Any) -> tuple[Lying, acp.RunsApi]:
    transport = Lying(*outcomes)
    configuration = acp.Configuration(host="http://acp.invalid/base", **settings)
    return transport, acp.RunsApi(acp.ApiClient(configuration, transport=transport))


# What a transport gets, and a good one


def test_runs_events_and_batches_work_by_a_transport_of_twenty_lines():
    with (
        LocalServer() as server,
        acp.ApiClient(acp.Configuration(host=server.url), transport=ByHand()) as client,
    ):
        server.fail_next(503, retry_after=0, path="/runs/*/output")
        server.faults.add(Fault(path="/runs/*/stream", cut="close", after_events=1))
        counter = acp.AgentHandle.find("counter", client)
        run = counter.start({"count": 3, "interval": 0.01}, streaming="custom")
        assert [e.update["count"] for e in run.events(timeout=30) if e.update] == [1, 2, 3]
        assert counter.run({"count": 2}, timeout=30) == {"count": 2, "of": 2}
        echo = acp.AgentHandle(ECHO_AGENT_ID, client)
        items = echo.map([{"n": n} for n in range(40)], concurrency=8)
        assert sorted(item.result()["n"] for item in items) == list(range(40))
        assert len(server.runs) == 42


def test_a_transport_gets_the_request_as_it_goes_out_and_the_times_of_the_call():
    transport, runs = runs_of(lambda: Response(FOUND), access_token="t", timeout=(3, 7))
    runs.get_run("a b", _request_auth={"in": "query", "key": "k", "value": "v w"})
    runs.create_run(CREATE, _request_timeout=5)
    runs.get_run("r1", _request_timeout=(None, None))
    first, second, _ = transport.sent
    assert (first.method, first.url) == ("GET", "http://acp.invalid/base/runs/a%20b?k=v%20w")
    assert second.headers["authorization"] == "Bearer t" and second.headers["HOST"] == "acp.invalid"
    assert json.loads(second.body or b"") == CREATE
    assert second.headers["content-length"] == str(len(second.body or b""))
    assert first.body is None and "content-length" not in first.headers
    assert not first.cross_origin
    (connect, read), total, none = transport.limits
    assert (connect, read) == (3, 7) and none == (None, None)
    assert all(limit is not None and 4 < limit <= 5 for limit in total)


def test_the_name_of_a_cross_origin_redirect_is_told_and_credentials_stay_behind():
    moved = Response(status=307, headers={"Location": "http://other.invalid/x"})
    transport, runs = runs_of(moved, Response(FOUND), access_token="t")
    runs.get_run("r1")
    assert moved.closed == 1
    own, other = transport.sent
    assert (own.cross_origin, other.cross_origin) == (False, True)
    assert other.url == "http://other.invalid/x" and "authorization" not in other.headers


def test_retries_codings_limits_and_errors_stay_the_clients_own():
    busy = Response(status=503, headers={"Retry-After": "0"})
    coded = Response(gzip.compress(FOUND), headers={"Content-Encoding": "gzip"})
    transport, runs = runs_of(busy, ConnectionResetError("reset"), coded, retries=3)
    assert runs.get_run("r1").run_id == "r1" and len(transport.sent) == 3
    large = Response(FOUND, status=200)
    transport, runs = runs_of(large, max_response_bytes=10)
    with pytest.raises(acp.ResponseTooLarge):
        runs.get_run("r1")
    assert large.closed == 1
    page = Response(b'"no such run"', status=404, headers={"X": "1"}, reason="Gone")
    with pytest.raises(acp.NotFoundException, match="no such run") as caught:
        runs_of(page)[1].get_run("r1")
    assert caught.value.reason == "Gone" and caught.value.headers is not None
    assert caught.value.headers["x"] == "1" and page.closed == 1


def test_a_response_may_have_headers_of_any_kind_with_names_and_values():
    message = http.client.HTTPMessage()
    message["X-Two"] = "a"
    message["X-Two"] = "b"
    message["Transfer-Encoding"] = "chunked"
    message["X-Folded"] = "a\r\n b"
    transport, runs = runs_of(Response(FOUND, headers=message, version=10, reason=None))
    info = runs.get_run_with_http_info("r1")
    assert info.headers == {"X-Two": "a, b", "X-Folded": "a  b"}
    assert (transport.sent[0].headers["accept-encoding"], info.status_code) == ("identity", 200)


def test_closing_the_client_closes_the_transport_which_can_be_used_again():
    transport, runs = runs_of(lambda: Response(FOUND))
    runs.api_client.close()
    runs.get_run("r1")
    with runs.api_client.with_options(timeout=3) as view:
        acp.RunsApi(view).get_run("r1")
    assert transport.closed == 1 and len(transport.sent) == 2


# Failures


def test_an_error_of_the_connection_is_unclear_unless_nothing_was_certainly_sent():
    nowhere: Any = None
    new = NewConnectionError(nowhere, "refused")
    sent: list[BaseException] = [
        OSError("boom"), TimeoutError("late"), ConnectionResetError("reset"),
        requests.ConnectionError("refused"), http.client.BadStatusLine("x"),
        ProtocolError("aborted", ConnectionRefusedError("of an inner try")),
        # urllib3 says this as well after it has sent the request to a proxy that forwards.
        ProxyError("Unable to connect to proxy", http.client.RemoteDisconnected("gone")),
        HTTPError("of some kind"),
    ]  # fmt: skip
    unsent: list[BaseException] = [
        ConnectionRefusedError("refused"), socket.gaierror("unknown"), new,
        ConnectTimeoutError("slow"), EmptyPoolError(nowhere, "full"),
        ClosedPoolError(nowhere, "closed"), ProxyError("Unable to connect to proxy", new),
        ProxyError("Unable to connect to proxy", OSError("Tunnel connection failed: 503 No")),
    ]  # fmt: skip
    for error in (*sent, *unsent):
        transport, runs = runs_of(error, retries=False)
        with pytest.raises(acp.TransportException) as caught:
            runs.create_run(CREATE)
        expected = error in sent
        assert caught.value.ambiguous is caught.value.sent is expected, repr(error)
        assert caught.value.__cause__ is error and len(transport.sent) == 1
        again, runs = runs_of(error, Response(FOUND), retries=1)
        if isinstance(error, EmptyPoolError):
            # The call has waited for a connection already.
            continue
        if not expected:
            assert runs.create_run(CREATE).run_id == "r1", repr(error)
            continue
        with pytest.raises(acp.TransportException):
            runs.create_run(CREATE)
        assert len(again.sent) == 1, repr(error)


def test_a_timeout_of_the_transport_is_a_timeout_of_the_call():
    _, runs = runs_of(TimeoutError("late"), retries=False)
    with pytest.raises(acp.ApiTimeoutError, match="no response within 60 s"):
        runs.get_run("r1")


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("x"), Exception("x")], ids=repr)
def test_any_other_exception_ends_the_call_as_it_is(error):
    transport, runs = runs_of(error)
    for call in (
        lambda: runs.create_run(CREATE),
        lambda: acp.AgentHandle("a1", runs.api_client).start({}),
        lambda: list(acp.AgentHandle("a1", runs.api_client).map([{}])),
    ):
        transport.sent.clear()
        with pytest.raises(type(error)) as caught:
            call()
        assert caught.value is error and len(transport.sent) == 1


def test_an_exception_in_the_body_ends_the_call_or_the_stream_as_it_is():
    error = RuntimeError("not of the connection")
    broken = Response(FOUND[:5], error)
    with pytest.raises(RuntimeError) as caught:
        runs_of(broken)[1].get_run("r1")
    assert caught.value is error and broken.closed == 1
    stream = Response(EVENT % 1, error, headers=SSE)
    with runs_of(stream)[1].get_run_stream("r1") as events:
        next(events)
        with pytest.raises(RuntimeError):
            next(events)
    assert stream.closed == 1


def test_a_stream_that_fails_is_interrupted_at_its_last_event():
    stream = Response(EVENT % 7, ConnectionResetError("reset"), headers=SSE)
    with runs_of(stream)[1].get_run_stream("r1") as events:
        next(events)
        with pytest.raises(acp.StreamInterrupted) as caught:
            next(events)
    assert caught.value.last_event_id == "7" and stream.closed == 1


def test_a_body_that_is_shorter_than_its_length_is_truncated():
    short = Response(FOUND[:20], headers={"Content-Length": str(len(FOUND))})
    with pytest.raises(acp.ConnectionException, match="in the middle of the body"):
        runs_of(short, retries=False)[1].get_run("r1")
    long = Response(FOUND + b"more", headers={"Content-Length": str(len(FOUND))})
    assert runs_of(long)[1].get_run("r1").run_id == "r1"
    assert short.closed == long.closed == 1


# Transports that lie


def test_a_response_of_the_wrong_type_is_named():
    answers: list[Any] = [
        None, b"bytes", SimpleNamespace(status=200, headers={}), Response(FOUND, headers=["a"]),
        Response(FOUND, status="fine"), Response(FOUND, status=None),
    ]  # fmt: skip
    for answer in answers:
        with pytest.raises(
            acp.ApiTypeError, match=r"send\(\) of Lying must return a response like"
        ):
            runs_of(answer)[1].get_run("r1")
    for piece in ("text", None, bytearray(FOUND)):
        wrong = Response(piece)
        with pytest.raises(acp.ApiTypeError, match="a response of Lying must read bytes, not"):
            runs_of(wrong)[1].get_run("r1")
        assert wrong.closed == 1


def test_a_status_that_is_not_final_is_no_response():
    for status in (100, 101, 103):
        early = Response(FOUND, status=status)
        transport, runs = runs_of(early, Response(FOUND))
        with pytest.raises(acp.ProtocolException, match=f"returned {status}, which is not final"):
            runs.create_run(CREATE)
        assert early.closed == 1 and len(transport.sent) == 1


def test_headers_can_neither_fake_a_line_nor_end_the_head():
    lines = {"X-A": "1\r\nX-Fake: 2\r\n\r\nbody", "X-B": "\u4e2d"}
    _, runs = runs_of(Response(FOUND, headers=lines, reason="OK\r\nX-Fake: 3"))
    info = runs.get_run_with_http_info("r1")
    assert info.headers == {"X-A": "1 X-Fake: 2  body", "X-B": "?"} and info.data.run_id == "r1"


def test_a_content_that_was_decoded_already_says_which_header_is_wrong():
    decoded = Response(FOUND, headers={"Content-Encoding": "gzip"})
    with pytest.raises(acp.ResponseDecodeError, match="coded as 'gzip', cannot be decoded"):
        runs_of(decoded)[1].get_run("r1")


def test_a_response_that_was_used_before_is_empty():
    used = Response()
    used.close()
    used.read = lambda size: b""  # type: ignore[method-assign]
    with pytest.raises(acp.ResponseValidationError, match="is empty"):
        runs_of(used)[1].get_run("r1")


def test_a_response_that_cannot_be_closed_is_a_line_of_the_log(caplog):
    def fail() -> None:
        raise RuntimeError("cannot be closed")

    with caplog.at_level(logging.WARNING, "acp_client_v0_1"):
        assert runs_of(Response(FOUND, close=fail))[1].get_run("r1").run_id == "r1"
        with pytest.raises(acp.NotFoundException):
            runs_of(Response(b"", status=404, close=fail))[1].get_run("r1")
    assert [record.getMessage() for record in caplog.records] == [
        "a response of Lying cannot be closed: RuntimeError('cannot be closed')"
    ] * 2


def test_what_urllib3s_responses_have_more_is_used():
    called: list[str] = []
    more = {name: lambda name=name: called.append(name) for name in ("drain_conn", "release_conn")}
    whole = Response(FOUND, headers={"Content-Length": str(len(FOUND))}, **more)
    assert runs_of(whole)[1].get_run("r1").run_id == "r1"
    assert (called, whole.closed) == (["drain_conn", "release_conn"], 0)
    called.clear()
    broken = Response(FOUND[:9], OSError("cut"), **more)
    with pytest.raises(acp.ConnectionException):
        runs_of(broken, retries=False)[1].get_run("r1")
    assert (called, broken.closed) == (["release_conn"], 1)


# Time, and other threads


def blocking(seconds: float = 15) -> tuple[threading.Event, Callable[[], bytes]]:
    """A read that blocks until the event is set, and then ends the body."""
    event = threading.Event()
    return event, lambda: b"" if event.wait(seconds) else b"late"


@pytest.mark.parametrize("streaming", [False, True])
def test_a_body_that_hangs_ends_at_the_deadline_and_is_closed_when_its_read_ends(streaming):
    wake, hang = blocking()
    slow = Response(EVENT % 1 if streaming else FOUND[:9], hang, headers=SSE if streaming else {})
    _, runs = runs_of(slow, retries=False)
    with (
        pytest.raises(acp.ApiTimeoutError, match=r"within the call's 0\.3 s"),
        Stopwatch() as watch,
    ):
        if streaming:
            for _ in runs.get_run_stream("r1", _request_timeout=0.3):
                pass
        runs.get_run("r1", _request_timeout=0.3)
    assert watch.seconds < 3 and not slow.closed
    wake.set()
    assert eventually(lambda: slow.closed == 1)


def test_a_body_that_drips_for_ever_ends_at_the_deadline():
    def drip() -> bytes:
        time.sleep(0.02)
        return b" "

    with pytest.raises(acp.ApiTimeoutError), Stopwatch() as watch:
        runs_of(Response(*[drip] * 1000))[1].get_run("r1", _request_timeout=0.3)
    assert watch.seconds < 3


def test_a_stream_that_is_silent_lets_other_work_be_done_and_loses_no_byte():
    gate, piece = threading.Event(), iter([EVENT % 1, b""])

    def read() -> bytes:
        gate.wait(15)
        return next(piece)

    _, runs = runs_of(Response(read, read, headers=SSE))
    with runs.get_run_stream("r1") as stream:
        for _ in range(3):
            with pytest.raises(Exception) as caught:
                stream.reader.advance(0.05)
            assert type(caught.value).__name__ == "NothingYet"
        gate.set()
        assert [event.id for event in stream.raw_events()] == ["1"]


@pytest.mark.parametrize("can_shut_down", [False, True])
def test_close_from_another_thread_wakes_a_stream_that_hangs(can_shut_down):
    wake, hang = blocking()
    more = {"shutdown": wake.set} if can_shut_down else {}
    slow = Response(EVENT % 1, hang, headers=SSE, **more)
    with runs_of(slow)[1].get_run_stream("r1") as stream:
        next(stream)
        timer = threading.Timer(0.2, stream.close)
        timer.start()
        with Stopwatch() as watch:
            assert list(stream.raw_events() if not stream.closed else ()) == []
        assert watch.seconds < 3 and stream.closed
    assert slow.closed == can_shut_down or eventually(lambda: slow.closed == can_shut_down)
    wake.set()
    assert eventually(lambda: slow.closed == 1)


def test_leaving_a_stream_early_closes_its_response_once():
    early = Response(EVENT % 1, EVENT % 2, headers=SSE)
    with runs_of(early)[1].get_run_stream("r1") as stream:
        next(stream)
    stream.close()
    assert eventually(lambda: early.closed == 1)


def test_events_arrive_when_their_bytes_do():
    """By a read that returns what has arrived, and whatever the framing is."""
    for framing in ("chunked", "length", "close"):
        gate = Gate()
        first, second = EVENT % 1, EVENT % 2
        script: list[Any] = [
            head(content_type="text/event-stream"),
            first,
            gate,
            second,
            CLOSE,
        ]
        if framing == "chunked":
            begin = head(content_type="text/event-stream", transfer_encoding="chunked")
            script = [begin, chunk(first), gate, chunk(second), chunk(b"")]
        elif framing == "length":
            length = str(len(first + second))
            script = [head(content_type="text/event-stream", content_length=length)]
            script += [first, gate, second]
        with SocketServer(script) as server:
            configuration = acp.Configuration(host=server.url)
            with acp.ApiClient(configuration, transport=ByHand()) as client:
                stream = acp.RunsApi(client).get_run_stream("r1").raw_events()
                assert next(stream).id == "1"
                gate.open()
                assert [event.id for event in stream] == ["2"], framing


def test_threads_share_a_transport():
    with LocalServer() as server:
        configuration = acp.Configuration(host=server.url)
        with acp.ApiClient(configuration, transport=ByHand()) as client:
            echo = acp.AgentHandle(ECHO_AGENT_ID, client)
            with ThreadPoolExecutor(16) as threads:
                inputs = [{"n": n} for n in range(64)]
                results = list(threads.map(lambda it: echo.run(it, timeout=30), inputs))
    assert results == inputs


def test_a_response_of_the_parent_is_refused_in_a_forked_process_and_stays_whole():
    gate = Gate()
    begin = head(content_type="text/event-stream", transfer_encoding="chunked")
    script = [begin, chunk(EVENT % 1), gate, chunk(EVENT % 2), chunk(b"")]
    with SocketServer(script) as server:
        configuration = acp.Configuration(host=server.url)
        with acp.ApiClient(configuration, transport=ByHand()) as client:
            stream = acp.RunsApi(client).get_run_stream("r1")
            next(stream)

            def child() -> None:
                with pytest.raises(acp.StreamInterrupted, match="another process"):
                    next(stream)
                stream.close()

            assert in_child(child)() == 0
            gate.open()
            assert [event.id for event in stream.raw_events()] == ["2"]


# The argument


def test_what_is_no_transport_is_refused():
    class NoClose:
        def send(self, request: Any, *, connect: Any, read: Any) -> None: ...

    class NoTimes(NoClose):
        def send(self, request: Any) -> None: ...  # type: ignore[override]

        def close(self) -> None: ...

    class Asynchronous(ByHand):
        async def send(self, *_: Any, **__: Any) -> Any: ...

    for wrong in ("http", 5, NoClose(), NoTimes(), Asynchronous(), ByHand, requests, lambda: None):
        with pytest.raises(acp.ApiTypeError, match=r"transport must be an object with send\(req"):
            acp.ApiClient(transport=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("verify_ssl", False), ("ssl_ca_cert", "ca.pem"), ("ca_cert_data", "x"),
        ("cert_file", "c.pem"), ("tls_server_name", "n"), ("assert_hostname", "n"),
        ("proxy", "http://p:1"), ("proxy", ""), ("no_proxy", "x"), ("proxy_headers", {"a": "b"}),
        ("connection_pool_maxsize", 999), ("socket_options", [(1, 2, 3)]),
    ],
)  # fmt: skip
def test_a_setting_that_a_transport_would_drop_is_refused_by_its_name(name, value):
    configuration = acp.Configuration(**{name: value})
    with pytest.raises(acp.ApiValueError, match=f"^{name} cannot be used with ByHand, which has"):
        acp.ApiClient(configuration, transport=ByHand())


def test_a_client_with_a_transport_that_pickles_pickles_with_it():
    with LocalServer() as server:
        client = acp.ApiClient(acp.Configuration(host=server.url), transport=ByHand())
        with client, pickle.loads(pickle.dumps(client)) as other:
            assert acp.AgentsApi(other).get_agent_by_id(ECHO_AGENT_ID).agent_id == ECHO_AGENT_ID
        assert isinstance(other.rest_client._transport, ByHand)


def test_a_transport_that_refuses_the_address_says_so_at_once():
    client = acp.ApiClient(
        acp.Configuration(host=f"http://127.0.0.1:{free_port()}", retries=False), transport=ByHand()
    )
    with client, pytest.raises(acp.ConnectionException, match="cannot connect to http") as caught:
        acp.AgentHandle("a1", client).run({}, timeout=30)
    assert any(isinstance(each, ConnectionRefusedError) for each in causes(caught.value))


def test_each_connection_of_a_transport_is_closed_after_its_response():
    script = response(json.dumps(RESULT).encode())
    with SocketServer(script, script, head(204)) as server:
        configuration = acp.Configuration(host=server.url)
        with acp.ApiClient(configuration, transport=ByHand()) as client:
            runs = acp.RunsApi(client)
            kept = [runs.get_run_output("r1") for _ in range(3)]
            assert kept[0] is not None and kept[2] is None
            assert eventually(lambda: not server.still_open)
    assert server.connections == 3
