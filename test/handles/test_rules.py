"""The rules as a table: what came of an operation, what is known, and what is done about it."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest
from support.parts import Decided, RetryCounter, Wait, failure_of, policy_of
from support.serving import a_contact
from support.transport import a_call
from urllib3.exceptions import EmptyPoolError

import acp_client_v0_1 as acp
from acp_client_v0_1.cli._outcomes import status_of
from acp_client_v0_1.handles._health import Action, Health, Turns
from acp_client_v0_1.handles._rules import (
    BESIDE,
    IN_BATCH,
    ONCE,
    WITH_TIMEOUT,
    WITHOUT_TIMEOUT,
    Caller,
    Decision,
    Known,
    Pause,
    Raise,
    Window,
    decide,
    fitted,
    is_unserved,
    was_full,
)
from acp_client_v0_1.handles._timing import Timing

Actions = tuple[Action, ...]
READS: Actions = ("search", "describe", "look", "output")
CHANGES: Actions = ("create", "resume", "delete")
OF_A_RUN: Actions = ("output", "stream", "resume", "delete")
ALL: Actions = (*READS, *CHANGES, "stream")

TIMING = Timing()


class Situation(NamedTuple):
    """What is known when a request has failed."""

    known: Known
    caller: Caller = WITHOUT_TIMEOUT
    fails: tuple[Action, ...] = ()

    def decide(self, action: Action, error: acp.ApiException) -> Decision:
        health = Health()
        health.fails.update(self.fails)
        return decide(action, failure_of(error), health, self.caller, self.known)


def but(caller: Caller = WITHOUT_TIMEOUT, fails: Actions = (), **changes: Any) -> Situation:
    return Situation(Known(**{"now": 1000.0, **changes}), caller, fails)


def never(**changes: Any) -> Situation:
    return but(**{"reached": False, **changes})


NOW, NEVER = but(), never()


def answer(status: int, asked: float | None = None) -> acp.ApiException:
    """An error of a status, perhaps with Retry-After."""
    headers = {} if asked is None else {"retry-after": f"{asked:.0f}"}
    return acp.ApiException(status=status, headers=headers)


def transport(
    kind: type[acp.TransportException], *, sent: bool, reason: str = "x"
) -> acp.ApiException:
    error = kind(reason=reason)
    error.sent = sent
    return error


def tunnel(words: str) -> acp.ApiException:
    reason = f"Tunnel connection failed: {words}"
    return transport(acp.ProxyException, sent=False, reason=reason)


REFUSED = transport(acp.ConnectionException, sent=False)
CLOSED = transport(acp.ConnectionException, sent=True)
UNREADABLE = acp.ResponseValidationError(status=200, headers={})
AN_HOUR = acp.ResponseValidationError(status=200, headers={"retry-after": "3600"})
OVERSIZED = acp.ResponseTooLarge(limit=1, status=200)
UNSENT = {
    "refused": REFUSED,
    "unknown name": transport(acp.NameResolutionException, sent=False),
    "TLS refused": transport(acp.TLSException, sent=False),
    "no connection in time": transport(acp.ApiTimeoutError, sent=False),
    "proxy away": transport(acp.ProxyException, sent=False),
    "proxy refused for now": tunnel("503 busy"),
}
LOST = {
    "closed": CLOSED,
    "no response in time": transport(acp.ApiTimeoutError, sent=True),
    "garbage": transport(acp.ProtocolException, sent=True),
    **{str(code): answer(code) for code in (408, 500, 502, 503, 504, 520, 524, 529, 598, 599)},
}
UNCLEAR = {**LOST, "unreadable": UNREADABLE, "oversized": OVERSIZED}


# What an error means


def page(words: str) -> acp.ApiException:
    return acp.ApiException(400, body=f"<center>{words}</center>", url="http://h/acp/runs")


def moved(there: str) -> acp.ApiException:
    return acp.ApiException(301, "Moved", url="http://h/acp/runs", headers={"location": there})


FULL_POOL = transport(acp.ApiTimeoutError, sent=False)
FULL_POOL.__cause__ = EmptyPoolError(None, "full")  # type: ignore[arg-type]
LACKING = [answer(405), answer(501)]
NO_SERVER = transport(acp.ProtocolException, sent=False, reason="is another kind of server")
KINDS: dict[str, Iterable[acp.ApiException]] = {
    "unsent": [FULL_POOL, *UNSENT.values(), tunnel("429"), tunnel("502")],
    "lost": LOST.values(),
    "moved": [
        *map(answer, (300, 302, 303, 308)),
        *map(moved, ("https://h/acp/runs/r", "https://other/acp/runs", "/acp/runs/")),
    ],
    "unreadable": [UNREADABLE, acp.ResponseDecodeError(status=200)],
    "oversized": [OVERSIZED],
    "limited": [answer(429)],
    "lacks": LACKING,
    "missing": [answer(404)],
    "denied": [
        *map(answer, (401, 402, 403, 407, 421, 426)),
        *(tunnel("407"), tunnel("501"), NO_SERVER),
        *(page("No required SSL certificate was sent"), page("The SSL certificate error")),
        *(page("The plain HTTP request was sent to HTTPS port"), moved("https://h:8443/acp/runs")),
        *(page("Client sent an HTTP request to an HTTPS server."), page("host requires TLS.")),
        page("Reason: You're speaking plain HTTP to an SSL-enabled server port."),
    ],
    "refused": [
        *map(answer, (400, 409, 410, 413, 415, 418, 422, 451)),
        *(page("Request Header Or Cookie Too Large"), acp.ApiException(reason="no status")),
    ],
}


@pytest.mark.parametrize(("kind", "errors"), KINDS.items())
def test_what_an_error_means(kind, errors):
    for error in errors:
        assert failure_of(error).kind == kind, error


def test_single_calls_runs_and_the_command_agree_on_which_statuses_pass():
    for status in range(300, 600):
        error = answer(status)
        repeated = RetryCounter(policy_of(None)).after_response(a_call(), status, {}, 0.1)
        paused = isinstance(NOW.decide("look", error), Pause)
        passes = (repeated is not None, paused, status_of(error) == 10)
        assert passes == (failure_of(error).passes,) * 3, status


def test_whether_a_404_is_of_a_path_that_is_not_served():
    unserved: tuple[Any, ...] = (
        *(None, "", "<!doctype html>", "404 page not found", "no matching operation was found\n"),
        *("\r\n 404 page not found", "\n <html>", {"detail": "Not Found"}, {"error": "x"}, ["x"]),
    )
    for data in (*unserved, "run not found", {"detail": "there is no agent 7"}):
        assert is_unserved(acp.ApiException(status=404, data=data)) is (data in unserved), data


# What is decided


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
TUNNEL = tunnel("407 No")
OPTIONAL: Actions = ("stream", "search")
NOT_OPTIONAL: Actions = ("create", "search", "describe", "look", "resume", "delete")
# Whatever else is known.
ANY = [NOW, NEVER, but(age=2.0), but(failures=7, since=900.0, age=0.0)]


NEVER_THERE = [never(failures=3), never(retries=0), never(last=999.5)]
ANY_TIME = [but(retries=0), but(since=800.0, failures=500, retries=0)]
SOME_FAILURES = [but(failures=failures) for failures in range(4)]
MORE_FAILURES = [but(failures=4), but(failures=5), but(fails=OPTIONAL)]
IN_TIME = [NOW, but(failures=50), but(last=1007.0), but(since=707.0)]
UNTIL_THE_DEADLINE = but(WITH_TIMEOUT, failures=3, since=0.0, last=1008.0)
YOUNG = [but(age=age) for age in (0.0, 0.5, 1.99)]
YOUNG_AT_FIRST = [never(age=0.5), never(age=0.5, caller=BESIDE)]
AGES = [but(age=age) for age in (2.0, 60.0, math.inf)]
LIMIT, HOUR_LIMIT = answer(429), answer(429, 3600)
HOURS = [AN_HOUR, answer(404, 3600)]
REFUSALS = [*map(answer, (400, 409, 410, 413, 422))]
NOT_STREAMED = [UNREADABLE, *map(answer, (400, 405, 406, 409, 422, 501))]
RESTARTED = but(retries=2, failures=2)
REDIRECTS = [answer(status) for status in (300, 301, 302, 303, 304, 308)]
DENIED = [*map(answer, (401, 402, 403, 407, 421, 426)), answer(401, 7), answer(407, 7), TUNNEL]
UNSURE = [*ANY, never(failures=99, age=0.0), but(last=999.0, since=0.0)]

# Each of the actions with each of the errors, in whichever of the situations, is decided alike.
Case = tuple[Actions, Iterable[acp.ApiException], Iterable[Situation], str]
DECIDED: dict[str, Case] = {
    "a server that may be away": (ALL, WRONG, [never(failures=n) for n in range(3)], "pause"),
    # Not "late": the run of a wrong address does not continue.
    "a wrong address": (ALL, WRONG, NEVER_THERE, "error"),
    "a server that is away": (ALL, AWAY, ANY_TIME, "outage"),
    "a read without a response": (READS, LOST_READS, [NOW], "outage"),
    "a change without a response": (CHANGES, UNCLEAR.values(), UNSURE, "probe"),
    "an option that failed a few times": (OPTIONAL, LOST_READS, SOME_FAILURES, "outage"),
    "an option that may be lacking": (OPTIONAL, LOST_READS, MORE_FAILURES, "probe"),
    "a response that cannot be read": (READS, [UNREADABLE], [NOW], "outage"),
    "the first that cannot be read": (READS, [UNREADABLE], [never(retries=2)], "pause"),
    "more that cannot be read": (READS, [UNREADABLE], [never(retries=2, failures=2)], "error"),
    # A server that has answered will not correct a descriptor, and may be restarting otherwise.
    "a descriptor that cannot be read": (("describe",), [UNREADABLE], [RESTARTED], "error"),
    "a server that restarts": (("search", "look", "output"), [UNREADABLE], [RESTARTED], "outage"),
    # Retry-After
    "a Retry-After": (READS, ASKED, IN_TIME, "outage"),
    "a Retry-After that is late": (READS, ASKED, [but(last=1005.9), but(last=1006.9)], "late"),
    "a Retry-After beyond the outage": (READS, ASKED, [but(since=706.0)], "error"),
    "an hour where no outage is counted": (("look", "output"), HOURS, YOUNG_AT_FIRST, "error"),
    "a limit": (ALL, [LIMIT, answer(429, 0)], [NOW, but(last=1059.0)], "outage"),
    "a limit for an hour": (ALL, [HOUR_LIMIT], [NOW], "error"),
    "a limit beyond a deadline": (ALL, [HOUR_LIMIT], [but(WITH_TIMEOUT, last=1059.0)], "late"),
    # Never "maybe started": it is the 429 that is raised, by its caller.
    "a limit near the deadline": (ALL, [LIMIT], [but(WITH_TIMEOUT, last=999.5)], "late"),
    # The end of the time, and of an outage
    "less than a second to go": (READS, FAILING, [but(last=999.9)], "late"),
    "more than a second to go": (READS, FAILING, [but(last=1000.1, failures=3)], "outage"),
    "a timeout of less than a second": (READS, FAILING, [but(last=1000.2)], "outage"),
    "an outage of less than 300 s": (READS, FAILING, [but(failures=3, since=705)], "outage"),
    "an outage of 300 seconds": (READS, FAILING, [but(failures=3, since=701)], "over"),
    "an outage until the deadline": (READS, FAILING, [UNTIL_THE_DEADLINE], "outage"),
    # 404
    "a run that is not there": (("look",), [answer(404)], AGES, "gone"),
    "a path that may not be there": (OF_A_RUN, [answer(404)], AGES, "probe"),
    "a run that is new to a replica": (("look", *OF_A_RUN), [answer(404)], YOUNG, "pause"),
    # Whatever else is known
    "a change that a redirect answered": (CHANGES, REDIRECTS, ANY, "probe"),
    "a read that a redirect answered": (READS, [answer(302), OVERSIZED], ANY, "error"),
    "a run that cannot be streamed": (("stream",), NOT_STREAMED, ANY, "probe"),
    "credentials that are refused": (ALL, DENIED, ANY, "error"),
    "an operation that the server lacks": (NOT_OPTIONAL, LACKING, ANY, "error"),
    "an output that the server lacks": (("output",), LACKING, ANY, "probe"),
    "a 404 that is not of a run": (("create", "search", "describe"), [answer(404)], ANY, "error"),
    "a refusal": (("create", *READS, "delete"), REFUSALS, ANY, "error"),
    # Another caller was quicker, or the run's thread is busy.
    "an answer that meets a conflict": (("resume",), [answer(409)], ANY, "probe"),
    "an answer that is refused": (("resume",), [answer(400), answer(422)], ANY, "error"),
}


@pytest.mark.parametrize(("actions", "errors", "situations", "name"), DECIDED.values(), ids=DECIDED)
def test_what_is_decided(actions, errors, situations, name):
    for action, error, situation in itertools.product(actions, errors, situations):
        decision, failure = situation.decide(action, error), failure_of(error)
        known = situation.known
        assert name_of(decision) == name, (action, error, situation)
        if isinstance(decision, Pause):
            # A Retry-After is never shortened, and the next request begins in time.
            assert decision.seconds >= (failure.retry_after or 0)
            assert decision.seconds <= known.last - known.now + 1e-6


@pytest.mark.parametrize(("left", "most"), [(60.0, 50.0), (20.0, 10.0), (8.0, 4.0), (0.4, 0.2)])
def test_a_change_leaves_time_to_find_out_what_became_of_it(clock, left, most):
    wait = Wait(a_contact(), left)
    for operation in CHANGES:
        assert wait.limit(100.0, operation) == pytest.approx(most)


BATCH, LATE = but(IN_BATCH), but(IN_BATCH, last=999.0)
OVER, SEARCH_OVER = (but(IN_BATCH, failures=failures, since=699.0) for failures in (9, 3))
FIRST = never(caller=IN_BATCH, failures=3)
WHOSE: dict[str, Case] = {
    # The credentials and the address are those of all runs, and so is a server that is away.
    "credentials": (ALL, [answer(401), answer(403, 7), TUNNEL], [BATCH, OVER], "all"),
    "a wrong address": (ALL, WRONG, [FIRST], "all"),
    "the first that cannot be read": (READS, [UNREADABLE], [FIRST], "all"),
    "a server that is away": (ALL, AWAY, [OVER], "all"),
    "a limit": (ALL, [LIMIT], [OVER], "all"),
    "a limit for longer than an outage": (ALL, [answer(429, 301)], [BATCH], "all"),
    "a Retry-After beyond the outage": (READS, [answer(503, 301)], [BATCH], "all"),
    "no such agent, or no creates": (("create",), [answer(404), *LACKING], [BATCH], "all"),
    "a server without runs": (("look",), LACKING, [BATCH], "all"),
    # After more failures, a search asks first whether the server fails, too, and then counts as
    # the request that has shown it.
    "an outage of a search": (("search",), LOST_READS, [SEARCH_OVER], "all"),
    "an outage of a descriptor": (("describe",), LOST_READS, [OVER], "all"),
    # Another run shows it.
    "an outage of a run": (("look", "output"), [*LOST_READS, UNREADABLE], [OVER], "unclear"),
    "a refusal": (("create", "look", "output"), map(answer, (400, 409, 422)), [BATCH, OVER], "run"),
    "a run that is gone": (("look",), [answer(404)], [BATCH], "run"),
    "the end of the time": (("look", "output"), [answer(502), answer(429, 9)], [LATE], "run"),
}


@pytest.mark.parametrize(("actions", "errors", "situations", "whose"), WHOSE.values(), ids=WHOSE)
def test_whose_failure_ends_the_requests_of_a_run_of_a_batch(actions, errors, situations, whose):
    for action, error, situation in itertools.product(actions, list(errors), situations):
        decision = situation.decide(action, error)
        assert isinstance(decision, Raise), (action, error, situation)
        assert decision.whose == (action if whose == "unclear" else whose), (action, error)


@pytest.mark.parametrize("reached", [True, False])
def test_a_full_pool_or_a_conflict_is_no_outage_of_the_server(reached, clock):
    contact = a_contact(reached=reached)
    wait = Wait(contact)
    assert isinstance(wait.judge("look", FULL_POOL), Pause)
    assert wait.judge("resume", answer(409), probe=lambda _: "probed") == "probed"
    assert contact.health.outage is None


@pytest.mark.parametrize(("chance", "part"), [(0.0, 0.5), (0.6, 0.8), (1.0, 1.0)])
def test_the_pauses_double_up_to_a_longest_and_are_random(monkeypatch, chance, part):
    """Clients that failed together do not come back together."""
    monkeypatch.setattr("random.random", lambda: chance)
    for failures, longest in enumerate((0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0)):
        decision = but(failures=failures).decide("look", CLOSED)
        assert decision == Pause(longest * part)


def test_the_status_decides_if_the_body_of_an_error_stalls():
    for status, kind in ((429, "limited"), (503, "lost"), (401, "denied"), (404, "missing")):
        stalled = transport(acp.ApiTimeoutError, sent=True)
        stalled.status, stalled.headers = status, {"retry-after": "7"}
        assert failure_of(stalled)[:2] == (kind, 7.0)


@pytest.mark.parametrize(
    ("cuts", "windows"),
    [
        ([(30, 0.5)], [1, 2, 4, 8, 16, 16]),  # a restart: at least a second
        ([(30, 10.0)], [7, 14, 14]),
        ([(30, 10.0), (7, 7.0), (3, 1.0)], [1, 2, 4, 8, 16, 16]),  # a restart that takes a while
        ([(30, 29.0)], [21, 21]),
        ([(30, 30.0)], [15, 15]),  # the server took its time, and then failed
        # A longer window is cut, too: it was a proxy.
        ([(30, 10.0), None, (14, 10.0)], [7, 7]),
    ],
)
def test_windows_double_after_a_cut_and_the_full_one_comes_after_ten_minutes(cuts, windows):
    window = Window(30)
    for _ in range(2):
        for cut in cuts:
            if cut is None:
                window.lengthen(100.0)
            else:
                window.shorten(*cut, 100.0)
        for seconds in windows:
            assert window.seconds == seconds
            window.lengthen(699.0)
        window.lengthen(700.0)
        assert window.seconds == 30


@pytest.mark.parametrize(
    ("window", "limit", "fits"),
    [(30, 100.0, (30, 40)), (30, 20.0, (19, 20)), (2, 5.0, (2, 5)), (30, 0.05, (0, 0.05))],
)
def test_a_long_poll_fits_into_the_time(window, limit, fits):
    assert fitted(window, limit, 10.0) == fits
    # A window is full after nine tenths of it.
    assert [was_full(10, 9.0), was_full(10, 8.9), was_full(0, 5.0)] == [True, False, False]


def test_each_duration_is_the_one_that_was_chosen():
    """A change of one shows here, as nothing else might tell for a long time."""
    chosen = Timing(
        quick=10, change=60, least_left=1, beside_stream=5, outage=300, backoff=(0.25, 4), quiet=5,
        warnings=60, refusals=5, young=2, pace=(0.05, 0.5), recovery=0.97,
        window=30, tick=0.5, round_trip=0.1, early=(0.2, 2), cut_memory=600, search=10,
        search_backoff=(0.1, 1), unchanged=5, probe=0.25, whole_second=1, human=1, silence=15,
        least_silence=0.5, beyond=0.2, stream_backoff=(0.1, 4), kept=300, short_window=2,
        parked_searches=(0.2, 10), doubt=2, cancel=10, exit=5, grace=1.5, threads=2.5, step=0.05,
    )  # fmt: skip
    assert chosen == TIMING
    assert Known(5.0) == Known(
        now=5.0, last=math.inf, failures=0, since=math.inf, reached=True, retries=3, age=math.inf
    )
    callers = (WITH_TIMEOUT, WITHOUT_TIMEOUT, IN_BATCH, BESIDE, ONCE)
    assert [each.survives for each in callers] == [math.inf, 300, 300, 0, 0]
    assert [each.shared for each in callers] == [False, False, True, False, False]
    assert [each.once for each in callers] == [False, False, False, False, True]


def limited(turns: Turns, era: int, now: float = 0.0, status: int = 429) -> float:
    error = answer(status)
    turns.failed(failure_of(error), error, era, now)
    return turns.interval


def test_requests_that_a_server_limits_follow_each_other_more_slowly():
    turns = Turns.of_batch()
    assert [turns.next_turn(9.0), turns.next_turn(9.0)] == [9.0, 9.0]
    for interval in (0.05, 0.1, 0.2, 0.4, 0.5):
        era = turns.era
        # Those that were sent at the old pace count once.
        assert [limited(turns, era, 9.0, status) for status in (503, 429)] == [interval] * 2
    assert [turns.next_turn(9.1), turns.next_turn(9.1), turns.next_turn(11)] == [9.5, 10.0, 11.0]
    # Any other response counts as served, and no lost one does.
    for error, factor in ((answer(404), 0.97), (answer(500), 0.97), (CLOSED, 1), (REFUSED, 1)):
        turns.interval = 0.4
        turns.failed(failure_of(error), error, turns.era, 9.0)
        assert turns.interval == pytest.approx(0.4 * factor)
    for interval, left in ((0.0130, 0.0130 * 0.97), (0.0128, 0.0)):
        turns.interval = interval
        turns.succeeded()
        assert turns.interval == pytest.approx(left)
    alone = Turns()
    assert limited(alone, 0) == 0


@pytest.mark.parametrize(
    ("status", "elapsed", "slower"),
    [(503, 0.1, True), (503, 27.0, False), (429, 27.0, True), (504, 0.1, False)],
)
def test_a_503_that_ends_a_poll_that_was_held_is_no_limit(status, elapsed, slower, clock):
    contact, error = a_contact(batch=True), answer(status)
    error.elapsed = elapsed

    def fail(limit: float) -> None:
        raise error

    with pytest.raises(acp.ApiException):
        Wait(contact).send("output", fail, 30)
    assert contact.turns is not None
    assert (contact.turns.interval > 0, failure_of(error).limits) == (slower, slower)


def test_the_turns_of_a_batch_begin_again_after_a_retry_after(clock):
    contact, replies = a_contact(batch=True), [answer(429, 1)]
    assert contact.turns is not None
    contact.turns.interval = 0.5
    for _ in range(20):
        contact.turns.next_turn(clock.now)  # the next one would come in ten seconds

    def send(limit: float) -> float:
        if replies:
            raise replies.pop()
        return clock.now

    assert Wait(contact).perform("look", send) == 1001
    turns = [contact.turns.next_turn(0.0) for _ in range(2)]
    assert turns == pytest.approx([1001.5, 1001.985])


def test_a_stop_during_a_request_that_fails_is_what_the_error_reports():
    stop, late = threading.Event(), TimeoutError("late")

    def denied(limit: float) -> None:
        stop.set()
        raise answer(401)

    wait = Wait(a_contact(), stop=stop, late=lambda _: late)
    with pytest.raises(TimeoutError) as caught:
        wait.part(60).perform("look", denied)
    assert caught.value is late


def test_near_its_deadline_a_wait_of_a_batch_sends_a_request_out_of_turn(clock):
    contact = a_contact(batch=True)
    assert contact.turns is not None
    contact.turns.interval, contact.turns.era = 60.0, 1
    contact.turns.next_turn(clock.now)
    Wait(contact, 8.0).perform("look", lambda limit: None)
    assert clock.pauses == [7.0]


def test_a_retry_after_holds_the_call_or_the_batch_that_got_it(clock):
    contact, batch = a_contact(), a_contact(batch=True)
    for limited, other, pauses in (
        (Wait(contact), Wait(contact), []),  # another call of the same client
        (waited := Wait(contact), waited.part(60), [7.0]),
        (Wait(batch), Wait(batch), [7.0]),  # another run of the same batch
    ):
        clock.pauses.clear()
        limited.turns.failed(failure_of(answer(429, 7)), answer(429, 7), 0, clock.now)
        other.perform("look", lambda limit: None)
        assert clock.pauses == pauses


def test_each_wait_that_a_retry_after_ends_raises_an_error_of_its_own(clock):
    """Threads of a batch raise it at once, and each names its run in it."""
    contact, first = a_contact(batch=True), answer(429, 400)
    raised: list[Decided] = []
    for caller in (IN_BATCH, BESIDE, IN_BATCH):
        with pytest.raises(Decided) as caught:
            Wait(contact, caller=caller).perform("look", Mock(side_effect=[first]))
        raised.append(caught.value)
    assert [decided.whose for decided in raised] == ["all", "run", "all"]
    assert len({id(decided.error) for decided in raised}) == 3
    assert {str(decided.error) for decided in raised} == {str(first)}


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
def test_how_long_a_request_may_take_in_a_call_of_10_s(clock, elapsed, longest, operation, seconds):
    contact = a_contact()
    wait, endless = Wait(contact, 10.0), Wait(contact)
    clock.now += elapsed
    assert wait.limit(longest, operation) == seconds
    assert endless.limit(longest, operation) == longest
    left = max(0.001, 10.0 - elapsed)
    assert wait.part(99).remaining() == pytest.approx(left)
    assert wait.part(5).remaining() == pytest.approx(min(5, left))


def test_a_wait_watches_nothing_unless_there_is_something_to_watch(set_timing):
    contact, now = a_contact(), [0.0]
    set_timing(now=lambda: now[0])
    wait, stopped = Wait(contact), Wait(contact, stop=threading.Event())
    watches = (wait.watched, wait._watch(), stopped._watch())
    assert watches == (False, math.inf, TIMING.tick)
    of_a_batch = Wait(a_contact(batch=True), stop=threading.Event())
    assert (stopped.watched, of_a_batch.watched) == (True, False)
    assert contact.margin == 10.0
    assert Pause(1.0).outage  # a failure counts as one of the server

    def told_slowly(elapsed: float) -> None:
        now[0] = max(7.0, elapsed)

    wait.watch(told_slowly, 2.0)
    watches = (wait.watched, wait.part(9).watched, wait._watch())
    assert watches == (True, True, 2.0)
    now[0] = 2.0
    assert wait.part(9)._watch() == math.inf  # a part calls nothing, and wakes for nothing
    assert (wait._watch(), now[0]) == (0.001, 7.0)  # the next one is due already
    assert wait._watch() == 2.0  # and not at once again for each one that was due
