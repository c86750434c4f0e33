"""A server as a state machine, on a clock that jumps, behind a client that has no socket.

A `World` plays the life of runs: what the server carried out, what it answered, which new runs a
read replica does not know yet. Its faults come from a schedule, a dict from the number of a request
to what goes wrong with it, so that a schedule can be shortened request by request. What it shows of
a run, and who else uses it, is its `Character`.

Each run has a number in its input, and its result has the same number. So whatever a run shows, the
world knows whose it is.
"""

from __future__ import annotations

import json
import math
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

from simulation.characters import Character
from support.parts import NothingYet, policy_of

from acp_client_v0_1 import (
    AgentHandle,
    Run,
    RunCreate,
    RunInterrupt,
    RunOutput,
    RunResult,
    ServerSentEvent,
)
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTimeoutError,
    ConnectionException,
    ResponseValidationError,
    StreamInterrupted,
)
from acp_client_v0_1.models.run_error import RunError
from acp_client_v0_1.models.run_status import RunStatus

T = TypeVar("T")

HOST = "http://simulated"
EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
ROUND_TRIP = 0.01  # seconds

NO_LIMIT = 60.0  # seconds, the client's own, of a request without a limit
AWAY = 0.3  # seconds for which a server that restarts refuses connections
FIRST_STRANGER = 900  # the number of its run

FAULTS = (
    *("refused", "lost before", "lost after", "status", "limited", "unreadable", "stale", "cut"),
    "hang",  # the response never comes
)
# The kinds of faults whose responses show that the address is right; "" is none.
READABLE = frozenset(("", "status", "limited", "stale", "cut"))
STATUSES = (408, 500, 502, 503, 504, 520, 524, 598)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    kind: str
    status: int = 0
    carried_out: bool = False
    retry_after: float | None = None
    lag: float = 0.0  # seconds for which a replica does not know a run after its create


CREATE, SEARCH, AGENT = "POST /runs", "POST /runs/search", "GET /agents/{agent_id}"
LOOK, OUTPUT = "GET /runs/{run_id}", "GET /runs/{run_id}/output"
ANSWER, DELETE = "POST /runs/{run_id}", "DELETE /runs/{run_id}"
ALL = (CREATE, SEARCH, AGENT, LOOK, OUTPUT, ANSWER)
EVERY = (*ALL, DELETE, "GET /runs/{run_id}/stream")


@dataclass(frozen=True)
class Trouble:
    """A time in which a share of the requests of some kinds, of all inputs or of one, has a fault.

    A server that hangs; a proxy without its server, 502 to everything; or a server that sheds load,
    503 to a part, without a Retry-After.
    """

    fault: Fault
    names: tuple[str, ...] = ALL
    of: int | None = None
    begins: float = 0.0  # seconds from the first request
    lasts: float = math.inf
    share: float = 1.0

    def hits(self, number: int, name: str, of: int | None, since: float) -> bool:
        """Tell whether a request has its fault, at so many seconds from the first request."""
        here = name in self.names and self.of in (None, of)
        now = self.begins <= since < self.begins + self.lasts
        return here and now and (self.share == 1 or random.Random(number).random() < self.share)


@dataclass(frozen=True)
class Limit:
    """A proxy that refuses a request soon after another one, as nginx does by ``limit_req``."""

    rate: float  # requests a second
    fault: Fault = Fault("status", 503)


class Sent(NamedTuple):
    """A request, when it began and was to end, and the kind of its fault."""

    name: str
    at: float
    until: float
    fault: str


@dataclass
class Change:
    """A status of a run, from a time on."""

    at: float
    status: str
    question: int = -1


