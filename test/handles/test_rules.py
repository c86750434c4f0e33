"""The rules as a table: what came of an operation, what is known, and what is done about it."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from support.serving import Clock
from support.timing import SetTiming
from support.transport import a_call
from urllib3.exceptions import EmptyPoolError

from acp_client_v0_1 import (
    ApiException,
    ApiTimeoutError,
    ConnectionException,
    NameResolutionException,
    ProtocolException,
    ProxyException,
    ResponseDecodeError,
    ResponseTooLarge,
    ResponseValidationError,
    RunsApi,
    TLSException,
    TransportException,
)
from acp_client_v0_1._http.retry import RetryCounter, RetryPolicy, Server, failure_of
from acp_client_v0_1.cli._outcomes import status_of
from acp_client_v0_1.handles._perform import Contact, Pace, Wait
from acp_client_v0_1.handles._rules import (
    Decision,
    Facts,
    Operation,
    Pause,
    Raise,
    Window,
    decide,
    fitted,
    is_unserved,
    was_full,
)
from acp_client_v0_1.handles._timing import Timing

ALL: tuple[Operation, ...] = (
    *("create", "search", "describe", "look", "output", "stream", "resume", "delete"),
)
READS: tuple[Operation, ...] = ("search", "describe", "look", "output")
CHANGES: tuple[Operation, ...] = ("create", "resume", "delete")
OF_A_RUN: tuple[Operation, ...] = ("output", "stream", "resume", "delete")

TIMING = Timing()
NOW = Facts(now=1000.0, since=1000.0)
NEVER = replace(NOW, reached=False)


def answer(status: int, asked: float | None = None) -> ApiException:
    """An error of a status, perhaps with Retry-After."""
    headers = {} if asked is None else {"retry-after": f"{asked:.0f}"}
    return ApiException(status=status, headers=headers)


def transport(kind: type[TransportException], *, sent: bool, reason: str = "x") -> ApiException:
    error = kind(reason=reason)
    error.sent = sent
    return error


REFUSED = transport(ConnectionException, sent=False)
CLOSED = transport(ConnectionException, sent=True)
UNREADABLE = ResponseValidationError(status=200, headers={})
AN_HOUR = ResponseValidationError(status=200, headers={"retry-after": "3600"})
OVERSIZED = ResponseTooLarge(limit=1, status=200)
UNSENT = {
    "refused": REFUSED,
    "unknown name": transport(NameResolutionException, sent=False),
    "TLS refused": transport(TLSException, sent=False),
    "no connection in time": transport(ApiTimeoutError, sent=False),
    "proxy away": transport(ProxyException, sent=False),
    "proxy refused for now": transport(
        ProxyException, sent=False, reason="Tunnel connection failed: 503 busy"
    ),
}
LOST = {
    "closed": CLOSED,
    "no response in time": transport(ApiTimeoutError, sent=True),
    "garbage": transport(ProtocolException, sent=True),
    **{
        str(status): answer(status) for status in (408, 500, 502, 503, 504, 520, 524, 529, 598, 599)
    },
}
UNCLEAR = {**LOST, "unreadable": UNREADABLE, "oversized": OVERSIZED}


# What an error means

FULL_POOL = transport(ApiTimeoutError, sent=False)
FULL_POOL.__cause__ = EmptyPoolError(None, "full")  # type: ignore[arg-type]
KINDS: list[tuple[ApiException, str]] = [
    (FULL_POOL, "unsent"),
    *[(error, "unsent") for error in UNSENT.values()],
    *[(error, "lost") for error in LOST.values()],
    *[(answer(status), "moved") for status in (300, 302, 303, 308)],
    (UNREADABLE, "unreadable"),
    (ResponseDecodeError(status=200), "unreadable"),
    (OVERSIZED, "oversized"),
    (answer(429), "limited"),
    (answer(405), "lacks"),
    (answer(501), "lacks"),
    (answer(404), "missing"),
    (answer(401), "denied"),
    (answer(403), "denied"),
    *[(answer(status), "refused") for status in (400, 409, 410, 413, 415, 418, 422, 451)],
    *[
        (ApiException(400, body=f"<center>{page}</center>"), kind)
        for page, kind in (
            ("No required SSL certificate was sent", "denied"),
            ("The SSL certificate error", "denied"),
            ("The plain HTTP request was sent to HTTPS port", "denied"),
            ("Request Header Or Cookie Too Large", "refused"),
        )
    ],
    (ApiException(reason="no status"), "refused"),
    (transport(ProtocolException, sent=False, reason="is another kind of server"), "denied"),
    *[
        (ApiException(301, "Moved", url="http://h/acp/runs", headers={"location": there}), kind)
        for there, kind in (
            ("https://h:8443/acp/runs", "denied"),
            ("https://h/acp/runs/r", "moved"),
            ("https://other/acp/runs", "moved"),
            ("/acp/runs/", "moved"),
        )
    ],
    *[
        (transport(ProxyException, sent=False, reason=f"Tunnel connection failed: {status}"), kind)
        for status, kind in ((407, "denied"), (501, "denied"), (429, "unsent"), (502, "unsent"))
    ],
]


@pytest.mark.parametrize(("error", "kind"), KINDS)
def test_what_an_error_means(error: ApiException, kind: str) -> None:
    assert failure_of(error).kind == kind


def test_single_calls_runs_and_the_command_agree_on_which_statuses_pass() -> None:
    for status in range(300, 600):
        error = answer(status)
        repeated = RetryCounter(RetryPolicy()).after_response(a_call(), status, {}, 0.1) is not None
        paused = isinstance(decide("look", failure_of(error), NOW, TIMING), Pause)
        passes = (repeated, paused, status_of(error) == 10)
        assert passes == (failure_of(error).passes,) * 3, status


@pytest.mark.parametrize(
    ("data", "unserved"),
    [
        (None, True),
        ("", True),
        ("<!doctype html>", True),
        ("404 page not found", True),
        ("no matching operation was found\n", True),
        ({"detail": "Not Found"}, True),
        ({"error": "x"}, True),
        (["x"], True),
        ("run not found", False),
        ({"detail": "there is no agent 7"}, False),
    ],
)
def test_whether_a_404_is_of_a_path_that_is_not_served(data: Any, unserved: bool) -> None:
    assert is_unserved(ApiException(status=404, data=data)) is unserved


# What is decided


def but(**changes: Any) -> Facts:
    return replace(NOW, **changes)


def never(**changes: Any) -> Facts:
    return replace(NEVER, **changes)


def name_of(decision: Decision) -> str:
    """Return "pause", "outage" for a pause that counts as one, "probe", or why it is raised."""
    if isinstance(decision, Pause):
        return "outage" if decision.outage else "pause"
    return decision.why if isinstance(decision, Raise) else "probe"


WRONG = [UNSENT[name] for name in ("refused", "unknown name", "TLS refused")]
AWAY = [UNSENT[name] for name in ("refused", "TLS refused", "proxy away")]
LOST_READS = [LOST[name] for name in ("closed", "408", "500", "524", "599")]
FAILING = [CLOSED, REFUSED, answer(503), answer(429)]
ASKED = [answer(status, 7) for status in (408, 429, 500, 503, 524)]
TUNNEL = transport(ProxyException, sent=False, reason="Tunnel connection failed: 407 No")
OPTIONAL: tuple[Operation, ...] = ("stream", "search")
NOT_OPTIONAL: tuple[Operation, ...] = ("create", "search", "describe", "look", "resume", "delete")
# Whatever else is known.
ANY = [NOW, NEVER, but(age=2.0), but(failures=7, since=900.0, age=0.0)]


class Case(NamedTuple):
    """Each operation with each error, whichever of the facts are known, is decided alike."""

    operations: tuple[Operation, ...]
    errors: Iterable[ApiException]
    facts: Iterable[Facts]
    decision: str


DECISIONS: dict[str, Case] = {
    "a server that never answered may be away": Case(
        ALL, WRONG, [never(failures=failures) for failures in range(3)], "pause"
    ),
    # Not "late": the run of a wrong address does not continue.
    "a server that never answered is a wrong address": Case(
        ALL, WRONG, [never(failures=3), never(retries=0), never(ends=1000.5)], "error"
    ),
    "a server that has answered is away": Case(
        ALL, AWAY, [but(retries=0), but(since=800.0, failures=500, retries=0)], "outage"
    ),
    "a read without a response": Case(READS, LOST_READS, [NOW], "outage"),
    "a change without a response": Case(
        CHANGES,
        UNCLEAR.values(),
        [*ANY, never(failures=99, age=0.0), but(ends=1000.0, since=0.0)],
        "probe",
    ),
    # In the last case, the server is away: a probe has failed, too.
    "an optional operation that has failed a few times": Case(
        OPTIONAL,
        LOST_READS,
        [*(but(failures=failures) for failures in range(4)), but(failures=9, probed=True)],
        "outage",
    ),
    "an optional operation that the server may lack": Case(
        OPTIONAL, LOST_READS, [but(failures=4), but(failures=5), but(fails=True)], "probe"
    ),
    "a response that cannot be read": Case(READS, [UNREADABLE], [NOW], "outage"),
    "the first that cannot be read": Case(READS, [UNREADABLE], [never(retries=2)], "pause"),
    "more that cannot be read": Case(READS, [UNREADABLE], [never(retries=2, failures=2)], "error"),
    # A server that has answered will not correct a descriptor, and may be restarting otherwise.
    "a descriptor that cannot be read": Case(
        ("describe",), [UNREADABLE], [but(retries=2, failures=2)], "error"
    ),
    "a server that restarts": Case(
        ("search", "look", "output"), [UNREADABLE], [but(retries=2, failures=2)], "outage"
    ),
    # Retry-After
    "a Retry-After": Case(
        READS, ASKED, [NOW, but(failures=50), but(ends=1008.0), but(since=707.0)], "outage"
    ),
    "a Retry-After beyond the deadline, or the last request before it": Case(
        READS, ASKED, [but(ends=1006.9), but(ends=1007.9)], "late"
    ),
    "a Retry-After beyond the outage": Case(READS, ASKED, [but(since=706.0)], "error"),
    "an hour where no outage is counted": Case(
        ("look", "output"),
        [AN_HOUR, answer(404, 3600)],
        [never(age=0.5), never(age=0.5, longest=0.0)],
        "error",
    ),
    "a limit": Case(ALL, [answer(429), answer(429, 0)], [NOW, but(ends=1060.0)], "outage"),
    "a limit for an hour": Case(ALL, [answer(429, 3600)], [NOW], "error"),
    "a limit for longer than a deadline": Case(
        ALL, [answer(429, 3600)], [but(ends=1060.0, longest=math.inf)], "late"
    ),
    # Never "maybe started": it is the 429 that is raised, by its caller.
    "a limit near the deadline": Case(
        ALL, [answer(429)], [but(ends=1000.5, longest=math.inf)], "late"
    ),
    # The end of the time, and of an outage
    "less than a second to go": Case(READS, FAILING, [but(ends=1000.9)], "late"),
    "more than a second to go": Case(READS, FAILING, [but(ends=1001.1, failures=3)], "outage"),
    "a timeout of less than a second": Case(
        READS, FAILING, [but(ends=1000.5, least_left=0.3)], "outage"
    ),
    "an outage of less than 300 seconds": Case(
        READS, FAILING, [but(failures=3, since=705)], "outage"
    ),
    "an outage of 300 seconds": Case(READS, FAILING, [but(failures=3, since=701)], "over"),
    "an outage that only the deadline ends": Case(
        READS, FAILING, [but(failures=3, since=0.0, longest=math.inf, ends=1009)], "outage"
    ),
    # 404
    "a run that is not there": Case(
        ("look",), [answer(404)], [but(age=age) for age in (2.0, 60.0, math.inf)], "gone"
    ),
    "a path that may not be there": Case(
        OF_A_RUN, [answer(404)], [but(age=age) for age in (2.0, 60.0, math.inf)], "probe"
    ),
    "a run that a replica does not know yet": Case(
        ("look", *OF_A_RUN), [answer(404)], [but(age=age) for age in (0.0, 0.5, 1.99)], "pause"
    ),
    # Whatever else is known
    "a change that a redirect answered": Case(
        CHANGES, [answer(status) for status in (300, 301, 302, 303, 304, 308)], ANY, "probe"
    ),
    "a read that a redirect answered": Case(READS, [answer(302), OVERSIZED], ANY, "error"),
    "a run that cannot be streamed": Case(
        ("stream",), [UNREADABLE, *map(answer, (400, 405, 406, 409, 422, 501))], ANY, "probe"
    ),
    "credentials that are refused": Case(
        ALL, [answer(401), answer(403), answer(401, 7), answer(403, 7), TUNNEL], ANY, "error"
    ),
    "an operation that the server lacks": Case(
        NOT_OPTIONAL, [answer(405), answer(501)], ANY, "error"
    ),
    "an output that the server lacks": Case(("output",), [answer(405), answer(501)], ANY, "probe"),
    "a 404 that is not of a run": Case(
        ("create", "search", "describe"), [answer(404)], ANY, "error"
    ),
    "a refusal": Case(
        ("create", *READS, "delete"), [*map(answer, (400, 409, 410, 413, 422))], ANY, "error"
    ),
    # Another caller was quicker, or the run's thread is busy.
    "an answer that meets a conflict": Case(("resume",), [answer(409)], ANY, "probe"),
    "an answer that is refused": Case(("resume",), [answer(400), answer(422)], ANY, "error"),
}


@pytest.mark.parametrize("case", DECISIONS.values(), ids=DECISIONS)
def test_what_is_decided(case: Case) -> None:
    for operation, error, known in itertools.product(case.operations, case.errors, case.facts):
        decision, failure = decide(operation, failure_of(error), known, TIMING), failure_of(error)
        assert name_of(decision) == case.decision, (operation, error, known)
        if isinstance(decision, Pause):
            # A Retry-After is never shortened, and the next request begins in time.
            assert decision.seconds >= (failure.retry_after or 0)
            assert decision.seconds <= known.ends - known.least_left - known.now + 1e-6
            assert failure.kind != "missing" or decision.seconds == TIMING.young_pause


@pytest.mark.parametrize(("left", "most"), [(60.0, 50.0), (20.0, 10.0), (8.0, 4.0), (0.4, 0.2)])
def test_a_change_leaves_time_to_find_out_what_became_of_it(
    clock: Clock, left: float, most: float
) -> None:
    wait = Wait(Contact(RunsApi(), Server(reached=True), 0), left)
    for operation in CHANGES:
        assert wait.limit(100.0, operation) == pytest.approx(most)


@pytest.mark.parametrize(
    ("error", "server", "ends"),
    [
        (answer(401), {}, True),  # the credentials are those of all runs
        (answer(422), {"since": 0.0}, False),
        (answer(404), {"since": 0.0}, False),
        (answer(503), {}, False),
        (answer(503), {"since": 9900.0}, False),  # other requests worked 100 s ago
        (answer(503), {"since": 9800.0}, True),
        (UNREADABLE, {"since": 9800.0}, True),
        (UNREADABLE, {"reached": False}, True),
        (REFUSED, {"reached": False}, True),
        (REFUSED, {}, False),
        (answer(503), {"since": 9851.0}, False),
        (answer(503), {"since": 9850.0}, True),
        (answer(429, 60), {"hold_ends": 10060.0}, False),
        (answer(429, 300), {"hold_ends": 10300.0}, False),
        (answer(429, 3600), {"hold_ends": 13600.0}, True),
    ],
)
def test_what_ends_a_batch(
    error: ApiException, server: dict[str, Any], ends: bool, set_timing: SetTiming
) -> None:
    set_timing(now=lambda: 10_000.0)
    known = Server(**{"reached": True, **server})
    assert Contact(RunsApi(), known, 0, Pace()).ends_batch(error) is ends
    assert not Contact(RunsApi(), known, 0).ends_batch(error)


@pytest.mark.parametrize("reached", [True, False])
def test_a_full_pool_or_a_conflict_is_no_outage_of_the_server(reached: bool, clock: Clock) -> None:
    server = Server(reached=reached)
    wait = Wait(Contact(RunsApi(), server, 0))
    assert wait.handle_failure("look", FULL_POOL)
    assert not wait.handle_failure("resume", answer(409))
    assert (server.since, server.failures, server.warned) == (None, 0, False)


@pytest.mark.parametrize(("chance", "part"), [(0.0, 0.5), (0.6, 0.8), (1.0, 1.0)])
def test_the_pauses_double_up_to_a_longest_and_are_random(
    monkeypatch: pytest.MonkeyPatch, chance: float, part: float
) -> None:
    """Clients that failed together do not come back together."""
    monkeypatch.setattr("random.random", lambda: chance)
    for failures, longest in enumerate((0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0)):
        decision = decide("look", failure_of(CLOSED), but(failures=failures), TIMING)
        assert decision == Pause(longest * part)


def test_the_status_decides_if_the_body_of_an_error_stalls() -> None:
    for status, kind in ((429, "limited"), (503, "lost"), (401, "denied"), (404, "missing")):
        stalled = transport(ApiTimeoutError, sent=True)
        stalled.status, stalled.headers = status, {"retry-after": "7"}
        assert failure_of(stalled)[:2] == (kind, 7.0)


def test_a_window_that_was_cut_is_at_least_a_second_and_then_doubles() -> None:
    window, timing = Window(30), Timing()
    window.note_cut(30, 0.5)
    assert window.seconds == 1
    window.note_full(1, timing)
    assert window.seconds == 2
    window = Window(30)
    window.note_cut(30, 10.0)
    for _ in range(4):
        assert window.seconds == 7
        window.note_full(7, timing)
    assert window.seconds == 14
    window.note_cut(14, 10.0)  # again: sixteen full windows come before a longer one
    for _ in range(16):
        assert window.seconds == 7
        window.note_full(7, timing)
    assert window.seconds == 14
    window.note_full(14, timing)  # what cut it is over
    assert window.seconds == 28
    window.note_full(28, timing)
    assert window.seconds == 30
    for _ in range(2):
        window.note_cut(30, 30.0)  # the server took its time, and then failed
        for seconds in (15, 15, 15, 15, 30):
            assert window.seconds == seconds
            window.note_full(seconds, timing)


@pytest.mark.parametrize(
    ("window", "limit", "fits"),
    [(30, 100.0, (30, 40)), (30, 20.0, (19, 20)), (2, 5.0, (2, 5)), (30, 0.05, (0, 0.05))],
)
def test_a_long_poll_fits_into_the_time(window: int, limit: float, fits: tuple[int, float]) -> None:
    assert fitted(window, limit, 10.0, TIMING) == fits


def test_a_window_is_full_after_nine_tenths_of_it() -> None:
    assert [was_full(10, 9.0), was_full(10, 8.9), was_full(0, 5.0)] == [True, False, False]


def test_each_duration_is_the_one_that_was_chosen() -> None:
    """A change of one shows here, as nothing else might tell for a long time."""
    chosen = Timing(
        quick=10, change=60, least_left=1, beside_stream=5, outage=300, backoff=(0.25, 4), quiet=5,
        warnings=60, refusals=5, young=2, young_pause=0.1, pace=(0.05, 0.5), recovery=0.97,
        window=30, tick=0.5, round_trip=0.1, early=(0.2, 2), full_windows=4, search=10,
        search_backoff=(0.1, 1), unchanged=5, probe=0.25, whole_second=1, human=1, silence=15,
        least_silence=0.5, beyond=0.2, stream_backoff=(0.1, 4), kept=300, short_window=2,
        parked_searches=(0.2, 10), doubt=2, cancel=10, exit=5, grace=1.5, threads=2.5, step=0.05,
    )  # fmt: skip
    assert chosen == TIMING
    assert Facts(5.0) == Facts(
        now=5.0, ends=math.inf, least_left=1.0, since=0.0, longest=300.0, failures=0,
        reached=True, retries=3, fails=False, probed=False, age=math.inf,
    )  # fmt: skip


def test_a_batch_has_no_pace_until_a_server_limits_it_and_its_first_503_counts() -> None:
    pace = Pace()
    assert pace.interval == 0
    pace.slow(pace.began, certain=False)
    assert pace.interval == TIMING.pace[0]
    pace.slow(pace.began + 1, certain=False)  # no request was served meanwhile
    assert pace.interval == TIMING.pace[0]
    pace.recover()
    pace.slow(pace.began + 2, certain=False)
    assert pace.interval == pytest.approx(2 * TIMING.recovery * TIMING.pace[0])


def test_requests_that_a_server_limits_follow_each_other_more_slowly() -> None:
    pace = Pace()
    for at, interval in ((0.0, 0.05), (0.2, 0.05), (0.3, 0.1), (1.0, 0.2), (2.0, 0.4), (3.0, 0.5)):
        pace.slow(at, certain=True)
        assert pace.interval == interval, at
    assert [pace.turn(9.0), pace.turn(9.1), pace.turn(10.6)] == [9.0, 9.5, 10.6]
    pace.next_turn = 20.0
    assert [pace.turn(11.0), pace.turn(11.0)] == [20.0, 20.5]
    for interval, left in ((0.0130, 0.0130 * 0.97), (0.0128, 0.0)):
        pace.interval = interval
        pace.recover()
        assert pace.interval == pytest.approx(left)


@pytest.mark.parametrize(("outage", "survived"), [(1200.0, False), (1010.0, True)])
def test_a_run_of_a_batch_that_fails_alone_gives_up_before_the_batch_does(
    clock: Clock, outage: float, survived: bool
) -> None:
    """Unless the others have failed for half of the time, too."""
    contact = Contact(RunsApi(), Server(reached=True), 0, Pace())
    wait = Wait(contact)
    assert wait.handle_failure("look", answer(500))
    contact.server.since, clock.now = outage, 1301.0
    over = pytest.raises(ApiException, match="after 2 attempts in 301")
    with nullcontext() if survived else over:
        assert wait.handle_failure("look", answer(500))


@pytest.mark.parametrize(
    ("operation", "elapsed", "slower"),
    [("output", 0.1, True), ("output", 27.0, False), ("search", 27.0, True)],
)
def test_a_503_slows_a_batch_unless_it_ends_a_poll_that_was_held(
    operation: Operation, elapsed: float, slower: bool, clock: Clock
) -> None:
    pace, error = Pace(), answer(503)
    error.elapsed = elapsed
    assert Wait(Contact(RunsApi(), Server(reached=True), 0, pace)).handle_failure(operation, error)
    assert (pace.interval > 0) is slower


def test_the_turns_of_a_batch_begin_again_after_a_retry_after(clock: Clock) -> None:
    pace = Pace()
    pace.interval = 0.5
    for _ in range(20):
        pace.turn(clock.now)  # the next one would come in ten seconds
    wait = Wait(Contact(RunsApi(), Server(reached=True), 0, pace))
    assert wait.handle_failure("look", answer(429, 1))
    wait.perform("look", lambda limit: None)
    assert clock.now == 1001


def test_a_stop_during_a_request_that_fails_is_what_the_error_reports() -> None:
    stop, late = threading.Event(), TimeoutError("late")

    def denied(limit: float) -> None:
        stop.set()
        raise answer(401)

    wait = Wait(Contact(RunsApi(), Server(reached=True), 0), stop=stop, late=lambda *_: late)
    with pytest.raises(TimeoutError) as caught:
        wait.within(60).perform("look", denied)
    assert caught.value is late


def test_near_its_deadline_a_wait_of_a_batch_sends_a_request_out_of_turn(clock: Clock) -> None:
    pace = Pace()
    pace.interval = 60.0
    pace.turn(clock.now)
    wait = Wait(Contact(RunsApi(), Server(reached=True), 0, pace), 8.0)
    wait.perform("look", lambda limit: None)
    assert clock.pauses == [7.0]


def test_a_retry_after_holds_the_other_calls_that_wait_but_no_later_one(clock: Clock) -> None:
    contact = Contact(RunsApi(), Server(reached=True), 0)
    limited, waiting = Wait(contact), Wait(contact)
    clock.now += 1
    contact.server.hold_began, contact.server.hold_ends = clock.now, clock.now + 5
    clock.now += 1
    Wait(contact).perform("look", lambda limit: None)
    assert clock.pauses == []
    waiting.within(60).perform("look", lambda limit: None)
    assert clock.pauses == [4]
    assert limited.handle_failure("look", answer(429, 7))
    Wait(contact).perform("look", lambda limit: None)
    assert clock.pauses == [4, 7] and contact.server.hold_ends == clock.now


def test_a_failure_near_the_deadline_counts_if_the_wait_begins_again(clock: Clock) -> None:
    wait = Wait(Contact(RunsApi(), Server(reached=True), 0), 5.0)
    for attempts in (1, 2, 3):
        error = answer(503, 7)
        with pytest.raises(ApiException) as caught:
            wait.handle_failure("search", error)
        assert (caught.value, error.attempts, error.elapsed) == (error, attempts, clock.now - 1000)
        clock.now += 2
        wait.rearm()


@pytest.mark.parametrize(
    ("elapsed", "longest", "operation", "seconds"),
    [
        (0.0, 3.0, "look", 3.0),
        (0.0, 30.0, "look", 10.0),
        (0.0, 30.0, "create", 5.0),
        (8.5, 30.0, "delete", 1.0),
        (9.5, 30.0, "resume", 0.5),
        (11.0, 30.0, "look", 0.001),
    ],
)
def test_how_long_a_request_may_take_in_a_call_of_ten_seconds(
    clock: Clock, elapsed: float, longest: float, operation: Operation, seconds: float
) -> None:
    contact = Contact(RunsApi(), Server(reached=True), 0)
    wait, endless = Wait(contact, 10.0), Wait(contact)
    clock.now += elapsed
    assert wait.limit(longest, operation) == seconds
    assert endless.limit(longest, operation) == longest
    left = max(0.001, 10.0 - elapsed)
    assert wait.within(99).remaining() == pytest.approx(left)
    assert wait.within(5).remaining() == pytest.approx(min(5, left))


def test_a_wait_watches_nothing_unless_there_is_something_to_watch(set_timing: SetTiming) -> None:
    contact, now = Contact(RunsApi(), Server(reached=True), 0), [0.0]
    set_timing(now=lambda: now[0])
    wait, stopped = Wait(contact), Wait(contact, stop=threading.Event())
    assert (wait.watched, wait._watch(), stopped._watch()) == (False, math.inf, TIMING.tick)
    assert not (wait.once or wait.search_failed_alone or wait.create_was_unclear or wait._failures)
    assert contact.margin == 10.0
    assert Pause(1.0).outage  # a failure counts as one of the server

    def told_slowly(elapsed: float) -> None:
        now[0] = max(7.0, elapsed)

    wait.ticking(told_slowly, 2.0)
    assert (wait.watched, wait.within(9).watched, wait._watch()) == (True, True, 2.0)
    now[0] = 2.0
    assert (wait._watch(), now[0]) == (0.001, 7.0)  # the next one is due already
    assert wait._watch() == 2.0  # and not at once again for each one that was due
