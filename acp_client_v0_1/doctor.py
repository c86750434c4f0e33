"""What a server can do, before a script depends on it: `examine`, and ``acp-client doctor``.

Strategy: a table of probes. A probe is a function that sends some requests, as a user would, and
notes findings. Its docstring has the words of each finding, as ``name: meaning; advice; setting``,
which ``python -OO`` leaves out of the report.

Invariants: without an agent, nothing is created. With one, a run is deleted only if it is this
examination's own, and that however the examination ends. Nothing waits without a limit. A text of
a server is one bounded line without control characters.
"""

from __future__ import annotations

import os
import re
import ssl
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal, NamedTuple, cast
from uuid import uuid4

import acp_client_v0_1 as acp
from acp_client_v0_1._errors import one_line, package_logger
from acp_client_v0_1._http.call import SHOWN_HEADERS
from acp_client_v0_1._http.proxies import proxy_for
from acp_client_v0_1._http.retry import date_of, failure_of
from acp_client_v0_1._http.urls import parse_target
from acp_client_v0_1.handles._rules import is_unserved
from acp_client_v0_1.handles._token import CLIENT_TOKEN_KEY, client_token_of, new_client_token

__all__ = ["Finding", "Report", "examine"]

Verdict = Literal["works", "differs", "missing", "not tried"]

# What the verdicts mean that need no words of their own.
_MEANINGS = {"works": "rely on it", "not tried": "do not rely on it"}
_OUTCOMES = {0: "all works", 1: "it cannot be used", 11: "something differs"}
# Each promise of the guides, and the findings that it needs.
_PROMISES = {
    "exactly one run for a start": {"create_run", "metadata", "search_runs"},
    "streams that continue after a cut": {"get_run_stream", "events in time", "replay"},
    "thousands of runs in flight": {"long poll", "rate of requests", "time of a request"},
    "answers to questions": {"resume_run", "questions"},
}
_QUICK = {"name": "ping", "limit": 1}  # some servers require a name
_VARIABLES = ("ACP_API_KEY", "ACP_TOKEN", "ACP_ACCESS_TOKEN", "ACP_PASSWORD")
_OF_RUNS = ("get_run", "get_run_output", "get_run_stream", "get_run_threadstate")
_OF_THREADS = ("get_thread", "get_thread_state", "get_thread_history")
_MARK = "acp-client-doctor"  # the key of the metadata that all runs of an examination share

_log = package_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        section: The part of the report, such as "Runs".
        name: What was looked at, such as "long poll" or the name of an operation.
        verdict: "works", "differs" (from the contract, or from what scripts expect), "missing", or
            "not tried".
        seen: What was seen.
        meaning: What it means for a script.
        advice: What to do about it, or "".
        setting: A setting to change, as code, or "".
        quirk: The field of `acp_client_v0_1.testing.Quirks` that imitates it, as text, such as
            ``pending_output="404"``, or "".
    """

    section: str
    name: str
    verdict: Verdict
    seen: str
    meaning: str
    advice: str
    setting: str
    quirk: str

    def __str__(self) -> str:
        quirk = f"  [{self.quirk}]" if self.quirk else ""
        line = f"  {self.verdict:<9}  {self.name}: {self.seen}{quirk}"
        words = "; ".join(filter(None, (self.meaning, self.advice)))
        return line if self.verdict in _MEANINGS else f"{line}\n{'':13}{words}"


@dataclass(frozen=True, slots=True)
class Report:
    """What an examination found. ``str`` of it is the report for people.

    Attributes:
        server: The URL of the server.
        agent: The name or id of the agent of which runs were started, or None.
        status: 0 if all works, 11 if something differs, 1 if the server cannot be used.
        findings: All findings.
        promises: Each promise of the guides, which "holds", was "not tried", or "does not hold".
        settings: At most three settings to change, as code.
    """

    server: str
    agent: str | None
    status: int
    findings: tuple[Finding, ...]
    promises: dict[str, str]
    settings: tuple[str, ...]

    @property
    def quirks(self) -> tuple[str, ...]:
        """The fields of `acp_client_v0_1.testing.Quirks` that imitate the server, as text."""
        return tuple(each.quirk for each in self.findings if each.quirk)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON. Its ``version`` grows when a member changes its meaning."""
        return {"version": 1, **asdict(self)}

    def __str__(self) -> str:
        agent = f" with the agent {one_line(self.agent)}" if self.agent else ""
        parts: dict[str, list[str]] = {}
        for each in self.findings:
            parts.setdefault(each.section, []).append(str(each))
        parts["Promises"] = [f"  {name}: {kept}" for name, kept in self.promises.items()]
        parts["Settings"] = [f"  {setting}" for setting in self.settings]
        texts = ["\n".join((name, *lines)) for name, lines in parts.items() if lines]
        return "\n\n".join((f"{self.server}{agent}: {_OUTCOMES[self.status]}", *texts))


