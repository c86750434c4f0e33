"""A run followed over everything that breaks; updates, requests and gaps are counted."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from support.batches import wait_for
from support.serving import NOTHING, QUESTION, SUCCESS, Clock, Replies, Serve, run_json
from support.socket_server import (
    CLOSE,
    STALL,
    Gate,
    chunk,
    head,
    response,
)
from support.timing import SetTiming
from support.transport import eventually

from acp_client_v0_1 import (
    AgentHandle,
    ApiClient,
    ApiException,
    ApiTypeError,
    ApiValueError,
    EventTooLarge,
    ForbiddenException,
    RunEvent,
    RunGone,
    RunHandle,
    RunsApi,
    RunWaitTimeout,
    StreamDecodeError,
    StreamGap,
)
from acp_client_v0_1.handles._core import RunCore
from acp_client_v0_1.handles._perform import Wait
from acp_client_v0_1.handles._timing import Timing
from acp_client_v0_1.testing import Fault, Interrupt, LocalServer, Quirks

STREAM = "/runs/*/stream"


def numbers(events: Iterable[RunEvent]) -> list[int | None]:
    """The numbers of the counter's updates; None for an event that is no update."""
    return [event.update["count"] if event.update else None for event in events]


def cut(after: int, how: Any = "close") -> Fault:
    return Fault(path=STREAM, cut=how, after_events=after)


def streams(server: LocalServer) -> list[str]:
    """The cursors of the streams that were asked for."""
    return [
        request.headers.get("last-event-id", "")
        for request in server.requests
        if request.path.endswith("/stream")
    ]


def test_updates_and_then_the_end(server: LocalServer, counter: AgentHandle) -> None:
    run = counter.start({"count": 3, "interval": 0.05}, streaming="custom")
    with run.events() as events:
        first = next(events)
        assert isinstance(first, RunEvent)
        assert (first.id, first.update) == ("1", {"count": 1, "of": 3})
        assert (first.result, first.gap) == (None, None)
        assert events.complete is None
        assert numbers(events) == [2, 3]
    assert (events.complete, events.gaps, events.ended_by) == (True, [], "success")
    assert events.last_event_id == "3"
    assert repr(events) == f"<RunEvents of {run.run_id}, last id '3', ended by success>"
    assert next(events, None) is None
    with pytest.raises(ApiValueError, match=r"RunHandle\.events\(\) begins again"):
        iter(events)
    assert len(streams(server)) == 1


def test_mode_result_over_cuts_has_no_gaps(server: LocalServer, counter: AgentHandle) -> None:
    server.faults.add(cut(1), cut(1))
    run = counter.start({"count": 4, "interval": 0.2}, streaming="result")
    events = run.events()
    *_, last = events
    assert last.result == {"count": 4, "of": 4}
    assert (events.complete, events.gaps) == (True, [])


@pytest.mark.slow
def test_five_cuts_and_every_update_once(server: LocalServer, counter: AgentHandle) -> None:
    server.faults.add(cut(2, "end"), cut(1, "reset"), cut(1), cut(3), cut(1))
    run = counter.start({"count": 10, "interval": 0.1}, streaming="custom")
    events = run.events()
    assert numbers(events) == list(range(1, 11))
    assert (events.complete, events.gaps) == (True, [])
    assert streams(server) == ["", "2", "3", "4", "7", "8"]


@pytest.mark.parametrize("ids", ["connection", "none", "opaque"])
def test_cuts_at_servers_with_other_ids(serve: Serve, ids: Any) -> None:
    """They replay, so every update comes once; words and missing ids leave it open if all did."""
    server, client = serve(Quirks(event_ids=ids))
    server.faults.add(cut(2), cut(3 if ids == "opaque" else 5))
    counter = AgentHandle.find("counter", api_client=client)
    run = counter.start({"count": 8, "interval": 0.05}, streaming="custom")
    events = run.events()
    assert numbers(events) == list(range(1, 9))
    assert events.complete is (True if ids == "connection" else None)


def sse(*updates: tuple[str, Any], run_id: str = "r") -> bytes:
    """Events of mode custom, each in a chunk."""
    return b"".join(
        chunk(
            f"id: {event_id}\nevent: agent_event\ndata: ".encode()
            + json.dumps(
                {"type": "custom", "run_id": run_id, "status": "pending", "update": update}
            ).encode()
            + b"\n\n"
        )
        for event_id, update in updates
    )


EVENTS = [(str(number), {"n": number}) for number in range(1, 7)]
STREAMING = head(content_type="text/event-stream", transfer_encoding="chunked")


COMMENTS = [STREAMING, *[chunk(b": ping\n\n"), 0.1] * 100, STALL]


def streamed(status: str = "pending") -> bytes:
    return run_json(status, creation={"agent_id": "a", "streaming": "custom"})


