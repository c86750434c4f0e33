"""The probes of runs: create, output, stream, search and delete.

The first one starts a run. The others are only tried if it did, and each starts at most two more.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from math import inf
from time import monotonic, sleep
from typing import Any, cast
from uuid import uuid4

import acp_client_v0_1 as acp
from acp_client_v0_1.doctor import _exam
from acp_client_v0_1.doctor._exam import Answer, Exam, is_done
from acp_client_v0_1.doctor._report import NotTried, passes
from acp_client_v0_1.handles._marks import CLIENT_TOKEN_KEY
from acp_client_v0_1.handles._match import may_repeat

# A run that does not change for this many seconds has ended.
_SETTLED = 2.4


def create_run(exam: Exam) -> None:
    """Start a run, ask for its output while it is pending, and wait for it."""
    run, began = exam.start_run(), monotonic()
    exam.judge("create_run", None, seen="a run was started")
    _metadata(exam, run)
    exam.habit("status", "empty_status", not run.status.value, False, "empty")
    early, poll, final = _outputs(exam, run)
    if exam.findings["get_run_output"].verdict not in ("works", "not tried"):
        return
    if early.data is None or early.took > 0.3:
        held = early.data or isinstance(early.error, TimeoutError)
        how = "404" if early.status == 404 else "held" if held else "204"
        if how != "204" or not early.error:
            exam.habit("output while pending", "pending_output", how, "204")
    if isinstance(final, acp.RunError):
        _failure(exam, run, (early, poll))
        exam.note("result", f"the agent failed: {final.description}", False)
    elif isinstance(final, acp.RunInterrupt):
        exam.note("questions", "the agent asks")
    elif final:
        exam.note("result", f"after {monotonic() - began:.1f} s")
        again = exam.ask("get_run_output", run.run_id, most=1.5)
        if again.error is None or again.status == 404:
            exam.habit("output again", "output_once", again.data is None, False, "it is gone")
        needed: Any = exam.specs and exam.specs.interrupts and exam.specs.output.get("required")
        if isinstance(needed, list) and {*map(str, cast("list[object]", needed))} - {*final.result}:
            exam.habit("questions", "interrupts_succeed", True, False, "none, and a part result")


def _metadata(exam: Exam, run: acp.Run) -> None:
    """See how a run repeats its metadata: one key of the doctor's own, and one for a secret."""
    first, second = (exam.shown_as(run, key) for key in ("acp-client-doctor", CLIENT_TOKEN_KEY))
    if run.creation.metadata is None and run.creation.input is None:
        exam.habit("metadata", "echo", "none", "whole")
    elif (first, second) == ("none", "whole"):
        exam.habit("metadata", "stored_metadata", "client token", "whole", "client tokens alone")
    else:
        way = "masked tokens" if (first, second) == ("whole", "masked") else second or "masked"
        exam.habit("metadata", "echo_metadata", way, "whole")


def _outputs(exam: Exam, run: acp.Run) -> tuple[Answer, Answer | None, Any]:
    """Ask for an output at once, then by a long poll, then as a handle does."""
    window, poll = max(1, int((60 if exam.deep else 4) * _exam.SECOND)), None
    early = exam.ask("get_run_output", run.run_id, most=1.5, again=False)
    is_pending = early.data is None and (not early.error or isinstance(early.error, TimeoutError))
    if is_pending and exam.until - monotonic() > window:
        most = window / _exam.SECOND + 3
        poll = exam.ask("get_run_output", run.run_id, window, most=most, again=False)
        _long_poll(exam, poll, window)
    # A server may give an output once.
    if output := early.data or (poll and poll.data):
        exam.judge("get_run_output", None)
        return early, poll, output.actual_instance
    error: acp.ApiException | None = None
    try:
        handle = acp.RunHandle.of(run, exam.agent.runs.api_client)
        output = handle.output(exam.left(6 * window / _exam.SECOND))
    except acp.ApiException as failure:
        is_late = isinstance(failure, TimeoutError) and (is_pending or early.status == 404)
        error = NotTried(reason="no output came in time") if is_late else early.error or failure
    exam.judge("get_run_output", error)
    return early, poll, output and output.actual_instance


