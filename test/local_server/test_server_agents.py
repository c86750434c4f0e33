"""Agents: the built-in ones, those of users, and what the protocol tells about them."""

from __future__ import annotations

import runpy
import threading
import time
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest
from support.transport import eventually

from acp_client_v0_1.testing import (
    BUILTIN_AGENTS,
    AgentContext,
    AgentDefinition,
    AgentError,
    Interrupt,
    InterruptSpec,
    LocalServer,
    builtin,
)

Json = dict[str, Any]


def test_search_finds_by_exact_name_and_version(call):
    def found(**wanted: Any) -> list[str]:
        return [a["metadata"]["ref"]["name"] for a in call.ok("POST", "/agents/search", wanted)]

    assert found() == ["echo", "counter", "approval", "failing", "slow"]
    assert found(name="echo") == found(name="echo", version="1.0.0") == ["echo"]
    assert found(name="echo", version="2.0.0") == found(name="ech") == []
    assert found(limit=2, offset=1) == ["counter", "approval"]


def test_each_descriptor_tells_what_its_agent_is_and_can_do(call):
    specs: dict[str, Json] = {}
    for agent in BUILTIN_AGENTS:
        wire = call.ok("GET", f"/agents/{agent.agent_id}")
        descriptor = call.ok("GET", f"/agents/{agent.agent_id}/descriptor")
        assert wire == {"agent_id": agent.agent_id, "metadata": descriptor["metadata"]}
        assert set(descriptor["specs"]) >= {"capabilities", "input", "output", "config"}
        specs[agent.name] = descriptor["specs"]
    counter, echo, approval = specs["counter"], specs["echo"], specs["approval"]
    streaming = {"streaming": {"result": True, "custom": True}}
    others = {"threads": False, "interrupts": False, "callbacks": True}
    assert counter["capabilities"] == streaming | others
    # A plain function has nothing to stream; an agent with a state has threads.
    assert echo["capabilities"]["streaming"] == {"result": False, "custom": False}
    assert echo["capabilities"]["threads"] is True
    assert counter["custom_streaming_update"]["required"] == ["count", "of"]
    assert approval["capabilities"]["interrupts"] is True
    assert [spec["interrupt_type"] for spec in approval["interrupts"]] == ["approval"]
    assert approval["interrupts"][0]["resume_payload"]["required"] == ["approved"]


def shout(input: Json, config: Json, context: AgentContext) -> Json:
    """Says it louder.

    Not in the description.
    """
    return {"said": input["text"].upper() + config.get("end", "!"), "run": context.run_id}


def test_a_function_is_an_agent_and_its_name_and_docstring_describe_it(call):
    agent_id = call.server.register(shout)
    metadata = call.ok("GET", f"/agents/{agent_id}")["metadata"]
    reference = {"name": "shout", "version": "0.1.0"}
    assert metadata == {"ref": reference, "description": "Says it louder."}
    run_id = call.run(agent_id, input={"text": "hi"}, config={"end": "?"})
    assert call.output(run_id)["result"] == {"said": "HI?", "run": run_id}


def test_an_agents_own_schema_is_checked_lightly(call):
    schema = {"properties": {"text": {"type": "string"}, "n": {"type": "integer"}}}
    agent_id = call.server.register(shout, input={**schema, "required": ["text"]}, config=schema)
    for creation, message in [
        ({}, "input.text: the agent requires it"),
        ({"input": {"text": 1}}, "input.text: the agent wants type string"),
        ({"input": {"text": "", "n": True}}, "input.n: the agent wants type integer"),
        ({"input": {"text": ""}, "config": {"n": 1.5}}, "config.n: the agent wants type integer"),
    ]:
        refused = call("POST", "/runs", {"agent_id": agent_id, **creation})
        assert (refused.status, refused.json) == (422, message)
    call.run(agent_id, input={"text": "", "n": 1.0})


def test_ids_come_from_name_and_version_and_are_unique(server):
    first = server.register(shout)
    assert LocalServer([]).register(shout) == first
    with pytest.raises(ValueError, match=first):
        server.register(shout)
    assert server.register(shout, version="0.2.0") != first
    definition = AgentDefinition(function=shout, name="other", agent_id="my-own-id")
    assert server.register(definition, description="mine") == "my-own-id"
    assert server.agents[-1].description == "mine"


def test_a_generator_asks_as_often_as_it_likes_and_runs_nothing_twice(call):
    began: list[str] = []

    def survey(input: Json, config: Json, context: AgentContext) -> Generator[Any, Json, Json]:
        began.append(context.run_id)
        answers = []
        for question in ("name", "age"):
            answer = yield Interrupt("question", {"about": question})
            yield {"answered": question}
            answers.append(answer["text"])
        return {"answers": answers}

    agent_id = call.server.register(survey, interrupts=[InterruptSpec("question")])
    run_id = call.run(agent_id, streaming="custom")
    for about, text in (("name", "Ada"), ("age", "36")):
        assert call.output(run_id)["interrupt"] == {"interrupt_type": "question", "about": about}
        # An interrupted run has no thread.
        assert eventually(lambda: run_id not in str(threading.enumerate()), 5)
        call.ok("POST", f"/runs/{run_id}", {"text": text})
    assert call.output(run_id)["result"] == {"answers": ["Ada", "36"]}
    assert began == [run_id]
    events = call.events(run_id)
    assert [event["id"] for event in events] == ["1", "2"]  # they go on after a question
    updates = [event["data"]["update"] for event in events]
    assert updates == [{"answered": "name"}, {"answered": "age"}]


