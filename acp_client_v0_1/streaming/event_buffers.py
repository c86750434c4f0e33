"""The buffers of the standard: what a block has said so far, and what becomes of it.

WHATWG HTML, 9.2.6, "process the field" and "dispatch the event".

Strategy: whole blocks come together and are read by the shape that the stream repeats (see
`block_shape`); what has another shape goes line by line. The data of a block that is still open is
a list of lines, joined now and then, so that many short lines cost little more memory than one
long line.

Invariants: a block has data exactly if it had a data field, be it empty. `last_event_id` changes
at a blank line only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import cast

from acp_client_v0_1.streaming.block_shape import ACP_SHAPE, learn_shape
from acp_client_v0_1.streaming.event import ServerSentEvent

__all__ = ["EventBuffers"]

# So many lines of data are joined; a short string is mostly overhead.
_LINES_TO_JOIN = 4096

# What Python converts unless it is told otherwise. To convert more costs quadratic time, and no
# clock counts so many milliseconds.
_MAX_RETRY_DIGITS = 4300

_new = cast("Callable[..., ServerSentEvent]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]


class EventBuffers:
    """Interprets lines and blocks.

    Attributes:
        last_event_id: the id that the latest blank line confirmed.
        retry: the reconnection time in milliseconds, ``None`` until the stream names one. A
            number of more digits than Python converts (4300, or what it is told) is passed over.
    """

    __slots__ = (
        "_event",
        "_id",
        "_joined",
        "_lines",
        "_misfits",
        "_shape",
        "last_event_id",
        "retry",
    )

    def __init__(self) -> None:
        self.last_event_id: str = ""
        self.retry: int | None = None
        self._joined: list[str] = []  # data: many lines each, without the last line feed
        self._lines: list[str] = []  # the data lines after those
        self._event = ""
        self._id = ""
        self._shape = ACP_SHAPE
        self._misfits = 0  # blocks of other shapes since the last one that had it

    @property
    def has_data(self) -> bool:
        """Whether the open block has had a data field."""
        return bool(self._lines or self._joined)

    def add_lines(self, lines: Iterable[str]) -> None:
        """Process fields and comments.

        Args:
            lines: complete lines without their ends; empty ones are passed over.
        """
        for line in lines:
            name, _, value = line.partition(":")
            if value[:1] == " ":
                value = value[1:]
            if name == "data":
                self._lines.append(value)
            elif name == "event":
                self._event = value
            elif name == "id":
                if "\0" not in value:
                    self._id = value
            elif name == "retry":
                self._set_retry(value)
        self._join()

    def add_data(self, value: str) -> None:
        """Process a data field.

        Args:
            value: the field's value.
        """
        self._lines.append(value)
        self._join()

    def _join(self) -> None:
        if len(self._lines) > _LINES_TO_JOIN:
            self._joined.append("\n".join(self._lines))
            self._lines.clear()

    def _set_retry(self, value: str) -> None:
        # str.isdigit is false for an empty value, and true for digits of any script.
        if value.isascii() and value.isdigit():
            digits = value.lstrip("0") or "0"
            if len(digits) <= _MAX_RETRY_DIGITS:
                with contextlib.suppress(ValueError):  # Python may be told to convert less
                    self.retry = int(digits)

    def dispatch(self, events: list[ServerSentEvent]) -> None:
        """End the block, as a blank line does.

        Args:
            events: takes the event, if the block has data.
        """
        self.last_event_id = self._id
        lines = self._lines
        if self._joined:
            lines = [*self._joined, *lines]
            self._joined.clear()
        if lines:
            data = lines[0] if len(lines) == 1 else "\n".join(lines)
            events.append(_new(ServerSentEvent, (self._event or "message", data, self._id)))
            self._lines.clear()
        self._event = ""

    def drop(self) -> None:
        """Forget what the block has said, apart from its id, which persists."""
        self._joined.clear()
        self._lines.clear()
        self._event = ""

    def add_blocks(self, text: str, events: list[ServerSentEvent]) -> None:
        """Interpret whole blocks, at a point where no block is open.

        Args:
            text: blocks with LF as the line end and a blank line between each two; the last
                one's blank line is left out.
            events: takes the events of the blocks that have data.
        """
        rest = iter(text.split("\n\n"))
        if "\0" in text:  # perhaps in an id, which is then to be ignored
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
            if self._misfits == 2 or self._misfits % 64 == 0:  # so that a mixture costs little
                self._shape = learn_shape(misfit) or self._shape

    def _add_block(self, block: str, events: list[ServerSentEvent]) -> None:
        self.add_lines(block.split("\n"))
        self.dispatch(events)
