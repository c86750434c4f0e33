"""Runs and threads: each operation, and each status that it has in the contract."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import Any

import pytest
from support.transport import eventually

from acp_client_v0_1.testing import (
    APPROVAL_AGENT_ID,
    COUNTER_AGENT_ID,
    ECHO_AGENT_ID,
    FAILING_AGENT_ID,
    SLOW_AGENT_ID,
    RunCancelled,
)


def test_a_run_is_pending_with_its_creation_and_ends_in_success_with_its_result(call):
    creation = {"agent_id": ECHO_AGENT_ID, "input": {"a": 1}, "metadata": {"k": "v"}, "extra": [1]}
    run = call.ok("POST", "/runs", creation)
    assert (run["status"], run["agent_id"]) == ("pending", ECHO_AGENT_ID)
    assert run["creation"] == creation
    assert call.ok("GET", f"/threads/{run['thread_id']}")["agent_id"] == ECHO_AGENT_ID
    assert datetime.fromisoformat(run["created_at"].replace("Z", "+00:00")).tzinfo is not None
    assert run["updated_at"] == run["created_at"]
    same = {"type": "result", "run_id": run["run_id"]}
    assert call.output(run["run_id"]) == {**same, "status": "success", "result": {"a": 1}}
    ended = call.ok("GET", f"/runs/{run['run_id']}")
    assert ended["status"] == "success"
    assert ended["updated_at"] > ended["created_at"] == run["created_at"]


def test_a_run_that_fails_has_an_error_as_output(call):
    late = {"timeout": True, "description": "too late"}
    for input, status, errcode, description in (
        ({}, "error", 1, "this agent always fails"),
        ({"errcode": 42, "description": "no such file"}, "error", 42, "no such file"),
        (late, "timeout", 2, "too late"),
    ):
        run_id = call.run(FAILING_AGENT_ID, input=input)
        error = {"errcode": errcode, "description": description}
        assert call.output(run_id) == {"type": "error", "run_id": run_id, **error}
        assert call.ok("GET", f"/runs/{run_id}")["status"] == status
        assert call.server._store.run(run_id).times_called == 1  # nobody tries it again


def test_an_interrupted_run_asks_and_goes_on_when_it_is_answered_as_it_asks(call):
    run_id = call.run(APPROVAL_AGENT_ID, input={"action": "deploy"})
    interrupt = {"interrupt_type": "approval", "question": "May I deploy?", "action": "deploy"}
    assert call.output(run_id) == {"type": "interrupt", "interrupt": interrupt}

    refused = call("POST", f"/runs/{run_id}", {"approved": "yes"})
    assert (refused.status, refused.json) == (422, "body.approved: the agent wants type boolean")
    refused = call("POST", f"/runs/{run_id}", {})
    assert (refused.status, refused.json) == (422, "body.approved: the agent requires it")
    assert call.ok("GET", f"/runs/{run_id}")["status"] == "interrupted"

    resumed = call.ok("POST", f"/runs/{run_id}", {"approved": False, "reason": "it is Friday"})
    assert (resumed["run_id"], resumed["status"]) == (run_id, "pending")
    result = {"action": "deploy", "approved": False, "reason": "it is Friday"}
    assert call.output(run_id)["result"] == result
    refused = call("POST", f"/runs/{run_id}", {"approved": True})
    assert (refused.status, refused.json) == (409, "the run is success, not interrupted")


@pytest.mark.slow
def test_a_pending_run_has_no_output_at_once_or_after_block_timeout(call):
    run_id = call.run(SLOW_AGENT_ID, input={"seconds": 30})
    for query, seconds in (("", 0), ("?block_timeout=0", 0), ("?block_timeout=1", 1)):
        began = time.monotonic()
        response = call("GET", f"/runs/{run_id}/output{query}")
        assert (response.status, response.body) == (204, b"")
        assert 0.95 * seconds <= time.monotonic() - began < seconds + 4


def test_a_blocked_output_ends_when_the_run_does(call):
    began = time.monotonic()
    run_id = call.run(SLOW_AGENT_ID, input={"seconds": 0.3})
    response = call.ok("GET", f"/runs/{run_id}/output?block_timeout=99999999999999999999")
    assert response["result"] == {"slept": 0.3}
    assert 0.3 <= time.monotonic() - began < 5


def test_deleting_a_running_run_cancels_it_and_ends_who_waits(call):
    run_id = call.run(COUNTER_AGENT_ID, input={"count": 300, "interval": 0.1})
    responses: list[Any] = []
    path = f"/runs/{run_id}/output?block_timeout=20"
    waiter = threading.Thread(target=lambda: responses.append(call("GET", path)))
    waiter.start()
    assert eventually(lambda: len(call.server.requests) == 2, 5)
    time.sleep(0.25)  # meanwhile, an update wakes who waits
    assert call.ok("DELETE", f"/runs/{run_id}")["status"] == "pending"
    waiter.join(5)
    assert responses[0].status == 404
    assert call("GET", f"/runs/{run_id}").status == 404
    assert eventually(lambda: not any(run_id in thread.name for thread in threading.enumerate()), 5)


def test_an_agent_that_never_sleeps_can_check_whether_its_run_was_cancelled(call):
    began, ends = threading.Event(), list[Any]()

    def work(input: Any, config: Any, context: Any) -> Any:
        began.set()
        try:
            while True:
                context.check()
        except RunCancelled as cancelled:
            ends.append((str(cancelled), context.cancelled))
            raise

    run_id = call.run(call.server.register(work))
    assert began.wait(5)
    call.ok("DELETE", f"/runs/{run_id}")
    assert eventually(lambda: bool(ends), 5)
    ((said, was_cancelled),) = ends
    assert run_id in said and was_cancelled


def test_an_unknown_id_is_404_and_named(call):
    of_runs = ("", "/output", "/output?block_timeout=1", "/stream", "/threadstate")
    asked: list[tuple[str, str, Any]] = [
        *(("GET", f"/runs/nobody{path}", None) for path in of_runs),
        *(("GET", f"/agents/nobody{path}", None) for path in ("", "/descriptor")),
        *(("GET", f"/threads/nobody{path}", None) for path in ("", "/state", "/history")),
        *(("DELETE", f"/{kind}/nobody", None) for kind in ("runs", "threads")),
        ("POST", "/runs/nobody", {}),
        ("POST", "/runs", {"agent_id": "nobody"}),
        ("POST", "/runs", {"agent_id": ECHO_AGENT_ID, "thread_id": "nobody"}),
        ("POST", "/threads", {"agent_id": "nobody"}),
    ]
    for method, path, body in asked:
        response = call(method, path, body)
        assert response.status == 404, (method, path)
        assert response.headers["content-type"] == "application/json"
        assert isinstance(response.json, str) and "'nobody'" in response.json, (method, path)


@pytest.mark.parametrize(
    ("allowed", "requests"),
    [
        ("", ["GET /", "GET /runs/a/b/c", "GET /runs/a%2Fb", "GET /runs/x/", "GET /runs//output"]),
        ("GET HEAD", ["DELETE /runs/x/output"]),
        ("GET HEAD POST DELETE", ["PATCH /runs/x"]),
        ("POST", ["PATCH /runs", "PUT /runs", "OPTIONS /runs", "GET /threads"]),
        ("POST", [f"{method} /runs/search" for method in ("GET", "DELETE", "PUT")]),
        ("POST", ["GET /agents/search", "DELETE /threads/search"]),
    ],
)
def test_unknown_routes_and_methods_respond_with_a_json_string_too(call, allowed, requests):
    for request in requests:
        response = call(*request.split())
        assert response.status == (405 if allowed else 404), request
        assert isinstance(response.json, str)
        told = response.headers.get("allow", "").replace(",", " ").split()
        assert sorted(told) == sorted(allowed.split()), request


class TestSearch:
    def test_pages_have_the_oldest_first_ten_by_default(self, call):
        ids = [call.run(ECHO_AGENT_ID) for _ in range(12)]
        for page, found in (
            ({}, ids[:10]),
            ({"limit": 2}, ids[:2]),
            ({"limit": 5, "offset": 5}, ids[5:10]),
            ({"offset": 10}, ids[10:]),
            ({"offset": 12}, []),
            ({"offset": 10**30}, []),
        ):
            assert [run["run_id"] for run in call.ok("POST", "/runs/search", page)] == found, page

    def test_every_filter_must_match(self, call):
        red = call.run(ECHO_AGENT_ID, metadata={"colour": "red", "size": 1})
        blue = call.run(ECHO_AGENT_ID, metadata={"colour": "blue", "size": 1, "done": True})
        failed = call.run(FAILING_AGENT_ID, metadata={"colour": "red", "nested": {"a": [1]}})
        for run_id in (red, blue, failed):
            call.output(run_id)

        def found(**wanted: Any) -> list[str]:
            return [run["run_id"] for run in call.ok("POST", "/runs/search", wanted)]

        assert found(agent_id=ECHO_AGENT_ID) == [red, blue]
        assert found(status="error") == [failed]
        assert found(status="pending") == []
        assert found(metadata={"colour": "red"}) == [red, failed]
        assert found(metadata={"colour": "red", "size": 1}) == [red]
        assert found(metadata={"size": True}) == found(metadata={"done": 1}) == []
        assert found(metadata={"done": True}) == [blue]
        assert found(metadata={"nested": {"a": [1]}}) == [failed]
        others = ({"a": [1, 2]}, {"a": [True]}, {"a": [1], "b": 0}, {"b": [1]}, {}, [], None)
        for other in others:
            assert found(metadata={"nested": other}) == []
        assert found(agent_id=FAILING_AGENT_ID, status="success") == []
        assert found(agent_id=COUNTER_AGENT_ID) == []


# Threads: their state and history, and what keeps a run off them


def thread_of(call: Any, agent_id: str, **fields: Any) -> str:
    thread_id: str = call.ok("POST", "/threads", {"agent_id": agent_id, **fields})["thread_id"]
    return thread_id


def test_a_thread_of_an_agent_is_created_found_and_deleted_with_its_runs(call):
    metadata = {"topic": "greetings"}
    created = call.ok("POST", "/threads", {"agent_id": APPROVAL_AGENT_ID, "metadata": metadata})
    assert set(created) == {"thread_id", "agent_id", "metadata"}
    thread_id = created["thread_id"]
    path = f"/threads/{thread_id}"
    assert call.ok("GET", path) == created
    assert call.ok("GET", path + "/state") == {}
    assert call.ok("GET", path + "/history") == []
    refused = call("POST", "/runs", {"agent_id": SLOW_AGENT_ID, "thread_id": thread_id})
    assert refused.status == 409
    assert APPROVAL_AGENT_ID in refused.json
    run_id = call.run(APPROVAL_AGENT_ID, thread_id=thread_id)
    call.output(run_id)
    assert call.ok("DELETE", path) == created
    assert call("GET", path).status == 404
    assert call("GET", f"/runs/{run_id}").status == 404


def test_the_agent_keeps_its_state_on_the_thread_and_the_runs_are_its_history(call):
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


def test_a_run_without_thread_gets_a_new_one_if_its_agent_declares_threads(call):
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


def test_a_pending_run_keeps_others_and_deletion_off_its_thread(call):
    thread_id = thread_of(call, SLOW_AGENT_ID)
    creation = {"agent_id": SLOW_AGENT_ID, "thread_id": thread_id, "input": {"seconds": 30}}
    run_id = call.ok("POST", "/runs", creation)["run_id"]
    assert call("POST", "/runs", creation).status == 409
    assert call("DELETE", f"/threads/{thread_id}").status == 409
    call.ok("DELETE", f"/runs/{run_id}")
    assert call.ok("GET", f"/threads/{thread_id}/history") == []
    call.ok("POST", "/runs", creation)


def test_a_run_that_is_interrupted_or_without_a_thread_has_no_thread_state(call):
    thread_id = thread_of(call, APPROVAL_AGENT_ID)
    first = call.run(APPROVAL_AGENT_ID, thread_id=thread_id)
    alone = call.run(SLOW_AGENT_ID, input={"seconds": 0})
    for run_id, words in ((first, "interrupted"), (alone, "the run has no thread")):
        call.output(run_id)
        refused = call("GET", f"/runs/{run_id}/threadstate")
        assert refused.status == 409 and words in refused.json
    # The interrupted one waits for others.
    call.output(call.run(APPROVAL_AGENT_ID, thread_id=thread_id))
    assert call.ok("POST", f"/runs/{first}", {"approved": True})["status"] == "pending"


def test_the_search_for_threads_filters_and_pages(call):
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


FAST = {"count": 3, "interval": 0}


def test_mode_custom_sends_updates_and_replay_starts_after_the_last_event_id(call):
    run_id = call.run(COUNTER_AGENT_ID, input=FAST, streaming="custom")
    events = call.events(run_id)
    assert [event["id"] for event in events] == ["1", "2", "3"]
    assert {event["event"] for event in events} == {"agent_event"}
    same = {"type": "custom", "run_id": run_id, "status": "pending"}
    assert [event["data"] for event in events] == [
        {**same, "update": {"count": number, "of": 3}} for number in (1, 2, 3)
    ]
    assert call.output(run_id)["result"] == {"count": 3, "of": 3}
    assert call.events(run_id) == events
    assert call.events(run_id, Last_Event_ID="2") == events[2:]
    # No event of this run has such an id: nothing is known to have arrived.
    for unknown in ("99", "-1", "x", "1" * 30, ""):
        assert call.events(run_id, Last_Event_ID=unknown) == events
    response = call("GET", f"/runs/{run_id}/stream", Last_Event_ID="3")
    assert (response.status, response.body) == (204, b"")


def test_mode_result_sends_partial_results_and_the_final_one(call):
    run_id = call.run(COUNTER_AGENT_ID, input=FAST, streaming="result")
    payloads = [event["data"] for event in call.events(run_id)]
    assert {payload["type"] for payload in payloads} == {"result"}
    assert [payload["result"]["count"] for payload in payloads] == [1, 2, 3, 3]
    assert [payload["status"] for payload in payloads] == ["pending"] * 3 + ["success"]
    assert payloads[-1] == call.output(run_id)
    headers = call("GET", f"/runs/{run_id}/stream").headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"


def test_where_there_is_nothing_to_stream_the_response_is_204(call):
    unstreamed = call.run(SLOW_AGENT_ID, input={"seconds": 30})
    failed = call.run(FAILING_AGENT_ID, streaming="result")
    asking = call.run(APPROVAL_AGENT_ID, streaming="result")
    for run_id in (failed, asking):
        call.output(run_id)
    for run_id in (unstreamed, failed, asking):
        assert call("GET", f"/runs/{run_id}/stream").status == 204


def test_events_leave_when_they_happen_and_the_end_follows(call, stepwise):
    run_id = call.run(call.server.register(stepwise, name="stepwise"), streaming="custom")
    response = call.stream(run_id)
    for number in range(1, 7):
        stepwise.emit()
        event = response.read1().decode()
        assert f'"n":{number}' in event and event.endswith("\r\n\r\n")
    assert response.read() == b""
