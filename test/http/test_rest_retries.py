"""How often a request is sent, after which waits, and what is logged of it."""

import logging
import math
import random
import re
import time
from types import SimpleNamespace

import pytest
from support.parts import (
    RetryCounter,
    Timeout,
    backoff,
    failure_of,
    failure_of_status,
    limit_of,
    policy_of,
    poll_ran,
    retry_after,
)
from support.proxies import HttpProxy
from support.socket_server import RESET, STALL, head, response
from support.transport import Stopwatch, a_call, eventually, refused, talking
from urllib3.util import Retry

from acp_client_v0_1 import rest
from acp_client_v0_1.exceptions import ConnectionException, ProxyException

BUSY = response(b'"busy"', 503)
FINE = response(b'"fine"')


def requests_for(retries, *responses, safe=True):
    with talking(*responses, retries=retries) as (client, server):
        outcome = client.request("GET", server.url + "/", safe=safe).status
    return len(server.requests), outcome


def quick(count, **more):
    return Retry(count, backoff_factor=0.01, **more)


def test_a_number_of_retries(monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 0.01)
    assert requests_for(2, BUSY, BUSY, FINE) == (3, 200)
    assert requests_for(1, BUSY, BUSY, FINE) == (2, 503)
    assert requests_for(0, BUSY, FINE) == (1, 503)
    assert requests_for(False, BUSY, FINE) == (1, 503)
    assert requests_for(3, response(b'"no"', 501), FINE) == (1, 501)


def test_the_details_of_a_urllib3_retry():
    assert requests_for(quick(None, status=1), BUSY, BUSY, FINE) == (2, 503)
    assert requests_for(quick(None, status=2), BUSY, BUSY, FINE) == (3, 200)
    assert requests_for(quick(9, read=0), BUSY, FINE) == (2, 200)
    with pytest.raises(ConnectionException):
        requests_for(quick(9, read=0), [RESET], FINE)
    only_500 = quick(3, status_forcelist=[500])
    assert requests_for(only_500, BUSY, FINE) == (1, 503)
    assert requests_for(only_500, response(b"", 500), FINE) == (2, 200)
    assert requests_for(only_500, response(b"", 429), FINE) == (2, 200)
    assert requests_for(quick(3, status_forcelist=[300]), response(b"", 300), FINE) == (2, 200)
    only_404 = quick(3, status_forcelist=[404])
    assert requests_for(only_404, response(b"", 404), FINE) == (2, 200)
    assert requests_for(only_404, response(b"", 404), FINE, safe=False) == (1, 404)
    ignoring = quick(3, respect_retry_after_header=False)
    with Stopwatch() as clock:
        assert requests_for(ignoring, response(b"", 503, retry_after="5"), FINE) == (2, 200)
    assert clock.seconds < 4.5


@pytest.mark.parametrize(
    ("status", "sent", "doubt"),
    [
        *((200, 1, True), (300, 1, False), (400, 1, True), (404, 1, True)),
        *((405, 1, True), (407, 1, False), (429, 2, False), (501, 1, True), (502, 2, False)),
    ],
)
def test_a_refusal_of_a_proxy_is_retried_if_its_status_may_pass(status, sent, doubt):
    page = b"page" if status == 200 else b""
    with HttpProxy(refuse=response(page, status)) as proxy:
        settings = {"proxy": proxy.url, "retries": quick(1)}
        error = refused(ProxyException, "https://acp.invalid/", str(status), "POST", **settings)
        assert len(proxy.requests) == sent
    assert ("; is it a proxy?" in str(error)) is doubt


def test_what_each_status_says():
    every = {status: failure_of_status(status) for status in range(100, 1000)}
    kinds = {
        "limited": {429},
        "lost": {408, *range(500, 1000)} - {501},
        "lacks": {405, 501},
        "missing": {404},
        "denied": {401, 402, 403, 407, 421, 426},
        "moved": set(range(300, 400)),
    }
    for kind, statuses in kinds.items():
        assert {s for s, f in every.items() if f.kind == kind} == statuses
    assert {f.kind for f in every.values()} - {*kinds} == {"refused"}
    # A long poll may end so if a proxy cuts it; many proxies limit by 503.
    assert {s for s, f in every.items() if f.cut} == {408, 502, 503, 504, *range(520, 600)}
    assert {s for s, f in every.items() if f.limits} == {429, 503}
    assert {s for s, f in every.items() if f.conflict} == {409}
    assert not any(failure.rest_gives_up for failure in every.values())
    # If the body of an error breaks off, the status decides.
    for status, kind in ((299, "unsent"), (300, "moved")):
        assert failure_of(ConnectionException(status, "cut")).kind == kind


def test_a_long_poll_that_was_cut_after_a_second_or_its_window_is_not_retried():
    attempts = RetryCounter(policy_of(Retry(True, backoff_factor=0.5)))
    cut = ConnectionException(reason="cut")
    cut.sent = True
    for window, took, held in (
        *((30, 1.0, True), (1, 1.0, True), (0.5, 0.5, True)),
        *((30, 0.9, False), (0.5, 0.4, False), (0, 9.0, False), (None, 9.0, False)),
    ):
        assert poll_ran(window, took) is held
        call = a_call(timeout=Timeout(window=window))
        for status in (408, 502, 503, 504, 524):
            assert (attempts.after_response(call, status, {}, took) is None) is held
        assert (attempts.after_failure(call, cut, took) is None) is held
        assert attempts.after_response(call, 500, {}, took) is not None


