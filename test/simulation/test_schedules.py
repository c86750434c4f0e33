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
from simulation.characters import Character
from simulation.promises import (
    check_handle,
    check_made,
    check_open,
    check_others,
    check_result,
    is_doubted,
    nobody_can_tell,
)
from simulation.world import ROUND_TRIP, Fault, Schedule, Sent, Trouble, World, check, client_of
from support.parts import Contact, Polls, Wait, settled
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.handles._health import Turns
from acp_client_v0_1.testing import Quirks

# A server may not show what `reuse` compares.
pytestmark = pytest.mark.filterwarnings("ignore:run .* was found by its client token")

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
        # A response that hides its mark and shows other values is unclear, too.
        unclear = faults - {"refused", "limited", ""} or is_doubted(world)
        check(bool(unclear), f"nothing is unclear: {error}")
        # Where no search can show that there is no run, none is repeated.
        asked = asked or not world.character.proves
        last = min(last, began + SEARCH - 1)
        asked = asked or world.closed_until > world.now  # or for longer than the search
        # A server that refuses five searches, and answers other requests, does not search.
        asked = asked or sum(bool(one.fault) for one in sent if one.name.endswith("search")) >= 5
    if isinstance(error, acp.ResumeAmbiguous):
        asked = asked or sum(one.name == "POST /runs/{run_id}" for one in sent) == 2
    # A DELETE is sent twice at most, too.
    asked = asked or sum(one.name == "DELETE /runs/{run_id}" for one in sent) >= 2
    # After a restart, another run may have the id.
    asked = asked or world.is_restarted
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
    if isinstance(error, acp.ResponseValidationError):
        return False
    return error.status is None or error.status in (408, 429) or error.status >= 500


def wait(world: World, client: Any, rng: random.Random) -> None:
    """Each call with a timeout uses the time that it has, and no more."""
    timeout = rng.choice((0.4, 0.5, 0.8, 1.0, 1.5, 2.5, 3.0, 10.0, 30.0))
    agent = acp.AgentHandle("agent", client)
    what = rng.choice(("run", "start", "result", "output", "events", "resume", "delete"))
    if what in ("run", "start"):
        world.rest.reached = rng.random() < 0.8
        try:
            with timed(world, timeout):
                if what == "run":
                    check_result(world, 1, agent.run({"n": 1}, timeout=timeout))
                else:
                    check_handle(world, 1, agent.start({"n": 1}, timeout=timeout))
        except acp.ApiException as error:
            check_open(world, client, 1, error)
        return
    world.plan["questions"] = int(what == "resume")
    if what == "resume":
        world.plan["step"] = min(1.0, world.plan["step"])
    schedule, world.schedule = world.schedule, Schedule({})
    try:
        handle = agent.start({"n": 1}, streaming="custom" if what == "events" else None)
    except acp.ApiException as error:
        check_open(world, client, 1, error)
        return
    if what == "resume" or rng.random() < 0.5:
        world.now += rng.choice((1.0, 5.0))  # not young any more
    world.schedule, world.requests, world.began = schedule, 0, world.now
    world.closed_until = 0.0
    with suppress(acp.ApiException):
        if what == "events":
            events = handle.events(timeout=timeout, on_gap="mark")
            while True:
                with timed(world, timeout):
                    if next(events, None) is None:
                        return
        with timed(world, timeout):
            if what == "result":
                check_result(world, 1, handle.result(timeout))
            elif what == "output":
                output: Any = handle.output(timeout).actual_instance
                if isinstance(output, acp.RunResult):
                    check_result(world, 1, output.result)
            elif what == "resume":
                handle.resume({"to": 0}, timeout=timeout)
            else:
                core = handle._core  # as a batch deletes
                settled(core.delete, core.wait(timeout, what="was not deleted"))


