"""What a failure means, and the retry rules of one call: after what, how often, and how soon.

Strategy: `failure_of` reads what an error means, for single calls, runs, batches and the command. A
status has its meaning from one row of one table. Each call has its own `Attempts`, which decides
after each attempt on the delay before the next, or that it was the last. The delay is an
exponential backoff with full jitter, so that clients which failed together do not come back
together; ``Retry-After`` (RFC 9110, section 10.2.3) replaces it. What agents, runs and batches do
after a call has failed is decided in `handles._rules`.

Invariants: what changes something is retried only if the server certainly did not process it: the
kind of the failure is "unsent" or "limited". ``Retry-After`` is never shortened: a delay that does
not fit into the deadline and `LONGEST_OUTAGE` ends the call.
"""

from __future__ import annotations

import functools
import math
import random
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

from urllib3.exceptions import EmptyPoolError
from urllib3.util import Retry

from acp_client_v0_1._errors import secure_origin
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.errors import refused_tunnel
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTimeoutError,
    ConnectionException,
    NameResolutionException,
    ProtocolException,
    ProxyException,
    ResponseDecodeError,
    ResponseTooLarge,
    TLSException,
    TransportException,
)

LONGEST_OUTAGE = 300.0
"""Seconds for which a server may fail, or ask for a pause, before the caller gets the error."""

_HELD = 1.0  # seconds; the server was holding a long poll that fails later than that

Kind = Literal[
    "unsent",  # certainly not carried out
    "limited",  # certainly not carried out: the server wants the request later
    "lost",  # nobody can tell whether it was carried out
    "unreadable",  # carried out, with a response that cannot be read
    "oversized",  # the same, which is too large
    "lacks",  # the server does not have the operation
    "missing",  # there is no such thing
    "denied",  # the credentials do not allow it, or the proxy refuses for good
    "moved",  # a redirect that was not followed
    "refused",  # anything else
]


class Failure(NamedTuple):
    """What an error means."""

    kind: Kind
    asked: float | None = None  # seconds of ``Retry-After``, if the response had it
    conflict: bool = False  # the state of the run or thread does not allow the request
    limits: bool = False  # the server wants fewer requests; many proxies say so by 503
    cut: bool = False  # a long poll may end like this if a proxy, for example, cuts it
    stays: bool = False  # a single call is not repeated, whatever the kind is

    @property
    def passes(self) -> bool:
        """Tell whether the same request may well succeed later."""
        return self.kind in ("unsent", "limited", "lost")


# What a status means: the first row that has it decides. Any other status is "refused". Proxies
# invent statuses from 520 on; 524 says that the server may still be at work. Only 501 is the
# server's own word that it did nothing.
_STATUSES: tuple[tuple[Container[int], Failure], ...] = (
    ((429,), Failure("limited", limits=True)),
    ((503,), Failure("lost", limits=True, cut=True)),
    ((408, 502, 504, *range(520, 600)), Failure("lost", cut=True)),
    ((405, 501), Failure("lacks")),
    (range(500, 1000), Failure("lost")),
    ((404,), Failure("missing")),
    ((401, 403), Failure("denied")),
    (range(300, 400), Failure("moved")),
    ((409,), Failure("refused", conflict=True)),
)


def failure_of(error: ApiException) -> Failure:
    """Read what the error of one call means."""
    status = error.status
    # Even if its body breaks off, the status of an error decides.
    if isinstance(error, TransportException) and (status is None or status < 300):
        return _failure_of_transport(error)
    if status is None:
        return Failure("refused")
    failure = failure_of_status(status, error.headers)
    if isinstance(error, ResponseTooLarge):
        return failure._replace(kind="oversized")
    if isinstance(error, ResponseDecodeError):
        return failure._replace(kind="unreadable")
    # http that redirects to https does so for every request.
    moved = failure.kind == "moved" and secure_origin(error)
    return failure._replace(kind="denied") if moved else failure


