"""Server-sent events: from the bytes of a response to typed events.

`SSEParser` has no I/O. `EventStream` reads a response, parses it and decodes the events. Each name
loads its module when it is first used, so that unary calls load no parser.
"""

from __future__ import annotations

from acp_client_v0_1._lazy import lazy_exports

# Importing `typing` for its constant would take longer than importing all of this module.
TYPE_CHECKING = False

__all__ = ["EventStream", "EventTooLarge", "SSEParser", "ServerSentEvent", "StreamDecodeError"]
__all__ += ["StreamInterrupted", "event_decoder"]

if TYPE_CHECKING:
    from acp_client_v0_1.exceptions import EventTooLarge, StreamDecodeError, StreamInterrupted
    from acp_client_v0_1.streaming.decoding import event_decoder
    from acp_client_v0_1.streaming.event import ServerSentEvent
    from acp_client_v0_1.streaming.event_stream import EventStream
    from acp_client_v0_1.streaming.parser import SSEParser
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            ".decoding": "event_decoder",
            ".event": "ServerSentEvent",
            ".event_stream": "EventStream",
            ".parser": "SSEParser",
            "..exceptions": "EventTooLarge StreamDecodeError StreamInterrupted",
        },
    )
