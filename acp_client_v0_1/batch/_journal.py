"""The journal of a batch: the runs that were started and their outcomes, kept across a crash.

Format: JSON Lines. The first line is the header; each other line says one thing of one input, by
its index, and ends in the CRC-32 of what stands before it::

    {"acp-journal":1,"agent":"…","server":"…","config":"…","batch":"…","crc":"…"}
    {"starting":0,"input":"…","token":"…","key":"0","crc":"…"}    before the create is posted
    {"started":0,"run":"…","crc":"…"}
    {"done":0,"run":"…","result":{…},"crc":"…"}                    or "failed", with an "error"

Strategy: a line is appended by one write, so that a crash can only tear the last one, which is cut
off when the file is opened again. Results stay in the file: the index in memory is two offsets for
each input, 16 bytes. The first half of this module is pure.

Invariants: one process, and one batch in it, has the file at a time, and it is a regular file;
nothing but a torn last line is ever removed; a line that is damaged in any other way is named, and
the file left as it is. The file is not trusted: a checksum is no signature.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import sys
import threading
import weakref
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pydantic_core import to_jsonable_python

from acp_client_v0_1 import exceptions
from acp_client_v0_1._errors import REQUEST_IDS, rebuild_error
from acp_client_v0_1.exceptions import ApiException, ApiValueError, OpenApiException
from acp_client_v0_1.handles import errors
from acp_client_v0_1.handles.errors import (
    JournalDamaged,
    JournalError,
    JournalLocked,
    JournalMismatch,
)

__all__ = [
    "Entry",
    "Header",
    "Journal",
    "State",
    "decode_failure",
    "decode_line",
    "digest",
    "encode_failure",
    "encode_line",
    "scan_line",
]

State = Literal["starting", "started", "done", "failed"]
_STATES: tuple[State, ...] = get_args(State)

_VERSION = 1
_HEADER_START = b'{"acp-journal":'
_SUBJECT = re.compile(rb'\{"(starting|started|done|failed)":(\d{1,15})[,}]')
_CRC = re.compile(rb',"crc":"([0-9a-f]{8})"\}')
_CRC_LENGTH = len(b',"crc":"01234567"}')
_KEPT_HEADERS = frozenset(("content-type", "retry-after", *REQUEST_IDS))
_BLOCK = 256  # inputs; the index grows by blocks, so that a single large index costs one
_NO_PLACES = array("q", [-1]) * (2 * _BLOCK)
# What reading a value of an unexpected shape raises.
_UNEXPECTED = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


# The format ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Header:
    """The batch that a journal belongs to."""

    agent: str  # its id
    server: str  # origin and base path
    config: str  # the digest of the runs' config
    batch: str  # the mark in the metadata of all runs

    def record(self) -> dict[str, Any]:
        """Return the header's line, undecoded."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {"acp-journal": _VERSION, **fields}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Header:
        """Read a header's line; `ValueError` if it is none, or of a later version."""
        version = record.get("acp-journal")
        if version != _VERSION:
            raise ValueError(f"a journal of version {version!r:.20} cannot be read by this release")
        fields = {name: record.get(name) for name in cls.__slots__}
        if not all(isinstance(value, str) for value in fields.values()):
            raise ValueError("the header is incomplete")
        return cls(**cast("dict[str, str]", fields))


@dataclass(frozen=True, slots=True)
class Entry:
    """One input in a journal."""

    state: State
    input: str  # its digest
    token: str  # the client token of its create
    key: str
    run_id: str  # "" before it was started
    outcome: dict[str, Any] | OpenApiException | None  # None before it is done or has failed

    @classmethod
    def of(cls, first: Mapping[str, Any], last: Mapping[str, Any]) -> Entry:
        """Read an input's "starting" line and its last line; `ValueError` if they are no such."""
        state: State = next(name for name in reversed(_STATES) if name in last)
        run_id, known = last.get("run", ""), (first["input"], first["token"], first["key"])
        if not all(isinstance(text, str) for text in (run_id, *known)):
            raise ValueError("a text is missing")
        if state == "done" and not isinstance(last["result"], dict):
            raise ValueError("the result is no JSON object")
        if state == "failed":
            return cls(state, *known, run_id, decode_failure(last["error"]))
        result = cast("dict[str, Any] | None", last["result"] if state == "done" else None)
        return cls(state, *known, run_id, result)


