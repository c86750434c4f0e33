"""Threads that carry the tasks of a batch to their outcomes: many runs, few threads.

Strategy: workers take tasks from one queue. A worker starts a run and holds long polls for it, so
the end of a run shows at once. In a batch of up to 32 runs at a time each run may get a worker. A
larger batch has up to 24, and parks the runs that they cannot wait for (`_parking`).

Threads that have nothing to wait for only take turns, which costs more than their requests do. So
a scout starts workers while tasks wait and fewer than a few workers are free. A worker is free
until it has held its task for some milliseconds. At a server that ends runs at once, the few
workers are enough, and a worker that comes back late ends if others have taken its place. A server
that is further away gets a request for each run, as none of its tasks is done as quickly.

Invariant: an error that is not the outcome of a run, such as a full disk, is raised in the caller's
thread.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import queue
import threading
from typing import TYPE_CHECKING

from acp_client_v0_1._errors import package_logger
from acp_client_v0_1._http.attempt import Interruptible
from acp_client_v0_1.batch._driver import RunDriver, Stopped
from acp_client_v0_1.batch._parking import CROWD_HOLDERS, UnattendedRuns
from acp_client_v0_1.batch._tasks import Plan, Task
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles.errors import RunGone

if TYPE_CHECKING:
    from collections.abc import Callable

    from acp_client_v0_1.batch._journal import Journal
    from acp_client_v0_1.handles._core import RunCore
    from acp_client_v0_1.handles.agent import AgentHandle

_log = package_logger(__name__)

_FEW_WORKERS = 4  # begin at once; about as many as keep a server busy whose runs end at once
_MOST_FREE = 6  # workers; with more of them, one that has held a task for long ends
_MOST_WORKERS = 32  # a batch of no more runs at a time may have a worker for each
_CROWD_WORKERS = 24  # the most workers of larger batches


class _Calls(Interruptible):
    """The calls of a thread."""

    thread: threading.Thread
    task: Task | None = None  # that they are for
    began: float = -math.inf  # when a worker took its task; infinity while it has none


class Workers:
    """The threads of one batch."""

    def __init__(
        self, plan: Plan, agent: AgentHandle, journal: Journal | None, concurrency: int
    ) -> None:
        self._journal = journal
        self._driver = RunDriver(plan, agent, journal)
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Task | BaseException] = queue.SimpleQueue()
        self._calls: list[_Calls] = []  # of each thread
        self.in_flight: dict[int, Task] = {}  # submitted and not taken, by index
        # Seconds that the quickest of the last tasks took, which grows by a little with each task.
        # Workers may change it at the same moment, which loses a task and does no harm.
        self._quickest = 0.85 * timing().instant
        self._crowd = concurrency > _MOST_WORKERS
        # With the scout, and the searcher.
        self._most_threads = _CROWD_WORKERS + 2 if self._crowd else concurrency + 1
        holders = CROWD_HOLDERS if self._crowd else concurrency
        self._parking = UnattendedRuns(self._driver, self._tasks.put, holders)

    # In the caller's thread

    def submit(self, task: Task) -> None:
        """Carry a task to its outcome."""
        self.in_flight[task.index] = task
        self._tasks.put(task)
        if not self._calls:
            if self._crowd:
                self._spawn(lambda _: self._parking.search(), "searcher")
            self._spawn(self._work, "worker 1")
            if self._most_threads > 2:
                self._spawn(self._scout, "scout")

    def take(self, timeout: float) -> Task | None:
        """Return a task that has its outcome, or None if none has within ``timeout`` seconds.

        Raises the error that ended a thread, such as an `OSError` of the journal.
        """
        try:
            # Not get(timeout=0), which may never return on CPython 3.10.
            ended = self._ended.get(timeout > 0, timeout)
        except queue.Empty:
            return None
        if isinstance(ended, BaseException):
            raise ended
        del self.in_flight[ended.index]
        return ended

    def close(self, *, cancel: bool) -> int:
        """End the threads, and return how many runs are still in flight.

        With ``cancel``, those are deleted first.
        """
        self._driver.stop.set()
        self._tasks.put(None)
        self._end_threads()
        left = {task for task in self.in_flight.values() if task.run_id and task.outcome is None}
        if cancel:
            runs = [(task, self._driver.core(task)) for task in left]
            left = cancel_runs(runs, self._journal)
        for task in left:
            self._driver.core(task).ended("")
        return len(left)

    def _end_threads(self) -> None:
        """Interrupt long polls at once, and other calls after a moment, until all threads end."""
        clock, began = timing(), timing().now()
        # A batch may be dropped by a thread of its own, which collects garbage.
        here = threading.current_thread()
        while (past := clock.now() - began) < clock.threads:
            # The scout may have started one more.
            threads = [calls.thread for calls in self._calls]
            left = [each for each in threads if each is not here and each.is_alive()]
            if not left:
                break
            for calls in list(self._calls):
                if past > clock.grace or (calls.task is not None and calls.task.polling):
                    calls.interrupt()
            left[0].join(clock.step)

    @property
    def outage(self) -> float:
        """Seconds since the server began to fail, or 0 if it works."""
        since = self._driver.contact.server.since
        return 0.0 if since is None else timing().now() - since

    def duplicates(self, known: int) -> int:
        """Return how many runs were created beyond the first of each input: no more than known."""
        return known

    # In the threads

    def _spawn(self, work: Callable[[_Calls], object], name: str) -> None:
        calls = _Calls()
        calls.thread = _thread(lambda: self._run(calls, work), name)
        self._calls.append(calls)
        calls.thread.start()

    def _run(self, calls: _Calls, work: Callable[[_Calls], object]) -> None:
        with calls:
            try:
                work(calls)
            except Stopped:
                pass
            except BaseException as error:  # noqa: BLE001 - raised by `take`
                self._ended.put(error)

    def _scout(self, _: _Calls) -> None:
        """Start workers while tasks wait and few workers are about to take one."""
        clock, waiting = timing(), 1
        while not self._driver.stop.wait(clock.busy if waiting else clock.idle):
            # Only this thread changes the list, once it runs.
            self._calls = [calls for calls in self._calls if calls.thread.is_alive()]
            waiting, threads = self._tasks.qsize(), len(self._calls)
            wanted = _FEW_WORKERS if self._quickest < clock.instant else threads
            more = min(waiting, wanted - self._free(), self._most_threads - threads)
            for number in range(threads, threads + more):
                self._spawn(self._work, f"worker {number}")

    def _free(self) -> int:
        """Return how many workers have not held their tasks for long."""
        since = timing().now() - timing().busy
        return sum(calls.began > since for calls in self._calls)

    def _work(self, calls: _Calls) -> None:
        clock = timing()
        calls.began = math.inf
        while (task := self._tasks.get()) is not None and not self._driver.stop.is_set():
            calls.task, calls.began = task, clock.now()
            self._carry(calls, task)
            took, calls.began = clock.now() - calls.began, math.inf
            self._quickest = min(took, self._quickest + clock.instant / 1000)
            # Others were started in its place, which are enough if their runs end at once.
            if took > clock.busy and self._quickest < clock.instant and self._free() > _MOST_FREE:
                return
        self._tasks.put(None)  # for the next worker

    def _carry(self, calls: _Calls, task: Task) -> None:
        """Do the next step of a task, and hold long polls as long as few workers do."""
        parking = self._parking
        if not task.parked_at:
            self._driver.start(task)
        else:  # a search says that it has ended
            self._driver.poll(task, 1)
            parking.note(task)
        if task.outcome is not None:
            self._ended.put(task)
            return
        held = task if parking.enter(task) else None
        # An error ends the batch, so nobody asks then how many workers hold long polls.
        while held is not None:
            calls.task = held
            self._driver.poll(held, parking.window(len(self.in_flight)))
            if held.outcome is not None:
                self._ended.put(held)
            held = parking.exchange(held)


def _thread(target: Callable[[], object], name: str) -> threading.Thread:
    # The context of the caller, so that its span is the parent of the spans in the thread.
    context = contextvars.copy_context()
    name = f"acp batch {name}"
    return threading.Thread(target=context.run, args=(target,), name=name, daemon=True)


# Deleting runs at the end ---------------------------------------------------------------------


def cancel_runs(runs: list[tuple[Task, RunCore]], journal: Journal | None) -> set[Task]:
    """Delete the runs that have not ended, and return the tasks whose runs may be left."""
    waiting, left = list(runs), set[Task]()
    clock = timing()
    ends = clock.now() + 3 * clock.cancel  # for all of them

    def work() -> None:
        with contextlib.suppress(IndexError):
            while True:
                task, core = waiting.pop()
                try:
                    if clock.now() > ends:
                        left.add(task)
                    elif _cancel(core) and journal is not None:
                        journal.deleted(task)
                except ApiException as error:
                    log_undeleted(error)
                    left.add(task)

    threads = [_thread(work, f"end {n}") for n in range(min(len(runs), _CROWD_WORKERS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return left


def _cancel(core: RunCore) -> bool:
    """Delete a run unless it has ended, and return whether it is gone."""
    seconds = timing().cancel
    with contextlib.suppress(RunGone):
        if not core.cancel(core.wait(seconds, what="was not deleted")):
            core.read(core.wait(seconds))  # it may have ended just before it was deleted
            return False
    return True


def log_undeleted(error: ApiException) -> None:
    _log.warning("runs of the batch could not be deleted: %s", error)
