"""A run followed over everything that breaks; updates, requests and gaps are counted."""

from __future__ import annotations

import inspect
import json
import pickle
import signal
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
from support.moments import Moment
from support.serving import NOTHING, QUESTION, SUCCESS, Replies, Serve, run_json
from support.socket_server import CLOSE, STALL, Gate, chunk, head, response
from support.timing import using
from support.transport import eventually

import acp_client_v0_1 as acp
from acp_client_v0_1.handles._continuity import Continuity
from acp_client_v0_1.handles._token import decode_token
from acp_client_v0_1.handles.events import RunEvents
from acp_client_v0_1.testing import Fault, Interrupt, Quirks

STREAM = "/runs/*/stream"


def numbers(events: Iterable[acp.RunEvent]) -> list[int | None]:
    """The numbers of the counter's updates; None for an event that is no update."""
    return [event.update["count"] if event.update else None for event in events]


def cut(after: int, how: Any = "close") -> Fault:
    return Fault(path=STREAM, cut=how, after_events=after)


def streams(server: Any) -> list[str]:
    """The cursors of the streams that were asked for."""
    asked = [each for each in server.requests if each.path.endswith("/stream")]
    return [each.headers.get("last-event-id", "") for each in asked]


def patiently(events: RunEvents) -> list[acp.RunEvent]:
    """All events of an iteration, after waits that run out, too."""
    seen: list[acp.RunEvent] = []
    for _ in range(200):
        with suppress(acp.RunWaitTimeout):
            seen.extend(events)
            break
    return seen


def test_updates_and_then_the_end(server, counter):
    run = counter.start({"count": 3, "interval": 0.05}, streaming="custom")
    with run.events() as events:
        first = next(events)
        assert (first.id, first.update) == ("1", {"count": 1, "of": 3})
        assert (first.result, first.gap) == (None, None)
        assert events.complete is None
        assert numbers(events) == [2, 3]
    assert (events.complete, events.gaps, events.ended_by) == (True, [], "success")
    assert events.last_event_id == "3"
    assert repr(events) == f"<RunEvents of {run.run_id}, last id '3', ended by success>"
    assert next(events, None) is None
    with pytest.raises(acp.ApiValueError, match=r"RunHandle\.events\(\) begins again"):
        iter(events)
    assert len(streams(server)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ids", "cuts", "complete", "cursors"),
    [
        ("run", [cut(2, "end"), cut(1, "reset"), cut(1), cut(3)], True, ["", "2", "3", "4", "7"]),
        # The others replay; words and missing ids leave open whether all came.
        ("connection", [cut(2), cut(5)], True, ["", "2", "5"]),
        ("none", [cut(2), cut(5)], None, [""] * 3),
    ],
    ids=["run", "connection", "none"],
)
def test_every_update_comes_once_over_cuts(serve, ids, cuts, complete, cursors):
    server, client = serve(Quirks(event_ids=ids))
    server.faults.add(*cuts)
    counter = acp.AgentHandle.find("counter", client)
    events = counter.start({"count": 10, "interval": 0.05}, streaming="custom").events()
    assert numbers(events) == list(range(1, 11))
    assert events.complete is complete
    assert streams(server) == cursors


def event_of(kind: str, event_id: str = "", **fields: Any) -> bytes:
    """An event in a chunk."""
    data = json.dumps({"type": kind, "run_id": "r", "status": "pending", **fields})
    return chunk(f"id: {event_id}\nevent: agent_event\ndata: {data}\n\n".encode())


def sse(*updates: tuple[str, Any]) -> bytes:
    """Events of mode custom."""
    return b"".join(event_of("custom", event_id, update=update) for event_id, update in updates)


DECODING = [inspect.getsourcefile(each) for each in (acp.RunEvent, Continuity)]
UPDATES = [{"n": number} for number in range(1, 7)]
EVENTS = [(str(update["n"]), update) for update in UPDATES]
STREAMING = head(content_type="text/event-stream", transfer_encoding="chunked")
COMMENTS = [STREAMING, *[chunk(b": ping\n\n"), 0.1] * 100, STALL]


def so_far(count: int) -> bytes:
    """An event of mode result."""
    return event_of("result", result={"count": count})


