"""What real servers do otherwise: quirks of a whole server, as a caller meets them.

Each quirk is also what the doctor must find in test/doctor/test_quirks.py. Here is what it does not
look at, and what the two real servers do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.examples import event_fields
from support.timing import SetTiming
from support.transport import eventually

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    Configuration,
    RunFailed,
    RunResult,
    wait_for_run_output,
)
from acp_client_v0_1.testing import (
    APPROVAL_AGENT_ID,
    COUNTER_AGENT_ID,
    ECHO_AGENT_ID,
    SLOW_AGENT_ID,
    LocalServer,
    Quirks,
)
from acp_client_v0_1.testing.webhooks import Webhooks

PLAIN_TEXT = "text/plain; charset=utf-8"
NOBODY = "99999999-9999-4999-8999-999999999999"
UNKNOWN = f'{{"detail":"no run has the id \'{NOBODY}\'"}}'
UNFIT = '{"detail":[{"loc":["body"],"msg":"agent_id: Field required","type":"value_error"}]}'


@pytest.fixture
def quirky(serve: Callable[..., Any]) -> Callable[..., Any]:
    """Give a caller of a server with some quirks; pings are quick."""

    def start(**quirks: Any) -> Any:
        return serve(quirks=Quirks(**quirks), ping=0.05)

    return start


def finished(call: Any) -> str:
    run_id: str = call.run(COUNTER_AGENT_ID, input={"count": 3, "interval": 0}, streaming="custom")
    call.output(run_id)
    return run_id


def read_events(stream: Any, count: int) -> list[tuple[str | None, int]]:
    """Read the next events of a stream: each one's id, and its number."""
    text = ""
    while text.count("data: ") < count or not text.endswith("\r\n\r\n"):
        text += stream.read1().decode()
    blocks = [block for block in text.split("\r\n\r\n") if "data: " in block]
    return [(e.get("id"), e["data"]["update"]["n"]) for e in map(event_fields, blocks)]


@pytest.mark.parametrize(
    ("event_ids", "ids"), [("run", "12456"), ("connection", "12123"), ("none", [None] * 5)]
)
def test_without_replay_what_happens_between_two_connections_is_lost(
    quirky, stepwise, event_ids, ids
):
    call = quirky(event_ids=event_ids, replay=False)
    run_id = call.run(call.server.register(stepwise, name="stepwise"), streaming="custom")
    stepwise.emit()
    first = call.stream(run_id)
    stepwise.emit()
    # Events from before the first connection are not lost.
    events = read_events(first, 2)
    first.close()
    stepwise.emit()
    record = call.server._store.run(run_id)
    assert eventually(lambda: len(record.events) == 3, 5)
    second = call.stream(run_id, Last_Event_ID="1")
    stepwise.emit(3)
    events += read_events(second, 3)
    assert second.read() == b""
    assert events == list(zip(ids, [1, 2, 4, 5, 6], strict=True))
    assert call("GET", f"/runs/{run_id}/stream").status == 204


def test_searches_for_threads_and_agents_have_the_quirks_too(quirky):
    wanted = {"agent_id": ECHO_AGENT_ID, "metadata": {"k": 1}}
    call = quirky(search_metadata="ignored")
    thread = call.ok("POST", "/threads", {"agent_id": ECHO_AGENT_ID})
    call.ok("POST", "/threads", {"agent_id": SLOW_AGENT_ID})
    assert call.ok("POST", "/threads/search", wanted) == [thread]
    call = quirky(search_metadata="fails")
    for path in ("/runs/search", "/threads/search"):
        assert call("POST", path, wanted).status == 500
        assert call("POST", path, {"metadata": {}}).status == 200
    call = quirky(search_order="newest")
    runs = [call.run(ECHO_AGENT_ID) for _ in range(3)]
    found = call.ok("POST", "/runs/search", {"limit": 2})
    assert [run["run_id"] for run in found] == [runs[2], runs[1]]
    found = call.ok("POST", "/threads/search", {"offset": 1})
    assert [each["thread_id"] for each in found] == [
        call.ok("GET", f"/runs/{run_id}")["thread_id"] for run_id in (runs[1], runs[0])
    ]
    (agent,) = call.ok("POST", "/agents/search", {"limit": 1})
    assert agent["agent_id"] == SLOW_AGENT_ID


