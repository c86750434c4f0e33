"""Shows the options of a method on the site: of `AgentHandle.map`, each with its type.

The signature of such a method ends with ``**options: Unpack[...]`` of a TypedDict, and its
docstring describes each option. This extension of griffe, which reads the package for the site,
puts the fields of the TypedDict in the place of ``**options``. If the docstring describes
``options`` as a whole, the signature stays.
"""

from __future__ import annotations

from typing import Any

from griffe import Expr, ExprSubscript, Extension, Function, Parameter, ParameterKind

# For Python 3.10, which has no StrEnum, a type checker takes this for a str.
_KEYWORD_ONLY: Any = ParameterKind.keyword_only


class OptionsExtension(Extension):
    """Replaces ``**options: Unpack[...]`` by the options; mkdocs.yml names it."""

    def on_package(self, *, pkg: Any, **_: Any) -> None:
        """Change the signatures when all is read: a TypedDict may stand in another module."""
        _change(pkg)


def _change(scope: Any) -> None:
    for member in scope.members.values():
        if member.is_alias:
            continue
        if member.is_function:
            _expand(member)
        elif member.is_class or member.is_module:
            _change(member)


def _expand(function: Function) -> None:
    docstring = function.docstring
    for parameter in list(function.parameters):
        annotation = parameter.annotation
        if not isinstance(annotation, ExprSubscript) or annotation.canonical_name != "Unpack":
            continue
        if docstring is None or f"\n    {parameter.name}: " in docstring.value:
            continue
        if not isinstance(annotation.slice, Expr):
            raise TypeError(f"{function.path}: {annotation} names no TypedDict")
        options = function.modules_collection[annotation.slice.canonical_path]
        del function.parameters[parameter.name]
        for name, field in options.attributes.items():
            function.parameters[name] = Parameter(
                name,
                annotation=field.annotation,
                kind=_KEYWORD_ONLY,
                default="...",  # as in a stub: a TypedDict has no defaults, so the words name them
            )
