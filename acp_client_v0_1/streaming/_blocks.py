r"""From lines and blocks of a stream to events (WHATWG HTML, 9.2.6), with a fast path.

A server writes each event with the same lines in the same order, so two blocks differ only in
their id and their data::

    id: 17                      prefix "id: ", then the id
    event: agent_event          middle "\nevent: agent_event\ndata: "
    data: {"type": "custom"}    then the data

Strategy: `EventBuffers` learns the constant parts of a block, a `BlockShape`, and reads each later
block of this shape with one partition. It reads any other block line by line, by the standard's
steps "process the field" and "dispatch the event". `OpenLine` gathers a line that comes in several
pieces. Once its bytes show the field, a data line keeps only its value, so that a large value is
gathered in one buffer and decoded once. A comment keeps nothing.

Invariants: a shape has each field at most once, one space after each colon or none after any, and
one data line at the end. So `BlockShape.read` takes a block only if the standard's algorithm would
read it the same way (except for NUL in an id, which the caller handles). A block with a data field
gives an event, even if the field is empty. `last_event_id` changes only at a blank line.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from acp_client_v0_1.streaming.event import ServerSentEvent

# `(?(id)\n)` matches the line end of an id, if there is one.
_COMMON_BLOCK = (
    r"(?P<before>(?:event{colon}(?P<early>[^\n]*)\n)?)"
    r"(?:(?P<id>id{colon})[^\n]*)?"
    r"(?P<after>(?(id)\n)(?:event{colon}(?P<late>[^\n]*)\n)?data{colon})[^\n]*"
)
_SPACED = re.compile(_COMMON_BLOCK.format(colon=": "))
_TIGHT = re.compile(_COMMON_BLOCK.format(colon=":(?! )"))

# A short string is mostly overhead, so this many data lines are joined at a time.
_LINES_TO_JOIN = 4096

# The time of int() is quadratic in the number of digits. This is Python's own default limit.
_MAX_RETRY_DIGITS = 4300

_DATA = b"data:"

# This makes a named tuple in half the time of the class's own `__new__`.
_new = cast("Callable[..., ServerSentEvent]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]


@dataclass(frozen=True, slots=True)
class BlockShape:
    """The constant parts of a block."""

    # The prefix is the text before the id. It is empty if blocks have no id.
    prefix: str
    # The middle is the text between id and data.
    middle: str
    event: str
    # In a tight block no space follows a colon.
    tight: bool = False

    def read(
        self, blocks: Iterator[str], last_event_id: str, events: list[ServerSentEvent]
    ) -> str | None:
        """Read blocks with LF line ends into ``events``.

        Return the first block of another shape, or None if there is none.
        """
        if self.prefix:
            return self._read_with_id(blocks, events)
        middle, name, append, tight = self.middle, self.event, events.append, self.tight
        for block in blocks:
            head, found, data = block.partition(middle)
            if not found or head or "\n" in data or (tight and data[:1] == " "):
                return block
            append(_new(ServerSentEvent, (name, data, last_event_id)))
        return None

    def _read_with_id(self, blocks: Iterator[str], events: list[ServerSentEvent]) -> str | None:
        prefix, middle, name, append = self.prefix, self.middle, self.event, events.append
        # All of these are local, because this is the hot loop.
        tight, new, kind = self.tight, _new, ServerSentEvent
        for block in blocks:
            head, found, data = block.partition(middle)
            event_id = head.removeprefix(prefix)
            if not found or event_id == head or "\n" in data or "\n" in event_id:
                return block
            if tight and " " in (data[:1], event_id[:1]):
                return block
            append(new(kind, (name, data, event_id)))
        return None


# This is the first guess for every stream, because the contract names this event.
_ACP_SHAPE = BlockShape("id: ", "\nevent: agent_event\ndata: ", "agent_event")


def _learn_shape(block: str) -> BlockShape | None:
    """Find the constant parts of a block, if it is of the common kind."""
    found = _SPACED.fullmatch(block) or _TIGHT.fullmatch(block)
    if found is None or (found["early"] is not None and found["late"] is not None):
        return None
    event = found["early"] or found["late"] or "message"
    tight = found.re is _TIGHT
    before, after, id_name = found["before"], found["after"], found["id"]
    if id_name is None:
        return BlockShape("", before + after, event, tight)
    return BlockShape(before + id_name, after, event, tight)


class EventBuffers:
    """The buffers of the standard: the fields of the open block so far.

    The data of an open block is a list of lines, joined now and then, so that many short lines need
    little more memory than one long line.
    """

    def __init__(self) -> None:
        # Only a blank line confirms an id.
        self.last_event_id: str = ""
        # The reconnection time is in milliseconds.
        self.retry: int | None = None
        # The data of the open block.
        self.lines: list[str] = []
        # This many items at the beginning of `lines` are already joined from several lines.
        self._joined = 0
        self._event = ""
        self._id = ""
        self._shape = _ACP_SHAPE
        # The number of blocks of other shapes since the last block of `_shape`.
        self._misfits = 0

    def add_lines(self, lines: Iterable[str]) -> None:
        """Process fields and comments, from complete lines without their ends."""
        for line in lines:
            name, _, value = line.partition(":")
            if value[:1] == " ":
                value = value[1:]
            if name == "data":
                self.lines.append(value)
            elif name == "event":
                self._event = value
            elif name == "id":
                if "\0" not in value:
                    self._id = value
            # str.isdigit is true for digits of any script, and false for an empty value.
            elif name == "retry" and value.isascii() and value.isdigit():
                digits = value.lstrip("0") or "0"
                if len(digits) <= _MAX_RETRY_DIGITS:
                    with contextlib.suppress(ValueError):
                        # Python may be set to convert fewer digits.
                        self.retry = int(digits)
        if len(self.lines) - self._joined > _LINES_TO_JOIN:
            self.lines[self._joined :] = ["\n".join(self.lines[self._joined :])]
            self._joined += 1

    def dispatch(self, events: list[ServerSentEvent]) -> None:
        """End the block, as a blank line does, and add its event, if it has data."""
        self.last_event_id = self._id
        if lines := self.lines:
            data = "\n".join(lines)
            events.append(_new(ServerSentEvent, (self._event or "message", data, self._id)))
        self.drop()

    def drop(self) -> None:
        """Forget the fields of the block, except its id, which persists."""
        self.lines.clear()
        self._joined = 0
        self._event = ""

    def add_blocks(self, text: str, events: list[ServerSentEvent]) -> None:
        """Interpret whole blocks, while no block is open, and add their events.

        Lines end with LF. ``text`` has the blank lines between blocks, but not the last one.
        """
        rest = iter(text.split("\n\n"))
        if "\0" in text:
            # The standard ignores an id with NUL, and a `BlockShape` does not. So each block is
            # read line by line.
            for block in rest:
                self._add_block(block, events)
            return
        while True:
            before = len(events)
            misfit = self._shape.read(rest, self._id, events)
            if len(events) > before:
                self._id = self.last_event_id = events[-1].id
                self._misfits = 0
            if misfit is None:
                return
            self._add_block(misfit, events)
            self._misfits += 1
            # Learning is slow, and shapes may alternate, so not every misfit is learned.
            if self._misfits == 2 or self._misfits % 64 == 0:
                self._shape = _learn_shape(misfit) or self._shape

    def _add_block(self, block: str, events: list[ServerSentEvent]) -> None:
        self.add_lines(block.split("\n"))
        self.dispatch(events)


class OpenLine:
    """Gathers the bytes of one line that comes in several pieces."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        # A comment is not held, so its size stays 0.
        self.size: int = 0
        self._bytes = bytearray()
        self._is_comment = False
        # Of a data line, `_bytes` has only the value.
        self._is_data = False

    @property
    def begun(self) -> bool:
        return self.size > 0 or self._is_comment

    def add(self, part: bytes) -> None:
        """Add the next bytes of the line, at least one, without a line end."""
        if self._is_comment:
            return
        self.size += len(part)
        self._bytes += part
        if not self._is_data:
            self._tell_field()

    def _tell_field(self) -> None:
        if self._bytes.startswith(b":"):
            self._reset()
            self._is_comment = True
        elif len(self._bytes) > len(_DATA) and self._bytes.startswith(_DATA):
            self._is_data = True
            del self._bytes[: len(_DATA) + self._bytes.startswith(b" ", len(_DATA))]

    def end(self, last: bytes, buffers: EventBuffers) -> None:
        """Complete the line with its last bytes, pass it to the buffers, and reset."""
        if self._is_data:
            self._bytes += last
            buffers.lines.append(self._bytes.decode("utf-8", "replace"))
        elif not self._is_comment:
            buffers.add_lines([(self._bytes + last).decode("utf-8", "replace")])
        self._reset()
