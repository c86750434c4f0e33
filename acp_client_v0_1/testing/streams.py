"""How an answer waits for a run: for its next change, or for its next event.

Agents change runs from their threads, answers wait in the server's event loop: a `Watch` is the
bridge. It also notices when the client has gone, so that no answer waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType

from pydantic_core import to_json
from sse_starlette import ServerSentEvent
from starlette.types import Receive
from typing_extensions import Self

from acp_client_v0_1.testing.records import RunRecord
from acp_client_v0_1.testing.store import Store

__all__ = ["Watch", "run_events", "settled"]


class Watch:
    """Waits for changes of one run, from inside the event loop.

    Args:
        store: The store that has the run.
        run: The run.
        receive: Where the client's disconnection is heard; None if somebody else listens.

    Attributes:
        client_gone: Whether the client has gone.
    """

    def __init__(self, store: Store, run: RunRecord, receive: Receive | None = None) -> None:
        self.client_gone: bool = False
        self._store = store
        self._run = run
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start to watch."""
        self._store.watch(self._run, self._notify)
        if self._receive is not None:
            self._listener = asyncio.create_task(self._listen(self._receive))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Watch no more."""
        self._store.unwatch(self._run, self._notify)
        if self._listener is not None:
            self._listener.cancel()

    async def change(self, timeout: float | None = None) -> bool:
        """Wait for a change since the last call, or for the client to go.

        Args:
            timeout: Seconds to wait, None without limit.

        Returns:
            False when the time was over first.
        """
        try:
            await asyncio.wait_for(self._changed.wait(), timeout)
        except asyncio.TimeoutError:
            return False
        self._changed.clear()
        return True

    def _notify(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.client_gone = True
        self._changed.set()


async def settled(store: Store, run: RunRecord, seconds: float, receive: Receive) -> None:
    """Wait until a run is not pending, the time is over, or the client has gone.

    Args:
        store: The store that has the run.
        run: The run.
        seconds: How long to wait at most.
        receive: Where the client's disconnection is heard.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    async with Watch(store, run, receive) as watch:
        while run.status == "pending" and not run.deleted and not watch.client_gone:
            if not await watch.change(deadline - loop.time()):
                return


async def run_events(store: Store, run: RunRecord, after: int) -> AsyncIterator[ServerSentEvent]:
    """Yield a run's events as they come, until the run is no longer pending.

    Args:
        store: The store that has the run.
        run: The run.
        after: How many of its events to leave out.

    Yields:
        The events, numbered from 1.
    """
    async with Watch(store, run) as watch:
        while True:
            with store.lock:
                # Read together: an event that comes with the last change must not be lost.
                events, over = run.events[after:], run.status != "pending" or run.deleted
            for payload in events:
                after += 1
                data = to_json(payload).decode()
                yield ServerSentEvent(data, id=str(after), event="agent_event")
            if over:
                return
            await watch.change()
