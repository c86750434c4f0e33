"""What telemetry costs a client that does not use it, and what an environment without it says."""

from __future__ import annotations

import copy
import pickle

import pytest
from support.forks import printed_by
from support.spans import Spans

from acp_client_v0_1 import ApiClient, ApiTypeError, Configuration, RunsApi, instrument
from acp_client_v0_1.testing import LocalServer

UNUSED = """
import sys
from acp_client_v0_1 import AgentHandle, ApiClient, Configuration, RunHandle
with ApiClient(Configuration.from_env()) as client:
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


def test_nothing_is_imported_by_a_client_that_is_not_instrumented(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACP_HOST", server.url)
    assert printed_by(UNUSED) == "[]\n"


def test_without_the_package_the_error_names_the_extra() -> None:
    assert printed_by(MISSING) == (
        "ApiValueError instrument() needs the package opentelemetry: "
        "pip install 'acp-client-v0-1[telemetry]'\n"
    )


def test_views_share_the_observer_and_copies_by_pickle_do_not(
    server: LocalServer, spans: Spans
) -> None:
    with ApiClient(Configuration(host=server.url)) as client:
        before = client.with_options(retries=0)
        instrument(client, spans.provider)
        for view in (before, client.with_options(retries=0), copy.copy(client)):
            RunsApi(view).search_runs({})
        assert len(spans.all) == 3
        with pickle.loads(pickle.dumps(client)) as other:
            RunsApi(other).search_runs({})
        assert len(spans.all) == 3


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(ApiTypeError, match="api_client must be an ApiClient, not Configuration"):
        instrument(Configuration())  # type: ignore[arg-type]
