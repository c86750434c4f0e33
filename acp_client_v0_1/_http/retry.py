"""What a failure means, and the rules by which a single call is retried.

Strategy: `failure_of` classifies an error, for single calls, runs, batches and the command. A table
says what each status means. Each call has its own `RetryCounter`, which returns the delay before
the next attempt, or None if there is no next attempt. The delay is an exponential backoff with full
jitter. So if many clients fail at the same moment, they do not all retry at the same moment. A
``Retry-After`` (RFC 9110, section 10.2.3) replaces the backoff. `handles._rules` decides what
agents, runs and batches do after a call has failed.

Invariants: a request that changes something is retried only if the server certainly did not carry
it out, that is, if the kind of the failure is "unsent" or "limited". A ``Retry-After`` is never
shortened. If the pause would end after the deadline, or if a ``Retry-After`` is longer than
`LONGEST_OUTAGE`, the call ends with its last error or response.
"""

from __future__ import annotations

import functools
import math
import random
import re
import time
from collections.abc import Container, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

from urllib3.exceptions import EmptyPoolError
from urllib3.util import Retry

from acp_client_v0_1 import exceptions
from acp_client_v0_1._errors import ApiException, is_by_function, secure_origin
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.errors import refused_tunnel
from acp_client_v0_1._http.tls_causes import ENDED

LONGEST_OUTAGE = 300.0
"""Seconds for which a server may fail, or ask for a pause, before the caller gets the error."""

# If a long poll fails after this many seconds or more, the server had begun to wait for output. If
# the window is shorter than this, only a poll that lasted for the whole window counts.
_POLL_RAN = 1.0

Kind = Literal[
    # The request was certainly not carried out.
    "unsent",
    # The request was certainly not carried out, because the client sends too many requests. The
    # server will accept the same request later.
    "limited",
    # The request may have been carried out.
    "lost",
    # The request was probably carried out, but its response cannot be decoded.
    "unreadable",
    # The request was probably carried out, and its response is JSON that does not fit the contract.
    "misfit",
    # The request was probably carried out, but its response is too large.
    "oversized",
    # The server does not have the operation.
    "lacks",
    # There is no such run, agent or thread of ACP.
    "missing",
    # Other requests would probably fail in the same way, because
    # - the server refuses the credentials (401, 403), or wants to be paid (402), or
    # - a proxy refuses the connection for good, or wants credentials of its own (407), or
    # - the server does not serve the host that the request names (421), or
    # - the server wants another protocol than HTTP/1.1 (426), or
    # - the server does not speak HTTP, or
    # - the server wants https for every request.
    "denied",
    # A redirect was not followed.
    "moved",
    # Any other failure.
    "refused",
]


class Failure(NamedTuple):
    """The meaning of an error."""

    kind: Kind
    # The seconds of the response's ``Retry-After``. None if there is none.
    retry_after: float | None = None
    # True if the state of the run, or of its ACP thread, does not allow the request.
    conflict: bool = False
    # True if the failure may mean that the server limits requests. Many proxies limit by a 503.
    limits: bool = False
    # True if the reason may be a proxy that ends every request after some time.
    cut: bool = False
    # True if the first connection over TLS ended without a byte of HTTP. The server may refuse the
    # client because it has no certificate, or it may have carried out the request.
    ended: bool = False
    # True if no slot of the connection pool was free. Handles do not log this as an outage.
    full_pool: bool = False
    # True if `rest` does not retry the call, although the kind would allow a retry. Agents, runs
    # and batches ignore this.
    rest_gives_up: bool = False

    @property
    def passes(self) -> bool:
        """Tell whether the same request may well succeed later."""
        return self.kind in ("unsent", "limited", "lost")

    @property
    def is_outage(self) -> bool:
        """Tell whether the server may be failing.

        A full pool counts as well, although it is not logged as an outage (`full_pool`). The other
        calls may hold their slots for so long because the server fails.
        """
        return self.passes or self.kind == "unreadable"


