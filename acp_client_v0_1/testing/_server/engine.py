"""The life of a run: started, interrupted, resumed, ended, deleted.

Strategy: each stretch of an agent's work (from its start or a resume to its next question or its
end) is one short-lived thread. An interrupted run has no thread, only a suspended generator. All
changes happen under the store's lock, and a stretch that was overtaken (its run was deleted, or
timed out) changes nothing any more.

Invariant: after `close()` no thread of this module is left, unless an agent neither sleeps through
its context nor looks at `cancelled`; that is reported by a ResourceWarning.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Generator

from acp_client_v0_1.testing._server.calling import (
    Failure,
    Yielded,
    advance,
    call,
    close_generator,
    failure_of,
    timed_out,
)
from acp_client_v0_1.testing._server.records import RunRecord, ThreadRecord
from acp_client_v0_1.testing._server.responses import Refusal
from acp_client_v0_1.testing._server.store import Store
from acp_client_v0_1.testing._server.validation import check_against_schema, with_whole_numbers
from acp_client_v0_1.testing._values import json_object
from acp_client_v0_1.testing.agents import AgentDefinition, Interrupt, JsonObject
from acp_client_v0_1.testing.context import RunCancelled

__all__ = ["Engine"]

_CLOSE_SECONDS = 2.0
_ATTEMPT_PAUSE = 0.2  # seconds until a run that failed is tried again


class Engine:
    def __init__(self, store: Store, on_status_change: Callable[[RunRecord], None]) -> None:
        self._store = store
        self._on_status_change = on_status_change
        self._threads: set[threading.Thread] = set()

    def create_run(self, creation: JsonObject) -> JsonObject:
        """Start a run; a Refusal for an unknown agent or thread, and for a thread in use."""
        with self._store.lock:
            agent = self._store.agent(creation["agent_id"])
            thread = self._thread_for(creation.get("thread_id"), agent)
            run = RunRecord(creation, agent, thread, self._store.quirks)
            self._store.runs[run.run_id] = run
            if thread is not None:
                thread.runs.append(run)
            self._attempt(run)
            return run.to_wire()

    def resume_run(self, run: RunRecord, answer: JsonObject) -> JsonObject:
        """Give an interrupted run the answer to its question, or raise the Refusal for it."""
        with self._store.lock:
            suspended = run.suspended
            if run.deleted:
                raise Refusal(404, f"the run {run.run_id} was deleted")
            if suspended is None or run.output is None:
                raise Refusal(409, f"the run is {run.status}, not interrupted")
            if run.thread is not None and run.thread.pending:
                raise Refusal(409, "another run of the thread is pending")
            schema = run.agent.resume_schema(run.output["interrupt"]["interrupt_type"])
            check_against_schema(answer, schema, "body")
            fitted = with_whole_numbers(answer, schema)
            run.suspended = None
            self._change(run, "pending", None)
            self._begin(run, lambda: advance(suspended, fitted))
            return run.to_wire()

    def delete_run(self, run: RunRecord) -> JsonObject:
        """Forget a run, and cancel it if it has not ended."""
        with self._store.lock:
            self._store.forget_run(run)
            suspended, run.suspended = run.suspended, None
            run.cancelled.set()
            _wake(run)
            if suspended is not None:
                # The agent's own clean-up may take its time.
                self._spawn(run, close_generator, suspended)
            return run.to_wire()

    def delete_thread(self, thread: ThreadRecord) -> None:
        """Forget a thread and its runs; Refusal 409 if one of them is pending."""
        with self._store.lock:
            if thread.pending:
                raise Refusal(409, "a run of the thread is pending")
            self._store.threads.pop(thread.thread_id, None)
            for run in list(thread.runs):
                self.delete_run(run)

    def hang(self) -> None:
        """Have no pending run ever end."""
        with self._store.lock:
            for run in self._store.runs.values():
                if run.working:
                    run.stretch += 1
                    run.cancelled.set()

    def close(self) -> None:
        """Forget all runs and threads, cancel agents at work, and wait for them to stop.

        Each has two seconds after the one before, until one does not stop.
        """
        with self._store.lock:
            for run in list(self._store.runs.values()):
                self.delete_run(run)
            self._store.threads.clear()
            threads = list(self._threads)
        patience = _CLOSE_SECONDS
        for thread in threads:
            if isinstance(thread, threading.Timer):
                thread.cancel()
            thread.join(patience)
            if thread.is_alive():
                patience = 0.0
                warnings.warn(f"{thread.name} did not stop", ResourceWarning, stacklevel=2)

    def _thread_for(self, thread_id: str | None, agent: AgentDefinition) -> ThreadRecord | None:
        if thread_id is None:
            if not agent.has_threads:
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
        """Do something in a thread of its own; called under the store's lock, as `close` needs."""
        name = f"the agent {run.agent.name} of run {run.run_id}"
        self._start(_Listed(target=target, args=arguments, name=name))

    def _start(self, thread: _Listed) -> None:
        thread.daemon = True
        thread.listed = self._threads
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self._threads.discard(thread)
            raise

    def _attempt(self, run: RunRecord) -> None:
        run.attempts += 1
        self._begin(run, lambda: call(run, run.context(self._store.lock)))

    def _try_again(self, run: RunRecord) -> None:
        """Try a run again that failed; until then anybody may see that it did."""
        run.cancelled.wait(_ATTEMPT_PAUSE)
        with self._store.lock:
            if not run.deleted:
                self._change(run, "pending", None)
                self._attempt(run)

    def _begin(self, run: RunRecord, step: Callable[[], object]) -> None:
        """Start the next stretch of a run, in a thread of its own."""
        run.stretch += 1
        timer: _Timer | None = None
        if run.agent.timeout is not None:
            seconds = min(run.agent.timeout, threading.TIMEOUT_MAX)
            timer = _Timer(seconds, self._time_out, (run, run.stretch))
            self._start(timer)
        self._spawn(run, self._work, run, run.stretch, step, timer)

    def _work(
        self,
        run: RunRecord,
        stretch: int,
        step: Callable[[], object],
        timer: threading.Timer | None,
    ) -> None:
        """Do one stretch: what the agent returns or raises becomes its run's status."""
        try:
            self._finish(run, stretch, self._follow(run, stretch, step()))
        except BaseException as error:  # noqa: BLE001 - whatever an agent raises is the outcome
            self._fail(run, stretch, failure_of(error))
        finally:
            if timer is not None:
                timer.cancel()

    def _follow(self, run: RunRecord, stretch: int, value: object) -> object:
        """Take a generator's updates until it ends or asks; give back its result or itself."""
        while isinstance(value, Yielded):
            if isinstance(value.value, Interrupt):
                return value
            self._publish(run, stretch, json_object(value.value, "an update"))
            if run.cancelled.is_set():
                close_generator(value.generator)
                raise RunCancelled(run.run_id)
            value = advance(value.generator, None)
        return value

    def _publish(self, run: RunRecord, stretch: int, update: JsonObject) -> None:
        with self._store.lock:
            if _overtaken(run, stretch):
                return
            if run.streaming == "custom":
                run.events.append(_event(run, "custom", "pending", update=update))
            elif run.streaming == "result":
                run.events.append(_event(run, "result", "pending", result=update))
            _wake(run)

    def _finish(self, run: RunRecord, stretch: int, value: object) -> None:
        if isinstance(value, Yielded):
            self._suspend(run, stretch, value.generator, value.value)
            return
        if isinstance(value, Interrupt):
            raise TypeError("an Interrupt must be yielded, not returned")
        result = json_object(value, "an agent's result")
        with self._store.lock:
            if _overtaken(run, stretch):
                return
            output = _event(run, "result", "success", result=result)
            run.final_state = run.thread.state.get() if run.thread else None
            if run.streaming == "result":
                run.events.append(output)
            self._change(run, "success", output)

    def _suspend(
        self,
        run: RunRecord,
        stretch: int,
        generator: Generator[object, object, object],
        ask: object,
    ) -> None:
        if not isinstance(ask, Interrupt):
            raise TypeError("only an Interrupt interrupts a run")
        payload = json_object(ask.payload, "an interrupt's payload")
        question = {**payload, "interrupt_type": ask.interrupt_type}
        if self._store.quirks.interrupts_succeed:
            self._finish(run, stretch, question)
            close_generator(generator)
            return
        output: JsonObject = {"type": "interrupt", "interrupt": question}
        with self._store.lock:
            if not _overtaken(run, stretch):
                run.suspended = generator
                self._change(run, "interrupted", output)
                return
        close_generator(generator)

    def _fail(self, run: RunRecord, stretch: int, failure: Failure) -> None:
        with self._store.lock:
            if _overtaken(run, stretch):
                return
            output: JsonObject = {
                "type": "error",
                "run_id": run.run_id,
                "errcode": failure.errcode,
                "description": failure.description,
            }
            self._change(run, failure.status, output)
            if failure.status == "error" and run.attempts < self._store.quirks.attempts:
                self._spawn(run, self._try_again, run)

    def _time_out(self, run: RunRecord, stretch: int) -> None:
        description = f"not done after {run.agent.timeout} s"
        with self._store.lock:
            self._fail(run, stretch, timed_out(description))
            if run.status == "timeout":
                run.cancelled.set()

    def _change(self, run: RunRecord, status: str, output: JsonObject | None) -> None:
        run.become(status, output)
        _wake(run)
        self._on_status_change(run)


class _Listed(threading.Thread):
    """A thread that takes itself off a list, so that nothing has to look for those that ended."""

    listed: set[threading.Thread]

    def run(self) -> None:
        try:
            super().run()
        finally:
            self.listed.discard(self)


class _Timer(_Listed, threading.Timer):
    pass


def _event(run: RunRecord, kind: str, status: str, **content: JsonObject) -> JsonObject:
    return {"type": kind, "run_id": run.run_id, "status": status, **content}


def _overtaken(run: RunRecord, stretch: int) -> bool:
    return run.stretch != stretch or not run.working


def _wake(run: RunRecord) -> None:
    for watcher in list(run.watchers):
        watcher()
