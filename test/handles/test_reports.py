"""What handles report: misuse, outages, a run that was seen, and the run of a call that ended."""

from __future__ import annotations

import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from support.serving import Serve
from support.timing import SetTiming

from acp_client_v0_1 import (
    AgentHandle,
    AgentLookupError,
    ApiClient,
    ApiException,
    ApiTypeError,
    ApiValueError,
    InterruptLimit,
    JournalDamaged,
    JournalMismatch,
    PendingInterrupt,
    RunFailed,
    RunHandle,
    RunInterrupted,
    RunsApi,
    RunStartAmbiguous,
    RunStatus,
    RunTimedOut,
    RunWaitTimeout,
    SchemaMismatch,
    SearchDrift,
    StreamGap,
    iter_runs,
)
from acp_client_v0_1.handles._perform import Contact, Pace, Wait
from acp_client_v0_1.handles._rules import Operation
from acp_client_v0_1.testing import Fault, LocalServer, Quirks

ECHO = "11111111-1111-4111-8111-111111111111"
ASKED = PendingInterrupt("ask", {}, "r", datetime(2026, 1, 1, tzinfo=timezone.utc))


@pytest.mark.slow
def test_a_call_that_is_cancelled_says_so(slow: AgentHandle, server: LocalServer) -> None:
    with pytest.raises(RunWaitTimeout, match=r"has no output after .* the run was cancelled$") as e:
        slow.run({"seconds": 30}, timeout=1, cancel_on_exit=True)
    assert not e.value.token and not server.runs


@pytest.mark.slow
def test_a_call_that_cannot_be_cancelled_says_why(slow: AgentHandle, server: LocalServer) -> None:
    server.faults.add(Fault(method="DELETE", path="/runs/*", status=403, times=None))
    with pytest.raises(RunWaitTimeout, match=r"the run could not be cancelled: DELETE .*403") as e:
        slow.run({"seconds": 30}, timeout=1, cancel_on_exit=True)
    assert RunHandle.from_token(e.value.token, slow.runs.api_client).run_id == e.value.run_id


@pytest.mark.slow
def test_a_run_that_ended_before_it_could_be_cancelled_keeps_its_token(
    counter: AgentHandle, server: LocalServer
) -> None:
    server.faults.add(Fault(path="/runs/*/output", cut="stall", times=1))
    with pytest.raises(RunWaitTimeout, match=r"; the run has ended meanwhile$") as e:
        counter.run({"count": 1}, timeout=1, cancel_on_exit=True)
    run = RunHandle.from_token(e.value.token, counter.runs.api_client)
    assert run.result(timeout=30) == {"count": 1, "of": 1}


def test_an_outcome_that_was_seen_counts(counter: AgentHandle) -> None:
    run = counter.start({"count": 1})
    assert (run.status, counter.name, counter.version.count(".")) == ("pending", "counter", 2)
    run.result(timeout=30)
    assert run.status == RunStatus.SUCCESS
    assert run.run is not None and run.run.status == RunStatus.SUCCESS
    assert repr(run).endswith("success>")


def test_a_failed_courtesy_hides_nothing(client: ApiClient, server: LocalServer) -> None:
    server.faults.add(Fault(path="/agents/search"))  # lets the first through
    server.faults.add(Fault(path="/agents/search", status=422, times=None))
    with pytest.raises(AgentLookupError, match="no agent is called 'nobody'"):
        AgentHandle.find("nobody", client)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ecko", "did you mean 'echo'"),
        ("slo", r"did you mean 'slow'\? The server has slow 1\.0\.0 "),  # which comes last
        (ECHO, r"for an id, use AgentHandle\(agent_id\), or AgentHandle.get"),
        (f"9{ECHO[1:]}", r"for an id, use AgentHandle\(agent_id\), or AgentHandle.get"),
    ],
)
def test_a_lookup_names_the_other_way(client: ApiClient, name: str, words: str) -> None:
    with pytest.raises(AgentLookupError, match=words):
        AgentHandle.find(name, client)


