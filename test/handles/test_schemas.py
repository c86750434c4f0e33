"""Input and config against the agent's schemas, before anything is sent."""

from __future__ import annotations

import pickle
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, RootModel
from support.serving import check
from support.socket_server import SocketServer, response

from acp_client_v0_1 import AgentHandle, ApiTypeError, ApiValueError, SchemaMismatch
from acp_client_v0_1.handles import _schemas

SCHEMA = {
    "type": "object",
    "properties": {
        "count": {"type": "integer", "minimum": 1},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["count"],
}


def test_what_does_not_fit_is_named_by_its_path():
    for value, words in (({1}, r"set is not JSON; pass a list"), (object(), "object is not JSON")):
        with pytest.raises(ApiValueError, match=rf"^input\['count'\]: \S*{words}"):
            check("input", {"count": value}, SCHEMA)
    with pytest.raises(SchemaMismatch) as caught:
        check("input", {"count": 0, "tags": ["a", 7]}, SCHEMA)
    error = caught.value
    assert isinstance(error, ApiValueError)
    assert set(error.paths) == {"input.count", "input.tags[1]"}
    assert "input does not fit the agent's schema" in str(error)
    assert "input.tags[1]: " in str(error)
    assert pickle.loads(pickle.dumps(error)).faults == error.faults
    check("input", {"count": 1, "tags": (date(2026, 1, 2), UUID(int=3))}, SCHEMA)
    with pytest.raises(SchemaMismatch, match='"count" is a required property'):
        check("config", {}, SCHEMA)


def test_a_check_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    words = r"needs the package jsonschema-rs: pip install 'acp-client-v0-1\[validation\]'$"
    with pytest.raises(ApiValueError, match=words):
        check("input", {}, {})


def test_nothing_is_sent_that_does_not_fit(server, counter):
    counter.descriptor().specs.input.clear()  # a copy, which is the caller's
    for call in (counter.start, counter.run):
        server.clear_requests()
        with pytest.raises(SchemaMismatch) as caught:
            call({"count": "three"}, check=True)
        assert caught.value.paths == ("input.count",)
        assert [r.path.split("/")[1] for r in server.requests if r.method == "POST"] == []
    assert counter.run({"count": 1}, check=True, timeout=30) == {"count": 1, "of": 1}


def test_config_is_checked_too(server, client):
    agent_id = server.register(lambda input, config, context: {}, name="strict", config=SCHEMA)
    agent = AgentHandle(agent_id, client)
    with pytest.raises(SchemaMismatch, match="config does not fit"):
        agent.check(config={"count": 0})
    agent.check(config={"count": 1}, input={"anything": True})
    agent.check()


def test_a_warning_of_a_schema_is_one_of_the_caller(server, client):
    unusable = {"pattern": "(?=lookahead)"}
    agent = AgentHandle(server.register(lambda *_: {}, name="odd", input=unusable), client)
    for call in (agent.start, agent.run):
        with pytest.warns(UserWarning, match="input was not checked") as warned:
            call({}, check=True)
        assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match="input was not checked") as warned:
        agent.check(input={})
    assert warned[0].filename == __file__


def nested(levels: int, name: str = "a") -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {name: value}
    return value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 7},
        {"$ref": "#/definitions/nowhere"},
        {"properties": {"a": {"pattern": "(?=lookahead)"}}},  # which could be exponential
        {"$ref": "file:///etc/hostname"},
        nested(5000, "not"),
    ],
)
def test_an_unusable_schema_is_a_warning(schema):
    words = r"^input was not checked: the agent's schema cannot be used: \S[^\n]*$"
    with pytest.warns(UserWarning, match=words):
        check("input", {"a": 1}, schema)


def test_no_reference_is_fetched():
    with SocketServer(response(b"{}")) as server:
        for schema, words in (
            ({"$ref": f"{server.url}/schema"}, "is not a JSON pointer into it"),
            ({"$schema": f"{server.url}/dialect"}, "Unknown meta-schema"),
            ({"$id": f"{server.url}/id", "properties": {"a": {"$ref": "other"}}}, "other is not a"),
        ):
            with pytest.warns(UserWarning, match=words):
                check("input", {"a": 1}, schema)
        assert server.connections == 0
    with pytest.raises(ValueError, match="and no reference is fetched"):
        _schemas._refuse("http://h")


