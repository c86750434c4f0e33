"""A user's script that calls each of the 17 operations, with the types that it may rely on.

mypy --strict and pyright read it (`make types`, `make pyright`); it is never run. A type that
changes, `Any` included, makes an `assert_type` fail.
"""

from __future__ import annotations

import json
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from typing_extensions import assert_type

import acp_client_v0_1 as acp


def runs(api: acp.RunsApi) -> None:
    creation = acp.RunCreate(
        agent_id="a",
        thread_id="t",
        input={"message": "Hello"},
        metadata={},
        config=None,
        webhook="http://localhost/changed",
        streaming=acp.StreamingMode.CUSTOM,
    )
    # The public contract's own types, and text.
    acp.RunCreate(agent_id=UUID(int=1), streaming="custom")
    acp.RunSearchRequest(status="success")
    api.get_run(UUID(int=1))
    run = api.create_run(creation)
    assert_type(run, acp.Run)
    assert_type(run.run_id, str)
    assert_type(run.thread_id, str | None)
    assert_type(run.created_at, datetime)
    assert_type(run.status, acp.RunStatus)
    assert_type(run.creation, acp.RunCreate)
    assert_type(run.creation.input, dict[str, Any] | None)
    assert_type(api.get_run("r"), acp.Run)
    assert_type(api.delete_run("r"), acp.Run)
    assert_type(api.resume_run("r", {"approved": True}), acp.Run)
    assert_type(
        api.search_runs(acp.RunSearchRequest(status=acp.RunStatus.SUCCESS, limit=5)), list[acp.Run]
    )


def bodies_that_are_mappings(api: acp.RunsApi) -> None:
    assert_type(api.create_run({"agent_id": "a", "streaming": "custom"}), acp.Run)
    assert_type(api.search_runs({"limit": 1}), list[acp.Run])
    fields: dict[str, str] = {"agent_id": "a"}  # no dict[str, Any]: its values are str
    assert_type(api.create_run(fields), acp.Run)
    assert_type(api.create_run(MappingProxyType(fields)), acp.Run)
    assert_type(api.search_runs_with_http_info({"limit": 1}), acp.ApiResponse[list[acp.Run]])
    assert_type(api.create_run_without_preload_content(fields).status, int)


def outputs(api: acp.RunsApi) -> None:
    output = api.get_run_output("r", block_timeout=10)
    assert_type(output, acp.RunOutput | None)
    assert_type(acp.wait_for_run_output(api, "r", timeout=10.0), acp.RunOutput)
    if output is None:
        return
    actual = output.actual_instance
    assert_type(actual, acp.RunError | acp.RunInterrupt | acp.RunResult)
    if isinstance(actual, acp.RunResult):
        assert_type(actual.result, dict[str, Any])
    elif isinstance(actual, acp.RunInterrupt):
        assert_type(actual.interrupt, dict[str, Any])
    else:
        assert_type(actual, acp.RunError)
        assert_type(actual.errcode, int)


def streams(api: acp.RunsApi) -> None:
    with api.get_run_stream("r") as events:
        assert_type(events, acp.EventStream[acp.RunOutputStream])
        assert_type(events.last_event_id, str)
        for event in events:
            assert_type(event, acp.RunOutputStream)
            assert_type(event.id, str)
            actual = event.data.actual_instance
            assert_type(actual, acp.CustomRunResultUpdate | acp.RunResult)
            if isinstance(actual, acp.CustomRunResultUpdate):
                assert_type(actual.update, dict[str, Any])
        for raw in events.raw_events():
            assert_type(raw, acp.ServerSentEvent)
            assert_type(raw.data, str)


def agents(api: acp.AgentsApi) -> None:
    assert_type(api.search_agents(acp.AgentSearchRequest(name="echo")), list[acp.Agent])
    agent = api.get_agent_by_id("a")
    assert_type(agent, acp.Agent)
    assert_type(agent.metadata.ref.version, str)
    descriptor = api.get_acp_descriptor_by_id("a")
    assert_type(descriptor, acp.AgentACPDescriptor)
    assert_type(descriptor.specs.input, dict[str, Any])
    for interrupt in descriptor.specs.interrupts or []:
        assert_type(interrupt.interrupt_type, str)


def threads(api: acp.ThreadsApi) -> None:
    acp.ThreadCreate(agent_id=UUID(int=1))
    thread = api.create_thread(acp.ThreadCreate(agent_id="a", metadata={"topic": "x"}))
    assert_type(thread, acp.Thread)
    assert_type(api.get_thread("t"), acp.Thread)
    assert_type(api.delete_thread("t"), acp.Thread)
    assert_type(api.search_threads(acp.ThreadSearchRequest(agent_id="a")), list[acp.Thread])
    assert_type(api.get_thread_state("t"), dict[str, Any])
    assert_type(api.get_thread_history("t"), list[acp.Run])
    assert_type(api.get_run_threadstate("r"), dict[str, Any])


def variants(api: acp.RunsApi) -> None:
    received = api.get_run_with_http_info("r", _request_timeout=5, _headers={"x-trace": "1"})
    assert_type(received, acp.ApiResponse[acp.Run])
    assert_type(received.status_code, int)
    assert_type(received.data, acp.Run)
    blocked = api.get_run_output_with_http_info("r", _request_timeout=(1, 2.5))
    assert_type(blocked, acp.ApiResponse[acp.RunOutput | None])
    streamed = api.get_run_stream_with_http_info("r")
    assert_type(streamed, acp.ApiResponse[acp.EventStream[acp.RunOutputStream]])
    unread = api.get_run_without_preload_content("r")
    assert_type(unread.status, int)


def models(run: acp.Run) -> None:
    assert_type(run.to_dict(), dict[str, Any])
    assert_type(run.to_json(), str)
    assert_type(run.to_str(), str)
    assert_type(acp.Run.from_json(run.to_json()), acp.Run)
    assert_type(acp.Run.from_dict(run.to_dict()), acp.Run)
    assert_type(acp.Run.from_dict(run), acp.Run)
    # What is Any must not make the model Any too.
    assert_type(acp.Run.from_dict(json.loads(run.to_json())), acp.Run)
    assert_type(acp.RunStatus("success"), acp.RunStatus)


def main() -> None:
    configuration = acp.Configuration(host="http://localhost", retries=2, timeout=(10, 60))
    with acp.ApiClient(configuration) as client:
        assert_type(client, acp.ApiClient)
        try:
            runs(acp.RunsApi(client))
        except acp.ApiException as error:
            assert_type(error.status, int | None)
            assert_type(error.body, str | None)
