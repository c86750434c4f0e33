"""The models: strict towards the caller, tolerant towards the server, and pleasant to look at."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from pydantic import Field, ValidationError
from support.examples import ERROR, INTERRUPT, METADATA, SPECS, UPDATE
from support.forks import printed_by
from support.parts import Model, OneOf, OpenEnum

from acp_client_v0_1 import models
from acp_client_v0_1.models import (
    AgentCapabilities,
    AgentSearchRequest,
    CustomRunResultUpdate,
    Run,
    RunCreate,
    RunError,
    RunInterrupt,
    RunOutput,
    RunOutputStream,
    RunResult,
    RunSearchRequest,
    RunStatus,
    StreamEventPayload,
    StreamingMode,
    Thread,
)

TIME = "2026-11-24T09:30:00Z"
RUN = {
    "creation": {"agent_id": "a", "input": {"q": None}, "streaming": "custom"},
    "run_id": "r",
    "agent_id": "a",
    "created_at": TIME,
    "updated_at": "2026-11-24T10:30:00+01:00",
    "status": "success",
}
RESULT = {"type": "result", "run_id": "r", "status": "success", "result": {"n": None}}
THREAD = {"thread_id": "t", "agent_id": "a", "metadata": {"topic": "x"}}

# One response for each model that is an object or a oneOf.
RESPONSES: list[tuple[type[Any], dict[str, Any]]] = [
    (Run, RUN),
    (RunCreate, RUN["creation"]),
    (RunSearchRequest, {"status": "error", "metadata": {"k": 1}, "limit": 3, "offset": 4}),
    (RunResult, RESULT),
    (RunInterrupt, INTERRUPT),
    (RunError, ERROR),
    (CustomRunResultUpdate, UPDATE),
    (RunOutput, RESULT),
    (RunOutput, INTERRUPT),
    (RunOutput, ERROR),
    (StreamEventPayload, RESULT),
    (StreamEventPayload, UPDATE),
    (RunOutputStream, {"id": "7", "event": "agent_event", "data": UPDATE}),
    (models.Agent, {"agent_id": "a", "metadata": METADATA}),
    (models.AgentACPDescriptor, {"metadata": METADATA, "specs": SPECS}),
    (models.AgentACPSpec, SPECS),
    (models.AgentACPSpecInterruptsInner, SPECS["interrupts"][0]),
    (AgentCapabilities, SPECS["capabilities"]),
    (models.StreamingModes, {"result": False, "custom": True}),
    (models.AgentMetadata, METADATA),
    (models.AgentRef, METADATA["ref"]),
    (AgentSearchRequest, {"name": "n", "limit": 1, "offset": 0}),
    (Thread, THREAD),
    (models.ThreadCreate, {"agent_id": "a"}),
    (models.ThreadSearchRequest, {"agent_id": "a", "limit": 1000, "offset": 0}),
]
EACH = pytest.mark.parametrize(("model", "content"), RESPONSES, ids=lambda value: str(value)[:60])


def read(model: type[Any], content: object) -> Any:
    return model.from_json(json.dumps(content))


def as_json(model: Any) -> Any:
    return json.loads(model.to_json())


def run_with(**changes: object) -> Run:
    return Run.from_dict({**RUN, **changes})


def test_there_is_a_response_of_every_model():
    enums = {"RunStatus", "StreamingMode"}
    assert {model.__name__ for model, _ in RESPONSES} == set(models.__all__) - enums


@EACH
def test_what_came_goes_back_as_do_its_copies(model, content):
    value = read(model, content)
    assert isinstance(value, model)
    assert value == read(model, content)
    again = as_json(value)
    assert {key: entry for key, entry in again.items() if key in content} == content
    assert read(model, again) == value
    assert model.from_json(value.to_json().encode()) == value
    assert model.from_dict(content) == model.from_dict(value.to_dict()) == value
    plain = value.to_dict(mode="json")
    assert json.loads(json.dumps(plain)) == again == plain
    assert model.from_dict(plain) == value and model.from_dict(value) is value
    if not issubclass(model, OneOf):
        assert model.from_dict(None) is None
    with pytest.raises(ValidationError):
        model.from_json("null")
    copies = [
        pickle.loads(pickle.dumps(value)),
        copy.copy(value),
        copy.deepcopy(value),
        value.model_copy(deep=True),
    ]
    for other in copies:
        assert type(other) is model
        assert other == value
        assert other is not value
        assert other.to_json() == value.to_json()


@EACH
def test_a_person_can_read_it(model, content):
    value = read(model, content)
    assert repr(value).startswith(f"{model.__name__}(")
    assert "None" not in repr(value).replace("{'q': None}", "").replace("{'n': None}", "")
    assert str(value) == value.to_str()
    assert eval(str(value)) == as_json(value)  # a dictionary, several lines if it is long
    assert all(len(line) <= 100 for line in str(value).splitlines())


def test_to_dict_keeps_python_values():
    value = run_with().to_dict()
    assert value["created_at"] == datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc)
    assert value["status"] is RunStatus.SUCCESS
    assert value["creation"]["streaming"] is StreamingMode.CUSTOM
    assert "thread_id" not in value
    # An object of the agent's own keeps its nulls.
    create = RunCreate(agent_id="a", input={"n": None, "l": [None]}, metadata=None)
    assert create.to_dict() == {"agent_id": "a", "input": {"n": None, "l": [None]}}
    assert create.to_json() == '{"agent_id":"a","input":{"n":null,"l":[null]}}'


@pytest.mark.parametrize("more", ["", ',"new":null'])
def test_a_number_that_json_does_not_have_is_written_as_python_does(more):
    """A null instead would be another value, and nobody would notice."""
    result = '{"n":NaN,"i":-Infinity,"x":null}' + more
    value = RunResult.from_json(f'{{"run_id":"r","status":"error","result":{result}}}')
    assert value.to_json().endswith(f'"result":{result}}}')
    assert RunResult.from_dict(value.to_dict()).result["i"] == float("-inf")


def test_values_are_compared():
    assert run_with() == run_with()
    assert run_with() != run_with(run_id="other")
    assert run_with() != run_with(unknown=1)
    assert RunOutput.from_dict(RESULT) != RunOutput.from_dict(ERROR)
    assert RunOutput.from_dict(RESULT) != RunResult.from_dict(RESULT)
    assert run_with() != RUN


REFUSED: dict[str, tuple[Callable[[], object], list[str]]] = {
    "unknown keyword": (lambda: RunCreate(agent_id="a", agent="b"), ["agent"]),
    "two of them": (lambda: RunCreate(agent_id="a", b=1, c=2), ["b", "c"]),
    "nothing": (lambda: RunCreate(), ["agent_id"]),
    "null": (lambda: RunCreate(agent_id=None), ["agent_id"]),
    "int for str": (lambda: RunCreate(agent_id=1), ["agent_id"]),
    "list for object": (lambda: RunCreate(agent_id="a", input=[1]), ["input"]),
    "str for object": (lambda: RunCreate(agent_id="a", config="c"), ["config"]),
    "unknown mode": (lambda: RunCreate(agent_id="a", streaming="both"), ["streaming"]),
    "unknown status": (lambda: RunSearchRequest(status="done"), ["status"]),
    "status in capitals": (lambda: RunSearchRequest(status="PENDING"), ["status"]),
    "str for int": (lambda: RunSearchRequest(limit="5"), ["limit"]),
    "float for int": (lambda: RunSearchRequest(limit=5.0), ["limit"]),
    "bool for int": (lambda: RunSearchRequest(limit=True), ["limit"]),
    "int for bool": (lambda: AgentCapabilities(threads=1), ["threads"]),
    "UUID for str": (lambda: RunCreate(agent_id="a", webhook=UUID(int=0)), ["webhook"]),
    "another constant": (lambda: RunResult(**{**RESULT, "type": "error"}), ["type"]),
}


@pytest.mark.parametrize(("construct", "names"), REFUSED.values(), ids=REFUSED)
def test_a_constructor_refuses(construct, names):
    with pytest.raises(ValidationError) as caught:
        construct()
    assert [str(fault["loc"][0]) for fault in caught.value.errors()] == names
    assert isinstance(caught.value, ValueError)


def test_a_search_has_bounds_and_what_is_left_out_its_default():
    defaults = {"threads": False, "interrupts": False, "callbacks": False}
    assert AgentCapabilities().to_dict() == defaults
    for model in (RunSearchRequest, AgentSearchRequest, models.ThreadSearchRequest):
        assert model().to_dict() == {"limit": 10, "offset": 0}
        assert model(limit=1000).limit == 1000 and model(limit=1).limit == 1
        for wrong in ({"limit": 0}, {"limit": 1001}, {"offset": -1}):
            with pytest.raises(ValidationError, match=rf"(?m)^{next(iter(wrong))}$"):
                model(**wrong)


def test_an_assignment_is_as_strict():
    run = run_with()
    run.status = "error"
    assert run.status is RunStatus.ERROR
    for name, value, words in (
        *(("status", "done", "status"), ("run_id", 5, "run_id")),
        *((name, "error", f'"Run" object has no field "{name}"') for name in ("stauts", "status_")),
    ):
        with pytest.raises(ValueError, match=words):
            setattr(run, name, value)
    news = run_with(news=1)
    news.news = 2
    assert as_json(news)["news"] == 2
    run._note = "what a program keeps beside the fields"
    assert (run.status, run.run_id) == ("error", "r") and "_note" not in run.to_dict()
    run.agent_id = UUID(int=0)
    assert run.agent_id == "00000000-0000-0000-0000-000000000000"


def test_a_signature_lists_the_fields_before_the_first_use_and_after():
    names = ["RunCreate", "Run", "AgentACPSpec", "RunSearchRequest"]
    script = f"""
