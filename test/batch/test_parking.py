"""Runs that no thread of a batch waits for, and the driver that starts and polls one run."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from support.batches import answer
from support.parts import failure_of
from support.serving import a_contact
from support.timing import SetTiming

from acp_client_v0_1 import (
    AgentHandle,
    ApiException,
    ApiTimeoutError,
    ResponseValidationError,
    RunWaitTimeout,
)
from acp_client_v0_1.batch._driver import RunDriver
from acp_client_v0_1.batch._parking import ParkedRuns
from acp_client_v0_1.batch._tasks import Plan, Task
from acp_client_v0_1.models.run import Run
from acp_client_v0_1.models.run_status import RunStatus


class Searched:
    """A driver of runs that nobody waits for, whose clock moves with the pauses between searches.

    A search says that the runs of the page are pending.
    """

    def __init__(self) -> None:
        self.now, self.ends, self.pauses = 0.0, 0.3, list[tuple[float, float]]()
        self.page: list[Run] = []
        self.search: Callable[[Any], list[Run]] = lambda request: self.page
        runs = SimpleNamespace(search_runs=lambda request, **options: self.search(request))
        self.contact = a_contact(runs, batch=True)
        self.plan = SimpleNamespace(agent_id="a", batch_mark="b")
        self.stop = self

    def wait(self, pause: float) -> bool:
        self.pauses.append((self.now, pause))
        self.now += pause
        return self.now > self.ends

    def is_set(self) -> bool:
        return False

    def lists(self, *names: str) -> None:
        self.page = [Run.model_construct(run_id=name, status=RunStatus.PENDING) for name in names]

    def runs(self, put_back: Callable[[Task], object], parked: int = 20) -> ParkedRuns:
        """Return the runs: for twelve a thread holds long polls, and the others are parked."""
        unattended = ParkedRuns(self, put_back)  # type: ignore[arg-type]
        for number in range(12 + parked):
            unattended.enter(task(number, run_id=f"r{number}"))
        return unattended


def task(index: int, **more: Any) -> Task:
    return Task(index, "", {}, "", **more)


@pytest.fixture
def searched(set_timing: SetTiming) -> Searched:
    made = Searched()
    set_timing(now=lambda: made.now)
    return made


def test_a_search_that_was_wrong_about_a_run_is_not_believed_for_a_while(searched):
    put_back, searched.ends = Counter[int](), 9.9

    def worker(task: Task) -> None:
        put_back[task.index] += 1
        unattended.note(task, hit=False)
        unattended.enter(task)

    unattended = searched.runs(worker)
    unattended.search()
    assert len(put_back) == 20
    # Two seconds each; then so many were wrong that searches are given up.
    assert max(put_back.values()) <= 5 and sum(put_back.values()) < 130


@pytest.mark.parametrize("takes", [0, 2])
def test_the_pauses_grow_with_the_age_of_the_runs_and_the_time_that_searches_take(searched, takes):
    """A search takes no more than a fifth of the time."""

    def search(request: object) -> list[Run]:
        searched.now += takes
        return searched.page

    searched.lists(*(f"r{number}" for number in range(32)))
    searched.search, searched.ends = search, 300
    searched.runs(lambda task: pytest.fail(f"{task.run_id} is pending")).search()
    for now, pause in searched.pauses[1:]:
        assert pause == pytest.approx(min(10, max(0.2, 4 * takes, 0.1 * now)))
    assert 10 < len(searched.pauses) < 100


def test_the_pauses_follow_what_the_searches_find(searched):
    """Longer by half while no old run has ended, half as long once one has."""
    put_back = list[int]()
    unattended = searched.runs(lambda task: put_back.append(task.index), parked=2)
    searched.now, searched.ends = 1000.0, 1060

    def search(request: object) -> list[Run]:
        number = len(searched.pauses)
        return searched.page[: 2 if number < 5 else 1 if number < 7 else 0]

    searched.lists("r12", "r13")
    searched.search = search
    unattended.search()
    pauses = [pause for _, pause in searched.pauses]
    grow = [0.2 * 1.5**n for n in range(5)]
    halved = grow[-1] / 2
    assert pauses[:8] == pytest.approx([*grow, halved, 1.5 * halved, 0.75 * halved])
    assert pauses[8:] and set(pauses[8:]) == {0.2}  # nothing is parked any more
    assert put_back == [13, 12]


def test_a_search_that_ignores_the_status_tells_which_runs_have_ended(searched):
    put_back = list[int]()
    unattended = searched.runs(lambda task: put_back.append(task.index), parked=2)
    searched.lists("r12", "r13")
    searched.page[1].status = RunStatus.SUCCESS
    unattended.search()
    assert put_back == [13]


def test_a_worker_that_ends_a_run_takes_the_one_that_was_parked_first(searched):
    unattended = searched.runs(lambda task: None, parked=2)
    ended, pending = task(0, outcome={}), task(1)
    taken = [unattended.exchange(task) for task in (pending, ended, ended)]
    assert [task and task.index for task in taken] == [12, 13, 1]
    assert unattended.exchange(pending) is pending
    assert unattended.exchange(ended) is None
    # So there is room for one worker more, and no other.
    assert [unattended.enter(task(n)) for n in (20, 21)] == [True, False]


def test_long_polls_are_short_while_others_wait_for_their_turn(searched):
    unattended = searched.runs(lambda task: None, parked=1)
    assert [unattended.window(count) for count in (1, 12, 13, 500)] == [30, 30, 2, 2]

    def refuse(request: object) -> list[Run]:
        raise ApiException(status=403)

    searched.search = refuse
    unattended.search()
    assert [unattended.window(count) for count in (1, 12, 13, 500)] == [30, 30, 1, 1]
    # Without searches, more workers poll.
    assert sum(unattended.enter(task(n)) for n in range(40, 50)) == 8


@pytest.mark.parametrize("before", [False, True], ids=["the first", "as before"])
@pytest.mark.parametrize(
    "failure",
    [
        *map(ApiException, (503, 429)),
        ResponseValidationError(status=200, reason="no JSON"),
        ApiTimeoutError(reason="the batch has ended"),
    ],
    ids=str,
)
def test_a_search_that_fails_is_made_once_and_comes_again(searched, set_timing, failure, before):
    put_back, searched.ends = list[int](), 100
    set_timing(sleep=lambda seconds, stop: pytest.fail("it paused"))
    unattended = searched.runs(lambda task: put_back.append(task.index), parked=1)

    def search(request: object) -> list[Run]:
        if len(searched.pauses) < 3:
            raise failure
        return []

    if before:
        searched.contact.health.fails.add("search")
    searched.search = search
    unattended.search()
    assert put_back == [12] and unattended.window(500) == 2


@pytest.mark.parametrize(
    ("hits", "mistakes", "searches"),
    [(0, 100, True), (0, 101, False), (150, 150, True), (150, 151, False)],
)
def test_searches_more_often_wrong_than_right_are_given_up(searched, hits, mistakes, searches):
    count = itertools.count()
    searched.search = lambda request: [next(count)][1:]
    unattended = searched.runs(lambda task: None, parked=1)
    for hit in (*hits * [True], *mistakes * [False]):
        unattended.note(task(0), hit=hit)
    unattended.search()
    assert unattended.window(500) == (2 if searches else 1) and next(count) == 1


@pytest.mark.parametrize(("parked", "pages"), [(20, 10), (899, 10), (900, 11), (1800, 12)])
def test_a_search_reads_a_few_overlapping_pages_at_a_pace(searched, set_timing, parked, pages):
    """A server that pages without end, and limits requests."""
    requests, slept = list[Any](), list[float]()

    def search(request: Any) -> list[Run]:
        requests.append(request)
        return 1000 * searched.page

    def sleep(seconds: float, stop: object) -> bool:
        assert stop is searched  # the end of the batch ends the pause
        slept.append(seconds)
        searched.now += seconds
        return False

    set_timing(sleep=sleep, pace=(0.4, 0.4))
    searched.lists("another")
    searched.search = search
    turns, limit = searched.contact.turns, ApiException(status=429)
    assert turns is not None
    turns.failed(failure_of(limit), limit, 0, 0.0)
    unattended = searched.runs(lambda task: pytest.fail("no search has ended"), parked=parked)
    unattended.search()
    assert [request["offset"] for request in requests] == [900 * n for n in range(pages)]
    same = {"agent_id": "a", "status": "pending", "metadata": {"acp-batch": "b"}, "limit": 1000}
    assert all(request == {**same, "offset": request["offset"]} for request in requests)
    # The first page waits for the rest of its turn.
    assert len(slept) == pages and all(0.19 < seconds < 0.41 for seconds in slept)
    assert unattended.window(500) == 1  # so it is of no use


def test_a_run_that_nobody_polls_goes_to_a_worker_once_its_time_is_over(searched):
    """It is still pending."""
    put_back, searched.ends = list[float](), 3
    wait = SimpleNamespace(remaining=lambda: 1.0 - searched.now)
    unattended = searched.runs(lambda task: put_back.append(searched.now), parked=0)
    unattended.enter(task(12, run_id="r12", polls=SimpleNamespace(wait=wait)))
    searched.lists("r12")
    unattended.search()
    assert put_back == [pytest.approx(1.1, abs=0.2)]


def test_a_run_that_a_worker_has_taken_meanwhile_keeps_no_other_from_its_worker(searched):
    put_back = list[int]()
    unattended = searched.runs(lambda task: put_back.append(task.index))

    def search(request: object) -> list[Run]:
        unattended.exchange(task(0, outcome={}))  # which takes the oldest
        return []

    searched.search = search
    unattended.search()
    assert put_back == list(range(13, 32))


def driver_of(agent: AgentHandle) -> RunDriver:
    plan = Plan(
        agent.agent_id, call_id="c", agent=None, server="", batch_mark="b", options={}, timeout=9.0,
        check=False, unclear="raise", on_interrupt=answer,
    )  # fmt: skip
    return RunDriver(plan, agent)


@pytest.mark.parametrize(
    ("value", "hits"), [({}, [True]), ({"ask": 1}, [True, True]), ({"seconds": 60}, [False])]
)
def test_a_search_was_right_about_a_run_that_has_an_output_or_a_question(agent, value, hits):
    started, driver = Task(0, "", value, "t"), driver_of(agent)
    driver.start(started)
    assert [driver.poll(started, 9 if hits[-1] else 1) for _ in hits] == hits
    assert (started.outcome is not None) is hits[-1]


def test_the_time_of_a_run_is_from_its_create_and_ends_without_a_request(server, agent, set_timing):
    started, driver, now = task(0), driver_of(agent), [0.0]
    set_timing(now=lambda: now[0])
    driver.start(started)
    assert started.polls is not None and started.polls.wait.remaining() == 9
    now[0] = 8.99  # too late for a response
    assert driver.poll(started, 1) and isinstance(started.outcome, RunWaitTimeout)
    assert len(server.requests) == 1
