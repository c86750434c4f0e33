"""Questions of a run: each answered once, whatever happens to the responses; counted."""

from __future__ import annotations

import itertools
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from support.serving import NOTHING, QUESTION, SUCCESS, Replies, Serve, output_json, run_json
from support.socket_server import CLOSE, SocketServer, chunk, head, response, serve_each
from support.timing import SetTiming

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    ApiException,
    ApiTypeError,
    ApiValueError,
    Configuration,
    InterruptLimit,
    PendingInterrupt,
    ResumeAmbiguous,
    RunGone,
    RunHandle,
    RunInterrupted,
    RunsApi,
    RunWaitTimeout,
    StaleInterrupt,
    ThreadsApi,
    UnauthorizedException,
    UnprocessableEntityException,
)
from acp_client_v0_1.testing import Fault, Interrupt, InterruptSpec, LocalServer, Quirks

Make = Callable[[LocalServer, ApiClient], AgentHandle]


def quiz(times: int, same: bool = False, work: float = 0) -> Any:
    """An agent that asks some times, the same question if asked to, after seconds of work."""

    def agent(input: Any, config: Any, context: Any) -> Iterator[Interrupt]:
        answers = []
        for number in range(times):
            words = "again?" if same else f"question {number}"
            answer = yield Interrupt("quiz", {"words": words})
            answers.append(answer["value"])
            context.sleep(work)
        return {"answers": answers}  # type: ignore[return-value]

    return agent


@pytest.fixture
def three(server: LocalServer, client: ApiClient) -> AgentHandle:
    return AgentHandle(server.register(quiz(3), name="three"), client)


@pytest.fixture
def twice(server: LocalServer, client: ApiClient) -> AgentHandle:
    """Asks the same question twice."""
    return AgentHandle(server.register(quiz(2, same=True), name="twice"), client)


def counting() -> Callable[[PendingInterrupt], dict[str, Any]]:
    """Answers 0, 1, 2, so that no answer is like another."""
    given = iter(range(1000))
    return lambda question: {"value": next(given)}


def test_a_question_is_what_the_agent_asks(server: LocalServer, client: ApiClient) -> None:
    schema = {"type": "object", "required": ["value"]}
    specs = [InterruptSpec("quiz", resume_payload=schema)]
    agent_id = server.register(quiz(1), name="declared", interrupts=specs)
    question = next(AgentHandle(agent_id, client).start().interrupts(timeout=30))
    assert question.type == "quiz"
    assert question.payload == {"words": "question 0"}
    assert question.schema == schema
    server.clear_requests()
    assert question.schema == schema
    assert server.requests == ()


def test_the_runs_of_an_agent_share_its_descriptor(
    server: LocalServer, approval: AgentHandle, counts: Any
) -> None:
    questions = [next(approval.start().interrupts(timeout=30)) for _ in range(3)]
    schemas = [question.schema for question in questions]
    assert schemas[0] is not None
    assert counts.of("GET", "/descriptor") == 1
    again = pickle.loads(pickle.dumps(approval))  # whose clock may be another
    assert next(again.start().interrupts(timeout=30)).schema == schemas[0]
    assert counts.of("GET", "/descriptor") == 2


def test_iterating_over_the_questions(three: AgentHandle) -> None:
    run = three.start()
    questions = run.interrupts(timeout=30)
    for number, question in enumerate(questions):
        assert question.payload == {"words": f"question {number}"} and question.schema is None
        question.answer({"value": -number})
    with pytest.raises(ApiValueError, match="interrupts"):
        iter(questions)
    assert run.result(timeout=30) == {"answers": [0, -1, -2]}


def test_a_question_that_is_not_answered_is_no_loop_without_end(three: AgentHandle) -> None:
    questions = three.start().interrupts()
    next(questions)
    with pytest.raises(RunInterrupted, match=", which is not answered yet: answer it by"):
        next(questions)


