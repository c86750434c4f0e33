"""What went wrong on the way becomes an error of the tree.

Strategy: one function looks at the exception of a lower layer, and at whether the request may have
left, and gives the error to raise; another says whether that kind of error passes by itself.

Invariant: the original exception is chained by the caller, ``raise failure_of(...) from error``.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl

from urllib3.exceptions import (
    ConnectTimeoutError,
    EmptyPoolError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from acp_client_v0_1._http.call import Call
from acp_client_v0_1.exceptions import (
    ApiTimeoutError,
    ConnectionException,
    NameResolutionException,
    ProtocolException,
    ProxyException,
    TLSException,
    TransportException,
)

__all__ = ["LOWER_ERRORS", "failure_of", "is_transient"]

# What the layers below raise. ssl.CertificateError is a ValueError in no supported version.
LOWER_ERRORS = (OSError, http.client.HTTPException, HTTPError)

_TIMEOUTS = (ConnectTimeoutError, ReadTimeoutError, EmptyPoolError)
_ENDED = (
    http.client.IncompleteRead,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    ssl.SSLSyscallError,
)
_REFUSED_TUNNEL = re.compile(r"Tunnel connection failed: (\d+)")


def failure_of(error: BaseException, call: Call, *, sent: bool) -> TransportException:
    """Translate an exception of a lower layer.

    Args:
        error: The exception.
        call: The request.
        sent: The server may have received it, or a part of it.

    Returns:
        The error to raise.
    """
    if isinstance(error, TransportException):
        return error
    cause = _innermost(error)
    kind = _kind_of(cause)
    if isinstance(cause, EmptyPoolError):
        reason = "all connections (connection_pool_maxsize) are in use"
    elif kind is ApiTimeoutError:
        reason = _reason_of_timeout(call, sent)
    elif isinstance(cause, http.client.IncompleteRead):
        reason = "the body is incomplete"
    elif sent:
        reason = _text(cause)
    else:
        reason = f"cannot connect to {call.target.origin}: {_text(cause)}"
        by_proxy = isinstance(error, ProxyError) or _REFUSED_TUNNEL.search(str(cause))
        if kind is ConnectionException and by_proxy:
            kind, reason = ProxyException, f"the proxy does not connect: {_text(cause)}"
    failure = kind(reason=reason, method=call.method, url=call.target.url)
    failure.sent = sent
    failure.ambiguous = sent and not call.safe
    return failure


def is_transient(failure: TransportException) -> bool:
    """Say whether the same request may well succeed a moment later."""
    if isinstance(failure, ProxyException):
        refused = _REFUSED_TUNNEL.search(str(failure.reason))
        return refused is None or refused[1].startswith("5")
    if isinstance(failure, ApiTimeoutError):
        # A silent server may still be at work on it, and a full pool was waited for already.
        return not failure.sent and not isinstance(failure.__cause__, EmptyPoolError)
    return isinstance(failure, (ConnectionException, NameResolutionException))


def _innermost(error: BaseException) -> BaseException:
    """Look through urllib3's wrappers, and the proxy's, for what happened."""
    while isinstance(error, (HTTPError, http.client.HTTPException)):
        inner = error.__cause__ or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        if inner is None or isinstance(error, (NameResolutionError, *_TIMEOUTS)):
            return error
        error = inner
    return error


def _kind_of(error: BaseException) -> type[TransportException]:
    if isinstance(error, (socket.gaierror, NameResolutionError)):
        return NameResolutionException
    if isinstance(error, NewConnectionError):  # urllib3 derives it from its ConnectTimeoutError
        return ConnectionException
    if isinstance(error, (TimeoutError, *_TIMEOUTS)):
        return ApiTimeoutError
    if isinstance(error, _ENDED):
        return ConnectionException
    if isinstance(error, (ssl.SSLError, SSLError)):
        return TLSException
    if isinstance(error, http.client.HTTPException):
        return ProtocolException
    return ConnectionException


def _text(error: BaseException) -> str:
    if isinstance(error, NewConnectionError) and isinstance(error.__cause__, ConnectionError):
        error = error.__cause__  # urllib3's own words begin with the connection's representation
    text = getattr(error, "strerror", None) or str(error)
    return str(text).rpartition("Failed to establish a new connection: ")[2] or type(error).__name__


def _reason_of_timeout(call: Call, sent: bool) -> str:
    if call.deadline.expired:
        total = call.timeout.total
        return "the call's time is over" if total is None else f"the call's {total:g} s are over"
    limit = call.timeout.read if sent else call.timeout.connect
    within = "" if limit is None else f" within {limit:g} s"
    return f"no answer{within}" if sent else f"no connection to {call.target.origin}{within}"
