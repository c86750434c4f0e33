"""The journal of a batch: a file with the runs that were started and their outcomes.

Format: JSON Lines. The first line is the header. Each other line states one fact about one input,
and names the input by its index. Every line ends in a checksum: the CRC-32 of the bytes before it::

    {"acp-journal":1,"agent":"…","server":"…","config":"…","batch":"…","fields":{…},"crc":"…"}
    {"starting":0,"input":"…","token":"…","key":"0","crc":"…"}    before the create is posted
    {"started":0,"run":"…","crc":"…"}
    {"done":0,"run":"…","result":{…},"crc":"…"}
    {"failed":0,"run":"…","error":{…},"crc":"…"}                   instead of "done"

Strategy: a line is appended by one write, so a crash can only tear the last line. A torn last line
is cut off when the file is opened again. Results stay in the file. The index in memory has two
offsets for each input, and takes some 26 bytes for it. The first half of this module, up to "The
file", does no I/O.

Invariants:

- The journal is a regular file.
- At most one batch has the journal open at a time. Batches of other processes count, too.
- Only a torn last line is ever removed. If there is any other damage, the error names the line, and
  the file is left as it is.
- The content of the file is not trusted, because a checksum is not a signature.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import stat
import sys
import threading
import time
import weakref
import zlib
from array import array
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from acp_client_v0_1 import exceptions
from acp_client_v0_1._errors import rebuild_error
from acp_client_v0_1.batch._tasks import Task, kept_headers
from acp_client_v0_1.exceptions import ApiException, OpenApiException
from acp_client_v0_1.handles import errors
from acp_client_v0_1.handles.errors import (
    JournalDamaged,
    JournalError,
    JournalLocked,
    JournalMismatch,
    RunFailed,
    RunGone,
)

State = Literal["starting", "started", "done", "failed"]
_STATES: tuple[State, ...] = get_args(State)

_VERSION = 1
_HEADER_START = b'{"acp-journal":'
_SUBJECT = re.compile(rb'\{"(starting|started|done|failed)":(\d{1,15})[,}]')
_CRC = re.compile(rb',"crc":"([0-9a-f]{8})"\}')
_CRC_LENGTH = len(b',"crc":"01234567"}')
# The offsets are kept in blocks, each for this many inputs. So a line with any index costs at most
# one block, of 400 bytes, however many indexes are skipped before it.
_BLOCK = 16
_NO_OFFSETS = array("q", bytes(16 * _BLOCK))
# `Journal.close` waits at most this many seconds for a write.
_LONGEST_WRITE = 2.0
# Reading a value of an unexpected shape raises one of these errors.
_UNEXPECTED = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


# The format ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Header:
    """The batch that a journal belongs to."""

    # The id of the agent.
    agent: str
    # The origin and base path of the server.
    server: str
    # The digest of the config that all runs have.
    config: str
    # The mark in the metadata of all runs.
    batch: str
    # The digest of each field of the config. None in a journal of an earlier release.
    fields: dict[str, str] | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Header:
        """Make a header from its record. Raise `ValueError` if the record is incomplete."""
        known: Any = {name: record.get(name) for name in cls.__slots__}
        if not all(isinstance(known[name], str) for name in ("agent", "server", "config", "batch")):
            raise ValueError("the header is incomplete")
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Entry:
    """The last state of one input in a journal."""

    state: State
    # The digest of the input. The input itself is not kept.
    input: str
    # The client token of the create.
    client_token: str
    key: str
    # The id of the run. It is empty while the state is "starting", and in a "failed" line if the
    # create failed.
    run_id: str
    # The outcome, or None before the state is "done" or "failed".
    outcome: dict[str, Any] | OpenApiException | None

    @classmethod
    def of(cls, first: Mapping[str, Any], last: Mapping[str, Any]) -> Entry:
        """Make an entry from the records of an input's "starting" line and of its last line."""
        state: State = next(name for name in reversed(_STATES) if name in last)
        texts = first["input"], first["token"], first["key"], last.get("run", "")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a text is missing")
        if state == "failed":
            return cls(state, *texts, decode_failure(last["error"]))
        if state == "done" and not isinstance(last["result"], dict):
            raise ValueError("the result is not a JSON object")
        result = cast("dict[str, Any] | None", last["result"] if state == "done" else None)
        return cls(state, *texts, result)


