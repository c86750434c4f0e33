"""Chunked bodies on a real socket, however a server writes and cuts them (RFC 9112, section 7.1).

The transport takes together the chunks that have come together; none of this may show.
"""

from __future__ import annotations

import random
from contextlib import nullcontext

import pytest
from support.costs import Calls, Memory
from support.socket_server import CLOSE, STALL, Gate, SocketServer, chunk, head
from support.transport import eventually, talking
from urllib3.exceptions import ProtocolError

from acp_client_v0_1 import ApiClient, Configuration, RunsApi
from acp_client_v0_1._http.parse import BadFraming, Framing, final_head, framing_of
from acp_client_v0_1.exceptions import ConnectionException, ProtocolException
from acp_client_v0_1.streaming import StreamInterrupted

CHUNKED = head(content_type="text/event-stream", transfer_encoding="chunked")
LAST = b"0\r\n\r\n"
MOST = 65_536  # bytes that are asked for at once


def written(data: bytes, rng: random.Random) -> bytes:
    """Write a chunk in one of the ways that a server may."""
    size = rng.choice([b"%x", b"%x", b"%X", b"0000%x"]) % len(data)
    end = rng.choice([b"", b"", b";a", b";a=b", b' ; a="b"', b";a=b;c=d", b"  ", b" \t"])
    return b"%b%b\r\n%b\r\n" % (size, end, data)


def pieces_of(script: bytes, *, cut: int) -> list[bytes]:
    """Send a response twice over one connection, in small writes; give the pieces of the second.

    The first shows that nothing is left behind that the second could be disturbed by.
    """
    steps = [script[begin : begin + cut] for begin in range(0, len(script), cut)]
    with talking(steps) as (client, server):
        for _ in range(2):
            response = client.request("GET", server.url + "/", stream=True, _request_timeout=10)
            pieces = list(iter(response.read_available, b""))
        assert server.connections == 1
    return pieces


@pytest.mark.parametrize("largest", [1, 40, 4_000, 70_000])
@pytest.mark.parametrize("last", [LAST, b"00\r\n\r\n", b"0;end\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"])
def test_every_way_of_writing_chunks(largest, last):
    rng = random.Random(f"{last!r} {largest}")
    body = rng.randbytes(min(200_000, 1_000 * largest))
    script, begin = CHUNKED, 0
    while begin < len(body):
        size = rng.randint(1, largest)
        script += written(body[begin : begin + size], rng)
        begin += size
    pieces = pieces_of(script + last, cut=MOST)
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= MOST


@pytest.mark.parametrize("cut", [*range(1, 8), 1_000_000])
def test_chunks_cut_anywhere_whose_data_may_look_like_framing(cut):
    lengths = [b"%d" % number * number for number in range(1, 12)]
    framing = [b"data: 0\n\n", b"\r\n0\r\n\r\n", b"5\r\nabcde\r\n", b"\n0\r\n"]
    data = [*lengths, *framing * 3]
    script = CHUNKED + b"".join(map(chunk, data)) + LAST
    assert b"".join(pieces_of(script, cut=cut)) == b"".join(data)


@pytest.mark.parametrize("size", range(MOST - 12, MOST + 3))
def test_chunks_around_the_end_of_the_buffer(size):
    # The size of the second chunk, its line ends and its data come to lie across that end.
    body = b"x" * size + b"y" * 10 + b"z" * MOST
    script = CHUNKED + chunk(b"x" * size) + chunk(b"y" * 10) + chunk(b"z" * MOST) + LAST
    pieces = pieces_of(script, cut=1_000_000)
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= MOST


BROKEN = {
    "cut in the line end of a chunk": (b"3\r\nabc\r", CLOSE, ConnectionException),
    "cut where data looks like the last chunk": (b"4\r\n\n0\r\n", CLOSE, ConnectionException),
    "a size that is none": (b"xyz\r\nabc\r\n", STALL, ProtocolException),
    "a size without end": (b"1" * 70_000, STALL, ProtocolException),
    "a trailer without end": (b"0\r\n" + b"a: b\r\n" * 200, STALL, ProtocolException),
}

# Of the first chunk, so that no data comes before the fault.
MISSING_ENDS = {
    "nothing": (b"3\r\nabc", r"3\\r"),
    "more data": (b"3\r\nabcdef\r\n", "de"),
    "a line feed": (b"3\r\nabc\n", r"\\n3?"),
    "two line feeds": (b"3\r\nabc\n\n", r"\\n\\n"),
    "the wrong order": (b"3\r\nabc\n\r", r"\\n\\r"),
}


@pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
@pytest.mark.parametrize(("rest", "end", "cause"), BROKEN.values(), ids=BROKEN)
def test_events_before_a_fault_are_out_and_it_is_no_clean_end(rest, end, cause, together):
    events = chunk(b"id: 1\ndata: a\n\n") + chunk(b"id: 2\ndata: b\n\n")
    steps = [CHUNKED + events + rest, end] if together else [CHUNKED, events, 0.05, rest, end]
    with SocketServer(steps) as server, ApiClient(Configuration(host=server.url)) as client:
        events_of = RunsApi(client).get_run_stream("r", _request_timeout=5).raw_events()
        assert [next(events_of).data, next(events_of).data] == ["a", "b"]
        with pytest.raises(StreamInterrupted) as caught:
            next(events_of)
    assert caught.value.last_event_id == "2"
    assert isinstance(caught.value.__cause__, cause)


@pytest.mark.parametrize(("chunk_without_end", "found"), MISSING_ENDS.values(), ids=MISSING_ENDS)
def test_data_that_does_not_end_with_its_chunk(chunk_without_end, found):
    # If the two bytes went unseen, the rest of each of these would be read as well-framed.
    steps = [CHUNKED, chunk_without_end + b"3\r\ndef\r\n0\r\n\r\n", CLOSE]
    with talking(steps) as (client, server):
        with pytest.raises(ProtocolException, match=f"followed by b'{found}', not by CR LF"):
            client.request("GET", server.url + "/", _request_timeout=5)
        streamed = client.request("GET", server.url + "/", stream=True, _request_timeout=5)
        assert streamed.read_available() == b"abc"
        with pytest.raises(ProtocolException):
            streamed.read_available()
        raw = client.request("GET", server.url + "/", stream=True, _request_timeout=5).response
        with pytest.raises(ProtocolError):
            list(raw.stream())
        assert server.connections == 3  # none of them is used again
        assert eventually(lambda: not server.still_open)


def framing_of_chunks() -> Framing:
    head, _ = final_head(lambda: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    return framing_of(head, "GET")[0]


@pytest.mark.parametrize("before", [b"", b"1\r\nx\r\n", b"0\r\n"], ids=["first", "next", "trailer"])
@pytest.mark.parametrize("cut", [4_000, 8_192, 10_000])
def test_a_line_has_8_192_bytes_at_most(before, cut):
    for length, fits in ((8_192, True), (8_193, False)):
        framing, line = framing_of_chunks(), b"1;".ljust(length - 2, b"a") + b"\r\n"
        framing.take(before)
        with nullcontext() if fits else pytest.raises(BadFraming, match="too long: b'1;aaa"):
            framing.take(line[:cut])
            framing.take(line[cut:])


@pytest.mark.parametrize(
    ("lines", "width", "quick"),
    [(1, 1, True), (1_000, 1, True), (1, 58, True), (1, 59, False)],
    ids=["one line", "lines that repeat", "64 bytes", "65 bytes"],
)
def test_small_chunks_that_come_together_cost_three_calls_each_unless_their_lines_are_long(
    lines, width, quick
):
    data = b"".join(b"1;%0*d\r\nx\r\n" % (width, number % lines) for number in range(1_000))
    framing = framing_of_chunks()
    framing.take(data)
    with Calls() as calls:
        assert framing.take(data) == b"x" * 1_000
    assert (calls.count < 3_100) is quick


def test_lines_of_chunks_that_never_repeat_are_not_all_kept():
    framing = framing_of_chunks()
    with Memory() as memory:
        for start in range(0, 5_000, 1_000):
            lines = (b"1;number=%d\r\nx\r\n" % number for number in range(start, start + 1_000))
            assert framing.take(b"".join(lines)) == b"x" * 1_000
    assert memory.kept < 130_000


def test_urllib3s_response_gives_chunks_when_they_have_come():
    gates = [Gate() for _ in range(4)]
    responses = [[CHUNKED, chunk(b"one"), gate, chunk(b"two"), LAST] for gate in gates]
    gates[-1].open()
    with talking(*responses) as (client, server):
        for amount, gate in zip((65_536, None, 2), gates, strict=False):
            raw = client.request("GET", server.url + "/", stream=True).response
            pieces = raw.stream(amount)
            assert next(pieces) in (b"one", b"on")
            gate.open()
            assert b"".join(pieces) in (b"two", b"etwo")
        raw = client.request("GET", server.url + "/", stream=True).response
        assert list(raw.read_chunked(0)) == []
        raw.close()
