"""Bad arguments fail before anything is sent, with an error that names the parameter."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError
from support.socket_server import SocketServer, response

from acp_client_v0_1 import (
    AgentsApi,
    ApiClient,
    Configuration,
    RunCreate,
    RunsApi,
    RunSearchRequest,
    ThreadsApi,
    models,
)
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

Call = Callable[[RunsApi], Any]

BAD: dict[str, tuple[Call, type[Exception], str]] = {
    "id of a wrong type": (lambda runs: runs.get_run(123), ApiTypeError, "run_id"),
    "id None": (lambda runs: runs.get_run(None), ApiTypeError, "run_id"),
    "empty id": (lambda runs: runs.get_run(""), ApiValueError, "run_id"),
    "id .": (lambda runs: runs.delete_run("."), ApiValueError, "run_id"),
    "id ..": (lambda runs: runs.get_run(".."), ApiValueError, "run_id"),
    "id ../x": (lambda runs: runs.get_run("../x"), ApiValueError, "run_id"),
    r"id ..\x": (lambda runs: runs.get_run(r"..\x"), ApiValueError, "run_id"),
    "id a/./b": (lambda runs: runs.get_run("a/./b"), ApiValueError, "run_id"),
    "id x/..": (lambda runs: runs.get_run("x/.."), ApiValueError, "run_id"),
    "id that is no Unicode": (lambda runs: runs.get_run("\ud800"), ApiValueError, "run_id"),
    "body None": (lambda runs: runs.create_run(None), ApiTypeError, "run_create"),
    "body of another model": (
        lambda runs: runs.create_run(RunSearchRequest()),
        ApiTypeError,
        "run_create",
    ),
    "body without agent_id": (lambda runs: runs.create_run({}), ApiValueError, "agent_id"),
    "body with a misspelt key": (
        lambda runs: runs.create_run({"agent_id": "a", "inptu": {}}),
        ApiValueError,
        "run_create.inptu",
    ),
    "body with a wrong type": (
        lambda runs: runs.create_run({"agent_id": 3}),
        ApiValueError,
        "run_create.agent_id",
    ),
    "body with keys that are no str": (
        lambda runs: runs.create_run({3: 4}),
        ApiTypeError,
        "run_create",
    ),
    "body with an unknown enum value": (
        lambda runs: runs.create_run({"agent_id": "a", "streaming": "bytes"}),
        ApiValueError,
        "run_create.streaming",
    ),
    "body that JSON cannot hold": (
        lambda runs: runs.create_run(RunCreate(agent_id="a", input={"x": object()})),
        ApiValueError,
        "input['x']",
    ),
    "body with NaN": (
        lambda runs: runs.create_run(RunCreate(agent_id="a", input={"x": float("nan")})),
        ApiValueError,
        "input['x']",
    ),
    "free body with an infinity": (
        lambda runs: runs.resume_run("r", {"x": [1.0, float("-inf")]}),
        ApiValueError,
        "body",
    ),
    "body with half a surrogate pair": (
        lambda runs: runs.create_run({"agent_id": "a", "input": {"x": "\ud800"}}),
        ApiValueError,
        "input",
    ),
    "free body None": (lambda runs: runs.resume_run("r", None), ApiTypeError, "body"),
    "free body that is no object": (lambda runs: runs.resume_run("r", [1]), ApiTypeError, "body"),
    "block_timeout -1": (
        lambda runs: runs.get_run_output("r", block_timeout=-1),
        ApiValueError,
        "block_timeout",
    ),
    "block_timeout 1.5": (
        lambda runs: runs.get_run_output("r", block_timeout=1.5),
        ApiTypeError,
        "block_timeout",
    ),
    "block_timeout of a thousand digits": (
        lambda runs: runs.get_run_output("r", block_timeout=10**5000),
        ApiValueError,
        "block_timeout",
    ),
    "block_timeout True": (
        lambda runs: runs.get_run_output("r", block_timeout=True),
        ApiTypeError,
        "block_timeout",
    ),
    "timeout shorter than the block": (
        lambda runs: runs.get_run_output("r", block_timeout=10, _request_timeout=2),
        ApiValueError,
        "_request_timeout",
    ),
    "timeout of a wrong type": (
        lambda runs: runs.get_run("r", _request_timeout="2"),
        ApiTypeError,
        "_request_timeout",
    ),
    "timeout below zero": (
        lambda runs: runs.get_run("r", _request_timeout=-1),
        ApiValueError,
        "_request_timeout",
    ),
    "another host": (
        lambda runs: runs.get_run("r", _host_index=1),
        ApiValueError,
        "_host_index",
    ),
    "header with a line break": (
        lambda runs: runs.get_run("r", _headers={"X-A": "1\r\nX-B: 2"}),
        ApiValueError,
        "X-A",
    ),
    "header None": (
        lambda runs: runs.get_run("r", _headers={"X-A": None}),
        ApiTypeError,
        "X-A",
    ),
    "header of bytes": (
        lambda runs: runs.get_run("r", _headers={"X-A": b"1"}),
        ApiTypeError,
        "X-A",
    ),
    "header of a thousand digits": (
        lambda runs: runs.get_run("r", _headers={"X-A": 10**5000}),
        ApiValueError,
        "X-A",
    ),
    "header without a name": (
        lambda runs: runs.get_run("r", _headers={"": "1"}),
        ApiValueError,
        "",
    ),
    "header that is not Latin": (
        lambda runs: runs.get_run("r", _headers={"X-A": "€"}),
        ApiValueError,
        "X-A",
    ),
    "auth without a value": (
        lambda runs: runs.get_run("r", _request_auth={"in": "header", "key": "X-A"}),
        ApiValueError,
        "_request_auth",
    ),
    "auth in an unknown place": (
        lambda runs: runs.get_run("r", _request_auth={"in": "body", "key": "a", "value": "b"}),
        ApiValueError,
        "_request_auth",
    ),
    "headers of a wrong type": (
        lambda runs: runs.get_run("r", _headers=[("a", "b")]),
        ApiTypeError,
        "_headers",
    ),
    "content type of a wrong type": (
        lambda runs: runs.get_run("r", _content_type=5),
        ApiTypeError,
        "_content_type",
    ),
    "client of a wrong type": (
        lambda runs: RunsApi(Configuration()),
        ApiTypeError,
        "api_client must be an ApiClient, not Configuration",
    ),
    "configuration of a wrong type": (
        lambda runs: ApiClient("http://host"),
        ApiTypeError,
        "configuration",
    ),
    "auth of a wrong type": (
        lambda runs: runs.get_run("r", _request_auth="secret"),
        ApiTypeError,
        "_request_auth",
    ),
    "auth with a value of a wrong type": (
        lambda runs: runs.get_run("r", _request_auth={"in": "query", "key": "a", "value": b"b"}),
        ApiTypeError,
        "_request_auth['value']",
    ),
    "auth with half a surrogate pair": (
        lambda runs: runs.get_run(
            "r", _request_auth={"in": "query", "key": "a", "value": "\ud800"}
        ),
        ApiValueError,
        "_request_auth",
    ),
    "auth with a cookie that is two": (
        lambda runs: runs.get_run(
            "r", _request_auth={"in": "cookie", "key": "a=1; b", "value": ""}
        ),
        ApiValueError,
        "_request_auth",
    ),
    "agent id": (
        lambda runs: AgentsApi(runs.api_client).get_agent_by_id(7),
        ApiTypeError,
        "agent_id",
    ),
    "thread id": (
        lambda runs: ThreadsApi(runs.api_client).get_thread_state(".."),
        ApiValueError,
        "thread_id",
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_argument_is_named_and_nothing_is_sent(
    bad: tuple[Call, type[Exception], str],
) -> None:
    call, kind, name = bad
    with SocketServer(response(b"{}")) as server:
        with ApiClient(Configuration(host=server.url)) as client, pytest.raises(kind) as caught:
            call(RunsApi(client))
        assert name in str(caught.value)
        assert server.requests == []


def test_content_is_sent_as_it_was_given() -> None:
    """Words that look like what JSON lacks, numbers of any size, and explicit nulls."""
    content = {"NaN": "Infinity", "big": 2**80, "none": None, "text": "\u2028\0é😀", "half": 0.5}
    with SocketServer(response(b"{}")) as server:
        with ApiClient(Configuration(host=server.url)) as client:
            RunsApi(client).resume_run_without_preload_content("r", content).close()
        assert json.loads(server.requests[0].body) == content


def test_values_with_one_text_are_sent() -> None:
    """A UUID, a tuple and a model have one JSON each, as a date-time and an enum's member have."""
    inner = RunCreate(agent_id="b", input={"x": 1})
    value = {"id": UUID(int=5), "pair": (1, None), "inner": inner, "at": date(2026, 11, 24)}
    with SocketServer(response(b"{}")) as server:
        with ApiClient(Configuration(host=server.url)) as client:
            RunsApi(client).resume_run_without_preload_content(UUID(int=7), value).close()
        (request,) = server.requests
    assert request.path == "/runs/00000000-0000-0000-0000-000000000007"
    assert json.loads(request.body) == {
        "id": "00000000-0000-0000-0000-000000000005",
        "pair": [1, None],
        "inner": {"agent_id": "b", "input": {"x": 1}},
        "at": "2026-11-24",
    }


