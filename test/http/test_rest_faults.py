"""Connections that cannot be made, die or must not be used again; and redirects.

The table of all faults, for each kind of operation, is in ``test_client_calls.py``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import http.client
import logging
import os
import socket
import ssl
import struct
import sys
import threading
import time
from typing import Any

import pytest
import trustme
from support.parts import (
    LOWER_ERRORS,
    Interruptible,
    NothingYet,
    parse_target,
    public_error,
    redirected,
)
from support.socket_server import CLOSE, STALL, SocketServer, head, redirect, response
from support.transport import (
    Stopwatch,
    a_call,
    causes,
    eventually,
    free_port,
    pool_of,
    rest_client,
    talking,
)
from urllib3.exceptions import SSLError
from urllib3.util import Retry
from urllib3.util.ssl_match_hostname import CertificateError

from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTimeoutError,
    ApiValueError,
    ConnectionException,
    NameResolutionException,
    ProtocolException,
    TLSException,
)

QUICK = Retry(2, backoff_factor=0.02)


def test_refused():
    port = free_port()
    for safe in (True, False):
        with rest_client(retries=QUICK) as client, pytest.raises(ConnectionException) as failure:
            client.request("POST", f"http://127.0.0.1:{port}/", body=b"{}", safe=safe)
        assert not failure.value.ambiguous
        assert not failure.value.sent
        assert isinstance(causes(failure.value)[-1], ConnectionRefusedError)
        words = f"cannot connect to http://127.0.0.1:{port}: {os.strerror(errno.ECONNREFUSED)}"
        assert failure.value.reason == words


def test_a_creating_request_is_retried_where_no_connection_was_made():
    port = free_port()
    with rest_client(retries=8) as client:
        started = []

        def start() -> None:
            started.append(SocketServer(response(b'"made"'), port=port).__enter__())

        timer = threading.Timer(0.3, start)
        timer.start()
        received = client.request("POST", f"http://127.0.0.1:{port}/", body=b"{}")
        timer.join()
        assert received.data == b'"made"'
        assert len(started[0].requests) == 1
        started[0].__exit__()


@pytest.mark.slow
def test_a_creating_request_does_not_use_a_connection_that_was_idle_for_two_seconds():
    with (
        talking(response(b'"a"')) as (reader, read),
        talking(response(b'"a"')) as (writer, written),
    ):
        for client, server in ((reader, read), (writer, written)):
            # At once, the connection is used for any request.
            for method in ("GET", "POST"):
                client.request(method, server.url, safe=method == "GET")
        time.sleep(2.1)
        reader.request("GET", read.url, safe=True)
        writer.request("POST", written.url, body=b"{}")
        assert (read.connections, written.connections) == (1, 2)


def early_eof() -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL: UNEXPECTED_EOF_WHILE_READING] unexpected eof while reading")
    error.reason = "UNEXPECTED_EOF_WHILE_READING"
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ssl.SSLEOFError(8, "EOF"), ConnectionException),
        (early_eof(), ConnectionException),
        (ssl.SSLZeroReturnError(6, "closed"), ConnectionException),
        (ssl.SSLSyscallError(5, "reset"), ConnectionException),
        (ssl.SSLError(1, "[SSL] bad signature"), TLSException),
        (SSLError(ssl.SSLError(1, "[SSL] bad signature")), TLSException),
        (SSLError(early_eof()), ConnectionException),
        (CertificateError("hostname 'a' doesn't match 'b'"), TLSException),
        (TimeoutError("out of time"), ApiTimeoutError),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), ConnectionException),
        (http.client.BadStatusLine("x"), ProtocolException),
        (socket.gaierror(-2, "unknown"), NameResolutionException),
        (OSError(24, "Too many open files"), ConnectionException),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_lower_layers_raise_has_one_kind_each(error, kind):
    assert isinstance(error, LOWER_ERRORS)
    for sent in (False, True):
        assert type(public_error(error, a_call(9), sent=sent)) is kind


def forget(connection):
    """Drop each packet that comes from now on, as a NAT does that has forgotten a connection."""
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: ret #0
    program = struct.pack("HP", 1, ctypes.addressof(nothing))
    connection.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


SO_ATTACH_FILTER = 26


def read_at_once(client, url):
    client.request("GET", url, _request_timeout=(5, 8))


def read_as_a_stream(client, url):
    received = client.request("GET", url, stream=True, _request_timeout=(5, 8))
    assert received.read_available() == b"one"
    while True:
        with contextlib.suppress(NothingYet):
            assert received.read_available(wait=0.2)


def read_in_a_batch(client, url):
    with Interruptible(lambda: 0.2, 0.2):
        read_at_once(client, url)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no filter of the packets of a socket")
@pytest.mark.parametrize("read", [read_at_once, read_as_a_stream, read_in_a_batch])
@pytest.mark.parametrize("https", [False, True])
def test_a_connection_that_a_nat_forgot_broke_and_is_no_clean_end(https, read, tmp_path):
    """Only EOF says where this body ends. After the failure, the system would return that."""
    # During the pause, the client acknowledges what came.
    script = [head(connection="close") + b"one", 0.3, forget, STALL]
    names = {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 1}
    quick = [(socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in names.items()]
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if https else None
    if context:
        authority.issue_cert("127.0.0.1").configure_cert(context)
    settings = {"socket_options": quick, "ssl_ca_cert": str(tmp_path / "ca.pem")}
    # With TLS, some versions of Python know no more than that there was no close_notify.
    words = "timed out|close_notify" if https else "timed out"
    with SocketServer(script, ssl_context=context) as server, rest_client(**settings) as client:
        with pytest.raises(ConnectionException, match=words) as failure, Stopwatch() as read_for:
            read(client, server.url)
        server.stop()
    assert read_for.seconds < 7 and failure.value.status == 200


@pytest.mark.parametrize(
    ("how", "url", "hint"),
    [
        ({"connected": True}, "http://h/", True),
        ({}, "http://h/", False),  # it has served calls before
        ({"connected": True, "reading": True}, "http://h/", False),  # it has sent a head
        ({"connected": True}, "https://h/", False),
    ],
)
def test_tls_is_thought_of_where_a_first_request_gets_no_response(how, url, hint):
    reset, call = ConnectionResetError(104, "reset"), a_call(9, target=parse_target(url))
    assert ("if the server expects TLS" in str(public_error(reset, call, sent=True, **how))) is hint


def test_tls_is_not_thought_of_where_http_was_spoken_before():
    with talking(response(b'"a"', connection="close"), [CLOSE]) as (client, server):
        client.request("GET", server.url)
        with pytest.raises(ConnectionException) as failure:
            client.request("POST", server.url, body=b"")
        assert "TLS" not in str(failure.value) and server.connections == 2
    # A head that came is HTTP, too, whatever is wrong with it.
    for fault in (head(transfer_encoding="x"), b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"):
        with talking(fault) as (client, server), pytest.raises(ProtocolException) as refused:
            client.request("GET", server.url)
        assert "TLS" not in str(refused.value)


@pytest.mark.parametrize(
    "label", ["faß", "βόλος", "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc", "क्\u200dष"]
)
def test_a_name_that_idna_2003_would_change_is_that_of_idna_2008_or_refused(monkeypatch, label):
    pytest.importorskip("idna")
    host = parse_target(f"http://{label}.example/").origin.host
    assert host == f"xn--{label.encode('punycode').decode()}.example"
    # Python's codec keeps the lower case of Cherokee, and domains have the upper case.
    assert parse_target("http://\u13a0\u13a1.example").origin.host == "xn--58dc.example"
    monkeypatch.setitem(sys.modules, "idna", None)
    for setting in ("host", "proxy"):
        with pytest.raises(ApiValueError, match=f"{setting} has .* write it as xn--"):
            Configuration(**{setting: f"http://{label}.example:8000"})
    assert parse_target("http://bücher.example").origin.host == "xn--bcher-kva.example"


@pytest.mark.parametrize("zone", ["%25lo", "%lo"])
def test_the_zone_of_an_ipv6_address_is_for_this_machine_only(zone):
    target = parse_target(f"http://[fe80::1{zone}]:8000/runs")
    assert (target.origin.host, target.origin.authority) == ("fe80::1%lo", "[fe80::1]:8000")
    assert parse_target(target.url) == target
    moved = redirected(a_call(target=target), 307, {"/x"})
    assert moved is not None and moved.target.origin == target.origin


def test_a_connection_is_audited_as_pythons_own(monkeypatch):
    seen: list[Any] = []
    monkeypatch.setattr(sys, "audit", lambda *event: seen.append(event))
    with talking(response(b'"a"')) as (client, server):
        client.request("GET", server.url)
        (connection,) = pool_of(client).idle
    assert seen == [("http.client.connect", connection, "127.0.0.1", server.port)]


FINE = response(b'"fine"')
SECRETS = ("Authorization", "Cookie", "x-api-key", "X-Our-Own-Token", "Last-Event-ID")
CREDENTIALS = dict.fromkeys(SECRETS, "planted")
HARMLESS = {"Accept": "application/json", "User-Agent": "test", "Content-Type": "application/json"}


@pytest.mark.parametrize("status", [307, 308])
def test_the_same_origin_keeps_everything(status, caplog):
    caplog.set_level(logging.INFO, "acp_client_v0_1")
    with talking(redirect(status, "/runs/"), FINE) as (client, server):
        received = client.request("POST", server.url + "/runs", CREDENTIALS, b'{"a":1}')
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
    words = f"POST /runs returned {status} Scripted; redirect to /elsewhere not followed"
    assert str(error) == words


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
        *("/a\x1bb", "/a\tb", "/a\r", "/a\r\nlocation: /b", "http://[::1]8000/"),
        *("http://h:x/", "http://127.0.0.1\\.acp.invalid/", "http://[bad", "http://[::1", "//["),
    ],
)
def test_impossible_targets_are_refused(location):
    busy = response(b"", 503, retry_after="0")
    script = [head(307, location=location, content_length="9"), STALL]
    with talking(busy, script, retries=3) as (client, server):
        with pytest.raises(ProtocolException, match="redirect") as failure:
            client.request("GET", server.url, safe=True, stream=True)
        assert "planted" not in repr(failure.value)
        assert (failure.value.status, failure.value.sent) == (307, True)
        assert len(server.requests) == failure.value.attempts == 2
        assert 0 < failure.value.elapsed < 60
        assert eventually(lambda: not server.still_open)


def test_https_is_not_left_for_http_and_nothing_for_a_redirect_without_location():
    call = a_call(target=parse_target("https://host/a"))
    words = "from https to http://host is not followed"
    with pytest.raises(ProtocolException, match=words) as failure:
        redirected(call, 308, {"http://host/a"})
    assert failure.value.status == 308
    assert redirected(call, 307, {"//other/b"}).target == parse_target("https://other/b")
    assert redirected(call, 307, ()) is None


def test_a_location_that_is_not_encoded_is_encoded_byte_by_byte():
    moved = b"HTTP/1.1 307 Moved\r\ncontent-length: 0\r\nlocation: /\xc3\xa9 a?q=\xe9 \r\n\r\n"
    with talking(moved, response(b'"a"')) as (client, server):
        assert client.request("GET", server.url + "/").status == 200
    assert server.requests[1].path == "/%C3%A9%20a?q=%E9"
