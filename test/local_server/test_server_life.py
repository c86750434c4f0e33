"""The server's life: started and stopped at once, nothing left, and what an import lacks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme
import urllib3
import uvicorn
from support.forks import printed_by
from support.transport import eventually, in_child

from acp_client_v0_1 import ApiClient, Configuration, RunsApi, StreamInterrupted
from acp_client_v0_1.testing import (
    APPROVAL_AGENT_ID,
    BUILTIN_AGENTS,
    COUNTER_AGENT_ID,
    ECHO_AGENT_ID,
    SLOW_AGENT_ID,
    Fault,
    LocalServer,
    __main__,
)
from acp_client_v0_1.testing._recent import Recent
from acp_client_v0_1.testing._server.runner import Runner
from acp_client_v0_1.testing._server.validation import block_seconds

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent.parent


def test_it_stops_promptly_under_load_and_leaves_no_thread(serve):
    before = set(threading.enumerate())
    call = serve()
    slow = call.run(SLOW_AGENT_ID, input={"seconds": 60})
    counting = call.run(COUNTER_AGENT_ID, input={"interval": 60}, streaming="custom")
    call.output(call.run(APPROVAL_AGENT_ID))
    paths = [f"/runs/{slow}/output?block_timeout=60", f"/runs/{counting}/stream"]
    with ThreadPoolExecutor() as pool:
        waiters = [pool.submit(call, "GET", path) for path in paths]
        assert eventually(lambda: len(call.server.requests) == 6, 5)
        began = time.monotonic()
        call.server.close()
        assert time.monotonic() - began < 10
        # Both are cut: a server that goes away ends no stream and no wait.
        for waiter in waiters:
            assert isinstance(waiter.exception(5), urllib3.exceptions.HTTPError)
    assert set(threading.enumerate()) <= before


def test_it_may_be_closed_twice_and_never_started():
    with LocalServer() as server:
        assert "local ACP server" in {thread.name for thread in threading.enumerate()}
        server.close()
    LocalServer().close()
    with pytest.raises(RuntimeError, match="no port"):
        _ = LocalServer().url


def test_a_restarted_server_has_its_port_and_its_runs(call):
    server, url = call.server, call.server.url
    path = f"/runs/{call.run(SLOW_AGENT_ID, input={'seconds': 0.3})}"
    server.stop()
    assert (server.connections_accepted, server.connections_open) == (1, 0)
    with pytest.raises(urllib3.exceptions.HTTPError):
        call("GET", path)
    server.start()
    assert server.url == url
    assert call.ok("GET", f"{path}/output?block_timeout=5")["type"] == "result"
    began = time.monotonic()
    server.restart(0.2)
    assert time.monotonic() - began >= 0.2
    assert call.ok("GET", path)["status"] == "success"
    assert server.connections_accepted == 3


def test_a_restart_leaves_no_connection_that_has_just_been_made_open():
    """What is left open is a ResourceWarning, which fails the test."""
    over = threading.Event()

    def connect(port: int) -> None:
        while not over.wait(0.001):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                pass

    with LocalServer() as server, ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(connect, server.port)
        try:
            for _ in range(20):
                over.wait(0.02)
                server.restart()
        finally:
            over.set()
    gc.collect()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("tls", [False, True])
def test_a_stop_closes_what_a_forked_process_has_a_copy_of(tls):
    """A worker of a process pool, for example."""
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    trusted = Configuration(ca_cert_data=ca.cert_pem.bytes().decode())
    with LocalServer(tls=context if tls else None) as server, ApiClient(trusted) as client:
        trusted.host = server.url
        counting = {"count": 300, "interval": 0.1}
        creation = {"agent_id": COUNTER_AGENT_ID, "input": counting, "streaming": "custom"}
        run_id = RunsApi(client).create_run(creation).run_id
        stream = RunsApi(client).get_run_stream(run_id)
        next(stream)
        gate, open_gate = os.pipe()
        ended = in_child(lambda: os.read(gate, 1))
        server.restart()
        with pytest.raises(StreamInterrupted):
            list(stream)
    os.write(open_gate, b".")
    assert ended() == 0
    os.close(gate)
    os.close(open_gate)


def test_a_restarted_server_may_have_forgotten_its_runs(call):
    agent_id = call.server.register(lambda input, config, context: {}, name="mine")
    run_id = call.run(SLOW_AGENT_ID, input={"seconds": 60})
    thread_id = call.ok("POST", "/runs", {"agent_id": ECHO_AGENT_ID})["thread_id"]
    began = time.monotonic()
    call.server.restart(forget=True)
    assert time.monotonic() - began < 5
    assert call.server.runs == ()
    assert call("GET", f"/runs/{run_id}").status == 404
    assert call("GET", f"/threads/{thread_id}").status == 404
    assert not any(run_id in thread.name for thread in threading.enumerate())
    # Its agents it still has, and new runs go well.
    assert call.output(call.run(agent_id))["type"] == "result"


def test_it_listens_at_ipv6(serve):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    call = serve(host="::1")
    assert call.url.startswith("http://[::1]:")
    assert call.ok("POST", "/runs/search", {}) == []


@pytest.mark.slow
def test_agents_that_cannot_be_stopped_are_reported_after_one_wait(call):
    release = threading.Event()

    def deaf(input: Any, config: Any, context: Any) -> None:
        release.wait(30)

    agent_id = call.server.register(deaf)
    for _ in range(5):
        call.run(agent_id)
    began = time.monotonic()
    with pytest.warns(ResourceWarning, match="the agent deaf of run .* did not stop") as warned:
        call.server.close()
    assert 0.3 <= time.monotonic() - began < 3
    assert len(warned) == 5 and {Path(one.filename).name for one in warned} == {"server.py"}
    release.set()


def test_an_agent_at_work_keeps_no_program_from_ending():
    script = """
