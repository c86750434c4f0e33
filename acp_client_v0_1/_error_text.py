"""The words of errors: one bounded line that a person can read, without secrets.

Strategy: pure functions from what a server sent to one line of text. A server's own words are
found in the error bodies that exist in the wild: JSON strings, ``{"detail": ...}`` objects,
validation reports, HTML pages and plain text.

Invariants: every result is bounded and can be printed: no line break, no control character, no half
of a surrogate pair, whatever a server sent; a URL loses its user information.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

__all__ = ["bounded", "one_line", "path_of", "server_words", "without_userinfo"]

_LONGEST_WORDS = 300  # characters of the server's words that an error shows
_LONGEST_REASON = 1_000  # of a reason, which may list several faults
_SEARCHED = 10_000  # characters of an HTML page, or any other text, that are looked at
_JOINERS = "\u200c\u200d"  # which some scripts and emoji need


def one_line(text: object, limit: int = _LONGEST_REASON) -> str:
    """Write a text in one line: white space collapsed, what cannot be printed as U+FFFD, cut."""
    if text is None:
        return ""
    line = " ".join(str(text)[:_SEARCHED].split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() or c in _JOINERS else "\ufffd" for c in line)
    return bounded(line, limit)


def bounded(text: str, limit: int = _LONGEST_WORDS) -> str:
    """Cut a text to the length that an error shows."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def without_userinfo(url: str | None) -> str | None:
    """Drop ``user:password@`` from a URL."""
    if url is None or "@" not in url:
        return url
    scheme, authority, rest = _split(url)
    return scheme + authority.rpartition("@")[2] + rest


def path_of(url: str | None) -> str | None:
    """Give the path of a URL, without its query."""
    return None if url is None else one_line(re.split("[?#]", _split(url)[2])[0]) or "/"


def _split(url: str) -> tuple[str, str, str]:
    """Split a URL, a valid one or not, before and after its authority (RFC 3986, section 3.2)."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return "", "", url
    end = next((place for place, mark in enumerate(rest) if mark in "/?#"), len(rest))
    return scheme + "://", rest[:end], rest[end:]


def server_words(data: Any) -> str:
    """Find what the server has to say in the error bodies that exist in the wild."""
    try:
        return _words(data)
    except RecursionError:
        return ""  # nested a thousand times, which says nothing to anybody


def _words(data: Any) -> str:
    if isinstance(data, Mapping):
        members = cast("Mapping[str, Any]", data)
        for key in ("detail", "message", "error", "title", "description"):
            if members.get(key):
                return _words(members[key])
        return one_line(dict(members)) if members else ""
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        items = cast("Sequence[object]", data)
        return "; ".join(_field_error(item) for item in items[:5])
    if isinstance(data, str) and data.lstrip()[:1] == "<":
        return _html_words(data[:_SEARCHED])
    return one_line(data)


def _field_error(item: Any) -> str:
    """Write one entry of a validation report, ``{"loc": [...], "msg": ...}``, as ``loc: msg``."""
    if isinstance(item, Mapping) and "msg" in item:
        entry = cast("Mapping[str, Any]", item)
        steps, place = entry.get("loc"), ""
        if isinstance(steps, Sequence):
            place = one_line(".".join(map(str, cast("Sequence[object]", steps))))
        return f"{place}: {one_line(entry['msg'])}" if place else one_line(entry["msg"])
    return _words(item)


def _html_words(text: str) -> str:
    title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
    if title and title[1].strip():
        return one_line(title[1])
    return one_line(re.sub(r"<[^<>]*>", " ", text))
