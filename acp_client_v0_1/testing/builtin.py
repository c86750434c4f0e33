"""The agents that every local server starts with, one for each way a run can go.

Their ids never change, so that documents, shells and tests can name them.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

from acp_client_v0_1.testing.agents import (
    AgentDefinition,
    AgentError,
    Interrupt,
    InterruptSpec,
    JsonObject,
)
from acp_client_v0_1.testing.context import AgentContext

__all__ = ["APPROVAL_AGENT_ID", "BUILTIN_AGENTS", "COUNTER_AGENT_ID", "ECHO_AGENT_ID"]
__all__ += ["FAILING_AGENT_ID", "SLOW_AGENT_ID"]

ECHO_AGENT_ID = "11111111-1111-4111-8111-111111111111"
COUNTER_AGENT_ID = "22222222-2222-4222-8222-222222222222"
APPROVAL_AGENT_ID = "33333333-3333-4333-8333-333333333333"
FAILING_AGENT_ID = "44444444-4444-4444-8444-444444444444"
SLOW_AGENT_ID = "55555555-5555-4555-8555-555555555555"


def _schema(required: tuple[str, ...] = (), **types: str) -> JsonObject:
    properties = {name: {"type": kind} for name, kind in types.items()}
    schema: JsonObject = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _echo(input: JsonObject, config: JsonObject, context: AgentContext) -> JsonObject:
    state = context.thread_state
    context.thread_state = {"turns": state.get("turns", 0) + 1, "last_input": input}
    return input


def _counter(
    input: JsonObject, config: JsonObject, context: AgentContext
) -> Generator[JsonObject, Any, JsonObject]:
    total, interval = input.get("count", 3), input.get("interval", 0.1)
    for number in range(1, total + 1):
        if number > 1:
            context.sleep(interval)
        yield {"count": number, "of": total}
    return {"count": total, "of": total}


def _approval(
    input: JsonObject, config: JsonObject, context: AgentContext
) -> Generator[Interrupt, JsonObject, JsonObject]:
    action = input.get("action", "go on")
    answer = yield Interrupt("approval", {"question": f"May I {action}?", "action": action})
    return {"action": action, "approved": answer["approved"], "reason": answer.get("reason", "")}


def _failing(input: JsonObject, config: JsonObject, context: AgentContext) -> JsonObject:
    description = input.get("description", "this agent always fails")
    if input.get("timeout", False):
        raise TimeoutError(description)
    raise AgentError(input.get("errcode", 1), description)


def _slow(input: JsonObject, config: JsonObject, context: AgentContext) -> JsonObject:
    seconds = input.get("seconds", 1)
    context.sleep(seconds)
    return {"slept": seconds}


_builtin = partial(AgentDefinition, version="1.0.0")

BUILTIN_AGENTS: tuple[AgentDefinition, ...] = (
    _builtin(
        function=_echo,
        name="echo",
        description="Returns its input; on a thread, counts the turns in the thread's state.",
        agent_id=ECHO_AGENT_ID,
        thread_state=_schema(turns="integer", last_input="object"),
    ),
    _builtin(
        function=_counter,
        name="counter",
        description="Counts to `count`, one update every `interval` seconds.",
        agent_id=COUNTER_AGENT_ID,
        input=_schema(count="integer", interval="number"),
        output=_schema(("count", "of"), count="integer", of="integer"),
        custom_streaming_update=_schema(("count", "of"), count="integer", of="integer"),
    ),
    _builtin(
        function=_approval,
        name="approval",
        description="Asks whether it may do `action`, and returns the answer.",
        agent_id=APPROVAL_AGENT_ID,
        input=_schema(action="string"),
        output=_schema(("approved",), action="string", approved="boolean", reason="string"),
        interrupts=(
            InterruptSpec(
                "approval",
                interrupt_payload=_schema(("question",), question="string", action="string"),
                resume_payload=_schema(("approved",), approved="boolean", reason="string"),
            ),
        ),
    ),
    _builtin(
        function=_failing,
        name="failing",
        description="Ends in error with `errcode` and `description`, or in timeout if asked to.",
        agent_id=FAILING_AGENT_ID,
        input=_schema(errcode="integer", description="string", timeout="boolean"),
    ),
    _builtin(
        function=_slow,
        name="slow",
        description="Sleeps for `seconds`, then returns; a deleted run wakes it.",
        agent_id=SLOW_AGENT_ID,
        input=_schema(seconds="number"),
        output=_schema(("slept",), slept="number"),
    ),
)
