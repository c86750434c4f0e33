"""What real servers do otherwise: quirks of a whole server, as a caller meets them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.examples import event_fields
from support.transport import eventually

from acp_client_v0_1.testing import (
    APPROVAL_AGENT_ID,
    COUNTER_AGENT_ID,
    ECHO_AGENT_ID,
    SLOW_AGENT_ID,
    Interrupt,
    LocalServer,
    Quirks,
)
from acp_client_v0_1.testing.webhooks import Webhooks

PLAIN_TEXT = "text/plain; charset=utf-8"
FAST = {"count": 3, "interval": 0}


@pytest.fixture
def serve(caller_for: Callable[[LocalServer], Any]) -> Callable[..., Any]:
    """Give a caller of a server with some quirks; pings are quick."""

    @contextmanager
    def serving(real: Any = None, **quirks: Any) -> Iterator[Any]:
        habits = Quirks.of(real) if real else Quirks(**quirks)
        with LocalServer(quirks=habits, ping=0.05) as server:
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
        ("event_ids", "ids"), [("run", "12456"), ("connection", "12123"), ("none", [None] * 5)]
    )
    def test_what_happens_between_two_connections_is_lost(
        self, serve: Any, event_ids: str, ids: Any
    ) -> None:
        agent = Stepwise()
        with serve(event_ids=event_ids, replay=False) as call:
            run_id = call.run(call.server.register(agent, name="stepwise"), streaming="custom")
            agent.emit()
            first = call.stream(run_id)
            agent.emit()
            # Events from before the first connection are not lost.
            events = read_events(first, 2)
            first.close()
            agent.emit()
            record = call.server._store.run(run_id)
            assert eventually(lambda: len(record.events) == 3, 5)
            second = call.stream(run_id, Last_Event_ID="1")
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
            response = call.stream(run_id, Last_Event_ID=last_event_id)
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
        response = call.stream(run_id)
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
        (TypeError, "attempts", {"attempts": True}),
        (ValueError, "attempts", {"attempts": 0}),
        (ValueError, "unknown_agent", {"unknown_agent": 204}),
        (ValueError, "invalid", {"invalid": 200}),
        (TypeError, "only_uuids", {"only_uuids": 1}),
        (ValueError, "errors", {"errors": "html"}),
        (TypeError, "held_errors_fail", {"held_errors_fail": 500}),
        (TypeError, "lacks", {"lacks": ["search_runs"]}),
        (TypeError, r"lacks\.search_runs", {"lacks": {"search_runs": "501"}}),
        (ValueError, r"lacks\.search_runs", {"lacks": {"search_runs": 200}}),
        (ValueError, "lacks", {"lacks": {"search_run": 501}}),
        (ValueError, "echo", {"echo": False}),
    ],
)
def test_a_quirk_that_cannot_be_is_refused_by_name(error: Any, name: str, fields: Any) -> None:
    with pytest.raises(error, match=rf"^{name}\b"):
        Quirks(**fields)


def test_a_server_that_is_not_bundled_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^server: must be one of workflow-srv, acp-proxy"):
        Quirks.of("nginx")  # type: ignore[arg-type]


def test_comments_without_a_line_end_swallow_the_next_line(serve: Any) -> None:
    agent = Stepwise()
    with serve(bare_comments=True) as call:
        run_id = call.run(call.server.register(agent, name="stepwise"), streaming="custom")
        stream = call.stream(run_id)
        assert stream.read1() == b":"
        agent.emit()
        text = b":"
        while not text.endswith(b"\r\n\r\n"):
            text += stream.read1()
        assert re.match(rb":+id: 1\r\nevent: agent_event\r\ndata: ", text)
        agent.emit(5)
        stream.close()


class TestWhatIsLacking:
    @pytest.mark.parametrize("status", [404, 500, 501])
    def test_an_operation(self, serve: Any, status: int) -> None:
        with serve(lacks={"search_runs": status, "get_run_stream": status}) as call:
            run_id = finished(call)
            for request in (("POST", "/runs/search", {}), ("GET", f"/runs/{run_id}/stream")):
                response = call(*request)
                words = "Not Found" if status == 404 else "Not implemented"
                assert (response.status, response.json) == (status, {"detail": words})
            assert call("GET", f"/runs/{run_id}").status == 200

    def test_a_list_of_all_agents(self, serve: Any) -> None:
        with serve(agents_by_name=True) as call:
            assert call("POST", "/agents/search", {"limit": 5}).status == 422
            assert len(call.ok("POST", "/agents/search", {"name": "echo"})) == 1
            assert len(call.ok("POST", "/agents/search", {"version": "1.0.0"})) == 5

    @pytest.mark.parametrize("echo", ["part", "none"])
    def test_an_echo_of_the_create(self, serve: Any, echo: str) -> None:
        with serve(echo=echo) as call:
            creation = {"agent_id": ECHO_AGENT_ID, "input": {"a": 1}}
            more = {"metadata": {"b": 1}, "streaming": "custom"}
            run = call.ok("POST", "/runs", {**creation, **more})
            part = {**creation, "metadata": {"b": 1}}
            zeros = {"agent_id": "00000000-0000-0000-0000-000000000000"}
            assert run["creation"] == (part if echo == "part" else zeros)
            # The server itself knows.
            assert len(call.ok("POST", "/runs/search", {"metadata": {"b": 1}})) == 1

    def test_a_body_of_a_deletion(self, serve: Any) -> None:
        with serve(delete_body=False) as call:
            thread = call.ok("POST", "/threads", {"agent_id": ECHO_AGENT_ID})["thread_id"]
            for path in (f"/runs/{call.run(ECHO_AGENT_ID)}", f"/threads/{thread}"):
                response = call("DELETE", path)
                assert (response.status, response.body) == (200, b"")
                assert call("GET", path).status == 404


class TestOutputOfAPendingRun:
    def test_404(self, serve: Any) -> None:
        with serve(pending_output="404") as call:
            run_id = call.run(SLOW_AGENT_ID, input={"seconds": 0.2})
            path = f"/runs/{run_id}/output?block_timeout=5"
            assert (call("GET", path).status, call("GET", path).body) == (404, b"")
            assert eventually(lambda: call("GET", path).status == 200, 5)

    def test_held_without_a_window(self, serve: Any) -> None:
        with serve(pending_output="held") as call:
            run_id = call.run(SLOW_AGENT_ID, input={"seconds": 0.3})
            path = f"/runs/{run_id}/output"
            assert call("GET", f"{path}?block_timeout=0").status == 204
            assert call.ok("GET", path)["result"] == {"slept": 0.3}


@pytest.mark.parametrize(
    ("updated_at", "pattern"),
    [("naive", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"), ("year 1", "0001-01-01T00:00:00Z")],
)
def test_times_that_say_less(serve: Any, updated_at: str, pattern: str) -> None:
    with serve(updated_at=updated_at) as call:
        run = call.ok("GET", f"/runs/{call.run(ECHO_AGENT_ID)}")
        assert re.fullmatch(pattern, run["created_at"]) and re.fullmatch(pattern, run["updated_at"])


def test_a_thread_id_of_the_servers_own(serve: Any) -> None:
    with serve(own_thread_ids=True) as call:
        thread = call.ok("POST", "/threads", {"agent_id": ECHO_AGENT_ID})["thread_id"]
        run = call.ok("POST", "/runs", {"agent_id": ECHO_AGENT_ID, "thread_id": thread})
        assert run["thread_id"] != thread
        assert call.ok("GET", f"/runs/{run['run_id']}")["thread_id"] == run["thread_id"]


def test_a_create_for_an_unknown_agent(serve: Any) -> None:
    with serve(unknown_agent=500) as call:
        assert call("POST", "/runs", {"agent_id": "nobody"}).status == 500
        assert call("GET", "/agents/nobody").status == 404


def test_json_as_text(serve: Any) -> None:
    with serve(media_type="text/plain") as call:
        for response in (call("POST", "/runs", {"agent_id": ECHO_AGENT_ID}), call("GET", "/none")):
            assert response.headers["content-type"] == PLAIN_TEXT and response.json


@pytest.mark.slow
def test_a_run_that_is_tried_again(serve: Any) -> None:
    calls: list[int] = []

    def third_time_lucky(input: Any, config: Any, context: Any) -> dict[str, int]:
        calls.append(1)
        if len(calls) % 3:
            raise ValueError("not yet")
        return {"calls": len(calls)}

    with serve(attempts=3) as call:
        run_id = call.run(call.server.register(third_time_lucky, name="lucky"))
        seen = [call("GET", f"/runs/{run_id}").json["status"]]
        while seen[-1] != "success":
            status = call.ok("GET", f"/runs/{run_id}")["status"]
            seen += [status] * (status != seen[-1])
        assert {"error", "pending"} >= set(seen[:-1]) and "error" in seen
        assert call.output(run_id)["result"] == {"calls": 3}
    with serve(attempts=2) as call:
        run_id = call.run(call.server.register(third_time_lucky, name="lucky"))
        assert eventually(lambda: len(calls) == 5, 5)
        assert eventually(lambda: call.server.runs[0]["status"] == "error", 5)
        time.sleep(0.4)
        assert len(calls) == 5 and call.server.runs[0]["status"] == "error"


def test_interrupts_that_end_as_success(serve: Any) -> None:
    def updates_then_asks(input: Any, config: Any, context: Any) -> Generator[Any, Any, Any]:
        yield {"draft": 1}
        yield Interrupt("approval")
        return {}

    with serve(interrupts_succeed=True) as call:
        run_id = call.run(APPROVAL_AGENT_ID, input={"action": "act"})
        assert call.output(run_id)["result"] == {"action": "act"}
        assert call("POST", f"/runs/{run_id}", {"approved": True}).status == 409
        run_id = call.run(call.server.register(updates_then_asks))
        assert call.output(run_id)["result"] == {"draft": 1}


class TestRestart:
    def test_that_forgets(self, serve: Any) -> None:
        with serve(on_restart="forgets") as call:
            run_id = call.run(ECHO_AGENT_ID)
            call.server.restart()
            assert call("GET", f"/runs/{run_id}").status == 404

    @pytest.mark.slow
    def test_that_leaves_runs_pending(self, serve: Any) -> None:
        with serve(on_restart="hangs") as call:
            done, hung = finished(call), call.run(SLOW_AGENT_ID, input={"seconds": 0.1})
            call.server.restart(pause=0.3)
            assert call.output(done)["status"] == "success"
            assert call("GET", f"/runs/{hung}/output?block_timeout=1").status == 204
            assert call.ok("DELETE", f"/runs/{hung}")["status"] == "pending"


NOBODY = "99999999-9999-4999-8999-999999999999"


def test_a_status_that_is_always_empty(serve: Any) -> None:
    with serve(empty_status=True) as call:
        run = call.ok("POST", "/runs", {"agent_id": ECHO_AGENT_ID})
        assert call.output(run["run_id"])["status"] == "success"
        assert {run["status"], call.ok("GET", f"/runs/{run['run_id']}")["status"]} == {""}


def test_a_status_of_its_own_for_what_does_not_fit(serve: Any) -> None:
    with serve(invalid=400) as call:
        for body in ({}, {"agent_id": 1}, b"{", []):
            assert call("POST", "/runs", body).status == 400
        assert call("GET", f"/runs/{call.run(ECHO_AGENT_ID)}/output?block_timeout=x").status == 400


def test_ids_that_are_no_uuids_are_refused(serve: Any) -> None:
    with serve(only_uuids=True) as call:
        assert call("GET", "/runs/1").status == call("DELETE", "/threads/1").status == 422
        assert call("POST", "/runs", {"agent_id": "nobody"}).status == 422
        assert call("POST", "/runs", {"agent_id": ECHO_AGENT_ID, "thread_id": "1"}).status == 422
        assert call("GET", f"/runs/{NOBODY}").status == 404
        assert call("GET", f"/runs/{call.run(ECHO_AGENT_ID)}").status == 200


def test_errors_in_plain_text(serve: Any) -> None:
    with serve(errors="text", lacks={"search_runs": 501}) as call:
        unknown = call("GET", f"/runs/{NOBODY}")
        assert (unknown.status, unknown.body) == (404, b"")
        for method, path, status, words in (
            ("GET", "/none", 404, "no matching operation was found"),
            ("POST", "/runs/search", 501, "not implemented"),
            ("POST", "/runs", 422, "agent_id: Field required"),
        ):
            response = call(method, path, {} if method == "POST" else None)
            assert response.status == status and words in response.body.decode()
            assert response.headers["content-type"] == PLAIN_TEXT


@pytest.mark.slow
def test_a_run_of_an_unknown_agent_never_ends(serve: Any) -> None:
    with serve(unknown_agent=200) as call:
        run = call.ok("POST", "/runs", {"agent_id": NOBODY})
        assert run["agent_id"] == NOBODY
        assert call("GET", f"/runs/{run['run_id']}/output?block_timeout=1").status == 204
        assert call.ok("DELETE", f"/runs/{run['run_id']}")["status"] == "pending"


def test_errors_as_an_object_in_text_or_empty(serve: Any) -> None:
    with serve(errors="detail", unknown_agent=500, lacks={"search_runs": 500}) as call:
        unknown = call("GET", f"/runs/{NOBODY}")
        assert unknown.status == 404 and NOBODY in unknown.json["detail"]
        assert call("GET", "/none").json == {"detail": "Not Found"}
        assert call("POST", "/runs/search", {}).json == {"detail": "Not implemented"}
        unfit = call("POST", "/runs", {"agent_id": 1})
        assert unfit.status == 422 and unfit.json["detail"][0]["msg"]
        assert unfit.headers["content-type"] == "application/json"
        output = call("GET", f"/runs/{NOBODY}/output")
        assert (output.status, output.body, output.headers.get("content-type")) == (404, b"", None)
        crashed = call("POST", "/runs", {"agent_id": NOBODY})
        assert (crashed.status, crashed.body) == (500, b"Internal Server Error")
        assert crashed.headers["content-type"].startswith("text/plain")


def test_a_search_for_agents_that_always_fails(serve: Any) -> None:
    with serve(lacks={"search_agents": 500}, errors="detail") as call:
        for wanted in ({}, {"name": "echo"}):
            assert call("POST", "/agents/search", wanted).status == 500
        assert call("GET", f"/agents/{ECHO_AGENT_ID}").status == 200


def fails_late(input: Any, config: Any, context: Any) -> None:
    context.sleep(0.5)
    raise ValueError("no")


def test_an_output_that_was_waited_for_fails_with_its_run(serve: Any) -> None:
    with serve(held_errors_fail=True) as call:
        path = f"/runs/{call.run(call.server.register(fails_late))}/output?block_timeout=10"
        assert call("GET", path).status == 500
        assert call.ok("GET", path)["description"] == "ValueError: no"


def test_webhooks_that_are_never_called(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(Webhooks, "send", lambda self, url, run: sent.append(url))
    for webhooks in (False, True):
        with serve(webhooks=webhooks) as call:
            call.output(call.run(ECHO_AGENT_ID, webhook=f"{call.url}/hook"))
        assert sent == ([f"{call.url}/hook"] if webhooks else [])


class TestRealServers:
    @pytest.fixture
    def proxy(self, serve: Any) -> Iterator[Any]:
        with serve("acp-proxy") as call:
            yield call

    def test_the_proxy_says_nothing_of_a_run_but_its_output(self, proxy: Any) -> None:
        creation = {"agent_id": SLOW_AGENT_ID, "input": {"seconds": 0.4}, "metadata": {"a": 1}}
        created = proxy("POST", "/runs", {**creation, "config": {"b": 2}, "streaming": "custom"})
        assert created.status == 200 and created.headers["content-type"] == PLAIN_TEXT
        run = created.json
        assert run["status"] == ""
        assert run["created_at"] == run["updated_at"] == "0001-01-01T00:00:00Z"
        assert run["creation"] == {"agent_id": "00000000-0000-0000-0000-000000000000"}
        assert run["agent_id"] == SLOW_AGENT_ID
        path = f"/runs/{run['run_id']}"
        pending = proxy("GET", f"{path}/output?block_timeout=5")
        assert (pending.status, pending.body) == (404, b"")
        assert eventually(lambda: proxy("GET", f"{path}/output").status == 200, 10)
        assert proxy("GET", f"{path}/output").json["result"] == {"slept": 0.4}
        assert proxy("GET", path).json == run
        deleted = proxy("DELETE", path)
        assert (deleted.status, deleted.body) == (200, b"")
        for method in ("GET", "DELETE"):
            gone = proxy(method, path)
            assert (gone.status, gone.body) == (404, b"")

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            *(("POST", f"/{kind}/search") for kind in ("runs", "agents", "threads")),
            *(("GET", f"/runs/{NOBODY}/{part}") for part in ("stream", "threadstate")),
            *(("POST", f"/runs/{NOBODY}"), ("GET", f"/agents/{NOBODY}"), ("POST", "/threads")),
            ("GET", f"/threads/{NOBODY}/state"),
        ],
    )
    def test_what_the_proxy_does_not_implement(self, proxy: Any, method: str, path: str) -> None:
        response = proxy(method, path, {} if method == "POST" else None)
        assert response.status == 501
        assert response.headers["content-type"].startswith("text/plain")
        assert response.body.decode().startswith("This method is not implemented")

    def test_what_the_proxy_refuses(self, proxy: Any) -> None:
        descriptor = proxy("GET", f"/agents/{ECHO_AGENT_ID}/descriptor")
        assert (descriptor.status, descriptor.body) == (404, b"no matching operation was found\n")
        assert proxy("GET", "/runs/1/output").status == 400
        for body in ({"agent_id": 5}, {}, b"{", {"agent_id": "nobody"}):
            refused = proxy("POST", "/runs", body)
            assert refused.status == 400 and refused.body
            assert refused.headers["content-type"].startswith("text/plain")

    def test_the_proxy_takes_any_agent(self, proxy: Any) -> None:
        run = proxy("POST", "/runs", {"agent_id": NOBODY})
        assert (run.status, run.json["status"]) == (200, "")
        assert proxy("GET", f"/runs/{run.json['run_id']}/output").status == 404

    @pytest.fixture
    def workflow(self, serve: Any) -> Iterator[Any]:
        with serve("workflow-srv") as call:
            yield call

    def test_the_workflow_server_echoes_metadata_and_calls_no_webhook(self, workflow: Any) -> None:
        creation = {"agent_id": ECHO_AGENT_ID, "input": {"a": 1}, "metadata": {"b": 2}}
        more = {"webhook": "http://127.0.0.1:9/", "streaming": "custom"}
        run = workflow.ok("POST", "/runs", {**creation, **more})
        assert run["creation"] == creation
        assert re.fullmatch(r"[\d-]+T[\d:.]+", run["updated_at"])
        assert workflow("GET", f"/runs/{run['run_id']}/output").json["result"] == {"a": 1}
        assert workflow.server.webhooks == ()

    @pytest.mark.parametrize(
        ("method", "path", "status", "body"),
        [
            ("POST", "/agents/search", 500, b"Internal Server Error"),
            ("POST", "/threads", 404, b'{"detail":"Not Found"}'),
            ("POST", "/threads/search", 404, b'{"detail":"Not Found"}'),
            ("GET", f"/threads/{NOBODY}", 404, b'{"detail":"Not Found"}'),
            ("POST", "/runs/search", 500, b'{"detail":"Not implemented"}'),
            ("DELETE", f"/runs/{NOBODY}", 500, b'{"detail":"Not implemented"}'),
            ("GET", f"/runs/{NOBODY}/output", 404, b""),
        ],
    )
    def test_what_the_workflow_server_does_not_have(
        self, workflow: Any, method: str, path: str, status: int, body: bytes
    ) -> None:
        response = workflow(method, path, {"name": "echo"} if method == "POST" else None)
        assert (response.status, response.body) == (status, body)

    def test_the_workflow_server_ends_what_asks_and_fails_what_is_held(self, workflow: Any) -> None:
        asked = workflow.run(APPROVAL_AGENT_ID, input={"action": "act"})
        assert workflow.output(asked)["result"] == {"action": "act"}
        path = f"/runs/{workflow.run(workflow.server.register(fails_late))}/output"
        held = workflow("GET", path)
        assert (held.status, held.body) == (500, b"Internal Server Error")
        assert eventually(lambda: b'"ValueError: no"' in workflow("GET", path).body, 20)
