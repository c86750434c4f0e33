"""Mistakes, and what their messages say: what happened, where, and what to do next.

A row is a function that makes one mistake, with the class of the error that it raises and phrases
that stand in the message once. A user who reads only the message must know what to do. The tables
near the end have the rows whose mistake is one expression; ` ... ` stands between two phrases.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import pickle
import socket
import ssl
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

import pytest
import responses
import trustme
from pydantic import ValidationError
from support.examples import RUN
from support.proxies import HttpProxy
from support.socket_server import (
    STALL,
    Connection,
    Request,
    SocketServer,
    head,
    response,
    serve_each,
)
from support.transport import serving

from acp_client_v0_1 import (
    AgentHandle,
    AgentLookupError,
    AgentsApi,
    ApiClient,
    ApiException,
    ApiTimeoutError,
    ApiTypeError,
    ApiValueError,
    Batch,
    Configuration,
    ConnectionException,
    ForbiddenException,
    JournalLocked,
    JournalMismatch,
    NameResolutionException,
    NotFoundException,
    ProtocolException,
    ProxyException,
    ResponseValidationError,
    ResumeAmbiguous,
    Run,
    RunCreate,
    RunGone,
    RunHandle,
    RunOutput,
    RunsApi,
    RunStartAmbiguous,
    RunWaitTimeout,
    SchemaMismatch,
    ServiceException,
    StreamDecodeError,
    ThreadsApi,
    TLSException,
    TokenError,
    TooManyRequestsException,
    UnauthorizedException,
    UnprocessableEntityException,
    iter_agents,
    iter_runs,
    wait_for_run_output,
)
from acp_client_v0_1.telemetry import instrument
from acp_client_v0_1.testing import COUNTER_AGENT_ID, ECHO_AGENT_ID, LocalServer

Mistake = Callable[[], object]
MISTAKES: list[Any] = []


def mistake(error: type[BaseException], *phrases: str) -> Callable[[Mistake], Mistake]:
    """Add a row: a function that raises this error, and the phrases of its message."""

    def add(make: Mistake) -> Mistake:
        MISTAKES.append(pytest.param(make, error, phrases, id=make.__name__))
        return make

    return add


def each(error: type[BaseException], rows: dict[str, Any], call: Any = None) -> None:
    """Add rows: the phrases of a message with its mistake, several, or what `call` takes."""
    for said, mistakes in rows.items():
        phrases = tuple(said.split(" ... "))
        if call is not None:
            mistakes = partial(call, mistakes)
        for make in mistakes if isinstance(mistakes, tuple) else (mistakes,):
            MISTAKES.append(pytest.param(make, error, phrases, id=said))


def get_run(*responses: Any, **settings: Any) -> object:
    """Call `get_run` on a server that sends these bytes."""
    with SocketServer(*responses) as server:
        settings = {"host": server.url, "retries": False, **settings}
        with ApiClient(Configuration(**settings)) as client:
            return RunsApi(client).get_run("r1")


def send(body: Any) -> object:
    """Call `create_run` with a body, on a server that accepts any."""
    run = {"creation": {"agent_id": "a"}, "run_id": "r", "agent_id": "a", "status": "pending"}
    times = dict.fromkeys(("created_at", "updated_at"), "2026-11-24T09:30:00Z")
    with SocketServer(response(json.dumps({**run, **times}).encode())) as server:
        configuration = Configuration(host=server.url)
        with ApiClient(configuration) as client:
            return RunsApi(client).create_run(body)


def send_fields(fields: dict[str, Any]) -> object:
    return send({"agent_id": "a", **fields})


def send_input(value: Any) -> object:
    """Call `create_run` with a model that has this input."""
    return send(RunCreate(agent_id="a", input=value))


@mistake(AttributeError, "'RunOutput' object has no attribute 'result': it is a RunInterrupt")
def a_result_of_an_interrupt() -> None:
    output = RunOutput.from_dict({"type": "interrupt", "interrupt": {}})
    output.result  # noqa: B018


def configured(settings: dict[str, Any]) -> None:
    Configuration(**settings)


def assign(**settings: Any) -> None:
    for name, value in settings.items():
        setattr(Configuration(), name, value)


def authority() -> tuple[ssl.SSLContext, str]:
    """Make the TLS of a server for 127.0.0.1, and the PEM of its authority."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context, ca.cert_pem.bytes().decode()


@mistake(TLSException, "cannot connect to https://127.0.0.1:", "not speak TLS", "try http://")
def https_to_an_http_server() -> None:
    def refuse(connection: Connection) -> None:
        connection.sock.recv(100)
        connection.sock.sendall(response(b"", 400))

    with SocketServer(handler=refuse) as server:
        get_run(response(b""), host=server.url.replace("http://", "https://"))


@mistake(ConnectionException, "GET /runs/r1: ", "if the server expects TLS", "https://")
def http_to_an_https_server() -> None:
    with SocketServer(response(b""), ssl_context=authority()[0]) as server:
        get_run(response(b""), host=server.url.replace("https://", "http://"))


@mistake(TLSException, "its certificate is refused: ", "; to trust its CA, set ssl_ca_cert")
def a_private_ca() -> None:
    with SocketServer(response(b""), ssl_context=authority()[0]) as server:
        get_run(response(b""), host=server.url)


@mistake(TLSException, "its certificate is refused: Hostname mismatch")
def a_name_that_the_certificate_lacks() -> None:
    context, pem = authority()
    with SocketServer(response(b""), ssl_context=context) as server:
        host = server.url.replace("127.0.0.1", "localhost")
        get_run(response(b""), host=host, ca_cert_data=pem)


@mistake(ApiTimeoutError, "no connection to http://127.0.0.1:", " within 0.2 s")
def a_port_that_accepts_nobody() -> None:
    with full_listener() as host:
        get_run(response(b""), host=host, timeout=(0.2, 5))


@mistake(ApiTimeoutError, "no free connection within the call's 0.2 s", "connection_pool_maxsize")
def one_connection_for_two_calls() -> None:
    settings: dict[str, Any] = {"connection_pool_maxsize": 1, "retries": False}
    held = threading.Event()

    def hold(connection: Connection) -> None:
        connection.read_request()
        held.set()
        connection.stall()

    with serving(handler=hold, **settings) as (server, client), ThreadPoolExecutor(1) as executor:
        runs = RunsApi(client)
        first = executor.submit(runs.get_run, "r0", _request_timeout=3)
        assert held.wait(10)
        try:
            runs.get_run("r1", _request_timeout=0.2)
        finally:
            server.stop()
            first.exception(10)


