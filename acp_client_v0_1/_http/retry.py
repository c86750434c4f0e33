"""What a failure means, and the retry rules of one call: after what, how often, and how soon.

Strategy: `failure_of` reads what an error means, for single calls, runs, batches and the command. A
status has its meaning from one row of one table. Each call has its own `Attempts`, which returns
the delay after an attempt, or None if it was the last one. The delay is an exponential backoff with
full jitter, so that clients which failed together do not come back together; ``Retry-After`` (RFC
9110, section 10.2.3) replaces it. What agents, runs and batches do after a call has failed is
decided in `handles._rules`.

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

# If a long poll fails after this many seconds or more, the server was holding it.
_HELD = 1.0

Kind = Literal[
    # The request was certainly not carried out.
    "unsent",
    # The request was certainly not carried out, and the server takes it later.
    "limited",
    # The request may have been carried out.
    "lost",
    # The request was carried out, and its response cannot be read, or is too large.
    "unreadable",
    "oversized",
    # The server does not have the operation.
    "lacks",
    # There is no such run, agent or thread of ACP.
    "missing",
    # The credentials do not allow it, or a proxy refuses for good.
    "denied",
    # A redirect was not followed.
    "moved",
    # Any other failure.
    "refused",
]


class Failure(NamedTuple):
    """What an error means."""

    kind: Kind
    # The seconds of ``Retry-After``, if the response had it.
    retry_after: float | None = None
    # The state of the run, or of its thread of ACP, does not allow the request.
    conflict: bool = False
    # The server asks for fewer requests. Many proxies do so by a 503.
    limits: bool = False
    # A proxy may end a long poll like this when it has lasted too long.
    cut: bool = False
    # `rest` does not retry it, whatever the kind is. Agents and runs may.
    rest_gives_up: bool = False

    @property
    def passes(self) -> bool:
        """Tell whether the same request may well succeed later."""
        return self.kind in ("unsent", "limited", "lost")

    @property
    def is_outage(self) -> bool:
        """Tell whether a server that is away may be the reason."""
        return self.passes or self.kind == "unreadable"


# What each status means. The first row that has the status decides, and any other status is
# "refused". Proxies invent statuses from 520 on. After a 524 the server may still be at work, and
# of all statuses from 500 on only 501 says that the server did nothing.
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
    # The status of an error decides, even if its body breaks off.
    if isinstance(error, TransportException) and (status is None or status < 300):
        return _failure_of_transport(error)
    if status is None:
        return Failure("refused")
    failure = failure_of_status(status, error.headers)
    if isinstance(error, ResponseTooLarge):
        return failure._replace(kind="oversized")
    if isinstance(error, ResponseDecodeError):
        return failure._replace(kind="unreadable")
    # A server that redirects http to https does so for every request.
    moved = failure.kind == "moved" and secure_origin(error)
    return failure._replace(kind="denied") if moved else failure


def failure_of_status(status: int, headers: Mapping[str, str] | None = None) -> Failure:
    """Read what the status and the headers of a response mean."""
    rows = (failure for statuses, failure in _STATUSES if status in statuses)
    return next(rows, Failure("refused"))._replace(retry_after=retry_after(headers))


def _failure_of_transport(error: TransportException) -> Failure:
    known = isinstance(error, (ConnectionException, ApiTimeoutError))
    if error.sent:
        # A silent server may still be working on it.
        return Failure("lost", cut=known, rest_gives_up=not isinstance(error, ConnectionException))
    if isinstance(error, ProxyException):
        status = refused_tunnel(error.reason)
        passes = status is None or failure_of_status(status).passes
        return Failure("unsent" if passes else "denied")
    if isinstance(error, ProtocolException):
        # The server does not speak HTTP, so it will refuse every request.
        return Failure("denied")
    if isinstance(error, TLSException):
        return Failure("unsent", rest_gives_up=True)
    # A full pool is this process's doing, not the server's. Nothing was sent, and the call has
    # waited for a connection already.
    unsent = known or isinstance(error, NameResolutionException)
    full = isinstance(error.__cause__, EmptyPoolError)
    return Failure("unsent" if unsent else "refused", rest_gives_up=full)


@dataclass(slots=True)
class Server:
    """What the calls of a client have learnt about its server. All of them share it.

    Times are of the clock in `handles._timing`, by default `time.monotonic`.
    """

    # The address is known to be a server: it has responded, a request was sent to it, or a token of
    # one of its runs says so.
    reached: bool = False
    # It does not have these operations.
    lacks: set[str] = field(default_factory=set[str])
    # These operations have failed while others worked.
    fails: set[str] = field(default_factory=set[str])

    # A ``Retry-After`` holds requests back until it ends. Of several, this is the one that ends
    # last: when it came, when it ends, and the error that had it.
    hold_began: float = -math.inf
    hold_ends: float = -math.inf
    hold_error: ApiException | None = None

    # An outage is a stretch in which only failures came. These are when it began, if there is one,
    # the number of failures, and the operations that failed.
    since: float | None = None
    failures: int = 0
    operations: frozenset[str] = frozenset()
    # This outage has been logged.
    warned: bool = False
    # Before this time, a new outage is logged only once it has lasted for some seconds.
    warn_after: float = -math.inf

    def note_failure(self, operation: str, now: float) -> None:
        """Note a failure, which may be the first one of an outage."""
        self.since = now if self.since is None else self.since
        self.failures += 1
        self.operations |= frozenset((operation,))


@dataclass(frozen=True, slots=True, eq=False)
class RetryPolicy:
    """How often to retry, after what, and with which backoff."""

    total: float = 3
    # The most retries if no connection could be made.
    connect: float = math.inf
    # The most retries if the connection failed after that.
    read: float = math.inf
    # The most retries after a response.
    status: float = math.inf
    # The statuses that are retried, instead of those whose failure passes.
    statuses: frozenset[int] | None = None
    # Each delay is drawn from 0 up to a bound. The bound begins with `backoff` seconds, and doubles
    # with each retry, up to `backoff_max`.
    backoff: float = 0.5
    backoff_max: float = 8.0
    # Retry-After replaces the backoff.
    respect_retry_after: bool = True

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
            return failure.passes and not failure.rest_gives_up
        return status in self.statuses or failure.kind == "limited"


@functools.lru_cache(maxsize=16)
def _counted(retries: int) -> RetryPolicy:
    # This is cached because each handle makes a view of its client without retries.
    return RetryPolicy(total=retries)


def _limit(count: int | bool | None) -> float:
    return math.inf if count is None or count is True else int(count)


class Attempts:
    """Counts the retries of one call, and decides about the next one."""

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
        delay = failure.retry_after if policy.respect_retry_after else None
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
    # The exponent is bounded because a float is.
    return min(longest, first * 2.0 ** min(retries, 64))


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Read the seconds of ``Retry-After``, if it is there and makes sense."""
    if headers is None:
        return None
    text = (headers.get("retry-after") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    moment = date_of(text)
    if moment is None:
        return None
    # Both dates are of the server's clock, which may be wrong.
    now = date_of(headers.get("date"))
    return max(0.0, moment - (time.time() if now is None else now))


def date_of(text: str | None) -> float | None:
    if not text:
        return None
    try:
        moment: datetime = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        # The zone "-0000" stands for UTC at a place that is not said.
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def was_held(window: float | None, took: float) -> bool:
    """Tell whether a call failed while the server held it, as a long poll of ``window`` seconds."""
    return window is not None and window > 0 and took >= min(_HELD, window)
