"""The standard's algorithm, written down step by step: slow, and meant to be compared with.

HTML, 9.2.6: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

One byte goes in at a time, and what it completes comes out, so that promptness can be compared too.
That Python decodes UTF-8 as the standard says is tested by the table of `test_sse_conformance.py`.
"""

from __future__ import annotations

import codecs

from acp_client_v0_1.streaming import ServerSentEvent

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
ASCII_DIGITS = frozenset("0123456789")


class ReferenceParser:
    """HTML, 9.2.6; a fed byte order mark goes as "UTF-8 decode" of the Encoding standard says."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.beginning: bytes | None = b""
        self.line = ""
        self.after_cr = False
        self.data_buffer = ""
        self.event_type_buffer = ""
        self.last_event_id_buffer = ""
        self.last_event_id = ""
        self.reconnection_time: int | None = None
        self.events: list[ServerSentEvent] = []

    def push(self, byte: int) -> None:
        if self.beginning is None:
            self._decode(byte)
            return
        self.beginning += bytes([byte])
        if self.beginning == BYTE_ORDER_MARK:
            self.beginning = None
        elif not BYTE_ORDER_MARK.startswith(self.beginning):
            waiting, self.beginning = self.beginning, None
            for early in waiting:
                self._decode(early)

    def _decode(self, byte: int) -> None:
        for character in self.decoder.decode(bytes([byte])):
            self._character(character)

    def _character(self, character: str) -> None:
        # The ABNF: end-of-line = ( cr lf / cr / lf ).
        swallow = self.after_cr and character == "\n"
        self.after_cr = character == "\r"
        if swallow:
            return
        if character not in "\r\n":
            self.line += character
            return
        line, self.line = self.line, ""
        self._line(line)

    def _line(self, line: str) -> None:
        if line == "":
            self._dispatch()
        elif line.startswith(":"):
            pass
        elif ":" in line:
            colon = line.index(":")
            field, value = line[:colon], line[colon + 1 :]
            if value.startswith(" "):
                value = value[1:]
            self._field(field, value)
        else:
            self._field(line, "")

    def _field(self, field: str, value: str) -> None:
        if field == "event":
            self.event_type_buffer = value
        elif field == "data":
            self.data_buffer += value
            self.data_buffer += "\n"
        elif field == "id":
            if "\0" not in value:
                self.last_event_id_buffer = value
        elif field == "retry" and value and set(value) <= ASCII_DIGITS:
            self.reconnection_time = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self.last_event_id_buffer
        if self.data_buffer == "":
            self.event_type_buffer = ""
            return
        if self.data_buffer.endswith("\n"):
            self.data_buffer = self.data_buffer[:-1]
        self.events.append(
            ServerSentEvent(
                event=self.event_type_buffer or "message",
                data=self.data_buffer,
                id=self.last_event_id,
            )
        )
        self.data_buffer = ""
        self.event_type_buffer = ""
