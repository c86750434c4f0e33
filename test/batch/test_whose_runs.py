"""Whose the runs of a batch are, whatever a server shows of their metadata and their inputs."""

from __future__ import annotations

import json
import os
import signal
from datetime import datetime, timezone
from typing import Any

import pytest
from support.batches import creates, in_a_child, numbers, runs_by_input, wait_for
from support.serving import a_run, output_json, run_json, runs_json
from support.socket_server import CLOSE, Request, response, serve_each
from support.timing import using
from support.transport import serving

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import Fault, LocalServer, Quirks

# The create is carried out, and its response is dropped.
LOST = Fault(method="POST", path="/runs", cut="close", after_wire_bytes=0)
# The create is not carried out.
NEVER = Fault(method="POST", path="/runs", cut="close")

HIDES = Quirks(echo_metadata="none")
HIDES_AND_IGNORES = Quirks(echo_metadata="none", search_metadata="ignored")
SHOWS_AND_IGNORES = Quirks(search_metadata="ignored")
MASKS = Quirks(echo_metadata="masked tokens")
CAPITALS = Quirks(echo_metadata="capitals")


def a_stranger(agent: acp.AgentHandle) -> str:
    """Make the run of somebody who uses no client token."""
    metadata = {"of": "somebody"}
    create = {"agent_id": agent.agent_id, "input": {"n": 77, "seconds": 30}, "metadata": metadata}
    return agent.runs.create_run(create).run_id


def searches(server: LocalServer) -> int:
    return sum(request.path == "/runs/search" for request in server.requests)


def results(batch: acp.Batch) -> list[Any]:
    items = sorted(batch, key=lambda item: item.index)
    return [item.result()["n"] if item.ok else type(item.error) for item in items]


@pytest.mark.parametrize("server", [Quirks(), HIDES, MASKS, CAPITALS], indirect=True, ids=str)
def test_a_lost_create_costs_no_second_run_wherever_the_server_compares(agent, server):
    server.faults.add(LOST, LOST)
    batch = agent.map(numbers(6), concurrency=2)
    assert results(batch) == [*range(6)] and batch.counts.duplicates == 0
    assert runs_by_input(server) == dict.fromkeys(range(6), 1)
    # Two searches, and a control.
    assert searches(server) <= 4


@pytest.mark.parametrize("server", [HIDES, MASKS, CAPITALS], indirect=True, ids=str)
@pytest.mark.parametrize("carried_out", [True, False])
def test_a_batch_that_was_killed_after_a_create_finds_its_run(agent, server, path, carried_out):
    late = Fault(method="POST", path="/runs", cut="stall", after_wire_bytes=0)
    server.faults.add(late if carried_out else Fault(method="POST", path="/runs", cut="stall"))
    child = in_a_child(lambda: list(agent.map(numbers(1), journal=path)))
    wait_for(lambda: any(request.path == "/runs" for request in server.requests))
    wait_for(lambda: len(server.runs) == carried_out)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    server.faults.clear()
    with acp.ApiClient(acp.Configuration(host=server.url)) as fresh:
        again = acp.AgentHandle(agent.agent_id, fresh)
        assert results(again.map(numbers(1), journal=path)) == [0]
    assert len(server.runs) == 1 and len(creates(server)) == 2 - carried_out


@pytest.mark.parametrize("server", [Quirks(stored_metadata="none")], indirect=True)
@using(search=0.3)
def test_a_server_that_drops_metadata_gets_no_second_run_without_a_word(agent, server):
    server.faults.add(LOST)
    found = results(agent.map(numbers(2), concurrency=1))
    assert found == [acp.RunStartAmbiguous, 1] and len(server.runs) == 2
    server.faults.add(LOST)
    assert results(agent.map(numbers(2), concurrency=1, unclear="start")) == [0, 1]
    assert len(server.runs) == 5


@pytest.mark.parametrize("server", [HIDES], indirect=True)
def test_where_the_search_finds_another_run_of_ours_an_empty_answer_is_proof(agent, server):
    """The second create never arrives, and is posted again: the first run is found by its mark."""
    assert results(agent.map(numbers(1))) == [0]
    server.faults.add(NEVER)
    with using(search=0.3):
        assert results(agent.map(numbers(2), concurrency=1)) == [0, 1]
    assert runs_by_input(server) == {0: 2, 1: 1}


