"""Every public name says what it is, what it takes, what it gives and what it raises.

Public is what the `__all__` of a public module lists, and of a class its attributes, properties and
methods. A class describes what its constructor takes. What can be read elsewhere need not stand
twice: a method that overrides one of a base class has that one's docstring, and one that does "the
same as" another refers to it.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import acp_client_v0_1

PACKAGE = acp_client_v0_1.__name__
MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(acp_client_v0_1.__path__, f"{PACKAGE}.")
    if "._" not in found.name
)
# An entry of a section: a name or more, at the section's own indentation.
ENTRY = re.compile(r"^ {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*):", re.MULTILINE)
SAME_AS = re.compile(r"Do the same as `(\w+)`")
GIVES = re.compile(r"(?:[Rr]eturns?|Give|List|Describe|Tell)\b")
NOTHING = {None, "None", "NoReturn", "Generator[None, None, None]"}


def own(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] == PACKAGE


def documentation(thing: Any) -> str:
    """A thing's own docstring, not that of a base class."""
    return inspect.cleandoc(thing.__doc__ or "")


def section(doc: str, title: str) -> str:
    """What is indented below a title."""
    found = re.search(rf"^{title}:\n((?: .*\n|\n)+)", f"{doc}\n", re.MULTILINE)
    return found[1] if found else ""


def entries(doc: str, title: str) -> set[str]:
    """The names that a section of a docstring describes."""
    found = ENTRY.findall(section(doc, title))
    return {name.strip(" *") for names in found for name in names.split(",")}


