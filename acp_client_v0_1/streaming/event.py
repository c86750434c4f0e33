"""One server-sent event, as the stream dispatched it.

A named tuple, because a parser makes hundreds of thousands of them and a tuple is Python's cheapest
immutable value. In a file of its own, because decoding needs it and no parser.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ServerSentEvent"]


class ServerSentEvent(NamedTuple):
    """One event of a stream, undecoded (WHATWG HTML, 9.2.6).

    Attributes:
        event: The event's type, ``"message"`` if the stream named none.
        data: The text of its ``data`` fields, joined by line feeds.
        id: The last event id of the stream when the event was dispatched, ``""`` if there was
            none.
    """

    event: str = "message"
    data: str = ""
    id: str = ""
