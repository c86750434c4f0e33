"""``Configuration(auth=function)``: what it sees, what it may change, and where it is asked."""

from __future__ import annotations

import copy
import hashlib
import hmac
import itertools
import pickle
from typing import Any

import pytest
import requests
from requests.auth import HTTPBasicAuth
from support.examples import RUN
from support.parts import RequestHeaders
from support.socket_server import CLOSE, SocketServer, head, redirect, response
from support.transport import serving

import acp_client_v0_1 as acp
from acp_client_v0_1.transport import OutgoingRequest, Urllib3Transport

FOUND = response(acp.Run.from_dict(RUN).to_json().encode())
BUSY = head(503, retry_after="0", content_length="0")
TRANSPORTS = [lambda: None, Urllib3Transport]


def signing(auth: Any, *responses: Any, transport: Any = None, **settings: Any) -> Any:
    """Give a server of these responses, and an API whose requests are signed by ``auth``."""
    server = SocketServer(*responses)
    configuration = acp.Configuration(host=server.url, auth=auth, **settings)
    return server, acp.RunsApi(acp.ApiClient(configuration, transport=transport))


def by_name(request: OutgoingRequest) -> None:
    request.headers["x-signed"] = request.method


@pytest.mark.parametrize("make_transport", TRANSPORTS)
def test_the_function_sees_the_request_as_it_arrives(make_transport):
    seen: list[tuple[str, str, dict[str, str], bytes | None]] = []

    def auth(request: OutgoingRequest) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen.append((request.method, request.url, headers, request.body))
        request.headers["Signature"] = "s"

    server, runs = signing(auth, FOUND, FOUND, transport=make_transport(), access_token="t")
    with server, runs.api_client as client:
        client.user_agent = "mine"
        runs.create_run({"agent_id": "a", "input": {"x": "é"}}, _headers={"X-Own": "1"})
        runs.get_run("a b/ü")
    for (method, url, headers, body), request in zip(seen, server.requests, strict=True):
        assert (method, url, body or b"") == (
            request.method,
            server.url + request.path,
            request.body,
        )
        assert request.headers == {**headers, "signature": "s"}
        assert headers["host"] == server.url.partition("//")[2]
        assert headers["authorization"] == "Bearer t" and headers["user-agent"] == "mine"
    assert seen[0][2]["content-length"] == str(len(server.requests[0].body))
    assert "content-length" not in seen[1][2] and seen[1][3] is None


def test_the_trace_of_an_instrumented_client_is_signed():
    telemetry = pytest.importorskip("opentelemetry.sdk.trace")
    seen = []
    server, runs = signing(lambda request: seen.append(dict(request.headers)), FOUND)
    with server, runs.api_client as client:
        acp.instrument(client, telemetry.TracerProvider())
        runs.get_run("r1")
    assert seen[0]["traceparent"] == server.requests[0].headers["traceparent"]


def test_names_ignore_case_and_a_header_that_is_set_replaces_the_other():
    def auth(request: OutgoingRequest) -> None:
        assert request.headers["x-OWN"] == "1" and "HOST" in request.headers
        request.headers["AUTHORIZATION"] = "Mine"
        request.headers["X-Count"] = 3  # type: ignore[assignment]
        del request.headers["x-own"]

    server, runs = signing(auth, FOUND, access_token="t")
    with server, runs.api_client:
        runs.get_run("r1", _headers={"X-Own": "1"})
    (request,) = server.requests
    assert request.headers["authorization"] == "Mine" and request.headers["x-count"] == "3"
    assert "x-own" not in request.headers and request.raw_head.lower().count(b"authorization") == 1


def test_each_attempt_is_signed_anew():
    numbers = itertools.count()

    def auth(request: OutgoingRequest) -> None:
        request.headers["X-Nonce"] = str(next(numbers))

    server, runs = signing(auth, BUSY, [CLOSE], redirect(307, "/elsewhere"), FOUND)
    with server, runs.api_client:
        runs.get_run("r1")
    assert [request.headers["x-nonce"] for request in server.requests] == list("0123")


def test_no_other_origin_gets_a_signature():
    with SocketServer(FOUND) as other:
        server, runs = signing(by_name, redirect(307, f"{other.url}/r"))
        with server, runs.api_client as client:
            runs.get_run("r1")
            # As a script does that was written for openapi-generator's client.
            client.call_api("GET", f"{other.url}/x")
    assert [request.headers["x-signed"] for request in server.requests] == ["GET"]
    assert len(other.requests) == 2
    assert not [request for request in other.requests if "x-signed" in request.headers]


def test_a_redirect_that_comes_back_from_another_origin_is_not_signed():
    with SocketServer(FOUND) as other:
        server, runs = signing(by_name, redirect(307, f"{other.url}/a"), FOUND)
        other.responses = [redirect(307, f"{server.url}/b")]
        with server, runs.api_client:
            runs.get_run("r1")
    assert ["x-signed" in request.headers for request in server.requests] == [True, False]


