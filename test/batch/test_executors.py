"""Batches in other processes: pools, and Dask's LocalCluster, whose workers may die."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import pytest
from support.batches import answer, beside, creates, numbers, runs_by_input, until, wait_for
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import AgentContext, AgentError, Fault, LocalServer, Quirks

pytestmark = pytest.mark.slow


class Escalation(Exception):
    """An error of the caller's own code, which has a client."""


def escalate(question: acp.PendingInterrupt) -> dict[str, Any]:
    error = Escalation("somebody")
    run = acp.RunHandle(question.run_id, acp.ApiClient(acp.Configuration.from_env()))
    error.run = run  # type: ignore[attr-defined]
    raise error


def connect_and_fail() -> acp.ApiClient:
    raise Escalation(acp.ApiClient(acp.Configuration.from_env()))


class Closing(acp.ApiClient):
    closed = False

    def close(self) -> None:
        self.closed = True
        super().close()


class Recording(ThreadPoolExecutor):
    """Keeps each task and its outcome as pickles, and a weak reference to its future."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.given, self.returned = list[bytes](), list[bytes]()
        self.futures: list[weakref.ref[Future[Any]]] = []

    def submit(self, *task: Any) -> Any:  # type: ignore[override]
        self.given.append(pickle.dumps(task))
        future = super().submit(*task)
        self.returned.append(pickle.dumps(future.exception() or future.result()))
        self.futures.append(weakref.ref(future))
        return future


def until_created(server: LocalServer, inputs: list[Any], error: BaseException) -> Iterator[Any]:
    return until(lambda: len(creates(server)) == len(inputs), inputs, error)


@pytest.fixture
def processes(in_environment: None) -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


def test_worker_processes_have_clients_of_their_own(server, agent, processes, path):
    inputs = [*numbers(20), {"n": 20, "fail": True}, {"n": 21, "ask": 2}]
    batch = agent.map(inputs, executor=processes, on_interrupt=answer, journal=path, ordered=True)
    items = list(batch)
    assert [item.result()["n"] for item in items[:20]] == list(range(20))
    assert [item.input for item in items] == inputs
    assert isinstance(items[20].outcome, acp.RunFailed) and items[20].run_id
    assert items[21].result()["answers"] == [{"to": 0}, {"to": 1}]
    assert runs_by_input(server).total() == 22 and batch.counts.duplicates == 0
    server.clear_requests()
    again = list(agent.map(inputs, journal=path, ordered=True))
    assert [item.run_id for item in again] == [item.run_id for item in items]
    assert server.requests == ()


def test_a_worker_knows_that_the_server_has_answered_its_caller(server, agent, threads):
    agent.descriptor()
    server.stop()
    configuration = acp.Configuration(host=server.url, retries=0)
    batch = agent.map(numbers(2), executor=threads, connect=lambda: acp.ApiClient(configuration))
    with beside(server.start, after=0.4):
        assert sorted(item.result()["n"] for item in batch) == [0, 1]


def test_no_task_of_a_worker_and_no_outcome_has_a_credential(server, in_environment, monkeypatch):
    secret = "planted-secret"
    for name in ("ACP_TOKEN", "ACP_API_KEY", "ACP_PASSWORD"):
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("ACP_USERNAME", "somebody")
    # An error that cannot leave its process comes as its text.
    stays = "(it cannot leave its process: it holds a client)"
    cases: tuple[tuple[dict[str, Any], Any, type[object], str], ...] = (
        ({}, {}, dict, ""),
        ({"fail": True}, {}, acp.RunFailed, ""),
        ({"ask": 1}, {}, acp.RunInterrupted, ""),
        ({"ask": 1}, {"on_interrupt": escalate}, acp.ApiException, f"Escalation: somebody {stays}"),
        ({"seconds": 60}, {"timeout": 0.5}, acp.RunWaitTimeout, ""),
        ({}, {"connect": connect_and_fail}, acp.ApiException, stays),
    )
    with acp.ApiClient(acp.Configuration.from_env()) as client, Recording(1) as pool:
        agent = acp.AgentHandle(server.agents[0].agent_id, client)
        for input, options, kind, words in cases:
            # The error of ``connect`` ends the batch.
            with suppress(acp.ApiException, Escalation):
                list(agent.map([{"n": 0, **input}], executor=pool, **options))
            given, returned = pool.given.pop(), pool.returned.pop()
            assert secret.encode() not in given + returned and server.url.encode() in given
            task = pickle.loads(returned)
            assert isinstance(task.outcome, kind)
            assert str(task.outcome).endswith(words)
            assert task.input is None  # the caller has it


def test_a_worker_without_a_client_for_the_server_ends_the_batch(server, agent, threads, path):
    elsewhere = Closing(acp.Configuration(host="http://elsewhere.invalid"))
    for connect, kind, words in (
        (lambda: elsewhere, acp.ApiValueError, "elsewhere.invalid: nothing was sent; set ACP_HOST"),
        (lambda: 1 // 0, ZeroDivisionError, "division"),
        (lambda: "a client", acp.ApiTypeError, "connect must give an ApiClient, not str"),
    ):
        batch = agent.map(numbers(1), executor=threads, connect=connect, journal=path)
        with pytest.raises(kind, match=words):
            next(batch)
    missing: Any = partial(open, "/none/of/these")
    (item,) = agent.map(numbers(1), executor=threads, connect=missing)
    assert isinstance(item.error, FileNotFoundError)
    assert elsewhere.closed and creates(server) == []
    (item,) = agent.map(numbers(1), executor=threads, journal=path)  # it was not a failure
    assert item.result()["n"] == 0


def test_a_pool_that_breaks(agent, server, processes, path):
    def kill() -> None:
        wait_for(lambda: bool(creates(server)))
        for process in list(processes._processes):  # type: ignore[attr-defined]
            os.kill(process, signal.SIGKILL)

    with beside(kill):
        items = list(agent.map(numbers(3, seconds=30), executor=processes, journal=path))
    assert [type(item.outcome) for item in items] == [BrokenProcessPool] * 3
    assert b'"failed"' not in path.read_bytes()  # so the next call attaches to the runs


def test_a_cancelled_task_says_so_and_is_run_by_the_next_call(server, agent, threads, path):
    class Cancelling(ThreadPoolExecutor):
        def submit(self, *task: Any) -> Any:  # type: ignore[override]
            future: Future[Any] = Future()
            future.cancel()
            return future

    with Cancelling(1) as pool:
        (item,) = agent.map(numbers(1), executor=pool, journal=path)
    assert type(item.outcome) is acp.ApiException
    assert str(item.outcome) == "the executor cancelled the task"
    (item,) = agent.map(numbers(1), executor=threads, journal=path)
    assert item.ok and len(creates(server)) == 1
    threads.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        next(agent.map(numbers(1), executor=threads))


def test_a_future_is_dropped_once_its_outcome_is_taken(agent, in_environment):
    """As long as one is referenced, Dask runs its task again if a worker is lost."""
    with Recording(1) as pool:
        batch = agent.map(numbers(3), executor=pool)
        assert len(list(batch)) == 3 and batch.counts.done == 3
        gc.collect()
        assert [future() for future in pool.futures] == [None] * 3


@using(threads=60)  # it ends as soon as the worker has
def test_closing_deletes_the_run_that_a_worker_creates_meanwhile(server, agent, threads):
    connecting, goes_on = threading.Event(), threading.Event()

    def connect() -> acp.ApiClient:
        connecting.set()
        assert goes_on.wait(20)
        return acp.ApiClient(acp.Configuration(host=server.url))

    def inputs() -> Iterator[dict[str, Any]]:
        yield {"n": 0, "seconds": 60}
        assert connecting.wait(20)
        threading.Timer(0.3, goes_on.set).start()
        raise LookupError("no more")

    began = time.monotonic()
    with pytest.raises(LookupError, match="no more"):
        next(agent.map(inputs(), executor=threads, connect=connect, on_stop="cancel"))
    assert len(creates(server)) == 1 and server.runs == ()
    # Not one after the other; the worker itself has searched, too.
    searches = sum(one.path == "/runs/search" for one in server.requests)
    assert searches < 5 + (time.monotonic() - began) / 0.2


def test_closing_deletes_the_run_of_a_failed_one_that_was_begun_again(server, agent, threads, path):
    def fails_at_first(input: Any, config: Any, context: AgentContext) -> None:
        if len(server.runs) > 1:
            context.sleep(60)
        raise AgentError(7, "at first")

    agent = acp.AgentHandle(server.register(fails_at_first), agent.runs.api_client)
    (failed,) = agent.map(numbers(1), journal=path)
    server.clear_requests()
    inputs = until_created(server, numbers(1), LookupError("no more"))
    options: Any = {"journal": path, "retry_failed": True, "on_stop": "cancel"}
    with pytest.raises(LookupError, match="no more"):
        next(agent.map(inputs, executor=threads, **options))
    assert [run["run_id"] for run in server.runs] == [failed.run_id]


def test_a_worker_keeps_the_clients_of_the_last_four_batches(server, agent, threads):
    clients: list[Closing] = []

    def connect() -> acp.ApiClient:
        clients.append(Closing(acp.Configuration(host=server.url)))
        return clients[-1]

    for _ in range(6):
        assert [item.ok for item in agent.map(numbers(1), executor=threads, connect=connect)]
    assert [client.closed for client in clients] == [True] * 2 + [False] * 4


def test_duplicates_that_cannot_be_counted_are_none_and_overlapping_pages_keep_none_from_it(
    server, agent, threads, caplog
):
    """Pages that overlap are an error in a search of the user's own."""
    batch = agent.map(numbers(1), executor=threads)
    assert next(batch).ok
    (run,) = server.runs
    page = [{**run, "run_id": f"r{number}"} for number in range(1000)]
    for body in (page, page[500:] * 2, []):
        server.faults.add(Fault(path="/runs/search", status=200, body=body, times=1))
    assert next(batch, None) is None
    assert batch.counts.duplicates >= 999 and not caplog.messages
    server.faults.add(Fault(path="/runs/search", status=405, times=None))
    batch = agent.map(numbers(2), executor=threads)
    assert [item.ok for item in batch] == [True, True]
    assert batch.counts.duplicates == 0
    assert "duplicate runs of the batch could not be counted" in caplog.text


