"""A whole stream over loopback, one event per HTTP chunk: `get_run_stream` beside httpx-sse.

The server is a process of its own that sends prepared bytes, so that the CPU seconds counted are
those of the client: sockets, HTTP, parsing, models. Best of several, in one run.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from _timing import Table, best_cpu_seconds
from pydantic import TypeAdapter

from acp_client_v0_1 import ApiClient, Configuration, RunsApi
from acp_client_v0_1.models.run_output_stream import RunOutputStream
from acp_client_v0_1.models.stream_event_payload import StreamEventPayload

EVENTS = 20_000
HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def body() -> bytes:
    chunks = []
    for number in range(EVENTS):
        update = {"step": number, "text": f"token {number}"}
        run_id = "3f2b8c1e-7d4a-4c55-9a3e-0d5f6b7a8c9d"
        data = {"type": "custom", "run_id": run_id, "status": "pending", "update": update}
        event = f"id: {number}\nevent: agent_event\ndata: {json.dumps(data)}\n\n".encode()
        chunks.append(b"%x\r\n%b\r\n" % (len(event), event))
    return HEAD + b"".join(chunks) + b"0\r\n\r\n"


def serve(port: Connection) -> None:
    """Answer every request of every connection with the stream."""
    answer = body()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port.send(listener.getsockname()[1])
        while True:
            connection, _ = listener.accept()
            with connection:
                while answer_one(connection, answer):
                    pass


def answer_one(connection: socket.socket, answer: bytes) -> bool:
    request = b""
    while b"\r\n\r\n" not in request:
        received = connection.recv(65_536)
        if not received:
            return False
        request += received
    connection.sendall(answer)
    return True


@contextmanager
def server() -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def ours(url: str) -> int:
    count = 0
    with ApiClient(Configuration(host=url)) as client:
        for _ in RunsApi(client).get_run_stream("r"):
            count += 1
    return count


def find_httpx_sse() -> Callable[[str], int] | None:
    try:
        httpx, httpx_sse = map(importlib.import_module, ("httpx", "httpx_sse"))
    except ImportError as error:
        print(f"skipped httpx-sse: {error}")
        return None
    validate_payload = TypeAdapter(StreamEventPayload).validate_json

    def consume(url: str) -> int:
        count = 0
        with httpx.Client() as client:  # noqa: SIM117
            with httpx_sse.connect_sse(client, "GET", f"{url}/runs/r/stream") as source:
                for event in source.iter_sse():
                    data = validate_payload(event.data)
                    RunOutputStream(id=event.id, event=event.event, data=data)
                    count += 1
        return count

    return consume


def main() -> int:
    table = Table(f"{EVENTS:,} events over loopback, one per chunk, client's CPU per event")
    peer = find_httpx_sse()
    with server() as url:
        jobs: dict[str, Callable[[], object]] = {"ours": lambda: ours(url)}
        if peer is not None:
            jobs["httpx + httpx-sse"] = lambda: peer(url)
            assert peer(url) == EVENTS
        assert ours(url) == EVENTS
        seconds = best_cpu_seconds(jobs)
    for name, used in seconds.items():
        table.figure(name, f"{used / EVENTS * 1e6:.2f} us")
    if peer is not None:
        table.at_least("speed / peer", seconds["httpx + httpx-sse"] / seconds["ours"], 1.5)
    table.show()
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
