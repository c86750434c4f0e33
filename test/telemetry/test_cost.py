"""What telemetry costs a client that does not use it, and what an environment without it says."""

from __future__ import annotations

import ast
import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.examples import RUN
from support.socket_server import SocketServer, response
from support.spans import Spans

import acp_client_v0_1
from acp_client_v0_1 import ApiClient, ApiTypeError, Configuration, RunsApi, instrument
from acp_client_v0_1.testing import LocalServer

UNUSED = """
import sys
from acp_client_v0_1 import AgentHandle, ApiClient, Configuration, RunHandle
with ApiClient(Configuration(host=sys.argv[1])) as client:
    agent = AgentHandle.find("counter", api_client=client)
    run = agent.start({"count": 2}, streaming="custom")
    assert len(list(run.events(timeout=30))) == 2
    assert RunHandle.from_token(run.token(), client).result(timeout=30)
    assert len(list(agent.map([{"count": 1}] * 3, timeout=30))) == 3
names = ("opentelemetry", "acp_client_v0_1.telemetry", "acp_client_v0_1._http.observer")
print([name for name in sys.modules if name.startswith(names)])
"""

MISSING = """
import sys
sys.modules["opentelemetry"] = None
from acp_client_v0_1 import *
with ApiClient(Configuration(host="http://localhost:1")) as client:
    try:
        instrument(client)
    except ValueError as error:
        print(type(error).__name__, error)
"""


def script(source: str, *arguments: str) -> str:
    command = [sys.executable, "-c", source, *arguments]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.strip()


def test_nothing_is_imported_by_a_client_that_is_not_instrumented(server: LocalServer) -> None:
    assert script(UNUSED, server.url) == "[]"


def test_at_most_five_places_use_the_observer() -> None:
    package = Path(str(acp_client_v0_1.__file__)).parent
    own = {package / "telemetry.py", package / "_http" / "observer.py"}
    places = [
        f"{path}:{node.lineno}"
        for path in set(package.rglob("*.py")) - own
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "observer"
        if isinstance(node.ctx, ast.Load)
    ]
    assert 0 < len(places) <= 5, places


def test_without_the_package_the_error_names_the_extra() -> None:
    assert script(MISSING) == (
        "ApiValueError instrument() needs the package opentelemetry: "
        "pip install 'acp-client-v0-1[telemetry]'"
    )


def files_of(job: Callable[[], object]) -> set[str]:
    """The files of the functions that a job calls."""
    called = set[str]()

    def notice(frame: object, event: str, argument: object) -> None:
        if event == "call":
            called.add(Path(frame.f_code.co_filename).name)  # type: ignore[attr-defined]

    sys.setprofile(notice)
    try:
        job()
    finally:
        sys.setprofile(None)
    return called


def test_a_call_that_is_not_observed_calls_nothing_of_telemetry(spans: Spans) -> None:
    with (
        SocketServer(response(json.dumps(RUN).encode())) as server,
        ApiClient(Configuration(host=server.url)) as client,
    ):
        runs = RunsApi(client)
        runs.get_run("r1")
        without = files_of(lambda: runs.get_run("r1"))
        instrument(client, spans.provider)
        runs.get_run("r1")
        observed = files_of(lambda: runs.get_run("r1"))
    assert "telemetry.py" in observed and "rest.py" in without
    assert not {"telemetry.py", "observer.py", "_tracing.py"} & without


def test_views_share_the_observer_and_copies_by_pickle_do_not(
    client: ApiClient, spans: Spans
) -> None:
    view = client.with_options(retries=0)
    RunsApi(view).search_runs({})
    RunsApi(copy.copy(client)).search_runs({})
    assert len(spans.all) == 2
    with pickle.loads(pickle.dumps(client)) as other:
        RunsApi(other).search_runs({})
    assert len(spans.all) == 2


def test_a_view_that_was_made_before_is_observed_as_well(server: LocalServer, spans: Spans) -> None:
    with ApiClient(Configuration(host=server.url)) as client:
        view = RunsApi(client.with_options(retries=0))
        instrument(client, spans.provider)
        view.search_runs({})
    assert len(spans.all) == 1


def test_what_is_no_client_or_no_provider_is_refused(client: ApiClient) -> None:
    with pytest.raises(ApiTypeError, match="api_client must be an ApiClient, not Configuration"):
        instrument(Configuration())  # type: ignore[arg-type]
    with pytest.raises(ApiTypeError, match="tracer_provider must be a TracerProvider, not int"):
        instrument(client, 5)  # type: ignore[arg-type]
