"""The journal of a batch: a file with the runs that were started and their outcomes.

`_lines` has the format. Strategy: a line is appended by one write, so a crash can only tear the
last line. A torn last line is cut off when the file is opened again. Results stay in the file. The
index in memory has two offsets for each input, and takes some 26 bytes for it.

Invariants:

- The journal is a regular file.
- At most one batch has the journal open at a time. Batches of other processes count, too.
- Only a torn last line is ever removed. If there is any other damage, the error names the line, and
  the file is left as it is.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import sys
import threading
import time
import weakref
from array import array
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from acp_client_v0_1.batch import _lines
from acp_client_v0_1.batch._tasks import Task
from acp_client_v0_1.handles._timing import timing
from acp_client_v0_1.handles.errors import (
    JournalDamaged,
    JournalError,
    JournalLocked,
    JournalMismatch,
)

_VERSION = 1
_HEADER_START = b'{"acp-journal":'
# The offsets are kept in blocks, each for this many inputs. So a line with any index costs at most
# one block, of 400 bytes, however many indexes are skipped before it.
_BLOCK = 16
_NO_OFFSETS = array("q", bytes(16 * _BLOCK))
# `Journal.close` waits at most this many seconds for a write.
_LONGEST_WRITE = 2.0
# Reading a value of an unexpected shape raises one of these errors.
_UNEXPECTED = (AttributeError, LookupError, RecursionError, TypeError, ValueError)

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

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: _lines.Header,
        durable: bool,
        config_before: str = "",
    ) -> None:
        self.path: Path = Path(path)
        self.header: _lines.Header = header
        # The digest that an earlier release wrote for the same config.
        self._config_before = config_before
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

    def entry(self, index: int) -> _lines.Entry | None:
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
                return _lines.Entry.of(first, self._record_at(offset))
            except _UNEXPECTED as error:
                # The file may be large, so it is read line by line.
                self._reader.seek(0)
                number = 1
                while self._reader.tell() < offset:
                    self._reader.readline()
                    number += 1
                raise self._damage(number, error) from error

    def done_run(self) -> tuple[str, str]:
        """Return the id and the client token of a run that the journal has a result of."""
        entry = None if self._done < 0 else self.entry(self._done)
        return ("", "") if entry is None else (entry.run_id, entry.client_token)

    def starting(self, task: Task) -> None:
        """Record that the run of a task is about to be created, unless an earlier call did so."""
        if not task.started_before:
            named = {"input": task.digest, "token": task.client_token, "key": task.key}
            self._append({"starting": task.index, **named, "at": int(timing().calendar())})

    def started(self, task: Task) -> None:
        """Record the run of a task."""
        self._append({"started": task.index, "run": task.run_id})

    def ended(self, task: Task) -> None:
        """Record the outcome of a task, if the outcome is final.

        If the outcome is not final, write nothing. Then the next call with the journal continues
        with the task, because its run may still get a result, or a new create may succeed.
        """
        if record := _lines.final_record(task):
            self._append(record)

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
        line = _lines.encode_line(record)
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
            torn = not line.endswith(b"\n")
            if torn and not _lines.is_whole(line):
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
            if torn:
                # The line lacks its LF alone, and may name a run.
                os.write(self._fd, b"\n")
                break
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
        record = _lines.decode_line(line)
        if (version := record.get("acp-journal")) != _VERSION:
            raise JournalError(
                f"the journal {self.path} is of version {version!r:.20}, which this release "
                "cannot read: install a newer release, or use another file"
            )
        found = _lines.Header.of(record)
        for name in ("agent", "server", "config"):
            ours, theirs = getattr(self.header, name), getattr(found, name)
            if ours != theirs and (name != "config" or theirs != self._config_before):
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
        state, index = _lines.scan_line(line)
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
        return _lines.decode_line(self._reader.readline().rstrip(b"\n"))


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
