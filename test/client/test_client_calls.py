"""What holds for a whole client: retries, credentials, long polls, copies, views, closing."""

import json
import logging
import pickle
import traceback
from typing import Any

import pytest
from support.operations import CASES, Case
from support.socket_server import CLOSE, RESET, STALL, SocketServer, head, response, serve_each
from support.transport import eventually, serving
from urllib3.util import Retry

import acp_client_v0_1 as acp
from acp_client_v0_1 import ApiClient, ApiTimeoutError, Configuration, RunCreate, RunsApi

QUICK = Retry(2, backoff_factor=0.01)
SECRET = "planted-5ecret"
RUN = next(case for case in CASES if case.name == "get_run")
# Python has codecs of these names, or none.
CHARSETS = ("punycode", "unicode_escape", "hex", "a\0b", "utf-16le", "none-such")


def response_of(case: Case) -> bytes:
    return response(case.content, content_type=case.content_type)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_only_reading_and_searching_are_repeated_except_after_429(case):
    """429 says that nothing was done, so everything is repeated."""
    safe = case.method == "GET" or case.path.endswith("/search")
    busy = response(b'"later"', 429, retry_after="0")
    for failure in ([RESET], response(b'"broken"', 500), busy):
        with serving(failure, response_of(case), retries=QUICK) as (server, client):
            call = getattr(getattr(acp, case.api)(client), case.name)
            if safe or failure is busy:
                call(*case.arguments)
                first, second = server.requests
                assert first.body == second.body
                continue
            with pytest.raises(acp.ApiException) as refused:
                call(*case.arguments)
            assert refused.value.ambiguous
            assert "may have carried out" in str(refused.value)
            assert len(server.requests) == 1


def test_a_client_and_a_view_pickle_without_their_connections():
    with (
        SocketServer(response_of(RUN)) as server,
        ApiClient(Configuration(host=server.url), "X-Team", "acp", cookie="a=b") as client,
    ):
        view = client.with_options(headers={"X-Own": "b"})
        for one in (client, view):
            RunsApi(one).get_run("r1")
            with pickle.loads(pickle.dumps(one)) as other:
                RunsApi(other).get_run("r1")
        other.rest_client.close()
    assert server.connections == 3
    first, second, third, fourth = (request.headers for request in server.requests)
    assert first == second and third == fourth == {**first, "x-own": "b"}


def test_the_end_of_the_with_frees_the_sockets_and_a_stream_goes_on():
    events = b'id: 1\nevent: agent_event\ndata: {"type": "result"}\n\n'
    stream_head = head(content_type="text/event-stream", content_length=str(len(events)))

    def serve(request: Any) -> Any:
        if request.path.endswith("/stream"):
            return [stream_head, 0.2, events]
        return response(b'"no"', 404)

    with SocketServer(handler=serve_each(serve)) as server:
        with ApiClient(Configuration(host=server.url)) as client:
            with pytest.raises(acp.NotFoundException):
                RunsApi(client).get_run("r1")
            stream = RunsApi(client).get_run_stream("r1")
        assert eventually(lambda: server.still_open == 1)
        assert [event.id for event in stream.raw_events()] == ["1"]
        assert eventually(lambda: not server.still_open)


def test_a_call_overrides_the_headers_and_credentials_of_its_client():
    with SocketServer(response_of(RUN)) as server:
        configuration = Configuration(host=server.url, access_token="t")
        with ApiClient(configuration, "X-Team", "blue", cookie="c=1") as client:
            runs = RunsApi(client)
            client.set_default_header("X-N", 5)
            headers = {"x-team": "red", "X-Half": 0.5, "X-Flag": True}
            runs.get_run("r1", _headers=headers, _request_auth={})
            runs.get_run("r1", _request_auth={"in": "header", "key": "X-Key", "value": "k"})
            runs.get_run("r1", _request_auth={"in": "cookie", "key": "k", "value": "v w"})
            runs.get_run("r1", _request_auth={"in": "query", "key": "k y", "value": "v&w"})
            with pytest.raises(acp.ApiException):
                auth = {"in": "query", "key": "k", "value": 5}
                runs.get_run_output("r1", block_timeout=3, _request_auth=auth)
            configuration.access_token = "new"
            runs.get_run("r1")
    own, header, cookie, query, both, renewed = server.requests
    names = ("x-team", "x-n", "x-half", "x-flag", "cookie", "authorization")
    assert [own.headers[name] for name in names] == ["red", "5", "0.5", "true", "c=1", "Bearer t"]
    assert own.raw_head.lower().count(b"x-team:") == 1
    assert (header.headers["x-key"], header.headers["x-team"]) == ("k", "blue")
    assert cookie.headers["cookie"] == "c=1; k=v%20w" and query.headers["cookie"] == "c=1"
    assert query.raw_head.startswith(b"GET /runs/r1?k%20y=v%26w HTTP/1.1\r\n")
    assert b"/runs/r1/output?block_timeout=3&k=5 " in both.raw_head
    for request in (header, cookie, query, both):
        assert "authorization" not in request.headers
    assert renewed.headers["authorization"] == "Bearer new"


