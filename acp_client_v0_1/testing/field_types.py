"""The check of a field's type, for what users of the local server write."""

from __future__ import annotations

__all__ = ["check_type"]


def check_type(what: str, value: object, *kinds: type | None) -> None:
    """Refuse a value of none of the types; True and False are no numbers here.

    Args:
        what: How the error begins.
        value: The value.
        *kinds: The types; None for None.

    Raises:
        TypeError: The value is of another type.
    """
    types = tuple(type(None) if kind is None else kind for kind in kinds)
    if isinstance(value, bool) or not isinstance(value, types):
        wanted = " or ".join("None" if kind is None else kind.__name__ for kind in kinds)
        raise TypeError(f"{what} must be of type {wanted}, not {type(value).__name__}")
