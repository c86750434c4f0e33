"""The parser does with every stream what the standard says (WHATWG HTML, 9.2.5 and 9.2.6).

A table has the streams and what the standard makes of them; others are compared with a reference.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference_parser import ReferenceParser

from acp_client_v0_1.streaming import ServerSentEvent, SSEParser

# The events, the last id and the reconnection time.
Outcome = tuple[tuple[ServerSentEvent, ...], str, int | None]


# Each row of the table: a name, the bytes, and what they make.
CASES: list[tuple[str, bytes, Outcome]] = []
FFFD = "\N{REPLACEMENT CHARACTER}"


def ev(data: str, event: str = "message", id: str = "") -> ServerSentEvent:
    return ServerSentEvent(event=event, data=data, id=id)


def case(
    name: str,
    stream: bytes,
    *events: ServerSentEvent | str,
    last_id: str | None = None,
    retry: int | None = None,
) -> None:
    """Add a row; a bare string is an unnamed event without id.

    `retry` and `last_id` are given where they differ from "never set" and from the last event's id.
    """
    full = tuple(ev(event) if isinstance(event, str) else event for event in events)
    if last_id is None:
        last_id = full[-1].id if full else ""
    CASES.append((name, stream, (full, last_id, retry)))


# --- The examples of the standard, 9.2.6 --------------------------------------------------------

case("standard: three data lines", b"data: YHOO\ndata: +2\ndata: 10\n\n", "YHOO\n+2\n10")
case(
    "standard: four blocks, the third one resets the id, the fourth keeps its second space",
    b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
    ev("first event", id="1"),
    "second event",
    " third event",
)
case("standard: empty data, newline, unfinished", b"data\n\ndata\ndata\n\ndata:", "", "\n")

# --- Line ends: every stream with each of the three, and in mixtures ----------------------------

LINES: list[tuple[list[bytes], list[ServerSentEvent]]] = [
    ([b"data: a", b"", b"data: b", b""], [ev("a"), ev("b")]),
    ([b"event: e", b"id: 7", b"data: a", b"data: b", b""], [ev("a\nb", "e", "7")]),
    ([b"id: 1", b"event: agent_event", b"data: {}", b""] * 2, [ev("{}", "agent_event", "1")] * 2),
    ([b"", b"", b"data: a", b":", b": no", b"data: b", b"", b"", b""], [ev("a\nb")]),
    ([b"data", b"data:", b"data: ", b"", b"data: b"], [ev("\n\n")]),
]
for lines, expected in LINES:
    for end in (b"\n", b"\r", b"\r\n"):
        case(f"line ends: {lines}, {end!r}", b"".join(line + end for line in lines), *expected)
    # Each line with another end; but LF after CR would be one end with it, not a blank line.
    mixed = b""
    for number, line in enumerate(lines):
        end = (b"\r", b"\r\n", b"\n")[number % 3]
        mixed += b"\r" if not line and mixed.endswith(b"\r") else line + end
    case(f"line ends: {lines}, mixed", mixed, *expected)

case("line ends: LF CR is two", b"data: a\n\rdata: b\n\n", "a", "b")
case("line ends: CR CR LF is two", b"data: a\r\r\ndata: b\n\n", "a", "b")
case("line ends: CR LF CR is two", b"data: a\r\n\rdata: b\n\n", "a", "b")
case("line ends: CR LF CR LF is two", b"data: a\r\n\r\ndata: b\n\n", "a", "b")
case("line ends: a last CR ends the event", b"data: a\r\r", "a")

# --- Characters that other algorithms take for line ends ----------------------------------------

for char in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029":
    char_name, raw = f"U+{ord(char):04X}", char.encode()
    case(f"no line end: {char_name}", b"data: a" + raw + b"event: x\n\n", f"a{char}event: x")
    case(f"no line end: {char_name} alone", b"data: a\n" + raw + b"\n\n", "a")
    named = b"event: a" + raw + b"\nid: " + raw + b"b\ndata\n\n"
    case(f"no line end: {char_name} in event and id", named, ev("", f"a{char}", f"{char}b"))

# --- The byte order mark ------------------------------------------------------------------------

BOM = b"\xef\xbb\xbf"
case("BOM: at the start", BOM + b"data: a\n\n", "a")
case("BOM: the second one, then a good line", BOM + BOM + b"data: a\ndata: b\n\n", "b")
case("BOM: after an LF it belongs to the name", b"\n" + BOM + b"data: a\n\n")
case("BOM: after an event it belongs to the name", b"data: a\n\n" + BOM + b"data: b\n\n", "a")
case("BOM: at a value's start", b"data:" + BOM + b"a\n\n", "\ufeffa")
case("BOM: two bytes of it, then a line end", b"\xef\xbb\ndata: a\n\n", "a")
case("BOM: U+FEFF differs from U+FEC0", b"\xef\xbb\x80: x\ndata: a\n\n", "a")

# --- UTF-8 --------------------------------------------------------------------------------------

for text_name, text in {
    "the first of each length": "\x80\u0800\U00010000",
    "the last of each length": "\x7f\u07ff\uffff\U0010ffff",
    "around the surrogates": "\ud7ff\ue000",
    "a mixture": "aé€😀z",
}.items():
    block = f"id: {text}\nevent: agent_event\ndata: {text}\n\n"
    case(f"UTF-8: {text_name}", block.encode(), ev(text, "agent_event", text))

for bytes_name, raw, text in [
    ("a lone continuation byte", b"\x80", FFFD),
    ("0xF5 starts nothing", b"\xf5\x80\x80\x80", FFFD * 4),
    ("three bytes cut short after two", b"\xe2\x82", FFFD),
    ("a letter after two of three", b"\xe2\x82x", FFFD + "x"),
    ("a new sequence after an unfinished one", b"\xe2\x82\xc3\xa9", FFFD + "é"),
    ("a surrogate", b"\xed\xa0\x80", FFFD * 3),
]:
    case(f"invalid UTF-8: {bytes_name}", b"data: " + raw + b"\n\ndata: b\n\n", text, "b")
case("invalid UTF-8: a line end ends the sequence", b"data: \xe2\x82\r\n\r\n", FFFD)
case("invalid UTF-8: in a field name", b"d\xffata: a\n\ndata: b\n\n", "b")
case("invalid UTF-8: in the unfinished event", b"data: b\n\ndata: \xff", "b")

# --- Fields, comments and the end ---------------------------------------------------------------

case("value: a tab stays", b"data:\ta\n\n", "\ta")
case("value: spaces at its end stay", b"data: a  \n\n", "a  ")
case("value: NUL stays in data", b"data: a\0b\n\n", "a\0b")
case("name: a space before the colon", b"data : a\n\n")
case("name: upper case", b"Data: a\n\nDATA: b\n\n")
case("name: unknown, without colon", b"foo\ndata: a\n\n", "a")
case("data: an empty line first", b"data:\ndata: a\n\n", "\na")
case("data: 300 lines", b"data: x\n" * 300 + b"\n", "\n".join("x" * 300))
case("event: empty is message", b"event:\ndata: a\n\n", "a")
case("event: the last one counts", b"event: e\nevent: f\ndata: a\n\n", ev("a", "f"))
case("event: does not persist", b"event: e\ndata: a\n\ndata: b\n\n", ev("a", "e"), "b")
case("event: a block without data resets it", b"event: e\n\ndata: a\n\n", "a")
case("id: persists", b"id: 1\ndata: a\n\ndata: b\n\n", ev("a", id="1"), ev("b", id="1"))
case("id: an empty one resets", b"id: 1\ndata: a\n\nid:\ndata: b\n\n", ev("a", id="1"), "b")
case("id: a block with nothing else sets it", b"id: 1\n\n", last_id="1")
case("id: NUL inside: ignored", b"id: 1\0\ndata: a\n\n", "a")
case("id: NUL does not reset", b"id: 1\n\nid: \0\ndata: b\n\n", ev("b", id="1"))

# --- retry --------------------------------------------------------------------------------------

for retry_name, raw, retry in [
    ("digits", b"retry: 1500", 1500),
    ("zero", b"retry: 0", 0),
    ("more than 64 bits", b"retry: 99999999999999999999", 99999999999999999999),
    ("700 digits", b"retry: " + b"9" * 700, 10**700 - 1),
    ("empty", b"retry:", None),
    ("a sign", b"retry: +10", None),
    ("an underscore", b"retry: 1_000", None),
    ("two spaces before", b"retry:  10", None),
    ("Arabic digits", "retry: ٣".encode(), None),
]:
    case(f"retry: {retry_name}", raw + b"\n\n", retry=retry)
case("retry: needs no blank line", b"retry: 10\n", retry=10)
case("retry: needs a whole line", b"retry: 10")
case("retry: a bad one changes nothing", b"retry: 10\nretry: x\n\n", retry=10)
case("comment: does not end an event", b"data: a\n: c\nevent: e\n\n", ev("a", "e"))
case("comment: two keep-alive colons", b"::data: a\ndata: b\n\n", "b")
case("end: empty stream", b"")
case("end: after the fields", b"data: a\n\nid: 1\nevent: e\ndata: b\n", "a")


def outcome(chunks: Iterable[bytes]) -> Outcome:
    parser = SSEParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    parser.close()
    return tuple(events), parser.last_event_id, parser.retry


def test_streams_are_parsed_alike_byte_by_byte_and_at_every_split_point():
    for name, stream, expected in CASES:
        assert outcome(map(bytes, zip(stream))) == expected, name
        for split in range(len(stream) + 1):
            assert outcome([stream[:split], stream[split:]]) == expected, f"{name}, {split}"


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
parts = st.sampled_from(FRAGMENTS)
streams = st.one_of(
    st.lists(parts, max_size=25).map(b"".join),
    st.binary(max_size=60),
    st.lists(parts | st.binary(max_size=3), max_size=20).map(b"".join),
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


# Shapes that a stream may repeat, and some that only look like them.
ORDERS = (
    "id event data",
    "event id data",
    "id data event",
    "data id event",
    "event data id",
    "data",
)
SPACED = [
    b"".join(b"%b: 1\n" % name.encode() for name in order.split()) + b"\n" for order in ORDERS
]
BLOCKS = [
    *SPACED,
    *(block.replace(b": ", b":") for block in SPACED),
    *(b"id:1\nevent:1\ndata: 1\n\n", b"id:1\nevent:1\ndata:  1\n\n", b"data:  1\n\n"),
    *(b"id: 1\nevent:1\ndata:1\n\n", b"id:1\nevent: 1\ndata:1\n\n", b"id:\nevent:1\ndata:1\n\n"),
    *(b"event:1\ndata:1\n\n", b": data:1\n\n", b"id: 1\nevent: 1\ndata: 1 event: 1 data: 1\n\n"),
    b"id: 1\nevent: 1\ndata: 1\nevent: 1\ndata: 1\n\n",
]


def test_a_block_between_those_of_another_shape_equals_the_reference():
    for shape in BLOCKS:
        for other in BLOCKS:
            check(shape * 2 + other + shape, [1000])


@pytest.mark.slow
@settings(steady, max_examples=400)
@given(stream=streams, sizes=chunk_sizes)
def test_events_ids_and_retry_equal_the_reference(stream, sizes):
    check(stream, sizes)


@settings(steady, max_examples=150)
@given(
    shape=st.lists(parts, min_size=1, max_size=4).map(b"".join),
    count=st.integers(2, 12),
    sizes=chunk_sizes,
)
def test_repeated_blocks_equal_the_reference(shape, count, sizes):
    check((shape + b"\n\n") * count, sizes)
