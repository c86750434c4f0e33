"""Threads that start the runs of a batch and notice their ends: many runs, few threads.

Strategy: workers take tasks from one queue. A worker that has started a run holds a long poll for
it, which shows its end at once. A batch of up to 32 runs at a time has a worker for each, so it is
exact. A larger one has 24, of which 12 hold long polls; the other runs are parked, with no thread.
One more thread searches for the runs with the mark of the batch that are still pending, a page of
1,000 at a time. A parked run that is not among them goes back into the queue, to have its output
fetched. The pause between two searches grows while they find nothing, up to a tenth of the time for
which the oldest run has been parked: short runs are looked at often, long ones seldom.

A search is a hint only: the output decides. The long polls go round the parked runs, for a short
window each, so every run gets its outcome even if the server does not search, ignores the metadata,
or calls a run pending that is over.

Invariants: no worker sleeps for one run while others wait for it, except for those that hold long
polls; a 429, or any response with ``Retry-After``, stops all requests, not just its own; what the
journal says is written before the caller hears of it; an error that is not the outcome of a
run, such as a full disk, is raised in the caller's thread.
"""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from acp_client_v0_1._http.attempt import Interruptible
from acp_client_v0_1._http.slots import Flag
from acp_client_v0_1.batch._gate import Gate, Stopped
from acp_client_v0_1.batch._search import PendingRuns
from acp_client_v0_1.batch._tasks import MOST_POSTS, Agent, Plan, Recorder, Task
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiValueError,
    NotFoundException,
    OpenApiException,
)
from acp_client_v0_1.handles._answering import answer_run, outcome_of
from acp_client_v0_1.handles._link import RunLink
from acp_client_v0_1.handles._patience import Patience, is_passing
from acp_client_v0_1.handles._starting import (
    create,
    find_by_token,
    new_client_token,
    without_retries,
)
from acp_client_v0_1.handles._tracing import end_run, in_run, keep_span, new_run
from acp_client_v0_1.handles.errors import (
    InterruptLimit,
    RunStartAmbiguous,
    StaleInterrupt,
)
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_result import RunResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from acp_client_v0_1.models.run import Run
    from acp_client_v0_1.models.run_output import RunOutput

__all__ = ["Workers"]

MOST_WORKERS = 32  # a batch of no more runs at a time has a worker for each
_CROWD = 24  # workers of larger batches
_LONG = 30  # seconds of a long poll
_SHORT = 2  # seconds of one while other runs wait for their turn
_MARGIN = 10.0  # seconds that a response may take beyond that
_FIRST_PAUSE = 0.25  # seconds; doubles with each failure in a row
_LONGEST_PAUSE = 4.0
_PATIENCE = 300.0  # seconds of nothing but failures, for one run without a timeout
_MOST_ANSWERS = 1000  # to the questions of one run
_STARTERS = 4  # workers that hold no long polls, where a server does not search
_QUICKEST, _SLOWEST = 0.2, 10.0  # seconds between two searches
_DOUBT = 2.0  # seconds for which a search is not believed after it was wrong of a run
_GRACE = 1.5  # seconds at the end for requests that are under way, creates above all
_LAST = 2.5  # seconds until threads that do not end are left behind


class _Calls(Interruptible):
    """The calls of a worker.

    Attributes:
        polling: It holds a long poll, which may be broken.
    """

    polling = False


class _Own(threading.local):
    """What belongs to the thread that asks."""

    calls: _Calls


