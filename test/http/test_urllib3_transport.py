"""`Urllib3Transport`: on urllib3's own pools, made by the client's settings, or on the user's.

What it does not keep of the client's promises is in the guide of doors. That other tools see it,
`make recipes` shows.
"""

from __future__ import annotations

import json
import logging
import pickle
import socket
import ssl
import threading
import traceback
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import urllib3
from support.certificates import Certificates
from support.examples import RUN, UPDATE
from support.forks import printed_by
from support.proxies import HttpProxy, SocksProxy
from support.socket_server import CLOSE, STALL, Gate, SocketServer, chunk, head, redirect, response
from support.transport import Stopwatch, causes, eventually, free_port, in_child

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import ECHO_AGENT_ID, Fault, LocalServer
from acp_client_v0_1.transport import Urllib3Transport

FOUND = response(json.dumps(RUN).encode())
EVENT = b"id: %d\nevent: agent_event\ndata: " + json.dumps(UPDATE).encode() + b"\n\n"
SECRET = "planted-5ecret"


@contextmanager
def serving(
    *responses: Any, transport: Any = None, tls: Any = None, **settings: Any
) -> Iterator[tuple[SocketServer, acp.RunsApi]]:
    """Make a server of these responses, and an API whose client has a `Urllib3Transport`."""
    transport = Urllib3Transport() if transport is None else transport
    with SocketServer(*responses, ssl_context=tls) as server:
        configuration = acp.Configuration(host=server.url, **settings)
        with acp.ApiClient(configuration, transport=transport) as client:
            yield server, acp.RunsApi(client)


def test_runs_events_batches_and_conversations_work():
    with (
        LocalServer() as server,
        acp.ApiClient(acp.Configuration(host=server.url), transport=Urllib3Transport()) as client,
    ):
        server.fail_next(503, retry_after=0, path="/runs/*/output")
        server.faults.add(Fault(path="/runs/*/stream", cut="close", after_events=1))
        counter = acp.AgentHandle.find("counter", client)
        run = counter.start({"count": 3, "interval": 0.01}, streaming="custom")
        assert [e.update["count"] for e in run.events(timeout=30) if e.update] == [1, 2, 3]
        approval = acp.AgentHandle.find("approval", client)
        answered = approval.start({}).drive(lambda question: {"approved": True}, timeout=30)
        assert answered["approved"] is True
        echo = acp.AgentHandle(ECHO_AGENT_ID, client)
        items = echo.map([{"n": n} for n in range(60)], concurrency=16)
        assert sorted(item.result()["n"] for item in items) == list(range(60))
        assert len(server.runs) == 62
    assert eventually(lambda: server.connections_open == 0)


def test_a_connection_serves_call_after_call_whatever_the_framing_is():
    chunked = [head(transfer_encoding="chunked"), chunk(json.dumps(RUN).encode()), chunk(b"")]
    events = EVENT % 1
    stream = [head(content_type="text/event-stream", transfer_encoding="chunked")]
    stream += [chunk(events), chunk(b"")]
    script = (FOUND, head(204), chunked, stream, head(404, content_length="0"), FOUND)
    with serving(*script) as (server, runs):
        runs.get_run("r1")
        assert runs.get_run_output("r1") is None
        runs.get_run("r1")
        assert len(list(runs.get_run_stream("r1"))) == 1
        with pytest.raises(acp.NotFoundException):
            runs.get_run("r1")
        runs.get_run("r1")
    assert (len(server.requests), server.connections) == (6, 1)


def test_events_arrive_when_their_bytes_do():
    first, second = EVENT % 1, EVENT % 2
    sse = {"content_type": "text/event-stream"}
    for framing in ("chunked", "length", "close"):
        gate = Gate()
        script: list[Any] = [head(**sse), first, gate, second, CLOSE]
        if framing == "chunked":
            begin = head(**sse, transfer_encoding="chunked")
            script = [begin, chunk(first), gate, chunk(second), chunk(b"")]
        elif framing == "length":
            length = str(len(first + second))
            script = [head(**sse, content_length=length), first, gate, second]
        with serving(script) as (_, runs):
            stream = runs.get_run_stream("r1").raw_events()
            assert next(stream).id == "1"
            gate.open()
            assert [event.id for event in stream] == ["2"], framing


