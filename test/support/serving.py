"""A server of one test with a client of it, and what such a server says of the run "r"."""

import json
import threading
from inspect import signature
from types import SimpleNamespace
from typing import Any, Protocol

from acp_client_v0_1 import AgentHandle, ApiClient, RunsApi
from acp_client_v0_1.handles._health import Health, Turns
from support.examples import RUN
from support.parts import Contact
from support.socket_server import Request, response
from support.timing import SetTiming


class Serve(Protocol):
    """Start a server and make a client of it; both end with the test.

    The server is a `SocketServer` with responses, or with a function that makes them; a
    `LocalServer` if `Quirks` are given; or the given one. ``settings`` are those of the client.
    """

    def __call__(self, *what: Any, base: str = "", **settings: Any) -> tuple[Any, ApiClient]: ...


def a_contact(runs: Any = None, *, reached: bool = True, batch: bool = False) -> Contact:
    """A contact of a call or of a batch, whose client does not retry."""
    runs = RunsApi() if runs is None else runs
    turns = Turns.of_batch() if batch else None
    return Contact(runs, SimpleNamespace(reached=reached), Health(), turns=turns)


def check(what: str, value: dict[str, Any], schema: Any) -> None:
    """Check a value against the schema of an agent, as `AgentHandle.check` does."""
    specs = SimpleNamespace(input=schema, config=schema)
    described = SimpleNamespace(specs=specs, model_copy=lambda deep: described)
    client: Any = SimpleNamespace(call=lambda operation, arguments, options: described)
    AgentHandle("a", client).check(**{what: value})


class Replies:
    """The responses of a server by what is asked for, and what was, in its order.

    Each is one of ``create``, ``search``, ``look`` (at the run), ``output``, ``stream``, ``resume``
    and ``delete``: a response, several in a tuple, of which the last repeats, or a function that
    makes one, also of the request. Anything else gets ``otherwise``.
    """

    def __init__(self, otherwise: Any = None, **replies: Any) -> None:
        self.otherwise = run_json() if otherwise is None else otherwise
        self.replies = replies
        self.asked: list[str] = []

    def __call__(self, request: Request) -> Any:
        last = request.path.partition("?")[0].rpartition("/")[2]
        by_method = {"GET": "look", "DELETE": "delete", "POST": "resume"}[request.method]
        kind = "create" if last == "runs" else by_method
        kind = last if last in ("output", "stream", "search") else kind
        self.asked.append(kind)
        reply = self.replies.get(kind, self.otherwise)
        if isinstance(reply, tuple):
            reply = reply[min(self.asked.count(kind), len(reply)) - 1]
        if not callable(reply):
            return reply
        return reply(request) if signature(reply).parameters else reply()


class Clock:
    """A clock that only its own pauses move, and which remembers them."""

    def __init__(self, set_timing: SetTiming) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        set_timing(now=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float, stop: threading.Event | None) -> bool:
        self.pauses.append(seconds)
        self.now += seconds
        return False


def a_run(status: str = "pending", *, updated: str = "01", **fields: Any) -> dict[str, Any]:
    """The run, changed at a second of the minute in which it was created."""
    ids = {"run_id": "r", "agent_id": "a", "creation": {"agent_id": "a"}}
    changed = f"2026-01-01T00:00:{updated}Z"
    return {**RUN, **ids, "status": status, "updated_at": changed, **fields}


def as_searched(request: Request) -> bytes:
    """The response to a search with the run, which shows all that was searched for."""
    metadata = json.loads(request.body).get("metadata")
    return runs_json(a_run(creation={"agent_id": "a", "metadata": metadata}))


def as_created(request: Request) -> bytes:
    """The response to a create with the run, which shows the create as it was."""
    return run_json(creation=json.loads(request.body))


def run_json(status: str = "pending", **fields: Any) -> bytes:
    """The response with `a_run`."""
    return response(json.dumps(a_run(status, **fields)).encode())


def runs_json(*runs: dict[str, Any]) -> bytes:
    """The response with a page of runs."""
    return response(json.dumps(runs).encode())


def output_json(kind: str = "result", **fields: Any) -> bytes:
    """The response with an output: a result, or fields of another kind."""
    result = {"status": "success", "result": {"ok": 1}} if kind == "result" else {}
    return response(json.dumps({"type": kind, "run_id": "r", **result, **fields}).encode())


SUCCESS = output_json()
QUESTION = output_json("interrupt", interrupt={"interrupt_type": "ask"})
NOTHING = response(status=204, content_type="")