def _long_poll(exam: Exam, poll: Answer, window: int) -> None:
    if poll.error and not passes(poll.error):
        return
    seen = f"{poll.took:.1f} s of {window} s{f', then {poll.error}' if poll.error else ''}"
    full = poll.data is not None or (not poll.error and poll.took > 0.9 * window)
    exam.note("long poll", seen, "limited" if poll.error and poll.took < 0.5 else full)


def _failure(exam: Exam, run: acp.Run, answers: tuple[Answer | None, ...]) -> None:
    """See how a run fails, and whether it is tried again."""
    failed = 500 in (answer and answer.status for answer in answers)
    if failed or any(answer and answer.data and answer.took > 0.3 for answer in answers):
        exam.habit("failed outputs", "held_errors_fail", failed, False, "500 at first")
    else:
        exam.note("failed outputs", "none was waited for when the run failed", "not tried")
    _attempts(exam, run)


def _attempts(exam: Exam, run: acp.Run) -> None:
    """Count how often a run that has failed is tried, until it has not changed for some seconds."""
    began = read = changed = monotonic()
    count, slowest, shortest = 1, 0.0, inf
    last: Any = ("error", None)
    while monotonic() < min(changed + _SETTLED, exam.until - 1):
        known, before = exam.ask("get_run", run.run_id).data, read
        read = monotonic()
        slowest = max(slowest, read - before)
        # Some servers give no status.
        state = known and known.status.value and (known.status.value, known.updated_at)
        # The first failure that is read is the one that the output has shown.
        if state and state != last and (last[1] or state[0] != "error"):
            # A run that changes after its end is tried again.
            count += last[0] != "pending"
            changed, shortest = read, min(shortest, read - changed)
        last = state or last
        sleep(0.03)
    # Between two reads, a whole attempt may have begun and ended.
    is_all = slowest < shortest and last[0] != "pending" and read - changed > _SETTLED / 2
    if count > 1:
        exam.habit("attempts", "attempts", count, 1, f"{'' if is_all else 'at least '}{count}")
    else:
        exam.note("attempts", f"no second one in {monotonic() - began:.1f} s", "not tried")


def stream(exam: Exam, again: bool = False) -> None:
    """Follow a run, and open its stream again after its first event."""
    if not exam.modes:
        return exam.note("get_run_stream", "the agent does not stream", "not tried")
    run = exam.start_run(streaming=exam.modes[0])
    answer = exam.ask("get_run_stream", run.run_id, most=60 if exam.deep else 6)
    times, ids, ended = _events(answer) if answer.data else ([], [], True)
    late = len(ids) > 1 and times[-1] > 0.3 and times[-1] - times[0] < 0.1 * times[-1]
    if late and not again:
        return stream(exam, again=True)  # a slow start looks like a proxy that holds events back
    if run.creation.metadata is not None:
        exam.habit("echo", "echo", "part" if run.creation.streaming is None else "whole", "whole")
    if not exam.judge("get_run_stream", answer.error) or not ids:
        return None
    if ended or acp.RunHandle.of(run, exam.client).done():
        exam.habit("end of the stream", "comments_after_end", not ended, False, "it stays open")
    exam.note("events in time", f"after {times[0]:.1f} to {times[-1]:.1f} s", not late)
    if any(ids) and len(set(ids)) < len(ids):
        exam.habit("keep-alive comments", "bare_comments", True, False, "an id is lost")
    kind = "none" if not any(ids) else "run" if "".join(ids).isdigit() else "opaque"
    exam.habit("event ids", "event_ids", kind, "run", ", ".join(ids))
    return _replay(exam, run, ids) if len(ids) > 1 else None


def _replay(exam: Exam, run: acp.Run, ids: list[str]) -> None:
    answer = exam.ask("get_run_stream", run.run_id, most=2, _headers={"Last-Event-ID": ids[0]})
    if passes(answer.error) or isinstance(answer.error, NotTried):
        exam.judge("replay", answer.error)
        return
    more = _events(answer)[1] if answer.data else []
    # The first event comes again if its id does not say where the stream was cut.
    quirk = 'event_ids="connection"' if ids[0] in [each for each in more if each] else ""
    quirk = quirk if more else "replay=False"
    exam.note("replay", f"{len(more)} events after the first", not quirk, quirk)