def test_a_truncated_body_is_an_error():
    begin = head(content_type="text/event-stream", transfer_encoding="chunked")
    with serving([begin, chunk(EVENT % 5), CLOSE]) as (_, runs):
        stream = runs.get_run_stream("r1")
        next(stream)
        with pytest.raises(acp.StreamInterrupted) as caught:
            next(stream)
        assert caught.value.last_event_id == "5"
    with serving([head(content_length="99"), b'{"run_id', CLOSE], retries=False) as (_, runs):
        with pytest.raises(acp.ConnectionException) as failure:
            runs.create_run({"agent_id": "a"})
        assert failure.value.ambiguous


def test_a_refused_connection_is_unsent_and_a_lost_response_is_unclear():
    address = f"http://127.0.0.1:{free_port()}"
    configuration = acp.Configuration(host=address, retries=False)
    with acp.ApiClient(configuration, transport=Urllib3Transport()) as client:
        with pytest.raises(acp.ConnectionException, match=f"cannot connect to {address}") as caught:
            acp.RunsApi(client).create_run({"agent_id": "a"})
        assert not caught.value.ambiguous
    configuration = acp.Configuration(host="http://acp.invalid", retries=False)
    with acp.ApiClient(configuration, transport=Urllib3Transport()) as client:
        with pytest.raises(acp.NameResolutionException) as unknown:
            acp.RunsApi(client).create_run({"agent_id": "a"})
        assert not unknown.value.ambiguous
    with serving([CLOSE], retries=3) as (server, runs):
        with pytest.raises(acp.ConnectionException) as lost:
            runs.create_run({"agent_id": "a"})
        assert lost.value.ambiguous and len(server.requests) == 1
    words = r"no response within the call's 0\.3 s"
    with (
        serving([STALL], retries=False) as (_, runs),
        pytest.raises(acp.ApiTimeoutError, match=words),
    ):
        runs.get_run("r1", _request_timeout=0.3)


def test_an_early_hint_is_no_response_and_its_connection_is_not_used_again():
    """http.client takes it for final, and the response to it would be that of the next call."""
    with serving([head(103), FOUND], FOUND) as (server, runs):
        with pytest.raises(acp.ProtocolException, match="returned 103, which is not final"):
            runs.create_run({"agent_id": "a"})
        assert runs.get_run("r1").run_id == "r1"
        assert server.connections == 2


def test_close_from_another_thread_ends_a_stream_that_is_silent():
    begin = head(content_type="text/event-stream", transfer_encoding="chunked")
    with serving([begin, chunk(EVENT % 1), STALL]) as (server, runs):
        with runs.get_run_stream("r1") as stream:
            next(stream)
            threading.Timer(0.2, stream.close).start()
            with Stopwatch() as watch:
                assert list(stream.raw_events()) == []
        assert watch.seconds < 5
        assert eventually(lambda: not server.still_open)


def test_the_deadline_holds_for_a_body_that_drips():
    drops = [step for _ in range(200) for step in (b" ", 0.05)]
    with serving([head(content_length="999"), *drops], retries=False) as (_, runs):
        with pytest.raises(acp.ApiTimeoutError), Stopwatch() as watch:
            runs.get_run("r1", _request_timeout=0.4)
        assert watch.seconds < 3


# Settings


def test_the_settings_of_tls_apply_to_the_configured_origin_alone(certificates: Certificates):
    shown: list[Any] = []

    def look(connection: Any) -> None:
        shown.append(connection.sock.getpeercert())
        connection.read_request()
        connection.play(FOUND)

    optional = certificates.server(mutual=True)
    optional.verify_mode = ssl.CERT_OPTIONAL
    own = certificates.server("acp.invalid", mutual=True)
    own.sni_callback = lambda sock, name, context: shown.append(name)
    settings = {"ssl_ca_cert": certificates.ca_file, "cert_file": certificates.client_file}
    settings["tls_server_name"] = "acp.invalid"
    with SocketServer(handler=look, ssl_context=optional) as other:
        moved = redirect(307, other.url)
        with serving(moved, FOUND, tls=own, **settings) as (server, runs):
            assert runs.get_run("r1").run_id == "r1"
            assert runs.get_run("r1").run_id == "r1"
    assert len(server.requests) == 2 and server.connections == 1
    assert [each for each in shown if each != "acp.invalid"] in ([{}], [None])


