"""One create makes one run, whatever happens to its response; counted on the server."""

from __future__ import annotations

import json
import pickle
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.serving import Clock, Replies, Serve, a_run, run_json
from support.socket_server import CLOSE, STALL, response
from support.timing import SetTiming
from urllib3.util import Retry

from acp_client_v0_1 import (
    AgentHandle,
    AgentsApi,
    ApiClient,
    ApiException,
    ApiValueError,
    Configuration,
    ConnectionException,
    NotFoundException,
    Run,
    RunCreate,
    RunHandle,
    RunOptions,
    RunsApi,
    RunStartAmbiguous,
    ServiceException,
    TooManyRequestsException,
    UnprocessableEntityException,
)
from acp_client_v0_1.handles import _create as starting
from acp_client_v0_1.handles._token import RunToken, encode_token
from acp_client_v0_1.handles.agent import _check_reused, _earlier_creates
from acp_client_v0_1.testing import Fault, LocalServer, Quirks

COUNTER = "22222222-2222-4222-8222-222222222222"
LOST = Fault(method="POST", path="/runs", cut="close", after_wire_bytes=0)


CALLS: dict[str, Callable[[ApiClient], object]] = {
    "start": lambda client: AgentHandle("a", client).start(),
    "run": lambda client: AgentHandle("a", client).run(timeout=60),
    "run, answered": lambda client: AgentHandle("a", client).run(on_interrupt=lambda asked: None),
    "find": lambda client: AgentHandle.find("a", client),
    "refresh": lambda client: RunHandle("r", client).refresh(),
    "output": lambda client: RunHandle("r", client).output(),
    "result": lambda client: RunHandle("r", client).result(timeout=60),
    "result, one look": lambda client: RunHandle("r", client).result(timeout=0),
    "events": lambda client: next(RunHandle("r", client).events()),
    "drive": lambda client: RunHandle("r", client).drive(lambda asked: None),
    "resume": lambda client: RunHandle("r", client).resume({}),
    "cancel": lambda client: RunHandle("r", client).cancel(),
    "delete": lambda client: RunHandle("r", client).delete(),
}


