"""Whatever a server chose, what is said of it is one short line that a terminal can show.

Each test finds its subjects by walking through the package, so that a new error, logger or `repr`
is covered, or named by a failure.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import pickle
import pkgutil
import shlex
import sys
import traceback
import typing
import warnings
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import ValidationError
from support.parts import RequestHeaders
from support.serving import a_run, check
from support.socket_server import SocketServer, response

import acp_client_v0_1
import acp_client_v0_1 as acp
from acp_client_v0_1.handles.conversation import Conversation
from acp_client_v0_1.handles.events import RunEvents
from acp_client_v0_1.rest import RESTResponse

# A colour, a cleared screen, a command, a faked line, text from right to left, half a pair, C1.
MARKS = "\x1b[2J\x1b]0;t\x07x;touch${IFS}F`id`$(id) \r\n\tERROR fake\u2028\u202e\ud800\x9b\x00"
HOSTILE = MARKS + "A" * 100_000
LONGEST = 1_200  # characters


def check_line(text: str, longest: int = LONGEST) -> None:
    assert text.isprintable(), ascii(text[:300])
    assert len(text) <= longest, (len(text), text[:300])


MODULES: list[Any] = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(acp_client_v0_1.__path__, "acp_client_v0_1.")
    if not module.name.endswith(("__main__", "pytest_plugin", "responses_bridge"))
]


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for each in kind.__subclasses__():
        if each.__module__.startswith("acp_client_v0_1"):
            yield from () if each.__name__.startswith("_") else (each,)
            yield from subclasses(each)


def question() -> acp.PendingInterrupt:
    return acp.PendingInterrupt(HOSTILE, {HOSTILE: HOSTILE}, HOSTILE, datetime.now(timezone.utc))


class Response:
    status, reason, url = 404, HOSTILE, f"http://h/runs/{HOSTILE}"
    method, ambiguous, attempts, credentials, elapsed = "POST", True, 3, None, 1.0
    headers: typing.ClassVar = dict.fromkeys(("location", "retry-after", "x-request-id"), HOSTILE)


def hostile(hint: Any) -> Any:
    """A value of a parameter's type, with hostile text wherever it has a text."""
    if "PendingInterrupt" in str(hint):
        return question()
    if "Response" in str(hint):
        return Response()
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    for kind, value in ((bool, True), (int, 404), (float, 1.5)):
        if hint is kind or get_args(hint) == (kind, type(None)):
            return value
    text = str(hint)
    if "Mapping" in text:
        return Response.headers
    if "tuple[str, str]" in text:
        return [(HOSTILE, HOSTILE)] * 9
    if "Sequence" in text:
        return [HOSTILE] * 9
    return None if "type" in text else HOSTILE


def made(kind: type[acp.OpenApiException]) -> acp.OpenApiException:
    namespace = {**vars(typing), **vars(acp_client_v0_1._errors), "Any": Any}
    namespace["PendingInterrupt"] = acp.PendingInterrupt
    constructor: Any = kind.__init__
    namespace.update(vars(sys.modules[constructor.__module__]), **constructor.__globals__)
    hints = typing.get_type_hints(constructor, namespace)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in list(inspect.signature(constructor).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional.append(HOSTILE)
        elif parameter.kind is parameter.VAR_KEYWORD:
            named.update(status=404, headers=Response.headers, body=HOSTILE, method="GET")
            named.update(url=f"http://h/{HOSTILE}")
        elif parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = hostile(hints[parameter.name])
        else:
            positional.append(hostile(hints[parameter.name]))
    return kind(*positional, **named)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", list(dict.fromkeys(subclasses(acp.OpenApiException))), ids=lambda kind: kind.__name__
)
def test_every_error_is_one_short_line(kind):
    error = made(kind)
    for each in (error, pickle.loads(pickle.dumps(error))):
        check_line(str(each))
        check_line(repr(each))
        check_line("".join(map(str, each.args)))


