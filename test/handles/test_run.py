"""A run to hold: waiting, looking, ending, pickling, over whatever a server does."""

from __future__ import annotations

import itertools
import json
import math
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.serving import (
    NOTHING,
    QUESTION,
    SUCCESS,
    Clock,
    Replies,
    Serve,
    a_run,
    output_json,
    run_json,
)
from support.socket_server import CLOSE, STALL, Connection, response
from support.timing import SetTiming
from support.transport import eventually

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    ApiException,
    ApiTypeError,
    ApiValueError,
    Configuration,
    ConnectionException,
    NotFoundException,
    ResponseValidationError,
    Run,
    RunFailed,
    RunGone,
    RunHandle,
    RunResult,
    RunsApi,
    RunStatus,
    RunTimedOut,
    RunWaitTimeout,
    ServiceException,
    TooManyRequestsException,
    UnauthorizedException,
    wait_for_run_output,
)
from acp_client_v0_1.handles._answering import Questions
from acp_client_v0_1.handles._core import Polls, RunCore
from acp_client_v0_1.handles._perform import Contact, Pace, Wait
from acp_client_v0_1.handles._rules import Pause
from acp_client_v0_1.handles._timing import Timing, timing
from acp_client_v0_1.testing import AgentError, Fault, LocalServer

GONE = r"is gone: the server at http://\S+ does not know it .*start a new run"


def test_attaching_does_no_io(server: LocalServer, client: ApiClient) -> None:
    run = RunHandle("run-1", client)
    known = (run.agent_id, run.thread_id, run.client_token, run.run, run.status)
    assert run.run_id == "run-1" and known == (None,) * 5
    assert repr(run) == "<RunHandle run-1: not read yet>"
    assert server.requests == ()


def test_a_run_is_read_by_done_refresh_and_output(
    server: LocalServer, counter: AgentHandle
) -> None:
    run = counter.start({"count": 2, "interval": 0.3})
    assert not run.done()
    assert run.result(timeout=30) == {"count": 2, "of": 2}
    server.clear_requests()
    assert run.done()
    assert len(server.requests) == 1
    assert run.refresh().status is RunStatus.SUCCESS
    assert run.agent_id == counter.agent_id
    assert repr(run) == f"<RunHandle {run.run_id} of agent {counter.agent_id}: success>"
    assert isinstance(run.output(timeout=0).actual_instance, RunResult)


def test_a_run_names_its_agent_if_the_name_is_known(client: ApiClient) -> None:
    run = AgentHandle.find("counter", api_client=client).start({"count": 1})
    assert repr(run) == f"<RunHandle {run.run_id} of agent counter: pending>"
    assert repr(pickle.loads(pickle.dumps(run))) == repr(run)
    described = AgentHandle(run.agent_id or "", client)
    described.descriptor()
    assert repr(described) == f"<AgentHandle counter {run.agent_id}>"
    assert " of agent counter: " in repr(described.start({"count": 1}))


def test_a_run_is_done_once_it_has_ended(approval: AgentHandle, failing: AgentHandle) -> None:
    asking = approval.start()
    asking.output(timeout=30)
    assert not asking.done()
    for given, status in (({}, RunStatus.ERROR), ({"timeout": True}, RunStatus.TIMEOUT)):
        failed = failing.start(given)
        failed.output(timeout=30)
        assert failed.done()
        assert failed.run is not None
        assert failed.run.status is status


def test_a_handle_of_a_run_that_is_known(
    server: LocalServer, counter: AgentHandle, runs: RunsApi
) -> None:
    run = runs.get_run(counter.start({"count": 1}).run_id)
    server.clear_requests()
    handle = RunHandle.of(run, runs.api_client)
    assert handle.run is run
    assert handle.agent_id == counter.agent_id
    assert server.requests == ()


def test_a_timeout_of_zero_looks_once(server: LocalServer, slow: AgentHandle) -> None:
    run = slow.start({"seconds": 30})
    server.clear_requests()
    with pytest.raises(RunWaitTimeout):
        run.result(timeout=0)
    (look,) = server.requests
    assert look.query == "block_timeout=0"
    server.fail_next(503)
    with pytest.raises(ServiceException):
        RunHandle(run.run_id, ApiClient(Configuration(host=server.url, retries=0))).result(0)


def test_a_timeout_of_zero_at_a_server_that_holds_each_poll(
    server: LocalServer, slow: AgentHandle, set_timing: SetTiming
) -> None:
    set_timing(quick=0.5)
    run = slow.start({"seconds": 30})
    server.faults.add(Fault(path="/runs/*/output", cut="stall"))
    with pytest.raises(RunWaitTimeout, match="the run continues"):
        run.result(timeout=0)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_quick_request_is_bounded(serve: Serve, method: str, set_timing: SetTiming) -> None:
    """By 10 s, and a change by 60 s, which a test cannot wait for: then it is sent again."""
    assert (Timing().quick, Timing().change) == (10, 60)
    set_timing(quick=0.3, change=0.3)

    def sent() -> int:
        return [each.method for each in server.requests].count(method)

    def respond(request: Any) -> Any:
        first = sent() == 1 and request.method == method
        return [3.0 if first else 0.0, run_json()]

    server, client = serve(respond)
    assert RunHandle("r", client).cancel()
    assert sent() > 1


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_below_zero(client: ApiClient, timeout: float) -> None:
    run = RunHandle("r", client)
    conversation = AgentHandle("a", client).conversation("t")
    for call in (
        run.output,
        run.result,
        run.interrupts,
        lambda most: run.events(timeout=most),
        lambda most: run.drive(str, timeout=most),
        lambda most: run.resume({}, timeout=most),
        lambda most: RunHandle.from_token(run.token(), client, timeout=most),
        lambda most: conversation.run(timeout=most),
    ):
        with pytest.raises(ApiValueError, match=r"timeout must be (at least|above) 0 seconds"):
            call(timeout)
    with pytest.raises(ApiTypeError, match="timeout must be a number of seconds"):
        run.result("60")  # type: ignore[arg-type]


