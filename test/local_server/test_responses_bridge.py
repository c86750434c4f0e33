"""`responses` responds to this client through the bridge."""

from __future__ import annotations

import gzip
import json
import threading
from typing import Any

import pytest
import requests
import responses
from responses import matchers
from support.examples import RESULT, RUN

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import ECHO_AGENT_ID
from acp_client_v0_1.testing.responses_bridge import responses_bridge

HOST = "https://acp.example"


@pytest.fixture
def runs() -> Any:
    configuration = acp.Configuration(host=HOST, access_token="secret")
    with acp.ApiClient(configuration) as client, responses_bridge():
        yield acp.RunsApi(client)


@responses.activate
def test_credentials_in_the_query_are_sent(runs):
    responses.get(f"{HOST}/runs/r1", json=RUN)
    responses.get(f"{HOST}/runs/r1/output", json=RESULT)
    auth = {"in": "query", "key": "k", "value": "v w"}
    runs.get_run("r1", _request_auth=auth)
    runs.get_run_output("r1", block_timeout=3, _request_auth=auth)
    urls = [call.request.url for call in responses.calls]
    assert urls == [f"{HOST}/runs/r1?k=v%20w", f"{HOST}/runs/r1/output?block_timeout=3&k=v%20w"]


@responses.activate
def test_matchers_and_records_see_the_request_as_sent(runs):
    creation = matchers.json_params_matcher({"agent_id": "a", "input": {"n": 1}})
    token = matchers.header_matcher({"Authorization": "Bearer secret"})
    window = matchers.query_param_matcher({"block_timeout": 3})
    responses.post(f"{HOST}/runs", json=RUN, match=[creation, token])
    responses.get(f"{HOST}/runs/r1/output", json=RESULT, match=[window])
    runs.create_run(acp.RunCreate(agent_id="a", input={"n": 1}))
    output = runs.get_run_output("r1", block_timeout=3)
    assert output is not None
    assert isinstance(output.actual_instance, acp.RunResult)
    assert json.loads(responses.calls[0].request.body) == {"agent_id": "a", "input": {"n": 1}}
    assert responses.calls[1].request.url == f"{HOST}/runs/r1/output?block_timeout=3"


@responses.activate
def test_no_output_and_errors_with_headers_and_a_compressed_body(runs):
    responses.get(f"{HOST}/runs/r1/output", status=204)
    more = {"Content-Encoding": "gzip", "X-Test": "yes"}
    body = gzip.compress(b'"no such run"')
    responses.get(f"{HOST}/runs/r1", body=body, status=404, headers=more)
    assert runs.get_run_output("r1") is None
    with pytest.raises(acp.NotFoundException, match="no such run") as caught:
        runs.get_run("r1")
    assert caught.value.reason == "Not Found"
    assert caught.value.headers is not None and caught.value.headers["X-Test"] == "yes"


@responses.activate
def test_the_clients_own_retries_see_each_response(runs):
    responses.get(f"{HOST}/runs/r1", status=503, headers={"Retry-After": "0"})
    responses.get(f"{HOST}/runs/r1", json=RUN)
    assert runs.get_run("r1").run_id == "r1"
    assert len(responses.calls) == 2


@responses.activate
def test_a_long_stream_arrives_and_leaving_it_early_leaves_no_thread(runs):
    body = "".join(
        f"id: {n}\nevent: agent_event\ndata: {json.dumps({**RESULT, 'result': {'n': n}})}\n\n"
        for n in range(20_000)
    )
    responses.get(f"{HOST}/runs/r1/stream", body=body, content_type="text/event-stream")
    with runs.get_run_stream("r1") as stream:
        numbers = [next(stream).data.actual_instance.result["n"] for _ in range(2000)]
    assert numbers == list(range(2000))
    for thread in threading.enumerate():
        if thread.name == "responses":
            thread.join(5)
    assert "responses" not in {thread.name for thread in threading.enumerate()}


@responses.activate
@pytest.mark.parametrize(
    ("declared", "expected", "ambiguous"),
    [
        (requests.ConnectionError("cable cut"), acp.ConnectionException, True),
        (requests.Timeout("too slow"), acp.ApiTimeoutError, True),
        (requests.ConnectTimeout("nobody there"), acp.ApiTimeoutError, False),
        (Exception("boom"), acp.ConnectionException, True),
    ],
)
def test_a_declared_exception_is_a_failed_connection(runs, declared, expected, ambiguous):
    responses.post(f"{HOST}/runs", body=declared)
    with pytest.raises(expected) as caught:
        runs.create_run({"agent_id": "a"})
    assert caught.value.ambiguous is ambiguous
    assert "needs testing.responses_bridge()" not in str(caught.value)


@responses.activate
def test_no_match_and_a_broken_callback_are_the_tests_own_errors(runs):
    responses.add_callback("GET", f"{HOST}/runs/other", lambda request: {}["missing"])
    with pytest.raises(KeyError, match="missing"):
        runs.get_run("other")
    with pytest.raises(AssertionError, match="doesn't match any registered mock"):
        runs.get_run("r1")
    assert len(responses.calls) == 2


def test_without_an_active_mock_the_server_responds(server):
    with acp.ApiClient(acp.Configuration(host=server.url)) as client, responses_bridge():
        assert acp.AgentsApi(client).get_agent_by_id(ECHO_AGENT_ID).agent_id == ECHO_AGENT_ID
