"""Batches that are killed, and called again: each input has one result and one run."""

from __future__ import annotations

import datetime
import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.batches import (
    answer,
    beside,
    creates,
    in_a_child,
    numbers,
    obedient,
    runs_by_input,
    until,
    wait_for,
)
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.batch._lines import encode_line
from acp_client_v0_1.handles._token import decode_token
from acp_client_v0_1.testing import Fault, LocalServer, Quirks

pytestmark = pytest.mark.slow

INPUTS = 120


def batch(url: str, agent_id: str, path: Path, **more: Any) -> list[acp.BatchItem]:
    """The call that is killed, and the one after it."""
    with acp.ApiClient(acp.Configuration(host=url)) as client:
        agent = acp.AgentHandle(agent_id, client)
        return list(agent.map(numbers(INPUTS, **more), concurrency=16, journal=path))


@pytest.mark.timeout(300)
@using(young=1.0)  # for which a create may be on its way; here it is far less
def test_a_batch_that_is_killed_at_any_moment_loses_nothing(path):
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    for attempt in range(5):
        path.unlink(missing_ok=True)
        with LocalServer([]) as server:
            agent_id = server.register(obedient, name="obedient")
            for _ in range(chance.choice((1, 1, 3))):  # it may be killed once more
                # Each input takes two requests.
                more = chance.randrange(1, 2 * INPUTS)
                enough = min(2 * INPUTS, len(server.requests) + more)
                child = in_a_child(lambda: batch(server.url, agent_id, path))  # noqa: B023
                deadline = time.monotonic() + 20
                while len(server.requests) < enough and time.monotonic() < deadline:
                    time.sleep(chance.uniform(0, 0.002))
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            told = f"seed {seed}, attempt {attempt}, killed after {len(server.requests)} requests"
            items = batch(server.url, agent_id, path)
            assert sorted(item.index for item in items) == list(range(INPUTS)), told
            assert all(item.result()["n"] == item.index for item in items), told
            counted = runs_by_input(server)
            assert (len(counted), counted.total()) == (INPUTS, INPUTS), told


def test_what_is_done_costs_no_request_and_more_inputs_go_on(agent, server, path):
    first = list(agent.map(numbers(5), journal=path, ordered=True, config={"c": 1}))
    server.clear_requests()
    options: Any = {"ordered": True, "check": True, "retry_failed": True, "config": {"c": 1}}
    again = agent.map(numbers(5), journal=path, **options)
    assert list(again) == first
    assert (again.counts.done, again.counts.duplicates) == (5, 0) and server.requests == ()
    items = list(agent.map(numbers(8), journal=path, **options))
    assert [item.result()["n"] for item in items] == list(range(8))
    (mark,) = {body["metadata"]["acp-batch"] for body in creates(server)}
    header = json.loads(path.read_bytes().splitlines()[0])
    told = {"agent": agent.agent_id, "server": server.url, "batch": mark}
    assert {name: header[name] for name in told} == told and len(creates(server)) == 3
    before = path.read_bytes()
    with pytest.raises(acp.JournalMismatch, match="config"):
        next(agent.map(numbers(8), journal=path))
    with pytest.raises(acp.JournalMismatch, match="input 3 differs") as caught:
        list(agent.map([*numbers(3), {"n": 33}, {"n": 4}], journal=path, config={"c": 1}))
    assert caught.value.index == 3
    assert path.read_bytes() == before and len(creates(server)) == 3


