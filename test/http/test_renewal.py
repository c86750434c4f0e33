"""Credentials that functions give: when they are asked, by whom, and what a 401 changes."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import logging
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pages import code_blocks
from support.batches import in_a_child
from support.examples import RUN, UPDATE
from support.moments import Interrupt, Moment
from support.parts import Deadline, Renewal, renewal, slots
from support.socket_server import (
    CLOSE,
    Request,
    SocketServer,
    head,
    redirect,
    response,
    serve_each,
)
from support.transport import eventually, in_use, serving

import acp_client_v0_1 as acp
from acp_client_v0_1 import ApiClient, Configuration, RunsApi
from acp_client_v0_1.transport import Urllib3Transport

FOUND = response(acp.Run.from_dict(RUN).to_json().encode())
BUSY = head(503, retry_after="0", content_length="0")
STREAM = response(
    b"id: 1\nevent: agent_event\ndata: %b\n\n" % json.dumps(UPDATE).encode(),
    content_type="text/event-stream",
)
DENIED = response(b'{"detail": "no"}', 401)
SECRET = "planted-t0ken"
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "authentication.md"


def tokens(name: str = "t") -> Callable[[], str]:
    """A function that gives another token each time."""
    numbers = itertools.count(1)
    return lambda: f"{name}{next(numbers)}"


def sent(server: SocketServer, header: str = "authorization") -> list[str]:
    return [request.headers.get(header, "") for request in server.requests]


def accepting(*good: str) -> Callable[..., Any]:
    """A handler of a server that knows some tokens, and responds to all others with a 401."""

    def respond(request: Request) -> bytes:
        known = request.headers.get("authorization", "").removeprefix("Bearer ") in good
        return FOUND if known else DENIED

    return serve_each(respond)


def test_a_function_is_asked_before_each_attempt():
    with serving(FOUND, BUSY, [CLOSE], FOUND, access_token=tokens()) as (server, client):
        RunsApi(client).get_run("r1")
        RunsApi(client).get_run("r1")
    assert sent(server) == ["Bearer t1", "Bearer t2", "Bearer t3", "Bearer t4"]


def test_a_redirect_of_the_same_origin_keeps_the_token_and_another_origin_gets_none():
    with SocketServer(FOUND) as other:
        moved = redirect(307, "/elsewhere"), redirect(307, f"{other.url}/r")
        with serving(*moved, access_token=tokens(), api_key={"x-key": tokens("k")}) as (
            server, client,
        ):  # fmt: skip
            RunsApi(client).get_run("r1")
    assert sent(server) == ["Bearer t1"] * 2 and sent(server, "x-key") == ["k1"] * 2
    assert sent(other) == sent(other, "x-key") == [""]


def test_a_401_of_another_origin_asks_for_nothing():
    asked: list[int] = []
    with SocketServer(DENIED) as other:
        moved = redirect(307, f"{other.url}/r")
        give = functools.partial(_given, asked)
        with (
            serving(moved, access_token=give) as (_, client),
            pytest.raises(acp.UnauthorizedException),
        ):
            RunsApi(client).get_run("r1")
    assert len(asked) == len(other.requests) == 1


def _given(asked: list[int], token: str = SECRET) -> str:
    asked.append(1)
    return token


@pytest.mark.parametrize("retries", [3, False])
@pytest.mark.parametrize("call", ["get", "create", "delete", "resume", "stream", "unread"])
def test_after_a_401_any_request_is_sent_once_more_with_another_token(call, retries):
    def send(runs: RunsApi) -> object:
        if call == "create":
            return runs.create_run({"agent_id": "a", "input": {"x": 1}})
        if call == "delete":
            return runs.delete_run("r1")
        if call == "resume":
            return runs.resume_run("r1", {"x": 1})
        if call == "stream":
            with runs.get_run_stream("r1") as stream:
                return list(stream)
        if call == "unread":
            return runs.get_run_without_preload_content("r1").status
        return runs.get_run("r1")

    fine = STREAM if call == "stream" else FOUND
    for transport in (None, Urllib3Transport()):
        settings: Any = {"access_token": tokens(), "retries": retries, "transport": transport}
        with serving(DENIED, fine, **settings) as (server, client):
            send(RunsApi(client))
        first, second = server.requests
        assert sent(server) == ["Bearer t1", "Bearer t2"]
        assert (first.method, first.path, first.body) == (second.method, second.path, second.body)


def test_a_second_401_is_the_error():
    with (
        serving(DENIED, access_token=tokens()) as (server, client),
        pytest.raises(acp.UnauthorizedException, match="after 2 attempts") as failure,
    ):
        RunsApi(client).get_run("r1")
    assert failure.value.attempts == len(server.requests) == 2
    assert failure.value.data == {"detail": "no"}


def test_a_401_to_the_same_token_is_the_error_at_once():
    asked: list[int] = []
    with (
        serving(DENIED, access_token=lambda: _given(asked)) as (server, client),
        pytest.raises(acp.UnauthorizedException) as failure,
    ):
        RunsApi(client).get_run("r1")
    assert len(server.requests) == 1 and len(asked) == 2 and failure.value.attempts == 1
    assert failure.value.data == {"detail": "no"}


def test_a_401_after_a_retry_still_brings_another_token():
    with serving(BUSY, DENIED, BUSY, FOUND, access_token=tokens()) as (server, client):
        assert RunsApi(client).get_run_with_http_info("r1").status_code == 200
    assert sent(server) == [f"Bearer t{n}" for n in (1, 2, 3, 4)]


def test_a_function_that_is_cached_is_asked_again_after_a_401_only():
    @functools.cache
    def token() -> str:
        return give()

    give = tokens()
    with serving(handler=accepting("t1"), access_token=token) as (server, client):
        for _ in range(3):
            RunsApi(client).get_run("r1")
        server.handler = accepting("t2")
        client.close()
        for _ in range(3):
            RunsApi(client).get_run("r1")
    assert sent(server) == ["Bearer t1"] * 4 + ["Bearer t2"] * 3


def test_the_class_of_the_guide_gets_tokens_by_oauth_and_forgets_one_that_was_refused():
    """It asks the token endpoint for the first token, near the end of one, and after a 401."""
    [block] = (block for block in code_blocks(GUIDE) if "ClientCredentials" in block.source)
    names: dict[str, Any] = {"Configuration": Configuration}
    exec(block.source, names)
    issued = [
        response(json.dumps({"access_token": f"t{n}", "expires_in": seconds}).encode())
        for n, seconds in enumerate((3600, 3600, 59, 3600), 1)
    ]
    with SocketServer(*issued) as login:
        source = names["ClientCredentials"](f"{login.url}/token", "reports & co", "s=1")
        with serving(handler=accepting("t1"), access_token=source) as (server, client):
            for good in ("t1", "t2", "t3", "t4", "t4"):
                server.handler = accepting(good)
                client.close()
                assert RunsApi(client).get_run("r1").run_id == "r1"
    # The second and third token follow a 401. The fourth one does not: the third has 59 seconds.
    assert sent(server) == [f"Bearer t{n}" for n in (1, 1, 2, 2, 3, 4, 4)]
    assert {(request.method, request.path) for request in login.requests} == {("POST", "/token")}
    form = dict(parse_qsl(login.requests[0].body.decode()))
    assert form == {
        "grant_type": "client_credentials",
        "client_id": "reports & co",
        "client_secret": "s=1",
    }
    assert len(login.requests) == 4
    # The guide promises that the class is short.
    lines = block.source.partition("class ")[2].partition("configuration =")[0].splitlines()
    assert len(list(filter(str.strip, lines))) < 15


def test_keys_are_functions_too_with_their_prefixes_beside_keys_that_are_texts():
    keys: Any = {"x-key": tokens("k"), "x-team": "blue"}
    settings: Any = {"api_key": keys, "api_key_prefix": {"x-key": "Key"}}
    with serving(DENIED, FOUND, **settings) as (server, client):
        RunsApi(client).get_run("r1")
    assert sent(server, "x-key") == ["Key k1", "Key k2"]
    assert sent(server, "x-team") == ["blue"] * 2


def test_other_credentials_of_a_call_ask_for_nothing():
    auth = {"in": "header", "key": "x-own", "value": "own"}
    with serving(DENIED, FOUND, access_token=tokens()) as (server, client):
        with pytest.raises(acp.UnauthorizedException):
            RunsApi(client).get_run("r1", _request_auth=auth)
        view = client.with_options(headers={"authorization": "of the view"})
        RunsApi(view).get_run("r1")
        RunsApi(client).get_run("r1", _headers={"Authorization": "of the call"})
    assert sent(server) == ["", "of the view", "of the call"]


def test_a_401_to_a_header_that_overrides_the_token_is_the_error():
    with (
        serving(DENIED, FOUND, access_token=tokens()) as (server, client),
        pytest.raises(acp.UnauthorizedException),
    ):
        RunsApi(client).get_run("r1", _headers={"Authorization": "mine"})
    assert len(server.requests) == 1


def test_a_signature_covers_the_present_token():
    seen: list[str] = []
    settings: Any = {"auth": lambda request: seen.append(request.headers["authorization"])}
    with serving(BUSY, DENIED, FOUND, access_token=tokens(), **settings) as (server, client):
        RunsApi(client).get_run("r1")
    assert seen == sent(server) == ["Bearer t1", "Bearer t2", "Bearer t3"]


def test_spans_count_the_request_that_is_sent_again():
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    spans = memory.InMemorySpanExporter()
    provider = trace.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(spans))
    with serving(DENIED, FOUND, access_token=tokens(SECRET)) as (_, client):
        acp.instrument(client, provider)
        RunsApi(client).get_run("r1")
    first, second = spans.get_finished_spans()
    assert "http.request.resend_count" not in first.attributes
    assert second.attributes["http.request.resend_count"] == 1
    assert SECRET not in first.to_json() + second.to_json()


# Threads


def test_threads_that_meet_the_same_old_token_renew_it_once():
    asked: list[str] = []
    present = "old"

    def token() -> str:
        asked.append(present)
        time.sleep(0.05)
        return present

    with serving(handler=accepting("old"), access_token=token) as (server, client):
        runs = RunsApi(client)
        runs.get_run("r1")
        barrier, before = threading.Barrier(8), len(asked)

        def respond(request: Request) -> bytes:
            nonlocal present
            if request.headers["authorization"] == "Bearer old":
                barrier.wait(10)
                present = "new"
                return DENIED
            return FOUND

        server.handler = serve_each(respond)
        client.close()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(runs.get_run, ["r1"] * 8))
    # Each thread has asked for the old token, by itself or while another thread did.
    assert sent(server).count("Bearer old") == 9 and sent(server).count("Bearer new") == 8
    assert asked[before:].count("new") == 1 and asked[before:].count("old") <= 8


def test_threads_never_call_a_function_at_the_same_time_and_share_what_it_returns():
    inside, most, asked = 0, 0, 0

    def token() -> str:
        nonlocal inside, most, asked
        asked, inside = asked + 1, inside + 1
        most = max(most, inside)
        time.sleep(0.02)
        inside -= 1
        return "t"

    with serving(FOUND, access_token=token) as (server, client):
        runs = RunsApi(client)
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(runs.get_run, ["r1"] * 160))
    assert most == 1 and asked < 100 and len(server.requests) == 160


def test_the_hook_is_called_for_a_token_before_its_function_and_after_a_401():
    order: list[str] = []

    def hook(configuration: Configuration) -> None:
        order.append("hook")

    def token() -> str:
        order.append("function")
        return f"t{order.count('function')}"

    with serving(FOUND, DENIED, FOUND, access_token=token) as (server, client):
        client.configuration.refresh_api_key_hook = hook
        RunsApi(client).get_run("r1")
        RunsApi(client).get_run("r1")
    assert order == ["hook", "function"] * 3
    assert sent(server) == ["Bearer t1", "Bearer t2", "Bearer t3"]


def test_the_hook_may_set_the_token_of_a_configuration_that_has_none():
    give = tokens()

    def hook(configuration: Configuration) -> None:
        configuration.access_token = give()

    with serving(DENIED, FOUND) as (server, client):
        client.configuration.refresh_api_key_hook = hook
        RunsApi(client).get_run("r1")
    assert sent(server) == ["Bearer t1", "Bearer t2"]


def test_the_hook_is_called_once_for_threads_that_need_it_at_the_same_time():
    called: list[int] = []
    gate = threading.Event()

    def hook(configuration: Configuration) -> None:
        called.append(1)
        gate.wait(10)

    with serving(FOUND, access_token="t") as (_, client):
        client.configuration.refresh_api_key_hook = hook
        with ThreadPoolExecutor(8) as threads:
            calls = [threads.submit(RunsApi(client).get_run, "r1") for _ in range(8)]
            line = client.rest_client.renewal._lines
            assert eventually(lambda: os.getpid() in line and in_use(line[os.getpid()]) == 8)
            gate.set()
            assert all(call.result(10).run_id for call in calls)
    assert len(called) == 1


def test_a_call_inside_of_the_function_has_the_other_credentials_and_asks_for_nothing():
    asked: list[int] = []
    runs: RunsApi

    def token() -> str:
        asked.append(1)
        return runs.get_run("r1").run_id

    keys: Any = {"x-team": "blue", "x-key": tokens("k")}
    with serving(FOUND, access_token=token, api_key=keys) as (server, client):
        runs = RunsApi(client)
        runs.get_run("r2")
    assert [request.path for request in server.requests] == ["/runs/r1", "/runs/r2"]
    assert sent(server) == ["", "Bearer r1"] and len(asked) == 1
    assert sent(server, "x-team") == ["blue"] * 2 and sent(server, "x-key") == ["", "k1"]


def test_a_401_to_a_call_inside_of_the_function_is_the_error_of_both():
    runs: RunsApi

    def token() -> str:
        return runs.get_run("r1").run_id

    with serving(DENIED, access_token=token) as (server, client):
        runs = RunsApi(client)
        with pytest.raises(acp.UnauthorizedException) as failure:
            runs.get_run("r2")
    assert len(server.requests) == 1 and str(failure.value.url).endswith("/runs/r1")


def test_a_thread_waits_for_another_ones_function_until_its_own_deadline():
    gate = threading.Event()

    def token() -> str:
        assert gate.wait(20)
        return "t"

    with serving(FOUND, access_token=token) as (server, client):
        runs = RunsApi(client)
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(runs.get_run, "r1")
            line = client.rest_client.renewal._lines
            assert eventually(lambda: os.getpid() in line and in_use(line[os.getpid()]) == 1)
            began = time.monotonic()
            with pytest.raises(acp.ApiTimeoutError, match="runs in another thread") as failure:
                runs.create_run({"agent_id": "a"}, _request_timeout=0.3)
            took = time.monotonic() - began
            gate.set()
            assert first.result(10).run_id == "r1"
        assert runs.get_run("r1")
    assert 0.25 < took < 5 and not failure.value.sent and not failure.value.ambiguous
    assert [request.method for request in server.requests] == ["GET", "GET"]


def test_if_a_function_raises_the_threads_that_wait_ask_one_after_another():
    gate, asked = threading.Event(), list[int]()

    def token() -> str:
        asked.append(1)
        if len(asked) == 1:
            gate.wait(10)
        if len(asked) <= 2:
            raise LookupError(f"no token {len(asked)}")
        return "t"

    with serving(FOUND, access_token=token) as (server, client):
        runs = RunsApi(client)
        with ThreadPoolExecutor(5) as threads:
            calls = [threads.submit(runs.get_run, "r1") for _ in range(5)]
            line = client.rest_client.renewal._lines
            assert eventually(lambda: os.getpid() in line and in_use(line[os.getpid()]) == 5)
            gate.set()
            errors = [call.exception(10) for call in calls]
    failed = [str(error) for error in errors if error]
    assert sorted(failed) == ["no token 1", "no token 2"]
    assert len(asked) == 3 and len(server.requests) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_does_not_wait_for_a_thread_of_its_parent():
    gate, parent = threading.Event(), os.getpid()

    def token() -> str:
        if os.getpid() == parent:
            gate.wait(20)
        return "t"

    with serving(FOUND, access_token=token) as (_, client):
        runs = RunsApi(client)
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(runs.get_run, "r1")
            line = client.rest_client.renewal._lines
            assert eventually(lambda: os.getpid() in line and in_use(line[os.getpid()]) == 1)
            child = in_a_child(lambda: runs.get_run("r1", _request_timeout=10))
            status = os.waitpid(child, 0)[1]
            gate.set()
            first.result(10)
    assert status == 0


@pytest.mark.slow
def test_an_interrupt_anywhere_in_the_line_leaves_it_to_the_others():
    source: Any = _Source()
    asking, files = Renewal(), [str(renewal.__file__), str(slots.__file__)]

    def interrupted(number: int) -> bool:
        for _ in range(5):
            try:
                with Moment(number, files):
                    refused = {"a": str(source.count)} if number % 2 else None
                    asking.ask(source, Deadline.after(8), refused)
            except Interrupt:
                return True
        return False

    def interrupt() -> int:
        for number in range(1, 5000):
            if not interrupted(number):
                return number
            assert asking.ask(source, Deadline.after(8)) == {"a": str(source.count)}
        raise AssertionError("this has no end")

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(interrupt).result() > 100


class _Source:
    count = 0

    def auth_headers(self, *, ask: bool = True) -> dict[str, str]:
        assert ask
        self.count += 1
        return {"a": str(self.count)}

    def forget_credentials(self) -> None:
        pass


# What functions raise and return


class Broken(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [Broken("no key"), OSError("no file"), TimeoutError("late"), ConnectionResetError("cut"),
     acp.NotFoundException(404, "n"), acp.ConnectionException(reason="of the token server"),
     acp.ApiTypeError("of a function"), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_a_function_raises_ends_the_call_as_it_is(error):
    calls: list[int] = []

    def token() -> str:
        calls.append(1)
        raise error

    with serving(FOUND, access_token=token) as (server, client):
        for call in ("get_run", "delete_run"):
            with pytest.raises(type(error)) as failure:
                getattr(RunsApi(client), call)("r1")
            assert failure.value is error
        assert not server.requests and len(calls) == 2


def test_what_a_function_raises_after_a_401_ends_the_call_and_frees_the_connection():
    def token() -> str:
        calls.append(1)
        if len(calls) == 2:
            raise Broken
        return "t"

    calls: list[int] = []
    with serving(DENIED, FOUND, access_token=token, connection_pool_maxsize=1) as (server, client):
        with pytest.raises(Broken):
            RunsApi(client).get_run_stream("r1")
        RunsApi(client).get_run("r1", _request_timeout=8)
        assert eventually(lambda: server.still_open <= 1)


class Text:
    def __call__(self) -> Any:
        return self

    def __str__(self) -> str:
        return SECRET


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "must be a str, not NoneType"),
        (SECRET.encode(), "must be a str, not bytes"),
        (7, "must be a str, not int"),
        (f"{SECRET}\n", "contains a control character or a line break; strip"),
        (f"{SECRET}\r\nX-Other: 1", "contains a control character or a line break"),
        (f"{SECRET}\0", "contains a control character"),
        (f"Bearer {SECRET}", "must be the token alone"),
        (f"{SECRET}\u20ac", "must be encodable as ISO-8859-1"),
    ],
)
def test_what_a_function_returns_and_cannot_be_sent_is_named_and_nothing_is_sent(given, words):
    keyed = not words.startswith("must be the token")
    cases: list[tuple[Any, str]] = [({"access_token": lambda: given}, "access_token()")]
    cases += [({"api_key": {"x-key": lambda: given}}, "api_key['x-key']()")] * keyed
    for settings, name in cases:
        with (
            serving(FOUND, **settings) as (server, client),
            pytest.raises((acp.ApiTypeError, acp.ApiValueError), match=words) as failure,
        ):
            RunsApi(client).get_run("r1")
        text = "".join(traceback.format_exception(failure.value))
        assert SECRET not in text and not server.requests
        if "ISO" not in words:
            assert f"what {name} returns" in text


def test_a_key_that_comes_with_its_header_is_refused():
    configuration = Configuration(api_key={"x-key": lambda: f"X-Key: {SECRET}"})
    with pytest.raises(acp.ApiValueError, match="must be the key alone, without its header"):
        configuration.auth_headers()


def test_an_empty_text_is_not_sent():
    settings: Any = {"access_token": lambda: "", "api_key": {"x-key": lambda: ""}}
    with (
        serving(DENIED, **settings) as (server, client),
        pytest.raises(acp.UnauthorizedException, match="no credentials were sent"),
    ):
        RunsApi(client).get_run("r1")
    assert sent(server) == sent(server, "x-key") == [""]


async def later() -> str:
    return "t"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"access_token": lambda configuration: "t"}, "and yours takes \\(configuration\\)"),
        ({"access_token": later}, "not async"),
        ({"access_token": 7}, "a function without arguments that returns it, not int"),
        ({"api_key": {"x-key": lambda name: "k"}}, "api_key\\['x-key'\\] must be .* takes \\(name"),
        ({"api_key": {"x-key": later}}, "not async"),
        ({"api_key_prefix": {"x-key": tokens()}}, "api_key_prefix\\['x-key'\\] must be a str, not"),
        ({"username": tokens()}, "username must be a str"),
    ],
)
def test_a_function_that_cannot_be_asked_is_refused_where_it_is_set(settings, words):
    with pytest.raises(acp.ApiTypeError, match=words):
        Configuration(**settings)


# A configuration with functions


def give() -> str:
    return SECRET


class Keeper:
    def __init__(self) -> None:
        self.lock = threading.Lock()  # cannot be copied

    def token(self) -> str:
        return SECRET


def test_a_configuration_with_functions_shows_none_of_what_they_give():
    configuration = Configuration(access_token=give, api_key={"x-key": give})
    for text in (repr(configuration), configuration.to_debug_report()):
        assert "access_token='***'" in text and "{'x-key': '***'}" in text
        assert SECRET not in text and "give" not in text


def test_copies_share_the_functions_and_pickles_have_them_by_reference():
    keeper = Keeper()
    configuration = Configuration(access_token=keeper.token, api_key={"x-key": keeper.token})
    twin = copy.deepcopy(configuration)
    assert twin.access_token == keeper.token and twin.auth_headers()["x-key"] == SECRET
    Configuration.set_default(configuration)
    try:
        assert Configuration.get_default_copy().access_token == keeper.token
    finally:
        Configuration.set_default(None)
    with serving(DENIED, FOUND, access_token=give, api_key={"x-key": "k"}) as (server, client):
        with pytest.raises(acp.UnauthorizedException):
            RunsApi(client).get_run("r1")
        again = pickle.dumps(client)
        assert SECRET.encode() not in again and b"give" in again
        with pickle.loads(again) as other:
            RunsApi(other).get_run("r1")
    assert sent(server) == [f"Bearer {SECRET}"] * 2
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(Configuration(access_token=lambda: "t"))


@pytest.mark.parametrize("transport", [lambda: None, Urllib3Transport])
def test_no_token_is_in_a_log_an_error_or_a_pickle(caplog, transport):
    caplog.set_level(logging.DEBUG)

    def echo(request: Request) -> bytes:
        told = request.headers["authorization"], request.headers["x-key"]
        return response(json.dumps({"detail": told}).encode(), 401)

    give, errors = tokens(SECRET), list[BaseException]()
    handlers = serve_each(echo), lambda connection: connection.read_request(), None
    for handler in handlers:
        settings: Any = {"access_token": give, "api_key": {"x-key": give}, "retries": 1}
        with serving(
            redirect(307, "ftp://h"), handler=handler, transport=transport(), **settings
        ) as (server, client):
            client.configuration.debug = True
            with pytest.raises(acp.ApiException) as failure:
                RunsApi(client).get_run("r1")
            errors.append(failure.value)
            with pytest.raises(acp.ApiException) as failure:
                RunsApi(client).create_run({"agent_id": "a"})
            errors.append(failure.value)
            texts = [repr(client), repr(vars(client)), repr(client.configuration)]
            assert SECRET not in "".join(texts) and SECRET in "".join(sent(server))
        client.configuration.debug = False
    for error in errors:
        assert SECRET not in "".join(traceback.format_exception(error)) + repr(vars(error))
    assert caplog.records and SECRET not in caplog.text


def test_a_credential_may_change_between_a_text_and_a_function():
    with serving(FOUND) as (server, client):
        for credential in ("t", tokens(), "u"):
            client.configuration.access_token = credential
            RunsApi(client).get_run("r1")
    assert sent(server) == ["Bearer t", "Bearer t1", "Bearer u"]


def test_another_configuration_of_the_client_gets_none_of_the_last_ones_tokens():
    with serving(DENIED, access_token=tokens("a")) as (server, client):
        for name in ("b", "c"):
            with pytest.raises(acp.UnauthorizedException):
                RunsApi(client).get_run("r1")
            client.configuration = Configuration(host=server.url, access_token=tokens(name))
    assert sent(server) == ["Bearer a1", "Bearer a2", "Bearer b1", "Bearer b2"]


def test_a_script_that_takes_the_steps_itself_gets_the_token_in_the_first():
    with serving(FOUND, access_token=tokens()) as (server, client):
        assert isinstance(client, ApiClient)
        method, url, headers, *_ = client.param_serialize("GET", "/x")
        client.call_api(method, url, headers)
    assert sent(server) == ["Bearer t1"]
