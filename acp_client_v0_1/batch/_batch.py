"""Runs one agent on many inputs. It draws inputs as it needs them, and yields items as runs end.

Strategy: the caller's thread, inside ``next()``, draws inputs, compares them with the journal, and
submits them as tasks. So the iterable of inputs need not be thread-safe, and its errors are raised
in the caller's thread. Threads (`_workers`) or an executor (`_executors`) bring each task to an
outcome.

Invariants:

- An input is open from the time it is drawn until the caller has its item. Without ``ordered``, at
  most ``concurrency`` inputs are open. With ``ordered``, at most ``concurrency`` runs are in
  flight, and at most 2 * ``concurrency`` inputs are open.
- A result or a final error (`_lines.final_record`) is written to the journal before the caller has
  the item. If JSON cannot represent an input, nothing is written about this input. Each call finds
  the error of this input again.
- The caller may change an input once it is drawn, and an option once `map` has returned. An input
  becomes JSON text when its task is made. The digest, the create, the item and what goes to a
  worker process come of this text.
- After the iteration has ended, for any reason, the journal is closed and has only whole lines. All
  threads have ended, except those that take longer than 2.5 seconds to end. If such a thread hangs
  in a write to the journal, the journal stays open until the batch is garbage-collected.
"""

from __future__ import annotations

import math
import os
import pickle
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sized
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NoReturn

from typing_extensions import Self, Unpack

from acp_client_v0_1._arguments import check_arguments, imported
from acp_client_v0_1._text import warn_caller
from acp_client_v0_1.batch._executors import Connect, Remote, connect_from_environment
from acp_client_v0_1.batch._journal import Journal
from acp_client_v0_1.batch._lines import Header
from acp_client_v0_1.batch._progress import BatchCounts, OnProgress, Progress
from acp_client_v0_1.batch._tasks import BatchItem, OnInterrupt, Plan, Task
from acp_client_v0_1.batch._workers import Workers
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError
from acp_client_v0_1.handles._known import add_note
from acp_client_v0_1.handles._lookup import explain_id
from acp_client_v0_1.handles._marks import CLIENT_TOKEN_KEY, Mark, new_client_token
from acp_client_v0_1.handles._options import RunOptions, creation_of, given_options, showing
from acp_client_v0_1.handles._schemas import dict_of, json_digest, members_of, rows_of, with_nulls
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles._token import RunToken, server_of
from acp_client_v0_1.handles._typed import JsonType, Out
from acp_client_v0_1.handles.agent import AgentHandle
from acp_client_v0_1.handles.errors import JournalMismatch, RunFailed, RunGone
from acp_client_v0_1.models import Agent


