"""One deadline for attempts, waits, names, connections, heads and bodies."""

import _thread
import contextlib
import gc
import math
import pickle
import socket
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.parts import (
    Deadline,
    Inbox,
    Interruptible,
    NothingYet,
    Slot,
    Timeout,
    dial,
    resolve_timeout,
)
from support.proxies import SocksProxy
from support.socket_server import CLOSE, STALL, SocketServer, chunk, drip, head, redirect, response
from support.transport import (
    Stopwatch,
    causes,
    eventually,
    fetch,
    full_listener,
    in_child,
    in_use,
    refused,
    rest_client,
    talking,
)

from acp_client_v0_1.exceptions import (
    ApiTimeoutError,
    ApiTypeError,
    ApiValueError,
    ConnectionException,
)

CHUNKED = head(transfer_encoding="chunked")

HEADERS = [b"HTTP/1.1 200 OK\r\n", *drip(b"a: b\r\n" * 9, 0.1)]
SLOW = {
    "drip of the headers": (HEADERS, 0.4),
    "drip of chunks": ([CHUNKED, *[step for _ in range(50) for step in (chunk(b"x"), 0.1)]], 0.4),
    "redirect again and again": ([0.15, redirect(307, "/a")], 0.4),
    "the read limit for a head as a whole": (HEADERS, (5, 0.4)),
}


@pytest.mark.parametrize(("script", "timeout"), SLOW.values(), ids=SLOW)
def test_the_total_holds_and_the_read_limit_for_a_head(script, timeout):
    with talking(script, retries=9) as (client, server), Stopwatch() as clock:
        with pytest.raises(ApiTimeoutError, match=r"0\.4 s") as failure:
            client.request("GET", server.url, _request_timeout=timeout, safe=True)
        assert clock.stop() < 4
    assert any(isinstance(cause, TimeoutError) for cause in causes(failure.value))


@pytest.mark.slow
def test_a_watched_call_ends_by_the_read_limit_and_not_a_step_before():
    steps = []

    def watch():
        steps.append(1)
        return 0.3

    with talking([STALL]) as (client, server), Interruptible(watch, 0.3):
        for timeout in ((5, 0.5), 0.5):
            with Stopwatch() as call, pytest.raises(ApiTimeoutError):
                client.request("GET", server.url, _request_timeout=timeout)
            assert 0.45 < call.seconds < 3
        assert 0 < len(steps) <= 2


def test_a_call_is_watched_although_its_response_trickles_and_ends_by_what_its_watch_raises():
    steps, other = [], ConnectionException(reason="of another call")

    def watch():
        steps.append(1)
        if len(steps) == 3:
            raise other
        return 0.15

    with Interruptible(watch, 0.15), pytest.raises(ConnectionException) as failure:
        fetch([head(content_length="99"), *drip(b"x" * 99, 0.05)])
    assert failure.value is other


def test_a_watched_call_to_a_name_may_have_no_limit():
    def watch():
        server.stop()
        return 0.1

    with (
        talking([STALL], timeout=None) as (client, server),
        Interruptible(watch, 0.1),
        pytest.raises(ConnectionException, match="without a response"),
    ):
        client.request("GET", f"http://localhost:{server.port}")


@pytest.mark.parametrize("timeout", [0.3, (5, 0.3)], ids=["total", "read"])
def test_the_body_of_an_error_that_stalls_is_out_of_time(timeout):
    """While one that breaks off is the error that its status says."""
    begin = [head(300, content_length="9"), b"gone"]
    with talking([*begin, STALL], [*begin, CLOSE]) as (client, server):
        with pytest.raises(ApiTimeoutError) as failure:
            client.request("GET", server.url, _request_timeout=timeout)
        assert failure.value.status == 300
        assert client.request("GET", server.url, _request_timeout=5).data == b"gone"


