"""`acp-client models`: a module of pydantic models that a checker reads and a typed handle uses."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.commands import KEY, acp, data

import acp_client_v0_1
from acp_client_v0_1.testing import AgentDefinition, InterruptSpec, LocalServer
from acp_client_v0_1.testing.builtin import BUILTIN_AGENTS


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def names(text: str) -> list[str]:
    return [each.name for each in ast.parse(text).body if isinstance(each, ast.ClassDef)]


@pytest.mark.slow
def test_the_models_of_each_agent_are_read_by_mypy_and_used_by_a_typed_handle(
    server, inside, folder
):
    script = ["from acp_client_v0_1 import AgentHandle", "", "agent = AgentHandle('a')"]
    for agent in BUILTIN_AGENTS:
        name, kind = agent.name, agent.name.capitalize()
        (folder / f"{name}.py").write_text(inside(server, "models", name).stdout, "utf-8")
        script.append(f"from {name} import {kind}Input, {kind}Output")
        script.append(f"reveal_type(agent.typed({kind}Input, {kind}Output).run({kind}Input()))")
    script.append("CounterInput(count='three')")
    (folder / "use.py").write_text("\n".join(script), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", sys.executable, "use.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.findall(r'type is "(\w+)\.(\w+)"', done.stdout) == [
        (agent.name, f"{agent.name.capitalize()}Output") for agent in BUILTIN_AGENTS
    ], done.stdout
    # The last line of the script is the only one that is wrong.
    assert done.stdout.count("error:") == 1
    configuration = acp_client_v0_1.Configuration(server.url, api_key={"x-api-key": KEY})
    with acp_client_v0_1.ApiClient(configuration) as client:
        counter = load(folder / "counter.py")
        agent = acp_client_v0_1.AgentHandle.find("counter", client)
        typed = agent.typed(counter.CounterInput, counter.CounterOutput)
        assert typed.run(counter.CounterInput(count=2)) == counter.CounterOutput(count=2, of=2)
        # The interval that was not set is not sent: the agent wants a number.
        assert server.runs[-1]["creation"]["input"] == {"count": 2}
        echo = load(folder / "echo.py")
        typed = acp_client_v0_1.AgentHandle.find("echo", client).typed(
            echo.EchoInput, echo.EchoOutput
        )
        assert typed.run({"any": "member"}).any == "member"


def test_each_schema_has_a_class_that_is_named_after_the_agent(server, inside):
    assert names(inside(server, "models", "approval").stdout) == [
        "ApprovalInput",
        "ApprovalOutput",
        "ApprovalConfig",
        "ApprovalApprovalQuestion",
        "ApprovalApprovalAnswer",
    ]
    assert names(inside(server, "models", "counter").stdout)[-1] == "CounterUpdate"
    shown = data(inside(server, "describe", "counter", "--schema", "update"))
    assert shown["properties"].keys() == {"count", "of"}


def test_without_the_generator_one_line_names_the_extra(server, tmp_path):
    (tmp_path / "datamodel_code_generator.py").write_text("raise ImportError('not here')", "utf-8")
    done = acp(server, "models", "echo", more={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "acp-client-v0-1[codegen]" in done.stderr


EVIL = '"""\nimport os\nos.system("touch stolen")\n"""'


@pytest.mark.parametrize("agent", [EVIL, "os.system('touch stolen')", "7 up", "é"])
def test_no_text_of_a_schema_becomes_code(inside, folder, agent):
    schema: dict[str, Any] = {
        "type": "object",
        "title": EVIL,
        "description": EVIL,
        "$id": "http://127.0.0.1:9/schema",
        "x-python-type": "os.system('touch stolen')",
        "customBasePath": "os.system",
        "properties": {
            EVIL: {"type": "string", "description": EVIL, "default": EVIL},
            "class": {"type": "string", "customTypePath": "os.system"},
            "customTypePath": {"type": "integer"},
            "x-python-type": {"enum": [EVIL, "b"]},
            "model_config": {"const": EVIL},
            "nested": {"type": "object", "title": EVIL, "properties": {"import": {}}},
            "again": {"$ref": "#"},
            "other": {"$ref": "#/$defs/os.system('touch stolen')"},
            "pattern": {"type": "string", "pattern": EVIL},
        },
        "$defs": {"os.system('touch stolen')": {"type": "object", "properties": {"$ref": {}}}},
    }
    asks = [InterruptSpec(EVIL, schema, schema), InterruptSpec(f"{EVIL} ", schema, schema)]
    with LocalServer([], api_key={"x-api-key": KEY}) as server:
        function: Any = lambda *given: {}  # noqa: E731
        server.register(
            AgentDefinition(function=function, name=agent, input=schema, output=schema),
            agent_id="a",
            interrupts=asks,
        )
        text = inside(server, "models", "a").stdout
    (folder / "evil.py").write_text(text, "utf-8")
    tree = ast.parse(text)
    assert not [each for each in ast.walk(tree) if isinstance(each, ast.Name) and each.id == "os"]
    imported = {each.module for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}
    assert imported <= {"__future__", "typing", "pydantic"}
    assert not any(isinstance(each, ast.Import) for each in ast.walk(tree))
    module = load(folder / "evil.py")
    (kind,) = [getattr(module, each) for each in names(text) if each.endswith("Input")]
    given = {EVIL: "text", "customTypePath": 1, "again": {"class": "c"}}
    sent = kind.model_validate(given).model_dump(by_alias=True, exclude_unset=True)
    assert sent == given
    assert not (folder / "stolen").exists()
    assert len(names(text)) == len(set(names(text)))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}}, "nothing is fetched"),
        ({"properties": {"a": {"$ref": "/etc/passwd"}}}, "nothing is fetched"),
        ({"items": [{"$ref": "other.json#/x"}]}, "nothing is fetched"),
        ({"$ref": "#/$defs/nothing"}, "which it does not have"),
        ({"allOf": 5}, "gives no models"),
    ],
)
def test_what_cannot_become_a_model_is_an_error_that_names_the_schema(inside, schema, words):
    with LocalServer([], api_key={"x-api-key": KEY}) as server:
        server.register(lambda *given: {}, name="odd", output=schema)
        done = inside(server, "models", "odd")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the output schema" in done.stderr and words in done.stderr
    assert done.stderr.count("\n") == 1
