"""Models without a server: construction, conversions, validation, oneOf, enums."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import acp_client_v0_1
from acp_client_v0_1.models import RunStatus
from acp_client_v0_1.models.agent_search_request import AgentSearchRequest
from acp_client_v0_1.models.run import Run
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_output import RunOutput
from acp_client_v0_1.models.run_result import RunResult
from acp_client_v0_1.models.stream_event_payload import StreamEventPayload
from acp_client_v0_1.models.streaming_mode import StreamingMode

creation = RunCreate(agent_id="a", input={"message": "Hello", "none": None}, streaming="custom")
print(creation.to_dict(), creation.streaming is StreamingMode.CUSTOM, creation.thread_id)
print(json.loads(creation.to_json()))
print(RunCreate.from_dict(creation.to_dict()) == creation)
print(RunCreate.from_json(creation.to_json()) == creation)
print(RunCreate.from_dict(creation) == creation)
print(creation.model_dump(exclude_none=True), creation.model_copy() == creation)

creation.metadata = {"topic": "x"}
print(creation.metadata, RunCreate.from_json(creation.to_json()).metadata)
for name, value in (("agent_id", 1), ("input", "text"), ("streaming", "loud")):
    try:
        setattr(creation, name, value)
    except ValueError as error:
        print("refused", name, type(error).__name__)
for wrong in ({}, {"agent_id": None}, {"agent_id": "a", "webhook": 1}):
    try:
        RunCreate(**wrong)
    except ValueError as error:
        print("refused", wrong, type(error).__name__)

run = Run(
    run_id="r",
    agent_id="a",
    creation=creation,
    status=RunStatus.SUCCESS,
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    updated_at="2026-01-02T03:04:05Z",
)
print(run.created_at == run.updated_at, run.status == "success", run.status.value)
print(run.to_dict()["creation"], run.to_dict()["created_at"].isoformat())
print(json.loads(run.to_json()))
print(Run.from_dict(json.loads(run.to_json())) == run, "run_id" in run.to_str())
print(Run.from_dict(None), RunCreate.from_dict(None))
print(str(run.run_id), run.creation.agent_id, isinstance(run.creation, RunCreate))

result = RunResult(type="result", run_id="r", status="success", result={"answer": 42})
output = RunOutput(result)
print(output.actual_instance is result or output.actual_instance == result)
print(RunOutput(actual_instance=result).to_dict(), json.loads(output.to_json()))
read = RunOutput.from_json('{"type": "interrupt", "run_id": "r", "interrupt": {"question": "?"}}')
print(type(read.actual_instance).__name__, read.actual_instance.interrupt)
read = RunOutput.from_dict({"type": "error", "errcode": 3, "description": "broken", "run_id": "r"})
print(type(read.actual_instance).__name__, read.actual_instance.errcode)
print(sorted(output.one_of_schemas))
payload = StreamEventPayload.from_dict(
    {"type": "custom", "run_id": "r", "status": "pending", "update": {"n": 1}}
)
print(type(payload.actual_instance).__name__, payload.actual_instance.update)
for text in ('{"type": "other"}', "[]", "no JSON"):
    try:
        RunOutput.from_json(text)
    except ValueError:
        print("refused", text)

print(list(RunStatus), RunStatus("pending").value, RunStatus.from_json('"error"').name)
try:
    RunStatus("lost")
except ValueError as error:
    print("refused", error)
print(AgentSearchRequest().to_dict(), AgentSearchRequest(limit=5, offset=0).to_dict())
print(acp_client_v0_1.RunCreate is RunCreate, "RunsApi" in acp_client_v0_1.__all__)
