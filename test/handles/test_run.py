"""A run to hold: waiting, looking, ending, pickling, over whatever a server does."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import math
import pickle
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from support.parts import Contact, Decided, Wait, undecided
from support.serving import (
    NOTHING,
    QUESTION,
    SUCCESS,
    Replies,
    a_contact,
    a_run,
    output_json,
    run_json,
    runs_json,
)
from support.socket_server import CLOSE, STALL, Connection, response
from support.timing import using
from support.transport import eventually, free_port
from urllib3.util import Retry

import acp_client_v0_1 as acp
from acp_client_v0_1.handles._core import RunCore
from acp_client_v0_1.handles._rules import BESIDE
from acp_client_v0_1.handles._token import RunToken, server_of
from acp_client_v0_1.testing import Fault

NOT_FOUND = response(b'{"detail":"Not Found"}', status=404)
GONE = r"is gone: the server at http://\S+ does not know it .*start a new run"


def test_attaching_does_no_io(server, counter, runs):
    run = acp.RunHandle("run-1", runs.api_client)
    known = (run.agent_id, run.thread_id, run.client_token, run.run, run.status)
    assert run.run_id == "run-1" and known == (None,) * 5
    assert repr(run) == "<RunHandle run-1: not read yet>"
    assert server.requests == ()
    read = runs.get_run(counter.start({"count": 1}).run_id)
    server.clear_requests()
    handle = acp.RunHandle.of(read, runs.api_client)
    assert (handle.run, handle.agent_id) == (read, counter.agent_id)
    assert server.requests == ()


def test_an_outcome_that_was_seen_counts_and_a_run_names_its_agent_if_the_name_is_known(counter):
    assert repr(counter) == f"<AgentHandle {counter.agent_id}>"
    run = counter.start({"count": 1})
    assert (run.status, counter.name, counter.version.count(".")) == ("pending", "counter", 2)
    assert run.result(timeout=30) == {"count": 1, "of": 1}
    assert run.run is not None and run.run.status is run.status is acp.RunStatus.SUCCESS
    assert repr(run) == f"<RunHandle {run.run_id} of agent {counter.agent_id}: success>"
    assert run.refresh().status is acp.RunStatus.SUCCESS and run.agent_id == counter.agent_id
    assert isinstance(run.output(timeout=0).actual_instance, acp.RunResult)
    assert repr(counter) == f"<AgentHandle counter {counter.agent_id}>"
    run = counter.start({"count": 1}, client_token="mark")
    assert repr(run) == f"<RunHandle {run.run_id} of agent counter: pending>"
    again = pickle.loads(pickle.dumps(run))
    assert (repr(again), again.client_token) == (repr(run), "mark")
    assert again.result(timeout=30) == {"count": 1, "of": 1}
    assert pickle.loads(pickle.dumps(counter)).run({"count": 1}, timeout=30)["count"] == 1


def test_a_run_is_done_once_it_has_ended(serve):
    for status in ("pending", "interrupted", "success", "error", "timeout"):
        server, client = serve(run_json(status))
        assert acp.RunHandle("r", client).done() is (status in ("success", "error", "timeout"))
        assert len(server.requests) == 1


@using(quick=0.5)
def test_a_timeout_of_zero_looks_once(serve):
    # At last, the server holds each poll.
    replies = Replies(output=(NOTHING, response(b"", 503), [STALL]))
    server, client = serve(replies, retries=0, block_margin=0.1)
    run = acp.AgentHandle("a", client).start()
    with pytest.raises(acp.RunWaitTimeout, match="has no output yet; the run continues"):
        run.result(timeout=0)
    assert server.requests[-1].path == "/runs/r/output?block_timeout=0"
    with pytest.raises(acp.ServiceException):
        run.result(timeout=0)
    # The server was not heard since.
    with pytest.raises(acp.RunWaitTimeout, match=r"yet; last error: no response within .* s; wait"):
        run.result(timeout=0)
    assert replies.asked == ["create", "output", "output", "output"]


@using(quick=0.6, change=0.6)
def test_a_quick_request_is_bounded(replying):
    """By 10 s, and a change by 60 s, which a test cannot wait for: then it is sent again."""
    held_once = ([STALL], run_json())
    replies, run = replying(look=held_once, delete=held_once)
    assert run.cancel() and replies.asked.count("delete") == 2
    looks = (run_json(), [STALL], run_json("success"))
    _, run = replying(output=(NOT_FOUND, SUCCESS), look=looks)
    assert run.result() == {"ok": 1}


@using(quick=0.2)
def test_a_change_or_a_refresh_may_take_longer_than_a_quick_request(replying):
    slow = [0.3, run_json("interrupted", updated="01.5")]
    replies, run = replying(create=slow, look=slow, resume=slow, delete=slow)
    acp.AgentHandle("a", run._core.runs.api_client).start()
    run.refresh()
    with using(quick=60):
        replies.replies.update(look=slow[1], output=QUESTION)
        question = next(run.interrupts())
    with using(quick=0.2):
        question.answer({})
    run.delete()
    counts = [replies.asked.count(each) for each in ("create", "search", "resume", "delete")]
    assert counts == [1, 0, 1, 1]


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_below_zero(client, timeout):
    run = acp.RunHandle("r", client)
    conversation = acp.AgentHandle("a", client).conversation("t")
    calls = [partial(call, name, client) for name in TIMED]
    for begin in (*calls, lambda most: acp.RunHandle.from_token(run.token(), client, timeout=most)):
        with pytest.raises(acp.ApiValueError, match=r"timeout must be (at least|above) 0 seconds"):
            begin(timeout)
    for wait, wrong in ((run.result, "60"), (conversation.run, "")):
        with pytest.raises(acp.ApiTypeError, match="timeout must be a number of seconds"):
            wait(timeout=wrong)  # type: ignore[operator]
    for wait in (run.result, run.output):
        with pytest.raises(acp.ApiValueError, match=r"every must be at least 0\.001 seconds"):
            wait(every=timeout)


@using(tick=60)
def test_progress_and_stop_during_one_long_poll(server, slow):
    run = slow.start({"seconds": 30})
    seen: list[acp.RunStatus] = []
    stop = threading.Event()

    def progress(elapsed: float, status: acp.RunStatus) -> None:
        seen.append(status)
        if len(seen) == 3:
            stop.set()

    with pytest.raises(acp.RunWaitTimeout, match=r"was stopped after \d\.\d s; wait again"):
        run.result(on_pending=progress, every=0.2, stop=stop)
    assert seen == [acp.RunStatus.PENDING] * 3
    assert [request.method for request in server.requests] == ["POST", "GET"]


@using(backoff=(0.05, 0.05), early=(0.05, 0.05))
def test_a_stopped_wait_names_no_failure_that_is_over(replying):
    stop = threading.Event()

    def held() -> Any:
        threading.Timer(0.2, stop.set).start()
        return [STALL]

    replies, run = replying(output=(response(b"", 500), NOTHING, held))
    with pytest.raises(acp.RunWaitTimeout, match="was stopped") as caught:
        run.output(stop=stop)
    assert caught.value.__cause__ is None and replies.asked == ["output"] * 3


def test_a_stand_in_for_a_client_needs_only_its_call():
    class StandIn:
        def call(self, operation: Any, arguments: Any, options: Any) -> Any:
            return acp.Run.from_dict(a_run("success"))

    run = acp.RunHandle("r", StandIn())  # type: ignore[arg-type]
    assert run.refresh().status == "success"
    contact = Contact.of(run._core.runs)
    assert (contact.rest.reached, contact.retries, contact.turns) == (True, 0, None)


def test_a_server_may_write_an_id_with_other_dashes_and_letters_or_none(serve):
    for named in ("", "00000000-0000-0000-0000-000000000000", "R1"):
        _, client = serve(output_json(run_id=named))
        assert acp.RunHandle("r1", client).result(timeout=5) == {"ok": 1}
    identifier = "0123ABCDEF6789abcdef0123456789ab"
    _, client = serve(run_json("success", run_id=str(UUID(identifier))))
    assert acp.RunHandle(identifier, client).done()


def test_an_output_or_a_record_of_another_run_is_refused_and_kept(serve):
    for named in ("r2", "0"):
        output = {"type": "error", "run_id": named, "errcode": 1, "description": "no"}
        server, client = serve(response(json.dumps(output).encode()))
        words = f"run r1 the output of run {named}"
        with pytest.raises(acp.ResponseValidationError, match=words) as caught:
            acp.RunHandle("r1", client).result(timeout=5)
        assert json.loads(caught.value.body or "") == output
        assert len(server.requests) == 1
    for call in (acp.RunHandle.refresh, acp.RunHandle.done, acp.RunHandle.cancel):
        server, client = serve(run_json("success"))
        run = acp.RunHandle("r1", client)
        with pytest.raises(acp.ResponseValidationError, match="run r1 the record of run r:"):
            call(run)
        assert run.status is None and len(server.requests) == 1


def test_a_run_whose_id_a_server_has_used_again_is_neither_believed_nor_deleted(replying):
    """A server that counts its runs from 1 has restarted."""
    other = {"agent_id": "a", "metadata": {"acp-client-token": "another"}}
    replies, run = replying(look=run_json(creation=other))
    server = server_of(run._core.runs.api_client)
    token = RunToken(server, "r", client_token="t").encode()
    handle = acp.RunHandle.from_token(token, run._core.runs.api_client)
    for call in (handle.cancel, handle.refresh):
        with pytest.raises(acp.RunGone, match="has forgotten it, and given its id to another run"):
            call()
    assert replies.asked == ["look", "look"] and run.refresh().run_id == "r"


def test_a_history_has_no_runs_of_another_thread(serve):
    threads: list[dict[str, Any]] = [
        {"thread_id": "t2"},
        {"thread_id": "T1"},
        # A server may name threads of its own, or none.
        {"thread_id": "own", "creation": {"agent_id": "a", "thread_id": "t1"}},
        {},
        {"creation": {"agent_id": "a", "thread_id": "t2"}},
        {"thread_id": str(UUID(int=7))},
    ]
    runs = [a_run(run_id=f"r{n}", **fields) for n, fields in enumerate(threads)]
    server, client = serve(runs_json(*runs))
    history = acp.AgentHandle("a", client).conversation("t1").history()
    assert [run.run_id for run, _ in history] == ["r1", "r2", "r3", "r5"]
    assert len(server.requests) == 1


def test_a_change_counts_although_its_response_names_another_run(replying):
    other = run_json("success", run_id="r2")
    looks = run_json("interrupted"), run_json()
    _, run = replying(look=looks, output=QUESTION, resume=other, delete=other)
    run.resume({"value": 1})
    assert run.run is not None and run.run.run_id == "r"
    assert run.cancel()


@using(least_left=0.1, backoff=(0.02, 0.02))
def test_lost_then_refused_is_an_outage(serve):
    """Somebody was there, so it is no wrong address."""

    def go_away(connection: Connection) -> None:
        threading.Thread(target=connection.server.stop).start()

    _, client = serve([go_away, STALL], retries=0)
    with pytest.raises(acp.RunWaitTimeout, match="cannot connect"):
        acp.RunHandle("r", client).result(timeout=1)


def test_the_deadline_holds_while_a_failed_run_has_no_status(serve):
    failed = output_json("error", errcode=1, description="no luck")
    _, client = serve(Replies([STALL], output=failed))
    run, began = acp.RunHandle("r", client), time.monotonic()
    with pytest.raises(acp.RunFailed, match=r"ended in error or timeout \(errcode 1\): no luck"):
        run.result(timeout=0.7)
    assert time.monotonic() - began < 0.7 + 4
    assert run.status is acp.RunStatus.ERROR


@pytest.mark.parametrize("first", [acp.RunHandle.cancel, acp.RunHandle.delete])
def test_what_was_deleted_is_gone_and_may_be_deleted_again(slow, server, first):
    run = slow.start({"seconds": 60})
    first(run)
    server.clear_requests()
    for call in (run.cancel, run.result):
        with pytest.raises(acp.RunGone):
            call()
    run.delete()
    # No 404 is taken for one of a read replica that does not have the run yet.
    assert [request.method for request in server.requests] == ["GET", "GET", "GET", "DELETE", "GET"]


def test_nothing_is_owned_at_rest(server, counter, monkeypatch):
    """No thread, and no connection but those that the client keeps for the next call."""
    start = threading.Thread.start
    started_by: list[str] = []

    def noted(thread: threading.Thread) -> None:
        started_by.extend(frame.filename for frame in traceback.extract_stack())
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    handles = [counter.start({"count": 1}, streaming="custom") for _ in range(5)]
    followed = [list(handle.events()) for handle in handles]
    assert [len(events) for events in followed] == [1] * 5
    assert handles[0].result(timeout=30) == {"count": 1, "of": 1}
    assert started_by  # by the server's engine
    assert not [name for name in started_by if "acp_client_v0_1/handles/" in name]
    counter.runs.api_client.close()
    assert eventually(lambda: server.connections_open == 0)


def test_fifty_threads_wait_for_one_run_at_once(server, slow):
    """With the default configuration, whose pool is smaller than that."""
    run = slow.start({"seconds": 1})
    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(run.result, [60] * 50))
    assert results == [{"slept": 1}] * 50
    # One poll each at most, none of which was refused a connection.
    assert sum(request.path.endswith("/output") for request in server.requests) <= 50


LOST: Any = [CLOSE]
LOST_ONCE: Any = (LOST, run_json())
SUCCEEDED, ASKING = run_json("success"), run_json("interrupted")
GOES: Any = (run_json(), NOT_FOUND)
ENDS: Any = (run_json(), SUCCEEDED)
ENDINGS: dict[str, tuple[str, dict[str, Any], bool | None, str]] = {
    "it is pending": ("cancel", {}, True, "look delete"),
    "it asks": ("cancel", {"look": ASKING, "delete": ASKING}, True, "look delete"),
    "it has ended": ("cancel", {"look": SUCCEEDED}, False, "look"),
    "it ends meanwhile": ("cancel", {"delete": SUCCEEDED}, False, "look delete"),
    "no content": ("cancel", {"delete": NOTHING, "look": GOES}, True, "look delete look"),
    "the DELETE arrived": ("cancel", {"delete": LOST, "look": GOES}, True, "look delete look"),
    "the DELETE was lost": ("cancel", {"delete": LOST_ONCE}, True, "look delete look delete"),
    "lost, and it ends": ("cancel", {"delete": LOST, "look": ENDS}, False, "look delete look"),
    "a delete arrived": ("delete", {"delete": LOST, "look": NOT_FOUND}, None, "delete look"),
}


@pytest.mark.parametrize(("name", "replies", "cancelled", "asked"), ENDINGS.values(), ids=ENDINGS)
def test_a_run_is_deleted_unless_it_has_ended(replying, name, replies, cancelled, asked):
    server, run = replying(**replies)
    assert getattr(run, name)() is cancelled
    assert server.asked == asked.split()


def test_a_delete_that_nobody_can_tell_about_is_no_success(replying):
    """Two DELETEs are lost, and the look after them does not say that the run is gone."""

    def look(last: bytes) -> bytes:
        return run_json() if replies.asked.count("delete") < 2 else last

    for call, last in itertools.product(
        (acp.RunHandle.delete, acp.RunHandle.cancel), (run_json(), response(b'"no"', 400))
    ):
        replies, run = replying(delete=LOST, look=partial(look, last))
        with pytest.raises(acp.ApiException):
            call(run)
        assert replies.asked.count("delete") == 2


CALLS: dict[str, Callable[[acp.AgentHandle, acp.RunHandle, float | None], object]] = {
    "start": lambda agent, run, most: agent.start(timeout=most),
    "start again": lambda agent, run, most: agent.start(client_token="t", reuse=True, timeout=most),
    "start, check": lambda agent, run, most: agent.start({}, check=True, timeout=most),
    "run": lambda agent, run, most: agent.run(timeout=most),
    "run, answered": lambda agent, run, most: agent.run(on_interrupt=str, timeout=most),
    "run, cancelled": lambda agent, run, most: agent.run(cancel_on_exit=True, timeout=most),
    "run, talk": lambda agent, run, most: agent.conversation("t").run(timeout=most),
    "output": lambda agent, run, most: run.output(timeout=most),
    "result": lambda agent, run, most: run.result(timeout=most),
    "drive": lambda agent, run, most: run.drive(str, timeout=most),
    "drive, events": lambda agent, run, most: run.drive(str, on_event=str, timeout=most),
    "events": lambda agent, run, most: list(run.events(timeout=most)),
    "interrupts": lambda agent, run, most: next(run.interrupts(timeout=most)),
    "resume": lambda agent, run, most: run.resume({}, timeout=most),
    "find": lambda agent, run, most: acp.AgentHandle.find("a", agent.runs.api_client),
    "refresh": lambda agent, run, most: run.refresh(),
    "result, one look": lambda agent, run, most: run.result(timeout=0),
    "cancel": lambda agent, run, most: run.cancel(),
    "delete": lambda agent, run, most: run.delete(),
}
UNTIMED = ("find", "refresh", "result, one look", "cancel", "delete")
TIMED = tuple(name for name in CALLS if name not in UNTIMED)
OF_A_RUN = ("output", "result", "result, one look", "drive", "events", "delete")


def call(name: str, client: acp.ApiClient, timeout: float | None = None) -> object:
    return CALLS[name](acp.AgentHandle("a", client), acp.RunHandle("r", client), timeout)


@pytest.mark.parametrize("name", [*OF_A_RUN, "resume"])
def test_a_server_that_has_the_run_and_not_the_path_is_named(serve, name):
    """A server of another version; nothing is gone, and nothing was deleted."""
    asks = {"look": run_json("interrupted", updated="01.5"), "output": QUESTION}
    has = asks if name == "resume" else {"look": run_json("success")}
    server, client = serve(Replies(NOT_FOUND, **has), base="/base")
    with pytest.raises(acp.NotFoundException, match=r"does it speak ACP 0\.1") as caught:
        call(name, client)
    assert f"{server.url}/base" in str(caught.value)  # where the base path is seen
    assert "/base/runs/r" in str(caught.value)
    assert len(server.requests) <= 5


@pytest.mark.parametrize("detail", ["Not Found", "no run r"])
@pytest.mark.parametrize("name", [*OF_A_RUN, "interrupts", "cancel", "refresh"])
def test_a_run_that_is_not_there_is_gone_at_once(serve, name, detail):
    """A wrong base path does not look like success, either."""
    words = GONE if detail == "no run r" else "does not serve this path"
    server, client = serve(response(json.dumps({"detail": detail}).encode(), 404), base="/wrong")
    with pytest.raises(acp.RunGone, match=words) as caught:
        call(name, client)
    assert f"{server.url}/wrong" in str(caught.value)
    assert isinstance(caught.value.__cause__, acp.NotFoundException)
    again = pickle.loads(pickle.dumps(caught.value))
    assert acp.RunHandle.from_token(again.token, client).run_id == again.run_id == "r"
    # The second one is a look at the run.
    assert len(server.requests) == (1 if name in ("cancel", "refresh") else 2)


@pytest.mark.parametrize("status", ["error", "timeout"])
def test_a_500_while_blocked_and_the_error_afterwards(replying, status):
    """The first look at it fails, too, by which it is told whether the run has timed out."""
    failed = output_json("error", errcode=7, description="broke")
    looks = (response(b'"busy"', 503), run_json(status))
    replies, run = replying(output=(response(b"", 500), failed), look=looks)
    with pytest.raises(acp.RunFailed) as caught:
        run.result(timeout=30)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert str(error) == f"run r ended in {status} (errcode 7): broke"
        assert (error.errcode, error.description, error.token) == (7, "broke", run.token())
        assert not isinstance(error, TimeoutError)  # of the caller
    kind = acp.RunFailed if status == "error" else acp.RunTimedOut
    assert (type(caught.value), run.status) == (kind, status)
    assert replies.asked == ["output", "output", "look", "look"]
    replies.replies["look"] = run_json("success")  # its server has tried it again
    assert run.refresh().status == run.status == "success"


@pytest.mark.parametrize(
    ("name", "timeout"),
    [*itertools.product(TIMED, (None, 4)), *((name, None) for name in UNTIMED if name != "find")],
)
def test_a_retry_after_of_an_hour_is_reported_at_once(serve, clock, name, timeout):
    """In time, it is an error of the run, with its token; the cause has the response."""
    server, client = serve(response(b'"busy"', status=429, retry_after="3600"))
    kinds = (acp.TooManyRequestsException, acp.RunWaitTimeout)
    with pytest.raises(kinds, match="Retry-After: 3600 s") as caught:
        call(name, client, timeout)
    error = caught.value
    assert isinstance(error, acp.TooManyRequestsException) or error.token
    assert (len(server.requests), clock.pauses) == (1, [])


@pytest.mark.parametrize("before", [(), (response(status=405), run_json("success"))])
def test_a_204_that_asks_for_a_pause_is_obeyed_where_an_output_is_asked_for(serve, clock, before):
    """It may be the second request for the output, after the run was read. No pause is cut."""
    waits = [response(status=204, retry_after=seconds) for seconds in ("3", "60")]
    server, client = serve(*before, waits[0], SUCCESS, waits[1])
    assert acp.RunHandle("r", client).result() == {"ok": 1}
    assert sum(clock.pauses) == pytest.approx(3.0)
    with pytest.raises(acp.RunWaitTimeout, match=r"Retry-After: 60 s; wait again"):
        acp.RunHandle("r", client).result(timeout=30)
    assert len(server.requests) == len(before) + 3


def test_an_error_of_the_package_that_on_pending_raises_ends_the_wait(counter, server):
    """It is no failure of the request during which it was raised."""
    run, raised = counter.start({"count": 1}), list[float]()
    server.faults.add(Fault(path="/runs/*/output", delay=5.0))

    def on_pending(elapsed: float, status: str) -> None:
        raised.append(elapsed)
        if len(raised) == 1:
            raise acp.ServiceException(status=502)

    with pytest.raises(acp.ServiceException):
        run.result(timeout=9, on_pending=on_pending, every=0.1)
    assert len(raised) == 1


@using(backoff=(0.05, 0.1))
def test_an_outage_is_logged_when_it_begins_and_when_it_ends(serve, caplog):
    _, client = serve(*[response(b'"busy"', 503)] * 3, SUCCESS)
    told: list[object] = []
    run = acp.RunHandle("r", client)
    assert run.result(timeout=30, on_pending=lambda *how: told.append(how)) == {"ok": 1}
    assert len(told) == 3
    begins, ends = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert begins.startswith("run r: output: GET /runs/r/output returned 503")
    # A busy machine takes some tenths of a second before that.
    assert re.search(r"asking again for up to (30|2\d\.\d) s$", begins)
    assert ends.startswith("the server answers again, after 3 failures in ")


@pytest.mark.parametrize("by", ["pickle", "token"])
def test_a_run_that_travels_keeps_its_age(counter, set_timing, by):
    client, calendar = counter.runs.api_client, time.time()
    set_timing(calendar=lambda: calendar)
    run = counter.start({"count": 1})
    pickled, token = pickle.dumps(run), run.token()
    set_timing(
        calendar=lambda: calendar + 100,
        now=lambda: time.monotonic() - 1000,  # the clock of another machine
    )
    arrived = pickle.loads(pickled) if by == "pickle" else acp.RunHandle.from_token(token, client)
    assert arrived._core.age() == pytest.approx(100, abs=0.1)
    # Somebody has reached the server, so it may be away and is no wrong address.
    assert client.rest_client.reached


@using(quick=0.3)
def test_done_and_refresh_do_not_wait_for_silence(serve):
    """A refresh is limited as its client is."""
    server, client = serve([STALL], timeout=0.5, retries=0)
    with pytest.raises(acp.RunWaitTimeout, match=r"run r was not read after \d+\.\d s"):
        acp.RunHandle("r", client.with_options(timeout=60)).done()
    assert len(server.requests) == 1
    with pytest.raises(acp.ApiTimeoutError):
        acp.RunHandle("r", client).refresh()


@using(window=1)
def test_a_poll_of_a_wait_without_a_limit_gets_its_window_and_the_clients_timeout(serve):
    replies = Replies(output=([0.7, SUCCESS], [8.0, output_json(result={})], SUCCESS))
    client = serve(replies, timeout=0.3, block_margin=1)[1]
    for polls in (1, 3):
        assert acp.RunHandle("r", client).result() == {"ok": 1}
        assert replies.asked.count("output") == polls


@pytest.mark.parametrize(
    ("asked", "beside", "whose"),
    [(5, False, "run"), (5, True, "run"), (301, True, "run"), (301, False, "all")],
)
def test_no_request_of_a_batch_waits_out_too_long_a_retry_after(clock, asked, beside, whose):
    """The search for the runs that have ended, which survives nothing, gives way to any."""
    limited, late = acp.ApiException(status=429), acp.ApiException(reason="late")
    contact = a_contact(batch=True)
    assert contact.turns is not None
    contact.turns.hold(clock.now + asked, limited)
    with pytest.raises(Decided) as caught:
        wait = Wait(contact, 4.0, caller=BESIDE if beside else None, late=lambda _: late)
        wait.perform("search", lambda limit: None)
    assert str(caught.value.error) == str(limited if whose == "all" else late)
    assert caught.value.whose == whose
    assert str(undecided(Wait(contact).late_error())) == str(limited)
    assert clock.pauses == [] and (whose == "all" or str(late.__cause__) == str(limited))


# The end of the time


@pytest.mark.parametrize("away", [False, True], ids=["hangs", "is away"])
@using(exit=0.3)  # for what `cancel_on_exit` adds
def test_no_call_passes_its_timeout_at_a_server_that(serve, away):
    server, client = serve([STALL])
    client.rest_client.reached = True
    if away:
        server.stop()

    def check(name: str) -> None:
        began = time.monotonic()
        of_an_agent = name.startswith(("run", "start"))
        with pytest.raises((acp.ApiException, TimeoutError) if of_an_agent else acp.RunWaitTimeout):
            call(name, client, 0.6)
        assert time.monotonic() - began < 0.6 + 4, name

    with ThreadPoolExecutor(len(TIMED)) as pool:
        list(pool.map(check, TIMED))


@pytest.mark.parametrize(
    ("name", "configured", "view", "connects"),
    [
        *(("refresh", retries, None, 1) for retries in (False, 0, Retry(5, connect=0))),
        *((name, 2, None, 3) for name in ("find", "start", "events", "delete")),
        *(("result", *row) for row in ((3, 0, 1), (0, 1, 2))),
    ],
)
def test_an_address_that_never_answered_is_wrong(monkeypatch, name, configured, view, connects):
    """It fails within the client's own retries, however long the caller would wait for a run."""
    connect, attempts = socket.socket.connect, list[Any]()
    port = free_port()

    def counted(sock: socket.socket, address: Any) -> None:
        attempts.append(address)
        connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", counted)
    configuration = acp.Configuration(host=f"http://127.0.0.1:{port}", retries=configured)
    refused = pytest.raises(acp.ConnectionException, match="cannot connect")
    with acp.ApiClient(configuration) as client, refused:
        call(name, client.with_options(retries=view))
    assert attempts == [("127.0.0.1", port)] * connects


