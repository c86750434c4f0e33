"""What the report says of proxies, TLS, credentials and foreign servers, and what stays behind."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.proxies import HttpProxy
from support.socket_server import Connection, Request, SocketServer, response, serve_each

from acp_client_v0_1 import (
    AgentsApi,
    ApiClient,
    ApiTypeError,
    Configuration,
    RunsApi,
    ThreadsApi,
    doctor,
)
from acp_client_v0_1.doctor import Finding, Report, examine
from acp_client_v0_1.testing import COUNTER_AGENT_ID, SLOW_AGENT_ID, Fault, LocalServer, Quirks

pytestmark = pytest.mark.slow

COUNTING = {"count": 4, "interval": 0.25}


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


def examined(
    host: str, agent: str | None = None, input: Any = None, deep: bool = False, **settings: Any
) -> Report:
    with ApiClient(Configuration(host=host, **settings)) as client:
        return examine(client, agent, input, deep)


def found(report: Report, name: str) -> Finding:
    return next(each for each in report.findings if each.name == name)


def faults(report: Report) -> dict[str, str]:
    return {
        each.name: each.seen for each in report.findings if each.verdict in ("differs", "missing")
    }


# Proxies in front of the server


def in_front_of(
    server: LocalServer, pass_on: Callable[[Connection, socket.socket], object]
) -> SocketServer:
    """A proxy whose ``pass_on`` brings the response of one request from the server."""

    def serve(connection: Connection) -> None:
        while connection.open and (request := connection.read_request()) is not None:
            with socket.create_connection(("127.0.0.1", server.port)) as upstream:
                line, _, rest = request.raw_head.partition(b"\r\n")
                upstream.sendall(line + b"\r\nconnection: close\r\n" + rest + b"\r\n\r\n")
                upstream.sendall(request.body)
                pass_on(connection, upstream)
            connection.close()

    return SocketServer(handler=serve)


def at_once(connection: Connection, upstream: socket.socket) -> None:
    while piece := upstream.recv(65536):
        connection.sock.sendall(piece)


def test_a_proxy_that_holds_streams_back_is_found(server: LocalServer) -> None:
    def when_complete(connection: Connection, upstream: socket.socket) -> None:
        connection.sock.sendall(b"".join(iter(lambda: upstream.recv(65536), b"")))

    with in_front_of(server, when_complete) as proxy:
        report = examined(proxy.url, COUNTER_AGENT_ID, COUNTING)
    assert set(faults(report)) == {"events in time"}, str(report)
    assert report.promises["streams that continue after a cut"] == "broken by events in time"
    assert report.status == 11


def test_a_proxy_that_cuts_long_polls_is_found(server: LocalServer) -> None:
    def for_a_second(connection: Connection, upstream: socket.socket) -> None:
        upstream.settimeout(1)
        try:
            at_once(connection, upstream)
        except TimeoutError:
            connection.sock.sendall(response(status=504, connection="close"))

    with in_front_of(server, for_a_second) as proxy:
        report = examined(proxy.url, SLOW_AGENT_ID, {"seconds": 2.5})
    assert set(faults(report)) == {"long poll"}, str(report)
    assert re.match(r"[12]\.\d s of 4 s, then GET /runs/", found(report, "long poll").seen)
    assert "agent.map(inputs, concurrency=16)" in report.settings


def test_a_proxy_that_limits_requests_is_found(server: LocalServer) -> None:
    number = iter(range(1000))

    def three_of_four(connection: Connection, upstream: socket.socket) -> None:
        if next(number) % 4 == 3:
            connection.sock.sendall(response(status=503, connection="close"))
        else:
            at_once(connection, upstream)

    with in_front_of(server, three_of_four) as proxy:
        report = examined(proxy.url)
    assert set(faults(report)) == {"rate of requests"}, str(report)
    assert report.settings == ("agent.map(inputs, concurrency=4)",)


@pytest.mark.parametrize("source", ["setting", "environment"])
def test_a_proxy_in_use_is_named_with_its_source(
    server: LocalServer, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpProxy() as proxy:
        settings = {"proxy": proxy.url} if source == "setting" else {}
        if source == "environment":
            monkeypatch.setenv("http_proxy", proxy.url)
        report = examined(server.url, **settings)
    whose = "Configuration.proxy (ACP_PROXY)" if source == "setting" else "http_proxy"
    assert found(report, "proxy").seen == f"the proxy {proxy.url} of {whose}"
    assert str(proxy.port) in found(report, "connection").seen


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="Sound Authority")


def serving(authority: trustme.CA, *names: str, **more: Any) -> LocalServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **more).configure_cert(context)
    return LocalServer(tls=context)


@pytest.fixture
def trust(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return {"ssl_ca_cert": str(tmp_path / "ca.pem")}


def test_tls_has_its_version_issuer_and_days_left(
    authority: trustme.CA, trust: dict[str, Any]
) -> None:
    now = datetime.now(timezone.utc)
    for days, verdict in ((400, "works"), (5, "differs")):
        until = now + timedelta(days=days, hours=1)
        with serving(authority, "127.0.0.1", not_after=until) as server:
            finding = found(examined(server.url, **trust), "TLS")
        assert finding.verdict == verdict
        assert finding.seen.startswith("TLSv1.") and "Sound Authority" in finding.seen
        assert finding.seen.endswith(f"{days} days left")


def test_a_name_that_the_certificate_does_not_have_ends_the_examination(
    authority: trustme.CA, trust: dict[str, Any]
) -> None:
    with serving(authority, "acp.invalid") as server:
        report = examined(server.url, **trust)
    assert list(faults(report)) == ["TLS"] and "127.0.0.1" in found(report, "TLS").seen
    assert (report.status, report.settings) == (1, ('Configuration(ssl_ca_cert="ca.pem")',))


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_that_is_not_verified_differs(authority: trustme.CA) -> None:
    with serving(authority, "acp.invalid") as server:
        report = examined(server.url, verify_ssl=False)
    assert "by nobody" in faults(report)["TLS"] and report.status == 11


# Who you are


@pytest.mark.parametrize(
    ("status", "headers", "wanted"),
    [
        (401, {"www_authenticate": 'Bearer realm="acp\x1b[31m"'}, 'Bearer realm="acp'),
        (403, {}, "nothing by name"),
    ],
)
def test_a_refusal_says_what_the_server_asks_for(
    status: int, headers: dict[str, str], wanted: str
) -> None:
    asks = response(b'"no"', status=status, **headers)
    with SocketServer(asks) as server:
        report = examined(server.url, api_key={"x-api-key": "a-secret-key"})
    assert (report.status, list(faults(report))) == (1, ["access"])
    seen = found(report, "access").seen
    assert seen.startswith(f"{status}, and it asks for {wanted}")
    assert "x-api-key from the configuration" in seen
    assert "\x1b" not in str(report) and "a-secret-key" not in json.dumps(report.to_dict())


def test_a_refusal_that_takes_almost_as_long_as_its_probe_is_seen(fast_clock: None) -> None:
    with LocalServer(api_key={"x-api-key": "a-secret-key"}) as server:
        server.faults.add(Fault(path="/agents/search", delay=0.9, times=None))  # 4.5 s
        report = examined(server.url)
    assert (report.status, list(faults(report))) == (1, ["time of a request", "access"])


def test_credentials_are_named_with_their_source_and_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACP_API_KEY", "a-secret-key")
    with LocalServer(api_key={"x-api-key": "a-secret-key"}) as server:
        monkeypatch.setenv("ACP_HOST", server.url)
        with ApiClient(Configuration.from_env(), "x-mine", "1") as client:
            report = examine(client)
    seen = found(report, "access").seen
    assert seen == "x-api-key from the configuration, x-mine by default, as ACP_API_KEY has it"
    assert "a-secret-key" not in str(report) + json.dumps(report.to_dict())


# Other servers


def test_a_clock_that_is_wrong_differs() -> None:
    late = formatdate(time.time() - 3600, usegmt=True)
    with SocketServer(response(b"[]", date=late)) as server:
        clock = found(examined(server.url), "clock")
    assert clock.verdict == "differs" and re.match(r"-36\d\d\.\d s from yours|-359", clock.seen)


def test_pages_of_something_else_cannot_be_used() -> None:
    page = b"<html><title>Sign in \x1b[2J</title></html>"
    for status in (200, 404):
        with SocketServer(response(page, status=status, content_type="text/html")) as server:
            report = examined(server.url)
        assert report.status == 1
        assert "Sign in" in found(report, "search_agents").seen
        assert "\x1b" not in str(report)


def test_a_server_of_acp_0_2_is_recognised() -> None:
    created = {"thread_id": "t", "created_at": "2026-01-01T00:00:00Z"}
    thread = {**created, "status": "idle", "values": {}}

    def respond(request: Request) -> bytes:
        found = [thread] if request.path == "/threads/search" else []
        return response(json.dumps(found).encode())

    with SocketServer(handler=serve_each(respond)) as server:
        report = examined(server.url)
    assert "it looks like ACP 0.2" in faults(report)["search_threads"]


def test_a_server_that_is_away_cannot_be_used() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    report = examined(f"http://127.0.0.1:{port}")
    assert (report.status, list(faults(report))) == (1, ["connection"])
    assert "cannot connect" in found(report, "connection").seen
    assert 'Configuration(host="https://…")' in report.settings


def test_an_agent_that_is_not_there_cannot_be_run(server: LocalServer) -> None:
    report = examined(server.url, "nobody")
    assert report.status == 1 and "echo" in faults(report)["agents"]


@pytest.mark.slow
@pytest.mark.parametrize("agent", [None, COUNTER_AGENT_ID])
def test_a_slow_server_takes_no_longer_than_half_a_minute(
    agent: str | None, fast_clock: None
) -> None:
    with LocalServer() as server:
        server.faults.add(Fault(delay=0.4, times=None))  # 2 s of the doctor's
        began = time.monotonic()
        report = examined(server.url, agent, COUNTING if agent else None)
        assert time.monotonic() - began < 9
        assert found(report, "time of a request").verdict == "differs"
        assert found(report, "time of a request").seen.endswith(" s, the median of 3")
        assert "not tried" in {each.verdict for each in report.findings}


@pytest.mark.slow
@pytest.mark.parametrize("pending", ["204", "404", "held"])
def test_an_output_that_does_not_come_in_time_is_not_missing(
    pending: Any, fast_clock: None
) -> None:
    with LocalServer(quirks=Quirks(pending_output=pending)) as server:
        report = examined(server.url, SLOW_AGENT_ID, {"seconds": 60})
    assert found(report, "get_run_output").verdict == "not tried"
    assert found(report, "get_run_stream").seen == "the agent does not stream"


def test_a_create_that_hangs_takes_no_longer_than_its_probe(fast_clock: None) -> None:
    with LocalServer() as server:
        server.faults.add(Fault(method="POST", path="/runs", cut="stall", times=None))
        began = time.monotonic()
        report = examined(server.url, COUNTER_AGENT_ID, COUNTING)
        assert time.monotonic() - began < 9
    assert found(report, "create_run").verdict == "missing" and report.status == 1


def test_ids_that_are_no_segments_of_a_path_are_findings() -> None:
    agents = [{"agent_id": "..", "metadata": {"ref": {"name": "a", "version": "1"}}}]
    agents[0]["metadata"]["description"] = "-"  # type: ignore[index]
    with SocketServer(response(json.dumps(agents).encode())) as server:
        report = examined(server.url)
    assert "segment" in faults(report)["agents"]


# What stays behind


def test_without_an_agent_nothing_is_created() -> None:
    with LocalServer() as own:
        examined(own.url)
        assert own.runs == ()
        sent = {(each.method, each.path) for each in own.requests}
        assert {path for method, path in sent if method != "GET"} == {
            *("/agents/search", "/runs/search", "/threads/search"),
        }


def test_a_run_of_somebody_else_is_never_deleted(fast_clock: None) -> None:
    """Even if the server gives our runs the ids of others."""
    with LocalServer(quirks=Quirks(unknown_agent=200)) as server:
        with ApiClient(Configuration(host=server.url)) as client:
            body = {"agent_id": SLOW_AGENT_ID, "input": {"seconds": 60}}
            other = RunsApi(client).create_run(body)
            path, given = f"/runs/{other.run_id}", {"times": None, "status": 200}
            stolen = other.to_dict(mode="json")
            marks = {"metadata": {"acp-client-token": "somebody else's"}}
            theirs = {**stolen, "creation": {**stolen["creation"], **marks}}
            server.faults.add(
                Fault(path="/runs", body=stolen, **given),
                Fault(path=path, method="GET", body=theirs, **given),
            )
            report = examine(client, SLOW_AGENT_ID, {"seconds": 0.3})
        methods = [each.method for each in server.requests if each.path == path]
        assert "clean-up" in faults(report)
        assert methods.count("DELETE") <= 1, methods


def test_an_error_deletes_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from acp_client_v0_1.handles.run import RunHandle

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of the doctor's own")

    monkeypatch.setattr(RunHandle, "output", broken)
    with LocalServer() as server, ApiClient(Configuration(host=server.url)) as client:
        with pytest.raises(RuntimeError):
            examine(client, SLOW_AGENT_ID, {"seconds": 60})
        assert server.runs == ()


def test_the_run_of_a_lost_create_is_found_and_deleted() -> None:
    """That of an agent that is not there, at a server that makes it all the same."""
    with LocalServer(quirks=Quirks(unknown_agent=200)) as server:
        unknown = Fault(method="POST", path="/runs", cut="close", after_wire_bytes=0, times=1)
        server.faults.add(Fault(method="POST", path="/runs", times=3), unknown)
        examined(server.url, COUNTER_AGENT_ID, COUNTING)
        assert any(each.fault is unknown for each in server.requests) and server.runs == ()


# The report

SOUND = """\
HOST with the agent counter: all works