def test_a_certificate_that_is_not_trusted_is_refused_before_anything_is_sent(certificates):
    with serving(FOUND, tls=certificates.server(), retries=False) as (server, runs):
        with pytest.raises(
            acp.TLSException, match=r"certificate is refused.*ssl_ca_cert"
        ) as caught:
            runs.create_run({"agent_id": "a"})
        assert not caught.value.ambiguous and not server.requests


@pytest.mark.parametrize("kind", ["http", "https", "tunnel", "socks", "environment"])
def test_the_proxy_of_the_settings_or_of_the_environment_is_used(kind, certificates, monkeypatch):
    context = certificates.server() if kind in ("https", "tunnel") else None
    tls = certificates.server() if kind in ("tunnel", "socks") else None
    proxy = SocksProxy(("user", "word")) if kind == "socks" else HttpProxy(ssl_context=context)
    trust = {"ssl_ca_cert": certificates.ca_file}
    with proxy:
        url = proxy.url.replace("://", "://user:word@")
        url = url.replace("http", "socks5h", 1) if kind == "socks" else url
        settings: dict[str, Any] = {"proxy": url, "proxy_headers": {"x-team": "acp"}, **trust}
        if kind == "environment":
            monkeypatch.setenv("http_proxy", url)
            settings = {}
        with serving(FOUND, tls=tls, **settings) as (server, runs):
            assert runs.get_run("r1").run_id == "r1"
            assert runs.get_run("r1").run_id == "r1"
    if isinstance(proxy, SocksProxy):
        assert proxy.asked == [("127.0.0.1", server.port)]
        return
    assert proxy.requests
    for request in proxy.requests:
        assert request.headers["proxy-authorization"] == "Basic dXNlcjp3b3Jk"
        assert request.headers.get("x-team") == (None if kind == "environment" else "acp")
    assert kind != "tunnel" or [request.method for request in proxy.requests] == ["CONNECT"]


def test_a_tunnel_that_a_proxy_refuses_is_unsent():
    with HttpProxy(refuse=response(b"", 407)) as proxy:
        configuration = acp.Configuration(
            host="https://acp.invalid", proxy=proxy.url, retries=False
        )
        with (
            acp.ApiClient(configuration, transport=Urllib3Transport()) as client,
            pytest.raises(acp.ProxyException, match=r"407.* user:password@") as caught,
        ):
            acp.RunsApi(client).create_run({"agent_id": "a"})
    assert not caught.value.ambiguous


def test_socket_options_join_the_default_ones():
    class Noting(Urllib3Transport):
        def send(self, request: Any, **times: Any) -> Any:
            received = super().send(request, **times)
            sock = received.connection.sock  # type: ignore[union-attr]
            options.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            options.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            return received

    options: list[int] = []
    wanted = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    with serving(FOUND, transport=Noting(), socket_options=wanted) as (_, runs):
        runs.get_run("r1")
    assert len(options) == 2 and all(options)


def test_settings_that_do_not_go_together_are_refused_when_the_client_is_made():
    with pytest.raises(acp.ApiValueError, match="key_file cannot be used without cert_file"):
        acp.ApiClient(acp.Configuration(key_file="k.pem"), transport=Urllib3Transport())


def test_a_key_in_the_query_is_refused_because_urllib3_would_log_it():
    auth = {"in": "query", "key": "k", "value": SECRET}
    with serving(FOUND) as (server, runs):
        client = runs.api_client
        with pytest.raises(acp.ApiValueError, match="in the log of urllib3 at DEBUG"):
            runs.get_run("r1", _request_auth=auth)
        with pytest.raises(acp.ApiValueError, match="in the log of urllib3 at DEBUG"):
            client.param_serialize("GET", "/runs/r1", _request_auth=auth)
        assert not server.requests


# Pools of the user's


def test_a_pool_of_the_users_is_used_and_stays_open():
    pool = urllib3.PoolManager(maxsize=2)
    with serving(FOUND, transport=Urllib3Transport(pool)) as (server, runs):
        runs.get_run("r1")
        runs.api_client.close()
        assert pool.request("GET", server.url).status == 200
        assert server.connections == 1
        pool.clear()