class _OutOfTime(Exception):
    """The time of a probe is over."""


class _Answer(NamedTuple):
    """What a request brought."""

    took: float
    data: Any
    error: acp.ApiException | None
    headers: Mapping[str, str]
    status: int | None


@dataclass(eq=False)
class _Exam:
    """One examination: its requests, its runs and its findings."""

    client: acp.ApiClient
    name: str  # of the agent to run, or its id, or ""
    input: Mapping[str, Any] | None
    deep: bool
    agent: acp.AgentHandle | None = None  # the one to run, or any that was found
    specs: acp.AgentACPSpec | None = None
    usable: bool = True
    section: str = ""
    until: float = 0.0  # the end of the probe's time
    limited: int = 0  # requests that were refused for now
    id: str = field(default_factory=lambda: str(uuid4()))
    findings: list[Finding] = field(default_factory=list[Finding])
    # The client token of each run that was begun, and the run once there is a response.
    runs: dict[str, acp.RunHandle | None] = field(default_factory=dict[str, Any])

    @property
    def made(self) -> list[acp.Run]:
        """The runs that were started, the first one first."""
        return [each.run for each in self.runs.values() if each and each.run]

    @property
    def modes(self) -> list[str]:
        """The modes of streaming that the agent has, or may have."""
        can = self.specs.capabilities.streaming if self.specs else None
        return [m for m in ("custom", "result") if not self.specs or getattr(can, m, False)]

    def note(
        self,
        name: str,
        seen: object,
        quirk: str = "",
        fits: bool = True,
        verdict: Verdict | None = None,
    ) -> None:
        verdict = verdict or ("works" if fits and not quirk else "differs")
        own = _WORDS.get(name, ("", "", ""))
        words = (_MEANINGS[verdict], "", "") if verdict in _MEANINGS else own
        line = one_line(seen, 160)
        self.findings.append(Finding(self.section, name, verdict, line, *words, quirk))

    def judge(self, operation: str, answer: _Answer, real: bool = True) -> bool:
        """Note whether the server has an operation, asked for a ``real`` id or an unknown one."""
        error, verdict, seen, quirk = answer.error, cast(Verdict, "works"), "served", ""
        if error is not None:
            body, status = (error.body or "").lstrip(), error.status or 0
            if body[:1] == "<" or status < 400 or status in (401, 403):
                verdict, seen = "missing" if status >= 400 or not status else "differs", str(error)
            elif status == 404 and not real and not body:
                verdict, seen = "not tried", "404 without words, as for an unknown id"
            elif is_unserved(error) or status >= 500:
                verdict, seen = "missing", f"{status}"
                quirk = f'lacks={{"{operation}": {status}}}'
        self.note(operation, seen, quirk, verdict=verdict)
        return verdict == "works"

    def verdict_of(self, name: str) -> str:
        return next((each.verdict for each in self.findings if each.name == name), "")

    def left(self, most: float = 10.0) -> float:
        """Return the seconds that a request may take."""
        left = min(self.until - time.monotonic(), most)
        if left < 0.05:
            raise _OutOfTime
        return left

    def ask(self, operation: str, *values: Any, most: float = 10.0, **options: Any) -> _Answer:
        """Send one request, and again if the server or a proxy refuses it for now."""
        homes = (acp.RunsApi, acp.AgentsApi, acp.ThreadsApi)
        home = next(api for api in homes if hasattr(api, operation))
        send = getattr(home(self.client.with_options(retries=0)), f"{operation}_with_http_info")
        for refused in range(4):
            began, data, error = time.monotonic(), None, None
            try:
                response = send(*values, _request_timeout=self.left(most), **options)
                data, headers, status = response.data, response.headers, 200
            except acp.ApiException as failure:
                error, headers, status = failure, failure.headers, failure.status
            answer = _Answer(time.monotonic() - began, data, error, headers or {}, status)
            if error is None or operation == "create_run" or not failure_of(error).limits:
                self.limited += refused
                break
            time.sleep(min(0.5 * refused + 0.5, self.left()))
        return answer

    def start(self, **options: Any) -> acp.RunHandle:
        """Start a run of the agent, which is deleted in the end."""
        token = new_client_token()
        self.runs[token] = None
        options |= {"metadata": {_MARK: self.id}, "client_token": token, "timeout": self.left()}
        run = self.runs[token] = cast(acp.AgentHandle, self.agent).start(self.input, **options)
        return run

    def clean_up(self) -> None:
        """Delete the runs of this examination, and say which are left."""
        self.section, self.until = "Runs", time.monotonic() + 10
        left = [token for token in self.runs if not self._is_gone(token)]
        if left:
            handles = [self.runs[token] for token in left]
            seen = ", ".join(run.run_id if run else "one without an id" for run in handles)
            self.note("clean-up", seen, verdict="missing")
            _log.warning("these runs of the doctor were not deleted: %s", seen)

    def _is_gone(self, token: str) -> bool:
        run = self.runs[token]
        with suppress(acp.ApiException, _OutOfTime):
            if run is None:  # no response to its create came
                run = acp.RunHandle.find(token, self.client.with_options(timeout=self.left()))
            if run is None:
                return True
            self.runs[token] = run
            known = self.ask("get_run", run.run_id)
            # A server that keeps no metadata has returned this id to our own create.
            if client_token_of(known.data or run.run) in ("", token):
                status = self.ask("delete_run", run.run_id).status or 0
                return 200 <= status < 300 or known.status == status == 404
        return False


