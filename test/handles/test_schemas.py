"""Input and config against the agent's schemas, before anything is sent."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from support.socket_server import SocketServer, response

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    ApiTimeoutError,
    ApiValueError,
    SchemaMismatch,
)
from acp_client_v0_1.handles._schemas import check_value
from acp_client_v0_1.testing import Fault, LocalServer

SCHEMA = {
    "type": "object",
    "properties": {
        "count": {"type": "integer", "minimum": 1},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["count"],
}


def test_what_does_not_fit_is_named_by_its_path() -> None:
    with pytest.raises(SchemaMismatch) as caught:
        check_value("input", {"count": 0, "tags": ["a", 7]}, SCHEMA)
    error = caught.value
    assert isinstance(error, ApiValueError)
    assert set(error.paths) == {"input.count", "input.tags[1]"}
    assert "input does not fit the agent's schema" in str(error)
    assert "input.tags[1]: " in str(error)
    assert pickle.loads(pickle.dumps(error)).faults == error.faults
    check_value("input", {"count": 1}, SCHEMA)
    with pytest.raises(SchemaMismatch, match='"count" is a required property'):
        check_value("config", {}, SCHEMA)


def test_nothing_is_sent_that_does_not_fit(server: LocalServer, counter: AgentHandle) -> None:
    for call in (counter.start, counter.run):
        server.clear_requests()
        with pytest.raises(SchemaMismatch) as caught:
            call({"count": "three"}, check=True)
        assert caught.value.paths == ("input.count",)
        assert [r.path.split("/")[1] for r in server.requests if r.method == "POST"] == []
    assert counter.run({"count": 1}, check=True, timeout=30) == {"count": 1, "of": 1}


def test_a_descriptor_that_does_not_come_in_time(server: LocalServer, counter: AgentHandle) -> None:
    server.faults.add(Fault(path="/agents/*/descriptor", cut="stall", times=None))
    for call in (counter.start, counter.run):
        began = time.monotonic()
        with pytest.raises(ApiTimeoutError):
            call({"count": 1}, check=True, timeout=0.7)
        assert time.monotonic() - began < 0.7 + 4


def test_config_is_checked_too(server: LocalServer, client: ApiClient) -> None:
    agent_id = server.register(lambda input, config, context: {}, name="strict", config=SCHEMA)
    agent = AgentHandle(agent_id, client)
    with pytest.raises(SchemaMismatch, match="config does not fit"):
        agent.check(config={"count": 0})
    agent.check(config={"count": 1}, input={"anything": True})
    agent.check()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 7},
        {"$ref": "#/definitions/nowhere"},
        {"properties": {"a": {"pattern": "(?=lookahead)"}}},  # which could be exponential
        {"$ref": "file:///etc/hostname"},
    ],
)
def test_an_unusable_schema_is_a_warning(schema: Any) -> None:
    with pytest.warns(UserWarning, match="input was not checked: the agent's schema cannot be"):
        check_value("input", {"a": 1}, schema)


def test_no_reference_is_fetched() -> None:
    with SocketServer(response(b"{}")) as server:
        for schema in (
            {"$ref": f"{server.url}/schema"},
            {"$schema": f"{server.url}/dialect"},
            {"$id": f"{server.url}/id", "properties": {"a": {"$ref": "other"}}},
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check_value("input", {"a": 1}, schema)
        assert server.connections == 0


def test_no_pattern_is_exponential() -> None:
    began = time.monotonic()
    with pytest.raises(SchemaMismatch):
        check_value(
            "input", {"a": "a" * 50_000 + "b"}, {"properties": {"a": {"pattern": "^(a+)+$"}}}
        )
    assert time.monotonic() - began < 5


def doubling(levels: int, refer: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    definitions: dict[str, Any] = {f"a{level}": refer(level + 1) for level in range(levels)}
    return {"$defs": {**definitions, f"a{levels}": {"type": "object"}}, "$ref": "#/$defs/a0"}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (doubling(40, lambda level: {"allOf": [{"$ref": f"#/$defs/a{level}"}] * 2}), {"a": 1}),
        (
            doubling(40, lambda level: {k: {"$ref": f"#/$defs/a{level}"} for k in ("if", "then")}),
            {},
        ),
        ({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}, nested(40)),
        ({"additionalProperties": {"anyOf": [{"$ref": "#"}] * 2}}, nested(40)),
        ({"patternProperties": {"a": {"$ref": "#"}, "^a": {"$ref": "#"}}}, nested(40)),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$id": "x", "allOf": [True]}}}, {}),
        ({"$ref": "#a", "$defs": {"a": {"$anchor": "a"}}}, {}),
    ],
)
def test_no_reference_is_exponential(schema: Any, value: Any) -> None:
    """A hostile descriptor of 2 KB cannot keep the check busy for days."""
    began = time.monotonic()
    with pytest.warns(UserWarning, match=r"was not checked: .*(200,000 steps|own|pointer)"):
        check_value("input", value, schema)
    assert time.monotonic() - began < 30


def test_schemas_that_refer_to_themselves_are_checked() -> None:
    tree = {
        "$defs": {
            "node/1": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node~11"}}},
                "required": ["name"],
            }
        },
        "$ref": "#/$defs/node~11",
    }
    value: dict[str, Any] = {"name": "leaf"}
    for level in range(30):
        value = {"name": f"level {level}", "children": [value, {"name": "other"}]}
    check_value("input", value, tree)
    with pytest.raises(SchemaMismatch, match=r"input\.children\[1\]: \"name\" is a required"):
        check_value("input", {"name": "", "children": [{"name": ""}, {}]}, tree)


def test_a_schema_that_nests_deeply() -> None:
    schema: Any = {}
    for _ in range(5000):
        schema = {"properties": {"a": schema}}
    with pytest.warns(UserWarning, match="was not checked"):
        check_value("input", {"a": 1}, schema)


def test_without_the_package_the_error_names_the_extra() -> None:
    script = (
        "import sys\n"
        "sys.modules['jsonschema_rs'] = None\n"
        "from acp_client_v0_1.handles._schemas import check_value\n"
        "try:\n"
        "    check_value('input', {}, {})\n"
        "except ValueError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert outcome.stdout.strip() == (
        "ApiValueError check= needs the package jsonschema-rs: "
        "pip install 'acp-client-v0-1[validation]'"
    )


def test_the_package_is_not_loaded_before_it_is_needed() -> None:
    script = (
        "import acp_client_v0_1 as acp, sys\n"
        "acp.AgentHandle('a', acp.ApiClient(acp.Configuration()))\n"
        "print('jsonschema_rs' in sys.modules)\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert outcome.stdout.strip() == "False"
