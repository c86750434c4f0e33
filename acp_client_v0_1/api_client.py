"""From an operation and its arguments to a request, and from the answer to Python values.

Strategy: the three variants of each method share one path. :meth:`ApiClient._send` checks the
arguments, settles headers and time limits and hands the request to ``rest``; the answer's bytes go
straight into pydantic-core through an adapter that is built once per type.

Invariants:

* Nothing is sent before every argument and header has passed its check.
* A client holds no state of a call, so threads can share it.
* Whatever is wrong with an answer raises an ``ApiException`` that keeps the raw body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from typing_extensions import Self

from acp_client_v0_1 import streaming
from acp_client_v0_1._answers import check_event_stream, decode, status_error, validate
from acp_client_v0_1._headers import merge_headers, request_auth_headers
from acp_client_v0_1._stock_types import resolve_type
from acp_client_v0_1._version import __version__
from acp_client_v0_1.api_response import ApiResponse
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.deadline import RequestTimeout, resolve_timeout
from acp_client_v0_1.exceptions import ApiValueError, ResponseDecodeError, ResponseValidationError
from acp_client_v0_1.operation import Operation
from acp_client_v0_1.rest import RawResponse, RESTClientObject, RESTResponse

__all__ = ["Api", "ApiClient", "CallOptions", "RawResponse", "RequestTimeout"]

T = TypeVar("T")

# _request_timeout, _request_auth, _content_type, _headers, _host_index
CallOptions = tuple[
    RequestTimeout, dict[str, Any] | None, str | None, Mapping[str, str] | None, int
]


class ApiClient:
    """Sends the operations of the API classes; safe to share between threads.

    Use it as a context manager, or call :meth:`close`, so that its connections are closed.

    Attributes:
        configuration: where to and how requests are sent.
        default_headers: headers of every request; credentials and the headers of a call win.
        cookie: the ``Cookie`` header of every request, None for none.
        rest_client: the transport.
    """

    _default: ApiClient | None = None

    def __init__(
        self,
        configuration: Configuration | None = None,
        header_name: str | None = None,
        header_value: str | None = None,
        cookie: str | None = None,
    ) -> None:
        """Make a client.

        Args:
            configuration: where to and how to send; the default configuration if None.
            header_name: the name of a header to send with every request.
            header_value: the value of that header.
            cookie: the ``Cookie`` header to send with every request.
        """
        self.configuration = configuration or Configuration.get_default()
        self.rest_client = RESTClientObject(self.configuration)
        self.default_headers: dict[str, str] = {}
        if header_name is not None and header_value is not None:
            self.default_headers[header_name] = header_value
        self.cookie = cookie
        self.user_agent = f"acp_client_v0_1/{__version__}/python"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that no call uses; the client can be used again afterwards."""
        self.rest_client.close()

    @property
    def user_agent(self) -> str:
        """The ``User-Agent`` header of every request."""
        return self.default_headers["User-Agent"]

    @user_agent.setter
    def user_agent(self, value: str) -> None:
        self.default_headers["User-Agent"] = value

    def set_default_header(self, header_name: str, header_value: str) -> None:
        """Send a header with every request from now on."""
        self.default_headers[header_name] = header_value

    @classmethod
    def get_default(cls) -> ApiClient:
        """Return the client that API classes use when they are given none; made on first use."""
        if ApiClient._default is None:
            ApiClient._default = ApiClient()
        return ApiClient._default

    @classmethod
    def set_default(cls, default: ApiClient | None) -> None:
        """Set the client that API classes use when they are given none."""
        ApiClient._default = default

    # The three variants of every operation.

    def call(self, operation: Operation[T], arguments: Sequence[Any], options: CallOptions) -> T:
        """Send an operation and return what it answers.

        Raises:
            ApiException: the call failed, see ``acp_client_v0_1.exceptions``.
            ApiTypeError: an argument is missing or has a wrong type; nothing was sent.
            ApiValueError: an argument has an impossible value; nothing was sent.
        """
        response = self._send(operation, arguments, options, stream=operation.streaming)
        return self._result(operation, response)

    def call_with_http_info(
        self, operation: Operation[T], arguments: Sequence[Any], options: CallOptions
    ) -> ApiResponse[T]:
        """Send an operation and return what it answers, with status and headers.

        Raises:
            OpenApiException: the same as :meth:`call`.
        """
        response = self._send(operation, arguments, options, stream=operation.streaming)
        result = self._result(operation, response)
        return ApiResponse(response.status, response.headers, result, response.data or b"")

    def call_without_preload_content(
        self, operation: Operation[Any], arguments: Sequence[Any], options: CallOptions
    ) -> RawResponse:
        """Send an operation and return urllib3's response, unread and its status unchecked."""
        return self._send(operation, arguments, options, stream=True).response

    def _send(
        self,
        operation: Operation[Any],
        arguments: Sequence[Any],
        options: CallOptions,
        stream: bool,
    ) -> RESTResponse:
        request_timeout, auth, content_type, headers, host_index = options
        configuration = self.configuration
        bound = operation.bind(arguments, configuration.safe_chars_for_path_param)
        if host_index != 0:
            raise ApiValueError(f"_host_index must be 0, the only host, not {host_index!r}")
        timeout = resolve_timeout(
            request_timeout,
            configuration.stream_timeout if operation.streaming else configuration.timeout,
            block_window=bound.block_window,
            margin=configuration.block_margin,
        )
        own: dict[str, str] = {"Accept": operation.accept}
        if bound.body is not None:
            own["Content-Type"] = content_type or operation.content_type or "application/json"
        if self.cookie is not None:
            own["Cookie"] = self.cookie
        credentials = configuration.auth_headers() if auth is None else request_auth_headers(auth)
        return self.rest_client.request(
            operation.method,
            configuration.host + bound.target,
            headers=merge_headers(own, self.default_headers, credentials, headers),
            body=bound.body,
            _request_timeout=timeout,
            safe=operation.safe,
            stream=stream,
        )

    def _result(self, operation: Operation[T], response: RESTResponse) -> T:
        """Return what an answer holds, or raise the error for its status."""
        if not 200 <= response.status < 300:
            raise status_error(response)
        result: Any = None
        if operation.streaming:
            result = self._open_stream(operation, response)
        elif response.status != 204 or not operation.empty_on_204:
            result = decode(response, operation)
        return cast(T, result)

    def _open_stream(
        self, operation: Operation[Any], response: RESTResponse
    ) -> streaming.EventStream[Any]:
        if response.status != 204:
            check_event_stream(response)
        return streaming.EventStream(
            response,
            streaming.event_decoder(operation.returns()),
            max_event_bytes=self.configuration.max_event_bytes,
        )

    # What scripts written for openapi-generator's clients call directly.

    def call_api(
        self,
        method: str,
        url: str,
        header_params: Mapping[str, str] | None = None,
        body: Any = None,
        post_params: Any = None,
        _request_timeout: RequestTimeout = None,
    ) -> RESTResponse:
        """Send a request that no operation describes; its status is not checked.

        Args:
            method: the HTTP method.
            url: the absolute URL.
            header_params: the headers; neither default headers nor credentials are added.
            body: the content: bytes, or a value that is sent as JSON.
            post_params: not used by this protocol, has to be empty.
            _request_timeout: seconds: a total, a pair (connect, read), or None for the default.
        """
        return self.rest_client.request(
            method,
            url,
            headers=dict(header_params or {}),
            body=self.sanitize_for_serialization(body),
            post_params=post_params,
            _request_timeout=_request_timeout,
        )

    def sanitize_for_serialization(self, obj: Any) -> Any:
        """Return a value as JSON has it: models as dictionaries, dates as text, enums as values."""
        if obj is None or isinstance(obj, bytes):
            return obj
        return to_jsonable_python(obj, by_alias=True, exclude_none=True)

    def deserialize(
        self, response_text: str | bytes, response_type: str | type[Any], content_type: str | None
    ) -> Any:
        """Decode an answer.

        Args:
            response_text: the content.
            response_type: a type, or its name, such as ``"List[Run]"``.
            content_type: the media type of the content; None is taken as JSON.

        Raises:
            ResponseDecodeError: the media type is neither JSON nor text.
            ResponseValidationError: the content does not fit the type.
        """
        kind = resolve_type(response_type)
        media_type = (content_type or "application/json").partition(";")[0].strip().lower()
        if media_type.startswith("text/"):
            return response_text
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise ResponseDecodeError(reason=f"unsupported content type: {content_type}")
        try:
            return validate(response_text, kind)
        except ValidationError as error:
            body = response_text if isinstance(response_text, str) else response_text.decode()
            raise ResponseValidationError(reason=str(error), body=body) from error


class Api:
    """Base of the generated API classes: operations of one tag, sent by one client."""

    def __init__(self, api_client: ApiClient | None = None) -> None:
        """Make the operations available.

        Args:
            api_client: what sends them; the default client if None.
        """
        self.api_client = ApiClient.get_default() if api_client is None else api_client