SEARCHES = {
    "matched": {"Invoice-7": True, "invoice-7": False, "Invoice-8": False, "7": False},
    "any case": {"Invoice-7": True, "invoice-7": True, "Invoice-8": False, "7": False},
    "words": {"Invoice-7": True, "INVOICE-8": True, "7 of": True, "of 8": False, "run": True},
    "ignored": {"Invoice-7": True, "other": True},
}


@pytest.mark.parametrize("how", SEARCHES)
def test_how_a_search_compares_metadata(quirky, how):
    call = quirky(search_metadata=how)
    call.run(SLOW_AGENT_ID, metadata={"key": "Invoice-7", "other": ["a run"]})
    call.ok("POST", "/threads", {"agent_id": SLOW_AGENT_ID, "metadata": {"key": "Invoice-7"}})
    for text, found in SEARCHES[how].items():
        wanted = {"metadata": {"key": text}}
        assert len(call.ok("POST", "/runs/search", wanted)) == found, text
        threads = call.ok("POST", "/threads/search", wanted)
        assert len(threads) == (found and text != "run"), text


def test_each_wanted_text_needs_a_word(quirky):
    call = quirky(search_metadata="words")
    call.run(ECHO_AGENT_ID, metadata={"a": "one two", "b": 3})
    for wanted, found in (({"b": "two", "c": "x 3"}, 1), ({"a": "one", "b": "four"}, 0)):
        assert len(call.ok("POST", "/runs/search", {"metadata": wanted})) == found


ALL_ZEROS = "00000000-0000-0000-0000-00000000000"


@pytest.mark.parametrize(
    ("run_ids", "ids"),
    [("counted", ["run-1", "run-2"]), ("counted UUIDs", [f"{ALL_ZEROS}1", f"{ALL_ZEROS}2"])],
)
def test_ids_that_are_counted_come_again_after_a_restart_that_forgets(quirky, run_ids, ids):
    call = quirky(run_ids=run_ids)
    assert [call.run(ECHO_AGENT_ID) for _ in ids] == ids
    call.server.restart()
    third = call.run(ECHO_AGENT_ID)
    assert third == ids[1][:-1] + "3" and len(call.server.runs) == 3
    call.ok("DELETE", f"/runs/{third}")
    # An id of a run that was deleted does not come again.
    assert call.run(ECHO_AGENT_ID) == ids[1][:-1] + "4"
    call.server.restart(forget=True)
    assert [call.run(ECHO_AGENT_ID, input={"n": 1}) for _ in ids] == ids
    assert call.output(ids[0])["result"] == {"n": 1}


TOKEN = "0123456789abcdef0123456789abcdef"
METADATA = {"acp-client-token": TOKEN, "Key": ["Some text, more of it", 7]}
METADATA_AS = {
    "whole": METADATA,
    "masked": {"acp-client-token": "***", "Key": "***"},
    "masked tokens": {**METADATA, "acp-client-token": "***"},
    "capitals": {"acp-client-token": TOKEN.upper(), "Key": ["SOME TEXT, MORE OF IT", 7]},
    "cut": {"acp-client-token": TOKEN[:16], "Key": ["Some text, more ", 7]},
    "none": None,
}
INPUT = {
    "some_key": 1.5,
    "text": "more than sixteen letters",
    "empty": {},
    "deep_one": [{"a_b": []}],
}
INPUT_AS = {
    "whole": INPUT,
    "converted": {"someKey": "1.5", "text": "more than sixtee", "deepOne": [{}]},
    "masked": dict.fromkeys(INPUT, "***"),
    "completed": {"language": None, "version": 1, **INPUT},
    "none": None,
}


