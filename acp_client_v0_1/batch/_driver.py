"""The requests of one run of a batch, from its create to its outcome.

Strategy: unless the run is parked (`_parking`), the thread that starts a run also waits for its
output. So the usual run takes two requests, and no other thread is woken in between. Each request
goes through `Wait.perform`. All requests of a batch in one process share one `Contact`, so a
``Retry-After`` or an outage counts for all of them.

Invariants: an error that all runs would get is raised, and does not become an outcome. If a create
of this driver may have been carried out, a second create is sent only under one of two conditions:

- a search worked and did not find the run;
- the caller accepts a second run (``unclear="start"``).

Somebody else may have sent a create for the task: an earlier call that used the same journal, or
another worker, if the executor has repeated the task. Then even the first create of this driver is
sent only under one of these two conditions. There is one exception. If the server refuses searches,
and no earlier call has started the task, the create is sent. Only a repeated task can get a second
run by this.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from acp_client_v0_1._errors import short
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1._http.slots import Flag
from acp_client_v0_1.batch._tasks import BATCH_KEY, Plan, Task
from acp_client_v0_1.exceptions import ApiException, OpenApiException
from acp_client_v0_1.handles._answering import Questions, outcome_of
from acp_client_v0_1.handles._core import Polls, RunCore, create_core
from acp_client_v0_1.handles._create import NoAgent, create, find_by_token, probe_search
from acp_client_v0_1.handles._match import check_mark, differences
from acp_client_v0_1.handles._options import creation_of
from acp_client_v0_1.handles._perform import Contact, Pace, Wait
from acp_client_v0_1.handles._rules import Pause, is_unserved
from acp_client_v0_1.handles._schemas import cached_descriptor, check_values
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._token import CLIENT_TOKEN_KEY, RunToken, encode_token
from acp_client_v0_1.handles.errors import RunGone, RunStartAmbiguous
from acp_client_v0_1.handles.interrupts import PendingInterrupt
from acp_client_v0_1.models.run_create import RunCreate
from acp_client_v0_1.models.run_result import RunResult
from acp_client_v0_1.models.run_status import RunStatus

if TYPE_CHECKING:
    from acp_client_v0_1.batch._journal import Journal
    from acp_client_v0_1.handles.agent import AgentHandle
    from acp_client_v0_1.models.agent_acp_descriptor import AgentACPDescriptor
    from acp_client_v0_1.models.run import Run
    from acp_client_v0_1.models.run_output import RunOutput

# A post is unclear if nothing shows whether the server carried it out. `create` makes at most this
# many unclear posts. After each of them, the next post follows only if a search worked and did not
# find the run. When `create` has given up, for whatever reason, ``unclear="start"`` allows one more
# unclear post. Posts that the server certainly did not carry out, such as a post that got a 429, do
# not count.
_MOST_POSTS = 3


class Stopped(Exception):
    """The batch has ended, and its tasks are left as they are."""


class RunDriver:
    """Drives the tasks of a batch to their outcomes. Threads can share a driver.

    Its methods raise the errors of the journal, an error that all runs would get, and `Stopped`. An
    error of one run becomes the outcome of its task.
    """

    # Speed: other code runs between two requests of a run, and fills the caches of the CPU. So each
    # line of this class takes longer than it would in a tight loop. Keep the path of a usual run
    # short.

    def __init__(self, plan: Plan, agent: AgentHandle, journal: Journal | None = None) -> None:
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
        self.contact = Contact.of(agent.runs, Pace())
        self._descriptor = cached_descriptor(self.contact.runs.api_client, plan.agent_id)
        self.contact.server.reached |= plan.server_reached

    def core(self, task: Task) -> RunCore:
        """Return the core of a task's run. If there is none, make it."""
        if task.core is None:
            task.core = RunCore(self._agent.runs, task.run_id, self.contact)
            if task.started_before:
                task.core.mark = task.client_token
                # The run was created at least this many seconds ago.
                task.core.note_created(ago=timing().now() - self._written_at)
            task.core.open_span()
        return task.core

    def _wait(self) -> Wait:
        """Return a `Wait` without a deadline. The end of the batch or a long outage ends it."""
        return Wait(self.contact, stop=self.stop, late=Stopped)

    def _new_polls(self, task: Task) -> Polls:
        """Start the timeout for a task's next output, and return the polls for this output."""
        core = self.core(task)
        task.polls = Polls(core, core.wait(self.plan.timeout, self.stop), timing().window)
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
                self._create(task, search_first or task.started_before or task.retry, described)
            self._new_polls(task)
        except OpenApiException as error:
            self._fail(task, error)

    def _attach(self, task: Task) -> None:
        """Read the run that the journal names. Raise an error if it is not of this batch.

        If the task is to be run again, and the status of its run is error or timeout, or the run is
        gone, forget the run. If its status is any other, the server has tried the run again.
        """
        try:
            run = self.core(task).read(self._wait())
        except RunGone:
            if not task.retry:
                raise
        else:
            asked = RunCreate(agent_id=self.plan.agent_id, input=task.input)
            # If the server does not show the client token, the rest shows whose the run is.
            check_mark(run, task.client_token, shown=bool(differences(run, asked)))
            if not (task.retry and run.status in (RunStatus.ERROR, RunStatus.TIMEOUT)):
                self._claim(task)
                return
        task.start_over()

    def _claim(self, task: Task) -> None:
        """Note that a run id is of a task. Raise an error if it is also of another open task.

        Nobody knows which of the two runs an output is of. So the other task gets this error, too,
        and the batch does not use the id any more.
        """
        run_id, token = task.run_id, task.client_token
        if self._owners.setdefault(run_id, token) != token:
            self._shared.add(run_id)
        if run_id in self._shared:
            task.run_id = ""
            why = f"the server gave run id {short(run_id)} to two open items, pass concurrency=1"
            raise self._unclear(task, why)

    def _unclear(self, task: Task, why: str) -> RunStartAmbiguous:
        plan, token = self.plan, task.client_token
        known = encode_token(RunToken(plan.server, agent=plan.agent_id, client_token=token))
        return RunStartAmbiguous(client_token=token, token=known, why=why)

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
        marks = {BATCH_KEY: plan.batch_mark, CLIENT_TOKEN_KEY: task.client_token}
        metadata = {**plan.options.get("metadata", {}), **marks}
        given = {**plan.options, "input": task.input, "metadata": metadata}
        creation = creation_of(plan.agent_id, given)

        def find_or_create(creation: RunCreate) -> list[Run]:
            if search_first and (found := self._find(task)):
                return found
            try:
                return create(creation, self._wait(), posts=_MOST_POSTS)
            except RunStartAmbiguous:
                if plan.unclear == "raise":
                    raise
            # With ``unclear="start"`` the caller accepts a second run.
            return create(creation, self._wait())

        runs = self._agent.runs
        core = task.core = create_core(creation, runs, self.contact, plan.agent, find_or_create)
        task.run_id, task.duplicates = core.run_id, len(core.duplicates)
        self._claim(task)
        if self._journal is not None:
            self._journal.started(task)

    def _find(self, task: Task) -> list[Run]:
        """Search for the run that an earlier call, or another process, may have created.

        Return the run and its duplicates, or an empty list if the run is to be created.
        """
        clock, plan, wait = timing(), self.plan, self._wait()

        def search(limit: float) -> list[Run] | Pause:
            runs = self.contact.runs
            # Only runs of this batch can have the client token, so there is no need to compare the
            # agent of the run.
            found = find_by_token(runs, task.client_token, plan.agent_id, timeout=limit)
            # If the earlier process was killed, its create may still be on its way. So for some
            # seconds, a search that found nothing is repeated.
            young = task.started_before and clock.now() - self._written_at < clock.young
            return Pause(clock.young_pause) if young and not found else found

        try:
            return wait.perform("search", search, probe=partial(probe_search, wait, plan.agent_id))
        except NoAgent as missing:
            raise missing.error from None
        except ApiException as error:
            if self.contact.ends_batch(error):
                raise
            cannot_search = error.status is not None and not failure_of(error).passes
            # The search has failed. The create follows all the same in two cases:
            # - The caller accepts a second run.
            # - The server cannot search, and no earlier call has started the task. Then there is
            #   another run only if an executor has repeated the task.
            if plan.unclear == "start" or (cannot_search and not task.started_before):
                return []
            why = f"it may have been started before, and the search for it failed: {error}"
            raise self._unclear(task, why) from error

    # Waiting

    def poll(self, task: Task, window: int) -> bool:
        """Ask for the output of a task's run, by a long poll of ``window`` seconds.

        - If there is no output yet, pause, and return False.
        - If the output is a question, answer the question, and return True.
        - If there is any other output, end the task with the outcome, and return True.
        - If a request has failed for good, or the timeout is over, end the task with the error, and
          return True. But if all runs would get the error, raise it.
        """
        polls, pause = task.polls or self._new_polls(task), 0.0
        wait = polls.wait
        output: RunOutput | None = None

        def send(limit: float) -> RunOutput | None:
            nonlocal pause
            task.polling = True
            try:
                output = polls.send(limit, window)
            finally:
                task.polling = False
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
            result = output.actual_instance
            outcome = result.result if isinstance(result, RunResult) else self._take(task, output)
            if outcome is not None:
                self._end(task, outcome)
        except OpenApiException as error:
            # True if the server serves no outputs at all. While `output` is None, an error that
            # `is_unserved` accepts comes from `polls.probe`, which `perform` calls if the server
            # refuses the output. So one of two things has happened:
            # - The run must have an output, and the server refused this output a second time.
            # - The server does not serve the run itself, either.
            #
            # If `output` is set, a later request has failed, such as the answer to a question
            # (`_take`).
            no_outputs = output is None and isinstance(error, ApiException) and is_unserved(error)
            self._fail(task, error, unserved=no_outputs)
        return True

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

    def _fail(self, task: Task, error: OpenApiException, *, unserved: bool = False) -> None:
        """Make an error the outcome of a task. If all runs would get the error, raise it.

        ``unserved`` says that the error is of a server that serves no outputs.
        """
        if self.stop.is_set():
            raise Stopped from error
        if isinstance(error, ApiException):
            # If the task has no run, this is an error of its create. The kind "missing" of a create
            # means that there is no such agent. "lacks" means that the server has no creates. In
            # both cases, all other creates would fail, too.
            missing = not task.run_id and failure_of(error).kind in ("missing", "lacks")
            if unserved or missing or self.contact.ends_batch(error):
                raise error
            if task.core is not None:
                task.core.name_in(error)
        self._end(task, error)

    def _end(self, task: Task, outcome: dict[str, Any] | Exception) -> None:
        """End a task with its outcome, and record the outcome."""
        task.outcome = outcome
        self._owners.pop(task.run_id, None)
        if task.core is not None:
            task.core.end_span(outcome)
        if self._journal is not None:
            self._journal.ended(task)
