"""Thousands of schedules of faults in virtual time: nothing lost, done twice, or done to others."""

from __future__ import annotations

import logging
import math
import os
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from simulation.world import ROUND_TRIP, Fault, Schedule, Sent, Trouble, World, check, client_of
from support.parts import Contact, Polls, Wait
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.handles._health import Turns

SCHEDULES = int(os.environ.get("SCHEDULES", "5000"))
PARTS = 10  # of the suite, so that processes share them

SEARCH = 10.0  # seconds, the longest search for the run of a create
NOISE = 3 * ROUND_TRIP  # seconds, in virtual time

Scenario = Callable[[World, Any, random.Random], None]


def least_left(timeout: float) -> float:
    """Return the seconds that are left at the end of a wait, at most: no request begins in them."""
    return min(1.0, timeout / 4)


@contextmanager
def timed(world: World, timeout: float | None) -> Generator[None]:
    """Check that a call with a timeout ends by it, and not before it for what may pass."""
    began, before = world.now, len(world.sent)
    try:
        yield
    except acp.ApiException as error:
        if timeout is not None:
            check_not_early(world, began, timeout, world.sent[before:], error)
        raise
    finally:
        if timeout is not None:
            late = world.now - began - timeout
            check(late <= NOISE, f"ended {late:.2f} s after its {timeout} s")
            check_looked(world.sent[before:], began, timeout)


def check_not_early(
    world: World, began: float, timeout: float, sent: list[Sent], error: acp.ApiException
) -> None:
    """Check that a failure that may pass has not ended a call before the end of its time."""
    last = began + timeout - least_left(timeout)  # until then, requests begin
    asked = world.closed_until > last  # a Retry-After is never shortened
    if isinstance(error, acp.RunStartAmbiguous):
        faults = {one.fault for one in sent if one.name == "POST /runs"}
        check(bool(faults - {"refused", "limited", ""}), f"nothing is unclear: {error}")
        last = min(last, began + SEARCH - 1)
        asked = asked or world.closed_until > world.now  # or for longer than the search
        # A server that refuses five searches, and answers other requests, does not search.
        asked = asked or sum(bool(one.fault) for one in sent if one.name.endswith("search")) >= 5
    if isinstance(error, acp.ResumeAmbiguous):
        asked = asked or sum(one.name == "POST /runs/{run_id}" for one in sent) == 2
    # A DELETE is sent twice at most, too.
    asked = asked or sum(one.name == "DELETE /runs/{run_id}" for one in sent) >= 2
    early = last - NOISE - world.now
    if may_pass(error) and world.rest.reached and not asked:
        check(early <= 0, f"{early:.2f} s too early of {timeout}: {error!r}")


def check_looked(sent: list[Sent], began: float, timeout: float) -> None:
    """Check that a create, an answer or a DELETE that hangs leaves time for a look."""
    for number, one in enumerate(sent):
        changes = one.name in ("POST /runs", "POST /runs/{run_id}", "DELETE /runs/{run_id}")
        if changes and one.fault == "hang" and one.at < began + timeout / 4:
            looks = [look for look in sent[number + 1 :] if look.until - look.at > NOISE]
            check(bool(looks), f"no time to see what became of {one.name}, {timeout} s")


def may_pass(error: acp.ApiException) -> bool:
    """Tell whether asking again could have mended what an error says."""
    if isinstance(error, acp.RunFailed | acp.RunGone | acp.RunInterrupted | acp.StaleInterrupt):
        return False
    return error.status is None or error.status in (408, 429) or error.status >= 500


