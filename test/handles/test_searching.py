"""Every match of a search, once, while others create and delete."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from support.serving import Replies, a_run, runs_json

import acp_client_v0_1 as acp
from acp_client_v0_1.models.run import Run
from acp_client_v0_1.testing import Quirks

Change = Callable[[list[str]], object]


class Shelf:
    """A search over a list that changes between two pages."""

    def __init__(self, ids: str, *changes: Change) -> None:
        self.ids = list(ids)
        self.changes = iter(changes)
        self.asked: list[tuple[int, int]] = []

    def search_runs(self, request: Any) -> list[Run]:
        offset, limit = request["offset"], request["limit"]
        self.asked.append((offset, limit))
        page = self.page(offset, limit)
        next(self.changes, lambda ids: None)(self.ids)
        return page

    def page(self, offset: int, limit: int) -> list[Run]:
        return [Run.model_construct(run_id=name) for name in self.ids[offset : offset + limit]]

    def read(self, on_drift: Any = "raise", limit: int = 3, offset: int = 0) -> str:
        request = {"limit": limit, "offset": offset}
        found = acp.iter_runs(self, request, on_drift=on_drift)  # type: ignore[arg-type]
        return "".join(run.run_id for run in found)


def nothing(ids: list[str]) -> None:
    pass


@pytest.mark.parametrize("ids", ["", "a", "ab", "abc", "abcd", "abcde", "abcdefghij"])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_every_match_once(ids, limit):
    shelf = Shelf(ids)
    assert shelf.read(limit=limit) == ids
    assert {asked for _, asked in shelf.asked} == {max(2, limit)}


def insert(place: int, new: str) -> Change:
    return lambda ids: ids.__setitem__(slice(place, place), new)


def delete(first: int, last: int) -> Change:
    return lambda ids: ids.__delitem__(slice(first, last))


LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("ids", "changes", "offsets"),
    [
        # The new one may be left out, no old one is.
        ("abcdef", [insert(0, "n")], [0, 2, 4, 6]),
        ("abc", [insert(3, "d")], [0, 2, 3]),
        # Pages before are read again until one has the anchor.
        ("abcdefgh", [delete(0, 1)], [0, 2, 0, 2, 4, 6]),
        ("abcdefghij", [nothing, delete(0, 4)], [0, 2, 4, 2, 0, 2, 4, 5]),
        (LETTERS, [nothing, delete(0, 3), nothing, nothing, delete(0, 2)], None),
    ],
    ids=["inserted before", "appended", "deleted", "more than a page", "several times"],
)
def test_what_changes_between_two_pages(ids, changes, offsets):
    shelf = Shelf(ids, *changes)
    assert shelf.read().strip("n") == ids + "d" * (ids == "abc")
    assert offsets is None or [offset for offset, _ in shelf.asked] == offsets


@pytest.mark.parametrize(
    ("ids", "changes", "words", "offset", "found"),
    [
        ("abcdef", [insert(0, "xyz")], "the record c is not where it was", 2, "abczdef"),
        ("abcdef", [delete(2, 3)], "the record c is not where it was", 0, "abcdef"),
        ("abcdefgh", [nothing, delete(0, 5)], "the record e is not where it was", 0, "abcdefgh"),
        ("abcdef", [insert(3, "a")], "the record a came again", 2, "abcdef"),
    ],
    ids=["more is inserted than a page has", "the anchor is gone", "all is gone", "one again"],
)
def test_records_that_may_be_left_out_are_drift(ids, changes, words, offset, found):
    with pytest.raises(acp.SearchDrift, match=rf"{words}.*pass on_drift=\"continue\"") as caught:
        Shelf(ids, *changes).read()
    # Where it was looked for last.
    assert pickle.loads(pickle.dumps(caught.value)).offset == caught.value.offset == offset
    assert Shelf(ids, *changes).read("continue") == found


def test_pages_of_two_records_overlap_as_well():
    assert Shelf("abcd", insert(1, "n")).read(limit=2) == "abncd"
    with pytest.raises(acp.SearchDrift, match="the record b is not where it was"):
        Shelf("abcdef", insert(0, "xyz")).read(limit=2)


def test_a_search_goes_back_again_only_after_something_new_and_not_before_its_offset():
    shelf = Shelf("abcd", lambda ids: ids.__setitem__(slice(None), "cdab"), delete(1, 3))
    assert shelf.read("continue") == "abc"
    assert [offset for offset, _ in shelf.asked] == [0, 2, 3]
    shelf = Shelf("abcdefgh", nothing, delete(0, 6))
    assert shelf.read("continue", offset=2) == "cdefg"
    assert [offset for offset, _ in shelf.asked] == [2, 4, 6, 4, 2]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("ids", ["a", "ab", "abc", "abcd", "abcdefgh"])
def test_a_server_whose_pages_are_smaller_than_asked(ids, size):
    shelf = Shelf(ids)
    shelf.page = lambda offset, limit: Shelf(ids).page(offset, size)  # type: ignore[method-assign]
    assert shelf.read(limit=100) == ids
    assert size > 1 or len(shelf.asked) == len(ids) + 1


def agent_of(name: str, number: int) -> Any:
    ref = SimpleNamespace(name=name, version="1")
    return SimpleNamespace(agent_id=f"a{number}", metadata=SimpleNamespace(ref=ref))


class EndlessAgents:
    """A search whose pages never end, whatever it is asked for. It may heed the name."""

    def __init__(self, name: str, *, heeds: bool = False, page: int | None = None) -> None:
        self.name, self.heeds, self.page = name, heeds, page
        self.pages = 0

    def search_agents(self, request: Any) -> list[Any]:
        self.pages += 1
        if self.heeds and request.get("name", self.name) != self.name:
            return []
        offset = request.get("offset", 0)
        last = offset + (self.page or request["limit"])
        return [agent_of(self.name, n) for n in range(offset, last)]


def test_a_search_that_never_ends(monkeypatch):
    shelf = Shelf("")
    shelf.page = lambda offset, limit: [  # type: ignore[method-assign]
        Run.model_construct(run_id=f"r{n}") for n in (offset, offset + 1)
    ]
    words = "does not end: the server sent 10,000 pages with 10,001 records"
    with pytest.raises(acp.ApiException, match=words):
        shelf.read()
    client = acp.ApiClient(acp.Configuration())
    for find, page, words, most in (
        (lambda: [*acp.iter_agents(acp.AgentsApi(client))], 2, "server sent 1,000", 1002),
        (lambda: acp.AgentHandle.find("other", api_client=client), 2, "server sent 1,000", 1002),
        # A bounded number of ids is kept.
        (lambda: [*acp.iter_agents(acp.AgentsApi(client))], None, r"10\d pages with 100,", 102),
    ):
        endless = EndlessAgents("n", page=page)
        monkeypatch.setattr(acp.AgentsApi, "search_agents", endless.search_agents)
        with pytest.raises(acp.ApiException, match=words):
            find()
        assert endless.pages <= most


@pytest.mark.parametrize(("heeds", "words"), [(True, "no agent is"), (False, "several agents are")])
def test_find_keeps_one_page_of_a_server_whose_agents_never_end(monkeypatch, heeds, words):
    endless = EndlessAgents("other" if heeds else "n", heeds=heeds)
    search = endless.search_agents
    # One that does not match, so that the search goes on to the next page.
    more = [] if heeds else [agent_of("another", -1)]
    monkeypatch.setattr(acp.AgentsApi, "search_agents", lambda _, request: more + search(request))
    with pytest.raises(acp.AgentLookupError, match=f"{words} called 'n'") as caught:
        acp.AgentHandle.find("n", api_client=acp.ApiClient(acp.Configuration()))
    assert len(caught.value.candidates) == 1000
    assert endless.pages <= 4


@pytest.mark.parametrize(
    ("request_", "of_run", "matches"),
    [
        ({}, {}, True),
        ({"agent_id": None, "limit": 5}, {}, True),
        ({"agent_id": "a"}, {}, True),
        ({"agent_id": "a"}, {"agent_id": "b"}, False),
        ({"agent_id": "a"}, {"agent_id": ""}, False),
        ({"status": "pending"}, {"status": acp.RunStatus.PENDING}, True),
        ({"status": acp.RunStatus.PENDING}, {"status": acp.RunStatus.SUCCESS}, False),
        ({"metadata": {"m": 1}}, {}, False),
        ({"metadata": {}}, {}, True),
        ({"metadata": {"m": 1}}, {"metadata": {"m": 1, "n": 2}}, True),
        ({"metadata": {"m": 1, "n": 3}}, {"metadata": {"m": 1, "n": 2}}, False),
        ({"metadata": {"m": None}}, {"metadata": {"n": 2}}, False),
        ({"metadata": {"m": UUID(int=1)}}, {"metadata": {"m": str(UUID(int=1))}}, True),
    ],
)
def test_which_run_a_search_asked_for(request_, of_run, matches):
    creation = acp.RunCreate(agent_id="a", metadata=of_run.get("metadata"))
    fields = {"agent_id": "a", "run_id": "r", **of_run}

    class Everything(acp.RunsApi):
        def search_runs(self, *_: Any, **__: Any) -> list[Run]:
            return [Run.model_construct(creation=creation, **fields)]

    assert bool(list(acp.iter_runs(Everything(), request_))) is matches


def test_keywords_are_conditions_beside_those_of_the_request(client):
    counter, failing = (acp.AgentHandle.find(name, client) for name in ("counter", "failing"))
    for agent, given in ((counter, {"count": 1}), (failing, {"description": "no luck"})):
        agent.start(given, metadata={"of": "me"}).output(30)
    mine = {"metadata": {"of": "me"}}
    for conditions, found in (
        ({}, ["error", "success"]),
        ({"agent": counter}, ["success"]),
        ({"status": "error", "agent": failing}, ["error"]),
        ({"status": acp.RunStatus.ERROR, "agent": counter}, []),
        ({"metadata": {"of": "others"}}, []),
    ):
        listed = [run.status.value for run in acp.iter_runs(client, mine, **conditions)]
        assert sorted(listed) == found, conditions
    assert len(list(acp.iter_runs(client, **mine, status="error"))) == 1
    assert {agent.agent_id for agent in acp.iter_agents(client)} >= {counter.agent_id}
    assert list(acp.iter_threads(client, {"metadata": {"of": "nobody"}})) == []


def test_a_server_that_ignores_conditions(serve, caplog):
    """What it returns all the same would be taken for what was asked for, and deleted."""
    _, client = serve(Quirks(search_metadata="ignored"))
    counter = acp.AgentHandle.find("counter", api_client=client)
    mine = counter.start({"count": 1}, metadata={"of": "me"}).run_id
    for _ in range(3):
        counter.start({"count": 1}, metadata={"of": "others"})
    found = acp.iter_runs(acp.RunsApi(client), acp.RunSearchRequest(metadata={"of": "me"}, limit=2))
    assert [run.run_id for run in found] == [mine]
    threads = acp.ThreadsApi(client)
    echo = acp.AgentHandle.find("echo", api_client=client)
    for of in ("me", "others"):
        threads.create_thread({"agent_id": echo.agent_id, "metadata": {"of": of}})
    (thread,) = acp.iter_threads(threads, {"metadata": {"of": "me"}})
    assert [thread.metadata, len(list(acp.iter_threads(threads)))] == [{"of": "me"}, 2]
    words = "the server ignores conditions of the search: run_id .* does not match"
    assert len(re.findall(words, caplog.text)) == 1  # of three runs


def test_a_server_that_ignores_names(client, monkeypatch):
    agents = acp.AgentsApi(client)
    search = agents.search_agents

    def page_of(request: Any) -> Any:
        return search({name: request[name] for name in ("limit", "offset")})

    monkeypatch.setattr(agents, "search_agents", page_of)
    for wanted in ({"name": "echo"}, {"name": "echo", "version": "1.0.0"}):
        assert [agent.metadata.ref.name for agent in acp.iter_agents(agents, wanted)] == ["echo"]
    assert list(acp.iter_agents(agents, {"name": "echo", "version": "9.9.9"})) == []


def test_a_server_that_ignores_the_offset():
    shelf = Shelf("abcdef")
    shelf.page = lambda offset, limit: Shelf("abcdef").page(0, limit)  # type: ignore[method-assign]
    with pytest.raises(acp.SearchDrift, match="returns the same page for another offset"):
        shelf.read()
    assert len(shelf.asked) <= 4
    assert shelf.read("continue") == "abc"
    shelf.page = lambda offset, limit: Shelf("a").page(0, 1)  # type: ignore[method-assign]
    assert shelf.read() == "a"


def test_another_word_for_on_drift_is_refused():
    with pytest.raises(acp.ApiValueError, match='on_drift must be "raise" or "continue"'):
        acp.iter_runs(Shelf(""), on_drift="stop")  # type: ignore[arg-type]


def test_a_server_may_write_the_id_of_the_agent_in_other_letters(serve):
    record = {"agent_id": "a-ID", "thread_id": "t"}
    matching = a_run(agent_id="a-ID", creation={"agent_id": "a-ID"})
    _, client = serve(Replies(search=runs_json({**matching, **record})))
    for wanted, found in (("A-id", 1), ("a-ID", 1), ("b", 0)):
        assert len(list(acp.iter_runs(acp.RunsApi(client), {"agent_id": wanted}))) == found
        assert len(list(acp.iter_threads(acp.ThreadsApi(client), {"agent_id": wanted}))) == found