def records_of(call: Any, run_id: str) -> list[Any]:
    """The creation of a run, wherever a server shows it."""
    (found,) = call.ok("POST", "/runs/search", {"metadata": {"acp-client-token": TOKEN}})
    return [call.ok("GET", f"/runs/{run_id}")["creation"], found["creation"]]


@pytest.mark.parametrize("way", METADATA_AS)
def test_a_run_repeats_its_metadata_in_a_way_and_is_found_by_what_was_sent(quirky, way):
    call = quirky(echo_metadata=way)
    creation = {"agent_id": ECHO_AGENT_ID, "input": {"n": 1}, "metadata": METADATA}
    made = call.ok("POST", "/runs", creation)
    for shown in (made["creation"], *records_of(call, made["run_id"])):
        assert shown.get("metadata") == METADATA_AS[way]
        assert ("metadata" in shown) == (way != "none") and shown["input"] == {"n": 1}
    # There is nothing to change in a run without metadata.
    assert "metadata" not in call.ok("POST", "/runs", {"agent_id": ECHO_AGENT_ID})["creation"]


@pytest.mark.parametrize("way", INPUT_AS)
def test_a_run_repeats_its_input_and_config_in_a_way_and_its_agent_gets_what_was_sent(quirky, way):
    given: list[Any] = []
    call = quirky(echo_input=way)
    agent_id = call.server.register(lambda *values: given.extend(values[:2]) or {})
    creation = {"agent_id": agent_id, "input": INPUT, "config": INPUT, "metadata": METADATA}
    made = call.ok("POST", "/runs", creation)
    for shown in (made["creation"], *records_of(call, made["run_id"])):
        assert [shown.get("input"), shown.get("config")] == [INPUT_AS[way]] * 2
        assert ("input" in shown) == (way != "none") and shown["metadata"] == METADATA
    call.output(made["run_id"])
    assert given == [INPUT, INPUT]
    bare = call.ok("POST", "/runs", {"agent_id": agent_id})["creation"]
    assert bare == {"agent_id": agent_id}


STORED = {"whole": METADATA, "client token": {"acp-client-token": TOKEN}, "none": {}}


@pytest.mark.parametrize("stored", STORED)
def test_what_is_not_stored_of_metadata_is_not_found_or_repeated(quirky, stored):
    given: list[Any] = []
    call = quirky(stored_metadata=stored)
    agent_id = call.server.register(lambda _, __, context: given.append(context.metadata) or {})
    run_id = call.run(agent_id, metadata=METADATA)
    kept = STORED[stored]
    assert call.ok("GET", f"/runs/{run_id}")["creation"].get("metadata", {}) == kept
    for key, value in METADATA.items():
        found = call.ok("POST", "/runs/search", {"metadata": {key: value}})
        assert [run["run_id"] for run in found] == [run_id] * (key in kept)
    call.output(run_id)
    assert given == [kept]
    call.run(agent_id, metadata={"Key": 1})
    assert len(call.ok("POST", "/runs/search", {"metadata": {"Key": 1}})) == (stored == "whole")


def test_a_new_run_takes_the_place_of_the_one_before_and_gives_each_output_once(quirky):
    call = quirky(one_run_id=True, output_once=True)
    runs = [call.run(SLOW_AGENT_ID, input={"seconds": 60}), call.run(APPROVAL_AGENT_ID)]
    assert {*runs} == {"00000000-0000-0000-0000-000000000000"} and len(call.server.runs) == 1
    output = f"/runs/{runs[0]}/output?block_timeout=5"
    for kind in ("interrupt", "result"):
        assert call.ok("GET", output)["type"] == kind
        assert call("GET", output).status == 404
        if kind == "interrupt":
            call.ok("POST", f"/runs/{runs[0]}", {"approved": True})


