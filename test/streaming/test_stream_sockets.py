"""`get_run_stream` over real sockets: promptness, ways out, broken bodies, unexpected responses.

Each server sends exactly the bytes of its script (see `support.socket_server`).
"""

from __future__ import annotations

import gc
import json
import logging
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import length_hint
from typing import Any

import pytest
from support.socket_server import CLOSE, RESET, STALL, Gate, SocketServer, chunk, head, response
from support.transport import eventually, pool_of

from acp_client_v0_1 import ApiClient, Configuration, RunsApi
from acp_client_v0_1._deadline import NothingYet
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTimeoutError,
    ApiValueError,
    NotFoundException,
    ResponseDecodeError,
    ServiceException,
)
from acp_client_v0_1.models.run_output_stream import RunOutputStream
from acp_client_v0_1.streaming import EventStream, EventTooLarge, StreamInterrupted

Stream = EventStream[RunOutputStream]
EVENT_STREAM = "text/event-stream"
IDLE = response(b"[]")


def payload(number: int) -> bytes:
    return json.dumps(
        {"type": "custom", "run_id": "r", "status": "pending", "update": {"n": number}}
    ).encode()


def event(number: int) -> bytes:
    return b"id: %d\nevent: agent_event\ndata: %b\n\n" % (number, payload(number))


def number_of(item: RunOutputStream) -> int:
    number = item.data.actual_instance.to_dict()["update"]["n"]
    assert isinstance(number, int)
    return number


def numbers(stream: Stream) -> list[int]:
    return [number_of(item) for item in stream]


CHUNKED = head(content_type=EVENT_STREAM, transfer_encoding="chunked")
CLOSED = head(content_type=EVENT_STREAM, connection="close")


def sized(length: int) -> bytes:
    return head(content_type=EVENT_STREAM, content_length=str(length))


def chunked(*pieces: bytes) -> bytes:
    return CHUNKED + b"".join(map(chunk, pieces)) + chunk(b"")


@contextmanager
def client(server: SocketServer, **settings: Any) -> Iterator[RunsApi]:
    configuration = Configuration(host=server.url, **settings)
    with ApiClient(configuration) as api_client:
        yield RunsApi(api_client)


def test_a_coding_that_nobody_knows_is_no_interruption():
    script = [head(content_type=EVENT_STREAM, content_encoding="snow"), ONE, STALL]
    with SocketServer(script) as server, client(server) as runs:
        with pytest.raises(ResponseDecodeError, match=r"returned 200: .*'snow'.* not supported"):
            runs.get_run_stream("r")
        assert eventually(lambda: not server.still_open)


# --- Promptness: the first event is out before the second one is sent ---------------------------


def gzip_pieces(*pieces: bytes) -> list[bytes]:
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*packed[:-1], packed[-1] + packer.flush()]


ONE, TWO = event(1), event(2)
GZIPPED = gzip_pieces(ONE, TWO)
FRAMINGS: dict[str, tuple[bytes, bytes, list[Any]]] = {
    "chunked": (CHUNKED + chunk(ONE), chunk(TWO) + chunk(b""), []),
    "gzip in chunks": (
        head(content_type=EVENT_STREAM, transfer_encoding="chunked", content_encoding="gzip")
        + chunk(GZIPPED[0]),
        chunk(GZIPPED[1]) + chunk(b""),
        [],
    ),
    "a lone CR": (CHUNKED + chunk(ONE.replace(b"\n", b"\r")), chunk(b"\n" + TWO) + chunk(b""), []),
}


@pytest.mark.parametrize(("first", "second", "end"), FRAMINGS.values(), ids=FRAMINGS.keys())
def test_the_first_event_before_the_second_is_sent(
    first: bytes, second: bytes, end: list[Any]
) -> None:
    gate = Gate()
    with SocketServer([first, gate, second, *end]) as server, client(server) as runs:
        stream = runs.get_run_stream("r")
        assert number_of(next(stream)) == 1
        gate.open()
        assert numbers(stream) == [2]
        assert stream.closed


def test_an_event_over_the_clients_limit() -> None:
    big = b"data: " + b"x" * 5000 + b"\n\n"
    with SocketServer(chunked(ONE, big, TWO)) as server:  # noqa: SIM117
        with client(server, max_event_bytes=2000) as runs:
            stream = runs.get_run_stream("r")
            assert number_of(next(stream)) == 1
            with pytest.raises(EventTooLarge) as caught:
                next(stream)
            assert (caught.value.limit, stream.closed) == (2000, True)


# --- Ways out: the connection is used again, or gone --------------------------------------------


