"""The portable token: what it says, and what is refused by name before anything is sent."""

from __future__ import annotations

import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acp_client_v0_1 import ApiClient, ApiValueError, Configuration, RunHandle, TokenError
from acp_client_v0_1.handles._token import RunToken, decode_token

TOKEN = RunToken("https://acp.example/v0", "run-1", "agent-1", "thread-1", "mark", "17")


def written(content: bytes, version: str = "1") -> str:
    text = base64.urlsafe_b64encode(content).decode().rstrip("=")
    return f"acprun{version}.{text}.{zlib.crc32(content):08x}"


def test_the_form_is_as_documented():
    text = RunToken("http://h", "r").encode()
    assert text == written(b'{"server":"http://h","run":"r"}')


RUN_IDS = st.text(st.characters(exclude_characters="./\\", codec="utf-8"), min_size=1)
EVENT_IDS = st.text(st.characters(exclude_characters="\0\r\n", codec="utf-8"))


@given(st.builds(RunToken, st.text(min_size=1), RUN_IDS, *[st.text()] * 3, EVENT_IDS))
def test_what_is_written_can_be_read(token):
    assert decode_token(token.encode()) == token
    assert decode_token(f" {token.encode()}\n") == token


def test_unknown_fields_are_ignored_and_an_event_id_may_be_long():
    content = {"server": "http://h", "run": "r", "colour": ["blue"], "last_event_id": "e" * 60_000}
    content["created"] = "1790000000.5"  # of a young run
    known = RunToken("http://h", "r", last_event_id="e" * 60_000, created="1790000000.5")
    assert decode_token(written(json.dumps(content).encode())) == known
    assert decode_token(known.encode()) == known


def test_a_token_that_was_cut_short_or_changed():
    text = TOKEN.encode()
    damaged = [text[:length] for length in (10, 50, -9, -1)]
    for place in range(8, len(text)):
        other = "A" if text[place] != "A" else "B"
        damaged.append(text[:place] + other + text[place + 1 :])
    for each in damaged:
        with pytest.raises(TokenError, match="damaged: it was cut short or changed; copy all of"):
            decode_token(each)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must begin with acprun1"),
        ("run-1", "must begin with acprun1"),
        (f"x {TOKEN.encode()}", "must begin with acprun1"),
        (f"{TOKEN.encode()}0", "damaged"),
        (written(b"{}", version="2"), r"version 2.*reads version 1: upgrade"),
        (written(b"[]"), "cannot be used"),
        (written(b"{"), "cannot be used"),
        (written(b'{"server":"http://h"}'), "no run"),
        (written(b'{"run":"r"}'), "no server"),
        ("acprun1." + "A" * 100_000 + ".00000000", "damaged"),
    ],
)
def test_what_is_no_token(text, words):
    with pytest.raises(TokenError, match=words) as caught:
        decode_token(text)
    assert isinstance(caught.value, ApiValueError)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("created", at) for at in ("soon", "nan", "inf", "-1", "1e400", "1" * 400, "1_0", "٣")),
        *(("created", each) for each in (7, [], {}, True, float("inf"), None)),
        ("run", ".."),
        ("run", "../x"),
        ("run", "\ud800"),
        ("run", TOKEN.encode()),
        *(("last_event_id", each) for each in ("a\r\nX: y", "a\0", "\ud800", ["1"])),
        *(("client_token", each) for each in ("\ud800", 7)),
        *((name, 7) for name in ("server", "agent", "thread", "traceparent")),
    ],
)
def test_a_field_of_another_form_is_a_token_error(field, value):
    content = {"server": "http://127.0.0.1:1", "run": "r", field: value}
    token = written(json.dumps(content).encode())
    client = ApiClient(Configuration(host="http://127.0.0.1:1"))
    with client, pytest.raises(TokenError) as caught:
        RunHandle.from_token(token, client)
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


def test_the_server_is_compared_and_never_connected_to():
    """Nobody listens at either; attaching does no I/O."""
    with pytest.raises(TokenError, match="must be a str, not NoneType"):
        RunHandle.from_token(None)  # type: ignore[arg-type]
    token = RunToken("http://127.0.0.1:1/base", "r", last_event_id="9").encode()
    with ApiClient(Configuration(host="http://127.0.0.1:1/base/")) as client:
        handle = RunHandle.from_token(token, client)
        assert handle.run_id == "r"
        assert handle.token() == token
    with ApiClient(Configuration(host="http://127.0.0.1:1")) as client:
        with pytest.raises(TokenError, match="pass an ApiClient of the token's server") as caught:
            RunHandle.from_token(token, client)
        assert "http://127.0.0.1:1/base" in str(caught.value)
    with ApiClient(Configuration(host="HTTPS://Acp.Example:443")) as client:
        same = RunToken("https://acp.example", "r").encode()
        assert RunHandle.from_token(same, client).run_id == "r"
