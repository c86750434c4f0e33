r"""The shape of the blocks that a stream repeats: what makes the common case fast.

A server writes every event with the same lines in the same order, so that two blocks differ only
in their id and their data::

    id: 17                      prefix "id: ", then the id
    event: agent_event          middle "\nevent: agent_event\ndata: "
    data: {"type": "custom"}    then the data

Strategy: learn the constant parts from one block; a later block that has exactly these parts is
read with one partition, and every other one is left to be interpreted line by line.

Invariant: a shape has each field at most once, one space after each colon or none after any, and
one data line at the end, so that what `read` takes it takes as the standard's algorithm would. It
does not look for NUL in an id: the caller does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from acp_client_v0_1.streaming.event import ServerSentEvent

__all__ = ["ACP_SHAPE", "BlockShape", "learn_shape"]

# `(?(id)\n)`: only an id leaves a line end to be matched.
_COMMON_BLOCK = (
    r"(?P<before>(?:event{colon}(?P<early>[^\n]*)\n)?)"
    r"(?:(?P<id>id{colon})[^\n]*)?"
    r"(?P<after>(?(id)\n)(?:event{colon}(?P<late>[^\n]*)\n)?data{colon})[^\n]*"
)
_SPACED = re.compile(_COMMON_BLOCK.format(colon=": "))
_TIGHT = re.compile(_COMMON_BLOCK.format(colon=":(?! )"))

# What the class's own `__new__` does at half the speed.
_new = cast("Callable[..., ServerSentEvent]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]


@dataclass(frozen=True, slots=True)
class BlockShape:
    """The constant parts of a block.

    Attributes:
        prefix: the text before the id, ``""`` in a shape without id.
        middle: the text between id and data.
        event: the event's type.
        has_id: whether the block has an id.
        tight: whether no space follows the colons; then none may begin a value, either.
    """

    prefix: str
    middle: str
    event: str
    has_id: bool
    tight: bool = False

    def read(
        self, blocks: Iterator[str], last_event_id: str, events: list[ServerSentEvent]
    ) -> str | None:
        """Take blocks for as long as they have this shape.

        Args:
            blocks: blocks with LF between their lines, without the blank line.
            last_event_id: the id of events whose block has none.
            events: takes the events.

        Returns:
            The first block of another shape, or ``None`` if none was left.
        """
        if self.has_id:
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
        width, tight = len(prefix), self.tight
        for block in blocks:
            head, found, data = block.partition(middle)
            if not found or head[:width] != prefix or "\n" in data:
                return block
            event_id = head[width:]
            if "\n" in event_id or (tight and " " in (data[:1], event_id[:1])):
                return block
            append(_new(ServerSentEvent, (name, data, event_id)))
        return None


# The first guess of every stream.
ACP_SHAPE = BlockShape("id: ", "\nevent: agent_event\ndata: ", "agent_event", has_id=True)


def learn_shape(block: str) -> BlockShape | None:
    """Find the constant parts of a block.

    Args:
        block: the lines of one block, with LF between them.

    Returns:
        The shape, or ``None`` where the block is not of the common kind.
    """
    found = _SPACED.fullmatch(block) or _TIGHT.fullmatch(block)
    if found is None or (found["early"] is not None and found["late"] is not None):
        return None
    event = found["early"] or found["late"] or "message"
    tight = found.re is _TIGHT
    before, after, id_name = found["before"], found["after"], found["id"]
    if id_name is None:
        return BlockShape("", before + after, event, has_id=False, tight=tight)
    return BlockShape(before + id_name, after, event, has_id=True, tight=tight)
