"""CPU of decoding answers, beside pydantic's `validate_json` on plain models by hand.

By hand are models without any of this package's tolerance: closed enums, no unknown fields, no
conversions. Run it with ``python benchmarks/bench_decode.py``; it ends with 1 if a budget is
missed.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

from _timing import Table, best_cpu_seconds
from pydantic import BaseModel, Field, TypeAdapter
from urllib3 import HTTPHeaderDict

from acp_client_v0_1._answers import decode
from acp_client_v0_1.api.runs_api import _GET_RUN_OUTPUT, _SEARCH_RUNS
from acp_client_v0_1.operation import Operation

RUN = {
    "creation": {
        "agent_id": "11111111-1111-4111-8111-111111111111",
        "input": {"question": "why?", "history": ["a", "b"]},
        "metadata": {"team": "a"},
    },
    "run_id": "b7c1d0e2-6a51-4a34-9f0e-3d0c64f1a9b5",
    "agent_id": "11111111-1111-4111-8111-111111111111",
    "thread_id": None,
    "created_at": "2026-11-24T09:30:00Z",
    "updated_at": "2026-11-24T09:31:00.123456Z",
    "status": "success",
}
OUTPUT = {
    "type": "result",
    "run_id": "b7c1d0e2-6a51-4a34-9f0e-3d0c64f1a9b5",
    "status": "success",
    "result": {"answer": "because", "score": 0.5, "sources": ["a", "b", "c"]},
}


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


class Answered:
    """What `decode` needs of an answer."""

    status, reason, method, url = 200, "OK", "GET", "http://localhost/"
    headers = HTTPHeaderDict({"Content-Type": "application/json"})

    def __init__(self, data: bytes) -> None:
        self.data = data


def ratio(content: bytes, plain: Any, operation: Operation[Any], times: int) -> float:
    """Measure both ways to decode the same bytes; ours over by hand."""
    adapter, answered = TypeAdapter(plain), Answered(content)

    def by_hand() -> None:
        for _ in range(times):
            adapter.validate_json(content)

    def client() -> None:
        for _ in range(times):
            decode(answered, operation)  # type: ignore[arg-type]

    used = best_cpu_seconds({"by hand": by_hand, "client": client}, rounds=15)
    return used["client"] / used["by hand"]


def main() -> int:
    """Measure and print; 1 if a budget is missed."""
    table = Table("decoding, over validate_json by hand")
    runs = json.dumps([RUN] * 1000).encode()
    output = json.dumps(OUTPUT).encode()
    table.at_most("search_runs of 1,000 runs", ratio(runs, list[PlainRun], _SEARCH_RUNS, 20), 1.15)
    table.at_most("RunOutput", ratio(output, PlainOutput, _GET_RUN_OUTPUT, 20_000), 1.5)
    table.show()
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
