"""The retry rules of one call: what is retried, after which failure, how often, and how soon.

Strategy: each call has its own `Attempts`, which decides after each attempt on the delay before the
next, or that it was the last. The delay is an exponential backoff with full jitter, so that clients
which failed together do not come back together; ``Retry-After`` (RFC 9110, section 10.2.3) replaces
it. What agents, runs and batches do after a call has failed is decided in `handles._rules`.

Invariants: what changes something is retried only if the server certainly did not process it: no
connection was made, or the response is 429. ``Retry-After`` is never shortened: a delay that does
not fit into the deadline and `LONGEST_OUTAGE` ends the call.
"""

from __future__ import annotations

import functools
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from urllib3.exceptions import EmptyPoolError
from urllib3.util import Retry

from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.errors import refused_tunnel
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTimeoutError,
    ConnectionException,
    NameResolutionException,
    ProxyException,
    TransportException,
)

LONGEST_OUTAGE = 300.0
"""Seconds for which a server may fail, or ask for a pause, before the caller gets the error."""

_HELD = 1.0  # seconds; the server was holding a long poll that fails later than that


@dataclass(slots=True)
class KnownServer:
    """What the calls of a client have shown of its server."""

    answered: bool = False  # with a response that could be read, or a status that is an error
    lacks: set[str] = field(default_factory=set[str])  # the operations that it does not have
    fails: set[str] = field(default_factory=set[str])  # those that failed while others worked


@dataclass(frozen=True, slots=True, eq=False)
class RetryPolicy:
    """How often to retry, after what, and with which backoff."""

    total: float = 3
    connect: float = math.inf  # after the connection could not be made
    read: float = math.inf  # after the connection failed later
    status: float = math.inf  # after a response
    statuses: frozenset[int] | None = None  # None for 408, 429 and 5xx but 501
    backoff: float = 0.5  # seconds, the longest first delay; it doubles with each retry
    backoff_max: float = 8.0  # seconds
    respect_retry_after: bool = True  # Retry-After replaces the backoff

    @classmethod
    def of(cls, retries: RetryPolicy | int | Retry | None) -> RetryPolicy:
        """Read ``Configuration.retries``: a number, False, a ``urllib3.Retry``, or None."""
        if isinstance(retries, RetryPolicy):
            return retries
        if retries is None:
            return cls()
        if not isinstance(retries, Retry):
            return _counted(int(retries))
        statuses = frozenset(retries.status_forcelist)
        return cls(
            total=_limit(retries.total),
            connect=_limit(retries.connect),
            read=_limit(retries.read),
            status=_limit(retries.status),
            statuses=statuses | {429} if statuses else None,
            backoff=retries.backoff_factor,
            backoff_max=retries.backoff_max,
            respect_retry_after=retries.respect_retry_after_header,
        )

    def covers(self, status: int) -> bool:
        """Tell whether a response with this status may be retried."""
        if self.statuses is not None:
            return status in self.statuses
        return status == 429 or is_unclear(status)


@functools.lru_cache(maxsize=16)
def _counted(retries: int) -> RetryPolicy:
    # Cached, because each handle makes a view of its client without retries.
    return RetryPolicy(total=retries)


def _limit(count: int | bool | None) -> float:
    return math.inf if count is None or count is True else int(count)


class Attempts:
    """The attempts of one call so far, of which ``retries`` were decided on here."""

    __slots__ = ("_by_kind", "_policy", "retries")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.retries = 0
        self._by_kind: dict[str, int] = {}

    def after_failure(self, call: Call, failure: TransportException, took: float) -> float | None:
        """Give the delay after an attempt that ``took`` some seconds, or None to give up."""
        if not is_transient(failure) or (failure.sent and not call.safe):
            return None
        cut = isinstance(failure, ConnectionException) and failure.sent
        if cut and was_held(call.timeout.window, took):
            return None
        if failure.sent:
            return self._next(call, "read", self._policy.read, None)
        return self._next(call, "connect", self._policy.connect, None)

    def after_response(
        self, call: Call, status: int, headers: Mapping[str, str], took: float
    ) -> float | None:
        """Give the delay after a response, in seconds, or None to return it."""
        if not self._policy.covers(status) or not (call.safe or status == 429):
            return None
        if _is_cut_status(status) and was_held(call.timeout.window, took):
            return None
        asked = retry_after(headers) if self._policy.respect_retry_after else None
        if asked is not None and asked > LONGEST_OUTAGE:
            return None
        return self._next(call, "status", self._policy.status, asked)

    def _next(self, call: Call, kind: str, limit: float, asked: float | None) -> float | None:
        policy, used = self._policy, self._by_kind.get(kind, 0)
        if self.retries >= policy.total or used >= limit:
            return None
        delay = asked
        if delay is None:
            delay = random.random() * backoff(self.retries, policy.backoff, policy.backoff_max)
        if delay >= call.deadline.remaining():
            return None
        self.retries += 1
        self._by_kind[kind] = used + 1
        return delay


def backoff(retries: int, first: float, longest: float) -> float:
    """Give the longest delay after some retries: it doubles with each, from ``first`` seconds."""
    return min(longest, first * 2.0 ** min(retries, 64))  # bounded because a float is


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Read the seconds of ``Retry-After``, if it is there and makes sense."""
    if headers is None:
        return None
    text = (headers.get("retry-after") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    moment = _date(text)
    if moment is None:
        return None
    now = _date(headers.get("date"))  # of the server, whose clock may be wrong
    return max(0.0, moment - (time.time() if now is None else now))


def _date(text: str | None) -> float | None:
    if not text:
        return None
    try:
        moment: datetime = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # "-0000": UTC, of an unknown zone
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def is_transient(failure: TransportException) -> bool:
    """Tell whether the same request may well succeed a moment later."""
    if isinstance(failure, ProxyException):
        status = refused_tunnel(failure.reason)
        return status is None or is_unclear(status)
    if isinstance(failure, ApiTimeoutError):
        # A silent server may still be working on it; a full pool has been waited for already.
        return not failure.sent and not isinstance(failure.__cause__, EmptyPoolError)
    return isinstance(failure, (ConnectionException, NameResolutionException))


def is_unclear(status: int) -> bool:
    """Tell whether a status leaves open that the server carried out the request.

    Proxies invent statuses from 520 on; 524 says that the server may still be at work. Only 501 is
    the server's own word that it did nothing.
    """
    return status == 408 or (status >= 500 and status != 501)


def is_cut(error: ApiException) -> bool:
    """Tell whether a long poll may have been ended from outside, by a proxy for example."""
    if isinstance(error, (ConnectionException, ApiTimeoutError)):
        return error.sent
    return error.status is not None and _is_cut_status(error.status)


def _is_cut_status(status: int) -> bool:
    # Proxies have invented those from 520 on.
    return status in (408, 502, 503, 504) or 520 <= status <= 599


def was_held(window: float | None, took: float) -> bool:
    """Tell whether a call failed while the server held it, as a long poll of ``window`` seconds."""
    return window is not None and window > 0 and took >= min(_HELD, window)
