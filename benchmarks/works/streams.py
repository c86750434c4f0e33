"""Typed events: from bytes in memory, and whole streams over loopback.

The limit is what pydantic alone takes, everything else for nothing: ``validate_json`` of each
event's data. In memory that is "by hand". The peers get the same models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import urllib3
from pydantic import TypeAdapter

from acp_client_v0_1 import ApiClient, Configuration, RunsApi
from acp_client_v0_1.models import RunOutputStream, StreamEventPayload
from acp_client_v0_1.streaming import EventStream, event_decoder

from .. import peers
from ..measure import BY_HAND, OURS, Budget, Contestants, Work, over
from ..samples import cut, event, result, small_update
from ..server import serving, stream_response

EVENTS = 30_000
LOOPBACK_EVENTS = 20_000
CHUNK = 64 * 1024
HTTPX_SSE = "httpx-sse"
OVER_HTTPX = "httpx + httpx-sse"
VALIDATE_ONLY = "validate_json alone"

validate_payload = TypeAdapter(StreamEventPayload).validate_json


class Chunks:
    """A response whose body is in memory."""

    status = 200
    method = "GET"
    url = "http://127.0.0.1/"

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.headers: dict[str, str] = {}
        self._chunks = iter(chunks)

    def read_available(self, *, wait: float | None = None) -> bytes:
        """The next chunk."""
        return next(self._chunks, b"")

    def abort(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


def typed(event: Any) -> RunOutputStream:
    """What a user makes of a parsed event by hand."""
    data = validate_payload(event.data)
    return RunOutputStream(id=event.id, event=event.event, data=data)


def validate_only(payloads: Iterable[bytes]) -> None:
    """What pydantic takes of the work."""
    for payload in payloads:
        validate_payload(payload)


@contextmanager
def from_memory(data: Callable[[int], bytes]) -> Iterator[Contestants]:
    """Decode a stream that is in memory."""
    payloads = [data(number) for number in range(EVENTS)]
    chunks = cut(b"".join(event(*numbered) for numbered in enumerate(payloads)), CHUNK)

    def ours() -> None:
        for _ in EventStream(Chunks(chunks), event_decoder(RunOutputStream)):
            pass

    jobs: Contestants = {OURS: ours, BY_HAND: partial(validate_only, payloads)}
    if modules := peers.find("httpx", "httpx_sse"):
        httpx, httpx_sse = modules
        headers = {"content-type": "text/event-stream; charset=utf-8"}

        def theirs() -> None:
            response = httpx.Response(200, headers=headers, content=iter(chunks))
            for one in httpx_sse.EventSource(response).iter_sse():
                typed(one)

        jobs[HTTPX_SSE] = theirs
    yield jobs


@contextmanager
def over_loopback() -> Iterator[Contestants]:
    """Read a stream of small events from a server, one event per chunk, to its end."""
    payloads = [small_update(number) for number in range(LOOPBACK_EVENTS)]
    events = (event(*numbered) for numbered in enumerate(payloads))
    with serving({"/runs/r/stream": stream_response(events)}) as host:
        url = f"{host}/runs/r/stream"

        def ours() -> None:
            with ApiClient(Configuration(host=host)) as client:
                for _ in RunsApi(client).get_run_stream("r"):
                    pass

        jobs: Contestants = {
            OURS: ours,
            BY_HAND: lambda: read_by_hand(url),
            VALIDATE_ONLY: partial(validate_only, payloads),
        }
        if (read := peers.sse_over_httpx(typed)) is not None:
            jobs[OVER_HTTPX] = partial(read, url)
        yield jobs


def read_by_hand(url: str) -> None:
    """A stream as one reads it in a few lines: right for this server, and for few others."""
    with urllib3.PoolManager() as manager:
        response = manager.request("GET", url, preload_content=False)
        rest = b""
        for chunk in response.stream(CHUNK):
            *blocks, rest = (rest + chunk).split(b"\n\n")
            for block in blocks:
                fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
                validate_payload(fields[b"data"])
        response.release_conn()


def memory_work(name: str, what: str, data: Callable[[int], bytes], twice: bool) -> Work:
    """The work of decoding events that are in memory."""
    peer = Budget(f"{what}, times as fast as httpx-sse", over(HTTPX_SSE, OURS), 2.0, at_least=True)
    limit = Budget(f"{what}, over validate_json", over(OURS, BY_HAND), 2.0)
    return Work(
        name=name,
        title=f"{what} to typed events; by hand: validate_json of each data alone",
        unit="µs per event",
        scale=1e6 / EVENTS,
        rounds=7,
        make=lambda: from_memory(data),
        # Of larger events validate_json takes nearly all of the time, here and there.
        budgets=(limit, peer) if twice else (limit,),
    )


WORKS = [
    memory_work("typed_small", "small events in memory", small_update, twice=True),
    memory_work("typed_results", "results of 600 bytes in memory", result, twice=False),
    Work(
        name="stream",
        title="a stream over loopback, one event per chunk; by hand: urllib3 and a few lines",
        unit="µs per event",
        scale=1e6 / LOOPBACK_EVENTS,
        rounds=7,
        make=over_loopback,
        budgets=(
            Budget("a stream over loopback, over validate_json", over(OURS, VALIDATE_ONLY), 2.0),
            Budget(
                "a stream over loopback, times as fast as httpx + httpx-sse",
                over(OVER_HTTPX, OURS),
                1.5,
                at_least=True,
            ),
        ),
    ),
]
