"""Parses the head of a response, and finds the end of its body (RFC 9112).

Strategy: this module does no I/O, so tests can split the bytes in every possible way. `final_head`
gets the bytes of a head from a function. `framing_of` decides how the body is framed: by a length,
in chunks, or by EOF. A `Framing` takes the bytes that arrive, and returns the content among them.

http.client is more lenient than is safe. It takes EOF for the end of the headers. It takes anything
that ``int`` accepts for the size of a chunk (``+3``, ``0x3``, ``1_0``, ``-5``). It does not check
that the two bytes after a chunk are CR LF, so a wrong chunk size silently changes the body.

Invariants: a head without the empty line at its end is an error. The length and the number of lines
are bounded. Parsing takes linear time, however the bytes are split. The line with the size of a
chunk, such as ``1a ;name=value``, consists of these parts:

1. one or more hexadecimal digits
2. perhaps spaces or tabs, which old servers send
3. perhaps an extension, which begins with a semicolon
4. CR LF
"""

from __future__ import annotations

import functools
import http.client
import re
from collections.abc import Callable
from typing import NamedTuple

from urllib3 import HTTPHeaderDict

from acp_client_v0_1._http.headers import TOKEN

# A head may have this many lines of headers. A trailer may have this many lines, its last, empty
# line included.
_MOST_LINES = 100
# A line of a head may have this many bytes.
_LONGEST_LINE = 65_536
# A line with the size of a chunk, or a line of the trailer, may have this many bytes.
_LONGEST_CHUNK_LINE = 8_192
# A server may send this many responses to a request: informational ones (1xx) and the final one.
_MOST_RESPONSES = 20

