"""The server against the contract, by schemathesis: what it sends fits, what is wrong is refused.

Generated ids alone never name an agent, run or thread that exists, so most of the valid requests
are given ids that do, and each operation is seen to succeed and to refuse. Everything is
derandomized: the same checkout sends the same requests.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of
from support.parts import OPERATIONS

from acp_client_v0_1.testing import APPROVAL_AGENT_ID, BUILTIN_AGENTS, ECHO_AGENT_ID, LocalServer

CONTRACT = Path(__file__).resolve().parent.parent.parent / "openapi.yaml"


def contract() -> dict[str, Any]:
    """The contract, in which a stream's event says that its data comes as text; ids are not empty.

    The contract gives the event as the client's caller sees it, `data` decoded. schemathesis looks
    at the event as it came, so it has to be told what is inside the text. An empty id can only be
    a mistake, so the local server refuses it although the contract has no bound.
    """
    document: dict[str, Any] = yaml.safe_load(CONTRACT.read_text("utf-8"))
    event = document["components"]["schemas"]["RunOutputStream"]["properties"]
    content = {"type": "string", "contentMediaType": "application/json"}
    event["data"] = {**content, "contentSchema": event["data"]}
    for schema in document["components"]["schemas"].values():
        for name, properties in schema.get("properties", {}).items():
            if name in ("agent_id", "run_id", "thread_id"):
                properties["minLength"] = 1
    return document


@cache
def operations() -> dict[str, Any]:
    """The operations by method and path, read by the one process that needs them."""
    import schemathesis

    config = schemathesis.Config.from_dict({"seed": 1, "generation": {"mode": "all"}})
    schema = schemathesis.openapi.from_dict(contract(), config=config)
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


LABELS = [f"{method} {path}" for _, method, path in OPERATIONS.values()]


@pytest.fixture
def known(server: LocalServer) -> dict[str, list[str]]:
    """Ids that exist: the agents, runs in most statuses, threads."""
    with urllib3.PoolManager() as pool:

        def create(kind: str, **body: Any) -> str:
            created: dict[str, str] = pool.request("POST", f"{server.url}/{kind}", json=body).json()
            return created["run_id" if kind == "runs" else "thread_id"]

        threads = [create("threads", agent_id=ECHO_AGENT_ID) for _ in range(3)]
        ended = [create("runs", agent_id=ECHO_AGENT_ID, thread_id=thread) for thread in threads]
        asking = [create("runs", agent_id=APPROVAL_AGENT_ID) for _ in range(3)]
        others = [create("runs", agent_id=a.agent_id, streaming="result") for a in BUILTIN_AGENTS]
        for run_id in ended + asking:
            pool.request("GET", f"{server.url}/runs/{run_id}/output?block_timeout=5")
    agents = [agent.agent_id for agent in BUILTIN_AGENTS]
    return {"agent_id": agents, "run_id": ended + asking + others, "thread_id": threads}


def led_to_what_exists(case: Any, known: dict[str, list[str]], turn: int) -> None:
    if case.meta is None or case.meta.generation.mode.value != "positive":
        return
    places = [case.path_parameters]
    if case.operation.method == "post" and isinstance(case.body, dict):
        places.append(case.body)
    for place in places:
        for name in place.keys() & known.keys() if turn % 4 else ():
            place[name] = known[name][turn % len(known[name])]
    if case.operation.label == "POST /runs/{run_id}" and turn % 4:
        case.body = {"approved": True}
        case.path_parameters["run_id"] = known["run_id"][3 + turn % 3]


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_every_response_fits_the_contract(label, server, known):
    from schemathesis import GenerationMode

    operation = operations()[label]
    seen: set[int] = set()

    @settings(
        max_examples=20 if label == "POST /runs" else 10,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)))
    def check(case: Any) -> None:
        led_to_what_exists(case, known, len(server.requests))
        response = case.call(base_url=server.url)
        seen.add(response.status_code)
        case.validate_response(response)

    check()
    assert 200 in seen
    assert seen & {404, 422}


def test_every_operation_is_looked_at():
    assert operations().keys() == {*LABELS}
