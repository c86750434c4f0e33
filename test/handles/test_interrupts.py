"""Questions of a run: each answered once, whatever happens to the responses; counted."""

from __future__ import annotations

import itertools
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from support.serving import NOTHING, QUESTION, SUCCESS, Replies, Serve, output_json, run_json
from support.socket_server import CLOSE, STALL, response
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import Interrupt, InterruptSpec, LocalServer

ASKS, ASKS_AGAIN = (run_json("interrupted", updated=f"0{second}.5") for second in (1, 2))
ENDED, PENDING = ("success",) * 2, ("pending",) * 2
BUSY = response(b'"busy"', 503)


def quiz(times: int, same: bool = False) -> Any:
    """An agent that asks some times, and the same question if wanted."""

    def agent(input: Any, config: Any, context: Any) -> Iterator[Interrupt]:
        answers = []
        for number in range(times):
            words = "again?" if same else f"question {number}"
            answer = yield Interrupt("quiz", {"words": words})
            answers.append(answer["value"])
        return {"answers": answers}  # type: ignore[return-value]

    return agent


@pytest.fixture
def three(server: LocalServer, client: acp.ApiClient) -> acp.AgentHandle:
    return acp.AgentHandle(server.register(quiz(3), name="three"), client)


def counting() -> Callable[[acp.PendingInterrupt], dict[str, Any]]:
    """Answers 0, 1, 2, so that no answer is like another."""
    given = iter(range(1000))
    return lambda question: {"value": next(given)}


def test_a_question_says_what_it_asks(server, client, counts):
    schema = {"type": "object", "required": ["value"]}
    specs = [InterruptSpec("quiz", resume_payload=schema)]
    agent = acp.AgentHandle(server.register(quiz(1), name="declared", interrupts=specs), client)
    for _ in range(2):
        question = next(agent.start().interrupts(timeout=30))
        assert (question.type, question.payload) == ("quiz", {"words": "question 0"})
        assert question.schema == question.schema == schema
    # The runs of an agent share its descriptor, unless it was pickled: the clock may be another.
    assert counts.of("GET", "/descriptor") == 1
    again = pickle.loads(pickle.dumps(agent))
    assert next(again.start().interrupts(timeout=30)).schema == schema
    assert counts.of("GET", "/descriptor") == 2


def test_iterating_over_the_questions(three):
    run = three.start()
    unanswered = run.interrupts()
    next(unanswered)
    with pytest.raises(acp.RunInterrupted, match=", which is not answered yet; answer it by"):
        next(unanswered)
    questions = run.interrupts(timeout=30)
    for number, question in enumerate(questions):
        assert question.payload == {"words": f"question {number}"} and question.schema is None
        question.answer({"value": -number})
    with pytest.raises(acp.ApiValueError, match="interrupts"):
        iter(questions)
    assert run.result(timeout=30) == {"answers": [0, -1, -2]}


@pytest.mark.parametrize(
    ("call", "statuses", "outcome"),
    [
        (acp.RunHandle.result, ENDED, {"ok": 1}),
        (lambda run: run.drive(dict), ENDED, {"ok": 1}),
        (lambda run: run.drive(dict, on_event=str), ("interrupted", "success"), {"ok": 1}),
        (lambda run: list(run.interrupts()), ENDED, []),
        (lambda run: next(run.events(through_interrupts=True)).result, PENDING, {"ok": 1}),
    ],
)
def test_an_output_that_lags_its_run_is_asked_for_in_time(replying, clock, call, statuses, outcome):
    """It asks while its run does not, or is not there while the run asks, as if from a cache."""

    def look() -> bytes:
        return run_json(statuses[replies.asked.count("output") >= 4])

    outputs = (*[QUESTION if statuses[0] != "interrupted" else NOTHING] * 4, SUCCESS)
    replies, run = replying(stream=NOTHING, look=look, output=outputs)
    assert call(run) == outcome
    assert clock.pauses == pytest.approx([0.25] * 4)