def streamed(status: str = "pending") -> bytes:
    return run_json(status, creation={"agent_id": "a", "streaming": "custom"})


class Scripted(Replies):
    """A server whose n-th stream is scripted, and whose run is pending until they are over."""

    def __init__(self, serve: Serve, *streams: Any, at_the_end: str = "success") -> None:
        super().__init__(stream=streams, output=self._output, look=self._look)
        self.at_the_end = at_the_end
        self.server, self.client = serve(self)
        self.run = acp.RunHandle("r", self.client)

    @property
    def opened(self) -> int:
        return self.asked.count("stream")

    def _output(self) -> Any:
        return [0.2, NOTHING] if self.at_the_end == "pending" else SUCCESS

    def _look(self) -> bytes:
        over = self.opened >= len(self.replies["stream"])
        return streamed(self.at_the_end if over else "pending")


@pytest.mark.parametrize("mode", ["custom", "result"])
def test_an_event_of_another_run_is_refused(serve, mode):
    fields = {"update": {}} if mode == "custom" else {"result": {}}
    theirs = event_of(mode, "2", run_id="r2", **fields)
    ours = event_of(mode, "1", **fields), event_of(mode, "3", **fields), chunk(b"")
    events = Scripted(serve, STREAMING + ours[0] + theirs + b"".join(ours[1:])).run.events()
    assert next(events).id == "1"
    with pytest.raises(acp.ResponseValidationError, match="run r the event of run r2"):
        next(events)
    assert list(events) and not events.complete


def test_a_jump_is_a_loss_with_its_number(serve):
    updates = [{"n": n} for n in (1, 2, 6)]
    first = [STREAMING + sse(("1", updates[0]), ("2", updates[1])), CLOSE]
    second = STREAMING + sse(("6", updates[2])) + chunk(b"")
    scripted = Scripted(serve, first, second)
    events = scripted.run.events()
    assert [next(events).update, next(events).update] == updates[:2]
    with pytest.raises(acp.StreamGap, match=r"after event '2': 3 updates are lost; iterate on"):
        next(events)
    assert scripted.opened == 2  # a gap is no reason to leave the connection
    # What was not handed out yet is not what a token goes on after.
    assert decode_token(scripted.run.token()).last_event_id == "2"
    assert [event.update for event in events] == updates[2:]
    assert (events.complete, events.last_event_id) == (False, "6")
    scripted = Scripted(serve, first, second)
    events = scripted.run.events(on_gap="mark")
    marked = list(events)
    assert [event.update for event in marked] == updates
    gap = marked[2].gap
    assert gap is not None
    assert (gap.kind, gap.missing, marked[1].gap) == ("lost", 3, None)
    broken = chunk(b"id: 6\nevent: agent_event\ndata: {no json}\n\n")
    events = Scripted(serve, first, STREAMING + broken + chunk(b"")).run.events()
    with pytest.raises(acp.StreamDecodeError):
        list(events)
    assert [each.missing for each in events.gaps] == [3] and events.complete is False


def test_a_gap_that_is_not_known_is_marked_and_not_raised(serve):
    first = [STREAMING + sse(("a", {"n": 1})), CLOSE]
    second = STREAMING + sse(("b", {"n": 2})) + chunk(b"")
    events = Scripted(serve, first, second).run.events()
    _, after = events
    assert after.gap is not None and after.gap.kind == "unknown"
    assert "cannot be known from the event ids" in str(after.gap)
    assert events.complete is None


NO_STREAM = {
    "204": NOTHING,
    "404": response(b'"not found"', 404),
    "405": response(b'"no"', 405),
    "501": response(b'"no"', 501),
    "no event stream": response(b'{"no": "stream"}'),
    "a coding": response(b"x", content_type="text/event-stream", content_encoding="br"),
}
REASONS = {"no event stream": "got application/json", "a coding": "coding is not supported"}


@pytest.mark.parametrize("name", NO_STREAM)
def test_a_run_without_a_stream_is_polled_and_a_useless_one_has_a_warning(replying, name, caplog):
    replies, run = replying(streamed(), stream=NO_STREAM[name], output=SUCCESS)
    for _ in range(2):
        caplog.clear()
        events = run.events()
        assert [event.result for event in events] == [{"ok": 1}]
        assert (events.complete, events.ended_by) == (None, "success")
        warnings = [r.message for r in caplog.records if r.levelname == "WARNING"]
        assert len(warnings) == (name in REASONS)
        assert all("run r is polled" in w and REASONS[name] in w for w in warnings)
    # A server that has no streams is asked for one once.
    assert replies.asked.count("stream") == (1 if name in ("404", "405", "501") else 2)


