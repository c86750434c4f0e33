"""Mistakes, and what their messages say: what happened, where, and what to do next.

A row is a function that makes one mistake, with the class of the error that it raises and phrases
that stand in the message once. A user who reads only the message must know what to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from support.socket_server import SocketServer, response

from acp_client_v0_1 import (
    ApiClient,
    ApiTypeError,
    ApiValueError,
    Configuration,
    NotFoundException,
    ResponseValidationError,
    RunCreate,
    RunsApi,
    ServiceException,
    TooManyRequestsException,
)

Mistake = Callable[[], object]
MISTAKES: list[Any] = []


def mistake(error: type[BaseException], *phrases: str) -> Callable[[Mistake], Mistake]:
    """Add a row: a function that raises this error, and the phrases of its message."""

    def add(make: Mistake) -> Mistake:
        MISTAKES.append(pytest.param(make, error, phrases, id=make.__name__))
        return make

    return add


def get_run(*answers: Any, **settings: Any) -> object:
    """Call `get_run` on a server that sends these bytes."""
    with SocketServer(*answers) as server:
        settings = {"host": server.url, "retries": False, **settings}
        with ApiClient(Configuration(**settings)) as client:
            return RunsApi(client).get_run("r1")


@mistake(NotFoundException, "GET /runs/r1 returned 404", "is the base path of host right?")
def a_wrong_base_path() -> None:
    get_run(response(b'{"detail":"Not Found"}', 404, "Not Found"))


@mistake(NotFoundException, "404 Not Found", "is the base path of host right?")
def a_path_that_a_web_server_does_not_know() -> None:
    page = b"<html><head><title>404 Not Found</title></head></html>"
    get_run(response(page, 404, "Not Found", "text/html"))


@mistake(TooManyRequestsException, "429 Too Many Requests; Retry-After: 300 s")
def too_many_requests() -> None:
    said = {"status": 429, "reason": "Too Many Requests", "retry_after": "300"}
    get_run(response(b'{"detail":"Too Many Requests"}', **said), retries=3)


@mistake(ServiceException, "503 Service Unavailable: busy; Retry-After: Fri, 31 Dec 2100")
def a_service_that_names_a_date() -> None:
    when = "Fri, 31 Dec 2100 23:59:59 GMT"
    get_run(response(b'"busy"', 503, "Service Unavailable", retry_after=when))


@mistake(
    ApiValueError,
    "host must be a URL",
    "http://localhost:8000",
    "'localhost' lacks http:// or https://",
)
def a_host_without_a_scheme() -> None:
    Configuration(host="localhost")


@mistake(ApiValueError, "'127.0.0.1:8000' lacks http:// or https://")
def a_host_with_a_port_and_no_scheme() -> None:
    Configuration(host="127.0.0.1:8000")


@mistake(ApiValueError, "host must begin with http:// or https://")
def a_host_with_another_scheme() -> None:
    Configuration(host="ftp://acp.example")


@mistake(ApiValueError, "'http://' lacks the host name")
def a_host_without_a_name() -> None:
    Configuration(host="http:///acp")


@mistake(ApiValueError, "host has a port that is not a number from 1 to 65535: '80000'")
def a_port_that_does_not_exist() -> None:
    Configuration(host="http://acp.example:80000")


@mistake(ApiValueError, "host has a port that is not", "'eighty'")
def a_port_that_is_no_number() -> None:
    Configuration().host = "http://acp.example:eighty"


@mistake(ApiValueError, "[IPv6] address is not valid")
def an_address_without_its_bracket() -> None:
    Configuration(host="http://[::1")


@mistake(ApiValueError, "host must not contain user information", "set username and password")
def a_host_with_credentials() -> None:
    Configuration(host="http://me:secret@acp.example")


@mistake(ApiValueError, "ACP_HOST", "host has a port that is not a number")
def a_port_of_the_environment() -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ACP_HOST", "http://acp.example:x")
        Configuration.from_env()


@mistake(ApiValueError, "proxy has a port that is not a number from 1 to 65535")
def a_proxy_whose_password_may_be_its_port() -> None:
    Configuration(proxy="http://me:secret@proxy:http")


@mistake(ApiValueError, "ssl_ca_cert='/none/ca.pem': there is no such file")
def a_ca_file_that_is_missing() -> None:
    get_run(response(b""), ssl_ca_cert="/none/ca.pem", host="https://127.0.0.1:1")


@mistake(ApiValueError, "key_file='/none/key.pem': there is no such file")
def a_key_file_that_is_missing() -> None:
    files = {"cert_file": __file__, "key_file": "/none/key.pem"}
    get_run(response(b""), host="https://127.0.0.1:1", **files)


@mistake(
    ApiValueError, f"ssl_ca_cert={__file__!r}", "cannot be used as a file of certificates (PEM)"
)
def a_ca_file_that_is_something_else() -> None:
    get_run(response(b""), ssl_ca_cert=__file__, host="https://127.0.0.1:1")


@mistake(ApiValueError, "ca_cert_data is not a certificate (PEM or DER)")
def certificates_that_are_none() -> None:
    get_run(response(b""), ca_cert_data="/etc/ca.pem", host="https://127.0.0.1:1")


def send(body: Any) -> object:
    """Call `create_run` with a body, on a server that accepts any."""
    run = {"creation": {"agent_id": "a"}, "run_id": "r", "agent_id": "a", "status": "pending"}
    times = dict.fromkeys(("created_at", "updated_at"), "2026-11-24T09:30:00Z")
    with SocketServer(response(json.dumps({**run, **times}).encode())) as server:
        configuration = Configuration(host=server.url)
        with ApiClient(configuration) as client:
            return RunsApi(client).create_run(body)


def send_input(value: Any) -> object:
    """Call `create_run` with a model that has this input."""
    return send(RunCreate(agent_id="a", input=value))


@mistake(ApiTypeError, "run_create must be a RunCreate or dict: pass an instance, not the class")
def a_class_for_an_instance() -> None:
    send(RunCreate)


@mistake(ApiValueError, "run_create.input['x'][0]: bytes is not JSON; decode it to a str")
def bytes_in_an_input() -> None:
    send_input({"x": [b"x"]})


@mistake(ApiValueError, "run_create.input['x']: set is not JSON; pass a list")
def a_set_in_an_input() -> None:
    send_input({"x": {1, 2}})


@mistake(ApiValueError, "run_create.input['x']: Decimal is not JSON; pass a float or a str")
def a_decimal_in_an_input() -> None:
    send({"agent_id": "a", "input": {"x": Decimal("1.10")}})


@mistake(ApiValueError, "run_create.input['x']: nan is not a JSON number")
def not_a_number_in_an_input() -> None:
    send_input({"x": float("nan"), "y": "NaN"})


@mistake(ApiValueError, "run_create.input['x'][1]: -inf is not a JSON number")
def an_infinity_in_a_list() -> None:
    send({"agent_id": "a", "input": {"x": [1, float("-inf")]}})


@mistake(ApiValueError, "run_create.input['x']: keys must be str, got int 1")
def an_int_key_inside() -> None:
    send_input({"x": {1: 2}})


@mistake(ApiValueError, "run_create.input['inner'].input['x']: bytes is not JSON")
def bytes_in_a_model_in_an_input() -> None:
    send_input({"inner": RunCreate(agent_id="b", input={"x": b"x"})})


@mistake(ApiTypeError, "run_create must have str keys, got int 1")
def an_int_key_of_a_body() -> None:
    send({1: 2})


@mistake(ApiValueError, "body: keys must be str, got int 1")
def an_int_key_of_a_free_body() -> None:
    with ApiClient(Configuration(host="http://127.0.0.1:1")) as client:
        RunsApi(client).resume_run("r", {1: 2})


@mistake(ResponseValidationError, "the response is empty (0 bytes), expected a Run as JSON")
def an_empty_response() -> None:
    get_run(response(b""))


@mistake(ResponseValidationError, "the response holds 3 bytes of white space, expected a Run")
def a_blank_response() -> None:
    get_run(response(b" \r\n"))


@mistake(
    ResponseValidationError,
    "HTML, not JSON, expected a Run",
    'is this page titled "Please sign in" that of a proxy or a login?',
)
def a_page_for_a_run() -> None:
    page = b"<!doctype html><html><head><TITLE>\n Please sign in</TITLE></head></html>"
    get_run(response(page, content_type="text/html; charset=utf-8"))


@mistake(ResponseValidationError, "the JSON is nested deeper than can be read", "expected a Run")
def a_response_that_is_nested_too_deep() -> None:
    get_run(response(b"[" * 1000 + b"]" * 1000))


@mistake(
    ResponseValidationError,
    "the response (application/json) does not fit the contract, expected a Run: creation: Field",
)
def a_response_that_lacks_fields() -> None:
    get_run(response(b"{}"))


@pytest.mark.parametrize("make, kind, phrases", MISTAKES)
def test_a_message_says_what_to_do(
    make: Mistake, kind: type[BaseException], phrases: tuple[str, ...]
) -> None:
    with pytest.raises(kind) as raised:
        make()
    message = str(raised.value)
    for phrase in phrases:
        assert message.count(phrase) == 1, message


def test_an_unknown_id_is_not_taken_for_a_wrong_path() -> None:
    with pytest.raises(NotFoundException) as raised:
        get_run(response(b'"there is no run r1"', 404, "Not Found"))
    assert str(raised.value) == "GET /runs/r1 returned 404 Not Found: there is no run r1"
