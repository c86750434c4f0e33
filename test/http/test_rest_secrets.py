"""Planted secrets appear in no text, log, report or pickle that this package writes."""

from __future__ import annotations

import logging
import pickle
import traceback
from enum import Enum
from typing import Any
from urllib.parse import quote

import pytest
from support.parts import RequestAuth, parse_proxy
from support.proxies import HttpProxy
from support.socket_server import CLOSE, SocketServer, head, redirect, response
from support.transport import a_call, causes, fetch, free_port, refused, serving, talking
from urllib3.util import Retry

from acp_client_v0_1 import RunsApi
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTypeError,
    ApiValueError,
    ProtocolException,
)
from acp_client_v0_1.rest import RESTClientObject
from acp_client_v0_1.transport import Urllib3Transport

SECRET = "planted-5ecret"
HEADERS = {
    "Authorization": f"Bearer {SECRET}",
    "x-api-key": SECRET,
    "Cookie": f"session={SECRET}",
    "X-Custom": SECRET,
}
# What follows a request through logs is not masked.
SHOWN = {"traceparent": "00-1-2-01", "X-Request-ID": "r-17", "Last-Event-ID": "9"}


def sign(request: Any) -> None:
    request.headers["X-Signature"] = SECRET


def by_door(door: str) -> dict[str, Any]:
    """The settings of a client that uses a door. A signature is for the host alone."""
    if door == "its own connections":
        return {}
    transport = None if door == "a signature" else Urllib3Transport()
    return {"transport": transport, "auth": sign}


every_door = pytest.mark.parametrize(
    "door", ["its own connections", "a signature", "a transport and a signature"]
)


def texts_of(error: BaseException) -> str:
    shown = [str(error), repr(error), "".join(traceback.format_exception(error))]
    return "\n".join([*shown, repr(pickle.dumps(error)), repr(vars(error))])


@every_door
@pytest.mark.parametrize(
    "script",
    [
        [CLOSE],
        [b"garbage\r\n\r\n", CLOSE],
        [head(content_length="9"), CLOSE],
        redirect(307, "ftp://user:planted-5ecret@host/"),
        response(b"this is no gzip", content_encoding="gzip"),
    ],
)
def test_errors_and_logs_show_no_secret(script, caplog, capfd, door):
    with SocketServer(script) as server, caplog.at_level(logging.DEBUG, "acp_client_v0_1"):
        url = f"{server.url}/runs?token={SECRET}"
        settings = {"host": server.url, "debug": True, "retries": 1, **by_door(door)}
        error = refused(ApiException, url, headers=HEADERS, **settings)
    assert all("x-signature" in request.headers for request in server.requests) is bool(
        by_door(door)
    )
    error.url = None  # the caller's own URL is kept whole, with its query
    assert SECRET not in texts_of(error)
    assert "x-api-key" in caplog.text  # it was logged, and masked
    assert SECRET not in caplog.text
    output = capfd.readouterr()
    assert SECRET not in output.out + output.err


@every_door
def test_no_logger_at_all_shows_a_credential(caplog, capfd, door):
    """At level DEBUG of everything, urllib3 and ssl included, whose own levels stay."""
    before = logging.getLogger("urllib3").level
    scripts = ([CLOSE], response(b'"busy"', 503), redirect(307, "/elsewhere"), response(b'"a"'))
    settings = {"debug": True, "retries": Retry(3, backoff_factor=0.01), "access_token": SECRET}
    settings["api_key"] = {"x-api-key": SECRET}
    settings |= by_door(door)
    with talking(*scripts, **settings) as (client, server), caplog.at_level(logging.DEBUG):
        client._configuration.host = server.url
        headers = {**HEADERS, **client._configuration.auth_headers(), **SHOWN}
        assert client.request("GET", server.url, headers=headers, safe=True).status == 200
    assert len(server.requests) == 4
    assert logging.getLogger("urllib3").level == before
    assert "acp_client_v0_1" in {record.name.partition(".")[0] for record in caplog.records}
    output = capfd.readouterr()
    assert SECRET not in caplog.text + output.out + output.err
    assert all(value in caplog.text for value in SHOWN.values())


