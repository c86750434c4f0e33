"""The steps of a request, for scripts written for openapi-generator's clients.

In those clients an operation has three steps: ``param_serialize`` makes the request, ``call_api``
sends it, ``response_deserialize`` decodes the response. A script can take them itself, to send a
request that no operation describes. The operations here do not use them, but for two that a script
may have replaced, by a subclass or a mock: if ``call_api`` or ``update_params_for_auth`` is not the
one of this module, an operation goes through both.

Parameters are a mapping of names to values, or pairs of both. A list among the values is written in
the collection format of its name (``csv``, ``ssv``, ``tsv``, ``pipes`` or ``multi``); without a
format it stays a list. Types have names such as ``"List[Run]"``.

Invariant: only a request for the configured host gets the configured credentials and the cookie.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl, quote
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

import acp_client_v0_1 as acp
from acp_client_v0_1 import models
from acp_client_v0_1._arguments import check_arguments
from acp_client_v0_1._deadline import Deadline, RequestTimeout
from acp_client_v0_1._decoding import status_error, validate
from acp_client_v0_1._http.headers import Asking, RequestAuth, merge_headers, plain_text
from acp_client_v0_1._operation import BoundArguments, Operation, path_segment
from acp_client_v0_1._schema import Conversions
from acp_client_v0_1.api_response import ApiResponse
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.exceptions import (
    ApiTypeError,
    ApiValueError,
    ResponseDecodeError,
    ResponseValidationError,
)

Parameters = Mapping[str, Any] | Sequence[tuple[str, Any]]
RequestSerialized = tuple[str, str, dict[str, str], Any, list[tuple[str, Any]]]
"""What ``param_serialize`` returns: method, URL, headers, body and an empty list of form fields."""

_DELIMITERS = {"csv": ",", "ssv": " ", "tsv": "\t", "pipes": "|"}
_PLAIN_TYPES: dict[str, Any] = {
    **{kind.__name__: kind for kind in (UUID, bool, bytes, date, datetime, float, int, str)},
    "decimal": Decimal,
    "long": int,
    "object": Any,
}


class _Passed(NamedTuple):
    """An operation whose request goes through the steps, and how to send it."""

    method: str
    path: str
    # The timeout of the caller.
    timeout: RequestTimeout
    # Arguments of `RESTClientObject.request`.
    settings: dict[str, Any]


_passed: ContextVar[_Passed | None] = ContextVar("_passed", default=None)


class DropInClient:
    """The methods of openapi-generator's ``ApiClient`` that operations do not need."""

    # ``ApiClient`` describes and sets them.
    configuration: Configuration
    rest_client: acp.rest.RESTClientObject
    default_headers: dict[str, str]
    cookie: str | None

    @property
    def client_side_validation(self) -> bool:
        """The configuration's setting, without effect: arguments are always checked."""
        return self.configuration.client_side_validation

    def param_serialize(
        self,
        method: str,
        resource_path: str,
        path_params: Parameters | None = None,
        query_params: Parameters | None = None,
        header_params: Mapping[str, Any] | None = None,
        body: Any = None,
        post_params: Parameters | None = None,
        files: Mapping[str, Any] | None = None,
        auth_settings: Sequence[str] | None = None,
        collection_formats: Mapping[str, str] | None = None,
        _host: str | None = None,
        _request_auth: Mapping[str, Any] | None = None,
    ) -> RequestSerialized:
        """Return method, URL, headers, content and no form fields of a request for `call_api`.

        Args:
            method: The HTTP method.
            resource_path: The path below the host, with ``{name}`` for each of ``path_params``.
            path_params: Values for the path.
            query_params: Values for the query.
            header_params: Headers, which override default headers and credentials.
            body: The content: a model, or a value that JSON can hold.
            post_params: Must be empty, as ``files``: the protocol has neither forms nor uploads.
            files: Must be empty.
            auth_settings: Not used: the protocol declares no security schemes.
            collection_formats: The format of each list, as for `parameters_to_tuples`.
            _host: URL of another host. It gets neither the configured credentials nor the cookie.
            _request_auth: As for `update_params_for_auth`. Errors show it if it is in the query.

        Raises:
            ApiValueError: A value cannot be part of a request, or there are forms or files.
            ApiTypeError: A path parameter is None, or a header is neither a str nor a number.
        """
        if files or post_params:
            raise ApiValueError("files, post_params: the protocol has neither forms nor uploads")
        own_host = _host is None or self.configuration.ignore_operation_servers
        cookie = {"Cookie": self.cookie} if own_host and self.cookie is not None else None
        extra = {
            name: plain_text(value, f"header {name!r}")
            for name, value in self._pairs(header_params, collection_formats)
        }
        headers = merge_headers(cookie, dict(self.default_headers), extra)
        # Lists get their formats in the URL, which is written once the credentials are known.
        query = self._pairs(query_params, None)
        if own_host or _request_auth:
            unused = auth_settings, resource_path, method, body
            self.update_params_for_auth(headers, query, *unused, _request_auth)
        if _request_auth:
            # The cookie of ``_request_auth`` is already among the others.
            extra = {name: value for name, value in extra.items() if name.lower() != "cookie"}
        headers = merge_headers(headers, extra)
        for name, value in self._pairs(path_params, collection_formats):
            text = None if value is None else str(value)
            segment = path_segment(name, text, self.configuration.safe_chars_for_path_param)
            resource_path = resource_path.replace(f"{{{name}}}", segment)
        url = (self.configuration.host if own_host else _host or "") + resource_path
        if query:
            url += "?" + self.parameters_to_url_query(query, collection_formats)
        return method, url, headers, self.sanitize_for_serialization(body), []

    def call_api(
        self,
        method: str,
        url: str,
        header_params: Mapping[str, str] | None = None,
        body: Any = None,
        post_params: Sequence[tuple[str, Any]] | None = None,
        _request_timeout: RequestTimeout = None,
    ) -> acp.rest.RESTResponse:
        """Send a request that `param_serialize` made, and return the response, whatever its status.

        Neither default headers nor credentials are added. ``body`` is bytes, or a value that is
        sent as JSON. ``_request_timeout`` is seconds in all, or a pair (connect, read). If an
        operation goes through this step, its request is sent as always: it has the operation's
        timeout unless another one is passed, it is retried, and a stream is left unread.

        Raises:
            TransportException: No usable response came.
            ApiValueError: The method, a header or the body cannot be sent.
            ApiTypeError: An argument has the wrong type.
        """
        check_arguments("url", url=url, header_params=header_params)
        headers, passed, settings = dict(header_params or {}), _passed.get(), dict[str, Any]()
        if passed is not None and passed.method == method and passed.path in url:
            settings.update(passed.settings)
            if (asking := settings["asking"]) is not None:
                write = partial(_rewritten, headers, asking.given)
                settings["asking"] = replace(asking, write=write)
        if passed is None or _request_timeout != passed.timeout:
            settings["_request_timeout"] = _request_timeout
        return self.rest_client.request(
            method,
            url,
            headers=headers,
            body=self.sanitize_for_serialization(body),
            post_params=post_params,
            **settings,
        )

    def _send_by_steps(
        self,
        operation: Operation[Any],
        bound: BoundArguments,
        before: Sequence[Mapping[str, str] | None],
        after: Sequence[Mapping[str, str] | None],
        auth: Mapping[str, Any] | None,
        timeout: RequestTimeout,
        settings: dict[str, Any],
    ) -> acp.rest.RESTResponse:
        """Send an operation through ``update_params_for_auth`` and ``call_api``.

        Headers come ``before`` or ``after`` the credentials, which override the former.
        """
        path, _, query = bound.target.partition("?")
        body = None if bound.body is None else json.loads(bound.body)
        headers, queries = merge_headers(*before), cast("list[tuple[str, Any]]", parse_qsl(query))
        method, settings = operation.method, {**settings, "asking": None}
        token = _passed.set(_Passed(method, path, timeout, settings))
        try:
            self.update_params_for_auth(headers, queries, [], path, method, body, auth)
            url, headers = self.configuration.host + path, merge_headers(headers, *after)
            if queries:
                url += "?" + self.parameters_to_url_query(queries, None)
            response: Any = self.call_api(method, url, headers, body, [], _request_timeout=timeout)
        finally:
            _passed.reset(token)
        if isinstance(response, acp.rest.RESTResponse):
            return response
        client = acp.rest.RESTClientObject(Configuration(), _Given(response))
        return client.request(method, url, stream=settings["stream"], retries=False)

    def response_deserialize(
        self,
        response_data: acp.rest.RESTResponse,
        response_types_map: Mapping[str, str | type[Any] | None] | None = None,
    ) -> ApiResponse[Any]:
        """Decode a response.

        Args:
            response_data: The response.
            response_types_map: Status (``"200"``, ``"2XX"`` or ``"default"``) to a type or its
                name. The data of any other status is None.

        Raises:
            ApiException: The status is not 2xx.
            ResponseDecodeError: The media type is neither JSON nor text.
            ResponseValidationError: The content does not fit the type.
        """
        status, types = str(response_data.status), response_types_map or {}
        if not status.startswith("2"):
            raise status_error(response_data)
        kind = next((types[key] for key in (status, "2XX", "default") if key in types), None)
        content = response_data.read()
        data: Any = None
        if kind in ("bytes", "bytearray", bytes, bytearray):
            data = content
        elif kind is not None:
            text = content.decode("utf-8", "replace")
            data = self.deserialize(text, kind, response_data.getheader("Content-Type"))
        return with_info(response_data, data)

    def sanitize_for_serialization(self, obj: Any) -> Any:
        """Return a value as JSON holds it: models as dicts, dates as text. Bytes stay bytes.

        Raises:
            ApiValueError: JSON cannot hold the value.
        """
        if obj is None or isinstance(obj, bytes):
            return obj
        try:
            return to_jsonable_python(_unwrapped(obj))
        except (RecursionError, ValueError) as error:
            raise ApiValueError(f"the value is no JSON, or nested too deep: {error}") from error

    def deserialize(
        self, response_text: str | bytes, response_type: str | type[Any], content_type: str | None
    ) -> Any:
        """Decode the content of a response.

        Args:
            response_text: The content.
            response_type: A type, or its name, such as ``"List[Run]"``.
            content_type: The media type of the content. None counts as JSON.

        Returns:
            A value of the type, or None if the content is ``null``. Content whose media type is
            text (``text/...``) comes back unchanged.

        Raises:
            ApiValueError: No type has this name.
            ResponseDecodeError: The media type is neither JSON nor text.
            ResponseValidationError: The content does not fit the type.
        """
        kind = _resolved(response_type)
        media_type = (content_type or "application/json").partition(";")[0].strip().lower()
        if media_type.startswith("text/"):
            return response_text
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise ResponseDecodeError(reason=f"unsupported content type: {content_type}")
        if response_text.strip() == ("null" if isinstance(response_text, str) else b"null"):
            return None
        try:
            return validate(response_text, kind)
        except ValidationError as error:
            if isinstance(response_text, bytes):
                response_text = response_text.decode("utf-8", "replace")
            if content_type is None and kind is str:
                # A text without a media type need not be JSON.
                return response_text
            raise ResponseValidationError(reason=str(error), body=response_text) from error

    def parameters_to_tuples(
        self, params: Parameters | None, collection_formats: Mapping[str, str] | None
    ) -> list[tuple[str, Any]]:
        """Return parameters as pairs, with lists in their collection format.

        Args:
            params: A mapping of names to values, or pairs of both.
            collection_formats: The format of each parameter that is a list: ``csv``, ``ssv``,
                ``tsv``, ``pipes`` or ``multi``.
        """
        return [
            (name, _lower(values[0]) if between is None else between.join(map(_as_text, values)))
            for name, values, between in _grouped(params, collection_formats)
        ]

    def _pairs(
        self, params: Parameters | None, formats: Mapping[str, str] | None
    ) -> list[tuple[str, Any]]:
        return self.parameters_to_tuples(self.sanitize_for_serialization(params), formats)

    def parameters_to_url_query(
        self, params: Parameters | None, collection_formats: Mapping[str, str] | None
    ) -> str:
        """Return parameters, as for `parameters_to_tuples`, as a query: ``a=Hello%20World&b=1``.

        The delimiters of lists are not percent-encoded.
        """
        return "&".join(
            f"{quote(name)}={(between or '').join(quote(_as_text(value)) for value in values)}"
            for name, values, between in _grouped(params, collection_formats)
        )

    def select_header_accept(self, accepts: Sequence[str]) -> str | None:
        """Return the media type to ask for: the first that is JSON, else the first, if any."""
        return next((name for name in accepts if "json" in name.lower()), next(iter(accepts), None))

    def select_header_content_type(self, content_types: Sequence[str]) -> str | None:
        """Return the media type to send: the first that is JSON, else the first, if any."""
        return self.select_header_accept(content_types)

    def update_params_for_auth(
        self,
        headers: dict[str, str],
        queries: list[tuple[str, Any]],
        auth_settings: Sequence[str] | None,
        resource_path: str,
        method: str,
        body: Any,
        request_auth: Mapping[str, Any] | None = None,
    ) -> None:
        """Add the credentials to the headers of a request.

        ``headers`` and ``queries`` are changed. ``request_auth``, a mapping
        ``{"in": "header" | "cookie" | "query", "key": ..., "value": ...}``, replaces the configured
        credentials. The others are not used: the protocol declares no security schemes.

        Raises:
            ApiTypeError: A value of ``request_auth`` has the wrong type.
            ApiValueError: ``request_auth`` lacks a key, or its ``in`` is another place.
        """
        override, configuration = None, self.configuration
        if request_auth:
            override = RequestAuth.of(request_auth)
            credentials: Mapping[str, str] = override.headers
        elif configuration.asks:
            credentials = self.rest_client.renewal.ask(configuration, Deadline(None)) or {}
            if (passed := _passed.get()) is not None:
                passed.settings["asking"] = Asking(configuration, dict, credentials)
        else:
            credentials = configuration.auth_headers()
        merged = merge_headers(headers, credentials)
        headers.clear()
        headers.update(merged)
        if override:
            override.add_cookie(headers)
            if override.place == "query":
                self.rest_client.check_query_key()
                queries.append((override.key, override.value))


