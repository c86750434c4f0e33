"""The errors of calls and of their arguments, in one tree.

::

    OpenApiException
    ├── ApiTypeError                        before anything is sent: a wrong type
    ├── ApiValueError                       before anything is sent: a wrong value
    ├── ApiKeyError
    ├── ApiAttributeError
    └── ApiException                        a call failed
        ├── BadRequestException             400
        ├── UnauthorizedException           401
        ├── ForbiddenException              403
        ├── NotFoundException               404
        ├── ConflictException               409
        ├── UnprocessableEntityException    422
        ├── TooManyRequestsException        429
        ├── ServiceException                5xx
        ├── TransportException              no usable response (also urllib3's HTTPError)
        │   ├── ConnectionException         refused, reset, closed, truncated
        │   ├── NameResolutionException     the host's name has no address
        │   ├── ProxyException              the proxy failed or refused
        │   ├── TLSException                handshake or certificate
        │   ├── ProtocolException           not valid HTTP, or a refused redirect
        │   ├── ApiTimeoutError             out of time (also the builtin TimeoutError)
        │   └── StreamInterrupted           a stream died before its end
        ├── ResponseDecodeError             the response's bytes cannot be decoded
        │   └── ResponseValidationError     decoded, but not what the contract says
        ├── StreamDecodeError               one event of a stream cannot be decoded
        ├── ResponseTooLarge                the body of a response exceeds the limit
        ├── EventTooLarge                   one event of a stream exceeds the limit
        └── RunWaitTimeout                  waiting for a run ran out of time (also TimeoutError)

An error is plain data (status, reason, headers, body, parsed data, method, URL), never a live
response, so every error pickles and copies. `_errors` has the base classes. `_transport_errors`
loads, and urllib3 with it, when one of its classes is first used.

The errors of agents, runs as objects and batches are in `handles.errors` and derive from these.

Invariants: ``str()`` is one bounded line; a URL is kept without user information and shown as its
path; request headers are never kept, so credentials cannot appear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from acp_client_v0_1._errors import (
    ApiAttributeError,
    ApiException,
    ApiKeyError,
    ApiTypeError,
    ApiValueError,
    OpenApiException,
    render_path,
)
from acp_client_v0_1._lazy import lazy_exports
from acp_client_v0_1._text import one_line, short

if TYPE_CHECKING:
    from acp_client_v0_1._transport_errors import *

__all__ = ["ApiAttributeError", "ApiException", "ApiKeyError", "ApiTimeoutError", "ApiTypeError"]
__all__ += ["ApiValueError", "BadRequestException", "ConflictException", "ConnectionException"]
__all__ += ["EventTooLarge", "ForbiddenException", "NameResolutionException", "NotFoundException"]
__all__ += ["OpenApiException", "ProtocolException", "ProxyException", "ResponseDecodeError"]
__all__ += ["ResponseTooLarge", "ResponseValidationError", "RunWaitTimeout", "ServiceException"]
__all__ += ["StreamDecodeError", "StreamInterrupted", "TLSException", "TooManyRequestsException"]
__all__ += ["TransportException", "UnauthorizedException", "UnprocessableEntityException"]
__all__ += ["render_path"]


class BadRequestException(ApiException, status=400):
    """Status 400: the request is malformed."""


class UnauthorizedException(ApiException, status=401):
    """Status 401: the credentials are missing or wrong."""


class ForbiddenException(ApiException, status=403):
    """Status 403: the credentials do not allow this."""


class NotFoundException(ApiException, status=404):
    """Status 404: no such run, agent or thread, or a path that is not served."""


class ConflictException(ApiException, status=409):
    """Status 409: the state of the run or thread does not allow this."""


class UnprocessableEntityException(ApiException, status=422):
    """Status 422: the server understood the request and refuses its content."""


class TooManyRequestsException(ApiException, status=429):
    """Status 429: too many requests, and no retry was left or would have come too late."""


class ServiceException(ApiException, status=500):
    """Status 5xx: the server failed."""


class ResponseDecodeError(ApiException):
    """The response has a content type or content coding that cannot be decoded."""

    _before_reason: ClassVar[str] = ": "

    def _message(self) -> str:
        return one_line(self.body)


class ResponseValidationError(ResponseDecodeError):
    """The response is not JSON, or does not fit the contract; ``body`` keeps all of it."""


class StreamDecodeError(ApiException):
    """One event of a stream cannot be decoded; the stream can continue.

    Args:
        event_id: The last event id at the event.
        event_name: The event's name.
        excerpt: The beginning of the event's data, bounded.
        reason: What is wrong with it.
        response: ``status``, ``headers``, ``method`` and ``url`` of the stream; ``body`` is all
            of the event's data.
    """

    def __init__(
        self, *, event_id: str, event_name: str, excerpt: str, reason: str, **response: Any
    ) -> None:
        super().__init__(reason=reason, **response)
        self.event_id = event_id
        self.event_name = event_name
        self.excerpt = excerpt

    def _headline(self) -> str:
        name, last_id = short(self.event_name), short(self.event_id)
        words = f"cannot be decoded: {short(self.reason)}: {self.excerpt}"
        return f"event {name!r} with id {last_id!r} {words}"

    def _message(self) -> str:
        # The excerpt shows the content of the event.
        return ""


class _TooLarge(ApiException):
    """Something that the server sends exceeds ``limit``, in bytes."""

    _before_reason: ClassVar[str] = ": "
    _what: ClassVar[str]

    def __init__(self, *, limit: int, **response: Any) -> None:
        super().__init__(reason=f"{self._what}={limit}", **response)
        self.limit = limit

    def _message(self) -> str:
        # The beginning of so large a body explains nothing.
        return ""


class ResponseTooLarge(_TooLarge):
    """The response is larger than ``max_response_bytes``; ``body`` keeps what was read of it."""

    _what = "the body is larger than max_response_bytes"


class EventTooLarge(_TooLarge):
    """One event of a stream is larger than ``max_event_bytes``."""

    _what = "an event is larger than max_event_bytes"


class RunWaitTimeout(ApiException, TimeoutError):
    """Waiting for a run ran out of time. It does not cancel the run. Also a ``TimeoutError``.

    Attributes:
        run_id: The run that was waited for.
        token: What `RunHandle.from_token` takes, to wait again, also in another process.
        elapsed: Seconds spent waiting.
        last_status: The last status of the run that the server gave, such as "pending", or None.

    Args:
        run_id: The run that was waited for.
        elapsed: Seconds spent waiting.
        reason: The message. By default it says that there is no output.
        token: What `RunHandle.from_token` takes. It is empty if no `RunHandle` waited.
    """

    last_status: str | None = None

    def __init__(
        self, *, run_id: str, elapsed: float, reason: str | None = None, token: str = ""
    ) -> None:
        late = f"run {short(run_id)} has no output after {elapsed:.1f} s"
        super().__init__(reason=reason or late)
        self.hint = "wait again, or RunHandle.from_token(error.token, client)" if token else ""
        self.run_id: str = run_id  # pyright: ignore[reportIncompatibleVariableOverride]
        self.token: str = token  # pyright: ignore[reportIncompatibleVariableOverride]
        self.elapsed = elapsed


if not TYPE_CHECKING:
    # The classes of `__all__` that are missing here load on first use.
    __getattr__, __dir__ = lazy_exports(__name__, {".._transport_errors": "*"})