@pytest.mark.parametrize("name", NO_STREAM)
def test_a_stream_that_breaks_and_is_not_there_again(serve, name):
    """The run has ended meanwhile: nobody knows what came after the third update."""
    first = [STREAMING + sse(*EVENTS[:3]), CLOSE]
    scripted = Scripted(serve, first, NO_STREAM[name])
    events = scripted.run.events()
    assert [event.update for event in events][:3] == UPDATES[:3]
    assert (events.ended_by, events.complete) == ("success", None)
    assert scripted.opened == 2


def test_a_run_that_has_ended_and_has_no_stream_says_nothing_of_others(serve):
    streams = (NO_STREAM["404"], STREAMING + sse(EVENTS[0]) + chunk(b""))
    _, client = serve(Replies(streamed("success"), stream=streams, output=SUCCESS))
    list(acp.RunHandle("r", client).events())
    assert [event.update for event in acp.RunHandle("r", client).events()] == UPDATES[:1]


@pytest.mark.parametrize("streaming", [None, "custom"])
def test_a_run_that_fails_ends_the_iteration(failing, streaming):
    for given, status in (({}, "error"), ({"timeout": True}, "timeout")):
        run = failing.start(given, streaming=streaming)
        events = run.events()
        assert list(events) == []
        assert events.ended_by == status


@pytest.mark.slow
@using(stream_backoff=(0.001, 4.0))
def test_empty_streams_are_opened_again_and_then_polled(serve, caplog):
    empty = STREAMING + chunk(b"")
    scripted = Scripted(serve, *[empty] * 6, at_the_end="pending")
    events = scripted.run.events(timeout=1)
    with pytest.raises(acp.RunWaitTimeout, match="the run continues"):
        next(events)
    assert scripted.opened == 6  # once, and five times again
    assert caplog.text.count("its stream is of no use: it has ended 6 times without an event") == 1
    scripted.at_the_end = "success"
    assert [event.result for event in events] == [{"ok": 1}]
    assert events.complete is None


def test_streams_that_break_at_once_are_opened_less_often(serve, clock):
    scripted = Scripted(serve, *[[STREAMING, CLOSE]] * 100, at_the_end="pending")
    with pytest.raises(acp.RunWaitTimeout, match="wait again"):
        next(scripted.run.events(timeout=3))
    # The last one begins with a quarter of the time.
    assert clock.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 0.75, 0.75])
    assert (scripted.opened, scripted.asked.count("look")) == (6, 0)


@pytest.mark.parametrize("status", [400, 503])
def test_a_look_that_fails_does_not_end_a_stream(replying, clock, status):
    stream = [STREAMING + sse(*EVENTS[:2]), STALL]
    replies, run = replying(response(b'"no"', status), stream=stream)
    with run.events() as events:
        assert next(events).id == "1"
        events._next_check, reader = 0, events._reader
        assert reader is not None
        events._check_run(reader)
        assert events._next_check == clock.now + 15  # the next look is not at once
        assert (next(events).id, replies.asked) == ("2", ["stream", "look"])


@pytest.mark.parametrize("status", [401, 403])
@using(least_silence=0.1)
def test_a_look_that_is_denied_is_raised_and_the_stream_stays_open(replying, status):
    """Credentials that have expired, and are renewed before the next ``next()``."""
    gate = Gate()
    stream = [STREAMING + sse(EVENTS[0]), gate, sse(EVENTS[1]) + chunk(b"")]
    replies, run = replying(stream=stream, look=(response(b'"no"', status), streamed("success")))
    events = run.events()
    assert next(events).id == "1"
    events._next_check = 0
    with pytest.raises(acp.ApiException) as caught:
        next(events)
    gate.open()
    assert caught.value.status == status
    assert [event.id for event in events] == ["2"]
    assert (events.ended_by, replies.asked) == ("success", ["stream", "look", "look"])


