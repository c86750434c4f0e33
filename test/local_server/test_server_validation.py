"""What does not fit the contract gets a 422, with a string that names what is wrong."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from acp_client_v0_1.testing import ECHO_AGENT_ID
from acp_client_v0_1.testing._server.store import json_equal
from acp_client_v0_1.testing._server.validation import block_seconds

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
    ("/runs", {"agent_id": ""}, "agent_id"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "thread_id": None}, "thread_id"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "thread_id": ""}, "thread_id"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "input": []}, "input"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "webhook": {}}, "webhook"),
    ("/runs", {"agent_id": ECHO_AGENT_ID, "streaming": "values"}, "streaming"),
    ("/threads", {}, "agent_id"),
    ("/threads", {"agent_id": ECHO_AGENT_ID, "metadata": []}, "metadata"),
    ("/runs/search", {"agent_id": ""}, "agent_id"),
    ("/runs/search", {"status": "done"}, "status"),
    ("/threads/search", {"metadata": None}, "metadata"),
    ("/agents/search", {"version": 1.0}, "version"),
    *((path, body, name) for path in SEARCHES for body, name in BAD_PAGES),
]


def test_a_bad_property_is_refused_by_name(call: Any) -> None:
    for path, body, name in BAD_BODIES:
        response = call("POST", path, body)
        assert response.status == 422, (path, body)
        assert response.headers["content-type"] == "application/json"
        assert response.json.startswith(f"{name}: "), (path, body)


@pytest.mark.parametrize("path", ["/runs", "/threads", *SEARCHES])
def test_a_body_that_is_no_json_object_is_refused(call: Any, path: str) -> None:
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"limit": NaN}',
        b'{"agent_id": "\xff"}',
        b'{"agent_id": "\\ud800"}',
        b"[" * 10_000,
    ):
        response = call("POST", path, body)
        assert response.status == 422, body
        assert "body" in response.json


def test_a_body_must_be_declared_as_json_also_with_parameters(call: Any) -> None:
    for kind in ("application/json; charset=utf-8", "Application/JSON ;x=1"):
        assert call("POST", "/runs/search", {}, Content_Type=kind).status == 200
    words = "the body's Content-Type must be application/json"
    assert call("POST", "/runs/search", {}, Content_Type="text/plain").json == words
    undeclared = call.pool.request("POST", call.url + "/runs/search", body=b"{}", timeout=5)
    assert (undeclared.status, undeclared.json()) == (422, words)


def test_unknown_properties_pass(call: Any) -> None:
    body = {"agent_id": ECHO_AGENT_ID, "if_not_exists": "create", "model_fields": 1, "self": {}}
    assert call.ok("POST", "/runs", body)["creation"] == body
    assert call.ok("POST", "/runs/search", {"sort": "newest"})


def test_a_bad_block_timeout_is_refused(call: Any) -> None:
    path = f"/runs/{call.run(ECHO_AGENT_ID)}/output?block_timeout="
    for value in ("-1", "1.5", "x", "", "1e3", "٣", "+1", " 1"):
        response = call("GET", path + quote(value))
        assert response.status == 422, value
        assert response.json.startswith("block_timeout: ")


def test_a_block_timeout_is_never_longer_than_a_day() -> None:
    assert (block_seconds(None), block_seconds("007"), block_seconds("99999")) == (0, 7, 99999)
    assert block_seconds("100000") == block_seconds("9" * 10_000) == 24 * 3600


def test_json_values_are_compared_as_json() -> None:
    for one, other, same in (
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
    ):
        assert json_equal(one, other) is same, (one, other)
        assert json_equal(other, one) is same, (other, one)
