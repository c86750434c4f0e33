"""Responses as servers send them, where their content does not matter, and the events in them."""

from __future__ import annotations

import json
from typing import Any

RUN: dict[str, Any] = {
    "run_id": "r1",
    "agent_id": "a1",
    "creation": {"agent_id": "a1"},
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:01Z",
    "status": "success",
}
RESULT: dict[str, Any] = {
    "type": "result",
    "run_id": "r1",
    "status": "success",
    "result": {"n": 1},
}


def event_fields(block: str) -> dict[str, Any]:
    """Read the fields of an event, whose data is JSON."""
    fields: dict[str, Any] = dict(line.split(": ", 1) for line in block.strip().splitlines())
    fields["data"] = json.loads(fields["data"])
    return fields