def drive(world: World, client: Any, rng: random.Random) -> None:
    """A run is started and its questions are answered by their numbers."""
    timeout = rng.choice((None, 1.0, 5.0, 60.0))
    handle: acp.RunHandle | None = None
    try:
        with timed(world, timeout):
            handle = acp.AgentHandle("agent", client).start({"n": 1}, timeout=timeout)
        world.closed_until = 0.0  # another call is no retry
        check_handle(world, 1, handle)
        answer = answering(world, handle, rng)
        check_result(world, 1, handle.drive(answer, timeout=timeout))
    except acp.RunFailed as error:
        ends = {run.state(world.now).status for run in world.all if run.run_id == error.run_id}
        unsure = "error or timeout" in str(error) and ends & {"error", "timeout"}
        check(bool(unsure) or error.status_name in ends, f"it ended in {ends}: {error}")
    except acp.RunStartAmbiguous as error:
        unclear = timeout is not None or faulty(world) or is_doubted(world)
        check(unclear, "nobody knows of a start without a fault")
        check_open(world, client, 1, error)
    except acp.ResumeAmbiguous:
        check(faulty(world), "nobody knows of an answer without a fault")
    except acp.RunWaitTimeout as error:
        check(timeout is not None, f"out of time without a timeout: {error}")
        assert timeout is not None
        early = timeout - least_left(timeout) - NOISE - error.elapsed
        check(early <= 0 or world.closed_until > world.now, f"{early:.2f} s too early: {error}")
        check(error.elapsed <= timeout + NOISE, f"too late after {timeout} s: {error}")
    except acp.RunGone:
        check(world.is_restarted, "a run that is there is gone")
    except acp.ApiException as error:
        # The last failure of a call that had no more time, or that asked for too long a pause.
        reason = error.status in (408, 429) or (error.status or 500) >= 500
        other = world.is_restarted or bool(world.character.mixes)
        check(reason or other, repr(error))
        check(timeout is not None or other, f"raised without a deadline: {error!r}")
        if handle is None:
            made = world.made_for(1)
            check(not made, f"a run was made, and the error is {error!r}")


def answering(
    world: World, handle: acp.RunHandle, rng: random.Random
) -> Callable[[acp.PendingInterrupt], dict[str, Any]]:
    """Return a callback that answers each question by its number, as a human would."""

    def answer(asked: acp.PendingInterrupt) -> dict[str, Any]:
        body = {"to": asked.payload["number"]}
        world.now += rng.choice((0.0, 0.3, 20.0))
        world.happen()
        run = world.runs.get(handle.run_id)
        if run is not None and run.ours:
            state = run.state(world.now)
            open_now = state.status == "interrupted" and state.question == body["to"]
            if open_now and rng.random() < 0.2:
                world.answer(run, body)  # another process is quicker
        return body

    return answer


def follow(world: World, client: Any, rng: random.Random) -> None:
    """The updates of a run are followed; `complete` must not be True if one is missing."""
    world.plan["questions"] = 0
    try:
        handle = acp.AgentHandle("agent", client).start({"n": 1}, streaming="custom")
    except acp.ApiException as error:
        check_open(world, client, 1, error)
        return
    check_handle(world, 1, handle)
    seen: list[int] = []
    world.closed_until = 0.0
    events = handle.events(on_gap="mark")
    try:
        seen.extend(event.update["n"] for event in events if event.update is not None)
    except acp.ApiException as error:
        check(world.is_restarted, repr(error))
    if world.is_restarted or nobody_can_tell(world, 1):
        return
    run = world.runs[handle.run_id]
    sent = list(range(1, len(run.updates) + 1))
    check(seen == sorted(set(seen)), f"out of order, or twice: {seen}")
    if events.complete is True:
        check(seen == sent, f"complete is True with {seen} of {sent}")
    # The output of a run that timed out says "error". Only a look at the run tells the two apart.
    unsure = faulty(world) and (events.ended_by, run.ends_in) == ("error", "timeout")
    check(events.ended_by == run.ends_in or unsure, f"ended by {events.ended_by}")