def encode_line(record: Mapping[str, Any]) -> bytes:
    """Encode a record as one line with its checksum."""
    body = json.dumps(record, separators=(",", ":")).encode()[:-1]
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def _check(line: bytes) -> None:
    """Raise `ValueError` if a line is damaged. ``line`` does not have its LF."""
    ending = _CRC.fullmatch(line, len(line) - _CRC_LENGTH)
    if ending is None:
        crlf = line.endswith(b"\r")
        raise ValueError("it ends in CRLF, not in LF" if crlf else "the line has no checksum")
    if int(ending[1], 16) != zlib.crc32(line[:-_CRC_LENGTH]):
        raise ValueError("the line does not match its checksum")


def scan_line(line: bytes) -> tuple[State, int]:
    """Return the state and the index of the input that a line names, without parsing its JSON.

    ``line`` does not have its LF. Raise `ValueError` if the line is damaged.
    """
    _check(line)
    subject = _SUBJECT.match(line)
    if subject is None:
        raise ValueError("the line is not about an input")
    return cast(State, subject[1].decode()), int(subject[2])


def decode_line(line: bytes) -> dict[str, Any]:
    """Return the record of a line. Raise `ValueError` if the line is damaged.

    ``line`` does not have its LF.
    """
    _check(line)
    return cast("dict[str, Any]", json.loads(line))


def encode_failure(error: OpenApiException) -> dict[str, Any]:
    """Return an error as JSON: its class, and the attributes that JSON can represent."""

    def plain(value: Any) -> Any:
        try:
            return json.loads(json.dumps(value, default=dict))
        except (TypeError, ValueError):
            # An attribute that JSON cannot represent becomes None. The other attributes are kept.
            return None

    state = {name: plain(value) for name, value in vars(error).items()}
    if isinstance(headers := state.get("headers"), dict):
        state["headers"] = kept_headers(cast("dict[str, str]", headers))
    words = plain(list(error.args)) or [str(error)]
    return {"class": type(error).__name__, "message": str(error), "args": words, "state": state}


def decode_failure(record: Mapping[str, Any]) -> OpenApiException:
    """Make an error from its JSON. If its class is unknown, make an `ApiException`."""
    name = record["class"]
    for module in (errors, exceptions):
        kind = getattr(module, name) if name in module.__all__ else None
        if isinstance(kind, type) and issubclass(kind, OpenApiException):
            error: OpenApiException = rebuild_error(kind, tuple(record["args"]), record["state"])
            # If an attribute is missing, str() raises an error here, and not later in the caller.
            str(error)
            return error
    return ApiException(reason=record["message"])


# If a create got one of these statuses, a create with the same input would probably get it again. A
# 409 may depend on the state of the server. Nevertheless it is final, so that each call with the
# journal has the same outcome. ``retry_failed=True`` sends the create again.
_REFUSALS = frozenset((400, 404, 409, 413, 415, 422))


def _is_final(error: OpenApiException, run_id: str) -> bool:
    """Return whether an error is the final outcome of an input.

    - With a run, the error is final if the run will never get a result.
    - Without a run, the error is final if a new create would probably be refused again.
    """
    if run_id:
        return isinstance(error, (RunFailed, RunGone))
    return not isinstance(error, ApiException) or error.status in _REFUSALS


# The file --------------------------------------------------------------------------------------

_open_files: weakref.WeakSet[Journal] = weakref.WeakSet()


def _leave_to_parent() -> None:
    """In a forked process, close the journals that its parent has open."""
    for journal in list(_open_files):
        journal.release()


if hasattr(os, "register_at_fork"):
    # A forked process shares the locks of its parent's files. Without this, a forked worker would
    # keep the journal locked as long as it lives, even if its parent has ended.
    os.register_at_fork(after_in_child=_leave_to_parent)


