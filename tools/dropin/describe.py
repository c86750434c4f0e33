"""Prints the public surface of an openapi-generator client as JSON.

Runs in a process of its own, with the package to describe first on the import path: the stock
client and this one have the same name, so that the same scripts run on both.

Imports each public module and inspects the objects themselves. The source is read for one purpose:
to find the names that a module imports from other packages (`re`, `Optional`), which are not its
surface.

Invariant: the description is flat, one entry per name, so that comparing two is a loop.
"""

from __future__ import annotations

import ast
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

Entry = dict[str, Any]


def modules() -> Iterator[ModuleType]:
    """Import each public module of the package."""
    package = importlib.import_module(PACKAGE)
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield importlib.import_module(found.name)


def imported_from_elsewhere(module: ModuleType) -> set[str]:
    """The names that a module's source imports from other packages."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Import):
            names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(PACKAGE):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def describe() -> dict[str, Entry]:
    """Describe each public name, keyed by its path inside the package."""
    surface: dict[str, Entry] = {}
    for module in modules():
        path = module.__name__.removeprefix(PACKAGE).lstrip(".")
        surface[path or "."] = {"kind": "module"}
        foreign = imported_from_elsewhere(module)
        for name in dir(module):
            if name.startswith("_") or name in foreign:
                continue
            value = getattr(module, name)
            if not inspect.ismodule(value):
                add_value(surface, f"{path}.{name}".lstrip("."), value, module)
    return surface


def add_value(surface: dict[str, Entry], path: str, value: Any, module: ModuleType) -> None:
    """Describe a value; of a class that the module only imports, record the name."""
    if inspect.isclass(value) and value.__module__.startswith(PACKAGE):
        surface[path] = {"kind": "class"}
        home = value.__module__
        if home == module.__name__ or "._" in home:  # at home here, or nowhere in public
            add_class(surface, path, value)
    elif inspect.isfunction(value):
        surface[path] = {"kind": "function", "parameters": parameters(value)}
    else:
        surface[path] = {"kind": "constant"}


def add_class(surface: dict[str, Entry], path: str, cls: type[Any]) -> None:
    """Describe a class: its bases, members, constructor and the attributes of an instance."""
    surface[path]["bases"] = sorted(
        name
        for base in cls.__mro__[1:]
        if (name := f"{base.__module__}.{base.__qualname__}").startswith(
            (f"{PACKAGE}.", *FOREIGN_BASES)
        )
    )
    if issubclass(cls, enum.Enum):
        for member in cls:
            surface[f"{path}.{member.name}"] = {"kind": "member", "value": member.value}
    fields = getattr(cls, "model_fields", {})
    for name, field in fields.items():
        surface[f"{path}.{name}"] = {
            "kind": "field",
            "wire": field.alias or name,
            "default": None if field.is_required() else repr(field.get_default()),
            "schema": field_schema(cls, field.alias or name),
        }
    for base in reversed(cls.__mro__):
        if base.__module__.startswith(PACKAGE):
            for name, value in vars(base).items():
                if not name.startswith("_") and name not in fields:
                    surface.setdefault(f"{path}.{name}", member_entry(value))
    if not fields and inspect.isfunction(cls.__init__) and not issubclass(cls, enum.Enum):
        surface[f"{path}()"] = {"kind": "call", "parameters": parameters(cls)}
    for name in instance_attributes(cls):
        surface.setdefault(f"{path}.{name}", {"kind": "attribute"})


def field_schema(cls: type[Any], wire: str) -> Any:
    """The JSON schema of a model's field, None if the class is not a model of the contract."""
    if not cls.__module__.startswith(f"{PACKAGE}.models.") or hasattr(cls, "one_of_schemas"):
        return None
    schema = cls.model_json_schema()
    return plain_schema(schema["properties"][wire], schema.get("$defs", {}))


def plain_schema(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema without descriptions, with its enums inlined."""
    if isinstance(schema, list):
        return [plain_schema(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    target = definitions.get(schema.get("$ref", "").rpartition("/")[2], {})
    if "enum" in target:
        return plain_schema(target, definitions)
    notes = ("title", "description", "default")
    return {k: plain_schema(v, definitions) for k, v in schema.items() if k not in notes}


def member_entry(value: Any) -> Entry:
    """Describe one member of a class."""
    if isinstance(value, (classmethod, staticmethod)):
        return {"kind": "method", "parameters": parameters(value.__func__)}
    if inspect.isfunction(value):
        return {"kind": "method", "parameters": parameters(value)}
    return {"kind": "attribute"}


def parameters(function: Callable[..., Any]) -> list[Entry]:
    """Describe the parameters of a function in their order."""
    return [
        {
            "name": parameter.name,
            "kind": parameter.kind.name,
            "default": None if parameter.default is parameter.empty else repr(parameter.default),
        }
        for parameter in inspect.signature(function).parameters.values()
    ]


def instance_attributes(cls: type[Any]) -> set[str]:
    """The public attributes of an instance, if one can be made with few arguments."""
    made = instance(cls)
    if made is None:
        return set()
    names = set(getattr(made, "__dict__", {})) | set(getattr(cls, "__slots__", ()))
    return {name for name in names if not name.startswith("_")}


def instance(cls: type[Any]) -> Any:
    """Make an instance for inspection, or None."""
    if cls.__name__ == "RESTClientObject":
        return cls(importlib.import_module(f"{PACKAGE}.configuration").Configuration())
    if cls.__name__ in ("Configuration", "ApiClient") or cls.__name__.endswith("Api"):
        return cls()
    if not issubclass(cls, Exception) or not inspect.isfunction(cls.__init__):
        return None
    required = [
        parameter.name
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.default is parameter.empty and "VAR" not in parameter.kind.name
    ]
    return cls(*required) if required in ([], ["msg"]) else None


if __name__ == "__main__":
    json.dump(describe(), sys.stdout)