1. The way there
  works      proxy: none is used
  works      connection: HOST, HTTP/1.1
  works      time of a request: # s, the median of 5
  works      clock: # s from yours

2. Who you are
  works      access: no credentials are sent

3. The contract
  works      search_threads: served
  works      get_thread_state: served
  works      get_thread_history: served
  works      get_thread: served
  works      get_run_threadstate: served
  works      errors: as usual
  works      ids: as usual
  works      JSON: as usual
  works      times: as usual
  works      thread ids: as usual
  not tried  webhooks, restarts: not seen here
  works      rate of requests: 0 were refused for now

4. Agents
  works      search_agents: served
  works      list of agents: as usual
  works      get_agent_by_id: served
  works      get_acp_descriptor_by_id: served
  works      search by name: names found: 1
  works      capabilities: streams custom result; callbacks
  works      schemas: can be used

5. Runs
  works      create_run: a run was started
  works      metadata: as usual
  works      status: as usual
  works      get_run_output: served
  works      long poll: # s of 4 s
  works      output while pending: as usual
  works      result: after # s
  works      echo: as usual
  works      get_run_stream: served
  works      end of the stream: as usual
  works      events in time: after # to # s
  works      keep-alive comments: as usual
  works      event ids: as usual
  works      replay: 3 of 4 events after the first
  works      search_runs: served
  works      order of searches: as usual
  works      search by metadata: as usual
  works      get_run: served
  works      resume_run: served
  works      delete_run: served
  works      body of a delete: as usual
  works      after a delete: 404
  works      unknown agent: as usual