_STATUS_LINE = re.compile(r"HTTP/1\.([0-9])[ \t]+([1-9][0-9]{2})(?:[ \t](.*))?", re.DOTALL)
# This matches received bytes that cannot be the beginning of "HTTP".
_OTHER_PROTOCOL = re.compile(rb"(?i)(?!H(?:T(?:T(?:P|\Z)|\Z)|\Z))[^\s]")
# The end of the last line of a head, and the empty line. Some servers send LF alone.
_HEAD_END = re.compile(rb"\n\r?\n")
_FIELD = re.compile(rf"^({TOKEN.pattern})[ \t]*:(.*)", re.MULTILINE)
# A line that begins with a blank continues the line before it (RFC 9112, section 5.2).
_FOLD = re.compile(r"\n[ \t]+")
_CHUNK_SIZE = re.compile(rb"0*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_NEXT_CHUNK = re.compile(rb"\r\n" + _CHUNK_SIZE.pattern)
# A list of transfer codings that curl and llhttp read as chunks, too.
_CHUNKED_LIST = re.compile("(identity,)*chunked(,chunked)*")
# `_Chunked._whole_chunks` goes on to the next chunk only if at most this many bytes lie between the
# data of the two chunks: CR LF, and a line with a size. Only a long extension needs more.
_SHORT_LINE = 64
# `_Chunked` remembers the sizes in at most this many different lines of a body.
_MOST_SIZES = 1024
# A content length may have this many digits.
_MOST_DIGITS = 18

_NO_STATUS_LINE = "not a status line of HTTP/1:"
_BLANK = " \t"
_SPACE = " \t\r\n"
_FRAMING_FIELDS = ("content-length", "transfer-encoding")
# Control characters must reach neither a log nor a terminal, so each becomes a space, or in
# ``Location`` an escape sequence such as ``\x1b``. In a header's value, the control characters from
# 0x80 on stay, because they may be bytes of UTF-8.
_CONTROL = dict.fromkeys((*range(9), *range(10, 32), 127), " ")
_CONTROL_OF_REASON = _CONTROL | dict.fromkeys(range(0x80, 0xA0), " ")


class Closed(ConnectionError):
    """The connection was closed before a response, or before the end of its body."""


class NotHTTP(http.client.BadStatusLine):
    """The first bytes are not those of an HTTP response, so another kind of server sent them."""


class BadFraming(http.client.HTTPException):
    """The framing of the body is not valid."""


class Head(NamedTuple):
    """A status line and headers. The version is 10 or 11, as in http.client."""

    version: int
    status: int
    reason: str
    headers: HTTPHeaderDict
    # True if an informational response before this one announced content, so that it is not clear
    # where that response ends.
    doubtful: bool = False


def final_head(receive: Callable[[], bytes]) -> tuple[Head, bytes]:
    """Receive the head of a final response (RFC 9110, section 15).

    Informational responses (1xx) before the final one are skipped. Return the head, and the bytes
    that were received after it.
    """
    received, doubtful = b"", False
    for _ in range(_MOST_RESPONSES):
        head, received = _next_head(receive, received)
        if head.status >= 200:
            return (Head(*head[:4], True) if doubtful else head), received
        if head.status == 101:
            raise http.client.UnknownProtocol("status 101, although no upgrade was requested")
        doubtful |= _announces_content(head)
    raise http.client.HTTPException(f"{_MOST_RESPONSES} responses, all informational")


def _next_head(receive: Callable[[], bytes], beginning: bytes) -> tuple[Head, bytes]:
    """Receive the rest of a head, of which ``beginning`` was received before.

    Return the head, and the bytes that were received after it.
    """
    # `lines` has the lines before the index ``begin``. No head ends before ``searched``.
    received, begin, searched = bytearray(beginning), 0, 0
    lines: list[str] = []
    while True:
        if searched == len(received):
            piece = receive()
            if not piece:
                where = "in the middle of the head" if received else "without a response"
                raise Closed(f"the connection was closed {where}")
            received += piece
        # The first four bytes are checked, even if the first line is not complete. A server of
        # another protocol may send a few bytes without a line end, and then wait for the client.
        if searched < 4 and _OTHER_PROTOCOL.match(received):
            line = received.decode("latin-1").splitlines()[0].rstrip(_SPACE)
            raise NotHTTP(f"{_NO_STATUS_LINE} {line[:60]!r}")
        # The end of the head may begin two bytes before the last piece.
        ended = _HEAD_END.search(received, max(searched - 2, 0))
        end = ended.end() if ended else received.rfind(b"\n", searched) + 1
        searched = end if ended else len(received)
        # Only the first of the new lines can be longer than what is received at once.
        limit = begin + _LONGEST_LINE
        if searched > limit and received.find(b"\n", begin, limit + 1) < 0:
            raise http.client.LineTooLong("the head of the response")
        if end:
            text, begin = received[begin:end].decode("latin-1"), end
            lines += text.replace("\r\n", "\n").split("\n")[:-1]
            # The status line is checked before the head is complete. A server of another protocol
            # may never send an empty line.
            status = _parse_status_line(lines[0])
            # The status line and the empty line are no headers.
            if len(lines) > _MOST_LINES + 2:
                raise http.client.HTTPException(f"more than {_MOST_LINES} lines of headers")
            if ended:
                return Head(*status, _parse_fields(lines[1:-1])), bytes(received[end:])


def _parse_fields(lines: list[str]) -> HTTPHeaderDict:
    text = "\n".join(lines)
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    fields = _FIELD.findall(text)
    if len(fields) < text.count("\n") + bool(text):
        line = next(each for each in text.split("\n") if not _FIELD.match(each))
        raise http.client.HTTPException(f"not a header: {line.rstrip(_SPACE)[:60]!r}")
    headers = HTTPHeaderDict()
    for name, value in fields:
        value = value.strip(_BLANK)
        if not value.isprintable():
            plain = value.translate(_CONTROL).strip(_BLANK)
            if plain != value and name.lower() in _FRAMING_FIELDS:
                # A proxy may have read this value differently, and may have found another end of
                # the body.
                raise BadFraming(f"a response with a control character in {name} cannot be read")
            if plain != value and name.lower() == "location":
                # The redirect is not followed, because a URL has no backslash.
                plain = value.encode("unicode_escape").decode("ascii")
            value = plain
        headers.add(name, value)
    return headers


# Nearly all responses have one of a few status lines. An error is not kept.
@functools.lru_cache(maxsize=16)
def _parse_status_line(line: str) -> tuple[int, int, str]:
    line = line.rstrip(_SPACE)
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise http.client.BadStatusLine(f"{_NO_STATUS_LINE} {line[:60]!r}")
    reason = match[3] or ""
    if not reason.isprintable():
        reason = reason.translate(_CONTROL_OF_REASON)
    return 10 if match[1] == "0" else 11, int(match[2]), reason.strip()


class Framing:
    """Finds the end of a body by its length, or at EOF if the length is None (close-delimited)."""

    def __init__(self, length: int | None) -> None:
        # This many bytes of the body, or of the current chunk's data, have not arrived.
        self._left = length or 0
        self.complete = length == 0
        # Bytes that arrived after the end of the body. If there are any, the connection is not used
        # again, because no request asked for these bytes.
        self.rest = b""
        # False if the body is close-delimited.
        self.ends_before_eof = length is not None

    def take(self, data: bytes) -> bytes:
        """Take received bytes, and return the content among them.

        If the framing has a fault after some content, this call returns the content, and the next
        call raises `BadFraming`.
        """
        if self.ends_before_eof:
            data, self.rest = data[: self._left], data[self._left :]
            self._left -= len(data)
            self.complete = not self._left
        return data

    def may_end(self) -> bool:
        """Return whether the body is complete if EOF comes now."""
        return not self.ends_before_eof


class _Chunked(Framing):
    """A body in chunks (RFC 9112, section 7.1).

    While ``_left`` is above 0, the data of a chunk comes next. Otherwise ``_next`` takes the next
    line:

    * ``_size``: the line with the size of a chunk, such as ``1a`` CR LF.
    * ``_data_end``: the CR LF after the data of a chunk.
    * ``_trailer``: a line after the last chunk, whose size is 0. An empty line ends the body.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self.ends_before_eof = True
        self._next: Callable[[_Chunked, bytes, int, int], int] = _Chunked._size
        # The beginning of a line whose end has not arrived.
        self._waiting = b""
        # Sizes that `_whole_chunks` has parsed. A key is the CR LF after the data of a chunk, and
        # the next line with a size, such as CR LF ``1a`` CR LF. Most streams repeat a few sizes.
        self._sizes: dict[bytes, int] = {}
        self._trailer_lines = 0
        self._fault: BadFraming | None = None

    def take(self, data: bytes) -> bytes:
        if self._fault is not None:
            raise self._fault
        # The waiting bytes contain no line end, so the search for a line end starts after them.
        searched = len(self._waiting)
        if searched:
            data, self._waiting = self._waiting + data, b""
        pieces: list[bytes] = []
        position = 0
        try:
            while position < len(data) and not self.complete:
                if self._left:
                    piece = data[position : position + self._left]
                    pieces.append(piece)
                    position += len(piece)
                    self._left -= len(piece)
                    if not self._left:
                        position = self._whole_chunks(data, position, pieces)
                    continue
                taken = self._next(self, data, position, max(position, searched))
                if not taken:
                    self._waiting = data[position:]
                    break
                position += taken
        except BadFraming as fault:
            if not pieces:
                raise
            self._fault = fault
        if self.complete:
            self.rest = data[position:]
        return b"".join(pieces)

    def _whole_chunks(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        """Append the data of the next chunks to ``pieces``, as long as whole chunks have arrived.

        ``position`` is the end of a chunk's data, before its CR LF. Return the end of the data of
        the last chunk that was appended, or ``position`` if there was none. `take` could do the
        same, but this loop is faster.
        """
        sizes, length = self._sizes, len(data)
        while True:
            start = data.find(b"\n", position + 2, position + _SHORT_LINE) + 1
            line = data[position:start]
            size = sizes.get(line)
            if size is None:
                # If the line is incomplete or has a fault, the size is 0, and this method returns.
                # Then `take` handles the line.
                match = _NEXT_CHUNK.fullmatch(line)
                size = int(match[1], 16) if match else 0
                if len(sizes) < _MOST_SIZES:
                    sizes[line] = size
            end = start + size
            if not start < end <= length:
                return position
            pieces.append(data[start:end])
            position = end

    def may_end(self) -> bool:
        # If EOF comes after the last chunk, the empty line may be missing (RFC 9112, section 8).
        # But if a trailer has begun, the empty line must follow.
        begun = self._trailer_lines or self._waiting
        return self._next is _Chunked._trailer and not begun

    # `_size`, `_data_end` and `_trailer` each take one line, which begins at ``position``. The
    # bytes before ``searched`` contain no end of this line. These methods return the length of the
    # line, or 0 if its end has not arrived.

    def _size(self, data: bytes, position: int, searched: int) -> int:
        end = self._line_end(data, position, searched, "the size of a chunk")
        if not end:
            return 0
        match = _CHUNK_SIZE.fullmatch(data, position, end)
        if match is None:
            raise BadFraming(f"not the size of a chunk: {data[position : position + 40]!r}")
        self._left = int(match[1], 16)
        self._next = _Chunked._data_end if self._left else _Chunked._trailer
        return match.end() - position

    def _data_end(self, data: bytes, position: int, searched: int) -> int:
        if data.startswith(b"\r\n", position):
            self._next = _Chunked._size
            return 2
        if data[position:] == b"\r":
            return 0
        end = data[position : position + 2]
        raise BadFraming(f"the data of a chunk is followed by {end!r}, not by CR LF")

    def _trailer(self, data: bytes, position: int, searched: int) -> int:
        end = self._line_end(data, position, searched, "a line of the trailer")
        if not end:
            return 0
        self._trailer_lines += 1
        if self._trailer_lines > _MOST_LINES:
            raise BadFraming(f"more than {_MOST_LINES} lines in the trailer")
        self.complete = data[position:end] in (b"\r\n", b"\n")
        return end - position

    def _line_end(self, data: bytes, position: int, searched: int, name: str) -> int:
        """Return where a line ends, or 0 if its end has not arrived."""
        end = data.find(b"\n", searched) + 1
        if (end or len(data)) - position > _LONGEST_CHUNK_LINE:
            raise BadFraming(f"{name} is too long: {data[position : position + 40]!r}…")
        return end


def framing_of(head: Head, method: str) -> tuple[Framing, bool]:
    """Decide where a body ends, and whether to reuse the connection.

    The comments number the rules of RFC 9112, section 6.3. After 408 and 5xx the connection is not
    reused, because many servers close it without a ``Connection: close``.

    A response to HEAD, a 1xx, 204 or 304 has no content, whatever its head announces. Some servers
    send the announced content all the same, and it may arrive only after the next request has left.
    The next call would take that content for its response. So the connection is not reused.
    """
    status, headers = head.status, head.headers
    # `get` would raise and catch a KeyError if the header is missing, which takes time.
    coding = headers["transfer-encoding"].lower() if "transfer-encoding" in headers else None
    # Some servers and their proxies each say "chunked", or name no coding before it. Empty elements
    # of the list are ignored (RFC 9110, section 5.6.1.2).
    names = coding.split(",") if coding is not None and "," in coding else []
    if names and _CHUNKED_LIST.fullmatch(",".join(filter(None, (n.strip(_BLANK) for n in names)))):
        coding = "chunked"
    elif coding == "identity":
        # In older HTTP/1.1 this word meant no coding (RFC 2616, section 3.6).
        coding = None
    length = headers["content-length"] if "content-length" in headers else None  # noqa: SIM401
    if status in (204, 304) or method == "HEAD":  # rule 1
        framing = Framing(0)
    elif coding == "chunked":  # rules 3 and 4
        framing = _Chunked()
    elif coding is not None:
        raise BadFraming(f"a response with transfer-encoding: {coding[:40]!r} cannot be read")
    elif length is not None:  # rules 5 and 6
        framing = Framing(_content_length(length))
    else:  # rule 8
        return Framing(None), False
    options = headers["connection"].lower() if "connection" in headers else ""
    says_close = "close" in options or (head.version == 10 and "keep-alive" not in options)
    # A proxy may have found another end of the body in three cases: the response has a transfer
    # coding and a length, or it has chunks in HTTP/1.0, or it has a list of transfer codings. Then
    # the bytes after the body may be forged (response splitting; RFC 9112, sections 6.1 and 6.3).
    doubtful = coding is not None and (names or length is not None or head.version == 10)
    if framing.complete:
        # There is no content. If the head announces some, the content may still arrive.
        doubtful = _announces_content(head)
    return framing, not (says_close or doubtful or head.doubtful or status >= 500 or status == 408)


def _announces_content(head: Head) -> bool:
    """Return whether the headers announce content."""
    fields = head.headers
    return "transfer-encoding" in fields or fields.get("content-length", "0") != "0"


def _content_length(text: str) -> int:
    """Parse a content length such as ``5``, or ``5, 5`` (RFC 9110, section 8.6)."""
    values = {part.strip(_BLANK) for part in text.split(",")} if "," in text else {text}
    value = values.pop() if len(values) == 1 else ""
    if not (value.isascii() and value.isdigit() and len(value.lstrip("0")) <= _MOST_DIGITS):
        raise BadFraming(f"a response with content-length: {text[:40]!r} cannot be read")
    return int(value.lstrip("0") or 0)
