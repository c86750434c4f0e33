"""One server-sent event, as the stream dispatched it.

It is a named tuple, Python's cheapest immutable value, because a parser makes hundreds of thousands
of them. It has a file of its own, because decoding needs it without the parser.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ServerSentEvent"]


class ServerSentEvent(NamedTuple):
    """One event of a stream, undecoded (WHATWG HTML, 9.2.6).

    Attributes:
        event: The event's type, by default ``"message"``.
        data: The text of its ``data`` fields, joined by line feeds.
        id: The last event id of the stream when the event was dispatched, or ``""``.
    """

    event: str = "message"
    data: str = ""
    id: str = ""