class Scripted(Replies):
    """A server whose n-th stream is scripted, and whose run is pending until they are over."""

    def __init__(self, serve: Serve, *streams: Any, at_the_end: str = "success") -> None:
        super().__init__(stream=streams, output=self._output, look=self._look)
        self.at_the_end = at_the_end
        self.server, self.client = serve(self)
        self.run = RunHandle("r", self.client)

    @property
    def opened(self) -> int:
        return self.asked.count("stream")

    def _output(self) -> Any:
        return [0.2, NOTHING] if self.at_the_end == "pending" else SUCCESS

    def _look(self) -> bytes:
        over = self.opened >= len(self.replies["stream"])
        return streamed(self.at_the_end if over else "pending")


def test_a_jump_is_a_loss_with_its_number(serve: Serve) -> None:
    updates = [{"n": n} for n in (1, 2, 6)]
    first = [STREAMING + sse(("1", updates[0]), ("2", updates[1])), CLOSE]
    second = STREAMING + sse(("6", updates[2])) + chunk(b"")
    scripted = Scripted(serve, first, second)
    events = scripted.run.events()
    assert [next(events).update, next(events).update] == updates[:2]
    with pytest.raises(StreamGap, match=r"after event '2': 3 updates are lost; iterate on"):
        next(events)
    assert scripted.opened == 2  # a gap is no reason to leave the connection
    # What was not handed out yet is not what a token goes on after.
    assert scripted.run._core.last_event_id == "2"
    assert [event.update for event in events] == updates[2:]
    assert (events.complete, events.last_event_id) == (False, "6")
    scripted = Scripted(serve, first, second)
    events = scripted.run.events(on_gap="mark")
    marked = list(events)
    assert [event.update for event in marked] == updates
    gap = marked[2].gap
    assert gap is not None
    assert (gap.kind, gap.missing, marked[1].gap) == ("lost", 3, None)


def test_a_gap_that_is_not_known_is_marked_and_not_raised(serve: Serve) -> None:
    first = [STREAMING + sse(("a", {"n": 1})), CLOSE]
    second = STREAMING + sse(("b", {"n": 2})) + chunk(b"")
    scripted = Scripted(serve, first, second)
    events = scripted.run.events()
    _, after = events
    assert after.gap is not None
    assert after.gap.kind == "unknown"
    assert "cannot be known from the event ids" in str(after.gap)
    assert events.complete is None


def test_an_id_goes_back_as_the_bytes_that_came(serve: Serve) -> None:
    first = [STREAMING + sse(("\u00e9 \U0001f600", {"n": 1})), CLOSE]
    scripted = Scripted(serve, first, STREAMING + chunk(b""))
    assert len(list(scripted.run.events())) == 1
    heads = [r.raw_head for r in scripted.server.requests if r.path.endswith("/stream")]
    assert "last-event-id: \u00e9 \U0001f600".encode() in heads[1].lower()


@pytest.mark.slow
@pytest.mark.parametrize("status", [404, 408, 429, 503])  # a read replica may send 404
def test_a_stream_that_is_refused_is_opened_again(
    server: LocalServer, counter: AgentHandle, status: int
) -> None:
    server.faults.add(Fault(path=STREAM, status=status, times=2, retry_after=0))
    run = counter.start({"count": 2, "interval": 0.3}, streaming="custom")
    events = run.events()
    assert numbers(events) == [1, 2]
    assert events.complete is True
    assert len(streams(server)) == 3


@pytest.mark.parametrize(("status", "body"), [(204, None), (404, None), (200, {"no": "stream"})])
def test_a_run_that_cannot_be_streamed_is_polled(
    server: LocalServer, counter: AgentHandle, status: int, body: Any
) -> None:
    server.faults.add(Fault(path=STREAM, status=status, body=body, times=None))
    run = counter.start({"count": 3, "interval": 0.2}, streaming="custom")
    run._core._born = None  # a 404 is no read replica's
    events = run.events()
    (only,) = events
    assert only.result == {"count": 3, "of": 3}
    assert (events.complete, events.ended_by) == (None, "success")
    assert len(streams(server)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_streams_is_asked_for_one_once_per_client(
    server: LocalServer, counter: AgentHandle, status: int
) -> None:
    server.faults.add(Fault(path=STREAM, status=status, body={"detail": "Not Found"}, times=None))
    for _ in range(2):
        started = counter.start({"count": 3, "interval": 0.2}, streaming="custom")
        run = RunHandle(started.run_id, counter.runs.api_client)  # of unknown age
        assert [event.result for event in run.events()] == [{"count": 3, "of": 3}]
    assert len(streams(server)) == 1


def test_a_run_that_has_ended_and_has_no_stream_says_nothing_of_others(
    server: LocalServer, counter: AgentHandle
) -> None:
    ended = counter.start({"count": 1}, streaming="custom")
    ended.result(timeout=30)
    server.faults.add(Fault(path=STREAM, status=404, body={"detail": "Not Found"}))
    list(RunHandle(ended.run_id, counter.runs.api_client).events())
    assert numbers(counter.start({"count": 2}, streaming="custom").events()) == [1, 2]


@pytest.mark.parametrize("streaming", [None, "custom"])
def test_a_run_that_fails_ends_the_iteration(failing: AgentHandle, streaming: Any) -> None:
    for given, status in (({}, "error"), ({"timeout": True}, "timeout")):
        run = failing.start(given, streaming=streaming)
        events = run.events()
        assert list(events) == []
        assert events.ended_by == status


@pytest.mark.slow
def test_a_stream_that_ends_cleanly_is_opened_again_and_then_polled(
    serve: Serve, set_timing: SetTiming
) -> None:
    set_timing(stream_backoff=(0.001, 4.0))
    empty = STREAMING + chunk(b"")
    scripted = Scripted(serve, *[empty] * 6, at_the_end="pending")
    events = scripted.run.events(timeout=1)
    with pytest.raises(RunWaitTimeout, match="the run continues"):
        next(events)
    assert scripted.opened == 6  # once, and five times again
    scripted.at_the_end = "success"
    assert [event.result for event in events] == [{"ok": 1}]
    assert events.complete is None


def test_streams_that_break_at_once_are_opened_less_and_less_often(
    serve: Serve, set_timing: SetTiming
) -> None:
    clock = Clock(set_timing)
    scripted = Scripted(serve, *[[STREAMING, CLOSE]] * 100, at_the_end="pending")
    with pytest.raises(RunWaitTimeout, match="wait again"):
        next(scripted.run.events(timeout=3))
    # The last one begins with a quarter of the time.
    assert clock.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 0.75, 0.75])
    assert scripted.opened == 6