def _connection(exam: _Exam) -> None:
    """Connect, and say how.

    connection: no call reaches the server; check the host and the network;
        Configuration(host="https://…")
    TLS: nobody vouches for the server, or soon no longer; renew its certificate, or name its CA;
        Configuration(ssl_ca_cert="ca.pem")
    """
    settings = exam.client.configuration
    origin = parse_target(settings.host).origin
    proxy = proxy_for(origin, settings.proxy, settings.no_proxy, {})
    exam.note("proxy", proxy or "none is used")
    search = acp.AgentsApi(
        exam.client.with_options(retries=0)
    ).search_agents_without_preload_content
    try:
        raw: Any = search(_QUICK, _request_timeout=exam.left())
    except acp.TransportException as error:
        name = "TLS" if isinstance(error, acp.TLSException) else "connection"
        exam.note(name, error, verdict="missing")
        exam.usable = False
        return
    sock = raw.incoming.sock
    address = ":".join(map(str, sock.getpeername()[:2]))
    exam.note("connection", f"{address}, HTTP/{raw.version / 10}", fits=raw.version > 10)
    if hasattr(sock, "getpeercert"):
        known, days, issuer = sock.getpeercert(), 0.0, "nobody, as verify_ssl is False"
        if known:
            days = (ssl.cert_time_to_seconds(known["notAfter"]) - time.time()) / 86400
            parts = dict(pair for pairs in known["issuer"] for pair in pairs)
            issuer = parts.get("organizationName", parts.get("commonName"))
        seen = f"{sock.version()}, vouched for by {issuer}, {days:.0f} days left"
        exam.note("TLS", seen, fits=days > 21)
    raw.release_conn()


def _pace(exam: _Exam) -> None:
    """Time five quick requests, and read the server's clock.

    time of a request: each call takes this long; give calls more time;
        Configuration(timeout=(10, 120))
    clock: its times are not yours; compare them with each other only
    """
    answers: list[_Answer] = []
    while len(answers) < 5 and sum(each.took for each in answers) < 5:
        answers.append(exam.ask("search_agents", _QUICK))
    took = median(each.took for each in answers)
    exam.note("time of a request", f"{took:.3f} s, the median of {len(answers)}", fits=took < 1)
    date = date_of(answers[-1].headers.get("date"))
    if date is None:
        exam.note("clock", "no Date", verdict="not tried")
    else:
        ahead = date - time.time()
        exam.note("clock", f"{ahead:+.0f} s from yours", fits=abs(ahead) < 5 + answers[-1].took)


