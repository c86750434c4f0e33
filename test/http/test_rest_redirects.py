"""Redirects: what is sent along, what is dropped, and what is not followed."""

from __future__ import annotations

import logging

import pytest
from support.socket_server import STALL, SocketServer, head, response
from support.transport import a_call, eventually, talking

from acp_client_v0_1._http.call import redirected
from acp_client_v0_1._http.urls import parse_target
from acp_client_v0_1.exceptions import ApiException, ProtocolException

FINE = response(b'"fine"')
CREDENTIALS = {
    "Authorization": "Bearer planted",
    "Cookie": "session=planted",
    "x-api-key": "planted",
    "X-Our-Own-Token": "planted",
    "Last-Event-ID": "planted",
}
HARMLESS = {"Accept": "application/json", "User-Agent": "test", "Content-Type": "application/json"}


def redirect(status: int, location: str) -> bytes:
    return head(status, location=location, content_length="0")


@pytest.mark.parametrize("status", [307, 308])
def test_the_same_origin_keeps_everything(status, caplog):
    caplog.set_level(logging.INFO, "acp_client_v0_1")
    with talking(redirect(status, "/runs/"), FINE) as (client, server):
        received = client.request(
            "POST", server.url + "/runs", headers=CREDENTIALS, body=b'{"a":1}'
        )
    assert received.status == 200
    assert received.url == server.url + "/runs/"
    first, second = server.requests
    assert (second.method, second.path, second.body) == ("POST", "/runs/", b'{"a":1}')
    assert second.headers == first.headers
    assert server.connections == 1
    (record,) = caplog.records
    assert record.getMessage() == f"POST /runs: redirected to {server.url}"
    assert (record.levelno, record.status, record.method) == (logging.INFO, status, "POST")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_another_origin_gets_no_credentials_and_they_do_not_come_back(status):
    with (
        SocketServer(FINE) as other,
        talking(redirect(status, other.url + "/there?x=1"), FINE) as (client, server),
    ):
        other.responses = (redirect(307, server.url + "/home"),)
        received = client.request("GET", server.url, headers={**CREDENTIALS, **HARMLESS})
    assert (received.status, received.url) == (200, server.url + "/home")
    first, back = server.requests
    (away,) = other.requests
    assert [b"planted" in each.raw_head for each in (first, away, back)] == [True, False, False]
    assert {name: away.headers[name.lower()] for name in HARMLESS} == HARMLESS
    assert (away.path, away.headers["host"]) == ("/there?x=1", f"127.0.0.1:{other.port}")


def test_a_response_that_redirects_is_closed_and_its_body_not_waited_for():
    closed = []

    def look(_):
        closed.append(eventually(lambda: server.still_open == 1))

    script = [head(307, location="/there", content_length="9"), STALL]
    with talking(script, [look, FINE]) as (client, server):
        received = client.request("GET", server.url, stream=True, _request_timeout=20)
        assert (received.read(), closed) == (b'"fine"', [True])


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_is_never_turned_into_a_get(status):
    with talking(redirect(status, "/elsewhere"), FINE) as (client, server):
        received = client.request("POST", server.url + "/runs", body=b"{}")
    assert received.status == status
    assert len(server.requests) == 1
    error = ApiException.from_response(http_resp=received, body="", data=None)
    assert (
        str(error) == f"POST /runs returned {status} Scripted; redirect to /elsewhere not followed"
    )


def test_the_number_of_redirects_is_bounded():
    with (
        talking(redirect(307, "/again"), retries=3) as (client, server),
        pytest.raises(ProtocolException, match="more than 10 redirects") as failure,
    ):
        client.request("GET", server.url, safe=True)
    assert len(server.requests) == 11
    error = failure.value
    assert (error.status, error.method, error.sent) == (307, "GET", True)
    assert error.url == server.url + "/again"


@pytest.mark.parametrize(
    "location",
    [
        *("ftp://127.0.0.1/", "http://user:planted@127.0.0.1/", "http://a b/", "/a\\b"),
        *("http://h:x/", "http://127.0.0.1\\.acp.invalid/", "http://[bad", "http://[::1", "//["),
    ],
)
def test_impossible_targets_are_refused(location):
    script = [head(307, location=location, content_length="9"), STALL]
    with talking(script, retries=3) as (client, server):
        with pytest.raises(ProtocolException, match="redirect") as failure:
            client.request("GET", server.url, safe=True, stream=True)
        assert "planted" not in repr(failure.value)
        assert (failure.value.status, failure.value.sent) == (307, True)
        assert len(server.requests) == 1
        assert eventually(lambda: not server.still_open)


def test_https_is_not_left_for_http():
    call = a_call(target=parse_target("https://host/a"))
    words = "from https to http://host is not followed"
    with pytest.raises(ProtocolException, match=words) as failure:
        redirected(call, 308, "http://host/a", 0)
    assert failure.value.status == 308
    assert redirected(call, 307, "//other/b", 0).target == parse_target("https://other/b")


def test_a_redirect_without_location_is_a_response():
    with talking(head(307, content_length="0")) as (client, server):
        assert client.request("GET", server.url).status == 307


def test_a_location_that_is_not_encoded_is_encoded_byte_by_byte():
    moved = b"HTTP/1.1 307 Moved\r\ncontent-length: 0\r\nlocation: /\xc3\xa9?q=\xe9\r\n\r\n"
    with talking(moved, response(b'"a"')) as (client, server):
        assert client.request("GET", server.url + "/").status == 200
    assert server.requests[1].path == "/%C3%A9?q=%E9"
