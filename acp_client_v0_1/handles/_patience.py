"""How long to go on asking a server that fails, and with which pauses.

Strategy: each wait has one `Patience`. It raises a failure that asking again cannot mend, and
pauses after any other: longer each time, and at least for ``Retry-After``.

Invariants: no pause passes the deadline; without one, five minutes of failures alone end the wait.
"""

from __future__ import annotations

import random
import threading
import time

from acp_client_v0_1._deadline import Deadline
from acp_client_v0_1._http.retry import Outage, backoff, is_passing, is_unsent, retry_after
from acp_client_v0_1.exceptions import ApiException, ApiTypeError, ApiValueError

__all__ = ["Patience", "backoff", "checked_seconds", "is_passing", "is_unsent"]

_FIRST_PAUSE = 0.25  # seconds at most; doubles with each failure in a row
_LONGEST_PAUSE = 4.0  # seconds, unless the server asks for more
_LOOK = 10.0  # seconds that one quick request may take


def checked_seconds(timeout: float | None) -> float | None:
    """Return the ``timeout`` of a caller if it is None, or a number of seconds from 0."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise ApiTypeError(f"timeout must be a number of seconds or None, not {timeout!r}")
    if not timeout >= 0:  # also true for NaN
        raise ApiValueError(f"timeout must be at least 0 seconds, not {timeout!r}")
    return timeout


class Patience:
    """The pauses of one wait, all of which take ``timeout`` seconds at most; ``stop`` ends one."""

    def __init__(self, timeout: float | None, stop: threading.Event | None = None) -> None:
        self.started: float = time.monotonic()
        self.deadline: Deadline = Deadline.after(timeout)
        self._stop = stop
        self._outage = Outage(self.deadline)
        self._failures = 0  # in a row

    @classmethod
    def of(cls, timeout: float | None, stop: threading.Event | None = None) -> Patience:
        """Return the patience for a user's timeout; 0 is one look, of at most 10 seconds."""
        return cls(_LOOK if timeout == 0 else timeout, stop)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def limit(self, longest: float = _LOOK) -> float:
        """Seconds that the next quick request may take, above 0."""
        return max(0.001, min(longest, self.deadline.remaining()))

    def succeeded(self) -> None:
        """Note that a request succeeded."""
        self._outage.end()
        self._failures = 0

    def survive(self, error: ApiException, *, passing: bool = False) -> bool:
        """Pause after a failure; return False if the deadline is over, or the wait was stopped.

        The failure is raised if asking again cannot mend it, unless it is known to be ``passing``,
        and if failures alone have gone on for too long.
        """
        self._outage.note(error, passing=passing)
        self.pause(self.pause_after(error))
        return not self.over

    @property
    def over(self) -> bool:
        """Whether the deadline is over, or the wait was stopped."""
        return self.deadline.expired or (self._stop is not None and self._stop.is_set())

    def pause_after(self, error: ApiException) -> float:
        """Return the seconds to pause after one more failure, as `survive` does."""
        longest = backoff(self._failures, _FIRST_PAUSE, _LONGEST_PAUSE)
        self._failures += 1
        return max(longest * (0.5 + random.random() / 2), retry_after(error.headers) or 0.0)

    def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the deadline, and not once it is stopped."""
        self.deadline.sleep(seconds, self._stop)
