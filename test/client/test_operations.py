"""Each of the 17 operations, in each variant, with each status that the contract declares.

The server is a socket that sends exact bytes; the requests are compared as they arrived.
"""

import contextlib
import json
from collections.abc import Iterator
from inspect import Parameter, signature, unwrap
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import yaml
from support.operations import CASES, RESULT, Case
from support.socket_server import Gate, Request, SocketServer, response
from support.transport import serving

import acp_client_v0_1
from acp_client_v0_1 import ApiClient, ApiResponse, EventStream, RunsApi, exceptions, rest
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTypeError,
    ApiValueError,
    ResponseDecodeError,
    ResponseValidationError,
)

ERRORS = {
    400: exceptions.BadRequestException,
    401: exceptions.UnauthorizedException,
    403: exceptions.ForbiddenException,
    404: exceptions.NotFoundException,
    409: exceptions.ConflictException,
    422: exceptions.UnprocessableEntityException,
    429: exceptions.TooManyRequestsException,
    500: exceptions.ServiceException,
    503: exceptions.ServiceException,
    599: exceptions.ServiceException,
    600: ApiException,
    418: ApiException,
    302: ApiException,
}
CASE = {case.name: case for case in CASES}
GET_RUN = CASE["get_run"]
EVERY = pytest.mark.parametrize("case", CASES, ids=str)


def method(client: ApiClient, case: Case, variant: str = "") -> Any:
    return getattr(getattr(acp_client_v0_1, case.api)(client), case.name + variant)


def as_json(value: Any) -> Any:
    """What was returned, as JSON, to compare with what the server sent."""
    if isinstance(value, list):
        return [as_json(entry) for entry in value]
    return value if isinstance(value, dict) else json.loads(value.to_json())


def without_nulls(value: Any) -> Any:
    """A model writes no field that is null; what an agent's own object holds stays."""
    if isinstance(value, list):
        return [without_nulls(entry) for entry in value]
    return {key: entry for key, entry in value.items() if entry is not None}


def check_returned(case: Case, value: Any) -> None:
    if isinstance(value, EventStream):
        with value:
            (event,) = value
        assert (event.id, event.event) == ("7", "agent_event")
        assert isinstance(event, case.returned)
        assert as_json(event.data) == RESULT
    elif case.returned is dict:
        assert value == case.response
    else:
        listed = get_origin(case.returned) is list
        kind = get_args(case.returned)[0] if listed else case.returned
        assert all(isinstance(entry, kind) for entry in (value if listed else [value]))
        assert as_json(value) == without_nulls(case.response)


def check_request(case: Case, request: Request) -> None:
    assert (request.method, request.path) == (case.method, case.path)
    assert request.headers["accept"] == case.accept
    assert request.headers["user-agent"].startswith("acp_client_v0_1/")
    if case.sent is None:
        assert (request.body, request.headers.get("content-type")) == (b"", None)
    else:
        assert json.loads(request.body) == case.sent
        assert request.headers["content-type"] == "application/json"


@contextlib.contextmanager
def serving_case(case: Case) -> Iterator[tuple[SocketServer, ApiClient]]:
    sent = response(case.content, content_type=case.content_type, x_trace="abc")
    with serving(sent, retries=False) as (server, client):
        yield server, client


@EVERY
def test_an_operation_sends_its_request_and_returns_its_response(case):
    with serving_case(case) as (server, client):
        assert not client.rest_client.reached
        check_returned(case, method(client, case)(*case.arguments))
        assert client.rest_client.reached
        received = method(client, case, "_with_http_info")(*case.arguments)
        assert isinstance(received, ApiResponse)
        assert (received.status_code, received.headers["X-Trace"]) == (200, "abc")
        streams = isinstance(received.data, EventStream)
        assert received.raw_data == (b"" if streams else case.content)
        check_returned(case, received.data)
        for request in server.requests:
            check_request(case, request)
    assert len(server.requests) == 2


@EVERY
@pytest.mark.parametrize("status", [200, 404, 500])
def test_without_preload_content_returns_the_response_before_its_body_has_come(case, status):
    sent, gate = response(case.content, status, content_type=case.content_type), Gate()
    script = [sent.removesuffix(case.content), gate, case.content]
    with serving(script, retries=False) as (server, client):
        raw = method(client, case, "_without_preload_content")(*case.arguments)
        gate.open()
        assert raw.status == status
        assert raw.headers["Content-Type"] == case.content_type
        assert raw.read() == case.content
        raw.release_conn()
        (request,) = server.requests
        check_request(case, request)


@EVERY
@pytest.mark.parametrize("variant", ["_with_http_info", "_without_preload_content"])
def test_a_variant_declares_the_parameters_of_its_method(case, variant):
    api = getattr(acp_client_v0_1, case.api)
    method, name = getattr(api, case.name), case.name + variant
    declared = getattr(api, name)
    assert signature(declared).parameters == signature(method).parameters
    assert (declared.__qualname__, declared.__module__) == (f"{case.api}.{name}", api.__module__)
    hints, expected = get_type_hints(declared), get_type_hints(method)
    returned = expected.pop("return")
    assert hints.pop("return") == (ApiResponse[returned] if "info" in variant else rest.RawResponse)
    assert hints == expected


