"""What strikes at any moment, as a signal's handler may: at the n-th line or opcode of files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import acp_client_v0_1


def files_of(*paths: str) -> list[str]:
    """The files of the package at some paths, such as ``batch/*``."""
    package = Path(acp_client_v0_1.__file__).parent
    found = [path for each in paths for path in package.glob(f"{each}.py")]
    return [str(path) for path in found]


class Interrupt(BaseException):
    """As a signal's handler may raise it."""


def interrupt() -> None:
    raise Interrupt


class Moment:
    """Calls a function once, at the n-th line or opcode of some files within the ``with``."""

    def __init__(
        self, number: int, files: Sequence[str | None], strike: Callable[[], object] = interrupt
    ) -> None:
        self._number, self._files, self._strike = number, files, strike
        self.steps, self.struck = 0, False

    def __enter__(self) -> Moment:
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _enter(self, frame: Any, event: str, argument: object) -> Any:
        if frame.f_code.co_filename not in self._files:
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: Any, event: str, argument: object) -> Any:
        self.steps += event in ("line", "opcode")
        if self.steps == self._number and not self.struck:
            sys.settrace(None)
            self.struck = True
            self._strike()
        return self._step
