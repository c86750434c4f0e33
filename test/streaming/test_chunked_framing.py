"""Chunked bodies on a real socket, however a server writes and cuts them (RFC 9112, section 7.1).

The transport takes together the chunks that have come together; none of this may show.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from support.socket_server import CLOSE, STALL, SocketServer, chunk, head
from support.transport import rest_client

from acp_client_v0_1 import ApiClient, Configuration, RunsApi
from acp_client_v0_1.exceptions import ConnectionException, ProtocolException, TransportException
from acp_client_v0_1.streaming import StreamInterrupted

CHUNKED = head(content_type="text/event-stream", transfer_encoding="chunked")
LAST = b"0\r\n\r\n"
MOST = 65_536  # bytes that are asked for at once

Writer = Callable[[bytes, random.Random], bytes]


def plain(data: bytes, rng: random.Random) -> bytes:
    return chunk(data)


def capital(data: bytes, rng: random.Random) -> bytes:
    return b"%X\r\n%b\r\n" % (len(data), data)


def padded(data: bytes, rng: random.Random) -> bytes:
    return b"0" * rng.randrange(12) + chunk(data)


def extended(data: bytes, rng: random.Random) -> bytes:
    extension = rng.choice([b";a", b";a=b", b' ; a="b"', b";a=b;c=d"])
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


def mixed(data: bytes, rng: random.Random) -> bytes:
    return rng.choice([plain, plain, plain, capital, padded, extended])(data, rng)


def pieces_of(answer: bytes, *, cut: int) -> list[bytes]:
    """Send an answer twice over one connection, in writes of a size; give the pieces of the second.

    The first shows that nothing is left behind that the second could be disturbed by.
    """
    steps = [answer[begin : begin + cut] for begin in range(0, len(answer), cut)]
    with SocketServer(steps) as server, rest_client() as client:
        for _ in range(2):
            response = client.request("GET", server.url + "/", stream=True, _request_timeout=10)
            pieces = list(iter(response.read_available, b""))
        assert server.connections == 1
    return pieces


@pytest.mark.parametrize("write", [plain, capital, padded, extended, mixed])
@pytest.mark.parametrize("largest", [1, 40, 4_000, 70_000])
@pytest.mark.parametrize("last", [LAST, b"00\r\n\r\n", b"0;end\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"])
def test_every_way_of_writing_chunks(write: Writer, largest: int, last: bytes) -> None:
    rng = random.Random(f"{write.__name__} {largest}")
    body = rng.randbytes(min(200_000, 1_000 * largest))
    answer, begin = CHUNKED, 0
    while begin < len(body):
        size = rng.randint(1, largest)
        answer += write(body[begin : begin + size], rng)
        begin += size
    pieces = pieces_of(answer + last, cut=MOST)
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= MOST


@pytest.mark.parametrize("cut", range(1, 8))
def test_chunks_cut_anywhere(cut: int) -> None:
    body = b"".join(b"%d" % number * number for number in range(1, 12))
    answer = CHUNKED + b"".join(chunk(b"%d" % number * number) for number in range(1, 12)) + LAST
    assert b"".join(pieces_of(answer, cut=cut)) == body


@pytest.mark.parametrize("size", range(MOST - 12, MOST + 3))
def test_chunks_around_the_end_of_the_buffer(size: int) -> None:
    # The size of the second chunk, its line ends and its data come to lie across that end.
    body = b"x" * size + b"y" * 10 + b"z" * MOST
    answer = CHUNKED + chunk(b"x" * size) + chunk(b"y" * 10) + chunk(b"z" * MOST) + LAST
    pieces = pieces_of(answer, cut=1_000_000)
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= MOST


def test_small_chunks_come_together() -> None:
    answer = CHUNKED + chunk(b"0123456789") * 2_000 + LAST
    assert len(pieces_of(answer, cut=1_000_000)) < 100


@pytest.mark.parametrize(
    "data",
    [b"data: 0\n\n", b"\r\n0\r\n\r\n", b"5\r\nabcde\r\n", b"\n0\r\n"],
    ids=["event", "last chunk", "chunk", "end of one"],
)
def test_data_that_looks_like_framing_is_data(data: bytes) -> None:
    answer = CHUNKED + chunk(data) * 3 + LAST
    assert b"".join(pieces_of(answer, cut=1_000_000)) == data * 3


BROKEN = {
    "cut in the line end of a chunk": (b"3\r\nabc\r", CLOSE, ConnectionException),
    "cut where data looks like the last chunk": (b"4\r\n\n0\r\n", CLOSE, ConnectionException),
    "cut in the last chunk": (b"0\r", CLOSE, ConnectionException),
    "cut in the trailer": (b"0\r\nX-Sum: 1\r\n", CLOSE, ConnectionException),
    "a size that is none": (b"xyz\r\nabc\r\n", STALL, ProtocolException),
    "no size": (b"\r\nabc\r\n", STALL, ProtocolException),
    "a size without end": (b"1" * 70_000, STALL, ProtocolException),
    "an extension without end": (b"3;" + b"a" * 70_000, STALL, ProtocolException),
}


@pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
@pytest.mark.parametrize(("rest", "end", "cause"), BROKEN.values(), ids=BROKEN)
def test_events_before_a_fault_are_out_and_it_is_no_clean_end(
    rest: bytes, end: str, cause: type[TransportException], together: bool
) -> None:
    events = chunk(b"id: 1\ndata: a\n\n") + chunk(b"id: 2\ndata: b\n\n")
    steps = [CHUNKED + events + rest, end] if together else [CHUNKED, events, 0.05, rest, end]
    with SocketServer(steps) as server, ApiClient(Configuration(host=server.url)) as client:
        events_of = RunsApi(client).get_run_stream("r", _request_timeout=5).raw_events()
        assert [next(events_of).data, next(events_of).data] == ["a", "b"]
        with pytest.raises(StreamInterrupted) as caught:
            next(events_of)
    assert caught.value.last_event_id == "2"
    assert isinstance(caught.value.__cause__, cause)
