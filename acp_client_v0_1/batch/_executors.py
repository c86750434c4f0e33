"""The runs of a batch in other processes, or on other machines: any executor whose tasks pickle.

Strategy: a task of the executor is one run from its create to its outcome. It travels with what it
needs and nothing secret: each worker process makes one client of its own, by `connect` or from the
environment, and keeps it for the batch. A scheduler that lost a worker runs its tasks again, so a
task looks for its client token before it creates a run.

Invariants: only the caller's process writes the journal; a client of another server than the
agent's is refused before anything is sent; a future is dropped as soon as its outcome was taken,
as Dask runs a task whose result was lost with its worker again while its future is referenced.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acp_client_v0_1._http.slots import Flag
from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.batch._driver import RunDriver, cancel_run
from acp_client_v0_1.batch._tasks import (
    BATCH_KEY,
    Plan,
    Task,
    note_deleted,
    note_end,
    note_start,
    token_after,
)
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.exceptions import ApiException, ApiTypeError, ApiValueError, OpenApiException
from acp_client_v0_1.handles._core import FINAL, RunCore
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._token import client_token_of, server_of
from acp_client_v0_1.handles.searching import iter_runs
from acp_client_v0_1.models.run_search_request import RunSearchRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acp_client_v0_1.batch._journal import Journal
    from acp_client_v0_1.handles.agent import AgentHandle
    from acp_client_v0_1.models.run import Run

__all__ = ["Connect", "RemoteTask", "Remote", "carry", "connect_from_environment"]

Connect = Callable[[], ApiClient]

_log = logging.getLogger(__name__)

_MOST_CLIENTS = 4  # that a worker process keeps, each for one batch


def connect_from_environment() -> ApiClient:
    """Make the client of a worker process from its environment (`Configuration.from_env`)."""
    return ApiClient(Configuration.from_env())


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """One task on its way to a worker process."""

    plan: Plan
    attach: Callable[[str, ApiClient], AgentHandle]
    connect: Connect
    task: Task


# In the worker process ------------------------------------------------------------------------

_clients: dict[str, tuple[ApiClient, RunDriver]] = {}  # by the call
_clients_lock = threading.Lock()


def carry(remote: RemoteTask) -> Task:
    """Carry a task to its outcome, in a worker process."""
    task = dataclasses.replace(remote.task)  # as it may be carried out again
    try:
        driver = _driver(remote)
    except OpenApiException as error:
        task.outcome, task.broken = error, True
        return task
    try:
        if driver.start(task, look_first=True):
            while not driver.poll(task, timing().window):
                pass
    except Exception as error:  # noqa: BLE001 - any error is the outcome
        task.outcome, task.broken = error, error is driver.contact.broken
        if task.broken:  # the next call of the same batch begins with another client
            with _clients_lock:
                _clients.pop(remote.plan.call, None)
    # Only what the caller needs travels back; the core, above all, has the client's credentials.
    task.input = task.core = task.wait = None
    return task


def _driver(remote: RemoteTask) -> RunDriver:
    """Return the driver that this process has for the batch."""
    plan = remote.plan
    with _clients_lock:
        if plan.call not in _clients:
            client = remote.connect()
            if not isinstance(client, ApiClient):
                raise ApiTypeError(f"connect must give an ApiClient, not {type(client).__name__}")
            server = server_of(client)
            if server != plan.server:
                raise ApiValueError(
                    f"the agent is at {plan.server}, and connect gave a client for {server} "
                    "in a worker process: nothing was sent; pass a connect for the agent's server"
                )
            while len(_clients) >= _MOST_CLIENTS:
                _clients.pop(next(iter(_clients)))[0].close()
            agent = remote.attach(plan.agent_id, client)
            _clients[plan.call] = client, RunDriver(plan, agent, None, Flag())
        return _clients[plan.call][1]


# In the caller's process ----------------------------------------------------------------------


class Remote:
    """The tasks of one batch in an executor; has the methods of `_workers.Workers`."""

    outage = 0.0  # seconds for which the server has only failed: only the workers know

    def __init__(
        self,
        plan: Plan,
        agent: AgentHandle,
        journal: Journal | None,
        executor: Executor,
        connect: Connect,
    ) -> None:
        self._plan = plan
        self._runs = agent.runs
        self._attach = type(agent)
        self._executor = executor
        self._connect = connect
        self._journal = journal
        self._ended: queue.SimpleQueue[tuple[Task, Future[Task]]] = queue.SimpleQueue()
        # Submitted and not taken, by index.
        self.in_flight: dict[int, tuple[Task, Future[Task]]] = {}

    def submit(self, task: Task) -> None:
        """Carry a task to its outcome."""
        if not task.run_id and self._journal is not None:
            note_start(self._journal, task)
        ended = self._ended
        future = self._executor.submit(
            carry, RemoteTask(self._plan, self._attach, self._connect, task)
        )
        self.in_flight[task.index] = task, future
        future.add_done_callback(lambda done: ended.put((task, done)))

    def take(self, timeout: float) -> Task | None:
        """Return a task that has its outcome, None if none has within the timeout (seconds)."""
        try:
            task, future = self._ended.get(timeout > 0, timeout)
        except queue.Empty:
            return None
        ended = _ended(task, future)
        if ended.broken and isinstance(ended.outcome, Exception):
            raise ended.outcome
        del self.in_flight[task.index]
        ended.input = task.input
        if self._journal is not None:
            if ended.token != task.token:
                note_start(self._journal, ended)
            if ended.run_id and ended.run_id != task.run_id:
                self._journal.started(task.index, ended.run_id)
            note_end(self._journal, ended)
        return ended

    def close(self, *, cancel: bool) -> int:
        """Have no more tasks begun; return how many may continue in their processes.

        With ``cancel``, the runs of the batch that have not ended are deleted.
        """
        for _, future in self.in_flight.values():
            future.cancel()
        clock, began = timing(), timing().now()
        # By client token; never a run whose item the caller has, nor one that others have started.
        ours = {task.token: task for task, _ in self.in_flight.values()}
        ours.update([(token_after(token), task) for token, task in ours.items() if task.retry])
        while True:
            failure = self._delete_runs(ours) if cancel else None
            left = [one for one in ours.values() if not self.in_flight[one.index][1].done()]
            # A worker may be about to create its run, which the next search finds.
            if not (cancel and left) or failure or clock.now() - began > clock.threads:
                break
            clock.sleep(clock.probe, None)
        if failure is not None:
            _log.warning("runs of the batch could not be deleted: %s", failure)
        return len({task.index for task in left})

    def _delete_runs(self, tasks: dict[str, Task]) -> ApiException | None:
        """Delete the runs of tasks that have not ended, and drop those tasks; return an error."""
        failure: ApiException | None = None
        try:
            for run in list(self._runs_of_batch()):
                task = tasks.get(client_token_of(run))
                if task is None or run.status in FINAL:
                    continue
                try:
                    if cancel_run(RunCore(self._runs, run.run_id)):
                        note_deleted(self._journal, task)
                    for token in [token for token, one in tasks.items() if one is task]:
                        del tasks[token]
                except ApiException as error:
                    failure = error
        except ApiException as error:
            failure = error
        return failure

    def duplicates(self, known: int) -> int:
        """Count the runs that are one too many for their client token.

        The workers have met those that are ``known``; a server that does not search has no others.
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
        wanted = RunSearchRequest(
            agent_id=self._plan.agent_id, metadata={BATCH_KEY: self._plan.batch}
        )
        # It leaves out those of others, which some servers give.
        return iter_runs(self._runs, wanted, on_drift="continue")


def _ended(task: Task, future: Future[Task]) -> Task:
    """Return the task of a future with its outcome; the executor's own error is one, too."""
    if future.cancelled():
        task.outcome = ApiException(reason="the executor cancelled the task")
        return task
    error = future.exception()
    if error is None:
        return future.result()
    if not isinstance(error, Exception):
        raise error
    task.outcome = error
    return task
