"""The head of an answer: status line and headers (RFC 9112, sections 4 and 5).

Strategy: http.client hands a head to the parser for mail, which takes a third of the time of a
small call, takes the end of the input for the end of the headers, and drops whatever follows a
line that it does not understand. A head of HTTP is simpler than that, and is read here.

Invariant: a head is complete, with its empty line, or it is an error; it has a bounded number of
lines of bounded length.
"""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from typing import BinaryIO

from acp_client_v0_1._http.framing import MOST_HEADERS
from acp_client_v0_1._http.headers import TOKEN

__all__ = ["Head", "read_head"]

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9])[ \t]+([1-9][0-9]{2})(?:[ \t]+(.*?))?[ \t]*\r?\n")
_LONGEST_LINE = 65_536  # bytes
_SPACE = " \t\r\n"
_BLANKS = str.maketrans("\r\0", "  ")  # these must not get through (RFC 9110, section 5.5)


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
    headers = http.client.HTTPMessage()
    fields: dict[str, str] = {}
    for line in _lines(file):
        name, colon, value = line.partition(":")
        name = name.rstrip(_SPACE)
        if not colon or not TOKEN.fullmatch(name):
            raise http.client.HTTPException(f"no header: {line[:60]!r}")
        value = value.strip(_SPACE)
        if "\r" in value or "\0" in value:
            value = value.translate(_BLANKS)
        headers.set_raw(name, value)
        key = name.lower()
        fields[key] = f"{fields[key]},{value}" if key in fields else value
    return headers, fields


def _lines(file: BinaryIO) -> list[str]:
    """Read the lines of the headers, folded ones as one, and the empty line after them."""
    lines: list[str] = []
    for _ in range(MOST_HEADERS + 1):
        line = _line(file)
        if line == b"\r\n" or line == b"\n":
            return lines
        text = line.decode("latin-1")
        if text[0] in " \t" and lines:
            lines[-1] = f"{lines[-1].rstrip(_SPACE)} {text.strip(_SPACE)}"  # RFC 9112, section 5.2
        else:
            lines.append(text)
    raise http.client.HTTPException(f"more than {MOST_HEADERS} lines of headers")


def _line(file: BinaryIO) -> bytes:
    line = file.readline(_LONGEST_LINE + 1)
    if not line:
        raise http.client.HTTPException("the head of the answer ends too early")
    if len(line) > _LONGEST_LINE:
        raise http.client.LineTooLong("the head of the answer")
    return line
