"""Mistakes, and what their messages say: what happened, where, and what to do next.

A user who reads only the message must know what to do. To add a row, write it below the class of
its error, in `MISTAKES`: a function that makes the mistake, and words that stand in the message
once, as many as are needed. A row has one form, and what it needs, a server, a proxy or a journal,
is made by the functions above the tables.

    (lambda: Configuration(host="host"), "host must be a URL", "'host' lacks http://"),

The words must be on the page of messages, too. `NEVER` has those that no message may have.
"""

import ast
import asyncio
import io
import json
import os
import pickle
import re
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from inspect import isfunction
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import Mock, patch
from uuid import UUID

import pytest
import trustme
from pydantic import ValidationError
from support.examples import RUN, on_the_page_of_messages, words_of_messages
from support.proxies import HttpProxy
from support.socket_server import (
    CLOSE,
    STALL,
    Connection,
    Request,
    SocketServer,
    head,
    response,
    serve_each,
)
from support.transport import eventually, free_port, full_listener, serving

import acp_client_v0_1 as acp
from acp_client_v0_1 import (
    AgentHandle,
    AgentsApi,
    ApiClient,
    ApiTypeError,
    ApiValueError,
    Configuration,
    Run,
    RunCreate,
    RunHandle,
    RunOutput,
    RunsApi,
    ThreadsApi,
    iter_agents,
    iter_runs,
    iter_threads,
    wait_for_run_output,
)
from acp_client_v0_1.batch._lines import encode_line
from acp_client_v0_1.telemetry import instrument
from acp_client_v0_1.testing import ECHO_AGENT_ID, Fault, LocalServer

ID = "11111111-1111-4111-8111-111111111111"
Call = Callable[[ApiClient], object]

# Clients, and what they hold


def offline() -> ApiClient:
    """A client that fails if it sends anything."""
    return ApiClient(Configuration(host="http://127.0.0.1:1", retries=False))


def agent() -> Any:
    return AgentHandle("a", offline())


def run() -> Any:
    return RunHandle("r", offline())


def runs() -> Any:
    return RunsApi(offline())


def mapped(**options: Any) -> None:
    agent().map([], **options)


def first_use(**settings: Any) -> object:
    """Make the first call of a client with these settings."""
    return get_run(host="https://127.0.0.1:1", **settings)


def calling(call: Call, **settings: Any) -> object:
    """Make a call of a new client."""
    with ApiClient(Configuration(**settings)) as client:
        return call(client)


def assign(name: str, value: object) -> None:
    setattr(Configuration(), name, value)


def environ(call: Callable[[], object] = Configuration.from_env, **variables: str) -> None:
    with patch.dict(os.environ, variables):
        call()


def of_environment(**variables: str) -> Configuration:
    with patch.dict(os.environ, variables):
        return Configuration.from_env(retries=False)


def no_host_at_all(configuration: Configuration | None = None) -> None:
    # Nothing listens on port 80 here; if something does, no request of this test is for it.
    nowhere = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", free_port()))
    with patch("socket.getaddrinfo", lambda *_, **__: [nowhere]):
        get(ApiClient(configuration or Configuration(retries=False)).with_options(retries=0))


# What a call of a client does


def get(client: ApiClient) -> object:
    return RunsApi(client).get_run("r1")


def quickly(client: ApiClient) -> object:
    return RunsApi(client).get_run("r", _request_timeout=0.2)


def read_a_stream_twice(client: ApiClient) -> None:
    stream = RunsApi(client).get_run_stream("r1")
    assert list(stream) == []
    list(stream)


def find(client: ApiClient, **options: Any) -> object:
    return AgentHandle.find("echo", client, **options)


def start(client: ApiClient) -> object:
    return AgentHandle("a", client).start({}, timeout=10)


def start_in_time(client: ApiClient) -> object:
    return AgentHandle("a", client).start({}, timeout=0.5)


def result(client: ApiClient, timeout: float = 10) -> object:
    return RunHandle(ID, client).result(timeout=timeout)


def wait_a_little(client: ApiClient) -> object:
    return result(client, 0.5)


def search_threads(client: ApiClient) -> object:
    return ThreadsApi(client).search_threads({})


def pickle_a_stream(client: ApiClient) -> object:
    return pickle.dumps(RunsApi(client).get_run_stream("r1"))


def batch(client: ApiClient) -> object:
    return list(AgentHandle("a", client).map([{}, {}]))


# Servers and proxies


def served(call: Call, *responses: Any, handler: Any = None, path: str = "", **more: Any) -> object:
    """Make a call of a new client to a server that sends these bytes, below a path of it."""
    with SocketServer(*responses, handler=handler) as server:
        return calling(call, **{"host": server.url + path, "retries": False, **more})


def get_run(*responses: Any, **settings: Any) -> object:
    return served(get, *responses, **settings)


def got(content: Any, call: Call) -> object:
    """Make a call to a server that responds with this JSON."""
    return served(call, response(json.dumps(content).encode()))


def send(body: Any) -> object:
    """Call `create_run` with a body, on a server that accepts any."""
    return got(RUN, lambda client: RunsApi(client).create_run(body))


def ask_with(on_interrupt: Any) -> None:
    """Run an agent that asks a question."""
    with LocalServer() as server, ApiClient(Configuration(host=server.url)) as client:
        AgentHandle.find("approval", client).run({}, on_interrupt=on_interrupt, timeout=30)


def create(**fields: Any) -> object:
    return send({"agent_id": "a", **fields})


def create_of(value: Any) -> object:
    """Call `create_run` with a model that has this input."""
    return send(create_model(value))


def create_model(value: Any) -> RunCreate:
    return RunCreate(agent_id="a", input=value)


def token_of_another_host() -> None:
    other = ApiClient(Configuration(host="http://localhost:1"))
    RunHandle.from_token(RunHandle("r", other).token(), offline())


def find_echo(path: str = "", **options: Any) -> None:
    with LocalServer() as server:
        calling(lambda client: find(client, **options), host=server.url + path)


def of_a_name(call: Callable[[AgentHandle], object]) -> None:
    with LocalServer() as server:
        calling(lambda client: call(AgentHandle("echo", client)), host=server.url)


def one_connection_for_two_calls() -> None:
    with (
        ThreadPoolExecutor(1) as executor,
        serving([STALL], connection_pool_maxsize=1, retries=False) as (server, client),
    ):
        executor.submit(RunsApi(client).get_run, "r0", _request_timeout=3)
        assert eventually(lambda: server.requests)
        quickly(client)


def without_room() -> None:
    with full_listener() as port:
        get_run(host=f"http://127.0.0.1:{port}", timeout=(0.2, 5))


def authority(**certificate: Any) -> tuple[ssl.SSLContext, str]:
    """Make the TLS of a server for 127.0.0.1, and the PEM of its authority."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", **certificate).configure_cert(context)
    return context, ca.cert_pem.bytes().decode()


def over_tls(*replaced: str, trusted: bool = False, **certificate: datetime) -> None:
    """Call `get_run` on a server of https, with a part of its URL replaced."""
    context, pem = authority(**certificate)
    settings = {"ca_cert_data": pem} if trusted else {}
    with SocketServer(response(b""), ssl_context=context) as server:
        get_run(host=server.url.replace(*replaced) if replaced else server.url, **settings)


def https_to_an_http_server() -> None:
    with SocketServer(handler=greeting(response(b"", 400))) as server:
        get_run(host=server.url.replace("http://", "https://"))


def redirected(call: Call, status: int) -> None:
    """Make a call to a server of http, whose URLs are all redirected to https."""
    context, pem = authority()
    refusal = response(b'{"detail":"Unauthorized"}', 401, "Unauthorized")
    with SocketServer(refusal, ssl_context=context) as secure:

        def redirect(request: Request) -> bytes:
            return response(b"", status, "Moved", location=f"{secure.url}{request.path}")

        settings = {"ca_cert_data": pem, "access_token": "5ecret"}
        served(call, handler=serve_each(redirect), path="/acp", **settings)


def by_proxy(refusal: Any, host: str, call: Call) -> None:
    with HttpProxy(refuse=refusal) as proxy:
        calling(call, host=host, proxy=proxy.url)


def dead_proxy(scheme: str = "http://me:5ecret@") -> str:
    return f"{scheme}127.0.0.1:{free_port()}"


def greeting(beginning: bytes) -> Callable[[Connection], None]:
    """A server that greets, reads once and hangs up."""

    def greet(connection: Connection) -> None:
        connection.sock.sendall(beginning)
        connection.sock.recv(65_536)

    return greet


def without_output(request: Request) -> bytes:
    """The response of a server that lacks the path of an output."""
    ended = {**RUN, "run_id": ID, "status": "success"}
    if "/output" in request.path:
        return response(b"", 404, "Not Found")
    return response(json.dumps(ended).encode())


def close_creates(request: Request) -> bytes:
    """Responses of a server that hangs up on a create, and refuses each other request."""
    return CLOSE if request.path.endswith("/runs") else response(b'"not for you"', 403, "Forbidden")


SSH = greeting(b"SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13.5\r\n")
SMTP, MYSQL = greeting(b"220 m.example ESMTP\r\n"), greeting(b"J\0\0\0\n8.0.36\0")
ALERT = greeting(b"\x15\x03\x01\x00\x02\x02\x46")
PAGE = response(b"<html><title>404 Not Found</title></html>", 404, "Not Found", "text/html")
WELCOME = response(b"<html><title>Welcome</title></html>", 200, "OK", "text/html")
SIGN_IN = response(
    b"<!doctype html>".ljust(9_950) + b"<TITLE>\n Please sign in</TITLE>",
    content_type="text/html; charset=utf-8",
)
LATE_TITLE = response(b"<html>".ljust(10_000) + b"<title>late</title>")
WHO = response(b"", 407, "Proxy Authentication Required")
BLOCKED = response(b"<title>Blocked by policy</title>", 403, "Forbidden")
FORBIDDEN = response(b"", 403, "Forbidden")
UNAUTHORIZED = response(b'"who are you?"', 401, "Unauthorized")
BUSY = response(b"", 503, "Busy", retry_after="0", x_request_id="r-17")
BUSY_FOR_A_CENTURY = response(b'"busy"', 503, retry_after="Fri, 31 Dec 2100 23:59:59 GMT")
BUSY_AT_LENGTH = response(json.dumps({"detail": "busy " * 100}).encode(), 503, retry_after="0")
TOO_MANY = response(b'"Too Many Requests"', 429, "Too Many Requests", retry_after="3000")
FAULTS = [{"loc": ["body", f"f{n}"], "msg": "is required " * 9} for n in range(20)]
FAULTY = response(json.dumps({"detail": FAULTS}).encode(), 422, "Unprocessable Entity")
NOT_FOUND = response(b'{"detail":"NOT found"}', 404, "No")
LOGIN = response(b"", 302, "Found", location="http://login.invalid/")
CUT = [head(content_length="9"), b"{", STALL]
OTHERS = {"type": "result", "run_id": "r2", "status": "success", "result": {"a": 1}}
NAMELESS = {
    "agent_id": "",
    "metadata": {"ref": {"name": "echo", "version": "1"}, "description": ""},
}
NEWER = {"thread_id": "t", "status": "idle", "values": {}, "metadata": {}}
PLAIN, TLS = "http://acp.invalid", "https://acp.invalid"
LONG_HOST = f"http://{'acp.' * 30}invalid"
XML = response(b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>')
SOAP = response(b"<Error/>", content_type="text/xml")
XHTML = response(b'<?xml version="1.0"?><html><title>A</title></html>')
HOST = {"ACP_HOST": "http://acp.example"}
PEM, KEYS = "-----BEGIN PRIVATE KEY-----\n", {"X-Key": "5ecret"}
OVER = {"not_before": datetime(2019, 1, 1), "not_after": datetime(2020, 1, 1)}
CONTROL = b"HTTP/1.1 200 OK\r\ncontent-length: 2\x0b\r\n\r\n{}"
UNDATED = response(json.dumps({**RUN, "created_at": "x"}).encode())
NO_DATE = "created_at: Input sh"  # what follows is cut if the search takes too long
UNSAFE = {**RUN, "run_id": "..", "agent_id": "a"}
ASKS = {"type": "interrupt", "interrupt": {}}

# Values of the wrong kind


class Choice(Enum):
    """Whose values are no JSON."""

    OBJECT = object()


class Missing(datetime):
    """As `pandas.NaT`: a datetime that is unequal to itself."""

    __module__ = "pandas._libs.tslibs.nattype"
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return False


def of_numpy(name: str) -> Any:
    """A value of a type that may have the name of one of Python's own."""
    members = {"item": lambda self: 1}
    return type(name, (), {**members, "__module__": "numpy"})()


class Frame:
    """A frame of pandas, or of polars with `to_dicts`."""

    columns = ("a",)

    def __init__(self, **more: Any) -> None:
        vars(self).update(to_dict=None, **more)


class Array(list[int]):
    """As an array of numpy: it is neither equal to a value nor different, and has no truth."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    __ne__ = __eq__
    __hash__ = None  # type: ignore[assignment]


def executor(submitted: object) -> Any:
    """An executor whose `submit` returns this."""
    return type("Own", (), {"submit": lambda *_, **__: submitted})()


def mapped_by(submitted: object) -> None:
    next(agent().map([{}], executor=executor(submitted), connect=offline))


def mapped_for(result: object) -> None:
    """Read the only item of a batch whose executor gives this result."""
    future: Future[object] = Future()
    future.set_result(result)
    next(agent().map([{}], executor=executor(future), connect=offline)).result()


def frame(method: str) -> Any:
    """A frame of pandas, or of polars with `to_dicts`."""
    return type("Frame", (list,), {"columns": ("a",), "to_dict": None, method: None})()


def two(first: Any, second: Any) -> None:
    """A callback with another number of arguments than most."""


async def later(question: object) -> dict[str, Any]:
    return {}


def wait(**options: Any) -> None:
    wait_for_run_output(runs(), "r1", **options)


def drive(**options: Any) -> None:
    run().drive(lambda question: None, **options)


def find_a_run(echo: AgentHandle) -> None:
    RunHandle.find("t", echo.runs.api_client, agent_id="a")


def nested(levels: int, leaf: object = 1) -> Any:
    value: Any = {"leaf": leaf}
    for level in range(levels - 1):
        value = [value] if level % 2 and level < levels - 2 else {"a": value}
    return value


def itself() -> dict[str, Any]:
    """An input that contains itself."""
    value: dict[str, Any] = {"x": [1]}
    value["x"].append({"y": value})
    return value


def a_package_that_is_missing() -> None:
    with patch.dict(sys.modules, {"jsonschema_rs": None}):
        mapped(check=True)


def continue_a_batch(
    n=1, agent_id=ECHO_AGENT_ID, host="127.0.0.1", ended=True, version=1, config=None
) -> None:
    """Make a batch of one input, and call another one with its journal."""
    with tempfile.TemporaryDirectory() as folder, LocalServer() as server:
        urls = server.url, server.url.replace("127.0.0.1", host)
        client, other = (ApiClient(Configuration(host=url)) for url in urls)
        with AgentHandle(ECHO_AGENT_ID, client).map([{"n": 1}], journal=f"{folder}/j") as first:
            next(first)
            if ended:
                first.close()
            if version > 1:
                Path(folder, "j").write_bytes(encode_line({"acp-journal": version}))
            again = AgentHandle(agent_id, other)
            with again.map([{"n": n}], journal=f"{folder}/j", config=config) as second:
                next(second)


ANOTHER: Any = type("ApiClient", (), {"__module__": "another_sdk"})()
ITEM = acp.BatchItem(0, "0", "", {}, {})
MISSING = Missing(2026, 1, 2)
CREATE: Any = create_model({})
QUESTION = acp.PendingInterrupt("approval", {}, "r2", datetime(2026, 1, 2))
# The token of {"server":"http://h","run":7}.
NO_RUN_ID = "acprun1.eyJzZXJ2ZXIiOiJodHRwOi8vaCIsInJ1biI6N30.ef8aff75"
NAN, DECIMAL = float("nan"), Decimal("1.10")
FIELDS = ("agent_id", "thread_id", "webhook", "input", "config")

TEAPOT = response(b"<title>Page missing - Shop</title>", 404, "Not Found", "text/html")
SERIES: Any = type("Series", (), {"to_dict": None})()

# Words that several messages have
NOTHING_MADE = "; no run was made or changed"
NOT_SERVED = " does not serve this path (check the base path of host)"
BASE_PATH = "is the base path of host right?"
BY = "connections use the proxy http://127.0.0.1:"
WHOSE = " of Configuration.proxy (ACP_PROXY)"
IN_URL = "; its URL needs the right user:password@"
SET_HOST = "set host to a URL that begins with https://127.0.0.1:"
TAKES_THE_QUESTION = "on_interrupt must be a function that takes the question"
TAKES_THE_SECONDS = "on_pending must be a function that takes the seconds elapsed"
NEEDS_AN_ID = "AgentHandle takes an id: for a name, use AgentHandle.find, or get for either"
AGENT_OR_NAME = "agent must be an AgentHandle, not str; AgentHandle.get(agent, client) is one"

FLAGS = ("ordered", "check", "retry_failed", "durable")
WAITS: list[Any] = [wait, run().result, partial(run().resume, {})]
CALLS_OF_A_NAME: list[Callable[[AgentHandle], object]] = [
    lambda echo: echo.run({}),
    lambda echo: echo.agent,
    lambda echo: echo.descriptor(),
    lambda echo: echo.check(input={}),
    lambda echo: echo.conversation().run({}),
    lambda echo: list(echo.map([{}])),
    find_a_run,
]

OF_ARRAYS: list[tuple[Any, str]] = [
    (lambda array: run().events(on_gap=array), 'on_gap must be "raise" or "mark", not []'),
    (lambda array: mapped(unclear=array), 'unclear must be "raise" or "start", not []'),
    (lambda array: mapped(on_stop=array), 'on_stop must be "leave" or "cancel", not []'),
    (lambda array: iter_runs(runs(), on_drift=array), '"raise" or "continue", not []'),
    (lambda array: runs().get_run("r", _host_index=array), "_host_index must be 0, the only host"),
]

MISTAKES: dict[type[BaseException], list[tuple[Any, ...]]] = {}
MISTAKES[ApiTypeError] = [
    # Settings
    (lambda: Configuration(debug="false"), "debug must be True or False, not str"),
    (lambda: Configuration(base_url="http://h"), "Configuration() got", "; did you mean 'host'?"),
    (lambda: Configuration(token="5ecret"), "argument 'token'; did you mean 'access_token'?"),
    (lambda: Configuration(headers={"x-key": "5"}), "'headers'; use ApiClient.with_options("),
    (lambda: runs().get_run("r", _preload_content=False), "use RunsApi.get_run_without_preload_co"),
    (lambda: mapped(retry=True), "'retry'; did you mean 'retry_failed'?"),
    (lambda: Configuration.from_env(env_file=".env"), "'env_file'; use Python's load_dotenv()"),
    (lambda: Configuration(hostname="h"), "'hostname'; use host=\"http://host:8000\""),
    (lambda: Configuration(cafile="ca.pem"), "'cafile'; did you mean 'ssl_ca_cert'?"),
    (lambda: Configuration(read_timeout=3), "; use Configuration(timeout=(connect, read))"),
    (lambda: Configuration(logger_file="log"), "; use Configuration's attribute of that"),
    (lambda: Configuration(api_key="5ecret"), 'a dict, not str; write api_key={"x-api-key": "…"}'),
    (lambda: Configuration(hots="h"), "Configuration() got", "'hots'; did you mean 'host'?"),
    (lambda: Configuration.from_env(tiemout=3), "argument 'tiemout'; did you mean 'timeout'"),
    (lambda: Configuration.set_default("http://h"), "default must be a Configuration, not str"),
    (lambda: ApiClient.set_default(Configuration()), "must be an ApiClient, not Configuration"),
    (lambda: acp.SSEParser().feed("x"), "chunk must be bytes, not str; encode() a str"),
    (lambda: Configuration.from_env({"host": "http://h"}), "prefix must be a str, not dict"),
    (lambda: ApiClient(Configuration), "a Configuration: pass an instance, not the"),
    (lambda: RunsApi(ApiClient), "must be an ApiClient: pass an instance, not the"),
    (lambda: RunsApi(ANOTHER), "api_client must be an ApiClient, not another_sdk.ApiClient"),
    (lambda: instrument(offline(), "x"), "tracer_provider must be a TracerProvider, not str"),
    (lambda: assign("logger_format", None), "logger_format must be a str, not NoneType"),
    *(
        (
            partial(assign, "socket_options", [option]),
            "must be tuples (level, name, value), not list",
        )
        for option in ((6, 1), (6, 1, "1"), (6, 1, 1, 1), (), ("6", 1, 1), 6, "abc", None)
    ),
    (lambda: offline().call_api("GET", Path("/runs")), "url must be a str, not PosixPath"),  # type: ignore
    (lambda: offline().call_api("GET", None), "url must be a str, not NoneType"),  # type: ignore
    (lambda: offline().call_api("GET", "http://h", "x"), "header_params must be a dict, not str"),  # type: ignore
    (lambda: ApiClient(None, [], "x"), "header_name must be a str, not list"),  # type: ignore
    (lambda: offline().set_default_header({}, "x"), "header_name must be a str, not dict"),  # type: ignore
    (
        lambda: calling(get, auth=lambda request: request.headers.update({(): "x"})),
        "the name of a header must be a str, not tuple",
    ),
    *(
        (partial(mapped_by, given), f"executor.submit must return a Future, not {name}")
        for given, name in ((None, "NoneType"), (5, "int"), (Mock(), "Mock"))
    ),
    (lambda: mapped_for(5), "executor.submit must call its function, and gave 5"),
    (lambda: runs().get_run("r", _request_auth=Array()), "_request_auth must be a dict, not Array"),
    (lambda: assign("refresh_api_key_hook", two), "_api_key_hook must be a function that takes"),
    # A method that is called of the class
    *(
        (partial(method, {}), f"{kind.__name__}.{name}() is called of an instance")
        for kind in (AgentHandle, RunHandle, acp.Conversation)
        for name, method in vars(kind).items()
        if name[0] != "_" and isfunction(method)
    ),
    # Bodies and inputs
    (lambda: send(RunCreate), "run_create must be a dict or RunCreate: pass an instance, not the"),
    (lambda: send({1: 2}), "run_create must have str keys, got int 1"),
    # Agents and runs
    (lambda: agent().run("{}"), "must be a JSON object (dict), not str; is it JSON text? Then"),
    (lambda: agent().run(ITEM), "own object, not a BatchItem: pass item.result()"),
    (lambda: agent().run(Run.from_dict(RUN)), "own object, not a Run: pass run.creation.input"),
    (lambda: run().drive(later), "on_interrupt must be a function", "not async: this client is"),
    (lambda: run().drive({}), "on_interrupt must be a function that takes", "not dict"),
    (lambda: AgentHandle.find(None, api_client=offline()), "name must be a str, not NoneType"),
    (lambda: iter_agents(AgentsApi(offline()), "echo"), "a dict or AgentSearchRequest, not str"),
    (lambda: iter_agents("echo"), "agents_api must be an AgentsApi, not str; AgentsApi"),
    (lambda: iter_runs(AgentsApi(offline())), "runs_api must be a RunsApi, not AgentsApi"),
    (lambda: iter_threads(runs()), "threads_api must be a ThreadsApi, not RunsApi"),
    (lambda: wait_for_run_output(offline(), "r1"), "must be a RunsApi, not ApiClient"),
    (lambda: agent().run(RunCreate), "input must be a JSON object (dict): pass an instance"),
    (lambda: RunHandle(run()), "run_id must be a str, not RunHandle: pass its run_id"),
    (lambda: agent().start(CREATE), "own object, not a RunCreate: pass create.input"),
    (
        lambda: ask_with(lambda question: question),
        "what on_interrupt returns must be the agent's own object, not a PendingInterrupt: pass the"
        " answer to the question",
    ),
    (lambda: run().resume(CREATE), "not a RunCreate: pass the answer to the question"),
    *(
        (partial(agent().start, **{"input": {}, name: value}), f"{name} must be the agent's", words)
        for value, words in (
            (QUESTION, "not a PendingInterrupt: pass question.payload"),
            (RunOutput.from_dict(OTHERS), "not a RunOutput: pass output.actual_instance.result"),
            (RunOutput.from_dict(OTHERS).actual_instance, "not a RunResult: pass result.result"),
            (acp.RunSearchRequest(), "not a RunSearchRequest: pass a dict"),
            (acp.Agent.from_dict(NAMELESS), "not an Agent: pass a dict"),
            (Fault(status=500), "not a Fault: pass a dict"),
        )
        for name in ("input", "config", "metadata")
    ),
    (lambda: agent().start({}, config=CREATE), "own object, not a RunCreate: pass create.config"),
    (lambda: RunHandle.of(run()), "run must be a Run, not RunHandle; for an id, use"),
    (lambda: agent().conversation(5), "thread_id must be a str, not int"),
    (lambda: RunHandle.find("token", offline(), agent_id=5), "agent_id must be a str, not int"),
    (lambda: AgentHandle.get(5, offline()), "id_or_name must be a str, not int"),
    (lambda: agent().conversation().run({}, thread_id="t"), "thread_id belongs in conv"),
    (lambda: AgentHandle.find("echo", offline(), version=9), "version must be a str, not int"),
    (lambda: run().drive(lambda: None), "on_interrupt must be a function", "yours takes ()"),
    (lambda: agent().conversation().run({}, on_interrupt=True), TAKES_THE_QUESTION, "not bool"),
    (lambda: agent().map([{}], on_interrupt=True), TAKES_THE_QUESTION, "not bool"),
    (lambda: run().output(on_pending=lambda one: 1), TAKES_THE_SECONDS, "yours takes (one)"),
    (lambda: run().output(on_pending=True), TAKES_THE_SECONDS, "not bool"),
    (lambda: wait(on_pending=True), TAKES_THE_SECONDS, "not bool"),
    *((partial(call, stop=True), "stop must be a threading.Event or None, not") for call in WAITS),
    (lambda: drive(on_event=two), "on_event must be a function that takes the", "(first"),
    (lambda: drive(max_interrupts="5"), "max_interrupts must be an int, not str"),
    (lambda: run().events(through_interrupts="no"), "through_interrupts must be", "not str"),
    (lambda: run().output(stop=asyncio.Event()), "a threading.Event or None, not asyncio.locks"),
    (lambda: run().output(stop=threading.Event), "stop must be", ": pass an instance, not the"),
    (lambda: run().resume({}, to={}), "to must be a PendingInterrupt or None, not dict"),
    (lambda: agent().start({}, confg={}), "start() got", "'confg'; did you mean 'config'"),
    (lambda: agent().run(message="Hi"), '; the input is one dict: {"message": …}'),
    (lambda: agent().run({}, ordered=True), "run() got an unexpected keyword argument 'ordered'"),
    (lambda: agent().map(frame("to_dict")), 'of dicts: pass frame.to_dict("records")'),
    (lambda: agent().map(frame("to_dicts")), "an iterable of dicts: pass frame.to_dicts()"),
    (lambda: agent().map({}), "must be an iterable of dicts, not dict; pass [input] for one"),
    (lambda: mapped(concurency=2), "map() got", "'concurency'; did you mean 'con"),
    (lambda: acp.Batch("echo", []), AGENT_OR_NAME),
    (lambda: iter_runs(offline(), agent="echo"), AGENT_OR_NAME),
    (lambda: agent().start({}, webhook=5), "webhook must be a str, not int"),
    (lambda: agent().start({}, streaming=True), 'must be a str, "result" or "custom", not bool'),
    (lambda: agent().run({}, on_interrupt={"approved": True}), "and gives the answer, not dict"),
    (lambda: agent().run({}, thread_id=5), "thread_id must be a str, not int"),
    (lambda: agent().run({}, cancel_on_exit="no"), "cancel_on_exit must be True or False, not str"),
    # Batches
    (lambda: mapped(total="10"), "total must be an int, not str"),
    *(
        (partial(mapped, **{flag: "no"}), f"{flag} must be True or False, not str")
        for flag in FLAGS
    ),
    (lambda: mapped(journal=True), "journal must be the path of a file, not bool"),
    (lambda: mapped(journal=io.BytesIO()), "must be the path of a file, not BytesIO"),
    (lambda: mapped(executor=ThreadPoolExecutor(1), connect=two), "a function without arguments"),
    (lambda: mapped(executor=ProcessPoolExecutor(1), on_interrupt=lambda _: None), "no lambda: it"),
    (lambda: mapped(executor="processes"), "ProcessPoolExecutor(), not str"),
    (lambda: mapped(executor=ThreadPoolExecutor), "PoolExecutor(): pass an instance, not"),
    (lambda: mapped(executor=type("ThreadPool", (), {})()), "Executor(), not ThreadPool"),
    (lambda: mapped(progress=two), "takes the counts, and yours takes (first"),
    (lambda: mapped(key=two), "takes an input and gives its name, and yours takes (first"),
    # What other clients call it
    (lambda: mapped(workers=4), "map() got", "'workers'; did you mean 'concurrency'?"),
    (lambda: mapped(on_error="skip"), "'on_error'; use RunFailed, which run() raises and"),
    (lambda: agent().run({}, on_error="skip"), "'on_error'; use RunFailed, which run() raises and"),
    (lambda: agent().start({}, idempotency_key="k"), "did you mean 'client_token'?"),
    (lambda: agent().conversation().run({}, idempotency_key="k"), "did you mean 'client_token'?"),
    (lambda: mapped(idempotency_key="k"), "did you mean 'journal'?"),
    (lambda: runs().get_run("r", timeout=5), "RunsApi.get_run() got", "mean '_request_timeout'?"),
    (lambda: runs().get_run_with_http_info("r", timeout=5), "did you mean '_request_timeout'?"),
    (lambda: runs().create_run(agent_id="a"), "'agent_id'; use run_create={…}"),
    (lambda: ApiClient(base_url=""), "ApiClient() got", "; use Configuration(host=…)"),
    (lambda: AgentHandle.find("echo", token="5ecret"), "'token'; use Configuration(api_key=…)"),
    (lambda: run().result(zzz=1), "RunHandle.result() got an unexpected keyword argument 'zzz'"),
    (lambda: RunsApi.get_run("r"), "RunsApi.get_run() is called of an instance"),
    (lambda: RunsApi(client=offline()), "Api() got", "'client'; did you mean 'api_client'?"),
    (lambda: acp.ThreadsApi(offline()).search_threads(limit=1), "use thread_search_request={…}"),
    (lambda: runs().search_runs(status="pending"), "use run_search_request={…}"),
    (lambda: Configuration(insecure=True), "'insecure'; use verify_ssl=…"),
    # What looks like the right thing
    (lambda: agent().map({"n": {0: 1, 1: 2}}), 'of dicts: pass frame.to_dict("records")'),
    (lambda: agent().run((0, SERIES)), 'rows of a frame, use map(frame.to_dict("records"))'),
    (lambda: agent().run(Frame()), 'not Frame; for the rows of a frame, use map(frame.to_dict("re'),
    (lambda: agent().run(Frame(to_dicts=None)), "the rows of a frame, use map(frame.to_dicts())"),
    (lambda: agent().run(SERIES), "not Series; pass its to_dict()"),
    (lambda: agent().map(None), "inputs must be an iterable of dicts, not NoneType"),
    (lambda: wait_for_run_output(runs(), run()), "not RunHandle: pass its run_id"),
    (lambda: setattr(offline(), "configuration", ""), "configuration must be a Configuration, not"),
]
MISTAKES[ApiValueError] = [
    # Settings
    (lambda: first_use(ssl_ca_cert="/no.pem"), "ssl_ca_cert='/no.pem': there is no such file"),
    (lambda: first_use(cert_file=__file__, key_file="/no"), "key_file='/no': there is no such"),
    (lambda: first_use(ssl_ca_cert=__file__), ".py'", "cannot be used as a file of certificates"),
    (lambda: first_use(ssl_ca_cert="~/ca.pem"), "there is no such file; ~ is not expanded"),
    (lambda: Configuration(cert_file="c", key_file=f"{PEM}5ecret"), "key_file must be the path of"),
    (lambda: Configuration(ssl_ca_cert="-----BEGIN CERTIFICATE"), "or the text as ca_cert_data"),
    (lambda: first_use(ca_cert_data="/ca.pem"), "(PEM or DER); for a file, set ssl_ca_cert"),
    (lambda: first_use(api_key_prefix={"x-key": "5ecret"}), "has no key: set api_key['x-key']"),
    (lambda: Configuration(connection_pool_maxsize=0), "pool_maxsize must be at least 1, not 0"),
    (lambda: Configuration(max_event_bytes=0), "max_event_bytes must be at least 1, not 0"),
    (lambda: Configuration(max_response_bytes=0), "max_response_bytes must be at least 1, not 0"),
    (lambda: Configuration(host="host"), "a URL", "http://localhost:8000", "'host' lacks http://"),
    (lambda: Configuration(host="127.0.0.1:8000"), "'127.0.0.1:8000' lacks http:// or https://"),
    (lambda: Configuration(host="ftp://acp.example"), "host must begin with http:// or https://"),
    (lambda: Configuration(host="/http://acp.example"), "must begin with http:// or https://"),
    (lambda: Configuration(host="http:///acp"), "'http://' lacks the host name"),
    (lambda: Configuration(host="http://h:80000"), "that is not a number from 1 to 65535: '80000'"),
    (lambda: Configuration(host="http://[::1"), "[IPv6] address is wrong"),
    (lambda: Configuration(host="http://ho\u2100st:80"), "host is not a URL: its host or"),
    (lambda: Configuration(host="http://m:5ecret@h"), "not contain user information", "set user"),
    (lambda: Configuration(proxy="http://:5ecret@p:p"), "proxy has a port that is not a number"),
    (lambda: Configuration(access_token="Bearer abc"), "access_token must be the token alone"),
    (lambda: Configuration(access_token="abc\n"), "a control character or a line break; strip()"),
    (lambda: Configuration(host="http://::1:8"), "address must be in brackets, as in http://[::1]"),
    (lambda: Configuration(host="http://h/runs/"), "host ends in /runs: leave that out, as the"),
    (lambda: Configuration(host="http://h/agents/search"), "host ends in /agents/search: leave"),
    (lambda: Configuration(host="http://http://h:8000"), "host is more than one URL: set one"),
    (lambda: Configuration(host="http://" + "a" * 300), "has a host name that DNS cannot have: 'a"),
    (lambda: Configuration(host='"http://a"'), "host stands in quotation marks; remove them"),
    (lambda: Configuration(api_key={"5ecret": "X-Api-Key"}), 'key, {"x-api-key": "…"}', "swapped"),
    (lambda: Configuration(api_key={"5ecret=": "own"}), "must map a header to its key", "swapped"),
    (lambda: Configuration(api_key={"x": "X: 5ecret"}), "['x'] must be the key alone, without its"),
    (lambda: runs().resume_run("r", {1: 2}), "body: keys must be str, got int 1"),
    (lambda: runs().get_run("r", _headers={"Content-Length": "0"}), "-Length' cannot be set"),
    (lambda: ApiClient(None, "x"), "header_value is missing: a header has a name and a value"),
    (lambda: assign("host", "http://a:b:eighty"), "host has a port that is not", "'b:eighty'"),
    *(
        (partial(assign, "host", f"http://{given}"), "a port that is not a number", repr(port))
        for given, port in (("127.0.0.1:8000:", "8000:"), ("1.2::3", ":3"), ("[::1]:80x", "80x"))
    ),
    *(
        (partial(assign, "host", f"http://{given}"), "an IPv6 address must be in brackets")
        for given in ("::1:8000", "fe80::1", "::ffff:1.2.3.4:80", "2001:db8:0:0:0:0:0:1:80")
    ),
    *(
        (partial(assign, name, value), f"{name} must be a host name alone, without scheme and port")
        for name in ("tls_server_name", "assert_hostname")
        for value in ("https://h", "h:443", "h/acp", "me:5ecret@h")
    ),
    (lambda: assign("api_key", {"a": "1", "A": "5ecret"}), "api_key has a header twice, as HTTP"),
    (lambda: assign("logger_file", "/no/log"), "cannot be opened: there is no folder /no"),
    # Bodies and inputs
    (lambda: create(input={"x": DECIMAL}), "input['x']: Decimal is not JSON; pass a float or a"),
    (lambda: create(input={"x": [1, float("-inf")]}), "input['x'][1]: -inf is not a JSON number"),
    (lambda: create(inputs={}), "run_create.inputs: unknown field", "did you mean 'input'"),
    (lambda: create(input={None: ["2"]}), "run_create.input: keys must be str, got NoneType"),
    (lambda: create(input="{}"), "run_create.input: Input should be a dict, not str"),
    (lambda: create(**dict.fromkeys(FIELDS, 5)), "run_create.agent_id: Input", "… (RunCreate)"),
    (lambda: create(metadata={"x": {"\ud800": 1}}), r"['x']: the key '\ud800' is not valid Unico"),
    (lambda: create_of({"x": [b"x"]}), "input['x'][0]: bytes is not JSON; decode it to a str"),
    (lambda: create_of({"x": {1, 2}}), "input['x']: set is not JSON; pass a list"),
    (lambda: create_of({"x": [MappingProxyType({})]}), "mappingproxy is not JSON; pass a dict, a"),
    (lambda: create_of({"x": NAN, "y": "NaN"}), "input['x']: nan is not a JSON number; pass None"),
    (lambda: create_of({"x": {1: 2}}), "input['x']: keys must be str, got int 1"),
    (lambda: create_of({"y": create_model({"x": b""})}), "input['y'].input['x']: bytes is not"),
    (lambda: create_of({"x": [object()]}), "input['x'][0]: object is not JSON; pass a dict, a"),
    (lambda: create_of({"x": of_numpy("bool")}), "['x']: numpy.bool is not JSON; pass its .item()"),
    (lambda: create_of({"x": of_numpy("ndarray")}), "numpy.ndarray is not JSON", "or .tolist() of"),
    (lambda: create_of({"a": [MISSING], "b": ITEM}), "pandas.Missing is not JSON; pass None"),
    (lambda: create_of({"x": [Choice.OBJECT]}), "input['x'][0]: object is not JSON"),
    (lambda: create_of({"\ud800": 1}), r"input: the key '\ud800' is not valid Unicode"),
    (lambda: create_of({"x": "\ud800"}), r"input['x']: '\ud800' is not valid Unicode"),
    # Variables of the environment
    (lambda: environ(ACP_TOKEN="bearer abc"), "ACP_TOKEN cannot be used: access_token must be the"),
    (lambda: environ(ACP_HOST="http://h:x"), "ACP_HOST", "host has a port that is not a number"),
    *(
        (partial(environ, **{name: given}), f"{name} cannot be used: it must be {words}")
        for name, given, words in (
            ("ACP_TIMEOUT", "30s", "seconds, as 30, 10,60 or none, not '30s'"),
            ("ACP_STREAM_TIMEOUT", "10;60", "seconds, as 30, 10,60 or none, not '10;60'"),
            ("ACP_TOTAL_TIMEOUT", "10m", "a number, as 3, not '10m'"),
            ("ACP_RETRIES", "three", "a number, as 3, not 'three'"),
            ("ACP_MAX_RESPONSE_BYTES", "64MB", "a number, as 3, not '64MB'"),
        )
    ),
    (lambda: environ(ACP_API_KEY_HEADER="x-key"), "_HEADER cannot be used without ACP_API_KEY"),
    (lambda: environ(ACP_HOST='"http://h"'), "ACP_HOST", "it stands in quotation marks"),
    (
        lambda: environ(ACP_API_KEY='{"x-key": "v"}'),
        "ACP_API_KEY cannot be used: it is JSON: set the key alone, and ACP_API_KEY_HEADER",
    ),
    (lambda: environ(ACP_API_KEY="x-api-key:5ecret"), "ACP_API_KEY", "x-api-key'] must be the key"),
    (lambda: environ(ACP_API_KEY_HEADER="5ecret=", ACP_API_KEY="k"), "the name of a header"),
    # Agents and runs
    (lambda: RunHandle(run().token()), "run_id is the token of a run; use RunHandle.from"),
    (lambda: runs().get_run(run().token()), "run_id is the token of a run; use RunH"),
    (lambda: runs().get_run_output(run().token()), "run_id is the token of a run; use"),
    (lambda: AgentHandle(run().token(), offline()), "agent_id is the token of a run"),
    (lambda: run().resume({}, to=QUESTION), "to is a question of run r2, not of run r"),
    (lambda: QUESTION.answer({}), "to its run: use RunHandle(question.run_id, client).resume(answ"),
    (lambda: RunHandle.find(run().token(), offline()), "token of a run; use RunHandle.from_token"),
    (lambda: run().events(after=run().token()), "after is the token of a run; use"),
    (lambda: iter_runs(offline(), status="failed"), "search.status: Input should be 'pending'"),
    (lambda: iter_runs(runs(), {"statuss": "error"}), "unknown field 'statuss'", "mean 'status'?"),
    (lambda: agent().run({"x": b"1"}), "input['x']: bytes is not JSON"),
    (lambda: AgentHandle.find("", offline()), "name must not be empty"),
    (lambda: mapped(streaming="both"), "streaming: Input should be 'result' or 'custom'"),
    (lambda: agent().start({}, webhook=""), "webhook must not be empty"),
    (lambda: agent().start({}, timeout=0), "must be above 0 seconds: a start sends a request"),
    (lambda: agent().run({}, thread_id=""), "thread_id must not be empty"),
    *((partial(call, Array()), words) for call, words in OF_ARRAYS),
    (lambda: Configuration.from_env("\ud800"), "prefix must be printable, such as ACP_, not"),
    (lambda: offline().sanitize_for_serialization(itself()), "is no JSON, or nested too deep: max"),
    (lambda: offline().sanitize_for_serialization(nested(5000)), "no JSON, or nested too deep: m"),
    (lambda: offline().sanitize_for_serialization([object()]), "no JSON, or nested too deep: Una"),
    (
        lambda: first_use(username="me:5ecret", password=""),
        "username and password: a user name cannot have a colon, which begins the password",
    ),
    (lambda: drive(max_interrupts=-1), "max_interrupts must be at least 0, not -1"),
    (lambda: run().result(timeout=-1), "timeout must be at least 0 seconds, not -1"),
    (lambda: run().result(every=0.0009), "every must be at least 0.001 seconds, not 0.0009"),
    # Batches
    (lambda: mapped(total=-1), "total must be at least 0, not -1"),
    (lambda: mapped(concurrency=0), "concurrency must be at least 1, not 0"),
    (lambda: mapped(durable=True), "durable is for the lines of a journal; pass journal="),
    (lambda: mapped(timeout=0), "the timeout must be above 0 seconds: a run takes some"),
    (lambda: mapped(journal=""), "journal must not be empty"),
    # Streams, and others
    (lambda: served(read_a_stream_twice, head(204)), "is over or closed", "get_run_stream opens"),
    (lambda: agent().run(itself()), "input is nested deeper than 197 levels, or holds itself"),
    (a_package_that_is_missing, "needs the package jsonschema-rs: pip install 'acp-client-v0-1["),
]
MISTAKES[AttributeError] = [
    (lambda: run().wait(), "'RunHandle' object has no attribute 'wait'; did you mean 'result'?"),
    *(
        (partial(getattr, acp.ServiceException(500, "x"), name), f"'{name}'; {words}")
        for name, words in (
            ("status_code", "did you mean 'status'?"),
            ("code", "did you mean 'status'?"),
            ("message", "use reason, or str(error) for all of it"),
            ("response", "use body, headers and status of the error"),
            ("text", "use body, headers and status of the error"),
            ("json", "did you mean 'data'?"),
        )
    ),
    (lambda: acp.RunFailed(run_id="", token="", errcode=1, description="").code, "mean 'errcode'?"),
    (lambda: agent().stream({}), "'stream'; use start(…, streaming=\"custom\").events()"),
    (lambda: agent().conversation().stream({}), "'stream'; use start(…, streaming=\"cus"),
    (lambda: ITEM.output, "'BatchItem' object has no attribute 'output'; did you mean 'result'?"),
    (lambda: run().answer({}), "no attribute 'answer'; did you mean 'resume'?"),
    (lambda: runs().resume("r", {}), "no attribute 'resume'; did you mean 'resume_run'?"),
    (lambda: run().id, "'RunHandle' object has no attribute 'id'; did you mean 'run_id'?"),
    (lambda: agent().invoke({}), "'AgentHandle'", "'invoke'; did you mean 'run'?"),
    (lambda: agent().id, "'AgentHandle'", "'id'; did you mean 'agent_id'?"),
    (lambda: offline().runs, "'ApiClient'", "'runs'; use RunsApi(client)"),
    (lambda: runs().cancel_run("r"), "'cancel_run'; did you mean 'delete_run'?"),
    (lambda: assign("tiemout", 3), "has no setting 'tiemout'; did you mean 'timeout'?"),
    (lambda: assign("zzz", 3), "Configuration has no setting 'zzz'"),
    (lambda: assign("port", 8000), "has no setting 'port'; use host=\"http://host:8000\""),
    *(
        (
            partial(setattr, of, name, 5),
            f"has no setting '{name}'; use with_options(…) of the client",
        )
        for of in (offline(), agent(), run())
        for name in ("timeout", "retries", "headers", "verify_ssl", "retry", "base_url")
    ),
    (
        lambda: setattr(LocalServer(), "quirks", 1),
        "quirks cannot be changed: make a LocalServer",
    ),
    (lambda: RunOutput.from_dict(ASKS).result, "has no attribute 'result': it is a RunInterrupt"),
]
MISTAKES[TypeError] = [
    (lambda: served(pickle_a_stream, head(204)), "be pickled: pickle its run_id and last_event_id"),
    (lambda: LocalServer(api_key=("5ecret",)), "must be a pair of name and value, "),  # type: ignore
    *(
        (
            partial(LocalServer().register, lambda i, c, x: {}, **{name: "\ud800"}),
            "not valid Unicode",
        )
        for name in ("name", "version", "description", "agent_id")
    ),
    (lambda: RunCreate("a"), "takes its fields by name: RunCreate(**fields) of a dict"),
    (lambda: create(additional_properties=[1]), "additional_properties must be a dict, not list"),
]
MISTAKES[ValueError] = [
    *(
        (partial(call, value), "the value is nested too deep to be JSON, or holds itself")
        for value in (itself(), nested(100_000))
        for call in (
            Run.from_dict,
            RunOutput.from_dict,
            lambda value: create_model(value).to_json(),
        )
    ),
    (lambda: LocalServer(tls=ssl.create_default_context()), "tls: is the context of a client; mak"),
    (
        lambda: LocalServer(api_key={"a": "1", "A": "2"}),
        "api_key: a header is there twice, as HTTP",
    ),
    (lambda: LocalServer().fail_next(200), "status: 200 is no failure; use faults.add(Fault(stat"),
]
MISTAKES[ValidationError] = [
    (lambda: RunCreate(inputs={}), "unknown field 'inputs' of RunCreate; did you mean 'input'?"),
    (
        lambda: RunCreate(agent_id="a", additional_properties={"input": {}}),
        "input is a field of RunCreate: pass input=",
    ),
    (lambda: RunCreate(zzz={}), "'zzz' of RunCreate [type=extra_forbidden, input_value={}"),
]
MISTAKES[acp.ResponseValidationError] = [
    (lambda: get_run(response(b"")), "the response is empty (0 bytes), expected a Run as JSON"),
    (lambda: get_run(response(b" \r\n")), "holds 3 bytes of white space, expected a Run"),
    (lambda: get_run(response(b"[" * 1000)), "nested deeper than can be read", "expected a Run"),
    (lambda: get_run(response(b"{}")), "not a Run of ACP 0.1: creation", "(and 5 more): {}"),
    (lambda: get_run(response(b'{"run":0,"output":0}')), "more); it", "looks like ACP 0.2"),
    (lambda: get_run(SIGN_IN), BASE_PATH, 'page titled "Please sign in" of a proxy or a login?'),
    (lambda: get_run(XML), "XML, not JSON, expected a Run: is host the URL of another service?"),
    (lambda: get_run(SOAP), "XML, not JSON, expected a Run: is host the URL of another service?"),
    (lambda: get_run(XHTML), "HTML, not JSON, expected a Run: is the base path"),
    (lambda: get_run(LATE_TITLE), "right? is the page of a proxy"),
    (lambda: by_proxy(WELCOME, PLAIN, result), "HTML, not JSON", BY, WHOSE),
    (lambda: got(UNSAFE, start), "run_id must not be or contain the path segment"),
    (lambda: got([NAMELESS], find), "not an Agent of ACP 0.1: agent_id must not be empty"),
    (lambda: got(OTHERS, result), f"the server gave run {ID} the output of run r2"),
    (lambda: got(RUN, lambda client: RunHandle(ID, client).done()), "the record of run r1"),
    (lambda: got([], lambda c: ThreadsApi(c).get_thread_state("t")), "not a JSON object of"),
    (lambda: got([NEWER], search_threads), "a list of Thread of ACP 0.1: ", "ACP 0.2, and this"),
]
MISTAKES[acp.NotFoundException] = [
    (lambda: get_run(TEAPOT), "Page missing - Shop; the response names no"),
    (lambda: get_run(NOT_FOUND), "GET /runs/r1 returned 404", BASE_PATH + " does"),
    (lambda: get_run(response(b"", 404, "No")), "404 No;", BASE_PATH),
    (lambda: by_proxy(PAGE, PLAIN, start), f"404 Not Found; {BY}", WHOSE),
    (lambda: served(start, PAGE, path="/acp"), "POST /acp/runs returned 404", BASE_PATH),
    (lambda: find_echo("/acp"), "POST /acp/agents/search returned 404", "is the base path"),
    *((partial(of_a_name, call), NEEDS_AN_ID) for call in CALLS_OF_A_NAME),
]
MISTAKES[acp.ProtocolException] = [
    (lambda: get_run(CONTROL), "a response with a control character in content-length cannot be"),
    (lambda: served(start, handler=SSH), "POST /runs: ", "sends 'SSH", "check host", NOTHING_MADE),
    (lambda: served(result, handler=SSH), "is another kind of server, which sends 'SSH-2.0-Open"),
    (lambda: served(batch, handler=SSH), " is another kind of server", NOTHING_MADE),
    (lambda: served(start, handler=SMTP), "sends '220 m.example ESMTP'"),
    (lambda: served(start, handler=MYSQL), r"sends 'J\x00\x00\x00'", NOTHING_MADE),
    (lambda: served(start, handler=ALERT), " expects TLS: write https://", NOTHING_MADE),
    (lambda: by_proxy(b"SSH\r\n", TLS, result), "the proxy is another kind", "'SSH", BY, WHOSE),
]
MISTAKES[acp.ProxyException] = [
    (lambda: by_proxy(PAGE, TLS, start), "404 Not Found; is it a proxy?; ", BY, WHOSE),
    (lambda: by_proxy(WELCOME, TLS, result), "200 OK; is it a proxy?; ", BY, WHOSE),
    (lambda: by_proxy(WHO, TLS, result), BY, f"{WHOSE}{IN_URL}"),
    (lambda: get_run(proxy=dead_proxy()), "the proxy does not connect", BY, WHOSE),
    (lambda: get_run(proxy=dead_proxy()), "; set no_proxy (ACP_NO_PROXY) to 127.0.0.1"),
    (lambda: environ(lambda: get_run(host=TLS), https_proxy=dead_proxy()), BY, " of https_proxy"),
    (lambda: environ(lambda: get_run(host=PLAIN), all_proxy=dead_proxy("")), " of all_proxy"),
]
MISTAKES[acp.ApiException] = [
    (lambda: served(result, handler=serve_each(without_output)), "has the run", "speak ACP 0.1"),
    (lambda: by_proxy(WHO, PLAIN, start), "returned 407", BY, f"{WHOSE}{IN_URL}"),
    (lambda: redirected(start, 301), "POST /acp/runs returned 301 Moved; redirect", SET_HOST),
    (lambda: served(find, response(b"", 501)), "without searches, use AgentHandle(agent_id)"),
    (lambda: served(find, response(b"", 405)), "without searches, use AgentHandle(agent_id)"),
]
MISTAKES[acp.ForbiddenException] = [
    (lambda: by_proxy(BLOCKED, PLAIN, get), f"Blocked by policy; {BY}", WHOSE),
    (lambda: get_run(FORBIDDEN, username="me"), "403 Forbidden; the request carried Authorization"),
]
MISTAKES[acp.ApiTimeoutError] = [
    (one_connection_for_two_calls, "no free connection within the call's 0.2 s", "pool_maxsize"),
    (lambda: by_proxy(STALL, PLAIN, quickly), f"no response within the call's 0.2 s; {BY}", WHOSE),
    (without_room, "no connection to http://127.0.0.1:", " within 0.2 s"),
    (lambda: get_run(timeout=1e-9), "within the call's 1e-09 s"),
    (lambda: get_run([STALL], timeout=0.2), "GET /runs/r1: no response within the call's 0.2 s"),
    (lambda: get_run([STALL], timeout=(5, 0.2)), "GET /runs/r1: no response within 0.2 s"),
    (lambda: get_run(CUT, timeout=0.8), "after status 200: the response was not complete within"),
    (lambda: get_run(CUT, timeout=(5, 0.2)), "status 200: nothing more of the body within 0.2 s"),
]
MISTAKES[acp.RunGone] = [
    (lambda: by_proxy(PAGE, PLAIN, result), "is not there", "does not serve this path", BY, WHOSE),
    (lambda: by_proxy(PAGE, LONG_HOST, result), f"run {ID} is not there", BY, WHOSE),
    (lambda: served(result, PAGE, path="/acp"), f"{ID} is not there: it was deleted", NOT_SERVED),
]
MISTAKES[acp.JournalMismatch] = [
    (lambda: continue_a_batch(n=2), "input 0 differs from", "pass the same inputs in the"),
    (lambda: continue_a_batch(agent_id="a"), f"is of the agent {ECHO_AGENT_ID}", "another file"),
    (lambda: continue_a_batch(host="localhost"), "is of the server http:", "not http://localhost"),
    (lambda: continue_a_batch(config={"a": 1, "b": 2}), "another config, which differs in a, b;"),
    (lambda: continue_a_batch(config={}), "of another config, which differs in being empty; use"),
]
MISTAKES[acp.JournalLocked] = [
    (lambda: continue_a_batch(ended=False), "in use by another batch: close() it, or let it end")
]
MISTAKES[acp.JournalError] = [
    (lambda: continue_a_batch(version=2), "/j is of version 2, which this", "install a newer")
]
MISTAKES[acp.RunStartAmbiguous] = [
    (
        lambda: served(start_in_time, [CLOSE]),
        "the run may have been started or not: the connection was closed without a response; if "
        "the server expects TLS, write https://; the search failed, too; search by "
        "RunHandle.from_token(error.token, client) before",
    ),
    (
        lambda: served(start_in_time, handler=serve_each(close_creates)),
        "or not: the connection was c",
        " if the server expects TLS, write https://; the search for it failed: 403 Forbidden: ",
    ),
    (lambda: served(start_in_time, response(b"{}")), "not a Run of ACP 0.1: creation", "5 more)"),
    (lambda: served(start_in_time, UNDATED), f"or not: 200: not a Run of ACP 0.1: {NO_DATE}"),
    (lambda: served(start_in_time, WELCOME), BASE_PATH, "; the search failed, too; search by"),
]
MISTAKES[acp.RunWaitTimeout] = [
    (lambda: served(wait_a_little, BUSY_AT_LENGTH), "has no output after 0.", "; wait again, or"),
]
MISTAKES[acp.TLSException] = [
    (https_to_an_http_server, "cannot connect to https://127", "not speak TLS", "try http://"),
    (over_tls, "its certificate is refused: ", "; no trusted CA issued it: set ssl_ca_cert ("),
    (lambda: over_tls("127.0.0.1", "localhost", trusted=True), "; write its name in host, or set"),
    (lambda: over_tls(trusted=True, **OVER), "has expired; renew it, or correct the clock of this"),
]
MISTAKES[acp.ConnectionException] = [
    (no_host_at_all, "cannot connect to http://localhost", "no host was set (Configuration(host=…"),
    (lambda: over_tls("https", "http"), "GET /runs/r1: ", "if the server expects TLS", "https://"),
    (lambda: environ(no_host_at_all, **HOST), "does not read ACP_HOST: use Configuration.from_env"),
    (
        lambda: environ(partial(no_host_at_all, of_environment(ACP_HOST="http://old")), **HOST),
        "ACP_HOST was set or changed after this client had read it: use ApiClient(Conf",
    ),
    (
        lambda: environ(partial(no_host_at_all, Configuration.from_env()), **HOST),
        "ACP_HOST was set or changed after this client had read it: use ApiClient(Conf",
    ),
]
MISTAKES[acp.NameResolutionException] = [
    (lambda: get_run(LOGIN), "cannot connect to http://login.invalid", "; a redirect of http:")
]
MISTAKES[acp.UnprocessableEntityException] = [
    (lambda: get_run(FAULTY), "/runs/r1 returned 422", "body.f0: is required", "…")
]
MISTAKES[acp.ServiceException] = [
    (lambda: get_run(BUSY_FOR_A_CENTURY), ": busy; Retry-After: Fri, 31 Dec 2100"),
    (lambda: get_run(BUSY, retries=2), "503 Busy;", "request id r-17; after 3 attempts in "),
]
MISTAKES[acp.TooManyRequestsException] = [
    (lambda: get_run(TOO_MANY, retries=3), "429 Too Many Requests; Retry-After: 3000 s")
]
MISTAKES[acp.UnauthorizedException] = [
    (lambda: redirected(result, 308), "401 Unauthorized; a redirect lost the cred", SET_HOST),
    (
        lambda: get_run(UNAUTHORIZED),
        "401 Unauthorized: who are you?; no credentials were sent: set api_key (ACP_API_KEY), "
        "access_token (ACP_TOKEN), or username (ACP_USERNAME) and password (ACP_PASSWORD)",
    ),
    (lambda: get_run(UNAUTHORIZED, access_token="5ecret", api_key=KEYS), "d Authorization, X-Key"),
]
MISTAKES[acp.AgentLookupError] = [
    (lambda: find_echo(version="9"), "'echo' has no version '9'; the server has 1.0.0")
]
MISTAKES[acp.TokenError] = [
    (lambda: RunHandle.from_token(run().token), "must be a str, not method: call run.token()"),
    (token_of_another_host, "is of a run at http://localhost:1", "pass an ApiClient of the token"),
    (
        lambda: RunHandle.from_token("b7d8"),
        "must begin with acprun1.; for the id of a run, use RunHandle(run_id, client)",
    ),
    (lambda: RunHandle.from_token(NO_RUN_ID), "cannot be used: its run must not be 7"),
]


DOCS = Path(__file__).parents[2] / "docs"
ROWS = [
    pytest.param(kind, row[0], row[1:], id=" ".join(row[1:]))
    for kind, rows in MISTAKES.items()
    for row in rows
]
NEVER = ("5ecret", "\n")


@pytest.mark.slow
@pytest.mark.parametrize("kind, mistake, words", ROWS)
def test_a_message_says_what_to_do(kind, mistake, words):
    with pytest.raises(kind) as raised:
        mistake()
    message = str(raised.value)
    assert [each for each in words if message.count(each) != 1] == [], message
    assert on_the_page_of_messages(message), message
    if kind is ValidationError:  # pydantic's own, which has a line for each fault
        return
    # Only a caller of `create_run` has written that word.
    never = NEVER if "run_create" in "".join(words) else (*NEVER, "run_create")
    assert [each for each in never if each in message] == [], message
    assert len(message) <= 240 and message[0] != ".", message


def raised() -> set[str]:
    """The messages of the errors of agents, runs and batches, with `…` for a value in them."""
    found: set[str] = set()
    package = Path(acp.__file__).parent
    for path in (*package.glob("handles/*.py"), *package.glob("batch/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Raise(exc=ast.Call(func=kind) as call) if hasattr(acp, ast.unparse(kind)):
                    # A hint is no message.
                    more = [each.value for each in call.keywords if each.arg != "hint"]
                    values = [*call.args, *more]
                case ast.Assign(targets=[ast.Name(id="reason")], value=value):
                    values = [value]
                case ast.keyword(arg="what", value=value):
                    values = [value]
                case _:
                    values = []
            values = [each for each in values if isinstance(each, ast.Constant | ast.JoinedStr)]
            found |= {re.sub(r"\{[^{}]*\}", "…", ast.unparse(value)[1:]) for value in values}
    return {
        text.strip("f'\"") for text in found if len(re.findall("[a-z]{2,} [a-z]{2,}", text)) > 1
    }


def test_each_error_and_each_message_of_runs_is_on_the_page_of_messages():
    page = (DOCS / "reference" / "messages.md").read_text("utf-8")
    classes = {
        name
        for name in dir(acp)
        if isinstance(getattr(acp, name), type)
        and issubclass(getattr(acp, name), acp.OpenApiException)
    }
    assert {name for name in classes if f"`{name}`" not in page} == set()
    texts = raised()
    assert len(texts) > 40
    assert [text for text in texts if not on_the_page_of_messages(text)] == []


def test_the_most_frequent_messages_are_on_the_page_of_messages():
    guide = (DOCS / "guides" / "troubleshooting.md").read_text("utf-8")
    section = guide.partition("\n## The ten most frequent\n")[2].partition("\n## ")[0]
    frequent = words_of_messages(section)
    assert len(frequent) == 10
    page = words_of_messages((DOCS / "reference" / "messages.md").read_text("utf-8"))
    assert [each for each in frequent if not any(each in symptom for symptom in page)] == []


def test_a_name_that_is_like_none_for_its_place_gets_no_advice():
    api: Any = runs()
    for mistake, end in (
        (lambda: api.create_run({"agent_id": "a", "url": "http://h"}), "'url' of RunCreate"),
        (lambda: api.get_run("r", elf=1), "keyword argument 'elf'"),
        (lambda: api.search_runs(thread_id="t"), "keyword argument 'thread_id'"),
        (lambda: api.list_agents(), "no attribute 'list_agents'"),
        (lambda: vars(api).setdefault("", api).zzz, "has no attribute 'zzz'"),
    ):
        with pytest.raises((acp.OpenApiException, AttributeError)) as raised:
            mistake()
        assert str(raised.value).endswith(end)


def test_a_subclass_of_a_user_keeps_what_it_has():
    class Marked:
        def __init_subclass__(cls, mark: int = 0) -> None:
            super().__init_subclass__()

    class Own(RunsApi, Marked, mark=1):
        def __getattr__(self, name: str) -> str:
            return name

        def twice(number: Any) -> Any:
            return 2 * number

    class Configured(AgentHandle):
        def __init__(self) -> None:
            super().__init__("a", offline())
            self.configuration = {"a": 1}

    assert (Own(offline()).anything, Own.twice(3)) == ("anything", 6)
    assert Configured().configuration == {"a": 1}


LONG = "something that takes many words to say, " * 20


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (acp.ServiceException(500, "Server Error", body=LONG), "500 Server Error"),
        (
            acp.StreamDecodeError(event_id="7", event_name="x", excerpt=LONG, reason=LONG),
            "event 'x' with id '7' cannot be decoded",
        ),
        (acp.SchemaMismatch("input", [(f"input.a{n}", LONG) for n in range(9)]), "(and 4 more)"),
        (
            acp.ResumeAmbiguous(run_id=ID, token="t", times=2, why=LONG),
            "answer again if it is still interrupted",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_cause_of_any_length_leaves_room_for_the_rest(error, phrase):
    assert len(str(error)) <= 240 and phrase in str(error), str(error)


def test_a_uuid_and_an_enum_of_texts_are_taken_where_a_handle_wants_an_id():
    for given in (UUID(ID), Enum("Own", {"A": ID}, type=str)["A"]):
        agent, run = AgentHandle(given, offline()), RunHandle(given, offline())
        assert str(agent.agent_id) == str(run.run_id) == ID


def test_what_can_be_read_back_can_be_sent_and_nothing_deeper():
    """The echo of an input is in the creation of a run, in a list."""
    with LocalServer() as server, ApiClient(Configuration(host=server.url)) as client:
        agent = AgentHandle.find("echo", api_client=client)
        deepest = nested(197, "\ufffd")  # for which the content is searched for surrogates
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
