"""The probes, their table, and `examine`, which runs them.

A probe sends some requests and notes findings, each of which has a row in `_words`. If a request
ends a probe, that is noted under the name that the table has for it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from ssl import cert_time_to_seconds
from time import monotonic, time
from typing import Any, NamedTuple, cast
from uuid import uuid4

import acp_client_v0_1 as acp
from acp_client_v0_1._arguments import check_arguments, wrong_type
from acp_client_v0_1._http.proxies import proxy_for
from acp_client_v0_1._http.tls_causes import CLIENT, ENDED, words_of
from acp_client_v0_1._http.urls import parse_target
from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.doctor import _exam, _runs
from acp_client_v0_1.doctor._exam import READS, Answer, Exam
from acp_client_v0_1.doctor._report import NotTried, Report, is_page, passes, report_of, verdict_of
from acp_client_v0_1.handles._rules import is_unserved
from acp_client_v0_1.handles._schemas import JsonObject, dict_of

_QUICK = {"name": "ping", "limit": 1}  # some servers require a name
# For a certificate that was not read.
_UNREAD = {"issuer": (), **dict.fromkeys(("notBefore", "notAfter"), "Jan  1 00:00:00 1970 GMT")}


def _way(exam: Exam) -> None:
    """Connect, and look at the way there."""
    conf = exam.client.configuration
    proxy = proxy_for(parse_target(conf.host).origin, conf.proxy, conf.no_proxy, {})
    exam.note("proxy", proxy or "none is used")
    raw: Any = acp.AgentsApi(exam.client).search_agents_without_preload_content(_QUICK, exam.left())
    sock, address = raw.incoming.sock, "closed"
    with suppress(OSError, AttributeError):  # it is closed already, or is TLS within TLS
        if hasattr(sock, "getpeercert"):
            # Without verification, Python does not read the certificate.
            known: Any = sock.getpeercert() or _UNREAD
            began, ends = (cert_time_to_seconds(known[name]) for name in ("notBefore", "notAfter"))
            hours = max(0.0, ends - time()) / 3600
            left = f"{hours:.0f} hours" if 0 < hours < 48 else f"{hours / 24:.0f} days"
            issuer = ", ".join(text for ((_, text), *_) in known["issuer"]) or "nobody"
            # A certificate of a few days is renewed when a third or a half of its time is left.
            lasts = hours > min(21 * 24, (ends - began) / 3600 / 5)
            exam.note("TLS", f"{sock.version()} by {issuer}, {left} left", lasts)
        address = "{}:{}".format(*sock.getpeername())  # of IPv6, more follows
    exam.note("connection", f"{address}, HTTP/{raw.version / 10}", raw.version > 10)
    raw.release_conn()


def _access(exam: Exam) -> None:
    """Say which credentials were sent from where, and whether they do."""
    conf, answer = exam.client.configuration, exam.ask("search_agents", _QUICK)
    given = (conf.access_token, conf.password, *conf.api_key.values())
    # A function that gives a credential may have no hash.
    secrets = {text for text in given if isinstance(text, str) and text}
    sent = [f"{name} from the configuration" for name in conf.auth_headers()]
    sent += [f"{name} by default" for name in exam.client.default_headers if name != "User-Agent"]
    sent += [f"as {name} has it" for name in os.environ if os.environ[name] in secrets]
    seen = ", ".join(sent) or "no credentials are sent"
    if answer.error and answer.status in (401, 403):
        wanted = (answer.error.headers or {}).get("www-authenticate", "nothing by name")
        seen = f"{answer.status}, and it asks for {wanted}; {seen}"
    exam.note("access", seen, "missing" if answer.status in (401, 403) else "works")
    # nginx asks for a client certificate by a page.
    if answer.status == 400 and "SSL certificate" in str(answer.error and answer.error.body):
        exam.note("client certificate", answer.error, "missing")


def _agents(exam: Exam) -> None:
    """Find an agent, and see what its descriptor says."""
    searches = exam.judge("search_agents", exam.ask("search_agents", _QUICK).error)
    page = exam.ask("search_agents", {"limit": 10}) if searches else Answer()
    if page.status in (200, 400, 422):
        exam.habit("list of agents", "agents_by_name", page.status != 200, False, "by name only")
    if wanted := exam.name or (page.data and page.data[0].agent_id):
        exam.agent = acp.AgentHandle.get(wanted, exam.client.with_options(timeout=8, retries=3))
    agent_id = exam.agent.agent_id if exam.agent else str(uuid4())
    for operation in ("get_agent_by_id", "get_acp_descriptor_by_id"):
        answer = exam.ask(operation, agent_id)
        # A server that says so in its own words does not have the agent that was named.
        absent = answer.status == 404 and verdict_of(answer.error, known=True) == "differs"
        absent = absent and bool(exam.name)
        exam.judge(operation, answer.error, exam.agent is not None and not absent)
        if absent:
            return exam.note("agents", answer.error, "missing")
        exam.specs = getattr(answer.data, "specs", None)
    if exam.specs:
        _schemas(exam)
    return None


def _schemas(exam: Exam) -> None:
    able = exam.specs.capabilities.streaming
    exam.modes = tuple(mode for mode in exam.modes if getattr(able, mode, False))
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            exam.agent.check(input=exam.given["input"], config=exam.given.get("config", {}))
        exam.note("schemas", caught[0].message if caught else "can be used", not caught)
    except acp.ApiValueError as error:
        fits: Any = not exam.name if isinstance(error, acp.SchemaMismatch) else "not tried"
        exam.note("schemas", error, fits)


def _operations(exam: Exam) -> None:
    """Ask for each operation that reads, by an id that nobody has if none is known."""
    ids = dict[str, str]()
    # The searches come first, as what they find is asked for.
    for operation in sorted({*READS} - {*exam.findings}, reverse=True):
        searches = operation.startswith("search")
        answer = exam.ask(operation, {"limit": 1} if searches else ids.get(operation, str(uuid4())))
        exam.judge(operation, answer.error, searches or operation in ids)
        if operation == "search_threads" and answer.data:
            ids = {n: answer.data[0].thread_id for n in READS if n.startswith("get_thread")}
    output = exam.findings["get_run_output"]
    if output.verdict == "missing" and output.seen == "404":
        error = exam.ask("wait", str(uuid4())).error
        if not is_page(error) and verdict_of(error, known=False) in ("works", "not tried"):
            exam.note("version", "outputs are at /runs/{run_id}/wait, not at …/output", False)


def _forms(exam: Exam) -> None:
    """See the form of errors, of ids and of runs."""
    if exam.made:
        state = exam.ask("get_run_threadstate", exam.made[0].run_id)
        exam.judge("get_run_threadstate", state.error, known=False)
    if exam.looks_like_acp and "version" not in exam.findings:
        _errors(exam)
        if exam.made:
            _runs.forms_of_runs(exam)
        unseen = f"{'' if exam.made else 'runs, '}webhooks, restarts"
        exam.note(unseen, "not seen here", "not tried")
    seen, lost = f"{exam.repeats} were sent again", exam.repeats
    if exam.pace:
        rate = f"about {1 / exam.pace:.0f} a second" if exam.pace < 1 else "less than one a second"
        seen = f"{rate}; refused {exam.refused} times, and served later"
        lost -= exam.refused
    exam.note("rate of requests", seen, not lost)
    if exam.looks_like_acp and not exam.repeats:
        _at_once(exam)


def _at_once(exam: Exam) -> None:
    """Send some requests at the same time, as a batch does."""
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(exam.once, "search_agents", _QUICK, most=5) for _ in range(8)]
        answers = [each.result() for each in sent]
    errors = [answer.error for answer in answers if answer.error and passes(answer.error)]
    seen = f"{len(errors)} of 8: {errors[0]}" if errors else "8 were served"
    exam.note("requests at the same time", seen, not errors)


def _errors(exam: Exam) -> None:
    unknown, odd = exam.ask("get_run", str(uuid4())), exam.ask("get_run", "doctor").status
    if unknown.status == 404 and unknown.error:
        words = isinstance(unknown.error.data, dict)
        quoted = str(unknown.error.body or "").lstrip()[:1] == '"'
        form = "detail" if words else "contract" if quoted else "text"
        if not is_page(unknown.error) and not (words and is_unserved(unknown.error)):
            exam.habit("errors", "errors", form, "contract")
        if odd in (400, 404, 422):
            exam.habit("ids", "only_uuids", odd != 404, False, f"{odd} without a UUID")
    if 400 in (odd, exam.ask("search_agents", _QUICK, _content_type="text/plain").status):
        exam.habit("invalid requests", "invalid", 400, 422)


class _Probe(NamedTuple):
    section: str
    seconds: float
    work: Callable[[Exam], None]
    # What is noted if a request ends the probe.
    name: str


_PROBES = (
    _Probe("1. The way there", 10, _way, "connection"),
    _Probe("2. Who you are", 5, _access, "access"),
    _Probe("4. Agents", 8, _agents, "agents"),
    _Probe("3. The contract", 8, _operations, "contract"),
    _Probe("5. Runs", 14, _runs.create_run, "create_run"),
    _Probe("5. Runs", 10, _runs.stream, "later runs"),
    _Probe("5. Runs", 4, _runs.search, "search_runs"),
    _Probe("5. Runs", 6, _runs.delete, "later runs"),
    _Probe("5. Runs", 5, _runs.unknown_agent, "unknown agent"),
    _Probe("3. The contract", 8, _forms, "contract"),
)


def examine(
    client: ApiClient,
    agent: str | None = None,
    input: JsonObject | None = None,
    deep: bool = False,
    config: JsonObject | None = None,
) -> Report:
    """Find out what a server can do, in at most about 30 seconds.

    A server that limits requests by 429 or 503 gets no more than it allows, which takes longer: up
    to two minutes more.

    Without an agent, it only reads. With one, it starts up to five runs, one of them of an agent
    that does not exist. Each has a client token, and they are deleted in the end, also on Ctrl-C.
    No run is started if the server does not have the agent, or does not look like ACP 0.1.

    Args:
        client: A client of the server.
        agent: The id or name of an agent to run.
        input: The agent's input. Some seconds of work, and some updates, tell most.
        deep: Try long polls of up to 60 seconds, and take up to five minutes.
        config: The agent's configuration, for an agent that requires one.

    Raises:
        ApiTypeError: An argument has the wrong type. Nothing was sent.
        ApiValueError: There is an input or a config, and no agent. Nothing was sent.
    """
    check_arguments("client", "deep", client=client, deep=deep)
    if agent is not None and not isinstance(cast("object", agent), str):
        raise wrong_type("agent", "a str", agent)
    for name, value in (("input", input), ("config", config)):
        if value is not None and not agent:
            raise acp.ApiValueError(f"{name} is for runs of an agent, and no agent was named")
    given: dict[str, Any] = {"input": dict_of("input", input or {})}
    if config is not None:
        given["config"] = dict_of("config", config)
    exam = Exam(client.with_options(retries=0), agent or "", given, deep)
    ends = monotonic() + (300 if deep else 20) * _exam.SECOND
    try:
        for probe in _PROBES:
            seconds = probe.seconds * (10 if deep else 1) * _exam.SECOND
            until = min(ends + exam.paused, monotonic() + seconds)
            exam.section, exam.until = probe.section, until
            if probe.section != "5. Runs" or _may_run(exam, probe):
                _run(exam, probe)
            verdicts = {each.verdict for each in exam.findings.values()}
            if probe.section < "3" and "missing" in verdicts:
                break
    finally:
        exam.clean_up()
    found = tuple(sorted(exam.findings.values(), key=lambda each: each.section))
    return report_of(client.configuration.host, agent, exam.looks_like_acp, found)


def _may_run(exam: Exam, probe: _Probe) -> bool:
    """Tell whether runs may be started: the first, or the others once there is one."""
    if probe.work is not _runs.create_run:
        return bool(exam.made)
    refused = {"version", "agents"} & exam.findings.keys()
    return bool(exam.name and exam.agent and exam.looks_like_acp and not refused)


def _run(exam: Exam, probe: _Probe) -> None:
    try:
        probe.work(exam)
    except (acp.ApiException, acp.ApiValueError) as error:
        if probe.work is not _way or isinstance(error, NotTried):
            exam.judge(probe.name, error)
        elif isinstance(error, acp.ApiValueError):
            # Nothing was sent.
            exam.note("settings", error, "missing")
        else:
            _note_unreached(exam, error)


def _note_unreached(exam: Exam, error: acp.ApiException) -> None:
    """Note why the first request did not get there, in the words of the table of TLS."""
    cause, conf = getattr(error, "tls_cause", ""), exam.client.configuration
    name = "connection" if cause in ("", "no TLS", ENDED) else "TLS"
    name = CLIENT if cause.startswith(CLIENT) else name
    exam.note(name, error, "missing")
    if cause:
        meaning, advice = words_of(cause, own=bool(conf.cert_file or conf.ssl_context))
        exam.findings[name] = replace(exam.findings[name], meaning=meaning, advice=advice)