def test_events_and_batches_do_not_pickle(counter: AgentHandle) -> None:
    with counter.map([]) as batch, pytest.raises(TypeError, match="pickle the AgentHandle"):
        pickle.dumps(batch)
    events = counter.start({"count": 1}).events()
    with pytest.raises(TypeError, match="pickle the RunHandle"):
        pickle.dumps(events)


def test_zero_updates_of_a_run_that_has_some_are_not_complete(serve: Serve) -> None:
    _, client = serve(Quirks(echo="none"))
    counter = AgentHandle.find("counter", client)
    events = counter.start({"count": 0}, streaming="custom").events()
    assert [event.update for event in events if event.update] == []
    assert events.complete is None


def test_a_stream_that_the_agent_does_not_have_is_a_warning(slow: AgentHandle) -> None:
    slow.descriptor()
    for call in (slow.start, slow.run):
        with pytest.warns(
            UserWarning, match=r"capabilities\.streaming\.custom is not true"
        ) as seen:
            call({"seconds": 0}, streaming="custom")
        assert seen[0].filename == __file__


ATTRIBUTES: list[tuple[type[ApiException], dict[str, Any], str]] = [
    (
        RunFailed,
        {"errcode": 7, "description": "no luck"},
        "run r ended in error (errcode 7): no luck",
    ),
    (RunTimedOut, {"errcode": 7, "description": "x"}, "run r ended in timeout (errcode 7): x"),
    (RunInterrupted, {"interrupt": ASKED}, "run r is interrupted by 'ask': answer it by error."),
    (InterruptLimit, {"limit": 3}, "run r asks again after 3 answers; continue by RunHandle.drive"),
    (
        StreamGap,
        {"kind": "lost", "missing": 2, "last_event_id": "7"},
        "the stream of run r was broken after event '7': 2 updates are lost; iterate on",
    ),
    (
        StreamGap,
        {"kind": "cursor-ignored", "missing": None, "last_event_id": "7"},
        "the stream of run r was broken after event '7': updates may be lost, as the server rest",
    ),
]


@pytest.mark.parametrize(("kind", "attributes", "words"), ATTRIBUTES)
def test_an_error_of_a_run_keeps_what_it_was_made_of(
    kind: type[ApiException], attributes: dict[str, Any], words: str
) -> None:
    error = kind(run_id="r", token="t", **attributes)
    assert str(error).startswith(words)
    attributes = {"run_id": "r", "token": "t", **attributes}
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert {name: getattr(each, name) for name in attributes} == attributes


def test_a_question_is_what_it_asks_whoever_may_answer_it() -> None:
    shown = "PendingInterrupt(type='ask', payload={}, run_id='r', updated_at="
    assert repr(ASKED) == f"{shown}{ASKED.updated_at!r})"
    assert ASKED.seen_at == 0 and replace(ASKED, seen_at=5.0, _answer=interrupt) == ASKED


def test_other_errors_keep_what_they_were_made_of() -> None:
    lookup = AgentLookupError(name="n", candidates=["a"], reason="none")
    assert (lookup.name, lookup.candidates) == ("n", ("a",))
    assert (JournalDamaged("x", line=3).line, JournalMismatch("x", index=4).index) == (3, 4)
    drift = SearchDrift(offset=5, why="x")
    assert (drift.offset, drift.run_id, drift.token) == (5, "", "")
    ambiguous = RunStartAmbiguous(client_token="c", token="t", why="a word " * 100)
    # A search that nobody speaks of has not been made.
    assert (ambiguous.client_token, ambiguous.token, ambiguous.searched) == ("c", "t", False)
    assert 200 < len(str(ambiguous)) <= 240


def test_a_mismatch_names_five_faults_and_counts_the_others() -> None:
    for count, more in ((5, ""), (6, " (and 1 more)")):
        faults = [(f"input.m{n}", "no") for n in range(count)]
        shown = "; ".join(f"input.m{n}: no" for n in range(5))
        error = SchemaMismatch("input", faults)
        assert str(error) == f"input does not fit the agent's schema: {shown}{more}"
        assert (error.faults, error.paths) == (tuple(faults), tuple(path for path, _ in faults))


