"""`get_run_stream` over real sockets: promptness, ways out, broken bodies, unexpected responses.

Each server sends exactly the bytes of its script (see `support.socket_server`).
"""

from __future__ import annotations

import gc
import json
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import length_hint
from typing import Any

import pytest
from support.examples import UPDATE
from support.parts import NothingYet
from support.socket_server import CLOSE, STALL, Gate, SocketServer, chunk, head, response
from support.transport import Stopwatch, eventually, pool_of, serving

from acp_client_v0_1 import RunsApi
from acp_client_v0_1.exceptions import (
    ApiTimeoutError,
    NotFoundException,
    ResponseDecodeError,
)
from acp_client_v0_1.models.run_output_stream import RunOutputStream
from acp_client_v0_1.streaming import EventStream, EventTooLarge, StreamInterrupted

Stream = EventStream[RunOutputStream]
EVENT_STREAM = "text/event-stream"
IDLE = response(b"[]")


def event(number: int) -> bytes:
    update = json.dumps({**UPDATE, "update": {"n": number}}).encode()
    return b"id: %d\nevent: agent_event\ndata: %b\n\n" % (number, update)


def number_of(item: RunOutputStream) -> int:
    number = item.data.actual_instance.to_dict()["update"]["n"]
    assert isinstance(number, int)
    return number


def numbers(stream: Stream) -> list[int]:
    return [number_of(item) for item in stream]


CHUNKED = head(content_type=EVENT_STREAM, transfer_encoding="chunked")


def chunked(*pieces: bytes) -> bytes:
    return CHUNKED + b"".join(map(chunk, pieces)) + chunk(b"")


@contextmanager
def streaming(*responses: Any, **settings: Any) -> Iterator[tuple[RunsApi, SocketServer]]:
    with serving(*responses, **settings) as (server, client):
        yield RunsApi(client), server


def test_a_coding_that_is_not_supported_is_no_interruption():
    script = [head(content_type=EVENT_STREAM, content_encoding="br"), ONE, STALL]
    with streaming(script) as (runs, server):
        with pytest.raises(ResponseDecodeError, match=r"returned 200: .*'br'.*") as failure:
            runs.get_run_stream("r")
        assert eventually(lambda: not server.still_open)
        assert failure.value.reason.endswith("the coding is not supported")


def gzip_pieces(*pieces: bytes) -> list[bytes]:
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*packed[:-1], packed[-1] + packer.flush()]


ONE, TWO = event(1), event(2)
GZIPPED = gzip_pieces(ONE, TWO)
FRAMINGS: dict[str, tuple[bytes, bytes]] = {
    "chunked": (CHUNKED + chunk(ONE), chunk(TWO) + chunk(b"")),
    "gzip in chunks": (
        head(content_type=EVENT_STREAM, transfer_encoding="chunked", content_encoding="gzip")
        + chunk(GZIPPED[0]),
        chunk(GZIPPED[1]) + chunk(b""),
    ),
    "a lone CR": (CHUNKED + chunk(ONE.replace(b"\n", b"\r")), chunk(b"\n" + TWO) + chunk(b"")),
}


@pytest.mark.parametrize(("first", "second"), FRAMINGS.values(), ids=FRAMINGS)
def test_the_first_event_before_the_second_is_sent(first, second):
    gate = Gate()
    with streaming([first, gate, second]) as (runs, _):
        stream = runs.get_run_stream("r")
        assert number_of(next(stream)) == 1
        gate.open()
        assert numbers(stream) == [2]
        assert stream.closed


def test_an_event_over_the_clients_limit_is_not_waited_for():
    script = [CHUNKED, chunk(ONE + b"data: " + b"x" * 5000), STALL]
    with streaming(script, max_event_bytes=2000) as (runs, _):
        stream = runs.get_run_stream("r", _request_timeout=5)
        assert number_of(next(stream)) == 1
        with pytest.raises(EventTooLarge) as caught:
            next(stream)
        assert (caught.value.limit, caught.value.method, stream.closed) == (2000, "GET", True)


def leave_with(stream: Stream) -> None:
    with stream:
        for _ in stream:
            break


def fail(stream: Stream) -> None:
    with pytest.raises(StreamInterrupted):
        list(stream)


def forget(stream: Stream) -> None:
    next(stream)