import threading, urllib3
from acp_client_v0_1.testing import LocalServer

began = threading.Event()

def deaf(input, config, context):
    began.set()
    threading.Event().wait(60)

server = LocalServer().start()
body = {"agent_id": server.register(deaf)}
urllib3.request("POST", f"{server.url}/runs", json=body)
assert began.wait(20)
"""
    assert printed_by(script) == ""


KEYS = 'api_key, such as ("x-api-key", "s"),'


def agent(input: Any, config: Any, context: Any) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"agents": "echo"}, "agents: each must be of type AgentDefinition, not str"),
        ({"agents": [agent]}, "agents: each must be of type AgentDefinition, not function"),
        ({"port": "8000"}, "port: Input should be a valid integer"),
        ({"allowed_hosts": "x"}, "allowed_hosts: Input should be a valid list"),
        ({"allowed_hosts": [b"x"]}, "allowed_hosts.0: Input should be a valid string"),
        ({"api_key": "secret"}, f"{KEYS} must be of type tuple or Mapping or None, not str"),
        ({"api_key": ("secret",)}, 'api_key: must be a pair of name and value, ("x-api-key", "s")'),
        ({"api_key": {"x-api-key": 5}}, "api_key.x-api-key: Input should be a valid string"),
        ({"quirks": "workflow-srv"}, "quirks: Input should be an instance of Quirks"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(wrong, words):
    with pytest.raises(TypeError) as refused:
        LocalServer(**wrong)
    assert str(refused.value) == words


def test_a_mistake_with_a_server_that_runs_changes_nothing(call):
    server = call.server
    with pytest.raises(TypeError, match=r"^pause: Input should be a valid number"):
        server.restart("0.1")
    with pytest.raises(ValueError, match=r"^pause: Input should be greater than or equal to 0"):
        server.restart(-1)
    with pytest.raises(AttributeError, match="faults"):
        server.faults = [Fault(status=500)]
    for name in ("quirks", "api_key", "host", "base_path", "tls"):
        with pytest.raises(AttributeError, match=f"{name} cannot be changed: .* with {name}=…"):
            setattr(server, name, None)
    with pytest.raises(AttributeError):
        server.agents.append(agent)
    for status in (200, 204):
        with pytest.raises(ValueError, match=f"^status: {status} is no failure; .* faults.add"):
            server.fail_next(status)
    with pytest.raises(TypeError, match=r"^add: each must be of type Fault, not int"):
        server.faults.add(500)
    with pytest.raises(TypeError, match="unexpected keyword argument 'input_schema'"):
        server.register(agent, input_schema={})
    with pytest.raises(ValueError, match=r"^name: must not be empty$"):
        server.register(agent, name="")
    assert call("GET", f"/agents/{ECHO_AGENT_ID}").status == 200
    assert (len(server.faults), len(server.agents)) == (0, len(BUILTIN_AGENTS))


def test_each_option_of_the_shell_command_is_explained_and_has_its_default():
    parser = __main__._parser()
    helps = {action.help for action in parser._actions}
    assert all(helps) and len(helps) == len(parser._actions)
    defaults = vars(parser.parse_args([]))
    assert (defaults.pop("host"), defaults.pop("port")) == ("127.0.0.1", 8000)
    assert not any(defaults.values())
    usage = " ".join(parser.format_usage().split())
    names = "[--base-path PATH] [--api-key-env NAME] [--allowed-host NAME]"
    command = "usage: python -m acp_client_v0_1.testing [-h]"
    assert usage == f"{command} [--host HOST] [--port PORT] {names}"


@pytest.fixture
def alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Let pytest's processes find the package, and load no plugin that happens to be installed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


@pytest.mark.slow
def test_the_fixtures_are_there_for_those_who_ask(alone):
    plugin = "acp_client_v0_1.testing.pytest_plugin"
    conftest = alone.makeconftest(f'pytest_plugins = ["{plugin}"]')
    alone.makepyfile(
        """
        import pytest
        from acp_client_v0_1 import AgentHandle, RunsApi
        from acp_client_v0_1.testing import Quirks

        def test_it(acp_server):
            assert acp_server.url.startswith("http://127.0.0.1:")
            assert acp_server.connections_open == 0

        def test_a_client(acp_client, acp_server):
            assert acp_client.configuration.host == acp_server.url
            assert RunsApi(acp_client).search_runs({}) == []
            assert acp_server.connections_open == 1

        def test_a_client_alone(acp_client):
            assert RunsApi(acp_client).search_runs({}) == []

        @pytest.mark.acp_server(quirks=Quirks(run_ids="counted"))
        def test_quirks(acp_client, acp_server):
            assert len(AgentHandle.find("echo", acp_client).start({}).run_id) < 36

        tokens = set()

        @pytest.mark.parametrize("number", [1, 2])
        def test_repeatable(acp_client, acp_server, repeatable_tokens, number):
            AgentHandle.find("echo", acp_client).start({"n": 1})
            tokens.add(acp_server.runs[0]["creation"]["metadata"]["acp-client-token"])
            assert len(tokens) == 1
        """
    )
    options = ("-p", "no:cacheprovider", "--strict-markers")
    alone.runpytest_subprocess(*options).assert_outcomes(passed=6)
    conftest.unlink()  # as without a conftest at the top
    alone.runpytest_subprocess(*options, "-p", plugin).assert_outcomes(passed=6)


def test_a_server_that_does_not_start_says_so(monkeypatch):
    async def end_at_once(runner: uvicorn.Server, sockets: object = None) -> None:
        runner.should_exit = True

    monkeypatch.setattr(uvicorn.Server, "startup", end_at_once)
    with pytest.raises(RuntimeError, match="the local server did not start"):
        LocalServer().start()


def test_a_response_that_does_not_notice_the_end_is_cancelled():
    cancelled = threading.Event()

    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    listener = socket.create_server(("127.0.0.1", 0))
    running = Runner(deaf, listener, None)
    with socket.create_connection(listener.getsockname(), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert eventually(lambda: running.meter.tasks, 5)
        running.end()
    assert cancelled.is_set()


def test_a_block_timeout_is_never_longer_than_a_day():
    assert (block_seconds(None), block_seconds("007"), block_seconds("99999")) == (0, 7, 99999)
    assert (block_seconds("0" * 5000), block_seconds("0" * 5000 + "12345")) == (0, 12345)
    assert block_seconds("100000") == block_seconds("9" * 10_000) == 24 * 3600


def test_the_newest_records_are_kept_up_to_a_number_and_a_size():
    recent, mebibyte = Recent[str](), 1024 * 1024
    for _ in range(2):  # also once it is cleared
        recent.add("a", 30 * mebibyte)
        recent.add("b", 34 * mebibyte)
        assert recent.all() == ("a", "b")
        recent.add("c", 1)
        assert recent.all() == ("b", "c")
        recent.add("large", 100 * mebibyte)
        assert recent.all() == ("large",)
        recent.clear()
    for number in range(20_001):
        recent.add(str(number), 0)
    assert (len(recent.all()), recent.all()[0]) == (20_000, "1")


MANY = 400
POLLS = 100


@pytest.mark.load
def test_hundreds_of_runs_in_flight_are_found_polled_and_ended(call):
    server, released = call.server, threading.Event()

    def worker(input: Any, config: Any, context: Any) -> Any:
        while not released.wait(1):
            context.check()
        return input

    agent_id = server.register(worker)
    ids = [call.run(agent_id, input={"n": n}, metadata={"batch": "b"}) for n in range(MANY)]
    wanted = {"metadata": {"batch": "b"}, "status": "pending", "limit": 1000}
    assert [run["run_id"] for run in call.ok("POST", "/runs/search", wanted)] == ids

    polls = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(POLLS)]
    for connection, run_id in zip(polls, ids, strict=False):
        connection.request("GET", f"/runs/{run_id}/output?block_timeout=600")
    assert eventually(lambda: len(server.requests) == MANY + 1 + POLLS, 30)
    # All of them wait, and the server still has time for others.
    assert call.ok("GET", f"/runs/{ids[-1]}")["status"] == "pending"
    released.set()
    for number, connection in enumerate(polls):
        response = connection.getresponse()
        assert response.status == 200
        assert json.loads(response.read())["result"] == {"n": number}
        connection.close()
    assert eventually(lambda: call.ok("POST", "/runs/search", wanted) == [], 30)
    assert eventually(lambda: not server._engine._threads, 10)


TESTING = "acp_client_v0_1.testing"
BLOCKED = """
import importlib, os, pydantic, sys, urllib3

