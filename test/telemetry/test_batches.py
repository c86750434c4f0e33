"""The runs of a batch are children of the span that is current where the batch is iterated over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.batches import creates, wait_for
from support.spans import attributes

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration, instrument

CREATE = "POST /runs"


@pytest.fixture
def agent(client: ApiClient) -> AgentHandle:
    return AgentHandle.find("obedient", api_client=client)


@pytest.mark.slow
@pytest.mark.parametrize(("concurrency", "seconds"), [(4, 0.03), (40, 0.3)])
def test_each_item_is_a_child_of_the_callers_span(agent, spans, tracer, concurrency, seconds):
    with tracer.start_as_current_span("caller") as caller:
        inputs = ({"n": n, "seconds": seconds} for n in range(50))
        items = list(agent.map(inputs, concurrency=concurrency, timeout=60))
    assert len(items) == 50 and all(isinstance(item.outcome, dict) for item in items)
    runs = spans.named("invoke_agent obedient")
    assert {attributes(run)["acp.run.id"] for run in runs} == {item.run_id for item in items}
    for run in runs:
        assert run.parent == caller.get_span_context()
        assert attributes(run)["acp.run.status"] == "success"
        below = spans.children(run)
        assert below[0] == CREATE and below.count(CREATE) == 1
        assert set(below[1:]) == {"GET /runs/{run_id}/output"}
    for search in spans.named("POST /runs/search"):
        assert search.parent == caller.get_span_context()


def test_the_outcomes_of_items_are_those_of_their_spans(agent, spans):
    inputs = [{"n": 0}, {"n": 1, "fail": True}, {"n": 2, "ask": 1}]
    items = list(agent.map(inputs, timeout=60))
    runs = spans.named("invoke_agent")
    by_run = {attributes(run)["acp.run.id"]: attributes(run) for run in runs}
    ends = [by_run[item.run_id] for item in sorted(items, key=lambda item: item.index)]
    assert [end["acp.run.status"] for end in ends] == ["success", "error", "interrupted"]
    assert [end.get("error.type") for end in ends] == [None, "RunFailed", None]
    assert "as it was told" not in spans.text
    # Without a span of the caller, each run is a trace of its own.
    assert [run.parent for run in runs] == [None] * 3
    assert len({run.get_span_context().trace_id for run in runs}) == 3


@pytest.mark.slow
def test_a_batch_that_goes_on_has_a_span_for_each_run_that_it_waits_for(agent, spans, tmp_path):
    # The first one takes long enough for the second to be started.
    inputs = [{"n": n, "seconds": 0.5 + n / 2} for n in range(2)]
    journal = tmp_path / "journal"
    with agent.map(inputs, journal=journal, timeout=60) as batch:
        next(batch)
    list(agent.map(inputs, journal=journal, timeout=60))
    waited = [run for run in spans.named("invoke_agent") if attributes(run).get("acp.run.status")]
    assert [attributes(run)["acp.run.status"] for run in waited] == ["success", "success"]
    assert CREATE not in spans.children(waited[1])
    ids = [attributes(run)["acp.run.id"] for run in spans.named("invoke_agent")]
    assert ids.count(attributes(waited[1])["acp.run.id"]) == 2


def test_in_an_executor_the_runs_are_traces_of_their_own(agent, client, spans, tracer):
    def connect() -> ApiClient:
        worker = ApiClient(Configuration(host=client.configuration.host))
        instrument(worker, spans.provider)
        return worker

    with ThreadPoolExecutor(2) as pool, tracer.start_as_current_span("caller"):
        inputs = [{"n": n} for n in range(3)]
        items = list(agent.map(inputs, executor=pool, connect=connect, timeout=60))
    runs = spans.named("invoke_agent")
    assert [attributes(run)["acp.run.status"] for run in runs] == ["success"] * 3
    assert {attributes(run)["acp.run.id"] for run in runs} == {item.run_id for item in items}
    assert [run.parent for run in runs] == [None] * 3


@pytest.mark.slow
def test_a_batch_that_is_closed_ends_the_spans_of_its_runs(agent, server, spans):
    inputs = [{"n": n, "seconds": seconds} for n, seconds in enumerate((0.4, 60, 60))]
    with agent.map(inputs, on_stop="cancel") as batch:
        next(batch)
        wait_for(lambda: len(creates(server)) == 3)
    ends = [attributes(run)["acp.run.status"] for run in spans.named("invoke_agent")]
    assert sorted(ends) == ["cancelled", "cancelled", "success"]
