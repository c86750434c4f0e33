"""What the speed of a call rests on, so that its loss fails here, on any machine.

No JSON of Python's own, adapters and schemas that are built once and late, and no copy of the
content. How fast that is, `make bench` measures.
"""

import json
import os
import sys
from types import FrameType
from typing import Any

import pytest
from pydantic import TypeAdapter
from support.costs import Memory
from support.examples import RESULT, RUN, UPDATE
from support.forks import printed_by
from support.moments import Moment
from support.parts import CREATE_RUN, OpenEnum
from support.socket_server import Request, response, serve_each
from support.transport import serving

import acp_client_v0_1
import acp_client_v0_1 as acp

PACKAGE = os.path.dirname(acp_client_v0_1.__file__)
EVENT = b"id: 1\nevent: agent_event\ndata: %b\n\n" % json.dumps(UPDATE).encode()
STREAM = response(EVENT * 3, content_type="text/event-stream")
DEEP = acp.RunCreate(agent_id="a", input={"a": [{"b": [1, None, "x", 1.5, True, []]}], "c": {}})
for _ in range(190):
    DEEP.input = {"a": DEEP.input}


def responding(content: object) -> bytes:
    return response(json.dumps(content).encode())


def refuse(*arguments: object, **options: object) -> Any:
    raise AssertionError("what is slow was used")


def test_no_json_of_pythons_own_is_used_and_no_adapter_is_built_twice(monkeypatch):
    with serving(*[*map(responding, (RUN, [RUN], RESULT, RUN)), STREAM] * 2) as (_, client):
        for name in ("loads", "dumps"):
            monkeypatch.setattr(json, name, refuse)
        monkeypatch.setattr(json.JSONDecoder, "decode", refuse)
        monkeypatch.setattr(json.JSONEncoder, "encode", refuse)
        api = acp.RunsApi(client)
        for _ in range(2):
            assert api.create_run(acp.RunCreate(agent_id="a", input={"x": 1})).run_id == "r1"
            assert len(api.search_runs(acp.RunSearchRequest())) == 1
            assert api.get_run_output("r") is not None
            assert api.get_run("r").run_id == "r1"
            with api.get_run_stream("r") as stream:
                assert len(list(stream)) == 3
            monkeypatch.setattr(TypeAdapter, "__init__", refuse)


def test_no_schema_is_built_on_import_and_none_is_built_again():
    script = """
import pydantic, acp_client_v0_1 as a
models = [getattr(a, name) for name in a.models.__all__]
models = [model for model in models if issubclass(model, pydantic.BaseModel)]
assert len(models) > 15
assert not [model.__name__ for model in models if model.__pydantic_complete__]
text = '{"agent_id": "a"}'
a.RunCreate.from_json(text)
first = a.RunCreate.__pydantic_validator__
for _ in range(3):
    a.RunCreate.from_json(text)
    a.RunCreate(agent_id="a").to_json()
assert a.RunCreate.__pydantic_validator__ is first
"""
    printed_by(script)


def test_the_check_of_a_flat_input_ends_with_its_last_level():
    create = acp.RunCreate(agent_id="a", input={"question": "why?"})
    with Moment(0, [os.path.join(PACKAGE, "_schema", "free_json.py")]) as moment:
        CREATE_RUN.bind((create,))
    assert 0 < moment.steps < 1_000  # all 197 levels would take over 3,000


@pytest.mark.parametrize(
    ("call", "contents", "most"),
    [
        (lambda client: acp.RunsApi(client).get_run("r1"), (RUN,), 80),
        # Content that is plain is walked by none of the checks that are slow.
        (lambda client: acp.RunsApi(client).create_run(DEEP), (RUN,), 90),
        (lambda client: acp.RunHandle("r1", client).result(), (RESULT,), 125),
        (lambda client: acp.AgentHandle("a1", client).run({"a": 1}), (RUN, RESULT), 260),
    ],
    ids=["get_run", "a create", "a handle and its result", "an agent and its run"],
)
def test_a_call_takes_no_more_python_calls_than_agreed_and_writes_its_request_at_once(
    call, contents, most
):
    """A read that finds nothing, or a check made twice, would cost every user of the client.

    Each limit leaves room for a few calls more, so that a function may be split.
    """
    calls, names = 0, set[str]()

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        names.add(getattr(argument, "__name__", "") if event == "c_call" else "")
        calls += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    def respond(request: Request) -> bytes:
        """Respond with the next content. A created run shows its create."""
        content = next(responses)
        if request.method == "POST" and b'"metadata"' in request.body:
            content = {**content, "creation": json.loads(request.body)}
        return responding(content)

    before, responses = sys.getprofile(), iter(contents * 3)
    with serving(handler=serve_each(respond)) as (_, client):
        # What is loaded or built late comes with the first two calls.
        call(client)
        call(client)
        try:
            sys.setprofile(count)
            call(client)
        finally:
            sys.setprofile(before)
    assert 0 < calls <= most
    assert names & {"write", "sendall"} == {"write"}  # sendall() would poll the socket before


def test_a_time_and_a_status_of_the_contract_are_read_by_pydantic_core_alone(monkeypatch):
    class Own(acp.Run):
        """Its schema is made here."""

    called: list[str] = []

    class Known(OpenEnum):
        A = "a"
        _received = staticmethod(called.append)  # type: ignore[assignment]

    monkeypatch.setattr("dateutil.parser.parse", lambda *_, **__: called.append("dateutil"))
    assert Own.from_dict(RUN).updated_at.second == 1
    assert Known.from_json('"a"') is Known.A and not called


def test_an_operation_is_found_by_its_identity():
    """The adapter of its response is looked up in each call; a hash of its fields takes longer."""
    assert type(CREATE_RUN).__hash__ is object.__hash__


def test_encoding_makes_no_copy_of_the_content():
    """No dictionaries in between, which would take several times as much, nor another text."""
    items = [{"number": number, "text": "some words"} for number in range(3000)]
    creation = acp.RunCreate(agent_id="a", input={"items": items})
    content = CREATE_RUN.bind((creation,)).body
    assert content is not None
    with Memory() as memory:
        CREATE_RUN.bind((creation,))
    assert memory.peak < 1.5 * len(content)
