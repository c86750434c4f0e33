"""The steps that scripts for openapi-generator's clients take themselves.

`make dropin` compares their outcomes with the ones of openapi-generator's client. The tests here
are about what is stricter or missing there: where credentials go, what is refused, the messages of
errors.
"""

from decimal import Decimal

import pytest
from pydantic import SecretStr
from support.socket_server import SocketServer, response
from support.transport import serving

from acp_client_v0_1 import (
    ApiClient,
    ApiException,
    ApiTypeError,
    ApiValueError,
    Configuration,
    NotFoundException,
    ResponseDecodeError,
    ResponseValidationError,
    RunStatus,
)

HOST = "http://localhost:1/base"


def a_client() -> ApiClient:
    configuration = Configuration(host=HOST, access_token="t0k", api_key={"x-api-key": "k"})
    return ApiClient(configuration, "x-team", "blue", cookie="c=1")


def test_a_request_for_the_configured_host_has_everything():
    method, url, headers, body, fields = a_client().param_serialize(
        "POST",
        "/a/{b}",
        path_params={"b": "c d"},
        query_params={"flag": True, "list": ["x", "y z"]},
        header_params={"X-Team": "red", "x-number": 3, "x-flag": True, "X-API-Key": "own"},
        body={"status": RunStatus.SUCCESS},
        collection_formats={"list": "csv"},
    )
    assert (method, url) == ("POST", f"{HOST}/a/c%20d?flag=true&list=x,y%20z")
    assert (body, fields) == ({"status": "success"}, [])
    assert {name.lower(): value for name, value in headers.items()} == {
        "cookie": "c=1",
        "user-agent": a_client().user_agent,
        "authorization": "Bearer t0k",
        "x-api-key": "own",
        "x-team": "red",
        "x-number": "3",
        "x-flag": "true",
    }


def test_another_host_gets_neither_credentials_nor_the_cookie():
    client = a_client()
    request = client.param_serialize("GET", "/x", _host="http://other:1")
    assert request[1] == "http://other:1/x"
    assert set(request[2]) == {"x-team", "User-Agent"}
    auth = {"in": "header", "key": "x-key", "value": "v"}
    request = client.param_serialize("GET", "/x", _host="http://other:1", _request_auth=auth)
    assert set(request[2]) == {"x-team", "User-Agent", "x-key"}
    client.configuration.ignore_operation_servers = True
    request = client.param_serialize("GET", "/x", _host="http://other:1")
    assert request[1] == f"{HOST}/x" and "Authorization" in request[2]


def test_the_auth_of_a_request_takes_the_place_of_the_configured_one():
    own = {"in": "header", "key": "x-key", "value": "v"}
    configured = {"Authorization": "Bearer t0k", "x-api-key": "k"}
    for auth, added in ((None, configured), (own, {"x-key": "v"}), ({}, configured)):
        headers = {"Accept": "a", **dict.fromkeys(map(str.lower, added), "of a script")}
        a_client().update_params_for_auth(headers, [], [], "/x", "GET", None, auth)
        assert headers == {"Accept": "a", **added}


def test_a_cookie_joins_the_others_and_a_parameter_the_query():
    default = {"Cookie": "e=3"}
    for own, more, first in (
        ({}, {}, "c=1"),
        ({}, default, "e=3"),
        ({"cookie": "d"}, default, "d"),
    ):
        auth, client = {"in": "cookie", "key": "k", "value": "v w"}, a_client()
        client.default_headers.update(more)
        request = client.param_serialize("GET", "/x", header_params=own, _request_auth=auth)
        assert {k.lower(): v for k, v in request[2].items()}["cookie"] == f"{first}; k=v%20w"
    auth = {"in": "query", "key": "k", "value": "v w"}
    request = a_client().param_serialize("GET", "/x", None, {"a": 1}, _request_auth=auth)
    assert request[1] == f"{HOST}/x?a=1&k=v%20w"
    assert "Authorization" not in request[2]


def test_what_cannot_be_sent_is_refused():
    for run_id, error in ((None, ApiTypeError), ("", ApiValueError), ("a/../b", ApiValueError)):
        with pytest.raises(error, match="run_id"):
            a_client().param_serialize("GET", "/runs/{run_id}", {"run_id": run_id})
    for value in (None, {"a": 1}, ["a"]):
        with pytest.raises(ApiTypeError, match="x-a"):
            a_client().param_serialize("GET", "/x", header_params={"x-a": value})
    with pytest.raises(ApiValueError, match="files"):
        a_client().param_serialize("POST", "/x", files={"f": b""})


def test_a_list_has_the_collection_format_of_its_name():
    lists = {"c": [1, True], "s": ["a", "b"], "t": ["a", "b"], "p": ["a", "b"], "m": (1, 2)}
    formats = {"c": "csv", "s": "ssv", "t": "tsv", "p": "pipes", "m": "multi"}
    made = a_client().parameters_to_tuples({**lists, "none": [1], "flag": False}, formats)
    assert made == [
        ("c", "1,true"), ("s", "a b"), ("t", "a\tb"), ("p", "a|b"), ("m", 1), ("m", 2),
        ("none", [1]), ("flag", "false"),
    ]  # fmt: skip
    query = a_client().parameters_to_url_query({"m": ["a b", {"x": 1}], "d": {"y": 2}}, formats)
    assert query == "m=a%20b&m=%7B%22x%22%3A%201%7D&d=%7B%22y%22%3A%202%7D"