def test_a_digest_of_a_journal_tells_inputs_apart_and_not_orders_of_keys(agent, path):
    values = [None, 1, 1.5, True, "1", [], {}, {"a": 1}, {"a": "1"}, {"a": [1]}, {"a": {"b": 1}}]
    orders: list[Any] = [{"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}]
    # As in the files of earlier releases.
    known = {
        "23973d1d6998215803cee676533c2ca5": {"a": [1, "b"], "c": None},
        "139f9efc281b46c38a4ff96b24aa405e": {"day": datetime.date(2026, 1, 2)},
    }
    inputs = [*known.values(), *orders, *({"v": value} for value in values)]
    list(agent.map(inputs, journal=path))
    lines = map(json.loads, path.read_bytes().splitlines())
    digests = {line["starting"]: line["input"] for line in lines if "starting" in line}
    first, second, one, other, *rest = [digests[index] for index in range(len(inputs))]
    assert [first, second] == [*known] and one == other
    assert len({first, second, one, *rest}) == len(inputs) - 1


def test_a_failure_is_kept_until_it_is_to_be_tried_again(agent, server, path):
    inputs: list[Any] = [{"n": 0}, {"n": 1, "fail": True}, {"n": {2, "two"}}]
    *_, unsent = agent.map(inputs, journal=path, ordered=True)
    assert b'":2' not in path.read_bytes()  # nothing is written about a set, whatever its order is
    done, failed, again = agent.map(inputs, journal=path, ordered=True)
    assert done.result()["n"] == 0
    assert isinstance(failed.outcome, acp.RunFailed) and failed.outcome.errcode == 7
    assert type(again.outcome) is acp.ApiValueError and str(again.outcome) == str(unsent.outcome)
    assert len(creates(server)) == 2
    _, again, _ = agent.map(inputs, journal=path, ordered=True, retry_failed=True)
    agent.runs.delete_run(again.run_id)
    _, third, _ = agent.map(inputs, journal=path, ordered=True, retry_failed=True)
    assert isinstance(third.outcome, acp.RunFailed)
    assert len({failed.run_id, again.run_id, third.run_id}) == 3
    tokens = {body["metadata"]["acp-client-token"] for body in creates(server)}
    assert len(creates(server)) == len(tokens) == 4 and {len(token) for token in tokens} == {32}


def test_what_did_not_end_is_attached_to(agent, server, path, executor):
    late: Any = ({"seconds": 1.0}, {"timeout": 0.2}, acp.RunWaitTimeout)
    for input, options, kind in (late, ({"ask": 1}, {}, acp.RunInterrupted)):
        journal = path.with_name(kind.__name__)
        server.clear_requests()
        (first,) = agent.map([input], journal=journal, **options)
        assert isinstance(first.outcome, kind)
        (item,) = agent.map([input], journal=journal, executor=executor, on_interrupt=answer)
        assert item.ok and item.run_id == first.run_id
        assert len(creates(server)) == journal.read_bytes().count(b'"started"') == 1


def test_runs_that_one_create_has_made_are_counted(agent, server, path):
    (first,) = agent.map([{"n": 0}], journal=path)
    _keep_lines(path, 2)
    (body,) = creates(server)
    agent.runs.create_run(body)  # as a proxy does that sends a request again
    batch = agent.map([{"n": 0}], journal=path)
    (item,) = batch
    assert item.run_id == first.run_id and batch.counts.duplicates == 1
    assert len(creates(server)) == 2


@pytest.mark.parametrize("refused", [False, True])
def test_a_journal_knows_that_its_server_has_answered(server, agent, path, refused):
    """A run or a refusal in it: a server that is away is not a wrong address."""
    if refused:
        server.faults.add(Fault(method="POST", path="/runs", status=422, times=1))
    list(agent.map(numbers(1), journal=path))
    server.stop()
    client = acp.ApiClient(acp.Configuration(host=server.url, retries=0))
    with client, beside(server.start, after=0.4):
        again = acp.AgentHandle(agent.agent_id, client).map(numbers(3), journal=path, ordered=True)
        first, *others = again
    assert first.ok is not refused and [item.result()["n"] for item in others] == [1, 2]


@pytest.mark.parametrize("seen", [True, False], ids=["seen by its look", "after its look"])
def test_a_run_that_ended_before_its_cancel_is_run_again_only_if_deleted(agent, server, path, seen):
    inputs = [{"n": 0}, {"n": 1, "seconds": 0.5}]
    server.faults.add(Fault(path="/runs/*/output", cut="stall", times=1))
    with agent.map(inputs, journal=path, on_stop="cancel") as batch:
        item = next(batch)
        # The batch is still in the long poll that is never answered.
        wait_for(lambda: [run["status"] for run in server.runs] == ["success"] * 2)
        (run,) = [run for run in server.runs if run["run_id"] != item.run_id]
        if not seen:  # The look before the DELETE.
            body = {**run, "status": "pending"}
            server.faults.add(Fault(path=f"/runs/{run['run_id']}", status=200, body=body, times=1))
    assert len(server.runs) == (2 if seen else 1)
    items = list(agent.map(inputs, journal=path, ordered=True))
    assert [item.result()["n"] for item in items] == [0, 1]
    assert len(creates(server)) == (2 if seen else 3)


@pytest.mark.parametrize("search", [{"status": 405}, {"cut": "stall"}], ids=str)
def test_an_unclear_start_is_bounded_where_the_server_cannot_search(agent, server, path, search):
    (first,) = agent.map([{"n": 0}], journal=path)
    _keep_lines(path, 2)
    server.faults.add(Fault(path="/runs/search", times=None, **search))
    began = time.monotonic()
    with using(search=0.2, quick=0.2):
        (item,) = agent.map([{"n": 0}], journal=path)
    assert time.monotonic() - began < 15  # an outage would take 300 s
    error = item.outcome
    assert isinstance(error, acp.RunStartAmbiguous) and len(creates(server)) == 1
    (body,) = creates(server)
    assert error.client_token == body["metadata"]["acp-client-token"]
    assert decode_token(error.token).agent == agent.agent_id
    server.faults.clear()
    handle = acp.RunHandle.from_token(error.token, agent.runs.api_client)
    assert handle.run_id == first.run_id and handle.result(timeout=20)["n"] == 0
    (item,) = agent.map([{"n": 0}], journal=path)
    assert item.result()["n"] == 0 and item.run_id == first.run_id and len(creates(server)) == 1


@using(search=0.5, backoff=(0.05, 0.1))
def test_an_unclear_start_may_be_started_again(agent, server, path):
    (first,) = agent.map([{"n": 0}], journal=path)
    _keep_lines(path, 2)
    server.faults.add(Fault(path="/runs/search", status=401, times=1))
    with pytest.raises(acp.UnauthorizedException):
        list(agent.map([{"n": 0}], journal=path, unclear="start"))
    assert len(creates(server)) == 1
    server.faults.add(Fault(path="/runs/search", status=500, times=None))
    (item,) = agent.map([{"n": 0}], journal=path, unclear="start")
    assert item.result()["n"] == 0 and item.run_id != first.run_id
    assert len(creates(server)) == 2
    list(agent.map([{"n": 0}], journal=path, unclear="start"))
    assert len(creates(server)) == 2


@using(young=2.0)
def test_a_create_that_was_on_its_way_at_the_kill_is_found(agent, server, path):
    """The server carries it out half a second after its client is gone."""
    late = Fault(method="POST", path="/runs", late=0.5, times=1)
    server.faults.add(late)
    child = in_a_child(lambda: list(agent.map(numbers(1), journal=path)))
    wait_for(lambda: any(request.fault is late for request in server.requests))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (item,) = agent.map(numbers(1), journal=path)
    assert item.result()["n"] == 0
    time.sleep(0.7)
    assert len(creates(server)) == len(server.runs) == 1


def test_a_run_of_somebody_else_in_a_journal_is_left_alone(agent, server, path, executor):
    inputs: list[Any] = numbers(1, seconds=60)
    list(agent.map(inputs, journal=path, timeout=0.1))
    # Even the run of the same input.
    stranger = agent.start({"n": 0, "seconds": 60}, client_token="somebody's").run_id
    _name_in_journal(path, stranger)
    before = path.read_bytes()
    server.clear_requests()
    options: Any = {"journal": path, "executor": executor, "on_stop": "cancel"}
    for retry in (False, True):
        with agent.map(inputs, retry_failed=retry, **options) as batch:
            (item,) = batch
        assert isinstance(item.error, acp.ResponseValidationError) and item.run_id == stranger
        assert f"run {stranger} does not carry the client token" in str(item.error)
    allowed = {("GET", f"/runs/{stranger}"), ("POST", "/runs/search")}
    assert {(each.method, each.path) for each in server.requests} <= allowed
    assert path.read_bytes() == before
    assert {run["status"] for run in server.runs} == {"pending"}


@pytest.mark.parametrize("server", [Quirks(), Quirks(echo="none")], indirect=True)
def test_a_run_that_a_journal_names_is_deleted_only_if_it_shows_its_token(agent, server, path):
    value = {"n": 0, "seconds": 60}
    list(agent.map([value], journal=path, timeout=0.1))
    (run,) = agent.runs.search_runs({})
    server.clear_requests()

    def attached() -> bool:
        return any("/output" in request.path for request in server.requests)

    with pytest.raises(KeyboardInterrupt):
        inputs = until(attached, [value], KeyboardInterrupt())
        list(agent.map(inputs, journal=path, on_stop="cancel"))
    assert server.requests[0].path == f"/runs/{run.run_id}"
    assert len(server.runs) == (0 if run.creation.metadata else 1)


@using(young=20.0)
def test_a_young_run_of_an_earlier_call_is_not_gone(agent, server, path, executor):
    """A read replica does not know it yet."""
    inputs = numbers(1, seconds=30)
    list(agent.map(inputs, journal=path, timeout=0.1))
    absent: Any = {"method": "GET", "status": 404, "body": "run not found", "times": 3}
    missing = [Fault(path=where, **absent) for where in ("/runs/*", "/runs/*/output")]
    server.faults.add(*missing)
    (item,) = agent.map(inputs, journal=path, executor=executor, timeout=1)
    assert isinstance(item.outcome, acp.RunWaitTimeout), item.outcome
    assert any(request.fault is missing[1] for request in server.requests)
    os.utime(path, (0, 0))
    server.faults.clear()
    server.faults.add(*missing)
    (item,) = agent.map(inputs, journal=path)
    assert isinstance(item.outcome, acp.RunGone)


@pytest.mark.parametrize("seconds", [0.1, 0.7], ids=["over", "under way"])
def test_a_failure_that_its_server_retried_is_not_run_again(agent, server, path, executor, seconds):
    """`error`, `pending`, `success` is the life of a run at such a server."""
    inputs = numbers(3, seconds=seconds)
    error = {"type": "error", "run_id": "", "errcode": 7, "description": "the first try"}
    server.faults.add(Fault(path="/runs/*/output", status=200, body=error, times=3))
    failed = list(agent.map(inputs, journal=path, ordered=True))
    assert {type(item.outcome) for item in failed} == {acp.RunFailed}
    options: Any = {"ordered": True, "retry_failed": True, "executor": executor}
    items = list(agent.map(inputs, journal=path, **options))
    assert [item.result()["n"] for item in items] == [0, 1, 2]
    assert [item.run_id for item in items] == [item.run_id for item in failed]
    assert len(creates(server)) == 3
    server.clear_requests()
    assert list(agent.map(inputs, journal=path, ordered=True)) == items
    assert server.requests == ()


@pytest.mark.parametrize("threads", [False, True])
def test_the_next_call_knows_what_an_executor_repeated(agent, server, path, monkeypatch, threads):
    monkeypatch.setenv("ACP_HOST", server.url)
    inputs = [{"n": 0, "fail": True}]
    (first,) = agent.map(inputs, journal=path)
    with ThreadPoolExecutor(1) as pool:
        (second,) = agent.map(inputs, journal=path, retry_failed=True, executor=pool)
        assert second.run_id != first.run_id and len(creates(server)) == 2
        # The caller's process was killed before it had the outcome: the run is found.
        _keep_lines(path, 4)
        by: Any = None if threads else pool
        (third,) = agent.map(inputs, journal=path, retry_failed=True, executor=by)
        assert third.run_id == second.run_id and len(creates(server)) == 2
        (fourth,) = agent.map(inputs, journal=path, retry_failed=True, executor=pool)
    assert fourth.run_id not in (first.run_id, second.run_id) and len(creates(server)) == 3


def test_a_refusal_is_tried_again_where_the_server_cannot_search(agent, server, path):
    server.faults.add(Fault(method="POST", path="/runs", status=422, times=1))
    server.faults.add(Fault(path="/runs/search", status=405, times=None))
    (refused,) = agent.map(numbers(1), journal=path)
    assert not refused.ok and refused.run_id == ""
    (item,) = agent.map(numbers(1), journal=path, retry_failed=True)
    assert item.result()["n"] == 0


def _name_in_journal(path: Path, run_id: str) -> None:
    """Let the last "started" line of a journal name another run."""
    *lines, last = path.read_bytes().splitlines(keepends=True)
    record = json.loads(last)
    assert record.keys() == {"started", "run", "crc"}
    path.write_bytes(b"".join([*lines, encode_line({"started": record["started"], "run": run_id})]))


def _keep_lines(path: Path, count: int) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:count]))
