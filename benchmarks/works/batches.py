"""Batches: runs that end at once, thousands of runs of ten seconds, and a million inputs.

By hand is a pool of as many threads on the bare operations: ``create_run``, then
``get_run_output``. With asyncio and aiohttp, as many tasks send the same requests and read their
JSON. The server is the local ACP server, in a process of its own; a stand-in that makes no request
takes its place for the million. What counts memory, or runs long, does so in a fresh process, which
prints what it measured as JSON.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from acp_client_v0_1 import AgentHandle, ApiClient, Configuration, Run, RunOutput, RunsApi
from acp_client_v0_1.testing import AgentContext, LocalServer

from .. import peers
from ..measure import (
    BY_HAND,
    OURS,
    Budget,
    Contestants,
    Job,
    Work,
    cpu_seconds,
    elsewhere,
    figures_of,
    of,
    over,
    returned,
)
from ..peak import growth_mib
from ..samples import RUN_JSON

RUNS = 2_000
MANY_RUNS = 10_000
THREADS = 32
TASKS = 50
SECONDS = 10.0
MILLION = 1_000_000
PART = 100_000

AIOHTTP = "asyncio + aiohttp"
WALL, WALL_BY_HAND, WALL_AIOHTTP = f"{OURS}: wall", f"{BY_HAND}: wall", f"{AIOHTTP}: wall"
REQUESTS, CONNECTIONS = "requests per run", "connections at a time"
MOST_THREADS = "threads at a time"
MEMORY, RATIO = "growth of peak memory, MiB", "the last 100,000 over the first"


def sleeper(input: dict[str, Any], config: dict[str, Any], context: AgentContext) -> dict[str, Any]:
    """Sleep for as long as the input says."""
    if input["seconds"]:
        context.sleep(input["seconds"])
    return {"n": input["n"]}


def serve(there: Connection) -> None:
    """Serve the agent until the other end is closed; tell the counts when asked."""
    with LocalServer([]) as server:
        agent_id = server.register(sleeper, name="sleeper")
        there.send((server.url, agent_id))
        while there.recv() == "counts":
            there.send((len(server.requests), server.connections_accepted))


@contextmanager
def serving() -> Iterator[tuple[Connection, str, str]]:
    """Serve in a process of its own; gives the way to it, the server's URL and the agent's id."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    try:
        yield (here, *here.recv())
    finally:
        here.send("end")
        process.join(10)


def inputs(count: int, seconds: float) -> Iterator[dict[str, Any]]:
    """The inputs of a batch, one at a time."""
    return ({"n": n, "seconds": seconds} for n in range(count))


def by_map(agent: AgentHandle, count: int, concurrency: int) -> None:
    """What one writes with `map`."""
    for item in agent.map(inputs(count, 0), concurrency=concurrency):
        item.result()


def by_hand(runs: RunsApi, agent_id: str, count: int) -> None:
    """What one writes without `map`."""

    def run(given: dict[str, Any]) -> Any:
        made = runs.create_run({"agent_id": agent_id, "input": given})
        return runs.get_run_output(made.run_id, block_timeout=30)

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(run, inputs(count, 0)):
            pass


def with_aiohttp(aiohttp: ModuleType, url: str, agent_id: str, count: int) -> None:
    """What one writes with asyncio: tasks that share the inputs."""
    todo = inputs(count, 0)

    async def work(session: Any) -> None:
        for given in todo:
            create = {"agent_id": agent_id, "input": given}
            async with session.post("/runs", json=create) as response:
                made = await response.json()
            output = f"/runs/{made['run_id']}/output"
            async with session.get(output, params={"block_timeout": 30}) as response:
                await response.json()

    async def main() -> None:
        async with aiohttp.ClientSession(url, raise_for_status=True) as session:
            await asyncio.gather(*(work(session) for _ in range(TASKS)))

    asyncio.run(main())


def timed(jobs: Contestants) -> Contestants:
    """Jobs that give their CPU seconds, each followed by one that gives its wall seconds."""
    walls: dict[str, float] = {}

    def work(name: str, job: Job) -> float:
        start = time.perf_counter()
        cpu = cpu_seconds(job)
        walls[name] = time.perf_counter() - start
        return cpu

    both: Contestants = {}
    for name, job in jobs.items():
        both[name] = partial(work, name, job)
        both[f"{name}: wall"] = partial(walls.__getitem__, name)
    return both


@contextmanager
def instant(count: int) -> Iterator[Contestants]:
    """Runs that end at once, beside threads."""
    with serving() as (_, url, agent_id), ApiClient(Configuration(host=url)) as client:
        agent = AgentHandle(agent_id, client)
        yield timed(
            {
                OURS: lambda: by_map(agent, count, THREADS),
                BY_HAND: lambda: by_hand(agent.runs, agent_id, count),
            }
        )


@contextmanager
def beside_asyncio(count: int) -> Iterator[Contestants]:
    """Runs that end at once, beside asyncio."""
    with serving() as (_, url, agent_id), ApiClient(Configuration(host=url)) as client:
        agent = AgentHandle(agent_id, client)
        jobs: Contestants = {OURS: lambda: by_map(agent, count, TASKS)}
        if modules := peers.find("aiohttp"):
            jobs[AIOHTTP] = lambda: with_aiohttp(modules[0], url, agent_id, count)
        yield timed(jobs)


