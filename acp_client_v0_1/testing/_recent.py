"""The last of what happened to the server, so that a server that runs for weeks stays small."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Recent"]

T = TypeVar("T")

# Each record takes about 2 KiB beside its content.
_MOST = 20_000
_MOST_BYTES = 64 * 1024 * 1024


class Recent(Generic[T]):
    """The newest records, oldest first, safe to use from any thread.

    They are at most 20,000, with at most 64 MiB of content; the newest is there whatever its size.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: deque[tuple[T, int]] = deque()
        self._bytes = 0

    def add(self, record: T, size: int) -> None:
        """Add a record with so many bytes of content."""
        with self._lock:
            self._records.append((record, size))
            self._bytes += size
            while len(self._records) > _MOST or (
                len(self._records) > 1 and self._bytes > _MOST_BYTES
            ):
                self._bytes -= self._records.popleft()[1]

    def all(self) -> tuple[T, ...]:
        with self._lock:
            return tuple(record for record, _ in self._records)

    def clear(self) -> None:
        with self._lock:
            self._records.clear()
            self._bytes = 0
