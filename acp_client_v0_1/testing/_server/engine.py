"""The life of a run: started, interrupted, resumed, ended, deleted.

Strategy: each stretch of an agent's work (from its start or a resume to its next question or its
end) is one short-lived thread. An interrupted run has no thread, only a suspended generator. All
changes happen under the store's lock. A stretch whose run was deleted or timed out meanwhile is
over, and changes nothing any more.

Invariant: after `close()` no thread of this module is left, unless an agent neither sleeps through
its context nor checks `cancelled`; a ResourceWarning reports that.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Generator
from typing import TypeAlias, cast

from acp_client_v0_1._text import package_logger
from acp_client_v0_1.testing._server.store import RunRecord, Store, ThreadRecord
from acp_client_v0_1.testing._server.validation import Refusal, fitting
from acp_client_v0_1.testing._values import json_copy
from acp_client_v0_1.testing.agents import AgentDefinition, AgentError, Interrupt, JsonObject
from acp_client_v0_1.testing.context import RunCancelled

_LOGGER = package_logger("acp_client_v0_1.testing")

# The agent is at work, or its question suspends it.
_Agent: TypeAlias = Generator[object, object, object]

_CLOSE_SECONDS = 2.0
# One request can start an agent that yields for ever, and each update stays in memory.
_MOST_EVENTS = 100_000
# A failed run is tried again after this many seconds.
_ATTEMPT_PAUSE = 0.2

# A RunError has one of these as its `errcode` if the agent gave none.
_EXCEPTION_ERRCODE = 1
_TIMEOUT_ERRCODE = 2


class Engine:
    def __init__(self, store: Store, on_status_change: Callable[[RunRecord], None]) -> None:
        self._store = store
        self._on_status_change = on_status_change
        self._threads: set[threading.Thread] = set()

    def create_run(self, creation: JsonObject, agent: AgentDefinition) -> JsonObject:
        """Start a run, unless its thread is unknown or in use."""
        with self._store.lock:
            thread = self._thread_for(creation.get("thread_id"), agent)
            run = RunRecord(creation, agent, thread, self._store.quirks, self._store.new_run_id())
            if replaced := self._store.runs.get(run.run_id):
                self.delete_run(replaced)
            self._store.runs[run.run_id] = run
            if thread is not None:
                thread.runs.append(run)
            self._begin(run, None, None)
            return run.to_wire()

    def resume_run(self, run: RunRecord, answer: JsonObject) -> JsonObject:
        """Give an interrupted run the answer to its question, or refuse it."""
        with self._store.lock:
            suspended = run.suspended
            if run.deleted:
                raise Refusal(404, f"the run {run.run_id} was deleted")
            if suspended is None or run.output is None:
                raise Refusal(409, f"the run is {run.status}, not interrupted")
            if run.thread is not None and run.thread.pending:
                raise Refusal(409, "another run of the thread is pending")
            schema = run.agent.resume_schema(run.output["interrupt"]["interrupt_type"])
            answer = fitting(answer, schema, "body")
            run.suspended = None
            self._change(run, "pending", None)
            self._begin(run, suspended, answer)
            return run.to_wire()

    def delete_run(self, run: RunRecord) -> JsonObject:
        """Forget a run, and cancel it if it has not ended."""
        with self._store.lock:
            self._store.forget_run(run)
            suspended, run.suspended = run.suspended, None
            _cancel(run)
            _wake(run)
            if suspended is not None:
                # The agent's own clean-up may take its time.
                self._spawn(run, _close, suspended)
            return run.to_wire()

    def delete_thread(self, thread: ThreadRecord) -> None:
        """Forget a thread and its runs, unless one of them is pending."""
        with self._store.lock:
            if thread.pending:
                raise Refusal(409, "a run of the thread is pending")
            self._store.threads.pop(thread.thread_id, None)
            for run in list(thread.runs):
                self.delete_run(run)

    def hang(self) -> None:
        """Keep every pending run pending."""
        with self._store.lock:
            for run in self._store.runs.values():
                if run.working:
                    _cancel(run)

    def close(self) -> None:
        """Forget all runs and threads, cancel agents at work, and wait for them to stop.

        It waits up to two seconds for each in turn. Once one has not stopped, the others are not
        waited for any more.
        """
        with self._store.lock:
            for run in list(self._store.runs.values()):
                self.delete_run(run)
            self._store.threads.clear()
            self._store.made = 0
            threads = list(self._threads)
        seconds = _CLOSE_SECONDS
        for thread in threads:
            thread.join(seconds)
            if thread.is_alive():
                seconds = 0.0
                warnings.warn(f"{thread.name} did not stop", ResourceWarning, stacklevel=2)

    def _thread_for(self, thread_id: str | None, agent: AgentDefinition) -> ThreadRecord | None:
        if thread_id is None:
            if agent.thread_state is None:
                return None
            thread = ThreadRecord(agent.agent_id, None)
            self._store.threads[thread.thread_id] = thread
            return thread
        thread = self._store.thread(thread_id)
        if thread.agent_id != agent.agent_id:
            raise Refusal(409, f"the thread belongs to the agent {thread.agent_id}")
        if thread.pending:
            raise Refusal(409, "another run of the thread is pending")
        return thread

    def _spawn(self, run: RunRecord, target: Callable[..., None], *arguments: object) -> None:
        """Do something in a thread. Call this under the store's lock.

        Otherwise the thread could discard itself from the set before it was added.
        """

        def work() -> None:
            try:
                target(*arguments)
            finally:
                with self._store.lock:
                    self._threads.discard(thread)

        name = f"the agent {run.agent.name} of run {run.run_id}"
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        self._threads.add(thread)

    def _try_again(self, run: RunRecord) -> None:
        """Try a failed run again, after a pause in which anybody may see that it failed."""
        run.cancelled.wait(_ATTEMPT_PAUSE)
        with self._store.lock:
            if not run.deleted:
                self._change(run, "pending", None)
                self._begin(run, None, None)

    def _begin(self, run: RunRecord, agent: _Agent | None, answer: JsonObject | None) -> None:
        """Start the next stretch of a run: call its agent, or give a suspended one its answer."""
        run.over = threading.Event()
        if run.agent.timeout is not None:
            self._spawn(run, self._time_out, run, run.over, run.agent.timeout)
        self._spawn(run, self._work, run, run.over, agent, answer)

    def _work(
        self,
        run: RunRecord,
        over: threading.Event,
        agent: _Agent | None,
        answer: JsonObject | None,
    ) -> None:
        """Do one stretch: what the agent returns or raises becomes its run's status."""
        try:
            value = self._call(run) if agent is None else agent
            if isinstance(value, Generator):
                self._step(run, over, cast("_Agent", value), answer)
            else:
                self._finish(run, over, value)
        except BaseException as error:
            if not isinstance(error, (AgentError, RunCancelled, TimeoutError)):
                _LOGGER.error("the agent %s raised an error", run.agent.name, exc_info=error)
            self._fail(run, over, *_ending_by(error))

    def _call(self, run: RunRecord) -> object:
        run.times_called += 1
        # The agent gets copies, because what it does to them must not change the run's creation.
        input = json_copy(run.creation.get("input", {}), "the input")
        config = json_copy(run.creation.get("config", {}), "the config")
        return run.agent.function(
            fitting(input, run.agent.input, "input"),
            fitting(config, run.agent.config, "config"),
            run.context(self._store.lock),
        )

    def _step(
        self, run: RunRecord, over: threading.Event, agent: _Agent, answer: JsonObject | None
    ) -> None:
        """Take a generator's updates until it asks or ends."""
        state = run.creation.get("input", {})
        while True:
            try:
                value = agent.send(answer)
            except StopIteration as stop:
                return self._finish(run, over, stop.value)
            if isinstance(value, Interrupt):
                if self._store.quirks.interrupts_succeed:
                    self._finish(run, over, state)
                return self._suspend(run, over, agent, value)
            state = json_copy(value, "an update")
            self._publish(run, over, state)
            if run.cancelled.is_set():
                return _close(agent)
            answer = None

    def _publish(self, run: RunRecord, over: threading.Event, update: JsonObject) -> None:
        with self._store.lock:
            if run.streaming is not None and not over.is_set():
                if len(run.events) >= _MOST_EVENTS:
                    words = f"the local server keeps at most {_MOST_EVENTS:,} updates of a run"
                    raise AgentError(_EXCEPTION_ERRCODE, words)
                content = {"update" if run.streaming == "custom" else "result": update}
                run.events.append(_event(run, run.streaming, "pending", **content))
                _wake(run)

    def _finish(self, run: RunRecord, over: threading.Event, value: object) -> None:
        if isinstance(value, Interrupt):
            raise TypeError("an Interrupt must be yielded, not returned")
        result = json_copy(value, "an agent's result")
        with self._store.lock:
            if over.is_set():
                return
            output = _event(run, "result", "success", result=result)
            run.final_state = run.thread.state.value if run.thread else None
            if run.streaming == "result":
                run.events.append(output)
            self._change(run, "success", output)

    def _suspend(
        self, run: RunRecord, over: threading.Event, agent: _Agent, ask: Interrupt
    ) -> None:
        payload = json_copy(ask.payload, "an interrupt's payload")
        question = {**payload, "interrupt_type": ask.interrupt_type}
        with self._store.lock:
            if not over.is_set():
                run.suspended = agent
                self._change(run, "interrupted", {"type": "interrupt", "interrupt": question})
                return
        _close(agent)

    def _fail(
        self, run: RunRecord, over: threading.Event, status: str, errcode: int, description: str
    ) -> None:
        """End a run without a result: in a RunStatus, with the fields of a RunError."""
        with self._store.lock:
            if over.is_set():
                return
            output: JsonObject = {"type": "error", "run_id": run.run_id}
            self._change(run, status, {**output, "errcode": errcode, "description": description})
            if status == "error" and run.times_called < self._store.quirks.attempts:
                self._spawn(run, self._try_again, run)

    def _time_out(self, run: RunRecord, over: threading.Event, seconds: float) -> None:
        if not over.wait(min(seconds, threading.TIMEOUT_MAX)):
            with self._store.lock:
                self._fail(run, over, "timeout", _TIMEOUT_ERRCODE, f"not done after {seconds} s")
                if run.status == "timeout":
                    run.cancelled.set()

    def _change(self, run: RunRecord, status: str, output: JsonObject | None) -> None:
        run.over.set()
        run.become(status, output)
        _wake(run)
        self._on_status_change(run)