def test_refused_connections_and_proxies_show_no_secret(caplog):
    closed = f"http://user:{SECRET}@127.0.0.1:{free_port()}"
    with HttpProxy(refuse=response(b"", 407)) as proxy, caplog.at_level(logging.DEBUG):
        for settings in (
            {"proxy": closed, "proxy_headers": {"x-secret": SECRET}},
            {"proxy": closed.replace("http", "socks5h")},
            {"proxy": proxy.url.replace("://", f"://user:{SECRET}@")},
        ):
            url = "https://acp.invalid/"
            error = refused(ApiException, url, headers=HEADERS, debug=True, **settings)
            assert SECRET not in texts_of(error)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", f"http://user:{SECRET}@host"),
        ("host", f"http://user:{SECRET}@ho st"),
        ("host", f"//user:{SECRET}/word@host:80"),
        ("ACP_PROXY", f"http://user:{SECRET}/word@host:80"),
        ("ACP_TOKEN", f"{SECRET}\nX-Injected: 1"),
    ],
)
def test_refused_settings_and_variables_show_no_secret(monkeypatch, name, value):
    settings = {} if name.isupper() else {name: value}
    if name.isupper():
        monkeypatch.setenv(name, value)
    with pytest.raises(ApiValueError, match=name) as failure:
        Configuration.from_env(**settings)
    assert SECRET not in "".join(traceback.format_exception(failure.value))


