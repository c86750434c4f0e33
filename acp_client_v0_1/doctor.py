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
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from inspect import cleandoc
from itertools import groupby
from ssl import cert_time_to_seconds
from time import monotonic, sleep, time
from typing import Any, Literal, NamedTuple, TypeAlias, cast
from uuid import uuid4

import acp_client_v0_1 as acp
from acp_client_v0_1._arguments import instance_of
from acp_client_v0_1._errors import one_line, package_logger
from acp_client_v0_1._http.proxies import proxy_for
from acp_client_v0_1._http.retry import date_of, failure_of
from acp_client_v0_1._http.urls import parse_target
from acp_client_v0_1.api_client import ApiClient
from acp_client_v0_1.handles._rules import is_unserved
from acp_client_v0_1.handles._schemas import JsonObject, dict_of
from acp_client_v0_1.handles._token import CLIENT_TOKEN_KEY, client_token_of, new_client_token

__all__ = ["Finding", "Report", "examine"]

Verdict: TypeAlias = Literal["works", "differs", "missing", "not tried"]

# What the verdicts mean that need no words of their own.
_MEANINGS = {"works": ("rely on it", "", ""), "not tried": ("do not rely on it", "", "")}
_OUTCOMES = {0: "all works", 1: "it cannot be used", 11: "something differs"}
# Each promise of the guides, and the findings that it needs.
_PROMISES = {
    "exactly one run for a start": {"create_run", "metadata", "search_runs"},
    "streams that continue after a cut": {"get_run_stream", "events in time", "replay"},
    "thousands of runs in flight": {"long poll", "rate of requests", "time of a request"},
    "answers to questions": {"resume_run", "questions"},
}
_QUICK = {"name": "ping", "limit": 1}  # some servers require a name


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
        words = f"\n{'':13}{self.meaning}; {self.advice}" if self.verdict not in _MEANINGS else ""
        return f"  {self.verdict:<9}  {self.name}: {self.seen}{quirk}{words}".removesuffix("; ")


