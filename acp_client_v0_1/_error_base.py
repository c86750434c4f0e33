"""The base of the error tree: what all errors share, and the errors of arguments.

Strategy: `exceptions` is the public home of these classes and draws the tree; they are written
apart from it so that either file stays short. A status error's class registers its status.

Invariants: errors pickle by their data, whatever arguments their constructors take; `str()` of a
failed call is one bounded line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from typing_extensions import TypedDict

from acp_client_v0_1._error_text import (
    bounded,
    one_line,
    path_of,
    server_words,
    without_userinfo,
)

__all__ = [
    "AnswerFields",
    "ApiAttributeError",
    "ApiException",
    "ApiKeyError",
    "ApiTypeError",
    "ApiValueError",
    "OpenApiException",
    "render_path",
]

_PUBLIC_HOME = "acp_client_v0_1.exceptions"  # what a traceback shows
_AMBIGUOUS = "the server may have carried out the request, so it was not sent again"


def render_path(path_to_item: Sequence[int | str]) -> str:
    """Write the place of a value inside a structure as Python indexing, ``['a'][0]``.

    Args:
        path_to_item: Keys and indices that lead to the value, outermost first.

    Returns:
        The text.
    """
    return "".join(f"[{step}]" if isinstance(step, int) else f"['{step}']" for step in path_to_item)


def _rebuild(kind: type[OpenApiException], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class OpenApiException(Exception):
    """The base of every error that this package raises."""

    __module__ = _PUBLIC_HOME

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__.startswith("acp_client_v0_1._"):
            cls.__module__ = _PUBLIC_HOME

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the constructor with `args`, which fits no constructor here.
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class _ArgumentError(OpenApiException):
    """What the errors of arguments share.

    Args:
        msg: What is wrong; names the parameter.
        path_to_item: Keys and indices that lead to the value, outermost first.
    """

    def __init__(self, msg: str, path_to_item: Sequence[int | str] | None = None) -> None:
        self.path_to_item = path_to_item
        super().__init__(f"{msg} at {render_path(path_to_item)}" if path_to_item else msg)

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would add quotation marks


class ApiTypeError(_ArgumentError, TypeError):
    """An argument or setting has the wrong type.

    Args:
        msg: What is wrong; names the parameter.
        path_to_item: Keys and indices that lead to the value, outermost first.
        valid_classes: The types that would do.
        key_type: True if the fault is in a key of a mapping, not in a value.
    """

    def __init__(
        self,
        msg: str,
        path_to_item: Sequence[int | str] | None = None,
        valid_classes: tuple[type, ...] | None = None,
        key_type: bool | None = None,
    ) -> None:
        super().__init__(msg, path_to_item)
        self.valid_classes = valid_classes
        self.key_type = key_type


class ApiValueError(_ArgumentError, ValueError):
    """An argument or setting has a value that cannot be used."""


class ApiAttributeError(_ArgumentError, AttributeError):
    """An attribute does not exist or cannot be used."""


class ApiKeyError(_ArgumentError, KeyError):
    """A key is missing."""


class _HttpResponse(Protocol):
    """What an error takes from an answer."""

    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def headers(self) -> Any: ...


class AnswerFields(TypedDict, total=False):
    """What is known of the answer, for errors that have data of their own."""

    status: int | None
    headers: Mapping[str, str] | None
    body: str | None
    method: str | None
    url: str | None


class ApiException(OpenApiException):
    """A call failed.

    Args:
        status: HTTP status code, or None where no answer came.
        reason: The status line's reason phrase, or what went wrong.
        http_resp: The answer, from which status, reason, headers, method and URL are taken
            unless they are given.
        body: The answer's body as text.
        data: The parsed body: JSON if it parses, else the text.
        headers: The answer's headers.
        method: The request's method.
        url: The request's URL; user information in it is dropped.
    """

    _by_status: ClassVar[dict[int, type[ApiException]]] = {}
    _before_reason: ClassVar[str] = " "  # what stands between status and reason

    ambiguous: bool = False
    """True if the request changes something and may have been carried out all the same."""

    def __init__(
        self,
        status: int | None = None,
        reason: str | None = None,
        http_resp: _HttpResponse | None = None,
        *,
        body: str | None = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
        url: str | None = None,
    ) -> None:
        if http_resp is not None:
            status = http_resp.status if status is None else status
            reason = http_resp.reason if reason is None else reason
            headers = http_resp.headers if headers is None else headers
            method = getattr(http_resp, "method", None) if method is None else method
            url = getattr(http_resp, "url", None) if url is None else url
            if getattr(http_resp, "ambiguous", False):
                self.ambiguous = True
        self.status = status
        self.reason = reason
        self.body = body
        self.data: Any = data
        self.headers = headers
        self.method = method
        self.url: str | None = without_userinfo(url)
        super().__init__(reason)

    def __init_subclass__(cls, *, status: int | None = None) -> None:
        super().__init_subclass__()
        if status is not None:
            ApiException._by_status[status] = cls

    @classmethod
    def from_response(
        cls, *, http_resp: _HttpResponse, body: str | None, data: Any
    ) -> ApiException:
        """Build the error of an answer's status, of the class that stands for it.

        Args:
            http_resp: The answer.
            body: Its body as text.
            data: Its body parsed.

        Returns:
            The error, to be raised by the caller.
        """
        status = http_resp.status
        kind = cls._by_status.get(500 if 500 <= status <= 599 else status, cls)
        return kind(http_resp=http_resp, body=body, data=data)

    def __str__(self) -> str:
        parts = [self._headline()]
        words = self._words()
        if words:
            parts.append(words)
        if self.ambiguous:
            parts.append(_AMBIGUOUS)
        return ": ".join(parts)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def _headline(self) -> str:
        where = " ".join(filter(None, (self.method, path_of(self.url))))
        if self.status is None:
            return f"{where}: {one_line(self.reason)}" if where else one_line(self.reason)
        answer = f"{self.status}{self._before_reason}{one_line(self.reason)}".rstrip()
        return f"{where} answered {answer}" if where else answer

    def _words(self) -> str:
        location = self.headers.get("location") if self.headers else None
        if location and self.status is not None and 300 <= self.status <= 399:
            target = without_userinfo(location) or ""
            return f"redirect to {one_line(target.partition('?')[0])} not followed"
        return bounded(server_words(self.data if self.data is not None else self.body))
