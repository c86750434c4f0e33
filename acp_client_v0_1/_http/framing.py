"""Where the body of an answer ends: its length, or the sizes of its chunks (RFC 9112).

Strategy: http.client takes for a chunk's size whatever ``int`` takes for a number (``+3``, ``0x3``,
``1_0``, ``-5``), and throws the two bytes behind a chunk away unseen, so that a body which was cut
in the wrong place is read as another one. Here both are read as section 7.1 writes them.

Invariants: a size is one or more hexadecimal digits, then spaces or tabs (which old servers pad it
with, and which may stand before an extension), then an extension or nothing, then CR LF. A line
feed alone ends no line of a chunk: who sent it would be misread at the end of the data anyway.
What is read ahead of its use is bounded: lines, their number, and the size of a body.
"""

from __future__ import annotations

import http.client
import re
from typing import BinaryIO

__all__ = ["MOST_HEADERS", "BadFraming", "content_length", "read_size", "skip_trailer"]

MOST_HEADERS = 100  # that an answer may have, and lines in the trailer of a chunked body

_LONGEST_LINE = 8_192  # bytes
_SIZE = re.compile(rb"0*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_LENGTH = re.compile(r"0*([0-9]{1,18})")


class BadFraming(http.client.HTTPException):
    """It does not say in a valid way where the body ends."""


def content_length(text: str | None) -> int | None:
    """Read a content length; equal ones may come in a list (RFC 9110, section 8.6).

    Args:
        text: The header's value.

    Returns:
        Bytes, None where there is no such header or it is not valid.
    """
    if text is None:
        return None
    value, comma, _ = text.partition(",")
    if comma and len({part.strip(" \t") for part in text.split(",")}) > 1:
        return None
    match = _LENGTH.fullmatch(value.strip(" \t"))
    return None if match is None else int(match[1])


def read_size(file: BinaryIO) -> int:
    """Read the line before a chunk's data.

    Args:
        file: The connection.

    Returns:
        Bytes that the chunk has, 0 for the last chunk.

    Raises:
        BadFraming: It is no such line, or too long a one.
        IncompleteRead: The input ended in it.
    """
    line = file.readline(_LONGEST_LINE + 1)
    match = _SIZE.fullmatch(line)
    if match is not None and len(line) <= _LONGEST_LINE:
        return int(match[1], 16)
    if not line.endswith(b"\n") and len(line) <= _LONGEST_LINE:
        raise http.client.IncompleteRead(b"")
    raise BadFraming(f"no size of a chunk: {line[:40]!r}")


def skip_trailer(file: BinaryIO) -> None:
    """Read what follows the last chunk, up to the empty line or, as some servers do, the end.

    Raises:
        BadFraming: There is too much of it.
    """
    for _ in range(MOST_HEADERS + 1):
        line = file.readline(_LONGEST_LINE + 1)
        if len(line) > _LONGEST_LINE:
            break
        if line in (b"\r\n", b"\n", b""):
            return
    raise BadFraming("the trailer of the body is too long")
