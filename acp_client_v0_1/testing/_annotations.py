"""Agents whose parameters have types: models in and out in place of dicts.

Strategy: pydantic's `TypeAdapter` gives the JSON Schema of a type, and validates. The server asks
`check_types` before it creates a run, so that an input that does not fit is refused.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import to_json
from typing_extensions import is_typeddict

from acp_client_v0_1._operation import faults_of
from acp_client_v0_1.exceptions import ApiValueError

_CHECK = "__acp_check_types__"


def _of_three(input: Any, config: Any, context: Any) -> None:
    """The form that an AgentDefinition wants."""


def typed_fields(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the fields of an AgentDefinition that a function and its annotations give.

    Raises:
        TypeError: An annotation is not defined, or pydantic cannot validate by it.
    """
    if not inspect.isroutine(function):
        return {"function": function}
    signature = inspect.signature(function)
    parameters = signature.parameters.values()
    count = len(parameters)
    if not 1 <= count <= 3 or any(each.kind > each.POSITIONAL_OR_KEYWORD for each in parameters):
        return {"function": function}
    named = zip(("input", "config"), parameters, strict=False)
    hints = {name: each.annotation for name, each in named}
    hints["output"] = signature.return_annotation
    kinds = {name: _adapter(function, name, hint) for name, hint in hints.items()}
    output = kinds.pop("output")

    def fit(*given: Any) -> list[Any]:
        """Return the arguments as values of their types."""
        return [
            given[at] if kind is None else _validated(kind, name, given[at])
            for at, (name, kind) in enumerate(kinds.items())
        ]

    @functools.wraps(function)
    def agent(*given: Any) -> Any:
        return function(*[*fit(*given), *given[len(kinds) :]][:count])

    vars(agent).update({_CHECK: fit, "__signature__": inspect.signature(_of_three)})
    fields = {name: kind.json_schema() for name, kind in kinds.items() if kind is not None}
    if output is not None:
        fields["output"] = output.json_schema(mode="serialization")
    return {**fields, "function": agent if fields or count < 3 else function}


def check_types(function: Callable[..., Any], *given: dict[str, Any]) -> None:
    """Raise `ApiValueError` if the input or the config does not fit the types of an agent."""
    if fit := getattr(function, _CHECK, None):
        fit(*given)


def _adapter(function: Callable[..., Any], name: str, hint: Any) -> TypeAdapter[Any] | None:
    """Return what validates by an annotation, or None if the value is a JSON object."""
    if isinstance(hint, str):
        try:
            hint = eval(hint, getattr(inspect.unwrap(function), "__globals__", {}))
        except NameError as error:
            words = f"function: the annotation {hint!r} of its {name} is not defined in its module"
            raise TypeError(words) from error
    if name == "output" and inspect.isgeneratorfunction(function):
        # Only Generator[…, …, Result] says what is returned.
        hint = (*get_args(hint), None, None, None)[2]
    origin = get_origin(hint) or hint
    is_object = isinstance(origin, type) and issubclass(origin, Mapping) and not is_typeddict(hint)
    if is_object or hint in (inspect.Parameter.empty, Any, object, None):
        return None
    try:
        return TypeAdapter(hint)
    except PydanticUserError as error:
        why = str(error).partition("\n")[0]
        raise TypeError(
            f"function: {hint!r:.60} cannot be the type of its {name}: {why}"
        ) from error


def _validated(kind: TypeAdapter[Any], name: str, value: Any) -> Any:
    try:
        return kind.validate_json(to_json(value))
    except ValidationError as error:
        raise ApiValueError(faults_of(error, name)) from error