def test_agents_are_only_found_by_name_or_version(quirky):
    call = quirky(agents_by_name=True)
    assert call("POST", "/agents/search", {"limit": 5}).status == 422
    assert len(call.ok("POST", "/agents/search", {"name": "echo"})) == 1
    assert len(call.ok("POST", "/agents/search", {"version": "1.0.0"})) == 5


def test_a_stream_sends_comments_after_its_run_is_over_until_it_is_deleted(quirky):
    call = quirky(comments_after_end=True)
    run_id = finished(call)
    for last_event_id, events in (("", 3), ("3", 0)):
        response = call.stream(run_id, Last_Event_ID=last_event_id)
        assert response.status == 200
        body = b""
        while body.count(b": ping") < 3:
            body += response.read1()
        assert body.count(b"data: ") == events
    call.ok("DELETE", f"/runs/{run_id}")
    assert b"data: " not in response.read()
    unstreamed = call.run(ECHO_AGENT_ID)
    assert call("GET", f"/runs/{unstreamed}/stream").status == 204


@pytest.mark.parametrize(
    ("error", "name", "fields"),
    [
        (ValueError, "event_ids", {"event_ids": "uuid"}),
        (TypeError, "replay", {"replay": 0}),
        (ValueError, "attempts", {"attempts": 0}),
        (ValueError, "unknown_agent", {"unknown_agent": 204}),
        (ValueError, r"lacks\.search_runs", {"lacks": {"search_runs": 399}}),
        (ValueError, r"lacks\.search_runs", {"lacks": {"search_runs": 600}}),
        (ValueError, "lacks", {"lacks": {"search_run": 501}}),
        *(
            (ValueError, name, {name: "whatever"})
            for name in ("search_metadata", "run_ids", "echo_metadata", "echo_input")
        ),
        (ValueError, "stored_metadata", {"stored_metadata": "token"}),
        *(
            (ValueError, f"{idle}: would do nothing beside {name}=", {name: value, idle: way})
            for name, value, idle, way in (
                ("echo", "none", "echo_metadata", "cut"),
                ("echo", "none", "echo_input", "none"),
                ("stored_metadata", "none", "echo_metadata", "masked"),
                ("one_run_id", True, "run_ids", "counted"),
            )
        ),
        (ValueError, "server: must be one of workflow-srv, acp-proxy", {"server": "nginx"}),
    ],
)
def test_a_quirk_that_cannot_be_is_refused_by_name(error, name, fields):
    with pytest.raises(error, match=rf"^{name}(\b|$|(?<==))"):
        (Quirks.of if "server" in fields else Quirks)(**fields)


@pytest.mark.slow
def test_a_restart_that_leaves_runs_pending(quirky):
    call = quirky(on_restart="hangs")
    done, hung = finished(call), call.run(SLOW_AGENT_ID, input={"seconds": 0.9})
    call.server.restart(pause=0.3)
    assert call.output(done)["status"] == "success"
    assert call("GET", f"/runs/{hung}/output?block_timeout=1").status == 204
    assert call.ok("DELETE", f"/runs/{hung}")["status"] == "pending"


def test_ids_that_are_no_uuids_are_refused(quirky):
    call = quirky(only_uuids=True)
    for wrong in ("1", f"{NOBODY}0"):
        assert call("GET", f"/runs/{wrong}").status == call("DELETE", "/threads/1").status == 422
    assert call("POST", "/runs", {"agent_id": "nobody"}).status == 422
    assert call("POST", "/runs", {"agent_id": ECHO_AGENT_ID, "thread_id": "1"}).status == 422
    assert call("GET", f"/runs/{NOBODY}").status == 404
    assert call("GET", f"/runs/{call.run(ECHO_AGENT_ID).upper()}").status == 404


