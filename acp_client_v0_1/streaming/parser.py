"""From bytes to server-sent events, by the algorithm of WHATWG HTML, 9.2.6.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

Strategy: no I/O here; the caller feeds bytes in pieces of any size. CR and LF never occur inside a
UTF-8 sequence, so the bytes are split at line ends first and decoded then. This module finds the
lines and blocks, `_blocks` interprets them. The value of an unfinished data line is gathered
without its name, so that an event of any size is copied a fixed number of times.

Invariants:
  - Events and errors do not depend on how the stream is split into pieces.
  - An event is returned as soon as its blank line has arrived, even if that is a lone CR.
  - Only the lines of the open block are held, at most one byte more than the limit. Comments are
    not held, and do not count.
  - Time is linear in the bytes fed.
"""

from __future__ import annotations

from typing import NoReturn

from acp_client_v0_1._arguments import check_arguments
from acp_client_v0_1.exceptions import ApiValueError, EventTooLarge
from acp_client_v0_1.streaming._blocks import EventBuffers, OpenLine
from acp_client_v0_1.streaming.event import ServerSentEvent

__all__ = ["DEFAULT_MAX_EVENT_BYTES", "SSEParser"]

DEFAULT_MAX_EVENT_BYTES = 64 * 1024 * 1024

# A longer piece is taken in slices, which bounds the temporary copies.
_SLICE = 256 * 1024

_BOM = b"\xef\xbb\xbf"
_LF = 0x0A

# The beginning of a block, up to this size, is kept and fed again with the next piece, so that most
# blocks are read whole. A block is kept only once, so that time stays linear. A block with a
# `retry` field is interpreted at once, because the field takes effect at once.
_MAX_CARRY = 4096


