"""The requests of one run of a batch, from its create to its outcome.

Strategy: unless the run is parked (`_parking`), the thread that starts a run also waits for its
output. So the usual run takes two requests, and no other thread is woken in between. Each request
goes through `Wait.perform`. All requests of a batch in one process share one `Contact`, and take
turns, so a ``Retry-After`` or a limit counts for all of them.

Invariants: an error that all runs would get is raised, and does not become an outcome (`_blame`).
If a create for a task may have been carried out before, the next create is sent only if

- a search worked and did not find the run; or
- the caller accepts a second run (``unclear="start"``); or
- the server refuses searches, and no earlier call has begun the task. Then only an executor that
  runs a task twice can have made another run.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from acp_client_v0_1._errors import is_by_function
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1._http.slots import Flag
from acp_client_v0_1._text import short
from acp_client_v0_1.batch._blame import Blame
from acp_client_v0_1.batch._journal import Journal
from acp_client_v0_1.batch._tasks import BATCH_KEY, Plan, Task
from acp_client_v0_1.exceptions import ApiException, OpenApiException
from acp_client_v0_1.handles import _rules
from acp_client_v0_1.handles._answering import Questions, outcome_of
from acp_client_v0_1.handles._core import RunCore, create_core
from acp_client_v0_1.handles._create import Create, Unclear
from acp_client_v0_1.handles._health import Turns
from acp_client_v0_1.handles._known import Gone
from acp_client_v0_1.handles._marks import by_key, with_marks
from acp_client_v0_1.handles._match import plain_id
from acp_client_v0_1.handles._options import creation_of
from acp_client_v0_1.handles._polls import Polls
from acp_client_v0_1.handles._rules import Caller, Decided, Pause, undecided
from acp_client_v0_1.handles._schemas import cached_descriptor, check_values
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._token import token_of_create
from acp_client_v0_1.handles._wait import Contact, Wait
from acp_client_v0_1.handles.agent import AgentHandle
from acp_client_v0_1.handles.errors import RunFailed, RunStartAmbiguous
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models import RunCreate, RunOutput, RunResult, RunStatus

if TYPE_CHECKING:
    from acp_client_v0_1.models.agent_acp_descriptor import AgentACPDescriptor

# A create is posted until this many posts are unclear, that is, until nothing shows whether the
# server carried them out (`Create`). After that, ``unclear="start"`` allows one more.
_MOST_POSTS = 3


class BatchEnded(Exception):
    """The batch has ended, and its tasks are left as they are."""


def whose_is(error: Decided | OpenApiException) -> _rules.Whose:
    """Tell whose an error is. A batch cannot go on without the functions of its caller."""
    if isinstance(error, Decided):
        return error.whose
    return "all" if is_by_function(error) else "run"


class RunDriver:
    """Drives the tasks of a batch to their outcomes. Threads can share a driver.

    Its methods raise the errors of the journal, an error that all runs would get, and `BatchEnded`.
    An error of one run becomes the outcome of its task.
    """

    # Speed: other code runs between two requests of a run, and fills the caches of the CPU. So each
    # line of this class takes longer than it would in a tight loop. Keep the path of a usual run
    # short.

    def __init__(
        self, plan: Plan, agent: AgentHandle[Any, Any], journal: Journal | None = None
    ) -> None:
        self.plan = plan
        # The end of the batch sets this.
        self.stop = Flag()
        # When an earlier call last wrote the journal. Minus infinity if there was no earlier call.
        self._written_at = timing().now() - plan.written_ago
        self._agent = agent
        self._journal = journal
        # The client tokens of the open tasks that have a run, by the ids of these runs.
        self._owners: dict[str, str] = {}
        # The run ids that the server has given to two open tasks.
        self._shared = set[str]()
        self.contact = Contact.of(agent.runs, Turns.of_batch())
        self.blame: Blame = Blame(self._wait, plan.served)
        self._descriptor = cached_descriptor(self.contact.runs.api_client, plan.agent_id)
        self.contact.rest.reached |= plan.server_reached
        if (mark := plan.served_mark) is not None:
            self.contact.health.marks.given.setdefault((plan.agent_id, mark.key), mark)

    def core(self, task: Task) -> RunCore:
        """Return the core of a task's run. If there is none, make it."""
        if task.core is None:
            task.core = RunCore(self._agent.runs, task.run_id, self.contact)
            if task.started_before:
                # The run was created at least this many seconds ago.
                ago = timing().now() - self._written_at
                task.core.mark = task.mark
                task.core.note_created(self._creation(task), ago=ago)
                task.core.note_absence()
            task.core.open_span()
        return task.core

    def _wait(self, caller: Caller = _rules.IN_BATCH) -> Wait:
        """Return a `Wait` without a deadline. The end of the batch or a long outage ends it."""
        return Wait(self.contact, stop=self.stop, caller=caller, late=BatchEnded)

    def _new_polls(self, task: Task) -> Polls:
        """Start the timeout for a task's next output, and return the polls for this output."""
        core = self.core(task)
        task.polls = Polls(core, core.wait(self.plan.timeout, self.stop))
        return task.polls

    # Starting

    def start(self, task: Task, *, search_first: bool = False) -> None:
        """Create the run of a task, unless the task has one.

        With ``search_first``, search for the run before the create, because another process may
        have created the run.
        """
        # All tasks share one descriptor. So if the descriptor cannot be read, the error is raised,
        # and does not become the outcome of this task.
        #
        # The descriptor is read before `_create` writes the "starting" line, which says that a
        # create may have been sent. If the descriptor cannot be read, no create is sent, and the
        # line would be false.
        begins = task.retry or not task.run_id
        described = self._describe() if self.plan.check and begins else None
        try:
            if task.run_id:
                self._attach(task)
            if not task.run_id:
                first = search_first or task.started_before or bool(task.retry)
                self._create(task, first, described)
            self._new_polls(task)
        except (Decided, OpenApiException) as error:
            self._fail(task, error)
            if task.outcome is None:
                self.start(task, search_first=search_first)

    def _attach(self, task: Task) -> None:
        """Read the run that the journal names. The core raises an error if it is not of this batch.

        With ``retry_failed``, a run that is gone, or that still fails, is forgotten. Then the task
        gets another run. A run that is not in status error or timeout any more is kept: the server
        has tried it again.
        """
        try:
            run = self.core(task).read(self._wait())
        except Gone:
            if not task.retry:
                raise
        else:
            failed = run.status in (RunStatus.ERROR, RunStatus.TIMEOUT)
            if not (self._output_fails(task) if task.retry == "output" else task.retry and failed):
                self.contact.health.marks.made.append((task.run_id, (task.mark,)))
                self._claim(task)
                return
        task.start_over()

    def _output_fails(self, task: Task) -> bool:
        """Ask once for the output that has failed in an earlier call. Return whether it fails."""
        try:
            self._receive(task, self.core(task).output_now(self._wait(_rules.LAST_TRY)))
        except (Decided, ApiException) as error:
            if whose_is(error) == "all":
                raise
            return True
        return False

    def _claim(self, task: Task) -> None:
        """Note that a run id is of a task. Raise an error if it is also of another open task.

        Nobody knows which of the two runs an output is of. So the other task gets this error, too,
        and the batch does not use the id any more.
        """
        run_id, token = task.run_id, task.client_token
        if self._owners.setdefault(run_id, token) != token:
            self._shared.add(run_id)
        # A server that gives a UUID of zeros gives it to every run. The create of another run may
        # be under way, or in another process, so this id counts as shared before it comes twice.
        if run_id in self._shared or not (self.plan.one_at_a_time or plain_id(run_id)):
            task.run_id = ""
            why = f"the server gives several runs the id {short(run_id)}, pass concurrency=1"
            client, agent_id = self._agent.runs.api_client, self.plan.agent_id
            known = token_of_create(client, agent_id, task.mark)
            raise RunStartAmbiguous(client_token=token, token=known, why=why)

    def _describe(self) -> AgentACPDescriptor:
        """Return the agent's descriptor, from the cache if it is fresh."""
        return self._descriptor.fresh or self._wait().perform("describe", self._descriptor.get)

    def _create(self, task: Task, search_first: bool, described: AgentACPDescriptor | None) -> None:
        plan = self.plan
        if self._journal is not None:
            # The "starting" line is written first, because a "failed" line needs a "starting" line
            # before it, and an input that does not fit the schema gets a "failed" line.
            self._journal.starting(task)
        if described is not None:
            check_values(described, task.input or {}, plan.options.get("config"))
        creation = self._creation(task)

        def find_or_create() -> Create:
            if search_first and (found := self._find(task, creation)):
                return found
            try:
                return Create(creation, self._wait(), posts=_MOST_POSTS).run()
            except Unclear:
                if plan.unclear == "raise":
                    raise
            # With ``unclear="start"`` the caller accepts a second run.
            return Create(creation, self._wait()).run()

        core = task.core = create_core(creation, self._agent.runs, plan.agent, find_or_create)
        task.run_id, task.duplicates = core.run_id, len(core.duplicates)
        self._claim(task)
        if self._journal is not None:
            self._journal.started(task)

    def _creation(self, task: Task) -> RunCreate:
        plan = self.plan
        metadata = {**plan.options.get("metadata", {}), BATCH_KEY: plan.batch_mark}
        given = {
            **plan.options,
            "input": task.input,
            "metadata": with_marks(metadata, by_key(task.mark)),
        }
        return creation_of(plan.agent_id, given)

    def _find(self, task: Task, creation: RunCreate) -> Create | None:
        """Search for the run that an earlier call, or another process, may have created.

        Return the create that has found it, or None if the run is to be created.
        """
        plan, clock = self.plan, timing()
        # If the earlier process was killed, its create may still be on its way. So for some
        # seconds, a search that found nothing is repeated.
        young = self._written_at + clock.young - clock.now() if task.started_before else 0.0
        try:
            create = Create(creation, self._wait(), since=task.posted_at)
            create.search(max(0.0, young), proof=task.started_before)
        except Unclear as unclear:
            # The create follows all the same in two cases:
            # - The caller accepts a second run.
            # - The server cannot search, and no earlier call has started the task. Then there is
            #   another run only if an executor has repeated the task.
            cause = unclear.error.__cause__
            passes = isinstance(cause, ApiException) and failure_of(cause).passes
            first = not task.started_before
            if unclear.error.searched or plan.unclear == "start" or (first and not passes):
                return None
            raise
        return create

    # Waiting

    def poll(self, task: Task, window: int) -> bool:
        """Ask for the output of a task's run, by a long poll of ``window`` seconds.

        - If there is no output yet, pause, and return False.
        - If the output is a question, answer the question, and return True.
        - If there is any other output, end the task with the outcome, and return True.
        - If a request has failed for good, or the timeout is over, end the task with the error, and
          return True.
        - If all runs would get the error, raise it.
        """
        polls, pause = task.polls or self._new_polls(task), 0.0
        wait = polls.wait

        def send(limit: float) -> RunOutput | None:
            nonlocal pause
            output = polls.send(limit, window)
            # If `send` returned the `Pause`, `perform` would pause and call `send` again. So `send`
            # returns None. Then `poll` pauses and returns, and the worker may take another task.
            if isinstance(output, Pause):
                pause, output = output.seconds, None
            return output

        try:
            # A parked task may come back so late that a request has no time to get a response. Then
            # no request is sent.
            if wait.remaining() < min(timing().round_trip, wait.elapsed):
                raise wait.late_error()
            core = self.core(task)
            output = wait.perform("output", send, core, longest=math.inf, probe=polls.probe)
            self._claim(task)
            if output is None:
                wait.pause(pause)
                return False
            self._receive(task, output)
        except (Decided, OpenApiException) as error:
            self._fail(task, error)
        return True

    def _receive(self, task: Task, output: RunOutput | None) -> None:
        """End a task with its output, or answer the question. None means no output yet."""
        if output is None:
            return
        result = output.actual_instance
        outcome = result.result if isinstance(result, RunResult) else self._take(task, output)
        if outcome is not None:
            self._end(task, outcome)

    def _take(self, task: Task, output: RunOutput) -> dict[str, Any] | Exception | None:
        """Return the outcome of an output. If the output is a question, answer it and return None.

        - If the question was answered meanwhile, return None, too.
        - If ``on_interrupt`` raises an error, or returns no answer, return the error.
        - If the output is an error of the run, raise `RunFailed`.
        """
        core, plan = self.core(task), self.plan
        outcome = outcome_of(core, output, core.wait(plan.timeout, self.stop))
        if not isinstance(outcome, PendingInterrupt):
            return outcome
        if task.questions is None:
            task.questions = Questions(core, plan.on_interrupt, plan.timeout, self.stop)
        try:
            answer = task.questions.ask(outcome)
        except Exception as error:  # noqa: BLE001 - an error of the callback is the outcome
            return error
        task.questions.answer(outcome, answer)
        self._new_polls(task)
        return None

    def _fail(self, task: Task, failed: Decided | OpenApiException) -> None:
        """Make an error the outcome of a task. If all runs would get the error, raise it."""
        if self.stop.is_set():
            raise BatchEnded from failed
        if whose_is(failed) == "all":
            raise failed
        if isinstance(failed, Decided) and failed.whose in _rules.READS_OF_A_RUN:
            self._try_again(task, failed)
            return
        error = undecided(failed)
        if isinstance(error, ApiException) and task.core is not None:
            task.core.name_in(error)
        self._end(task, error)

    def _try_again(self, task: Task, failed: Decided) -> None:
        """Send a request once more that has failed for an outage, if the server serves others."""
        try:
            received = self.blame.last_try(self.core(task), failed)
        except Decided as last:
            task.final = last.whose == "run"
            self._fail(task, last)
            return
        if task.polls is not None:
            task.polls.wait.forget_failures()
        try:
            if isinstance(received, RunOutput):
                self._receive(task, received)
        except (Decided, OpenApiException) as other:
            self._fail(task, other)

    def _end(self, task: Task, outcome: dict[str, Any] | Exception) -> None:
        """End a task with its outcome, and record the outcome."""
        if isinstance(outcome, (dict, RunFailed)):
            self.blame.served = task.run_id
        task.outcome = outcome
        self._owners.pop(task.run_id, None)
        if task.core is not None:
            task.core.end_span(outcome)
        if self._journal is not None:
            self._journal.ended(task)
