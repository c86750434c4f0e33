"""All schedules of up to two faults at the first requests of a call, at servers of each character.

The random schedules of the other modules find what needs many faults. These find all that needs
few. They are played in a random order, the same each time. By default, only the first are.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from simulation.batches import BatchWorld, Call
from simulation.characters import Character
from simulation.promises import (
    check_handle,
    check_made,
    check_open,
    check_others,
    check_result,
    is_doubted,
)
from simulation.world import AGENT, CREATE, SEARCH, Fault, Schedule, World, check, client_of
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import Quirks

ENUMERATED = int(os.environ.get("ENUMERATED", "3000"))  # schedules to play, of each kind of call
PARTS = 4  # of the suite, so that processes share them
FIRST = 8  # requests, which may have a fault
TIMEOUT = 300.0  # seconds of a call; a request that hangs may last for a minute
INPUTS = 3  # of a batch
CALLS = 6  # of a batch with its journal, at most

FAULTS = {
    "lost before": Fault("lost before"),
    "lost after": Fault("lost after"),
    "503": Fault("status", 503),
    "429 and a Retry-After": Fault("limited", retry_after=1.0),
    "unreadable": Fault("unreadable"),
    "hang": Fault("hang", carried_out=True),
    "refused": Fault("refused"),
}
HIDES, COUNTS = Quirks(echo_metadata="none"), Quirks(run_ids="counted")
REWRITES = Quirks(echo_metadata="none", echo_input="converted")
IGNORES = Quirks(search_metadata="ignored")
CHARACTERS = {
    "ordinary": Character(),
    "counts": Character(COUNTS),
    "counts and restarts": Character(COUNTS, strangers="marked", restart=0.5),
    "hides": Character(HIDES, strangers="marked"),
    "hides, with an index that lags": Character(HIDES, lag=0.4),
    "hides and ignores": Character(
        Quirks(echo_metadata="none", search_metadata="ignored"), strangers="plain"
    ),
    "hides, counts and restarts": Character(
        Quirks(echo_metadata="none", run_ids="counted"), strangers="plain", restart=0.5
    ),
    "hides and rewrites": Character(REWRITES),
    "hides, rewrites and counts": Character(
        Quirks(echo_metadata="none", echo_input="converted", run_ids="counted")
    ),
    "hides, and responses are swapped": Character(HIDES, mixes="swapped"),
    "hides, and a cache responds": Character(HIDES, strangers="plain", mixes="cached"),
    "shows and ignores": Character(IGNORES, strangers="plain"),
    "masks, and searches for words": Character(
        Quirks(echo_metadata="masked tokens", search_metadata="words"), strangers="marked"
    ),
    "writes in capitals": Character(Quirks(echo_metadata="capitals"), lag=1.5),
    "cuts": Character(Quirks(echo_metadata="cut")),
    "drops": Character(Quirks(stored_metadata="none"), strangers="plain"),
    "limits": Character(rate=5.0),
}


def schedules() -> Iterator[dict[int, str]]:
    """Yield all schedules of up to two faults, by the numbers of their requests."""
    for count in range(3):
        for numbers in itertools.combinations(range(FIRST), count):
            for kinds in itertools.product(FAULTS, repeat=count):
                yield dict(zip(numbers, kinds, strict=True))


ALL = list(schedules())
# The process is killed before or after one of its first requests, or not at all.
KILLS = [None, *itertools.product(range(FIRST), (False, True))]


class Single(NamedTuple):
    """A call of one run."""

    call: str
    character: str
    faults: dict[int, str]

    def play(self, folder: Path) -> str:
        world = World(Schedule({}), random.Random(0), CHARACTERS[self.character])
        random.seed(0)  # of the backoffs
        asks = self.call in ("drive", "resume")
        step = 0.0 if self.call == "resume" else 1.0
        world.plan = {"questions": int(asks), "step": step, "ends_in": "success", "updates": []}
        schedule = Schedule({number: FAULTS[kind] for number, kind in self.faults.items()})
        with using(now=world.clock, calendar=world.calendar, sleep=world.sleep):
            world.populate()
            return outcome_of(lambda: CALLS_OF_RUNS[self.call](world, client_of(world), schedule))


class Batch(NamedTuple):
    """A batch whose process is killed, and which is continued with its journal."""

    character: str
    faults: dict[int, str]
    kill: tuple[int, bool] | None

    def play(self, folder: Path) -> str:
        character = CHARACTERS[self.character]
        schedule = Schedule({number: FAULTS[kind] for number, kind in self.faults.items()})
        world = BatchWorld(random.Random(0), schedule=schedule, character=character)
        random.seed(0)
        world.populate()
        world.kill_at = self.kill
        journal = folder / "enumerated.jsonl"
        journal.unlink(missing_ok=True)
        return outcome_of(lambda: continued(world, journal))


class Restart(NamedTuple):
    """A call at a server that counts its runs, and restarts at a moment of the call."""

    call: str
    hides: bool
    step: float
    moment: float

    def play(self, folder: Path) -> str:
        hides = Character(replace(HIDES, run_ids="counted"), strangers="plain")
        character = hides if self.hides else Character(COUNTS, strangers="marked")
        character = replace(character, restart=self.moment)
        world = World(Schedule({}), random.Random(0), character)
        random.seed(0)
        world.plan = {"questions": 1, "step": self.step, "ends_in": "success", "updates": [0.1]}
        with using(now=world.clock, calendar=world.calendar, sleep=world.sleep):
            world.populate()
            return outcome_of(lambda: restarted(world, client_of(world), ENDS_OF_RUNS[self.call]))


def outcome_of(work: Callable[[], None]) -> str:
    """Return what does not hold, "" if all does."""
    try:
        work()
    except AssertionError as error:
        return str(error)
    except acp.ApiException as error:
        return repr(error)
    return ""


# Calls of one run


def started(world: World, client: Any, schedule: Schedule) -> acp.RunHandle | None:
    """Return a run that was started without a fault, if it could be started."""
    try:
        handle = acp.AgentHandle("agent", client).start({"n": 1}, timeout=TIMEOUT)
    except acp.RunStartAmbiguous as error:
        check_error(world, error)
        check_open(world, client, 1, error)
        return None
    check_handle(world, 1, handle)
    world.schedule, world.requests, world.closed_until = schedule, 0, 0.0
    world.sent.clear()
    return handle


def run(world: World, client: Any, schedule: Schedule) -> None:
    world.schedule = schedule
    agent = acp.AgentHandle("agent", client)
    checked(world, client, lambda: agent.run({"n": 1}, timeout=TIMEOUT))


def drive(world: World, client: Any, schedule: Schedule) -> None:
    world.schedule = schedule
    agent = acp.AgentHandle("agent", client)
    checked(world, client, lambda: agent.run({"n": 1}, on_interrupt=answer, timeout=TIMEOUT))


def result(world: World, client: Any, schedule: Schedule) -> None:
    if (handle := started(world, client, schedule)) is not None:
        checked(world, client, lambda: handle.result(TIMEOUT))


def resume(world: World, client: Any, schedule: Schedule) -> None:
    if (handle := started(world, client, schedule)) is None:
        return

    def answer_and_wait() -> dict[str, Any]:
        handle.resume({"to": 0}, timeout=TIMEOUT)
        return handle.result(TIMEOUT)

    checked(world, client, answer_and_wait)


CALLS_OF_RUNS = {"run": run, "drive": drive, "result": result, "resume": resume}


def checked(world: World, client: Any, call: Callable[[], dict[str, Any]]) -> None:
    """Call, and check what must hold for every call."""
    began = world.now
    try:
        check_result(world, 1, call())
    except acp.ApiException as error:
        check_error(world, error)
        check_open(world, client, 1, error)
    check(world.now - began <= 4 * TIMEOUT, f"{world.now - began:.0f} s")
    check_others(world)
    check_made(world, 1)
    for one in world.all:
        asked = [number for number, _ in one.answers]
        check(asked == list(range(len(asked))), f"answered twice: {asked}")
    if world.character in (CHARACTERS["ordinary"], CHARACTERS["counts"]):
        check_searches(world)


def check_error(world: World, error: acp.ApiException) -> None:
    """A run that the server has is not lost, where a search can find it."""
    doubted = bool(world.character.mixes) or is_doubted(world)
    if isinstance(error, acp.RunStartAmbiguous):
        made = [run for run in world.made_for(1) if run.is_there(world.now)]
        # One request that hangs may take the time of the whole search.
        no_time = any(one.name in (SEARCH, AGENT) and one.fault == "hang" for one in world.sent)
        lost = made and world.character.finds and not (world.is_restarted or doubted or no_time)
        check(not lost, f"the run is there: {error}")
        return
    # A create that hangs takes all time but that of a search.
    hangs = sum(one.fault == "hang" for one in world.sent)
    late = isinstance(error, acp.RunWaitTimeout) and hangs == 2
    # A single call has no pace, so a proxy may refuse each answer that follows a read of its run.
    limited = isinstance(error, acp.ResumeAmbiguous) and world.character.rate < math.inf
    other = world.is_restarted and isinstance(error, AFTER_A_RESTART)
    check(late or limited or other, repr(error))


# Another run may have the id, or nobody.
AFTER_A_RESTART = (
    *(acp.RunGone, acp.ResponseValidationError),
    *(acp.ResumeAmbiguous, acp.StaleInterrupt, acp.RunInterrupted),
)


def check_searches(world: World) -> None:
    """A lost create costs an ordinary server one search, and another one for each search lost."""
    searches = [one for one in world.sent if one.name == SEARCH]
    creates = [one for one in world.sent if one.name == CREATE]
    made = bool(world.made_for(1))
    unclear = [one for one in creates if one.fault not in ("", "refused", "limited")]
    failed = [one for one in searches if one.fault]
    most = len(unclear) + len(failed) if made else math.inf
    check(len(searches) <= most, f"{len(searches)} searches")


# Calls during a restart


def answer(question: acp.PendingInterrupt) -> dict[str, Any]:
    return {"to": question.payload["number"]}


ENDS_OF_RUNS: dict[str, Callable[[acp.RunHandle], object]] = {
    "delete": lambda run: run.delete(),
    "cancel": lambda run: run.cancel(),
    "resume": lambda run: run.resume({"to": 0}, timeout=TIMEOUT),
    "drive": lambda run: run.drive(answer, timeout=TIMEOUT),
    "interrupts": lambda run: [each.answer(answer(each)) for each in run.interrupts(TIMEOUT)],
    "events": lambda run: list(run.events(timeout=TIMEOUT, on_gap="mark")),
}


def restarted(world: World, client: Any, end: Callable[[acp.RunHandle], object]) -> None:
    """Start a run and end it. The server may restart at any moment."""
    with suppress(acp.ApiException):
        handle = acp.AgentHandle("agent", client).start({"n": 1}, streaming="custom")
        found = end(handle)
        if isinstance(found, dict):
            check_result(world, 1, found)
    check_others(world)


# Batches


def continued(world: BatchWorld, journal: Path) -> None:
    """Call a batch until it is over, and check each call."""
    calls = list[Call]()
    while not calls or not is_over(world, calls):
        check(len(calls) < CALLS, f"not over: {calls and calls[-1]}")
        if calls:
            world.idle(3.0, journal)
        calls.append(world.map(range(INPUTS), journal, concurrency=2))
        for item in calls[-1].items:
            if item.ok:
                check_result(world, item.index, item.result())
            else:
                check_item(world, item)
    check_others(world)
    for number in range(INPUTS):
        check_made(world, number)
    for index, error in calls[-1].errors().items():
        if isinstance(error, acp.RunStartAmbiguous):
            with world.in_time():
                check_open(world, client_of(world), index, error)


def is_over(world: BatchWorld, calls: list[Call]) -> bool:
    call = calls[-1]
    unclear = any(isinstance(each, acp.RunStartAmbiguous) for each in call.errors().values())
    character = world.character
    others_hide = (character.strangers or world.is_restarted) and not character.marks_others
    never = not character.proves or is_doubted(world) or others_hide
    return call.error is None and len(call.items) == INPUTS and (never or not unclear)


def check_item(world: BatchWorld, item: acp.BatchItem) -> None:
    """An item fails only if nobody knows its run, or if a restart has ended it."""
    error: Any = item.error
    if isinstance(error, acp.RunStartAmbiguous):
        check(error.token is not None, f"no token: {error}")
        return
    gone = isinstance(error, (acp.RunGone, acp.ResponseValidationError))
    check(gone and world.is_restarted, f"an item has failed: {error!r}")


# The schedules


def singles() -> list[Single]:
    return list(itertools.starmap(Single, itertools.product(CALLS_OF_RUNS, CHARACTERS, ALL)))


def batches() -> list[Batch]:
    return list(itertools.starmap(Batch, itertools.product(CHARACTERS, ALL, KILLS)))


def restarts() -> list[Restart]:
    moments = [number / 200 for number in range(1, 300)]
    cases = itertools.product(ENDS_OF_RUNS, (False, True), (0.0, 0.3), moments)
    return list(itertools.starmap(Restart, cases))


@pytest.fixture(autouse=True)
def no_log_of_the_outages(package_logger: logging.Logger) -> None:
    package_logger.setLevel(logging.CRITICAL)


def check_all(cases: list[Any], part: int, most: int, folder: Path) -> None:
    """Play one part of the cases, at most so many in all, and name those with the fewest faults."""
    drawn = random.Random(0).sample(cases, min(most, len(cases)))
    played = ((case, case.play(folder)) for case in drawn[part::PARTS])
    failures = [f"{case}: {wrong}" for case, wrong in played if wrong]
    few = sorted(failures, key=lambda words: words.partition("}")[0].count(": "))[:5]
    assert not failures, f"{len(failures)} of {len(drawn[part::PARTS])}, such as\n" + "\n".join(few)


LOST = {0: "lost after"}
NEEDED = {
    "run": {("ordinary", 0): 2, ("counts", 0): 2, ("hides", 0): 2, ("ordinary", 1): 3}
    | {("counts", 1): 3, ("hides", 1): 4, ("shows and ignores", 1): 3, ("drops", 0): 2},
    "result": {("ordinary", 0): 1, ("counts", 0): 1, ("hides", 0): 1},
}


@pytest.mark.parametrize("call", NEEDED)
def test_a_usual_call_needs_few_requests(call):
    """A lost create costs one search, and a control where the server hides marks."""
    for (name, lost), most in NEEDED[call].items():
        world = World(Schedule({}), random.Random(0), CHARACTERS[name])
        world.plan = {"questions": 0, "step": 1.0, "ends_in": "success", "updates": []}
        with using(now=world.clock, calendar=world.calendar, sleep=world.sleep):
            world.populate()
            faults = {number: FAULTS[kind] for number, kind in LOST.items()} if lost else {}
            CALLS_OF_RUNS[call](world, client_of(world), Schedule(faults))
        assert world.requests == most, (name, lost)


def test_the_control_of_a_server_that_hides_marks_is_sent_once():
    world = World(Schedule({}), random.Random(0), CHARACTERS["hides"])
    world.plan = {"questions": 0, "step": 1.0, "ends_in": "success", "updates": []}
    with using(now=world.clock, calendar=world.calendar, sleep=world.sleep):
        agent = acp.AgentHandle("agent", client_of(world))
        for number, searches in enumerate((2, 1, 1)):
            world.schedule, world.requests = Schedule({0: FAULTS["lost after"]}), 0
            assert agent.run({"n": number}) == {"n": number}
            assert world.requests == 2 + searches


def test_reuse_costs_one_search_and_a_batch_two_requests_for_a_run():
    world = World(Schedule({}), random.Random(0))
    world.plan = {"questions": 0, "step": 1.0, "ends_in": "success", "updates": []}
    with using(now=world.clock, calendar=world.calendar, sleep=world.sleep):
        agent = acp.AgentHandle("agent", client_of(world))
        for most in (2, 1):
            world.requests = 0
            agent.start({"n": 1}, client_token="job-7", reuse=True)
            assert world.requests == most
    batch = BatchWorld(random.Random(0))
    assert batch.map(range(20)).requests == 40


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_call_of_a_run_keeps_the_promises(part, tmp_path):
    check_all(singles(), part, ENUMERATED, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_restart_at_any_moment_leads_to_no_run_of_others(part, tmp_path):
    check_all(restarts(), part, ENUMERATED, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_batch_that_is_killed_and_continued_keeps_the_promises(part, tmp_path):
    check_all(batches(), part, ENUMERATED // 20, tmp_path)
