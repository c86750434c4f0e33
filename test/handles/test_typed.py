"""Types for inputs and results: what they send, what they give, and what stays JSON."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field
from support.batches import in_a_child, numbers, obedient, wait_for
from typing_extensions import TypedDict

import acp_client_v0_1 as acp
from acp_client_v0_1.testing import LocalServer


class Inner(BaseModel):
    a: int | None = None
    b: int | None = None


class Given(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)

    count: int
    interval: float | None = None
    word: str = "w"
    from_: str | None = Field(None, alias="from")
    inner: Inner | None = None
    many: list[Inner] = []
    named: dict[str, Inner] = {}


@dataclass
class Part:
    x: int | None = None


@dataclass
class GivenDataclass:
    count: int
    interval: float | None = None
    word: str | None = "w"
    part: Part | None = None
    parts: list[Part] = field(default_factory=list)


class Member(TypedDict):
    count: int


class Result(BaseModel):
    count: int


class Total(BaseModel):
    total: int


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    n: int


class Approval(BaseModel):
    approved: bool
    note: str | None = None


class Revalidated(BaseModel):
    model_config = ConfigDict(revalidate_instances="always")
    count: int


NESTED = Given(
    count=1,
    interval=None,
    inner=Inner(a=None),
    many=[Inner(), Inner(b=1)],
    named={"n": Inner(a=None, b=2)},
)
SENT = {
    "count": 1,
    "interval": None,
    "inner": {"a": None},
    "many": [{}, {"b": 1}],
    "named": {"n": {"a": None, "b": 2}},
    "word": "w",
}


@pytest.fixture
def echo(client):
    return acp.AgentHandle.find("echo", client)


@pytest.mark.parametrize("is_typed", [False, True])
@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (Given(count=3), {"count": 3, "word": "w", "many": [], "named": {}}),
        (NESTED, SENT),
        (Given.model_validate({"count": 1, "from": None}), {"count": 1, "from": None}),
        (GivenDataclass(3), {"count": 3, "word": "w", "parts": []}),
        (GivenDataclass(3, word=None), {"count": 3, "word": None, "parts": []}),
        (
            GivenDataclass(3, 1.5, part=Part(), parts=[Part(1)]),
            {"count": 3, "interval": 1.5, "word": "w", "part": {}, "parts": [{"x": 1}]},
        ),
    ],
)
def test_a_field_that_nobody_set_and_is_none_by_default_is_not_sent(echo, given, sent, is_typed):
    agent = echo.typed(type(given)) if is_typed else echo
    result = agent.run(given, timeout=10)
    assert sent.items() <= result.items()
    assert {name for name, value in result.items() if value is None} == {
        name for name, value in sent.items() if value is None
    }
    (item,) = agent.map([given])
    assert item.result() == item.input == result


def test_the_same_holds_for_a_config_metadata_an_answer_and_a_create(server, client, echo):
    free: Any = {"config": Inner(a=1), "metadata": Inner(b=None)}
    run = echo.start(Inner(), **free).refresh()
    assert run.creation.config == {"a": 1}
    assert run.creation.input == {}
    assert {"b": None}.items() <= run.creation.metadata.items()
    assert "a" not in run.creation.metadata
    runs = acp.RunsApi(client)
    body = acp.RunCreate(agent_id=echo.agent_id, input={"given": Inner(a=None), "list": [Inner()]})
    made = runs.create_run(body)
    assert made.creation.input == {"given": {"a": None}, "list": [{}]}
    asking = acp.AgentHandle.find("approval", client).start({})
    question = next(asking.interrupts())
    question.answer(Approval(approved=True))
    assert json.loads(server.requests[-1].body) == {"approved": True}


@pytest.mark.parametrize("kind", [Result, GivenDataclass, Member, Annotated[Result, Field()]])
def test_results_are_of_the_type_wherever_a_handle_gives_one(echo, kind):
    agent = echo.typed(result=kind)
    first = agent.run({"count": 2}, timeout=10)
    started = agent.start({"count": 2})
    others = [
        started.result(timeout=10),
        started.drive(lambda question: None, timeout=10),
        agent.run({"count": 2}, on_interrupt=lambda question: None, timeout=10),
        agent.conversation().run({"count": 2}, timeout=10),
        agent.conversation().start({"count": 2}).result(timeout=10),
        acp.RunHandle.from_token(started.token(), echo.runs.api_client).typed(kind).result(),
        *[item.result() for item in agent.map([{"count": 2}])],
    ]
    assert all(each == first for each in others)
    assert isinstance(first, kind if isinstance(kind, type) and kind is not Member else object)
    assert started.typed(None).result() == {"count": 2} == echo.run({"count": 2})


def test_an_input_is_an_instance_or_a_mapping_and_goes_out_by_alias(server, echo):
    agent = echo.typed(Given)
    by_name, by_alias = Given.model_validate({"count": 1, "from": "f"}), {"count": 1, "from": "f"}
    assert agent.run(by_name)["from"] == agent.run(by_alias)["from"] == "f"
    server.clear_requests()
    words = r"input\.count: Input should be a valid integer"
    for call in (agent.run, agent.start, agent.conversation().run, agent.conversation().start):
        with pytest.raises(acp.ApiValueError, match=words):
            call({"count": "three"})
    changed = Revalidated(count=1)
    vars(changed)["count"] = "three"
    with pytest.raises(acp.ApiValueError, match=words):
        echo.typed(Revalidated).run(changed)
    with pytest.raises(acp.ApiValueError, match=words):
        echo.typed(GivenDataclass).run(GivenDataclass("three"))  # type: ignore[arg-type]
    assert server.requests == ()
    items = list(agent.map([{"count": 1}, {"count": "three"}, None], ordered=True))
    assert [item.ok for item in items] == [True, False, True]
    assert isinstance(items[1].error, acp.ApiValueError)
    assert str(items[1].error).startswith("input 1.count: ")


@pytest.mark.parametrize("name", ["input", "result"])
@pytest.mark.parametrize(
    "wrong", [Result(count=1), Part(), "Result", {"count": 1}, 5, lambda: None, "Later", len]
)
def test_what_is_no_type_is_named_at_once(server, echo, name, wrong):
    server.clear_requests()
    with pytest.raises(acp.ApiTypeError, match=rf"^{name} must be a type, such as a model"):
        echo.typed(**{name: wrong})
    if name == "result":
        with pytest.raises(acp.ApiTypeError, match=r"^result must be a type"):
            acp.RunHandle("r", echo.runs.api_client).typed(wrong)
    assert server.requests == ()


def test_a_result_that_does_not_fit_keeps_the_run_and_the_result(server, client, echo):
    agent = echo.typed(result=Total)
    with pytest.raises(acp.ResultMismatch) as caught:
        agent.run({"count": 3}, cancel_on_exit=True)
    error = caught.value
    assert error.result == {"count": 3} and isinstance(error, acp.ApiException)
    assert error.faults == (("result.total", "Field required"),)
    assert str(error) == (
        f"the result of run {error.run_id} does not fit Total: result.total: Field required"
    )
    assert not any(request.method == "DELETE" for request in server.requests)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert vars(again) == vars(error)
        assert str(again) == str(error)
    run = acp.RunHandle.from_token(error.token, client)
    assert run.result() == {"count": 3} and run.refresh().status == "success"
    started = agent.start({"count": 3})
    assert started.typed(Result).result() == Result(count=3)
    server.clear_requests()
    for _ in range(2):
        with pytest.raises(acp.ResultMismatch):
            started.typed(Total).result()
    # The handles share the output.
    assert server.requests == ()


def test_a_strict_type_takes_what_json_can_say(echo):
    class Dated(BaseModel):
        model_config = ConfigDict(strict=True)
        at: tuple[int, ...]

    assert echo.typed(result=Dated).run({"at": [1, 2]}).at == (1, 2)
    with pytest.raises(acp.ResultMismatch, match=r"result\.n: .*valid integer"):
        echo.typed(result=Strict).run({"n": "1"})


def test_typed_handles_travel_in_a_pickle(server, client, echo):
    echo.runs.api_client.configuration.host = server.url
    agent = pickle.loads(pickle.dumps(echo.typed(Given, Result)))
    assert agent.run(Given(count=2)) == Result(count=2)
    with pytest.raises(acp.ApiValueError):
        agent.run({})
    run = pickle.loads(pickle.dumps(agent.start({"count": 4})))
    assert run.result(timeout=10) == Result(count=4)

    class Local(BaseModel):
        count: int

    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(echo.typed(Local))


# A batch


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def test_a_journal_has_json_so_a_mended_type_reads_it_and_sends_nothing(server, echo, path):
    inputs = [Given(count=1), {"count": 2, "word": "w", "many": [], "named": {}}]
    wrong = list(echo.typed(Given, Total).map(inputs, journal=path, ordered=True))
    assert [type(item.error) for item in wrong] == [acp.ResultMismatch] * 2
    assert [item.to_dict()["status"] for item in wrong] == ["success"] * 2
    assert json.loads(wrong[0].to_json())["result"]["count"] == 1
    assert (
        acp.RunHandle.from_token(
            wrong[0].error.token,
            echo.runs.api_client,  # type: ignore[union-attr]
        ).result()["count"]
        == 1
    )
    written = path.read_bytes()
    server.clear_requests()
    for kind, seen in ((Result, Result(count=2)), (None, {"count": 2, "word": "w"})):
        batch = echo.typed(Given, kind).map(inputs, journal=path, ordered=True)
        items = list(batch)
        assert batch.counts.failed == 0
        given = items[1].result()
        assert given == seen if kind else seen.items() <= given.items()  # type: ignore[union-attr]
        assert items[1].raw == (wrong[1].raw if kind else None)
    # Failing to fit is no failure of the run, so there is nothing to retry.
    again = list(echo.typed(Given, Total).map(inputs, journal=path, retry_failed=True))
    assert [type(item.error) for item in again] == [acp.ResultMismatch] * 2
    # The inputs of these calls have the same JSON.
    plain = [{"count": n, "word": "w", "many": [], "named": {}} for n in (1, 2)]
    assert all(item.ok for item in echo.map(plain, journal=path))
    assert server.requests == () and path.read_bytes() == written


NULLS = {"count": 1, "interval": None, "word": "w", "from": None, "inner": None, "many": []}


@pytest.mark.parametrize("is_typed", [False, True])
def test_a_journal_that_has_the_nulls_of_an_earlier_release_goes_on(server, echo, path, is_typed):
    agent = echo.typed(Given) if is_typed else echo
    given = Given(count=1, many=[])
    before: Any = {**NULLS, "named": {}}
    config: Any = {"a": 1, "b": None}
    (first,) = echo.map([before], journal=path, config=config)
    server.clear_requests()
    config = Inner(a=1)
    (again,) = agent.map([given], journal=path, config=config)
    assert again.ok and again.run_id == first.run_id
    assert server.requests == ()
    # A new input of the same batch gets the config of the first.
    list(agent.map([given, {"count": 2}], journal=path, config=config))
    (created,) = [json.loads(each.body) for each in server.requests if each.path == "/runs"]
    assert created["config"] == {"a": 1, "b": None}
    for other in (Given(count=2), Given(count=1, interval=2.0)):
        with pytest.raises(acp.JournalMismatch, match="input 0 differs"):
            list(agent.map([other], journal=path, config=config))
    with pytest.raises(acp.JournalMismatch, match="another config, which differs in a"):
        list(agent.map([given], journal=path, config=Inner(a=2)))  # type: ignore[arg-type]


def test_a_run_of_an_earlier_release_is_found_after_a_kill(server, path):
    """Its create was sent with the nulls, and the journal has no id of the run yet."""
    server.register(obedient, name="obedient")
    with acp.ApiClient(acp.Configuration(host=server.url)) as client:
        agent = acp.AgentHandle.find("obedient", client)
        before = {"n": 0, "seconds": 30, "note": None}
        child = in_a_child(lambda: list(agent.map([before], journal=path)))
        wait_for(lambda: len(server.runs) == 1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

        class Noted(BaseModel):
            n: int
            seconds: int
            note: str | None = None

        given = Noted(n=0, seconds=30)
        (item,) = agent.typed(Noted).map([given], journal=path, timeout=0.5)
        assert isinstance(item.error, acp.RunWaitTimeout) and len(server.runs) == 1


class Numbered(BaseModel):
    n: int


def test_a_typed_batch_that_is_killed_goes_on_with_another_type(server, path):
    server.register(obedient, name="obedient")
    with acp.ApiClient(acp.Configuration(host=server.url)) as client:
        agent = acp.AgentHandle.find("obedient", client)
        child = in_a_child(lambda: list(agent.typed(result=Total).map(numbers(40), journal=path)))
        wait_for(lambda: path.exists() and path.read_bytes().count(b'"done"') > 5)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        items = list(agent.typed(result=Numbered).map(numbers(40), journal=path, ordered=True))
        assert [item.result().n for item in items] == [*range(40)]
        assert len(server.runs) == 40


@pytest.mark.slow
def test_worker_processes_give_json_and_the_caller_has_the_type(server, echo, monkeypatch):
    monkeypatch.setenv("ACP_HOST", server.url)

    class Local(BaseModel):
        """A worker process could not import it."""

        count: int

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        agent = echo.typed(Local, Local)
        (item,) = agent.map([Local(count=1)], executor=pool)
    assert item.result() == Local(count=1) and item.raw == {"count": 1}


def test_a_batch_item_can_be_pickled_with_its_type(echo):
    (item,) = echo.typed(result=Result).map([{"count": 1}])
    again = pickle.loads(pickle.dumps(item))
    assert again == item and again.result() == Result(count=1)


def test_an_untyped_call_is_as_it_was():
    with LocalServer() as server, acp.ApiClient(acp.Configuration(host=server.url)) as client:
        agent = acp.AgentHandle.find("echo", client)
        assert "_result_type" not in vars(agent) and "_result_type" not in vars(agent.start({}))
        assert type(agent.run({"a": [1]})) is dict