def test_a_credential_in_the_query_stays_with_its_origin():
    """The server repeats it in its redirects, as many do with a whole query."""
    auth = {"in": "query", "key": "k", "value": SECRET}

    def moved(place: str) -> bytes:
        return head(307, location=f"{place}?a=1&k={SECRET}&b=2", content_length="0")

    with (
        SocketServer(response_of(RUN)) as other,
        serving(moved("/there"), moved(other.url + "/elsewhere")) as (server, client),
    ):
        RunsApi(client).get_run("r1", _request_auth=auth)
    assert [request.raw_head.split()[1].decode() for request in server.requests] == [
        f"/runs/r1?k={SECRET}",
        f"/there?a=1&b=2&k={SECRET}",
    ]
    assert other.requests[0].raw_head.split()[1] == b"/elsewhere?a=1&b=2"


@pytest.mark.parametrize("place", ["query", "cookie", "header"])
def test_a_credential_of_a_call_is_not_shown(place, caplog):
    auth = {"in": place, "key": "k", "value": SECRET}
    moved = head(303, location="ftp://x/", content_length="0")
    responses = ([RESET], response(b'"no"', 404), moved, response(b"{}"))
    with caplog.at_level(logging.DEBUG), serving(*responses, retries=False) as (server, client):
        client.configuration.debug = True
        for _ in responses:
            with pytest.raises(acp.ApiException) as failure:
                RunsApi(client).get_run("r1", _request_auth=auth)
            error = failure.value
            assert error.url == f"{server.url}/runs/r1"
            shown = "".join(traceback.format_exception(error))
            assert SECRET not in f"{error}{error!r}{pickle.dumps(error)!r}{vars(error)!r}{shown}"
        raw = RunsApi(client).get_run_without_preload_content("r1", _request_auth=auth)
        assert SECRET not in f"{raw!r}{raw.geturl()}"
        raw.close()
    client.configuration.debug = False
    assert len(server.requests) == 5
    assert all(SECRET.encode() in request.raw_head for request in server.requests)
    assert "acp_client_v0_1" in {record.name.partition(".")[0] for record in caplog.records}
    assert SECRET not in caplog.text


HALF = r'{"detail": "no \ud83d"}'
NESTED = {levels: '{"detail":' * levels + '"no"' + "}" * levels for levels in (200, 201, 900)}