def test_more_time_than_a_read_may_take_is_no_time_for_a_body_that_drips():
    script = [head(404, content_length="50"), *drip(b"x" * 50, 0.1)]
    with talking(script) as (client, server):
        received = client.request("GET", server.url, stream=True, _request_timeout=(5, 0.3))
        received.read_beginning()
        assert isinstance(received.fault, ApiTimeoutError)


@pytest.mark.slow
def test_a_wait_that_was_given_up_counts_for_the_silence_that_is_allowed():
    with talking([head(content_length="9"), b"1", STALL]) as (client, server):
        received = client.request("GET", server.url, stream=True, _request_timeout=(5, 1.0))
        assert received.read_available() == b"1"
        with pytest.raises(NothingYet):
            received.read_available(wait=0.9)
        with Stopwatch() as rest, pytest.raises(ApiTimeoutError):
            received.read_available(wait=30)
    assert rest.seconds < 0.9  # of which 0.1 are left


@pytest.mark.slow
def test_silences_with_a_byte_between_them_do_not_add_up():
    begin = head(content_length="4")
    # A head has the limit as a whole, once it has begun; the body after it has not.
    script = [begin[:9], 0.05, begin[9:], *drip(b"1234", 0.35)]
    with talking(script) as (client, server):
        assert client.request("GET", server.url, _request_timeout=(5, 1)).data == b"1234"
        received = client.request("GET", server.url, stream=True, _request_timeout=(5, 1))
        came, waits = b"", 0
        while len(came) < 4:
            try:
                came += received.read_available(wait=0.2)
            except NothingYet:
                waits += 1
    assert came == b"1234"
    assert waits >= 2


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"_request_timeout": (5, 0.3)}, {"timeout": 9}),
        ({}, {"timeout": (5, 0.3)}),
        ({"stream": True}, {"timeout": 9, "stream_timeout": (5, 0.3)}),
    ],
    ids=["of the call", "of the client", "of its streams"],
)
def test_a_silent_connection_ends_by_the_read_limit(options, settings):
    with (
        talking([STALL], retries=3, **settings) as (client, server),
        Stopwatch() as call,
        pytest.raises(ApiTimeoutError, match=r"no response within 0\.3 s"),
    ):
        client.request("GET", server.url, safe=True, **options)
    assert 0.25 < call.seconds < 3
    assert len(server.requests) == 1


@pytest.mark.parametrize(("retries", "timeout"), [(False, (0.2, 5)), (9, 0.5)])
def test_connecting_ends_in_time(retries, timeout):
    with full_listener() as port, rest_client(retries) as client, Stopwatch() as call:
        with pytest.raises(ApiTimeoutError, match="no connection to") as failure:
            url = f"http://127.0.0.1:{port}/"
            client.request("POST", url, body=b"", _request_timeout=timeout)
        assert call.stop() < 3
    assert not failure.value.ambiguous


def test_all_addresses_together_end_in_time_and_each_leaves_some_for_the_next(monkeypatch):
    with full_listener() as full, talking(response(b'"a"')) as (client, server):
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        found = [(*kind, ("127.0.0.1", full))] * 5
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with Stopwatch() as call, pytest.raises(ApiTimeoutError):
            client.request("GET", "http://acp.invalid/", _request_timeout=0.5)
        assert 0.45 < call.seconds < 2
        found[1:] = [(*kind, ("127.0.0.1", server.port))]
        assert client.request("GET", "http://acp.invalid/", _request_timeout=1.0).status == 200


