"""Arguments: what is refused by name, before anything is sent, and how the others are written."""

import json
from collections.abc import Callable
from datetime import date
from enum import Enum
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import pytest
from pydantic import BaseModel, Field
from pydantic_core import PydanticSerializationError, to_json
from support.socket_server import response
from support.transport import serving

from acp_client_v0_1 import (
    AgentHandle,
    AgentsApi,
    ApiClient,
    Configuration,
    RunCreate,
    RunHandle,
    RunsApi,
    RunSearchRequest,
    ThreadsApi,
    iter_runs,
    models,
    wait_for_run_output,
)
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError, NotFoundException
from acp_client_v0_1.testing import LocalServer

Call = Callable[[RunsApi], Any]


def with_news(value: object) -> RunCreate:
    """A create as a server sent it, with a field of a later contract."""
    create: Any = RunCreate.from_dict({"agent_id": "a", "news": 1})
    create.news = value
    return create


def a_run(runs: RunsApi) -> RunHandle:
    return RunHandle("r", runs.api_client)


def an_agent(runs: RunsApi) -> AgentHandle:
    return AgentHandle("a", runs.api_client)


BAD: list[tuple[Call, type[Exception], str]] = [
    (lambda runs: runs.get_run(123), ApiTypeError, "run_id"),
    (lambda runs: runs.get_run(b"a"), ApiTypeError, "run_id must be a str, not bytes"),
    (lambda runs: runs.get_run(None), ApiTypeError, "run_id must be a str, not NoneType"),
    (lambda runs: runs.get_run(""), ApiValueError, "run_id"),
    (lambda runs: runs.delete_run("."), ApiValueError, "run_id"),
    *(
        (partial(RunsApi.get_run, run_id=run_id), ApiValueError, "run_id")
        for run_id in ("..", "../x", r"..\x", "a/./b", "x/..", "\ud800")
    ),
    (lambda runs: runs.create_run(RunSearchRequest()), ApiTypeError, "run_create"),
    (lambda runs: runs.create_run({}), ApiValueError, "agent_id"),
    (lambda runs: runs.create_run({"agent_id": 3}), ApiValueError, "run_create.agent_id"),
    (lambda runs: runs.create_run({3: 4}), ApiTypeError, "run_create"),
    (lambda runs: runs.create_run(with_news({"x": b"1"})), ApiValueError, "news['x']: bytes"),
    (lambda runs: runs.search_runs({"status": "lost"}), ApiValueError, "run_search_request.status"),
    (lambda runs: runs.resume_run("r", {"x": [1.0, float("-inf")]}), ApiValueError, "body"),
    (lambda runs: runs.resume_run("r", [1]), ApiTypeError, "body"),
    (lambda runs: runs.get_run_output("r", block_timeout=-1), ApiValueError, "block_timeout"),
    (lambda runs: runs.get_run_output("r", block_timeout="7"), ApiTypeError, "an int, not str"),
    (lambda runs: runs.get_run_output("r", block_timeout=1.5), ApiTypeError, "block_timeout"),
    (lambda runs: runs.get_run_output("r", block_timeout=10**5000), ApiValueError, "block_timeout"),
    (lambda runs: runs.get_run_output("r", block_timeout=2**63), ApiValueError, "at most 9223"),
    (lambda runs: runs.get_run_output("r", block_timeout=True), ApiTypeError, "block_timeout"),
    (lambda runs: runs.get_run_output("r", 10, _request_timeout=2), ApiValueError, "_request_time"),
    (lambda runs: runs.api_client.with_options(timeout=-1), ApiValueError, "timeout"),
    (lambda runs: runs.api_client.with_options(timeout="1"), ApiTypeError, "timeout"),
    (lambda runs: runs.api_client.with_options(retries="many"), ApiTypeError, "retries"),
    (lambda runs: runs.api_client.with_options(headers=["X-Own: b"]), ApiTypeError, "headers"),
    (lambda runs: wait_for_run_output(runs, "r", timeout=-1), ApiValueError, "timeout"),
    (lambda runs: wait_for_run_output(runs, "r", timeout=(1, 2)), ApiTypeError, "timeout"),
    *(
        (partial(call, **{name: size}), ApiValueError, f"{name} must be a number of seconds that")
        # Neither a float holds these, nor does the second have a text.
        for size in (10**400, 10**5000)
        for name, call in (
            ("timeout", lambda runs, **given: wait_for_run_output(runs, "r", **given)),
            ("timeout", lambda runs, **given: a_run(runs).result(**given)),
            ("block_timeout", lambda runs, **given: wait_for_run_output(runs, "r", **given)),
            ("every", lambda runs, **given: a_run(runs).result(**given)),
            ("timeout", lambda runs, **given: an_agent(runs).map([], **given)),
            ("timeout", lambda runs, **given: runs.api_client.with_options(**given)),
            ("_request_timeout", lambda runs, **given: runs.get_run("r", **given)),
            ("stream_timeout", lambda _, **given: Configuration(**given)),
            ("total_timeout", lambda _, **given: Configuration(**given)),
            ("block_margin", lambda _, **given: Configuration(**given)),
        )
    ),
    (lambda runs: wait_for_run_output(runs, "r", block_timeout=0), ApiValueError, "block_timeout"),
    (lambda runs: wait_for_run_output(runs, "r", block_timeout=1.5), ApiTypeError, "block_timeout"),
    (lambda runs: wait_for_run_output(runs, "r", block_timeout=None), ApiTypeError, "block_timeou"),
    *(
        (partial(call, **{name: "no"}), ApiValueError, f'{name} must be "{one}" or "{other}", not')
        for name, one, other, call in (
            ("on_drift", "raise", "continue", iter_runs),
            ("on_gap", "raise", "mark", lambda runs, **no: a_run(runs).events(**no)),
            ("on_stop", "leave", "cancel", lambda runs, **no: an_agent(runs).map([], **no)),
            ("unclear", "raise", "start", lambda runs, **no: an_agent(runs).map([], **no)),
        )
    ),
    (lambda runs: AgentsApi(runs.api_client).get_agent_by_id(7), ApiTypeError, "agent_id"),
    (lambda runs: ThreadsApi(runs.api_client).get_thread(".."), ApiValueError, "thread_id"),
]
HALF = {"in": "query", "key": "a", "value": "\ud800"}
TWO_COOKIES = {"in": "cookie", "key": "a=1; b", "value": ""}
BAD_OPTIONS: list[tuple[Any, ...]] = [
    ("_request_timeout", -1, ApiValueError, "_request_timeout"),
    ("_headers", {"X-A": "1\r\nX-B: 2"}, ApiValueError, "X-A"),
    ("_headers", {"X-A": None}, ApiTypeError, "X-A"),
    ("_headers", {"X-A": b"1"}, ApiTypeError, "X-A"),
    ("_headers", {"X-A": 10**5000}, ApiValueError, "X-A"),
    ("_headers", {"": "1"}, ApiValueError, "header"),
    ("_headers", {"X-A": "€"}, ApiValueError, "X-A"),
    ("_headers", {"Last-Event-ID": "\ud800"}, ApiValueError, "Last-Event-ID"),
    ("_headers", {"Last-Event-ID": "1\n2"}, ApiValueError, "Last-Event-ID"),
    ("_headers", {"Last-Event-ID": "1\0"}, ApiValueError, "Last-Event-ID"),
    ("_request_auth", {"in": "header", "key": "X-A"}, ApiValueError, "_request_auth"),
    ("_request_auth", {**HALF, "in": "body"}, ApiValueError, "_request_auth"),
    ("_request_auth", {**HALF, "value": b"b"}, ApiTypeError, "_request_auth['value']"),
    ("_request_auth", HALF, ApiValueError, "_request_auth"),
    ("_request_auth", TWO_COOKIES, ApiValueError, "_request_auth"),
]


