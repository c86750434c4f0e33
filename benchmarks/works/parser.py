"""The parser of server-sent events alone, beside the other parsers and beside a bare loop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache

from acp_client_v0_1.streaming import SSEParser

from .. import peers
from ..measure import (
    BY_HAND,
    OURS,
    Budget,
    Contestants,
    Work,
    cpu_seconds,
    elsewhere,
    fastest,
    over,
    returned,
)
from ..samples import cut, event, large_update, small_update

KIB = 1024
MIB = 1024 * KIB
SMALL_EVENTS = 200_000
MEDIUM_EVENTS = 2_000
OTHERS = ("httpx-sse", "sseclient-py", "openai", "langgraph-sdk")
HALF, WHOLE = "16 MiB", "32 MiB"

Parse = Callable[[Sequence[bytes]], int]
Make = Callable[[], AbstractContextManager[Contestants]]


def ours(chunks: Iterable[bytes]) -> int:
    """Parse and count."""
    parser = SSEParser()
    count = 0
    for chunk in chunks:
        for _ in parser.feed(chunk):
            count += 1
    return count


def bare(chunks: Sequence[bytes]) -> int:
    """Split and partition, nothing else: no line end but LF, no decoding, no event."""
    count = 0
    rest = b""
    for chunk in chunks:
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            for line in block.split(b"\n"):
                line.partition(b":")
            count += 1
    return count


def counting(parse: Parse, chunks: Sequence[bytes], count: int) -> Callable[[], None]:
    """A job that finds all events."""

    def job() -> None:
        if (found := parse(chunks)) != count:
            raise RuntimeError(f"{found} events instead of {count}")

    return job


@cache
def small_stream(events: int) -> bytes:
    """A stream of small events."""
    return b"".join(event(number, small_update(number)) for number in range(events))


@cache
def medium_stream(events: int) -> bytes:
    """A stream of events of 64 KB."""
    return b"".join(event(number, large_update(64_000)) for number in range(events))


@contextmanager
def parsing(stream: bytes, count: int, chunk: int, with_bare: bool) -> Iterator[Contestants]:
    """Parse a stream in chunks of one size."""
    chunks = cut(stream, chunk)
    parsers: dict[str, Parse] = {OURS: ours}
    if with_bare:
        parsers[BY_HAND] = bare
    parsers |= peers.parsers()
    yield {name: counting(parse, chunks, count) for name, parse in parsers.items()}


@contextmanager
def twice_the_size() -> Iterator[Contestants]:
    """One event of two sizes, each in a process of its own.

    Both are then in the same state: a process that has freed so much before is given 16 MiB again
    for nothing, but gets more than 32 MiB anew from the system, page by page.
    """
    yield {
        HALF: lambda: float(elsewhere(__name__, "16")),
        WHOLE: lambda: float(elsewhere(__name__, "32")),
    }


def one_event(mib: int) -> float:
    """The CPU seconds of one event, the best of some."""
    chunks = cut(event(1, large_update(mib * MIB)), 64 * KIB)
    return min(cpu_seconds(counting(ours, chunks, 1)) for _ in range(5))


def small_events(name: str, chunk: int) -> Work:
    """The work on small events in chunks of one size."""
    title = f"parse small events in chunks of {chunk // KIB} KiB"
    return Work(
        name=name,
        title=f"{title}; by hand: a bare loop of split and partition",
        unit="µs per event",
        scale=1e6 / SMALL_EVENTS,
        rounds=5,
        make=lambda: parsing(small_stream(SMALL_EVENTS), SMALL_EVENTS, chunk, with_bare=True),
        budgets=(
            Budget(
                f"{title}, times as fast as the fastest peer", fastest(OTHERS), 2.0, at_least=True
            ),
            Budget(f"{title}, over the bare loop", over(OURS, BY_HAND), 1.3),
        ),
    )


def large_events(name: str, what: str, unit: str, scale: float, make: Make) -> Work:
    """The work on events that are larger than a chunk, or as large."""
    faster = Budget(f"{what}, times as fast as the fastest peer", fastest(OTHERS), 1, at_least=True)
    return Work(name, f"parse {what} in chunks of 64 KiB", unit, scale, 7, make, (faster,))


WORKS = [
    small_events("parse_small_64k", 64 * KIB),
    small_events("parse_small_4k", 4 * KIB),
    large_events(
        "parse_medium",
        "events of 64 KB",
        "µs per event",
        1e6 / MEDIUM_EVENTS,
        lambda: parsing(medium_stream(MEDIUM_EVENTS), MEDIUM_EVENTS, 64 * KIB, False),
    ),
    large_events(
        "parse_huge",
        "one event of 32 MiB",
        "ms",
        1e3,
        lambda: parsing(event(1, large_update(32 * MIB)), 1, 64 * KIB, False),
    ),
    Work(
        name="linear_size",
        title="one event of 32 MiB, and one of half the size, in fresh processes",
        unit="ms",
        scale=1e3,
        rounds=5,
        make=twice_the_size,
        budgets=(Budget("time for twice the size of one event", over(WHOLE, HALF), 2.2),),
        sample=returned,
    ),
]

if __name__ == "__main__":
    print(one_event(int(sys.argv[1])))