@pytest.mark.parametrize(
    "holder",
    [
        a_call(headers=HEADERS, body=SECRET.encode(), credential=SECRET),
        RequestAuth.of({"in": "query", "key": "key", "value": SECRET}),
        parse_proxy(f"http://{SECRET}:{SECRET}@proxy", "proxy", {"x-secret": SECRET}),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_a_representation_shows_no_secret(holder):
    assert SECRET not in repr(holder)
    assert SECRET not in str(holder)


def test_refused_requests_show_no_secret():
    for headers in ({"x-api-key": f"{SECRET}\n"}, {"x-api-key": f"{SECRET}\u0100"}):
        error = refused(ApiValueError, "http://127.0.0.1:1/", headers=headers)
        assert SECRET not in str(error)


@every_door
def test_a_signature_that_a_server_echoes_is_hidden_as_any_credential_is(door):
    script = response(f"you have sent {SECRET}".encode(), 401)
    with serving(script, access_token=SECRET, **by_door(door)) as (_, client):
        with pytest.raises(ApiException) as caught:
            RunsApi(client).get_run("r1")
        assert SECRET not in texts_of(caught.value) + repr(client) + repr(client.configuration)
        assert "X-Signature" in str(caught.value) or not by_door(door)


PAGES = ['"Cannot GET /runs?key={}"', "<title>{} is wrong</title>", "{}", '{{"key": {}}}']


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("place", ["query", "header", "bearer"])
@pytest.mark.parametrize("status", [200, 404])
def test_a_credential_that_a_server_echoes_in_its_body_is_hidden(place, page, status):
    given = {"in": "header" if place == "header" else "query", "key": "key", "value": SECRET}
    auth = None if place == "bearer" else {**given, "type": "api_key"}
    script = response(page.format(quote(SECRET, safe="")).encode(), status)
    settings = {"access_token": SECRET} if place == "bearer" else {}
    with serving(script, **settings) as (_, client), pytest.raises(ApiException) as caught:
        RunsApi(client).get_run("r1", _request_auth=auth)
    # pydantic shows what it could not read. With dask imported, a pickle has the context, too.
    caught.value.__cause__ = caught.value.__context__ = None
    assert SECRET not in texts_of(caught.value) and "***" in caught.value.body


def test_a_header_that_is_no_credential_is_quoted_from_a_body():
    page = response(b'"agent workflow not found"', 404)
    received = fetch(page, headers={"X-Team": "workflow"})
    assert received.hidden("agent workflow not found") == "agent workflow not found"


def test_a_configuration_shows_no_secret():
    configuration = Configuration(
        api_key={"x-api-key": SECRET},
        api_key_prefix={"x-api-key": "Token"},
        username="user",
        password=SECRET,
        access_token=SECRET,
        proxy=f"http://user:{SECRET}@host",
    )
    configuration.proxy_headers = {"x-secret": SECRET}
    for text in (repr(configuration), str(configuration), configuration.to_debug_report()):
        assert SECRET not in text
        assert "x-api-key" in text


@pytest.mark.parametrize("status", [200, 302, 404, 503])
@pytest.mark.parametrize("name", ["location", "content-location"])
@pytest.mark.parametrize(
    ("echo", "kept"),
    [
        (f"/x?a=1&key={SECRET}%2b&b=2", "/x?a=1&b=2"),
        (f"/x?next=%2Fy%3Fkey%3D{SECRET}%252B", "/x"),
        (f"//other.example/x?key={SECRET}%2B", "//other.example/x"),
        (f"/x?a=1#key={SECRET}%2B", "/x?a=1"),
        (f"/x?next=key%3D{SECRET}%2B", "/x"),
    ],
)
def test_a_query_credential_that_a_server_echoes_is_in_no_header(status, name, echo, kept, caplog):
    credential = f"key={SECRET}%2B"
    script = head(status, content_length="0", **{name: echo})
    with talking(script) as (client, server), caplog.at_level(logging.DEBUG):
        for stream in (False, True):
            received = client.request("POST", server.url, credential=credential, stream=stream)
            assert received.headers[name] == kept
            assert SECRET not in texts_of(ApiException(http_resp=received))
            received.close()
    assert [request.path for request in server.requests] == [f"/?{credential}"] * 2
    assert SECRET not in caplog.text


def test_hiding_a_query_credential_keeps_the_targets_of_a_redirect_apart():
    script = head(307, content_length="0", location="/a").replace(b"\r\n\r\n", b"\r\nLocation: ")
    with (
        talking(script + b"/b\r\n\r\n", response(b'"a"')) as (client, server),
        pytest.raises(ProtocolException, match="a redirect to several targets"),
    ):
        client.request("GET", server.url, credential=f"key={SECRET}")
    assert len(server.requests) == 1


@pytest.mark.parametrize("secret", [SECRET, f"{SECRET}/+", "8letters", "7letter"])
def test_a_query_credential_is_masked_in_any_other_header(secret):
    """A value of fewer than 8 characters is masked only with its name: it may stand for itself."""
    coded = quote(secret, safe="")
    echo = {"link": f"</x?key={coded}>; rel=next", "refresh": f"0; url=/x?key%3D{quote(coded)}"}
    echo |= {"location": f"/x?other={coded}", "server": secret, "x-other": "other"}
    echo["content-location"] = f"/x?next=%2Fy%3Fkey%3D{quote(coded)}"
    script = head(404, content_length="0", **echo)
    headers = fetch(script, credential=f"key={coded}").headers
    long = secret != "7letter"
    assert {name: headers[name] for name in echo} == {
        **dict.fromkeys(("link", "refresh"), "***"),
        "location": "/x" if long else "/x?other=7letter",
        "content-location": "/x",
        "server": "***" if long else secret,
        "x-other": "other",
    }


OF_THE_TRANSPORT = [
    *("Content-Length", "transfer-encoding", "Connection", "TE", "Trailer", "Upgrade"),
    *("Keep-Alive", "proxy-connection"),
]
# A line end in a name would begin another header, or another request.
NO_NAMES = [
    *("X-A\r\nX-B", "X-A\n", "X-A: 1\r\nX-B", "X-A\r\n\r\nGET / HTTP/1.1\r\n"),
    *("X A", "X-A:", "X-\xe9", 5),
]
NO_JSON = {"a": float("nan")}, [float("-inf")], {"a": object()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *(({"headers": {name: "0"}}, f"'{name}' cannot be set") for name in OF_THE_TRANSPORT),
        *(({"headers": {name: "0"}}, "is not the name of a header") for name in NO_NAMES),
        ({"body": "a\udce9"}, "body must be valid Unicode"),
        ({"body": {"a": "\udce9"}}, "body cannot be sent as JSON: .*surrogates"),
        *(({"body": body}, "body cannot be sent as JSON") for body in NO_JSON),
        ({"post_params": [("a", "b")], "body": None}, "post_params: the protocol has no forms"),
        ({"headers": {"Last-Event-ID": "\ud800"}}, "'Last-Event-ID' must be valid Unicode"),
    ],
)
def test_headers_and_bodies_that_cannot_be_sent_are_refused_by_name(arguments, words):
    with talking(response(b'"a"')) as (client, server):
        with pytest.raises(ApiValueError, match=words):
            client.request("POST", server.url, **{"body": b"x" * 52, **arguments})
        assert not server.connections


# The last one would become "POST" in upper case.
NO_METHODS = [
    "GET /x HTTP/1.1\r\nX-A: 1\r\n\r\nGET",
    "GET\r\n",
    "GET\n",
    "G T",
    "GET:",
    "",
    "\xe9",
    "po\ufb06",
]


@pytest.mark.parametrize("method", NO_METHODS)
def test_a_method_that_is_no_token_is_refused_before_anything_is_sent(method):
    with serving(response(b'"a"')) as (server, client):
        for send in (client.call_api, client.rest_client.request):
            with pytest.raises(ApiValueError, match="method must be a token, such as GET, and not"):
                send(method, server.url)
            with pytest.raises(ApiTypeError, match="method must be a str, not NoneType"):
                send(None, server.url)
        assert not server.connections
        for token in ("get", "M-SEARCH", "!#$%&'*+-.^_`|~0"):
            client.call_api(token, server.url)
    assert [each.method for each in server.requests] == ["GET", "M-SEARCH", "!#$%&'*+-.^_`|~0"]


class Team(str, Enum):
    BLUE = "blue"


class Forged(str):
    def __format__(self, form):
        return "a\r\nX-Forged: 1"

    __str__ = __repr__ = __format__


def test_a_header_is_sent_as_the_text_that_was_checked():
    with talking(response(b'"a"')) as (client, server):
        client.request("GET", server.url, headers={"X-Team": Team.BLUE, Forged("X-A"): Forged("b")})
    headers = server.requests[0].headers
    assert (headers["x-team"], headers["x-a"], "x-forged" in headers) == ("blue", "b", False)


@pytest.mark.parametrize("key", ["k\r\nX-B: 1", "k; other", "k=", ""])
def test_what_is_no_token_as_a_whole_is_no_name_of_a_cookie(key):
    with pytest.raises(ApiValueError, match="is not the name of a cookie"):
        RequestAuth.of({"in": "cookie", "key": key, "value": "v"})


def test_what_a_cookie_and_a_query_keep_of_a_credential():
    headers, auth = {}, {"key": "k/1", "value": "a=b/c:d; é"}
    RequestAuth.of({**auth, "in": "cookie", "key": "k"}).add_cookie(headers)
    assert headers == {"Cookie": "k=a=b/c:d%3B%20%C3%A9"}
    assert RequestAuth.of({**auth, "in": "query"}).query == "k/1=a%3Db/c%3Ad%3B%20%C3%A9"
    assert RequestAuth.of({"in": "query", "key": 5, "value": True}).query == "5=true"


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_number_in_a_header_has_1024_bits(sign):
    with talking(response(b'"a"')) as (client, server):
        client.request("GET", server.url, headers={"X-N": sign * (2**1024 - 1), "X-Last": "\xff"})
        for beyond in (2**1024, 2**2000, 2**100_000):
            with pytest.raises(ApiValueError, match="'X-N' must not be a number of more than 1024"):
                client.request("GET", server.url, headers={"X-N": sign * beyond})
    assert [request.headers["x-n"] for request in server.requests] == [str(sign * (2**1024 - 1))]


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        *(("GET", None, None), ("DELETE", None, None), ("GET", b"ab", "2")),
        *(("POST", None, "0"), ("PATCH", None, "0"), ("POST", b"ab", "2")),
    ],
)
def test_a_request_has_a_length_where_a_server_expects_it_and_each_header_once(
    method, body, length
):
    own = {"HOST": "acp.invalid", "Accept-ENCODING": "gzip", "cache-Control": "max-age=5"}
    with talking(response(b'"a"')) as (client, server):
        for headers in ({}, own):
            client.request(method, server.url, headers, body)
    plain, changed = (request.headers for request in server.requests)
    assert plain.get("content-length") == changed.get("content-length") == length
    assert (plain["host"], plain["accept-encoding"]) == (f"127.0.0.1:{server.port}", "identity")
    assert (changed["host"], changed["accept-encoding"]) == ("acp.invalid", "gzip")
    assert (plain["cache-control"], changed["cache-control"]) == ("no-cache", "max-age=5")
    heads = [request.raw_head.lower() for request in server.requests]
    for name in (b"\r\nhost:", b"\r\naccept-encoding:", b"\r\ncache-control:"):
        assert [head.count(name) for head in heads] == [1, 1]


