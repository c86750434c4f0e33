"""Memory and time of the parser: the limit of an event, what is held, how work grows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.costs import Calls, Memory

from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError
from acp_client_v0_1.streaming import EventTooLarge, ServerSentEvent, SSEParser
from acp_client_v0_1.streaming.parser import DEFAULT_MAX_EVENT_BYTES

KIB = 1024
MIB = 1024 * KIB


def pieces(stream: bytes, size: int) -> list[bytes]:
    return [stream[begin : begin + size] for begin in range(0, len(stream), size)]


def until_too_large(
    parser: SSEParser, chunks: Iterable[bytes]
) -> tuple[list[ServerSentEvent], bool]:
    events: list[ServerSentEvent] = []
    try:
        for chunk in chunks:
            events += parser.feed(chunk)
        parser.close()
    except EventTooLarge:
        return events, True
    return events, False


@pytest.mark.parametrize("size", [1, 7, 64, 100, 101, 1000, 5000])
@pytest.mark.parametrize(
    "start", [b"data: ", b"data:", b"data: a\ndata: ", b"id: ", b"event: ", b"foo: ", b"x"]
)
def test_an_event_over_the_limit_raises(start, size):
    parser = SSEParser(max_event_bytes=100)
    with pytest.raises(EventTooLarge) as caught:
        for chunk in pieces(start + b"x" * 4000, size):
            parser.feed(chunk)
    assert caught.value.limit == 100


def test_events_do_not_add_up():
    stream = b"data: %b\n\n" % (b"x" * 60) * 1000
    for size in (50, 1000, len(stream)):
        events, raised = until_too_large(SSEParser(max_event_bytes=100), pieces(stream, size))
        assert (len(events), raised) == (1000, False)


def test_the_events_before_the_large_one_are_not_lost_and_the_next_call_raises():
    for end in (SSEParser.close, lambda parser: parser.feed(b"")):
        parser = SSEParser(max_event_bytes=100)
        assert [event.data for event in parser.feed(b"data: a\n\ndata: " + b"x" * 200)] == ["a"]
        with pytest.raises(EventTooLarge):
            end(parser)
        with pytest.raises(EventTooLarge):
            parser.feed(b"data: b\n\n")
        parser.close()


def test_comments_are_not_held():
    parser = SSEParser(max_event_bytes=100)
    assert parser.feed(b"data: a\n:") == []
    for _ in range(100):
        assert parser.feed(b"x" * 1000) == []
    for _ in range(100):
        assert parser.feed(b"\n: " + b"y" * 1000) == []
    assert parser.feed(b"\n\n") == [ServerSentEvent("message", "a", "")]


@pytest.mark.parametrize("before", [b"", b"data: a\n\n", b"data: a\r\n\r\n"])
def test_the_limit_is_exact_and_comments_do_not_count(before):
    # Of 6, 0, 9, 4 and 10 bytes, with one byte for each line end.
    lines = b"id: 1\r\n: a comment\r\nevent: e\r\nfoo\r\n" + "data: é".encode() + b"\xff\r\n"
    block = lines + b"\r\n"
    for size in (1, 3, 100):
        for chunks in (pieces(before + block, size), [*pieces(before, size), block]):
            assert until_too_large(SSEParser(29), chunks)[1] is False
            assert until_too_large(SSEParser(28), chunks)[1] is True


FRAGMENTS = [
    *(b"data: xxxxxx", b"data:", b": xxxxxxxx", b"id: 1", b"\xff"),
    *(b"\n", b"\n\n", b"\r", b"\r\n"),
]


@settings(derandomize=True, database=None, max_examples=250)
@given(
    stream=st.lists(st.sampled_from(FRAGMENTS), max_size=20).map(b"".join),
    size=st.integers(1, 40),
    limit=st.integers(1, 40),
)
def test_the_outcome_does_not_depend_on_the_chunks(stream, size, limit):
    bytewise = until_too_large(SSEParser(limit), pieces(stream, 1))
    assert until_too_large(SSEParser(limit), pieces(stream, size)) == bytewise
    assert until_too_large(SSEParser(limit), [stream]) == bytewise


@pytest.mark.parametrize("bad", [0, -1, "1", 1.5, None, True])
def test_a_limit_is_a_positive_integer_and_by_default_64_mib(bad):
    assert DEFAULT_MAX_EVENT_BYTES == 64 * MIB
    error = ApiValueError if type(bad) is int else ApiTypeError
    with pytest.raises(error, match="max_event_bytes"):
        SSEParser(max_event_bytes=bad)


def peak_of(chunks: Iterable[bytes], **limit: int) -> int:
    parser = SSEParser(**limit)
    with Memory() as memory, suppress(EventTooLarge):
        for chunk in chunks:
            parser.feed(chunk)
    return memory.peak


@pytest.mark.parametrize(
    "line",
    [b"data: " + b"x" * MIB, b"\n".join([b"data: some text"] * (128 * KIB))],
    ids=["one line", "many lines"],
)
@pytest.mark.parametrize("size", [64 * KIB, 16 * MIB], ids=["in chunks", "at once"])
def test_a_large_event_is_held_little_more_than_twice(line, size):
    chunks = [*pieces(line, size), b"\n\n"]
    largest = len(line)
    assert peak_of(chunks) < 2.5 * largest + MIB


def test_an_endless_stream_takes_constant_memory():
    chunk = b"".join(b"id: %d\nevent: agent_event\ndata: {}\n\n" % n for n in range(300))
    assert peak_of([chunk] * 100) < peak_of([chunk] * 10) + 64 * KIB


def test_no_more_than_the_limit_is_held():
    chunks = (b"x" * 64 * KIB for _ in range(1000))
    assert peak_of(chunks, max_event_bytes=MIB) < 2.5 * MIB


@pytest.mark.parametrize("before", [b"", b"data: a\n\n", b"data: a\n" * 4097])
def test_lines_of_data_are_joined_once_there_are_more_than_4096(before):
    held = []
    for lines in (4096, 4097):
        parser = SSEParser()
        parser.feed(before)
        with Memory() as memory:
            parser.feed(b"data: some text\n" * lines)
        held.append(memory.kept)
    assert held[1] < held[0] / 2


@pytest.mark.parametrize(
    "unfinished",
    [b"data: " + b"x" * 500_000, b"x" * 500_000, b"data: some text\n" * 30_000],
    ids=["data", "unknown", "lines"],
)
def test_a_parser_that_has_ended_holds_nothing(unfinished):
    def too_large(parser: SSEParser) -> None:
        with pytest.raises(EventTooLarge):
            parser.feed(b"x" * MIB)

    for end in (SSEParser.close, too_large):
        parser = SSEParser(512 * KIB)
        with Memory() as memory:
            parser.feed(unfinished)
            end(parser)
        assert memory.kept < 64 * KIB


def calls(chunks: Sequence[bytes]) -> int:
    """Count the calls, of Python and of C functions, that feeding takes."""
    parser = SSEParser()
    with Calls() as counted:
        for chunk in chunks:
            parser.feed(chunk)
    return counted.count


SMALL = b"id: 1\nevent: agent_event\ndata: {}\n\n"


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        (SMALL * 20, 4096),
        (SMALL * 20, 1),
        (b"data: x\n" * 100, 64),
        (b"data: " + b"x" * 5000, 16),
        (b"foo" * 1000, 16),
        (b": ping\r\n\r\n" * 100, 7),
        (b"\n" * 1000, 3),
        (b"\r" * 1000, 3),
    ],
    ids=["chunks", "bytes", "lines", "one line", "unknown", "comments", "LF", "CR"],
)
def test_twice_the_stream_takes_twice_the_calls(unit, size):
    once, twice = calls(pieces(unit * 4, size)), calls(pieces(unit * 8, size))
    assert twice < 2.2 * once


@pytest.mark.parametrize(
    "before",
    [b"", SMALL * 3, b"data: x\n\n", b"data: x\ndata: y\n\n" * 3],
    ids=["first", "after ACP's", "after another", "after some that have no shape"],
)
@pytest.mark.parametrize(
    "block",
    [
        *(SMALL, b"id: 1\nevent: e\ndata: x\n\n", b"id:1\nevent:e\ndata:x\n\n"),
        *(b"event: e\nid: 1\ndata: x\n\n", b"event: e\ndata: x\n\n", b"event:e\ndata:x\n\n"),
        *(b"data: x\n\n", b"data:x\n\n", b"id: 1\ndata: x\n\n"),
    ],
)
def test_blocks_of_one_shape_take_few_calls_each(block, before):
    assert calls([before + block * 500]) < 4_000


@pytest.mark.parametrize(
    ("before", "block", "slow"),
    [
        (b"", b"event: e\ndata: x\n\n", 2),
        (b"data: x\n\n" + SMALL, b"data: x\n\n", 2),
        (b"data: x\ndata: y\n\n" * 3, b"data: x\n\n", 61),
        (b"data:x\ndata:y\n\n" * 3, b"data:x\n\n", 61),
    ],
)
def test_a_shape_is_learned_from_the_second_block_in_a_row_and_else_from_the_64th(
    before, block, slow
):
    costs = [calls([before + block * count]) for count in range(70)]
    steps = [more - less for less, more in pairwise(costs)]
    assert sum(step > steps[-1] for step in steps) == slow


def test_the_beginning_of_a_block_of_up_to_4_kib_is_read_with_its_end():
    block = SMALL.replace(b"{}", b"x" * 5000)
    kept, interpreted = (calls([SMALL + block[:size], block[size:]]) for size in (4096, 4097))
    assert kept < interpreted


def test_a_block_that_comes_in_parts_makes_the_blocks_after_it_no_slower():
    at_once, in_parts = ([SMALL] * 100, [SMALL[:9], SMALL[9:], *[SMALL] * 99])
    assert calls(in_parts) < calls(at_once) + 100


def test_a_long_piece_is_taken_in_slices_of_256_kib():
    few, most, more = (calls([b"x" * size]) for size in (1000, 256 * KIB, 256 * KIB + 2))
    assert few == most < more


def test_the_first_event_of_acp_takes_fewer_calls_than_that_of_another_name():
    for block in (SMALL, SMALL.replace(b"{}", b" {}")):
        assert calls([block]) < calls([block.replace(b"agent_", b"other_")])


def test_a_chunk_is_like_bytes_and_not_kept():
    parser, buffer = SSEParser(), bytearray(b"data: ")
    assert parser.feed(buffer) == []
    buffer[:] = b"x" * len(buffer)
    assert parser.feed(memoryview(b"a\n")) == []
    assert parser.feed(b"\n") == [ServerSentEvent("message", "a", "")]


def test_close_drops_the_unfinished_event_and_ends_the_parser():
    parser = SSEParser()
    assert parser.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n") != []
    parser.close()
    parser.close()
    assert parser.last_event_id == "1"
    with pytest.raises(ApiValueError, match="closed"):
        parser.feed(b"\n")


@pytest.mark.parametrize("zeros", [0, 100_000])
@pytest.mark.parametrize("size", [1000, 1_000_000])
@pytest.mark.parametrize(("limit", "most"), [(4300, 4300), (640, 640), (0, 4300)])
def test_retry_has_as_many_digits_as_python_converts_and_4300_at_most(
    limit, most, size, zeros, request
):
    request.addfinalizer(partial(sys.set_int_max_str_digits, sys.get_int_max_str_digits()))
    sys.set_int_max_str_digits(limit)
    parser = SSEParser()
    for digits, expected in ((most, 10**most - 1), (most + 1, 5), (100_000, 5)):
        stream = b"retry: 5\nretry: " + b"0" * zeros + b"9" * digits + b"\n"
        for piece in pieces(stream, size):
            parser.feed(piece)
        assert parser.retry == expected
