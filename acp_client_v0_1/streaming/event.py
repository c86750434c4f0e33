"""One server-sent event, as the stream dispatched it.

Strategy: a named tuple, because a parser makes hundreds of thousands of them and a tuple is the
cheapest immutable value that Python has.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ServerSentEvent"]


class ServerSentEvent(NamedTuple):
    """One event of a stream, undecoded (WHATWG HTML, 9.2.6).

    Attributes:
        event: the event's type, ``"message"`` where the stream named none.
        data: the text of its ``data`` fields, joined by line feeds.
        id: the last event id of the stream when the event was dispatched, ``""`` where there
            was none yet.
    """

    event: str = "message"
    data: str = ""
    id: str = ""
