"""Waiting for an output: windows, pauses, cuts, failures, and the end."""

from __future__ import annotations

import itertools
import json
import math
import threading
import time

import pytest
from support.examples import RESULT, RUN
from support.socket_server import CLOSE, STALL, Connection, SocketServer, head, response, serve_each
from support.transport import Stopwatch, serving

from acp_client_v0_1 import (
    ApiClient,
    ApiTypeError,
    ApiValueError,
    Configuration,
    RunsApi,
    RunStatus,
    RunWaitTimeout,
    ServiceException,
    TooManyRequestsException,
    wait_for_run_output,
)

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
                connection.play(response(json.dumps({**RUN, "status": "pending"}).encode()))
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


class Held:
    """A server of another clock, which holds each request for its window, but never too long.

    It stands for the API, and for the clock.
    """

    def __init__(self, hours, cuts, longest=math.inf, status=504) -> None:
        self.now, self.end = 0.0, hours * 3600
        self.cuts, self.longest, self.status = cuts, longest, status
        self.windows, self.failed = [], 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, stop: threading.Event | None) -> bool:
        self.now += seconds
        return False

    def get_run_output(self, run_id, *, block_timeout, _request_timeout):
        window = block_timeout or 0
        self.windows.append(window)
        longest = min(self.longest, self.cuts.get(len(self.windows), math.inf))
        self.now += min(window, longest)
        if window >= longest:
            self.failed += 1
            raise ServiceException(self.status)

    def wait(self, set_timing, **arguments) -> None:
        set_timing(now=self.monotonic, sleep=self.sleep)
        with pytest.raises(RunWaitTimeout):
            wait_for_run_output(self, "r1", timeout=self.end, **arguments)


@pytest.mark.parametrize(
    ("status", "window"),
    [*((cut, 1) for cut in (408, 502, 503, 504, 524)), *((other, 20) for other in (429, 500, 505))],
)
def test_a_status_that_a_proxy_cuts_with_and_no_other_makes_the_window_smaller(
    set_timing, status, window
):
    server = Held(hours=1, cuts={1: 1.2}, status=status)
    server.wait(set_timing, block_timeout=20)
    assert server.windows[:2] == [20, window]


def test_after_a_single_cut_the_window_grows_again(set_timing):
    set_timing(full_windows=2)
    server = Held(hours=1, cuts={1: 1.1})
    server.wait(set_timing, block_timeout=8)
    assert server.windows[:8] == [8, 1, 1, 2, 4, 8, 8, 8]


@pytest.mark.parametrize("cuts", [{1: 1.2}, {5: 29.0}, {1: 1.2, 4: 1.0}, {2: 20.0, 40: 3.0}])
def test_a_single_cut_costs_few_requests(set_timing, cuts):
    server = Held(hours=1, cuts=cuts)
    server.wait(set_timing, block_timeout=30)
    assert len(server.windows) < 120 + 30
    assert server.failed == len(cuts)
    assert server.windows[60:-6] == [30] * len(server.windows[60:-6])