def test_interrupted_while_waiting_for_the_result(approval):
    run = approval.start({"action": "go"})
    words = r"answer it by error\.interrupt\.answer\(body\) .* AgentHandle\.run\(on_interrupt=\)"
    with pytest.raises(acp.RunInterrupted, match=words) as caught:
        run.result(timeout=30)
    error = caught.value
    assert error.interrupt.type == "approval"
    again = pickle.loads(pickle.dumps(error))
    assert again.interrupt == error.interrupt
    for use in (lambda: again.interrupt.answer({}), lambda: again.interrupt.schema):
        with pytest.raises(acp.ApiValueError, match="no connection to its run: use RunHandle"):
            use()
    later = acp.RunHandle.from_token(again.token, approval.runs.api_client)
    later.resume({"approved": True}, to=again.interrupt)
    assert run.result(timeout=30)["approved"] is True


def test_an_answer_may_be_refused(approval):
    run = approval.start()
    question = next(run.interrupts())
    with pytest.raises(acp.UnprocessableEntityException):
        question.answer({"approved": "perhaps"})
    with pytest.raises(acp.ApiTypeError, match="body must be a JSON object"):
        question.answer("yes")  # type: ignore[arg-type]
    question.answer({"approved": False})
    assert run.result(timeout=30)["approved"] is False


@dataclass(frozen=True)
class Refusal(Exception):
    why: str


@pytest.mark.parametrize("kind", [KeyError, Refusal])
def test_what_the_callback_raises_propagates(three, caplog, kind):
    run = three.start()

    def refuse(question: acp.PendingInterrupt) -> dict[str, Any]:
        raise kind("no")

    with pytest.raises(kind) as caught:
        run.drive(refuse)
    (note,) = getattr(caught.value, "__notes__", caplog.messages)
    assert f"answer it with RunHandle('{run.run_id}', client).interrupts() or `acp-" in note
    assert note.endswith(f"wait --ask {run.run_id}`")
    assert run.drive(counting(), timeout=30) == {"answers": [0, 1, 2]}  # it stayed interrupted


def test_a_payload_that_the_caller_changes_is_of_the_same_question(three, counts):
    def fill(question: acp.PendingInterrupt) -> dict[str, Any]:
        question.payload["value"] = question.payload.pop("words")
        return question.payload

    answers = [f"question {number}" for number in range(3)]
    assert three.run(on_interrupt=fill, timeout=30) == {"answers": answers}
    (item,) = three.map([{}], on_interrupt=fill)
    assert item.result() == {"answers": answers}
    with pytest.raises(acp.RunInterrupted) as caught:
        three.run(timeout=30)
    run = acp.RunHandle(caught.value.run_id, three.runs.api_client)
    question = caught.value.interrupt
    again = pickle.loads(pickle.dumps(question))
    for each in (question, again):
        each.payload.clear()
    assert question == again and hash(question) == hash(again)
    run.resume({"value": 0}, to=again)
    with pytest.raises(acp.StaleInterrupt):
        question.answer({"value": 1})
    assert run.drive(fill, timeout=30) == {"answers": [0, *answers[1:]]}
    assert len(counts.resumes) == 9


def test_a_question_whose_time_moves_at_each_read_is_no_endless_loop(replying, clock):
    moved, asked = itertools.count(100000), itertools.count()

    def look() -> bytes:
        return run_json("interrupted", updated=f"05.{next(moved)}")

    _, run = replying(output=QUESTION, look=look)
    with pytest.raises(acp.InterruptLimit, match=r"after 5 answers; .*max_interrupts") as e:
        run.drive(lambda _: {"n": next(asked)}, max_interrupts=5)
    again = pickle.loads(pickle.dumps(e.value))
    assert (again.limit, again.run_id, again.token) == (5, "r", run.token())
    assert next(asked) == 5 and clock.pauses == [1.0] * 5
    # A callback that takes its time is not stopped by the timeout.
    for seconds in (0, 100):

        def slowly(_: acp.PendingInterrupt, seconds: int = seconds) -> dict[str, Any]:
            clock.now += seconds
            return {"n": next(asked)}

        before = next(asked)
        with pytest.raises(acp.RunWaitTimeout, match=r"was not answered after 3\.0 s"):
            run.drive(slowly, timeout=3)
        assert next(asked) - before <= 5
    for answers in (False, True):
        questions = run.interrupts()
        first = next(questions)
        if answers:
            with pytest.raises(acp.StaleInterrupt, match="asks something else now"):
                first.answer({})
        with pytest.raises(acp.RunInterrupted, match="not answered yet"):
            next(questions)