@pytest.mark.slow
def test_comments_alone_after_the_end(serve: Serve, set_timing: SetTiming) -> None:
    """Every 15 s by default, which a test cannot wait for."""
    assert Timing().silence == 15.0
    set_timing(silence=0.6)
    _, client = serve(LocalServer(quirks=Quirks(comments_after_end=True), ping=0.1))
    counter = AgentHandle.find("counter", api_client=client)
    run = counter.start({"count": 2, "interval": 0.05}, streaming="custom")
    began = time.monotonic()
    events = run.events()
    assert numbers(events) == [1, 2]
    assert time.monotonic() - began < 10
    assert events.ended_by == "success"
    assert events.complete is True
    # A caller whose patience for each event is shorter gets there as well.
    events = run.events(timeout=0.25)
    seen: list[Any] = []
    for _ in range(50):
        try:
            seen.append(next(events).update)
        except RunWaitTimeout:
            continue
        except StopIteration:
            break
    assert len(seen) == 2
    assert events.ended_by == "success"


def test_a_look_that_fails_does_not_end_a_stream(
    server: LocalServer, counter: AgentHandle, set_timing: SetTiming
) -> None:
    set_timing(silence=0.1)
    server.faults.add(Fault(method="GET", path="/runs/*", status=400, times=None))
    run = counter.start({"count": 2, "interval": 0.6}, streaming="custom")
    events = run.events()
    assert [next(events).id, next(events).id] == ["1", "2"]
    set_timing(silence=15, now=lambda: 1000.0)
    events._check_run()
    assert events._next_check == 1015.0  # the next look is not at once


@pytest.mark.parametrize("status", [401, 403])
def test_a_look_that_is_denied_is_raised_and_the_stream_stays_open(
    server: LocalServer, counter: AgentHandle, set_timing: SetTiming, status: int
) -> None:
    """Credentials that have expired, and are renewed before the next ``next()``."""
    set_timing(silence=0.1, least_silence=0.1)
    run = counter.start({"count": 2, "interval": 0.7}, streaming="custom")
    with run.events() as events:
        assert next(events).id == "1"
        server.faults.add(Fault(method="GET", path="/runs/*", status=status))
        with pytest.raises(ApiException) as caught:
            next(events)
        assert caught.value.status == status
        assert [event.id for event in events] == ["2"]
        assert events.ended_by == "success"
    assert len(streams(server)) == 1


@pytest.mark.slow
def test_the_deadline_holds_while_the_run_is_looked_at(serve: Serve, set_timing: SetTiming) -> None:
    set_timing(silence=0.3)

    replies = Replies([STALL], stream=COMMENTS)
    _, client = serve(replies)
    with RunHandle("r", client).events(timeout=2) as events:
        began = time.monotonic()
        with pytest.raises(RunWaitTimeout, match="run r has no event after"):
            next(events)
        assert time.monotonic() - began < 2 + 4
        assert replies.asked == ["stream", "look"]


def test_deleted_while_only_comments_come(serve: Serve, set_timing: SetTiming) -> None:
    set_timing(silence=0.3)
    replies = Replies(response(b'"gone"', 404), stream=COMMENTS)
    _, client = serve(replies)
    with RunHandle("r", client).events() as events:
        with pytest.raises(RunGone, match=r"does not know it \(deleted, forgotten, or of"):
            next(events)
        assert (events.ended_by, events.complete) == ("gone", None)
        assert replies.asked == ["stream", "look"] and next(events, None) is None