@pytest.mark.slow
def test_an_output_that_is_older_than_its_run_is_no_hot_loop(serve: Serve) -> None:
    run = run_json("success", updated="01.5")
    outputs: list[bytes] = []
    _, client = serve(Replies(run, output=lambda: outputs.pop()))
    handle = RunHandle("r", client)
    calls: list[tuple[Callable[[], Any], Any]] = [
        (handle.result, {"ok": 1}),
        (lambda: handle.drive(lambda question: {}), {"ok": 1}),
        (lambda: list(handle.interrupts()), []),
    ]
    for call, outcome in calls:
        outputs[:] = [SUCCESS, *[QUESTION] * 4]
        began = time.monotonic()
        assert call() == outcome
        assert time.monotonic() - began > 0.4


def test_interrupted_while_waiting_for_the_result(approval: AgentHandle) -> None:
    run = approval.start({"action": "go"})
    with pytest.raises(RunInterrupted) as caught:
        run.result(timeout=30)
    error = caught.value
    assert error.interrupt.type == "approval"
    assert "answer it by error.interrupt.answer(body)" in str(error)
    assert "AgentHandle.run(on_interrupt=)" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert again.interrupt == error.interrupt
    for use in (lambda: again.interrupt.answer({}), lambda: again.interrupt.schema):
        with pytest.raises(ApiValueError, match="has no connection to its run: use RunHandle"):
            use()
    later = RunHandle.from_token(again.token, approval.runs.api_client)
    later.resume({"approved": True}, to=again.interrupt)
    assert run.result(timeout=30)["approved"] is True


def test_an_answer_may_be_refused(approval: AgentHandle) -> None:
    run = approval.start()
    question = next(run.interrupts())
    with pytest.raises(UnprocessableEntityException):
        question.answer({"approved": "perhaps"})
    with pytest.raises(ApiTypeError, match="body must be a JSON object"):
        question.answer("yes")  # type: ignore[arg-type]
    question.answer({"approved": False})
    assert run.result(timeout=30)["approved"] is False


def test_what_the_callback_raises_propagates(three: AgentHandle) -> None:
    run = three.start()

    def refuse(question: PendingInterrupt) -> dict[str, Any]:
        raise KeyError("no")

    with pytest.raises(KeyError):
        run.drive(refuse)
    assert run.drive(counting(), timeout=30) == {"answers": [0, 1, 2]}  # it stayed interrupted


def test_a_question_whose_time_moves_at_each_read_is_asked_a_bounded_number_of_times(
    serve: Serve,
) -> None:
    moved = itertools.count(100000)

    def look() -> bytes:
        return run_json("interrupted", updated=f"05.{next(moved)}")

    _, client = serve(Replies(output=QUESTION, look=look))
    asked: list[Any] = []
    with pytest.raises(InterruptLimit):
        RunHandle("r", client).drive(
            lambda question: asked.append(question) or {}, max_interrupts=5
        )
    assert len(asked) == 5


def test_none_from_the_callback_stops(three: AgentHandle, counts: Any) -> None:
    with pytest.raises(RunInterrupted, match="on_interrupt gave None"):
        three.run(on_interrupt=lambda question: None)
    assert counts.resumes == []


def test_a_limit_of_questions(three: AgentHandle, counts: Any) -> None:
    run = three.start()
    with pytest.raises(InterruptLimit, match=r"asks again after 2 answers.*max_interrupts") as e:
        run.drive(counting(), max_interrupts=2)
    assert len(counts.resumes) == 2
    again = pickle.loads(pickle.dumps(e.value))
    assert (again.limit, again.run_id, again.token) == (2, run.run_id, run.token())


def test_drive_with_events(server: LocalServer, client: ApiClient) -> None:
    def agent(input: Any, config: Any, context: Any) -> Any:
        yield {"n": 1}
        yield {"n": 2}
        answer = yield Interrupt("more", {})
        yield {"n": answer["value"]}
        return {"ok": True}

    run = AgentHandle(server.register(agent), client).start(streaming="custom")
    updates: list[Any] = []
    result = run.drive(
        lambda question: {"value": 3}, on_event=lambda event: updates.append(event.update)
    )
    assert result == {"ok": True}
    assert updates == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_the_question_changed_while_the_human_thought(three: AgentHandle, counts: Any) -> None:
    run = three.start()
    question = next(run.interrupts())
    RunHandle(run.run_id, three.runs.api_client).resume({"value": "by another"})
    while run.refresh().updated_at == question.updated_at or run.status != "interrupted":
        time.sleep(0.02)
    with pytest.raises(StaleInterrupt, match=r"asks something else now \('quiz'\).*see RunH") as e:
        question.answer({"value": "late"})
    assert pickle.loads(pickle.dumps(e.value)).token == e.value.token
    assert counts.resumes == [{"value": "by another"}]


