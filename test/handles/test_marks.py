"""Whose a run is: its marks decide, whatever a server shows of its metadata and its input."""

from __future__ import annotations

import json
import ssl
import threading
import time
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import pytest
import trustme
from support.serving import Replies, a_run, output_json, run_json, runs_json
from support.socket_server import CLOSE, Request, response
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.handles._token import RunToken, decode_token
from acp_client_v0_1.testing import Fault, LocalServer, Quirks

ECHO = "11111111-1111-4111-8111-111111111111"
COUNTER = "22222222-2222-4222-8222-222222222222"
SLOW = "55555555-5555-4555-8555-555555555555"

# The create is carried out, and its response is dropped.
LOST = Fault(method="POST", path="/runs", cut="close", after_wire_bytes=0)
# The create is not carried out.
NEVER = Fault(method="POST", path="/runs", cut="close")

HIDES = Quirks(echo_metadata="none")
HIDES_AND_IGNORES = Quirks(echo_metadata="none", search_metadata="ignored")
IGNORES = Quirks(search_metadata="ignored")

ours = pytest.mark.filterwarnings("ignore:client_token", "ignore:run .* was found by its client")


def agent_of(client: acp.ApiClient, agent_id: str = ECHO) -> acp.AgentHandle:
    return acp.AgentHandle(agent_id, client)


def asked(server: LocalServer, method: str = "POST", path: str = "/runs") -> int:
    """How many requests of a kind the server got."""
    return sum((each.method, each.path) == (method, path) for each in server.requests)


def searches(server: LocalServer) -> int:
    return asked(server, path="/runs/search")


def stranger(client: acp.ApiClient, agent_id: str = ECHO, **fields: Any) -> str:
    """Make the run of somebody who uses no client token."""
    return acp.RunsApi(client).create_run({"agent_id": agent_id, **fields}).run_id


# A lost create

COMPARING = [
    Quirks(),
    HIDES,
    Quirks(echo_metadata="masked"),
    Quirks(echo_metadata="masked tokens"),
    Quirks(echo_metadata="capitals"),
    Quirks(echo_metadata="cut"),
    Quirks(echo_metadata="none", search_metadata="words"),
]


@pytest.mark.parametrize("quirks", COMPARING, ids=lambda quirks: quirks.echo_metadata)
@pytest.mark.parametrize("token", [None, "mine"])
def test_the_run_of_a_lost_create_is_found_wherever_the_server_compares(serve, quirks, token):
    server, client = serve(quirks)
    stranger(client)
    agent = agent_of(client)
    for number, most in enumerate((2, 1)):
        server.clear_requests()
        server.faults.add(LOST)
        given = {"client_token": f"{token}-{number}"} if token else {}
        assert agent.run({"n": number}, timeout=30, **given) == {"n": number}
        # The control is made once for a client and an agent.
        assert searches(server) <= most and asked(server) == 1
    assert len(server.runs) == 3


@ours
@pytest.mark.parametrize("quirks", [HIDES_AND_IGNORES, Quirks(stored_metadata="none")])
@using(search=0.4)
def test_where_nobody_knows_the_run_no_second_one_is_made_and_none_is_believed(serve, quirks):
    server, client = serve(quirks)
    theirs = stranger(client, input={"theirs": 1})
    agent = agent_of(client)
    server.faults.add(LOST)
    with pytest.raises(acp.RunStartAmbiguous) as caught:
        agent.run({"ours": 1}, client_token="t", cancel_on_exit=True)
    assert asked(server) == 2 and len(server.runs) == 2
    with pytest.raises(acp.RunStartAmbiguous):
        acp.RunHandle.from_token(caught.value.token or "", client)
    if quirks is HIDES_AND_IGNORES:
        words = "a run with the client token t may be there or not: the server hides client tokens"
        with pytest.raises(acp.ApiException, match=words):
            acp.RunHandle.find("t", client, agent_id=ECHO)
        with pytest.raises(acp.ApiException, match=words):
            agent.start({"ours": 1}, client_token="t", reuse=True)
    assert len(server.runs) == 2 and theirs in {run["run_id"] for run in server.runs}


