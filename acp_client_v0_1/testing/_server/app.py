"""The operations of ACP 0.1: from a request to the engine and back.

A handler is one operation of the contract, and has its name. The engine is quick, so handlers call
it in the event loop; the two that wait do so in streams.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel
from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from acp_client_v0_1.models import (
    AgentSearchRequest,
    RunCreate,
    RunSearchRequest,
    ThreadCreate,
    ThreadSearchRequest,
)
from acp_client_v0_1.testing._server.engine import Engine
from acp_client_v0_1.testing._server.gate import BODY, LAG, check_keys
from acp_client_v0_1.testing._server.store import RunRecord, Store, ThreadRecord
from acp_client_v0_1.testing._server.streams import RunStream, settled
from acp_client_v0_1.testing._server.validation import (
    LONGEST_BLOCK,
    JsonResponse,
    Refusal,
    block_seconds,
    check_against_schema,
    checked,
    json_body,
)
from acp_client_v0_1.testing.agents import JsonObject
from acp_client_v0_1.testing.webhooks import webhook_target

__all__ = ["Application"]

M = TypeVar("M", bound=BaseModel)
_Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
_Search: TypeAlias = AgentSearchRequest | RunSearchRequest | ThreadSearchRequest


class Application:
    """The ASGI application, without faults."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        ping: float,
        base_path: str,
        required_headers: Mapping[str, str],
    ) -> None:
        self._store = store
        self._quirks = store.quirks
        self._engine = engine
        self._ping = ping
        self._base_path = base_path
        self._required_headers = required_headers
        self._operations = self._by_path()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._handler(request)(request)
        except Refusal as refusal:
            response = JsonResponse(refusal.message, refusal.status, refusal.headers)
        if isinstance(response, JsonResponse):
            response.headers["Content-Type"] = self._quirks.media_type
        await response(scope, receive, send)

    def _handler(self, request: Request) -> _Handler:
        """Return the operation of a request, or refuse it. The id goes into `path_params`."""
        method, path = request.method, request.scope["path"]
        # Percent-encoded, so that an id may hold a slash.
        raw_path: str = request.scope["raw_path"].decode("latin-1")
        if not raw_path.startswith(self._base_path + "/"):
            raise Refusal(404, "Not Found")
        check_keys(request.headers, self._required_headers)
        kind, *rest = raw_path[len(self._base_path) + 1 :].split("/")
        handlers = self._operations.get((kind, *rest))
        if handlers is None and rest and rest[0]:
            request.scope["path_params"] = {"id": unquote(rest[0])}
            handlers = self._operations.get((kind, "*", *rest[1:]))
        if handlers is None:
            raise Refusal(404, "Not Found")
        handler = handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join([*handlers, "HEAD"] if "GET" in handlers else handlers)
            raise Refusal(405, f"{method} {path}: Method Not Allowed", {"Allow": allowed})
        lacking = self._quirks.lacks.get(handler.__name__)
        if lacking is not None:
            # An object, not the contract's JSON string: the router of a server responds like this.
            raise Refusal(lacking, {"detail": "Not implemented"})
        return handler

    def _by_path(self) -> dict[tuple[str, ...], dict[str, _Handler]]:
        """Return the operations by the segments of their path ("*" is an id) and by method."""
        return {
            ("runs",): {"POST": self.create_run},
            ("runs", "search"): {"POST": self.search_runs},
            ("runs", "*"): {
                "GET": self.get_run,
                "POST": self.resume_run,
                "DELETE": self.delete_run,
            },
            ("runs", "*", "output"): {"GET": self.get_run_output},
            ("runs", "*", "stream"): {"GET": self.get_run_stream},
            ("runs", "*", "threadstate"): {"GET": self.get_run_threadstate},
            ("agents", "search"): {"POST": self.search_agents},
            ("agents", "*"): {"GET": self.get_agent_by_id},
            ("agents", "*", "descriptor"): {"GET": self.get_acp_descriptor_by_id},
            ("threads",): {"POST": self.create_thread},
            ("threads", "search"): {"POST": self.search_threads},
            ("threads", "*"): {"GET": self.get_thread, "DELETE": self.delete_thread},
            ("threads", "*", "state"): {"GET": self.get_thread_state},
            ("threads", "*", "history"): {"GET": self.get_thread_history},
        }

    async def create_run(self, request: Request) -> Response:
        creation, _ = _body(request, RunCreate)
        try:
            webhook_target(creation.get("webhook", "http://localhost"))
        except ValueError as error:
            raise Refusal(422, f"webhook: {error}") from error
        agent = self._store.agent(creation["agent_id"], self._quirks.unknown_agent)
        check_against_schema(creation.get("input", {}), agent.input, "input")
        check_against_schema(creation.get("config", {}), agent.config, "config")
        return JsonResponse(self._engine.create_run(creation))

    async def search_runs(self, request: Request) -> Response:
        find = partial(self._store.find_runs, lag=request.scope.get(LAG, 0.0))
        return await self._found(request, RunSearchRequest, find)

    async def get_run(self, request: Request) -> Response:
        run = self._run(request, request.scope.get(LAG, 0.0))
        with self._store.lock:
            wire = run.to_wire()
        return JsonResponse(wire)

    async def resume_run(self, request: Request) -> Response:
        run = self._run(request)
        answer = _object(request)
        return JsonResponse(self._engine.resume_run(run, answer))

    async def delete_run(self, request: Request) -> Response:
        return self._deleted(self._engine.delete_run(self._run(request)))

    async def get_run_output(self, request: Request) -> Response:
        pending, lag = self._quirks.pending_output, request.scope.get(LAG, 0.0)
        self._run(request, lag)
        window = request.query_params.get("block_timeout")
        seconds = LONGEST_BLOCK if pending == "held" and window is None else block_seconds(window)
        if seconds and pending != "404":
            ends = time.monotonic() + seconds
            await settled(self._store, self._run(request), seconds, request.receive)
            await asyncio.sleep(max(0.0, min(lag, ends - time.monotonic())))
        output = self._run(request, lag).output
        if output is None:
            return Response(status_code=404 if pending == "404" else 204)
        return JsonResponse(output)

    async def get_run_stream(self, request: Request) -> Response:
        self._run(request, request.scope.get(LAG, 0.0))
        run = self._run(request)
        stream = RunStream(self._store, run, request.headers.get("last-event-id", ""))
        if stream.empty:
            return Response(status_code=204)
        ping: Any = self._ping  # sse-starlette before 3.4.9 declares an int, and takes a float
        comment: Any = (lambda: b":") if self._quirks.bare_comments else None
        return EventSourceResponse(stream.events(), ping=ping, ping_message_factory=comment)

    async def get_run_threadstate(self, request: Request) -> Response:
        run = self._run(request)
        with self._store.lock:
            status, state = run.status, run.final_state
        if status != "success":
            raise Refusal(409, f"the run is {status}; only one in success has a thread state")
        if state is None:
            raise Refusal(409, "the run has no thread")
        return JsonResponse(state)

    async def search_agents(self, request: Request) -> Response:
        if self._quirks.agents_by_name and not {"name", "version"} & _object(request).keys():
            raise Refusal(422, "a name or a version is needed")
        return await self._found(request, AgentSearchRequest, self._store.find_agents)

    async def get_agent_by_id(self, request: Request) -> Response:
        return JsonResponse(self._store.agent(request.path_params["id"]).to_wire())

    async def get_acp_descriptor_by_id(self, request: Request) -> Response:
        return JsonResponse(self._store.agent(request.path_params["id"]).descriptor())

    async def create_thread(self, request: Request) -> Response:
        body, _ = _body(request, ThreadCreate)
        thread = ThreadRecord(body["agent_id"], body.get("metadata"))
        with self._store.lock:
            self._store.agent(thread.agent_id)
            self._store.threads[thread.thread_id] = thread
        return JsonResponse(thread.to_wire())

    async def search_threads(self, request: Request) -> Response:
        return await self._found(request, ThreadSearchRequest, self._store.find_threads)

    async def get_thread(self, request: Request) -> Response:
        return JsonResponse(self._thread(request).to_wire())

    async def delete_thread(self, request: Request) -> Response:
        thread = self._thread(request)
        self._engine.delete_thread(thread)
        return self._deleted(thread.to_wire())

    async def get_thread_state(self, request: Request) -> Response:
        return JsonResponse(self._thread(request).state.value)

    async def get_thread_history(self, request: Request) -> Response:
        thread = self._thread(request)
        with self._store.lock:
            history = [run.to_wire() for run in thread.runs]
        return JsonResponse(history)

    async def _found(
        self,
        request: Request,
        model: type[_Search],
        find: Callable[[JsonObject, int, int], list[JsonObject]],
    ) -> Response:
        """Respond to a search with the page that the request asks for."""
        body, wanted = _body(request, model)
        return JsonResponse(find(body, wanted.limit or 10, wanted.offset or 0))

    def _deleted(self, wire: JsonObject) -> Response:
        return JsonResponse(wire) if self._quirks.delete_body else Response()

    def _run(self, request: Request, lag: float = 0.0) -> RunRecord:
        return self._store.run(request.path_params["id"], lag)

    def _thread(self, request: Request) -> ThreadRecord:
        return self._store.thread(request.path_params["id"])


def _object(request: Request) -> JsonObject:
    return json_body(request.headers.get("content-type", ""), request.scope[BODY])


def _body(request: Request, model: type[M]) -> tuple[JsonObject, M]:
    """Return a request's body as it came, and as a valid model."""
    body = _object(request)
    return body, checked(model, body)
