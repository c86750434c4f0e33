"""Responses as servers send them, for tests to which their content does not matter."""

from __future__ import annotations

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