@dataclass(frozen=True, slots=True)
class Report:
    """What an examination found. ``str`` of it is the report for people.

    Attributes:
        server: The URL of the server.
        agent: The name or id of the agent of which runs were started, or None.
        status: 0 if all works, 11 if something differs, 1 if the server cannot be used, or refuses
            to run the agent.
        findings: All findings.
        promises: Each promise of the guides: "holds", "not tried", or "broken by" some findings.
        settings: At most three settings to change, as code.
    """

    server: str
    agent: str | None
    status: int
    findings: tuple[Finding, ...]
    promises: dict[str, str]
    settings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON. Its ``version`` grows when a member changes its meaning."""
        return {"version": 1, **asdict(self)}

    def __str__(self) -> str:
        agent = f" with the agent {one_line(self.agent)}" if self.agent else ""
        lines = [f"{self.server}{agent}: {_OUTCOMES[self.status]}"]
        for section, findings in groupby(self.findings, lambda each: each.section):
            lines += ["", section, *map(str, findings)]
        lines += ["", "6. Promises", *(f"  {name}: {kept}" for name, kept in self.promises.items())]
        lines += ["", "7. Settings", *(f"  {each}" for each in self.settings or ["none"])]
        return "\n".join(lines)


class _Answer(NamedTuple):
    """What a request brought."""

    took: float
    data: Any
    headers: Any
    status: int | None
    error: acp.ApiException | None = None


class _Api(acp.RunsApi, acp.AgentsApi, acp.ThreadsApi):
    """All operations."""


# The operations that read.
_READS = [n for n in dir(_Api) if n.startswith(("get_", "search_")) and "_with" not in n]


@dataclass
class _Exam:
    """One examination: its requests, its runs and its findings."""

    client: acp.ApiClient
    name: str  # of the agent to run, or its id, or ""
    input: JsonObject
    deep: bool
    agent: Any = None  # the handle of the one to run, or of any that was found
    specs: Any = None  # what its descriptor says
    modes: tuple[str, ...] = ("custom", "result")  # of streaming
    section: str = ""
    until: float = field(init=False)  # the end of the probe's time
    limited: int = 0  # requests that were refused for now
    types: set[str] = field(default_factory=set[str])  # media types of responses
    findings: list[Finding] = field(default_factory=list[Finding])
    # The client token of each run that was begun, and the run once there is a response.
    runs: dict[str, Any] = field(default_factory=dict[str, Any])
    made: list[acp.Run] = field(default_factory=list[acp.Run])

    def note(self, name: str, seen: object, fits: Verdict | bool = True, quirk: str = "") -> None:
        how: Verdict = fits if isinstance(fits, str) else "works" if fits else "differs"
        own: tuple[str, str, str] = _MEANINGS.get(how) or _WORDS.get(name, ("", "", ""))
        self.findings.append(Finding(self.section, name, how, one_line(seen, 240), *own, quirk))

    def habit(self, name: str, quirk: str, value: object, usual: object, seen: str = "") -> None:
        """Note the value of a field of `Quirks`, and what was ``seen`` if it is not the usual."""
        written = f'{quirk}="{value}"' if isinstance(value, str) else f"{quirk}={value}"
        fits = value == usual
        self.note(name, "as usual" if fits else seen or value, fits, "" if fits else written)

    def judge(
        self, name: str, error: Exception | None, real: bool = True, ended: bool = False
    ) -> bool:
        """Note whether the server has an operation, asked for a ``real`` id or an unknown one.

        A refusal shows that the server has the operation. But one that has ``ended`` a probe is a
        finding: what the probe looks for was not seen.
        """
        fits: Verdict | bool = True
        cause: Any = error.__cause__ if isinstance(error, acp.RunStartAmbiguous) else error
        body: str = (getattr(cause, "body", "") or "").lstrip()
        status: int = getattr(cause, "status", None) or 0
        page, late = body[:1] == "<", isinstance(error, TimeoutError)
        late = late and not getattr(error, "url", "")  # no request was sent any more
        lacks = status >= 500 or bool(status and is_unserved(cause))
        if late or (status == 404 and not (real or body)):
            fits = "not tried"
        elif error and (page or lacks or status < 400 or status in (401, 403)):
            fits = "differs" if 200 <= status < 400 else "missing"
        elif ended:
            fits = "differs"
        named = lacks and fits == "missing" and not page and hasattr(_Api, name)
        quirk = f'lacks={{"{name}": {status}}}' if named else ""
        self.note(name, "served" if fits is True else status if named else error, fits, quirk)
        return fits is True

    def left(self, most: float = 10.0) -> float:
        """Return the seconds that a request may take."""
        if (left := min(self.until - monotonic(), most)) < 0.05:
            raise acp.ApiTimeoutError(reason="no time was left")
        return left

    def ask(self, operation: str, *values: Any, most: float = 10.0, **options: Any) -> _Answer:
        """Send one request, and again if the server or a proxy refuses it for now."""
        send = getattr(_Api(self.client), f"{operation}_with_http_info")
        got: Any = None
        for refused in range(4):
            began, options["_request_timeout"] = monotonic(), self.left(most)
            try:
                response = send(*values, **options)
                self.types.add(response.headers.get("content-type", "").partition(";")[0])
                got = _Answer(monotonic() - began, response.data, response.headers, 200)
            except acp.ApiException as error:
                got = _Answer(monotonic() - began, None, error.headers or {}, error.status, error)
            if operation == "create_run" or not (got.error and failure_of(got.error).limits):
                break
            self.limited += 1
            sleep(min(0.5 * refused + 0.5, self.left()))
        answer: _Answer = got
        return answer

    def start(self, **options: Any) -> Any:
        """Start a run of the agent, which is deleted in the end."""
        token = new_client_token()
        self.runs[token] = None
        options |= {"metadata": {"acp-client-doctor": token}, "client_token": token}
        run = self.runs[token] = self.agent.start(self.input, timeout=self.left(), **options)
        self.made.append(run.run)
        return run

    def clean_up(self) -> None:
        """Delete the runs of this examination, and say which are left."""
        self.section, self.until = "5. Runs", monotonic() + 10
        view, left = self.client.with_options(timeout=3), list[str]()
        for token, run in self.runs.items():
            with suppress(acp.OpenApiException):
                if not (run := run or acp.RunHandle.find(token, view)):
                    continue  # there is none, as no response to its create came
                known = self.ask("get_run", run.run_id)
                # A server that keeps no metadata has returned this id to our own create.
                if known.data is None or client_token_of(known.data.creation) in ("", token):
                    status = self.ask("delete_run", run.run_id).status
                    if status in (200, 204) or known.status == status == 404:
                        continue
            left.append(run.run_id if run else "one without an id")
        if left:
            self.note("clean-up", ", ".join(left), "missing")
            package_logger(__name__).warning("not deleted by the doctor: %s", ", ".join(left))


def _connection(exam: _Exam) -> None:
    """Connect, time five quick requests, and read the server's clock.

    connection: no call gets there, or each opens another one; check the host and the network;
        Configuration(host="https://…")
    TLS: nobody vouches for the server, or soon no longer; renew its certificate, or name its CA;
        Configuration(ssl_ca_cert="ca.pem")
    time of a request: each call takes this long; give calls more time;
        Configuration(timeout=(10, 120))
    clock: its times are not yours; compare them with each other only
    """
    conf = exam.client.configuration
    proxy = proxy_for(parse_target(conf.host).origin, conf.proxy, conf.no_proxy, {})
    exam.note("proxy", proxy or "none is used")
    raw: Any = _Api(exam.client).search_agents_without_preload_content(_QUICK, exam.left())
    sock, address = raw.incoming.sock, "closed"
    with suppress(OSError, AttributeError):  # it is closed already, or is TLS within TLS
        if hasattr(sock, "getpeercert"):
            # Without verification, Python does not read the certificate.
            known = sock.getpeercert() or {"issuer": (), "notAfter": "Jan  1 00:00:00 1970 GMT"}
            days = max(0.0, (cert_time_to_seconds(str(known["notAfter"])) - time()) / 86400)
            issuer = ", ".join(text for ((_, text), *_) in known["issuer"]) or "nobody"
            exam.note("TLS", f"{sock.version()} by {issuer}, {days:.0f} days left", days > 21)
        address = "{}:{}".format(*sock.getpeername())  # of IPv6, more follows
    exam.note("connection", f"{address}, HTTP/{raw.version / 10}", raw.version > 10)
    raw.release_conn()
    answers: list[_Answer] = []
    while len(answers) < 5 and sum(each.took for each in answers) < 5:
        answers.append(exam.ask("search_agents", _QUICK))
    took, last = sorted(each.took for each in answers)[len(answers) // 2], answers[-1]
    exam.note("time of a request", f"{took:.3f} s, the median of {len(answers)}", took < 1)
    if date := date_of(last.headers.get("date")):
        exam.note("clock", f"{date - time():+.1f} s from yours", abs(date - time()) < 5 + last.took)


def _access(exam: _Exam) -> None:
    """Say which credentials were sent from where, and whether they do.

    access: the calls are refused; set the credentials that it asks for;
        Configuration(access_token="…")
    """
    conf, answer = exam.client.configuration, exam.ask("search_agents", _QUICK)
    secrets = {conf.access_token, conf.password, *conf.api_key.values()} - {None, ""}
    sent = [f"{name} from the configuration" for name in conf.auth_headers()]
    sent += [f"{name} by default" for name in exam.client.default_headers if name != "User-Agent"]
    sent += [f"as {name} has it" for name in os.environ if os.environ[name] in secrets]
    seen = ", ".join(sent) or "no credentials are sent"
    wanted = answer.headers.get("www-authenticate", "nothing by name")
    asks = f"{answer.status}, and it asks for {wanted}; " if answer.status in (401, 403) else ""
    exam.note("access", asks + seen, "missing" if asks else "works")


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
    searches = exam.judge("search_agents", exam.ask("search_agents", _QUICK).error)
    page, name = exam.ask("search_agents", {"limit": 10}), ""
    if searches:
        exam.habit("list of agents", "agents_by_name", page.status != 200, False, "by name only")
    if wanted := exam.name or (page.data and page.data[0].agent_id):
        exam.agent = acp.AgentHandle.get(wanted, exam.client.with_options(timeout=8, retries=3))
    for operation in ("get_agent_by_id", "get_acp_descriptor_by_id"):
        answer = exam.ask(operation, exam.agent.agent_id if exam.agent else str(uuid4()))
        exam.judge(operation, answer.error, exam.agent is not None)
        exam.specs = getattr(answer.data, "specs", None)
        name = answer.data.metadata.ref.name if answer.data else name
    if name and searches:
        found = {a.metadata.ref.name for a in exam.ask("search_agents", {"name": name}).data or ()}
        exam.note("search by name", f"names found: {len(found)}", found == {name})
    if exam.specs:
        can = exam.specs.capabilities
        exam.modes = tuple(mode for mode in exam.modes if getattr(can.streaming, mode, False))
        able = [each for each in ("threads", "interrupts", "callbacks") if getattr(can, each)]
        exam.note("capabilities", f"streams {' '.join(exam.modes) or 'none'}; {' '.join(able)}")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                exam.agent.check(input=exam.input, config={})
            exam.note("schemas", caught[0].message if caught else "can be used", not caught)
        except acp.ApiValueError as error:
            fits: Any = not exam.name if isinstance(error, acp.SchemaMismatch) else "not tried"
            exam.note("schemas", error, fits)


def _create_run(exam: _Exam) -> None:
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
    handle = exam.start()
    began, window, run = monotonic(), 60 if exam.deep else 4, exam.made[0]
    exam.note("create_run", "a run was started")
    exam.habit("metadata", "echo", "whole" if client_token_of(run.creation) else "none", "whole")
    exam.habit("status", "empty_status", not run.status.value, False, "empty")
    early, poll = exam.ask("get_run_output", run.run_id, most=1.5), None
    if early.data is None and early.status in (None, 200) and exam.until - monotonic() > window:
        poll = exam.ask("get_run_output", run.run_id, window, most=window + 3)
    final: Any = None
    try:
        final = handle.output(exam.left(6 * window)).actual_instance
        exam.judge("get_run_output", None)
    except acp.ApiException as error:
        late = isinstance(error, TimeoutError) and early.status in (None, 200, 404)
        if not exam.judge("get_run_output", error if late else early.error or error) and not late:
            return
    if poll and poll.status != 500:
        seen = f"{poll.took:.1f} s of {window} s{f', then {poll.error}' if poll.error else ''}"
        full = poll.data is not None or (not poll.error and poll.took > 0.9 * window)
        exam.note("long poll", seen, full)
    if early.data is None or early.took > 0.3:
        how = "404" if early.status == 404 else "held" if early.data or early.error else "204"
        exam.habit("output while pending", "pending_output", how, "204")
    if isinstance(final, acp.RunError):
        failed = 500 in (early.status, poll and poll.status)
        exam.habit("failed outputs", "held_errors_fail", failed, False, "500 at first")
        states = set[Any]()
        for _ in range(80):
            known = exam.ask("get_run", run.run_id).data
            states.add(known and (known.status.value, known.updated_at))
            sleep(0.03)
        errors = len([state for state in states if state and state[0] == "error"])
        exam.habit("attempts", "attempts", max(1, errors), 1)
        exam.note("result", f"the agent failed: {final.description}", False)
    elif isinstance(final, acp.RunInterrupt):
        exam.note("questions", "the agent asks")
    elif final:
        exam.note("result", f"after {monotonic() - began:.1f} s")
        needed: Any = exam.specs and exam.specs.interrupts and exam.specs.output.get("required")
        if isinstance(needed, list) and {*map(str, cast("list[object]", needed))} - {*final.result}:
            exam.habit("questions", "interrupts_succeed", True, False, "none, and a part result")


def _stream(exam: _Exam, again: bool = False) -> None:
    """Follow a run, and open its stream again after its first event.

    stream: no second run could be started; see why
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
        return exam.note("get_run_stream", "the agent does not stream", "not tried")
    run = exam.start(streaming=exam.modes[0])
    answer = exam.ask("get_run_stream", run.run_id, most=60 if exam.deep else 6)
    times, ids, ended = _events(answer) if answer.data else ([], [], True)
    late = len(ids) > 1 and times[-1] > 0.3 and times[-1] - times[0] < 0.1 * times[-1]
    if late and not again:
        return _stream(exam, again=True)  # a slow start looks like a proxy that holds events back
    if (made := run.run.creation).metadata is not None:
        exam.habit("echo", "echo", "part" if made.streaming is None else "whole", "whole")
    if not exam.judge("get_run_stream", answer.error) or not ids:
        return None
    open_end = not ended and run.done()
    exam.habit("end of the stream", "comments_after_end", open_end, False, "it stays open")
    exam.note("events in time", f"after {times[0]:.1f} to {times[-1]:.1f} s", not late)
    lost = any(ids) and len(set(ids)) < len(ids)
    exam.habit("keep-alive comments", "bare_comments", lost, False, "an id is lost")
    kind = "none" if not any(ids) else "run" if "".join(ids).isdigit() else "opaque"
    exam.habit("event ids", "event_ids", kind, "run", ", ".join(ids))
    if len(ids) > 1:
        answer = exam.ask("get_run_stream", run.run_id, most=2, _headers={"Last-Event-ID": ids[0]})
        more = len(_events(answer)[1]) if answer.data else 0
        quirk = 'event_ids="connection"' if ids[0] and more >= len(ids) else ""
        quirk = quirk if more else "replay=False"
        exam.note("replay", f"{more} of {len(ids)} events after the first", not quirk, quirk)


