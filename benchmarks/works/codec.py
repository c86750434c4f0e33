"""Decoding and encoding alone: a response's bytes to models, and a model to a request's content.

By hand is pydantic's ``validate_json`` on plain models, and ``json.dumps`` of the same dictionary.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from urllib3 import HTTPHeaderDict

from acp_client_v0_1 import RunCreate
from acp_client_v0_1._decoding import decode
from acp_client_v0_1._operation import Operation
from acp_client_v0_1.api.runs_api import _CREATE_RUN, _GET_RUN, _GET_RUN_OUTPUT, _SEARCH_RUNS

from .. import peers
from ..measure import BY_HAND, OURS, STOCK, Budget, Contestants, Work, over
from ..samples import (
    AGENT_ID,
    LARGE_INPUT,
    OUTPUT_JSON,
    RUN_JSON,
    plain_output,
    plain_run,
    plain_runs,
    runs_json,
)
from .calls import times

Make = Callable[[int], AbstractContextManager[Contestants]]
"""Sets up jobs, each of which does its work so many times."""


class Received:
    """What `decode` needs of a response."""

    status, reason, method, url = 200, "OK", "GET", "http://localhost/"
    headers = HTTPHeaderDict({"Content-Type": "application/json"})

    def __init__(self, data: bytes) -> None:
        self.data = data


def decoding(
    content: bytes, plain: Callable[[bytes], object], operation: Operation[Any], stock_type: str
) -> Make:
    """Decode the same bytes by each."""

    @contextmanager
    def make(count: int) -> Iterator[Contestants]:
        received: Any = Received(content)
        jobs: Contestants = {
            OURS: lambda: decode(received, operation),
            BY_HAND: lambda: plain(content),
        }
        if (stock := peers.stock()) is not None:
            client, text = stock.ApiClient(), content.decode()
            jobs[STOCK] = lambda: client.deserialize(text, stock_type, "application/json")
        yield times(count, jobs)

    return make


@contextmanager
def encoding(count: int) -> Iterator[Contestants]:
    """Encode a run's creation with a large input."""
    fields: dict[str, Any] = {"agent_id": AGENT_ID, "input": LARGE_INPUT}
    creation = RunCreate(**fields)
    jobs: Contestants = {
        OURS: lambda: _CREATE_RUN.bind((creation,)),
        BY_HAND: lambda: json.dumps(fields),
    }
    if (stock := peers.stock()) is not None:
        client, theirs = stock.ApiClient(), stock.RunCreate(**fields)
        jobs[STOCK] = lambda: json.dumps(client.sanitize_for_serialization(theirs))
    yield times(count, jobs)


def work(name: str, title: str, count: int, make: Make, limit: float | None) -> Work:
    """A work of the codec, done so many times a round; `limit` is that over by hand."""
    budget = Budget(f"{title}, over by hand", over(OURS, BY_HAND), limit or 0)
    budgets = () if limit is None else (budget,)
    return Work(name, title, "µs each", 1e6 / count, 20, lambda: make(count), budgets)


_RUN = decoding(RUN_JSON, plain_run, _GET_RUN, "Run")
_RUNS = decoding(runs_json(1000), plain_runs, _SEARCH_RUNS, "List[Run]")
_OUTPUT = decoding(OUTPUT_JSON, plain_output, _GET_RUN_OUTPUT, "RunOutput")

WORKS = [
    work("decode_run", "decode a Run", 2_000, _RUN, None),
    work("decode_runs", "decode 1,000 runs", 5, _RUNS, 1.15),
    work("decode_output", "decode a RunOutput", 4_000, _OUTPUT, 1.5),
    work("encode", "encode a RunCreate with an input of 100 KB", 20, encoding, 1.0),
]
