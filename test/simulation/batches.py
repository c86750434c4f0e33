"""Batches in virtual time: a server that their threads share, and calls of `AgentHandle.map`."""

from __future__ import annotations

import math
import os
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from simulation.threads import VirtualThreads, never
from simulation.world import (
    CREATE,
    OUTPUT,
    Fault,
    Schedule,
    SimulatedRun,
    Trouble,
    World,
    client_of,
)
from support.timing import using

from acp_client_v0_1 import AgentHandle, BatchItem, Run, RunSearchRequest
from acp_client_v0_1.exceptions import ApiException, ConnectionException, RunWaitTimeout


@dataclass(frozen=True)
class Limit:
    """A proxy that refuses a request soon after another one, as nginx does by ``limit_req``."""

    rate: float  # requests a second
    fault: Fault


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
    ) -> None:
        self.threads = VirtualThreads(rng)
        schedule = schedule or Schedule({})
        super().__init__(Schedule(schedule.faults, (*troubles, *schedule.troubles)), rng)
        self.plan = {"questions": 0, "step": 1.0, "ends_in": "success", "updates": []}
        self.limit = limit
        self.cut: tuple[float, int] | None = None  # held polls, by a proxy: seconds and status
        self.plans: dict[int, dict[str, Any]] = {}  # of some inputs
        self.hung_up = False  # by the client
        self.served: set[int | None] = set()  # the inputs whose outputs this call was served
        self.failed: list[tuple[float, int | None]] = []  # when another output was not, and whose
        self._closed_at = -math.inf  # by the response with a Retry-After
        self._passed = -math.inf  # when the limit let a request pass
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
        if is_output:
            self.served.add(self._number(arguments[0]))
        return answer

    def _number(self, run_id: str) -> int | None:
        """Return the input of a run. The runs of others have none."""
        run = self.runs.get(run_id)
        return run and run.creation.input and run.creation.input["n"]

    def _early(self) -> float:
        # At the moment at which the response comes, other threads do not know it.
        return super()._early() if self.now > self._closed_at else 0.0

    def _status(self, status: int, name: str, retry_after: float | None = None) -> ApiException:
        if retry_after is not None:
            self._closed_at = self.now
        return super()._status(status, name, retry_after)

    def _fault(self, number: int, name: str, arguments: Any) -> Fault | None:
        if self.limit is not None:
            if self.now - self._passed < 1 / self.limit.rate - 1e-9:
                return self.limit.fault
            self._passed = self.now
        return super()._fault(number, name, arguments)

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

    def result(self, run: SimulatedRun) -> dict[str, Any]:
        return {"n": run.creation.input["n"]}

    # What a test does

    def recover(self) -> None:
        """End all that fails."""
        self.schedule, self.limit, self.cut = Schedule({}), None, None

    def made(self) -> Counter[int]:
        """How many runs were made for each input."""
        ours = (run.creation.input for run in self.runs.values())
        return Counter(given["n"] for given in ours if given)

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
        clocks = {"now": self.clock, "calendar": self.calendar, "sleep": self.sleep}
        with using(**clocks), self.threads.taking_turns():
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
                self.threads.rest()
                self.hung_up = False
        call.requests = self.requests - before
        return call

    def idle(self, seconds: float, journal: Path | None = None) -> None:
        """Let some time pass between two calls."""
        self.now += seconds
        if journal is not None:
            # A journal has the time of the calendar.
            written = time.time() - seconds
            os.utime(journal, (written, written))
