"""Streams that more than one party holds: two iterations, a signal's handler, a cycle, a child.

`Moment` uses `sys.settrace`, so that coverage.py does not see what it interrupts.
"""

from __future__ import annotations

import gc
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import pytest
from support.moments import Interrupt, Moment
from support.socket_server import STALL, Gate, SocketServer, chunk, head
from support.transport import eventually, in_child, serving, talking

from acp_client_v0_1 import RunsApi
from acp_client_v0_1.exceptions import ApiValueError, StreamInterrupted
from acp_client_v0_1.models.run_output_stream import RunOutputStream
from acp_client_v0_1.streaming import EventStream, ServerSentEvent, _reader

# Tests here use the alarm themselves.
pytestmark = pytest.mark.timeout(method="thread")

Stream = EventStream[RunOutputStream]

CHUNKED = head(content_type="text/event-stream", transfer_encoding="chunked")


def events(*numbers: int) -> bytes:
    """Write events as one chunk, so that they come together."""
    data = '{"type": "custom", "run_id": "r", "status": "pending", "update": {}}'
    return chunk("".join(f"id: {number}\ndata: {data}\n\n" for number in numbers).encode())


@contextmanager
def stream_of(*steps: Any) -> Iterator[tuple[Stream, SocketServer]]:
    with serving([CHUNKED, *steps]) as (server, client):
        yield RunsApi(client).get_run_stream("r"), server


def ids(of: Iterator[ServerSentEvent] | Stream) -> list[str]:
    return [event.id for event in of]


def test_typed_and_raw_iterations_share_the_events():
    batches = events(1), 0.05, events(2, 3, 4), 0.05, events(5, 6), chunk(b"")
    with stream_of(*batches) as (stream, _):
        raw = stream.raw_events()
        taken = [next(stream).id, next(raw).id, next(stream).id, next(raw).id]
        assert [*taken, *ids(stream)] == list("123456")
        assert ids(raw) == []


@contextmanager
def being_read() -> Iterator[Stream]:
    """A stream in whose read another thread is, which gets the rest of the events afterwards."""
    gate = Gate()
    with (
        stream_of(events(1), gate, events(2), chunk(b"")) as (stream, _),
        ThreadPoolExecutor(1) as pool,
    ):
        assert next(stream).id == "1"
        reading = pool.submit(ids, stream)
        assert eventually(lambda: stream.reader._in_read)
        yield stream
        gate.open()
        assert reading.result(10) == ["2"]


@pytest.mark.parametrize("iterate", [next, list, lambda stream: list(stream.raw_events())])
def test_a_second_thread_is_refused_and_the_first_reads_on(iterate):
    words = "the stream is read by another thread"
    with being_read() as stream, pytest.raises(ApiValueError, match=words):
        iterate(stream)


@pytest.mark.slow
def test_events_before_a_close_by_another_thread_are_whole_and_in_order():
    steps = [CHUNKED, *map(events, range(50)), STALL]
    with serving(steps) as (_, client), ThreadPoolExecutor(1) as pool:
        for after in range(100):
            stream = RunsApi(client).get_run_stream("r")
            begun = iter(stream)  # so that closing ends it without an error
            reading = pool.submit(lambda: list(iter(lambda: next(begun, None), None)))  # noqa: B023
            time.sleep(after / 20_000)
            stream.close()
            read = [event.id for event in reading.result(10) if event is not None]
            assert read == [str(number) for number in range(len(read))]


@contextmanager
def alarm(handler: Callable[[], object], seconds: float = 0.5) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, lambda number, frame: handler())
    # After a stop of the process, any thread may get the signal of a system timer.
    here = threading.get_ident()
    timer = threading.Timer(seconds, signal.pthread_kill, (here, signal.SIGALRM))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("iterate", [iter, Stream.raw_events])
def test_a_signals_handler_may_close_what_it_interrupts_and_look_what_is_left(iterate):
    left: list[object] = []
    with stream_of(events(1, 2), STALL) as (stream, server):

        def handle() -> None:
            with stream:
                pass
            left.append(next(stream, None))

        assert next(stream).id == "1"
        start = time.monotonic()
        with alarm(handle):
            assert ids(iterate(stream)) == ["2"]
        assert 0.4 < time.monotonic() - start < 5
        assert (stream.closed, stream.last_event_id, left) == (True, "2", [None])
        assert eventually(lambda: server.still_open == 0)


def test_an_error_of_a_signals_handler_closes_the_connection():
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    with stream_of(STALL) as (stream, server):
        with pytest.raises(Stop), alarm(stop):
            next(stream)
        assert stream.closed and eventually(lambda: server.still_open == 0)


@pytest.mark.slow
def test_an_interrupt_anywhere_in_close_stops_no_other_thread():
    number, interrupted = 0, True
    while interrupted:
        number += 1
        with stream_of(events(1), events(2), chunk(b"")) as (stream, _):
            raw = stream.raw_events()
            assert next(raw).id == "1"
            with suppress(Interrupt), Moment(number, [_reader.__file__]) as moment:
                stream.close()
            interrupted = moment.struck
            reader = threading.Thread(target=list, args=(raw,), daemon=True)
            reader.start()
            reader.join(8)
            assert not reader.is_alive(), number
    assert number > 30


def test_close_at_any_moment_of_a_read_hands_out_nothing_more():
    number, closes = 0, True
    while closes:
        number += 1
        with stream_of(events(1, 2), events(3), chunk(b"")) as (stream, _):
            with Moment(number, [_reader.__file__], stream.close) as moment:
                raw, other = stream.raw_events(), stream.raw_events()
                taken = ids(islice(raw, 1))
            closes = moment.struck
            if closes:
                assert taken in ([], ["1"])
                assert (stream.closed, ids(raw), ids(other)) == (True, [], []), number
                assert stream.last_event_id in ("", *taken), number
    assert number > 30


def test_a_stream_in_a_cycle_closes_its_connection():
    def forget(stream: Stream) -> None:
        try:
            for _ in stream:
                raise KeyError
        except KeyError as error:
            kept = error  # whose traceback holds this frame
            assert kept

    gc.collect()
    gc.disable()
    try:
        with (
            serving([CHUNKED, events(1, 2), STALL]) as (server, client),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            forget(RunsApi(client).get_run_stream("r"))
            assert server.still_open == 1
            gc.collect()
            assert eventually(lambda: server.still_open == 0)
    finally:
        gc.enable()
    assert [str(warning.message) for warning in caught] == []


def test_a_stream_that_cannot_be_made_closes_its_connection():
    with talking([CHUNKED, events(1), STALL]) as (client, server):
        with pytest.raises(ApiValueError):
            EventStream(client.request("GET", server.url, stream=True), str, max_event_bytes=0)
        gc.collect()
        assert eventually(lambda: server.still_open == 0)


def test_a_child_leaves_the_stream_to_its_parent_which_reads_it_meanwhile():
    with being_read() as stream:

        def read() -> None:
            with pytest.raises(StreamInterrupted):
                next(stream)

        # The finalizer runs when the last reference to the stream is gone.
        for leave in (read, stream.close, stream.reader._finalizer):
            assert in_child(leave)() == 0
