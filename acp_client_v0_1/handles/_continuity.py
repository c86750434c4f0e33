"""Finds out whether the events of a new connection continue those of the last connection.

After a connection has broken, the client sends ``Last-Event-ID`` on a new connection. The server
may then send the next event, a replay of old events, or something else. The id and the content of
the first event on the new connection show which it is.

Strategy: remember the first 16 and the last 256 events as pairs of id and fingerprint. Compare the
first event of a connection with the remembered events:

- Its id is the successor of the last id. The stream continues.
- Its id and content are remembered. This is a replay, which is dropped up to the last event that
  was delivered.
- Its id is remembered, with other content. The server ignored ``Last-Event-ID`` (the cursor), and
  restarted its ids.
- Its id is a number greater than the last id, as in 1, 2, 3, 7. The events in between are lost.
- Its id is a number between the first id and the last id. This is a replay, which begins at an
  event that is not remembered.
- Anything else: unknown.

The fourth and the fifth case apply only after two or more events, and only if their ids look like
consecutive numbers. For this, each id among the first 16 and among the last 256 must be one more
than the id before it. The ids of the events between the first 16 and the last 256 are not
remembered. Only the count of these events is checked. Example: if the first 16 ids end with 16, and
the last 256 ids begin with 100, then 83 events must have come between them.

Invariants: no I/O; each event takes constant memory and time. Blind spot: if the server restarts
its ids and sends equal updates under them, these updates look like a replay.
"""

from __future__ import annotations

import json
from collections import deque
from typing import NamedTuple

from pydantic_core import from_json, to_json

from acp_client_v0_1.handles.errors import GapKind

# How many of the first events are remembered, and how many of the last.
_FIRST = 16
_LAST = 256
# If the id and the JSON text of an event have at most this many characters together, both are kept
# as they are until they are compared. A longer text is replaced by its fingerprint at once.
_KEPT_TEXT = 4096
# An id of more digits does not count as a number.
_MOST_DIGITS = 18
# An id of more characters is replaced by its hash, so that the memory of an event is bounded.
_LONGEST_ID = 256


class Gap(NamedTuple):
    """What the ids show about the events between two connections."""

    kind: GapKind
    # The number of lost events, or None if the ids do not show it.
    missing: int | None
    # The id of the event before the gap.
    last_event_id: str


def _compact(pair: tuple[str, int | str]) -> tuple[str, int]:
    """Return an event in the form that is compared: its id, and the fingerprint of its update.

    The fingerprint is a hash, a number of 8 bytes. Another process may get another number.
    """
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
    update = event.get("update")
    try:
        return event_id, hash(to_json(update))
    except ValueError:
        # JSON can hold half a surrogate pair, and UTF-8 cannot.
        return event_id, hash(repr(update))