def from_environment(variables: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        Configuration.from_env()


@mistake(
    ProxyException,
    "the proxy does not connect: Connection refused",
    "; connections use the proxy http://127.0.0.1:",
    " of Configuration.proxy (ACP_PROXY)",
)
def a_dead_proxy() -> None:
    get_run(response(b""), proxy=f"http://me:5ecret@127.0.0.1:{free_port()}")


@mistake(ProxyException, "; connections use the proxy http://127.0.0.1:", " of https_proxy")
def a_dead_proxy_of_the_environment() -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("https_proxy", f"http://me:5ecret@127.0.0.1:{free_port()}")
        get_run(response(b""), host="https://acp.example")


@mistake(ProxyException, " of all_proxy")
def a_dead_proxy_for_all_schemes() -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("all_proxy", f"127.0.0.1:{free_port()}")
        get_run(response(b""), host="http://acp.example")


@mistake(ResponseValidationError, "; it looks like ACP 0.2, and this client speaks 0.1")
def a_server_of_the_next_protocol() -> None:
    thread = {"thread_id": "t", "status": "idle", "values": {}, "metadata": {}}
    with serving(response(json.dumps([thread]).encode())) as (_, client):
        ThreadsApi(client).search_threads({})


@mistake(ConnectionException, "a mock of the library responses needs testing.responses_bridge()")
def a_mock_without_its_bridge() -> None:
    with responses.RequestsMock(assert_all_requests_are_fired=False):
        get_run(response(b""), host=f"http://127.0.0.1:{free_port()}")


@mistake(
    ConnectionException,
    "cannot connect to http://localhost",
    "no host was set (Configuration(host=…) or ACP_HOST)",
)
def no_host_at_all() -> None:
    # Nothing listens on port 80 here; if something does, no request of this test is for it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "acp_client_v0_1.configuration._DEFAULT_HOST", f"http://localhost:{free_port()}"
        )
        with ApiClient(Configuration(retries=False)) as client:
            RunsApi(client).get_run("r1")


def offline() -> ApiClient:
    """A client that fails if it sends anything."""
    return ApiClient(Configuration(host="http://127.0.0.1:1", retries=False))


class Choice(Enum):
    """Whose values are no JSON."""

    OBJECT = object()


class Missing(datetime):
    """As `pandas.NaT`: a datetime that is unequal to itself."""

    __module__ = "pandas._libs.tslibs.nattype"
    __hash__ = None  # type: ignore[assignment]

    def __ne__(self, other: object) -> bool:
        return True


def of_numpy(name: str) -> Any:
    """A value of a type that may have the name of one of Python's own."""
    members = {"item": lambda self: 1}
    return type(name, (), {**members, "__module__": "numpy"})()


def nested(levels: int) -> dict[str, Any]:
    value: Any = {"leaf": 1}
    for level in range(levels - 1):
        value = [value] if level % 2 and level < levels - 2 else {"a": value}
    return cast("dict[str, Any]", value)


def test_what_can_be_read_back_can_be_sent_and_nothing_deeper() -> None:
    """The echo of an input is in the creation of a run, in a list."""
    with LocalServer() as server, ApiClient(Configuration(host=server.url)) as client:
        agent = AgentHandle.find("echo", api_client=client)
        deepest = nested(197)
        run = agent.start(deepest, metadata={"m": nested(196)}, client_token="deep")
        assert run.result(timeout=30) == deepest
        (found,) = iter_runs(RunsApi(client), {"metadata": {"acp-client-token": "deep"}})
        assert found.creation.input == deepest
        server.clear_requests()
        config: Any = {"configurable": nested(197)}
        for name, call in {
            "input": lambda: agent.start(nested(198)),
            "metadata": lambda: agent.start({}, metadata={"m": nested(197)}),
            "config": lambda: agent.start({}, config=config),
            "body": lambda: RunsApi(client).resume_run("r", nested(198)),
        }.items():
            with pytest.raises(ApiValueError, match=f"{name} is nested deeper than 197 levels"):
                call()
        assert server.requests == ()


@mistake(
    TokenError, "the token is of a run at http://localhost:1", "pass an ApiClient of the token"
)
def a_token_of_the_same_host_by_another_name() -> None:
    with ApiClient(Configuration(host="http://localhost:1")) as client:
        token = RunHandle("r", client).token()
    RunHandle.from_token(token, offline())


@mistake(NotFoundException, "POST /acp/agents/search returned 404", "is the base path of host")
def a_base_path_that_the_local_server_lacks() -> None:
    with LocalServer() as server, ApiClient(Configuration(host=f"{server.url}/acp")) as client:
        AgentHandle.find("echo", api_client=client)


@mistake(ApiValueError, "the stream is over or closed", "get_run_stream opens another")
def a_stream_read_twice() -> None:
    with serving(head(204)) as (_, client):
        stream = RunsApi(client).get_run_stream("r1")
        assert list(stream) == []
        list(stream)


@mistake(ConnectionException, "Configuration() does not read ACP_HOST: use Configuration.from_env")
def a_host_of_the_environment_that_is_not_read() -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ACP_HOST", "http://acp.example")
        no_host_at_all()


def agent() -> Any:
    return AgentHandle("a", offline())


def start_with(options: dict[str, Any]) -> None:
    agent().start({}, **options)


def run_with(options: dict[str, Any]) -> None:
    agent().run({}, **options)


def run() -> Any:
    return RunHandle("r", offline())


@mistake(ApiTypeError, "input must be the agent's own object, not a Run: pass run.creation.input")
def a_run_for_an_input() -> None:
    times = dict.fromkeys(("created_at", "updated_at"), "2026-11-24T09:30:00Z")
    made = {"creation": {"agent_id": "a"}, "run_id": "r", "agent_id": "a", "status": "success"}
    agent().run(Run.from_dict({**made, **times}))