@using(search=0.3)
def test_a_run_that_appears_between_two_searches_does_not_show_that_metadata_is_compared():
    """The server ignores metadata and hides marks, and its index has the first run late."""
    known, sent = a_run("success", run_id="run-1"), list[str]()

    def respond(request: Request) -> bytes:
        sent.append(request.path)
        if request.method == "GET":
            return response(b"null")
        if request.path == "/runs/search":
            lost = json.loads(request.body).get("metadata", {}).get("acp-client-token")
            return runs_json(*([] if lost == marks[-1] else [known]))
        marks.append(json.loads(request.body)["metadata"]["acp-client-token"])
        return CLOSE if len(marks) > 1 else run_json(run_id="run-1")

    marks = list[str]()
    with serving(handler=serve_each(respond)) as (_, client):
        agent = acp.AgentHandle("a", client)
        agent.start({"n": 0})
        assert results(agent.map(numbers(1))) == [acp.RunStartAmbiguous]
    assert sent.count("/runs") == 2


@pytest.mark.parametrize("server", [SHOWS_AND_IGNORES], indirect=True)
@using(search=0.3)
def test_a_create_that_never_arrived_is_posted_again_beside_the_runs_of_others(agent, server):
    a_stranger(agent)
    server.clear_requests()
    assert results(agent.map(numbers(2), concurrency=1)) == [0, 1]
    server.faults.add(NEVER)
    assert results(agent.map(numbers(2), concurrency=1)) == [0, 1]
    assert runs_by_input(server) == {77: 1, 0: 2, 1: 2}


@pytest.mark.parametrize("server", [Quirks()], indirect=True)
@using(search=0.3, young=0.3)
def test_the_first_creates_of_a_fresh_client_may_be_refused(agent, server, path):
    a_stranger(agent)
    with acp.ApiClient(acp.Configuration(host=server.url)) as fresh, using(slow_clock=0.0):
        server.faults.add(Fault(method="POST", path="/runs", status=503, times=3))
        again = acp.AgentHandle(agent.agent_id, fresh)
        assert results(again.map(numbers(3), concurrency=3)) == [0, 1, 2]
    # A journal has a "starting" line alone.
    server.faults.add(Fault(method="POST", path="/runs", status=503, times=None))
    with acp.ApiClient(acp.Configuration(host=server.url)) as fresh:
        batch = acp.AgentHandle(agent.agent_id, fresh).map(numbers(1), journal=path)
        assert results(batch) == [acp.RunStartAmbiguous]
    server.faults.clear()
    with acp.ApiClient(acp.Configuration(host=server.url)) as fresh, using(slow_clock=0.0):
        batch = acp.AgentHandle(agent.agent_id, fresh).map(numbers(1), journal=path)
        assert results(batch) == [0]
    assert runs_by_input(server) == {77: 1, 0: 2, 1: 1, 2: 1}


@pytest.mark.parametrize("server", [HIDES_AND_IGNORES, SHOWS_AND_IGNORES], indirect=True, ids=str)
def test_an_executor_starts_its_runs_where_nobody_knows_whose_a_run_is(agent, server, threads):
    a_stranger(agent)
    batch = agent.map(numbers(6), concurrency=3, executor=threads)
    assert results(batch) == [*range(6)]
    assert runs_by_input(server) == {77: 1, **dict.fromkeys(range(6), 1)}


@using(search=0.5)
@pytest.mark.parametrize("mistake", ["swapped", "cached"])
def test_no_item_gets_the_result_of_another_input(mistake):
    """The server hides marks and compares metadata. Its cache mixes up responses of creates."""
    now = datetime.now(timezone.utc).isoformat()
    made = list[dict[str, Any]]()

    def shown(number: int) -> dict[str, Any]:
        creation = {"agent_id": "a", "input": made[number]["input"]}
        return a_run("success", run_id=f"r{number}", created_at=now, creation=creation)

    def respond(request: Request) -> Any:
        body = json.loads(request.body or b"{}")
        if request.path == "/runs":
            made.append(body)
            if len(made) == 1:
                return [CLOSE] if mistake == "swapped" else run_json(**shown(0))
            return run_json(**shown(0))
        if request.path == "/runs/search":
            wanted = (body.get("metadata") or {}).items()
            found = [n for n, one in enumerate(made) if wanted <= one["metadata"].items()]
            return runs_json(*map(shown, found))
        if request.path.partition("?")[0].endswith("/output"):
            number = int(request.path.split("/")[2][1:])
            return output_json(run_id=f"r{number}", result={"n": made[number]["input"]["n"]})
        return response(b'"no"', 501)

    with serving(handler=serve_each(respond)) as (_, client):
        batch = acp.AgentHandle("a", client).map(numbers(2), concurrency=1, ordered=True)
        items = list(batch)
    assert [item.result()["n"] for item in items] == [0, 1]