def test_the_same_question_again_is_another_question(twice: AgentHandle, counts: Any) -> None:
    run = twice.start()
    question = next(run.interrupts())
    question.answer({"value": 1})
    next(run.interrupts(timeout=30))
    with pytest.raises(StaleInterrupt):
        question.answer({"value": 2})
    assert counts.resumes == [{"value": 1}]


def test_no_question_is_open(counter: AgentHandle, counts: Any) -> None:
    run = counter.start({"count": 2, "interval": 0.3})
    with pytest.raises(StaleInterrupt, match=r"it is pending, and asks nothing"):
        run.resume({})
    run.result(timeout=30)
    with pytest.raises(StaleInterrupt, match=r"it is success, and asks nothing"):
        run.resume({})
    assert counts.resumes == []
    with pytest.raises(RunGone):
        RunHandle("nobody", counter.runs.api_client).resume({})


def test_drive_asks_again_if_another_process_answered_first(
    three: AgentHandle, counts: Any
) -> None:
    run = three.start()
    other = RunHandle(run.run_id, three.runs.api_client)
    asked: list[str] = []

    def slowly(question: PendingInterrupt) -> dict[str, Any]:
        asked.append(question.payload["words"])
        if len(asked) == 1:
            other.resume({"value": "by another"})
            while other.refresh().updated_at == question.updated_at:
                time.sleep(0.02)
        return {"value": len(asked)}

    assert run.drive(slowly, timeout=30) == {"answers": ["by another", 2, 3]}
    assert asked == ["question 0", "question 1", "question 2"]
    assert len(counts.resumes) == 3


@pytest.mark.slow
def test_two_callers_drive_one_run_and_each_question_is_answered_once(
    server: LocalServer, client: ApiClient
) -> None:
    # What is answered at once by both, the server tells apart as long as the agent works: ACP 0.1
    # leaves a window of one round trip for an agent that asks again at once.
    token = AgentHandle(server.register(quiz(6, work=0.3), name="six"), client).start().token()

    def drive() -> Any:
        run = RunHandle.from_token(token, client)
        return run.drive(lambda question: {"value": question.payload["words"]}, timeout=60)

    with ThreadPoolExecutor(2) as pool:
        drivers = [pool.submit(drive) for _ in range(2)]
    answers = [f"question {number}" for number in range(6)]
    assert [driver.result() for driver in drivers] == [{"answers": answers}] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "sent"),
    [
        ({}, [0, 1, 2]),
        ({"cut": "close", "after_wire_bytes": 0}, [0, 1, 2]),
        ({"status": 502, "late": 0.01}, [0, 1, 2]),
        ({"cut": "close"}, [0, 0, 1, 2]),
        ({"status": 429, "retry_after": 0.2, "times": 2}, [0, 0, 0, 1, 2]),
    ],
    ids=["no failure", "a lost response", "502", "did not arrive", "429"],
)
@pytest.mark.parametrize("same", [False, True])
def test_each_question_gets_its_answer_once(
    server: LocalServer,
    client: ApiClient,
    counts: Any,
    set_timing: SetTiming,
    fault: dict[str, Any],
    sent: list[int],
    same: bool,
) -> None:
    """Even the same question again gets the next answer."""
    set_timing(unchanged=0.5)
    agent = AgentHandle(server.register(quiz(3, same=same), name="asks"), client)
    server.faults.add(Fault(method="POST", path="/runs/*", **fault))
    assert agent.run(timeout=30, on_interrupt=counting()) == {"answers": [0, 1, 2]}
    assert counts.resumes == [{"value": number} for number in sent]


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.1])
def test_whole_seconds_do_not_mix_up_two_questions(serve: Serve, delay: float) -> None:
    """Two equal questions within a second would look like one, and get one answer twice."""
    server, client = serve(Quirks(updated_at="seconds"))
    agent = AgentHandle(server.register(quiz(2, same=True), name="two"), client)
    lost = Fault(method="POST", path="/runs/*", cut="close", after_wire_bytes=0)
    looks = Fault(method="GET", path="/runs/*", delay=delay, times=None)
    server.faults.add(lost, lost, looks)
    began = time.monotonic()
    assert agent.run(timeout=10, on_interrupt=counting()) == {"answers": [0, 1]}
    assert time.monotonic() - began > 1.0
    resumes = [r for r in server.requests if r.method == "POST" and r.path.count("/") == 2]
    assert len([r for r in resumes if not r.path.endswith("search")]) == 2


