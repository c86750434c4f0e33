r"""Reading of JSON that holds half a surrogate pair.

A server that sends text in UTF-16 units, a token at a time, writes an emoji as ``"\ud83d"`` in one
event and ``"\ude00"`` in the next. RFC 8259, section 8.2, allows it, a ``str`` can hold it, and
pydantic-core refuses it.

Strategy: after such a refusal, a private character replaces each lone surrogate, pydantic-core
reads the text again, and the values get their surrogates back. The stand-ins are the last 2,048
characters of the private planes. A text that contains one of them is still refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails

from acp_client_v0_1._text import one_line

T = TypeVar("T")

_SURROGATES = range(0xD800, 0xE000)
_STAND_INS = range(0x10F800, 0x110000)
_BACK = dict(zip(_STAND_INS, _SURROGATES, strict=True))
_LOST = dict.fromkeys(_STAND_INS, "\ufffd")
# A text with one of the stand-ins, or with its escape, cannot be read this way.
_TAKEN = re.compile(r"[\U0010f800-\U0010ffff]|\\u[dD][bB][fF][eEfF]")

# This matches a pair, a lone surrogate with its digits as the group, or any other escape.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def read_json(validate: Callable[[Any], T], text: str | bytes | bytearray) -> T:
    """Read JSON text with a validator of pydantic, lone surrogates included."""
    try:
        return validate(text)
    except ValidationError as error:
        return read_again(error, validate, text)


def read_again(
    error: ValidationError, validate: Callable[[Any], T], text: str | bytes | bytearray
) -> T:
    """Read JSON text again if ``error`` is about lone surrogates, or raise it."""
    (first, *_) = error.errors(include_url=False, include_input=False)
    if first["type"] == "union_tag_invalid":
        # pydantic's message has the tag as the server wrote it, and a traceback prints the message.
        context: Any = {**first.get("ctx", {})}
        context["tag"] = one_line(context["tag"])
        given = error.errors(include_url=False)[0]["input"]
        fault = InitErrorDetails(type=first["type"], loc=first["loc"], input=given, ctx=context)
        raise ValidationError.from_exception_data(error.title, [fault], "json") from None
    if first["type"] != "json_invalid":
        raise error
    try:
        text = text if isinstance(text, str) else text.decode()
    except UnicodeDecodeError:
        raise error from None
    replaced = _ESCAPE.sub(_stand_in, text)
    if replaced == text or _TAKEN.search(text):
        raise error
    return cast("T", _restored(validate(replaced)))


def _stand_in(escape: re.Match[str]) -> str:
    if escape[1] is None:
        return escape[0]
    return chr(_STAND_INS[_SURROGATES.index(int(escape[1], 16))])


def _restored(value: Any) -> Any:
    """Put the surrogates back into a value that was just read, changing models in place."""
    if isinstance(value, BaseModel):
        fields: Any
        for fields in (value.__dict__, value.__pydantic_extra__):
            if fields:
                restored = _restored(fields)
                fields.clear()
                fields.update(restored)
        return value
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        # pydantic-core cannot write a key with a surrogate.
        return {key.translate(_LOST): _restored(item) for key, item in members.items()}
    if isinstance(value, list):
        return list(map(_restored, cast("list[object]", value)))
    if isinstance(value, Enum):
        text = str(value.value).translate(_BACK)
        kind: Any = type(value)
        return value if text == value.value else kind._received(text)
    return value.translate(_BACK) if isinstance(value, str) else value
