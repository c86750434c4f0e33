"""The progress of a batch: its counts, and a bar that shows them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from acp_client_v0_1._arguments import imported


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """The progress of a batch.

    Attributes:
        total: The number of inputs, or None if it is not known.
        drawn: The number of inputs drawn so far.
        in_flight: The number of drawn inputs that are not counted as done or failed yet.
        done: The number of inputs with a result, including results from a journal.
        failed: The number of inputs with an error, including errors from a journal.
        duplicates: The number of runs found beyond the first run of each input.
    """

    total: int | None
    drawn: int
    in_flight: int
    done: int
    failed: int
    duplicates: int


OnProgress = Callable[[BatchCounts], object]


class _Stderr:
    """Standard error for a bar. What cannot be written is dropped.

    Stderr may be None, closed, on a full disk, or without a reader. That must not end a batch.
    """

    # Whether tqdm has begun a bar here.
    begun = False

    def write(self, text: str) -> None:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()

    def flush(self) -> None:
        """Do nothing, because `write` has done it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def __eq__(self, other: object) -> bool:
        # If the file of a bar is stderr, tqdm takes the bar off the terminal for other lines. But
        # before it begins the bar, it would flush stderr itself.
        return self.begun and other is sys.stderr


class Progress:
    """Passes the counts to a function. With True, it shows them in a tqdm bar on standard error."""

    def __init__(self, shown: OnProgress | bool | None) -> None:
        self._last: tuple[BatchCounts, int | None] | None = None
        self._bar: Any = None
        self._function = shown if callable(shown) else None
        if shown is True:
            tqdm = imported("tqdm.auto", "progress=True", "cli").tqdm
            # Without `miniters`, tqdm would draw the bar again only when another run has ended. So
            # the seconds of an outage would not be seen.
            stderr = _Stderr()
            self._bar = tqdm(unit="run", miniters=0, file=stderr)
            stderr.begun = True
        self.shown: bool = shown is True or self._function is not None

    def tell(self, counts: BatchCounts, outage: float) -> None:
        """Show the progress, if there is anything new.

        - A function is called if the counts have changed since the last call.
        - A bar is drawn again if the counts or the whole seconds of the outage have changed.

        ``outage`` is the time since the server began to fail, in seconds, or 0 if the server works.
        """
        last, self._last = self._last, (counts, None if self._function else int(outage))
        if last == self._last:
            return
        if self._function is not None:
            self._function(counts)
            return
        self._bar.total = counts.total
        words: dict[str, object] = {"in flight": counts.in_flight, "failed": counts.failed}
        if counts.duplicates:
            words["duplicates"] = counts.duplicates
        if outage >= 1:
            words["server fails for"] = f"{int(outage)} s"
        self._bar.set_postfix(words, refresh=False)
        self._bar.update(counts.done + counts.failed - self._bar.n)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
