"""Peak memory of a long stream: 1 GiB of small events, and one event of 48 MiB.

Each through the parser alone and through `EventStream` with its models. What counts is by how
much the peak of a fresh process (its resident set) grows: at most 2.5 times the largest event
plus 32 MiB.

    python benchmarks/bench_stream_memory.py [--mib 1024]
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator

from _timing import Table

from acp_client_v0_1.models.run_output_stream import RunOutputStream
from acp_client_v0_1.streaming import EventStream, SSEParser, event_decoder

MIB = 1024 * 1024
CHUNK = 64 * 1024
LARGE = 48 * MIB


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


WORK: dict[str, Callable[[Iterable[bytes]], None]] = {"parser": parse, "typed": decode}


def peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def child(what: str, mib: int) -> None:
    """Print the growth of the peak in bytes: of the small events, then of the large one, too."""
    run = WORK[what]
    run(small_chunks(1))  # what is loaded and cached for good
    before = peak()
    run(small_chunks(mib))
    small = peak() - before
    run(large_chunks())
    print(small, peak() - before)


def measure(what: str, mib: int) -> Table:
    command = [sys.executable, __file__, "--child", what, "--mib", str(mib)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    small, large = (int(number) / MIB for number in output.split())
    table = Table(f"{what}: growth of the peak in MiB")
    table.at_most(f"{mib} MiB of small events", small, 32)
    table.at_most("and one event of 48 MiB", large, 2.5 * 48 + 32)
    return table


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--child", choices=WORK)
    chosen = options.parse_args()
    if chosen.child:
        child(chosen.child, chosen.mib)
        return 0
    tables = [measure(what, chosen.mib) for what in WORK]
    for table in tables:
        table.show()
    return 1 if any(table.missed for table in tables) else 0


if __name__ == "__main__":
    sys.exit(main())