def test_no_request_is_content_with_a_cached_response_unless_the_caller_is():
    moved, run = redirect(307, "/other"), response(b'"x"', 404)
    with serving(moved, run) as (server, client):
        client.default_headers["CACHE-control"] = "max-stale"
        for operation in (RunsApi(client).get_run, RunsApi(client).delete_run):
            with pytest.raises(ApiException):
                operation("r1")
        del client.default_headers["CACHE-control"]
        with pytest.raises(ApiException):
            RunsApi(client).get_run_stream("r1", _headers={"cache-control": "no-store"})
        with pytest.raises(ApiException):
            RunsApi(client.with_options(headers={"x-a": "b"})).search_runs({})
        client.call_api("GET", server.url)
    sent = ["max-stale"] * 3 + ["no-store"] + ["no-cache"] * 2
    assert [request.headers["cache-control"] for request in server.requests] == sent


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"username": "me", "password": "5ecret\udce9"}, "username and password must be valid"),
        ({"proxy": "http://me:5ecret\udce9@127.0.0.1:1"}, "proxy must be valid Unicode"),
    ],
)
def test_half_of_a_surrogate_pair_in_credentials_is_refused_without_a_copy(settings, words):
    """An error of `str.encode` would hold the password, and a report of errors may show it."""
    with pytest.raises(ApiValueError, match=words) as failure:
        configuration = Configuration(**settings)
        configuration.get_basic_auth_token()
        RESTClientObject(configuration).request("GET", "http://127.0.0.1:1/")
    for error in (failure.value, *causes(failure.value)):
        assert "5ecret" not in repr(vars(error)) + repr(error.args)


@pytest.mark.parametrize("place", ["cookie", "query"])
def test_half_of_a_surrogate_pair_in_request_auth_is_refused(place):
    with pytest.raises(ApiValueError, match="_request_auth must be valid Unicode") as failure:
        auth = RequestAuth.of({"in": place, "key": "k", "value": "5ecret\udce9"})
        auth.add_cookie({}) or auth.query
    assert not causes(failure.value)


@pytest.mark.parametrize("label", [f"{SECRET}{'a' * 64}", f"{SECRET}..b", f"{SECRET}\ud800"])
def test_a_user_name_before_a_slash_is_not_quoted_as_a_host_name(label):
    error = refused(ApiValueError, f"http://{label}/password@127.0.0.1:1", "host name")
    assert SECRET not in "".join(traceback.format_exception(error))
    refused(ApiValueError, f"http://{label}/path", f"host name.*{SECRET}")
