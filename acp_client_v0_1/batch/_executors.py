"""Runs of a batch in other processes or on other machines, by any executor that pickles its tasks.

Strategy: a task of the executor is one run, from its create to its outcome. A pickled task has no
credentials, neither on its way to the worker nor back. Each worker process makes one client, by
``connect`` or from its environment, and keeps the client for the batch. An error that references a
client comes back as text. A scheduler that loses a worker runs the tasks of the worker again. So a
task searches for its client token before it creates a run.

Invariants:

- Only the caller's process writes the journal.
- A client of another server than the agent's is refused before anything is sent.
- A future is dropped once its outcome is taken. Otherwise, if Dask loses the worker that has the
  result, it would run the task again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass, field, replace
from typing import Any

from acp_client_v0_1._contract import FINAL
from acp_client_v0_1._errors import is_by_function
from acp_client_v0_1._http.slots import Inbox
from acp_client_v0_1._text import package_logger
from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.batch._driver import RunDriver
from acp_client_v0_1.batch._journal import Journal
from acp_client_v0_1.batch._tasks import BATCH_KEY, Plan, Task, next_client_token
from acp_client_v0_1.batch._workers import cancel_runs, log_undeleted
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.exceptions import ApiException, ApiTypeError, ApiValueError
from acp_client_v0_1.handles._core import RunCore
from acp_client_v0_1.handles._marks import CLIENT_TOKEN_KEY, Mark, client_token_of
from acp_client_v0_1.handles._rules import Decided, undecided
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._token import server_of
from acp_client_v0_1.handles.agent import AgentHandle
from acp_client_v0_1.handles.errors import RunFailed
from acp_client_v0_1.handles.searching import iter_runs
from acp_client_v0_1.models import Run

Connect = Callable[[], ApiClient]

_log = package_logger(__name__)

# A worker process keeps at most this many clients, each for one batch.
_MOST_CLIENTS = 4


def connect_from_environment() -> ApiClient:
    """Make the client of a worker process from its environment (`Configuration.from_env`)."""
    return ApiClient(Configuration.from_env())


# In the worker process ------------------------------------------------------------------------


# Makes the handle of an agent from the agent's id and a client.
_Attach = Callable[[str, ApiClient], AgentHandle]

# The client and the driver of each batch, by its `Plan.call_id`.
_clients: dict[str, tuple[ApiClient, RunDriver]] = {}
_clients_lock = threading.Lock()


def carry(plan: Plan, attach: _Attach, connect: Connect, task: Task) -> Task:
    """Carry a task to its outcome, in a worker process. Return the task with its outcome."""
    # The executor may pass the same object to `carry` again, so `carry` works on a copy.
    task = replace(task)
    try:
        driver = _shared_driver(plan, attach, connect)
        task.served = driver.blame.served = driver.blame.served or task.served
        driver.start(task, search_first=True)
        while task.outcome is None:
            driver.poll(task, timing().window)
    except Exception as error:  # noqa: BLE001 - any error becomes the outcome
        # If the arguments or attributes of the error cannot be pickled, `Task.__getstate__` sends
        # only its text. It does not check the class of the error. If the executor cannot pickle
        # this class, the executor's own error becomes the outcome.
        #
        # An error of ``connect`` gets here, and of the driver only an error that all runs would
        # get. Both end the batch, as an error of a thread does. But an OSError of ``connect`` may
        # be of this worker's machine only, so it is the outcome of this task. A timeout of the
        # driver is an OSError, too.
        task.outcome = undecided(error)
        of_all = isinstance(error, Decided) or is_by_function(error)
        task.ends_batch = of_all or not isinstance(error, OSError)
    # The caller has the input, so there is no need to send it back.
    task.input = None
    return task


def _shared_driver(plan: Plan, attach: _Attach, connect: Connect) -> RunDriver:
    """Return the driver that the tasks of the batch share in this process. The first call makes it.

    Raise an error if ``connect`` returns no client, or a client for another server.
    """
    with _clients_lock:
        if plan.call_id not in _clients:
            client = connect()
            if not isinstance(client, ApiClient):
                raise ApiTypeError(f"connect must give an ApiClient, not {type(client).__name__}")
            if (server := server_of(client)) != plan.server:
                client.close()
                raise ApiValueError(
                    f"the agent is at {plan.server}, and a worker of the executor has a client for "
                    f"{server}: nothing was sent; set ACP_HOST where the workers start, or let "
                    "connect= make a client for the agent's server"
                )
            while len(_clients) >= _MOST_CLIENTS:
                _clients.pop(next(iter(_clients)))[0].close()
            _clients[plan.call_id] = (client, RunDriver(plan, attach(plan.agent_id, client)))
        return _clients[plan.call_id][1]


# In the caller's process ----------------------------------------------------------------------


@dataclass
class Remote:
    """The tasks of one batch in an executor, with the methods of `_workers.Workers`."""

    plan: Plan
    agent: AgentHandle[Any, Any]
    journal: Journal | None
    executor: Executor
    connect: Connect
    # The tasks that were submitted and not taken, by index. `_futures` has their futures.
    in_flight: dict[int, Task] = field(default_factory=dict[int, Task])
    _futures: dict[int, Future[Task]] = field(default_factory=dict[int, "Future[Task]"])
    _ended: Inbox[Task] = field(default_factory=Inbox[Task])
    # The run of the last task that has ended with an output, or "".
    _served: str = ""
    # Only the worker processes see an outage of the server, so there is none to show here.
    outage = 0.0

    def submit(self, task: Task) -> None:
        """Give a task to the executor."""
        if not task.run_id and self.journal is not None:
            self.journal.starting(task)
        # Ctrl-C may come right after the submission. So the task is in `in_flight` before.
        self.in_flight[task.index] = task
        task.served = self._served
        ended, attach = self._ended, type(self.agent)
        future = self.executor.submit(carry, self.plan, attach, self.connect, task)
        # A stand-in of a test may return anything, and its callbacks would never be called.
        if not isinstance(getattr(future, "done", lambda: None)(), bool):
            del self.in_flight[task.index]
            raise ApiTypeError(f"executor.submit must return a Future, not {type(future).__name__}")
        self._futures[task.index] = future
        future.add_done_callback(lambda done: ended.put(_with_outcome(task, done)))

    def take(self, timeout: float) -> Task | None:
        """Return a task that has ended. Return None if no task ends within ``timeout`` seconds.

        Raises the error of a task if all tasks would get this error.
        """
        if (ended := self._ended.get(timeout)) is None:
            return None
        if ended.ends_batch and isinstance(ended.outcome, Exception):
            if ended.served or not (self._served and ended.run_id):
                raise ended.outcome
            # The worker process knew no run whose output the server serves. So it could not find
            # out whether the error is of this run alone.
            if self.journal is not None:
                self.journal.started(ended)
            open_task, run_id = self.in_flight[ended.index], ended.run_id
            self.submit(replace(open_task, run_id=run_id, started_before=True))
            return None
        if isinstance(ended.outcome, (dict, RunFailed)):
            self._served = ended.run_id
        task = self.in_flight.pop(ended.index)
        del self._futures[ended.index]
        ended.input = task.input
        if self.journal is not None:
            if ended.client_token != task.client_token:
                # The worker process has run a failed input again, with another client token.
                self.journal.starting(ended)
            if ended.run_id and ended.run_id != task.run_id:
                self.journal.started(ended)
            self.journal.ended(ended)
        return ended

    def close(self, *, cancel: bool) -> tuple[int, int]:
        """Cancel the tasks that have not begun, and return how many may continue in their workers.

        The second number of the result is always 0, because only a worker knows about its create.
        With ``cancel``, the runs of the tasks in flight are deleted.
        """
        for future in self._futures.values():
            future.cancel()
        # Only runs with these client tokens are deleted. Runs whose items the caller has, and runs
        # that others have started, have other client tokens.
        #
        # With ``retry_failed``, a worker that runs a failed input again uses the next client token.
        # This process learns of that only when the task comes back.
        tasks = {task.client_token: task for task in self.in_flight.values()}
        tasks.update([(next_client_token(old), task) for old, task in tasks.items() if task.retry])
        clock, began = timing(), timing().now()
        while cancel and tasks:
            # A worker that is not done may create its run after the search. Then another search has
            # to follow. So `all_done` says whether the workers were done before the search.
            all_done = not self._not_done(tasks)
            if not self._delete_runs(tasks) or all_done or clock.now() - began > clock.threads:
                break
            clock.sleep(clock.probe, None)
        return len(self._not_done(tasks)), 0

    def _not_done(self, tasks: dict[str, Task]) -> set[Task]:
        """Return the tasks whose futures are not done, or that have no future."""
        done = {index for index, future in self._futures.items() if future.done()}
        return {task for task in tasks.values() if task.index not in done}

    def _delete_runs(self, tasks: dict[str, Task]) -> bool:
        """Search for the runs of ``tasks``, and delete the runs that have not ended.

        ``tasks`` has the tasks by client token. A task is removed from ``tasks`` if each of its
        runs was deleted, or ended between the search and the DELETE. Return False if the search or
        a DELETE failed.
        """
        # A task that an executor has repeated may have two runs.
        runs: dict[Task, list[RunCore]] = {}
        try:
            for run in self._runs_of_batch():
                token = client_token_of(run.creation)
                task = tasks.get(token)
                if task is not None and run.status not in FINAL:
                    core = RunCore(self.agent.runs, run.run_id)
                    core.mark = Mark(CLIENT_TOKEN_KEY, token)
                    runs.setdefault(task, []).append(core)
        except ApiException as error:
            log_undeleted(error)
            return False
        left = cancel_runs(runs, self.journal)
        for token, task in list(tasks.items()):
            if task in runs and task not in left:
                del tasks[token]
        return not left

    def duplicates(self, known: int) -> int:
        """Search for the runs of the batch. Return how many have the client token of another run.

        The first run of each client token does not count. If the search fails, return ``known``:
        how many of these runs the workers have reported.
        """
        try:
            runs = list(self._runs_of_batch())
            tokens = [client_token_of(run.creation) for run in runs]
            tokens = [token for token in tokens if Mark(CLIENT_TOKEN_KEY, token).is_random]
        except ApiException as error:
            _log.warning("the duplicate runs of the batch could not be counted: %s", error)
            return known
        return len(tokens) - len(set(tokens))

    def _runs_of_batch(self) -> Iterator[Run]:
        wanted = {"agent_id": self.plan.agent_id, "metadata": {BATCH_KEY: self.plan.batch_mark}}
        return iter_runs(self.agent.runs, wanted, on_drift="continue")


def _with_outcome(task: Task, future: Future[Task]) -> Task:
    """Return the task of a future with its outcome, which may be an error of the executor."""
    try:
        ended: object = future.result()
        if not isinstance(ended, Task):
            raise ApiTypeError(f"executor.submit must call its function, and gave {ended!r:.60}")
        return ended
    except CancelledError:
        task.outcome = ApiException(reason="the executor cancelled the task")
    except Exception as error:  # noqa: BLE001
        task.outcome = error
    return task
