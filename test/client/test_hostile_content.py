"""Whatever a server puts into a response, a call returns a value or raises an ``ApiException``.

One rule, and one test that puts anything into each field of each model; below it, the contents that
have cost most: in time, in memory, or in an event that was lost.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.costs import Memory
from support.examples import ERROR, INTERRUPT, METADATA, RESULT, SPECS, UPDATE
from support.socket_server import response, serve_each
from support.transport import serving

import acp_client_v0_1 as acp

TIME = "2026-11-24T09:30:00Z"
ALL: dict[str, Any] = {"agent_id": "a", "thread_id": "t"}
RUN = {
    "creation": {
        **ALL,
        **{key: {"x": [1]} for key in ("input", "metadata", "config")},
        "webhook": "http://w",
        "streaming": "custom",
    },
    **ALL,
    "run_id": "r",
    "created_at": TIME,
    "updated_at": TIME,
    "status": "success",
}
CONTENTS: list[tuple[str, Any]] = [
    ("get_run", RUN),
    ("search_runs", [RUN]),
    ("get_run_output", RESULT),
    ("get_run_output", INTERRUPT),
    ("get_run_output", ERROR),
    ("get_run_stream", RESULT),
    ("get_run_stream", UPDATE),
    ("get_acp_descriptor_by_id", {"metadata": METADATA, "specs": SPECS}),
    ("search_agents", [{"agent_id": "a", "metadata": METADATA}]),
    ("get_thread", {**ALL, "metadata": {}}),
    ("get_thread_state", {"x": 1}),
]


def places(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value stands in a JSON document: everywhere."""
    yield place
    inside = content.items() if isinstance(content, dict) else enumerate(content)
    for key, item in inside:
        if isinstance(item, (dict, list)):
            yield from places(item, (*place, key))
        else:
            yield (*place, key)


def replaced(content: Any, place: tuple[Any, ...], value: object) -> Any:
    """A document with another value in one place."""
    if not place:
        return value
    key, *rest = place
    changed = dict(content) if isinstance(content, dict) else list(content)
    changed[key] = replaced(content[key], tuple(rest), value)
    return changed


TIMES = st.text("0123456789-+:.,/ TZWGMUCEShmsdampJanFebOct()", max_size=80)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**15, 10**400)
    | st.floats()
    | st.text(st.characters(categories=["L", "N", "P", "S", "Z", "C"]))  # half pairs as well
    | TIMES
    | st.datetimes().map(str)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)


SERVED: dict[str, Any] = {}


@pytest.fixture(autouse=True, scope="module")
def server() -> Iterator[None]:
    with serving(handler=serve_each(lambda request: SERVED["response"]), retries=False) as served:
        SERVED["client"] = served[1]
        yield


def get(content: bytes, operation: str = "get_run", media_type: str = "application/json") -> Any:
    """Call an operation on a server that sends this content."""
    SERVED["response"] = response(content, content_type=media_type)
    api = next(
        api for api in (acp.RunsApi, acp.AgentsApi, acp.ThreadsApi) if hasattr(api, operation)
    )
    called = getattr(api(SERVED["client"]), operation)
    got = called({} if operation.startswith("search") else "r")
    return list(got) if operation.endswith("stream") else got


def get_events(*contents: Any) -> Any:
    lines = enumerate(map(json.dumps, contents))
    stream = "".join(f"id: {n}\nevent: agent_event\ndata: {text}\n\n" for n, text in lines)
    return get(stream.encode(), "get_run_stream", "text/event-stream")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "content"), CONTENTS)
@settings(max_examples=8, database=None)
@given(value=VALUES)
def test_anything_in_any_field_gives_a_value_or_an_api_exception(name, content, value):
    for place in places(content):
        changed = replaced(content, place, value)
        try:
            streams = name == "get_run_stream"
            got = get_events(changed) if streams else get(json.dumps(changed).encode(), name)
        except acp.ApiException as error:
            assert str(error) and "\n" not in str(error)
            continue
        for one in got if isinstance(got, list) else [got]:
            if hasattr(one, "to_json"):  # what is returned can be shown, sent back and read again
                assert repr(one) and str(one)
                assert type(one).from_json(one.to_json()) is not None
                assert json.loads(json.dumps(one.to_dict(mode="json"))) is not None


