"""Ten thousand schedules of faults in virtual time: nothing lost, done twice, or done to others."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from simulation.world import Fault, Schedule, World, client_of

from acp_client_v0_1 import AgentHandle, PendingInterrupt, RunCreate, RunHandle
from acp_client_v0_1.exceptions import ApiException, RunWaitTimeout
from acp_client_v0_1.handles._timing import using
from acp_client_v0_1.handles.errors import (
    ResumeAmbiguous,
    RunFailed,
    RunGone,
    RunStartAmbiguous,
)

SCHEDULES = int(os.environ.get("SCHEDULES", "10000"))
PARTS = 20  # of the suite, so that processes share them

Scenario = Callable[[World, Any, random.Random], None]


def check(true: bool, words: str) -> None:
    if not true:
        raise AssertionError(words)


def drive(world: World, client: Any, rng: random.Random) -> None:
    """A run is started and its questions are answered by their numbers."""
    timeout = rng.choice((None, 1.0, 5.0, 60.0))
    handle: RunHandle | None = None
    try:
        handle = AgentHandle("agent", client).start({"x": 1}, timeout=timeout)
        world.closed_until = 0.0  # another call is no retry
        run = world.runs[handle.run_id]
        check(run.creation.metadata is not None, "the run of somebody else was taken")

        def answer(asked: PendingInterrupt) -> dict[str, Any]:
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
    except RunFailed as error:
        run = world.runs[error.run_id]
        status = run.state(world.now).status
        unsure = "error or timeout" in str(error) and status in ("error", "timeout")
        check(unsure or status == error.status_name, f"it ended in {status}: {error}")
    except RunStartAmbiguous:
        check(timeout is not None or faulty(world), "nobody knows of a start without a fault")
    except ResumeAmbiguous:
        check(faulty(world), "nobody knows of an answer without a fault")
    except RunWaitTimeout as error:
        check(timeout is not None, f"out of time without a timeout: {error}")
    except RunGone:
        check(False, "a run that is there is gone")
    except ApiException as error:
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
        handle = AgentHandle("agent", client).start(streaming="custom")
    except RunStartAmbiguous:
        return
    seen: list[int] = []
    world.closed_until = 0.0
    events = handle.events(on_gap="mark")
    try:
        seen.extend(event.update["n"] for event in events if event.update is not None)
    except RunGone:
        check(False, "a run that is there is gone")
    sent = list(range(1, len(world.runs[handle.run_id].updates) + 1))
    check(seen == sorted(set(seen)), f"out of order, or twice: {seen}")
    if events.complete is True:
        check(seen == sent, f"complete is True with {seen} of {sent}")
    check(events.ended_by == world.runs[handle.run_id].ends_in, f"ended by {events.ended_by}")


def end(world: World, client: Any, rng: random.Random) -> None:
    """A run among others is deleted or cancelled; only that one is."""
    agent = AgentHandle("agent", client)
    try:
        started: list[RunHandle] = []
        for _ in range(3):
            world.closed_until = 0.0  # another call is no retry
            started.append(agent.start())
    except ApiException:
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
    except ApiException as error:
        check(faulty(world), repr(error))
    for other in others:
        check(world.runs[other.run_id].deleted_at > world.now, "another run was deleted")


SCENARIOS: tuple[Scenario, ...] = (drive, drive, follow, end)


def faulty(world: World) -> bool:
    return any(number < world.requests for number in world.schedule.faults)


def play(seed: int, faults: dict[int, Fault] | None = None) -> str:
    """Play one schedule; return what does not hold, "" if all does."""
    rng = random.Random(seed)
    schedule = Schedule.drawn(rng)
    world = World(schedule if faults is None else Schedule(faults), rng)
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
        world.add(run_id, RunCreate(agent_id="agent"))
    with using(now=world.clock, sleep=world.sleep):
        try:
            scenario(world, client_of(world), rng)
        except AssertionError as error:
            return f"{scenario.__name__}: {error}"
        except ApiException as error:
            return f"{scenario.__name__}: {type(error).__name__}: {error}"
    for run_id in strangers:
        stranger = world.runs.pop(run_id)
        if stranger.deleted_at <= world.now or stranger.answers:
            return f"{scenario.__name__}: the run of somebody else was touched"
    created = sum(what == "create" for _, what, _, _ in world.log)
    if created > (3 if scenario is end else 1):
        return f"{scenario.__name__}: {created} runs were created"
    for run in world.runs.values():
        answered = [number for number, _ in run.answers]
        if scenario is drive and any(body["to"] != number for number, body in run.answers):
            return f"an answer went to another question: {run.answers}"
        if answered != list(range(len(answered))):
            return f"a question was answered twice: {run.answers}"
    return world.violations[0] if world.violations else ""


def shortest(seed: int) -> dict[int, Fault]:
    """Drop the faults of a schedule that its failure does not need."""
    faults = dict(Schedule.drawn(random.Random(seed)).faults)
    for number in list(faults):
        fewer = {key: fault for key, fault in faults.items() if key != number}
        if play(seed, fewer):
            faults = fewer
    return faults


@pytest.fixture(autouse=True)
def no_log_of_the_outages() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("part", range(PARTS))
def test_schedules(part: int) -> None:
    for seed in range(part, SCHEDULES, PARTS):
        wrong = play(seed)
        if wrong:
            faults = "\n".join(f"  request {n}: {f}" for n, f in shortest(seed).items())
            pytest.fail(f"seed {seed}: {wrong}\n{faults}")


def test_a_schedule_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A create that is posted again after a lost response is found."""
    from acp_client_v0_1.handles import _rules

    monkeypatch.setattr(_rules, "CHANGES", frozenset({"resume", "delete"}))
    assert any("runs were created" in play(seed) for seed in range(600))
