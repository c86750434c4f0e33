"""The base class of the generated models that are one of several others (OpenAPI's oneOf).

Strategy: pydantic's root model, so that decoding is one native step: the discriminator selects the
model, so that no other schema is tried. This is not in `_schema`, because root models are slow to
import, and requests need none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import RootModel

from acp_client_v0_1._schema import Conversions

T = TypeVar("T")


class OneOf(  # pyright: ignore[reportIncompatibleMethodOverride]  # of RootModel and BaseModel
    RootModel[T], Conversions, Generic[T]
):
    """Base of the models that are one of several others, selected by a discriminator."""

    root: T
    """The instance, by pydantic's name for it."""
    one_of_schemas: ClassVar[frozenset[str]] = frozenset()
    """The names of the models that `actual_instance` can be."""

    def __init__(self, *args: Any, **data: Any) -> None:
        """Wrap an instance of one of the models, or a dictionary that has the discriminator.

        Args:
            *args: The instance, as the one positional argument.
            **data: The instance, as the keyword ``actual_instance``.

        Raises:
            pydantic.ValidationError: (a ``ValueError``) It fits none of the models.
            TypeError: Not exactly one instance was given.
        """
        if len(args) + len(data) != 1 or not data.keys() <= {"actual_instance", "root"}:
            raise TypeError(f"{type(self).__name__} takes one argument, actual_instance")
        super().__init__(*args, *data.values())  # pyright: ignore[reportUnknownMemberType]

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @property
    def actual_instance(self) -> T:
        """The instance itself, with the type that the discriminator chose."""
        return self.root

    @actual_instance.setter
    def actual_instance(self, value: T) -> None:
        self.root = value

    if not TYPE_CHECKING:
        # With `__getattr__`, a type checker would take a missing attribute for Any.

        def __getattr__(self, name: str) -> Any:
            """Raise an AttributeError that says where the attribute is."""
            try:
                return super().__getattr__(name)
            except AttributeError as error:
                held = self.__dict__.get("root")
                if name.startswith("_") or held is None:
                    raise
                where = f".actual_instance.{name}" if hasattr(held, name) else ".actual_instance"
                raise AttributeError(
                    f"{type(self).__name__!r} object has no attribute {name!r}: "
                    f"it is a {type(held).__name__}, which is in {where}"
                ) from error

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Yield what ``repr`` shows: the instance alone."""
        yield None, self.root
