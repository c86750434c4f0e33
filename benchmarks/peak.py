"""The peak of a process's memory, and by how much some work lets it grow."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["growth_mib"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def growth_mib(job: Callable[[], object]) -> float:
    """Do work; by how many MiB the peak of the resident set grew beyond what it was before.

    Linux can forget the peak so far (proc(5), clear_refs); elsewhere work that stays below an
    earlier peak counts as nothing.
    """
    if _CLEAR.exists():
        _CLEAR.write_text("5")
    before = _peak()
    job()
    return (_peak() - before) / (1024 * 1024)


def _peak() -> int:
    if _STATUS.exists():
        line = next(one for one in _STATUS.read_text().splitlines() if one.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