# What a status and a time may be


def test_a_time_without_an_offset_is_utc(replying):
    """The server writes its offset in one response and not in the next."""
    times = ("2026-01-01T00:00:01.5Z", "2026-01-01T00:00:01.5")
    looks = tuple(run_json("interrupted", updated_at=each) for each in times)
    replies, run = replying(look=looks, output=(*[QUESTION] * 3, SUCCESS), resume=run_json())
    assert run.drive(lambda asked: {"n": 1}, timeout=30) == {"ok": 1}
    assert replies.asked.count("resume") == 1


@pytest.mark.parametrize("status", ["", "no status of ACP"])
def test_a_run_of_an_unknown_status_has_not_ended(replying, clock, status):
    """The output is asked for until it is there: it is the only sign of the end."""
    replies, run = replying(run_json(status), output=(*[response(b"", 404)] * 3, SUCCESS))
    with pytest.raises(acp.RunWaitTimeout):
        run.result(timeout=0)
    assert not run.done()
    assert run.result(timeout=30) == {"ok": 1}
    assert clock.pauses == pytest.approx([0.2, 0.4])
    assert run.status is acp.RunStatus.SUCCESS
    run.refresh()  # an outcome that was seen counts
    assert run.status is acp.RunStatus.SUCCESS
    assert replies.asked.count("output") == 4