# What each status means. The first row that contains the status decides. A status in no row is
# "refused". Of all statuses from 500 on, only 501 says that the server did nothing. The statuses
# from 520 on are in no standard: proxies send them. After a 524, for example, the server may still
# be working on the request.
_STATUSES: tuple[tuple[Container[int], Failure], ...] = (
    ((429,), Failure("limited", limits=True)),
    ((503,), Failure("lost", limits=True, cut=True)),
    ((408, 502, 504, *range(520, 600)), Failure("lost", cut=True)),
    ((405, 501), Failure("lacks")),
    (range(500, 1000), Failure("lost")),
    ((404,), Failure("missing")),
    ((401, 402, 403, 407, 421, 426), Failure("denied")),
    (range(300, 400), Failure("moved")),
    ((409,), Failure("refused", conflict=True)),
)


# With status 400 and a page, nginx refuses a client without a certificate, or with one that it does
# not trust.
_NGINX_DEMANDS = re.compile("SSL certificate (was sent|error)")


def failure_of(error: ApiException) -> Failure:
    """Classify the error of one call."""
    status = error.status
    # A status of 300 or above decides, even if the body broke off.
    if isinstance(error, exceptions.TransportException) and (status is None or status < 300):
        return _failure_of_transport(error)
    if status is None:
        return Failure("refused")
    failure = failure_of_status(status, error.headers)
    if error.elapsed >= _POLL_RAN and failure.kind == "lost":
        # A server that limits requests refuses them at once. A proxy that ends a long poll by a 503
        # does so only after a while, and does not ask for fewer requests.
        failure = failure._replace(limits=False)
    if isinstance(error, exceptions.ResponseTooLarge):
        return failure._replace(kind="oversized")
    if isinstance(error, exceptions.ResponseDecodeError):
        # Another server of the same kind would send the same object. A page, a text or nothing in
        # its place may come from a proxy.
        if error.redirected and str(error.data).lstrip()[:1] == "<":
            # Every request is redirected to this page, for example to log in.
            return failure._replace(kind="denied")
        is_json = isinstance(error.data, (dict, list))
        misfit = is_json and isinstance(error, exceptions.ResponseValidationError)
        return failure._replace(kind="misfit" if misfit else "unreadable")
    # These are about every request: a redirect from http to https, a 400 that demands TLS, and one
    # of nginx that demands a client certificate.
    secure = failure.kind in ("moved", "refused") and secure_origin(error)
    demanded = status == 400 and _NGINX_DEMANDS.search(error.body or "")
    return failure._replace(kind="denied") if secure or demanded else failure


def failure_of_status(status: int, headers: Mapping[str, str] | None = None) -> Failure:
    """Classify a response by its status and headers."""
    rows = (failure for statuses, failure in _STATUSES if status in statuses)
    return next(rows, Failure("refused"))._replace(retry_after=retry_after(headers))


def _failure_of_transport(error: exceptions.TransportException) -> Failure:
    broke = isinstance(error, exceptions.ConnectionException)
    broke_or_silent = broke or isinstance(error, exceptions.ApiTimeoutError)
    if error.sent:
        # `rest` retries only if the connection broke. It does not retry after
        # - a timeout, because the server may still be working on the request, or
        # - a response that is not valid HTTP, because the next response will probably be the same.
        ended = error.tls_cause == ENDED
        return Failure("lost", cut=broke_or_silent, rest_gives_up=not broke, ended=ended)
    if isinstance(error, exceptions.ProxyException):
        status = refused_tunnel(error.reason)
        passes = status is None or failure_of_status(status).passes
        return Failure("unsent" if passes else "denied")
    if isinstance(error, exceptions.ProtocolException):
        # The server does not speak HTTP, so it will refuse every request.
        return Failure("denied")
    if isinstance(error, exceptions.TLSException):
        return Failure("unsent", rest_gives_up=True)
    # If no slot of the pool was free, `rest` does not retry: the call has already waited for a
    # slot.
    unsent = broke_or_silent or isinstance(error, exceptions.NameResolutionException)
    full = isinstance(error.__cause__, EmptyPoolError)
    return Failure("unsent" if unsent else "refused", full_pool=full, rest_gives_up=full)


def policy_of(retries: Retry | int | None) -> Retry:
    """Return the policy of ``Configuration.retries``: a number, False, a ``Retry``, or None."""
    return retries if isinstance(retries, Retry) else _counted(3 if retries is None else retries)


