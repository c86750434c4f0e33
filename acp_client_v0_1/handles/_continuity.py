"""Whether the events of a stream go on where those of the connection before stopped.

A connection breaks, the next one sends ``Last-Event-ID``, and what comes may be the next event, a
replay of old ones, or something else. Nothing but the first event after the reconnect tells, by its
id and its content.

Strategy: remember the first 16 and the last 256 events as pairs of id and digest. The first event
of a connection is compared with them:

- the successor of the last id: the stream goes on;
- a known pair: a replay, whose events are dropped up to the last that was delivered;
- a greater number, where all ids before were consecutive: the events in between are lost;
- a known id with other content: the server ignored the cursor and began its ids anew;
- anything else: it cannot be known.

Invariants: pure, no I/O; memory and time of an event are constant. Blind spot: equal updates under
ids that began anew look like a replay.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple

from pydantic_core import from_json, to_json

__all__ = ["Continuity", "Gap", "digest"]

_FIRST = 16  # events
_LAST = 256  # events
_KEPT_TEXT = 4096  # characters of an event that is kept as it came, until its digest is needed
_LARGEST_ID = 18  # digits of an id that counts as a number
_LONGEST_ID = 256  # characters of an id that is remembered as it came; of a longer one, its digest

GapKind = Literal["lost", "cursor-ignored", "unknown"]


class Gap(NamedTuple):
    """What is known of the events between two connections.

    Attributes:
        kind: "lost", "cursor-ignored" or "unknown".
        missing: How many events are lost, None if that is not known.
        last_event_id: The id of the last event before, "" if it had none.
    """

    kind: GapKind
    missing: int | None
    last_event_id: str


def digest(update: object) -> int:
    """Give 8 bytes that tell updates apart, as a number that only this process understands."""
    try:
        return hash(to_json(update))
    except ValueError:  # half a surrogate pair, which JSON can hold and UTF-8 cannot
        return hash(repr(update))


def _digest_of(content: int | str) -> int:
    """Give the digest of an event that was kept as the JSON that came."""
    return content if isinstance(content, int) else digest(from_json(content).get("update"))


class Continuity:
    """The memory of one iteration over a stream.

    Args:
        after: The id of the event that the iteration begins after, "" for the beginning.

    Attributes:
        last_id: The id of the last event that was delivered.
        delivered: How many events were delivered.
        complete: False once events were lost; None once it cannot be known; else True.
    """

    __slots__ = (
        "_count",
        "_expected",
        "_first",
        "_judging",
        "_last",
        "complete",
        "delivered",
        "last_id",
    )

    def __init__(self, after: str = "") -> None:
        self.last_id = after
        self.delivered = 0
        self.complete: bool | None = True
        self._first: list[tuple[str, int | str]] = []
        self._last: deque[tuple[str, int | str]] = deque(maxlen=_LAST)
        self._count = 0  # of what is remembered: delivered since the server began its ids anew
        self._expected: int | None = None  # place of the next event of a replay
        self._judging = True  # the next event is to be compared

    @property
    def unsettled(self) -> bool:
        """Whether the current connection has not yet shown that it goes on after the last event."""
        return self._judging

    def reconnect(self) -> None:
        """Note that the next event comes by another connection."""
        self._expected = None
        self._judging = True
        self._first = [(event_id, _digest_of(each)) for event_id, each in self._first]
        digests = ((event_id, _digest_of(each)) for event_id, each in self._last)
        self._last = deque(digests, maxlen=_LAST)

    def doubt(self) -> None:
        """Note that events may be missing that nothing tells of."""
        if self.complete:
            self.complete = None

    def take(self, event_id: str, content: int | str) -> Gap | bool:
        """Judge one event.

        Args:
            event_id: Its id, "" if it has none.
            content: Its JSON text, whose ``update`` counts, or the `digest` of that.

        Returns:
            True: deliver it; False: it was delivered before; a `Gap`: deliver it, after the gap.
        """
        verdict: Gap | bool = True
        if self._judging or (isinstance(content, str) and len(content) > _KEPT_TEXT):
            content = _digest_of(content)
        known_as = event_id if len(event_id) <= _LONGEST_ID else f"#{hash(event_id)}"
        pair = (known_as, content)
        if self._judging:
            verdict = self._judge(pair)
            if verdict is False:
                return False
        self.last_id = event_id
        self.delivered += 1
        self._count += 1
        self._last.append(pair)
        if self._count <= _FIRST:
            self._first.append(pair)
        return verdict

    def _judge(self, pair: tuple[str, int | str]) -> Gap | bool:
        """Compare an event with those before the connection."""
        place = self._expected
        if place is None or self._at(place) not in (None, pair):
            verdict = self._judge_first(pair)
            if verdict is not False:
                self._judging, self._expected = False, None
                return verdict
            place = self._expected or 0
        self._expected = place + 1
        if self._expected >= self._count:  # that was the last one delivered
            self._judging, self._expected = False, None
        return False

    def _judge_first(self, pair: tuple[str, int | str]) -> Gap | bool:
        """Judge the first event of a connection; a replay begins at the place `_expected`."""
        event_id, _ = pair
        number, last = _number(event_id), _number(self.last_id)
        if not self._count:
            return self._judge_without_memory(number, last)
        if number is not None and last is not None and number == last + 1:
            return True
        place = self._place_of(pair)
        if place is not None:
            if number is None:
                self.doubt()  # the same could come twice, where ids do not count
            self._expected = place
            return False
        if event_id and any(event_id == known for known, _ in (*self._first, *self._last)):
            gap = self._gap("cursor-ignored")
            self._forget()
            return gap
        first = self._first_number()
        if number is None or first is None or last is None:
            return self._gap("unknown")
        if number > last:
            return self._gap("lost", number - last - 1)
        if number >= first:
            self._expected = number - first  # a replay from the middle, which is not remembered
            return False
        return self._gap("unknown")

    def _judge_without_memory(self, number: int | None, last: int | None) -> Gap | bool:
        """Judge the first event of all."""
        if not self.last_id:
            if number is not None and number > 1:
                self.doubt()  # it is not known where the ids begin
            return True
        if number is not None and last is not None and number == last + 1:
            return True
        return self._gap("unknown")

    def _place_of(self, pair: tuple[str, int | str]) -> int | None:
        if pair in self._first:
            return self._first.index(pair)
        if pair in self._last:
            return self._count - len(self._last) + self._last.index(pair)
        return None

    def _at(self, place: int) -> tuple[str, int | str] | None:
        """Give the event of a place, None if it is not remembered."""
        if place < len(self._first):
            return self._first[place]
        place -= self._count - len(self._last)
        return self._last[place] if 0 <= place < len(self._last) else None

    def _first_number(self) -> int | None:
        """Give the first id as a number, None if not all ids are consecutive."""
        numbers = [_number(event_id) for event_id, _ in self._first]
        first, recent = numbers[0], [_number(event_id) for event_id, _ in self._last]
        if first is None or numbers != list(range(first, first + len(numbers))):
            return None
        start = first + self._count - len(recent)
        return first if recent == list(range(start, start + len(recent))) else None

    def _gap(self, kind: GapKind, missing: int | None = None) -> Gap:
        if kind == "unknown":
            self.doubt()
        else:
            self.complete = False
        return Gap(kind, missing, self.last_id)

    def _forget(self) -> None:
        self._first.clear()
        self._last.clear()
        self._count = 0


def _number(event_id: str) -> int | None:
    if event_id.isascii() and event_id.isdigit() and len(event_id) <= _LARGEST_ID:
        return int(event_id)
    return None