def _rewritten(
    headers: Mapping[str, str], given: Mapping[str, str], new: Mapping[str, str]
) -> dict[str, str]:
    """Replace the credentials in headers by new ones, unless a script has changed them."""
    kept = {name: value for name, value in new.items() if headers.get(name) == given.get(name)}
    return {**headers, **kept}


class _Given:
    """A transport whose response is what a `call_api` of the user's has returned."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def send(self, request: object, *, connect: object, read: object) -> Any:
        # A client that sends nothing does not load urllib3.
        from urllib3 import HTTPResponse

        response = self._response
        content = getattr(response, "data", None)
        if not isinstance(content, (bytes, str)) and hasattr(response, "read"):
            content = response.read()
        if not isinstance(content, (bytes, str)) or not isinstance(response.status, int):
            words = "call_api must return a response with status and data"
            raise ApiTypeError(f"{words}, not {type(response).__name__}")
        body = io.BytesIO(content.encode() if isinstance(content, str) else content)
        given = getattr(response, "headers", None)
        headers: Any = response.headers if isinstance(given, Mapping) else {}
        return HTTPResponse(body, headers, response.status, preload_content=False)

    def close(self) -> None:
        """Do nothing: there is no connection."""


def with_info(response: acp.rest.RESTResponse, data: Any) -> ApiResponse[Any]:
    """Return decoded data with its response. The content of a stream is empty: it is unread."""
    return ApiResponse(
        status_code=response.status,
        headers=response.headers,
        data=data,
        raw_data=response.data or b"",
    )


def _unwrapped(obj: Any) -> Any:
    """Replace models by dicts of the fields that are sent."""
    if isinstance(obj, Conversions):
        return obj.to_dict()
    if isinstance(obj, dict):
        return {k: _unwrapped(v) for k, v in cast("dict[str, Any]", obj).items()}
    if isinstance(obj, (list, tuple)):
        return [_unwrapped(item) for item in cast("Sequence[Any]", obj)]
    # This is for pydantic's SecretStr. Importing its types would slow down every script.
    reveal = getattr(obj, "get_secret_value", None)
    return reveal() if callable(reveal) else obj


def _grouped(
    params: Parameters | None, formats: Mapping[str, str] | None
) -> Iterator[tuple[str, Sequence[Any], str | None]]:
    """Yield each name with its values, and with the delimiter between them if they are a list."""
    pairs = params.items() if isinstance(params, Mapping) else params or ()
    for name, value in pairs:
        form = (formats or {}).get(name)
        if form is None or not isinstance(value, (list, tuple)):
            yield name, (value,), None
        elif form == "multi":
            yield from ((name, (item,), None) for item in cast("Sequence[Any]", value))
        else:
            yield name, cast("Sequence[Any]", value), _DELIMITERS.get(form, ",")


def _as_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(_lower(value))


def _lower(value: Any) -> Any:
    """Return a bool as JSON writes it, any other value unchanged."""
    return str(value).lower() if isinstance(value, bool) else value


def _resolved(name: str | type[Any]) -> Any:
    """Return the type that has this name, or raise `ApiValueError`. A type stands for itself."""
    if not isinstance(name, str):
        return name
    if container := re.fullmatch(r"Optional\[(.+)\]", name):
        return _resolved(container[1]) | None
    if container := re.fullmatch(r"[Ll]ist\[(.+)\]", name):
        return list[_resolved(container[1])]  # type: ignore[misc]
    if container := re.fullmatch(r"[Dd]ict\[str, (.+)\]", name):
        return dict[str, _resolved(container[1])]  # type: ignore[misc]
    if name in _PLAIN_TYPES:
        return _PLAIN_TYPES[name]
    if name in models.__all__:
        return getattr(models, name)
    raise ApiValueError(f"response_type: no model has the name {name!r}")