@using(search=0.4)
def test_one_agent_behind_a_gateway_says_nothing_about_another_one(serve):
    """Searches about the first agent compare metadata, and those about the second ignore it."""
    now = datetime.now(timezone.utc).isoformat()
    theirs = a_run(agent_id="a2", created_at=now, creation={"agent_id": "a2"})
    made = list[dict[str, Any]]()

    def respond(request: Request) -> Any:
        body = json.loads(request.body or b"{}")
        if request.path == "/runs":
            if body["agent_id"] == "a1":
                made.append(body)
            return [CLOSE]
        if request.path == "/runs/search":
            if body["agent_id"] == "a2":
                return runs_json(*[theirs] * (body.get("offset", 0) == 0))
            found = [one for one in made if one["metadata"] == body.get("metadata")]
            run = {**theirs, "agent_id": "a1", "run_id": "r1", "creation": {"agent_id": "a1"}}
            return runs_json(*[run] * len(found))
        return response(b'"no"', 501)

    _, client = serve(respond)
    assert agent_of(client, "a1").start({"n": 1}).run_id == "r1"
    with pytest.raises(acp.RunStartAmbiguous, match="hides client tokens"):
        agent_of(client, "a2").start({"n": 2})


def test_the_control_is_repeated_under_a_limit_and_the_search_before_it_is_not(serve):
    server, client = serve(HIDES)
    server.faults.add(LOST, Fault(path="/runs/search", rate=2.0, status=429, times=None))
    assert agent_of(client).run({"n": 1}, timeout=30) == {"n": 1}
    assert searches(server) <= 8 and asked(server) == 1


@using(search=1.5)
def test_a_search_whose_index_lags_finds_the_run_of_this_call(serve):
    server, client = serve(Quirks())
    agent = agent_of(client)
    agent.start({"n": 1}, client_token="t")
    server.faults.add(LOST, Fault(path="/runs/search", lag=0.5, times=3))
    with pytest.warns(UserWarning, match="pass reuse=True"):
        assert agent.run({"n": 2}, client_token="t", timeout=30) == {"n": 2}


@ours
@using(search=0.3)
def test_the_token_of_an_error_leads_to_the_run_of_its_call(serve):
    server, client = serve(Quirks())
    agent = agent_of(client)
    agent.start({"day": 1}, client_token="nightly")
    server.faults.add(LOST, Fault(path="/runs/search", status=503, times=None))
    with pytest.raises(acp.RunStartAmbiguous) as caught:
        agent.start({"day": 2}, client_token="nightly")
    server.faults.clear()
    run = acp.RunHandle.from_token(caught.value.token, client)
    assert run.result(timeout=30) == {"day": 2} and run.client_token == "nightly"
    assert acp.RunHandle.from_token(run.token(), client).result(timeout=30) == {"day": 2}


@using(search=0.3)
def test_an_agent_that_is_missing_after_a_lost_create_names_the_create(serve):
    _, client = serve(
        Replies(response(b'"no agent has the id"', 404), create=[CLOSE], search=response(b"", 500))
    )
    with pytest.raises(acp.NotFoundException) as caught:
        agent_of(client, "a").start({"n": 1})
    known = decode_token(caught.value.token or "")
    assert (known.agent, known.run) == ("a", "") and len(known.client_token) == 32


def test_a_search_that_hangs_leaves_time_for_another_one(serve):
    server, client = serve(Quirks())
    hangs = Fault(path="/runs/search", cut="stall")
    server.faults.add(LOST, hangs, Fault(path="/runs/search", delay=0.4))
    with using(search=2.0, first_search=0.3):
        assert agent_of(client).start({"n": 1}).result(timeout=30) == {"n": 1}
    assert searches(server) == 2


@using(search=2.0, backoff=(0.01, 0.02))
def test_one_failure_of_a_search_does_not_make_the_client_read_all_runs(serve):
    server, client = serve(Quirks())
    for _ in range(20):
        stranger(client)
    server.clear_requests()
    server.faults.add(LOST, Fault(path="/runs/search", status=502))
    assert agent_of(client).start({"n": 1}).run_id
    bodies = [json.loads(r.body) for r in server.requests if r.path == "/runs/search"]
    assert [("metadata" in body) for body in bodies] == [True, True]
    # Two failures do, while the agent can be read.
    server.clear_requests()
    server.faults.add(LOST, Fault(path="/runs/search", status=502, times=2))
    assert agent_of(client).start({"n": 1}).run_id
    bodies = [json.loads(r.body) for r in server.requests if r.path == "/runs/search"]
    assert [("metadata" in body) for body in bodies] == [True, True, False]


# The response to a create


