"""Threads that carry the tasks of a batch to their outcomes: many runs, few threads.

Strategy: workers take tasks from one queue. In a batch of up to 32 runs at a time there is a worker
for each, which starts the run and holds long polls for it, so the end of a run shows at once. A
larger batch has 24 workers and parks the runs that they cannot wait for (`_parking`).

Invariant: an error that is not the outcome of a run, such as a full disk, is raised in the caller's
thread.
"""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
import time
from typing import TYPE_CHECKING

from acp_client_v0_1._http.attempt import Interruptible
from acp_client_v0_1._http.slots import Flag
from acp_client_v0_1.batch._driver import RunDriver, Stopped, cancel_run
from acp_client_v0_1.batch._parking import UnattendedRuns
from acp_client_v0_1.batch._tasks import Plan, Task, note_deleted
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._timing import timing

if TYPE_CHECKING:
    from collections.abc import Callable

    from acp_client_v0_1.batch._journal import Journal
    from acp_client_v0_1.handles.agent import AgentHandle

__all__ = ["Workers"]

_MOST_WORKERS = 32  # a batch of no more runs at a time has a worker for each
_CROWD_WORKERS = 24  # workers of larger batches


class _Calls(Interruptible):
    """The calls of a thread."""

    task: Task | None = None  # that they are for


class Workers:
    """The threads of one batch."""

    def __init__(
        self, plan: Plan, agent: AgentHandle, journal: Journal | None, concurrency: int
    ) -> None:
        self._journal = journal
        self._stop = Flag()
        self._driver = RunDriver(plan, agent, journal, self._stop)
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Task | BaseException] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._calls: list[_Calls] = []  # of each thread
        self.in_flight: dict[int, Task] = {}  # submitted and not taken, by index
        self._workers, self._most_workers = 0, concurrency
        self._parking: UnattendedRuns | None = None
        if concurrency > _MOST_WORKERS:
            self._most_workers = _CROWD_WORKERS
            self._parking = UnattendedRuns(plan, self._driver, self._stop, self._tasks.put)

    # For the caller, from one thread

    def submit(self, task: Task) -> None:
        """Carry a task to its outcome."""
        self.in_flight[task.index] = task
        self._tasks.put(task)
        if self._workers < min(self._most_workers, len(self.in_flight)):
            parking = self._parking
            if parking is not None and not self._workers:
                self._spawn(lambda _: parking.search(), "searcher")
            self._workers += 1
            self._spawn(self._work, f"worker {self._workers}")

    def take(self, timeout: float) -> Task | None:
        """Return a task that has its outcome, None if there is none within the timeout (seconds).

        Raises what has ended a thread, such as an `OSError` of the journal.
        """
        try:
            # Not get(timeout=0), which may wait for ever on CPython 3.10.
            outcome = self._outcomes.get(timeout > 0, timeout)
        except queue.Empty:
            return None
        if isinstance(outcome, BaseException):
            raise outcome
        del self.in_flight[outcome.index]
        return outcome

    def close(self, *, cancel: bool) -> int:
        """End the threads; return how many runs are still under way.

        With ``cancel``, those are deleted first.
        """
        self._stop.set()
        # One more, as an interrupt may have struck between the start of a thread and its listing.
        for _ in range(len(self._threads) + 1):
            self._tasks.put(None)
        self._end_threads()
        left = [task for task in self.in_flight.values() if task.outcome is None]
        if cancel:
            left = self._cancel([task for task in left if task.run_id])
        started = [task for task in left if task.run_id]
        for task in started:
            self._driver.core(task).ended("")
        return len(started)

    def _end_threads(self) -> None:
        """Break long polls at once, and other calls after a moment, until all threads are gone."""
        clock, began = timing(), time.monotonic()
        # A batch may be dropped by a thread of its own, which collects garbage.
        here = threading.current_thread()
        left = [thread for thread in self._threads if thread is not here]
        while left and (past := time.monotonic() - began) < clock.threads:
            for calls in list(self._calls):
                if past > clock.grace or (calls.task is not None and calls.task.polling):
                    calls.interrupt()
            left[0].join(0.05)
            left = [thread for thread in left if thread.is_alive()]

    @property
    def outage(self) -> float:
        """Seconds for which the server has only failed, 0 if it works."""
        since = self._driver.contact.since
        return 0.0 if since is None else timing().now() - since

    def duplicates(self, known: int) -> int:
        """Return how many runs are one too many for their input: those that were met."""
        return known

    def _cancel(self, tasks: list[Task]) -> list[Task]:
        """Delete the runs of tasks; return those whose runs may still be there."""
        waiting = list(tasks)
        left: list[Task] = []
        clock = timing()
        ends = clock.now() + 3 * clock.cancel  # for all of them

        def work() -> None:
            with contextlib.suppress(IndexError):
                while True:
                    task = waiting.pop()
                    try:
                        if clock.now() > ends:
                            left.append(task)
                        elif cancel_run(self._driver.core(task)):
                            note_deleted(self._journal, task)
                    except ApiException:
                        left.append(task)

        threads = [_thread(work, f"end {n}") for n in range(min(len(tasks), _CROWD_WORKERS))]
        for thread in threads:
            thread.join()
        return left

    # In the threads

    def _spawn(self, work: Callable[[_Calls], object], name: str) -> None:
        self._threads.append(_thread(lambda: self._run(work), name))

    def _run(self, work: Callable[[_Calls], object]) -> None:
        """Do the work of a thread; what it raises is raised in the caller's."""
        with _Calls() as calls:
            self._calls.append(calls)
            try:
                work(calls)
            except Stopped:
                pass
            except BaseException as error:  # noqa: BLE001
                self._outcomes.put(error)

    def _work(self, calls: _Calls) -> None:
        while (task := self._tasks.get()) is not None and not self._stop.is_set():
            calls.task = task
            if self._parking is not None:
                self._carry_in_crowd(calls, task, self._parking)
                continue
            if self._driver.start(task):
                while not self._driver.poll(task, timing().window):
                    pass
            self._outcomes.put(task)

    def _carry_in_crowd(self, calls: _Calls, task: Task, parking: UnattendedRuns) -> None:
        """Do the next step of a task, and hold long polls as long as few do."""
        if not task.parked_at:
            if not self._driver.start(task):
                self._outcomes.put(task)
                return
        else:  # a search says that it has ended
            ended = self._poll(task, 1)
            parking.note(task, ended=ended)
            if ended:
                return
        if not parking.enter(task):
            return
        held: Task | None = task
        try:
            while held is not None:
                calls.task = held
                ended = self._poll(held, parking.window(len(self.in_flight)))
                held = parking.exchange(None if ended else held)
        except BaseException:
            parking.leave()
            raise

    def _poll(self, task: Task, window: int) -> bool:
        ended = self._driver.poll(task, window)
        if ended:
            self._outcomes.put(task)
        return ended


def _thread(target: Callable[[], object], name: str) -> threading.Thread:
    # The context of the caller, so that its span is the parent of what the thread does.
    context = contextvars.copy_context()
    name = f"acp batch {name}"
    thread = threading.Thread(target=context.run, args=(target,), name=name, daemon=True)
    thread.start()
    return thread