@pytest.mark.slow
def test_a_resume_that_is_lost_twice(
    server: LocalServer, three: AgentHandle, counts: Any, set_timing: SetTiming
) -> None:
    set_timing(unchanged=0.3)
    server.faults.add(Fault(method="POST", path="/runs/*", cut="close", times=2))
    run = three.start()
    with pytest.raises(ResumeAmbiguous, match=r"which was sent twice.*refresh.* later") as caught:
        run.drive(counting())
    assert len(counts.resumes) == 2
    assert pickle.loads(pickle.dumps(caught.value)).token == run.token()
    assert run.drive(counting(), timeout=30) == {"answers": [0, 1, 2]}


@pytest.mark.slow
def test_a_resume_without_response_at_the_deadline(server: LocalServer, three: AgentHandle) -> None:
    server.faults.add(Fault(method="POST", path="/runs/*", cut="stall"))
    run = three.start()
    run.output(timeout=30)
    began = time.monotonic()
    with pytest.raises(ResumeAmbiguous, match="which was sent once"):
        run.resume({"value": 1}, timeout=1)
    assert time.monotonic() - began < 5


def test_a_resume_without_response_that_is_stopped(
    server: LocalServer, three: AgentHandle, counts: Any
) -> None:
    """It is not sent again before it is known that it did not arrive."""
    server.faults.add(Fault(method="POST", path="/runs/*", cut="close"))
    run = three.start()
    run.output(timeout=30)
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(ResumeAmbiguous, match="which was sent once"):
        run.resume({"value": 1}, stop=stop)
    assert len(counts.resumes) == 1
    assert len(server.requests) < 20


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 503])
def test_a_resume_without_response_that_cannot_be_looked_for(
    server: LocalServer, three: AgentHandle, counts: Any, status: int
) -> None:
    """Not the error of the look alone, by which the answer was not sent."""
    run = three.start()
    run.output(timeout=30)
    server.faults.add(
        Fault(method="POST", path="/runs/*", cut="close", after_wire_bytes=0),
        Fault(method="GET", path="/runs/*"),  # the look before the answer
        Fault(method="GET", path="/runs/*", status=status, times=None),
    )
    with pytest.raises(ResumeAmbiguous, match="which was sent once"):
        run.resume({"value": 1}, timeout=2)
    assert counts.resumes == [{"value": 1}]


@pytest.mark.slow
def test_a_resume_survives_a_server_that_is_away(server: LocalServer, three: AgentHandle) -> None:
    run = three.start()

    def away(question: PendingInterrupt) -> dict[str, Any]:
        if question.payload["words"] == "question 1":
            server.stop()
            threading.Timer(1.0, server.start).start()
        return {"value": 1}

    assert run.drive(away, timeout=60) == {"answers": [1, 1, 1]}


@pytest.mark.slow
def test_a_busy_thread_is_waited_for(server: LocalServer, client: ApiClient, counts: Any) -> None:
    def agent(input: Any, config: Any, context: Any) -> Any:
        if "seconds" in input:
            context.sleep(input["seconds"])
            return {"slept": True}
        answer = yield Interrupt("quiz", {})
        return {"answer": answer["value"]}

    handle = AgentHandle(server.register(agent, name="both", thread_state={}), client)
    thread_id = ThreadsApi(client).create_thread({"agent_id": handle.agent_id}).thread_id
    run = handle.start(thread_id=thread_id)
    question = next(run.interrupts())
    handle.start({"seconds": 0.8}, thread_id=thread_id)
    question.answer({"value": "in time"})
    assert run.result(timeout=30) == {"answer": "in time"}
    assert len(counts.resumes) > 1


