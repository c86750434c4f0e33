"""Batches in virtual time: a server that their threads share, and calls of `AgentHandle.map`."""

from __future__ import annotations

import math
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from simulation.characters import Character
from simulation.threads import VirtualThreads, never
from simulation.world import (
    CREATE,
    OUTPUT,
    ROUND_TRIP,
    Limit,
    Schedule,
    SimulatedRun,
    Trouble,
    World,
    client_of,
)
from support.timing import using

from acp_client_v0_1 import AgentHandle, BatchItem, Run, RunResult, RunSearchRequest
from acp_client_v0_1.exceptions import ApiException, ConnectionException, RunWaitTimeout
from acp_client_v0_1.models.run_error import RunError


@dataclass
class Call:
    """What a call of `map` gave: its items, and the error that ended it."""

    began: float
    took: float = 0.0
    items: list[BatchItem] = field(default_factory=list)
    error: BaseException | None = None
    requests: int = 0

    def results(self) -> list[int]:
        return sorted(item.result()["n"] for item in self.items if item.ok)

    def timed_out(self) -> bool:
        return any(isinstance(error, RunWaitTimeout) for error in self.errors().values())

    def errors(self) -> dict[int, Exception]:
        return {item.index: item.error for item in self.items if item.error is not None}


class BatchWorld(World):
    """A `World` that the threads of a batch ask, whose inputs are numbers."""

    most_requests = 100_000

    def __init__(
        self,
        rng: random.Random,
        *troubles: Trouble,
        schedule: Schedule | None = None,
        limit: Limit | None = None,
        character: Character | None = None,
    ) -> None:
        self.threads = VirtualThreads(rng)
        schedule = schedule or Schedule({})
        faults = Schedule(schedule.faults, (*troubles, *schedule.troubles))
        super().__init__(faults, rng, character)
        self.plan = {"questions": 0, "step": 1.0, "ends_in": "success", "updates": []}
        self.limit = limit or self.limit
        self.cut: tuple[float, int] | None = None  # held polls, by a proxy: seconds and status
        self.plans: dict[int, dict[str, Any]] = {}  # of some inputs
        self.hung_up = False  # by the client
        # The process of the client is killed at this request, after it was carried out or before.
        self.kill_at: tuple[int, bool] | None = None
        self.is_dead = False
        self._journal: Path | None = None
        self._written = b""  # in the journal, when the process was killed
        self._swapping: SimulatedRun | None = None  # waits for a partner
        self._given: dict[str, SimulatedRun] = {}  # the partners
        self.served: set[int | None] = set()  # the inputs whose outputs this call was served
        self.failed: list[tuple[float, int | None]] = []  # when another output was not, and whose
        self._closed_at = -math.inf  # by the response with a Retry-After
        self._read_at, self._reads = -math.inf, 0  # the clock, at one moment

    # The clock

    @property
    def now(self) -> float:
        return self.threads.now

    @now.setter
    def now(self, moment: float) -> None:
        self.threads.now = moment

    def clock(self) -> float:
        self._reads = self._reads + 1 if self._read_at == self.now else 0
        self._read_at = self.now
        if self._reads > 10_000:
            self._reads = 0
            raise AssertionError("a hot loop: the clock is read again and again")
        return self.now

    def sleep(self, seconds: float, stop: Event | None) -> bool:
        return self.threads.wait(self.now + seconds, never if stop is None else stop.is_set)

    def respond_at(self, moment: float) -> None:
        if self.threads.wait(moment, lambda: self.hung_up):
            raise self._transport(ConnectionException, "the request", sent=True)

    # Requests

    def call(self, operation: Any, arguments: Any, options: Any) -> Any:
        at, carried_out = self.kill_at or (-1, False)
        dies = at == self.requests and not self.is_dead
        try:
            if not self.is_dead and (carried_out or not dies):
                return self._call(operation, arguments, options)
        finally:
            if dies:
                self._die()
            if self.is_dead:
                self.threads.wait(self.now + ROUND_TRIP)
                raise self._transport(ConnectionException, "a dead process", sent=False)

    def _die(self) -> None:
        """Kill the process: it sends nothing more, and what it writes is lost."""
        if self.kill_at is not None:
            self.is_dead, self.threads.interrupt_at = True, self.now
            if self._journal is not None and self._journal.exists():
                self._written = self._journal.read_bytes()

    def _call(self, operation: Any, arguments: Any, options: Any) -> Any:
        began, is_output = self.now, operation.path.endswith("/output")
        if isinstance(arguments[0], dict):
            arguments = (RunSearchRequest(**arguments[0]), *arguments[1:])
        try:
            answer = super().call(operation, arguments, options)
        except ApiException as error:
            error.elapsed = self.now - began
            if is_output:
                self.failed.append((self.now, self._number(arguments[0])))
            raise
        if isinstance(getattr(answer, "actual_instance", None), (RunResult, RunError)):
            self.served.add(self._number(arguments[0]))
        return answer

    def _forget(self, at: float) -> None:
        super()._forget(at)
        self.served.clear()

    def _number(self, run_id: str) -> int | None:
        """Return the input of a run. None if nobody has the id now."""
        run = self.runs.get(run_id)
        return None if run is None else run.number

    def _early(self) -> float:
        # At the moment at which the response comes, other threads do not know it.
        return super()._early() if self.now > self._closed_at else 0.0

    def _status(self, status: int, name: str, retry_after: float | None = None) -> ApiException:
        if retry_after is not None:
            self._closed_at = self.now
        return super()._status(status, name, retry_after)

    def _input(self, name: str, arguments: Any) -> int | None:
        if "{run_id}" in name:
            return self._number(arguments[0])
        return arguments[0].input["n"] if name == CREATE else None

    def _create(self, creation: Any) -> Run:
        usual, self.plan = self.plan, {**self.plan, **self.plans.get(creation.input["n"], {})}
        try:
            return super()._create(creation)
        finally:
            self.plan = usual

    def _output(self, run: SimulatedRun, window: Any, limit: Any) -> Any:
        if self.cut is None or (window or 0) <= self.cut[0]:
            return super()._output(run, window, limit)
        output = super()._output(run, self.cut[0], limit)
        if output is None:
            raise self._status(self.cut[1], OUTPUT)
        return output

    def _partner(self, run: SimulatedRun) -> SimulatedRun:
        """Exchange the responses of two creates of the client that are sent at one time."""
        if (other := self._swapping) is not None:
            self._swapping, self._given[other.run_id] = None, run
            return other
        self._swapping = run
        self.threads.wait(self.now + 0.3, lambda: run.run_id in self._given or self.hung_up)
        if run.run_id in self._given:
            return self._given.pop(run.run_id)
        self._swapping = None
        return super()._partner(run)

    # What a test does

    def recover(self) -> None:
        """End all that fails."""
        super().recover()
        self.cut = None

    def made(self) -> Counter[int]:
        """How many runs were made for each input, of those that the server has not forgotten."""
        return Counter(run.number for run in self.all if run.ours and run.forgotten_at > self.now)

    def map(
        self,
        inputs: Iterable[int],
        journal: Path | None = None,
        *,
        most: float = math.inf,
        **more: Any,
    ) -> Call:
        """Call `AgentHandle.map`, and take items until there are ``most``, or no more come."""
        self.closed_until = -math.inf  # another call is no retry
        self.served.clear()
        call, before = Call(self.now), self.requests
        self._journal = journal
        with self.in_time():
            given = ({"n": n} for n in inputs)
            batch = AgentHandle("agent", client_of(self)).map(given, journal=journal, **more)
            try:
                with batch:
                    while len(call.items) < most and (item := next(batch, None)) is not None:
                        call.items.append(item)
            except (ApiException, KeyboardInterrupt) as error:
                call.error = error
            finally:
                call.took = self.now - call.began
                # What the end of the batch interrupts, and does not wait for, ends now.
                self.hung_up = True
                # A kill after the end of the batch would test nothing else.
                self.kill_at = None
                if self.is_dead:
                    self.threads.interrupt_at = math.inf
                self.threads.rest()
                self.hung_up = False
        if self.is_dead:
            self.is_dead = False
            self.restart()
            if journal is not None:
                journal.write_bytes(self._written)
        call.requests = self.requests - before
        return call

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Let calls of this thread, and of threads that it starts, take virtual time."""
        clocks = {"now": self.clock, "calendar": self.calendar, "sleep": self.sleep}
        with using(**clocks), self.threads.taking_turns():
            yield

    def idle(self, seconds: float, journal: Path | None = None) -> None:
        """Let some time pass between two calls."""
        self.now += seconds
        if journal is not None:
            # A journal has the time of the calendar.
            written = time.time() - seconds
            os.utime(journal, (written, written))
