"""How much is done for a call, counted: a regression of speed fails here, on any machine.

Nothing is timed. What is counted is what the speed rests on: no JSON of Python's own, adapters and
schemas that are built once and late, and no more function calls than the same work by hand takes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pydantic
import pytest
import urllib3
from pydantic import TypeAdapter
from support.socket_server import SocketServer, response

from acp_client_v0_1 import ApiClient, Configuration, RunCreate, RunsApi, RunSearchRequest
from acp_client_v0_1.api.runs_api import _CREATE_RUN
from acp_client_v0_1.streaming import SSEParser

RUN: dict[str, Any] = {
    "creation": {"agent_id": "a", "input": {"question": "why?"}},
    "run_id": "r",
    "agent_id": "a",
    "created_at": "2026-11-24T09:30:00Z",
    "updated_at": "2026-11-24T09:31:00.123456Z",
    "status": "success",
}
OUTPUT = {"type": "result", "run_id": "r", "status": "success", "result": {"answer": 1}}
PAYLOAD = {"type": "custom", "run_id": "r", "status": "pending", "update": {"step": 1}}
EVENT = b"id: 1\nevent: agent_event\ndata: %b\n\n" % json.dumps(PAYLOAD).encode()


def responding(content: object, kind: str = "application/json") -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return response(body, content_type=kind)


@pytest.fixture
def runs() -> Iterator[Callable[..., RunsApi]]:
    """Make an API whose server sends certain responses."""
    opened: list[Any] = []

    def make(*responses: bytes) -> RunsApi:
        server = SocketServer(*responses)
        opened.append(server)
        host = server.__enter__().url
        client = ApiClient(Configuration(host=host))
        opened.append(client)
        return RunsApi(client)

    yield make
    for one in reversed(opened):
        one.__exit__(None, None, None)


def calls_of(job: Callable[[], object]) -> int:
    """How many calls of functions, Python's and built-in ones, a job makes."""
    count = 0

    def notice(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(notice)
    try:
        job()
    finally:
        sys.setprofile(None)
    return count


def test_no_json_of_pythons_own_is_used(
    runs: Callable[..., RunsApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> Any:
        raise AssertionError("json was used")

    api = runs(
        responding(RUN),
        responding([RUN]),
        responding(OUTPUT),
        responding(RUN),
        responding(EVENT * 3, "text/event-stream"),
    )
    for name in ("loads", "dumps"):
        monkeypatch.setattr(json, name, refuse)
    monkeypatch.setattr(json.JSONDecoder, "decode", refuse)
    monkeypatch.setattr(json.JSONEncoder, "encode", refuse)
    assert api.create_run(RunCreate(agent_id="a", input={"x": 1})).run_id == "r"
    assert len(api.search_runs(RunSearchRequest())) == 1
    assert api.get_run_output("r") is not None
    assert api.get_run("r").run_id == "r"
    with api.get_run_stream("r") as stream:
        assert len(list(stream)) == 3


def test_adapters_are_built_once(
    runs: Callable[..., RunsApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = responding(EVENT * 2, "text/event-stream")
    api = runs(*[responding(RUN), responding([RUN]), responding(OUTPUT), stream] * 3)
    built: list[object] = []
    original = TypeAdapter.__init__

    def noticed(self: TypeAdapter[Any], kind: Any, **options: Any) -> None:
        built.append(kind)
        original(self, kind, **options)

    def all_kinds() -> None:
        api.get_run("r")
        api.search_runs(RunSearchRequest())
        api.get_run_output("r")
        with api.get_run_stream("r") as events:
            assert len(list(events)) == 2

    all_kinds()
    monkeypatch.setattr(TypeAdapter, "__init__", noticed)
    all_kinds()
    all_kinds()
    assert built == []


def test_no_schema_is_built_on_import_and_none_is_built_again() -> None:
    script = """
import pydantic, acp_client_v0_1 as a
models = [getattr(a, name) for name in a.models.__all__]
models = [model for model in models if issubclass(model, pydantic.BaseModel)]
assert len(models) > 15
assert not [model.__name__ for model in models if model.__pydantic_complete__]
text = '{"agent_id": "a"}'
a.RunCreate.from_json(text)
first = a.RunCreate.__pydantic_validator__
for _ in range(3):
    a.RunCreate.from_json(text)
    a.RunCreate(agent_id="a").to_json()
assert a.RunCreate.__pydantic_validator__ is first
"""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr


def test_a_call_makes_no_more_function_calls_than_by_hand(runs: Callable[..., RunsApi]) -> None:
    class PlainRun(pydantic.BaseModel):
        run_id: str

    api = runs(*[responding(RUN)] * 8)
    url = f"{api.api_client.configuration.host}/runs/r"
    validate = TypeAdapter(PlainRun).validate_json
    headers = {"Accept": "application/json", "User-Agent": "by hand"}
    with urllib3.PoolManager() as manager:

        def by_hand() -> object:
            return validate(manager.request("GET", url, headers=headers).data)

        # The first call of each connects, and builds what is built once.
        counted = [(calls_of(lambda: api.get_run("r")), calls_of(by_hand)) for _ in range(4)]
    ours, by_hand_calls = counted[-1]
    assert ours <= 0.93 * by_hand_calls


def test_an_event_of_a_stream_costs_few_function_calls(runs: Callable[..., RunsApi]) -> None:
    def read(count: int) -> int:
        api = runs(responding(EVENT * count, "text/event-stream"))

        def job() -> None:
            with api.get_run_stream("r") as stream:
                assert sum(1 for _ in stream) == count

        return calls_of(job)

    read(1)
    assert (read(1500) - read(500)) / 1000 <= 10


def test_a_parsed_event_costs_few_function_calls() -> None:
    def parse(count: int) -> int:
        parser, stream = SSEParser(), EVENT * count
        return calls_of(lambda: parser.feed(stream))

    parse(1)
    assert (parse(1500) - parse(500)) / 1000 <= 4


LARGE = {"items": [{"number": number, "text": "some words"} for number in range(3000)]}


def test_encoding_costs_one_call_for_each_container_of_the_content(
    runs: Callable[..., RunsApi],
) -> None:
    api = runs(*[responding(RUN)] * 3)
    small, large = RunCreate(agent_id="a", input={}), RunCreate(agent_id="a", input=LARGE)
    api.create_run(small)
    first = calls_of(lambda: api.create_run(small))
    # One look at each, that it holds JSON; and the body leaves in more pieces than one.
    assert calls_of(lambda: api.create_run(large)) <= first + 100 + len(LARGE["items"])


def test_encoding_makes_no_copy_of_the_content() -> None:
    """No dictionaries in between, which would take several times as much, nor another text."""
    creation = RunCreate(agent_id="a", input=LARGE)
    content = _CREATE_RUN.bind((creation,)).body
    assert content is not None
    tracemalloc.start()
    try:
        _CREATE_RUN.bind((creation,))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * len(content)
