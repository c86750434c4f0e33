"""Streams: both modes, ids, replay, and events that leave when they happen."""

from __future__ import annotations

from typing import Any

from acp_client_v0_1.testing import (
    APPROVAL_AGENT_ID,
    COUNTER_AGENT_ID,
    FAILING_AGENT_ID,
    SLOW_AGENT_ID,
)

FAST = {"count": 3, "interval": 0}


def test_mode_custom_sends_the_agents_updates(call: Any) -> None:
    run_id = call.run(COUNTER_AGENT_ID, input=FAST, streaming="custom")
    events = call.events(run_id)
    assert [event["id"] for event in events] == ["1", "2", "3"]
    assert {event["event"] for event in events} == {"agent_event"}
    same = {"type": "custom", "run_id": run_id, "status": "pending"}
    assert [event["data"] for event in events] == [
        {**same, "update": {"count": number, "of": 3}} for number in (1, 2, 3)
    ]
    assert call.output(run_id)["result"] == {"count": 3, "of": 3}


def test_mode_result_sends_partial_results_and_the_final_one(call: Any) -> None:
    run_id = call.run(COUNTER_AGENT_ID, input=FAST, streaming="result")
    payloads = [event["data"] for event in call.events(run_id)]
    assert {payload["type"] for payload in payloads} == {"result"}
    assert [payload["result"]["count"] for payload in payloads] == [1, 2, 3, 3]
    assert [payload["status"] for payload in payloads] == ["pending"] * 3 + ["success"]
    assert payloads[-1] == call.output(run_id)
    headers = call("GET", f"/runs/{run_id}/stream").headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"


def test_replay_starts_after_the_last_event_id(call: Any) -> None:
    run_id = call.run(COUNTER_AGENT_ID, input=FAST, streaming="custom")
    everything = call.events(run_id)
    assert call.events(run_id) == everything
    assert call.events(run_id, Last_Event_ID="2") == everything[2:]
    # No event of this run has such an id: nothing is known to have arrived.
    for unknown in ("99", "-1", "x", "1" * 30, ""):
        assert call.events(run_id, Last_Event_ID=unknown) == everything
    response = call("GET", f"/runs/{run_id}/stream", Last_Event_ID="3")
    assert (response.status, response.body) == (204, b"")


def test_where_there_is_nothing_to_stream_the_response_is_204(call: Any) -> None:
    unstreamed = call.run(SLOW_AGENT_ID, input={"seconds": 30})
    failed = call.run(FAILING_AGENT_ID, streaming="result")
    asking = call.run(APPROVAL_AGENT_ID, streaming="result")
    for run_id in (failed, asking):
        call.output(run_id)
    for run_id in (unstreamed, failed, asking):
        assert call("GET", f"/runs/{run_id}/stream").status == 204


def test_events_leave_when_they_happen_and_the_end_follows(call: Any, stepwise: Any) -> None:
    run_id = call.run(call.server.register(stepwise, name="stepwise"), streaming="custom")
    response = call.stream(run_id)
    for number in range(1, 7):
        stepwise.emit()
        event = response.read1().decode()
        assert f'"n":{number}' in event and event.endswith("\r\n\r\n")
    assert response.read() == b""
