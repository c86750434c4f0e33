"""Agents of the local server whose parameters and results have types."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import AgentContext, Interrupt, LocalServer
from acp_client_v0_1.testing.agents import JsonObject


class Count(BaseModel):
    count: int
    step: int = 1
    by_alias: str = Field("a", alias="byAlias")


@dataclass
class Counted:
    total: int


class Member(TypedDict):
    n: int


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    factor: int


def add(input: Count) -> Counted:
    """Add one."""
    return Counted(input.count + input.step)


def add_dicts(input: Member, config: Strict) -> Member:
    return {"n": input["n"] * config.factor}


def ask(input: Count, config: JsonObject, context: AgentContext) -> Generator[Any, Any, Counted]:
    yield Counted(input.count)
    answer = yield Interrupt("how_many")
    return Counted(input.count + answer["more"])


def returns_a_model(input: Annotated[Count, Field()]) -> Any:
    return input


def plain(input):
    return {"got": input}


@pytest.fixture
def server():
    with LocalServer([]) as running:
        yield running


@pytest.fixture
def client(server):
    with acp.ApiClient(acp.Configuration(host=server.url)) as client:
        yield client


def find(server, client, function):
    return acp.AgentHandle(server.register(function), client)


def test_a_function_of_models_gets_a_model_and_its_descriptor_has_the_schemas(server, client):
    agent = find(server, client, add)
    assert agent.typed(Count, Counted).run(Count(count=2, byAlias="b")) == Counted(3)
    assert agent.run({"count": 2, "step": 2.0}) == {"total": 4}
    descriptor = agent.descriptor()
    assert descriptor.specs.input["required"] == ["count"]
    assert descriptor.specs.input["properties"].keys() == {"count", "step", "byAlias"}
    assert descriptor.specs.output["properties"]["total"]["type"] == "integer"
    assert descriptor.metadata.ref.name == "add" and descriptor.metadata.description == "Add one."


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "input.count: the agent requires it"),
        ({"count": "2"}, "input.count: the agent wants type integer"),
        ({"count": 1, "byAlias": 5}, "input.byAlias: the agent wants type string"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_before_there_is_a_run(server, client, given, words):
    with pytest.raises(acp.UnprocessableEntityException, match=words):
        find(server, client, add).run(given)
    assert server.runs == ()


def test_what_only_the_type_knows_is_refused_too(server, client):
    def narrow(input: Narrow) -> JsonObject:
        return {"n": input.n}

    with pytest.raises(acp.UnprocessableEntityException, match=r"input\.n: Input should"):
        find(server, client, narrow).run({"n": 0})
    agent = find(server, client, add_dicts)
    assert agent.run({"n": 2}, config={"factor": 3}) == {"n": 6}
    for config in ({"factor": 3, "other": 1}, {}):
        with pytest.raises(acp.UnprocessableEntityException, match=r"config\.(other|factor)"):
            agent.run({"n": 2}, config=config)


class Narrow(BaseModel):
    n: int = Field(gt=0)


def test_a_generator_streams_and_asks_and_may_yield_and_return_models(server, client):
    agent = find(server, client, ask)
    assert agent.descriptor().specs.capabilities.streaming.custom is True
    assert agent.descriptor().specs.output["properties"].keys() == {"total"}
    run = agent.start({"count": 1}, streaming="custom")
    with run.events() as events:
        assert [event.update for event in events if event.update] == [{"total": 1}]
    assert run.drive(lambda question: {"more": 5}, timeout=10) == {"total": 6}


def test_a_function_may_take_the_input_alone_and_have_no_types(server, client):
    assert find(server, client, plain).run({"a": 1}) == {"got": {"a": 1}}
    assert find(server, client, returns_a_model).run({"count": 1})["byAlias"] == "a"
    star = server.register(lambda *given: {"given": len(given)}, name="star")
    assert acp.AgentHandle(star, client).run({}) == {"given": 3}


def test_fields_that_are_given_replace_those_of_the_annotations(server, client):
    agent = acp.AgentHandle(server.register(add, output={"type": "object"}, name="sum"), client)
    assert agent.descriptor().specs.output == {"type": "object"}
    assert agent.name == "sum"


def test_an_annotation_that_says_nothing_is_named(server):
    class Here(BaseModel):
        n: int

    def local(input: Here) -> JsonObject:
        return {}

    def no_type(input: LocalServer) -> JsonObject:
        return {}

    with pytest.raises(TypeError, match="the annotation 'Here' of its input is not defined"):
        server.register(local)
    with pytest.raises(TypeError, match="cannot be the type of its input: Unable to generate"):
        server.register(no_type)
    for wrong in (dict, lambda a, b, c, d: {}):
        with pytest.raises(TypeError, match=r"a function agent\(input, config, context\)"):
            server.register(wrong)

    async def later(input: Count) -> Counted:
        return Counted(1)

    with pytest.raises(TypeError, match="must not be async"):
        server.register(later)