@mistake(ApiValueError, "input is nested deeper than 197 levels, or holds itself")
def an_input_that_contains_itself() -> None:
    value: dict[str, Any] = {"x": [1]}
    value["x"].append({"y": value})
    agent().run(value)


@mistake(AgentLookupError, "'echo' has no version '9'; the server has 1.0.0")
def a_version_that_is_not_there() -> None:
    with LocalServer() as server, ApiClient(Configuration(host=server.url)) as client:
        AgentHandle.find("echo", client, version="9")


def find_where_searches_fail(status: int) -> None:
    with serving(response(b'"no"', status, "No"), retries=False) as (_, client):
        AgentHandle.find("echo", client)


def of_a_name(call: Callable[[AgentHandle], object]) -> None:
    with LocalServer() as server, ApiClient(Configuration(host=server.url)) as client:
        call(AgentHandle("echo", client))


def two(first: Any, second: Any) -> None:
    """A callback with another number of arguments than most."""


@mistake(ApiTypeError, "on_interrupt must be a function", "not async: this client is synchronous")
def a_callback_that_is_async() -> None:
    async def answer(question: object) -> dict[str, Any]:
        return {}

    run().drive(answer)  # type: ignore[arg-type]


@mistake(TypeError, "an EventStream cannot be pickled: pickle its run_id and last_event_id")
def a_stream_that_is_pickled() -> None:
    with serving(head(204)) as (_, client):
        pickle.dumps(RunsApi(client).get_run_stream("r1"))


@mistake(ApiTypeError, 'inputs must be an iterable of dicts: pass frame.to_dict("records")')
def a_frame_of_pandas() -> None:
    class Frame(list[str]):
        columns = ("a",)
        to_dict = None

    agent().map(Frame())  # type: ignore[arg-type]


@mistake(ApiTypeError, "inputs must be an iterable of dicts: pass frame.to_dicts()")
def a_frame_of_polars() -> None:
    class Frame(list[str]):
        columns = ("a",)
        to_dict = to_dicts = None

    agent().map(Frame())  # type: ignore[arg-type]


def map_with(**options: Any) -> None:
    agent().map([], **options)


for _name, _value, _error, _phrase in (
    ("total", "10", ApiTypeError, "total must be an int, not str"),
    ("total", -1, ApiValueError, "total must be at least 0, not -1"),
    ("ordered", "no", ApiTypeError, "ordered must be True or False, not str"),
    ("check", "no", ApiTypeError, "check must be True or False, not str"),
    ("retry_failed", "no", ApiTypeError, "retry_failed must be True or False, not str"),
    ("durable", "no", ApiTypeError, "durable must be True or False, not str"),
    ("durable", True, ApiValueError, "durable is for the lines of a journal: pass journal="),
    ("timeout", 0, ApiValueError, "timeout must be above 0 seconds: a run of a batch takes some"),
    ("journal", "", ApiValueError, "journal must not be empty"),
    ("journal", 5, ApiTypeError, "journal must be the path of a file, not int"),
    ("journal", True, ApiTypeError, "journal must be the path of a file, not bool"),
    ("journal", io.BytesIO(), ApiTypeError, "journal must be the path of a file, not BytesIO"),
    ("executor", 4, ApiTypeError, "executor must be a concurrent.futures.Executor, as Process"),
    ("executor", "processes", ApiTypeError, "ProcessPoolExecutor(), not str"),
    ("executor", ThreadPoolExecutor, ApiTypeError, "ProcessPoolExecutor(): pass an instance, not"),
    ("executor", type("ThreadPool", (), {})(), ApiTypeError, "Executor(), not ThreadPool"),
    ("progress", two, ApiTypeError, "a function that takes the counts, and yours takes (first"),
    ("key", two, ApiTypeError, "takes an input and gives its name, and yours takes (first"),
    ("on_interrupt", two, ApiTypeError, "takes the question and gives the answer, and yours"),
):
    _make = partial(map_with, **{_name: _value})
    MISTAKES.append(pytest.param(_make, _error, (_phrase,), id=f"map-{_name}-{_value!r:.20}"))


@mistake(ApiTypeError, "connect must be a function without arguments", "yours takes (first, second")
def a_way_to_connect_that_takes_arguments() -> None:
    with ThreadPoolExecutor(1) as executor:
        map_with(executor=executor, connect=two)


def continue_a_batch(
    *, n: int = 1, agent_id: str = ECHO_AGENT_ID, host: str = "127.0.0.1", ended: bool = True
) -> None:
    """Make a batch of one input, and call another one with its journal."""
    with tempfile.TemporaryDirectory() as folder, LocalServer() as server:
        urls = server.url, server.url.replace("127.0.0.1", host)
        client, other = (ApiClient(Configuration(host=url)) for url in urls)
        with AgentHandle(ECHO_AGENT_ID, client).map([{"n": 1}], journal=f"{folder}/j") as first:
            next(first)
            if ended:
                first.close()
            with AgentHandle(agent_id, other).map([{"n": n}], journal=f"{folder}/j") as second:
                next(second)


for _mismatch, _phrases in (
    ({"n": 2}, ("input 0 differs from the one in the journal", "pass the same inputs in the same")),
    ({"agent_id": COUNTER_AGENT_ID}, (f"/j is of the agent {ECHO_AGENT_ID}", "use another file")),
    ({"host": "localhost"}, ("/j is of the server http://127.0.0.1:", "not http://localhost:")),
):
    _make = partial(continue_a_batch, **_mismatch)  # type: ignore[arg-type]
    MISTAKES.append(pytest.param(_make, JournalMismatch, _phrases, id=f"journal-{_mismatch}"))


@mistake(JournalLocked, "/j is in use by another batch, here or in another process")
def a_journal_that_another_batch_has() -> None:
    continue_a_batch(ended=False)


@mistake(ApiTypeError, "on_interrupt must be a function of a module, no lambda: it goes to other")
def a_lambda_for_other_processes() -> None:
    with ProcessPoolExecutor(1) as executor:
        map_with(executor=executor, on_interrupt=lambda question: None)


@mistake(ApiValueError, "check=True needs the package jsonschema-rs: pip install 'acp-client-v0-1[")
def a_package_that_is_missing() -> None:
    with pytest.MonkeyPatch.context() as modules:
        modules.setitem(sys.modules, "jsonschema_rs", None)
        map_with(check=True)