def peak_of(content: bytes, match: str) -> tuple[acp.ResponseValidationError, float]:
    """The error of a search with this response, and the memory that it took for each byte."""
    with Memory() as memory, pytest.raises(acp.ResponseValidationError, match=match) as caught:
        get(content, "search_runs")
    assert caught.value.body == content.decode()
    return caught.value, memory.peak / len(content)


def test_a_list_of_wrong_items_costs_no_more_than_it_is_long():
    """One error for each field of each item would take a thousand times as much memory."""
    good = json.dumps(RUN).encode()
    with pytest.raises(acp.ResponseValidationError, match=r": 2\.creation: Field required"):
        get(b"[%b,%b,{},{},{}]" % (good, good), "search_runs")
    error, peak = peak_of(b"[" + b"{}," * 40_000 + b"{}]", r": 0\.creation: Field required")
    assert len(error.data) == 40_001  # which is most of what is taken
    assert peak < 100


def test_a_large_content_that_does_not_fit_is_kept_as_text_alone():
    """Parsed, it would take 24 times its size, and 230 kB of gzip can stand for 240 MB of it."""
    error, peak = peak_of(b"[%b{}]" % (b"{}," * 1_000_000), r": 0\.creation: Field required")
    assert error.data == error.body
    assert peak < 8


@pytest.mark.parametrize(("more", "kind"), [(0, list), (1, str)])
def test_a_mebibyte_that_does_not_fit_is_parsed_and_no_more(more, kind):
    error, _ = peak_of(b"[" + b"{}," + b" " * (1_048_576 - 6 + more) + b"1]", "Field required")
    assert len(error.body or "") == 1_048_576 + more
    assert isinstance(error.data, kind)


HALF = "a\ud83d"


def test_half_a_surrogate_pair_costs_no_response():
    content = {**RUN, "run_id": HALF, "creation": {"agent_id": "a", "input": {"x": [HALF, "😀"]}}}
    run = get(json.dumps({**content, "new": HALF, HALF: 1, "status": HALF}).encode())
    assert (run.run_id, run.creation.input) == (HALF, {"x": [HALF, "😀"]})
    assert (run.status.value, run.status.is_known) == (HALF, False)
    assert (run.new, getattr(run, "a\ufffd")) == (HALF, 1)  # a key cannot keep it
    assert run.status == acp.RunStatus.from_json(json.dumps(HALF))
    assert acp.Run.from_json(run.to_json()) == run == acp.Run.from_dict(run.to_dict())
    assert json.loads(run.to_json())["run_id"] == HALF and ", " not in run.to_json()
    assert "\\ud83d" in repr(run) and "\\ud83d" in str(run)


def test_half_a_surrogate_pair_costs_no_event():
    """A server that sends UTF-16 units, one by one."""
    halves = ["\ud83d", "\ude00", "\\ud83d"]
    events = get_events(*({**UPDATE, "update": {"token": half}} for half in halves))
    updates = [event.data.actual_instance.update["token"] for event in events]
    assert updates == halves
    assert "".join(updates[:2]).encode("utf-16", "surrogatepass").decode("utf-16") == "😀"
    assert json.loads(events[0].to_json())["data"]["update"]["token"] == halves[0]


def test_characters_of_the_private_planes_are_not_taken_for_surrogates():
    private = "".join(map(chr, range(0xF0000, 0x10F800, 1024)))
    escaped = json.dumps({**ERROR, "description": private + HALF})
    raw = json.dumps({**ERROR, "description": private}, ensure_ascii=False)
    assert acp.RunError.from_json(escaped).description == private + HALF
    again = raw.replace('"r1"', r'"\ud83d"')
    assert acp.RunError.from_json(again).description == private
    assert acp.RunError.from_json(again.encode()).run_id == "\ud83d"


def test_where_every_private_character_is_used_nothing_is_guessed():
    text = json.dumps({**ERROR, "description": "".join(map(chr, range(0xF0000, 0x110000, 2048)))})
    with pytest.raises(ValueError, match=r"Invalid JSON: .* hex escape"):
        acp.RunError.from_json(text.replace('"r1"', r'"\ud83d "'))


@pytest.mark.parametrize("text", ["{", '"\\ud83d', '{"run_id": "\\ud83d", "x": }', "\\ud83d"])
def test_what_is_no_json_stays_none(text):
    with pytest.raises(ValueError, match="Invalid JSON"):
        acp.RunError.from_json(text)
    with pytest.raises(ValueError, match="Invalid JSON"):
        acp.RunError.from_json(text.encode() + b"\xff")
