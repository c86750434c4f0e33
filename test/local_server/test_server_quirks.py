"""What real servers do otherwise: quirks of a whole server, as a caller meets them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.examples import event_fields
from support.transport import eventually

from acp_client_v0_1.testing import (
    COUNTER_AGENT_ID,
    ECHO_AGENT_ID,
    SLOW_AGENT_ID,
    LocalServer,
    Quirks,
)

FAST = {"count": 3, "interval": 0}


@pytest.fixture
def serve(caller_for: Callable[[LocalServer], Any]) -> Callable[..., Any]:
    """Give a caller of a server with some quirks; pings are quick."""

    @contextmanager
    def serving(**quirks: Any) -> Iterator[Any]:
        with LocalServer(quirks=Quirks(**quirks), ping=0.05) as server:
            call = caller_for(server)
            call.server = server
            yield call

    return serving


def finished(call: Any) -> str:
    run_id: str = call.run(COUNTER_AGENT_ID, input=FAST, streaming="custom")
    call.output(run_id)
    return run_id


class Stepwise:
    """An agent that sends one numbered event each time it is told to."""

    def __init__(self) -> None:
        self.step = threading.Semaphore(0)

    def __call__(self, input: Any, config: Any, context: Any) -> Generator[Any, None, Any]:
        for number in range(1, 7):
            if not self.step.acquire(timeout=10):
                raise TimeoutError
            yield {"n": number}
        return {}

    def emit(self, number: int = 1) -> None:
        self.step.release(number)


def read_events(stream: Any, count: int) -> list[tuple[str | None, int]]:
    """Read the next events of a stream: each one's id, and its number."""
    text = ""
    while text.count("data: ") < count or not text.endswith("\r\n\r\n"):
        text += stream.read1().decode()
    blocks = [block for block in text.split("\r\n\r\n") if "data: " in block]
    return [(e.get("id"), e["data"]["update"]["n"]) for e in map(event_fields, blocks)]


class TestEventIds:
    def test_none(self, serve: Any) -> None:
        with serve(event_ids="none") as call:
            run_id = finished(call)
            events = call.events(run_id)
            assert [set(event) for event in events] == [{"event", "data"}] * 3
            assert call.events(run_id, Last_Event_ID="2") == events

    def test_of_a_connection_they_say_nothing_to_the_next(self, serve: Any) -> None:
        with serve(event_ids="connection") as call:
            run_id = finished(call)
            events = call.events(run_id)
            assert [event["id"] for event in events] == ["1", "2", "3"]
            assert call.events(run_id, Last_Event_ID="3") == events

    def test_opaque_ones_are_known_again(self, serve: Any) -> None:
        with serve(event_ids="opaque") as call:
            run_id = finished(call)
            events = call.events(run_id)
            ids = [event["id"] for event in events]
            assert len(set(ids)) == 3
            assert all(re.fullmatch("[0-9a-f]{16}", id) for id in ids)
            assert call.events(run_id, Last_Event_ID=ids[1]) == events[2:]
            assert call.events(run_id, Last_Event_ID="2") == events
            assert call("GET", f"/runs/{run_id}/stream", Last_Event_ID=ids[2]).status == 204
            # Another run's are others.
            assert {event["id"] for event in call.events(finished(call))}.isdisjoint(ids)


class TestWithoutReplay:
    @pytest.mark.parametrize(
        ("event_ids", "ids"),
        [("run", "12456"), ("connection", "12123"), ("none", [None] * 5)],
    )
    def test_what_happens_between_two_connections_is_lost(
        self, serve: Any, event_ids: str, ids: Any
    ) -> None:
        agent = Stepwise()
        with serve(event_ids=event_ids, replay=False) as call:
            run_id = call.run(call.server.register(agent, name="stepwise"), streaming="custom")
            agent.emit()
            path = f"{call.url}/runs/{run_id}/stream"
            first = call.pool.request("GET", path, preload_content=False, timeout=5)
            agent.emit()
            # Events from before the first connection are not lost.
            events = read_events(first, 2)
            first.close()
            agent.emit()
            record = call.server._store.run(run_id)
            assert eventually(lambda: len(record.events) == 3, 5)
            second = call.pool.request(
                "GET", path, preload_content=False, timeout=5, headers={"Last-Event-ID": "1"}
            )
            agent.emit(3)
            events += read_events(second, 3)
            assert second.read() == b""
            assert events == list(zip(ids, [1, 2, 4, 5, 6], strict=True))
            assert call("GET", f"/runs/{run_id}/stream").status == 204


