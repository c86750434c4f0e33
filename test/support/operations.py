"""The 17 operations of the contract, as tests see them: a call, its request, a response.

Written from the protocol, not from the declarations in the package, so that a mistake in either
shows up as a difference.
"""

import json
from dataclasses import dataclass
from typing import Any

from acp_client_v0_1 import models

RUN_ID = "run 1/ä"
RUN_PATH = "/runs/run%201%2F%C3%A4"

RUN: dict[str, Any] = {
    "creation": {"agent_id": "a-1", "input": {"q": None}},
    "run_id": RUN_ID,
    "agent_id": "a-1",
    "thread_id": None,
    "created_at": "2026-11-24T09:30:00Z",
    "updated_at": "2026-11-24T09:31:00.500000+01:00",
    "status": "success",
}
METADATA = {"ref": {"name": "echo", "version": "1.0.0"}, "description": "Echoes."}
AGENT = {"agent_id": "a-1", "metadata": METADATA}
CAPABILITIES = {"threads": True, "interrupts": False, "callbacks": False}
SPECS = {"capabilities": CAPABILITIES, "input": {}, "output": {}, "config": {}}
THREAD = {"thread_id": "t-1", "agent_id": "a-1", "metadata": {"topic": "x"}}
RESULT = {"type": "result", "run_id": RUN_ID, "status": "success", "result": {"n": 1}}
EVENT = b"id: 7\nevent: agent_event\ndata: " + json.dumps(RESULT).encode() + b"\n\n"


@dataclass(frozen=True)
class Case:
    """One operation: the call, the request that has to arrive, the response, what is returned."""

    api: str
    name: str
    arguments: tuple[Any, ...]
    method: str
    path: str
    sent: Any
    response: Any
    returned: Any
    content_type: str = "application/json"
    accept: str = "application/json"

    @property
    def content(self) -> bytes:
        plain = isinstance(self.response, bytes)
        return self.response if plain else json.dumps(self.response).encode()

    def __str__(self) -> str:
        return self.name


CREATE = {"agent_id": "a-1", "input": {"q": None}}

CASES = [
    Case(
        "RunsApi", "create_run", (models.RunCreate(**CREATE),), "POST", "/runs", CREATE, RUN,
        models.Run,
    ),
    Case(
        "RunsApi", "search_runs", (models.RunSearchRequest(status="success"),), "POST",
        "/runs/search", {"status": "success", "limit": 10, "offset": 0}, [RUN, RUN],
        list[models.Run],
    ),
    Case("RunsApi", "get_run", (RUN_ID,), "GET", RUN_PATH, None, RUN, models.Run),
    Case(
        "RunsApi", "resume_run", (RUN_ID, {"ok": [1, None]}), "POST", RUN_PATH, {"ok": [1, None]},
        RUN, models.Run,
    ),
    Case("RunsApi", "delete_run", (RUN_ID,), "DELETE", RUN_PATH, None, RUN, models.Run),
    Case(
        "RunsApi", "get_run_output", (RUN_ID, 3), "GET", f"{RUN_PATH}/output?block_timeout=3",
        None, RESULT, models.RunOutput,
    ),
    Case(
        "RunsApi", "get_run_stream", (RUN_ID,), "GET", f"{RUN_PATH}/stream", None, EVENT,
        models.RunOutputStream, content_type="Text/event-stream ; charset=utf-8",
        accept="text/event-stream, application/json",
    ),
    Case(
        "AgentsApi", "search_agents", (models.AgentSearchRequest(name="echo"),), "POST",
        "/agents/search", {"name": "echo", "limit": 10, "offset": 0}, [AGENT],
        list[models.Agent],
    ),
    Case("AgentsApi", "get_agent_by_id", ("a-1",), "GET", "/agents/a-1", None, AGENT, models.Agent),
    Case(
        "AgentsApi", "get_acp_descriptor_by_id", ("a-1",), "GET", "/agents/a-1/descriptor", None,
        {"metadata": METADATA, "specs": SPECS}, models.AgentACPDescriptor,
    ),
    Case(
        "ThreadsApi", "create_thread", (models.ThreadCreate(agent_id="a-1"),), "POST", "/threads",
        {"agent_id": "a-1"}, THREAD, models.Thread,
    ),
    Case(
        "ThreadsApi", "search_threads", (models.ThreadSearchRequest(metadata={"topic": "x"}),),
        "POST", "/threads/search", {"metadata": {"topic": "x"}, "limit": 10, "offset": 0},
        [THREAD], list[models.Thread],
    ),
    Case("ThreadsApi", "get_thread", ("t-1",), "GET", "/threads/t-1", None, THREAD, models.Thread),
    Case(
        "ThreadsApi", "delete_thread", ("t-1",), "DELETE", "/threads/t-1", None, THREAD,
        models.Thread,
    ),
    Case(
        "ThreadsApi", "get_thread_state", ("t-1",), "GET", "/threads/t-1/state", None,
        {"turns": 2, "last": None}, dict,
    ),
    Case(
        "ThreadsApi", "get_thread_history", ("t-1",), "GET", "/threads/t-1/history", None, [RUN],
        list[models.Run],
    ),
    Case(
        "ThreadsApi", "get_run_threadstate", (RUN_ID,), "GET", f"{RUN_PATH}/threadstate", None,
        {"turns": 2}, dict,
    ),
]  # fmt: skip