# Servers of another kind, proxies and redirects


def at(handler: Callable[[Connection], None], call: Callable[[ApiClient], object]) -> None:
    """Make a call of a new client to a server with this handler."""
    with SocketServer(handler=handler) as server:
        calling(call, host=server.url, retries=False)


def calling(call: Callable[[ApiClient], object], **settings: Any) -> None:
    with ApiClient(Configuration(**settings)) as client:
        call(client)


def start(client: ApiClient) -> object:
    return AgentHandle("a", client).start({}, timeout=10)


def result(client: ApiClient) -> object:
    return RunHandle("11111111-1111-4111-8111-111111111111", client).result(timeout=10)


def batch(client: ApiClient) -> object:
    return list(AgentHandle("a", client).map([{}, {}]))


def greeting(beginning: bytes) -> Callable[[Connection], None]:
    """A server that greets, reads once and hangs up."""

    def greet(connection: Connection) -> None:
        connection.sock.sendall(beginning)
        connection.sock.recv(65_536)

    return greet


SSH = greeting(b"SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13.5\r\n")
ALERT = greeting(b"\x15\x03\x01\x00\x02\x02\x46")
NOTHING_MADE = "; no run was made or changed"

for _name, _server, _call, _phrases in (
    ("ssh-start", SSH, start, ("POST /runs: ", "sends 'SSH-2.0-Open", "check host", NOTHING_MADE)),
    ("ssh-result", SSH, result, (" is another kind of server, which sends 'SSH-2.0-OpenSSH",)),
    ("ssh-map", SSH, batch, (" is another kind of server", NOTHING_MADE)),
    ("smtp", greeting(b"220 m.example ESMTP\r\n"), start, ("sends '220 m.example ESMTP'",)),
    ("mysql", greeting(b"J\0\0\0\n8.0.36\0"), start, (r"sends 'J\x00\x00\x00'", NOTHING_MADE)),
    ("tls", ALERT, start, (" expects TLS: write https://", NOTHING_MADE)),
):
    _make = partial(at, _server, _call)
    MISTAKES.append(pytest.param(_make, ProtocolException, _phrases, id=f"address-of-{_name}"))


@mistake(
    RunStartAmbiguous,
    "the run may have been started or not: POST /runs: Connection reset by peer; if the server",
    "; the search for it failed, too; search again by RunHandle.from_token(error.token), before",
)
def a_start_whose_server_resets_all() -> None:
    def reset(connection: Connection) -> None:
        connection.read_request()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    at(reset, lambda client: AgentHandle("a", client).start({}, timeout=0.5))


@mistake(RunWaitTimeout, "has no output after 0.", "; wait again, or RunHandle.from_token(")
def a_wait_whose_server_says_much() -> None:
    body = json.dumps({"detail": "busy " * 100}).encode()
    busy = SocketServer(response(body, 503, "Service Unavailable", retry_after="0"))
    with busy as server, ApiClient(Configuration(host=server.url)) as client:
        RunHandle("11111111-1111-4111-8111-111111111111", client).result(timeout=0.5)


@mistake(UnprocessableEntityException, "/runs/r1 returned 422", "body.f0: is required", "…")
def a_server_that_finds_many_faults() -> None:
    faults = [{"loc": ["body", f"f{n}"], "msg": "is required " * 9} for n in range(20)]
    get_run(response(json.dumps({"detail": faults}).encode(), 422, "Unprocessable Entity"))


@mistake(
    ResponseValidationError,
    "does not fit the contract: run_id must not be or contain the path segment",
    '"run_id":".."',
)
def a_create_whose_id_no_path_can_have() -> None:
    made = {**RUN, "run_id": "..", "agent_id": "a"}
    at(serve_each(lambda _: response(json.dumps(made).encode())), start)


@mistake(ResponseValidationError, "does not fit the contract: agent_id must not be empty")
def an_agent_without_its_id() -> None:
    metadata = {"ref": {"name": "x", "version": "1"}, "description": ""}
    found = json.dumps([{"agent_id": "", "metadata": metadata}]).encode()
    at(serve_each(lambda _: response(found)), lambda client: AgentHandle.find("x", client))


@mistake(
    ResponseValidationError,
    "the server gave run 11111111-1111-4111-8111-111111111111 the output of run r2",
)
def a_proxy_that_mixes_runs_up() -> None:
    output = b'{"type": "result", "run_id": "r2", "status": "success", "result": {"a": 1}}'
    at(serve_each(lambda _: response(output)), result)


@mistake(NameResolutionException, "cannot connect to http://login.invalid", "; a redirect of http:")
def a_redirect_to_a_name_that_nobody_has() -> None:
    get_run(response(b"", 302, "Found", location="http://login.invalid/"))


@mistake(
    ApiException, "has the run and does not serve this path: does it speak ACP 0.1, and is the"
)
def an_output_that_the_server_lacks() -> None:
    def respond(request: Request) -> bytes:
        served = "/output" not in request.path
        ended = {**RUN, "status": "success"}
        return response(json.dumps(ended).encode()) if served else response(b"", 404, "Not Found")

    at(serve_each(respond), result)


PAGE = response(b"<html><title>404 Not Found</title></html>", 404, "Not Found", "text/html")
NOT_SERVED = " may not serve this path: check the base path of host; or the run was deleted"


@mistake(RunGone, "run 11111111-1111-4111-8111-111111111111 is not there: http://", NOT_SERVED)
def a_result_under_a_wrong_base_path() -> None:
    with SocketServer(PAGE) as server:
        calling(result, host=f"{server.url}/acp")


@mistake(NotFoundException, "POST /acp/runs returned 404", "is the base path of host right?")
def a_start_under_a_wrong_base_path() -> None:
    with SocketServer(PAGE) as server:
        calling(start, host=f"{server.url}/acp")


def by_proxy(refusal: bytes, host: str, call: Callable[[ApiClient], object]) -> None:
    with HttpProxy(refuse=refusal) as proxy:
        calling(call, host=host, proxy=proxy.url)


