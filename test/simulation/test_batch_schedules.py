"""Batches under schedules of faults in virtual time: each input has its result, of one run."""

from __future__ import annotations

import itertools
import logging
import math
import os
import random
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from simulation.batches import BatchWorld, Call
from simulation.characters import Character
from simulation.promises import (
    check_open,
    check_others,
    check_result,
    is_doubted,
    nobody_can_tell,
    shows_nothing,
)
from simulation.world import (
    AGENT,
    ALL,
    ANSWER,
    CREATE,
    DELETE,
    LOOK,
    OUTPUT,
    READABLE,
    SEARCH,
    Fault,
    Limit,
    Schedule,
    Sent,
    Trouble,
    World,
    check,
    client_of,
)
from support.batches import answer
from support.timing import using

from acp_client_v0_1 import BatchItem, InterruptLimit, RunCreate
from acp_client_v0_1.exceptions import (
    ApiException,
    ResponseValidationError,
    RunWaitTimeout,
    ServiceException,
)
from acp_client_v0_1.handles.errors import ResumeAmbiguous, RunFailed, RunGone, RunStartAmbiguous
from acp_client_v0_1.testing import Quirks

BATCHES = int(os.environ.get("BATCHES", "200"))
PARTS = 5  # of the suite, so that processes share them
CALLS = 8  # of one batch, at most; all faults have passed before the last one

# Seconds
OUTAGE = 300.0  # that a batch survives
BACKOFF = 4.0  # the longest pause after a failure; an outage ends before a longer one
SEARCHING = 11.0  # a search for the run of a create, and a look at its agent
NO_RESPONSE = 61.0  # a request that hangs

# What a run's own requests may have. A 503 may be a rate limit, which is never one run's.
FAULTS = (
    *(Fault("status", status) for status in (500, 502)),
    *(Fault(kind) for kind in ("lost before", "unreadable", "hang")),
)


RESPOND, MAP = World._answer, BatchWorld.map  # as they are without a mistake


@pytest.fixture(autouse=True)
def no_log_of_the_outages(package_logger: logging.Logger) -> None:
    package_logger.setLevel(logging.CRITICAL)


@pytest.fixture(autouse=True)
def the_same_backoffs() -> None:
    random.seed(0)


def lasts(fault: Fault) -> float:
    return NO_RESPONSE if fault.kind == "hang" else 0.0


def new_journal(folder: Path) -> Path:
    return folder / f"{len(list(folder.iterdir()))}.jsonl"


def again_and_again(
    world: BatchWorld, count: int, folder: Path, *, idle: float = 5.0, **options: Any
) -> list[Call]:
    """Call a batch until it has all results. Check that nothing is lost, or made twice."""
    journal, calls = new_journal(folder), list[Call]()
    while not calls or len(calls[-1].results()) < count:
        if calls:
            check(len(calls) < 60, f"never over: {calls[-1]}")
            world.idle(idle, journal)
        calls.append(world.map(range(count), journal, **options))
        for error in calls[-1].errors().values():
            check(isinstance(error, RunStartAmbiguous), f"an item has failed: {error!r}")
    check(calls[-1].results() == list(range(count)), f"other results: {calls[-1]}")
    check(world.made() == dict.fromkeys(range(count), 1), f"other runs: {world.made()}")
    return calls


# Schedules with a name --------------------------------------------------------------------------


def test_a_run_that_always_fails_costs_one_item_also_among_runs_that_end_in_an_error():
    """Their outputs are served, so they show that the server works."""
    world = BatchWorld(random.Random(0), Trouble(Fault("status", 500), (OUTPUT,), of=1))
    world.plan["ends_in"] = "error"
    call = world.map(range(4), concurrency=2)
    assert call.error is None
    kinds = {n: type(error) for n, error in call.errors().items()}
    assert kinds == {**dict.fromkeys((0, 2, 3), RunFailed), 1: ServiceException}