def test_a_retry_after_of_300_seconds_is_waited_for_and_no_longer_one():
    attempts = RetryCounter(policy_of(None))
    for seconds, wait in (("300", 300), ("301", None)):
        assert attempts.after_response(a_call(), 503, {"retry-after": seconds}, 0.1) == wait


def test_the_parts_of_a_retry_policy():
    policy = policy_of(None)
    assert (policy.total, policy.backoff_factor, policy.backoff_max) == (3, 0.5, 8)
    assert (policy.connect, policy.read, policy.status) == (None, None, None)
    assert policy.respect_retry_after_header and not policy.status_forcelist
    assert [limit_of(count) for count in (None, True, False, 7)] == [math.inf, math.inf, 0, 7]
    given = Retry(
        9, connect=1, read=2, status=3, status_forcelist=[404],
        backoff_factor=0.1, backoff_max=7, respect_retry_after_header=False,
    )  # fmt: skip
    refused = ConnectionException(reason="refused")
    attempts = RetryCounter(policy_of(given))
    waits = [attempts.after_failure(a_call(), refused, 0.1) for _ in range(2)]
    assert [wait is None for wait in waits] == [False, True]
    assert max(filter(None, waits)) <= 0.1
    for status, most in ((404, 3), (503, 0), (429, 3)):
        attempts = RetryCounter(policy_of(given))
        busy = {"retry-after": "60"}
        waits = [attempts.after_response(a_call(), status, busy, 0.1) for _ in range(4)]
        assert [wait is not None for wait in waits] == [n < most for n in range(4)], status
        assert max(filter(None, waits), default=0) <= 0.4


DATES = (
    "Wed, 99 Oct 2015",
    "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
    "Wed, 21 Oct 2015 99999999999999999999:28:00 GMT",
)


@pytest.fixture
def in_tokyo(monkeypatch):
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
def test_reading_retry_after():
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert retry_after({"retry-after": " 7 "}) == 7
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:09 GMT", "date": date}) == 9
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:09 -0000", "date": date}) == 9
    assert retry_after({"retry-after": date}) == 0
    assert retry_after({"retry-after": date, "date": "Wed, 21 Oct 2015 07:28:09 GMT"}) == 0
    for nonsense in ("", "-1", "+1", "1.5", "1_0", "soon", "٣", *DATES):
        assert retry_after({"retry-after": nonsense}) is None
    assert retry_after({}) is None
    assert retry_after({"retry-after": "9" * 400}) == 9_999_999_999
    zeros = "0" * 12
    assert [retry_after({"retry-after": zeros + end}) for end in ("120", "")] == [120, 0]


def test_a_wait_until_a_date_is_not_cut_to_whole_seconds(monkeypatch):
    """A request that comes a fraction too early is refused again."""
    monkeypatch.setattr(time, "time", lambda: 1445412480.25)  # 07:28:00.25 on that day
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:09 GMT"}) == 8.75


def test_waits_grow_with_full_jitter():
    policy = Retry(True, backoff_factor=0.5, backoff_max=8)
    waits = [[] for _ in range(8)]
    for _ in range(200):
        attempts = RetryCounter(policy)
        for number in range(8):
            waits[number].append(attempts.after_response(a_call(), 503, {}, 0.1))
    for number, seen in enumerate(waits):
        longest = min(8, 0.5 * 2**number)
        assert 0 <= min(seen) < 0.2 * longest
        assert 0.8 * longest < max(seen) <= longest


def test_a_backoff_doubles_64_times_at_most():
    bounds = [backoff(retries, 0.5, math.inf) for retries in (0, 1, 63, 64, 65, 10_000)]
    assert bounds == [0.5, 1, 2.0**62, 2.0**63, 2.0**63, 2.0**63]


def test_no_wait_is_begun_that_would_pass_the_deadline():
    policy = Retry(True, backoff_factor=100, backoff_max=100)
    waits = [RetryCounter(policy).after_response(a_call(1.0), 503, {}, 0.1) for _ in range(300)]
    assert {type(wait) for wait in waits} <= {float, type(None)}
    assert all(wait is None or wait < 1 for wait in waits)


def test_a_response_is_closed_before_the_wait_that_it_asks_for(monkeypatch):
    waited = []

    def sleep(seconds):
        waited.append((seconds, eventually(lambda: not server.still_open)))

    monkeypatch.setattr(rest, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    script = [head(503, content_length="9", retry_after="7"), STALL]
    with talking(script, FINE, retries=1) as (client, server):
        received = client.request("GET", server.url, safe=True, stream=True)
        assert (received.read(), waited) == (b'"fine"', [(7, True)])
        assert received.attempts == 2
        assert 0 < received.elapsed < 15


def test_each_attempt_is_logged(caplog):
    with caplog.at_level(logging.DEBUG, "acp_client_v0_1"):
        assert requests_for(quick(2), BUSY, [RESET], FINE) == (3, 200)
    retries = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    assert len(retries) == 2
    assert retries[0].startswith("GET /: returned 503; retry 1 in 0.0")
    attempts = [r for r in caplog.records if re.search(r"(returned|failed).* s$", r.getMessage())]
    ends = [r for r in attempts if r.levelno == logging.DEBUG]
    assert [(r.attempt, r.status) for r in ends] == [(1, 503), (2, None), (3, 200)]
    assert {(r.method, r.path) for r in caplog.records} == {("GET", "/")}
    assert all(0 < r.seconds < 15 for r in ends)
    assert all({"status", "attempt", "seconds"} <= vars(r).keys() for r in caplog.records)
