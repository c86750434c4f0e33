"""The options of a create. Every method that starts runs takes them by the same names."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, TypeVar

from pydantic import ValidationError
from typing_extensions import TypedDict

from acp_client_v0_1._arguments import check_arguments
from acp_client_v0_1._names import unexpected
from acp_client_v0_1._operation import faults_of
from acp_client_v0_1.exceptions import ApiValueError
from acp_client_v0_1.handles._schemas import JsonObject, dict_of
from acp_client_v0_1.models import RunCreate, StreamingMode

__all__ = ["RunOptions"]

F = TypeVar("F", bound=Callable[..., Any])

# The free objects of a create.
_FREE = {"input", "config", "metadata"}
_OBJECTS = {*_FREE, "extra"}


class RunOptions(TypedDict, total=False):
    """The options of a create: the optional fields of `RunCreate`, apart from input and thread.

    Attributes:
        config: The agent's configuration, in its own schema.
        metadata: Keys and values to find the run by.
        webhook: The URL that receives each change of the run's status.
        streaming: "result" or "custom", to follow the run by `RunHandle.events`.
        extra: Fields that the server takes and the contract lacks.
    """

    config: JsonObject | None
    metadata: JsonObject | None
    webhook: str | None
    streaming: StreamingMode | str | None
    extra: JsonObject | None


def showing(options: Any, **defaults: Any) -> Callable[[F], F]:
    """Let a function show its options, which a type checker reads from ``**options: Unpack[...]``.

    So `help` lists them, and a notebook completes their names. ``options`` is the TypedDict. By
    default, an option that is not in ``defaults`` is None, or False if it is a flag.
    """

    def decorated(function: F) -> F:
        own = signature(function)
        *parameters, _ = own.parameters.values()
        for name, kind in options.__annotations__.items():
            # The module does not evaluate its annotations, so a field has the text of its type.
            words: str = kind.__forward_arg__
            default = defaults.get(name, False if words == "bool" else None)
            shown = Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=words)
            parameters.append(shown)
        vars(function)["__signature__"] = own.replace(parameters=parameters)
        return function

    return decorated


def given_options(caller: Callable[..., Any], options: RunOptions, **others: Any) -> dict[str, Any]:
    """Check the options that a caller got as keywords. Return the fields that are not None.

    ``others`` are the other fields of the create, which the caller takes as arguments of its own.
    """
    if options:
        for name in options.keys() - RunOptions.__optional_keys__:
            lacks_input = "input" in others and others["input"] is None
            field = f'; the input is one dict: {{"{name:.20}": …}}' if lacks_input else ""
            raise unexpected(caller, name, field)
        check_arguments(webhook=options.get("webhook"), streaming=options.get("streaming"))
    given: dict[str, Any] = {}
    for name, value in {**others, **options}.items():
        if value is not None:
            given[name] = dict_of(name, value) if name in _OBJECTS else value
    for name in given.get("extra", {}).keys() & RunCreate.model_fields.keys():
        raise ApiValueError(f"extra[{name!r}]: {name} is a field of the contract, not an extra one")
    return given


def creation_of(agent_id: str, given: dict[str, Any]) -> RunCreate:
    """Make a create from its fields."""
    # The free objects have been checked. Validation would copy them again, without the text of a
    # `JsonCopy`.
    free = {name: value for name, value in given.items() if name in _FREE}
    extra = given.get("extra", {})
    fields = {**given, **extra, **dict.fromkeys(free), "agent_id": agent_id}
    fields.pop("extra", None)
    try:
        # The constructor does the same, after a check for unknown names.
        creation: RunCreate = RunCreate.__pydantic_validator__.validate_python(fields)
    except ValidationError as error:
        raise ApiValueError(faults_of(error)) from error
    vars(creation).update(free)
    return creation
