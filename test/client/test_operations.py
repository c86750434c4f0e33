"""Each of the 17 operations, in each variant, with each status that the contract declares.

The server is a socket that sends exact bytes; the requests are compared as they arrived.
"""

from __future__ import annotations

import json
from inspect import signature
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import yaml
from support.operations import CASES, RESULT, RUN_ID, Case
from support.socket_server import Gate, SocketServer, head, response
from support.transport import serving

import acp_client_v0_1
from acp_client_v0_1 import ApiClient, ApiResponse, Configuration, EventStream, models, rest
from acp_client_v0_1.exceptions import (
    ApiException,
    ApiTypeError,
    ApiValueError,
    BadRequestException,
    ConflictException,
    ForbiddenException,
    NotFoundException,
    ResponseDecodeError,
    ResponseValidationError,
    ServiceException,
    TooManyRequestsException,
    UnauthorizedException,
    UnprocessableEntityException,
)

ERRORS = {
    400: BadRequestException,
    401: UnauthorizedException,
    403: ForbiddenException,
    404: NotFoundException,
    409: ConflictException,
    422: UnprocessableEntityException,
    429: TooManyRequestsException,
    500: ServiceException,
    503: ServiceException,
    599: ServiceException,
    418: ApiException,
    302: ApiException,
}
EVERY = pytest.mark.parametrize("case", CASES, ids=str)


def method(client: ApiClient, case: Case, variant: str = "") -> Any:
    return getattr(getattr(acp_client_v0_1, case.api)(client), case.name + variant)


def response_of(case: Case) -> bytes:
    return response(case.content, content_type=case.content_type)


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


def same_times(value: Any) -> Any:
    text = json.dumps(value, sort_keys=True)
    return text.replace("2026-11-24T09:31:00.500000+01:00", "2026-11-24T09:31:00.5+01:00")


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
        kind = get_args(case.returned)[0] if get_origin(case.returned) is list else case.returned
        assert all(
            isinstance(entry, kind) for entry in (value if kind is not case.returned else [value])
        )
        assert same_times(as_json(value)) == same_times(without_nulls(case.response))


def check_request(case: Case, server: SocketServer) -> None:
    (request,) = server.requests
    assert (request.method, request.path) == (case.method, case.path)
    assert request.headers["accept"] == case.accept
    assert request.headers["user-agent"].startswith("acp_client_v0_1/")
    if case.sent is None:
        assert (request.body, request.headers.get("content-type")) == (b"", None)
    else:
        assert json.loads(request.body) == case.sent
        assert request.headers["content-type"] == "application/json"


@EVERY
def test_an_operation_sends_its_request_and_returns_its_response(case: Case) -> None:
    with serving(response_of(case), retries=False) as (server, client):
        check_returned(case, method(client, case)(*case.arguments))
        check_request(case, server)


@EVERY
def test_with_http_info_returns_status_and_headers_too(case: Case) -> None:
    with serving(
        response(case.content, content_type=case.content_type, x_trace="abc"), retries=False
    ) as (server, client):
        received = method(client, case, "_with_http_info")(*case.arguments)
        assert isinstance(received, ApiResponse)
        assert (received.status_code, received.headers["X-Trace"]) == (200, "abc")
        assert received.raw_data == (
            b"" if isinstance(received.data, EventStream) else case.content
        )
        check_returned(case, received.data)
        check_request(case, server)


@EVERY
@pytest.mark.parametrize("status", [200, 404, 500])
def test_without_preload_content_returns_the_response_unread(case: Case, status: int) -> None:
    with serving(response(case.content, status, content_type=case.content_type), retries=False) as (
        server,
        client,
    ):
        raw = method(client, case, "_without_preload_content")(*case.arguments)
        assert raw.status == status
        assert raw.headers["Content-Type"] == case.content_type
        assert raw.read() == case.content
        raw.release_conn()
        check_request(case, server)


def test_an_unread_response_is_returned_before_its_body_has_come() -> None:
    gate = Gate()
    with serving([head(content_length="4"), gate, b"null"], retries=False) as (_, client):
        raw = method(client, GET_RUN, "_without_preload_content")(RUN_ID)
        assert raw.status == 200
        gate.open()
        assert raw.read() == b"null"


@EVERY
@pytest.mark.parametrize("variant", ["_with_http_info", "_without_preload_content"])
def test_a_variant_declares_the_parameters_of_its_method(case: Case, variant: str) -> None:
    api = getattr(acp_client_v0_1, case.api)
    method, name = getattr(api, case.name), case.name + variant
    declared = getattr(api, name)
    assert signature(declared).parameters == signature(method).parameters
    assert (declared.__qualname__, declared.__module__) == (f"{case.api}.{name}", api.__module__)
    hints, expected = get_type_hints(declared), get_type_hints(method)
    returned = expected.pop("return")
    assert hints.pop("return") == (ApiResponse[returned] if "info" in variant else rest.RawResponse)
    assert hints == expected
    with pytest.raises(TypeError, match=rf"{name}\(\) got an unexpected keyword argument"):
        getattr(api(ApiClient(Configuration())), name)(*case.arguments, no_such=1)


VARIANTS = pytest.mark.parametrize("variant", ["", "_with_http_info"])
GET_RUN = next(case for case in CASES if case.name == "get_run")
BODIES = {
    "json string": (b'"gone"', "application/json", "gone"),
    "detail": (b'{"detail": "gone"}', "application/json", {"detail": "gone"}),
    "detail list": (
        b'{"detail": [{"loc": ["path", "run_id"], "msg": "gone"}]}',
        "application/json",
        {"detail": [{"loc": ["path", "run_id"], "msg": "gone"}]},
    ),
    "text": (b"gone", "text/plain", "gone"),
    "html": (b"<html><h1>gone</h1></html>", "text/html", "<html><h1>gone</h1></html>"),
    "nothing": (b"", "", None),
}


