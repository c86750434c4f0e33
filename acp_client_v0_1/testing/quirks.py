"""The ways in which real servers differ, for the local server to take on.

A quirk holds for the whole life of a server; a Fault is for single responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, PositiveInt
from typing_extensions import Self

from acp_client_v0_1.testing._values import OPERATIONS, check_given

__all__ = ["Quirks"]

# A failure is a status.
_Failure: TypeAlias = Annotated[int, Field(ge=400, le=599)]
_NO_RUNS = ("search_runs", "get_run_stream", "resume_run")
_THREADS = (
    *("create_thread", "search_threads", "get_thread", "delete_thread"),
    *("get_thread_state", "get_thread_history", "get_run_threadstate"),
)
# Two habits of which the first one leaves nothing to do for the second.
_IDLE = (
    ("echo", "none", "echo_metadata", "a run repeats nothing"),
    ("echo", "none", "echo_input", "a run repeats nothing"),
    ("stored_metadata", "none", "echo_metadata", "there is no metadata to repeat"),
    ("one_run_id", True, "run_ids", "all runs have one id"),
)
_SERVERS: dict[str, dict[str, Any]] = {
    "workflow-srv": {
        "lacks": {
            **dict.fromkeys((*_NO_RUNS, "delete_run", "search_agents"), 500),
            **dict.fromkeys(_THREADS, 404),
        },
        "errors": "detail",
        "held_errors_fail": True,
        "updated_at": "naive",
        "pending_output": "held",
        "echo": "part",
        "unknown_agent": 500,
        "attempts": 3,
        "interrupts_succeed": True,
    },
    "acp-proxy": {
        "lacks": {
            **dict.fromkeys((*_NO_RUNS, "search_agents", "get_agent_by_id", *_THREADS), 501),
            "get_acp_descriptor_by_id": 404,
        },
        "empty_status": True,
        "updated_at": "year 1",
        "pending_output": "404",
        "errors": "text",
        "invalid": 400,
        "only_uuids": True,
        "unknown_agent": 200,
        "echo": "none",
        "media_type": "text/plain",
        "delete_body": False,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """The habits of a real server, by default none.

    Args:
        event_ids: The ids of events: "run" counts from 1 within the run, "connection" from 1 on
            each connection, "opaque" is hex without order, "none" sends none. Only "run" and
            "opaque" honour `Last-Event-ID`.
        replay: Whether a stream begins with the events that the client has not seen. If False,
            only the first stream of a run has past events, and `Last-Event-ID` is ignored.
        comments_after_end: Keep the stream of a finished run open, with keep-alive comments only.
        bare_comments: Send keep-alive comments without a line end, so that each swallows the next
            line (an event's id).
        search_metadata: What searches do with `metadata`. "matched" compares it with what is
            stored. "any case" does so without regard to case. "words" is a full-text search: it
            finds each record that shares a word with each wanted text, in whatever key, so that
            "invoice-7" finds "invoice-8". "ignored" finds all, and "fails" responds with 500.
        search_order: Whether searches return the oldest or the newest record first.
        agents_by_name: Respond 422 to a search for agents without a name or version.
        lacks: The status of each operation that the server does not have, such as
            `{"search_runs": 501}`.
        errors: How an error is written: as the JSON string of the "contract"; as an object with a
            "detail", but a 500 as plain text and the 404 of an output without a body; or all as
            plain "text", which is empty if a run, thread or agent is unknown.
        invalid: The status of a request that does not fit the contract.
        only_uuids: Refuse ids that are no UUIDs, with the status `invalid`.
        empty_status: Whether the status of each run is "", from its create to its end.
        updated_at: Write the times of a run with "microseconds", as whole "seconds", "naive"
            without an offset, or all of them as the first day of "year 1".
        pending_output: What `get_run_output` does while the run is pending: "204" is the contract,
            "404" responds so at once, "held" waits without end if there is no `block_timeout`.
        held_errors_fail: Respond 500 for an output that was waited for when its run became
            `error`; the next request gets the RunError.
        output_once: Whether an output can be fetched once. The next request for it is a 404.
        one_run_id: Give all runs the id of zeros. A new run takes the place of the one before.
        run_ids: The ids of runs: "random" UUIDs, or "counted": run-1, run-2. "counted UUIDs" end
            in the number, and are zeros otherwise. A server that forgets its runs counts from 1
            again, and so gives ids a second time.
        webhooks: Whether the webhooks of runs are called.
        echo: How much of its create a run repeats: the "whole", the "part" without `streaming`
            and `webhook`, or "none", a `creation` with an agent id of zeros.
        echo_metadata: How a run repeats its metadata: "whole"; with `***` for each value
            ("masked"), or for those whose key contains "token" ("masked tokens", as filters of
            secrets do it); with its texts in "capitals", or "cut" after 16 characters; or "none".
        echo_input: How a run repeats its input and config: "whole"; "converted", with numbers as
            texts, texts cut after 16 characters, keys in camelCase, and no empty lists or objects;
            "masked", with `***` for each value; "completed" by keys with a default and a null; or
            "none".
        stored_metadata: Which metadata of runs is stored, and so searched and repeated: the
            "whole", the key `acp-client-token` alone ("client token"), or "none".
        own_thread_ids: Give each run a thread id of the server's own.
        unknown_agent: The status of a create for an agent that does not exist. 200 takes it, and
            the run never ends.
        media_type: The `Content-Type` of JSON.
        delete_body: Whether the response to a DELETE has a body.
        attempts: How often an agent is called before its run stays in status `error`; before each
            further attempt, the run is `pending` again.
        interrupts_succeed: End a run that asks as `success`, without the question: its result is
            the last update before it, or else the run's input.
        on_restart: What `LocalServer.restart` does with runs: it "goes on" with them, "forgets"
            them and all threads, or "hangs": pending runs stay pending.

    Raises:
        TypeError: A field has the wrong type; the message names it.
        ValueError: A field has a value that is not listed above; the message names it.
    """

    event_ids: Literal["run", "connection", "none", "opaque"] = "run"
    replay: bool = True
    comments_after_end: bool = False
    bare_comments: bool = False
    search_metadata: Literal["matched", "any case", "words", "ignored", "fails"] = "matched"
    search_order: Literal["oldest", "newest"] = "oldest"
    agents_by_name: bool = False
    lacks: Mapping[str, _Failure] = field(default_factory=dict[str, int])
    errors: Literal["contract", "detail", "text"] = "contract"
    invalid: _Failure = 422
    only_uuids: bool = False
    empty_status: bool = False
    updated_at: Literal["microseconds", "seconds", "naive", "year 1"] = "microseconds"
    pending_output: Literal["204", "404", "held"] = "204"
    held_errors_fail: bool = False
    output_once: bool = False
    one_run_id: bool = False
    run_ids: Literal["random", "counted", "counted UUIDs"] = "random"
    webhooks: bool = True
    echo: Literal["whole", "part", "none"] = "whole"
    echo_metadata: Literal["whole", "masked", "masked tokens", "capitals", "cut", "none"] = "whole"
    echo_input: Literal["whole", "converted", "masked", "completed", "none"] = "whole"
    stored_metadata: Literal["whole", "client token", "none"] = "whole"
    own_thread_ids: bool = False
    unknown_agent: Literal[200] | _Failure = 404
    media_type: Literal["application/json", "text/plain"] = "application/json"
    delete_body: bool = True
    attempts: PositiveInt = 1
    interrupts_succeed: bool = False
    on_restart: Literal["goes on", "forgets", "hangs"] = "goes on"

    def __post_init__(self) -> None:
        check_given(type(self), self)
        for operation in self.lacks.keys() - OPERATIONS:
            raise ValueError(f"lacks: {operation!r} is not an operation of ACP 0.1")
        for name, value, idle, why in _IDLE:
            if getattr(self, name) == value and getattr(self, idle) not in ("whole", "random"):
                raise ValueError(f"{idle}: would do nothing beside {name}={value!r}: {why}")

    @classmethod
    def of(cls, server: Literal["workflow-srv", "acp-proxy"]) -> Self:
        """Return the quirks of a real server, as the guide "What real servers do" lists them.

        Args:
            server: "workflow-srv" (AGNTCY's workflow server 0.1.0) or "acp-proxy" (part of
                AGNTCY's API bridge).

        Raises:
            ValueError: The name is neither of these.
        """
        if server not in _SERVERS:
            raise ValueError(f"server: must be one of {', '.join(_SERVERS)}, not {server!r}")
        return cls(own_thread_ids=True, webhooks=False, on_restart="forgets", **_SERVERS[server])
