"""What has to hold, whatever was done to the server and the client.

The documentation admits some windows. A check that would complain about one names it:

* forgot: a server that forgot its runs has lost them, so an item is RunGone, or started again
* early end: a stream that ends cleanly, and too early, while its run ends looks complete
* no replay: without replay, another process sees the rest of a stream, as if it were all
* trouble: an error of a life may come of any fault that the life met
"""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from acp_client_v0_1.testing import LocalServer, RecordedRequest
from chaos.schedule import Schedule
from chaos.server import Truth, result_of


@dataclass
class Lived:
    """One life of the client, from outside."""

    began: float
    ended: float
    exit: int | None  # its exit status; None if it had to be killed because it did not end
    killed: bool  # by the schedule
    stdout: bytes = b""


@dataclass
class Story:
    """All that is known of a seed at its end."""

    schedule: Schedule
    truth: Truth
    server: LocalServer
    reports: list[dict[str, Any]]
    lives: list[Lived] = field(default_factory=list[Lived])
    settled: bool = False  # the last life had nothing left to do

    def told(self, what: str, life: int | None = None) -> list[dict[str, Any]]:
        """Return the reports of a kind."""
        return [r for r in self.reports if r["what"] == what and life in (None, r["life"])]

    def requests(self, method: str, pattern: str) -> list[RecordedRequest]:
        """Return the requests with a method, and a path that fits a regular expression."""
        return [
            r for r in self.server.requests if r.method == method and re.fullmatch(pattern, r.path)
        ]


def faults_of(story: Story) -> list[str]:
    """Return what does not hold, a line each."""
    return [
        *_lives(story),
        *_one_run_a_start(story),
        *_outcomes(story),
        *_events(story),
        *_stdout(story),
    ]


def _lives(story: Story) -> Iterator[str]:
    for number, life in enumerate(story.lives):
        if life.exit is None:
            yield f"life {number} did not end, {len(story.server.requests)} requests have come"
        elif life.exit > 1 and story.schedule.kind != "command":
            yield f"life {number} crashed with status {life.exit}"
        elif life.exit == 1 and not life.killed:
            yield f"life {number} ended with a traceback"
    if not story.settled:
        yield f"{len(story.lives)} lives did not settle it"


def _one_run_a_start(story: Story) -> Iterator[str]:
    excused = len(story.truth.forgotten)  # window "forgot"
    for token, number in Counter(made.token for made in story.truth.runs).items():
        if number > 1 + excused:
            yield f"{number} runs have the client token {token}"
    if story.schedule.kind == "command" and story.schedule.command[0] == "run":
        excused += len(story.lives) - 1  # each life is a start of its own
    for number, runs in Counter(made.number for made in story.truth.runs).items():
        if runs > 1 + excused:
            yield f"{runs} runs were made for input {number}"


def _outcomes(story: Story) -> Iterator[str]:
    """Each outcome is that of its own input; an error is borne out by the truth."""
    handed_out = Counter((report["life"], report["index"]) for report in story.told("item"))
    for (life, index), number in handed_out.items():
        if number > 1:
            yield f"item {index} was handed out twice in life {life}"
    for report in (*story.told("item"), *story.told("result")):
        yield from _outcome(story, report, story.schedule.inputs[report.get("index", 0)])
    for report in story.told("error"):
        yield from _error(story, report)
    if not story.truth.forgotten:
        yield from _kept(story)


def _kept(story: Story) -> Iterator[str]:
    """A result that was handed out is not asked for again by another life, and its run is there."""
    there = {run["run_id"] for run in story.server.runs}
    for report in story.told("item"):
        index, run_id = report["index"], report["run_id"]
        if "result" in report and run_id not in there:
            yield f"item {index} was handed out, and its run {run_id} deleted"
        later = [life.began for life in story.lives if life.began > report["time"]]
        asked = [request.time for request in story.requests("GET", f"/runs/{run_id}/output")]
        if "result" in report and later and any(time > later[0] for time in asked):
            yield f"item {index} was handed out in an earlier life, and is asked for again"


def _outcome(story: Story, report: dict[str, Any], input: dict[str, Any]) -> Iterator[str]:
    fail, name = input.get("fail"), report.get("error")
    right = "RunTimedOut" if fail == "timeout" else "RunFailed"
    if story.truth.forgotten and name == "RunFailed":
        right = name  # nobody can say any more which of the two it was
    if name is None:
        if fail is not None or report["result"] != result_of(input):
            yield f"input {input} has the result {str(report['result'])[:80]}"
    elif fail is not None and name == right:
        words = ("too slow",) if fail == "timeout" else (f"input {input['n']}",)
        if report["description"] not in words:
            yield f"input {input} has the failure {report['description']}"
    else:
        yield from _error(story, report)