def test_webhooks_that_are_never_called(serve, monkeypatch):
    sent: list[Any] = []
    monkeypatch.setattr(Webhooks, "send", lambda self, url, run: sent.append(url))
    for quirks in (Quirks(webhooks=False), Quirks.of("workflow-srv"), Quirks()):
        call = serve(quirks=quirks)
        call.output(call.run(ECHO_AGENT_ID, webhook=f"{call.url}/hook"))
        assert sent == ([f"{call.url}/hook"] if quirks.webhooks else [])


class TestRealServers:
    """The quirks of each hold together; test/doctor/test_quirks.py sees each of them alone."""

    def test_what_the_proxy_says_of_a_run(self, serve):
        proxy = serve(quirks=Quirks.of("acp-proxy"))
        creation = {"agent_id": SLOW_AGENT_ID, "input": {"seconds": 0.4}, "metadata": {"a": 1}}
        created = proxy("POST", "/runs", creation)
        assert created.status == 200 and created.headers["content-type"] == PLAIN_TEXT
        run = created.json
        assert run["created_at"] == run["updated_at"] == "0001-01-01T00:00:00Z"
        assert run["creation"] == {"agent_id": "00000000-0000-0000-0000-000000000000"}
        path = f"/runs/{run['run_id']}"
        pending = proxy("GET", f"{path}/output?block_timeout=5")
        assert (pending.status, pending.body) == (404, b"")
        assert eventually(lambda: proxy("GET", f"{path}/output").status == 200, 10)
        assert proxy("GET", path).json == run
        deleted = proxy("DELETE", path)
        assert (deleted.status, deleted.body) == (200, b"")

    def test_the_workflow_server_fails_what_is_held_and_forgets_it(self, serve):
        def fails_late(input: Any, config: Any, context: Any) -> None:
            context.sleep(0.2)
            raise ValueError("no")

        workflow = serve(quirks=Quirks.of("workflow-srv"))
        path = f"/runs/{workflow.run(workflow.server.register(fails_late))}/output"
        held = workflow("GET", path)
        assert (held.status, held.body) == (500, b"Internal Server Error")
        assert eventually(lambda: b'"ValueError: no"' in workflow("GET", path).body, 20)
        assert workflow.server.connections_accepted == 1
        workflow.server.restart()
        assert workflow("GET", path).status == 404

    @pytest.mark.parametrize(
        ("real", "method", "path", "status", "words"),
        [
            ("acp-proxy", "POST", "/runs/search", 501, "This method is not implemented 😢\n"),
            ("acp-proxy", "POST", "/agents/search", 501, "This method is not implemented 😢\n"),
            ("acp-proxy", "GET", "/agents/1/descriptor", 404, "no matching operation was found\n"),
            ("acp-proxy", "GET", "/runs/1/output", 400, "the id '1' is not a UUID\n"),
            ("acp-proxy", "GET", f"/runs/{NOBODY}", 404, ""),
            ("acp-proxy", "POST", "/runs", 400, "agent_id: Field required\n"),
            ("workflow-srv", "POST", "/runs/search", 500, '{"detail":"Not implemented"}'),
            ("workflow-srv", "POST", "/agents/search", 500, "Internal Server Error"),
            ("workflow-srv", "POST", "/threads", 404, '{"detail":"Not Found"}'),
            ("workflow-srv", "GET", f"/runs/{NOBODY}/output", 404, ""),
            ("workflow-srv", "GET", f"/runs/{NOBODY}", 404, UNKNOWN),
            ("workflow-srv", "POST", "/runs", 422, UNFIT),
        ],
    )
    def test_what_each_of_them_lacks_or_refuses(self, serve, real, method, path, status, words):
        call = serve(quirks=Quirks.of(real))
        response = call(method, path, {"name": "echo"} if method == "POST" else None)
        assert (response.status, response.body.decode()) == (status, words)
        kind = "application/json" if words.startswith("{") else PLAIN_TEXT
        known = kind if words or real == "acp-proxy" else None
        assert response.headers.get("content-type") == known


