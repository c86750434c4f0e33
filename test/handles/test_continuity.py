"""Whether a stream goes on, decided from ids and digests alone: no server, no clock."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acp_client_v0_1.handles._continuity import Continuity, Gap

Event = tuple[str, object]


def numbered(first: int, last: int, shift: int = 0) -> list[Event]:
    """Events whose id is their number, plus a shift."""
    return [(str(number + shift), {"n": number}) for number in range(first, last + 1)]


def connection(memory: Continuity, events: Iterable[Event]) -> list[Event | Gap]:
    """What one connection gives out."""
    memory.reconnect()
    given_out: list[Event | Gap] = []
    for event_id, update in events:
        verdict = memory.take(event_id, json.dumps({"update": update}))
        if isinstance(verdict, Gap):
            given_out.append(verdict)
        if verdict is not False:
            given_out.append((event_id, update))
    return given_out


def named(names: str, first: int = 1) -> list[Event]:
    """Events whose ids are letters, or none for a space."""
    return [(name.strip(), {"n": first + place}) for place, name in enumerate(names)]


Connection = tuple[list[Event], list[Any]]


def all_of(events: list[Event]) -> Connection:
    return events, events


def after(gap: Gap, events: list[Event]) -> Connection:
    return events, [gap, *events]


TENS: list[Event] = [(f"{10 * n}", {"n": n}) for n in (1, 2, 3, 4)]
ANEW: list[Event] = [("c", {"n": "other"})]
WORDS: list[Event] = [(f"w{n}", {"n": n}) for n in range(302)]
UNKNOWN = Gap("unknown", None, "")
IGNORED = Gap("cursor-ignored", None, "c")
ZEROS: list[Connection] = [
    ([("01", {"n": 1}), *numbered(2, 4)], numbered(4, 4)),
    ([("04", {"n": 4}), *numbered(5, 5)], numbered(5, 5)),
]
ONE, TWO, FIRST = (all_of(numbered(1, last)) for last in (1, 2, 3))
TWO_UNNAMED, UNNAMED = all_of(named("  ")), all_of(named("   "))
OTHER = named(" ") + named(" ", 7)
BEFORE = after(Gap("unknown", None, "8"), numbered(3, 3))
JUMP = after(Gap("lost", 2, "3"), numbered(6, 7))
# The events of each connection, with what it gives out, and whether that is all.
CONNECTIONS: dict[str, tuple[list[Connection], bool | None]] = {
    "one": ([FIRST], True),
    "two": ([FIRST, all_of(numbered(4, 6))], True),
    "a first id above one": ([all_of(numbered(2, 3))], None),
    "a jump": ([FIRST, JUMP, all_of(numbered(8, 8))], False),
    "an id before the first": ([all_of(numbered(7, 8)), BEFORE], None),
    "a jump of other ids": ([all_of(TENS[:3]), after(Gap("unknown", None, "30"), TENS[3:])], None),
    "a replay": ([FIRST, (numbered(1, 5), numbered(4, 5))], True),
    "a replay with a zero before its ids": ([FIRST, *ZEROS], True),
    "a replay of the only one": ([ONE, (numbered(1, 1), [])], True),
    # Words do not count.
    "a replay of words": ([all_of(named("ab")), (named("abc"), named("c", 3))], None),
    "a long replay of words": ([all_of(WORDS[:300]), (WORDS, WORDS[300:])], None),
    "words with other content": ([all_of(named("abc")), after(IGNORED, ANEW)], False),
    "a replay without ids": ([UNNAMED, (named("     "), named("  ", 4))], None),
    "no ids, and no replay": ([UNNAMED, after(UNKNOWN, named(" ", 9))], None),
    "a replay that turns out to be none": ([TWO_UNNAMED, (OTHER, [UNKNOWN, *OTHER[1:]])], None),
    # The blind spot, as documented.
    "equal updates under ids that restart": ([TWO, (numbered(1, 2), [])], True),
}


@pytest.mark.parametrize(("connections", "complete"), CONNECTIONS.values(), ids=CONNECTIONS)
def test_what_the_connections_give_out(connections, complete):
    memory = Continuity()
    updates: list[Event | Gap] = []
    for events, given_out in connections:
        assert connection(memory, events) == given_out
        updates += [each for each in given_out if not isinstance(each, Gap)]
        assert memory.judging is (not given_out and len(events) < len(updates))
    assert memory.complete is complete
    assert (memory.delivered, memory.last_id) == (len(updates), updates[-1][0])


@pytest.mark.parametrize(
    ("delivered", "replay_from"),
    [
        *((20, first) for first in (1, 2, 3, 10, 16)),
        # Not all of these are remembered.
        *((1000, first) for first in (1, 16, 17, 500, 743, 744, 745, 999, 1000)),
    ],
)
def test_a_replay_is_dropped_up_to_the_last_that_was_delivered(delivered, replay_from):
    memory = Continuity()
    connection(memory, numbered(1, delivered))
    assert connection(memory, numbered(1, delivered // 2)) == []  # it breaks off
    new = numbered(delivered + 1, delivered + 3)
    assert connection(memory, numbered(replay_from, delivered + 3)) == new
    assert len(memory._first) + len(memory._last) == 16 + min(256, delivered + 3)
    assert memory.complete is True


@pytest.mark.parametrize("place", [745, 746, 900, 999, 1000])
def test_a_replay_of_the_last_events_that_goes_on_differently_is_none(place):
    memory = Continuity()
    connection(memory, numbered(1, 1000))
    new: list[Event] = [(str(place), {"n": "other"}), (str(place + 1), {"n": "new"})]
    given_out = connection(memory, [*numbered(744, place - 1), *new])
    assert given_out == [Gap("cursor-ignored", None, "1000"), *new]
    assert memory.complete is False


@pytest.mark.parametrize(
    ("first", "count", "gap"),
    [
        (1, 2, Gap("lost", 3, "2")),
        (1, 1, Gap("unknown", None, "1")),  # one id does not tell in which steps they grow
        (10**17, 2, Gap("lost", 3, f"{10**17 + 1}")),
        (10**18, 2, Gap("unknown", None, f"{10**18 + 1}")),  # no number of a counter
    ],
)
def test_what_a_jump_says_depends_on_the_ids_so_far(first, count, gap):
    memory = Continuity()
    connection(memory, numbered(1, count, shift=first - 1))
    new = numbered(count + 4, count + 4, shift=first - 1)
    assert connection(memory, new) == [gap, *new]


@pytest.mark.parametrize("more", [0, 1])
def test_long_texts_and_long_ids_are_kept_as_digests(more):
    memory = Continuity()
    text = '{"update":{},"padding":"%s"}'
    memory.take("6", "{}")
    memory.take("7", text % ("x" * (4096 - 1 - len(text % "") + more)))
    assert isinstance(memory._last[-1][1], int) is bool(more)
    memory.take("i" * (256 + more), "{}")
    memory.reconnect()
    assert (memory._last[-1][0] == "i" * (256 + more)) is not bool(more)
    assert memory.take("i" * (256 + more), "{}") is False  # a replay


def test_ids_that_restart_without_replay():
    memory = Continuity()
    connection(memory, numbered(1, 3))
    new = numbered(4, 6, shift=-3)  # ids 1, 2, 3 again
    assert connection(memory, new) == [Gap("cursor-ignored", None, "3"), *new]
    assert memory.complete is False
    # The next connection is compared with what came since then.
    for replayed in (new, new[-1:]):
        assert connection(memory, replayed) == [] and not memory.judging
    assert connection(memory, numbered(5, 7, shift=-3)) == numbered(7, 7, shift=-3)
    assert memory.delivered == 7
    newer = numbered(8, 9, shift=-7)
    assert connection(memory, newer) == [Gap("cursor-ignored", None, "4"), *newer]
    oldest = numbered(1, 1)  # which is forgotten
    assert connection(memory, oldest) == [Gap("cursor-ignored", None, "2"), *oldest]


def test_beginning_after_an_event():
    memory = Continuity("3")
    assert connection(memory, numbered(4, 5)) == numbered(4, 5)
    assert memory.complete is True
    for first in (1, 3, 7):
        memory, new = Continuity("3"), numbered(first, first)
        assert connection(memory, new) == [Gap("unknown", None, "3"), *new]
        assert memory.complete is None


@given(
    total=st.integers(1, 700),
    cuts=st.lists(st.integers(0, 700), max_size=6),
    manner=st.sampled_from(["cursor", "replay", "overlap"]),
)
def test_every_update_once_however_it_is_cut(total, cuts, manner):
    memory = Continuity()
    events = numbered(1, total)
    given_out: list[Event | Gap] = []
    for cut in [*cuts, total]:
        cursor = int(memory.last_id or 0)
        start = {"cursor": cursor, "replay": 0, "overlap": max(0, cursor - 5)}[manner]
        given_out += connection(memory, events[start : start + cut])
    given_out += connection(memory, events[int(memory.last_id or 0) :])
    assert given_out == events
    assert memory.complete is True


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.booleans())
def test_events_are_compared_by_their_update_alone(updates, long):
    """As JSON text, whose status changes when it is replayed, whose length does not matter."""

    def text(number: int, status: str) -> str:
        padding = " " * (5000 if long else 0)
        return f'{{"status":"{status}",{padding}"update":{{"n":{number}}}}}'

    memory = Continuity()
    for place, number in enumerate(updates, start=1):
        assert memory.take(str(place), text(number, "pending")) is True
    memory.reconnect()
    for place, number in enumerate(updates, start=1):
        assert memory.take(str(place), text(number, "success")) is False
    memory.reconnect()
    gap = memory.take(str(len(updates)), text(updates[-1] + 1, "success"))
    assert gap == Gap("cursor-ignored", None, str(len(updates)))


def test_only_the_first_result_of_a_connection_may_be_the_one_that_came_last():
    memory = Continuity()
    assert [memory.take_result("1", "same"), memory.take_result("2", "same")] == [True, True]
    memory.reconnect(cut=True)
    assert memory.cut
    assert [memory.take_result("3", "same"), memory.take_result("4", "same")] == [False, True]
    assert (memory.delivered, memory.last_id) == (3, "4")
