"""The base classes of the generated models, and the types of their fields.

A model reads like its schema in OpenAPI: ``thread_id: schema.Identifier | None = None``. The names
of types stand for Python's own, which an editor shows, with a mark for what is special.

Strategy: the two directions need no flag, because they differ in how data comes in.

* A **constructor** (or an assignment) is used by a caller, and strict: an unknown keyword, an
  unknown enum value and a wrong type raise ``pydantic.ValidationError``.
* **JSON** comes from a server, and reading it is tolerant: unknown fields are kept and written
  back, an unknown enum value becomes a member that carries it, and dateutil reads odd timestamps.

Invariants:

* Decoding stays inside pydantic-core. Python code runs only for values outside the contract.
* Nothing here knows of HTTP: ``models`` import this module and nothing of the runtime.
* `Model.to_dict` and `Model.to_json` return what JSON brought, including unknown fields.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from inspect import Signature, signature
from typing import Annotated, Any, ClassVar, Literal, cast

import pydantic
import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema, to_json, to_jsonable_python
from typing_extensions import LiteralString, Self

from acp_client_v0_1._schema.fields import (
    UP_TO_FIRST_FAULT,
    Identifier,
    JsonObject,
    Timestamp,
    either,
)
from acp_client_v0_1._schema.surrogates import read_json

__all__ = ["Conversions", "Model", "OpenEnum"]
__all__ += ["UP_TO_FIRST_FAULT", "Identifier", "JsonObject", "StrictBool", "StrictInt", "StrictStr"]
__all__ += ["Timestamp", "Annotated", "Field", "any_null"]


# Newer versions of pydantic have such a lock themselves. Without it, a thread that begins to build
# a model removes the validator that another has just built. A third thread then validates with the
# base class's, which knows none of the fields.
_building = threading.RLock()


def _renew_lock() -> None:
    global _building
    _building = threading.RLock()


if hasattr(os, "register_at_fork"):
    # Another thread of the parent may have held the lock, and does not exist in the child.
    os.register_at_fork(after_in_child=_renew_lock)


class _Signature:
    """Builds a model that pydantic has not built yet, to return its signature."""

    def __get__(self, instance: object, owner: type[BaseModel]) -> Signature:
        if instance is not None:
            # Instances have no signature, as in pydantic.
            raise AttributeError("__signature__")
        owner.model_rebuild()
        signature: Signature = vars(owner)["__signature__"].__get__(None, owner)
        return signature


class Conversions(BaseModel):
    """The conversions of every model, from and to dictionaries, JSON and text."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        defer_build=True,
        protected_namespaces=(),
        ser_json_inf_nan="constants",
        validate_assignment=True,
    )

    __signature__: ClassVar[Any] = _Signature()

    @classmethod
    def model_rebuild(cls, **options: Any) -> bool | None:
        """Build the model as pydantic does, in one thread at a time. The first use calls it."""
        options["_parent_namespace_depth"] = options.get("_parent_namespace_depth", 2) + 1
        with _building:
            return super().model_rebuild(**options)

    def to_dict(self, mode: Literal["python", "json"] = "python") -> dict[str, Any]:
        """Return the model as a dictionary, without fields that are None.

        Args:
            mode: ``"python"`` keeps dates as ``datetime`` and enums as members; ``"json"`` writes
                both as text, so that ``json.dumps`` takes the dictionary.

        Returns:
            A new dictionary, keyed by the names on the wire. It includes unknown fields, even if
            they are null.
        """
        dumped: dict[str, Any] = self.model_dump(mode=mode, by_alias=True, exclude_none=True)
        # exclude_none also leaves out the unknown fields that were received as null.
        for *steps, name in _nulls(self):
            place: Any = dumped
            for step in steps:
                place = place[step]
            place[name] = None
        return dumped

    def to_json(self) -> str:
        """Return the model as compact JSON text, without fields that are None."""
        try:
            if any_null(self):
                return to_json(self.to_dict()).decode()
            return self.model_dump_json(by_alias=True, exclude_none=True)
        except pydantic_core.PydanticSerializationError:
            # The value has half a surrogate pair. If it has none, this raises the error again.
            return _escaped(self.to_dict())

    def to_str(self) -> str:
        """Return the model for a person to read: its dictionary, one field a line."""
        # Only a caller that prints a model pays for this import.
        from pprint import pformat

        return pformat(self.to_dict("json"))

    @classmethod
    def from_json(cls, json_str: str | bytes | bytearray) -> Self:
        """Return a model read from JSON, as tolerantly as the response of a server.

        Args:
            json_str: One JSON object, as text or as UTF-8 bytes.

        Raises:
            pydantic.ValidationError: (a ``ValueError``) The text is not JSON, or does not fit the
                model.
        """
        return read_json(cls.model_validate_json, json_str)

    @classmethod
    def from_dict(cls, obj: Mapping[str, Any] | Conversions) -> Self:
        """Return a model read from a dictionary of received data, as tolerantly as JSON.

        Args:
            obj: A mapping keyed by the names on the wire, or an instance of the model, which is
                returned itself.

        Raises:
            pydantic.ValidationError: (a ``ValueError``) It does not fit the model.
            ValueError: It holds an object that pydantic cannot write as JSON. A set, bytes and NaN
                can be written, and are taken.
        """
        if isinstance(obj, cls):
            return obj
        try:
            text: str | bytes = to_json(obj)
        except pydantic_core.PydanticSerializationError:
            # The value has half a surrogate pair. If it has none, this raises the error again.
            text = _escaped(obj)
        return cls.from_json(text)

    def __str__(self) -> str:
        return self.to_str()


