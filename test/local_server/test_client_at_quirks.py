"""What the client does at servers with quirks: agents, runs and batches as a script uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.timing import SetTiming
from support.transport import eventually

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    Configuration,
    RunFailed,
    RunResult,
    wait_for_run_output,
)
from acp_client_v0_1.testing import (
    APPROVAL_AGENT_ID,
    COUNTER_AGENT_ID,
    ECHO_AGENT_ID,
    SLOW_AGENT_ID,
    LocalServer,
    Quirks,
)

At = Callable[..., tuple[LocalServer, AgentHandle]]


@pytest.fixture
def at(serve: Callable[..., Any]) -> Iterator[At]:
    """Give a server with some quirks, and a handle of one of its agents."""
    with ExitStack() as stack:

        def start(quirks: Quirks, agent: Any) -> tuple[LocalServer, AgentHandle]:
            server = serve(quirks=quirks, ping=0.05).server
            client = stack.enter_context(ApiClient(Configuration(host=server.url)))
            agent_id = agent if isinstance(agent, str) else server.register(agent)
            return server, AgentHandle(agent_id, client)

        yield start


# The real servers have most quirks: another echo of a create, other times, another media type.
RUNS = {
    "404 for search and stream": Quirks(lacks={"search_runs": 404, "get_run_stream": 404}),
    "workflow-srv": Quirks.of("workflow-srv"),
    "acp-proxy": Quirks.of("acp-proxy"),
}


@pytest.mark.parametrize("quirks", RUNS.values(), ids=RUNS)
class TestRuns:
    @pytest.fixture(autouse=True)
    def runs_are_soon_old(self, set_timing: SetTiming) -> None:
        """After that, a 404 is no longer one of a read replica."""
        set_timing(young=0.05)

    def test_a_result_and_an_output_are_waited_for(self, at: At, quirks: Quirks) -> None:
        _, slow = at(quirks, SLOW_AGENT_ID)
        run = slow.start({"seconds": 0.3})
        output = wait_for_run_output(slow.runs, run.run_id, timeout=10)
        assert isinstance(output.actual_instance, RunResult)
        assert run.drive(lambda question: {}, timeout=10) == {"slept": 0.3}
        assert slow.run({"seconds": 0.3}, timeout=10) == {"slept": 0.3}

    @pytest.mark.slow
    def test_events_or_the_result(self, at: At, quirks: Quirks) -> None:
        run = at(quirks, COUNTER_AGENT_ID)[1].start({"interval": 0.05}, streaming="custom")
        events = [event.update or event.result for event in run.events(timeout=10)]
        assert events[-1] == {"count": 3, "of": 3}
        assert len(events) == (1 if "get_run_stream" in quirks.lacks else 3)

    def test_a_batch(self, at: At, quirks: Quirks) -> None:
        server, echo = at(quirks, ECHO_AGENT_ID)
        with echo.map([{"n": n} for n in range(6)], concurrency=3, timeout=10) as batch:
            assert sorted(item.result()["n"] for item in batch) == list(range(6))
        assert len(server.runs) == 6


@pytest.mark.slow
@pytest.mark.parametrize("updated_at", ["seconds", "naive", "year 1"])
def test_questions_are_answered_whatever_the_times_say(at: At, updated_at: Any) -> None:
    _, agent = at(Quirks(updated_at=updated_at), APPROVAL_AGENT_ID)
    result = agent.run({}, on_interrupt=lambda question: {"approved": True}, timeout=10)
    assert result["approved"] is True


def test_a_run_that_failed_may_succeed_later(at: At) -> None:
    calls: list[int] = []

    def second_time_lucky(input: Any, config: Any, context: Any) -> dict[str, int]:
        calls.append(1)
        if len(calls) < 2:
            raise ValueError("not yet")
        return {"calls": len(calls)}

    server, agent = at(Quirks(attempts=2), second_time_lucky)
    run = agent.start()
    with pytest.raises(RunFailed, match="not yet"):
        run.result(timeout=10)
    assert eventually(lambda: server.runs[0]["status"] == "success", 10)
    assert run.result(timeout=10) == {"calls": 2}


def test_events_whose_ids_were_swallowed(at: At) -> None:
    _, agent = at(Quirks(bare_comments=True), COUNTER_AGENT_ID)
    events = agent.start({"interval": 0.12}, streaming="custom").events(timeout=10)
    assert [event.update and event.update["count"] for event in events] == [1, 2, 3]
    assert events.gaps == []