import inspect, acp_client_v0_1
for name in {names}:
    model = getattr(acp_client_v0_1, name)
    print(*inspect.signature(model).parameters)
    model.model_rebuild()
    print(*inspect.signature(model).parameters)
"""
    expected = [{*getattr(models, name).model_fields, "extra_data"} for name in names]
    shown = [{*line.split()} for line in printed_by(script).splitlines()]
    assert shown == [fields for fields in expected for _ in range(2)]


def test_the_text_of_the_contract_reaches_pydantic_and_editors():
    contract = yaml.safe_load((Path(__file__).parents[2] / "openapi.yaml").read_text("utf-8"))
    for name, schema in contract["components"]["schemas"].items():
        model = getattr(models, name, None)
        if model is None or issubclass(model, OneOf):
            continue
        purpose = schema["description"]
        assert str(inspect.getdoc(model)).partition("\n\nAttributes:")[0] == purpose
        if not issubclass(model, OpenEnum):
            assert model.model_json_schema()["description"].startswith(purpose)
        assert "__init__" not in vars(model) and vars(Model)["__init__"].__doc__ is None
        for field, declared in schema.get("properties", {}).items():
            assert model.model_fields[field].description == declared["description"]
            assert f"    {field}: {declared['description']}" in str(inspect.getdoc(model))
            assert declared["description"] in json.dumps(
                model.model_json_schema()["properties"][field], ensure_ascii=False
            )


def test_a_subclass_has_the_descriptions_of_its_fields():
    class Tagged(Run):
        """A run with a tag.

        Attributes:
            tag: What the run is for.
            owner: Not used.
        """

        tag: str
        model_dump_size: int = 0  # a name that pydantic itself would warn of
        owner: str = Field(default="", description="Whose it is.")

    fields = Tagged.model_fields
    assert fields["run_id"].description == "The ID of the run."
    assert fields["tag"].description == "What the run is for."
    assert Tagged.model_json_schema()["properties"]["agent_id"]["minLength"] == 1
    assert fields["owner"].description == "Whose it is."


def test_an_output_says_where_its_attributes_are():
    output = RunOutput.from_dict(INTERRUPT)
    with pytest.raises(AttributeError, match=r"is a RunInterrupt, which is in .actual_instance$"):
        output.result  # noqa: B018
    with pytest.raises(AttributeError, match=r"is a RunResult, which is in .actual_instance.re"):
        RunOutput.from_dict(RESULT).result  # noqa: B018
    assert not hasattr(output, "_private") and not hasattr(RunOutput.__new__(RunOutput), "result")


@EACH
def test_unknown_fields_are_kept(model, content):
    """Also inside, and as null: a null of the contract was not set, one outside it is news."""

    def with_news(value: Any) -> Any:
        if isinstance(value, dict):
            news = {"news": None, "new_in_0_2": {"x": [1, None]}}
            return {key: with_news(item) for key, item in value.items()} | news
        return [with_news(item) for item in value] if isinstance(value, list) else value

    kept = read(model, with_news(content))
    inner = kept if not isinstance(kept, (RunOutput, StreamEventPayload)) else kept.root
    assert inner.new_in_0_2 == {"x": [1, None]}
    assert as_json(kept) == with_news(as_json(read(model, content)))  # which has defaults as well
    assert read(model, as_json(kept)) == model.from_dict(kept.to_dict()) == kept
    assert pickle.loads(pickle.dumps(kept)) == kept
    assert "new_in_0_2" in repr(kept) and "'news': None" in str(kept)


def test_fields_that_the_contract_lacks_are_sent_as_openapi_generators_clients_write_them():
    made = RunCreate(agent_id="a", additional_properties={"priority": 5})
    assert made.to_dict() == {"agent_id": "a", "priority": 5}
    assert made.additional_properties == {"priority": 5}
    assert RunCreate(agent_id="a", additional_properties=None).additional_properties == {}
    assert RunCreate.from_dict(made.to_dict()) == made


def test_unknown_fields_do_not_disturb_a_model():
    names = {"_private": 1, "model_fields": 2, "to_dict": 3, "class": 4, "from_json": 5}
    run = run_with(**names)
    assert {key: as_json(run)[key] for key in names} == names
    assert run.to_dict()["to_dict"] == 3
    assert Run.from_dict(run.to_dict()) == run


@EACH
def test_nulls_for_optional_fields_are_nothing(model, content):
    if not issubclass(model, models.RunOutput | StreamEventPayload):
        optional = [name for name, field in model.model_fields.items() if not field.is_required()]
        nulls = {name: None for name in optional if name not in ("type", "event")}
        value = read(model, {**content, **nulls})
        assert not nulls.keys() & as_json(value).keys()


def test_an_unknown_value_of_an_enum_is_carried():
    status = run_with(status="paused").status
    assert isinstance(status, RunStatus)
    assert (status, status.value, str(status), f"{status}") == ("paused",) * 4
    assert not status.is_known and all(member.is_known for member in RunStatus)
    assert repr(status) == "<RunStatus.paused: 'paused'>"
    assert {"paused": 1}[status] == 1
    assert json.dumps([status]) == '["paused"]'
    assert as_json(run_with(status="paused"))["status"] == "paused"
    for again in (pickle.loads(pickle.dumps(status)), copy.copy(status), copy.deepcopy(status)):
        assert (again, type(again), again.is_known) == ("paused", RunStatus, False)
    assert pickle.loads(pickle.dumps(RunStatus.ERROR)) is RunStatus.ERROR
    with pytest.raises(ValueError):
        RunStatus("paused")
    assert "paused" not in [*RunStatus]
    # What a server has called it, it understands.
    assert RunSearchRequest(status=status).to_dict()["status"] == "paused"
    for name in ("PENDING", "lost"):
        member = run_with(status=name).status
        assert (member.value, member.is_known) == (name, False) and member != RunStatus.PENDING
        assert member == RunStatus.from_json(json.dumps(name))
    assert RunStatus.from_json('"success"') is RunStatus.SUCCESS
    for wrong in ("1", "lost", "null"):
        with pytest.raises(ValueError):
            RunStatus.from_json(wrong)


def test_a_model_that_a_user_derives_is_as_strict_and_as_tolerant():
    """Its schema is made here, and those of the models were perhaps made in another test."""

    class Colour(OpenEnum):
        RED = "red"

    class Painted(Run):
        colour: Colour

    class Create(RunCreate):
        pass

    def fault(make: Callable[[], object]) -> tuple[str, str]:
        with pytest.raises(ValidationError) as caught:
            make()
        (only,) = caught.value.errors()
        return str(only["loc"][0]), only["msg"]

    def painted(**changes: object) -> Painted:
        return Painted.from_dict({**RUN, "colour": "red", **changes})

    run = painted(colour="green", created_at="24 Nov 2026 09:30:00 UTC")
    assert (run.colour.value, run.colour.is_known) == ("green", False)
    assert run.created_at == datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc)
    assert painted().colour is Colour.RED
    words = "Input should be a complete date and time"
    assert fault(lambda: painted(created_at=5.5e20)) == ("created_at", words)
    assert fault(lambda: painted(colour=5)) == ("colour", "Input should be a string")
    assert fault(lambda: painted(run_id=5)) == ("run_id", "Input should be a valid string")
    given = {name: getattr(run, name) for name in Run.model_fields if name != "thread_id"}
    assert fault(lambda: Painted(**given, colour="green"))[0] == "colour"
    assert Create(agent_id=UUID(int=0)).agent_id == str(UUID(int=0))
    assert Create.from_dict({"agent_id": "a", "input": {"n": None}}).input == {"n": None}
    words = "Input should be a dict, not str: is it JSON text? Then pass json.loads(…)"
    assert fault(lambda: Create(agent_id="a", input="{}")) == ("input", words)
    assert fault(lambda: Create(agent_id="a", input=[]))[1] == "Input should be a dict, not list"
    assert fault(lambda: Create(agent_id="a", input={1: 2}))[1] == "keys must be str, got int 1"

    class Inner(Model):
        number: int

    class Outer(Model):
        inner: Later = Field(alias="within")

    class Later(Model):
        inner: list[Inner] = Field(alias="among")

    assert not hasattr(Inner.__new__(Inner), "__signature__")  # as in pydantic
    Outer.model_rebuild()
    assert set(inspect.signature(Outer).parameters) == {"within", "extra_data"}
    content = {"within": {"among": [{"number": 1, "news": None}]}}
    outer = Outer.from_dict(content)
    assert outer.inner.inner[0].number == 1
    assert outer.to_dict() == as_json(outer) == content
    del outer.inner.inner[0].news
    content["within"]["among"][0].pop("news")
    assert outer.to_dict() == as_json(outer) == content and Outer.from_dict(outer) is outer
    other = type("Other", (Outer,), {"__module__": __name__}).from_dict(outer)
    assert other.to_dict() == content and type(other) is not Outer
    shown = Painted.model_json_schema()["properties"]
    assert shown["colour"] == {"type": "string", "enum": ["red"], "title": "Colour"}
    assert shown["run_id"]["minLength"] == 1 and shown["created_at"]["format"] == "date-time"


CET = timezone(timedelta(hours=1))
TIMES: dict[Any, datetime | None] = {
    "2026-11-24T09:30:00Z": datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc),
    "2026-11-24T09:30:00.123456+01:00": datetime(2026, 11, 24, 9, 30, 0, 123456, CET),
    "2026-11-24T09:30:00.123456789Z": datetime(2026, 11, 24, 9, 30, 0, 123456, timezone.utc),
    # without a zone
    "2026-11-24T09:30:00": datetime(2026, 11, 24, 9, 30),
    # odd ones
    "Tue, 24 Nov 2026 09:30:00": datetime(2026, 11, 24, 9, 30),
    "Tue Nov 24 09:30:00 2026": datetime(2026, 11, 24, 9, 30),
    "20261124T093000Z": datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc),
    "Tue, 24 Nov 2026 09:30:00 GMT": datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc),
    "2026-11-24 09:30:00 +0100 (CET)": datetime(2026, 11, 24, 9, 30, tzinfo=CET),
    "Tue Nov 24 2026 09:30:00 GMT+0100": datetime(2026, 11, 24, 9, 30, tzinfo=CET),
    "2026-11-24 09:30:00 UTC+1": datetime(2026, 11, 24, 9, 30, tzinfo=CET),
    "2026/11/24 09:30:00".ljust(64): datetime(2026, 11, 24, 9, 30),
    "2026/11/24 09:30:00".ljust(65): None,
    # a zone that has no one meaning
    "Tue, 24 Nov 2026 09:30:00 EST": None,
    "2026-11-24 09:30:00 Europe/Berlin": None,
    "2026-11-24T09:30:00+25:00": None,
    # a part of the date is missing
    "24 Nov 09:30": None,
    "09:30": None,
    "": None,
    # numbers that are no time
    "9" * 250_000: None,
    "9" * 29 + " h": None,
    "1" * 64: None,
    "1." * 32: None,
    # another type
    True: None,
    (): None,
}


@pytest.mark.parametrize(("sent", "expected"), TIMES.items(), ids=lambda value: str(value)[:40])
def test_times_are_read_in_every_format_of_servers(sent, expected):
    if expected is None:
        with pytest.raises(ValidationError) as caught:
            run_with(created_at=sent)
        (fault,) = caught.value.errors()
        assert fault["loc"] == ("created_at",)
        assert fault["msg"] == "Input should be a complete date and time"
    else:
        run = run_with(created_at=sent)
        assert run.created_at == expected
        assert run.created_at.utcoffset() == expected.utcoffset()
        assert Run.from_json(run.to_json()) == run
        assert pickle.loads(pickle.dumps(run)) == run


def test_a_caller_gives_times_as_pydantic_takes_them():
    creation = RunCreate(agent_id="a")
    moment = datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc)
    rest: dict[str, Any] = {"creation": creation, "run_id": "r", "agent_id": "a"}
    run = Run(**rest, created_at=moment, updated_at=TIME, status=RunStatus.ERROR)
    assert run.created_at == run.updated_at == moment
    with pytest.raises(ValidationError):
        Run(**rest, created_at=moment, updated_at="24 Nov 2026", status=RunStatus.ERROR)


@pytest.mark.parametrize(
    ("model", "content"), [(RunResult, RESULT), (RunInterrupt, INTERRUPT), (RunError, ERROR)]
)
def test_a_one_of_in_each_style(model, content):
    instance = model(**content)
    styles = [
        RunOutput(instance),
        RunOutput(actual_instance=instance),
        RunOutput(content),
        RunOutput.from_dict(content),
        RunOutput.from_json(json.dumps(content)),
        RunOutput.model_validate(content),
    ]
    for output in styles:
        assert type(output.actual_instance) is model
        assert output.actual_instance == instance
        assert output.to_dict() == instance.to_dict()
        assert repr(output) == f"RunOutput({instance!r})"
        assert str(output) == str(instance)
    assert RunOutput(instance).actual_instance is instance


def test_a_one_of_says_what_it_can_be_and_takes_another_instance():
    assert RunOutput.one_of_schemas == {"RunResult", "RunInterrupt", "RunError"}
    assert StreamEventPayload.one_of_schemas == {"RunResult", "CustomRunResultUpdate"}
    output = RunOutput.from_dict(RESULT)
    output.actual_instance = RunError.from_dict(ERROR)
    assert output == RunOutput.from_dict(ERROR)
    with pytest.raises(ValidationError):
        output.actual_instance = Thread.from_dict(THREAD)
    assert output == RunOutput.from_dict(ERROR)
    update = CustomRunResultUpdate.from_dict(UPDATE)
    event = RunOutputStream(id="7", data=StreamEventPayload(update))
    assert event == RunOutputStream.from_dict({"id": "7", "event": "agent_event", "data": UPDATE})
    assert event.data.actual_instance == update


def test_a_one_of_takes_one_argument_that_is_one_of_them():
    thread, result = Thread.from_dict(THREAD), RunResult.from_dict(RESULT)
    for wrong in (None, "text", 5, {}, {"type": "novel"}, {"type": "result"}, UPDATE, thread):
        for make in (RunOutput, RunOutput.from_dict, lambda it: RunOutput(actual_instance=it)):
            with pytest.raises(ValidationError):
                make(wrong)
    with pytest.raises(ValidationError, match="'error', 'interrupt', 'result'"):
        RunOutput.from_dict({**RESULT, "type": "novel"})
    for arguments, keywords in [((), {}), ((result, result), {}), ((), {"result": result})]:
        with pytest.raises(TypeError, match="RunOutput takes one argument"):
            RunOutput(*arguments, **keywords)
    with pytest.raises(TypeError):
        RunOutput(result, actual_instance=result)


def test_a_fork_builds_a_model_although_a_thread_of_its_parent_is_building_one():
    script = """
