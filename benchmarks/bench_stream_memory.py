"""Peak memory of a long stream: 1 GiB of small events, and one event of 48 MiB.

Each through the parser alone, through `EventStream` with its models, and through the whole client
from a socket, whose other end is another process. What counts is by how much the peak of a fresh
process (its resident set) grows: at most 2.5 times the largest event plus 32 MiB.

    python benchmarks/bench_stream_memory.py [--mib 1024]
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

from _timing import Table

from acp_client_v0_1 import ApiClient, Configuration, RunsApi
from acp_client_v0_1.models.run_output_stream import RunOutputStream
from acp_client_v0_1.streaming import EventStream, SSEParser, event_decoder

MIB = 1024 * 1024
CHUNK = 64 * 1024
LARGE = 48 * MIB
WAYS = ["parser", "typed", "socket"]

# What reads so many MiB of small events, and what reads the large one.
Jobs = tuple[Callable[[int], None], Callable[[], None]]


class Chunks:
    """A response whose body is made on the fly."""

    status = 200
    method = "GET"
    url = "http://127.0.0.1/"

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.headers: dict[str, str] = {}
        self._chunks = iter(chunks)

    def read_available(self) -> bytes:
        return next(self._chunks, b"")

    def abort(self) -> None: ...

    def close(self) -> None: ...


def event(number: int, text: str) -> bytes:
    data = {"type": "custom", "run_id": "r", "status": "pending", "update": {"text": text}}
    return f"id: {number}\nevent: agent_event\ndata: {json.dumps(data)}\n\n".encode()


def small_chunks(mib: int) -> Iterator[bytes]:
    events = b"".join(event(number, f"token {number}") for number in range(CHUNK // 100))
    for _ in range(mib * MIB // len(events)):
        yield events


def large_chunks() -> Iterator[bytes]:
    # Made piece by piece, so that the source itself holds nothing.
    begin, end = event(1, "*").split(b"*")
    yield begin
    yield from itertools.repeat(b"x" * CHUNK, LARGE // CHUNK)
    yield end


def parse(chunks: Iterable[bytes]) -> None:
    parser = SSEParser()
    for chunk in chunks:
        for _ in parser.feed(chunk):
            pass


def decode(chunks: Iterable[bytes]) -> None:
    for _ in EventStream(Chunks(chunks), event_decoder(RunOutputStream)):
        pass


def small_and_large(work: Callable[[Iterable[bytes]], None]) -> Jobs:
    return lambda mib: work(small_chunks(mib)), lambda: work(large_chunks())


def from_socket(port: int) -> Jobs:
    """Read the streams of `serve`, typed."""

    def read(run_id: str) -> None:
        with ApiClient(Configuration(host=f"http://127.0.0.1:{port}")) as client:
            for _ in RunsApi(client).get_run_stream(run_id):
                pass

    return lambda mib: read(str(mib)), lambda: read("large")


def serve(listener: socket.socket) -> None:
    """Answer each request with the stream that its path names, one at a time, for ever."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    while True:
        connection, _ = listener.accept()
        with connection:
            name = connection.recv(4096).split(b" ")[1].split(b"/")[2].decode()
            connection.sendall(head + b"Connection: close\r\n\r\n")
            for data in large_chunks() if name == "large" else small_chunks(int(name)):
                connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
            connection.sendall(b"0\r\n\r\n")


def peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def child(what: str, mib: int, port: int) -> None:
    """Print the growth of the peak in bytes: of the small events, then of the large one, too."""
    jobs = {"parser": small_and_large(parse), "typed": small_and_large(decode)}
    small, large = jobs.get(what) or from_socket(port)
    small(1)  # what is loaded and cached for good
    before = peak()
    small(mib)
    growth = peak() - before
    large()
    print(growth, peak() - before)


def measure(what: str, mib: int, port: int) -> Table:
    command = [sys.executable, __file__, "--child", what, "--mib", str(mib), "--port", str(port)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    small, large = (int(number) / MIB for number in output.split())
    table = Table(f"{what}: growth of the peak in MiB")
    table.at_most(f"{mib} MiB of small events", small, 32)
    table.at_most("and one event of 48 MiB", large, 2.5 * 48 + 32)
    return table


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--child", choices=WAYS, help="measure only this")
    options.add_argument("--port", type=int, help="where --child socket finds its streams")
    chosen = options.parse_args()
    if chosen.child:
        child(chosen.child, chosen.mib, chosen.port)
        return 0
    missed = 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        for what in WAYS:
            table = measure(what, chosen.mib, listener.getsockname()[1])
            table.show()
            missed += table.missed
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
