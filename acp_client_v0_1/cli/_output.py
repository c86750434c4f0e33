"""What the command prints: data to stdout, everything else to stderr.

Invariants: a signal waits until a record is written whole, if anybody reads it. An array is closed
only if it is whole. JSON is valid JSON. No control character of a server is printed. The format
``id`` prints only ids that a shell, xargs or another command cannot take for anything else.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Generator, Iterable
from select import select
from types import FrameType
from typing import Any, BinaryIO, TextIO, cast
from unicodedata import category, east_asian_width

# White space, and the joiners of letters and emoji. `str.isprintable` is False for these
# characters, but a terminal shows them as they are meant.
_HARMLESS = "\n\t\u00a0\u202f\u3000\u200c\u200d"
# A cell of a table has at most this many characters: one long name must not widen every row.
_CELL = 200
# Signals within this many seconds count as one, because timeout(1) sends two.
_AGAIN = 1.0
# A signal waits at most this many seconds until the reader of stdout takes more of a record.
_UNREAD = 2.0


# The colours of statuses (ECMA-48, 8.3.117), and the first word of an error.
_COLOURS = {"success": 32, "pending": 33, "interrupted": 36, "error": 31, "timeout": 31}
_PREFIX = "acp-client:"


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM.

    A plain KeyboardInterrupt would not do. If it is raised while Python executes source text by
    ``exec``, as it does to make a dataclass, Python ends the process by SIGINT in the end, even if
    the exception was caught (``exit_sigint``).
    """


class Stop:
    """The handler of Ctrl-C and SIGTERM. It raises `Stopped`.

    If a signal comes inside a ``with`` block of this object, `Stopped` is raised at the end of the
    block. But if nobody reads stdout, the block may never end, so `Stopped` is raised inside it.
    ``number`` is the last signal, or 0. Once ``ending`` is set, the next signal ends the process.
    """

    def __init__(self) -> None:
        self.number = 0
        self.ending = False
        self._at = -_AGAIN
        self._held = self._waits = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._at < _AGAIN:
            return
        if self.ending:
            os._exit(128 + self.number)
        self.number, self._at = number, time.monotonic()
        # On Windows, select() takes only sockets. There, a record waits for its reader.
        self._waits = self._held and (os.name == "nt" or bool(select([], [1], [], _UNREAD)[1]))
        if not self._waits:
            raise Stopped

    def __enter__(self) -> None:
        self._held = True

    def __exit__(self, *error: object) -> None:
        self._held = False
        if self._waits:
            self._waits = False
            raise Stopped


STOP = Stop()
# This lock is held while something is written or asked. No bar begins meanwhile.
TERMINAL = threading.RLock()


class Stderr:
    """Stderr that drops what cannot be written: it is closed, without a reader, or on a full disk.

    Everything that is written to stderr goes through this object: messages, log records, bars, the
    errors of argparse, and what Python itself writes at the end of the process. No failure to write
    may end a command whose work succeeds.
    """

    def __init__(self) -> None:
        # Python sets this to None if stderr is closed.
        stream: TextIO | None = sys.stderr
        if stream is None:
            # Otherwise the next file or socket would get the number of stderr, and the messages of
            # a library or another process would go into it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            stream = os.fdopen(2, "w", encoding="utf-8")
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            # ValueError means that the stream was closed.
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Output:
    """Writes values in a format (``json``, ``jsonl``, ``text`` or ``id``), to stdout or a file.

    ``refused`` is True once a value could not be printed; a notice on stderr has named it.
    """

    def __init__(self, form: str, file: BinaryIO | None = None) -> None:
        self.is_text = form == "text"
        self.refused = False
        self._form = form
        self._file = sys.stdout.buffer if file is None else file
        self._may_truncate = file is not None and file.seekable()
        is_indented = form == "json" and self._file.isatty()
        style: dict[str, Any] = {"indent": 2} if is_indented else {"separators": (",", ":")}
        self._dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, **style).encode

    def one(self, value: Any, id: str | None = None) -> None:
        """Write one value, or its id in the format ``id``."""
        if text := self._shown(value, id):
            self._write(f"{text}\n")

    def many(self, values: Iterable[dict[str, Any]], id: str = "run_id", columns: str = "") -> None:
        """Write values as they come. In the format ``json`` they make one array.

        ``id`` is the member that identifies a value. ``columns`` are paths of members, such as
        ``metadata.name``. If there are columns, the format ``text`` prints a table.
        """
        if self.is_text and columns:
            paths = columns.split()
            heads = [path.rpartition(".")[2].upper() for path in paths]
            self._table([heads, *([_cell(value, path) for path in paths] for value in values)])
        elif self._form != "json":
            for value in values:
                self.one(value, value[id])
        else:
            self._array(values, id)

    def _array(self, values: Iterable[dict[str, Any]], id: str) -> None:
        before, end = "[", ""
        try:
            for value in values:
                if text := self._shown(value, value[id]):
                    self._write(f"{before}\n{text}")
                    # The array stays open unless all values were written. A value that was refused
                    # is missing.
                    before, end = ",", "\n"
            if not self.refused:
                end = "\n]\n" if end else "[]\n"
        finally:
            self._write(end)

    def _coloured(self, line: str, status: str, before: str) -> str:
        """Colour the status of a run in a line on a terminal."""
        colour = _COLOURS.get(status)
        if colour is None or not _takes_colours(self._file):
            return line
        return line.replace(before + status, f"{before}\x1b[{colour}m{status}\x1b[0m", 1)

    def _table(self, rows: list[list[str]]) -> None:
        """Write rows in aligned columns, cut to the terminal's width, or ``COLUMNS``."""
        # The width is 0 if there is neither a terminal nor the variable.
        columns = shutil.get_terminal_size((0, 0)).columns
        widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = zip(row, widths, strict=True)
            line = "  ".join(cell + " " * (width - _width(cell)) for cell, width in cells).rstrip()
            if columns and _width(line) > columns:
                while _width(line) >= columns:
                    line = line[:-1]
                line += "…"
            status = next((cell for cell in row if cell in _COLOURS), "")
            self._write(f"{self._coloured(f'  {line}', status, '  ')[2:]}\n")

    def _shown(self, value: Any, id: str | None) -> str:
        if self._form == "id":
            # --help loads this module, too, and should not wait for the import of `logging`.
            from acp_client_v0_1._text import HARMLESS_ID

            if HARMLESS_ID.fullmatch(id := id or ""):
                return id
            return self._refuse(f"the id {id!a:.100} is not printed: a command could misread it")
        try:
            text = printable(_for_person(value) if self.is_text else self._dumps(value))
            if self.is_text and isinstance(value, dict):
                status: object = cast("dict[str, Any]", value).get("status")
                return self._coloured(f"\n{text}", str(status), "\nstatus: ")[1:]
            return text
        except ValueError:
            return self._refuse(f"{id or 'this'} is not printed: JSON has no NaN and no infinity")

    def _refuse(self, why: str) -> str:
        self.refused = True
        notice(why)
        return ""

    def _write(self, text: str) -> None:
        # JSON is UTF-8, whatever the locale says.
        left = text.encode()
        with STOP, beside_bars() if self._file.isatty() else contextlib.nullcontext():
            # Another process may have appended to the file meanwhile.
            start = self._file.seek(0, os.SEEK_END) if self._may_truncate else None
            try:
                while left:
                    # With PYTHONUNBUFFERED, a write that a signal interrupts is short.
                    left = left[self._file.write(left) :]
                self._file.flush()
            except (OSError, Stopped) as error:
                # The disk may be full, for example. No part of a record is left in the file.
                if isinstance(error, OSError):
                    error.filename = self._file.name
                if start is not None:
                    with contextlib.suppress(OSError):
                        # Some files, such as /dev/full, cannot be truncated.
                        self._file.truncate(start)
                elif self._file is sys.stdout.buffer:
                    drop_stdout()
                raise