@pytest.mark.slow
@using(silence=0.3)
def test_the_deadline_holds_while_the_run_is_looked_at(replying):
    replies, run = replying([STALL], stream=COMMENTS)
    with run.events(timeout=1) as events:
        began = time.monotonic()
        with pytest.raises(acp.RunWaitTimeout, match="run r has no event after"):
            next(events)
        assert time.monotonic() - began < 1 + 4
        assert replies.asked == ["stream", "look"]


@using(silence=0.2, least_silence=0.1)
def test_deleted_while_only_comments_come(replying):
    replies, run = replying(response(b'"gone"', 404), stream=COMMENTS)
    with run.events() as events:
        with pytest.raises(acp.RunGone, match=r"does not know it \(deleted, forgotten, or of"):
            next(events)
        assert (events.ended_by, events.complete) == ("gone", None)
        assert events._reader is not None and events._reader.closed
        assert replies.asked == ["stream", "look"] and next(events, None) is None


def test_each_iteration_is_its_own(server, counter):
    run = counter.start({"count": 3, "interval": 0}, streaming="custom")
    assert numbers(run.events()) == [1, 2, 3]
    assert numbers(run.events()) == [1, 2, 3]
    assert numbers(run.events(after="2")) == [3]
    last = run.events(after="3")
    assert (numbers(last), last.ended_by) == ([], "success")
    client = counter.runs.api_client
    attached = acp.RunHandle.from_token(run.token(), client)
    assert numbers(attached.events()) == []
    assert numbers(attached.events(after="")) == [1, 2, 3]
    server.clear_requests()
    assert numbers(attached.events(after="1")) == [2, 3]
    assert streams(server) == ["1"]
    # A run that does not stream has one event without an id, so it is after no id.
    ended = acp.AgentHandle.find("echo", client).start({"n": 1})
    ended.result(timeout=30)
    (event,) = acp.RunHandle(ended.run_id, client).events(after="999")
    assert event.result == {"n": 1}


@pytest.mark.slow
def test_an_event_that_ctrl_c_takes_away_is_not_said_to_be_handed_out(serve):
    def press() -> None:
        raise KeyboardInterrupt

    all_events = STREAMING + sse(*EVENTS) + chunk(b"")
    _, client = serve(Replies(look=streamed("success"), stream=all_events))
    short, number, struck = 0, 0, True
    while struck:
        number += 23
        events, got = acp.RunHandle("r", client).events(), list[Any]()
        with suppress(KeyboardInterrupt), Moment(number, DECODING, press) as moment:
            got.extend(islice(events, 6))
        struck = moment.struck
        whole = [event.update for event in [*got, *events]] == UPDATES
        assert whole or events.complete is None, number
        short += not whole
    assert short > 3 and events.complete


@pytest.mark.parametrize("status", ["interrupted", "pending"])
def test_an_interrupt_that_asks_nothing_prolongs_no_timeout(serve, status):
    output = NOTHING if status == "interrupted" else QUESTION
    _, client = serve(Replies(look=run_json(status), output=output, stream=response(b"", 405)))
    run = acp.RunHandle("r", client)
    with pytest.raises(acp.RunWaitTimeout, match="has no event after"):
        if status == "interrupted":
            run.drive(lambda question: {}, on_event=lambda event: None, timeout=0.5)
        else:
            list(run.events(through_interrupts=True, timeout=0.5))


@pytest.mark.slow
@using(human=0.1)
def test_an_interrupt_ends_the_iteration_or_not(server, client):
    """A human takes longer than an event may, and the next stream takes a while as well."""

    def agent(input: Any, config: Any, context: Any) -> Any:
        yield {"count": 1}
        yield Interrupt("more", {})
        yield {"count": 2}
        return {"ok": True}

    run = acp.AgentHandle(server.register(agent), client).start(streaming="custom")
    events = run.events()
    assert (numbers(events), events.ended_by) == ([1], "interrupted")
    through = run.events(through_interrupts=True, timeout=1)
    assert next(through).id == "1"

    def answer() -> None:
        server.faults.add(Fault(path=STREAM, delay=0.5))
        run.resume({})

    threading.Timer(1.2, answer).start()
    assert numbers(through) == [2]
    assert (through.ended_by, through.complete) == ("success", True)


