"""How often a request is sent, after which waits, and what is logged of it."""

from __future__ import annotations

import email.utils
import logging
import math
import re
import time

import pytest
from support.socket_server import RESET, SocketServer, response
from support.transport import Stopwatch, a_call, rest_client
from urllib3.util import Retry

from acp_client_v0_1._http.retry import Attempts, RetryPolicy, retry_after
from acp_client_v0_1.exceptions import ConnectionException

BUSY = response(b'"busy"', 503)
FINE = response(b'"fine"')


def requests_for(retries, *answers, safe=True):
    with SocketServer(*answers) as server, rest_client(retries=retries) as client:
        outcome = client.request("GET", server.url + "/", safe=safe).status
    return len(server.requests), outcome


def quick(count, **more):
    return Retry(count, backoff_factor=0.01, **more)


def test_a_number_of_retries():
    assert requests_for(2, BUSY, BUSY, FINE) == (3, 200)
    assert requests_for(1, BUSY, BUSY, FINE) == (2, 503)
    assert requests_for(0, BUSY, FINE) == (1, 503)
    assert requests_for(False, BUSY, FINE) == (1, 503)


def test_the_details_of_a_urllib3_retry():
    assert requests_for(quick(3), BUSY, BUSY, BUSY, BUSY, FINE) == (4, 503)
    assert requests_for(quick(None, status=1), BUSY, BUSY, FINE) == (2, 503)
    assert requests_for(quick(9, read=0), BUSY, FINE) == (2, 200)
    with pytest.raises(ConnectionException):
        requests_for(quick(9, read=0), [RESET], FINE)
    only_500 = quick(3, status_forcelist=[500])
    assert requests_for(only_500, BUSY, FINE) == (1, 503)
    assert requests_for(only_500, response(b"", 500), FINE) == (2, 200)
    ignoring = quick(3, respect_retry_after_header=False)
    with Stopwatch() as clock:
        assert requests_for(ignoring, response(b"", 503, retry_after="5"), FINE) == (2, 200)
    assert clock.seconds < 2


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(form, status):
    def later() -> str:
        # A date has whole seconds: this one lies between 1 and 2 seconds ahead.
        return email.utils.formatdate(time.time() + 2, usegmt=True)

    answer = response(b"", status, retry_after="1" if form == "seconds" else later())
    with Stopwatch() as clock:
        assert requests_for(1, answer, FINE) == (2, 200)
    assert 0.9 < clock.seconds < 6


def test_a_wait_beyond_the_deadline_fails_at_once():
    with (
        SocketServer(response(b'"busy"', 429, retry_after="3")) as server,
        rest_client(retries=5) as client,
        Stopwatch() as clock,
    ):
        assert client.request("GET", server.url, _request_timeout=2, safe=True).status == 429
    assert clock.seconds < 2
    assert len(server.requests) == 1


def test_a_server_that_asks_for_too_much_is_not_waited_for():
    with Stopwatch() as clock:
        assert requests_for(3, response(b"", 503, retry_after="3600"), FINE) == (1, 503)
    assert clock.seconds < 30


DATES = (
    "Wed, 99 Oct 2015",
    "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
    "Wed, 21 Oct 2015 99999999999999999999:28:00 GMT",
)


def test_reading_retry_after():
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert retry_after({"retry-after": " 7 "}) == 7
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:09 GMT", "date": date}) == 9
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:09 -0000", "date": date}) == 9
    assert retry_after({"retry-after": date}) == 0
    for nonsense in ("", "-1", "+1", "1.5", "1_0", "soon", "٣", *DATES):
        assert retry_after({"retry-after": nonsense}) is None
    assert retry_after({}) is None


def test_waits_grow_with_full_jitter():
    policy = RetryPolicy(total=math.inf, backoff=0.5, backoff_max=8)
    waits = [[] for _ in range(8)]
    for _ in range(200):
        attempts = Attempts(policy)
        for number in range(8):
            waits[number].append(attempts.after_answer(a_call(), 503, {}, 0.1))
    for number, seen in enumerate(waits):
        longest = min(8, 0.5 * 2**number)
        assert 0 <= min(seen) < 0.2 * longest
        assert 0.8 * longest < max(seen) <= longest


def test_no_wait_is_begun_that_would_pass_the_deadline():
    policy = RetryPolicy(total=math.inf, backoff=100, backoff_max=100)
    waits = [Attempts(policy).after_answer(a_call(1.0), 503, {}, 0.1) for _ in range(300)]
    assert {type(wait) for wait in waits} <= {float, type(None)}
    assert all(wait is None or wait < 1 for wait in waits)


def test_each_attempt_is_logged(caplog):
    with caplog.at_level(logging.DEBUG, "acp_client_v0_1"):
        assert requests_for(quick(2), BUSY, [RESET], FINE) == (3, 200)
    retries = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    assert len(retries) == 2
    assert retries[0].startswith("GET /: status 503; retry 1 in 0.0")
    attempts = [r for r in caplog.records if re.search("answered|failed", r.getMessage())]
    assert len(attempts) == 3