def test_progress_and_stop(slow: AgentHandle) -> None:
    run = slow.start({"seconds": 30})
    seen: list[RunStatus] = []
    stop = threading.Event()

    def progress(elapsed: float, status: RunStatus) -> None:
        seen.append(status)
        stop.set()

    with pytest.raises(RunWaitTimeout, match=r"was stopped.*the run continues"):
        run.result(on_pending=progress, every=0.2, stop=stop)
    assert seen == [RunStatus.PENDING]


def test_a_wait_that_is_stopped_names_no_failure_that_is_over(
    serve: Serve, set_timing: SetTiming
) -> None:
    set_timing(backoff=(0.05, 0.05), early=(0.05, 0.05))
    stop = threading.Event()
    count = itertools.count()

    def respond(request: object) -> Any:
        number = next(count)
        if number < 2:
            return response(b"", 500) if number == 0 else NOTHING
        threading.Timer(0.2, stop.set).start()
        return [STALL]

    _, client = serve(respond)
    with pytest.raises(RunWaitTimeout, match="was stopped") as caught:
        RunHandle("r1", client).output(stop=stop)
    assert caught.value.__cause__ is None and next(count) == 3


@pytest.mark.slow
def test_a_callback_that_takes_its_time_is_not_called_in_a_burst_afterwards(
    slow: AgentHandle,
) -> None:
    called: list[float] = []

    def progress(elapsed: float, status: RunStatus) -> None:
        if not called:
            time.sleep(1)
        called.append(time.monotonic())

    slow.start({"seconds": 2}).result(timeout=30, on_pending=progress, every=0.2)
    pauses = [later - earlier for earlier, later in itertools.pairwise(called)]
    assert sum(pause < 0.05 for pause in pauses) <= 2, pauses  # and not one for each that was due


def test_a_stand_in_for_a_client_needs_only_its_call() -> None:
    class StandIn:
        def call(self, operation: Any, arguments: Any, options: Any) -> Any:
            return Run.from_dict(a_run("success"))

    run = RunHandle("r1", StandIn())  # type: ignore[arg-type]
    assert run.refresh().status == "success"
    contact = Contact.of(run._core.runs)
    assert (contact.server.reached, contact.retries, contact.pace) == (True, 0, None)


def test_a_404_otherwise_is_the_end_at_once(server: LocalServer, client: ApiClient) -> None:
    run = RunHandle("nobody", client)
    for call, requests in (
        (run.refresh, 1),
        (run.done, 1),
        (run.result, 2),
        (run.output, 2),
        (run.cancel, 1),
    ):
        server.clear_requests()
        with pytest.raises(RunGone, match=GONE) as caught:
            call()
        assert len(server.requests) == requests  # the second is a look at the run
        assert isinstance(caught.value.__cause__, NotFoundException)
    again = pickle.loads(pickle.dumps(caught.value))
    assert RunHandle.from_token(again.token, client).run_id == again.run_id == "nobody"
    with pytest.raises(RunGone):
        next(run.interrupts())


def test_stop_ends_the_look_at_a_question(server: LocalServer, approval: AgentHandle) -> None:
    run = approval.start({"text": "x"})
    run.output(timeout=30)
    server.faults.add(Fault(method="GET", path="/runs/*", status=503, times=None))
    stop = threading.Event()
    began = time.monotonic()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(RunWaitTimeout, match="was stopped"):
        run.result(timeout=60, stop=stop)
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_retry_after_of_a_204_is_honoured(serve: Serve) -> None:
    later = response(status=204, content_type="", retry_after="1")
    server, client = serve(later, SUCCESS)
    began = time.monotonic()
    assert RunHandle("r", client).result() == {"ok": 1}
    assert time.monotonic() - began >= 1
    assert len(server.requests) == 2


def test_retry_after_of_a_204_is_not_shortened(serve: Serve) -> None:
    later = response(status=204, content_type="", retry_after="60")
    server, client = serve(later)
    began = time.monotonic()
    with pytest.raises(RunWaitTimeout, match=r"Retry-After: 60 s; wait again"):
        RunHandle("r1", client).result(timeout=30)
    assert time.monotonic() - began < 10
    assert len(server.requests) == 1


def test_a_longer_retry_after_keeps_its_error_when_a_204_has_a_shorter_one(serve: Serve) -> None:
    _, client = serve(response(status=204, content_type="", retry_after="1"))
    hold, limited, ends = client.rest_client.server, ApiException(503), time.monotonic() + 100
    hold.hold_ends, hold.hold_error = ends, limited
    assert RunsApi(client).get_run_output("r1") is None
    assert (hold.hold_ends, hold.hold_error) == (ends, limited)


@pytest.mark.parametrize("named", ["", "00000000-0000-0000-0000-000000000000", "R1"])
def test_an_output_may_name_no_run_or_its_run_in_other_letters(serve: Serve, named: str) -> None:
    _, client = serve(output_json(run_id=named))
    assert RunHandle("r1", client).result(timeout=5) == {"ok": 1}


