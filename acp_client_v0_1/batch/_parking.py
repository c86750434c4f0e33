"""The parked runs of a large batch: no thread waits for them, and searches show which have ended.

Strategy: a few workers hold long polls for some runs. The other runs are parked. One thread
searches for the batch's pending runs, a page of 1,000 at a time. A parked run that is not among the
pending runs goes back to the workers, which fetch its output. While searches find all parked runs
pending, the pause between two searches grows. It grows up to 10 seconds, or up to a tenth of the
longest time for which a run has been parked, if that is less. So short runs are checked often, and
long runs seldom.

A search is only a hint: the output decides. After each long poll without an output, the worker
parks its run, and polls the run that was parked first. Each of these polls has a short window. So
every run gets its outcome, even if the server cannot search, ignores the metadata, or still calls a
run pending that has ended.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1.batch._driver import RunDriver
from acp_client_v0_1.batch._tasks import BATCH_KEY, Task
from acp_client_v0_1.handles._rules import BESIDE, Decided
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._wait import Wait
from acp_client_v0_1.models import Run, RunStatus

# This many workers of a large batch hold long polls. The others start runs and fetch outputs.
_HOLDERS = 12
# If searches are given up, this many workers hold long polls.
_HOLDERS_ALONE = 20
# Searches are given up after more mistakes than this, if there are also more mistakes than hits.
# `ParkedRuns` says what a mistake and a hit are.
_MOST_MISTAKES = 100
# A search is read in pages of this many runs.
_PAGE = 1000
# The pages overlap by this many runs, because each run that ends meanwhile moves the runs after it
# towards the first page.
_OVERLAP = 100
# A server that ignores the metadata lists other runs, too. So a search may read this many pages
# more than the parked runs fill.
_SPARE_PAGES = 10


class ParkedRuns:
    """The parked tasks of a batch, and the number of workers that hold long polls.

    ``put_back`` gives a task back to the workers.
    """

    def __init__(self, driver: RunDriver, put_back: Callable[[Task], object]) -> None:
        self._driver = driver
        self._put_back = put_back
        # The lock guards the parked tasks and the number of holders.
        self._lock = threading.Lock()
        # The parked tasks by index. The task that was parked first comes first.
        self._parked: OrderedDict[int, Task] = OrderedDict()
        # The number of workers that hold long polls.
        self._holders = 0
        # A search gives back the tasks whose runs are not listed as pending. Each of these tasks is
        # then polled once. The poll shows whether the search was right:
        # - A hit: the poll ends the task, also because its timeout is over, or gets a question.
        # - A mistake: the poll gets no output.
        self._hits = self._mistakes = 0
        # True until searches are given up.
        self._searches = True

    # For the workers

    def window(self, in_flight: int) -> int:
        """Return the window of the next long poll, in seconds.

        The window is short if more than `_HOLDERS` runs are in flight.
        """
        if in_flight <= _HOLDERS:
            return timing().window
        return timing().short_window if self._searches else 1

    def note(self, task: Task, *, hit: bool) -> None:
        """Count a hit or a mistake of the search that gave this task back.

        After a mistake, searches are not believed about the run of this task for some seconds.
        """
        if hit:
            self._hits += 1
        else:
            self._mistakes += 1
            task.doubt_until = timing().now() + timing().doubt

    def enter(self, task: Task) -> bool:
        """Count the calling worker as one that holds long polls, and return True.

        If enough workers hold long polls already, park the task instead, and return False.
        """
        with self._lock:
            if self._holders >= (_HOLDERS if self._searches else _HOLDERS_ALONE):
                self._park(task)
                return False
            self._holders += 1
            return True

    def exchange(self, task: Task) -> Task | None:
        """Park the task of a worker, unless the task has ended. Return the task parked first.

        If no task is parked, return None. Then the worker does not count as one that holds long
        polls any more.
        """
        with self._lock:
            if task.outcome is None:
                self._park(task)
            if self._parked:
                return self._parked.popitem(last=False)[1]
            self._holders -= 1
            return None

    def _park(self, task: Task) -> None:
        task.parked_at = timing().now()
        self._parked[task.index] = task

    # In a thread of its own

    def search(self) -> None:
        """Search again and again for runs that have ended, until the batch ends.

        Give the tasks of these runs back to the workers, and the tasks whose timeout is over.
        """
        clock = timing()
        pause = shortest = clock.parked_searches[0]
        while not self._driver.stop.wait(pause):
            began = clock.now()
            with self._lock:
                parked = [task for task in self._parked.values() if task.parked_at < began]
            if not parked:
                pause = shortest
                continue
            found = self._release(parked, self._pending(len(parked)), began)
            now = clock.now()
            pause = pause / 2 if found else pause * 1.5
            pause = min(pause, 0.1 * (now - parked[0].parked_at), clock.parked_searches[1])
            # After a search that took long, the pause is long, so that searches take at most a
            # fifth of the time.
            pause = max(pause, 4 * (now - began), shortest)

    def _release(self, parked: list[Task], pending: set[str] | None, now: float) -> bool:
        """Give back the tasks whose runs seem to have ended, or whose timeout is over.

        Return whether any task was given back. ``pending`` has the ids of the pending runs. None
        means that these ids are not known. Then only tasks whose timeout is over are given back.
        """
        found = False
        for task in parked:
            ended = pending is not None and task.run_id not in pending and task.doubt_until < now
            late = task.polls is not None and task.polls.wait.remaining() <= 0
            if ended or late:
                with self._lock:
                    # A worker may have taken the task to hold a long poll for it.
                    if self._parked.pop(task.index, None) is None:
                        continue
                self._put_back(task)
                found = True
        return found

    def _pending(self, expected: int) -> set[str] | None:
        """Return the ids of the pending runs of the batch, or None if they are not known.

        ``expected`` is the number of parked runs. The search reads at most ten pages more than
        ``expected`` runs would need.
        """
        if not self._searches:
            return None
        plan, contact, stop = self._driver.plan, self._driver.contact, self._driver.stop
        wanted: dict[str, Any] = {
            "agent_id": plan.agent_id,
            "status": RunStatus.PENDING,
            "metadata": {BATCH_KEY: plan.batch_mark},
            "limit": _PAGE,
        }

        def search(offset: int, limit: float) -> list[Run]:
            # By its keyword, because its position may change in a later contract.
            return contact.runs.search_runs({**wanted, "offset": offset}, _request_timeout=limit)

        pending: set[str] = set()
        wait = Wait(contact, stop=stop, caller=BESIDE)
        try:
            for number in range(expected // (_PAGE - _OVERLAP) + _SPARE_PAGES):
                page = wait.perform("search", partial(search, number * (_PAGE - _OVERLAP)))
                # If the server lists runs of other batches, too, their ids do no harm, because
                # `_release` looks up only the ids of this batch's runs.
                pending.update(run.run_id for run in page if run.status == RunStatus.PENDING)
                if len(page) < _PAGE:
                    if self._mistakes > max(_MOST_MISTAKES, self._hits):
                        break
                    return pending
        except Decided as decided:
            # If the batch ends meanwhile, the error is a TimeoutError.
            if isinstance(decided.error, TimeoutError) or failure_of(decided.error).is_outage:
                return None
        # Searches are given up for this batch: the server cannot search, the search had too many
        # pages, or searches have made too many mistakes.
        self._searches = False
        return None