def _access(exam: _Exam) -> None:
    """Say which credentials were sent from where, and whether they do.

    access: the calls are refused; set the credentials that it asks for;
        Configuration(access_token="…")
    """
    settings = exam.client.configuration
    secrets = {settings.access_token, settings.password, *settings.api_key.values()} - {None}
    where = dict.fromkeys(exam.client.default_headers, "a default header")
    where |= dict.fromkeys(settings.auth_headers(), "the configuration")
    sent = [f"{k} from {v}" for k, v in where.items() if k.lower() not in SHOWN_HEADERS]
    sent += [name for name in _VARIABLES if os.environ.get(name) in secrets]
    answer, seen = exam.ask("search_agents", _QUICK), ", ".join(sent) or "no credentials are sent"
    if answer.status in (401, 403):
        exam.usable = False
        wanted = answer.headers.get("www-authenticate", "nothing by name")
        seen = f"{answer.status}: {seen}, and the server asks for {wanted}"
    exam.note("access", seen, verdict=None if exam.usable else "missing")


def _agents(exam: _Exam) -> None:
    """Find an agent, and see what its descriptor says.

    search_agents: no agent is found by its name; write its id; AgentHandle("its id", client)
    list of agents: only an agent whose name is known is found; give the name
    search by name: find() reads more pages, or finds nothing; write the agent's id
    agents: no run can be started; choose an agent that the server has
    get_agent_by_id: an agent's name and version are not known; runs need neither
    get_acp_descriptor_by_id: inputs cannot be checked before they are sent; leave check= out
    schemas: check=True refuses this input, or checks nothing; correct it, or leave check= out
    """
    searches = exam.judge("search_agents", exam.ask("search_agents", _QUICK))
    page, name = exam.ask("search_agents", {"limit": 10}), ""
    if searches and page.error:
        exam.note("list of agents", page.error, "agents_by_name=True")
    view = exam.client.with_options(retries=0, timeout=exam.left())
    if exam.name:
        exam.agent = acp.AgentHandle.get(exam.name, view)
    elif page.data:
        exam.agent = acp.AgentHandle(page.data[0].agent_id, view)
    agent_id = exam.agent.agent_id if exam.agent else str(uuid4())
    for operation in ("get_agent_by_id", "get_acp_descriptor_by_id"):
        answer = exam.ask(operation, agent_id)
        if exam.judge(operation, answer, exam.agent is not None) and answer.data:
            name = answer.data.metadata.ref.name
            exam.specs = getattr(answer.data, "specs", None)
    if name and searches:
        found = exam.ask("search_agents", {"name": name}).data or ()
        names = {each.metadata.ref.name for each in found}
        exam.note("search by name", f"{len(names)} names are found", fits=names == {name})
    if exam.specs and exam.agent:
        can = exam.specs.capabilities
        able = [each for each in ("threads", "interrupts", "callbacks") if getattr(can, each)]
        exam.note("capabilities", ", ".join([*(f"streaming {m}" for m in exam.modes), *able]))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                exam.agent.check(input=exam.input or {}, config={})
            exam.note("schemas", "they can be used")
        except (acp.SchemaMismatch, UserWarning, acp.ApiValueError) as error:
            fits = isinstance(error, acp.SchemaMismatch) and not exam.name
            extra = "not tried" if isinstance(error, acp.ApiValueError) else None
            exam.note("schemas", error, fits=fits, verdict=extra)