def test_the_advice_comes_after_an_id_of_any_length():
    gone = acp_client_v0_1.RunGone(run_id=HOSTILE, token="", server="http://h")
    assert str(gone).endswith("start a new run, or check host")


def test_every_log_record_is_one_short_line(caplog):
    values = [value for module in MODULES for value in vars(module).values()]
    loggers = {value for value in values if isinstance(value, logging.Logger)}
    assert len(loggers) >= 5
    with caplog.at_level(logging.DEBUG, "acp_client_v0_1"):
        for logger in loggers:
            error = acp.ApiException(reason=HOSTILE)
            logger.warning("%s: %s; asking again for up to %.0f s", HOSTILE[:100], error, 2.5)
            logger.warning("after %d failures: %s", 7, {HOSTILE: HOSTILE})
    assert len(caplog.records) == 2 * len(loggers)
    for record in caplog.records:
        check_line(record.getMessage())


def run_of(status: str = "success") -> acp.Run:
    creation = {"agent_id": HOSTILE, "input": {HOSTILE: HOSTILE}}
    ids = {"run_id": HOSTILE, "agent_id": HOSTILE, "thread_id": HOSTILE, "creation": creation}
    return acp.Run.from_json(json.dumps(a_run(status, **ids)))


def agent_of(agent_id: str = HOSTILE) -> acp.Agent:
    reference = {"name": HOSTILE, "version": HOSTILE}
    about = {"ref": reference, "description": HOSTILE}
    return acp.Agent.from_json(json.dumps({"agent_id": agent_id, "metadata": about}))


def unstarted(kind: type[Any], **attributes: Any) -> Any:
    made: Any = object.__new__(kind)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def objects(client: acp.ApiClient) -> Iterator[object]:
    run = acp.RunHandle("r", client)
    core = run._core
    core.run_id = HOSTILE  # which no call takes
    yield run
    core.note(run_of(HOSTILE))
    yield run
    handle = acp.AgentHandle("agent", client)
    handle._agent.note(agent_of())
    vars(handle)["agent_id"] = HOSTILE
    yield handle
    yield unstarted(Conversation, thread_id=HOSTILE)
    yield unstarted(RunEvents, _core=core, last_event_id=HOSTILE, ended_by="result")
    yield client
    yield acp.RunsApi(client)
    yield client.configuration
    yield RequestHeaders({f"a{n}": HOSTILE for n in range(1000)})
    yield acp.ApiException(reason=HOSTILE)
    with handle.map([]) as batch:
        yield batch
    yield unstarted(RESTResponse, status=200, reason=HOSTILE, method="GET")
    named = MARKS.encode("utf-8", "replace").translate(None, b"\r\n\x00") + b"A" * 100_000
    body = b"id: " + named + b"\ndata: {}\n\n"
    with (
        SocketServer(response(body, content_type="text/event-stream")) as server,
        acp.ApiClient(acp.Configuration(host=server.url)) as other,
        acp.RunsApi(other).get_run_stream("r") as stream,
    ):
        assert next(stream.raw_events()).id
        yield stream


def written_by_hand() -> set[type]:
    """The classes of the package that have a `__repr__` of their own."""
    kinds = {each for module in MODULES for each in vars(module).values() if isinstance(each, type)}
    own = {kind: getattr(vars(kind).get("__repr__"), "__code__", None) for kind in kinds}
    return {kind for kind, code in own.items() if code and "acp_client_v0_1" in code.co_filename}


@pytest.mark.slow
def test_every_repr_is_one_short_line(client):
    left = written_by_hand()
    assert len(left) > 8
    for each in objects(client):
        check_line(repr(each))
        left -= set(type(each).__mro__)
    assert not left, "add an object of these to `objects`"


RESULT = {"type": "result", "run_id": HOSTILE, "status": HOSTILE, "result": {HOSTILE: HOSTILE}}


