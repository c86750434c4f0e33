"""A run is one span, from its start to the outcome that is waited for."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from support.forks import printed_by
from support.spans import attributes, traceparent_of

import acp_client_v0_1 as acp
from acp_client_v0_1.handles._token import decode_token
from acp_client_v0_1.testing import (
    APPROVAL_AGENT_ID,
    ECHO_AGENT_ID,
    FAILING_AGENT_ID,
    SLOW_AGENT_ID,
    Fault,
)

CREATE, WAIT = "POST /runs", "GET /runs/{run_id}/output"


def links(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def test_run_is_a_span_around_start_and_wait(client, spans, tracer):
    agent = acp.AgentHandle.find("echo", api_client=client)
    thread = acp.ThreadsApi(client).create_thread({"agent_id": ECHO_AGENT_ID}).thread_id
    private = {"config": {"c": "planted"}, "metadata": {"m": "planted"}}
    with tracer.start_as_current_span("caller") as caller:
        agent.run({"message": "planted"}, thread_id=thread, timeout=30, **private)
    run = spans.one("invoke_agent")
    known = agent.agent.metadata
    host, _, port = client.configuration.host.rpartition("//")[2].partition(":")
    (run_id,) = (run.run_id for run in acp.RunsApi(client).search_runs({}))
    assert run.name == "invoke_agent echo"
    assert run.kind is SpanKind.CLIENT
    assert run.parent == caller.get_span_context()
    assert run.status.status_code is StatusCode.UNSET
    assert attributes(run) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "acp",
        "gen_ai.agent.id": ECHO_AGENT_ID,
        "gen_ai.agent.name": "echo",
        "gen_ai.agent.version": known.ref.version,
        "gen_ai.agent.description": known.description,
        "gen_ai.conversation.id": thread,
        "server.address": host,
        "server.port": int(port),
        "acp.run.id": run_id,
        "acp.run.status": "success",
    }
    assert spans.children(run) == [CREATE, WAIT]
    assert "planted" not in spans.text


def test_what_a_server_sent_is_one_bounded_line_in_a_span(server, client, spans):
    bad, line = "a\ud83d\x1b[31m\nb", "a\ufffd\ufffd[31m b"
    about = {"ref": {"name": bad, "version": bad}, "description": bad * 20_000}
    body = json.dumps({"agent_id": ECHO_AGENT_ID, "metadata": about}).encode()
    server.faults.add(Fault(path="/agents/*", status=200, body=body))
    agent = acp.AgentHandle(ECHO_AGENT_ID, client)
    assert agent.agent.metadata.ref.version == bad
    agent.run({}, timeout=30)
    seen = attributes(span := spans.one("invoke_agent"))
    assert (span.name, seen["gen_ai.agent.version"]) == (f"invoke_agent {line}", line)
    assert len(seen["gen_ai.agent.description"]) == 1_000


def test_start_and_result_are_one_span(client, spans, tracer):
    handle = acp.AgentHandle(ECHO_AGENT_ID, client).start({})
    assert not spans.named("invoke_agent")
    with tracer.start_as_current_span("elsewhere"):
        assert [handle.result(timeout=30) for _ in range(2)] == [{}, {}]
        handle.refresh()
    run = spans.one("invoke_agent")
    # The second result is the kept one.
    assert spans.children(run) == [CREATE, WAIT, "GET /runs/{run_id}"]
    assert run.parent is None


def started(client: acp.ApiClient, agent: str, **input: Any) -> acp.RunHandle:
    return acp.AgentHandle(agent, client).start(input)


LOOK = "GET /runs/{run_id}"


@pytest.mark.parametrize(
    ("work", "status", "error", "below"),
    [
        (lambda c: started(c, ECHO_AGENT_ID).output(30), "success", None, [CREATE, WAIT]),
        (lambda c: started(c, FAILING_AGENT_ID).output(30), "error", "RunFailed", [CREATE, WAIT]),
        (
            lambda c: started(c, FAILING_AGENT_ID, description="planted").result(30),
            *("error", "RunFailed", [CREATE, WAIT, LOOK]),
        ),
        (lambda c: acp.RunHandle("nobody", c).result(30), "gone", "RunGone", [WAIT, LOOK]),
        (
            lambda c: started(c, SLOW_AGENT_ID, seconds=30).cancel(),
            *("cancelled", None, [CREATE, LOOK, "DELETE /runs/{run_id}"]),
        ),
        (lambda c: started(c, "nobody"), None, "NotFoundException", [CREATE]),
    ],
    ids=["result", "error", "failure", "gone", "cancelled", "refused"],
)
def test_a_span_has_the_end_of_its_run(client, spans, work, status, error, below):
    with contextlib.suppress(acp.ApiException):
        work(client)
    run = spans.one("invoke_agent")
    found = attributes(run)
    # An agent that is known by its id only has no name.
    assert run.name == "invoke_agent" and "gen_ai.agent.name" not in found
    assert (found.get("acp.run.status"), found.get("error.type")) == (status, error)
    assert run.status.status_code is (StatusCode.ERROR if error else StatusCode.UNSET)
    assert run.status.description is None and not run.events and "planted" not in spans.text
    assert spans.children(run) == below
    assert ("acp.run.id" in found) is (status is not None)


def test_a_lost_create_is_looked_for_inside_the_span(client, spans, server):
    server.faults.add(Fault(cut="close", after_wire_bytes=0, method="POST", path="/runs"))
    acp.AgentHandle(ECHO_AGENT_ID, client).run({}, timeout=30)
    run = spans.one("invoke_agent")
    assert spans.children(run)[:2] == [CREATE, "POST /runs/search"]
    assert attributes(run)["acp.run.status"] == "success"


def test_a_run_that_asks_ends_the_span_and_goes_on_in_a_linked_one(client, spans):
    handle = acp.AgentHandle(APPROVAL_AGENT_ID, client).start({})
    with pytest.raises(acp.RunInterrupted) as asked:
        handle.result(timeout=30)
    first = spans.one("invoke_agent")
    assert attributes(first)["acp.run.status"] == "interrupted"
    assert first.status.status_code is StatusCode.UNSET and "error.type" not in attributes(first)
    # A token tells the span, and passes it on.
    traceparent = traceparent_of(first)
    for token in (handle.token(), asked.value.token):
        again = acp.RunHandle.from_token(token, client).token()
        assert {decode_token(each).traceparent for each in (token, again)} == {traceparent}
    asked.value.interrupt.answer({"approved": True, "note": "planted"})
    handle.result(timeout=30)
    _, second = spans.named("invoke_agent")
    assert links(second) == [id_of(first)]
    assert attributes(second)["acp.run.status"] == "success"
    assert attributes(second)["acp.run.id"] == attributes(first)["acp.run.id"] == handle.run_id
    assert "planted" not in spans.text


def test_questions_that_are_driven_through_or_iterated_over_are_one_span(client, spans, tracer):
    def answer(question: Any) -> dict[str, Any]:
        with tracer.start_as_current_span("thinking"):
            return {"approved": True}

    agent = acp.AgentHandle(APPROVAL_AGENT_ID, client)
    agent.run({}, on_interrupt=answer, timeout=30)
    below = spans.children(run := spans.one("invoke_agent"))
    assert below[0] == CREATE and "thinking" in below and "POST /runs/{run_id}" in below
    assert attributes(run)["acp.run.status"] == "success"
    handle = acp.RunHandle(agent.start({}).run_id, client)
    for question in handle.interrupts(timeout=30):
        question.answer({"approved": True})
    assert "acp.run.status" not in attributes(spans.named("invoke_agent")[-1])
    handle.result(timeout=30)
    span = spans.named("invoke_agent")[-1]
    assert attributes(span)["acp.run.status"] == "success"
    assert spans.children(span).count(WAIT) >= 3
    assert "POST /runs/{run_id}" in spans.children(span)


def test_the_time_of_a_wait_is_over_or_it_is_interrupted(client, spans):
    def press(elapsed: float, status: object) -> None:
        raise KeyboardInterrupt

    def fail(elapsed: float, status: object) -> None:
        vars(own := OSError())["status_name"] = "success"
        raise own

    handle = acp.AgentHandle(SLOW_AGENT_ID, client).start({"seconds": 30})
    with pytest.raises(acp.RunWaitTimeout):
        handle.result(timeout=0)
    assert not spans.named("invoke_agent")  # that was a look
    callbacks = ({"on_pending": callback, "every": 0.1} for callback in (press, fail))
    for options in ({"timeout": 0.3}, *callbacks):
        with pytest.raises((acp.RunWaitTimeout, KeyboardInterrupt, OSError)):
            handle.result(**options)
    late, pressed, failed = map(attributes, spans.named("invoke_agent"))
    assert (late["acp.run.status"], late["error.type"]) == ("pending", "RunWaitTimeout")
    assert pressed["error.type"] == "KeyboardInterrupt"
    # The attributes of an error of a callback say nothing about the run.
    assert failed["error.type"] == "OSError" and "acp.run.status" not in failed
    handle.cancel()


def test_a_run_that_nobody_waits_for_ends_with_its_last_request(client, spans):
    handle = acp.AgentHandle(ECHO_AGENT_ID, client).start({})
    returned = time.time_ns()
    del handle
    create, run = spans.one(CREATE), spans.one("invoke_agent")
    assert "acp.run.status" not in attributes(run) and run.status.status_code is StatusCode.UNSET
    assert create.end_time and run.end_time
    assert create.end_time <= run.end_time <= returned


LEAVING = """
import sys
sys.stderr = sys.stdout  # so that nothing is printed unseen
from acp_client_v0_1 import AgentHandle, ApiClient, Configuration, instrument
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

