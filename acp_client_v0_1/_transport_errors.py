"""`TransportException` and its subclasses: no usable response came.

`exceptions` is the public home of these classes and draws the tree. The classes have a module of
their own, because they derive from an error of urllib3, and urllib3 takes long to load. A script
that handles only other errors does not load urllib3.
"""

from __future__ import annotations

import re
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from acp_client_v0_1._errors import ApiException
from acp_client_v0_1._text import one_line, short

_version: str = urllib3.__version__  # type: ignore[attr-defined]
# The last number of a version of urllib3-future is 900 or more.
if re.fullmatch(r"\d+\.\d+\.9\d\d", _version):
    raise ImportError(
        f"urllib3 is replaced by urllib3-future {_version}, which niquests installs: use "
        "another environment, or URLLIB3_NO_OVERRIDE=1 pip install niquests --no-binary "
        "urllib3-future, and then pip install --force-reinstall urllib3"
    )

__all__ = ["ApiTimeoutError", "ConnectionException", "NameResolutionException"]
__all__ += ["ProtocolException", "ProxyException", "StreamInterrupted", "TLSException"]
__all__ += ["TransportException"]


class TransportException(ApiException, HTTPError):
    """No usable response came; also urllib3's ``HTTPError``."""

    sent: bool = False
    """True if the server may have received the request, or a part of it."""
    tls_cause: str = ""
    """What failed of TLS, such as "expired" or "unknown CA"; "" if that is not known."""

    def _headline(self) -> str:
        request, reason = self._request(), one_line(self.reason)
        if self.status is not None:
            request = f"{request} failed after status {self.status}".lstrip()
        return f"{request}: {reason}" if request else reason

    def _message(self) -> str:
        return ""


class ConnectionException(TransportException):
    """The connection was refused, reset, or closed before the response was complete."""


class NameResolutionException(TransportException):
    """The host's name could not be resolved to an address."""


class ProxyException(TransportException):
    """The proxy could not be reached, or refused to connect."""


class TLSException(TransportException):
    """The TLS handshake failed, or the certificate is not trusted."""


class ProtocolException(TransportException):
    """The server sent something that is not valid HTTP, or a redirect that is not followed."""


class ApiTimeoutError(TransportException, TimeoutError):
    """The call ran out of time, or the connection was silent too long; also a ``TimeoutError``."""


class StreamInterrupted(TransportException):
    """A stream ended before it was complete; ``last_event_id`` says where to resume.

    Args:
        last_event_id: The id to resume from. It is empty if no event had one.
        reason: What happened.
        response: ``status``, ``headers``, ``method`` and ``url`` of the stream.
    """

    def __init__(self, *, last_event_id: str, reason: str, **response: Any) -> None:
        super().__init__(reason=reason, **response)
        self.last_event_id = last_event_id

    def _headline(self) -> str:
        request, last_id = self._request() or "the stream", short(self.last_event_id)
        event = f"after event {last_id!r}" if last_id else "before any event id"
        return f"{request} was interrupted {event}: {one_line(self.reason)}"
