"""`EventStream` over a scripted response: what it yields, what it raises, what it frees."""

from __future__ import annotations

import copy
import json
import pickle
import time

import pytest
from pydantic import ValidationError
from support.parts import NothingYet

from acp_client_v0_1.exceptions import (
    ApiValueError,
    ConnectionException,
    ProtocolException,
    ResponseDecodeError,
)
from acp_client_v0_1.models.custom_run_result_update import CustomRunResultUpdate
from acp_client_v0_1.models.run_output_stream import RunOutputStream
from acp_client_v0_1.models.run_result import RunResult
from acp_client_v0_1.streaming import (
    EventStream,
    ServerSentEvent,
    StreamDecodeError,
    StreamInterrupted,
    event_decoder,
)


class FakeResponse:
    """Gives its pieces one by one, raises those that are errors, then is complete."""

    status = 200
    method = "GET"
    url = "http://127.0.0.1/runs/1/stream"

    def __init__(self, *pieces: bytes | BaseException) -> None:
        self.headers = {"Content-Type": "text/event-stream"}
        self.pieces = list(pieces)
        self.reads = 0
        self.closes = 0
        self.aborts = 0

    def read_available(self, *, wait: float | None = None) -> bytes:
        self.reads += 1
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def abort(self) -> None:
        self.aborts += 1

    def close(self) -> None:
        self.closes += 1


def as_json(event: ServerSentEvent) -> object:
    return None if event.event == "other" else json.loads(event.data)


def stream_of(*pieces: bytes | BaseException) -> EventStream[object]:
    return EventStream(FakeResponse(*pieces), as_json)


def response_of(stream: EventStream[object]) -> FakeResponse:
    response = stream.reader.response
    assert isinstance(response, FakeResponse)
    return response


def numbers(*values: int) -> bytes:
    return b"".join(b"id: %d\ndata: %d\n\n" % (value, value) for value in values)


def test_events_come_one_by_one_and_the_end_frees_the_connection():
    stream = stream_of(numbers(1, 2), numbers(3))
    assert (next(stream), response_of(stream).reads) == (1, 1)
    assert (next(stream), response_of(stream).reads) == (2, 1)
    assert (next(stream), response_of(stream).reads) == (3, 2)
    assert list(stream) == []
    assert stream.closed
    assert response_of(stream).closes == 1


def test_skipped_events_are_only_raw():
    pieces = b"event: other\ndata: x\nid: 1\n\ndata: 2\n\n"
    assert list(stream_of(pieces)) == [2]
    raw = [ServerSentEvent("other", "x", "1"), ServerSentEvent("message", "2", "1")]
    assert list(stream_of(pieces).raw_events()) == raw


def test_pieces_without_an_event_are_passed_over():
    unfinished = (b": only\n\n", b"data: unfinished\n")
    for pieces in ((), (b"",), unfinished):
        assert list(stream_of(*pieces)) == []
    stream = stream_of(b": ping\n\n", b"id: 1\n", b"data: 1\n", b"\n", b": ping\n\n")
    assert list(stream) == [1] and stream.closed


def test_what_the_response_says():
    stream = stream_of()
    assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream")
    assert repr(stream) == "<EventStream open, status 200, last id ''>"
    # A stream that is open at the end of the process is left to the system.
    assert not stream.reader._finalizer.atexit
    stream.close()
    assert "closed" in repr(stream)
    assert (response_of(stream).closes, response_of(stream).aborts) == (1, 0)


def test_the_last_event_id_is_that_of_what_was_handed_out():
    stream = stream_of(numbers(1, 2) + b"data: 3\n\nid: 4\n\n")
    seen = [stream.last_event_id]
    for _ in stream:
        seen.append(stream.last_event_id)
    assert seen == ["", "1", "2", "2"]
    assert stream.last_event_id == "4"  # a block with an id alone sets it, too