@pytest.mark.parametrize("status", ERRORS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_error_bodies_of_real_servers(status: int, body: tuple[bytes, str, Any]) -> None:
    content, content_type, data = body
    sent = response(content, status, "Reason", content_type=content_type, x_trace="abc")
    with serving(sent, retries=False) as (_, client), pytest.raises(ERRORS[status]) as caught:
        method(client, GET_RUN)("r-1")
    error = caught.value
    assert type(error) is ERRORS[status]
    assert (error.status, error.reason, error.data) == (status, "Reason", data)
    assert error.headers is not None and error.headers["X-Trace"] == "abc"
    assert (error.body or "") == content.decode()
    assert str(status) in str(error) and "GET" in str(error) and "/runs/r-1" in str(error)
    assert ("gone" in str(error)) == bool(content)


@VARIANTS
def test_get_run_output_returns_none_on_204(variant: str) -> None:
    case = next(case for case in CASES if case.name == "get_run_output")
    with serving(b"HTTP/1.1 204 No Output Available\r\n\r\n", retries=False) as (_, client):
        received = method(client, case, variant)(*case.arguments)
        if variant:
            assert (received.status_code, received.raw_data) == (204, b"")
        assert (received.data if variant else received) is None


@VARIANTS
def test_get_run_stream_has_no_events_on_204(variant: str) -> None:
    case = next(case for case in CASES if case.name == "get_run_stream")
    with serving(b"HTTP/1.1 204 No Output Available\r\n\r\n", retries=False) as (_, client):
        received = method(client, case, variant)(*case.arguments)
        with received.data if variant else received as stream:
            assert list(stream) == []
            assert stream.status == 204


WRONG = {
    "html": (b"<html>hello</html>", "text/html"),
    "cut json": (b'{"run_id": "1", ', "application/json"),
    "wrong type": (b"[1, 2]", "application/json"),
    "missing field": (b'{"run_id": "1"}', "application/json"),
    "null": (b"null", "application/json"),
    "nothing": (b"", ""),
}


MISFITS = [
    pytest.param(case, wrong, id=f"{case}-{name}")
    for case in CASES
    if case.returned is not dict
    for name, wrong in WRONG.items()
    # An empty response is a stream without events.
    if case.name != "get_run_stream" or wrong[0]
]


@pytest.mark.parametrize(("case", "wrong"), MISFITS)
def test_a_response_that_does_not_fit_keeps_its_body(case: Case, wrong: tuple[bytes, str]) -> None:
    content, content_type = wrong
    with (
        serving(response(content, content_type=content_type)) as (_, client),
        pytest.raises(ResponseDecodeError) as caught,
    ):
        method(client, case)(*case.arguments)
    assert caught.value.status == 200
    assert (caught.value.body or "") == content.decode()
    if case.name != "get_run_stream":
        assert isinstance(caught.value, ResponseValidationError)


def test_a_204_that_the_contract_does_not_know_is_no_response() -> None:
    with (
        serving(b"HTTP/1.1 204 No Content\r\n\r\n") as (_, client),
        pytest.raises(ResponseValidationError) as caught,
    ):
        method(client, GET_RUN)("r-1")
    assert caught.value.status == 204


def test_cases_are_the_operations_of_the_contract(request: pytest.FixtureRequest) -> None:
    contract = yaml.safe_load((request.config.rootpath / "openapi.yaml").read_text())
    declared = {
        operation["operationId"]: (method.upper(), tuple(sorted(operation["responses"])))
        for path in contract["paths"].values()
        for method, operation in path.items()
    }
    empty = {"get_run_output", "get_run_stream"}
    assert declared == {
        case.name: (
            case.method,
            tuple(
                sorted(["200", *(["204"] if case.name in empty else []), *map(str, case.errors)])
            ),
        )
        for case in CASES
    }


@EVERY
def test_each_option_of_a_call_is_its_own(case: Case) -> None:
    wrong = {"_request_timeout": "soon", "_request_auth": 5, "_content_type": 5, "_headers": 5}
    with serving(response_of(case), retries=False) as (server, client):
        call = method(client, case, "_with_http_info")
        for name, value in {**wrong, "_host_index": 5}.items():
            with pytest.raises((ApiTypeError, ApiValueError), match=f"^{name} must be"):
                call(*case.arguments, **{name: value})
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


@EVERY
def test_an_argument_that_is_missing_is_named(case: Case) -> None:
    with serving(response_of(case), retries=False) as (server, client):
        call = method(client, case)
        for place, name in enumerate(list(signature(call).parameters)[: len(case.arguments)]):
            if name != "block_timeout":  # which is optional
                arguments = [*case.arguments[:place], None, *case.arguments[place + 1 :]]
                with pytest.raises(ApiTypeError, match=f"^{name} must be"):
                    call(*arguments)
        assert server.requests == []


def test_the_stock_style_of_use() -> None:
    with serving(response_of(CASES[0]), retries=False) as (server, client):
        run = method(client, CASES[0])({"agent_id": "a-1", "input": {"q": None}})
        assert run.run_id == RUN_ID
        assert models.Run.from_dict(run.to_dict()) == run
        assert client.sanitize_for_serialization(run)["created_at"] == "2026-11-24T09:30:00Z"
        runs = client.deserialize(json.dumps([CASES[0].response]), "List[Run]", "application/json")
        assert runs == [run]
        assert client.deserialize("text", "str", "text/plain") == "text"
        reply = client.call_api("POST", server.url + "/x", {"A": "b"}, run)
        assert reply.status == 200
        assert models.Run.from_json(server.requests[-1].body) == run