@pytest.mark.parametrize("way", ["converted", "masked", "completed", "none"])
def test_a_server_that_hides_and_rewrites_makes_one_run_for_each_create(serve, way):
    server, client = serve(Quirks(echo_metadata="none", echo_input=way))
    agent = agent_of(client)
    value = {"n": 1, "text": "long enough to be cut", "some_key": {"empty_list": []}}
    assert agent.run(value, timeout=30) == value
    before = searches(server)
    assert before <= (2 if way in ("converted", "masked") else 0)
    assert [agent.run(value, timeout=30) for _ in range(3)] == [value] * 3
    # One search has confirmed that this server rewrites.
    assert searches(server) == before and asked(server) == len(server.runs) == 4


@pytest.mark.parametrize("way", ["converted", "masked"])
def test_a_mark_that_is_shown_needs_no_search_whatever_else_is_rewritten(serve, way):
    server, client = serve(Quirks(echo_input=way))
    assert agent_of(client).run({"n": 1}, timeout=30) == {"n": 1}
    assert searches(server) == 0


def test_an_agent_that_the_server_names_in_another_way_is_the_agent_of_a_shown_mark(serve):
    def create(request: Request) -> bytes:
        return run_json(agent_id="slow@1.0", creation=json.loads(request.body))

    replies = Replies(create=create, output=output_json())
    _, client = serve(replies)
    assert agent_of(client, "slow").run({"n": 1}) == {"ok": 1}
    assert replies.asked == ["create", "output"]


@using(search=0.3)
@pytest.mark.parametrize("token", [None, ""])
def test_a_create_that_a_cache_answers_is_not_believed(serve, token):
    """The server hides marks, and the cache returns the response to the first create."""
    first = list[dict[str, Any]]()

    def create(request: Request) -> bytes:
        first.append(json.loads(request.body))
        return run_json(creation={"agent_id": "a"})

    replies = Replies(response(b'"no"', 501), create=create)
    _, client = serve(replies)
    agent = agent_of(client, "a")
    assert agent.start({"n": 1}, client_token=token).run_id == "r"
    # Not even the same input makes it another run.
    for value in ({"n": 2}, {"n": 1}):
        with pytest.raises(acp.RunStartAmbiguous, match="run r, of an earlier create"):
            agent.start(value, client_token=token)


@using(search=0.3)
def test_a_run_without_a_mark_is_not_ours_where_marks_were_shown(serve):
    made = [0]

    def create(request: Request) -> bytes:
        made[0] += 1
        creation = json.loads(request.body) if made[0] == 1 else {"agent_id": "a"}
        return run_json(run_id=f"r{made[0]}", creation=creation)

    _, client = serve(Replies(response(b'"no"', 501), create=create))
    assert agent_of(client, "a").start({"n": 1}).run_id == "r1"
    with pytest.raises(acp.RunStartAmbiguous, match="run r2, with another client"):
        agent_of(client, "a").start({"n": 1})


def test_a_server_that_limits_the_keys_of_metadata_gets_one_mark(serve):
    server, client = serve(Quirks())

    agent, keys = agent_of(client), {f"key{n}": n for n in range(15)}
    refuse = Fault(method="POST", path="/runs", status=422, body="at most 16 keys")
    server.faults.add(refuse)
    assert agent.run({"n": 1}, metadata=keys, client_token="a", timeout=30) == {"n": 1}
    first, second = (json.loads(r.body)["metadata"] for r in server.requests if r.path == "/runs")
    assert len(first) == 17 and len(second) == 16 and second["acp-client-token"] == "a"
    # This is remembered, and a lost create is searched for by the client token.
    server.clear_requests()
    server.faults.add(LOST)
    assert agent.run({"n": 2}, metadata=keys, client_token="b", timeout=30) == {"n": 2}
    assert asked(server) == 1 and len(server.runs) == 2
    # A create that is refused for another reason is refused.
    server.faults.add(Fault(method="POST", path="/runs", status=422, body="no", times=2))
    _, other = serve(server)
    with pytest.raises(acp.UnprocessableEntityException):
        agent_of(other).start({"n": 3}, client_token="c")
    agent_of(other).start({"n": 3}, client_token="c")
    create = [json.loads(r.body)["metadata"] for r in server.requests if r.path == "/runs"][-1]
    assert len(create) == 2


# reuse

SAME_RUN = [
    *COMPARING[1:-1],
    Quirks(echo_input="masked"),
    Quirks(echo_input="none"),
    Quirks(echo_input="completed", stored_metadata="client token"),
]


