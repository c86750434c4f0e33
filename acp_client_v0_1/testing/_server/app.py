"""The operations of ACP 0.1: from a request to the engine and back.

A handler is one operation of the contract, and has its name. The engine is quick, so handlers call
it in the event loop. Two of them wait for a run, for its next change or its next event: agents
change runs in their threads, and `_watching` brings the changes into the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import unquote

from pydantic_core import to_json
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from acp_client_v0_1 import models
from acp_client_v0_1._arguments import UUID_FORM
from acp_client_v0_1._http.urls import parse_target
from acp_client_v0_1.exceptions import ApiValueError
from acp_client_v0_1.testing._annotations import check_types
from acp_client_v0_1.testing._server.engine import Engine
from acp_client_v0_1.testing._server.gate import check_keys
from acp_client_v0_1.testing._server.store import Record, RunRecord, Store, ThreadRecord
from acp_client_v0_1.testing._server.validation import (
    LAG,
    LONGEST_BLOCK,
    JsonResponse,
    Refusal,
    block_seconds,
    checked,
    fitting,
    json_body,
)
from acp_client_v0_1.testing._values import OPERATIONS
from acp_client_v0_1.testing.agents import JsonObject

_Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
_Search: TypeAlias = (
    models.AgentSearchRequest | models.RunSearchRequest | models.ThreadSearchRequest
)

# A Go server's router and handlers write these texts instead of ours.
_GO_WORDS = {
    "Not Found": "no matching operation was found",
    "Not implemented": "This method is not implemented \N{CRYING FACE}",
}


@dataclass
class Application:
    """The ASGI application, without faults."""

    store: Store
    engine: Engine
    # A stream is silent for at most this many seconds.
    ping: float
    base_path: str
    required_headers: Mapping[str, str]

    def __post_init__(self) -> None:
        # The operations by the segments of their path ("*" is an id) and by method. A server that
        # lacks one does not start.
        self._by_path: dict[tuple[str, ...], dict[str, _Handler]] = {}
        for name, (method, path) in OPERATIONS.items():
            self._by_path.setdefault(tuple(path[1:].split("/")), {})[method] = getattr(self, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._handler(request)(request)
        except Refusal as refusal:
            response = self._refused(refusal, scope["path"])
        if isinstance(response, JsonResponse) and self.store.quirks.media_type == "text/plain":
            # Go takes JSON for this if no handler sets a type.
            response.headers["Content-Type"] = "text/plain; charset=utf-8"
        await response(scope, receive, send)

    def _refused(self, refusal: Refusal, path: str) -> Response:
        """Return the response to a request that was refused, as `Quirks.errors` has it."""
        quirks, message = self.store.quirks, refusal.message
        status = quirks.invalid if refusal.status == 422 else refusal.status
        if quirks.errors == "contract":
            return JsonResponse(message, status, refusal.headers)
        details: Any = message
        text = str(details["detail"] if isinstance(message, dict) else message)
        if quirks.errors == "detail":
            # FastAPI has words of its own for a handler that crashed, and a list for a body.
            if status == 404 and path.endswith("/output"):
                return Response(status_code=404)
            if status == 500 and (text != "Not implemented" or path.endswith("/agents/search")):
                return PlainTextResponse("Internal Server Error", 500)
            detail = [{"loc": ["body"], "msg": text, "type": "value_error"}]
            return JsonResponse(
                {"detail": detail if status == 422 else text}, status, refusal.headers
            )
        text = _GO_WORDS.get(text, "" if status == 404 else text)
        return PlainTextResponse(text and text + "\n", status, refusal.headers)

    def _handler(self, request: Request) -> _Handler:
        """Return the operation of a request, or refuse it. The id goes into `path_params`."""
        method, path = request.method, request.scope["path"]
        # The percent-encoded path is split, so that an id may hold a slash.
        raw_path: str = request.scope["raw_path"].decode("latin-1")
        if not raw_path.startswith(self.base_path + "/"):
            raise Refusal(404, "Not Found")
        check_keys(request.headers, self.required_headers)
        kind, *rest = raw_path[len(self.base_path) + 1 :].split("/")
        handlers = self._by_path.get((kind, *rest))
        if handlers is None and rest and rest[0]:
            request.scope["path_params"] = {"id": unquote(rest[0])}
            handlers = self._by_path.get((kind, "*", *rest[1:]))
        if handlers is None:
            raise Refusal(404, "Not Found")
        handler = handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join([*handlers, "HEAD"] if "GET" in handlers else handlers)
            raise Refusal(405, f"{method} {path}: Method Not Allowed", {"Allow": allowed})
        lacking = self.store.quirks.lacks.get(handler.__name__)
        if lacking != 404 and "id" in request.path_params:
            self._check_id(request.path_params["id"])
        if lacking is not None:
            # The router of a server responds with an object, and not with the contract's JSON
            # string.
            words = "Not Found" if lacking == 404 else "Not implemented"
            raise Refusal(lacking, {"detail": words})
        return handler

    def _check_id(self, identifier: str) -> None:
        if self.store.quirks.only_uuids and not UUID_FORM.fullmatch(identifier):
            raise Refusal(422, f"the id {identifier!r} is not a UUID")

    async def create_run(self, request: Request) -> Response:
        creation = json_body(request)
        checked(models.RunCreate, creation)
        for name in {"agent_id", "thread_id"} & creation.keys():
            self._check_id(creation[name])
        try:
            parse_target(creation.get("webhook", "http://localhost"), "it")
        except ValueError as error:
            raise Refusal(422, f"webhook: {error}") from error
        agent = self.store.agent(creation["agent_id"], self.store.quirks.unknown_agent)
        fitting(creation.get("input", {}), agent.input, "input")
        fitting(creation.get("config", {}), agent.config, "config")
        try:
            check_types(agent.function, creation.get("input", {}), creation.get("config", {}))
        except ApiValueError as error:
            raise Refusal(422, str(error)) from error
        return JsonResponse(self.engine.create_run(creation, agent))

    async def search_runs(self, request: Request) -> Response:
        runs = self.store.runs_before(request.scope.get(LAG, 0.0))
        return self._found(request, models.RunSearchRequest, runs)

    async def get_run(self, request: Request) -> Response:
        run = self._run(request, request.scope.get(LAG, 0.0))
        with self.store.lock:
            return JsonResponse(run.to_wire())

    async def resume_run(self, request: Request) -> Response:
        return JsonResponse(self.engine.resume_run(self._run(request), json_body(request)))

    async def delete_run(self, request: Request) -> Response:
        return self._deleted(self.engine.delete_run(self._run(request)))

    async def get_run_output(self, request: Request) -> Response:
        pending, lag = self.store.quirks.pending_output, request.scope.get(LAG, 0.0)
        self._run(request, lag)
        window = request.query_params.get("block_timeout")
        held = self._run(request).working
        seconds = LONGEST_BLOCK if pending == "held" and window is None else block_seconds(window)
        if seconds and pending != "404":
            ends = time.monotonic() + seconds
            await _settled(self.store, self._run(request), seconds, request.receive)
            await asyncio.sleep(min(lag, ends - time.monotonic()))
        output = self._run(request, lag).output
        run = self._run(request)
        gone = run.fetched and self.store.quirks.output_once
        if output is None or gone:
            return Response(status_code=404 if gone or pending == "404" else 204)
        if held and output["type"] == "error" and self.store.quirks.held_errors_fail:
            raise Refusal(500, "the run failed meanwhile")
        run.fetched = True
        return JsonResponse(output)

    async def get_run_stream(self, request: Request) -> Response:
        self._run(request, request.scope.get(LAG, 0.0))
        run = self._run(request)
        stream = _RunStream(self.store, run, request.headers.get("last-event-id", ""))
        if stream.empty:
            return Response(status_code=204)
        # sse-starlette before 3.4.9 declares an int, and takes a float.
        ping: Any = self.ping
        comment: Any = (lambda: b":") if self.store.quirks.bare_comments else None
        return EventSourceResponse(stream.events(), ping=ping, ping_message_factory=comment)

    async def get_run_threadstate(self, request: Request) -> Response:
        run = self._run(request)
        if run.status != "success":
            raise Refusal(409, f"the run is {run.status}; only one in success has a thread state")
        if run.final_state is None:
            raise Refusal(409, "the run has no thread")
        return JsonResponse(run.final_state)

    async def search_agents(self, request: Request) -> Response:
        if self.store.quirks.agents_by_name and not {"name", "version"} & json_body(request).keys():
            raise Refusal(422, "a name or a version is needed")
        return self._found(request, models.AgentSearchRequest, self.store.agents)

    async def get_agent_by_id(self, request: Request) -> Response:
        return JsonResponse(self.store.agent(request.path_params["id"]).to_wire())

    async def get_acp_descriptor_by_id(self, request: Request) -> Response:
        return JsonResponse(self.store.agent(request.path_params["id"]).descriptor())

    async def create_thread(self, request: Request) -> Response:
        body = json_body(request)
        checked(models.ThreadCreate, body)
        thread = ThreadRecord(body["agent_id"], body.get("metadata"))
        with self.store.lock:
            self.store.agent(thread.agent_id)
            self.store.threads[thread.thread_id] = thread
        return JsonResponse(thread.to_wire())

    async def search_threads(self, request: Request) -> Response:
        return self._found(request, models.ThreadSearchRequest, self.store.threads)

    async def get_thread(self, request: Request) -> Response:
        return JsonResponse(self._thread(request).to_wire())

    async def delete_thread(self, request: Request) -> Response:
        thread = self._thread(request)
        self.engine.delete_thread(thread)
        return self._deleted(thread.to_wire())

    async def get_thread_state(self, request: Request) -> Response:
        return JsonResponse(self._thread(request).state.value)

    async def get_thread_history(self, request: Request) -> Response:
        thread = self._thread(request)
        with self.store.lock:
            return JsonResponse([run.to_wire() for run in thread.runs])

    def _found(
        self, request: Request, model: type[_Search], records: Mapping[str, Record]
    ) -> Response:
        """Respond to a search with the page that the request asks for."""
        page = checked(model, json_body(request))
        wanted = page.model_dump(mode="json", exclude={"limit", "offset"}, exclude_unset=True)
        return JsonResponse(self.store.search(records, wanted, page.limit or 10, page.offset or 0))

    def _deleted(self, wire: JsonObject) -> Response:
        return JsonResponse(wire) if self.store.quirks.delete_body else Response()

    def _run(self, request: Request, lag: float = 0.0) -> RunRecord:
        return self.store.run(request.path_params["id"], lag)

    def _thread(self, request: Request) -> ThreadRecord:
        return self.store.thread(request.path_params["id"])


@contextlib.asynccontextmanager
async def _watching(store: Store, run: RunRecord) -> AsyncGenerator[asyncio.Event, None]:
    """Provide an event of the loop that each change of a run sets."""
    changed = asyncio.Event()
    notify = partial(asyncio.get_running_loop().call_soon_threadsafe, changed.set)
    with store.lock:
        run.watchers.add(notify)
    try:
        yield changed
    finally:
        with store.lock:
            # Whoever has the lock calls the watchers, so none is called after this.
            run.watchers.discard(notify)


async def _settled(store: Store, run: RunRecord, seconds: float, receive: Receive) -> None:
    """Wait until a run is not pending, the seconds are over, or the client has gone."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    async with _watching(store, run) as changed:
        # Thousands of requests may wait here, and this is cheaper than asyncio.wait_for.
        timer = loop.call_at(deadline, changed.set)
        client = asyncio.create_task(_gone(receive))
        client.add_done_callback(lambda done: changed.set())
        try:
            while run.working and not client.done() and loop.time() < deadline:
                await changed.wait()
                changed.clear()
        finally:
            timer.cancel()
            client.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _RunStream:
    """The events of one run on one connection, ``empty`` if there will be none."""

    # The connection skips this many events. `_skipped` finds the number by `_id`, which reads it,
    # and needs this 0.
    _start = 0

    def __init__(self, store: Store, run: RunRecord, last_event_id: str) -> None:
        self._store = store
        self._run = run
        self._endless = store.quirks.comments_after_end
        with store.lock:
            self._start = self._sent = self._skipped(last_event_id)
            over = not run.working and self._sent >= len(run.events) and not self._endless
            self.empty: bool = run.streaming is None or over
            run.streamed = run.streamed or not self.empty

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """Yield the run's events as they come, while the run is pending."""
        run = self._run
        async with _watching(self._store, run) as changed:
            while True:
                with self._store.lock:
                    # Both are read under one lock. Otherwise an event that comes with the last
                    # change is lost.
                    events = run.events[self._sent :]
                    over = run.deleted or (run.status != "pending" and not self._endless)
                for payload in events:
                    self._sent += 1
                    data = to_json(payload).decode()
                    yield ServerSentEvent(data, id=self._id(self._sent), event="agent_event")
                if over:
                    return
                await changed.wait()
                changed.clear()

    def _id(self, number: int) -> str | None:
        name = f"{self._run.run_id}/{number}"
        ids = {
            "run": str(number),
            "connection": str(number - self._start),
            "opaque": hashlib.blake2b(name.encode(), digest_size=8).hexdigest(),
        }
        return ids.get(self._store.quirks.event_ids)

    def _skipped(self, last_event_id: str) -> int:
        """Return how many events this connection skips: none if the id is not an event's."""
        events, quirks = len(self._run.events), self._store.quirks
        if not quirks.replay:
            return events if self._run.streamed else 0
        if not last_event_id or quirks.event_ids == "connection":
            return 0
        return next((n for n in range(1, events + 1) if self._id(n) == last_event_id), 0)
