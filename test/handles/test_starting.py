"""One create makes one run, whatever happens to its response; counted on the server."""

from __future__ import annotations

import itertools
import json
import pickle
import pydoc
import signal
import sys
import threading
from contextlib import nullcontext, suppress
from inspect import Parameter, signature
from traceback import walk_tb
from typing import Any

import pytest
from support.batches import beside, wait_for
from support.moments import Interrupt, Moment, files_of
from support.parts import earlier_creates
from support.serving import Replies, a_run, as_searched, run_json, runs_json
from support.socket_server import CLOSE, response
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.handles._token import RunToken, decode_token
from acp_client_v0_1.testing import Fault

COUNTER = "22222222-2222-4222-8222-222222222222"
SLOW = "55555555-5555-4555-8555-555555555555"
APPROVAL = "33333333-3333-4333-8333-333333333333"


def of_create(**what: Any) -> Fault:
    return Fault(method="POST", path="/runs", **what)


LOST = of_create(cut="close", after_wire_bytes=0)
THEIRS = a_run(creation={"agent_id": "a", "metadata": {"acp-client-token": "5" * 32}})
LETTERS = "abcdefab-cdef-4bcd-8fab-cdefabcdefab"
ZEROS = "00000000-0000-0000-0000-000000000000"


def of_counter(**creation: Any) -> dict[str, Any]:
    return a_run(agent_id=COUNTER, creation={"agent_id": COUNTER, **creation})


MARKED = {"agent_id": "a", "metadata": {"acp-client-token": "t"}}
FOUND = runs_json(a_run(creation=MARKED))
LATER = response(b'"busy"', 503, retry_after="1")
ABOUT = {"ref": {"name": "a", "version": "1"}, "description": ""}
AGENT = response(json.dumps({"agent_id": "a", "metadata": ABOUT}).encode())

# What the creates meet, and how many creates are sent.
CREATES = {
    "lost": (LOST, 1),
    "524": (of_create(status=524, late=0.01), 1),
    "unreadable": (of_create(raw=b"HTTP/1.1 200 OK\r\n\r\n", late=0.01), 1),
    "of another run": (of_create(status=200, body=THEIRS, late=0.01), 1),
    "of another agent": (of_create(status=200, body=a_run(agent_id=APPROVAL), late=0.01), 1),
    "of another input": (of_create(status=200, body=of_counter(input={"count": 2}), late=0.01), 1),
    "of another config": (of_create(status=200, body=of_counter(config={"c": 2}), late=0.01), 1),
    "a redirect": (of_create(status=302, headers={"Location": "/x"}, late=0.01, body=b""), 1),
    # These were certainly not carried out.
    "limited": (Fault(path="/runs", status=429, retry_after=0.1, times=2), 3),
}


@pytest.mark.parametrize(("fault", "creates"), CREATES.values(), ids=CREATES)
def test_a_start_makes_one_run(server, counter, counts, fault, creates):
    server.faults.add(fault)
    run = counter.start({"count": 1}, config={"c": 1})
    assert run.result(timeout=30) == {"count": 1, "of": 1}
    assert (run.duplicates, counts.creates, len(server.runs)) == ((), creates, 1)
    # Only a create without a clear response is searched for.
    assert (counts.of("POST", "/search") > 0) is (creates == 1)


def test_a_server_that_ignores_metadata_is_asked_for_ten_pages(clock):
    hidden: Any = {"agent_id": "a", "metadata": {"acp-client-token": "***"}}
    run, asked = acp.Run.from_dict(a_run(creation=hidden)), []

    class Full(acp.ApiClient):
        def call(self, operation: Any, arguments: Any, options: Any) -> list[acp.Run]:
            asked.append((arguments[0].offset, arguments[0].limit, options[0]))
            clock.now += 0.5
            return [run] * arguments[0].limit

    token = RunToken("http://h", agent="a", client_token="nobody's").encode()
    client = Full(acp.Configuration(host="http://h"))
    with pytest.raises(acp.RunStartAmbiguous, match="not among the first 10000 that were found"):
        acp.RunHandle.from_token(token, client, timeout=8)
    control, *pages = asked[1:]
    assert control[:2] == (0, 1)
    # The time is for all pages together. The answer to the search was the first one.
    assert asked[:1] == [(0, 1000, 3.0)]
    assert pages == [(1000 * page, 1000, 7.5 - page / 2) for page in range(1, 10)]


