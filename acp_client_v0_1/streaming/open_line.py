"""The line that has begun and not ended yet, however many pieces it comes in.

Strategy: as soon as the bytes tell the field, a data line keeps its value alone, so that the value
of a large event is gathered in one buffer and decoded once; and a comment keeps nothing.
"""

from __future__ import annotations

from acp_client_v0_1.streaming.event_buffers import EventBuffers

__all__ = ["OpenLine"]

_DATA = b"data:"
_COLON = 0x3A
_SPACE = 0x20


class OpenLine:
    """Gathers the bytes of one line.

    Attributes:
        size: how many bytes of the line have come; 0 for a comment, which is not held.
    """

    __slots__ = ("_bytes", "_is_comment", "_is_data", "size")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self.size: int = 0
        self._bytes = bytearray()
        self._is_comment = False
        self._is_data = False  # then `_bytes` is what has come of the value

    @property
    def begun(self) -> bool:
        """Whether any byte of the line has come."""
        return self.size > 0 or self._is_comment

    @property
    def beginning(self) -> bytes:
        """The first bytes of the line, enough to tell whether it is a data field."""
        if self._is_data:
            return _DATA
        return b":" if self._is_comment else bytes(self._bytes[: len(_DATA) + 1])

    def add(self, part: bytes) -> None:
        """Take the next bytes of the line, which has no line end in them.

        Args:
            part: at least one byte.
        """
        if self._is_comment:
            return
        self.size += len(part)
        self._bytes += part
        if not self._is_data:
            self._tell_field()

    def _tell_field(self) -> None:
        if self._bytes[0] == _COLON:
            self._reset()
            self._is_comment = True
        elif len(self._bytes) > len(_DATA) and self._bytes.startswith(_DATA):
            self._is_data = True
            del self._bytes[: len(_DATA) + (self._bytes[len(_DATA)] == _SPACE)]

    def end(self, last: bytes, buffers: EventBuffers) -> None:
        """Complete the line, and begin anew.

        Args:
            last: the bytes up to the line end.
            buffers: takes the line.
        """
        if self._is_data:
            self._bytes += last
            buffers.add_data(self._bytes.decode("utf-8", "replace"))
        elif not self._is_comment:
            buffers.add_lines([(self._bytes + last).decode("utf-8", "replace")])
        self._reset()