def _events(answer: _Answer) -> tuple[list[float], list[str], bool]:
    """Read a stream: return when its events came, their ids, and whether it ended in time.

    About 10,000 events show enough, or fewer with long ids. The rest of the stream is not read, as
    it may be endless.
    """
    times, ids, began = list[float](), list[str](), monotonic() - answer.took
    room = 1_000_000
    with suppress(acp.ApiException), answer.data as stream:
        for event in stream.raw_events():
            times.append(monotonic() - began)
            ids.append(event.id)
            room -= 100 + len(event.id)
            if room < 0:
                break
        return times, ids, True
    return times, ids, False


def _find_and_delete(exam: _Exam) -> None:
    """Search for the runs, delete one that is pending, and start one of an unknown agent.

    find_and_delete: no further run could be started; see why
    search_runs: a create whose response is lost cannot be found; use a journal;
        agent.map(inputs, journal="runs.jsonl")
    search by metadata: all runs of the agent are read and compared; search by agent and status
    order of searches: pages shift while runs are made; read lists by iter_runs
    delete_run: runs cannot be cancelled, and stay; give agents limits of their own
    body of a delete: the client reads the status, with one request more; nothing to do
    after a delete: a deleted run is still there; do not rely on RunGone
    unknown agent: a wrong id is not a 404, and its run may never end; give a limit;
        agent.run(input, timeout=600)
    clean-up: runs of this examination stay on the server; delete them there
    """
    page = exam.ask("search_runs", {"limit": 1000, "agent_id": exam.made[0].agent_id})
    if exam.judge("search_runs", page.error):
        ours = [run.run_id for run in exam.made]
        newest = [run.run_id for run in page.data if run.run_id in ours] == ours[::-1] != ours
        exam.habit("order of searches", "search_order", "newest" if newest else "oldest", "oldest")
        answer = exam.ask("search_runs", {"metadata": {CLIENT_TOKEN_KEY: next(iter(exam.runs))}})
        others = {run.run_id for run in answer.data or ()} - {ours[0]}
        how = "fails" if answer.error else "ignored" if others else "matched"
        exam.habit("search by metadata", "search_metadata", how, "matched")
    run_id, token = exam.start().run_id, new_client_token()
    exam.judge("get_run", exam.ask("get_run", run_id).error)
    exam.judge("resume_run", exam.ask("resume_run", run_id, {}).error)
    error = exam.ask("delete_run", run_id).error
    empty = isinstance(error, acp.ResponseDecodeError) and not error.body
    if not exam.judge("delete_run", None if empty else error):
        return exam.note("unknown agent", "its run could not be deleted", "not tried")
    exam.habit("body of a delete", "delete_body", not empty, True, "none")
    exam.note("after a delete", now := exam.ask("get_run", run_id).status, now != 200)
    if now != 200:
        exam.runs.popitem()  # the one that was just deleted
    exam.runs[token] = None
    made = exam.ask("create_run", {"agent_id": str(uuid4()), "metadata": {CLIENT_TOKEN_KEY: token}})
    if made.data:
        exam.runs[token] = acp.RunHandle.of(made.data, exam.client)
    elif made.status == 404:
        del exam.runs[token]  # the server did not make it
    if made.status:
        exam.habit("unknown agent", "unknown_agent", made.status, 404)