@pytest.mark.slow
def test_the_timeout_is_for_each_event(server: LocalServer, counter: AgentHandle) -> None:
    run = counter.start({"count": 3, "interval": 0.8}, streaming="custom")
    assert numbers(run.events(timeout=2)) == [1, 2, 3]
    goes_on = threading.Event()

    def agent(input: Any, config: Any, context: Any) -> Any:
        yield {"number": 1}
        goes_on.wait(30)
        yield {"number": 2}

    waiting = AgentHandle(server.register(agent), counter.runs.api_client)
    events = waiting.start(streaming="custom").events(timeout=0.8)
    assert next(events).id == "1"
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(RunWaitTimeout, match=r"has no event after \d\.\d s; the run continues"):
            next(events)
        assert time.monotonic() - began < 0.8 + 4
    goes_on.set()
    assert next(events).id == "2"


def test_each_iteration_is_its_own(server: LocalServer, counter: AgentHandle) -> None:
    run = counter.start({"count": 3, "interval": 0}, streaming="custom")
    assert numbers(run.events()) == [1, 2, 3]
    assert numbers(run.events()) == [1, 2, 3]
    assert numbers(run.events(after="2")) == [3]
    client = counter.runs.api_client
    attached = RunHandle.from_token(run.token(), client)
    assert numbers(attached.events()) == []
    assert numbers(attached.events(after="")) == [1, 2, 3]
    server.clear_requests()
    assert numbers(attached.events(after="1")) == [2, 3]
    assert streams(server) == ["1"]


def test_after_that_the_last_event_gives_nothing_more(counter: AgentHandle) -> None:
    run = counter.start({"count": 2, "interval": 0}, streaming="custom")
    run.result(timeout=30)
    events = run.events(after="2")
    assert list(events) == []
    assert events.ended_by == "success"


@pytest.mark.slow
def test_an_interrupt_ends_the_iteration_or_not(server: LocalServer, client: ApiClient) -> None:
    def agent(input: Any, config: Any, context: Any) -> Any:
        yield {"count": 1}
        yield Interrupt("more", {})
        yield {"count": 2}
        return {"ok": True}

    handle = AgentHandle(server.register(agent), client)
    run = handle.start(streaming="custom")
    events = run.events()
    assert numbers(events) == [1]
    assert events.ended_by == "interrupted"
    through = run.events(through_interrupts=True, timeout=5)
    assert next(through).id == "1"
    threading.Timer(0.3, run.resume, [{}]).start()
    assert numbers(through) == [2]
    assert (through.ended_by, through.complete) == ("success", True)


@pytest.mark.slow
def test_the_time_of_a_human_is_not_that_of_the_server(
    server: LocalServer, client: ApiClient, set_timing: SetTiming
) -> None:
    """The callback takes longer than an event may, and the next stream takes a while as well."""
    set_timing(human=0.1)

    def agent(input: Any, config: Any, context: Any) -> Any:
        yield Interrupt("more", {})
        yield {"count": 1}
        return {"ok": True}

    run = AgentHandle(server.register(agent), client).start(streaming="custom")
    run.output(timeout=30)
    events = run.events(through_interrupts=True, timeout=1.5)

    def answer() -> None:
        server.faults.add(Fault(path=STREAM, delay=0.6))
        run.resume({})

    threading.Timer(2.0, answer).start()
    assert numbers(events) == [1]
    assert events.ended_by == "success"


def test_a_slow_reader_gets_every_event(counter: AgentHandle, set_timing: SetTiming) -> None:
    """The run ends while its reader is busy for longer than the time between two looks."""
    set_timing(silence=0.3)
    run = counter.start({"count": 4, "interval": 0.1}, streaming="custom")
    events = run.events()
    first = next(events).update
    run.result(timeout=30)
    time.sleep(0.4)
    assert [first, *(event.update for event in events)] == [
        {"count": count, "of": 4} for count in (1, 2, 3, 4)
    ]
    assert events.complete is True


def test_half_a_surrogate_pair_in_each_of_two_events(serve: Serve) -> None:
    """As a server sends an emoji that streams text a UTF-16 unit at a time."""
    first = [STREAMING + sse(("1", {"text": "\ud83d"})), CLOSE]
    replay = STREAMING + sse(("1", {"text": "\ud83d"}), ("2", {"text": "\ude00"})) + chunk(b"")
    scripted = Scripted(serve, first, replay)
    events = scripted.run.events()
    assert [event.update for event in events] == [{"text": "\ud83d"}, {"text": "\ude00"}]
    assert events.complete is True


def test_an_undecodable_event_and_what_comes_after_it(serve: Serve) -> None:
    broken = chunk(b"id: 2\nevent: agent_event\ndata: {no json}\n\n")
    first = [STREAMING + sse(("1", {"n": 1})) + broken, CLOSE]
    replay = STREAMING + sse(("1", {"n": 1})) + broken + sse(("3", {"n": 3})) + chunk(b"")
    scripted = Scripted(serve, first, replay)
    events = scripted.run.events()
    assert next(events).id == "1"
    with pytest.raises(StreamDecodeError):
        next(events)
    assert [event.id for event in events] == ["3"]  # it was replayed, and is told of once
    assert events.complete is True