def wait(world: World, client: Any, rng: random.Random) -> None:
    """Each call with a timeout uses the time that it has, and no more."""
    timeout = rng.choice((0.4, 0.5, 0.8, 1.0, 1.5, 2.5, 3.0, 10.0, 30.0))
    agent = acp.AgentHandle("agent", client)
    what = rng.choice(("run", "start", "result", "output", "events", "resume", "delete"))
    if what in ("run", "start"):
        world.rest.reached = rng.random() < 0.8
        call = agent.run if what == "run" else agent.start
        with suppress(acp.ApiException), timed(world, timeout):
            call(timeout=timeout)
        return
    world.plan["questions"] = int(what == "resume")
    if what == "resume":
        world.plan["step"] = min(1.0, world.plan["step"])
    schedule, world.schedule = world.schedule, Schedule({})
    handle = agent.start(streaming="custom" if what == "events" else None)
    if what == "resume" or rng.random() < 0.5:
        world.now += rng.choice((1.0, 5.0))  # not young any more
    world.schedule, world.requests, world.began = schedule, 0, world.now
    with suppress(acp.ApiException):
        if what == "events":
            events = handle.events(timeout=timeout, on_gap="mark")
            while True:
                with timed(world, timeout):
                    if next(events, None) is None:
                        return
        with timed(world, timeout):
            if what == "result":
                handle.result(timeout)
            elif what == "output":
                handle.output(timeout)
            elif what == "resume":
                handle.resume({"to": 0}, timeout=timeout)
            else:
                core = handle._core  # as a batch deletes
                core.delete(core.wait(timeout, what="was not deleted"))


def drive(world: World, client: Any, rng: random.Random) -> None:
    """A run is started and its questions are answered by their numbers."""
    timeout = rng.choice((None, 1.0, 5.0, 60.0))
    handle: acp.RunHandle | None = None
    try:
        with timed(world, timeout):
            handle = acp.AgentHandle("agent", client).start({"x": 1}, timeout=timeout)
        world.closed_until = 0.0  # another call is no retry
        run = world.runs[handle.run_id]
        check(run.creation.metadata is not None, "the run of somebody else was taken")

        def answer(asked: acp.PendingInterrupt) -> dict[str, Any]:
            body = {"to": asked.payload["number"]}
            world.now += rng.choice((0.0, 0.3, 20.0))  # a human
            state = run.state(world.now)
            open_now = state.status == "interrupted" and state.question == body["to"]
            if open_now and rng.random() < 0.2:
                world.answer(run, body)  # another process is quicker
            return body

        result = handle.drive(answer, timeout=timeout)
        check(result == {"n": 1}, f"another result: {result}")
        check(world.runs[handle.run_id].ends_in == "success", "a failed run has a result")
    except acp.RunFailed as error:
        run = world.runs[error.run_id]
        status = run.state(world.now).status
        unsure = "error or timeout" in str(error) and status in ("error", "timeout")
        check(unsure or status == error.status_name, f"it ended in {status}: {error}")
    except acp.RunStartAmbiguous:
        check(timeout is not None or faulty(world), "nobody knows of a start without a fault")
    except acp.ResumeAmbiguous:
        check(faulty(world), "nobody knows of an answer without a fault")
    except acp.RunWaitTimeout as error:
        check(timeout is not None, f"out of time without a timeout: {error}")
        assert timeout is not None
        early = timeout - least_left(timeout) - NOISE - error.elapsed
        check(early <= 0 or world.closed_until > world.now, f"{early:.2f} s too early: {error}")
        check(error.elapsed <= timeout + NOISE, f"too late after {timeout} s: {error}")
    except acp.RunGone:
        check(False, "a run that is there is gone")
    except acp.ApiException as error:
        # The last failure of a call that had no more time, or that asked for too long a pause.
        check(error.status in (408, 429) or (error.status or 500) >= 500, repr(error))
        check(timeout is not None, f"raised without a deadline: {error!r}")
        if handle is None:
            made = [each for each in world.runs if each.startswith("run")]
            check(not made, f"a run was made, and the error is {error!r}")


