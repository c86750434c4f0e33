"""Content codings (RFC 9110, section 8.4.1), decoded a bounded piece at a time.

Strategy: a body is one member of its coding, or several (RFC 1952, section 2.2). gzip and deflate
are enough, because no request asks for another coding. Each has a decompressor of its own, which is
not called again after the member's end: zlib would start over, or fail.

Invariant: an error of a decompressor is a `DecodeError`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from urllib3.exceptions import DecodeError

# For each coding a function and bytes. The function makes the decompressor of a member, given the
# member's first bytes. A further member begins with the bytes; None if a body has only one member.
CODINGS: dict[str, tuple[Callable[[bytes], Any], bytes | None]] = {
    "gzip": (lambda _: zlib.decompressobj(31), b"\x1f\x8b"),
    # Many servers leave zlib's header out. Its first byte has an 8 in the low four bits, and bare
    # deflate does not begin so.
    "deflate": (lambda data: zlib.decompressobj(15 if data[0] & 15 == 8 else -15), None),
}
CODINGS["x-gzip"] = CODINGS["gzip"]


class Decoder:
    """Decodes one of the `CODINGS`."""

    def __init__(self, coding: str) -> None:
        self._make, self._magic = CODINGS[coding]
        # The next member begins with these bytes. None means that no member may follow.
        self._begins: bytes | None = b""
        self._member: Any = None
        # These bytes have arrived, and no decompressor has taken them.
        self._rest = b""

    @property
    def unfinished(self) -> bool:
        """True if the body would be truncated if it ended here."""
        return bool(self._rest) or not (self._member is None or self._member.eof)

    def decode(self, data: bytes, limit: int) -> bytes:
        """Return up to ``limit`` bytes. b"" means that further ``data`` is needed."""
        data, piece = self._rest + data, b""
        try:
            while not piece and (data or self.unfinished):
                if self._member is None or self._member.eof:
                    if self._begins is None or not data.startswith(self._begins):
                        break
                    self._member, self._begins = self._make(data), self._magic
                piece = self._member.decompress(data, limit)
                data = self._member.unconsumed_tail or self._member.unused_data
                if not data:
                    break
        except zlib.error as error:
            raise DecodeError(str(error)) from error
        if data and not piece and not (self._begins or b"").startswith(data):
            # The bytes after the last member are ignored. A single byte may still begin a member.
            self._begins, data = None, b""
        self._rest = data
        return piece