class Workers:
    """The threads of one batch.

    Args:
        plan: What its runs share.
        agent: Their agent.
        concurrency: How many runs may be under way.
        recorder: What writes the journal.
    """

    def __init__(self, plan: Plan, agent: Agent, concurrency: int, recorder: Recorder) -> None:
        self._plan = plan
        self._agent = agent
        self._runs = without_retries(agent.runs)
        self._recorder = recorder
        self._stop = Flag()
        self._gate = Gate(self._stop)
        self._crowded = concurrency > MOST_WORKERS
        self._most_workers = _CROWD if self._crowded else concurrency
        self._most_holding = _CROWD // 2 if self._crowded else concurrency
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Task | BaseException] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._calls: list[_Calls] = []  # of each thread
        self._own = _Own()
        self._in_flight: dict[int, Task] = {}  # by index; touched by the caller's thread only
        self._lock = threading.Lock()  # for the next ones
        self._parked: OrderedDict[str, Task] = OrderedDict()  # by run id, the oldest first
        self._holding = 0
        self._searcher: threading.Thread | None = None
        self._pending = PendingRuns(plan, self._runs, self._gate)

    # For the caller, from one thread

    def submit(self, task: Task) -> None:
        """Carry a task to its outcome."""
        self._in_flight[task.index] = task
        self._tasks.put(task)
        if len(self._threads) < min(self._most_workers, len(self._in_flight)):
            self._threads.append(_spawn(self._work, f"worker {len(self._threads) + 1}"))

    def take(self, timeout: float | None) -> Task | None:
        """Give a task that has its outcome.

        Args:
            timeout: Seconds to wait for one.

        Returns:
            The task, None if there is none in time.

        Raises:
            OSError, JournalError: The journal could not be written.
        """
        if not timeout and self._outcomes.empty():
            return None  # quicker than an exception
        try:
            outcome = self._outcomes.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(outcome, BaseException):
            raise outcome
        del self._in_flight[outcome.index]
        return outcome

    def stop(self) -> None:
        """Let the threads end, without waiting for them."""
        self._stop.set()
        for _ in self._threads:
            self._tasks.put(None)

    def close(self, *, cancel: bool) -> int:
        """Let the threads end, and wait for it a little.

        Args:
            cancel: Delete the runs that are under way.

        Returns:
            How many runs are still under way.
        """
        self.stop()
        self._end_threads()
        left = [task for task in self._in_flight.values() if task.outcome is None]
        if cancel:
            left = self._cancel(left)
        for task in left:
            if task.link is not None:
                end_run(task.link, "")
        return sum(1 for task in left if task.run_id)

    def _end_threads(self) -> None:
        """Break long polls at once, and other calls after a moment, until all threads are gone."""
        began = time.monotonic()
        # Who drops a batch may be a thread of it that collects garbage.
        here = threading.current_thread()
        threads = [*self._threads, *([self._searcher] if self._searcher else [])]
        left = [thread for thread in threads if thread is not here]
        while left and (past := time.monotonic() - began) < _LAST:
            for calls in list(self._calls):
                if calls.polling or past > _GRACE:
                    calls.interrupt()
            left[0].join(0.05)
            left = [thread for thread in left if thread.is_alive()]

    def duplicates(self, known: int) -> int:
        """Give how many runs are one too many for their input: those that were met."""
        return known

    def _cancel(self, tasks: list[Task]) -> list[Task]:
        """Delete the runs of tasks; gives those whose runs may still be there."""
        waiting = queue.SimpleQueue[Task]()
        for task in tasks:
            waiting.put(task)
        left: list[Task] = []

        def work() -> None:
            with contextlib.suppress(queue.Empty):
                while True:
                    task = waiting.get(False)
                    try:
                        if task.link is not None and task.link.cancel(Patience(_MARGIN)):
                            # The next call with the journal shall start it anew.
                            task.token, task.started_before = new_client_token(), False
                            self._recorder.starting(task)
                    except ApiException:
                        left.append(task)

        threads = [_spawn(work, f"end {n}") for n in range(min(len(tasks), self._most_workers))]
        for thread in threads:
            thread.join()
        return left

    # In the threads

    def _work(self) -> None:
        with _Calls() as calls:
            self._calls.append(calls)
            self._own.calls = calls
            while (task := self._tasks.get()) is not None and not self._stop.is_set():
                try:
                    self._carry(task)
                except Stopped:
                    break
                except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
                    self._outcomes.put(error)
            # An interrupt may have struck between the start of a thread and its listing: so each
            # thread that ends lets another one end.
            self._tasks.put(None)

    def _carry(self, task: Task) -> None:
        """Do the next step of a task, and hold long polls as long as few do."""
        if task.link is None and not self._start(task):
            return
        if task.ended:
            if self._poll(task, 1):
                self._pending.hits += 1
                return
            self._pending.mistakes += 1
            task.ended, task.doubt_until = False, time.monotonic() + _DOUBT
        held: Task | None = task
        with self._lock:
            most = self._most_holding if self._pending.usable else _CROWD - _STARTERS
            if self._holding >= most:
                self._park(task)
                return
            self._holding += 1
        try:
            while held is not None:
                held = self._next_to_hold(None if self._poll(held, self._window()) else held)
        except BaseException:
            with self._lock:
                self._holding -= 1
            raise

    def _next_to_hold(self, task: Task | None) -> Task | None:
        """Park a task and give the oldest of the parked ones; None if there is nothing to hold."""
        with self._lock:
            if self._parked:
                if task is not None:
                    self._park(task)
                return self._parked.popitem(last=False)[1]
            if task is None:
                self._holding -= 1
        return task

    def _park(self, task: Task) -> None:
        task.parked_at = time.monotonic()
        self._parked[task.run_id] = task
        if self._searcher is None and not self._stop.is_set():
            self._searcher = _spawn(self._search, "searcher")

    def _window(self) -> int:
        if len(self._in_flight) <= self._most_holding:
            return _LONG
        return _SHORT if self._pending.usable else 1

    # Starting

    def _start(self, task: Task) -> bool:
        """Get the run of a task; False if there is none, and the task has its outcome."""
        try:
            if task.run_id:
                task.link = RunLink(self._agent.runs, task.run_id)
            else:
                self._create(task)
        except OpenApiException as error:
            return not self._end(task, error)
        task.wait_from_now(self._plan.timeout)
        return True

    def _create(self, task: Task) -> None:
        if self._plan.check:
            self._agent.check(input=task.input, config=self._plan.config)
        plan = self._plan
        try:
            creation = RunCreate(
                agent_id=plan.agent_id,
                input=task.input,
                config=plan.config,  # type: ignore[arg-type]
                metadata=plan.marks(task.token),
            )
        except ValidationError as error:
            raise ApiValueError(f"input {task.index} cannot be sent: {error}") from error
        self._recorder.starting(task)
        with new_run(self._agent) as span:
            found = self._post(task, creation)
        task.run_id, task.duplicates = found[0].run_id, len(found) - 1
        task.link = RunLink(self._agent.runs, task.run_id)
        keep_span(task.link, span)
        task.link.note(found[0])
        task.link.note_started()
        self._recorder.started(task)

    def _post(self, task: Task, creation: RunCreate) -> list[Run]:
        """Create the run, or find the one that an earlier call has created."""
        if task.started_before and (found := self._find(task)):
            return found
        posts = 0
        while True:
            posts += 1
            try:
                return create(
                    self._runs,
                    creation,
                    stop=self._stop,
                    wait_turn=self._gate.wait,
                    on_limited=self._gate.close_for,
                )
            except RunStartAmbiguous as error:
                # A search that works and finds nothing is what the next call would go by, too.
                if self._stop.is_set():
                    raise Stopped from error
                if not error.searched or posts == MOST_POSTS:
                    raise
            except ApiException as error:
                if self._stop.is_set() and is_passing(error):
                    raise Stopped from error
                raise

    def _find(self, task: Task) -> list[Run]:
        patience = Patience(None, self._stop)
        while True:
            self._gate.wait()
            try:
                return find_by_token(self._runs, task.token, self._plan.agent_id, timeout=_MARGIN)
            except ApiException as error:
                if is_passing(error) and patience.elapsed < _PATIENCE:
                    self._gate.heed(error)
                    patience.pause(patience.pause_after(error))
                else:
                    raise RunStartAmbiguous(
                        client_token=task.token, token="", why=f"an earlier call: {error}"
                    ) from error

    # Waiting

    def _poll(self, task: Task, window: int) -> bool:
        """Ask once for the output of a task; True if the task has its outcome."""
        self._gate.wait()
        asked = time.monotonic()
        remaining = task.deadline - asked
        window = int(min(window, max(0.0, remaining)))
        # The client's own limits fit a window, and change no setting of its sockets.
        calls, limit = self._own.calls, None if window else _MARGIN
        try:
            calls.polling = True
            with in_run(_link(task), waits=True):
                output = self._runs.get_run_output(task.run_id, window or None, limit)
        except NotFoundException as error:
            link = _link(task)
            return self._pause(task, error) if link.young else self._end(task, link.gone())
        except ApiException as error:
            return self._fail(task, error)
        finally:
            calls.polling = False
        task.failures = 0
        if output is not None:
            return self._take(task, output)
        if time.monotonic() >= task.deadline:
            return self._give_up(task, "there is no output")
        if not window or time.monotonic() - asked < 0.9 * window:
            task.early += 1
            self._sleep(task, min(_LONGEST_PAUSE / 2, 0.05 * 2.0 ** min(task.early, 8)))
        return False

    def _fail(self, task: Task, error: ApiException) -> bool:
        """Survive a failed request for an output, or take it for the outcome."""
        if self._stop.is_set():
            raise Stopped from error
        now = time.monotonic()
        if now >= task.deadline:
            return self._give_up(task, f"the last request failed: {error}")
        too_long = task.failures and now - task.failing_since > _PATIENCE
        if too_long or not is_passing(error):
            return self._end(task, error)
        return self._pause(task, error)

    def _pause(self, task: Task, error: ApiException) -> bool:
        self._gate.heed(error)
        if not task.failures:
            task.failing_since = time.monotonic()
        task.failures += 1
        self._sleep(task, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(task.failures, 8)))
        return False

    def _sleep(self, task: Task, seconds: float) -> None:
        if not task.ended:  # else it is parked instead, so that its worker can go on
            self._stop.wait(min(seconds, max(0.0, task.deadline - time.monotonic())))

    def _give_up(self, task: Task, why: str) -> bool:
        elapsed = self._plan.timeout or 0.0
        return self._end(task, _link(task).too_late(elapsed, why))

    def _take(self, task: Task, output: RunOutput) -> bool:
        """Take an output: it ends the task, unless it is a question that is answered."""
        if isinstance(output.actual_instance, RunResult):
            return self._end(task, output.actual_instance.result)
        try:
            outcome = outcome_of(_link(task), output, Patience(self._plan.timeout, self._stop))
            if isinstance(outcome, PendingInterrupt):
                return self._answer(task, outcome)
        except OpenApiException as error:
            return self._end(task, error)
        return outcome is not None and self._end(task, outcome)

    def _answer(self, task: Task, question: PendingInterrupt) -> bool:
        link, ask = _link(task), self._plan.on_interrupt
        if ask is None:
            return self._end(task, link.interrupted(question))
        if task.answered >= _MOST_ANSWERS:
            raise InterruptLimit(run_id=task.run_id, token=link.token(), limit=_MOST_ANSWERS)
        try:
            answer = ask(question)
        except Exception as error:  # noqa: BLE001 - what the callback raises is the outcome
            return self._end(task, error)
        if answer is None:
            return self._end(task, link.interrupted(question, ", and on_interrupt gave None"))
        with contextlib.suppress(StaleInterrupt):  # somebody was quicker: ask anew
            answer_run(link, answer, question, Patience(self._plan.timeout, self._stop))
            task.answered += 1
        task.wait_from_now(self._plan.timeout)
        return False

    def _end(self, task: Task, outcome: dict[str, Any] | Exception) -> bool:
        """Give a task its outcome; True."""
        task.outcome = outcome
        if task.link is not None:
            end_run(task.link, outcome)
        self._recorder.ended(task)
        self._outcomes.put(task)
        return True

    # Searching

    def _search(self) -> None:
        """Put parked tasks that may have ended back into the queue, until the batch ends."""
        pause = _QUICKEST
        while not self._stop.wait(pause):
            began = time.monotonic()
            with self._lock:
                parked = [task for task in self._parked.values() if task.parked_at < began]
            if not parked:
                pause = _QUICKEST
                continue
            try:
                found = self._put_back(parked, self._pending.find(len(parked)), began)
            except Stopped:
                return
            except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
                self._outcomes.put(error)
                return
            now = time.monotonic()
            pause = pause / 2 if found else pause * 1.5
            pause = min(pause, 0.1 * (now - parked[0].parked_at), _SLOWEST)
            pause = max(pause, 4 * (now - began), _QUICKEST)

    def _put_back(self, parked: list[Task], pending: set[str] | None, now: float) -> int:
        """Put back what is not pending, as far as is known, or out of time; how many there were."""
        found = 0
        for task in parked:
            ended = pending is not None and task.run_id not in pending and task.doubt_until < now
            if not ended and task.deadline > now:
                continue
            with self._lock:
                if self._parked.pop(task.run_id, None) is None:
                    continue  # a worker holds a long poll for it
            task.ended = True
            self._tasks.put(task)
            found += 1
        return found


def _link(task: Task) -> RunLink:
    if task.link is None:
        raise RuntimeError(f"the task {task.index} has no run")
    return task.link


def _spawn(target: Callable[[], object], name: str) -> threading.Thread:
    # The context of the caller, so that its span is the parent of what the thread does.
    context = contextvars.copy_context()
    name = f"acp batch {name}"
    thread = threading.Thread(target=context.run, args=(target,), name=name, daemon=True)
    thread.start()
    return thread
