"""Webhooks: every change of the status is posted, in order, and nothing else waits for it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import urllib3
from support.socket_server import SocketServer, response
from support.transport import eventually

from acp_client_v0_1.testing import APPROVAL_AGENT_ID, ECHO_AGENT_ID, LocalServer, WebhookDelivery


@pytest.fixture
def receiver() -> Iterator[SocketServer]:
    with SocketServer(response()) as listening:
        yield listening


def deliveries(server: LocalServer, count: int) -> tuple[WebhookDelivery, ...]:
    assert eventually(lambda: len(server.webhooks) == count, 5)
    return server.webhooks


def test_every_change_of_the_status_is_posted(call, receiver):
    run_id = call.run(APPROVAL_AGENT_ID, webhook=f"{receiver.url}/hook?from=acp")
    call.output(run_id)
    call.ok("POST", f"/runs/{run_id}", {"approved": True})
    call.output(run_id)

    assert [sent.status for sent in deliveries(call.server, 3)] == [200] * 3
    for request in receiver.requests:
        assert (request.method, request.path) == ("POST", "/hook?from=acp")
        assert request.headers["content-type"] == "application/json"
    runs = [json.loads(request.body) for request in receiver.requests]
    assert [run["status"] for run in runs] == ["interrupted", "pending", "success"]
    assert runs[-1] == call.ok("GET", f"/runs/{run_id}")


def test_a_redirect_is_not_followed(call, receiver):
    with LocalServer() as elsewhere:
        elsewhere.fail_next(307, redirect=receiver.url)
        call.run(ECHO_AGENT_ID, webhook=elsewhere.url)
        (delivery,) = deliveries(call.server, 1)
    assert (delivery.status, delivery.error, receiver.requests) == (307, None, [])


@pytest.mark.parametrize(
    ("webhook", "error"),
    [
        ("http://192.0.2.1/", "this machine only"),
        ("http://example.com/", "this machine only"),
        ("http://127.0.0.1:1/", "ConnectionRefusedError: [Errno "),
    ],
)
def test_what_cannot_be_reached_is_recorded(call, webhook, error):
    call.run(ECHO_AGENT_ID, webhook=webhook)
    (delivery,) = deliveries(call.server, 1)
    assert delivery.status is None
    assert error in str(delivery.error)


@pytest.mark.parametrize("key", [None, ("x-api-key", "k")])
def test_a_server_beyond_loopback_calls_webhooks_only_with_a_key(serve, receiver, key):
    creation = {"agent_id": ECHO_AGENT_ID, "webhook": receiver.url}
    call = serve(host="0.0.0.0", api_key=key, webhook_hosts=["127.0.0.1"])
    call.url = f"http://127.0.0.1:{call.server.port}"
    assert call("POST", "/runs", creation, x_api_key="k").status == 200
    (delivery,) = deliveries(call.server, 1)
    assert delivery.status == (200 if key else None)
    assert len(receiver.requests) == (1 if key else 0)
    assert key or "needs an api_key to call webhooks" in str(delivery.error)


NO_URLS = """
/hook ftp://127.0.0.1/ urn:x:y http:// http:///hook http://127.0.0.1:99999/ http://127.0.0.1:0/
http://[
"""


def test_what_is_no_http_url_is_refused_without_advice_about_settings(call):
    with_spaces = ("", "not a url", "http://127.0.0.1/a b", "http://127.0.0.1/\n")
    for webhook in (*with_spaces, *NO_URLS.split(), "http://me:p@h/"):
        refused = call("POST", "/runs", {"agent_id": ECHO_AGENT_ID, "webhook": webhook})
        assert refused.status == 422, webhook
        assert refused.json.startswith("webhook: ") and "set username" not in refused.json
    assert "must not contain user information" in refused.json
    assert (call.server.runs, call.server.webhooks) == ((), ())


@pytest.mark.slow
def test_a_silent_receiver_holds_up_neither_runs_nor_the_end(call):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        call_url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        began = time.monotonic()
        assert call.output(call.run(ECHO_AGENT_ID, webhook=call_url))["type"] == "result"
        call.run(ECHO_AGENT_ID, webhook=call_url)
        call.server.close()
        assert time.monotonic() - began < 4


def test_a_server_that_is_used_again_sends_again(receiver):
    server = LocalServer()
    for count in (1, 2):
        with server:
            body = {"agent_id": ECHO_AGENT_ID, "webhook": receiver.url}
            urllib3.request("POST", f"{server.url}/runs", json=body, timeout=5)
            assert [sent.status for sent in deliveries(server, count)] == [200] * count
        assert not [one for one in threading.enumerate() if one.name.startswith("webhooks")]
