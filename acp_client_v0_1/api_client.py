"""From an operation and its arguments to a request, and from the response to Python values.

Strategy: the three variants of each method share one path. `ApiClient._send` checks the arguments,
decides on headers and timeout, and passes the request to ``rest``. The response's bytes go straight
into pydantic-core through an adapter, which is built once per type.

Invariants: nothing is sent before every argument and header has passed its check. A client holds no
state of a call, so threads can share it. Whatever is wrong with a response raises an
`ApiException` that keeps the raw body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from typing_extensions import Self

import acp_client_v0_1 as acp
from acp_client_v0_1 import streaming
from acp_client_v0_1._arguments import check_arguments
from acp_client_v0_1._deadline import RequestTimeout, resolve_timeout
from acp_client_v0_1._decoding import check_event_stream, decode, status_error
from acp_client_v0_1._dropin.client import DropInClient, RequestSerialized, with_info
from acp_client_v0_1._http.headers import Asking, RequestAuth, merge_headers
from acp_client_v0_1._names import our_names
from acp_client_v0_1._operation import Operation
from acp_client_v0_1._version import USER_AGENT
from acp_client_v0_1.api_response import ApiResponse
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.configuration._checks import NoSettings, checked
from acp_client_v0_1.configuration._report import represented
from acp_client_v0_1.exceptions import ApiValueError

if TYPE_CHECKING:
    from urllib3.util import Retry

    from acp_client_v0_1._http.observer import StreamedResponse
    from acp_client_v0_1.transport import Transport

__all__ = ["Api", "ApiClient", "CallOptions", "RequestSerialized", "RequestTimeout"]

T = TypeVar("T")

# The items are _request_timeout, _request_auth, _content_type, _headers and _host_index.
CallOptions = tuple[
    RequestTimeout, dict[str, Any] | None, str | None, Mapping[str, str] | None, int
]

# A subclass, an instance or a mock may have others.
_STEPS = DropInClient.call_api, DropInClient.update_params_for_auth
_NAMES = frozenset(step.__name__ for step in _STEPS)


@our_names
class ApiClient(NoSettings, DropInClient):
    """Sends the operations of the API classes. Threads can share it.

    Use it as a context manager, or call `close`, so that its connections are closed. A pickle of it
    holds its configuration and headers **with the credentials** in plain text, and no connection.

    Example:
        >>> with ApiClient(Configuration(host="http://127.0.0.1:8000")) as client:
        ...     AgentHandle.find("echo", client).run({"message": "Hello"}, timeout=60)
        {'message': 'Hello'}

    Attributes:
        configuration: Where and how requests are sent.
        default_headers: Headers of every request. Credentials and the headers of a call override
            these headers.
        cookie: The ``Cookie`` header of every request, or None.
        rest_client: The transport.
        retries: The ``retries`` that were given to `with_options`. None means the retries of the
            configuration.
        on_empty: Gets the headers of a 204 to an operation that may have no result, and gives what
            the operation returns. By default the operation returns None.
    """

    retries: int | Retry | None = None
    on_empty: Callable[[Mapping[str, str]], Any] | None = None
    _default: ApiClient | None = None
    # These are the options of a view, see `with_options`. None means the configuration's setting.
    _timeout: RequestTimeout = None
    _headers: Mapping[str, str] | None = None
    _is_view = False
    _checked = ("configuration",)

    def __init__(
        self,
        configuration: Configuration | None = None,
        header_name: str | None = None,
        header_value: str | None = None,
        cookie: str | None = None,
        *,
        transport: Transport | None = None,
    ) -> None:
        """Make a client.

        Args:
            configuration: Where and how to send. By default, the configuration that
                `Configuration.set_default` has set, or else `Configuration.from_env`.
            header_name: The name of a header to send with every request.
            header_value: The value of that header.
            cookie: The ``Cookie`` header to send with every request.
            transport: What sends the requests, see ``acp_client_v0_1.transport``. By default
                connections of the client's own.

        Raises:
            ApiTypeError: ``configuration`` is not a configuration, but for example a host, or
                ``transport`` is no transport.
            ApiValueError: Settings cannot be used together, the transport would drop one, or a
                variable of the environment has a value that cannot be used.
        """
        check_arguments(configuration=configuration, transport=transport)
        check_arguments(header_name=header_name)
        if (header_name is None) is not (header_value is None):
            lacks = "header_value" if header_value is None else "header_name"
            raise ApiValueError(f"{lacks} is missing: a header has a name and a value")
        self.configuration: Configuration = configuration or Configuration.get_default()
        rest_client = acp.rest.RESTClientObject(self.configuration, transport)
        self.rest_client: acp.rest.RESTClientObject = rest_client
        self.default_headers: dict[str, str] = {}
        if header_name is not None and header_value is not None:
            self.default_headers[header_name] = header_value
        self.cookie = cookie
        self.user_agent = USER_AGENT

    def __repr__(self) -> str:
        return f"ApiClient(host={represented(getattr(self, 'configuration', None), 'host')})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that no call uses. The client can be used again afterwards."""
        if not self._is_view:
            self.rest_client.close()

    def with_options(
        self,
        *,
        timeout: RequestTimeout = None,
        retries: int | Retry | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Return a view of this client whose calls have other options. It costs a few µs.

        The view shares connections, configuration and default headers with this client, and has
        this client's cookie of the moment. A view can be used wherever a client can, for example by
        `AgentHandle`. Closing a view closes nothing. A call on the view can override the options.

        Args:
            timeout: Timeout of calls in seconds. It replaces ``Configuration.timeout``, in the same
                forms, but None changes nothing. Streams keep ``Configuration.stream_timeout``.
            retries: Replaces ``Configuration.retries``, in the same forms, but None changes
                nothing.
            headers: More headers of each request. They override headers of the same names among the
                default headers and the configuration's credentials.

        Raises:
            ApiTypeError: An option has the wrong type.
            ApiValueError: An option has a value that cannot be used.
        """
        check_arguments(headers=headers)
        options: dict[str, Any] = {"_is_view": True}
        if timeout is not None:
            options["_timeout"] = checked("timeout", timeout)
        if retries is not None:
            options["retries"] = checked("retries", retries)
        if headers is not None:
            options["_headers"] = {**(self._headers or {}), **headers}
        # This does the same as copy.copy, in a tenth of its time.
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__, **options)
        return view

    @property
    def user_agent(self) -> str:
        """The ``User-Agent`` header of every request."""
        return self.default_headers["User-Agent"]

    @user_agent.setter
    def user_agent(self, value: str) -> None:
        self.default_headers["User-Agent"] = value

    def set_default_header(self, header_name: str, header_value: str) -> None:
        """Send a header with every request from now on."""
        check_arguments(header_name=header_name)
        self.default_headers[header_name] = header_value

    @classmethod
    def get_default(cls) -> ApiClient:
        """Return the client that API classes use by default. The first call makes it."""
        if ApiClient._default is None:
            ApiClient._default = ApiClient()
        return ApiClient._default

    @classmethod
    def set_default(cls, default: ApiClient | None) -> None:
        """Set the client that API classes use by default.

        Args:
            default: The client. If None, the next `get_default` makes a new client.

        Raises:
            ApiTypeError: ``default`` is not a client, but for example a configuration.
        """
        check_arguments(default=default)
        ApiClient._default = default

    # These three methods get no keywords, so `our_names` leaves them as they are.
    def call(self, operation: Operation[T], arguments: Sequence[Any], options: CallOptions, /) -> T:
        """Send an operation and return the decoded response.

        ``arguments`` has a value for each parameter of the operation, in order.

        Raises:
            ApiException: The call failed, see ``acp_client_v0_1.exceptions``.
            ApiTypeError: An argument is missing or has a wrong type. Nothing was sent.
            ApiValueError: An argument has an impossible value. Nothing was sent.
        """
        response = self._send(operation, arguments, options, stream=operation.streaming)
        return self._result(operation, response)

    def call_with_http_info(
        self, operation: Operation[T], arguments: Sequence[Any], options: CallOptions, /
    ) -> ApiResponse[T]:
        """Do the same as `call`, and return the status and headers as well."""
        response = self._send(operation, arguments, options, stream=operation.streaming)
        return with_info(response, self._result(operation, response))

    def call_without_preload_content(
        self, operation: Operation[Any], arguments: Sequence[Any], options: CallOptions, /
    ) -> acp.rest.RawResponse:
        """Do the same as `call`, and return urllib3's response, unread, whatever its status."""
        return self._send(operation, arguments, options, stream=True).response

    def _send(
        self,
        operation: Operation[Any],
        arguments: Sequence[Any],
        options: CallOptions,
        stream: bool,
    ) -> acp.rest.RESTResponse:
        request_timeout, auth, content_type, headers, host_index = options
        configuration = self.configuration
        bound = operation.bind(arguments, configuration.safe_chars_for_path_param)
        if type(host_index) is not int or host_index:
            raise ApiValueError(f"_host_index must be 0, the only host, not {host_index!r}")
        if not (headers is None and content_type is None and auth is None):
            check_arguments(_headers=headers, _content_type=content_type, _request_auth=auth)
        default = configuration.timeout if self._timeout is None else self._timeout
        timeout = resolve_timeout(
            request_timeout,
            configuration.stream_timeout if operation.streaming else default,
            total=None if operation.streaming else configuration.total_timeout,
            block_window=bound.block_window,
            margin=configuration.block_margin,
        )
        own: dict[str, str] = {"Accept": operation.accept}
        if bound.body is not None:
            own["Content-Type"] = content_type or "application/json"
        if self.cookie is not None:
            own["Cookie"] = self.cookie
        kind: Any = type(self)
        steps = kind.call_api, kind.update_params_for_auth
        if steps != _STEPS or not _NAMES.isdisjoint(self.__dict__):
            settings: dict[str, Any] = {"route": operation.path, "_request_timeout": timeout}
            settings |= {"safe": operation.safe, "stream": stream, "retries": self.retries}
            defaults, view = dict(self.default_headers), self._headers
            before, after = (own, defaults, auth and view), (None if auth else view, headers)
            return self._send_by_steps(
                operation, bound, before, after, auth, request_timeout, settings
            )
        override = RequestAuth.of(auth) if auth else None
        if asks := override is None and configuration.asks:
            sent = {}
        else:
            credentials = override.headers if override else configuration.auth_headers()
            layers = (self._headers, credentials) if override else (credentials, self._headers)
            # The default headers are copied, because another thread may set one meanwhile.
            sent = merge_headers(own, dict(self.default_headers), *layers, headers)
        if override:
            override.add_cookie(sent)
        return self.rest_client.request(
            operation.method,
            configuration.host + bound.target,
            headers=sent,
            body=bound.body,
            _request_timeout=timeout,
            safe=operation.safe,
            stream=stream,
            credential=override.query if override else "",
            retries=self.retries,
            route=operation.path,
            asking=Asking(configuration, partial(self._written, own, headers)) if asks else None,
        )

    def _written(
        self,
        own: Mapping[str, str],
        headers: Mapping[str, str] | None,
        credentials: Mapping[str, str],
    ) -> dict[str, str]:
        return merge_headers(own, dict(self.default_headers), credentials, self._headers, headers)

    def _result(self, operation: Operation[T], response: acp.rest.RESTResponse) -> T:
        """Decode a response, or raise the error for its status."""
        rest = self.rest_client
        if response.status >= 300:
            rest.reached = True
            raise status_error(response)
        result: Any = None
        if operation.streaming:
            result = self._open_stream(operation, response)
        elif response.status != 204 or not operation.empty_on_204:
            result = decode(response, operation)
        elif self.on_empty is not None:
            result = self.on_empty(response.headers)
        rest.reached = True
        return cast(T, result)

    def _open_stream(
        self, operation: Operation[Any], response: acp.rest.RESTResponse
    ) -> streaming.EventStream[Any]:
        body: StreamedResponse = response
        # A 204 is a stream without events.
        if response.status != 204:
            check_event_stream(response)
            if (observer := self.rest_client.observer) is not None:
                body = observer.reading(response)
        (event,) = get_args(operation.returns())
        return streaming.EventStream(
            body,
            streaming.event_decoder(event),
            max_event_bytes=self.configuration.max_event_bytes,
        )


@our_names
class Api:
    """Base of the generated API classes: operations of one tag, sent by one client.

    Each operation also takes these arguments:

    * ``_request_timeout``: seconds in all, or a pair (connect, longest silence) for each attempt.
    * ``_request_auth``: replaces the credentials: ``{"in": "header", "key": …, "value": …}``, or in
      ``cookie`` or ``query``.
    * ``_content_type``: the ``Content-Type`` of the request, if not the contract's.
    * ``_headers``: further headers, which override all others.
    * ``_host_index``: 0, the only host.

    Attributes:
        api_client: The client that sends the operations.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A subclass of the user's may have a `__getattr__` and functions of its own.
        if cls.__module__.startswith("acp_client_v0_1."):
            our_names(cls)

    def __init__(self, api_client: ApiClient | None = None) -> None:
        """Make the operations available.

        Args:
            api_client: The client that sends them. By default `ApiClient.get_default`.

        Raises:
            ApiTypeError: ``api_client`` is not a client, but for example a configuration.
        """
        check_arguments(api_client=api_client)
        self.api_client: ApiClient = ApiClient.get_default() if api_client is None else api_client

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self, 'api_client', None)!r})"