def test_look_ups_that_hang_do_not_pile_up(monkeypatch):
    release, look_up, begun = threading.Event(), socket.getaddrinfo, []

    def hang(*args, **options):
        begun.append(options)
        release.wait(30)
        return look_up(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with talking(response(b'"a"'), connection_pool_maxsize=70) as (client, server):
        url = f"http://localhost:{server.port}/"

        def call(_):
            with pytest.raises(ApiTimeoutError, match="no connection"):
                client.request("GET", url, _request_timeout=(1, 5))

        with ThreadPoolExecutor(70) as threads, Stopwatch() as calls:
            list(threads.map(call, range(70)))
        assert calls.seconds < 15
        assert eventually(lambda: begun == [{"type": socket.SOCK_STREAM}] * 64)
        waiting = threading.Timer(0.2, release.set)
        waiting.start()
        # Waits for a slot, and then looks up.
        assert client.request("GET", url, _request_timeout=15).data == b'"a"'
        waiting.join()
        assert eventually(lambda: in_use(dial._thread_slots) == 0)


def test_64_look_ups_that_hang_in_the_parent_count_for_nothing_in_a_child():
    # A test before this one may have left slots without an owner in the line.
    slots = [Slot() for _ in range(65)]
    assert not [dial._thread_slots.enter(slot) for slot in slots][-1]
    with talking(response(b'"a"')) as (client, server):
        url = f"http://localhost:{server.port}/"

        def look_up():
            assert client.request("GET", url, _request_timeout=3).data == b'"a"'

        assert in_child(look_up)() == 0
    for slot in slots:
        dial._thread_slots.leave(weakref.ref(slot))


def test_an_error_of_a_look_up_makes_no_reference_cycle_even_if_nobody_waits_for_it(monkeypatch):
    class Failed(Exception):
        def __init__(self):
            kept.append(weakref.ref(self))

    def fail():
        time.sleep(0.1)
        raise Failed

    kept = []
    gc.collect()
    gc.disable()
    try:
        for seconds, kind in ((8, Failed), (0.05, TimeoutError)):
            with contextlib.suppress(kind):
                dial.in_time(fail, Deadline.after(seconds), print)
            assert eventually(lambda: in_use(dial._thread_slots) == 0)
            assert eventually(lambda: not any(ref() for ref in kept), 5)
    finally:
        gc.enable()
    monkeypatch.setattr(_thread, "start_new_thread", lambda run, _: run())
    with pytest.raises(Failed):
        dial.in_time(fail, Deadline.after(8), print)


def test_where_no_thread_can_be_started_there_is_no_connection(monkeypatch):
    def start(*_):
        raise RuntimeError("can't start new thread")

    with rest_client() as client:
        with monkeypatch.context() as patched, pytest.raises(ConnectionException, match="thread"):
            patched.setattr(_thread, "start_new_thread", start)
            client.request("GET", "http://localhost:1/", _request_timeout=1)
        assert eventually(lambda: in_use(dial._thread_slots) == 0)


def test_a_socks_proxy_that_drips_ends_in_time():
    def proxy(connection):
        connection.sock.recv(3)
        connection.play([0.2, b"\x05", 0.2, b"\x00"])
        connection.sock.recv(100)
        connection.play(drip(b"\x05\x00\x00\x03\xff" + b"x" * 99, 0.2))

    with SocketServer(handler=proxy) as server, Stopwatch() as call:
        settings = {"proxy": f"socks5h://127.0.0.1:{server.port}", "timeout": 0.8}
        refused(ApiTimeoutError, "https://acp.invalid/", **settings)
        assert call.stop() < 6  # and not until it has sent all


def test_a_socks_proxy_that_is_silent_holds_no_thread_after_the_deadline(monkeypatch):
    def proxy(connection):
        connection.sock.recv(3)
        connection.stall()

    with SocketServer(handler=proxy) as server:
        for work_in_time in (
            dial.in_time,
            # PySocks gives up by itself as well, at the same moment.
            lambda work, *_: work(),
            # The deadline has passed before PySocks begins, as by a slow import of it.
            lambda work, *rest: time.sleep(0.4) or dial.in_time(work, *rest),
            lambda work, *_: time.sleep(0.4) or work(),
        ):
            monkeypatch.setattr("acp_client_v0_1._http.connection.in_time", work_in_time)
            settings = {"proxy": f"socks5h://127.0.0.1:{server.port}", "timeout": 0.3}
            refused(ApiTimeoutError, "https://acp.invalid/", **settings)
            assert eventually(lambda: in_use(dial._thread_slots) == 0)


def test_a_socks_connection_that_comes_too_late_is_closed(monkeypatch):
    """With no ResourceWarning: warnings are errors here."""

    def late(work, deadline, discard):
        sock = dial.in_time(work, deadline, discard)
        while not deadline.expired:
            time.sleep(0.01)
        return sock

    monkeypatch.setattr("acp_client_v0_1._http.connection.in_time", late)
    with (
        SocksProxy() as proxy,
        talking(response(b'"a"'), proxy=f"socks5h://127.0.0.1:{proxy.port}") as (client, server),
    ):
        with pytest.raises(ApiTimeoutError):
            client.request("GET", server.url, _request_timeout=0.5)
        assert eventually(lambda: proxy.still_open == 0)


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_an_interrupted_thread_connected_is_discarded(monkeypatch, when):
    """It strikes before the work is done, or between that and the taking of its result."""
    begun, go_on = threading.Event(), threading.Event()
    discarded = []

    def work():
        begun.set()
        assert go_on.wait(10)
        return "made"

    class Interrupted(Inbox):
        def get(self, seconds=None):
            if seconds == 0:
                return super().get(0)
            assert begun.wait(10)
            if when == "after":
                go_on.set()
                assert eventually(lambda: self._items)
            raise KeyboardInterrupt

    monkeypatch.setattr(dial, "Inbox", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        dial.in_time(work, Deadline.after(30), discarded.append)
    go_on.set()
    assert eventually(lambda: discarded == ["made"])


def test_an_interrupt_before_the_thread_begins_leaves_it_nothing_to_do(monkeypatch):
    started, worked = [], []

    def start(run, _):
        started.append(run)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(_thread, "start_new_thread", start)
        dial.in_time(lambda: worked.append(1), Deadline.after(30), worked.append)
    assert in_use(dial._thread_slots) == 0
    started[0]()
    assert not worked


@pytest.mark.slow
def test_the_read_limit_is_for_silence_of_the_other_side_of_an_upload():
    body = b"x" * 8_000_000 + b"."  # more than the buffers on the way hold

    def slowly(connection):
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        data = bytearray()
        while not data.endswith(b"."):
            more = connection.sock.recv(100_000)
            if not more:
                return
            data += more
            connection.pause(0.015)
        assert data.partition(b"\r\n\r\n")[2] == body
        connection.play(response(b'"a"', connection="close"))

    small = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)]
    with SocketServer(handler=slowly) as server, rest_client(socket_options=small) as client:
        with Stopwatch() as call:
            received = client.request("POST", server.url, body=body, _request_timeout=(2, 0.8))
        assert received.status == 200
        assert call.seconds > 0.9

        def ignore(connection):
            first = [response(b'"a"')] if connection.sock.recv(100).startswith(b"GET") else []
            connection.play([*first, 0.6, response(b'"unread"'), STALL])

        server.handler = ignore
        for limit in (0.4, (1, 0.4)):
            client.request("GET", server.url)
            with Stopwatch() as call, pytest.raises(ApiTimeoutError):
                client.request("POST", server.url, body=body, _request_timeout=limit)
            assert call.seconds < 3