def test_an_output_of_another_run_is_refused_and_kept(serve: Serve) -> None:
    output = {"type": "error", "run_id": "r2", "errcode": 1, "description": "no"}
    server, client = serve(response(json.dumps(output).encode()))
    with pytest.raises(ResponseValidationError, match="run r1 the output of run r2") as caught:
        RunHandle("r1", client).result(timeout=5)
    assert json.loads(caught.value.body or "") == output
    assert len(server.requests) == 1


def test_deleted_by_another_while_blocked(slow: AgentHandle, runs: RunsApi) -> None:
    run = slow.start({"seconds": 60})
    threading.Timer(0.5, runs.delete_run, [run.run_id]).start()
    began = time.monotonic()
    run._core._born = None  # as if it had been started some time ago
    with pytest.raises(RunGone, match=GONE):
        run.result(timeout=60)
    assert time.monotonic() - began < 20


def test_a_500_while_blocked_and_the_error_afterwards(
    server: LocalServer, client: ApiClient
) -> None:
    def agent(input: Any, config: Any, context: Any) -> Any:
        context.sleep(0.3)
        raise AgentError(3, "no luck")

    run = AgentHandle(server.register(agent), client).start()
    server.faults.add(Fault(path="/runs/*/output", delay=0.4, status=500))
    with pytest.raises(RunFailed, match="no luck"):
        run.result(timeout=30)


@pytest.mark.slow
def test_failures_alone_end_a_wait_without_a_timeout(
    server: LocalServer, slow: AgentHandle, set_timing: SetTiming
) -> None:
    """After five minutes, which a test cannot wait for."""
    assert Timing().outage == 300
    set_timing(outage=0.2, backoff=(0.02, 0.05))
    run_id = slow.start({"seconds": 60}).run_id
    with ApiClient(Configuration(host=server.url, retries=0)) as client:
        run = RunHandle(run_id, client)
        run.refresh()  # a server that has never answered is a wrong address
        server.stop()
        for call in (
            run.result,
            lambda: next(run.events()),
            lambda: run.drive(lambda question: {}),
            lambda: run.resume({}),
            run.cancel,
        ):
            began = time.monotonic()
            with pytest.raises(ConnectionException):
                call()
            assert time.monotonic() - began > 0.1


def test_lost_then_refused_is_an_outage(serve: Serve, set_timing: SetTiming) -> None:
    """Somebody was there, so it is no wrong address."""
    set_timing(least_left=0.1, backoff=(0.02, 0.02))

    def go_away(connection: Connection) -> None:
        threading.Thread(target=connection.server.stop).start()

    _, client = serve([go_away, STALL], retries=0)
    with pytest.raises(RunWaitTimeout, match="cannot connect"):
        RunHandle("r", client).result(timeout=0.7)


def test_the_deadline_holds_while_a_failed_run_has_no_status(serve: Serve) -> None:
    failed = output_json("error", errcode=1, description="no luck")

    _, client = serve(Replies([STALL], output=failed))
    began = time.monotonic()
    with pytest.raises(RunFailed, match=r"ended in error or timeout \(errcode 1\): no luck"):
        RunHandle("r", client).result(timeout=0.7)
    assert time.monotonic() - began < 0.7 + 4


def test_credentials_that_are_refused_end_it(server: LocalServer, slow: AgentHandle) -> None:
    run = slow.start({"seconds": 60})
    for call in (run.refresh, run.result, lambda: next(run.events()), run.cancel):
        server.fail_next(401)
        with pytest.raises(UnauthorizedException):
            call()


def test_cancel_deletes_a_run_that_has_not_ended(
    slow: AgentHandle, approval: AgentHandle, counter: AgentHandle, counts: Any
) -> None:
    run = slow.start({"seconds": 60})
    assert run.cancel()
    with pytest.raises(RunGone):
        run.refresh()
    asking = approval.start()
    next(asking.interrupts())
    assert asking.cancel()
    done = counter.start({"count": 1})
    done.result(timeout=30)
    assert not done.cancel()
    assert done.result(timeout=30) == {"count": 1, "of": 1}  # which stays
    assert counts.deletes == 2


@pytest.mark.parametrize("first", [RunHandle.cancel, RunHandle.delete])
def test_a_second_cancel_is_as_quick_as_a_second_delete(
    slow: AgentHandle, server: LocalServer, first: Callable[[RunHandle], object]
) -> None:
    runs = [slow.start({"seconds": 60}) for _ in range(2)]
    for run in runs:
        first(run)
    server.clear_requests()
    with pytest.raises(RunGone):
        runs[0].cancel()
    runs[1].delete()
    assert [request.method for request in server.requests] == ["GET", "DELETE", "GET"]


@pytest.mark.slow
def test_a_cancel_whose_response_was_lost_is_sent_again_if_the_run_is_there(
    server: LocalServer, slow: AgentHandle, counts: Any
) -> None:
    for carried_out, deletes in ((True, 1), (False, 3)):
        server.faults.add(
            Fault(method="DELETE", cut="close", after_wire_bytes=0 if carried_out else None)
        )
        assert slow.start({"seconds": 60}).cancel()
        assert counts.deletes == deletes
    server.faults.add(Fault(method="DELETE", status=500, times=None))
    with pytest.raises(ServiceException):
        slow.start({"seconds": 60}).cancel()
    assert counts.deletes == 5