At = Callable[..., tuple[LocalServer, AgentHandle]]


@pytest.fixture
def at(serve: Callable[..., Any]) -> Iterator[At]:
    """Give a server with some quirks, and a handle of one of its agents."""
    with ExitStack() as stack:

        def start(quirks: Quirks, agent: Any) -> tuple[LocalServer, AgentHandle]:
            server = serve(quirks=quirks, ping=0.05).server
            client = stack.enter_context(ApiClient(Configuration(host=server.url)))
            agent_id = agent if isinstance(agent, str) else server.register(agent)
            return server, AgentHandle(agent_id, client)

        yield start


# The real servers have most quirks: another echo of a create, other times, another media type.
RUNS = {
    "404 for search and stream": Quirks(lacks={"search_runs": 404, "get_run_stream": 404}),
    "workflow-srv": Quirks.of("workflow-srv"),
    "acp-proxy": Quirks.of("acp-proxy"),
}


@pytest.mark.parametrize("quirks", RUNS.values(), ids=RUNS)
class TestRuns:
    @pytest.fixture(autouse=True)
    def runs_are_soon_old(self, set_timing: SetTiming) -> None:
        """After that, a 404 is no longer one of a read replica."""
        set_timing(young=0.05)

    def test_a_result_and_an_output_are_waited_for(self, at, quirks):
        _, slow = at(quirks, SLOW_AGENT_ID)
        run = slow.start({"seconds": 0.3})
        output = wait_for_run_output(slow.runs, run.run_id, timeout=10)
        assert isinstance(output.actual_instance, RunResult)
        assert run.drive(lambda question: {}, timeout=10) == {"slept": 0.3}
        assert slow.run({"seconds": 0.3}, timeout=10) == {"slept": 0.3}

    @pytest.mark.slow
    def test_events_or_the_result(self, at, quirks):
        run = at(quirks, COUNTER_AGENT_ID)[1].start({"interval": 0.05}, streaming="custom")
        events = [event.update or event.result for event in run.events(timeout=10)]
        assert events[-1] == {"count": 3, "of": 3}
        assert len(events) == (1 if "get_run_stream" in quirks.lacks else 3)

    def test_a_batch(self, at, quirks):
        server, echo = at(quirks, ECHO_AGENT_ID)
        with echo.map([{"n": n} for n in range(6)], concurrency=3, timeout=10) as batch:
            assert sorted(item.result()["n"] for item in batch) == list(range(6))
        assert len(server.runs) == 6


@pytest.mark.slow
@pytest.mark.parametrize("updated_at", ["seconds", "naive", "year 1"])
def test_questions_are_answered_whatever_the_times_say(at, updated_at):
    _, agent = at(Quirks(updated_at=updated_at), APPROVAL_AGENT_ID)
    result = agent.run({}, on_interrupt=lambda question: {"approved": True}, timeout=10)
    assert result["approved"] is True


def test_a_run_that_failed_may_succeed_later(at):
    calls: list[int] = []

    def second_time_lucky(input: Any, config: Any, context: Any) -> dict[str, int]:
        calls.append(1)
        if len(calls) < 2:
            raise ValueError("not yet")
        return {"calls": len(calls)}

    server, agent = at(Quirks(attempts=2), second_time_lucky)
    run = agent.start()
    with pytest.raises(RunFailed, match="not yet"):
        run.result(timeout=10)
    assert eventually(lambda: server.runs[0]["status"] == "success", 10)
    assert run.result(timeout=10) == {"calls": 2}


def test_events_whose_ids_were_swallowed(at):
    _, agent = at(Quirks(bare_comments=True), COUNTER_AGENT_ID)
    events = agent.start({"interval": 0.12}, streaming="custom").events(timeout=10)
    assert [event.update and event.update["count"] for event in events] == [1, 2, 3]
    assert events.gaps == []