def test_a_run_that_fails_after_its_question_is_compared_with_one_that_has_ended(tmp_path):
    """Its own output, which was the question, shows nothing about the server."""
    world = BatchWorld(random.Random(0), Trouble(Fault("status", 500), (OUTPUT,), 1, begins=60.0))
    world.plans[1] = {"step": 40.0, "questions": 1, "ends_in": "success"}
    call = world.map(range(2), new_journal(tmp_path), concurrency=2, on_interrupt=answer)
    assert call.error is None
    assert (call.results(), [*call.errors()]) == ([0], [1])


def test_a_run_that_always_fails_ends_the_batch_if_no_other_run_can_be_asked(tmp_path):
    world = BatchWorld(random.Random(0), Trouble(Fault("status", 500), (OUTPUT,), lasts=900.0))
    calls = again_and_again(world, 1, tmp_path)
    assert len(calls) >= 3
    assert all(isinstance(call.error, ServiceException) for call in calls[:-1])


def test_an_outage_that_ends_during_the_last_request_loses_nothing(tmp_path):
    """It ends while it is found out whether a run or the server fails."""
    hangs, fails = Fault("hang"), Fault("status", 502)
    troubles = ((hangs, (OUTPUT,)), (fails, (OUTPUT,)), (fails, ALL))
    for number, (fault, names) in enumerate(troubles):
        for late in (-62, -30, -4, -2, -1, -0.5, 0, 0.5, 1, 2, 4, 30, 62):
            # Four runs have ended before. So there are runs that can be asked.
            trouble = Trouble(fault, names, begins=2.5, lasts=OUTAGE + late)
            world = BatchWorld(random.Random(number), trouble)
            calls = again_and_again(world, 10, tmp_path, concurrency=3)
            assert len(calls) <= 2, (fault, names, late)


def test_a_server_that_limits_requests_is_asked_at_its_rate(tmp_path):
    """40 runs take 80 requests, which the server takes in 16 seconds."""
    for fault in (Fault("limited"), Fault("status", 503)):
        took: list[float] = []
        for number in range(5):
            world = BatchWorld(random.Random(number), limit=Limit(5.0, fault))
            calls = again_and_again(world, 40, tmp_path)
            assert len(calls) == 1, fault
            took.append(calls[0].took)
        assert sorted(took)[2] <= 2.2 * 16, (fault, took)
        assert max(took) <= 2.5 * 16, (fault, took)


def test_a_server_that_limits_requests_gets_the_answers_to_questions_too():
    """The look at a run and the answer to its question each take a turn."""
    for concurrency in (1, 2, 8):
        for step in (1.0, 2.0):
            world = BatchWorld(random.Random(0), limit=Limit(5.0, Fault("limited")))
            world.plan.update(questions=1, step=step)
            call = world.map(range(8), concurrency=concurrency, on_interrupt=answer)
            assert call.results() == list(range(8)), (concurrency, step)
            assert call.took < 60, (concurrency, step)


def test_a_search_for_a_lost_create_does_not_begin_again_after_ctrl_c():
    lost = Trouble(Fault("lost after"), (CREATE,)), Trouble(Fault("status", 502), (SEARCH,))
    world = BatchWorld(random.Random(0), *lost)
    pressed = world.threads.interrupt_at = world.now + 3.0
    call = world.map(range(3))
    searches = [one.at for one in world.sent if one.name == SEARCH]
    assert isinstance(call.error, KeyboardInterrupt)
    assert len(searches) > 3 and max(searches) <= pressed


def test_deleting_many_runs_at_the_end_has_a_limit_of_time():
    """Each run takes ten seconds, in two DELETEs: none begins after thirty."""
    world = BatchWorld(random.Random(0), Trouble(Fault("hang"), (DELETE,)))
    world.plan["step"] = 1000.0
    world.plans[0] = {"step": 0.0}
    call = world.map(range(150), most=1, concurrency=150, on_stop="cancel")
    begun = [one.at for one in world.sent if one.name == DELETE]
    assert 2 * 24 < len(begun) < 2 * 149
    assert 20 < max(begun) - min(begun) <= 30 and call.took < 45