def test_a_callback_may_answer_by_itself_or_return_none_to_stop(three, counts):
    with pytest.raises(acp.RunInterrupted, match="on_interrupt gave None"):
        three.run(on_interrupt=lambda question: None)
    assert counts.resumes == []

    def answer(question: acp.PendingInterrupt) -> None:
        question.answer({"value": 7})

    assert three.run(on_interrupt=answer, timeout=30) == {"answers": [7, 7, 7]}
    (item,) = three.map([{}], on_interrupt=answer)
    assert item.result() == {"answers": [7, 7, 7]}
    assert len(counts.resumes) == 6


@pytest.mark.parametrize("same", [False, True])
def test_the_question_changed_while_the_human_thought(server, client, counts, same):
    """The same question again is another question, too."""
    run = acp.AgentHandle(server.register(quiz(2, same=same), name="two"), client).start()
    question = next(run.interrupts())
    another = acp.RunHandle(run.run_id, client)
    another.resume({"value": "by another"})
    next(another.interrupts(timeout=30))
    with pytest.raises(acp.StaleInterrupt, match=r"something else now \('quiz'\).*see RunH") as e:
        question.answer({"value": "late"})
    assert pickle.loads(pickle.dumps(e.value)).token == e.value.token
    assert counts.resumes == [{"value": "by another"}]


def test_no_question_is_open(counter, counts):
    run = counter.start({"count": 2, "interval": 0.3})
    with pytest.raises(acp.StaleInterrupt, match=r"it is pending, and asks nothing"):
        run.resume({})
    run.result(timeout=30)
    with pytest.raises(acp.StaleInterrupt, match=r"it is success, and asks nothing"):
        run.resume({})
    assert counts.resumes == []
    with pytest.raises(acp.RunGone):
        acp.RunHandle("nobody", counter.runs.api_client).resume({})


@pytest.mark.parametrize("later", ["01", "02"], ids=["the same question", "of another"])
def test_a_question_of_a_whole_second_is_answered_once_that_second_is_over(replying, clock, later):
    """A second question within it would look like it; and another may answer it meanwhile."""
    looks = (run_json("interrupted"), run_json("interrupted", updated=later))
    replies, run = replying(output=QUESTION, look=looks, resume=run_json())
    with nullcontext() if later == "01" else pytest.raises(acp.StaleInterrupt, match="not used"):
        run.resume({})
    assert clock.pauses == [1]
    assert replies.asked == ["look", "output"] * 2 + ["resume"] * (later == "01")


@pytest.mark.parametrize(
    ("later", "timeout", "times"),
    [
        ([ASKS], 1.5, "twice"),
        ([response(b'"no"', 401)], 1.5, "once"),
        ([BUSY], 1.5, "once"),
        ([ASKS, BUSY], 0.8, "once"),
        ([ASKS, BUSY], None, "once"),
    ],
    ids=["it is sent twice", "the look is denied", "it fails", "the next", "the next, for long"],
)
@using(unchanged=0.0, outage=0.5, backoff=(0.05, 0.1))
def test_a_resume_without_response_is_ambiguous(replying, later, timeout, times):
    """Not the error of the look alone, by which the answer was not sent."""
    replies, run = replying(output=QUESTION, look=(ASKS, *later), resume=[CLOSE])
    with pytest.raises(acp.ResumeAmbiguous, match=f"sent {times}.*refresh.* later") as caught:
        run.resume({"value": 1}, timeout=timeout)
    assert replies.asked.count("resume") == (2 if times == "twice" else 1)
    assert pickle.loads(pickle.dumps(caught.value)).token == run.token()
    cause = caught.value.__cause__
    # tblib, which Dask uses, would not end.
    assert cause is None or getattr(cause.__context__, "__cause__", None) is not cause


def test_a_resume_without_response_that_is_stopped(replying):
    """It is not sent again before it is known that it did not arrive."""
    stop = threading.Event()

    def look() -> bytes:
        if "resume" in replies.asked:
            stop.set()
        return ASKS

    replies, run = replying(output=QUESTION, look=look, resume=[CLOSE])
    with pytest.raises(acp.ResumeAmbiguous, match="which was sent once"):
        run.resume({"value": 1}, stop=stop)
    assert replies.asked == ["look", "output", "resume", "look"]


