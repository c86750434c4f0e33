"""A user's script with types for inputs and results, and what a checker knows of them.

mypy --strict and pyright read it; it is never run. A line whose comment names an error must have
exactly that error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from typing_extensions import TypedDict, assert_type

import acp_client_v0_1 as acp


class Count(BaseModel):
    count: int


@dataclass
class Counted:
    count: int


class Member(TypedDict):
    count: int


def untyped(agent: acp.AgentHandle, run: acp.RunHandle, batch: acp.Batch) -> None:
    """Without `typed`, all is as it was."""
    assert_type(agent.run({}), dict[str, Any])
    assert_type(agent.run(Count(count=1))["count"], Any)
    assert_type(agent.start({}), acp.RunHandle)
    assert_type(agent.start({}).result(), dict[str, Any])
    assert_type(run.drive(lambda question: None), dict[str, Any])
    assert_type(agent.conversation(), acp.Conversation)
    assert_type(agent.conversation().run({}), dict[str, Any])
    assert_type(next(agent.map([{}, Count(count=1), None])), acp.BatchItem)
    assert_type(next(batch).result(), dict[str, Any])
    assert_type(next(batch).outcome, dict[str, Any] | Exception)
    assert_type(acp.AgentHandle.find("counter"), acp.AgentHandle)
    assert_type(acp.RunHandle.from_token("t"), acp.RunHandle)
    agent.run("text")  # type: ignore[arg-type]
    agent.run({}).count  # type: ignore[attr-defined]  # noqa: B018


def typed(agent: acp.AgentHandle, run: acp.RunHandle) -> None:
    counter = agent.typed(Count, Counted)
    assert_type(counter, acp.AgentHandle[Count, Counted])
    assert_type(counter.run(Count(count=1)), Counted)
    assert_type(counter.run({"count": 1}).count, int)
    assert_type(counter.start(Count(count=1)), acp.RunHandle[Counted])
    assert_type(counter.start().result(timeout=1), Counted)
    assert_type(counter.start().drive(lambda question: None), Counted)
    assert_type(counter.conversation(), acp.Conversation[Count, Counted])
    assert_type(counter.conversation().run(Count(count=1)), Counted)
    assert_type(counter.conversation().start(Count(count=1)).result(), Counted)
    with counter.map([Count(count=1)], journal="counts.jsonl") as batch:
        assert_type(batch, acp.Batch[Counted])
        for item in batch:
            assert_type(item, acp.BatchItem[Counted])
            assert_type(item.result(), Counted)
            assert_type(item.raw, dict[str, Any] | None)
    assert_type(agent.typed(result=Member).run({}), Member)
    assert_type(agent.typed(result=list[Count]).run({})[0], Count)
    assert_type(agent.typed(Count).run(Count(count=1)), dict[str, Any])
    assert_type(run.typed(Count), acp.RunHandle[Count])
    assert_type(run.typed(Count).result(), Count)
    assert_type(run.typed(Count).typed(None), acp.RunHandle)
    counter.run(Counted(1))  # type: ignore[arg-type]
    counter.run(1)  # type: ignore[arg-type]
    counter.run({}).total  # type: ignore[attr-defined]  # noqa: B018
    counter.map([1])  # type: ignore[list-item]
    counter.start(Counted(1))  # type: ignore[arg-type]
    counter.conversation().run(Counted(1))  # type: ignore[arg-type]
    print_untyped(next(counter.map([{}])))  # type: ignore[arg-type]
    print_untyped(counter.start({}))  # type: ignore[arg-type]
    run.typed(Count).result()["count"]  # type: ignore[index]


def print_untyped(given: acp.BatchItem | acp.RunHandle) -> None:
    print(given.result()["count"])