@pytest.mark.slow
def test_the_repr_of_plain_data_is_one_line(client):
    """Models, events and questions show all that they have."""
    run = run_of(HOSTILE)
    output = acp.RunOutput.from_json(json.dumps(RESULT))
    for each in (run, run.status, agent_of(), output, question(), acp.RunEvent(HOSTILE, output)):  # type: ignore[arg-type]
        check_line(repr(each), 10 * len(HOSTILE))


SCHEMAS: list[Any] = [
    {"required": [HOSTILE]},
    {"title": HOSTILE, "description": HOSTILE, "type": "integer"},
    {"enum": [HOSTILE]},
    {"const": HOSTILE},
    {"properties": {"a": {"pattern": MARKS.replace("\ud800", "") + "b"}}},
    {"properties": {"a": {"pattern": f"({HOSTILE}"}}},
    {"properties": {"a": {"pattern": f"(?=)({MARKS}"}}},
    {"type": HOSTILE},
    {"$ref": HOSTILE},
    {"$ref": f"#/{HOSTILE}"},
    {"$ref": f"http://h/{HOSTILE}"},
    {"$schema": f"http://h/{HOSTILE}"},
    {"$id": HOSTILE, "minimum": HOSTILE},
    {"properties": {"a": {"format": HOSTILE, "minLength": 10**6}}},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_is_said_of_a_schema_is_one_short_line(schema):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check("input", {"a": "b" * 1_000_000}, schema)
        except acp.ApiValueError as error:
            check_line(str(error))
            for _, words in error.faults if isinstance(error, acp.SchemaMismatch) else ():
                check_line(words)
        else:
            assert caught
    for warning in caught:
        check_line(str(warning.message))


@pytest.mark.slow
def test_what_is_said_of_an_agent_is_one_short_line(client, monkeypatch, recwarn):
    page = [agent_of(), agent_of("other")]
    monkeypatch.setattr(acp_client_v0_1.AgentsApi, "search_agents", lambda *a, **k: page)
    for name in ("a", HOSTILE, HOSTILE[:-1]):
        with pytest.raises(acp.AgentLookupError) as caught:
            acp.AgentHandle.find(name, api_client=client)
        assert len(caught.value.candidates) == 2
        check_line(str(caught.value))
        check_line(repr(caught.value))


@pytest.mark.parametrize("stream", [False, True], ids=["output", "stream"])
def test_a_traceback_shows_the_type_of_an_output_in_its_line(serve, stream):
    output = json.dumps({"type": MARKS.replace("\ud800", ""), "run_id": "r"})
    event = f"event: agent_event\ndata: {output}\n\n".encode()
    streamed = response(event, content_type="text/event-stream")
    _, client = serve(streamed if stream else response(output.encode()))
    call = acp.RunsApi(client).get_run_stream if stream else acp.RunsApi(client).get_run_output
    with pytest.raises(acp.ApiException) as caught:
        list(call("r"))
    lines = "".join(traceback.format_exception(caught.value)).split("\n")
    assert all(line.isprintable() and not line.startswith("ERROR") for line in lines)
    assert isinstance(caught.value.__cause__, ValidationError)


@pytest.mark.parametrize(
    "run_id", [f"x;touch${{IFS}}{'A' * 20}", "--answer-command=id", MARKS.replace("\ud800", "")]
)
def test_the_note_on_a_foreign_exception_can_be_pasted(serve, run_id, caplog):
    def interrupt(elapsed: float, status: acp.RunStatus) -> None:
        raise KeyboardInterrupt

    _, client = serve(response(status=204))
    run = acp.RunHandle(run_id, client)
    with pytest.raises(KeyboardInterrupt) as caught:
        run.output(on_pending=interrupt, every=0.01)
    notes = getattr(caught.value, "__notes__", None) or [caplog.records[-1].getMessage()]
    check_line(notes[0])
    command = shlex.split(notes[0].split("`")[-2])
    assert command == ["acp-client", "wait", run.token()]
    assert acp.RunHandle.from_token(command[2], client).run_id == run_id
