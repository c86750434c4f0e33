"""What does not fit the contract gets a 422, with a string that names what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from acp_client_v0_1.testing import ECHO_AGENT_ID
from acp_client_v0_1.testing._server.store import json_equal
from acp_client_v0_1.testing._server.validation import Refusal, block_seconds

SEARCHES = ("/runs/search", "/agents/search", "/threads/search")
BAD_PAGES = [
    ({"limit": 0}, "limit"),
    ({"limit": 1001}, "limit"),
    ({"limit": "10"}, "limit"),
    ({"limit": 1.5}, "limit"),
    ({"limit": True}, "limit"),
    ({"limit": None}, "limit"),
    ({"offset": -1}, "offset"),
    ({"offset": "0"}, "offset"),
]
BAD_BODIES = [
    ("/runs", {}, "agent_id"),
    ("/runs", {"agent_id": 1}, "agent_id"),
    ("/runs", {"agent_id": None}, "agent_id"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "thread_id": 1}, "thread_id"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "thread_id": None}, "thread_id"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "input": []}, "input"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "input": "text"}, "input"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "metadata": 1}, "metadata"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "config": True}, "config"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "webhook": {}}, "webhook"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "streaming": "values"}, "streaming"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "streaming": ["result"]}, "streaming"),
    ("/runs", {"agent_id": ""}, "agent_id"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "thread_id": ""}, "thread_id"),
    ("/threads", {"agent_id": ""}, "agent_id"),
    ("/runs/search", {"agent_id": ""}, "agent_id"),
    ("/threads", {}, "agent_id"),
    ("/threads", {"agent_id": ECHO_AGENT_ID, "metadata": []}, "metadata"),
    ("/runs/search", {"status": "done"}, "status"),
    ("/runs/search", {"agent_id": 1}, "agent_id"),
    ("/runs/search", {"metadata": "k=v"}, "metadata"),
    ("/threads/search", {"metadata": None}, "metadata"),
    ("/agents/search", {"name": 1}, "name"),
    ("/agents/search", {"version": 1.0}, "version"),
    *((path, body, name) for path in SEARCHES for body, name in BAD_PAGES),
]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON ;x=1"])
def test_json_may_be_declared_with_parameters(call: Any, kind: str) -> None:
    assert call("POST", "/runs/search", {}, Content_Type=kind).status == 200


@pytest.mark.parametrize(("path", "body", "name"), BAD_BODIES)
def test_a_bad_property_is_refused_by_name(call: Any, path: str, body: Any, name: str) -> None:
    response = call("POST", path, body)
    assert response.status == 422
    assert response.headers["content-type"] == "application/json"
    assert response.json.startswith(f"{name}: ")


@pytest.mark.parametrize("path", ["/runs", "/threads", *SEARCHES])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'{"limit": NaN}', "application/json"),
        (b'{"agent_id": "\xff"}', "application/json"),
        (b'{"agent_id": "\\ud800"}', "application/json"),
        (b"[" * 10_000, "application/json"),
        (b"{}", "text/plain"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    call: Any, path: str, body: bytes, content_type: str
) -> None:
    response = call("POST", path, body, Content_Type=content_type)
    assert response.status == 422
    assert "body" in response.json


def test_a_body_without_type_is_refused(call: Any) -> None:
    response = call.pool.request("POST", call.url + "/runs", body=b"{}", timeout=5)
    assert (response.status, response.json()) == (
        422,
        "the body's Content-Type must be application/json",
    )


def test_unknown_properties_pass(call: Any) -> None:
    body = {"agent_id": ECHO_AGENT_ID, "if_not_exists": "create", "model_fields": 1, "self": {}}
    assert call.ok("POST", "/runs", body)["creation"] == body
    assert call.ok("POST", "/runs/search", {"sort": "newest"})


@pytest.mark.parametrize("value", ["-1", "1.5", "x", "", "1e3", "٣", "+1", " 1"])
def test_a_bad_block_timeout_is_refused(call: Any, value: str) -> None:
    run_id = call.run(ECHO_AGENT_ID)
    response = call.pool.request(
        "GET", f"{call.url}/runs/{run_id}/output", fields={"block_timeout": value}, timeout=5
    )
    assert response.status == 422
    assert "block_timeout" in response.json()


def test_a_block_timeout_is_never_longer_than_a_day() -> None:
    assert (block_seconds(None), block_seconds("007"), block_seconds("99999")) == (0, 7, 99999)
    assert block_seconds("9" * 10_000) == 24 * 3600
    with pytest.raises(Refusal):
        block_seconds("-1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        (None, None, True),
        (None, False, False),
        ("1", 1, False),
        ([1, {"a": None}], [1, {"a": None}], True),
        ([1], [True], False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([], {}, False),
    ],
)
def test_json_values_are_compared_as_json(one: Any, other: Any, same: bool) -> None:
    assert json_equal(one, other) is same
    assert json_equal(other, one) is same