def _events(answer: Answer) -> tuple[list[float], list[str], bool]:
    """Read a stream: return when its events came, their ids, and whether it ended in time.

    2,000 events show enough. The rest of the stream is not read, as it may be endless.
    """
    times, ids, began = list[float](), list[str](), monotonic() - answer.took
    with suppress(acp.ApiException), answer.data as stream:
        for event in islice(stream.raw_events(), 2_000):
            times.append(monotonic() - began)
            ids.append(event.id[:1000])
        return times, ids, True
    return times, ids, False


def search(exam: Exam) -> None:
    """Search for the runs, by agent and by metadata."""
    page = exam.ask("search_runs", {"limit": 1000, "agent_id": exam.made[0].agent_id})
    if not exam.judge("search_runs", page.error):
        return
    ours = [run.run_id for run in exam.made]
    found = [run.run_id for run in page.data if run.run_id in ours]
    if len(found) > 1:
        order = "newest" if found == ours[::-1] else "oldest"
        exam.habit("order of searches", "search_order", order, "oldest")
    # A server that gives all runs one id has the last one alone.
    token = next(token for token, run in exam.runs.items() if run is exam.made[-1])
    answer = exam.ask("search_runs", {"metadata": {CLIENT_TOKEN_KEY: token}})
    if passes(answer.error):
        exam.note("search by metadata", answer.error, "limited")
    elif answer.error or len(ours) > 1:
        known = {run.run_id for run in answer.data or ()}
        how = "fails" if answer.error else "ignored" if known - {ours[-1]} else "matched"
        exam.habit("search by metadata", "search_metadata", how, "matched")
        if not (known or answer.error):
            exam.habit("metadata", "stored_metadata", "none", "whole", "no search finds it")


def delete(exam: Exam) -> None:
    """Delete a run that is pending."""
    run = exam.start_run()
    known = exam.ask("get_run", run.run_id)
    exam.judge("get_run", known.error)
    exam.judge("resume_run", exam.ask("resume_run", run.run_id, {}).error, known=False)
    if known.data is not None and not exam.shown_as(known.data):
        return exam.note("delete_run", "the run that was read is not ours", "not tried")
    error = exam.ask("delete_run", run.run_id).error
    if not exam.judge("delete_run", None if is_done(error) else error):
        return None
    now = exam.ask("get_run", run.run_id)
    if now.status in (200, 404):
        exam.note("after a delete", now.status, now.status == 404)
    if now.status != 200:
        exam.gone |= {token for token, each in exam.runs.items() if each is run}
    return None


def unknown_agent(exam: Exam) -> None:
    """Start a run of an agent that does not exist, if runs can be deleted."""
    deletes = exam.findings.get("delete_run")
    if deletes is None or deletes.verdict != "works":
        return exam.note("unknown agent", "its run could not be deleted", "not tried")
    answer = exam.start(agent_id=str(uuid4()))
    if passes(answer.error):
        return exam.note("unknown agent", answer.error, "limited")
    return exam.habit("unknown agent", "unknown_agent", answer.status, 404)


def forms_of_runs(exam: Exam) -> None:
    """See the form of the times and ids of the runs."""
    run = exam.made[0]
    moments = [each for run in exam.made for each in (run.created_at, run.updated_at)]
    kind = "microseconds" if any(each.microsecond for each in moments) else "seconds"
    kind = "year 1" if moments[0].year == 1 else kind if moments[0].tzinfo else "naive"
    exam.habit("times", "updated_at", kind, "microseconds")
    lost = exam.ask("get_thread", run.thread_id).error if run.thread_id else None
    if not passes(lost):
        seen = "there is no such thread"
        exam.habit("thread ids", "own_thread_ids", lost is not None, False, seen)
    count, ids = len(exam.made), len({each.run_id for each in exam.made})
    if count > 1:
        seen = f"{count} runs, different ids: {ids}"
        exam.habit("run ids", "one_run_id", ids < count, False, seen)
        if ids == count and may_repeat(run.run_id):
            form = "counted UUIDs" if len(run.run_id) > 30 else "counted"
            exam.habit("ids that come again", "run_ids", form, "random", run.run_id)
