"""Content codings (RFC 9110, section 8.4.1), decoded a bounded piece at a time.

Strategy: only gzip and deflate are supported. By default a request asks for no coding at all, so
these two are enough for the servers that encode a body all the same. A gzip body consists of one
or more members (RFC 1952, section 2.2). Each member gets a new decompressor, which is not called
again after the member's end: zlib would start over, or fail.

Invariant: an error of a decompressor becomes a `DecodeError`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from urllib3.exceptions import DecodeError

# Each coding has a function that makes the decompressor of a member from the member's first bytes,
# and the magic number with which a further member begins. If a body has only one member, there is
# None instead of a magic number.
CODINGS: dict[str, tuple[Callable[[bytes], Any], bytes | None]] = {
    "gzip": (lambda _: zlib.decompressobj(31), b"\x1f\x8b"),
    # "deflate" means the zlib format, but many servers send bare deflate without zlib's header. The
    # low four bits of that header's first byte are 8. Bare deflate does not begin like that.
    "deflate": (lambda data: zlib.decompressobj(15 if data[0] & 15 == 8 else -15), None),
}
CODINGS["x-gzip"] = CODINGS["gzip"]


class Decoder:
    """Decodes a body in one of the `CODINGS`."""

    def __init__(self, coding: str) -> None:
        self._make, self._magic = CODINGS[coding]
        # The next member begins with these bytes: the first member with any bytes, a further one
        # with the magic number. None means that no member may follow.
        self._begins: bytes | None = b""
        # The decompressor of the current member, or None before the first member.
        self._member: Any = None
        # These bytes have arrived, but no decompressor has taken them.
        self._rest = b""

    @property
    def unfinished(self) -> bool:
        """True if the end of the body here would mean that the body is truncated."""
        return bool(self._rest) or not (self._member is None or self._member.eof)

    def decode(self, data: bytes, limit: int) -> bytes:
        """Decode ``data`` and return up to ``limit`` bytes. b"" means that more data is needed."""
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
            # Bytes after the last member that do not begin another one are ignored. The first byte
            # of a magic number is kept, because the rest of the number may not have arrived.
            self._begins, data = None, b""
        self._rest = data
        return piece
