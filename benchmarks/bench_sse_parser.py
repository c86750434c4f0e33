"""The parser beside its peers and beside a bare loop: bytes in, events counted.

Ratios of CPU seconds, best of several, measured in turns in one run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence

from _sse_peers import Parse, find_peers
from _timing import Table, best_cpu_seconds

from acp_client_v0_1.streaming import SSEParser

KIB = 1024
MIB = 1024 * KIB
SMALL_EVENTS = 200_000


def ours(chunks: Sequence[bytes]) -> int:
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


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[begin : begin + size] for begin in range(0, len(stream), size)]


def event(number: int, data: bytes) -> bytes:
    return b"id: %d\nevent: agent_event\ndata: %s\n\n" % (number, data)


def small(number: int) -> bytes:
    update = {"step": number, "text": f"token {number}"}
    run_id = "3f2b8c1e-7d4a-4c55-9a3e-0d5f6b7a8c9d"
    data = {"type": "custom", "run_id": run_id, "status": "pending", "update": update}
    return json.dumps(data).encode()


def large(size: int) -> bytes:
    return json.dumps({"type": "custom", "update": {"text": "x" * size}}).encode()


def jobs(parsers: dict[str, Parse], chunks: Sequence[bytes], count: int) -> dict[str, float]:
    def job(parse: Parse) -> None:
        found = parse(chunks)
        assert found == count, f"{found} events instead of {count}"

    work = {name: (lambda parse=parse: job(parse)) for name, parse in parsers.items()}
    return best_cpu_seconds(work)


def compare(
    title: str, chunks: Sequence[bytes], count: int, peers: dict[str, Parse], budget: float
) -> Table:
    seconds = jobs({"ours": ours, **peers}, chunks, count)
    table = Table(title)
    for name, used in seconds.items():
        table.figure(name, f"{used / count * 1e6:.2f} us")
    if peers:
        fastest = min(peers, key=lambda name: seconds[name])
        table.at_least(f"speed / {fastest}", seconds[fastest] / seconds["ours"], budget)
    return table


def small_events(peers: dict[str, Parse], size: int) -> Table:
    chunks = cut(b"".join(event(n, small(n)) for n in range(SMALL_EVENTS)), size)
    title = f"{SMALL_EVENTS:,} small events in chunks of {size // KIB} KiB, per event"
    table = compare(title, chunks, SMALL_EVENTS, peers, 2.0)
    seconds = jobs({"ours": ours, "bare": bare}, chunks, SMALL_EVENTS)
    table.figure("bare loop", f"{seconds['bare'] / SMALL_EVENTS * 1e6:.2f} us")
    table.at_most("time / bare loop", seconds["ours"] / seconds["bare"], 1.3)
    return table


def linear(
    table: Table, half: Sequence[bytes], whole: Sequence[bytes], counts: tuple[int, int]
) -> None:
    def check(chunks: Sequence[bytes], count: int) -> None:
        assert ours(chunks) == count

    work = {"half": lambda: check(half, counts[0]), "whole": lambda: check(whole, counts[1])}
    seconds = best_cpu_seconds(work, rounds=15)
    table.at_most("time for twice the size", seconds["whole"] / seconds["half"], 2.2)


def medium_events(peers: dict[str, Parse]) -> Table:
    stream = [event(n, large(64 * KIB)) for n in range(2000)]
    chunks = cut(b"".join(stream), 64 * KIB)
    table = compare("2,000 events of 64 KiB in chunks of 64 KiB, per event", chunks, 2000, peers, 1)
    linear(table, cut(b"".join(stream[:1000]), 64 * KIB), chunks, (1000, 2000))
    return table


def huge_event(peers: dict[str, Parse]) -> Table:
    chunks = cut(event(1, large(32 * MIB)), 64 * KIB)
    table = compare("one event of 32 MiB in chunks of 64 KiB", chunks, 1, peers, 1)
    # In a process of its own each, in the same state: one that has freed so much before is given
    # 16 MiB again for nothing, but gets more than 32 MiB anew from the system, page by page.
    half, whole = (fresh_seconds(size) for size in (16, 32))
    table.at_most("time for twice the size", whole / half, 2.2)
    return table


def fresh_seconds(mib: int) -> float:
    command = [sys.executable, __file__, "--one-event", str(mib)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output)


def one_event(mib: int) -> None:
    """Print the CPU seconds that one event takes."""
    chunks = cut(event(1, large(mib * MIB)), 64 * KIB)
    print(best_cpu_seconds({"": lambda: ours(chunks)}, rounds=7)[""])


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--one-event", type=int, metavar="MIB", help="measure only this")
    chosen = options.parse_args()
    if chosen.one_event:
        one_event(chosen.one_event)
        return 0
    peers = find_peers()
    missed = 0
    for measure in (
        lambda: small_events(peers, 64 * KIB),
        lambda: small_events(peers, 4 * KIB),
        lambda: medium_events(peers),
        lambda: huge_event(peers),
    ):
        table = measure()
        table.show()
        missed += table.missed
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