def _takes_colours(file: Any) -> bool:
    return file.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def drop_stdout() -> None:
    """Discard what stdout still buffers. Otherwise Python would fail to flush stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def notice(text: str) -> None:
    """Print one line for a person on stderr."""
    line = printable(" ".join(text.split()))
    if line.startswith(_PREFIX) and _takes_colours(sys.stderr):
        line = f"\x1b[31m{_PREFIX}\x1b[0m{line.removeprefix(_PREFIX)}"
    with beside_bars():
        sys.stderr.write(line + "\n")


def notice_unread() -> None:
    """Print a notice if stdin is a file or a pipe with data, which the command does not read."""
    with contextlib.suppress(ImportError, OSError):
        # Windows lacks these modules.
        from fcntl import ioctl
        from termios import FIONREAD

        if not os.isatty(0) and any(ioctl(0, FIONREAD, bytes(4))):
            notice("stdin was not read, as INPUT was not given: - stands for stdin")


@contextlib.contextmanager
def beside_bars() -> Generator[None, None, None]:
    """Take the bars of tqdm, if there are any, off the terminal while something is written."""
    with TERMINAL:
        bars: Any = sys.modules.get("tqdm.std")
        with bars.tqdm.external_write_mode() if bars else contextlib.nullcontext():
            yield


def _for_person(value: Any, between: str = "\n") -> str:
    """Format a value for a person: a str as it is, members as ``name: value``, else JSON.

    Further lines of a member are indented. Otherwise they would look like members.
    """
    if isinstance(value, dict):
        texts = (f"{name}: {text_of(one)}" for name, one in cast("dict[str, Any]", value).items())
        return between.join(text.replace("\n", "\n  ") for text in texts)
    return text_of(value)


def outline(value: Any, before: str = "\n") -> str:
    """Format a document for a person: a line for each member, indented by its depth.

    Further lines of a text are indented deeper than any member could be there.
    """
    given: dict[str, Any] | list[Any] = value
    members: Iterable[tuple[Any, Any]] = given.items() if isinstance(given, dict) else ()
    if isinstance(given, list) and any(isinstance(each, dict) for each in given):
        members = enumerate(given, start=1)
    deeper = f"{before}  "
    lines = [before + " ".join(f"{name}:".split()) + outline(one, deeper) for name, one in members]
    return "".join(lines) or f" {text_of(value)}".replace("\n", deeper)


def text_of(value: Any) -> str:
    """Format a value in one line: a str as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(value: Any, path: str) -> str:
    """Format the member at a path, such as ``metadata.ref.name``, in one line."""
    for name in path.split("."):
        value = value.get(name)
    text = "" if value is None else " ".join(_for_person(value, between=", ").split())
    return printable(text if len(text) <= _CELL else f"{text[:_CELL]}…")


def _width(text: str) -> int:
    """Count the columns of a text on a terminal (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(
        (1 + (east_asian_width(c) in "WF")) * (category(c) not in ("Mn", "Me", "Cf")) for c in text
    )


def printable(text: str) -> str:
    """Escape unprintable characters as in JSON, so that JSON stays valid."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _HARMLESS else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    # json.dumps leaves DEL as it is.
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]