def test_a_run_of_a_batch_has_a_thousand_questions_at_most():
    world = BatchWorld(random.Random(0))
    world.plan.update(questions=1001, step=0.0)
    call = world.map(range(1), on_interrupt=answer)
    assert isinstance(call.errors()[0], InterruptLimit)
    (run,) = world.runs.values()
    assert len(run.answers) == 1000


def test_a_server_that_limits_requests_and_cannot_search_leaves_few_creates_unclear(tmp_path):
    for number, fault in enumerate((Fault("limited"), Fault("status", 503))):
        no_search = Trouble(Fault("status", 500), (SEARCH,))
        world = BatchWorld(random.Random(number), no_search, limit=Limit(5.0, fault))
        call = world.map(range(40))
        refused = sum(one.name == CREATE and one.fault == "status" for one in world.sent)
        assert call.error is None, fault
        assert len(call.items) == 40, fault
        assert len(call.errors()) <= refused, fault
        assert all(isinstance(each, RunStartAmbiguous) for each in call.errors().values()), fault
        assert sorted(world.made().elements()) == call.results(), fault
        assert call.took <= 4 * 16, fault


def test_nothing_overtakes_a_retry_after_and_no_item_fails():
    """Also if a search waits for longer than it may take: two seconds after a 503."""
    for name, fault, retry_after in (
        (CREATE, Fault("limited"), 2.0),
        (CREATE, Fault("status", 503), 2.0),
        (OUTPUT, Fault("status", 502), 2.0),
        (SEARCH, Fault("limited"), 5.0),
    ):
        for concurrency in (1, 3):
            world = BatchWorld(
                random.Random(0),
                Trouble(replace(fault, retry_after=retry_after), (name,), lasts=0.5),
                Trouble(Fault("status", 503), (CREATE,), lasts=0.005),
            )
            call = world.map(range(8), concurrency=concurrency)
            assert call.results() == list(range(8)), (name, fault, concurrency)
            assert set(world.made().values()) == {1}, (name, fault, concurrency)
            assert not world.violations, (name, fault, concurrency)


def test_every_request_of_a_batch_takes_a_turn():
    """The searches for a create that was limited, and the look at its agent, too."""
    limited = Trouble(Fault("status", 503), (CREATE,), lasts=0.005)
    for troubles in ([], [Trouble(Fault("status", 500), (SEARCH,))]):
        world = BatchWorld(random.Random(0), limited, *troubles)
        with using(pace=(0.3, 0.3), recovery=1.0, young=0.5):
            assert len(world.map(range(1)).items) == 1
        times = [one.at for one in world.sent]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert len(times) > 3 and min(gaps) > 0.29, (troubles, gaps)


def test_searches_that_hang_end_with_the_outage():
    """Nothing but lost creates, and searches that take all of their time: not for ever."""
    hangs = Trouble(Fault("hang"), (SEARCH, AGENT))
    world = BatchWorld(random.Random(0), Trouble(Fault("lost before"), (CREATE,)), hangs)
    call = world.map(range(4))
    assert isinstance(call.error, ApiException) and call.took < OUTAGE + NO_RESPONSE


def test_one_early_search_of_a_replica_does_not_show_that_there_is_no_run():
    """The look at the agent, which follows, hangs for all the time of the search."""
    faults = {2: Fault("unreadable"), 3: Fault("stale", lag=0.4), 4: Fault("hang")}
    world = BatchWorld(random.Random(0), schedule=Schedule(faults))
    assert world.map(range(2), concurrency=1).results() == [0, 1]
    assert world.made() == {0: 1, 1: 1}


def test_a_retry_after_is_obeyed_if_a_search_has_found_the_run_before():
    """A server that ignores the metadata is read page by page."""
    faults = {0: Fault("lost after"), 2: Fault("limited", retry_after=3.0)}
    ignores = Character(Quirks(search_metadata="ignored"))
    world = BatchWorld(random.Random(0), schedule=Schedule(faults), character=ignores)
    world.add("stranger", RunCreate(agent_id="agent"), age=900)
    assert world.map(range(3), concurrency=1).results() == [0, 1, 2]
    assert not world.violations


HIDES = Quirks(echo_metadata="none")