@dataclass
class SimulatedRun:
    """A run: a plan of questions, its updates, and what has happened to it."""

    run_id: str
    creation: Any
    born: float
    questions: int
    step: float  # seconds of work before a question or the end
    ends_in: str
    updates: list[float]  # when each is sent
    changes: list[Change] = field(default_factory=list)
    answers: list[tuple[int, Any]] = field(default_factory=list)  # to which question
    deleted_at: float = math.inf
    ours: bool = False  # made by a request of the client
    shown: Any = None  # what its records show of its create
    forgotten_at: float = math.inf  # by a restart
    failures: list[float] = field(default_factory=list)  # when a request was lost, or not sent
    touched_at: float = math.inf  # by a DELETE or an answer of the client

    @property
    def number(self) -> int:
        return (self.creation.input or {}).get("n", -1)

    def is_there(self, at: float) -> bool:
        return at < min(self.deleted_at, self.forgotten_at)

    def state(self, at: float) -> Change:
        found = self.changes[0]
        for change in self.changes:
            if change.at <= at:
                found = change
        return found

    def work(self, at: float) -> None:
        """Plan what comes after a create or an answer."""
        self.changes.append(Change(at, "pending"))
        asked = len(self.answers)
        status = "interrupted" if asked < self.questions else self.ends_in
        self.changes.append(Change(at + self.step, status, asked))


class Schedule:
    """Faults by the number of the request, and those of a time."""

    def __init__(self, faults: dict[int, Fault], troubles: tuple[Trouble, ...] = ()) -> None:
        self.faults, self.troubles = faults, troubles

    @classmethod
    def drawn(cls, rng: random.Random) -> Schedule:
        faults: dict[int, Fault] = {}
        for number in range(40):
            if rng.random() < 0.22 and len(faults) < 8:
                kind = rng.choice(FAULTS)
                asked = rng.choice((None, None, 0.0, 0.7, 3.0))
                faults[number] = Fault(
                    kind,
                    status=rng.choice(STATUSES),
                    carried_out=rng.random() < 0.5,
                    retry_after=asked if kind in ("status", "limited") else None,
                    lag=rng.choice((0.05, 0.4, 1.5)),
                )
        if rng.random() >= 0.25:
            return cls(faults)
        fault, share = rng.choice(
            (
                (Fault("hang"), 1.0),
                (Fault("hang"), 0.5),
                (Fault("lost before"), 1.0),
                (Fault("status", 502), 1.0),
                (Fault("status", 503), 0.6),
            )
        )
        begins, lasts = rng.choice((0.0, 0.0, 0.3, 2.0)), rng.choice((0.2, 1.5, 5.0, 20.0))
        few = dict(list(faults.items())[:2])
        return cls(few, (Trouble(fault, EVERY, None, begins, lasts, share),))

    def fault(self, number: int, name: str, of: int | None, since: float) -> Fault | None:
        """Return what goes wrong with a request, at so many seconds from the first request."""
        found = (each.fault for each in self.troubles if each.hits(number, name, of, since))
        return next(found, None) or self.faults.get(number)

    def shortest(self, fails: Callable[[Schedule], object]) -> Schedule:
        """Drop the faults that a failure does not need."""
        given: dict[int, Trouble] = dict(enumerate(self.troubles))
        few = fewest(given, lambda some: fails(Schedule(self.faults, (*some.values(),))))
        troubles = (*few.values(),)
        faults = fewest(self.faults, lambda some: fails(Schedule(some, troubles)))
        return Schedule(faults, troubles)

    def __str__(self) -> str:
        faults = (f"  request {n}: {fault}" for n, fault in self.faults.items())
        return "\n".join([*(f"  {each}" for each in self.troubles), *faults])


def check(true: bool, words: str) -> None:
    if not true:
        raise AssertionError(words)


def fewest(given: dict[int, T], fails: Callable[[dict[int, T]], object]) -> dict[int, T]:
    """Drop what a failure does not need."""
    for key in list(given):
        fewer = {other: each for other, each in given.items() if other != key}
        given = fewer if fails(fewer) else given
    return given