@pytest.mark.parametrize("count", [0, 3])
def test_on_stop_cancel_asks_for_the_open_runs_only(server, agent, threads, count):
    inputs = [*numbers(30), *({"n": n, "seconds": 30} for n in range(30, 30 + count))]
    with agent.map(inputs, executor=threads, on_stop="cancel") as batch:
        for _ in range(30):
            next(batch)
        wait_for(lambda: len(creates(server)) == 30 + count)
        server.clear_requests()
    looked = (one.path for one in server.requests if one.method == "GET")
    looks = {path for path in looked if "output" not in path}
    searches = [one for one in server.requests if one.path == "/runs/search"]
    assert len(looks) == count and bool(searches) is bool(count)
    assert {run["status"] for run in server.runs} == {"success"}


IGNORING = pytest.mark.parametrize(
    "server", [Quirks(search_metadata="ignored")], ids=["its searches find all"], indirect=True
)


@IGNORING
def test_closing_deletes_nobody_elses_runs(server, agent, executor):
    foreign: set[str] = set()

    def inputs() -> Iterator[dict[str, Any]]:
        yield from numbers(3, seconds=60)
        wait_for(lambda: len(creates(server)) == 3)
        marks = creates(server)[0]["metadata"]
        for metadata in (
            None,
            {"note": "of somebody else"},
            {"acp-batch": "another", "acp-client-token": "another"},
            {"acp-batch": marks["acp-batch"]},
            {"acp-batch": marks["acp-batch"], "acp-client-token": "another"},
            {"acp-batch": "another", "acp-client-token": marks["acp-client-token"]},
        ):
            body = {"agent_id": agent.agent_id, "input": {"n": -1, "seconds": 60}}
            foreign.add(agent.runs.create_run({**body, "metadata": metadata}).run_id)
        yield {"n": 3}

    with agent.map(inputs(), executor=executor, on_stop="cancel") as batch:
        done = next(batch)
    assert batch.counts.duplicates == 0
    statuses = {run["run_id"]: run["status"] for run in server.runs}
    assert statuses == {**dict.fromkeys(foreign, "pending"), done.run_id: "success"}