def test_a_run_that_the_journal_has_shows_that_another_one_was_never_made(tmp_path):
    """The server hides marks, and finds the run that is done by its mark. Others use it too."""
    for strangers in ("", "plain"):
        character = Character(HIDES, strangers=strangers)
        world = BatchWorld(
            random.Random(0), schedule=Schedule({2: Fault("lost before")}), character=character
        )
        world.populate()
        world.kill_at = 3, False  # in the search for the second run
        journal = new_journal(tmp_path)
        assert world.map(range(2), journal, concurrency=1).results() == [0]
        call = world.map(range(2), journal, concurrency=1)
        assert call.results() == [0, 1], call
        assert world.made() == {0: 1, 1: 1}


def test_a_lost_create_is_not_posted_again_where_ids_come_again():
    """After a restart, the run has an id that an earlier run of the batch had."""
    quirks = replace(HIDES, search_metadata="ignored", run_ids="counted")
    character = Character(quirks, restart=0.075)
    lost = Trouble(Fault("lost after"), (CREATE,), of=4, begins=0.3, lasts=2.0)
    world = BatchWorld(random.Random(0), lost, character=character)
    world.plan["step"] = 0.0
    world.populate()
    world.map(range(5), concurrency=1)
    assert world.made()[4] == 1


def test_a_run_that_a_search_has_found_is_not_refused_where_its_input_is_rewritten(tmp_path):
    """The search has shown how the server writes this input."""
    quirks = replace(HIDES, echo_input="converted", run_ids="counted")
    world = BatchWorld(random.Random(0), character=Character(quirks))
    world.schedule = Schedule({0: Fault("lost after"), 3: Fault("lost after")})
    call = world.map(range(1), new_journal(tmp_path))
    assert call.results() == [0], call


# Random schedules -------------------------------------------------------------------------------


def drawn_troubles(rng: random.Random, count: int) -> tuple[Trouble, ...]:
    """Draw what fails for a time: some operations for all, and the output of one run."""
    found: list[Trouble] = []
    if rng.random() < 0.3:
        names = rng.choice((ALL, (OUTPUT,), (LOOK,), (SEARCH,), (CREATE,), (CREATE, SEARCH)))
        begins, lasts = rng.choice((0.0, 0.5, 3.0)), rng.choice((5.0, 30.0, 100.0, 400.0, 1000.0))
        fault = rng.choice((*FAULTS, Fault("status", 503)))
        found.append(Trouble(fault, names, None, begins, lasts))
    if rng.random() < 0.2:
        lasts = rng.choice((100.0, 310.0, math.inf))
        found.append(Trouble(rng.choice(FAULTS), (OUTPUT,), rng.randrange(count), lasts=lasts))
    return tuple(found)


