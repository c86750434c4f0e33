"""The steps of a request, for scripts written for openapi-generator's clients.

In those clients an operation has three steps: ``param_serialize`` makes the request, ``call_api``
sends it, ``response_deserialize`` decodes the response. A script can take them itself, to send a
request that no operation describes. The operations here do not use them.

Invariant: only a request for the configured host gets the configured credentials and the cookie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

import acp_client_v0_1 as acp
from acp_client_v0_1._deadline import RequestTimeout
from acp_client_v0_1._decoding import status_error, text_of, validate
from acp_client_v0_1._dropin.conversions import (
    Parameters,
    items_of,
    resolve_type,
    to_pairs,
    to_query,
)
from acp_client_v0_1._http.headers import RequestAuth, merge_headers, plain_text
from acp_client_v0_1._operation import path_segment
from acp_client_v0_1._schema import Conversions
from acp_client_v0_1.api_response import ApiResponse
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.exceptions import ApiValueError, ResponseDecodeError, ResponseValidationError

RequestSerialized = tuple[str, str, dict[str, str], Any, list[tuple[str, Any]]]
"""What ``param_serialize`` returns: method, URL, headers, body and form fields."""


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
        """Return method, URL, headers, content and form fields of a request for `call_api`.

        Args:
            method: The HTTP method.
            resource_path: The path below the host, with ``{name}`` for each of ``path_params``.
            path_params: Values for the path.
            query_params: Values for the query.
            header_params: Headers, which override default headers and credentials.
            body: The content: a model, or a value that JSON can hold.
            post_params: Form fields, instead of a body.
            files: Must be empty: the protocol has no uploads.
            auth_settings: Not used: the protocol declares no security schemes.
            collection_formats: The format of each list, as for `parameters_to_tuples`.
            _host: URL of another host. It gets neither the configured credentials nor the cookie.
            _request_auth: As for `update_params_for_auth`. Errors show it if it is in the query.

        Raises:
            ApiValueError: A value cannot be part of a request, or ``files`` is not empty.
            ApiTypeError: A path parameter is None, or a header is neither a str nor a number.
        """
        if files:
            raise ApiValueError("files: the protocol has no uploads")
        own_host = _host is None or self.configuration.ignore_operation_servers
        cookie = {"Cookie": self.cookie} if own_host and self.cookie is not None else None
        extra = {
            name: plain_text(value, f"header {name!r}")
            for name, value in self._pairs(header_params, collection_formats)
        }
        headers = merge_headers(cookie, dict(self.default_headers), extra)
        query = list(items_of(self.sanitize_for_serialization(query_params)))
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
        fields = self._pairs(post_params, collection_formats)
        return method, url, headers, self.sanitize_for_serialization(body), fields

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
        sent as JSON. ``_request_timeout`` is seconds in all, or a pair (connect, read).

        Raises:
            TransportException: No usable response came.
            ApiValueError: A header or the body cannot be sent.
            ApiTypeError: An argument has the wrong type.
        """
        return self.rest_client.request(
            method,
            url,
            headers=dict(header_params or {}),
            body=self.sanitize_for_serialization(body),
            post_params=post_params,
            _request_timeout=_request_timeout,
        )

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
            text = text_of(content, response_data)
            data = self.deserialize(text, kind, response_data.getheader("Content-Type"))
        return ApiResponse(
            status_code=response_data.status,
            headers=response_data.headers,
            data=data,
            raw_data=content,
        )

    def sanitize_for_serialization(self, obj: Any) -> Any:
        """Return a value as JSON holds it: models as dicts, dates as text. Bytes stay bytes."""
        if obj is None or isinstance(obj, bytes):
            return obj
        return to_jsonable_python(_unwrapped(obj))

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
        kind = resolve_type(response_type)
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
        return to_pairs(params, collection_formats)

    def _pairs(
        self, params: Parameters | None, formats: Mapping[str, str] | None
    ) -> list[tuple[str, Any]]:
        return self.parameters_to_tuples(self.sanitize_for_serialization(params), formats)

    def parameters_to_url_query(
        self, params: Parameters | None, collection_formats: Mapping[str, str] | None
    ) -> str:
        """Return parameters, as for `parameters_to_tuples`, as a query: ``a=Hello%20World&b=1``."""
        return to_query(params, collection_formats)

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
        override = RequestAuth.of(request_auth) if request_auth else None
        credentials = override.headers if override else self.configuration.auth_headers()
        merged = merge_headers(headers, credentials)
        headers.clear()
        headers.update(merged)
        if override:
            override.add_cookie(headers)
            if override.place == "query":
                queries.append((override.key, override.value))


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
