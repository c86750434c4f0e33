"""What a piece of work takes, counted: memory, and calls of functions."""

from __future__ import annotations

import gc
import sys
import tracemalloc


class Memory:
    """Measures a ``with`` block in bytes: what it has kept, and the most that it held at once."""

    kept = peak = 0

    def __enter__(self) -> Memory:
        tracemalloc.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kept, self.peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()


class Calls:
    """Counts the calls, of Python and of C functions, that a ``with`` block takes.

    It pauses the collection of garbage, which may call finalizers at any moment.
    """

    count = 0

    def __enter__(self) -> Calls:
        self._before, self._collects = sys.getprofile(), gc.isenabled()
        gc.disable()
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(self._before)
        if self._collects:
            gc.enable()

    def _profile(self, frame: object, event: str, argument: object) -> None:
        self.count += event in ("call", "c_call")