WELCOME = response(b"<html><title>Welcome</title></html>", 200, "OK", "text/html")
WHO = response(b"", 407, "Proxy Authentication Required")
BY = "connections use the proxy http://127.0.0.1:"
WHOSE = " of Configuration.proxy (ACP_PROXY)"
IN_URL = "; write user:password@ into its URL"
PLAIN, TLS = "http://acp.invalid", "https://acp.invalid"

for _name, _kind, _refusal, _host, _call, _phrases in (
    ("page", ProxyException, PAGE, TLS, start, ("404 Not Found; is it a proxy?; ", BY, WHOSE)),
    ("welcome", ProxyException, WELCOME, TLS, result, ("200 OK; is it a proxy?; ", BY, WHOSE)),
    ("407-tunnel", ProxyException, WHO, TLS, result, (BY, WHOSE + IN_URL)),
    ("407", ApiException, WHO, PLAIN, start, ("returned 407", BY, WHOSE + IN_URL)),
    ("page-plain", NotFoundException, PAGE, PLAIN, start, ("404 Not Found; " + BY, WHOSE)),
    ("page-result", RunGone, PAGE, PLAIN, result, ("acp.invalid by the proxy http://", NOT_SERVED)),
    ("page-run", ResponseValidationError, WELCOME, PLAIN, result, ('titled "Welcome"', BY, WHOSE)),
):
    _make = partial(by_proxy, _refusal, _host, _call)
    MISTAKES.append(pytest.param(_make, _kind, _phrases, id=f"a-proxy-that-is-none-{_name}"))


def redirected(call: Callable[[ApiClient], object], status: int) -> None:
    """Make a call to a server of http, whose URLs are all redirected to https."""
    context, pem = authority()
    refusal = response(b'{"detail":"Unauthorized"}', 401, "Unauthorized")
    with SocketServer(refusal, ssl_context=context) as secure:

        def redirect(connection: Connection) -> None:
            while (request := connection.read_request()) is not None:
                location = f"{secure.url}{request.path}"
                connection.sock.sendall(response(b"", status, "Moved", location=location))

        with SocketServer(handler=redirect) as server:
            host = f"{server.url}/acp"
            calling(call, host=host, ca_cert_data=pem, access_token="5ecret")


SET_HOST = "set host to a URL that begins with https://127.0.0.1:"


@mistake(ApiException, "POST /acp/runs returned 301 Moved; redirect to https://", SET_HOST)
def a_start_at_http_where_only_https_is_served() -> None:
    redirected(start, 301)


