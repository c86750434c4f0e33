"""What the client does at servers with quirks: agents, runs and batches as a script uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.timing import SetTiming

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    Configuration,
    NotFoundException,
    RunFailed,
    RunResult,
    RunWaitTimeout,
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


@contextmanager
def serving(quirks: Quirks) -> Iterator[tuple[LocalServer, Callable[[str], AgentHandle]]]:
    with (
        LocalServer(quirks=quirks, ping=0.05) as server,
        ApiClient(Configuration(host=server.url)) as client,
    ):
        yield server, lambda agent_id: AgentHandle(agent_id, client)


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

    def test_a_result(self, quirks: Quirks) -> None:
        with serving(quirks) as (_, agent):
            assert agent(SLOW_AGENT_ID).run({"seconds": 0.3}, timeout=10) == {"slept": 0.3}

    def test_an_output_that_is_waited_for(self, quirks: Quirks) -> None:
        with serving(quirks) as (_, agent):
            slow = agent(SLOW_AGENT_ID)
            run = slow.start({"seconds": 0.3})
            output = wait_for_run_output(slow.runs, run.run_id, timeout=10)
            assert isinstance(output.actual_instance, RunResult)
            assert run.drive(lambda question: {}, timeout=10) == {"slept": 0.3}

    @pytest.mark.slow
    def test_events_or_the_result(self, quirks: Quirks) -> None:
        with serving(quirks) as (_, agent):
            run = agent(COUNTER_AGENT_ID).start({"interval": 0.05}, streaming="custom")
            events = [event.update or event.result for event in run.events(timeout=10)]
            assert events[-1] == {"count": 3, "of": 3}
            assert len(events) == (1 if "get_run_stream" in quirks.lacks else 3)

    def test_a_batch(self, quirks: Quirks) -> None:
        with serving(quirks) as (server, agent):
            inputs = [{"n": n} for n in range(6)]
            with agent(ECHO_AGENT_ID).map(inputs, concurrency=3, timeout=10) as batch:
                assert sorted(item.result()["n"] for item in batch) == list(range(6))
            assert len(server.runs) == 6


@pytest.mark.slow
@pytest.mark.parametrize("updated_at", ["seconds", "naive", "year 1"])
def test_questions_are_answered_whatever_the_times_say(updated_at: Any) -> None:
    with serving(Quirks(updated_at=updated_at)) as (_, agent):
        result = agent(APPROVAL_AGENT_ID).run(
            {"action": "act"}, on_interrupt=lambda question: {"approved": True}, timeout=10
        )
        assert result["approved"] is True


def test_an_agent_is_found_by_its_name_alone() -> None:
    with serving(Quirks(agents_by_name=True)) as (_, agent):
        client = agent(ECHO_AGENT_ID).runs.api_client
        assert AgentHandle.find("echo", api_client=client).agent_id == ECHO_AGENT_ID


def test_an_unknown_agent_is_not_found() -> None:
    with serving(Quirks(unknown_agent=500)) as (_, agent), pytest.raises(NotFoundException):
        agent("nobody").start(timeout=5)


def test_a_run_that_failed_may_succeed_later() -> None:
    calls: list[int] = []

    def second_time_lucky(input: Any, config: Any, context: Any) -> dict[str, int]:
        calls.append(1)
        if len(calls) < 2:
            raise ValueError("not yet")
        return {"calls": len(calls)}

    with serving(Quirks(attempts=2)) as (server, agent):
        run = agent(server.register(second_time_lucky, name="lucky")).start()
        with pytest.raises(RunFailed, match="not yet"):
            run.result(timeout=10)
        while True:
            try:
                assert run.result(timeout=10) == {"calls": 2}
                break
            except RunFailed:
                continue


def test_events_whose_ids_were_swallowed() -> None:
    with serving(Quirks(bare_comments=True)) as (_, agent):
        run = agent(COUNTER_AGENT_ID).start({"interval": 0.12}, streaming="custom")
        events = run.events(timeout=10)
        assert [event.update and event.update["count"] for event in events] == [1, 2, 3]
        assert events.gaps == []


def test_a_question_that_ends_as_success_is_a_result_without_it() -> None:
    with serving(Quirks(interrupts_succeed=True)) as (_, agent):
        asked = agent(APPROVAL_AGENT_ID).run({"action": "act"}, timeout=10)
        assert asked == {"action": "act"}


@pytest.mark.slow
def test_a_run_that_a_restart_left_pending_is_waited_for() -> None:
    with serving(Quirks(on_restart="hangs")) as (server, agent):
        run = agent(SLOW_AGENT_ID).start({"seconds": 0.1})
        server.restart(pause=0.2)
        with pytest.raises(RunWaitTimeout):
            run.result(timeout=1)
        assert run.cancel()
