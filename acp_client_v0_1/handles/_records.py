"""What scripts and the command write of runs: the outcome of a failed run as data, JSON Lines."""

from __future__ import annotations

import json
from typing import Any

from acp_client_v0_1.exceptions import ApiException, RunWaitTimeout
from acp_client_v0_1.handles.errors import RunFailed, RunInterrupted, RunStartAmbiguous


def json_line(value: object) -> str:
    """Return a value as one line of JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # UTF-8 cannot hold half a surrogate pair, so that is escaped, as JSON does it.
    return text.encode(errors="backslashreplace").decode()


def outcome_of(error: Exception) -> dict[str, Any]:
    """Return, as data, how a run ended without a result: ``run_id``, ``status``, and details."""
    # After a timeout, the run is pending only if the server has said so.
    waits = isinstance(error, RunWaitTimeout) and error.last_status == "pending"
    # A callback may raise any error, and its attributes say nothing about the run.
    known = error if isinstance(error, ApiException) else None
    status = "pending" if waits else getattr(known, "status_name", None)
    ending = {"run_id": getattr(known, "run_id", None) or None, "status": status}
    if isinstance(error, RunFailed):
        return ending | {"errcode": error.errcode, "description": error.description}
    if isinstance(error, RunInterrupted):
        interrupt = {"type": error.interrupt.type, "payload": error.interrupt.payload}
        return ending | {"interrupt": interrupt}
    if isinstance(error, RunStartAmbiguous):
        return ending | {"token": error.token}
    return ending if status else ending | {"error": str(error)}