@pytest.mark.parametrize("longest", [1.5, 2.0, 7.0, 15.0, 20.0, 29.5, 30.0])
def test_a_proxy_that_always_cuts_is_not_hit_again_and_again(set_timing, longest):
    server = Held(hours=24, cuts={}, longest=longest)
    server.wait(set_timing, block_timeout=30)
    assert server.failed <= 9
    assert len(server.windows) < 24 * 3600 / max(1, longest // 2) + 50


def test_the_last_window_fits_into_what_remains(set_timing):
    server = Held(hours=21.5 / 3600, cuts={})
    server.wait(set_timing, block_timeout=8)
    assert server.windows[:3] == [8, 8, 5]
    assert 21 <= server.now <= 21.5


def test_every_request_outlasts_its_window_whatever_the_clock_does(set_timing):
    """No request is asked to end before its window, or in no time at all."""
    limits = []
    now = itertools.count(0, 0.137)

    class Pending:
        def get_run_output(self, run_id, *, block_timeout, _request_timeout):
            limits.append((block_timeout or 0, _request_timeout))

    set_timing(now=lambda: next(now), sleep=lambda seconds, stop: False)
    for timeout in (0.1, 1.05, 1.2, 2.5, 7, 30):
        with pytest.raises(RunWaitTimeout):
            wait_for_run_output(Pending(), "r1", timeout=timeout)
    assert limits
    assert all(limit > window >= 0 for window, limit in limits)


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_beyond_the_deadline_ends_the_wait_at_once(status):
    """It is never shortened, so waiting on would be in vain. The error names the run."""
    with (
        SocketServer(response(b'"busy"', status, retry_after="300")) as server,
        Stopwatch() as clock,
        pytest.raises(RunWaitTimeout, match=f"Retry-After: 300 s; .* returned {status}") as failure,
    ):
        wait(server, retries=3, timeout=30)
    assert failure.value.__cause__.status == status
    assert failure.value.token
    assert clock.seconds < 15
    assert len(server.requests) == 1


@pytest.mark.slow
def test_a_retry_after_longer_than_failures_may_last_ends_a_wait_without_timeout(set_timing):
    set_timing(outage=1.5)
    busy = [response(b"", 429, retry_after=asked) for asked in ("1", "9999")]
    with (
        SocketServer(*busy, OUTPUT) as server,
        Stopwatch() as clock,
        pytest.raises(TooManyRequestsException, match="Retry-After: 9999 s"),
    ):
        wait(server)
    assert 1 <= clock.seconds < 5  # the first pause fits, and is not shortened
    assert len(server.requests) == 2


def test_an_event_ends_the_wait_for_a_retry_after():
    stop = threading.Event()

    def stop_soon(connection):
        connection.play(response(b"", 503, retry_after="60"))
        threading.Timer(0.3, stop.set).start()

    with (
        SocketServer([stop_soon]) as server,
        Stopwatch() as clock,
        pytest.raises(RunWaitTimeout, match="was stopped"),
    ):
        wait(server, stop=stop)
    assert 0.2 < clock.seconds < 5
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [404, 405])
def test_a_run_that_ends_between_two_reads_is_not_missed(status):
    """Its output was not there yet when it was asked for, and is when the run has ended."""
    ended = response(json.dumps({**RUN, "status": "success"}).encode())
    with SocketServer(response(b'"not found"', status), ended, OUTPUT) as server:
        assert wait(server, timeout=30).actual_instance.run_id == "r1"
    assert len(server.requests) == 3


def test_a_server_that_has_no_output_of_pending_runs_is_asked_for_one_once(set_timing):
    """The client remembers it: the next run is looked at until it has ended."""
    set_timing(early=(0.01, 0.02), probe=0.01)
    looks = itertools.count(1)

    def respond(request):
        if "output" in request.path:
            return response(b"", 404) if next(looks) == 1 else OUTPUT
        status = "success" if next(looks) % 3 == 0 else "pending"
        return response(json.dumps({**RUN, "status": status}).encode())

    with serving(handler=serve_each(respond)) as (server, client):
        assert wait_for_run_output(RunsApi(client), "r1", timeout=30).actual_instance
        server.requests.clear()
        assert wait_for_run_output(RunsApi(client), "r1", timeout=30).actual_instance
    first, *others = [request.path.partition("?")[0] for request in server.requests]
    assert first == "/runs/r1" and others.count("/runs/r1/output") == 1


def test_a_404_of_the_output_of_a_pending_run_means_not_ready(set_timing):
    """Some servers say so until the output is there: the run is looked at until it has ended."""
    set_timing(early=(0.05, 0.2))
    asked = itertools.count()

    def respond(request):
        ready = next(asked) > 5
        if "output" in request.path:
            return OUTPUT if ready else response(b'"not found"', 404)
        return response(json.dumps({**RUN, "status": "success" if ready else "pending"}).encode())

    with SocketServer(handler=serve_each(respond)) as server:
        assert wait(server, timeout=30).actual_instance.run_id == "r1"
    outputs = [request for request in server.requests if "output" in request.path]
    assert len(outputs) == 2  # the first, and the one that has it


@pytest.mark.slow
def test_progress_is_reported_after_each_poll_without_output():
    seen = []
    with SocketServer(handler=Runs(2.8)) as server:
        wait(server, timeout=10, block_timeout=1, on_pending=lambda *told: seen.append(told))
    assert 2 <= len(seen) <= 5
    assert {status for _, status in seen} == {RunStatus.PENDING}
    assert 0.9 < seen[0][0] < 2.8
    assert [elapsed for elapsed, _ in seen] == sorted(elapsed for elapsed, _ in seen)
    assert not [request for request in server.requests if request.path == "/runs/r1"]


@pytest.mark.slow
def test_progress_is_reported_while_the_server_holds_a_request():
    seen = []

    def note(elapsed, status):
        seen.append(elapsed)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with SocketServer([STALL]) as server, pytest.raises(KeyboardInterrupt):
        configuration = Configuration(host=server.url, block_margin=30)
        with ApiClient(configuration) as client:
            wait_for_run_output(RunsApi(client), "r1", block_timeout=1, on_pending=note)
    assert 1.9 < seen[1] < 20
    assert len(server.requests) == 1