def _create(exam: _Exam) -> None:
    """Start a run, ask for its output while it is pending, and wait for it.

    create_run: no run can be started; read the reason
    metadata: a run does not say which create made it, so a lost one is not found; use a journal;
        agent.map(inputs, journal="runs.jsonl")
    status: only an output shows that a run has ended; wait with a limit;
        agent.run(input, timeout=600)
    get_run: the status of a run is not known; wait for its output
    get_run_output: no result can be fetched; ask who runs the server
    output while pending: handles cope, RunsApi needs care; use agent.run, or give block_timeout
    failed outputs: a wait ends in a 500, and handles ask again; use run.result()
    long poll: runs take more requests; keep fewer in flight; agent.map(inputs, concurrency=16)
    attempts: a run that failed may succeed later; ask again;
        agent.map(inputs, journal="runs.jsonl", retry_failed=True)
    result: the agent does not do this input; read its reason
    questions: runs end without asking; do not use agents that ask here
    resume_run: an agent's question cannot be answered; do not use agents that ask here
    """
    try:
        handle, began = exam.start(), time.monotonic()
    except acp.ApiException as error:
        cause: Any = error.__cause__ if error.status is None and error.__cause__ else error
        exam.judge("create_run", _Answer(0, None, cause, {}, cause.status))
        return
    exam.note("create_run", "a run was started")
    run = cast(acp.Run, handle.run)
    kept = (run.creation.metadata or {}).get(_MARK) == exam.id
    exam.note("metadata", "kept" if kept else "dropped", "" if kept else 'echo="none"')
    status = run.status.value
    exam.note("status", status or "empty", "" if status else "empty_status=True")
    window = 60 if exam.deep else 4
    early, poll = exam.ask("get_run_output", run.run_id, most=1.5), None
    if early.data is None and early.status in (None, 200, 404):
        poll = exam.ask("get_run_output", run.run_id, window, most=window + 3)
    final: Any = None
    try:
        final = handle.output(exam.left(6 * window)).actual_instance
    except TimeoutError:
        exam.note("result", "the run goes on: give an input of seconds", verdict="not tried")
    except acp.ApiException as error:
        exam.judge("get_run_output", _Answer(0, None, error, {}, error.status))
    took = time.monotonic() - began
    if final is not None:
        exam.note("get_run_output", "served")
        if early.status == 404:
            exam.note("output while pending", "404", 'pending_output="404"')
        elif early.took > 0.3:
            seen = "held without block_timeout"
            exam.note("output while pending", seen, 'pending_output="held"')
        elif early.data is not None:
            seen = "the run ended at once: give an input of seconds"
            exam.note("output while pending", seen, verdict="not tried")
        else:
            exam.note("output while pending", "204")
    if poll and early.status != 404:
        seen = f"of {window} s, {poll.took:.1f} s were held"
        seen += f", then {poll.error}" if poll.error else ""
        exam.note("long poll", seen, fits=poll.data is not None or poll.took > 0.9 * window)
    if isinstance(final, acp.RunError):
        if 500 in (early.status, poll and poll.status):
            exam.note("failed outputs", "500", "held_errors_fail=True")
        _attempts(exam, run.run_id)
        exam.note("result", f"the agent failed: {final.description}", fits=False)
    elif isinstance(final, acp.RunInterrupt):
        exam.note("questions", "the agent asks")
    elif isinstance(final, acp.RunResult):
        exam.note("result", f"after {took:.1f} s")
        asks = exam.specs is not None and exam.specs.interrupts
        if asks and exam.specs and {*exam.specs.output.get("required", ())} - {*final.result}:
            exam.note("questions", "none, and a part result", "interrupts_succeed=True")
    exam.judge("get_run", exam.ask("get_run", run.run_id))
    exam.judge("resume_run", exam.ask("resume_run", run.run_id, {}))


def _attempts(exam: _Exam, run_id: str) -> None:
    """Watch a failed run until it has not changed for a second."""
    seen, changed = set[Any](), time.monotonic()
    while time.monotonic() < changed + 1:
        run = exam.ask("get_run", run_id).data
        state = None if run is None else (run.status.value, run.updated_at)
        if state not in seen:
            seen, changed = seen | {state}, time.monotonic()
        time.sleep(0.03)
    errors = sum(state is not None and state[0] == "error" for state in seen)
    if errors > 1:
        exam.note("attempts", f"it failed {errors} times", f"attempts={errors}")


