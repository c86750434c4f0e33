"""`repeatable_tokens`: the client tokens of a script are the same each time it runs."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import ECHO_AGENT_ID, LocalServer, repeatable_tokens

UUID4 = re.compile("[0-9a-f]{12}4[0-9a-f]{3}a[0-9a-f]{15}")


def tokens_of(script: Callable[[acp.AgentHandle], object]) -> list[tuple[str, str, str]]:
    """Run a script; give the input, the client token and the mark of the batch of each create."""
    with LocalServer() as server, acp.ApiClient(acp.Configuration(host=server.url)) as client:
        script(acp.AgentHandle(ECHO_AGENT_ID, client))
        bodies = [
            json.loads(request.body)
            for request in server.requests
            if (request.method, request.path) == ("POST", "/runs")
        ]
    marks = ("acp-client-token", "acp-batch")
    return sorted(
        (json.dumps(body.get("input")), *(body["metadata"].get(mark, "") for mark in marks))
        for body in bodies
    )


def in_threads(echo: acp.AgentHandle) -> None:
    """Start runs of three inputs, each several times, in an order that is another each time."""
    inputs: list[dict[str, Any]] = [{"n": n % 3, "x": [1.5, None]} for n in range(18)]
    random.shuffle(inputs)

    def start(value: dict[str, Any]) -> None:
        time.sleep(random.random() / 100)
        echo.start(value, metadata={"job": "a"})

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(start, inputs))


def batches(echo: acp.AgentHandle) -> None:
    for _ in range(2):
        inputs = [{"n": n % 3} for n in range(12)]
        assert all(item.ok for item in echo.map(inputs, concurrency=6))


@pytest.mark.parametrize("script", [in_threads, batches])
def test_a_script_has_the_same_tokens_each_time_whatever_its_threads_do(script):
    plays = []
    for _ in range(3):
        with repeatable_tokens():
            plays.append(tokens_of(script))
    assert plays[0] == plays[1] == plays[2]
    tokens = [token for _, token, _ in plays[0]]
    assert len(set(tokens)) == len(tokens) == len(plays[0])
    assert script is batches or all(UUID4.fullmatch(token) for token in tokens)
    # The two batches are two, though they have the same inputs and options.
    assert len({mark for _, _, mark in plays[0]}) == (2 if script is batches else 1)


def test_a_token_depends_on_all_that_is_asked_for():
    def script(echo: acp.AgentHandle) -> None:
        echo.start({"n": 1})
        echo.start({"n": 2})
        echo.start({"n": 1}, config={"a": 1})
        echo.start({"n": 1}, metadata={"a": 1})
        echo.start({"n": 1}, client_token="mine")

    with repeatable_tokens():
        tokens = [token for _, token, _ in tokens_of(script)]
    assert len(set(tokens)) == 5 and "mine" in tokens


def test_the_order_of_equal_creates_counts_from_the_beginning_of_the_block():
    def twice(echo: acp.AgentHandle) -> None:
        echo.start({"n": 1})
        echo.start({"n": 1})

    with repeatable_tokens():
        first = tokens_of(twice)
        later = tokens_of(twice)
        with repeatable_tokens():
            inner = tokens_of(twice)
    assert inner == first and not {*first} & {*later}


def test_tokens_are_random_again_after_the_block():
    def once(echo: acp.AgentHandle) -> None:
        echo.start({"n": 1})

    with pytest.raises(KeyError), repeatable_tokens():
        known = tokens_of(once)
        raise KeyError
    assert known not in (tokens_of(once), tokens_of(once)) and tokens_of(once) != tokens_of(once)
