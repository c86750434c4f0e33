"""Peak memory of a long stream: 1 GiB of small events, and one event of 48 MiB.

Each through the parser alone, through `EventStream` with its models, and through the whole client
from a socket, whose other end is another process. What counts is by how much the peak of a fresh
process grows, in MiB; the budget is 2.5 times the largest event plus 32 MiB.
"""

from __future__ import annotations

import itertools
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from acp_client_v0_1 import ApiClient, Configuration, RunsApi
from acp_client_v0_1.models import RunOutputStream
from acp_client_v0_1.streaming import EventStream, event_decoder

from ..measure import Budget, Contestants, Work, elsewhere, of, returned
from ..peak import growth_mib
from ..samples import event, large_update, small_update
from .parser import ours as parse
from .streams import Chunks

MIB = 1024 * 1024
CHUNK = 64 * 1024
SMALL_MIB = 1024
LARGE_MIB = 48
WAYS = ("parser", "typed events", "the client on a socket")

Read = Callable[[Iterable[bytes]], object]


def small_chunks(mib: int) -> Iterator[bytes]:
    """This many MiB of small events."""
    events = b"".join(event(number, small_update(number)) for number in range(CHUNK // 150))
    for _ in range(mib * MIB // len(events)):
        yield events


def large_chunks() -> Iterator[bytes]:
    """One large event, made piece by piece, so that the source itself holds nothing."""
    begin, end = event(1, large_update(1)).split(b"x", 1)
    yield begin
    yield from itertools.repeat(b"x" * CHUNK, LARGE_MIB * MIB // CHUNK)
    yield end


def chunks_of(name: str) -> Iterator[bytes]:
    """The stream of a name: "large", or how many MiB of small events."""
    return large_chunks() if name == "large" else small_chunks(int(name))


def decode(chunks: Iterable[bytes]) -> None:
    """Read typed events."""
    for _ in EventStream(Chunks(chunks), event_decoder(RunOutputStream)):
        pass


def read_socket(port: int, name: str) -> None:
    """Read a stream of `serve`, typed."""
    with ApiClient(Configuration(host=f"http://127.0.0.1:{port}")) as client:
        for _ in RunsApi(client).get_run_stream(name):
            pass


def serve(listener: socket.socket) -> None:
    """Send each request the stream that its path names, one at a time, until it is killed."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    while True:
        connection, _ = listener.accept()
        with connection:
            name = connection.recv(4096).split(b" ")[1].split(b"/")[2].decode()
            connection.sendall(head + b"Connection: close\r\n\r\n")
            for data in chunks_of(name):
                connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
            connection.sendall(b"0\r\n\r\n")


def growth(way: str, name: str, port: int) -> float:
    """By how many MiB one stream lets the peak of this process grow."""
    read: dict[str, Callable[[str], object]] = {
        "parser": lambda name: parse(chunks_of(name)),
        "typed events": lambda name: decode(chunks_of(name)),
        "the client on a socket": lambda name: read_socket(port, name),
    }
    read[way]("1")  # what is loaded and cached for good
    return growth_mib(lambda: read[way](name))


@contextmanager
def make(name: str) -> Iterator[Contestants]:
    """Read one stream in each way, in a fresh process each."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        port = str(listener.getsockname()[1])

        def job(way: str) -> Callable[[], float]:
            return lambda: float(elsewhere(__name__, way, name, port))

        yield {way: job(way) for way in WAYS}


def memory_work(key: str, name: str, what: str, limit: float) -> Work:
    """The work of reading one stream."""
    budgets = tuple(Budget(f"{what}: {way}", of(way), limit, unit="MiB") for way in WAYS)
    title = f"growth of peak memory: {what}"
    return Work(key, title, "MiB", 1, 1, lambda: make(name), budgets, returned)


WORKS = [
    memory_work("memory_small", str(SMALL_MIB), "1 GiB of small events", 32),
    memory_work("memory_large", "large", "one event of 48 MiB", 2.5 * LARGE_MIB + 32),
]

if __name__ == "__main__":
    print(growth(sys.argv[1], sys.argv[2], int(sys.argv[3])))