@pytest.mark.parametrize(
    "script",
    [chunked(), sized(0), head(204), chunked(b": only a comment\n\n")],
    ids=["chunked", "length 0", "204", "comment"],
)
def test_an_empty_stream_gives_the_connection_back(script: bytes) -> None:
    with SocketServer(script, chunked()) as server, client(server) as runs:
        with runs.get_run_stream("r") as stream:
            assert list(stream) == []
        with runs.get_run_stream("r"):
            assert server.connections == 1


def leave_with(stream: Stream) -> None:
    with stream:
        for _ in stream:
            break


def raise_in_the_loop(stream: Stream) -> None:
    with pytest.raises(ZeroDivisionError), stream:
        for _ in stream:
            raise ZeroDivisionError


def close_it(stream: Stream) -> None:
    next(stream)
    stream.close()


def close_unread(stream: Stream) -> None:
    stream.close()


WAYS_OUT: list[Callable[[Stream], None]] = [leave_with, raise_in_the_loop, close_it, close_unread]


def read_all(stream: Stream) -> None:
    list(stream)


def fail(stream: Stream) -> None:
    with pytest.raises(StreamInterrupted):
        list(stream)


def forget(stream: Stream) -> None:
    next(stream)


@pytest.mark.parametrize(
    ("leave", "end", "idle"),
    [
        *((leave, STALL, 0) for leave in WAYS_OUT),
        (forget, STALL, 0),
        (fail, CLOSE, 0),
        (read_all, chunk(b""), 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_pool_keeps_what_can_be_used_again_and_nothing_else(
    leave: Callable[[Stream], None], end: Any, idle: int
) -> None:
    with SocketServer([CHUNKED + chunk(ONE + TWO), end]) as server, client(server) as runs:
        for made in range(1, 4):
            leave(runs.get_run_stream("r"))
            gc.collect()
            assert len(pool_of(runs.api_client.rest_client).idle) == idle
            assert server.connections == (1 if idle else made)
        assert eventually(lambda: server.still_open == idle)


@pytest.mark.parametrize("begin", [CHUNKED + chunk(ONE), sized(10_000) + ONE, CLOSED + ONE])
def test_close_from_another_thread(begin: bytes) -> None:
    with SocketServer([begin, STALL]) as server, client(server) as runs:
        stream = runs.get_run_stream("r")
        next(stream)
        seconds: list[float] = []

        def close() -> None:
            time.sleep(0.1)  # by then the other thread is in its read
            seconds.append(time.monotonic())
            stream.close()

        thread = threading.Thread(target=close)
        thread.start()
        assert next(stream, None) is None
        assert time.monotonic() - seconds[0] < 4
        thread.join()
        assert stream.closed
        assert eventually(lambda: server.still_open == 0)


# --- Bodies that break off ----------------------------------------------------------------------


def test_an_interrupted_stream_is_not_retried() -> None:
    with SocketServer([CHUNKED + chunk(ONE), CLOSE]) as server, client(server) as runs:
        with pytest.raises(StreamInterrupted):
            list(runs.get_run_stream("r"))
        assert len(server.requests) == 1


# --- Time ---------------------------------------------------------------------------------------


def test_an_idle_stream_runs_into_the_silence_limit() -> None:
    with SocketServer([CHUNKED + chunk(ONE), STALL]) as server, client(server) as runs:
        stream = runs.get_run_stream("r", _request_timeout=(5, 0.5))
        assert number_of(next(stream)) == 1
        start = time.monotonic()
        with pytest.raises(ApiTimeoutError):
            next(stream)
        assert 0.4 < time.monotonic() - start < 5
        assert (stream.closed, stream.last_event_id) == (True, "1")
        assert eventually(lambda: server.still_open == 0)


@pytest.mark.parametrize("drip", [b": ping\n\n", b"x"], ids=["comments", "an unfinished line"])
def test_a_drip_without_an_event_ends_at_the_deadline(drip: bytes) -> None:
    with SocketServer([CHUNKED, *[chunk(drip), 0.02] * 500]) as server, client(server) as runs:
        start = time.monotonic()
        stream = runs.get_run_stream("r", _request_timeout=0.5)
        with pytest.raises(ApiTimeoutError):
            next(stream)
        assert 0.4 < time.monotonic() - start < 5
        assert stream.closed
        assert eventually(lambda: server.still_open == 0)


# --- Other responses than a stream ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>Log in</html>", "text/html"),
        (payload(1), "application/json"),
        (event(1), "text/plain"),
        (event(1), "text/event-streaming"),
        (event(1), ""),
    ],
)
def test_a_wrong_content_type(body: bytes, content_type: str) -> None:
    script = response(body, content_type=content_type)
    with SocketServer(script, IDLE) as server, client(server) as runs:
        with pytest.raises(ResponseDecodeError) as caught:
            runs.get_run_stream("r")
        assert caught.value.body == body.decode()
        assert caught.value.status == 200
        runs.search_runs({})


@pytest.mark.parametrize(
    "content_type",
    ["text/event-stream; charset=utf-8", "Text/Event-Stream", "text/event-stream;charset=latin-1"],
)
def test_a_content_type_with_parameters(content_type: str) -> None:
    # The charset says nothing: an event stream is UTF-8 (9.2.5).
    body = "data: é\n\n".encode()
    with SocketServer(response(body, content_type=content_type)) as server:  # noqa: SIM117
        with client(server) as runs:
            (only,) = runs.get_run_stream("r").raw_events()
    assert only.data == "é"


@pytest.mark.parametrize(
    ("script", "error", "used"),
    [
        (response(b'"no such run"', 404), NotFoundException, 1),
        ([response(b'"no such run"', 500), CLOSE], ServiceException, 2),
    ],
    ids=["404", "500"],
)
def test_an_error_before_the_stream(script: Any, error: type[ApiException], used: int) -> None:
    with SocketServer(script, chunked()) as server, client(server, retries=False) as runs:
        with pytest.raises(error) as caught:
            runs.get_run_stream("r")
        assert caught.value.data == "no such run"
        with runs.get_run_stream("r"):
            assert server.connections == used


def unexpected(status: int, length: int | None = None) -> bytes:
    """Return the head of a response with another content type, chunked if it has no length."""
    framing = {"content_length": str(length)} if length else {"transfer_encoding": "chunked"}
    return head(status, content_type="text/plain", **framing)


# Steps, and how much of the body is kept at least.
UNENDING: dict[str, tuple[Callable[[int], list[Any]], str]] = {
    "it drips": (lambda status: [unexpected(status), *[chunk(b"no"), 0.02] * 200], "nonono"),
    "it stalls": (lambda status: [unexpected(status, 100), b"no", STALL], "no"),
    "it never begins": (lambda status: [unexpected(status, 100), STALL], ""),
    "it is cut": (lambda status: [unexpected(status, 100), b"no", CLOSE], "no"),
    "it is endless": (lambda status: [unexpected(status), *[chunk(b"no" * 8192)] * 2000], "no"),
    "it breaks": (lambda status: [unexpected(status), chunk(b"no"), b"oops\r\n", STALL], "no"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "error"), [(200, ResponseDecodeError), (404, NotFoundException)]
)
@pytest.mark.parametrize(("steps", "kept"), UNENDING.values(), ids=UNENDING.keys())
def test_an_unexpected_response_without_an_end(
    steps: Callable[[int], list[Any]],
    kept: str,
    status: int,
    error: type[ApiException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("acp_client_v0_1._http.response._QUOTED_WITHIN", 0.4)
    with SocketServer(steps(status)) as server, client(server, retries=False) as runs:
        start = time.monotonic()
        with pytest.raises(error) as caught:
            runs.get_run_stream("r")
        assert time.monotonic() - start < 6
        assert (caught.value.status, len(server.requests)) == (status, 1)
        body = caught.value.body or ""
        assert body.startswith(kept)
        assert len(body) < 200_000
        assert eventually(lambda: server.still_open == 0)


def test_a_response_that_breaks_off_before_it_says_anything_is_no_empty_stream() -> None:
    with (
        SocketServer([head(content_length="9"), CLOSE]) as server,
        client(server) as runs,
        pytest.raises(ResponseDecodeError, match="no content type"),
    ):
        runs.get_run_stream("r")


def test_an_unexpected_response_waits_for_no_longer_than_the_call_may_take() -> None:
    # The rest comes within the time that it is waited for otherwise.
    script = [unexpected(404, 100), b"no", 1.0, b"body", STALL]
    with SocketServer(script) as server, client(server) as runs:
        with pytest.raises(NotFoundException) as caught:
            runs.get_run_stream("r", _request_timeout=0.5)
        assert caught.value.body == "no"


def test_a_redirect_to_a_stream() -> None:
    moved = response(b"", 307, location="/runs/r/stream/")
    with SocketServer(moved, chunked(ONE)) as server, client(server) as runs:
        assert numbers(runs.get_run_stream("r")) == [1]
        assert [request.path for request in server.requests] == [
            "/runs/r/stream",
            "/runs/r/stream/",
        ]
        assert server.requests[1].headers["accept"].startswith(EVENT_STREAM)


# --- Waiting for an event for a time ------------------------------------------------------------


def next_within(stream: Stream, seconds: float) -> int:
    """The number of the next event; `NothingYet` if it does not come in time."""
    reader = stream.reader
    if not length_hint(reader.left) and not reader.advance(seconds):
        raise StopIteration
    return int(next(reader.left).id)


def within(stream: Stream, seconds: float) -> int | None:
    try:
        return next_within(stream, seconds)
    except NothingYet:
        return None


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_giving_up_a_wait_loses_nothing(packed: bool) -> None:
    begin, end = (GZIPPED[0][:9], GZIPPED[0][9:]) if packed else (ONE[:20], ONE[20:])
    coding = {"content_encoding": "gzip"} if packed else {}
    opening = head(content_type=EVENT_STREAM, transfer_encoding="chunked", **coding)
    last = GZIPPED[1] if packed else TWO
    gate = Gate()
    script = [opening + chunk(begin), gate, chunk(end), chunk(last) + chunk(b"")]
    with SocketServer(script) as server, client(server) as runs:
        stream = runs.get_run_stream("r")
        assert [within(stream, 0.05) for _ in range(3)] == [None] * 3
        assert not stream.closed
        gate.open()
        assert within(stream, 15) == 1
        assert next(stream).id == "2"
        with pytest.raises(StopIteration):
            next_within(stream, 15)


def test_events_that_are_there_need_no_wait() -> None:
    with SocketServer(chunked(ONE + TWO)) as server, client(server) as runs:
        stream = runs.get_run_stream("r")
        assert within(stream, 15) == 1
        assert within(stream, 0) == 2


@pytest.mark.parametrize(
    ("settings", "timeout"),
    [({"stream_timeout": (5, 0.4)}, None), ({}, 0.4)],
    ids=["silence", "total"],
)
def test_short_waits_add_up_to_the_limits_of_the_call(settings: Any, timeout: Any) -> None:
    with SocketServer([CHUNKED + chunk(ONE), STALL]) as server, client(server, **settings) as runs:
        stream = runs.get_run_stream("r", _request_timeout=timeout)
        assert within(stream, 15) == 1
        begun = time.monotonic()
        with pytest.raises(ApiTimeoutError):
            while time.monotonic() - begun < 15:
                assert within(stream, 0.1) is None
        assert stream.closed


def test_a_cut_during_such_a_wait_is_an_interruption() -> None:
    with SocketServer([CHUNKED + chunk(ONE), 0.2, RESET]) as server, client(server) as runs:
        stream = runs.get_run_stream("r")
        assert within(stream, 15) == 1
        with pytest.raises(StreamInterrupted) as caught:
            next_within(stream, 15)
    assert caught.value.last_event_id == "1"


# --- Going on after an event --------------------------------------------------------------------


@pytest.mark.parametrize("event_id", ["é-1", "✓", "1", "a b", "\x7f\x85x", "😀"])
def test_last_event_id_goes_back_as_the_bytes_that_came(event_id: str) -> None:
    events = b"id: " + event_id.encode() + b"\n" + ONE.split(b"\n", 1)[1]
    with SocketServer(chunked(events)) as server, client(server) as runs:
        with runs.get_run_stream("r") as stream:
            assert next(stream).id == event_id
        for name in ("Last-Event-ID", "last-event-id"):
            with runs.get_run_stream("r", _headers={name: stream.last_event_id}) as again:
                assert again.last_event_id == ""
    for request in server.requests[1:]:
        assert request.headers["last-event-id"].encode("latin-1") == event_id.encode()


@pytest.mark.parametrize("bad", ["\ud800", "1\n2", "1\0"])
def test_a_last_event_id_that_cannot_have_come(bad: str) -> None:
    with SocketServer(chunked()) as server, client(server) as runs:
        with pytest.raises(ApiValueError, match="Last-Event-ID"):
            runs.get_run_stream("r", _headers={"Last-Event-ID": bad})
        assert not server.requests


def test_204_is_logged_with_its_likely_reason(caplog: pytest.LogCaptureFixture) -> None:
    with (
        SocketServer(head(204)) as server,
        client(server) as runs,
        caplog.at_level(logging.INFO, "acp_client_v0_1"),
    ):
        assert numbers(runs.get_run_stream("r")) == []
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("GET /runs/r/stream: 204")
    assert "the run does not stream" in message
    assert "Last-Event-ID" in message
