"""The transport: sends a request under one deadline, with retries and redirects.

Strategy: `RESTClientObject` makes attempts in a loop. Each attempt sends the request once. Module
`call` decides about redirects, and module `retry` about retries. urllib3 has rules for both, but
they know neither the contract (which requests are safe to repeat) nor the deadline of the call.

Invariants: a client holds no state of a call, so threads can share it. A process never uses a
connection of its parent. No status is an error here: the last response is returned as it is. A log
record shows no query, no credential, and no control character from a server.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from urllib3 import Retry

from acp_client_v0_1._deadline import Deadline, Timeout, resolve_timeout
from acp_client_v0_1._errors import PROXY_CREDENTIALS, is_by_function
from acp_client_v0_1._http.attempt import Attempt
from acp_client_v0_1._http.call import SHOWN_HEADERS, Call, encode_body, redirected
from acp_client_v0_1._http.errors import LOWER_ERRORS, public_error, refused_tunnel
from acp_client_v0_1._http.headers import Asking, check_method, checked_headers
from acp_client_v0_1._http.outgoing import signed
from acp_client_v0_1._http.parse import NotHTTP
from acp_client_v0_1._http.proxies import proxy_for
from acp_client_v0_1._http.renewal import Renewal
from acp_client_v0_1._http.response import RawResponse, RESTResponse
from acp_client_v0_1._http.retry import RetryCounter, policy_of
from acp_client_v0_1._http.urls import parse_target
from acp_client_v0_1._text import one_line, package_logger
from acp_client_v0_1.exceptions import ApiException, ApiValueError, TransportException

if TYPE_CHECKING:
    from acp_client_v0_1._http.foreign import Foreign
    from acp_client_v0_1._http.observer import Observer
    from acp_client_v0_1._http.pool import Pools
    from acp_client_v0_1.configuration import Configuration
    from acp_client_v0_1.transport import Transport

# Scripts that were written for openapi-generator's clients import `ApiException` and
# `ApiValueError` from this module.
__all__ = ["ApiException", "ApiValueError", "RESTClientObject", "RESTResponse", "RESTResponseType"]
__all__ += ["RawResponse"]

RESTResponseType = RawResponse
"""urllib3's response, by the name that it has in openapi-generator's clients."""

_log = package_logger(__name__)
_ENDED = ": %s in %.3f s"
_NO_HOST = "no host was set (Configuration(host=…) or ACP_HOST)"
_NOT_READ = "Configuration() does not read ACP_HOST: use Configuration.from_env()"
_READ_EARLIER = (
    "ACP_HOST was set or changed after this client had read it: use "
    "ApiClient(Configuration.from_env()), not the default client"
)
# These become attributes of each log record. An attribute that does not apply is None.
_FACTS = ("status", "attempt", "seconds")
# Only what makes the connections can heed these settings.
_OF_CONNECTIONS = (
    *("assert_hostname", "ca_cert_data", "cert_file", "key_file", "ssl_ca_cert", "ssl_context"),
    *("tls_server_name", "verify_ssl", "no_proxy", "proxy", "proxy_headers", "proxy_ssl_context"),
    *("connection_pool_maxsize", "socket_options"),
)


class RESTClientObject:
    """Sends requests. Threads can share a client, and it works after a fork.

    A pickle of a client holds the configuration, credentials included, and no connection.

    Args:
        configuration: The host, TLS, proxy, timeouts, retries and number of connections.
        transport: What sends the requests. By default connections of the client's own.

    Attributes:
        observer: Sees each attempt, for telemetry. None by default.
        policy: How often a call is retried by default.
        reached: Whether there is a sign that the address is right. Without one, a failure to
            connect is no outage: the address is probably wrong. A sign is a response whose status
            is not 2xx, or whose content could be decoded; a request of a handle or a batch that was
            sent; the token of a run; or a journal with a line about a run.
        learnt: What agents, runs and batches have learnt about the server. Empty until they are
            used.
        renewal: Asks the functions that give credentials.

    Raises:
        ApiTypeError: A setting has the wrong type.
        ApiValueError: A setting has a value that cannot be used, or that the transport would drop.
    """

    def __init__(self, configuration: Configuration, transport: Transport | None = None) -> None:
        self._configuration = configuration
        self._transport = transport
        self.policy: Retry = policy_of(configuration.retries)
        self.reached: bool = False
        self.learnt: dict[str, Any] = {}
        self._pools: Pools | Foreign = _sender(configuration, transport)
        self.observer: Observer | None = None
        self.renewal: Renewal = Renewal()

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self._configuration,)
        return type(self), given if self._transport is None else (*given, self._transport)

    def close(self) -> None:
        """Close the connections that no call uses. The client can be used again afterwards."""
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
        route: str = "",
        asking: Asking | None = None,
    ) -> RESTResponse:
        """Send a request and receive the response. Retry where that is safe.

        Args:
            method: The HTTP method.
            url: The absolute URL.
            headers: The headers, credentials included.
            body: Bytes or text to send as they are, or an object to send as JSON.
            post_params: Must be empty: the protocol has no forms.
            _request_timeout: Seconds in all, a pair (connect, read), or a `Timeout`. By default
                the configured timeout.
            safe: The request changes nothing, so it can be sent again.
            stream: Leave the body of the response to the caller.
            credential: A percent-encoded query parameter such as ``key=abc``. Neither logs and
                errors nor other origins get it.
            retries: Replaces ``Configuration.retries``, in the same forms.
            route: The path of the operation, with its parameters as ``{name}``, for the observer.
            asking: How to write the headers of each attempt, if functions give credentials.

        Returns:
            The response, whatever its status. Its body is read unless ``stream`` is true.

        Raises:
            TransportException: There was no usable response, or time ran out (`ApiTimeoutError`).
            ResponseDecodeError: The body's content coding is broken, and the status is below 300.
            ResponseTooLarge: The body is larger than the limit, and the status is below 300.
            ApiValueError: The request cannot be written.
            ApiTypeError: An argument has the wrong type.
        """
        if post_params:
            raise ApiValueError("post_params: the protocol has no forms")
        # Those of the contract need no check, which takes time.
        if method not in ("GET", "POST", "DELETE"):
            check_method(method)
        if credential:
            self.check_query_key()
        timeout = _request_timeout
        if not isinstance(timeout, Timeout):
            settings = self._configuration
            default = settings.stream_timeout if stream else settings.timeout
            total = None if stream else settings.total_timeout
            timeout = resolve_timeout(timeout, default, total=total)
        sent_headers = checked_headers(headers or {})
        # To pass them all by name would take half as long again, and each request makes a call.
        call = Call(
            method.upper(),
            parse_target(url),
            sent_headers,
            encode_body(sent_headers, body),
            safe,
            stream,
            timeout,
            Deadline.after(timeout.total),
            credential=credential,
            route=route,
        )
        if asking is not None:
            call = self.renewal.prepared(call, asking)
        return self._perform(call, self.policy if retries is None else policy_of(retries))

    def check_query_key(self) -> None:
        """Raise `ApiValueError` if the transport would log the queries, and a key in them."""
        if getattr(self._transport, "logs_queries", False):
            raise ApiValueError(
                "a key in the query would be in the log of urllib3 at DEBUG: send it in a header, "
                "or without Urllib3Transport"
            )

    def _perform(self, call: Call, policy: Retry) -> RESTResponse:
        began = time.monotonic()
        counter = RetryCounter(policy)
        observer = self.observer
        while True:
            number, started = 1 + counter.retries + call.renewed, time.monotonic()
            try:
                if observer is None:
                    response = self._attempt(call)
                else:
                    response = observer.attempt(call, number - 1 + call.hops, self._attempt)
            except ApiException as failure:
                took = time.monotonic() - started
                outcome = f"failed: {one_line(failure.reason)}"
                facts = {"attempt": number, "seconds": took}
                _say(call, logging.DEBUG, _ENDED, outcome, took, **facts)
                wait = counter.after_failure(call, failure, took)
                if wait is None:
                    self._complete(failure, call, number, time.monotonic() - began)
                    raise
            else:
                ended, status = time.monotonic(), response.status
                response.attempts, response.elapsed = number, ended - began
                if status < 300 and not _log.isEnabledFor(logging.DEBUG):
                    return response
                took, outcome = ended - started, f"returned {status}"
                facts = {"attempt": number, "seconds": took, "status": status}
                _say(call, logging.DEBUG, _ENDED, outcome, took, **facts)
                if status < 300:
                    return response
                if other := _moved(call, response) or self._renewed(call, response):
                    call = other
                    continue
                wait = counter.after_response(call, status, response.headers, took)
                if wait is None:
                    return response
                response.close()
            _say(call, logging.INFO, ": %s; retry %d in %.2f s", outcome, number, wait, **facts)
            # The wait is shorter than the time that remains (`RetryCounter`).
            time.sleep(wait)
            call = self._asked_again(call)

    def _asked_again(self, call: Call) -> Call:
        return call if call.asking is None else self.renewal.prepared(call, call.asking)

    def _renewed(self, call: Call, response: RESTResponse) -> Call | None:
        """Return the call with other credentials after its first 401, if the functions give any.

        A request that gets a 401 was not carried out, so any request may be sent again.
        """
        if response.status != 401 or call.asking is None or call.renewed:
            return None
        try:
            again = replace(call, renewed=1)
            other = self.renewal.prepared(again, call.asking, call.asking.given)
        except BaseException:
            response.close()
            raise
        if other.headers == call.headers:
            return None
        response.close()
        _say(call, logging.INFO, ": sent again, with other credentials")
        return other

    def _complete(self, failure: ApiException, call: Call, attempts: int, elapsed: float) -> None:
        """Add what is known of the call: hints only if nothing was sent, or if time ran out."""
        if is_by_function(failure):
            # It may be the error of another call, which is complete.
            return
        failure.attempts, failure.elapsed = attempts, elapsed
        # Only a `TransportException` has `sent`. After any other error, there was a whole response.
        if getattr(failure, "sent", True) and not isinstance(failure, TimeoutError):
            return
        settings, origin = self._configuration, call.target.origin
        hints: list[object] = [failure.reason]
        if origin == parse_target(settings.host).origin:
            now = os.environ.get("ACP_HOST", "").strip().rstrip("/")
            if settings.from_environment and now not in ("", settings.host):
                hints.append(_READ_EARLIER)
            elif settings.host_is_default:
                hints.append(_NOT_READ if now else _NO_HOST)
        if call.cross_origin:
            hints.append(f"a redirect of {settings.host} led there")
        if proxy := proxy_for(origin, settings.proxy, settings.no_proxy, {}):
            wanted = PROXY_CREDENTIALS if refused_tunnel(failure.reason) == 407 else ""
            hints.append(f"connections use {proxy}{wanted}")
        failure.reason = "; ".join(map(str, hints))

    def _is_own(self, call: Call) -> bool:
        """Return whether a call goes to the configured origin, and no other origin led there."""
        # `call_api` may send a request to any host.
        own = parse_target(self._configuration.host).origin
        return call.target.origin == own and not call.cross_origin

    def _attempt(self, call: Call) -> RESTResponse:
        if (auth := self._configuration.auth) is not None and self._is_own(call):
            call = signed(call, auth)
        if _log.isEnabledFor(logging.DEBUG):
            shown = {k: v if k.lower() in SHOWN_HEADERS else "***" for k, v in call.headers.items()}
            _say(call, logging.DEBUG, " with %s", shown)
        with Attempt(call.deadline, call.timeout, not call.safe) as attempt:
            try:
                incoming = self._pools.send(call, attempt)
            except LOWER_ERRORS as error:
                connected, reached = attempt.newly_connected, self.reached
                # If the client has never reached this server before, and a new connection to it
                # brings something that is not HTTP, the address is wrong, and the request counts as
                # unsent.
                sent = attempt.sent and (reached or not (connected and isinstance(error, NotHTTP)))
                # A proxy that forwards the request is no connection to the origin.
                connected &= not (attempt.connection and attempt.connection.proxy_is_forwarding)
                settings = self._configuration
                own = bool(settings.cert_file or settings.ssl_context) and not call.cross_origin
                raise public_error(error, call, sent=sent, connected=connected, own=own) from error
            response = RESTResponse(call, incoming, self._configuration.max_response_bytes)
            if call.credential:
                response.headers = call.without_credential(response.headers)
            if not call.stream:
                response.read()
            return response


def _sender(configuration: Configuration, transport: Transport | None) -> Pools | Foreign:
    # Only one of the two loads. In a cassette of vcrpy, `pool` cannot be loaded.
    if transport is None:
        from acp_client_v0_1._http.pool import Pools

        return Pools(configuration)
    from acp_client_v0_1._http.foreign import Foreign
    from acp_client_v0_1.configuration import Configuration
    from acp_client_v0_1.transport import Urllib3Transport

    if isinstance(transport, Urllib3Transport) and transport.pool is None:
        return Foreign(transport.bind(configuration))
    unset = Configuration()
    for name in _OF_CONNECTIONS:
        if getattr(configuration, name) != getattr(unset, name):
            words = f"{name} cannot be used with {type(transport).__name__}"
            raise ApiValueError(f"{words}, which has connections of its own: set it up there")
    return Foreign(transport)


def _moved(call: Call, response: RESTResponse) -> Call | None:
    try:
        moved = redirected(call, response.status, set(response.headers.getlist("location")))
    except TransportException as failure:
        response.close()
        failure.attempts, failure.elapsed = response.attempts, response.elapsed
        raise
    if moved is not None:
        response.close()
        _say(call, logging.INFO, ": redirected to %s", moved.target.origin, status=response.status)
    return moved


def _say(call: Call, level: int, text: str, *values: object, **facts: object) -> None:
    """Log about a call. Its method, its path and ``facts`` become attributes of the record."""
    if _log.isEnabledFor(level):
        named = {"method": call.method, "path": call.path}
        extra = {**dict.fromkeys(_FACTS), **facts, **named}
        _log.log(level, f"%s %s{text}", *named.values(), *values, extra=extra, stacklevel=2)
