"""The base classes of the error tree, and how the message of a call is written.

`exceptions` is the public home of these classes and draws the tree. Classes that load later derive
from these without loading `exceptions`. A class declares the status that it stands for:
``class NotFoundException(ApiException, status=404)``.

Invariants: an error pickles by its attributes, so a constructor may have any arguments. `str()` of
an error is one bounded, printable line, even if the server sent megabytes. Everything that quotes a
server goes through `one_line`.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, ClassVar, cast
from urllib.parse import urljoin, urlsplit

from acp_client_v0_1._text import SEARCHED, html_title, one_line, short

# A traceback shows this module for all errors.
_PUBLIC_HOME = "acp_client_v0_1.exceptions"
# This matches the scheme and the authority (RFC 3986, section 3.2) of a URL, valid or not. A
# redirect may lead to a URL without a scheme, such as "//user:password@host/".
_AUTHORITY = re.compile(r"\A(//|(?:(?!://)[^?#])*://)([^/?#]*)")
# A person has to read the message of a call, so it has at most this many characters.
LONGEST_OF_A_RUN = 240
# This matches two URLs with a space between them: the URL of a request with http, and the same URL
# with https and perhaps another port.
_SECURED = re.compile(r"http://([^/?#:@ ]+)(?::\d+)?(\S*) (?P<origin>https://\1(?::\d+)?)\2")
# What nginx, Apache, servers in Go, and Tomcat say if they get HTTP where they expect TLS.
_EXPECTS_TLS = re.compile("sent to HTTPS port|HTTP to an SSL|to an HTTPS server|requires TLS")
AMBIGUOUS = "the server may have carried out the request, so it was not retried"
PROXY_CREDENTIALS = "; its URL needs the right user:password@"
_SET_HOST = "set host to a URL that begins with"
REQUEST_IDS = ("x-request-id", "request-id", "x-correlation-id", "x-amzn-requestid", "cf-ray")
_UNSERVED = (
    "the response names no missing run, agent or thread, so the server may not serve this path: "
    "is the base path of host right? does the server speak ACP 0.1?"
)
_UNAUTHORIZED = (
    "no credentials were sent: set api_key (ACP_API_KEY), access_token (ACP_TOKEN), or username "
    "(ACP_USERNAME) and password (ACP_PASSWORD)"
)


def render_path(path_to_item: Sequence[int | str]) -> str:
    """Return the path to a value, outermost step first, as Python indexing: ``['a'][0]``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f"['{step}']" for step in path_to_item)


def rebuild_error(
    kind: type[OpenApiException], args: tuple[Any, ...], state: Mapping[str, Any]
) -> Any:
    """Make an error from its data, without its constructor."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


@contextmanager
def calling_function() -> Generator[None]:
    """Mark what a function of the user's raises that a request needs, such as one for a token.

    No request was sent, so this is no failure of it. A batch cannot go on without the function.
    """
    try:
        yield
    except Exception as error:
        # A frozen dataclass may be an exception, too.
        vars(error)["by_function"] = True
        raise


def is_by_function(error: BaseException) -> bool:
    """Tell whether an error was raised inside of `calling_function`."""
    return getattr(error, "by_function", False)


class OpenApiException(Exception):
    """The base of the errors that this package defines."""

    __module__ = _PUBLIC_HOME

    hint: str = ""
    """What a caller in Python can do next. It is "" if the message alone says that."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(one_line(each) if isinstance(each, str) else each for each in args))

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__.startswith("acp_client_v0_1._"):
            cls.__module__ = _PUBLIC_HOME

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the constructor with `args`, which fits no constructor here.
        return rebuild_error, (type(self), self.args, dict(self.__dict__))

    def without(self, *names: str) -> str:
        """Return the message without what attributes say, such as ``hint``."""
        other = copy(self)
        for name in names:
            setattr(other, name, "")
        return str(other)


class _ArgumentError(OpenApiException):
    """An argument or setting cannot be used. ``path_to_item`` leads to it, outermost first."""

    def __init__(
        self, msg: str, path_to_item: Sequence[int | str] | None = None, *, hint: str = ""
    ) -> None:
        self.path_to_item = path_to_item
        self.hint: str = one_line(hint, 120)
        super().__init__(f"{msg} at {render_path(path_to_item)}" if path_to_item else msg)

    def __str__(self) -> str:
        # KeyError's own method would add quotation marks.
        return "; ".join(filter(None, (str(self.args[0]), self.hint)))


