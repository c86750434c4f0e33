"""Prints the public surface of an openapi-generator client as JSON: facts about each public name.

Runs in a process of its own, with the package to describe first on the import path: the stock
client and this one have the same name, so that the same scripts run on both. The arguments are
expressions, whose results are facts as well.

Imports each public module and inspects the objects themselves. The source is read for one purpose:
to find the names that a module imports from other packages (`re`, `Optional`), which are not its
surface.

Invariant: a fact is a promise to a caller, such as "takes `limit` by keyword". So a client offers
what another one offers if it has the other's facts, except for those that begin with "requires".
"""

from __future__ import annotations

import ast
import contextlib
import enum
import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

PACKAGE = "acp_client_v0_1"
# Bases outside the package on which a caller may rely.
FOREIGN_BASES = ("builtins.", "pydantic.", "enum.", "io.")

Surface = dict[str, set[str]]


def modules() -> Iterator[ModuleType]:
    """Import each public module of the package."""
    package = importlib.import_module(PACKAGE)
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield importlib.import_module(found.name)


def imported_from_elsewhere(module: ModuleType) -> set[str]:
    """The names that a module's source imports from modules of other packages."""
    return {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(PACKAGE)
        for alias in node.names
    }


def describe() -> Surface:
    """Return the facts about each public name, by its path inside the package."""
    surface: Surface = {}
    for module in modules():
        path = module.__name__.removeprefix(PACKAGE).lstrip(".")
        surface[path or "."] = set()
        foreign = imported_from_elsewhere(module)
        for name, value in inspect.getmembers(module):
            if name.startswith("_") or name in foreign or inspect.ismodule(value):
                continue
            at = f"{path}.{name}".lstrip(".")
            surface[at] = parameters(value) if inspect.isfunction(value) else set()
            home = getattr(value, "__module__", None) or ""
            # A class is described in its own module, or wherever it is public.
            if inspect.isclass(value) and (home == module.__name__ or f"{PACKAGE}._" in home):
                add_class(surface, at, value)
    return surface


def result(expression: str, names: dict[str, Any]) -> str:
    """Evaluate an expression; of an error, say only that there is one, as the classes differ."""
    try:
        return repr(eval(expression, dict(names)))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return "an error"


def add_class(surface: Surface, path: str, cls: type[Any]) -> None:
    """Add the facts about a class, its members, its constructor, and what an instance has."""
    bases = (f"{base.__module__}.{base.__name__}" for base in cls.__mro__[1:])
    known = (name for name in bases if name.startswith((f"{PACKAGE}.", *FOREIGN_BASES)))
    surface[path] = {f"derives from {name.rpartition('.')[2]}" for name in known}
    if issubclass(cls, enum.Enum):
        surface |= {f"{path}.{member.name}": {f"is {member.value!r}"} for member in cls}
    fields = getattr(cls, "model_fields", {})
    # The machinery of oneOf, and a response, are no models of JSON here.
    is_json = ".models." in cls.__module__ and "actual_instance" not in fields
    for name, field in fields.items():
        facts = {f"is {field.alias or name!r} in JSON"}
        if not field.is_required():
            facts.add(f"defaults to {field.get_default()!r}")
        surface[f"{path}.{name}"] = facts if is_json else set()
    for base in reversed(cls.__mro__):
        if base.__module__.startswith(PACKAGE):
            for name, value in vars(base).items():
                if not name.startswith("_") and name not in fields:
                    value = getattr(value, "__func__", value)
                    facts = parameters(value) if inspect.isfunction(value) else set()
                    surface.setdefault(f"{path}.{name}", facts)
    if not fields and inspect.isfunction(cls.__init__) and not issubclass(cls, enum.Enum):
        surface[f"{path}()"] = parameters(cls)
    for name in instance_attributes(cls):
        surface.setdefault(f"{path}.{name}", set())


def parameters(function: Callable[..., Any]) -> set[str]:
    """Return the facts about how a function can be called."""
    facts = {"can be called"}
    for place, parameter in enumerate(inspect.signature(function).parameters.values()):
        name, kind = parameter.name, parameter.kind
        if kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            facts.add(f"takes any {kind.description} argument")
            continue
        if kind is not parameter.KEYWORD_ONLY:
            facts.add(f"takes `{name}` as argument {place}")
        facts.add(f"takes `{name}` by keyword")
        has_default = parameter.default is not parameter.empty
        facts.add(f"`{name}` is {parameter.default!r}" if has_default else f"requires `{name}`")
    return facts


def instance_attributes(cls: type[Any]) -> set[str]:
    """The public attributes of an instance, if one can be made with few arguments."""
    configuration = importlib.import_module(f"{PACKAGE}.configuration").Configuration
    for arguments in ((), (configuration(),), ("message",)):
        with contextlib.suppress(Exception):
            made = cls(*arguments)
            names = [*getattr(made, "__dict__", ()), *getattr(cls, "__slots__", ())]
            return {name for name in names if not name.startswith("_")}
    return set()


if __name__ == "__main__":
    package = importlib.import_module(PACKAGE)
    public = {name: getattr(package, name) for name in package.__all__}
    facts = {name: sorted(facts) for name, facts in describe().items()}
    json.dump(facts | {each: [result(each, public)] for each in sys.argv[1:]}, sys.stdout)