def end(world: World, client: Any, rng: random.Random) -> None:
    """A run among others is deleted or cancelled; only that one is."""
    agent = acp.AgentHandle("agent", client)
    started: list[acp.RunHandle] = []
    for number in range(1, 4):
        world.closed_until = 0.0  # another call is no retry
        try:
            started.append(agent.start({"n": number}))
        except acp.ApiException as error:
            check_open(world, client, number, error)
            return
        check_handle(world, number, started[-1])
    handle = started[0]
    world.closed_until = 0.0
    if rng.random() < 0.5:
        world.now += rng.choice((0.0, 1.0, 5.0))
    is_gone = True
    try:
        if rng.random() < 0.5:
            handle.delete()
        else:
            is_gone = handle.cancel()
        run = next(run for run in world.all if run.run_id == handle.run_id)
        check(not is_gone or not run.is_there(world.now), "it is still there")
    except acp.ApiException as error:
        check(faulty(world) or world.is_restarted, repr(error))
    for number in (2, 3):
        deleted = any(run.deleted_at <= world.now for run in world.made_for(number))
        check(not deleted or nobody_can_tell(world, number), "another run was deleted")


TOKENS = (("job-7", "job-8"), ("jobA", "joba"), ("etl[1]", "etl[2]"))


def reuse(world: World, client: Any, rng: random.Random) -> None:
    """A client token of the user leads to its own run, in this process and in another one."""
    agent = acp.AgentHandle("agent", client)

    def start(number: int, token: str) -> acp.RunHandle | None:
        if rng.random() < 0.5:
            world.restart()
        world.now += 3.0  # a replica and an index know of the runs before
        world.closed_until = 0.0
        try:
            handle = agent.start({"n": number}, client_token=token, reuse=True, timeout=60.0)
        except acp.ApiValueError as error:
            check("client token" in str(error), repr(error))
            return None
        except acp.RunStartAmbiguous as error:
            schedule = world.schedule
            check_open(world, client, number, error)
            world.schedule = schedule
            return None
        except acp.ApiException:
            return None
        # Where neither mark nor input is shown, a search by the client token decides.
        if world.character.strangers != "marked" or world.character.tells_apart:
            check_handle(world, number, handle)
        return handle

    one, two = rng.choice(TOKENS)
    first, again = start(1, one), start(1, one)
    if first and again and not world.is_restarted and world.character.finds:
        reused = first.run_id == again.run_id or bool(world.character.mixes)
        check(reused, f"{first.run_id} was not reused: {again.run_id}")
    start(2, two)
    start(3, one)  # this client token has another input


def attach(world: World, client: Any, rng: random.Random) -> None:
    """A token leads to its run also if the server has restarted, which no request has noticed."""
    schedule, world.schedule = world.schedule, Schedule({})
    world.plan["questions"] = 0
    try:
        handle = acp.AgentHandle("agent", client).start({"n": 1}, timeout=60.0)
    except acp.ApiException as error:
        check_open(world, client, 1, error)
        return
    check_handle(world, 1, handle)
    token, world.by_token = handle.token(), True
    if rng.random() < 0.7:
        world.restart()
    if rng.random() < 0.5:
        world.replace_server()
    world.schedule, world.requests, world.began = schedule, 0, world.now
    what = rng.choice(("result", "result", "cancel", "delete"))
    try:
        attached = acp.RunHandle.from_token(token, client)
        if what == "result":
            check_result(world, 1, attached.result(60.0))
        elif what == "cancel":
            attached.cancel()
        else:
            attached.delete()
    except acp.RunFailed as error:
        ended = [run for run in world.all if run.run_id == error.run_id and run.ours]
        fits = bool(ended) or nobody_can_tell(world, 1)
        check(fits, f"the failure of another run: {error}")
    except acp.RunGone:
        check(world.is_restarted, "a run that is there is gone")
    except acp.ApiException as error:
        check(faulty(world) or world.is_restarted or bool(world.character.mixes), repr(error))


SCENARIOS: tuple[Scenario, ...] = (drive, wait, follow, end, drive, wait, reuse, attach)


def faulty(world: World) -> bool:
    return any(one.fault for one in world.sent)