def _stream(exam: _Exam) -> None:
    """Follow a run, and open its stream again after its first event.

    echo: a handle does not know how others created its run; keep the mode of streaming yourself
    get_run_stream: events() gives the result alone, by long polls; show progress in another way
    events in time: updates come late; ask who runs the proxy to switch its buffering off
    event ids: replays are told apart by content, `complete` may be None; make updates unique
    replay: after a cut, events come again or are lost; have gaps marked;
        run.events(on_gap="mark")
    keep-alive comments: an event may lose its id, so a cut may leave a gap; have gaps marked;
        run.events(on_gap="mark")
    end of the stream: the end of a run is seen up to 15 s late; wait for the result
    """
    if not exam.modes:
        exam.note("get_run_stream", "the agent does not stream", verdict="not tried")
        return
    run = exam.start(streaming=exam.modes[0])
    made = cast(acp.Run, run.run).creation
    if made.streaming is None and made.metadata is not None:
        exam.note("echo", "without `streaming`", 'echo="part"')
    answer = exam.ask("get_run_stream", run.run_id, most=60 if exam.deep else 6)
    if not exam.judge("get_run_stream", answer):
        return
    times, ids, ended = _events(answer)
    known = exam.ask("get_run", run.run_id).data
    if not ended and known and known.status in ("success", "error"):
        exam.note("end of the stream", "open after that of the run", "comments_after_end=True")
    if not ids:
        exam.note("event ids", "no events came", verdict="not tried")
        return
    late = len(ids) > 1 and times[-1] > 0.3 and times[-1] - times[0] < 0.1 * times[-1]
    exam.note(
        "events in time", f"{len(ids)} events, after {times[0]:.1f} s and more", fits=not late
    )
    if any(ids) and len(set(ids)) < len(ids):
        exam.note("keep-alive comments", "an id is lost", "bare_comments=True")
    kind = "none" if not any(ids) else "run" if "".join(ids).isdigit() else "opaque"
    quirk = "" if kind == "run" else f'event_ids="{kind}"'
    exam.note("event ids", ", ".join(ids), quirk)
    if len(ids) > 1:
        after = {"Last-Event-ID": ids[0]} if ids[0] else {}
        answer = exam.ask("get_run_stream", run.run_id, most=2, _headers=after)
        again = _events(answer)[1] if answer.data else []
        from_start = ids[0] != "" and len(again) >= len(ids)
        quirk = "" if again else "replay=False"
        quirk = 'event_ids="connection"' if from_start else quirk
        exam.note("replay", f"{len(again)} of {len(ids)} events after the first", quirk)


def _events(answer: _Answer) -> tuple[list[float], list[str], bool]:
    """Read a stream: return when its events came, their ids, and whether it ended in time."""
    times, ids, began = list[float](), list[str](), time.monotonic() - answer.took
    with suppress(acp.ApiException), answer.data as stream:
        for event in stream.raw_events() if stream.status != 204 else ():
            times.append(time.monotonic() - began)
            ids.append(event.id)
        return times, ids, True
    return times, ids, False


def _find(exam: _Exam) -> None:
    """Search for the runs that were started.

    search_runs: a create whose response is lost cannot be found; use a journal;
        agent.map(inputs, journal="runs.jsonl")
    search by metadata: all runs of the agent are read and compared; search by agent and status
    order of searches: pages shift while runs are made; read lists by iter_runs
    """
    page = exam.ask("search_runs", {"limit": 1000, "agent_id": exam.made[0].agent_id})
    if exam.judge("search_runs", page):
        ours = [run.run_id for run in exam.made]
        found = [run.run_id for run in page.data or () if run.run_id in ours]
        newest = len(found) > 1 and found != ours
        exam.note("order of searches", "as it is", 'search_order="newest"' if newest else "")
        answer = exam.ask("search_runs", {"metadata": {CLIENT_TOKEN_KEY: next(iter(exam.runs))}})
        others = {run.run_id for run in answer.data or ()} - {ours[0]}
        quirk = 'search_metadata="fails"' if answer.error else ""
        quirk = 'search_metadata="ignored"' if others else quirk
        exam.note("search by metadata", answer.error or f"{len(others)} others are found", quirk)