def _contract(exam: _Exam) -> None:
    """Ask for each operation that reads, and see the form of errors, of JSON and of runs.

    contract: not all operations could be asked for; see why
    search_threads: old conversations cannot be listed; keep their ids
    get_run_threadstate: the state of a conversation cannot be read; keep it in results
    get_thread: conversations do not work; send what was said before as a part of the input
    get_thread_state: the state of a conversation cannot be read; keep it in results
    get_thread_history: the runs of a conversation cannot be listed; keep their ids
    JSON: it is called by another name, and read all the same; nothing to do
    errors: an error's message has the words all the same; catch classes, and compare no words
    ids: an id of another form is an invalid request, not a 404; catch ApiException
    invalid requests: the error is of another class; catch ApiException
    times: an answer to a question may wait a second; compare no times with yours
    thread ids: a run's thread_id is the server's word, not yours; keep your own
    rate of requests: the client pauses and asks again; keep fewer runs in flight;
        agent.map(inputs, concurrency=4)
    """
    ids = {"get_run_threadstate": exam.made[0].run_id} if exam.made else {}
    # The searches come first, as what they find is asked for.
    for operation in sorted({*_READS} - {each.name for each in exam.findings}, reverse=True):
        searches = operation.startswith("search")
        answer = exam.ask(operation, {"limit": 1} if searches else ids.get(operation, str(uuid4())))
        exam.judge(operation, answer.error, searches or operation in ids)
        if operation == "search_threads" and answer.data:
            ids |= {n: answer.data[0].thread_id for n in _READS if n.startswith("get_thread")}
    unknown, odd = exam.ask("get_run", str(uuid4())), exam.ask("get_run", "doctor").status
    if unknown.status == 404 and unknown.error:
        body, words = (unknown.error.body or "").lstrip(), isinstance(unknown.error.data, dict)
        form = "detail" if words else "contract" if body[:1] == '"' else "text"
        if body[:1] != "<" and not (words and is_unserved(unknown.error)):
            exam.habit("errors", "errors", form, "contract")
        exam.habit("ids", "only_uuids", odd != 404, False, f"{odd} without a UUID")
    if 400 in (odd, exam.ask("search_agents", _QUICK, _content_type="text/plain").status):
        exam.habit("invalid requests", "invalid", 400, 422)
    kind = "text/plain" if "text/plain" in exam.types else "application/json"
    exam.habit("JSON", "media_type", kind, "application/json")
    if exam.made:
        moments = [each for run in exam.made for each in (run.created_at, run.updated_at)]
        kind = "microseconds" if any(each.microsecond for each in moments) else "seconds"
        kind = "year 1" if moments[0].year == 1 else kind if moments[0].tzinfo else "naive"
        exam.habit("times", "updated_at", kind, "microseconds")
        lost = (named := exam.made[0].thread_id) and exam.ask("get_thread", named).error
        exam.habit("thread ids", "own_thread_ids", bool(lost), False, "there is no such thread")
    exam.note(f"{'' if exam.made else 'runs, '}webhooks, restarts", "not seen here", "not tried")
    exam.note("rate of requests", f"{exam.limited} were refused for now", not exam.limited)


