"""Whether to send a request again, and when.

Strategy: a policy is made once of ``Configuration.retries``; each call keeps its own `Attempts`,
which says after each failure how long to wait, or that it was the last. Waits grow exponentially
with full jitter: a random part of the whole wait, so that clients which failed together do not
come back together. ``Retry-After`` (RFC 9110, section 10.2.3) takes the place of such a wait.

Invariants: what changes something is sent again only if it certainly was not processed: no
connection was made, or the answer is 429. A wait that would pass the deadline is not begun.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from urllib3.util import Retry

from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.errors import is_transient
from acp_client_v0_1.exceptions import ConnectionException, TransportException

__all__ = ["Attempts", "RetryPolicy", "retry_after", "was_cut", "was_held"]

_DEFAULT_RETRIES = 3
_BACKOFF = 0.5  # seconds; doubles with each retry
_BACKOFF_MAX = 8.0  # seconds
_RETRY_AFTER_MAX = 120.0  # seconds; a server that asks for more is not waited for
_HELD = 1.0  # seconds after which a blocking call was being held by the server
_CUTS = frozenset((408, 502, 503, 504))


@dataclass(frozen=True, slots=True, eq=False)
class RetryPolicy:
    """How often to send again, after what, and how long to wait.

    Attributes:
        total: Retries in all.
        connect: Retries after the connection could not be made.
        read: Retries after it failed later.
        status: Retries after an answer.
        statuses: The statuses to retry, None for 408, 429 and 5xx.
        backoff: The first wait at most, in seconds.
        backoff_max: The longest wait, in seconds.
        respect_retry_after: Let the server decide how long to wait.
    """

    total: float = _DEFAULT_RETRIES
    connect: float = math.inf
    read: float = math.inf
    status: float = math.inf
    statuses: frozenset[int] | None = None
    backoff: float = _BACKOFF
    backoff_max: float = _BACKOFF_MAX
    respect_retry_after: bool = True

    @classmethod
    def of(cls, retries: int | Retry | None) -> RetryPolicy:
        """Read ``Configuration.retries``: a number, False, a ``urllib3.Retry``, or None."""
        if retries is None:
            return cls()
        if isinstance(retries, Retry):
            return cls._of_urllib3(retries)
        return cls(total=int(retries))

    @classmethod
    def _of_urllib3(cls, retry: Retry) -> RetryPolicy:
        statuses = frozenset(retry.status_forcelist)
        return cls(
            total=_limit(retry.total),
            connect=_limit(retry.connect),
            read=_limit(retry.read),
            status=_limit(retry.status),
            statuses=statuses | {429} if statuses else None,
            backoff=retry.backoff_factor,
            backoff_max=retry.backoff_max,
            respect_retry_after=retry.respect_retry_after_header,
        )

    def covers(self, status: int) -> bool:
        """Say whether an answer with this status may be retried at all."""
        if self.statuses is not None:
            return status in self.statuses
        return status in (408, 429) or status >= 500


def _limit(count: int | bool | None) -> float:
    return math.inf if count is None or count is True else int(count)


class Attempts:
    """The retries of one call so far.

    Args:
        policy: What is allowed.

    Attributes:
        made: How many retries were made.
    """

    __slots__ = ("_by_kind", "_policy", "made")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.made = 0
        self._by_kind: dict[str, int] = {}

    def after_failure(self, call: Call, failure: TransportException, took: float) -> float | None:
        """Decide after an attempt without an answer.

        Args:
            call: The request.
            failure: What happened.
            took: Seconds that the attempt took.

        Returns:
            Seconds to wait before the next attempt, None to give up.
        """
        if not is_transient(failure) or (failure.sent and not call.safe):
            return None
        if isinstance(failure, ConnectionException) and failure.sent and _held(call, took):
            return None
        kind = "read" if failure.sent else "connect"
        limit = self._policy.read if failure.sent else self._policy.connect
        return self._next(call, kind, limit, None)

    def after_answer(
        self, call: Call, status: int, headers: Mapping[str, str], took: float
    ) -> float | None:
        """Decide after an answer.

        Args:
            call: The request.
            status: The answer's status.
            headers: Its headers.
            took: Seconds that the attempt took.

        Returns:
            Seconds to wait before the next attempt, None to take the answer as it is.
        """
        if not self._policy.covers(status) or not (call.safe or status == 429):
            return None
        if was_cut(status) and _held(call, took):
            return None
        asked = retry_after(headers) if self._policy.respect_retry_after else None
        if asked is not None and asked > _RETRY_AFTER_MAX:
            return None
        return self._next(call, "status", self._policy.status, asked)

    def _next(self, call: Call, kind: str, limit: float, asked: float | None) -> float | None:
        used = self._by_kind.get(kind, 0)
        if self.made >= self._policy.total or used >= limit:
            return None
        wait = self._backoff() if asked is None else asked
        if wait >= call.deadline.remaining():
            return None
        self.made += 1
        self._by_kind[kind] = used + 1
        return wait

    def _backoff(self, jitter: Callable[[], float] = random.random) -> float:
        # The exponent is bounded because a float is.
        longest = min(self._policy.backoff_max, self._policy.backoff * 2.0 ** min(self.made, 64))
        return jitter() * longest


def was_cut(status: int) -> bool:
    """Say whether a status may be that of a proxy, or a server, that would not hold a request.

    Args:
        status: 408, 502, 503 and 504 are; so are those from 520 on, which proxies have made up.
    """
    return status in _CUTS or 520 <= status <= 599


def was_held(window: float | None, took: float) -> bool:
    """Say whether the server had begun to hold a request when it failed.

    Args:
        window: Seconds for which it was asked to, None for not at all.
        took: Seconds until the failure.
    """
    return window is not None and window > 0 and took >= min(_HELD, window)


def _held(call: Call, took: float) -> bool:
    return was_held(call.timeout.window, took)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After``: seconds or a date (RFC 9110, section 10.2.3).

    Args:
        headers: The answer's headers. A date is measured against its ``Date``, if it has one, so
            that a server whose clock is wrong is understood all the same.

    Returns:
        Seconds to wait, None where there is no such header or it makes no sense.
    """
    text = (headers.get("retry-after") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    moment = _date(text)
    if moment is None:
        return None
    now = _date(headers.get("date"))
    start = time.time() if now is None else now
    return max(0.0, moment - start)


def _date(text: str | None) -> float | None:
    if not text:
        return None
    try:
        moment: datetime = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # "-0000": the time is UTC, the place is not said
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()