def test_a_pool_that_blocks_gets_each_connection_back():
    pool = urllib3.PoolManager(maxsize=1, block=True)
    begin = head(content_type="text/event-stream", transfer_encoding="chunked")
    endless = [begin, chunk(EVENT % 1), STALL]
    script = (FOUND, head(204), head(404, content_length="0"), [CLOSE], endless, [head(103), FOUND])
    with serving(*script, FOUND, transport=Urllib3Transport(pool), retries=False) as (_, runs):
        runs.get_run("r1")
        assert runs.get_run_output("r1") is None
        for kind in (acp.NotFoundException, acp.ConnectionException):
            with pytest.raises(kind):
                runs.get_run("r1")
        with runs.get_run_stream("r1") as stream:
            next(stream)
        with pytest.raises(acp.ProtocolException):
            runs.get_run("r1")
        assert runs.get_run("r1", _request_timeout=10).run_id == "r1"
        pool.clear()


def test_a_setting_that_a_pool_of_the_users_would_drop_is_refused():
    pool = urllib3.PoolManager()
    for name, value in (("verify_ssl", False), ("proxy", "http://p:1"), ("ssl_ca_cert", "c.pem")):
        configuration = acp.Configuration(**{name: value})
        with pytest.raises(
            acp.ApiValueError, match=f"^{name} cannot be used with Urllib3Transport"
        ):
            acp.ApiClient(configuration, transport=Urllib3Transport(pool))
    for wrong in ("pool", urllib3.HTTPConnectionPool("h"), urllib3.PoolManager):
        with pytest.raises(acp.ApiTypeError, match=r"pool must be a urllib3\.PoolManager"):
            Urllib3Transport(wrong)  # type: ignore[arg-type]


# Clients, threads, processes


def test_each_client_has_pools_of_its_own():
    transport = Urllib3Transport()
    with serving(FOUND, transport=transport) as (server, runs):
        other = acp.ApiClient(acp.Configuration(host=server.url), transport=transport)
        with other:
            runs.get_run("r1")
            acp.RunsApi(other).get_run("r1")
            assert server.connections == 2
        runs.get_run("r1")
        assert server.connections == 2


def test_threads_share_a_client():
    with LocalServer() as server:
        configuration = acp.Configuration(host=server.url)
        with acp.ApiClient(configuration, transport=Urllib3Transport()) as client:
            echo = acp.AgentHandle(ECHO_AGENT_ID, client)
            inputs = [{"n": n} for n in range(64)]
            with ThreadPoolExecutor(16) as threads:
                results = list(threads.map(lambda it: echo.run(it, timeout=30), inputs))
    assert results == inputs


def test_a_pickled_client_makes_its_pools_anew():
    with serving(FOUND, access_token="t") as (server, runs):
        runs.get_run("r1")
        with pickle.loads(pickle.dumps(runs.api_client)) as other:
            assert acp.RunsApi(other).get_run("r1").run_id == "r1"
        assert server.connections == 2
        assert len({request.headers["authorization"] for request in server.requests}) == 1
    used = Urllib3Transport().bind(acp.Configuration(access_token=SECRET))
    assert isinstance(pickle.loads(pickle.dumps(used)), Urllib3Transport)
    own = acp.ApiClient(acp.Configuration(), transport=Urllib3Transport(urllib3.PoolManager()))
    with pytest.raises(TypeError, match="with a pool of yours cannot be pickled"):
        pickle.dumps(own)


@pytest.mark.parametrize("own", [False, True])
def test_a_forked_process_uses_no_connection_of_its_parent(own):
    pool = urllib3.PoolManager() if own else None
    with serving(FOUND, transport=Urllib3Transport(pool)) as (server, runs):
        runs.get_run("r1")
        waits = [in_child(lambda: runs.get_run("child")) for _ in range(3)]
        assert [wait() for wait in waits] == [0, 0, 0]
        runs.get_run("r1")
    by_path: dict[str, set[int]] = {}
    for request in server.requests:
        by_path.setdefault(request.path, set()).add(request.connection)
    assert by_path["/runs/r1"] == {0} and len(by_path["/runs/child"]) == 3
    assert 0 not in by_path["/runs/child"]


