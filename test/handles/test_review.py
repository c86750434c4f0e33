"""Whose a run is, and what an error says of it: cases that a review of the marks found."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from support.serving import a_run, output_json, run_json, runs_json
from support.socket_server import CLOSE, Request, response
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import Fault, Quirks

ECHO = "11111111-1111-4111-8111-111111111111"
LOST = Fault(method="POST", path="/runs", cut="close", after_wire_bytes=0)
HEX = "0123456789abcdef" * 2


def agent_of(client: acp.ApiClient, agent_id: str = ECHO) -> acp.AgentHandle:
    return acp.AgentHandle(agent_id, client)


@using(search=0.3)
def test_a_client_token_of_32_digits_is_not_the_mark_of_another_create(serve):
    """An allow-list keeps the caller's client token, and drops the mark of the create."""
    _, client = serve(Quirks(stored_metadata="client token"))
    run = agent_of(client).start({"n": 1}, client_token=HEX)
    assert run.result(timeout=30) == {"n": 1}
    again = acp.RunHandle.from_token(run.token(), client)
    assert again.refresh().status == "success"


@pytest.mark.filterwarnings("ignore:client_token", "ignore:run .* was found by its client")
def test_a_control_of_a_random_mark_proves_nothing_about_a_callers_client_token(serve):
    """A full-text search finds no run by random digits, and finds invoice-7 by invoice-8."""
    server, client = serve(Quirks(echo_metadata="none", search_metadata="words"))
    agent_of(client).run({"n": 1}, client_token="invoice-7", timeout=30)
    _, fresh = serve(server)
    server.faults.add(LOST)
    assert agent_of(fresh).run({"n": 5}, timeout=30) == {"n": 5}
    with pytest.raises(acp.ApiException, match="the client token invoice-8 may be there or not"):
        agent_of(fresh).run({"n": 1}, client_token="invoice-8", reuse=True, timeout=30)
    # Nor does the control of that client token keep a lost create from being found.
    server.faults.add(LOST)
    assert agent_of(fresh).run({"n": 6}, timeout=30) == {"n": 6}


@using(search=2.0)
@pytest.mark.parametrize("search", ["ignored", "fails"])
def test_a_create_that_is_carried_out_late_is_found_beside_the_runs_of_others(serve, search):
    """The server shows marks, and searches for none. Another client made a run without a mark."""
    server, client = serve(Quirks(search_metadata=search))
    acp.RunsApi(client).create_run({"agent_id": ECHO})
    server.faults.add(Fault(method="POST", path="/runs", cut="close", late=0.5))
    assert agent_of(client).run({"n": 1}, timeout=30) == {"n": 1}


@using(search=0.3)
def test_a_create_with_one_mark_is_not_taken_for_a_run_on_another_thread(serve):
    server, client = serve(Quirks())
    agent, keys = agent_of(client), {f"key{n}": n for n in range(15)}
    threads = [acp.ThreadsApi(client).create_thread({"agent_id": ECHO}).thread_id for _ in "ab"]
    agent.start({"n": 1}, client_token="t", thread_id=threads[0])
    server.faults.add(
        Fault(method="POST", path="/runs", status=422, body="at most 16 keys"),
        Fault(method="POST", path="/runs", cut="close"),
    )
    with pytest.warns(UserWarning, match="pass reuse=True"), pytest.raises(acp.RunStartAmbiguous):
        agent.start({"n": 1}, client_token="t", thread_id=threads[1], metadata=keys)


def named_in_its_own_way(made: list[Any], lost: int) -> Any:
    """A server that compares marks and shows them, and names the agent slow as slow@1.0."""
    now = datetime.now(timezone.utc).isoformat()

    def shown(number: int) -> dict[str, Any]:
        creation = made[number]
        return a_run(
            "success", run_id=f"r{number}", agent_id="slow@1.0", created_at=now, creation=creation
        )

    def respond(request: Request) -> Any:
        body = json.loads(request.body or b"{}")
        if request.path == "/runs":
            made.append(body | {"agent_id": "slow@1.0"})
            return [CLOSE] if len(made) <= lost else run_json(**shown(len(made) - 1))
        if request.path == "/runs/search":
            wanted = (body.get("metadata") or {}).items()
            found = [n for n, one in enumerate(made) if wanted <= one["metadata"].items()]
            return runs_json(*map(shown, found))
        if request.path.partition("?")[0].endswith("/output"):
            return output_json(run_id=request.path.split("/")[2], result={"n": 1})
        return response(b'"no"', 501)

    return respond


@using(search=0.3)
@pytest.mark.parametrize("batch", [False, True])
def test_a_lost_create_of_an_agent_that_the_server_names_in_another_way_is_found(serve, batch):
    made = list[Any]()
    _, client = serve(named_in_its_own_way(made, lost=1))
    agent = agent_of(client, "slow")
    if batch:
        (item,) = agent.map([{"n": 1}])
        assert item.result() == {"n": 1}
    else:
        assert agent.run({"n": 1}, timeout=30) == {"n": 1}
    assert len(made) == 1