class Batch(Generic[Out]):
    """An iterator over the items of many inputs, and a context manager.

    `AgentHandle.map` makes a batch, and describes the arguments.

    Use a batch from one thread. If the iteration ends early, by `close`, an exception or Ctrl-C, no
    more inputs are drawn, and the batch waits up to 2.5 seconds for its threads. With ``on_stop``
    "leave", the runs in flight continue on the server. With "cancel", the batch deletes these runs.
    That may take some 30 seconds more, and longer if the server is slow. Another Ctrl-C ends this,
    and its message counts the runs that are left. With a journal, the same call of `map` continues
    where the batch stopped.

    A process that is forked after the first ``next()`` cannot continue the batch of its parent.
    """

    @showing(RunOptions)
    def __init__(
        self,
        agent: AgentHandle[Any, Out],
        inputs: Iterable[Any],
        *,
        # The agent's description, if the handle has read it already.
        about: Agent | None = None,
        # The types of the inputs and of the results.
        types: tuple[JsonType | None, JsonType | None] = (None, None),
        key: Callable[[Any], str] | None = None,
        concurrency: int = 8,
        ordered: bool = False,
        timeout: float | None = None,
        on_interrupt: OnInterrupt | None = None,
        check: bool = False,
        journal: str | os.PathLike[str] | None = None,
        retry_failed: bool = False,
        unclear: Literal["raise", "start"] = "raise",
        on_stop: Literal["leave", "cancel"] = "leave",
        durable: bool = False,
        progress: OnProgress | bool | None = None,
        total: int | None = None,
        executor: Executor | None = None,
        connect: Connect | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        check_arguments("agent", "concurrency", agent=agent, concurrency=concurrency)
        _check_inputs(inputs)
        check_arguments("on_stop", "unclear", on_stop=on_stop, unclear=unclear, total=total)
        check_arguments(key=key, on_interrupt=on_interrupt, connect=connect, executor=executor)
        check_arguments(ordered=ordered, check=check, retry_failed=retry_failed, durable=durable)
        check_arguments(timeout=timeout, journal=journal, progress=progress)
        if timeout == 0:
            raise ApiValueError("the timeout must be above 0 seconds: a run takes some time")
        if executor is None and connect is not None:
            raise ApiValueError("connect is for the processes of an executor: pass executor=")
        if journal is None and (retry_failed or durable):
            name = "retry_failed" if retry_failed else "durable"
            raise ApiValueError(f"{name} is for the lines of a journal", hint="pass journal=")
        # The import of this module would load multiprocessing, and fails in a thread that runs on
        # after the main thread. An executor of processes has imported it.
        processes = sys.modules.get("concurrent.futures.process")
        if processes is not None and isinstance(executor, processes.ProcessPoolExecutor):
            _check_pickles(on_interrupt=on_interrupt, connect=connect)
        if check and executor is None:
            # With an executor, this process does not check the inputs. The worker processes check
            # them, and may have other packages than this process.
            imported("jsonschema_rs", "a check by the schema", "validation")
        # 32 random hex digits, with two uses:
        # - The client token of a new run consists of the first 20 digits and the index of the
        #   input.
        # - All 32 digits are the mark of the batch, which each run has in its metadata. But if an
        #   earlier call began the journal, the mark in the header of the journal is used instead.
        mark = new_client_token(("batch", agent.agent_id, options))
        self._input_type, self._result_type = types
        self._client_token_start, self._agent_id = mark[:20], agent.agent_id
        server = server_of(agent.runs.api_client)
        self._token = RunToken(server, agent=agent.agent_id)
        given = given_options(agent.map, options)
        # This create is not sent. Making it raises an error at once if an option is not valid.
        creation_of(agent.agent_id, given)
        header = _header(agent.agent_id, server, mark, given)
        # An earlier release also sent the fields that are None by default.
        config = options.get("config")
        given_before = (
            given if config is None else {**given, "config": _as_before("config", config)}
        )
        config_before = _header(agent.agent_id, server, mark, given_before).config

        # The first `next()` calls this. So a batch that nobody iterates over makes no file.
        def open_resources() -> tuple[Journal | None, Workers | Remote]:
            file = None if journal is None else Journal(journal, header, durable, config_before)
            served = ("", "") if file is None else file.done_run()
            plan = Plan(
                agent_id=agent.agent_id,
                call_id=new_client_token(),
                agent=about,
                server=server,
                batch_mark=mark if file is None else file.header.batch,
                options=given
                if file is None or file.header.config == header.config
                else given_before,
                timeout=timeout,
                on_interrupt=on_interrupt,
                check=check,
                unclear=unclear,
                written_ago=math.inf if file is None else file.written_ago,
                # The client of a worker process is new, and has seen no response. So the plan says
                # whether the server has responded to this client, or to an earlier call.
                server_reached=agent.runs.api_client.rest_client.reached
                or (file is not None and file.responded),
                served=served[0],
                served_mark=Mark(CLIENT_TOKEN_KEY, served[1]) if served[1] else None,
                one_at_a_time=concurrency == 1,
            )
            if executor is None:
                return file, Workers(plan, agent, file, concurrency)
            return file, Remote(plan, agent, file, executor, connect or connect_from_environment)

        self._open = open_resources
        self._progress = Progress(progress)
        self._inputs = enumerate(inputs)
        self._total = len(inputs) if total is None and isinstance(inputs, Sized) else total
        self._key, self._concurrency, self._ordered = key, concurrency, ordered
        # The first input with each key. The keys of at most ``_compared`` inputs are compared, and
        # none after two were the same.
        self._first_indexes, self._compared = dict[str, int](), 0 if key is None else 100_000
        self._retry_failed = retry_failed
        self._drawn = self._delivered = 0
        self._done = self._failed = self._duplicates = 0
        self._exhausted = False
        # The items that the caller does not have yet, by index. They are in the order in which
        # their runs ended.
        self._ready: dict[int, BatchItem[Out]] = {}
        self._owned = _Resources(self._progress, cancel=on_stop == "cancel")
        # The finalizer ends the resources once: when the batch ends, or when a batch that was not
        # closed is garbage-collected.
        self._end_resources = weakref.finalize(self, self._owned.end)

    def __repr__(self) -> str:
        counts = self.counts
        total = "" if counts.total is None else f" of {counts.total}"
        words = f"{counts.done} done, {counts.failed} failed, {counts.in_flight} in flight"
        return f"<Batch: {words}{total}>"

    # Iterating

    def __iter__(self) -> Self:
        if self._owned.closed:
            raise ApiValueError("this batch is over: AgentHandle.map() makes another")
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Batch cannot be pickled: pickle the AgentHandle, or RunHandles")

    def __next__(self) -> BatchItem[Out]:
        """Wait for an item, and return it. With ``ordered``, return the item of the next input."""
        try:
            owned = self._owned
            if owned.runners is None and not owned.closed:
                owned.pid = os.getpid()
                owned.journal, owned.runners = self._open()
            elif os.getpid() != owned.pid:
                raise ApiValueError("this batch belongs to another process: call map() in this one")
            return self._next(owned.runners)
        except BaseException as error:
            # `StopIteration` gets here, too. So every end of the iteration ends the batch here.
            self._stop(error)
            explain_id(self._agent_id, error)
            raise

    def _next(self, runners: Workers | Remote | None) -> BatchItem[Out]:
        ready, ended = self._ready, False
        while runners is not None and not (ended or self._owned.closed):
            # Each round checks `closed`, because a callback or a signal handler may close the
            # batch.
            self._draw(runners)
            index = self._delivered if self._ordered else next(iter(ready), -1)
            item = ready.pop(index, None)
            ended = item is None and self._exhausted and not runners.in_flight
            if item is not None:
                self._delivered += 1
            elif ended:
                self._duplicates = runners.duplicates(self._duplicates)
            if self._progress.shown:
                self._progress.tell(self.counts, runners.outage)
            if item is not None:
                return item
            # On some systems Ctrl-C does not interrupt a wait. So this wait lasts one tick only.
            if not ended and (task := runners.take(timing().tick)) is not None:
                self._note(task)
        raise StopIteration

    def _draw(self, runners: Workers | Remote) -> None:
        """Draw inputs until enough runs are in flight, or the caller can have an item."""
        while not self._exhausted:
            room = self._concurrency - (self._drawn - self._delivered)
            if self._ordered:
                # An item that has ended may wait for the slow run of an earlier input. Another run
                # may start in its place, as long as fewer than 2 * `_concurrency` inputs are open.
                free = self._concurrency - len(runners.in_flight)
                room = min(self._concurrency + room, free)
            if room < 1:
                return
            try:
                index, value = next(self._inputs)
            except StopIteration:
                self._exhausted = True
                return
            if self._owned.closed:
                return
            self._drawn += 1
            task = self._task_of(index, value)
            if task.outcome is None:
                runners.submit(task)
                if (ended := runners.take(0)) is None:
                    continue
                task = ended
            self._note(task)
            if not self._ordered or self._delivered in self._ready:
                return

    def _new_task(self, index: int, value: Any) -> Task:
        """Make the task of an input. If the input cannot be sent, the task has ended."""
        key = str(index) if self._key is None else self._key(value)
        if not isinstance(key, str):
            raise ApiTypeError(f"key must return a str, not {type(key).__name__}")
        first = self._first_indexes.setdefault(key, index) if index < self._compared else index
        if first != index:
            warn_caller(f"the inputs {first} and {index} have the same key, {key!r:.60}")
            self._compared = 0
        task = Task(index, key, value, f"{self._client_token_start}{index:012x}")
        try:
            # The caller may change the input from now on.
            name, sent = f"input {index}", value
            if self._input_type is not None and value is not None:
                sent = self._input_type.given(name, value)
            task.input = None if sent is None else dict_of(name, sent)
        except (ApiTypeError, ApiValueError) as error:
            task.outcome = error
        return task

    def _task_of(self, index: int, value: Any) -> Task:
        """Make the task of an input.

        If the journal has an outcome of the input, the task gets this outcome, unless the input is
        to be run again.
        """
        task, journal = self._new_task(index, value), self._owned.journal
        if journal is None or task.outcome is not None:
            return task
        task.digest = json_digest(task.input)
        entry = journal.entry(index)
        if entry is None:
            return task
        again = entry.state == "failed" and self._retry_failed
        if entry.input != task.digest:
            # The run of an earlier release is searched for by what that release sent.
            earlier = _as_before(f"input {index}", value)
            if earlier is None or entry.input != json_digest(earlier):
                raise JournalMismatch(
                    f"input {index} differs from the one in the journal {journal.path}: "
                    "pass the same inputs in the same order, or use another file",
                    index=index,
                )
            if entry.run_id or not again:
                task.input, task.digest = earlier, entry.input
        if again and not entry.run_id:
            # The input was refused, so there is no run to read first. The task begins like a new
            # one.
            return task
        task.client_token, task.run_id, task.started_before = entry.client_token, entry.run_id, True
        task.posted_at = entry.posted_at
        failed = isinstance(entry.outcome, (RunFailed, RunGone))
        task.retry = ("look" if failed else "output") if again else ""
        task.outcome = None if again else entry.outcome
        return task

    def _note(self, task: Task) -> None:
        """Count an outcome, and keep its item for the caller."""
        item = self._ready[task.index] = task.item(self._result_type, self._token)
        failed = isinstance(item.outcome, Exception)
        self._failed += failed
        self._done += not failed
        self._duplicates += task.duplicates

    # Progress

    @property
    def counts(self) -> BatchCounts:
        """The progress of the batch."""
        return BatchCounts(
            total=self._drawn if self._exhausted else self._total,
            drawn=self._drawn,
            in_flight=0 if self._owned.runners is None else len(self._owned.runners.in_flight),
            done=self._done,
            failed=self._failed,
            duplicates=self._duplicates,
        )

    # Ending

    def _stop(self, error: BaseException | None = None) -> None:
        """End the batch, unless it has ended.

        If the batch ends because of Ctrl-C, write into this ``error`` how far the batch came.
        """
        if not self._end_resources.alive:
            return
        try:
            self._owned.closed = True
            left, unknown = self._end_resources() or (0, 0)
        except BaseException as late:
            # Something interrupted the end itself, often another Ctrl-C. A finalizer works once, so
            # the next `_stop` needs another one. To be quick, it deletes no more runs.
            self._end_resources = weakref.finalize(self, self._owned.end)
            self._owned.cancel = False
            if isinstance(late, KeyboardInterrupt):
                self._stop(late)
            raise
        runs = "1 run is" if left == 1 else f"{left} runs are"
        ended = self._done + self._failed
        said = f"stopped after {ended} of {self._drawn} drawn inputs; {runs} still in flight"
        if unknown:
            said += f", and {unknown} more may have been started"
        if self._owned.journal is not None:
            said += f": the same again continues with the journal {self._owned.journal.path}"
        elif left or unknown:
            said += " on the server: with a journal, the same again would continue with them"
        if isinstance(error, KeyboardInterrupt):
            if error.args:
                add_note(error, said)
            error.args = error.args or (said,)

    def close(self) -> None:
        """Stop drawing inputs, end the threads and close the journal.

        Runs in flight continue on the server, or are deleted if ``on_stop`` is "cancel". After
        `close`, ``next()`` raises `StopIteration`. Callbacks may call `close`. A second call does
        nothing.
        """
        self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._stop(error)


@dataclass(slots=True)
class _Resources:
    """The things that a batch has to end: its progress bar, its runners and its journal.

    These things are apart from the `Batch`, because a finalizer must not reference the object that
    it finalizes.
    """

    progress: Progress
    cancel: bool
    # There are no runners before the first `next()`.
    runners: Workers | Remote | None = None
    journal: Journal | None = None
    # The process that iterates over the batch. Before the first `next()`, the one that made it.
    pid: int = field(default_factory=os.getpid)
    # `Batch._stop` sets this to True. If it is False in `end`, the batch was garbage-collected
    # before its end.
    closed: bool = False

    def end(self) -> tuple[int, int]:
        """End everything.

        Return how many runs are left in flight, and how many more may have been started.
        """
        if os.getpid() != self.pid:
            # This process was forked, and the runs belong to its parent.
            return 0, 0
        if self.runners is None and not self.closed:
            why = "a batch was dropped without having run: nothing starts until you iterate over it"
            warnings.warn(why, RuntimeWarning, stacklevel=3)
        try:
            return (0, 0) if self.runners is None else self.runners.close(cancel=self.cancel)
        finally:
            if self.journal is not None:
                self.journal.close()
            self.progress.close()


def _header(agent_id: str, server: str, mark: str, given: Mapping[str, Any]) -> Header:
    config: dict[str, Any] | None = given.get("config")
    extra = {f"extra.{name}": value for name, value in given.get("extra", {}).items()}
    settings = config if not extra else {**(config or {}), **extra}
    fields = {name: json_digest(value)[:8] for name, value in (settings or {}).items()}
    return Header(agent_id, server, json_digest(settings), mark, fields)


def _as_before(name: str, value: Any) -> dict[str, Any] | None:
    """Return what an earlier release sent of a value, or None if it refused the value."""
    try:
        return dict_of(name, with_nulls(value))
    except (ApiTypeError, ValueError):
        return None


def _check_inputs(inputs: object) -> None:
    kind = type(inputs).__name__
    # pandas' to_dict() gives a dict for each column, from the number of a row to its value.
    columns = members_of(inputs).values()
    by_column = any(isinstance(column, Mapping) and 0 in column for column in columns)
    if by_column or (hasattr(inputs, "to_dict") and hasattr(inputs, "columns")):
        raise ApiTypeError(f"inputs must be an iterable of dicts: pass {rows_of(inputs)}")
    if isinstance(inputs, (str, bytes, Mapping)) or not isinstance(inputs, Iterable):
        hint = "; pass [input] for one" if isinstance(inputs, Mapping) else ""
        raise ApiTypeError(f"inputs must be an iterable of dicts, not {kind}{hint}")


def _check_pickles(**functions: object) -> None:
    """Raise `ApiTypeError` if a function cannot be pickled. Otherwise each task would fail."""
    for name, function in functions.items():
        try:
            pickle.dumps(function)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            words = "must be a function of a module, no lambda: it goes to other processes"
            raise ApiTypeError(f"{name} {words}") from error
