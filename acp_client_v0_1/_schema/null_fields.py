"""Unknown fields that are null, which a model keeps although it leaves out fields that are None.

A declared field that is None was not set. An unknown one that is None came as ``null``, and is
given back as such. pydantic-core cannot tell the two apart when it leaves out what is None, so the
few models that have such a field are mended after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from pydantic import BaseModel

__all__ = ["any_null", "with_nulls"]


def any_null(model: BaseModel) -> bool:
    """Whether a model, or one inside it, has an unknown field that is null."""
    extra = model.__pydantic_extra__
    if extra and None in extra.values():
        return True
    return any(any_null(inner) for _, inner in _inside(model))


def with_nulls(model: BaseModel, dumped: Any) -> Any:
    """Put a model's unknown fields that are null into the dictionary that it was dumped to."""
    for name, value in (model.__pydantic_extra__ or {}).items():
        if value is None:
            dumped[name] = None
    for step, inner in _inside(model):
        place = dumped
        for key in step:
            place = place[key]
        with_nulls(inner, place)
    return dumped


def _inside(model: BaseModel) -> Iterator[tuple[tuple[Any, ...], BaseModel]]:
    """The models that are values of declared fields, or in lists there, with where they are."""
    for name, value in model.__dict__.items():
        if isinstance(value, BaseModel):
            # What is one of several models stands where its instance does.
            yield (() if name == "root" else (_alias(model, name),)), value
        elif isinstance(value, list):
            for index, item in enumerate(cast("list[object]", value)):
                if isinstance(item, BaseModel):
                    yield (_alias(model, name), index), item


def _alias(model: BaseModel, name: str) -> str:
    return type(model).model_fields[name].alias or name
