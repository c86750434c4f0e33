"""urllib3's response, as it is handed out where the caller wants the answer unread.

Strategy: urllib3 reads the chunks of a body by itself in one place, `stream`, and takes for their
sizes whatever ``int`` takes for a number. There, too, `Answer` is to read them; all else is
urllib3's.
"""

from __future__ import annotations

from collections.abc import Generator

from urllib3 import HTTPResponse

__all__ = ["ChunkedResponse"]


class ChunkedResponse(HTTPResponse):
    """A response whose body is chunked."""

    def read_chunked(
        self, amt: int | None = None, decode_content: bool | None = None
    ) -> Generator[bytes, None, None]:
        """Read a chunked body as it arrives; `stream` does so as well.

        Args:
            amt: Bytes that a piece may have, None for no limit.
            decode_content: Undo the content coding; None is False, as urllib3 has it here.

        Yields:
            What has arrived.
        """
        if amt == 0:
            return
        while piece := self.read1(amt, bool(decode_content)):
            yield piece