@pytest.mark.slow
def test_a_call_whose_timeout_is_a_pair_has_a_total_as_well():
    slow = [head(content_length="12"), *drip(b'"0123456789"', 0.03)]
    with SocketServer(slow) as server:
        with rest_client(timeout=(5, 5), total_timeout=0.2) as client:
            with pytest.raises(ApiTimeoutError, match=r"not complete within the call's 0\.2 s"):
                client.request("GET", server.url)
            # A timeout of this call is all that bounds it, and streams have none.
            assert client.request("GET", server.url, _request_timeout=(5, 5)).status == 200
            assert client.request("GET", server.url, stream=True).read() == b'"0123456789"'
        for timeout in (None, 3):
            with rest_client(timeout=timeout, total_timeout=0.2) as client:
                assert client.request("GET", server.url).status == 200


def test_a_body_that_an_error_quotes_has_three_seconds_and_the_call_its_deadline():
    script = head(404, content_length="1") + b"a"
    with talking(script) as (client, server):
        received = client.request("GET", server.url, stream=True, _request_timeout=60)
        assert received.read_beginning() == b"a"
        attempt = received._incoming.attempt
    assert 1 < attempt.until.remaining() <= 3
    assert attempt.deadline.remaining() > 40


def test_forms_of_a_timeout():
    assert Timeout.of(3) == Timeout(total=3.0)
    assert Timeout.of(0.5) == Timeout(total=0.5)
    assert Timeout.of((1, 2)) == Timeout(connect=1.0, read=2.0)
    assert Timeout.of([1, None]) == Timeout(connect=1.0)
    assert Timeout.of((None, None)) == Timeout.of(None) == Timeout()
    assert Timeout.of(math.inf) == Timeout.of(1e12) == Timeout()
    ready = Timeout(total=1, window=2)
    assert pickle.loads(pickle.dumps(ready)) == ready