@functools.lru_cache
def _counted(retries: int) -> Retry:
    # The policies are cached for speed: each handle makes a view of its client with 0 retries
    # (`Contact.of`), and each call of the view needs a policy.
    return Retry(int(retries), status_forcelist=(), backoff_factor=0.5, backoff_max=8.0)


def limit_of(count: int | bool | None) -> float:
    """Read a limit of a ``Retry``, of which None and True are no limit."""
    return math.inf if count is None or count is True else int(count)


class RetryCounter:
    """Counts the retries of one call, and decides whether and when the next retry follows."""

    __slots__ = ("_by_phase", "_policy", "retries")

    def __init__(self, policy: Retry) -> None:
        self._policy = policy
        self.retries = 0
        self._by_phase: dict[str, int] = {}

    def after_failure(self, call: Call, error: ApiException, took: float) -> float | None:
        """Return the seconds to wait before the next attempt, or None to raise ``error``.

        The failed attempt took ``took`` seconds.
        """
        if is_by_function(error) or not isinstance(error, exceptions.TransportException):
            # Either a function of the user's has raised it. Or there was a whole response, and it
            # cannot be used. The next one will be the same.
            return None
        phase = "read" if error.sent else "connect"
        return self._after(call, _failure_of_transport(error), took, phase)

    def after_response(
        self, call: Call, status: int, headers: Mapping[str, str], took: float
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None to return the response.

        The attempt with this response took ``took`` seconds.
        """
        return self._after(call, failure_of_status(status, headers), took, "status", status)

    def _after(
        self, call: Call, failure: Failure, took: float, phase: str, status: int | None = None
    ) -> float | None:
        policy, used = self._policy, self._by_phase.get(phase, 0)
        if not (call.safe or failure.kind in ("unsent", "limited")):
            return None
        # The statuses that are retried may be given. A 429 is retried in any case.
        retried = failure.passes and not failure.rest_gives_up
        if policy.status_forcelist and status is not None:
            retried = status in policy.status_forcelist or failure.kind == "limited"
        limits = limit_of(policy.total), limit_of(getattr(policy, phase))
        if not retried or self.retries >= limits[0] or used >= limits[1]:
            return None
        if failure.cut and poll_ran(call.timeout.window, took):
            return None
        delay = failure.retry_after if policy.respect_retry_after_header else None
        if delay is None:
            longest = backoff(self.retries, policy.backoff_factor, policy.backoff_max)
            delay = random.random() * longest
        elif delay > LONGEST_OUTAGE:
            return None
        if delay >= call.deadline.remaining():
            return None
        self.retries += 1
        self._by_phase[phase] = used + 1
        return delay


def backoff(retries: int, first: float, longest: float) -> float:
    """Return the longest delay, in seconds, that may follow after ``retries`` retries.

    This is ``first`` after 0 retries, and doubles with each retry up to ``longest``: for example
    0.5, 1, 2, 4, 8 and 8 s.
    """
    # The exponent is bounded, because 2.0 ** 1024 is too large for a float.
    return min(longest, first * 2.0 ** min(retries, 64))


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Return the seconds of ``Retry-After``, or None if it is missing or not valid."""
    headers = headers or {}
    text = (headers.get("retry-after") or "").strip()
    if text.isascii() and text.isdigit():
        # At most ten digits count, which are 300 years. With more, the float might be infinite.
        return float(text.lstrip("0")[:10] or 0)
    moment = date_of(text)
    if moment is None:
        return None
    # The server's clock may be wrong. So the date is compared with the ``Date`` of the response,
    # which comes from the same clock.
    now = date_of(headers.get("date"))
    return max(0.0, moment - (time.time() if now is None else now))


def date_of(text: str | None) -> float | None:
    """Return the time of an HTTP date in seconds since the epoch, or None if it is not valid."""
    try:
        moment: datetime = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        # `parsedate_to_datetime` returns no zone for "-0000". The date is in UTC then, and "-0000"
        # says that the sender's own zone is not known (RFC 5322, section 3.3).
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def poll_ran(window: float | None, took: float) -> bool:
    """Tell whether a failed call was a long poll that ran: the server had begun to wait for output.

    The call failed after ``took`` seconds. ``window`` is the poll window in seconds. If ``window``
    is None or 0, the call was no long poll.
    """
    return window is not None and window > 0 and took >= min(_POLL_RAN, window)
