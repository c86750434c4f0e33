"""Connections that cannot be made, that die, and that must not be used again.

The table of all faults, for each kind of operation, is in ``test_client_calls.py``.
"""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from support.socket_server import CLOSE, SocketServer, response
from support.transport import a_call, causes, eventually, free_port, pool_of, rest_client, talking
from urllib3.exceptions import SSLError
from urllib3.util import Retry
from urllib3.util.ssl_match_hostname import CertificateError

from acp_client_v0_1._http import connection as connections
from acp_client_v0_1._http.errors import LOWER_ERRORS, public_error
from acp_client_v0_1._http.urls import parse_target
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTimeoutError,
    ConnectionException,
    NameResolutionException,
    ProtocolException,
    TLSException,
)

QUICK = Retry(2, backoff_factor=0.02)


def test_refused() -> None:
    port = free_port()
    for safe in (True, False):
        with rest_client(retries=QUICK) as client, pytest.raises(ConnectionException) as failure:
            client.request("POST", f"http://127.0.0.1:{port}/", body=b"{}", safe=safe)
        assert not failure.value.ambiguous
        assert not failure.value.sent
        assert isinstance(causes(failure.value)[-1], ConnectionRefusedError)
        words = f"cannot connect to http://127.0.0.1:{port}: {os.strerror(errno.ECONNREFUSED)}"
        assert failure.value.reason == words


def test_a_creating_request_is_retried_where_no_connection_was_made() -> None:
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


@pytest.mark.parametrize("proxy", [None, "http://a..b:3128"])
@pytest.mark.parametrize("seconds", [None, 2])
def test_a_name_that_no_resolver_takes(monkeypatch, proxy, seconds) -> None:
    def refuse(*_: object, **__: object) -> None:
        "".join(["a..b"]).encode("idna")  # what getaddrinfo does first

    if proxy is None:
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with (
        rest_client(proxy=proxy, timeout=None) as client,
        pytest.raises(ApiException, match="not a valid"),
    ):
        client.request("GET", "http://acp.invalid/", _request_timeout=seconds)


def test_a_connection_that_the_server_has_dropped_is_not_used() -> None:
    with talking([response(b'"a"'), CLOSE]) as (client, server):
        for _ in range(20):
            assert client.request("POST", server.url + "/", body=b"{}").status == 200
            assert eventually(lambda: server.still_open == 0)
    assert len(server.requests) == 20


def test_a_creating_request_does_not_use_a_connection_that_was_idle_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: now))
    with talking(response(b'"a"')) as (client, server):
        client.request("GET", server.url + "/", safe=True)
        now += 1.9
        client.request("POST", server.url + "/", body=b"{}")
        now += 20
        client.request("GET", server.url + "/", safe=True)
        assert server.connections == 1
        now += 2.1
        client.request("POST", server.url + "/", body=b"{}")
        assert server.connections == 2


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
        (http.client.BadStatusLine("x"), ProtocolException),
        (socket.gaierror(-2, "unknown"), NameResolutionException),
        (OSError(24, "Too many open files"), ConnectionException),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_lower_layers_raise_has_one_kind_each(error: Exception, kind: type) -> None:
    assert isinstance(error, LOWER_ERRORS)
    for sent in (False, True):
        assert type(public_error(error, a_call(9), sent=sent)) is kind


@pytest.mark.parametrize(
    ("how", "url", "hint"),
    [
        ({"connected": True}, "http://h/", True),
        ({}, "http://h/", False),  # it has served calls before
        ({"connected": True, "reading": True}, "http://h/", False),  # it has sent a head
        ({"connected": True}, "https://h/", False),
    ],
)
def test_tls_is_thought_of_where_a_first_request_gets_no_response(
    how: dict[str, bool], url: str, hint: bool
) -> None:
    reset, call = ConnectionResetError(104, "reset"), a_call(9, target=parse_target(url))
    assert ("if the server expects TLS" in str(public_error(reset, call, sent=True, **how))) is hint


def test_a_connection_is_audited_as_pythons_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "audit", lambda *event: seen.append(event))
    with talking(response(b'"a"')) as (client, server):
        client.request("GET", server.url)
        (connection,) = pool_of(client).idle
    assert seen == [("http.client.connect", connection, "127.0.0.1", server.port)]