class Model(Conversions):
    """Base of the models that are JSON objects."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    def __init__(self, /, *values: Any, **data: Any) -> None:
        # This has no docstring, so that an editor shows the model's own. pydantic.ValidationError,
        # a ValueError, names each keyword that is unknown, missing or of a wrong type.
        if values:
            kind = type(self).__name__
            raise TypeError(f"{kind} takes its fields by name: {kind}(**fields) of a dict")
        fields = self.__pydantic_fields__
        # What openapi-generator's clients call the fields that the contract lacks.
        extra: dict[str, Any] = data.pop("additional_properties", None) or {}
        if not isinstance(extra, Mapping):
            raise TypeError(f"additional_properties must be a dict, not {type(extra).__name__}")
        unknown = [name for name in data if name not in fields]
        if unknown or fields.keys() & extra.keys():
            raise _unknown_keywords(type(self), unknown, data, extra)
        super().__init__(**data, **extra)

    # With this mark, pydantic-core builds instances from JSON without calling __init__, which keeps
    # reading tolerant and fast.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]
    # The models' own signatures, which pydantic derives from this one, show no ``*values``.
    __init__.__signature__ = signature(lambda self, /, **data: None)  # type: ignore[attr-defined]

    # The types leave None out: with an overload for it, `from_dict(json.loads(text))` would match
    # both, and a type checker would not know the result.
    @classmethod
    def from_dict(cls, obj: Mapping[str, Any] | Conversions) -> Self:
        """Return a model read from a dictionary of received data. None stays None (drop-in)."""
        given: Any = obj
        return cast("Self", given) if given is None else super().from_dict(obj)

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Describe each field by its line of the docstring, as pydantic's own option does.

        That option would read the source of each model when it is imported.
        """
        for line in (cls.__doc__ or "").splitlines():
            name, _, text = line.strip().partition(": ")
            field = cls.__pydantic_fields__.get(name)
            if field is not None and field.description is None:
                field.description = text

    @property
    def additional_properties(self) -> dict[str, Any]:
        """The fields that the contract lacks, as openapi-generator's clients name them."""
        return self.model_extra or {}

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign a validated value, refusing names that the model does not have."""
        known = name in type(self).model_fields or name in (self.model_extra or ())
        if not known and not name.startswith("_"):
            raise ValueError(f'"{type(self).__name__}" object has no field "{name}"')
        super().__setattr__(name, value)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Yield what ``repr`` shows: the fields that have a value."""
        return ((name, value) for name, value in super().__repr_args__() if value is not None)


