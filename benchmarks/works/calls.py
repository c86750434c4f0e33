"""Whole calls on loopback: get_run, search_runs, and many threads on one client.

By hand is ``urllib3.PoolManager().request(...)`` with the same headers, and a ``TypeAdapter`` of
plain models for the response.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3

from acp_client_v0_1 import ApiClient, Configuration, RunsApi, RunSearchRequest

from .. import peers
from ..measure import BY_HAND, OURS, STOCK, Budget, Contestants, Job, Work, over
from ..samples import AGENT_ID, RUN_ID, RUN_JSON, plain_run, plain_runs, runs_json
from ..server import json_response, serving

THREADS = 16
TOKEN = "token"
HEADERS = {
    "Accept": "application/json",
    "User-Agent": "acp_client_v0_1/0/python",
    "Authorization": f"Bearer {TOKEN}",
}
JSON_HEADERS = {**HEADERS, "Content-Type": "application/json"}
SEARCH: dict[str, Any] = {"agent_id": AGENT_ID, "limit": 1000}
HTTPX = "httpx + pydantic"

Request = Callable[[str, str, Any], bytes]
"""Sends method, path and JSON content by hand; gives the content of the response."""


@dataclass(frozen=True, slots=True)
class Clients:
    """One client of each kind, for the same host; None for those that are not there."""

    ours: RunsApi
    stock: Any
    by_hand: Request
    httpx: Request | None

    def jobs(
        self, ours: Job, stock: Callable[[], object], by_hand: Callable[[Request], object]
    ) -> Contestants:
        """Name the jobs, each a call."""
        jobs: Contestants = {OURS: ours, BY_HAND: lambda: by_hand(self.by_hand)}
        if self.stock is not None:
            jobs[STOCK] = stock
        if (request := self.httpx) is not None:
            jobs[HTTPX] = lambda: by_hand(request)
        return jobs


@contextmanager
def clients(host: str, pool_size: int = 1) -> Iterator[Clients]:
    """Open the clients."""
    configuration = Configuration(host=host, access_token=TOKEN)
    configuration.connection_pool_maxsize = max(pool_size, 4)
    manager = urllib3.PoolManager(maxsize=pool_size, block=True)
    with ApiClient(configuration) as client, httpx_request(host) as httpx:
        yield Clients(
            ours=RunsApi(client),
            stock=stock_runs(host, pool_size),
            by_hand=by_hand(host, manager),
            httpx=httpx,
        )
    manager.clear()


def by_hand(host: str, manager: urllib3.PoolManager) -> Request:
    """Requests as one writes them with urllib3."""

    def request(method: str, path: str, content: Any) -> bytes:
        if content is None:
            return manager.request(method, host + path, headers=HEADERS).data
        body = json.dumps(content)
        return manager.request(method, host + path, headers=JSON_HEADERS, body=body).data

    return request


@contextmanager
def httpx_request(host: str) -> Iterator[Request | None]:
    """Requests as one writes them with httpx, None where it is not installed."""
    if (modules := peers.find("httpx")) is None:
        yield None
        return
    with modules[0].Client(base_url=host, headers=HEADERS) as client:

        def request(method: str, path: str, content: Any) -> bytes:
            body: bytes = client.request(method, path, json=content).content
            return body

        yield request


def stock_runs(host: str, pool_size: int) -> Any:
    """The stock client's RunsApi, None where it is not there."""
    if (stock := peers.stock()) is None:
        return None
    configuration = stock.Configuration(host=host)
    configuration.connection_pool_maxsize = max(pool_size, 4)
    client = stock.ApiClient(configuration)
    client.set_default_header("Authorization", HEADERS["Authorization"])
    return stock.RunsApi(client)


def times(count: int, jobs: Contestants) -> Contestants:
    """Have each job done many times, so that the clock is fine enough."""

    def repeated(job: Job) -> Job:
        def work() -> None:
            for _ in range(count):
                job()

        return work

    return {name: repeated(job) for name, job in jobs.items()}


@contextmanager
def get_run(count: int) -> Iterator[Contestants]:
    """One run, by its id."""
    with serving({f"/runs/{RUN_ID}": json_response(RUN_JSON)}) as host, clients(host) as each:
        yield times(count, get_run_jobs(each))


def get_run_jobs(each: Clients) -> Contestants:
    """The call, by each client."""
    return each.jobs(
        ours=lambda: each.ours.get_run(RUN_ID),
        stock=lambda: each.stock.get_run(RUN_ID),
        by_hand=lambda request: plain_run(request("GET", f"/runs/{RUN_ID}", None)),
    )


@contextmanager
def search_runs(runs: int, count: int) -> Iterator[Contestants]:
    """A search that finds this many runs."""
    responses = {"/runs/search": json_response(runs_json(runs))}
    with serving(responses) as host, clients(host) as each:
        stock = peers.stock()
        jobs = each.jobs(
            ours=lambda: each.ours.search_runs(RunSearchRequest(**SEARCH)),
            stock=lambda: stock and each.stock.search_runs(stock.RunSearchRequest(**SEARCH)),
            by_hand=lambda request: plain_runs(request("POST", "/runs/search", SEARCH)),
        )
        yield times(count, jobs)


@contextmanager
def threads(count: int) -> Iterator[Contestants]:
    """Many threads share one client of each kind."""
    responses = {f"/runs/{RUN_ID}": json_response(RUN_JSON)}
    with (
        serving(responses) as host,
        clients(host, THREADS) as each,
        ThreadPoolExecutor(THREADS) as pool,
    ):

        def shared(job: Job) -> Job:
            return lambda: list(pool.map(lambda _: job(), range(THREADS)))

        jobs = times(count // THREADS, get_run_jobs(each))
        yield {name: shared(job) for name, job in jobs.items()}


def call_work(
    name: str,
    title: str,
    count: int,
    rounds: int,
    make: Callable[[], Any],
    limit: float | None = None,
) -> Work:
    """A work whose unit is a call."""
    ratio = Budget(f"{title}, over by hand", over(OURS, BY_HAND), limit or 0)
    return Work(
        name=name,
        title=f"{title}; by hand: PoolManager and TypeAdapter",
        unit="µs per call",
        scale=1e6 / count,
        rounds=rounds,
        make=make,
        budgets=() if limit is None else (ratio,),
    )


WORKS = [
    call_work("get_run", "get_run", 200, 40, lambda: get_run(200), 1.0),
    call_work(
        "search_1000", "search_runs, 1,000 runs", 5, 30, lambda: search_runs(1000, 5), limit=1.15
    ),
    call_work(
        "threads", f"get_run in {THREADS} threads on one client", 480, 15, lambda: threads(480)
    ),
]