@IGNORING
@pytest.mark.parametrize("early", [True, False], ids=["early", "at the end"])
def test_closing_deletes_no_run_whose_item_was_given(server, agent, executor, early):
    """Interrupted, out of the caller's time, or done, each is the caller's from then on."""
    inputs = [{"n": 0, "ask": 1}, {"n": 1, "seconds": 60}, {"n": 2}]
    more, timeout = ([{"n": 3, "ask": 1, "seconds": 60}], 30.0) if early else ([], 1.0)
    given: list[acp.BatchItem] = []
    with agent.map([*inputs, *more], executor=executor, on_stop="cancel", timeout=timeout) as batch:
        given.extend(next(batch) for _ in range(2))
        if not early:
            given.extend(batch)
    statuses = {run["run_id"]: run["status"] for run in server.runs}
    assert {statuses[item.run_id] for item in given} >= {"success", "interrupted"}
    assert len(statuses) == len(given) == (2 if early else 3)


def test_what_was_attached_to_and_cancelled_is_started_again(server, agent, executor, path):
    inputs = [{"n": 0, "seconds": 2}, {"n": 1}]
    with agent.map(inputs, journal=path) as batch:
        assert next(batch).index == 1
    with agent.map(inputs, journal=path, executor=executor, on_stop="cancel") as batch:
        assert next(batch).index == 1
    items = list(agent.map(inputs, journal=path, ordered=True))
    assert [item.result()["n"] for item in items] == [0, 1]
    assert len(creates(server)) == 3