def test_a_run_whose_output_is_not_served_is_read(replying, clock):
    looks = (run_json(), run_json(), run_json("success"))
    replies, run = replying(output=(NOT_FOUND, NOTHING, SUCCESS), look=looks)
    assert run.result() == {"ok": 1}
    assert replies.asked == ["output", "look", "look", "look", "output", "output"]
    assert clock.pauses == pytest.approx([0.25, 0.2, 0.4])


@using(early=(10.0, 10.0))
def test_a_pause_leaves_time_for_a_look(serve, clock):
    _, client = serve(Replies(output=(NOTHING, SUCCESS)))
    run, told = acp.RunHandle("r", client), list[float]()
    run.result(timeout=2, on_pending=lambda elapsed, status: told.append(elapsed), every=0.6)
    assert sum(clock.pauses) == pytest.approx(1.5)
    assert told == pytest.approx([0, 0.6, 1.2])  # also during a pause


def test_the_age_of_a_run_is_that_since_its_create(client, set_timing):
    core, now = acp.RunHandle("r", client)._core, 1e9
    assert core.age() == math.inf
    set_timing(calendar=lambda: now)
    # A clock may be set back. Otherwise every 404 would then count as one of a read replica.
    for ago, later, age in ((0, 0, 0), (50, 60, 110), (0, 60, 60), (-50, 0, 0), (0, -60, 60)):
        now = 1e9
        core.note_created(ago=ago)
        now += later
        assert core.age() == age


