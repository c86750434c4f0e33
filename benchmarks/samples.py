"""What is sent, returned and decoded, and models as one writes them by hand.

The models by hand have none of this package's tolerance: closed enums, no unknown fields, no
conversions.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

RUN_ID = "3f2b8c1e-7d4a-4c55-9a3e-0d5f6b7a8c9d"
AGENT_ID = "11111111-1111-4111-8111-111111111111"

RUN: dict[str, Any] = {
    "creation": {
        "agent_id": AGENT_ID,
        "input": {"question": "why?", "history": ["a", "b"]},
        "metadata": {"team": "a"},
    },
    "run_id": RUN_ID,
    "agent_id": AGENT_ID,
    "created_at": "2026-11-24T09:30:00Z",
    "updated_at": "2026-11-24T09:31:00.123456Z",
    "status": "success",
}
OUTPUT: dict[str, Any] = {
    "type": "result",
    "run_id": RUN_ID,
    "status": "success",
    "result": {"answer": "because", "score": 0.5, "sources": ["a", "b", "c"]},
}
MESSAGE = "a message of the usual kind: words, numbers, now and then an accent such as é"
# 100 KB of JSON, as the input of a run.
LARGE_INPUT: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": MESSAGE, "number": number, "score": number / 7, "done": True}
        for number in range(640)
    ]
}

RUN_JSON = json.dumps(RUN).encode()
OUTPUT_JSON = json.dumps(OUTPUT).encode()


def runs_json(count: int) -> bytes:
    """A list of runs, as a search returns it."""
    return json.dumps([RUN] * count).encode()


def small_update(number: int) -> bytes:
    """The data of a small event."""
    update = {"step": number, "text": f"token {number}"}
    data = {"type": "custom", "run_id": RUN_ID, "status": "pending", "update": update}
    return json.dumps(data).encode()


def result(number: int) -> bytes:
    """The data of an event of 600 bytes."""
    messages = [{"role": "assistant", "content": f"sentence {n} of {number}"} for n in range(8)]
    result = {"messages": messages, "usage": {"input": number, "output": 3 * number}}
    data = {"type": "result", "run_id": RUN_ID, "status": "pending", "result": result}
    return json.dumps(data).encode()


def large_update(size: int) -> bytes:
    """The data of an event whose text has this many bytes."""
    update = {"text": "x" * size}
    data = {"type": "custom", "run_id": RUN_ID, "status": "pending", "update": update}
    return json.dumps(data).encode()


def event(number: int, data: bytes) -> bytes:
    """One server-sent event."""
    return b"id: %d\nevent: agent_event\ndata: %b\n\n" % (number, data)


def cut(stream: bytes, size: int) -> list[bytes]:
    """A stream in chunks of one size."""
    return [stream[begin : begin + size] for begin in range(0, len(stream), size)]


class PlainStatus(str, Enum):
    PENDING = "pending"
    ERROR = "error"
    SUCCESS = "success"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"


class PlainMode(str, Enum):
    RESULT = "result"
    CUSTOM = "custom"


class PlainCreate(BaseModel):
    agent_id: str
    thread_id: str | None = None
    input: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    webhook: str | None = None
    streaming: PlainMode | None = None


class PlainRun(BaseModel):
    creation: PlainCreate
    run_id: str
    agent_id: str
    thread_id: str | None = None
    created_at: datetime
    updated_at: datetime
    status: PlainStatus


class PlainResult(BaseModel):
    type: Literal["result"]
    run_id: str
    status: PlainStatus
    result: dict[str, Any]


class PlainInterrupt(BaseModel):
    type: Literal["interrupt"]
    interrupt: dict[str, Any]


class PlainError(BaseModel):
    type: Literal["error"]
    run_id: str
    errcode: int
    description: str


PlainOutput = Annotated[PlainResult | PlainInterrupt | PlainError, Field(discriminator="type")]

plain_run = TypeAdapter(PlainRun).validate_json
plain_runs = TypeAdapter(list[PlainRun]).validate_json
plain_output: Any = TypeAdapter(PlainOutput).validate_json
