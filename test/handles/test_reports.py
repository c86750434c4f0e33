"""What handles report: misuse, outages, a run that was seen, and the run of a call that ended."""

from __future__ import annotations

import pickle
import re
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from support.parts import Contact, Wait, settled
from support.serving import (
    NOTHING,
    QUESTION,
    SUCCESS,
    Replies,
    a_run,
    as_created,
    run_json,
    runs_json,
)
from support.socket_server import STALL, SocketServer, response, serve_each
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.handles._health import Action, Turns
from acp_client_v0_1.handles._rules import Pause
from acp_client_v0_1.testing import Fault, Quirks

ECHO = "11111111-1111-4111-8111-111111111111"
ASKED = acp.PendingInterrupt("ask", {}, "r", datetime(2026, 1, 1, tzinfo=timezone.utc))


# What a run that is to be cancelled meets, and what is said of it.
CANCELLED: list[tuple[bytes, bytes, str]] = [
    (run_json(), run_json(), "the run was cancelled$"),
    (run_json(), response(b'"no"', 403), "the run could not be cancelled: 403"),
    (run_json("success"), NOTHING, "the run has ended meanwhile$"),
]


@pytest.mark.parametrize(("look", "delete", "words"), CANCELLED)
def test_a_call_that_is_over_says_what_became_of_its_run(serve, look, delete, words):
    _, client = serve(Replies(output=[STALL], look=look, delete=delete))
    with pytest.raises(acp.RunWaitTimeout, match=f"has no output after .* {words}") as caught:
        acp.AgentHandle("a", client).run(timeout=0.8, cancel_on_exit=True)
    assert bool(caught.value.token) is ("was cancelled" not in words)


def test_a_failed_courtesy_hides_nothing(client, server):
    server.faults.add(Fault(path="/agents/search"))  # lets the first through
    server.faults.add(Fault(path="/agents/search", status=422, times=None))
    with pytest.raises(acp.AgentLookupError, match="no agent is called 'nobody'"):
        acp.AgentHandle.find("nobody", client)


def test_events_and_batches_do_not_pickle(counter):
    with counter.map([]) as batch, pytest.raises(TypeError, match="pickle the AgentHandle"):
        pickle.dumps(batch)
    with pytest.raises(TypeError, match="pickle the RunHandle"):
        pickle.dumps(counter.start({"count": 1}).events())


def test_zero_updates_of_a_run_that_has_some_are_not_complete(serve):
    _, client = serve(Quirks(echo="none"))
    counter = acp.AgentHandle.find("counter", client)
    events = counter.start({"count": 0}, streaming="custom").events()
    assert [event.update for event in events if event.update] == []
    assert events.complete is None


def test_questions_that_ask_the_same_are_equal_whoever_answers_them():
    shown = "PendingInterrupt(type='ask', payload={}, run_id='r', updated_at="
    assert repr(ASKED) == f"{shown}{ASKED.updated_at!r})"
    assert ASKED.seen_at == 0 and replace(ASKED, seen_at=5.0, _answer=print) == ASKED


def test_errors_keep_what_they_were_made_of():
    lookup = acp.AgentLookupError(name="n", candidates=["a"], reason="none")
    assert (lookup.name, lookup.candidates) == ("n", ("a",))
    failed = acp.RunFailed(run_id="r", token="t", errcode=7, description="no luck")
    assert str(failed) == "run r ended in error (errcode 7): no luck"
    drift = acp.SearchDrift(offset=5, why="x")
    assert (drift.offset, drift.run_id, drift.token) == (5, None, None)
    gap = acp.StreamGap(
        run_id="r", token="t", kind="cursor-ignored", missing=None, last_event_id="7"
    )
    words = "was broken after event '7': updates may be lost, as the server restarted its event ids"
    for each in (gap, pickle.loads(pickle.dumps(gap))):
        assert str(each).startswith(f"the stream of run r {words}; iterate on")
        assert (each.run_id, each.token, each.last_event_id) == ("r", "t", "7")
        assert (each.kind, each.missing) == ("cursor-ignored", None)
    ambiguous = acp.RunStartAmbiguous(client_token="c", token="t", why="a word " * 100)
    # A search that nobody speaks of has not been made.
    for one in (ambiguous, pickle.loads(pickle.dumps(ambiguous))):
        assert (one.client_token, one.token, one.run_id, one.searched) == ("c", "t", None, False)
    assert 200 < len(str(ambiguous)) <= 240


