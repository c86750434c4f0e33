"""The layer of agents and runs, over the operations that it is made of.

Bare is ``create_run`` and one ``get_run_output``, or ``get_run_stream``, by the same client.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration, RunCreate, RunHandle, RunsApi
from acp_client_v0_1.handles._marks import CLIENT_TOKEN_KEY

from ..measure import OURS, Budget, Contestants, Work, over
from ..samples import AGENT_ID, OUTPUT_JSON, RUN, RUN_ID, RUN_JSON, event, small_update
from ..server import MARK, json_response, serving, stream_response
from .calls import times

BARE = "bare operations"
BY_HAND = "validated by hand"
CALLS = 100
EVENTS = 10_000
INPUT = {"question": "why?"}
MADE = {**RUN, "creation": {**RUN["creation"], "metadata": {CLIENT_TOKEN_KEY: MARK}}}
RESPONSES = {
    "/runs": json_response(json.dumps(MADE).encode()),
    f"/runs/{RUN_ID}/output?block_timeout=30": json_response(OUTPUT_JSON),
}


@contextmanager
def results() -> Iterator[Contestants]:
    """Start a run and wait for its result."""
    with serving(RESPONSES) as host, ApiClient(Configuration(host=host)) as client:
        agent, runs = AgentHandle(AGENT_ID, client), RunsApi(client)

        def bare() -> None:
            mark = {CLIENT_TOKEN_KEY: uuid.uuid4().hex}  # the same requests
            run = runs.create_run(RunCreate(agent_id=AGENT_ID, input=INPUT, metadata=mark))
            runs.get_run_output(run.run_id, block_timeout=30)

        yield times(CALLS, {OURS: lambda: agent.start(INPUT).result(), BARE: bare})


@contextmanager
def followed() -> Iterator[Contestants]:
    """Read a stream of updates to its end, one event per chunk."""
    events = (event(number, small_update(number)) for number in range(1, EVENTS + 1))
    responses = {
        f"/runs/{RUN_ID}": json_response(RUN_JSON),
        f"/runs/{RUN_ID}/stream": stream_response(events),
    }
    with serving(responses) as host, ApiClient(Configuration(host=host)) as client:
        runs = RunsApi(client)

        def ours() -> None:
            for _ in RunHandle(RUN_ID, client).events():
                pass

        def bare() -> None:
            for _ in runs.get_run_stream(RUN_ID):
                pass

        yield {OURS: ours, BARE: bare}


class Question(BaseModel):
    question: str
    language: str | None = None


class Answer(BaseModel):
    answer: str


@contextmanager
def typed() -> Iterator[Contestants]:
    """Start a run with a model, and wait for its result as a model."""
    with serving(RESPONSES) as host, ApiClient(Configuration(host=host)) as client:
        agent = AgentHandle(AGENT_ID, client)
        models = agent.typed(Question, Answer)

        def ours() -> None:
            models.start(Question(question="why?")).result()

        def by_hand() -> None:
            given = Question(question="why?").model_dump(mode="json", exclude_unset=True)
            Answer.model_validate(agent.start(given).result())

        yield times(CALLS, {OURS: ours, BY_HAND: by_hand})


WORKS = [
    Work(
        name="handle_result",
        title="a run's result by AgentHandle; bare: create_run and get_run_output",
        unit="µs per run",
        scale=1e6 / CALLS,
        rounds=40,
        make=results,
        budgets=(Budget("a run's result, over bare operations", over(OURS, BARE), 1.13),),
    ),
    Work(
        name="handle_typed",
        title="a run's result of a typed AgentHandle; by hand: model_dump and model_validate",
        unit="µs per run",
        scale=1e6 / CALLS,
        rounds=40,
        make=typed,
        budgets=(Budget("a typed result, over validating by hand", over(OURS, BY_HAND), 1.1),),
    ),
    Work(
        name="handle_events",
        title="a run's updates by RunHandle.events; bare: get_run_stream",
        unit="µs per event",
        scale=1e6 / EVENTS,
        rounds=31,
        make=followed,
        budgets=(Budget("a run's updates, over a bare stream", over(OURS, BARE), 1.15),),
    ),
]