class World:
    """The server, the clock, and what arrived."""

    most_requests = 5000

    def __init__(
        self, schedule: Schedule, rng: random.Random, character: Character | None = None
    ) -> None:
        self.now = 1000.0
        self.schedule = schedule
        self.rng = rng
        self.character = character or Character()
        self.characters: dict[str, Character] = {}  # of other agents, if this is a gateway
        self.runs: dict[str, SimulatedRun] = {}
        self.all: list[SimulatedRun] = []  # also those that a restart has forgotten
        self.restarted_at = math.inf
        self.by_token = False  # the client has its run from a token
        self._counted = 0  # runs since the last restart
        self._creates = 0  # that the client has sent
        rate = self.character.rate
        self.limit = Limit(rate) if rate < math.inf else None
        self._passed = -math.inf  # when the limit let a request pass
        self._coming: list[tuple[float, Callable[[float], object]]] = []  # what others do, and when
        self.requests = 0
        self.began = self.now  # the faults
        self.sent: list[Sent] = []
        self.closed_until = -math.inf  # by a Retry-After
        self.violations: list[str] = []
        self.plan: dict[str, Any] = {}  # of the next run
        self.rest = SimpleNamespace(reached=False, learnt={}, policy=policy_of(None), observer=None)

    # The clock

    def clock(self) -> float:
        return self.now

    def calendar(self) -> float:
        return self.clock() + EPOCH.timestamp()

    def sleep(self, seconds: float, stop: threading.Event | None) -> bool:
        self.now += max(0.0, seconds)
        return stop is not None and stop.is_set()

    def respond_at(self, moment: float) -> None:
        """Let the request under way last until a moment."""
        self.now = moment

    def restart(self) -> None:
        """Forget what the client has learnt of the server, as another process would."""
        self.rest.reached = False
        self.rest.learnt.clear()

    # What others do

    def populate(self) -> None:
        """Let others start runs, in the past and during the call, and let the server restart."""
        for agent_id in ("agent", *self.characters):
            character = self.of(agent_id)
            if character.strangers:
                for age in (900.0, self.rng.choice((900.0, 5.0))):
                    self.stranger(agent_id, self.now - age)
                begin = partial(self.stranger, agent_id)
                self._coming += [(self.now + seconds, begin) for seconds in (0.3, 1.0, 4.0)]
        if self.character.restart < math.inf:
            self._coming.append((self.now + self.character.restart, self._forget))
        self._coming.sort(key=lambda event: event[0])

    def stranger(self, agent_id: str, at: float) -> SimulatedRun:
        """Begin a run of somebody else."""
        number = FIRST_STRANGER + len(self.all)
        metadata: dict[str, Any] | None = None
        if self.of(agent_id).strangers == "marked":
            mark = f"{number:032x}"
            metadata = {"acp-client-token": mark}
            if number % 2:
                metadata = {"acp-client-token": "job-7", "acp-client-create": f"{mark}-{mark}"}
        creation = RunCreate(agent_id=agent_id, input={"n": number}, metadata=metadata)
        return self.add(self._new_id(agent_id), creation, self.now - at)

    def _forget(self, at: float) -> None:
        """Restart: forget all runs, and begin to count again. Others are the first to return."""
        self.restarted_at, self._counted = at, 0
        for run in self.runs.values():
            run.forgotten_at = min(run.forgotten_at, at)
        self.runs.clear()
        for _ in range(3):
            self.stranger("agent", at)

    def replace_server(self) -> None:
        """Put a server without runs in the place of this one, without the loss of a request."""
        self._forget(self.now)
        self.restarted_at = self.now - AWAY

    def happen(self) -> None:
        """Let everything happen that others do until now."""
        while self._coming and self._coming[0][0] <= self.now:
            at, event = self._coming.pop(0)
            event(at)

    def next_restart(self) -> float:
        """Return when the server restarts next."""
        return min((at for at, event in self._coming if event == self._forget), default=math.inf)

    def ask_others(self, client: Any) -> None:
        """Lose a create of each other agent, which says nothing about the habits of the agent."""
        schedule = self.schedule
        for number, agent_id in enumerate(self.characters):
            self.schedule, self.requests = Schedule({0: Fault("lost after")}), 0
            with suppress(ApiException):
                AgentHandle(agent_id, client).start({"n": 100 + number})
        self.schedule, self.requests, self.began = schedule, 0, self.now
        self.sent.clear()

    def recover(self) -> None:
        """End all that fails, and let some time pass."""
        self.schedule = Schedule({})
        self._coming.clear()
        self.character, self.limit = replace(self.character, lag=0.0), None
        self.now += 5.0
        self.closed_until = -math.inf  # another call is no retry

    @property
    def is_restarted(self) -> bool:
        return self.restarted_at <= self.now

    # What is known of runs

    def of(self, agent_id: str) -> Character:
        return self.characters.get(agent_id, self.character)

    def made_for(self, number: int) -> list[SimulatedRun]:
        """Return the runs of an input that are there, or were deleted."""
        ours = (run for run in self.all if run.ours and run.number == number)
        return [run for run in ours if run.forgotten_at > self.now]

    def is_of(self, run_id: str, number: int) -> bool:
        """Tell whether an id is, or was, of a run of ours for an input."""
        return any(run.run_id == run_id and run.ours and run.number == number for run in self.all)

    def answer(self, run: SimulatedRun, body: Any) -> None:
        """Take an answer to the question that is open now."""
        run.answers.append((run.state(self.now).question, body))
        run.work(self.now)

    # Requests

    def call(self, operation: Any, arguments: Any, options: Any) -> Any:
        name = f"{operation.method} {operation.path}"
        number, self.requests = self.requests, self.requests + 1
        early = self._early()
        if early > 1e-9:
            self.violations.append(f"{name} was sent {early:.2f} s too early")
        if self.requests > self.most_requests:
            raise AssertionError("a hot loop")
        limit = options[0]
        if isinstance(limit, tuple):
            limit = limit[0]
        self.happen()
        fault = self._fault(number, name, arguments)
        if self.restarted_at <= self.now < self.restarted_at + AWAY:
            fault = Fault("refused")
        if fault is None and limit is not None and limit < ROUND_TRIP:
            fault = Fault("hang", carried_out=True)
        until = self.now + (NO_LIMIT if limit is None else limit)
        kind = "" if fault is None else fault.kind
        self.sent.append(Sent(name, self.now, until, kind))
        self.respond_at(self.now + (ROUND_TRIP if limit is None else min(ROUND_TRIP, limit)))
        self.rest.reached = self.rest.reached or kind in READABLE
        if kind in ("refused", "hang", "lost before", "lost after") and "{run_id}" in name:
            self._note_failure(arguments[0])
        if fault is None or fault.kind in ("stale", "cut"):
            return self._answer(name, arguments, limit, fault)
        carried_out = fault.kind in ("lost after", "unreadable") or (
            fault.kind in ("status", "hang") and fault.carried_out
        )
        if carried_out:
            try:
                self._answer(name, arguments, limit, None)
            except ApiException as refusal:
                if refusal.status is not None and fault.kind == "unreadable":
                    raise
        if fault.kind == "refused":
            raise self._transport(ConnectionException, name, sent=False)
        if fault.kind == "hang":
            self.respond_at(until)
            raise self._transport(ApiTimeoutError, name, sent=True)
        if fault.kind.startswith("lost"):
            raise self._transport(ConnectionException, name, sent=True)
        if fault.kind == "unreadable":
            raise ResponseValidationError(status=200, reason="no JSON", body="<html>", url=HOST)
        status = 429 if fault.kind == "limited" else fault.status
        raise self._status(status, name, fault.retry_after)

    def _early(self) -> float:
        """Return how many seconds are left of what a Retry-After asked for."""
        return self.closed_until - self.now

    def _note_failure(self, run_id: str) -> None:
        for run in self.all:
            if run.run_id == run_id:
                run.failures.append(self.now)

    def _fault(self, number: int, name: str, arguments: Any) -> Fault | None:
        """Return what goes wrong with a request."""
        if self.limit is not None:
            if self.now - self._passed < 1 / self.limit.rate - 1e-9:
                return self.limit.fault
            self._passed = self.now
        of = self._input(name, arguments)
        return self.schedule.fault(number, name, of, self.now - self.began)

    def _input(self, name: str, arguments: Any) -> int | None:
        """Return whose request it is, in a batch."""
        return None

    def _transport(self, kind: Any, name: str, *, sent: bool) -> ApiException:
        error: ApiException = kind(reason="simulated", method=name.split()[0], url=HOST)
        error.sent = sent  # type: ignore[attr-defined]
        return error

    def _status(self, status: int, name: str, retry_after: float | None = None) -> ApiException:
        headers = {} if retry_after is None else {"retry-after": f"{math.ceil(retry_after)}"}
        if retry_after is not None:
            self.closed_until = max(self.closed_until, self.now + math.ceil(retry_after))
        response = SimpleNamespace(
            status=status, reason="Simulated", headers=headers, method=name.split()[0], url=HOST
        )
        return ApiException.from_response(http_resp=response, body='"words"', data="no such thing")

    def _answer(self, name: str, arguments: Any, limit: Any, fault: Fault | None) -> Any:
        lag = fault.lag if fault is not None and fault.kind == "stale" else 0.0
        if name == "POST /runs":
            return self._create(arguments[0])
        if name == "POST /runs/search":
            return self._search(arguments[0], lag)
        if name.startswith("GET /agents/"):
            return SimpleNamespace(agent_id=arguments[0])
        run = self.runs.get(arguments[0])
        if run is None or not run.born + lag <= self.now < run.deleted_at:
            raise self._status(404, name)
        if name == "GET /runs/{run_id}":
            return self._run(run)
        if name == "DELETE /runs/{run_id}":
            told = self._run(run)
            run.deleted_at = self.now
            run.touched_at = min(run.touched_at, self.now)
            return told
        if name == "POST /runs/{run_id}":
            state = run.state(self.now)
            if state.status != "interrupted":
                raise self._status(409, name)
            self.answer(run, arguments[1])
            run.touched_at = min(run.touched_at, self.now)
            return self._run(run)
        if name.endswith("/output"):
            return self._output(run, arguments[1], limit)
        if name.endswith("/stream"):
            return self._stream(run, fault)
        raise AssertionError(name)

    def result(self, run: SimulatedRun) -> dict[str, Any]:
        return {"n": run.number}

    def add(self, run_id: str, creation: Any, age: float = 0.0) -> SimulatedRun:
        """Begin a run, which may be of the past."""
        born = self.now - age
        run = self.runs[run_id] = SimulatedRun(run_id, creation, born, **self.plan)
        run.shown = self.of(creation.agent_id).shown(creation)
        self.all.append(run)
        run.work(born)
        return run

    def _new_id(self, agent_id: str) -> str:
        if self.of(agent_id).counts:
            # Behind a gateway, two servers may give one id. That is not what is played here.
            self._counted += 1
            return f"run-{self._counted - 1}"
        return f"5c0ffee5-0000-4000-8000-{len(self.all):012x}"

    def _create(self, creation: Any) -> Run:
        self._creates += 1
        mixes = self.of(creation.agent_id).mixes if self._creates % 2 else ""
        if mixes == "cached" and (cached := self._latest(creation.agent_id)):
            return self._run(cached)
        run = self.add(self._new_id(creation.agent_id), creation)
        run.ours = True
        return self._run(self._partner(run) if mixes == "swapped" else run)

    def _latest(self, agent_id: str) -> SimulatedRun | None:
        """Return the run of a create whose response may still be in a cache."""
        found = (run for run in self.runs.values() if run.creation.agent_id == agent_id)
        return max(
            (r for r in found if r.born > self.now - 300), key=lambda r: r.born, default=None
        )

    def _partner(self, run: SimulatedRun) -> SimulatedRun:
        """Return the run whose response is exchanged with that of another run."""
        return self.stranger(run.creation.agent_id, self.now)

    def _search(self, request: Any, lag: float) -> list[Run]:
        found = list[Run]()
        for run in self.runs.values():
            character = self.of(run.creation.agent_id)
            if (
                run.born + lag + character.lag <= self.now < run.deleted_at
                and request.agent_id in (None, run.creation.agent_id)
                and request.status in (None, run.state(self.now).status)
                and character.finds_by(run.creation, request.metadata)
            ):
                found.append(self._run(run))
        return found[request.offset : request.offset + request.limit]

    def _run(self, run: SimulatedRun) -> Run:
        state = run.state(self.now)
        return Run.model_construct(
            creation=run.shown,
            run_id=run.run_id,
            agent_id=run.creation.agent_id,
            created_at=EPOCH + timedelta(seconds=run.born),
            updated_at=EPOCH + timedelta(seconds=state.at, microseconds=1),
            status=RunStatus(state.status),
            thread_id=None,
        )

    def _output(self, run: SimulatedRun, window: Any, limit: Any) -> RunOutput | None:
        began = self.now
        until = began + (window or 0)
        while run.state(self.now).status == "pending" and self.now < until:
            if limit is not None and self.now - began >= limit:
                raise self._transport(ApiTimeoutError, "GET output", sent=True)
            coming = [each.at for each in run.changes if each.at > self.now]
            coming += [until, self.next_restart(), math.inf if limit is None else began + limit]
            self.respond_at(min(coming))
            self.happen()
            if run.forgotten_at <= self.now:
                self._note_failure(run.run_id)
                raise self._transport(ConnectionException, "GET output", sent=True)
        state = run.state(self.now)
        if state.status == "pending":
            return None
        output: Any
        if state.status == "interrupted":
            asks = {"interrupt_type": "quiz", "number": state.question}
            output = RunInterrupt.model_construct(type="interrupt", interrupt=asks)
        elif state.status == "success":
            output = RunResult.model_construct(
                type="result", run_id=run.run_id, status=RunStatus.SUCCESS, result=self.result(run)
            )
        else:
            failure = {"errcode": 1, "description": "it failed"}
            output = RunError.model_construct(type="error", run_id=run.run_id, **failure)
        return RunOutput.model_construct(output)

    def _stream(self, run: SimulatedRun, fault: Fault | None) -> Any:
        reader = SimulatedReader(self, run, fault)
        return SimpleNamespace(status=200, reader=reader, close=lambda: None)