def _error(story: Story, report: dict[str, Any]) -> Iterator[str]:
    if not _in_trouble(story, report["life"]):
        yield f"life {report['life']}: {report['error']}, without a fault: {report['text']}"


def _in_trouble(story: Story, number: int) -> bool:
    """Whether window "trouble" is open: a life met a fault, or did not find the server."""
    life = story.lives[number]
    faults = [request.time for request in story.server.requests if request.fault is not None]
    # What an earlier life has met may have left its mark.
    return any(when <= life.ended for when in (*faults, *story.truth.restarts))


def _events(story: Story) -> Iterator[str]:
    if story.schedule.kind != "follow":
        return
    quirks, updates = story.schedule.quirks, story.schedule.inputs[0]["updates"]
    cursor = quirks.replay and quirks.event_ids in ("run", "opaque")
    last_ever = 0
    for number in range(len(story.lives)):
        events = story.told("event", number)
        seen = [(report["told"]["k"], report["gap"]) for report in events if "k" in report["told"]]
        ends = story.told("events", number)
        after = last_ever if cursor else 0
        last = after
        for k, gap in seen:
            if gap is None and k <= last:
                yield f"life {number}: update {k} was handed out after {last}"
            if gap is not None and gap[1] is not None and gap[1] != k - last - 1:
                yield f"life {number}: a gap of {gap[1]} between updates {last} and {k}"
            last = k
        last_ever = max(last, last_ever)
        yield from _last_event_ids(story, number, events)
        if not ends:
            continue
        whole = sorted({k for k, _ in seen}) == list(range(after + 1, updates + 1))
        rest = number > 0 and not quirks.replay  # window "no replay"
        early = _ended_early(story, number)
        if ends[0]["complete"] is True and not (whole or rest or early):
            yield f"life {number}: complete, with {[k for k, _ in seen]} of {updates}"
        if ends[0]["complete"] is False and whole:
            yield f"life {number}: incomplete, with all updates"
        fail = story.schedule.inputs[0].get("fail")
        right = "success" if fail is None else "timeout" if fail == "timeout" else "error"
        if ends[0]["ended_by"] not in (right, "gone" if story.truth.forgotten else right):
            yield f"life {number}: ended by {ends[0]['ended_by']}, not {right}"


def _ended_early(story: Story, number: int) -> bool:
    """Whether window "early end" is open."""
    life = story.lives[number]
    return any(
        request.fault is not None and request.fault.cut == "end" and request.time >= life.began
        for request in story.requests("GET", r"/runs/[^/]+/stream")
    )


def _last_event_ids(story: Story, number: int, events: list[dict[str, Any]]) -> Iterator[str]:
    """A stream that is opened after an event with an id asks for what comes after it."""
    life = story.lives[number]
    for request in story.requests("GET", r"/runs/[^/]+/stream"):
        before = [report["id"] for report in events if report["time"] < request.time - 0.01]
        mine = life.began <= request.time <= life.ended
        if mine and before and before[-1] and not request.headers.get("last-event-id"):
            yield f"life {number}: a stream after event {before[-1]} has no Last-Event-ID"
            return


def _stdout(story: Story) -> Iterator[str]:
    for number, life in enumerate(story.lives):
        *lines, rest = life.stdout.split(b"\n")
        if rest and life.exit != -signal.SIGKILL:
            yield f"life {number}: half a line on stdout: {rest[:60]!r}"
        rows: list[Any] = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:
                yield f"life {number}: a line of stdout is no JSON: {line[:60]!r}"
        if story.schedule.kind == "command":
            yield from _command(story, number, rows)


def _command(story: Story, number: int, rows: list[Any]) -> Iterator[str]:
    """What the command prints is right, and so is its exit status."""
    if story.schedule.command[0] == "batch":
        for row in rows:
            input = story.schedule.inputs[row["index"]]
            right = {"timeout": "timeout", None: "success"}.get(input.get("fail"), "error")
            if row["status"] == "success" == right and row["result"] == result_of(input):
                continue
            lost = bool(story.truth.forgotten) and right == "timeout"  # as in `_outcome`
            wrong = row["status"] not in (right, "error" if lost else right) or right == "success"
            if wrong and not _in_trouble(story, number):
                yield f"life {number}: item {row['index']} is {str(row)[:200]}"
        return
    fail = story.schedule.inputs[0].get("fail")
    expected = 0 if fail is None else 6 if fail == "timeout" else 5
    for report in story.told("exit", number):
        status = report["status"]
        if status == 0 and (not rows or rows[-1] != result_of(story.schedule.inputs[0])):
            yield f"life {number}: status 0, with the output {str(rows)[:80]}"
        stopped = (130, 143) if story.lives[number].killed else ()  # by a signal of the schedule
        excused = status in (1, 7, 8, 10) and _in_trouble(story, number)
        if status not in (expected, *stopped) and not excused:
            yield f"life {number}: exit status {status} instead of {expected}"