@pytest.mark.slow
def test_a_thread_that_stays_busy(server: LocalServer, three: AgentHandle, counts: Any) -> None:
    run = three.start()
    run.output(timeout=30)
    server.faults.add(Fault(method="POST", path="/runs/*", status=409, times=None))
    for call in (partial(run.resume, {"value": 1}), partial(run.drive, counting())):
        server.clear_requests()
        began = time.monotonic()
        with pytest.raises(RunWaitTimeout, match=r"was not answered after 1\.\d s.*409"):
            call(timeout=1.2)
        assert time.monotonic() - began < 1.2 + 4
        assert 3 <= len(counts.resumes) <= 6  # the pauses grow


@pytest.mark.parametrize(
    ("status", "later", "error", "words"),
    [
        (409, run_json("interrupted", updated="02.5"), StaleInterrupt, "something else now; see"),
        (409, run_json("success", updated="02.5"), StaleInterrupt, "it is success, and asks noth"),
        (429, response(b'"no"', 401), UnauthorizedException, "401"),
    ],
    ids=["another question", "the end", "no credentials"],
)
def test_an_answer_is_not_sent_again_after_what_a_look_shows(
    serve: Serve, status: int, later: bytes, error: type[ApiException], words: str
) -> None:
    def look() -> bytes:
        asks = run_json("interrupted", updated="01.5")
        return later if "resume" in replies.asked else asks

    replies = Replies(output=QUESTION, look=look, resume=response(b"{}", status))
    _, client = serve(replies)
    with pytest.raises(error, match=words):
        RunHandle("r", client).resume({})
    assert replies.asked[-2:] == ["resume", "look"]


@pytest.mark.slow
def test_whole_seconds_do_not_give_an_answer_to_the_question_of_another(
    serve: Serve, set_timing: SetTiming
) -> None:
    """While the answer waits until the question is old enough, somebody else answers it."""
    set_timing(whole_second=1.5)
    server, client = serve(Quirks(updated_at="seconds"))
    run = AgentHandle(server.register(quiz(2), name="two"), client).start()
    question = next(run.interrupts(timeout=30))
    another = threading.Timer(0.5, RunsApi(client).resume_run, (run.run_id, {"value": "other"}))
    another.start()
    with pytest.raises(StaleInterrupt, match="not used"):
        question.answer({"value": "late"})
    another.join()
    assert run.drive(lambda asked: {"value": asked.payload["words"]}, timeout=30) == {
        "answers": ["other", "question 1"]
    }


def test_whole_seconds_and_a_wait_that_is_stopped(serve: Serve, set_timing: SetTiming) -> None:
    set_timing(whole_second=60.0)
    stop = threading.Event()
    server, client = serve(Quirks(updated_at="seconds"))
    run = AgentHandle(server.register(quiz(2), name="two"), client).start()
    question = next(run.interrupts(timeout=30))
    server.clear_requests()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(RunWaitTimeout, match="was stopped"):
        run.resume({"value": 1}, to=question, stop=stop)
    assert [request.method for request in server.requests] == ["GET", "GET"]


@pytest.mark.slow
def test_a_question_that_has_no_output_yet_is_asked_for_in_time(serve: Serve) -> None:
    """As where the run is read from a cache; each round is a handful of requests."""
    outputs: list[float] = []

    def look() -> bytes:
        return run_json("interrupted" if len(outputs) < 4 else "success")

    def output() -> bytes:
        outputs.append(time.monotonic())
        return NOTHING if len(outputs) < 5 else SUCCESS

    _, client = serve(Replies(NOTHING, look=look, output=output))
    run = RunHandle("r", client)
    assert run.drive(lambda asked: {}, on_event=lambda event: None, timeout=30) == {"ok": 1}
    assert outputs[3] - outputs[0] >= 0.7


