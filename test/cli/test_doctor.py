"""``acp-client doctor``: its statuses, its formats, and what it leaves behind."""

from __future__ import annotations

import json

import pytest
from support.commands import KEY, Inside, data
from support.socket_server import SocketServer, response

from acp_client_v0_1 import ApiException, doctor
from acp_client_v0_1.testing import LocalServer, Quirks


def test_a_sound_server_ends_with_0_and_text(server: LocalServer, inside: Inside) -> None:
    done = inside(server, "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{server.url}: all works\n\n1. The way there\n  works ")
    assert "as ACP_API_KEY has it" in done.stdout and KEY not in done.stdout
    assert server.runs == ()


@pytest.mark.slow
def test_runs_are_announced_and_what_differs_ends_with_11(inside: Inside) -> None:
    with LocalServer(quirks=Quirks(pending_output="404")) as server:
        settings = json.dumps({"seconds": 1})
        done = inside(server, "doctor", "--agent", "slow", "--input", settings)
        assert done.returncode == 11
        assert done.stderr.startswith("acp-client: this starts runs of slow, and deletes them")
        assert 'output while pending: 404  [pending_output="404"]\n' in done.stdout
        assert server.runs == ()


def test_each_option_reaches_the_examination(
    server: LocalServer, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []

    def examine(client: object, *options: object) -> None:
        given.extend(options)
        raise ApiException(reason="enough")

    monkeypatch.setattr(doctor, "examine", examine)
    assert inside(server, "doctor", "--agent", "a", "--input", '{"n": 1}', "--deep").returncode == 1
    assert given == ["a", {"n": 1}, True]


def test_json_is_the_report_with_its_version(server: LocalServer, inside: Inside) -> None:
    report = data(inside(server, "doctor", "--format", "json"))
    assert (report["version"], report["server"], report["agent"]) == (1, server.url, None)
    assert {each["verdict"] for each in report["findings"]} == {"works", "not tried"}


def test_a_server_that_cannot_be_used_ends_with_1(inside: Inside) -> None:
    page = b"<html><title>\x1b]0;owned\x07 Sign in</title></html>"
    with SocketServer(response(page, content_type="text/html\x1b[2J")) as server:
        done = inside(server, "doctor")
    assert done.returncode == 1 and "it cannot be used" in done.stdout
    assert done.stdout.replace("\n", "").isprintable()