def doubling(levels: int, refer: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    definitions: dict[str, Any] = {f"a{level}": refer(level + 1) for level in range(levels)}
    return {"$defs": {**definitions, f"a{levels}": {"type": "object"}}, "$ref": "#/$defs/a0"}


def unevaluated(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"properties": {"a": True}}
    for _ in range(levels):
        schema = {"allOf": [schema], "unevaluatedProperties": False}
    return schema


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (doubling(40, lambda level: {"allOf": [{"$ref": f"#/$defs/a{level}"}] * 2}), {"a": 1}),
        (unevaluated(40), {"a": 1}),
        ({"properties": {"b": unevaluated(40)}}, {}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$id": "x", "allOf": [True]}}}, {}),
        ({"$ref": "#a", "$defs": {"a": {"$anchor": "a"}}}, {}),
    ],
)
def test_no_schema_is_exponential(schema, value):
    """A hostile descriptor of 2 KB cannot keep the check busy for days."""
    with pytest.warns(UserWarning, match=r"was not checked: .*(200,000 steps|own|pointer)"):
        check("input", value, schema)


@pytest.mark.parametrize(
    ("repeats", "count", "checked"),
    [*((n, 1, n < 10) for n in (6, 10, 90)), *((4, n, n < 120) for n in (60, 120, 9_999))],
)
def test_patterns_that_are_too_large_or_too_many_are_a_warning(repeats, count, checked):
    """A pattern takes about 36 KB for each repeat; one may take 256 KB, and all 16 MB.

    Without the anchor, what may be missing at the beginning of a pattern takes nothing.
    """
    large = {rf"^(?:a{{0,500}}){{0,{repeats}}}b{n}": True for n in range(count)}
    for schema in ({"patternProperties": large}, {"allOf": [{"pattern": name} for name in large]}):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check("input", {"z": "a"}, schema)
        assert ["was not checked" in str(each.message) for each in caught] == [True] * (not checked)


TYPED = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "value", "steps"),
    [
        ({"type": "object"}, {}, 1),
        ({"properties": {"a": {}, "b": {}}}, {"a": 1}, 2),
        ({"items": {}}, [1, 2], 3),
        ({"additionalProperties": {}}, {"a": 1, "b": 2}, 3),
        ({"patternProperties": {"x": {}, "y": {}}}, {"a": 1, "b": 2}, 7),
        ({"propertyNames": {}}, {"a": 1, "b": 2}, 3),
        ({"$ref": "#/$defs/a~0~1", "$defs": {"a~/": {}}}, 1, 2),
        ({"$ref": "#/$defs/a%20b/1", "$defs": {"a b": [{"allOf": [{}]}, {}]}}, 1, 2),
        ({"allOf": [{}, {}]}, 1, 4),
        ({"if": {}, "then": {}, "else": {}}, 1, 4),
        ({"dependentSchemas": {"a": {}, "b": {}}}, 1, 4),
        ({"dependencies": {"a": {}}}, 1, 3),
        ({"allOf": [{}], "unevaluatedProperties": False}, {"a": 1}, 8),
    ],
)
def test_how_many_steps_a_check_takes(schema, value, steps):
    assert len(list(_schemas._steps(schema, [(schema, value)]))) == steps


@pytest.mark.parametrize(
    ("schema", "value_of", "size", "copies"),
    [
        (TYPED, str, 256 + (256 + 2), 1),  # a step, and a copy of the value
        ({**TYPED, "title": "t"}, lambda text: [text, 2], 256 + (2 * 256 + 7), 1),
        ({"required": ["a", "b"]}, lambda text: {"a": text}, 778 + 3 * (2 * 256 + 9), 3),
        ({"enum": ["y" * 600]}, str, 256 + 860 + 4 * (256 + 2), 4),
        ({"allOf": [False, True]}, str, 4 * 256 + 2 * (256 + 2), 2),
        ({"properties": {"a": TYPED}}, lambda text: {"a": text}, 2 * 256 + (256 + 2), 1),
    ],
)
def test_how_much_memory_the_faults_of_a_value_may_take(schema, value_of, size, copies):
    longest = (32 * 1024 * 1024 - size) // copies
    for length, listed in ((longest, True), (longest + 1, False)):
        assert _schemas._can_be_listed(schema, value_of("x" * length)) is listed


TEXT = {"a": "x" * 200_000}
NAMES = {f"name{n}": "x" * 100 for n in range(5_000)}
LONG = "y" * 150
MISSING = [f"n{n}" for n in range(500)]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"allOf": [{"type": "integer"}] * 4_000}, TEXT),
        ({"required": [f"name{n}" for n in range(100_000)]}, TEXT),
        ({"propertyNames": {"pattern": "^z"}}, NAMES),
        # Each fault quotes the value of the keyword.
        *(
            ({"additionalProperties": {"allOf": [{keyword: words}] * 6}}, NAMES)
            for keyword, words in (("const", LONG), ("enum", [LONG]), ("pattern", LONG))
        ),
        # Each name that is missing is a fault with a copy of the value.
        ({"dependencies": {"a": MISSING}}, TEXT),
        ({"dependentRequired": {"a": MISSING}}, TEXT),
    ],
)
def test_no_schema_fills_the_memory(schema, value):
    """If the faults of one of these were listed, they would take up to gigabytes."""
    words = "input: the faults are not listed, as they could fill the memory"
    with pytest.raises(SchemaMismatch, match=words) as caught:
        check("input", value, schema)
    assert len(str(caught.value)) < 1_000


