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
from responses._recorder import Recorder
from support.examples import RESULT, RUN

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import ECHO_AGENT_ID
from acp_client_v0_1.testing.responses_bridge import responses_bridge
from acp_client_v0_1.transport import Urllib3Transport

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


@responses.activate
def test_the_recorded_response_can_be_read(runs):
    responses.get(f"{HOST}/runs/r1", json=RUN)
    coded = gzip.compress(b'"gone"')
    responses.get(f"{HOST}/runs/r2", body=coded, status=404, headers={"Content-Encoding": "gzip"})
    assert runs.get_run("r1").run_id == "r1"
    with pytest.raises(acp.NotFoundException, match="gone"):
        runs.get_run("r2")
    first, second = (call.response for call in responses.calls)
    assert first.json() == RUN and first.text == json.dumps(RUN) and first.status_code == 200
    assert second.json() == "gone" and second.headers["Content-Encoding"] == "gzip"


def test_a_callback_sees_each_response_and_may_replace_it(runs):
    seen = []

    def note(response: requests.Response) -> requests.Response:
        seen.append(response.json())
        response.status_code, response.reason = 418, "Teapot"
        response.headers["X-Note"] = "changed"
        response._content = b'"another body"'
        return response

    with responses.RequestsMock(response_callback=note) as mock:
        mock.get(f"{HOST}/runs/r1", json=RUN)
        with pytest.raises(acp.ApiException, match="another body") as caught:
            runs.get_run("r1")
    assert seen == [RUN] and (caught.value.status, caught.value.reason) == (418, "Teapot")
    assert caught.value.headers is not None and caught.value.headers["x-note"] == "changed"


def test_the_recorder_records_and_its_file_replays(server, tmp_path):
    file = tmp_path / "responses.yaml"

    def script() -> Any:
        configuration = acp.Configuration(host=server.url)
        with acp.ApiClient(configuration) as client, responses_bridge():
            echo = acp.AgentHandle(ECHO_AGENT_ID, client)
            run = acp.RunsApi(client).create_run({"agent_id": ECHO_AGENT_ID, "input": {"n": 1}})
            with acp.RunsApi(client).get_run_stream(run.run_id) as stream:
                events = [event.data.actual_instance.result for event in stream]
            return echo.descriptor().metadata.ref.name, run.run_id, events

    recorder = Recorder()
    first = recorder.record(file_path=file)(script)()
    before = len(server.requests)
    with responses.RequestsMock() as mock:
        mock._add_from_file(file)
        assert script() == first
    assert len(server.requests) == before > 0


def test_what_a_test_declares_is_not_sent_by_a_transport_of_its_own(server):
    configuration = acp.Configuration(host=server.url)
    with (
        acp.ApiClient(configuration, transport=Urllib3Transport()) as client,
        responses_bridge(),
        responses.RequestsMock(assert_all_requests_are_fired=False) as mock,
    ):
        mock.get(f"{server.url}/agents/{ECHO_AGENT_ID}", status=500)
        assert acp.AgentsApi(client).get_agent_by_id(ECHO_AGENT_ID).agent_id == ECHO_AGENT_ID


def test_without_an_active_mock_the_server_responds(server):
    with acp.ApiClient(acp.Configuration(host=server.url)) as client, responses_bridge():
        assert acp.AgentsApi(client).get_agent_by_id(ECHO_AGENT_ID).agent_id == ECHO_AGENT_ID