def test_safe_characters_never_let_a_path_escape() -> None:
    with SocketServer(response(b"{}")) as server:
        configuration = Configuration(host=server.url)
        configuration.safe_chars_for_path_param = "/"
        with ApiClient(configuration) as client, pytest.raises(ApiValueError, match="run_id"):
            RunsApi(client).get_run("a/../../agents")
        assert server.requests == []


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({}, "agent_id"),
        ({"agent_id": None}, "agent_id"),
        ({"agent_id": 1}, "agent_id"),
        ({"agent_id": "a", "input": "text"}, "input"),
        ({"agent_id": "a", "streaming": "bytes"}, "streaming"),
        ({"agent_id": "a", "inptu": {}}, "inptu"),
    ],
)
def test_a_constructor_names_the_field(data: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        RunCreate(**data)


@pytest.mark.parametrize("data", [{"limit": 0}, {"limit": 1001}, {"limit": "5"}, {"offset": -1}])
def test_bounds_of_a_search(data: dict[str, Any]) -> None:
    (name,) = data
    with pytest.raises(ValidationError, match=name):
        RunSearchRequest(**data)


def test_a_model_that_another_thread_is_building_can_be_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model is built on first use, its validator before its serializer."""

    class Late(models.RunSearchRequest):
        pass

    body = Late(limit=5)
    unbuilt = Late.__pydantic_serializer__
    later = type("Unbuilt", (models.RunSearchRequest,), {"__module__": __name__})
    monkeypatch.setattr(Late, "__pydantic_serializer__", later.__pydantic_serializer__)
    monkeypatch.setattr(Late, "__pydantic_complete__", False)
    assert type(Late.__pydantic_serializer__) is not type(unbuilt)
    with SocketServer(response(b"[]")) as server:
        assert RunsApi(ApiClient(Configuration(server.url))).search_runs(body) == []
        assert json.loads(server.requests[0].body)["limit"] == 5