async def later() -> None:
    pass


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have notes from 3.11 on")
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal to a thread")
@pytest.mark.parametrize(
    "wait",
    [
        lambda agent: agent.run({"seconds": 30}),
        lambda agent: agent.start({"seconds": 30}).result(),
        lambda agent: list(agent.start({"seconds": 30}).events()),
        lambda agent: agent.start({"seconds": 30}).drive(interrupt, on_event=str),
        lambda agent: list(agent.start({"seconds": 30}).interrupts()),
    ],
)
def test_ctrl_c_names_the_run_once(
    slow: AgentHandle, server: LocalServer, wait: Callable[[AgentHandle], object]
) -> None:
    def press() -> None:
        while not any(request.method == "GET" for request in server.requests):
            time.sleep(0.02)  # until it waits for the run
        time.sleep(0.3)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        wait(slow)
    pressing.join()
    (run,) = server.runs
    (note,) = caught.value.__notes__  # type: ignore[attr-defined]
    assert f"acp-client wait {run['run_id']}" in note


def test_failed_runs_are_three_lines(failing: AgentHandle, counter: AgentHandle) -> None:
    with pytest.raises(ApiException):
        failing.run({})
    counter.run({"count": 1})
    runs = RunsApi(counter.runs.api_client)
    failures = [RunHandle.of(run, runs.api_client).failure() for run in iter_runs(runs)]
    assert sorted(type(failure).__name__ for failure in failures) == ["NoneType", "RunFailed"]


@pytest.mark.slow
def test_progress_ticks_during_one_long_poll(slow: AgentHandle, server: LocalServer) -> None:
    run = slow.start({"seconds": 2.1})
    ticks: list[float] = []
    run.result(timeout=60, on_pending=lambda elapsed, _: ticks.append(elapsed), every=0.6)
    polls = [each for each in server.requests if each.path.endswith("/output")]
    assert (len(ticks), len(polls)) == (3, 1)


def test_a_conversation(client: ApiClient, slow: AgentHandle) -> None:
    talk = AgentHandle(ECHO, client).conversation()
    with pytest.raises(ApiValueError, match="no thread yet"):
        talk.state()
    assert talk.run({"n": 1}, timeout=30) == {"n": 1}
    second = talk.start({"n": 2})
    later = RunHandle.from_token(second.token(), client)
    assert (later.agent_id, later.thread_id) == (ECHO, talk.thread_id) != (ECHO, None)
    assert second.result(timeout=30) == {"n": 2}
    assert talk.state()["turns"] == 2
    told = [(run.creation.input, output) for run, output in talk.history()]
    assert [said for said, _ in told] == [{"n": 1}, {"n": 2}]
    assert all(output and output.actual_instance.type == "result" for _, output in told)
    assert AgentHandle(ECHO, client).conversation(talk.thread_id).run({"n": 3}) == {"n": 3}
    with pytest.raises(ApiException, match="gave it no thread"):
        slow.conversation().run({"seconds": 0})


@pytest.mark.slow
def test_four_threads_on_a_new_conversation_make_one_run(
    server: LocalServer, client: ApiClient, counts: Any
) -> None:
    server.faults.add(Fault(method="POST", path="/runs", delay=1))
    talk = AgentHandle(ECHO, client).conversation()
    ready = threading.Barrier(4)

    def say(number: int) -> Any:
        ready.wait(10)
        return talk.run({"n": number}, timeout=30)

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda n: outcome_of(say, n), range(4)))
    refused = [each for each in said if isinstance(each, ApiValueError)]
    assert len(refused) == 3 and counts.creates == 1
    assert all("a conversation has one run at a time" in str(error) for error in refused)
    assert talk.run({"n": 5}) == {"n": 5}  # once the first has ended


def outcome_of(work: Callable[[int], Any], number: int) -> Any:
    try:
        return work(number)
    except ApiValueError as error:
        return error


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda _: True, "what on_interrupt returns must be a JSON object .*, not bool"),
        (lambda _: "{}", "not str: is it JSON text"),
        (lambda _: later(), "not coroutine: this client is synchronous, so the function must"),
    ],
)
def test_an_answer_that_is_no_json_object(
    approval: AgentHandle, answer: Any, words: str, counts: Any
) -> None:
    run = approval.start({"text": "x"})
    with pytest.raises(ApiTypeError, match=words):
        run.drive(answer)
    (item,) = approval.map([{"text": "x"}], on_interrupt=answer)
    assert isinstance(item.error, ApiTypeError)
    assert counts.resumes == []


