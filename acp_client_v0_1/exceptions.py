"""Every error that this package raises, in one tree.

::

    OpenApiException
    ├── ApiTypeError, ApiValueError,        a bad argument or setting, found before anything
    │   ApiKeyError, ApiAttributeError      is sent (also TypeError, ValueError, ...)
    └── ApiException                        a call failed
        ├── BadRequestException             400
        ├── UnauthorizedException           401
        ├── ForbiddenException              403
        ├── NotFoundException               404
        ├── ConflictException               409
        ├── UnprocessableEntityException    422
        ├── TooManyRequestsException        429
        ├── ServiceException                5xx
        ├── TransportException              no usable answer (also urllib3's HTTPError)
        │   ├── ConnectionException         refused, reset, closed, cut short
        │   ├── NameResolutionException     the host's name has no address
        │   ├── ProxyException              the proxy failed or refused
        │   ├── TLSException                handshake or certificate
        │   ├── ProtocolException           what came is not valid HTTP, or a refused redirect
        │   ├── ApiTimeoutError             out of time (also the builtin TimeoutError)
        │   └── StreamInterrupted           a stream died before its end
        ├── ResponseDecodeError             the answer's bytes cannot be decoded
        │   └── ResponseValidationError     decoded, but not what the contract says
        ├── StreamDecodeError               one event of a stream cannot be decoded
        ├── EventTooLarge                   one event of a stream exceeds the limit
        └── RunWaitTimeout                  waiting for a run ran out of time (also TimeoutError)

Strategy: an error is plain data (status, reason, headers, body, parsed data, method, URL), never a
live response, so that each of them pickles and copies. The branch of ``TransportException`` loads
when one of its names is first used, urllib3 with it.

Invariants: ``str()`` is one bounded line; a URL is kept without user information and shown as its
path; request headers are never kept, so credentials cannot appear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import Unpack

from acp_client_v0_1._errors import (
    AnswerFields,
    ApiAttributeError,
    ApiException,
    ApiKeyError,
    ApiTypeError,
    ApiValueError,
    OpenApiException,
    bounded,
    one_line,
    render_path,
)
from acp_client_v0_1._lazy import lazy_exports

if TYPE_CHECKING:
    from acp_client_v0_1._transport_errors import ApiTimeoutError as ApiTimeoutError
    from acp_client_v0_1._transport_errors import ConnectionException as ConnectionException
    from acp_client_v0_1._transport_errors import NameResolutionException as NameResolutionException
    from acp_client_v0_1._transport_errors import ProtocolException as ProtocolException
    from acp_client_v0_1._transport_errors import ProxyException as ProxyException
    from acp_client_v0_1._transport_errors import StreamInterrupted as StreamInterrupted
    from acp_client_v0_1._transport_errors import TLSException as TLSException
    from acp_client_v0_1._transport_errors import TransportException as TransportException
else:
    # They have a base class of urllib3's, which takes long to load.
    __getattr__, __dir__ = lazy_exports(
        __name__,
        dict.fromkeys(
            (
                "ApiTimeoutError",
                "ConnectionException",
                "NameResolutionException",
                "ProtocolException",
                "ProxyException",
                "StreamInterrupted",
                "TLSException",
                "TransportException",
            ),
            "acp_client_v0_1._transport_errors",
        ),
    )

__all__ = [
    "ApiAttributeError",
    "ApiException",
    "ApiKeyError",
    "ApiTimeoutError",
    "ApiTypeError",
    "ApiValueError",
    "BadRequestException",
    "ConflictException",
    "ConnectionException",
    "EventTooLarge",
    "ForbiddenException",
    "NameResolutionException",
    "NotFoundException",
    "OpenApiException",
    "ProtocolException",
    "ProxyException",
    "ResponseDecodeError",
    "ResponseValidationError",
    "RunWaitTimeout",
    "ServiceException",
    "StreamDecodeError",
    "StreamInterrupted",
    "TLSException",
    "TooManyRequestsException",
    "TransportException",
    "UnauthorizedException",
    "UnprocessableEntityException",
    "render_path",
]


class BadRequestException(ApiException, status=400):
    """The server answered 400."""


class UnauthorizedException(ApiException, status=401):
    """The server answered 401: credentials are missing or wrong."""


class ForbiddenException(ApiException, status=403):
    """The server answered 403: the credentials do not allow this."""


class NotFoundException(ApiException, status=404):
    """The server answered 404."""


class ConflictException(ApiException, status=409):
    """The server answered 409: the state of the resource does not allow this."""


class UnprocessableEntityException(ApiException, status=422):
    """The server answered 422: it understood the request and refuses its content."""


class TooManyRequestsException(ApiException, status=429):
    """The server answered 429, and no time or no retry was left."""


class ServiceException(ApiException, status=500):
    """The server answered 5xx."""


class ResponseDecodeError(ApiException):
    """The answer's bytes cannot be decoded: bad compression, bad JSON, a wrong content type."""

    _before_reason: ClassVar[str] = ": "

    def _words(self) -> str:
        return bounded(one_line(self.body))


class ResponseValidationError(ResponseDecodeError):
    """The answer is JSON, but not what the contract says; ``body`` keeps all of it."""


class StreamDecodeError(ApiException):
    """One event of a stream cannot be decoded; the stream can go on.

    Args:
        event_id: The last event id at the event.
        event_name: The event's name.
        offset: Bytes from the start of the stream to the event.
        excerpt: The beginning of the event's data, bounded.
        reason: What is wrong with it.
        answer: ``status``, ``headers``, ``method`` and ``url`` of the stream; ``body`` is all
            of the event's data.
    """

    def __init__(
        self,
        *,
        event_id: str,
        event_name: str,
        offset: int,
        excerpt: str,
        reason: str,
        **answer: Unpack[AnswerFields],
    ) -> None:
        super().__init__(reason=reason, **answer)
        self.event_id = event_id
        self.event_name = event_name
        self.offset = offset
        self.excerpt = excerpt

    def __str__(self) -> str:
        name, last_id = one_line(self.event_name, 100), one_line(self.event_id, 100)
        event = f"event {name!r} with id {last_id!r}"
        return (
            f"{event} at byte {self.offset} of the stream cannot be decoded: "
            f"{bounded(one_line(self.reason))}: {bounded(one_line(self.excerpt))}"
        )


class EventTooLarge(ApiException):
    """One event of a stream is larger than ``max_event_bytes``.

    Args:
        limit: The limit in bytes.
        answer: ``status``, ``headers``, ``method`` and ``url`` of the stream.
    """

    _before_reason: ClassVar[str] = ": "

    def __init__(self, *, limit: int, **answer: Unpack[AnswerFields]) -> None:
        super().__init__(reason=f"an event is larger than max_event_bytes={limit}", **answer)
        self.limit = limit


class RunWaitTimeout(ApiException, TimeoutError):
    """A run had no output when the time for waiting was over; the run itself goes on.

    Args:
        run_id: The run that was waited for.
        elapsed: Seconds spent waiting.
        reason: What was waited for, if not just the output.
    """

    def __init__(self, *, run_id: str, elapsed: float, reason: str | None = None) -> None:
        super().__init__(reason=reason or f"run {run_id} has no output after {elapsed:.1f} s")
        self.run_id = run_id
        self.elapsed = elapsed