def test_pauses_double_while_polls_end_early(serve, clock):
    """They begin again after a poll of a whole window. One that was cut has a shorter one after."""

    def after(seconds: float, reply: bytes) -> Any:
        def held() -> bytes:
            clock.now += seconds
            return reply

        return held

    full, cut = after(27, NOTHING), after(16, response(b"", 502))  # nine tenths are full
    outputs = (after(26, NOTHING), *[NOTHING] * 4, full, NOTHING, cut, SUCCESS)
    server, client = serve(Replies(output=outputs))
    assert acp.RunHandle("r", client).result() == {"ok": 1}
    assert clock.pauses[:6] == pytest.approx([0.2, 0.4, 0.8, 1.6, 2.0, 0.2])
    windows = [request.path.partition("block_timeout=")[2] for request in server.requests]
    # No two polls have the same URL, because a cache may be in between.
    assert windows[:8] == [str(30 - n) for n in range(8)] and windows[8:] == ["12"]


def test_the_defaults_are_as_documented():
    for method, name, default in (
        (acp.Batch, "concurrency", 8),
        (acp.RunHandle.output, "every", 30),
        (acp.RunHandle.result, "every", 30),
        (acp.RunHandle.drive, "max_interrupts", 1000),
        (acp.RunHandle.events, "on_gap", "raise"),
        (acp.RunHandle.events, "through_interrupts", False),
    ):
        assert inspect.signature(method).parameters[name].default == default


