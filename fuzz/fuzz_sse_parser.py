"""Looks for a stream, and a way to cut it, that the parser and the standard see differently.

    python fuzz/fuzz_sse_parser.py [--seconds 60] [corpus directory]

Coverage-guided with atheris where that is installed (``pip install atheris``), otherwise with
random examples from hypothesis. The judge is the slow transcription in
``test/streaming/reference_parser.py``. Exits with an error, and shows the input, if one is found.

An input is: one byte for the limit, one for the number of chunk sizes, the sizes, the stream.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test" / "streaming")]

SEEDS = [
    b"data: a\n\n",
    b"id: 1\nevent: agent_event\ndata: {}\n\nid: 2\r\nevent: agent_event\r\ndata: {}\r\n\r\n",
    b"\xef\xbb\xbf: c\rretry: 10\rdata\rdata: \xe2\x82\r\rid\n\n",
]


def split_input(raw: bytes) -> tuple[int, list[int], bytes]:
    """Read the limit, the chunk sizes and the stream from the fuzzer's bytes."""
    limit = (raw[0] if raw else 0) or 1 << 20
    count = raw[1] % 8 if len(raw) > 1 else 0
    return limit, [size % 64 for size in raw[2 : 2 + count]] or [1], raw[2 + count :]


def run(stream: bytes, sizes: list[int], limit: int) -> tuple[Any, ...]:
    """Parse; return events, whether an event was too large, last id and retry."""
    from acp_client_v0_1.streaming import EventTooLarge, SSEParser

    parser = SSEParser(limit)
    events = []
    begin = turn = 0
    try:
        while begin < len(stream):
            size = sizes[turn % len(sizes)] or turn % 2
            events += parser.feed(stream[begin : begin + size])
            begin, turn = begin + size, turn + 1
        parser.feed(b"")
    except EventTooLarge:
        return events, True
    return events, False, parser.last_event_id, parser.retry


def check(raw: bytes) -> None:
    """Compare with the reference, and under the limit with byte by byte.

    Raises:
        AssertionError: they differ.
    """
    from reference_parser import ReferenceParser

    limit, sizes, stream = split_input(raw)
    reference = ReferenceParser()
    for byte in stream:
        reference.push(byte)
    expected = (reference.events, False, reference.last_event_id, reference.reconnection_time)
    found = run(stream, sizes, 1 << 20)
    if found != expected:
        raise AssertionError(f"{stream!r} in {sizes}: {found} instead of {expected}")
    if run(stream, sizes, limit) != run(stream, [1], limit):
        raise AssertionError(f"{stream!r} in {sizes}, limit {limit}: the chunks matter")


def fuzz_with_atheris(seconds: int, corpus: list[str]) -> None:
    """Follow the coverage of the parser and the reference; does not return."""
    import atheris

    with atheris.instrument_imports():
        import reference_parser  # noqa: F401

        import acp_client_v0_1.streaming  # noqa: F401
    with tempfile.TemporaryDirectory() as directory:
        for number, seed in enumerate(SEEDS):
            (Path(directory) / str(number)).write_bytes(b"\0\1\5" + seed)
        arguments = [f"-max_total_time={seconds}", "-max_len=512", *corpus, directory]
        atheris.Setup([sys.argv[0], *arguments], check)
        atheris.Fuzz()


def fuzz_with_hypothesis(seconds: int) -> None:
    """Try random examples until the time is over."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    fragments = [seed[begin : begin + 4] for seed in SEEDS for begin in range(len(seed))]
    inputs = st.lists(st.one_of(st.sampled_from(fragments), st.binary(max_size=4)), max_size=30)
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]

    @settings(max_examples=2000, deadline=None, database=None, suppress_health_check=quiet)
    @given(inputs.map(b"".join))
    def examples(raw: bytes) -> None:
        check(raw)

    end, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        examples()
        rounds += 1
    sys.stdout.write(f"{rounds * 2000} random examples, no difference (without atheris)\n")


def main() -> None:
    """Fuzz for as long as the command line says."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("corpus", nargs="*")
    chosen = options.parse_args()
    if importlib.util.find_spec("atheris"):
        fuzz_with_atheris(chosen.seconds, chosen.corpus)
    else:
        fuzz_with_hypothesis(chosen.seconds)


if __name__ == "__main__":
    main()
