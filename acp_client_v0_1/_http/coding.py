"""Content codings (RFC 9110, section 8.4.1), decoded a bounded piece at a time.

Strategy: only gzip and deflate are supported. These two are enough, because a request has
``Accept-Encoding: identity`` by default, and few servers encode a body all the same. A gzip body
consists of one or more members (RFC 1952, section 2.2). Each member gets a decompressor of its own.

Invariant: an error of a decompressor becomes a `DecodeError`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from urllib3.exceptions import DecodeError

# Each coding has two values:
# - A function, which makes the decompressor of a member. Its argument is the member's first bytes.
# - The magic number, with which each member after the first must begin. None if a body in this
#   coding has only one member.
CODINGS: dict[str, tuple[Callable[[bytes], Any], bytes | None]] = {
    "gzip": (lambda _: zlib.decompressobj(31), b"\x1f\x8b"),
    # "deflate" means the zlib format, but many servers send bare deflate without zlib's header. In
    # the first byte of zlib's header, the low four bits are 8. In bare deflate they are not.
    "deflate": (lambda data: zlib.decompressobj(15 if data[0] & 15 == 8 else -15), None),
}
CODINGS["x-gzip"] = CODINGS["gzip"]
# The other content codings of the IANA registry (RFC 9110, section 16.6.1). Nobody sends aes128gcm,
# which is encryption, to a client without a key.
_UNSUPPORTED = ("br", "compress", "dcb", "dcz", "exi", "pack200-gzip", "x-compress", "zstd")


def coding_of(header: str) -> str:
    """Return the content coding of a body by its ``Content-Encoding``. "" leaves the body as it is.

    Words that are no coding are ignored. Servers send ``none``, ``utf-8`` or ``8bit``: ``none``
    keeps proxies from compressing a stream. The decoder of JSON or of events then judges the body.

    Raises `DecodeError` if the coding is not supported.
    """
    words = [word.strip() for word in header.lower().split(",")]
    names = [word for word in words if word in CODINGS or word in _UNSUPPORTED]
    if len(names) > 1:
        raise DecodeError("more than one coding is not accepted")
    if names and names[0] not in CODINGS:
        raise DecodeError("the coding is not supported")
    return names[0] if names else ""


class Decoder:
    """Decodes a body in one of the `CODINGS`."""

    def __init__(self, coding: str) -> None:
        self._make, self._magic = CODINGS[coding]
        # The next member must begin with these bytes. They are b"" for the first member, and the
        # magic number for all others. None means that no member may follow.
        self._begins: bytes | None = b""
        # The decompressor of the current member, or None before the first member. After the end of
        # its member (`eof`), a decompressor is not called again.
        self._member: Any = None
        # These bytes have arrived, but no decompressor has taken them.
        self._rest = b""

    @property
    def unfinished(self) -> bool:
        """True if a body that ends here is truncated."""
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
            # The remaining bytes follow the last member, and do not begin another member. So they
            # and all later bytes are ignored. A single first byte of a magic number does not come
            # here, because the second byte may still arrive.
            self._begins, data = None, b""
        self._rest = data
        return piece