class SimulatedReader:
    """The reader of a stream of updates, with numbers for ids, from the beginning each time."""

    def __init__(self, world: World, run: SimulatedRun, fault: Fault | None) -> None:
        self._world, self._run = world, run
        self._cut_after = world.rng.randrange(4) if fault is not None else math.inf
        self._next = 0
        self.closed = False
        self.left: Iterator[ServerSentEvent] = iter(())

    def advance(self, seconds: float | None = None) -> bool:
        world, run = self._world, self._run
        until = math.inf if seconds is None else world.now + seconds
        if world.next_restart() <= min(until, self._due()):
            world.now = max(world.now, world.next_restart())
            world.happen()
        if run.forgotten_at <= world.now:
            self._cut_after = 0
        if self._cut_after <= 0:
            self.closed = True
            raise StreamInterrupted(last_event_id="", reason="simulated", status=200)
        due = self._due()
        if due > until:
            world.now = until
            raise NothingYet
        world.now = max(world.now, due)
        if self._next < len(run.updates):
            self._next += 1
            self._cut_after -= 1
            fields = {"run_id": run.run_id, "status": "pending", "update": {"n": self._next}}
            data = json.dumps({"type": "custom", **fields})
            self.left = iter([ServerSentEvent("agent_event", data, str(self._next))])
            return True
        self.closed = True
        return False

    def _due(self) -> float:
        """Return when the next update, or the end of the stream, comes."""
        run = self._run
        if self._next < len(run.updates):
            return run.born + run.updates[self._next]
        return run.changes[-1].at

    def close(self) -> None:
        self.closed = True


def client_of(world: World) -> Any:
    """A client whose calls the world answers."""
    client = SimpleNamespace(
        call=world.call,
        configuration=SimpleNamespace(host=HOST, block_margin=10.0),
        rest_client=world.rest,
        retries=None,
    )
    client.with_options = lambda **_: client
    return client
