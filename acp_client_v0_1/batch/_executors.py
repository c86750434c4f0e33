"""The runs of a batch in other processes, or on other machines: any executor whose tasks pickle.

Strategy: a task of the executor is one run from its create to its outcome. It travels with what it
needs and nothing secret: each worker process makes one client of its own, by `connect` or from the
environment, and keeps it for the batch. A scheduler that lost a worker runs its tasks again, so a
task looks for its client token before it creates a run.

Invariants: only the caller's thread writes the journal; a client of another server than the agent's
is refused before anything is sent; a future is dropped as soon as its outcome was taken, as Dask
runs the task of one that is still referenced again, if the worker is lost that kept its result.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.batch._tasks import BATCH_KEY, MOST_POSTS, Agent, Plan, Recorder, Task
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.exceptions import ApiException, ApiTypeError, ApiValueError, OpenApiException
from acp_client_v0_1.handles._link import RunLink
from acp_client_v0_1.handles._patience import Patience, is_passing
from acp_client_v0_1.handles._starting import client_token_of, server_of
from acp_client_v0_1.handles.errors import RunStartAmbiguous
from acp_client_v0_1.handles.run import RunHandle
from acp_client_v0_1.handles.searching import iter_runs
from acp_client_v0_1.models.run_search_request import RunSearchRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acp_client_v0_1.models.run import Run

__all__ = ["Connect", "Order", "Remote", "Report", "carry", "connect_from_environment"]

Connect = Callable[[], ApiClient]

_log = logging.getLogger(__name__)

_CANCEL_SECONDS = 10.0  # for one run
_MOST_CLIENTS = 4  # that a worker process keeps, each for one batch


def connect_from_environment() -> ApiClient:
    """Make the client of a worker process from its environment (`Configuration.from_env`)."""
    return ApiClient(Configuration.from_env())


@dataclass(frozen=True, slots=True)
class Order:
    """What travels to a worker process: one run."""

    plan: Plan
    attach: Callable[[str, ApiClient], Agent]
    connect: Connect
    input: Any
    token: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Report:
    """What comes back: the run, its outcome, and whether it was refused without a request."""

    run_id: str
    outcome: dict[str, Any] | Exception
    duplicates: int = 0
    refused: bool = False


# In the worker process ------------------------------------------------------------------------

_clients: dict[str, ApiClient] = {}  # by the mark of the batch
_clients_lock = threading.Lock()


def carry(order: Order) -> Report:
    """Carry one run to its outcome, in a worker process; errors are a part of the report."""
    run_id = order.run_id
    try:
        agent = order.attach(order.plan.agent_id, _client(order))
    except OpenApiException as error:
        return Report(run_id, error, refused=True)
    duplicates = 0
    try:
        handle = RunHandle(run_id, agent.runs.api_client) if run_id else _start(agent, order)
        run_id, duplicates = handle.run_id, len(handle.duplicates)
        return Report(run_id, _result(handle, order.plan), duplicates)
    except Exception as error:  # noqa: BLE001 - also what on_interrupt raises is the outcome
        return Report(run_id, error, duplicates)


def _client(order: Order) -> ApiClient:
    """Give this process's client for a batch."""
    batch = order.plan.batch
    with _clients_lock:
        client = _clients.get(batch)
        if client is None:
            client = order.connect()
            if not isinstance(client, ApiClient):
                raise ApiTypeError(f"connect must give an ApiClient, not {type(client).__name__}")
            server = server_of(client)
            if server != order.plan.server:
                raise ApiValueError(
                    f"the agent is at {order.plan.server}, and connect gave a client for {server} "
                    "in a worker process: nothing was sent; pass a connect for the agent's server"
                )
            while len(_clients) >= _MOST_CLIENTS:
                _clients.pop(next(iter(_clients))).close()
            _clients[batch] = client
        return client


def _start(agent: Agent, order: Order) -> RunHandle:
    """Find the run of an order, if its task was lost once, or start it."""
    client = agent.runs.api_client
    try:
        found = RunHandle.find(order.token, agent_id=agent.agent_id, api_client=client)
    except ApiException as error:
        if is_passing(error):
            raise
        found = None  # the server does not search
    posts = 0
    while found is None:
        posts += 1
        try:
            found = agent.start(
                order.input,
                config=order.plan.config,
                metadata=order.plan.marks(order.token),
                client_token=order.token,
                check=order.plan.check,
            )
        except RunStartAmbiguous as error:
            if not error.searched or posts == MOST_POSTS:
                raise
    return found