6. Promises
  exactly one run for a start: holds
  streams that continue after a cut: holds
  thousands of runs in flight: holds
  answers to questions: not tried

7. Settings
  none"""
# Without repetitions. The ids have other names: A is the agent, T a thread, R a run, and X nothing.
ASKED = """\
POST /agents/search {"name":"ping","limit":1,"offset":0}
POST /agents/search {"limit":10,"offset":0}
POST /agents/search {"name":"counter","limit":1000,"offset":0}
GET /agents/A
GET /agents/A/descriptor
POST /agents/search {"name":"counter","limit":10,"offset":0}
POST /runs {"agent_id":"A","input":{},"metadata":{"acp-client-doctor":"X","acp-client-token":"X"}}
GET /runs/R/output
GET /runs/R/output?block_timeout=4
POST /runs {"agent_id":"A","input":{},"metadata":{"acp-client-doctor":"X","acp-client-token":"X"},\
"streaming":"custom"}
GET /runs/R/stream
POST /runs/search {"agent_id":"A","limit":1000,"offset":0}
POST /runs/search {"metadata":{"acp-client-token":"X"},"limit":10,"offset":0}
GET /runs/R
POST /runs/R {}
DELETE /runs/R
POST /runs {"agent_id":"X","metadata":{"acp-client-token":"X"}}
POST /threads/search {"limit":1,"offset":0}
GET /threads/T/state
GET /threads/T/history
GET /threads/T
GET /runs/R/threadstate
GET /runs/X
GET /runs/doctor
POST /runs/search {"metadata":{"acp-client-token":"X"},"limit":1000,"offset":0}
"""


def test_a_sound_server_is_asked_little_and_has_a_report_of_one_page() -> None:
    with LocalServer() as server, ApiClient(Configuration(host=server.url)) as client:
        thread = ThreadsApi(client).create_thread({"agent_id": COUNTER_AGENT_ID})
        server.clear_requests()
        report = examine(client, "counter", {"count": 4, "interval": 0.5})
        requests = server.requests
    shown = str(report).replace(server.url, "HOST").replace(f"127.0.0.1:{server.port}", "HOST")
    assert re.sub(r"[+-]?\d+\.\d+(?= s| to)", "#", shown) == SOUND
    names = {COUNTER_AGENT_ID: "A", thread.thread_id: "T"}
    names |= {each.path.split("/")[2]: "R" for each in requests if each.method == "DELETE"}
    asked = dict[str, None]()
    for each in requests:
        line = f"{each.method} {each.path}?{each.query} {each.body.decode()}"
        for name, letter in names.items():
            line = line.replace(name, letter)
        line = re.sub(r"[0-9a-f]{8}[-0-9a-f]{24,28}", "X", line)
        line = re.sub(r'"input":{[^}]+}', '"input":{}', line).replace("? ", " ").strip()
        asked[re.sub(r"block_timeout=1\d$", "block_timeout=4", line)] = None
    assert "\n".join(asked) == ASKED.strip()


def test_operations_with_a_bare_404_are_missing_or_not_tried() -> None:
    """For an id that nobody has, it may also mean that the operation is served."""
    with LocalServer() as server:
        server.faults.add(Fault(path="/*/search", times=None, status=404, body=b""))
        report = examined(server.url)
        verdicts = {each.name: each.verdict for each in report.findings}
        assert {verdicts[name] for name in doctor._READS if "search" in name} == {"missing"}
        assert {verdicts[name] for name in doctor._READS if name.startswith("get_thread")} == {
            "works"
        }
        server.faults.clear()
        server.faults.add(Fault(method="POST", path="/runs", times=None, status=404, body=b""))
        report = examined(server.url, COUNTER_AGENT_ID)
    assert found(report, "create_run").verdict == "missing" and report.status == 1


PAGE = {"status": 404, "body": b"<html>", "headers": {"content-type": "text/html"}}
LIMITED = {"path": "/runs/search", "status": 429}
EMPTY_1_0 = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n[]"


@pytest.mark.parametrize(
    ("fault", "met", "name", "verdict", "seen"),
    [
        (LIMITED, 4, "rate of requests", "differs", "4 were refused for now"),
        ({"path": "/agents/search", "raw": EMPTY_1_0}, 10, "connection", "differs", "HTTP/1.0"),
        ({"path": "/runs/*", **PAGE}, 4, "ids", "works", "as usual"),
        ({"path": "/runs/*", **PAGE}, 4, "errors", None, ""),
    ],
)
def test_what_one_habit_of_a_server_shows(
    fault: dict[str, Any], met: int, name: str, verdict: str | None, seen: str, fast_clock: None
) -> None:
    with LocalServer() as server:
        server.faults.add(Fault(**fault, times=None))
        findings = {each.name: each for each in examined(server.url).findings}
        assert sum(each.fault is not None for each in server.requests) == met
    assert verdict == (findings[name].verdict if name in findings else None)
    assert verdict is None or seen in findings[name].seen


def test_a_search_that_ignores_the_name_is_found(server: LocalServer) -> None:
    with ApiClient(Configuration(host=server.url)) as client:
        agents = [each.to_dict() for each in AgentsApi(client).search_agents({"limit": 2})]
    with LocalServer() as ignoring:
        ignoring.faults.add(Fault(path="/agents/search", status=200, body=agents, times=None))
        report = examined(ignoring.url)
    assert faults(report)["search by name"] == "names found: 2"


@pytest.mark.parametrize(
    ("agent", "input", "verdict", "seen"),
    [
        ("strict", {"n": 1}, "works", "can be used"),
        ("strict", {"n": 9}, "differs", "input.n"),
        (None, None, "works", "a required property"),  # nobody has said what to run it with
    ],
)
def test_an_input_that_does_not_fit_is_found(
    agent: str | None, input: Any, verdict: str, seen: str
) -> None:
    schema = {"required": ["n"], "properties": {"n": {"maximum": 7}}}
    with LocalServer([]) as server:
        server.register(lambda input, config, context: input, name="strict", input=schema)
        report = examined(server.url, agent, input)
    finding = found(report, "schemas")
    assert finding.verdict == verdict and seen in finding.seen


@pytest.mark.parametrize(
    ("verdict", "advice", "quirk", "shown"),
    [
        ("works", "advice", "", "  works      long poll: 1 s"),
        ("not tried", "advice", "", "  not tried  long poll: 1 s"),
        ("differs", "advice", "a=1", "  differs    long poll: 1 s  [a=1]\n{:13}meaning; advice"),
        ("missing", "", "", "  missing    long poll: 1 s\n{:13}meaning"),
    ],
)
def test_a_finding_has_one_line_and_what_differs_another(
    verdict: Any, advice: str, quirk: str, shown: str
) -> None:
    finding = Finding("5. Runs", "long poll", verdict, "1 s", "meaning", advice, "", quirk)
    assert str(finding) == shown.format("")


def test_the_json_has_a_version_and_every_finding_says_what_it_means(server: LocalServer) -> None:
    quirky = LocalServer(quirks=Quirks.of("acp-proxy"))
    with quirky:
        report = examined(quirky.url, COUNTER_AGENT_ID, COUNTING)
    written = json.loads(json.dumps(report.to_dict()))
    assert (written["version"], written["status"]) == (1, 11)
    for finding in written["findings"]:
        assert finding["meaning"], finding
        assert finding["advice"] or finding["verdict"] in ("works", "not tried"), finding
    assert len(written["settings"]) == 3
    assert all(setting in str(report) for setting in report.settings)


def test_every_finding_that_can_differ_has_its_words() -> None:
    source = Path(doctor.__file__).read_text("utf-8")
    named = set(re.findall(r'exam\.(?:note|habit)\(\s*"([^"]+)"', source))
    never = {"proxy", "capabilities", "webhooks, restarts"}
    assert len(named) > 25 and named | set(doctor._READS) <= set(doctor._WORDS) | never


def test_deep_polls_last_longer(server: LocalServer) -> None:
    report = examined(server.url, SLOW_AGENT_ID, {"seconds": 4.5}, deep=True)
    assert "of 60 s" in found(report, "long poll").seen


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("http://localhost",), "client must be an ApiClient, not str"),
        ((5,), "agent must be a str, not int"),
        (("echo", [1]), r"input must be a JSON object \(dict\), not list"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_sent(arguments: Any, words: str) -> None:
    with SocketServer() as server, ApiClient(Configuration(host=server.url)) as client:
        given = arguments if arguments[0] == "http://localhost" else (client, *arguments)
        with pytest.raises(ApiTypeError, match=words):
            examine(*given)
        assert server.connections == 0


def test_without_docstrings_the_report_has_no_words(server: LocalServer) -> None:
    script = (
        "import sys; from acp_client_v0_1 import ApiClient, Configuration\n"
        "from acp_client_v0_1.doctor import examine\n"
        "print(examine(ApiClient(Configuration(host=sys.argv[1]))))"
    )
    command = [sys.executable, "-OO", "-c", script, server.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{server.url}: all works\n")
