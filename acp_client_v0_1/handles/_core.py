"""The requests about one run, which its handle, its questions and its events share.

Strategy: a core is what is known of a run (`_known`), and the operations that reach the run. Each
request goes through `Wait.perform`, which repeats it after a failure. `_polls`, which uses this
module, waits for an output.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

from acp_client_v0_1._contract import FINAL, WITH_OUTPUT
from acp_client_v0_1._text import one_line
from acp_client_v0_1.exceptions import ApiException, NotFoundException, RunWaitTimeout
from acp_client_v0_1.handles._create import Create
from acp_client_v0_1.handles._known import Gone, KnownRun, received_id
from acp_client_v0_1.handles._marks import Habits
from acp_client_v0_1.handles._rules import BESIDE, ONCE, Caller, Decided, Pause, undecided
from acp_client_v0_1.handles._schemas import Cached, cached_descriptor
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._typed import JsonType
from acp_client_v0_1.handles._wait import Contact, Wait, no_probe
from acp_client_v0_1.handles.errors import RunFailed, RunTimedOut
from acp_client_v0_1.models import Agent, Run, RunCreate, RunError, RunOutput, RunStatus

if TYPE_CHECKING:
    from acp_client_v0_1.api.runs_api import RunsApi
    from acp_client_v0_1.models.agent_acp_descriptor import AgentACPDescriptor

H = TypeVar("H")

OnPending = Callable[[float, RunStatus], object]

# An output that is there is asked for by windows of fewer seconds than this.
_SHORT_WINDOWS = 4


class RunCore(KnownRun):
    """One run, and the requests that reach it."""

    agent_descriptor: Cached[AgentACPDescriptor] | None = None
    # When each window of a poll was used last. None before the first poll.
    polled: dict[int, float] | None = None

    def __init__(self, runs: RunsApi, run_id: str, contact: Contact | None = None) -> None:
        self.runs = runs
        self.run_id = run_id
        self._contact = contact
        if contact is not None:
            self.habits: Habits | None = contact.health.marks

    @classmethod
    def of_runs(cls, runs: RunsApi, found: list[Run], contact: Contact | None = None) -> RunCore:
        """Return the core of ``found[0]``.

        The other runs are newer and have the same mark. Their ids become the `duplicates` of the
        core.
        """
        core = cls(runs, received_id("run_id", found[0]), contact)
        core.note(found[0])
        core.duplicates = tuple([run.run_id for run in found[1:]])
        return core

    @classmethod
    def of_create(cls, runs: RunsApi, create: Create) -> RunCore:
        """Return the core of the run that a create, or the search for it, has found."""
        core = cls.of_runs(runs, create.found, create.wait.contact)
        core.note_created(create.creation)
        core.mark, core.proven = create.mark, create.proven
        return core

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_contact": None, "polled": None, "habits": None, "span": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.note_absence()

    def descriptor(self) -> AgentACPDescriptor:
        """Return the descriptor of the run's agent, which is kept for 300 seconds."""
        if self.agent_descriptor is None:
            agent_id = self.agent_id or self.refresh().agent_id
            self.agent_descriptor = cached_descriptor(self.runs.api_client, agent_id)
        return self.named(self.agent_descriptor.get)

    def wait(
        self,
        timeout: float | None = None,
        stop: threading.Event | None = None,
        *,
        what: str = "has no output",
        on_pending: OnPending | None = None,
        every: float = math.inf,
        caller: Caller | None = None,
    ) -> Wait:
        """Return a `Wait` for this run.

        If the wait runs out of time, its error says "run … {what} after … s". With a timeout of 0
        the wait asks once, for at most 10 seconds. `RunHandle.output` describes ``on_pending``.
        """
        contact = self._contact
        if contact is None:
            self._contact = contact = Contact.of(self.runs)
            self.habits = contact.health.marks
        if timeout == 0:
            timeout, caller = timing().quick, ONCE
        wait = Wait(contact, timeout, stop=stop, caller=caller, late=self._late_error)
        wait.what = what
        if on_pending is not None:
            # The status is read at each call.
            wait.watch(lambda elapsed: on_pending(elapsed, self.status or RunStatus.PENDING), every)
        return wait

    def _late_error(self, wait: Wait) -> RunWaitTimeout:
        # A long id would leave no room for the error.
        run, error = f"run {one_line(self.run_id, 40)}", wait.error
        # A wait with a timeout of 0 asks once for the output, and counts as none.
        elapsed = 0.0 if wait.caller.once and wait.what == Wait.what else wait.elapsed
        words = f"{run} {wait.what} {f'after {elapsed:.1f} s' if elapsed else 'yet'}"
        if wait.stopped:
            words = f"waiting for {run} was stopped after {elapsed:.1f} s"
        # The Retry-After comes before the error, because a long message loses its end.
        elif wait.held > 0:
            words += f"; Retry-After: {wait.held:.0f} s"
        if error is not None:
            words += f"; last error: {error.without('method', 'url')}"
        token = self._token_if_known()
        late = RunWaitTimeout(run_id=self.run_id, elapsed=elapsed, token=token, reason=words)
        # A run that was never read may have ended. So only a run that was seen pending, at a server
        # that still responds, is said to continue.
        if wait.heard and error is None and self.is_pending and late.hint:
            late.hint = f"the run continues: {late.hint}"
        # A response without an output says that the run is pending.
        unread = RunStatus.PENDING if wait.heard else None
        late.last_status = unread if self.status is None else self.status
        return late

    def refresh(self, timeout: float | None = None) -> Run:
        """Read the run once. The client's own retries apply, and by default its own timeouts."""
        wait = self.wait(timeout, caller=BESIDE, what="was not read")
        return self.named(self.read, wait, self.runs, math.inf)

    def done(self) -> bool:
        """Return whether the run has ended. If its result has come, nothing is sent."""
        if self.kept is not None:
            return True
        return self.refresh(0).status != RunStatus.PENDING and self.has_ended

    def read(self, wait: Wait, runs: RunsApi | None = None, longest: float | None = None) -> Run:
        """Read the run and return it, in at most ``longest`` seconds, by default 10."""
        runs = runs or wait.contact.runs

        def send(limit: float) -> Run:
            seconds = None if limit == math.inf else limit
            return self.note(runs.get_run(self.run_id, _request_timeout=seconds))

        return wait.perform("look", send, self, longest=longest)

    def output_now(
        self, wait: Wait, probe: Callable[[ApiException], RunOutput | None] = no_probe
    ) -> RunOutput | None:
        """Ask for the output of a run without a long poll, and return the output.

        If the server refuses the request, `Wait.perform` may call ``probe`` with the error. Then
        this returns what ``probe`` returns.
        """
        runs = wait.contact.runs

        def send(limit: float) -> RunOutput | None:
            # Some servers hold a request without a window for ever. So there is a short one.
            most = min(_SHORT_WINDOWS, int(limit)) if self.status in WITH_OUTPUT else 1
            window = self.fresh_window(range(max(1, most)), timing().now())
            output = runs.get_run_output(self.run_id, window, _request_timeout=limit)
            return self.checked_output(output, wait)

        return wait.perform("output", send, self, probe=probe)

    def fresh_window(self, windows: range, now: float) -> int:
        """Return the first window that was not used for five minutes, or that was not used longest.

        Some caches keep each response to a GET for minutes, whatever the request says. So the URLs
        of two polls differ.
        """
        used = self.polled = self.polled or {}
        fresh = (each for each in windows if used.get(each, -math.inf) <= now - timing().cached)
        window = next(fresh, None)
        window = min(windows, key=used.__getitem__) if window is None else window
        used[window] = now
        return window

    def checked_output(
        self, output: RunOutput | Mapping[str, str] | None, wait: Wait
    ) -> RunOutput | None:
        """Return the output, or raise `ResponseValidationError` if it names another run.

        None, and the headers of a 204, mean that there is no output yet. ``wait`` obeys them.
        """
        if isinstance(output, Mapping):
            wait.obey(output)
            return None
        named = getattr(output and output.actual_instance, "run_id", "")
        # This comparison is only for speed.
        if named != self.run_id:
            self.check_id(named, "output", output)
        if self.unsure and output is not None:
            # Only a read that follows the output shows that the output is of this run.
            self.read(wait)
        return output

    def output_after_refusal(self, error: ApiException, wait: Wait) -> RunOutput | None:
        """Find out why the server refused the output with a 404, 405 or 501.

        If the run may have no output yet, return None. Otherwise ask for the output once more, and
        return it. If the server refuses this request, too, it does not serve outputs. Then raise an
        error that says so.
        """
        if self.read(wait).status not in WITH_OUTPUT:
            return None
        # The run may have ended after the first request for its output, so there is a second
        # request.

        def probe(again: ApiException) -> RunOutput | None:
            again.__cause__ = error
            raise self.not_served(again)

        return self.output_now(wait, probe)

    # Ending

    def cancel(self, wait: Wait, *, proven: bool = False) -> bool:
        """Delete the run unless it has ended. Return whether the DELETE ended it.

        With ``proven``, raise an error if the run may be somebody else's.
        """
        run = self.read(wait)
        if run.status in FINAL or self.kept is not None:
            return False
        if proven and not self.proven:
            raise self.not_ours(run)
        deleted = self.delete(wait, keep_final=True)
        cancelled = deleted is None or deleted.status not in FINAL
        if cancelled:
            self.end_span("cancelled")
        return cancelled

    def delete(self, wait: Wait, *, keep_final: bool = False) -> Run | None:
        """Delete the run, and return it. Return None if a 404 shows that the run is gone already.

        With ``keep_final``, a DELETE whose response was lost is not sent again if the run has ended
        meanwhile. Then the run that has ended is returned.
        """
        # If the run was never seen, a 404 may come from a wrong address.
        seen, lost = self.seen, 0
        runs = wait.contact.runs

        # `cancel` has read the run just now.
        is_read = keep_final

        def send(limit: float) -> Run | None:
            nonlocal is_read
            if self.unsure and not is_read:
                # The server may have restarted since, and given the id to the run of somebody else.
                self.read(wait)
                wait.take_turn()
                limit = wait.limit(limit, "delete")
            is_read = False
            return self.note_changed(runs.delete_run(self.run_id, _request_timeout=limit))

        def probe(error: ApiException) -> Run | Pause | None:
            nonlocal lost
            missing = isinstance(error, NotFoundException)
            if missing and lost:
                # An earlier DELETE, whose response was lost, has deleted the run.
                return None
            lost += not missing
            try:
                run = self.read(wait)
            except Gone:
                if seen or lost:
                    return None
                raise
            if missing:
                raise self.not_served(error)
            if keep_final and run.status in FINAL:
                return run
            if lost > 1:
                raise error
            return Pause(0.0)

        deleted = wait.perform("delete", send, self, longest=timing().change, probe=probe)
        self.note_deleted()
        return deleted

    def failed(self, output: RunError, wait: Wait) -> RunFailed:
        """Return the error of a failed run. The run is read to find out its status.

        The status is ``error`` or ``timeout``, and ``output`` does not show which.
        """
        status = None
        # The run has failed in any case. If its status cannot be read, the message of the error
        # says "error or timeout".
        with suppress(ApiException, Decided):
            status = self.read(wait.part(timing().quick)).status
        kind = RunTimedOut if status == RunStatus.TIMEOUT else RunFailed
        error = kind(
            run_id=self.run_id,
            token=self.token(),
            errcode=output.errcode,
            description=output.description,
            sure=status in FINAL,
        )
        self._outcome = RunStatus(error.status_name)
        return error


def handle_of(kind: type[H], core: RunCore, result_type: JsonType | None = None) -> H:
    """Return a handle of the class ``kind`` that uses the core."""
    handle = object.__new__(getattr(kind, "__origin__", kind))
    vars(handle)["_core"] = core
    if result_type is not None:
        vars(handle)["_result_type"] = result_type
    return cast("H", handle)


def typed_result(core: RunCore, result: dict[str, Any], kind: JsonType | None) -> Any:
    """Return the result of a run as a value of the caller's type, if the caller gave one."""
    return result if kind is None else kind.received(result, core.run_id, core.token)


def create_core(
    creation: RunCreate, runs: RunsApi, agent: Agent | None, make: Callable[[], Create]
) -> RunCore:
    """Create a run by ``make``, and return its core.

    If the client is instrumented, the run gets a span. If the create fails, the span ends at once.
    """
    observer, span = runs.api_client.rest_client.observer, None
    if observer is None:
        made = make()
    else:
        span = observer.run(creation.agent_id, creation.thread_id or "", agent=agent)
        with span.active():
            try:
                made = make()
            except BaseException as error:
                span.end(undecided(error))
                raise
    core = RunCore.of_create(runs, made)
    if span is not None:
        core.keep_span(span)
    return core