provider = TracerProvider()
exporter = ConsoleSpanExporter(formatter=lambda span: span.name + "\\n")
provider.add_span_processor(BatchSpanProcessor(exporter))
client = ApiClient(Configuration(host="%s"))
instrument(client, provider)
handle = AgentHandle("%s", client).start({})
"""


def test_a_script_that_only_starts_a_run_leaves_its_span(server):
    printed = printed_by(LEAVING % (server.url, ECHO_AGENT_ID))
    assert printed.split("\n") == [CREATE, "invoke_agent", ""]


def test_a_pickled_handle_starts_a_linked_span(client, spans):
    handle = acp.AgentHandle(ECHO_AGENT_ID, client).start({})
    copy: acp.RunHandle = pickle.loads(pickle.dumps(handle))
    with copy._core.runs.api_client as other:
        assert other.rest_client.observer is None  # a pickle of a client is not instrumented
        copy.result(timeout=30)
        assert not spans.named("invoke_agent")
        other.rest_client.observer = client.rest_client.observer
        copy.result(timeout=30)
    handle.result(timeout=30)
    started, attached = spans.named("invoke_agent")
    assert links(attached) == [id_of(started)]
    assert attributes(attached)["gen_ai.conversation.id"] == handle.thread_id


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_token_with_a_useless_span_is_attached_to_without_a_link(client, spans, traceparent):
    handle = acp.AgentHandle(ECHO_AGENT_ID, client).start({})
    handle.result(timeout=30)
    token = replace(decode_token(handle.token()), traceparent=traceparent).encode()
    acp.RunHandle.from_token(token, client).result(timeout=30)
    assert not spans.named("invoke_agent")[1].links


UNUSED = """
import sys
from acp_client_v0_1 import AgentHandle, ApiClient, Configuration, RunHandle
with ApiClient(Configuration.from_env()) as client:
    agent = AgentHandle.find("counter", api_client=client)
    run = agent.start({"count": 2}, streaming="custom")
    assert len(list(run.events(timeout=30))) == 2
    assert RunHandle.from_token(run.token(), client).result(timeout=30)
    assert len(list(agent.map([{"count": 1}] * 3, timeout=30))) == 3
