"""Content codings, undone a bounded piece at a time (RFC 9110, section 8.4).

Strategy: a few kilobytes of gzip can stand for gigabytes, and older versions of urllib3 hand out,
or keep, all that a read from the connection decodes to. Whole bodies are held in memory anyway;
for a stream, which may be endless, each coding asks the one below it for bytes, and zlib for no
more than what is to be handed out.

Invariants: what has come decoded is given before more is waited for; no more than one read of
coded bytes and one piece of decoded ones is held for each coding; the end of the bytes before the
end of the coding is an error.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from urllib3.exceptions import DecodeError
from urllib3.response import GzipDecoderState

__all__ = ["bounded", "codings_of", "is_unfinished"]

# Gives up to so many bytes, at least one; b"" at the end.
_Read = Callable[[int], bytes]

_PIECE = 65_536  # coded bytes that are asked for at once
_GZIP = zlib.MAX_WBITS + 16
_MAGIC = b"\x1f\x8b"  # what gzip begins with (RFC 1952, section 2.3.1)
_MOST = 5  # codings on top of each other
_KNOWN = ("gzip", "x-gzip", "deflate")


def codings_of(header: str) -> list[str]:
    """List the codings of a body, in the order in which they were applied.

    Args:
        header: The value of ``Content-Encoding``.
    """
    names = [name.strip() for name in header.lower().split(",")]
    return [name for name in names if name not in ("", "identity")]


def bounded(codings: list[str], read: _Read) -> _Read | None:
    """Undo codings.

    Args:
        codings: Their names.
        read: Reads the coded bytes.

    Returns:
        What reads the decoded bytes, None if one of the codings is not for zlib.

    Raises:
        DecodeError: There are too many of them.
    """
    if not all(name in _KNOWN for name in codings):
        return None
    if len(codings) > _MOST:
        raise DecodeError(f"more than {_MOST} codings")
    for name in reversed(codings):
        read = _Inflater(read, gzip=name != "deflate").read
    return read


def is_unfinished(decoder: Any) -> bool:
    """Say whether urllib3's decoder waits for more, which urllib3 itself does not tell.

    Args:
        decoder: Of one coding or of several.
    """
    for one in getattr(decoder, "_decoders", (decoder,)):
        inner, state = getattr(one, "_obj", None), getattr(one, "_state", None)
        # What follows gzip and is no gzip counts for nothing.
        if state == GzipDecoderState.SWALLOW_DATA or getattr(inner, "eof", True):
            continue
        if state != GzipDecoderState.OTHER_MEMBERS or not _is_stray(inner):
            return True
    return False


def _is_stray(inflater: Any) -> bool:
    """Say whether all that came is a byte that begins no gzip; zlib wants two to tell."""
    try:
        inflater.copy().decompress(_MAGIC[1:])
    except zlib.error as error:
        return "incorrect header" in str(error)
    return False


class _Inflater:
    """Undoes one coding."""

    def __init__(self, read: _Read, *, gzip: bool) -> None:
        self._read = read
        self._gzip = gzip
        self._waiting = b""  # coded bytes
        self._zlib: Any = None  # until the first of them
        self._full = False  # zlib may hold more than the last piece had room for
        self._again = False  # what follows is one more gzip, or counts for nothing
        self._over = False

    def read(self, size: int) -> bytes:
        """Give up to so many decoded bytes, at least one; b"" at the end."""
        while True:
            while self._can_inflate():
                piece = self._inflate(size)
                if piece:
                    return piece
            coded = self._read(_PIECE)
            if not coded:
                self._check_end()
                return b""
            self._waiting = b"" if self._over else self._waiting + coded

    def _can_inflate(self) -> bool:
        # The first two bytes say which kind of deflate it is, or whether one more gzip follows.
        begins = self._zlib is None if not self._gzip else self._again and self._zlib.eof
        enough = 2 if begins else 1
        return self._full or len(self._waiting) >= enough

    def _inflate(self, size: int) -> bytes:
        if self._again and self._zlib.eof and not self._waiting.startswith(_MAGIC):
            self._end()
            return b""
        if self._zlib is None or self._zlib.eof:
            self._zlib = zlib.decompressobj(_GZIP if self._gzip else _window(self._waiting))
        try:
            piece: bytes = self._zlib.decompress(self._waiting, size)
        except zlib.error as error:
            if not self._again:
                raise DecodeError("it is damaged", error) from error
            self._end()
            return b""
        self._full = len(piece) == size and not self._zlib.eof
        self._waiting = self._zlib.unconsumed_tail
        if self._zlib.eof and self._gzip:
            self._again, self._waiting = True, self._zlib.unused_data
        elif self._zlib.eof:
            self._end()
        return piece

    def _end(self) -> None:
        self._over, self._full, self._waiting = True, False, b""

    def _check_end(self) -> None:
        begun = bool(self._waiting) or self._zlib is not None
        if begun and not self._over and (self._zlib is None or not self._zlib.eof):
            raise DecodeError("it ends too early")


def _window(begin: bytes) -> int:
    """Tell deflate as it should be (RFC 1950) from the bare one (RFC 1951) of some servers."""
    wrapped = begin[0] & 0x0F == 8 and int.from_bytes(begin[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS
