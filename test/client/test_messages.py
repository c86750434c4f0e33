"""Mistakes, and what their messages say: what happened, where, and what to do next.

A row is a function that makes one mistake, with the class of the error that it raises and phrases
that stand in the message once. A user who reads only the message must know what to do. The tables
near the end have the rows whose mistake is one expression; ` ... ` stands between two phrases.
"""

from __future__ import annotations

import ast
import asyncio
import io
import json
import os
import pickle
import re
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from inspect import isfunction
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast
from unittest.mock import patch
from uuid import UUID

import pytest
import trustme
from pydantic import ValidationError
from support.examples import RUN
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
    Batch,
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
from acp_client_v0_1.batch._journal import encode_line
from acp_client_v0_1.telemetry import instrument
from acp_client_v0_1.testing import COUNTER_AGENT_ID, ECHO_AGENT_ID, LocalServer

ID = "11111111-1111-4111-8111-111111111111"
Mistake = Callable[[], object]
MISTAKES: list[Any] = []
Rows = dict[type[BaseException], dict[str, Any]]


def mistake(error: type[BaseException], *phrases: str) -> Callable[[Mistake], Mistake]:
    """Add a row: a function that raises this error, and the phrases of its message."""

    def add(make: Mistake) -> Mistake:
        MISTAKES.append(pytest.param(make, error, phrases, id=make.__name__))
        return make

    return add


def each(table: Rows, call: Any = None) -> None:
    """Add rows: the phrases of a message with its mistake, several, or what `call` takes."""
    for error, rows in table.items():
        for said, mistakes in rows.items():
            if call is not None:
                mistakes = partial(call, mistakes)
            for make in mistakes if isinstance(mistakes, tuple) else (mistakes,):
                MISTAKES.append(pytest.param(make, error, said.split(" ... "), id=said))


@mistake(AttributeError, "'RunOutput' object has no attribute 'result': it is a RunInterrupt")
def a_result_of_an_interrupt() -> None:
    output = RunOutput.from_dict({"type": "interrupt", "interrupt": {}})
    output.result  # noqa: B018


def calling(call: Callable[[ApiClient], object], **settings: Any) -> object:
    """Make a call of a new client."""
    with ApiClient(Configuration(**settings)) as client:
        return call(client)


def served(
    call: Callable[[ApiClient], object],
    *responses: Any,
    handler: Any = None,
    path: str = "",
    **settings: Any,
) -> object:
    """Make a call of a new client to a server that sends these bytes, below a path of it."""
    with SocketServer(*responses, handler=handler) as server:
        return calling(call, **{"host": server.url + path, "retries": False, **settings})


def get_run(*responses: Any, **settings: Any) -> object:
    return served(get, *responses, **settings)


def got(content: Any, call: Callable[[ApiClient], object]) -> object:
    """Make a call to a server that responds with this JSON."""
    return served(call, response(json.dumps(content).encode()))


def send(body: Any) -> object:
    """Call `create_run` with a body, on a server that accepts any."""
    return got(RUN, lambda client: RunsApi(client).create_run(body))


def get(client: ApiClient) -> object:
    return RunsApi(client).get_run("r1")


def assign(**settings: Any) -> None:
    for name, value in settings.items():
        setattr(Configuration(), name, value)


def authority(**certificate: Any) -> tuple[ssl.SSLContext, str]:
    """Make the TLS of a server for 127.0.0.1, and the PEM of its authority."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", **certificate).configure_cert(context)
    return context, ca.cert_pem.bytes().decode()


@mistake(acp.ApiTimeoutError, "no free connection within the call's 0.2 s", "pool_maxsize")
def one_connection_for_two_calls() -> None:
    with (
        ThreadPoolExecutor(1) as executor,
        serving([STALL], connection_pool_maxsize=1, retries=False) as (server, client),
    ):
        executor.submit(RunsApi(client).get_run, "r0", _request_timeout=3)
        assert eventually(lambda: server.requests)
        RunsApi(client).get_run("r1", _request_timeout=0.2)


def from_environment(
    variables: dict[str, str], call: Callable[[], object] = Configuration.from_env
) -> None:
    with patch.dict(os.environ, variables):
        call()


def over_tls(
    host: Callable[[str], str] = str, trusted: bool = False, **certificate: datetime
) -> None:
    """Call `get_run` on a server of https, whose URL may be changed."""
    context, pem = authority(**certificate)
    settings = {"ca_cert_data": pem} if trusted else {}
    with SocketServer(response(b""), ssl_context=context) as server:
        get_run(host=host(server.url), **settings)


def dead_proxy(scheme: str = "http://me:5ecret@") -> str:
    return f"{scheme}127.0.0.1:{free_port()}"


def without_room() -> None:
    with full_listener() as port:
        get_run(host=f"http://127.0.0.1:{port}", timeout=(0.2, 5))


@mistake(
    acp.ConnectionException,
    "cannot connect to http://localhost",
    "no host was set (Configuration(host=…) or ACP_HOST)",
)
def no_host_at_all(configuration: Configuration | None = None) -> None:
    # Nothing listens on port 80 here; if something does, no request of this test is for it.
    default = "acp_client_v0_1.configuration._DEFAULT_HOST"
    with patch(default, f"http://localhost:{free_port()}"):
        get(ApiClient(configuration or Configuration(retries=False)).with_options(retries=0))


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

    def __eq__(self, other: object) -> bool:
        return False


def of_numpy(name: str) -> Any:
    """A value of a type that may have the name of one of Python's own."""
    members = {"item": lambda self: 1}
    return type(name, (), {**members, "__module__": "numpy"})()


def nested(levels: int, leaf: object = 1) -> dict[str, Any]:
    value: Any = {"leaf": leaf}
    for level in range(levels - 1):
        value = [value] if level % 2 and level < levels - 2 else {"a": value}
    return cast("dict[str, Any]", value)


def test_what_can_be_read_back_can_be_sent_and_nothing_deeper() -> None:
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


@mistake(ApiValueError, "the stream is over or closed", "get_run_stream opens another")
def a_stream_read_twice() -> None:
    with serving(head(204)) as (_, client):
        stream = RunsApi(client).get_run_stream("r1")
        assert list(stream) == []
        list(stream)


def agent() -> Any:
    return AgentHandle("a", offline())


def run() -> Any:
    return RunHandle("r", offline())


@mistake(ApiValueError, "input is nested deeper than 197 levels, or holds itself")
def an_input_that_contains_itself() -> None:
    value: dict[str, Any] = {"x": [1]}
    value["x"].append({"y": value})
    agent().run(value)


def find(client: ApiClient, **options: Any) -> object:
    return AgentHandle.find("echo", client, **options)


def find_echo(path: str = "", **options: Any) -> None:
    with LocalServer() as server:
        calling(lambda client: find(client, **options), host=server.url + path)


def of_a_name(call: Callable[[AgentHandle], object]) -> None:
    with LocalServer() as server:
        calling(lambda client: call(AgentHandle("echo", client)), host=server.url)


def two(first: Any, second: Any) -> None:
    """A callback with another number of arguments than most."""


async def later(question: object) -> dict[str, Any]:
    return {}


def frame(method: str) -> Any:
    """A frame of pandas, or of polars with `to_dicts`."""
    return type("Frame", (list,), {"columns": ("a",), "to_dict": None, method: None})()


def drive(**options: Any) -> None:
    run().drive(lambda question: None, **options)


def output(**options: Any) -> None:
    run().output(**options)


def map_with(**options: Any) -> None:
    agent().map([], **options)


def continue_a_batch(
    *,
    n: int = 1,
    agent_id: str = ECHO_AGENT_ID,
    host: str = "127.0.0.1",
    ended: bool = True,
    version: int = 1,
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
            with AgentHandle(agent_id, other).map([{"n": n}], journal=f"{folder}/j") as second:
                next(second)


@mistake(
    ApiValueError,
    "a check by the schema needs the package jsonschema-rs: pip install 'acp-client-v0-1[",
)
def a_package_that_is_missing() -> None:
    with pytest.MonkeyPatch.context() as modules:
        modules.setitem(sys.modules, "jsonschema_rs", None)
        map_with(check=True)


# Servers of another kind, proxies and redirects


def start(client: ApiClient) -> object:
    return AgentHandle("a", client).start({}, timeout=10)


def quickly(client: ApiClient) -> object:
    return RunsApi(client).get_run("r", _request_timeout=0.2)


def start_in_time(client: ApiClient) -> object:
    return AgentHandle("a", client).start({}, timeout=0.5)


def result(client: ApiClient) -> object:
    return RunHandle(ID, client).result(timeout=10)


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


@mistake(acp.TLSException, "cannot connect to https://127.0.0.1:", "not speak TLS", "try http://")
def https_to_an_http_server() -> None:
    with SocketServer(handler=greeting(response(b"", 400))) as server:
        get_run(host=server.url.replace("http://", "https://"))


@mistake(acp.ApiException, "has the run and does not serve this path: does it speak ACP 0.1")
def an_output_that_the_server_lacks() -> None:
    def respond(request: Request) -> bytes:
        served = "/output" not in request.path
        ended = {**RUN, "run_id": ID, "status": "success"}
        return response(json.dumps(ended).encode()) if served else response(b"", 404, "Not Found")

    served(result, handler=serve_each(respond))


PAGE = response(b"<html><title>404 Not Found</title></html>", 404, "Not Found", "text/html")
# The token of {"server":"http://h","run":7}.
NO_RUN_ID = "acprun1.eyJzZXJ2ZXIiOiJodHRwOi8vaCIsInJ1biI6N30.ef8aff75"
NOT_SERVED = " does not serve this path (check the base path of host)"


def by_proxy(refusal: Any, host: str, call: Callable[[ApiClient], object]) -> None:
    with HttpProxy(refuse=refusal) as proxy:
        calling(call, host=host, proxy=proxy.url)


WELCOME = response(b"<html><title>Welcome</title></html>", 200, "OK", "text/html")
WHO = response(b"", 407, "Proxy Authentication Required")
BY = "connections use the proxy http://127.0.0.1:"
WHOSE = " of Configuration.proxy (ACP_PROXY)"
IN_URL = "; its URL needs the right user:password@"
BLOCKED = response(b"<title>Blocked by policy</title>", 403, "Forbidden")
PLAIN, TLS = "http://acp.invalid", "https://acp.invalid"


def redirected(call: Callable[[ApiClient], object], status: int) -> None:
    """Make a call to a server of http, whose URLs are all redirected to https."""
    context, pem = authority()
    refusal = response(b'{"detail":"Unauthorized"}', 401, "Unauthorized")
    with SocketServer(refusal, ssl_context=context) as secure:

        def redirect(request: Request) -> bytes:
            return response(b"", status, "Moved", location=f"{secure.url}{request.path}")

        settings = {"ca_cert_data": pem, "access_token": "5ecret"}
        served(call, handler=serve_each(redirect), path="/acp", **settings)


SET_HOST = "set host to a URL that begins with https://127.0.0.1:"


CENTURY = "Fri, 31 Dec 2100 23:59:59 GMT"
BUSY = response(b"", 503, "Busy", retry_after="0", x_request_id="r-17")
CUT = [head(content_length="9"), b"{", STALL]
UNAUTHORIZED = response(b'"who are you?"', 401, "Unauthorized")

# Responses
RESPONSES: Rows = {
    acp.ResponseValidationError: {
        "the response is empty (0 bytes), expected a Run as JSON": response(b""),
        "the response holds 3 bytes of white space, expected a Run": response(b" \r\n"),
        "the JSON is nested deeper than can be read ... expected a Run": response(b"[" * 1000),
        "(application/json) does not fit the contract, expected a Run: creation": response(b"{}"),
        "run_id: Field required; agent_id: Field required: {}": response(b"{}"),
        "expected a Run: creation: ... ; it looks like ACP 0.2": response(b'{"run":0,"output":0}'),
        'HTML, not JSON, expected a Run: does this page titled "Please sign in" belong to a proxy '
        "or a login? is the base path of host": response(
            b"<!doctype html>".ljust(9_950) + b"<TITLE>\n Please sign in</TITLE>",
            content_type="text/html; charset=utf-8",
        ),
        "does this page belong to": response(b"<html>".ljust(10_000) + b"<title>late</title>"),
    },
    acp.NotFoundException: {
        "GET /runs/r1 returned 404 ... is the base path of host right? does": response(
            b'{"detail":"NOT found"}', 404, "No"
        ),
        "404 No; ... is the base path of host right?": response(b"", 404, "No"),
    },
    acp.ProtocolException: {
        "a response with a control character in content-length cannot be read": (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\x0b\r\n\r\n{}"
        )
    },
}
each(RESPONSES, get_run)

# Servers of another kind
ADDRESSES: Rows = {
    acp.ProtocolException: {
        f"POST /runs:  ... sends 'SSH-2.0-Open ... check host ... {NOTHING_MADE}": (SSH, start),
        " is another kind of server, which sends 'SSH-2.0-OpenSSH": (SSH, result),
        f" is another kind of server ... {NOTHING_MADE}": (SSH, batch),
        "sends '220 m.example ESMTP'": (greeting(b"220 m.example ESMTP\r\n"), start),
        rf"sends 'J\x00\x00\x00' ... {NOTHING_MADE}": (greeting(b"J\0\0\0\n8.0.36\0"), start),
        f" expects TLS: write https:// ... {NOTHING_MADE}": (ALERT, start),
    },
}
each(ADDRESSES, lambda pair: served(pair[1], handler=pair[0]))

# Proxies that are none
PROXIES: Rows = {
    acp.ProxyException: {
        f"404 Not Found; is it a proxy?;  ... {BY} ... {WHOSE}": (PAGE, TLS, start),
        f"200 OK; is it a proxy?;  ... {BY} ... {WHOSE}": (WELCOME, TLS, result),
        f"{BY} ... {WHOSE}{IN_URL}": (WHO, TLS, result),
    },
    acp.ApiException: {f"returned 407 ... {BY} ... {WHOSE}{IN_URL}": (WHO, PLAIN, start)},
    acp.NotFoundException: {f"404 Not Found; {BY} ... {WHOSE}": (PAGE, PLAIN, start)},
    acp.ForbiddenException: {f"Blocked by policy; {BY} ... {WHOSE}": (BLOCKED, PLAIN, get)},
    acp.ApiTimeoutError: {
        f"no response within the call's 0.2 s; {BY} ... {WHOSE}": (STALL, PLAIN, quickly)
    },
    acp.ProtocolException: {
        f"the proxy is another kind of server, which sends 'SSH-2.0 ... {BY} ... {WHOSE}": (
            *(b"SSH-2.0-OpenSSH\r\n", TLS, result),
        ),
    },
    acp.RunGone: {f"acp.invalid by the proxy http:// ... {NOT_SERVED}": (PAGE, PLAIN, result)},
    acp.ResponseValidationError: {f'"Welcome" ... {BY} ... {WHOSE}': (WELCOME, PLAIN, result)},
}
each(PROXIES, lambda parts: by_proxy(*parts))

# Journals of another batch
JOURNALS: Rows = {
    acp.JournalMismatch: {
        "input 0 differs from the one in the journal ... pass the same inputs in the": {"n": 2},
        f"/j is of the agent {ECHO_AGENT_ID} ... use another file": {"agent_id": COUNTER_AGENT_ID},
        "/j is of the server http://127.0.0.1: ... not http://localhost:": {"host": "localhost"},
    },
    acp.JournalLocked: {"in use by another batch: close() it, or let it end": {"ended": False}},
    acp.JournalError: {"/j is of version 2, which this ... install a newer": {"version": 2}},
}
each(JOURNALS, lambda options: continue_a_batch(**options))

# What a call raises
OTHERS = {"type": "result", "run_id": "r2", "status": "success", "result": {"a": 1}}
NAMELESS = {"agent_id": "", "metadata": {"ref": {"name": "x", "version": "1"}, "description": ""}}
NEWER = {"thread_id": "t", "status": "idle", "values": {}, "metadata": {}}
FAULTS = [{"loc": ["body", f"f{n}"], "msg": "is required " * 9} for n in range(20)]
BUSY_FOR_LONG = json.dumps({"detail": "busy " * 100}).encode()
CALLS: Rows = {
    acp.RunStartAmbiguous: {
        "the run may have been started or not: POST /runs: the connection was closed without a "
        "response; if the server expects TLS, write https://; the search failed, too; search by "
        "RunHandle.from_token(error.token, client) before": lambda: served(start_in_time, [CLOSE]),
        'does this page titled "Welcome" belong ... ; the search failed, too; search by': (
            lambda: served(start_in_time, WELCOME)
        ),
    },
    acp.RunWaitTimeout: {
        "has no output after 0. ... ; wait again, or RunHandle.from_token(": lambda: served(
            lambda client: RunHandle(ID, client).result(timeout=0.5),
            response(BUSY_FOR_LONG, 503, "Service Unavailable", retry_after="0"),
        ),
    },
    TypeError: {
        "an EventStream cannot be pickled: pickle its run_id and last_event_id": lambda: served(
            lambda client: pickle.dumps(RunsApi(client).get_run_stream("r1")), head(204)
        ),
    },
    acp.TLSException: {
        "its certificate is refused:  ... ; no trusted CA issued it: set ssl_ca_cert (": over_tls,
        "its certificate is refused: Hostname mismatch ... ; write its name in host, or set tls_": (
            lambda: over_tls(lambda url: url.replace("127.0.0.1", "localhost"), trusted=True)
        ),
        "certificate has expired; renew it, or correct the clock of this machine": lambda: over_tls(
            trusted=True, not_after=datetime(2020, 1, 1), not_before=datetime(2019, 1, 1)
        ),
    },
    acp.ConnectionException: {
        "GET /runs/r1:  ... if the server expects TLS ... https://": lambda: over_tls(
            lambda url: url.replace("https://", "http://")
        ),
        "Configuration() does not read ACP_HOST: use Configuration.from_env": lambda: (
            from_environment({"ACP_HOST": "http://acp.example"}, no_host_at_all)
        ),
        "ACP_HOST was set after this client had read the environment: make another": lambda: (
            from_environment(
                {"ACP_HOST": "http://acp.example"},
                partial(no_host_at_all, Configuration.from_env()),
            )
        ),
    },
    acp.ProxyException: {
        f"the proxy does not connect ... {BY} ... {WHOSE}": lambda: get_run(proxy=dead_proxy()),
        f"{BY} ...  of https_proxy": lambda: from_environment(
            {"https_proxy": dead_proxy()}, lambda: get_run(host="https://acp.example")
        ),
        " of all_proxy": lambda: from_environment(
            {"all_proxy": dead_proxy("")}, lambda: get_run(host="http://acp.example")
        ),
    },
    acp.NameResolutionException: {
        "cannot connect to http://login.invalid ... ; a redirect of http:": lambda: get_run(
            response(b"", 302, "Found", location="http://login.invalid/")
        ),
    },
    acp.ResponseValidationError: {
        'run_id must not be or contain the path segment ... "run_id":".."': lambda: got(
            {**RUN, "run_id": "..", "agent_id": "a"}, start
        ),
        "does not fit the contract: agent_id must not be empty": lambda: got(
            [NAMELESS], lambda client: AgentHandle.find("x", client)
        ),
        f"the server gave run {ID} the output of run r2": lambda: got(OTHERS, result),
        "the record of run r1": lambda: got(RUN, lambda client: RunHandle(ID, client).done()),
        "expected a JSON object": lambda: got([], lambda c: ThreadsApi(c).get_thread_state("t")),
        "a list of Thread: ... ; it looks like ACP 0.2, and this client speaks 0.1": lambda: got(
            [NEWER], lambda client: ThreadsApi(client).search_threads({})
        ),
    },
    acp.ApiException: {
        f"POST /acp/runs returned 301 Moved; redirect to https:// ... {SET_HOST}": lambda: (
            redirected(start, 301)
        ),
    },
    acp.RunGone: {
        f"run {ID} is not there: it was deleted ... {NOT_SERVED}": lambda: served(
            result, PAGE, path="/acp"
        )
    },
    acp.NotFoundException: {
        "POST /acp/runs returned 404 ... is the base path of host right?": lambda: served(
            start, PAGE, path="/acp"
        ),
    },
    acp.UnprocessableEntityException: {
        "/runs/r1 returned 422 ... body.f0: is required ... …": lambda: get_run(
            response(json.dumps({"detail": FAULTS}).encode(), 422, "Unprocessable Entity")
        ),
    },
    acp.ServiceException: {
        "503 Service Unavailable: busy; Retry-After: Fri, 31 Dec 2100": lambda: get_run(
            response(b'"busy"', 503, "Service Unavailable", retry_after=CENTURY)
        ),
        "503 Busy; ... request id r-17; after 3 attempts in ": lambda: get_run(BUSY, retries=2),
    },
    acp.TooManyRequestsException: {
        "429 Too Many Requests; Retry-After: 3000 s": lambda: get_run(
            response(b'"Too Many Requests"', 429, "Too Many Requests", retry_after="3000"),
            retries=3,
        )
    },
    acp.ApiTimeoutError: {
        "no connection to http://127.0.0.1: ...  within 0.2 s": without_room,
        "within the call's 1e-09 s": lambda: get_run(timeout=1e-9),
        "GET /runs/r1: no response within the call's 0.2 s": lambda: get_run([STALL], timeout=0.2),
        "GET /runs/r1: no response within 0.2 s": lambda: get_run([STALL], timeout=(5, 0.2)),
        "after status 200: the response was not complete within": lambda: get_run(CUT, timeout=0.8),
        "status 200: nothing more of the body within 0.2 s": lambda: get_run(CUT, timeout=(5, 0.2)),
    },
    acp.UnauthorizedException: {
        f"401 Unauthorized; a redirect lost the credentials:  ... {SET_HOST}": lambda: redirected(
            result, 308
        ),
        "401 Unauthorized: who are you?; no credentials were sent: set api_key (ACP_API_KEY), "
        "access_token (ACP_TOKEN), or username (ACP_USERNAME) and password (ACP_PASSWORD)": (
            lambda: get_run(UNAUTHORIZED)
        ),
        "who are you?; the request carried Authorization, X-Key": lambda: get_run(
            UNAUTHORIZED, access_token="5ecret", api_key={"X-Key": "5ecret"}
        ),
    },
    acp.ForbiddenException: {
        "403 Forbidden; the request carried Authorization": lambda: get_run(
            response(b"", 403, "Forbidden"), username="me", password="5ecret"
        )
    },
}
each(CALLS)

# Settings that the first call uses
FIRST_USE: Rows = {
    ApiValueError: {
        "ssl_ca_cert='/none/ca.pem': there is no such file": {"ssl_ca_cert": "/none/ca.pem"},
        "key_file='/no.pem': there is no such file": {"cert_file": __file__, "key_file": "/no.pem"},
        ".py' ... cannot be used as a file of certificates": {"ssl_ca_cert": __file__},
        "ca_cert_data is not a certificate (PEM or DER); for a file, set ssl_ca_cert": {
            "ca_cert_data": "/etc/ca.pem"
        },
        "api_key_prefix['x-key'] has no key: set api_key['x-key']": {
            "api_key": {"X-Key": "5ecret"},
            "api_key_prefix": {"x-key": "Token"},
        },
    },
}
each(FIRST_USE, lambda settings: get_run(host="https://127.0.0.1:1", **settings))

# What a Configuration is made with
CONFIGURED: Rows = {
    ApiValueError: {
        "host must be a URL ... http://localhost:8000 ... 'host' lacks http://": {"host": "host"},
        "'127.0.0.1:8000' lacks http:// or https://": {"host": "127.0.0.1:8000"},
        "host must begin with http:// or https://": {"host": "ftp://acp.example"},
        "must begin with http:// or https://": {"host": "/http://acp.example"},
        "'http://' lacks the host name": {"host": "http:///acp"},
        "host has a port that is not a number from 1 to 65535: '80000'": {"host": "http://h:80000"},
        "[IPv6] address is wrong": {"host": "http://[::1"},
        "host is not a URL: its host or": {"host": "http://ho\u2100st:80"},
        "host must not contain user information ... set username": {"host": "http://me:5ecret@h"},
        "proxy has a port that is not a number from 1 to 65535": {"proxy": "http://:5ecret@p:p"},
        "access_token must be the token alone, without": {"access_token": "Bearer abc"},
        "contains a control character or a line break; strip() it": {"access_token": "abc\n"},
        "host: an IPv6 address must be in brackets, as in http://[::1]": {"host": "http://::1:8"},
        "host ends in /runs: leave that out, as the client adds it": {"host": "http://h/runs/"},
        "host ends in /agents/search: leave that": {"host": "http://h/acp/agents/search"},
        "host is more than one URL: set one": {"host": "http://http://h:8000"},
        "host has a host name that DNS cannot have: 'aaaa": {"host": "http://" + "a" * 300},
        "host stands in quotation marks; remove them": {"host": '"http://acp.example"'},
        'a header to its key, {"x-api-key": "…"} ... swapped': {"api_key": {"5ecret": "X-Api-Key"}},
        "api_key must map a header to its key ... swapped": {"api_key": {"5ecret=": "own-header"}},
        "api_key['x'] must be the key alone, without its header": {"api_key": {"x": "X: 5ecret"}},
    },
    ApiTypeError: {
        "debug must be True or False, not str": {"debug": "false"},
        "has no argument 'base_url'; use host=\"http://host:8000\"": {"base_url": "http://h"},
        "has no argument 'token'; use access_token=\"…\"": {"token": "5ecret"},
        "'headers'; use with_options(headers=…) of": {"headers": {"x-api-key": "5ecret"}},
        "'hostname'; use host=\"http://host:8000\"": {"hostname": "h"},
        "'cafile'; use ssl_ca_cert=\"ca.pem\"": {"cafile": "ca.pem"},
        "'read_timeout'; use timeout=(connect, read)": {"read_timeout": 3},
        "'logger_file'; use it as an attribute": {"logger_file": "log"},
        'api_key must be a dict, not str; write api_key={"x-api-key": "…"}': {"api_key": "5ecret"},
    },
}
each(CONFIGURED, lambda settings: Configuration(**settings))

# Settings
MINE = Configuration()
ANOTHER: Any = type("ApiClient", (), {"__module__": "another_sdk"})()
SETTINGS: Rows = {
    ApiValueError: {
        "body: keys must be str, got int 1": lambda: RunsApi(offline()).resume_run("r", {1: 2}),
        "header 'Content-Length' cannot be set": lambda: RunsApi(offline()).get_run(
            "r", _headers={"Content-Length": "0"}
        ),
        "header_value is missing: a header has a name and a value": lambda: ApiClient(None, "x"),
    },
    ApiTypeError: {
        "has no argument 'hots'; did you mean 'host'?": lambda: Configuration(hots="h"),
        "no argument 'tiemout'; did you mean 'timeout'": lambda: Configuration.from_env(tiemout=3),
        "default must be a Configuration, not str": lambda: Configuration.set_default("http://h"),
        "default must be an ApiClient, not Configuration": lambda: ApiClient.set_default(MINE),
        "chunk must be bytes, not str; encode() a str": lambda: acp.SSEParser().feed("x"),
        "prefix must be a str, not dict": lambda: Configuration.from_env({"host": "http://h"}),
        "a Configuration: pass an instance, not the class": lambda: ApiClient(Configuration),
        "must be an ApiClient: pass an instance, not the class": lambda: RunsApi(ApiClient),
        "api_client must be an ApiClient, not another_sdk.ApiClient": lambda: RunsApi(ANOTHER),
        "tracer_provider must be a TracerProvider, not str": lambda: instrument(offline(), "x"),
    },
}
each(SETTINGS)

# What is assigned to a Configuration
ASSIGNED: Rows = {
    ApiValueError: {
        "host has a port that is not ... 'eighty'": {"host": "http://a:b:eighty"},
        "logger_file cannot be opened: there is no folder /none": {"logger_file": "/none/log"},
    },
    ApiTypeError: {
        "logger_format must be a str, not int": {"logger_format": 5},
        "refresh_api_key_hook must be a function ... ()": {"refresh_api_key_hook": lambda: None},
    },
    AttributeError: {
        "Configuration has no setting 'tiemout'; did you mean 'timeout'?": {"tiemout": 3},
        "Configuration has no setting 'zzz'": {"zzz": 3},
        "has no setting 'port'; use host=\"http://host:8000\"": {"port": 8000},
    },
}
each(ASSIGNED, lambda settings: assign(**settings))

# What is assigned to a client or a handle
UNREAD: Rows = {
    AttributeError: {
        f"{kind} has no setting '{name}'; use with_options(…) of the client": (
            lambda make=make, name=name: setattr(make(), name, 5)
        )
        for kind, make in (
            ("ApiClient", lambda: offline()),
            ("AgentHandle", lambda: agent()),
            ("RunHandle", lambda: run()),
        )
        for name in ("timeout", "retries", "headers", "verify_ssl")
    },
}
each(UNREAD)

# A method that is called of the class
KINDS: tuple[type[Any], ...] = (AgentHandle, RunHandle, acp.Conversation)
OF_CLASSES: Rows = {
    ApiTypeError: {
        f"{kind.__name__}.{name}() is called of a handle, and not of the class": partial(method, {})
        for kind in KINDS
        for name, method in vars(kind).items()
        if name[0] != "_" and isfunction(method)
    },
}
each(OF_CLASSES)

# Bodies
BODIES: Rows = {
    ApiTypeError: {
        "run_create must be a dict or RunCreate: pass an instance, not the class": RunCreate,
        "run_create must have str keys, got int 1": {1: 2},
    },
}
each(BODIES, send)

# Fields of a create
FIELDS: Rows = {
    ApiValueError: {
        "input['x']: Decimal is not JSON; pass a float or a str": {"input": {"x": Decimal("1.10")}},
        "input['x'][1]: -inf is not a JSON number": {"input": {"x": [1, float("-inf")]}},
        "run_create.inputs: unknown field 'inputs' of ... did you mean 'input'": {"inputs": {}},
        "run_create.input: keys must be str, got NoneType None; has a": {"input": {None: ["2"]}},
        "run_create.input: Input should be a dict, not str: is it JSON text?": {"input": "{}"},
        "run_create.agent_id: Input should be a valid string ... … (RunCreate)": {
            **dict.fromkeys(("agent_id", "thread_id", "webhook", "input", "config"), 5)
        },
        r"metadata['x']: the key '\ud800' is not valid Unicode": {"metadata": {"x": {"\ud800": 1}}},
    },
}
each(FIELDS, lambda fields: send({"agent_id": "a", **fields}))

# Inputs of a create
INPUTS: Rows = {
    ApiValueError: {
        "input['x'][0]: bytes is not JSON; decode it to a str": {"x": [b"x"]},
        "input['x']: set is not JSON; pass a list": {"x": {1, 2}},
        "['x'][0]: mappingproxy is not JSON; pass a dict, a list": {"x": [MappingProxyType({})]},
        "input['x']: nan is not a JSON number; pass None": {"x": float("nan"), "y": "NaN"},
        "input['x']: keys must be str, got int 1": {"x": {1: 2}},
        "input['y'].input['x']: bytes is not": {"y": RunCreate(agent_id="b", input={"x": b"x"})},
        "input['x'][0]: object is not JSON; pass a dict, a list": {"x": [object()]},
        "input['x']: numpy.bool is not JSON; pass its .item(), or": {"x": of_numpy("bool")},
        "numpy.ndarray is not JSON; pass its .item(), or .tolist() of": {"x": of_numpy("ndarray")},
        "input['a'][0]: pandas.Missing is not JSON; pass None": {
            "a": [Missing(2026, 1, 2)],
            "b": object(),
        },
        "input['x'][0]: object is not JSON": {"x": [Choice.OBJECT]},
        r"input: the key '\ud800' is not valid Unicode": {"\ud800": 1},
        r"input['x']: '\ud800' is not valid Unicode": {"x": "\ud800"},
    },
}
each(INPUTS, lambda value: send(RunCreate(agent_id="a", input=value)))

# Models
MODELS: Rows = {
    ValidationError: {
        "unknown field 'inputs' of RunCreate; did you mean 'input'?": lambda: RunCreate(inputs={}),
        "'zzz' of RunCreate [type=extra_forbidden, input_value={}": lambda: RunCreate(zzz={}),
    },
    TypeError: {"takes its fields by name: RunCreate(**fields) of a dict": lambda: RunCreate("a")},
}
each(MODELS)

# Variables of the environment
VARIABLES: Rows = {
    ApiValueError: {
        "ACP_TOKEN cannot be used: access_token must be the token": {"ACP_TOKEN": "bearer abc"},
        "ACP_HOST ... host has a port that is not a number": {"ACP_HOST": "http://acp.example:x"},
        "ACP_API_KEY_HEADER cannot be used without ACP_API_KEY": {"ACP_API_KEY_HEADER": "x-key"},
        "ACP_HOST ... it stands in quotation marks; remove them": {"ACP_HOST": '"http://h"'},
        "ACP_API_KEY ... 'x-api-key'] must be the key alone": {"ACP_API_KEY": "x-api-key:5ecret"},
        "ACP_API_KEY_HEADER cannot be used: it is not the name of a header": {
            "ACP_API_KEY_HEADER": "5ecret=",
            "ACP_API_KEY": "x-api-key",
        },
    },
}
each(VARIABLES, from_environment)

# Agents and runs, and a name where an id belongs
CREATE: Any = RunCreate(agent_id="a", input={})
QUESTION = acp.PendingInterrupt("approval", {}, "r2", datetime(2026, 1, 2))
ONE: Any = {"on_pending": lambda one: None}
HANDLES: Rows = {
    acp.AgentLookupError: {
        "'echo' has no version '9'; the server has 1.0.0": lambda: find_echo(version="9"),
    },
    acp.NotFoundException: {
        "POST /acp/agents/search returned 404 ... is the base path": lambda: find_echo("/acp"),
        "AgentHandle takes an id: for a name, use AgentHandle.find, or get for either": (
            lambda: of_a_name(lambda echo: echo.run({})),
            lambda: of_a_name(lambda echo: echo.agent),
            lambda: of_a_name(lambda echo: echo.descriptor()),
            lambda: of_a_name(lambda echo: echo.check(input={})),
            lambda: of_a_name(lambda echo: echo.conversation().run({})),
            lambda: of_a_name(lambda echo: list(echo.map([{}]))),
            lambda: of_a_name(lambda echo: RunHandle.find("t", echo.runs.api_client, agent_id="a")),
        ),
    },
    ApiTypeError: {
        "must be a JSON object (dict), not str; is it JSON text? Then": lambda: agent().run("{}"),
        "own object, not a BatchItem: pass item.result()": lambda: agent().run(
            acp.BatchItem(0, "0", "", {}, {})
        ),
        "own object, not a Run: pass run.creation.input": lambda: agent().run(Run.from_dict(RUN)),
        "on_interrupt must be a function ... not async: this client is": lambda: run().drive(later),
        "on_interrupt must be a function that takes ... not dict": lambda: run().drive({}),
        "name must be a str, not NoneType": lambda: AgentHandle.find(None, api_client=offline()),
        "must be a dict or AgentSearchRequest, not str": lambda: iter_agents(
            AgentsApi(offline()), "echo"
        ),
        "agents_api must be an AgentsApi, not str; AgentsApi": lambda: iter_agents("echo"),
        "runs_api must be a RunsApi, not AgentsApi": lambda: iter_runs(AgentsApi(offline())),
        "threads_api must be a ThreadsApi, not RunsApi": lambda: iter_threads(RunsApi(offline())),
        "must be a RunsApi, not ApiClient": lambda: wait_for_run_output(offline(), "r1"),
        "stop must be a threading.Event or None, not bool": (
            lambda: wait_for_run_output(RunsApi(offline()), "r1", stop=True),
            lambda: run().result(stop=True),
            lambda: run().resume({}, stop=True),
        ),
        "input must be a JSON object (dict): pass an instance, not the": lambda: agent().run(
            RunCreate
        ),
        "run_id must be a str, not RunHandle: pass its run_id": lambda: RunHandle(run()),
        "own object, not a RunCreate: pass create.input": lambda: agent().start(CREATE),
        "config must be the agent's own object, not a RunCreate: pass create.config": lambda: (
            agent().start({}, config=CREATE)
        ),
        "run must be a Run, not RunHandle; for an id, use": lambda: RunHandle.of(run()),
        "thread_id must be a str, not int": lambda: agent().conversation(5),
        "agent_id must be a str, not int": lambda: RunHandle.find("token", offline(), agent_id=5),
        "id_or_name must be a str, not int": lambda: AgentHandle.get(5, offline()),
        "thread_id belongs in conv": lambda: agent().conversation().run({}, thread_id="t"),
        "version must be a str, not int": lambda: AgentHandle.find("echo", offline(), version=9),
        "on_interrupt must be a function ... yours takes ()": lambda: run().drive(lambda: None),
        "on_interrupt must be a function that takes the question ... not bool": (
            lambda: agent().conversation().run({}, on_interrupt=True),
            lambda: agent().map([{}], on_interrupt=True),
        ),
        "on_pending must be a function that takes the seconds ... (one)": lambda: output(**ONE),
        "on_pending must be a function that takes the seconds elapsed ... not bool": (
            lambda: run().output(on_pending=True),
            lambda: wait_for_run_output(RunsApi(offline()), "r", on_pending=True),
        ),
        "on_event must be a function that takes the event ... (first": lambda: drive(on_event=two),
        "max_interrupts must be an int, not str": lambda: drive(max_interrupts="5"),
        "through_interrupts must be ... not str": lambda: run().events(through_interrupts="no"),
        "a threading.Event or None, not asyncio.locks": lambda: output(stop=asyncio.Event()),
        "stop must be ... : pass an instance, not the": lambda: output(stop=threading.Event),
        "to must be a PendingInterrupt or None, not dict": lambda: run().resume({}, to={}),
        "start() got ... 'confg'; did you mean 'config'": lambda: agent().start({}, confg={}),
        "'message'; the fields of an input go into one dict": lambda: agent().run(message="Hi"),
        "run() got an unexpected keyword argument 'ordered'": lambda: agent().run({}, ordered=True),
        'of dicts: pass frame.to_dict("records")': lambda: agent().map(frame("to_dict")),
        "an iterable of dicts: pass frame.to_dicts()": lambda: agent().map(frame("to_dicts")),
        "must be an iterable of dicts, not dict; pass [input] for one": lambda: agent().map({}),
        "AgentHandle.map() got ... 'concurency'; did you mean 'con": lambda: map_with(concurency=2),
        "agent must be an AgentHandle, not str; AgentHandle.get(agent, client) is one": (
            lambda: Batch("echo", []),
            lambda: iter_runs(offline(), agent="echo"),
        ),
    },
    ApiValueError: {
        "run_id is a token, not an id: use RunHandle.from_token": lambda: RunHandle(run().token()),
        "to is a question of run r2, not of run r": lambda: run().resume({}, to=QUESTION),
        "a question that was pickled or made by hand has no connection to its run": lambda: (
            QUESTION.answer({})
        ),
        "client_token is the token of a run: use RunHandle.from_token": lambda: RunHandle.find(
            run().token(), offline()
        ),
        "after is a token, not the id": lambda: run().events(after=run().token()),
        "the search.status: Input should be 'pending', 'error'": lambda: iter_runs(
            offline(), status="failed"
        ),
        "request.statuss: unknown field 'statuss' ... did you mean 'status'?": lambda: iter_runs(
            RunsApi(offline()), {"statuss": "pending"}
        ),
        "input['x']: bytes is not JSON": lambda: agent().run({"x": b"1"}),
        "name must not be empty": lambda: AgentHandle.find("", offline()),
        "streaming: Input should be 'result' or 'custom'": lambda: map_with(streaming="both"),
    },
    acp.TokenError: {
        "a token must be a str, not method: call run.token()": lambda: RunHandle.from_token(
            run().token
        ),
        "is of a run at http://localhost:1 ... pass an ApiClient of the token": lambda: calling(
            lambda other: RunHandle.from_token(RunHandle("r", other).token(), offline()),
            host="http://localhost:1",
        ),
        "not the token of a run: it must begin with acprun1.": lambda: RunHandle.from_token("b7d8"),
        "cannot be used: its run must not be 7": lambda: RunHandle.from_token(NO_RUN_ID),
    },
    acp.ApiException: {
        "; without searches, use AgentHandle(agent_id)": (
            lambda: served(find, response(b'"no"', 501, "No")),
            lambda: served(find, response(b'"no"', 405, "No")),
        )
    },
}
each(HANDLES)

# Options of a start
STARTS: Rows = {
    ApiTypeError: {
        "webhook must be a str, not int": {"webhook": 5},
        'streaming must be a str, "result" or "custom", not bool': {"streaming": True},
    },
    ApiValueError: {
        "webhook must not be empty": {"webhook": ""},
        "timeout must be above 0 seconds: a start sends a request": {"timeout": 0},
    },
}
each(STARTS, lambda options: agent().start({}, **options))

# Options of a run
RUNS: Rows = {
    ApiTypeError: {
        "takes the question and gives the answer, not dict": {"on_interrupt": {"approved": True}},
        "thread_id must be a str, not int": {"thread_id": 5},
        "cancel_on_exit must be True or False, not str": {"cancel_on_exit": "no"},
    },
    ApiValueError: {"thread_id must not be empty": {"thread_id": ""}},
}
each(RUNS, lambda options: agent().run({}, **options))

# Options of a batch
BATCHES: Rows = {
    ApiTypeError: {
        "total must be an int, not str": {"total": "10"},
        "ordered must be True or False, not str": {"ordered": "no"},
        "check must be True or False, not str": {"check": "no"},
        "retry_failed must be True or False, not str": {"retry_failed": "no"},
        "durable must be True or False, not str": {"durable": "no"},
        "journal must be the path of a file, not bool": {"journal": True},
        "journal must be the path of a file, not BytesIO": {"journal": io.BytesIO()},
        "connect must be a function without arguments ... yours takes (first, second": {
            "executor": ThreadPoolExecutor(1),
            "connect": two,
        },
        "on_interrupt must be a function of a module, no lambda: it goes to other": {
            "executor": ProcessPoolExecutor(1),
            "on_interrupt": lambda question: None,
        },
        "ProcessPoolExecutor(), not str": {"executor": "processes"},
        "ProcessPoolExecutor(): pass an instance, not": {"executor": ThreadPoolExecutor},
        "Executor(), not ThreadPool": {"executor": type("ThreadPool", (), {})()},
        "a function that takes the counts, and yours takes (first": {"progress": two},
        "takes an input and gives its name, and yours takes (first": {"key": two},
    },
    ApiValueError: {
        "total must be at least 0, not -1": {"total": -1},
        "durable is for the lines of a journal: pass journal=": {"durable": True},
        "the timeout must be above 0 seconds: a run takes some": {"timeout": 0},
        "journal must not be empty": {"journal": ""},
    },
}
each(BATCHES, lambda options: map_with(**options))


DOCS = Path(__file__).parents[2] / "docs"


def messages_of(text: str) -> list[str]:
    """What the first columns of the tables of a page show as words of a message."""
    shown = [row.split(" | ")[0] for row in text.splitlines() if row.startswith("| `")]
    return [symptom for first in shown for symptom in re.findall(r"`([^`]{8,})`", first)]


SYMPTOMS = messages_of((DOCS / "reference" / "messages.md").read_text("utf-8"))
PATTERNS = [".*".join(map(re.escape, symptom.split("…"))) for symptom in SYMPTOMS]


@pytest.mark.slow
@pytest.mark.parametrize("make, kind, phrases", MISTAKES)
def test_a_message_says_what_to_do(
    make: Mistake, kind: type[BaseException], phrases: Sequence[str]
) -> None:
    with pytest.raises(kind) as raised:
        make()
    message = str(raised.value)
    assert kind is ValidationError or "\n" not in message
    if kind is not ValidationError:  # pydantic's own, which has a line for each fault
        assert len(message) <= 240, message
    assert "5ecret" not in message and message[0] != "."
    if "run_create" not in "".join(phrases):  # which only callers of `create_run` have written
        assert "run_create" not in message
    for phrase in phrases:
        assert message.count(phrase) == 1, message
    assert any(re.search(pattern, message) for pattern in PATTERNS), "not on the page of messages"


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
                case (
                    ast.keyword(arg="what", value=value)
                    | ast.Call(func=ast.Attribute(attr="wait_timeout"), args=[_, value])
                ):
                    values = [value]
                case _:
                    values = []
            values = [each for each in values if isinstance(each, ast.Constant | ast.JoinedStr)]
            found |= {re.sub(r"\{[^{}]*\}", "…", ast.unparse(value)[1:]) for value in values}
    return {
        text.strip("f'\"") for text in found if len(re.findall("[a-z]{2,} [a-z]{2,}", text)) > 1
    }


def test_each_error_and_each_message_of_runs_is_on_the_page_of_messages() -> None:
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
    assert [text for text in texts if not any(re.search(each, text) for each in PATTERNS)] == []


def test_the_most_frequent_messages_are_on_the_page_of_messages() -> None:
    guide = (DOCS / "guides" / "troubleshooting.md").read_text("utf-8")
    section = guide.partition("\n## The ten most frequent\n")[2].partition("\n## ")[0]
    frequent = messages_of(section)
    assert len(frequent) == 10
    assert [each for each in frequent if not any(each in symptom for symptom in SYMPTOMS)] == []


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
def test_a_cause_of_any_length_leaves_room_for_the_rest(error: Exception, phrase: str) -> None:
    assert len(str(error)) <= 240 and phrase in str(error), str(error)


def test_a_uuid_and_an_enum_of_texts_are_taken_where_a_handle_wants_an_id() -> None:
    for given in (UUID(ID), Enum("Own", {"A": ID}, type=str)["A"]):
        agent, run = AgentHandle(given, offline()), RunHandle(given, offline())
        assert str(agent.agent_id) == str(run.run_id) == ID
