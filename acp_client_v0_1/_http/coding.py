"""Content codings (RFC 9110, section 8.4), undone by urllib3's decoders a bounded piece at a time.

Requests say ``Accept-Encoding: identity``; some servers code the body all the same, and callers may
send another header. One coding is accepted: each further one multiplies how far a body can expand.

Invariant: a truncated coding is an error. urllib3 does not report it, so this looks into its
decoders: ``HTTPResponse._decoder``, its ``_obj`` and ``_state``.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from urllib3 import HTTPResponse
from urllib3.exceptions import DecodeError
from urllib3.response import GzipDecoderState

__all__ = ["DecodedBody", "coding_of"]

_MAGIC = b"\x1f\x8b"  # what gzip begins with (RFC 1952, section 2.3.1)


def coding_of(headers: Mapping[str, str]) -> str:
    """Give the content coding of a body, "" for none.

    Raises:
        DecodeError: It is not supported, or there is more than one.
    """
    names = [name.strip() for name in headers.get("content-encoding", "").lower().split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if len(names) > 1:
        raise DecodeError("more than one coding is not accepted")
    if names and names[0] not in HTTPResponse.CONTENT_DECODERS:
        raise DecodeError("the coding is not supported")
    return names[0] if names else ""


class DecodedBody:
    """The content of a coded body, whose coded bytes ``file.read1`` gives."""

    def __init__(self, coding: str, file: Any) -> None:
        headers = {"content-encoding": coding}
        self._coded = HTTPResponse(file, headers, preload_content=False)

    def read(self, size: int) -> bytes:
        """Give up to ``size`` bytes, at least one; b"" at the end.

        Raises:
            DecodeError: The coding is broken, or the bytes end before it does.
        """
        piece = self._coded.read1(size)
        if (
            not piece
            and self._coded.tell()
            and _is_unfinished(getattr(self._coded, "_decoder", None))
        ):
            raise DecodeError("it ends too early")
        return piece


def _is_unfinished(decoder: Any) -> bool:
    """Tell whether urllib3's decoder expects more bytes."""
    inner: Any = getattr(decoder, "_obj", None)
    state = getattr(decoder, "_state", None)
    if hasattr(inner, "is_finished"):  # brotli
        return not inner.is_finished()
    # Bytes that follow gzip and are no gzip are ignored.
    if state == GzipDecoderState.SWALLOW_DATA or getattr(inner, "eof", True):
        return False
    return state != GzipDecoderState.OTHER_MEMBERS or not _is_stray(inner)


def _is_stray(inflater: Any) -> bool:
    """Tell whether the only byte after a gzip member begins no other; zlib needs two to tell."""
    try:
        inflater.copy().decompress(_MAGIC[1:])
    except zlib.error as error:
        return "incorrect header" in str(error)
    return False