# A result that was received is kept


class Once:
    """An output that a server gives once, as AGNTCY's proxy does. Afterwards it has none."""

    def __init__(self, *outputs: bytes) -> None:
        self.outputs = list(outputs or (SUCCESS,))

    def __call__(self) -> bytes:
        return self.outputs.pop(0) if self.outputs else NOTHING


READERS: list[Callable[[acp.RunHandle], object]] = [
    acp.RunHandle.result,
    lambda run: run.output().actual_instance.result,  # type: ignore[union-attr]
    lambda run: run.drive(dict),
    lambda run: [event.result for event in run.events()][-1],
    lambda run: run.drive(dict, on_event=str),
    lambda run: pickle.loads(pickle.dumps(run)).result(timeout=0),
]


@pytest.mark.parametrize("first", range(5))
def test_a_result_that_came_once_is_given_again(serve, first):
    no_streams = {"stream": response(b"", 501), "look": run_json("")}
    replies = Replies(create=run_json(""), output=Once(), **no_streams)
    run = acp.AgentHandle("a", serve(replies)[1]).start()
    given: Any = READERS[first](run)
    given["ok"] = "changed by the caller"
    asked = len(replies.asked)
    for again in READERS:
        assert again(run) == {"ok": 1}
        assert set(replies.asked[asked:]) <= {"stream", "look"}
    replies.asked.clear()
    assert run.done() and run.status == "success" and run.result(timeout=0) == {"ok": 1}
    assert replies.asked == []
    # A run with a result has ended, so it is not cancelled.
    assert run.cancel() is False and replies.asked == ["look"]