@functools.cache
def classes_in(file: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(Path(file).read_text("utf-8"))
    return {one.name: one for one in tree.body if isinstance(one, ast.ClassDef)}


def body_of(kind: type) -> list[ast.stmt]:
    """The statements of a class, wherever it is written: `__module__` may be a public home."""
    name = kind.__name__
    for place, module in list(sys.modules.items()):
        if place.partition(".")[0] == PACKAGE and vars(module).get(name) is kind:
            written = classes_in(str(module.__file__))
            if name in written:
                return written[name].body
    return []  # a class that was made by a call


def parameters(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self", "cls"}


def faults_of_function(name: str, function: FunctionType) -> Iterator[str]:
    """What a function's docstring leaves out."""
    doc = documentation(function)
    if not doc:
        yield f"{name} has no docstring"
        return
    described = entries(doc, "Args")
    yield from (f"{name} does not describe {one}" for one in parameters(function) - described)
    if function.__annotations__.get("return") not in NOTHING and not says_what_it_gives(doc):
        yield f"{name} does not say what it returns"
    raised = {one for one in raised_by(function) if one not in section(doc, "Raises")}
    yield from (f"{name} does not say that it raises {one}" for one in raised)


def says_what_it_gives(doc: str) -> bool:
    before_sections = re.split(r"^\w+:$", doc, maxsplit=1, flags=re.MULTILINE)[0]
    return bool(GIVES.search(before_sections) or section(doc, "(?:Return|Yield)s"))


def raised_by(function: FunctionType) -> set[str]:
    """The exceptions that a function makes and raises in its own body."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = (one.exc for one in ast.walk(tree) if isinstance(one, ast.Raise))
    made = (ast.unparse(one.func).rpartition(".")[2] for one in raised if isinstance(one, ast.Call))
    return {name for name in made if name[0].isupper()} - {"NotImplementedError"}


def faults_of_class(name: str, kind: type) -> Iterator[str]:
    """What the docstrings in a class leave out."""
    if not documentation(kind):
        yield f"{name} has no docstring"
        return
    lineage = [base for base in kind.__mro__ if own(base)]
    described = set().union(*map(described_by, lineage))
    constructor = vars(kind).get("__init__")
    if isinstance(constructor, FunctionType) and own(constructor):
        needed = parameters(constructor) - entries(documentation(constructor), "Args")
        yield from (f"{name} does not describe {one}" for one in needed - described)
    # A private base class is in no list of names, so it is looked at here.
    for base in [kind, *(one for one in lineage[1:] if "._" in one.__module__)]:
        needed = {one for one, told in attributes(base) if not is_described_elsewhere(kind, one)}
        yield from (f"{name} does not describe {one}" for one in needed - described)
        for member_name, member in vars(base).items():
            if not member_name.startswith("_"):
                yield from faults_of_member(member_name, member, kind, base)


def described_by(kind: type) -> set[str]:
    """The attributes that a class describes, by its docstring or a text below each."""
    doc = documentation(kind)
    told_below = {name for name, told in attributes(kind) if told}
    return entries(doc, "Args") | entries(doc, "Attributes") | told_below


def is_described_elsewhere(kind: type, attribute: str) -> bool:
    """Whether an attribute is a property, or comes from a class of another package."""
    if isinstance(inspect.getattr_static(kind, attribute, None), property):
        return True
    return any(attribute in vars(base) for base in kind.__mro__ if not own(base))


def attributes(kind: type) -> Iterator[tuple[str, bool]]:
    """The public attributes that a class or its constructor sets, and whether a text follows."""
    body = body_of(kind)
    blocks = [(body, r"([a-z]\w*)")]
    for one in body:
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            blocks.append((one.body, r"self\.([a-z]\w*)"))
    for block, pattern in blocks:
        for statement, following in zip_longest(block, block[1:]):
            told = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            for target in targets(statement):
                if found := re.fullmatch(pattern, ast.unparse(target)):
                    yield found[1], told


def targets(statement: ast.stmt) -> list[ast.expr]:
    """What a statement assigns to."""
    if isinstance(statement, ast.Assign):
        return statement.targets
    return [statement.target] if isinstance(statement, ast.AnnAssign) else []


def faults_of_member(name: str, member: Any, kind: type, base: type) -> Iterator[str]:
    """What the docstring of a property or method leaves out."""
    full_name = f"{base.__name__}.{name}"
    if isinstance(member, property):
        if not documentation(member):
            yield f"{full_name} has no docstring"
        return
    function = unwrapped(member)
    if not isinstance(function, FunctionType) or not own(function):
        return
    doc = documentation(function)
    overridden = unwrapped(getattr(super(base, base), name, None))
    same = SAME_AS.match(doc)
    original = getattr(kind, same[1]) if same else overridden if doc else None
    if original is None or parameters(function) - parameters(original):
        yield from faults_of_function(full_name, function)
    if "see the class." in section(doc, "Args"):
        shared = {one for one in parameters(function) if one.startswith("_")}
        told = set(re.findall(r"``(\w+)``:", documentation(kind)))
        yield from (f"{full_name}: the class does not describe {one}" for one in shared - told)


def unwrapped(member: Any) -> Any:
    """The function in a method of an object, of a class or of neither."""
    function = getattr(member, "__func__", member)
    return inspect.unwrap(function) if callable(function) else function


def faults_of_module(module: ModuleType) -> Iterator[str]:
    """What the docstrings of the names that a module defines leave out."""
    if not documentation(module):
        yield f"{module.__name__} has no docstring"
    for name in module.__all__:
        thing = getattr(module, name)
        # What another public module defines is looked at there.
        if not own(thing) or (thing.__module__ != module.__name__ and "._" not in thing.__module__):
            continue
        if isinstance(thing, type):
            yield from faults_of_class(name, thing)
        elif isinstance(thing, FunctionType):
            yield from faults_of_function(name, thing)


@pytest.mark.parametrize("module", [PACKAGE, *MODULES])
def test_every_public_name_is_described(module: str) -> None:
    assert list(faults_of_module(importlib.import_module(module))) == []


class Incomplete:
    """A class.

    Args:
        told: Described.
    """

    below = 1
    """Described as well."""
    bare = 2

    def __init__(self, told: int, untold: int) -> None:
        self.told = told
        self.left = untold

    def take(self, one: int, other: int) -> int:
        """Take two things.

        Args:
            one: The first.
        """
        if one > other:
            raise ValueError("too much")
        return one

    @property
    def silent(self) -> int:
        return self.told


def test_what_is_left_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", __name__)
    assert sorted(faults_of_class("Incomplete", Incomplete)) == [
        "Incomplete does not describe bare",
        "Incomplete does not describe left",
        "Incomplete does not describe untold",
        "Incomplete.silent has no docstring",
        "Incomplete.take does not describe other",
        "Incomplete.take does not say that it raises ValueError",
        "Incomplete.take does not say what it returns",
    ]