class Broken(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [Broken("no key"), OSError("no file"), TimeoutError("late"), acp.NotFoundException(404, "n"),
     acp.ConnectionException(reason="of the key server"), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_the_function_raises_ends_the_call_as_it_is(error):
    calls = []

    def auth(request: OutgoingRequest) -> None:
        calls.append(request)
        raise error

    before = str(error)
    server, runs = signing(auth, FOUND)
    with server, runs.api_client as client:
        for call in (
            lambda: runs.get_run("r1"),
            lambda: acp.RunHandle("r1", client).result(timeout=5),
            lambda: acp.AgentHandle("a1", client).start({}),
            lambda: list(acp.AgentHandle("a1", client).map([{}])),
        ):
            calls.clear()
            with pytest.raises(type(error)) as caught:
                call()
            assert caught.value is error and len(calls) == 1
    assert not server.requests and str(error).startswith(before)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("X-A", "a\nb", "'X-A' must not contain CR, LF"),
        ("X-A", "\u0100", "'X-A' must be encodable"),
        ("X A", "a", "'X A' is not the name of a header"),
        ("Content-Length", "7", "'Content-Length' cannot be set"),
        ("Transfer-Encoding", "chunked", "'Transfer-Encoding' cannot be set"),
        ("X-A", None, "'X-A' must be a str, not NoneType"),
        ("X-A", b"a", "'X-A' must be a str, not bytes"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_by_its_name(name, value, words):
    server, runs = signing(lambda request: request.headers.update({name: value}), FOUND)
    with server, runs.api_client, pytest.raises((acp.ApiValueError, acp.ApiTypeError), match=words):
        runs.create_run({"agent_id": "a"})
    assert not server.requests


def test_a_content_length_that_stays_the_same_may_be_set_again():
    def auth(request: OutgoingRequest) -> None:
        for name, value in dict(request.headers).items():
            request.headers[name.upper()] = value

    server, runs = signing(auth, FOUND)
    with server, runs.api_client:
        runs.create_run({"agent_id": "a"})
    assert server.requests[0].raw_head.upper().count(b"\r\nCONTENT-LENGTH") == 1
    assert server.requests[0].raw_head.upper().count(b"\r\nHOST") == 1


@pytest.mark.parametrize("value", [("u", "p"), ["u", "p"], "Bearer x", 5, lambda: None])
def test_what_is_no_function_is_refused_with_a_word_on_username_and_password(value):
    with pytest.raises(acp.ApiTypeError, match="auth must be a function that takes the request"):
        acp.Configuration(auth=value)
    with pytest.raises(acp.ApiTypeError, match="set username and password"):
        acp.Configuration(auth=("u", "p"))  # type: ignore[arg-type]


def test_a_coroutine_function_and_a_result_are_refused():
    async def auth(request: OutgoingRequest) -> None: ...

    with pytest.raises(acp.ApiTypeError, match="synchronous"):
        acp.Configuration(auth=auth)
    server, runs = signing(lambda request: {"Authorization": "x"}, FOUND)
    with server, runs.api_client, pytest.raises(acp.ApiTypeError, match=r"it returned dict"):
        runs.get_run("r1")
    assert not server.requests


def test_the_classes_of_requests_for_authentication_work():
    server, runs = signing(HTTPBasicAuth("user", "word"), FOUND)
    with server, runs.api_client:
        runs.get_run("r1")
    expected = requests.Request("GET", "http://x", auth=("user", "word")).prepare()
    assert server.requests[0].headers["authorization"] == expected.headers["Authorization"]


class Key:
    """An object that signs, and can be pickled."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret

    def __call__(self, request: OutgoingRequest) -> None:
        text = f"{request.method} {request.url}".encode() + (request.body or b"")
        request.headers["X-Signature"] = hmac.digest(self.secret, text, hashlib.sha256).hex()


def test_a_pickled_client_signs_and_a_copy_of_the_settings_shares_the_function():
    key = Key(b"k")
    assert copy.deepcopy(acp.Configuration(auth=key)).auth is key
    with serving(FOUND, auth=key) as (server, client):
        acp.RunsApi(client).get_run("r1")
        with pickle.loads(pickle.dumps(client)) as other:
            acp.RunsApi(other).get_run("r1")
    first, second = server.requests
    assert first.headers["x-signature"] == second.headers["x-signature"]


def test_the_repr_of_a_request_shows_no_value():
    headers = RequestHeaders({"Authorization": "secret", "X-Key": "secret"})
    request = OutgoingRequest("GET", "http://h/p?key=secret", headers, b"secret")
    assert "secret" not in repr(request) + str(request)
    assert "X-Key" in repr(request)