class Play:
    """One batch, its server, and what does not hold of its calls."""

    def __init__(self, seed: int, folder: Path, fewer: Schedule | None) -> None:
        rng = self.rng = random.Random(seed)
        random.seed(seed)  # of the backoffs
        crowd = rng.random() < 0.05
        self.count = rng.randrange(14, 30) if crowd else rng.randrange(1, 9)
        self.options: dict[str, Any] = {
            "concurrency": 40 if crowd else rng.choice((1, 2, 4, 8)),
            "ordered": rng.random() < 0.4,
            "timeout": rng.choice((*(None,) * 6, 5.0, 60.0)),
            "unclear": rng.choice((*("raise",) * 9, "start")),
        }
        self.options["on_interrupt"] = answer
        self.early: dict[str, Any] = {}  # what ends the first call
        self.interrupt_after = math.inf
        if rng.random() < 0.15:
            self.early = {"most": rng.randrange(self.count) + 1}
        elif rng.random() < 0.2:
            self.interrupt_after = rng.choice((0.0, 0.7, 3.0, 50.0))
        self.options["on_stop"] = rng.choice(("leave", "leave", "leave", "cancel"))
        self.journal = folder / f"{seed}.jsonl" if rng.random() < 0.7 else None
        # The process is killed at this request, after it was carried out or before.
        self.kill: tuple[int, bool] | None = None
        if self.journal is not None and rng.random() < 0.2:
            self.kill = rng.randrange(3 * self.count), rng.random() < 0.5
        if self.journal is not None:
            self.journal.unlink(missing_ok=True)
        drawn = Schedule.drawn(rng)
        troubles = (*drawn_troubles(rng, self.count), *drawn.troubles)
        self.schedule = Schedule(drawn.faults, troubles)
        character = Character.drawn(rng)
        world = self.world = BatchWorld(rng, schedule=fewer or self.schedule, character=character)
        if rng.random() < 0.15:
            habits = Character.drawn(rng)
            world.characters["other"] = replace(habits, restart=math.inf, rate=math.inf, mixes="")
        if rng.random() < 0.1:
            world.limit = Limit(5.0, rng.choice((Fault("limited"), Fault("status", 503))))
        elif rng.random() < 0.1:
            world.cut = rng.choice((2.0, 20.0)), rng.choice((502, 503, 504))
        for number in range(self.count):
            step = rng.choice((0.0, 0.05, 0.3, 2.0, 45.0))
            ends_in = rng.choice((*("success",) * 6, "error", "timeout"))
            questions = rng.choice((0, 0, 0, 1))
            world.plans[number] = {"step": step, "ends_in": ends_in, "questions": questions}

    def over(self) -> None:
        """Call the batch until all inputs have their outcomes, and check each call."""
        world, journal, calls = self.world, self.journal, list[Call]()
        world.populate()
        with world.in_time():
            world.ask_others(client_of(world))
        world.kill_at = self.kill
        world.threads.interrupt_at = world.now + self.interrupt_after
        while not calls or (journal is not None and not self.is_over(calls)):
            check(len(calls) < CALLS, f"not over: {calls and calls[-1]}")
            if calls:
                world.idle(self.rng.choice((0.1, 3.0, 100.0)), journal)
                if self.rng.random() < 0.5:
                    world.restart()
            if len(calls) == CALLS - 1:
                world.idle(100.0, journal)
                world.recover()
            sent = len(world.sent)
            early = {} if calls else self.early
            calls.append(world.map(range(self.count), journal, **early, **self.options))
            world.threads.interrupt_at = math.inf
            self.check_call(calls, {(one.name, one.fault) for one in world.sent[sent:]})
        open_still = (RunStartAmbiguous, RunGone, ResponseValidationError)
        final = not any(isinstance(each, open_still) for each in calls[-1].errors().values())
        if journal is not None and final and not calls[-1].timed_out():
            last = world.map(range(self.count), journal, **self.options)
            check(not last.requests, f"{last.requests} requests when all was done")
            items = sorted(calls[-1].items, key=lambda item: item.index)
            check(repr(last.items) == repr(items), f"{last.items} was {items}")
        self.check_runs(calls)
        check_others(world)
        for index, error in calls[-1].errors().items():
            if isinstance(error, RunStartAmbiguous):
                with world.in_time():
                    check_open(world, client_of(world), index, error)
        # What the end of a batch deletes takes no turn.
        early = world.violations and self.options["on_stop"] == "leave"
        check(not early, f"{world.violations}")

    def is_over(self, calls: list[Call]) -> bool:
        """Tell whether no input has an outcome that another call may change."""
        call = calls[-1]
        open_still = (RunStartAmbiguous, ResumeAmbiguous)
        character = self.world.character
        others_hide = character.strangers or self.world.is_restarted
        seen = character.shows or any(item.ok for each in calls for item in each.items)
        if not (character.proves and seen) or is_doubted(self.world) or others_hide:
            # A process that has seen no mark at the server will never know.
            open_still = (ResumeAmbiguous,)
        unclear = any(isinstance(each, open_still) for each in call.errors().values())
        late = call.timed_out() and len(calls) < CALLS
        return call.error is None and len(call.items) == self.count and not unclear and not late

    def check_call(self, calls: list[Call], sent: set[tuple[str, str]]) -> None:
        call = calls[-1]
        order = [item.index for item in call.items]
        check(len(set(order)) == len(order), f"an item came twice: {order}")
        check(not self.options["ordered"] or order == sorted(order), f"out of order: {order}")
        for item in call.items:
            ends_in = self.world.plans[item.index]["ends_in"]
            check(item.input == {"n": item.index}, f"the input of another item: {item}")
            mistaken = nobody_can_tell(self.world, item.index)
            if item.ok:
                check_result(self.world, item.index, item.result())
                check(ends_in == "success" or mistaken, f"a failed run has a result: {item}")
            elif isinstance(item.error, RunFailed):
                check(ends_in != "success" or mistaken, f"{item.error!r}")
            else:
                self.check_error(item, calls)
        if isinstance(call.error, ApiException):
            self.check_raised(call.error, calls, sent)
        elif call.error is not None:
            killed = self.kill is not None and len(calls) == 1
            check(self.interrupt_after < math.inf or killed, repr(call.error))
        late = call.took - self.longest()
        check(late <= 0, f"{call.took:.0f} s, {late:.0f} s too long: {call}")

    def poisoned(self) -> set[int]:
        """Return the inputs whose outputs fail for longer than an outage."""
        lasting = [each for each in self.schedule.troubles if each.lasts > OUTAGE]
        return {each.of for each in lasting if each.of is not None}

    def check_error(self, item: BatchItem, calls: list[Call]) -> None:
        """Check that the error of an item has a reason."""
        error = item.error
        faults = {one.fault for one in self.world.sent if one.name == CREATE}
        unclear = bool(faults - {"", "refused", "limited"}) or is_doubted(self.world)
        if isinstance(error, RunStartAmbiguous):
            twice = self.world.character.counts and self.world.is_restarted
            check(unclear or twice or len(calls) > 1, f"nothing is unclear: {error}")
            check(error.token is not None, f"no token: {error!r}")
        elif isinstance(error, ResumeAmbiguous):
            check(any(one.name == ANSWER and one.fault for one in self.world.sent), f"{error}")
        elif isinstance(error, RunWaitTimeout):
            check(self.options["timeout"] is not None, f"out of time without a timeout: {error}")
        elif isinstance(error, self.gone(calls)):
            pass
        elif item.index in self.poisoned() or (self.poisoned() and shows_nothing(self.world)):
            early = calls[-1].took < OUTAGE - BACKOFF and len(calls) == 1
            check(not early, f"too early: {error!r}")
        else:
            check(False, f"an item has failed: {error!r}")

    def gone(self, calls: list[Call]) -> tuple[type[ApiException], ...]:
        """Return the errors of runs that are not there any more."""
        if self.world.is_restarted or self.world.character.mixes:
            return RunGone, ResponseValidationError  # another run may have the id
        resumed = len(calls) > 1
        deletes = self.options["on_stop"] == "cancel" and resumed
        # A later process cannot know whether a server that counts its ids has started again.
        counts = self.world.character.counts and resumed
        return (RunGone,) * deletes + (ResponseValidationError,) * counts

    def check_raised(
        self, error: ApiException, calls: list[Call], sent: set[tuple[str, str]]
    ) -> None:
        """Check that an error had to end the batch."""
        world = self.world
        answered = any(fault in READABLE for _, fault in sent)
        odd = {fault for name, fault in sent if name != CREATE or fault == "refused"}
        if odd & {"refused", "unreadable"} and not answered:
            return  # perhaps a wrong address
        down = any(each.of is None and each.lasts > OUTAGE for each in self.schedule.troubles)
        done = {item.index for call in calls for item in call.items if item.ok} | world.served
        if world.is_restarted:
            done = world.served & set(range(self.count))  # since then, and of no stranger
        recently = world.now - NO_RESPONSE - BACKOFF
        lost = any(at > recently and n not in self.poisoned() for at, n in world.failed)
        alone = self.poisoned() and (lost or not done - self.poisoned())
        refused = world.sent[-1].fault == "refused"  # which is never one run's
        check(down or bool(alone) or refused, f"next() raised {error!r}")
        check(calls[-1].took >= OUTAGE - BACKOFF, f"too early: {error!r}")

    def longest(self) -> float:
        """Return how long a call may take: all runs after each other, and each fault alone."""
        world = self.world
        seconds = sum(plan["step"] * 2.4 + 2 for plan in world.plans.values())
        for fault in world.schedule.faults.values():
            seconds += BACKOFF + SEARCHING + math.ceil(fault.retry_after or 0) + lasts(fault)
        for each in world.schedule.troubles:
            # A create is posted three times.
            creates = 3 * self.count if CREATE in each.names else 0
            # A 503 to the request that shows whose failure it is, is paused for, up to an outage.
            outages = 2 if each.fault.status == 503 else 1
            seconds += min(each.lasts, outages * OUTAGE) + 3 * NO_RESPONSE
            seconds += creates * (SEARCHING + lasts(each.fault))
        # A response that is doubted is searched for, and so is a create in an earlier call.
        seconds += self.count * (2 * SEARCHING + world.character.lag)
        return seconds + (0 if world.limit is None else 10 * self.count)

    def check_runs(self, calls: list[Call]) -> None:
        """Check that each input has one run, and that only runs of the batch were deleted."""
        now = self.world.now
        runs = [run for run in self.world.all if run.ours and run.forgotten_at > now]
        runs = [run for run in runs if run.creation.agent_id == "agent"]
        kept = [run.number for run in runs if run.deleted_at > now]
        check(len(kept) == len(runs) or self.options["on_stop"] == "cancel", "a run was deleted")
        twice = {n for n in kept if kept.count(n) > 1}
        another = self.options["unclear"] == "start" or shows_nothing(self.world)
        check(not twice or another, f"two runs of {twice}")
        for run in runs:
            asked = range(len(run.answers))
            check([n for n, _ in run.answers] == list(asked), f"twice: {run.answers}")
            check([body["to"] for _, body in run.answers] == list(asked), f"{run.answers}")
        missing = {item.index for call in calls for item in call.items if item.ok} - set(kept)
        mistaken = self.world.is_restarted or shows_nothing(self.world)
        check(not missing or mistaken, f"the runs of {missing} were deleted")