def test_a_run_that_ends_after_a_cancel_was_lost_keeps_its_result(serve: Serve) -> None:
    replies = Replies(delete=[CLOSE], look=(run_json(), run_json("success")))
    _, client = serve(replies)
    assert not RunHandle("r", client).cancel()
    assert replies.asked == ["look", "delete", "look"]


def test_a_run_that_ends_while_it_is_cancelled(server: LocalServer, counter: AgentHandle) -> None:
    """The look says pending, the response to the DELETE says success; the output is lost."""
    run = counter.start({"count": 2, "interval": 0.3})
    server.faults.add(Fault(method="DELETE", delay=0.8))
    assert not run.cancel()


def test_a_delete_without_content(serve: Serve) -> None:
    _, client = serve(Replies(delete=NOTHING, look=(run_json(), NOT_FOUND)))
    assert RunHandle("r", client).cancel()


def test_a_deleted_run_is_gone_and_may_be_deleted_again(
    server: LocalServer, counter: AgentHandle, counts: Any
) -> None:
    run = counter.start({"count": 1})
    run.result(timeout=30)
    run.delete()
    with pytest.raises(RunGone):
        run.result()
    run.delete()  # it is gone, which was wanted
    assert counts.deletes == 2


def test_a_handle_pickles(server: LocalServer, counter: AgentHandle) -> None:
    run = counter.start({"count": 2, "interval": 0.2}, client_token="mark")
    again = pickle.loads(pickle.dumps(run))
    assert (again.run_id, again.agent_id) == (run.run_id, counter.agent_id)
    assert again.client_token == "mark"
    assert again.result(timeout=30) == {"count": 2, "of": 2}
    assert pickle.loads(pickle.dumps(counter)).run({"count": 1}, timeout=30)["count"] == 1