class Journal:
    """An open journal. Any thread may write to it.

    A file that does not exist is created with mode 0600 and the ``header``. A file that exists must
    have the agent, server and config of the ``header``. With ``durable``, each line survives a loss
    of power (fsync).

    Raises:
        JournalLocked: Another batch, in this process or another, has the file open.
        JournalDamaged: A line is damaged. A torn last line is not damage.
        JournalMismatch: The file belongs to another agent, server or config.
        JournalError: The file cannot be opened, or is not a journal.
        OSError: The file cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header, durable: bool) -> None:
        self.path: Path = Path(path)
        self.header: Header = header
        self._durable = durable
        self._lock = threading.Lock()
        # A block has two offsets for each input: the offset of its "starting" line, and the offset
        # of its last line after the "starting" line. The header is at offset 0, so an offset of 0
        # means that there is no such line.
        self._offsets: dict[int, array[int]] = {}
        self._fd = _open(path)
        self.release = weakref.finalize(self, os.close, self._fd)
        try:
            status = os.fstat(self._fd)
            if not stat.S_ISREG(status.st_mode):
                raise JournalError(f"the journal {path} is not a regular file; choose another name")
            _lock_file(self._fd, self.path)
            # True if the server has responded to an earlier call. Each line after a "starting" line
            # shows this.
            self.responded = False
            # The input of the last "done" line, or -1.
            self._done = -1
            # The age of the last line, in seconds, when the file was opened. Infinity if the file
            # is new. A `RunDriver` adds the seconds since then, by the monotonic clock.
            # If the time of the file is in the future (a file server has another clock, or a clock
            # was set back), it counts as now.
            age = time.time() - status.st_mtime if status.st_size else math.inf
            self.written_ago = max(0.0, age)
            self._reader = self.path.open("rb")
            self._load()
        except BaseException:
            self.close()
            raise
        _open_files.add(self)

    def entry(self, index: int) -> Entry | None:
        """Return the entry of an input. Return None if the journal has no line about the input."""
        block, at = self._offsets.get(index // _BLOCK, _NO_OFFSETS), index % _BLOCK * 2
        offset, latest = block[at : at + 2]
        if not offset:
            return None
        with self._lock:
            try:
                first = self._record_at(offset)
                # Without a later line, the "starting" line is also the last one.
                offset = latest or offset
                return Entry.of(first, self._record_at(offset))
            except _UNEXPECTED as error:
                # The file may be large, so it is read line by line.
                self._reader.seek(0)
                number = 1
                while self._reader.tell() < offset:
                    self._reader.readline()
                    number += 1
                raise self._damage(number, error) from error

    def done_run(self) -> str:
        """Return the id of a run whose result the journal had when it was opened, or ""."""
        entry = None if self._done < 0 else self.entry(self._done)
        return "" if entry is None else entry.run_id

    def starting(self, task: Task) -> None:
        """Record that the run of a task is about to be created, unless an earlier call did so."""
        if not task.started_before:
            named = {"input": task.digest, "token": task.client_token, "key": task.key}
            self._append({"starting": task.index, **named})

    def started(self, task: Task) -> None:
        """Record the run of a task."""
        self._append({"started": task.index, "run": task.run_id})

    def ended(self, task: Task) -> None:
        """Record the outcome of a task, if the outcome is final.

        If the outcome is not final, write nothing. Then the next call with the journal continues
        with the task, because its run may still get a result, or a new create may succeed.
        """
        outcome, run_id = task.outcome, task.run_id
        if isinstance(outcome, dict):
            self._append({"done": task.index, "run": run_id, "result": outcome})
        elif isinstance(outcome, OpenApiException) and (task.final or _is_final(outcome, run_id)):
            self._append({"failed": task.index, "run": run_id, "error": encode_failure(outcome)})

    def close(self) -> None:
        """Close the file, which releases its lock."""
        if hasattr(self, "_reader"):
            self._reader.close()
        # A thread that the batch has left behind may be writing a line. If the file was closed
        # meanwhile, the line could go into another file that has got the same descriptor. If the
        # write does not end, the file is closed when nothing references the journal any more. The
        # thread that writes may also be this one: a garbage collection or a signal handler may call
        # `close` in the middle of a write.
        if self._lock.acquire(timeout=_LONGEST_WRITE):
            _open_files.discard(self)
            self.release()
            self._lock.release()

    # Writing

    def _append(self, record: Mapping[str, Any]) -> None:
        line = encode_line(record)
        with self._lock:
            if not self.release.alive:
                raise JournalError(f"the journal {self.path} is closed")
            if (written := os.write(self._fd, line)) < len(line):
                # The disk is full. The part that was written is removed, because no line may follow
                # a part of a line.
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
                words = f"only {written} of {len(line)} bytes could be written to {self.path}"
                raise OSError(words)
            if self._durable:
                os.fsync(self._fd)

    # Reading

    def _load(self) -> None:
        """Index the lines, cut off a torn last line, and write the header of a new file."""
        offset = start = self._check_start()
        for number, line in enumerate(self._reader, start=1):
            if not line.endswith(b"\n"):
                os.ftruncate(self._fd, offset)
                break
            try:
                if number == 1:
                    self._take_header(line.rstrip(b"\n"))
                else:
                    self._index(line.rstrip(b"\n"), offset)
            except JournalError:
                raise
            except _UNEXPECTED as error:
                raise self._damage(number, error) from error
            offset += len(line)
        if offset == start:
            self._append({"acp-journal": _VERSION, **asdict(self.header)})
            if self._durable:
                _sync_folder(self.path.parent)

    def _check_start(self) -> int:
        """Set the reader to the first line, and return the offset of that line.

        Raise `JournalError` if the file cannot be read, or does not begin as a journal does.
        """
        try:
            # An editor may have written a byte order mark.
            offset = len(BOM_UTF8) * self._reader.peek().startswith(BOM_UTF8)
            self._reader.seek(offset)
            start = self._reader.peek()[: len(_HEADER_START)]
        except OSError as error:
            # Linux opens /proc/self/mem as a regular file.
            why = f"cannot be read: {error.strerror}; choose another name"
            raise JournalError(f"the journal {self.path} {why}") from error
        if not _HEADER_START.startswith(start):
            raise JournalError(
                f"{self.path} is not a journal of a batch; choose another name for the journal"
            )
        return offset

    def _take_header(self, line: bytes) -> None:
        record = decode_line(line)
        if (version := record.get("acp-journal")) != _VERSION:
            raise JournalError(
                f"the journal {self.path} is of version {version!r:.20}, which this release "
                "cannot read: install a newer release, or use another file"
            )
        found = Header.of(record)
        for name in ("agent", "server", "config"):
            ours, theirs = getattr(self.header, name), getattr(found, name)
            if ours != theirs:
                of = f"the {name} {theirs}, not {ours}"
                if name == "config":
                    # The file has digests, which would tell nobody anything.
                    of = "another config"
                    if self.header.fields is not None and found.fields is not None:
                        changed = sorted(dict(self.header.fields.items() ^ found.fields.items()))
                        of += f", which differs in {', '.join(changed) or 'being empty':.60}"
                raise JournalMismatch(
                    f"the journal {self.path} is of {of}; use another file for another batch"
                )
        self.header = found

    def _index(self, line: bytes, offset: int) -> None:
        state, index = scan_line(line)
        block, at = self._offsets.get(index // _BLOCK), index % _BLOCK * 2
        if state == "starting":
            if block is None:
                block = self._offsets[index // _BLOCK] = _NO_OFFSETS[:]
            block[at], block[at + 1] = offset, 0
        elif block is None or not block[at]:
            raise ValueError(f"input {index} has no line that starts it")
        else:
            block[at + 1] = offset
            self._done = index if state == "done" else self._done
            self.responded = True

    def _damage(self, number: int, error: Exception) -> JournalDamaged:
        words = error if type(error) is ValueError else "no batch writes such a line"
        return JournalDamaged(
            f"line {number} of the journal {self.path} is damaged: {words}; the file was left as "
            "it is: repair the line, or use another file to start again",
            line=number,
        )

    def _record_at(self, offset: int) -> dict[str, Any]:
        self._reader.seek(offset)
        return decode_line(self._reader.readline().rstrip(b"\n"))


def _open(path: str | os.PathLike[str]) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    # Without this flag, opening a FIFO blocks on some systems.
    flags |= getattr(os, "O_NONBLOCK", 0)
    try:
        return os.open(Path(path), flags, 0o600)
    except (OSError, ValueError) as error:
        # A NUL in the path raises ValueError.
        why = getattr(error, "strerror", None) or error
        if isinstance(error, FileNotFoundError) and not (folder := Path(path).parent).is_dir():
            why = f"there is no folder {folder}"
        raise JournalError(f"the journal {os.fspath(path)!r} cannot be opened: {why}") from error


def _lock_file(fd: int, path: Path) -> None:
    try:
        if sys.platform == "win32":
            import msvcrt

            # The lock covers one byte far behind the end of the file. Nobody reads or writes there.
            os.lseek(fd, 1 << 40, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise JournalLocked(
            f"the journal {path} is in use by another batch: close() it, or let it end elsewhere"
        ) from error
    except OSError as error:
        # Some network file systems have no locks.
        raise JournalError(f"the journal {path} cannot be locked: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    """Flush the name of a new file to the disk, if the system can do that."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
