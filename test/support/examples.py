"""Responses as servers send them, where their content does not matter, and the events in them."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

RUN: dict[str, Any] = {
    "run_id": "r1",
    "agent_id": "a1",
    "creation": {"agent_id": "a1"},
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:01Z",
    "status": "success",
}
RESULT: dict[str, Any] = {"type": "result", "run_id": "r1", "status": "success", "result": {"n": 1}}
UPDATE: dict[str, Any] = {
    "type": "custom",
    "run_id": "r1",
    "status": "pending",
    "update": {"step": 1},
}
INTERRUPT: dict[str, Any] = {"type": "interrupt", "interrupt": {"interrupt_type": "approval"}}
ERROR: dict[str, Any] = {"type": "error", "run_id": "r1", "errcode": 3, "description": "no"}
METADATA: dict[str, Any] = {"ref": {"name": "n", "version": "1", "url": "u"}, "description": "d"}
SPECS: dict[str, Any] = {
    "capabilities": {
        **dict.fromkeys(("threads", "interrupts", "callbacks"), True),
        "streaming": {"result": True, "custom": True},
    },
    **{key: {} for key in ("input", "output", "config", "custom_streaming_update", "thread_state")},
    "interrupts": [{"interrupt_type": "i", "interrupt_payload": {}, "resume_payload": {}}],
}


def event_fields(block: str) -> dict[str, Any]:
    """Read the fields of an event, whose data is JSON."""
    fields: dict[str, Any] = dict(line.split(": ", 1) for line in block.strip().splitlines())
    fields["data"] = json.loads(fields["data"])
    return fields


def words_of_messages(text: str) -> list[str]:
    """What the first columns of the tables of a page show as words of a message."""
    shown = [row.split(" | ")[0] for row in text.splitlines() if row.startswith("| `")]
    return [words for first in shown for words in re.findall(r"`([^`]{8,})`", first)]


@cache
def _patterns() -> list[re.Pattern[str]]:
    page = Path(__file__).parents[2] / "docs" / "reference" / "messages.md"
    symptoms = words_of_messages(page.read_text("utf-8"))
    return [re.compile(".*".join(map(re.escape, each.split("…")))) for each in symptoms]


def on_the_page_of_messages(message: str) -> bool:
    """Whether a user who searches docs/reference/messages.md for a message finds it."""
    return any(pattern.search(message) for pattern in _patterns())