def test_an_undecodable_event_that_comes_first_is_told_of(serve: Serve) -> None:
    broken = chunk(b"id: 1\nevent: agent_event\ndata: {no json}\n\n")
    script = [STREAMING + broken, 0.3, sse(("2", {"n": 2})) + chunk(b"")]
    scripted = Scripted(serve, script)
    events = scripted.run.events()
    with pytest.raises(StreamDecodeError):
        next(events)
    assert [event.id for event in events] == ["2"]


def test_an_event_that_is_too_large_ends_the_iteration(serve: Serve) -> None:
    scripted = Scripted(serve, STREAMING + sse(("1", {"n": "x" * 5000})) + chunk(b""))
    scripted.client.configuration.max_event_bytes = 1000
    events = scripted.run.events()
    with pytest.raises(EventTooLarge):
        next(events)
    assert next(events, None) is None
    assert events.complete is None


@pytest.mark.parametrize(
    ("timeout", "check", "seconds", "limits"),
    [
        (None, 15.0, 15.0, None),
        (None, -3.0, 0.5, None),
        (4.0, 15.0, 4.0, (7.0, 4.2)),
        (0.6, -3.0, 0.3, (7.0, 0.66)),
        (0, 15.0, 0.0, (7.0, 10.2)),
    ],
)
def test_how_long_a_stream_may_be_silent(
    client: ApiClient,
    set_timing: SetTiming,
    monkeypatch: pytest.MonkeyPatch,
    timeout: float | None,
    check: float,
    seconds: float,
    limits: Any,
) -> None:
    """Until the run is checked, or the time is over; the connection is kept a little longer."""
    asked: list[Any] = []
    set_timing(now=lambda: 1000.0)
    events = RunHandle("r", client).events(timeout=timeout, after="3")
    events._next_check = 1000.0 + check
    reader: Any = SimpleNamespace(
        advance=lambda most: asked.append(most) or True, left=(), close=lambda: asked.append("end")
    )
    assert events._await_events(reader)
    monkeypatch.setattr(
        RunsApi, "get_run_stream", lambda runs, run_id, **options: asked.append(options)
    )
    events._open(7.0)
    limited = None if limits is None else pytest.approx(limits)
    headers = {"Last-Event-ID": "3"}
    events._reader = reader
    events._end("success")
    assert asked[0] == pytest.approx(seconds)
    assert asked[1:] == [{"_request_timeout": limited, "_headers": headers}, "end"]


def test_each_event_puts_off_the_next_look_at_the_run(serve: Serve, set_timing: SetTiming) -> None:
    clock = Clock(set_timing)
    scripted = Scripted(serve, [STREAMING + sse(("1", {})), 0.2, sse(("2", {})) + chunk(b"")])
    events = scripted.run.events()
    for wait in (events._connect, lambda: next(events), lambda: next(events)):
        wait()
        assert events._next_check == clock.now + 15
        events._next_check = clock.now + 99


@pytest.mark.parametrize("what", ["stream", "poll", "pause"])
def test_close_from_another_thread(server: LocalServer, counter: AgentHandle, what: str) -> None:
    run = counter.start({"count": 2, "interval": 60}, streaming="custom")
    events = run.events()
    next(events)
    if what == "poll":
        server.faults.add(Fault(path=STREAM, status=204, times=None))
    if what == "pause":
        server.faults.add(Fault(path=STREAM, status=503, retry_after=60, times=None))
    if what != "stream":
        events._reader.close()  # type: ignore[union-attr]
        events._reader = None
    threading.Timer(0.4, events.close).start()
    began = time.monotonic()
    assert list(events) == []
    assert time.monotonic() - began < 10
    assert events.ended_by is None
    closed = run.events()
    closed.close()
    for each in (events, closed):
        with pytest.raises(ApiValueError, match=r"closed: RunHandle\.events\(\) begins again"):
            list(each)


@pytest.mark.slow
def test_a_read_that_notices_a_close_before_its_stream_is_closed_raises_nothing(
    counter: AgentHandle,
) -> None:
    events = counter.start({"count": 2, "interval": 60}, streaming="custom").events()
    next(events)
    threading.Timer(0.1, events._closing.set).start()
    threading.Timer(1.5, events.close).start()
    assert list(events) == []


def test_close_while_a_stream_is_opened_closes_it(serve: Serve) -> None:
    gate = Gate()
    script = [gate, head(content_type="text/event-stream", transfer_encoding="chunked"), STALL]
    server, client = serve(script)
    with ThreadPoolExecutor(1) as pool:
        events = RunHandle("r", client).events()
        reading = pool.submit(next, events, None)
        assert eventually(lambda: len(server.requests) == 1)
        events._closing.set()  # as `close` does before it looks for a stream, and finds none
        gate.open()
        assert reading.result(10) is None
        assert eventually(lambda: server.still_open == 0)
        assert len(server.requests) == 1