def follow(world: World, client: Any, rng: random.Random) -> None:
    """The updates of a run are followed; `complete` must not be True if one is missing."""
    world.plan["questions"] = 0
    try:
        handle = acp.AgentHandle("agent", client).start(streaming="custom")
    except acp.RunStartAmbiguous:
        return
    seen: list[int] = []
    world.closed_until = 0.0
    events = handle.events(on_gap="mark")
    try:
        seen.extend(event.update["n"] for event in events if event.update is not None)
    except acp.RunGone:
        check(False, "a run that is there is gone")
    sent = list(range(1, len(world.runs[handle.run_id].updates) + 1))
    check(seen == sorted(set(seen)), f"out of order, or twice: {seen}")
    if events.complete is True:
        check(seen == sent, f"complete is True with {seen} of {sent}")
    how, ends_in = events.ended_by, world.runs[handle.run_id].ends_in
    # The output of a run that timed out says "error". Only a look at the run tells the two apart.
    unsure = faulty(world) and (how, ends_in) == ("error", "timeout")
    check(how == ends_in or unsure, f"ended by {how}")


def end(world: World, client: Any, rng: random.Random) -> None:
    """A run among others is deleted or cancelled; only that one is."""
    agent = acp.AgentHandle("agent", client)
    try:
        started: list[acp.RunHandle] = []
        for _ in range(3):
            world.closed_until = 0.0  # another call is no retry
            started.append(agent.start())
    except acp.ApiException:
        return
    handle, *others = started
    world.closed_until = 0.0
    if rng.random() < 0.5:
        world.now += rng.choice((0.0, 1.0, 5.0))
    try:
        if rng.random() < 0.5:
            handle.delete()
            check(world.runs[handle.run_id].deleted_at <= world.now, "it is still there")
        else:
            deleted = handle.cancel()
            check(not deleted or world.runs[handle.run_id].deleted_at <= world.now, "not cancelled")
    except acp.ApiException as error:
        check(faulty(world), repr(error))
    for other in others:
        check(world.runs[other.run_id].deleted_at > world.now, "another run was deleted")


SCENARIOS: tuple[Scenario, ...] = (drive, wait, follow, end, drive, wait)


def faulty(world: World) -> bool:
    return any(one.fault for one in world.sent)


def play(seed: int, fewer: Schedule | None = None) -> str:
    """Play one schedule; return what does not hold, "" if all does."""
    rng = random.Random(seed)
    schedule = Schedule.drawn(rng)
    world = World(fewer or schedule, rng)
    scenario = SCENARIOS[seed % len(SCENARIOS)]
    world.plan = {
        "questions": rng.randrange(3),
        "step": rng.choice((0.0, 0.05, 0.3, 2.0, 45.0)),
        "ends_in": rng.choice(("success", "success", "success", "error", "timeout")),
        "updates": sorted(rng.random() for _ in range(rng.randrange(6))),
    }
    if scenario is follow:
        world.plan["step"] = max(1.0, world.plan["step"])
    world.ignores_metadata = rng.random() < 0.2
    strangers = [f"stranger-{number}" for number in range(2)]
    for run_id in strangers:
        world.add(run_id, acp.RunCreate(agent_id="agent"), age=900)
    with using(now=world.clock, calendar=world.calendar, sleep=world.sleep):
        try:
            scenario(world, client_of(world), rng)
        except AssertionError as error:
            return f"{scenario.__name__}: {error}"
        except acp.ApiException as error:
            return f"{scenario.__name__}: {type(error).__name__}: {error}"
    for run_id in strangers:
        stranger = world.runs.pop(run_id)
        if stranger.deleted_at <= world.now or stranger.answers:
            return f"{scenario.__name__}: the run of somebody else was touched"
    if world.created > (3 if scenario is end else 1):
        return f"{scenario.__name__}: {world.created} runs were created"
    for run in world.runs.values():
        answered = [number for number, _ in run.answers]
        if scenario is drive and any(body["to"] != number for number, body in run.answers):
            return f"an answer went to another question: {run.answers}"
        if answered != list(range(len(answered))):
            return f"a question was answered twice: {run.answers}"
    return world.violations[0] if world.violations else ""


@pytest.fixture(autouse=True)
def no_log_of_the_outages(package_logger: logging.Logger) -> None:
    package_logger.setLevel(logging.CRITICAL)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_schedule_of_faults_keeps_the_promises(part):
    for seed in range(part, SCHEDULES, PARTS):
        wrong = play(seed)
        if wrong:
            schedule = Schedule.drawn(random.Random(seed)).shortest(partial(play, seed))
            pytest.fail(f"seed {seed}: {wrong}\n{schedule}")