@mistake(UnauthorizedException, "401 Unauthorized; a redirect lost the credentials: ", SET_HOST)
def a_result_at_http_where_only_https_is_served() -> None:
    redirected(result, 308)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def full_listener() -> Iterator[str]:
    """A port whose queue is full, so that it accepts no connection."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(address)
        yield f"http://127.0.0.1:{address[1]}"


# Responses
each(
    ResponseValidationError,
    {
        "the response is empty (0 bytes), expected a Run as JSON": response(b""),
        "the response holds 3 bytes of white space, expected a Run": response(b" \r\n"),
        "the JSON is nested deeper than can be read ... expected a Run": response(b"[" * 1000),
        "(application/json) does not fit the contract, expected a Run: creation: Field": response(
            b"{}"
        ),
        'HTML, not JSON, expected a Run: does this page titled "Please sign in" belong to a proxy '
        "or a login? is the base path of host": response(
            b"<!doctype html><html><head><TITLE>\n Please sign in</TITLE></head></html>",
            content_type="text/html; charset=utf-8",
        ),
    },
    get_run,
)

MOVED_AWAY = b"<html><head><title>404 Not Found</title></head></html>"
each(
    NotFoundException,
    {
        "GET /runs/r1 returned 404 ... is the base path of host right? does": response(
            b'{"detail":"Not Found"}', 404, "Not Found"
        ),
        "404 Not Found ... is the base path of host right?": response(
            MOVED_AWAY, 404, "Not Found", "text/html"
        ),
    },
    get_run,
)

CENTURY = "Fri, 31 Dec 2100 23:59:59 GMT"
BUSY = response(b"", 503, "Busy", retry_after="0", x_request_id="r-17")
each(
    ServiceException,
    {
        "503 Service Unavailable: busy; Retry-After: Fri, 31 Dec 2100": lambda: get_run(
            response(b'"busy"', 503, "Service Unavailable", retry_after=CENTURY)
        ),
        "503 Busy; Retry-After: 0 s; request id r-17; after 3 attempts in ": lambda: get_run(
            BUSY, retries=2
        ),
    },
)
each(
    TooManyRequestsException,
    {
        "429 Too Many Requests; Retry-After: 3000 s": lambda: get_run(
            response(b'"Too Many Requests"', 429, "Too Many Requests", retry_after="3000"),
            retries=3,
        )
    },
)
each(
    ProtocolException,
    {
        "a response with a control character in content-length cannot be read": (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\x0b\r\n\r\n{}"
        )
    },
    get_run,
)

BEGUN = head(content_length="9")
each(
    ApiTimeoutError,
    {
        "GET /runs/r1: no response within the call's 0.2 s": lambda: get_run([STALL], timeout=0.2),
        "GET /runs/r1: no response within 0.2 s": lambda: get_run([STALL], timeout=(5, 0.2)),
        "after status 200: the response was not complete within the call's 0.2 s": lambda: get_run(
            [BEGUN, STALL], timeout=0.2
        ),
        "failed after status 200: nothing more of the body within 0.2 s": lambda: get_run(
            [BEGUN, b"{", STALL], timeout=(5, 0.2)
        ),
    },
)

UNAUTHORIZED = response(b'"who are you?"', 401, "Unauthorized")
each(
    UnauthorizedException,
    {
        "401 Unauthorized: who are you?; no credentials were sent: set api_key (ACP_API_KEY), "
        "access_token (ACP_TOKEN), or username (ACP_USERNAME) and password (ACP_PASSWORD)": (
            lambda: get_run(UNAUTHORIZED)
        ),
        "who are you?; the request carried Authorization, X-Key": lambda: get_run(
            UNAUTHORIZED, access_token="5ecret", api_key={"X-Key": "5ecret"}
        ),
    },
)
each(
    ForbiddenException,
    {
        "403 Forbidden; the request carried Authorization": lambda: get_run(
            response(b"", 403, "Forbidden"), username="me", password="5ecret"
        )
    },
)

# Settings that the first call uses
each(
    ApiValueError,
    {
        "ssl_ca_cert='/none/ca.pem': there is no such file": {"ssl_ca_cert": "/none/ca.pem"},
        "key_file='/none/key.pem': there is no such file": {
            "cert_file": __file__,
            "key_file": "/none/key.pem",
        },
        f"ssl_ca_cert={__file__!r} ... cannot be used as a file of certificates (PEM)": {
            "ssl_ca_cert": __file__
        },
        "ca_cert_data is not a certificate (PEM or DER)": {"ca_cert_data": "/etc/ca.pem"},
        "api_key_prefix['x-key'] has no key: set api_key['x-key']": {
            "api_key": {"X-Key": "5ecret"},
            "api_key_prefix": {"x-key": "Token"},
        },
    },
    lambda settings: get_run(host="https://127.0.0.1:1", **settings),
)

# A name where an id belongs
each(
    NotFoundException,
    {
        "AgentHandle takes an id: for a name, use AgentHandle.find, or get for either": (
            lambda: of_a_name(lambda echo: echo.run({})),
            lambda: of_a_name(lambda echo: echo.agent),
            lambda: of_a_name(lambda echo: echo.descriptor()),
            lambda: of_a_name(lambda echo: echo.check(input={})),
            lambda: of_a_name(lambda echo: echo.conversation().run({})),
            lambda: of_a_name(lambda echo: list(echo.map([{}]))),
        )
    },
)

# What a Configuration is made with
each(
    ApiValueError,
    {
        "host must be a URL ... http://localhost:8000 ... 'localhost' lacks http:// or https://": {
            "host": "localhost"
        },
        "'127.0.0.1:8000' lacks http:// or https://": {"host": "127.0.0.1:8000"},
        "host must begin with http:// or https://": {"host": "ftp://acp.example"},
        "'http://' lacks the host name": {"host": "http:///acp"},
        "host has a port that is not a number from 1 to 65535: '80000'": {
            "host": "http://acp.example:80000"
        },
        "[IPv6] address is not valid": {"host": "http://[::1"},
        "host must not contain user information ... set username and password": {
            "host": "http://me:secret@acp.example"
        },
        "proxy has a port that is not a number from 1 to 65535": {
            "proxy": "http://me:secret@proxy:http"
        },
        "access_token must be the token alone, without": {"access_token": "Bearer abc"},
        "access_token contains a control character or a line break; strip() it": {
            "access_token": "abc\n"
        },
        "host: an IPv6 address must be in brackets, as in http://[::1]:8000": {
            "host": "http://::1:8000"
        },
        "host ends in /runs, which is added to it: give the base path alone": {
            "host": "http://acp.example/v1/runs/"
        },
        "host stands in quotation marks; remove them": {"host": '"http://acp.example"'},
        'must map a header to its key, {"x-api-key": "…"} ... to be swapped': {
            "api_key": {"5ecret": "X-Api-Key"}
        },
        "api_key must map a header to its key ... to be swapped": {
            "api_key": {"5ecret=": "my-own-header"}
        },
        "api_key['x-own'] must be the key alone, without its header": {
            "api_key": {"x-own": "X-Own: 5ecret"}
        },
    },
    configured,
)

each(
    ApiTypeError,
    {
        "debug must be True or False, not str": {"debug": "false"},
        "has no argument 'base_url'; use host=\"http://host:8000\"": {
            "base_url": "http://acp.example"
        },
        "has no argument 'token'; use access_token=\"…\"": {"token": "5ecret"},
        'api_key must be a dict, not str; write api_key={"x-api-key": "…"}': {"api_key": "5ecret"},
    },
    configured,
)

# Settings
each(
    ApiValueError,
    {
        "host has a port that is not ... 'eighty'": lambda: assign(
            host="http://acp.example:eighty"
        ),
        "body: keys must be str, got int 1": lambda: RunsApi(offline()).resume_run("r", {1: 2}),
        "header 'Content-Length' cannot be set": lambda: RunsApi(offline()).get_run(
            "r1", _headers={"Content-Length": "0"}
        ),
        "logger_file cannot be opened: there is no folder /none/such": lambda: assign(
            logger_file="/none/such/client.log"
        ),
        "header_value is missing: a header has a name and a value": lambda: ApiClient(
            Configuration(), "x-api-key"
        ),
    },
)

each(
    ApiTypeError,
    {
        "Configuration has no argument 'hots'; did you mean 'host'?": lambda: Configuration(
            hots="http://acp.example"
        ),
        "Configuration has no argument 'tiemout'; did you mean 'timeout'?": lambda: (
            Configuration.from_env(tiemout=3)
        ),
        "default must be a Configuration, not str": lambda: Configuration.set_default(
            "http://acp.example"
        ),
        "default must be an ApiClient, not Configuration": lambda: ApiClient.set_default(
            Configuration()
        ),
        "prefix must be a str, not dict": lambda: Configuration.from_env(
            {"host": "http://acp.example"}
        ),
        "logger_format must be a str, not int": lambda: assign(logger_format=5),
        "refresh_api_key_hook must be a function that takes the configuration ... ()": lambda: (
            assign(refresh_api_key_hook=lambda: None)
        ),
        "configuration must be a Configuration: pass an instance, not the class": lambda: ApiClient(
            Configuration
        ),
        "api_client must be an ApiClient: pass an instance, not the class itself": lambda: RunsApi(
            ApiClient
        ),
        "api_client must be an ApiClient, not another_sdk.ApiClient": lambda: RunsApi(
            type("ApiClient", (), {"__module__": "another_sdk"})()
        ),
        "tracer_provider must be a TracerProvider, not str": lambda: instrument(
            offline(), "jaeger"
        ),
    },
)

each(
    AttributeError,
    {
        "Configuration has no setting 'tiemout'; did you mean 'timeout'?": lambda: assign(
            tiemout=3
        ),
        "Configuration has no setting 'zzz'": lambda: assign(zzz=3),
        "has no setting 'port'; use host=\"http://host:8000\"": lambda: assign(port=8000),
    },
)

# Bodies
each(
    ApiTypeError,
    {
        "run_create must be a RunCreate or dict: pass an instance, not the class": RunCreate,
        "run_create must have str keys, got int 1": {1: 2},
    },
    send,
)

each(
    ApiValueError,
    {
        "input['x']: Decimal is not JSON; pass a float or a str": {"input": {"x": Decimal("1.10")}},
        "input['x'][1]: -inf is not a JSON number": {"input": {"x": [1, float("-inf")]}},
        "run_create.inputs: unknown field 'inputs' of RunCreate; did you mean 'input'?": {
            "inputs": {}
        },
        "run_create.input: Input should be a dict, not str: is it JSON text?": {"input": "{}"},
        "run_create.agent_id: Input should be a valid string ... … (RunCreate)": {
            **dict.fromkeys(("agent_id", "thread_id", "webhook", "input", "config"), 5)
        },
        r"metadata['x']: the key '\ud800' is not valid Unicode": {"metadata": {"x": {"\ud800": 1}}},
    },
    send_fields,
)

# Inputs of a create
each(
    ApiValueError,
    {
        "input['x'][0]: bytes is not JSON; decode it to a str": {"x": [b"x"]},
        "input['x']: set is not JSON; pass a list": {"x": {1, 2}},
        "input['x'][0]: mappingproxy is not JSON; pass a dict, a list": {
            "x": [MappingProxyType({"y": 1})]
        },
        "input['x']: nan is not a JSON number": {"x": float("nan"), "y": "NaN"},
        "input['x']: keys must be str, got int 1": {"x": {1: 2}},
        "input['inner'].input['x']: bytes is not JSON": {
            "inner": RunCreate(agent_id="b", input={"x": b"x"})
        },
        "input['x'][0]: object is not JSON; pass a dict, a list": {"x": [object()]},
        "input['x']: numpy.bool is not JSON; pass its .item(), or": {"x": of_numpy("bool")},
        "input['x']: numpy.ndarray is not JSON; pass its .item(), or .tolist() of an array": {
            "x": of_numpy("ndarray")
        },
        "input['a'][0]: pandas.Missing is not JSON": {"a": [Missing(2026, 1, 2)], "b": object()},
        "input['x'][0]: object is not JSON": {"x": [Choice.OBJECT]},
        r"input: the key '\ud800' is not valid Unicode": {"\ud800": 1},
        r"input['x']: '\ud800' is not valid Unicode": {"x": "\ud800"},
    },
    send_input,
)

# Models
each(
    ValidationError,
    {
        "unknown field 'inputs' of RunCreate; did you mean 'input'?": lambda: RunCreate(
            agent_id="a", inputs={}
        ),
        "unknown field 'zzz' of RunCreate [": lambda: RunCreate(agent_id="a", zzz={}),
        "should be a dict, not str: is it JSON text? Then pass json.loads(…)": lambda: RunCreate(
            agent_id="a", input='{"message": "Hello"}'
        ),
        "Input should be a dict, not list [": lambda: RunCreate(agent_id="a", input=[1]),
        "keys must be str, got int 1": lambda: RunCreate(agent_id="a", input={1: 2}),
    },
)

each(
    TypeError,
    {
        "RunCreate takes its fields by name; RunCreate.from_dict takes a dict": lambda: RunCreate(
            "a"
        )
    },
)

# Variables of the environment
each(
    ApiValueError,
    {
        'ACP_TOKEN cannot be used: access_token must be the token alone, without "Bearer "': {
            "ACP_TOKEN": "bearer abc"
        },
        "ACP_HOST ... host has a port that is not a number": {"ACP_HOST": "http://acp.example:x"},
        "ACP_API_KEY_HEADER cannot be used without ACP_API_KEY": {"ACP_API_KEY_HEADER": "x-key"},
        "ACP_HOST cannot be used: it stands in quotation marks; remove them": {
            "ACP_HOST": '"http://acp.example"'
        },
        "ACP_API_KEY cannot be used: it must be the value alone, without its": {
            "ACP_API_KEY": "x-api-key: 5ecret"
        },
        "ACP_API_KEY_HEADER cannot be used: it is not the name of a header": {
            "ACP_API_KEY_HEADER": "5ecret=",
            "ACP_API_KEY": "x-api-key",
        },
    },
    from_environment,
)

# Agents and runs
each(
    ApiTypeError,
    {
        "input must be a JSON object (dict), not str: is it JSON text? Then": lambda: agent().run(
            '{"message": "Hello"}'
        ),
        "on_interrupt must be a function that takes the question ... not dict": lambda: run().drive(
            {"approved": True}
        ),
        "name must be a str, not NoneType": lambda: AgentHandle.find(None, api_client=offline()),
        "agents_api must be an AgentsApi, not ApiClient; AgentsApi(api_client)": lambda: (
            iter_agents(offline())
        ),
        "runs_api must be a RunsApi, not AgentsApi; RunsApi(api_client) is one": lambda: iter_runs(
            AgentsApi(offline())
        ),
        "runs_api must be a RunsApi, not ApiClient ... RunsApi(api_client)": lambda: (
            wait_for_run_output(offline(), "r1")
        ),
        "stop must be a threading.Event or None, not bool": (
            lambda: wait_for_run_output(RunsApi(offline()), "r1", stop=True),
            lambda: run().result(stop=True),
            lambda: run().resume({}, stop=True),
        ),
        "input must be the agent's own object, not a RunCreate: pass create.input": lambda: (
            agent().start(RunCreate(agent_id="a", input={}))
        ),
        "run must be a Run, not RunHandle; for an id, use RunHandle(run_id)": lambda: RunHandle.of(
            run(), offline()
        ),
        "thread_id must be a str, not int": lambda: agent().conversation(5),
        "agent_id must be a str, not int": lambda: RunHandle.find("token", offline(), agent_id=5),
        "id_or_name must be a str, not int": lambda: AgentHandle.get(5, offline()),
        "version must be a str, not int": lambda: AgentHandle.find("echo", offline(), version=9),
        "on_interrupt must be a function that takes the question ... yours takes ()": lambda: (
            run().drive(lambda: None)
        ),
        "on_interrupt must be a function that takes the question ... not bool": lambda: (
            agent().conversation().run({}, on_interrupt=True)
        ),
        "on_pending must be a function that takes the seconds elapsed and ... (event)": lambda: (
            run().result(on_pending=lambda event: None)
        ),
        "on_pending must be a function that takes the seconds elapsed ... not bool": (
            lambda: run().output(on_pending=True),
            lambda: wait_for_run_output(RunsApi(offline()), "r", on_pending=True),
        ),
        "on_event must be a function that takes the event ... (first, second)": lambda: run().drive(
            lambda question: None, on_event=two
        ),
        "max_interrupts must be an int, not str": lambda: run().drive(
            lambda question: None, max_interrupts="5"
        ),
        "through_interrupts must be True or False, not str": lambda: run().events(
            through_interrupts="no"
        ),
        "stop must be a threading.Event or None, not asyncio.locks.Event": lambda: run().result(
            stop=asyncio.Event()
        ),
        "stop must be a threading.Event or None: pass an instance, not the class": lambda: (
            run().output(stop=threading.Event)
        ),
        "to must be a PendingInterrupt or None, not dict": lambda: run().resume({}, to={}),
        "AgentHandle.start() got an unexpected keyword argument 'confg'; did you me": lambda: (
            AgentHandle("echo").start({}, confg={})
        ),
        "AgentHandle.run() got an unexpected keyword argument 'ordered'": lambda: AgentHandle(
            "echo"
        ).run({}, ordered=True),
    },
)

each(
    ApiValueError,
    {
        "run_id is a token, not an id: use RunHandle.from_token(token)": lambda: RunHandle(
            run().token(), offline()
        ),
        "request.statuss: unknown field 'statuss' ... did you mean 'status'?": lambda: iter_runs(
            RunsApi(offline()), {"statuss": "pending"}
        ),
        "input['x']: bytes is not JSON": lambda: agent().run({"x": b"1"}),
        r"input['x']: '\ud800' is not valid Unicode": lambda: agent().run({"x": "\ud800"}),
        "name must not be empty": lambda: AgentHandle.find("", offline()),
    },
)

each(
    TokenError,
    {
        "this is not the token of a run: it must begin with acprun1.": lambda: RunHandle.from_token(
            "b7d8", offline()
        ),
    },
)

each(
    ApiException,
    {
        "(without searches, use AgentHandle(agent_id))": (
            lambda: find_where_searches_fail(501),
            lambda: find_where_searches_fail(405),
        )
    },
)

# Options of a start and of a run
each(
    ApiTypeError,
    {
        "config must be a JSON object (dict), not list": {"config": [1]},
        "webhook must be a str, not int": {"webhook": 5},
        "reuse must be True or False, not str": {"client_token": "t", "reuse": "no"},
    },
    start_with,
)
each(
    ApiValueError,
    {
        "webhook must not be empty": {"webhook": ""},
        "timeout must be above 0 seconds: a start sends a request": {"timeout": 0},
    },
    start_with,
)
each(
    ApiTypeError,
    {
        "metadata must be a JSON object (dict), not str": {"metadata": "nightly"},
        "takes the question and gives the answer, not dict": {"on_interrupt": {"approved": True}},
        "takes the question and gives the answer, and yours takes (first": {"on_interrupt": two},
        "thread_id must be a str, not int": {"thread_id": 5},
        "cancel_on_exit must be True or False, not str": {"cancel_on_exit": "no"},
    },
    run_with,
)
each(ApiValueError, {"thread_id must not be empty": {"thread_id": ""}}, run_with)

# Batches
each(
    ApiTypeError,
    {
        "on_interrupt must be a function that takes the question ... not bool": lambda: agent().map(
            [{}], on_interrupt=True
        ),
        "inputs must be an iterable of dicts, not dict; for one, pass a list": lambda: agent().map(
            {"message": "Hello"}
        ),
        "Batch() got an unexpected keyword argument 'concurency'; did you mean 'con": lambda: (
            map_with(concurency=2)
        ),
        "agent must be an AgentHandle, not str; its map() makes a Batch": lambda: Batch("echo", []),
    },
)

each(
    ApiValueError,
    {"streaming: Input should be 'result' or 'custom'": lambda: map_with(streaming="both")},
)


@pytest.mark.slow
@pytest.mark.parametrize("make, kind, phrases", MISTAKES)
def test_a_message_says_what_to_do(
    make: Mistake, kind: type[BaseException], phrases: tuple[str, ...]
) -> None:
    with pytest.raises(kind) as raised:
        make()
    message = str(raised.value)
    assert kind is ValidationError or "\n" not in message
    if kind is not ValidationError:  # pydantic's own, which has a line for each fault
        assert len(message) <= 240, message
    assert "5ecret" not in message
    if "run_create" not in "".join(phrases):  # which only callers of `create_run` have written
        assert "run_create" not in message
    for phrase in phrases:
        assert message.count(phrase) == 1, message


LONG = "something that takes many words to say, " * 20
RUN_ID = "11111111-1111-4111-8111-111111111111"


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (ServiceException(500, "Internal Server Error", body=LONG), "500 Internal Server Error"),
        (
            StreamDecodeError(event_id="7", event_name="x", excerpt=LONG, reason=LONG),
            "event 'x' with id '7' cannot be decoded",
        ),
        (SchemaMismatch("input", [(f"input.a{n}", LONG) for n in range(9)]), "(and 4 more)"),
        (
            ResumeAmbiguous(run_id=RUN_ID, token="t", times=2, why=LONG),
            "answer again if it is still interrupted",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_cause_of_any_length_leaves_room_for_the_rest(error: Exception, phrase: str) -> None:
    assert len(str(error)) <= 240 and phrase in str(error), str(error)


def test_an_unknown_id_is_not_taken_for_a_wrong_path() -> None:
    with pytest.raises(NotFoundException) as raised:
        get_run(response(b'"there is no run r1"', 404, "Not Found"))
    assert str(raised.value) == "GET /runs/r1 returned 404 Not Found: there is no run r1"


def test_uuids_are_taken_where_a_handle_wants_an_id() -> None:
    value = UUID("11111111-1111-4111-8111-111111111111")
    assert AgentHandle(value, offline()).agent_id == str(value)
    assert RunHandle(value, offline()).run_id == str(value)