@ours
@pytest.mark.parametrize("quirks", SAME_RUN, ids=str)
def test_reuse_finds_the_run_of_the_same_request(serve, quirks):
    server, client = serve(quirks)
    for each in (client, serve(server)[1]):
        first = agent_of(each).start({"n": 5}, client_token="t1", reuse=True)
        again = agent_of(each).start({"n": 10 / 2}, client_token="t1", reuse=True)
        assert first.run_id == again.run_id
    assert len(server.runs) == 1


TWO_RUNS: list[tuple[Quirks, str, str]] = [
    (Quirks(echo_metadata="none", search_metadata="words"), "invoice-7", "invoice-8"),
    (Quirks(search_metadata="any case"), "jobA", "joba"),
    (IGNORES, "etl[1]", "etl[2]"),
]


@ours
@pytest.mark.parametrize(("quirks", "one", "two"), TWO_RUNS)
def test_another_client_token_is_another_run(serve, quirks, one, two):
    server, client = serve(quirks)
    agent = agent_of(client)
    assert agent.run({"n": 1}, client_token=one, reuse=True) == {"n": 1}
    assert agent.run({"n": 1}, client_token=two, reuse=True) == {"n": 1}
    assert len(server.runs) == 2


@ours
def test_a_client_token_on_another_thread_is_another_run(serve):
    server, client = serve(Quirks())
    agent = agent_of(client)
    threads = [acp.ThreadsApi(client).create_thread({"agent_id": ECHO}).thread_id for _ in "ab"]
    runs = [
        agent.start({"n": 1}, client_token="t", thread_id=thread, reuse=True) for thread in threads
    ]
    assert runs[0].run_id != runs[1].run_id
    again = agent.start({"n": 1}, client_token="t", thread_id=threads[0], reuse=True)
    assert again.run_id == runs[0].run_id and len(server.runs) == 2


@ours
def test_a_client_token_with_another_input_or_config_is_an_error_of_reuse(serve):
    server, client = serve(Quirks())
    agent = agent_of(client)
    run = agent.start({"n": 1}, client_token="t", reuse=True)
    for given in ({"input": {"n": 2}}, {"input": {"n": 1}, "config": {"a": 1}}):
        with pytest.raises(acp.ApiValueError, match=f"of run {run.run_id}, .* with another"):
            agent.start(client_token="t", reuse=True, **given)  # type: ignore[arg-type]
    assert len(server.runs) == 1
    assert agent.start({"n": 1}, config={}, client_token="t", reuse=True).run_id == run.run_id


def test_a_run_of_an_older_client_is_compared_by_its_values(serve):
    old = {"agent_id": "a", "metadata": {"acp-client-token": "t"}}
    for shown, warns in (({"input": {"n": 1}, "config": None}, False), ({}, True)):
        _, client = serve(Replies(search=runs_json(a_run(creation={**old, **shown}))))
        agent = agent_of(client, "a")
        if warns:
            with pytest.warns(UserWarning, match="not return what it was created with"):
                assert agent.start({"n": 1}, client_token="t", reuse=True).run_id == "r"
        else:
            assert agent.start({"n": 1}, client_token="t", reuse=True).run_id == "r"


@ours
def test_equal_requests_have_marks_that_nobody_can_link(serve):
    server, client = serve(Quirks())
    for _ in range(2):
        agent_of(client).start({"n": 1}, client_token="t")
    marks = [run["creation"]["metadata"]["acp-client-create"] for run in server.runs]
    parts = [part for mark in marks for part in mark.split("-")]
    assert len({*parts}) == 4 and {len(part) for part in parts} == {32}


@pytest.mark.parametrize("token", ["***", "[REDACTED]", "•••••", "hidden", "xxxxxx"])
def test_a_client_token_that_reads_as_a_mask_is_refused(counter, counts, token):
    with pytest.raises(acp.ApiValueError, match=r"client_token .* is what servers show in"):
        counter.start({"count": 1}, client_token=token)
    assert counts.creates == 0


def test_a_client_token_that_names_a_run_is_refused(counter, counts):
    run = counter.start({"count": 1})
    for token, words in (
        (run.token(), "is the token of a run"),
        (run.run_id, "is the id of a run"),
    ):
        for call in (counter.start, counter.run):
            with pytest.raises(acp.ApiValueError, match=words):
                call({"count": 1}, client_token=token)
    assert counts.creates == 1
    other = "7d0f57f8-5e4f-4a3a-9a4e-5f1d3b0c2a11"
    assert counter.start({"count": 1}, client_token=other).client_token == other


