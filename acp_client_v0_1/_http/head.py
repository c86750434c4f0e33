"""The head of an answer: status line and headers (RFC 9112, sections 4 and 5).

Strategy: http.client hands a head to the parser for mail, which takes a third of the time of a
small call, takes the end of the input for the end of the headers, and drops whatever follows a
line that it does not understand. A head of HTTP is simpler than that, and is read here.

Invariant: a head is complete, with its empty line, or it is an error.
"""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["Head", "read_head"]

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9])[ \t]+([1-9][0-9]{2})(?:[ \t]+(.*?))?[ \t]*\r?\n")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LONGEST_LINE = 65_536  # bytes
_MOST_HEADERS = 100


@dataclass(frozen=True, slots=True)
class Head:
    """A status line and headers.

    Attributes:
        version: 10 or 11, as http.client has it.
        status: The status code.
        reason: The reason phrase.
        headers: The headers.
        fields: The same by their names in lower case; equal names count as one list, with commas
            (RFC 9110, section 5.2).
    """

    version: int
    status: int
    reason: str
    headers: http.client.HTTPMessage
    fields: dict[str, str]


def read_head(file: BinaryIO) -> Head:
    """Read a head.

    Args:
        file: The connection; it raises an error of its own at the end of the input.

    Raises:
        HTTPException: What came is not HTTP/1.
    """
    line = _line(file)
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise http.client.BadStatusLine(f"no status line of HTTP/1: {line[:60]!r}")
    version = 10 if match[1] == b"0" else 11
    return Head(version, int(match[2]), (match[3] or b"").decode("latin-1"), *_headers(file))


def _headers(file: BinaryIO) -> tuple[http.client.HTTPMessage, dict[str, str]]:
    lines: list[bytes] = []
    while (line := _line(file)) not in (b"\r\n", b"\n"):
        if line[0] in b" \t" and lines:
            lines[-1] += b" " + line.strip()  # a folded line (RFC 9112, section 5.2)
        elif len(lines) == _MOST_HEADERS:
            raise http.client.HTTPException(f"more than {_MOST_HEADERS} headers")
        else:
            lines.append(line.rstrip())
    headers = http.client.HTTPMessage()
    fields: dict[str, str] = {}
    for line in lines:
        raw_name, colon, raw_value = line.partition(b":")
        raw_name = raw_name.rstrip()
        if not colon or not _NAME.fullmatch(raw_name):
            raise http.client.HTTPException(f"no header: {line[:60]!r}")
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1").strip(" \t")
        headers[name] = value
        key = name.lower()
        fields[key] = f"{fields[key]},{value}" if key in fields else value
    return headers, fields


def _line(file: BinaryIO) -> bytes:
    line = file.readline(_LONGEST_LINE + 1)
    if len(line) > _LONGEST_LINE:
        raise http.client.LineTooLong("the head of the answer")
    return line
