"""Types by the names that openapi-generator's clients use for them, such as ``"List[Run]"``."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from acp_client_v0_1 import models
from acp_client_v0_1.exceptions import ApiValueError

__all__ = ["resolve_type"]

_PLAIN: dict[str, Any] = {
    "UUID": UUID,
    "bool": bool,
    "bytes": bytes,
    "date": date,
    "datetime": datetime,
    "decimal": Decimal,
    "float": float,
    "int": int,
    "long": int,
    "object": Any,
    "str": str,
}


def resolve_type(name: str | type[Any]) -> Any:
    """Return the type that a name stands for; a type stands for itself.

    Raises:
        ApiValueError: no model and no plain type has this name.
    """
    if not isinstance(name, str):
        return name
    if container := re.fullmatch(r"Optional\[(.+)\]", name):
        return resolve_type(container[1]) | None
    if container := re.fullmatch(r"[Ll]ist\[(.+)\]", name):
        return list[resolve_type(container[1])]  # type: ignore[misc]
    if container := re.fullmatch(r"[Dd]ict\[str, (.+)\]", name):
        return dict[str, resolve_type(container[1])]  # type: ignore[misc]
    if name in _PLAIN:
        return _PLAIN[name]
    if name in models.__all__:
        return getattr(models, name)
    raise ApiValueError(f"response_type: no model is called {name!r}")
