"""Without the GIL: many threads on one client, for long enough that races would show.

The other tests of threads run there too; these would only take time where the GIL is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.socket_server import STALL, SocketServer, chunk, head, response, serve_each
from support.transport import in_use, pool_of, rest_client

from acp_client_v0_1.rest import RESTClientObject
from acp_client_v0_1.streaming import EventStream, ServerSentEvent

pytestmark = pytest.mark.skipif(
    getattr(sys, "_is_gil_enabled", lambda: True)(), reason="an interpreter whose GIL is enabled"
)

STREAM = head(transfer_encoding="chunked", content_type="text/event-stream")
EVENTS = [chunk(b"id: %d\ndata: %d\n\n" % (number, number)) for number in range(50)]
echo = serve_each(
    lambda request: (
        [STREAM, *EVENTS, STALL] if request.path == "/events" else response(request.path.encode())
    )
)


@pytest.fixture
def client() -> Iterator[RESTClientObject]:
    with rest_client(connection_pool_maxsize=3) as client:
        yield client


def test_every_response_belongs_to_its_own_request(client: RESTClientObject) -> None:
    over = threading.Event()
    most = 0

    def calls(thread: int) -> int:
        for number in range(500):
            path = f"/{thread}/{number}"
            assert client.request("GET", server.url + path, safe=True).data == path.encode()
        return thread

    def watch() -> None:
        nonlocal most
        while not over.wait(0.001):
            most = max(most, len(pool_of(client).idle))

    with SocketServer(handler=echo) as server, ThreadPoolExecutor(17) as threads:
        client.request("GET", server.url)
        watching = threads.submit(watch)
        assert sorted(threads.map(calls, range(16))) == list(range(16))
        over.set()
        watching.result()
        assert most <= 3
        assert server.most_open <= 3
        assert in_use(pool_of(client).slots) == 0


def test_events_of_a_stream_that_another_thread_closes(client: RESTClientObject) -> None:
    def numbers(stream: EventStream[ServerSentEvent]) -> list[int]:
        read = []
        while (event := next(stream, None)) is not None:
            read.append(int(event.data))
        return read

    with SocketServer(handler=echo) as server, ThreadPoolExecutor(8) as threads:
        for after in range(200):
            body = client.request("GET", server.url + "/events", stream=True, _request_timeout=20)
            stream = EventStream(body, lambda event: event)
            iter(stream)  # begun, so that closing ends it without an error
            reading = threads.submit(numbers, stream)
            threading.Event().wait(after / 20_000)
            stream.close()
            read = reading.result(10)
            assert read == list(range(len(read)))