def _event(run: RunRecord, kind: str, status: str, **content: JsonObject) -> JsonObject:
    return {"type": kind, "run_id": run.run_id, "status": status, **content}


def _cancel(run: RunRecord) -> None:
    run.over.set()
    run.cancelled.set()


def _wake(run: RunRecord) -> None:
    for watcher in list(run.watchers):
        watcher()


def _close(agent: _Agent) -> None:
    """Let a generator that will not be resumed clean up. Nobody expects its errors any more."""
    with contextlib.suppress(Exception):
        agent.close()


def _ending_by(error: BaseException) -> tuple[str, int, str]:
    """Return the status, errcode and description of a run whose agent raised, or exited.

    JSON must be able to carry them: a run whose failure cannot be sent would stay pending.
    """
    if isinstance(error, AgentError):
        try:
            # A subclass may have skipped the constructor's checks, or changed the values since.
            sound = AgentError(error.errcode, error.description)
        except (AttributeError, TypeError, ValueError) as fault:
            return _ending_by(fault)
        return "error", sound.errcode, sound.description
    if isinstance(error, TimeoutError):
        return "timeout", _TIMEOUT_ERRCODE, _utf8_text(error) or "timed out"
    return "error", _EXCEPTION_ERRCODE, f"{type(error).__name__}: {_utf8_text(error)}"


def _utf8_text(error: BaseException) -> str:
    """Return an exception's text, with what UTF-8 cannot encode escaped."""
    try:
        text = str(error)
    except Exception as fault:  # noqa: BLE001 - the agent's own code may fail here
        text = f"(its text raises {type(fault).__name__})"
    return text.encode("utf-8", "backslashreplace").decode()
