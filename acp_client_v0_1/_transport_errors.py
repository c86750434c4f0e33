"""The branch of the error tree below ``TransportException``: no usable answer came.

Strategy: `exceptions` is the public home of these classes and draws the tree. They stand apart
from it since their base class is urllib3's as well, and loading urllib3 takes longer than loading
all the rest that a script imports; what only handles other errors goes without.

Invariants: those of `exceptions`.
"""

from __future__ import annotations

from typing_extensions import Unpack
from urllib3.exceptions import HTTPError

from acp_client_v0_1._errors import AnswerFields, ApiException, one_line, path_of

__all__ = [
    "ApiTimeoutError",
    "ConnectionException",
    "NameResolutionException",
    "ProtocolException",
    "ProxyException",
    "StreamInterrupted",
    "TLSException",
    "TransportException",
]


class TransportException(ApiException, HTTPError):
    """No usable answer came; also an ``urllib3.exceptions.HTTPError``."""

    sent: bool = False
    """True if the server may have received the request, or a part of it."""

    def _headline(self) -> str:
        where = " ".join(filter(None, (self.method, path_of(self.url))))
        if self.status is not None:
            where = f"{where} failed after status {self.status}".strip()
        return f"{where}: {one_line(self.reason)}" if where else one_line(self.reason)

    def _words(self) -> str:
        return ""


class ConnectionException(TransportException):
    """The connection could not be made, was reset, or ended too early."""


class NameResolutionException(TransportException):
    """The host's name could not be resolved to an address."""


class ProxyException(TransportException):
    """The proxy could not be reached or refused to connect."""


class TLSException(TransportException):
    """The TLS handshake failed, or the certificate is not trusted."""


class ProtocolException(TransportException):
    """What the server sent is not valid HTTP, or its redirect must not be followed."""


class ApiTimeoutError(TransportException, TimeoutError):
    """The call ran out of its time, or the connection was silent for too long."""


class StreamInterrupted(TransportException):
    """A stream ended before HTTP says that it is complete.

    Args:
        last_event_id: The id to resume from, "" if there is none.
        reason: What happened.
        answer: ``status``, ``headers``, ``method`` and ``url`` of the stream.
    """

    def __init__(self, *, last_event_id: str, reason: str, **answer: Unpack[AnswerFields]) -> None:
        super().__init__(reason=reason, **answer)
        self.last_event_id = last_event_id

    def _headline(self) -> str:
        where = " ".join(filter(None, (self.method, path_of(self.url)))) or "the stream"
        event = (
            f"after event {one_line(self.last_event_id)!r}"
            if self.last_event_id
            else "before any event id"
        )
        return f"{where} was interrupted {event}: {one_line(self.reason)}"
