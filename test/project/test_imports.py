"""Importing the package is almost free, and its names load when they are first used.

What an import loads can only be seen in a process that has imported nothing yet, so these tests
run small scripts. What is not run (the names that type checkers see, and cycles that happen to do
no harm) is read from the source.
"""

import ast
import functools
import importlib
import importlib.util
import inspect
import json
import pkgutil
import pydoc
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest
from support.forks import printed_by

import acp_client_v0_1

HEAVY = {"pydantic", "pydantic_core", "urllib3", "dateutil", "ssl", "http.client"}
# What is slow to import although it is Python's own, or often loaded anyway.
SLOW = {"asyncio", "dataclasses", "inspect", "logging", "re", "typing", "typing_extensions"}
TESTING = {"starlette", "uvicorn", "sse_starlette", "acp_client_v0_1.testing"}
MODELS = "acp_client_v0_1._schema"
LAZY_PACKAGES = ["acp_client_v0_1", "acp_client_v0_1.api", "acp_client_v0_1.models"]

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(acp_client_v0_1.__path__, "acp_client_v0_1.")
    if not module.name.startswith("acp_client_v0_1.testing")
    and not any(part.startswith("_") for part in module.name.split("."))
)


def loaded_by(script: str) -> set[str]:
    """The modules that a new interpreter has loaded after a script."""
    report = f"{script}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(printed_by(report).splitlines()[-1]))


def test_importing_the_package_loads_next_to_nothing():
    loaded = loaded_by("import acp_client_v0_1")
    assert loaded & (HEAVY | TESTING) == set()
    inside = {name for name in loaded if name.startswith("acp_client_v0_1")}
    assert inside == {*LAZY_PACKAGES, "acp_client_v0_1._lazy", "acp_client_v0_1._version"}
    # An interpreter may have loaded some already, for what lies in its site-packages.
    assert (loaded - loaded_by("pass")) & SLOW == set()


EVERYTHING = "import acp_client_v0_1 as a\nfor name in a.__all__: getattr(a, name)"
EVERYTHING += "".join(f"\nimport {name}" for name in MODULES)
TRANSPORT = "urllib3 acp_client_v0_1.rest acp_client_v0_1.api_client"
TYPED = f"{TRANSPORT} acp_client_v0_1.streaming.event_stream"
ERRORS = "from acp_client_v0_1.exceptions import ApiValueError, NotFoundException"
NAMED = "from acp_client_v0_1 import ApiClient, ApiException, Configuration, RunCreate, RunsApi"
TRANSPORT_OF_CALLS = "urllib3 acp_client_v0_1.rest"
HELP = "from acp_client_v0_1 import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass"
RUNS = "import acp_client_v0_1 as a; client = a.ApiClient(); a.RunsApi(client)"


@pytest.mark.parametrize(
    ("script", "needed", "not_needed"),
    [
        ("import acp_client_v0_1 as a; a.RunCreate(agent_id='a')", "pydantic", TRANSPORT),
        ("import acp_client_v0_1 as a; a.streaming.SSEParser()", "", f"{TYPED} {MODELS}"),
        (EVERYTHING, "urllib3", " ".join(sorted(TESTING))),
        (ERRORS, "", "urllib3"),
        (f"{ERRORS}, TransportException", "urllib3", ""),
        (NAMED, "", TRANSPORT_OF_CALLS),
        (f"{NAMED}; ApiClient()", TRANSPORT_OF_CALLS, ""),
        (RUNS, "urllib3", "acp_client_v0_1.handles"),
        (f"{RUNS}; a.AgentHandle('a', client)", "acp_client_v0_1.handles", "jsonschema_rs"),
        (HELP, "argparse", "pydantic urllib3 ssl logging subprocess"),
    ],
    ids=[
        *("a model", "the parser", "all that is public", "errors", "an error of the transport"),
        *(
            "names alone",
            "the first client",
            "the operations",
            "the handles, before a check",
            "the help of the command",
        ),
    ],
)
def test_a_name_loads_what_it_needs_and_no_more(script, needed, not_needed):
    loaded = loaded_by(script)
    assert set(needed.split()) <= loaded
    assert not loaded & set(not_needed.split())


def test_all_and_dir_list_exactly_what_a_module_exports():
    for name in ["acp_client_v0_1", *MODULES]:
        module = importlib.import_module(name)
        # The module of a model has one class, and no list of it.
        exported = getattr(module, "__all__", sorted(defined_in(module)))
        assert hasattr(module, "__all__") or len(exported) == 1, name
        assert len(exported) == len(set(exported)), name
        for export in exported:
            assert getattr(module, export) is not None, f"{name}.{export}"
        assert defined_in(module) <= set(exported), name
    for name in LAZY_PACKAGES:
        package = importlib.import_module(name)
        inside = {each.rpartition(".")[2] for each in MODULES if each.rpartition(".")[0] == name}
        assert set(package.__all__) <= set(dir(package)) <= {*package.__all__, *inside}
        assert dir(package) == sorted(dir(package))


def defined_in(module: ModuleType) -> set[str]:
    """The public classes and functions whose home is this module."""
    return {
        name
        for name, value in vars(module).items()
        if name.isidentifier()  # pydantic keeps the classes of generic models under their types
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        if callable(value)
    }