class Outages:
    """Requests that fail or succeed at given times, by a clock of its own."""

    def __init__(self, client: ApiClient, set_timing: SetTiming) -> None:
        self.now = 0.0
        set_timing(now=lambda: self.now, backoff=(0.0, 0.0))
        self.contact = Contact.of(RunsApi(client), Pace())

    def fail(self, at: float, status: int = 500, what: Operation = "output") -> None:
        self.now = at
        wait = Wait(self.contact)
        assert wait.handle_failure(what, ApiException(status=status, reason="away"))

    def succeed(self, at: float, what: Operation = "output") -> None:
        self.now = at
        Wait(self.contact).perform(what, lambda limit: None)


def test_one_run_that_always_fails_among_others_does_not_fill_the_log(
    client: ApiClient, set_timing: SetTiming, caplog: pytest.LogCaptureFixture
) -> None:
    outages = Outages(client, set_timing)
    for now in (0.0, 1.0, 2.0, 70.0):
        outages.fail(now)
        outages.succeed(now)
    begins = [each for each in caplog.messages if "asking again" in each]
    ends = [each for each in caplog.messages if "answers again" in each]
    assert (len(begins), len(ends)) == (2, 2)
    assert all("after 1 failures in 0.0 s" in each for each in ends)


@pytest.mark.parametrize(
    ("failed", "served", "said"),
    [
        ("stream", "look", False),
        ("search", "output", False),
        ("stream", "stream", True),
        ("output", "look", True),
    ],
)
def test_a_server_answers_again_unless_only_its_streams_or_searches_failed(
    client: ApiClient,
    set_timing: SetTiming,
    caplog: pytest.LogCaptureFixture,
    failed: Operation,
    served: Operation,
    said: bool,
) -> None:
    outages, server = Outages(client, set_timing), client.rest_client.server
    for at in (0.0, 100.0):
        caplog.clear()
        outages.fail(at, what=failed)
        outages.succeed(at, served)
        assert ("after 1 failures in 0.0 s" in caplog.text) is said
        assert (server.since, server.failures, server.warned) == (None, 0, False)
        assert server.operations == frozenset()


def test_each_call_in_a_long_outage_says_that_it_waits(
    client: ApiClient, set_timing: SetTiming, caplog: pytest.LogCaptureFixture
) -> None:
    """The server is away for an hour, and a second call begins after the first has given up."""
    clock = [0.0]
    set_timing(now=lambda: clock[0], backoff=(0.0, 0.0))
    contact = Contact.of(RunsApi(client))
    failure = ApiException(status=502, reason="away")
    for begins in (0.0, 3000.0):
        clock[0] = begins
        wait = Wait(contact)
        assert wait.handle_failure("output", failure)
        clock[0] = begins + 301
        with pytest.raises(ApiException) as caught:
            wait.handle_failure("output", failure)
        assert (caught.value.attempts, caught.value.elapsed) == (2, 301)
    assert [each.split(";")[-1].split()[0] for each in caplog.messages] == ["asking", "asking"]


def test_an_outage_that_one_last_response_interrupts_is_said(
    client: ApiClient, set_timing: SetTiming, caplog: pytest.LogCaptureFixture
) -> None:
    """The last of the requests in flight may succeed after the first one has failed."""
    outages = Outages(client, set_timing)
    outages.fail(0.0, 502)
    outages.succeed(0.0)
    for now in (0.1, 1.0, 3.0, 7.0, 11.0):
        outages.fail(now, 502)
    assert [words.partition(" ")[0] for words in caplog.messages] == ["output:", "the", "output:"]


@pytest.mark.parametrize("wait", [RunHandle.result, RunHandle.output])
def test_every_is_checked_whoever_is_called(client: ApiClient, wait: Callable[..., Any]) -> None:
    with pytest.raises(ApiValueError, match=r"every must be at least 0\.001 seconds"):
        wait(RunHandle("r", client), every=0)