def failure_of_status(status: int, headers: Mapping[str, str] | None = None) -> Failure:
    """Read what the status and the headers of a response mean."""
    rows = (failure for statuses, failure in _STATUSES if status in statuses)
    return next(rows, Failure("refused"))._replace(asked=retry_after(headers))


def _failure_of_transport(error: TransportException) -> Failure:
    known = isinstance(error, (ConnectionException, ApiTimeoutError))
    if error.sent:
        # A silent server may still be working on it.
        return Failure("lost", cut=known, stays=not isinstance(error, ConnectionException))
    if isinstance(error, ProxyException):
        status = refused_tunnel(error.reason)
        passes = status is None or failure_of_status(status).passes
        return Failure("unsent" if passes else "denied")
    if isinstance(error, ProtocolException):
        return Failure("denied")  # for good, by a server that does not speak HTTP
    if isinstance(error, TLSException):
        return Failure("unsent", stays=True)
    # A full pool is this process's own: nothing was sent, and it has been waited for already.
    unsent = known or isinstance(error, NameResolutionException)
    full = isinstance(error.__cause__, EmptyPoolError)
    return Failure("unsent" if unsent else "refused", stays=full)


@dataclass(slots=True)
class KnownServer:
    """What the calls of a client have shown of its server."""

    not_before: float = -math.inf  # when it wants the next poll, by ``Retry-After`` of a 204
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
    statuses: frozenset[int] | None = None  # instead of those whose failure passes
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
        return cls(
            total=_limit(retries.total),
            connect=_limit(retries.connect),
            read=_limit(retries.read),
            status=_limit(retries.status),
            statuses=frozenset(retries.status_forcelist) or None,
            backoff=retries.backoff_factor,
            backoff_max=retries.backoff_max,
            respect_retry_after=retries.respect_retry_after_header,
        )

    def covers(self, failure: Failure, status: int | None) -> bool:
        """Tell whether a failure may be retried; ``status`` is that of the response, if any."""
        if self.statuses is None or status is None:
            return failure.passes and not failure.stays
        return status in self.statuses or failure.kind == "limited"


@functools.lru_cache(maxsize=16)
def _counted(retries: int) -> RetryPolicy:
    # Cached, because each handle makes a view of its client without retries.
    return RetryPolicy(total=retries)


def _limit(count: int | bool | None) -> float:
    return math.inf if count is None or count is True else int(count)


class Attempts:
    """The attempts of one call so far, of which ``retries`` were decided on here."""

    __slots__ = ("_by_phase", "_policy", "retries")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.retries = 0
        self._by_phase: dict[str, int] = {}

    def after_failure(self, call: Call, error: TransportException, took: float) -> float | None:
        """Give the delay after an attempt that ``took`` some seconds, or None to give up."""
        phase = "read" if error.sent else "connect"
        return self._after(call, _failure_of_transport(error), took, phase)

    def after_response(
        self, call: Call, status: int, headers: Mapping[str, str], took: float
    ) -> float | None:
        """Give the delay after a response, in seconds, or None to return it."""
        return self._after(call, failure_of_status(status, headers), took, "status", status)

    def _after(
        self, call: Call, failure: Failure, took: float, phase: str, status: int | None = None
    ) -> float | None:
        policy, used = self._policy, self._by_phase.get(phase, 0)
        if not (call.safe or failure.kind in ("unsent", "limited")):
            return None
        if not policy.covers(failure, status) or self.retries >= policy.total:
            return None
        if used >= getattr(policy, phase) or (failure.cut and was_held(call.timeout.window, took)):
            return None
        delay = failure.asked if policy.respect_retry_after else None
        if delay is None:
            delay = random.random() * backoff(self.retries, policy.backoff, policy.backoff_max)
        elif delay > LONGEST_OUTAGE:
            return None
        if delay >= call.deadline.remaining():
            return None
        self.retries += 1
        self._by_phase[phase] = used + 1
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


def was_held(window: float | None, took: float) -> bool:
    """Tell whether a call failed while the server held it, as a long poll of ``window`` seconds."""
    return window is not None and window > 0 and took >= min(_HELD, window)
