"""Whose a run is, and what an error says of it: cases that a review of the marks found."""

from __future__ import annotations

import json
import threading
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support.serving import Replies, a_run, output_json, run_json, runs_json
from support.socket_server import CLOSE, Request, response
from support.timing import using

import acp_client_v0_1 as acp
from acp_client_v0_1.handles._token import RunToken, decode_token
from acp_client_v0_1.testing import Fault, Quirks

ECHO = "11111111-1111-4111-8111-111111111111"
LOST = Fault(method="POST", path="/runs", cut="close", after_wire_bytes=0)
HEX = "0123456789abcdef" * 2


def agent_of(client: acp.ApiClient, agent_id: str = ECHO) -> acp.AgentHandle:
    return acp.AgentHandle(agent_id, client)


@using(search=0.3)
def test_a_client_token_of_32_digits_is_not_the_mark_of_another_create(serve):
    """An allow-list keeps the caller's client token, and drops the mark of the create."""
    _, client = serve(Quirks(stored_metadata="client token"))
    run = agent_of(client).start({"n": 1}, client_token=HEX)
    assert run.result(timeout=30) == {"n": 1}
    again = acp.RunHandle.from_token(run.token(), client)
    assert again.refresh().status == "success"


@pytest.mark.filterwarnings("ignore:client_token", "ignore:run .* was found by its client")
def test_a_control_of_a_random_mark_proves_nothing_about_a_callers_client_token(serve):
    """A full-text search finds no run by random digits, and finds invoice-7 by invoice-8."""
    server, client = serve(Quirks(echo_metadata="none", search_metadata="words"))
    agent_of(client).run({"n": 1}, client_token="invoice-7", timeout=30)
    _, fresh = serve(server)
    server.faults.add(LOST)
    assert agent_of(fresh).run({"n": 5}, timeout=30) == {"n": 5}
    with pytest.raises(acp.ApiException, match="the client token invoice-8 may be there or not"):
        agent_of(fresh).run({"n": 1}, client_token="invoice-8", reuse=True, timeout=30)
    # Nor does the control of that client token keep a lost create from being found.
    server.faults.add(LOST)
    assert agent_of(fresh).run({"n": 6}, timeout=30) == {"n": 6}


@using(search=2.0)
@pytest.mark.parametrize("search", ["ignored", "fails"])
def test_a_create_that_is_carried_out_late_is_found_beside_the_runs_of_others(serve, search):
    """The server shows marks, and searches for none. Another client made a run without a mark."""
    server, client = serve(Quirks(search_metadata=search))
    acp.RunsApi(client).create_run({"agent_id": ECHO})
    server.faults.add(Fault(method="POST", path="/runs", cut="close", late=0.5))
    assert agent_of(client).run({"n": 1}, timeout=30) == {"n": 1}


@using(search=0.3)
def test_a_create_with_one_mark_is_not_taken_for_a_run_on_another_thread(serve):
    server, client = serve(Quirks())
    agent, keys = agent_of(client), {f"key{n}": n for n in range(15)}
    threads = [acp.ThreadsApi(client).create_thread({"agent_id": ECHO}).thread_id for _ in "ab"]
    agent.start({"n": 1}, client_token="t", thread_id=threads[0])
    server.faults.add(
        Fault(method="POST", path="/runs", status=422, body="at most 16 keys"),
        Fault(method="POST", path="/runs", cut="close"),
    )
    with pytest.warns(UserWarning, match="pass reuse=True"), pytest.raises(acp.RunStartAmbiguous):
        agent.start({"n": 1}, client_token="t", thread_id=threads[1], metadata=keys)