def test_json_is_the_first_media_type_that_is_chosen():
    client = a_client()
    for choose in (client.select_header_accept, client.select_header_content_type):
        assert choose(["text/plain", "application/JSON", "application/json"]) == "application/JSON"
        assert choose(["text/plain", "text/html"]) == "text/plain"
        assert choose([]) is None


def test_a_body_is_sent_as_its_kind_in_any_case_says():
    with SocketServer(response(b"{}")) as server, ApiClient(Configuration(server.url)) as client:

        def sent(kind: str | None, *content: object) -> tuple[str | None, bytes]:
            headers = {} if kind is None else {"CONTENT-type": kind}
            client.call_api("POST", server.url + "/x", headers, *content)
            request = server.requests[-1]
            return request.headers.get("content-type"), request.body

        assert sent("text/plain", "Ä") == ("text/plain", "Ä".encode())
        assert sent(None, b"\x00") == (None, b"\x00")
        assert sent(None, {"a": "Ä"}) == ("application/json", '{"a": "Ä"}'.encode())
        assert sent("application/x-own", ["a"]) == ("application/x-own", b'["a"]')
        heads = [request.raw_head.lower() for request in server.requests]
        assert all(head.count(b"content-type:") <= 1 for head in heads)
        with pytest.raises(ApiValueError, match="post_params: the protocol has no forms"):
            sent(None, None, [("name", "b")])
        with pytest.raises(ApiValueError, match="body cannot be sent as JSON"):
            sent(None, {"a": float("nan")})
    assert len(server.requests) == 4


def test_a_response_is_decoded_by_its_status():
    responses = [
        response(b'"pending"'),
        response(b'"pending"', 201),
        response(b"\x00\x01", content_type=""),
        response('"é"'.encode(), content_type="application/json; charset=iso-8859-1"),
        response(b"no JSON"),
        response(b"<a/>", content_type="application/xml"),
        response(b'{"detail": "none such"}', 404),
        response(b"", 302),
    ]
    with serving(*responses) as (server, client):
        received = [client.call_api("GET", server.url + "/x") for _ in responses]
        listed, other, raw, labelled, broken, xml, missing, moved = received
        types = {"200": "RunStatus", "default": "str"}
        reply = client.response_deserialize(listed, types)
        assert (reply.data, reply.status_code) == (RunStatus.PENDING, 200)
        assert reply.headers["Content-Type"] == "application/json"
        assert client.response_deserialize(other, types).data == "pending"
        assert client.response_deserialize(other, {"200": "Run"}).data is None
        assert client.response_deserialize(other).raw_data == b'"pending"'
        assert client.response_deserialize(raw, {"2XX": "bytearray"}).data == b"\x00\x01"
        assert client.response_deserialize(labelled, {"200": "str"}).data == "é"
        with pytest.raises(ResponseValidationError):
            client.response_deserialize(broken, {"200": "Run"})
        with pytest.raises(ResponseDecodeError, match="application/xml"):
            client.response_deserialize(xml, {"200": "Run"})
        with pytest.raises(NotFoundException, match="none such"):
            client.response_deserialize(missing, {"404": "str"})
        with pytest.raises(ApiException, match="302"):
            client.response_deserialize(moved, {"302": "str"})


JSON, NO_JSON = "application/json", ResponseValidationError


@pytest.mark.parametrize(
    ("text", "name", "kind", "value"),
    [
        ("null", "Optional[int]", JSON, None),
        ("3", "Optional[int]", "application/json ; charset=utf-8", 3),
        ('{"a": [1]}', "Dict[str, List[int]]", "application/vnd.acp+json", {"a": [1]}),
        ("[true]", "List[object]", None, [True]),
        ("[3, 4]", "list[long]", JSON, [3, 4]),
        ('"1.5"', "decimal", JSON, Decimal("1.5")),
        ('"3"', str, JSON, "3"),
        ("3", str, JSON, NO_JSON),
        *((text, kind, JSON, None) for text in ("null", b" null\n") for kind in ("Run", "str")),
        ("[null]", "List[Run]", JSON, NO_JSON),
        ("plain", "str", "Text/Plain ; charset=utf-8", "plain"),
        (b"plain", "str", None, "plain"),
        ("plain", "str", JSON, NO_JSON),
        (b"\xff", "str", JSON, NO_JSON),
        ("<a/>", "str", "application/xml", ResponseDecodeError),
        ("{}", "Rum", None, ApiValueError),
        *(("{}", f"{kind}x", None, ApiValueError) for kind in ("Optional[int]", "Dict[str, int]")),
        ("[]", "List[int]x", None, ApiValueError),
    ],
)
def test_content_is_decoded_by_its_media_type_and_the_name_of_its_type(text, name, kind, value):
    if isinstance(value, type):
        with pytest.raises(value) as caught:
            a_client().deserialize(text, name, kind)
        if value is NO_JSON:
            body = text if isinstance(text, str) else text.decode(errors="replace")
            assert getattr(caught.value, "body", None) == body
            assert "1 validation error" in str(caught.value)
    else:
        assert a_client().deserialize(text, name, kind) == value


def test_secrets_are_revealed_wherever_they_are():
    value = {"a": [SecretStr("s"), 1], "b": (SecretStr("t"),)}
    assert a_client().sanitize_for_serialization(value) == {"a": ["s", 1], "b": ["t"]}
    assert a_client().sanitize_for_serialization(b"s") == b"s"
    for given in (True, False):
        client = a_client()
        client.configuration.client_side_validation = given
        assert client.client_side_validation is given