@pytest.mark.slow
def test_a_second_thread_is_refused_and_the_first_gets_every_event(counter: AgentHandle) -> None:
    events = counter.start({"count": 3, "interval": 0.5}, streaming="custom").events()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(numbers, events)
        wait_for(lambda: events.last_event_id != "")  # and the next one takes half a second
        with pytest.raises(ApiValueError, match=r"is read by another thread: RunHandle\.events"):
            list(events)
        assert first.result(30) == [1, 2, 3]


def test_threads_may_take_turns_with_one_iteration(counter: AgentHandle) -> None:
    events = counter.start({"count": 3}, streaming="custom").events()
    with ThreadPoolExecutor(3) as pool:
        taken = [pool.submit(next, events).result(30) for _ in range(3)]
    assert numbers(taken) == [1, 2, 3]


def test_a_run_without_streaming_has_its_result_and_updates_are_a_warning(
    slow: AgentHandle,
) -> None:
    events = slow.start({"seconds": 0}).events()
    (event,) = events
    assert (events.complete, events.ended_by) == (True, "success")
    assert repr(event).startswith("RunEvent(") and event == pickle.loads(pickle.dumps(event))
    assert event.result == {"slept": 0}
    with pytest.warns(UserWarning, match='start it with streaming="custom"'):
        assert event.update is None


def test_an_event_is_no_tuple_and_offers_its_fields(counter: AgentHandle) -> None:
    event = next(counter.start({"count": 1}, streaming="custom").events())
    offered = {name for name in dir(event) if not name.startswith("_")}
    assert offered == {"data", "gap", "id", "result", "update"}
    assert event == pickle.loads(pickle.dumps(event)) and repr(event).startswith("RunEvent(id='1'")