class Memory:
    """A server that keeps runs. Each argument replaces one of its habits.

    Args:
        keep: What it keeps of the metadata of a create.
        show: What it shows of this metadata.
        finds: Whether kept metadata meets the metadata of a search.
        echo: Whether the response to a create shows the metadata that came.
        page: The most runs in a response.
        name: How it names the agent.
        times: Writes the time of a run.
    """

    def __init__(self, **habits: Any) -> None:
        self.habits = {
            "keep": dict,
            "show": dict,
            "finds": lambda kept, asked: asked.items() <= kept.items(),
            "echo": False,
            "page": 1000,
            "name": None,
            "times": datetime.isoformat,
            **habits,
        }
        self.made, self.fates = list[dict[str, Any]](), list[str]()

    def run(self, creation: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
        agent = self.habits["name"] or creation["agent_id"]
        seen = {**creation, "agent_id": agent, "metadata": self.habits["show"](metadata)}
        kept = {"run_id": str(uuid.uuid4()), "agent_id": agent, "creation": seen}
        now = self.habits["times"](datetime.now(timezone.utc))
        return a_run("success", **kept, created_at=now) | {"kept": metadata}

    def create(self, body: dict[str, Any]) -> Any:
        fate = self.fates.pop(0) if self.fates else ""
        if fate == "never":
            return [CLOSE]
        run = self.run(body, self.habits["keep"](body.get("metadata") or {}))
        self.made.append(run)
        if self.habits["echo"]:
            run = run | {"creation": body}
        return [CLOSE] if fate == "lost" else run_json(**run)

    def search(self, body: dict[str, Any]) -> bytes:
        wanted, offset = body.get("metadata") or {}, body.get("offset", 0)
        found = [
            run for run in self.made if not wanted or self.habits["finds"](run["kept"], wanted)
        ]
        most = min(self.habits["page"], body.get("limit", 1000))
        return runs_json(*found[offset : offset + most])

    def __call__(self, request: Request) -> Any:
        body = json.loads(request.body or b"{}")
        if request.path == "/runs":
            return self.create(body)
        if request.path == "/runs/search":
            return self.search(body)
        of = request.path.split("?")[0].split("/")
        (run,) = [run for run in self.made if run["run_id"] == of[2]] or [None]
        if run is None:
            return response(b'"no"', 501)
        result = {"of": run["creation"].get("input")}
        return output_json(run_id=of[2], result=result) if of[-1] == "output" else run_json(**run)


def hidden(metadata: dict[str, Any]) -> dict[str, Any]:
    return {}


@using(search=0.3)
@pytest.mark.parametrize("batch", [False, True])
def test_a_lost_create_of_an_agent_that_the_server_names_in_another_way_is_found(serve, batch):
    server = Memory(name="slow@1.0")
    _, client = serve(server)
    server.fates[:] = ["lost"]
    agent = agent_of(client, "slow")
    if batch:
        (item,) = agent.map([{"n": 1}])
        assert item.result() == {"of": {"n": 1}}
    else:
        assert agent.run({"n": 1}, timeout=30) == {"of": {"n": 1}}
    assert len(server.made) == 1


@using(search=0.3)
@pytest.mark.filterwarnings("ignore:the server ignores conditions")
def test_what_is_known_of_one_key_of_the_metadata_says_nothing_of_another_key(serve):
    """The server compares the key of client tokens alone, and ignores conditions on other keys."""

    def finds(kept: dict[str, Any], asked: dict[str, Any]) -> bool:
        return all(kept.get(key) == asked[key] for key in asked if key == "acp-client-token")

    server = Memory(show=hidden, finds=finds)
    _, client = serve(server)
    agent = agent_of(client, "a")
    server.fates[:] = ["lost", "lost"]
    assert agent.run({"n": 1}, timeout=30) == {"of": {"n": 1}}
    with pytest.raises(acp.RunStartAmbiguous, match="hides client tokens"):
        agent.run({"n": 2}, client_token="job-2", timeout=30)


@using(search=0.3)
@pytest.mark.parametrize("keeps", ["one key", "nothing"])
def test_what_only_the_response_to_a_create_shows_proves_nothing(serve, keeps):
    """The server keeps only the key of client tokens, or its creates only repeat the metadata."""

    def keep(metadata: dict[str, Any]) -> dict[str, Any]:
        key = "acp-client-token"
        return {key: metadata[key]} if keeps == "one key" else {}

    server = Memory(keep=keep, echo=keeps == "nothing")
    _, client = serve(server)
    agent = agent_of(client, "a")
    token = "job" if keeps == "one key" else None
    assert agent.run({"n": 0}, client_token=token and "earlier", timeout=30) == {"of": {"n": 0}}
    server.fates[:] = ["lost"]
    with pytest.raises(acp.RunStartAmbiguous, match="no run with its client token was found"):
        agent.run({"n": 1}, client_token=token, timeout=30)
    server.fates[:] = ["lost"]
    if keeps == "nothing":
        (item,) = agent.map([{"n": 2}])
        assert isinstance(item.error, acp.RunStartAmbiguous) and len(server.made) == 3


@using(search=0.3, slow_clock=0.0)
def test_a_server_that_returns_fewer_runs_than_asked_for_is_read_to_the_end(serve):
    """It drops all metadata. The run of the lost create is on its second page."""
    server = Memory(keep=hidden, finds=lambda *_: False, page=2)
    _, client = serve(server)
    for _ in range(2):
        acp.RunsApi(client).create_run({"agent_id": "a"})
    server.fates[:] = ["lost"]
    (item,) = agent_of(client, "a").map([{"n": 1}])
    assert isinstance(item.error, acp.RunStartAmbiguous) and len(server.made) == 3


@using(search=0.3)
def test_a_time_without_an_offset_may_be_the_local_time_of_any_zone(serve):
    """The server drops all metadata, and writes the time of a zone that is eight hours behind."""

    def behind(now: datetime) -> str:
        return (now - timedelta(hours=8)).replace(tzinfo=None).isoformat()

    server = Memory(keep=hidden, finds=lambda *_: False, times=behind)
    _, client = serve(server)
    server.fates[:] = ["lost"]
    (item,) = agent_of(client, "a").map([{"n": 1}])
    assert isinstance(item.error, acp.RunStartAmbiguous) and len(server.made) == 1


@using(search=0.3)
def test_a_control_is_no_longer_than_servers_let_values_be(serve):
    def finds(kept: dict[str, Any], asked: dict[str, Any]) -> bool:
        assert all(len(value) <= 100 for value in asked.values())
        return asked.items() <= kept.items()

    server = Memory(show=hidden, finds=finds)
    _, client = serve(server)
    server.fates[:] = ["lost"]
    result = agent_of(client, "a").run({"n": 1}, client_token="job", timeout=30)
    assert result == {"of": {"n": 1}}


@using(search=0.2)
def test_threads_that_get_one_run_from_a_cache_do_not_share_it(serve):
    """The server hides marks and inputs. Both responses come at the same moment."""
    both, first = threading.Barrier(2), a_run(run_id=str(uuid.uuid4()), agent_id="a")

    def create(_: Request) -> bytes:
        both.wait(10)
        return run_json(**first)

    _, client = serve(Replies(response(b'"no"', 501), create=create))
    agent, outcomes = agent_of(client, "a"), list[object]()

    def start(number: int) -> None:
        try:
            outcomes.append(agent.start({"n": number}).run_id)
        except acp.RunStartAmbiguous as error:
            outcomes.append(type(error))

    for _ in range(20):
        both.reset()
        first["run_id"] = str(uuid.uuid4())
        threads = [threading.Thread(target=start, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes.count(acp.RunStartAmbiguous) >= 20


@pytest.mark.parametrize("shown", [True, False])
def test_a_counted_id_that_a_run_of_another_agent_has_now_is_left_alone(serve, shown):
    """The server hides marks. A journal and a token lead to run-1, which it has given again."""
    theirs = {"input": {"n": 1}} if shown else {}
    run = a_run("success", run_id="run-1", agent_id="b", creation={"agent_id": "b", **theirs})
    replies = Replies(output_json(run_id="run-1", result={"of": "theirs"}), look=run_json(**run))
    _, client = serve(replies)
    mark = {"run": "run-1", "agent": "a", "client_token": HEX}
    token = RunToken(server=client.configuration.host, **mark).encode()
    with pytest.raises(acp.ApiException, match="may be somebody else's"):
        acp.RunHandle.from_token(token, client).result(9)


@using(search=0.2)
def test_a_journal_leads_to_no_run_of_another_agent_that_has_a_counted_id_now(serve, tmp_path):
    first = a_run("pending", run_id="run-1", agent_id="a", creation={"agent_id": "a"})
    theirs = first | {"agent_id": "b", "creation": {"agent_id": "b"}}
    output = output_json(run_id="run-1", result={"of": "theirs"})
    replies = Replies(run_json(**first), output=response(b"", 503))
    _, client = serve(replies)
    agent, path = agent_of(client, "a"), tmp_path / "journal"
    (item,) = agent.map([{"n": 1}], journal=path, timeout=0.2)
    assert isinstance(item.error, acp.RunWaitTimeout)
    replies.otherwise, replies.replies = run_json(**theirs), {"output": output}
    (item,) = agent.map([{"n": 1}], journal=path)
    assert "may be somebody else's" in str(item.error)


@using(search=0.3)
def test_a_short_client_token_that_is_shown_says_nothing_of_longer_marks(serve):
    """The server keeps the first 16 characters of each value."""
    server = Memory(keep=lambda metadata: {key: text[:16] for key, text in metadata.items()})
    _, client = serve(server)
    acp.RunsApi(client).create_run({"agent_id": "a", "metadata": {"acp-client-token": "job"}})
    assert acp.RunHandle.find("job", client, agent_id="a") is not None
    server.fates[:] = ["lost"]
    (item,) = agent_of(client, "a").map([{"n": 1}])
    assert isinstance(item.error, acp.RunStartAmbiguous) and len(server.made) == 2


def test_a_masked_client_token_is_not_known(serve):
    server = Memory(show=lambda metadata: dict.fromkeys(metadata, "***"))
    _, client = serve(server)
    made = acp.RunsApi(client).create_run({"agent_id": "a", "metadata": {"acp-client-token": "t"}})
    run = acp.RunHandle(made.run_id, client)
    assert run.refresh().creation.metadata == {"acp-client-token": "***"}
    assert run.client_token is None and decode_token(run.token()).client_token == ""


def test_the_digest_of_a_long_input_is_written_once(serve, monkeypatch):
    """The server ignores metadata, so a search for a client token reads the marks of all runs."""
    server, written = Memory(finds=lambda *_: True), list[int]()
    _, client = serve(server)
    agent, dumps = agent_of(client, "a"), json.dumps
    for number in range(20):
        agent.start({"n": number}, client_token=f"job-{number}")

    def counted(value: Any, **options: Any) -> str:
        text = dumps(value, **options)
        written.append(len(text))
        return text

    monkeypatch.setattr("json.dumps", counted)
    agent.start({"text": "x" * 100_000}, client_token="mine", reuse=True)
    assert len([length for length in written if length > 100_000]) < 10
