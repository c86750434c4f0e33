"""How far a batch is: its counts, and a bar that shows them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

__all__ = ["BatchCounts", "OnProgress", "Progress"]


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """How far a batch is.

    Attributes:
        total: How many inputs there are, None if that is not known.
        drawn: How many were taken from the inputs.
        in_flight: How many of these have no outcome yet.
        done: How many have a result, those of a journal included.
        failed: How many have an error instead.
        duplicates: How many runs were found that are one too many for their input.
    """

    total: int | None
    drawn: int
    in_flight: int
    done: int
    failed: int
    duplicates: int


OnProgress = Callable[[BatchCounts], object]


class Progress:
    """Tells the counts to a function, or shows them in a bar of tqdm's on standard error.

    Args:
        shown: The function, True for the bar, False or None for neither.

    Attributes:
        shown: Whether anybody is told.

    Raises:
        ApiValueError: tqdm is not installed; the message names the extra.
    """

    def __init__(self, shown: OnProgress | bool | None) -> None:
        self._told: tuple[BatchCounts, int] | None = None
        self._outage = 0  # seconds
        self._bar: Any = None
        if shown not in (None, True, False) and not callable(shown):
            raise ApiTypeError(
                f"progress must be True, for a bar, or a function of the counts, not {shown!r}"
            )
        if shown is True:
            try:
                from tqdm.auto import tqdm
            except ImportError as error:
                raise ApiValueError(
                    "progress=True needs the package tqdm: pip install 'acp-client-v0-1[cli]'"
                ) from error
            self._bar = tqdm(unit="run", file=sys.stderr)
            shown = self._draw
        self._tell = shown or None
        self.shown: bool = self._tell is not None

    def tell(self, counts: BatchCounts, outage: float = 0.0) -> None:
        """Tell the counts, if they have changed, and seconds for which the server has failed."""
        told = counts, int(outage)
        if self._tell is not None and told != self._told:
            self._told, self._outage = told, told[1]
            self._tell(counts)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()

    def _draw(self, counts: BatchCounts) -> None:
        self._bar.total = counts.total
        words: dict[str, object] = {"in flight": counts.in_flight, "failed": counts.failed}
        if counts.duplicates:
            words["duplicates"] = counts.duplicates
        if self._outage:
            words["server fails for"] = f"{self._outage} s"
        self._bar.set_postfix(words, refresh=False)
        self._bar.update(counts.done + counts.failed - self._bar.n)
