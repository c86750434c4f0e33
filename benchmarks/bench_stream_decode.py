"""From bytes to typed `RunOutputStream`, beside pydantic alone and beside httpx-sse.

The limit is ``validate_json`` of each event's data, with everything else for nothing. The peer
gets the same models: httpx-sse's events, each data through the same validator, and the model made
of the parts. CPU seconds, best of several, in one run.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence

from _timing import Table, best_cpu_seconds
from pydantic import TypeAdapter

from acp_client_v0_1.models.run_output_stream import RunOutputStream
from acp_client_v0_1.models.stream_event_payload import StreamEventPayload
from acp_client_v0_1.streaming import EventStream, event_decoder

EVENTS = 50_000
CHUNK = 64 * 1024
RUN_ID = "3f2b8c1e-7d4a-4c55-9a3e-0d5f6b7a8c9d"

validate_payload = TypeAdapter(StreamEventPayload).validate_json


class Chunks:
    """A response whose body is in memory."""

    status = 200
    method = "GET"
    url = "http://127.0.0.1/"

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.headers: dict[str, str] = {}
        self._chunks = iter(chunks)

    def read_available(self) -> bytes:
        return next(self._chunks, b"")

    def abort(self) -> None: ...

    def close(self) -> None: ...


def custom(number: int) -> bytes:
    update = {"step": number, "text": f"token {number}"}
    data = {"type": "custom", "run_id": RUN_ID, "status": "pending", "update": update}
    return json.dumps(data).encode()


def result(number: int) -> bytes:
    messages = [{"role": "assistant", "content": f"sentence {n} of {number}"} for n in range(8)]
    data = {
        "type": "result",
        "run_id": RUN_ID,
        "status": "pending",
        "result": {"messages": messages, "usage": {"input": number, "output": 3 * number}},
    }
    return json.dumps(data).encode()


def cut(stream: bytes) -> list[bytes]:
    return [stream[begin : begin + CHUNK] for begin in range(0, len(stream), CHUNK)]


def ours(chunks: Sequence[bytes]) -> int:
    count = 0
    for _ in EventStream(Chunks(chunks), event_decoder(RunOutputStream)):
        count += 1
    return count


def validate_only(payloads: Sequence[bytes]) -> None:
    for payload in payloads:
        validate_payload(payload)


def find_httpx_sse() -> Callable[[Sequence[bytes]], int] | None:
    try:
        httpx, httpx_sse = map(importlib.import_module, ("httpx", "httpx_sse"))
    except ImportError as error:
        print(f"skipped httpx-sse: {error}")
        return None
    headers = {"content-type": "text/event-stream; charset=utf-8"}

    def parse(chunks: Sequence[bytes]) -> int:
        count = 0
        source = httpx_sse.EventSource(httpx.Response(200, headers=headers, content=iter(chunks)))
        for event in source.iter_sse():
            data = validate_payload(event.data)
            RunOutputStream(id=event.id, event=event.event, data=data)
            count += 1
        return count

    return parse


def measure(title: str, make: Callable[[int], bytes], against_peer: float | None) -> Table:
    payloads = [make(number) for number in range(EVENTS)]
    stream = b"".join(
        b"id: %d\nevent: agent_event\ndata: %b\n\n" % item for item in enumerate(payloads)
    )
    chunks = cut(stream)
    assert ours(chunks) == EVENTS
    work: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(chunks),
        "validate_json alone": lambda: validate_only(payloads),
    }
    peer = find_httpx_sse()
    if peer is not None:
        assert peer(chunks) == EVENTS
        work["httpx-sse"] = lambda: peer(chunks)
    seconds = best_cpu_seconds(work)
    table = Table(f"{EVENTS:,} {title}, per event")
    for name, used in seconds.items():
        table.figure(name, f"{used / EVENTS * 1e6:.2f} us")
    table.at_most("time / validate_json", seconds["ours"] / seconds["validate_json alone"], 2.0)
    if peer is not None:
        ratio = seconds["httpx-sse"] / seconds["ours"]
        if against_peer is None:
            table.figure("speed / httpx-sse", f"{ratio:.2f}")
        else:
            table.at_least("speed / httpx-sse", ratio, against_peer)
    return table


def main() -> int:
    missed = 0
    # Of larger events validate_json takes nearly all of the time, here and there.
    for title, make, against_peer in (
        ("small updates", custom, 2.0),
        ("results of 600 bytes", result, None),
    ):
        table = measure(title, make, against_peer)
        table.show()
        missed += table.missed
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
