"""Translates exceptions of lower layers into the public errors, whose messages say what to do.

Invariant: the caller chains the original exception: ``raise public_error(...) from error``.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from typing import Any

from urllib3 import exceptions as lower
from urllib3.exceptions import EmptyPoolError, HTTPError, ProxyError, SSLError
from urllib3.util.ssl_match_hostname import CertificateError

from acp_client_v0_1 import exceptions
from acp_client_v0_1._http.call import Call
from acp_client_v0_1._http.parse import NotHTTP
from acp_client_v0_1._http.tls import connection_broke
from acp_client_v0_1._http.tls_causes import CLIENT, ENDED, cause_of, words_of

# The layers below raise these errors. urllib3 raises its own `CertificateError` if a certificate
# does not have the name in ``assert_hostname``. This class is no OSError, although
# ``ssl.CertificateError`` is one. urllib3's errors of connecting and reading come only from a
# transport of the user's.
LOWER_ERRORS = (OSError, http.client.HTTPException, HTTPError, CertificateError)

# The first row that matches counts. An error may match several rows: every error matches the last.
_KINDS: tuple[tuple[Any, type[exceptions.TransportException]], ...] = (
    (socket.gaierror, exceptions.NameResolutionException),
    ((TimeoutError, EmptyPoolError), exceptions.ApiTimeoutError),
    ((ssl.SSLError, SSLError, CertificateError), exceptions.TLSException),
    (http.client.IncompleteRead, exceptions.ConnectionException),
    (http.client.HTTPException, exceptions.ProtocolException),
    (BaseException, exceptions.ConnectionException),
)

# A transport of the user's raises these errors only if nothing of the request was sent.
_UNSENT = (
    *(ConnectionRefusedError, socket.gaierror),
    *(lower.ClosedPoolError, lower.ConnectTimeoutError, lower.NewConnectionError, EmptyPoolError),
)

_REFUSED_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")

# The first frame of a server of HTTP/2 (RFC 9113, section 3.4), as its repr begins.
_HTTP_2 = re.compile(r"['\"]\\x00\\x00.{1,4}\\x04")


def public_error(
    error: BaseException,
    call: Call,
    *,
    sent: bool,
    reading: bool = False,
    connected: bool = False,
    own: bool = False,
) -> exceptions.TransportException:
    """Translate an exception of a lower layer into the error to raise.

    The message depends on how far the attempt came:

    * ``connected``: the attempt made a new connection to the origin, directly or by a tunnel. Not
      true if the origin has sent a byte of HTTP.
    * ``sent``: the server may have a part of the request.
    * ``reading``: the head of the response has arrived.

    ``own`` is true if the client has a certificate for the origin.
    """
    if isinstance(error, exceptions.TransportException):
        return error
    cause = _innermost(error)
    name = "" if reading else cause_of(cause, own)
    # In TLS 1.3, this alert may come after the request was sent. The server has not read it.
    refused = name.startswith(CLIENT)
    sent = sent and not refused
    kinds = (kind for causes, kind in _KINDS if isinstance(cause, causes))
    # The alert may come together with the end of the connection.
    broke = connection_broke(cause) and not refused
    kind = exceptions.ConnectionException if broke else next(kinds)
    tunnel, https = refused_tunnel(cause), call.target.origin.scheme == "https"
    proxied = not sent and (isinstance(error, ProxyError) or tunnel is not None)
    if name == ENDED and (proxied or not https or (sent and not connected)):
        name = ""
    if kind is exceptions.ApiTimeoutError:
        reason = _reason_of_timeout(cause, call, sent=sent, reading=reading)
    elif proxied:
        kind = exceptions.ProxyException if kind is exceptions.ConnectionException else kind
        prefix = "the proxy does not connect: " if tunnel is None else ""
        reason = f"{prefix}{_description_of(cause, name, False, 'its URL')}"
    elif isinstance(cause, NotHTTP) and not sent:
        # A server of another protocol carries out no request. So here ``sent`` is False, although
        # the bytes of the request were sent. Without a connection to the origin, it was the proxy
        # that sent these bytes, in response to CONNECT.
        reason = _other_server(str(cause).partition(": ")[2], call, proxied=not connected)
    else:
        reason = _description_of(cause, name, own)
        if not sent:
            reason = f"cannot connect to {call.target.origin}: {reason}"
        elif connected and broke and not (reading or https):
            reason = f"{reason}; if the server expects TLS, write https://"
    failure = kind(reason=reason, method=call.method, url=call.target.url)
    failure.sent, failure.tls_cause = sent, name
    failure.ambiguous = sent and not call.safe
    return failure


def is_unsent(error: BaseException) -> bool:
    """Return whether an error of a transport of the user's means that nothing was sent."""
    if isinstance(error, ProxyError):
        # urllib3 may raise a `ProxyError` after the request was sent, too.
        error = error.original_error
        if refused_tunnel(error) is not None:
            return True
    # A client checks the certificate before it sends anything.
    unverified = (ssl.SSLCertVerificationError, CertificateError)
    return isinstance(error, _UNSENT) or isinstance(_innermost(error), unverified)


