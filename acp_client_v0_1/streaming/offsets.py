"""Where events begin in the stream: found when an error has to say so, not before.

Strategy: the parser notes at each feed where it stands (a `Mark`, a few references). Only if
somebody asks, the bytes of that feed are read again, line by line.
"""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["Mark", "event_offsets"]


# The parser's position before a piece of the stream, a plain tuple since each feed makes one:
#   bytes from the stream's start to the piece,
#   bytes from the stream's start to the first byte of the open block,
#   whether the byte before was a CR,
#   whether the open block has a data field already,
#   the beginning of the unfinished line: six bytes tell whether it is a data field.
Mark: TypeAlias = tuple[int, int, bool, bool, bytes]


def event_offsets(mark: Mark, piece: bytes) -> list[int]:
    """Find the events that a piece of the stream completes.

    Args:
        mark: the position before the piece.
        piece: the bytes.

    Returns:
        For each event its first byte: the first of its block's, counted from the stream's start.
    """
    position, start, after_cr, has_data, line = mark
    lines = piece.splitlines(keepends=True)  # of bytes: at CR, LF and CRLF only
    if after_cr and piece[:1] == b"\n":
        del lines[0]
        start += start == position  # if nothing of the block has come
        position += 1
    offsets: list[int] = []
    for ended in lines:
        position += len(ended)
        line += ended
        if not line.endswith((b"\n", b"\r")):
            break
        if line in (b"\n", b"\r", b"\r\n"):
            if has_data:
                offsets.append(start)
            has_data, start = False, position
        else:
            has_data = has_data or line[:5] == b"data:" or line.strip(b"\r\n") == b"data"
        line = b""
    return offsets
