"""Functions for credentials and clients of the user's, behind agents, runs and batches."""

from __future__ import annotations

import itertools
import json
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any
from unittest import mock

import pytest
from support.examples import RUN
from support.gateway import Gateway
from support.serving import Replies, run_json
from support.socket_server import CLOSE, response
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import LocalServer

ECHO = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def gateway():
    """A gateway whose tokens are good for ten requests each."""
    with LocalServer() as server, Gateway(server.port, uses=10) as gateway:
        gateway.server = server  # type: ignore[attr-defined]
        yield gateway


def client_of(gateway: Gateway, **settings: Any) -> acp.ApiClient:
    token = settings.pop("access_token", gateway.issue)
    return acp.ApiClient(acp.Configuration(host=gateway.url, access_token=token, **settings))


def test_a_batch_goes_on_when_its_token_expires(gateway):
    with client_of(gateway) as client:
        items = list(acp.AgentHandle(ECHO, client).map({"n": n} for n in range(60)))
    assert sorted(item.result()["n"] for item in items) == [*range(60)]
    assert len(gateway.server.runs) == 60 and len(gateway.refused) >= 5


def test_events_and_answers_go_on_when_their_token_expires(gateway):
    with client_of(gateway) as client:
        counter, approval = (acp.AgentHandle.find(name, client) for name in ("counter", "approval"))
        run = counter.start({"count": 5, "interval": 0.01}, streaming="custom")
        gateway.expire()
        assert len(list(run.events(timeout=30))) >= 5
        asked = approval.start({"action": "deploy"})

        def answer(question: acp.PendingInterrupt) -> dict[str, bool]:
            gateway.expire()
            return {"approved": True}

        assert asked.drive(answer, timeout=30)["approved"] is True
    assert len(set(gateway.issued)) >= 3


def token_from_file() -> str:
    """Stand for a function of a module, which a pickle holds by its name."""
    return "planted-t0ken-1"


def connected(gateway_url: str = "") -> acp.ApiClient:
    settings = {"host": acp.Configuration.from_env().host, "access_token": token_from_file}
    return acp.ApiClient(acp.Configuration(**settings))


def test_worker_processes_make_or_unpickle_the_function(monkeypatch):
    with LocalServer() as server, Gateway(server.port) as gateway:
        monkeypatch.setenv("ACP_HOST", gateway.url)
        with (
            client_of(gateway, access_token=token_from_file) as client,
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor,
        ):
            batch = acp.AgentHandle(ECHO, client).map(
                [{"n": 1}, {"n": 2}], executor=executor, connect=connected
            )
            assert sorted(item.result()["n"] for item in batch) == [1, 2]
            handle = acp.AgentHandle(ECHO, client)
            assert executor.submit(handle.run, {"n": 3}).result(30) == {"n": 3}
    assert not gateway.refused


class VaultError(Exception):
    """What a function of the user's raises."""


class Vault:
    """Gives tokens until it fails."""

    def __init__(self, good: float) -> None:
        self._left = good

    def __call__(self) -> str:
        self._left -= 1
        if self._left < 0:
            raise VaultError("sealed")
        return "t"


def test_what_a_function_raises_ends_a_wait_as_it_is_with_the_token_of_the_run(serve):
    replies = Replies(output=response(b"", 503), create=run_json())
    server, client = serve(replies, access_token=Vault(3))
    with pytest.raises(VaultError, match="sealed") as caught:
        acp.AgentHandle("a", client).run({"n": 1}, timeout=30)
    assert "wait for it with RunHandle('r', client)" in "".join(caught.value.__notes__)
    assert len(server.requests) == 3


@using(search=0.3)
def test_what_a_function_raises_after_a_lost_create_is_the_cause(serve):
    _, client = serve(Replies(create=[CLOSE]), access_token=Vault(1))
    with pytest.raises(acp.RunStartAmbiguous, match="VaultError") as caught:
        acp.AgentHandle("a", client).start({"n": 1})
    assert isinstance(caught.value.__cause__, VaultError) and caught.value.token


def test_what_a_function_raises_ends_a_batch(serve):
    numbers = itertools.count()
    replies = Replies(
        output=response(b"", 503), create=lambda: run_json(run_id=f"r{next(numbers)}")
    )
    _, client = serve(replies, access_token=Vault(3))
    batch = acp.AgentHandle("a", client).map([{}] * 4, concurrency=1)
    outcomes = list[object]()
    with pytest.raises(VaultError, match="sealed"):
        outcomes.extend(batch)
    assert batch.counts.failed == 0


def test_a_mocked_call_api_gets_the_operations_of_runs_and_batches():
    client = acp.ApiClient(acp.Configuration(host="http://acp.invalid"))
    lock, made = threading.Lock(), list[dict[str, Any]]()

    def call_api(self: acp.ApiClient, method: str, url: str, *args: Any, **kw: Any) -> mock.Mock:
        path = url.removeprefix("http://acp.invalid")
        if path == "/runs":
            with lock:
                made.append({**RUN, "run_id": f"r{len(made)}", "creation": args[1]})
            content: Any = made[-1] | {"agent_id": args[1]["agent_id"]}
        else:
            run_id = path.split("/")[2]
            result = {"of": run_id}
            content = {"type": "result", "run_id": run_id, "status": "success", "result": result}
        return mock.Mock(status=200, data=json.dumps(content).encode(), headers={})

    with mock.patch.object(acp.ApiClient, "call_api", autospec=True, side_effect=call_api):
        agent = acp.AgentHandle("a", client)
        assert agent.run({"n": 1}) == {"of": "r0"}
        items = list(agent.map([{"n": 2}, {"n": 3}], concurrency=1))
        assert [item.result() for item in items] == [{"of": "r1"}, {"of": "r2"}]
    with pytest.raises(acp.TransportException):
        acp.RunsApi(client).get_run("r0")