def test_a_variant_has_the_name_of_its_declaration_and_the_parameters_of_its_method():
    variant: Any = RunsApi.get_run_with_http_info
    assert variant.__name__ == "get_run_with_http_info"
    assert variant.__doc__ == "Do the same as `get_run`, returning status and headers as well."
    assert unwrap(variant).__code__.co_name == variant.__name__  # which tracebacks show
    assert signature(variant).parameters == signature(RunsApi.get_run).parameters
    with pytest.raises(TypeError, match=r"get_run_with_http_info\(\) got an unexpected keyword"):
        variant(RunsApi(), "r", no_such=1)


BODIES = {
    "json string": (b'"gone"', "application/json", "gone"),
    "detail": (b'{"detail": "gone"}', "application/json", {"detail": "gone"}),
    "text": (b"gone", "text/plain", "gone"),
    "html": (b"<html><h1>gone</h1></html>", "text/html", "<html><h1>gone</h1></html>"),
    "nothing": (b"", "", None),
}


@pytest.mark.parametrize("status", ERRORS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_error_bodies_of_real_servers(status, body):
    content, content_type, data = body
    sent = response(content, status, "Reason", content_type=content_type, x_trace="abc")
    with serving(sent, retries=False) as (_, client), pytest.raises(ERRORS[status]) as caught:
        method(client, GET_RUN)("r-1")
    error = caught.value
    assert type(error) is ERRORS[status] and client.rest_client.reached
    assert (error.status, error.reason, error.data) == (status, "Reason", data)
    assert error.headers is not None and error.headers["X-Trace"] == "abc"
    assert (error.body or "") == content.decode()
    assert str(status) in str(error) and "GET" in str(error) and "/runs/r-1" in str(error)
    assert ("gone" in str(error)) == bool(content)


@pytest.mark.parametrize("variant", ["", "_with_http_info"])
def test_204_is_no_output_and_a_stream_without_events(variant):
    with serving(b"HTTP/1.1 204 No Output Available\r\n\r\n", retries=False) as (_, client):
        received = method(client, CASE["get_run_output"], variant)("r-1")
        if variant:
            assert (received.status_code, received.raw_data) == (204, b"")
        assert (received.data if variant else received) is None
        received = method(client, CASE["get_run_stream"], variant)("r-1")
        with received.data if variant else received as stream:
            assert (list(stream), stream.status) == ([], 204)
        with pytest.raises(ResponseValidationError) as caught:  # of what the contract has no 204
            method(client, GET_RUN, variant)("r-1")
        assert caught.value.status == 204


WRONG = (
    (b"<html>hello</html>", "text/html"),
    (b'{"run_id": "1", ', "application/json"),
    (b"[1, 2]", "application/json"),
    (b'{"run_id": "1"}', "application/json"),
    (b'{"run_id":%b}' % (b"[" * 5000 + b"]" * 5000), "application/json"),
    (b"null", "application/json"),
    (b"", ""),
)


@pytest.mark.parametrize("case", [case for case in CASES if case.returned is not dict], ids=str)
def test_a_response_that_does_not_fit_keeps_its_body(case):
    streams = case.name == "get_run_stream"
    for content, content_type in WRONG:
        if streams and not content:  # a stream without events
            continue
        with (
            serving(response(content, content_type=content_type)) as (_, client),
            pytest.raises(ResponseDecodeError) as caught,
        ):
            method(client, case)(*case.arguments)
        assert caught.value.status == 200
        assert (caught.value.body or "") == content.decode()
        assert isinstance(caught.value, ResponseValidationError) is not streams
        assert not client.rest_client.reached  # it may be another server


def test_cases_are_the_operations_of_the_contract(request):
    contract = yaml.safe_load((request.config.rootpath / "openapi.yaml").read_text())
    methods = [each for path in contract["paths"].values() for each in path.items()]
    declared = {(operation["operationId"], method.upper()) for method, operation in methods}
    assert {(case.name, case.method) for case in CASES} == declared


@EVERY
def test_each_option_is_its_own_and_an_argument_that_is_missing_is_named(case):
    wrong = {"_request_timeout": "soon", "_request_auth": 5, "_content_type": 5, "_headers": 5}
    with serving_case(case) as (server, client):
        call = method(client, case, "_with_http_info")
        for name, value in {**wrong, "_host_index": 5}.items():
            with pytest.raises((ApiTypeError, ApiValueError), match=f"^{name} must be"):
                call(*case.arguments, **{name: value})
        for place, (name, parameter) in enumerate(signature(call).parameters.items()):
            if parameter.default is Parameter.empty:
                arguments = [*case.arguments[:place], None, *case.arguments[place + 1 :]]
                with pytest.raises(ApiTypeError, match=f"^{name} must be"):
                    call(*arguments)
        done = call(
            *case.arguments,
            _request_timeout=(10, 20),
            _request_auth={"in": "header", "key": "X-Key", "value": "k"},
            _content_type="application/vnd.acp+json",
            _headers={"X-Team": "red"},
            _host_index=0,
        )
        if isinstance(done.data, EventStream):
            done.data.close()
        (request,) = server.requests
    assert (request.headers["x-key"], request.headers["x-team"]) == ("k", "red")
    kind = None if case.sent is None else "application/vnd.acp+json"
    assert request.headers.get("content-type") == kind