def test_white_space_around_a_run_id_is_not_a_part_of_it(counter):
    run = counter.start({"count": 1})
    again = acp.RunHandle(f" {run.run_id}\n", counter.runs.api_client)
    assert again.run_id == run.run_id and again.result(timeout=30)


# Ids that are given twice


def restarted(server: LocalServer, value: Any) -> None:
    """Let a server forget its runs, and give the first id to the run of somebody else."""
    server.restart(forget=True)
    with acp.ApiClient(acp.Configuration(host=server.url)) as other:
        assert agent_of(other).run(value, timeout=30) == value


@pytest.mark.parametrize("run_ids", ["counted", "counted UUIDs"])
def test_a_token_does_not_lead_to_a_later_run_with_the_same_id(serve, run_ids):
    server, client = serve(Quirks(run_ids=run_ids, on_restart="forgets"))
    token = agent_of(client).start({"ours": 1}).token()
    restarted(server, {"theirs": 1})
    _, fresh = serve(server)
    for call in ("result", "output", "cancel", "delete", "refresh"):
        handle = acp.RunHandle.from_token(token, fresh)
        with pytest.raises(acp.RunGone, match="given its id to another run, which is left alone"):
            getattr(handle, call)()
    assert len(server.runs) == 1


def test_an_id_that_is_given_once_costs_no_request(serve):
    server, client = serve(Quirks())
    run = agent_of(client).start({"n": 1})
    run.result(timeout=30)
    server.clear_requests()
    assert acp.RunHandle.from_token(run.token(), client).result(9) == {"n": 1}
    assert len(server.requests) == 1


@using(backoff=(0.05, 0.1))
def test_a_wait_over_a_restart_does_not_get_the_output_of_another_run(serve):
    server, client = serve(Quirks(run_ids="counted", on_restart="forgets"))
    run = agent_of(client, SLOW).start({"seconds": 60})
    errors = list[BaseException]()

    def wait() -> None:
        try:
            run.result(timeout=30)
        except acp.ApiException as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)
    restarted(server, {"theirs": 1})
    waiting.join(30)
    assert isinstance(errors[0], acp.RunGone)


def test_an_own_run_with_a_short_id_is_read_only_after_a_failure(serve):
    server, client = serve(Quirks(run_ids="counted"))
    agent = agent_of(client)
    assert agent.run({"n": 1}, timeout=30) == {"n": 1}
    assert [request.method for request in server.requests] == ["POST", "GET"]
    server.clear_requests()
    server.faults.add(Fault(path="/runs/*/output", cut="close"))
    assert agent.run({"n": 2}, timeout=30) == {"n": 2}
    assert [request.path for request in server.requests][-1] == "/runs/run-2"


@pytest.mark.parametrize(
    ("run_id", "repeats"),
    [
        ("run-17", True),
        ("0123456789abcde", True),
        ("0123456789abcdef", False),
        ("a-b-c-d-e-f-g-h-i-j-k-l-m-n-o", True),
        (str(UUID(int=7)), True),
        (UUID(int=7).hex, True),
        *((str(UUID(int=(1 << 127) + 5, version=version)), False) for version in (1, 4)),
        (str(UUID(int=(1 << 127) + 5, version=4)).upper(), False),
        ("0190163d-8694-739b-aea5-966c26f8ad91", False),
        ("d41d8cd98f00b204e9800998ecf8427e", True),
    ],
)
def test_which_ids_a_server_may_give_twice(serve, run_id, repeats):
    replies = Replies(run_json("success", run_id=run_id), output=output_json(run_id=run_id))
    server, client = serve(replies)
    token = acp.RunHandle(run_id, client)
    assert token.result() == {"ok": 1}
    marked = {"agent_id": "a", "metadata": {"acp-client-token": "5" * 32}}
    replies.replies["look"] = run_json("success", run_id=run_id, creation=marked)
    text = RunToken(server.url, run_id, client_token="5" * 32).encode()
    replies.asked.clear()
    assert acp.RunHandle.from_token(text, client).result() == {"ok": 1}
    assert replies.asked == (["output", "look"] if repeats else ["output"])


# Deleting