def test_one_look_is_bounded(
    server: LocalServer, approval: AgentHandle, set_timing: SetTiming
) -> None:
    set_timing(quick=2.0)
    run = approval.start({"text": "x"})
    run.output(timeout=30)
    server.faults.add(Fault(method="GET", path="/runs/*", status=503, times=None))
    for call in (
        lambda: run.result(timeout=0),
        lambda: next(run.interrupts(timeout=0)),
        lambda: run.drive(lambda question: {}, timeout=0),
        lambda: run.resume({}, timeout=0),
    ):
        began = time.monotonic()
        with pytest.raises(ApiException, match=r"returned 503"):
            call()
        assert time.monotonic() - began < 30


def test_one_look_at_a_question_that_was_answered_meanwhile(serve: Serve) -> None:
    _, client = serve(Replies(output=QUESTION, look=run_json("success")))
    run = RunHandle("r", client)
    for call in (lambda: run.drive(str, timeout=0), lambda: next(run.interrupts(timeout=0))):
        with pytest.raises(RunWaitTimeout, match="run r has no output yet"):
            call()


def test_events_after_an_answer_by_another_are_handed_out(serve: Serve) -> None:
    """Another process answers between the end of the stream and the look at the question."""

    def stream(number: int) -> bytes:
        data = {"type": "custom", "run_id": "r", "status": "pending", "update": {"n": number}}
        event = f"id: {number}\nevent: agent_event\ndata: {json.dumps(data)}\n\n".encode()
        streaming = head(content_type="text/event-stream", transfer_encoding="chunked")
        return streaming + chunk(event) + chunk(b"")

    looks = (run_json("interrupted"), run_json("success"))
    _, client = serve(Replies(stream=(stream(1), stream(2)), output=SUCCESS, look=looks))
    updates: list[Any] = []
    assert RunHandle("r", client).drive(
        lambda question: pytest.fail("answered by the other"),
        on_event=lambda event: updates.append(event.update),
        timeout=30,
    ) == {"ok": 1}
    assert updates == [{"n": 1}, {"n": 2}]


class Asking:
    """A server whose run asks q0 and q1, and moves on some time after each answer."""

    def __init__(self, takes: float, seconds: tuple[int, int, int] = (1, 2, 3)) -> None:
        self.takes = takes  # seconds
        self.seconds = seconds  # when each state was reached, by the server's clock
        self.answers: list[Any] = []
        self.answered_at = 0.0
        self.state = 0

    def __call__(self, request: Any) -> Any:
        now = time.monotonic()
        if request.method == "POST":
            self.answers.append(json.loads(request.body))
            self.answered_at = now
            return self.run(len(self.answers))
        if "/output" not in request.path:
            if now - self.answered_at >= self.takes:
                self.state = len(self.answers)
            return self.run(self.state)
        if self.state == 2:
            return SUCCESS
        asked = {"interrupt_type": "quiz", "words": f"q{self.state}"}
        return output_json("interrupt", interrupt=asked)

    def run(self, state: int) -> bytes:
        status = "success" if state == 2 else "interrupted"
        return run_json(status, updated=f"{self.seconds[state]:02}.25")


def drive_each_once(asking: Asking) -> None:
    """Answer both questions; each answer reaches its own question, once."""
    asked: list[str] = []

    def answer(question: PendingInterrupt) -> dict[str, Any]:
        asked.append(question.payload["words"])
        return {"to": question.payload["words"]}

    with (
        SocketServer(handler=serve_each(asking)) as server,
        ApiClient(Configuration(host=server.url)) as client,
    ):
        assert RunHandle("r", client).drive(answer, timeout=30) == {"ok": 1}
    assert asked == ["q0", "q1"]
    assert asking.answers == [{"to": "q0"}, {"to": "q1"}]


@pytest.mark.slow
@pytest.mark.parametrize(
    "seconds",
    [(1, 2, 3), (1, 1, 1), (5, 1, 2)],
    ids=["", "a clock that stands still", "a clock that is set back"],
)
@pytest.mark.parametrize("takes", [0.0, 0.4])
def test_a_question_that_was_answered_is_not_asked_again(
    takes: float, seconds: tuple[int, int, int]
) -> None:
    """Its server takes a moment to move on; any other question is asked at once."""
    began = time.monotonic()
    drive_each_once(Asking(takes, seconds))
    assert time.monotonic() - began < 4.5