DATA = b'data: {"type": "result", "run_id": "r", "status": "pending", "result": {"ok": %d}}\n\n'
RESULTS = [DATA % n for n in (0, 1)]


@pytest.mark.parametrize("later", [NOTHING, NOT_FOUND])
def test_the_last_result_of_a_stream_is_kept(replying, later):
    stream = response(b"".join(RESULTS), content_type="text/event-stream")
    replies, run = replying(run_json("success"), stream=stream, output=later)
    for event in run.events():
        event.result["ok"] = "changed by the caller"
    for again in READERS[-1:] + READERS:
        replies.asked.clear()
        assert again(run) == {"ok": 1} and replies.asked.count("output") <= 1
    assert run.output().actual_instance.status == "success"
    # The server may have a newer result than its stream had.
    replies.replies["output"] = output_json(result={"ok": 2}), NOTHING
    replies.asked.clear()
    assert run.result() == run.result() == {"ok": 2} and replies.asked == ["output"]
    replies.otherwise = run_json("interrupted")
    assert run.refresh() and run._core.kept_output() is None


@pytest.mark.parametrize("last", [b"{}", RESULTS[1][6:-2].replace(b"result", b"custom")])
def test_a_result_that_was_not_the_last_event_is_not_kept(replying, last):
    update = last.replace(b"}}", b'}, "update": {}}')
    stream = response(RESULTS[1] + b"data: %b\n\n" % update, content_type="text/event-stream")
    _, run = replying(run_json("success"), stream=stream, output=NOTHING)
    events = run.events()
    while events.ended_by is None:
        with contextlib.suppress(acp.StreamDecodeError):
            next(events, None)
    with pytest.raises(acp.RunWaitTimeout):
        run.result(timeout=0)