class SSEParser:
    """Turns the bytes of a ``text/event-stream``, in pieces of any size, into events.

    Args:
        max_event_bytes: The most bytes that the lines of one event may have, without comments and
            with each line end counted as one byte.

    Attributes:
        too_large: True if an event has exceeded the limit, so that the next `feed` raises.

    Raises:
        ApiTypeError: The limit is not an integer.
        ApiValueError: The limit is not positive.
    """

    def __init__(self, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        check_arguments("max_event_bytes", max_event_bytes=max_event_bytes)
        self._limit = max_event_bytes
        self._buffers = EventBuffers()
        self._line = OpenLine()
        # A block is open while there are bytes after the last blank line.
        self._block_open = False
        # The size of the whole lines of the open block.
        self._block_bytes = 0
        # The number of bytes that may be taken at once. It is negative if the open block exceeds
        # the limit.
        self._room = min(max_event_bytes, _SLICE)
        self._carry = b""
        # After a CR, an LF belongs to the same line end.
        self._after_cr = False
        # True at the beginning and at the end of the stream. Then `feed` calls `_prepared` first.
        self._unready = True
        # The BOM may arrive in parts. None means that the stream is past it.
        self._bom: bytes | None = b""
        self._closed = False
        self.too_large: bool = False
        # An event was too large, and no call has raised this yet.
        self._unsaid = False

    @property
    def last_event_id(self) -> str:
        """The id that the latest blank line confirmed, or ``""``."""
        return self._buffers.last_event_id

    @property
    def retry(self) -> int | None:
        """The reconnection time in milliseconds that the stream asks for, if it does.

        A number with more digits than Python converts (4300, see ``sys.set_int_max_str_digits``)
        is ignored.
        """
        return self._buffers.retry

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[ServerSentEvent]:
        """Take the next bytes of the stream, and return the events that they complete.

        Args:
            chunk: Any number of bytes.

        Raises:
            ApiTypeError: The first chunk is not bytes.
            EventTooLarge: An event exceeds the limit, which ends the parsing. If the same bytes
                complete other events before it, this call returns them, and the next call raises.
            ApiValueError: The parser is closed.
        """
        if self._unready:
            chunk = self._prepared(chunk)
        piece = self._carry + chunk if self._carry else bytes(chunk)
        events: list[ServerSentEvent] = []
        if len(piece) > self._room:
            self._take_slices(piece, events)
        elif piece:
            self._take(piece, events, may_carry=True)
        return events

    def close(self) -> None:
        """End the stream, and drop an unfinished event, as the standard says.

        Raises:
            EventTooLarge: An event exceeded the limit, and no call has raised yet.
        """
        self._closed = self._unready = True
        self._drop()
        if self._unsaid:
            self._raise_too_large()

    def _prepared(self, chunk: bytes | bytearray | memoryview) -> bytes:
        if self.too_large:
            self._raise_too_large()
        if self._closed:
            raise ApiValueError("the parser is closed")
        # A chunk that is not the first of a stream is not checked, for speed.
        check_arguments("chunk", chunk=chunk)
        beginning = (self._bom or b"") + chunk
        if _BOM.startswith(beginning):
            self._bom = beginning
            return b""
        self._bom, self._unready = None, False
        return beginning.removeprefix(_BOM)

    def _take_slices(self, piece: bytes, events: list[ServerSentEvent]) -> None:
        # A slice is at most one byte longer than what may still be held, so only its last byte can
        # exceed the limit. The outcome is the same as if the bytes came one by one.
        begin = 0
        while begin < len(piece):
            end = begin + self._room + 1
            self._take(piece[begin:end], events, may_carry=False)
            begin = end
            if self._room < 0:
                self.too_large = self._unsaid = self._unready = True
                self._drop()
                if not events:
                    self._raise_too_large()
                return

    def _raise_too_large(self) -> NoReturn:
        self._unsaid = False
        raise EventTooLarge(limit=self._limit)

    def _drop(self) -> None:
        self._buffers.drop()
        self._line = OpenLine()

    def _take(self, piece: bytes, events: list[ServerSentEvent], *, may_carry: bool) -> None:
        self._carry = b""
        if self._after_cr:
            self._after_cr = False
            if piece[0] == _LF:
                piece = piece[1:]
                if not piece:
                    return
        # The last whole block ends here.
        begin = 0
        if not (self._block_open or piece[0] == _LF or b"\r" in piece):
            # A piece that begins with a block, and has LF alone, is what most servers send.
            # The last whole line ends here.
            cut = piece.rfind(b"\n") + 1
            # Only whole lines are searched: rfind() is slow for two bytes, and the unfinished line
            # may be long.
            blank = piece.rfind(b"\n\n", 0, cut)
            if blank != -1:
                self._buffers.add_blocks(piece[:blank].decode("utf-8", "replace"), events)
                begin = blank + 2
        else:
            cut = max(piece.rfind(b"\n"), piece.rfind(b"\r")) + 1
            if cut:
                begin = self._take_blocks(piece[:cut], events)
            self._after_cr = piece.endswith(b"\r")
        if begin == len(piece):
            return
        rest = piece[begin:]
        if begin and may_carry and len(rest) <= _MAX_CARRY and b"retry" not in rest:
            # It begins with no LF, so it does not matter whether it ends with a CR.
            self._carry = rest
        else:
            self._open_block(rest, cut - begin)

    def _take_blocks(self, run: bytes, events: list[ServerSentEvent]) -> int:
        # `run` consists of whole lines. This takes the whole blocks of `run`, and returns the
        # length of these blocks.
        lines = run if b"\r" not in run else _with_line_feeds(run)
        if self._block_open:
            block, blank, lines = self._split_block(lines)
            if not blank:
                return 0
            self._end_block(block, events)
        blocks, blank, tail = lines.lstrip(b"\n").rpartition(b"\n\n")
        if blank:
            self._buffers.add_blocks(blocks.decode("utf-8", "replace"), events)
        return len(run) - _width(run, tail)

    def _split_block(self, lines: bytes) -> tuple[bytes, bytes, bytes]:
        # This splits the lines at the blank line that ends the open block.
        if lines[0] == _LF and not self._line.begun:
            return b"", b"\n", lines[1:]
        # find() is much faster for one byte than for two, and the open block's line may be long.
        end = lines.find(b"\n\n", lines.find(b"\n"))
        return (lines[:end], b"\n\n", lines[end + 2 :]) if end >= 0 else (lines, b"", b"")

    def _end_block(self, block: bytes, events: list[ServerSentEvent]) -> None:
        self._add_lines(block)
        self._buffers.dispatch(events)
        self._block_open = False
        self._block_bytes = 0
        self._room = min(self._limit, _SLICE)

    def _open_block(self, rest: bytes, cut: int) -> None:
        # `rest` has no blank line. Its last whole line ends at `cut`.
        self._block_open = True
        if cut:
            self._add_lines(_with_line_feeds(rest[:cut]))
        if cut < len(rest):
            self._line.add(rest[cut:])
        self._room = min(self._limit - self._block_bytes - self._line.size, _SLICE)

    def _add_lines(self, lines: bytes) -> None:
        if self._line.begun:
            last, _, lines = lines.partition(b"\n")
            # A comment has the size 0, and does not count.
            self._block_bytes += self._line.size and self._line.size + len(last) + 1
            self._line.end(last, self._buffers)
        self._block_bytes += _size(lines)
        self._buffers.add_lines(lines.decode("utf-8", "replace").split("\n"))


def _size(lines: bytes) -> int:
    # Comments do not count.
    if lines[:1] != b":" and b"\n:" not in lines:
        return len(lines)
    return sum(len(line) for line in lines.splitlines(keepends=True) if line[:1] != b":")


def _with_line_feeds(lines: bytes) -> bytes:
    if b"\r" not in lines:
        return lines
    return lines.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _width(run: bytes, tail: bytes) -> int:
    # `tail` has the last lines of `run`, but ends each with LF. This returns how many bytes these
    # lines have in `run`, where they may end with CR LF.
    if not tail or b"\r" not in run:
        return len(tail)
    return sum(map(len, run.splitlines(keepends=True)[-tail.count(b"\n") :]))
