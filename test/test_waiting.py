"""Waiting for an output: windows, pauses, cuts, failures, and the end."""

from __future__ import annotations

import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.socket_server import CLOSE, STALL, Connection, SocketServer, head, response
from support.transport import Stopwatch

from acp_client_v0_1 import (
    ApiClient,
    ApiException,
    ApiTypeError,
    ApiValueError,
    Configuration,
    NotFoundException,
    RunsApi,
    RunStatus,
    RunWaitTimeout,
    wait_for_run_output,
)

RESULT = {"type": "result", "run_id": "r1", "status": "success", "result": {"n": 1}}
RUN = {
    "run_id": "r1",
    "agent_id": "a1",
    "creation": {"agent_id": "a1"},
    "created_at": "2025-01-01T00:00:00Z",
    "updated_at": "2025-01-01T00:00:00Z",
    "status": "pending",
}
OUTPUT = response(json.dumps(RESULT).encode())
PENDING = head(204)


def window_of(path: str) -> int:
    return int(path.partition("block_timeout=")[2] or 0)


class Runs:
    """A server whose only run ends ``seconds`` after the first request; windows are honoured.

    ``longest`` seconds after its beginning a held request is cut, as a proxy does it.
    """

    def __init__(self, seconds: float, longest: float = 1e9, cut: object = ()) -> None:
        self.seconds, self.longest, self.cut = seconds, longest, cut
        self.done_at = 0.0

    def __call__(self, connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            self.done_at = self.done_at or time.monotonic() + self.seconds
            if not request.path.startswith("/runs/r1/output"):
                connection.play(response(json.dumps(RUN).encode()))
                continue
            window = window_of(request.path)
            left = self.done_at - time.monotonic()
            held = min(window, max(0.0, left), self.longest)
            connection.pause(held)
            if held == self.longest:
                connection.play(self.cut)
            else:
                connection.play(OUTPUT if left <= window else PENDING)


def wait(server, retries=0, **arguments):
    with ApiClient(Configuration(host=server.url, retries=retries)) as client:
        return wait_for_run_output(RunsApi(client), "r1", **arguments)


def test_a_run_of_5_seconds_a_hot_server_and_a_restart():
    """Three waits that take their time, at the same time."""

    def long_run():
        with SocketServer(handler=Runs(5)) as server:
            output = wait(server, timeout=30, block_timeout=1)
        assert output.actual_instance.result == {"n": 1}
        assert len(server.requests) <= 7

    def hot_server():
        with (
            SocketServer(PENDING) as server,
            Stopwatch() as clock,
            pytest.raises(RunWaitTimeout) as failure,
        ):
            wait(server, timeout=10, block_timeout=1)
        assert len(server.requests) <= 12
        assert 9.9 < clock.seconds < 10.5
        assert failure.value.run_id == "r1"
        assert 9.9 < failure.value.elapsed < 10.5

    def restart():
        with SocketServer(handler=Runs(60)) as server:
            threading.Timer(0.5, server.stop).start()
            started = []

            def start():
                started.append(SocketServer(OUTPUT, port=server.port).__enter__())

            threading.Timer(2.5, start).start()
            assert wait(server, timeout=20, block_timeout=5).actual_instance.run_id == "r1"
        started[0].__exit__()

    with ThreadPoolExecutor(3) as threads:
        for outcome in [threads.submit(part) for part in (long_run, hot_server, restart)]:
            outcome.result()


def test_a_cut_makes_the_window_smaller():
    def windows(cut):
        with SocketServer(handler=Runs(2.5, longest=1.3, cut=cut)) as server:
            output = wait(server, retries=3, timeout=20, block_timeout=8)
        assert output.actual_instance.run_id == "r1"
        return [window_of(request.path) for request in server.requests]

    cuts = [response(b"", 502), response(b"<title>504</title>", 504), response(b"", 408), [CLOSE]]
    with ThreadPoolExecutor(len(cuts)) as threads:
        for first, *others in threads.map(windows, cuts):
            assert first == 8
            assert set(others) == {1}
            assert len(others) <= 4


def test_the_last_window_fits_into_what_remains():
    with (
        SocketServer(handler=Runs(60)) as server,
        Stopwatch() as clock,
        pytest.raises(RunWaitTimeout),
    ):
        wait(server, timeout=1.5, block_timeout=30)
    assert 1.4 < clock.seconds < 2
    assert [window_of(request.path) for request in server.requests][:1] == [1]
    assert len(server.requests) <= 3


def test_the_clock_may_jump_between_any_two_looks(monkeypatch):
    """No request is asked to end before its window, or in no time at all."""
    limits = []
    now = itertools.count(0, 0.137)

    class Pending:
        def get_run_output(self, run_id, *, block_timeout, _request_timeout):
            limits.append((block_timeout or 0, _request_timeout))

    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    for timeout in (0.1, 1.05, 1.2, 2.5, 7, 30):
        with pytest.raises(RunWaitTimeout):
            wait_for_run_output(Pending(), "r1", timeout=timeout)
    assert limits
    assert all(limit > window >= 0 for window, limit in limits)


def test_a_server_that_ignores_the_window_and_holds_for_ever():
    with (
        SocketServer([STALL]) as server,
        Stopwatch() as clock,
        pytest.raises(RunWaitTimeout, match="the last request failed") as failure,
    ):
        wait(server, timeout=1.5, block_timeout=1)
    assert clock.seconds < 2
    assert isinstance(failure.value.__cause__, ApiException)
    assert isinstance(failure.value, TimeoutError)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_failures_that_pass_are_survived(status):
    with SocketServer(response(b"", status), OUTPUT) as server:
        assert wait(server, timeout=10).actual_instance.run_id == "r1"
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_refusals_end_the_wait(status):
    with (
        SocketServer(response(b'"no"', status), OUTPUT) as server,
        pytest.raises(ApiException) as failure,
    ):
        wait(server, timeout=10)
    assert failure.value.status == status
    assert len(server.requests) == 1


def test_progress_is_reported():
    seen = []
    with SocketServer(handler=Runs(2.5)) as server:
        wait(
            server,
            timeout=10,
            block_timeout=1,
            on_pending=lambda elapsed, status: seen.append((elapsed, status)),
        )
    assert [status for _, status in seen] == [RunStatus.PENDING] * 2
    assert 0.9 < seen[0][0] < seen[1][0] < 2.5
    looked_up = [request for request in server.requests if request.path == "/runs/r1"]
    assert len(looked_up) == 1


def test_an_error_of_the_callback_ends_the_wait():
    class Enough(Exception):
        pass

    def complain(elapsed, status):
        raise Enough

    with SocketServer(handler=Runs(60)) as server, pytest.raises(Enough):
        wait(server, timeout=10, block_timeout=1, on_pending=complain)


def test_a_run_that_vanishes_while_its_status_is_looked_up():
    with (
        SocketServer(PENDING, response(b'"gone"', 404)) as server,
        pytest.raises(NotFoundException),
    ):
        wait(server, timeout=10, on_pending=print)


def test_an_event_stops_the_wait():
    stop = threading.Event()
    threading.Timer(0.4, stop.set).start()
    with (
        SocketServer(handler=Runs(60)) as server,
        Stopwatch() as clock,
        pytest.raises(RunWaitTimeout, match="was stopped"),
    ):
        wait(server, block_timeout=30, stop=stop)
    assert clock.seconds < 2
    with SocketServer(handler=Runs(60)) as server, pytest.raises(RunWaitTimeout):
        wait(server, stop=stop)
    assert not server.requests


def test_without_a_limit_failures_alone_end_the_wait(monkeypatch):
    monkeypatch.setattr("acp_client_v0_1.waiting._PATIENCE", 0.4)
    monkeypatch.setattr("acp_client_v0_1.waiting._FIRST_PAUSE", 0.1)
    with SocketServer(response(b'"broken"', 500)) as server, pytest.raises(ApiException) as failure:
        wait(server)
    assert failure.value.status == 500
    assert len(server.requests) > 1


def test_an_interrupt_and_an_error_are_outputs():
    interrupt = {"type": "interrupt", "interrupt": {"interrupt_type": "ask"}}
    error = {"type": "error", "run_id": "r1", "errcode": 7, "description": "broke"}
    for output in (interrupt, error):
        with SocketServer(response(json.dumps(output).encode())) as server:
            assert wait(server).actual_instance.type == output["type"]


@pytest.mark.parametrize(
    "arguments, error, name",
    [
        ({"timeout": 0}, ApiValueError, "timeout"),
        ({"timeout": (1, 2)}, ApiTypeError, "timeout"),
        ({"timeout": "1"}, ApiTypeError, "timeout"),
        ({"block_timeout": 0}, ApiValueError, "block_timeout"),
        ({"block_timeout": 1.5}, ApiTypeError, "block_timeout"),
        ({"block_timeout": True}, ApiTypeError, "block_timeout"),
    ],
)
def test_bad_arguments_are_named(arguments, error, name):
    with SocketServer(OUTPUT) as server, pytest.raises(error, match=name):
        wait(server, **arguments)
    assert not server.requests


def test_waits_do_not_meet_each_other():
    def answer(connection):
        for number in itertools.count():
            request = connection.read_request()
            if request is None:
                return
            run_id = request.path.split("/")[2]
            output = response(json.dumps({**RESULT, "run_id": run_id}).encode())
            connection.play(PENDING if number == 0 else output)

    with (
        SocketServer(handler=answer) as server,
        ApiClient(Configuration(host=server.url)) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        api = RunsApi(client)
        ids = [f"run-{n}" for n in range(8)]
        outputs = threads.map(lambda i: wait_for_run_output(api, i, timeout=10), ids)
        assert [output.actual_instance.run_id for output in outputs] == ids
