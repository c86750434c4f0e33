"""openapi.yaml and the models say what the protocol says, which stands here in full, as tables.

Notation: ``name*`` is required; ``1..1000 = 10`` are bounds and a default; ``[X]`` is a list of X;
``"x"`` is a constant; ``a | b`` are the values of an enum, or the models of a oneOf.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from acp_client_v0_1 import _contract, models

CONTRACT = yaml.safe_load((Path(__file__).parent.parent.parent / "openapi.yaml").read_text("utf-8"))

OPERATIONS = """
Runs    create_run               POST   /runs                           RunCreate           Run                  404 409 422
Runs    search_runs              POST   /runs/search                    RunSearchRequest    [Run]                422
Runs    get_run                  GET    /runs/{run_id}                  -                   Run                  404 409 422
Runs    resume_run               POST   /runs/{run_id}                  object              Run                  404 409 422
Runs    delete_run               DELETE /runs/{run_id}                  -                   Run                  404 409 422
Runs    get_run_output           GET    /runs/{run_id}/output           -                   RunOutput            204 404 409 422
Runs    get_run_stream           GET    /runs/{run_id}/stream           -                   RunOutputStream      204 404 409 422
Agents  search_agents            POST   /agents/search                  AgentSearchRequest  [Agent]              422
Agents  get_agent_by_id          GET    /agents/{agent_id}              -                   Agent                404 422
Agents  get_acp_descriptor_by_id GET    /agents/{agent_id}/descriptor   -                   AgentACPDescriptor   404 422
Threads create_thread            POST   /threads                        ThreadCreate        Thread               404 409 422
Threads search_threads           POST   /threads/search                 ThreadSearchRequest [Thread]             422
Threads get_thread               GET    /threads/{thread_id}            -                   Thread               404 409 422
Threads delete_thread            DELETE /threads/{thread_id}            -                   Thread               404 409 422
Threads get_thread_state         GET    /threads/{thread_id}/state      -                   object               404 409 422
Threads get_thread_history       GET    /threads/{thread_id}/history    -                   [Run]                404 409 422
Threads get_run_threadstate      GET    /runs/{run_id}/threadstate      -                   object               404 409 422
"""  # noqa: E501

SCHEMAS = """
RunCreate: agent_id* str; thread_id str; input object; metadata object; config object; webhook uri; streaming StreamingMode
Run: creation* RunCreate; run_id* str; agent_id* str; thread_id str; created_at* date-time; updated_at* date-time; status* RunStatus
RunStatus: pending | error | success | timeout | interrupted
StreamingMode: result | custom
RunSearchRequest: agent_id str; status RunStatus; metadata object; limit int 1..1000 = 10; offset int 0.. = 0
RunOutput: error RunError | interrupt RunInterrupt | result RunResult
RunResult: type* "result"; run_id* str; status* RunStatus; result* object
RunInterrupt: type* "interrupt"; interrupt* object
RunError: type* "error"; run_id* str; errcode* int; description* str
RunOutputStream: id* str; event* "agent_event"; data* StreamEventPayload
StreamEventPayload: custom CustomRunResultUpdate | result RunResult
CustomRunResultUpdate: type* "custom"; run_id* str; status* RunStatus; update* object
Agent: agent_id* str; metadata* AgentMetadata
AgentMetadata: ref* AgentRef; description* str
AgentRef: name* str; version* str; url uri
AgentACPDescriptor: metadata* AgentMetadata; specs* AgentACPSpec
AgentACPSpec: capabilities* AgentCapabilities; input* object; output* object; config* object; custom_streaming_update object; thread_state object; interrupts [AgentACPSpecInterruptsInner]
AgentCapabilities: threads bool = False; interrupts bool = False; callbacks bool = False; streaming StreamingModes
StreamingModes: result bool; custom bool
AgentACPSpecInterruptsInner: interrupt_type* str; interrupt_payload* object; resume_payload* object
AgentSearchRequest: name str; version str; limit int 1..1000 = 10; offset int 0.. = 0
Thread: thread_id* str; agent_id* str; metadata object
ThreadCreate: agent_id* str; metadata object
ThreadSearchRequest: agent_id str; metadata object; limit int 1..1000 = 10; offset int 0.. = 0
"""  # noqa: E501

ENDED = {"error", "success", "timeout"}

ROWS = [line.split() for line in OPERATIONS.strip().splitlines()]
NAMES = dict(line.split(": ", 1) for line in SCHEMAS.strip().splitlines())
JSON_NAMES = {"string": "str", "integer": "int", "boolean": "bool", "object": "object"}


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """What a reference inside the contract points at."""
    while "$ref" in part:
        _, *path = part["$ref"].split("/")
        part = CONTRACT
        for key in path:
            part = part[key]
    return part


def kind(schema: dict[str, Any]) -> str:
    """A type in the notation of the tables."""
    if "anyOf" in schema:  # of a model, whose optional fields may be null
        (schema,) = (choice for choice in schema["anyOf"] if choice.get("type") != "null")
    if "enum" in schema:  # of a model, whose enums stand in it
        return str(schema["title"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"[{kind(schema['items'])}]"
    if "const" in schema:
        return f'"{schema["const"]}"'
    name = schema.get("format") or JSON_NAMES[schema["type"]]
    if {"minimum", "maximum"} & schema.keys():
        name += f" {schema['minimum']}..{schema.get('maximum', '')}"
    return str(name)


def written(schema: dict[str, Any]) -> str:
    """A schema in the notation of the tables."""
    if "enum" in schema:
        return " | ".join(schema["enum"])
    if "oneOf" in schema:
        mapping = schema["discriminator"]["mapping"]
        assert {choice["$ref"] for choice in schema["oneOf"]} == set(mapping.values())
        assert schema["discriminator"]["propertyName"] == "type"
        return " | ".join(f"{tag} {kind({'$ref': mapping[tag]})}" for tag in sorted(mapping))
    assert schema["type"] == "object"
    return "; ".join(
        name
        + ("*" if name in schema.get("required", ()) else "")
        + f" {kind(value)}"
        + (f" = {value['default']}" if value.get("default") is not None else "")
        for name, value in schema["properties"].items()
    )


def schema_of(content: dict[str, Any], media_type: str = "application/json") -> str:
    (only,) = content.items()
    assert only[0] == media_type
    return kind(only[1]["schema"])


def test_there_is_no_other_schema_model_or_operation():
    schemas = CONTRACT["components"]["schemas"]
    assert schemas.keys() == {*NAMES, "ErrorResponse"}
    assert schemas["ErrorResponse"]["type"] == "string"
    assert set(models.__all__) == NAMES.keys()
    items = CONTRACT["paths"].items()
    declared = {(method.upper(), path) for path, item in items for method in item}
    assert declared == {(row[2], row[3]) for row in ROWS}


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_of_openapi_yaml_and_its_model(name):
    assert written(CONTRACT["components"]["schemas"][name]) == NAMES[name]
    schema = TypeAdapter(getattr(models, name)).json_schema()
    for key, value in schema.get("properties", {}).items():
        if "const" in value:  # which a constructor need not be given, but is always there
            schema["required"] = [*schema.get("required", ()), key]
            del value["default"]
    assert written(schema) == NAMES[name].replace(" uri", " str")


def test_the_statuses_and_operations_that_the_rooms_share():
    assert " | ".join(_contract.STATUSES) == NAMES["RunStatus"]
    assert (ENDED, ENDED | {"interrupted"}) == (_contract.FINAL, _contract.WITH_OUTPUT)
    assert {row[1]: (f"{row[0]}Api", row[2], row[3]) for row in ROWS} == _contract.OPERATIONS


def test_the_script_of_types_calls_every_operation():
    script = Path(__file__).parent.parent / "typing" / "every_operation.py"
    called = set(re.findall(r"\bapi\.(\w+)\(", script.read_text("utf-8")))
    assert {row[1] for row in ROWS} <= called


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_an_operation_of_openapi_yaml(row):
    tag, name, method, path, body, returned, *statuses = row
    operation = CONTRACT["paths"][path][method.lower()]
    assert (operation["operationId"], operation["tags"]) == (name, [tag])
    assert operation["responses"].keys() == {"200", *statuses}

    streams = name == "get_run_stream"
    media_type = "text/event-stream" if streams else "application/json"
    responses = {code: resolved(each) for code, each in operation["responses"].items()}
    assert schema_of(responses["200"]["content"], media_type) == returned
    for code in statuses:
        if code == "204":
            assert "content" not in responses[code]
        else:
            assert schema_of(responses[code]["content"]) == "ErrorResponse"

    if body == "-":
        assert "requestBody" not in operation
    else:
        assert operation["requestBody"]["required"] is True
        assert schema_of(operation["requestBody"]["content"]) == body

    wanted = [("path", part[1:-1], True, "str") for part in path.split("/") if part[:1] == "{"]
    if name == "get_run_output":
        wanted.append(("query", "block_timeout", False, "int 0.."))
    parameters = [resolved(parameter) for parameter in operation.get("parameters", [])]
    assert wanted == [
        (each["in"], each["name"], each.get("required", False), kind(each["schema"]))
        for each in parameters
    ]

    # What the templates need to know besides.
    assert operation.get("x-safe", False) == (method == "GET" or path.endswith("/search"))
    assert operation.get("x-streaming", False) == streams
    assert operation.get("x-empty-on-204", False) == ("204" in statuses and not streams)
    windows = [each["name"] for each in parameters if each.get("x-block-window")]
    assert windows == (["block_timeout"] if name == "get_run_output" else [])
    (sample,) = operation["x-codeSamples"]
    assert f"api_instance.{name}(" in sample["source"]


def test_version_security_and_callback():
    assert CONTRACT["openapi"].startswith("3.1.")
    assert CONTRACT["info"]["version"] == "0.1"
    assert "security" not in CONTRACT
    assert "securitySchemes" not in CONTRACT["components"]
    operations = [each for item in CONTRACT["paths"].values() for each in item.values()]
    (create,) = (each for each in operations if "callbacks" in each)
    assert create["operationId"] == "create_run"
    (called,) = create["callbacks"]["runstatuschange"].items()
    assert called[0] == "{$request.body#/webhook}"
    assert called[1].keys() == {"post"}
    assert schema_of(called[1]["post"]["requestBody"]["content"]) == "Run"
    assert called[1]["post"]["responses"].keys() == {"200"}