class TestSearch:
    def runs(self, call: Any) -> list[str]:
        marked = call.run(ECHO_AGENT_ID, metadata={"batch": "b"})
        return [marked, call.run(SLOW_AGENT_ID), call.run(ECHO_AGENT_ID)]

    def search(self, call: Any, **wanted: Any) -> list[str]:
        return [run["run_id"] for run in call.ok("POST", "/runs/search", wanted)]

    def test_metadata_is_ignored(self, serve: Any) -> None:
        with serve(search_metadata="ignored") as call:
            marked, _, other = self.runs(call)
            found = self.search(call, agent_id=ECHO_AGENT_ID, metadata={"batch": "b"})
            assert found == [marked, other]
            call.ok("POST", "/threads", {"agent_id": SLOW_AGENT_ID})
            wanted = {"agent_id": SLOW_AGENT_ID, "metadata": {"k": 1}}
            assert len(call.ok("POST", "/threads/search", wanted)) == 1

    def test_metadata_fails(self, serve: Any) -> None:
        with serve(search_metadata="fails") as call:
            marked, _, other = self.runs(call)
            for path in ("/runs/search", "/threads/search"):
                assert call("POST", path, {"metadata": {"batch": "b"}}).status == 500
                assert call("POST", path, {"metadata": {}}).status == 200
            assert self.search(call, agent_id=ECHO_AGENT_ID) == [marked, other]

    def test_the_newest_come_first(self, serve: Any) -> None:
        with serve(search_order="newest") as call:
            runs = self.runs(call)
            assert self.search(call) == runs[::-1]
            assert self.search(call, limit=1, offset=1) == [runs[1]]
            agents = call.ok("POST", "/agents/search", {"limit": 1})
            assert agents[0]["metadata"]["ref"]["name"] == "slow"
            threads = [run["thread_id"] for run in call.server.runs if "thread_id" in run]
            found = call.ok("POST", "/threads/search", {})
            assert [thread["thread_id"] for thread in found] == threads[::-1]


def test_times_without_a_fraction(serve: Any) -> None:
    with serve(updated_at="seconds") as call:
        run_id = call.run(ECHO_AGENT_ID)
        call.output(run_id)
        run = call.ok("GET", f"/runs/{run_id}")
        for name in ("created_at", "updated_at"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", run[name])


def test_a_stream_that_sends_comments_after_its_run_is_over(serve: Any) -> None:
    with serve(comments_after_end=True) as call:
        run_id = finished(call)
        for last_event_id, events in (("", 3), ("3", 0)):
            response = call.pool.request(
                "GET",
                f"{call.url}/runs/{run_id}/stream",
                headers={"Last-Event-ID": last_event_id},
                preload_content=False,
                timeout=5,
            )
            assert response.status == 200
            body = b""
            while body.count(b": ping") < 3:
                body += response.read1()
            assert body.count(b"data: ") == events
            response.close()
        unstreamed = call.run(ECHO_AGENT_ID)
        assert call("GET", f"/runs/{unstreamed}/stream").status == 204


def test_deletion_ends_even_a_stream_of_comments(serve: Any) -> None:
    with serve(comments_after_end=True) as call:
        run_id = finished(call)
        url = f"{call.url}/runs/{run_id}/stream"
        response = call.pool.request("GET", url, preload_content=False, timeout=5)
        response.read1()
        call.ok("DELETE", f"/runs/{run_id}")
        response.read()


def test_the_defaults_are_no_quirks(server: LocalServer, call: Any) -> None:
    run_id = finished(call)
    assert call.events(run_id, Last_Event_ID="2")[0]["id"] == "3"
    assert re.search(r"\.\d{6}Z$", server.runs[0]["updated_at"])


@pytest.mark.parametrize(
    ("error", "name", "fields"),
    [
        (ValueError, "event_ids", {"event_ids": "uuid"}),
        (ValueError, "search_metadata", {"search_metadata": None}),
        (ValueError, "search_order", {"search_order": ["newest"]}),
        (ValueError, "updated_at", {"updated_at": "minutes"}),
        (TypeError, "replay", {"replay": 0}),
        (TypeError, "comments_after_end", {"comments_after_end": None}),
    ],
)
def test_a_quirk_that_cannot_be_is_refused_by_name(error: Any, name: str, fields: Any) -> None:
    with pytest.raises(error, match=f"^{name}: must be "):
        Quirks(**fields)
