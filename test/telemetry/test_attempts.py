"""An attempt is an HTTP client span; its trace headers go to the configured origin only."""

import atexit
import json
import logging

import pytest
import urllib3
from opentelemetry import baggage, context
from opentelemetry.trace import SpanKind, StatusCode
from support.examples import RUN
from support.socket_server import CLOSE, RESET, SocketServer, head, response
from support.spans import Spans, attributes, scripted, traceparent_of

from acp_client_v0_1 import ApiException, __version__, instrument

OK = response(json.dumps(RUN).encode())
BUSY = response(b'"busy"', 503)
QUICK = urllib3.Retry(3, backoff_factor=0.001, backoff_max=0.001)


TRACEPARENT = "00-11111111111111111111111111111111-2222222222222222-01"


def test_a_call_is_a_span_of_kind_client(spans):
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


def test_each_retry_is_a_span_of_its_own_with_its_number(spans, tracer):
    scripts, current = (BUSY, [RESET], OK), tracer.start_as_current_span("caller")
    with scripted(spans, *scripts, retries=QUICK) as (runs, server), current as caller:
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


TRUNCATED = [head(content_length="100"), b"{", CLOSE]


@pytest.mark.parametrize(
    ("script", "status", "error"),
    [
        (response(b'"planted words"', 399), 399, None),
        (response(b'"planted words"', 400), 400, "400"),
        (TRUNCATED, 200, "ConnectionException"),
    ],
)
def test_an_attempt_has_its_status_and_the_type_of_its_error(spans, script, status, error):
    with scripted(spans, script) as (runs, _), pytest.raises(ApiException):
        runs.get_run("r1")
    found = attributes(spans.one("GET"))
    assert (found["http.response.status_code"], found.get("error.type")) == (status, error)
    assert "planted" not in spans.text


@pytest.mark.parametrize("own", [{}, {"traceparent": TRACEPARENT}], ids=["ours", "the caller's"])
def test_a_redirect_has_trace_headers_and_another_origin_has_none(spans, own):
    with SocketServer(OK) as other:
        here = response(b"", 307, location="/runs/r1/")
        elsewhere = response(b"", 307, location=f"{other.url}/elsewhere?signature=planted")
        with scripted(spans, here, elsewhere) as (runs, server):
            runs.get_run("r1", _headers=own)
            runs.api_client.call_api("GET", f"{other.url}/x")
    for request in other.requests:
        assert not {"traceparent", "tracestate", "baggage"} & set(request.headers)
    first, second, away, _ = spans.named("GET")
    assert attributes(first)["http.response.status_code"] == 307
    assert first.status.status_code is StatusCode.UNSET
    assert attributes(second)["http.request.resend_count"] == 1
    sent = own.get("traceparent", traceparent_of(second))
    assert server.requests[1].headers["traceparent"] == sent
    found = attributes(away)
    assert away.name == "GET" and "url.template" not in found
    assert found["url.full"] == f"{other.url}/elsewhere"
    assert found["server.port"] == int(other.url.rpartition(":")[2])
    assert "planted" not in spans.text


@pytest.mark.parametrize("name", ["traceparent", "TraceParent"])
def test_the_trace_headers_of_a_caller_are_left_alone(spans, name):
    with scripted(spans, OK) as (runs, server):
        runs.get_run("r1", _headers={name: TRACEPARENT})
    assert server.requests[0].headers["traceparent"] == TRACEPARENT
    assert server.requests[0].raw_head.lower().count(b"traceparent:") == 1


def test_the_propagators_that_are_set_decide_on_the_headers(spans):
    token = context.attach(baggage.set_baggage("tenant", "t1"))
    try:
        with scripted(spans, OK) as (runs, server):
            for own in ({}, {"traceparent": TRACEPARENT}):
                runs.get_run("r1", _headers=own)
    finally:
        context.detach(token)
    found = [request.headers.get("baggage") for request in server.requests]
    assert found == ["tenant=t1", None]  # a caller's own headers are left as they are


def test_no_credential_and_no_query_is_recorded(spans, caplog):
    secrets = {"access_token": "planted-token", "api_key": {"apiKey": "planted-key"}}
    auth = {"in": "query", "key": "key", "value": "planted-query", "type": "apiKey"}
    caplog.set_level(logging.DEBUG, "acp_client_v0_1")
    with scripted(spans, BUSY, OK, retries=QUICK, **secrets) as (runs, server):
        runs.api_client.cookie = "planted-cookie"
        runs.get_run("r1", _headers={"x-private": "planted-header"}, _request_auth=auth)
    assert b"planted-query" in server.requests[0].raw_head
    assert len(spans.all) == 2
    assert "planted" not in spans.text
    assert traceparent_of(spans.all[0]) in caplog.text
    assert "planted" not in caplog.text


def test_instrumenting_again_replaces(spans, monkeypatch):
    other, at_exit = Spans(), []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setattr(atexit, "unregister", lambda function: at_exit.clear())
    with scripted(spans, OK) as (runs, _):
        instrument(runs.api_client, other.provider)
        assert len(at_exit) == 1
        runs.get_run("r1")
    assert not spans.all and len(other.all) == 1
    other.provider.shutdown()