def test_a_mismatch_names_five_faults_and_counts_the_others():
    for count, more in ((5, ""), (6, " (and 1 more)")):
        faults = [(f"input.m{n}", "no") for n in range(count)]
        shown = "; ".join(f"input.m{n}: no" for n in range(5))
        error = acp.SchemaMismatch("input", faults)
        assert str(error) == f"input does not fit the agent's schema: {shown}{more}"
        assert (error.faults, error.paths) == (tuple(faults), tuple(path for path, _ in faults))


def press() -> Any:
    """Press Ctrl-C, and then respond with nothing."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    return [STALL]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have notes from 3.11 on")
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal to a thread")
@pytest.mark.parametrize(
    "wait",
    [
        lambda agent: agent.run(),
        lambda agent: agent.start().result(),
        lambda agent: list(agent.start().events()),
        lambda agent: agent.start().drive(str, on_event=str),
        lambda agent: list(agent.start().interrupts()),
    ],
)
def test_ctrl_c_names_the_run_once(serve, wait):
    replies = Replies(create=run_json(), output=press, stream=press)
    _, client = serve(replies)
    with pytest.raises(KeyboardInterrupt) as caught:
        wait(acp.AgentHandle("a", client))
    assert "delete" not in replies.asked
    (note,) = caught.value.__notes__  # type: ignore[attr-defined]
    words = "run r is pending: wait for it with RunHandle('r', client) or `acp-client wait r`"
    assert note == words


# Whatever ends a call of a run

UNDECODABLE = response(b"data: {\n\n", content_type="text/event-stream")
CALLS: dict[str, Callable[[acp.RunHandle], object]] = {
    "run": lambda run: acp.AgentHandle("a", run._core.runs.api_client).run(),
    "run and answer": lambda run: acp.AgentHandle("a", run._core.runs.api_client).run(
        on_interrupt=dict
    ),
    "result": acp.RunHandle.result,
    "output": acp.RunHandle.output,
    "refresh": acp.RunHandle.refresh,
    "done": acp.RunHandle.done,
    "failure": acp.RunHandle.failure,
    "descriptor": acp.RunHandle.descriptor,
    "events": lambda run: next(run.events()),
    "interrupts": lambda run: next(run.interrupts()),
    "drive": lambda run: run.drive(dict),
    "drive and follow": lambda run: run.drive(dict, on_event=str),
    "resume": lambda run: run.resume({}),
    "cancel": acp.RunHandle.cancel,
    "delete": acp.RunHandle.delete,
    "wait": lambda run: acp.wait_for_run_output(run._core.runs, "r"),
}


def leads_back(error: acp.ApiException, client: acp.ApiClient) -> None:
    error = pickle.loads(pickle.dumps(error))
    assert error.run_id == "r" and len(str(error)) <= 240
    assert acp.RunHandle.from_token(error.token or "", client).run_id == "r"
    if sys.version_info >= (3, 11):
        (note,) = error.__notes__
        assert "RunHandle('r', client)" in note and "acp-client wait" in note


def test_an_error_of_each_call_leads_back_to_the_run(serve):
    _, client = serve(Replies(response(b'"expired"', 401), create=as_created))
    for name, call in CALLS.items():
        with pytest.raises(acp.UnauthorizedException, match=r"expired; no cred.*") as caught:
            call(acp.AgentHandle("a", client).start())
        leads_back(caught.value, client)
        assert name and str(caught.value).count("/r/") <= 1
    _, refusing = serve(Replies(response(b'"expired"', 401)))
    with pytest.raises(acp.UnauthorizedException) as refused:
        acp.AgentHandle("a", refusing).run()
    assert (refused.value.run_id, refused.value.token) == (None, None)
    assert not hasattr(refused.value, "__notes__")


def test_an_error_of_an_answer_or_an_event_leads_back_to_the_run(serve):
    asks = run_json("interrupted", updated="01.5")
    replies = Replies(asks, output=QUESTION, resume=response(b'"no"', 400), stream=UNDECODABLE)
    _, client = serve(replies)
    question = next(acp.RunHandle("r", client).interrupts())
    for call in (lambda: question.answer({}), lambda: next(acp.RunHandle("r", client).events())):
        with pytest.raises(acp.ApiException) as caught:
            call()
        leads_back(caught.value, client)


def test_an_error_of_a_callback_keeps_the_run_that_it_is_about(serve):
    _, client = serve(Replies(run_json("interrupted"), output=QUESTION))
    run = acp.RunHandle("r", client)

    def fail(error: Exception) -> Any:
        with pytest.raises(type(error)) as caught:
            run.drive(lambda _: (_ for _ in ()).throw(error))
        return caught.value

    leads_back(fail(acp.ApiException(reason="of no run")), client)
    other = fail(acp.RunFailed(run_id="other", token="t", errcode=1, description=""))
    assert (other.run_id, other.token) == ("other", "t") and not hasattr(other, "__notes__")
    if sys.version_info >= (3, 11):
        for error in (ValueError("mine"), acp.ApiTypeError("mine")):
            assert "RunHandle('r', client)" in fail(error).__notes__[0]


def test_an_item_and_a_conversation_lead_back_to_their_run(serve):
    _, client = serve(Replies(response(b'"no"', 400), create=as_created))
    agent = acp.AgentHandle("a", client)
    (item,) = agent.map([{}])
    leads_back(item.outcome, client)
    with pytest.raises(acp.ApiException, match="gave it no thread") as caught:
        agent.conversation().start()
    assert caught.value.run_id == "r" and "RunHandle('r', client)" in str(caught.value)
    assert acp.RunHandle.from_token(caught.value.token or "", client).run_id == "r"


@pytest.mark.parametrize("run_id", ["0a2c41cf-26de-4418-85aa-299f1abd2a8f", "long" * 30])
def test_a_wait_that_is_over_names_the_address_and_the_reason_of_its_last_error(run_id):
    with SocketServer(handler=serve_each(Replies(create=run_json(run_id=run_id)))) as server:
        client = acp.ApiClient(acp.Configuration(host=server.url))
        run = acp.AgentHandle("a", client).start()
    with pytest.raises(acp.RunWaitTimeout) as caught:
        run.result(timeout=0.5)
    error, words = caught.value, str(caught.value)
    assert f"; last error: cannot connect to {server.url}: Connection refused" in words
    assert words.count(run_id[:39]) == 1 and "/runs" not in words and len(words) <= 240
    # The server was not heard since the create.
    assert "continues" not in words and error.last_status == "pending"
    (advice,) = re.findall(r"RunHandle\.from_token\(.*\)$", words)
    assert eval(advice, {"RunHandle": acp.RunHandle, **locals()}).run_id == run_id


def test_a_run_is_said_to_be_pending_only_if_the_server_said_so(serve):
    held = (NOTHING, [STALL])
    for reply, create, last_status in (
        (NOTHING, "pending", "pending"),
        (NOTHING, "", ""),
        (held, "", ""),
        (held, "pending", "pending"),
        (NOTHING, None, "pending"),
        ([STALL], None, None),
    ):
        _, client = serve(Replies(create=run_json(create or ""), output=reply))
        run = acp.RunHandle("r", client) if create is None else acp.AgentHandle("a", client).start()
        with pytest.raises(acp.RunWaitTimeout) as caught:
            run.result(timeout=0.3)
        assert caught.value.last_status == last_status
        # Under load, the second request of `held` is not always sent.
        if reply is not held:
            continues = reply == NOTHING and create == "pending"
            assert ("the run continues" in str(caught.value)) is continues


def test_a_run_that_failed_has_its_failure(server, failing, counter):
    with pytest.raises(acp.RunFailed):
        failing.run({})
    counter.run({"count": 1})
    for path in ("/runs/*", "/runs/*/output"):
        server.faults.add(Fault(path=path, delay=0.1, times=None))
    client = counter.runs.api_client
    runs = {run.agent_id: run for run in acp.iter_runs(acp.RunsApi(client))}
    failed = runs[failing.agent_id]
    began = failed.model_copy(update={"status": acp.RunStatus.PENDING})
    for run in (failed, began):
        assert "ended in error (errcode" in str(acp.RunHandle.of(run, client).failure())
    handle = acp.RunHandle(failed.run_id, client)
    assert isinstance(handle.failure(), acp.RunFailed)
    assert acp.RunHandle.of(runs[counter.agent_id], client).failure() is None
    unread = acp.RunHandle(failed.run_id, client)
    assert unread.descriptor().metadata.ref.name == "failing"


def test_a_failure_whose_output_is_not_there_is_asked_for_once(replying):
    replies, run = replying(run_json("error"), output=NOTHING)
    with pytest.raises(acp.RunWaitTimeout):
        run.failure()
    assert replies.asked == ["look", "output"]


def test_a_conversation_answers_questions_and_has_no_output_of_a_pending_run(serve):
    asks = run_json("interrupted", updated="01.5")
    _, client = serve(Replies(create=run_json(), look=asks, output=(*[QUESTION] * 3, SUCCESS)))
    talk = acp.AgentHandle("a", client).conversation("t")
    assert talk.run(on_interrupt=lambda question: {}, timeout=30) == {"ok": 1}
    history = runs_json(a_run("success"), a_run())
    _, client = serve(Replies(history, output=SUCCESS))
    outputs = [output for _, output in acp.AgentHandle("a", client).conversation("t").history()]
    assert [output is None for output in outputs] == [False, True]
    _, client = serve(Replies(runs_json(a_run("success", run_id=".."))))
    with pytest.raises(acp.ResponseValidationError, match="run_id must"):
        acp.AgentHandle("a", client).conversation("t").history()


def test_a_conversation(client, slow):
    talk = acp.AgentHandle(ECHO, client).conversation()
    with pytest.raises(acp.ApiValueError, match="no thread yet"):
        talk.state()
    assert talk.run({"n": 1}, timeout=30) == {"n": 1}
    second = talk.start({"n": 2})
    later = acp.RunHandle.from_token(second.token(), client)
    assert (later.agent_id, later.thread_id) == (ECHO, talk.thread_id) != (ECHO, None)
    assert second.result(timeout=30) == {"n": 2}
    assert talk.state()["turns"] == 2
    told = [(run.creation.input, output) for run, output in talk.history()]
    assert [said for said, _ in told] == [{"n": 1}, {"n": 2}]
    assert all(output and output.actual_instance.type == "result" for _, output in told)
    assert acp.AgentHandle(ECHO, client).conversation(talk.thread_id).run({"n": 3}) == {"n": 3}
    acp.AgentHandle(ECHO, client).run({"n": 4}, thread_id=talk.thread_id)
    assert talk.state()["turns"] == 4
    with pytest.raises(acp.ApiException, match="gave it no thread"):
        slow.conversation().run({"seconds": 0})


def test_a_call_waits_for_each_output_as_long_as_it_says(serve):
    _, client = serve(Replies(create=as_created, output=(NOTHING, [STALL])))
    agent = acp.AgentHandle("a", client)
    talk = agent.conversation("t")
    calls = ((talk.run, None, 0), (talk.run, str, 0.5), (agent.run, str, 0.5))
    for call, answer, timeout in calls:
        with pytest.raises(acp.RunWaitTimeout):
            call(on_interrupt=answer, timeout=timeout)  # type: ignore[operator]


def test_a_second_thread_in_a_conversation_is_refused(client, counts):
    talk = acp.AgentHandle(ECHO, client).conversation()
    with ThreadPoolExecutor(1) as pool, talk._one_run:
        refused = pool.submit(talk.run, {"n": 1}).exception(30)
    assert isinstance(refused, acp.ApiValueError) and counts.creates == 0
    assert "a conversation has one run at a time" in str(refused)
    assert talk.run({"n": 5}) == {"n": 5}  # once the first has ended


async def later() -> None:
    pass


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda _: True, "what on_interrupt returns must be a JSON object .*, not bool"),
        (lambda _: "{}", "not str; is it JSON text"),
        (lambda _: later(), "not coroutine; this client is synchronous, so the function must"),
    ],
)
def test_an_answer_that_is_no_json_object(approval, answer, words, counts):
    run = approval.start({"text": "x"})
    with pytest.raises(acp.ApiTypeError, match=words):
        run.drive(answer)
    (item,) = approval.map([{"text": "x"}], on_interrupt=answer)
    assert isinstance(item.error, acp.ApiTypeError)
    assert counts.resumes == []


Step = tuple[float, Action, int]  # a time, and a status that fails or 200


def again(*steps: Step) -> list[Step]:
    """The steps, and the same after a while."""
    return [*steps, *((at + 100, operation, status) for at, operation, status in steps)]


BOTH = ["fails", "answers again"] * 2
OUTAGES: dict[str, tuple[list[Step], list[str]]] = {
    "one run that always fails among others does not fill the log": (
        [(at, "output", status) for at in (0.0, 1.0, 2.0, 70.0) for status in (500, 200)],
        BOTH,
    ),
    "only its streams failed": (again((0, "stream", 500), (0, "look", 200)), ["fails"] * 2),
    "only its searches failed": (again((0, "search", 500), (0, "output", 200)), ["fails"] * 2),
    "its streams work again": (again((0, "stream", 500), (0, "stream", 200)), BOTH),
    "its outputs failed": (again((0, "output", 500), (0, "look", 200)), BOTH),
    "the last of the requests in flight succeeds after the first one has failed": (
        [
            *((0.0, "output", 502), (0.0, "output", 200)),
            *((at, "output", 502) for at in (0.1, 1.0, 3.0, 7.0, 11.0)),
        ],
        ["fails", "answers again", "fails"],
    ),
    "limits that last": ([(at, "output", 429) for at in (0.0, 5.0)], []),
    "limits that last long": ([(at, "output", 429) for at in (0.0, 4.9, 5.1, 5.2)], ["fails"]),
}


@pytest.mark.parametrize(("steps", "said"), OUTAGES.values(), ids=OUTAGES)
@using(backoff=(0.0, 0.0))
def test_what_is_logged_of_an_outage(client, clock, caplog, steps, said):
    clock.now = 0.0
    contact = Contact.of(acp.RunsApi(client), Turns.of_batch())
    for at, operation, status in steps:
        clock.now = at
        if status == 200:
            Wait(contact).perform(operation, lambda limit: None)
            assert contact.health.outage is None
        else:
            error = acp.ApiException(status=status, reason="away")
            assert isinstance(Wait(contact).judge(operation, error), Pause)
    ends = "the server answers again, after 1 failures in 0.0 s"
    told = ["answers again" if words == ends else "fails" for words in caplog.messages]
    assert told == said
    assert all("asking again" in words for words in caplog.messages if words != ends)


@using(backoff=(0.0, 0.0))
def test_each_call_in_a_long_outage_says_that_it_waits(client, clock, caplog):
    """The server is away for an hour, and a second call begins after the first has given up."""
    contact = Contact.of(acp.RunsApi(client))
    failure = acp.ApiException(status=502, reason="away")
    for begins in (0.0, 3000.0):
        clock.now = begins
        wait = Wait(contact)
        assert isinstance(wait.judge("output", failure), Pause)
        clock.now = begins + 301
        with pytest.raises(acp.ApiException) as caught:
            settled(wait.judge, "output", failure)
        assert (caught.value.attempts, caught.value.elapsed) == (2, 301)
    assert [each.split(";")[-1].split()[0] for each in caplog.messages] == ["asking", "asking"]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal to a thread")
@pytest.mark.parametrize(
    ("look", "delete", "words"), [*CANCELLED, (press, NOTHING, "run r is pending: wait for it")]
)
def test_ctrl_c_with_cancel_on_exit_says_what_became_of_the_run(serve, caplog, look, delete, words):
    _, client = serve(Replies(create=run_json(), output=press, look=look, delete=delete))
    with pytest.raises(KeyboardInterrupt) as caught:
        acp.AgentHandle("a", client).run(cancel_on_exit=True)
    if sys.version_info >= (3, 11):
        notes = caught.value.__notes__
        waits = any("`acp-client wait r`" in note for note in notes)
        assert waits is ("was cancelled" not in words)
    else:
        # A warning in the log cannot be taken back, so the last one counts.
        notes = caplog.messages
    assert re.search(words, notes[-1])


@pytest.mark.parametrize("status", [200, 422])
def test_an_error_with_cancel_on_exit_says_what_became_of_the_run(serve, caplog, status):
    """If the create was refused, there is no run to speak of, or to search for."""
    asks = run_json("interrupted")
    create = run_json() if status == 200 else response(b'"no"', status)
    replies = Replies(create=create, output=QUESTION, look=asks, delete=asks)
    _, client = serve(replies)
    with pytest.raises(acp.ApiException) as caught:
        acp.AgentHandle("a", client).run(cancel_on_exit=True)
    assert isinstance(caught.value, acp.RunInterrupted) is (status == 200)
    if status == 200:  # there is no token to wait by
        assert (caught.value.run_id, caught.value.token) == ("r", "")
    notes = getattr(caught.value, "__notes__", [])
    notes = notes if sys.version_info >= (3, 11) else [each[-21:] for each in caplog.messages]
    assert notes == (["the run was cancelled"] if status == 200 else [])
    end = ["output", "look", "output", "look", "delete"] if status == 200 else []
    assert replies.asked == ["create", *end]


def test_attempts_and_elapsed_are_of_the_request_unless_time_or_patience_is_over(serve):
    """A 401 after two 503s was sent once, and the errors before it do not count."""
    refused = response(b"{}", status=401)
    _, client = serve(Replies(look=(response(status=503), response(status=503), refused)))
    with pytest.raises(acp.UnauthorizedException) as caught, using(backoff=(0.2, 0.2)):
        core = acp.RunHandle("r", client)._core
        core.named(core.read, core.wait(10.0))
    assert caught.value.attempts == 1 and caught.value.elapsed < 0.1
