"""An agent that does what its input says, and what a batch of its runs leaves at a server."""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from acp_client_v0_1 import PendingInterrupt
from acp_client_v0_1.testing import AgentContext, AgentError, Interrupt, LocalServer
from support.transport import eventually

JsonObject = dict[str, Any]


def obedient(
    input: JsonObject, config: JsonObject, context: AgentContext
) -> Generator[Interrupt, JsonObject, JsonObject]:
    """Sleep for `seconds`, ask `ask` questions, fail if it is to `fail`."""
    if input.get("seconds"):
        context.sleep(input["seconds"])
    answers = []
    for number in range(input.get("ask", 0)):
        answers.append((yield Interrupt("number", {"number": number})))
    if input.get("fail"):
        raise AgentError(7, "as it was told")
    return {"n": input.get("n"), "answers": answers, **config}


def numbers(count: int, **more: Any) -> list[JsonObject]:
    """Inputs of that agent, numbered from 0."""
    return [{"n": n, **more} for n in range(count)]


def answer(question: PendingInterrupt) -> JsonObject:
    return {"to": question.payload["number"]}


def creates(server: LocalServer) -> list[JsonObject]:
    """The bodies of the creates that arrived."""
    posts = [each for each in server.requests if each.method == "POST"]
    return [json.loads(each.body) for each in posts if each.path == "/runs"]


def runs_by_input(server: LocalServer) -> Counter[int]:
    """How many runs the server has for each input, by its `n`."""
    return Counter(run["creation"]["input"]["n"] for run in server.runs)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is the case, a minute at most, as a busy machine is slow."""
    assert eventually(condition, 60)


def until(condition: Callable[[], bool], inputs: list[Any], error: BaseException) -> Iterator[Any]:
    """Inputs that end with an error once something is the case."""
    yield from inputs
    wait_for(condition)
    raise error


def threads_of_batches() -> list[str]:
    """The names of the threads that batches have left."""
    return [one.name for one in threading.enumerate() if one.name.startswith("acp batch")]


def in_a_child(work: Callable[[], object]) -> int:
    """Begin some work in a forked process; gives its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


@contextmanager
def beside(work: Callable[[], object], after: float = 0.0) -> Iterator[None]:
    """Do something in another thread, some seconds later if the ``with`` lasts so long."""
    thread = threading.Timer(after, work)
    thread.start()
    try:
        yield
    finally:
        if after:
            thread.cancel()
        thread.join()