def play(seed: int, folder: Path, fewer: Schedule | None = None) -> str:
    """Play one schedule; return what does not hold, "" if all does."""
    played = Play(seed, folder, fewer)
    try:
        played.over()
    except AssertionError as error:
        return f"{error}\n  a server with {played.world.character}"
    return ""


def test_a_seed_is_always_played_alike(tmp_path):
    for seed in range(10):
        sent: list[list[Sent]] = []
        for _ in range(2):
            played = Play(seed, tmp_path, None)
            with suppress(AssertionError):
                played.over()
            sent.append(played.world.sent)
        assert sent[0] == sent[1], seed


def without_outcomes(world: BatchWorld, inputs: Any, journal: Path | None, **more: Any) -> Call:
    if journal is not None and journal.exists():
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(line for line in lines if not line.startswith(b'{"done"')))
    return MAP(world, inputs, journal, **more)


@pytest.mark.parametrize(
    ("place", "name", "mistake", "words"),
    [
        (BatchWorld, "result", lambda *_: {"n": 0}, "the result of another run"),
        (World, "_answer", lambda *a: [] if a[1] == SEARCH else RESPOND(*a), "two runs of"),
        (BatchWorld, "map", without_outcomes, "requests when all was done"),
    ],
    ids=["another result", "a search that finds nothing", "a journal without outcomes"],
)
def test_a_mistake_is_found(monkeypatch, tmp_path, place, name, mistake, words):
    monkeypatch.setattr(place, name, mistake)
    assert any(words in play(seed, tmp_path) for seed in range(200))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_schedule_of_faults_keeps_the_promises_of_a_batch(part, tmp_path):
    for seed in range(part, BATCHES, PARTS):
        if wrong := play(seed, tmp_path):
            drawn = Play(seed, tmp_path, None).schedule
            fewest = drawn.shortest(partial(play, seed, tmp_path))
            pytest.fail(f"seed {seed}: {wrong}\n{fewest}")