def test_a_busy_thread_is_waited_for_in_time(replying, clock):
    busy = response(b'"busy"', 409)
    _, run = replying(ASKS, output=QUESTION, resume=(*[busy] * 6, run_json()))
    run.resume({"value": 1})
    assert clock.pauses == [1.0] * 6
    assert run._core.answered.seen_at == clock.now
    _, run = replying(ASKS, output=QUESTION, resume=busy)
    for call in (partial(run.resume, {"value": 1}), partial(run.drive, lambda question: {})):
        with pytest.raises(acp.RunWaitTimeout, match=r"was not answered after 1\.2 s.*409"):
            call(timeout=1.2)


@pytest.mark.parametrize(
    ("status", "later", "error", "words"),
    [
        (409, ASKS_AGAIN, acp.StaleInterrupt, "something else now; see"),
        (409, run_json("success"), acp.StaleInterrupt, "it is success, and asks noth"),
        (429, ASKS_AGAIN, acp.StaleInterrupt, "something else now; see"),
        (429, response(b'"no"', 401), acp.UnauthorizedException, "401"),
        (502, response(b'"no run r"', 404), acp.RunGone, "is gone"),
    ],
    ids=["another question", "the end", "another after a limit", "no credentials", "gone"],
)
@using(human=0.1)
def test_an_answer_is_not_sent_again_after_what_a_look_shows(replying, status, later, error, words):
    replies, run = replying(output=QUESTION, look=(ASKS, later), resume=response(b"{}", status))
    with pytest.raises(error, match=words):
        run.resume({})
    assert replies.asked[-2:] == ["resume", "look"]


@pytest.mark.parametrize(("unchanged", "resumes"), [(2, 1), (3, 2)], ids=["a look", "a conflict"])
@using(unchanged=0.0, human=0.1)
def test_what_comes_after_a_lost_answer_may_show_that_it_arrived(replying, unchanged, resumes):
    """Even if the time of the run stands still."""
    looks = (*[ASKS] * unchanged, run_json(updated="01.5"))
    answers = ([CLOSE], response(b'"busy"', 409))
    replies, run = replying(output=QUESTION, look=looks, resume=answers)
    run.resume({})
    assert replies.asked.count("resume") == resumes


def test_one_look_is_one_request(serve):
    for call in (
        lambda run: run.result(timeout=0),
        lambda run: next(run.interrupts(timeout=0)),
        lambda run: run.drive(dict, timeout=0),
        lambda run: run.resume({}, timeout=0),
    ):
        replies = Replies(BUSY, output=QUESTION)
        with pytest.raises(acp.ApiException, match=r"returned 503"):
            call(acp.RunHandle("r", serve(replies, retries=0)[1]))
        assert replies.asked.count("look") == 1


def test_one_look_at_a_question_that_was_answered_meanwhile(replying):
    """It is not the end of the iteration: the next ``next()`` looks again."""
    _, run = replying(output=QUESTION, look=run_json("success"))
    questions = run.interrupts(timeout=0)
    for call in (lambda: run.drive(str, timeout=0), *[lambda: next(questions)] * 2):
        with pytest.raises(acp.RunWaitTimeout, match="run r has no output yet"):
            call()


@using(quick=0.3)
def test_a_question_whose_output_stalls_or_is_refused_is_asked_for_again(replying):
    outputs = (QUESTION, [STALL], response(b"", 404), QUESTION)
    _, run = replying(ASKS, output=outputs)
    assert next(run.interrupts()).type == "ask"


class Asking(Replies):
    """A server whose run asks q0 and q1, and moves on some looks after each answer."""

    def __init__(self, serve: Serve, takes: int, seconds: tuple[int, int, int] = (1, 2, 3)) -> None:
        super().__init__(look=self._look, output=self._output, resume=self._resume)
        self.run = acp.RunHandle("r", serve(self)[1])
        self.takes = takes
        self.seconds = seconds  # when each state was reached, by the server's clock
        self.answers: list[Any] = []
        self._looks_left = 0
        self._state = 0

    def __call__(self, request: Any) -> Any:
        if request.method == "POST":
            self.answers.append(json.loads(request.body))
        return super().__call__(request)

    def _resume(self) -> bytes:
        self._looks_left = self.takes
        return self._run(len(self.answers))

    def _look(self) -> bytes:
        self._looks_left -= 1
        if self._looks_left < 0:
            self._state = len(self.answers)
        return self._run(self._state)

    def _output(self) -> bytes:
        asked = {"interrupt_type": "quiz", "words": f"q{self._state}"}
        return SUCCESS if self._state == 2 else output_json("interrupt", interrupt=asked)

    def _run(self, state: int) -> bytes:
        status = "success" if state == 2 else "interrupted"
        return run_json(status, updated=f"{self.seconds[state]:02}.25")


