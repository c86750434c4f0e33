"""Batches against servers that fail, limit, lose responses, forget runs or cannot search."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.batches import creates, obedient, runs_by_input, threads_of_batches, wait_for
from support.timing import SetTiming

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    Configuration,
    PendingInterrupt,
    RunFailed,
    RunGone,
    RunHandle,
    RunStartAmbiguous,
)
from acp_client_v0_1.testing import Fault, LocalServer, Quirks


def numbers(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"n": n, **more} for n in range(count)]


def answer(question: PendingInterrupt) -> dict[str, Any]:
    return {"to": question.payload["number"]}


def test_everything_that_goes_wrong_at_once(
    server: LocalServer, agent: AgentHandle, set_timing: SetTiming
) -> None:
    """A server away for 5 s, 429, lost responses; runs that fail, ask, or are deleted."""
    set_timing(search=6)
    kinds = ({}, {"fail": True}, {"ask": 1}, {"seconds": 30})
    inputs = [{"n": n, **kinds[n % 10 if n % 10 < 4 else 0]} for n in range(200)]
    deleted: set[int] = set()
    over = threading.Event()

    def delete_slow_ones() -> None:
        with ApiClient(Configuration(host=server.url)) as client:
            while not over.wait(0.3):
                for run in server.runs:
                    if "seconds" in run["creation"]["input"]:
                        RunHandle(run["run_id"], client).delete()
                        deleted.add(run["creation"]["input"]["n"])

    def go_away() -> None:
        over.wait(0.3)
        server.restart(pause=5)

    lost = {"share": 0.05, "times": None, "cut": "close", "after_wire_bytes": 0}
    server.faults.add(Fault(method="POST", path="/runs", status=429, retry_after=1, times=3))
    server.faults.add(Fault(method="POST", path="/runs", **lost))
    server.faults.add(Fault(method="GET", path="/runs/*/output", **lost))
    helpers = [threading.Thread(target=work) for work in (delete_slow_ones, go_away)]
    for helper in helpers:
        helper.start()
    items = list(agent.map(inputs, on_interrupt=answer, concurrency=24))
    items.sort(key=lambda item: item.index)
    over.set()
    for helper in helpers:
        helper.join()
    assert [item.index for item in items] == list(range(200))
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
    assert sorted([*counted.elements(), *deleted]) == list(range(200))


def test_429_stops_all_requests_and_fails_none(server: LocalServer, agent: AgentHandle) -> None:
    fault = Fault(method="POST", path="/runs", status=429, retry_after=2, times=1)
    server.faults.add(Fault(method="POST", path="/runs", times=5), fault)
    items = list(agent.map(numbers(30), concurrency=4))
    assert len([item.result() for item in items]) == 30
    times = [request.time for request in server.requests]
    limited = next(request.time for request in server.requests if request.fault is fault)
    # What was under way in the other threads arrives within a moment.
    assert [at - limited for at in times if limited + 0.5 < at < limited + 1.9] == []
    assert len(creates(server)) == 31


@pytest.mark.parametrize("path", ["/runs/*/output", "/runs/search"])
def test_no_item_fails_by_429_however_long(
    server: LocalServer,
    agent: AgentHandle,
    set_timing: SetTiming,
    tmp_path: Path,
    path: str,
) -> None:
    journal = tmp_path / "journal.jsonl"
    server.faults.add(Fault(method="POST", path="/runs", status=503, times=1))
    server.faults.add(Fault(path="/runs/search", status=405, times=2))
    list(agent.map(numbers(1), journal=journal))  # which leaves it to be searched for
    server.faults.clear()
    set_timing(outage=0.5)
    server.faults.add(Fault(path=path, status=429, retry_after=1, times=3))
    (item,) = agent.map(numbers(1), journal=journal)
    assert item.result()["n"] == 0 and len(server.faults) == 0


def test_a_create_whose_response_is_lost_is_found(server: LocalServer, agent: AgentHandle) -> None:
    server.faults.add(Fault(method="POST", path="/runs", cut="reset", after_wire_bytes=0, times=5))
    assert len([item.result() for item in agent.map(numbers(10))]) == 10
    assert len(creates(server)) == 10 and runs_by_input(server).total() == 10


def test_a_create_that_was_lost_itself_is_sent_again(
    server: LocalServer, agent: AgentHandle, set_timing: SetTiming
) -> None:
    set_timing(search=0.3)
    server.faults.add(Fault(method="POST", path="/runs", cut="close", times=1))
    (item,) = agent.map(numbers(1))
    assert item.result()["n"] == 0
    first, second = creates(server)
    assert first["metadata"] == second["metadata"]


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


def test_failures_of_waiting_are_survived(server: LocalServer, agent: AgentHandle) -> None:
    for fault in (
        Fault(path="/runs/*/output", status=500, times=3),
        Fault(path="/runs/*/output", status=404, times=3),  # of a replica: the runs are new
        Fault(path="/runs/*/output", status=503, retry_after=1, times=2),
        Fault(path="/runs/*/output", cut="reset", times=3),
    ):
        server.faults.add(fault)
    assert len([item.result() for item in agent.map(numbers(10))]) == 10
    assert len(creates(server)) == 10


# More runs than threads

CROWD = 150


@pytest.fixture(
    params=[
        Quirks(),
        Quirks(search_metadata="ignored", search_order="newest"),
        Quirks(search_metadata="fails"),
    ],
    ids=["searches", "ignores metadata", "cannot search"],
)
def quirky(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    with LocalServer([], quirks=request.param) as server:
        server.register(obedient, name="obedient")
        yield server


def test_many_runs_on_few_threads_and_connections(quirky: LocalServer) -> None:
    inputs = [{"n": n, "seconds": 0.5 + n % 5 / 5} for n in range(CROWD)]
    most = 0
    before = threading.active_count()
    with ApiClient(Configuration(host=quirky.url)) as client:
        agent = AgentHandle(quirky.agents[0].agent_id, client)
        for item in agent.map(inputs, concurrency=CROWD):
            assert item.result()["n"] == item.index
            most = max(most, len(threads_of_batches()))
            assert quirky.connections_open <= 64
    assert 2 <= most <= 32 and threading.active_count() >= before
    assert runs_by_input(quirky).total() == len(creates(quirky)) == CROWD


def test_many_runs_fail_ask_and_run_out_of_time(quirky: LocalServer) -> None:
    # The runs of 60 s keep all that hold long polls busy for a while.
    kinds = ({}, {"fail": True}, {"ask": 2}, {"seconds": 60})
    inputs = [{"n": n, **kinds[n % 10 if n % 10 < 4 else 0]} for n in range(120)]
    with ApiClient(Configuration(host=quirky.url)) as client:
        agent = AgentHandle(quirky.agents[0].agent_id, client)
        batch = agent.map(inputs, concurrency=CROWD, on_interrupt=answer, timeout=8, ordered=True)
        items = list(batch)
    kinds_of_outcomes = [type(item.outcome).__name__ for item in items[:10]]
    assert kinds_of_outcomes == ["dict", "RunFailed", "dict", "RunWaitTimeout", *["dict"] * 6]
    assert [type(item.outcome).__name__ for item in items] == 12 * kinds_of_outcomes


def test_a_status_that_stays_pending_keeps_no_run_from_ending(
    server: LocalServer, agent: AgentHandle
) -> None:
    server.faults.add(Fault(path="/runs/search", status=200, body=[], times=None))
    items = list(agent.map(numbers(60, seconds=0.5), concurrency=60))
    assert len([item.result() for item in items]) == 60


def test_a_server_that_gives_two_creates_one_run(server: LocalServer, agent: AgentHandle) -> None:
    run = agent.runs.create_run({"agent_id": agent.agent_id, "input": {"n": 0, "seconds": 2}})
    body = run.to_dict()
    server.faults.add(Fault(method="POST", path="/runs", status=200, body=body, times=None))
    batch = agent.map(numbers(60), concurrency=60)
    at_last = threading.Timer(30, batch.close)
    at_last.start()
    assert [item.result()["n"] for item in batch] == [0] * 60
    at_last.cancel()


# Ctrl-C


@pytest.mark.parametrize("concurrency", [8, 60])
def test_ctrl_c_ends_a_batch_at_once(
    server: LocalServer, agent: AgentHandle, tmp_path: Path, concurrency: int
) -> None:
    path = tmp_path / "journal.jsonl"
    inputs = [*numbers(5), *({"n": n, "seconds": 3} for n in range(5, 60))]
    pressed: list[float] = []

    def press() -> None:
        wait_for(lambda: len(creates(server)) >= 5 + concurrency // 2)
        pressed.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        list(agent.map(inputs, concurrency=concurrency, journal=path))
    took = time.monotonic() - pressed[0]
    presser.join()
    assert took < 3
    assert threads_of_batches() == []
    told = re.search(r"(\d+) runs are still under way.*goes on with the journal", str(caught.value))
    assert told is not None
    pending = [run for run in server.runs if run["status"] == "pending"]
    # A run that has just ended, and whose output was not fetched yet, is among those told of.
    assert 1 <= len(pending) <= int(told[1]) <= concurrency
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

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt, match="under way"):
        list(agent.map(numbers(20)))
    assert time.monotonic() - pressed[0] < 3
    presser.join()
    assert threads_of_batches() == []