def test_ctrl_c_just_after_a_submission_counts_its_run(server, agent, in_environment):
    class Interrupted(ThreadPoolExecutor):
        def submit(self, *task: Any) -> Any:  # type: ignore[override]
            super().submit(*task)
            wait_for(lambda: len(creates(server)) == 1)
            raise KeyboardInterrupt

    with Interrupted(1) as pool, pytest.raises(KeyboardInterrupt, match="1 run is still in flight"):
        next(agent.map([{"n": 0, "seconds": 1}], executor=pool))
    with Interrupted(1) as pool, pytest.raises(KeyboardInterrupt, match="0 runs are still"):
        server.clear_requests()
        next(agent.map([{"n": 0, "seconds": 60}], executor=pool, on_stop="cancel"))
    assert [run["status"] for run in server.runs] == ["success"]


def test_a_failing_search_replaces_no_ctrl_c(server, agent, threads, caplog):
    server.faults.add(Fault(path="/runs/search", status=405, times=None))
    inputs = until_created(server, numbers(1, seconds=1), KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt, match="1 run is still in flight"):
        next(agent.map(inputs, executor=threads, on_stop="cancel"))
    assert sum("could not be deleted" in words for words in caplog.messages) == 1


# Dask


@pytest.fixture
def dask(in_environment: None) -> Iterator[Any]:
    with warnings.catch_warnings():
        # The packages that Dask is made of, on a Python that is newer or older than they are.
        warnings.simplefilter("ignore")
        from distributed import Client, LocalCluster

        sizes = {"n_workers": 2, "threads_per_worker": 4, "memory_limit": 0}
        cluster = LocalCluster(dashboard_address=None, **sizes)
        with cluster, Client(cluster) as client:
            client.wait_for_workers(2)
            yield client


@pytest.mark.timeout(300)  # a busy machine starts workers slowly
def test_a_batch_on_dask_that_loses_a_worker(server, agent, dask, path):
    inputs, pool = numbers(60, seconds=0.1), dask.get_executor(pure=False)
    with agent.map(inputs, executor=pool, concurrency=16, journal=path) as batch:
        items = [next(batch) for _ in range(10)]
        victim, *_ = dask.run(os.getpid).values()
        os.kill(victim, signal.SIGKILL)
        items += batch
    assert sorted(item.result()["n"] for item in items) == list(range(60))
    counted = runs_by_input(server)
    assert set(counted) == set(range(60))
    assert batch.counts.duplicates == counted.total() - 60
    again = list(agent.map(inputs, journal=path))
    assert sorted(item.run_id for item in again) == sorted(item.run_id for item in items)


@using(outage=0.7, backoff=(0.05, 0.1), early=(0.05, 0.1), pace=(0.01, 0.02))
def test_a_search_that_the_server_limits_is_followed_by_no_create(server, agent, threads):
    """A limit is never of one run, so it ends the batch once it has lasted for an outage."""

    def inputs() -> Iterator[dict[str, Any]]:
        server.faults.add(Fault(path="/runs/*/output", block="never", times=None))
        yield {"n": 0, "seconds": 60}
        wait_for(lambda: len(creates(server)) == 1)
        server.faults.add(Fault(path="/runs/search", status=429, times=None))
        yield {"n": 1}

    batch = agent.map(inputs(), executor=threads, concurrency=2, on_stop="cancel")
    with pytest.raises(acp.TooManyRequestsException):
        next(batch)
    assert len(creates(server)) == 1
    agent.runs.delete_run(server.runs[0]["run_id"])  # so that its worker ends


@pytest.mark.parametrize("duplicates", [0, 1])
def test_duplicates_are_counted(server, agent, in_environment, capsys, duplicates):
    """A worker dies after its create, which the search of the next one may not see yet."""

    class Losing(ThreadPoolExecutor):
        def submit(self, carry: Any, *task: Any) -> Any:  # type: ignore[override]
            super().submit(carry, *task).result()
            return super().submit(carry, *task)

    if duplicates:
        server.faults.add(Fault(path="/runs/search", status=200, body=[], times=2))
    with Losing(1) as pool:
        batch = agent.map(numbers(1), executor=pool, progress=True)
        (item,) = batch
    assert ("duplicates=1" in capsys.readouterr().err) is bool(duplicates)
    assert item.result()["n"] == 0
    assert batch.counts.duplicates == duplicates
    assert runs_by_input(server) == {0: 1 + duplicates}


