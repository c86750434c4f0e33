"""Keeps runs and threads in a file, so that they survive the end of the process.

The file is written whole each time, and takes its name once it is complete. An agent at work cannot
be kept, nor a suspended one: a run that had not ended when the file was written ends in error when
it is read.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic_core import from_json, to_json

from acp_client_v0_1.testing._server.store import RunRecord, Store, ThreadRecord
from acp_client_v0_1.testing.context import ThreadState

_FIELDS: tuple[str, ...] = ("creation", "run_id", "status", "created_at", "updated_at")
_FIELDS += ("output", "final_state", "events")


def save(store: Store, path: str) -> None:
    """Write a store to a file that only its owner may read, unless the file says the same."""
    with store.lock:
        threads = [{**one.to_wire(), "state": one.state.value} for one in store.threads.values()]
        runs = [
            {name: getattr(one, name) for name in _FIELDS}
            | {"thread_id": one.thread and one.thread.thread_id}
            for one in store.runs.values()
        ]
        content = to_json({"threads": threads, "runs": runs})
    if not os.path.exists(path) or Path(path).read_bytes() != content:
        with open(f"{path}.part", "wb", opener=lambda name, how: os.open(name, how, 0o600)) as part:
            part.write(content)
        os.replace(part.name, path)


def load(store: Store, path: str) -> None:
    """Take over the runs and threads of a file, if there is one."""
    kept = (
        from_json(Path(path).read_bytes()) if os.path.exists(path) else {"threads": [], "runs": []}
    )
    for one in kept["threads"]:
        state = ThreadState(one["state"])
        thread = ThreadRecord(one["agent_id"], one.get("metadata"), one["thread_id"], state)
        store.threads[thread.thread_id] = thread
    for one in kept["runs"]:
        creation, of = one["creation"], store.threads.get(one["thread_id"])
        run = RunRecord(creation, store.agent(creation["agent_id"]), of, store.quirks)
        for name in _FIELDS:
            setattr(run, name, one[name])
        if run.status in ("pending", "interrupted"):
            words = f"the server ended while the run was {run.status}, and cannot continue it"
            error = {"run_id": run.run_id, "errcode": 3, "description": words}
            run.become("error", {"type": "error", **error})
        store.runs[run.run_id] = run
        if of is not None:
            of.runs.append(run)
