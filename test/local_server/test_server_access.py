"""A server that wants a key, below a base path."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from acp_client_v0_1 import (
    ApiClient,
    Configuration,
    NotFoundException,
    RunsApi,
    ThreadsApi,
    UnauthorizedException,
)
from acp_client_v0_1.testing import ECHO_AGENT_ID, Fault, LocalServer

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = ("x-api-key", "open sesame")
AGENT = f"/agents/{ECHO_AGENT_ID}"
CallerFor = Callable[[LocalServer], Any]


def test_without_the_key_nothing_is_done(caller_for: CallerFor) -> None:
    with LocalServer(api_key=KEY) as server:
        call = caller_for(server)
        missing = call("POST", "/runs", {"agent_id": ECHO_AGENT_ID})
        assert (missing.status, missing.json) == (401, "the header x-api-key is missing")
        assert missing.headers["content-type"] == "application/json"
        for wrong in ("open", "", "open sesame!", "Open Sesame"):
            refused = call("GET", AGENT, x_api_key=wrong)
            assert (refused.status, refused.json) == (401, "the header x-api-key has a wrong value")
        # What there is, is nothing to know either.
        assert call("GET", "/nowhere").status == call("PUT", AGENT).status == 401
        assert call("POST", "/runs/search", {}, X_API_Key=KEY[1]).json == []
        assert call("GET", AGENT, x_api_key=KEY[1]).status == 200
        assert len(server.requests) == 9


def test_a_header_that_comes_twice_is_no_key(caller_for: CallerFor) -> None:
    with LocalServer(api_key=KEY) as server:
        twice = urllib3.HTTPHeaderDict([KEY, ("x-api-key", "another")])
        answer = caller_for(server).pool.request("GET", server.url + AGENT, headers=twice)
        assert answer.status == 401


def test_a_mapping_asks_for_each_of_its_headers(caller_for: CallerFor) -> None:
    with LocalServer(api_key={"Authorization": "Bearer a", "x-tenant": "b"}) as server:
        call = caller_for(server)
        assert call("GET", AGENT, authorization="Bearer a").json == "the header x-tenant is missing"
        assert call("GET", AGENT, x_tenant="b").json == "the header Authorization is missing"
        assert call("GET", AGENT, authorization="Bearer a", x_tenant="b").status == 200


def test_faults_come_before_the_key(caller_for: CallerFor) -> None:
    with LocalServer(api_key=KEY) as server:
        server.fail_next(503)
        call = caller_for(server)
        assert [call("GET", AGENT).status for _ in range(2)] == [503, 401]


def test_everything_is_below_the_base_path(caller_for: CallerFor) -> None:
    with LocalServer(base_path="/acp/v0/") as server:
        assert server.url == f"http://127.0.0.1:{server.port}/acp/v0"
        call = caller_for(server)
        run_id = call.run(ECHO_AGENT_ID, input={"n": 1}, streaming="result")
        assert call.output(run_id)["result"] == {"n": 1}
        assert len(call.events(run_id)) == 1
        assert call("PUT", f"/runs/{run_id}").status == 405
        assert call("GET", f"/runs/{run_id}/").status == 404
        assert server.requests[0].path == "/acp/v0/runs"
        call.url = f"http://127.0.0.1:{server.port}"
        for outside in (
            AGENT,
            f"/acp{AGENT}",
            f"/acp/v0x{AGENT}",
            f"/acp/v1{AGENT}",
            "/",
            "/acp/v0",
        ):
            answer = call("GET", outside)
            assert (answer.status, answer.json) == (404, f"GET {outside}: Not Found")


def test_paths_of_faults_are_those_below_the_base_path(caller_for: CallerFor) -> None:
    with LocalServer(base_path="/acp") as server:
        server.faults.add(Fault(path="/agents/*", status=503))
        call = caller_for(server)
        assert [call("GET", AGENT).status for _ in range(2)] == [503, 200]


def test_the_client_finds_its_way() -> None:
    with LocalServer(api_key=KEY, base_path="/acp/v0") as server:
        stranger = ApiClient(Configuration(host=server.url))
        with stranger, pytest.raises(UnauthorizedException, match="x-api-key is missing"):
            RunsApi(stranger).search_runs({})
        with ApiClient(Configuration(host=server.url, api_key=dict([KEY]))) as client:
            assert RunsApi(client).search_runs({}) == []
            with pytest.raises(NotFoundException):
                ThreadsApi(client).get_thread("x")


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_path": "acp"},
        {"base_path": "/a b"},
        {"base_path": "/a//b"},
        {"base_path": "/a/../b"},
        {"base_path": "/{run_id}"},
        {"base_path": "/a?b"},
        {"api_key": ("x api key", "a")},
        {"api_key": ("", "a")},
        {"api_key": ("x-api-key", "")},
        {"api_key": ("x-api-key", "a\n")},
        {"api_key": {"x-api-key": " a"}},
        {"api_key": "secret"},
    ],
)
def test_what_no_request_could_have_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LocalServer(**wrong)


def test_both_are_options_of_the_shell_command() -> None:
    command = [sys.executable, "-m", "acp_client_v0_1.testing", "--port", "0"]
    options = ["--base-path", "/acp/v0", "--api-key", "x-api-key=a=b", "--api-key", "x-tenant=c"]
    with subprocess.Popen(
        [*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            printed = list(iter(process.stdout.readline, "Ctrl-C ends it.\n"))
            url = re.fullmatch(r"ACP 0\.1 at (http://127\.0\.0\.1:\d+/acp/v0)\n", printed[0])
            assert url is not None
            assert printed[-2:] == [
                "Each request needs the header x-api-key.\n",
                "Each request needs the header x-tenant.\n",
            ]
            headers = {"x-api-key": "a=b", "x-tenant": "c"}
            with urllib3.PoolManager(retries=False) as pool:
                assert pool.request("GET", url[1] + AGENT, timeout=5).status == 401
                assert pool.request("GET", url[1] + AGENT, headers=headers, timeout=5).status == 200
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--api-key", "secret"], "argument --api-key: write it as NAME=VALUE"),
        (["--api-key", "x-api-key="], "api_key: the value of x-api-key cannot be"),
        (["--base-path", "acp"], 'base_path must be a path such as "/acp/v0"'),
    ],
)
def test_the_shell_command_refuses_what_cannot_be(options: list[str], complaint: str) -> None:
    command = [sys.executable, "-m", "acp_client_v0_1.testing", "--port", "0", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert complaint in ended.stderr