def test_half_a_surrogate_pair_in_each_of_two_events(serve):
    """As a server sends an emoji that streams text a UTF-16 unit at a time."""
    halves = [{"text": "\ud83d"}, {"text": "\ude00"}]
    first = [STREAMING + sse(("1", halves[0])), CLOSE]
    replay = STREAMING + sse(("1", halves[0]), ("2", halves[1])) + chunk(b"")
    events = Scripted(serve, first, replay).run.events()
    assert [event.update for event in events] == halves
    assert events.complete is True


@pytest.mark.parametrize("before", [0, 1])
def test_an_undecodable_event_is_told_of_once(serve, before):
    broken = chunk(b"id: 2\nevent: agent_event\ndata: {no json}\n\n")
    begin = sse(*EVENTS[:before]) + broken
    # Before the first update, a replay of it could not be told from another.
    replay = STREAMING + begin * before + sse(EVENTS[2]) + chunk(b"")
    scripted = Scripted(serve, [STREAMING + begin, CLOSE], replay)
    events = scripted.run.events()
    assert [next(events).id for _ in range(before)] == ["1"] * before
    with pytest.raises(acp.StreamDecodeError):
        next(events)
    assert scripted.opened == 1
    assert [event.id for event in events] == ["3"]
    assert streams(scripted.server) == ["", "2"]


def test_an_event_that_is_too_large_ends_the_iteration(serve):
    scripted = Scripted(serve, STREAMING + sse(("1", {"n": "x" * 5000})) + chunk(b""))
    scripted.client.configuration.max_event_bytes = 1000
    events = scripted.run.events()
    with pytest.raises(acp.EventTooLarge):
        next(events)
    assert next(events, None) is None
    assert events.complete is None


@pytest.mark.parametrize(
    ("timeout", "check", "seconds", "moment", "limits"),
    [
        (None, 15.0, 15.0, 0.5, None),
        (None, -3.0, 0.5, 0.5, None),
        (4.0, 15.0, 4.0, 0.5, (7.0, 4.2)),
        (0.6, -3.0, 0.3, 0.3, (7.0, 0.66)),
        (0, 15.0, 0.0, 0.0, (7.0, 10.2)),
    ],
)
def test_how_long_a_stream_may_be_silent(
    replying, clock, monkeypatch, timeout, check, seconds, moment, limits
):
    """Until the run is checked, and a moment after its end; the connection is kept longer."""
    asked: list[Any] = []
    _, run = replying(run_json("success"))
    events = run.events(timeout=timeout, after="3")
    events._next_check = clock.now + check
    reader: Any = SimpleNamespace(advance=lambda most: asked.append(most) or True, left=())
    events._await_events(reader)
    events._check_run(reader)
    monkeypatch.setattr(acp.RunsApi, "get_run_stream", lambda *_, **options: asked.append(options))
    events._open(7.0)
    limited = limits and pytest.approx(limits)
    headers = {"Last-Event-ID": "3"}
    options = {"_request_timeout": limited, "_headers": headers}
    assert asked == [pytest.approx(seconds), pytest.approx(moment), options]


def test_each_event_puts_off_the_next_look_at_the_run(serve, clock):
    scripted = Scripted(serve, [STREAMING + sse(("1", {})), 0.2, sse(("2", {})) + chunk(b"")])
    events = scripted.run.events()
    for wait in (events._connect, lambda: next(events), lambda: next(events)):
        wait()
        assert events._next_check == clock.now + 15
        events._next_check = clock.now + 99


@pytest.mark.parametrize("what", ["stream", "poll", "pause"])
def test_close_from_another_thread(server, counter, what):
    run = counter.start({"count": 2, "interval": 60}, streaming="custom")
    events = run.events()
    next(events)
    if what == "poll":
        server.faults.add(Fault(path=STREAM, status=204, times=None))
    if what == "pause":
        server.faults.add(Fault(path=STREAM, status=503, retry_after=60, times=None))
    if what != "stream":
        events._reader.close()  # type: ignore[union-attr]
    threading.Timer(0.4, events.close).start()
    began = time.monotonic()
    assert list(events) == []
    assert time.monotonic() - began < 10
    assert events.ended_by is None
    closed = run.events()
    closed.close()
    for each in (events, closed):
        with pytest.raises(acp.ApiValueError, match=r"closed: RunHandle\.events\(\) begins again"):
            list(each)