def test_a_second_process_attaches_by_token(server: LocalServer, counter: AgentHandle) -> None:
    run = counter.start({"count": 3, "interval": 0.05}, streaming="custom")
    with run.events() as events:
        assert next(events).id == "1"
    script = (
        "from acp_client_v0_1 import ApiClient, Configuration, RunHandle\n"
        "import sys\n"
        "with ApiClient(Configuration.from_env()) as client:\n"
        "    run = RunHandle.from_token(sys.argv[1], client)\n"
        "    print([event.id for event in run.events()], run.result(timeout=30))\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, run.token()],
        env={**os.environ, "ACP_HOST": server.url},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert outcome.stdout.strip() == f"['2', '3'] {run.result(timeout=30)}"


def test_nothing_is_owned_at_rest(
    server: LocalServer, counter: AgentHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_fifty_threads_run_an_agent_at_once(server: LocalServer, client: ApiClient) -> None:
    """With the default configuration, whose pool is smaller than that."""
    together = threading.Barrier(50)

    def agent(input: Any, config: Any, context: Any) -> Any:
        together.wait(timeout=60)  # no one ends before all have begun
        return {"ok": True}

    agent_id = server.register(agent, name="together")
    handle = AgentHandle(agent_id, client)
    with ThreadPoolExecutor(50) as pool:
        results = [pool.submit(handle.run, timeout=100) for _ in range(50)]
    assert [result.result() for result in results] == [{"ok": True}] * 50
    outputs = [r for r in server.requests if r.path.endswith("/output")]
    assert len(outputs) == 50  # one long poll each, none of which was refused a connection


NOT_FOUND = response(b'{"detail":"Not Found"}', status=404)
OPERATIONS: dict[str, Callable[[RunHandle], object]] = {
    "output": RunHandle.output,
    "result": RunHandle.result,
    "result, one look": lambda run: run.result(timeout=0),
    "drive": lambda run: run.drive(lambda asked: {}),
    "events": lambda run: list(run.events()),
    "delete": RunHandle.delete,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_server_that_has_the_run_and_not_the_path_is_named(serve: Serve, name: str) -> None:
    """A server of another version; nothing is gone, and nothing was deleted."""

    server, client = serve(Replies(NOT_FOUND, look=run_json("success")), base="/base")
    with pytest.raises(NotFoundException, match=r"does it speak ACP 0\.1") as caught:
        OPERATIONS[name](RunHandle("r", client))
    assert f"{server.url}/base" in str(caught.value)  # where the base path is seen
    assert "/base/runs/r" in str(caught.value)
    assert len(server.requests) <= 5


@pytest.mark.parametrize("name", [*OPERATIONS, "cancel", "refresh"])
def test_a_wrong_base_path_does_not_look_like_success(serve: Serve, name: str) -> None:
    server, client = serve(NOT_FOUND, base="/wrong")
    run = RunHandle("r", client)
    call = OPERATIONS.get(name) or getattr(RunHandle, name)
    with pytest.raises(RunGone, match=rf"{server.url}/wrong may not serve this path"):
        call(run)
    assert len(server.requests) <= 2


@pytest.mark.slow
def test_a_404_of_an_answer_looks_at_the_run(serve: Serve) -> None:

    replies = Replies(run_json("interrupted"), resume=NOT_FOUND, output=QUESTION)
    _, client = serve(replies)
    with pytest.raises(NotFoundException, match=r"does it speak ACP 0\.1"):
        RunHandle("r", client).resume({})
    assert replies.asked.count("resume") == 1


def test_a_delete_that_nobody_can_tell_about_is_no_success(serve: Serve) -> None:
    """Two DELETEs are lost, and the look after them fails: the run may be there."""

    def respond(request: Any) -> Any:
        if request.method == "DELETE":
            return [CLOSE]
        deletes = sum(each.method == "DELETE" for each in server.requests)
        return run_json() if deletes < 2 else response(b'"no"', status=400)

    server, client = serve(respond)
    for call in (RunHandle.delete, RunHandle.cancel):
        server.requests.clear()
        with pytest.raises(ApiException):
            call(RunHandle("r", client))
        assert sum(each.method == "DELETE" for each in server.requests) == 2


def test_a_delete_that_was_lost_is_done_once_the_run_is_gone(serve: Serve) -> None:
    replies = Replies(NOT_FOUND, delete=[CLOSE])
    _, client = serve(replies)
    RunHandle("r", client).delete()
    assert replies.asked == ["delete", "look"]


def test_a_timed_out_run_has_another_error_than_a_failed_one(serve: Serve) -> None:
    """The first look at it fails."""
    failed = output_json("error", errcode=7, description="broke")
    replies = Replies(output=failed, look=(response(b'"busy"', 503), run_json("timeout")))
    _, client = serve(replies)
    with pytest.raises(RunTimedOut, match="broke"):
        RunHandle("r", client).result(timeout=30)
    assert replies.asked == ["output", "look", "look"]


def test_a_retry_after_of_an_hour_is_reported_at_once(serve: Serve) -> None:
    busy = response(b'"busy"', status=429, retry_after="3600")
    server, client = serve(busy)
    run = RunHandle("r", client)
    for call in (
        run.refresh,
        run.result,
        lambda: run.result(timeout=4),
        lambda: run.result(timeout=0),
        lambda: next(run.events()),
        lambda: next(run.events(timeout=4)),
        lambda: run.resume({}),
        run.cancel,
        run.delete,
    ):
        server.requests.clear()
        began = time.monotonic()
        # In time, it is an error of the run, with its token; the cause has the response.
        with pytest.raises(
            (TooManyRequestsException, RunWaitTimeout), match="Retry-After: 3600 s"
        ) as caught:
            call()
        error = caught.value
        assert isinstance(error, TooManyRequestsException) or error.token
        assert len(server.requests) == 1
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("status", [429, 500, 503])
def test_no_request_overtakes_a_pause_that_is_too_long(serve: Serve, status: int) -> None:
    """Not even the look whether a DELETE was carried out."""

    replies = Replies(delete=response(b'"busy"', status, retry_after="3600"))
    _, client = serve(replies)
    with pytest.raises(ApiException) as caught:
        RunHandle("r", client).delete()
    assert (caught.value.status, replies.asked) == (status, ["delete"])


def test_an_outage_is_logged_when_it_begins_and_when_it_ends(
    serve: Serve, set_timing: SetTiming, caplog: pytest.LogCaptureFixture
) -> None:
    set_timing(backoff=(0.05, 0.1))
    _, client = serve(*[response(b'"busy"', 503)] * 3, SUCCESS)
    assert RunHandle("r", client).result(timeout=30) == {"ok": 1}
    begins, ends = [
        record.getMessage() for record in caplog.records if record.levelname == "WARNING"
    ]
    assert begins.startswith("run r: output: GET /runs/r/output returned 503")
    assert begins.endswith("asking again for up to 30 s")
    assert ends.startswith("the server answers again, after 3 failures in ")


@pytest.mark.slow
def test_the_error_of_an_outage_says_how_long_it_lasted(
    serve: Serve, set_timing: SetTiming
) -> None:
    set_timing(outage=0.5, backoff=(0.02, 0.05))
    server, client = serve(response(b'"busy"', 503))
    run = RunHandle("r", client)
    for call in (run.result, lambda: list(run.events()), run.cancel):
        server.requests.clear()
        with pytest.raises(ServiceException, match=r"after \d+ attempts in 0\.[3-9] s"):
            call()
        assert len(server.requests) > 3


@pytest.mark.slow
def test_what_answered_once_is_known_to_answer(server: LocalServer, counter: AgentHandle) -> None:
    """A token says that somebody has reached the server: it is away, not a wrong address."""
    token = counter.start({"count": 1}).token()
    server.stop()
    with ApiClient(Configuration(host=server.url, retries=0)) as client:
        run = RunHandle.from_token(token, client)
        threading.Timer(1.0, server.restart).start()
        assert run.result(timeout=30) == {"count": 1, "of": 1}


@pytest.mark.parametrize("by", ["pickle", "token"])
def test_a_run_that_travels_keeps_its_age(
    server: LocalServer, counter: AgentHandle, set_timing: SetTiming, by: str
) -> None:
    run = counter.start({"count": 1})
    pickled, token = pickle.dumps(run), run.token()

    def arrived() -> RunHandle:
        client = counter.runs.api_client
        return pickle.loads(pickled) if by == "pickle" else RunHandle.from_token(token, client)

    set_timing(now=lambda: time.monotonic() - 1000)  # the clock of another machine
    server.faults.add(Fault(method="GET", path="/runs/*", status=404, times=3))
    assert arrived().refresh().agent_id == counter.agent_id
    set_timing(young=0.1)
    time.sleep(0.2)
    server.faults.add(Fault(method="GET", path="/runs/*", status=404))
    with pytest.raises(RunGone):
        arrived().refresh()


def test_done_does_not_wait_for_a_silent_server(serve: Serve, set_timing: SetTiming) -> None:
    set_timing(quick=0.3)
    server, client = serve(STALL)
    with pytest.raises(RunWaitTimeout, match=r"run r was not read after 0\.[3-9] s"):
        RunHandle("r", client).done()
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["delete", "cancel"])
def test_a_delete_that_a_replica_answers_is_sent_again(
    server: LocalServer, slow: AgentHandle, name: str
) -> None:
    run = slow.start({"seconds": 30})
    server.faults.add(Fault(method="DELETE", path="/runs/*", status=404, times=2))
    assert getattr(run, name)() in (None, True)
    with pytest.raises(RunGone):
        run.refresh()


@pytest.mark.slow
def test_an_error_with_a_body_that_breaks_off_is_what_its_status_says(
    serve: Serve, set_timing: SetTiming
) -> None:
    """A limit is a limit, credentials are refused, and Retry-After holds."""
    cut = [b"HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 99\r\n\r\n{", CLOSE]
    coded = response(b"x", 429, retry_after="1", content_encoding="compress")
    denied = [b"HTTP/1.1 401 No\r\nContent-Length: 99\r\n\r\n{", CLOSE]
    for first in (cut, coded):
        server, client = serve(first, run_json())
        began = time.monotonic()
        assert AgentHandle("a", client).start(timeout=30).run_id == "r"
        assert time.monotonic() - began >= 1
        assert [each.path for each in server.requests] == ["/runs", "/runs"]
    server, client = serve(denied)
    with pytest.raises(UnauthorizedException) as failure:
        RunHandle("r", client).result(timeout=30)
    assert failure.value.body == "{" and isinstance(failure.value.__cause__, ConnectionException)
    assert len(server.requests) == 1


def test_the_error_at_the_deadline_counts_the_requests(serve: Serve, set_timing: SetTiming) -> None:
    set_timing(backoff=(0.01, 0.02), least_left=0.2)
    _, client = serve(response(b'"busy"', 503))
    with pytest.raises(RunWaitTimeout, match=r"503.*after \d+ attempts in 0\.\d s"):
        RunHandle("r", client).result(timeout=0.9)


def test_limits_without_end_are_logged(
    serve: Serve, set_timing: SetTiming, caplog: pytest.LogCaptureFixture
) -> None:
    set_timing(backoff=(0.01, 0.02), quiet=0.1, outage=0.5)
    _, client = serve(response(b'"slow down"', 429))
    with pytest.raises(TooManyRequestsException):
        RunHandle("r", client).result()
    assert [each.levelname for each in caplog.records].count("WARNING") == 1


@pytest.mark.parametrize(("configured", "view", "connects"), [(3, 0, 1), (0, 1, 2)])
def test_a_view_has_its_own_retries(configured: int, view: int, connects: int) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with ApiClient(Configuration(host=url, retries=configured)) as client:
            tries: list[object] = []
            with pytest.raises(ConnectionException):
                RunHandle("r", client.with_options(retries=view)).result(
                    on_pending=lambda *said: tries.append(said)
                )
    assert len(tries) == connects


@pytest.mark.slow
def test_a_pause_between_an_outage_and_the_deadline_is_waited_for(
    serve: Serve, set_timing: SetTiming
) -> None:
    """After a create as after any other request."""
    set_timing(outage=0.5)
    creation = {"agent_id": "a", "metadata": {"acp-client-token": "t"}}
    found = response(json.dumps([a_run(creation=creation)]).encode())
    server, client = serve(response(b'"busy"', 503, retry_after="1"), found)
    run = AgentHandle("a", client).start(client_token="t", timeout=30)
    assert run.run_id == "r"
    assert [each.path for each in server.requests] == ["/runs", "/runs/search"]


@pytest.mark.slow
def test_a_wait_by_looks_keeps_its_deadline(serve: Serve, set_timing: SetTiming) -> None:
    """The run has ended when it is looked at, and then its output does not come."""
    looks: list[object] = []

    def respond(request: Any) -> Any:
        if "output" not in request.path:
            looks.append(request)
            time.sleep(1.0 * (len(looks) > 1))
            return run_json("pending" if len(looks) == 1 else "success")
        return STALL if looks else response(b"{}", 404)

    server, client = serve(respond)
    with pytest.raises(RunWaitTimeout):
        RunHandle("r", client).result(timeout=2)
    # The look took a second of the two, so no window of a second fits any more.
    assert server.requests[-1].path == "/runs/r/output?block_timeout=0"


def test_a_request_that_survives_nothing_does_not_wait_for_a_retry_after() -> None:
    """The search for the runs of a batch that have ended gives way to a Retry-After."""
    with ApiClient(Configuration(host="http://127.0.0.1:9")) as client:
        contact = Contact.of(RunsApi(client), Pace())
        server, limited = contact.server, ApiException(status=429)
        server.reached = True
        server.hold_ends, server.hold_began = timing().now() + 5, timing().now()
        server.hold_error = limited
        with pytest.raises(ApiException) as caught:
            Wait(contact, survive=0.0).perform("search", lambda limit: None)
    assert caught.value is limited and not contact.ends_batch(limited)


@pytest.mark.slow
def test_a_retry_after_holds_the_other_calls_that_wait_but_no_later_one(serve: Serve) -> None:
    """One call is told to come back in a second, while another one holds a long poll."""
    polled, limited = threading.Event(), threading.Event()
    asked: list[tuple[str, float]] = []

    def respond(request: Any) -> Any:
        name = request.path.split("/")[2]
        asked.append((name, time.monotonic()))
        first = [each for each, _ in asked].count(name) == 1
        if name == "waits" and first:
            polled.set()
            limited.wait(10)
            return response(status=204)
        if name == "limited" and first:
            return response(b"{}", 429, retry_after="1")
        return output_json(run_id=name)

    _, client = serve(respond)
    with ThreadPoolExecutor(2) as pool:
        waits = pool.submit(RunHandle("waits", client).result, 30)
        assert polled.wait(10)
        told = pool.submit(RunHandle("limited", client).result, 30)
        while not client.rest_client.server.hold_error:
            time.sleep(0.01)
        limited.set()
        assert RunHandle("later", client).result(30) == {"ok": 1}
        assert waits.result() == told.result() == {"ok": 1}
    names = [name for name, _ in asked]
    assert names[:3] == ["waits", "limited", "later"] and len(names) == 5
    assert all(at - asked[1][1] > 0.95 for _, at in asked[3:])


# The end of the time


@pytest.mark.slow
@pytest.mark.parametrize("failure", ["reset", "404", "503"])
@pytest.mark.parametrize("timeout", [0.9, 2.5])
def test_a_failure_that_passes_ends_no_short_wait(
    serve: Serve, failure: str, timeout: float
) -> None:
    """The output is there after three quarters of the timeout, less what a request takes."""
    first = {"reset": [CLOSE], "404": response(b'"no such run"', 404), "503": response(b"", 503)}
    began = time.monotonic()
    outputs: list[float] = []

    def output() -> Any:
        outputs.append(time.monotonic() - began)
        return SUCCESS if outputs[-1] > 0.3 * timeout else first[failure]

    _, client = serve(Replies(output=output))
    agent = AgentHandle("a", client)
    began = time.monotonic()
    assert agent.start().result(timeout=timeout) == {"ok": 1}
    assert len(outputs) > 1


TIMED: dict[str, Callable[[AgentHandle, RunHandle], object]] = {
    "run": lambda agent, run: agent.run(timeout=0.6),
    "run, cancelled": lambda agent, run: agent.run(timeout=0.6, cancel_on_exit=True),
    "start": lambda agent, run: agent.start(timeout=0.6),
    "start, reuse": lambda agent, run: agent.start(timeout=0.6, client_token="t", reuse=True),
    "start, check": lambda agent, run: agent.start({}, timeout=0.6, check=True),
    "output": lambda agent, run: run.output(timeout=0.6),
    "result": lambda agent, run: run.result(timeout=0.6),
    "drive": lambda agent, run: run.drive(str, timeout=0.6),
    "drive, events": lambda agent, run: run.drive(str, timeout=0.6, on_event=str),
    "events": lambda agent, run: next(run.events(timeout=0.6)),
    "interrupts": lambda agent, run: next(run.interrupts(timeout=0.6)),
    "resume": lambda agent, run: run.resume({}, timeout=0.6),
}


@pytest.mark.slow
@pytest.mark.parametrize("away", [False, True], ids=["hangs", "is away"])
@pytest.mark.parametrize("name", TIMED)
def test_no_call_passes_its_timeout_at_a_server_that(
    serve: Serve, name: str, set_timing: SetTiming, away: bool
) -> None:
    set_timing(exit=0.3)  # for what `cancel_on_exit` adds
    server, client = serve([STALL])
    client.rest_client.server.reached = True
    if away:
        server.stop()
    began = time.monotonic()
    of_an_agent = name.startswith(("run", "start"))
    with pytest.raises((ApiException, TimeoutError) if of_an_agent else RunWaitTimeout):
        TIMED[name](AgentHandle("a", client), RunHandle("r", client))
    assert time.monotonic() - began < 0.6 + 1.5


@pytest.mark.slow
def test_an_answer_that_hangs_leaves_time_to_see_whether_it_arrived(serve: Serve) -> None:
    resumed: list[float] = []

    def respond(request: Any) -> Any:
        if request.method == "POST":
            resumed.append(time.monotonic())
            return [STALL]
        if "/output" in request.path:
            return SUCCESS if resumed else QUESTION
        if resumed:
            return run_json("success", updated="02")
        return run_json("interrupted", updated="01.5")

    _, client = serve(respond)
    run = RunHandle("r", client)
    run.resume({"yes": True}, timeout=2)
    assert time.monotonic() - resumed[0] < 1.9
    assert run.result(timeout=30) == {"ok": 1}
    assert len(resumed) == 1


def test_a_refresh_is_limited_as_the_client_is(serve: Serve) -> None:
    _, client = serve([STALL], timeout=0.5, retries=0)
    began = time.monotonic()
    with pytest.raises(ApiException):
        RunHandle("r", client).refresh()
    assert time.monotonic() - began < 10


# What a status and a time may be


def test_a_time_without_an_offset_is_utc(serve: Serve) -> None:
    """The server writes its offset in one response and not in the next."""
    resumed: list[bytes] = []

    def respond(request: Any) -> Any:
        if request.method == "POST":
            resumed.append(request.body)
        if "/output" in request.path:
            return SUCCESS if resumed else QUESTION
        if resumed:
            return run_json("success", updated="02.5")
        times = ("2026-01-01T00:00:01.5Z", "2026-01-01T00:00:01.5")
        return run_json("interrupted", updated_at=times[len(server.requests) % 2])

    server, client = serve(respond)
    assert RunHandle("r", client).drive(lambda asked: {"n": 1}, timeout=30) == {"ok": 1}
    assert resumed == [b'{"n":1}'] or resumed == [b'{"n": 1}']


@pytest.mark.parametrize("status", ["", "queued"])
def test_a_status_that_is_not_of_the_contract_has_not_ended(
    serve: Serve, set_timing: SetTiming, status: str
) -> None:
    """The output is asked for until it is there: it is the only sign of the end."""
    replies = Replies(run_json(status), output=(*[response(b"", 404)] * 3, SUCCESS))
    _, client = serve(replies)
    run = RunHandle("r", client)
    with pytest.raises(RunWaitTimeout):
        run.result(timeout=0)
    assert not run.done()
    clock = Clock(set_timing)
    assert run.result(timeout=30) == {"ok": 1}
    assert clock.pauses == pytest.approx([0.2, 0.4])
    assert run.status is RunStatus.SUCCESS
    run.refresh()  # an outcome that was seen counts
    assert run.status is RunStatus.SUCCESS
    assert replies.asked.count("output") == 4


def test_a_run_whose_output_is_not_served_is_read_instead(
    serve: Serve, set_timing: SetTiming
) -> None:
    looks = (run_json(), run_json(), run_json("success"))
    replies = Replies(output=(NOT_FOUND, SUCCESS), look=looks)
    _, client = serve(replies)
    clock = Clock(set_timing)
    assert RunHandle("r", client).result() == {"ok": 1}
    assert replies.asked == ["output", "look", "look", "look", "output"]
    assert clock.pauses == pytest.approx([0.25, 0.2])


@pytest.mark.parametrize(("asked", "timeout"), [(60.0, 5.0), (0.9, 0.5)])
def test_a_wait_does_not_report_the_error_of_another_request(
    client: ApiClient, asked: float, timeout: float
) -> None:
    server = client.rest_client.server
    another = ServiceException(status=524, reason="of a create", headers={"retry-after": "60"})
    core = RunCore(RunsApi(client), "r")
    wait = core.wait(timeout)  # begins before the Retry-After comes
    server.hold_ends, server.hold_began = timing().now() + asked, timing().now()
    server.hold_error = another
    with pytest.raises(RunWaitTimeout, match=f"Retry-After: {asked:.0f} s") as caught:
        core.output(wait)
    assert "524" not in str(caught.value)
    assert caught.value.run_id == "r" and RunHandle.from_token(caught.value.token, client)


@pytest.mark.slow
def test_a_pause_leaves_time_for_a_last_look(serve: Serve, set_timing: SetTiming) -> None:
    """The server returns each 204 at once, and the run ends in the pause after it."""
    set_timing(early=(10.0, 10.0))
    ended = time.monotonic() + 0.5

    def respond(request: Any) -> Any:
        over = "/output" in request.path and time.monotonic() > ended
        return SUCCESS if over else response(status=204)

    _, client = serve(respond)
    ended = time.monotonic() + 0.5
    assert RunHandle("r", client).result(timeout=2) == {"ok": 1}


def test_the_age_of_a_run_grows_with_the_time_since_its_create(
    client: ApiClient, set_timing: SetTiming
) -> None:
    core = RunHandle("r", client)._core
    assert core.age() == math.inf
    core.note_created(ago=50)
    assert core.age() >= 50
    core.note_created(ago=-50)  # by a clock that was set back
    assert 0 <= core.age() < 50
    now, calendar = time.monotonic(), time.time()
    set_timing(now=lambda: now, calendar=lambda: calendar)
    core.note_created()
    assert core.age() == 0
    # Otherwise every 404 would count as one of a read replica, until the clock is back.
    set_timing(calendar=lambda: calendar - 3600)
    assert core.age() == 3600


@pytest.mark.slow
def test_a_poll_may_end_some_seconds_after_its_window(serve: Serve) -> None:
    """A server is slow to respond after the window: that is no cut, so nothing is asked again."""
    server, client = serve([1.8, SUCCESS])
    output = wait_for_run_output(RunsApi(client), "r", timeout=30, block_timeout=1)
    assert isinstance(output.actual_instance, RunResult)
    assert len(server.requests) == 1


@pytest.mark.slow
def test_polls_that_end_early_are_followed_by_pauses_that_double(serve: Serve) -> None:
    """And begin again after a poll of a whole window."""
    polled = itertools.count(1)

    def respond(request: object) -> Any:
        empty = NOTHING
        return [1.1, empty] if next(polled) == 6 else empty

    _, client = serve(respond)
    core = RunCore(RunsApi(client), "r")
    polls = Polls(core, core.wait(), 1)
    pauses = [polls.send(math.inf) for _ in range(7)]
    assert pauses == [Pause(seconds) for seconds in (0.2, 0.4, 0.8, 1.6, 2.0, 0.0, 0.2)]


def test_progress_is_told_each_30_seconds_and_a_thousand_questions_are_answered_by_default(
    counter: AgentHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, told = counter.start({"count": 1}), []
    monkeypatch.setattr(Wait, "ticking", lambda wait, on_tick, every: told.append(every))
    run.output(on_pending=lambda *_: None)
    run.result(on_pending=lambda *_: None)
    assert told == [30, 30]
    asked = dict[str, Any]()
    monkeypatch.setattr(
        "acp_client_v0_1.handles.run.Questions",
        lambda *given, **more: asked.update(more) or Questions(*given, **more),
    )
    run.drive(lambda question: {})
    core = run._core
    assert asked == {"most": 1000} and Questions(core, None, None).most == 1000
