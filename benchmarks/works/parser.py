"""The parser of server-sent events alone, beside the other parsers and beside a bare loop."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
def twice_the_events() -> Iterator[Contestants]:
    """Half as many events of 64 KB, and all of them."""
    half, whole = MEDIUM_EVENTS // 2, MEDIUM_EVENTS
    yield {
        "half": counting(ours, cut(medium_stream(half), 64 * KIB), half),
        OURS: counting(ours, cut(medium_stream(whole), 64 * KIB), whole),
    }


@contextmanager
def twice_the_size() -> Iterator[Contestants]:
    """One event of two sizes, each in a process of its own.

    Both are then in the same state: a process that has freed so much before is given 16 MiB again
    for nothing, but gets more than 32 MiB anew from the system, page by page.
    """
    yield {HALF: lambda: in_a_fresh_process(16), WHOLE: lambda: in_a_fresh_process(32)}


def in_a_fresh_process(mib: int) -> float:
    """The CPU seconds that one event of a size takes."""
    command = [sys.executable, "-m", __name__, str(mib)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


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


WORKS = [
    small_events("parse_small_64k", 64 * KIB),
    small_events("parse_small_4k", 4 * KIB),
    Work(
        name="parse_medium",
        title="parse events of 64 KB in chunks of 64 KiB",
        unit="µs per event",
        scale=1e6 / MEDIUM_EVENTS,
        rounds=7,
        make=lambda: parsing(medium_stream(MEDIUM_EVENTS), MEDIUM_EVENTS, 64 * KIB, False),
        budgets=(
            Budget(
                "events of 64 KB, times as fast as the fastest peer",
                fastest(OTHERS),
                1,
                at_least=True,
            ),
        ),
    ),
    Work(
        name="parse_huge",
        title="parse one event of 32 MiB in chunks of 64 KiB",
        unit="ms",
        scale=1e3,
        rounds=7,
        make=lambda: parsing(event(1, large_update(32 * MIB)), 1, 64 * KIB, False),
        budgets=(
            Budget(
                "one event of 32 MiB, times as fast as the fastest peer",
                fastest(OTHERS),
                1,
                at_least=True,
            ),
        ),
    ),
    Work(
        name="linear_events",
        title="2,000 events of 64 KB, and half of them",
        unit="ms",
        scale=1e3,
        rounds=15,
        make=twice_the_events,
        budgets=(Budget("time for twice the events of 64 KB", over(OURS, "half"), 2.2),),
        has_peak=False,
        charted=False,
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
        has_peak=False,
        charted=False,
    ),
]

if __name__ == "__main__":
    print(one_event(int(sys.argv[1])))