@pytest.fixture
def closed_port() -> str:
    """The URL of a port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def how_many(server: LocalServer) -> int:
    with ApiClient(Configuration(host=server.url)) as client:
        return len(RunsApi(client).search_runs({"limit": 1000}))


UNCLEAR = {
    "lost": LOST,
    "500": Fault(method="POST", path="/runs", status=500, late=0.01),
    "524": Fault(method="POST", path="/runs", status=524, late=0.01),
    "unreadable": Fault(method="POST", path="/runs", raw=b"HTTP/1.1 200 OK\r\n\r\n", late=0.01),
    "a redirect": Fault(
        method="POST", path="/runs", status=302, headers={"Location": "/x"}, late=0.01, body=b""
    ),
}


@pytest.mark.parametrize("fault", UNCLEAR.values(), ids=UNCLEAR)
def test_a_create_without_a_clear_response_makes_one_run(
    server: LocalServer, counter: AgentHandle, counts: Any, fault: Fault
) -> None:
    server.faults.add(fault)
    run = counter.start({"count": 1})
    assert run.result(timeout=30) == {"count": 1, "of": 1}
    assert (run.duplicates, counts.creates, how_many(server)) == ((), 1, 1)
    assert counts.of("POST", "/search") >= 1


@pytest.mark.parametrize("habit", ["ignored", "fails"])
def test_servers_that_cannot_search_by_metadata(serve: Serve, habit: Any) -> None:
    server, client = serve(Quirks(search_metadata=habit), retries=0)
    counter = AgentHandle(COUNTER, client)
    for _ in range(3):
        counter.start({"count": 1})
    server.faults.add(LOST)
    run = counter.start({"count": 2, "interval": 0})
    assert run.result(timeout=30) == {"count": 2, "of": 2}
    found = RunHandle.find(run.client_token, agent_id=COUNTER, api_client=client)
    assert found is not None
    assert found.run_id == run.run_id
    assert found.duplicates == ()
    assert RunHandle.find("nobody's", api_client=client) is None


def test_a_refused_search_by_metadata_is_not_tried_again(
    server: LocalServer, counter: AgentHandle
) -> None:
    server.faults.add(Fault(path="/runs/search", status=422))
    for _ in range(2):
        server.faults.add(LOST)
        assert counter.start({"count": 1}).run_id
    searches = [each.body for each in server.requests if each.path == "/runs/search"]
    assert ["metadata" in json.loads(body) for body in searches].count(True) == 1


@pytest.mark.slow
def test_the_time_of_a_search_is_for_all_of_its_pages(serve: Serve) -> None:
    server, client = serve(Quirks(search_metadata="fails"), retries=0)
    counter = AgentHandle(COUNTER, client)
    counter.start({"count": 1})
    server.faults.add(Fault(path="/runs/search", delay=1.0, times=None))
    with pytest.raises(ApiException):
        starting.find_by_token(RunsApi(client), "nobody's", COUNTER, timeout=1.5)
    assert len([one for one in server.requests if one.path == "/runs/search"]) == 2
    with pytest.raises(ApiException):
        counter.start({"count": 1}, client_token="mine", reuse=True, timeout=1.5)
    assert len([one for one in server.requests if one.path == "/runs"]) == 1


def test_a_server_that_ignores_metadata_is_searched_by_ten_pages_of_a_thousand() -> None:
    run, asked = Run.from_dict(a_run()), []

    class Full(RunsApi):
        def search_runs(self, request: Any, **_: Any) -> list[Run]:  # type: ignore[override]
            asked.append((request.offset, request.limit))
            return [run] * request.limit

    with pytest.raises(ApiException, match="not among the first 10000 that were found"):
        starting.find_by_token(Full(), "nobody's", "a")
    assert asked == [(1000 * page, 1000) for page in range(10)]


def test_a_create_that_was_never_carried_out(
    server: LocalServer, counter: AgentHandle, set_timing: SetTiming, counts: Any
) -> None:
    set_timing(search=0.5)
    server.faults.add(Fault(method="POST", path="/runs", cut="reset"))
    with pytest.raises(RunStartAmbiguous) as caught:
        counter.start({"count": 1})
    error = caught.value
    assert counts.creates == 1
    assert counts.of("GET", f"/agents/{COUNTER}") == 1
    assert error.searched
    assert error.run_id == ""
    assert "may have been started or not" in str(error)
    assert "RunHandle.from_token(error.token), before you start another" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (again.client_token, again.token) == (error.client_token, error.token)
    assert RunHandle.find(error.client_token, api_client=counter.runs.api_client) is None


def test_bytes_that_are_no_http_are_ambiguous_from_a_server_that_has_responded(
    serve: Serve,
) -> None:
    _, client = serve(response(b"[]"), [b"SSH-2.0-OpenSSH\r\n", "close"])
    AgentsApi(client).search_agents({})
    with pytest.raises(RunStartAmbiguous, match="not a status line of HTTP/1: 'SSH") as caught:
        AgentHandle("a", client).start({}, timeout=0.5)
    assert len(str(caught.value)) <= 240


@pytest.mark.slow
def test_the_token_of_an_ambiguous_start_looks_again(
    server: LocalServer, counter: AgentHandle
) -> None:
    client = counter.runs.api_client
    server.faults.add(Fault(method="POST", path="/runs", cut="close", late=1.5))
    began = time.monotonic()
    with pytest.raises(RunStartAmbiguous) as caught:
        counter.start({"count": 1}, timeout=0.8)
    assert time.monotonic() - began < 0.8 + 4
    run = RunHandle.from_token(caught.value.token, client)  # by now, or within ten seconds
    assert run.result(timeout=30) == {"count": 1, "of": 1}
    assert run.agent_id == COUNTER
    assert run.client_token == caught.value.client_token


def test_the_search_of_a_token_takes_no_longer_than_its_timeout(
    server: LocalServer, client: ApiClient
) -> None:
    known = RunToken(server.url, agent=COUNTER, client_token="none-has-it")
    began = time.monotonic()
    with pytest.raises(RunStartAmbiguous, match="no run with its client token is there yet") as e:
        RunHandle.from_token(encode_token(known), client, timeout=0.5)
    assert time.monotonic() - began < 9 and e.value.token == encode_token(known)


def test_searches_that_find_nothing_come_less_and_less_often(
    serve: Serve, set_timing: SetTiming
) -> None:
    server, client = serve(Replies(search=response(b"[]")))
    known, clock = RunToken(server.url, client_token="none-has-it"), Clock(set_timing)
    with pytest.raises(RunStartAmbiguous):
        RunHandle.from_token(encode_token(known), client, timeout=6)
    assert clock.pauses[:6] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_without_a_client_token_nothing_can_be_looked_for(
    server: LocalServer, counter: AgentHandle, counts: Any
) -> None:
    server.faults.add(LOST)
    with pytest.raises(RunStartAmbiguous, match="it cannot be searched for") as caught:
        counter.start({"count": 1}, client_token="")
    assert caught.value.token == ""
    assert counts.of("POST", "/search") == 0


def test_what_was_certainly_not_carried_out_is_posted_again(
    server: LocalServer, counter: AgentHandle, counts: Any
) -> None:
    server.faults.add(Fault(path="/runs", status=429, retry_after=0.1, times=2))
    assert counter.run({"count": 1}, timeout=30) == {"count": 1, "of": 1}
    assert counts.creates == 3
    assert how_many(server) == 1


@pytest.mark.slow
def test_a_server_that_comes_up_later(server: LocalServer, counter: AgentHandle) -> None:
    server.stop()
    threading.Timer(0.8, server.start).start()
    assert counter.run({"count": 1}, timeout=30) == {"count": 1, "of": 1}
    assert how_many(server) == 1


def test_a_refusal_is_raised_as_it_is(server: LocalServer, counter: AgentHandle) -> None:
    with pytest.raises(UnprocessableEntityException):
        counter.start({"count": "three"})
    server.faults.add(Fault(path="/runs", status=501))
    server.clear_requests()
    with pytest.raises(ServiceException):
        counter.start({"count": 1})
    assert len(server.requests) == 1


def test_duplicates_are_counted_and_the_oldest_wins(
    server: LocalServer, counter: AgentHandle
) -> None:
    runs = [counter.start({"count": 1}, client_token="mine")]
    for _ in range(2):
        words = "client_token 'mine' was given .* pass reuse=True"
        with pytest.warns(UserWarning, match=words) as warned:
            runs.append(counter.start({"count": 1}, client_token="mine"))
        assert warned[0].filename == __file__
    assert _earlier_creates.cache_parameters()["maxsize"] == 1000  # are remembered
    found = RunHandle.find("mine", api_client=counter.runs.api_client)
    assert found is not None
    assert found.run_id == runs[0].run_id
    assert found.duplicates == tuple(run.run_id for run in runs[1:])
    with pytest.raises(ApiValueError, match="client_token must not be empty"):
        RunHandle.find("")


def test_a_second_create_of_a_client_token_is_a_warning_only_if_the_first_may_have_made_a_run(
    server: LocalServer, counter: AgentHandle
) -> None:
    server.faults.add(Fault(method="POST", path="/runs", status=422))
    with pytest.raises(ApiException):
        counter.start({"count": 1}, client_token="order-7")
    counter.start({"count": 1}, client_token="order-7")
    counter.start({"count": 1}, client_token="order-7", reuse=True)
    counter.start({"count": 1}, client_token="")
    counter.start({"count": 1}, client_token="")
    with pytest.warns(UserWarning, match="pass reuse=True, or this may make a second run"):
        counter.run({"count": 1}, metadata={"acp-client-token": "order-7"})


@pytest.mark.parametrize("status", [405, 400])
def test_a_server_that_does_not_search(serve: Serve, status: int) -> None:
    words = b'"%s"' % (b"no " * 100)
    refused = response(words, status, "Refused")
    replies = Replies(response(words, 405), create=response(words, 500), search=refused)
    _, client = serve(replies)
    with pytest.raises(RunStartAmbiguous, match=rf"failed: .*{status}.{{1,40}}…; search") as caught:
        AgentHandle("a", client).start()
    assert not caught.value.searched and replies.asked.count("create") == 1
    # Of both errors there is only as much as a line has room for.
    assert 230 <= len(str(caught.value)) <= 240
    assert len(str(caught.value).partition("search for it failed: ")[2].partition("…;")[0]) == 47


@pytest.mark.slow
def test_the_deadline_holds_after_a_refusal_that_took_its_time(
    server: LocalServer, counter: AgentHandle, set_timing: SetTiming
) -> None:
    """Each create leaves time to find out what became of it."""
    server.faults.add(
        Fault(method="POST", path="/runs", status=429, retry_after=0, delay=0.6),
        Fault(method="POST", path="/runs", delay=60),  # longer than what is left
    )
    began = time.monotonic()
    run = counter.start(timeout=3.0)
    assert time.monotonic() - began < 3
    assert [run.run_id] == [each["run_id"] for each in server.runs]


def test_a_cancelled_call_finds_the_run_of_an_interrupted_create(
    counter: AgentHandle, counts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C strikes after the server has made the run, before anybody knows its id."""
    from acp_client_v0_1.handles import agent

    make = agent.create

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        make(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(agent, "create", interrupted)
    with pytest.raises(KeyboardInterrupt):
        counter.run({"count": 100, "interval": 1}, cancel_on_exit=True)
    assert (counts.creates, counts.deletes) == (1, 1)


def test_no_credential_is_in_an_error_a_token_or_a_representation(
    server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    configuration = Configuration(
        host=server.url, api_key={"x-api-key": "s3cret-key"}, access_token="s3cret-token"
    )
    shown: list[str] = []
    with ApiClient(configuration) as client:
        counter = AgentHandle(COUNTER, client)
        run = counter.start({"count": 1}, streaming="custom")
        events = run.events()
        list(events)
        question = next(AgentHandle.find("approval", api_client=client).start().interrupts())
        shown += [repr(each) for each in (counter, run, events, question)]
        shown += [run.token(), repr(pickle.dumps(question))]
        server.faults.add(Fault(method="POST", path="/runs", cut="close"))
        errors: list[ApiException] = []
        for attempt in (
            lambda: counter.start(timeout=0.3),
            lambda: AgentHandle.find("failing", api_client=client).run(timeout=30),
            lambda: RunHandle("nobody", client).refresh(),
            lambda: AgentHandle.find("approval", api_client=client).run(timeout=30),
            lambda: AgentHandle.find("nobody", api_client=client),
        ):
            with pytest.raises(ApiException) as caught:
                attempt()
            errors.append(caught.value)
        for error in errors:
            shown += [str(error), repr(error), repr(pickle.dumps(error))]
    shown.append(caplog.text)
    assert "s3cret" not in "".join(shown)
    assert all("s3cret" not in word for error in errors for word in decoded(error))


def decoded(error: ApiException) -> list[str]:
    """What the error's token says, in the clear."""
    import base64

    token = getattr(error, "token", "")
    return [base64.urlsafe_b64decode(token.split(".")[1] + "==").decode()] if token else []


def test_a_run_of_another_agent_is_nobodys(serve: Serve, set_timing: SetTiming) -> None:
    """The server searches by metadata alone, and another agent has used the client token."""
    set_timing(search=0.3)
    creation = {"agent_id": "b", "metadata": {"acp-client-token": "order-1"}}
    run = a_run(agent_id="b", creation=creation)

    def respond(request: Any) -> Any:
        if request.path != "/runs/search":  # the create, or the question whether "a" is there
            return [CLOSE] if request.method == "POST" else response(b'"no"', status=405)
        return response(json.dumps([run]).encode())

    _, client = serve(respond)
    agent = AgentHandle("a", client)
    with pytest.raises(RunStartAmbiguous, match="token is of run r of agent b") as failure:
        agent.start(client_token="order-1")
    assert not failure.value.searched  # so a batch starts no second run
    with pytest.raises(ApiValueError, match=r"of run r, .* with another agent_id"):
        agent.start(client_token="order-1", reuse=True)
    assert RunHandle.find("order-1", client, agent_id="a") is None
    for found in (None, "b", "B"):
        handle = RunHandle.find("order-1", client, agent_id=found)
        assert handle is not None and handle.run_id == "r"
    run["agent_id"] = "the-id-of-b"  # as if "b" were a name
    assert RunHandle.find("order-1", client, agent_id="b") is not None


@pytest.mark.parametrize(
    ("agent_id", "ours"), [("a-ID", True), ("A-NAME", True), ("b", False), (None, True)]
)
def test_the_agent_of_a_run_may_be_written_in_other_letters(
    agent_id: str | None, ours: bool
) -> None:
    run = Run.from_dict(a_run(agent_id="A-id", creation={"agent_id": "a-Name"}))
    assert starting.is_of(run, agent_id) is ours


def test_the_client_token_of_a_create_needs_no_echo(serve: Serve) -> None:
    _, client = serve(run_json())
    handle = AgentHandle("a", client).start(client_token="order-1")
    handle.refresh()
    assert handle.client_token == "order-1"
    again = RunHandle.from_token(handle.token(), client)
    assert again.client_token == "order-1"
    assert AgentHandle("a", client).start(client_token="").client_token is None


@pytest.mark.slow
def test_a_limit_near_the_deadline_is_never_maybe_started(
    server: LocalServer, counter: AgentHandle, counts: Any
) -> None:
    limit = Fault(method="POST", path="/runs", status=429, delay=0.05, times=None)
    server.faults.add(limit)
    with pytest.raises(TooManyRequestsException):
        counter.start(timeout=2)
    server.faults.clear()
    server.faults.add(Fault(method="POST", path="/runs", status=429, retry_after=3600, times=None))
    server.clear_requests()
    for timeout in (None, 30):
        with pytest.raises(TooManyRequestsException, match="Retry-After: 3600 s"):
            counter.start(timeout=timeout)
    assert (counts.creates, len(server.requests)) == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("status", [408, 502, 503, 504])
def test_the_search_for_a_lost_create_waits_as_the_server_asks(
    server: LocalServer, counter: AgentHandle, status: int
) -> None:
    fault = Fault(method="POST", path="/runs", status=status, retry_after=1, late=0.01)
    server.faults.add(fault)
    assert counter.start({"count": 1}).run_id
    create, search = (request.time for request in server.requests)
    assert search - create >= 1


def test_no_search_to_cancel_overtakes_a_pause(server: LocalServer, counter: AgentHandle) -> None:
    fault = Fault(method="POST", path="/runs", status=503, retry_after=3600)
    server.faults.add(fault)
    with pytest.raises(RunStartAmbiguous, match="Retry-After: 3600 s"):
        counter.run({"count": 1}, timeout=30, cancel_on_exit=True)
    assert [request.path for request in server.requests] == ["/runs"]
    # The next call is no retry.
    assert counter.run({"count": 1}, timeout=30, cancel_on_exit=True) == {"count": 1, "of": 1}


@pytest.mark.slow
def test_a_run_is_searched_for_and_cancelled_once_the_server_wants_requests(
    server: LocalServer, slow: AgentHandle, counts: Any
) -> None:
    """The create was carried out, and the call has no time left to find that out."""
    server.faults.add(
        Fault(method="POST", path="/runs", status=503, retry_after=1, carried_out=True)
    )
    with pytest.raises(RunStartAmbiguous):
        slow.run({"seconds": 30}, timeout=0.5, cancel_on_exit=True)
    create, search, *_ = (request.time for request in server.requests)
    assert search - create >= 1
    assert (counts.creates, counts.deletes, server.runs) == (1, 1, ())


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"client_token": ""}, {"client_token": "t", "reuse": True}]
)
@pytest.mark.parametrize("search", [None, 502])
def test_an_agent_that_the_server_does_not_know_has_no_run(
    server: LocalServer, client: ApiClient, counts: Any, options: Any, search: int | None
) -> None:
    """Some servers answer 500 to its create; its 404 settles that at once."""
    server.faults.add(Fault(method="POST", path="/runs", status=500, times=None))
    server.faults.add(Fault(method="POST", path="/runs/search", status=search, times=None))
    began = time.monotonic()
    with pytest.raises(NotFoundException, match="/agents/99999999"):
        AgentHandle("99999999-9999-4999-8999-999999999999", client).start(**options)
    assert time.monotonic() - began < 8
    # With metadata and without, and not again until a server cannot search.
    assert counts.creates == (0 if search and "reuse" in options else 1)
    assert counts.of("POST", "/search") <= (10 if "reuse" in options else 2)