def _delete(exam: _Exam) -> None:
    """Delete a run that is pending, and start one of an agent that does not exist.

    delete_run: runs cannot be cancelled, and stay; give agents limits of their own
    body of a delete: the client reads the status, with one request more; nothing to do
    after a delete: a deleted run is still there; do not rely on RunGone
    unknown agent: a wrong id is not a 404, and its run may never end; give a limit;
        agent.run(input, timeout=600)
    clean-up: runs of this examination stay on the server; delete them there
    """
    run = exam.start()
    answer = exam.ask("delete_run", run.run_id)
    if isinstance(answer.error, acp.ResponseDecodeError) and not answer.error.body:
        exam.note("body of a delete", "none", "delete_body=False")
        answer = answer._replace(error=None)
    if not exam.judge("delete_run", answer):
        exam.note("unknown agent", "its run could not be deleted", verdict="not tried")
        return
    after = exam.ask("get_run", run.run_id).status
    exam.note("after a delete", after, fits=after != 200)
    token = new_client_token()
    exam.runs[token] = None
    marked = {_MARK: exam.id, CLIENT_TOKEN_KEY: token}
    answer = exam.ask("create_run", {"agent_id": str(uuid4()), "metadata": marked})
    exam.runs[token] = acp.RunHandle.of(answer.data, exam.client) if answer.data else None
    quirk = "" if answer.status == 404 else f"unknown_agent={answer.status}"
    exam.note("unknown agent", answer.status, quirk)


def _contract(exam: _Exam) -> None:
    """Send a harmless request for each operation that reads and was not asked for before.

    search_threads: old conversations cannot be listed; keep their ids
    get_run_threadstate: the state of a conversation cannot be read; keep it in results
    get_thread: conversations do not work; send what was said before as a part of the input
    get_thread_state: the state of a conversation cannot be read; keep it in results
    get_thread_history: the runs of a conversation cannot be listed; keep their ids
    """
    ids = {"get_run_threadstate": exam.made[0].run_id} if exam.made else {}
    for operation in ("search_runs", "search_threads", *_OF_RUNS, *_OF_THREADS):
        if not exam.verdict_of(operation):
            value = {"limit": 1} if operation[:6] == "search" else ids.get(operation, str(uuid4()))
            answer = exam.ask(operation, value)
            exam.judge(operation, answer, real=operation[:6] == "search" or operation in ids)
            if operation == "search_threads" and answer.data:
                ids |= dict.fromkeys(_OF_THREADS, answer.data[0].thread_id)


def _manners(exam: _Exam) -> None:
    """See the form of JSON and of errors, by requests that are refused, and what all runs have.

    JSON: it is called by another name, and read all the same; nothing to do
    errors: an error's message has the words all the same; catch classes, and compare no words
    ids: an id of another form is an invalid request, not a 404; catch ApiException
    invalid requests: the error is of another class; catch ApiException
    times: an answer to a question may wait a second; compare no times with yours
    thread ids: a run's thread_id is the server's word, not yours; keep your own
    rate of requests: the client pauses and asks again; keep fewer runs in flight;
        agent.map(inputs, concurrency=4)
    """
    unknown, odd = exam.ask("get_run", str(uuid4())), exam.ask("get_run", "doctor").status
    if unknown.status == 404 and unknown.error:
        body, words = (unknown.error.body or "").lstrip(), isinstance(unknown.error.data, dict)
        form = "detail" if words else "contract" if body[:1] == '"' else "text"
        if body[:1] != "<" and not (words and is_unserved(unknown.error)):
            exam.note("errors", form, "" if form == "contract" else f'errors="{form}"')
        if odd != 404:
            exam.note("ids", f"{odd} if they are no UUIDs", "only_uuids=True")
    refused = {odd, exam.ask("search_agents", _QUICK, _content_type="text/plain").status}
    for status in refused - {None, 200, 401, 403, 404, 405, 415, 422, 429, *range(500, 600)}:
        exam.note("invalid requests", status, f"invalid={status}")
    known = exam.ask("get_run", exam.made[0].run_id if exam.made else str(uuid4()))
    for answer in (exam.ask("search_agents", _QUICK), known):
        if answer.data is not None:
            kind = answer.headers.get("content-type", "").partition(";")[0]
            quirk = 'media_type="text/plain"' if kind == "text/plain" else ""
            exam.note("JSON", kind, quirk, fits=kind == "application/json")
            break
    if exam.made:
        moments = [each for run in exam.made for each in (run.created_at, run.updated_at)]
        kind = "naive" if not moments[0].tzinfo else "seconds"
        kind = "microseconds" if moments[0].tzinfo and any(m.microsecond for m in moments) else kind
        kind = "year 1" if moments[0].year == 1 else kind
        exam.note("times", kind, "" if kind == "microseconds" else f'updated_at="{kind}"')
        none = exam.verdict_of("get_thread") == "missing"
        none = not exam.specs.capabilities.threads if exam.specs else none
        if none and any(run.thread_id for run in exam.made):
            exam.note("thread ids", "though there are no threads", "own_thread_ids=True")
        exam.note("webhooks", "no server can call this process", verdict="not tried")
        exam.note("restarts", "no client restarts a server", verdict="not tried")
    exam.note("rate of requests", f"{exam.limited} were refused for now", fits=not exam.limited)