def world_of(seed: int, rng: random.Random, fewer: Schedule | None) -> World:
    """Return the server of a seed: its faults, its character, and its other agent."""
    schedule = Schedule.drawn(rng)
    world = World(fewer or schedule, rng, Character.drawn(rng))
    if SCENARIOS[seed % len(SCENARIOS)] is attach:
        world.character = replace(world.character, restart=math.inf)
    world.plan = {
        "questions": rng.randrange(3),
        "step": rng.choice((0.0, 0.05, 0.3, 2.0, 45.0)),
        "ends_in": rng.choice(("success", "success", "success", "error", "timeout")),
        "updates": sorted(rng.random() for _ in range(rng.randrange(6))),
    }
    if SCENARIOS[seed % len(SCENARIOS)] is follow:
        world.plan["step"] = max(1.0, world.plan["step"])
    if rng.random() < 0.2:
        habits = Character.drawn(rng)
        world.characters["other"] = replace(habits, restart=math.inf, rate=math.inf, mixes="")
    return world


def play(seed: int, fewer: Schedule | None = None) -> str:
    """Play one schedule; return what does not hold, "" if all does."""
    rng = random.Random(seed)
    scenario, world = SCENARIOS[seed % len(SCENARIOS)], world_of(seed, rng, fewer)
    with using(now=world.clock, calendar=world.calendar, sleep=world.sleep):
        try:
            client = client_of(world)
            world.populate()
            world.ask_others(client)
            scenario(world, client, rng)
            world.happen()
            check_others(world)
            for number in (1, 2, 3, 100):
                # Where nothing is stored, a client token of the user leads to no run.
                twice = scenario is reuse and not world.character.stores
                check_made(world, number, 2 if twice else 1)
            check_answers(world, strictly=scenario is drive)
        except AssertionError as error:
            return f"{scenario.__name__}: {error}\n  a server with {world.character}"
        except acp.ApiException as error:
            return f"{scenario.__name__}: {type(error).__name__}: {error}"
    return world.violations[0] if world.violations else ""


def check_answers(world: World, *, strictly: bool) -> None:
    """Check that each question was answered once, and by the answer to it."""
    for run in world.all:
        answered = [number for number, _ in run.answers]
        other = strictly and any(body["to"] != number for number, body in run.answers)
        check(not other, f"an answer went to another question: {run.answers}")
        once = answered == list(range(len(answered)))
        check(once, f"a question was answered twice: {run.answers}")


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
        handle = acp.AgentHandle("agent", client_of(world)).start({"n": 1})
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


def believes(*_: Any) -> str:
    return ""


@pytest.mark.parametrize(
    ("part", "instead", "words"),
    [
        ("_create.Create._doubt", believes, "is not of input"),
        ("_known.KnownRun._check_mark", believes, "the result of another run"),
        ("_search.Search._control", lambda search, _: search._first, "is not of input"),
        ("_create.Create._token", believes, "no token"),
    ],
    ids=["responses", "records", "what a search finds", "errors without a token"],
)
def test_a_client_that_believes_what_it_gets_is_found(monkeypatch, part, instead, words):
    monkeypatch.setattr(f"acp_client_v0_1.handles.{part}", instead)
    assert any(words in play(seed) for seed in range(2000))


@pytest.mark.parametrize(("end", "restart"), [("delete", 0.005), ("cancel", 0.015)])
def test_a_delete_that_was_not_sent_is_sent_again_only_to_its_own_run(end, restart):
    """The server restarts after the run was read, and the run of somebody else gets the id."""
    counts = Character(Quirks(run_ids="counted"), strangers="marked", restart=restart)
    world = World(Schedule({}), random.Random(0), counts)
    world.plan = {"questions": 0, "step": 60.0, "ends_in": "success", "updates": []}
    with using(now=world.clock, calendar=world.calendar, sleep=world.sleep):
        world.populate()
        handle = acp.AgentHandle("agent", client_of(world)).start({"n": 1})
        with suppress(acp.RunGone):
            getattr(handle, end)()
    check_others(world)
