"""An interrupt at whatever moment costs no slot and no lock: a call that follows works.

Most run under `sys.settrace`, so that coverage.py sees nothing of them.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.moments import Interrupt, Moment
from support.parts import (
    Deadline,
    Flag,
    Slot,
    Slots,
    attempt,
    connection,
    dial,
    incoming,
    pool,
    slots,
)
from support.socket_server import response
from support.transport import eventually, in_use, pool_of, talking

# Where closing a socket is what was interrupted, the garbage collector does it, and says so.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FINE = response(b'"fine"')
THE_POOL = [module.__file__ for module in (attempt, pool, slots)]
THE_CONNECTION = [module.__file__ for module in (connection, incoming)]


def interrupted(work: Callable[[], object], number: int, files: list[str]) -> Interrupt | None:
    """Do some work, interrupted at its n-th moment; gives the interrupt, None if the work is done.

    From 3.13 on, a run now and then reports only some of its opcodes, the one after an interrupt
    above all. So what is not interrupted is done again.
    """
    for _ in range(5):
        try:
            with Moment(number, files):
                work()
        except Interrupt as error:
            return error
    return None


def interrupt_everywhere(
    work: Callable[[], object], files: list[str], check: Callable[[], object], step: int = 1
) -> int:
    """Do some work again and again, interrupted at another point each time; gives their number.

    In a thread of its own: interrupted between two opcodes, CPython may take an exception for one
    that is still being handled, and make it the context of all that the thread raises later.
    """

    def interrupt() -> int:
        for number in range(1, 20_000, step):
            if interrupted(work, number, files) is None:
                return number
            check()
        raise AssertionError("this has no end")

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(interrupt).result()


@pytest.mark.slow
@pytest.mark.parametrize(("files", "step"), [(THE_POOL, 1), (THE_CONNECTION, 5)])
def test_an_interrupt_anywhere_in_a_call(files, step):
    with talking(FINE, connection_pool_maxsize=1) as (client, server):

        def call() -> None:
            assert client.request("GET", server.url, _request_timeout=8).status == 200

        def check() -> None:
            assert in_use(pool_of(client).slots) == 0
            call()

        call()
        assert interrupt_everywhere(call, files, check, step) > 200
        assert len(pool_of(client).idle) == 1
    gc.collect()


@pytest.mark.slow
def test_an_interrupt_anywhere_in_a_wait_for_a_slot():
    few = Slots(1)

    def wait() -> None:
        holder, held = Slot(), Slot()
        few.enter(holder)
        timer = threading.Timer(0.002, few.leave, (weakref.ref(holder),))
        timer.start()
        try:
            if not few.enter(held):
                assert few.wait(held, Deadline.after(8))
            few.leave(weakref.ref(held))
        finally:
            timer.join()

    def check() -> None:
        assert in_use(few) == 0
        slot = Slot()
        assert few.enter(slot) or few.wait(slot, Deadline.after(8))
        few.leave(weakref.ref(slot))

    files = [str(slots.__file__)]
    assert interrupt_everywhere(wait, files, check) > 60


@pytest.mark.slow
def test_an_interrupt_whose_traceback_is_kept_costs_no_slot():
    kept: list[BaseException] = []
    with talking(FINE, connection_pool_maxsize=1) as (client, server):
        files = [str(module.__file__) for module in (pool, slots, incoming)]
        for number in range(1, 2000, 7):
            error = interrupted(lambda: client.request("GET", server.url), number, files)
            if error is None:
                break
            kept.append(error)
            assert client.request("GET", server.url, _request_timeout=8).status == 200
        assert in_use(pool_of(client).slots) == 0
        assert len(kept) > 20
        kept.clear()
    gc.collect()


@pytest.mark.slow
def test_an_interrupt_anywhere_in_a_look_up():
    def look_up() -> None:
        assert dial.in_time(lambda: 7, Deadline.after(8), lambda _: None) == 7

    def check() -> None:
        assert eventually(lambda: in_use(dial._thread_slots) == 0)
        look_up()

    files = [str(dial.__file__), str(slots.__file__), str(threading.__file__)]
    assert interrupt_everywhere(look_up, files, check) > 100
    assert eventually(lambda: in_use(dial._thread_slots) == 0)


@pytest.mark.slow
def test_an_interrupt_anywhere_in_a_flag():
    flags: list[Flag] = []

    def use() -> None:
        flags.append(Flag())
        assert not flags[-1].wait(0.001)
        flags[-1].set()
        assert flags[-1].wait(8)

    def check() -> None:
        waiter = threading.Thread(target=flags[-1].wait, args=(20,), daemon=True)
        setter = threading.Thread(target=flags[-1].set, daemon=True)
        for thread in (waiter, setter):
            thread.start()
        for thread in (setter, waiter):
            thread.join(8)
            assert not thread.is_alive()

    use()
    files = [str(slots.__file__), str(threading.__file__)]
    assert interrupt_everywhere(use, files, check) > 50


def test_an_item_is_found_wherever_an_interrupt_ends_its_put():
    with ThreadPoolExecutor(1) as threads:
        for number in range(1, 1000):
            inbox = slots.Inbox[int]()
            found = threads.submit(inbox.get, 20)
            assert eventually(found.running)
            done = interrupted(lambda inbox=inbox: inbox.put(1), number, THE_POOL) is None
            if not inbox._items and not found.done():
                inbox.put(1)
            assert found.result(timeout=10) == 1
            if done:
                break
