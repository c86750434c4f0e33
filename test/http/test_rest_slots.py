"""A call gives back its pool slot, whatever ends it, and closing disturbs no call."""

from __future__ import annotations

import signal
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from support.moments import Moment
from support.parts import (
    Deadline,
    Flag,
    Inbox,
    Interruptible,
    Slot,
    Slots,
    Timeout,
    attempt,
    incoming,
    pool,
    slots,
)
from support.socket_server import CLOSE, RESET, STALL, Gate, SocketServer, head, redirect, response
from support.transport import Stopwatch, eventually, in_use, pool_of, talking

from acp_client_v0_1.exceptions import ApiException, ApiTimeoutError

FINE = response(b'"fine"')
FAILURES = {
    "reset": [RESET],
    "cut body": [head(content_length="9"), b"1", CLOSE],
    "cut chunks": [head(transfer_encoding="chunked"), b"5\r\n12", CLOSE],
    "no chunk": [head(transfer_encoding="chunked"), b"nonsense\r\n"],
    "silence": [STALL],
    "silence in the body": [head(content_length="9"), b"1", STALL],
    "broken coding": response(b"x", content_encoding="gzip"),
    "no redirect": redirect(307, "ftp://host/"),
    "500": [response(b'"broken"', 500), CLOSE],
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failure_gives_the_slot_back(failure):
    with talking(failure, failure, FINE, connection_pool_maxsize=1) as (client, server):
        for _ in range(2):
            try:
                client.request("GET", server.url, _request_timeout=(5, 0.2))
            except ApiException as error:
                assert "connection_pool_maxsize" not in str(error)
        assert client.request("GET", server.url, _request_timeout=8).status == 200
        assert eventually(lambda: server.still_open <= 1)


def test_a_cross_origin_redirect_gives_both_slots_back():
    with SocketServer(FINE, [RESET]) as other:
        moved = redirect(307, other.url)
        with talking(moved, connection_pool_maxsize=1) as (client, server):
            received = client.request("GET", server.url, _request_timeout=8)
            assert eventually(lambda: not other.still_open)
            assert received.status == 200
            for _ in range(2):
                with pytest.raises(ApiException, match="reset"):
                    client.request("GET", server.url, _request_timeout=2)
    assert server.most_open == 1


def test_closing_again_and_again_while_calls_are_made():
    with (
        talking(FINE, connection_pool_maxsize=2) as (client, server),
        ThreadPoolExecutor(4) as threads,
    ):
        done = threading.Event()

        def calls() -> list[int]:
            return [client.request("GET", server.url, safe=True).status for _ in range(100)]

        def closes() -> None:
            while not done.wait(0.002):
                client.close()

        closing = threads.submit(closes)
        try:
            for outcome in [threads.submit(calls) for _ in range(3)]:
                assert outcome.result() == [200] * 100
        finally:
            done.set()
        closing.result()
        client.close()
        assert eventually(lambda: not server.still_open)


def test_long_polls_keep_no_quick_call_from_a_connection():
    gate, polls = Gate(), 10
    with (
        talking(*[[gate, FINE]] * polls, FINE, connection_pool_maxsize=1) as (client, server),
        ThreadPoolExecutor(polls) as threads,
    ):
        poll = partial(client.request, "GET", server.url, _request_timeout=Timeout(window=30))
        waiting = [threads.submit(poll) for _ in range(polls)]
        assert eventually(lambda: len(server.requests) == polls)
        assert client.request("GET", server.url, _request_timeout=10).status == 200
        gate.open()
        assert [call.result().status for call in waiting] == [200] * polls
        for _ in range(3):  # an idle connection of a long poll is used again
            poll()
        assert server.connections == polls + 1


def test_a_wait_for_a_slot_that_ends_leaves_the_pool_whole():
    gate = Gate()
    with (
        talking([gate, FINE], FINE, retries=3, connection_pool_maxsize=1) as (client, server),
        ThreadPoolExecutor(1) as threads,
    ):
        first = threads.submit(client.request, "GET", server.url)
        assert eventually(lambda: server.requests)
        with pytest.raises(ApiTimeoutError, match="connection_pool_maxsize"):
            client.request("GET", server.url, _request_timeout=0.1)
        with pytest.raises(ApiTimeoutError, match=r"no free connection within 0\.15 s: ") as full:
            client.request("GET", server.url, _request_timeout=(9, 0.15), safe=True)
        assert full.value.attempts == 1
        assert vars(full.value.__cause__)["pool"] is pool_of(client)
        gate.open()
        assert first.result().status == 200
        for _ in range(3):
            assert client.request("GET", server.url, _request_timeout=1).status == 200
            time.sleep(0.01)
    assert server.most_open == 1


def steps_of_a_queue(waiting: int) -> int:
    """Count the steps in `slots`, by `sys.settrace`, while threads wait, give up and leave."""
    few = Slots(4)
    line = [Slot() for _ in range(4 + waiting)]
    for slot in line:
        few.enter(slot)
    with Moment(0, [slots.__file__]) as moment:
        for _ in range(3):
            for slot in line[4:]:
                assert not few.wait(slot, Deadline.after(0))
        for slot in line[4::2]:
            few.leave(weakref.ref(slot))
    return moment.steps


def test_what_a_thread_costs_that_waits_for_a_slot_does_not_grow_with_the_queue():
    # CPython 3.12 reports not all opcodes of the first one.
    _, hundred, thousand = map(steps_of_a_queue, (100, 100, 1000))
    assert 100 * 30 < hundred < 100 * 600
    assert thousand < 11 * hundred


@pytest.mark.parametrize("orphaned", [False, True], ids=["no wake-up came", "orphaned"])
def test_waiting_threads_notice_a_slot_that_nobody_tells_of(orphaned):
    """An interrupt struck where it is given back, or before that."""
    few = Slots(2)
    holders = [Slot(), Slot()]
    assert all(map(few.enter, holders))

    def wait() -> None:
        slot = Slot()
        assert not few.enter(slot)
        assert few.wait(slot, Deadline.after(8))
        few.leave(weakref.ref(slot))

    with ThreadPoolExecutor(4) as threads, Stopwatch() as clock:
        waiting = [threads.submit(wait) for _ in range(4)]
        assert eventually(lambda: in_use(few) == 6)
        if orphaned:
            holders.clear()
        else:
            few._line.remove(weakref.ref(holders.pop()))
        for thread in waiting:
            thread.result()
    assert clock.seconds < 6
    assert in_use(few) == len(holders)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pthread_kill")
def test_a_wait_ends_in_time_while_signals_arrive():
    """A ``get`` of `queue.SimpleQueue` waits for ever here, before CPython 3.13."""
    ends, inbox = time.monotonic() + 20, Inbox[None]()

    def handler(*_: object) -> None:
        time.sleep(0.0003)
        assert time.monotonic() < ends, "the wait does not end"

    def send() -> None:
        while not over.wait(0.001):
            signal.pthread_kill(here, signal.SIGUSR1)

    before, over = signal.signal(signal.SIGUSR1, handler), threading.Event()
    here, sender = threading.get_ident(), threading.Thread(target=send)
    sender.start()
    try:
        for _ in range(100):
            assert not Flag().wait(0.003)
            assert inbox.get(0.003) is None
    finally:
        over.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    package = Path(str(slots.__file__)).parents[1]
    assert [path for path in package.rglob("*.py") if ".get(timeout=" in path.read_text()] == []


def test_an_inbox_gives_its_items_in_their_order_and_to_a_thread_that_waits():
    inbox = Inbox[int]()
    for number in range(3):
        inbox.put(number)
    assert [inbox.get(0), inbox.get(), inbox.get(8)] == [0, 1, 2]
    assert inbox.get(0) is inbox.get(0.05) is None
    timer = threading.Timer(0.1, inbox.put, (3,))
    timer.start()
    assert inbox.get() == 3
    timer.join()


def test_slots_that_are_given_back_at_one_moment_wake_as_many():
    few = Slots(3)
    holders, waiting = [Slot() for _ in range(3)], [Slot() for _ in range(4)]
    assert [few.enter(slot) for slot in holders + waiting] == [True] * 3 + [False] * 4
    for slot in waiting:
        slot.wake = Inbox()

    def woken() -> list[Slot]:
        return [slot for slot in waiting if slot.wake is not None and slot.wake.get(0)]

    few._line.remove(weakref.ref(holders[0]))  # another thread, which has not come further
    few.leave(weakref.ref(holders[1]))
    assert woken() == waiting[:2]
    for slot in waiting[:2]:
        assert few.wait(slot, Deadline.after(8)) and slot.wake is None
    holders[2].wake = Inbox()
    few.leave(weakref.ref(waiting[0]))
    # The line is looked through as far as someone waits.
    assert woken() == [waiting[2]] and not holders[2].wake.get(0)
    del few._line[1]  # another, which an interrupt kept from waking the next
    assert few.wait(waiting[3], Deadline.after(0))


def test_a_call_inside_a_call_of_its_thread_waits_for_no_slot():
    """As of a signal's handler, which strikes anywhere, or of a callback."""
    with talking(FINE, connection_pool_maxsize=1) as (client, server):
        call = partial(client.request, "GET", server.url, _request_timeout=2)
        files = [str(module.__file__) for module in (attempt, pool, slots, incoming)]
        inner: list[int] = []
        for number in range(1, 20_000, 7):
            with Moment(number, files, lambda: inner.append(call().status)) as moment:
                assert call().status == 200
            assert in_use(pool_of(client).slots) == 0
            if not moment.struck:
                break
        assert len(inner) == number // 7 > 20 and {*inner} == {200}
        assert eventually(lambda: server.still_open <= 2)


def test_a_call_of_another_thread_waits_for_the_slot_of_a_call_with_a_call_inside():
    gate, statuses = Gate(), list[int]()
    with (
        talking([gate, FINE], [0.3, FINE], FINE, connection_pool_maxsize=1) as (client, server),
        ThreadPoolExecutor(1) as threads,
    ):
        call = partial(client.request, "GET", server.url)

        def watch() -> float:
            if not statuses:
                # It is not called again in the middle of this call, as it would be by its time.
                statuses.append(call(_request_timeout=5).status)
                assert calls.attempt is not None and calls.attempt.connection is not None
                with pytest.raises(ApiTimeoutError, match="connection_pool_maxsize"):
                    threads.submit(call, _request_timeout=0.1).result()
                gate.open()
            return 60

        with Interruptible(watch, first=0.05) as calls:
            assert call(_request_timeout=9).status == 200
        assert statuses == [200]
        assert threads.submit(call, _request_timeout=5).result().status == 200
        assert in_use(pool_of(client).slots) == 0


def test_a_flag_is_waited_for_until_it_is_set_or_time_is_up():
    flag = Flag()
    with Stopwatch() as clock:
        assert not flag.wait(0.1)
    assert clock.seconds > 0.09
    timer = threading.Timer(0.1, flag.set)
    timer.start()
    with Stopwatch() as clock:
        assert flag.wait()
    assert 0.05 < clock.seconds < 10
    timer.join()
    assert flag.is_set() and flag.wait()
    assert not flag._waiting  # a wait that is over leaves nothing behind
