"""The types that a caller gives for inputs and results, as `AgentHandle.typed` takes them.

Strategy: pydantic's `TypeAdapter` validates. What travels, and what a journal or a handle keeps, is
JSON. A result becomes the caller's type where the caller gets it, in the caller's own process. So a
type may change between two calls, and what a server or a worker process does never depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from types import FunctionType
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import to_json
from typing_extensions import TypeVar

from acp_client_v0_1._operation import faults_of
from acp_client_v0_1._schema.free_json import JsonCopy, unset_nulls
from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError
from acp_client_v0_1.handles._schemas import JsonObject
from acp_client_v0_1.handles.errors import ResultMismatch

In = TypeVar("In", default=JsonObject)
Out = TypeVar("Out", default=dict[str, Any])


class JsonType:
    """A type for the argument ``name`` of `AgentHandle.typed`.

    Raises:
        ApiTypeError: pydantic cannot validate by ``kind``.
    """

    __slots__ = ("_adapter", "_kind", "_name")

    def __init__(self, name: str, kind: Any) -> None:
        self._name, self._kind = name, kind
        words = f"{name} must be a type, such as a model, a dataclass or a TypedDict, not "
        words += f"{kind!r:.60}"
        if not isinstance(kind, type) and (
            isinstance(kind, (str, Mapping, BaseModel, FunctionType)) or is_dataclass(kind)
        ):
            raise ApiTypeError(words)
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", kind))
        except (PydanticUserError, PydanticUndefinedAnnotation, TypeError) as error:
            # Its first line says what the type lacks.
            why = str(error).partition("\n")[0]
            raise ApiTypeError(f"{words}: {why}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        # A type travels by its name, as any class does.
        return JsonType, (self._name, self._kind)

    def given(self, name: str, value: object) -> JsonObject:
        """Validate an input, which messages call ``name``, and return what is to be sent of it."""
        validate = self._adapter.validate_python
        try:
            fit = validate(value, by_alias=True, by_name=True)
            if fit is value and is_dataclass(fit) and not hasattr(fit, "__pydantic_validator__"):
                # Nobody has validated the fields of a plain dataclass yet.
                members = {each.name: getattr(fit, each.name) for each in fields(fit) if each.init}
                fit = validate(members, by_alias=True, by_name=True)
        except ValidationError as error:
            raise ApiValueError(faults_of(error, name)) from error
        if isinstance(fit, BaseModel):
            return fit
        nulls = unset_nulls(fit)
        sent: Any = self._adapter.dump_python(fit, mode="json", by_alias=True, exclude=nulls)
        return cast("JsonObject", sent)

    def received(self, result: dict[str, Any], run_id: str, token: Callable[[], str]) -> Any:
        """Return a result as a value of the type, or raise `ResultMismatch`."""
        text = result.text if isinstance(result, JsonCopy) else to_json(result)
        try:
            # A strict type takes the text of a date in JSON only.
            return self._adapter.validate_json(text)
        except ValidationError as error:
            faults = [
                (".".join(["result", *map(str, each["loc"])]), each["msg"])
                for each in error.errors(include_url=False, include_input=False)
            ]
        name = getattr(self._kind, "__name__", None) or repr(self._kind)
        about = {"run_id": run_id, "token": token()}
        raise ResultMismatch(**about, kind=name, result=result, faults=faults)
