"""Who and what is let in: keys, the base path, hosts, and bodies that fit the contract."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import urllib3
from support.forks import run_in_fork

from acp_client_v0_1.testing import BUILTIN_AGENTS, ECHO_AGENT_ID, Fault, LocalServer

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = ("x-api-key", "open sesame")
AGENT = f"/agents/{ECHO_AGENT_ID}"
Serve = Callable[..., Any]


def test_without_the_key_nothing_is_done(serve):
    call = serve(api_key=KEY)
    missing = call("POST", "/runs", {"agent_id": ECHO_AGENT_ID})
    assert (missing.status, missing.json) == (401, "the header x-api-key is missing")
    assert missing.headers["content-type"] == "application/json"
    for wrong in ("open", "", "open sesame!", "Open Sesame"):
        refused = call("GET", AGENT, x_api_key=wrong)
        assert (refused.status, refused.json) == (401, "the header x-api-key has a wrong value")
    # What there is, is nothing to know either.
    assert call("GET", "/nowhere").status == call("PUT", AGENT).status == 401
    assert call("POST", "/runs/search", {}, X_API_Key=KEY[1]).json == []
    assert call("GET", AGENT, x_api_key=KEY[1]).status == 200
    assert len(call.server.requests) == 9
    # A header that comes twice is no key.
    twice = urllib3.HTTPHeaderDict([KEY, ("x-api-key", "another")])
    assert call.pool.request("GET", call.url + AGENT, headers=twice).status == 401
    assert call.server.requests[-1].headers["x-api-key"] == "another"


def test_a_mapping_asks_for_each_of_its_headers(serve):
    call = serve(api_key={"Authorization": "Bearer a", "x-tenant": "b"})
    assert call("GET", AGENT, authorization="Bearer a").json == "the header x-tenant is missing"
    assert call("GET", AGENT, x_tenant="b").json == "the header Authorization is missing"
    assert call("GET", AGENT, authorization="Bearer a", x_tenant="b").status == 200


def test_faults_come_before_the_key_and_their_paths_are_below_the_base_path(serve):
    call = serve(api_key=KEY, base_path="/acp")
    call.server.faults.add(Fault(path="/agents/*", status=503))
    assert [call("GET", AGENT).status for _ in range(2)] == [503, 401]


def test_everything_is_below_the_base_path(serve):
    call = serve(base_path="/acp/v0/")
    host = f"http://127.0.0.1:{call.server.port}"
    assert call.server.url == f"{host}/acp/v0"
    run_id = call.run(ECHO_AGENT_ID, input={"n": 1}, streaming="result")
    assert call.output(run_id)["result"] == {"n": 1}
    assert len(call.events(run_id)) == 1
    assert call("PUT", f"/runs/{run_id}").status == 405
    assert call("GET", f"/runs/{run_id}/").status == 404
    assert call.server.requests[0].path == "/acp/v0/runs"
    call.url = host
    others = (f"{base}{AGENT}" for base in ("", "/acp", "/acp/v0x", "/acp/v1"))
    for outside in ("/", "/acp/v0", *others):
        response = call("GET", outside)
        assert (response.status, response.json) == (404, "Not Found")


OTHER_HOSTS = """
evil.example evil.example:{port} 127.0.0.1.evil.example localhost.evil.example
evil.example:127.0.0.1 192.0.2.1 128.0.0.1 [::2]:{port} localhost@evil.example
localhost:80@evil.example
"""


@pytest.mark.parametrize("host", [*OTHER_HOSTS.split(), ""])
def test_a_request_for_another_host_is_refused(call, host):
    name = host.format(port=call.server.port)
    refused = call("POST", "/runs", {"agent_id": ECHO_AGENT_ID}, Host=name)
    assert (refused.status, refused.headers["connection"]) == (421, "close")
    assert refused.json.startswith(f"Host: {name!r} is not this server")
    # It is not recorded, a fault does not see it, and nothing was done.
    assert (call.server.runs, call.server.requests) == ((), ())


THIS_HOST = """
localhost LocalHost.:{port} acp.localhost:{port} 127.0.0.1 127.1.2.3:1 [::1]:{port}
acp.example ACP.example:443 [2001:db8::1]
"""


def test_a_request_for_this_host_is_let_in(serve):
    call = serve(allowed_hosts=["acp.Example", "2001:db8::1"])
    for host in THIS_HOST.format(port=call.server.port).split():
        assert call("GET", AGENT, Host=host).status == 200, host


def test_the_address_that_a_server_on_all_addresses_was_reached_at_is_its_own(serve):
    call = serve(host="0.0.0.0")
    call.url = f"http://127.0.0.1:{call.server.port}"
    hosts = ("127.0.0.1", "0.0.0.0", "192.0.2.1")
    assert [call("GET", AGENT, Host=host).status for host in hosts] == [200, 200, 421]


@pytest.mark.slow
def test_a_body_of_any_size_that_is_only_declared_is_refused_at_once(server):
    head = b"POST /runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n{"
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head % 10**19)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert head[9:12] == b"413" and b"connection: close" in head.lower()
    assert json.loads(body) == "the body is larger than 67108864 bytes"
    assert time.monotonic() - began < 8
    assert server.requests == ()


def test_a_body_that_grows_too_large_is_refused_and_not_kept(monkeypatch, call):
    monkeypatch.setattr("acp_client_v0_1.testing._server.gate._LARGEST_BODY", 100_000)
    # All of it is read, so that the response is not lost in a reset.
    pieces = (b"x" * 10_000 for _ in range(300))
    headers = {"Content-Type": "application/json"}
    response = call.pool.request("POST", call.url + "/runs", body=pieces, headers=headers)
    assert response.status == 413
    assert call.server.requests == ()
    largest = json.dumps({"agent_id": ECHO_AGENT_ID, "input": {"text": ""}}).encode()
    largest = largest.replace(b'""', b'"%s"' % (b"x" * (100_000 - len(largest))))
    assert call("POST", "/runs", largest).status == 200
    assert call("POST", "/runs", largest + b" ").status == 413
    assert [len(request.body) for request in call.server.requests] == [100_000]


def test_the_body_of_a_refused_request_is_kept(serve):
    """So that a test sees what its client sent, also if the server did not take it."""
    call = serve(api_key=KEY)
    creation = {"agent_id": ECHO_AGENT_ID, "input": {"text": "x" * 1000}}
    assert call("POST", "/runs", creation).status == 401
    call.server.fail_next(503, path="/runs")
    unfit, unknown = {**creation, "input": 1}, {**creation, "agent_id": "nobody"}
    for body, status in ((creation, 503), (creation, 200), (unfit, 422), (unknown, 404)):
        assert call("POST", "/runs", body, x_api_key=KEY[1]).status == status
    assert call("PUT", "/runs", creation, x_api_key=KEY[1]).status == 405
    assert [json.loads(request.body)["input"] for request in call.server.requests] == [
        each["input"] for each in (creation, creation, creation, unfit, unknown, creation)
    ]


def test_the_newest_requests_are_kept_up_to_a_size_with_their_heads(monkeypatch, call):
    monkeypatch.setattr("acp_client_v0_1.testing._recent._MOST_BYTES", 10_000)
    call.run(ECHO_AGENT_ID, input={"text": "x" * 20_000})
    assert [len(request.body) // 1000 for request in call.server.requests] == [20]
    for _ in range(3):
        call("GET", "/runs/1", X_Head="y" * 4000)
    assert [request.method for request in call.server.requests] == ["GET", "GET"]


def test_an_id_may_hold_whatever_a_path_can_carry(serve):
    call = serve([])
    for agent_id in ("a/b", "a b?c", "search/x", "é"):
        call.server.register(lambda input, config, context: {}, agent_id=agent_id)
        assert call.ok("GET", f"/agents/{quote(agent_id, safe='')}")["agent_id"] == agent_id


IMPOSSIBLE: dict[str, tuple[Any, ...]] = {
    "base_path": ("acp", "/a b", "/a//b", "/a/../b", "/{run_id}", "/a?b"),
    "api_key": (
        *(("x api key", "a"), ("", "a"), ("x-api-key", ""), ("x-api-key", "a\n")),
        *({"x-api-key": value} for value in (" a", "a ")),
        {"x-api-key": "a", "X-API-Key": "b"},
    ),
    "host": ("http://127.0.0.1:8000", "localhost:8000"),
    "allowed_hosts": (["acp.example:80"], [""], ["http://acp.example"], ["[::1]"]),
    "port": (-1, 65536),
    "tls": (ssl.create_default_context(),),
    "ping": (0, float("nan")),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_no_server_or_request_could_have_is_refused(name):
    for value in IMPOSSIBLE[name]:
        with pytest.raises(ValueError, match=rf"^{name}\b"):
            LocalServer(**{name: value})


def test_the_shell_command_serves_with_its_options_until_ctrl_c(monkeypatch):
    monkeypatch.setenv("MY_KEY", "open sesame")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid")
    options = ["--base-path", "/acp/v0", "--api-key-env", "MY_KEY", "--allowed-host", "acp.example"]
    command = [sys.executable, "-m", "acp_client_v0_1.testing", "--port", "0", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            printed = list(takewhile(lambda line: line != "Ctrl-C ends it.\n", process.stdout))
            url = re.fullmatch(r"ACP 0\.1 at (http://127\.0\.0\.1:\d+/acp/v0)\n", printed[0])
            assert url is not None
            for agent in BUILTIN_AGENTS:
                assert any(agent.agent_id in line and agent.name in line for line in printed)
            needed = [f"Each request needs the header {KEY[0]}.\n"]
            needed.append("A proxy is set: clients need no_proxy=127.0.0.1,localhost.\n")
            assert printed[-2:] == needed
            headers = {KEY[0]: KEY[1], "Host": "acp.example"}
            assert urllib3.request("GET", url[1] + AGENT, retries=False).status == 401
            assert urllib3.request("GET", url[1] + AGENT, headers=headers).status == 200
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")


NO_PLACE = "^cannot listen at {}$"


@pytest.mark.parametrize(
    ("options", "status", "complaint"),
    [
        ("--allowed-host a:1", 2, "allowed_hosts: 'a:1' is not"),
        ("--api-key-env NO_SUCH_KEY", 2, "--api-key-env: the variable NO_SUCH_KEY is not set"),
        ("--port {port}", 1, NO_PLACE.format("127.0.0.1:{port}: Address already in use; --port.+")),
        ("--host 192.0.2.1", 1, NO_PLACE.format("192.0.2.1:0: Cannot assign requested address")),
        ("--host no..name", 1, NO_PLACE.format("no..name:0: (?!Unknown error)[^();]+")),
    ],
)
def test_the_shell_command_refuses_what_cannot_be(server, options, status, complaint):
    given = options.format(port=server.port).split()
    command = ["-m", "acp_client_v0_1.testing", "--port", "0", *given]
    ended = run_in_fork(command, cwd=ROOT, env=os.environ)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert re.search(complaint.format(port=server.port), ended.stderr)


# What does not fit the contract gets a 422 that names what is wrong

SEARCHES = ("/runs/search", "/agents/search", "/threads/search")
# By path and property, beside the id of an agent where one is required.
BAD_VALUES: dict[tuple[str, str], list[Any]] = {
    ("/runs", "agent_id"): [1, None, ""],
    ("/runs", "thread_id"): [None, ""],
    ("/runs", "input"): [[]],
    ("/runs", "webhook"): [{}],
    ("/runs", "streaming"): ["values"],
    ("/threads", "metadata"): [[]],
    ("/runs/search", "agent_id"): [""],
    ("/runs/search", "status"): ["done"],
    ("/agents/search", "version"): [1.0],
    **{(path, "limit"): [0, 1001, "10", 1.5, True, None] for path in SEARCHES},
    **{(path, "offset"): [-1] for path in SEARCHES},
}


def test_a_bad_property_is_refused_by_name(call):
    given = {"agent_id": ECHO_AGENT_ID}
    bodies = [(path, {}, "agent_id") for path in ("/runs", "/threads")]
    for (path, name), values in BAD_VALUES.items():
        needed = {} if path in SEARCHES else given
        bodies += [(path, {**needed, name: value}, name) for value in values]
    for path, body, name in bodies:
        response = call("POST", path, body)
        assert response.status == 422, (path, body)
        assert response.headers["content-type"] == "application/json"
        assert response.json.startswith(f"{name}: "), (path, body)


NO_OBJECTS = [b"", b"{", b"[]", b"null", b'{"limit": NaN}', b"[" * 10_000]
NO_OBJECTS += [b'{"agent_id": "%s"}' % text for text in (b"\xff", b"\\ud800")]


@pytest.mark.parametrize("path", ["/runs", "/threads", *SEARCHES])
def test_a_body_that_is_no_json_object_is_refused(call, path):
    for body in NO_OBJECTS:
        response = call("POST", path, body)
        assert response.status == 422, body
        assert "body" in response.json


def test_a_body_is_not_too_deep(call):
    for levels, status in ((150, 200), (250, 422)):
        value: Any = {}
        for _ in range(levels):
            value = {"a": value}
        body = {"agent_id": ECHO_AGENT_ID, "input": value}
        assert call("POST", "/runs", body).status == status


def test_a_body_must_be_declared_as_json_also_with_parameters(call):
    for kind in ("application/json; charset=utf-8", "Application/JSON ;x=1"):
        assert call("POST", "/runs/search", {}, Content_Type=kind).status == 200
    words = "the body's Content-Type must be application/json"
    assert call("POST", "/runs/search", {}, Content_Type="text/plain").json == words
    undeclared = call.pool.request("POST", call.url + "/runs/search", body=b"{}", timeout=5)
    assert (undeclared.status, undeclared.json()) == (422, words)


def test_unknown_properties_pass(call):
    body = {"agent_id": ECHO_AGENT_ID, "if_not_exists": "create", "model_fields": 1, "self": {}}
    assert call.ok("POST", "/runs", body)["creation"] == body
    assert call.ok("POST", "/runs/search", {"sort": "newest"})


def test_a_bad_block_timeout_is_refused(call):
    path = f"/runs/{call.run(ECHO_AGENT_ID)}/output?block_timeout="
    for value in ("-1", "1.5", "x", "", "1e3", "٣", "+1", " 1"):
        response = call("GET", path + quote(value))
        assert response.status == 422, value
        assert response.json.startswith("block_timeout: ")
