"""The standards' algorithms, written down step by step: slow, and meant to be compared with.

- Encoding, 9.1.1, the UTF-8 decoder: https://encoding.spec.whatwg.org/#utf-8-decoder
- HTML, 9.2.6: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

One byte goes in at a time, and what it completes comes out, so that promptness can be compared too.
"""

from __future__ import annotations

from acp_client_v0_1.streaming import ServerSentEvent

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
ASCII_DIGITS = frozenset("0123456789")


class Utf8Decoder:
    """Encoding, 9.1.1; the comments are the standard's steps."""

    def __init__(self) -> None:
        self._restore()

    def _restore(self) -> None:
        self.code_point = 0
        self.seen = 0
        self.needed = 0
        self.lower = 0x80
        self.upper = 0xBF

    def push(self, byte: int) -> str:
        if self.needed == 0:
            return self._first(byte)
        # 4. If byte is not in the range lower boundary to upper boundary: restore byte to the
        # queue and return error.
        if not self.lower <= byte <= self.upper:
            self._restore()
            return REPLACEMENT + self._first(byte)
        # 5. Set the boundaries back.
        self.lower, self.upper = 0x80, 0xBF
        # 6. and 7.
        self.code_point = (self.code_point << 6) | (byte & 0x3F)
        self.seen += 1
        # 8. If bytes seen is not equal to bytes needed, continue.
        if self.seen != self.needed:
            return ""
        # 9. to 11.
        code_point = self.code_point
        self._restore()
        return chr(code_point)

    def _first(self, byte: int) -> str:
        if byte <= 0x7F:
            return chr(byte)
        if 0xC2 <= byte <= 0xDF:
            self.needed, self.code_point = 1, byte & 0x1F
        elif 0xE0 <= byte <= 0xEF:
            if byte == 0xE0:
                self.lower = 0xA0
            if byte == 0xED:
                self.upper = 0x9F
            self.needed, self.code_point = 2, byte & 0x0F
        elif 0xF0 <= byte <= 0xF4:
            if byte == 0xF0:
                self.lower = 0x90
            if byte == 0xF4:
                self.upper = 0x8F
            self.needed, self.code_point = 3, byte & 0x07
        else:
            return REPLACEMENT
        return ""


class ReferenceParser:
    """HTML, 9.2.6; a fed byte order mark goes as "UTF-8 decode" of the Encoding standard says."""

    def __init__(self) -> None:
        self.decoder = Utf8Decoder()
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
        for character in self.decoder.push(byte):
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