class OpenEnum(str, Enum):
    """Base of the enums: closed for callers, open for what a server sends.

    If JSON has a value that the contract does not list, it becomes a member that carries it:
    ``member.value`` is the received text, and `is_known` is false. Such a member can be sent
    back. ``RunStatus("…")`` and the constructors of models refuse a text that is not listed.
    """

    @property
    def is_known(self) -> bool:
        """Whether the contract lists this value."""
        return self._value_ in type(self)._value2member_map_

    @classmethod
    def from_json(cls, json_str: str | bytes | bytearray) -> Self:
        """Return a member read from JSON, as tolerantly as the response of a server.

        Args:
            json_str: One JSON string, listed or not, as text or as UTF-8 bytes.

        Raises:
            pydantic.ValidationError: (a ``ValueError``) The text is not a JSON string.
        """
        # Only a caller that reads a lone value pays for this import.
        from pydantic import TypeAdapter

        return read_json(TypeAdapter(cls).validate_json, json_str)

    def __str__(self) -> str:
        return str(self.value)

    def __reduce_ex__(self, proto: Any) -> tuple[Any, ...]:
        """Pickle by value, because a value that is not listed has no name."""
        return type(self)._received, (self.value,)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate listed values natively, and others in JSON only."""
        closed = handler(source)
        unlisted = core_schema.no_info_after_validator_function(
            cls._received, core_schema.str_schema(strict=True)
        )
        opened = either(closed, unlisted, "Input should be a string")
        return core_schema.json_or_python_schema(opened, closed)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the listed values alone, as the contract does."""
        return {"type": "string", "enum": [member.value for member in cls], "title": cls.__name__}

    @classmethod
    def _received(cls, value: str) -> Self:
        if value in cls._value2member_map_:
            return cls(value)
        member = str.__new__(cls, value)
        member._value_ = value
        # `repr` shows the name as it is, so it must be printable.
        member._name_ = ascii(value)[1:-1]
        return member


def _escaped(value: object) -> str:
    """Write JSON in ASCII, as half a surrogate pair needs it. This is slow, and rare."""

    def plain(inner: object) -> Any:
        return inner.to_dict() if isinstance(inner, Conversions) else to_jsonable_python(inner)

    try:
        return json.dumps(value, default=plain, separators=(",", ":"), check_circular=False)
    except RecursionError as error:
        raise ValueError("the value is nested too deep to be JSON, or holds itself") from error


def _unknown_keywords(
    model: type[BaseModel], names: list[str], data: dict[str, Any], extra: dict[str, Any]
) -> ValidationError:
    # Only a mistake pays for this import.
    from acp_client_v0_1._names import did_you_mean

    errors: list[pydantic_core.InitErrorDetails] = []

    def add(text: LiteralString, loc: tuple[str, ...], value: object, **about: str) -> None:
        about |= {"name": loc[-1], "model": model.__name__}
        fault = pydantic_core.PydanticCustomError("extra_forbidden", text, about)
        errors.append(pydantic_core.InitErrorDetails(type=fault, loc=loc, input=value))

    for name in names:
        hint = did_you_mean(name, model.model_fields, advice=False)
        add("unknown field '{name}' of {model}{hint}", (name,), data[name], hint=hint)
    for name in model.model_fields.keys() & extra.keys():
        loc = "additional_properties", name
        add("{name} is a field of {model}: pass {name}=", loc, extra[name])
    return ValidationError.from_exception_data(model.__name__, errors)


def any_null(model: BaseModel) -> bool:
    """Return whether a model, or one inside it, has an unknown field that is null."""
    return next(_nulls(model), None) is not None


_FLAT = frozenset({str, dict, type(None)})


def _nulls(model: BaseModel) -> Iterator[tuple[str | int, ...]]:
    """Yield the path, in the dumped model, to each unknown field that is null."""
    if extra := model.__pydantic_extra__:
        yield from ((name,) for name, value in extra.items() if value is None)
    for name, value in model.__dict__.items():
        if type(value) in _FLAT:
            continue
        if isinstance(value, list):
            for index, item in enumerate(cast("list[object]", value)):
                if isinstance(item, BaseModel):
                    yield from ((*_key(model, name), index, *place) for place in _nulls(item))
        elif isinstance(value, BaseModel):
            yield from (_key(model, name) + place for place in _nulls(value))


def _key(model: BaseModel, name: str) -> tuple[str, ...]:
    # A oneOf is dumped as its instance.
    return () if name == "root" else (type(model).model_fields[name].alias or name,)
