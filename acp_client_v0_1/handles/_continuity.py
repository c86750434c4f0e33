"""Whether a connection continues the events of the one before it.

A connection breaks, and the next one sends ``Last-Event-ID``. Then the server may send the next
event, a replay of old events, or something else. The id and the content of the first event after
the reconnect show which it is.

Strategy: remember the first 16 and the last 256 events as pairs of id and fingerprint. Compare the
first event of a connection with them:

- the successor of the last id: the stream continues;
- a pair that is remembered: a replay, which is dropped up to the last event that was delivered;
- a greater number, if two or more ids so far were all consecutive: the events in between are lost;
- an id that is remembered, with other content: the server ignored the cursor and restarted its
  ids;
- anything else: unknown.

Invariants: pure, no I/O; memory and time of an event are constant. Blind spot: equal updates under
restarted ids look like a replay.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Literal, NamedTuple

from pydantic_core import from_json, to_json

# This many of the first events are remembered, and this many of the last.
_FIRST = 16
_LAST = 256
# An id and its JSON of up to this many characters are kept as they are until they are compared.
_KEPT_TEXT = 4096
# An id of more digits does not count as a number.
_LARGEST_ID = 18
# An id of more characters is replaced by its hash, so that the memory of an event is bounded.
_LONGEST_ID = 256

GapKind = Literal["lost", "cursor-ignored", "unknown"]


class Gap(NamedTuple):
    """What the ids show about the events between two connections."""

    kind: GapKind
    # The number of lost events is None if the ids do not tell it.
    missing: int | None
    # This is the id of the event before the gap.
    last_event_id: str


def fingerprint(update: object) -> int:
    """Return a number of 8 bytes that distinguishes updates, in this process only."""
    try:
        return hash(to_json(update))
    except ValueError:
        # JSON can hold half a surrogate pair, and UTF-8 cannot.
        return hash(repr(update))


def _compact(pair: tuple[str, int | str]) -> tuple[str, int]:
    """Return an event in the form that is compared: its id, and the fingerprint of its content."""
    event_id, content = pair
    if len(event_id) > _LONGEST_ID:
        event_id = f"#{hash(event_id)}"
    if isinstance(content, int):
        return event_id, content
    try:
        event = from_json(content)
    except ValueError:
        # Only the parser of the standard library takes half a surrogate pair.
        event = json.loads(content)
    return event_id, fingerprint(event.get("update"))


class Continuity:
    """The memory of one iteration over a stream."""

    def __init__(self, after: str = "") -> None:
        # This event was delivered last. At first, it is the one to begin after.
        self.last_id = after
        # This is False once events were lost, and None once the ids do not tell.
        self.complete: bool | None = True
        self._first: list[tuple[str, int | str]] = []
        self._last: deque[tuple[str, int | str]] = deque(maxlen=_LAST)
        # This counts the updates that were delivered since the server last restarted its ids.
        self._count = 0
        # This counts the updates before that, and all results.
        self._before = 0
        # During a replay, this is the index of the event that should come next.
        self._expected: int | None = None
        # The hash of the last result shows whether another one repeats it.
        self._result: int | None = None
        # This is True until the connection has sent a result.
        self._reconnected = False
        # This is True once a connection ended before the stream did.
        self._cut = False
        # This is True until the connection has shown that it continues after the last id.
        self.judging = True

    @property
    def delivered(self) -> int:
        """How many events were delivered."""
        return self._before + self._count

    @property
    def unsettled(self) -> bool:
        """Whether no event has come since the last cut."""
        return self._cut and (self.judging or self._reconnected)

    def reconnect(self, *, cut: bool = False) -> None:
        """Note that the next event comes from another connection, or with ``cut`` that one ends."""
        self._expected = None
        self._cut = self._cut or cut
        self.judging = self._reconnected = True
        self._first = list(map(_compact, self._first))
        self._last = deque(map(_compact, self._last), maxlen=_LAST)

    def doubt(self) -> None:
        """Note that events may be missing, which no id shows."""
        if self.complete:
            self.complete = None

    def take(self, event_id: str, content: int | str) -> Gap | bool:
        """Judge one event: True to deliver it, False to drop a replay, a `Gap` to deliver it after.

        ``content`` is its JSON text, whose ``update`` counts, or the `fingerprint` of that.
        """
        verdict: Gap | bool = True
        pair = (event_id, content)
        if self.judging or isinstance(content, int) or len(event_id) + len(content) > _KEPT_TEXT:
            pair = _compact(pair)
            if self.judging:
                verdict = self._judge(pair)
                if verdict is False:
                    return False
        self.last_id = event_id
        self._count += 1
        self._last.append(pair)
        if self._count <= _FIRST:
            self._first.append(pair)
        return verdict

    def take_result(self, event_id: str, text: str) -> bool:
        """Judge a result so far: False if a connection begins with the one that came last.

        Any other is delivered, even if it is a replay. A server may end each connection after the
        result so far. If that counted as new, the next request would follow at once.
        """
        result = hash(text)
        again = self._reconnected and result == self._result
        self.last_id, self._result, self._reconnected = event_id, result, False
        if not again:
            self._before += 1
        return not again

    def _judge(self, pair: tuple[str, int | str]) -> Gap | bool:
        """Compare an event with those before the connection."""
        index = self._expected
        if index is None or self._at(index) not in (None, pair):
            verdict = self._judge_first(pair)
            if verdict is not False:
                self.judging, self._expected = False, None
                return verdict
            index = self._expected or 0
        self._expected = index + 1
        # The replay has reached the last event that was delivered.
        if self._expected >= self._count:
            self.judging, self._expected = False, None
        return False

    def _judge_first(self, pair: tuple[str, int | str]) -> Gap | bool:
        """Judge the first event of a connection. A replay begins at the index `_expected`."""
        event_id, _ = pair
        number, last = _number(event_id), _number(self.last_id)
        if number is not None and last is not None and number == last + 1:
            return True
        if not self._count:
            if self.last_id:
                return self._gap("unknown")
            # Where the ids begin is not known, and a cut may have taken the first events.
            if self._cut or (number is not None and number > 1):
                self.doubt()
            return True
        index = self._index_of(pair)
        if index is not None:
            if number is None:
                # If the ids are no numbers, a new event that equals an old one looks like a replay.
                self.doubt()
            self._expected = index
            return False
        if event_id and any(event_id == known for known, _ in (*self._first, *self._last)):
            gap = self._gap("cursor-ignored")
            # The ids have begun again, so the events before this one are forgotten.
            self._first.clear()
            self._last.clear()
            self._before, self._count = self.delivered, 0
            return gap
        first = self._first_number()
        if number is None or first is None or last is None:
            return self._gap("unknown")
        if number > last:
            return self._gap("lost", number - last - 1)
        if number >= first:
            # The replay begins at an event between the first and the last, which is not kept.
            self._expected = number - first
            return False
        return self._gap("unknown")

    def _index_of(self, pair: tuple[str, int | str]) -> int | None:
        if pair in self._first:
            return self._first.index(pair)
        if pair in self._last:
            return self._count - len(self._last) + self._last.index(pair)
        return None

    def _at(self, index: int) -> tuple[str, int | str] | None:
        """Return the event at an index below `_count`, if it is remembered."""
        if index < len(self._first):
            return self._first[index]
        index -= self._count - len(self._last)
        return self._last[index] if index >= 0 else None

    def _first_number(self) -> int | None:
        """Return the first id as a number, if the ids are consecutive numbers."""
        if self._count < 2:
            # A single id does not tell in which steps the ids grow.
            return None
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


def _number(event_id: str) -> int | None:
    if event_id.isascii() and event_id.isdigit() and len(event_id) <= _LARGEST_ID:
        return int(event_id)
    return None
