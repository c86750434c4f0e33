r"""JSON that holds half a surrogate pair, read all the same.

A server that sends text in UTF-16 units, a token at a time, writes an emoji as ``"\ud83d"`` in one
event and ``"\ude00"`` in the next. RFC 8259, section 8.2, allows it, a ``str`` can hold it, and
pydantic-core refuses it.

Strategy: only after a refusal, each lone surrogate is replaced by a character of a private plane
that the text does not use, pydantic-core reads the text again, and the values get their surrogates
back. In all other respects, the text is read like any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

__all__ = ["read_again"]

T = TypeVar("T")

_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    r"|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_PRIVATE = re.compile("[\U000f0000-\U0010ffff]")
_SURROGATES = range(0xD800, 0xE000)


def read_again(
    error: ValidationError, validate: Callable[[Any], T], text: str | bytes | bytearray
) -> T:
    """Read JSON text again, if it was refused with ``error`` for its lone surrogates.

    Raises:
        pydantic.ValidationError: (a ``ValueError``) the given error, if the text has no lone
            surrogate; or what else is wrong with the text.
    """
    (first, *_) = error.errors(include_url=False, include_input=False)
    if first["type"] != "json_invalid":
        raise error
    try:
        text = text if isinstance(text, str) else text.decode()
    except UnicodeDecodeError:
        raise error from None
    base = _free_block(text)
    replaced, count = _replaced(text, base) if base else (text, 0)
    if not count:
        raise error
    back = {base + offset: code for offset, code in enumerate(_SURROGATES)}
    return cast("T", _restored(validate(replaced), back))


def _free_block(text: str) -> int:
    """Find 2,048 private characters that the text does not use; 0 if it uses all of them."""
    used = {ord(character) for character in _PRIVATE.findall(text)}
    pairs = ((int(match[1], 16), int(match[2], 16)) for match in _ESCAPE.finditer(text) if match[1])
    used |= {0x10000 + ((high - 0xD800) << 10) + low - 0xDC00 for high, low in pairs}
    blocks = {code // len(_SURROGATES) for code in used}
    free = (code for code in range(0xF0000, 0x110000, len(_SURROGATES)))
    return next((code for code in free if code // len(_SURROGATES) not in blocks), 0)


def _replaced(text: str, base: int) -> tuple[str, int]:
    """Replace the escapes of lone surrogates; give the text and how many there were."""
    count = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal count
        if not match[3]:
            return match[0]
        count += 1
        return chr(base + int(match[3], 16) - _SURROGATES.start)

    return _ESCAPE.sub(replace, text), count


def _restored(value: Any, back: dict[int, int]) -> Any:
    """Put the surrogates back into a value that was just read, changing models in place."""
    if isinstance(value, BaseModel):
        fields: Any
        for fields in (value.__dict__, value.__pydantic_extra__):
            if fields:
                restored = _restored(fields, back)
                fields.clear()
                fields.update(restored)
        return value
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        # pydantic-core cannot write a key with a surrogate.
        lost = dict.fromkeys(back, "\ufffd")
        return {key.translate(lost): _restored(item, back) for key, item in members.items()}
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [_restored(item, back) for item in items]
    if isinstance(value, Enum):  # which has its class's own way to carry a value
        text = str(value.value).translate(back)
        kind: Any = type(value)
        return value if text == value.value else kind._unlisted(text)
    return value.translate(back) if isinstance(value, str) else value
