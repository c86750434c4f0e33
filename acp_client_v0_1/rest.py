"""The transport: requests out and answers in, under one deadline, with retries and redirects.

Strategy: with its helpers in ``_http``, the only file that sends by urllib3, which keeps the
connections and speaks HTTP; each attempt is one call of its pool's ``urlopen``. Redirects and
retries are done here, because their rules are the contract's (what is safe to repeat) and the
call's (what time remains). Attempts are independent of each other; the loop in `RESTClientObject`
is all that connects them.

Invariants: a client holds no state of a call, so threads share it. A process never uses a
connection of its parent. Statuses are not judged here: the last answer is returned as it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from urllib3 import Retry
from urllib3 import Timeout as SocketTimeouts

from acp_client_v0_1._deadline import Deadline, Timeout
from acp_client_v0_1._http.attempt import Attempt, attempting
from acp_client_v0_1._http.call import HARMLESS_HEADERS, Call, encode_body, redirected
from acp_client_v0_1._http.errors import LOWER_ERRORS, failure_of
from acp_client_v0_1._http.headers import checked_headers
from acp_client_v0_1._http.pools import Pools
from acp_client_v0_1._http.response import RawResponse, RESTResponse
from acp_client_v0_1._http.retry import Attempts, RetryPolicy
from acp_client_v0_1._http.urls import parse_target
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTypeError,
    ApiValueError,
    BadRequestException,
    ConflictException,
    ForbiddenException,
    NotFoundException,
    ServiceException,
    TooManyRequestsException,
    TransportException,
    UnauthorizedException,
    UnprocessableEntityException,
)

if TYPE_CHECKING:
    from acp_client_v0_1.configuration import Configuration

__all__ = [
    "ApiException",
    "ApiTypeError",
    "ApiValueError",
    "BadRequestException",
    "ConflictException",
    "ForbiddenException",
    "NotFoundException",
    "RESTClientObject",
    "RESTResponse",
    "RESTResponseType",
    "RawResponse",
    "ServiceException",
    "TooManyRequestsException",
    "UnauthorizedException",
    "UnprocessableEntityException",
]

RESTResponseType = RawResponse
"""The name that openapi-generator's clients have for urllib3's response."""

_log = logging.getLogger(__name__)

# What urllib3 is told; the attempt has its own limits.
_ONCE = Retry(total=False, redirect=False)
_UNLIMITED = SocketTimeouts(connect=None, read=None)


class RESTClientObject:
    """Sends requests; safe to share between threads, safe after a fork, and picklable.

    Args:
        configuration: Hosts, TLS, proxy, time limits, retries and the size of the pool.

    Raises:
        ApiTypeError: A setting has the wrong type.
        ApiValueError: A setting has a value that cannot be used.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._policy = RetryPolicy.of(configuration.retries)
        self._pools = Pools(configuration)

    def __getstate__(self) -> dict[str, Any]:
        return {"configuration": self._configuration}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["configuration"])  # type: ignore[misc]

    def close(self) -> None:
        """Close the connections that no call uses; the client can be used again afterwards."""
        self._pools.close()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        post_params: Sequence[tuple[str, Any]] | None = None,
        _request_timeout: object = None,
        *,
        safe: bool = False,
        stream: bool = False,
        credential: str = "",
        retries: int | Retry | None = None,
    ) -> RESTResponse:
        """Send a request, more than once where that is safe, and take in its answer.

        Args:
            method: The HTTP method.
            url: The absolute URL.
            headers: The headers, credentials included.
            body: Bytes or text to send as they are, or an object to send as JSON.
            post_params: Form fields, instead of a body.
            _request_timeout: Seconds: a total, a pair (connect, read), or a `Timeout`; None for
                the configured default.
            safe: Sending it again changes nothing.
            stream: Leave the answer's body to the caller.
            credential: A parameter of the query, percent-encoded, that no log, error or other
                origin may see.
            retries: The retries of this call, in the forms of ``Configuration.retries``, which it
                replaces; None for those.

        Returns:
            The answer, whatever its status; its body is read unless ``stream`` is true.

        Raises:
            TransportException: No usable answer came; `ApiTimeoutError` if time ran out.
            ResponseDecodeError: The body's content coding is broken.
            ApiValueError: The request cannot be written.
            ApiTypeError: An argument has the wrong type.
        """
        timeout = self._timeout(_request_timeout, stream)
        sent_headers = checked_headers(headers or {})
        content = encode_body(sent_headers, body, post_params)
        deadline = Deadline.after(timeout.total)
        target = parse_target(url)
        how = (safe, stream, timeout, deadline)
        call = Call(method.upper(), target, sent_headers, content, *how, credential=credential)
        policy = self._policy if retries is None else RetryPolicy.of(retries)
        return self._perform(call, policy)

    def _timeout(self, request_timeout: object, stream: bool) -> Timeout:
        if request_timeout is not None:
            return Timeout.of(request_timeout)
        if stream:
            return Timeout.of(self._configuration.stream_timeout, "Configuration.stream_timeout")
        return Timeout.of(self._configuration.timeout, "Configuration.timeout")

    def _perform(self, call: Call, policy: RetryPolicy) -> RESTResponse:
        """Make attempts until one counts."""
        attempts = Attempts(policy)
        hops = 0
        while True:
            started = time.monotonic()
            try:
                response = self._attempt(call)
            except TransportException as failure:
                took = time.monotonic() - started
                _note(call, f"failed: {failure.reason}", took)
                wait = attempts.after_failure(call, failure, took)
                if wait is None:
                    raise
                outcome = str(failure.reason)
            else:
                took = time.monotonic() - started
                _note(call, f"answered {response.status}", took)
                if response.status < 300:
                    return response
                moved = _moved(call, response, hops)
                if moved is not None:
                    hops += 1
                    call = moved
                    continue
                wait = attempts.after_answer(call, response.status, response.headers, took)
                if wait is None:
                    return response
                response.close()
                outcome = f"status {response.status}"
            _log.info("%s %s: %s; retry %d in %.2f s", *_place(call), outcome, attempts.made, wait)
            call.deadline.sleep(wait)

    def _attempt(self, call: Call) -> RESTResponse:
        """Send the request once."""
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s %s with %s", *_place(call), _masked(call.headers))
        attempt = Attempt(call.deadline, call.timeout, not call.safe, call.credential)
        with attempting(attempt):
            try:
                raw = self._send(call)
            except LOWER_ERRORS as error:
                raise failure_of(error, call, sent=attempt.sent) from error
            response = RESTResponse(call, raw)
            if not call.stream:
                response.read()
            return response

    def _send(self, call: Call) -> RawResponse:
        """Send the request by urllib3, which is told to leave everything else to us."""
        origin, unbounded = call.target.origin, call.stream or bool(call.timeout.window)
        if call.foreign:
            route = self._pools.make(origin, unbounded=unbounded, foreign=True)
        else:
            route = self._pools.route(origin, unbounded=unbounded)
        response = route.pool.urlopen(
            call.method,
            call.target.url if route.forwarding else call.target.path,
            body=call.body,
            headers=call.headers,
            retries=_ONCE,
            redirect=False,
            assert_same_host=False,
            timeout=_UNLIMITED,
            pool_timeout=call.deadline.bound(call.timeout.read),  # type: ignore[arg-type]  # seconds
            preload_content=False,
        )
        if call.foreign:
            route.pool.close()  # and so the connection, when the answer gives it back
        return response


def _moved(call: Call, response: RESTResponse, hops: int) -> Call | None:
    """Follow a redirect; gives None where the answer is no redirect to follow."""
    try:
        moved = redirected(call, response.status, response.getheader("location"), hops)
    except TransportException:
        response.close()
        raise
    if moved is not None:
        response.close()
        _log.info("%s %s: redirected to %s", *_place(call), moved.target.origin)
    return moved


def _note(call: Call, outcome: object, took: float) -> None:
    """Log how an attempt ended."""
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug("%s %s: %s in %.3f s", *_place(call), outcome, took)


def _place(call: Call) -> tuple[str, str]:
    # Without the query, which may hold what a log must not.
    return call.method, call.target.path.partition("?")[0]


def _masked(headers: Mapping[str, str]) -> dict[str, str]:
    return {k: v if k.lower() in HARMLESS_HEADERS else "***" for k, v in headers.items()}