@using(search=0.5)
def test_a_create_that_was_never_carried_out(server, counter, counts):
    server.faults.add(of_create(cut="reset", times=2))
    words = r"may have been started or not.*from_token\(error\.token, client\) before you start"
    with pytest.raises(acp.RunStartAmbiguous, match=words) as caught:
        counter.start({"count": 1})
    error = caught.value
    looks, searches = counts.of("GET", f"/agents/{COUNTER}"), counts.of("POST", "/search")
    assert (counts.creates, looks, error.searched) == (1, 1, True)
    assert isinstance(error.__cause__, acp.ConnectionException)
    assert error.__cause__.method == "POST" and error.__cause__.url == f"{server.url}/runs"
    with pytest.raises(acp.RunStartAmbiguous, match="it cannot be searched for") as caught:
        counter.start({"count": 1}, client_token="")
    assert (caught.value.token, counts.of("POST", "/search")) == ("", searches)
    assert acp.RunHandle.find(error.client_token, api_client=counter.runs.api_client) is None


@using(search=0.2)
def test_the_token_of_an_ambiguous_start_looks_again(serve):
    replies = Replies(create=[CLOSE], search=response(b"[]"))
    _, client = serve(replies)
    with pytest.raises(acp.RunStartAmbiguous) as caught:
        acp.AgentHandle("a", client).start(client_token="t")
    replies.replies["search"] = as_searched
    run = acp.RunHandle.from_token(caught.value.token, client)
    assert (run.run_id, run.agent_id, run.client_token) == ("r", "a", "t")
    with pytest.warns(UserWarning, match="pass reuse=True"):
        acp.AgentHandle("a", client).start(client_token="t")


def test_searches_that_find_nothing_come_less_and_less_often(serve, clock):
    server, client = serve(Replies(search=response(b"[]")))
    token = RunToken(server.url, client_token="none-has-it").encode()
    with pytest.raises(acp.RunStartAmbiguous, match="no run with its client token was found") as e:
        acp.RunHandle.from_token(token, client, timeout=6)
    assert e.value.__cause__ is None
    assert clock.pauses[:6] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert sum(clock.pauses) <= 6 and e.value.token == token


@pytest.mark.filterwarnings("ignore:client_token")
def test_of_duplicates_the_oldest_wins(server, counter):
    runs = [counter.start({"count": 1}, client_token="mine") for _ in range(3)]
    found = acp.RunHandle.find("mine", api_client=counter.runs.api_client)
    assert found is not None and found.run_id == runs[0].run_id
    assert found.duplicates == tuple(run.run_id for run in runs[1:])
    with pytest.raises(acp.ApiValueError, match="client_token must not be empty"):
        acp.RunHandle.find("")


def test_a_second_create_of_a_token_warns_only_if_the_first_may_have_made_a_run(server, counter):
    # A create with two marks is sent again with one.
    server.faults.add(of_create(status=422, times=2))
    with pytest.raises(acp.ApiException):
        counter.start({"count": 1}, client_token="order-7")
    counter.start({"count": 1}, client_token="order-7")
    counter.start({"count": 1}, client_token="order-7", reuse=True)
    counter.start({"count": 1}, client_token="")
    counter.start({"count": 1}, client_token="")
    words = "client_token 'order-7' was given .* pass reuse=True, or this may make a second run"
    with pytest.warns(UserWarning, match=words) as warned:
        counter.run({"count": 1}, metadata={"acp-client-token": "order-7"})
    assert warned[0].filename == __file__
    for number in range(1000):  # are remembered
        earlier_creates.append(str(number))
    counter.start({"count": 1}, client_token="order-7")


