"""`event_decoder`: data to `RunOutputStream`, equal to what the model itself reads."""

from __future__ import annotations

import copy
import json
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from acp_client_v0_1.models.custom_run_result_update import CustomRunResultUpdate
from acp_client_v0_1.models.run_output_stream import RunOutputStream
from acp_client_v0_1.models.run_result import RunResult
from acp_client_v0_1.streaming import EventStream, ServerSentEvent, StreamDecodeError, event_decoder

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
def test_equal_to_the_models_own_reading(data: dict[str, object], kind: type) -> None:
    decoded = decode(event(data))
    expected = RunOutputStream.from_dict({"id": "7", "event": "agent_event", "data": data})
    assert isinstance(decoded, RunOutputStream)
    assert isinstance(decoded.data.actual_instance, kind)
    assert decoded == expected
    assert repr(decoded) == repr(expected)
    assert decoded.to_json() == expected.to_json()
    assert decoded.model_fields_set == expected.model_fields_set
    assert decoded.model_extra == expected.model_extra


def test_the_result_is_a_whole_model_and_shares_nothing_with_another() -> None:
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


def test_only_events_of_the_contract_are_decoded() -> None:
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
def test_what_does_not_fit(data: object, reason: str) -> None:
    line = f"data: {event(data).data}\n\n".encode()
    response: Any = SimpleNamespace(
        status=200, headers={}, method="GET", url="http://h/", close=print,
        read_available=lambda wait: line,
    )  # fmt: skip
    with EventStream(response, decode) as stream, pytest.raises(StreamDecodeError) as caught:
        next(stream)
    assert isinstance(caught.value.__cause__, ValidationError)
    assert f"cannot be decoded: {reason}" in str(caught.value)