def test_close_drops_what_was_read_ahead_and_closes_once():
    stream = stream_of(numbers(1, 2, 3), numbers(4))
    raw = stream.raw_events()
    assert [next(stream), next(raw).data] == [1, "2"]
    stream.close()
    stream.close()
    assert next(stream, "the end") == "the end"
    assert list(raw) == []
    assert stream.last_event_id == "2"
    assert response_of(stream).closes == 1


def test_a_close_at_the_end_of_a_timed_wait_frees_the_connection():
    class Silent(FakeResponse):
        def read_available(self, *, wait: float | None = None) -> bytes:
            stream.close()
            raise NothingYet

    stream = EventStream(Silent(), as_json)
    assert not stream.reader.advance(1)
    assert (response_of(stream).aborts, response_of(stream).closes) == (1, 1)


def test_an_interrupt_from_the_keyboard():
    stream = stream_of(numbers(1), KeyboardInterrupt())
    assert next(stream) == 1
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert (stream.closed, response_of(stream).closes) == (True, 1)


def test_a_stream_that_is_over_does_not_look_like_an_empty_one():
    exhausted, closed = stream_of(numbers(1)), stream_of(numbers(1))
    failed = stream_of(numbers(1), ConnectionException(reason="reset"))
    assert list(exhausted) == [1]
    begun = iter(closed)
    closed.close()
    assert next(begun, "the end") == "the end"
    with pytest.raises(StreamInterrupted):
        list(failed)
    for stream in (exhausted, closed, failed):
        assert next(stream, "the end") == "the end"  # as the protocol of iterators has it
        for attempt in (list, EventStream.raw_events):
            with pytest.raises(ApiValueError, match="the stream is over or closed"):
                attempt(stream)


def test_an_event_that_cannot_be_decoded():
    data = "{oh".ljust(100_000, "x")
    bad = f"id: x\nevent: e\ndata: {data}\n\n".encode()
    stream = stream_of(numbers(1) + bad + numbers(3))
    assert next(stream) == 1
    with pytest.raises(StreamDecodeError) as caught:
        next(stream)
    error = caught.value
    assert (error.event_id, error.event_name, error.excerpt) == ("x", "e", data[:200])
    assert error.body == data
    assert isinstance(error.__cause__, ValueError)
    assert (error.status, error.method) == (200, "GET")
    assert str(error).startswith("event 'e' with id 'x' cannot be decoded: Expecting ")
    assert len(str(error)) <= 240 and "\n" not in str(error)
    assert pickle.loads(pickle.dumps(error)).event_id == error.event_id
    assert stream.last_event_id == "x"
    assert not stream.closed
    assert list(stream) == [3]


def test_another_error_of_the_decoder_is_not_hidden():
    def decode(event: ServerSentEvent) -> object:
        raise LookupError(event.data)

    response = FakeResponse(numbers(1, 2))
    with EventStream(response, decode) as stream, pytest.raises(LookupError):
        next(stream)
    assert response.closes == 1


