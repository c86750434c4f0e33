"""The reading of a stream is a span beside the attempt that opened it."""

from __future__ import annotations

import contextlib
import gc
import json
import threading
from itertools import islice

import pytest
from opentelemetry.trace import SpanKind, StatusCode
from support.parts import NothingYet
from support.socket_server import RESET, STALL, chunk, head, response
from support.spans import attributes, scripted
from support.transport import eventually

from acp_client_v0_1 import AgentHandle, NotFoundException, RunHandle, StreamInterrupted
from acp_client_v0_1.testing import COUNTER_AGENT_ID, Fault

OPEN = "GET /runs/{run_id}/stream"
HEAD = head(content_type="text/event-stream", transfer_encoding="chunked")


def event(number: int) -> bytes:
    data = {"type": "custom", "run_id": "r1", "status": "pending", "update": {"planted": number}}
    return chunk(f"id: {number}\ndata: {json.dumps(data)}\n\n".encode())


WHOLE = [HEAD, event(1), event(2), chunk(b"")]


def test_a_stream_that_is_read_to_its_end(spans, tracer):
    with scripted(spans, WHOLE) as (runs, _), tracer.start_as_current_span("caller") as caller:
        stream = runs.get_run_stream("r1")
        assert spans.one("GET").name == OPEN and not spans.named("read")
        assert len(list(stream)) == 2
    reading = spans.one("read stream")
    assert reading.kind is SpanKind.INTERNAL
    assert reading.parent == spans.one("GET").parent == caller.get_span_context()
    assert attributes(reading) == {"acp.stream.end": "complete"}
    assert reading.status.status_code is StatusCode.UNSET
    assert "planted" not in spans.text


@pytest.mark.parametrize("script", [response(b"", 204, content_type=""), response(b'"no"', 404)])
def test_a_stream_that_is_not_there_is_not_read(spans, script):
    with scripted(spans, script) as (runs, _), contextlib.suppress(NotFoundException):
        assert list(runs.get_run_stream("r1")) == []
    assert [span.name for span in spans.all] == [OPEN]


@pytest.mark.parametrize("how", ["closed", "closed by another thread", "forgotten"])
def test_a_stream_that_is_left_early(spans, how):
    with scripted(spans, [HEAD, event(1), STALL]) as (runs, server):
        stream = runs.get_run_stream("r1")
        next(stream)
        if how == "closed":
            stream.close()
        elif how == "closed by another thread":
            threading.Timer(0.2, stream.close).start()
            assert list(stream) == []
        else:
            del stream
            gc.collect()
        assert eventually(lambda: server.still_open == 0)
        assert attributes(spans.one("read")) == {"acp.stream.end": "left"}
    assert spans.one("read").status.status_code is StatusCode.UNSET


def test_a_stream_that_breaks(spans):
    with scripted(spans, [HEAD, event(1), 0.1, RESET]) as (runs, _):
        stream = runs.get_run_stream("r1")
        next(stream)
        with pytest.raises(StreamInterrupted) as broken:
            next(stream)
    reading = spans.one("read")
    cause = broken.value.__cause__
    assert attributes(reading) == {"acp.stream.end": "failed", "error.type": type(cause).__name__}
    assert reading.status.status_code is StatusCode.ERROR
    assert reading.status.description is None and not reading.events


def test_a_wait_for_an_event_that_is_given_up_ends_nothing(spans):
    script = [HEAD, event(1), 0.5, event(2), chunk(b"")]
    with scripted(spans, script) as (runs, _), runs.get_run_stream("r1") as stream:
        next(stream)
        with pytest.raises(NothingYet):
            stream.reader.advance(0.05)
        assert not spans.named("read")
        assert len(list(stream)) == 1
    assert attributes(spans.one("read")) == {"acp.stream.end": "complete"}


def test_a_response_without_preload_content_is_an_attempt_only(spans):
    with scripted(spans, WHOLE) as (runs, _):
        unread = runs.get_run_stream_without_preload_content("r1")
        unread.read()
        unread.close()
    assert [span.name for span in spans.all] == [OPEN]


def test_events_of_a_run_are_read_inside_its_span_over_broken_connections(client, spans, server):
    server.faults.add(Fault(path="/runs/*/stream", cut="reset", after_events=1))
    run = AgentHandle(COUNTER_AGENT_ID, client).start({"count": 3}, streaming="custom")
    assert len(list(run.events(timeout=30))) == 3
    span = spans.one("invoke_agent")
    below = spans.children(span)
    assert below[0] == "POST /runs"
    assert below.count(OPEN) == below.count("read stream") == 2
    ends = [attributes(each)["acp.stream.end"] for each in spans.named("read")]
    assert ends == ["failed", "complete"]
    assert attributes(span)["acp.run.status"] == "success"


def test_events_that_are_left_early_leave_the_run_to_its_result(client, spans):
    # The end of the events ends the span of the run, and leaving them early does not.
    for left, end in ((True, "left"), (False, "complete")):
        run = AgentHandle(COUNTER_AGENT_ID, client).start({"count": 3}, streaming="custom")
        with run.events(timeout=30) as events:
            assert len(list(islice(events, 1 if left else None))) == (1 if left else 3)
        assert attributes(spans.named("read")[-1]) == {"acp.stream.end": end}
        assert len(spans.named("invoke_agent")) == (0 if left else 2)
        run.result(timeout=30)
        span = spans.named("invoke_agent")[-1]
        assert attributes(span)["acp.run.status"] == "success"
        assert "GET /runs/{run_id}/output" in spans.children(span)


def test_following_a_run_of_another_process_is_a_span(client, spans):
    run = AgentHandle(COUNTER_AGENT_ID, client).start({"count": 2}, streaming="custom")
    token = run.token()
    list(RunHandle.from_token(token, client).events(timeout=30))
    del run
    started, followed = spans.named("invoke_agent")
    assert [link.context.span_id for link in followed.links] == [started.get_span_context().span_id]
    assert "read stream" in spans.children(followed)