class Continuity:
    """What one iteration over the events of a run remembers of the events that it delivered."""

    def __init__(self, after: str = "") -> None:
        # The id of the last event that was delivered, or of a result that came later and was
        # dropped. At first, the id of the event to begin after.
        self.last_id = after
        # False after a gap of kind "lost" or "cursor-ignored". Otherwise None, if events may be
        # missing and the ids do not show whether they are. Otherwise True.
        self.complete: bool | None = True
        self._first: list[tuple[str, int | str]] = []
        self._last: deque[tuple[str, int | str]] = deque(maxlen=_LAST)
        # The number of updates that were delivered since the server last restarted its ids.
        self._count = 0
        # The number of events that were delivered: all updates and all results.
        self.delivered = 0
        # During a replay, the index of the update that should come next.
        self._expected: int | None = None
        # The hash of the last result.
        self._result: int | None = None
        # Whether the present connection has sent no result yet. Between two connections, this is
        # True. Before the first connection, it is False.
        self.no_result_yet = False
        # Whether a connection has ended while it was not known whether the run had ended.
        self.cut = False
        # Whether the next update has to be compared with the remembered updates. This is True for a
        # new connection. It becomes False once the connection has replayed the last update that was
        # delivered, or has sent an update that is no replay.
        self.judging = True

    def reconnect(self, *, cut: bool = False) -> None:
        """Note that the next event comes from a new connection.

        ``cut`` says that the last connection has ended, and that it is not known whether the run
        has.
        """
        self._expected = None
        self.cut = self.cut or cut
        self.judging = self.no_result_yet = True
        self._first = list(map(_compact, self._first))
        self._last = deque(map(_compact, self._last), maxlen=_LAST)

    def doubt(self) -> None:
        """Note that events may be missing, and that the ids do not show whether they are."""
        if self.complete:
            self.complete = None

    def take(self, event_id: str, content: int | str) -> Gap | bool:
        """Judge an update, and remember it unless it is a replay.

        ``content`` is the JSON text of the event. Of this text, only ``update`` is compared. If the
        text cannot be decoded, ``content`` is a number that stands for the text.

        Returns:
            True: deliver the update. False: it is a replay, drop it. A `Gap`: deliver it, and
            report the gap before it.
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
        self.delivered += 1
        self._last.append(pair)
        if self._count <= _FIRST:
            self._first.append(pair)
        return verdict

    def take_result(self, event_id: str, text: str) -> bool:
        """Return whether to deliver an event with the result so far.

        The event is dropped if it is the first result of a connection and equals the last result.
        Any other result is delivered, even if it is a replay.

        A server may send the current result on each connection, and then close the connection. If
        this result counted as new each time, the pauses between our connections would not grow.
        """
        result = hash(text)
        is_new = not self.no_result_yet or result != self._result
        self.last_id, self._result, self.no_result_yet = event_id, result, False
        self.delivered += is_new
        return is_new

    def _judge(self, pair: tuple[str, int | str]) -> Gap | bool:
        """Judge an update while `judging`, as `take` does."""
        verdict: Gap | bool = False
        if self._expected is None or self._at(self._expected) not in (None, pair):
            # No replay is under way, or this update does not belong to the replay.
            verdict = self._judge_first(pair)
        expected = (self._expected or 0) + 1
        # The update is no replay, or it is the last event that was delivered.
        judged = verdict is not False or expected >= self._count
        self.judging = not judged
        self._expected = None if judged else expected
        return verdict

    def _judge_first(self, pair: tuple[str, int | str]) -> Gap | bool:
        """Judge the first update of a connection. For a replay, set `_expected` to its index."""
        event_id, _ = pair
        number, last = _number(event_id), _number(self.last_id)
        if number is not None and last is not None and number == last + 1:
            return True
        if not self._count:
            if self.last_id:
                return self._gap("unknown")
            # No update was delivered yet. If the id is above 1, updates before it may be missing,
            # or the server does not count from 1. A connection that was cut may have lost updates.
            if self.cut or (number is not None and number > 1):
                self.doubt()
            return True
        index = self._index_of(pair)
        if index is not None:
            if number is None:
                # If the ids are empty or repeat, a new update that equals an old one looks like a
                # replay. Only numbers are trusted not to repeat.
                self.doubt()
            self._expected = index
            return False
        if event_id and any(event_id == known for known, _ in (*self._first, *self._last)):
            gap = self._gap("cursor-ignored")
            # The server has restarted its ids, so the updates before this one are forgotten.
            self._first.clear()
            self._last.clear()
            self._count = 0
            return gap
        first = self._first_number()
        if first is None or last is None or number is None or number < first:
            return self._gap("unknown")
        if number > last:
            return self._gap("lost", number - last - 1)
        # The replay begins at an update that is not remembered.
        self._expected = number - first
        return False

    def _index_of(self, pair: tuple[str, int | str]) -> int | None:
        if pair in self._first:
            return self._first.index(pair)
        if pair in self._last:
            return self._count - len(self._last) + self._last.index(pair)
        return None

    def _at(self, index: int) -> tuple[str, int | str] | None:
        """Return the update at an index below `_count`, if it is remembered."""
        if index < len(self._first):
            return self._first[index]
        index -= self._count - len(self._last)
        return self._last[index] if index >= 0 else None

    def _first_number(self) -> int | None:
        """Return the first id as a number, if the ids are consecutive numbers."""
        if self._count < 2:
            # A single id does not show by how much the ids grow.
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
    if event_id.isascii() and event_id.isdigit() and len(event_id) <= _MOST_DIGITS:
        return int(event_id)
    return None
