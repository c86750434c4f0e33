"""What the report says of proxies, TLS, credentials and foreign servers, and what stays behind."""

from __future__ import annotations

import json
import math
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from support.proxies import HttpProxy
from support.socket_server import Connection, SocketServer, response
from support.transport import free_port

from acp_client_v0_1 import (
    AgentHandle,
    AgentsApi,
    ApiClient,
    ApiException,
    ApiTimeoutError,
    ApiTypeError,
    ApiValueError,
    Configuration,
    RunsApi,
    RunStartAmbiguous,
    ThreadsApi,
    doctor,
)
from acp_client_v0_1.doctor import Finding, Report, examine
from acp_client_v0_1.testing import (
    APPROVAL_AGENT_ID,
    COUNTER_AGENT_ID,
    ECHO_AGENT_ID,
    SLOW_AGENT_ID,
    AgentError,
    Fault,
    LocalServer,
    Quirks,
)

pytestmark = pytest.mark.slow

COUNTING = {"count": 4, "interval": 0.25}


def at_fault(*faults: Fault, agent: str | None = None, input: Any = None, **more: Any) -> Report:
    """Examine a server of its own, with some faults and options."""
    with LocalServer(**more) as server:
        server.faults.add(*faults)
        return examined(server.url, agent, input)


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


def seen_of(report: Report, name: str) -> tuple[str, str]:
    finding = found(report, name)
    return finding.verdict, finding.seen


# How one failure is judged, and how long everything may take


NOT_FOUND = {"detail": "Not Found"}


@pytest.mark.parametrize(
    ("error", "real", "verdict", "seen", "quirk"),
    [
        (None, True, "works", "served", ""),
        (ApiException(500), True, "missing", "500", 'lacks={"get_run": 500}'),
        (ApiException(499), True, "works", "served", ""),
        (ApiException(400), True, "works", "served", ""),
        (ApiException(405), True, "missing", "405", 'lacks={"get_run": 405}'),
        (ApiException(399), True, "differs", "399", ""),
        (ApiException(200), True, "differs", "200", ""),
        (ApiException(199), True, "missing", "199", ""),
        *((ApiException(status), True, "missing", f"{status}", "") for status in (401, 403)),
        (ApiException(404), True, "missing", "404", 'lacks={"get_run": 404}'),
        (ApiException(404, body=" "), False, "not tried", "404", ""),
        (ApiException(404, body="x", data="no such run"), False, "works", "served", ""),
        (ApiException(404, body="{}", data=NOT_FOUND), False, "missing", "404", 'lacks={"get_run"'),
        (ApiException(404, body=" <p>", data=" <p>"), True, "missing", "404", ""),
        (ApiException(reason="cut"), True, "missing", "cut", ""),
        (ApiTimeoutError(reason="late", url="http://a/"), True, "missing", "late", ""),
        (ApiTimeoutError(reason="late"), True, "not tried", "late", ""),
    ],
)
def test_what_a_failure_says_of_an_operation(
    error: ApiException | None, real: bool, verdict: str, seen: str, quirk: str
) -> None:
    ambiguous = RunStartAmbiguous(client_token="", token="", why=str(error))
    ambiguous.__cause__ = error
    for given in (error, *([ambiguous] if error and verdict != "not tried" else [])):
        exam: Any = doctor._Exam(None, "", {}, False)  # type: ignore[arg-type]
        assert exam.judge("get_run", given, real) is (verdict == "works")
        (finding,) = exam.findings
        assert finding.verdict == verdict
        assert seen in finding.seen and finding.quirk.startswith(quirk)
        assert bool(finding.quirk) is bool(quirk)