@pytest.mark.slow
def test_an_error_of_the_callback_ends_the_wait():
    def complain(elapsed, status):
        raise LookupError

    with SocketServer(handler=Runs(60)) as server, pytest.raises(LookupError):
        wait(server, timeout=10, block_timeout=1, on_pending=complain)


@pytest.mark.slow
def test_progress_is_reported_while_requests_fail():
    seen = []

    def note(elapsed, status):
        seen.append(status)
        if len(seen) == 3:
            raise KeyboardInterrupt

    for first in ([PENDING], []):
        seen.clear()
        with SocketServer(*first, [CLOSE]) as server, pytest.raises(KeyboardInterrupt) as caught:
            wait(server, timeout=10, on_pending=note)
        assert seen == [RunStatus.PENDING] * 3
        assert caught.value.__context__ is None
        assert len(server.requests) == 3


def test_an_event_stops_the_wait():
    stop = threading.Event()
    threading.Timer(0.4, stop.set).start()
    with (
        SocketServer(handler=Runs(60)) as server,
        Stopwatch() as clock,
        pytest.raises(RunWaitTimeout, match="was stopped"),
    ):
        wait(server, block_timeout=30, stop=stop)
    assert clock.seconds < 5
    with SocketServer(handler=Runs(60)) as server, pytest.raises(RunWaitTimeout):
        wait(server, stop=stop)
    assert not server.requests


def test_the_time_of_a_long_poll_does_not_count_as_an_outage(set_timing):
    """What counts is how long nothing worked, not how long the server held what was cut."""
    set_timing(outage=0.3)
    set_timing(early=(0.05, 2.0), backoff=(0.05, 2.0))
    cut = [0.6, response(b'"gateway"', 504), CLOSE]
    with SocketServer(cut, OUTPUT) as server:
        assert wait(server, block_timeout=30).actual_instance.type == "result"
    assert len(server.requests) == 2


class Scripted:
    """Stands in for `RunsApi`; calls ``look`` for the status, and ``ask`` for the output."""

    def __init__(self, ask, look):
        self.get_run_output, self.get_run = ask, look


def test_an_event_that_is_set_during_a_request_ends_the_wait_without_another():
    stop = threading.Event()
    looks = []
    runs = Scripted(lambda *_, **__: stop.set(), lambda *_, **__: looks.append("looked"))
    with pytest.raises(RunWaitTimeout, match="was stopped"):
        wait_for_run_output(runs, "r1", stop=stop, on_pending=lambda *_: None)
    assert looks == []


def test_the_margin_does_not_delay_an_event(set_timing):
    set_timing(tick=0.2)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with SocketServer([STALL]) as server, Stopwatch() as clock:
        configuration = Configuration(host=server.url, block_margin=30, retries=0)
        with ApiClient(configuration) as client, pytest.raises(RunWaitTimeout):
            wait_for_run_output(RunsApi(client), "r1", stop=stop)
    assert clock.seconds < 6


def test_a_margin_of_0_leaves_time_for_the_response():
    with SocketServer(PENDING, OUTPUT) as server:
        configuration = Configuration(host=server.url, block_margin=0)
        with ApiClient(configuration) as client:
            assert wait_for_run_output(RunsApi(client), "r1", timeout=20, block_timeout=3)
    assert [window_of(request.path) for request in server.requests] == [3, 3]


@pytest.mark.slow
@pytest.mark.parametrize("margin, requests", [(0.2, 2), (5, 1)])
def test_the_margin_of_the_configuration_holds(margin, requests):
    """The server responds 0.8 s after the end of its window, and at once when it is asked again."""
    with SocketServer([1.8, OUTPUT], OUTPUT) as server:
        configuration = Configuration(host=server.url, block_margin=margin, retries=0)
        with ApiClient(configuration) as client:
            assert wait_for_run_output(RunsApi(client), "r1", timeout=9, block_timeout=1)
    assert len(server.requests) == requests


def test_an_interrupt_and_an_error_are_outputs():
    interrupt = {"type": "interrupt", "interrupt": {"interrupt_type": "ask"}}
    error = {"type": "error", "run_id": "r1", "errcode": 7, "description": "broke"}
    for output in (interrupt, error):
        with SocketServer(response(json.dumps(output).encode())) as server:
            assert wait(server).actual_instance.type == output["type"]


def test_a_timeout_of_0_asks_once() -> None:
    with SocketServer(PENDING, PENDING) as server:
        with pytest.raises(RunWaitTimeout, match="has no output yet"):
            wait(server, timeout=0)
        assert [each.path for each in server.requests] == ["/runs/r1/output?block_timeout=0"]


@pytest.mark.parametrize(
    "arguments, error, name",
    [
        ({"timeout": -1}, ApiValueError, "timeout"),
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