@pytest.mark.parametrize("fails", [True, False], ids=["one is left", "both are gone"])
def test_an_input_of_two_runs_gets_a_third_if_both_are_gone(server, agent, threads, path, fails):
    def inputs() -> Iterator[dict[str, Any]]:
        yield {"n": 0, "seconds": 2.5}
        wait_for(lambda: len(creates(server)) == 1)
        other = agent.runs.create_run(creates(server)[0])  # as a scheduler that lost the worker
        if fails:
            path_of_it = f"/runs/{other.run_id}"
            server.faults.add(Fault(method="DELETE", path=path_of_it, status=403, times=None))
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        next(agent.map(inputs(), executor=threads, journal=path, on_stop="cancel"))
    assert path.read_bytes().count(b'{"starting"') == (1 if fails else 2)
    assert len(server.runs) == fails
    (item,) = agent.map([{"n": 0, "seconds": 2.5}], journal=path)
    assert item.result()["n"] == 0
    assert len(creates(server)) == (2 if fails else 3)


def test_the_error_of_a_worker_keeps_the_headers_that_a_journal_keeps(server, in_environment):
    secret = "planted-secret"
    sent = {"Set-Cookie": f"session={secret}", "X-Token": secret, "X-Request-Id": "r-7"}
    server.faults.add(Fault(method="POST", path="/runs", status=422, headers=sent))
    with acp.ApiClient(acp.Configuration.from_env()) as client, Recording(1) as pool:
        (item,) = acp.AgentHandle(server.agents[0].agent_id, client).map(numbers(1), executor=pool)
    error = pickle.loads(pool.returned[0]).outcome
    assert type(error) is type(item.error) and str(error) == str(item.error)
    assert secret.encode() not in pool.returned[0]
    assert error.request_id == "r-7" and error.headers["content-type"] == "application/json"


class Unreadable(Exception):
    """Its pickle cannot be read: pickle passes the arguments of `Exception`, which are others."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


def raise_unreadable(question: acp.PendingInterrupt) -> Any:
    raise Unreadable("no answer", f"to {question.type}")


def test_an_error_whose_pickle_cannot_be_read_costs_one_item(agent, processes):
    inputs = [{"n": 0, "ask": 1}, *numbers(3)]
    items = list(agent.map(inputs, executor=processes, on_interrupt=raise_unreadable, ordered=True))
    words = "Unreadable: no answer: to number (it cannot leave its process: "
    assert type(items[0].error) is acp.ApiException and words in str(items[0].error)
    assert [item.result()["n"] for item in items[1:]] == [0, 1, 2]


class Apart(ThreadPoolExecutor):
    """Stands for worker processes: each task has a driver of its own."""

    def submit(self, work: Any, plan: Any, *rest: Any) -> Any:  # type: ignore[override]
        return super().submit(work, replace(plan, call_id=os.urandom(8).hex()), *rest)


@pytest.mark.parametrize("server", [Quirks(run_ids="counted")], indirect=True)
@using(outage=0.5, backoff=(0.05, 0.1))
def test_a_first_run_that_always_fails_costs_one_item_of_an_executor(server, agent, in_environment):
    """Its worker knows no run that the server serves. The caller knows one by then."""
    server.faults.add(Fault(path="/runs/run-1/output", status=500, times=None))
    inputs = numbers(1) + numbers(6)[1:]
    with Apart(2) as pool:
        items = list(agent.map(inputs, executor=pool, concurrency=2, ordered=True))
    failed = [item for item in items if not item.ok]
    assert [item.run_id for item in failed] == ["run-1"]
    assert isinstance(failed[0].error, acp.ServiceException)
    assert runs_by_input(server) == dict.fromkeys(range(6), 1)


def test_the_threads_of_a_worker_process_share_one_client(server, agent):
    made = list[acp.ApiClient]()

    def connect() -> acp.ApiClient:
        time.sleep(0.2)
        made.append(acp.ApiClient(acp.Configuration(host=server.url)))
        return made[-1]

    with ThreadPoolExecutor(4) as pool:
        items = list(agent.map(numbers(8), executor=pool, connect=connect, concurrency=4))
    assert all(item.ok for item in items) and len(made) == 1
    made[0].close()
