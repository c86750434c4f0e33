"""Batches against servers that fail, limit, lose responses, forget runs or cannot search."""

from __future__ import annotations

import itertools
import json
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.batches import (
    answer,
    beside,
    creates,
    numbers,
    obedient,
    runs_by_input,
    threads_of_batches,
    wait_for,
)
from support.examples import RESULT, RUN
from support.socket_server import CLOSE, STALL, Request, SocketServer, response, serve_each
from support.timing import SetTiming

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    ApiException,
    BatchItem,
    Configuration,
    ConnectionException,
    NotFoundException,
    RunFailed,
    RunGone,
    RunHandle,
    RunsApi,
    RunStartAmbiguous,
    RunWaitTimeout,
    SchemaMismatch,
    ServiceException,
)
from acp_client_v0_1._http.retry import Server
from acp_client_v0_1.batch._parking import UnattendedRuns
from acp_client_v0_1.batch._tasks import Task
from acp_client_v0_1.handles._perform import Contact, Pace
from acp_client_v0_1.models.run import Run
from acp_client_v0_1.models.run_status import RunStatus
from acp_client_v0_1.testing import Fault, LocalServer, Quirks

pytestmark = pytest.mark.load


@contextmanager
def serving(respond: Callable[[Request], Any]) -> Iterator[AgentHandle]:
    """The agent of a server whose responses the test computes."""
    with (
        SocketServer(handler=serve_each(respond)) as server,
        ApiClient(Configuration(host=server.url)) as client,
    ):
        yield AgentHandle("a", client)


def test_everything_that_goes_wrong_at_once(
    server: LocalServer, agent: AgentHandle, set_timing: SetTiming
) -> None:
    """A server away for 2 s, 429, lost responses; runs that fail, ask, or are deleted."""
    set_timing(search=6)
    kinds = ({}, {"fail": True}, {"ask": 1}, {"seconds": 30})
    inputs = [{"n": n, **kinds[n % 10 if n % 10 < 4 else 0]} for n in range(100)]
    deleted: set[int] = set()
    over = threading.Event()

    def delete_slow_ones() -> None:
        with ApiClient(Configuration(host=server.url)) as client:
            RunsApi(client).search_runs({})  # else a server that is away is a wrong address
            while not over.wait(0.3):
                for run in server.runs:
                    if "seconds" in run["creation"]["input"]:
                        RunHandle(run["run_id"], client).delete()
                        deleted.add(run["creation"]["input"]["n"])

    lost = {"share": 0.05, "times": None, "cut": "close", "after_wire_bytes": 0}
    server.faults.add(Fault(method="POST", path="/runs", status=429, retry_after=1, times=3))
    server.faults.add(Fault(method="POST", path="/runs", **lost))
    server.faults.add(Fault(method="GET", path="/runs/*/output", **lost))
    with beside(delete_slow_ones), beside(lambda: server.restart(pause=2), after=0.3):
        items = list(agent.map(inputs, on_interrupt=answer, concurrency=24, ordered=True))
        over.set()
    for item, given in zip(items, inputs, strict=True):
        if "fail" in given:
            assert isinstance(item.outcome, RunFailed)
        elif "seconds" in given:
            assert isinstance(item.outcome, RunGone)
        else:
            assert item.result() == {
                "n": item.index,
                "answers": [{"to": 0}] if "ask" in given else [],
            }
    counted = runs_by_input(server)
    assert deleted == {n for n, given in enumerate(inputs) if "seconds" in given}
    assert sorted([*counted.elements(), *deleted]) == list(range(100))


@pytest.mark.parametrize(
    "path, status, posts",
    [
        ("/runs", 429, 31),
        ("/runs", 503, 31),  # which is looked for afterwards
        ("/runs/*/output", 502, 30),
    ],
)
def test_nothing_overtakes_a_retry_after_and_no_item_fails(
    server: LocalServer,
    agent: AgentHandle,
    set_timing: SetTiming,
    path: str,
    status: int,
    posts: int,
) -> None:
    set_timing(search=0.5)
    fault = Fault(path=path, status=status, retry_after=2, times=1)
    server.faults.add(Fault(path=path, times=5), fault)
    items = list(agent.map(numbers(30), concurrency=4))
    assert len([item.result() for item in items]) == 30
    times = [request.time for request in server.requests]
    limited = next(request.time for request in server.requests if request.fault is fault)
    # What was under way in the other threads arrives within a moment.
    assert [at - limited for at in times if limited + 0.5 < at < limited + 1.9] == []
    assert len(creates(server)) == posts


