"""The progress of a batch: its counts, and a bar that shows them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
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


class Progress:
    """Passes the counts to a function. With True, it shows them in a tqdm bar on standard error."""

    def __init__(self, shown: OnProgress | bool | None) -> None:
        self._last: tuple[BatchCounts, int | None] | None = None
        self._bar: Any = None
        self._function = shown if callable(shown) else None
        if shown is True:
            tqdm = imported("tqdm.auto", "a progress bar", "cli").tqdm
            # Without `miniters`, tqdm would draw the bar again only when another run has ended. So
            # the seconds of an outage would not be seen.
            # With `delay`, the first drawing is the one below.
            if not getattr(sys.stderr, "closed", sys.stderr is None):
                self._bar = tqdm(unit="run", miniters=0, delay=1e-9)
                self._draw(self._bar.refresh)
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
        if self._bar is None:
            return
        self._bar.total = counts.total
        words: dict[str, object] = {"in flight": counts.in_flight, "failed": counts.failed}
        if counts.duplicates:
            words["duplicates"] = counts.duplicates
        if outage >= 1:
            words["server fails for"] = f"{int(outage)} s"
        self._bar.set_postfix(words, refresh=False)
        self._draw(self._bar.update, counts.done + counts.failed - self._bar.n)

    def _draw(self, draw: Callable[..., object], *args: int) -> None:
        """Draw the bar. If stderr cannot be written, show no bar from now on.

        Stderr may be closed, on a full disk, or without a reader. That must not end a batch.
        """
        try:
            draw(*args)
        except BaseException as error:
            # If a drawing fails, tqdm keeps its lock. Then no other thread could show a bar.
            with suppress(AssertionError, RuntimeError):
                self._bar.get_lock().release()
            if not isinstance(error, (OSError, ValueError)):
                raise
            self._bar.disable, self._bar = True, None

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._draw(self._bar.close)
