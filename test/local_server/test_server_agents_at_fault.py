"""Agents that do what they should not: none of it reaches the wire, or the runs of others."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Generator
from typing import Any

import pytest
from support.transport import eventually

from acp_client_v0_1.testing import (
    ECHO_AGENT_ID,
    AgentContext,
    AgentDefinition,
    AgentError,
    Interrupt,
    InterruptSpec,
    RunCancelled,
)

Json = dict[str, Any]
NAN = float("nan")


def test_an_agent_cannot_change_the_creation_of_its_run(call):
    def spoil(input: Json, config: Json, context: AgentContext) -> Json:
        for given in (input, config, context.metadata):
            given["nested"]["list"].append("spoilt")
            given["more"] = True
        return {}

    server = call.server
    agent_id = server.register(spoil)
    thread_id = call.ok("POST", "/threads", {"agent_id": agent_id})["thread_id"]
    creation = {
        "agent_id": agent_id,
        "thread_id": thread_id,
        "webhook": "http://192.0.2.1/",
        **{name: {"nested": {"list": [1]}} for name in ("input", "config", "metadata")},
    }
    run_id = call.ok("POST", "/runs", creation)["run_id"]
    assert call.output(run_id)["result"] == {}
    assert eventually(lambda: server.webhooks, 5)
    (of_history,) = call.ok("GET", f"/threads/{thread_id}/history")
    for run in (call.ok("GET", f"/runs/{run_id}"), of_history, server.webhooks[0].run):
        assert run["creation"] == creation
    # Neither can the test that looks at a delivery.
    server.webhooks[0].run["creation"]["input"].clear()
    assert call.ok("GET", f"/runs/{run_id}")["creation"] == creation


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", ["timeout", "deletion"])
def test_an_agent_whose_run_is_over_leaves_the_thread_state_alone(call, ended_by):
    began, over, refused = threading.Event(), threading.Event(), threading.Event()

    def writes_late(input: Json, config: Json, context: AgentContext) -> Json:
        context.thread_state = {"early": True}
        began.set()
        over.wait(10)
        try:
            context.thread_state = {"late": True}
        except RunCancelled:
            refused.set()
        return {}

    agent_id = call.server.register(writes_late, timeout=1 if ended_by == "timeout" else None)
    thread_id = call.ok("POST", "/threads", {"agent_id": agent_id})["thread_id"]
    run_id = call.run(agent_id, thread_id=thread_id)
    assert began.wait(5)
    if ended_by == "timeout":
        assert call.output(run_id)["description"] == "not done after 1 s"
    else:
        call.ok("DELETE", f"/runs/{run_id}")
    over.set()
    assert refused.wait(5)
    assert call.ok("GET", f"/threads/{thread_id}/state") == {"early": True}


def test_what_is_read_of_the_thread_state_is_a_copy(call):
    given = {"list": [1]}

    def change(input: Json, config: Json, context: AgentContext) -> Json:
        with pytest.raises(TypeError, match=r"the thread state\['x'\]: nan is not"):
            context.thread_state = {"x": NAN}
        context.thread_state = given
        context.thread_state["more"] = True
        context.thread_state["list"].append(2)
        given["list"].append(3)
        return context.thread_state

    agent_id = call.server.register(change, thread_state={})
    run = call.ok("POST", "/runs", {"agent_id": agent_id})
    assert call.output(run["run_id"])["result"] == {"list": [1]}
    for path in (f"/threads/{run['thread_id']}/state", f"/runs/{run['run_id']}/threadstate"):
        assert call.ok("GET", path) == {"list": [1]}


def test_the_clean_up_of_an_agent_that_asked_cannot_change_the_thread_state(call):
    ended = threading.Event()

    def ask(input: Json, config: Json, context: AgentContext) -> Generator[Any, Json, Json]:
        try:
            yield Interrupt("question")
        finally:
            ended.set()
            with pytest.raises(RunCancelled):
                context.thread_state = {"late": True}
            raise ValueError("of the clean-up")
        return {}

    agent_id = call.server.register(ask, thread_state={})
    run = call.ok("POST", "/runs", {"agent_id": agent_id})
    call.output(run["run_id"])
    assert call.ok("DELETE", f"/runs/{run['run_id']}")["status"] == "interrupted"
    assert call("POST", f"/runs/{run['run_id']}", {}).status == 404
    assert ended.wait(5)
    assert call.ok("GET", f"/threads/{run['thread_id']}/state") == {}


def returning(value: Any) -> Any:
    return lambda input, config, context: value


def raising(error: BaseException) -> Any:
    def agent(input: Json, config: Json, context: AgentContext) -> Json:
        raise error

    return agent


def yielding(*values: Any) -> Any:
    def agent(input: Json, config: Json, context: AgentContext) -> Generator[Any, Any, Json]:
        yield from values
        return {}

    return agent


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def changed() -> AgentError:
    error: Any = AgentError(1, "fine")
    error.errcode = "E1"
    return error


NAN_IS_NONE = "nan is not a JSON number"
PAYLOAD = "TypeError: an interrupt's payload"


@pytest.mark.parametrize(
    ("agent", "description"),
    [
        (raising(KeyError("missing")), "KeyError: 'missing'"),
        (raising(SystemExit(3)), "SystemExit: 3"),
        (raising(KeyboardInterrupt()), "KeyboardInterrupt: "),
        (raising(ValueError("\ud83d")), "ValueError: \\ud83d"),
        (raising(Unspeakable()), "Unspeakable: (its text raises RuntimeError)"),
        (raising(changed()), "TypeError: errcode must be of type int, not str"),
        (lambda i, c, x: x.sleep("1"), "TypeError: seconds must be of type int or float, not str"),
        (returning(None), "TypeError: an agent's result must be of type dict, not None"),
        (returning({"x": object()}), "TypeError: an agent's result['x']: object is not JSON"),
        (returning({"x": [1.0, NAN]}), f"TypeError: an agent's result['x'][1]: {NAN_IS_NONE}"),
        (returning({"x": 10**5000}), "TypeError: an agent's result is not a JSON object: "),
        (returning(Interrupt("a")), "TypeError: an Interrupt must be yielded, not returned"),
        (yielding("text"), "TypeError: an update must be of type dict, not str"),
        (yielding({"x": 1}, {"x": NAN}), f"TypeError: an update['x']: {NAN_IS_NONE}"),
        (yielding(Interrupt("a", {"x": NAN})), f"{PAYLOAD}['x']: {NAN_IS_NONE}"),
    ],
)
def test_what_an_agent_does_wrong_is_its_runs_error_and_reaches_nothing_else(
    call, agent, description
):
    agent_id = call.server.register(agent, name="wrong")
    thread_id = call.ok("POST", "/threads", {"agent_id": agent_id})["thread_id"]
    run_id = call.run(agent_id, thread_id=thread_id, streaming="custom")
    output = call.output(run_id)
    assert output.pop("description").startswith(description)
    assert output == {"type": "error", "run_id": run_id, "errcode": 1}
    assert call.ok("GET", f"/runs/{run_id}")["status"] == "error"
    assert b"NaN" not in call("GET", f"/runs/{run_id}/stream").body
    assert call.ok("GET", f"/threads/{thread_id}/state") == {}


def test_a_number_that_is_too_large_does_not_come_in(call):
    for number in (b"1e400", b"-1e400", b"9" * 400 + b".5"):
        body = b'{"agent_id": "%s", "input": {"x": [%s]}}' % (ECHO_AGENT_ID.encode(), number)
        refused = call("POST", "/runs", body)
        assert refused.status == 422, number
        assert refused.json.startswith("the body['input']['x'][0]: ")


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "name"),
    [
        (AgentError, (1.0, "d"), TypeError, "errcode "),
        (AgentError, (True, "d"), TypeError, "errcode "),
        (AgentError, (10**5000, "d"), ValueError, "errcode "),
        (AgentError, (1, None), TypeError, "description "),
        (AgentError, (1, "\udc80"), ValueError, "description "),
        (Interrupt, (None,), TypeError, "interrupt_type: "),
        (InterruptSpec, (None,), TypeError, "interrupt_type: "),
        (InterruptSpec, ("a", {"type": "objekt"}), TypeError, "interrupt_payload: 'objekt' is"),
        (InterruptSpec, ("a", {}, {"type": "int"}), TypeError, "resume_payload: 'int' is"),
    ],
)
def test_what_an_agent_raises_or_yields_checks_its_arguments(kind, arguments, error, name):
    with pytest.raises(error, match=f"^{name}"):
        kind(*arguments)


class OutOfPaper(AgentError):
    def __init__(self) -> None:
        super().__init__(7, "d")


def test_an_agent_error_pickles_and_names_its_code_first():
    pickled = pickle.loads(pickle.dumps(AgentError(7, "d")))
    for error in (AgentError(7, "d"), pickled, OutOfPaper()):
        assert (error.errcode, error.description, error.args) == (7, "d", (7, "d"))


def test_a_whole_float_is_an_integer_to_the_agent_too(call):
    def ask(input: Json, config: Json, context: AgentContext) -> Generator[Any, Json, Json]:
        answer = yield Interrupt("number")
        return {"types": [type(given["n"]).__name__ for given in (input, config, answer)]}

    schema = {"properties": {"n": {"type": "integer"}, "x": {"type": "number"}}}
    spec = InterruptSpec("number", resume_payload=schema)
    agent_id = call.server.register(ask, input=schema, config=schema, interrupts=[spec])
    asking = call.run(agent_id, input={"n": 1.0}, config={"n": 1e20})
    call.output(asking)
    call.ok("POST", f"/runs/{asking}", {"n": 3.0})
    assert call.output(asking)["result"] == {"types": ["int", "int", "int"]}


async def coroutine(input: Json, config: Json, context: AgentContext) -> Json:
    return {}


async def updates(input: Json, config: Json, context: AgentContext) -> Any:
    yield {}


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"function": 1}, TypeError, "^function must be a function agent.*, not int"),
        ({"function": dict}, TypeError, "^function must be .*: pass an instance, not the class"),
        ({"function": lambda input: {}}, TypeError, r"^function must be .* yours takes \(input\)"),
        ({"function": coroutine}, TypeError, "^function: must not be async"),
        ({"function": updates}, TypeError, "^function: must not be async"),
        ({"timeout": 0}, ValueError, "^timeout: Input should be greater than 0"),
        ({"timeout": NAN}, ValueError, "^timeout: Input should be a finite number"),
        ({"input": {"default": NAN}}, TypeError, r"^input\['default'\]: nan is not"),
        ({"interrupts": [1]}, TypeError, r"^interrupts\.0: .* an instance of InterruptSpec"),
        ({"input": {"type": "objekt"}}, TypeError, "^input: 'objekt' .* mean 'object'"),
        ({"input": {"type": 5}}, TypeError, "^input: '5' is not a type of JSON Schema"),
        ({"config": {"properties": {"n": {"type": ["null", "int"]}}}}, TypeError, "^config: 'int'"),
        ({"input": {"required": True}}, TypeError, "input: required must be a list"),
        ({"input": {"required": ["a", ["b"]]}}, TypeError, "input: required must be a list of na"),
        ({"config": {"properties": []}}, TypeError, "config: properties must be a dict"),
        ({"description": "\ud83d"}, TypeError, "the agent's descriptor.*is not valid Unicode"),
    ],
)
def test_an_agent_that_could_not_be_served_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        AgentDefinition(**{"function": returning({}), **fields})


@pytest.mark.slow
def test_no_time_is_too_long(call):
    def nap(input: Json, config: Json, context: AgentContext) -> Json:
        context.sleep(1e30)
        return {}

    run_id = call.run(call.server.register(nap, timeout=1e30))
    assert call("GET", f"/runs/{run_id}/output?block_timeout=1").status == 204
    assert call.ok("DELETE", f"/runs/{run_id}")["status"] == "pending"


@pytest.mark.slow
def test_an_agent_that_yields_for_ever_takes_a_bounded_memory(call):
    def yields(input: Json, config: Json, context: AgentContext) -> Generator[Json, Any, Json]:
        while True:
            yield {}

    run_id = call.run(call.server.register(yields), streaming="custom")
    assert eventually(lambda: call.ok("GET", f"/runs/{run_id}")["status"] == "error", 100)
    words = "the local server keeps at most 100,000 updates of a run"
    assert call.output(run_id)["description"] == words
