"""How the local server departs from its defaults, as real servers were seen to do.

A quirk holds for the whole life of a server; what goes wrong with single responses is a Fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from typing_extensions import Self

from acp_client_v0_1.api.agents_api import AgentsApi
from acp_client_v0_1.api.runs_api import RunsApi
from acp_client_v0_1.api.threads_api import ThreadsApi
from acp_client_v0_1.testing._values import check_type

__all__ = ["Quirks"]

_CHOICES = {
    "event_ids": ("run", "connection", "none", "opaque"),
    "search_metadata": ("matched", "ignored", "fails"),
    "search_order": ("oldest", "newest"),
    "updated_at": ("microseconds", "seconds", "naive", "year 1"),
    "pending_output": ("204", "404", "held"),
    "echo": ("whole", "part", "none"),
    "on_restart": ("goes on", "forgets", "hangs"),
    "media_type": ("application/json", "text/plain"),
}
_NO_RUNS = ("search_runs", "get_run_stream", "resume_run")
_NO_AGENTS = ("search_agents", "get_agent_by_id", "get_acp_descriptor_by_id")
_THREADS = (
    *("create_thread", "search_threads", "get_thread", "delete_thread"),
    *("get_thread_state", "get_thread_history", "get_run_threadstate"),
)
_SERVERS: dict[str, dict[str, Any]] = {
    "workflow-srv": {
        "agents_by_name": True,
        "lacks": dict.fromkeys((*_NO_RUNS, "delete_run", *_THREADS), 500),
        "updated_at": "naive",
        "pending_output": "held",
        "echo": "part",
        "own_thread_ids": True,
        "unknown_agent": 500,
        "attempts": 3,
        "interrupts_succeed": True,
        "on_restart": "forgets",
    },
    "acp-proxy": {
        "lacks": dict.fromkeys((*_NO_RUNS, *_NO_AGENTS, *_THREADS), 501),
        "updated_at": "year 1",
        "pending_output": "404",
        "echo": "none",
        "own_thread_ids": True,
        "media_type": "text/plain",
        "delete_body": False,
        "on_restart": "forgets",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Habits of a server, by default none.

    Args:
        event_ids: The ids of streamed events: "run" counts from 1 within the run, "connection"
            from 1 on each connection, "none" sends none, and "opaque" hex strings without order.
            `Last-Event-ID` is honoured with "run" and "opaque" only.
        replay: Whether a stream begins with the events that the client has not seen. If False,
            only the first connection to a run gets past events; a later one gets what happens
            after it was made, and `Last-Event-ID` is ignored.
        comments_after_end: Keep the stream of a run that is over open, sending only keep-alive
            comments, instead of ending it, or of responding 204.
        bare_comments: Send keep-alive comments without a line end, so that each becomes one with
            the next line, and that line (an event's id) is lost.
        search_metadata: What searches do with `metadata`: "matched" filters by it, "ignored" does
            not, "fails" responds to such a search with status 500.
        search_order: Whether searches give the oldest or the newest record first.
        agents_by_name: Respond 422 to a search for agents without a name or version.
        lacks: The status of each operation that the server does not have, such as
            `{"search_runs": 501}`.
        updated_at: Write the times of a run with "microseconds", as whole "seconds", "naive"
            without an offset, or all of them as the first day of "year 1".
        pending_output: What `get_run_output` does while the run is pending: "204" is the contract,
            "404" responds with that at once, "held" waits without end unless the request has a
            `block_timeout`.
        echo: How much of its create a run repeats: the "whole", the "part" without `streaming`,
            `metadata` and `webhook`, or "none", a `creation` with an agent id of zeros.
        own_thread_ids: Describe each run with a thread id of the server's own.
        unknown_agent: The status of a create for an agent that there is not.
        media_type: The `Content-Type` of JSON.
        delete_body: Whether the response to a DELETE has a body.
        attempts: How often an agent is called until its run stays in status `error`; before each
            further attempt, the run is `pending` again.
        interrupts_succeed: End a run that asks as `success`, with the question as its result.
        on_restart: What `LocalServer.restart` does with runs: it "goes on" with them, "forgets"
            them and all threads, or "hangs": those that are pending stay so for ever.

    Raises:
        TypeError: A field has the wrong type; the message names it.
        ValueError: A field has a value that is not listed above; the message names it.
    """

    event_ids: Literal["run", "connection", "none", "opaque"] = "run"
    replay: bool = True
    comments_after_end: bool = False
    bare_comments: bool = False
    search_metadata: Literal["matched", "ignored", "fails"] = "matched"
    search_order: Literal["oldest", "newest"] = "oldest"
    agents_by_name: bool = False
    lacks: Mapping[str, int] = field(default_factory=dict[str, int])
    updated_at: Literal["microseconds", "seconds", "naive", "year 1"] = "microseconds"
    pending_output: Literal["204", "404", "held"] = "204"
    echo: Literal["whole", "part", "none"] = "whole"
    own_thread_ids: bool = False
    unknown_agent: int = 404
    media_type: Literal["application/json", "text/plain"] = "application/json"
    delete_body: bool = True
    attempts: int = 1
    interrupts_succeed: bool = False
    on_restart: Literal["goes on", "forgets", "hangs"] = "goes on"

    def __post_init__(self) -> None:
        for name, kind in (("unknown_agent", int), ("attempts", int), ("lacks", Mapping)):
            check_type(f"{name}:", getattr(self, name), kind)
        if self.attempts < 1:
            raise ValueError("attempts: must be at least 1")
        for operation, status in {"": self.unknown_agent, **self.lacks}.items():
            check_type(f"lacks: {operation}:", status, int)
            if not 400 <= status <= 599:
                name = f"lacks: {operation}" if operation else "unknown_agent"
                raise ValueError(f"{name}: must be a status from 400 to 599, not {status}")
            if operation and not any(
                operation in vars(api) for api in (RunsApi, AgentsApi, ThreadsApi)
            ):
                raise ValueError(f"lacks: {operation!r} is not an operation of ACP 0.1")
        for one in fields(self):
            value: object = getattr(self, one.name)
            choices = _CHOICES.get(one.name)
            if isinstance(one.default, bool) and not isinstance(value, bool):
                raise TypeError(f"{one.name}: must be a bool, not {type(value).__name__}")
            if choices is not None and value not in choices:
                raise ValueError(f"{one.name}: must be one of {', '.join(choices)}, not {value!r}")

    @classmethod
    def of(cls, server: Literal["workflow-srv", "acp-proxy"]) -> Self:
        """Return the quirks of a real server, as the guide "What real servers do" lists them.

        Args:
            server: "workflow-srv", the workflow server of AGNTCY in version 0.1.0, or "acp-proxy",
                which comes with AGNTCY's API bridge.

        Raises:
            ValueError: There is no such bundle.
        """
        if server not in _SERVERS:
            raise ValueError(f"server: must be one of {', '.join(_SERVERS)}, not {server!r}")
        return cls(**_SERVERS[server])