@pytest.mark.parametrize(
    ("content", "content_type", "body", "data"),
    [
        *(("é\\q-".encode(), f"text/plain; charset={name}", "é\\q-", "é\\q-") for name in CHARSETS),
        (b"\xe9", "text/plain; charset=iso-8859-1", "\ufffd", "\ufffd"),
        (NESTED[200].encode(), "application/json", NESTED[200], json.loads(NESTED[200])["detail"]),
        (NESTED[201].encode(), "application/json", NESTED[201], NESTED[201]),
        (NESTED[900].encode(), "application/json", NESTED[900], NESTED[900]),
        (HALF.encode(), "application/json", HALF, "no \ud83d"),  # half a surrogate pair
        (b"[" * 100_000, "application/json", "[" * 100_000, "[" * 100_000),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_body_and_data_of_an_error_are_utf_8_and_pickle(content, content_type, body, data):
    with (
        serving(response(content, 404, content_type=content_type)) as (_, client),
        pytest.raises(acp.NotFoundException) as failure,
    ):
        RunsApi(client).get_run("r1")
    for error in (failure.value, pickle.loads(pickle.dumps(failure.value))):
        assert error.body == body
        assert (error.data["detail"] if isinstance(error.data, dict) else error.data) == data


def test_an_error_whose_body_breaks_off_keeps_its_beginning_and_says_what_broke_it():
    for operation in ("get_run", "get_run_stream"):
        cut = [head(200 if "stream" in operation else 404, content_length="9"), b"so", CLOSE]
        with serving(cut) as (_, client), pytest.raises(acp.ApiException) as caught:
            getattr(RunsApi(client), operation)("r1")
        assert caught.value.body == "so"
        assert isinstance(caught.value.__cause__, acp.ConnectionException)


def test_a_block_that_is_longer_than_any_wait():
    with serving(head(204), block_margin=10**6) as (server, client):
        for window in (10**7, 10**10, 2**63 - 1):
            for client.configuration.timeout in ((10, 60), 5):
                assert RunsApi(client).get_run_output("r1", block_timeout=window) is None
            with pytest.raises(acp.ApiValueError, match="too short"):
                RunsApi(client).get_run_output("r1", block_timeout=window, _request_timeout=5)
    assert len(server.requests) == 6


def test_a_model_is_sent_as_it_says_itself():
    text = '{"agent_id": "a", "input": {"n": null}, "config": null, "later": null, "new": 1}'
    run = RunCreate.from_json(text)
    with serving(response(b'"no"', 404)) as (server, client):
        with pytest.raises(acp.NotFoundException):
            RunsApi(client).create_run(run)
        assert client.sanitize_for_serialization({"run": [run]}) == {"run": [run.to_dict()]}
    sent = json.loads(server.requests[0].body)
    assert sent == json.loads(run.to_json())
    assert "config" not in sent and sent["input"] == {"n": None} and sent["new"] == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_view_has_a_retry_policy_of_its_own(status):
    """A create is posted once by such a view, even if it was certainly not processed."""
    with serving(response(b'"busy"', status, retry_after="0"), retries=QUICK) as (server, client):
        view = client.with_options(retries=0)
        for api_client, requests in ((client, 3), (view, 1), (view.with_options(retries=1), 2)):
            for body in ({}, RunCreate(agent_id="a")):
                server.requests.clear()
                runs = RunsApi(api_client)
                call = runs.create_run if body else runs.search_runs
                with pytest.raises(acp.ApiException):
                    call(body)
                assert len(server.requests) == (1 if body and status == 503 else requests)


def test_a_view_has_headers_of_its_own_and_shares_the_rest_with_its_client():
    with SocketServer(response(b"[]")) as server:
        configuration = Configuration(host=server.url, api_key={"X-Key": "a"})
        with ApiClient(configuration, "X-Team", "a", cookie="a=1") as client:
            view = client.with_options(headers={"x-key": "b", "X-Team": "b", "X-Own": "b"})
            assert type(view) is ApiClient
            client.set_default_header("X-Later", "yes")
            auth = {"in": "header", "key": "X-Key", "value": "c"}
            RunsApi(client).search_runs({})
            with view:
                RunsApi(view).search_runs({})
            RunsApi(view).search_runs({}, _headers={"x-own": "c"})
            RunsApi(view).search_runs({}, _request_auth=auth)
            RunsApi(view.with_options(headers={"X-Own": "d"}, retries=0)).search_runs({})
            RunsApi(client).search_runs({})
    got = [[r.headers.get(n) for n in ("x-key", "x-team", "x-own")] for r in server.requests]
    alone = ["a", "a", None]
    assert got == [alone, ["b", "b", "b"], ["b", "b", "c"], ["c", "b", "b"], ["b", "b", "d"], alone]
    assert server.connections == 1
    shared = {(r.headers["x-later"], r.headers["cookie"]) for r in server.requests}
    assert shared == {("yes", "a=1")}


def test_a_view_has_a_timeout_of_its_own_and_the_total_of_its_client_which_streams_lack():
    script = [STALL], [STALL], response(b"[]"), [STALL], [STALL], [0.3, head(204)]
    with serving(*script, retries=False, timeout=0.3) as (_, client):
        view = client.with_options(timeout=0.2)
        with pytest.raises(ApiTimeoutError, match=r"within the call's 0\.2 s"):
            RunsApi(view).search_runs({})
        with pytest.raises(ApiTimeoutError, match=r"within the call's 0\.1 s"):
            RunsApi(view).search_runs({}, _request_timeout=0.1)
        assert RunsApi(client.with_options(timeout=(5, 5))).search_runs({}) == []
        with pytest.raises(ApiTimeoutError, match=r"within the call's 0\.3 s"):
            RunsApi(client).search_runs({})
        client.configuration.total_timeout = 0.15
        with pytest.raises(ApiTimeoutError, match=r"within the call's 0\.15 s"):
            RunsApi(client.with_options(timeout=(5, 5))).search_runs({})
        assert list(RunsApi(client).get_run_stream("r")) == []


def test_a_default_header_may_be_set_while_a_call_reads_them():
    """As another thread may do it, at any moment."""

    class Name(str):
        def __str__(self) -> str:
            client.set_default_header("X-Later", "yes")
            return "X-Now"

    with serving(response_of(RUN)) as (server, client):
        client.set_default_header(Name("X-Now"), "yes")
        for _ in range(2):
            RunsApi(client).get_run("r1")
    assert ["x-later" in request.headers for request in server.requests] == [False, True]


PAST, FUTURE = "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2065 07:28:00 GMT"
CUT = [head(content_type="text/event-stream", content_length="100"), b"some of it", CLOSE]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


def refusal(status: int, **headers: str) -> bytes:
    return response(b'"no"', status, **headers)


# What a server does to each request, the error of a call with two retries, and how many requests
# of a call have then reached the server, and of a create.
FAULTS: list[tuple[Any, type[acp.ApiException], int, int]] = [
    ([RESET], acp.ConnectionException, 3, 1),
    ([HEAD, 0.05, RESET], acp.ConnectionException, 3, 1),
    ([HEAD[:11], CLOSE], acp.ConnectionException, 3, 1),
    ([b"\x00\x01\x02 garbage\r\n\r\n", CLOSE], acp.ProtocolException, 1, 1),
    (CUT, acp.ConnectionException, 3, 1),
    (refusal(408), acp.ApiException, 3, 1),
    (refusal(500, retry_after=PAST), acp.ServiceException, 3, 1),
    (refusal(503, retry_after="0"), acp.ServiceException, 3, 1),
    (refusal(503, retry_after="60"), acp.ServiceException, 1, 1),
    (refusal(429, retry_after=PAST), acp.TooManyRequestsException, 3, 3),
    (refusal(429, retry_after=FUTURE), acp.TooManyRequestsException, 1, 1),
]
CALLS: dict[str, Any] = {
    "safe": lambda api: api.get_run("r1", _request_timeout=10),
    "creating": lambda api: api.create_run(RunCreate(agent_id="a1"), _request_timeout=10),
    "blocking": lambda api: api.get_run_output("r1", block_timeout=1, _request_timeout=10),
    "streaming": lambda api: list(api.get_run_stream("r1", _request_timeout=10)),
}


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize(("script", "expected", "requests", "creates"), FAULTS)
def test_each_kind_of_call_meets_each_fault_as_its_row_says(
    script, expected, requests, creates, kind
):
    requests = creates if kind == "creating" else requests
    if kind == "streaming" and script is CUT:  # its reader has had a part of it
        expected, requests = acp.StreamInterrupted, 1
    serve = serving(script, retries=QUICK)
    with serve as (server, client), pytest.raises(expected) as raised:
        CALLS[kind](RunsApi(client))
    error = raised.value
    assert len(server.requests) == error.attempts == requests and "\n" not in str(error)
    assert (f"after {requests} attempts in " in str(error)) is (requests > 1)
    assert isinstance(error, acp.StreamInterrupted) or 0 < error.elapsed < 15
    nothing_done = isinstance(error, (acp.TooManyRequestsException, acp.ProtocolException))
    doubtful = kind == "creating" and not nothing_done
    assert ("may have carried out" in str(error)) is error.ambiguous is doubtful
