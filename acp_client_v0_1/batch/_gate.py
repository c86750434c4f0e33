"""The one gate that all requests of a batch pass: closed while the server asks for a pause."""

from __future__ import annotations

import threading
import time

from acp_client_v0_1._http.retry import RETRY_AFTER_MAX, retry_after
from acp_client_v0_1.exceptions import ApiException

__all__ = ["Gate", "Stopped"]

_PAUSE = 0.25  # seconds after a 429 that names none


class Stopped(Exception):
    """The batch has ended, and its tasks are left as they are."""


class Gate:
    """Lets all requests of a batch wait where the server asks one of them to.

    Args:
        stop: Set when the batch ends.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._opens_at = 0.0

    def wait(self) -> None:
        """Wait until it is open.

        Raises:
            Stopped: The batch has ended.
        """
        while (left := self._opens_at - time.monotonic()) > 0:
            if self._stop.wait(left):
                break
        if self._stop.is_set():
            raise Stopped

    def heed(self, error: ApiException) -> None:
        """Close it for as long as a response asks, if it does."""
        asked = retry_after(error.headers or {})
        if asked is not None or error.status == 429:
            self.close_for(_PAUSE if asked is None else asked)

    def close_for(self, seconds: float) -> None:
        """Close it for some seconds, or let it be closed for longer."""
        self._opens_at = max(self._opens_at, time.monotonic() + min(seconds, RETRY_AFTER_MAX))
