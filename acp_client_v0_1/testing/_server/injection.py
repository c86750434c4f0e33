"""The layer between the gate and the application: records requests and breaks responses.

After a break, the application's remaining messages are dropped, and the request stays open until
its connection has ended, so that the client sees the break and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from functools import partial
from http.client import responses
from itertools import chain

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from acp_client_v0_1.testing._recent import Recent
from acp_client_v0_1.testing._server.runner import WireTransport
from acp_client_v0_1.testing._server.validation import BODY, LAG, JsonResponse
from acp_client_v0_1.testing.faults import Fault, Faults, RecordedRequest

_BLOCKS = {"never": b"0", "forever": b"1000000"}


@dataclass
class FaultInjection:
    """ASGI middleware that records every request and applies the faults."""

    app: ASGIApp
    faults: Faults
    log: Recent[RecordedRequest]
    base_path: str
    late: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self.faults.take(scope["method"], scope["path"].removeprefix(self.base_path))
        request = RecordedRequest(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            # If a name came twice, the last header is recorded.
            headers=dict(Headers(scope=scope).items()),
            body=scope[BODY],
            client=scope["client"],
            fault=fault,
        )
        parts = (request.path, request.query, request.body, *chain(*scope["headers"]))
        self.log.add(request, sum(map(len, parts)))
        if fault is None:
            await self.app(scope, receive, send)
            return
        await _Exchange(fault, scope, receive, send).respond(self.app)
        if fault.late is not None:
            task = asyncio.create_task(self._carry_out(fault.late, scope))
            # The loop has only weak references to its tasks.
            self.late.add(task)
            task.add_done_callback(self.late.discard)

    async def _carry_out(self, late: float, scope: Scope) -> None:
        """Carry out a request whose client no longer expects a response."""
        await asyncio.sleep(late)
        await self.app(scope, _gone, _discard)


class _Exchange:
    def __init__(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        self._fault = fault
        self._scope = scope
        self._receive = receive
        self._forward = send
        self._wire: WireTransport = scope["state"]["wire"]
        self._body_left = fault.after_body_bytes
        self._events_left = fault.after_events
        self._broken = False
        # A stream sends its comments from another task, and messages must not overlap.
        self._turn = asyncio.Lock()

    async def respond(self, app: ASGIApp) -> None:
        fault = self._fault
        await self._pause(fault.delay)
        limited = (fault.after_wire_bytes, fault.after_body_bytes, fault.after_events)
        nothing = {*limited, fault.status, fault.redirect, fault.raw} == {None}
        if nothing and (fault.cut is not None or fault.late is not None):
            self._break(fault.cut)
        elif fault.raw is not None:
            for piece in self._pieces(fault.raw):
                await self._pause(fault.drip)
                self._wire.write_raw(piece)
            self._break(fault.cut or "close")
        else:
            await self._send_response(app)
        if fault.close_after:
            self._wire.close()
        if self._broken and fault.cut != "end":
            await self._wire.lost.wait()

    async def _send_response(self, app: ASGIApp) -> None:
        fault = self._fault
        self._scope[LAG] = fault.lag
        if fault.carried_out:
            await app(self._scope, _gone, _discard)
        if fault.after_wire_bytes is not None:
            self._wire.limit(fault.after_wire_bytes, partial(self._break, fault.cut))
        if fault.block is not None:
            # If a query has a name twice, the later value counts.
            self._scope["query_string"] += b"&block_timeout=" + _BLOCKS[fault.block]
        if fault.status is not None or fault.redirect is not None:
            app = _fault_response(fault)
        await app(self._scope, self._receive, self._send)
        if not self._broken:
            # The fault is not for the next response on the same connection.
            self._wire.limit(None, None)

    async def _send(self, message: Message) -> None:
        async with self._turn:
            if not self._broken:
                if message["type"] == "http.response.body":
                    await self._send_body(message)
                else:
                    await self._send_head(message)

    async def _send_head(self, message: Message) -> None:
        await self._forward(message)
        kind = Headers(raw=message["headers"]).get("content-type", "")
        if self._fault.cut == "end" and not kind.startswith("text/event-stream"):
            self._events_left = None
        if self._body_left == 0 or self._events_left == 0:
            await self._break_off()

    async def _send_body(self, message: Message) -> None:
        body = message.get("body", b"")
        for piece in self._pieces(body):
            await self._pause(self._fault.drip)
            if self._body_left is not None:
                piece = piece[: self._body_left]
                self._body_left -= len(piece)
            await self._forward({"type": "http.response.body", "body": piece, "more_body": True})
            if self._body_left == 0:
                self._break(self._fault.cut)
            if self._broken:
                # It broke off here, or at the limit of the wire.
                return
        if self._events_left is not None and b"data:" in body:
            self._events_left -= 1
            if self._events_left == 0:
                await self._break_off()
                return
        if not message.get("more_body", False):
            await self._forward({"type": "http.response.body", "body": b"", "more_body": False})

    def _pieces(self, body: bytes) -> list[bytes]:
        if self._fault.drip:
            return [body[index : index + 1] for index in range(len(body))]
        return [body] if body else []

    async def _pause(self, seconds: float) -> None:
        """Sleep until the time is over, or the connection has ended."""
        if seconds > 0:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wire.lost.wait(), seconds)

    async def _break_off(self) -> None:
        if self._fault.cut == "end":
            await self._forward({"type": "http.response.body", "body": b"", "more_body": False})
        self._break(self._fault.cut)

    def _break(self, cut: str | None) -> None:
        self._broken = True
        if cut == "reset":
            self._wire.reset()
        elif cut == "close":
            self._wire.close()


async def _gone() -> Message:
    return {"type": "http.disconnect"}


async def _discard(message: Message) -> None:
    pass


def _fault_response(fault: Fault) -> Response:
    status = fault.status if fault.status is not None else 307
    headers = dict(fault.headers)
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    if fault.redirect is not None:
        headers["Location"] = fault.redirect
    # A response with one of these statuses has no body.
    body = b"" if status in (204, 304) else fault.body
    if isinstance(body, bytes):
        return Response(body, status, headers)
    return JsonResponse(responses.get(status, "") if body is None else body, status, headers)