class ApiTypeError(_ArgumentError, TypeError):
    """An argument or setting has the wrong type; also a ``TypeError``.

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
    """An argument or setting has a value that cannot be used; also a ``ValueError``."""


class ApiAttributeError(_ArgumentError, AttributeError):
    """An attribute does not exist or cannot be used; also an ``AttributeError``."""


class ApiKeyError(_ArgumentError, KeyError):
    """A key is missing; also a ``KeyError``."""


class ApiException(OpenApiException):
    """A call failed. The class itself is raised for a status that has no class of its own.

    Args:
        status: HTTP status code. It is None if there was no response.
        reason: The status line's reason phrase, or what went wrong.
        http_resp: The response, from which status, reason, headers, method and URL are taken
            unless they are given.
        body: The response's body as text.
        data: The parsed body: JSON if it parses, else the text.
        headers: The response's headers.
        method: The request's method.
        url: The request's URL, from which user information is dropped.
    """

    _by_status: ClassVar[dict[int, type[ApiException]]] = {}
    # This stands between the status and the reason.
    _before_reason: ClassVar[str] = " "

    run_id: str | None = None
    """The id of the run that the failed call has made or waited for. None if there is no run."""
    token: str | None = None
    """The token of that run, for `RunHandle.from_token`. None if there is no run."""
    ambiguous: bool = False
    """True if the request changes something and the server may have carried it out."""
    attempts: int = 1
    """How often the request was sent."""
    credentials: str | None = None
    """The names of the request's headers that may be credentials, if they are known."""
    proxy: str = ""
    """The proxy that the request was sent to, if the proxy itself may have responded."""
    redirected: bool = False
    """True if a redirect led to another path, for example to a login page."""
    redirected_to: str = ""
    """The origin that a cross-origin redirect led to. This origin got no credentials."""
    elapsed: float = 0.0
    """Seconds from the beginning of the call to its failure, if they are known."""

    def __init__(
        self,
        status: int | None = None,
        reason: str | None = None,
        http_resp: Any = None,
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
            names = "ambiguous attempts credentials elapsed proxy redirected redirected_to"
            for name in names.split():
                setattr(self, name, getattr(http_resp, name, getattr(self, name)))
        self.status = status
        self.reason = reason
        self.body = body
        self.data: Any = data
        self.headers = headers
        self.method = method
        self.url: str | None = _without_userinfo(url)
        super().__init__(reason)

    def __init_subclass__(cls, *, status: int | None = None) -> None:
        super().__init_subclass__()
        if status is not None:
            ApiException._by_status[status] = cls

    @classmethod
    def from_response(cls, *, http_resp: Any, body: str | None, data: Any) -> ApiException:
        """Return the error for a response. The status of the response decides the error's class.

        ``body`` is the response's body as text, and ``data`` is the parsed body.
        """
        status = http_resp.status
        kind = cls._by_status.get(500 if 500 <= status <= 599 else status, cls)
        return kind(http_resp=http_resp, body=body, data=data)

    @property
    def request_id(self) -> str | None:
        """The server's name for the request in its logs (``x-request-id``), if it sent one."""
        headers = self.headers or {}
        return next((headers[name] for name in REQUEST_IDS if headers.get(name)), None)

    def __str__(self) -> str:
        line = ": ".join(filter(None, (self._headline(), self._message())))
        notes = "; ".join(("", *self._notes(), *filter(None, [self.hint])))
        # The request and the status stand first, so only the end of a quotation is cut. Without a
        # status, the line ends in a cause or in advice, so its middle is cut.
        room = max(LONGEST_OF_A_RUN - len(notes), 120)
        return one_line(line, room, room * 3 // 8 if self.status is None else 0) + notes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def _request(self) -> str:
        """Name the request by its method and path, as far as they are known."""
        return " ".join(filter(None, (self.method, _path_of(self.url))))

    def _headline(self) -> str:
        request, outcome = self._request(), one_line(self.reason)
        if self.status is None:
            return f"{request}: {outcome}" if request else outcome
        outcome = f"{self.status}{self._before_reason}{outcome}".rstrip(": ")
        return f"{request} returned {outcome}" if request else outcome

    def _message(self) -> str:
        """Quote the server, unless it says no more than the status does."""
        data = self.body if self.data is None else self.data
        message = _message_in(data)
        reason = one_line(self.reason)
        known = (reason.lower(), f"{self.status} {reason}".lower())
        return "" if message.lower() in known else message

    def _notes(self) -> Iterator[str]:
        """Yield what the headers and the attempts add to the server's message."""
        headers, status = self.headers or {}, self.status or 0
        location, retry_after = headers.get("location"), headers.get("retry-after")
        if location and 300 <= status <= 399:
            # A query or a fragment may hold a token.
            target = re.split("[?#]", _without_userinfo(location) or "")[0]
            yield f"redirect to {one_line(target, 300)} not followed"
        if secure := secure_origin(self):
            yield f"{_SET_HOST} {secure}"
        if retry_after and status >= 400:
            unit = " s" if retry_after.strip().isdigit() else ""
            yield f"Retry-After: {short(retry_after)}{unit}"
        # A page may be the proxy's own, unless its status is 401. Credentials for the server would
        # not help against it.
        page = status != 401 and str(self.body).lstrip()[:1] == "<"
        by_proxy = self.proxy and (status == 407 or page)
        if by_proxy:
            yield f"connections use {self.proxy}{PROXY_CREDENTIALS if status == 407 else ''}"
        elif status in (401, 403):
            yield from self._note_on_credentials()
        if self.request_id is not None:
            yield f"request id {short(self.request_id)}"
        if self.attempts > 1:
            yield f"after {self.attempts} attempts in {self.elapsed:.1f} s"
        if self.ambiguous:
            yield AMBIGUOUS
        said = by_proxy or "ACP 0.1" in str(self.reason)
        if status == 404 and not said and (page or self._message().lower() in ("", "not found")):
            yield _UNSERVED

    def _note_on_credentials(self) -> Iterator[str]:
        if self.redirected_to:
            yield f"a redirect lost the credentials: {_SET_HOST} {self.redirected_to}"
        elif self.credentials is not None:
            yield f"the request carried {self.credentials}" if self.credentials else _UNAUTHORIZED


def _without_userinfo(url: str | None) -> str | None:
    if url is None or "@" not in url:
        return url
    return _AUTHORITY.sub(lambda found: found[1] + found[2].rpartition("@")[2], url)


def _path_of(url: str | None) -> str | None:
    # An id may be long. The status follows the path, and must not be cut.
    return url and (short(re.split("[?#]", _AUTHORITY.sub("", url))[0]) or "/")


def secure_origin(error: ApiException) -> str:
    """Return the https origin if an error says that the URL must begin with https, or else "".

    It is a redirect from http to the same URL with https, or a 400 of a port that expects TLS.
    """
    there = (error.headers or {}).get("location")
    if error.status == 400 and _EXPECTS_TLS.search(str(error.body)):
        there = str(error.url).replace("http", "https", 1)
    moved = _SECURED.fullmatch(f"{error.url} {there}")
    return "" if moved is None else short(moved["origin"])


def moves_elsewhere(error: ApiException) -> bool:
    """Tell whether an error is a redirect to another path, and not only to one with a slash."""
    there = urljoin(error.url or "", (error.headers or {}).get("location") or "")
    redirect = error.status is not None and 300 <= error.status < 400
    return redirect and _path_only(there) != _path_only(error.url)


def _path_only(url: str | None) -> str:
    return urlsplit(url or "").path.rstrip("/")


def _message_in(data: Any) -> str:
    """Find the server's message in a body, which has many forms in the wild."""
    if isinstance(data, Mapping):
        members = cast("Mapping[str, Any]", data)
        for key in ("detail", "message", "error", "title", "description"):
            if members.get(key):
                return _message_in(members[key])
        return one_line(dict(members)) if members else ""
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        items = cast("Sequence[object]", data)
        return "; ".join(_field_error(item) for item in items[:5])
    if isinstance(data, str) and data.lstrip()[:1] == "<":
        page = data[:SEARCHED]
        return html_title(page) or one_line(re.sub(r"<[^<>]*>", " ", page))
    return one_line(data)


def _field_error(item: Any) -> str:
    """Write one entry of a validation report, ``{"loc": [...], "msg": ...}``, as ``loc: msg``."""
    if isinstance(item, Mapping) and "msg" in item:
        entry = cast("Mapping[str, Any]", item)
        place: object = entry.get("loc")
        if isinstance(place, (list, tuple)):
            place = ".".join(map(str, cast("list[object]", place)))
        field = place if isinstance(place, str) else None
        return ": ".join(filter(None, map(one_line, (field, entry["msg"]))))
    return _message_in(item)
