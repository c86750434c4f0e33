"""Waiting for an output: windows, pauses, cuts, failures, and the end."""

import itertools
import json
import math
import threading

import pytest
from support.examples import RESULT, RUN
from support.socket_server import CLOSE, Gate, SocketServer, head, response, serve_each
from support.transport import serving

import acp_client_v0_1 as acp

OUTPUT = response(json.dumps(RESULT).encode())
PENDING = head(204)


def wait(server, retries=0, **arguments):
    with acp.ApiClient(acp.Configuration(host=server.url, retries=retries)) as client:
        return acp.wait_for_run_output(acp.RunsApi(client), "r1", **arguments)


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
            raise acp.ServiceException(self.status)

    def wait(self, set_timing, **arguments) -> None:
        set_timing(now=self.monotonic, sleep=self.sleep)
        with pytest.raises(acp.RunWaitTimeout):
            acp.wait_for_run_output(self, "r1", timeout=self.end, **arguments)


@pytest.mark.parametrize(
    ("status", "window"),
    [*((cut, 1) for cut in (408, 502, 503, 504, 524)), *((other, 19) for other in (429, 500, 505))],
)
def test_a_status_that_proxies_cut_with_alone_makes_the_window_smaller(set_timing, status, window):
    server = Held(hours=1, cuts={1: 1.2}, status=status)
    server.wait(set_timing, block_timeout=20)
    assert server.windows[:2] == [20, window]


@pytest.mark.parametrize("cuts", [{1: 1.2}, {5: 20.0}, {1: 1.2, 2: 1.0}, {2: 20.0, 40: 3.0}])
def test_a_single_cut_costs_few_requests(set_timing, cuts):
    server = Held(hours=1, cuts=cuts)
    server.wait(set_timing)
    assert len(server.windows) < 155 + 45 * len(cuts)
    assert server.failed == len(cuts)
    # After ten minutes, there are full windows again.
    full = {*server.windows[150:-6]}
    assert {*range(19, 28)} <= full <= {*range(18, 31)}


class Cached:
    """A server behind a cache that keeps each response to a GET, and a clock that jumps."""

    def __init__(self, seconds: float, keeps: float) -> None:
        self.now, self.end, self.keeps = 0.0, seconds, keeps
        self.kept: dict[int, tuple[float, object]] = {}
        self.asked: list[tuple[int, float]] = []

    def sleep(self, seconds: float, stop: threading.Event | None) -> bool:
        self.now += seconds
        return False

    def get_run_output(self, run_id, *, block_timeout, _request_timeout):
        self.asked.append((block_timeout, self.now))
        at, output = self.kept.get(block_timeout, (-math.inf, None))
        if self.now - at > self.keeps:
            self.now = max(self.now, min(self.now + block_timeout, self.end))
            fields = {"type": "result", "run_id": "r1", "status": "success", "result": {}}
            output = acp.RunOutput.from_dict(fields) if self.now >= self.end else None
            self.kept[block_timeout] = self.now, output
        return output


@pytest.mark.parametrize("seconds", [35, 100, 250])
def test_a_cache_delays_no_result(set_timing, seconds):
    server = Cached(seconds, keeps=120)
    set_timing(now=lambda: server.now, sleep=server.sleep)
    assert acp.wait_for_run_output(server, "r1").actual_instance.type == "result"
    assert server.now == seconds
    # No URL comes twice within five minutes.
    assert len({window for window, _ in server.asked}) == len(server.asked)


@pytest.mark.parametrize("longest", [1.5, 7.0, 29.5, 30.0])
def test_a_proxy_that_always_cuts_is_not_hit_again_and_again(set_timing, longest):
    server = Held(hours=24, cuts={}, longest=longest)
    server.wait(set_timing, block_timeout=30)
    # The full window is tried every ten minutes, and then perhaps one that is too long.
    assert server.failed <= 24 * 6 * 2 + 9
    assert len(server.windows) < 24 * 3600 / max(1, longest // 2) + 50


def test_every_request_outlasts_its_window_whatever_the_clock_does(set_timing):
    """No request is asked to end before its window, or in no time at all."""
    limits = []
    now = itertools.count(0, 0.137)

    class Pending:
        def get_run_output(self, run_id, *, block_timeout, _request_timeout):
            limits.append((block_timeout or 0, _request_timeout))

    set_timing(now=lambda: next(now), sleep=lambda seconds, stop: False)
    for timeout in (0.1, 1.05, 1.2, 2.5, 7, 30):
        with pytest.raises(acp.RunWaitTimeout):
            acp.wait_for_run_output(Pending(), "r1", timeout=timeout)
    assert limits
    assert all(limit > window >= 0 for window, limit in limits)


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
        assert acp.wait_for_run_output(acp.RunsApi(client), "r1", timeout=30).actual_instance
        server.requests.clear()
        assert acp.wait_for_run_output(acp.RunsApi(client), "r1", timeout=30).actual_instance
    first, *others = [request.path.partition("?")[0] for request in server.requests]
    assert first == "/runs/r1" and others.count("/runs/r1/output") == 1


@pytest.mark.slow
@pytest.mark.parametrize("first", [[PENDING], []])
def test_progress_is_reported_while_requests_fail_and_its_error_ends_the_wait(first):
    seen = []

    def note(elapsed, status):
        seen.append(status)
        if len(seen) == 3:
            raise LookupError

    with SocketServer(*first, [CLOSE]) as server, pytest.raises(LookupError) as caught:
        wait(server, timeout=10, on_pending=note)
    assert seen == [acp.RunStatus.PENDING] * 3
    assert caught.value.__context__ is None
    assert len(server.requests) == 3


def test_an_event_that_is_set_during_a_request_ends_the_wait_without_another():
    stop = threading.Event()
    with SocketServer([lambda connection: stop.set(), PENDING]) as server:
        for _ in range(2):
            with pytest.raises(acp.RunWaitTimeout, match="was stopped"):
                wait(server, stop=stop, on_pending=lambda *_: None)
    assert len(server.requests) == 1


def test_the_time_of_a_long_poll_does_not_count_as_an_outage(set_timing):
    """What counts is how long nothing worked, not how long the server held what was cut."""
    set_timing(outage=0.3, early=(0.05, 2.0), backoff=(0.05, 2.0))
    cut = [0.6, response(b'"gateway"', 504), CLOSE]
    with SocketServer(cut, OUTPUT) as server:
        assert wait(server, block_timeout=30).actual_instance.type == "result"
    assert len(server.requests) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("margin", "requests"), [(0, 2), (0.2, 2), (5, 1)])
def test_the_margin_of_the_configuration_holds(margin, requests):
    """The server responds 0.8 s after the end of its window, and at once when it is asked again."""
    with serving([1.8, OUTPUT], OUTPUT, block_margin=margin, retries=0) as (server, client):
        assert acp.wait_for_run_output(acp.RunsApi(client), "r1", timeout=9, block_timeout=1)
    assert [request.path.partition("=")[2] for request in server.requests] == ["1"] * requests


def test_progress_is_reported_after_each_window_also_while_a_request_is_held():
    gate, seen = Gate(), []

    def note(elapsed, status):
        seen.append(status)
        gate.open()

    with serving([gate, OUTPUT], block_margin=20, retries=0) as (server, client):
        assert acp.wait_for_run_output(acp.RunsApi(client), "r1", block_timeout=1, on_pending=note)
    assert (len(server.requests), seen[:1]) == (1, [acp.RunStatus.PENDING])
