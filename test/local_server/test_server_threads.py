"""Threads: their state and history, and what keeps a run off them."""

from __future__ import annotations

from typing import Any

from acp_client_v0_1.testing import APPROVAL_AGENT_ID, ECHO_AGENT_ID, SLOW_AGENT_ID


def thread_of(call: Any, agent_id: str, **fields: Any) -> str:
    thread_id: str = call.ok("POST", "/threads", {"agent_id": agent_id, **fields})["thread_id"]
    return thread_id


def test_a_thread_is_created_found_and_deleted(call: Any) -> None:
    metadata = {"topic": "greetings"}
    created = call.ok("POST", "/threads", {"agent_id": ECHO_AGENT_ID, "metadata": metadata})
    assert set(created) == {"thread_id", "agent_id", "metadata"}
    path = f"/threads/{created['thread_id']}"
    assert call.ok("GET", path) == created
    assert call.ok("GET", path + "/state") == {}
    assert call.ok("GET", path + "/history") == []
    assert call.ok("DELETE", path) == created
    assert call("GET", path).status == 404


def test_the_agent_keeps_its_state_on_the_thread_and_the_runs_are_its_history(call: Any) -> None:
    thread_id = thread_of(call, ECHO_AGENT_ID)
    runs = []
    for turn in (1, 2):
        runs.append(call.run(ECHO_AGENT_ID, thread_id=thread_id, input={"turn": turn}))
        call.output(runs[-1])
    assert call.ok("GET", f"/threads/{thread_id}/state") == {"turns": 2, "last_input": {"turn": 2}}
    history = call.ok("GET", f"/threads/{thread_id}/history")
    assert [run["run_id"] for run in history] == runs
    assert {run["thread_id"] for run in history} == {thread_id}
    # The state as each run left it.
    for turn, run_id in enumerate(runs, 1):
        state = call.ok("GET", f"/runs/{run_id}/threadstate")
        assert state == {"turns": turn, "last_input": {"turn": turn}}


def test_only_a_run_in_success_on_a_thread_has_a_thread_state(call: Any) -> None:
    thread_id = thread_of(call, APPROVAL_AGENT_ID)
    interrupted = call.run(APPROVAL_AGENT_ID, thread_id=thread_id)
    call.output(interrupted)
    refused = call("GET", f"/runs/{interrupted}/threadstate")
    assert refused.status == 409
    assert "interrupted" in refused.json
    alone = call.run(SLOW_AGENT_ID, input={"seconds": 0})
    call.output(alone)
    refused = call("GET", f"/runs/{alone}/threadstate")
    assert (refused.status, refused.json) == (409, "the run has no thread")


def test_a_run_without_thread_gets_a_new_one_if_its_agent_declares_threads(call: Any) -> None:
    first, second = (call.ok("POST", "/runs", {"agent_id": ECHO_AGENT_ID}) for _ in range(2))
    assert first["thread_id"] != second["thread_id"]
    assert "thread_id" not in first["creation"]
    for run in (first, second):
        call.output(run["run_id"])
        assert call.ok("GET", f"/threads/{run['thread_id']}/state")["turns"] == 1
        (turn,) = call.ok("GET", f"/threads/{run['thread_id']}/history")
        assert turn["run_id"] == run["run_id"]
    # An agent without a state declares none.
    assert "thread_id" not in call.ok("POST", "/runs", {"agent_id": APPROVAL_AGENT_ID})


def test_a_pending_run_keeps_others_and_deletion_off_its_thread(call: Any) -> None:
    thread_id = thread_of(call, SLOW_AGENT_ID)
    creation = {"agent_id": SLOW_AGENT_ID, "thread_id": thread_id, "input": {"seconds": 30}}
    run_id = call.ok("POST", "/runs", creation)["run_id"]
    assert call("POST", "/runs", creation).status == 409
    assert call("DELETE", f"/threads/{thread_id}").status == 409
    call.ok("DELETE", f"/runs/{run_id}")
    assert call.ok("GET", f"/threads/{thread_id}/history") == []
    call.ok("POST", "/runs", creation)


def test_an_interrupted_run_lets_others_on_and_waits_for_them(call: Any) -> None:
    thread_id = thread_of(call, APPROVAL_AGENT_ID)
    first = call.run(APPROVAL_AGENT_ID, thread_id=thread_id)
    call.output(first)
    second = call.run(APPROVAL_AGENT_ID, thread_id=thread_id)
    call.output(second)
    assert call.ok("POST", f"/runs/{first}", {"approved": True})["status"] == "pending"


def test_a_thread_belongs_to_its_agent_and_is_deleted_with_its_runs(call: Any) -> None:
    thread_id = thread_of(call, APPROVAL_AGENT_ID)
    refused = call("POST", "/runs", {"agent_id": SLOW_AGENT_ID, "thread_id": thread_id})
    assert refused.status == 409
    assert APPROVAL_AGENT_ID in refused.json
    run_id = call.run(APPROVAL_AGENT_ID, thread_id=thread_id)
    call.output(run_id)
    call.ok("DELETE", f"/threads/{thread_id}")
    assert call("GET", f"/runs/{run_id}").status == 404


def test_search_filters_and_pages(call: Any) -> None:
    ids = [
        thread_of(call, ECHO_AGENT_ID, metadata={"topic": "a"}),
        thread_of(call, ECHO_AGENT_ID),
        thread_of(call, SLOW_AGENT_ID, metadata={"topic": "a"}),
    ]
    for wanted, found in (
        ({}, ids),
        ({"agent_id": SLOW_AGENT_ID}, ids[2:]),
        ({"metadata": {"topic": "a"}}, [ids[0], ids[2]]),
        ({"metadata": {"topic": "a"}, "agent_id": ECHO_AGENT_ID}, ids[:1]),
        ({"metadata": {"none": None}}, []),
        ({"limit": 1, "offset": 1}, ids[1:2]),
    ):
        threads = call.ok("POST", "/threads/search", wanted)
        assert [thread["thread_id"] for thread in threads] == found, wanted