@pytest.mark.parametrize(
    ("deep", "busy", "ends"),
    [
        (False, False, [10, 5, 8, 14, 10, 9, 10]),
        (False, True, [10, 15, 20, 20, 20, 20, 20]),
        (True, False, [100, 50, 80, 140, 100, 90, 100]),
        (True, True, [100, 150, 230, 300, 300, 300, 300]),
    ],
)
def test_each_probe_has_its_seconds_and_all_have_an_end(
    monkeypatch: pytest.MonkeyPatch, deep: bool, busy: bool, ends: list[int]
) -> None:
    clock, seen, asked = [1000.0], list[float](), list[float]()

    def probe(exam: Any) -> None:
        seen.append(exam.until - 1000)
        exam.note("probe", "", "works")
        exam.made, exam.runs = [1], {"token": SimpleNamespace(run_id="r")}
        clock[0] = exam.until if busy else 1000

    def ask(exam: Any, *_: Any) -> doctor._Answer:
        asked.append(exam.until - clock[0])
        return doctor._Answer(0, None, {}, status=404)

    probes = [(section, most, probe) for section, most, _ in doctor._PROBES]
    monkeypatch.setattr(doctor, "monotonic", lambda: clock[0])
    monkeypatch.setattr(doctor, "_PROBES", probes)
    monkeypatch.setattr(doctor._Exam, "ask", ask)
    with ApiClient() as client:
        examine(client, deep=deep)
    assert seen == ends
    assert asked == [10, 10]  # to clean up


@pytest.mark.parametrize(
    ("deep", "seconds"), [(False, {1.5, 2, 6, 7, 10, 24}), (True, {1.5, 2, 10, 60, 63, 360})]
)
def test_each_request_has_its_limit(
    monkeypatch: pytest.MonkeyPatch, server: LocalServer, deep: bool, seconds: set[float]
) -> None:
    left, limits = doctor._Exam.left, set[float]()
    with_options, views = ApiClient.with_options, list[dict[str, Any]]()

    def view_of(client: ApiClient, **options: Any) -> ApiClient:
        views.append(options)
        return with_options(client, **options)

    def unhurried(exam: Any, *most: float) -> float:
        with monkeypatch.context() as patch:
            patch.setattr(exam, "until", math.inf)
            limits.add(left(exam, *most))
        return left(exam, *most)

    monkeypatch.setattr(ApiClient, "with_options", view_of)
    monkeypatch.setattr(doctor._Exam, "left", unhurried)
    examined(server.url, COUNTER_AGENT_ID, {"count": 4, "interval": 0.6}, deep=deep)
    assert limits == seconds
    given = [{"retries": 0}, {"timeout": 8, "retries": 3}, {"timeout": 3}]
    assert [*views[:2], views[-1]] == given


