"""What holds for a whole client: safe operations, credentials, block windows, copies, closing."""

from __future__ import annotations

import json
import pickle
import socket
from collections.abc import Callable
from typing import Any

import pytest
from support.operations import CASES, Case
from support.socket_server import RESET, SocketServer, head, response, serve_each
from support.transport import Stopwatch, eventually
from urllib3.util import Retry

import acp_client_v0_1
from acp_client_v0_1 import (
    ApiClient,
    Configuration,
    ConnectionException,
    RunCreate,
    RunsApi,
    StreamInterrupted,
)

QUICK = Retry(2, backoff_factor=0.01)
SECRET = "planted-5ecret"


def answer_of(case: Case) -> bytes:
    return response(case.content, content_type=case.content_type)


def api_of(case: Case, client: ApiClient) -> Callable[..., Any]:
    operation = getattr(getattr(acp_client_v0_1, case.api)(client), case.name)
    return lambda: operation(*case.arguments)


def is_safe(case: Case) -> bool:
    return case.method == "GET" or case.path.endswith("/search")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_only_reading_and_searching_are_repeated(case: Case) -> None:
    for failure in ([RESET], response(b'"broken"', 500)):
        with (
            SocketServer(failure, answer_of(case)) as server,
            ApiClient(Configuration(host=server.url, retries=QUICK)) as client,
        ):
            call = api_of(case, client)
            if is_safe(case):
                call()
                assert len(server.requests) == 2
                continue
            with pytest.raises(acp_client_v0_1.ApiException) as refused:
                call()
            assert refused.value.ambiguous
            assert "may have carried out" in str(refused.value)
            assert len(server.requests) == 1


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operation_waits_for_a_server_that_refuses_for_a_while(case: Case) -> None:
    """429 says that nothing was done, so everything is repeated."""
    busy = response(b'"later"', 429, retry_after="0")
    with (
        SocketServer(busy, answer_of(case)) as server,
        ApiClient(Configuration(host=server.url, retries=QUICK)) as client,
    ):
        api_of(case, client)()
    assert len(server.requests) == 2
    assert server.requests[0].body == server.requests[1].body


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_refused_connection(case: Case) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with (
        ApiClient(Configuration(host=url, retries=QUICK)) as client,
        Stopwatch() as clock,
        pytest.raises(ConnectionException, match="cannot connect") as failure,
    ):
        api_of(case, client)()
    assert not failure.value.ambiguous
    assert clock.seconds < 2


def test_credentials_stay_with_the_configured_origin() -> None:
    settings = {
        "api_key": {"x-api-key": SECRET, "X-Other-Key": SECRET},
        "access_token": SECRET,
    }
    case = next(case for case in CASES if case.name == "get_run")
    with (
        SocketServer(answer_of(case)) as other,
        SocketServer(head(307, location=other.url + "/there", content_length="0")) as server,
        ApiClient(
            Configuration(host=server.url, **settings), "X-Default", SECRET, cookie=f"s={SECRET}"
        ) as client,
    ):
        api_of(case, client)()
    sent = server.requests[0].headers
    assert {"authorization", "cookie", "x-api-key", "x-other-key", "x-default"} <= set(sent)
    assert SECRET.encode() not in other.requests[0].raw_head
    assert not {"authorization", "cookie"} & set(other.requests[0].headers)


@pytest.mark.parametrize("path", ["", "/", "/base/path", "/base/path/"])
def test_a_base_path_and_a_trailing_slash(path: str) -> None:
    case = next(case for case in CASES if case.name == "get_thread")
    with (
        SocketServer(answer_of(case)) as server,
        ApiClient(Configuration(host=server.url + path)) as client,
    ):
        api_of(case, client)()
    assert server.requests[0].path == path.rstrip("/") + case.path


def test_a_block_of_3_seconds_outlasts_a_read_timeout_of_1() -> None:
    with (
        SocketServer([3.0, head(204)]) as server,
        ApiClient(Configuration(host=server.url, timeout=(5, 1))) as client,
        Stopwatch() as clock,
    ):
        assert RunsApi(client).get_run_output("r1", block_timeout=3) is None
    assert 2.9 < clock.seconds < 4
    assert len(server.requests) == 1


def test_a_client_pickles_without_its_connections() -> None:
    case = next(case for case in CASES if case.name == "get_run")
    with (
        SocketServer(answer_of(case)) as server,
        ApiClient(Configuration(host=server.url), "X-Team", "acp", cookie="a=b") as client,
    ):
        api_of(case, client)()
        with pickle.loads(pickle.dumps(client)) as other:
            api_of(case, other)()
    assert server.connections == 2
    first, second = server.requests
    assert first.headers == second.headers


def test_the_end_of_the_with_frees_the_sockets_and_a_stream_goes_on() -> None:
    events = b'id: 1\nevent: agent_event\ndata: {"type": "result"}\n\n'
    stream_head = head(content_type="text/event-stream", content_length=str(len(events)))

    def serve(request: Any) -> Any:
        if request.path.endswith("/stream"):
            return [stream_head, 0.2, events]
        return response(b'"no"', 404)

    with SocketServer(handler=serve_each(serve)) as server:
        with ApiClient(Configuration(host=server.url)) as client:
            with pytest.raises(acp_client_v0_1.NotFoundException):
                RunsApi(client).get_run("r1")
            stream = RunsApi(client).get_run_stream("r1")
        assert eventually(lambda: server.still_open == 1)
        assert [event.id for event in stream.raw_events()] == ["1"]
        assert eventually(lambda: not server.still_open)


def test_errors_of_calls_with_credentials_show_none() -> None:
    run = RunCreate(agent_id="a", input={"password": SECRET})
    answers = (
        response(b'"no"', 401),
        response(json.dumps({"run_id": 7}).encode()),
        [head(content_type="text/event-stream", content_length="9"), RESET],
    )
    with (
        SocketServer(*answers) as server,
        ApiClient(
            Configuration(host=server.url, retries=False, access_token=SECRET, debug=False),
            "X-Default",
            SECRET,
            cookie=SECRET,
        ) as client,
    ):
        runs = RunsApi(client)
        errors = []
        for call in (lambda: runs.create_run(run), lambda: runs.create_run(run)):
            with pytest.raises(acp_client_v0_1.ApiException) as failure:
                call()
            errors.append(failure.value)
        with pytest.raises(StreamInterrupted) as interrupted, runs.get_run_stream("r1") as stream:
            assert SECRET not in repr(stream)
            list(stream)
        errors.append(interrupted.value)
        for shown in (client, runs, client.configuration, client.rest_client):
            assert SECRET not in repr(shown) + str(shown)
    for error in errors:
        assert SECRET not in f"{error}{error!r}{pickle.dumps(error)!r}{vars(error)!r}"


def test_a_token_is_renewed_by_assigning_it() -> None:
    configuration = Configuration(access_token="old")
    with SocketServer(response(b'"no"', 404)) as server:
        configuration.host = server.url
        with ApiClient(configuration) as client:
            for token in ("old", "new"):
                configuration.access_token = token
                with pytest.raises(acp_client_v0_1.NotFoundException):
                    RunsApi(client).get_run("r1")
    assert [r.headers["authorization"] for r in server.requests] == ["Bearer old", "Bearer new"]