@using(human=0.01)
def test_close_from_another_thread_ends_the_wait_for_an_answer(replying):
    def look() -> bytes:
        if replies.asked.count("look") == 3:
            events.close()
        return run_json("interrupted")

    replies, run = replying(stream=NOTHING, look=look)
    events = run.events(through_interrupts=True)
    assert list(events) == []


def test_close_while_a_stream_is_opened_closes_it(serve):
    gate = Gate()
    server, client = serve([gate, STREAMING, STALL])
    with ThreadPoolExecutor(1) as pool:
        events = acp.RunHandle("r", client).events()
        reading = pool.submit(next, events, None)
        assert eventually(lambda: len(server.requests) == 1)
        events._closing.set()  # as `close` does before it looks for a stream, and finds none
        gate.open()
        assert reading.result(10) is None
        assert eventually(lambda: server.still_open == 0)
        assert len(server.requests) == 1


def test_threads_take_turns_with_one_iteration_and_not_two_at_once(counter):
    events = counter.start({"count": 3}, streaming="custom").events()
    with ThreadPoolExecutor(3) as pool:
        with events._one_reader:
            refused = pool.submit(list, events).exception(30)
        taken = [pool.submit(next, events).result(30) for _ in range(3)]
    assert isinstance(refused, acp.ApiValueError)
    assert "is read by another thread: RunHandle.events" in str(refused)
    assert numbers(taken) == [1, 2, 3]


def test_a_run_without_streaming_has_its_result_alone(slow):
    events = slow.start({"seconds": 0}).events()
    (event,) = events
    assert (events.complete, events.ended_by) == (True, "success")
    assert repr(event) == f"RunEvent(id='', data={event.data!r}, gap=None)"
    assert event == pickle.loads(pickle.dumps(event))
    offered = {name for name in dir(event) if not name.startswith("_")}
    assert offered == {"data", "gap", "id", "result", "to_dict", "to_json", "update"}
    assert (event.result, event.update) == ({"slept": 0}, None)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal to a thread")
def test_ctrl_c_and_then_on(serve):
    def press(_: object) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    first = [STREAMING + sse(EVENTS[0]), gate := Gate(), press, STALL]
    events = Scripted(serve, first, STREAMING + sse(*EVENTS[:3]) + chunk(b"")).run.events()
    assert next(events).id == "1"
    threading.Timer(0.2, gate.open).start()
    with pytest.raises(KeyboardInterrupt):
        next(events)
    assert [event.update for event in events] == UPDATES[1:3]
    assert events.complete is True


@pytest.mark.slow
@pytest.mark.parametrize(("streaming", "ids"), [("custom", "connection"), ("result", "none")])
@using(stream_backoff=(0.02, 0.5))
def test_a_server_that_breaks_every_stream_off_after_a_replay(serve, streaming, ids):
    server, client = serve(Quirks(event_ids=ids))
    server.faults.add(Fault(path=STREAM, cut="close", after_events=3, times=None))
    run = acp.AgentHandle.find("counter", client).start({"count": 3}, streaming=streaming)
    run.result(timeout=30)
    events = run.events()
    *updates, last = events
    assert (last.result, events.ended_by) == ({"count": 3, "of": 3}, "success")
    if streaming == "custom":
        assert numbers(updates) == [1, 2, 3]
    assert len(streams(server)) <= 8


def test_streams_that_end_after_each_event_follow_after_a_pause(serve, clock):
    streams = [STREAMING + sse(event) + chunk(b"") for event in EVENTS]
    _, client = serve(Replies(streamed(), stream=tuple(streams)))
    events = acp.RunHandle("r", client).events()
    assert [next(events).update for _ in range(6)] == UPDATES
    assert clock.pauses == pytest.approx([0.1] * 5)