@using(probe=0.01, human=0.01)
def test_a_result_from_before_a_question_is_not_kept(replying):
    first, second = (response(part, content_type="text/event-stream") for part in (RESULTS[1], b""))
    looks = tuple(map(run_json, ("interrupted", "pending", "success")))
    _, run = replying(look=looks, stream=(first, second), output=NOTHING)
    assert [event.result for event in run.events(through_interrupts=True)] == [{"ok": 1}]
    with pytest.raises(acp.RunWaitTimeout):
        run.result(timeout=0)


@pytest.mark.parametrize("status", ["interrupted", "error", "timeout"])
def test_a_kept_result_is_dropped_once_the_server_says_otherwise(replying, status):
    replies, run = replying(run_json("success"), output=(SUCCESS, output_json(result={"ok": 2})))
    assert run.result() == {"ok": 1} and run.refresh() and run.result() == {"ok": 1}
    replies.otherwise = run_json("pending")
    assert run.refresh().status == "pending" and run.result() == {"ok": 1} and run.done()
    replies.otherwise = run_json(status)
    run.refresh()
    assert run.status == status and run.result() == {"ok": 2}


def test_a_deleted_run_has_no_result(replying):
    for deleted, look in ((run_json("success"), NOT_FOUND), (NOT_FOUND, NOT_FOUND)):
        outputs = (SUCCESS, NOT_FOUND)
        replies, run = replying(NOT_FOUND, output=outputs, delete=deleted, look=run_json("success"))
        assert run.refresh() and run.result() == {"ok": 1}
        replies.replies["look"] = look
        run.delete()
        with pytest.raises(acp.RunGone):
            run.result()


