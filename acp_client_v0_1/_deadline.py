"""Timeouts and deadlines, in seconds, on the monotonic clock.

Strategy: a user's timeout (a number, a pair, None) becomes a `Timeout`, a set of durations. When
the call starts, the total becomes one `Deadline`, a point in time that bounds every attempt,
backoff, read and event of the call. A single wait (connect, read) has a timeout of its own, which
``deadline.bound(limit)`` shortens to the time that remains.

Invariants: a deadline never moves. None means no limit. No wait outlasts the deadline.
"""

from __future__ import annotations

import functools
import math
import time
from typing import Any, NamedTuple, TypeAlias

from acp_client_v0_1._arguments import is_number, seconds_of
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

RequestTimeout: TypeAlias = float | tuple[float | None, float | None] | None
"""Seconds: a total for the whole call, or a pair (connect, read) for each attempt. None in a pair
means no limit. None alone means no limit in a setting, and the configured default in a call."""

# Longer waits do not fit into the milliseconds of poll(), so they count as no limit.
_LONGEST = 2_000_000.0

_FORMS = "a number of seconds, a pair (connect, read), or None"


class NothingYet(Exception):
    """Nothing arrived within the time that the caller wanted to wait.

    The call has not failed, and the caller may read again. So this exception is not one of the
    package's errors.
    """


class Timeout(NamedTuple):
    """The timeouts of one call, in seconds. None means no limit."""

    # The total covers the whole call: its attempts, its backoff and the body or stream.
    total: float | None = None
    # Each attempt may take this long to connect.
    connect: float | None = None
    # The server may be silent for this long. From the first byte of a response to the end of its
    # final head, this is also the most time in total, even if informational responses (1xx) arrive.
    read: float | None = None
    # The server may hold a long poll for this long. None means that the call is no long poll. If a
    # long poll is cut off while the server holds it, it is not retried.
    window: float | None = None

    @classmethod
    def of(cls, value: Any, name: str = "_request_timeout") -> Timeout:
        """Parse a total, a pair (connect, read) or None. Errors call the value ``name``."""
        given: object = value
        pair = isinstance(given, (tuple, list))
        limits: tuple[Any, ...] = tuple(value) if pair else (value,)
        for limit in limits:
            if limit is not None and not is_number(limit):
                raise ApiTypeError(f"{name} must be {_FORMS}, not {value!r:.60}")
        return _parsed(limits if pair else value, name)


class Deadline(NamedTuple):
    """The point in time at which a call has to be done."""

    # The time of the monotonic clock, in seconds. None means that there is no deadline.
    at: float | None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """Return the deadline that is ``seconds`` from now. None means no deadline."""
        return _NEVER if seconds is None else cls(time.monotonic() + seconds)

    @property
    def expired(self) -> bool:
        return self.at is not None and time.monotonic() >= self.at

    def remaining(self) -> float:
        """Return the seconds that remain, from 0 to infinity."""
        return math.inf if self.at is None else max(0.0, self.at - time.monotonic())

    def bound(self, limit: float | None = None) -> float | None:
        """Return the smaller of ``limit`` and the seconds that remain. None means no limit."""
        if self.at is None:
            return limit
        remaining = max(0.0, self.at - time.monotonic())
        return remaining if limit is None or remaining < limit else limit

    def earlier(self, seconds: float | None) -> Deadline:
        """Return the earlier of this deadline and the time that is ``seconds`` from now."""
        return Deadline.after(self.bound(seconds))


# Most calls have no deadline, and one that nobody can change is enough for them.
_NEVER = Deadline(None)


def resolve_timeout(
    request_timeout: object,
    default: Any,
    *,
    total: float | None = None,
    block_window: float | None = None,
    margin: float = 0,
) -> Timeout:
    """Return the timeouts of a call.

    * If ``request_timeout`` is None, the configured ``default`` is used. If the default is a pair,
      ``total`` limits the whole call. For a long poll, the default is extended to at least
      ``block_window`` plus ``margin``.
    * Otherwise ``request_timeout`` is used. For a long poll, a timeout that is not longer than
      ``block_window`` raises `ApiValueError`.

    ``block_window`` is the time for which the server may hold a long poll, or None for other calls.
    """
    if request_timeout is None:
        return _configured(default, total, block_window, margin)
    timeout = Timeout.of(request_timeout)
    if block_window is None:
        return timeout
    for limit in (timeout.total, timeout.read):
        if limit is not None and limit <= block_window:
            raise ApiValueError(
                f"_request_timeout={request_timeout!r} is too short for "
                f"block_timeout={block_window:g}: the server may take that long to respond"
            )
    return timeout._replace(window=block_window)


@functools.lru_cache(maxsize=64)
def _parsed(value: float | tuple[float | None, ...] | None, name: str) -> Timeout:
    if isinstance(value, tuple):
        if len(value) != 2:
            raise ApiValueError(f"{name} must be {_FORMS}, not {len(value)} values")
        return Timeout(connect=_seconds(value[0], name), read=_seconds(value[1], name))
    return Timeout(total=_seconds(value, name))


# The settings rarely change, and each call needs its timeouts.
@functools.lru_cache(maxsize=64)
def _configured(
    default: RequestTimeout, total: float | None, block_window: float | None, margin: float
) -> Timeout:
    timeout = Timeout.of(default, "Configuration.timeout")
    total = total if isinstance(default, tuple) else timeout.total
    enough = 0.0 if block_window is None else block_window + margin

    def longer(limit: float | None) -> float | None:
        return None if limit is None or enough > _LONGEST else max(limit, enough)

    return Timeout(longer(total), timeout.connect, longer(timeout.read), block_window)


def _seconds(value: float | None, name: str) -> float | None:
    if value is None:
        return None
    seconds = seconds_of(value, name)
    # NaN is refused as well, because no comparison with it is true.
    if not seconds > 0:
        raise ApiValueError(f"{name} must be above 0 seconds, not {value!r}")
    return None if seconds > _LONGEST else seconds