@pytest.mark.parametrize(
    ("second", "ends", "outcomes", "complete"),
    [
        (NOTHING, streamed(), [UPDATES[0], {"ok": 1}], None),
        (STREAMING + sse(*EVENTS[:2]) + chunk(b""), streamed("success"), UPDATES[:2], True),
    ],
    ids=["no stream leaves open whether all came", "what is replayed is dropped"],
)
def test_a_stream_after_an_answer(replying, second, ends, outcomes, complete):
    streams = (STREAMING + sse(EVENTS[0]) + chunk(b""), second)
    looks = (streamed("interrupted"), streamed(), ends)
    _, run = replying(output=SUCCESS, stream=streams, look=looks)
    events = run.events(through_interrupts=True)
    assert [event.update or event.result for event in events] == outcomes
    assert (events.complete, events.ended_by) == (complete, "success")


def test_an_error_after_the_end_of_a_stream_is_not_taken_for_a_broken_stream(serve):
    server, client = serve(Replies(response(b'"no"', 403), stream=STREAMING + chunk(b"")))
    with pytest.raises(acp.ForbiddenException):
        next(acp.RunHandle("r", client).events())
    assert len(server.requests) == 2


@pytest.mark.slow
def test_a_timeout_of_0_takes_what_is_there(server, counter):
    """Also where it takes a moment to open the stream."""
    run = counter.start({"count": 2}, streaming="custom")
    run.result(timeout=30)
    server.faults.add(Fault(path=STREAM, delay=0.4, times=None))
    events = run.events(timeout=0)
    # The first one is there, and the rest comes a moment later.
    assert numbers([next(events), *patiently(events)]) == [1, 2]
    assert events.ended_by == "success"
    silent = counter.start({"count": 2, "interval": 60}, streaming="custom").events(timeout=0)
    began = time.monotonic()
    with pytest.raises(acp.RunWaitTimeout, match="has no event after"):
        numbers(silent)
    assert time.monotonic() - began < 8


@using(silence=0.2, least_silence=0.1, probe=0.01)
def test_no_stream_stays_open_while_its_run_asks_or_its_result_is_read(serve):
    def seen(reply: bytes) -> Any:
        return lambda: left.append(first is not None and first.closed) or reply

    left: list[bool] = []
    looks = (streamed("interrupted"), seen(streamed()), streamed("success"))
    _, client = serve(Replies(stream=COMMENTS, look=looks, output=seen(SUCCESS)))
    events = acp.RunHandle("r", client).events(through_interrupts=True)
    events._connect()
    first = events._reader
    assert [event.result for event in events] == [{"ok": 1}]
    assert left == [True, True]


@pytest.mark.parametrize("status", ["success", "interrupted"])
def test_an_end_after_a_cut_leaves_open_whether_all_came(serve, status):
    one = STREAMING + sse(("1", {"n": 1}))
    end = chunk(b"")
    for script, complete in (([[one, CLOSE], STREAMING + end], None), ([one + end], True)):
        scripted = Scripted(serve, *script, at_the_end=status)
        events = scripted.run.events()
        assert [event.id for event in events] == ["1"]
        assert (events.complete, events.ended_by) == (complete, status)
    events = Scripted(serve, [STREAMING + so_far(1), CLOSE], at_the_end=status).run.events()
    results = [{"count": 1}, {"ok": 1}]
    assert [event.result for event in events] == results[: 2 if status == "success" else 1]
    assert events.ended_by == status


@using(stream_backoff=(0.001, 4.0))
def test_streams_that_end_after_the_result_so_far(serve):
    """The same result again is nothing new: the run is polled, instead of asked in a hot loop."""
    scripted = Scripted(serve, *[STREAMING + so_far(1) + chunk(b"")] * 50)
    assert [event.result for event in scripted.run.events()] == [{"count": 1}, {"ok": 1}]
    assert scripted.opened < 10


@pytest.mark.parametrize("ids", [("", ""), ("1", "2")], ids=["none", "anew"])
def test_a_cut_inside_of_the_first_event(serve, ids):
    """The next stream begins after it, and its ids do not tell."""
    half = chunk(b'id: 1\nevent: agent_event\ndata: {"type": "cust')
    second = STREAMING + sse(*zip(ids, UPDATES[1:3], strict=True)) + chunk(b"")
    events = Scripted(serve, [STREAMING + half, CLOSE], second).run.events()
    assert [event.update for event in events] == UPDATES[1:3]
    assert (events.ended_by, events.complete) == ("success", None)