@pytest.mark.slow
def test_a_pickled_handle_knows_what_it_answered(serve: Serve) -> None:
    asking = Asking(0.4)
    _, client = serve(asking)
    run = RunHandle("r", client)
    next(run.interrupts()).answer({"to": "q0"})
    again = pickle.loads(pickle.dumps(run))
    assert again.drive(lambda question: {"to": "q1"}, timeout=30) == {"ok": 1}
    assert asking.answers == [{"to": "q0"}, {"to": "q1"}]


def test_an_answer_without_a_response_has_arrived_if_the_run_ends_in_the_same_moment(
    serve: Serve,
) -> None:
    asking = Asking(0.0, (1, 2, 2))

    def lose_the_last_response(request: Any) -> Any:
        made = asking(request)
        lost = request.method == "POST" and len(asking.answers) == 2
        return [CLOSE] if lost else made

    _, client = serve(lose_the_last_response)
    run = RunHandle("r", client)
    run.resume({"to": "q0"})
    run.resume({"to": "q1"})
    assert asking.answers == [{"to": "q0"}, {"to": "q1"}]


@pytest.mark.parametrize("pickled", [False, True])
def test_an_answer_without_effect_is_an_error_and_can_be_given_again(
    serve: Serve, pickled: bool, set_timing: SetTiming
) -> None:
    asking = Asking(1e9)
    _, client = serve(asking)
    run = RunHandle("r", client)
    next(run.interrupts()).answer({"to": "q0"})
    if pickled:
        run = pickle.loads(pickle.dumps(run))
    set_timing(outage=0.5)
    with pytest.raises(RunInterrupted, match="it was answered some minutes ago") as caught:
        run.result(timeout=20)
    set_timing(outage=300.0)
    caught.value.interrupt.answer({"to": "q0 again"})
    assert asking.answers == [{"to": "q0"}, {"to": "q0 again"}]


def test_an_answer_is_not_sent_to_a_question_that_was_answered(serve: Serve) -> None:
    asking = Asking(1.5)
    _, client = serve(asking)
    run = RunHandle("r", client)
    question = next(run.interrupts())
    question.answer({"to": "q0"})
    with pytest.raises(StaleInterrupt):
        question.answer({"to": "q0"})
    assert asking.answers == [{"to": "q0"}]


def test_a_second_answer_to_an_old_question_does_not_hide_the_last_one(serve: Serve) -> None:
    """A server that takes a moment to move on may still show the last one."""
    _, client = serve(Asking(0.0))
    run = RunHandle("r", client)
    questions = []
    for question in run.interrupts(timeout=30):
        question.answer({})
        questions.append(question)
    last = run._core.answered
    assert last is not None
    with pytest.raises(StaleInterrupt):
        questions[0].answer({})
    assert run._core.answered == last


def test_a_question_that_a_competitor_answered_is_not_one_without_an_answer(
    three: AgentHandle, counts: Any
) -> None:
    run = three.start()
    other = RunHandle(run.run_id, three.runs.api_client)
    words = []
    for question in run.interrupts(timeout=30):
        words.append(question.payload["words"])
        other.resume({"value": len(words)})
        with pytest.raises(StaleInterrupt):
            question.answer({"value": "late"})
    assert words == ["question 0", "question 1", "question 2"]
    assert run.result(timeout=30) == {"answers": [1, 2, 3]}
    assert counts.resumes == [{"value": 1}, {"value": 2}, {"value": 3}]


@pytest.mark.slow
def test_a_wait_for_a_question_that_ran_out_is_not_the_end_of_the_run(
    server: LocalServer, client: ApiClient
) -> None:
    """The next ``next()`` waits again, as that of the events does."""

    def agent(input: Any, config: Any, context: Any) -> Iterator[Interrupt]:
        context.sleep(1.5)
        yield Interrupt("quiz", {"words": "late"})

    questions = AgentHandle(server.register(agent), client).start().interrupts(timeout=1.0)
    with pytest.raises(RunWaitTimeout):
        next(questions)
    assert next(questions).payload == {"words": "late"}