LIMITED = response(b'"slow down"', 429)
BOTH = [{"to": "q0"}, {"to": "q1"}]


@pytest.mark.parametrize(
    "seconds",
    [(1, 2, 3), (1, 1, 1), (5, 1, 2)],
    ids=["", "a clock that stands still", "a clock that is set back"],
)
@pytest.mark.parametrize("takes", [0, 2])
def test_a_question_that_was_answered_is_not_asked_again(serve, clock, takes, seconds):
    """Its server takes a moment to move on; any other question is asked at once."""
    asking = Asking(serve, takes, seconds)
    told = asking.run.drive(lambda asked: {"to": asked.payload["words"]}, timeout=30)
    assert told == {"ok": 1}
    assert asking.answers == BOTH
    assert clock.pauses == pytest.approx([0.25] * len(clock.pauses)) and len(clock.pauses) <= 6


@pytest.mark.parametrize("pickled", [False, True])
@using(probe=50)
def test_an_answer_without_effect_is_an_error_and_can_be_given_again(serve, pickled, clock):
    asking = Asking(serve, 10_000)
    run = asking.run
    next(run.interrupts()).answer({"to": "q0"})
    if pickled:
        run = pickle.loads(pickle.dumps(run))
    with pytest.raises(acp.RunInterrupted, match="it was answered some minutes ago") as caught:
        run.result()
    assert sum(clock.pauses) == 350  # the first look after more than 300
    caught.value.interrupt.answer({"to": "q0 again"})
    assert asking.answers == [{"to": "q0"}, {"to": "q0 again"}]


def test_a_second_answer_to_an_old_question_does_not_hide_the_last_one(serve):
    """A server that takes a moment to move on may still show the last one."""
    run = Asking(serve, 0).run
    questions = []
    for question in run.interrupts(timeout=30):
        question.answer({})
        questions.append(question)
    last = run._core.answered
    with pytest.raises(acp.StaleInterrupt):
        questions[0].answer({})
    assert run._core.answered is last is not None


def test_an_answer_that_is_always_limited_is_given_up_though_the_run_can_be_read(replying, clock):
    busy = response(b'"busy"', 429)
    replies, run = replying(ASKS, output=QUESTION, resume=(*[busy] * 400, ASKS))
    with pytest.raises(acp.TooManyRequestsException, match=r"after \d+ attempts in (29|30)\d"):
        run.resume({"value": 1})
    # The pauses grow although the run is read before each attempt.
    assert replies.asked.count("resume") < 200
    assert all(pause > 1.9 for pause in clock.pauses[5:])


def test_a_second_answer_before_the_run_moves_on_says_that_it_was_answered(serve):
    asking = Asking(serve, 10)
    run = asking.run
    question = next(run.interrupts())
    question.answer({"to": "q0"})
    words = "was not used: it was answered already, and has not continued yet; see RunHandle"
    for again in (partial(question.answer, {"to": "q0"}), partial(run.resume, {"to": "q0"})):
        with pytest.raises(acp.StaleInterrupt, match=words):
            again()
    assert asking.answers == [{"to": "q0"}]


@using(unchanged=0.3, probe=0.05)
def test_a_question_that_came_after_the_look_is_read_with_the_look_that_shows_it(replying):
    """Otherwise its time is that of before the question, and a lost answer counts as arrived."""
    asks = run_json("interrupted", updated="05.5")
    looks = (run_json(updated="01.5"), asks)
    replies, run = replying(look=looks, output=QUESTION, resume=([CLOSE], run_json(updated="06.5")))
    run.resume({"value": 1}, timeout=30)
    assert replies.asked.count("resume") == 2
    # After a limit, the question is still the same one.
    replies, run = replying(look=looks, output=QUESTION, resume=(LIMITED, run_json(updated="06.5")))
    run.resume({"value": 1}, timeout=30)
    assert replies.asked.count("resume") == 2