def test_the_faults_of_a_long_list_are_named():
    """Items that refer to a definition, as pydantic writes them."""
    fields = {f"f{n}": {"type": "string", "description": "d" * 200} for n in range(8)}
    schema = {
        "$defs": {"Item": {"properties": fields, "required": ["f0"]}},
        "properties": {"items": {"items": {"$ref": "#/$defs/Item"}}},
    }
    items = [dict.fromkeys(fields, "some text") for _ in range(1_000)]
    with pytest.raises(SchemaMismatch, match=r"input\.items\[1000\]: \"f0\" is a required"):
        check("input", {"items": [*items, {}]}, schema)


@pytest.mark.parametrize("name", ["a", "n" * 100_000, "a\x1b[2J\nb"], ids=["short", "long", "odd"])
def test_a_fault_quotes_no_more_than_a_line_of_the_input(name):
    with pytest.raises(SchemaMismatch) as caught:
        check("input", {name: "x\n" * 1_000}, {"additionalProperties": TYPED})
    ((path, words),) = caught.value.faults
    assert path.isprintable() and len(path) <= 300 and (name != "a" or path == "input.a")
    assert words.startswith('"x') and words.endswith("…")
    assert len(words) == 300 and str(caught.value).isprintable()


def test_no_pattern_is_exponential_and_none_is_matched_against_a_text_for_minutes():
    schema = {"allOf": [{"pattern": f"^(?:a{{0,60}}){{0,40}}[b-z{n}]"} for n in range(5)]}
    for pattern, text in (({"pattern": "^(a+)+$"}, "a" * 50_000 + "b"), (schema, "a" * 1_000)):
        with pytest.raises(SchemaMismatch):
            check("input", {"x": text}, {"properties": {"x": pattern}})
    with pytest.warns(UserWarning, match="was not checked"):
        check("input", {"x": "a" * 100_000}, {"properties": {"x": schema}})


def test_patterns_of_common_sizes_are_checked():
    identifier = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
    patterns = [r"^[a-z0-9_.-]{1,255}$", identifier, r"^\w{0,300}$"]
    members = {f"m{n}": {"pattern": patterns[n % 3]} for n in range(250)}
    members |= {f"n{n}": {"type": "string"} for n in range(5_000)}
    check("input", {"m0": "a", "m2": "b"}, {"properties": members})
    with pytest.raises(SchemaMismatch, match=r"input\.m1: "):
        check("input", {"m1": "a"}, {"properties": members})


def test_unevaluated_members_are_found():
    schema = {"allOf": [{"properties": {"a": TYPED}}], "unevaluatedProperties": False}
    check("input", {"a": 1}, schema)
    with pytest.raises(SchemaMismatch, match="'b' was unexpected"):
        check("input", {"a": 1, "b": 2}, schema)


class Order(BaseModel):
    count: int
    at: date = Field(alias="when")


@dataclass
class Plain:
    count: int


def test_a_model_or_a_dataclass_is_a_json_object(counter):
    echo = AgentHandle.find("echo", counter.runs.api_client)
    order = Order(count=2, when=date(2026, 1, 2))
    assert echo.run(order) == {"count": 2, "when": "2026-01-02"}
    assert echo.run(Plain(3)) == echo.run(MappingProxyType({"count": 3})) == {"count": 3}
    for wrong in (Order, Plain, RootModel[list[int]]([1])):
        with pytest.raises(ApiTypeError, match="input must be a JSON object"):
            echo.run(wrong)
    plain = Plain(Decimal(1))  # type: ignore[arg-type]
    with pytest.raises(ApiValueError, match=r"input\['count'\]: Decimal is not JSON; pass a float"):
        counter.start(plain)
    with pytest.raises(ApiValueError, match="input cannot be written as JSON"):
        echo.run(RootModel[Any](object()))


def test_schemas_that_refer_to_themselves_are_checked():
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
    check("input", value, tree)
    with pytest.raises(SchemaMismatch, match=r"input\.children\[1\]: \"name\" is a required"):
        check("input", {"name": "", "children": [{"name": ""}, {}]}, tree)


def test_parts_without_keywords_do_not_copy_the_value():
    """The parts of an agent's schema are not trusted, and a value may be large."""
    copies = 0

    class Large(str):
        def __repr__(self) -> str:
            nonlocal copies
            copies += 1
            return ""

    schema = {"properties": {"a": {"allOf": [{"title": "none"}] * 100, "type": "integer"}}}
    assert _schemas._can_be_listed(schema, {"a": Large("x")})
    assert 1 <= copies <= 3