@ours
def test_a_run_that_only_a_search_has_found_is_not_cancelled_at_exit(serve):
    """The server hides marks. A replica that lags answers the control with nothing."""
    server, client = serve(HIDES_AND_IGNORES)
    theirs = stranger(client, SLOW, input={"seconds": 60})
    server.faults.add(NEVER, Fault(path="/runs/search", times=1))
    server.faults.add(Fault(path="/runs/search", status=200, body=[]))
    with pytest.raises(acp.RunWaitTimeout, match=r"could not be cancelled: .* and is left alone"):
        agent_of(client, SLOW).run({"seconds": 60}, cancel_on_exit=True, timeout=1)
    assert [run["run_id"] for run in server.runs] == [theirs]


def test_a_token_of_a_server_that_hides_marks_can_be_cancelled(serve):
    server, client = serve(HIDES)
    token = agent_of(client, SLOW).start({"seconds": 60}).token()
    assert acp.RunHandle.from_token(token, client).cancel()
    assert server.runs == ()


@pytest.mark.parametrize("quirks", [HIDES, Quirks()], ids=["hides", "shows"])
def test_a_run_that_the_response_to_the_create_has_named_is_cancelled_at_exit(serve, quirks):
    server, client = serve(quirks)
    with pytest.raises(acp.RunWaitTimeout, match="the run was cancelled"):
        agent_of(client, SLOW).run({"seconds": 60}, cancel_on_exit=True, timeout=0.5)
    assert server.runs == ()


def test_what_a_caller_does_with_a_record_does_not_change_the_handle(counter):
    run = counter.start({"count": 1})
    run.result(timeout=30)
    given = acp.RunsApi(counter.runs.api_client).get_run(run.run_id)
    other = acp.RunHandle.of(given, counter.runs.api_client)
    for record in (run.refresh(), run.run, given):
        assert record is not None
        record.status = acp.RunStatus.ERROR
        record.creation.metadata = {"acp-client-token": "another"}
    assert run.status == other.status == acp.RunStatus.SUCCESS
    assert run.client_token == other.client_token != "another"


# A server that ends its connections


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def of_authority(authority: trustme.CA, **more: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    for name, value in more.items():
        setattr(context, name, value)
    return context


WANTED = "if it wants a client certificate, set cert_file and key_file"


def test_a_server_that_wants_a_client_certificate_is_named_at_once(authority, tmp_path):
    context = of_authority(authority, verify_mode=ssl.CERT_REQUIRED)
    authority.configure_trust(context)
    settings: Any = {"ca_cert_data": authority.cert_pem.bytes().decode(), "retries": 1}
    with LocalServer(tls=context) as server:
        client = acp.ApiClient(acp.Configuration(host=server.url, **settings))
        agent, began = agent_of(client), time.monotonic()
        with pytest.raises(acp.ConnectionException, match=WANTED) as caught:
            agent.start({"n": 1})
        assert (caught.value.token or "").startswith("acprun1.")
        with pytest.raises(acp.ConnectionException, match=WANTED):
            list(agent.map([{"n": n} for n in range(20)], journal=tmp_path / "journal"))
        with pytest.raises(acp.ConnectionException, match=WANTED):
            acp.RunHandle("r" * 16, client).result()
        assert time.monotonic() - began < 9 and server.runs == ()
    assert b'"failed"' not in (tmp_path / "journal").read_bytes()


@pytest.mark.parametrize("comes_back", [True, False])
@using(search=1.0, backoff=(0.05, 0.1))
def test_a_server_that_takes_a_create_and_drops_the_connection_makes_one_run(authority, comes_back):
    """It looks like one that wants a client certificate, and has started the run."""
    settings: Any = {"ca_cert_data": authority.cert_pem.bytes().decode(), "retries": 1}
    with LocalServer(tls=of_authority(authority)) as server:
        server.faults.add(LOST)
        if not comes_back:
            server.faults.add(Fault(path="/runs/search", cut="close", times=None))
            server.faults.add(Fault(path="/agents/*", cut="close", times=None))
        agent = agent_of(acp.ApiClient(acp.Configuration(host=server.url, **settings)))
        if comes_back:
            assert agent.run({"n": 1}, timeout=30) == {"n": 1}
        else:
            with pytest.raises(acp.ConnectionException, match=WANTED) as caught:
                agent.start({"n": 1})
            server.faults.clear()
            token = caught.value.token or ""
            run = acp.RunHandle.from_token(token, agent.runs.api_client)
            assert run.result(timeout=30) == {"n": 1}
        assert asked(server) == len(server.runs) == 1