def test_names_and_submodules_load_when_they_are_used_and_unknown_ones_are_refused():
    printed_by("""
import typing, acp_client_v0_1 as a
a.rest.ApiException; a.exceptions.ApiException; a.models.Run; a.api.RunsApi
assert "Run" in dir(a) and "Run" not in vars(a)
assert a.Run is a.Run and "Run" in vars(a)
assert a.Run is __import__("acp_client_v0_1.models.run", fromlist=["Run"]).Run
hints = typing.get_type_hints(a.RunsApi.get_run_without_preload_content)
assert hints["return"] is a.rest.RawResponse
typing.get_type_hints(a.ApiClient.call_api)
try:
    a.Rum
except AttributeError as error:
    assert "Rum" in str(error)
else:
    raise SystemExit("no AttributeError")
""")


def test_help_of_the_package_names_its_classes_and_that_of_a_call_has_an_example():
    page = acp_client_v0_1.__doc__ or ""
    assert page.startswith("Run AI agents on any server")
    named = set(re.findall(r"``(\w+)``", page))
    assert {"AgentHandle", "RunHandle", "ApiException"} <= named <= {*dir(acp_client_v0_1)}
    assert ">>> counter.run(" in pydoc.plain(pydoc.render_doc(acp_client_v0_1.AgentHandle.run))
    assert {"AgentHandle", "Run"} <= {name for name, _ in inspect.getmembers(acp_client_v0_1)}


# The package itself names everything, and each of its names loads its home.
ALL = pkgutil.walk_packages(acp_client_v0_1.__path__, "acp_client_v0_1.")
NAMES = {module.name for module in ALL}

# `AgentHandle.map` and the command of the doctor are the only ways up.
ALLOWED = {
    ("acp_client_v0_1.handles.agent", "acp_client_v0_1.batch"),
    ("acp_client_v0_1.doctor.__main__", "acp_client_v0_1.cli"),
}


@functools.cache
def imports() -> dict[str, set[str]]:
    """Each module, and the modules of this package that it names in an import, wherever it does."""
    return {name: set(imported_by(name)) - {name} for name in NAMES}


@functools.cache
def judged() -> dict[str, set[str]]:
    """The imports without the exceptions above, each of which is still one."""
    named = {(importer, one) for importer, imported in imports().items() for one in imported}
    assert named >= ALLOWED
    return {name: {one for one in imports()[name] if (name, one) not in ALLOWED} for name in NAMES}


def test_no_module_imports_itself_through_others():
    """Inside functions and for types, too: a reader of one file would have to read all of them."""
    TopologicalSorter(judged()).prepare()  # raises CycleError


def test_a_package_is_loaded_before_what_is_in_it():
    """Threads that enter it in two ways at once could deadlock, see `_lazy`."""
    for name in MODULES:
        begun = {"acp_client_v0_1", name.rpartition(".")[0], name}
        assert list(out_of_order(name, begun)) == [], name


def out_of_order(name: str, begun: set[str]) -> Iterator[str]:
    """The imports, below the loading of a module, of something in a package that has not begun."""
    for module in loads(name):
        package = module.rpartition(".")[0]
        # One whose own file loads nothing of it waits for nobody.
        if package not in begun and any(one.startswith(f"{package}.") for one in loads(package)):
            yield f"{name} imports {module}"
        for one in (package, module):
            if one in NAMES and one not in begun:
                begun.add(one)
                yield from out_of_order(one, begun)


@functools.cache
def loads(name: str) -> list[str]:
    """The modules of this package that a module imports when it is loaded, in order."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    found = []
    for node in ast.parse(Path(spec.origin).read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            module = str(node.module)
            found += [module, *(home_of(module, alias.name) for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [module for module in found if module in NAMES]


def test_a_room_imports_only_from_rooms_below_it():
    """As the map has them; the local server stands apart."""
    for importer, imported in judged().items():
        for name in imported:
            upper, lower = importer.split(".")[1], name.split(".")[1]
            below = upper == "testing" or levels()[upper] <= levels()[lower]
            assert below, f"{importer} imports {name}"


@functools.cache
def levels() -> dict[str, int]:
    """The rooms, counted from the top of the map in CONTRIBUTING.md."""
    page = Path(__file__).parents[2] / "CONTRIBUTING.md"
    table = page.read_text("utf-8").partition("| in `acp_client_v0_1/` |")[2].partition("\n\n")[0]
    rows = [re.findall(r"`(\w+)(?:\.py|/)`", line) for line in table.splitlines()]
    return {room: number for number, row in enumerate(rows) for room in row}


def imported_by(name: str) -> Iterator[str]:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text("utf-8"))
    whole_package = set()  # the names under which it is imported
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}:{node.lineno} imports relatively"
            if str(node.module).partition(".")[0] == "acp_client_v0_1":
                yield from (home_of(str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & NAMES
            whole_package |= {
                alias.asname or alias.name
                for alias in node.names
                if alias.name == "acp_client_v0_1"
            }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in whole_package:
            yield home_of("acp_client_v0_1", node.attr)


def home_of(module: str, name: str) -> str:
    """The module that an import of a name from a module leads to."""
    if f"{module}.{name}" in NAMES:
        return f"{module}.{name}"
    if module in LAZY_PACKAGES:
        return str(getattr(importlib.import_module(module), name).__module__)
    return module
