"""Batches against servers that fail, limit, lose responses, forget runs or cannot search."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.batches import (
    beside,
    creates,
    numbers,
    runs_by_input,
    threads_of_batches,
    wait_for,
)
from support.moments import Interrupt, Moment, files_of
from support.serving import output_json, run_json
from support.socket_server import Request, response, serve_each
from support.timing import using
from support.transport import serving

import acp_client_v0_1 as acp
from acp_client_v0_1.batch._lines import encode_line
from acp_client_v0_1.testing import Fault

pytestmark = pytest.mark.load

PACKAGE = str(Path(acp.__file__).parent)


# What is wrong with all runs


@pytest.mark.parametrize(
    "where, status, asked",
    [
        ("/runs", 401, None),
        ("/runs", 407, None),
        (None, 502, None),  # an outage
        ("/runs/*/output", 429, 3600),
        ("/runs/*/output", 204, 400),
        ("/agents/*/descriptor", 422, None),
        ("/agents/*/descriptor", 503, None),
    ],
)
# A create of a worker of the first call may arrive late.
@using(outage=0.3, backoff=(0.05, 0.1), young=2.0)
def test_a_fault_of_all_runs_is_raised_and_the_same_call_continues(
    server, agent, path, executor, where, status, asked
):
    inputs = [*numbers(5), {"n": 5, "fail": True}]
    described = str(where).endswith("/descriptor")  # which is read once
    if not described:
        server.faults.add(Fault(path=where, times=2))
    server.faults.add(Fault(path=where, status=status, retry_after=asked, times=None))
    options: Any = {"journal": path, "executor": executor, "check": described}
    batch = agent.map(inputs, concurrency=2, **options)
    items: list[acp.BatchItem] = []
    with pytest.raises(acp.ApiException) as caught:
        items.extend(batch)
    assert caught.value.status == status and ("/descriptor" in str(caught.value)) is described
    assert len(items) <= (0 if described else 2) and all(item.ok for item in items)
    assert next(batch, None) is None and threads_of_batches() == []
    assert b'"failed"' not in path.read_bytes()
    server.faults.clear()
    items = list(agent.map(inputs, ordered=True, **options))
    assert [item.result()["n"] for item in items[:5]] == list(range(5))
    assert isinstance(items[5].outcome, acp.RunFailed)
    assert runs_by_input(server).total() == 6


@using(outage=0.7, backoff=(0.05, 0.1), early=(0.05, 0.1))
def test_one_run_whose_output_always_fails_costs_one_item(server, agent, executor, path):
    # No poll is held, so the next one finds the fault.
    server.faults.add(Fault(path="/runs/*/output", block="never", times=None))
    bad = list[str]()

    def inputs() -> Iterator[dict[str, Any]]:
        yield {"n": -1, "seconds": 1}
        if not bad:
            wait_for(lambda: len(server.runs) == 1)
            bad.append(server.runs[0]["run_id"])
            server.faults.clear()
            server.faults.add(Fault(path=f"/runs/{bad[0]}/output", status=500, times=None))
        yield from numbers(34, seconds=0.05)

    options: Any = {"journal": path, "executor": executor}
    items = list(agent.map(inputs(), concurrency=4, **options))
    (failed,) = [item for item in items if not item.ok]
    assert (failed.run_id, type(failed.error), len(items)) == (bad[0], acp.ServiceException, 35)
    if executor is None:  # a pickled error is shown by its words alone
        assert failed.error.attempts > 3 and 0.3 < failed.error.elapsed < 30
    server.clear_requests()
    again = list(agent.map(inputs(), **options))
    assert [item.run_id for item in again if not item.ok] == bad
    # An executor counts the duplicates.
    assert {request.path for request in server.requests} <= {"/runs/search"}
    # The old output is asked for once, and then the input is run again.
    items = list(agent.map(inputs(), retry_failed=True, **options))
    assert all(item.ok for item in items) and runs_by_input(server)[-1] == 2
    outputs = [r.path for r in server.requests if r.path.endswith("/output")]
    assert outputs.count(f"/runs/{bad[0]}/output") == 1


def test_a_wrong_address_is_raised(path):
    """An outage would take 300 s."""
    for journal, check in itertools.product((None, path), (False, True)):
        client = acp.ApiClient(acp.Configuration(host="http://127.0.0.1:9", retries=0))
        with client, pytest.raises(acp.ConnectionException):
            list(acp.AgentHandle("a", client).map(numbers(20), journal=journal, check=check))


@pytest.mark.parametrize("fails", [False, True], ids=["plainly", "behind a 500"])
@using(backoff=(0.05, 0.1), search_backoff=(0.05, 0.1))
def test_an_agent_that_is_not_there_is_raised(server, agent, path, fails):
    if fails:
        server.faults.add(Fault(method="POST", path="/runs", status=500, times=None))
    nobody = acp.AgentHandle("3fa85f64-5717-4562-b3fc-2c963f66afa6", agent.runs.api_client)
    with pytest.raises(acp.NotFoundException, match="3fa85f64"):
        list(nobody.map(numbers(20), concurrency=4, journal=path))
    assert len(creates(server)) <= 4
    assert b'"failed"' not in path.read_bytes()
    # Also where an earlier call may have started the run, and the search for it fails.
    server.faults.add(Fault(path="/runs/search", status=500, times=None))
    server.clear_requests()
    with pytest.raises(acp.NotFoundException, match="3fa85f64"):
        list(nobody.map(numbers(1), journal=path))
    assert creates(server) == []


def test_a_redirect_of_creates_and_searches_to_a_login_ends_a_batch(path):
    def respond(request: Request) -> bytes:
        if request.path == "/login":
            return response(b"<html><title>Log in</title>", content_type="text/html")
        return response(b"", 302, location="/login")

    with serving(handler=serve_each(respond)) as (_, client):
        agent, items = acp.AgentHandle("a", client), list[acp.BatchItem]()
        with pytest.raises(
            acp.ApiException, match=r"POST /runs returned 302.* to /login"
        ) as caught:
            items.extend(agent.map(numbers(100), journal=path))
        assert items == [] and b'"failed"' not in path.read_bytes()
        assert path.read_bytes().count(b"\n") < 20
        # The run may have been made, so the error has the token of its create.
        assert (caught.value.token or "").startswith("acprun1.")
        # A read follows the redirect, and ends at the page.
        path.write_bytes(b"")
        header, starting = _journal_of_one_start(agent, path)
        path.write_bytes(header + starting + encode_line({"started": 0, "run": "r" * 16}))
        with pytest.raises(acp.ResponseValidationError, match="GET /login returned 200: HTML"):
            items.extend(agent.map(numbers(1), journal=path))
        assert items == []


def _journal_of_one_start(agent: acp.AgentHandle, path: Path) -> list[bytes]:
    with pytest.raises(acp.ApiException):
        list(agent.map(numbers(1), journal=path))
    return path.read_bytes().splitlines(keepends=True)[:2]


@pytest.mark.parametrize("path_of", ["/runs/*/output", "/runs/*"])
def test_json_of_another_shape_is_asked_for_three_times_and_ends_its_item(
    server, agent, path, path_of
):
    """As a server of ACP 0.2 sends it. A page, or nothing, in its place may pass."""
    newer = {"run_id": "r", "status": "success", "values": {"n": 0}}
    if path_of == "/runs/*":
        # While the output is refused, the run is read instead.
        server.faults.add(Fault(path="/runs/*/output", status=501, times=None))
    server.faults.add(Fault(method="GET", path=path_of, status=200, body=newer, times=None))
    (item,) = agent.map(numbers(1), journal=path)
    error = item.error
    assert isinstance(error, acp.ResponseValidationError) and error.data == newer
    assert error.run_id == item.run_id and (error.token or "").startswith("acprun1.")
    assert sum(getattr(each.fault, "body", None) == newer for each in server.requests) == 3
    assert b'{"failed":0' in path.read_bytes()
    server.faults.clear()
    (item,) = agent.map(numbers(1), journal=path)
    assert isinstance(item.error, acp.ResponseValidationError)
    (item,) = agent.map(numbers(1), journal=path, retry_failed=True)
    assert item.result()["n"] == 0 and len(server.runs) == 1
    for body in (b"<html>", b""):
        server.faults.add(Fault(path="/runs/*/output", status=200, body=body, times=4))
        assert agent.run({"n": 1}, timeout=30)["n"] == 1


@pytest.mark.parametrize(
    ("lost", "unclear", "posts"), [(2, "raise", 3), (3, "raise", 3), (3, "start", 4)]
)
@using(search=0.3)
def test_a_create_that_was_lost_is_sent_again_up_to_twice(server, agent, lost, unclear, posts):
    server.faults.add(Fault(method="POST", path="/runs", cut="close", times=lost))
    (item,) = agent.map(numbers(1), unclear=unclear)
    assert isinstance(item.outcome, dict if posts > lost else acp.RunStartAmbiguous)
    first, *others = creates(server)
    assert len(others) == posts - 1
    assert all(other["metadata"] == first["metadata"] for other in others)


# More runs than threads

CROWD = 100


def test_many_runs_on_few_threads_and_connections(server, agent):
    inputs = [{"n": n, "seconds": 0.3 + n % 5 / 10} for n in range(CROWD)]
    most = 0
    for item in agent.map(inputs, concurrency=CROWD):
        assert item.result()["n"] == item.index
        most = max(most, len(threads_of_batches()))
        assert server.connections_open <= 64
    assert 2 <= most <= 32
    assert runs_by_input(server).total() == len(creates(server)) == CROWD


ZEROS = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("run_id", "open_items", "processes"),
    [(ZEROS, 1, False), ("one", 1, False), (ZEROS, 3, False), ("one", 3, False), (ZEROS, 1, True)],
)
@using(young=20)  # in which each output is a 404 at first
def test_a_server_that_gives_all_runs_one_id_serves_one_at_a_time(run_id, open_items, processes):
    """Nobody knows whose output it is if two are open, also once one of them has ended."""
    run = run_json("", run_id=run_id, agent_id=ZEROS, creation={"agent_id": ZEROS})
    made, made_at = list[int](), [0.0]

    def respond(request: Request) -> bytes:
        if request.path == "/runs":
            made.append(json.loads(request.body)["input"]["n"])
            made_at[0] = time.monotonic()
            return run
        if not request.path.partition("?")[0].endswith("/output"):
            return response(b'"no"', 501)
        # On a busy machine, a thread takes a while to see that its run has the id of another.
        noticed = open_items == 1 or time.monotonic() - made_at[0] > 1
        if run_id != ZEROS and (len(made) < open_items or not noticed):
            time.sleep(0.05)
            return response(b'"not yet"', 404)
        return output_json(run_id=run_id, status="", result={"n": made[-1]})

    with serving(handler=serve_each(respond)) as (_, client):
        batch = acp.AgentHandle("a", client).map(
            numbers(5),
            concurrency=open_items + processes,
            ordered=True,
            # One thread stands for several processes, which cannot compare their ids.
            executor=ThreadPoolExecutor(1) if processes else None,
            connect=(lambda: acp.ApiClient(client.configuration)) if processes else None,
        )
        with beside(batch.close, after=30):
            items = list(batch)
    if open_items == 1 and not processes and run_id == ZEROS:
        assert [item.result() for item in items] == numbers(5)
        return
    if run_id != ZEROS:
        # The response to a create may be of an earlier one, as the mark of the run is hidden.
        words = "gives several runs the id one, pass concurrency=1|the response is of run one"
        # The create that ends first may be believed.
        assert sum(item.ok for item in items) <= 1
        items = [item for item in items if not item.ok]
    else:
        words = f"the server gives several runs the id {run_id}, pass concurrency=1"
    assert all(re.search(words, str(item.error)) for item in items)
    assert {(type(item.error), item.run_id) for item in items} == {(acp.RunStartAmbiguous, "")}


def test_a_server_that_numbers_its_runs_from_zero_serves_the_first():
    made, numbered = dict[str, Any](), itertools.count()

    def respond(request: Request) -> bytes:
        if request.path == "/runs":
            creation = json.loads(request.body)
            made[run_id := str(next(numbered))] = creation["input"]
            return run_json(run_id=run_id, creation=creation)
        run_id = request.path.split("/")[2]
        return output_json(run_id=run_id, result=made[run_id])

    with serving(handler=serve_each(respond)) as (_, client):
        items = list(acp.AgentHandle("a", client).map(numbers(3), ordered=True))
    assert [item.result() for item in items] == numbers(3)


# Ctrl-C


@pytest.mark.parametrize("concurrency", [8, 60])
@using(grace=60, threads=60)  # a busy machine takes long to read a response
def test_ctrl_c_ends_a_batch_at_once(server, agent, path, concurrency):
    goes_on, pressed = threading.Event(), list[float]()

    def held(input: Any, config: Any, context: Any) -> Any:
        return {"n": input["n"], "held": input["n"] >= 5 and goes_on.wait(60)}

    agent = acp.AgentHandle(server.register(held), agent.runs.api_client)

    def press() -> None:
        wait_for(lambda: len(creates(server)) >= 5 + concurrency // 2)
        pressed.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    words = r"(\d+) runs are still in flight.*continues with the journal"
    with beside(press), pytest.raises(KeyboardInterrupt, match=words) as caught:
        list(agent.map(numbers(60), concurrency=concurrency, journal=path))
    assert time.monotonic() - pressed[0] < 40  # and not until the runs have ended
    assert threads_of_batches() == []
    pending = [run for run in server.runs if run["status"] == "pending"]
    # A run that has just ended, and whose output was not fetched yet, is among those told of.
    told = int(re.findall(words, str(caught.value))[0])
    assert 1 <= len(pending) <= told <= concurrency
    goes_on.set()
    items = list(agent.map(numbers(60), concurrency=60, journal=path))
    assert sorted(item.result()["n"] for item in items) == list(range(60))
    assert runs_by_input(server).total() == 60


def test_a_second_ctrl_c_ends_the_deletion_of_runs_and_counts_those_left(server, agent, path):
    """One run is deleted. The look at the other one, before its DELETE, has no response."""
    look = Fault(method="GET", cut="stall", times=1)

    def inputs() -> Iterator[dict[str, Any]]:
        yield from numbers(2, seconds=60)
        wait_for(lambda: sum("/output" in request.path for request in server.requests) == 2)
        server.faults.add(look)
        raise KeyboardInterrupt

    def press() -> None:
        wait_for(lambda: any(request.fault is look for request in server.requests))
        wait_for(lambda: len(server.runs) == len(threads_of_batches()) == 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with beside(press), pytest.raises(KeyboardInterrupt, match="; 1 run is still in flight: the"):
        next(agent.map(inputs(), journal=path, on_stop="cancel"))
    server.restart()  # the look fails
    wait_for(lambda: threads_of_batches() == [])
    assert [run["status"] for run in server.runs] == ["pending"]
    assert path.read_bytes().count(b'"starting"') == 3  # the next call makes one run again


@using(threads=60)
def test_an_interrupt_anywhere_in_the_end_of_a_batch_leaves_no_thread_and_no_lock(agent, path):
    files = files_of("batch/_batch", "batch/_workers", "_http/slots")

    def interrupt() -> None:
        for number in range(1, 400, 7):
            journal = path.with_name(str(number))
            batch = agent.map(numbers(1), journal=journal)
            assert next(batch).ok
            with contextlib.suppress(Interrupt), Moment(number, files):
                batch.close()
            batch.close()
            assert threads_of_batches() == [] and next(batch, None) is None
            assert len(list(agent.map(numbers(1), journal=journal))) == 1

    # In a thread of its own, as in the tests of interrupts of calls.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(interrupt).result()


@using(young=0)
def test_one_run_without_an_output_ends_no_batch(server, agent):
    """The server serves the outputs of other runs."""
    gone = Fault(path="/runs/*/output", status=404, body="it has no output", delay=0.2, times=2)
    server.faults.add(gone)
    (error,) = [item.error for item in agent.map(numbers(4), concurrency=1) if not item.ok]
    assert isinstance(error, acp.NotFoundException)


# Errors that are raised again


@using(outage=0.3, backoff=(0.05, 0.1))
def test_an_error_that_was_judged_before_is_judged_anew_by_another_call(agent, monkeypatch):
    """A mock raises one error again and again, and a function for a token may keep one."""
    kept, real = acp.ServiceException(status=503, reason="kept"), acp.RunsApi.get_run_output
    failures = itertools.chain([kept] * 1000)

    def fail(*given: Any, **options: Any) -> Any:
        for failure in failures:
            raise failure
        return real(*given, **options)

    monkeypatch.setattr(acp.RunsApi, "get_run_output", fail)
    with pytest.raises(acp.ServiceException) as caught:
        agent.start({"n": 0}).result()
    assert caught.value is kept and kept.attempts > 1
    failures = itertools.chain([kept] * 2)
    assert [item.result()["n"] for item in agent.map(numbers(3), concurrency=1)] == [0, 1, 2]
    failures = itertools.chain([kept] * 2)
    assert agent.run({"n": 4})["n"] == 4


@pytest.mark.parametrize("used", [False, True], ids=["a new error", "one of another call"])
@using(outage=0.3, backoff=(0.05, 0.1))
def test_an_error_of_a_function_for_credentials_ends_a_batch_whoever_raised_it_first(server, used):
    failure, calls = acp.ServiceException(status=503, reason="the vault is away"), itertools.count()
    if used:
        server.faults.add(Fault(path="/runs/*/output", status=503, times=None))
        other = acp.ApiClient(acp.Configuration(host=server.url))
        with other, pytest.raises(acp.ServiceException) as caught:
            acp.RunHandle(str(uuid4()), other).result()
        failure = caught.value
        server.faults.clear()

    def refresh(configuration: acp.Configuration) -> None:
        if next(calls) >= 3:
            raise failure

    settings = acp.Configuration(host=server.url, api_key={"ApiKeyAuth": "x"})
    settings.refresh_api_key_hook = refresh
    with acp.ApiClient(settings) as client:
        agent, items = acp.AgentHandle(server.agents[0].agent_id, client), list[object]()
        with pytest.raises(type(failure)) as raised, agent.map(numbers(4), concurrency=1) as batch:
            items.extend(batch)
    assert raised.value is failure and len(items) == 1 and next(calls) == 4


@using(outage=0.3, window=1)
def test_polls_that_all_time_out_end_the_batch(server, executor):
    """A timeout is an `OSError`, too, like an error that only one machine of an executor has."""
    server.faults.add(Fault(path="/runs/*/output", delay=30, times=None))
    connect = partial(
        acp.ApiClient, acp.Configuration(host=server.url, timeout=0.3, block_margin=0.1)
    )
    with connect() as client, pytest.raises(acp.ApiTimeoutError):
        agent = acp.AgentHandle(server.agents[0].agent_id, client)
        more = {} if executor is None else {"executor": executor, "connect": connect}
        list(agent.map(numbers(2), concurrency=1, **more))


# What an error shows


def frames(error: BaseException) -> int:
    """Count the frames of the package in a traceback."""
    return sum(PACKAGE in each.filename for each in traceback.extract_tb(error.__traceback__))


def test_the_traceback_of_an_error_is_short(server, agent):
    with pytest.raises(acp.RunWaitTimeout) as late:
        agent.run({"n": 0, "seconds": 30}, timeout=0.3)
    assert frames(late.value) <= 6
    with pytest.raises(acp.NotFoundException) as missing:
        list(acp.AgentHandle(str(uuid4()), agent.runs.api_client).map(numbers(2)))
    assert frames(missing.value) <= 12
