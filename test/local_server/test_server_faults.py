"""Faults, as they look on the wire."""

from __future__ import annotations

import http.client
import math
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3
from support.transport import eventually

from acp_client_v0_1.testing import (
    COUNTER_AGENT_ID,
    ECHO_AGENT_ID,
    SLOW_AGENT_ID,
    AgentDefinition,
    Fault,
    LocalServer,
    Quirks,
)

HTML, JSON = {"content-type": "text/html"}, {"content-type": "application/json"}
CREATE = "POST", "/runs", b'{"agent_id": "%s"}' % ECHO_AGENT_ID.encode()


class Wire:
    """One connection, and the bytes that arrive on it."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=5)

    def send(self, method: str, path: str, body: bytes = b"") -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self.socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def meet(
        self, fault: Fault, method: str = "GET", path: str = "/runs/x", body: bytes = b""
    ) -> None:
        """Send a request that the fault is for."""
        self.server.faults.add(fault)
        self.send(method, path, body)

    def until_closed(self) -> bytes:
        return b"".join(iter(lambda: self.socket.recv(65536), b""))

    def until_silent(self, expected: int, seconds: float = 0.3) -> bytes:
        """Read at least this number of bytes, and on until none arrives for some time."""
        data = b""
        while len(data) < expected and (piece := self.socket.recv(65536)):
            data += piece
        self.socket.settimeout(seconds)
        with pytest.raises(TimeoutError):
            while piece := self.socket.recv(65536):
                data += piece
        return data


@pytest.fixture
def wire(server: LocalServer) -> Iterator[Wire]:
    connection = Wire(server)
    yield connection
    connection.socket.close()


class TestResponses:
    @pytest.mark.parametrize(
        ("fault", "body", "headers"),
        [
            (Fault(status=503, retry_after=2), b'"Service Unavailable"', {"retry-after": "2"}),
            (Fault(status=404), b'"Not Found"', JSON),
            (Fault(status=422, body={"a": []}), b'{"a":[]}', JSON),
            (Fault(status=200, body=b""), b"", {"content-type": None}),
            (Fault(status=502, body=b"<html>", headers=HTML), b"<html>", HTML),
            (Fault(status=200, body="text"), b'"text"', JSON),
            (Fault(status=204), b"", {"content-length": None}),
            (Fault(status=304), b"", {"content-length": None}),
            (Fault(status=303, redirect="/x"), b'"See Other"', {"location": "/x"}),
            (Fault(redirect="/elsewhere"), b'"Temporary Redirect"', {"location": "/elsewhere"}),
        ],
    )
    def test_a_status_instead_of_the_response(self, call, fault, body, headers):
        call.server.faults.add(fault)
        response = call("POST", "/runs", {"agent_id": ECHO_AGENT_ID})
        assert (response.status, response.body) == (fault.status or 307, body)
        assert {name: response.headers.get(name) for name in headers} == headers
        # Nothing was done, and the next response is the server's own.
        assert call.ok("POST", "/runs/search", {}) == []

    @pytest.mark.parametrize(
        "slow", [Fault(delay=0.3), Fault(status=200, body=b"0123456789", drip=0.03)]
    )
    def test_a_delay_or_a_slow_drip(self, call, slow):
        call.server.faults.add(slow)
        began = time.monotonic()
        assert call("POST", "/runs/search", {}).body == (slow.body or b"[]")
        assert time.monotonic() - began >= 0.29

    @pytest.mark.slow
    def test_the_drips_of_events_and_of_comments_do_not_mix(self, serve):
        call = serve(ping=0.05)
        call.server.faults.add(Fault(path="/runs/*/stream", drip=0.0005))
        counting = {"count": 4, "interval": 0.05}
        run_id = call.run(COUNTER_AGENT_ID, input=counting, streaming="custom")
        body = call("GET", f"/runs/{run_id}/stream").body.decode()
        lines = [line for line in body.split("\r\n") if line]
        assert len(lines) > 12
        assert {line.partition(": ")[0] for line in lines} == {"", "id", "event", "data"}


class TestBlocking:
    def test_a_server_that_never_blocks(self, call):
        run_id = call.run(SLOW_AGENT_ID, input={"seconds": 30})
        call.server.faults.add(Fault(path="/runs/*/output", block="never", times=None))
        began = time.monotonic()
        for _ in range(3):
            assert call("GET", f"/runs/{run_id}/output?block_timeout=5").status == 204
        assert time.monotonic() - began < 4.5
        queries = [request.query for request in call.server.requests[1:]]
        assert queries == ["block_timeout=5"] * 3

    @pytest.mark.slow
    def test_a_server_that_blocks_as_long_as_it_likes(self, call):
        run_id = call.run(SLOW_AGENT_ID, input={"seconds": 1.3})
        call.server.faults.add(Fault(block="forever"))
        assert call.ok("GET", f"/runs/{run_id}/output?block_timeout=1")["type"] == "result"


class TestBreaks:
    @pytest.mark.parametrize(
        ("fault", "runs"),
        [(Fault(cut="close"), 0), (Fault(cut="close", after_wire_bytes=0), 1)],
        ids=["nothing is done", "all is done"],
    )
    def test_nothing_is_sent(self, call, wire, fault, runs):
        wire.meet(fault, *CREATE)
        assert wire.until_closed() == b""
        assert len(call.ok("POST", "/runs/search", {})) == runs

    def test_a_reset(self, wire):
        wire.meet(Fault(cut="reset"))
        with pytest.raises(ConnectionResetError):
            wire.until_closed()

    @pytest.mark.parametrize("count", [1, 12, 17, 60])
    def test_after_bytes_of_the_wire(self, wire, count):
        wire.meet(Fault(cut="close", after_wire_bytes=count))
        data = wire.until_closed()
        assert len(data) == count
        assert b"HTTP/1.1 404 Not Found\r\n".startswith(data[:24])

    @pytest.mark.parametrize(
        ("fault", "kept"),
        [
            (Fault(cut="close", after_body_bytes=0), b""),
            (Fault(cut="close", after_body_bytes=5), b'"no r'),
            (Fault(status=500, body=b"x" * 100, cut="close", after_body_bytes=7), b"x" * 7),
        ],
    )
    def test_after_bytes_of_the_body(self, wire, fault, kept):
        wire.meet(fault)
        head, _, body = wire.until_closed().partition(b"\r\n\r\n")
        length = 100 if fault.status else 23
        assert b"content-length: %d" % length in head
        assert body == kept

    @pytest.mark.parametrize("cut", ["close", "reset"])
    def test_after_events(self, call, cut):
        run_id = call.run(COUNTER_AGENT_ID, input={"interval": 0}, streaming="custom")
        call.output(run_id)
        call.server.faults.add(Fault(cut=cut, after_events=2))
        response = call.stream(run_id)
        received = b""
        with pytest.raises(urllib3.exceptions.ProtocolError):
            while piece := response.read1():
                received += piece
        assert received.count(b"data: ") <= 2 if cut == "reset" else received.count(b"data: ") == 2
        assert [event["id"] for event in call.events(run_id)] == ["1", "2", "3"]

    @pytest.mark.parametrize("events", [0, 2])
    def test_an_early_end_that_looks_like_the_end(self, call, events):
        run_id = call.run(COUNTER_AGENT_ID, input={"interval": 0.05}, streaming="custom")
        call.server.faults.add(Fault(path="/runs/*/stream", cut="end", after_events=events))
        assert [event["id"] for event in call.events(run_id)] == ["1", "2"][:events]
        # The run goes on, the connection is kept, and the rest is there for the next stream.
        rest = call.events(run_id, Last_Event_ID=str(events))
        assert [event["id"] for event in rest] == ["1", "2", "3"][events:]
        assert call.server.connections_accepted == 1

    @pytest.mark.parametrize(
        "fault",
        [Fault(cut="close", after_body_bytes=10**6), Fault(cut="end", after_events=0)],
        ids=["a limit beyond the end", "only a stream ends early"],
    )
    def test_a_fault_that_is_never_met_changes_nothing(self, call, fault):
        call.server.faults.add(fault)
        assert call.ok("POST", "/runs/search", {}) == []

    @pytest.mark.parametrize(
        ("fault", "length"),
        [
            (Fault(cut="stall"), 0),
            (Fault(cut="stall", after_wire_bytes=12), 12),
            (Fault(raw=b"HTTP/1.1 200 OK\r\n", cut="stall"), 17),
            (Fault(status=200, body=b"0123456789", cut="stall", after_body_bytes=4), None),
        ],
    )
    def test_a_stall_keeps_the_connection_open(self, wire, fault, length):
        wire.meet(fault)
        received = wire.until_silent(length or 0)
        assert len(received) == length or received.endswith(b"\r\n\r\n0123")
        assert wire.server.connections_open == 1

    def test_bytes_that_are_no_http(self, wire):
        began = time.monotonic()
        wire.meet(Fault(raw=b"\x00garbage", drip=0.03))
        assert wire.until_closed() == b"\x00garbage"
        assert time.monotonic() - began >= 8 * 0.03

    def test_a_500_that_closes_without_a_word(self, wire):
        wire.meet(Fault(status=500, close_after=True))
        data = wire.until_closed()
        assert data.startswith(b"HTTP/1.1 500") and data.endswith(b'"Internal Server Error"')
        assert b"connection: close" not in data.lower()

    def test_a_connection_without_a_break_is_kept_and_no_limit_lasts(self, server):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        server.faults.add(Fault(status=500), Fault(cut="close", after_wire_bytes=500))
        for status in (500, *[404] * 6):
            connection.request("GET", "/runs/x")
            response = connection.getresponse()
            assert response.status == status and response.read()
        connection.close()
        assert server.connections_accepted == 1


@pytest.mark.parametrize(
    "fault", [Fault(delay=60), Fault(status=200, body=b"x" * 100, drip=1), Fault(cut="stall")]
)
def test_no_fault_holds_up_the_end(fault, caplog, monkeypatch):
    monkeypatch.setattr("acp_client_v0_1.testing._server.runner._GRACE_SECONDS", 8)
    with LocalServer() as server:
        wire = Wire(server)
        wire.meet(fault)
        assert eventually(lambda: server.requests, 5)
        began = time.monotonic()
    assert time.monotonic() - began < 4
    wire.until_closed()
    wire.socket.close()
    assert caplog.records == []


class TestLate:
    """A request that is carried out when its client has given up."""

    def test_after_the_client_has_gone(self, server, wire):
        wire.meet(Fault(path="/runs", late=0.2), *CREATE)
        assert wire.until_silent(0, seconds=0.5) == b""
        assert server.runs == ()
        began = time.monotonic()
        wire.socket.close()
        assert eventually(lambda: server.runs, 5)
        assert time.monotonic() - began >= 0.19
        assert len(server.runs) == len(server.requests) == 1

    @pytest.mark.parametrize(
        ("fault", "response"),
        [
            (Fault(late=0.3, cut="close"), b""),
            (Fault(late=0.3, status=504, close_after=True), b"HTTP/1.1 504"),
            (Fault(late=0.3, raw=b"gone"), b"gone"),
        ],
    )
    def test_after_another_response(self, server, wire, fault, response):
        wire.meet(fault, *CREATE)
        began = time.monotonic()
        received = wire.until_closed()
        assert received.startswith(response) and len(received) >= len(response)
        assert server.runs == () or time.monotonic() - began >= 0.29
        assert eventually(lambda: server.runs, 5)
        assert time.monotonic() - began >= 0.29
        assert len(server.runs) == 1

    def test_a_long_poll_does_not_wait_for_nobody(self, call, wire):
        run_id = call.run(SLOW_AGENT_ID, input={"seconds": 60})
        path = f"/runs/{run_id}/output?block_timeout=60"
        wire.meet(Fault(late=0, cut="close"), "GET", path)
        assert wire.until_closed() == b""
        assert eventually(lambda: not call.server._app._app.late, 5)

    def test_a_server_that_stops_forgets_it(self, wire, server):
        wire.meet(Fault(late=60), *CREATE)
        assert eventually(lambda: server.requests, 5)
        began = time.monotonic()
        server.restart()
        assert time.monotonic() - began < 4
        assert (server.runs, server._app._app.late) == ((), set())


def test_a_status_after_the_work_is_done(call):
    call.server.faults.add(Fault(status=524, carried_out=True, times=3))
    assert call("POST", "/runs", {"agent_id": ECHO_AGENT_ID}).status == 524
    (run,) = call.server.runs
    path = f"/runs/{run['run_id']}"
    assert call("GET", f"{path}/output?block_timeout=60").status == 524
    assert call("DELETE", path).status == 524
    assert call.server.runs == ()


@pytest.mark.slow
def test_a_replica_that_is_behind_has_no_new_run_yet_and_still_a_deleted_one(call):
    call.server.faults.add(Fault(lag=1.5, times=None))
    run_id = call.run(COUNTER_AGENT_ID, input={"interval": 0}, streaming="custom")
    for path in ("", "/output", "/output?block_timeout=5", "/stream"):
        assert call("GET", f"/runs/{run_id}{path}").status == 404
    assert call.ok("POST", "/runs/search", {}) == []
    assert eventually(lambda: call.server.runs[0]["status"] == "success")
    assert eventually(lambda: call("GET", f"/runs/{run_id}").status == 200)
    assert [run["run_id"] for run in call.ok("POST", "/runs/search", {})] == [run_id]
    assert len(call.events(run_id)) == 3
    call.ok("DELETE", f"/runs/{run_id}")
    assert call("GET", f"/runs/{run_id}").status == 200
    assert eventually(lambda: call("GET", f"/runs/{run_id}").status == 404)


class TestChoice:
    def test_a_share_of_the_requests_that_fit(self, call):
        fault = Fault(path="/runs/*", status=500, share=0.3, times=None)
        call.server.faults.add(fault)
        statuses = [call("GET", "/runs/x").status for _ in range(200)]
        # The same requests meet the same faults, also in another test run.
        assert (statuses.count(404), statuses.count(500)) == (148, 52)
        call.server.faults.clear()
        call.server.faults.add(fault)
        assert [call("GET", "/runs/x").status for _ in range(200)] == statuses
        # Only those that meet it count, and the others are for the next fault.
        call.server.faults.clear()
        call.server.faults.add(Fault(status=500, share=0.5, times=5), Fault(status=429, times=None))
        statuses = [call("GET", "/runs/x").status for _ in range(60)]
        assert (statuses.count(500), statuses.count(429)) == (5, 55)

    def test_a_rate_lets_so_many_requests_through_evenly_spaced(self, call, monkeypatch):
        moments = [0.0, 0.125, 0.25, 0.375, 0.625, 0.75, 0.875, 9.0, 9.0, 9.25]
        clock = SimpleNamespace(monotonic=lambda: moments[len(statuses)])
        monkeypatch.setattr("acp_client_v0_1.testing.faults.time", clock)
        statuses: list[int] = []
        call.server.faults.add(Fault(path="/runs/*", status=503, rate=4, times=None))
        while len(statuses) < len(moments):
            statuses.append(call("GET", "/runs/x").status)
        passed = [when for when, status in zip(moments, statuses, strict=True) if status == 404]
        # No time is saved up while no request comes.
        assert passed == [0.0, 0.25, 0.625, 0.875, 9.0, 9.25]
        assert statuses.count(503) == len(moments) - len(passed)
        # The requests of other kinds take no time of it.
        statuses.clear()
        assert [call("GET", "/agents/x").status for _ in range(3)] == [404] * 3

    def test_what_a_rate_lets_through_does_not_count_and_is_for_the_next_fault(self, call):
        call.server.faults.add(Fault(status=503, rate=0.001, times=2), Fault(status=429, times=2))
        statuses = [call("GET", "/runs/x").status for _ in range(5)]
        assert statuses == [429, 503, 503, 429, 404]

    def test_the_first_that_fits_applies_as_often_as_it_may(self, call):
        faults = call.server.faults
        faults.add(
            Fault(status=429, method="POST"),
            Fault(status=500, path="/runs/*", times=2),
            Fault(status=503, path="/runs/*/output"),
        )
        assert call("GET", "/runs/x/output").status == 503
        assert call("GET", "/agents/x").status == 404
        assert [call("GET", "/runs/x").status for _ in range(3)] == [500, 500, 404]
        assert len(faults) == 1
        assert [call("POST", "/runs/search", {}).status for _ in range(2)] == [429, 200]
        assert len(faults) == 0
        # Without `times`, it stays until it is removed.
        faults.add(Fault(status=500, times=None))
        assert [call("GET", "/runs/x").status for _ in range(3)] == [500] * 3
        faults.clear()
        assert call("GET", "/runs/x").status == 404

    def test_one_that_only_chooses_lets_requests_through(self, call):
        call.server.faults.add(Fault(path="/runs/*", times=2), Fault(status=500))
        assert [call("GET", "/runs/x").status for _ in range(4)] == [404, 404, 500, 404]


NAN = float("nan")
CUT: dict[str, Any] = {"cut": "close", "after_events": 1}
# Of one field alone, also if it does nothing alone.
IMPOSSIBLE: dict[str, list[Any]] = {
    "method": ["", "GET "],
    "path": ["runs/*", "/runs/", "/runs/a/b/c", "/threads/*/output", "/runs/*/output?x=1"],
    "delay": [-1, NAN, 1e300],
    "status": [199, 600],
    "cut": ["bogus", "end"],
    "share": [0, 1.5],
    "rate": [0, -1.0, NAN, math.inf],
    "times": [0],
    "body": ["text"],
    "redirect": ["/a\r\nb"],
    "after_body_bytes": [1],
    "retry_after": [3],
    "carried_out": [True],
    "headers": [{"X": "y"}],
}


@pytest.mark.parametrize(
    ("error", "name", "fields"),
    [
        (ValueError, "method: must be one of GET, HEAD, POST.* not 'FETCH", {"method": "FETCH"}),
        (ValueError, "path: ACP 0.1 has no path /run; did you mean '/runs", {"path": "/run"}),
        (ValueError, "path: .* did you mean '/runs/\\*/output", {"path": "/runs/*/outputs"}),
        (ValueError, "method: no operation of ACP 0.1 has PUT", {"method": "put"}),
        (ValueError, "path: ACP 0.1 has no DELETE /runs", {"path": "/runs", "method": "DELETE"}),
        (ValueError, r"path: .* did you mean '/runs/\*/output", {"path": "/runs/:id/output"}),
        (ValueError, "times: None with nothing to do", {"times": None, "path": "/runs"}),
        (ValueError, "times: None with nothing to do", {"times": None, "rate": 5.0, "share": 0.5}),
        *((ValueError, "after_events", CUT | each) for each in ({"path": "/runs"}, {"late": 1})),
        (ValueError, "after_events", CUT | {"method": "POST"}),
        *((ValueError, name, {name: one}) for name, values in IMPOSSIBLE.items() for one in values),
        *((ValueError, "body", {"status": status, "body": "text"}) for status in (204, 304)),
        (ValueError, "headers", {"status": 200, "headers": {"X y": "z"}}),
        (ValueError, "headers: X", {"status": 200, "headers": {"X": "a\r\nb"}}),
        (ValueError, "headers: X", {"status": 200, "headers": {"X": "\u20ac"}}),
        (ValueError, "headers", {"status": 200, "headers": {"content-length": "5"}}),
        (ValueError, "retry_after: Input should be greater", {"status": 503, "retry_after": -1}),
        (ValueError, "retry_after: must be seconds or an", {"status": 503, "retry_after": "soon"}),
        (ValueError, "retry_after: Retry-After cannot", {"status": 503, "retry_after": "3\n"}),
        (ValueError, "block", {"block": "never", "status": 204}),
        (ValueError, "after_body_bytes", {"cut": "close", "after_body_bytes": -1}),
        (ValueError, "after_body_bytes and after_events", CUT | {"after_body_bytes": 1}),
        (ValueError, "cut", {"cut": "end", "after_body_bytes": 1}),
        (ValueError, "block", {"late": 1, "block": "never"}),
        (ValueError, "lag", {"lag": 1, "status": 500}),
        (ValueError, "carried_out", {"carried_out": True, "status": 502, "late": 1}),
        (ValueError, "status", {"cut": "close", "status": 500}),
        (ValueError, "close_after", {"cut": "stall", "close_after": True}),
        (ValueError, "close_after", {"cut": "stall", "after_events": 1, "close_after": True}),
        (ValueError, "after_wire_bytes", {"raw": b"x", "cut": "reset", "after_wire_bytes": 0}),
        (TypeError, "times", {"times": True}),
        (TypeError, "rate", {"rate": "10 a second"}),
        (TypeError, "body", {"status": 200, "body": object()}),
        (TypeError, "body", {"status": 200, "body": NAN}),
        (TypeError, "headers", {"status": 200, "headers": [("X", "y")]}),
        (TypeError, r"headers\.X", {"status": 200, "headers": {"X": 1}}),
        (TypeError, "retry_after: Input should be a", {"status": 503, "retry_after": True}),
    ],
)
def test_what_would_do_nothing_or_break_is_refused_by_name(error, name, fields):
    with pytest.raises(error, match=rf"^{name}\b"):
        Fault(**fields)


@pytest.mark.parametrize("path", ["/runs", "/runs/*", "/runs/a", "/*/*", "/runs/a*/output", "/*"])
def test_a_path_of_an_operation_is_taken(path):
    method = "post" if path in ("/runs", "/*") else "head"
    assert Fault(path=path, method=method, status=503, retry_after="3").path == path


@pytest.mark.parametrize("path", ["/runs/{run_id}", "/runs/**", "/{kind}/*"])
def test_a_segment_may_be_written_as_in_the_contract_or_as_stars(call, path):
    call.server.fail_next(503, path=path)
    assert call("GET", "/runs/x").status == 503


def test_requests_are_recorded_as_they_came(call):
    call.server.fail_next(500)
    before = time.monotonic()
    call("POST", "/runs/a%2Fb?x=1", {"k": "v"}, X_Test="yes")
    (request,) = call.server.requests
    assert (request.method, request.path, request.query) == ("POST", "/runs/a%2Fb", "x=1")
    assert request.headers["x-test"] == "yes"
    assert request.body == b'{"k": "v"}'
    assert request.fault == Fault(status=500)
    assert request.client is not None and request.client[0] == "127.0.0.1"
    assert before <= request.time <= time.monotonic()
    call.server.clear_requests()
    assert call.server.requests == ()


@pytest.mark.parametrize("kind", [AgentDefinition, Fault, Quirks])
def test_what_has_many_fields_takes_them_by_name_alone(kind):
    with pytest.raises(TypeError, match="positional argument"):
        kind("x")