def test_the_search_for_a_lost_create_waits_for_its_turn(
    server: LocalServer, agent: AgentHandle
) -> None:
    """The create was carried out, and the search for it is limited."""
    limited = Fault(path="/runs/search", status=503, retry_after=2, times=1)
    server.faults.add(Fault(method="POST", path="/runs", cut="close", after_wire_bytes=0), limited)
    items = list(agent.map(numbers(20), concurrency=4))
    assert len([item.result() for item in items]) == 20
    at = next(request.time for request in server.requests if request.fault is limited)
    times = [request.time - at for request in server.requests]
    assert [late for late in times if 0.5 < late < 1.9] == []
    assert len(creates(server)) == 20


# What is wrong with all runs


@pytest.mark.parametrize(
    "where, status, asked",
    [
        ("/runs", 401, None),
        ("/runs", 503, 3600),
        ("/runs/*/output", 403, None),
        ("/runs/*/output", 429, 3600),
    ],
)
def test_a_fault_of_all_runs_is_raised_and_the_same_call_continues(
    server: LocalServer,
    agent: AgentHandle,
    path: Path,
    executor: Executor | None,
    where: str,
    status: int,
    asked: int | None,
) -> None:
    inputs = [*numbers(5), {"n": 5, "fail": True}]
    fault = Fault(path=where, status=status, retry_after=asked, times=None)
    server.faults.add(Fault(path=where, times=2), fault)
    batch = agent.map(inputs, journal=path, concurrency=2, executor=executor)
    items: list[BatchItem] = []
    with pytest.raises(ApiException) as caught:
        items.extend(batch)
    assert caught.value.status == status
    assert len(items) <= 2 and all(item.ok for item in items)
    assert next(batch, None) is None and threads_of_batches() == []
    server.faults.clear()
    items = list(agent.map(inputs, journal=path, ordered=True, executor=executor))
    assert [item.result()["n"] for item in items[:5]] == list(range(5))
    assert isinstance(items[5].outcome, RunFailed)
    assert runs_by_input(server).total() == 6


@pytest.mark.parametrize("status", [401, 404, 422, 503])
def test_an_unreadable_descriptor_is_raised_and_the_same_call_continues(
    server: LocalServer,
    agent: AgentHandle,
    set_timing: SetTiming,
    path: Path,
    executor: Executor | None,
    status: int,
) -> None:
    set_timing(outage=0.3, backoff=(0.05, 0.1))
    server.faults.add(Fault(path="/agents/*/descriptor", status=status, times=None))
    with pytest.raises(ApiException, match="/descriptor") as caught:
        list(agent.map(numbers(5), check=True, journal=path, executor=executor))
    assert caught.value.status == status
    assert b'"failed"' not in path.read_bytes() and creates(server) == []
    server.faults.clear()
    items = list(agent.map(numbers(5), check=True, journal=path, executor=executor))
    assert sorted(item.result()["n"] for item in items) == list(range(5))


def test_an_input_that_does_not_fit_is_an_outcome(server: LocalServer, tmp_path: Path) -> None:
    schema = {"properties": {"n": {"maximum": 7}}}
    agent_id = server.register(obedient, name="strict", input=schema)
    server.faults.add(Fault(path="/agents/*/descriptor", status=503, times=2))
    with ApiClient(Configuration(host=server.url)) as client:
        for _ in range(2):  # the second time from the journal
            batch = AgentHandle(agent_id, client).map(
                numbers(20), check=True, ordered=True, journal=tmp_path / "journal.jsonl"
            )
            items = list(batch)
            assert [item.ok for item in items] == [True] * 8 + [False] * 12
            assert {type(item.error) for item in items[8:]} == {SchemaMismatch}
    assert len(creates(server)) == 8
    paths = [request.path for request in server.requests]
    assert sum(path.endswith("/descriptor") for path in paths) <= 10  # not one for each input


def test_an_outage_is_the_batchs_and_the_same_call_goes_on(
    server: LocalServer, agent: AgentHandle, set_timing: SetTiming, path: Path
) -> None:
    set_timing(outage=1.0, backoff=(0.05, 0.2))
    items: list[BatchItem] = []
    with agent.map(numbers(40, seconds=0.1), journal=path, concurrency=4) as batch:
        items.append(next(batch))
        server.faults.add(Fault(status=502, times=None))
        began = time.monotonic()
        with pytest.raises(ServiceException) as caught:
            items.extend(batch)
    assert caught.value.status == 502
    assert 0.5 < time.monotonic() - began < 20
    assert all(item.ok for item in items)  # no item was given as failed
    server.faults.clear()
    items = list(agent.map(numbers(40, seconds=0.1), journal=path, ordered=True))
    assert [item.result()["n"] for item in items] == list(range(40))
    assert runs_by_input(server).total() == 40