@pytest.mark.parametrize(
    "value", ["3", True, (1, True), (True, 5), {1, 2}, (1, "x"), ([1], 2), b"", 1j]
)
def test_wrong_types_name_the_parameter(value):
    assert Timeout.of((1, 5)).read == 5  # what was parsed before does not let (True, 5) pass
    with pytest.raises(ApiTypeError, match="stream_timeout must be a number of seconds, a pair"):
        Timeout.of(value, "stream_timeout")


@pytest.mark.parametrize("value", [0, -1, -0.0, math.nan, -math.inf, (1, 0), (), (1,), (1, 2, 3)])
def test_wrong_values_name_the_parameter(value):
    with pytest.raises(ApiValueError, match="stream_timeout must be"):
        Timeout.of(value, "stream_timeout")


@pytest.mark.parametrize(
    "explicit, default, window, expected",
    [
        (None, (10, 60), None, Timeout(connect=10, read=60)),
        (None, (10, 60), 30, Timeout(connect=10, read=60, window=30)),
        (None, (10, 60), 55, Timeout(connect=10, read=65, window=55)),
        (None, (10, 1), 3, Timeout(connect=10, read=13, window=3)),
        (None, 5, 3, Timeout(total=13, window=3)),
        (None, 50, 3, Timeout(total=50, window=3)),
        (None, None, 3, Timeout(window=3)),
        (None, (10, None), 3, Timeout(connect=10, window=3)),
        (4, (10, 60), 3, Timeout(total=4, window=3)),
        ((1, 4), 5, 3, Timeout(connect=1, read=4, window=3)),
        ((1, None), 5, 3, Timeout(connect=1, window=3)),
        (2, (10, 60), None, Timeout(total=2)),
    ],
)
def test_the_read_timeout_of_a_long_poll_outlasts_its_window(explicit, default, window, expected):
    assert resolve_timeout(explicit, default, block_window=window, margin=10) == expected


def test_a_long_poll_outlasts_the_total_of_other_calls():
    timeout = resolve_timeout(None, (10, 60), total=0.5, block_window=2, margin=5)
    assert (timeout.total, timeout.read) == (7, 60)
    assert resolve_timeout(None, 5, block_window=9).total == 9


@pytest.mark.parametrize("explicit", [2, 10, (1, 10), (None, 3)])
def test_an_explicit_timeout_that_is_too_short_for_the_window_is_refused(explicit):
    with pytest.raises(ApiValueError, match=r"_request_timeout=.* too short for block_timeout=10"):
        resolve_timeout(explicit, None, block_window=10, margin=10)