@pytest.mark.parametrize(
    "cause",
    [
        ConnectionException(reason="reset", method="GET", url="http://h/"),
        ProtocolException(reason="bad chunk"),
        ResponseDecodeError(),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_a_dying_connection(cause):
    stream = stream_of(numbers(1, 2) + b"data: unfin", cause)
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(StreamInterrupted) as caught:
        next(stream)
    assert caught.value.last_event_id == "2"
    assert caught.value.reason == (cause.reason or str(cause))
    assert caught.value.__cause__ is cause
    assert (caught.value.status, caught.value.method) == (200, "GET")
    assert (stream.closed, response_of(stream).closes) == (True, 1)
    assert stream.last_event_id == "2"


def test_comments_without_a_pause_do_not_prolong_the_wait_for_an_event():
    waits: list[float] = []

    class Comments(FakeResponse):
        def read_available(self, *, wait: float | None = None) -> bytes:
            assert wait is not None
            waits.append(wait)
            return b": still here\n\n"

    reader = EventStream(Comments(), as_json).reader
    for seconds in (0, 0.05):
        began = time.monotonic()
        with pytest.raises(NothingYet):
            reader.advance(seconds)
        assert seconds <= time.monotonic() - began < 5
    assert waits[0] == 0 and waits.count(0) <= 2
    assert all(0 <= wait <= 0.05 for wait in waits)
    assert not reader.closed


# `event_decoder`: data to `RunOutputStream`, equal to what the model itself reads

RESULT = {"type": "result", "run_id": "r", "status": "pending", "result": {"a": [1, None]}}
UPDATE = {"type": "custom", "run_id": "r", "status": "success", "update": {"text": "é\u2028"}}


def decode(event: ServerSentEvent) -> RunOutputStream | None:
    """Decode an event with a decoder of its own: the function is cached otherwise."""
    return event_decoder.__wrapped__(RunOutputStream)(event)


def event(data: object, name: str = "agent_event", id: str = "7") -> ServerSentEvent:
    return ServerSentEvent(name, data if isinstance(data, str) else json.dumps(data), id)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (RESULT, RunResult),
        (UPDATE, CustomRunResultUpdate),
        ({**RESULT, "unknown": 1, "status": "paused"}, RunResult),
        ({**UPDATE, "update": {}}, CustomRunResultUpdate),
    ],
)
def test_equal_to_the_models_own_reading(data, kind):
    decoded = decode(event(data))
    expected = RunOutputStream.from_dict({"id": "7", "event": "agent_event", "data": data})
    assert isinstance(decoded, RunOutputStream)
    assert isinstance(decoded.data.actual_instance, kind)
    assert decoded == expected
    assert repr(decoded) == repr(expected)
    assert decoded.to_json() == expected.to_json()
    assert decoded.model_fields_set == expected.model_fields_set
    assert decoded.model_extra == expected.model_extra


def test_the_result_is_a_whole_model_and_shares_nothing_with_another():
    decoded, other = decode(event(RESULT)), decode(event(RESULT))
    assert decoded is not None and other is not None
    for copied in (copy.deepcopy(decoded), pickle.loads(pickle.dumps(decoded))):
        assert copied == decoded.model_copy() == decoded
    decoded.id = "8"
    decoded.model_fields_set.clear()
    assert decoded.id == "8"
    assert (other.id, other.model_fields_set) == ("7", {"id", "event", "data"})
    with pytest.raises(ValidationError):
        decoded.id = 8  # type: ignore[assignment]


def test_only_events_of_the_contract_are_decoded():
    unnamed = decode(event(RESULT, name="message"))
    assert unnamed is not None
    assert unnamed.event == "agent_event"
    assert decode(event("whatever", name="ping")) is None
    assert decode(event(RESULT, name="Agent_event")) is None


NOT_JSON, ONLY_A_TYPE = "Invalid JSON: ", {"type": "result"}
STARTED = {**ONLY_A_TYPE, "run_id": "r", "status": "pending"}
BAD = {
    "no JSON": ("{", NOT_JSON),
    "nothing": ("", NOT_JSON),
    "text after it": (json.dumps(RESULT) + "x", NOT_JSON),
    "another type of payload": ({**RESULT, "type": "novel"}, "Input tag 'novel' found"),
    "no type": ({"run_id": "r"}, "Unable to extract tag using discriminator 'type'"),
    "a field is missing": (STARTED, "result.result: Field required"),
    "three fields are missing": (ONLY_A_TYPE, "result.run_id: Field required (and 2 more)"),
    "a field is wrong": ({**RESULT, "run_id": 1}, "result.run_id: Input should be a valid string"),
    "a list": ([RESULT], "Input should be an object"),
    "null": ("null", "Input should be an object"),
    "deep": ("[" * 100_000, NOT_JSON),
    "a lone surrogate": ('{"type": "\\ud800"}', "Input tag "),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD.keys())
def test_what_does_not_fit(data, reason):
    response = FakeResponse(f"data: {event(data).data}\n\n".encode())
    with EventStream(response, decode) as stream, pytest.raises(StreamDecodeError) as caught:
        next(stream)
    assert isinstance(caught.value.__cause__, ValidationError)
    assert f"cannot be decoded: {reason}" in str(caught.value)
