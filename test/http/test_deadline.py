"""The rules of time, without any waiting worth the name."""

from __future__ import annotations

import math
import pickle
import time

import pytest
from support.transport import Stopwatch

from acp_client_v0_1._deadline import Deadline, Timeout, resolve_timeout
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError


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


def test_a_deadline_counts_down():
    deadline = Deadline.after(0.8)
    assert 0.1 < deadline.remaining() <= 0.8
    assert deadline.bound() <= 0.8
    assert deadline.bound(0.05) == 0.05
    assert deadline.bound(5) <= 0.8
    assert not deadline.expired
    time.sleep(0.81)
    assert deadline.expired
    assert deadline.remaining() == deadline.bound() == deadline.bound(5) == 0


def test_no_deadline_never_ends_and_the_earlier_one_wins():
    never = Deadline.after(None)
    assert never == Deadline(None)
    assert never.remaining() == math.inf
    assert never.bound() is None
    assert never.bound(3) == 3
    assert not never.expired
    assert never.earlier(None) == never
    for one, other in ((None, 1), (5, 1), (1, 5), (1, None)):
        assert Deadline.after(one).earlier(other).remaining() <= 1


def test_sleep_ends_with_the_deadline():
    with Stopwatch() as clock:
        Deadline.after(0.1).sleep(5)
    assert 0.09 <= clock.seconds < 3


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


@pytest.mark.parametrize("explicit", [2, 10, (1, 10), (None, 3)])
def test_an_explicit_timeout_that_is_too_short_for_the_window_is_refused(explicit):
    with pytest.raises(ApiValueError, match=r"_request_timeout=.* too short for block_timeout=10"):
        resolve_timeout(explicit, None, block_window=10, margin=10)