def test_one_run_that_fails_among_others_that_work_is_no_outage(
    server: LocalServer, agent: AgentHandle, set_timing: SetTiming
) -> None:
    set_timing(outage=1.0, backoff=(0.05, 0.1), early=(0.05, 0.1))
    server.faults.add(Fault(path="/runs/*/output", block="never", times=None))
    inputs = [{"n": -1, "seconds": 30}, *numbers(100, seconds=0.1)]
    with agent.map(inputs, concurrency=4) as batch:
        assert next(batch).ok
        (slow,) = [run["run_id"] for run in server.runs if run["creation"]["input"]["n"] == -1]
        server.faults.clear()
        server.faults.add(Fault(path=f"/runs/{slow}/output", status=500, times=None))
        failed = [item for item in batch if not item.ok]
    assert [item.run_id for item in failed] == [slow]
    assert isinstance(failed[0].error, ServiceException)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("journal", [False, True])
def test_a_wrong_address_is_raised(tmp_path: Path, journal: bool, check: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    path = tmp_path / "journal.jsonl" if journal else None
    with ApiClient(Configuration(host=f"http://127.0.0.1:{port}")) as client:
        began = time.monotonic()
        with pytest.raises(ConnectionException):
            list(AgentHandle("a", client).map(numbers(20), journal=path, check=check))
    assert time.monotonic() - began < 30  # an outage would take 300 s


@pytest.mark.parametrize("fails", [False, True], ids=["plainly", "behind a 500"])
def test_an_agent_that_is_not_there_is_raised(
    server: LocalServer, agent: AgentHandle, path: Path, fails: bool
) -> None:
    if fails:
        server.faults.add(Fault(method="POST", path="/runs", status=500, times=None))
    nobody = AgentHandle("3fa85f64-5717-4562-b3fc-2c963f66afa6", agent.runs.api_client)
    with pytest.raises(NotFoundException, match="3fa85f64"):
        list(nobody.map(numbers(20), concurrency=4, journal=path))
    assert len(creates(server)) <= 4
    assert b'"failed"' not in path.read_bytes()


@pytest.mark.parametrize("status", [408, 500, 524])
def test_a_create_that_a_proxy_calls_failed_is_found(
    server: LocalServer, agent: AgentHandle, status: int
) -> None:
    """The server has carried it out, as 524 says of some."""
    raw = b"HTTP/1.1 %d Failed\r\nContent-Length: 0\r\n\r\n" % status
    server.faults.add(Fault(method="POST", path="/runs", raw=raw, late=0, times=2))
    items = list(agent.map(numbers(4), concurrency=4))
    assert sorted(item.result()["n"] for item in items) == list(range(4))
    assert len(creates(server)) == runs_by_input(server).total() == 4


def test_where_searches_are_forbidden_60_runs_are_polled_one_by_one(
    server: LocalServer, agent: AgentHandle
) -> None:
    server.faults.add(Fault(path="/runs/search", status=403, times=None))
    inputs = [{"n": n, "seconds": 0.5, "fail": n == 59} for n in range(60)]
    items = list(agent.map(inputs, concurrency=60))
    assert sum(item.ok for item in items) == 59
    assert {type(item.error) for item in items if not item.ok} == {RunFailed}
    assert sum(request.path == "/runs/search" for request in server.requests) == 1
    assert len(server.requests) <= 60 + 1 + 2 * 60  # the creates, the search, two polls of each


def test_a_crowd_searches_again_after_a_response_that_is_unreadable(
    server: LocalServer, agent: AgentHandle
) -> None:
    server.faults.add(Fault(path="/runs/search", status=200, body="<html>", times=1))
    items = list(agent.map(numbers(60, seconds=1.5), concurrency=60))
    assert len([item.result() for item in items]) == 60
    assert sum(request.path == "/runs/search" for request in server.requests) > 1


class Searched:
    """A driver of runs that nobody waits for, whose clock moves with the pauses between searches.

    A search says that no run is pending, or that all are.
    """

    def __init__(self, *, pending: Sequence[str], seconds: float) -> None:
        self.now, self.ends, self.pauses = 0.0, seconds, list[tuple[float, float]]()
        runs = SimpleNamespace(search_runs=lambda request, limit: self.page)
        self.page = [Run.model_construct(run_id=name, status=RunStatus.PENDING) for name in pending]
        self.contact = Contact(runs, Server(reached=True), 0, Pace())  # type: ignore[arg-type]
        self.plan = SimpleNamespace(agent_id="a", batch="b")
        self.stop = self

    def wait(self, pause: float) -> bool:
        self.pauses.append((self.now, pause))
        self.now += pause
        return self.now > self.ends

    def is_set(self) -> bool:
        return False

    def runs(self, put_back: Callable[[Task], object], parked: int = 20) -> UnattendedRuns:
        """Return the runs: for twelve a thread holds long polls, and the others are parked."""
        unattended = UnattendedRuns(self, put_back)  # type: ignore[arg-type]
        for number in range(12 + parked):
            unattended.enter(Task(number, "", {}, "", run_id=f"r{number}"))
        return unattended


def test_a_search_that_was_wrong_about_a_run_is_not_believed_for_a_while(
    set_timing: SetTiming,
) -> None:
    searched, put_back = Searched(pending=[], seconds=9.9), Counter[int]()
    set_timing(now=lambda: searched.now)

    def worker(task: Task) -> None:
        put_back[task.index] += 1
        unattended.note(task, hit=False)
        unattended.enter(task)

    unattended = searched.runs(worker)
    unattended.search()
    assert len(put_back) == 20
    # Two seconds each; then so many were wrong that searches are given up.
    assert max(put_back.values()) <= 5 and sum(put_back.values()) < 130


def test_the_pauses_between_searches_that_find_nothing_grow_with_the_age_of_the_runs(
    set_timing: SetTiming,
) -> None:
    searched = Searched(pending=[f"r{number}" for number in range(32)], seconds=300)
    set_timing(now=lambda: searched.now)
    searched.runs(lambda task: pytest.fail(f"{task.run_id} is pending")).search()
    for now, pause in searched.pauses:
        assert pause == pytest.approx(min(10, max(0.2, 0.1 * now)))
    assert len(searched.pauses) < 100


def test_a_slow_search_takes_no_more_than_a_fifth_of_the_time(set_timing: SetTiming) -> None:
    searched = Searched(pending=[f"r{number}" for number in range(32)], seconds=300)
    set_timing(now=lambda: searched.now)

    def search(request: object, limit: float) -> list[Run]:
        searched.now += 2
        return searched.page

    searched.contact.runs.search_runs = search  # type: ignore[method-assign]
    searched.runs(lambda task: pytest.fail(f"{task.run_id} is pending")).search()
    assert searched.pauses[1][1] == pytest.approx(8)
    assert all(pause >= 8 for _, pause in searched.pauses[1:])
    assert len(searched.pauses) > 10


def test_the_pauses_follow_what_the_searches_find(set_timing: SetTiming) -> None:
    """Longer by half while no old run has ended, half as long once one has."""
    searched, put_back = Searched(pending=["r12", "r13"], seconds=1060), list[int]()
    set_timing(now=lambda: searched.now)
    unattended = searched.runs(lambda task: put_back.append(task.index), parked=2)
    searched.now = 1000.0

    def search(request: object, limit: float) -> list[Run]:
        number = len(searched.pauses)
        return searched.page[: 2 if number < 5 else 1 if number < 7 else 0]

    searched.contact.runs.search_runs = search  # type: ignore[method-assign]
    unattended.search()
    pauses = [pause for _, pause in searched.pauses]
    grow = [0.2 * 1.5**n for n in range(5)]
    halved = grow[-1] / 2
    assert pauses[:8] == pytest.approx([*grow, halved, 1.5 * halved, 0.75 * halved])
    assert pauses[8:] and set(pauses[8:]) == {0.2}  # nothing is parked any more
    assert put_back == [13, 12]


def test_a_worker_that_ends_a_run_takes_the_one_that_was_parked_first(
    set_timing: SetTiming,
) -> None:
    searched = Searched(pending=[], seconds=0)
    set_timing(now=lambda: searched.now)
    unattended = searched.runs(lambda task: None, parked=2)
    ended, pending = Task(0, "", {}, "", outcome={}), Task(1, "", {}, "")
    tasks = [unattended.exchange(task) for task in (pending, ended, ended)]
    assert [task and task.index for task in tasks] == [12, 13, 1]
    assert unattended.exchange(pending) is pending
    assert unattended.exchange(ended) is None
    # So there is room for one worker more, and no other.
    assert [unattended.enter(Task(n, "", {}, "")) for n in (20, 21)] == [True, False]


def test_long_polls_are_short_while_others_wait_for_their_turn(set_timing: SetTiming) -> None:
    searched = Searched(pending=[], seconds=1)
    set_timing(now=lambda: searched.now)
    unattended = searched.runs(lambda task: None, parked=1)
    assert [unattended.window(count) for count in (1, 12, 13, 500)] == [30, 30, 2, 2]

    def refuse(request: object, limit: float) -> list[Run]:
        raise ApiException(status=403)

    searched.contact.runs.search_runs = refuse  # type: ignore[method-assign]
    unattended.search()
    assert [unattended.window(count) for count in (1, 12, 13, 500)] == [30, 30, 1, 1]
    # Without searches, more workers poll.
    assert [unattended.enter(Task(n, "", {}, "")) for n in range(40, 50)] == 8 * [True] + 2 * [
        False
    ]


@pytest.mark.parametrize("before", [False, True], ids=["the first", "as before"])
@pytest.mark.parametrize("failure", [503, 429, None], ids=str)
def test_a_search_that_fails_for_now_is_made_once_and_comes_again(
    set_timing: SetTiming, failure: int | None, before: bool
) -> None:
    searched, put_back = Searched(pending=[], seconds=100), list[int]()
    set_timing(now=lambda: searched.now, sleep=lambda seconds, stop: pytest.fail("it paused"))
    unattended = searched.runs(lambda task: put_back.append(task.index), parked=1)

    def search(request: object, limit: float) -> list[Run]:
        if len(searched.pauses) < 3:
            if failure is None:
                raise TimeoutError("the batch has ended")
            raise ApiException(status=failure)
        return []

    if before:
        searched.contact.server.fails.add("search")
    searched.contact.runs.search_runs = search  # type: ignore[method-assign]
    unattended.search()
    assert put_back == [12] and unattended.window(500) == 2


@pytest.mark.parametrize(
    ("hits", "mistakes", "searches"),
    [(0, 100, True), (0, 101, False), (150, 150, True), (150, 151, False)],
)
def test_searches_that_are_wrong_more_often_than_right_are_given_up(
    set_timing: SetTiming, hits: int, mistakes: int, searches: bool
) -> None:
    searched, count = Searched(pending=[], seconds=0.3), itertools.count()
    set_timing(now=lambda: searched.now)
    searched.contact.runs.search_runs = lambda *_: [next(count)][1:]  # type: ignore[method-assign]
    unattended = searched.runs(lambda task: None, parked=1)
    for hit in (*hits * [True], *mistakes * [False]):
        unattended.note(Task(0, "", {}, ""), hit=hit)
    unattended.search()
    assert unattended.window(500) == (2 if searches else 1) and next(count) == 1


@pytest.mark.parametrize(("parked", "pages"), [(20, 10), (899, 10), (900, 11), (1800, 12)])
def test_a_search_reads_pages_that_overlap_up_to_a_bound_at_the_pace_of_the_batch(
    set_timing: SetTiming, parked: int, pages: int
) -> None:
    """A server that pages without end, and limits requests."""
    searched = Searched(pending=["another"], seconds=0.3)
    requests, slept = list[Any](), list[float]()

    def search(request: Any, limit: float) -> list[Run]:
        requests.append(request)
        return 1000 * searched.page

    def sleep(seconds: float, stop: object) -> bool:
        assert stop is searched  # the end of the batch ends the pause
        slept.append(seconds)
        searched.now += seconds
        return False

    set_timing(now=lambda: searched.now, sleep=sleep, pace=(0.4, 0.4))
    searched.contact.runs.search_runs = search  # type: ignore[method-assign]
    pace = searched.contact.pace
    assert pace is not None
    pace.slow(0.0, certain=True)
    unattended = searched.runs(lambda task: pytest.fail("no search has ended"), parked=parked)
    unattended.search()
    assert [request.offset for request in requests] == [900 * n for n in range(pages)]
    assert {(one.limit, one.agent_id, one.status) for one in requests} == {(1000, "a", "pending")}
    assert all(request.metadata == {"acp-batch": "b"} for request in requests)
    assert len(slept) == pages - 1 and all(0.2 < seconds < 0.41 for seconds in slept)
    assert unattended.window(500) == 1  # so it is of no use


def test_a_run_that_a_worker_has_taken_meanwhile_keeps_no_other_from_its_worker(
    set_timing: SetTiming,
) -> None:
    searched, put_back = Searched(pending=[], seconds=0.3), list[int]()
    set_timing(now=lambda: searched.now)
    unattended = searched.runs(lambda task: put_back.append(task.index))

    def search(request: object, limit: float) -> list[Run]:
        unattended.exchange(Task(0, "", {}, "", outcome={}))  # which takes the oldest
        return []

    searched.contact.runs.search_runs = search  # type: ignore[method-assign]
    unattended.search()
    assert put_back == list(range(13, 32))


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_create_that_was_lost_itself_is_sent_again_up_to_twice(
    server: LocalServer, agent: AgentHandle, set_timing: SetTiming, lost: int
) -> None:
    set_timing(search=0.3)
    server.faults.add(Fault(method="POST", path="/runs", cut="close", times=lost))
    (item,) = agent.map(numbers(1))
    assert isinstance(item.outcome, RunStartAmbiguous if lost == 3 else dict)
    first, *others = creates(server)
    assert len(others) == min(lost, 2)
    assert all(other["metadata"] == first["metadata"] for other in others)


def test_a_lost_create_that_cannot_be_searched_for_is_an_outcome(
    server: LocalServer, agent: AgentHandle
) -> None:
    server.faults.add(
        Fault(method="POST", path="/runs", cut="close", times=1),
        Fault(path="/runs/search", status=405, times=None),
    )
    (item,) = agent.map(numbers(1))
    assert isinstance(item.outcome, RunStartAmbiguous)
    assert len(creates(server)) == 1


# More runs than threads

CROWD = 150


SEARCHES = pytest.mark.parametrize(
    "server",
    [
        Quirks(),
        Quirks(search_metadata="ignored", search_order="newest"),
        Quirks(search_metadata="fails"),
    ],
    ids=["searches", "ignores metadata", "cannot search"],
    indirect=True,
)


@SEARCHES
def test_many_runs_on_few_threads_and_connections(server: LocalServer, agent: AgentHandle) -> None:
    inputs = [{"n": n, "seconds": 0.5 + n % 5 / 5} for n in range(CROWD)]
    most = 0
    for item in agent.map(inputs, concurrency=CROWD):
        assert item.result()["n"] == item.index
        most = max(most, len(threads_of_batches()))
        assert server.connections_open <= 64
    assert 2 <= most <= 32
    assert runs_by_input(server).total() == len(creates(server)) == CROWD


@SEARCHES
def test_many_runs_fail_ask_and_run_out_of_time(agent: AgentHandle) -> None:
    # The twelve runs of 60 s keep all that hold long polls busy for a while.
    kinds = ({}, {"fail": True}, {"ask": 2}, {"seconds": 60}, {})
    inputs = [{"n": n, **kinds[n % 5]} for n in range(60)]
    items = agent.map(inputs, concurrency=CROWD, on_interrupt=answer, timeout=6, ordered=True)
    kinds_of_outcomes = [type(item.outcome).__name__ for item in items]
    assert kinds_of_outcomes == 12 * ["dict", "RunFailed", "dict", "RunWaitTimeout", "dict"]


def test_a_run_that_nobody_polls_is_not_asked_for_when_its_time_is_over(
    server: LocalServer, agent: AgentHandle
) -> None:
    items = list(agent.map(numbers(60, seconds=60), concurrency=60, timeout=2))
    for item in items:
        assert isinstance(item.outcome, RunWaitTimeout)
        assert "within the call's 0.0" not in str(item.outcome)


def test_a_search_that_ignores_the_status_still_tells_which_runs_have_ended() -> None:
    """A run that has ended gets a poll of one second, all others get polls of two."""
    times = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
    run = {"agent_id": "a", "creation": {"agent_id": "a"}, "status": "success", **times}
    ended = [{**run, "run_id": f"r{n}"} for n in range(60)]
    result = {"type": "result", "run_id": "", "status": "success", "result": {}}
    count = itertools.count()

    def respond(request: Request) -> bytes:
        path, _, query = request.path.partition("?")
        if path == "/runs":
            return response(json.dumps({**ended[next(count)], "status": "pending"}).encode())
        if path == "/runs/search":
            return response(json.dumps(ended).encode())
        if query == "block_timeout=2":  # which goes round the runs until all have ended
            return response(status=204, content_type="")
        return response(json.dumps(result).encode())

    with serving(respond) as agent:
        batch = agent.map(numbers(60), concurrency=60)
        with beside(batch.close, after=20):
            assert len([item.result() for item in batch]) == 60


def test_a_server_that_gives_two_creates_one_run(server: LocalServer, agent: AgentHandle) -> None:
    run = agent.runs.create_run({"agent_id": agent.agent_id, "input": {"n": 0, "seconds": 2}})
    body = run.to_dict()
    server.faults.add(Fault(method="POST", path="/runs", status=200, body=body, times=None))
    batch = agent.map(numbers(60), concurrency=60)
    with beside(batch.close, after=30):
        assert [item.result()["n"] for item in batch] == [0] * 60


# Ctrl-C


@pytest.mark.parametrize("concurrency", [8, 60])
def test_ctrl_c_ends_a_batch_at_once(
    server: LocalServer, agent: AgentHandle, path: Path, concurrency: int
) -> None:
    inputs = numbers(60)
    goes_on, pressed = threading.Event(), list[float]()

    def held(input: Any, config: Any, context: Any) -> Any:
        return {"n": input["n"], "held": input["n"] >= 5 and goes_on.wait(60)}

    agent = AgentHandle(server.register(held), agent.runs.api_client)

    def press() -> None:
        wait_for(lambda: len(creates(server)) >= 5 + concurrency // 2)
        pressed.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    with beside(press), pytest.raises(KeyboardInterrupt) as caught:
        list(agent.map(inputs, concurrency=concurrency, journal=path))
    assert time.monotonic() - pressed[0] < 40  # and not until the runs have ended
    assert threads_of_batches() == []
    told = re.search(
        r"(\d+) runs are still in flight.*continues with the journal", str(caught.value)
    )
    assert told is not None
    pending = [run for run in server.runs if run["status"] == "pending"]
    # A run that has just ended, and whose output was not fetched yet, is among those told of.
    assert 1 <= len(pending) <= int(told[1]) <= concurrency
    goes_on.set()
    items = list(agent.map(inputs, concurrency=60, journal=path))
    assert sorted(item.result()["n"] for item in items) == list(range(60))
    assert runs_by_input(server).total() == 60


def test_ctrl_c_while_the_server_says_nothing(server: LocalServer, agent: AgentHandle) -> None:
    server.faults.add(Fault(cut="stall", times=None))
    pressed: list[float] = []

    def press() -> None:
        wait_for(lambda: len(creates(server)) == 8)
        pressed.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    with beside(press), pytest.raises(KeyboardInterrupt, match="still in flight"):
        list(agent.map(numbers(20)))
    assert time.monotonic() - pressed[0] < 3
    assert threads_of_batches() == []


def test_a_server_that_goes_away_after_a_create_is_an_outage(set_timing: SetTiming) -> None:
    """Also if only the search for the lost create finds it away, and for longer than that takes."""
    set_timing(search=0.4, least_left=0.05, backoff=(0.05, 0.1))
    made: list[Any] = []
    servers: list[SocketServer] = []

    def respond(request: Any) -> Any:
        if request.method == "POST" and request.path == "/runs":
            if not made:
                restarting.start()
            made.append({**RUN, "creation": json.loads(request.body), "status": "success"})
            return [CLOSE]
        if request.path == "/runs/search":
            return response(json.dumps(made).encode())
        return response(json.dumps({**RESULT, "run_id": ""}).encode())

    def restart() -> None:
        servers[0].stop()
        time.sleep(1)
        again = SocketServer(handler=serve_each(respond), port=servers[0].port)
        servers.append(again.__enter__())

    restarting = threading.Thread(target=restart)
    with SocketServer(handler=serve_each(respond)) as server:
        servers.append(server)
        with ApiClient(Configuration(host=server.url)) as client:
            (item,) = AgentHandle(RUN["agent_id"], client).map([{"n": 0}])
        restarting.join()
    servers[1].stop()
    assert item.ok and len(made) == 1


def test_one_run_without_an_output_ends_no_batch() -> None:
    """The server serves the outputs of other runs."""

    def respond(request: Any) -> Any:
        if request.method == "POST":
            creation = json.loads(request.body)
            name = f"r{creation['input']['n']}"
            return response(json.dumps({**RUN, "run_id": name, "creation": creation}).encode())
        if request.path == "/runs/r1":
            return response(json.dumps({**RUN, "run_id": "r1", "status": "success"}).encode())
        if request.path.startswith("/runs/r1/output"):
            return response(b'"run r1 has no output any more"', 404)
        return response(json.dumps({**RESULT, "run_id": ""}).encode())

    with serving(respond) as agent:
        items = list(agent.map(numbers(4)))
    assert sorted(item.index for item in items if not item.ok) == [1]
    assert isinstance(items[[item.index for item in items].index(1)].error, NotFoundException)


class Limited:
    """A server that carries out a request only if the last one is long enough ago.

    The others get a bare 503, as of nginx with `limit_req`.
    """

    def __init__(self, seconds: float) -> None:
        self.made: dict[str, dict[str, Any]] = {}  # runs by their client token
        self.sent = 0
        self._seconds = seconds
        self._next = 0.0
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> bytes:
        with self._lock:
            self.sent += 1
            now = time.monotonic()
            if now < self._next:
                return response(b"<h1>503</h1>", 503, content_type="text/html")
            self._next = now + self._seconds
            if request.path == "/runs":
                creation = json.loads(request.body)
                token = creation["metadata"]["acp-client-token"]
                name = f"r{len(self.made)}"
                run = {**RUN, "agent_id": "a", "run_id": name, "creation": creation}
                assert token not in self.made, "two runs of one input"
                self.made[token] = run
                return response(json.dumps(run).encode())
            if request.path == "/runs/search":
                token = json.loads(request.body).get("metadata", {}).get("acp-client-token")
                found = [self.made[token]] if token in self.made else []
                return response(json.dumps(found).encode())
            return response(json.dumps({**RESULT, "run_id": ""}).encode())


def test_a_batch_slows_down_at_a_server_that_limits_and_loses_nothing() -> None:
    limited = Limited(0.02)
    with serving(limited) as agent:
        items = list(agent.map(numbers(20)))
    assert [item.error for item in items if not item.ok] == []
    assert len(limited.made) == 20
    assert limited.sent < 300  # mostly less than 150, and some 500 without a pace


def test_no_request_that_waits_for_its_turn_overtakes_a_retry_after(set_timing: SetTiming) -> None:
    set_timing(pace=(0.3, 0.3))
    limited = Limited(0)
    times: list[float] = []

    def respond(request: Request) -> bytes:
        times.append(time.monotonic())
        if len(times) == 1:
            return response(status=429)
        # The first eight may be sent before there are turns.
        return response(status=429, retry_after="1") if len(times) == 10 else limited(request)

    with serving(respond) as agent:
        items = list(agent.map(numbers(8), concurrency=8))
    assert [item.error for item in items if not item.ok] == []
    # What was under way arrives within a moment.
    assert [at - times[9] for at in times if times[9] + 0.2 < at < times[9] + 0.95] == []


def test_a_server_that_was_away_does_not_make_a_batch_slow_for_long(set_timing: SetTiming) -> None:
    """A proxy answers 503 for all requests while its server restarts: that is no limit."""
    set_timing(pace=(0.1, 5.0))
    limited = Limited(0)
    ends: list[float] = []
    waits: list[float] = []

    def respond(request: Request) -> bytes:
        now = time.monotonic()
        ends.append(now + 2)
        if len(ends) > 5 and now < ends[5]:
            return response(status=503)
        waits.append(now)
        return limited(request)

    with serving(respond) as agent:
        items = list(agent.map(numbers(16), concurrency=8))
    assert [item.error for item in items if not item.ok] == []
    after = [at for at in waits if at > ends[5]]
    assert sorted(b - a for a, b in itertools.pairwise(after))[len(after) // 2] < 0.35


def test_a_poll_that_a_proxy_cuts_by_503_slows_nothing_down(set_timing: SetTiming) -> None:
    set_timing(pace=(8.0, 8.0))
    limited = Limited(0)
    times: list[float] = []

    def respond(request: Request) -> Sequence[Any]:
        times.append(time.monotonic())
        return [1.1, response(status=503)] if len(times) == 2 else [limited(request)]

    with serving(respond) as agent:
        items = list(agent.map(numbers(2), concurrency=1))
    assert [item.error for item in items if not item.ok] == []
    assert max(b - a for a, b in itertools.pairwise(times)) < 5


def test_no_item_is_unclear_while_the_server_fails_for_all(
    server: LocalServer, agent: AgentHandle, set_timing: SetTiming, caplog: Any, path: Path
) -> None:
    """A proxy whose server is away answers 502 for longer than the search for a run takes."""
    set_timing(search=0.3, backoff=(0.02, 0.1))
    gone = Fault(status=502, times=None)
    items: list[BatchItem] = []
    with agent.map(numbers(30, seconds=0.05), concurrency=8, journal=path) as batch:
        items.append(next(batch))
        server.faults.add(gone)
        began = time.monotonic()
        with beside(server.faults.clear, after=1.0):
            items.extend(batch)
    assert time.monotonic() - began > 1.0
    assert [item.error for item in items if not item.ok] == []
    assert runs_by_input(server).total() == 30
    assert [words for words in caplog.messages if "asking again" in words]  # said at once


def test_an_item_out_of_time_has_an_error_of_its_own() -> None:
    """A create gets 524 with Retry-After while the other items wait for their outputs."""
    created = itertools.count()

    def respond(request: Request) -> Any:
        if request.path == "/runs":
            number = next(created)
            if number == 3:
                return [0.4, response(b"", 524, retry_after="5")]
            creation = json.loads(request.body)
            run = {**RUN, "agent_id": "a", "run_id": f"r{number}", "status": "pending"}
            return response(json.dumps({**run, "creation": creation}).encode())
        if request.path == "/runs/search":
            return response(b"[]")
        return [0.5, response(b"", 204, content_type="")]

    with serving(respond) as agent:
        batch = agent.map(numbers(4), concurrency=4, timeout=1.2)
        items = list(itertools.islice(batch, 3))
        batch.close()
    for item in items:
        assert isinstance(item.error, RunWaitTimeout), item.error
        assert item.error.run_id == item.run_id and item.error.token
        assert "524" not in str(item.error)


def test_searches_that_hang_end_with_the_outage(set_timing: SetTiming) -> None:
    """Nothing but lost creates, and searches that take all of their time: not for ever."""
    set_timing(search=0.3, quick=0.3, outage=1.5)

    def respond(request: Request) -> Any:
        return [CLOSE] if request.path == "/runs" else [STALL]

    with serving(respond) as agent:
        began = time.monotonic()
        with pytest.raises(ApiException):
            next(agent.map(numbers(4)))
        assert time.monotonic() - began < 15
