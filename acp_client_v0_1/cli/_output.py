"""What the command prints: data to stdout, everything else to stderr.

Invariants: stdout holds valid data only, whatever happens; no control character of a server
reaches a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

__all__ = ["Output", "notice"]


class Output:
    """Writes values in the format that was chosen.

    Args:
        form: ``json``, ``jsonl``, ``text`` or ``id``.
        file: Where to write; None for stdout.

    Attributes:
        is_text: Whether a person reads it.
    """

    def __init__(self, form: str, file: TextIO | None = None) -> None:
        self.is_text = form == "text"
        self._form = form
        self._file = sys.stdout if file is None else file
        self._indent = 2 if form == "json" and self._file.isatty() else None
        self._ascii = (self._file.encoding or "").lower() not in ("utf-8", "utf8")

    def one(self, value: Any, id: str | None = None) -> None:
        """Write one value; in the format ``id``, only what identifies it."""
        self._line(self._shown(value, id))

    def many(self, values: Iterable[tuple[Any, str | None]]) -> None:
        """Write values with their ids as they come; together they are one array in ``json``."""
        if self._form != "json":
            for value, id in values:
                self.one(value, id)
            return
        opened = False
        try:
            for value, _ in values:
                self._file.write(",\n" if opened else "[\n")
                opened = True
                self._file.write(self._json(value))
                self._file.flush()
        finally:
            self._line("\n]" if opened else "[]")

    def _shown(self, value: Any, id: str | None) -> str | None:
        if self._form == "id":
            return id
        if self._form == "text":
            return _printable(_text(value), keep="\n\t") if self._file.isatty() else _text(value)
        return self._json(value)

    def _json(self, value: Any) -> str:
        separators = None if self._indent else (",", ":")
        text = json.dumps(
            value, indent=self._indent, separators=separators, ensure_ascii=self._ascii
        )
        return _printable(text, keep="\n")

    def _line(self, text: str | None) -> None:
        if text is not None:
            self._file.write(text + "\n")
            self._file.flush()


def notice(text: str) -> None:
    """Tell a person something, on stderr, in one line."""
    sys.stderr.write(_printable(" ".join(text.split()), keep="") + "\n")
    sys.stderr.flush()


def _text(value: Any) -> str:
    """Write a value for a person: a str as it is, members as ``name: value``, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(
            f"{name}: {_member(member)}" for name, member in cast("dict[str, Any]", value).items()
        )
    return _member(value)


def _member(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _printable(text: str, keep: str) -> str:
    """Escape what cannot be printed as JSON does it, which keeps JSON text valid."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    # json.dumps leaves DEL as it is.
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]