@pytest.fixture
def took(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the requests of an operation seem to take these seconds, and none after them."""

    def let(operation: str, *seconds: float) -> None:
        ask, following = doctor._Exam.ask, chain(seconds, repeat(0.0))

        def timed(exam: Any, asked: str, *values: Any, **options: Any) -> doctor._Answer:
            answer = ask(exam, asked, *values, **options)
            return answer._replace(took=next(following)) if asked == operation else answer

        monkeypatch.setattr(doctor._Exam, "ask", timed)

    return let


@pytest.mark.parametrize(
    ("seconds", "ahead", "time_of_a_request", "clock"),
    [
        ([0.1, 0.9, 1.1, 0.2, 0.99], 5.5, ("works", "0.900 s, the median of 5"), "works"),
        ([1.0] * 5, 6.0, ("differs", "1.000 s, the median of 5"), "differs"),
        ([4.5, 0.5], 3600, ("differs", "4.500 s, the median of 2"), "differs"),
    ],
)
def test_the_median_of_some_requests_and_the_clock_of_the_server(
    took: Any, monkeypatch: pytest.MonkeyPatch, seconds: Any, ahead: float,
    time_of_a_request: tuple[str, str], clock: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(doctor, "time", lambda: 1_700_000_000 + ahead)
    took("search_agents", *seconds)
    with SocketServer(response(b"[]", date=formatdate(1_700_000_000, usegmt=True))) as server:
        report = examined(server.url)
    assert seen_of(report, "time of a request") == time_of_a_request
    assert seen_of(report, "clock") == (clock, f"-{ahead:.1f} s from yours")


# Proxies in front of the server


@pytest.mark.parametrize(("seconds", "verdict"), [(3.6, "differs"), (3.7, "works")])
def test_a_long_poll_has_to_last(took: Any, seconds: float, verdict: str) -> None:
    took("get_run_output", 0.0, seconds)
    never = Fault(path="/runs/*/output", block="never", times=2)
    report = at_fault(never, agent=SLOW_AGENT_ID, input={"seconds": 1})
    assert seen_of(report, "long poll") == (verdict, f"{seconds} s of 4 s")


def test_a_proxy_that_holds_streams_back_is_found(server: LocalServer) -> None:
    def serve(connection: Connection) -> None:
        if (request := connection.read_request()) is not None:
            with socket.create_connection(("127.0.0.1", server.port)) as upstream:
                line, _, rest = request.raw_head.partition(b"\r\n")
                upstream.sendall(line + b"\r\nconnection: close\r\n" + rest + b"\r\n\r\n")
                upstream.sendall(request.body)
                connection.sock.sendall(b"".join(iter(lambda: upstream.recv(65536), b"")))

    with SocketServer(handler=serve) as proxy:
        report = examined(proxy.url, COUNTER_AGENT_ID, COUNTING)
    assert set(faults(report)) == {"events in time"}, str(report)
    assert report.promises["streams that continue after a cut"] == "broken by events in time"
    assert report.status == 11


def test_a_long_poll_that_is_cut_is_found() -> None:
    output = "/runs/*/output"
    faults_of_polls = Fault(path=output), Fault(path=output, delay=1, status=504)
    report = at_fault(*faults_of_polls, agent=SLOW_AGENT_ID, input={"seconds": 2.5})
    assert set(faults(report)) == {"long poll"}, str(report)
    assert re.match(r"[12]\.\d s of 4 s, then GET /runs/", found(report, "long poll").seen)
    assert "agent.map(inputs, concurrency=16)" in report.settings


def test_outputs_that_are_refused_after_the_first_are_missing() -> None:
    refused = Fault(path="/runs/*/output", status=403, times=None)
    report = at_fault(Fault(path="/runs/*/output"), refused, agent=SLOW_AGENT_ID)
    assert "403" in faults(report)["get_run_output"]


def test_a_proxy_in_use_is_named_with_its_source(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpProxy() as proxy:
        report = examined(server.url, proxy=proxy.url)
        whose = "Configuration.proxy (ACP_PROXY)"
        advice = "set no_proxy=127.0.0.1"
        assert found(report, "proxy").seen == f"the proxy {proxy.url} of {whose}; {advice}"
        assert str(proxy.port) in found(report, "connection").seen
        monkeypatch.setenv("http_proxy", proxy.url)
        report = examined(server.url)  # which runs in this process
        assert found(report, "proxy").seen == "none is used"
        report = examined(server.url, proxy=proxy.url, no_proxy="127.0.0.1")
        assert found(report, "proxy").seen == "none is used"


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
    authority: trustme.CA, trust: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    until = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
    for days, verdict in ((22, "works"), (21, "differs")):
        monkeypatch.setattr(doctor, "time", (until - timedelta(days=days)).timestamp)
        with serving(authority, "127.0.0.1", not_after=until) as server:
            finding = found(examined(server.url, **trust), "TLS")
        assert finding.verdict == verdict
        assert finding.seen.startswith("TLSv1.") and "Sound Authority" in finding.seen
        assert finding.seen.endswith(f"{days} days left")


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_of_another_name_ends_the_examination_unless_it_is_not_verified(
    authority: trustme.CA, trust: dict[str, Any]
) -> None:
    with serving(authority, "acp.invalid") as server:
        report, unverified = examined(server.url, **trust), examined(server.url, verify_ssl=False)
    assert list(faults(report)) == ["TLS"] and "127.0.0.1" in found(report, "TLS").seen
    assert (report.status, report.settings) == (1, ('Configuration(ssl_ca_cert="ca.pem")',))
    assert faults(unverified)["TLS"].endswith(" by nobody, 0 days left")
    assert unverified.status == 11


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


def test_a_refusal_that_takes_most_of_the_time_of_its_probe_is_seen(fast_clock: None) -> None:
    slow = Fault(path="/agents/search", delay=0.7, times=None)  # 3.5 s
    report = at_fault(slow, api_key={"x-api-key": "a-secret-key"})
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


def test_pages_of_something_else_cannot_be_used() -> None:
    page = b"<html><title>Sign in \x1b[2J</title></html>"
    for status in (200, 404):
        with SocketServer(response(page, status=status, content_type="text/html")) as server:
            report = examined(server.url)
        assert report.status == 1
        assert "Sign in" in found(report, "search_agents").seen
        assert "\x1b" not in str(report)


def test_a_server_that_is_away_cannot_be_used() -> None:
    report = examined(f"http://127.0.0.1:{free_port()}")
    assert (report.status, list(faults(report))) == (1, ["connection"])
    assert "cannot connect" in found(report, "connection").seen
    assert 'Configuration(host="https://…")' in report.settings


def test_a_server_that_does_not_speak_tls_has_no_certificate_to_renew(server: LocalServer) -> None:
    report = examined(server.url.replace("http", "https"))
    assert list(faults(report)) == ["connection"]
    assert "try http://" in found(report, "connection").seen


def test_an_agent_that_is_not_there_cannot_be_run(server: LocalServer) -> None:
    report = examined(server.url, "nobody")
    assert report.status == 1 and "echo" in faults(report)["agents"]


@pytest.mark.parametrize("agent", [None, COUNTER_AGENT_ID])
def test_a_slow_server_takes_no_longer_than_half_a_minute(
    agent: str | None, fast_clock: None
) -> None:
    began = time.monotonic()
    slow = Fault(delay=0.4, times=None)  # 2 s of the doctor's
    report = at_fault(slow, agent=agent, input=COUNTING if agent else None)
    assert time.monotonic() - began < 9
    assert found(report, "time of a request").verdict == "differs"
    assert found(report, "time of a request").seen.endswith(" s, the median of 3")
    assert "not tried" in {each.verdict for each in report.findings}


@pytest.mark.parametrize("pending", ["204", "404", "held"])
def test_an_output_that_does_not_come_in_time_is_not_missing(
    pending: Any, fast_clock: None
) -> None:
    quirks = Quirks(pending_output=pending)
    report = at_fault(agent=SLOW_AGENT_ID, input={"seconds": 60}, quirks=quirks)
    assert found(report, "get_run_output").verdict == "not tried"
    assert "output while pending" in {each.name for each in report.findings}
    assert found(report, "get_run_stream").seen == "the agent does not stream"


def test_a_long_poll_is_not_tried_with_less_time_than_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probes = [
        (section, 5 if probe is doctor._create_run else most, probe)
        for section, most, probe in doctor._PROBES
    ]
    monkeypatch.setattr(doctor, "_PROBES", probes)
    quirks = Quirks(pending_output="held")
    report = at_fault(agent=SLOW_AGENT_ID, input={"seconds": 60}, quirks=quirks)
    assert "create_run" not in faults(report)
    assert "long poll" not in {each.name for each in report.findings}


def test_a_create_that_hangs_takes_no_longer_than_its_probe(fast_clock: None) -> None:
    began = time.monotonic()
    hangs = Fault(method="POST", path="/runs", cut="stall", times=None)
    report = at_fault(hangs, agent=COUNTER_AGENT_ID, input=COUNTING)
    assert time.monotonic() - began < 9
    assert found(report, "create_run").verdict == "missing" and report.status == 1


def test_a_create_that_is_refused_is_a_finding() -> None:
    create: dict[str, Any] = {"method": "POST", "path": "/runs"}
    refusal = Fault(**create, status=422, body={"detail": "count is no text"}, times=None)
    for first, name, status in (([], "create_run", 1), ([Fault(**create)], "stream", 11)):
        report = at_fault(*first, refusal, agent=COUNTER_AGENT_ID)
        assert (found(report, name).verdict, report.status) == ("differs", status)
        seen = found(report, name).seen
        assert "returned 422 " in seen and seen.endswith(": count is no text")


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
        assert ("GET", f"/agents/{ECHO_AGENT_ID}") in sent  # the first that it finds


def test_a_run_of_somebody_else_is_never_deleted(
    fast_clock: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Even if the server gives our runs the ids of others."""
    with LocalServer(quirks=Quirks(unknown_agent=200)) as server:
        with ApiClient(Configuration(host=server.url)) as client:
            body = {"agent_id": SLOW_AGENT_ID, "input": {"seconds": 60}}
            other = RunsApi(client).create_run(body)
            path, given = f"/runs/{other.run_id}", {"times": None, "status": 200}
            stolen = other.to_dict(mode="json") | {"creation": {"agent_id": SLOW_AGENT_ID}}
            marks = {"metadata": {"acp-client-token": "somebody else's"}}
            theirs = {**stolen, "creation": {**stolen["creation"], **marks}}
            server.faults.add(
                Fault(path="/runs", body=stolen, **given),
                Fault(path=path, method="GET", body=theirs, **given),
            )
            report = examine(client, SLOW_AGENT_ID, {"seconds": 0.3})
        methods = [each.method for each in server.requests if each.path == path]
        assert other.run_id in faults(report)["clean-up"]
        assert f"not deleted by the doctor: {other.run_id}" in caplog.text
        assert methods.count("DELETE") <= 1, methods


def test_ctrl_c_during_a_create_deletes_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    start = AgentHandle.start

    def interrupted(agent: AgentHandle, *given: Any, **options: Any) -> None:
        start(agent, *given, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(AgentHandle, "start", interrupted)
    with LocalServer() as server, ApiClient(Configuration(host=server.url)) as client:
        with pytest.raises(KeyboardInterrupt):
            examine(client, SLOW_AGENT_ID, {"seconds": 60})
        assert server.requests[-1].method == "DELETE" and server.runs == ()


def test_the_run_of_a_lost_create_is_found_and_deleted() -> None:
    """That of an agent that is not there, also after a create that made no run."""
    create: dict[str, Any] = {"method": "POST", "path": "/runs"}
    unknown = Fault(**create, cut="close", after_wire_bytes=0)
    with LocalServer(quirks=Quirks(unknown_agent=200)) as server:
        server.faults.add(Fault(**create), Fault(**create, status=400), Fault(**create), unknown)
        examined(server.url, COUNTER_AGENT_ID, COUNTING)
        assert any(each.fault is unknown for each in server.requests) and server.runs == ()


@pytest.mark.parametrize(
    ("carried_out", "seen"), [(True, ("works", "404")), (False, ("differs", "200"))]
)
def test_what_a_delete_without_content_leaves(carried_out: bool, seen: tuple[str, str]) -> None:
    delete: dict[str, Any] = {"method": "DELETE", "path": "/runs/*", "status": 204}
    times = None if carried_out else 1
    with LocalServer() as server:
        server.faults.add(Fault(**delete, carried_out=carried_out, times=times))
        report = examined(server.url, COUNTER_AGENT_ID, {"interval": 0})
        assert seen_of(report, "after a delete") == seen
        assert server.runs == () and "clean-up" not in faults(report)


def test_a_run_that_is_gone_is_not_left() -> None:
    gone = Fault(method="DELETE", path="/runs/*", status=404, carried_out=True, times=None)
    with LocalServer() as server:
        server.faults.add(gone)
        left = found(examined(server.url, COUNTER_AGENT_ID, {"interval": 0}), "clean-up").seen
        tried = [each.path.split("/")[2] for each in server.requests if each.fault is gone]
    first, *others = dict.fromkeys(tried)
    assert first not in left and all(run_id in left for run_id in others)


# The report

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
"""


def test_a_sound_server_is_asked_little_and_all_works() -> None:
    with LocalServer() as server, ApiClient(Configuration(host=server.url)) as client:
        thread = ThreadsApi(client).create_thread({"agent_id": COUNTER_AGENT_ID})
        server.clear_requests()
        report = examine(client, "counter", {"count": 4, "interval": 0.5})
        requests = server.requests
    assert (report.status, report.settings) == (0, ())
    assert report.promises == {
        "exactly one run for a start": "holds",
        "streams that continue after a cut": "holds",
        "thousands of runs in flight": "holds",
        "answers to questions": "not tried",
    }
    assert re.search(r"\n6\. Promises\n(  .*: .*\n){4}\n7\. Settings\n  none$", str(report))
    for one in report.findings:
        assert one.verdict == ("works" if one.name != "webhooks, restarts" else "not tried"), one
    elsewhere = {"TLS", "questions", "failed outputs", "attempts", "invalid requests", "clean-up"}
    failed = {"agents", "stream", "find_and_delete", "contract"}
    always = {"proxy", "capabilities", "webhooks, restarts"}
    names = sorted(one.name for one in report.findings)
    assert names == sorted(always | doctor._WORDS.keys() - elsewhere - failed)
    names = {COUNTER_AGENT_ID: "A", thread.thread_id: "T"}
    deleted = [each.path for each in requests if each.method == "DELETE"]
    assert len(deleted) == len({*deleted}) > 2  # each run once
    names |= {path.split("/")[2]: "R" for path in deleted}
    asked = dict[str, None]()
    for each in requests:
        line = f"{each.method} {each.path}?{each.query} {each.body.decode()}"
        for name, letter in names.items():
            line = line.replace(name, letter)
        line = re.sub(r"[0-9a-f]{8}[-0-9a-f]{24,28}", "X", line)
        line = re.sub(r'"input":{[^}]+}', '"input":{}', line).replace("? ", " ").strip()
        asked[re.sub(r"block_timeout=1\d$", "block_timeout=4", line)] = None
    assert "\n".join(asked) == ASKED.strip()


def test_an_agent_that_asks_can_be_answered(server: LocalServer) -> None:
    report = examined(server.url, APPROVAL_AGENT_ID)
    assert report.promises["answers to questions"] == "holds"


def test_operations_with_a_bare_404_are_missing_or_not_tried() -> None:
    """For an id that nobody has, it may also mean that the operation is served."""
    bare: dict[str, Any] = {"times": None, "status": 404, "body": b""}
    report = at_fault(Fault(path="/*/search", **bare))
    for one in report.findings:
        assert one.verdict != "missing" or one.name.startswith("search_"), one
        assert one.verdict == "works" or not one.name.startswith("get_thread"), one
    assert len(faults(report)) == 3
    report = at_fault(Fault(method="POST", path="/runs", **bare), agent=COUNTER_AGENT_ID)
    assert found(report, "create_run").verdict == "missing" and report.status == 1
    # This id is known.
    report = at_fault(Fault(method="GET", path="/agents/*", **bare))
    assert found(report, "get_agent_by_id").verdict == "missing"


def test_http_1_0_differs() -> None:
    raw = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n[]"
    report = at_fault(Fault(path="/agents/search", raw=raw, times=None))
    assert found(report, "connection").verdict == "differs"
    assert found(report, "connection").seen.endswith(", HTTP/1.0")


def test_a_page_for_an_unknown_id_says_nothing_of_errors() -> None:
    page: dict[str, Any] = {"body": b"<html>", "headers": {"content-type": "text/html"}}
    report = at_fault(Fault(path="/runs/*", status=404, **page, times=None))
    assert seen_of(report, "ids") == ("works", "as usual")
    assert "errors" not in {each.name for each in report.findings}


def test_a_request_that_is_refused_for_now_is_sent_again_after_longer_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(doctor, "sleep", pauses.append)
    report = at_fault(Fault(path="/runs/search", status=429, times=None))
    assert pauses == [0.5, 1.0, 1.5, 2.0]
    assert faults(report) == {"rate of requests": "4 were refused for now"}
    assert "agent.map(inputs, concurrency=4)" in report.settings


def test_a_search_that_ignores_the_name_is_found(server: LocalServer) -> None:
    with ApiClient(Configuration(host=server.url)) as client:
        agents = [each.to_dict() for each in AgentsApi(client).search_agents({"limit": 2})]
    report = at_fault(Fault(path="/agents/search", status=200, body=agents, times=None))
    assert faults(report)["search by name"] == "names found: 2"


@pytest.mark.parametrize(
    ("agent", "input", "more", "verdict", "seen"),
    [
        ("strict", {"n": 1}, {}, "works", "can be used"),
        ("strict", {"n": 9}, {}, "differs", "input.n"),
        ("strict", {"n": 1}, {"config": {"required": ["k"]}}, "differs", 'config: "k"'),
        ("strict", {"n": 1}, {"config": {"$ref": "http://a/"}}, "differs", "cannot be used"),
        (None, None, {}, "works", "a required property"),  # nobody has said what to run it with
    ],
)
def test_an_input_that_does_not_fit_is_found(
    agent: str | None, input: Any, more: dict[str, Any], verdict: str, seen: str
) -> None:
    schema = {"required": ["n"], "properties": {"n": {"maximum": 7}}}
    with LocalServer([]) as server:
        server.register(lambda *_: {}, name="strict", input=schema, output=schema, **more)
        report = examined(server.url, agent, input)
    assert found(report, "schemas").verdict == verdict
    assert seen in found(report, "schemas").seen
    assert "questions" not in {each.name for each in report.findings}  # it has none


def test_a_schema_that_requires_what_is_no_name_ends_nothing(server: LocalServer) -> None:
    with ApiClient(Configuration(host=server.url)) as client:
        about = AgentsApi(client).get_acp_descriptor_by_id(APPROVAL_AGENT_ID).to_dict()
    about["specs"]["output"] = {"required": [{"a": 1}, "y"]}
    descriptor = Fault(path="/agents/*/descriptor", status=200, body=about, times=None)
    report = at_fault(descriptor, agent=ECHO_AGENT_ID, input={"n": 1})
    assert found(report, "questions").quirk == "interrupts_succeed=True"


def test_an_agent_that_fails_is_looked_at_for_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(input: Any, config: Any, context: Any) -> None:
        raise AgentError(3, "out of paper " * 100)

    pauses: list[float] = []
    monkeypatch.setattr(doctor, "sleep", pauses.append)
    with LocalServer(quirks=Quirks(lacks={"get_run": 501})) as server:
        report = examined(server.url, server.register(failing))
    assert pauses == [0.03] * 80
    assert found(report, "attempts").verdict == "works"  # nobody knows of a second one
    verdict, seen = seen_of(report, "result")
    assert verdict == "differs" and seen.startswith("the agent failed: out of paper out of")
    assert len(seen) == 240


@pytest.mark.parametrize(
    ("times", "ids", "verdict", "quirk"),
    [
        ([0.28, 0.29, 0.31], ["1", "2", "3"], "differs", ""),
        ([4.5, 4.7, 5.0], ["1", "2", "3"], "works", ""),
        ([1.1, 1.2], ["1", "2"], "differs", ""),
        ([0.28, 0.29, 0.3], ["1", "", "1"], "works", "bare_comments=True"),
        ([0.5], ["1"], "works", ""),
    ],
)
def test_what_the_times_and_ids_of_events_show(
    monkeypatch: pytest.MonkeyPatch, server: LocalServer,
    times: list[float], ids: list[str], verdict: str, quirk: str,
) -> None:  # fmt: skip
    following = chain(repeat((times, ids, True), 1 + (verdict == "differs")), [([], ["2"], True)])
    monkeypatch.setattr(doctor, "_events", lambda answer: next(following))
    report = examined(server.url, COUNTER_AGENT_ID, {"interval": 0})
    assert found(report, "events in time").verdict == verdict
    assert [each.quirk for each in report.findings if each.quirk] == ([quirk] if quirk else [])
    assert ("replay" in {each.name for each in report.findings}) == (len(ids) > 1)


@pytest.mark.parametrize("size", [1, 8_000_000])
def test_of_the_events_of_an_endless_stream_some_are_kept(size: int) -> None:
    events = (SimpleNamespace(id="x" * size) for _ in range(10_000 if size > 1 else 1_000_000))
    stream = nullcontext(SimpleNamespace(raw_events=lambda: events))
    times, ids, _ = doctor._events(doctor._Answer(0, stream, {}, 200))
    assert len(times) == len(ids) <= 10_000 and sum(map(len, ids)) <= 8_000_000


def test_a_second_stream_that_fails_is_no_replay() -> None:
    first, second = Fault(path="/runs/*/stream"), Fault(path="/runs/*/stream", status=500)
    report = at_fault(first, second, agent=COUNTER_AGENT_ID, input=COUNTING)
    assert seen_of(report, "replay") == ("differs", "0 of 4 events after the first")


def test_events_are_timed_from_the_request_on(took: Any, server: LocalServer) -> None:
    took("get_run_stream", 5.0)
    report = examined(server.url, COUNTER_AGENT_ID, COUNTING)
    assert found(report, "events in time").seen.startswith("after 5.")


def test_the_json_has_a_version_and_every_finding_says_what_it_means() -> None:
    quirks = replace(Quirks.of("acp-proxy"), lacks={"search_agents": 501}, replay=False)
    report = at_fault(agent=COUNTER_AGENT_ID, input=COUNTING, quirks=quirks)
    written = json.loads(json.dumps(report.to_dict()))
    assert (written["version"], written["status"]) == (1, 11)
    for finding in written["findings"]:
        sound = finding["verdict"] in ("works", "not tried")
        assert finding["meaning"] and (sound or finding["advice"]), finding
        words = f"\n{'':13}{finding['meaning']}; {finding['advice']}"
        assert (words in str(report)) is not sound, finding
    wanted = {one["setting"] for one in written["findings"] if one["verdict"] == "differs"}
    assert len(written["settings"]) == 3 < len(wanted)
    assert all(setting in str(report) for setting in report.settings)


def test_every_finding_that_can_differ_has_its_words() -> None:
    source = Path(doctor.__file__).read_text("utf-8")
    named = set(re.findall(r'exam\.(?:note|habit)\(\s*"([^"]+)"', source))
    never = {"proxy", "capabilities", "webhooks, restarts"}
    assert len(named) > 25 and named | set(doctor._READS) <= set(doctor._WORDS) | never


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("http://localhost",), "client must be an ApiClient, not str"),
        ((None,), "client must be an ApiClient, not None"),
        ((5,), "agent must be a str, not int"),
        (("echo", [1]), r"input must be a JSON object \(dict\), not list"),
        (("echo", {}, "no"), "deep must be True or False, not str"),
        ((None, {"n": 1}), "input is for runs of an agent, and no agent was named"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_sent(arguments: Any, words: str) -> None:
    with SocketServer() as server, ApiClient(Configuration(host=server.url)) as client:
        given = arguments if "client" in words else (client, *arguments)
        with pytest.raises((ApiTypeError, ApiValueError), match=words):
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


def test_a_request_is_not_begun_without_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "monotonic", lambda: 1000.0)
    exam: Any = doctor._Exam(None, "", {}, False)  # type: ignore[arg-type]
    exam.until = 1000.06
    assert exam.left() == pytest.approx(0.06)
    exam.until = 1000.04
    with pytest.raises(ApiTimeoutError, match="no time was left"):
        exam.left()


@pytest.mark.parametrize(("seconds", "seen"), [(0.3, None), (0.4, "held")])
def test_an_output_that_takes_long_was_held(took: Any, seconds: float, seen: str | None) -> None:
    took("get_run_output", seconds)
    report = at_fault(agent=ECHO_AGENT_ID, quirks=Quirks(pending_output="held"))
    held = {each.name: each.seen for each in report.findings}.get("output while pending")
    assert held == seen