def slow_here(url: str, agent_id: str, count: int) -> dict[str, float]:
    """Have all runs under way at once, with the default client."""
    with ApiClient(Configuration(host=url)) as client:
        agent = AgentHandle(agent_id, client)
        list(agent.map(inputs(2, 0)))  # what is loaded and cached for good
        threads = 0

        def work() -> None:
            nonlocal threads
            for item in agent.map(inputs(count, SECONDS), concurrency=count):
                item.result()
                threads = max(threads, threading.active_count() - 1)  # beside this one

        start = time.perf_counter()
        growth = growth_mib(work)
        return {OURS: time.perf_counter() - start, MEMORY: growth, MOST_THREADS: float(threads)}


class StandIn(ApiClient):
    """Responds at once, without a server."""

    run = Run.from_json(RUN_JSON.decode())
    output = RunOutput.from_json(
        json.dumps({"type": "result", "run_id": "", "status": "success", "result": {}})
    )

    def call(self, operation: Any, arguments: Any, options: Any) -> Any:
        """Give what the operation would give."""
        return self.run if operation.method == "POST" else self.output


def million_here() -> dict[str, float]:
    """Run a million inputs against the stand-in."""
    agent = AgentHandle("a", StandIn(Configuration(host="http://stand-in")))
    list(agent.map(inputs(1000, 0)))
    parts: list[float] = []

    def work() -> None:
        start = time.process_time()
        for number, _ in enumerate(agent.map(inputs(MILLION, 0)), start=1):
            if number % PART == 0:
                parts.append(time.process_time() - start)
                start = time.process_time()

    growth = growth_mib(work)
    return {OURS: sum(parts) * 1e6 / MILLION, MEMORY: growth, RATIO: parts[-1] / parts[0]}


@contextmanager
def slow(count: int, *names: str) -> Iterator[Contestants]:
    """Runs of ten seconds, all at a time; gives the figures of these names."""
    with serving() as (server, url, agent_id):

        def figures() -> dict[str, float]:
            measured = elsewhere(__name__, "slow", url, agent_id, str(count))
            server.send("counts")
            requests, connections = map(float, server.recv())
            return {**measured, REQUESTS: requests / count, CONNECTIONS: connections}

        yield figures_of(figures, (OURS, *names))


@contextmanager
def million() -> Iterator[Contestants]:
    """A million inputs."""
    yield figures_of(lambda: elsewhere(__name__, "million"), (OURS, MEMORY, RATIO))


def batch_work(key: str, title: str, unit: str, rounds: int, make: Any, *budgets: Budget) -> Work:
    """A work whose jobs measure themselves."""
    return Work(key, title, unit, 1, rounds, make, budgets, returned)


_INSTANT = f"a batch of {RUNS:,} runs that end at once"
_SLOW = f"a batch of {RUNS:,} runs of {SECONDS:g} s"
_MANY = f"a batch of {MANY_RUNS:,} runs of {SECONDS:g} s"
_MILLION = "a batch of a million inputs"

WORKS = [
    batch_work(
        "batch_instant",
        f"{_INSTANT}; by hand: {THREADS} threads on create_run and get_run_output",
        "s",
        5,
        lambda: instant(RUNS),
        Budget(f"{_INSTANT}: CPU over by hand", over(OURS, BY_HAND), 1.10),
        Budget(f"{_INSTANT}: wall over by hand", over(WALL, WALL_BY_HAND), 1.10),
    ),
    batch_work(
        "batch_asyncio",
        f"{_INSTANT}, {TASKS} at a time, beside as many tasks of asyncio with aiohttp",
        "s",
        9,
        lambda: beside_asyncio(RUNS),
        Budget(f"{_INSTANT}: CPU over asyncio and aiohttp", over(OURS, AIOHTTP), 1.0),
        Budget(f"{_INSTANT}: wall over asyncio and aiohttp", over(WALL, WALL_AIOHTTP), 0.9),
    ),
    batch_work(
        "batch_slow",
        f"{_SLOW}, all at a time, with the default client",
        "s, or as named",
        1,
        lambda: slow(RUNS, REQUESTS, CONNECTIONS, MEMORY),
        Budget(f"{_SLOW}: wall", of(OURS), 13, unit="s"),
        Budget(f"{_SLOW}: requests per run", of(REQUESTS), 3.0),
        Budget(f"{_SLOW}: connections", of(CONNECTIONS), 64),
        Budget(f"{_SLOW}: growth of peak memory", of(MEMORY), 150, unit="MiB"),
    ),
    batch_work(
        "batch_many",
        f"{_MANY}, all at a time, with the default client",
        "s, or as named",
        1,
        lambda: slow(MANY_RUNS, MOST_THREADS, MEMORY),  # its server's log has an end
        Budget(f"{_MANY}: wall", of(OURS), 25, unit="s"),
        Budget(f"{_MANY}: threads", of(MOST_THREADS), 32),
    ),
    batch_work(
        "batch_million",
        f"{_MILLION} from a generator, against a stand-in",
        "µs per input, or as named",
        1,
        million,
        Budget(f"{_MILLION}: growth of peak memory", of(MEMORY), 60, unit="MiB"),
        Budget(f"{_MILLION}: the last 100,000 over the first", of(RATIO), 1.1),
    ),
]

if __name__ == "__main__":
    if sys.argv[1] == "slow":
        print(json.dumps(slow_here(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    else:
        print(json.dumps(million_here()))