def digest(value: object, name: str = "the value") -> str:
    """Return 32 hexadecimal digits that tell one JSON value from another.

    Args:
        value: A JSON value; models and dates count as what they are in JSON.
        name: What the error calls it.

    Raises:
        ApiValueError: It cannot be written as JSON.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=to_jsonable_python)
    except (TypeError, ValueError, RecursionError) as error:
        raise ApiValueError(f"{name} cannot be written as JSON: {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def encode_line(record: Mapping[str, Any]) -> bytes:
    """Write a record as one line, with its checksum; `ValueError`, `TypeError` if it is no JSON."""
    body = json.dumps(record, separators=(",", ":"), default=to_jsonable_python).encode()[:-1]
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def _check(line: bytes) -> None:
    """Raise `ValueError` if a line, without its end, is damaged."""
    ending = _CRC.fullmatch(line, len(line) - _CRC_LENGTH) if len(line) > _CRC_LENGTH else None
    if ending is None:
        raise ValueError("the line has no checksum")
    if int(ending[1], 16) != zlib.crc32(line[:-_CRC_LENGTH]):
        raise ValueError("the line does not fit its checksum")


def scan_line(line: bytes) -> tuple[State, int]:
    """Return the state and the index of a line, without parsing all of it."""
    _check(line)
    subject = _SUBJECT.match(line)
    if subject is None:
        raise ValueError("the line says nothing of an input")
    return cast(State, subject[1].decode()), int(subject[2])


def decode_line(line: bytes) -> dict[str, Any]:
    """Read all of a line."""
    _check(line)
    record: Any = json.loads(line)
    return cast("dict[str, Any]", record)


def encode_failure(error: OpenApiException) -> dict[str, Any]:
    """Write an error as JSON: its class, and its data as far as JSON has it."""

    def plain(value: Any) -> Any:
        try:
            return json.loads(json.dumps(value, default=dict))
        except (TypeError, ValueError):
            return None  # not worth losing the rest

    state = {name: plain(value) for name, value in vars(error).items()}
    if isinstance(headers := state.get("headers"), dict):  # others may be credentials
        known = cast("dict[str, Any]", headers)
        state["headers"] = {k: v for k, v in known.items() if k.lower() in _KEPT_HEADERS}
    words = plain(list(error.args)) or [str(error)]
    return {"class": type(error).__name__, "message": str(error), "args": words, "state": state}


def decode_failure(record: Mapping[str, Any]) -> OpenApiException:
    """Read an error; one of an unknown class becomes an `ApiException` with its message.

    Raises something of `_UNEXPECTED` if it is none that `encode_failure` writes.
    """
    name = record["class"]
    for module in (errors, exceptions):
        kind = getattr(module, name) if name in module.__all__ else None
        if isinstance(kind, type) and issubclass(kind, OpenApiException):
            error: OpenApiException = rebuild_error(kind, tuple(record["args"]), record["state"])
            str(error)  # which raises if it lacks something
            return error
    return ApiException(reason=record["message"])


# The file --------------------------------------------------------------------------------------

_open_files: weakref.WeakSet[Journal] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for journal in list(_open_files):
        journal.forget()


if hasattr(os, "register_at_fork"):
    # A forked worker would hold the lock for as long as it lives, even if its parent has ended.
    os.register_at_fork(after_in_child=_leave_to_parent)


class Journal:
    """An open journal; its writes are safe from any thread.

    Args:
        path: The file, which is made, for its owner only, if it does not exist.
        header: What it has to belong to; the batch's mark is that of the file, if it exists.
        durable: Have each line on the disk before going on (fsync), for the loss of power.

    Attributes:
        header: The header of the file.
        answered: Whether a line tells of a run, so that the server has answered an earlier call.
        written_at: When an earlier call wrote the last line, in seconds since the epoch; None if
            the file is new.

    Raises:
        JournalLocked: Another process, or another batch of this one, has the file.
        JournalDamaged: A line is damaged, and it is not just a torn last one.
        JournalMismatch: It is the journal of another agent, server or config.
        JournalError: The file cannot be opened, or is not a journal.
        OSError: The file cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header, durable: bool) -> None:
        self.path: Path = Path(path)
        self.header: Header = header
        self._durable = durable
        self._lock = threading.Lock()
        # By block, two offsets for each input: of its "starting" line, and of the last line since
        # then that says more; -1 for none.
        self._places: dict[int, array[int]] = {}
        self._fd = _open(path)
        self._closed = weakref.finalize(self, os.close, self._fd)
        try:
            status = os.fstat(self._fd)
            if not stat.S_ISREG(status.st_mode):
                raise JournalError(f"the journal {path} is not a regular file; choose another name")
            _lock_file(self._fd, self.path)
            self.answered = False
            self.written_at: float | None = status.st_mtime if status.st_size else None
            self._reader = self.path.open("rb")
            self._load()
        except BaseException:
            self.close()
            raise
        _open_files.add(self)

    def entry(self, index: int) -> Entry | None:
        """Return what the journal knows of the input at an index, None if it is not in it."""
        block, at = self._places.get(index // _BLOCK, _NO_PLACES), index % _BLOCK * 2
        place, latest = block[at : at + 2]
        if place < 0:
            return None
        with self._lock:
            try:
                first = last = self._record_at(place)
                if latest >= 0:
                    place = latest
                    last = self._record_at(place)
                return Entry.of(first, last)
            except _UNEXPECTED as error:
                raise self._damage(self._line_at(place), error) from error

    def starting(self, index: int, input_digest: str, token: str, key: str) -> None:
        """Note that a run is about to be created."""
        self._append({"starting": index, "input": input_digest, "token": token, "key": key})

    def started(self, index: int, run_id: str) -> None:
        """Note the run of an input."""
        self._append({"started": index, "run": run_id})

    def done(self, index: int, run_id: str, result: Mapping[str, Any]) -> None:
        """Note the result of an input."""
        self._append({"done": index, "run": run_id, "result": result})

    def failed(self, index: int, run_id: str, error: OpenApiException) -> None:
        """Note that there will be no result of an input."""
        self._append({"failed": index, "run": run_id, "error": encode_failure(error)})

    def close(self) -> None:
        """Close the file, and so let others have it."""
        _open_files.discard(self)
        if hasattr(self, "_reader"):
            self._reader.close()
        self._closed()

    def forget(self) -> None:
        """Close the file in a forked process, where its parent still has it."""
        self._closed()

    # Writing

    def _append(self, record: Mapping[str, Any]) -> None:
        line = encode_line(record)
        with self._lock:
            if not self._closed.alive:
                raise JournalError(f"the journal {self.path} is closed")
            self._write(line)

    def _write(self, line: bytes) -> None:
        written = os.write(self._fd, line)
        if written < len(line):
            # The disk is full; a piece of a line must not be followed by another line.
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise OSError(f"only {written} of {len(line)} bytes could be written to {self.path}")
        if self._durable:
            os.fsync(self._fd)

    # Reading

    def _load(self) -> None:
        """Read the file, cut a torn last line, and write the header of a new file."""
        if not _HEADER_START.startswith(self._reader.peek()[: len(_HEADER_START)]):
            raise JournalError(
                f"{self.path} is not a journal of a batch; choose another name for the journal"
            )
        offset = 0
        for number, line in enumerate(self._reader, start=1):
            whole = line.endswith(b"\n")
            try:
                if number == 1:
                    self._note_header(line)
                else:
                    self._note(*scan_line(line.rstrip(b"\n")), offset)
            except JournalError:
                raise
            except _UNEXPECTED as error:
                if whole:
                    raise self._damage(number, error) from error
                os.ftruncate(self._fd, offset)
                break
            offset += len(line)
            if not whole:
                self._write(b"\n")
                break
        if offset == 0:
            self._write(encode_line(self.header.record()))
            if self._durable:
                _sync_folder(self.path.parent)

    def _note_header(self, line: bytes) -> None:
        found = Header.of(decode_line(line.rstrip(b"\n")))
        wanted = self.header
        for name in ("agent", "server", "config"):
            ours, theirs = getattr(wanted, name), getattr(found, name)
            if ours != theirs:
                raise JournalMismatch(
                    f"the journal {self.path} is of the {name} {theirs}, not {ours}; "
                    "use another file for another batch"
                )
        self.header = found

    def _note(self, state: State, index: int, offset: int) -> None:
        """Take a line into the index."""
        block, at = self._places.get(index // _BLOCK), index % _BLOCK * 2
        if state == "starting":
            if block is None:
                block = self._places[index // _BLOCK] = _NO_PLACES[:]
            block[at], block[at + 1] = offset, -1
        elif block is None or block[at] < 0:
            raise ValueError(f"the input {index} was never about to start")
        else:
            block[at + 1] = offset
            self.answered = self.answered or state in ("started", "done")

    def _damage(self, number: int, error: Exception) -> JournalDamaged:
        words = error if type(error) is ValueError else "it is none that a batch writes"
        return JournalDamaged(
            f"line {number} of the journal {self.path} is damaged: {words}; the file was left as "
            "it is: repair the line, or choose another name to begin anew",
            line=number,
        )

    def _line_at(self, offset: int) -> int:
        """Return the number of the line that begins at an offset."""
        self._reader.seek(0)
        number = 1
        while self._reader.tell() < offset:
            self._reader.readline()
            number += 1
        return number

    def _record_at(self, offset: int) -> dict[str, Any]:
        self._reader.seek(offset)
        return decode_line(self._reader.readline().rstrip(b"\n"))


def _open(path: str | os.PathLike[str]) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_NONBLOCK", 0)  # a FIFO must not block
    try:
        return os.open(Path(path), flags, 0o600)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or error
        if isinstance(error, FileNotFoundError) and not (folder := Path(path).parent).is_dir():
            why = f"there is no folder {folder}"
        raise JournalError(f"the journal {os.fspath(path)!r} cannot be opened: {why}") from error


def _lock_file(fd: int, path: Path) -> None:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(fd, 1 << 40, os.SEEK_SET)  # a byte that is never written or read
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise JournalLocked(
            f"the journal {path} is in use by another batch, here or in another process"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Have a new file's name on the disk as well; not every system can."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
