"""Threads that carry the tasks of a batch to their outcomes: many runs, few threads.

Strategy: workers take tasks from one queue. In a batch of up to 32 runs at a time, each run has a
worker, which starts the run and holds long polls for it. So the end of a run is seen at once. A
larger batch has 24 workers, and parks the runs that no worker waits for (`_parking`).

Invariant: an error that is not the outcome of a run, such as a full disk, is raised in the caller's
thread.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal

from acp_client_v0_1._http.attempt import Interruptible
from acp_client_v0_1._http.slots import Flag, Inbox
from acp_client_v0_1._text import package_logger
from acp_client_v0_1.batch._driver import BatchEnded, RunDriver
from acp_client_v0_1.batch._journal import Journal
from acp_client_v0_1.batch._parking import ParkedRuns
from acp_client_v0_1.batch._tasks import Plan, Task
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.handles._core import RunCore
from acp_client_v0_1.handles._known import Gone
from acp_client_v0_1.handles._rules import Decided, undecided
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles.agent import AgentHandle

_log = package_logger(__name__)

# A batch of at most this many runs at a time has a worker for each run.
_MOST_WORKERS = 32
# A larger batch has this many workers.
_CROWD_WORKERS = 24


class _Calls(Interruptible):
    """The calls of one thread of a batch, which the end of the batch may interrupt."""

    # The task that the thread works on now.
    task: Task | None = None


class Workers:
    """The threads of one batch."""

    def __init__(
        self, plan: Plan, agent: AgentHandle[Any, Any], journal: Journal | None, concurrency: int
    ) -> None:
        self._journal = journal
        self._driver = RunDriver(plan, agent, journal)
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._ended: Inbox[Task | BaseException] = Inbox()
        self._threads: list[threading.Thread] = []
        # One item for each thread. The thread itself adds it.
        self._calls: list[_Calls] = []
        # The tasks that were submitted and not taken, by index.
        self.in_flight: dict[int, Task] = {}
        is_crowd = concurrency > _MOST_WORKERS
        self._worker_count, self._most_workers = 0, _CROWD_WORKERS if is_crowd else concurrency
        self._parked = ParkedRuns(self._driver, self._tasks.put) if is_crowd else None

    # In the caller's thread

    def submit(self, task: Task) -> None:
        """Queue a task, and start another worker if there are too few."""
        self.in_flight[task.index] = task
        self._tasks.put(task)
        if self._worker_count < min(self._most_workers, len(self.in_flight)):
            parked = self._parked
            if parked is not None and not self._worker_count:
                self._spawn(lambda _: parked.search(), "searcher")
            self._worker_count += 1
            self._spawn(self._work, f"worker {self._worker_count}")

    def take(self, timeout: float) -> Task | None:
        """Return a task that has ended. Return None if no task ends within ``timeout`` seconds.

        Raises the error that ended a thread, such as an `OSError` of the journal.
        """
        if (ended := self._ended.get(timeout)) is None:
            return None
        if isinstance(ended, BaseException):
            raise ended
        del self.in_flight[ended.index]
        return ended

    def close(self, *, cancel: bool) -> tuple[int, int]:
        """End the threads, then with ``cancel`` delete the runs in flight whose ids are known.

        Return how many runs are left in flight, and how many more may have been started. A run may
        have been started if its create was interrupted: it has no id, so it cannot be deleted.
        """
        self._driver.stop.set()
        self._tasks.put(None)
        self._end_threads()
        left = {task for task in self.in_flight.values() if task.run_id and task.outcome is None}
        # If a thread has sent a request for a task that has no run, this was probably the create.
        # It may also have been a request before the create, such as a search for the run.
        sent = {calls.task for calls in self._calls if getattr(calls.attempt, "sent", False)}
        unknown = [task for task in sent if task and not task.run_id and task.outcome is None]
        if cancel:
            left = cancel_runs({task: [self._driver.core(task)] for task in left}, self._journal)
        for task in left:
            self._driver.core(task).end_span("")
        return len(left), len(unknown)

    def _end_threads(self) -> None:
        """Wait for the threads to end, at most 2.5 seconds.

        Long polls are interrupted at once, and other calls after 1.5 seconds.
        """
        clock, began = timing(), timing().now()
        # A garbage collection that ends the batch may run in a thread of the batch. A thread must
        # not join itself.
        here = threading.current_thread()
        left = [thread for thread in self._threads if thread is not here]
        while left and (past := clock.now() - began) < clock.threads:
            for calls in list(self._calls):
                # The thread may set the attempt to None meanwhile, so it is read once.
                attempt = calls.attempt
                if past > clock.grace or (attempt is not None and attempt.timeout.window):
                    calls.interrupt()
            left[0].join(clock.step)
            left = [thread for thread in left if thread.is_alive()]

    @property
    def outage(self) -> float:
        """Seconds since the server began to fail, or 0 if it works."""
        outage = self._driver.contact.health.outage
        return 0.0 if outage is None else timing().now() - outage.since

    def duplicates(self, known: int) -> int:
        """Return how many runs were created beyond the first of each input.

        The threads have reported all these runs: ``known`` is their number.
        """
        return known

    # In the threads

    def _spawn(self, work: Callable[[_Calls], object], name: str) -> None:
        self._threads.append(_thread(lambda: self._run(work), name))

    def _run(self, work: Callable[[_Calls], object]) -> None:
        with _Calls() as calls:
            self._calls.append(calls)
            try:
                work(calls)
            except BatchEnded:
                pass
            except BaseException as error:  # noqa: BLE001 - raised by `take`
                self._ended.put(undecided(error))

    def _work(self, calls: _Calls) -> None:
        while (task := self._tasks.get()) is not None and not self._driver.stop.is_set():
            calls.task, calls.attempt = task, None
            if self._parked is not None:
                self._carry_in_crowd(calls, task, self._parked)
                continue
            self._driver.start(task)
            while task.outcome is None:
                self._driver.poll(task, timing().window)
            self._ended.put(task)
        # None ends a worker. The worker puts the None back, for the next worker.
        self._tasks.put(None)

    def _carry_in_crowd(self, calls: _Calls, task: Task, parked: ParkedRuns) -> None:
        """Start or poll a task. Then hold long polls, unless enough workers do so already."""
        if not task.parked_at:
            self._driver.start(task)
        else:
            # The task was parked and given back: its run seems to have ended, or its timeout is
            # over.
            parked.note(task, hit=self._driver.poll(task, 1))
        if task.outcome is not None:
            self._ended.put(task)
            return
        held = task if parked.enter(task) else None
        # If a poll raises an error, this worker still counts as one that holds long polls. That
        # does no harm, because the error ends the batch.
        while held is not None:
            calls.task = held
            self._driver.poll(held, parked.window(len(self.in_flight)))
            if held.outcome is not None:
                self._ended.put(held)
            held = parked.exchange(held)


def _thread(target: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread that calls ``target``, and return the thread."""
    # The thread runs in the context of the caller. So the caller's span is the parent of the spans
    # in the thread.
    context = contextvars.copy_context()
    name = f"acp batch {name}"
    thread = threading.Thread(target=context.run, args=(target,), name=name, daemon=True)
    thread.start()
    return thread