def _result(handle: RunHandle, plan: Plan) -> dict[str, Any]:
    if plan.on_interrupt is None:
        return handle.result(plan.timeout)
    return handle.drive(plan.on_interrupt, timeout=plan.timeout)


# In the caller's process ----------------------------------------------------------------------


class Remote:
    """The tasks of one batch in an executor; has the methods of `_workers.Workers`.

    Args:
        plan: What the runs share.
        agent: Their agent; a worker process makes one of the same class.
        executor: What runs the tasks.
        connect: What makes the client of a worker process.
        recorder: What writes the journal.
    """

    def __init__(
        self,
        plan: Plan,
        agent: Agent,
        executor: Executor,
        connect: Connect,
        recorder: Recorder,
    ) -> None:
        self._plan = plan
        self._runs = agent.runs
        self._attach = type(agent)
        self._executor = executor
        self._connect = connect
        self._recorder = recorder
        self._ended: queue.SimpleQueue[tuple[Task, Future[Report]]] = queue.SimpleQueue()
        self._futures: dict[int, Future[Report]] = {}  # by index

    def submit(self, task: Task) -> None:
        """Carry a task to its outcome."""
        if not task.run_id:
            self._recorder.starting(task)
        order = Order(self._plan, self._attach, self._connect, task.input, task.token, task.run_id)
        ended = self._ended
        future = self._executor.submit(carry, order)
        self._futures[task.index] = future
        future.add_done_callback(lambda done: ended.put((task, done)))

    def take(self, timeout: float | None) -> Task | None:
        """Give a task that has its outcome.

        Args:
            timeout: Seconds to wait for one.

        Returns:
            The task, None if there is none in time.
        """
        try:
            task, future = self._ended.get(bool(timeout), timeout)
        except queue.Empty:
            return None
        del self._futures[task.index]
        report = _report_of(task, future)
        if report.run_id and not task.run_id:
            task.run_id = report.run_id
            self._recorder.started(task)
        task.outcome, task.duplicates = report.outcome, report.duplicates
        if not report.refused:
            self._recorder.ended(task)
        return task

    def stop(self) -> None:
        """Have no more tasks begun."""
        for future in list(self._futures.values()):
            future.cancel()

    def close(self, *, cancel: bool) -> int:
        """Have no more tasks begun; those that have begun go on in their processes.

        Args:
            cancel: Delete the runs of the batch that have not ended.

        Returns:
            How many runs may be under way.
        """
        self.stop()
        left = sum(not future.done() for future in self._futures.values())
        if cancel:
            for run in list(self._runs_of_batch()):
                RunLink(self._runs, run.run_id).cancel(Patience(_CANCEL_SECONDS))
            left = 0
        return left

    def duplicates(self, known: int) -> int:
        """Count the runs of the batch that are one too many for their client token.

        Args:
            known: How many the workers have met, for a server that does not search.

        Returns:
            How many there are.
        """
        tokens: set[str] = set()
        runs = 0
        try:
            for run in self._runs_of_batch():
                runs += 1
                tokens.add(client_token_of(run))
        except ApiException as error:
            _log.warning("the duplicate runs of the batch could not be counted: %s", error)
            return known
        return runs - len(tokens)

    def _runs_of_batch(self) -> Iterator[Run]:
        mark: Mapping[str, Any] = {BATCH_KEY: self._plan.batch}
        wanted = RunSearchRequest(agent_id=self._plan.agent_id, metadata=dict(mark))
        return iter_runs(self._runs, wanted, on_drift="continue")


def _report_of(task: Task, future: Future[Report]) -> Report:
    """Take the outcome of a future; what the executor itself raises is the outcome, too."""
    if future.cancelled():
        return Report(task.run_id, ApiException(reason="the executor cancelled the task"))
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, Exception):
        return Report(task.run_id, error)
    raise error
