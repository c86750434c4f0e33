"""Texts of others in one bounded, printable line: messages, warnings and log records.

A text may be of a server, of a caller or of a library. A line that quotes it can neither fake
another line of a log nor recolour a terminal, and stays short if a server sent megabytes.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from inspect import currentframe

_TRACEBACKS = logging.Formatter()
# No line has more characters than this.
_LONGEST_LINE = 1_000
# A text is searched for a message up to this character.
SEARCHED = 10_000
# Python calls the joiners unprintable, but some scripts and emoji need them.
_JOINERS = "\u200c\u200d"
# An id of these characters can be pasted into a command. A shell and xargs take quotes, backslashes
# and spaces away, and may split an id that contains any of them. An id that begins with "-" or "."
# could be taken for an option or a file.
HARMLESS_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/-]*")


def one_line(text: object, limit: int = _LONGEST_LINE, tail: int = 0) -> str:
    """Write a text in one bounded line. Otherwise a server's message could fake a line of a log.

    White space collapses. U+FFFD replaces control characters, which could recolour a terminal. A
    text that is too long is cut: an ellipsis stands before the last ``tail`` characters.
    """
    if text is None:
        return ""
    line = " ".join(str(text)[:SEARCHED].split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() or c in _JOINERS else "\ufffd" for c in line)
    size = len(line)
    return line if size <= limit else f"{line[: limit - 1 - tail]}…{line[size - tail :]}"


def short(text: object) -> str:
    """Write an id or a name in one line that leaves room for the rest of a message."""
    return one_line(text, 100)


def with_article(noun: str) -> str:
    """Write "a Run", or "an Agent"."""
    return f"an {noun}" if noun[:1] in "AEIO" else f"a {noun}"


def warn_caller(message: str, kind: type[Warning] = UserWarning) -> None:
    """Warn in one line. The warning names the line that has called this package."""
    # From Python 3.12 on, `skip_file_prefixes` of `warnings.warn` could do this.
    frame, level = currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith(f"{__package__}."):
        frame, level = frame.f_back, level + 1
    warnings.warn(one_line(message), kind, stacklevel=level)


def package_logger(name: str) -> logging.Logger:
    """Return a logger whose messages are one line each. A closed stderr ends no call."""
    logger = logging.getLogger(name)
    # The class of the logger stays as it is: `logging.setLoggerClass` may have chosen it.
    vars(logger)["handle"] = partial(_handle, partial(type(logger).handle, logger))
    return logger


def _handle(handle: Callable[[logging.LogRecord], None], record: logging.LogRecord) -> None:
    if isinstance(record.args, tuple):
        record.args = tuple(
            each if isinstance(each, (int, float)) else one_line(each) for each in record.args
        )
    if record.exc_info:
        # The text of an exception may hold what recolours a terminal, and what UTF-8 lacks.
        text = _TRACEBACKS.formatException(record.exc_info)
        record.exc_text = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    # If stderr is closed, `logging` raises this while it reports that it cannot write there.
    with suppress(ValueError):
        handle(record)


def html_title(text: str) -> str:
    title = re.search(r"<title[^<>]*>([^<]*)", text, re.IGNORECASE)
    return one_line(title[1]) if title else ""