def test_a_failure_is_not_kept_and_counts_where_the_server_has_no_status(replying):
    failed = output_json("error", errcode=1, description="")
    replies, run = replying(run_json(""), output=(failed, failed, SUCCESS))
    assert not run.done()
    for _ in range(2):
        with pytest.raises(acp.RunFailed):
            run.result()
    assert run.done() and run.result() == {"ok": 1}
    assert replies.asked.count("output") == 3
    # A run that the server tries again has not ended.
    replies, run = replying(run_json("error"), output=failed)
    with pytest.raises(acp.RunFailed):
        run.result()
    replies.otherwise = run_json("pending")
    assert not run.done()


def test_threads_share_a_kept_result(replying):
    content = {"a": [1, None, 1.5, "\ud83d", 10**30, {"status": True}]}
    received = output_json(result=content, more={"x": [1]}, status="odd")
    _, run = replying(run_json(""), output=Once(received))
    first = run.output()
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda _: run.output(timeout=0), range(200)))
    assert {*map(repr, outputs)} == {repr(first)} and {*map(type, outputs)} == {type(first)}
    results = [output.to_dict()["result"] for output in outputs]
    assert results == [content] * 200 and len({*map(id, results)}) == 200


def test_a_callback_that_lasts_beyond_the_deadline_is_the_last_one(server, slow):
    """Its call is no failure of the request, and a result that has come meanwhile counts."""
    told = list[float]()

    def on_pending(elapsed: float, status: str) -> None:
        told.append(elapsed)
        time.sleep(1.5)

    for seconds in (0.8, 60):
        run = slow.start({"seconds": seconds})
        told.clear()
        if seconds < 1:
            assert run.result(timeout=1, on_pending=on_pending, every=0.3) == {"slept": seconds}
        else:
            with pytest.raises(acp.RunWaitTimeout) as caught:
                run.result(timeout=1, on_pending=on_pending, every=0.3)
            assert caught.value.__cause__ is None and "last error" not in str(caught.value)
        assert len(told) == 1


def test_threads_do_not_undo_what_others_have_noted(runs):
    pending = acp.Run.from_dict(a_run("pending"))
    result = {"type": "result", "run_id": pending.run_id, "status": "success", "result": {}}
    output = acp.RunOutput.from_dict(result)
    known = RunCore(runs, pending.run_id)
    done = threading.Event()

    def note() -> None:
        while not done.is_set():
            known.note(pending)

    def lost() -> bool:
        known.note_deleted()
        known.keep_output(output)
        return known.kept_output() is None

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as pool:
            noting = pool.submit(note)
            try:
                results_lost = sum(lost() for _ in range(12_000))
            finally:
                done.set()
            noting.result()
    finally:
        sys.setswitchinterval(interval)
    assert results_lost == 0