def test_a_server_that_does_not_serve_agents_may_have_made_the_run(
    server: LocalServer, counter: AgentHandle, counts: Any
) -> None:
    server.faults.add(Fault(method="POST", path="/runs", cut="close", late=0.5))
    server.faults.add(Fault(path="/agents/*", status=404, body={"detail": "Not Found"}))
    assert counter.start({"count": 1}).run_id
    assert counts.of("GET", f"/agents/{COUNTER}") == 1


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/agents/*", "/runs/search"])
def test_the_search_waits_for_each_retry_after(
    server: LocalServer, counter: AgentHandle, path: str
) -> None:
    server.faults.add(Fault(method="POST", path="/runs", cut="close", late=0.5))
    server.faults.add(Fault(path=path, status=503, retry_after=1))
    assert counter.start({"count": 1}).run_id
    asked = next(n for n, request in enumerate(server.requests) if request.fault and n)
    assert server.requests[asked + 1].time - server.requests[asked].time >= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "retries", "connects"),
    [
        *(("refresh", retries, 1) for retries in (False, 0, Retry(5, connect=0))),
        *((name, 2, 3) for name in CALLS),
    ],
)
def test_a_server_that_never_answered_is_a_wrong_address(
    closed_port: str, monkeypatch: pytest.MonkeyPatch, name: str, retries: Any, connects: int
) -> None:
    """It fails within the client's own retries, however long the caller would wait for a run."""
    attempts: list[Any] = []
    connect = socket.socket.connect

    def counted(sock: socket.socket, address: Any) -> None:
        attempts.append(address)
        connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", counted)
    with ApiClient(Configuration(host=closed_port, retries=retries)) as client:
        began = time.monotonic()
        with pytest.raises(ConnectionException, match="cannot connect"):
            CALLS[name](client)
        assert time.monotonic() - began < 15
    assert len(attempts) == connects


@pytest.mark.slow
def test_a_server_that_has_answered_is_away(server: LocalServer, counter: AgentHandle) -> None:
    """Nothing was sent, so the run is created when the server is there again."""
    counter.start({"count": 1})
    server.stop()
    threading.Timer(0.6, server.restart).start()
    assert counter.run({"count": 1}, timeout=30) == {"count": 1, "of": 1}


def test_a_run_of_an_earlier_page_is_not_dropped(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "_PAGE", 2)
    server, client = serve(Quirks(search_metadata="ignored", search_order="newest"), retries=0)
    counter = AgentHandle(COUNTER, client)
    for _ in range(4):
        counter.start({"count": 1})
    server.faults.add(
        LOST,
        Fault(path="/runs/search"),  # the first page is let through
        Fault(path="/runs/search", status=503, times=None),
    )
    assert counter.start({"count": 1}).run_id


@pytest.mark.slow
@pytest.mark.parametrize(
    ("durations", "searched"),
    [
        # The last search has no time, and the one just before it still counts.
        ({"search": 0.7}, True),
        # The create may have arrived since the search that worked, so it is not posted again.
        ({"search": 1.0, "search_backoff": (0.05, 0.1), "least_left": 0.1}, False),
    ],
)
def test_a_search_that_worked_counts_for_a_moment(
    serve: Serve, set_timing: SetTiming, durations: dict[str, Any], searched: bool
) -> None:
    set_timing(**durations)
    replies = Replies(response(b"{}", 404), create=[CLOSE], search=(response(b"[]"), [STALL]))
    _, client = serve(replies)
    with pytest.raises(RunStartAmbiguous) as failure:
        AgentHandle("a", client).start()
    assert failure.value.searched is searched and replies.asked.count("search") == 2


def test_a_run_of_another_agent_is_no_duplicate(serve: Serve) -> None:
    def run(run_id: str, agent_id: str) -> dict[str, Any]:
        creation = {"agent_id": agent_id, "metadata": {"acp-client-token": "order-1"}}
        return a_run(run_id=run_id, agent_id=agent_id, creation=creation)

    found = json.dumps([run("b1", "b"), run("a1", "a"), run("a2", "a")]).encode()
    _, client = serve(response(found))
    handle = AgentHandle("a", client).start(client_token="order-1", reuse=True)
    assert (handle.run_id, handle.duplicates) == ("a1", ("a2",))


ECHOES: dict[str, Any] = {
    "as it was sent": {"a": 1, "b": {"c": [1, {"d": 2}]}, "none": None},
    "with keys and nulls of the server": {
        "a": 1,
        "b": {"c": [1, {"d": 2, "e": None}], "f": 3},
        "g": None,
        "h": {"i": 1},
    },
}
OTHERS: dict[str, Any] = {
    "another value": {"a": 2, "b": {"c": [1, {"d": 2}]}},
    "a value less": {"a": 1, "b": {"c": [1]}},
    "another kind": {"a": 1, "b": [1]},
    "none": {"a": 1, "b": None},
}


@pytest.mark.parametrize("field", ["input", "config"])
@pytest.mark.parametrize("echo", [*ECHOES, *OTHERS])
def test_reuse_compares_what_was_asked(serve: Serve, field: str, echo: str) -> None:
    asked = {"a": 1, "b": {"c": [1, {"d": 2}]}, "none": None}
    creation = {"agent_id": "a", "metadata": {"acp-client-token": "t"}}
    creation[field] = {**ECHOES, **OTHERS}[echo]
    found = response(json.dumps([a_run(creation=creation)]).encode())
    _, client = serve(found)
    agent = AgentHandle("a", client)
    given: dict[str, Any] = {field: asked, "client_token": "t", "reuse": True}
    if echo in ECHOES:
        assert agent.start(**given).run_id == "r"
    else:
        with pytest.raises(ApiValueError, match=f"created with another {field}"):
            agent.start(**given)


def test_a_server_whose_searches_always_fail_is_not_searched_for_five_minutes(
    server: LocalServer, counter: AgentHandle, set_timing: SetTiming, counts: Any
) -> None:
    set_timing(backoff=(0.01, 0.02))
    server.faults.add(Fault(method="POST", path="/runs/search", status=500, times=None))
    for searches in (12, 4):  # by metadata, and by agent alone; remembered the second time
        server.clear_requests()
        with pytest.raises(ServiceException, match="500"):
            counter.start({"count": 1}, client_token="mine", reuse=True)
        assert counts.of("POST", "/runs/search") <= searches
        assert counts.creates == 0
    server.faults.clear()
    assert counter.start({"count": 1}, client_token="mine", reuse=True).run_id


def test_an_outage_that_ends_with_a_look_at_the_agent_does_not_end_the_search(
    server: LocalServer, counter: AgentHandle, set_timing: SetTiming
) -> None:
    set_timing(backoff=(0.01, 0.02))
    server.faults.add(Fault(method="POST", path="/runs/search", status=502, times=10))
    assert counter.start({"count": 1}, client_token="mine", reuse=True, timeout=30).run_id


def test_every_optional_field_of_a_create_is_an_option(
    server: LocalServer, counter: AgentHandle
) -> None:
    """Of each method that starts runs, and help says what it is."""
    names = RunOptions.__optional_keys__
    assert names == RunCreate.model_fields.keys() - {"agent_id", "input", "thread_id"}
    for method in (AgentHandle.start, AgentHandle.run, AgentHandle.map):
        lines = [line.strip() for line in (method.__doc__ or "").splitlines()]
        assert all(any(line.startswith(f"{name}: ") for line in lines) for name in names)
    options: RunOptions = {
        "config": {"a": 1},
        "metadata": {"b": 2},
        "webhook": f"{server.url}/hook",
        "streaming": "custom",
    }
    assert options.keys() == names
    counter.run({"count": 1}, timeout=30, **options)
    counter.start({"count": 1}, timeout=30, **options).result(timeout=30)
    [item] = counter.map([{"count": 1}], **options)
    assert item.ok
    created = [run.creation for run in RunsApi(counter.runs.api_client).search_runs({})]
    assert len(created) == 3
    for creation in created:
        assert (creation.config, creation.webhook) == ({"a": 1}, options["webhook"])
        assert creation.metadata is not None and creation.metadata["b"] == 2
        assert creation.streaming == "custom"


def test_a_run_that_is_found_for_another_call_names_all_that_differs() -> None:
    made = {"agent_id": "a", "input": {"n": 1}, "config": {"c": 1}}
    run = Run.from_dict(a_run(creation=made))
    wanted = RunCreate(agent_id="b", input={"n": 2}, config={"c": 2})
    with pytest.raises(ApiValueError, match="another agent_id and input and config:"):
        _check_reused(run, wanted)