names = ("opentelemetry", "acp_client_v0_1.telemetry", "acp_client_v0_1._http.observer")
print([name for name in sys.modules if name.startswith(names)])
"""


def test_nothing_is_imported_by_a_client_that_is_not_instrumented(server, monkeypatch):
    monkeypatch.setenv("ACP_HOST", server.url)
    assert printed_by(UNUSED) == "[]\n"


def test_views_share_the_observer_and_copies_by_pickle_do_not(server, spans):
    with acp.ApiClient(acp.Configuration(host=server.url)) as client:
        before = client.with_options(retries=0)
        acp.instrument(client, spans.provider)
        for view in (before, client.with_options(retries=0), copy.copy(client)):
            acp.RunsApi(view).search_runs({})
        assert len(spans.all) == 3
        with pickle.loads(pickle.dumps(client)) as other:
            acp.RunsApi(other).search_runs({})
        assert len(spans.all) == 3


def test_what_is_no_client_is_refused_and_a_missing_package_is_named_with_its_extra(monkeypatch):
    with pytest.raises(acp.ApiTypeError, match="client must be an ApiClient, not Configuration"):
        acp.instrument(acp.Configuration())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    words = r"^instrument\(\) needs the package opentelemetry: pip install 'acp-.*\[telemetry\]'$"
    with acp.ApiClient() as client, pytest.raises(acp.ApiValueError, match=words):
        acp.instrument(client)