# Deleting runs at the end ---------------------------------------------------------------------


def cancel_runs(runs: Mapping[Task, list[RunCore]], journal: Journal | None) -> set[Task]:
    """Delete the runs that have not ended. Return the tasks with a run that could not be deleted.

    An error of the journal, such as a full disk, keeps no run from being deleted. It is raised at
    the end.
    """
    # The threads take from the end of this list. A thread that takes a None ends.
    waiting = [*[None] * _CROWD_WORKERS, *runs.items()]
    left, errors = set[Task](), list[BaseException]()
    # No deletion begins after this time, or once `stop` is set.
    ends, stop = timing().now() + 3 * timing().cancel, Flag()

    def work() -> None:
        for task, cores in iter(waiting.pop, None):
            try:
                # Each run is tried. If one of them is not gone, the task keeps its client token, so
                # that the next call with the journal finds this run.
                ends_of_runs = {_cancel_run(core, stop, ends) for core in cores}
                if "left" in ends_of_runs:
                    left.add(task)
                elif ends_of_runs == {"gone"}:
                    # If Ctrl-C interrupts the end, the runs that are left are counted again. With
                    # an outcome, this task does not count.
                    task.outcome = {}
                    if journal is not None:
                        # The next call with the journal starts another run.
                        task.start_over()
                        journal.starting(task)
            except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
                errors.append(error)

    try:
        threads = [_thread(work, f"end {n}") for n in range(min(len(runs), _CROWD_WORKERS))]
        for thread in threads:
            thread.join()
    finally:
        # Ctrl-C may have interrupted this. Then the threads delete nothing more.
        stop.set()
    if errors:
        raise errors[0]
    return left


def _cancel_run(core: RunCore, stop: Flag, ends: float) -> Literal["gone", "ended", "left"]:
    """Delete a run unless it has ended, and return what has become of it.

    It is "left" if an error or a lack of time has prevented the deletion.
    """
    clock = timing()
    try:
        if clock.now() > ends or stop.is_set():
            return "left"
        wait = core.wait(clock.cancel, stop, what="was not deleted")
        if core.cancel(wait, proven=True):
            return "gone"
        # `core.cancel` reads the run, and deletes it if it has not ended. False means that the run
        # has ended:
        # - If the run ended before that read, no DELETE was sent, and the server has the run.
        # - If the run ended between the read and the DELETE, the DELETE may have removed it. Then
        #   the next line raises `Gone`, and the run counts as gone.
        core.read(core.wait(clock.cancel))
        return "ended"
    except Gone:
        return "gone"
    except (ApiException, Decided) as error:
        log_undeleted(undecided(error))
        return "left"


def log_undeleted(error: BaseException) -> None:
    _log.warning("runs of the batch could not be deleted: %s", error)