import os, sys, threading, warnings
from acp_client_v0_1 import RunCreate
warnings.simplefilter("ignore")  # CPython 3.12 warns of forks beside threads
building, over = threading.Event(), threading.Event()

def build():
    with sys.modules[RunCreate.__mro__[1].__module__]._building:
        building.set()
        over.wait(30)

threading.Thread(target=build).start()
building.wait()
if os.fork() == 0:
    os._exit(RunCreate(agent_id="a").agent_id != "a")
status = os.wait()[1]
over.set()
raise SystemExit(status)
"""
    printed_by(script)


def test_threads_that_use_a_model_first_at_once_all_have_its_fields():
    """A model is built on first use; each fork has a first use of its own."""
    script = """
import os, sys, threading, pydantic
from acp_client_v0_1.models.run_create import RunCreate
sys.setswitchinterval(1e-6)

def use(gate, good):
    gate.wait()
    created, read = RunCreate(agent_id="a", config=None), RunCreate.from_json('{"agent_id": "b"}')
    if not created.model_extra and created.to_json() == '{"agent_id":"a"}' and read.agent_id == "b":
        good.append(created)

for fork in range(10):
    if os.fork() == 0:
        gate, good = threading.Barrier(12), []
        threads = [threading.Thread(target=use, args=(gate, good)) for _ in range(12)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        os._exit(len(good) != 12)
    assert os.wait()[1] == 0
"""
    printed_by(script)
