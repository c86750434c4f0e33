"""A user's script that calls each of the 17 operations, with the types that it may rely on.

mypy --strict reads it (`make types`, and test/test_typing.py); it is never run. A type that
changes, `Any` included, makes an `assert_type` fail.
"""

from __future__ import annotations

import json
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from typing_extensions import assert_type

import acp_client_v0_1
from acp_client_v0_1 import (
    Agent,
    AgentACPDescriptor,
    AgentsApi,
    AgentSearchRequest,
    ApiClient,
    ApiException,
    ApiResponse,
    Configuration,
    CustomRunResultUpdate,
    EventStream,
    Run,
    RunCreate,
    RunError,
    RunInterrupt,
    RunOutput,
    RunOutputStream,
    RunResult,
    RunsApi,
    RunSearchRequest,
    RunStatus,
    ServerSentEvent,
    StreamingMode,
    Thread,
    ThreadCreate,
    ThreadsApi,
    ThreadSearchRequest,
    wait_for_run_output,
)


def runs(api: RunsApi) -> None:
    creation = RunCreate(
        agent_id="a",
        thread_id="t",
        input={"message": "Hello"},
        metadata={},
        config=None,
        webhook="http://localhost/changed",
        streaming=StreamingMode.CUSTOM,
    )
    RunCreate(agent_id=UUID(int=1), streaming="custom")  # the public contract's own types, and text
    RunSearchRequest(status="success")
    api.get_run(UUID(int=1))
    run = api.create_run(creation)
    assert_type(run, Run)
    assert_type(run.run_id, str)
    assert_type(run.thread_id, str | None)
    assert_type(run.created_at, datetime)
    assert_type(run.status, RunStatus)
    assert_type(run.creation, RunCreate)
    assert_type(run.creation.input, dict[str, Any] | None)
    assert_type(api.get_run("r"), Run)
    assert_type(api.delete_run("r"), Run)
    assert_type(api.resume_run("r", {"approved": True}), Run)
    assert_type(api.search_runs(RunSearchRequest(status=RunStatus.SUCCESS, limit=5)), list[Run])


def bodies_that_are_mappings(api: RunsApi) -> None:
    assert_type(api.create_run({"agent_id": "a", "streaming": "custom"}), Run)
    assert_type(api.search_runs({"limit": 1}), list[Run])
    fields: dict[str, str] = {"agent_id": "a"}  # no dict[str, Any]: its values are str
    assert_type(api.create_run(fields), Run)
    assert_type(api.create_run(MappingProxyType(fields)), Run)
    assert_type(api.search_runs_with_http_info({"limit": 1}), ApiResponse[list[Run]])
    assert_type(api.create_run_without_preload_content(fields).status, int)


def outputs(api: RunsApi) -> None:
    output = api.get_run_output("r", block_timeout=10)
    assert_type(output, RunOutput | None)
    assert_type(wait_for_run_output(api, "r", timeout=10.0), RunOutput)
    if output is None:
        return
    actual = output.actual_instance
    assert_type(actual, RunError | RunInterrupt | RunResult)
    if isinstance(actual, RunResult):
        assert_type(actual.result, dict[str, Any])
    elif isinstance(actual, RunInterrupt):
        assert_type(actual.interrupt, dict[str, Any])
    else:
        assert_type(actual, RunError)
        assert_type(actual.errcode, int)


def streams(api: RunsApi) -> None:
    with api.get_run_stream("r") as events:
        assert_type(events, EventStream[RunOutputStream])
        assert_type(events.last_event_id, str)
        for event in events:
            assert_type(event, RunOutputStream)
            assert_type(event.id, str)
            actual = event.data.actual_instance
            assert_type(actual, CustomRunResultUpdate | RunResult)
            if isinstance(actual, CustomRunResultUpdate):
                assert_type(actual.update, dict[str, Any])
        for raw in events.raw_events():
            assert_type(raw, ServerSentEvent)
            assert_type(raw.data, str)


def agents(api: AgentsApi) -> None:
    assert_type(api.search_agents(AgentSearchRequest(name="echo")), list[Agent])
    agent = api.get_agent_by_id("a")
    assert_type(agent, Agent)
    assert_type(agent.metadata.ref.version, str)
    descriptor = api.get_acp_descriptor_by_id("a")
    assert_type(descriptor, AgentACPDescriptor)
    assert_type(descriptor.specs.input, dict[str, Any])
    for interrupt in descriptor.specs.interrupts or []:
        assert_type(interrupt.interrupt_type, str)


def threads(api: ThreadsApi) -> None:
    thread = api.create_thread(ThreadCreate(agent_id="a", metadata={"topic": "x"}))
    assert_type(thread, Thread)
    assert_type(api.get_thread("t"), Thread)
    assert_type(api.delete_thread("t"), Thread)
    assert_type(api.search_threads(ThreadSearchRequest(agent_id="a")), list[Thread])
    assert_type(api.get_thread_state("t"), dict[str, Any])
    assert_type(api.get_thread_history("t"), list[Run])
    assert_type(api.get_run_threadstate("r"), dict[str, Any])


def variants(api: RunsApi) -> None:
    received = api.get_run_with_http_info("r", _request_timeout=5, _headers={"x-trace": "1"})
    assert_type(received, ApiResponse[Run])
    assert_type(received.status_code, int)
    assert_type(received.data, Run)
    blocked = api.get_run_output_with_http_info("r", _request_timeout=(1, 2.5))
    assert_type(blocked, ApiResponse[RunOutput | None])
    streamed = api.get_run_stream_with_http_info("r")
    assert_type(streamed, ApiResponse[EventStream[RunOutputStream]])
    unread = api.get_run_without_preload_content("r")
    assert_type(unread.status, int)


def models(run: Run) -> None:
    assert_type(run.to_dict(), dict[str, Any])
    assert_type(run.to_json(), str)
    assert_type(run.to_str(), str)
    assert_type(Run.from_json(run.to_json()), Run)
    assert_type(Run.from_dict(run.to_dict()), Run)
    assert_type(Run.from_dict(run), Run)
    # What is Any must not make the model Any too.
    assert_type(Run.from_dict(json.loads(run.to_json())), Run)
    assert_type(RunStatus("success"), RunStatus)


def main() -> None:
    configuration = Configuration(host="http://localhost", retries=2, timeout=(10, 60))
    with acp_client_v0_1.ApiClient(configuration) as client:
        assert_type(client, ApiClient)
        try:
            runs(RunsApi(client))
        except ApiException as error:
            assert_type(error.status, int | None)
            assert_type(error.body, str | None)
