"""Importing the package is almost free, and its names load when they are first used.

What an import loads can only be seen in a process that has imported nothing yet, so these tests
run small scripts.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import acp_client_v0_1

HEAVY = {"pydantic", "pydantic_core", "urllib3", "dateutil", "ssl", "http.client"}
TESTING = {"starlette", "uvicorn", "sse_starlette", "acp_client_v0_1.testing"}

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(acp_client_v0_1.__path__, "acp_client_v0_1.")
    if not module.name.startswith("acp_client_v0_1.testing")
    and not any(part.startswith("_") for part in module.name.split("."))
)


def loaded_by(script: str) -> set[str]:
    """The modules that a new interpreter has loaded after a script."""
    report = f"{script}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    outcome = subprocess.run(
        [sys.executable, "-W", "error", "-c", report],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert outcome.returncode == 0, outcome.stderr
    return set(json.loads(outcome.stdout.splitlines()[-1]))


def test_importing_the_package_loads_next_to_nothing() -> None:
    loaded = loaded_by("import acp_client_v0_1")
    assert loaded & (HEAVY | TESTING) == set()
    inside = {name for name in loaded if name.startswith("acp_client_v0_1")}
    assert inside == {"acp_client_v0_1", "acp_client_v0_1._lazy", "acp_client_v0_1._version"}


def test_a_model_loads_no_transport() -> None:
    loaded = loaded_by("from acp_client_v0_1 import RunCreate; RunCreate(agent_id='a')")
    assert "pydantic" in loaded
    assert not loaded & {"urllib3", "acp_client_v0_1.rest", "acp_client_v0_1.api_client"}


def test_the_parser_loads_no_transport_and_no_models() -> None:
    loaded = loaded_by("from acp_client_v0_1.streaming import SSEParser; SSEParser()")
    assert not {name for name in loaded if name.startswith("acp_client_v0_1.models")}
    assert not loaded & {"acp_client_v0_1.rest", "acp_client_v0_1.api_client"}


def test_nothing_public_loads_the_local_server() -> None:
    every_name = "import acp_client_v0_1 as a\nfor name in a.__all__: getattr(a, name)"
    every_module = "".join(f"\nimport {name}" for name in MODULES)
    assert not loaded_by(every_name + every_module) & TESTING


@pytest.mark.parametrize("name", MODULES)
def test_each_module_can_be_imported_first(name: str) -> None:
    loaded_by(f"import {name}")


@pytest.mark.parametrize("name", ["acp_client_v0_1", *MODULES])
def test_all_says_what_a_module_exports(name: str) -> None:
    module = importlib.import_module(name)
    exported = module.__all__
    assert len(exported) == len(set(exported))
    for export in exported:
        assert getattr(module, export) is not None
    assert defined_in(module) <= set(exported)


def defined_in(module: ModuleType) -> set[str]:
    """The public classes and functions whose home is this module."""
    return {
        name
        for name, value in vars(module).items()
        if name.isidentifier()  # pydantic keeps the classes of generic models under their types
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        if callable(value)
    }


def test_names_become_ordinary_attributes_and_unknown_ones_are_refused() -> None:
    script = """
import acp_client_v0_1 as a
assert "Run" in dir(a) and "Run" not in vars(a)
assert a.Run is a.Run and "Run" in vars(a)
assert a.Run is __import__("acp_client_v0_1.models.run", fromlist=["Run"]).Run
try:
    a.Rum
except AttributeError as error:
    assert "Rum" in str(error)
else:
    raise SystemExit("no AttributeError")
"""
    loaded_by(script)


def test_submodules_are_reachable_without_importing_them() -> None:
    loaded_by(
        "import acp_client_v0_1 as a\n"
        "a.rest.ApiException; a.exceptions.ApiException; a.models.Run; a.api.RunsApi\n"
    )