# The section of the report, its seconds, and what sends the requests.
_PROBES: tuple[tuple[str, int, Callable[[_Exam], None]], ...] = (
    ("The way there", 10, _connection),
    ("The way there", 6, _pace),
    ("Who you are", 5, _access),
    ("Agents", 8, _agents),
    ("Runs", 14, _create),
    ("Runs", 10, _stream),
    ("Runs", 5, _find),
    ("Runs", 6, _delete),
    ("The contract", 8, _contract),
    ("The contract", 8, _manners),
)
_ROW = re.compile(r"^    (\w[\w -]*): (.*(?:\n {8}.*)*)", re.MULTILINE)
_WORDS: dict[str, tuple[str, str, str]] = {}
for *_, _probe in _PROBES:
    for _name, _words in _ROW.findall(_probe.__doc__ or ""):
        _meaning, _advice, _setting = [*" ".join(_words.split()).split("; ", 2), "", ""][:3]
        _WORDS[_name] = _meaning, _advice, _setting


def examine(
    client: acp.ApiClient,
    agent: str | None = None,
    input: Mapping[str, Any] | None = None,
    deep: bool = False,
) -> Report:
    """Find out what a server can do, in at most about 30 seconds.

    Without an agent, it only reads. With one, it starts four runs, one of them for an agent that
    does not exist. Each has a client token, and they are deleted in the end, also on Ctrl-C.

    Args:
        client: A client of the server.
        agent: The id or name of an agent to run.
        input: The agent's input. Some seconds of work, and some updates, tell most.
        deep: Try long polls of up to 60 seconds, and take up to five minutes.

    Raises:
        ApiTypeError: An argument has the wrong type.
        ApiValueError: A setting of the client cannot be used.
    """
    exam = _Exam(client, agent or "", input, deep)
    ends = time.monotonic() + (300 if deep else 20)
    try:
        for section, seconds, probe in _PROBES:
            exam.section = section
            exam.until = min(ends, time.monotonic() + seconds * (10 if deep else 1))
            if exam.usable and (section != "Runs" or exam.made or (probe is _create and agent)):
                try:
                    probe(exam)
                except (_OutOfTime, acp.ApiException) as error:
                    late = isinstance(error, _OutOfTime)
                    name, verdict = probe.__name__.strip("_"), "not tried" if late else "missing"
                    exam.note(name, "no time was left" if late else error, verdict=verdict)
    finally:
        exam.clean_up()
    findings = exam.findings
    works = {each.name for each in findings if each.verdict == "works"}
    faults = [each for each in findings if each.verdict in ("differs", "missing")]
    needed = {"create_run"} if agent else {"search_agents", *_OF_RUNS, *_OF_THREADS}
    usable = exam.usable and works & needed
    promises = {
        promise: f"does not hold ({', '.join(broken)})"
        if (broken := [each.name for each in faults if each.name in parts])
        else "holds"
        if parts <= works
        else "not tried"
        for promise, parts in _PROMISES.items()
    }
    settings = tuple(dict.fromkeys(each.setting for each in faults if each.setting))[:3]
    status = (11 if faults else 0) if usable else 1
    return Report(client.configuration.host, agent, status, tuple(findings), promises, settings)
