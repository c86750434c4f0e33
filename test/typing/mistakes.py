"""Mistakes that a type checker finds before the program runs.

mypy --strict reads this file with `warn_unused_ignores`: each line below is an error, of exactly
the kind that its comment names, or the comment itself is one.
"""

from __future__ import annotations

from acp_client_v0_1 import (
    AgentHandle,
    AgentRef,
    AgentSearchRequest,
    Configuration,
    RunCreate,
    RunOutputStream,
    RunsApi,
    RunSearchRequest,
    ThreadsApi,
)


def mistakes(runs: RunsApi, threads: ThreadsApi) -> None:
    RunCreate()  # type: ignore[call-arg]
    RunCreate(agent="a")  # type: ignore[call-arg]
    RunCreate(agent_id=1)  # type: ignore[arg-type]
    RunCreate(agent_id="a", input="Hello")  # type: ignore[arg-type]
    RunCreate.from_dict(None)  # type: ignore[arg-type]
    RunCreate.from_dict("{}")  # type: ignore[arg-type]
    RunCreate(agent_id="a", streaming="both")  # type: ignore[arg-type]
    RunSearchRequest(status="done")  # type: ignore[arg-type]
    RunSearchRequest(limit="10")  # type: ignore[arg-type]
    AgentSearchRequest(nam="echo")  # type: ignore[call-arg]
    AgentSearchRequest(limit="10")  # type: ignore[arg-type]
    AgentRef(name="echo")  # type: ignore[call-arg]
    AgentRef("echo", "1.0.0")  # type: ignore[call-arg]
    Configuration(hots="http://localhost")  # type: ignore[call-arg]
    agent = AgentHandle("a")
    agent.start({}, confg={})  # type: ignore[call-arg]
    agent.start({}, webhook=1)  # type: ignore[arg-type]
    agent.run({}, streaming=True)  # type: ignore[arg-type]
    agent.map([{}], concurency=2)  # type: ignore[call-arg]
    agent.map([{}], concurrency="2")  # type: ignore[arg-type]
    agent.conversation().start({}, config="{}")  # type: ignore[arg-type]
    runs.get_run(1)  # type: ignore[arg-type]
    runs.get_run("r", timeout=5)  # type: ignore[call-arg]
    runs.get_run_output("r", block_timeout="10")  # type: ignore[arg-type]
    runs.get_run_output("r").actual_instance  # type: ignore[union-attr]  # noqa: B018
    runs.resume_run("r")  # type: ignore[call-arg]
    runs.resume_run("r", [True])  # type: ignore[arg-type]
    runs.create_run("a")  # type: ignore[arg-type]
    runs.create_run(None)  # type: ignore[arg-type]
    runs.search_runs({1: "limit"})  # type: ignore[dict-item]
    runs.create_thread  # type: ignore[attr-defined]  # noqa: B018
    threads.get_thread_state("t").get_state  # type: ignore[attr-defined]  # noqa: B018
    event: RunOutputStream = runs.get_run_stream("r")  # type: ignore[assignment]
    event.data.result  # type: ignore[attr-defined]  # noqa: B018
