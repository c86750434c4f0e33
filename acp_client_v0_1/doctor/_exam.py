"""One examination: its requests, its runs, and what it notes.

Invariants: each request leaves within the seconds of its probe. A failure that passes is tried
again, as a script would. Each create has a client token of its own, and no more than `MOST_RUNS` of
them may have made a run.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, sleep
from typing import Any, NamedTuple

import acp_client_v0_1 as acp
from acp_client_v0_1._contract import OPERATIONS
from acp_client_v0_1._http.retry import failure_of
from acp_client_v0_1._operation import Operation
from acp_client_v0_1._text import one_line, package_logger
from acp_client_v0_1.doctor import _report, _words
from acp_client_v0_1.doctor._report import Finding, NotTried, Operations, Verdict
from acp_client_v0_1.handles._marks import CLIENT_TOKEN_KEY, is_mask, new_client_token
from acp_client_v0_1.handles._rules import is_unserved

MOST_RUNS = 5
# The length of a second. A test makes all limits shorter by a smaller value.
SECOND = 1.0
# The pauses after failures that pass, in seconds. After the last one, the failure stands.
PAUSES = (0.5, 1.0)
# After this many, no request is sent again: the server refuses most of them.
_MOST_REPEATS = 12
# The most seconds of pauses for a server that limits requests.
_MOST_PAUSES = 120.0
# After these failures, the server has made no run.
_NOT_MADE = ("unsent", "limited", "lacks", "missing", "denied", "refused")
# The operations that read.
READS = [n for n, (_, method, _) in OPERATIONS.items() if method == "GET" or "search" in n]
# These are of ACP alone. A server of another protocol may have the others, which are `/runs/{id}`
# and `/agents/{id}`, and may have any JSON for a state.
_ACP_ALONE = {*READS} - {"get_run", "get_agent_by_id", "get_thread_state", "get_run_threadstate"}
# Where ACP 0.2 and later have the output of a run.
_WAIT: Operation[Any] = Operation("GET", "/runs/{run_id}/wait", lambda: dict[str, Any])


# What a cache adds to a response that it had already. X-Varnish has the number of this request, and
# then that of the request whose response it is.
_CACHED = (
    ("age", re.compile("0*[1-9]")),
    ("x-cache", re.compile(".*hit", re.IGNORECASE)),
    ("cf-cache-status", re.compile("hit", re.IGNORECASE)),
    ("x-varnish", re.compile("[0-9]+ +[0-9]")),
)


class Answer(NamedTuple):
    """What a request brought."""

    took: float = 0.0
    data: Any = None
    status: int | None = None
    error: acp.ApiException | None = None


class _Api(Operations):
    """The operations that an examination sends."""

    def wait_with_http_info(self, run_id: str, _request_timeout: float) -> acp.ApiResponse[Any]:
        options = (_request_timeout, None, None, None, 0)
        return self.api_client.call_with_http_info(_WAIT, (run_id,), options)


@dataclass
class Exam:
    """One examination."""

    client: acp.ApiClient
    # The name or id of the agent to run, or "" if none is run.
    name: str
    # The input and the config of each run.
    given: dict[str, dict[str, Any]]
    deep: bool
    # The handle of the agent to run, or of any that was found, and what its descriptor says.
    agent: Any = None
    specs: Any = None
    # The agent's modes of streaming.
    modes: tuple[str, ...] = ("custom", "result")
    # True once a response came that only a server of ACP 0.1 gives.
    looks_like_acp: bool = False
    # The present probe has this section of the report, and ends at this time.
    section: str = ""
    until: float = 0.0
    # How many requests were sent again, and how many of these were served after a 429 or 503.
    repeats: int = 0
    refused: int = 0
    # The seconds from one request to the next, once the server limits them.
    pace: float = 0.0
    # When the next request may leave, and the seconds of all pauses for a limit.
    next_at: float = 0.0
    paused: float = 0.0
    # When the latest requests were served.
    served: deque[float] = field(default_factory=lambda: deque[float](maxlen=100))
    findings: dict[str, Finding] = field(default_factory=dict[str, Finding])
    # The client token of each create that may have made a run, and the run if it is known.
    runs: dict[str, acp.Run | None] = field(default_factory=dict[str, Any])
    made: list[acp.Run] = field(default_factory=list[acp.Run])
    # The client tokens of runs that were deleted before the end.
    gone: set[str] = field(default_factory=set[str])

    def note(self, name: str, seen: object, fits: Verdict | bool = True, quirk: str = "") -> None:
        """Note a finding, in place of an earlier one of its name."""
        how: Verdict = fits if isinstance(fits, str) else "works" if fits else "differs"
        is_fault = how in ("differs", "missing")
        words = _words.WORDS.get(name, _words.OTHER) if is_fault else _words.MEANINGS[how]
        meaning, _, advice = words.partition("; ")
        # A finding that is noted again moves to the end, so that the order is that of the probes.
        self.findings.pop(name, None)
        line = one_line(seen, 240)
        self.findings[name] = Finding(self.section, name, how, line, meaning, advice, quirk)

    def habit(self, name: str, quirk: str, value: object, usual: object, seen: str = "") -> None:
        """Note the value of a field of `Quirks`, and what was ``seen`` if it is not the usual."""
        written = f'{quirk}="{value}"' if isinstance(value, str) else f"{quirk}={value}"
        fits = value == usual
        self.note(name, "as usual" if fits else seen or value, fits, "" if fits else written)

    def judge(
        self, name: str, error: Exception | None, known: bool = True, seen: object = "served"
    ) -> bool:
        """Note what the outcome of a request says, and return whether the server has it."""
        verdict, status = _report.verdict_of(error, known=known), getattr(error, "status", None)
        is_page, lacks = _report.is_page(error), verdict == "missing" and status not in (401, 403)
        quirk = f'lacks={{"{name}": {status}}}' if lacks and status and not is_page else ""
        quirk = quirk if hasattr(Operations, name) else ""
        if verdict != "works":
            unknown = f"{status} for an id that nobody has"
            seen = status if quirk else unknown if status and verdict == "not tried" else error
        self.note(name, seen, verdict, quirk)
        # A server that knows a path of ACP says what is wrong with it in words of its own.
        knows = (verdict == "works" and status in (None, 404)) or (status == 501 and not is_page)
        self.looks_like_acp = self.looks_like_acp or (knows and name in _ACP_ALONE)
        return verdict == "works"

    def left(self, most: float = 10.0) -> float:
        """Return the seconds that a request may take."""
        if (left := min(self.until - monotonic(), most * SECOND)) < 0.05:
            raise NotTried(reason="no time was left")
        return left

    def ask(
        self, operation: str, *values: Any, most: float = 10.0, again: bool = True, **options: Any
    ) -> Answer:
        """Send one request, and again after a failure that passes, unless ``again`` is false."""
        send = partial(self.once, operation, *values, most=most, **options)
        return self._repeated(send, again)

    def once(self, operation: str, *values: Any, most: float, **options: Any) -> Answer:
        send = getattr(_Api(self.client), f"{operation}_with_http_info")
        self._pause(self.next_at - monotonic())
        began, seconds = monotonic(), self.left(most)
        self.next_at = began + self.pace
        try:
            got = send(*values, _request_timeout=seconds, **options)
            answer = Answer(monotonic() - began, got.data, got.status_code)
            headers = got.headers
        except acp.ApiException as error:
            answer, headers = Answer(monotonic() - began, None, error.status, error), error.headers
            if failure_of(error).limits:
                return answer
        self.served.append(monotonic())
        return self._believed(operation, answer, headers or {})

    def _believed(self, operation: str, answer: Answer, headers: Mapping[str, str]) -> Answer:
        """Return an answer that tells nothing if a cache has given the response."""
        seen = next((n for n, form in _CACHED if form.match(headers.get(n) or "")), None)
        if seen is None:
            return answer
        if close := getattr(answer.data, "close", None):
            # An open stream.
            close()
        words = f"{seen}: {headers[seen]}"
        self.note("cache", f"{operation} got an old response, {words}", False)
        return Answer(answer.took, error=NotTried(reason=f"a cache responded ({words:.60})"))

    def _repeated(self, send: Callable[[], Answer], again: bool = True) -> Answer:
        """Send a request, and again after a limit, or with ``again`` any failure that passes."""
        answer, refused = send(), 0
        for pause in PAUSES:
            error = answer.error
            if error is None or isinstance(error, TimeoutError) or not _report.passes(error):
                break
            failure = failure_of(error)
            seconds = max(pause, failure.retry_after or 0.0)
            # A server may be busy for once. A limit says so, or refuses again and again.
            is_limit = error.status == 429 or failure.retry_after is not None or self.repeats > 0
            if failure.limits and is_limit and self.paused + seconds < _MOST_PAUSES:
                self._slow_down(max(1.0, seconds))
                self._pause(seconds)
            elif not again or seconds >= self.until - monotonic():
                break
            else:
                sleep(seconds)
            if self.repeats - self.refused >= _MOST_REPEATS:
                break
            self.repeats += 1
            refused += failure.limits
            answer = send()
        if answer.error is None or not _report.passes(answer.error):
            self.refused += refused
        return answer

    def _slow_down(self, seconds: float) -> None:
        """Send as many requests as the server has served before the limit, or else fewer."""
        served = sum(moment > monotonic() - seconds for moment in self.served)
        self.pace = min(2.0, self.pace * 1.5) or min(0.25, seconds / max(1, served))

    def _pause(self, seconds: float) -> None:
        """Wait for a limit. This does not count as time of the probe."""
        if seconds > 0:
            sleep(seconds)
            self.until += seconds
            self.paused += seconds

    def start_run(self, **options: Any) -> acp.Run:
        """Start a run of the agent, or raise the error of the last try."""
        answer = self.start(**options)
        if answer.error is not None:
            raise answer.error
        run: acp.Run = answer.data
        return run

    def start(self, **options: Any) -> Answer:
        """Start a run, of the agent by default, and again after a failure that passes.

        If a response is lost, its run is searched for, as a handle would. Each try has a client
        token of its own, so that a run of an earlier one is found and deleted in the end.
        """
        return self._repeated(partial(self._create, options))

    def _create(self, options: dict[str, Any]) -> Answer:
        if len(self.runs) >= MOST_RUNS:
            raise NotTried(reason=f"{MOST_RUNS} creates may have made runs, and no more are sent")
        token = new_client_token()
        creation = {"agent_id": self.agent.agent_id, **self.given, **options}
        creation["metadata"] = {"acp-client-doctor": token, CLIENT_TOKEN_KEY: token}
        # From here on, Ctrl-C may come after the server has made the run.
        self.runs[token] = None
        answer = self.once("create_run", creation, most=10)
        run: acp.Run | None = answer.data
        if answer.error is not None:
            if failure_of(answer.error).kind in _NOT_MADE:
                del self.runs[token]
                return answer
            with suppress(acp.ApiException):
                run = self._find(token)
        if run is None:
            return answer
        self.runs[token] = run
        self.made.append(run)
        return answer._replace(data=run, error=None, status=200)

    def _find(self, token: str) -> acp.Run | None:
        """Return the run of a create, or None. Raise an error if the search does not show which.

        A server that hides client tokens may ignore or drop them. Then the run that a search finds
        may be somebody else's, and one that it does not find may be there.
        """
        self._pause(self.next_at - monotonic())
        self.next_at = monotonic() + self.pace
        handle = acp.RunHandle.find(token, self.client.with_options(timeout=self.left(3)))
        found = None if handle is None else handle.run
        known = [found] if found else self.made
        if known and not any(self.shown_as(run) in ("whole", "capitals") for run in known):
            raise NotTried(reason="the server hides client tokens")
        return found

    def clean_up(self) -> None:
        """Delete the runs of this examination, and say which may be left.

        A create that got no clear response counts, if no search shows whether it made a run.
        """
        self.section, self.until = "5. Runs", monotonic() + 10 * SECOND
        # By its id: whether a run is gone. A server may give all runs one id.
        gone, unclear = dict[str, bool](), 0
        for token in [each for each in self.runs if each not in self.gone]:
            try:
                run = self.runs[token] or self._find(token)
            except acp.OpenApiException:
                unclear += 1
                continue
            if run is not None and run.run_id not in gone:
                gone[run.run_id] = self._delete(run.run_id)
        left = [run_id for run_id, is_gone in gone.items() if not is_gone]
        if unclear:
            left.insert(0, f"what {unclear} creates made, whose responses were lost")
        if self.runs:
            all_gone = f"{len(self.made)} runs were started, and all are deleted"
            self.note("clean-up", ", ".join(left) or all_gone, not left)
        if left:
            logger = package_logger("acp_client_v0_1.doctor")
            logger.warning("not deleted by the doctor: %s", ", ".join(left))

    def shown_as(self, run: acp.Run, key: str = CLIENT_TOKEN_KEY) -> str:
        """Tell how a run shows a token of this examination, as `Quirks.echo_metadata` has it.

        Return "" if it shows another text, because then the run is somebody else's. Where the token
        is hidden, the run is ours if the response to our own create has named its id.
        """
        text = str((run.creation.metadata or {}).get(key) or "")
        # With fewer digits, the token of another run could begin.
        is_cut = len(text) >= 8 and any(token.startswith(text) for token in self.runs)
        ways = {"none": not text, "whole": text in self.runs, "masked": is_mask(text)}
        ways |= {"capitals": text.lower() in self.runs, "cut": is_cut}
        return next((way for way, holds in ways.items() if holds), "")

    def _delete(self, run_id: str) -> bool:
        """Delete a run unless it is somebody else's, and return whether it is gone."""
        with suppress(acp.OpenApiException):
            before = self.ask("get_run", run_id).data
            if before is not None and not self.shown_as(before):
                return False
            if is_done(self.ask("delete_run", run_id).error):
                return True
            # A page, or a 404, is not a server's word on the run. Reading the run is.
            after = self.ask("get_run", run_id).error
            if after is not None and after.status == 404:
                return before is not None or not is_unserved(after)
        return False


def is_done(error: acp.ApiException | None) -> bool:
    """Tell whether a DELETE succeeded, with or without the content that the contract has for it."""
    return error is None or (error.status in (200, 204) and not error.body)