def refused_tunnel(message: object) -> int | None:
    """Return the status with which a proxy refused a tunnel, or None if no proxy did.

    ``message`` is an error or the text of an error.
    """
    refused = _REFUSED_TUNNEL.search(str(message))
    return None if refused is None else int(refused[1])


def _innermost(error: BaseException) -> BaseException:
    """Unwrap the exceptions of urllib3 and http.client down to the innermost cause."""
    while isinstance(error, (HTTPError, http.client.HTTPException)):
        causes = (error.__cause__, *error.args)
        inner = next((each for each in causes if isinstance(each, BaseException)), None)
        if inner is None:
            return error
        error = inner
    return error


def _description_of(error: BaseException, cause: str, own: bool, *place: str) -> str:
    """Describe an error. ``cause`` is its name if it is a fault of TLS.

    ``place`` is where the name of a proxy stands.
    """
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    if not cause:
        return text
    says, advice = words_of(cause, own, *place)
    if isinstance(error, (ssl.SSLCertVerificationError, CertificateError)):
        says = f"its certificate is refused: {getattr(error, 'verify_message', text).rstrip('.')}"
    if place and "cert_file" in advice:
        advice = "set proxy_ssl_context"
    return f"{says}; {advice}"


def _other_server(beginning: str, call: Call, *, proxied: bool) -> str:
    """Describe a server that does not speak HTTP. With ``proxied``, this server is the proxy.

    ``beginning`` is the repr of the first bytes that the server sent.
    """
    name, setting = ("the proxy", "its URL") if proxied else (call.target.origin, "host")
    reason = f"is another kind of server, which sends {beginning}: check {setting}"
    # A TLS alert begins with this byte.
    if beginning.startswith(r"'\x15"):
        reason = "expects TLS: write https://"
    elif _HTTP_2.match(beginning):
        reason = "speaks only HTTP/2: have it speak HTTP/1.1, too"
    return f"{name} {reason}{'' if call.safe else '; no run was made or changed'}"


def _reason_of_timeout(cause: BaseException, call: Call, *, sent: bool, reading: bool) -> str:
    """Describe the phase in which a call ran out of time, and the limit that ended it."""
    limit = call.timeout.read if sent or isinstance(cause, EmptyPoolError) else call.timeout.connect
    within = "" if limit is None else f" within {limit:.5g} s"
    if call.deadline.expired:
        total = call.timeout.total
        within = " in time" if total is None else f" within the call's {total:.5g} s"
    if isinstance(cause, EmptyPoolError):
        return f"no free connection{within}: all connection_pool_maxsize connections are in use"
    if not sent:
        return f"no connection to {call.target.origin}{within}"
    if not reading:
        return f"no response{within}"
    rest = "the response was not complete" if call.deadline.expired else "nothing more of the body"
    return f"{rest}{within}"
