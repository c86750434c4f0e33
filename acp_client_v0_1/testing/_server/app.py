"""The routes of ACP 0.1: from a request to the engine and back.

A handler is one operation of the contract and bears its name. Everything it asks of the engine is
quick, so all of them run in the event loop; only the two that wait, wait in streams.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from acp_client_v0_1.models.agent_search_request import AgentSearchRequest
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_search_request import RunSearchRequest
from acp_client_v0_1.models.thread_create import ThreadCreate
from acp_client_v0_1.models.thread_search_request import ThreadSearchRequest
from acp_client_v0_1.testing._server.engine import Engine
from acp_client_v0_1.testing._server.gate import KeyCheck
from acp_client_v0_1.testing._server.records import RunRecord, ThreadRecord
from acp_client_v0_1.testing._server.responses import JsonResponse, Refusal
from acp_client_v0_1.testing._server.store import Store
from acp_client_v0_1.testing._server.streams import RunStream, settled
from acp_client_v0_1.testing._server.validation import (
    block_seconds,
    check_against_schema,
    checked,
    json_body,
)
from acp_client_v0_1.testing.agents import JsonObject
from acp_client_v0_1.testing.webhooks import webhook_target

__all__ = ["create_app"]

M = TypeVar("M", bound=BaseModel)
_Handler = Callable[[Request], Awaitable[Response]]
_Search = AgentSearchRequest | RunSearchRequest | ThreadSearchRequest


def create_app(
    store: Store, engine: Engine, ping: float, base_path: str, required_headers: Mapping[str, str]
) -> Starlette:
    """Return the ASGI application.

    Args:
        store: What the server knows.
        engine: What runs the agents.
        ping: Seconds between the keep-alive comments of a stream.
        base_path: The path that those of the operations begin with, "" for none.
        required_headers: Name and value of each header that a request must have.
    """
    operations = _Operations(store, engine, ping)
    routes = (
        ("POST", "/runs", operations.create_run),
        ("POST", "/runs/search", operations.search_runs),
        ("GET", "/runs/{run_id}", operations.get_run),
        ("POST", "/runs/{run_id}", operations.resume_run),
        ("DELETE", "/runs/{run_id}", operations.delete_run),
        ("GET", "/runs/{run_id}/output", operations.get_run_output),
        ("GET", "/runs/{run_id}/stream", operations.get_run_stream),
        ("GET", "/runs/{run_id}/threadstate", operations.get_run_threadstate),
        ("POST", "/agents/search", operations.search_agents),
        ("GET", "/agents/{agent_id}", operations.get_agent_by_id),
        ("GET", "/agents/{agent_id}/descriptor", operations.get_acp_descriptor_by_id),
        ("POST", "/threads", operations.create_thread),
        ("POST", "/threads/search", operations.search_threads),
        ("GET", "/threads/{thread_id}", operations.get_thread),
        ("DELETE", "/threads/{thread_id}", operations.delete_thread),
        ("GET", "/threads/{thread_id}/state", operations.get_thread_state),
        ("GET", "/threads/{thread_id}/history", operations.get_thread_history),
    )
    operations_app = KeyCheck(Router(_merged(routes), redirect_slashes=False), required_headers)
    app = Starlette(
        routes=[Mount(base_path, app=operations_app)],
        exception_handlers={Refusal: _refused, HTTPException: _no_such_route},
    )
    app.router.redirect_slashes = False
    return app


class _Operations:
    def __init__(self, store: Store, engine: Engine, ping: float) -> None:
        self._store = store
        self._engine = engine
        self._ping = ping

    # Runs

    async def create_run(self, request: Request) -> Response:
        creation, _ = await _body(request, RunCreate)
        _check_webhook(creation.get("webhook"))
        agent = self._store.agent(creation["agent_id"])
        check_against_schema(creation.get("input", {}), agent.input, "input")
        check_against_schema(creation.get("config", {}), agent.config, "config")
        return JsonResponse(self._engine.create_run(creation))

    async def search_runs(self, request: Request) -> Response:
        return await self._found(request, RunSearchRequest, self._store.find_runs)

    async def get_run(self, request: Request) -> Response:
        run = self._run(request)
        with self._store.lock:
            wire = run.to_wire()
        return JsonResponse(wire)

    async def resume_run(self, request: Request) -> Response:
        run = self._run(request)
        answer = await _object(request)
        return JsonResponse(self._engine.resume_run(run, answer))

    async def delete_run(self, request: Request) -> Response:
        return JsonResponse(self._engine.delete_run(self._run(request)))

    async def get_run_output(self, request: Request) -> Response:
        run = self._run(request)
        seconds = block_seconds(request.query_params.get("block_timeout"))
        if seconds:
            await settled(self._store, run, seconds, request.receive)
        with self._store.lock:
            # Read together: a status that has changed has its output.
            deleted, output = run.deleted, run.output
        if deleted:
            raise Refusal(404, f"the run {run.run_id} was deleted")
        return Response(status_code=204) if output is None else JsonResponse(output)

    async def get_run_stream(self, request: Request) -> Response:
        run = self._run(request)
        stream = RunStream(self._store, run, request.headers.get("last-event-id", ""))
        if stream.empty:
            return Response(status_code=204)
        ping: Any = self._ping  # sse-starlette before 3.4.9 declares an int, and takes a float
        return EventSourceResponse(stream.events(), ping=ping)

    async def get_run_threadstate(self, request: Request) -> Response:
        run = self._run(request)
        with self._store.lock:
            status, state = run.status, run.final_state
        if status != "success":
            raise Refusal(409, f"the run is {status}; only one in success has a thread state")
        if state is None:
            raise Refusal(409, "the run has no thread")
        return JsonResponse(state)

    # Agents

    async def search_agents(self, request: Request) -> Response:
        return await self._found(request, AgentSearchRequest, self._store.find_agents)

    async def get_agent_by_id(self, request: Request) -> Response:
        return JsonResponse(self._store.agent(request.path_params["agent_id"]).to_wire())

    async def get_acp_descriptor_by_id(self, request: Request) -> Response:
        return JsonResponse(self._store.agent(request.path_params["agent_id"]).descriptor())

    # Threads

    async def create_thread(self, request: Request) -> Response:
        body, _ = await _body(request, ThreadCreate)
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
        return JsonResponse(thread.to_wire())

    async def get_thread_state(self, request: Request) -> Response:
        return JsonResponse(self._thread(request).state.get())

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
        """Answer a search: the page that the request asks for of all that fits it."""
        body, wanted = await _body(request, model)
        return JsonResponse(find(body, wanted.limit or 10, wanted.offset or 0))

    def _run(self, request: Request) -> RunRecord:
        return self._store.run(request.path_params["run_id"])

    def _thread(self, request: Request) -> ThreadRecord:
        return self._store.thread(request.path_params["thread_id"])


def _merged(routes: tuple[tuple[str, str, _Handler], ...]) -> list[Route]:
    """Return one route per path, so that an unknown method is answered 405 with all that exist."""
    by_path: dict[str, dict[str, _Handler]] = {}
    for method, path, handler in routes:
        by_path.setdefault(path, {})[method] = handler
    return [
        Route(path, _by_method(handlers), methods=list(handlers))
        for path, handlers in by_path.items()
    ]


def _by_method(handlers: dict[str, _Handler]) -> _Handler:
    async def handle(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return handle


async def _object(request: Request) -> JsonObject:
    return json_body(request.headers.get("content-type", ""), await request.body())


async def _body(request: Request, model: type[M]) -> tuple[JsonObject, M]:
    """Return a request's body as it came, and as the model that it is valid for."""
    body = await _object(request)
    return body, checked(model, body)


def _check_webhook(url: str | None) -> None:
    if url is None:
        return
    try:
        webhook_target(url)
    except ValueError as error:
        raise Refusal(422, f"webhook: {error}") from error


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    return JsonResponse(error.message, error.status)


async def _no_such_route(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    message: Any = f"{request.method} {request.url.path}: {error.detail}"
    return JsonResponse(message, error.status_code, dict(error.headers or {}))