def test_a_run_that_takes_longer_than_its_agent_may_times_out(call):
    ended = threading.Event()

    def dawdle(input: Json, config: Json, context: AgentContext) -> Json:
        try:
            context.sleep(30)
        finally:
            ended.set()
        return {}

    run_id = call.run(call.server.register(dawdle, timeout=0.1))
    assert call.output(run_id)["description"] == "not done after 0.1 s"
    assert call.ok("GET", f"/runs/{run_id}")["status"] == "timeout"
    assert ended.wait(5)


def test_the_context_tells_an_agent_about_its_run(call):
    names = ("run_id", "thread_id", "streaming", "metadata", "thread_state", "cancelled")

    def tell(input: Json, config: Json, context: AgentContext) -> Json:
        context.check()
        assert "metadata" not in repr({context})  # it can be in a set, and says nothing
        return {name: getattr(context, name) for name in names}

    given = {"streaming": "custom", "metadata": {"k": 1}}
    run_id = call.run(call.server.register(tell), **given)
    known = {"run_id": run_id, "thread_id": None, "thread_state": {}, "cancelled": False}
    assert call.output(run_id)["result"] == {**given, **known}


def test_a_cancelled_generator_is_closed(call):
    closed = threading.Event()

    def endless(input: Json, config: Json, context: AgentContext) -> Generator[Json, None, None]:
        try:
            while True:
                yield {"tick": True}
                time.sleep(0.01)
        finally:
            closed.set()

    run_id = call.run(call.server.register(endless))
    call.ok("DELETE", f"/runs/{run_id}")
    assert closed.wait(5)


def properties(schema: Json | None) -> dict[str, str]:
    return {name: each["type"] for name, each in (schema or {}).get("properties", {}).items()}


def test_the_built_in_agents_say_what_they_take_and_give():
    """What is called by its own default has a type, too: the server checks inputs by it."""
    count = {"count": "integer", "of": "integer"}
    failure = {"description": "string", "errcode": "integer", "timeout": "boolean"}
    answer = {"approved": "boolean", "reason": "string"}
    # The input, the output, an update and the state of a thread.
    described: dict[str, tuple[dict[str, str], ...]] = {
        "echo": ({}, {}, {}, {"last_input": "object", "turns": "integer"}),
        "counter": ({"count": "integer", "interval": "number"}, count, count, {}),
        "approval": ({"action": "string"}, {"action": "string", **answer}, {}, {}),
        "failing": (failure, {}, {}, {}),
        "slow": ({"seconds": "number"}, {"slept": "number"}, {}, {}),
    }
    parts = ("input", "output", "custom_streaming_update", "thread_state")
    # Made here and now, as the schemas are made when the module is imported.
    agents = runpy.run_path(builtin.__file__)["BUILTIN_AGENTS"]
    for agent in agents:
        told = tuple(properties(getattr(agent, part)) for part in parts)
        assert told == described[agent.name], agent.name
        assert "required" not in agent.input
    required = {agent.name: agent.output.get("required") for agent in agents}
    wanted = {"counter": ["count", "of"], "approval": ["approved"], "slow": ["slept"]}
    assert required == {"echo": None, "failing": None, **wanted}
    assert len({agent.description for agent in BUILTIN_AGENTS}) == 5
    assert all(agent.description.endswith(".") for agent in BUILTIN_AGENTS)
    ((asked,),) = (agent.interrupts for agent in BUILTIN_AGENTS if agent.interrupts)
    assert properties(asked.interrupt_payload) == {"action": "string", "question": "string"}
    assert properties(asked.resume_payload) == answer
    payloads = asked.interrupt_payload, asked.resume_payload
    assert [one["required"] for one in payloads] == [["question"], ["approved"]]


def test_the_built_in_agents_need_no_input():
    slept: list[float] = []
    context: Any = SimpleNamespace(sleep=slept.append, thread_state={})
    functions: dict[str, Any] = {agent.name: agent.function for agent in BUILTIN_AGENTS}
    assert list(functions["counter"]({}, {}, context)) == [
        {"count": number, "of": 3} for number in (1, 2, 3)
    ]
    assert functions["slow"]({}, {}, context) == {"slept": 1}
    assert slept == [0.1, 0.1, 1]
    with pytest.raises(AgentError) as failed:
        functions["failing"]({}, {}, context)
    assert failed.value.errcode == 1
    assert functions["echo"]({}, {}, context) == {} and context.thread_state["turns"] == 1