# The section of the report, its seconds, and what sends the requests.
_PROBES = (
    ("1. The way there", 10, _connection),
    ("2. Who you are", 5, _access),
    ("4. Agents", 8, _agents),
    ("5. Runs", 14, _create_run),
    ("5. Runs", 10, _stream),
    ("5. Runs", 9, _find_and_delete),
    ("3. The contract", 10, _contract),
)
_ROW = re.compile(r"^(\w[\w -]*): (.*(?:\n {4}.*)*)", re.MULTILINE)
_WORDS: dict[str, Any] = {}
for _section, _seconds, _probe in _PROBES:
    # CPython 3.13 and newer keep docstrings without their indentation.
    for _name, _words in _ROW.findall(cleandoc(_probe.__doc__ or "")):
        _WORDS[_name] = [*" ".join(_words.split()).split("; ", 2), "", ""][:3]


def examine(
    client: ApiClient, agent: str | None = None, input: JsonObject | None = None, deep: bool = False
) -> Report:
    """Find out what a server can do, in at most about 30 seconds.

    Without an agent, it only reads. With one, it starts up to five runs, one of them of an agent
    that does not exist. Each has a client token, and they are deleted in the end, also on Ctrl-C.

    Args:
        client: A client of the server.
        agent: The id or name of an agent to run.
        input: The agent's input. Some seconds of work, and some updates, tell most.
        deep: Try long polls of up to 60 seconds, and take up to five minutes.

    Raises:
        ApiTypeError: An argument has the wrong type. Nothing was sent.
        ApiValueError: There is an input, and no agent. Nothing was sent.
    """
    instance_of("an ApiClient", ApiClient, or_none=False)("client", client)
    instance_of("a str", str)("agent", agent)
    instance_of("True or False", bool, or_none=False)("deep", deep)
    if input is not None and not agent:
        raise acp.ApiValueError("input is for runs of an agent, and no agent was named")
    own = dict_of("input", input or {})
    exam = _Exam(client.with_options(retries=0), agent or "", own, deep)
    ends = monotonic() + (300 if deep else 20)
    try:
        for exam.section, seconds, probe in _PROBES:
            exam.until = min(ends, monotonic() + seconds * (10 if deep else 1))
            runs = exam.made or (agent and exam.agent and probe is _create_run)
            if exam.section != "5. Runs" or runs:
                try:
                    probe(exam)
                except (acp.ApiException, acp.ApiValueError) as error:
                    # A server that does not speak TLS has no certificate to renew.
                    is_refused = isinstance(error, acp.TLSException) and "certificate" in str(error)
                    exam.judge("TLS" if is_refused else probe.__name__[1:], error, ended=True)
            if exam.section[0] in "12" and exam.findings[-1].verdict == "missing":
                break
    finally:
        exam.clean_up()
    findings = tuple(sorted(exam.findings, key=lambda each: each.section))
    works = {each.name for each in findings if each.verdict == "works"}
    faults: dict[str, str] = {
        each.name: each.setting for each in findings if each.verdict not in _MEANINGS
    }
    held = dict[str, str]()
    for name, parts in _PROMISES.items():
        lost = ", ".join(sorted(parts & faults.keys()))
        held[name] = f"broken by {lost}" if lost else "not tried" if parts - works else "holds"
    settings = tuple(dict.fromkeys(each for each in faults.values() if each))[:3]
    status = (11 if faults else 0) if works & ({"create_run"} if agent else {*_READS}) else 1
    return Report(client.configuration.host, agent, status, findings, held, settings)