def test_a_stream_of_the_parent_goes_on_after_a_fork():
    gate = Gate()
    begin = head(content_type="text/event-stream", transfer_encoding="chunked")
    with serving([begin, chunk(EVENT % 1), gate, chunk(EVENT % 2), chunk(b"")]) as (_, runs):
        stream = runs.get_run_stream("r1")
        next(stream)

        def child() -> None:
            with pytest.raises(acp.StreamInterrupted):
                next(stream)
            stream.close()

        assert in_child(child)() == 0
        gate.open()
        assert [event.id for event in stream.raw_events()] == ["2"]


def test_a_client_that_is_never_closed_leaves_no_connection():
    with serving(FOUND) as (server, _):
        client = acp.ApiClient(acp.Configuration(host=server.url), transport=Urllib3Transport())
        acp.RunsApi(client).get_run("r1")
        gone = weakref.ref(client.rest_client)
        del client
        assert eventually(lambda: gone() is None and not server.still_open)


# Secrets


def test_no_log_error_or_pickle_of_an_error_shows_a_credential(caplog):
    def sign(request: Any) -> None:
        request.headers["X-Signature"] = SECRET

    settings = {"access_token": SECRET, "api_key": {"x-api-key": SECRET}, "auth": sign}
    scripts = (
        [CLOSE],
        head(503, retry_after="0", content_length="0"),
        redirect(307, "/b"),
        [CLOSE],
    )
    with caplog.at_level(logging.DEBUG), serving(*scripts, retries=1, **settings) as (_, runs):
        runs.api_client.cookie = f"session={SECRET}"
        with pytest.raises(acp.ApiException):
            runs.create_run({"agent_id": "a"})
        with pytest.raises(acp.ApiException) as caught:
            runs.get_run("r1")
    error = caught.value
    texts = [str(error), repr(vars(error)), "".join(traceback.format_exception(error))]
    texts += [repr(each) + repr(vars(each)) for each in causes(error)]
    assert SECRET not in "".join(texts) + repr(pickle.dumps(error)) + caplog.text
    assert "urllib3.connectionpool" in {record.name for record in caplog.records}


# What other packages do to urllib3


def test_patched_connections_of_urllib3_break_nothing_and_the_error_names_the_transport():
    """As a cassette of vcrpy patches them, before the first use of the package and later."""
    printed_by("""
import contextlib
from unittest import mock
import urllib3.connection, urllib3.connectionpool
from acp_client_v0_1.testing import ECHO_AGENT_ID, LocalServer

class Stub(urllib3.connection.HTTPConnection):
    def __init__(self, *args, **options):
        raise SystemExit("the stub is used")

Stub.__module__ = "vcr.patch"

@contextlib.contextmanager
def cassette():
    with mock.patch.object(urllib3.connection, "HTTPConnection", Stub):
        yield

def refused(work):
    try:
        work()
    except ValueError as error:
        assert "transport=acp_client_v0_1.transport.Urllib3Transport()" in str(error), error
    else:
        raise SystemExit("not refused")

with LocalServer() as server:
    import acp_client_v0_1 as acp
    settings = acp.Configuration(host=server.url)
    with cassette():
        refused(lambda: acp.ApiClient(settings))
    with acp.ApiClient(settings) as client:
        agents = acp.AgentsApi(client)
        agents.get_agent_by_id(ECHO_AGENT_ID)
        with cassette():
            refused(lambda: agents.get_agent_by_id(ECHO_AGENT_ID))
            other = acp.ApiClient(settings, transport=acp.transport.Urllib3Transport())
            with other:
                acp.AgentsApi(other).get_agent_by_id(ECHO_AGENT_ID)
        agents.get_agent_by_id(ECHO_AGENT_ID)
""")


def test_beside_urllib3_future_the_import_says_in_one_line_what_to_do():
    printed_by("""
import urllib3
urllib3.__version__ = "2.25.904"
import acp_client_v0_1 as acp
for use in (lambda: acp.ApiClient(), lambda: acp.ConnectionException, lambda: acp.rest):
    try:
        use()
    except ImportError as error:
        text = str(error)
        assert text.startswith("urllib3 is replaced by urllib3-future 2.25.904, which niquests")
        assert "URLLIB3_NO_OVERRIDE=1 pip install" in text and "\\n" not in text
    else:
        raise SystemExit("no ImportError")
""")
