"""`event_decoder`: data to `RunOutputStream`, equal to what the model itself reads."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from pydantic import ValidationError

from acp_client_v0_1.models.custom_run_result_update import CustomRunResultUpdate
from acp_client_v0_1.models.run_output_stream import RunOutputStream
from acp_client_v0_1.models.run_result import RunResult
from acp_client_v0_1.streaming import (
    ServerSentEvent,
    event_decoder,
)

RESULT = {"type": "result", "run_id": "r", "status": "pending", "result": {"a": [1, None]}}
UPDATE = {"type": "custom", "run_id": "r", "status": "success", "update": {"text": "é\u2028"}}
decode = event_decoder(RunOutputStream)


def event(data: object, name: str = "agent_event", id: str = "7") -> ServerSentEvent:
    return ServerSentEvent(name, data if isinstance(data, str) else json.dumps(data), id)


@pytest.mark.parametrize(
    "data",
    [
        RESULT,
        UPDATE,
        {**RESULT, "unknown": 1, "status": "paused"},
        {**UPDATE, "update": {}},
    ],
)
def test_equal_to_the_models_own_reading(data: dict[str, object]) -> None:
    decoded = decode(event(data))
    expected = RunOutputStream.from_dict({"id": "7", "event": "agent_event", "data": data})
    assert isinstance(decoded, RunOutputStream)
    assert decoded == expected
    assert repr(decoded) == repr(expected)
    assert decoded.to_dict() == expected.to_dict()
    assert decoded.to_json() == expected.to_json()
    assert decoded.model_fields_set == expected.model_fields_set
    assert decoded.model_extra == expected.model_extra


def test_the_payload_has_the_type_that_it_names() -> None:
    result, update = decode(event(RESULT)), decode(event(UPDATE))
    assert result is not None and update is not None
    assert isinstance(result.data.actual_instance, RunResult)
    assert isinstance(update.data.actual_instance, CustomRunResultUpdate)


def test_the_result_is_a_whole_model() -> None:
    decoded = decode(event(RESULT))
    assert decoded is not None
    assert copy.deepcopy(decoded) == decoded
    assert pickle.loads(pickle.dumps(decoded)) == decoded
    assert decoded.model_copy() == decoded
    decoded.id = "8"
    assert decoded.id == "8"
    with pytest.raises(ValidationError):
        decoded.id = 8  # type: ignore[assignment]


def test_two_results_share_nothing() -> None:
    one, two = decode(event(RESULT)), decode(event(RESULT))
    assert one is not None and two is not None
    one.model_fields_set.clear()
    one.id = "other"
    assert (two.id, two.model_fields_set) == ("7", {"id", "event", "data"})


def test_only_events_of_the_contract_are_decoded() -> None:
    unnamed = decode(event(RESULT, name="message"))
    assert unnamed is not None
    assert unnamed.event == "agent_event"
    assert decode(event("whatever", name="ping")) is None
    assert decode(event(RESULT, name="Agent_event")) is None


BAD = {
    "no JSON": "{",
    "nothing": "",
    "text after it": json.dumps(RESULT) + "x",
    "another type of payload": {**RESULT, "type": "novel"},
    "no type": {"run_id": "r", "status": "pending", "result": {}},
    "a field is missing": {"type": "result", "run_id": "r", "status": "pending"},
    "a field is wrong": {**RESULT, "run_id": 1},
    "a list": [RESULT],
    "null": "null",
    "deep": "[" * 100_000,
    "a lone surrogate": '{"type": "\\ud800"}',
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_does_not_fit(data: object) -> None:
    with pytest.raises(ValidationError):
        decode(event(data))
