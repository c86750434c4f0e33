"""How a response waits for a run: for its next change, or for its next event.

Agents change runs in their threads, and responses wait in the server's event loop; `_watching` is
the bridge.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator

from pydantic_core import to_json
from sse_starlette import ServerSentEvent
from starlette.types import Receive

from acp_client_v0_1.testing._server.store import RunRecord, Store
from acp_client_v0_1.testing.quirks import Quirks

__all__ = ["RunStream", "settled"]


@contextlib.asynccontextmanager
async def _watching(store: Store, run: RunRecord) -> AsyncIterator[asyncio.Event]:
    """Provide an event of the loop that each change of a run sets."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def notify() -> None:
        loop.call_soon_threadsafe(changed.set)

    with store.lock:
        run.watchers.add(notify)
    try:
        yield changed
    finally:
        with store.lock:  # under the lock, so that none is called after this
            run.watchers.discard(notify)


async def settled(store: Store, run: RunRecord, seconds: float, receive: Receive) -> None:
    """Wait until a run is not pending, the seconds are over, or the client has gone."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    async with _watching(store, run) as changed:
        # asyncio.wait_for would make a task for each of thousands of requests.
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


class RunStream:
    """The events of one run on one connection, ``empty`` if there will be none."""

    def __init__(self, store: Store, run: RunRecord, last_event_id: str) -> None:
        self._store = store
        self._run = run
        self._endless = store.quirks.comments_after_end
        with store.lock:
            self._start = self._sent = _events_seen(run, last_event_id, store.quirks)
            over = not run.working and self._sent >= len(run.events) and not self._endless
            self.empty: bool = run.streaming is None or over
            run.streamed = run.streamed or not self.empty

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """Yield the run's events as they come, while the run is pending."""
        run = self._run
        async with _watching(self._store, run) as changed:
            while True:
                with self._store.lock:
                    # Read both under one lock, or an event that comes with the last change is lost.
                    events = run.events[self._sent :]
                    over = run.deleted or (run.status != "pending" and not self._endless)
                for payload in events:
                    self._sent += 1
                    data = to_json(payload).decode()
                    yield ServerSentEvent(data, id=self._id(), event="agent_event")
                if over:
                    return
                await changed.wait()
                changed.clear()

    def _id(self) -> str | None:
        match self._store.quirks.event_ids:
            case "run":
                return str(self._sent)
            case "connection":
                return str(self._sent - self._start)
            case "opaque":
                return _opaque_id(self._run, self._sent)
            case "none":
                return None


def _opaque_id(run: RunRecord, number: int) -> str:
    return hashlib.blake2b(f"{run.run_id}/{number}".encode(), digest_size=8).hexdigest()


def _events_seen(run: RunRecord, last_event_id: str, quirks: Quirks) -> int:
    """Return how many events a new connection skips: none if the id is not an event's."""
    if not quirks.replay:
        return len(run.events) if run.streamed else 0
    if quirks.event_ids == "opaque":
        numbers = range(1, len(run.events) + 1) if last_event_id else range(0)
        return next((number for number in numbers if _opaque_id(run, number) == last_event_id), 0)
    sound = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 10
    if quirks.event_ids != "run" or not sound or int(last_event_id) > len(run.events):
        return 0
    return int(last_event_id)
