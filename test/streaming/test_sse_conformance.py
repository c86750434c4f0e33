"""The parser does with every stream of the table what the standard says, however it is cut."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from conformance_cases import CASES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference_parser import ReferenceParser

from acp_client_v0_1.streaming import ServerSentEvent, SSEParser

# The events, the last id and the reconnection time.
Outcome = tuple[tuple[ServerSentEvent, ...], str, int | None]


def outcome(chunks: Iterable[bytes]) -> Outcome:
    parser = SSEParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    parser.close()
    return tuple(events), parser.last_event_id, parser.retry


def test_streams_are_parsed_alike_byte_by_byte_and_at_every_split_point() -> None:
    for case in CASES:
        expected = case.events, case.last_id, case.retry
        assert outcome(map(bytes, zip(case.stream))) == expected, case.name
        for split in range(len(case.stream) + 1):
            chunks = [case.stream[:split], case.stream[split:]]
            assert outcome(chunks) == expected, f"{case.name}, {split}"


FRAGMENTS = [
    *(b"data", b"data:", b"data: ", b"data: a\n\n", b"data:y\n\n"),
    *(b"event", b"event: ", b"event: agent_event\n", b"event: e\ndata: b\n\n"),
    *(b"id", b"id: ", b"retry: ", b"retry: 12\n"),
    b"id: 7\nevent: agent_event\ndata: {}\n\n",
    b"id: 8\r\nevent: agent_event\r\ndata: {}\r\n\r\n",
    b"id:7\nevent:e\ndata:x\n\n",
    *(b":", b" ", b"\n", b"\n\n", b"\r", b"\r\n", b"\0", b"3", b"x"),
    *(b"\xef\xbb\xbf", b"\xef", b"\xbb", b"\xe2\x82", b"\xe2\x80\xa8", b"\xc2\x85", b"\xff"),
]
streams = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=25).map(b"".join),
    st.binary(max_size=60),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=3)), max_size=20).map(
        b"".join
    ),
)
chunk_sizes = st.one_of(st.just([1]), st.lists(st.integers(0, 30), min_size=1, max_size=8))

# The same examples in every run: a failure here is found again by the next run.
steady = settings(
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def check(stream: bytes, sizes: list[int]) -> None:
    parser, reference = SSEParser(), ReferenceParser()
    events = []
    begin = turn = 0
    while begin < len(stream):
        size = sizes[turn % len(sizes)] or turn % 2
        chunk = stream[begin : begin + size]
        begin, turn = begin + size, turn + 1
        events += parser.feed(chunk)
        for byte in chunk:
            reference.push(byte)
        assert events == reference.events
        assert parser.last_event_id == reference.last_event_id
        assert parser.retry == reference.reconnection_time


@pytest.mark.slow
@settings(steady, max_examples=400)
@given(stream=streams, sizes=chunk_sizes)
def test_events_ids_and_retry_equal_the_reference(stream: bytes, sizes: list[int]) -> None:
    check(stream, sizes)


@settings(steady, max_examples=150)
@given(
    shape=st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4).map(b"".join),
    count=st.integers(2, 12),
    sizes=chunk_sizes,
)
def test_repeated_blocks_equal_the_reference(shape: bytes, count: int, sizes: list[int]) -> None:
    check((shape + b"\n\n") * count, sizes)
