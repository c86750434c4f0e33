"""The operations against a server, in the ways that openapi-generator's pages show."""

from __future__ import annotations

import sys

import acp_client_v0_1
from acp_client_v0_1 import RunCreate, ThreadCreate
from acp_client_v0_1.api.agents_api import AgentsApi
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.api.threads_api import ThreadsApi

ECHO = "11111111-1111-4111-8111-111111111111"
COUNTER = "22222222-2222-4222-8222-222222222222"
APPROVAL = "33333333-3333-4333-8333-333333333333"

configuration = acp_client_v0_1.Configuration(host=sys.argv[1])

with acp_client_v0_1.ApiClient(configuration, "x-first", "1", cookie="a=b") as client:
    client.set_default_header("x-second", "2")
    client.user_agent = "script/1"
    client.default_headers["x-third"] = 3
    agents, runs, threads = AgentsApi(client), RunsApi(client), ThreadsApi(client)

    found = agents.search_agents({"limit": 3})
    print(len(found), [agent.metadata.ref.name for agent in found])
    agent = agents.get_agent_by_id(ECHO)
    print(agent.agent_id, agent.metadata.ref.version, agent.metadata.description)
    descriptor = agents.get_acp_descriptor_by_id(agent_id=ECHO)
    print(descriptor.specs.capabilities.to_dict(), descriptor.specs.input)

    # A body as a model and as a dictionary.
    for body in (RunCreate(agent_id=ECHO, input={"message": "Hello"}), {"agent_id": ECHO}):
        run = runs.create_run(body)
        print(run.agent_id, run.creation.input, run.thread_id, run.status.value)
        output = runs.get_run_output(run.run_id, block_timeout=10)
        print(type(output.actual_instance).__name__, output.actual_instance.result)
        print(runs.get_run(run_id=run.run_id).status.value)

    # With status and headers.
    response = runs.get_run_with_http_info(run.run_id, _request_timeout=(5, 10.5))
    print(
        response.status_code, response.headers["content-type"], response.data.run_id == run.run_id
    )
    print(len(response.raw_data) == int(response.headers["content-length"]))
    response = runs.search_runs_with_http_info({"agent_id": ECHO, "status": "success"})
    print(response.status_code, len(response.data), {type(item).__name__ for item in response.data})

    # urllib3's response, unread.
    response = runs.get_run_without_preload_content(run.run_id, _headers={"x-call": "3"})
    print(response.status, b'"run_id"' in response.data, response.headers.get("content-type"))
    response = runs.get_run_without_preload_content(run.run_id, _headers={"x-call": 3})
    print(response.status, len(runs.search_runs({}, _headers={"x-call": True}, _request_auth={})))
    response = runs.get_run_without_preload_content("00000000-0000-4000-8000-000000000000")
    print(response.status, b"not found" in response.data.lower())

    # A stream, by hand.
    counting = {"agent_id": COUNTER, "input": {"count": 2, "interval": 0}, "streaming": "custom"}
    run = runs.create_run(counting)
    response = runs.get_run_stream_without_preload_content(run.run_id, _request_timeout=20)
    print([line[:17] for line in response.read().splitlines() if line.startswith(b"event:")])

    # An interrupt.
    run = runs.create_run({"agent_id": APPROVAL, "input": {"action": "deploy"}})
    output = runs.get_run_output(run.run_id, 10)
    print(type(output.actual_instance).__name__, sorted(output.actual_instance.interrupt))
    run = runs.resume_run(run.run_id, {"approved": True})
    print(type(runs.get_run_output(run.run_id, 10).actual_instance).__name__)
    print(runs.delete_run(run.run_id).run_id == run.run_id)

    thread = threads.create_thread(ThreadCreate(agent_id=ECHO, metadata={"topic": "x"}))
    run = runs.create_run({"agent_id": ECHO, "thread_id": thread.thread_id, "input": {"n": 1}})
    runs.get_run_output(run.run_id, block_timeout=10)
    print(threads.get_thread(thread.thread_id).to_dict().keys())
    print(threads.get_thread_state(thread.thread_id), threads.get_run_threadstate(run.run_id))
    print(len(threads.get_thread_history(thread.thread_id)))
    print(len(threads.search_threads({"metadata": {"topic": "x"}})))
    print(threads.delete_thread(thread.thread_id).thread_id == thread.thread_id)

# The default client, of the default configuration.
acp_client_v0_1.Configuration.set_default(configuration)
api = acp_client_v0_1.RunsApi()
print(len(api.search_runs({"limit": 1})), api.api_client is acp_client_v0_1.ApiClient.get_default())