for missing, module in zip(sys.argv[1::2], sys.argv[2::2]):
    if os.fork() == 0:  # which has imported nothing of the package
        sys.modules[missing] = None  # as if it were not installed
        try:
            importlib.import_module(module)
        except ImportError as error:
            print(type(error).__name__, error.name, error, sep="|", flush=True)
        os._exit(0)
    os.wait()
"""
NEEDS = f"{TESTING} needs {{}}, which is not installed: pip install 'acp-client-v0-1[testing]'"
BRIDGE = f"{TESTING}.responses_bridge"
NO_BRIDGE = f"{BRIDGE} needs {{}}, which comes with responses: pip install responses"
# What is missing, what is imported, and what the error says.
WAYS = [
    *(("starlette", f"{TESTING}.{way}", NEEDS) for way in ("server", "pytest_plugin", "faults")),
    *((missing, TESTING, NEEDS) for missing in ("starlette", "uvicorn", "sse_starlette")),
    ("starlette", BRIDGE, NEEDS),
    ("requests", BRIDGE, NO_BRIDGE),
    # What this package itself lacks is another matter.
    (f"{TESTING}._server.runner", TESTING, "import of {} halted; None in sys.modules"),
]


def test_each_way_into_the_server_says_what_to_install():
    pairs = [part for missing, module, _ in WAYS for part in (missing, module)]
    command = [sys.executable, "-c", BLOCKED, *pairs]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    for line, (missing, way, words) in zip(ended.stdout.splitlines(), WAYS, strict=True):
        kind, name, message = line.split("|")
        known = name.startswith(missing)
        assert (kind, known, message) == ("ModuleNotFoundError", True, words.format(missing)), way
