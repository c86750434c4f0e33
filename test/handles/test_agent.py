"""An agent to call: found by name, checked, run, its one run started once."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from support.socket_server import response

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import AgentDefinition, Fault, LocalServer

COUNTER = "22222222-2222-4222-8222-222222222222"


def test_an_agent_by_id_or_by_name(server, client):
    assert acp.AgentHandle.get(COUNTER, client).agent_id == COUNTER
    assert server.requests == ()  # a UUID needs no look-up
    counter = acp.AgentHandle.find("counter", client, timeout=5)
    assert counter.agent_id == COUNTER and len(server.requests) == 1
    assert counter.agent.metadata.ref.version == "1.0.0"
    assert repr(counter) == f"<AgentHandle counter {COUNTER}>"
    got = acp.AgentHandle.get("counter", client, timeout=5)
    assert got.agent_id == COUNTER
    # The timeout is of the look-up alone.
    assert counter.runs.api_client is got.runs.api_client is client
    for unknown in (f"{COUNTER}x", "cuonter"):
        words = f"no agent is called '{unknown}'(?!.*for an id)"
        with pytest.raises(acp.AgentLookupError, match=words):
            acp.AgentHandle.get(unknown, client)
    with pytest.raises(acp.NotFoundException, match=r"for a name, use AgentHandle\.find"):
        acp.AgentHandle("counter", client).start({"count": 1}, check=True)


def test_the_record_of_another_agent_is_not_believed(serve):
    about = {"ref": {"name": "b", "version": "1"}, "description": ""}
    _, client = serve(response(json.dumps({"agent_id": "b", "metadata": about}).encode()))
    words = "the server gave agent a the record of agent b"
    with pytest.raises(acp.ResponseValidationError, match=words):
        _ = acp.AgentHandle("a", client).name
    assert acp.AgentHandle("B", client).name == "b"


def test_an_id_that_is_no_uuid_at_a_server_that_does_not_search(serve):
    agent = AgentDefinition(function=lambda *given: given[0], name="my-agent", agent_id="tool-7")
    server, client = serve(LocalServer([agent]), retries=0)
    assert acp.AgentHandle.get("tool-7", api_client=client).run({"a": 1}) == {"a": 1}
    with pytest.raises(acp.AgentLookupError, match="for an id, use"):
        acp.AgentHandle.find("tool-7", api_client=client)
    server.faults.add(Fault(path="/agents/search", status=404, times=None))
    assert acp.AgentHandle.get("tool-7", api_client=client).agent_id == "tool-7"
    with pytest.raises(acp.NotFoundException):
        acp.AgentHandle.get("my-agent", api_client=client)
    server.stop()
    with pytest.raises(acp.ConnectionException):
        acp.AgentHandle.get("tool-7", api_client=client)


def test_a_lookup_takes_no_longer_than_its_timeout(server):
    server.faults.add(Fault(path="/agents/*", cut="stall", times=None))
    patient = acp.ApiClient(acp.Configuration(host=server.url, timeout=600, retries=0))
    with patient as client:
        for find in (acp.AgentHandle.find, acp.AgentHandle.get):
            with pytest.raises(acp.ApiTimeoutError):
                find("echo", client, timeout=0.3)
        with pytest.raises(acp.ApiValueError, match="timeout must be above 0 seconds"):
            acp.AgentHandle.find("echo", client, timeout=0)
        with pytest.raises(acp.ApiTypeError, match="timeout must be a number of seconds"):
            acp.AgentHandle.find("echo", client, timeout=(1, 2))  # type: ignore[arg-type]


def test_an_agent_without_io(server, client, clock):
    agent = acp.AgentHandle(COUNTER, client)
    assert server.requests == ()
    assert agent.agent.metadata.ref.name == "counter"
    assert agent.descriptor().specs.input["properties"].keys() == {"count", "interval"}
    clock.now += 300
    agent.descriptor()
    assert agent.agent == agent.agent
    assert len(server.requests) == 2  # both are kept
    clock.now += 1
    agent.descriptor()
    assert agent.agent == agent.agent
    assert len(server.requests) == 4


OTHER_WAY = r"for an id, use AgentHandle\(agent_id\), or AgentHandle.get"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody", "'nobody'; the server has approval, counter, echo, failing, slow$"),
        ("ecko", "did you mean 'echo'"),
        ("slo", r"did you mean 'slow'\? The server has approval, counter, "),
        (COUNTER, OTHER_WAY),
        (f"9{COUNTER[1:]}", OTHER_WAY),
    ],
)
def test_a_lookup_that_fails_names_what_there_is(client, name, words):
    with pytest.raises(acp.AgentLookupError, match=words) as caught:
        acp.AgentHandle.find(name, client)
    assert isinstance(caught.value, LookupError)
    assert len(caught.value.candidates) == 5
    with pytest.raises(acp.AgentLookupError, match=r"'counter' has no version '9.* has 1\.0\.0$"):
        acp.AgentHandle.find("counter", client, version="9.9.9")


@pytest.mark.parametrize("name", ["nobody", "an-agent-with-a-very-long-name-number-7", COUNTER])
def test_a_lookup_of_many_agents_names_those_that_fit_and_stays_short(server, client, name):
    for number in range(20):
        long = f"an-agent-with-a-very-long-name-number-{number:02}"
        server.register(lambda input, config, context: {}, name=long, version="1.0.0-beta.1")
    with pytest.raises(acp.AgentLookupError, match=r"number-00, .*…") as caught:
        acp.AgentHandle.find(name, client)
    assert len(str(caught.value)) <= 240 and len(caught.value.candidates) == 25


def test_several_agents_of_that_name(server, client, monkeypatch):
    for version in ("2.0.0", "3.0.0"):
        server.register(lambda input, config, context: {}, name="counter", version=version)
    words = r"several .*\.0 \(\S+\); use an id; or pass version="
    with pytest.raises(acp.AgentLookupError, match=words) as caught:
        acp.AgentHandle.find("counter", client)
    versions = [text.split(" (")[0] for text in caught.value.candidates]
    assert versions == ["counter 1.0.0", "counter 2.0.0", "counter 3.0.0"]
    assert acp.AgentHandle.find("counter", client, version="1.0.0").agent_id == COUNTER
    server.register(lambda i, c, x: {}, name="counter", version="2.0.0", agent_id="c")
    with pytest.raises(acp.AgentLookupError, match=r"several .*; use an id$"):
        acp.AgentHandle.find("counter", client, version="2.0.0")
    agents = acp.AgentsApi(client).search_agents({"name": "counter"})
    # A server may ignore the version.
    monkeypatch.setattr(acp.AgentsApi, "search_agents", lambda api, request: agents)
    assert acp.AgentHandle.find("counter", client, version="1.0.0").agent_id == COUNTER
    # Or send an agent twice.
    monkeypatch.setattr(acp.AgentsApi, "search_agents", lambda api, request: [agents[0]] * 2)
    assert acp.AgentHandle.find("counter", client, version="1.0.0").agent_id == COUNTER


def test_what_start_sends(counter, runs):
    run = counter.start({"count": 1}, metadata={"team": "blue"})
    creation = runs.get_run(run.run_id).creation
    assert creation.metadata == {"team": "blue", "acp-client-token": run.client_token}
    assert uuid.UUID(run.client_token).hex == run.client_token
    assert uuid.UUID(run.client_token).version == 4
    marked = {"acp-client-token": "order-7", "color": "red"}
    run = counter.start(streaming=acp.StreamingMode.RESULT, metadata=marked, client_token="")
    creation = runs.get_run(run.run_id).creation
    assert (creation.metadata, run.client_token) == ({"color": "red"}, None)


def test_bad_arguments_are_found_at_once(server, counter):
    for call in (counter.start, counter.run):
        for bad in ({"input": [1]}, {"config": "text"}, {"metadata": [("a", 1)]}):
            with pytest.raises(acp.ApiTypeError, match=f"{next(iter(bad))} must be a JSON object"):
                call(**bad)
        for name, wrong in {"reuse": "no", "check": "no", "thread_id": 5, "streaming": 5}.items():
            with pytest.raises(acp.ApiTypeError, match=f"{name} must be (True or False|a str)"):
                call(**{name: wrong})
    for call, token in ((counter.start, ""), (counter.start, None), (counter.run, None)):
        with pytest.raises(acp.ApiValueError, match="reuse needs a client token; pass"):
            call(reuse=True, client_token=token)
    number: Any = uuid.uuid4()  # which no search would find, as a server gives it back as a str
    for call in (counter.start, counter.run, acp.RunHandle.find):
        with pytest.raises(acp.ApiTypeError, match="client_token must be a str, not UUID"):
            call(client_token=number)
    with pytest.raises(acp.ApiValueError, match="agent_id"):
        acp.AgentHandle("")
    for run_id in ("..", "../x", r"a\..\b", "x/."):
        with pytest.raises(acp.ApiValueError, match="run_id"):
            acp.RunHandle(run_id)
    run = acp.RunHandle("a/b..c/...")
    assert run.run_id == "a/b..c/..."
    with pytest.raises(acp.ApiValueError, match='on_gap must be "raise" or "mark"'):
        run.events(on_gap="ignore")  # type: ignore[arg-type]
    with pytest.raises(acp.ApiTypeError, match="after must be a str or None"):
        run.events(after=7)  # type: ignore[arg-type]
    assert server.requests == ()