@pytest.mark.parametrize("last", [[], [{"ok": 1}]], ids=["not seen", "seen"])
@pytest.mark.parametrize("silent", [STREAMING + chunk(b""), COMMENTS, NOTHING])
@using(silence=0.2, least_silence=0.1)
def test_the_last_result_is_that_of_the_run_after_a_silent_reconnect(serve, silent, last):
    """It is handed out once."""
    seen = b"".join(event_of("result", result=result) for result in last)
    first = [STREAMING + so_far(1) + so_far(2) + seen, CLOSE]
    events = Scripted(serve, first, silent).run.events()
    assert [event.result for event in events] == [{"count": 1}, {"count": 2}, {"ok": 1}]
    assert (events.complete, events.gaps) == (True, [])


@using(refusals=2)
def test_retry_after_is_not_overtaken_on_the_way_down(replying, clock):
    """Neither by the next stream, nor by the look at the run before it is polled."""
    busy = response(b'"busy"', 504, retry_after="1")
    replies, run = replying(streamed(), stream=busy, output=SUCCESS)
    assert [event.result for event in run.events()] == [{"ok": 1}]
    assert replies.asked == ["stream", "stream", "look", "output"]
    assert clock.pauses == pytest.approx([1, 1])


@using(backoff=(0.01, 0.02))
def test_a_stream_that_always_fails_is_refused_once_the_next_time(serve, caplog):
    broken = response(b"Not implemented", 500)
    works = STREAMING + sse(EVENTS[0]) + chunk(b"")
    replies = Replies(streamed(), stream=(*[broken] * 7, works, broken), output=SUCCESS)
    _, client = serve(replies)
    for streams in (5, 6, 7):
        events = acp.RunHandle("r", client).events(timeout=30)
        assert [(event.result, event.update) for event in events] == [({"ok": 1}, None)]
        assert (events.complete, events.ended_by) == (None, "success")
        assert replies.asked.count("stream") == streams
    assert not [words for words in caplog.messages if "answers again" in words]
    # A stream that works is used, and ends what was remembered.
    assert next(acp.RunHandle("r", client).events(timeout=30)).update == UPDATES[0]
    list(acp.RunHandle("r", client).events(timeout=30))
    assert replies.asked.count("stream") == 8 + 5


@pytest.mark.parametrize("questions", [0, 1], ids=["answered by another", "answered"])
def test_drive_hands_out_the_events_after_an_answer(serve, questions):
    """Another process may answer between the end of the stream and the look at the question."""
    streams = tuple(STREAMING + sse(event) + chunk(b"") for event in EVENTS[:2])
    asks = run_json("interrupted", updated="01.5")
    looks = (asks, *[asks, asks] * questions, streamed("success"))
    outputs = (*[QUESTION, QUESTION] * questions, SUCCESS)
    _, client = serve(Replies(stream=streams, output=outputs, look=looks, resume=streamed()))
    asked, updates = list[Any](), list[Any]()
    assert acp.RunHandle("r", client).drive(
        lambda question: asked.append(question) or {},
        on_event=lambda event: updates.append(event.update),
        timeout=30,
    ) == {"ok": 1}
    assert (len(asked), updates) == (questions, UPDATES[:2])


@using(silence=0.3, least_silence=0.3)
def test_the_last_event_may_come_while_the_run_is_read(serve):
    """The read run has ended, and the stream that brings its last event stays open."""
    looked = threading.Event()

    def look() -> Any:
        looked.set()
        return [0.2, run_json("success")]

    stream = [STREAMING + sse(*EVENTS[:1]), lambda _: looked.wait(10), sse(*EVENTS[1:2]), STALL]
    _, client = serve(Replies(stream=stream, look=look))
    events = acp.RunHandle("r", client).events()
    assert [event.id for event in events] == ["1", "2"]
    assert (events.ended_by, events.complete) == ("success", True)


def test_a_stream_that_is_answered_by_a_204_is_no_failure_of_streams(serve):
    """Another run's stream is lost twice after it, and is opened again all the same."""
    replies = Replies(
        stream=(NOTHING, CLOSE, CLOSE, NOTHING), output=SUCCESS, look=run_json("success")
    )
    _, client = serve(replies)
    with using(stream_backoff=(0.01, 0.02)):
        list(acp.RunHandle("r", client).events())
        list(acp.RunHandle("r", client).events())
    assert replies.asked.count("stream") == 4