def with_option(option: str, value: object) -> Call:
    return lambda runs: runs.get_run("r", **{option: value})


def with_safe(characters: str, runs: RunsApi) -> RunsApi:
    runs.api_client.configuration.safe_chars_for_path_param = characters
    return runs


@pytest.mark.parametrize(
    ("call", "kind", "name"),
    [
        *BAD,
        *((with_option(option, value), *error) for option, value, *error in BAD_OPTIONS),
        (lambda r: with_safe("/", r).get_run("a/../../agents"), ApiValueError, "run_id"),
        (lambda r: with_safe("%", r).get_run("%2e%2e"), ApiValueError, "run_id"),
        (lambda runs: runs.create_run({"a" * 300: 1}), ApiValueError, f"run_create.{'a' * 188}…"),
    ],
)
def test_a_bad_argument_is_named_and_not_sent(call, kind, name):
    with serving(response(b"{}")) as (server, client), pytest.raises(kind) as caught:
        call(RunsApi(client))
    assert name in str(caught.value)
    assert server.requests == []


def test_only_what_is_no_uuid_may_be_a_name_for_an_id():
    for agent_id, hinted in (("echo", True), (f"{UUID(int=5)}x", True), (str(UUID(int=5)), False)):
        with (
            LocalServer() as server,
            ApiClient(Configuration(server.url)) as client,
            pytest.raises(NotFoundException) as caught,
        ):
            AgentHandle(agent_id, client).run({})
        assert str(caught.value).count("AgentHandle takes an id") == hinted