@pytest.mark.parametrize("shared", (False, True), ids=("a run", "a batch"))
@pytest.mark.parametrize("every", (100.0, 295.0, 310.0))
def test_an_outage_that_follows_another_has_its_own_time(every, shared):
    """Its failures do not count on, either, which would make the pauses longer and longer."""
    outage, begins = Trouble(Fault("lost before"), lasts=40.0), range(1, int(2000 / every) + 1)
    outages = (replace(outage, begins=number * every) for number in begins)
    world = World(Schedule({}, (*outages,)), random.Random(0))
    world.plan = {"questions": 0, "step": 2000.0, "ends_in": "success", "updates": []}
    with using(now=world.clock, calendar=world.calendar, sleep=world.sleep):
        handle = acp.AgentHandle("agent", client_of(world)).start()
        core = handle._core
        contact = Contact.of(core.runs, Turns.of_batch() if shared else None)
        wait = Wait(contact)
        Polls(core, wait).output()
        assert (wait._failures, wait._since, contact.health.outage) == (0, math.inf, None)
        assert handle.result() == {"n": 1}
    assert sum(bool(one.fault) for one in world.sent) > len(begins)


REFUSED = {**dict.fromkeys(range(3, 6), Fault("refused")), 7: Fault("hang")}
LIMITED = {3: Fault("limited", retry_after=3.0)} | dict.fromkeys(range(4, 50), Fault("status", 503))


@pytest.mark.parametrize(
    ("faults", "timeout", "words"),
    [(LIMITED, 5.0, "was not answered after 4"), (REFUSED, 0.8, "sent once")],
)
def test_a_look_before_an_answer_is_sent_again_is_a_part_of_its_time(faults, timeout, words):
    world = World(Schedule({}), random.Random(0))
    world.plan = {"questions": 1, "step": 0.0, "ends_in": "success", "updates": []}
    with using(now=world.clock, calendar=world.calendar, sleep=world.sleep):
        handle = acp.AgentHandle("agent", client_of(world)).start()
        world.schedule = Schedule(faults)  # the third request sends the answer
        with pytest.raises(acp.ApiException, match=words), timed(world, timeout):
            handle.resume({"to": 0}, timeout=timeout)


def test_an_answer_is_not_sent_again_without_time_for_its_response():
    world = World(Schedule({3: Fault("limited")}), random.Random(0))
    world.plan = {"questions": 1, "step": 0.0, "ends_in": "success", "updates": []}
    client = client_of(world)

    def call(operation: Any, arguments: Any, options: Any) -> Any:
        if world.requests == 4:  # the look before the second answer
            world.now = began + 5.0 - ROUND_TRIP - 0.004
        return CALL(world, operation, arguments, options)

    with using(now=world.clock, calendar=world.calendar, sleep=world.sleep):
        handle = acp.AgentHandle("agent", client).start()
        began, client.call = world.now, call
        with pytest.raises(acp.RunWaitTimeout, match=r"not answered after 5\.0 s; last error: 429"):
            handle.resume({"to": 0}, timeout=5.0)


CALL = World.call  # as it is without a mistake


def create_twice(world: World, operation: Any, *given: Any) -> Any:
    if (operation.method, operation.path) == ("POST", "/runs"):
        with suppress(acp.ApiException):
            CALL(world, operation, *given)
    return CALL(world, operation, *given)


def without_a_limit(world: World, operation: Any, arguments: Any, options: Any) -> Any:
    return CALL(world, operation, arguments, (None, *options[1:]))


@pytest.mark.parametrize(
    ("call", "timing", "words"),
    [
        (create_twice, {}, "runs were created"),
        (CALL, {"least_left": 30.0}, "too early"),
        (without_a_limit, {}, "after its"),
    ],
    ids=["a create that is posted again", "a wait that ends too early", "one that ends too late"],
)
def test_a_mistake_is_found(monkeypatch, call, timing, words):
    monkeypatch.setattr(World, "call", call)
    with using(**timing):
        assert any(words in play(seed) for seed in range(600))