def test_ctrl_c_while_waiting_and_then_on(
    counter: AgentHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = counter.start({"count": 3, "interval": 0.3}, streaming="custom")
    events = run.events()
    assert next(events).id == "1"
    with monkeypatch.context() as patch:

        def interrupted(*args: object, **kwargs: object) -> bytes:
            raise KeyboardInterrupt

        patch.setattr(type(events._reader.response), "read_available", interrupted)  # type: ignore[union-attr]
        with pytest.raises(KeyboardInterrupt):
            next(events)
    assert numbers(events) == [2, 3]
    assert events.complete is True


def test_leaving_early_frees_the_connection(server: LocalServer, counter: AgentHandle) -> None:
    run = counter.start({"count": 2, "interval": 60}, streaming="custom")
    with run.events() as events:
        next(events)
    counter.runs.api_client.close()
    assert eventually(lambda: server.connections_open == 0)


def test_bad_arguments(server: LocalServer, client: ApiClient) -> None:
    run = RunHandle("r", client)
    with pytest.raises(ApiValueError, match='on_gap must be "raise" or "mark"'):
        run.events(on_gap="ignore")  # type: ignore[arg-type]
    with pytest.raises(ApiTypeError, match="after must be a str or None"):
        run.events(after=7)  # type: ignore[arg-type]
    assert server.requests == ()


@pytest.mark.slow
@pytest.mark.parametrize(("streaming", "ids"), [("custom", "connection"), ("result", "none")])
def test_a_server_that_breaks_every_stream_off_after_a_replay(
    serve: Serve, set_timing: SetTiming, streaming: Any, ids: Any
) -> None:
    set_timing(stream_backoff=(0.02, 0.5))
    server, client = serve(Quirks(event_ids=ids))
    server.faults.add(Fault(path=STREAM, cut="close", after_events=3, times=None))
    counter = AgentHandle.find("counter", api_client=client)
    run = counter.start({"count": 3, "interval": 0.02}, streaming=streaming)
    run.result(timeout=30)
    events = run.events()
    given_up = threading.Timer(60, events.close)
    given_up.start()
    results = list(events)
    given_up.cancel()
    assert events.ended_by == "success"
    assert results[-1].result == {"count": 3, "of": 3}
    if streaming == "custom":
        assert [event.update for event in results[:-1]] == [
            {"count": n, "of": 3} for n in (1, 2, 3)
        ]
    assert len(streams(server)) <= 8


def test_a_stream_that_ends_after_each_event_is_not_opened_again_without_a_pause(
    serve: Serve, set_timing: SetTiming
) -> None:
    streams = [STREAMING + sse(event) + chunk(b"") for event in EVENTS]
    _, client = serve(Replies(streamed(), stream=tuple(streams)))
    clock, events = Clock(set_timing), RunHandle("r", client).events()
    assert [next(events).update for _ in range(6)] == [{"n": n} for n in range(1, 7)]
    assert clock.pauses == pytest.approx([0.1] * 5)


def test_a_stream_that_is_not_there_after_an_answer_leaves_open_whether_all_came(
    serve: Serve,
) -> None:
    one = STREAMING + sse(("1", {"n": 1})) + chunk(b"")
    looks = (streamed("interrupted"), streamed())
    _, client = serve(Replies(output=SUCCESS, stream=(one, NOTHING), look=looks))
    events = RunHandle("r", client).events(through_interrupts=True)
    assert [event.data.to_dict().get("update") for event in events] == [{"n": 1}, None]
    assert (events.complete, events.ended_by) == (None, "success")


def test_what_a_server_replays_after_an_answer_is_dropped(serve: Serve) -> None:
    ended = [STREAMING + sse(*numbered) + chunk(b"") for numbered in (EVENTS[:1], EVENTS[:2])]
    looks = (streamed("interrupted"), streamed(), streamed("success"))
    _, client = serve(Replies(stream=tuple(ended), look=looks))
    events = RunHandle("r", client).events(through_interrupts=True)
    assert [event.update for event in events] == [{"n": 1}, {"n": 2}]
    assert (events.complete, events.ended_by) == (True, "success")


@pytest.mark.slow
def test_an_output_that_asks_while_the_run_is_pending_is_not_read_in_a_hot_loop(
    serve: Serve,
) -> None:
    server, client = serve(Replies(streamed(), stream=NOTHING, output=QUESTION))
    events = RunHandle("r", client).events(through_interrupts=True)
    threading.Timer(1, events.close).start()
    assert list(events) == []
    assert len(server.requests) < 20


def test_an_error_after_the_end_of_a_stream_is_not_taken_for_a_broken_stream(serve: Serve) -> None:
    server, client = serve(Replies(response(b'"no"', 403), stream=STREAMING + chunk(b"")))
    with pytest.raises(ForbiddenException):
        next(RunHandle("r", client).events())
    assert len(server.requests) == 2


def test_the_deadline_holds_while_a_replica_does_not_know_the_run(
    serve: Serve, set_timing: SetTiming
) -> None:
    set_timing(young=60.0)

    server, client = serve(response(b'"unknown"', 404))
    run = RunHandle("r", client)
    run._core.note_created()
    began = time.monotonic()
    with pytest.raises(RunWaitTimeout, match="run r has no event after"):
        next(run.events(timeout=0.5))
    assert time.monotonic() - began < 0.5 + 4
    assert len(server.requests) <= 7


@pytest.mark.slow
def test_the_deadline_holds_for_the_result_of_a_run_without_events(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = RunCore.read

    def slowly(core: RunCore, wait: Wait, *args: Any, **kwargs: Any) -> Any:
        run = read(core, wait, *args, **kwargs)
        time.sleep(wait.remaining())
        return run

    monkeypatch.setattr(RunCore, "read", slowly)
    end = STREAMING + chunk(b"")
    _, client = serve(Replies(streamed("success"), stream=end, output=[STALL]))
    began = time.monotonic()
    with pytest.raises(RunWaitTimeout):
        next(RunHandle("r", client).events(timeout=1))
    assert time.monotonic() - began < 1 + 4


@pytest.mark.slow
def test_a_timeout_of_0_looks_for_events_that_are_there(
    server: LocalServer, counter: AgentHandle
) -> None:
    """Also where it takes a moment to open the stream."""
    run = counter.start({"count": 2}, streaming="custom")
    run.result(timeout=30)
    server.faults.add(Fault(path=STREAM, delay=0.4, times=None))
    events = run.events(timeout=0)
    seen = [next(events)]
    began = time.monotonic()
    while events.ended_by is None and time.monotonic() - began < 20:
        with suppress(RunWaitTimeout):  # the rest, and the stream's end, come a moment later
            seen.extend(events)
    assert numbers(seen) == [1, 2] and events.ended_by == "success"
    silent = counter.start({"count": 2, "interval": 60}, streaming="custom").events(timeout=0)
    began = time.monotonic()
    with pytest.raises(RunWaitTimeout, match="has no event after"):
        numbers(silent)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("status", ["success", "interrupted"])
def test_an_end_after_a_cut_leaves_open_whether_all_came(serve: Serve, status: str) -> None:
    one = STREAMING + sse(("1", {"n": 1}))
    end = chunk(b"")
    for script, complete in (([[one, CLOSE], STREAMING + end], None), ([one + end], True)):
        scripted = Scripted(serve, *script, at_the_end=status)
        events = scripted.run.events()
        assert [event.id for event in events] == ["1"]
        assert (events.complete, events.ended_by) == (complete, status)


def test_a_server_that_ends_each_stream_after_the_result_so_far(
    serve: Serve, set_timing: SetTiming
) -> None:
    """The same result again is nothing new: the run is polled, instead of asked in a hot loop."""
    set_timing(stream_backoff=(0.001, 4.0))
    data = {"type": "result", "run_id": "r", "status": "pending", "result": {"so": "far"}}
    event = f"event: agent_event\ndata: {json.dumps(data)}\n\n".encode()
    scripted = Scripted(serve, *[STREAMING + chunk(event) + chunk(b"")] * 50)
    events = scripted.run.events()
    assert [event.result for event in events] == [{"so": "far"}, {"ok": 1}]
    assert scripted.opened < 10


UPDATES = [{"n": n} for n in (1, 2, 3)]
HALF_AN_EVENT = chunk(b'id: 1\nevent: agent_event\ndata: {"type": "cust')


@pytest.mark.parametrize(
    "reopened",
    [
        NOTHING,
        response(b'"not found"', 404),
        response(b'"no"', 405),
        response(b'"no"', 501),
        response(b'{"no": "stream"}'),
    ],
    ids=["204", "404", "405", "501", "no event stream"],
)
def test_a_stream_that_breaks_and_is_not_there_again(serve: Serve, reopened: Any) -> None:
    """The run has ended meanwhile: nobody knows what came after the third update."""
    first = [STREAMING + sse(*[(str(n), {"n": n}) for n in (1, 2, 3)]), CLOSE]
    scripted = Scripted(serve, first, reopened)
    events = scripted.run.events()
    assert [event.update for event in events][:3] == UPDATES
    assert (events.ended_by, events.complete) == ("success", None)
    assert scripted.opened == 2


@pytest.mark.parametrize("ids", [("", ""), ("1", "2")], ids=["none", "anew"])
def test_a_cut_inside_of_the_first_event(serve: Serve, ids: tuple[str, str]) -> None:
    """The next stream begins after it, and its ids do not tell."""
    second = STREAMING + sse(*zip(ids, UPDATES[1:3], strict=True)) + chunk(b"")
    scripted = Scripted(serve, [STREAMING + HALF_AN_EVENT, CLOSE], second)
    events = scripted.run.events()
    assert [event.update for event in events] == UPDATES[1:3]
    assert (events.ended_by, events.complete) == ("success", None)


def so_far(count: int) -> bytes:
    data = {"type": "result", "run_id": "r", "status": "pending", "result": {"count": count}}
    return chunk(f"event: agent_event\ndata: {json.dumps(data)}\n\n".encode())


@pytest.mark.parametrize("silent", ["ended", "comments", "204"])
def test_the_last_result_is_that_of_the_run_after_a_silent_reconnect(
    serve: Serve, silent: str, set_timing: SetTiming
) -> None:
    set_timing(silence=0.3)
    reopened = {
        "ended": STREAMING + chunk(b""),
        "comments": COMMENTS,
        "204": NOTHING,
    }[silent]
    first = [STREAMING + so_far(1) + so_far(2), CLOSE]
    scripted = Scripted(serve, first, reopened)
    results = [event.result for event in scripted.run.events()]
    assert results == [{"count": 1}, {"count": 2}, {"ok": 1}]


@pytest.mark.slow
def test_retry_after_is_not_overtaken_on_the_way_down(
    server: LocalServer, counter: AgentHandle, set_timing: SetTiming
) -> None:
    """Neither by the next stream, nor by the look at the run before it is polled."""
    set_timing(refusals=2)
    server.faults.add(Fault(path=STREAM, status=504, retry_after=1, times=None))
    run = counter.start({"count": 1}, streaming="custom")
    assert [event.result for event in run.events()] == [{"count": 1, "of": 1}]
    times = [request.time for request in server.requests][1:4]
    assert [request.path.endswith("/stream") for request in server.requests[1:4]] == [
        True,
        True,
        False,
    ]
    assert times[1] - times[0] >= 1
    assert times[2] - times[1] >= 1


@pytest.mark.parametrize("status", [None, "success"])
def test_a_run_of_another_server_is_gone_and_one_that_is_there_is_polled(
    serve: Serve, status: str | None
) -> None:
    missing = response(b'"not found"', 404)
    _, client = serve(
        Replies(missing, output=SUCCESS, look=streamed(status) if status else missing)
    )
    events = RunHandle("r", client).events()
    if status is None:
        with pytest.raises(RunGone):
            next(events)
    else:
        assert [event.result for event in events] == [{"ok": 1}]
    assert events.ended_by == (status or "gone")


def test_a_stream_that_always_fails_is_refused_once_the_next_time(
    server: LocalServer,
    counter: AgentHandle,
    set_timing: SetTiming,
    caplog: pytest.LogCaptureFixture,
) -> None:
    set_timing(backoff=(0.01, 0.02))
    broken = Fault(path="/runs/*/stream", status=500, body=b"Not implemented", times=None)
    server.faults.add(broken)
    for streams in (5, 1, 1):
        server.clear_requests()
        run = counter.start({"count": 1}, streaming="custom")
        events = run.events(timeout=30)
        assert [(event.result, event.update) for event in events] == [({"count": 1, "of": 1}, None)]
        assert (events.complete, events.ended_by) == (None, "success")
        assert sum(one.path.endswith("/stream") for one in server.requests) == streams
    assert not [words for words in caplog.messages if "answers again" in words]
    server.faults.clear()
    for _ in range(2):  # a stream that works is used, and ends what was remembered
        run = counter.start({"count": 2}, streaming="custom")
        assert next(run.events(timeout=30)).update == {"count": 1, "of": 2}
