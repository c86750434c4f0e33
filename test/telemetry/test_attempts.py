"""An attempt is an HTTP client span; its trace headers go to the configured origin only."""

from __future__ import annotations

import json
import logging

import pytest
import urllib3
from opentelemetry import baggage, context
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from support.examples import RUN
from support.socket_server import RESET, SocketServer, response
from support.spans import Spans, attributes, scripted, traceparent_of

from acp_client_v0_1 import ApiException, instrument
from acp_client_v0_1._version import __version__

OK = response(json.dumps(RUN).encode())
BUSY = response(b'"busy"', 503)
QUICK = urllib3.Retry(3, backoff_factor=0.001, backoff_max=0.001)


def test_a_call_is_a_span_of_kind_client(spans: Spans) -> None:
    with scripted(spans, OK, path="/base") as (runs, server):
        runs.get_run("r1")
    span = spans.one("GET")
    port = int(server.url.rpartition(":")[2])
    assert span.name == "GET /runs/{run_id}"
    assert span.kind is SpanKind.CLIENT
    assert span.instrumentation_scope is not None
    scope = span.instrumentation_scope.name, span.instrumentation_scope.version
    assert scope == ("acp_client_v0_1", __version__)
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.full": f"{server.url}/base/runs/r1",
        "url.template": "/runs/{run_id}",
    }
    assert server.requests[0].headers["traceparent"] == traceparent_of(span)


def test_each_retry_is_a_span_of_its_own_with_its_number(spans: Spans, tracer: Tracer) -> None:
    with (
        scripted(spans, BUSY, [RESET], OK, retries=QUICK) as (runs, server),
        tracer.start_as_current_span("caller") as caller,
    ):
        runs.get_run("r1")
    first, second, third = spans.named("GET")
    found = [attributes(span) for span in (first, second, third)]
    assert [each.get("http.request.resend_count") for each in found] == [None, 1, 2]
    assert [each.get("http.response.status_code") for each in found] == [503, None, 200]
    assert [each.get("error.type") for each in found] == ["503", "ConnectionException", None]
    error, unset = StatusCode.ERROR, StatusCode.UNSET
    assert [s.status.status_code for s in (first, second, third)] == [error, error, unset]
    assert [r.headers["traceparent"] for r in server.requests] == [
        traceparent_of(span) for span in (first, second, third)
    ]
    for span in (first, second, third):
        assert span.parent == caller.get_span_context()
        assert span.status.description is None and not span.events


def test_a_refusal_is_an_error_of_its_status(spans: Spans) -> None:
    with (
        scripted(spans, response(b'"planted words"', 422)) as (runs, _),
        pytest.raises(ApiException),
    ):
        runs.get_run("r1")
    assert attributes(spans.one("GET"))["error.type"] == "422"
    assert "planted" not in spans.text


def test_a_host_that_nobody_listens_at(spans: Spans) -> None:
    with scripted(spans, OK) as (runs, server), pytest.raises(ApiException) as failure:
        server.stop()
        runs.get_run("r1")
    span = spans.one("GET")
    assert attributes(span)["error.type"] == type(failure.value).__name__
    assert "http.response.status_code" not in attributes(span)


def test_a_body_that_breaks_off_fails_the_attempt_with_its_status(spans: Spans) -> None:
    truncated = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"
    with (
        scripted(spans, [truncated, "close"]) as (runs, _),
        pytest.raises(ApiException) as failure,
    ):
        runs.get_run("r1")
    found = attributes(spans.one("GET"))
    assert found["error.type"] == type(failure.value).__name__
    assert found["http.response.status_code"] == 200


def test_a_redirect_on_the_origin_has_trace_headers_too(spans: Spans) -> None:
    moved = response(b"", 307, location="/runs/r1/")
    with scripted(spans, moved, OK) as (runs, server):
        runs.get_run("r1")
    first, second = spans.named("GET /runs/{run_id}")
    assert attributes(first)["http.response.status_code"] == 307
    assert first.status.status_code is StatusCode.UNSET
    assert attributes(second)["http.request.resend_count"] == 1
    assert server.requests[1].headers["traceparent"] == traceparent_of(second)


def test_another_origin_gets_no_trace_headers(spans: Spans) -> None:
    with SocketServer(OK) as other:
        moved = response(b"", 307, location=f"{other.url}/elsewhere?signature=planted")
        with scripted(spans, moved) as (runs, server):
            runs.get_run("r1")
    assert "traceparent" in server.requests[0].headers
    assert not {"traceparent", "tracestate", "baggage"} & set(other.requests[0].headers)
    _, away = spans.named("GET")
    found = attributes(away)
    assert away.name == "GET" and "url.template" not in found
    assert found["url.full"] == f"{other.url}/elsewhere"
    assert found["server.port"] == int(other.url.rpartition(":")[2])
    assert "planted" not in spans.text


def test_a_call_to_another_host_gets_no_trace_headers(spans: Spans) -> None:
    with SocketServer(OK) as other, scripted(spans, OK) as (runs, server):
        runs.api_client.call_api("GET", f"{other.url}/x")
        runs.api_client.call_api("GET", f"{server.url}/x")
    assert "traceparent" not in other.requests[0].headers
    assert "traceparent" in server.requests[0].headers


@pytest.mark.parametrize("name", ["traceparent", "TraceParent"])
def test_the_trace_headers_of_a_caller_are_left_alone(spans: Spans, name: str) -> None:
    own = "00-11111111111111111111111111111111-2222222222222222-01"
    with scripted(spans, OK) as (runs, server):
        runs.get_run("r1", _headers={name: own})
    assert server.requests[0].headers["traceparent"] == own
    assert server.requests[0].raw_head.lower().count(b"traceparent:") == 1


def test_the_trace_headers_of_a_caller_stay_at_the_configured_origin(spans: Spans) -> None:
    own = "00-11111111111111111111111111111111-2222222222222222-01"
    with SocketServer(OK) as other:
        moved = response(b"", 307, location=other.url)
        with scripted(spans, moved) as (runs, server):
            runs.get_run("r1", _headers={"traceparent": own})
    assert server.requests[0].headers["traceparent"] == own
    assert "traceparent" not in other.requests[0].headers


def test_the_propagators_that_are_set_decide_on_the_headers(spans: Spans) -> None:
    token = context.attach(baggage.set_baggage("tenant", "t1"))
    try:
        with scripted(spans, OK) as (runs, server):
            runs.get_run("r1")
    finally:
        context.detach(token)
    assert server.requests[0].headers["baggage"] == "tenant=t1"


def test_no_credential_and_no_query_is_recorded(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = {"access_token": "planted-token", "api_key": {"apiKey": "planted-key"}}
    auth = {"in": "query", "key": "key", "value": "planted-query", "type": "apiKey"}
    with (
        scripted(spans, BUSY, OK, retries=QUICK, **secrets) as (runs, server),
        caplog.at_level(logging.DEBUG, "acp_client_v0_1"),
    ):
        runs.api_client.cookie = "planted-cookie"
        runs.get_run("r1", _headers={"x-private": "planted-header"}, _request_auth=auth)
    assert b"planted-query" in server.requests[0].raw_head
    assert len(spans.all) == 2
    assert "planted" not in spans.text
    assert traceparent_of(spans.all[0]) in caplog.text
    assert "planted" not in caplog.text


def test_instrumenting_again_replaces(spans: Spans) -> None:
    other = Spans()
    with scripted(spans, OK) as (runs, _):
        instrument(runs.api_client, other.provider)
        runs.get_run("r1")
    assert not spans.all and len(other.all) == 1
    other.provider.shutdown()
