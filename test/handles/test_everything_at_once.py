"""Many failures at once, or a server that is away: nothing is lost, nothing comes twice."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from acp_client_v0_1 import AgentHandle, ApiClient, RunEvent
from acp_client_v0_1.testing import Fault, Interrupt, LocalServer

pytestmark = pytest.mark.load

RUNS = 15
QUESTIONS = 3
FAULTS = (
    Fault(method="POST", path="/runs", cut="close", after_wire_bytes=0, times=4),
    Fault(method="POST", path="/runs", status=503, late=0.3, times=4),
    Fault(method="POST", path="/runs/search", share=0.2, status=500, times=None),
    Fault(method="POST", path="/runs/*", share=0.3, cut="reset", after_wire_bytes=0, times=None),
    Fault(method="POST", path="/runs/*", share=0.1, status=429, retry_after=0, times=None),
    Fault(method="GET", path="/runs/*", share=0.2, status=500, times=None),
    Fault(path="/runs/*/output", share=0.2, cut="close", times=None),
    Fault(path="/runs/*/stream", share=0.3, cut="close", after_events=1, times=None),
    Fault(path="/runs/*/stream", share=0.1, status=503, times=None),
)


def asking(input: Any, config: Any, context: Any) -> Any:
    """An agent with an update and a question in turns; which answers it got is its result."""
    answers = []
    for number in range(QUESTIONS):
        yield {"number": number}
        answer = yield Interrupt("next", {"number": number})
        answers.append(answer["number"])
        context.sleep(0.05)
    return {"name": input["name"], "answers": answers}


def test_each_run_once_each_update_once_each_answer_once(
    server: LocalServer, client: ApiClient, counts: Any
) -> None:
    agent = AgentHandle(server.register(asking), client)
    server.faults.add(*FAULTS)
    outcomes: dict[str, Any] = {}
    updates: dict[str, list[Any]] = {f"run {number}": [] for number in range(RUNS)}

    def drive(name: str) -> None:
        def note(event: RunEvent) -> None:
            updates[name].append(event.update)

        run = agent.start({"name": name}, streaming="custom", timeout=60)
        outcomes[name] = run.drive(lambda question: question.payload, on_event=note, timeout=60)

    threads = [threading.Thread(target=drive, args=(name,)) for name in updates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = list(range(QUESTIONS))
    assert outcomes == {name: {"name": name, "answers": numbers} for name in updates}
    assert updates == {name: [{"number": number} for number in numbers] for name in updates}
    assert counts.creates == RUNS
    assert len([r for r in server.requests if r.path == "/runs" and r.fault]) == 8