@pytest.mark.parametrize(
    "server", [Quirks(echo_metadata="none", echo_input="converted")], indirect=True
)
def test_a_server_that_rewrites_inputs_makes_one_run_each_and_is_searched_once(agent, server):
    assert results(agent.map(numbers(1))) == [0]
    assert searches(server) == 2
    assert results(agent.map(numbers(20))) == [*range(20)]
    assert len(server.runs) == 21 and searches(server) == 2


@pytest.mark.parametrize(
    "server",
    [
        Quirks(run_ids="counted", on_restart="forgets"),
        Quirks(run_ids="counted", on_restart="forgets", echo_metadata="none"),
    ],
    indirect=True,
    ids=["shows", "hides"],
)
def test_a_journal_does_not_lead_to_a_later_run_with_the_same_id(agent, server, path, executor):
    list(agent.map(numbers(1, seconds=30), journal=path, timeout=0.1))
    server.restart(forget=True)
    theirs = agent.start({"n": 77, "seconds": 30}, client_token="theirs")
    assert theirs.run_id == "run-1"
    with acp.ApiClient(acp.Configuration(host=server.url)) as fresh:
        options: Any = {"journal": path, "on_stop": "cancel", "executor": executor}
        with acp.AgentHandle(agent.agent_id, fresh).map(numbers(1, seconds=30), **options) as batch:
            (item,) = batch
    hides = "metadata" not in server.runs[0]["creation"]
    assert isinstance(item.error, acp.ResponseValidationError if hides else acp.RunGone)
    assert {run["run_id"]: run["status"] for run in server.runs} == {"run-1": "pending"}


@pytest.mark.parametrize("server", [MASKS], indirect=True)
def test_masked_client_tokens_are_no_duplicates(agent, threads):
    batch = agent.map(numbers(5), executor=threads)
    assert results(batch) == [*range(5)] and batch.counts.duplicates == 0


def test_a_batch_at_an_ordinary_server_has_two_requests_for_a_run(agent, server):
    assert results(agent.map(numbers(20))) == [*range(20)]
    assert len(server.requests) == 40
    server.clear_requests()
    server.faults.add(LOST)
    assert results(agent.map(numbers(3))) == [0, 1, 2]
    assert len(server.requests) == 7 and searches(server) == 1


@pytest.mark.slow
def test_a_limit_by_503_does_not_change_the_kind_of_search(agent, server):
    """Each page of all runs would take a turn, in which new runs appear."""
    for _ in range(30):
        agent.start({"n": 99})
    server.clear_requests()
    # As a rate limit does: it refuses a create, and then the searches for its run.
    server.faults.add(Fault(status=503, path="/runs"))
    server.faults.add(Fault(status=503, path="/runs/search", times=4))
    assert results(agent.map(numbers(3), concurrency=2)) == [*range(3)]
    bodies = [json.loads(each.body) for each in server.requests if each.path == "/runs/search"]
    assert len(bodies) > 4 and all("metadata" in body for body in bodies)
    assert runs_by_input(server) == {99: 30, **dict.fromkeys(range(3), 1)}


def test_another_extra_field_makes_it_another_batch(agent, path):
    options: acp.RunOptions = {"config": {"a": 1}, "extra": {"priority": 5}}
    assert results(agent.map(numbers(2), journal=path, **options)) == [0, 1]
    assert results(agent.map(numbers(2), journal=path, **options)) == [0, 1]
    options["extra"] = {"priority": 6}
    with pytest.raises(acp.JournalMismatch, match=r"which differs in extra\.priority;"):
        next(agent.map(numbers(2), journal=path, **options))
