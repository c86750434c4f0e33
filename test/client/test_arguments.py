"""Arguments: what is refused by name, before anything is sent, and how the others are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from enum import Enum
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import UUID

import pytest
from pydantic import BaseModel, Field
from pydantic_core import PydanticSerializationError, to_json
from support.socket_server import response
from support.transport import serving

from acp_client_v0_1 import (
    AgentHandle,
    AgentsApi,
    Configuration,
    RunCreate,
    RunHandle,
    RunsApi,
    RunSearchRequest,
    ThreadsApi,
    _operation,
    models,
    wait_for_run_output,
)
from acp_client_v0_1._arguments import OneThread, check_arguments, explain_id
from acp_client_v0_1._operation import Operation, Parameter
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError, NotFoundException

Call = Callable[[RunsApi], Any]


def with_news(value: object) -> RunCreate:
    """A create as a server sent it, with a field of a later contract."""
    create: Any = RunCreate.from_dict({"agent_id": "a", "news": 1})
    create.news = value
    return create


BAD: list[tuple[Call, type[Exception], str]] = [
    (lambda runs: runs.get_run(123), ApiTypeError, "run_id"),
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
    (lambda runs: runs.get_run_output("r", block_timeout=1.5), ApiTypeError, "block_timeout"),
    (lambda runs: runs.get_run_output("r", block_timeout=10**5000), ApiValueError, "block_timeout"),
    (lambda runs: runs.get_run_output("r", block_timeout=2**63), ApiValueError, "block_timeout"),
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
            ("timeout", lambda runs, **given: RunHandle("r", runs.api_client).result(**given)),
            ("block_timeout", lambda runs, **given: wait_for_run_output(runs, "r", **given)),
            ("every", lambda runs, **given: RunHandle("r", runs.api_client).result(**given)),
            ("timeout", lambda runs, **given: AgentHandle("a", runs.api_client).map([], **given)),
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
def test_a_bad_argument_is_named_and_not_sent(call: Call, kind: type[Exception], name: str) -> None:
    with serving(response(b"{}")) as (server, client), pytest.raises(kind) as caught:
        call(RunsApi(client))
    assert name in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "least", "less"),
    [
        *((name, 1, 0) for name in ("block_timeout", "concurrency", "connection_pool_maxsize")),
        *((name, 1, 0) for name in ("max_event_bytes", "max_response_bytes")),
        *((name, 0, -1) for name in ("max_interrupts", "total", "timeout")),
        ("every", 0.001, 0.0009),
    ],
)
def test_a_number_has_its_least_value(name: str, least: float, less: float) -> None:
    check_arguments(**{name: least})
    with pytest.raises(ApiValueError, match=f"^{name} must be at least {least}"):
        check_arguments(**{name: less})


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("on_drift", "raise", "continue"),
        ("on_gap", "raise", "mark"),
        ("on_stop", "leave", "cancel"),
        ("unclear", "raise", "start"),
    ],
)
def test_a_choice_is_one_of_two_words(name: str, one: str, other: str) -> None:
    check_arguments(**{name: one})
    check_arguments(**{name: other})
    with pytest.raises(ApiValueError, match=f'^{name} must be "{one}" or "{other}", not \'no\'$'):
        check_arguments(**{name: "no"})


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("connect", 0),
        *((name, 1) for name in ("key", "on_event", "on_interrupt", "progress")),
        ("refresh_api_key_hook", 1),
        ("on_pending", 2),
    ],
)
def test_a_callback_takes_what_it_is_given(name: str, count: int) -> None:
    for given, callback in enumerate((lambda: 0, lambda a: 0, lambda a, b: 0, lambda a, b, c: 0)):
        if given == count:
            check_arguments(**{name: callback})
        else:
            with pytest.raises(ApiTypeError, match=rf"^{name} must be .* and yours takes \("):
                check_arguments(**{name: callback})
    check_arguments(**{name: print})  # which may be called with anything


def test_only_what_is_no_uuid_may_be_a_name_for_an_id() -> None:
    for agent_id, hinted in (("echo", True), (f"{UUID(int=5)}x", True), (str(UUID(int=5)), False)):
        error = NotFoundException(404, "no such agent")
        explain_id(agent_id, error)
        explain_id(agent_id, error)
        assert str(error).count("AgentHandle takes an id") == hinted


def test_a_thread_may_enter_again_and_another_only_after_its_last_exit() -> None:
    inside = OneThread("one at a time")

    def enter() -> bool:
        try:
            with inside:
                return True
        except ApiValueError as refused:
            assert str(refused) == "one at a time"
            return False

    with ThreadPoolExecutor(1) as other:
        with inside:
            assert enter()
            assert not other.submit(enter).result(10)
        assert other.submit(enter).result(10) and enter()


class Theirs(BaseModel):
    """A model of a caller, in which None is a value."""

    name: str | None = Field(default=None, serialization_alias="theirName")
    number: float = 1.5


def test_content_is_sent_as_it_was_given() -> None:
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
        "theirs": [[{"theirName": None, "number": None}]],
    }


def test_a_model_that_another_thread_builds_can_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(_operation, "to_json", write)
    with serving(response(b"[]")) as (server, client):
        for _ in range(2):
            assert RunsApi(client).search_runs(body) == []
            assert json.loads(server.requests.pop().body) == {"limit": 5, "offset": 0, "theirs": 1}
    assert built == [Late]


# How `Operation.bind` writes an argument by its type. Today's contract has two types of parameters;
# these declarations have all that a template can make.

ID = UUID("3f2b8c1e-7d4a-4c55-9a3e-0d5f6b7a8c9d")

FITTING: list[tuple[Any, Any, list[str]]] = [
    (str, "a b&c=d/é", ["a b&c=d/é"]),
    (str, ID, [str(ID)]),
    (str, Enum("Own", {"A": "a b"}, type=str)["A"], ["a b"]),
    (int, 7, ["7"]),
]

MISFITS: list[tuple[Any, Any, type[Exception], str]] = [
    (str, 7, ApiTypeError, "each must be a str, not int"),
    (str, b"a", ApiTypeError, "each must be a str, not bytes"),
    (int, "7", ApiTypeError, "each must be an int, not str"),
    (int, True, ApiTypeError, "each must be an int, not bool"),
    (int, 0, ApiValueError, "each must be at least 1, not 0"),
    (int, 2**63, ApiValueError, "each must be at most 9223372036854775807"),
]


def named(value: Any) -> str:
    return str(getattr(value, "__name__", value))


def operation(place: Any, kind: Any, **options: Any) -> Operation[Any]:
    path = "/things/{each}" if place == "path" else "/things"
    bounds = {"minimum": 1} if kind is int else {}
    parameter = Parameter("each", place, kind, **bounds, **options)
    return Operation("GET", path, (parameter,), lambda: dict)


@pytest.mark.parametrize(("kind", "value", "sent"), FITTING, ids=named)
def test_a_query_value_and_a_path_segment_are_written_by_their_type(
    kind: Any, value: Any, sent: list[str]
) -> None:
    if kind is int:
        target = urlsplit(operation("query", kind).bind((value,)).target)
        assert target.path == "/things"
        assert parse_qsl(target.query) == [("each", one) for one in sent]
    else:
        segment = operation("path", kind).bind((value,)).target.removeprefix("/things/")
        assert [unquote(segment)] == sent and not set(segment) & set("/ :+&")


@pytest.mark.parametrize(("kind", "value", "error", "words"), MISFITS, ids=named)
def test_a_value_of_another_type_is_refused_by_name(
    kind: Any, value: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        operation("query" if kind is int else "path", kind).bind((value,))
    assert str(caught.value).startswith(words)


def test_an_optional_argument_may_be_none_and_a_required_one_may_not() -> None:
    optional = operation("query", int, required=False)
    assert optional.bind((None,)).target == "/things"
    last = Parameter("last", "query", int)
    both = replace(optional, parameters=(*optional.parameters, last))
    bound = both.bind((None, 5))
    assert (bound.target, bound.block_window) == ("/things?last=5", None)
    with pytest.raises(ApiTypeError, match=r"each must be .*, not NoneType"):
        operation("query", int).bind((None,))
