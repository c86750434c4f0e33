"""What the report says of one server, and what an examination leaves behind.

`CASES` is a table. A row is a server, by faults and quirks of the local server or by routes of a
scripted one, and what the report must say of it. All else that differs, is missing or limited fails
the row. So a new observation is a new row.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.gateway import Cache, Limiter
from support.proxies import HttpProxy
from support.socket_server import Connection, Request, SocketServer, response, serve_each
from support.transport import free_port

import acp_client_v0_1 as acp
from acp_client_v0_1.doctor import Finding, Report, _exam, _probes, _words, examine
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

NOBODY = "99999999-9999-4999-8999-999999999999"
COUNTING = {"count": 4, "interval": 0.05}
# On a busy machine, a stream of less than this may seem late, and the doctor opens another one.
SLOWLY: dict[str, Any] = {"agent": COUNTER_AGENT_ID, "input": {"count": 4, "interval": 0.25}}
FOR_A_SECOND: dict[str, Any] = {"agent": SLOW_AGENT_ID, "input": {"seconds": 1}}
HTML: dict[str, Any] = {"content_type": "text/html"}
PAGE: dict[str, Any] = {"body": b"<html>nginx", "headers": {"Content-Type": "text/html"}}
CREATE: dict[str, Any] = {"method": "POST", "path": "/runs"}
DELETE: dict[str, Any] = {"method": "DELETE", "path": "/runs/*"}
OUTPUT, STREAM = "/runs/*/output", "/runs/*/stream"
HTTP_10 = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n[]"
NOW = "not now: try later"
NOT_RUN = "the agent was not run: try later"
NOT_ACP = "this does not look like ACP 0.1"
NO_AGENT = "it does not run the agent"
UNUSABLE = "it cannot be used"
STATUSES = {
    "all works": 0,
    "something differs": 11,
    **dict.fromkeys((UNUSABLE, NOT_ACP, NO_AGENT), 1),
    "it speaks ACP 0.2 or later, not 0.1": 1,
    **dict.fromkeys((NOW, NOT_RUN, "some requests were refused for now: try later"), 10),
}


@dataclass(frozen=True)
class Case:
    """A server, what it is examined with, and what the report says.

    ``says`` has the verdict of a finding, and a part of what was seen, by the finding's name.
    ``unlike`` are words that the report must not have.
    """

    outcome: str
    says: dict[str, str] = field(default_factory=dict[str, str])
    faults: tuple[Fault, ...] = ()
    quirks: Quirks | None = None
    routes: Callable[[Request], Any] | None = None  # of a scripted server
    agent: str | None = None
    input: Any = None
    config: Any = None
    advice: tuple[str, ...] = ()  # some of it
    unlike: str = ""
    runs: int | None = None  # how many creates the server sees
    left: int = 0  # how many runs stay at the server


def differs(says: dict[str, str], *faults: Fault, **more: Any) -> Case:
    return Case("something differs", says, faults, **more)


def always(**fault: Any) -> Fault:
    return Fault(times=None, **fault)


TWO_OUTPUTS = (Fault(path=OUTPUT), Fault(path=OUTPUT))  # of which each lets a request through


def spared(count: int, **fault: Any) -> tuple[Fault, ...]:
    """Faults that let so many creates through."""
    return Fault(**CREATE, times=count), always(**CREATE, **fault)


def routed(table: dict[str, bytes], otherwise: bytes) -> Callable[[Request], bytes]:
    """Respond by method and path, of which ``*`` is a segment."""

    def respond(request: Request) -> bytes:
        line = f"{request.method} {request.path.partition('?')[0]}"
        fits = (
            each for key, each in table.items() if re.fullmatch(key.replace("*", "[^/]+"), line)
        )
        return next(fits, otherwise)

    return respond


def of_json(value: object, status: int = 200) -> bytes:
    return response(json.dumps(value).encode(), status=status)


NOT_FOUND = of_json({"detail": "Not Found"}, 404)
REF = {"name": "a", "version": "1"}
AGENT = {"agent_id": NOBODY, "metadata": {"ref": REF, "description": "-"}}
# The paths of workflow-srv 0.3.0, which speaks ACP 0.2.
WORKFLOW_03 = routed(
    {
        "POST /agents/search": of_json({"detail": "cannot unpack"}, 422),
        "GET /agents/*": of_json(AGENT),
        "GET /agents/*/descriptor": of_json({"detail": "no manifest"}, 404),
        "POST /runs/search": of_json([]),
        "GET /runs/*": of_json({"detail": "Run with ID x not found"}, 404),
        "GET /runs/*/wait": response(status=404, content_type=""),
        "GET /runs/*/stream": of_json({"detail": "Not implemented"}, 500),
        "POST /threads/search": of_json([]),
        "GET /threads/*": of_json({"detail": "Thread x not found"}, 404),
        "GET /threads/*/history": of_json({"detail": "Thread x not found"}, 404),
    },
    NOT_FOUND,
)
# The Agent Communication Protocol has agents and runs too.
OPERATIONS_OF_OTHER_ACP = {"search_runs", "get_agent_by_id", "get_run"}
OTHER_ACP = routed(
    {
        "POST /agents/*": of_json({"detail": "Method Not Allowed"}, 405),
        "GET /agents/*": of_json({"detail": "Agent not found"}, 404),
        "GET /runs/*": of_json({"detail": "Run not found"}, 404),
        "POST /runs/*": of_json({"detail": [{"loc": ["path", "run_id"]}]}, 422),
        "POST /runs": of_json({"detail": [{"loc": ["body", "agent_name"]}]}, 422),
    },
    NOT_FOUND,
)
NO_CERTIFICATE = response(b"<html>400 No required SSL certificate was sent", 400, **HTML)
WORKFLOW = Quirks.of("workflow-srv")
READS_OF_WORKFLOW = {name for name in WORKFLOW.lacks if name.startswith(("get", "search"))}
PROXY = Quirks.of("acp-proxy")
LACKS_OF_PROXY = dict.fromkeys(PROXY.lacks, "missing: 501")
del LACKS_OF_PROXY["create_thread"], LACKS_OF_PROXY["delete_thread"]  # which are not tried
LACKS_OF_PROXY |= {"get_acp_descriptor_by_id": "missing: 404"}
HABITS_OF_PROXY = {
    "errors": "differs: text",
    "ids": "differs: 400",
    "invalid requests": "differs: 400",
    "metadata": "differs: none",
    "status": "differs: empty",
    "output while pending": "differs: 404",
    "times": "differs: year 1",
    "thread ids": "differs: there is no such thread",
    "unknown agent": "differs: 200",
}
WORKS = {"create_run": "works: a run was started", "clean-up": "works"}
FEW = {"rate of requests": "differs: 1 were sent again"}
MANY = {"rate of requests": "differs"}
THREADS = ("get_thread", "get_thread_state", "get_thread_history")
PATHS_OF_THREADS = ("/threads/*", "/threads/*/state", "/threads/*/history")
READS = (
    *("search_runs", "search_threads", "get_agent_by_id", "get_acp_descriptor_by_id"),
    *("get_run", "get_run_output", "get_run_stream", "get_run_threadstate"),
)

CASES = {
    # 1. A status that passes.
    **{
        f"one {status} to a create": differs(
            WORKS | FEW, Fault(**CREATE, status=status, retry_after=after),
            agent=ECHO_AGENT_ID, unlike="no run can be started", runs=4)
        for status, after in ((503, None), (504, None))
    },
    "one 429 to a create": Case(
        "all works", WORKS | {"rate of requests": "works: about "},
        (Fault(**CREATE, status=429, retry_after=1),), agent=ECHO_AGENT_ID,
        advice=("refused 1 times, and served later",), runs=4),
    **{
        f"only {status} to creates": Case(
            NOT_RUN, {"create_run": "limited: POST /runs returned"} | MANY,
            (always(**CREATE, status=status),), agent=COUNTER_AGENT_ID,
            unlike="missing|its run|stays? on the server", runs=3)
        for status in (503, 429)
    },
    "a 429 to the last create": differs(
        {"unknown agent": "limited: POST /runs returned 429"} | MANY, *spared(2, status=429),
        agent=ECHO_AGENT_ID, unlike="may never end|: 0 were sent again"),
    "a proxy without its server": Case(
        NOW, dict.fromkeys(("search_agents", *READS, *THREADS), "limited") | MANY,
        routes=routed({}, response(b"<html>502 nginx", 502, **HTML)),
        agent=NOBODY, unlike="stays? on the server|missing", runs=0),
    "a 503 to a second stream": differs(
        {"replay": "limited: GET"} | MANY,
        Fault(path=STREAM, times=2), always(path=STREAM, status=503), **SLOWLY),
    "a 503 to reads of ids": differs(
        {"get_run": "limited"} | MANY, always(path="/runs/*", method="GET", status=503),
        unlike="without a UUID"),
    # 2. What is left, and what is not.
    "an agent that does not exist": Case(
        NO_AGENT, {"agents": "missing: GET /agents/", "get_agent_by_id": "works: served"},
        agent=NOBODY, unlike="without an id|stays? on the server", runs=0),
    "an agent that workflow-srv 0.1.0 does not have": Case(
        NO_AGENT,
        {name: f"missing: {status}" for name, status in WORKFLOW.lacks.items()
         if name in READS_OF_WORKFLOW} | {"agents": "missing: GET", "errors": "differs: detail"},
        quirks=WORKFLOW, agent=NOBODY, unlike="without an id|stays? on the server", runs=0),
    "an unknown name": Case(NO_AGENT, {"agents": "missing: no agent"}, agent="nobody", runs=0),
    "a client without a certificate at nginx": Case(
        UNUSABLE, {"client certificate": "missing: POST"}, routes=routed({}, NO_CERTIFICATE),
        agent=NOBODY, advice=("set cert_file and key_file",), unlike="without an id", runs=0),
    "creates without a response that made runs": Case(
        NOT_RUN, {"create_run": "limited", "clean-up": "differs: what 3 creates made, whose",
                  "search_runs": "missing: 501"} | MANY,
        (always(**CREATE, status=504, carried_out=True),), Quirks(lacks={"search_runs": 501}),
        agent=SLOW_AGENT_ID, runs=3, left=3),
    "creates whose responses are lost": differs(
        WORKS | {"unknown agent": "differs: 200"},
        always(**CREATE, cut="close", after_wire_bytes=0),
        quirks=Quirks(unknown_agent=200), agent=ECHO_AGENT_ID),
    # Nobody knows whose run a search has found where its client token is hidden.
    "a lost create at a server that hides client tokens": differs(
        WORKS | FEW | {"metadata": "differs: none", "clean-up": "differs: what 1 creates made"},
        Fault(**CREATE, cut="close", after_wire_bytes=0),
        quirks=Quirks(echo_metadata="none"), agent=ECHO_AGENT_ID, left=1),
    "a lost create at a server that drops metadata": differs(
        WORKS | FEW | {"metadata": "differs: no search finds it", "clean-up": "differs: what 1"},
        Fault(**CREATE), Fault(**CREATE, cut="close", after_wire_bytes=0),
        quirks=Quirks(stored_metadata="none"), **SLOWLY, left=1),
    "a server that hides client tokens and ignores metadata": differs(
        WORKS | {"metadata": "differs: masked", "search by metadata": "differs: ignored"},
        quirks=Quirks(echo_metadata="masked", search_metadata="ignored"), **SLOWLY),
    "runs that cannot be deleted": differs(
        {"delete_run": "missing: 501", "clean-up": "differs"},
        quirks=Quirks(lacks={"delete_run": 501}), agent=ECHO_AGENT_ID, left=2),
    "a DELETE that answers a page": differs(
        {"delete_run": "differs: DELETE", "clean-up": "differs"},
        always(**DELETE, status=200, **PAGE), agent=ECHO_AGENT_ID, left=2),
    "runs of one id, of which later ones are refused": differs(
        {"run ids": "differs", "later runs": "limited", "clean-up": "works"} | MANY,
        *spared(2, status=429), quirks=Quirks(one_run_id=True), **SLOWLY),
    "a DELETE that is carried out and answers a page": differs(
        {"delete_run": "differs: DELETE", "clean-up": "works"},
        always(**DELETE, status=200, carried_out=True, **PAGE), agent=ECHO_AGENT_ID),
    "a DELETE that is carried out and answers 404": differs(
        {"delete_run": "missing: 404", "clean-up": "works"},
        always(**DELETE, status=404, carried_out=True), agent=ECHO_AGENT_ID),
    "a DELETE that is not carried out": differs(
        {"after a delete": "differs: 200"}, Fault(**DELETE, status=204), agent=ECHO_AGENT_ID),
    # 3. Pages and words of others.
    "a page for each 404": Case(
        "all works", dict.fromkeys(THREADS, "not tried: 404 for an id"),
        tuple(always(method="GET", path=path, status=404, **PAGE) for path in
              (*PATHS_OF_THREADS, "/runs/*")),
        unlike="do not work|errors:"),
    "an empty 404 for ids that nobody has": Case(
        "all works", dict.fromkeys(THREADS, "not tried"),
        tuple(always(method="GET", path=path, status=404, body=b" ") for path in PATHS_OF_THREADS)),
    "an empty 404 for an agent that is there": differs(
        {"get_agent_by_id": "missing: 404"},
        always(method="GET", path="/agents/*", status=404, body=b"")),
    "empty 404s to searches": differs(
        {f"search_{kind}": "missing: 404" for kind in ("runs", "agents", "threads")},
        always(path="/*/search", status=404, body=b"")),
    "a page in place of a server": Case(
        NOT_ACP, dict.fromkeys(("search_agents", *READS, *THREADS), "differs"),
        routes=routed({}, response(b"<html>Sign in \x1b[2J", **HTML)),
        agent=NOBODY, runs=0),
    "a 422 to a search": differs(
        {"search_runs": "differs: POST /runs/search returned 422"},
        always(path="/runs/search", status=422)),
    "outputs that are refused": differs(
        {"get_run_output": "missing: GET"}, *TWO_OUTPUTS, always(path=OUTPUT, status=403),
        agent=SLOW_AGENT_ID),
    "a create that does not fit": Case(
        NO_AGENT, {"create_run": "differs: POST /runs returned 422"},
        (always(**CREATE, status=422, body={"detail": "count is no text"}),),
        agent=COUNTER_AGENT_ID),
    "later creates that do not fit": differs(
        {"later runs": "differs: POST /runs returned 422"}, *spared(1, status=422),
        agent=COUNTER_AGENT_ID),
    "a second stream that fails": differs(
        {"replay": "differs: 0 events after the first"},
        Fault(path=STREAM, times=2), Fault(path=STREAM, status=500), **SLOWLY),
    "ids that are no segments of a path": differs(
        {"agents": "differs: id_or_name must not be"},
        always(path="/agents/search", status=200, body=[AGENT | {"agent_id": ".."}])),
    # 4. What was not seen.
    "an agent that fails": differs(
        {"attempts": "not tried: no second one", "result": "differs: the agent failed",
         "failed outputs": "not tried"}, agent="fails"),
    "one run": differs(
        {"later runs": "limited: POST /runs returned 429"} | MANY, *spared(1, status=429),
        agent=COUNTER_AGENT_ID, input=COUNTING,
        unlike="order of searches|search by metadata|run ids"),
    # 5. Other protocols, and parts of this one.
    "workflow-srv 0.3.0": Case(
        "it speaks ACP 0.2 or later, not 0.1",
        {"version": "differs: outputs are at /runs/{run_id}/wait", "get_run_output": "missing: 404",
         "search_agents": "differs", "get_run_stream": "missing: 500",
         "get_thread_state": "missing: 404", "get_run_threadstate": "missing: 404"},
        routes=WORKFLOW_03, unlike="something differs", runs=0),
    "another protocol of the same initials": Case(
        NOT_ACP,
        {"search_runs": "differs: POST /runs/search returned 422", "search_agents": "missing: 405",
         "agents": "missing: GET /agents/"}
        | dict.fromkeys({*READS, *THREADS} - OPERATIONS_OF_OTHER_ACP, "missing: 404"),
        routes=OTHER_ACP, agent=NOBODY, unlike="something differs", runs=0),
    "the Go proxy, which runs are not tried at": differs(
        {name: words for name, words in LACKS_OF_PROXY.items() if name != "resume_run"}
        | {name: HABITS_OF_PROXY[name] for name in ("errors", "ids", "invalid requests")},
        quirks=PROXY, unlike="cannot be used"),
    # 6. What was missing.
    "the Go proxy": differs(
        LACKS_OF_PROXY | HABITS_OF_PROXY
        | {"output again": "differs: it is gone", "run ids": "differs: 4 runs, different ids: 1"},
        quirks=replace(PROXY, output_once=True, one_run_id=True), **FOR_A_SECOND,
        advice=("use map(…, concurrency=1)", "use map(…, journal=…)")),
    "an output that can be fetched once": differs(
        {"output again": "differs: it is gone"}, quirks=Quirks(output_once=True),
        agent=ECHO_AGENT_ID, advice=("or use map(…, journal=…)",)),
    "an agent that requires a config": Case(
        NO_AGENT, {"create_run": "differs: POST /runs returned 422", "schemas": "differs: config"},
        agent="strict"),
    "an agent that got its config": Case(
        "all works", WORKS | {"schemas": "works"}, agent="strict", config={"k": 1}),
    # What a way or a server does otherwise
    "HTTP 1.0": differs(
        {"connection": "differs: 127.0.0.1"}, always(path="/agents/search", raw=HTTP_10)),
    "a long poll that is cut": differs(
        {"long poll": "differs: 0."}, *TWO_OUTPUTS, Fault(path=OUTPUT, delay=0.55, status=504),
        advice=("use map(…, concurrency=16)",), **FOR_A_SECOND),
    "a long poll that is refused for now": Case(
        "some requests were refused for now: try later", {"long poll": "limited: 0."},
        (*TWO_OUTPUTS, Fault(path=OUTPUT, status=503)), **FOR_A_SECOND),
    "an agent that asks": Case("all works", {"questions": "works"}, agent=APPROVAL_AGENT_ID),
}  # fmt: skip


def failing(input: Any, config: Any, context: Any) -> None:
    raise AgentError(3, "out of paper " * 100)


@contextmanager
def serving(case: Case) -> Iterator[Any]:
    if case.routes is not None:
        with SocketServer(handler=serve_each(case.routes)) as scripted:
            yield scripted
        return
    with LocalServer(quirks=case.quirks or Quirks(), ping=0.05) as server:
        server.register(failing, name="fails")
        server.register(lambda *_: {}, name="strict", config={"required": ["k"]})
        server.faults.add(*case.faults)
        yield server


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_report_says_what_was_seen_and_no_more(case):
    with serving(case) as server:
        report = examined(server.url, case.agent, case.input, config=case.config)
        creates = [one for one in server.requests if (one.method, one.path) == ("POST", "/runs")]
        left = [run["run_id"] for run in getattr(server, "runs", ())]
    assert (report.outcome, report.status) == (case.outcome, STATUSES[case.outcome]), str(report)
    for name, words in case.says.items():
        assert words in "\n".join(lines_of(report, name)), str(report)
    assert set(faults(report)) == {
        name for name, words in case.says.items() if not words.startswith(("works", "not tried"))
    }, str(report)
    assert all(each in str(report) for each in case.advice)
    assert not (case.unlike and re.search(case.unlike, str(report))), str(report)
    assert case.runs in (None, len(creates)) and len(creates) <= 7
    assert len(left) == case.left, str(report)
    lost = "responses were lost" in str(report)
    assert lost or all(run_id in str(report) for run_id in left)
    assert str(report).replace("\n", "").isprintable()


def examined(
    host: str, agent: str | None = None, input: Any = None, deep: bool = False,
    config: Any = None, **settings: Any,
) -> Report:  # fmt: skip
    with acp.ApiClient(acp.Configuration(host=host, **settings)) as client:
        return examine(client, agent, input, deep, config)


def lines_of(report: Report, name: str) -> list[str]:
    return [f"{one.verdict}: {one.seen}" for one in report.findings if one.name == name]


def found(report: Report, name: str) -> Finding:
    return next(each for each in report.findings if each.name == name)


def faults(report: Report) -> dict[str, str]:
    return {
        each.name: each.seen
        for each in report.findings
        if each.verdict in ("differs", "missing", "limited")
    }


# Between you and the server


@pytest.mark.slow
def test_a_proxy_that_holds_streams_back_is_found():
    def serve(connection: Connection) -> None:
        if (request := connection.read_request()) is not None:
            with socket.create_connection(("127.0.0.1", server.port)) as upstream:
                line, _, rest = request.raw_head.partition(b"\r\n")
                upstream.sendall(line + b"\r\nconnection: close\r\n" + rest + b"\r\n\r\n")
                upstream.sendall(request.body)
                connection.sock.sendall(b"".join(iter(lambda: upstream.recv(65536), b"")))

    with LocalServer() as server, SocketServer(handler=serve) as proxy:
        report = examined(proxy.url, COUNTER_AGENT_ID, {"count": 4, "interval": 0.15})
    assert set(faults(report)) == {"events in time"}, str(report)


def test_a_proxy_in_use_is_named_with_its_source(monkeypatch):
    with LocalServer() as server, HttpProxy() as proxy:
        report = examined(server.url, proxy=proxy.url)
        whose = "Configuration.proxy (ACP_PROXY)"
        advice = "set no_proxy (ACP_NO_PROXY) to 127.0.0.1"
        assert found(report, "proxy").seen == f"the proxy {proxy.url} of {whose}; {advice}"
        assert str(proxy.port) in found(report, "connection").seen
        monkeypatch.setenv("http_proxy", proxy.url)
        report = examined(server.url)  # which runs in this process
        assert found(report, "proxy").seen == "none is used"
        report = examined(server.url, proxy=proxy.url, no_proxy="127.0.0.1")
        assert found(report, "proxy").seen == "none is used"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="Sound Authority")


def over_tls(authority: trustme.CA, *names: str, **more: Any) -> LocalServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **more).configure_cert(context)
    return LocalServer(tls=context)


@pytest.fixture
def trust(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return {"ssl_ca_cert": str(tmp_path / "ca.pem")}


@pytest.mark.parametrize(("days", "verdict"), [(22, "works"), (20, "differs")])
def test_tls_has_its_version_issuer_and_days_left(authority, trust, days, verdict):
    until = datetime.now(timezone.utc) + timedelta(days=days, minutes=5)
    with over_tls(authority, "127.0.0.1", not_after=until) as server:
        finding = found(examined(server.url, **trust), "TLS")
    assert finding.verdict == verdict
    assert finding.seen.startswith("TLSv1.") and "Sound Authority" in finding.seen
    assert finding.seen.endswith(f"{days} days left")


@pytest.mark.parametrize(
    ("lives", "left", "seen", "verdict"),
    [
        *(
            (12, 11, "11 hours", "works"),
            (12, 5, "5 hours", "works"),
            (12, 2, "2 hours", "differs"),
        ),
        *(
            (24, 23, "23 hours", "works"),
            (144, 72, "3 days", "works"),
            (144, 24, "24 hours", "differs"),
        ),
        *((2160, 480, "20 days", "works"), (2160, 408, "17 days", "differs")),
        (9552, 480, "20 days", "differs"),
    ],
)
def test_the_time_left_of_a_certificate_is_compared_with_the_time_that_it_lives(
    authority, trust, lives, left, seen, verdict
):
    """All times are in hours. What renews a certificate of a day or a week does so in time."""
    until = datetime.now(timezone.utc) + timedelta(hours=left, minutes=5)
    times = {"not_before": until - timedelta(hours=lives), "not_after": until}
    with over_tls(authority, "127.0.0.1", **times) as server:
        report = examined(server.url, **trust)
    finding = found(report, "TLS")
    assert (finding.verdict, finding.seen.rpartition(", ")[2]) == (verdict, f"{seen} left")
    assert report.status == (11 if verdict == "differs" else 0)
    assert verdict == "works" or "ends soon; set ssl_ca_cert, or renew it" in str(report)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_of_another_name_ends_the_examination_unless_it_is_not_verified(
    authority, trust
):
    with over_tls(authority, "acp.invalid") as server:
        report, unverified = examined(server.url, **trust), examined(server.url, verify_ssl=False)
    assert list(faults(report)) == ["TLS"] and "127.0.0.1" in found(report, "TLS").seen
    assert (report.status, report.outcome) == (1, UNUSABLE)
    assert found(report, "TLS").meaning == "its certificate is for another name"
    assert found(report, "TLS").advice == "write its name in host, or set tls_server_name"
    assert "renew" not in str(report) and "ssl_ca_cert" not in str(report)
    assert faults(unverified)["TLS"].endswith(" by nobody, 0 days left")
    assert unverified.status == 11


EXPIRED = {name: datetime(2020, 1, day, tzinfo=timezone.utc) for name, day in (
    ("not_before", 1), ("not_after", 2),
)}  # fmt: skip
FACT, HEDGED = "it accepts no client without", "it refuses the handshake, and does not say why"
# By the kind of the client's certificate and the version: what is said of it.
CLIENTS = {
    ("none", "TLSv1_2"): (HEDGED, "if it wants a client certificate, set cert_file and key_file"),
    ("none", "TLSv1_3"): (FACT, "set cert_file and key_file"),
    **{
        ("expired", v): ("it says that the", "renew it (cert_file)") for v in ("TLSv1_2", "TLSv1_3")
    },
    **{("of another CA", v): ("it does not", "set cert_file to") for v in ("TLSv1_2", "TLSv1_3")},
}


@pytest.mark.parametrize(("case", "words"), CLIENTS.items(), ids=lambda each: "-".join(each))
def test_what_a_server_says_of_the_clients_certificate(authority, trust, tmp_path, case, words):
    kind, version = case
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.maximum_version, context.verify_mode = ssl.TLSVersion[version], ssl.CERT_REQUIRED
    if kind != "none":
        issuer, dates = (authority, EXPIRED) if kind == "expired" else (trustme.CA(), {})
        identity = issuer.issue_cert("client@acp.invalid", **dates)
        identity.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
        trust = {**trust, "cert_file": str(tmp_path / "client.pem")}
    with SocketServer(response(b"[]"), ssl_context=context) as server:
        report = examined(server.url, ECHO_AGENT_ID, **trust)
        assert server.requests == []
    assert (report.outcome, list(faults(report))) == (UNUSABLE, ["client certificate"])
    finding = found(report, "client certificate")
    assert finding.meaning.startswith(words[0]) and finding.advice.startswith(words[1])
    assert "ssl_ca_cert" not in str(report)
    # What is certain is that the client has one.
    assert kind == "none" or FACT not in str(report)


@pytest.mark.parametrize(
    "words", ["No required SSL certificate was sent", "The SSL certificate error"]
)
def test_a_page_of_nginx_about_the_clients_certificate_is_no_word_on_whether_it_is_set(words):
    page = response(f"<html>400 {words}".encode(), 400, **HTML)
    with SocketServer(page) as server:
        finding = found(examined(server.url), "client certificate")
    assert words in finding.seen
    assert finding.meaning == "it wants one that it trusts"
    assert finding.advice == "set cert_file and key_file, or check them"


def test_words_on_tls_are_those_of_the_error(authority, trust):
    """The doctor and the errors have one table."""
    refusing = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(refusing)
    refusing.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(other)
    for name, handler, context, words in (
        ("TLS", None, refusing, "it has no site of this name (SNI); correct the name"),
        (
            "TLS",
            None,
            other,
            "its CA, or one in between, is not known; no trusted CA issued it: set",
        ),
        ("TLS", greeted_by(120), None, "it does not speak HTTP/1.1, and perhaps only HTTP/2; have"),
        ("TLS", greeted_by(70), None, "it accepts neither TLS 1.2 nor 1.3 of this client; update"),
        ("connection", greeted_by(None), None, "it ended the connection without a response; if it"),
    ):
        with SocketServer(response(b"[]"), handler=handler, ssl_context=context) as server:
            report = examined(f"https://localhost:{server.port}", **trust)
        assert (report.outcome, list(faults(report))) == (UNUSABLE, [name])
        finding = found(report, name)
        assert f"{finding.meaning}; {finding.advice}".startswith(words)
        assert words.partition("; ")[2] in finding.seen


def greeted_by(alert: int | None) -> Callable[[Connection], None]:
    """Respond to the greeting of TLS by an alert, or by the end of the connection."""

    def handle(connection: Connection) -> None:
        connection.sock.recv(65_536)
        if alert is not None:
            connection.sock.sendall(bytes((0x15, 3, 3, 0, 2, 2, alert)))
            connection.sock.shutdown(socket.SHUT_WR)
            connection.stall()

    return handle


def test_a_setting_that_cannot_be_used_is_no_fault_of_the_network(tmp_path):
    absent = str(tmp_path / "absent.pem")
    with SocketServer(response(b"[]")) as server:
        for setting in ("ssl_ca_cert", "cert_file"):
            url = server.url.replace("http", "https")
            report = examined(url, **{setting: absent})
            assert (report.outcome, list(faults(report))) == (UNUSABLE, ["settings"])
            assert f"{setting}={absent!r}: there is no such file" in str(report)
            assert "nothing can be sent; correct the setting" in str(report)
            assert "network" not in str(report)
        assert server.connections == 0


def test_a_server_that_does_not_speak_tls_or_is_away_cannot_be_used_and_has_no_certificate():
    with LocalServer() as server:
        plain = examined(server.url.replace("http", "https"))
    away = examined(f"http://127.0.0.1:{free_port()}")
    for report, words in ((plain, "try http://"), (away, "cannot connect")):
        assert (report.outcome, list(faults(report))) == (UNUSABLE, ["connection"])
        assert words in found(report, "connection").seen
    assert "check host=" in str(away)


@pytest.mark.parametrize(
    ("status", "headers", "wanted"),
    [
        (401, {"www_authenticate": 'Bearer realm="acp\x1b[31m"'}, 'Bearer realm="acp'),
        (403, {}, "nothing by name"),
    ],
)
def test_a_refusal_says_what_the_server_asks_for(status, headers, wanted):
    with SocketServer(response(b'"no"', status=status, **headers)) as server:
        report = examined(server.url, api_key={"x-api-key": "a-secret-key"})
    assert (report.outcome, list(faults(report))) == (UNUSABLE, ["access"])
    seen = found(report, "access").seen
    assert seen.startswith(f"{status}, and it asks for {wanted}")
    assert "x-api-key from the configuration" in seen
    assert "\x1b" not in str(report) and "a-secret-key" not in json.dumps(report.to_dict())


def test_credentials_are_named_with_their_source_and_never_shown(monkeypatch):
    monkeypatch.setenv("ACP_API_KEY", "a-secret-key")
    with LocalServer(api_key={"x-api-key": "a-secret-key"}) as server:
        monkeypatch.setenv("ACP_HOST", server.url)
        with acp.ApiClient(acp.Configuration.from_env(), "x-mine", "1") as client:
            report = examine(client)
    seen = found(report, "access").seen
    assert seen == "x-api-key from the configuration, x-mine by default, as ACP_API_KEY has it"
    assert "a-secret-key" not in str(report) + json.dumps(report.to_dict())


# Time. With the fixture `short_seconds`, a second of the doctor is a fifth of a second.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "agent", "input", "quirks", "says"),
    [
        # Each request takes two of the doctor's seconds.
        (always(delay=0.4), COUNTER_AGENT_ID, COUNTING, {}, {"connection": "127.0.0.1"}),
        (always(**CREATE, cut="stall"), COUNTER_AGENT_ID, {}, {}, {"create_run": "limited: POST"}),
        *(
            (Fault(), SLOW_AGENT_ID, {"seconds": 60}, {"pending_output": how},
             {"get_run_output": "not tried: no output", "output while pending": seen})
            for how, seen in (("204", "as usual"), ("404", "404"), ("held", "held"))
        ),
    ],
)  # fmt: skip
def test_an_examination_ends_in_time_and_says_what_it_saw(
    short_seconds, fault, agent, input, quirks,
    says
):  # fmt: skip
    began = time.monotonic()
    with LocalServer(quirks=Quirks(**quirks)) as server:
        server.faults.add(fault)
        report = examined(server.url, agent, input)
        assert server.runs == ()
    assert time.monotonic() - began < 9
    for name, words in says.items():
        assert words in lines_of(report, name)[0], str(report)
    assert "cannot be used" not in str(report) and "not tried" in str(report)


@pytest.mark.slow
def test_a_refusal_that_takes_most_of_the_time_of_its_probe_is_seen(short_seconds):
    with LocalServer(api_key={"x-api-key": "a-secret-key"}) as server:
        server.faults.add(always(path="/agents/search", delay=0.7))
        report = examined(server.url)
    assert (report.outcome, list(faults(report))) == (UNUSABLE, ["access"])


# By the seconds of each attempt, and of each read of the run: what is said.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("attempts", "reads", "seen"),
    [
        # On a busy machine, the doctor may not see the last one end.
        ((0.4, 1.6, 1.6), 0.0, "differs: (at least )?3"),
        # Of the second attempt, nothing is seen.
        ((0.4, 0.05, 0.5), 0.4, "differs: at least 2"),
        ((0.4, *(0.6,) * 20), 0.0, "differs: at least "),
    ],
)
def test_attempts_are_counted_to_the_end_or_told_as_at_least(attempts, reads, seen, request):
    if len(attempts) > 3:
        # The server tries again for longer than the doctor looks.
        request.getfixturevalue("short_seconds")
    calls: dict[str, int] = {}

    def failing_again(input: Any, config: Any, context: Any) -> None:
        calls[context.run_id] = calls.get(context.run_id, -1) + 1
        context.sleep(attempts[calls[context.run_id]])
        raise AgentError(3, "out of paper")

    with LocalServer(quirks=Quirks(attempts=len(attempts))) as server:
        server.register(failing_again, name="again")
        if reads:
            server.faults.add(always(method="GET", path="/runs/*", delay=reads))
        report = examined(server.url, "again")
    (line,) = lines_of(report, "attempts")
    assert re.match(seen, line), str(report)
    assert int(found(report, "attempts").quirk.rpartition("=")[2]) <= len(attempts)


def test_of_a_stream_of_many_events_some_are_kept(monkeypatch):
    # On a busy machine, the second stream may take longer to begin than a person would wait.
    monkeypatch.setattr(_exam, "SECOND", 5.0)
    with LocalServer() as server:
        report = examined(server.url, COUNTER_AGENT_ID, {"count": 2_500, "interval": 0})
    assert lines_of(report, "replay") == ["works: 2000 events after the first"]


# What stays behind


def test_without_an_agent_nothing_is_created():
    with LocalServer() as own:
        examined(own.url)
        assert own.runs == ()
        sent = {(each.method, each.path) for each in own.requests}
        assert {path for method, path in sent if method != "GET"} == {
            *("/agents/search", "/runs/search", "/threads/search")
        }
        assert ("GET", f"/agents/{ECHO_AGENT_ID}") in sent  # the first that it finds


@pytest.mark.parametrize("token", ["somebody else's", "5" * 32, "5"])
def test_a_run_of_somebody_else_is_never_deleted(caplog, token):
    """Even if the server gives our runs the ids of others."""
    with LocalServer() as server, acp.ApiClient(acp.Configuration(host=server.url)) as client:
        body = {"agent_id": ECHO_AGENT_ID, "input": {}}
        other = acp.RunsApi(client).create_run(body)
        path, given = f"/runs/{other.run_id}", {"times": None, "status": 200}
        stolen = other.to_dict(mode="json")
        marks = {"metadata": {"acp-client-token": token}}
        theirs = {**stolen, "creation": {**stolen["creation"], **marks}}
        server.faults.add(
            Fault(path="/runs", body=stolen, **given),
            Fault(path=path, method="GET", body=theirs, **given),
        )
        report = examine(client, ECHO_AGENT_ID)
        assert [each.method for each in server.requests if each.path == path].count("DELETE") == 0
    assert other.run_id in faults(report)["clean-up"]
    assert f"not deleted by the doctor: {other.run_id}" in caplog.text


def test_ctrl_c_during_a_create_deletes_its_run(monkeypatch):
    create = acp.RunsApi.create_run_with_http_info

    def interrupted(api: acp.RunsApi, *given: Any, **options: Any) -> None:
        create(api, *given, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(acp.RunsApi, "create_run_with_http_info", interrupted)
    with LocalServer() as server, acp.ApiClient(acp.Configuration(host=server.url)) as client:
        with pytest.raises(KeyboardInterrupt):
            examine(client, SLOW_AGENT_ID, {"seconds": 60})
        assert server.requests[-1].method == "DELETE" and server.runs == ()


# The report

# Without repetitions. The ids have other names: A is the agent, T a thread, R a run, and X nothing.
ASKED = """\
POST /agents/search {"name":"ping","limit":1,"offset":0}
POST /agents/search {"limit":10,"offset":0}
POST /agents/search {"name":"counter","limit":1000,"offset":0}
GET /agents/A
GET /agents/A/descriptor
POST /threads/search {"limit":1,"offset":0}
POST /runs/search {"limit":1,"offset":0}
GET /threads/T/state
GET /threads/T/history
GET /threads/T
GET /runs/X/threadstate
GET /runs/X/stream
GET /runs/X/output
GET /runs/X
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
POST /runs {"agent_id":"X","input":{},"metadata":{"acp-client-doctor":"X","acp-client-token":"X"}}
GET /runs/R/threadstate
GET /runs/doctor
"""


def test_a_sound_server_is_asked_little_and_all_works():
    with LocalServer() as server, acp.ApiClient(acp.Configuration(host=server.url)) as client:
        thread = acp.ThreadsApi(client).create_thread({"agent_id": COUNTER_AGENT_ID})
        server.clear_requests()
        report = examine(client, "counter", {"count": 4, "interval": 0.2})
        requests = server.requests
    assert (report.status, report.outcome) == (0, "all works")
    assert {one.name for one in report.findings if one.verdict != "works"} == {"webhooks, restarts"}
    assert found(report, "clean-up").seen == "3 runs were started, and all are deleted"
    names = {COUNTER_AGENT_ID: "A", thread.thread_id: "T"}
    deleted = [each.path for each in requests if each.method == "DELETE"]
    assert len(deleted) == len({*deleted}) == 3  # each run once
    names |= {path.split("/")[2]: "R" for path in deleted}
    asked = dict[str, None]()
    for each in requests:
        line = f"{each.method} {each.path}?{each.query} {each.body.decode()}"
        for name, letter in names.items():
            line = line.replace(name, letter)
        line = re.sub(r"[0-9a-f]{8}[-0-9a-f]{24,28}", "X", line)
        line = re.sub(r'"input":{[^}]+}', '"input":{}', line).replace("? ", " ").strip()
        asked[line] = None
    assert "\n".join(asked) == ASKED.strip()


def test_the_json_has_a_version_and_every_finding_says_what_it_means():
    quirks = replace(Quirks.of("acp-proxy"), lacks={"search_agents": 501}, replay=False)
    with LocalServer(quirks=quirks) as server:
        report = examined(server.url, COUNTER_AGENT_ID, COUNTING)
    written = json.loads(json.dumps(report.to_dict()))
    assert (written["version"], written["status"], written["outcome"]) == (1, 11, report.outcome)
    for finding in written["findings"]:
        sound = finding["verdict"] in ("works", "not tried")
        assert finding["meaning"] and (sound or finding["advice"]), finding
        words = f"\n{'':13}{finding['meaning']}; {finding['advice']}"
        assert (words in str(report)) is not sound, finding


def test_every_finding_that_can_differ_has_its_words():
    sources = [
        one.read_text("utf-8") for one in Path(acp.doctor.__file__ or "").parent.glob("_*.py")
    ]
    named = set(re.findall(r'(?:exam|self)\.(?:note|habit|judge)\(\s*"([^"]+)"', "".join(sources)))
    named |= {probe.name for probe in _probes._PROBES}
    assert len(named) > 50 and named - {"proxy", *_exam.READS} == {*_words.WORDS} - {*_exam.READS}


def test_an_operation_without_words_of_its_own_gets_general_ones(monkeypatch):
    monkeypatch.delitem(_words.WORDS, "get_thread_history")
    with LocalServer(quirks=Quirks(lacks={"get_thread_history": 404})) as server:
        report = examined(server.url)
    [finding] = [one for one in report.findings if one.name == "get_thread_history"]
    assert (finding.verdict, finding.advice) == (
        "missing",
        "do without it, or ask who runs the server",
    )


def test_the_words_are_there_without_docstrings_and_the_module_is_a_command():
    with LocalServer(quirks=Quirks(search_order="newest")) as server:
        command = [sys.executable, "-OO", "-m", "acp_client_v0_1.doctor", "--host", server.url]
        done = subprocess.run(
            [*command, "--agent", COUNTER_AGENT_ID, "--input", '{"interval": 0}'],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 11, done.stderr
    assert "differs    order of searches: newest  [search_order=" in done.stdout
    assert (
        "\n             pages shift while runs are made; read lists by iter_runs\n" in done.stdout
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("http://localhost",), "client must be an ApiClient, not str"),
        ((None,), "client must be an ApiClient, not None"),
        ((5,), "agent must be a str, not int"),
        (("echo", [1]), r"input must be a JSON object \(dict\), not list"),
        (("echo", {}, "no"), "deep must be True or False, not str"),
        (("echo", {}, False, [1]), r"config must be a JSON object \(dict\), not list"),
        ((None, {"n": 1}), "input is for runs of an agent, and no agent was named"),
        ((None, None, False, {}), "config is for runs of an agent, and no agent was named"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_sent(arguments, words):
    with SocketServer() as server, acp.ApiClient(acp.Configuration(host=server.url)) as client:
        given = arguments if "client" in words else (client, *arguments)
        with pytest.raises((acp.ApiTypeError, acp.ApiValueError), match=words):
            examine(*given)
        assert server.connections == 0


# Limits and caches in between


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_a_constant_limit_is_named_and_everything_is_examined_all_the_same(status):
    refusal = response(b"slow down", status, **{"Retry-After": "1"})
    with LocalServer(ping=0.05) as behind, Limiter(behind.port, refusal, rate=5) as limiter:
        report = examined(limiter.url, COUNTER_AGENT_ID, {"count": 3, "interval": 0.3})
        assert behind.runs == ()
    assert (report.outcome, report.status) == ("all works", 0), str(report)
    rate = found(report, "rate of requests").seen
    number = re.fullmatch(r"about ([0-9]+) a second; refused [0-9]+ times, and served later", rate)
    assert number and 2 <= int(number[1]) <= 6, rate
    # It goes at the pace of the limit, instead of being refused again and again.
    assert 1 <= limiter.refused <= 8
    assert not re.search(r"concurrency=|try later|were lost|limited  ", str(report)), str(report)
    names = {each.name for each in report.findings}
    assert {"long poll", "replay", "unknown agent", "search by metadata", "ids"} <= names


def test_a_limit_of_requests_at_the_same_time_is_named():
    refusal = response(b"<html>503 Backend fetch failed", 503, **HTML, **{"Retry-After": "5"})
    with LocalServer() as behind, Limiter(behind.port, refusal, at_once=2) as limiter:
        report = examined(limiter.url)
    assert (report.outcome, report.status) == ("something differs", 11)
    at_once = found(report, "requests at the same time")
    assert re.match("[1-6] of 8: POST /agents/search returned 503", at_once.seen), at_once.seen
    assert "concurrency=" in at_once.advice
    assert faults(report).keys() == {"requests at the same time"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "marks",
    [b"Age: 35", b"X-Cache: HIT from edge-7", b"X-Varnish: 32770 3", b"CF-Cache-Status: HIT"],
)
def test_the_doctor_believes_nothing_that_a_cache_has_kept_and_names_the_cache(marks):
    given = {"agent": COUNTER_AGENT_ID, "input": {"count": 2, "interval": 0.2}}
    with LocalServer(ping=0.05) as behind, Cache(behind.port, marks) as cache:
        report = examined(cache.url, **given)
        assert behind.runs == ()
    assert faults(report).keys() == {"cache"}, str(report)
    assert marks.partition(b":")[0].decode().lower() in found(report, "cache").seen
    for name in ("output again", "after a delete"):
        assert not lines_of(report, name) or lines_of(report, name)[0].startswith("not tried")
    missed = marks.replace(b"35", b"0").replace(b"HIT", b"MISS").replace(b" 3", b"")
    with LocalServer(ping=0.05) as behind, Cache(behind.port, missed) as cache:
        assert "cache" not in faults(examined(cache.url, **given))


def client_of(server: LocalServer) -> acp.ApiClient:
    return acp.ApiClient(acp.Configuration(host=server.url))


def test_the_doctor_makes_at_most_five_runs_where_half_of_the_responses_are_lost():
    lost = Fault(path="/runs", share=0.5, cut="close", after_wire_bytes=0, times=None)
    with LocalServer(quirks=Quirks(echo_metadata="none")) as server, client_of(server) as client:
        server.faults.add(lost)
        report = examine(client, COUNTER_AGENT_ID)
        assert sum(each.path == "/runs" for each in server.requests) == 5
    assert "5 creates may have made runs, and no more are sent" in str(report)


def test_only_what_differs_is_said_of_errors_and_access():
    with LocalServer() as server, client_of(server) as client:
        report = examine(client)
    differs = {each.name for each in report.findings if each.verdict not in ("works", "not tried")}
    assert differs.isdisjoint({"errors", "access"})