@pytest.mark.parametrize("status", [405, 400])
def test_a_server_that_does_not_search(serve, status):
    body = b'"%s"' % (b"no " * 100)
    refused = response(body, status, "Refused")
    replies = Replies(response(body, 405), create=response(body, 500), search=refused)
    _, client = serve(replies)
    words = rf"failed: .*{status}.{{1,40}}…; search"
    with pytest.raises(acp.RunStartAmbiguous, match=words) as caught:
        acp.AgentHandle("a", client).start()
    assert not caught.value.searched and replies.asked.count("create") == 1
    (item,) = acp.AgentHandle("a", client).map([{}])
    assert isinstance(item.error, acp.RunStartAmbiguous)
    # A batch sends a create again only after a search has found nothing.
    assert replies.asked.count("create") == 2
    assert replies.asked.count("search") == 3  # the one by metadata is not sent again
    # Of both errors there is only as much as a line has room for.
    assert 230 <= len(str(caught.value)) <= 240
    assert len(str(caught.value).partition("search for it failed: ")[2].partition("…;")[0]) == 31


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal to a thread")
def test_a_cancelled_call_finds_the_run_of_an_interrupted_create(server, counter, counts):
    """Ctrl-C strikes after the server has made the run, before anybody knows its id."""
    server.faults.add(of_create(cut="stall", after_wire_bytes=0))

    def press() -> None:
        wait_for(lambda: len(server.runs) == 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with beside(press), pytest.raises(KeyboardInterrupt):
        counter.run({"count": 100, "interval": 1}, cancel_on_exit=True)
    assert (counts.creates, counts.of("DELETE"), server.runs) == (1, 1, ())


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal to a thread")
@pytest.mark.parametrize("cancel", [True, False])
def test_ctrl_c_in_a_slow_create_leads_to_its_run(server, counter, counts, cancel):
    """The server makes the run a while after the connection was closed."""
    server.faults.add(of_create(late=0.5))

    def press() -> None:
        wait_for(lambda: len(server.requests) == 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with beside(press), pytest.raises(KeyboardInterrupt) as caught:
        counter.run({"count": 100, "interval": 1}, cancel_on_exit=cancel)
    notes = "".join(getattr(caught.value, "__notes__", ()))
    if cancel:
        assert (counts.creates, counts.of("DELETE"), server.runs) == (1, 1, ())
        assert sys.version_info < (3, 11) or "the run was cancelled" in notes
        return
    token: str = vars(caught.value)["token"]
    if sys.version_info >= (3, 11):
        assert "a run may have been started: find it by RunHandle.from_token" in notes
        assert token in notes
    run = acp.RunHandle.from_token(token, counter.runs.api_client)
    assert [each["run_id"] for each in server.runs] == [run.run_id]


def test_an_interrupt_at_any_moment_of_a_start_leads_to_its_run(server, counter):
    """From the create on, until `start` returns, the error has the token of the run."""
    files = files_of("handles/*")
    # The first start does more: it makes what later ones share.
    counter.start()
    lost: list[str] = []
    for number in itertools.count(1, 3):
        before = {run["run_id"] for run in server.runs}
        with suppress(Interrupt), Moment(number, files) as moment:
            try:
                counter.start()
            except Interrupt as error:
                frames = [frame.f_code for frame, _ in walk_tb(error.__traceback__)]
                where = [code.co_name for code in frames if code.co_filename in files][-1]
                made = {run["run_id"] for run in server.runs} - before
                # The last steps make the handle, after the create has its run.
                if made and where not in ("start", "handle_of"):
                    token = vars(error).get("token", "")
                    client = counter.runs.api_client
                    found = token and acp.RunHandle.from_token(token, client).run_id
                    lost += [] if {found} == made else [f"{where} at {number}"]
                raise
        if not moment.struck:
            break
    assert number > 300 and lost == []


def test_no_credential_is_in_an_error_a_token_or_a_representation(server, caplog):
    caplog.set_level("DEBUG")
    secrets: Any = {"api_key": {"x-api-key": "s3cret-key"}, "access_token": "s3cret-token"}
    with acp.ApiClient(acp.Configuration(host=server.url, **secrets)) as client:
        counter = acp.AgentHandle(COUNTER, client)
        run = counter.start({"count": 1}, streaming="custom")
        events = run.events()
        list(events)
        question = next(acp.AgentHandle.find("approval", client).start().interrupts())
        shown = [repr(each) for each in (counter, run, events, question, pickle.dumps(question))]
        tokens = [run.token()]
        server.faults.add(of_create(cut="close"))
        for attempt in (
            lambda: counter.start(timeout=0.3),
            lambda: acp.AgentHandle.find("failing", client).run(timeout=30),
            lambda: acp.RunHandle("nobody", client).refresh(),
            lambda: acp.AgentHandle.find("approval", client).run(timeout=30),
            lambda: acp.AgentHandle.find("nobody", client),
        ):
            with pytest.raises(acp.ApiException) as caught:
                attempt()
            error = caught.value
            shown += [str(error), repr(error), repr(pickle.dumps(error))]
            tokens += filter(None, [getattr(error, "token", "")])
    assert len(tokens) == 5
    shown += [caplog.text, *(repr(decode_token(token)) for token in tokens)]
    assert "s3cret" not in "".join(shown)


@using(search=0.3)
def test_a_run_of_another_agent_is_nobodys(serve):
    """The server searches by metadata alone, and another agent has used the client token."""
    run = a_run(agent_id="b", creation={**MARKED, "agent_id": "b"})
    # Nor does it say whether the agent "a" is there.
    refused = response(b'"no"', status=405)

    def search(request: Any) -> bytes:
        return runs_json(*[run] * (b'"acp-client-token":"t"' in request.body))

    _, client = serve(Replies(refused, create=[CLOSE], search=search))
    agent = acp.AgentHandle("a", client)
    with pytest.raises(acp.RunStartAmbiguous, match="no run with its client token") as failure:
        agent.start(client_token="t")
    with pytest.raises(acp.RunStartAmbiguous):
        acp.RunHandle.from_token(failure.value.token, client)
    # Its token is none of this agent's business, so `reuse` makes a run.
    with pytest.raises(acp.RunStartAmbiguous), pytest.warns(UserWarning, match="was given to an"):
        agent.start({"n": 2}, config={"c": 2}, client_token="t")
    with pytest.raises(acp.RunStartAmbiguous):
        agent.start({"n": 2}, config={"c": 2}, client_token="t", reuse=True)
    assert acp.RunHandle.find("t", client, agent_id="a") is None
    for found in (None, "b", "B"):
        handle = acp.RunHandle.find("t", client, agent_id=found)
        assert handle is not None and handle.run_id == "r"
    run["agent_id"] = "the-id-of-b"  # as if "b" were a name
    assert acp.RunHandle.find("t", client, agent_id="b") is not None


TOKENS = ("ORDER-1", None, 42, "", "***", "ord…", "or****1", "[REDACTED]", "xxxxxxx", "order...")


@pytest.mark.parametrize("echo", [None, {}, *({"acp-client-token": t} for t in TOKENS)])
def test_a_server_may_write_the_client_token_in_another_way_or_not(serve, echo):
    _, client = serve(run_json(creation={"agent_id": "a", "metadata": echo}))
    handle = acp.AgentHandle("a", client).start(client_token="order-1")
    handle.refresh()
    assert handle.client_token == "order-1"
    again = acp.RunHandle.from_token(handle.token(), client)
    assert again.client_token == "order-1"


def created(agent_id: str, **fields: Any) -> dict[str, Any]:
    """The fields of a run that tell what it was created with."""
    return {"creation": {"agent_id": agent_id, **fields}}


SPELLED = LETTERS.replace("-", "").upper()
DEFAULTS = {"x": [1.0, {"y": None, "z": 1}], "d": 2}
# The agent that is asked for, and the fields of the run that its create is answered with.
WRITTEN: dict[str, tuple[str, dict[str, Any]]] = {
    "the agent in other letters, without dashes": (LETTERS, {"agent_id": SPELLED}),
    "no agent": ("a", {"agent_id": "", **created(ZEROS)}),
    "a name, and the create as it was": ("name", created("name")),
    "a name, and its id alone": ("name", {"agent_id": COUNTER, **created(COUNTER)}),
    "an empty input": ("a", created("a", input={})),
    "nulls and defaults": ("a", created("a", input=DEFAULTS)),
    "a name, and not its id": (COUNTER, {"agent_id": "n", **created("n")}),
}


@pytest.mark.parametrize(("agent_id", "fields"), WRITTEN.values(), ids=WRITTEN)
def test_a_server_may_write_a_run_in_another_way(serve, agent_id, fields):
    fields = {"agent_id": agent_id, **created(agent_id), **fields}
    replies = Replies(create=run_json(**fields))
    _, client = serve(replies)
    given = {"x": (1, {"y": None})}
    options: Any = {"config": {"e": 1}, "client_token": "Nightly\n"}
    assert acp.AgentHandle(agent_id, client).start(given, **options).run_id == "r"
    assert replies.asked == ["create"]


@using(search=0.2)
@pytest.mark.filterwarnings("ignore:client_token")
def test_a_client_token_of_an_earlier_run_gives_no_result_of_another_input(server, counter, counts):
    """Whichever way leads to the earlier run, and whoever carries its token along."""
    slow = acp.AgentHandle(SLOW, counter.runs.api_client)
    slow.start({"seconds": 0}, client_token="nightly")
    first = counter.start({"count": 1}, client_token="nightly")
    words = f"client token is of run {first.run_id}, which was created with another input; use an"
    with pytest.raises(acp.ApiValueError, match=words):
        counter.run({"count": 2}, client_token="nightly", reuse=True)
    for options in (
        {"client_token": "nightly"},
        {"metadata": {"acp-client-token": "nightly", "more": 1}},
    ):
        server.faults.add(of_create(status=503))
        with pytest.raises(acp.RunStartAmbiguous) as caught:
            counter.run({"count": 2}, **options)  # type: ignore[arg-type]
        with pytest.raises(acp.RunStartAmbiguous):
            acp.RunHandle.from_token(caught.value.token, counter.runs.api_client)
    assert (counts.creates, len(server.runs)) == (4, 2)
    # The create is carried out, and its own run is found.
    server.faults.add(LOST)
    assert counter.run({"count": 2}, client_token="nightly") == {"count": 2, "of": 2}
    again = counter.start({"count": 2}, client_token="nightly", reuse=True)
    assert again.result() == {"count": 2, "of": 2} and again.duplicates == ()


@pytest.mark.parametrize(
    "replies",
    [
        *({"create": response(b"", status, retry_after="1")} for status in (408, 503)),
        {"search": (LATER, as_searched)},
        {"search": (response(b"[]"), as_searched), "look": LATER},  # at the agent
    ],
    ids=["408", "503", "of a search", "of the look at the agent"],
)
@using(outage=0.5)
def test_the_search_for_a_lost_create_waits_as_the_server_asks(serve, clock, replies):
    """Also for longer than an outage would be survived, where a deadline leaves the time."""
    _, client = serve(Replies(**{"create": [CLOSE], "search": as_searched, **replies}))
    assert acp.AgentHandle("a", client).start(client_token="t", timeout=30).run_id == "r"
    assert sum(clock.pauses) == pytest.approx(1.0)


@pytest.mark.parametrize(("look", "failures"), [(LATER, 12), (AGENT, 6)], ids=["limit", "success"])
def test_no_look_at_the_agent_ends_a_search(serve, clock, look, failures):
    _, client = serve(Replies(search=(*[response(b"", 502)] * failures, FOUND), look=look))
    run = acp.AgentHandle("a", client).start(client_token="t", reuse=True, timeout=60)
    assert run.run_id == "r" and clock.pauses


@pytest.mark.parametrize("timeout", [30, None])
def test_no_search_to_cancel_overtakes_a_pause(server, counter, timeout):
    server.faults.add(of_create(status=503, retry_after=3600))
    words = "Retry-After: 3600 s.*; there was no time to search for it"
    with pytest.raises(acp.RunStartAmbiguous, match=words):
        counter.run({"count": 1}, timeout=timeout, cancel_on_exit=True)
    assert [request.path for request in server.requests] == ["/runs"]
    # The next call is no retry.
    assert counter.run({"count": 1}, timeout=30, cancel_on_exit=True) == {"count": 1, "of": 1}


@pytest.mark.slow
def test_a_run_is_searched_for_and_cancelled_once_the_server_wants_requests(server, slow, counts):
    """The create was carried out, and the call has no time left to find that out."""
    server.faults.add(of_create(status=503, retry_after=1, carried_out=True))
    with pytest.raises(acp.RunStartAmbiguous, match="there was no time to search for it"):
        slow.run({"seconds": 30}, timeout=0.9, cancel_on_exit=True)
    create, search, *_ = (request.time for request in server.requests)
    assert search - create >= 1
    assert (counts.creates, counts.of("DELETE"), server.runs) == (1, 1, ())


@pytest.mark.slow
@pytest.mark.parametrize("given", [{}, {"client_token": ""}, {"client_token": "t", "reuse": True}])
@pytest.mark.parametrize("search", [None, 502])
@using(backoff=(0.05, 0.1))
def test_an_agent_that_the_server_does_not_know_has_no_run(server, client, counts, given, search):
    """Some servers answer 500 to its create; its 404 settles that at once."""
    server.faults.add(of_create(status=500, times=None))
    if search:
        server.faults.add(Fault(method="POST", path="/runs/search", status=search, times=None))
    with pytest.raises(acp.NotFoundException, match="/agents/99999999"):
        acp.AgentHandle("99999999-9999-4999-8999-999999999999", client).start(**given)
    # With metadata and without, and not again until a server cannot search.
    assert counts.creates == (0 if search and "reuse" in given else 1)
    assert counts.of("POST", "/search") <= (10 if "reuse" in given else 2)


def test_a_server_that_does_not_serve_agents_may_have_made_the_run(server, counter, counts):
    server.faults.add(of_create(cut="close", late=0.3))
    server.faults.add(Fault(path="/agents/*", status=404, body={"detail": "Not Found"}))
    assert counter.start({"count": 1}).run_id
    assert counts.of("GET", f"/agents/{COUNTER}") == 1


def test_a_search_ends_with_the_page_that_has_the_run(serve):
    """The server ignores the metadata, and would fail after its first page."""

    def page(request: Any) -> bytes:
        found = {"agent_id": "a", "metadata": json.loads(request.body)["metadata"]}
        return runs_json(a_run(creation=found), *[a_run(run_id="another")] * 999)

    replies = Replies(create=[CLOSE], search=(page, response(b"", 503)))
    _, client = serve(replies, retries=0)
    assert acp.AgentHandle("a", client).start(client_token="t").run_id == "r"
    assert replies.asked == ["create", "search"]


def test_a_run_of_another_agent_is_no_duplicate(serve):
    runs = [
        a_run(run_id=run_id, agent_id=run_id[0], creation={**MARKED, "agent_id": run_id[0]})
        for run_id in ("b1", "a1", "a2")
    ]
    _, client = serve(runs_json(*runs))
    with pytest.warns(UserWarning, match="run a1 .* not return what it was created with") as warned:
        handle = acp.AgentHandle("a", client).start({"n": 1}, client_token="t", reuse=True)
    assert warned[0].filename == __file__
    assert (handle.run_id, handle.duplicates) == ("a1", ("a2",))


SENT: Any = {"a": 1, "b": {"c": [1, {"d": 2}]}, "none": None}
ECHOES: list[tuple[Any, bool]] = [
    (SENT, True),
    # With keys and nulls of the server.
    ({"a": 1, "b": {"c": [1, {"d": 2, "e": None}], "f": 3}, "g": None, "h": {"i": 1}}, True),
    ({"a": 2, "b": {"c": [1, {"d": 2}]}}, False),
    ({"a": 1, "b": {"c": [1]}}, False),
    ({"a": 1, "b": [1]}, False),
    ({"a": True, "b": {"c": [1, {"d": 2}]}}, False),
    ({"a": 1, "b": None}, False),
]


@pytest.mark.parametrize("field", ["input", "config"])
@pytest.mark.parametrize(("echo", "same"), ECHOES)
def test_reuse_compares_what_was_asked(serve, field, echo, same):
    creation = {**MARKED, field: echo}
    _, client = serve(runs_json(a_run(creation=creation)))
    given: dict[str, Any] = {field: SENT, "client_token": "t", "reuse": True}
    with nullcontext() if same else pytest.raises(acp.ApiValueError, match=f"with another {field}"):
        assert acp.AgentHandle("a", client).start(**given).run_id == "r"


@pytest.mark.parametrize("agents", [None, 405])
@using(backoff=(0.01, 0.02))
def test_searches_that_always_fail_are_not_made_for_five_minutes(server, counter, counts, agents):
    if agents:
        server.faults.add(Fault(path="/agents/*", status=agents, times=None))
    server.faults.add(Fault(method="POST", path="/runs/search", status=500, times=None))
    for searches in (12, 4):  # by metadata, and by agent alone; remembered the second time
        server.clear_requests()
        with pytest.raises(acp.ServiceException, match="500"):
            counter.start({"count": 1}, client_token="mine", reuse=True)
        assert counts.of("POST", "/runs/search") <= searches
        assert counts.creates == 0
    server.faults.clear()
    assert counter.start({"count": 1}, client_token="mine", reuse=True).run_id


def test_every_field_of_a_create_is_an_option(server, counter):
    """Of each method that starts runs, and help says what it is."""
    names = acp.RunOptions.__optional_keys__
    fields = acp.RunCreate.model_fields.keys() - {"agent_id", "input", "thread_id"}
    assert names == fields | {"extra"}
    for method in (acp.AgentHandle.start, acp.AgentHandle.run, acp.AgentHandle.map):
        lines = [line.strip() for line in (method.__doc__ or "").splitlines()]
        assert all(any(line.startswith(f"{name}: ") for line in lines) for name in names)
    options: acp.RunOptions = {"config": {"a": 1}, "metadata": {"b": 2}, "streaming": "custom"}
    options |= {"webhook": f"{server.url}/hook", "extra": {"priority": 5}}
    assert options.keys() == names
    counter.run({"count": 1}, timeout=30, **options)
    counter.start({"count": 1}, timeout=30, **options).result(timeout=30)
    [item] = counter.map([{"count": 1}], **options)
    assert item.ok
    created = [run.creation for run in acp.RunsApi(counter.runs.api_client).search_runs({})]
    assert len(created) == 3
    for creation in created:
        assert (creation.config, creation.webhook) == ({"a": 1}, options["webhook"])
        assert creation.metadata is not None and creation.metadata["b"] == 2
        assert creation.streaming == "custom"
        assert creation.additional_properties == {"priority": 5}


def test_a_digest_covers_the_fields_that_the_contract_lacks(server, counter):
    counter.start({"count": 1}, client_token="t", extra={"priority": 5})
    counter.start({"count": 1}, client_token="t", extra={"priority": 5}, reuse=True)
    assert len(server.runs) == 1
    with pytest.raises(acp.ApiValueError, match="was created with another"):
        counter.start({"count": 1}, client_token="t", extra={"priority": 6}, reuse=True)


def test_a_field_of_the_contract_is_no_extra_one(counter):
    with pytest.raises(
        acp.ApiValueError, match=r"extra\['input'\]: input is a field of the contract"
    ):
        counter.start({"count": 1}, extra={"input": {}})
    with pytest.raises(acp.ApiTypeError, match="got an unexpected keyword argument 'priority'"):
        counter.start({"count": 1}, priority=5)


def test_each_option_stands_in_the_signature_with_its_default():
    """So help lists it, and a notebook completes its name. Subclasses and pickles are as before."""
    for method in (
        *(acp.AgentHandle.start, acp.AgentHandle.run, acp.Conversation.start, acp.Conversation.run),
        *(acp.AgentHandle.map, acp.Batch),
    ):
        shown = dict(signature(method).parameters)
        names = {*acp.RunOptions.__optional_keys__}
        if method in (acp.AgentHandle.map, acp.Batch):
            names = {*acp.BatchOptions.__optional_keys__}
        assert names <= shown.keys() and "options" not in shown
        for name in names:
            own = signature(acp.Batch if "inputs" in shown else method).parameters[name]
            assert own.kind is Parameter.KEYWORD_ONLY and shown[name].default == own.default, name
    streaming = signature(acp.AgentHandle.start).parameters["streaming"]
    assert streaming.annotation.endswith("str | None")
    assert "streaming: " in pydoc.plain(pydoc.render_doc(acp.AgentHandle.map))

    class Mine(acp.AgentHandle):
        def start(self, input: Any = None, **options: Any) -> acp.RunHandle:
            return super().start(input, **options)

    assert "streaming" in signature(Mine(COUNTER).map).parameters
    assert "streaming" not in signature(Mine.start).parameters
    assert pickle.loads(pickle.dumps(acp.AgentHandle.map)) is acp.AgentHandle.map


@pytest.mark.filterwarnings("ignore:client_token")
def test_only_a_run_that_this_call_has_certainly_made_is_cancelled(server, counter, counts):
    slow = {"count": 100, "interval": 1}
    earlier = counter.start(slow, client_token="order-8")
    server.faults.add(LOST)
    # The search finds the run of this call, and not the earlier one.
    with pytest.raises(acp.RunWaitTimeout, match="the run was cancelled"):
        counter.run(slow, client_token="order-8", cancel_on_exit=True, timeout=1.5)
    assert (counts.of("DELETE"), earlier.done()) == (1, False)
    # The response shows which run the call has made.
    with pytest.raises(acp.RunWaitTimeout, match="the run was cancelled"):
        counter.run(slow, client_token="order-8", cancel_on_exit=True, timeout=0.8)
    # Nobody else has a client token that was made for the call.
    server.faults.add(LOST)
    with pytest.raises(acp.RunWaitTimeout, match="the run was cancelled"):
        counter.run(slow, cancel_on_exit=True, timeout=1.5)
    assert (counts.of("DELETE"), earlier.done()) == (3, False)


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_without_a_run_raises_the_refusal_of_its_search(serve, status):
    replies = Replies(search=response(b'"no"', status))
    server, client = serve(replies)
    token = RunToken(server.url, agent="a", client_token="t").encode()
    with pytest.raises(acp.ApiException) as refused:
        acp.RunHandle.from_token(token, client)
    assert (refused.value.status, replies.asked.count("search")) == (status, 1)
    # After a create that may have made a run, the caller has to know that, too.
    replies.replies["create"] = [CLOSE]
    with pytest.raises(acp.RunStartAmbiguous, match=f"the search for it failed: .*{status}"):
        acp.AgentHandle("a", client).start()