@pytest.mark.parametrize(
    ("leave", "end", "idle"),
    [
        (leave_with, STALL, 0),
        (Stream.close, STALL, 0),
        (forget, STALL, 0),
        (fail, CLOSE, 0),
        (list, chunk(b""), 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_pool_keeps_what_can_be_used_again_and_nothing_else(leave, end, idle):
    with streaming([CHUNKED + chunk(ONE + TWO), end]) as (runs, server):
        for made in range(1, 4):
            leave(runs.get_run_stream("r"))
            gc.collect()
            assert len(pool_of(runs.api_client.rest_client).idle) == idle
            assert server.connections == (1 if idle else made)
        assert eventually(lambda: server.still_open == idle)


@pytest.mark.parametrize(
    ("steps", "timeout"),
    [
        ([STALL], (5, 0.5)),
        ([chunk(b": ping\n\n"), 0.02] * 500, 0.5),
        ([chunk(b"x"), 0.02] * 500, 0.5),
    ],
    ids=["silence", "comments until the deadline", "an unfinished line until the deadline"],
)
def test_a_stream_without_another_event_ends_in_time(steps, timeout):
    with streaming([CHUNKED + chunk(ONE), *steps]) as (runs, server):
        with Stopwatch() as clock:
            stream = runs.get_run_stream("r", _request_timeout=timeout)
            assert number_of(next(stream)) == 1
            with pytest.raises(ApiTimeoutError):
                next(stream)
        assert 0.4 < clock.seconds < 5
        assert (stream.closed, stream.last_event_id) == (True, "1")
        assert eventually(lambda: server.still_open == 0)


@pytest.mark.parametrize(
    ("script", "body", "words"),
    [
        (response(b"<html>Log in", content_type="text/html"), "<html>Log in", "text/html"),
        (response(ONE, content_type="text/event-streaming"), ONE.decode(), "event-streaming"),
        (response(ONE, content_type=""), ONE.decode(), "no content type"),
        # A response that breaks off before it says anything is no empty stream.
        ([head(content_length="9"), CLOSE], "", "no content type"),
    ],
)
def test_a_wrong_or_missing_content_type_is_no_empty_stream(script, body, words):
    with streaming(script, IDLE) as (runs, _):
        with pytest.raises(ResponseDecodeError, match=words) as caught:
            runs.get_run_stream("r")
        assert caught.value.body == body
        assert caught.value.status == 200
        runs.search_runs({})


def test_a_content_type_in_any_case_and_with_parameters():
    # The charset says nothing: an event stream is UTF-8 (9.2.5).
    kind = "Text/Event-Stream;charset=latin-1"
    with streaming(response("data: é\n\n".encode(), content_type=kind)) as (runs, _):
        (only,) = runs.get_run_stream("r").raw_events()
    assert only.data == "é"


def unexpected(status: int, length: int | None = None) -> bytes:
    """Return the head of a response with another content type, chunked if it has no length."""
    framing = {"content_length": str(length)} if length else {"transfer_encoding": "chunked"}
    return head(status, content_type="text/plain", **framing)


# Steps, and how much of the body is kept at least.
UNENDING: dict[str, tuple[Callable[[int], list[Any]], str]] = {
    "it drips": (lambda status: [unexpected(status), *[chunk(b"no"), 0.02] * 200], "nonono"),
    "it never begins": (lambda status: [unexpected(status, 100), STALL], ""),
    "it is cut": (lambda status: [unexpected(status, 100), b"no", CLOSE], "no"),
    "it is endless": (lambda status: [unexpected(status), *[chunk(b"no" * 8192)] * 2000], "no"),
    "it breaks": (lambda status: [unexpected(status), chunk(b"no"), b"oops\r\n", STALL], "no"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "name"),
    # After a 200, each of these would take three seconds.
    [
        *((404, name) for name in UNENDING),
        *((200, name) for name in UNENDING if "never" not in name),
    ],
)
def test_an_unexpected_response_without_an_end(status, name):
    steps, kept = UNENDING[name]
    error = NotFoundException if status == 404 else ResponseDecodeError
    with streaming(steps(status), retries=False) as (runs, server):
        start = time.monotonic()
        with pytest.raises(error) as caught:
            runs.get_run_stream("r", _request_timeout=(5, 0.4) if status == 404 else None)
        assert time.monotonic() - start < 9
        assert (caught.value.status, len(server.requests)) == (status, 1)
        body = caught.value.body or ""
        assert body.startswith(kept)
        assert len(body) < 200_000
        assert eventually(lambda: server.still_open == 0)


def within(stream: Stream, seconds: float) -> str | None:
    """Give the id of the next event, "" at the end, and None if none comes in time."""
    reader = stream.reader
    try:
        if length_hint(reader.left) or reader.advance(seconds):
            return next(reader.left).id
    except NothingYet:
        return None
    return ""


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_giving_up_a_wait_loses_nothing(packed):
    begin, end = (GZIPPED[0][:9], GZIPPED[0][9:]) if packed else (ONE[:20], ONE[20:])
    coding = {"content_encoding": "gzip"} if packed else {}
    opening = head(content_type=EVENT_STREAM, transfer_encoding="chunked", **coding)
    last = GZIPPED[1] if packed else TWO
    gate = Gate()
    script = [opening + chunk(begin), gate, chunk(end), chunk(last) + chunk(b"")]
    with streaming(script) as (runs, _):
        stream = runs.get_run_stream("r")
        assert [within(stream, 0.05) for _ in range(3)] == [None] * 3
        assert not stream.closed
        gate.open()
        assert within(stream, 15) == "1"
        assert next(stream).id == "2"
        assert within(stream, 15) == ""


@pytest.mark.parametrize("event_id", ["é-1", "✓", "1", "a b", "\x7f\x85x", "😀"])
def test_last_event_id_goes_back_as_the_bytes_that_came(event_id):
    events = b"id: " + event_id.encode() + b"\n" + ONE.split(b"\n", 1)[1]
    with streaming(chunked(events)) as (runs, server):
        with runs.get_run_stream("r") as stream:
            assert next(stream).id == event_id
        for name in ("Last-Event-ID", "last-event-id"):
            with runs.get_run_stream("r", _headers={name: stream.last_event_id}) as again:
                assert again.last_event_id == ""
    for request in server.requests[1:]:
        assert request.headers["last-event-id"].encode("latin-1") == event_id.encode()