class Theirs(BaseModel):
    """A model of a caller, in which None is a value."""

    name: str | None = Field(default=None, serialization_alias="theirName")
    number: float = 1.5


def test_content_is_sent_as_it_was_given():
    """Words that look like what JSON lacks, numbers of any size, explicit nulls, and values that
    have one JSON each: a UUID, a tuple and a model, as a date-time and an enum's member have.
    """
    plain = {"NaN": "Infinity", "big": 2**80, "none": None, "text": "\u2028\0é😀", "half": 0.5}
    inner = RunCreate(agent_id="b", input={"x": 1})
    value = {"id": UUID(int=5), "pair": (1, None), "inner": inner, "at": date(2026, 11, 24)}
    value["theirs"] = [(Theirs(number=float("nan")),)]
    with serving(response(b"{}")) as (server, client):
        RunsApi(client).resume_run_without_preload_content(UUID(int=7), {**plain, **value}).close()
    (request,) = server.requests
    assert request.path == "/runs/00000000-0000-0000-0000-000000000007"
    assert json.loads(request.body) == {
        **plain,
        "id": "00000000-0000-0000-0000-000000000005",
        "pair": [1, None],
        "inner": {"agent_id": "b", "input": {"x": 1}},
        "at": "2026-11-24",
        "theirs": [[{"number": None}]],
    }


def test_a_model_that_another_thread_builds_can_be_sent(monkeypatch):
    """A model is built on first use, its validator first; pydantic 2.12 then cannot write it."""
    built: list[type] = []

    class Late(models.RunSearchRequest):
        own: int = Field(default=1, alias="theirs")

        @classmethod
        def model_rebuild(cls, **options: Any) -> bool | None:
            built.append(cls)
            return super().model_rebuild(**options)

    def write(value: object, **options: Any) -> bytes:
        if not built:
            raise PydanticSerializationError("'MockValSer' cannot be converted")
        return to_json(value, **options)

    body = Late(limit=5)
    built.clear()
    monkeypatch.setattr("acp_client_v0_1._operation.to_json", write)
    with serving(response(b"[]")) as (server, client):
        for _ in range(2):
            assert RunsApi(client).search_runs(body) == []
            assert json.loads(server.requests.pop().body) == {"limit": 5, "offset": 0, "theirs": 1}
    assert built == [Late]


@pytest.mark.parametrize(
    ("run_id", "sent"),
    [
        ("a b&c=d:é+", "a b&c=d:é+"),
        (UUID(int=5), str(UUID(int=5))),
        (Enum("Own", {"A": "a b"}, type=str)["A"], "a b"),
    ],
)
def test_an_id_is_one_segment_of_a_path_and_a_number_is_a_value_of_a_query(run_id, sent):
    with serving(response(b"", 204)) as (server, client):
        for block_timeout in (None, 7):
            assert RunsApi(client).get_run_output(run_id, block_timeout) is None
        paths = [urlsplit(request.path) for request in server.requests]
    for path in paths:
        segment = path.path.removeprefix("/runs/").removesuffix("/output")
        assert unquote(segment) == sent and not set(segment) & set("/ :+&")
    assert [path.query for path in paths] == ["", "block_timeout=7"]
