"""The errors of every call under lasting faults are public errors, and carry nothing else."""

from __future__ import annotations

import logging
import random
import traceback
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from simulation.batches import BatchWorld
from simulation.world import EVERY, Fault, Schedule, Trouble, World, client_of
from support.parts import Decided
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.waiting import wait_for_run_output

FAULTS = {
    **{str(status): Fault("status", status) for status in (400, 401, 404, 405, 409, 500, 502)},
    "429 for a moment": Fault("limited", retry_after=1.0),
    "503 for an hour": Fault("status", 503, retry_after=3600.0),
    **{kind: Fault(kind) for kind in ("refused", "lost before", "lost after", "unreadable")},
}


def refuse(*_: object) -> None:
    raise acp.ApiException(status=502, reason="a function of the user's")


STARTED: dict[str, Callable[[Any, Any], object]] = {
    "refresh": lambda run, client: run.refresh(),
    "done": lambda run, client: run.done(),
    "output": lambda run, client: run.output(),
    "output, once": lambda run, client: run.output(timeout=0),
    "output, while pending": lambda run, client: run.output(on_pending=refuse),
    "result": lambda run, client: run.result(),
    "result, in time": lambda run, client: run.result(timeout=3.0),
    "result, stopped": lambda run, client: run.result(stop=stopped()),
    "drive": lambda run, client: run.drive(lambda question: {"to": 0}),
    "resume": lambda run, client: run.resume({"to": 0}),
    "resume, in time": lambda run, client: run.resume({"to": 0}, timeout=3.0),
    "interrupts": lambda run, client: list(run.interrupts()),
    "events": lambda run, client: list(run.events()),
    "events, in time": lambda run, client: list(run.events(timeout=3.0)),
    "cancel": lambda run, client: run.cancel(),
    "delete": lambda run, client: run.delete(),
    "from_token": lambda run, client: acp.RunHandle.from_token(run.token(), client).result(),
    "wait_for_run_output": lambda run, client: wait_for_run_output(
        acp.RunsApi(client), run.run_id, timeout=3.0
    ),
}
BEFORE: dict[str, Callable[[Any, Any], object]] = {
    "run": lambda agent, client: agent.run({"n": 1}),
    "run, in time": lambda agent, client: agent.run({"n": 1}, timeout=3.0, cancel_on_exit=True),
    "run, answering": lambda agent, client: agent.run({"n": 1}, on_interrupt=refuse),
    "start": lambda agent, client: agent.start({"n": 1}),
    "start, again": lambda agent, client: agent.start({"n": 1}, client_token="t", reuse=True),
    "find": lambda agent, client: acp.RunHandle.find("t", client, agent_id="agent"),
    "conversation": lambda agent, client: agent.conversation().run({"n": 1}),
}


def stopped() -> Event:
    event = Event()
    event.set()
    return event


def linked(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes, and the errors during which each was raised."""
    left, known = [error], list[BaseException]()
    while left:
        each = left.pop()
        if not any(each is other for other in known):
            known.append(each)
            yield each
            left += [other for other in (each.__cause__, each.__context__) if other is not None]


def check_public(error: BaseException) -> None:
    """Check that an error is the user's, with what its class documents and nothing else."""
    for each in linked(error):
        assert not isinstance(each, Decided), f"{error!r} shows a decision"
    assert "Decided" not in "".join(traceback.format_exception(error))
    private = [name for name in vars(error) if name.startswith("_") and name != "__notes__"]
    assert not private and not hasattr(error, "whose")


@pytest.fixture(autouse=True)
def no_log_of_the_outages(package_logger: logging.Logger) -> None:
    package_logger.setLevel(logging.CRITICAL)


def failed_call(call: str, fault: str, tell: Callable[[BaseException], object]) -> None:
    """Play a call at a server with a fault that lasts, and tell each error that it raises."""
    world = World(Schedule({}), random.Random(call + fault))
    world.plan = {"questions": 1, "step": 20.0, "ends_in": "success", "updates": []}
    client = client_of(world)
    with using(now=world.clock, calendar=world.calendar, sleep=world.sleep):
        agent = acp.AgentHandle("agent", client)
        handle: Any = agent.start({"n": 1}) if call in STARTED else agent
        world.now += 3.0
        world.schedule = Schedule({}, (Trouble(FAULTS[fault], EVERY),))
        try:
            (STARTED.get(call) or BEFORE[call])(handle, client)
        except (acp.ApiException, acp.ApiValueError) as error:
            tell(error)
            if isinstance(error, acp.RunStartAmbiguous) and error.token:
                with pytest.raises(acp.ApiException) as again:
                    acp.RunHandle.from_token(error.token, client)
                tell(again.value)


def failed_batch(fault: str, tell: Callable[[BaseException], object]) -> None:
    for begins in (0.0, 0.5):
        world = BatchWorld(random.Random(fault), Trouble(FAULTS[fault], EVERY, begins=begins))
        world.plan["step"] = 2.0
        call = world.map(range(3), concurrency=2)
        for error in (call.error, *(item.error for item in call.items)):
            if error is not None:
                tell(error)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", (*STARTED, *BEFORE))
def test_an_error_of_a_call_carries_no_decision_of_the_client(call, fault):
    failed_call(call, fault, check_public)


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_of_a_batch_carries_no_decision_of_the_client(fault):
    failed_batch(fault, check_public)
